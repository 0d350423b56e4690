"""Stores that share a Redis as processes would, and a consumer that can settle everything it has."""

import asyncio

from broker.store.contract import Delivery, LogSettings, Record
from broker.store.redis.log import RedisLog
from broker.store.redis.store import RedisStore
from dataplane.clock import SYSTEM
from dataplane.errors import StoreFault
from dataplane.telemetry.metrics import Registry
from tests import eventstore
from tests.eventstore import WAIT_S, append
from tests.redisserver import RedisServer

BROKER = "default/default"


class Subscriber(eventstore.Subscriber):
    """It holds what it gets, or settles it at once; which of both may change."""

    def __init__(self, key: str = "t1", *, settles: bool = False, **more: object) -> None:
        super().__init__(key, **more)
        self.settles = settles
        self.held: list[Delivery] = []
        self.answer = self._answer

    def _answer(self, delivery: Delivery) -> None:
        if self.settles:
            self.settle(delivery)
        else:
            self.held.append(delivery)

    def let_go_all(self) -> None:
        """Of what it holds and may not begin."""
        held, self.held = self.held, []
        for delivery in held:
            if self.subscription.holds(delivery):
                self.held.append(delivery)
            else:
                self.let_go(delivery)

    def settle_all(self) -> None:
        held, self.held = self.held, []
        for delivery in held:
            self.settle(delivery)
        self.subscription.more()

    def forget_held(self) -> None:
        """The test ends what it holds by itself."""
        self.held, self.holds = [], 0


async def accepted(log: RedisLog, *batch: Record) -> None:
    """Appends until the store takes it, as a producer does that got 503."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await append(log, *batch)
            except StoreFault:
                await asyncio.sleep(0.05)


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
