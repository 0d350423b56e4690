"""How long a client's connection lives: what may be late, whether the client is still there, the ways to end it.

Path: net/server.py, which is this and what moves through it.

Turns:  IDLE ──head──▶ BODY ──last byte──▶ BUSY ──finish()──▶ IDLE      one request at a time; what a client sends ahead
        BODY ──finish()──▶ DRAIN (the rest of the body is discarded)    waits unparsed, with reading paused (GW-13)
        BODY | BUSY ──tunnel()──▶ TUNNEL                                after a 101
        any ──error, close──▶ LINGER (half-closed, discarding) ──▶ CLOSED

A connection stands in the timer wheel once (net/timers.py), and asks itself what is late when it is called. While we do
not read from a client, the kernel (net/leaving.py) tells when it leaves.

Source: RFC 9112 §9.6 (tear-down); reliability.md GW-14, GW-15, GW-23…GW-26.
"""

import asyncio
import enum
import socket
from collections.abc import Callable
from typing import Any

from dataplane.errors import BadRequest, DataplaneError, RequestTimeout
from dataplane.net.accepting import Accepting, Exchange
from dataplane.net.closing import half_close, will_reset
from dataplane.net.timers import NEVER
from dataplane.policy.pace import Pace
from dataplane.wire.body import RequestBody
from dataplane.wire.http1_out import failure
from dataplane.wire.http1_request import RequestReader

LOOK_S = 0.05  # how often a client from which we do not read is looked after …
LOOKS_MAX = 100  # … while there are no more of them: then less often, so that a crowd costs no more than these
LINGER_S = 1.0  # how long the client may take to read an error before the socket is closed under it
_TCP_CLOSE = 7  # linux/tcp_states.h: it was reset


class Turn(enum.IntEnum):
    IDLE = 0
    BODY = 1
    BUSY = 2
    DRAIN = 3
    TUNNEL = 4
    LINGER = 5
    CLOSED = 6


_IDLE, _BODY, _BUSY, _DRAIN = Turn.IDLE, Turn.BODY, Turn.BUSY, Turn.DRAIN
_TUNNEL, _LINGER, _CLOSED = Turn.TUNNEL, Turn.LINGER, Turn.CLOSED


