"""Clients that leave while we do not read from them: the kernel tells, nobody asks.

Path: net/server.py [watches] a connection that it has paused for longer than a moment, until it reads again.

A transport that is paused is not polled, so its FIN or RST would be seen when somebody reads again, or never. One epoll
set per loop waits for just these two; its own descriptor is read by the loop. Nothing is asked per connection, and
nothing is open until the first one is watched.

Source: reliability.md GW-23 (100 ms), AC-02; epoll_ctl(2), EPOLLRDHUP.
"""

import asyncio
import select
from collections.abc import Callable


class Leaving:
    """Of one loop. `watch` a descriptor once; `forget` it before its reading goes on or it is closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll: select.epoll | None = None
        self._watched: dict[int, Callable[[], None]] = {}

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, descriptor: int, left: Callable[[], None], *, fin: bool = True) -> None:
        """`left()` once, when the peer has sent RST, or (with `fin`) FIN; soon, if it has already."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._loop.add_reader(self._epoll.fileno(), self._on_ready)
        if descriptor in self._watched:
            self._forget(descriptor)
        self._watched[descriptor] = left
        events = select.EPOLLONESHOT | (select.EPOLLRDHUP if fin else 0)  # EPOLLHUP and EPOLLERR are always told
        self._epoll.register(descriptor, events)

    def forget(self, descriptor: int, left: Callable[[], None]) -> None:
        """No longer. If the descriptor is somebody else's by now, that one stays watched."""
        if self._watched.get(descriptor) == left:
            self._forget(descriptor)

    def close(self) -> None:
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
        self._watched.clear()

    def _on_ready(self) -> None:
        assert self._epoll is not None
        for descriptor, _ in self._epoll.poll(0):
            left = self._watched.get(descriptor)
            if left is not None:
                self._forget(descriptor)
                left()

    def _forget(self, descriptor: int) -> None:
        del self._watched[descriptor]
        if self._epoll is not None:
            try:
                self._epoll.unregister(descriptor)
            except OSError:
                pass  # it was closed first, and the kernel has forgotten it
