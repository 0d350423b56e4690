"""BR-15: a subscriber comes back after ten minutes with a backlog behind it. In virtual time."""

import asyncio
import random

import pytest

from broker import pace
from dataplane.errors import ConnectFailed
from tests.unit.broker.world import World, event, run, trigger

STEADY_PER_S = 200
OUTAGE_S = 600


class Subscriber:
    def __init__(self, world):
        self.world, self.down, self.tried, self.taken = world, False, [], []

    def __call__(self, asked):
        self.tried.append(asked.at)
        if self.down:
            return (0.001, ConnectFailed("connection refused"))
        self.taken.append(asked.at)
        return (0.01, 204)

    def between(self, times, start, seconds):
        return sum(start <= at < start + seconds for at in times)


async def produce(world, seconds, first):
    for second in range(seconds):
        world.store.offer(*(event(str(first + second * STEADY_PER_S + n)) for n in range(STEADY_PER_S)))
        await asyncio.sleep(1)
    return first + seconds * STEADY_PER_S


@pytest.mark.slow
def test_it_is_not_overrun():
    async def main():
        world = World(trigger(retry=1000, delay_s=0.2, backoff="exponential", max_in_flight=1000))
        world.engine.random = random.Random(1).random
        subscriber = world.script = Subscriber(world)
        number = await produce(world, 60, 0)
        assert world.consumer._window.ramp.steady_per_s == pytest.approx(STEADY_PER_S, rel=0.2)

        subscriber.down = True
        begun = world.loop.time()
        number = await produce(world, OUTAGE_S, number)
        attempts = subscriber.between(subscriber.tried, begun + 10, OUTAGE_S - 10)
        assert attempts <= 1.2 * pace.DOWN_RATE_PER_S * OUTAGE_S, "it is asked now and then, not hammered"
        assert world.consumer.down()
        assert world.metric("dataplane_broker_subscriber_down") == 1
        assert world.store.parked == []
        assert len(world.store.scheduled) < 10_000

        subscriber.down = False
        back = world.loop.time()
        number = await produce(world, 60, number)
        first_minute = subscriber.between(subscriber.taken, back, 60)
        assert STEADY_PER_S * 50 <= first_minute <= 2 * STEADY_PER_S * 60
        per_second = [subscriber.between(subscriber.taken, back + second, 1) for second in range(60)]
        assert max(per_second) <= 2 * STEADY_PER_S * 1.2, "no burst within it"

        number = await produce(world, 60, number)
        await asyncio.sleep(400)
        assert sorted(world.ids(), key=int) == [str(n) for n in range(number)]
        assert world.consumer._window.ramp.bucket is None

    run(main)


def test_what_failed_together_does_not_come_back_together():
    async def main():
        world = World(trigger(retry=1000, delay_s=60.0, max_in_flight=1000, policy={"max_backoff_s": 60.0}))
        world.engine.random = random.Random(2).random
        subscriber = world.script = Subscriber(world)
        subscriber.down = True
        await produce(world, 30, 0)
        waits = [wait for _, attempt, wait, _ in world.store.laters[200:] if attempt == 2]
        assert min(waits) < 6
        assert max(waits) > 54, "drawn from the whole interval"

    run(main)


def test_a_pause_that_was_asked_for_is_kept():
    async def main():
        said = []

        def script(asked):
            said.append(asked.at)
            return (0.01, 503, [(b"Retry-After", b"30")], b"") if asked.attempt == 1 else (0.01, 204)

        world = World(trigger(retry=3, delay_s=0.1), script=script)
        world.store.offer(event("1"))
        await asyncio.sleep(60)
        assert 30 <= said[1] - said[0] <= 34
        world.update(trigger(retry=3, delay_s=0.1, policy={"max_backoff_s": 5.0}))
        world.store.offer(event("2"))
        await asyncio.sleep(60)
        assert 5 <= said[3] - said[2] <= 6, "within its cap"

    run(main)
