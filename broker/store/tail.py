"""The newest records of a log in memory, so that triggers at its head never read the disk.

Path: a store's commit → [tail] → fanout.py.

Positions are contiguous. Bound: `bytes_max`; the oldest go.
"""

from collections.abc import Sequence

from broker.store.contract import Record

RECORD_BYTES = 400  # what the objects of a small record take beside its texts and payload


def record_bytes(record: Record) -> int:
    """About what a record takes in memory, and what quotas count."""
    event = record.event
    size = RECORD_BYTES + (len(event.data) if event.data is not None else 0)
    for name, value in event.attributes.items():
        size += len(name) + len(value)
    for name, value in record.headers:
        size += len(name) + len(value)
    return size


class Tail:
    """Records from `first` up to, not including, `next`."""

    __slots__ = ("_records", "bytes", "bytes_max", "first", "get", "next")

    def __init__(self, start: int, bytes_max: float) -> None:
        self.first = self.next = start
        self.bytes = 0
        self.bytes_max = bytes_max
        self._records: dict[int, tuple[Record, int]] = {}
        self.get = self._records.get  # position → (record, bytes) or None

    def __len__(self) -> int:
        return len(self._records)

    def extend(self, records: Sequence[Record], sizes: Sequence[int]) -> None:
        position = self.next
        for record, size in zip(records, sizes, strict=True):
            self._records[position] = (record, size)
            self.bytes += size
            position += 1
        self.next = position
        while self.bytes > self.bytes_max:
            self.drop_first()

    def drop_first(self) -> tuple[Record, int]:
        record, size = self._records.pop(self.first)
        self.first += 1
        self.bytes -= size
        return record, size
