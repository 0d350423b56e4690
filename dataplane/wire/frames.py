"""Where the frames of a WebSocket end: all that a tunnel has to know of them to say goodbye between two. Sans-I/O.

Path: net/tunnel.py, for what it passes to the client.

Source: RFC 6455 §5.2 (framing), §5.5.1 and §7.4.1 (Close, 1001 "going away").
"""

GOING_AWAY = b"\x88\x02\x03\xe9"  # a Close frame of a server, code 1001

_HEAD_BYTES = {126: 4, 127: 10}


class Frames:
    """Feed one direction from its first byte. `between`: no frame is under way."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""  # of a frame of which the head is not whole
        self._left = 0  # bytes to come of the frame under way

    @property
    def between(self) -> bool:
        return not self._left and not self._head

    def feed(self, data: bytes) -> int:
        """Where the last frame that ends in `data` ends; -1: none does."""
        at, size, last = 0, len(data), -1
        while at < size:
            if not self._left:
                held = len(self._head)
                head = self._head + data[at : at + 14 - held]
                length = _frame_bytes(head)
                if length < 0:
                    self._head = head
                    return last
                self._head = b""
                self._left = length - held
            take = min(self._left, size - at)
            at += take
            self._left -= take
            if not self._left:
                last = at
        return last


def _frame_bytes(head: bytes) -> int:
    """Of the whole frame that begins so; -1: more of its head is needed to say."""
    if len(head) < 2:
        return -1
    length = head[1] & 0x7F
    size = _HEAD_BYTES.get(length, 2)
    if len(head) < size:
        return -1
    if length >= 126:
        length = int.from_bytes(head[2:size], "big")
    return size + (4 if head[1] & 0x80 else 0) + length
