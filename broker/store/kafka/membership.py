"""One trigger's membership in its consumer group: which partitions this process has, and what it commits.

Path: Kafka ↔ [membership] ↔ read.py.

A rebalance takes every partition away (Kafka's eager protocol): nothing is handed over any more, what the consumer has
may end within DRAIN_S, what ended is committed. A partition that comes back, untouched by anybody else, goes on with
what is in flight; any other is fenced: completions for it are abandoned, its new owner repeats them.

Between two assignments, and in doubt, nothing is ours for sure: the consumer lets go of what it has not begun
(`Consumer.revoked`), so what is waited for is what is on its way, and what was let go is read again by whoever gets it.
In doubt is who has not heard from the coordinator for as long as a session (session.py), having been stopped or cut
off; the next answer says whether the partitions still are ours.

Commits begin every `commit_every_s` while anything ended, with everything that ended out of order; between two is as
much time again as one takes, so that a process that is busy commits more rarely.

Source: spec/eventing.md §11.4, §28.3-28.6; reliability.md BR-20.
"""

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata

from broker.store.contract import Consumer
from broker.store.kafka.cluster import stop
from broker.store.kafka.commit import Commit
from broker.store.kafka.partition import Partition
from broker.store.kafka.session import Session
from broker.store.kafka.tail import FETCH_RECORDS
from dataplane.errors import StoreFault
from dataplane.net.tasks import Tasks

if TYPE_CHECKING:
    from broker.store.kafka.log import KafkaLog

DRAIN_S = 5.0
COMMIT_TIMEOUT_S = 2.0
MOVED_EVERY_S = 5.0  # how often mere reading is committed
REBALANCE_MS = 15_000  # above DRAIN_S
BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
FOREVER_MS = 2**31 - 1  # between polls: the event loop's liveness is what heartbeats show

log = logging.getLogger(__name__)


