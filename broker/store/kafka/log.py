"""One broker in one process: appends to its topic, the triggers that read it, questions of people.

Path: ingress.py → [log] → append.py; dispatcher.py ↔ read.py.

Source: spec/eventing.md §11.7, §28; store/contract.py.
"""

import asyncio
import logging
import uuid
from collections.abc import Sequence

from aiokafka.partitioner import murmur2

from broker.store.contract import Consumer, Done, Kept, LogSettings, Record, Start, Stored
from broker.store.kafka.append import Appender, Lane
from broker.store.kafka.cluster import Cluster
from broker.store.kafka.commit import Commit, uid_of
from broker.store.kafka.kept import Kept as KeptTopic
from broker.store.kafka.look import FIND_RECORDS_MAX, Look
from broker.store.kafka.meters import KafkaMeters
from broker.store.kafka.names import Topic
from broker.store.kafka.partition import Partition
from broker.store.kafka.read import KafkaSubscription
from broker.store.kafka.records import encode
from broker.store.kafka.tail import Tail
from dataplane.clock import Clock
from dataplane.errors import EventTooLarge, StoreFault, StoreUnavailable
from dataplane.net.tasks import Tasks

REFRESH_S = 30.0  # how soon partitions that were added are written to
COMMIT_EVERY_S = 0.01
COMMITS_PER_S = 200.0  # of all triggers of a process together
KEYS_MAX = 4096  # remembered hashes

log = logging.getLogger(__name__)


class House:
    """What all subscriptions of a process share. instance: as in store.py."""

    def __init__(self, *, instance: str = "", session_ms: int = 10_000) -> None:
        self.instance = instance
        self.session_ms = session_ms
        self.subscriptions: set[KafkaSubscription] = set()


