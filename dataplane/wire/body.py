"""The body of one request ← bytes: where it ends, to the byte. Sans-I/O.

Path: net/server.py makes a [RequestBody] of a head that announces one, and gives it what comes.

Source: RFC 9112 §6; reliability.md GW-04, GW-13.
"""

from typing import NamedTuple

from dataplane.wire.chunked import ChunkScanner


class Part(NamedTuple):
    """payload: of the body, unframed; rest: what follows the message; last: nothing of the body is to come."""

    payload: bytes
    rest: bytes
    last: bool


class RequestBody:
    """`length` < 0: chunked. left_bytes: still to come, -1 when nobody knows."""

    __slots__ = ("_scanner", "left_bytes")

    def __init__(self, length: int) -> None:
        self.left_bytes = length
        self._scanner = ChunkScanner() if length < 0 else None

    def feed(self, data: bytes) -> Part:
        """Raises ClientFault when the framing is broken; nothing after it can be trusted."""
        scanner = self._scanner
        if scanner is not None:
            out: list[bytes] = []
            used = scanner.feed(data, out)
            return Part(out[0] if len(out) == 1 else b"".join(out), data[used:], scanner.done)
        left = self.left_bytes
        if len(data) > left:
            self.left_bytes = 0
            return Part(data[:left], data[left:], True)
        self.left_bytes = left = left - len(data)
        return Part(data, b"", left == 0)
