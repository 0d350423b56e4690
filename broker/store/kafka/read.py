"""One trigger in one process: a member of the trigger's consumer group, and the Subscription of its consumer.

Path: Kafka → [read] → dispatcher.py → [read] → OffsetCommit.

The membership says which partitions this process has, and fences commits. At the head of a partition the trigger
follows the tail that all triggers share (tail.py), and its own membership fetches nothing of it. Behind the head it
fetches for itself; what it fetched waits in a buffer until the consumer has room, and while something waits nothing
more is fetched: that, never a rebalance, is the backpressure of a slow subscriber. Heartbeats go on meanwhile, however
long retries take.

A rebalance takes every partition away (Kafka's eager protocol): nothing is handed over any more, what the consumer has
may end within DRAIN_S, what ended is committed. A partition that comes back, untouched by anybody else, goes on with
what is in flight; any other is fenced: completions for it are abandoned, its new owner repeats them.

Commits follow each other every `commit_every_s` while anything changed, with everything that ended out of order.

A delivery that is due in more than HOLD_S moves to the kept topic, so that it neither holds back the commit nor falls
to retention; what is due sooner waits here, and its attempt and due time travel in the commit.

Bounds: fetched and not handed over: FETCH_RECORDS records, and what aiokafka fetched ahead, 1 MiB per partition.
Source: spec/eventing.md §11.4, §28.3-28.6; reliability.md BR-20.
"""

import asyncio
import heapq
import itertools
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

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

from broker.store.contract import Consumer, Delivery, Done, Failure, Kept, Lag, Letter, Record, Start
from broker.store.kafka.cluster import stop
from broker.store.kafka.kept import Entry, Found, Note
from broker.store.kafka.partition import Commit, Partition
from broker.store.kafka.records import decode
from broker.store.kafka.tail import FETCH_RECORDS, Follower
from dataplane.errors import BadEvent, StoreFault, StoreUnavailable
from dataplane.net.tasks import Tasks

if TYPE_CHECKING:
    from broker.store.kafka.log import KafkaLog

DRAIN_S = 5.0
HOLD_S = 60.0
AGAIN_S = 1.0  # after Kafka did not take what ends a delivery, or did not give what was due
SEEK_OVER = 1000  # settled offsets in a row that are cheaper to seek over than to read
COMMIT_TIMEOUT_S = 2.0
MOVED_EVERY_S = 5.0  # how often mere reading is committed
REBALANCE_MS = 15_000  # above DRAIN_S
BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
FOREVER_MS = 2**31 - 1  # between polls: the event loop's liveness is what heartbeats show

log = logging.getLogger(__name__)


class House:
    """What all subscriptions of a process share. instance: as in store.py."""

    def __init__(self, *, instance: str = "", session_ms: int = 10_000) -> None:
        self.instance = instance
        self.session_ms = session_ms
        self.subscriptions: set[KafkaSubscription] = set()


class Handed(Delivery):
    """From a partition at an offset; or, partition None, from the kept topic under its position."""

    __slots__ = ("offset", "partition")

    def __init__(
        self, record: Record, position: str, partition: Partition | None, offset: int, attempt: int, due_at: float
    ) -> None:
        self.record = record
        self.position = position
        self.partition = partition
        self.offset = offset
        self.attempt = attempt
        self.due_at = due_at


class _Chunk:
    """Records of a partition that the trigger wants, from `at` on; `end`: everything below was read."""

    __slots__ = ("at", "end", "items", "partition")

    def __init__(self, partition: Partition, items: list[tuple[int, Record]], end: int) -> None:
        self.partition = partition
        self.items = items
        self.at = 0
        self.end = end


