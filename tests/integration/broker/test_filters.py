"""The filter matrix over real sockets: an event goes in at the ingress, and reaches the subscribers that it should."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broker.dispatcher import TriggerConsumer
from broker.ingress import Ingress
from broker.journal import Journal
from broker.meters import DeliveryMeters
from broker.service import BrokerService
from broker.settings import BrokerSettings
from broker.store.memory import MemoryStore
from dataplane.clock import SYSTEM
from dataplane.net.engine import Engine
from dataplane.resources.snapshot import Snapshot
from dataplane.resources.triggers import Broker, Target, Trigger
from dataplane.telemetry.metrics import Registry
from tests.integration.broker.conftest import Client
from tests.integration.subscriber import Subscriber
from tests.unit.dataplane.policy.test_filters import MATRIX, SOURCE, TYPE


class Path:
    """Ingress, memory store and dispatchers in this process; one subscriber per trigger."""

    def __init__(self) -> None:
        loop, registry, settings = asyncio.get_running_loop(), Registry(), BrokerSettings(store="memory")
        self.engine = Engine(loop=loop, registry=registry)
        journal, meters = Journal(facts_max=1000), DeliveryMeters(registry, SYSTEM.wall)
        self.service = BrokerService(
            settings=settings,
            make_store=lambda kind: MemoryStore(clock=SYSTEM, registry=registry),
            make_runner=lambda trigger, filter, broker: TriggerConsumer(
                engine=self.engine,
                trigger=trigger,
                filter=filter,
                settings=settings,
                broker=broker,
                journal=journal,
                clock=SYSTEM,
                meters=meters,
            ),
            clock=SYSTEM,
            registry=registry,
        )
        self.ingress = Ingress(
            engine=self.engine,
            settings=settings,
            logs=self.service.log,
            known=self.service.known,
            clock=SYSTEM,
            journal=journal,
        )
        self.subscribers: dict[str, Subscriber] = {}

    async def start(self, **filters: Any) -> None:
        """A trigger by each name."""
        triggers: dict[str, Trigger] = {}
        for name, each in filters.items():
            subscriber = self.subscribers[name] = await Subscriber().start()
            target = Target(url=subscriber.url)
            triggers[f"ns/{name}"] = Trigger(
                namespace="ns", name=name, uid=name, broker="b", subscriber=target, filters=tuple(each)
            )
        brokers = {"ns/b": Broker(namespace="ns", name="b", uid="b")}
        self.service.apply(Snapshot(generation=1, brokers=brokers, triggers=triggers))
        await self.service.settled(10.0)
        self.address = await self.ingress.listen("127.0.0.1", 0)

    async def send(self, **attributes: str) -> None:
        fields = {"specversion": "1.0", "id": "1", "source": SOURCE, "type": TYPE, **attributes}
        content_type = fields.pop("datacontenttype", "application/json")
        headers = "".join(f"ce-{name}: {value}\r\n" for name, value in fields.items())
        client = Client(*await asyncio.open_connection(*self.address))
        said = await client.posted("/ns/b", f"{headers}content-type: {content_type}\r\n", b'{"total": 120}')
        client.close()
        assert said.status == 202, said

    async def got(self, name: str) -> int:
        """How many events its subscriber has, when nothing more can come."""
        running = self.service.trigger(f"ns/{name}")
        assert running is not None
        async with asyncio.timeout(10):
            while (lag := running.subscription.lag()).waiting or lag.in_flight:
                await asyncio.sleep(0.005)
        return len(self.subscribers[name].requests)

    async def stop(self) -> None:
        await self.ingress.drain()
        await self.service.drain()
        for subscriber in self.subscribers.values():
            await subscriber.stop()
        await self.engine.close()


@pytest.fixture
async def path() -> AsyncIterator[Path]:
    made = Path()
    yield made
    await made.stop()


@pytest.mark.parametrize(("filters", "attributes", "wanted"), MATRIX)
async def test_matrix(path, filters, attributes, wanted):
    await path.start(asked=filters, everything=())
    await path.send(**attributes)
    assert await path.got("everything") == 1
    assert await path.got("asked") == wanted


async def test_two_triggers_with_any_get_each_their_own(path):
    await path.start(
        one=[{"any": [{"exact": {"type": "a"}}, {"exact": {"type": "b"}}]}],
        other=[{"any": [{"exact": {"type": "b"}}, {"prefix": {"type": "c"}}]}],
    )
    for id_, type_ in enumerate(("a", "b", "cc", "d")):
        await path.send(id=str(id_), type=type_)
    assert (await path.got("one"), await path.got("other")) == (2, 2)


async def test_filters_that_look_inside(path):
    await path.start(
        rich=[{"jsonpath": "$.total >= 100"}],
        poor=[{"jsonpath": "$.total < 100"}],
        cel=[{"cel": "data.total >= 100 && event.type == 'order'"}],
    )
    await path.send(type="order")
    assert [await path.got(name) for name in ("rich", "poor", "cel")] == [1, 0, 1]


async def test_an_unreadable_filter_holds_up_no_other_trigger_and_gets_nothing(path):
    await path.start(bad=[{"cesql": "type ="}], good=())
    await path.send()
    assert await path.got("good") == 1
    assert path.service.trigger("ns/bad") is None
    assert path.subscribers["bad"].requests == []