class KafkaLog:
    def __init__(
        self,
        topic: Topic,
        settings: LogSettings,
        cluster: Cluster,
        appender: Appender,
        clock: Clock,
        meters: KafkaMeters,
        house: House,
    ) -> None:
        self.topic = topic
        self.settings = settings
        self.cluster = cluster
        self.clock = clock
        self.meters = meters
        self.writer = uuid.uuid4().hex[:8]
        self.look = Look(cluster, topic.name, lambda: range(len(self._lanes)))
        self.kept = KeptTopic(cluster, appender, topic.kept, clock)
        self.begins: dict[int, int] = {}
        self.ends: dict[int, int] = {}  # as far as known
        self.tail = Tail(cluster, topic.name, self.ends, meters.discarded.cell(topic.broker, ""))
        self._appender = appender
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks(f"kafka-log {topic.broker}")
        self.house = house
        self._subscriptions: dict[str, KafkaSubscription] = {}
        self._lanes: list[Lane] = []
        self._keyless: Lane | None = None
        self._message_bytes_max = 0
        self._hashes: dict[bytes, int] = {}
        self._bytes = 0
        self._seen: dict[tuple[str, str], float] = {}
        self._closed = False

    async def start(self, message_bytes_max: int) -> None:
        """Raises BadPosition."""
        self._message_bytes_max = message_bytes_max
        self._keyless = self._appender.lane(self.topic.name, None, message_bytes_max)
        self._keyless.acked = self._acked
        await self._refresh()
        await self.kept.start()
        if self.settings.dedup_window_s:
            await self._remember()
        self.tail.start()
        self._tasks.spawn(self._keep_fresh(), "refresh")

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self._refresh()
            except StoreFault as fault:
                log.info("topic_not_refreshed topic=%s error=%s", self.topic.name, fault)

    async def _refresh(self) -> None:
        numbers = await self.cluster.partitions(self.topic.name)
        if not numbers:
            raise StoreFault(f"there is no topic {self.topic.name} at {self.topic.bootstrap}")
        self.begins, ends, _ = await self.cluster.edges(self.topic.name, numbers)
        for number, end in ends.items():
            self.ends[number] = max(end, self.ends.get(number, 0))
        while len(self._lanes) < len(numbers):
            lane = self._appender.lane(self.topic.name, len(self._lanes), self._message_bytes_max)
            lane.acked = self._acked
            self._lanes.append(lane)
        assert self._keyless is not None
        self._keyless.partitions = len(self._lanes)

    def _acked(self, partition: int, end: int) -> None:
        if end > self.ends.get(partition, 0):
            self.ends[partition] = end

    # ---- EventLog ----

    def append(self, batch: Sequence[Record], done: Done) -> None:
        if self.settings.dedup_window_s:
            batch, done = self._unseen(batch, done)
        encoded = [encode(record) for record in batch]
        size_bytes = 0
        fault: StoreFault | None = None
        for one in encoded:
            size = one.size_bytes
            size_bytes += size
            if size > self._message_bytes_max:
                fault = EventTooLarge(
                    f"an event of {size} bytes; the topic {self.topic.name} takes {self._message_bytes_max}"
                )
        if fault is None:
            fault = StoreUnavailable("the log is closed") if self._closed else self._appender.refusal(size_bytes)
        if fault is not None or not encoded:
            self._loop.call_soon(done, fault)
            return
        self._bytes += size_bytes
        if len(encoded) == 1:
            self._lane(encoded[0].key).add(encoded[0], done)
            return
        together = _together(len(encoded), done)
        for one in encoded:
            self._lane(one.key).add(one, together)

    def _lane(self, key: bytes | None) -> Lane:
        """As Kafka's own clients: murmur2 of the key; without a key the partition of the batch."""
        lanes = self._lanes
        if key is None:
            if not self.topic.keyless_in_order:
                assert self._keyless is not None
                return self._keyless
            return lanes[0]
        hash_ = self._hashes.get(key)
        if hash_ is None:
            hash_ = murmur2(key) & 0x7FFFFFFF
            if len(self._hashes) >= KEYS_MAX:
                self._hashes.clear()
            self._hashes[key] = hash_
        return lanes[hash_ % len(lanes)]

    async def _remember(self) -> None:
        """What was appended within the window before this process came."""
        since = Start("time", self.clock.wall() - self.settings.dedup_window_s)
        for one in await self.read(since, limit=FIND_RECORDS_MAX):
            event = one.record.event
            self._seen[event.source, event.id] = one.record.arrived_at

    def _unseen(self, batch: Sequence[Record], done: Done) -> tuple[Sequence[Record], Done]:
        """Without what this process saw within the window. An append that fails is forgotten again."""
        now = self.clock.wall()
        seen = self._seen
        while seen and next(iter(seen.values())) < now - self.settings.dedup_window_s:
            del seen[next(iter(seen))]
        fresh: dict[tuple[str, str], Record] = {}
        for record in batch:
            key = (record.event.source, record.event.id)
            if key in seen or key in fresh:
                self.meters.duplicates.cell(self.topic.broker).v += 1
            else:
                fresh[key] = record
        for key in fresh:
            seen[key] = now

        def answered(fault: StoreFault | None) -> None:
            if fault is not None:
                for key in fresh:
                    seen.pop(key, None)
            done(fault)

        return list(fresh.values()), answered

    async def subscribe(self, consumer: Consumer, start: Start) -> KafkaSubscription:
        if self._closed:
            raise StoreUnavailable(f"broker {self.topic.broker} is closed")
        before = self._subscriptions.pop(consumer.key, None)
        if before is not None:
            await before.close()
        group = self.topic.group_of(consumer.name)
        committed = await self.cluster.committed(group, self.topic.name)
        numbers = range(len(self._lanes))
        mine = {number: at for number, at in committed.items() if uid_of(at.metadata) in ("", consumer.key)}
        missing = [number for number in numbers if number not in mine]
        if missing:
            # Progress on some partitions only: the others were added, and are read from their beginning.
            offsets = (
                await self.look.locate(start) if not mine else (await self.cluster.edges(self.topic.name, missing))[0]
            )
            first = {number: Partition(number, offsets[number]).commit(consumer.key, self.writer) for number in missing}
            await self._commit_first(group, first)
        subscription = KafkaSubscription(self, consumer, group)
        self._subscriptions[consumer.key] = subscription
        self.house.subscriptions.add(subscription)
        self.kept.follow(consumer.key, subscription)
        subscription.start()
        return subscription

    async def _commit_first(self, group: str, commits: dict[int, Commit]) -> None:
        for pause_s in (0.1, 0.5, 1.0, 0.0):
            try:
                await self.cluster.commit(group, self.topic.name, commits)
                return
            except StoreFault:
                # The group has a member: another process came first, or one of a former trigger is about to leave.
                if not pause_s:
                    raise
                now = await self.cluster.committed(group, self.topic.name)
                if all(n in now and uid_of(now[n].metadata) == uid_of(at.metadata) for n, at in commits.items()):
                    return
            await asyncio.sleep(pause_s)

    async def forget(self, trigger: str) -> None:
        subscription = self._subscriptions.get(trigger)
        groups = [subscription.group] if subscription is not None else await self._groups_of(trigger)
        if subscription is not None:
            await subscription.close()
        for group in groups:
            await self.cluster.delete_group(group)
        await self.kept.forget(trigger)

    async def _groups_of(self, trigger: str) -> list[str]:
        found: list[str] = []
        for group in await self._groups():
            commits = await self.cluster.committed(group, self.topic.name)
            if any(uid_of(at.metadata) == trigger for at in commits.values()):
                found.append(group)
        return found

    async def _groups(self) -> list[str]:
        """Of this broker's triggers, as far as their names tell."""
        namespace = self.topic.broker.partition("/")[0]
        prefix = self.topic.group_of(f"{namespace}/")
        return [group for group in await self.cluster.groups() if group.startswith(prefix)]

    async def read(self, start: Start, *, limit: int = 100) -> list[Stored]:
        return await self.look.read(start, limit)

    async def find(self, id: str, *, source: str = "", limit: int = 10) -> list[Stored]:
        return await self.look.find(id, source, limit)

    def size(self) -> tuple[int, int]:
        """Bytes: what this process appended."""
        return sum(max(0, end - self.begins.get(number, 0)) for number, end in self.ends.items()), self._bytes

    def shown(self) -> dict[str, str]:
        return {"default.topic": self.topic.name}

    # ---- for subscriptions ----

    def commit_every_s(self) -> float:
        """The more triggers a process serves, the rarer each commits: coordinators have other work too."""
        return max(COMMIT_EVERY_S, len(self.house.subscriptions) / COMMITS_PER_S)

    def left(self, subscription: KafkaSubscription) -> None:
        self.house.subscriptions.discard(subscription)
        if self._subscriptions.get(subscription.consumer.key) is subscription:
            del self._subscriptions[subscription.consumer.key]
            self.kept.unfollow(subscription.consumer.key)

    def bound_letters(self, consumer: Consumer, kept: Kept) -> None:
        """The oldest beyond the bound go, counted."""
        bound = self.settings.parked_max if kept == "parked" else self.settings.dead_lettered_max
        for entry in self.kept.beyond(consumer.key, kept, bound):
            self.meters.letters_dropped(self.topic.broker, consumer.name, 1)
            self.kept.drop(consumer.key, entry.key, _logged)

    async def groups(self) -> list[str]:
        """Consumer groups that have read this broker's topic and no other broker's."""
        ours = {self.topic.name, self.topic.kept}
        return [
            group for group in await self._groups() if (found := await self.cluster.topics_of(group)) and found <= ours
        ]

    async def close(self, *, leave: bool = True) -> None:
        """leave: as of subscriptions."""
        self._closed = True
        await asyncio.gather(*(one.close(leave=leave) for one in list(self._subscriptions.values())))
        await self._tasks.close()
        await self.tail.close()
        await self.kept.close()


def _together(count: int, done: Done) -> Done:
    """One answer for several records; the first fault is the answer of all."""
    left = count
    first: StoreFault | None = None

    def one(fault: StoreFault | None) -> None:
        nonlocal left, first
        left -= 1
        first = first or fault
        if not left:
            done(first)

    return one


def _logged(fault: StoreFault | None) -> None:
    if fault is not None:
        log.warning("letter_not_dropped error=%s", fault)
