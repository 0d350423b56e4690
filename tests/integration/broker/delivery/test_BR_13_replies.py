"""BR-13: everything a reply can be but an event. Each has its documented outcome and harms nothing else."""

import asyncio

import pytest

from tests.integration.broker.delivery.conftest import REPLY, event
from tests.integration.subscriber import OK, answer

MIB = 1024 * 1024


class Flood:
    """Writes up to 200 MB and says how much went."""

    def __init__(self) -> None:
        self.written = 0

    async def __call__(self, request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n" + REPLY.encode() + b"content-length: %d\r\n\r\n" % (200 * MIB))
        while self.written < 200 * MIB:
            writer.write(b"x" * MIB)
            await writer.drain()
            self.written += MIB
        return b""


async def drip(request, writer):
    writer.write(b"HTTP/1.1 200 OK\r\n" + REPLY.encode() + b"content-length: 1000\r\n\r\n")
    for _ in range(1000):
        writer.write(b"x")
        await asyncio.sleep(0.05)
    return b""


ROWS = {
    "garbage event": (answer(200, "ce-specversion: 1.0\r\nce-id: \r\n", b"x"), 1, "reply"),
    "garbage JSON": (answer(200, "content-type: application/cloudevents+json\r\n", b'{"specversion":'), 1, "reply"),
    "wrong content type": (answer(200, "content-type: text/html\r\n", b"<html>"), 1, "reply"),
    "200 MB": (Flood(), 1, "reply"),
    "slow drip": (drip, 3, "exhausted"),
    "redirect": (answer(302, "location: http://127.0.0.1:1/\r\n"), 1, "rejected"),
    "1xx storm": (b"HTTP/1.1 103 Early\r\n\r\n" * 1000 + OK, 3, "exhausted"),
    "two answers": (OK + OK, 1, None),
    "Set-Cookie": (answer(200, "set-cookie: a=b\r\n" + REPLY), 1, None),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_it_has_its_outcome_and_harms_nothing(house, row):
    script, attempts, reason = row
    subscriber = await house.subscriber(
        lambda r, w: (script if isinstance(script, bytes) else script(r, w)) if r.headers["ce-id"] == "bad" else OK
    )
    watcher = await house.subscriber()
    await house.trigger(
        "t", subscriber, retry=2, timeout_s=0.4 if script is drip else 5.0, filters=({"exact": {"type": "t"}},)
    )
    await house.trigger("replies", watcher, filters=({"exact": {"type": "reply"}},))
    await house.publish(event("bad"), *(event(str(n)) for n in range(50)))
    await house.until(lambda: len({r.headers["ce-id"] for r in subscriber.requests}) == 51)
    await house.settled()
    assert [r.headers["ce-id"] for r in subscriber.requests].count("bad") == attempts
    letters = await house.letters("t")
    assert [letter.failure.reason for letter in letters] == ([reason] if reason else [])
    if reason == "reply":
        assert letters[0].failure.code == 502
    if isinstance(script, Flood):
        assert script.written < 100 * MIB, "it was read to the end"
    await house.publish(event("after"))
    await house.until(lambda: subscriber.requests[-1].headers["ce-id"] == "after")
    assert all("cookie" not in r.headers for r in subscriber.requests)
    assert all("set-cookie" not in r.headers for r in watcher.requests)
