"""The ingress over real sockets: the table of spec §7.2 row by row, batches, hops, times, headers, probes, overload."""

import asyncio
import json
import time

import pytest

from broker.ingress import PATHS_MAX
from dataplane.errors import StoreFault, StoreFull, StoreUnavailable
from dataplane.net.closing import will_reset

CE = "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\n"
STRUCTURED = "content-type: application/cloudevents+json; charset=UTF-8\r\n"
BATCH = "content-type: application/cloudevents-batch+json\r\n"
AVRO = "content-type: application/cloudevents+avro\r\n"
EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def event(**more: object) -> str:
    return json.dumps({**EVENT, **more})


def ce(**attributes: str) -> str:
    return CE + "".join(f"ce-{name}: {value}\r\n" for name, value in attributes.items())


# name, method, path, headers, body, status, x-dp-error
TABLE = [
    ("accepted", "POST", "/ns/b", CE, "x", 202, ""),
    ("accepted without data", "POST", "/ns/b", CE, "", 202, ""),
    ("accepted, 0.3", "POST", "/ns/b", CE.replace("1.0", "0.3"), "x", 202, ""),
    ("accepted, application/json", "POST", "/ns/b", CE + "content-type: application/json\r\n", "{}", 202, ""),
    ("accepted, application/xml", "POST", "/ns/b", CE + "content-type: application/xml\r\n", "<a/>", 202, ""),
    ("accepted, thrift", "POST", "/ns/b", CE + "content-type: application/vnd.apache.thrift.binary\r\n", "\0\x80", 202, ""),
    ("accepted, structured", "POST", "/ns/b", STRUCTURED, event(data={}), 202, ""),
    ("accepted, structured 0.3", "POST", "/ns/b", STRUCTURED, event(specversion="0.3", data={}), 202, ""),
    ("accepted, batch", "POST", "/ns/b", BATCH, f"[{event()},{event(id='2')}]", 202, ""),
    ("accepted, empty batch", "POST", "/ns/b", BATCH, "[]", 202, ""),
    ("accepted, a slash at the end", "POST", "/ns/b/", CE, "", 202, ""),
    ("accepted, with a query", "POST", "/ns/b?x=y/z", CE, "", 202, ""),
    ("accepted, slash and query", "POST", "/ns/b/?x", CE, "", 202, ""),
    ("OPTIONS", "OPTIONS", "/ns/b", "", "", 200, ""),
    ("OPTIONS of no broker", "OPTIONS", "/", "webhook-request-origin: eg.example\r\n", "", 200, ""),
    ("GET", "GET", "/ns/b", "", "", 405, "method_not_allowed"),
    ("PUT", "PUT", "/ns/b", CE, "x", 405, "method_not_allowed"),
    ("DELETE", "DELETE", "/ns/b", "", "", 405, "method_not_allowed"),
    ("GET of no path", "GET", "/x/y/z", "", "", 405, "method_not_allowed"),
    ("path /", "POST", "/", CE, "", 404, "no_route"),
    ("one segment", "POST", "/ns", CE, "", 404, "no_route"),
    ("three segments", "POST", "/ns/b/c", CE, "", 404, "no_route"),
    ("two slashes at the end", "POST", "/ns/b//", CE, "", 404, "no_route"),
    ("an empty segment", "POST", "//b", CE, "", 404, "no_route"),
    ("a wrong path before a bad event", "POST", "/ns", "", "", 404, "no_route"),
    ("no event", "POST", "/ns/b", "", "x", 400, "bad_event"),
    ("no specversion", "POST", "/ns/b", CE.replace("ce-specversion: 1.0\r\n", ""), "", 400, "bad_event"),
    ("unknown specversion", "POST", "/ns/b", CE.replace("1.0", "19.0"), "", 400, "bad_event"),
    ("unknown specversion, structured", "POST", "/ns/b", STRUCTURED, event(specversion="19.0"), 400, "bad_event"),
    ("no id", "POST", "/ns/b", CE.replace("ce-id: 1\r\n", ""), "", 400, "bad_event"),
    ("blank id", "POST", "/ns/b", CE.replace("ce-id: 1", "ce-id: "), "", 400, "bad_event"),
    ("two ids", "POST", "/ns/b", CE + "ce-id: 2\r\n", "", 400, "bad_event"),
    ("overlong UTF-8", "POST", "/ns/b", ce(x="%C0%A0"), "", 400, "bad_event"),
    ("a control character", "POST", "/ns/b", ce(x="%0a"), "", 400, "bad_event"),
    ("an attribute with a hyphen", "POST", "/ns/b", CE + "ce-a-b: 1\r\n", "", 400, "bad_event"),
    ("no time", "POST", "/ns/b", ce(time="noon"), "", 400, "bad_event"),
    ("no JSON", "POST", "/ns/b", STRUCTURED, "{", 400, "bad_event"),
    ("no batch", "POST", "/ns/b", BATCH, event(), 400, "bad_event"),
    ("a bad event in a batch", "POST", "/ns/b", BATCH, f"[{event()},{{}}]", 400, "bad_event"),
    ("another format", "POST", "/ns/b", AVRO, "x", 415, "unsupported_event_format"),
    ("a coding", "POST", "/ns/b", CE + "content-encoding: gzip\r\n", "x", 415, "unsupported_content_coding"),
    ("no such broker", "POST", "/ns/other", CE, "", 404, "no_broker"),
    ("a bad event for no such broker", "POST", "/ns/other", "", "", 400, "bad_event"),
    ("a broker that is not open yet", "POST", "/ns/soon", CE, "", 503, "broker_not_ready"),
    ("hops exhausted", "POST", "/ns/b", ce(knativebrokerttl="1"), "", 400, "hops_exhausted"),
    ("hops exhausted, for no such broker", "POST", "/ns/other", ce(knativebrokerttl="1"), "", 404, "no_broker"),
    ("no time to expire", "POST", "/ns/b", ce(expirytime="soon"), "", 400, "bad_event"),
    ("too large", "POST", "/ns/b", CE, "x" * 65537, 413, "body_too_large"),
    ("64 KiB in one attribute", "POST", "/ns/b", ce(x="x" * 65_000), "", 202, ""),
    ("exactly as large as may be", "POST", "/ns/b", CE, "x" * 65536, 202, ""),
    ("the store is away", "POST", "/ns/away", CE, "", 503, "store_unavailable"),
    ("the store is full", "POST", "/ns/full", CE, "", 503, "store_full"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
async def test_the_table_of_7_2(world, Log, method: str, path: str, headers: str, body: str, status: int, code: str):
    here = await world(event_bytes_max=65536)
    here.wanted.add("ns/soon")
    here.logs["ns/away"], here.logs["ns/full"] = Log(), Log()
    here.logs["ns/away"].fault, here.logs["ns/full"].fault = StoreUnavailable("restarting"), StoreFull("disk")
    client = await here.client()
    length = f"content-length: {len(body)}\r\n" if body or method == "POST" else ""
    client.send(f"{method} {path} HTTP/1.1\r\nhost: broker\r\n{headers}{length}\r\n{body}")
    answer = await client.answer()
    assert (answer.status, answer.headers.get("x-dp-error", "")) == (status, code)
    assert answer.headers["allow"] == "POST, OPTIONS"
    if status < 300:
        assert answer.body == b""
        assert bool(here.log.records) == (method == "POST" and body != "[]")
    else:
        assert here.log.records == []
        assert answer.headers["content-type"] == "application/problem+json"
        problem = json.loads(answer.body)
        assert (problem["status"], problem["title"]) == (status, code)
        assert problem["detail"]
    assert ("retry-after" in answer.headers) == (status == 503)
    if status == 405 or method == "OPTIONS":
        return
    if status != 413:
        assert (await client.posted()).status == 202  # the connection is as good as before
    assert (await (await here.client()).posted()).status == 202
    assert here.ingress.held_bytes == 0


async def test_options_consents_to_every_origin_and_rate(world):
    client = await (await world()).client()
    client.send(
        "OPTIONS /ns/b HTTP/1.1\r\nhost: b\r\nwebhook-request-origin: eg.example\r\nwebhook-request-rate: 120\r\n\r\n"
    )
    answer = await client.answer()
    assert answer.headers["webhook-allowed-origin"] == "*"
    assert answer.headers["webhook-allowed-rate"] == "*"


async def test_what_was_sent_is_on_the_log_before_the_producer_hears_of_it(world):
    here = await world()
    client = await here.client()
    body = b'{"a" : 1.0,\n "a":2}'
    answer = await client.posted(headers=ce(subject="x%20y") + "content-type: application/json\r\n", body=body)
    assert answer.status == 202
    [record] = here.log.records
    assert record.event.data == body
    assert record.event.attributes["subject"] == "x y"
    assert record.hops == 255
    assert (record.not_before, record.expires_at) == (0, 0)
    assert abs(record.arrived_at - time.time()) < 60
    assert record.event.attributes["knativearrivaltime"].startswith(
        time.strftime("%Y-", time.gmtime(record.arrived_at))
    )
    [fact] = here.journal.recent("ns/b", 10)
    assert (fact.what, fact.id, fact.source, fact.type) == ("accepted", "1", "/s", "t")


async def test_202_waits_for_the_log(world):
    here = await world()
    here.log.held = []
    client = await here.client()
    client.post()
    while not here.log.held:
        await asyncio.sleep(0.001)
    assert here.journal.recent("ns/b", 10) == []
    client.send("")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.reader.read(1)
    here.log.release()
    assert (await client.answer()).status == 202


async def test_a_batch_is_taken_whole(world):
    here = await world()
    client = await here.client()
    assert (await client.posted(headers=BATCH, body=f"[{event(id='a')},{event(id='b')}]")).status == 202
    assert [record.event.id for record in here.log.records] == ["a", "b"]
    assert here.counted('dataplane_broker_accepted_total{kn_broker_namespace="ns",kn_broker_name="b"}') == 2


@pytest.mark.parametrize(
    ("bad", "reason"),
    [("7", "json"), (event(time="x"), "time"), (event(expirytime="x"), "expirytime"), (event(knativebrokerttl=1), "hops_exhausted"), (event(specversion="0.3"), "specversion")],
)  # fmt: skip
async def test_or_not_at_all_and_the_answer_says_which_was_bad(world, bad: str, reason: str):
    here = await world()
    client = await here.client()
    answer = await client.posted(headers=BATCH, body=f"[{event()},{event()},{bad},{event()}]")
    assert answer.status == 400
    problem = json.loads(answer.body)
    assert (problem["index"], problem["reason"]) == (2, reason)
    assert here.log.records == []


async def test_a_batch_has_a_bound(world):
    here = await world(batch_events_max=3)
    client = await here.client()
    assert (await client.posted(headers=BATCH, body=f"[{event()},{event()},{event()}]")).status == 202
    answer = await client.posted(headers=BATCH, body=f"[{event()},{event()},{event()},{event()}]")
    assert answer.status == 400
    assert len(here.log.records) == 3


@pytest.mark.parametrize(
    ("ttl", "hops"),
    [
        ("255", 254),
        ("2", 1),
        ("300", 100),
        ("x", 100),
        ("1.5", 100),
        ("2147483647", 100),
        ("-2147483649", 100),
        ("99999999999999999999", 100),
    ],
)
async def test_an_incoming_ttl_is_honoured_and_taken_off(world, ttl: str, hops: int):
    here = await world(hops_max=100 if hops == 100 else 255)
    assert (await (await here.client()).posted(headers=ce(knativebrokerttl=ttl))).status == 202
    [record] = here.log.records
    assert record.hops == hops
    assert "knativebrokerttl" not in record.event.attributes


@pytest.mark.parametrize("ttl", ["1", "0", "-5", "-2147483648"])
async def test_an_exhausted_ttl_ends_a_loop_and_is_counted(world, ttl: str):
    here = await world()
    answer = await (await here.client()).posted(headers=ce(knativebrokerttl=ttl))
    assert (answer.status, answer.headers["x-dp-error"]) == (400, "hops_exhausted")
    assert here.counted('dataplane_broker_rejected_total{reason="hops_exhausted"}') == 1
    [fact] = here.journal.recent("ns/b", 10)
    assert (fact.what, fact.id, fact.code) == ("rejected", "1", 400)


async def test_arrival_is_ours_whatever_the_producer_says(world):
    here = await world()
    client = await here.client()
    await client.posted(headers=ce(knativearrivaltime="1999-01-01T00:00:00Z"))
    await client.posted(headers=STRUCTURED, body=event(knativearrivaltime=5))
    for record in here.log.records:
        assert record.event.attributes["knativearrivaltime"] > "2026-"
        assert record.event.typed == {}


async def test_an_event_may_expire_and_may_be_for_later(world):
    here = await world()
    client = await here.client()
    assert (
        await client.posted(headers=ce(expirytime="2016-12-31T23:59:60Z", notbefore="2100-01-01t00:00:00.5+01:00"))
    ).status == 202
    [record] = here.log.records
    assert record.expires_at == 1483228799.0
    assert record.not_before == 4102441200.5
    assert record.event.attributes["expirytime"] == "2016-12-31T23:59:60Z"
    answer = await client.posted(headers=ce(notbefore="0000-01-01T00:00:00Z"))
    assert (answer.status, json.loads(answer.body)["reason"]) == (400, "notbefore")


async def test_headers_that_travel_beside_the_event(world):
    here = await world()
    sent = (
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: a=b\r\nX-Request-Id: 7\r\nRetry-After: 3\r\n"
        "Knative-Foo: bar\r\nX-B3-TraceId: 1\r\nauthorization: secret\r\ncookie: c\r\nx-other: o\r\nkn-namespace: else\r\nprefer: reply\r\n"
        "content-encoding: identity\r\n"
    )
    assert (await (await here.client()).posted(headers=CE + sent)).status == 202
    [record] = here.log.records
    assert dict(record.headers) == {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=b", "x-request-id": "7",
        "retry-after": "3", "knative-foo": "bar", "x-b3-traceid": "1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", "user-agent: kube-probe/1.30\r\n"),
        ("GET", "/anything", "k-kubelet-probe: queue\r\nuser-agent: x\r\n"),
        ("GET", "/healthz", ""),
        ("GET", "/readyz", ""),
        ("GET", "/", "k-network-probe: probe\r\nk-network-hash: h4sh\r\n"),
    ],
)
async def test_probes_are_answered_until_draining(world, method: str, path: str, headers: str):
    here = await world()
    client = await here.client()
    client.send(f"{method} {path} HTTP/1.1\r\nhost: b\r\n{headers}\r\n")
    answer = await client.answer()
    assert answer.status == 200
    assert answer.headers.get("k-network-hash", "h4sh") == "h4sh"
    draining = asyncio.ensure_future(here.ingress.drain())
    await asyncio.sleep(0)
    client.send(f"{method} {path} HTTP/1.1\r\nhost: b\r\n{headers}\r\n")
    assert (await client.answer()).status == 503
    await draining


