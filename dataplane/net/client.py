"""Client side of one HTTP/1.1 connection: the twin of server.py.

Path: net/relay.py → [this file] → pod … pod → [this file] → net/relay.py.

One request at a time. Idle connections stand in the pool; anything they receive while idle ends them.

Source: RFC 9112 §9.3, §9.6; reliability.md GW-17, GW-18, GW-21.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from dataplane.errors import UpstreamProtocol, UpstreamReset
from dataplane.net.closing import drop, half_close
from dataplane.wire.headers import FieldTable
from dataplane.wire.http1_response import ResponseReader

WRITE_HIGH_BYTES = 256 * 1024


class User(Protocol):
    """Who has a request on the connection (a Relay, a probe). Called on the loop; must not raise."""

    def on_response(self, connection: "ClientConnection") -> None:
        """New bytes of the response were read; see connection.reader."""
        ...

    def on_upstream_lost(self, connection: "ClientConnection", error: UpstreamReset | UpstreamProtocol) -> None:
        """The connection ended before the response did."""
        ...

    def on_tunnel_data(self, data: bytes) -> None: ...

    def on_tunnel_eof(self) -> None: ...

    def on_upstream_blocked(self) -> None: ...

    def on_upstream_writable(self) -> None: ...


class Relaying(User, Protocol):
    """A user that passes responses on."""

    def on_whole_response(self, connection: "ClientConnection", response: bytes) -> None:
        """The response came in one piece, its head is known, and these are its bytes as they go on. Nothing else is
        called for it."""
        ...


class ClientConnection(asyncio.Protocol):
    __slots__ = (
        "_gone",
        "_relaying",
        "_transport",
        "blocked",
        "closed",
        "idle_since",
        "origin",
        "reader",
        "served",
        "tunnel",
        "user",
    )

    def __init__(self, origin: tuple[str, int], gone: Callable[["ClientConnection"], None], fields: FieldTable) -> None:
        self.origin = origin
        self._gone = gone
        self._transport: asyncio.Transport
        self.reader = ResponseReader(fields)
        self.user: User | None = None
        self.served = 0  # responses completed: > 0 means that a sudden end may be the peer's keep-alive timeout
        self.blocked = False  # the peer reads slower than we write
        self.closed = False
        self.tunnel = False
        self.idle_since = 0.0  # owned by the pool
        self._relaying: Relaying | None = None  # the user, until the first byte of a response

    # ---- transport → us -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)

    def data_received(self, data: bytes) -> None:
        user = self.user
        if user is None:
            self.close()  # nobody asked: not to be trusted with the next request (GW-18)
            return
        reader = self.reader
        relaying = self._relaying
        if relaying is not None:
            self._relaying = None
            whole = reader.read(data)
            if whole is not None:
                relaying.on_whole_response(self, whole)
                return
        elif self.tunnel:
            user.on_tunnel_data(data)
            return
        try:
            reader.feed(data)
        except UpstreamProtocol as error:
            self.user = None
            self.close()
            user.on_upstream_lost(self, error)
            return
        if relaying is not None:
            reader.remember(data)
        user.on_response(self)

    def eof_received(self) -> bool:
        user = self.user
        if self.tunnel and user is not None:
            user.on_tunnel_eof()
            return True
        # No more of a response can come, so what is left of the request need not be written, and nobody may take this
        # connection from the pool any more.
        if user is None:
            self.closed = True
        self._transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._gone(self)
        user, self.user = self.user, None
        if user is None:
            return
        if not self.tunnel and exc is None and self.reader.feed_eof():  # a reset is no end (RFC 9112 §8)
            user.on_response(self)
        else:
            user.on_upstream_lost(self, UpstreamReset())

    def pause_writing(self) -> None:
        self.blocked = True
        if self.user is not None:
            self.user.on_upstream_blocked()

    def resume_writing(self) -> None:
        self.blocked = False
        if self.user is not None:
            self.user.on_upstream_writable()

    # ---- user → us ------------------------------------------------------------------------

    def relay(self, user: Relaying, data: bytes) -> None:
        """Begin an exchange of a user that takes a response whole, when it comes so. Not for HEAD."""
        self.user = self._relaying = user
        reader = self.reader
        if reader.used:
            reader.reset(bodyless=False)
        try:
            self._transport.write(data)
        except RuntimeError:
            pass  # as in send()

    def send(self, user: User, data: bytes, *, bodyless: bool = False) -> None:
        """Begin an exchange. `bodyless`: the response to it has no body whatever it says (HEAD)."""
        self.user = user
        self._relaying = None
        self.reader.reset(bodyless=bodyless)
        try:
            self._transport.write(data)
        except RuntimeError:
            pass  # uvloop's word for a transport that died a moment ago; connection_lost() is on its way

    def write(self, data: bytes) -> None:
        if not self.closed:
            try:
                self._transport.write(data)
            except RuntimeError:
                pass  # as in send()

    def write_eof(self) -> None:
        if not self.closed:
            half_close(self._transport)

    def pause(self) -> None:
        if not self.closed and not self._transport.is_closing() and self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self.closed and not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()

    def close(self) -> None:
        """Give it up; the user, if any, is not told."""
        self.user = None
        if not self.closed:
            self.closed = True
            drop(self._transport)
