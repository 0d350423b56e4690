"""Records of a partition that were fetched for one trigger and wait until it has room.

Path: read.py, passed.py → [chunk] → read.py.
"""

import logging
from collections.abc import Callable, Sequence

from aiokafka.structs import ConsumerRecord

from broker.store.contract import Consumer, Delivery, Record
from broker.store.kafka.again import Again
from broker.store.kafka.late import Handed
from broker.store.kafka.partition import Partition
from broker.store.kafka.records import taken
from dataplane.errors import BadEvent
from dataplane.telemetry.metrics import Cell

log = logging.getLogger(__name__)


class Chunk:
    """What the trigger wants, from `at` on; `end`: everything below was read. apart: of what was passed over."""

    __slots__ = ("apart", "at", "end", "items", "partition")

    def __init__(self, partition: Partition, items: list[tuple[int, Record]], end: int, *, apart: bool = False) -> None:
        self.partition = partition
        self.items = items
        self.at = 0
        self.end = end
        self.apart = apart

    def offer(self, room: int, batch: list[Delivery], again: Again, *, ordered: bool) -> int:
        """Into the batch, until there is no room; how much of it is left."""
        partition, items = self.partition, self.items
        take = partition.take_apart if self.apart else partition.take
        number, at, count = partition.number, self.at, len(items)
        while at < count and room > 0:
            offset, record = items[at]
            at += 1
            how = take(offset, record.arrived_at)
            if how is None:
                continue
            attempt, due_at = how
            if record.not_before > due_at:
                due_at = record.not_before
            handed = Handed(record, f"{number}:{offset}", partition, offset, attempt, due_at)
            if due_at and not ordered:
                if again.is_early(due_at):
                    again.put_off(handed)
                    continue
                handed.due_at = 0.0
            partition.out += 1
            room -= 1
            batch.append(handed)
        self.at = at
        return room


def choose(
    records: Sequence[ConsumerRecord], consumer: Consumer, unsettled: Callable[[int], bool], discarded: Cell
) -> list[tuple[int, Record]]:
    """What the trigger wants of what was fetched. discarded: counts what is no event."""
    matches = consumer.matches
    header, wanted = _interest(consumer.interest)
    items: list[tuple[int, Record]] = []
    for raw in records:
        offset = raw.offset
        if not unsettled(offset):
            continue
        if wanted is not None and _other(raw.headers, header, wanted):
            continue
        try:
            record = taken(raw)
        except BadEvent as error:
            discarded.v += 1
            log.debug("record_discarded consumer=%s %d:%d error=%s", consumer.name, raw.partition, offset, error)
            continue
        if matches(record.event):
            items.append((offset, record))
    return items


def _interest(interest: tuple[str, str] | None) -> tuple[str, bytes | None]:
    if interest is None or interest[0] == "datacontenttype":
        return "", None
    return "ce_" + interest[0], interest[1].encode()


def _other(headers: Sequence[tuple[str, bytes]], header: str, wanted: bytes) -> bool:
    """Surely no match: it says so in its headers, without being decoded."""
    for name, content in headers:
        if name == header:
            return content != wanted
    return False
