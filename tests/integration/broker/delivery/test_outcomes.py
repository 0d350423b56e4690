"""The table of spec §9.2 and §9.3 over real sockets: each answer, what becomes of the event, and how often it was sent."""

import asyncio
import base64

import pytest

from tests.integration.broker.delivery.conftest import REPLY, event
from tests.integration.subscriber import answer

RETRY = 2


def close(request, writer):
    return None


def reset(request, writer):
    writer.transport.abort()


def silence(request, writer):
    return asyncio.sleep(30, b"")


def breaks_off(request, writer):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart")


# (name, what the subscriber does, attempts, how it ends, code at the sink, replies)
ROWS = [
    *((f"{code}", answer(code), 1, "delivered", None, 0) for code in (200, 201, 202)),
    ("204", b"HTTP/1.1 204 No Content\r\n\r\n", 1, "delivered", None, 0),
    ("200 with a reply", answer(200, REPLY), 1, "delivered", None, 1),
    ("201 with a reply", answer(201, REPLY, b"data"), 1, "delivered", None, 1),
    ("200 with a structured reply", answer(200, "content-type: application/cloudevents+json\r\n", b'{"specversion":"1.0","id":"reply","source":"/r","type":"reply"}'), 1, "delivered", None, 1),
    ("202 with a reply", answer(202, REPLY), 1, "delivered", None, 0),
    ("202 with a body", answer(202, body=b"queued"), 1, "delivered", None, 0),
    ("200 with plain text", answer(200, body=b"thanks"), 1, "sink", 502, 0),
    ("200 with half an event", answer(200, "ce-specversion: 1.0\r\nce-id: reply\r\n"), 1, "sink", 502, 0),
    ("200 with broken JSON", answer(200, "content-type: application/cloudevents+json\r\n", b"{"), 1, "sink", 502, 0),
    ("200 with a batch", answer(200, "content-type: application/cloudevents-batch+json\r\n", b"[]"), 1, "sink", 502, 0),
    *((f"{code}", answer(code, "location: http://127.0.0.1:1/\r\n"), 1, "sink", code, 0) for code in (301, 302, 303, 307, 308)),
    ("304", b"HTTP/1.1 304 Not Modified\r\n\r\n", 1, "sink", 304, 0),
    ("101", b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", 1, "sink", 101, 0),
    *((f"{code}", answer(code, body=b"why"), 1, "sink", code, 0) for code in (400, 401, 402, 403, 405, 406, 410, 413, 415, 418, 422, 451)),
    *((f"{code}", answer(code, body=b"why"), 1 + RETRY, "sink", code, 0) for code in (404, 408, 409, 429)),
    *((f"{code}", answer(code, body=b"why"), 1 + RETRY, "sink", code, 0) for code in (500, 501, 502, 503, 504, 505, 599)),
    ("closes", close, 1 + RETRY, "sink", 500, 0),
    ("resets", reset, 1 + RETRY, "sink", 500, 0),
    ("breaks off", breaks_off, 1 + RETRY, "sink", 500, 0),
    ("no HTTP", b"SSH-2.0-x\r\n\r\n", 1 + RETRY, "sink", 500, 0),
    ("silence", silence, 1 + RETRY, "sink", 500, 0),
    ("refused", "http://127.0.0.1:1/", 1 + RETRY, "sink", 500, 0),
    ("no such name", "http://nobody.invalid/", 1 + RETRY, "sink", 500, 0),
    ("no TLS there", "https", 1 + RETRY, "sink", 500, 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "attempts", "end", "code", "replies"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS]
)
async def test_every_answer_has_its_outcome(house, what, attempts, end, code, replies):
    sink, watcher = await house.subscriber(), await house.subscriber()
    if what == "https":
        to = f"https://127.0.0.1:{(await house.subscriber()).port}/"
    else:
        to = what if isinstance(what, str) else await house.subscriber(what)
    await house.trigger(
        "t",
        to,
        sink=sink,
        retry=RETRY,
        timeout_s=1.0 if what in (silence, "https") else 5.0,
        filters=({"exact": {"type": "t"}},),
    )
    await house.trigger("replies", watcher, filters=({"exact": {"type": "reply"}},))
    await house.publish(event("1", b"payload"))
    await house.until(
        lambda: sink.requests or house.metric("dataplane_broker_deliveries_total", outcome="delivered", trigger="ns/t")
    )
    await house.settled()

    if not isinstance(what, str):
        assert len(to.requests) == attempts
        assert [r.headers["x-dp-attempt"] for r in to.requests] == [str(n) for n in range(1, attempts + 1)]
        assert {(r.headers["ce-id"], r.body, r.headers["prefer"], r.headers["kn-namespace"]) for r in to.requests} == {
            ("1", b"payload", "reply", "ns")
        }
    assert house.metric("dataplane_broker_deliveries_total", outcome="retried", trigger="ns/t") == attempts - 1
    assert len(watcher.requests) == replies
    if end == "delivered":
        assert sink.requests == []
        assert await house.letters("t") == []
    else:
        (dead,) = sink.requests
        assert dead.body == b"payload"
        assert dead.headers["ce-id"] == "1"
        assert "prefer" not in dead.headers
        assert dead.headers["ce-knativeerrordest"] == (to if isinstance(to, str) else to.url)
        assert dead.headers["ce-knativeerrorcode"] == str(code)
        if isinstance(what, bytes) and b"why" in what:
            assert base64.b64decode(dead.headers["ce-knativeerrordata"]) == b"why"
        (letter,) = await house.letters("t")
        assert letter.kept == "dead-lettered"


async def test_what_an_earlier_failure_said_is_gone_when_the_next_says_nothing(house):
    sink = await house.subscriber()
    await house.trigger("t", await house.subscriber(answer(400)), sink=sink)
    await house.publish(event("1", knativeerrordest="http://old/", knativeerrorcode="500", knativeerrordata="b2xk"))
    await house.until(lambda: sink.requests)
    headers = sink.requests[0].headers
    assert headers["ce-knativeerrorcode"] == "400"
    assert "ce-knativeerrordata" not in headers


@pytest.mark.parametrize("format", ["binary", "json"])
async def test_an_event_that_others_wrote_into_the_store_does_not_end_its_trigger(house, format):
    subscriber = await house.subscriber()
    await house.trigger("t", subscriber, policy={"format": format})
    for content_type in ("junk", "a/b\r\nevil: 1", "\u00e9/x"):
        await house.publish(event("odd", datacontenttype=content_type))
    await house.publish(event("next"))
    await house.until(lambda: any(r.headers.get("ce-id") == "next" or b'"next"' in r.body for r in subscriber.requests))
    await house.settled()
    assert not any("evil" in request.headers for request in subscriber.requests)
    assert len(subscriber.requests) + len(await house.letters("t")) == 4
