"""A delivery that finds its way back: which entry of which stream it is.

Path: pending.py, redelivery.py, takeover.py → [handed] → dispatcher → subscription.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from broker.store.contract import Delivery, Record
from broker.store.redis.keys import position
from broker.store.redis.tail import origin

if TYPE_CHECKING:
    from broker.store.redis.pending import Pending


class Handed(Delivery):
    """entry: its id in the stream. noted: its member in the set `noted` while an ordered consumer holds on to it.

    epoch: of the cursor when it was handed over; the group was lost in between when it is another one now.
    """

    __slots__ = ("cursor", "entry", "epoch", "noted")

    def __init__(
        self, cursor: Pending, entry: bytes, record: Record, fields: Sequence[bytes] = (), attempt: int = 1
    ) -> None:
        """fields: as read, when it may be a redriven letter: that keeps the position it had on the log."""
        self.record = record
        self.position = origin(fields) or position(cursor.shard, entry)
        self.attempt = attempt
        self.due_at = 0.0
        self.cursor = cursor
        self.entry = entry
        self.epoch = cursor.epoch
        self.noted = b""
