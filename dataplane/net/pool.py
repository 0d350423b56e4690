"""Connections to pods and hops: idle ones by origin, O(1) to take and to give back; new ones dialled a few at a time.

Path: net/relay.py → [pool] → net/client.py.

Idle connections are a stack per origin (the warmest is taken first, cold ones age out at the bottom); one that dies
while idle leaves it in O(1). Dials of one origin beyond DIALS_MAX wait in line, and take an idle connection that
comes back before their turn: a burst of 5 000 to a fresh pod must not overrun its listen queue, where a dropped SYN
costs a second.

Source: reliability.md GW-20 (connect timeout 1 s); style.md §2.10 (state is kept, never rescanned).
"""

import asyncio
import os
from collections import deque
from typing import Protocol

import msgspec

from dataplane.errors import ConnectFailed
from dataplane.net.client import ClientConnection
from dataplane.net.tasks import Tasks
from dataplane.net.timers import NEVER, Timers
from dataplane.telemetry.metrics import Registry
from dataplane.wire.headers import from_upstream

Origin = tuple[str, int]


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """idle_max: per origin. idle_s: shorter than servers keep theirs (nginx 75 s, uvicorn 5 s needs the retry rule)."""

    idle_max: int = 1024
    idle_s: float = 50.0
    dials_max: int = 8
    connect_timeout_s: float = 1.0


class Dialler(Protocol):
    """Who waits for a new connection. Exactly one is called, unless `cancel` came first."""

    def on_connected(self, connection: ClientConnection) -> None: ...

    def on_connect_failed(self, error: ConnectFailed) -> None: ...


class _PerOrigin:
    """`wake`/`on_timer`: an entry of the timer wheel while something is idle here."""

    __slots__ = ("_pool", "dialling", "idle", "origin", "wake", "waiting")

    def __init__(self, origin: Origin, pool: "Pool") -> None:
        self.origin = origin
        self._pool = pool
        self.idle: dict[ClientConnection, None] = {}
        self.dialling = 0
        self.waiting: deque[Dialler] = deque()
        self.wake = NEVER

    def on_timer(self, now: float) -> None:
        self._pool._expire(self, now)


class Pool:
    """All connections of one process to its upstreams."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        timers: Timers,
        settings: PoolSettings,
        registry: Registry,
    ) -> None:
        self._loop = loop
        self._timers = timers
        self._settings = settings
        self._clock = loop.time
        self._idle_max = settings.idle_max
        self._tasks = Tasks("pool")
        self._origins: dict[Origin, _PerOrigin] = {}
        self._open = registry.gauge("dataplane_upstream_connections", "Open connections to pods and hops.").cell()
        self._dials = registry.counter("dataplane_upstream_dials_total", "Connection attempts.", ("outcome",))
        self._fields = from_upstream()
        self._known = registry.gauge(
            "dataplane_known_response_heads", "Heads of responses that are not parsed when they come again."
        ).cell()
        registry.before_render(self._refresh)
        self._connected, self._failed = self._dials.cell("connected"), self._dials.cell("failed")

    def take(self, origin: Origin) -> ClientConnection | None:
        """An idle connection, now the caller's, or None: dial."""
        place = self._origins.get(origin)
        if place is None:
            return None
        idle = place.idle
        while idle:
            connection, _ = idle.popitem()
            if not connection.closed:
                return connection
        return None

    def give(self, connection: ClientConnection) -> None:
        """Back after a whole response. The caller may not touch it again."""
        connection.user = None
        connection.served += 1
        if connection.closed:
            return
        place = self._origins.get(connection.origin) or self._place(connection.origin)
        idle = place.idle
        if place.waiting:
            place.waiting.popleft().on_connected(connection)
            return
        if len(idle) >= self._idle_max:
            connection.close()
            return
        idle[connection] = None
        connection.idle_since = now = self._clock()
        if place.wake == NEVER:
            self._timers.at(place, now + self._settings.idle_s)

    def dial(self, origin: Origin, dialler: Dialler) -> None:
        """A new connection (or one that comes back first). The dialler is called later, never before this returns."""
        place = self._place(origin)
        place.waiting.append(dialler)
        if place.dialling < self._settings.dials_max:
            place.dialling += 1
            self._tasks.spawn(self._dial(place), f"dial {origin[0]}:{origin[1]}")

    def cancel(self, origin: Origin, dialler: Dialler) -> None:
        """The dialler no longer waits."""
        place = self._origins.get(origin)
        if place is not None:
            try:
                place.waiting.remove(dialler)
            except ValueError:
                pass

    def forget(self, origin: Origin) -> None:
        """The pod is gone: close what is idle there."""
        place = self._origins.get(origin)
        if place is None:
            return
        for connection in list(place.idle):
            connection.close()
        place.idle.clear()
        if not place.waiting and not place.dialling:
            self._timers.forget(place)
            del self._origins[origin]

    async def close(self) -> None:
        await self._tasks.close()
        for origin in list(self._origins):
            self.forget(origin)

    # ---- dialling -----------------------------------------------------------------------------

    async def _dial(self, place: _PerOrigin) -> None:
        try:
            while len(place.waiting) >= place.dialling:  # else each of them has somebody who dials already
                await self._dial_one(place)
        finally:
            place.dialling -= 1
            if not place.waiting and not place.dialling and not place.idle and place.wake == NEVER:
                self._origins.pop(place.origin, None)  # nothing was left here that would take it away later

    async def _dial_one(self, place: _PerOrigin) -> None:
        host, port = place.origin
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                _, connection = await self._loop.create_connection(
                    lambda: ClientConnection(place.origin, self._gone, self._fields), host, port
                )
        except (OSError, ValueError, OverflowError) as error:  # also: no such name or port
            self._failed.v += 1
            if place.waiting:
                place.waiting.popleft().on_connect_failed(ConnectFailed(_reason(error)))
            return
        self._connected.v += 1
        self._open.v += 1
        if place.waiting:
            place.waiting.popleft().on_connected(connection)
        else:
            connection.served -= 1  # give() counts a response; this one has had none
            self.give(connection)

    # ---- housekeeping ---------------------------------------------------------------------------

    def _place(self, origin: Origin) -> _PerOrigin:
        place = self._origins.get(origin)
        if place is None:
            place = self._origins[origin] = _PerOrigin(origin, self)
        return place

    def _refresh(self) -> None:
        self._known.v = len(self._fields.heads)

    def _gone(self, connection: ClientConnection) -> None:
        self._open.v -= 1
        place = self._origins.get(connection.origin)
        if place is not None:
            place.idle.pop(connection, None)

    def _expire(self, place: _PerOrigin, now: float) -> None:
        idle_s = self._settings.idle_s
        for connection in list(place.idle):  # oldest first: a stack's bottom
            if connection.idle_since + idle_s > now:
                self._timers.at(place, connection.idle_since + idle_s)
                return
            place.idle.pop(connection)
            connection.close()
        if not place.waiting and not place.dialling:
            self._origins.pop(place.origin, None)


def _reason(error: Exception) -> str:
    """For people: `connect: connection refused`, `i/o timeout`."""
    if isinstance(error, TimeoutError):
        return "i/o timeout"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return f"connect: {os.strerror(error.errno).lower()}"
    return f"connect: {error}"
