"""Reads a broker's topic once for every trigger of this process that is at its head.

Path: Kafka → [tail] → read.py.

Each record is decoded and matched once, through the index, however many triggers there are. A trigger follows a
partition while it is at the tail's position; one that has no room, is told to seek, or comes back from a restart reads
that partition through its own membership until it is at the head again (read.py).

Bound: FETCH_RECORDS records in memory, and what aiokafka fetched ahead, 1 MiB per partition.
Source: docs/decisions/0007; performance.md P10, reliability.md BR-16.
"""

import asyncio
import logging

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord

from broker.matching import Index
from broker.store.contract import Consumer, Record
from broker.store.kafka.cluster import Cluster, stop
from broker.store.kafka.partition import Partition
from broker.store.kafka.records import taken
from dataplane.errors import BadEvent
from dataplane.net.tasks import Tasks
from dataplane.telemetry.metrics import Cell

FETCH_RECORDS = 500
AHEAD_MAX = 2 * FETCH_RECORDS
AGAIN_S = 0.5

log = logging.getLogger(__name__)


class Follower:
    """A subscription as the tail sees it."""

    consumer: Consumer

    def feed(self, partition: Partition, items: list[tuple[int, Record]], end: int) -> None:
        """What of a partition it wants, from where it was up to `end`."""
        raise NotImplementedError

    def fed(self) -> None:
        """That was all for now."""
        raise NotImplementedError

    def dropped(self, number: int) -> None:
        """The tail cannot go on with this partition: read it yourself."""
        raise NotImplementedError


class Tail:
    def __init__(self, cluster: Cluster, topic: str, ends: dict[int, int], discarded: Cell) -> None:
        self.next: dict[int, int] = {}  # of the partitions that are followed
        self._cluster = cluster
        self._topic = topic
        self._ends = ends
        self._discarded = discarded
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks(f"kafka-tail {topic}")
        self._followers: dict[int, dict[Follower, Partition]] = {}
        self._index: Index[Follower] = Index()
        self._kafka: AIOKafkaConsumer | None = None
        self._wanted = asyncio.Event()
        self._armed = False

    def start(self) -> None:
        self._tasks.spawn(self._run(), "read")

    async def close(self) -> None:
        await self._tasks.close()

    def follow(self, follower: Follower, partition: Partition) -> bool:
        """False: it is behind the tail, or so far ahead that it would wait for it."""
        number, at = partition.number, partition.progress.next
        here = self.next.get(number)
        if (partition.holes and not partition.apart) or (here is not None and not 0 <= at - here <= AHEAD_MAX):
            return False
        if here is None:
            self.next[number] = at
            self._reassign_soon()
        self._followers.setdefault(number, {})[follower] = partition
        self._index.add(follower.consumer.key, follower.consumer, follower)
        return True

    def leave(self, follower: Follower, numbers: list[int]) -> None:
        """It follows these partitions no more."""
        for number in numbers:
            some = self._followers.get(number)
            if some is not None and some.pop(follower, None) is not None and not some:
                del self._followers[number], self.next[number]
                self._reassign_soon()
        if not any(follower in some for some in self._followers.values()):
            self._index.remove(follower.consumer.key)

    def changed(self, follower: Follower) -> None:
        """Its filter is another one."""
        if any(follower in some for some in self._followers.values()):
            self._index.add(follower.consumer.key, follower.consumer, follower)

    # ---- reading ----

    def _reassign_soon(self) -> None:
        if not self._armed:
            self._armed = True
            self._loop.call_soon(self._reassign)

    def _reassign(self) -> None:
        self._armed = False
        kafka = self._kafka
        if kafka is None:
            return
        if not self.next:
            self._wanted.clear()
        tps = [TopicPartition(self._topic, number) for number in self.next]
        kafka.assign(tps)
        for tp in tps:
            kafka.seek(tp, self.next[tp.partition])
        if tps:
            self._wanted.set()

    async def _run(self) -> None:
        while True:
            kafka = self._cluster.consumer()
            try:
                await kafka.start()
                self._kafka = kafka
                self._reassign()
                await self._read(kafka)
            except (KafkaError, OSError) as error:
                log.warning("tail_not_read topic=%s error=%r", self._topic, error)
            finally:
                self._kafka = None
                await stop(kafka)
            await asyncio.sleep(AGAIN_S)

    async def _read(self, kafka: AIOKafkaConsumer) -> None:
        while True:
            await self._wanted.wait()
            try:
                fetched = await kafka.getmany(timeout_ms=60_000, max_records=FETCH_RECORDS)
            except OffsetOutOfRangeError as error:
                for tp in error.args[0]:
                    self._drop(tp.partition)
                continue
            touched: dict[Follower, None] = {}
            for tp, records in fetched.items():
                self._feed(tp.partition, records, touched)
                if tp.partition in self.next:
                    self._ends[tp.partition] = max(self._ends.get(tp.partition, 0), kafka.highwater(tp) or 0)
            for follower in touched:
                follower.fed()

    def _feed(self, number: int, records: list[ConsumerRecord], touched: dict[Follower, None]) -> None:
        followers = self._followers.get(number)
        if not followers or records[0].offset < self.next[number]:
            return  # left, or placed anew while this was on its way
        match = self._index.match
        wanted: dict[Follower, list[tuple[int, Record]]] = {}
        for raw in records:
            try:
                record = taken(raw)
            except BadEvent as error:
                self._discarded.v += 1
                log.debug("record_discarded topic=%s %d:%d error=%s", self._topic, number, raw.offset, error)
                continue
            for follower in match(record.event):
                if follower in followers:
                    wanted.setdefault(follower, []).append((raw.offset, record))
        end = records[-1].offset + 1
        self.next[number] = end
        for follower, partition in tuple(followers.items()):
            items = wanted.get(follower)
            if items is not None:
                touched[follower] = None
                follower.feed(partition, items, end)
            else:
                partition.passed(end)

    def _drop(self, number: int) -> None:
        for follower in list(self._followers.get(number, ())):
            self.leave(follower, [number])
            follower.dropped(number)
