"""Accepting connections: bind, limits, drain.

Path: socket → [listener] → net/server.py.

At a limit a connection is answered 503 and closed; those that are there are not touched. Draining: keep accepting
for the propagation delay, answer with `Connection: close`, keep idle connections until their next request or the
deadline (closing them at once is what loses requests: reliability.md §1), then close what is left.

Source: reliability.md GW-27, GW-32.
"""

import asyncio
import socket
from collections.abc import Callable

import msgspec

from dataplane.errors import TooManyConnections
from dataplane.net.accepting import Accepting, Limits, Meters
from dataplane.net.engine import Engine
from dataplane.net.server import ServerConnection
from dataplane.wire.headers import FieldTable

BACKLOG = 4096
GOODBYE_S = 1.0  # for the frame that is under way in a WebSocket at the end of a drain, and for the client to read it
KEEPALIVE = (  # a client whose machine is gone is found out within a minute, asked by the kernel
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


class ListenerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """connections_max: of this listener; per_source_max: of one client address (0 = no own limit)."""

    connections_max: int = 16_000
    per_source_max: int = 0
    reuse_port: bool = False
    limits: Limits = Limits()


class Listener:
    """One bound address. `handler` is called once per request head."""

    def __init__(
        self,
        *,
        name: str,
        engine: Engine,
        handler: Callable[[ServerConnection], None],
        trusted: Callable[[str], FieldTable],
        settings: ListenerSettings,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._server: asyncio.Server | None = None
        self._connections: set[ServerConnection] = set()
        self._sources: dict[str, int] = {}
        self._draining = False
        self._empty: asyncio.Event | None = None
        self._accepting = Accepting(
            handler=handler,
            trusted=trusted,
            timers=engine.timers,
            meters=Meters(engine.registry, name),
            limits=settings.limits,
            opened=self._opened,
            closed=self._closed,
            clock=engine.clock,
            leaving=engine.leaving,
        )

    def __len__(self) -> int:
        """Open connections."""
        return len(self._connections)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Bind and accept. Port 0 picks one. Returns where it listens. Raises OSError when it cannot bind."""
        self._server = await self._engine.loop.create_server(
            lambda: ServerConnection(self._accepting),
            host,
            port,
            backlog=BACKLOG,
            reuse_port=self._settings.reuse_port or None,
        )
        for option in KEEPALIVE:
            for sock in self._server.sockets:
                sock.setsockopt(*option)  # connections inherit it
        return _address(self._server.sockets[0])

    async def start_on(self, sock: socket.socket) -> tuple[str, int]:
        """Accept on a socket that is bound already (handed over by a supervisor)."""
        self._server = await self._engine.loop.create_server(
            lambda: ServerConnection(self._accepting), sock=sock, backlog=BACKLOG
        )
        return _address(sock)

    def stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def drain(self, *, deadline: float, propagation_s: float = 0.0) -> int:
        """Until every connection has ended or the deadline (loop seconds). Returns how many had to be cut."""
        self._draining = True
        for connection in self._connections:
            connection.draining = True
        if propagation_s:
            await asyncio.sleep(min(propagation_s, max(0.0, deadline - self._engine.clock())))
        self.stop_accepting()
        self._empty = asyncio.Event()
        if self._connections:
            try:
                async with asyncio.timeout_at(deadline):
                    await self._empty.wait()
            except TimeoutError:
                pass
        left = [c for c in list(self._connections) if not c.close_if_idle()]
        for connection in left:
            connection.say_goodbye()
        if self._connections:
            try:
                async with asyncio.timeout_at(self._engine.clock() + GOODBYE_S):
                    await self._empty.wait()
            except TimeoutError:
                for connection in list(self._connections):
                    connection.close()
        return len(left)

    # ---- connections → us ---------------------------------------------------------------------

    def _opened(self, connection: ServerConnection) -> bool:
        settings = self._settings
        source = connection.peer
        count = self._sources.get(source, 0)
        if len(self._connections) >= settings.connections_max or (0 < settings.per_source_max <= count):
            connection.refuse(TooManyConnections())
            return False
        self._sources[source] = count + 1
        self._connections.add(connection)
        connection.draining = self._draining
        return True

    def _closed(self, connection: ServerConnection) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._accepting.meters.connections.v -= 1
        left = self._sources.get(connection.peer, 1) - 1
        if left:
            self._sources[connection.peer] = left
        else:
            self._sources.pop(connection.peer, None)
        if self._empty is not None and not self._connections:
            self._empty.set()


def _address(sock: socket.socket) -> tuple[str, int]:
    name = sock.getsockname()
    return name[0], name[1]
