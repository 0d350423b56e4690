"""One trigger on one stream: what it has looked at, what it may hand over, what it has to settle.

Path: tail.py → [cursor] → Consumer.deliver → [cursor] → link.py.

The *head* is how far the trigger's group has come: what lies before it is settled or pending for somebody. To hand over
entries a cursor moves the head past them and makes them pending for this worker, in one script that fails when another
process moved it first (CLAIM): so processes share the work. What does not match is passed over by the same move.

A cursor with nothing unread *follows* the tail. When more matched than it may hold, it stops following and reads for
itself, so one slow trigger delays no other. An ordered trigger's cursor works only while it holds its lease.

Bounds: MATCHED_MAX entries or MATCHED_BYTES that matched and wait for room, and BUFFERED_BYTES of all triggers of a
broker, beyond which those without room forget what they read; one read and one claim at a time.

Source: spec/eventing.md §27.5-27.9; decision 0006.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from broker.store.contract import Delivery
from broker.store.redis.connect import Argument, Reply, pack
from broker.store.redis.faults import GroupLost
from broker.store.redis.handed import Handed
from broker.store.redis.keys import AGAIN, Place, entry_id, group, place
from broker.store.redis.link import Operation
from broker.store.redis.scripts import CLAIM
from broker.store.redis.tail import Entry, Pace, entries_of
from dataplane.errors import StoreFault

if TYPE_CHECKING:
    from broker.store.redis.subscription import RedisSubscription
    from broker.store.redis.tail import Tail

log = logging.getLogger(__name__)

MATCHED_MAX = 512
MATCHED_BYTES = 4 * 1024 * 1024
BUFFERED_BYTES = 32 * 1024 * 1024
AGAIN_S = 0.5  # after something Redis refused


class Cursor:
    """Lives on the loop. `owner`: it may hand over."""

    def __init__(self, subscription: RedisSubscription, shard: int, tail: Tail | None) -> None:
        self.subscription = subscription
        self.shard = shard
        self.link = subscription.link
        uid = subscription.key
        self.group = group(uid)
        self.stream = subscription.keys.stream(shard, uid)
        self.field = f"{uid}/{shard}"
        self.lease = subscription.keys.lease(uid, shard)
        self.fence = ""
        self.owner = False
        self.owner_until = 0.0  # loop seconds
        self.epoch = 0
        self.head = ""
        self.head_place: Place = 0
        self.head_count = -1
        self.backlog: deque[Handed] = deque()  # pending for us, not with the consumer yet
        self.out: dict[bytes, Handed] = {}  # with the consumer
        self._tail = tail
        self.following = False
        self._looked: Place = 0
        self._looked_count = -1  # entries before it and it, ever; -1: nobody knows
        self._dry = False  # a stream without tail: nothing new until somebody says so
        self._matched: deque[Entry] = deque()
        self._matched_bytes = 0
        self._claiming = False
        self._reading = False
        self._turn = 0  # which read an answer belongs to
        self._pace = Pace()
        self._ended: set[bytes] | None = None  # while `_recover` asks what is pending: what ended meanwhile
        self._acks: list[bytes] = []
        self._unnote: list[bytes] = []

    # ---- where it stands ----

    def asking(self) -> set[bytes]:
        """From now until `told`: what we know of, whether or not Redis has heard that it ended."""
        self._ended = {*self.mine, *self._acks}
        return self._ended

    def told(self) -> None:
        self._ended = None

    @property
    def looked(self) -> Place:
        if self.following and self._tail is not None:
            return max(self._tail.seen, self._looked)  # it may have been ahead of the tail when it began to follow
        return self._looked

    @property
    def looked_count(self) -> int:
        if self.following and self._tail is not None and self._tail.seen >= self._looked:
            return self._tail.count
        return self._looked_count

    @property
    def matched(self) -> Sequence[Entry]:
        return self._matched

    @property
    def mine(self) -> list[bytes]:
        """What is pending for this worker."""
        return [*self.out, *(handed.entry for handed in self.backlog)]

    def place_at(self, head: str, count: int) -> None:
        """The server says that the head is there. What matched beyond it stays, unless it went back."""
        at = place(head.encode())
        back = at < self.head_place
        self.head, self.head_place, self.head_count = head, at, count
        if back or not self.following:
            self.unfollow()
            self._turn += 1
            self._reading = False
            self._forget()
            self._looked, self._looked_count = at, count
            self._dry = False
        while self._matched and self._matched[0].place <= at:
            self._drop()

    def stop(self) -> None:
        """Hand over nothing more."""
        self.owner = False
        self.backlog.clear()
        self.unfollow()
        self._forget()

    def unfollow(self) -> None:
        if self.following and self._tail is not None:
            self._looked, self._looked_count = self.looked, self.looked_count
            self.following = False
            self._tail.leave()

    def stir(self) -> None:
        """There may be something new on a stream that has no tail."""
        self._dry = False

    # ---- tail → us ----

    def take(self, entry: Entry) -> None:
        """It matches."""
        if entry.place <= self.head_place or entry.place <= self._looked:
            return  # another process moved the head past it, or we read it before we followed
        self._keep(entry)
        if len(self._matched) >= MATCHED_MAX or self._matched_bytes >= MATCHED_BYTES:
            self.unfollow()
            self._looked, self._looked_count = entry.place, entry.ordinal
        elif self.subscription.log.buffered > BUFFERED_BYTES:
            self._reread()

    # ---- handing over ----

    def pull(self) -> None:
        """Hand over what there is room for, and see to it that there is more."""
        subscription = self.subscription
        if subscription.closed or not self.owner:
            return
        if self.fence and subscription.now() > self.owner_until:
            subscription.takeover.lost(self)  # Redis was away for so long that another may have taken it
            return
        room = subscription.room()
        if self.backlog and room > 0:
            batch = [self.backlog.popleft() for _ in range(min(room, len(self.backlog)))]
            for handed in batch:
                self.out[handed.entry] = handed
            subscription.consumer.deliver(batch)
            room = subscription.room()
        if self.backlog or self._claiming:
            return
        if self._matched:
            if room > 0:
                self._claim(min(room, len(self._matched)))
            elif self.subscription.log.buffered > BUFFERED_BYTES:
                self._reread()
        elif not self.following and not self._reading and not self._dry and room > 0:
            self._read()

    def advance(self) -> None:
        """Nothing matched for a while: move the head, so that nobody has to look at it again."""
        if self.owner and not self._matched and not self._claiming and self.looked > self.head_place:
            self._claim(0)

    def _claim(self, number: int) -> None:
        entries = [self._drop() for _ in range(number)]
        if self._matched:
            head, count = entries[-1].id.decode(), entries[-1].ordinal
        else:
            head, count = entry_id(self.looked), self.looked_count
        self._claiming = True
        self.subscription.reserved += number
        epoch = self.epoch

        def then(reply: Reply, fault: StoreFault | None) -> None:
            self._claiming = False
            self.subscription.reserved -= number
            if epoch == self.epoch:
                self._claimed(entries, head, count, reply, fault)
            else:
                self._reread()  # the group is another one

        self.link.run(
            CLAIM,
            (self.stream, self.subscription.keys.heads, self.lease),
            self.group,
            self.field,
            self.subscription.worker,
            self.head,
            head,
            count,
            self.fence,
            *[entry.id for entry in entries],
            then=then,
        )

    def _claimed(self, entries: list[Entry], head: str, count: int, reply: Reply, fault: StoreFault | None) -> None:
        if self.subscription.closed:
            return
        if fault is not None:
            self._put_back(entries)
            if isinstance(fault, GroupLost):
                self.subscription.log.look_again(self.subscription)
            elif self.link.up:  # otherwise on_up looks where the head is now
                log.warning("redis_claim_refused trigger=%s error=%s", self.subscription.name, fault)
                self.subscription.pull_after(AGAIN_S)
            return
        if reply[0] == 1:
            self.head, self.head_place, self.head_count = head, place(head.encode()), count
            if entries:
                self._deliver(entries, reply[1])
        elif reply[0] == 0:
            found = reply[1]
            if found is None:
                self.subscription.log.look_again(self.subscription)
                return
            self._put_back(entries)
            self.place_at(found.decode(), -1)
        else:
            self.subscription.takeover.lost(self)
            return
        self.pull()

    def _deliver(self, entries: list[Entry], claimed: Reply) -> None:
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
            out[entry.id] = handed
            if record.not_before:
                if ordered:
                    handed.due_at = record.not_before
                else:
                    wall_s = wall_s or self.subscription.clock.wall()
                    if record.not_before > wall_s:
                        wait.append(handed)
                        continue
            batch.append(handed)
        if batch:
            self.subscription.consumer.deliver(batch)
        for handed in wait:
            self.subscription.later(handed, due_at=handed.record.not_before, attempt=1)

    # ---- reading for itself ----

    def _read(self) -> None:
        self._reading = True
        self._turn += 1
        turn, limit = self._turn, self._pace.entries
        tail_seen = self._tail.seen if self._tail is not None else 0

        def then(reply: Reply, fault: StoreFault | None) -> None:
            if turn != self._turn or self.subscription.closed:
                return
            self._reading = False
            if fault is not None:
                if self.link.up:
                    self.subscription.pull_after(AGAIN_S)
                return
            self._took(reply, limit, tail_seen)
            self.pull()

        self.link.send("XRANGE", self.stream, f"({entry_id(self._looked)}", "+", "COUNT", limit, then=then)

    def _took(self, reply: Reply, limit: int, tail_seen: Place) -> None:
        known = self._looked_count >= 0
        entries, size = entries_of(reply, max(self._looked_count, 0))
        self._pace.saw(len(entries), size)
        matches = self.subscription.consumer.matches
        for entry in entries:
            if entry.record is not None and (self.shard == AGAIN or matches(entry.record.event)):
                self._keep(entry if known else entry._replace(ordinal=-1))
            elif entry.record is None:
                self.subscription.lost(1)
        if entries:
            self._looked = entries[-1].place
            if known:
                self._looked_count = entries[-1].ordinal
        if len(entries) == limit:
            return
        if self._tail is None:
            self._dry = True
            return
        self._looked = max(self._looked, tail_seen)  # what the tail has seen and is not there any more
        if self._tail.follow(self._looked, self.subscription.log.added(self.shard, self._looked_count)):
            self.following = True

    def _keep(self, entry: Entry) -> None:
        self._matched.append(entry)
        self._weigh(_bytes(entry))

    def _drop(self) -> Entry:
        entry = self._matched.popleft()
        self._weigh(-_bytes(entry))
        return entry

    def _put_back(self, entries: list[Entry]) -> None:
        self._matched.extendleft(reversed(entries))
        self._weigh(sum(map(_bytes, entries)))

    def _weigh(self, change: int) -> None:
        self._matched_bytes += change
        self.subscription.log.buffered += change

    def _forget(self) -> None:
        self._matched.clear()
        self._weigh(-self._matched_bytes)

    def _reread(self) -> None:
        """There is room for nothing of it: read it again from the head when there is."""
        if self._claiming:
            return
        self.unfollow()
        self._forget()
        self._looked, self._looked_count = self.head_place, self.head_count

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
            self.link.late(self._acknowledge)
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


def _bytes(entry: Entry) -> int:
    data = entry.record.event.data if entry.record is not None else None
    return 256 + len(data or b"")


def _acknowledged(reply: Reply, fault: StoreFault | None) -> None:
    if fault is not None:
        log.warning("redis_acknowledge_refused error=%s", fault)