class Lifetime(asyncio.Protocol):
    """The state of a connection, and its life. net/server.py adds the bytes."""

    __slots__ = (
        "_accepting", "_clock", "_handler", "_idle_s", "_requests",
        "_transport", "_reader_paused", "_tail", "_unread",  # bytes
        "_body", "_pace", "_ahead", "_drained", "ahead_bytes",  # the message being received
        "_saw_eof", "_half_closed", "_watched",
        "_deadline", "_stalled_at", "_owes_turn",
        "wake", "turn", "request", "exchange", "peer", "blocked", "draining", "forwarded_for", "forwarded_line",
        "spare", "_say_goodbye",
    )  # fmt: skip

    def __init__(self, accepting: Accepting) -> None:
        self._accepting = accepting
        self._clock = accepting.clock
        self._handler = accepting.handler
        self._idle_s = accepting.limits.idle_s
        self._requests = accepting.meters.requests
        self._transport: asyncio.Transport
        self._reader_paused = False
        self._tail = b""  # the last bytes of an unfinished head, to find a blank line across a cut
        self._unread = b""  # arrived before its turn
        self._body: RequestBody  # while it comes
        self._pace: Pace
        self._ahead = b""  # the whole body, when it came with its head and nobody has taken it yet
        self._drained = 0
        self._deadline = NEVER
        self._stalled_at = NEVER
        self._saw_eof = False
        self._half_closed = False  # its FIN has come, even if it stands behind what we have not read
        self._watched = -1  # the descriptor, while net/leaving.py waits for the client to leave
        self._owes_turn = False  # finished, but the client must read the answer before its next request is looked at
        self.ahead_bytes = 0  # what came in one piece with the head of the current request
        self.wake = NEVER  # owned by Timers
        self.turn = _IDLE
        self.request: RequestReader
        self.exchange: Exchange | None = None
        self._say_goodbye: Callable[[], None]
        self.peer = ""
        self.blocked = False  # the client reads slower than we write
        self.draining = False  # answer with Connection: close from now on
        self.forwarded_for = b""  # the Host that forwarded_line was made for
        self.forwarded_line = b""
        self.spare: Any = None  # what served the last request, if it can serve the next one; of the handler's kind

    # ---- hop → us ------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Response bytes of the current request."""
        try:
            self._transport.write(data)
        except RuntimeError:
            pass  # uvloop's word for a transport that died a moment ago; connection_lost() is on its way

    def reject(self, error: DataplaneError) -> None:
        """The one place where a connection is given up with an answer: framing cannot be trusted from here on."""
        if self.turn >= _LINGER:
            return
        reason = error.reason if isinstance(error, BadRequest) else error.code
        self._accepting.meters.rejected(reason).v += 1
        self.send(failure(error))
        self._linger()

    def cut(self, *, reset: bool = False) -> None:
        """A response that has started cannot be completed: never a well-formed truncated message (GW-21). `reset`: its
        end is the end of the connection, so only a RST tells."""
        self.exchange = None
        self.turn = _CLOSED
        if reset:
            will_reset(self._transport)
        self._transport.abort()

    def close(self) -> None:
        """Flush and close; what the exchange holds upstream ends too."""
        if self.turn is not _CLOSED:
            exchange, self.exchange = self.exchange, None
            self._close()
            if exchange is not None:
                exchange.on_client_gone(None)

    def close_if_idle(self) -> bool:
        """For the end of a drain: True when there was nothing to lose."""
        if self.turn is _IDLE and not self.request.started:
            self.close()
            return True
        return False

    def leave(self, last_words: bytes) -> None:
        """Of a tunnel: send this and half-close; what the client still says is discarded for a moment."""
        self.send(last_words)
        self._linger()

    def say_goodbye(self) -> None:
        """The end of a drain: a tunnel may need a moment for it, anybody else is closed."""
        if self.turn is _TUNNEL:
            self._say_goodbye()
        else:
            self.close()

    def socket(self) -> socket.socket | None:
        """The socket below, for questions to the kernel; None when there is none any more."""
        found = self._transport.get_extra_info("socket")
        return None if found is None or self._transport.is_closing() else found

    def deadline_at(self, when: float) -> None:
        """The exchange wants to be asked then."""
        if when < self.wake:
            self._accepting.timers.at(self, when)

    # ---- timers → us ---------------------------------------------------------------------

    def on_timer(self, now: float) -> None:
        turn = self.turn
        if turn is _CLOSED:
            if now >= self._deadline:
                self._transport.abort()
            else:
                self._wake_by(self._deadline)
            return
        if now >= self._stalled_at:
            self._cut_slow_client()
            return
        if turn is _IDLE:
            if now >= self._deadline:
                if self.request.started:
                    self.reject(RequestTimeout())
                else:
                    self.close()
                return
            self._wake_by(self._deadline)
        elif turn is _DRAIN or turn is _LINGER:
            if now >= self._deadline:
                self.close()
                return
            self._wake_by(self._deadline)
        elif self.exchange is not None:
            then = self.exchange.on_deadline(now)
            if self.turn is _BODY:
                then = min(then, self._body_due(now))
            if (self._half_closed or self._reader_paused) and self.turn < _LINGER:
                self._watch()
                if self.turn is not _TUNNEL:
                    then = min(then, self._look(now))
            if self.turn is not _CLOSED and then != NEVER:
                self._wake_by(then)
        if self.wake == NEVER and self.turn is not _CLOSED:
            self._wake_by(min(now + self._accepting.limits.idle_s, self._stalled_at))

    def _body_due(self, now: float) -> float:
        """When the body is asked after again; the request ends when it comes too slowly (GW-26)."""
        if self._reader_paused:
            return now + self._accepting.limits.body_stall_s
        due = self._pace.due(now)
        if due <= now:
            self._broken_body(RequestTimeout())
            return NEVER
        return due

    def _broken_body(self, error: DataplaneError) -> None:
        exchange, self.exchange = self.exchange, None
        started = self.turn is _DRAIN
        if exchange is not None:
            started = bool(getattr(exchange, "started", False))
            exchange.on_client_gone(error)
        if started:
            self._transport.abort()
        else:
            self.reject(error)

    def _cut_slow_client(self) -> None:
        self._accepting.meters.rejected("write_stalled").v += 1
        exchange, self.exchange = self.exchange, None
        self.turn = _CLOSED
        self._transport.abort()
        if exchange is not None:
            exchange.on_client_gone(None)

    # ---- is the client still there? ------------------------------------------------------

    def _watch(self) -> None:
        """Nobody tells us about a client that leaves while we do not read from it, but the kernel knows (GW-23)."""
        sock, leaving = self.socket(), self._accepting.leaving
        if sock is not None and leaving is not None and self._watched < 0 and sock.family != socket.AF_UNIX:
            self._watched = sock.fileno()
            leaving.watch(self._watched, self._on_left, fin=not self._half_closed)

    def _unwatch(self) -> None:
        if self._watched >= 0:
            assert self._accepting.leaving is not None
            self._accepting.leaving.forget(self._watched, self._on_left)
            self._watched = -1

    def _on_left(self) -> None:
        self._watched = -1
        if self.exchange is None or self.turn >= _LINGER:
            return
        if self._was_reset():
            exchange = self.exchange
            self.cut()
            exchange.on_client_gone(None)
            return
        self._half_closed = True
        self._watch()
        if self.turn is not _TUNNEL:
            self._wake_by(self._look(self._clock()))

    def _look(self, now: float) -> float:
        """What the kernel does not tell: a FIN behind bytes that we do not take; a close after a FIN (net/peer.py)."""
        if self.exchange is not None:
            self.exchange.on_client_eof()
        if self.turn is _CLOSED:
            return NEVER
        leaving = self._accepting.leaving
        return now + LOOK_S * max(1.0, len(leaving) / LOOKS_MAX if leaving is not None else 0.0)

    def _was_reset(self) -> bool:
        sock = self.socket()
        if sock is None or sock.family == socket.AF_UNIX:
            return False
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE

    # ---- helpers -------------------------------------------------------------------------

    def _linger(self) -> None:
        """Half-close and discard for a moment, so that the answer is not destroyed by a reset (RFC 9112 §9.6)."""
        self.exchange = None
        self.turn = _LINGER
        self._drained = 0
        self._unread = b""
        if self._saw_eof or self._transport.is_closing():
            self._close()
            return
        self._deadline = self._clock() + LINGER_S
        half_close(self._transport)
        self._wake_by(self._deadline)
        self._resume()

    def _close(self) -> None:
        """Flush and close; a client that does not read what is left is cut (GW-26)."""
        self.turn = _CLOSED
        self._deadline = self._clock() + self._accepting.limits.write_stall_s
        self._transport.close()
        self._wake_by(self._deadline)

    def _wake_by(self, when: float) -> None:
        if when < self.wake:
            self._accepting.timers.at(self, when)

    def _pause(self) -> None:
        if not self._reader_paused and not self._transport.is_closing():
            self._reader_paused = True
            self._transport.pause_reading()
            if self.exchange is not None:
                self._wake_by(self._clock() + LOOK_S)

    def _resume(self) -> None:
        if self._reader_paused:
            self._reader_paused = False
            self._unwatch()
            if self.turn is _BODY:
                self._pace.restart(self._clock())
            if not self._transport.is_closing():
                self._transport.resume_reading()
