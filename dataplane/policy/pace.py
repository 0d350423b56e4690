"""Is a request body coming fast enough? No byte for too long, or too few on average: a slow client holds a slot.

Pure: `now` comes in.

Source: reliability.md GW-26 (240 B/s averaged over 10 s; stalled 30 s).
"""


class Pace:
    """From the first moment at which the body may come. Times in seconds."""

    __slots__ = ("_bytes", "_bytes_min", "_moved_at", "_since", "_stall_s", "_window_s")

    def __init__(self, now: float, *, stall_s: float, bytes_s: float, window_s: float) -> None:
        self._stall_s = stall_s
        self._bytes_min = bytes_s * window_s
        self._window_s = window_s
        self.restart(now)

    def restart(self, now: float) -> None:
        """We had not been reading: what was before says nothing about the client."""
        self._since = self._moved_at = now
        self._bytes = 0

    def moved(self, now: float, size_bytes: int) -> None:
        self._moved_at = now
        self._bytes += size_bytes

    def due(self, now: float) -> float:
        """When to ask again; not after `now`: too slow."""
        if now >= self._since + self._window_s:
            if self._bytes < self._bytes_min:
                return now
            self._since = now
            self._bytes = 0
        return min(self._moved_at + self._stall_s, self._since + self._window_s)
