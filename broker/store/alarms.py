"""One timer for all triggers of a broker: wakes each when the next of its schedule is due.

Path: fanout.py → [alarms] → fanout.py.

Source: reliability.md BR-24 (monotonic time alone).
"""

import asyncio
import heapq
import math
from collections.abc import Callable

from broker.store.place import Place


class Alarms:
    """Lives on the loop. `due` is called with each trigger whose time has come."""

    def __init__(self, due: Callable[[Place], None]) -> None:
        self._due = due
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, Place]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._order = 0

    def arm(self, place: Place) -> None:
        """For the nearest entry of its schedule, unless it is armed for that or earlier."""
        due = place.schedule.next_due()
        if due < place.armed:
            place.armed = due
            self._order += 1
            heapq.heappush(self._heap, (due, self._order, place))
            self._set()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self) -> None:
        at = self._heap[0][0] if self._heap else math.inf
        if at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        now = self._loop.time()
        while self._heap and self._heap[0][0] <= now:
            due, _, place = heapq.heappop(self._heap)
            if due == place.armed:
                place.armed = math.inf
                if not place.closed:
                    self._due(place)
        self._set()
