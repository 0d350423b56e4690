"""Which activators there are: those that follow us and say so, sorted by name.

Path: hops.py → [activators] → publish.py → Snapshot.activators → activator/subset.py.

One that is lost stays for a while: it may connect again, and meanwhile serves with the pods that it has.

Source: spec/serving.md §8.9.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

LOST_S = 5.0
NAME_CHARS_MAX = 253


class Activators:
    """`changed` is called with all of them when they are not the same any more."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop, changed: Callable[[tuple[str, ...]], None]) -> None:
        self._loop = loop
        self._changed = changed
        self._links: Counter[str] = Counter()
        self._leaving: dict[str, asyncio.TimerHandle] = {}

    def join(self, name: str) -> None:
        timer = self._leaving.pop(name, None)
        if timer is not None:
            timer.cancel()
        self._links[name] += 1
        self._tell()

    def leave(self, name: str, *, goodbye: bool) -> None:
        """A link ended; `goodbye`: on purpose."""
        self._links[name] -= 1
        if self._links[name] > 0:
            return
        if goodbye:
            self._forget(name)
        else:
            self._leaving[name] = self._loop.call_later(LOST_S, self._forget, name)

    def close(self) -> None:
        for timer in self._leaving.values():
            timer.cancel()
        self._leaving.clear()

    def _forget(self, name: str) -> None:
        self._leaving.pop(name, None)
        del self._links[name]
        self._tell()

    def _tell(self) -> None:
        self._changed(tuple(sorted(self._links)))
