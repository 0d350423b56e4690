"""Concurrency over time: the integral that reports to the autoscaler are made of.

Pure: `now` comes in. Kept incrementally; `report` closes an interval.

Source: spec/serving.md §8.11, §9.9 (average = ∫ concurrency dt / interval; requests per second).
"""

from typing import NamedTuple


class Interval(NamedTuple):
    """concurrency: time-weighted average; requests: per second."""

    concurrency: float
    requests: float


class Meter:
    """Counts of one admission point. `arrived` and `departed` come in pairs."""

    __slots__ = ("_area", "_requests", "_since", "_touched", "running")

    def __init__(self, now: float) -> None:
        self.running = 0
        self._area = 0.0
        self._requests = 0
        self._since = now
        self._touched = now

    def arrived(self, now: float) -> None:
        self._area += self.running * (now - self._touched)
        self._touched = now
        self.running += 1
        self._requests += 1

    def departed(self, now: float) -> None:
        assert self.running > 0, "departed() without arrived()"
        self._area += self.running * (now - self._touched)
        self._touched = now
        self.running -= 1

    def report(self, now: float) -> Interval:
        """The interval since the last report. An interval of no length reports the present concurrency."""
        self._area += self.running * (now - self._touched)
        length = now - self._since
        interval = (
            Interval(self._area / length, self._requests / length)
            if length > 0
            else Interval(float(self.running), float(self._requests))
        )
        self._area = 0.0
        self._requests = 0
        self._since = self._touched = now
        return interval
