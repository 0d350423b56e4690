"""JSON lines between driver and nursery, bounded.

Path: drivers/process.py ⇄ [frames] ⇄ supervise.py.
"""

import json
from typing import Any

LINE_MAX_BYTES = 8 << 20  # a pod's environment may carry whole ConfigMaps; exec's own limit is far below this

Frame = dict[str, Any]


def encode(frame: Frame) -> bytes:
    """One line. Raises ValueError when it is longer than LINE_MAX_BYTES."""
    line = json.dumps(frame, separators=(",", ":")).encode() + b"\n"
    if len(line) > LINE_MAX_BYTES:
        raise ValueError(f"frame of {len(line)} bytes is over the limit of {LINE_MAX_BYTES}")
    return line


class Lines:
    """Bytes in any cut → frames. Raises ValueError on a line over the limit or that is no JSON object."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        self._rest += data
        if b"\n" not in data:
            if len(self._rest) > LINE_MAX_BYTES:
                raise ValueError(f"line over the limit of {LINE_MAX_BYTES} bytes")
            return []
        *whole, rest = self._rest.split(b"\n")
        self._rest = rest
        frames = [json.loads(line) for line in whole]
        if not all(isinstance(frame, dict) for frame in frames):
            raise ValueError("a frame is a JSON object")
        return frames
