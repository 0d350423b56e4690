"""One broker in Redis: appends, the triggers of this process, and what people ask.

Path: ingress.py → [log] → link.py → Redis; tail.py → [log] → cursor.py.

`pulse` is called about once a second and answers everything that must be noticed without being asked: is there less on
the streams than there was (possible loss), who died, is something due, may anything go.

Source: spec/eventing.md §27; reliability.md BR-18, BR-19.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING

from broker.matching import Index
from broker.store.contract import Consumer, Done, LogSettings, Record, Start, Stored
from broker.store.redis.connect import Argument, Reply, pack
from broker.store.redis.flat import flatten, unflatten
from broker.store.redis.keys import AGAIN, Keys, Place, entry_id, group, parse_position, place, position, shard_of
from broker.store.redis.link import Operation
from broker.store.redis.scripts import APPEND_ONCE, FORGET, PULSE, TRIM
from broker.store.redis.subscription import RedisSubscription
from broker.store.redis.tail import Entry, Tail
from broker.store.redis.workers import is_dead
from dataplane.errors import StoreFault, StoreFull
from dataplane.net.tasks import Tasks

if TYPE_CHECKING:
    from broker.store.redis.cursor import Cursor
    from broker.store.redis.store import RedisStore

log = logging.getLogger(__name__)

ADVANCE_PULSES = 5  # heads of triggers that match nothing are moved this often
TRIM_PULSES = 10
TRIM_ENTRIES_MAX = 10_000  # per shard and pass, for size; age has no such bound
FORGET_WORKER_S = 3600.0
FIND_STEP, FIND_STEPS = 500, 40


class RedisLog:
    """shards: as the broker was made; a stored number wins over the configured one."""

    def __init__(self, store: RedisStore, broker: str, settings: LogSettings, shards: int) -> None:
        self.broker = broker
        self.settings = settings
        self.shards = shards
        self.keys = Keys(broker)
        self.link = store.link
        self.clock = store.clock
        self.worker = store.worker
        self.meters = store.meters
        self.lease_s = store.lease_s
        self.subscriptions: dict[str, RedisSubscription] = {}
        self._store = store
        self._tasks: Tasks = store.tasks
        self._index: Index[RedisSubscription] = Index()
        self._streams = [self.keys.stream(shard) for shard in range(shards)]
        self._tails = [
            Tail(url=store.url, stream=self._streams[shard], stalled_s=store.stalled_s, took=self._taker(shard))
            for shard in range(shards)
        ]
        self._running: list[asyncio.Task[None]] = []
        self._looking: set[str] = set()
        self._next_shard = 0
        self._appended: list[bytes] = [b""] * shards  # the last id we were told
        self._last: list[Place] = [0] * shards  # the last id Redis had, at the last pulse
        self._added = [0] * shards
        self._records = self._bytes = 0
        self._pulses = 0
        self._bell: bytes | None = None
        self._reclaimed_at = 0.0

    # ---- ingress → us ----

    def append(self, batch: Sequence[Record], done: Done) -> None:
        if not batch:
            asyncio.get_running_loop().call_soon(done, None)
            return
        if len(batch) == 1 and not self.settings.dedup_window_s:
            record = batch[0]
            shard = self._shard(record)
            packed = pack("XADD", self._streams[shard], "*", *flatten(record))
            if not self._fits(len(packed), done):
                return

            def then(reply: Reply, fault: StoreFault | None) -> None:
                if fault is None:
                    self._appended[shard] = reply
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
            for answer in reply if isinstance(reply, list) else ():
                if isinstance(answer, Exception):
                    fault = StoreFault(f"Redis: {answer}")
            done(fault)

        self.link.put(Operation(b"".join(packed), then, replies=len(packed), appends=True))

    def _append_command(self, record: Record) -> bytes:
        stream, window_s = self._streams[self._shard(record)], self.settings.dedup_window_s
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
        quota = self.settings.quota_bytes
        if quota and self._bytes + size > quota:
            fault = StoreFull(f"broker {self.broker} holds {self._bytes} bytes, its quota is {quota}")
            asyncio.get_running_loop().call_soon(done, fault)
            return False
        self._bytes += size  # until the next pulse knows better
        return True

    def size(self) -> tuple[int, int]:
        return self._records, self._bytes

    # ---- triggers ----

    async def subscribe(self, consumer: Consumer, start: Start) -> RedisSubscription:
        subscription = RedisSubscription(self, consumer)
        await subscription.join(start)
        if not self._running:
            self._running = [self._tasks.spawn(tail.run(), f"tail.{self.broker}") for tail in self._tails]
        self.subscriptions[consumer.key] = subscription
        self.index(subscription)
        for cursor in subscription.cursors:
            if cursor.owner:
                cursor.pull()
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
        return known if known >= 0 else self._added[shard]

    def behind(self, cursor: Cursor) -> int:
        """How many entries it has not looked at, as far as is known."""
        if cursor.following or cursor.shard == AGAIN:
            return 0
        if cursor.looked_count >= 0:
            return max(0, self._added[cursor.shard] - cursor.looked_count)
        return 0 if cursor.looked >= self._last[cursor.shard] else self._records

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
                keys.meta,
                keys.bell,
                keys.due,
                keys.kept,
                keys.retry(trigger),
                keys.letters(trigger, "parked"),
                keys.letters(trigger, "dead-lettered"),
                keys.stream(AGAIN, trigger),
                *self._streams,
            ),
            group(trigger),
            trigger,
        )
        await self.link.call("DEL", keys.crashes(trigger))

    # ---- people ----

    async def read(self, start: Start, *, limit: int = 100) -> list[Stored]:
        found: list[tuple[Place, Stored]] = []
        for shard, stream in enumerate(self._streams):
            if start.at == "latest":
                reply = await self.link.call("XREVRANGE", stream, "+", "-", "COUNT", limit)
            else:
                reply = await self.link.call(
                    "XRANGE", stream, f"({await self.locate(start, shard)}", "+", "COUNT", limit
                )
            found += self._stored(shard, reply)
        found.sort(key=lambda pair: pair[0])
        stored = [one for _, one in found]
        return stored[-limit:] if start.at == "latest" else stored[:limit]

    async def find(self, id: str, *, source: str = "", limit: int = 10) -> list[Stored]:
        """Looks at the newest FIND_STEPS × FIND_STEP entries of each shard."""
        found: list[tuple[Place, Stored]] = []
        for shard, stream in enumerate(self._streams):
            upto, here = "+", 0
            for _ in range(FIND_STEPS):
                reply = await self.link.call("XREVRANGE", stream, upto, "-", "COUNT", FIND_STEP)
                assert isinstance(reply, list)
                wanted = [entry for entry in reply if id.encode() in entry[1]]
                for at, one in self._stored(shard, wanted):
                    event = one.record.event
                    if event.id == id and (not source or event.source == source):
                        found.append((at, one))
                        here += 1
                if len(reply) < FIND_STEP or here >= limit:
                    break
                upto = f"({reply[-1][0].decode()}"
        found.sort(key=lambda pair: pair[0], reverse=True)
        return [one for _, one in found[:limit]]

    def _stored(self, shard: int, reply: Reply) -> list[tuple[Place, Stored]]:
        assert isinstance(reply, list)
        out = []
        for id_, fields in reply:
            assert isinstance(id_, bytes)
            try:
                record = unflatten(fields, int(id_.partition(b"-")[0]) / 1000)
            except ValueError:
                continue
            out.append((place(id_), Stored(position(shard, id_), record)))
        return out

    async def locate(self, start: Start, shard: int) -> str:
        """The id before the first entry that is wanted. Raises StoreFault for what is no position."""
        if start.at == "earliest":
            return "0-0"
        if start.at == "time":
            at = max(0, int(start.time_s * 1000)) << 64
        elif start.at == "position":
            try:
                where, at = parse_position(start.position)
            except ValueError as error:
                raise StoreFault(str(error)) from None
            if where != shard:
                at = at >> 64 << 64
        else:
            reply = await self.link.call("XREVRANGE", self._streams[shard], "+", "-", "COUNT", 1)
            return reply[0][0].decode() if isinstance(reply, list) and reply else "0-0"
        return entry_id(max(0, at - 1))

    # ---- once a second ----

    def pulse(self) -> None:
        now_ms = int(self.clock.wall() * 1000)

        def then(reply: Reply, fault: StoreFault | None) -> None:
            if fault is None:
                self._pulsed(reply)

        self.link.run(
            PULSE,
            (self.keys.bell, self.keys.workers, self.keys.due, *self._streams),
            self.worker,
            now_ms,
            int(FORGET_WORKER_S * 1000),
            then=then,
        )

    def _pulsed(self, reply: Reply) -> None:
        assert isinstance(reply, list)
        bell, workers, due, shards = reply
        assert isinstance(workers, list)
        assert isinstance(due, list)
        assert isinstance(shards, list)
        self._pulses += 1
        self._measure(shards)
        now = asyncio.get_running_loop().time()
        subscriptions = list(self.subscriptions.values())
        for uid in due:
            if (subscription := self.subscriptions.get(uid.decode())) is not None:
                subscription.take_due()
        rang, self._bell = self._bell is not None and bell != self._bell, bell
        late = now - self._reclaimed_at > self.lease_s / 3
        if late:
            self._reclaimed_at = now
            for subscription in subscriptions:
                subscription.touch()
        dead = [name.decode() for name in workers[::2] if is_dead(name.decode())]
        if self._pulses % ADVANCE_PULSES == 0:
            for subscription in subscriptions:
                for cursor in subscription.cursors:
                    cursor.advance()
        if subscriptions and (rang or late or dead or any(s.ordered for s in subscriptions)):
            self._once("reclaim", self._look_around(rang or late, dead))
        most = self.settings.retention_bytes
        if self._pulses % TRIM_PULSES == 0 or (most and self._bytes > most):
            self._once("trim", self._trim())

    def _measure(self, shards: list[Reply]) -> None:
        records = size = 0
        for shard, found in enumerate(shards):
            last_id, length, added, held = found
            last = place(last_id)
            records += int(length)
            size += int(held)
            self._added[shard] = int(added)
            had = max(self._last[shard], place(self._appended[shard]) if self._appended[shard] else 0)
            self._appended[shard] = b""
            self._last[shard] = last
            if last < had:
                self._possible_loss(shard, had, last)
        self._records, self._bytes = records, size

    def _possible_loss(self, shard: int, had: Place, last: Place) -> None:
        self.meters.possible_loss.cell(self.broker).v += 1
        log.error(
            "redis_possible_loss broker=%s shard=%d had=%s has=%s run_id=%s",
            self.broker,
            shard,
            entry_id(had),
            entry_id(last),
            self.link.server.run_id,
        )
        for subscription in self.subscriptions.values():
            subscription.cursors[shard].unfollow()
            self.look_again(subscription)
        self._once("cut", self._tails[shard].cut())

    async def _look_around(self, reclaim: bool, dead: Sequence[str]) -> None:
        for subscription in list(self.subscriptions.values()):
            if subscription.closed:
                continue
            if subscription.ordered:
                await subscription.keep_leases()
            for worker in dead:
                await subscription.reclaim(worker)
            if reclaim:
                await subscription.reclaim(idle_s=self.lease_s)
                subscription.stir()
        if dead:
            await self.link.call("HDEL", self.keys.workers, *dead)

    async def _trim(self) -> None:
        settings = self.settings
        oldest = max(0, int((self.clock.wall() - settings.retention_s) * 1000)) if settings.retention_s else 0
        beyond = 0
        if settings.retention_bytes and self._bytes > settings.retention_bytes and self._records:
            share = (self._bytes - settings.retention_bytes) / self._bytes
            beyond = min(TRIM_ENTRIES_MAX, int(share * self._records / self.shards) + 1)
        for shard, stream in enumerate(self._streams):
            gone = await self.link.call_script(
                TRIM, (stream, self.keys.heads, self.keys.kept), shard, f"{oldest}-0", beyond
            )
            self.meters.trimmed.cell(self.broker).v += int(gone)

    def look_again(self, subscription: RedisSubscription) -> None:
        """Its groups may be gone, or somewhere else."""
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

    def came_up(self) -> None:
        self._bell = None
        for subscription in self.subscriptions.values():
            self.look_again(subscription)
        self.pulse()

    def _once(self, name: str, work: Coroutine[object, object, None]) -> None:
        self._store.once(f"{name}.{self.broker}", work)

    async def close(self) -> None:
        for subscription in list(self.subscriptions.values()):
            await subscription.close()
        for task in self._running:
            task.cancel()