class Reader(Protocol):
    """Who reads the partitions."""

    consumer: Consumer

    @property
    def out(self) -> int:
        """Handed over and not ended."""
        ...

    async def hungry(self) -> None:
        """Returns when it can take what is fetched."""

    def fetched(self, partition: Partition, records: list[ConsumerRecord]) -> None: ...

    def pump(self) -> None:
        """That was all for now."""

    def placed(self, kafka: AIOKafkaConsumer) -> None:
        """The partitions are ours: begin. Raises IllegalStateError when they are not any more."""

    def place(self, kafka: AIOKafkaConsumer, partition: Partition) -> None:
        """Begin to read one. Raises IllegalStateError."""

    def halted(self) -> None:
        """Hand over nothing more, forget what was fetched."""

    def fenced(self) -> None:
        """Partitions went: what waits of them goes too."""


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, kafka_log: "KafkaLog", reader: Reader, group: str) -> None:
        self.group = group
        self.kafka: AIOKafkaConsumer | None = None
        self.partitions: dict[int, Partition] = {}
        self.stopped = True  # between assignments, or in doubt
        self.session = Session(kafka_log.house.session_ms / 1000, asyncio.get_running_loop().time, self._heard)
        self.owns_kept = False  # the partition of the kept topic
        self.ended = asyncio.Event()  # set when a delivery ended
        self._log = kafka_log
        self._topic = kafka_log.topic.name
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks(f"kafka-group {group}")
        self._limbo: dict[int, Partition] = {}  # while a rebalance runs
        self._closed = False
        self._doubt: bool | None = None  # in doubt: whether the partition of the kept topic was ours
        self._lost = kafka_log.meters.lost.cell(kafka_log.topic.broker, reader.consumer.name)

    @property
    def sure(self) -> bool:
        """What is in `partitions` and alive is ours, and nobody else's."""
        return not self.stopped and self.session.sure

    def start(self) -> None:
        self._tasks.spawn(self._run(), "poll")
        self._tasks.spawn(self._commits(), "commit")

    async def _run(self) -> None:
        house = self._log.house
        for failures in itertools.count():
            kafka = self._log.cluster.consumer(
                group_id=self.group,
                group_instance_id=house.instance or None,
                session_timeout_ms=house.session_ms,
                heartbeat_interval_ms=house.session_ms * 3 // 10,
                rebalance_timeout_ms=REBALANCE_MS,
                max_poll_interval_ms=FOREVER_MS,
                consumer_timeout_ms=5_000,
                partition_assignment_strategy=(StickyPartitionAssignor,),
            )
            try:
                await kafka.start()
                self.session.watch(kafka)
                kafka.subscribe([self._topic, self._log.topic.kept], listener=self)
                self.kafka = kafka
                await self._poll(kafka)
            except (KafkaError, OSError) as error:
                log.warning("group_left group=%s error=%r", self.group, error)
            finally:
                self.kafka = None
                self._stop()
                self.fence()
                await stop(kafka)
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])

    async def _poll(self, kafka: AIOKafkaConsumer) -> None:
        while True:
            await self._reader.hungry()
            try:
                fetched = await kafka.getmany(timeout_ms=60_000, max_records=FETCH_RECORDS)
            except OffsetOutOfRangeError as error:
                for changed in await self.adjust(error.args[0]):
                    try:
                        self._reader.place(kafka, changed)
                    except IllegalStateError:
                        break
                continue
            except NoOffsetForPartitionError:
                await asyncio.sleep(0.01)  # on_partitions_assigned is about to say where to read
                continue
            if not self.stopped:
                for tp, records in fetched.items():
                    partition = self.partitions.get(tp.partition) if tp.topic == self._topic else None
                    if partition is not None:
                        self._reader.fetched(partition, records)
                self._reader.pump()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """aiokafka waits for us, and keeps up its heartbeats meanwhile."""
        self._stop()
        deadline = self._loop.time() + DRAIN_S
        while self._reader.out and not self._closed:
            self.ended.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self.ended.wait()
            except TimeoutError:
                break
        if await self.commit(moved=True):
            self._limbo = self.partitions
            self.partitions = {}
        else:  # somebody else may have them: what we know of them is worth nothing
            self.fence()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        kafka = self.kafka
        if kafka is None or self._closed:
            return
        numbers = sorted(tp.partition for tp in assigned if tp.topic == self._topic)
        for failures in itertools.count():
            try:
                await self._log.kept.caught_up()
                committed = await self._log.cluster.committed(self.group, self._topic)
                grown = [number for number in numbers if number not in committed]
                begins = (await self._log.cluster.edges(self._topic, grown))[0] if grown else {}
                break
            except StoreFault as fault:
                log.warning("offsets_not_read group=%s error=%s", self.group, fault)
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
        kept_offsets = self._log.kept.offsets(self._reader.consumer.key)
        for number in numbers:
            was = self._limbo.pop(number, None)
            now = committed.get(number)
            if was is not None and now is not None and now == was.committed:
                partition = was
            else:
                if was is not None:
                    was.alive = False
                # Partitions that were added later are read from their beginning (spec §28.6).
                ordered = self._reader.consumer.ordered
                partition = (
                    Partition.restore(number, now, ordered=ordered) if now else Partition(number, begins[number])
                )
                partition.dirty = now is None
                partition.kept = kept_offsets.get(number, set())
            self.partitions[number] = partition
        _end(self._limbo)
        self._place(kafka, owns_kept=TopicPartition(self._log.topic.kept, 0) in assigned)

    def _place(self, kafka: AIOKafkaConsumer, *, owns_kept: bool) -> None:
        self.owns_kept = owns_kept
        self._reader.fenced()
        try:
            if owns_kept:
                kept = TopicPartition(self._log.topic.kept, 0)
                kafka.seek(kept, 0)  # read by Kept, for all triggers at once
                kafka.pause(kept)
            self.stopped, self._doubt = False, None
            self._reader.placed(kafka)
        except IllegalStateError:  # it was taken away again already
            self._stop()

    def _stop(self) -> None:
        self.stopped, self._doubt = True, None
        self.owns_kept = False
        self._reader.halted()
        if not self._closed:
            self._loop.call_soon(self._reader.consumer.revoked)

    def doubt(self) -> None:
        """What we have may be another's, or was let go: the next answer of the coordinator says more."""
        if not self.stopped:
            owned = self.owns_kept
            self._stop()
            self._doubt = owned
            if self.kafka is not None:
                self.kafka.pause(*self.kafka.assignment())  # what is fetched now would only be thrown away

    def _heard(self) -> None:
        if self._doubt is not None and self.session.sure and self.kafka is not None and not self._closed:
            self._place(self.kafka, owns_kept=self._doubt)

    def fence(self) -> None:
        """Late completions are abandoned (spec §28.4)."""
        _end(self.partitions)
        _end(self._limbo)
        self._reader.fenced()

    async def adjust(self, positions: dict[TopicPartition, int]) -> list[Partition]:
        """Those whose log begins after a position that was to be read, or ends before it. Their readers begin anew."""
        changed: list[Partition] = []
        for tp, position in positions.items():
            partition = self.partitions.get(tp.partition)
            if partition is None or tp.topic != self._topic:
                continue
            try:
                begins, ends, _ = await self._log.cluster.edges(self._topic, [tp.partition])
            except StoreFault:
                break
            begin, end = begins[tp.partition], ends[tp.partition]
            if position < begin:
                lost = partition.lost(begin)
                self._lost.v += lost
                log.error(
                    "records_lost group=%s partition=%d records=%d begin=%d", self.group, tp.partition, lost, begin
                )
            elif position > end:
                back = partition.cut(end)
                log.error("log_cut group=%s partition=%d records=%d end=%d", self.group, tp.partition, back, end)
            if partition.alive:
                changed.append(partition)
        return changed

    def end(self, number: int) -> int:
        """Of the log, as far as what was fetched tells."""
        try:
            return (self.kafka.highwater(TopicPartition(self._topic, number)) or 0) if self.kafka is not None else 0
        except IllegalStateError:
            return 0

    # ---- commits ----

    async def _commits(self) -> None:
        moved_at = self._loop.time()
        took_s = 0.0
        while True:
            await asyncio.sleep(max(self._log.commit_every_s() - took_s, took_s))
            began = self._loop.time()
            if not self.stopped:
                moved = began - moved_at > MOVED_EVERY_S
                if moved:
                    moved_at = began
                await self.commit(moved=moved)
            took_s = self._loop.time() - began

    async def commit(self, *, moved: bool) -> bool:
        """False when Kafka did not take it: another generation rules, or it is away. moved: also what was only read."""
        kafka = self.kafka
        if kafka is None:
            return False
        uid, writer = self._reader.consumer.key, self._log.writer
        commits: dict[Partition, Commit] = {}
        for partition in self.partitions.values():
            if partition.dirty or (moved and partition.moved):
                partition.dirty = partition.moved = False
                commits[partition] = partition.commit(uid, writer)
        if not commits:
            return True
        offsets = {
            TopicPartition(self._topic, partition.number): OffsetAndMetadata(commit.offset, commit.metadata)
            for partition, commit in commits.items()
        }
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                await kafka.commit(offsets)
        except (KafkaError, TimeoutError, OSError) as error:
            for partition in commits:
                partition.dirty = True
            if not isinstance(error, CommitFailedError | IllegalStateError):
                log.warning("not_committed group=%s error=%r", self.group, error)
            return False
        for partition, commit in commits.items():
            partition.committed = commit
        return True

    async def close(self, *, leave: bool) -> None:
        """leave False: the process ends, and with an instance name its successor takes up the membership."""
        self._closed = True
        self._stop()
        self.ended.set()
        await self.commit(moved=True)
        self.fence()
        if leave and self.kafka is not None:
            self.kafka._coordinator._group_instance_id = None  # aiokafka says goodbye for members without a name only
        await self._tasks.close()


def _end(partitions: dict[int, Partition]) -> None:
    for partition in partitions.values():
        partition.alive = False
    partitions.clear()
