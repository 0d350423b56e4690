"""A request on its way to an upstream: once, or again where that is safe.

Path: net/relay.py is this and what comes back.

Here are the rules that every hop shares for the request: its framing, what of its body is kept and for how long,
back-pressure, deadlines, what may be tried again. Where to connect, under whose limit, and what to count is the hop's:
it overrides `_again`, `_released` and `_ended`.

States by what is set:  connecting (`up` None, dialling) → sent (`up`) → started (a response byte went out) → over.
`over` is final: every callback after it is ignored, so that an exchange ends exactly once.

Source: reliability.md §3.1.1 (retries), GW-15, GW-20…GW-25; spec/serving.md §9.5 (timeouts).
"""

from typing import ClassVar

from dataplane.errors import (
    ClientGone,
    ConnectFailed,
    DataplaneError,
    UpstreamProtocol,
    UpstreamReset,
    UpstreamTimeout,
)
from dataplane.net.client import ClientConnection
from dataplane.net.engine import Engine
from dataplane.net.peer import peer_is_gone
from dataplane.net.pool import Origin
from dataplane.net.server import ServerConnection
from dataplane.net.timers import NEVER
from dataplane.policy.retry import IDEMPOTENT, REPLAY_BYTES_MAX, may_retry
from dataplane.wire.http1_out import LAST_CHUNK, chunk
from dataplane.wire.http1_request import RequestReader


