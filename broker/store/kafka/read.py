"""One trigger in one process: the Subscription of its consumer, over the partitions that its membership has.

Path: tail.py, membership.py → [read] → dispatcher.py → [read] → membership.py, kept.py.

At the head of a partition the trigger follows the tail that all triggers share (tail.py), and its own membership
fetches nothing of it. Behind the head it fetches for itself; what it fetched waits in a buffer until the consumer has
room, and while something waits nothing more is fetched: that, never a rebalance, is the backpressure of a slow
subscriber. Heartbeats go on meanwhile, however long retries take.

A delivery that is due in more than HOLD_S moves to the kept topic, so that it neither holds back the commit nor falls
to retention; what is due sooner waits here, and its attempt and due time travel in the commit.

Bounds: fetched and not handed over: FETCH_RECORDS records, and what aiokafka fetched ahead, 1 MiB per partition.
Source: spec/eventing.md §11, §28; store/contract.py.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    IllegalStateError,
)
from aiokafka.structs import ConsumerRecord

from broker.store.contract import Consumer, Delivery, Done, Failure, Kept, Lag, Letter, Record, Start
from broker.store.kafka.kept import Entry, Note
from broker.store.kafka.late import Handed, Late
from broker.store.kafka.letters import Letters, written
from broker.store.kafka.membership import Membership
from broker.store.kafka.partition import Partition
from broker.store.kafka.records import decode
from broker.store.kafka.tail import FETCH_RECORDS, Follower
from dataplane.errors import BadEvent, StoreFault, StoreUnavailable
from dataplane.net.tasks import Tasks

if TYPE_CHECKING:
    from broker.store.kafka.log import KafkaLog

HOLD_S = 60.0
AGAIN_S = 1.0  # after Kafka did not take what ends a delivery, or did not give what was due
SEEK_OVER = 1000  # settled offsets in a row that are cheaper to seek over than to read

log = logging.getLogger(__name__)


class _Chunk:
    """Records of a partition that the trigger wants, from `at` on; `end`: everything below was read."""

    __slots__ = ("at", "end", "items", "partition")

    def __init__(self, partition: Partition, items: list[tuple[int, Record]], end: int) -> None:
        self.partition = partition
        self.items = items
        self.at = 0
        self.end = end


class KafkaSubscription(Follower):
    def __init__(self, kafka_log: "KafkaLog", consumer: Consumer, group: str) -> None:
        self.consumer = consumer
        self.group = group
        self._log = kafka_log
        self._topic = kafka_log.topic.name
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks(f"kafka-read {consumer.name}")
        self._letters = Letters(kafka_log.kept, consumer.key)
        self._buffer: deque[_Chunk] = deque()
        self._behind: set[int] = set()  # partitions that are read through the membership
        self._wanted = asyncio.Event()
        self._closed = False
        self._late = Late(kafka_log.clock, self._due)
        self._ready: deque[Handed] = deque()  # due, and there was no room
        self._kept_out: set[str] = set()  # keys that are with the consumer
        self._pumping = False
        self.membership = Membership(kafka_log, self, group)
        self._discarded = kafka_log.meters.discarded.cell(kafka_log.topic.broker, consumer.name)

    # ---- dispatcher → us ----

    def more(self) -> None:
        if (self._buffer or self._ready) and not self._pumping and not self._closed:
            self._pumping = True
            self._loop.call_soon(self.pump)

    def newest_first(self) -> None:
        """What is behind is read in the order of the log."""

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
                self.membership.ended.set()

            def written(fault: StoreFault | None) -> None:
                if fault is not None:
                    self._rearm(handed.position)

            self._keep(handed, "scheduled", attempt=attempt, due_at=due_at, done=written)
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
            self._late.arm(again, due_at)

    def park(self, delivery: Delivery, failure: Failure, kept: Kept = "parked") -> None:
        handed = cast(Handed, delivery)
        partition = handed.partition
        if partition is None:
            if handed.position not in self._kept_out:
                return
            self._kept_out.discard(handed.position)
            self.membership.ended.set()
        elif not partition.alive or handed.offset not in partition.progress.open:
            return
        else:
            self._ended_at(partition)

        def written(fault: StoreFault | None) -> None:
            if fault is None:
                if partition is not None:
                    partition.settle(handed.offset)
            elif partition is not None:  # it is not lost: it comes again
                self._late.arm(handed, self._log.clock.wall() + AGAIN_S)
            else:
                self._rearm(handed.position)

        self._keep(handed, kept, failure=failure, done=written)

    def lag(self) -> Lag:
        parked, dead_lettered, scheduled = self._log.kept.counts(self.consumer.key)
        waiting, oldest = len(self._ready), math.inf
        for number, partition in self.partitions.items():
            end = self._log.ends.get(number, 0)
            if number in self._behind and self.membership.kafka is not None:
                try:
                    end = max(end, self.membership.kafka.highwater(TopicPartition(self._topic, number)) or 0)
                except IllegalStateError:
                    pass
            waiting += max(0, end - partition.progress.next) + len(partition.holes)
            oldest = min(oldest, min((at for at in partition.progress.open.values() if at), default=oldest))
        for chunk in self._buffer:
            oldest = min(oldest, chunk.items[chunk.at][1].arrived_at)
        return Lag(
            waiting=waiting,
            in_flight=self.out,
            scheduled=self._late.handed() + max(0, scheduled - len(self._kept_out)),
            parked=parked,
            dead_lettered=dead_lettered,
            oldest_at=0.0 if math.isinf(oldest) else oldest,
        )

    async def letters(self, *, kept: Kept | None = None, after: str = "", limit: int = 100) -> list[Letter]:
        return await self._letters.read(kept, after, limit)

    async def redrive(self, ids: Sequence[str] | None = None, *, kept: Kept = "parked") -> int:
        return await self._letters.redrive(ids, kept)

    async def discard(self, ids: Sequence[str] | None = None, *, kept: Kept = "parked") -> int:
        return await self._letters.discard(ids, kept)

    async def seek(self, start: Start) -> None:
        """Of the whole trigger: the owner of each partition moves it, in whichever process."""
        offsets = await self._log.locate(start)
        await written([lambda done: self._log.kept.broadcast_seek(self.consumer.key, offsets, done)])
        await self._log.kept.caught_up()
        await self.membership.commit(moved=True)

    async def close(self, *, leave: bool = True) -> None:
        """leave False: the process ends, and with an instance name its successor takes up the membership."""
        if self._closed:
            return
        self._closed = True
        self._log.left(self)
        self._late.close()
        await self.membership.close(leave=leave)
        await self._tasks.close()

    def start(self) -> None:
        self.membership.start()

    # ---- the membership → us ----

    @property
    def partitions(self) -> dict[int, Partition]:
        return self.membership.partitions

    def place(self, kafka: AIOKafkaConsumer, partition: Partition, at: int | None = None) -> None:
        """Follow the tail, or read from `at` on. Raises IllegalStateError when it is not ours any more."""
        tp = TopicPartition(self._topic, partition.number)
        kafka.seek(tp, partition.fetch_from if at is None else at)
        if at is None and self._log.tail.follow(self, partition):
            self._behind.discard(partition.number)
            kafka.pause(tp)
        else:
            self._behind.add(partition.number)
            kafka.resume(tp)

    def placed(self, kafka: AIOKafkaConsumer) -> None:
        for partition in self.partitions.values():
            self.place(kafka, partition)
        if self.membership.owns_kept:
            for entry in self._log.kept.entries(self.consumer.key, ("scheduled",)):
                self.scheduled(entry)
        else:
            self._kept_out.clear()
        self.more()

    def halted(self) -> None:
        self._log.tail.leave(self, list(self.partitions))
        self._behind.clear()
        self._buffer.clear()
        self._wanted.set()

    def fenced(self) -> None:
        self._kept_out.difference_update(handed.position for handed in self._ready if handed.partition is None)
        self._ready = deque(handed for handed in self._ready if handed.alive)
        self._late.fence()
        if not self.partitions and not self.membership.owns_kept:
            self._kept_out.clear()

    async def hungry(self) -> None:
        while self._buffer:
            self._wanted.clear()
            await self._wanted.wait()

    # ---- handing over ----

    def pump(self) -> None:
        """Give the consumer what it has room for: first what is due again, then what is new."""
        self._pumping = False
        if self.membership.stopped:
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

    def fetched(self, partition: Partition, records: list[ConsumerRecord]) -> None:
        """Through the membership: choose what the trigger wants."""
        if partition.number not in self._behind:
            return
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
                    self._late.arm(handed, due_at)
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
        self.pump()
        if self._buffer:
            self._fall_behind()

    def dropped(self, number: int) -> None:
        partition = self.partitions.get(number)
        if partition is not None and self.membership.kafka is not None and not self.membership.stopped:
            self._behind.add(number)
            self.membership.kafka.seek(TopicPartition(self._topic, number), partition.fetch_from)
            self.membership.kafka.resume(TopicPartition(self._topic, number))

    def _fall_behind(self) -> None:
        """There is no room: from here on we read for ourselves, after what is in the buffer."""
        kafka = self.membership.kafka
        if kafka is None or self.membership.stopped:
            return
        self._log.tail.leave(self, list(self.partitions))
        ends = {chunk.partition: chunk.end for chunk in self._buffer}
        for number, partition in self.partitions.items():
            if number not in self._behind:
                self.place(kafka, partition, ends.get(partition, partition.progress.next))

    def _catch_up(self) -> None:
        kafka = self.membership.kafka
        if kafka is None or self.membership.stopped:
            return
        for number in list(self._behind):
            partition = self.partitions[number]
            if self._log.tail.follow(self, partition):
                self._behind.discard(number)
                kafka.pause(TopicPartition(self._topic, number))

    def _seek_over(self, partition: Partition, next_: int) -> None:
        """After a restart: do not read what was settled out of order already."""
        to = partition.jump(next_)
        if to - next_ > SEEK_OVER and self.membership.kafka is not None and partition.alive:
            self.membership.kafka.seek(TopicPartition(self._topic, partition.number), to)
            self._buffer = deque(chunk for chunk in self._buffer if chunk.partition is not partition)

    # ---- what waits for its time ----

    def scheduled(self, entry: Entry) -> None:
        """An entry of the kept topic, if it is ours to deliver. One that is replaced meanwhile is left out when due."""
        if self._is_free(entry.key) and not self._closed:
            self._late.arm(entry, entry.due_at)

    def _rearm(self, key: str) -> None:
        """Kafka did not take what was to end this entry: it comes again."""
        entry = self._log.kept.entry(self.consumer.key, key)
        if entry is not None and not self._closed:
            self._late.arm(entry, self._log.clock.wall() + AGAIN_S)

    def _due(self, found: list[Handed | Entry]) -> None:
        entries: list[Entry] = []
        for what in found:
            if isinstance(what, Entry):
                entries.append(what)
            elif what.alive:
                what.due_at = 0.0
                self._ready.append(what)
        if entries:
            self._tasks.spawn(self._fetch_kept(entries), "kept")
        self.more()

    async def _fetch_kept(self, entries: list[Entry]) -> None:
        """Deliver entries whose time has come, a slice at a time: memory holds no more than that."""
        kept, trigger = self._log.kept, self.consumer.key
        for at in range(0, len(entries), FETCH_RECORDS):
            some = entries[at : at + FETCH_RECORDS]
            current = [entry for entry in some if self._is_free(entry.key) and kept.entry(trigger, entry.key) == entry]
            try:
                found = await kept.fetch(current)
            except StoreUnavailable as fault:
                log.warning("kept_not_fetched group=%s error=%s", self.group, fault)
                for entry in current:
                    self._late.arm(entry, self._log.clock.wall() + AGAIN_S)
                continue
            for one in found:
                key = one.entry.key
                if self._is_free(key) and kept.entry(trigger, key) == one.entry:
                    self._kept_out.add(key)
                    self._ready.append(Handed(one.record, key, None, 0, one.entry.attempt, 0.0))
            self.more()
            while len(self._ready) > FETCH_RECORDS and not self._closed:
                self.membership.ended.clear()
                await self.membership.ended.wait()

    def _is_free(self, key: str) -> bool:
        return self.membership.owns_kept and key not in self._kept_out

    def _hold(self, handed: Handed) -> None:
        """Move it to the kept topic; its place in the log is settled when it is there."""
        partition, offset = handed.partition, handed.offset
        assert partition is not None

        def written(fault: StoreFault | None) -> None:
            if fault is None:
                partition.settle(offset)
            elif partition.alive:
                self._late.arm(handed, handed.due_at)

        self._keep(handed, "scheduled", attempt=handed.attempt, due_at=handed.due_at, done=written)

    def _keep(
        self,
        handed: Handed,
        state: str,
        *,
        attempt: int = 1,
        due_at: float = 0.0,
        failure: Failure | None = None,
        done: Done,
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
        self._log.kept.put(note, handed.record, done)

    def _end_kept(self, key: str) -> None:
        if key in self._kept_out:
            self._kept_out.discard(key)
            self.membership.ended.set()
            self._drop_kept(key)

    def _drop_kept(self, key: str) -> None:
        def written(fault: StoreFault | None) -> None:
            if fault is not None and not self._closed:
                self._loop.call_later(AGAIN_S, self._drop_kept, key)

        self._log.kept.drop(self.consumer.key, key, written)

    def _ended_at(self, partition: Partition) -> None:
        partition.out -= 1
        self.membership.ended.set()

    @property
    def out(self) -> int:
        """Handed over and not ended."""
        return sum(partition.out for partition in self.partitions.values()) + len(self._kept_out)

    def more_letters(self, kept: Kept) -> None:
        self._log.bound_letters(self.consumer, kept)

    def moved(self, offsets: dict[int, int]) -> None:
        """A seek of this trigger, by whichever process (kept.py)."""
        for number, offset in offsets.items():
            partition = self.partitions.get(number)
            if partition is not None and self.membership.kafka is not None:
                partition.seek(offset)
                self._buffer = deque(chunk for chunk in self._buffer if chunk.partition is not partition)
                self._log.tail.leave(self, [number])
                try:
                    self.place(self.membership.kafka, partition)
                except IllegalStateError:
                    pass  # between assignments: the commit says where the next owner begins
        if not self._buffer:
            self._wanted.set()


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
