"""Order per key: events of a lane one at a time, oldest first; lanes in turn.

Path: dispatcher.py (a trigger with `delivery.order: ordered`) ↔ [lanes].

Keys are hashed onto a fixed number of lanes; a lane is held until whoever took from it frees it, retries and dead
letter included. Events without a key share one lane and so stay in the order of arrival.

Cost: O(1) per event. Bound: the caller's; `len(lanes)` is what waits.

Source: spec/eventing.md §11.2, §11.7; reliability.md BR-10.
"""

import zlib
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Lanes(Generic[T]):
    """Invariant: a lane is ready exactly when something waits in it and nothing was taken from it."""

    __slots__ = ("_count", "_lanes", "_ready", "_taken", "_waiting")

    def __init__(self, count: int) -> None:
        assert count >= 1
        self._count = count
        self._lanes: dict[int, deque[T]] = {}  # those in which something waits
        self._ready: deque[int] = deque()
        self._taken: set[int] = set()
        self._waiting = 0

    def __len__(self) -> int:
        """Events waiting; those taken are not counted."""
        return self._waiting

    def lane(self, key: str) -> int:
        return zlib.crc32(key.encode()) % self._count

    def add(self, lane: int, item: T) -> None:
        """In the order of the log."""
        self._waiting += 1
        queue = self._lanes.get(lane)
        if queue is not None:
            queue.append(item)
            return
        self._lanes[lane] = deque((item,))
        if lane not in self._taken:
            self._ready.append(lane)

    def take(self) -> T | None:
        """The oldest of the lane whose turn it is, or None. Its lane gives nothing more until `free`."""
        if not self._ready:
            return None
        lane = self._ready.popleft()
        queue = self._lanes[lane]
        item = queue.popleft()
        if not queue:
            del self._lanes[lane]
        self._taken.add(lane)
        self._waiting -= 1
        return item

    def drop(self, stays: Callable[[T], bool]) -> list[T]:
        """Take out, lane by lane, what waits and does not stay. Lanes that were taken from stay taken."""
        dropped: list[T] = []
        for lane, queue in list(self._lanes.items()):
            kept: deque[T] = deque()
            for item in queue:
                (kept if stays(item) else dropped).append(item)
            if kept:
                self._lanes[lane] = kept
                continue
            del self._lanes[lane]
            if lane not in self._taken:
                self._ready.remove(lane)
        self._waiting -= len(dropped)
        return dropped

    def free(self, lane: int) -> None:
        """What was taken from it is done with."""
        self._taken.remove(lane)
        if lane in self._lanes:
            self._ready.append(lane)
