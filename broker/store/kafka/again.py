"""What of one trigger comes again: deliveries that wait for their time, here or in the kept topic, and letters.

Path: read.py → [again] → late.py, kept.py → [again] → read.py, when there is room.

A delivery that is due in more than HOLD_S moves to the kept topic, so that it neither holds back the commit nor falls
to retention; what is due sooner waits here, and its attempt and due time travel in the commit.

Source: spec/eventing.md §9.8, §27.8, §28.7.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.store.contract import Consumer, Done, Failure, Kept
from broker.store.kafka.kept import Entry, Note
from broker.store.kafka.late import Handed, Late
from broker.store.kafka.membership import Membership
from broker.store.kafka.partition import Partition
from broker.store.kafka.tail import FETCH_RECORDS
from dataplane.errors import StoreFault, StoreUnavailable
from dataplane.net.tasks import Tasks

if TYPE_CHECKING:
    from broker.store.kafka.log import KafkaLog

HOLD_S = 60.0
AGAIN_S = 1.0  # after Kafka did not take what ends a delivery, or did not give what was due

log = logging.getLogger(__name__)


class Again:
    """ready: due, and there was no room. out: keys of the kept topic that are with the consumer."""

    def __init__(
        self, kafka_log: "KafkaLog", consumer: Consumer, membership: Membership, more: Callable[[], None]
    ) -> None:
        self.ready: deque[Handed] = deque()
        self.out: set[str] = set()
        self._kept = kafka_log.kept
        self._wall = kafka_log.clock.wall
        self._consumer = consumer
        self._membership = membership
        self._more = more
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks(f"kafka-again {consumer.name}")
        self._late = Late(kafka_log.clock, self._due)
        self._closed = False

    def take(self, room: int) -> list[Handed]:
        """What is due, at most `room` of it; the consumer has it."""
        taken: list[Handed] = []
        while len(taken) < room and self.ready:
            handed = self.ready.popleft()
            if handed.partition is not None:
                handed.partition.out += 1
            taken.append(handed)
        return taken

    def waiting(self) -> int:
        """How many wait for their time."""
        scheduled = self._kept.counts(self._consumer.key)[2]
        return self._late.handed() + max(0, scheduled - len(self.out))

    # ---- of the log ----

    def is_early(self, due_at: float) -> bool:
        return due_at > self._wall()

    def put_off(self, handed: Handed) -> None:
        """Until `handed.due_at`."""
        if handed.due_at - self._wall() > HOLD_S:
            self._hold(handed)
        else:
            self._late.arm(handed, handed.due_at)

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

    def park(self, handed: Handed, partition: Partition, failure: Failure, kept: Kept) -> None:
        def written(fault: StoreFault | None) -> None:
            if fault is None:
                partition.settle(handed.offset)
            else:  # it is not lost: it comes again
                self._late.arm(handed, self._wall() + AGAIN_S)

        self._keep(handed, kept, failure=failure, done=written)

    # ---- of the kept topic ----

    def settle_kept(self, key: str) -> None:
        if key in self.out:
            self._ended(key)
            self._drop(key)

    def later_kept(self, handed: Handed, *, due_at: float, attempt: int, keep: bool) -> None:
        if handed.position not in self.out:
            return
        if not keep:
            self._ended(handed.position)
        self._keep(handed, "scheduled", attempt=attempt, due_at=due_at, done=self._or_rearm(handed.position))

    def park_kept(self, handed: Handed, failure: Failure, kept: Kept) -> None:
        if handed.position in self.out:
            self._ended(handed.position)
            self._keep(handed, kept, failure=failure, done=self._or_rearm(handed.position))

    def let_go_kept(self, key: str) -> None:
        """It is armed again when what this process has is for sure its own (`placed`)."""
        if key in self.out:
            self._ended(key)

    def scheduled(self, entry: Entry) -> None:
        """An entry of the kept topic, if it is ours to deliver. One that is replaced meanwhile is left out when due."""
        if self._is_free(entry.key) and not self._closed:
            self._late.arm(entry, entry.due_at)

    def _ended(self, key: str) -> None:
        self.out.discard(key)
        self._membership.ended.set()

    def _or_rearm(self, key: str) -> Done:
        """Kafka did not take what was to end this entry: it comes again."""

        def written(fault: StoreFault | None) -> None:
            entry = self._kept.entry(self._consumer.key, key) if fault is not None else None
            if entry is not None and not self._closed:
                self._late.arm(entry, self._wall() + AGAIN_S)

        return written

    def _drop(self, key: str) -> None:
        def written(fault: StoreFault | None) -> None:
            if fault is not None and not self._closed:
                self._loop.call_later(AGAIN_S, self._drop, key)

        self._kept.drop(self._consumer.key, key, written)

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
            trigger=self._consumer.key,
            name=self._consumer.name,
            position=handed.position,
            state=state,  # type: ignore[arg-type]
            attempt=attempt,
            due_at=due_at,
            failure=failure,
        )
        self._kept.put(note, handed.record, done)

    # ---- what is due ----

    def _due(self, found: list[Handed | Entry]) -> None:
        entries: list[Entry] = []
        for what in found:
            if isinstance(what, Entry):
                entries.append(what)
            elif what.alive:
                what.due_at = 0.0
                self.ready.append(what)
        if entries:
            self._tasks.spawn(self._fetch(entries), "kept")
        self._more()

    async def _fetch(self, entries: list[Entry]) -> None:
        """Deliver entries whose time has come, a slice at a time: memory holds no more than that."""
        kept, trigger = self._kept, self._consumer.key
        for at in range(0, len(entries), FETCH_RECORDS):
            some = entries[at : at + FETCH_RECORDS]
            current = [entry for entry in some if self._is_free(entry.key) and kept.entry(trigger, entry.key) == entry]
            try:
                found = await kept.fetch(current)
            except StoreUnavailable as fault:
                log.warning("kept_not_fetched trigger=%s error=%s", self._consumer.name, fault)
                for entry in current:
                    self._late.arm(entry, self._wall() + AGAIN_S)
                continue
            for one in found:
                key = one.entry.key
                if self._is_free(key) and kept.entry(trigger, key) == one.entry:
                    self.out.add(key)
                    self.ready.append(Handed(one.record, key, None, 0, one.entry.attempt, 0.0))
            self._more()
            while len(self.ready) > FETCH_RECORDS and not self._closed:
                self._membership.ended.clear()
                await self._membership.ended.wait()

    def _is_free(self, key: str) -> bool:
        return self._membership.owns_kept and key not in self.out

    # ---- partitions come and go ----

    def placed(self) -> None:
        if self._membership.owns_kept:
            for entry in self._kept.entries(self._consumer.key, ("scheduled",)):
                self.scheduled(entry)
        else:
            self.out.clear()

    def fenced(self) -> None:
        self.out.difference_update(handed.position for handed in self.ready if handed.partition is None)
        self.ready = deque(handed for handed in self.ready if handed.alive)
        self._late.fence()
        if not self._membership.partitions and not self._membership.owns_kept:
            self.out.clear()

    def stop(self) -> None:
        self._closed = True
        self._late.close()

    async def close(self) -> None:
        await self._tasks.close()