async def test_a_probe_for_a_hash_must_say_which(world):
    client = await (await world()).client()
    client.send("GET / HTTP/1.1\r\nhost: b\r\nk-network-probe: probe\r\n\r\n")
    assert (await client.answer()).status == 400


async def test_draining_answers_what_is_here_and_says_goodbye(world):
    here = await world(drain_timeout_s=30.0)
    here.log.held = []
    client = await here.client()
    client.post()
    while not here.log.held:
        await asyncio.sleep(0.001)
    draining = asyncio.ensure_future(here.ingress.drain())
    await asyncio.sleep(0.05)
    here.log.release()
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (202, "close")
    await draining


# ---- overload -----------------------------------------------------------------------------------


async def test_a_log_that_says_nothing_is_given_up_and_its_bytes_stay_counted(world):
    here = await world(append_timeout_s=0.1)
    here.log.held = []
    client = await here.client()
    answer = await client.posted(body="x" * 100)
    assert (answer.status, answer.headers["x-dp-error"], answer.headers["retry-after"]) == (503, "append_timeout", "1")
    assert here.ingress.held_bytes == 100
    held, here.log.held = here.log.held, None
    assert (await client.posted()).status == 202  # the same connection goes on
    here.log.held = held
    here.log.release()
    assert here.ingress.held_bytes == 0
    assert len(here.log.records) == 2  # it came to be all the same, and was said to be


