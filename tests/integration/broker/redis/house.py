"""Stores that share a Redis as processes would, and consumers that hold what they get."""

import asyncio
import time
from collections.abc import Callable, Sequence

from broker.store.contract import Delivery, LogSettings, Record, Start
from broker.store.redis.log import RedisLog
from broker.store.redis.store import RedisStore
from dataplane.clock import SYSTEM
from dataplane.errors import StoreFault
from dataplane.telemetry.metrics import Registry
from dataplane.wire.cloudevents import Event
from tests.redisserver import RedisServer

BROKER = "default/default"
WAIT_S = 20.0


class Subscriber:
    """A Consumer. It holds what it gets, or settles it at once."""

    def __init__(
        self, key: str = "t1", *, room: int = 1000, ordered: bool = False, settles: bool = False, type: str = ""
    ) -> None:
        self.key, self.name = key, f"default/{key}"
        self.ordered, self.settles, self.type = ordered, settles, type
        self.interest = ("type", type) if type else None
        self.capacity = room
        self.holds: list[Delivery] = []
        self.got: list[Delivery] = []
        self.subscription = None

    def matches(self, event: Event) -> bool:
        return not self.type or event.type == self.type

    def room(self) -> int:
        return self.capacity - len(self.holds)

    def deliver(self, batch: Sequence[Delivery]) -> None:
        assert 0 < len(batch) <= self.room()
        self.got += batch
        self.holds += batch
        if self.settles and self.subscription is not None:
            self.settle_all()

    def settle_all(self) -> None:
        held, self.holds = self.holds, []
        for delivery in held:
            self.subscription.settle(delivery)
        self.subscription.more()

    @property
    def ids(self) -> list[str]:
        return [delivery.record.event.id for delivery in self.got]

    async def until(self, count: int) -> list[Delivery]:
        await until(lambda: len(self.got) >= count)
        return self.got


async def until(true: Callable[[], object], wait_s: float = WAIT_S) -> None:
    async with asyncio.timeout(wait_s):
        while not true():
            await asyncio.sleep(0.01)


def record(id: str, *, type: str = "t", data: bytes = b"{}", **attributes: str) -> Record:
    own = {"specversion": "1.0", "id": id, "source": "/s", "type": type, **attributes}
    return Record(event=Event(own, data), arrived_at=time.time())


async def append(log: RedisLog, *batch: Record) -> None:
    told = asyncio.get_running_loop().create_future()
    log.append(batch, told.set_result)
    async with asyncio.timeout(WAIT_S):
        fault = await told
    if fault is not None:
        raise fault


async def accepted(log: RedisLog, *batch: Record) -> None:
    """Appends until the store takes it, as a producer does that got 503."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await append(log, *batch)
            except StoreFault:
                await asyncio.sleep(0.05)


async def subscribe(log: RedisLog, subscriber: Subscriber, start: Start = Start()) -> Subscriber:
    subscriber.subscription = await log.subscribe(subscriber, start)
    if subscriber.settles:
        subscriber.settle_all()
    return subscriber


class House:
    """Stores on one server; each is what one broker process would have."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.registries: dict[RedisStore, Registry] = {}

    async def store(self, **more: object) -> RedisStore:
        registry = Registry()
        store = RedisStore(url=self.server.url, clock=SYSTEM, registry=registry, **more)
        self.registries[store] = registry
        await store.start()
        return store

    async def log(self, settings: LogSettings = LogSettings(), **more: object) -> RedisLog:
        return await (await self.store(**more)).open(BROKER, settings)

    def metric(self, store: RedisStore, name: str) -> float:
        lines = self.registries[store].render().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + " ", name + "{")))

    async def dies(self, store: RedisStore) -> None:
        """As if its process were gone: nothing more is sent."""
        await store.tasks.close()

    async def close(self) -> None:
        for store in self.registries:
            await store.close()
