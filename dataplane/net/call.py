"""One HTTP request that this process makes itself: bytes out; status, fields and body back through a call.

Path: broker/deliver.py → [call] → net/pool.py, net/client.py → subscriber.

A Line is where to, how long and how much: all its calls have the same timeout, so the oldest is always the next to
expire and one entry of the timer wheel serves all. Per call there is no task, no future and no timer. An HTTP/1.1
connection carries one call: who bounds `len(line)` bounds the connections to its origin.

What a Line never does: follow a redirect, pass on an interim response, read more than it may, answer twice.

Source: reliability.md §3.1.1 (rules 2-4), GW-18, GW-22, BR-13; spec/eventing.md §9.1, §9.11.
"""

from typing import Protocol

from dataplane.errors import ConnectFailed, UpstreamFault, UpstreamProtocol, UpstreamReset, UpstreamTimeout
from dataplane.net.client import ClientConnection
from dataplane.net.engine import Engine
from dataplane.net.pool import Origin
from dataplane.net.timers import NEVER
from dataplane.wire.destination import Destination
from dataplane.wire.http1_response import ResponseReader

Fields = list[tuple[bytes, bytes]]
_NO_FIELDS: Fields = []


class Line(Protocol):
    """Where calls go. `PlainLine` here; `SecureLine` in call_secure.py."""

    def send(self, call: "Call", data: bytes) -> None:
        """Begin. `data`: a whole request, head and body. `call.on_answer()` comes later, never from within this."""
        ...

    def cancel(self, call: "Call") -> None:
        """Nobody waits any more: its connection is closed, `on_answer` does not come. Of one that is over: nothing."""
        ...

    def close(self) -> None:
        """Cancel every call."""
        ...

    def __len__(self) -> int:
        """Calls that are not over."""
        ...


