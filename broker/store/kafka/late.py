"""Deliveries of one trigger that wait for their time, in this process.

Path: read.py → [late] → read.py, when they are due.

Due times are wall seconds where they are written down, and the monotonic clock where they are waited for: a jump of the
wall clock moves nothing that waits here (reliability.md BR-24).

Bound: what the dispatcher lets wait (`retry_waiting_max`), and the trigger's scheduled entries of the kept topic.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable

from broker.store.contract import Delivery, Record
from broker.store.kafka.kept import Entry
from broker.store.kafka.partition import Partition
from dataplane.clock import Clock


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

    @property
    def alive(self) -> bool:
        """It is of a partition that still is ours."""
        return self.partition is not None and self.partition.alive


class Late:
    """due: called with what is due, in order: deliveries, and entries of the kept topic as they were when armed."""

    def __init__(self, clock: Clock, due: Callable[[list[Handed | Entry]], None]) -> None:
        self._clock = clock
        self._call = due
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, Handed | Entry]] = []  # (monotonic due, tie, what)
        self._tie = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def arm(self, what: Handed | Entry, due_at: float) -> None:
        due = self._loop.time() + max(0.0, due_at - self._clock.wall())
        heapq.heappush(self._heap, (due, next(self._tie), what))
        if self._heap[0][2] is what:
            self._set()

    def handed(self) -> int:
        return sum(isinstance(what, Handed) for _, _, what in self._heap)

    def fence(self) -> None:
        """Keep the deliveries of partitions that still are ours, and nothing else."""
        self._heap = [one for one in self._heap if isinstance(one[2], Handed) and one[2].alive]
        heapq.heapify(self._heap)

    def close(self) -> None:
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._heap[0][0], self._due)

    def _due(self) -> None:
        self._timer = None
        now = self._loop.time()
        found: list[Handed | Entry] = []
        while self._heap and self._heap[0][0] <= now:
            found.append(heapq.heappop(self._heap)[2])
        if self._heap:
            self._set()
        if found:
            self._call(found)