class KafkaSubscription(Follower, ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, kafka_log: "KafkaLog", consumer: Consumer, group: str) -> None:
        self.consumer = consumer
        self.group = group
        self._log = kafka_log
        self._topic = kafka_log.topic.name
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks(f"kafka-read {consumer.name}")
        self._kafka: AIOKafkaConsumer | None = None
        self._partitions: dict[int, Partition] = {}
        self._limbo: dict[int, Partition] = {}
        self._buffer: deque[_Chunk] = deque()
        self._behind: set[int] = set()  # partitions that are read through the membership
        self._wanted = asyncio.Event()
        self._ended = asyncio.Event()
        self._stopped = True  # between assignments
        self._closed = False
        # (monotonic due, tie, a delivery or the key of an entry of the kept topic); due ones without room stand
        # in `_ready`.
        self._schedule: list[tuple[float, int, Handed | str]] = []
        self._ready: deque[Handed] = deque()
        self._tie = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._owns_kept = False
        self._kept_out: set[str] = set()  # keys that are with the consumer
        self._pumping = False
        self._lost = kafka_log.meters.lost.cell(kafka_log.topic.broker, consumer.name)
        self._discarded = kafka_log.meters.discarded.cell(kafka_log.topic.broker, consumer.name)

    # ---- dispatcher → us ----

    def more(self) -> None:
        if (self._buffer or self._ready) and not self._pumping and not self._closed:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def changed(self) -> None:
        self._log.tail.changed(self)

    def settle(self, delivery: Delivery) -> None:
        handed = cast(Handed, delivery)
        partition = handed.partition
        if partition is None:
            self._end_kept(handed.position)
        elif partition.settle(handed.offset):
            self._ended_at(partition)

    def settle_with(self, delivery: Delivery, reply: Record, done: Done) -> None:
        def appended(fault: StoreFault | None) -> None:
            if fault is None:
                self.settle(delivery)
            done(fault)

        self._log.append([reply], appended)

    def later(self, delivery: Delivery, *, due_at: float, attempt: int, keep: bool = False) -> None:
        handed = cast(Handed, delivery)
        partition = handed.partition
        if partition is None:
            if handed.position not in self._kept_out:
                return
            if not keep:
                self._kept_out.discard(handed.position)
                self._ended.set()
            self._keep(handed, "scheduled", attempt=attempt, due_at=due_at)
            return
        if not partition.again(handed.offset, attempt, due_at):
            return
        if keep:
            handed.attempt, handed.due_at = attempt, due_at
            return
        self._ended_at(partition)
        again = Handed(handed.record, handed.position, partition, handed.offset, attempt, due_at)
        if due_at - self._log.clock.wall() > HOLD_S:
            self._hold(again)
        else:
            self._arm(due_at, again)

    def park(self, delivery: Delivery, failure: Failure, kept: Kept = "parked") -> None:
        handed = cast(Handed, delivery)
        partition = handed.partition
        if partition is None:
            if handed.position not in self._kept_out:
                return
            self._kept_out.discard(handed.position)
            self._ended.set()
        elif not partition.alive or handed.offset not in partition.progress.open:
            return
        else:
            self._ended_at(partition)

        def written(fault: StoreFault | None) -> None:
            if fault is None:
                if partition is not None:
                    partition.settle(handed.offset)
            elif not self._closed:  # it is not lost: it comes again
                self._arm(self._log.clock.wall() + AGAIN_S, handed if partition is not None else handed.position)

        self._keep(handed, kept, failure=failure, done=written)

    def lag(self) -> Lag:
        parked, dead_lettered, scheduled = self._log.kept.counts(self.consumer.key)
        waiting, oldest = len(self._ready), math.inf
        for number, partition in self._partitions.items():
            end = self._log.ends.get(number, 0)
            if number in self._behind and self._kafka is not None:
                try:
                    end = max(end, self._kafka.highwater(TopicPartition(self._topic, number)) or 0)
                except IllegalStateError:
                    pass
            waiting += max(0, end - partition.progress.next) + len(partition.holes)
            oldest = min(oldest, min((at for at in partition.progress.open.values() if at), default=oldest))
        for chunk in self._buffer:
            oldest = min(oldest, chunk.items[chunk.at][1].arrived_at)
        mine = sum(isinstance(one, Handed) for _, _, one in self._schedule)
        return Lag(
            waiting=waiting,
            in_flight=self._out,
            scheduled=mine + max(0, scheduled - len(self._kept_out)),
            parked=parked,
            dead_lettered=dead_lettered,
            oldest_at=0.0 if math.isinf(oldest) else oldest,
        )

    async def letters(self, *, kept: Kept | None = None, after: str = "", limit: int = 100) -> list[Letter]:
        first = int(after) if after.isascii() and after.isdigit() else -1
        later = (entry for entry in await self._entries(kept) if entry.id > first)
        chosen = list(itertools.islice(later, limit))
        return [_letter(found) for found in await self._log.kept.fetch(chosen)]

    async def redrive(self, ids: Sequence[str] | None = None, *, kept: Kept = "parked") -> int:
        chosen = _chosen(await self._entries(kept), ids)
        for some in _slices(chosen):  # so that memory holds a slice of them
            found = await self._log.kept.fetch(some)
            await self._written(
                [
                    lambda done, one=one: self._log.kept.put(_scheduled(one.note, 1, 0.0), one.record, done)  # type: ignore[misc]
                    for one in found
                ]
            )
        return len(chosen)

    async def discard(self, ids: Sequence[str] | None = None, *, kept: Kept = "parked") -> int:
        chosen = _chosen(await self._entries(kept), ids)
        drop = self._log.kept.drop
        await self._written([lambda done, one=one: drop(self.consumer.key, one.key, done) for one in chosen])  # type: ignore[misc]
        return len(chosen)

    async def seek(self, start: Start) -> None:
        """Of the whole trigger: the owner of each partition moves it, in whichever process."""
        offsets = await self._log.locate(start)
        await self._written([lambda done: self._log.kept.broadcast_seek(self.consumer.key, offsets, done)])
        await self._log.kept.caught_up()
        await self._commit(moved=True)

    async def close(self, *, leave: bool = True) -> None:
        """leave False: the process ends, and with an instance name its successor takes up the membership."""
        if self._closed:
            return
        self._closed = True
        self._stop()
        self._ended.set()
        self._log.left(self)
        if self._timer is not None:
            self._timer.cancel()
        await self._commit(moved=True)
        self._fence(self._partitions)
        if leave and self._kafka is not None:
            self._kafka._coordinator._group_instance_id = None  # aiokafka says goodbye for members without a name only
        await self._tasks.close()
        if self._kafka is not None:
            await stop(self._kafka)

    # ---- the group ----

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
                kafka.subscribe([self._topic, self._log.topic.kept], listener=self)
                self._kafka = kafka
                await self._poll(kafka)
            except (KafkaError, OSError) as error:
                log.warning("group_left group=%s error=%r", self.group, error)
            finally:
                self._kafka = None
                self._stop()
                self._fence(self._partitions)
                self._fence(self._limbo)
                self._kept_out.clear()
                await stop(kafka)
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])

    async def _poll(self, kafka: AIOKafkaConsumer) -> None:
        while True:
            if self._buffer:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            try:
                fetched = await kafka.getmany(timeout_ms=60_000, max_records=FETCH_RECORDS)
            except OffsetOutOfRangeError as error:
                await self._out_of_range(kafka, error.args[0])
                continue
            except NoOffsetForPartitionError:
                await asyncio.sleep(0.01)  # on_partitions_assigned is about to say where to read
                continue
            for tp, records in fetched.items():
                partition = self._partitions.get(tp.partition) if tp.topic == self._topic else None
                if partition is not None and not self._stopped and tp.partition in self._behind:
                    self._take(partition, records)
            self._pump()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """aiokafka waits for us, and keeps up its heartbeats meanwhile."""
        self._stop()
        deadline = self._loop.time() + DRAIN_S
        while self._out and not self._closed:
            self._ended.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._ended.wait()
            except TimeoutError:
                break
        if await self._commit(moved=True):
            self._limbo = self._partitions
            self._partitions = {}
        else:  # somebody else may have them: what we know of them is worth nothing
            self._fence(self._partitions)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        kafka = self._kafka
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
        kept_offsets = self._log.kept.offsets(self.consumer.key)
        for number in numbers:
            was = self._limbo.pop(number, None)
            now = committed.get(number)
            if was is not None and now is not None and now == was.committed:
                partition = was
            else:
                if was is not None:
                    was.alive = False
                # Partitions that were added later are read from their beginning (spec §28.6).
                partition = Partition.restore(number, now) if now else Partition(number, begins[number])
                partition.dirty = now is None
                partition.kept = kept_offsets.get(number, set())
            self._partitions[number] = partition
        self._fence(self._limbo)
        try:
            for partition in self._partitions.values():
                self._place(kafka, partition)
            kept = TopicPartition(self._log.topic.kept, 0)
            if kept not in assigned:
                self._kept_out.clear()
            else:
                kafka.seek(kept, 0)  # read by Kept, for all triggers at once
                kafka.pause(kept)
                self._owns_kept = True
                for entry in self._log.kept.entries(self.consumer.key, ("scheduled",)):
                    self.scheduled(entry)
        except IllegalStateError:
            return  # it was taken away again already
        self._stopped = False
        self.more()

    def _place(self, kafka: AIOKafkaConsumer, partition: Partition, at: int | None = None) -> None:
        """Follow the tail, or read from `at` on. Raises IllegalStateError when it is not ours any more."""
        tp = TopicPartition(self._topic, partition.number)
        kafka.seek(tp, partition.fetch_from if at is None else at)
        if at is None and self._log.tail.follow(self, partition):
            self._behind.discard(partition.number)
            kafka.pause(tp)
        else:
            self._behind.add(partition.number)
            kafka.resume(tp)

    def _stop(self) -> None:
        self._stopped = True
        self._log.tail.leave(self, list(self._partitions))
        self._behind.clear()
        self._owns_kept = False
        self._buffer.clear()
        self._wanted.set()

    def _fence(self, partitions: dict[int, Partition]) -> None:
        """Late completions are abandoned (spec §28.4)."""
        for partition in partitions.values():
            partition.alive = False
        partitions.clear()
        self._ready = deque(handed for handed in self._ready if _alive(handed))
        self._schedule = [one for one in self._schedule if isinstance(one[2], Handed) and _alive(one[2])]
        heapq.heapify(self._schedule)

    async def _out_of_range(self, kafka: AIOKafkaConsumer, positions: dict[TopicPartition, int]) -> None:
        for tp, position in positions.items():
            partition = self._partitions.get(tp.partition)
            if partition is None or tp.topic != self._topic:
                continue
            try:
                begins, ends, _ = await self._log.cluster.edges(self._topic, [tp.partition])
            except StoreFault:
                return
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
            try:
                self._place(kafka, partition)
            except IllegalStateError:
                return

    # ---- commits ----

    async def _commits(self) -> None:
        moved_at = self._loop.time()
        while True:
            await asyncio.sleep(self._log.commit_every_s())
            if not self._stopped:
                moved = self._loop.time() - moved_at > MOVED_EVERY_S
                if moved:
                    moved_at = self._loop.time()
                await self._commit(moved=moved)

    async def _commit(self, *, moved: bool) -> bool:
        """False when Kafka did not take it: another generation rules, or it is away. moved: also what was only read."""
        kafka = self._kafka
        if kafka is None:
            return False
        uid, writer = self.consumer.key, self._log.writer
        commits: dict[Partition, Commit] = {}
        for partition in self._partitions.values():
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

    # ---- handing over ----

    def _pump(self) -> None:
        """Give the consumer what it has room for: first what is due again, then what is new."""
        self._pumping = False
        if self._stopped:
            return
        consumer = self.consumer
        room = consumer.room()
        batch: list[Delivery] = []
        while room > 0 and self._ready:
            handed = self._ready.popleft()
            if handed.partition is not None:
                handed.partition.out += 1
            batch.append(handed)
            room -= 1
        buffer = self._buffer
        while room > 0 and buffer:
            chunk = buffer[0]
            room = self._offer(chunk, room, batch)
            if chunk.at < len(chunk.items):
                break
            buffer.popleft()
            self._finish(chunk.partition, chunk.end)
        if not buffer:
            self._wanted.set()
            if self._behind:
                self._catch_up()
        if batch:
            consumer.deliver(batch)

    def _take(self, partition: Partition, records: list[ConsumerRecord]) -> None:
        """What the membership fetched: choose what the trigger wants."""
        consumer = self.consumer
        matches, next_, holes = consumer.matches, partition.progress.next, partition.holes
        header, wanted = _interest(consumer.interest)
        items: list[tuple[int, Record]] = []
        for raw in records:
            offset = raw.offset
            if offset < next_ and offset not in holes:
                continue  # settled by a former owner
            if wanted is not None and _other(raw.headers, header, wanted):
                continue
            try:
                record = decode(raw.headers, raw.value, raw.timestamp)
            except BadEvent as error:
                self._discarded.v += 1
                log.debug("record_discarded group=%s %d:%d error=%s", self.group, raw.partition, offset, error)
                continue
            if matches(record.event):
                items.append((offset, record))
        end = records[-1].offset + 1
        if items:
            self._buffer.append(_Chunk(partition, items, end))
        else:
            self._finish(partition, end)

    def _finish(self, partition: Partition, end: int) -> None:
        partition.passed(end)
        if partition.number in self._behind:
            self._seek_over(partition, end)

    def _offer(self, chunk: _Chunk, room: int, batch: list[Delivery]) -> int:
        """Until there is no room; how much is left of it."""
        ordered, partition, items = self.consumer.ordered, chunk.partition, chunk.items
        number, at, count = partition.number, chunk.at, len(chunk.items)
        while at < count and room > 0:
            offset, record = items[at]
            at += 1
            how = partition.take(offset, record.arrived_at)
            if how is None:
                continue
            attempt, due_at = how
            if record.not_before > due_at:
                due_at = record.not_before
            handed = Handed(record, f"{number}:{offset}", partition, offset, attempt, due_at)
            if due_at and not ordered:
                wait_s = due_at - self._log.clock.wall()
                if wait_s > HOLD_S:
                    self._hold(handed)
                    continue
                if wait_s > 0:
                    self._arm(due_at, handed)
                    continue
                handed.due_at = 0.0
            partition.out += 1
            room -= 1
            batch.append(handed)
        chunk.at = at
        return room

    # ---- the head, and behind it ----

    def feed(self, partition: Partition, items: list[tuple[int, Record]], end: int) -> None:
        next_ = partition.progress.next
        if items[0][0] < next_:  # it followed from ahead of the tail
            items = [item for item in items if item[0] >= next_]
        if items:
            self._buffer.append(_Chunk(partition, items, end))
        else:
            partition.passed(end)

    def fed(self) -> None:
        self._pump()
        if self._buffer:
            self._fall_behind()

    def dropped(self, number: int) -> None:
        partition = self._partitions.get(number)
        if partition is not None and self._kafka is not None and not self._stopped:
            self._behind.add(number)
            self._kafka.seek(TopicPartition(self._topic, number), partition.fetch_from)
            self._kafka.resume(TopicPartition(self._topic, number))

    def _fall_behind(self) -> None:
        """There is no room: from here on we read for ourselves, after what is in the buffer."""
        kafka = self._kafka
        if kafka is None or self._stopped:
            return
        self._log.tail.leave(self, list(self._partitions))
        ends = {chunk.partition: chunk.end for chunk in self._buffer}
        for number, partition in self._partitions.items():
            if number not in self._behind:
                self._place(kafka, partition, ends.get(partition, partition.progress.next))

    def _catch_up(self) -> None:
        kafka = self._kafka
        if kafka is None or self._stopped:
            return
        for number in list(self._behind):
            partition = self._partitions[number]
            if self._log.tail.follow(self, partition):
                self._behind.discard(number)
                kafka.pause(TopicPartition(self._topic, number))

    def _seek_over(self, partition: Partition, next_: int) -> None:
        """After a restart: do not read what was settled out of order already."""
        to = partition.jump(next_)
        if to - next_ > SEEK_OVER and self._kafka is not None and partition.alive:
            self._kafka.seek(TopicPartition(self._topic, partition.number), to)
            self._buffer = deque(chunk for chunk in self._buffer if chunk.partition is not partition)

    # ---- what waits for its time ----

    def scheduled(self, entry: Entry) -> None:
        """An entry of the kept topic, if it is ours to deliver. One that is replaced meanwhile is left out when due."""
        if self._is_free(entry.key) and not self._closed:
            self._arm(entry.due_at, entry.key)

    def _arm(self, due_at: float, what: Handed | str) -> None:
        due = self._loop.time() + max(0.0, due_at - self._log.clock.wall())
        heapq.heappush(self._schedule, (due, next(self._tie), what))
        if self._schedule[0][2] is what:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due, self._due)

    def _due(self) -> None:
        self._timer = None
        now = self._loop.time()
        keys: list[str] = []
        while self._schedule and self._schedule[0][0] <= now:
            what = heapq.heappop(self._schedule)[2]
            if isinstance(what, str):
                keys.append(what)
            elif _alive(what):
                what.due_at = 0.0
                self._ready.append(what)
        if self._schedule:
            self._timer = self._loop.call_at(self._schedule[0][0], self._due)
        if keys and not self._closed:
            self._tasks.spawn(self._fetch_kept(keys), "kept")
        self.more()

    async def _fetch_kept(self, keys: list[str]) -> None:
        """Deliver entries whose time has come, a slice at a time: memory holds no more than that."""
        kept = self._log.kept
        for at in range(0, len(keys), FETCH_RECORDS):
            now = self._log.clock.wall()
            current: list[Entry] = []
            for key in keys[at : at + FETCH_RECORDS]:
                entry = kept.entry(self.consumer.key, key)
                if entry is not None and entry.state == "scheduled" and entry.due_at <= now and self._is_free(key):
                    current.append(entry)
            try:
                found = await kept.fetch(current)
            except StoreUnavailable as fault:
                log.warning("kept_not_fetched group=%s error=%s", self.group, fault)
                for entry in current:
                    self._arm(now + AGAIN_S, entry.key)
                continue
            for one in found:
                key = one.entry.key
                if self._is_free(key) and kept.entry(self.consumer.key, key) == one.entry:
                    self._kept_out.add(key)
                    self._ready.append(Handed(one.record, key, None, 0, one.entry.attempt, 0.0))
            self.more()
            while len(self._ready) > FETCH_RECORDS and not self._closed:
                self._ended.clear()
                await self._ended.wait()

    def _is_free(self, key: str) -> bool:
        return self._owns_kept and key not in self._kept_out

    def _hold(self, handed: Handed) -> None:
        """Move it to the kept topic; its place in the log is settled when it is there."""
        partition, offset = handed.partition, handed.offset
        assert partition is not None

        def written(fault: StoreFault | None) -> None:
            if fault is None:
                partition.settle(offset)
            elif partition.alive:
                self._arm(handed.due_at, handed)

        self._keep(handed, "scheduled", attempt=handed.attempt, due_at=handed.due_at, done=written)

    def _keep(
        self,
        handed: Handed,
        state: str,
        *,
        attempt: int = 1,
        due_at: float = 0.0,
        failure: Failure | None = None,
        done: Done | None = None,
    ) -> None:
        note = Note(
            trigger=self.consumer.key,
            name=self.consumer.name,
            position=handed.position,
            state=state,  # type: ignore[arg-type]
            attempt=attempt,
            due_at=due_at,
            failure=failure,
        )
        self._log.kept.put(note, handed.record, done or _nobody)

    def _end_kept(self, key: str) -> None:
        if key in self._kept_out:
            self._kept_out.discard(key)
            self._ended.set()
            self._log.kept.drop(self.consumer.key, key, _nobody)

    def _ended_at(self, partition: Partition) -> None:
        partition.out -= 1
        self._ended.set()

    @property
    def _out(self) -> int:
        """Handed over and not ended."""
        return sum(partition.out for partition in self._partitions.values()) + len(self._kept_out)

    def more_letters(self, kept: Kept) -> None:
        self._log.bound_letters(self.consumer, kept)

    def moved(self, offsets: dict[int, int]) -> None:
        """A seek of this trigger, by whichever process (kept.py)."""
        for number, offset in offsets.items():
            partition = self._partitions.get(number)
            if partition is not None and self._kafka is not None:
                partition.seek(offset)
                self._buffer = deque(chunk for chunk in self._buffer if chunk.partition is not partition)
                self._log.tail.leave(self, [number])
                try:
                    self._place(self._kafka, partition)
                except IllegalStateError:
                    pass  # between assignments: the commit says where the next owner begins
        if not self._buffer:
            self._wanted.set()

    # ---- letters ----

    async def _entries(self, kept: Kept | None) -> Iterator[Entry]:
        await self._log.kept.caught_up()
        return self._log.kept.entries(self.consumer.key, (kept,) if kept else ("parked", "dead-lettered"))

    async def _written(self, writes: Sequence[Callable[[Done], None]]) -> None:
        """Start them all, return when each is durable. Raises the first fault."""
        if not writes:
            return
        left = len(writes)
        finished: asyncio.Future[StoreFault | None] = self._loop.create_future()

        def written(fault: StoreFault | None) -> None:
            nonlocal left
            left -= 1
            if not finished.done() and (fault is not None or not left):
                finished.set_result(fault)

        for write in writes:
            write(written)
        fault = await finished
        if fault is not None:
            raise fault