class Call:
    """One request and what came of it. Subclass and override `on_answer`.

    Then either `error` is set and there was no whole response, or `status`, `fields` (as received, without those of
    framing) and `body` are. too_large: the body went over the line's bound and is cut to it; its connection is closed.
    repeated: its first connection was lost.
    """

    __slots__ = (
        "_connection", "_data", "_dialling", "_heard", "_line", "_pieces", "_size_bytes",
        "body", "deadline", "error", "fields", "repeated", "status", "too_large",
    )  # fmt: skip

    def __init__(self) -> None:
        self.status = 0
        self.fields = _NO_FIELDS
        self.body = b""
        self.error: UpstreamFault | None = None
        self.too_large = False
        self.deadline = NEVER
        self._line: PlainLine
        self._data = b""
        self._connection: ClientConnection | None = None
        self._dialling = self._heard = self.repeated = False
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    def on_answer(self) -> None:
        """It is over. Called on the loop, once; must not raise."""
        raise NotImplementedError

    def may_repeat(self) -> bool:
        """Asked when its line repeats and its connection was lost before an answer: whether this one may be, now."""
        return True

    # ---- pool → us --------------------------------------------------------------------------

    def on_connected(self, connection: ClientConnection) -> None:
        self._dialling = False
        self._connection = connection
        connection.send(self, self._data)

    def on_connect_failed(self, error: ConnectFailed) -> None:
        self._dialling = False
        self._fail(error)

    # ---- connection → us (client.User) --------------------------------------------------------

    def on_response(self, connection: ClientConnection) -> None:
        reader = connection.reader
        if not reader.complete:
            self._part(connection, reader)
            return
        line = self._line
        del line.open[self]
        self._connection = None
        self.status = reader.status
        self.fields = reader.fields()
        pieces = reader.body
        if self._pieces:
            pieces = [*self._pieces, *pieces]
        if pieces:
            body = self.body = b"".join(pieces) if len(pieces) > 1 else pieces[0]
            if len(body) > line.answer_bytes_max:
                self.body = body[: line.answer_bytes_max]
                self.too_large = True
        if reader.keep_alive and not (reader.excess or connection.blocked or reader.status == 101):
            line.pool.give(connection)
        else:
            connection.close()
        self.on_answer()

    def on_upstream_lost(self, connection: ClientConnection, error: UpstreamReset | UpstreamProtocol) -> None:
        self._connection = None
        if (
            connection.served > 0
            and not self._heard
            and not self.repeated
            and self._line.repeatable
            and isinstance(error, UpstreamReset)
            and self.may_repeat()
        ):
            # The peer's keep-alive ran out while the request was on its way; a fresh connection tells the truth.
            self.repeated = self._dialling = True
            self._line.pool.dial(self._line.origin, self)
            return
        self._fail(error)

    def on_tunnel_data(self, data: bytes) -> None: ...

    def on_tunnel_eof(self) -> None: ...

    def on_upstream_blocked(self) -> None: ...

    def on_upstream_writable(self) -> None: ...

    # ---- helpers ------------------------------------------------------------------------------

    def _part(self, connection: ClientConnection, reader: ResponseReader) -> None:
        self._heard = True
        pieces, reader.body = reader.body, []
        self._pieces += pieces
        self._size_bytes += sum(map(len, pieces))
        bound = self._line.answer_bytes_max
        if self._size_bytes > bound or reader.content_length > bound:
            self._connection = None
            connection.close()
            del self._line.open[self]
            self.status = reader.status
            self.fields = reader.fields()
            self.body = b"".join(self._pieces)[:bound]
            self.too_large = True
            self.on_answer()

    def _fail(self, error: UpstreamFault) -> None:
        del self._line.open[self]
        self.error = error
        self.on_answer()

    def _let_go(self) -> None:
        """Of what it holds in the pool or on a connection."""
        if self._dialling:
            self._dialling = False
            self._line.pool.cancel(self._line.origin, self)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class PlainLine:
    """Calls over plain HTTP/1.1 to one origin.

    timeout_s: of a call, from `send`, connecting included. repeatable: the same request may reach the peer twice, so a
    call whose reused connection died before a response byte is sent once more on a fresh one.
    """

    __slots__ = ("_clock", "_timers", "answer_bytes_max", "open", "origin", "pool", "repeatable", "timeout_s", "wake")

    def __init__(
        self, engine: Engine, origin: Origin, *, timeout_s: float, answer_bytes_max: int, repeatable: bool
    ) -> None:
        self.origin = origin
        self.timeout_s = timeout_s
        self.answer_bytes_max = answer_bytes_max
        self.repeatable = repeatable
        self.pool = engine.pool
        self.open: dict[Call, None] = {}  # oldest first, so in the order of their deadlines
        self.wake = NEVER
        self._timers = engine.timers
        self._clock = engine.clock

    def __len__(self) -> int:
        return len(self.open)

    def send(self, call: Call, data: bytes) -> None:
        call._line = self
        call._data = data
        deadline = call.deadline = self._clock() + self.timeout_s
        self.open[call] = None
        if self.wake == NEVER:
            self._timers.at(self, deadline)
        connection = self.pool.take(self.origin)
        if connection is not None:
            call._connection = connection
            connection.send(call, data)
        else:
            call._dialling = True
            self.pool.dial(self.origin, call)

    def cancel(self, call: Call) -> None:
        if call in self.open:
            del self.open[call]
            call._let_go()

    def close(self) -> None:
        for call in list(self.open):
            self.cancel(call)
        self._timers.forget(self)

    # ---- timers → us --------------------------------------------------------------------------

    def on_timer(self, now: float) -> None:
        while self.open:
            call = next(iter(self.open))
            if call.deadline > now:
                self._timers.at(self, call.deadline)
                return
            call._let_go()
            call._fail(UpstreamTimeout(f"no answer within {self.timeout_s:g} s"))


def open_line(
    engine: Engine,
    destination: Destination,
    *,
    timeout_s: float,
    answer_bytes_max: int,
    repeatable: bool,
    cluster_local: str = "",
    ca_certs: str = "",
) -> Line:
    """The door for this destination: plain, or TLS where the URL says https.

    Raises:
        ConfigFault: `ca_certs` is no PEM.
    """
    if not destination.secure:
        origin = destination.origin(cluster_local)
        return PlainLine(engine, origin, timeout_s=timeout_s, answer_bytes_max=answer_bytes_max, repeatable=repeatable)
    from dataplane.net.call_secure import SecureLine  # aiohttp is not loaded where nothing is https

    return SecureLine(
        engine,
        destination,
        timeout_s=timeout_s,
        answer_bytes_max=answer_bytes_max,
        repeatable=repeatable,
        ca_certs=ca_certs,
    )
