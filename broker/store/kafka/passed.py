"""What one trigger passed over while its subscriber was away, read beside what is new.

Path: Kafka → [passed] → read.py.

The membership, or the tail that all share, reads on at the end of the log; a reader outside the group reads what lies
apart (partition.py), as long as something does. It cannot harm the membership: what it fetched counts only as far as it
is taken, by whoever owns the partition then.

Bound: FETCH_RECORDS records, and what aiokafka fetched ahead, 1 MiB per partition.
Source: docs/decisions/0007; reliability.md BR-15.
"""

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord

from broker.store.contract import Consumer
from broker.store.kafka.chunk import Chunk, choose
from broker.store.kafka.cluster import stop
from broker.store.kafka.membership import Membership
from broker.store.kafka.partition import Partition
from broker.store.kafka.tail import FETCH_RECORDS
from dataplane.errors import StoreFault
from dataplane.net.tasks import Tasks
from dataplane.telemetry.metrics import Cell

if TYPE_CHECKING:
    from broker.store.kafka.log import KafkaLog

SEEK_OVER = 1000  # settled offsets in a row that are cheaper to seek over than to read
AGAIN_S = 0.5
LOOK_MS = 1000  # where a range ends in what only transactions see, nothing is fetched and the position moves

log = logging.getLogger(__name__)


class Reader(Protocol):
    """The subscription."""

    consumer: Consumer
    membership: Membership

    def pump(self) -> None:
        """Something was fetched."""

    def leap(self, ends: dict[int, int]) -> None:
        """Pass over what waits below the ends of the log, as far as they are known."""

    def replace(self, partition: Partition) -> None:
        """It is not what it was: begin it anew."""


class Passed:
    """wanted: set when the buffer is empty. returned: its subscriber is, and what waits was not passed over yet."""

    def __init__(self, kafka_log: "KafkaLog", reader: Reader, discarded: Cell) -> None:
        self.buffer: deque[Chunk] = deque()
        self.wanted = asyncio.Event()
        self._cluster = kafka_log.cluster
        self._topic = kafka_log.topic.name
        self._reader = reader
        self._discarded = discarded
        self._tasks = Tasks(f"kafka-passed {reader.consumer.name}")
        self._reading = self._asking = False
        self._anew = False
        self.returned = False

    def over(self) -> None:
        """The subscriber is back: pass over what waits, as soon as the partitions are ours and the end is known."""
        self.returned = True
        self._ask_soon()

    def begin(self) -> None:
        """What lies apart is something else than before."""
        self.buffer.clear()
        self.wanted.set()
        self._anew = True
        self._ask_soon()
        if not self._reading and self._apart():
            self._reading = True
            self._tasks.spawn(self._run(), "read")

    def _ask_soon(self) -> None:
        if self.returned and not self._asking and not self._reader.membership.stopped:
            self._asking = True
            self._tasks.spawn(self._ask(), "ask")

    async def _ask(self) -> None:
        """Others append too: where the log ends, only Kafka knows."""
        membership = self._reader.membership
        try:
            while self.returned and not membership.stopped:
                numbers = list(membership.partitions)
                try:
                    ends = (await self._cluster.edges(self._topic, numbers))[1] if numbers else {}
                except StoreFault:
                    ends = {}
                if not membership.stopped:
                    self.returned = False
                    self._reader.leap(ends)
        finally:
            self._asking = False

    def _apart(self) -> dict[int, Partition]:
        membership = self._reader.membership
        return {} if membership.stopped else {n: one for n, one in membership.partitions.items() if one.apart}

    async def close(self) -> None:
        await self._tasks.close()

    # ---- reading ----

    async def _run(self) -> None:
        try:
            while self._apart():
                kafka = self._cluster.consumer()
                try:
                    await kafka.start()
                    self._anew = True
                    await self._read(kafka)
                except (KafkaError, OSError) as error:
                    log.warning("passed_not_read trigger=%s error=%r", self._reader.consumer.name, error)
                    await asyncio.sleep(AGAIN_S)
                finally:
                    await stop(kafka)
        finally:
            self._reading = False

    async def _read(self, kafka: AIOKafkaConsumer) -> None:
        """Returns when nothing lies apart any more."""
        reading: dict[int, Partition] = {}
        while True:
            while self.buffer:
                self.wanted.clear()
                await self.wanted.wait()
            apart = self._apart()
            if not apart:
                return
            if self._anew:
                self._anew = False
                self.buffer.clear()
                reading = apart
                kafka.assign([TopicPartition(self._topic, number) for number in reading])
                for number, partition in reading.items():
                    kafka.seek(TopicPartition(self._topic, number), partition.unread_from(0))
            for number in reading.keys() - apart.keys():
                del reading[number]
                kafka.pause(TopicPartition(self._topic, number))
            try:
                fetched = await kafka.getmany(timeout_ms=LOOK_MS, max_records=FETCH_RECORDS)
            except OffsetOutOfRangeError as error:
                changed = await self._reader.membership.adjust(error.args[0])
                for partition in changed:
                    self._reader.replace(partition)
                self._anew = True
                await asyncio.sleep(0 if changed else AGAIN_S)
                continue
            positions = {number: await kafka.position(TopicPartition(self._topic, number)) for number in reading}
            if self._anew:
                continue  # fetched for what lay apart before
            for number, partition in reading.items():
                self._fetched(kafka, partition, fetched.get(TopicPartition(self._topic, number), []), positions[number])
            self._reader.pump()

    def _fetched(
        self, kafka: AIOKafkaConsumer, partition: Partition, records: list[ConsumerRecord], position: int
    ) -> None:
        end = max(position, records[-1].offset + 1) if records else position
        items = choose(records, self._reader.consumer, partition.is_unread, self._discarded)
        if items:
            self.buffer.append(Chunk(partition, items, end, apart=True))
        else:
            partition.passed_apart(end)
        to = partition.unread_from(end)
        tp = TopicPartition(self._topic, partition.number)
        if to is None:
            kafka.pause(tp)
        elif to - end > SEEK_OVER:
            kafka.seek(tp, to)