async def test_bytes_that_are_not_durable_have_a_bound(world):
    here = await world(appending_bytes_max=65536, event_bytes_max=65536)
    here.log.held = []
    waiting = [await here.client() for _ in range(4)]
    for client in waiting:
        client.post(body="x" * 16384)
    while len(here.log.held) < 4:
        await asyncio.sleep(0.001)
    client = await here.client()
    answer = await client.posted(body="x")
    assert (answer.status, answer.headers["x-dp-error"], answer.headers["retry-after"]) == (503, "appending_full", "1")
    here.log.release()
    for other in waiting:
        assert (await other.answer()).status == 202
    assert (await client.posted(body="x")).status == 202
    assert here.ingress.held_bytes == 0


async def test_bodies_on_their_way_count_as_well(world):
    here = await world(appending_bytes_max=65536, event_bytes_max=65536)
    slow = await here.client()
    slow.send(f"POST /ns/b HTTP/1.1\r\nhost: b\r\n{CE}content-length: 65536\r\n\r\n" + "x" * 60000)
    while here.ingress.held_bytes < 60000:
        await asyncio.sleep(0.001)
    other = await here.client()
    assert (await other.posted(body="y" * 6000)).headers["x-dp-error"] == "appending_full"
    assert (await other.posted(body="y" * 5000)).status == 202
    slow.close()
    while here.ingress.held_bytes:
        await asyncio.sleep(0.001)
    assert (await other.posted(body="y" * 6000)).status == 202


