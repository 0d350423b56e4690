"""What one trigger holds: how much more it may take, what may begin now, and when to look again.

Path: dispatcher.py, attempts.py ↔ [window] → lanes.py, pace.py.

    add ──▶ waiting ──begin──▶ on its way ──ended──▶ held ──▶ release
              ▲   (unordered: a queue;                │
              │    ordered: lanes)                    └ sleep: ordered, it keeps its lane until it is due
              └───────────────────────────────────────┘

Unordered, what is taken begins at once; it waits here only while the trigger is paused or out of tokens. Room is given
by count, by bytes (counted with the largest payload of late) and by pace. When a subscriber comes back the pace of what
waited is another one than that of what is new (pace.py): so there is room for the one and for the other.

Triggers share the core by how much each may have on its way. A connection that is lost costs more of it than an answer:
unordered, a trigger that loses some of them has less on its way by as much (`cost`), so that the others keep theirs.

What was given back to be redelivered is counted too: with `scheduled_max` of them no new record is taken, only
redeliveries that are due (stores hand those over first).

Pure: `now` is loop seconds. Bounds: `held_max`; `bytes_max`, but for one batch of sudden large events; `scheduled_max`.
Source: spec/eventing.md §11.5, §11.7; reliability.md BR-09, BR-10, BR-12, BR-15.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from broker.lanes import Lanes
from broker.pace import Bucket, Ramp

NEVER = float("inf")
TYPICAL_DECAY = 0.9
LOST_COST = 5.0  # × an attempt that is answered: one more connection, mostly the event once more (E4)
COST_WEIGHT = 1 / 64  # of one attempt in the average


class Held(Protocol):
    """due: not to begin before, loop seconds. lane: of an ordered trigger; set by `add`. late: it waited."""

    due: float
    late: bool
    lane: int
    size_bytes: int

    def __lt__(self, other: "Held") -> bool:
        """By `due`."""
        ...


T = TypeVar("T", bound=Held)


class Window(Generic[T]):
    """count, bytes: held now. in_flight: begun and not ended. wake_at: when something may begin that may not now."""

    def __init__(
        self, *, ordered: bool, lanes: int, bytes_max: int, event_bytes_max: int, scheduled_max: int, now: float
    ) -> None:
        self.count = self.bytes = self.in_flight = 0
        self.in_flight_max = self.held_max = 1
        self.wake_at = NEVER
        self.ramp = Ramp(now)
        self.cost = 1.0  # of an attempt, on average; 1 = all are answered
        self._rate: Bucket | None = None
        self._ordered = ordered
        self._bytes_max = bytes_max
        self._typical_bytes = float(event_bytes_max)
        self._scheduled: list[float] = []  # a heap: when what was given back comes again
        self._overdue = 0  # given back, due by now, and not here yet
        self._scheduled_max = scheduled_max
        self._lanes: Lanes[T] = Lanes(lanes)
        self._queue: deque[T] = deque()  # what is new
        self._late: deque[T] = deque()
        self._due: deque[T] = deque()
        self._sleeping: list[T] = []

    def limit(self, *, in_flight_max: int, held_max: int, rate_per_s: float, now: float) -> None:
        """What the trigger says. Nothing that is held or on its way is taken back. rate_per_s: 0 = no limit."""
        self.in_flight_max, self.held_max = in_flight_max, held_max
        if not rate_per_s:
            self._rate = None
        elif self._rate is None or self._rate.rate_per_s != rate_per_s:
            self._rate = Bucket(rate_per_s, now)

    # ---- taking ---------------------------------------------------------------------------------

    def room(self, now: float) -> int:
        """How many more it would take of what waited. An event larger than all room still goes, alone."""
        free = self._free()
        fresh = self._scheduled_max - len(self._scheduled) - self._overdue - self.count
        if free > fresh and (self._scheduled or self._overdue):
            while self._scheduled and self._scheduled[0] <= now:
                heapq.heappop(self._scheduled)
                self._overdue += 1
            if self._scheduled:
                self.wake_at = min(self.wake_at, self._scheduled[0])
            free = max(fresh, min(free, self._overdue))
        if free > 0 and not self._ordered and self._limited:
            free = min(free, self._tokens(now, late=True) - len(self._late))
        return max(free, 0)

    def fresh(self, now: float) -> int:
        """How many more it would take of what is new."""
        free = self._free()
        if self._scheduled or self._overdue:
            free = min(free, self._scheduled_max - len(self._scheduled) - self._overdue - self.count)
        if free > 0 and not self._ordered and self._limited:
            free = min(free, self._tokens(now, late=False) - len(self._queue))
        return max(free, 0)

    def add(self, item: T, key: str) -> None:
        """In the order of the log. key: what order is kept by."""
        self.count += 1
        self.bytes += item.size_bytes
        self._typical_bytes = max(item.size_bytes, self._typical_bytes * TYPICAL_DECAY)
        if self._ordered:
            item.lane = self._lanes.lane(key)
            self._lanes.add(item.lane, item)
        elif item.late:
            self._late.append(item)
        else:
            self._queue.append(item)

    def ended(self, *, lost: bool) -> None:
        """An attempt is over. lost: a connection was, or it came to none."""
        self.cost += ((LOST_COST if lost else 1.0) - self.cost) * COST_WEIGHT

    def release(self, item: T) -> None:
        """It is held no more; its lane gives the next."""
        self.count -= 1
        self.bytes -= item.size_bytes
        if self._ordered:
            self._lanes.free(item.lane)

    def drop(self, stays: Callable[[T], bool]) -> list[T]:
        """What is not on its way and does not stay is held no more, also what sleeps. Returned in the order of each
        lane."""
        awake: list[T] = []
        self._due = deque(_part(self._due, stays, awake))
        self._sleeping = _part(self._sleeping, stays, awake)
        heapq.heapify(self._sleeping)
        waiting = self._lanes.drop(stays)
        self._queue = deque(_part(self._queue, stays, waiting))
        self._late = deque(_part(self._late, stays, waiting))
        for item in waiting:
            self.count -= 1
            self.bytes -= item.size_bytes
        for item in awake:
            self.release(item)
        return awake + waiting

    def give_back(self, due: float) -> None:
        """It was released and comes again at `due`, loop seconds."""
        heapq.heappush(self._scheduled, due)

    def came_back(self) -> None:
        """One of those did. After a restart there are some that this window never gave back."""
        if self._overdue:
            self._overdue -= 1
        elif self._scheduled:
            heapq.heappop(self._scheduled)

    def waiting(self) -> bool:
        return bool(self._queue or self._late or self._due or len(self._lanes))

    # ---- beginning ------------------------------------------------------------------------------

    def begin(self, now: float) -> T | None:
        """The next that may begin; it has its token, and the caller counts it in. None: see `wake_at`."""
        if self.in_flight >= self.in_flight_max:
            return None
        if not self._limited:
            return self._next(now)
        if not self.waiting():
            return None
        item = self._paced(now)
        if item is not None:
            for bucket in (self._rate, self.ramp.whole, self.ramp.late if item.late and not self._ordered else None):
                if bucket is not None:
                    bucket.take()
        return item

    def sleep(self, item: T) -> None:
        """Ordered: it keeps its lane until it is due."""
        heapq.heappush(self._sleeping, item)
        self.wake_at = min(self.wake_at, item.due)

    def wake(self, now: float) -> None:
        """It is `wake_at`, or later."""
        self.wake_at = NEVER
        while self._sleeping and self._sleeping[0].due <= now:
            self._due.append(heapq.heappop(self._sleeping))
        if self._sleeping:
            self.wake_at = self._sleeping[0].due

    # ---- helpers --------------------------------------------------------------------------------

    @property
    def _limited(self) -> bool:
        return self._rate is not None or self.ramp.whole is not None

    def _free(self) -> int:
        """By count and by bytes."""
        by_size = int((self._bytes_max - self.bytes) / self._typical_bytes)
        held_max = self.held_max if self._ordered else max(1, round(self.held_max / self.cost))
        return min(held_max - self.count, by_size if self.count else max(by_size, 1))

    def _next(self, now: float) -> T | None:
        if not self._ordered:
            if self._queue:
                return self._queue.popleft()
            return self._late.popleft() if self._late else None
        if self._due:
            return self._due.popleft()
        while (item := self._lanes.take()) is not None:
            if item.due <= now:
                return item
            self.sleep(item)
        return None

    def _paced(self, now: float) -> T | None:
        """The next that has a token."""
        if self._ordered:
            return self._next(now) if self._tokens(now, late=False) > 0 else None
        if self._queue and self._tokens(now, late=False) > 0:
            return self._queue.popleft()
        if self._late and self._tokens(now, late=True) > 0:
            return self._late.popleft()
        return None

    def _tokens(self, now: float, *, late: bool) -> int:
        """Attempts that may begin now by pace alone. late: of what waited, which leaves half of what there is to what
        is new."""
        self.ramp.refresh(now)
        rate, whole, own = self._rate, self.ramp.whole, self.ramp.late
        tokens, wait = self.held_max, 0.0
        limits = [(rate, 0.0), (whole, whole.burst / 2 if whole is not None and late and own is not None else 0.0)]
        for bucket, above in (*limits, (own if late else None, 0.0)):
            if bucket is not None:
                tokens = min(tokens, bucket.available(now, above))
                wait = max(wait, bucket.wait_s(now, above))
        if tokens <= 0:
            self.wake_at = min(self.wake_at, now + wait)
        return tokens


def _part(items: Iterable[T], stays: Callable[[T], bool], gone: list[T]) -> list[T]:
    """Those that stay; the others are added to `gone`."""
    kept: list[T] = []
    for item in items:
        (kept if stays(item) else gone).append(item)
    return kept
