"""HTTP/1.1 responses ← bytes. Sans-I/O; a door to httptools (llhttp).

Path: net/client.py gives a ResponseReader everything that comes.

`feed` judges while llhttp reads. Pods repeat themselves: what became of a whole, sized response is kept by the bytes of
its head, and `read` answers from there when the same head comes again. The date in a head changes once a second, so
this helps where it matters, when one pod answers many requests a second.

Source: RFC 9112 §4, §6, §9; RFC 9110 §7.6.1; reliability.md GW-11, GW-17, GW-18.
"""

from typing import NamedTuple

import httptools

from dataplane.errors import BadRequest, UpstreamProtocol
from dataplane.wire.headers import FIELDS_MAX, HEAD_BYTES_MAX, Field, FieldTable
from dataplane.wire.http1_out import status_line

INTERIM_MAX = 16  # 1xx responses before the final one
KEPT_HEADS_MAX = 256  # of the last answers, each with what became of it: a pod says the same thing again and again
KEPT_HEAD_BYTES_MAX = 1024

_CONTENT_LENGTH = int(Field.CONTENT_LENGTH)
_TRANSFER_ENCODING = int(Field.TRANSFER_ENCODING)
_CONNECTION = int(Field.CONNECTION)
_UPGRADE = int(Field.UPGRADE)
_KEEP_ALIVE = frozenset((b"keep-alive", b"Keep-Alive", b"close", b"Close"))
_NONE: frozenset[bytes] = frozenset()
_NOT_KEPT = frozenset((101, 204, 205, 304, 503))
_CLOSE_TOKENS = frozenset((b"close", b"keep-alive", b"upgrade", b""))


class Known(NamedTuple):
    """What became of a head once: the head as it went on, and how many bytes followed it."""

    sent_on: bytes
    status: int
    body_bytes: int


