"""One trigger in one process: the Subscription of its consumer, over the partitions that its membership has.

Path: tail.py, membership.py, passed.py → [read] → dispatcher.py → [read] → membership.py, again.py.

At the head of a partition the trigger follows the tail that all triggers share (tail.py), and its own membership
fetches nothing of it. Behind the head it fetches for itself; what it fetched waits in a buffer until the consumer has
room, and while something waits nothing more is fetched: that, never a rebalance, is the backpressure of a slow
subscriber. Heartbeats go on meanwhile, however long retries take.

When its subscriber was away and is back, what it is behind with is passed over: it reads on at the end of the log, and
what was passed over beside that (passed.py).

Bounds: fetched and not handed over: FETCH_RECORDS records, and what aiokafka fetched ahead, 1 MiB per partition; the
same again of what was passed over.
Source: spec/eventing.md §11, §28; store/contract.py; reliability.md BR-15.
"""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError
from aiokafka.structs import ConsumerRecord

from broker.store.contract import OLD_EVERY, Consumer, Delivery, Done, Failure, Kept, Lag, Letter, Record, Start
from broker.store.kafka.again import Again
from broker.store.kafka.chunk import Chunk, choose
from broker.store.kafka.kept import Entry
from broker.store.kafka.late import Handed
from broker.store.kafka.letters import Letters, written
from broker.store.kafka.membership import Membership
from broker.store.kafka.partition import Partition
from broker.store.kafka.passed import SEEK_OVER, Passed
from broker.store.kafka.tail import FETCH_RECORDS, Follower
from dataplane.errors import StoreFault
from dataplane.net.tasks import Tasks

if TYPE_CHECKING:
    from broker.store.kafka.log import KafkaLog


