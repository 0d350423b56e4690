"""What a broker's triggers keep beside its log: letters, and deliveries that are due much later; a compacted topic.

Path: read.py → [kept] → a topic of one partition → the index of every process that has the broker open.

A record of the topic is the event as any client reads it, plus the header `dataplane_kept`: whose it is, its state
(parked, dead-lettered, scheduled), why. Its key is the trigger and the position in the log: a newer state replaces the
older one, a null value ends it. A process reads the topic from its beginning and holds an index, never the events.

The group of each trigger is subscribed to this topic too: whoever owns its partition delivers what is scheduled.

Bound: the index is what `parked_max` and `dead_lettered_max` allow per trigger, about 200 bytes each.
Source: spec/eventing.md §9.8, §27.8, §28.7.
"""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from broker.store.contract import Done, Failure, Record
from broker.store.contract import Kept as LetterKind
from broker.store.kafka.append import Appender
from broker.store.kafka.cluster import ASK_TIMEOUT_S, Cluster, stop
from broker.store.kafka.records import Encoded, decode, encode, raw
from dataplane.clock import Clock
from dataplane.errors import BadEvent, StoreFault, StoreUnavailable
from dataplane.net.tasks import Tasks

State = Literal["parked", "dead-lettered", "scheduled"]

HEADER = "dataplane_kept"
NO_DATA = "dataplane_no_data"
SEEK = "seek"
RECENT = 10_000
RUN_GAP = 500  # offsets between two wanted ones that are cheaper to read than to seek over

log = logging.getLogger(__name__)


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The header. trigger: uid; name: namespace/name."""

    trigger: str
    name: str
    position: str
    state: State
    attempt: int = 1
    due_at: float = 0.0
    failure: Failure | None = None


class Entry(NamedTuple):
    """id: its offset in the topic. key: its position in the broker's log."""

    id: int
    key: str
    state: State
    attempt: int
    due_at: float


class Found(NamedTuple):
    entry: Entry
    note: Note
    record: Record


_Index = dict[State, dict[str, Entry]]  # of one trigger: by state, by key, oldest first


class Listener(Protocol):
    """The subscription of a trigger. Called as the topic is read."""

    def scheduled(self, entry: Entry) -> None:
        """By whichever process."""

    def moved(self, offsets: dict[int, int]) -> None:
        """A seek, by whichever process."""

    def more_letters(self, kept: LetterKind) -> None:
        """One that this process wrote can be listed now."""


