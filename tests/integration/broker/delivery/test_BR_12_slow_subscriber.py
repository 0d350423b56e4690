"""BR-12: a subscriber that is slow. Its window bounds what is on its way and in memory; its lag shows; others go on."""

import asyncio

import pytest

from tests.integration.broker.delivery.conftest import event
from tests.integration.subscriber import OK


@pytest.mark.parametrize("ordered", [False, True])
async def test_the_window_holds_the_lag_shows_and_the_others_are_served(make_house, ordered):
    house = await make_house(ordered_waiting_max=50)
    go = asyncio.Event()

    async def slow(request, writer):
        await go.wait()
        return OK

    sleepy, healthy = await house.subscriber(slow), await house.subscriber()
    await house.trigger("slow", sleepy, max_in_flight=8, ordered=ordered, timeout_s=60)
    await house.trigger("well", healthy)
    for start in range(0, 1000, 50):
        await house.publish(*(event(str(n), partitionkey=str(n)) for n in range(start, start + 50)))
    await house.until(lambda: house.metric("dataplane_broker_deliveries_total", outcome="delivered") == 1000)
    assert len(healthy.requests) == 1000
    held = house.triggers["slow"]._window.count
    assert sleepy.running_max == len(sleepy.requests) == 8
    assert held <= (50 if ordered else 8)
    assert house.metric("dataplane_broker_unsettled_events", trigger="ns/slow", state="waiting") == 1000 - held
    assert house.metric("dataplane_broker_oldest_unsettled_seconds", trigger="ns/slow") > 0
    assert house.metric("dataplane_broker_oldest_unsettled_seconds", trigger="ns/well") == 0
    go.set()
    await house.until(lambda: len(sleepy.requests) == 1000)
    await house.settled()
    assert sleepy.running_max == 8
    assert sleepy.connections <= 8 + 1
    assert house.metric("dataplane_broker_unsettled_events", trigger="ns/slow") == 0


async def test_large_events_are_held_by_their_bytes(make_house):
    house = await make_house(in_flight_bytes_max=1024 * 1024, event_bytes_max=256 * 1024)
    go = asyncio.Event()

    async def slow(request, writer):
        await go.wait()
        return OK

    sleepy = await house.subscriber(slow)
    await house.trigger("slow", sleepy, timeout_s=60)
    await house.publish(*(event(str(n), b"x" * 200 * 1024) for n in range(60)))
    await sleepy.got(3)
    await asyncio.sleep(0.2)
    assert len(sleepy.requests) <= 5
    assert house.triggers["slow"]._window.bytes <= 1024 * 1024
    go.set()
    await house.until(lambda: len(sleepy.requests) == 60)