async def test_a_brokers_rate_is_its_own(world, Log):
    here = await world(rate_per_s=1)
    here.logs["ns/other"] = Log()
    client = await here.client()
    assert (await client.posted()).status == 202
    answer = await client.posted()
    assert (answer.status, answer.headers["x-dp-error"], answer.headers["retry-after"]) == (429, "rate_limited", "1")
    assert (await client.posted(path="/ns/other", headers=BATCH, body=f"[{event()},{event()},{event()}]")).status == 202
    answer = await client.posted(path="/ns/other")
    assert (answer.status, int(answer.headers["retry-after"]) >= 2) == (429, True)


@pytest.mark.parametrize("fault", [StoreFault("x"), StoreUnavailable("y"), StoreFull("z")])
async def test_a_store_that_fails_is_an_honest_503_and_the_next_event_may_succeed(world, fault: StoreFault):
    here = await world()
    here.log.fault = fault
    client = await here.client()
    answer = await client.posted()
    assert (answer.status, answer.headers["x-dp-error"]) == (503, fault.code)
    assert answer.headers["retry-after"] == str(fault.retry_after_s)
    assert json.loads(answer.body)["detail"] == str(fault)
    here.log.fault = None
    assert (await client.posted()).status == 202


# ---- clients that misbehave -------------------------------------------------------------------------


