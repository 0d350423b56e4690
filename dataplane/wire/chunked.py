"""Chunked request bodies ← bytes: finds where the message ends, to the byte. Sans-I/O.

llhttp parses heads and responses; a chunked *request* is scanned here because the connection must know the exact end of
the message (what follows is the next pipelined request, parsed only after this one was answered) and because
extensions and trailers have budgets that llhttp does not report.

Source: RFC 9112 §7.1; reliability.md GW-04, GW-08, GW-13.
"""

import enum

from dataplane.errors import BadRequest, HeadersTooLarge
from dataplane.wire.headers import is_token

EXTENSION_BYTES_MAX = 4 * 1024  # per message
TRAILER_BYTES_MAX = 16 * 1024
SIZE_DIGITS_MAX = 16

_HEX = frozenset(b"0123456789abcdefABCDEF")
_EXTENSION_REFUSED = frozenset((*range(0x00, 0x09), *range(0x0A, 0x20), 0x7F))


class _At(enum.IntEnum):
    SIZE = 0
    DATA = 1
    DATA_END = 2
    TRAILER = 3
    DONE = 4


class ChunkScanner:
    """Feed bytes until `done`. Trailers are checked and dropped (RFC 9110 §6.5.1 allows it)."""

    __slots__ = ("_at", "_extension_bytes", "_left", "_line", "_trailer_bytes")

    def __init__(self) -> None:
        self._at = _At.SIZE
        self._left = 0
        self._line = b""  # an unfinished line
        self._extension_bytes = 0
        self._trailer_bytes = 0

    @property
    def done(self) -> bool:
        return self._at is _At.DONE

    def feed(self, data: bytes, out: list[bytes]) -> int:
        """Append payload slices to `out`; returns how many bytes of `data` belong to this message.

        Raises:
            BadRequest: the framing is broken; nothing after it can be trusted.
            HeadersTooLarge: extensions or trailers beyond their budget.
        """
        position, end = 0, len(data)
        if self._at is _At.DONE:
            return 0
        while position < end:
            if self._at is _At.DATA:
                take = min(self._left, end - position)
                out.append(data[position : position + take])
                position += take
                self._left -= take
                if self._left == 0:
                    self._at = _At.DATA_END
            else:
                line, position = self._read_line(data, position)
                if line is None:
                    return position
                if self._on_line(line):
                    return position
        return position

    def _read_line(self, data: bytes, position: int) -> tuple[bytes | None, int]:
        """A line without its CRLF, or None when it is not whole yet."""
        newline = data.find(b"\n", position)
        piece = data[position : newline + 1] if newline >= 0 else data[position:]
        line = self._line + piece
        budget = TRAILER_BYTES_MAX if self._at is _At.TRAILER else EXTENSION_BYTES_MAX + SIZE_DIGITS_MAX + 2
        if len(line) > budget:
            raise HeadersTooLarge if self._at is _At.TRAILER else BadRequest("chunk")
        if newline < 0:
            self._line = line
            if b"\r" in line[:-1] or (self._at is _At.DATA_END and line != b"\r"):
                raise BadRequest("chunk")
            return None, len(data)
        self._line = b""
        if line[-2:] != b"\r\n" or b"\r" in line[:-2]:
            raise BadRequest("chunk")
        return line[:-2], newline + 1

    def _on_line(self, line: bytes) -> bool:
        """True when this line ends the message."""
        if self._at is _At.SIZE:
            self._on_size(line)
        elif self._at is _At.DATA_END:
            if line:
                raise BadRequest("chunk")
            self._at = _At.SIZE
        elif not line:
            self._at = _At.DONE
            return True
        else:
            self._on_trailer(line)
        return False

    def _on_size(self, line: bytes) -> None:
        digits, semicolon, extension = line.partition(b";")
        if semicolon:
            digits = digits.rstrip(b" \t")  # RFC 9112 §7.1.1: BWS before an extension
            self._extension_bytes += len(extension) + 1
            if self._extension_bytes > EXTENSION_BYTES_MAX:
                raise BadRequest("chunk")
            if not _EXTENSION_REFUSED.isdisjoint(extension) or not extension.isascii():
                raise BadRequest("chunk")
        if not digits or len(digits) > SIZE_DIGITS_MAX or not _HEX.issuperset(digits):
            raise BadRequest("chunk")
        self._left = int(digits, 16)
        if self._left >= 1 << 63:
            raise BadRequest("chunk")
        self._at = _At.DATA if self._left else _At.TRAILER

    def _on_trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line) + 2
        if self._trailer_bytes > TRAILER_BYTES_MAX:
            raise HeadersTooLarge
        name, colon, value = line.partition(b":")
        if not colon or not is_token(name) or not _EXTENSION_REFUSED.isdisjoint(value):
            raise BadRequest("trailer")
