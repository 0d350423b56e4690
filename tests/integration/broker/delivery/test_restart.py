"""A broker on SQLite that stops in the middle and starts again: order, attempts and the way to the sink survive."""

import asyncio
import random

import pytest

from broker.store.sqlite.store import SqliteStore
from tests.integration.broker.delivery.conftest import event
from tests.integration.subscriber import OK, answer

KEYS = "abcdefgh"
EACH = 25


def store(tmp_path):
    return SqliteStore(tmp_path / "events", durability="os")


@pytest.mark.parametrize("graceful", [True, False])
@pytest.mark.parametrize("ordered", [True, False])
async def test_every_event_arrives_and_order_per_key_holds(make_house, tmp_path, graceful, ordered):
    draw = random.Random(5)

    async def unsteady(request, writer):
        await asyncio.sleep(0.002)
        return OK if draw.random() > 0.3 else answer(503)

    house = await make_house(store(tmp_path))
    subscriber = await house.subscriber(unsteady)
    more = {"retry": 50, "delay_s": 0.01, "ordered": ordered, "max_in_flight": 8}
    await house.trigger("t", subscriber, **more)
    await house.publish(*(event(f"{key}-{n}", partitionkey=key) for n in range(EACH) for key in KEYS))
    seen = 0
    for _ in range(4):
        await house.until(lambda: len(subscriber.requests) > seen + 40)
        if graceful:
            await house.triggers["t"].drain(house.loop.time() + 5)
            await house.subscriptions["t"].close()
        await house.stop()
        seen = len(subscriber.requests)
        house = await make_house(store(tmp_path))
        await house.trigger("t", subscriber, **more)
    await house.settled(60)

    got = [request.headers["ce-id"] for request in subscriber.requests]
    assert {*got} == {f"{key}-{n}" for key in KEYS for n in range(EACH)}
    assert await house.letters("t") == []
    for key in KEYS:
        numbers = [int(id.split("-")[1]) for id in got if id.startswith(key)]
        if ordered:
            assert numbers == sorted(numbers), "nothing was sent after a later one of its key"
    for id in {*got}:
        attempts = [int(r.headers["x-dp-attempt"]) for r in subscriber.requests if r.headers["ce-id"] == id]
        assert attempts == sorted(attempts), "the count goes on after a restart"


async def test_one_on_its_way_to_the_sink_is_shown_to_the_subscriber_once_more(make_house, tmp_path):
    house = await make_house(store(tmp_path))
    subscriber, sink = await house.subscriber(answer(422, body=b"no")), await house.subscriber(answer(503))
    await house.trigger("t", subscriber, sink=sink, retry=50, delay_s=0.3)
    await house.publish(event("1"))
    await sink.got(2)
    await house.stop()
    sink.script = OK
    house = await make_house(store(tmp_path))
    await house.trigger("t", subscriber, sink=sink, retry=50, delay_s=0.3)
    await house.settled()
    assert len(subscriber.requests) == 2
    assert [r.headers["ce-knativeerrorcode"] for r in sink.requests] == ["422"] * 3
    (letter,) = await house.letters("t")
    assert (letter.kept, letter.failure.code, letter.failure.data) == ("dead-lettered", 422, b"no")