async def test_two_gigabytes_cost_nothing_when_they_are_declared(world):
    here = await world()
    client = await here.client()
    client.send(f"POST /ns/b HTTP/1.1\r\nhost: b\r\n{CE}content-length: 2147483648\r\n\r\n")
    client.send(b"x" * 300_000)
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert here.ingress.held_bytes == 0
    assert (await (await here.client()).posted()).status == 202


async def test_a_client_that_asks_first_is_refused_before_it_sends(world):
    here = await world()
    client = await here.client()
    client.send(f"POST /ns/b HTTP/1.1\r\nhost: b\r\n{CE}expect: 100-continue\r\ncontent-length: 2147483648\r\n\r\n")
    assert (await client.answer()).status == 413
    client = await here.client()
    client.send(f"POST /ns/b HTTP/1.1\r\nhost: b\r\n{CE}expect: 100-continue\r\ncontent-length: 1\r\n\r\n")
    assert (await client.answer()).status == 100
    client.send("x")
    assert (await client.answer()).status == 202


async def test_a_body_that_never_ends_is_cut_where_it_is_too_large(world):
    here = await world(event_bytes_max=65536)
    client = await here.client()
    client.send(f"POST /ns/b HTTP/1.1\r\nhost: b\r\n{CE}transfer-encoding: chunked\r\n\r\n")
    most = 0
    for _ in range(40):
        client.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        await asyncio.sleep(0.001)
        most = max(most, here.ingress.held_bytes)
    answer = await client.answer()
    assert (answer.status, answer.headers["x-dp-error"]) == (413, "body_too_large")
    assert most <= 65536
    assert here.ingress.held_bytes == 0
    assert (await (await here.client()).posted()).status == 202