def _alive(handed: Handed) -> bool:
    return handed.partition is not None and handed.partition.alive


def _interest(interest: tuple[str, str] | None) -> tuple[str, bytes | None]:
    if interest is None or interest[0] == "datacontenttype":
        return "", None
    return "ce_" + interest[0], interest[1].encode()


def _other(headers: Sequence[tuple[str, bytes]], header: str, wanted: bytes) -> bool:
    """Surely no match: it says so in its headers, without being decoded."""
    for name, content in headers:
        if name == header:
            return content != wanted
    return False


def _letter(found: Found) -> Letter:
    note = found.note
    return Letter(
        id=str(found.entry.id),
        kept="parked" if note.state == "parked" else "dead-lettered",
        record=found.record,
        position=note.position,
        failure=note.failure or Failure(reason="lost"),
    )


def _scheduled(note: Note, attempt: int, due_at: float) -> Note:
    return Note(
        trigger=note.trigger, name=note.name, position=note.position, state="scheduled", attempt=attempt, due_at=due_at
    )


def _chosen(entries: Iterator[Entry], ids: Sequence[str] | None) -> list[Entry]:
    if ids is None:
        return list(entries)
    wanted = set(ids)
    return [entry for entry in entries if str(entry.id) in wanted]


def _slices(entries: list[Entry]) -> list[list[Entry]]:
    return [entries[at : at + FETCH_RECORDS] for at in range(0, len(entries), FETCH_RECORDS)]


def _nobody(fault: StoreFault | None) -> None:
    if fault is not None:
        log.warning("kept_not_written error=%s", fault)
