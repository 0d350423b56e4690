"""What a relay becomes after a 101: bytes both ways until either side is done, counted as one request all the while.

Path: net/relay.py → [tunnel] between net/server.py and net/client.py.

Each half ends by itself: FIN from one side is FIN to the other. Age does not end a tunnel, idleness may. It is always a
WebSocket (GW-17), so at the end of a drain the client is told in its own words, between two frames.

Source: RFC 6455 §7.1; spec/serving.md §15.2; reliability.md GW-17, GW-24.
"""

from collections.abc import Callable

from dataplane.errors import ClientGone, DataplaneError, UpstreamProtocol, UpstreamReset, UpstreamTimeout
from dataplane.net.client import ClientConnection
from dataplane.net.server import ServerConnection
from dataplane.net.timers import NEVER
from dataplane.wire.frames import GOING_AWAY, Frames


class Tunnel:
    """`ended(error)` is called once; by then neither connection is ours any more. idle_s 0: no limit."""

    __slots__ = ("_clock", "_down", "_ended", "_frames", "_half_closed", "_idle_s", "_leaving", "_touched", "_up")

    def __init__(
        self,
        down: ServerConnection,
        up: ClientConnection,
        *,
        idle_s: float,
        clock: Callable[[], float],
        ended: Callable[[DataplaneError | None], None],
    ) -> None:
        self._down = down
        self._up: ClientConnection | None = up
        self._idle_s = idle_s
        self._clock = clock
        self._ended = ended
        self._half_closed = False
        self._frames = Frames()  # of what goes to the client
        self._leaving = False  # say goodbye at the end of the frame that is under way
        self._frames.feed(up.reader.tail)
        self._touched = clock()
        up.tunnel = True
        up.user = self
        down.exchange = self
        if idle_s:
            down.deadline_at(self._touched + idle_s)

    # ---- end of a drain → us ------------------------------------------------------------------

    def say_goodbye(self) -> None:
        """Close 1001 between two frames: now, or when the one under way has ended. Whoever asks cuts us when that takes
        too long."""
        if self._frames.between:
            self._goodbye()
        else:
            self._leaving = True

    # ---- client → us (accepting.Exchange) ---------------------------------------------------

    def on_body(self, data: bytes, last: bool) -> None:
        if self._up is not None:
            self._touched = self._clock()
            self._up.write(data)

    def on_ahead(self, size_bytes: int) -> None: ...

    def on_client_gone(self, error: DataplaneError | None) -> None:
        self._end(error or ClientGone())

    def on_client_eof(self) -> None:
        if self._up is not None:
            self._up.write_eof()
            self._one_side_ended()

    def on_client_blocked(self) -> None:
        if self._up is not None:
            self._up.pause()

    def on_client_writable(self) -> None:
        if self._up is not None:
            self._up.resume()

    def on_deadline(self, now: float) -> float:
        then = self._touched + self._idle_s if self._idle_s and self._up is not None else NEVER
        if now < then:
            return then
        self._end(UpstreamTimeout())
        self._down.cut()
        return NEVER

    # ---- upstream → us (client.User) ---------------------------------------------------------

    def on_tunnel_data(self, data: bytes) -> None:
        down, up = self._down, self._up
        self._touched = self._clock()
        end = self._frames.feed(data)
        if self._leaving and end >= 0:
            down.send(data[:end])
            self._goodbye()
            return
        down.send(data)
        if down.blocked and up is not None:
            up.pause()

    def on_tunnel_eof(self) -> None:
        self._down.end_tunnel()
        self._one_side_ended()

    def on_upstream_lost(self, connection: ClientConnection, error: UpstreamReset | UpstreamProtocol) -> None:
        self._end(None)
        self._down.close()

    def on_upstream_blocked(self) -> None:
        self._down.pause_body()

    def on_upstream_writable(self) -> None:
        self._down.resume_body()

    def on_response(self, connection: ClientConnection) -> None:
        raise AssertionError("a tunnel has no responses")

    # ---- helpers --------------------------------------------------------------------------------

    def _goodbye(self) -> None:
        self._end(None)
        self._down.leave(GOING_AWAY)

    def _one_side_ended(self) -> None:
        if not self._half_closed:
            self._half_closed = True
            return
        self._end(None)
        self._down.close()

    def _end(self, error: DataplaneError | None) -> None:
        up, self._up = self._up, None
        if up is None:
            return
        up.close()
        if self._down.exchange is self:
            self._down.exchange = None
        self._ended(error)
