"""One trigger on one stream: how far it has looked, and what of that it hands over.

Path: tail.py → [cursor] → pending.py → Consumer.deliver.

The *head* is how far the trigger's group has come: what lies before it is settled, pending for somebody, or was passed
over (passed.py). To hand over entries a cursor moves the head past them and makes them pending for this worker, in one
script that fails when another process moved it first (CLAIM): so processes share the work. What does not match is
passed over by the same move.

A cursor with nothing unread *follows* the tail. When more matched than it may hold, it stops following and reads for
itself (reader.py), so one slow trigger delays no other. An ordered trigger's cursor works only while it has its lease.

Bounds: MATCHED_MAX entries or MATCHED_BYTES that matched and wait for room, and BUFFERED_BYTES of all triggers of a
broker (log.py), beyond which those without room forget what they read; one read and one claim at a time.

Source: spec/eventing.md §27.5-27.9; decision 0006.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from broker.store.contract import PASSED_MAX
from broker.store.redis.connect import Reply
from broker.store.redis.faults import GroupLost
from broker.store.redis.handed import Handed
from broker.store.redis.keys import AGAIN, Place, entry_id, place
from broker.store.redis.matched import Matched
from broker.store.redis.passed import Passed
from broker.store.redis.pending import Pending
from broker.store.redis.reader import AGAIN_S, Read, Reader
from broker.store.redis.scripts import CLAIM, PASS
from broker.store.redis.tail import Entry
from dataplane.errors import StoreFault

if TYPE_CHECKING:
    from broker.store.redis.subscription import RedisSubscription
    from broker.store.redis.tail import Tail

log = logging.getLogger(__name__)

MATCHED_MAX = 512
MATCHED_BYTES = 4 * 1024 * 1024


class Cursor(Pending):
    """Lives on the loop. `owner`: it may hand over. passing: what it is behind with is just being passed over.

    owner_until: loop seconds; until then no other process may hand over, for sure.
    """

    def __init__(self, subscription: RedisSubscription, shard: int, tail: Tail | None) -> None:
        super().__init__(subscription, shard)
        self.owner = False
        self.owner_until = 0.0
        self.head = ""
        self.head_place: Place = 0
        self.head_count = -1
        self.following = False
        self.matched = Matched(subscription.log)
        self.passing = False
        self.passed = Passed(self)
        self._tail = tail
        self._reader = Reader(subscription, self.stream, shard)
        self._looked: Place = 0
        self._looked_count = -1  # entries before it and it, ever; -1: nobody knows
        self._dry = False  # a stream without tail: nothing new until somebody says so
        self._claiming = False

    # ---- where it stands ----

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

    def place_at(self, head: str, count: int) -> None:
        """The server says that the head is there. What matched beyond it stays, unless it went back."""
        at = place(head.encode())
        back = at < self.head_place
        self.head, self.head_place, self.head_count = head, at, count
        if back or not self.following:
            self.unfollow()
            self._reader.forget()
            self.matched.clear()
            self._looked, self._looked_count = at, count
            self._dry = False
        self.matched.drop_below(at + 1)

    def holds(self, handed: Handed) -> bool:
        """It is with the consumer, and nobody else may have it by now."""
        return self.has(handed) and (not self.subscription.ordered or self.subscription.now() < self.owner_until)

    def let_go(self, handed: Handed) -> None:
        """The consumer has it no more, and it is still pending. Ordered, it is read again before anything else is
        handed over; else it is as if it had not been."""
        if not self.end(handed):
            return
        if not self.subscription.ordered:
            self.backlog.append(handed)
            self.subscription.more()
            return
        self.short = True
        if self.owner:
            self.subscription.takeover.lost(self)

    def stop(self) -> None:
        """Hand over nothing more."""
        self.owner = False
        self.backlog.clear()
        self.unfollow()
        self.matched.clear()
        self.passed.reread()

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
        self.matched.keep(entry)
        if len(self.matched) >= MATCHED_MAX or self.matched.size_bytes >= MATCHED_BYTES:
            self.unfollow()
            self._looked, self._looked_count = entry.place, entry.ordinal
        elif self.subscription.log.is_full:
            self._reread()

    # ---- handing over ----

    def pull_old(self) -> bool:
        """What was taken over and waits, then what was passed over. Whether something is handed over."""
        if not (self.backlog or self.passed.stretches) or not self.may():
            return False
        gave = bool(self.backlog) and self.give_backlog()
        return gave if self.backlog else self.passed.pull() or gave

    def pull(self) -> bool:
        """Hand over what there is room for, and see to it that there is more. Whether something will be."""
        if self._claiming or self.passing or not self.may():
            return False
        subscription = self.subscription
        if (self.backlog or self.passed.stretches) and (subscription.ordered or not subscription.newest):
            return False  # they come first
        if self.matched:
            space = self._space()
            if space > 0:
                self._claim(min(space, len(self.matched)))
                return True
            if subscription.log.is_full:
                self._reread()
        elif not self.following and not self._reader.busy and not self._dry and self._space() > 0:
            self._read()
        return False

    def advance(self) -> None:
        """Nothing matched for a while: move the head, so that nobody has to look at it again."""
        if self.owner and not self.matched and not self._claiming and self.looked > self.head_place:
            self._claim(0)

    def pass_over(self) -> None:
        """What there is of the stream and was not handed over waits; what is appended from now on comes first."""
        if self.passing or not self.owner or (self.following and not self.matched):
            return
        self.passing = True

        def then(reply: Reply, fault: StoreFault | None) -> None:
            self.passing = False
            if self.subscription.closed:
                return
            if isinstance(fault, GroupLost) or (fault is None and not reply[0]):
                self.subscription.log.look_again(self.subscription)
            elif fault is not None:
                log.warning("redis_pass_refused trigger=%s error=%s", self.subscription.name, fault)
            else:
                head, count, passed = reply
                self.place_at(head.decode(), int(count))
                self.passed.found(passed.decode())
            self.subscription.more()

        keys = (self.stream, self.subscription.keys.heads, self.subscription.keys.passed)
        self.link.run(PASS, keys, self.group, self.field, PASSED_MAX, then=then, repeat=True)

    def may(self) -> bool:
        """Hand over, or take what is due."""
        if not self.owner or self.subscription.closed:
            return False
        if self.subscription.ordered and self.subscription.now() >= self.owner_until:
            self.subscription.takeover.lost(self)  # we were stopped, or Redis was away: another may have taken it
            return False
        return True

    def _space(self) -> int:
        """At the head, or where what lies behind was passed over, there is room as for what is new."""
        subscription = self.subscription
        if self.following or (subscription.newest and self.shard != AGAIN):
            return subscription.fresh()
        return subscription.room()

    def _claim(self, number: int) -> None:
        entries = self.matched.take(number)
        if self.matched:
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
            self.matched.put_back(entries)
            if isinstance(fault, GroupLost):
                self.subscription.log.look_again(self.subscription)
            elif self.link.up:  # otherwise on_up looks where the head is now
                log.warning("redis_claim_refused trigger=%s error=%s", self.subscription.name, fault)
                self.subscription.pull_after(AGAIN_S)
            return
        if reply[0] == 1:
            self.head, self.head_place, self.head_count = head, place(head.encode()), count
            if entries:
                self.give(entries, reply[1], self._space())
        elif reply[0] == 0:
            found, found_count = reply[1], reply[2]
            if found is None:
                self.subscription.log.look_again(self.subscription)
                return
            self.matched.put_back(entries)
            self.place_at(found.decode(), int(found_count or -1))
        else:
            self.subscription.takeover.lost(self)
            return
        self.subscription.more()

    # ---- reading for itself ----

    def _read(self) -> None:
        tail_seen = self._tail.seen if self._tail is not None else 0

        def took(read: Read) -> None:
            for entry in read.matched:
                self.matched.keep(entry)
            if read.last:
                self._looked, self._looked_count = read.last, read.ordinal
            if not read.ended:
                return
            if self._tail is None:
                self._dry = True
                return
            self._looked = max(self._looked, tail_seen)  # what the tail has seen and is not there any more
            if self._tail.follow(self._looked, self.subscription.log.added(self.shard, self._looked_count)):
                self.following = True

        self._reader.read(f"({entry_id(self._looked)}", "+", self._looked_count, took)

    def _reread(self) -> None:
        """There is room for nothing of it: read it again from the head when there is."""
        if self._claiming:
            return
        self.unfollow()
        self._reader.forget()
        self.matched.clear()
        self._looked, self._looked_count = self.head_place, self.head_count
