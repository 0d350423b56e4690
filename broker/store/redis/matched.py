"""Entries that match and wait for room: of the head, or of what was passed over.

Path: tail.py, reader.py → [matched] → cursor.py, passed.py.

They count into what all triggers of the broker have in memory (`RedisLog.buffered`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from broker.store.redis.keys import Place
from broker.store.redis.tail import Entry

if TYPE_CHECKING:
    from broker.store.redis.log import RedisLog


class Matched:
    """In the order of the stream. size_bytes: about what they take."""

    __slots__ = ("_entries", "_log", "size_bytes")

    def __init__(self, owner: RedisLog) -> None:
        self._log = owner
        self._entries: deque[Entry] = deque()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def first(self) -> Entry:
        return self._entries[0]

    def keep(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._weigh(_bytes(entry))

    def take(self, number: int) -> list[Entry]:
        entries = [self._entries.popleft() for _ in range(number)]
        self._weigh(-sum(map(_bytes, entries)))
        return entries

    def put_back(self, entries: list[Entry]) -> None:
        self._entries.extendleft(reversed(entries))
        self._weigh(sum(map(_bytes, entries)))

    def drop_below(self, at: Place) -> None:
        while self._entries and self._entries[0].place < at:
            self.take(1)

    def clear(self) -> None:
        self._entries.clear()
        self._weigh(-self.size_bytes)

    def oldest(self, otherwise: float) -> float:
        """Arrival of the first, wall seconds."""
        if self._entries and (record := self._entries[0].record) is not None:
            return min(record.arrived_at, otherwise)
        return otherwise

    def _weigh(self, change: int) -> None:
        self.size_bytes += change
        self._log.buffered += change


def _bytes(entry: Entry) -> int:
    data = entry.record.event.data if entry.record is not None else None
    return 256 + len(data or b"")
