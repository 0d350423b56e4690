"""One request, from one client connection to one upstream connection, and its response back.

Path: a hop's forward.py subclasses [Relay] → net/client.py → … → [Relay] → net/server.py.

The way there is net/attempts.py; this is the way back: framing of the response, back-pressure, what a broken response
looks like to the client, and the turn into a tunnel.

Source: reliability.md GW-17, GW-18, GW-21, GW-25; spec/serving.md §15.1–2.
"""

from dataplane.errors import (
    DataplaneError,
    Draining,
    UpstreamProtocol,
    UpstreamReset,
    UpstreamTruncated,
)
from dataplane.net.attempts import Attempts
from dataplane.net.client import ClientConnection
from dataplane.net.tunnel import Tunnel
from dataplane.wire.http1_out import LAST_CHUNK, STATUS_LINE, chunk, status_line


class Relay(Attempts):
    """See [Attempts]; a hop subclasses this."""

    __slots__ = ()

    # ---- the hop's part ------------------------------------------------------------------

    def _not_processed(self, connection: ClientConnection) -> bool:
        """Does this response say that the request was not looked at? Only our own hops are asked (rule 5)."""
        return False

    # ---- upstream → us (client.User) -----------------------------------------------------

    def on_whole_response(self, connection: ClientConnection, response: bytes) -> None:
        down, request = self.down, self.request
        self.started = True
        self.status = connection.reader.status
        self.response_bytes = connection.reader.body_bytes
        if self.extra or down.draining or not request.keep_alive or not request.minor:
            response = self._amended(response)
        down.send(response)
        if self.attempt == 1 and self.body_done and not (down.blocked or connection.blocked or request.upgrade):
            # The common end, written out: nothing of this request is left anywhere.
            self.over = True
            self.up = None
            self._pool.give(connection)
            self._budget.active -= 1
            self._served()
            if not (self.extra or self.body_bytes):
                down.spare = self
            down.finish(keep=request.keep_alive)
        else:
            self._complete(connection)

    def on_response(self, connection: ClientConnection) -> None:
        reader = connection.reader
        if reader.interim:
            if self.request.minor and not self.started:
                self.down.send(b"".join(reader.interim))
            reader.interim.clear()
        body = reader.body
        if not self.started:
            if not reader.head_done:
                return
            if reader.status == 101:
                self._open_tunnel(connection)
                return
            if reader.status == 503 and self._not_processed(connection):
                self.up = None
                connection.close()
                self._failed(Draining(), reused=False, not_processed=True)
                return
            self.started = True
            self.status = reader.status
            self.kept = None
            parts = self._response_head(connection)
        elif body or reader.complete:
            parts = []
        else:
            return
        if body:
            self.response_bytes = reader.body_bytes
            if self.chunked_out:
                parts.append(chunk(body[0] if len(body) == 1 else b"".join(body)))
            else:
                parts += body
            reader.body = []
        if reader.complete:
            if self.chunked_out:
                parts.append(LAST_CHUNK)
            self.down.send(b"".join(parts))
            self._complete(connection)
        else:
            if self.idle_s:
                self.touched = self._clock()
            self.down.send(parts[0] if len(parts) == 1 else b"".join(parts))
            if self.down.blocked:
                connection.pause()

    def on_upstream_lost(self, connection: ClientConnection, error: UpstreamReset | UpstreamProtocol) -> None:
        if self.over:
            return
        if self.started:
            self._cut(UpstreamTruncated())
        else:
            self.up = None
            self._failed(error, reused=connection.served > 0)

    # ---- helpers -------------------------------------------------------------------------

    def _response_head(self, connection: ClientConnection) -> list[bytes]:
        reader, request = connection.reader, self.request
        if self.down.draining:
            request.keep_alive = False
        parts = [STATUS_LINE.get(reader.status) or status_line(reader.status), *reader.out]
        if reader.content_length >= 0:
            parts.append(b"content-length: %d\r\n" % reader.content_length)
        elif not reader.complete or reader.body or reader.chunked:
            if request.method == b"HEAD":
                if reader.chunked and request.minor:
                    parts.append(b"transfer-encoding: chunked\r\n")
            elif request.minor:
                self.chunked_out = True
                parts.append(b"transfer-encoding: chunked\r\n")
            else:
                self.close_after = True
        elif reader.status not in (204, 304) and request.method != b"HEAD":
            parts.append(b"content-length: 0\r\n")
        if not request.keep_alive or self.close_after:
            parts.append(b"connection: close\r\n")
        elif not request.minor:
            parts.append(b"connection: keep-alive\r\n")
        parts.append(self.extra + b"\r\n" if self.extra else b"\r\n")
        return parts

    def _amended(self, response: bytes) -> bytes:
        """A whole response that has to say more to this client: about its connection, or how long it waited."""
        request = self.request
        if self.down.draining:
            request.keep_alive = False
        more = self.extra
        if not request.keep_alive:
            more += b"connection: close\r\n"
        elif not request.minor:
            more += b"connection: keep-alive\r\n"
        line_end = response.index(b"\r\n") + 2
        return response[:line_end] + more + response[line_end:]

    def _complete(self, connection: ClientConnection) -> None:
        reader = connection.reader
        self.over = True
        self.up = None
        if reader.keep_alive and self.body_done and not (reader.excess or self.request.upgrade or connection.blocked):
            if self.down.blocked:
                connection.resume()  # the last bytes filled the client's buffer; the next user has its own
            self._pool.give(connection)
        else:
            connection.close()
        self._released(failed=False)
        self._end(None)
        self.down.finish(keep=self.request.keep_alive and not self.close_after)

    def _open_tunnel(self, connection: ClientConnection) -> None:
        reader, request = connection.reader, self.request
        if not request.upgrade or reader.upgrade != request.upgrade:
            self.up = None
            connection.close()
            self._failed(UpstreamProtocol(), reused=False)
            return
        self.started = True
        self.status = 101
        head = (STATUS_LINE[101], *reader.out, b"connection: Upgrade\r\nupgrade: ", request.upgrade, b"\r\n\r\n")
        self.down.send(b"".join((*head, reader.tail)))
        tunnel = Tunnel(self.down, connection, idle_s=self.idle_s, clock=self._clock, ended=self._tunnel_ended)
        self.down.tunnel(tunnel.say_goodbye)

    def _tunnel_ended(self, error: DataplaneError | None) -> None:
        self.over = True
        self.up = None
        self._released(failed=False)
        self._end(error)
