"""One broker in Redis: appends, and the triggers of this process.

Path: ingress.py → [log] → link.py → Redis; tail.py → [log] → cursor.py.

Source: spec/eventing.md §27; broker/store/contract.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING

from broker.matching import Index
from broker.store.contract import Consumer, Done, LogSettings, Record, Start, Stored
from broker.store.redis.connect import Argument, Reply, pack
from broker.store.redis.flat import flatten
from broker.store.redis.keys import AGAIN, Keys, group, shard_of
from broker.store.redis.link import Operation
from broker.store.redis.look import Look
from broker.store.redis.pulse import Pulse
from broker.store.redis.scripts import APPEND_ONCE, FORGET
from broker.store.redis.subscription import RedisSubscription
from broker.store.redis.tail import Entry, Tail
from dataplane.errors import StoreFault, StoreFull
from dataplane.net.tasks import Tasks

if TYPE_CHECKING:
    from broker.store.redis.cursor import Cursor
    from broker.store.redis.store import RedisStore

log = logging.getLogger(__name__)

BUFFERED_BYTES = 32 * 1024 * 1024


class RedisLog:
    """shards: as the broker was made; a stored number wins over the configured one."""

    def __init__(self, store: RedisStore, broker: str, settings: LogSettings, shards: int) -> None:
        self.broker = broker
        self.settings = settings
        self.shards = shards
        self.keys = Keys(broker)
        self.streams = [self.keys.stream(shard) for shard in range(shards)]
        self.link = store.link
        self.clock = store.clock
        self.worker = store.worker
        self.meters = store.meters
        self.lease_s = store.lease_s
        self.subscriptions: dict[str, RedisSubscription] = {}
        self.look = Look(store.link, self.streams)
        self.pulse = Pulse(self)
        self._store = store
        self._tasks: Tasks = store.tasks
        self._index: Index[RedisSubscription] = Index()
        self._tails = [
            Tail(url=store.url, stream=self.streams[shard], stalled_s=store.stalled_s, took=self._taker(shard))
            for shard in range(shards)
        ]
        self._running: list[asyncio.Task[None]] = []
        self._looking: set[str] = set()
        self._next_shard = 0
        self.buffered = 0  # bytes that matched and wait for room, of all triggers

    # ---- ingress → us ----

    def append(self, batch: Sequence[Record], done: Done) -> None:
        if not batch:
            asyncio.get_running_loop().call_soon(done, None)
            return
        if len(batch) == 1 and not self.settings.dedup_window_s:
            record = batch[0]
            shard = self._shard(record)
            packed = pack("XADD", self.streams[shard], "*", *flatten(record))
            if not self._fits(len(packed), done):
                return

            def then(reply: Reply, fault: StoreFault | None) -> None:
                if fault is None:
                    self.pulse.appended[shard] = reply
                done(fault)

            self.link.put(Operation(packed, then, appends=True))
        else:
            self._transaction(batch, (), done)

    def append_and(self, reply: Record, command: tuple[Argument, ...], done: Done) -> None:
        """In one transaction (spec §27.10)."""
        self._transaction((reply,), (command,), done)

    def _transaction(self, batch: Sequence[Record], commands: Sequence[tuple[Argument, ...]], done: Done) -> None:
        packed = [pack("MULTI"), *(self._append_command(record) for record in batch)]
        packed += [pack(*command) for command in commands]
        packed.append(pack("EXEC"))
        if not self._fits(sum(map(len, packed)), done):
            return

        def then(reply: Reply, fault: StoreFault | None) -> None:
            if fault is None:
                refused = [answer for answer in reply if isinstance(answer, Exception)]
                if refused:
                    fault = StoreFault(f"Redis: {refused[0]}")
                elif self.settings.dedup_window_s:
                    self.meters.duplicates.cell(self.broker).v += reply.count(b"")
                elif self.shards == 1:
                    self.pulse.appended[0] = reply[len(batch) - 1]
            done(fault)

        self.link.put(Operation(b"".join(packed), then, replies=len(packed), appends=True))

    def _append_command(self, record: Record) -> bytes:
        stream, window_s = self.streams[self._shard(record)], self.settings.dedup_window_s
        if not window_s:
            return pack("XADD", stream, "*", *flatten(record))
        seen = self.keys.seen(record.event.source, record.event.id)
        return pack("EVALSHA", APPEND_ONCE.sha, 2, stream, seen, max(1, int(window_s * 1000)), *flatten(record))

    def _shard(self, record: Record) -> int:
        if self.shards == 1:
            return 0
        key = record.event.attributes.get("partitionkey")
        if key is not None:
            return shard_of(key, self.shards)
        self._next_shard = (self._next_shard + 1) % self.shards
        return self._next_shard

    def _fits(self, size: int, done: Done) -> bool:
        held, quota = self.pulse.size_bytes, self.settings.quota_bytes
        if quota and held + size > quota:
            fault = StoreFull(f"broker {self.broker} holds {held} bytes, its quota is {quota}")
            asyncio.get_running_loop().call_soon(done, fault)
            return False
        self.pulse.size_bytes += size  # until the next pulse knows better
        return True

    @property
    def is_full(self) -> bool:
        """Those without room forget what they read."""
        return self.buffered > BUFFERED_BYTES

    def size(self) -> tuple[int, int]:
        return self.pulse.records, self.pulse.size_bytes

    def shown(self) -> dict[str, str]:
        return {}

    # ---- triggers ----

    async def subscribe(self, consumer: Consumer, start: Start) -> RedisSubscription:
        subscription = RedisSubscription(self, consumer)
        await subscription.join(start)
        if not self._running:
            self._running = [self._tasks.spawn(tail.run(), f"tail.{self.broker}") for tail in self._tails]
        self.subscriptions[consumer.key] = subscription
        self.index(subscription)
        subscription.more()
        return subscription

    def index(self, subscription: RedisSubscription) -> None:
        self._index.add(subscription.key, subscription.consumer, subscription)

    def left(self, subscription: RedisSubscription) -> None:
        if self.subscriptions.get(subscription.key) is subscription:
            del self.subscriptions[subscription.key]
            self._index.remove(subscription.key)

    def tail(self, shard: int) -> Tail:
        return self._tails[shard]

    def added(self, shard: int, known: int) -> int:
        """How many entries were ever added to a shard; `known` where a cursor counted them itself."""
        return known if known >= 0 else self.pulse.added[shard]

    def behind(self, cursor: Cursor) -> int:
        """How many entries it has not looked at, as far as is known."""
        if cursor.following or cursor.shard == AGAIN:
            return 0
        if cursor.looked_count >= 0:
            return max(0, self.pulse.added[cursor.shard] - cursor.looked_count)
        return 0 if cursor.looked >= self.pulse.last[cursor.shard] else self.pulse.records

    def _taker(self, shard: int) -> Callable[[list[Entry]], None]:
        def took(entries: list[Entry]) -> None:
            match = self._index.match
            touched: dict[Cursor, None] = {}
            for entry in entries:
                if entry.record is None:
                    self.meters.lost.cell(self.broker, "").v += 1
                    continue
                for subscription in match(entry.record.event):
                    cursor = subscription.cursors[shard]
                    if cursor.following:
                        cursor.take(entry)
                        touched[cursor] = None
            for cursor in touched:
                cursor.subscription.more()

        return took

    async def forget(self, trigger: str) -> None:
        keys = self.keys
        await self.link.call_script(
            FORGET,
            (
                keys.heads,
                keys.passed,
                keys.due,
                keys.kept,
                keys.retry(trigger),
                keys.stream(AGAIN, trigger),
                keys.noted(trigger),
                keys.crashes(trigger),
                keys.letters(trigger, "parked"),
                keys.letters(trigger, "dead-lettered"),
                *self.streams,
            ),
            group(trigger),
            trigger,
        )

    # ---- people ----

    async def read(self, start: Start, *, limit: int = 100) -> list[Stored]:
        return await self.look.read(start, limit)

    async def find(self, id: str, *, source: str = "", limit: int = 10) -> list[Stored]:
        return await self.look.find(id, source, limit)

    # ---- store, pulse → us ----

    def came_up(self) -> None:
        self.pulse.beat(came_up=True)
        for subscription in self.subscriptions.values():
            self.look_again(subscription)

    def look_again(self, subscription: RedisSubscription) -> None:
        """Its groups may be gone, or somewhere else."""
        subscription.takeover.hold()
        if subscription.key not in self._looking:
            self._looking.add(subscription.key)
            self._tasks.spawn(self._look_again(subscription), f"again.{subscription.key}")

    async def _look_again(self, subscription: RedisSubscription) -> None:
        try:
            while not subscription.closed and self.link.up:
                try:
                    await subscription.again()
                    return
                except StoreFault as fault:
                    log.warning("redis_look_again trigger=%s error=%s", subscription.name, fault)
                    await asyncio.sleep(0.5)
        finally:
            self._looking.discard(subscription.key)

    def once(self, name: str, work: Coroutine[object, object, None]) -> None:
        self._store.once(f"{name}.{self.broker}", work)

    async def close(self) -> None:
        for subscription in list(self.subscriptions.values()):
            await subscription.close()
        for task in self._running:
            task.cancel()
        if self.link.up:
            self.link.send("HDEL", self.keys.workers, self.worker, then=_ignore)


def _ignore(reply: Reply, fault: StoreFault | None) -> None:
    pass
