"""A trigger of this process: the calls of its dispatcher, handed to its cursors, its schedule and its letters.

Path: dispatcher.py → [subscription] → cursor.py, redelivery.py, letters.py, takeover.py → link.py.

Unordered triggers work in every process that subscribed; each entry goes to one of them. An ordered trigger works where
its lease is.

Source: spec/eventing.md §27.4-27.11; broker/store/contract.py.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from broker.store.contract import OLD_EVERY, Consumer, Delivery, Done, Failure, Kept, Lag, Letter, Record, Start
from broker.store.redis.connect import Reply
from broker.store.redis.cursor import Cursor
from broker.store.redis.handed import Handed
from broker.store.redis.keys import AGAIN, Keys, group
from broker.store.redis.letters import Letters
from broker.store.redis.link import Link
from broker.store.redis.redelivery import Redelivery
from broker.store.redis.scripts import JOIN, PARK, RELEASE, SEEK
from broker.store.redis.takeover import Takeover
from dataplane.clock import Clock
from dataplane.errors import StoreFault, StoreUnavailable

if TYPE_CHECKING:
    from broker.store.redis.log import RedisLog

log = logging.getLogger(__name__)

CLOSE_S = 5.0


class RedisSubscription:
    """Lives on the loop. cursors: one per shard, then that of redriven letters. reserved: room that is spoken for.

    newest: what is new comes first, because something was passed over.
    """

    def __init__(self, owner: RedisLog, consumer: Consumer) -> None:
        self.log = owner
        self.link: Link = owner.link
        self.keys: Keys = owner.keys
        self.clock: Clock = owner.clock
        self.worker: str = owner.worker
        self.consumer = consumer
        self.key: str = consumer.key
        self.name: str = consumer.name
        self.group = group(self.key)
        self.ordered: bool = consumer.ordered
        self.reserved = 0
        self.closed = False
        self.newest = False
        self._news = 0  # turns of what is new since what waited had one
        self.cursors = [Cursor(self, shard, owner.tail(shard)) for shard in range(owner.shards)]
        self.cursors.append(Cursor(self, AGAIN, None))
        self.redelivery = Redelivery(self)
        self.takeover = Takeover(self)
        self.box = Letters(owner, self)
        self._pulling = False
        self._loop = asyncio.get_running_loop()

    # ---- dispatcher → us ----

    def more(self) -> None:
        if not self._pulling and not self.closed:
            self._pulling = True
            self.link.late(self._pull)

    def newest_first(self) -> None:
        if self.closed or self.ordered:
            return
        self.newest = True
        for cursor in self.cursors[:-1]:
            cursor.pass_over()
        self.more()

    def changed(self) -> None:
        if self.closed:
            return
        self.log.index(self)
        if self.ordered != self.consumer.ordered:
            self.ordered = self.consumer.ordered
            for cursor in self.cursors:  # an ordered one works when it has its lease: the next pulse tries
                cursor.owner, cursor.owner_until, cursor.fence = not self.ordered, 0.0, ""
            self.more()

    def settle(self, delivery: Delivery) -> None:
        assert isinstance(delivery, Handed)
        if not self.closed:
            delivery.cursor.settle(delivery)

    def settle_with(self, delivery: Delivery, reply: Record, done: Done) -> None:
        assert isinstance(delivery, Handed)
        cursor = delivery.cursor

        def then(fault: StoreFault | None) -> None:
            if fault is None:  # the XACK is done; what else settling takes is not
                if delivery.noted or cursor.shard == AGAIN:
                    cursor.settle(delivery)
                else:
                    cursor.end(delivery)
            done(fault)

        self.log.append_and(reply, ("XACK", cursor.stream, cursor.group, delivery.entry), then)

    def later(self, delivery: Delivery, *, due_at: float, attempt: int, keep: bool = False) -> None:
        assert isinstance(delivery, Handed)
        if self.closed:
            return
        if keep:
            if delivery.cursor.has(delivery):
                self.redelivery.note(delivery, due_at, attempt)
        elif delivery.cursor.end(delivery):
            self.redelivery.put(delivery, due_at, attempt)

    def holds(self, delivery: Delivery) -> bool:
        assert isinstance(delivery, Handed)
        return not self.closed and self._cursor(delivery).holds(delivery)

    def let_go(self, delivery: Delivery) -> None:
        assert isinstance(delivery, Handed)
        if not self.closed:
            self._cursor(delivery).let_go(delivery)

    def park(self, delivery: Delivery, failure: Failure, kept: Kept = "parked") -> None:
        assert isinstance(delivery, Handed)
        cursor = delivery.cursor
        if self.closed or not cursor.end(delivery):
            return
        most = self.log.settings.parked_max if kept == "parked" else self.log.settings.dead_lettered_max
        self.link.run(
            PARK,
            (cursor.stream, self.keys.letters(self.key, kept), self.keys.meta, self.keys.noted(self.key)),
            cursor.group,
            delivery.entry,
            "" if delivery.epoch == cursor.epoch else "1",
            most,
            delivery.noted,
            "1" if cursor.shard == AGAIN else "",
            *self.box.fields(delivery, failure),
            then=lambda reply, fault: self.box.kept(kept, reply, fault),
            repeat=True,
        )

    def lag(self) -> Lag:
        waiting = in_flight = 0
        oldest = math.inf
        for cursor in self.cursors:
            in_flight += len(cursor.out)
            waiting += len(cursor.backlog) + max(len(cursor.matched), self.log.behind(cursor))
            waiting += cursor.passed.left(self.log.pulse.records)
            for handed in (*cursor.out.values(), *cursor.backlog):
                oldest = min(oldest, handed.record.arrived_at)
            oldest = cursor.passed.oldest(cursor.matched.oldest(oldest))
        return Lag(
            waiting=waiting,
            in_flight=in_flight,
            scheduled=max(0, self.redelivery.scheduled),
            parked=max(0, self.box.parked),
            dead_lettered=max(0, self.box.dead_lettered),
            oldest_at=oldest if oldest != math.inf else 0.0,
        )

    async def letters(self, *, kept: Kept | None = None, after: str = "", limit: int = 100) -> list[Letter]:
        return await self.box.read(kept, after, limit)

    async def redrive(self, ids: Sequence[str] | None = None, *, kept: Kept = "parked") -> int:
        if self.closed:
            raise StoreUnavailable("the subscription is closed")
        number = await self.box.redrive(ids, kept)
        self.stir()
        return number

    async def discard(self, ids: Sequence[str] | None = None, *, kept: Kept = "parked") -> int:
        return await self.box.discard(ids, kept)

    async def seek(self, start: Start) -> None:
        """Every process goes on from there: the others learn it with their next claim."""
        if self.closed:
            raise StoreUnavailable("the subscription is closed")
        for cursor in self.cursors[:-1]:
            head = await self.log.look.locate(start, cursor.shard)
            keys = (cursor.stream, self.keys.heads, self.keys.passed)
            await self.link.call_script(SEEK, keys, cursor.group, cursor.field, head)
            cursor.unfollow()
            cursor.place_at(head, -1)
            cursor.passed.found("")
        self.more()

    async def close(self) -> None:
        if self.closed:
            return
        for cursor in self.cursors:
            cursor.stop()
        self.closed = True
        self.log.left(self)
        self.redelivery.close()
        await self.link.flush(self._loop.time() + CLOSE_S)
        for cursor in self.cursors:
            keys = (cursor.stream, cursor.lease)
            try:
                await self.link.call_script(RELEASE, keys, cursor.group, self.worker, cursor.fence)
            except StoreFault as fault:
                log.warning("redis_release_failed trigger=%s error=%s", self.name, fault)
                return
        self.link.send("INCR", self.keys.bell, then=self.wrote)

    # ---- log, cursor → us ----

    def now(self) -> float:
        """Loop seconds."""
        return self._loop.time()

    def room(self) -> int:
        return self.consumer.room() - self.reserved

    def fresh(self) -> int:
        return self.consumer.fresh() - self.reserved

    async def join(self, start: Start | None) -> None:
        """Find or make the groups and see where they are. None: they were there before. Raises StoreFault."""
        for cursor in self.cursors:
            await self.find(cursor, start)
        await self.box.count()
        for cursor in self.cursors:
            await self.takeover.own(cursor)
        self.redelivery.look()

    async def find(self, cursor: Cursor, start: Start | None = None) -> None:
        if cursor.shard == AGAIN or start is None:
            at = "0-0"
        elif start.at == "latest":
            at = "$"
        else:
            at = await self.log.look.locate(start, cursor.shard)
        head, count, made, passed = await self.link.call_script(
            JOIN, (cursor.stream, self.keys.heads, self.keys.passed), cursor.group, cursor.field, at
        )
        if made and start is None and cursor.shard != AGAIN:
            cursor.epoch += 1
            self.log.meters.groups_made.cell(self.log.broker, self.name).v += 1
            log.error("redis_group_made_again trigger=%s shard=%d from=%s", self.name, cursor.shard, head.decode())
        cursor.place_at(head.decode(), int(count))
        cursor.passed.found(passed.decode())

    async def again(self) -> None:
        """The connection is back: where are the groups now, and what is pending for us that we do not know of?"""
        await self.join(None)
        await self.takeover.reclaim(self.worker)

    def lost(self, number: int) -> None:
        """Records this trigger will never get: they were deleted, or are no events."""
        if number:
            self.log.meters.lost.cell(self.log.broker, self.name).v += number
            log.error("redis_records_lost trigger=%s count=%d", self.name, number)

    def wrote(self, reply: Reply, fault: StoreFault | None) -> None:
        """For what is written and not waited for."""
        if fault is not None and not isinstance(fault, StoreUnavailable):
            log.warning("redis_write_refused trigger=%s error=%s", self.name, fault)

    def stir(self) -> None:
        """Somebody may have redriven letters."""
        self.cursors[-1].stir()
        self.more()

    def pull_after(self, seconds: float) -> None:
        self._loop.call_later(seconds, self.more)

    def _cursor(self, handed: Handed) -> Cursor:
        return self.cursors[handed.cursor.shard]  # AGAIN is the last

    def _pull(self) -> None:
        """What waited comes before what is new. With `newest` it is the other way round, but when its turn has come."""
        self._pulling = False
        if self.closed:
            return
        if not self.newest:
            self._pull_old()
            self._pull_new()
        elif self._news < OLD_EVERY - 1:
            if self._pull_new():
                self._news += 1
            self._pull_old()
        elif self._pull_old() or not self._spoken_for():
            self._pull_new()
        if self.newest:
            self.newest = self._has_old()

    def _pull_new(self) -> bool:
        gave = [cursor.pull() for cursor in self.cursors[:-1]]
        return any(gave)

    def _pull_old(self) -> bool:
        gave = [self.redelivery.take(), *(cursor.pull_old() for cursor in self.cursors), self.cursors[-1].pull()]
        if any(gave):
            self._news = 0
            return True
        return False

    def _spoken_for(self) -> bool:
        """What waited would have room, but for what is just being claimed of what is new."""
        return self.reserved > 0 and self.consumer.room() > 0 >= self.room()

    def _has_old(self) -> bool:
        return self.redelivery.waits or any(
            cursor.passing or cursor.backlog or cursor.passed.stretches for cursor in self.cursors
        )
