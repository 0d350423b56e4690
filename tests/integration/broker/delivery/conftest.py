"""A broker on the memory store, triggers on real sockets: what stands between an appended event and its subscriber."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from broker.dispatcher import TriggerConsumer
from broker.journal import Journal
from broker.meters import DeliveryMeters
from broker.settings import BrokerSettings
from broker.store.contract import EventStore, LogSettings, Record, Start
from broker.store.memory import MemoryStore
from dataplane.clock import SYSTEM
from dataplane.net.engine import Engine
from dataplane.net.pool import PoolSettings
from dataplane.policy.filters import compile_filters
from dataplane.resources.triggers import DeliveryPolicy, Target, Trigger
from dataplane.telemetry.metrics import Registry
from dataplane.wire.cloudevents import Event
from tests.integration.subscriber import Script, Subscriber


def event(id="1", data=b"{}", **attributes):
    base = {"specversion": "1.0", "id": str(id), "source": "/s", "type": "t", "datacontenttype": "application/json"}
    return Event({**base, **attributes}, data)


REPLY = "ce-specversion: 1.0\r\nce-id: reply\r\nce-source: /r\r\nce-type: reply\r\n"


class BrokerHouse:
    def __init__(self, settings: BrokerSettings, store: EventStore | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.registry = Registry()
        self.engine = Engine(loop=self.loop, registry=self.registry, pool=PoolSettings(connect_timeout_s=0.5))
        self.settings = settings
        self.journal = Journal(facts_max=200_000)
        self.meters = DeliveryMeters(self.registry, SYSTEM.wall)
        self.store = store or MemoryStore()
        self.triggers: dict[str, TriggerConsumer] = {}
        self.subscribers: list[Subscriber] = []
        self.subscriptions: dict[str, object] = {}

    async def start(self) -> None:
        await self.store.start()
        self.log = await self.store.open("ns/br", LogSettings())

    async def subscriber(self, script: "Script | bytes | None" = None) -> Subscriber:
        made = await (Subscriber() if script is None else Subscriber(script)).start()
        self.subscribers.append(made)
        return made

    async def trigger(
        self, name: str, to: "To", *, sink: "To | None" = None, retry=0, delay_s=0.02,
        backoff="linear", timeout_s=5.0, policy=None, filters=(), **more,
    ) -> TriggerConsumer:  # fmt: skip
        what = Trigger(
            namespace="ns",
            name=name,
            broker="br",
            uid=f"uid-{name}",
            subscriber=_target(to),
            dead_letter=_target(sink) if sink is not None else None,
            delivery=DeliveryPolicy(
                retry=retry, delay_s=delay_s, backoff=backoff, timeout_s=timeout_s, **(policy or {})
            ),
            filters=filters,
            **more,
        )
        consumer = TriggerConsumer(
            self.engine, what, compile_filters(filters), self.settings, "ns/br", self.journal, SYSTEM, self.meters
        )
        subscription = self.subscriptions[name] = await self.log.subscribe(consumer, Start("latest"))
        consumer.attach(subscription)
        self.triggers[name] = consumer
        return consumer

    async def publish(self, *records: "Event | Record") -> None:
        """Returns when they are durable."""
        now = SYSTEM.wall()
        batch = [r if isinstance(r, Record) else Record(event=r, arrived_at=now) for r in records]
        done = self.loop.create_future()
        self.log.append(batch, lambda fault: done.set_exception(fault) if fault else done.set_result(None))
        await done

    async def until(self, condition: Callable[[], object], limit_s: float = 60.0) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():
                await asyncio.sleep(0.005)

    async def settled(self, limit_s: float = 60.0) -> None:
        """Nothing waits, is on its way or is scheduled any more."""

        def idle() -> bool:
            lags = [subscription.lag() for subscription in self.subscriptions.values()]
            return not any(lag.waiting or lag.in_flight or lag.scheduled for lag in lags)

        await self.until(idle, limit_s)

    async def letters(self, name: str) -> list:
        return await self.subscriptions[name].letters()

    def metric(self, name: str, **labels: str) -> float:
        total = 0.0
        for line in self.registry.render().splitlines():
            if line.startswith((f"{name} ", f"{name}{{")) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    async def stop(self) -> None:
        """The broker; its subscribers stay."""
        for consumer in self.triggers.values():
            consumer.close()
        await self.store.close()
        await self.engine.close()
        await asyncio.sleep(0)

    async def leave(self) -> None:
        for subscriber in self.subscribers:
            await subscriber.stop()


To = Subscriber | Target | str


def _target(to: To) -> Target:
    return to if isinstance(to, Target) else Target(url=to if isinstance(to, str) else to.url)


@pytest.fixture
async def make_house() -> AsyncIterator[Callable]:
    houses: list[BrokerHouse] = []

    async def make(store: EventStore | None = None, **settings: object) -> BrokerHouse:
        house = BrokerHouse(BrokerSettings(**settings), store)
        houses.append(house)
        await house.start()
        return house

    yield make
    for house in houses:
        await house.stop()
        await house.leave()


@pytest.fixture
async def house(make_house: Callable) -> BrokerHouse:
    return await make_house()