async def test_a_body_in_many_small_pieces_is_one_body(world):
    here = await world()
    client = await here.client()
    client.send(f"POST /ns/b HTTP/1.1\r\nhost: b\r\n{CE}transfer-encoding: chunked\r\n\r\n")
    for _ in range(50):
        client.send("1\r\na\r\n2\r\nbc\r\n")
        await asyncio.sleep(0)
    client.send("0\r\n\r\n")
    assert (await client.answer()).status == 202
    assert here.log.records[0].event.data == b"abc" * 50


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_leaves_while_its_event_is_appended_does_not_take_it_back(world, how: str):
    here = await world()
    here.log.held = []
    client = await here.client()
    client.post(body="x" * 1000)
    while not here.log.held:
        await asyncio.sleep(0.001)
    if how == "reset":
        will_reset(client.writer.transport)
    client.close()
    while how == "reset" and here.counted('dataplane_connections{listener="broker"}'):
        await asyncio.sleep(0.001)
    assert here.ingress.held_bytes == 1000
    here.log.release()
    assert here.ingress.held_bytes == 0
    assert len(here.log.records) == 1
    assert here.journal.recent("ns/b", 1)[0].what == "accepted"
    assert (await (await here.client()).posted()).status == 202


async def test_a_client_that_closes_its_side_still_gets_its_answer(world):
    here = await world()
    here.log.held = []
    client = await here.client()
    client.post()
    client.writer.write_eof()
    while not here.log.held:
        await asyncio.sleep(0.001)
    here.log.release()
    assert (await client.answer()).status == 202
    assert await client.ended()


async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing(world):
    here = await world()
    client = await here.client()
    client.send(f"POST /ns/b HTTP/1.1\r\nhost: b\r\n{CE}content-length: 1000\r\n\r\nxxx")
    while not here.ingress.held_bytes:
        await asyncio.sleep(0.001)
    client.writer.transport.abort()
    while here.ingress.held_bytes:
        await asyncio.sleep(0.001)
    assert here.log.records == []


async def test_broken_framing_in_a_body_leaves_nothing(world):
    here = await world()
    client = await here.client()
    client.send(f"POST /ns/b HTTP/1.1\r\nhost: b\r\n{CE}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\nXX\r\n")
    assert (await client.answer()).status == 400
    assert here.ingress.held_bytes == 0
    assert here.log.records == []


