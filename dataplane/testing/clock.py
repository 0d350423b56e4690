"""An event loop whose time jumps instead of passing.

Path: tests only; every component takes `loop.time` or a Clock, so a test gives it this one.

A test that waits 60 s takes microseconds, and a test that would hang fails at once with "deadlock". Same idea as trio's
autojump MockClock and kopf's looptime.
"""

import asyncio
import selectors

from dataplane.clock import Clock


class _JumpSelector(selectors.DefaultSelector):
    now: float = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("deadlock: nothing ready and no timer set")
            self.now += max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Use as `asyncio.Runner(loop_factory=VirtualTimeLoop)`; no real sockets, no threads."""

    def __init__(self) -> None:
        self._jump = _JumpSelector()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now

    def spend(self, seconds: float) -> None:
        """What a computation would have taken: for those that look at the time to stop in time."""
        self._jump.now += seconds

    def clock(self, wall_s: float = 1_800_000_000.0) -> Clock:
        """A Clock over this loop's time; the wall starts at `wall_s`."""
        return Clock(monotonic=self.time, wall=lambda: wall_s + self._jump.now)
