"""About once a second per broker: is there less than there was, who died, what is due, what may go?

Path: store.py → [pulse] → log.py's subscriptions, link.py.

One script asks Redis everything that must be noticed without an event. It tells of possible loss (the last id or the
count of entries went back: an older file, a failover, FLUSHALL), of workers whose process is dead, of triggers with
something due, of what other processes passed over, of a bell that others rang (they left or redrove letters), and how
large the streams are.

Source: reliability.md BR-18, BR-19; spec/eventing.md §27.2, §27.7.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING

from broker.store.redis.connect import Reply
from broker.store.redis.keys import Place, entry_id, place
from broker.store.redis.scripts import PULSE, TRIM
from broker.store.redis.workers import is_dead
from dataplane.errors import StoreFault

if TYPE_CHECKING:
    from broker.store.redis.log import RedisLog

log = logging.getLogger(__name__)

ADVANCE_PULSES = 5  # heads of triggers that match nothing are moved this often
TRIM_PULSES = 10
TRIM_ENTRIES_MAX = 10_000  # per shard and pass, for size; age has no such bound
FORGET_WORKER_S = 3600.0


class Pulse:
    """last, added: of each shard, the last id and how many entries were ever added. records, size: of all."""

    def __init__(self, owner: RedisLog) -> None:
        self._log = owner
        self._keys = (owner.keys.bell, owner.keys.workers, owner.keys.due, owner.keys.passed, *owner.streams)
        self._number = 0
        self._bell: bytes | None = None
        self._touched_at = 0.0
        self._forgotten: list[str] = []  # dead for longer than a lease
        self.appended: list[bytes] = [b""] * owner.shards  # the last id that was confirmed since the last pulse
        self.last: list[Place] = [0] * owner.shards
        self.added = [0] * owner.shards
        self.records = self.size_bytes = 0

    def beat(self, *, came_up: bool = False) -> None:
        if came_up:
            self._bell = None

        def then(reply: Reply, fault: StoreFault | None) -> None:
            if fault is None:
                self._answered(reply)

        owner = self._log
        now_ms, forget_ms = int(owner.clock.wall() * 1000), int(FORGET_WORKER_S * 1000)
        owner.link.run(PULSE, self._keys, owner.worker, now_ms, forget_ms, then=then)

    def _answered(self, reply: Reply) -> None:
        bell, workers, due, passed, shards = reply
        owner, now = self._log, asyncio.get_running_loop().time()
        self._number += 1
        self._measure(shards)
        for uid in due:
            if (waits := owner.subscriptions.get(uid.decode())) is not None:
                waits.redelivery.look()
        self._pass(dict(zip(passed[::2], passed[1::2], strict=True)))
        rang, self._bell = self._bell is not None and bell != self._bell, bell
        subscriptions = list(owner.subscriptions.values())
        late = now - self._touched_at > owner.lease_s / 3
        if late:
            self._touched_at = now
            for subscription in subscriptions:
                subscription.takeover.touch()
        if self._number % ADVANCE_PULSES == 0:
            for subscription in subscriptions:
                for cursor in subscription.cursors:
                    cursor.advance()
        dead = [name for name in map(bytes.decode, workers[::2]) if is_dead(name)]
        silent_ms = owner.clock.wall() * 1000 - owner.lease_s * 1000
        self._forgotten = [
            name.decode()
            for name, seen_ms in zip(workers[::2], workers[1::2], strict=True)
            if int(seen_ms) < silent_ms and name.decode() in dead
        ]
        if subscriptions and (rang or late or dead or any(one.ordered for one in subscriptions)):
            self._once("takeover", self._take_over(rang or late, dead))
        most = owner.settings.retention_bytes
        if self._number % TRIM_PULSES == 0 or (most and self.size_bytes > most):
            self._once("trim", self._trim())

    def _measure(self, shards: Sequence[Reply]) -> None:
        self.records = self.size_bytes = 0
        for shard, (last_id, length, added, held) in enumerate(shards):
            last = place(last_id)
            confirmed = self.appended[shard]
            had = max(self.last[shard], place(confirmed) if confirmed else 0)
            less = last < had or added < self.added[shard]
            self.last[shard], self.added[shard], self.appended[shard] = last, added, b""
            self.records += length
            self.size_bytes += held
            if less:
                self._possible_loss(shard, had, last)

    def _pass(self, passed: Mapping[bytes, bytes]) -> None:
        """Other processes of a trigger may have passed over something, or have come back to it."""
        for subscription in self._log.subscriptions.values():
            for cursor in subscription.cursors:
                if passed or cursor.passed.stretches:
                    cursor.passed.found(passed.get(cursor.field.encode(), b"").decode())

    def _possible_loss(self, shard: int, had: Place, last: Place) -> None:
        owner = self._log
        owner.meters.possible_loss.cell(owner.broker).v += 1
        log.error(
            "redis_possible_loss broker=%s shard=%d had=%s has=%s run_id=%s",
            owner.broker,
            shard,
            entry_id(had),
            entry_id(last),
            owner.link.server.run_id,
        )
        for subscription in owner.subscriptions.values():
            subscription.cursors[shard].unfollow()
            owner.look_again(subscription)
        self._once(f"cut.{shard}", owner.tail(shard).cut())

    async def _take_over(self, look: bool, dead: Sequence[str]) -> None:
        owner = self._log
        for subscription in list(owner.subscriptions.values()):
            if subscription.closed:
                continue
            if subscription.ordered:
                await subscription.takeover.keep(dead)
            for worker in dead:
                await subscription.takeover.reclaim(worker)
            if look:
                await subscription.takeover.reclaim(idle_s=owner.lease_s)
                subscription.stir()
        if self._forgotten:  # until then a trigger that subscribes may still find what they had
            await owner.link.call("HDEL", owner.keys.workers, *self._forgotten)

    async def _trim(self) -> None:
        owner, settings = self._log, self._log.settings
        oldest = max(0, int((owner.clock.wall() - settings.retention_s) * 1000)) if settings.retention_s else 0
        beyond = 0
        if settings.retention_bytes and self.size_bytes > settings.retention_bytes:
            share = 1 - settings.retention_bytes / self.size_bytes
            beyond = min(TRIM_ENTRIES_MAX, int(share * self.records / owner.shards) + 1)
        for shard, stream in enumerate(owner.streams):
            keys = (stream, owner.keys.heads, owner.keys.kept, owner.keys.passed)
            gone = await owner.link.call_script(TRIM, keys, shard, f"{oldest}-0", beyond)
            owner.meters.trimmed.cell(owner.broker).v += gone

    def _once(self, name: str, work: Coroutine[object, object, None]) -> None:
        self._log.once(name, work)
