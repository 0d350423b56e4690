"""What of one stream is pending for one trigger in this process: with its consumer, or not yet; and how it ends.

Path: cursor.py, passed.py, takeover.py → [pending] → Consumer.deliver → [pending] → link.py.

Bounds: with the consumer what it has room for; beside that what was taken over from others (takeover.py).

Source: spec/eventing.md §27.5-27.9.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from broker.store.contract import Delivery
from broker.store.redis.connect import Argument, Reply, pack
from broker.store.redis.handed import Handed
from broker.store.redis.keys import AGAIN, group
from broker.store.redis.link import Operation
from broker.store.redis.tail import Entry
from dataplane.errors import StoreFault

if TYPE_CHECKING:
    from broker.store.redis.subscription import RedisSubscription

log = logging.getLogger(__name__)


class Pending:
    """out: with the consumer, by entry. backlog: pending for us, not with the consumer yet.

    field: what it is called in hashes of all triggers. epoch: which group it is; another one when the group was lost
    and made again. lease, fence: of an ordered trigger (takeover.py). short: the consumer let go of something, which is
    pending and not known here any more.
    """

    def __init__(self, subscription: RedisSubscription, shard: int) -> None:
        self.subscription = subscription
        self.shard = shard
        self.link = subscription.link
        self.group = group(subscription.key)
        self.stream = subscription.keys.stream(shard, subscription.key)
        self.field = f"{subscription.key}/{shard}"
        self.lease = subscription.keys.lease(subscription.key, shard)
        self.fence = ""
        self.epoch = 0
        self.short = False
        self.backlog: deque[Handed] = deque()
        self.out: dict[bytes, Handed] = {}
        self._ended: set[bytes] | None = None  # while takeover.py asks what is pending: what ended meanwhile
        self._acks: list[bytes] = []
        self._unnote: list[bytes] = []

    # ---- what there is ----

    @property
    def mine(self) -> list[bytes]:
        """What is pending for this worker."""
        return [*self.out, *(handed.entry for handed in self.backlog)]

    def asking(self) -> set[bytes]:
        """From now until `told`: what we know of, whether or not Redis has heard that it ended."""
        self._ended = {*self.mine, *self._acks}
        return self._ended

    def told(self) -> None:
        self._ended = None

    # ---- handing over ----

    def give_backlog(self) -> bool:
        """As far as there is room. Whether anything was handed over."""
        room = self.subscription.room()
        if room <= 0:
            return False
        batch = [self.backlog.popleft() for _ in range(min(room, len(self.backlog)))]
        for handed in batch:
            self.out[handed.entry] = handed
        self.subscription.consumer.deliver(batch)
        return True

    def give(self, entries: list[Entry], claimed: Reply, room: int) -> None:
        """These were to become pending for this worker; `claimed` says which of them did. room: there is none any more
        for the rest."""
        if len(claimed) != len(entries):
            there = set(claimed)
            gone = [entry for entry in entries if entry.id not in there]
            entries = [entry for entry in entries if entry.id in there]
            self.subscription.lost(len(gone))
        batch: list[Delivery] = []
        wait: list[Handed] = []
        out, ordered, wall_s = self.out, self.subscription.ordered, 0.0
        for entry in entries:
            if entry.id in out:
                continue  # a replay passed over what is with the consumer
            record = entry.record
            assert record is not None
            handed = Handed(self, entry.id, record)
            if entry.origin:
                handed.position = entry.origin
            if record.not_before:
                if ordered:
                    handed.due_at = record.not_before
                else:
                    wall_s = wall_s or self.subscription.clock.wall()
                    if record.not_before > wall_s:
                        out[entry.id] = handed
                        wait.append(handed)
                        continue
            if len(batch) < room:
                out[entry.id] = handed
                batch.append(handed)
            else:
                self.backlog.append(handed)
        if batch:
            self.subscription.consumer.deliver(batch)
        for handed in wait:
            self.subscription.later(handed, due_at=handed.record.not_before, attempt=1)

    # ---- settling ----

    def has(self, handed: Handed) -> bool:
        """Whether the consumer has it."""
        return self.out.get(handed.entry) is handed

    def end(self, handed: Handed) -> bool:
        """The consumer has it no more. False: it did not have it."""
        if not self.has(handed):
            return False
        del self.out[handed.entry]
        if self._ended is not None:
            self._ended.add(handed.entry)
        return True

    def settle(self, handed: Handed) -> bool:
        """False: the consumer did not have it."""
        if not self.end(handed):
            return False
        if not self._acks:
            self.link.soon(self._acknowledge)
        self._acks.append(handed.entry)
        if handed.noted:
            self._unnote.append(handed.noted)
        return True

    def _acknowledge(self) -> None:
        acks, self._acks = self._acks, []
        packed, replies = pack("XACK", self.stream, self.group, *acks), 1
        more: list[tuple[Argument, ...]] = []
        if self.shard == AGAIN:
            more.append(("XDEL", self.stream, *acks))
        if self._unnote:
            more.append(("ZREM", self.subscription.keys.noted(self.subscription.key), *self._unnote))
            self._unnote = []
        for command in more:
            packed += pack(*command)
            replies += 1
        self.link.put(Operation(packed, _acknowledged, replies=replies, repeat=True))


def _acknowledged(reply: Reply, fault: StoreFault | None) -> None:
    if fault is not None:
        log.warning("redis_acknowledge_refused error=%s", fault)
