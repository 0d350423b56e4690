"""BR-09: broker and subscriber cannot reach each other. Back-off, and other triggers do not notice."""

import asyncio
import random

import pytest

from tests.integration.broker.delivery.conftest import event
from tests.integration.subscriber import OK

EVENTS = 300


def blackhole(request, writer):
    return asyncio.sleep(60, b"")


def rst(request, writer):
    writer.transport.abort()


@pytest.mark.parametrize("script", [blackhole, rst, "refused"], ids=["blackhole", "RST", "refused"])
async def test_other_triggers_get_everything_while_one_gets_nothing(house, script):
    healthy = await house.subscriber()
    away = "http://127.0.0.1:1/" if script == "refused" else await house.subscriber(script)
    await house.trigger("away", away, retry=1000, delay_s=0.2, backoff="exponential", timeout_s=1.0)
    await house.trigger("well", healthy)
    for start in range(0, EVENTS, 20):
        await house.publish(*(event(str(n)) for n in range(start, start + 20)))
        await asyncio.sleep(0.01)
    await house.until(lambda: len(healthy.requests) == EVENTS)
    assert {r.headers["ce-id"] for r in healthy.requests} == {str(n) for n in range(EVENTS)}
    assert house.metric("dataplane_broker_deliveries_total", outcome="delivered", trigger="ns/away") == 0
    assert await house.letters("away") == [], "nothing is given up"


async def test_a_fifth_of_the_connections_lost_loses_no_event(house):
    draw = random.Random(9)
    subscriber = await house.subscriber(lambda request, writer: None if draw.random() < 0.2 else OK)
    await house.trigger("t", subscriber, retry=20, delay_s=0.01)
    await house.publish(*(event(str(n)) for n in range(EVENTS)))
    await house.until(lambda: house.metric("dataplane_broker_deliveries_total", outcome="delivered") == EVENTS)
    assert {r.headers["ce-id"] for r in subscriber.requests} == {str(n) for n in range(EVENTS)}
    assert house.metric("dataplane_broker_deliveries_total", outcome="retried") > 0


async def test_when_it_is_back_it_gets_what_it_missed(house):
    subscriber = await house.subscriber()
    await subscriber.stop()
    await house.trigger("t", subscriber.url, retry=1000, delay_s=0.05, policy={"max_backoff_s": 0.3})
    await house.publish(*(event(str(n)) for n in range(50)))
    await house.until(lambda: house.metric("dataplane_broker_deliveries_total", outcome="retried") > 50)
    await subscriber.start()
    await house.until(lambda: house.metric("dataplane_broker_deliveries_total", outcome="delivered") == 50)
    assert {r.headers["ce-id"] for r in subscriber.requests} == {str(n) for n in range(50)}
