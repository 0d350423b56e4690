"""What the connections of one listener share, and what they ask of whoever handles a request.

Path: net/listener.py makes [Accepting] → net/server.py, once per connection; [Exchange] is kept by net/relay.py.

Source: reliability.md GW-23, GW-24, GW-26.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from dataplane.errors import DataplaneError
from dataplane.net.leaving import Leaving
from dataplane.net.timers import Timers
from dataplane.telemetry.metrics import Cell, Registry
from dataplane.wire.headers import FieldTable

if TYPE_CHECKING:
    from dataplane.net.server import ServerConnection


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds that bound what a client may do. Source: reliability.md GW-26."""

    head_s: float = 10.0  # from the first byte of a head to its end
    idle_s: float = 60.0  # keep-alive without a request
    write_stall_s: float = 30.0  # response bytes waiting for the client
    body_stall_s: float = 30.0  # no byte of a request body that we are ready to read
    body_bytes_s: float = 240.0  # of such a body, on average over …
    body_window_s: float = 10.0


class Exchange(Protocol):
    """What handles one request (net/relay.py). Called on the loop; must not block and must not raise."""

    def on_body(self, data: bytes, last: bool) -> None: ...

    def on_ahead(self, size_bytes: int) -> None:
        """The client has sent so much more, which waits for the end of this exchange."""
        ...

    def on_client_gone(self, error: DataplaneError | None) -> None:
        """The client left, or broke its framing (`error`). Nothing can be sent any more."""
        ...

    def on_client_blocked(self) -> None: ...

    def on_client_writable(self) -> None: ...

    def on_client_eof(self) -> None:
        """The client half-closed after its request, or may have left while we do not read from it."""
        ...

    def on_deadline(self, now: float) -> float:
        """Something may be late; returns the next loop time to be asked at."""
        ...


class Meters:
    """What every listener counts. One per listener."""

    __slots__ = ("connections", "requests", "rejected")

    def __init__(self, registry: Registry, listener: str) -> None:
        self.connections = registry.gauge("dataplane_connections", "Open client connections.", ("listener",)).cell(
            listener
        )
        self.requests = registry.counter(
            "dataplane_requests_total", "Requests whose head was accepted.", ("listener",)
        ).cell(listener)
        rejected = registry.counter(
            "dataplane_rejected_total",
            "Connections and requests refused before a hop saw them.",
            ("listener", "reason"),
        )
        self.rejected: Callable[[str], Cell] = lambda reason: rejected.cell(listener, reason)


class Accepting(msgspec.Struct, frozen=True, kw_only=True):
    """What the connections of one listener share."""

    handler: Callable[["ServerConnection"], None]
    trusted: Callable[[str], FieldTable]  # peer address → how its headers are read
    timers: Timers
    meters: Meters
    limits: Limits
    opened: Callable[["ServerConnection"], bool]  # False: over a connection limit, refuse
    closed: Callable[["ServerConnection"], None]
    clock: Callable[[], float]
    leaving: Leaving | None = None  # None: connections without a socket
