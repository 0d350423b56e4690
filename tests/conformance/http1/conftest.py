"""A server connection without a socket: bytes in, requests and answers out, synchronously."""

from collections.abc import Callable

import pytest

from dataplane.net.accepting import Accepting, Limits, Meters
from dataplane.net.server import ServerConnection
from dataplane.net.timers import NEVER
from dataplane.telemetry.metrics import Registry
from dataplane.wire.headers import from_outside


class NoTimers:
    """Nothing is ever late here."""

    def at(self, entry, when: float) -> None:
        entry.wake = when

    def forget(self, entry) -> None:
        entry.wake = NEVER


class Sink:
    """The transport: keeps what is written. Reading is never really paused, which is allowed to arrive late."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def get_extra_info(self, name: str, default=None):
        return ("127.0.0.1", 1) if name == "peername" else default

    def set_write_buffer_limits(self, high=None, low=None) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


class Collected:
    """One accepted request; answered 200 as soon as it is whole."""

    def __init__(self, down: ServerConnection) -> None:
        request = down.request
        self.down = down
        self.method, self.target, self.host = request.method, request.target, request.host
        self.minor, self.content_length, self.chunked = request.minor, request.content_length, request.chunked
        self.fields = [(name.lower(), value) for name, value in request.fields()]
        self.body = b""
        self.whole = request.content_length <= 0 and not request.chunked
        down.exchange = self

    def on_body(self, data: bytes, last: bool) -> None:
        self.body += data
        if last:
            self.whole = True
            self.down.respond(200, [], b"")

    def on_ahead(self, size_bytes: int) -> None: ...

    def on_client_gone(self, error) -> None: ...


class Served:
    """What came of a stream: the requests in order, and whether the last word was a refusal (`refused`: its status)."""

    def __init__(self) -> None:
        self.requests: list[Collected] = []
        self.refused = 0
        self.written = b""


def _serve(*pieces: bytes) -> Served:
    served = Served()

    def handle(connection: ServerConnection) -> None:
        collected = Collected(connection)
        served.requests.append(collected)
        if collected.whole:
            connection.respond(200, [], b"")

    table = from_outside()
    connection = ServerConnection(
        Accepting(
            handler=handle,
            trusted=lambda peer: table,
            timers=NoTimers(),
            meters=Meters(Registry(), "test"),
            limits=Limits(),
            opened=lambda c: True,
            closed=lambda c: None,
            clock=lambda: 0.0,
        )
    )
    sink = Sink()
    connection.connection_made(sink)
    for piece in pieces:
        if piece and not sink.closed:
            connection.data_received(piece)
    served.written = sink.written
    last = sink.written.rpartition(b"HTTP/1.1 ")[2][:3]
    served.refused = int(last) if last and last != b"200" else 0
    return served


@pytest.fixture(scope="session")
def serve() -> Callable[..., Served]:
    """serve(*pieces): the bytes through a ServerConnection, cut as given."""
    return _serve
