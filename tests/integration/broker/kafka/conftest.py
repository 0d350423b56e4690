"""A broker kept in a real Kafka, its triggers, and what a plain Kafka client sees of them."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from broker.store.contract import Delivery, LogSettings, Record, Start
from broker.store.kafka.log import KafkaLog
from broker.store.kafka.store import KafkaStore
from dataplane.telemetry.metrics import Registry
from dataplane.wire.cloudevents import Event
from tests.servers.kafka.server import SESSION_S, Missing, Server, required

BROKER = "default/orders"
WAIT_S = 60.0
EARLIEST = Start("earliest")


class Trigger:
    """A Consumer that settles what it gets, unless `hold`; `lets_go`: as a dispatcher does, of what it holds but `busy`
    (ids)."""

    def __init__(
        self, key: str = "t1", *, hold: bool = False, ordered: bool = False, type: str = "", lets_go: bool = False
    ) -> None:
        self.key = key
        self.name = f"default/{key}"
        self.ordered = ordered
        self.interest = ("type", type) if type else None
        self.type = type
        self.hold = hold
        self.lets_go, self.busy = lets_go, set[str]()
        self.let: list[Delivery] = []
        self.capacity = 1000
        self.fresh_capacity: int | None = None  # None: as much as there is room
        self.got: list[Delivery] = []
        self.subscription = None

    def matches(self, event: Event) -> bool:
        return not self.type or event.type == self.type

    def room(self) -> int:
        return self.capacity

    def fresh(self) -> int:
        return self.capacity if self.fresh_capacity is None else self.fresh_capacity

    def revoked(self) -> None:
        if not self.lets_go or self.subscription is None:
            return
        for one in list(self.got):
            if one not in self.let and one.record.event.id not in self.busy and not self.subscription.holds(one):
                self.let.append(one)
                self.subscription.let_go(one)

    def deliver(self, batch: Sequence[Delivery]) -> None:
        self.got += batch
        if not self.hold:
            for delivery in batch:
                self.subscription.settle(delivery)

    @property
    def ids(self) -> list[str]:
        return [one.record.event.id for one in self.got]

    async def on(self, log: KafkaLog, start: Start = Start()) -> "Trigger":
        hold, self.hold = self.hold, True
        self.subscription = await log.subscribe(self, start)
        self.hold = hold
        if not hold:
            for delivery in list(self.got):
                self.subscription.settle(delivery)
        return self

    async def until(self, count: int) -> list[Delivery]:
        await until(lambda: len(self.got) >= count)
        return self.got


class Kafka:
    """One place in a Kafka: several stores are several processes that share it."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.run = uuid.uuid4().hex[:8]
        self.registry = Registry()
        self.stores: list[KafkaStore] = []

    @property
    def topic(self) -> str:
        return f"test-{self.run}-default-orders"

    @property
    def config(self) -> dict[str, str]:
        return {
            "brokers.topic.template": f"test-{self.run}-{{namespace}}-{{name}}",
            "brokers.dlq.topic.template": f"test-{self.run}-dlq-{{namespace}}-{{name}}",
            "triggers.consumergroup.template": f"test-{self.run}-{{namespace}}-{{name}}",
        }

    def store(self, **more: object) -> KafkaStore:
        made = KafkaStore(
            self.bootstrap, config=self.config, session_s=SESSION_S, **({"registry": self.registry} | more)
        )
        self.stores.append(made)
        return made

    async def open(
        self, broker: str = BROKER, *, partitions: int = 3, store: KafkaStore | None = None, **config: str
    ) -> KafkaLog:
        settings = LogSettings(config={"default.topic.partitions": str(partitions)} | config)
        store = store or self.store()
        await store.start()
        return await store.open(broker, settings)

    async def write(self, *records: dict, topic: str = "") -> None:
        """As any Kafka client would: key, value, headers, partition of each."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        for record in records:
            await producer.send_and_wait(topic or self.topic, **record)
        await producer.stop()

    async def read(self, topic: str = "") -> list:
        """Everything on a topic, as any Kafka client sees it."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False)
        await consumer.start()
        topic = topic or self.topic
        await consumer._client._wait_on_metadata(topic)
        tps = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        found = []
        for tp in tps:
            consumer.seek(tp, 0)
        while [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
        await consumer.stop()
        return found

    def metric(self, name: str) -> float:
        lines = (line for line in self.registry.render().splitlines() if line.startswith((f"{name} ", f"{name}{{")))
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def ended(kafka: Kafka) -> None:
    for store in kafka.stores:
        await store.close()


@pytest.fixture
async def kafka() -> AsyncIterator[Kafka]:
    """In the server that all tests share."""
    made = Kafka(required())
    yield made
    await ended(made)
    store = made.store()
    await store.delete(BROKER)
    await store.close()


@pytest.fixture(scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    required()
    try:
        made = Server(tmp_path_factory.mktemp("kafka"))
    except Missing as missing:  # KAFKA_BOOTSTRAP names one, and this machine has none to kill
        pytest.skip(str(missing))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def server(_server: Server) -> Iterator[Server]:
    """One of the tests' own, to be killed, frozen and started again."""
    yield _server
    if not _server.pid:
        _server.start()
    _server.thaw()


@pytest.fixture
async def own(server: Server) -> AsyncIterator[Kafka]:
    made = Kafka(server.bootstrap)
    yield made
    await ended(made)


def record(id: str, *, type: str = "t", data: bytes | None = b"{}", at: float = 0.0, **attributes: str) -> Record:
    context = {"specversion": "1.0", "id": id, "source": "/s", "type": type, **attributes}
    return Record(event=Event(context, data), arrived_at=at or time.time())


async def append(log: KafkaLog, *batch: Record, wait_s: float = WAIT_S) -> None:
    told = asyncio.get_running_loop().create_future()
    log.append(batch, lambda fault: told.done() or told.set_result(fault))
    async with asyncio.timeout(wait_s):
        fault = await told
    if fault is not None:
        raise fault


async def until(true: Callable[[], object], wait_s: float = WAIT_S) -> None:
    async with asyncio.timeout(wait_s):
        while not true():
            await asyncio.sleep(0.02)
