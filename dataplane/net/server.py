"""Server side of one HTTP/1.1 connection: the hot file.

Path: socket → [this file] → a hop's accept.py → net/relay.py → … → [this file] → socket.

This file moves bytes, applies back-pressure and knows whose turn it is (the turns are in net/lifetime.py). What the
bytes mean is dataplane.wire (sans-I/O); what to do about a request is the hop, called once per head.

Budget per small request: one read of its head, one handler call, one transport.write; no task, no future, no timer of
its own.

Source: RFC 9112 §9.3 (persistence), §9.3.2 (pipelining); reliability.md GW-08, GW-13…GW-15, GW-24, GW-25.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from dataplane.errors import DataplaneError
from dataplane.net.closing import half_close
from dataplane.net.lifetime import LINGER_S, LOOK_S, Lifetime, Turn
from dataplane.net.timers import NEVER
from dataplane.policy.pace import Pace
from dataplane.wire.body import RequestBody
from dataplane.wire.headers import Headers
from dataplane.wire.http1_out import CONTINUE, failure, response
from dataplane.wire.http1_request import RequestReader

__all__ = ["ServerConnection", "Turn"]

DRAIN_BYTES_MAX = 64 * 1024  # of a body that nobody wants, before the connection is closed instead (GW-14, GW-15)
TURNS_MAX = 16  # requests of one connection that are answered in a row before the others get their turn
WRITE_HIGH_BYTES = 256 * 1024  # GW-25: at most this much is buffered towards a slow reader

_IDLE, _BODY, _BUSY, _DRAIN = Turn.IDLE, Turn.BODY, Turn.BUSY, Turn.DRAIN
_TUNNEL, _LINGER, _CLOSED = Turn.TUNNEL, Turn.LINGER, Turn.CLOSED


class ServerConnection(Lifetime):
    __slots__ = ()

    # ---- transport → us (asyncio.Protocol) -----------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        name = transport.get_extra_info("peername")
        self.peer = name[0] if isinstance(name, tuple) else "127.0.0.1"
        accepting = self._accepting
        self.request = RequestReader(accepting.trusted(self.peer))
        if not accepting.opened(self):
            return
        accepting.meters.connections.v += 1
        self._deadline = accepting.clock() + accepting.limits.idle_s
        accepting.timers.at(self, self._deadline)

    def data_received(self, data: bytes) -> None:
        turn = self.turn
        if turn is _IDLE:
            request = self.request
            if request.started or not request.read(data):
                self._on_head(data)
            elif request.content_length > 0:
                self._on_request(b"")
            else:
                # The common request, written out: whole, and nothing else is here.
                self.turn = _BUSY
                self.ahead_bytes = 0
                self._requests.v += 1
                self._handler(self)
        elif turn is _BODY or turn is _DRAIN:
            self._on_body(data)
        elif turn is _TUNNEL:
            assert self.exchange is not None
            self.exchange.on_body(data, False)
        elif turn is _BUSY:
            self._wait_its_turn(data)
        elif turn is _LINGER:
            self._drained += len(data)
            if self._drained > DRAIN_BYTES_MAX:
                self._pause()  # it has until the deadline to read what we said; a reset now might destroy that

    def eof_received(self) -> bool:
        """True keeps our half open: a client may close its side after a whole request and still read (GW-24)."""
        turn = self.turn
        self._saw_eof = self._half_closed = True
        if turn is _BUSY and self.exchange is not None:
            self.exchange.on_client_eof()
            if self.turn is _CLOSED:
                return False
            self._watch()
            self._wake_by(self._clock() + LOOK_S)
            return True
        if turn is _TUNNEL:
            assert self.exchange is not None
            self.exchange.on_client_eof()
            return True
        self.close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        accepting = self._accepting
        accepting.timers.forget(self)
        self._unwatch()
        refused = self.turn is _CLOSED and not self.peer
        self.turn = _CLOSED
        if not refused:
            accepting.closed(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.on_client_gone(None)

    def pause_writing(self) -> None:
        self.blocked = True
        self._stalled_at = self._clock() + self._accepting.limits.write_stall_s
        self._wake_by(self._stalled_at)
        if self.exchange is not None:
            self.exchange.on_client_blocked()

    def resume_writing(self) -> None:
        self.blocked = False
        self._stalled_at = NEVER
        if self.exchange is not None:
            self.exchange.on_client_writable()
        elif self._owes_turn and not self._saw_eof:
            self._owes_turn = False
            if self.turn is _BUSY:
                self._next(self._unread)

    # ---- receiving -----------------------------------------------------------------------

    def _on_head(self, data: bytes) -> None:
        request = self.request
        turns = 0
        while True:
            if self._tail:
                cut = _blank_line_across(self._tail, data)
            else:
                cut = data.find(b"\r\n\r\n") + 4
                if cut == 3:
                    cut = 0
            head = data if cut == 0 or cut == len(data) else data[:cut]
            try:
                done = (cut > 0 and not request.started and request.read(head)) or request.feed(head)
            except DataplaneError as error:
                self.reject(error)
                return
            if cut == 0:
                self._tail = (self._tail + data)[-3:]
                limits = self._accepting.limits
                if request.started and self._deadline > (by := self._clock() + limits.head_s):
                    self._deadline = by
                    self._wake_by(by)
                return
            self._tail = b""
            rest = data[cut:] if cut < len(data) else b""
            if done:
                rest = self._on_request(rest)
                turns += 1
            if not rest:
                return
            if turns >= TURNS_MAX:
                self.turn = _BUSY
                self._wait_its_turn(rest)
                asyncio.get_running_loop().call_soon(self._go_on)
                return
            data = rest

    def _go_on(self) -> None:
        if self.turn is _BUSY and self.exchange is None and not self._owes_turn:
            self._next(self._unread)

    def _on_request(self, rest: bytes) -> bytes:
        """The head is whole: whose turn it is now, then the hop, then what already came of the body. Returns what
        belongs to the next request, if that can be read now."""
        request = self.request
        self._requests.v += 1
        self._deadline = NEVER
        self.turn = _BUSY
        self.ahead_bytes = len(rest)
        length = request.content_length
        if request.chunked or length > len(rest):
            self.turn = _BODY
            self._body = RequestBody(length)
            limits, now = self._accepting.limits, self._clock()
            self._pace = pace = Pace(
                now, stall_s=limits.body_stall_s, bytes_s=limits.body_bytes_s, window_s=limits.body_window_s
            )
            self._wake_by(pace.due(now))
        elif length > 0:
            self._ahead, rest = rest[:length], rest[length:]
        self._handler(self)
        if self._ahead and (ahead := self.take_body()) and self.exchange is not None:
            self.exchange.on_body(ahead, True)
        turn = self.turn
        if not rest or turn is _IDLE:
            return rest
        if turn is _BODY or turn is _DRAIN:
            self._on_body(rest)
        elif turn is _BUSY:
            self._wait_its_turn(rest)
        elif turn is _TUNNEL:
            assert self.exchange is not None
            self.exchange.on_body(rest, False)
        return b""

    def _wait_its_turn(self, data: bytes) -> None:
        self._unread += data
        self._pause()
        if self.exchange is not None:
            self.exchange.on_ahead(len(data))

    def _on_body(self, data: bytes) -> None:
        try:
            payload, rest, last = self._body.feed(data)
        except DataplaneError as error:
            self._broken_body(error)
            return
        self._pace.moved(self._clock(), len(data))
        if self.turn is _DRAIN:
            self._on_unwanted(len(payload), last, rest)
            return
        if last:
            self.turn = _BUSY
            if rest:
                self._wait_its_turn(rest)
            else:
                self._resume()  # whoever waits with a whole request must be seen leaving (GW-23, AC-02)
        if self.exchange is not None and (payload or last):
            self.exchange.on_body(payload, last)

    def _on_unwanted(self, size_bytes: int, last: bool, rest: bytes) -> None:
        self._drained += size_bytes
        if last:
            self._next(rest)
        elif self._drained > DRAIN_BYTES_MAX:
            self._linger()

    def _next(self, data: bytes) -> None:
        """The turn goes to the next request; `data` of it may already be here."""
        self._unread = b""
        self.turn = _IDLE
        self.request.reset()
        self._deadline = self._clock() + self._accepting.limits.idle_s
        paused, self._reader_paused = self._reader_paused, False
        if data:
            self._on_head(data)
        if paused:
            self._unwatch()
        if paused and not self._reader_paused and not self._transport.is_closing():
            self._transport.resume_reading()  # nobody asked anew to wait

    # ---- hop → us ------------------------------------------------------------------------

    def finish(self, *, keep: bool = True) -> None:
        """The response is whole. Exactly once per request; then the next request may be handed over."""
        self.exchange = None
        turn = self.turn
        if turn is _BUSY:
            if keep and not self._saw_eof:
                if self.blocked:
                    self._owes_turn = True  # answers would pile up for a client that only asks (GW-25)
                    return
                if not self._unread and not self._reader_paused:
                    # The common end, written out: nothing is waiting.
                    self.turn = _IDLE
                    request = self.request
                    if request.fed or not request.keep_alive:
                        request.reset()
                    self._deadline = self._clock() + self._idle_s
                    return
                self._next(self._unread)
            else:
                self._close()
        elif turn is _BODY:
            if not keep or self._saw_eof or not 0 <= self._body.left_bytes <= DRAIN_BYTES_MAX:
                self._linger()
            else:
                self.turn = _DRAIN
                self._drained = 0
                self._deadline = self._clock() + LINGER_S
                self._wake_by(self._deadline)
                self._resume()

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer the current request ourselves."""
        if self.turn is not _BUSY and self.turn is not _BODY:
            return  # the client left first; the hop may not know yet
        keep = self.request.keep_alive and self.turn is _BUSY and not self.draining
        whole = response(status, headers, body, close=not keep)
        self.send(whole[: len(whole) - len(body)] if self.request.method == b"HEAD" and body else whole)
        self.finish(keep=keep)

    def fail(self, error: DataplaneError) -> None:
        """Answer the current request with an error. The connection stays usable: the request itself was sound."""
        if self.turn is not _BUSY and self.turn is not _BODY:
            return
        keep = self.request.keep_alive and self.turn is _BUSY and not self.draining
        self.send(failure(error, head_only=self.request.method == b"HEAD", close=not keep))
        self.finish(keep=keep)

    def refuse(self, error: DataplaneError) -> None:
        """Over a connection limit: say so and close; this connection is not counted (GW-27)."""
        self.peer = ""
        self._accepting.meters.rejected(error.code).v += 1
        self._transport.write(failure(error))
        self.turn = _CLOSED
        self._transport.close()

    def take_body(self) -> bytes:
        """The whole body of the current request, if it came with the head; whoever does not ask is given it later."""
        ahead, self._ahead = self._ahead, b""
        return ahead

    def want_continue(self) -> None:
        """We are ready for the body of a request that asked first (RFC 9110 §10.1.1)."""
        if self.request.expect_continue and self.turn is _BODY:
            self.request.expect_continue = False
            self.send(CONTINUE)

    def pause_body(self) -> None:
        if self.turn is _BODY or self.turn is _TUNNEL:
            self._pause()

    def resume_body(self) -> None:
        if self.turn is _BODY or self.turn is _TUNNEL:
            self._resume()

    def tunnel(self, say_goodbye: Callable[[], None]) -> None:
        """From now on bytes go to the exchange as they come. `say_goodbye`: at the end of a drain; it calls leave()."""
        self.turn = _TUNNEL
        self._say_goodbye = say_goodbye
        unread, self._unread = self._unread, b""
        self._resume()
        if unread and self.exchange is not None:
            self.exchange.on_body(unread, False)
        if self._saw_eof and self.exchange is not None:
            self.exchange.on_client_eof()  # it came before there was a tunnel to pass it on

    def end_tunnel(self) -> None:
        """Nothing more will be sent; our half closes."""
        half_close(self._transport)


def _blank_line_across(tail: bytes, data: bytes) -> int:
    """How much of `data` belongs to the head when a part of the blank line stood in `tail`; 0: not whole yet."""
    found = (tail + data).find(b"\r\n\r\n")
    return max(found + 4 - len(tail), 0) if found >= 0 else 0
