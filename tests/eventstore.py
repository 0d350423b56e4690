"""What tests of event stores share: a subscriber that holds what it gets, records, and waits that end."""

import asyncio
import time
from collections.abc import Callable, Sequence

from broker.store.contract import Consumer, Delivery, EventLog, Failure, Record, Start
from dataplane.wire.cloudevents import Event

WAIT_S = 20.0
EARLIEST = Start("earliest")


class Subscriber:
    """A Consumer that holds what it gets until the test ends it. `answer` is called with each delivery."""

    def __init__(self, key: str = "t1", *, room: int = 1000, ordered: bool = False, type: str = "") -> None:
        self.key = key
        self.name = f"default/{key}"
        self.ordered = ordered
        self.type = type
        self.interest = ("type", type) if type else None
        self.capacity = room
        self.fresh_capacity: int | None = None  # None: as much as there is room
        self.holds = 0
        self.revocations = 0
        self.got: list[Delivery] = []
        self.batches: list[int] = []
        self.answer: Callable[[Delivery], None] = lambda delivery: None
        self.subscription = None
        self._news = asyncio.Event()

    def matches(self, event: Event) -> bool:
        return not self.type or event.type == self.type

    def room(self) -> int:
        return self.capacity - self.holds

    def fresh(self) -> int:
        return self.room() if self.fresh_capacity is None else self.fresh_capacity - self.holds

    def deliver(self, batch: Sequence[Delivery]) -> None:
        assert 0 < len(batch) <= max(self.room(), self.fresh()), "more than there was room for"
        self.holds += len(batch)
        self.batches.append(len(batch))
        self.got += batch
        for delivery in batch:
            self.answer(delivery)
        self._news.set()

    def revoked(self) -> None:
        self.revocations += 1

    # what a dispatcher does

    def settle(self, delivery: Delivery) -> None:
        self.holds -= 1
        self.subscription.settle(delivery)
        self.subscription.more()

    def later(self, delivery: Delivery, *, in_s: float = 0.0, attempt: int = 2, keep: bool = False) -> None:
        self.holds -= not keep
        self.subscription.later(delivery, due_at=time.time() + in_s, attempt=attempt, keep=keep)
        self.subscription.more()

    def let_go(self, delivery: Delivery) -> None:
        self.holds -= 1
        self.subscription.let_go(delivery)
        self.subscription.more()

    def park(self, delivery: Delivery, kept: str = "parked", **failure: object) -> None:
        self.holds -= 1
        self.subscription.park(delivery, Failure(reason="exhausted", **failure), kept)
        self.subscription.more()

    # what a test asks

    @property
    def ids(self) -> list[str]:
        return [delivery.record.event.id for delivery in self.got]

    @property
    def attempts(self) -> list[tuple[str, int]]:
        return [(delivery.record.event.id, delivery.attempt) for delivery in self.got]

    async def until(self, count: int) -> list[Delivery]:
        """Wait for `count` deliveries altogether."""
        async with asyncio.timeout(WAIT_S):
            while len(self.got) < count:
                self._news.clear()
                await self._news.wait()
        return self.got

    async def stays_at(self, count: int, quiet_s: float) -> None:
        await self.until(count)
        await asyncio.sleep(quiet_s)
        assert len(self.got) == count, self.ids


def record(
    id: str, *, type: str = "t", source: str = "/s", data: bytes | None = b"{}", at: float = 0.0, **more: object
) -> Record:
    attributes = {"specversion": "1.0", "id": id, "source": source, "type": type}
    return Record(event=Event(attributes, data), arrived_at=at or time.time(), **more)


def records(count: int, prefix: str = "e", **more: object) -> list[Record]:
    return [record(f"{prefix}{i}", **more) for i in range(count)]


async def append(log: EventLog, *batch: Record) -> None:
    """Returns when it is durable; raises what `done` was told."""
    told = asyncio.get_running_loop().create_future()
    log.append(batch, told.set_result)
    async with asyncio.timeout(WAIT_S):
        fault = await told
    if fault is not None:
        raise fault


async def subscribe(log: EventLog, subscriber: Subscriber, start: Start = Start()) -> Subscriber:
    assert isinstance(subscriber, Subscriber)
    consumer: Consumer = subscriber
    # deliveries may come before `subscribe` returns; an answer to them needs the subscription
    answer, subscriber.answer = subscriber.answer, lambda delivery: None
    subscriber.subscription = await log.subscribe(consumer, start)
    subscriber.answer = answer
    for delivery in list(subscriber.got):
        answer(delivery)
    return subscriber


def settling(key: str = "t1", **more: object) -> Subscriber:
    subscriber = Subscriber(key, **more)
    subscriber.answer = subscriber.settle
    return subscriber


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.01)


async def until_durable(log: EventLog) -> None:
    """Every settle before this is durable: it joins a commit no later than an append that is told after it."""
    await append(log, record("marker", type="marker"))
    await asyncio.sleep(0.1)
