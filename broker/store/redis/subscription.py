"""A trigger of this process: its cursors, its schedule, its letters.

Path: dispatcher.py → [subscription] → cursor.py, letters.py → link.py.

Unordered triggers work in every process that subscribed; each entry goes to one of them. An ordered trigger works where
its lease is, one lease per shard. What a process leaves behind is pending in its name until somebody looks for entries
that nobody has touched for `lease_s`; a process touches what it holds every third of that.

Redeliveries wait in a sorted set, not here: any process takes those that are due. One timer wakes us for our own.

Source: spec/eventing.md §27.5-27.11; reliability.md BR-17, BR-18, BR-24.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from broker.store.contract import Consumer, Delivery, Done, Failure, Kept, Lag, Letter, Record, Start
from broker.store.redis.connect import Reply
from broker.store.redis.cursor import Cursor, Handed
from broker.store.redis.flat import unflatten
from broker.store.redis.keys import AGAIN, Keys
from broker.store.redis.letters import Letters
from broker.store.redis.link import Link
from broker.store.redis.scripts import JOIN, KEEP, LATER, LEASE, PARK, RECLAIM, RELEASE, SEEK, TAKE_DUE
from dataplane.clock import Clock
from dataplane.errors import StoreFault, StoreUnavailable

if TYPE_CHECKING:
    from broker.store.redis.log import RedisLog

log = logging.getLogger(__name__)

RECLAIM_MAX = 100
TAKE_MAX = 200
ENDS_MAX = 10  # workers that may die with an entry before it is parked
CLOSE_S = 5.0


class RedisSubscription:
    """Lives on the loop. reserved: room that claims on their way will fill."""

    def __init__(self, owner: RedisLog, consumer: Consumer) -> None:
        self.log = owner
        self.link: Link = owner.link
        self.keys: Keys = owner.keys
        self.clock: Clock = owner.clock
        self.worker: str = owner.worker
        self.consumer = consumer
        self.key: str = consumer.key
        self.name: str = consumer.name
        self.ordered: bool = consumer.ordered
        self.reserved = 0
        self.closed = False
        self.cursors = [Cursor(self, shard, owner.tail(shard)) for shard in range(owner.shards)]
        self.cursors.append(Cursor(self, AGAIN, None))
        self.box = Letters(owner, self)
        self.scheduled = 0
        self._recovering = asyncio.Lock()
        self._pulling = False
        self._taking = False
        self._due_ms = 0  # something was due and there was no room
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    # ---- dispatcher → us ----

    def more(self) -> None:
        if not self._pulling and not self.closed:
            self._pulling = True
            self.link.late(self._pull)

    def changed(self) -> None:
        if self.closed:
            return
        self.log.index(self)
        if self.ordered != self.consumer.ordered:
            self.ordered = self.consumer.ordered
            for cursor in self.cursors:  # an ordered one works when it has its lease: `keep_leases`
                cursor.owner, cursor.fence = not self.ordered, ""
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
        cursor = delivery.cursor
        if self.closed or cursor.out.get(delivery.entry) is not delivery:
            return
        due_ms = int(due_at * 1000)
        id_ = delivery.entry.decode()
        if keep:
            delivery.attempt, delivery.due_at = attempt, due_at
            delivery.noted = f"{cursor.shard}/{id_}".encode()
            self.link.run(
                KEEP,
                (cursor.stream, self.keys.retry(self.key), cursor.lease),
                cursor.group,
                id_,
                delivery.noted,
                due_ms,
                self.worker,
                attempt,
                cursor.fence,
                then=_wrote,
                repeat=True,
            )
            return
        cursor.end(delivery)
        self.scheduled += 1
        self.link.run(
            LATER,
            (cursor.stream, self.keys.retry(self.key), self.keys.kept, self.keys.due),
            cursor.group,
            id_,
            f"{cursor.shard}/{id_} {attempt}",
            due_ms,
            self.key,
            then=_wrote,
            repeat=True,
        )
        self._wake_in(max(0.0, due_at - self.clock.wall()), due_ms)

    def park(self, delivery: Delivery, failure: Failure, kept: Kept = "parked") -> None:
        assert isinstance(delivery, Handed)
        cursor = delivery.cursor
        if self.closed or not cursor.end(delivery):
            return
        most = self.log.settings.parked_max if kept == "parked" else self.log.settings.dead_lettered_max
        self.link.run(
            PARK,
            (cursor.stream, self.keys.letters(self.key, kept), self.keys.meta, self.keys.retry(self.key)),
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
            for handed in (*cursor.out.values(), *cursor.backlog):
                oldest = min(oldest, handed.record.arrived_at)
            if cursor.matched and (record := cursor.matched[0].record) is not None:
                oldest = min(oldest, record.arrived_at)
        return Lag(
            waiting=waiting,
            in_flight=in_flight,
            scheduled=max(0, self.scheduled),
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
            head = await self.log.locate(start, cursor.shard)
            await self.link.call_script(SEEK, (cursor.stream, self.keys.heads), cursor.group, cursor.field, head)
            cursor.unfollow()
            cursor.place_at(head, -1)
        self.more()

    async def close(self) -> None:
        if self.closed:
            return
        for cursor in self.cursors:
            cursor.unfollow()
        self.closed = True
        self.log.left(self)
        if self._timer is not None:
            self._timer.cancel()
        await self.link.flush(self._loop.time() + CLOSE_S)
        for cursor in self.cursors:
            try:
                await self.link.call_script(
                    RELEASE, (cursor.stream, cursor.lease), cursor.group, self.worker, cursor.fence
                )
            except StoreFault as fault:
                log.warning("redis_release_failed trigger=%s error=%s", self.name, fault)
                return
        self.link.send("INCR", self.keys.bell, then=_wrote)

    # ---- log, cursor → us ----

    def room(self) -> int:
        return self.consumer.room() - self.reserved

    def now(self) -> float:
        """Loop seconds."""
        return self._loop.time()

    async def join(self, start: Start | None) -> None:
        """Find or make the groups and see where they are. Raises StoreFault. None: there was one, it may be gone."""
        for cursor in self.cursors:
            await self._join(cursor, start)
        await self.box.count()
        for cursor in self.cursors:
            await self._own(cursor)
        self.more()
        self.take_due()

    async def _join(self, cursor: Cursor, start: Start | None) -> None:
        if cursor.shard == AGAIN or start is None:
            at = "0-0"
        elif start.at == "latest":
            at = "$"
        else:
            at = await self.log.locate(start, cursor.shard)
        reply = await self.link.call_script(
            JOIN, (cursor.stream, self.keys.heads), cursor.group, cursor.field, at, self.worker
        )
        assert isinstance(reply, list)
        head, count, made = reply
        assert isinstance(head, bytes)
        if made and start is None and cursor.shard != AGAIN:
            cursor.epoch += 1
            self.log.meters.groups_made.cell(self.log.broker, self.name).v += 1
            log.error("redis_group_made_again trigger=%s shard=%d from=%s", self.name, cursor.shard, head.decode())
        cursor.place_at(head.decode(), int(count))

    async def again(self) -> None:
        """The connection is back: where are the groups now, and what is pending for us that we do not know of?"""
        await self.join(None)
        for cursor in self.cursors:
            if cursor.owner:
                await self._recover(cursor, self.worker, 0)
        self.more()

    def group_lost(self, cursor: Cursor) -> None:
        self.log.look_again(self)

    def lost(self, number: int) -> None:
        """Records this trigger will never get: they were deleted, or are no events."""
        if number:
            self.log.meters.lost.cell(self.log.broker, self.name).v += number
            log.error("redis_records_lost trigger=%s count=%d", self.name, number)

    def stir(self) -> None:
        self.cursors[-1].stir()
        self.more()

    def pull_after(self, seconds: float) -> None:
        self._loop.call_later(seconds, self.more)

    def _pull(self) -> None:
        self._pulling = False
        if self._due_ms:
            self.take_due()
        for cursor in self.cursors:
            cursor.pull()

    # ---- ordered: the lease ----

    async def _own(self, cursor: Cursor) -> None:
        if not self.ordered:
            cursor.owner = True
            return
        asked = self._loop.time()
        reply = await self.link.call_script(
            LEASE, (cursor.lease, self.keys.meta), self.worker, int(self.log.lease_s * 1000)
        )
        assert isinstance(reply, list)
        if reply[0] != 1:
            if cursor.owner:
                self.lease_lost(cursor)
            return
        assert isinstance(reply[1], bytes)
        fence = reply[1].decode()
        cursor.owner_until = asked + self.log.lease_s
        if cursor.owner and fence == cursor.fence:
            return
        cursor.fence = fence
        await self._join(cursor, None)
        cursor.out.clear()  # of an ownership that ended: it comes again
        cursor.backlog.clear()
        await self._recover(cursor, "", 0)
        cursor.owner = True
        self.more()

    def lease_lost(self, cursor: Cursor) -> None:
        """Another process may deliver now. What the consumer has is not ours to settle in order any more."""
        cursor.owner = False
        cursor.fence = ""
        cursor.backlog.clear()
        cursor.unfollow()
        log.warning("redis_lease_lost trigger=%s shard=%d", self.name, cursor.shard)

    async def keep_leases(self) -> None:
        """Every second: renew what we own, try for what we do not."""
        for cursor in self.cursors:
            if not cursor.owner or cursor.owner_until - self._loop.time() < self.log.lease_s * 2 / 3:
                await self._own(cursor)

    # ---- what others left behind ----

    def touch(self) -> None:
        """Say that what is pending for us is being worked on."""
        for cursor in self.cursors:
            mine = cursor.mine
            for i in range(0, len(mine), 500):
                self.link.send(
                    "XCLAIM", cursor.stream, cursor.group, self.worker, 0, *mine[i : i + 500], "JUSTID", then=_wrote
                )

    async def reclaim(self, consumer: str = "", idle_s: float = 0.0) -> None:
        """Take what nobody has touched for so long, or what one worker had."""
        for cursor in self.cursors:
            if cursor.owner:
                await self._recover(cursor, consumer, idle_s)
        self.more()

    async def _recover(self, cursor: Cursor, consumer: str, idle_s: float) -> None:
        """Pending entries into the backlog, in log order. An ordered trigger gets all of them: order is at stake."""
        async with self._recovering:
            await self._recover_alone(cursor, consumer, idle_s)

    async def _recover_alone(self, cursor: Cursor, consumer: str, idle_s: float) -> None:
        dues = await self._dues() if self.ordered else {}
        after = "-"
        while True:
            known = cursor.asking()
            try:
                reply = await self.link.call_script(
                    RECLAIM,
                    (cursor.stream, self.keys.crashes(self.key)),
                    cursor.group,
                    self.worker,
                    consumer,
                    int(idle_s * 1000),
                    after,
                    RECLAIM_MAX,
                )
            except StoreFault as fault:
                if cursor.shard == AGAIN and "NOGROUP" in str(fault):
                    return  # nothing was ever redriven
                raise
            finally:
                cursor.told()
            found, gone, last = reply
            self.lost(gone)
            known.update(cursor.mine)
            for id_, attempt, fields, ends in found:
                if id_ not in known:
                    self._recovered(cursor, id_, attempt, fields, ends, dues)
            if not last or (not self.ordered and len(cursor.backlog) >= RECLAIM_MAX):
                return
            after = f"({last.decode()}"

    def _recovered(
        self, cursor: Cursor, id_: bytes, attempt: int, fields: list[bytes], ends: int, dues: dict[bytes, float]
    ) -> None:
        try:
            record = unflatten(fields, int(id_.partition(b"-")[0]) / 1000)
        except ValueError:
            self.lost(1)
            self.link.send("XACK", cursor.stream, cursor.group, id_, then=_wrote)
            return
        handed = Handed(cursor, id_, record, _origin(fields), max(1, attempt))
        if (noted := f"{cursor.shard}/{id_.decode()}".encode()) in dues:
            handed.noted, handed.due_at = noted, dues[noted]
        elif self.ordered:
            handed.due_at = record.not_before
        if ends >= ENDS_MAX:
            cursor.out[id_] = handed
            message = f"{ends} processes ended while they delivered it"
            self.park(handed, Failure(reason="exhausted", message=message, attempts=attempt, at=self.clock.wall()))
            return
        cursor.backlog.append(handed)

    async def _dues(self) -> dict[bytes, float]:
        reply = await self.link.call("ZRANGE", self.keys.retry(self.key), 0, -1, "WITHSCORES")
        assert isinstance(reply, list)
        words = [word for word in reply if isinstance(word, bytes)]
        return {member: float(score) / 1000 for member, score in zip(words[::2], words[1::2], strict=True)}

    # ---- redeliveries ----

    def take_due(self, at_ms: int = 0) -> None:
        """Take what is due now. at_ms: our timer was set for it, whatever the wall clock says by now."""
        self._due_ms = max(self._due_ms, at_ms, int(self.clock.wall() * 1000))
        room = self.room()
        if self._taking or self.closed or room <= 0 or not self.link.up:
            return  # `_pull` and the next pulse come back to it
        self._taking = True
        due_ms, self._due_ms = self._due_ms, 0
        limit = min(room, TAKE_MAX)
        self.reserved += limit

        def then(reply: Reply, fault: StoreFault | None) -> None:
            self._taking = False
            self.reserved -= limit
            if fault is None and not self.closed:
                self._took(reply, limit)
                self.more()

        self.link.run(
            TAKE_DUE,
            (
                self.keys.retry(self.key),
                self.keys.kept,
                self.keys.due,
                *(self.keys.stream(shard, self.key) for shard in (AGAIN, *range(self.log.shards))),
            ),
            self.cursors[0].group,
            self.key,
            self.worker,
            due_ms,
            limit,
            then=then,
        )

    def _took(self, reply: Reply, limit: int) -> None:
        assert isinstance(reply, list)
        found, gone, left, next_ms = reply
        assert isinstance(found, list)
        assert isinstance(left, int)
        self.scheduled = left
        self.lost(int(gone))
        batch: list[Delivery] = []
        for member, fields in found:
            where, _, attempt = member.partition(b" ")
            shard, _, id_ = where.partition(b"/")
            cursor = self.cursors[int(shard)]  # AGAIN is the last
            record = unflatten(fields, int(id_.partition(b"-")[0]) / 1000)
            handed = Handed(cursor, id_, record, _origin(fields), int(attempt))
            cursor.out[id_] = handed
            batch.append(handed)
        if batch:
            self.consumer.deliver(batch)
        if len(batch) >= limit:
            self.take_due()
        elif next_ms:
            due_ms = int(float(next_ms))
            self._wake_in(max(0.0, due_ms / 1000 - self.clock.wall()), due_ms)

    def _wake_in(self, seconds: float, due_ms: int) -> None:
        at = self._loop.time() + seconds
        if at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._woken, due_ms)

    def _woken(self, due_ms: int) -> None:
        self._timer, self._timer_at = None, math.inf
        self.take_due(due_ms)


def _origin(fields: Sequence[bytes]) -> str:
    return fields[fields.index(b"l_pos") + 1].decode() if b"l_pos" in fields else ""


def _wrote(reply: Reply, fault: StoreFault | None) -> None:
    if fault is not None and not isinstance(fault, StoreUnavailable):
        log.warning("redis_write_refused error=%s", fault)