class ResponseReader:
    """One response at a time, body included.

    After `read` returned a response: it is whole, and status and body_bytes are set. After `feed`, with head_done:
    status, out, content_length (-1), chunked, keep_alive, upgrade are set. `body` holds new payload slices; `complete`:
    the message has ended; `excess`: bytes followed it (the connection must not be reused).
    """

    __slots__ = (
        "_actions", "_bodyless", "_head_bytes", "_heads", "_learn", "_nominated", "_parser", "_interim", "_until_close",
        "body", "body_bytes", "chunked", "complete", "content_length", "excess", "head_done", "interim",
        "keep_alive", "out", "status", "tail", "upgrade", "used",
    )  # fmt: skip

    def __init__(self, table: FieldTable) -> None:
        self._actions = table.actions
        self._learn = table.learn
        self._heads: dict[bytes, Known] = table.heads
        self._parser: httptools.HttpResponseParser | None = None
        self.used = True
        self.reset(bodyless=False)

    def reset(self, *, bodyless: bool) -> None:
        """Ready for the next response; `bodyless`: it answers a HEAD."""
        self.used = bodyless  # something was fed since, or is answered in a way of its own: reset() is needed
        self._bodyless = bodyless
        self._head_bytes = 0
        self.body_bytes = 0
        self._interim = 0
        self._nominated: frozenset[bytes] = _NONE
        self._until_close = False
        self.body: list[bytes] = []
        self.out: list[bytes] = []
        self.interim: list[bytes] = []  # whole 1xx heads to pass on
        self.status = 0
        self.content_length = -1
        self.chunked = self.complete = self.excess = self.head_done = False
        self.keep_alive = True
        self.tail = self.upgrade = b""

    def read(self, data: bytes) -> bytes | None:
        """The response as it goes on, if `data` is one from its first byte to its last and its head is known. None:
        nothing was read; `feed` it. Not for the answer to a HEAD."""
        body_at = data.find(b"\r\n\r\n") + 4
        known = self._heads.get(data[:body_at])
        if known is None:
            return None
        sent_on, self.status, size = known
        if len(data) != body_at + size:
            return None
        self.body_bytes = size
        return sent_on + data[body_at:]

    def feed(self, data: bytes) -> None:
        """Raises UpstreamProtocol: what comes back is not HTTP we can trust; drop the connection (GW-18)."""
        self.used = True
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpResponseParser(self)
        if not self.head_done:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and data.find(b"\r\n\r\n") < 0:
                raise UpstreamProtocol
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parser = None
            self.tail = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            if self.complete:
                self.excess = True
                return
            cause = error.__context__
            raise (cause if isinstance(cause, UpstreamProtocol) else UpstreamProtocol()) from None

    def remember(self, data: bytes) -> None:
        """`data`, just fed, was the first of a response: if it was all of it, `read` may know its head again.

        503 may be the word of one of our hops, which is asked for its mark.
        """
        body_at = data.find(b"\r\n\r\n") + 4
        if (
            not self.complete
            or body_at > KEPT_HEAD_BYTES_MAX
            or len(data) != body_at + self.content_length
            or self._bodyless
            or self._interim
            or not self.keep_alive
            or self.status in _NOT_KEPT
        ):
            return
        heads = self._heads
        if len(heads) >= KEPT_HEADS_MAX:
            heads.clear()
        length = b"content-length: %d\r\n\r\n" % self.content_length
        sent_on = b"".join((status_line(self.status), *self.out, length))
        heads[data[:body_at]] = Known(sent_on, self.status, self.content_length)

    def header(self, name: bytes) -> bytes | None:
        """The value of a passed-on field by lower-case name."""
        out = self.out
        for i in range(0, len(out), 4):
            if out[i].lower() == name:
                return out[i + 2]
        return None

    def fields(self) -> list[tuple[bytes, bytes]]:
        """The fields that are passed on, as received and in that order: (name, value)."""
        out = self.out
        return [(out[i], out[i + 2]) for i in range(0, len(out), 4)]

    def feed_eof(self) -> bool:
        """The peer closed. True: that was the regular end of a body without a length."""
        if self.head_done and self._until_close and not self.complete:
            self.complete = True
            self.keep_alive = False
            return True
        return False

    # ---- llhttp → us ----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.complete:
            self.excess = True
            raise UpstreamProtocol

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_done:
            return  # trailers: dropped (RFC 9110 §6.5.1)
        action = self._actions.get(name)
        if action is None:
            try:
                action = self._learn(name)
            except BadRequest:
                raise UpstreamProtocol from None
        if not action:
            self.out += (name, b": ", value, b"\r\n")
        elif action == _CONTENT_LENGTH:
            if not value.isdigit():
                value = value.rstrip(b" \t")
            if self.content_length >= 0 or not value.isdigit() or len(value) > 18:
                raise UpstreamProtocol
            self.content_length = int(value)
        elif action == _TRANSFER_ENCODING:
            if self.chunked or value.rstrip(b" \t").lower() != b"chunked":
                raise UpstreamProtocol
            self.chunked = True
        elif action == _UPGRADE:
            self.upgrade = value.lower()
        elif action == _CONNECTION:
            if value in _KEEP_ALIVE:
                return
            self._nominated |= {t.strip(b" \t").lower() for t in value.split(b",")} - _CLOSE_TOKENS

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if self._nominated:
            self.out = _without(self.out, self._nominated)
            self._nominated = _NONE
        if status < 200 and status != 101:
            if status < 100:
                raise UpstreamProtocol
            self._interim += 1
            if self._interim > INTERIM_MAX:
                raise UpstreamProtocol
            if status != 100:
                self.interim.append(b"".join((b"HTTP/1.1 %d \r\n" % status, *self.out, b"\r\n")))
            self.out = []
            self.content_length = -1
            self.chunked = False
            return
        if self.chunked and self.content_length >= 0:
            raise UpstreamProtocol
        self.status = status
        self.keep_alive = parser.should_keep_alive()
        self.head_done = True
        if len(self.out) >> 2 > FIELDS_MAX * 2:
            raise UpstreamProtocol
        if self._bodyless or status in (204, 304) or status == 101:
            self.complete = True
            if self.content_length > 0 or self.chunked:
                self._parser = None  # it would wait for a body that cannot come
                if status == 204 or (self.chunked and not self._bodyless):
                    # Not allowed (RFC 9110 §8.6, RFC 9112 §6.1): who says so may send that body as well.
                    self.content_length = -1
                    self.chunked = self.keep_alive = False
        elif not self.chunked and self.content_length < 0:
            self._until_close = True
            self.keep_alive = False

    def on_body(self, data: bytes) -> None:
        if self.complete:
            self.excess = True
        else:
            self.body.append(data)
            self.body_bytes += len(data)

    def on_message_complete(self) -> None:
        if self.head_done:
            self.complete = True


def _without(out: list[bytes], names: frozenset[bytes]) -> list[bytes]:
    kept: list[bytes] = []
    for i in range(0, len(out), 4):
        if out[i].lower() not in names:
            kept += out[i : i + 4]
    return kept
