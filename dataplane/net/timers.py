"""One coarse timer wheel per loop: many deadlines, one loop timer, none when there is nothing to wait for.

An entry stands in the wheel at most once, at or before its earliest deadline. When it fires, the entry looks at its own
state and asks for the next time it wants to be called: per request nothing is added or removed as long as the
deadline is not earlier than the one already set.

Granularity: fires up to TICK_S late, never early (reliability.md GW-22 asks for 100 ms).
"""

import asyncio
import heapq
import logging
from typing import Protocol

log = logging.getLogger(__name__)

TICK_S = 0.05
NEVER = float("inf")


class Entry(Protocol):
    wake: float  # when the wheel will call; NEVER = not in the wheel. Written by Timers only.

    def on_timer(self, now: float) -> None:
        """Called at or after `wake`, which is NEVER again by then. Must not raise."""
        ...


class Timers:
    """Owned by one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, set[Entry]] = {}
        self._ticks: list[int] = []  # heap of the keys of _buckets
        self._handle: asyncio.TimerHandle | None = None
        self._armed = 0

    def __len__(self) -> int:
        """Entries waiting now."""
        return sum(map(len, self._buckets.values()))

    def at(self, entry: Entry, when: float) -> None:
        """Call `entry` at `when` (loop seconds) unless it will be called earlier anyway."""
        if when >= entry.wake:
            return
        if entry.wake != NEVER:
            self._remove(entry)
        entry.wake = when
        tick = int(when / TICK_S) + 1
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.add(entry)
            return
        self._buckets[tick] = {entry}
        heapq.heappush(self._ticks, tick)
        if self._handle is None or tick < self._armed:
            self._arm()

    def forget(self, entry: Entry) -> None:
        """The entry is going away."""
        if entry.wake != NEVER:
            self._remove(entry)
            entry.wake = NEVER

    def _remove(self, entry: Entry) -> None:
        bucket = self._buckets.get(int(entry.wake / TICK_S) + 1)
        if bucket is not None:
            bucket.discard(entry)

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        while self._ticks and not self._buckets[self._ticks[0]]:
            del self._buckets[heapq.heappop(self._ticks)]
        if self._ticks:
            self._armed = self._ticks[0]
            self._handle = self._loop.call_at(self._armed * TICK_S, self._fire)

    def _fire(self) -> None:
        self._handle = None
        now = self._loop.time()
        # uvloop may call up to a millisecond early; the bucket's own time is the promise.
        due = max(int(now / TICK_S), self._armed)
        now = max(now, due * TICK_S)
        while self._ticks and self._ticks[0] <= due:
            for entry in self._buckets.pop(heapq.heappop(self._ticks)):
                if entry.wake == NEVER:
                    continue  # forgotten by one that was called before it
                entry.wake = NEVER
                try:
                    entry.on_timer(now)
                except Exception:  # a mistake of one entry must not stop the clock of all
                    log.exception("timer_failed entry=%s", type(entry).__name__)
        self._arm()
