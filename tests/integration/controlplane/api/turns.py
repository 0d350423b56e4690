"""Counts calls in each turn of the loop: for what promises to hold up nobody."""

import asyncio
from typing import Any

import pytest


class Turns:
    """Open until `close`. `counts`: by name, one number per turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: Any, *names: str) -> None:
        self.counts: dict[str, list[int]] = {name: [0] for name in names}
        self._loop = asyncio.get_running_loop()
        for name in names:
            monkeypatch.setattr(place, name, self._counted(name, getattr(place, name)))
        self._next()

    def close(self) -> None:
        self._handle.cancel()

    def _counted(self, name: str, real: Any) -> Any:
        def counted(*arguments: Any, **more: Any) -> Any:
            self.counts[name][-1] += 1
            return real(*arguments, **more)

        return counted

    def _next(self) -> None:
        for one in self.counts.values():
            one.append(0)
        self._handle = self._loop.call_soon(self._next)
