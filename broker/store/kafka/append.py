"""Appends of one process to one cluster: records become batches, a batch becomes one request, its ack answers them all.

Path: store.py, kept.py → [append] → Kafka: acks=all, idempotent.

A lane is a partition of a topic, or, for records without a key, a topic: then each batch goes to the next partition. A
lane has one batch with Kafka and gathers the next one meanwhile, so the wait for an ack is the group commit and nobody
lingers. What happens per event is one call into the batch's builder; the future and the task are the batch's.

A producer whose sequence is broken (a batch that Kafka refused, an epoch that somebody else took) never recovers by
itself: it is replaced, and what it held is answered with a fault.

While Kafka is away one batch per lane waits with aiokafka, which repeats it without an end; when it has waited for
`AWAY_S` everything else is refused at once. It is appended when Kafka is back, which also ends the refusals.

Bound: `WAITING_BYTES_MAX`. Source: spec/eventing.md §28.2; reliability.md BR-20.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from broker.store.contract import Done
from broker.store.kafka.cluster import BATCH_BYTES_MAX, MESSAGE_BYTES_MAX, Cluster
from broker.store.kafka.records import Encoded
from dataplane.errors import EventTooLarge, StoreFault, StoreUnavailable
from dataplane.net.tasks import Tasks

AWAY_S = 3.0
STOP_TIMEOUT_S = 1.0
WAITING_BYTES_MAX = 64 * 1024 * 1024
RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)

log = logging.getLogger(__name__)

Acked = Callable[[int, int], None]  # partition, the offset after the batch


class _Batch:
    __slots__ = ("builder", "count", "dones", "size_bytes")

    def __init__(self, builder: BatchBuilder) -> None:
        self.builder = builder
        self.dones: list[Done] = []
        self.count = 0
        self.size_bytes = 0

    def answer(self, fault: StoreFault | None, appender: "Appender") -> None:
        appender.waiting_bytes -= self.size_bytes
        for done in self.dones:
            done(fault)


class Lane:
    """See the module. `partition` None: the next one for each batch."""

    def __init__(self, appender: "Appender", topic: str, partition: int | None, message_bytes_max: int) -> None:
        self.topic = topic
        self.message_bytes_max = message_bytes_max
        self.partitions = 1
        self.acked: Acked | None = None
        self._batch_bytes_max = min(BATCH_BYTES_MAX, message_bytes_max - 1024)
        self._appender = appender
        self._partition = partition
        self._turn = itertools.count()
        self._waiting: deque[_Batch] = deque()
        self._flying = False
        self._armed = False

    def add(self, encoded: Encoded, done: Done) -> None:
        """`done` is called when Kafka has acknowledged it or cannot. The caller has asked `refusal` before."""
        key, value, headers, timestamp_ms, size_bytes = encoded
        waiting = self._waiting
        batch = waiting[-1] if waiting else None
        if (
            batch is None
            or batch.size_bytes + size_bytes > self._batch_bytes_max
            or batch.builder.append(timestamp=timestamp_ms, key=key, value=value, headers=headers) is None
        ):
            batch = _Batch(self._appender.builder())
            batch.builder.append(timestamp=timestamp_ms, key=key, value=value, headers=headers)
            waiting.append(batch)
        batch.dones.append(done)
        batch.count += 1
        batch.size_bytes += size_bytes
        self._appender.waiting_bytes += size_bytes
        if not self._flying and not self._armed:
            self._armed = True
            self._appender.loop.call_soon(self._fly)

    def _fly(self) -> None:
        self._armed = False
        if self._waiting and not self._flying:
            self._flying = True
            self._appender.tasks.spawn(self._send(), "send")

    async def _send(self) -> None:
        appender = self._appender
        while self._waiting:
            batch = self._waiting.popleft()
            partition = self._partition
            if partition is None:
                partition = next(self._turn) % self.partitions
            fault: StoreFault | None = StoreUnavailable("the store is closed")
            try:
                fault = await appender.send(batch, self.topic, partition, self.acked)
            finally:  # also when the task is cancelled: everybody gets an answer
                batch.answer(fault, appender)
        self._flying = False

    def close(self) -> None:
        while self._waiting:
            self._waiting.popleft().answer(StoreUnavailable("the store is closed"), self._appender)


class Appender:
    def __init__(self, cluster: Cluster) -> None:
        self.loop = asyncio.get_running_loop()
        self.tasks = Tasks("kafka-append")
        self.waiting_bytes = 0
        self._cluster = cluster
        self._lanes: dict[tuple[str, int | None], Lane] = {}
        self._producer: AIOKafkaProducer | None = None
        self._template = cluster.producer()  # makes builders while there is no connection yet
        self._template._closed = True  # it is never started, so there is nothing to stop
        self._connected = asyncio.Event()
        self._flights: dict[_Batch, float] = {}
        self._landed = asyncio.Event()  # nothing is with Kafka
        self._since = self.loop.time()  # without a connection
        self._closed = False

    def start(self) -> None:
        """Returns at once; it connects in the background, as long as it takes."""
        self.tasks.spawn(self._connect(), "connect")

    def lane(self, topic: str, partition: int | None, message_bytes_max: int = MESSAGE_BYTES_MAX) -> Lane:
        key = (topic, partition)
        found = self._lanes.get(key)
        if found is None:
            found = self._lanes[key] = Lane(self, topic, partition, message_bytes_max)
        return found

    def builder(self) -> BatchBuilder:
        return self._template.create_batch()

    def not_ready(self) -> str:
        """Why an append would fail now."""
        if self._closed:
            return "the store is closed"
        now = self.loop.time()
        if self._producer is None:
            waited = now - self._since
        else:
            waited = now - min(self._flights.values()) if self._flights else 0.0
        if waited > AWAY_S:
            return f"Kafka at {self._cluster.bootstrap} has not answered for {waited:.0f} s"
        return ""

    def refusal(self, size_bytes: int) -> StoreFault | None:
        if self._flights or self._producer is None or self._closed:
            away = self.not_ready()
            if away:
                return StoreUnavailable(away)
        if self.waiting_bytes + size_bytes > WAITING_BYTES_MAX:
            return StoreUnavailable(f"{self.waiting_bytes} bytes wait for Kafka at {self._cluster.bootstrap} already")
        return None

    async def send(self, batch: _Batch, topic: str, partition: int, acked: Acked | None) -> StoreFault | None:
        self._flights[batch] = self.loop.time()
        self._landed.clear()
        try:
            if self._producer is None:
                await self._connected.wait()
            producer = self._producer
            if producer is None:
                return StoreUnavailable("the store is closed")
            try:
                if partition not in await producer.partitions_for(topic):  # it was added a moment ago
                    await producer.client.force_metadata_update()
                answer = await (await producer.send_batch(batch.builder, topic, partition=partition))
            except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
                self._replace(producer, error)
                if batch.count == 1:
                    return EventTooLarge(f"the topic {topic} takes no record of {batch.size_bytes} bytes")
                return StoreUnavailable(f"the topic {topic} takes no batch of {batch.size_bytes} bytes")
            except KafkaError as error:
                self._replace(producer, error)
                return StoreUnavailable(f"Kafka at {self._cluster.bootstrap}: {type(error).__name__} {error}")
            if acked is not None and answer is not None and answer.offset >= 0:
                acked(partition, answer.offset + batch.count)
            return None
        finally:
            del self._flights[batch]
            if not self._flights:
                self._landed.set()

    def _replace(self, producer: AIOKafkaProducer, error: Exception) -> None:
        """Nothing that comes after a refused batch would be taken: its sequence numbers have a gap."""
        if self._producer is not producer or self._closed:
            return
        log.warning("producer_replaced bootstrap=%s error=%r", self._cluster.bootstrap, error)
        self._producer = None
        self._since = self.loop.time()
        self._connected.clear()
        self.tasks.spawn(_stop(producer), "stop")
        self.tasks.spawn(self._connect(), "connect")

    async def _connect(self) -> None:
        for pause_s in itertools.chain(RETRY_S, itertools.repeat(RETRY_S[-1])):
            producer = self._cluster.producer()
            try:
                await producer.start()
            except (KafkaError, OSError) as error:
                log.warning("kafka_away bootstrap=%s error=%r", self._cluster.bootstrap, error)
                await _stop(producer)
            except BaseException:
                await _stop(producer)
                raise
            else:
                self._producer = producer
                self._connected.set()
                return
            await asyncio.sleep(pause_s)

    async def close(self) -> None:
        """What Kafka has not acknowledged within AWAY_S is answered with a fault."""
        if self._flights and self._producer is not None:
            try:
                async with asyncio.timeout(AWAY_S):
                    await self._landed.wait()
            except TimeoutError:
                pass
        self._closed = True
        await self.tasks.close()
        for lane in self._lanes.values():
            lane.close()
        if self._producer is not None:
            await _stop(self._producer)
            self._producer = None


async def _stop(producer: AIOKafkaProducer) -> None:
    """Also of one that cannot reach its server: aiokafka would flush without an end."""
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await producer.stop()
    except TimeoutError:
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await producer._sender.close()
        except Exception as error:  # of its batches, which nobody waits for any more
            log.debug("producer_stopped error=%r", error)
        await producer.client.close()
