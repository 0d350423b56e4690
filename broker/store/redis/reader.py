"""Reads a stream for one trigger alone, as fast as it has room: it is not at the head, or comes back to what it passed.

Path: cursor.py, passed.py → [reader] → link.py; what matches comes back.

Bound: one read at a time, of about BATCH_BYTES (tail.py).

Source: spec/eventing.md §27.5; decision 0006.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from broker.store.redis.connect import Reply
from broker.store.redis.keys import AGAIN, Place
from broker.store.redis.tail import Entry, Pace, entries_of
from dataplane.errors import StoreFault

if TYPE_CHECKING:
    from broker.store.redis.subscription import RedisSubscription

AGAIN_S = 0.5  # after something Redis refused


class Read(NamedTuple):
    """matched: in order. last: where the last entry stands, 0 when there was none; ordinal: entries before it and it,
    ever, -1 when nobody knows. ended: there are no more."""

    matched: list[Entry]
    last: Place
    ordinal: int
    ended: bool


class Reader:
    """busy: an answer is to come."""

    __slots__ = ("_every", "_pace", "_stream", "_subscription", "_turn", "busy")

    def __init__(self, subscription: RedisSubscription, stream: str, shard: int) -> None:
        self._subscription = subscription
        self._stream = stream
        self._every = shard == AGAIN  # what was redriven is for this trigger, whatever it matches now
        self._pace = Pace()
        self._turn = 0  # which read an answer belongs to
        self.busy = False

    def read(self, begin: str, end: str, count: int, took: Callable[[Read], None]) -> None:
        """begin, end: as XRANGE takes them; count: entries before `begin`, ever, or -1."""
        subscription = self._subscription
        self.busy = True
        self._turn += 1
        turn, limit = self._turn, self._pace.entries

        def then(reply: Reply, fault: StoreFault | None) -> None:
            if turn != self._turn or subscription.closed:
                return
            self.busy = False
            if fault is None:
                took(self._chosen(reply, limit, count))
                subscription.more()
            elif subscription.link.up:  # otherwise on_up looks where everything is
                subscription.pull_after(AGAIN_S)

        subscription.link.send("XRANGE", self._stream, begin, end, "COUNT", limit, then=then)

    def forget(self) -> None:
        """Whoever asked stands somewhere else now."""
        self._turn += 1
        self.busy = False

    def _chosen(self, reply: Reply, limit: int, count: int) -> Read:
        subscription = self._subscription
        entries, size = entries_of(reply, max(count, 0))
        self._pace.saw(len(entries), size)
        matches = subscription.consumer.matches
        matched: list[Entry] = []
        for entry in entries:
            if entry.record is None:
                subscription.lost(1)
            elif self._every or matches(entry.record.event):
                matched.append(entry if count >= 0 else entry._replace(ordinal=-1))
        last = entries[-1].place if entries else 0
        return Read(matched, last, count + len(entries) if count >= 0 else -1, len(entries) < limit)
