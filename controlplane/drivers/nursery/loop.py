"""The nursery's event loop: file descriptors, timers and ended children, in one thread.

Path: supervise.py → [loop] ← container.py, pod.py.

asyncio would cost 50 ms of start and 6 MB; this is what is needed of it.
"""

import heapq
import os
import select
import signal
from collections.abc import Callable

from dataplane.clock import Clock

EVENTS_MAX = 64


class Timer:
    """Set `call` to None to cancel."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call


class Loop:
    """`children`: pid → what to call with its wait status. Every other child is reaped silently."""

    __slots__ = ("_clock", "_poll", "_ready", "_timers", "_count", "_wake_fd", "children", "stopping")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._poll = select.epoll()
        self._ready: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0
        self.children: dict[int, Callable[[int], None]] = {}
        self.stopping = False
        self._wake_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        self.watch(self._wake_fd, self._reap)

    def watch(self, fd: int, call: Callable[[], None], *, write: bool = False) -> None:
        """Call when `fd` is readable (and, when asked for, writable)."""
        events = select.EPOLLIN | (select.EPOLLOUT if write else 0)
        if fd in self._ready:
            self._poll.modify(fd, events)
        else:
            self._poll.register(fd, events)
        self._ready[fd] = call

    def unwatch(self, fd: int) -> None:
        if self._ready.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def after(self, delay_s: float, call: Callable[[], None]) -> Timer:
        timer = Timer(call)
        self._count += 1
        heapq.heappush(self._timers, (self._clock.monotonic() + delay_s, self._count, timer))
        return timer

    def run(self) -> None:
        """Until `stopping`."""
        self._reap()
        while not self.stopping:
            self.turn()

    def turn(self) -> None:
        """Wait for something and handle it."""
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        timeout_s = max(0.0, self._timers[0][0] - self._clock.monotonic()) if self._timers else -1.0
        for fd, _ in self._poll.poll(timeout_s, EVENTS_MAX):
            call = self._ready.get(fd)
            if call is not None:
                call()
        now = self._clock.monotonic()
        while self._timers and self._timers[0][0] <= now:
            due = heapq.heappop(self._timers)[2]
            if due.call is not None:
                due.call()

    def _reap(self) -> None:
        try:
            while os.read(self._wake_fd, 512):
                pass
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            call = self.children.pop(pid, None)
            if call is not None:
                call(status)
