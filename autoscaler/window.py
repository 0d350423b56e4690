"""Averages over the last N seconds, in one-second buckets.

Path: decide.record → [window] → scale.

Two kinds of average over the same ring. Linear: a young revision averages over the time it has data for, and recent
seconds without data are left out rather than counted as zero. Weighted-exponential: the newest seconds weigh most and
missing ones count as zero. Callers pass monotonic seconds; nothing here reads a clock.

Source: spec/serving.md §10.5 (buckets), §16.13 (sliding maximum).
"""

from collections import deque
from math import floor

_DECIMALS = 6  # upstream rounds averages; without it 0.1 + 0.2 would ask for one pod more
_WEIGHT_LEFT = 0.0001  # of the oldest bucket, in a weighted window
_DECAY_MIN = 0.2


class Window:
    """A ring of `size_s` one-second sums. Several records of one second add up."""

    __slots__ = ("size_s", "weighted", "_sums", "_first", "_last", "_decay")

    def __init__(self, size_s: int, *, weighted: bool = False) -> None:
        assert size_s >= 1
        self.size_s = size_s
        self.weighted = weighted
        self._sums = [0.0] * size_s
        self._first = 0  # second of the first write since the ring was empty
        self._last: int | None = None  # second of the newest write
        self._decay = max(_DECAY_MIN, 1 - _WEIGHT_LEFT ** (1 / size_s))

    @property
    def last(self) -> int | None:
        """The newest second with a record, or None."""
        return self._last

    def record(self, at: float, value: float) -> None:
        """Add `value` to the second of `at`. Late ones inside the window go to their own second, older ones nowhere."""
        second = floor(at)
        if self._last is None or second - self._last >= self.size_s:
            self._sums = [0.0] * self.size_s
            self._first = self._last = second
        elif second > self._last:
            for skipped in range(self._last + 1, second + 1):
                self._sums[skipped % self.size_s] = 0.0
            self._last = second
        elif self._last - second >= self.size_s:
            return
        self._sums[second % self.size_s] += value

    def average(self, now: float) -> float:
        """0 when nothing was recorded inside the window; ask `empty` to tell that from an average of 0."""
        if self._last is None:
            return 0.0
        gap = max(0, floor(now) - self._last)
        if gap >= self.size_s:
            return 0.0
        return round(self._weighted(gap) if self.weighted else self._linear(gap), _DECIMALS)

    def empty(self, now: float) -> bool:
        """No data: the newest record has left the window, or there never was one."""
        return self._last is None or floor(now) - self._last > self.size_s

    def zero(self, now: float) -> bool:
        """Every second inside the window is 0, so that the average stays 0 until somebody records."""
        if self._last is None or floor(now) - self._last >= self.size_s:
            return True
        return not any(self._sums)

    def resized(self, size_s: int, *, weighted: bool) -> "Window":
        """A window of another size or kind with the seconds that fit into both."""
        other = Window(size_s, weighted=weighted)
        if self._last is not None:
            oldest = max(self._first, self._last - min(self.size_s, size_s) + 1)
            for second in range(oldest, self._last + 1):
                other.record(second, self._sums[second % self.size_s])
        return other

    def _linear(self, gap: int) -> float:
        assert self._last is not None
        kept = self.size_s - gap
        end = self._last % self.size_s + 1
        begin = end - kept
        total = sum(self._sums[max(0, begin) : end])
        if begin < 0:
            total += sum(self._sums[begin:])
        return total / min(self._last - self._first + 1, kept)

    def _weighted(self, gap: int) -> float:
        assert self._last is not None
        total, weight = 0.0, self._decay * (1 - self._decay) ** gap
        for age in range(self.size_s - gap):
            total += self._sums[(self._last - age) % self.size_s] * weight
            weight *= 1 - self._decay
        return total


class SlidingMax:
    """The largest of the values of the last `slots` slots of `slot_s` seconds, the present one included.

    Values wait in a deque that only falls: O(1) amortised, and never longer than `slots`.
    """

    __slots__ = ("slots", "slot_s", "_falling")

    def __init__(self, slots: int, slot_s: float) -> None:
        assert slots >= 1
        self.slots = slots
        self.slot_s = slot_s
        self._falling: deque[tuple[int, int]] = deque()  # (slot, value), values strictly falling

    def record(self, now: float, value: int) -> int:
        """Add `value` and return the largest that still counts."""
        slot = floor(now / self.slot_s)
        while self._falling and self._falling[-1][1] <= value:
            self._falling.pop()
        if not self._falling or self._falling[-1][0] != slot:
            self._falling.append((slot, value))
        while self._falling[0][0] <= slot - self.slots:
            self._falling.popleft()
        return self._falling[0][1]

    def falls_at(self) -> float | None:
        """When the largest value will leave and a smaller one count; None while there is only one."""
        if len(self._falling) < 2:
            return None
        return (self._falling[0][0] + self.slots) * self.slot_s