async def test_requests_sent_ahead_are_answered_in_order(world):
    here = await world()
    client = await here.client()
    for number in range(20):
        client.post(headers=CE.replace("ce-id: 1", f"ce-id: {number}") if number % 3 else "", body="x" * number)
    assert [(await client.answer()).status for _ in range(20)] == [202 if n % 3 else 400 for n in range(20)]
    assert [record.event.id for record in here.log.records] == [str(n) for n in range(20) if n % 3]


async def test_many_requests_in_one_piece_hold_up_nobody_else(world):
    here = await world()
    pushy, other = await here.client(), await here.client()
    total = 4000
    pushy.send("POST /ns/b HTTP/1.1\r\nhost: b\r\ncontent-length: 0\r\n\r\n" * total)
    assert (await other.posted()).status == 202
    assert here.counted('dataplane_broker_rejected_total{reason="specversion"}') < total / 4
    for _ in range(total):
        assert (await pushy.answer()).status == 400
    assert (await pushy.posted()).status == 202


# ---- numbers ----------------------------------------------------------------------------------------


async def test_what_was_taken_and_refused_is_counted(world):
    here = await world()
    client = await here.client()
    await client.posted(body="12345")
    await client.posted(headers="")
    await client.posted(path="/")
    labels = '{kn_broker_namespace="ns",kn_broker_name="b"}'
    assert here.counted("dataplane_broker_accepted_total" + labels) == 1
    assert here.counted("dataplane_broker_accepted_bytes_total" + labels) == 5
    assert here.counted('dataplane_broker_rejected_total{reason="specversion"}') == 1
    assert here.counted('dataplane_broker_rejected_total{reason="no_route"}') == 1
    assert here.counted("dataplane_broker_appending_bytes") == 0


async def test_a_type_of_any_size_is_no_label(world):
    here = await world()
    client = await here.client()
    for type_ in ("t" * 256, "u" * 257):
        assert (await client.posted(headers=CE.replace("ce-type: t", "ce-type: " + type_))).status == 202
    labels = (
        'kn_broker_name="b",kn_broker_namespace="ns",kn_trigger_name="",kn_trigger_namespace="",cloudevents_type="{}"'
    )
    counted = "kn_eventing_dispatch_duration_seconds_count{{{}}}".format
    assert here.counted(counted(labels.format("t" * 256) + ',http_response_status_code="202"')) == 1
    assert here.counted(counted(labels.format("") + ',http_response_status_code="202"')) == 1


async def test_the_series_of_a_broker_go_with_it(world):
    here = await world()
    client = await here.client()
    await client.posted()
    del here.logs["ns/b"]
    here.wanted.clear()
    assert (await client.posted()).status == 404
    assert 'kn_broker_name="b"' not in here.registry.render()


async def test_many_types_do_not_make_many_series(world):
    here = await world()
    client = await here.client()
    for number in range(40):
        await client.posted(headers=CE.replace("ce-type: t", f"ce-type: t{number}"))
    assert here.registry.render().count("kn_eventing_dispatch_duration_seconds_count{") == 21


async def test_the_time_to_durable_is_counted_per_type_and_has_no_trigger(world):
    here = await world()
    await (await here.client()).posted()
    labels = 'kn_broker_name="b",kn_broker_namespace="ns",kn_trigger_name="",kn_trigger_namespace="",cloudevents_type="t",http_response_status_code="202"'
    assert here.counted(f"kn_eventing_dispatch_duration_seconds_count{{{labels}}}") == 1
    assert 0 < here.counted(f"kn_eventing_dispatch_duration_seconds_sum{{{labels}}}") < 60


async def test_paths_are_remembered_within_a_bound(world):
    here = await world()
    client = await here.client()
    for first in range(0, PATHS_MAX + 100, 50):
        for number in range(first, first + 50):
            client.post(path=f"/ns/other-{number}")
        assert {(await client.answer()).status for _ in range(50)} == {404}
    await client.posted(path=f"/ns/{'x' * 300}")
    assert len(here.ingress._paths) == PATHS_MAX
    assert (await client.posted()).status == 202