class Attempts:
    """One request. The hop calls `begin(...)` once it knows an upstream.

    Made per request, or taken over from the request before: one that went the common way leaves itself as
    `down.spare`, and `renew` makes it serve the next.
    """

    __slots__ = (
        "engine", "down", "request", "up", "origin", "head", "_budget", "_clock", "_pool",  # wiring
        "kept", "kept_bytes", "body_bytes", "body_done",  # the request body: kept until sent, or while repeatable
        "started", "over", "dialling", "attempt", "wrote", "chunked_out", "close_after", "retrying",
        "status", "extra", "response_bytes",
        "arrived", "sent_at", "total_at", "start_at", "idle_s", "touched",  # deadlines, loop seconds
    )  # fmt: skip

    timeout_error: ClassVar[type[DataplaneError]] = UpstreamTimeout

    def __init__(self, engine: Engine, down: ServerConnection) -> None:
        self.engine = engine
        self.down = down
        self.request: RequestReader = down.request
        self._budget = engine.retry_budget
        self._clock = engine.clock
        self._pool = engine.pool
        self.up: ClientConnection | None = None
        self.origin: Origin = ("", 0)
        self.head = b""
        self.kept: list[bytes] | None = None
        self.kept_bytes = self.body_bytes = 0
        self.dialling = self.wrote = self.chunked_out = self.close_after = self.retrying = False
        self.extra = b""
        self.renew()

    def renew(self) -> None:
        """Begin with the request that `down` has now. What is not set here the common way leaves as it was made."""
        request, down = self.request, self.down
        self.body_done = request.content_length <= 0 and not request.chunked
        if not self.body_done and (body := down.take_body()):
            self.kept = [body]
            self.kept_bytes = self.body_bytes = len(body)
            self.body_done = True
        self.started = self.over = False
        self.attempt = self.status = self.response_bytes = 0
        self.total_at = self.start_at = NEVER
        self.idle_s = 0.0
        self.arrived = self.sent_at = self.touched = self._clock()
        self._budget.active += 1
        down.exchange = self

    # ---- the hop's part ------------------------------------------------------------------

    def _again(self) -> None:
        """Find another upstream and `begin` with it, later or now."""
        raise NotImplementedError

    def _released(self, *, failed: bool) -> None:
        """The upstream of the present attempt is no longer used."""
        raise NotImplementedError

    def _served(self) -> None:
        """Both at once, when all went well."""
        self._released(failed=False)
        self._ended(None, self._clock())

    def _ended(self, error: DataplaneError | None, now: float) -> None:
        """The exchange is over; `status` is what the client got (0: nothing). Count it."""
        raise NotImplementedError

    # ---- the way back (net/relay.py) -----------------------------------------------------------

    def on_whole_response(self, connection: ClientConnection, response: bytes) -> None:
        raise NotImplementedError

    def on_response(self, connection: ClientConnection) -> None:
        raise NotImplementedError

    def on_upstream_lost(self, connection: ClientConnection, error: UpstreamReset | UpstreamProtocol) -> None:
        raise NotImplementedError

    # ---- hop → us ------------------------------------------------------------------------

    def limit(self, *, timeout_s: float, response_start_s: float, idle_s: float) -> None:
        """Deadlines from the arrival of the head; 0 = none. Held time counts (spec §9.5)."""
        when = NEVER
        if timeout_s:
            when = self.total_at = self.arrived + timeout_s
        if response_start_s:
            self.start_at = self.arrived + response_start_s
            when = min(when, self.start_at)
        if idle_s:
            self.idle_s = idle_s
            when = min(when, self.arrived + idle_s)
        if when < self.down.wake:
            self.down.deadline_at(when)

    def begin(self, origin: Origin, head: bytes) -> None:
        """Send the request to `origin`: now on an idle connection, or as soon as a new one stands."""
        self.origin = origin
        self.head = head
        self.attempt += 1
        request = self.request
        up = self._pool.take(origin) if not request.upgrade else None
        if up is not None:
            if self.kept is None and self.body_done:
                # The common start, written out: an idle connection, and nothing but a head to send.
                self.up = up
                self.wrote = True
                if request.method == b"HEAD":
                    up.send(self, head, bodyless=True)
                else:
                    up.relay(self, head)
            else:
                self._send(up)
        else:
            self.wrote = False
            self.dialling = True
            self._pool.dial(origin, self)
            if not self.body_done:
                self.down.pause_body()

    def give_up(self, error: DataplaneError) -> None:
        """End without a response from an upstream: the client gets the error."""
        if self.over:
            return
        self.over = True
        self._detach()
        self.status = error.status
        self._end(error)
        self.down.fail(error)

    # ---- retry budget → us (policy.retry.Retry) ------------------------------------------

    def retry_now(self) -> None:
        self.sent_at = self._clock()
        self.engine.retries.v += 1
        self._again()

    # ---- pool → us -----------------------------------------------------------------------

    def on_connected(self, connection: ClientConnection) -> None:
        self.dialling = False
        if self.over:
            self._pool.give(connection)
            return
        self._send(connection)

    def on_connect_failed(self, error: ConnectFailed) -> None:
        self.dialling = False
        if not self.over:
            self._failed(error, reused=False)

    # ---- client → us (accepting.Exchange) ------------------------------------------------

    def on_body(self, data: bytes, last: bool) -> None:
        if self.over:
            return
        up = self.up
        if self.request.chunked:
            data = chunk(data) if data else b""
            if last:
                data += LAST_CHUNK
        self.body_bytes += len(data)
        self.body_done = last
        if up is None:
            self._keep(data)
            if not last:
                self.down.pause_body()
            return
        if not self.started and self.request.method in IDEMPOTENT:
            self._keep(data)
        up.write(data)

    def on_ahead(self, size_bytes: int) -> None: ...

    def on_client_gone(self, error: DataplaneError | None) -> None:
        if self.over:
            return
        self.over = True
        self._detach()
        self._end(error or ClientGone())

    def on_client_eof(self) -> None:
        if peer_is_gone(self.down):
            self.on_client_gone(None)
            self.down.cut()

    def on_client_blocked(self) -> None:
        if self.up is not None:
            self.up.pause()

    def on_client_writable(self) -> None:
        if self.up is not None:
            self.up.resume()

    def on_deadline(self, now: float) -> float:
        if self.over:
            return NEVER
        then = min(self.total_at, NEVER if self.started else self.start_at)
        if self.idle_s:
            then = min(then, self.touched + self.idle_s)
        if now < then:
            return then
        if self.started:
            self._cut(UpstreamTimeout())
        else:
            self.give_up(self.timeout_error())
        return NEVER

    # ---- upstream → us (client.User) -----------------------------------------------------

    def on_tunnel_data(self, data: bytes) -> None:
        raise AssertionError("a relay is no tunnel")

    def on_tunnel_eof(self) -> None:
        raise AssertionError("a relay is no tunnel")

    def on_upstream_blocked(self) -> None:
        self.down.pause_body()

    def on_upstream_writable(self) -> None:
        self.down.resume_body()

    # ---- helpers -------------------------------------------------------------------------

    def _send(self, up: ClientConnection) -> None:
        self.up = up
        self.wrote = True
        request, data = self.request, self.head
        if self.kept:
            data = b"".join((data, *self.kept))
            if request.method not in IDEMPOTENT or self.kept_bytes > REPLAY_BYTES_MAX:
                self.kept = None
        if request.method == b"HEAD":
            up.send(self, data, bodyless=True)
        else:
            up.relay(self, data)
        if not self.body_done:
            self.down.want_continue()
            self.down.resume_body()

    def _keep(self, data: bytes) -> None:
        """Request bytes that are not sent yet, or that a retry would need; no more than a retry may repeat once
        sent."""
        if self.up is not None and self.kept_bytes + len(data) > REPLAY_BYTES_MAX:
            self.kept = None
            self.kept_bytes = REPLAY_BYTES_MAX + 1
            return
        if self.kept is None:
            if self.kept_bytes:
                return  # given up keeping
            self.kept = []
        self.kept.append(data)
        self.kept_bytes += len(data)

    def _failed(self, error: DataplaneError, *, reused: bool, not_processed: bool = False) -> None:
        """An attempt ended before it gave a response byte."""
        budget = self._budget
        again = may_retry(
            method=self.request.method,
            attempt=self.attempt,
            response_started=False,
            bytes_written=self.wrote,
            not_processed=not_processed,
            reused=reused,
            body_bytes=self.body_bytes,
            body_buffered=self.body_done and self.kept is not None,
            within_budget=budget.has_room(),
        )
        self._released(failed=True)
        if again:
            self.retrying = True
            budget.enter(self)
        else:
            self._finish_failed(error)

    def _end(self, error: DataplaneError | None) -> None:
        budget = self._budget
        budget.active -= 1
        if self.retrying:
            self.retrying = False
            budget.leave(self)
        self._ended(error, self._clock())

    def _finish_failed(self, error: DataplaneError) -> None:
        self.over = True
        self.status = error.status
        self._end(error)
        self.down.fail(error)

    def _cut(self, error: DataplaneError) -> None:
        """A started response cannot be completed: the client must be able to tell (GW-21)."""
        self.over = True
        self._detach()
        self._end(error)
        self.down.cut(reset=self.close_after)

    def _detach(self) -> None:
        """Let go of whatever the present attempt holds."""
        if self.dialling:
            self.dialling = False
            self._pool.cancel(self.origin, self)
        up, self.up = self.up, None
        if up is not None:
            up.close()
        self._released(failed=False)