class Kept:
    def __init__(self, cluster: Cluster, appender: Appender, topic: str, clock: Clock) -> None:
        self._clock = clock
        self._cluster = cluster
        self._lane = appender.lane(topic, 0)
        self._lane.acked = self._acked
        self._appender = appender
        self._tp = TopicPartition(topic, 0)
        self._tasks = Tasks("kafka-kept")
        self._triggers: dict[str, _Index] = {}
        self._listeners: dict[str, Listener] = {}
        self._unread: dict[tuple[str, str], State | None] = {}  # written by us and not read back yet
        self._writing = 0
        self._end = 0  # after what was acknowledged to us
        self._next = 0  # what is read next
        self._loaded = 0  # the topic's end when we opened it
        self._moved = asyncio.Event()
        self._fetching = asyncio.Lock()

    async def start(self) -> None:
        """Returns when the index holds everything. Raises StoreFault."""
        _, ends, _ = await self._cluster.edges(self._tp.topic, [0])
        self._loaded = self._end = ends[0]
        self._tasks.spawn(self._read(), "read")
        await self.caught_up()

    async def caught_up(self) -> None:
        """Returns when everything that was written here before has been read back. Raises StoreFault."""
        try:
            while self._writing or self._next < self._end:
                self._moved.clear()
                async with asyncio.timeout(ASK_TIMEOUT_S):  # without any progress
                    await self._moved.wait()
        except TimeoutError:
            raise StoreUnavailable(f"{self._tp.topic} cannot be read at {self._cluster.bootstrap}") from None

    # ---- the index ----

    def counts(self, trigger: str) -> tuple[int, int, int]:
        """(parked, dead-lettered, scheduled)."""
        states = self._trigger(trigger)
        number = {state: len(some) for state, some in states.items()}
        for (uid, key), becomes in self._unread.items():
            if uid == trigger:
                for state, some in states.items():
                    number[state] += (state == becomes) - (key in some)
        return number["parked"], number["dead-lettered"], number["scheduled"]

    def entry(self, trigger: str, key: str) -> Entry | None:
        for some in self._trigger(trigger).values():
            found = some.get(key)
            if found is not None:
                return found
        return None

    def beyond(self, trigger: str, state: State, bound: int) -> list[Entry]:
        """The oldest ones of a state that has more than `bound`."""
        some = self._trigger(trigger)[state]
        oldest = itertools.islice(some.values(), max(0, len(some) - bound))
        return [entry for entry in oldest if (trigger, entry.key) not in self._unread]  # not again

    def offsets(self, trigger: str) -> dict[int, set[int]]:
        """By partition: positions in the log that are settled because they stand here, of the newest RECENT entries;
        what is older the trigger has committed long since."""
        found: dict[int, set[int]] = {}
        for some in self._trigger(trigger).values():
            for key in itertools.islice(reversed(some), RECENT):
                number, _, offset = key.partition(":")
                found.setdefault(int(number), set()).add(int(offset))
        return found

    def entries(self, trigger: str, states: Iterable[State]) -> Iterator[Entry]:
        """Oldest first; to be used up before anything else happens."""
        return heapq.merge(*(self._trigger(trigger)[state].values() for state in states))

    def follow(self, trigger: str, listener: Listener) -> None:
        self._listeners[trigger] = listener

    def unfollow(self, trigger: str) -> None:
        self._listeners.pop(trigger, None)

    def _trigger(self, uid: str) -> _Index:
        found = self._triggers.get(uid)
        if found is None:
            found = self._triggers[uid] = {"parked": {}, "dead-lettered": {}, "scheduled": {}}
        return found

    # ---- writing ----

    def put(self, note: Note, record: Record, done: Done) -> None:
        """Replaces what is kept for this trigger and position."""
        more = [(HEADER, msgspec.json.encode(note))]
        if record.event.data is None:  # a null value would end the entry
            more.append((NO_DATA, b"1"))
        plain = encode(record, *more)
        encoded = raw(_key(note.trigger, note.position), plain.value or b"", plain.headers, plain.timestamp_ms)
        self._write(note.trigger, note.position, note.state, encoded, done)

    def drop(self, trigger: str, position: str, done: Done) -> None:
        self._write(trigger, position, None, raw(_key(trigger, position), None, [], self._now_ms()), done)

    def broadcast_seek(self, trigger: str, offsets: dict[int, int], done: Done) -> None:
        body = msgspec.json.encode({str(number): offset for number, offset in offsets.items()})
        self._write(trigger, SEEK, None, raw(_key(trigger, SEEK), body, [], self._now_ms()), done)

    def _write(self, uid: str, key: str, state: State | None, encoded: Encoded, done: Done) -> None:
        fault = self._appender.refusal(encoded.size_bytes)
        if fault is not None:
            self._appender.loop.call_soon(done, fault)
            return
        if key != SEEK:
            self._unread[uid, key] = state
        self._writing += 1

        def written(fault: StoreFault | None) -> None:
            self._writing -= 1
            if fault is not None:
                self._unread.pop((uid, key), None)
            self._moved.set()
            done(fault)

        self._lane.add(encoded, written)

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)

    def _acked(self, _partition: int, end: int) -> None:
        self._end = max(self._end, end)

    async def forget(self, trigger: str) -> None:
        """Everything of this trigger goes. Raises StoreFault."""
        await self.caught_up()
        found = self._triggers.pop(trigger, None)
        for some in found.values() if found is not None else ():
            for key in some:
                self.drop(trigger, key, lambda fault: None)
        await self.caught_up()

    # ---- reading ----

    async def _read(self) -> None:
        while True:
            consumer = self._cluster.consumer()
            try:
                await consumer.start()
                consumer.assign([self._tp])
                if not self._next:
                    self._next = (await consumer.beginning_offsets([self._tp]))[self._tp]
                    self._moved.set()
                consumer.seek(self._tp, self._next)
                while True:
                    for records in (await consumer.getmany(timeout_ms=10_000)).values():
                        for record in records:
                            self._take(record)
                    self._next = await consumer.position(self._tp)
                    self._moved.set()
            except (KafkaError, OSError) as error:
                log.warning("kept_not_read topic=%s error=%r", self._tp.topic, error)
                await asyncio.sleep(1.0)
            finally:
                await stop(consumer)

    def _take(self, record: ConsumerRecord) -> None:
        uid, _, key = (record.key or b"").decode(errors="replace").partition(" ")
        listener = self._listeners.get(uid)
        if key == SEEK:
            if listener is not None and record.offset >= self._loaded and record.value:
                offsets = msgspec.json.decode(record.value, type=dict[str, int])
                listener.moved({int(number): offset for number, offset in offsets.items()})
            return
        ours = self._unread.pop((uid, key), None)
        index = self._trigger(uid)
        for some in index.values():
            some.pop(key, None)
        note = _note(record) if record.value is not None else None
        if note is None:
            return
        entry = Entry(record.offset, key, note.state, note.attempt, note.due_at)
        index[note.state][key] = entry
        if listener is None:
            return
        if note.state == "scheduled":
            listener.scheduled(entry)
        elif ours is not None:
            listener.more_letters(note.state)

    async def fetch(self, entries: Sequence[Entry]) -> list[Found]:
        """Their events, oldest first; what was replaced meanwhile is missing. Raises StoreFault."""
        if not entries:
            return []
        wanted = {entry.id: entry for entry in entries}
        found: list[Found] = []
        async with self._fetching:
            consumer = self._cluster.consumer()
            try:
                async with asyncio.timeout(ASK_TIMEOUT_S + len(wanted) / 100):
                    await consumer.start()
                    consumer.assign([self._tp])
                    for first, last in _runs(sorted(wanted)):
                        consumer.seek(self._tp, first)
                        while await consumer.position(self._tp) <= last:
                            for records in (await consumer.getmany(timeout_ms=200)).values():
                                for record in records:
                                    entry = wanted.get(record.offset)
                                    note = _note(record) if entry is not None else None
                                    if entry is not None and note is not None:
                                        found.append(Found(entry, note, _record(record)))
            except (KafkaError, TimeoutError, OSError) as error:
                raise StoreUnavailable(f"{self._tp.topic} cannot be read: {error!r}") from error
            finally:
                await stop(consumer)
        return found

    async def close(self) -> None:
        await self._tasks.close()


def _note(record: ConsumerRecord) -> Note | None:
    for name, content in record.headers:
        if name == HEADER:
            try:
                return msgspec.json.decode(content, type=Note)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                log.warning("kept_undecodable offset=%d error=%s", record.offset, error)
    return None


def _record(record: ConsumerRecord) -> Record:
    empty = any(name == NO_DATA for name, _ in record.headers)
    try:
        return decode(record.headers, None if empty else record.value, record.timestamp)
    except BadEvent as error:
        raise StoreUnavailable(f"the letter at {record.offset} cannot be read: {error}") from error


def _runs(offsets: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for offset in offsets:
        if runs and offset - runs[-1][1] <= RUN_GAP:
            runs[-1] = (runs[-1][0], offset)
        else:
            runs.append((offset, offset))
    return runs


def _key(trigger: str, position: str) -> bytes:
    return f"{trigger} {position}".encode()
