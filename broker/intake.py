"""One request to the ingress: its body as it comes, its wait for the log, its answer.

Path: net/server.py ↔ [intake] → ingress.take → store; done → [intake] → 202.

    receiving ──last byte──▶ appended ──log: done──▶ answered
        │ too much              │ late: 503           the bytes are held until the log calls, whoever has left
        ▼                       ▼
    refused                 answered, still held

Source: spec/eventing.md §7.2, §7.4-7.6; reliability.md BR-08.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from broker.doors import Door
from broker.store.contract import EventLog, Record
from dataplane.errors import AppendingFull, AppendTimeout, BodyTooLarge, DataplaneError, StoreFault
from dataplane.net.server import ServerConnection, Turn
from dataplane.net.timers import NEVER
from dataplane.wire.http1_out import STATUS_LINE

if TYPE_CHECKING:
    from broker.ingress import Ingress

ALLOW = (b"allow", b"POST, OPTIONS")

_ACCEPTED = STATUS_LINE[202] + b"allow: POST, OPTIONS\r\ncontent-length: 0\r\n\r\n"
_BUSY = Turn.BUSY


class Intake:
    """One request on its way to the log (net/accepting.Exchange)."""

    __slots__ = ("_body", "_connection", "_deadline", "_door", "_ingress", "_since", "_size", "broker", "records")

    def __init__(self, ingress: "Ingress", connection: ServerConnection, broker: str) -> None:
        self._ingress = ingress
        self._connection: ServerConnection | None = connection
        self._body: bytearray | None = None  # what came so far, when it comes in pieces
        self._size = 0  # of it, in bytes, as counted in ingress.held_bytes
        self._deadline = NEVER
        self._since = 0.0
        self._door: Door
        self.broker = broker
        self.records: Sequence[Record] = ()

    # ---- the body -----------------------------------------------------------------------------

    def on_body(self, data: bytes, last: bool) -> None:
        connection, ingress = self._connection, self._ingress
        if connection is None:
            return
        self._size += len(data)
        ingress.held_bytes += len(data)
        if self._size > ingress.settings.event_bytes_max:
            self.end()
            ingress.refuse(connection, self, BodyTooLarge())
        elif ingress.held_bytes > ingress.held_bytes_max:
            self.end()
            ingress.refuse(connection, self, AppendingFull())
        elif not last:
            if self._body is None:
                self._body = bytearray(data)
            else:
                self._body += data
        elif self._body is None:
            ingress.take(connection, self, data)
        else:
            self._body += data
            body, self._body = bytes(self._body), None
            ingress.take(connection, self, body)

    def end(self) -> None:
        """Nothing is held any more, and the connection is no longer ours."""
        self._ingress.held_bytes -= self._size
        self._size = 0
        self._body = self._connection = None

    # ---- the log ------------------------------------------------------------------------------

    def append(self, log: EventLog, records: Sequence[Record], door: Door) -> None:
        """All or none of them."""
        connection, ingress = self._connection, self._ingress
        assert connection is not None
        self.records = records
        self._door = door
        self._since = ingress.now()
        self._deadline = self._since + ingress.settings.append_timeout_s
        connection.deadline_at(self._deadline)
        log.append(records, self._on_appended)

    def _on_appended(self, fault: StoreFault | None) -> None:
        connection, size = self._connection, self._size
        self.end()
        if fault is not None:
            if connection is not None:
                self._ingress.refuse(connection, self, fault)
            return
        self._ingress.accepted(self._door, self.records, size, self._since)
        if connection is None:
            return  # it left, or was told that this takes too long: the event is here all the same
        if connection.turn is _BUSY and connection.request.keep_alive and not connection.draining:
            connection.send(_ACCEPTED)
            connection.finish()
        else:
            connection.respond(202, [ALLOW], b"")

    # ---- connection → us ------------------------------------------------------------------------

    def on_ahead(self, size_bytes: int) -> None: ...

    def on_client_gone(self, error: DataplaneError | None) -> None:
        self._connection = None
        if not self.records:
            self.end()

    def on_client_eof(self) -> None:
        """It may close its side and still read the answer."""

    def on_client_blocked(self) -> None: ...

    def on_client_writable(self) -> None: ...

    def on_deadline(self, now: float) -> float:
        connection = self._connection
        if connection is not None and now >= self._deadline:
            self._connection = None
            self._ingress.refuse(connection, self, AppendTimeout())
        return self._deadline if connection is not None and now < self._deadline else NEVER