class KafkaSubscription(Follower):
    def __init__(self, kafka_log: "KafkaLog", consumer: Consumer, group: str) -> None:
        self.consumer = consumer
        self.group = group
        self.membership = Membership(kafka_log, self, group)
        self._log = kafka_log
        self._topic = kafka_log.topic.name
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks(f"kafka-read {consumer.name}")
        self._letters = Letters(kafka_log.kept, consumer.key)
        self._discarded = kafka_log.meters.discarded.cell(kafka_log.topic.broker, consumer.name)
        self._buffer: deque[Chunk] = deque()
        self._behind: set[int] = set()  # partitions that are read through the membership
        self._again = Again(kafka_log, consumer, self.membership, self.more)
        self._passed = Passed(kafka_log, self, self._discarded)
        self._wanted = asyncio.Event()
        self._pumping = self._closed = False
        self._new_first = False
        self._turn = 0  # since what waited came first

    # ---- dispatcher → us ----

    def more(self) -> None:
        if (self._buffer or self._again.ready or self._passed.buffer) and not self._pumping and not self._closed:
            self._pumping = True
            self._loop.call_soon(self.pump)

    def newest_first(self) -> None:
        if not self._closed and not self.consumer.ordered:
            self._passed.over()

    def changed(self) -> None:
        self._log.tail.changed(self)

    def settle(self, delivery: Delivery) -> None:
        handed = cast(Handed, delivery)
        partition = handed.partition
        if partition is None:
            self._again.settle_kept(handed.position)
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
            self._again.later_kept(handed, due_at=due_at, attempt=attempt, keep=keep)
        elif not partition.again(handed.offset, attempt, due_at):
            return
        elif keep:
            handed.attempt, handed.due_at = attempt, due_at
        else:
            self._ended_at(partition)
            self._again.put_off(Handed(handed.record, handed.position, partition, handed.offset, attempt, due_at))

    def holds(self, delivery: Delivery) -> bool:
        partition = cast(Handed, delivery).partition
        return self.membership.sure and (partition is None or partition.alive)

    def let_go(self, delivery: Delivery) -> None:
        handed = cast(Handed, delivery)
        partition = handed.partition
        if partition is None:
            self._again.let_go_kept(handed.position)
        elif partition.let_go(handed.offset):
            self._ended_at(partition)
        else:
            return  # it is another one's since long
        self.membership.doubt()

    def park(self, delivery: Delivery, failure: Failure, kept: Kept = "parked") -> None:
        handed = cast(Handed, delivery)
        partition = handed.partition
        if partition is None:
            self._again.park_kept(handed, failure, kept)
        elif partition.alive and handed.offset in partition.progress.open:
            self._ended_at(partition)
            self._again.park(handed, partition, failure, kept)

    def lag(self) -> Lag:
        parked, dead_lettered, _ = self._log.kept.counts(self.consumer.key)
        waiting, oldest = len(self._again.ready), math.inf
        for number, partition in self.partitions.items():
            end = max(self._log.ends.get(number, 0), self.membership.end(number) if number in self._behind else 0)
            progress = partition.progress
            waiting += max(0, end - progress.next) + len(partition.holes) + progress.passed
            oldest = min(oldest, min((at for at in progress.open.values() if at), default=oldest))
        for chunk in (*self._buffer, *self._passed.buffer):
            oldest = min(oldest, chunk.items[chunk.at][1].arrived_at)
        return Lag(
            waiting=waiting,
            in_flight=self.out,
            scheduled=self._again.waiting(),
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
        offsets = await self._log.look.locate(start)
        await written([lambda done: self._log.kept.broadcast_seek(self.consumer.key, offsets, done)])
        await self._log.kept.caught_up()
        await self.membership.commit(moved=True)

    async def close(self, *, leave: bool = True) -> None:
        """leave False: the process ends, and with an instance name its successor takes up the membership."""
        if self._closed:
            return
        self._closed = True
        self._log.left(self)
        self._again.stop()
        await self.membership.close(leave=leave)
        await self._passed.close()
        await self._again.close()
        await self._tasks.close()

    def start(self) -> None:
        self.membership.start()

    # ---- the membership → us ----

    @property
    def partitions(self) -> dict[int, Partition]:
        return self.membership.partitions

    @property
    def out(self) -> int:
        """Handed over and not ended."""
        return sum(partition.out for partition in self.partitions.values()) + len(self._again.out)

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
        self._new_first = any(partition.apart for partition in self.partitions.values())
        self._passed.begin()
        self._again.placed()
        self.more()

    def halted(self) -> None:
        self._log.tail.leave(self, list(self.partitions))
        self._behind.clear()
        self._buffer.clear()
        self._passed.begin()
        self._wanted.set()

    def fenced(self) -> None:
        self._again.fenced()

    async def hungry(self) -> None:
        while self._buffer:
            self._wanted.clear()
            await self._wanted.wait()

    def fetched(self, partition: Partition, records: list[ConsumerRecord]) -> None:
        """Through the membership: choose what the trigger wants."""
        if partition.number not in self._behind:
            return
        next_, holes = partition.progress.next, () if partition.apart else partition.holes
        # what lies below was settled by a former owner, or lies apart
        items = choose(records, self.consumer, lambda offset: offset >= next_ or offset in holes, self._discarded)
        end = records[-1].offset + 1
        if items:
            self._buffer.append(Chunk(partition, items, end))
            return
        for chunk in reversed(self._buffer):
            if chunk.partition is partition:  # this was on its way when that found no room
                chunk.end = end
                return
        self._finish(partition, end)

    # ---- handing over ----

    def pump(self) -> None:
        """Give the consumer what it has room for: first what waited, then what is new; the other way round while there
        is what was passed over, but for every OLD_EVERYth turn."""
        self._pumping = False
        if not self.membership.sure:
            self.membership.doubt()
            return
        if not self._new_first:
            self._give_waiting()
            self._give_new()
        elif self._again.ready or self._passed.buffer:
            self._turn += 1
            if self._turn < OLD_EVERY:
                self._give_new()
                self._give_waiting()
            else:
                if self._give_waiting():
                    self._turn = 0
                self._give_new()
        else:
            self._give_new()
            self._new_first = any(partition.apart for partition in self.partitions.values())
        if not self._buffer:
            self._wanted.set()
            if self._behind:
                self._catch_up()
        if not self._passed.buffer:
            self._passed.wanted.set()

    def _give_waiting(self) -> bool:
        """What is due again, then what was passed over. False: there was no room."""
        if not (self._again.ready or self._passed.buffer):
            return False
        room = self.consumer.room()
        batch: list[Delivery] = [*self._again.take(room)]
        self._offer(self._passed.buffer, room - len(batch), batch)
        if batch:
            self.consumer.deliver(batch)
        return bool(batch)

    def _give_new(self) -> None:
        if not self._buffer:
            return
        batch: list[Delivery] = []
        behind = self._behind and (self._passed.returned or not self._new_first)
        self._offer(self._buffer, self.consumer.room() if behind else self.consumer.fresh(), batch)
        if batch:
            self.consumer.deliver(batch)

    def _offer(self, buffer: deque[Chunk], room: int, batch: list[Delivery]) -> None:
        """Into the batch, until there is no room."""
        while room > 0 and buffer:
            chunk = buffer[0]
            room = chunk.offer(room, batch, self._again, ordered=self.consumer.ordered)
            if chunk.at < len(chunk.items):
                break
            buffer.popleft()
            if chunk.apart:
                chunk.partition.passed_apart(chunk.end)
            else:
                self._finish(chunk.partition, chunk.end)

    def _finish(self, partition: Partition, end: int) -> None:
        """After a restart, do not read what was settled out of order already."""
        partition.passed(end)
        to = partition.jump(end)
        kafka = self.membership.kafka
        if partition.number in self._behind and to - end > SEEK_OVER and kafka is not None and partition.alive:
            kafka.seek(TopicPartition(self._topic, partition.number), to)
            self._forget(partition)

    def _forget(self, partition: Partition) -> None:
        """What was fetched of it is read again, or not at all."""
        others = [chunk for chunk in self._buffer if chunk.partition is not partition]
        self._buffer.clear()
        self._buffer.extend(others)

    def _ended_at(self, partition: Partition) -> None:
        partition.out -= 1
        self.membership.ended.set()

    # ---- the head, and behind it ----

    def feed(self, partition: Partition, items: list[tuple[int, Record]], end: int) -> None:
        next_ = partition.progress.next
        if items[0][0] < next_:  # it followed from ahead of the tail
            items = [item for item in items if item[0] >= next_]
        if items:
            self._buffer.append(Chunk(partition, items, end))
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

    def leap(self, ends: dict[int, int]) -> None:
        """Read on at the end of the log. What the tail is about to hand over anyway is not passed over."""
        for number, partition in self.partitions.items():
            end = max(ends.get(number, 0), self._log.ends.get(number, 0))
            if number not in self._behind and end - partition.progress.next <= FETCH_RECORDS:
                continue
            if partition.leap(end):
                self.replace(partition)
        self._new_first = True
        self.more()

    # ---- a seek ----

    def scheduled(self, entry: Entry) -> None:
        self._again.scheduled(entry)

    def more_letters(self, kept: Kept) -> None:
        self._log.bound_letters(self.consumer, kept)

    def moved(self, offsets: dict[int, int]) -> None:
        """A seek of this trigger, by whichever process (kept.py)."""
        for number, offset in offsets.items():
            partition = self.partitions.get(number)
            if partition is not None and self.membership.kafka is not None:
                partition.seek(offset)
                self.replace(partition)

    def replace(self, partition: Partition) -> None:
        """It is to be read from elsewhere."""
        self._forget(partition)
        self._log.tail.leave(self, [partition.number])
        self._passed.begin()
        if self.membership.kafka is not None and not self.membership.stopped:
            try:
                self.place(self.membership.kafka, partition)
            except IllegalStateError:
                pass  # between assignments: the commit says where the next owner begins
        if not self._buffer:
            self._wanted.set()
