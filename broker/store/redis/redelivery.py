"""The scheduled redeliveries of one trigger: a sorted set in Redis that every process takes from.

Path: subscription.py → [redelivery] → link.py → Consumer.deliver.

What is given back leaves the pending list and waits by its due time, so it costs no memory here and survives us. Taking
it makes it pending for this worker again, with its attempt as the delivery count. One timer wakes us for the next one
we know of; the pulse tells of those that others scheduled.

Source: spec/eventing.md §27.8; reliability.md BR-24.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from broker.store.contract import Delivery
from broker.store.redis.connect import Reply
from broker.store.redis.flat import unflatten
from broker.store.redis.handed import Handed
from broker.store.redis.keys import AGAIN
from broker.store.redis.scripts import KEEP, LATER, TAKE_DUE
from dataplane.errors import StoreFault

if TYPE_CHECKING:
    from broker.store.redis.subscription import RedisSubscription

TAKE_MAX = 200


class Redelivery:
    """scheduled: how many wait, as far as this process knows."""

    def __init__(self, subscription: RedisSubscription) -> None:
        self._subscription = subscription
        self._retry = subscription.keys.retry(subscription.key)
        self._noted = subscription.keys.noted(subscription.key)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._taking = False
        self._due_ms = 0
        self.scheduled = 0

    @property
    def waits(self) -> bool:
        """Something may be due and was not asked for, or it is just being taken."""
        return self._due_ms > 0 or self._taking

    def put(self, handed: Handed, due_at: float, attempt: int) -> None:
        subscription, cursor, entry = self._subscription, handed.cursor, handed.entry.decode()
        due_ms = int(due_at * 1000)
        self.scheduled += 1
        subscription.link.run(
            LATER,
            (cursor.stream, self._retry, subscription.keys.kept, subscription.keys.due),
            cursor.group,
            entry,
            f"{cursor.shard}/{entry} {attempt}",
            due_ms,
            subscription.key,
            then=subscription.wrote,
            repeat=True,
        )
        self._wake_in(due_at - subscription.clock.wall(), due_ms)

    def note(self, handed: Handed, due_at: float, attempt: int) -> None:
        """An ordered consumer keeps it: it stays pending, and is written down for whoever comes after us."""
        subscription, cursor, entry = self._subscription, handed.cursor, handed.entry.decode()
        handed.attempt, handed.due_at = attempt, due_at
        handed.noted = f"{cursor.shard}/{entry}".encode()
        subscription.link.run(
            KEEP,
            (cursor.stream, self._noted, cursor.lease),
            cursor.group,
            entry,
            handed.noted,
            int(due_at * 1000),
            subscription.worker,
            attempt,
            cursor.fence,
            then=subscription.wrote,
            repeat=True,
        )

    async def noted(self) -> dict[bytes, float]:
        """When those are due that an ordered consumer kept; wall seconds."""
        reply = await self._subscription.link.call("ZRANGE", self._noted, 0, -1, "WITHSCORES")
        return {member: float(score) / 1000 for member, score in zip(reply[::2], reply[1::2], strict=True)}

    def look(self, at_ms: int = 0) -> None:
        """Something may be due. at_ms: our timer was set for it, whatever the wall clock says by now."""
        self._due_ms = max(self._due_ms, at_ms, int(self._subscription.clock.wall() * 1000))
        self._subscription.more()

    def take(self) -> bool:
        """Take what is due, as far as there is room. Whether it was asked for."""
        subscription = self._subscription
        if not self._due_ms or self._taking or subscription.closed or not subscription.link.up:
            return False
        room = subscription.room()
        mine = [str(cursor.shard) for cursor in subscription.cursors if cursor.may()]
        if room <= 0 or not mine:
            return False  # whoever makes room, and the next pulse, come back to it
        self._taking = True
        due_ms, self._due_ms = self._due_ms, 0
        limit = min(room, TAKE_MAX)
        subscription.reserved += limit

        def then(reply: Reply, fault: StoreFault | None) -> None:
            self._taking = False
            subscription.reserved -= limit
            if fault is None and not subscription.closed:
                self._took(reply, limit, due_ms)
                subscription.more()

        shards = (AGAIN, *range(subscription.log.shards))
        subscription.link.run(
            TAKE_DUE,
            (
                self._retry,
                subscription.keys.kept,
                subscription.keys.due,
                *(subscription.keys.stream(shard, subscription.key) for shard in shards),
            ),
            subscription.group,
            subscription.key,
            subscription.worker,
            due_ms,
            limit,
            f" {' '.join(mine)} ",
            then=then,
        )
        return True

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _took(self, reply: Reply, limit: int, asked_ms: int) -> None:
        found, gone, self.scheduled, next_ms = reply
        self._subscription.lost(gone)
        room = self._subscription.room()
        batch: list[Delivery] = []
        for member, fields in found:
            where, _, attempt = member.partition(b" ")
            shard, _, entry = where.partition(b"/")
            cursor = self._subscription.cursors[int(shard)]  # AGAIN is the last
            handed = Handed(cursor, entry, unflatten(fields, entry), fields, int(attempt))
            if len(batch) < room:
                cursor.out[entry] = handed
                batch.append(handed)
            else:
                cursor.backlog.append(handed)
        if batch:
            self._subscription.consumer.deliver(batch)
        if len(found) >= limit:
            self.look()
        elif next_ms and (due_ms := int(float(next_ms))) > asked_ms:  # else it is another process's: see the pulse
            self._wake_in(due_ms / 1000 - self._subscription.clock.wall(), due_ms)

    def _wake_in(self, seconds: float, due_ms: int) -> None:
        at = self._loop.time() + max(0.0, seconds)
        if at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._woken, due_ms)

    def _woken(self, due_ms: int) -> None:
        self._timer, self._timer_at = None, math.inf
        self.look(due_ms)
