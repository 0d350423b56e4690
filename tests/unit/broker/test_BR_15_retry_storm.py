"""BR-15: a subscriber comes back after ten minutes with a backlog behind it. In virtual time."""

import asyncio
import random
from collections import Counter

import pytest

from broker import pace
from broker.store.contract import LogSettings, Record
from broker.store.memory import MemoryStore
from dataplane.errors import ConnectFailed
from tests.unit.broker.world import World, event, run, trigger

STEADY_PER_S = 120
CAPACITY_PER_S = 4 * STEADY_PER_S
OUTAGE_S = 600
AFTER_S = 420


class Subscriber:
    """One request after the other, CAPACITY_PER_S of them."""

    def __init__(self, world):
        self.world, self.down, self.tried, self.taken, self.ids = world, False, [], [], []
        self.taken_at, self.free_at = {}, 0.0

    def __call__(self, asked):
        self.tried.append(asked.at)
        if self.down:
            return (0.001, ConnectFailed("connection refused"))
        self.taken.append(asked.at)
        self.ids.append(asked.id)
        self.free_at = max(self.free_at, asked.at) + 1 / CAPACITY_PER_S
        self.taken_at[asked.id] = self.free_at
        return (self.free_at - asked.at, 204)

    def between(self, times, start, seconds):
        return sum(start <= at < start + seconds for at in times)


class Producer:
    """Appends at random moments, STEADY_PER_S of them a second."""

    def __init__(self, world, log):
        self.world, self.log, self.sent_at, self.random = world, log, {}, random.Random(3)

    async def run(self, seconds):
        end = self.world.loop.time() + seconds
        while (now := self.world.loop.time()) < end:
            id = str(len(self.sent_at))
            self.sent_at[id] = now
            self.log.append([Record(event=event(id), arrived_at=self.world.clock.wall())], lambda fault: None)
            await asyncio.sleep(self.random.expovariate(STEADY_PER_S))

    def latencies(self, subscriber, start, seconds):
        """Of what was sent then: until its subscriber had dealt with it."""
        return [subscriber.taken_at[id] - at for id, at in self.sent_at.items() if start <= at < start + seconds]


async def produce(world, seconds):
    for second in range(seconds):
        world.store.offer(*(event(str(second * STEADY_PER_S + n)) for n in range(STEADY_PER_S)))
        await asyncio.sleep(1)


def quantile(times, q):
    return sorted(times)[int(q * len(times))]


@pytest.mark.slow
@pytest.mark.timeout(400)  # 25 s of work, on a machine that does nothing else
def test_it_is_not_overrun_and_what_is_new_does_not_wait():
    async def main():
        world = World(trigger(retry=1000, delay_s=0.2, backoff="exponential", max_in_flight=1000))
        world.engine.random = random.Random(1).random
        log = await MemoryStore(clock=world.clock).open("ns/br", LogSettings())
        await world.read(log)
        subscriber = world.script = Subscriber(world)
        producer = Producer(world, log)
        await producer.run(60)
        assert world.consumer._window.ramp.steady_per_s == pytest.approx(STEADY_PER_S, rel=0.2)
        normal = quantile(producer.latencies(subscriber, 0, 60), 0.99)

        subscriber.down = True
        begun = world.loop.time()
        await producer.run(OUTAGE_S)
        attempts = subscriber.between(subscriber.tried, begun + 10, OUTAGE_S - 10)
        assert attempts <= 1.2 * pace.DOWN_RATE_PER_S * OUTAGE_S, "it is asked now and then, not hammered"
        assert world.consumer.down()
        assert world.metric("dataplane_broker_subscriber_down") == 1
        lag = world.consumer.lag()
        assert lag.parked == 0
        assert lag.scheduled < 10_000
        assert lag.waiting > 0.9 * OUTAGE_S * STEADY_PER_S

        subscriber.down = False
        back = world.loop.time()
        await producer.run(60)
        first_minute = subscriber.between(subscriber.taken, back, 60)
        assert STEADY_PER_S * 50 <= first_minute <= 2 * STEADY_PER_S * 60
        per_second = [subscriber.between(subscriber.taken, back + second, 1) for second in range(60)]
        assert max(per_second) <= 2 * STEADY_PER_S * 1.2, "no burst within it"

        await producer.run(AFTER_S)
        await asyncio.sleep(300)
        assert world.consumer.lag()[:3] == (0, 0, 0)
        assert Counter(subscriber.ids) == Counter(producer.sent_at.keys()), "each once"
        await producer.run(1)
        assert world.consumer._window.ramp.whole is None
        # A probe finds out that it is back; until then, and for what was sent meanwhile, it is the outage.
        for since, seconds in ((back + 1, 59), (back + 60, 60), (back + 1, AFTER_S)):
            assert quantile(producer.latencies(subscriber, since, seconds), 0.99) <= 5 * normal
        assert max(producer.latencies(subscriber, begun, OUTAGE_S)) > 100, "some waited long: that is what it is about"

    run(main)


def test_what_failed_together_does_not_come_back_together():
    async def main():
        world = World(trigger(retry=1000, delay_s=60.0, max_in_flight=1000, policy={"max_backoff_s": 60.0}))
        world.engine.random = random.Random(2).random
        subscriber = world.script = Subscriber(world)
        subscriber.down = True
        await produce(world, 30)
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
