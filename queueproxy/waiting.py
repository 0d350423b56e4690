"""A request that we answer ourselves, later: it keeps the connection's turn and notices when the client has left.

Path: accept.py (probes) and drain.py (the hook) → [waiting] → net/server.py.
"""

from dataplane.errors import DataplaneError
from dataplane.net.peer import peer_is_gone
from dataplane.net.server import ServerConnection
from dataplane.net.timers import NEVER
from dataplane.wire.headers import Headers


class Waiting:
    """`answer` or `fail` once; either does nothing when the client has left."""

    __slots__ = ("_connection",)

    def __init__(self, connection: ServerConnection) -> None:
        self._connection: ServerConnection | None = connection
        connection.exchange = self

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.respond(status, headers, body)

    def fail(self, error: DataplaneError) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.fail(error)

    def left(self) -> None:
        """The client is gone; a subclass gives back what it holds."""

    # ---- client → us (server.Exchange) ------------------------------------------------------------

    def on_body(self, data: bytes, last: bool) -> None: ...

    def on_ahead(self, size_bytes: int) -> None: ...

    def on_client_gone(self, error: DataplaneError | None) -> None:
        if self._connection is not None:
            self._connection = None
            self.left()

    def on_client_eof(self) -> None:
        connection = self._connection
        if connection is not None and peer_is_gone(connection):
            self.on_client_gone(None)
            connection.cut()

    def on_client_blocked(self) -> None: ...

    def on_client_writable(self) -> None: ...

    def on_deadline(self, now: float) -> float:
        return NEVER
