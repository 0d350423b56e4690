"""Which deliveries of one trigger wait for their time: the nearest ones in memory, the rest where the store keeps them.

Path: place.py → [schedule] → fanout.py, when they are due.

Due times come twice: in wall seconds, as they are written down, and on the monotonic clock, as they are waited for. A
jump of the wall clock moves nothing that is in memory (reliability.md BR-24).

Bound: twice `window_max` entries. Beyond it the latest are dropped to `window_max`; `horizon` is the wall time from
which entries may exist that are not here. When none is left here and `beyond` is not 0, read on from the horizon.
"""

import heapq
import math
from typing import NamedTuple

WINDOW_MAX = 10_000


class Entry(NamedTuple):
    """One delivery that waits. key: a position, or -id of a letter that is redriven. due_at, arrived_at: wall seconds.

    written: the store keeps a row for it; otherwise it is open in the trigger's progress.
    """

    key: int
    attempt: int
    due_at: float
    arrived_at: float
    written: bool = True


class Schedule:
    """Entries by key, nearest first."""

    __slots__ = ("_heap", "beyond", "horizon", "waiting", "window_max")

    def __init__(self, window_max: int = WINDOW_MAX) -> None:
        self.window_max = window_max
        self.waiting: dict[int, tuple[float, Entry]] = {}
        self._heap: list[tuple[float, int]] = []  # (monotonic due, key); stale when `waiting` says otherwise
        self.horizon = math.inf
        self.beyond = 0  # written ones that are not in memory

    def __len__(self) -> int:
        return len(self.waiting) + self.beyond

    def put(self, entry: Entry, due: float) -> None:
        """Wait until `due`, monotonic seconds. An entry beyond the horizon is only counted: it must be written."""
        if entry.due_at >= self.horizon and entry.written:
            self.beyond += 1
            return
        self._add(entry, due)
        if len(self.waiting) > 2 * self.window_max:
            self._shrink()

    def read_on(self, entries: list[tuple[Entry, float]], *, complete: bool) -> None:
        """What the store had from the horizon on, nearest first; complete: there is no more."""
        for entry, due in entries:
            if entry.key not in self.waiting:
                self._add(entry, due)
        if complete:
            self.horizon, self.beyond = math.inf, 0
        else:
            self.horizon = entries[-1][0].due_at
            self.beyond = max(1, self.beyond - len(entries))

    def drop(self, key: int) -> bool:
        return self.waiting.pop(key, None) is not None

    def due(self, now: float, limit: int) -> list[Entry]:
        """Take at most `limit` entries whose time has come, in order."""
        found: list[Entry] = []
        heap, waiting = self._heap, self.waiting
        while heap and len(found) < limit and heap[0][0] <= now:
            due, key = heapq.heappop(heap)
            kept = waiting.get(key)
            if kept is not None and kept[0] == due:
                del waiting[key]
                found.append(kept[1])
        return found

    def next_due(self) -> float:
        """Monotonic seconds; infinite when nothing waits here."""
        heap, waiting = self._heap, self.waiting
        while heap:
            due, key = heap[0]
            kept = waiting.get(key)
            if kept is not None and kept[0] == due:
                return due
            heapq.heappop(heap)
        return math.inf

    def _add(self, entry: Entry, due: float) -> None:
        self.waiting[entry.key] = (due, entry)
        heapq.heappush(self._heap, (due, entry.key))
        if len(self._heap) > 2 * len(self.waiting) + 64:
            self._heap = [(due, key) for key, (due, _) in self.waiting.items()]
            heapq.heapify(self._heap)

    def _shrink(self) -> None:
        """Forget the latest that are written; they are found again from the horizon on."""
        latest = sorted(self.waiting.values(), key=lambda kept: (kept[1].due_at, kept[1].key))[self.window_max :]
        for _, entry in latest:
            if entry.written:
                del self.waiting[entry.key]
                self.beyond += 1
                self.horizon = min(self.horizon, entry.due_at)
