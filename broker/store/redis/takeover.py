"""What other processes left pending, and whose turn it is with an ordered trigger.

Path: pulse.py → [takeover] → cursor.py's backlog.

A process touches what it holds every third of `lease_s`; what nobody has touched for that long is anybody's. An ordered
trigger has a lease per shard with a fencing token instead: its scripts refuse whoever does not hold it any more, and
who gets it takes over everything that is pending, in log order, before it looks at anything new.

A process counts its lease from when it asked for it, and as a tenth shorter than it is: when it is over the consumer is
told to let go of what it has not begun (`Consumer.revoked`). Whoever renews it after that, even if nobody else had it
meanwhile, reads what was let go again before anything else is handed over.

Source: spec/eventing.md §27.5, §27.7, §27.9; reliability.md BR-18.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from broker.store.contract import Failure
from broker.store.redis.cursor import Cursor
from broker.store.redis.faults import GroupLost
from broker.store.redis.flat import unflatten
from broker.store.redis.handed import Handed
from broker.store.redis.keys import AGAIN
from broker.store.redis.scripts import LEASE, RECLAIM

if TYPE_CHECKING:
    from broker.store.redis.subscription import RedisSubscription

log = logging.getLogger(__name__)

STEP = 100  # entries per script, and about how many an unordered trigger takes over before it has handed them on
TOUCH_STEP = 500
SURE = 0.9  # of a lease: clocks do not run alike, and an attempt takes a moment to begin
ENDS_MAX = 10  # workers that may die with an entry before it is parked


class Takeover:
    """Of one trigger."""

    def __init__(self, subscription: RedisSubscription) -> None:
        self._subscription = subscription
        self._crashes = subscription.keys.crashes(subscription.key)
        self._one = asyncio.Lock()
        self._owning = asyncio.Lock()

    # ---- leases ----

    async def own(self, cursor: Cursor, dead: Sequence[str] = ()) -> None:
        """Make sure that this cursor may work, or try to; what a dead worker holds is free. Raises StoreFault."""
        async with self._owning:
            await self._own(cursor, dead)

    async def _own(self, cursor: Cursor, dead: Sequence[str]) -> None:
        subscription = self._subscription
        if not subscription.ordered:
            cursor.owner = True
            return
        asked, lease_s = subscription.now(), subscription.log.lease_s
        reply = await subscription.link.call_script(
            LEASE, (cursor.lease, subscription.keys.meta), subscription.worker, int(lease_s * 1000), *dead
        )
        if reply[0] != 1:
            if cursor.owner:
                self.lost(cursor)
            return
        fence, until = reply[1].decode(), asked + lease_s * SURE
        if cursor.owner and fence == cursor.fence:
            cursor.owner_until = until
            return
        if fence != cursor.fence:
            cursor.owner_until = 0.0
            if cursor.fence:
                self._revoke()
            cursor.out.clear()  # of an ownership that ended: it comes again
        cursor.backlog.clear()  # what was let go may lie before it
        cursor.fence, cursor.short = fence, False
        await subscription.find(cursor)
        await self.pending(cursor, "", 0)
        if cursor.short:
            return  # the consumer let go of something meanwhile: once more, at the next pulse
        cursor.owner, cursor.owner_until = True, until
        subscription.more()

    async def keep(self, dead: Sequence[str] = ()) -> None:
        """Renew what is ours, try for what is not."""
        subscription = self._subscription
        for cursor in subscription.cursors:
            left_s = cursor.owner_until - subscription.now()
            if not cursor.owner or left_s < subscription.log.lease_s * (SURE - 1 / 3):
                await self.own(cursor, dead)

    def lost(self, cursor: Cursor) -> None:
        """Another process may deliver now. What the consumer has may still be settled; nothing more is handed over."""
        cursor.stop()
        cursor.owner_until = 0.0
        log.warning("redis_lease_lost trigger=%s shard=%d", self._subscription.name, cursor.shard)
        self._revoke()

    def _revoke(self) -> None:
        asyncio.get_running_loop().call_soon(self._subscription.consumer.revoked)

    def hold(self) -> None:
        """An ordered trigger hands over nothing new before it knows what is pending: order is at stake."""
        if self._subscription.ordered:
            for cursor in self._subscription.cursors:
                cursor.owner = False

    # ---- pending ----

    def touch(self) -> None:
        """Say that what is pending for us is being worked on."""
        subscription = self._subscription
        for cursor in subscription.cursors:
            if subscription.ordered and not cursor.owner:
                continue  # whoever has the lease looks after it
            mine = cursor.mine
            for i in range(0, len(mine), TOUCH_STEP):
                some = mine[i : i + TOUCH_STEP]
                subscription.link.send(
                    "XCLAIM",
                    cursor.stream,
                    cursor.group,
                    subscription.worker,
                    0,
                    *some,
                    "JUSTID",
                    then=subscription.wrote,
                )

    async def reclaim(self, worker: str = "", idle_s: float = 0.0) -> None:
        """Take what nobody has touched for so long, or what one worker had. Raises StoreFault."""
        for cursor in self._subscription.cursors:
            if cursor.owner:
                await self.pending(cursor, worker, idle_s)
        self._subscription.more()

    async def pending(self, cursor: Cursor, worker: str, idle_s: float) -> None:
        """Pending entries into the backlog, in log order. An ordered trigger gets all of them: order is at stake."""
        async with self._one:
            await self._pending(cursor, worker, idle_s)

    async def _pending(self, cursor: Cursor, worker: str, idle_s: float) -> None:
        subscription = self._subscription
        dues = await subscription.redelivery.noted() if subscription.ordered else {}
        after = "-"
        while True:
            if not subscription.ordered and len(cursor.backlog) >= STEP:
                return  # the next pulse goes on
            known = cursor.asking()
            try:
                found, gone, last = await subscription.link.call_script(
                    RECLAIM,
                    (cursor.stream, self._crashes),
                    cursor.group,
                    subscription.worker,
                    worker,
                    int(idle_s * 1000),
                    after,
                    STEP,
                )
            except GroupLost:
                if cursor.shard == AGAIN:
                    return  # nothing was ever redriven
                raise
            finally:
                cursor.told()
            subscription.lost(gone)
            known.update(cursor.mine)
            for entry, attempt, fields, ends in found:
                if entry not in known:
                    self._take(cursor, entry, attempt, fields, ends, dues)
            if not last:
                return
            after = f"({last.decode()}"

    def _take(
        self, cursor: Cursor, entry: bytes, attempt: int, fields: Sequence[bytes], ends: int, dues: dict[bytes, float]
    ) -> None:
        subscription = self._subscription
        try:
            record = unflatten(fields, entry)
        except ValueError:
            subscription.lost(1)
            subscription.link.send("XACK", cursor.stream, cursor.group, entry, then=subscription.wrote)
            return
        handed = Handed(cursor, entry, record, fields, max(1, attempt))
        noted = f"{cursor.shard}/{entry.decode()}".encode()
        if noted in dues:
            handed.noted, handed.due_at = noted, dues[noted]
        elif subscription.ordered:
            handed.due_at = record.not_before
        if ends >= ENDS_MAX:
            cursor.out[entry] = handed
            message = f"{ends} processes ended while they delivered it"
            at = subscription.clock.wall()
            subscription.park(handed, Failure(reason="exhausted", message=message, attempts=attempt, at=at))
            return
        cursor.backlog.append(handed)
