"""BR-24: a wall clock that jumps neither loses a redelivery nor holds it up."""

import time

import pytest

from broker.store.contract import LogSettings
from broker.store.redis.store import RedisStore
from dataplane.clock import Clock
from dataplane.telemetry.metrics import Registry
from tests.eventstore import append, record, subscribe
from tests.integration.broker.redis.house import BROKER, House, Subscriber


@pytest.mark.parametrize("jump_s", [-86400.0, -3600.0, 3600.0])
async def test_a_redelivery_comes_when_it_was_to_come_whatever_the_wall_clock_does(house: House, jump_s: float) -> None:
    ahead_s = 0.0
    clock = Clock(monotonic=time.monotonic, wall=lambda: time.time() + ahead_s)
    store = RedisStore(url=house.server.url, clock=clock, registry=Registry())
    await store.start()
    try:
        log = await store.open(BROKER, LogSettings())
        subscriber = await subscribe(log, Subscriber())
        await append(log, record("a"))
        [delivery] = await subscriber.until(1)
        subscriber.later(delivery, in_s=0.4, attempt=2)
        ahead_s = jump_s
        await subscriber.until(2)
        assert subscriber.attempts[1] == ("a", 2)
    finally:
        await store.close()
