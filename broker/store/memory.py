"""The executable specification of an event store: everything in memory, gone with the process.

Path: ingress.py → [memory] → fanout.py → dispatcher.py.

Commits happen once per turn of the loop, in the order of the calls: first who appended is told, then triggers are fed.
What the durable stores keep in tables is in dicts here; `progress` is encoded when a subscription is closed, as theirs.

Bounds: `quota_bytes` (one gigabyte when the settings have none), letters per trigger.
Source: store/contract.py; spec/eventing.md §29.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from broker.store.contract import (
    Consumer,
    Done,
    Failure,
    Kept,
    Letter,
    LogSettings,
    Record,
    Start,
    Stored,
)
from broker.store.fanout import Fanout, resume
from broker.store.meters import StoreMeters
from broker.store.place import Found, Handed, Place
from broker.store.progress import Progress
from broker.store.schedule import Entry
from broker.store.tail import Tail, record_bytes
from dataplane.clock import SYSTEM, Clock
from dataplane.errors import BadPosition, StoreFault, StoreFull, StoreUnavailable
from dataplane.telemetry.metrics import Registry

QUOTA_BYTES = 1024**3
RETENTION_EVERY_S = 1.0


class _Kept:
    """What outlives a subscription of one trigger."""

    __slots__ = ("letters", "progress", "redriven", "rows")

    def __init__(self, progress: bytes) -> None:
        self.progress = progress
        self.rows: dict[int, Entry] = {}
        self.letters: dict[int, Letter] = {}
        self.redriven: dict[int, Letter] = {}


class _Append(NamedTuple):
    batch: Sequence[Record]
    done: Done
    place: Place | None = None
    handed: Handed | None = None


class MemoryLog:
    """One broker. Implements EventLog and, for its triggers, Ledger."""

    def __init__(self, broker: str, settings: LogSettings, clock: Clock, meters: StoreMeters) -> None:
        self.broker = broker
        self.settings = settings
        self._clock = clock
        self._meters = meters
        self._loop = asyncio.get_running_loop()
        self._tail = Tail(0, math.inf)
        self._fanout = Fanout(self._tail, self, clock, self._lost)
        self._kept: dict[str, _Kept] = {}
        self._seen: dict[tuple[str, str], float] = {}  # (source, id) → when, oldest first
        self._waiting: list[_Append] = []
        self._letter = 0
        self._closed = False
        self._retention: asyncio.TimerHandle | None = None

    # EventLog

    def append(self, batch: Sequence[Record], done: Done) -> None:
        self._push(_Append(batch, done))

    async def subscribe(self, consumer: Consumer, start: Start) -> Place:
        if self._closed:
            raise StoreUnavailable(f"broker {self.broker} is closed")
        earlier = self._fanout.places.get(consumer.key)
        if earlier is not None:
            await earlier.close()
        kept = self._kept.get(consumer.key)
        if kept is None:
            progress = Progress(await self.locate(start))
            kept = self._kept[consumer.key] = _Kept(progress.encode())
        place = Place(consumer, self, self._fanout, Progress.decode(kept.progress))
        for entry, longest_s in resume(place, [(entry, math.inf) for entry in kept.rows.values()]):
            self._fanout.wait(place, entry, longest_s)
        self._fanout.join(place)
        return place

    async def forget(self, trigger: str) -> None:
        place = self._fanout.places.get(trigger)
        if place is not None:
            await place.close()
        self._kept.pop(trigger, None)

    async def read(self, start: Start, *, limit: int = 100) -> list[Stored]:
        first = max(self._tail.first, self._tail.next - limit) if start.at == "latest" else await self.locate(start)
        return [self._stored(p) for p in range(first, min(first + limit, self._tail.next))]

    async def find(self, id: str, *, source: str = "", limit: int = 10) -> list[Stored]:
        found: list[Stored] = []
        for position in range(self._tail.next - 1, self._tail.first - 1, -1):
            event = self._stored(position).record.event
            if event.id == id and (not source or event.source == source):
                found.append(self._stored(position))
                if len(found) >= limit:
                    break
        return found

    def size(self) -> tuple[int, int]:
        return len(self._tail), self._tail.bytes

    def shown(self) -> dict[str, str]:
        return {}

    async def close(self) -> None:
        for place in list(self._fanout.places.values()):
            await place.close()
        self._closed = True
        self._fanout.close()
        if self._retention is not None:
            self._retention.cancel()

    # appends

    def _push(self, append: _Append) -> None:
        self._waiting.append(append)
        if len(self._waiting) == 1:
            self._loop.call_soon(self._commit)

    def _commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        first = self._tail.next
        fed: list[Record] = []
        for batch, done, place, handed in waiting:
            fault = self._fault(place)
            records = self._unseen(batch)
            sizes = [record_bytes(record) for record in records]
            if fault is None and not self._make_room(sum(sizes)):
                fault = StoreFull(f"broker {self.broker} holds {self._tail.bytes} bytes; its quota is {self._quota}")
            if fault is None:
                if place is not None and handed is not None and place.end(handed) and handed.written:
                    self.ended(place, handed.key)
                for record in records:
                    if self.settings.dedup_window_s:
                        self._seen[record.event.source, record.event.id] = self._clock.wall()
                self._tail.extend(records, sizes)
                fed += records
            done(fault)
        if fed:
            self._fanout.feed(first, fed)
            self._set_retention()

    def _fault(self, place: Place | None) -> StoreFault | None:
        if self._closed:
            return StoreUnavailable(f"broker {self.broker} is closed")
        if place is not None and place.closed:
            return StoreUnavailable("the subscription is closed")
        return None

    def _unseen(self, batch: Sequence[Record]) -> Sequence[Record]:
        window_s = self.settings.dedup_window_s
        if not window_s:
            return batch
        begin = self._clock.wall() - window_s
        while self._seen and next(iter(self._seen.values())) < begin:
            del self._seen[next(iter(self._seen))]
        fresh: dict[tuple[str, str], Record] = {}
        for record in batch:
            key = (record.event.source, record.event.id)
            if key in self._seen or key in fresh:
                self._meters.duplicates.cell(self.broker).v += 1
            else:
                fresh[key] = record
        return list(fresh.values())

    # retention

    @property
    def _quota(self) -> int:
        return self.settings.quota_bytes or QUOTA_BYTES

    def _low(self) -> int:
        """The lowest position that some trigger still needs."""
        low = self._tail.next
        for trigger, kept in self._kept.items():
            place = self._fanout.places.get(trigger)
            if place is not None:
                self._fanout.catch_up_progress(place)
            progress = place.progress if place is not None else Progress.decode(kept.progress)
            low = min(low, progress.low, min((key for key in kept.rows if key >= 0), default=low))
        return low

    def _make_room(self, wanted: int) -> bool:
        """Settled records go before the quota refuses anybody, however young."""
        if self._tail.bytes + wanted > self._quota:
            low = self._low()
            while self._tail.first < low and self._tail.bytes + wanted > self._quota:
                self._tail.drop_first()
        return self._tail.bytes + wanted <= self._quota

    def _set_retention(self) -> None:
        if self._retention is None and (self.settings.retention_s or self.settings.retention_bytes):
            self._retention = self._loop.call_later(RETENTION_EVERY_S, self._retain)

    def _retain(self) -> None:
        """Settled records go when they are old or too many."""
        self._retention = None
        low = self._low()
        settings, tail = self.settings, self._tail
        old = self._clock.wall() - settings.retention_s if settings.retention_s else -math.inf
        while tail.first < low:
            held = tail.get(tail.first)
            assert held is not None
            too_many = settings.retention_bytes and tail.bytes > settings.retention_bytes
            if held[0].arrived_at >= old and not too_many:
                break
            tail.drop_first()
        if len(tail):
            self._set_retention()

    # Ledger

    def moved(self, place: Place) -> None:
        place.dirty = False  # it is read from the place when it is needed

    def wrote(self, place: Place, entry: Entry) -> None:
        self._kept[place.key].rows[entry.key] = entry

    def ended(self, place: Place, key: int) -> None:
        kept = self._kept[place.key]
        kept.rows.pop(key, None)
        kept.redriven.pop(-key, None)

    def parked(self, place: Place, handed: Handed, failure: Failure, kept: Kept) -> None:
        letters = self._kept[place.key].letters
        self._letter += 1
        letters[self._letter] = Letter(
            id=str(self._letter), kept=kept, record=handed.record, position=handed.position, failure=failure
        )
        bound = self.settings.parked_max if kept == "parked" else self.settings.dead_lettered_max
        same = [number for number, letter in letters.items() if letter.kept == kept]
        for number in same[: max(0, len(same) - bound)]:
            del letters[number]
            self._meters.letters_dropped(self.broker, place.name, 1)

    def append_with(self, place: Place, handed: Handed, reply: Record, done: Done) -> None:
        self._push(_Append([reply], done, place, handed))

    def counts(self, place: Place) -> tuple[int, int]:
        letters = self._kept[place.key].letters if place.key in self._kept else {}
        parked = sum(letter.kept == "parked" for letter in letters.values())
        return parked, len(letters) - parked

    def fetch(self, place: Place, keys: Sequence[int], done: Callable[[dict[int, Found | None] | None], None]) -> None:
        redriven = self._kept[place.key].redriven
        found: dict[int, Found | None] = dict.fromkeys(keys)
        for key in keys:
            if -key in redriven:
                found[key] = redriven[-key].position, redriven[-key].record
        self._loop.call_soon(done, found)

    def fetch_from(
        self, place: Place, position: int, limit: int, done: Callable[[list[tuple[int, Record]] | None, int], None]
    ) -> None:
        first = max(position, self._tail.first)
        rows = [(p, self._stored(p).record) for p in range(first, min(first + limit, self._tail.next))]
        self._loop.call_soon(done, rows, first + len(rows))

    def read_on(self, place: Place, done: Callable[[], None]) -> None:
        schedule = place.schedule
        known = place.out.keys() | {entry.key for entry in place.again}
        rows = sorted(self._kept[place.key].rows.values(), key=lambda row: (row.due_at, row.key))
        wanted = [row for row in rows if row.due_at >= schedule.horizon and row.key not in known]
        now, wall_s = self._loop.time(), self._clock.wall()
        some = [(row, now + max(0.0, row.due_at - wall_s)) for row in wanted[: schedule.window_max]]
        schedule.read_on(some, complete=len(some) == len(wanted))
        self._loop.call_soon(done)

    async def letters(self, place: Place, kept: Kept | None, after: int, limit: int) -> list[Letter]:
        letters = self._kept[place.key].letters if place.key in self._kept else {}
        found = [one for number, one in letters.items() if number > after and kept in (None, one.kept)]
        return found[:limit]

    async def redrive(self, place: Place, ids: Sequence[int] | None, kept: Kept) -> int:
        stored = self._kept[place.key]
        wanted = self._chosen(stored, ids, kept)
        for number in wanted:
            letter = stored.redriven[number] = stored.letters.pop(number)
            entry = Entry(-number, 1, 0.0, letter.record.arrived_at)
            self.wrote(place, entry)
            self._fanout.wait(place, entry)
        return len(wanted)

    async def discard(self, place: Place, ids: Sequence[int] | None, kept: Kept) -> int:
        stored = self._kept[place.key]
        wanted = self._chosen(stored, ids, kept)
        for number in wanted:
            del stored.letters[number]
        return len(wanted)

    def _chosen(self, stored: _Kept, ids: Sequence[int] | None, kept: Kept) -> list[int]:
        some = stored.letters if ids is None else dict.fromkeys(ids)
        return [number for number in some if number in stored.letters and stored.letters[number].kept == kept]

    async def locate(self, start: Start) -> int:
        tail = self._tail
        if start.at == "latest":
            return tail.next
        if start.at == "earliest":
            return tail.first
        if start.at == "position":
            return within(start.position, tail.first, tail.next)
        for position in range(tail.first, tail.next):
            if self._stored(position).record.arrived_at >= start.time_s:
                return position
        return tail.next

    async def flush(self) -> bool:
        return True

    async def left(self, place: Place) -> None:
        if place.key in self._kept:
            self._kept[place.key].progress = place.progress.encode()

    def _stored(self, position: int) -> Stored:
        held = self._tail.get(position)
        assert held is not None
        return Stored(str(position), held[0])

    def _lost(self, place: Place, count: int) -> None:
        self._meters.lost.cell(self.broker, place.name).v += count


def within(position: str, first: int, next_: int) -> int:
    """A position that a person wrote, moved into the log. Raises BadPosition for one that is none."""
    if not (position.isascii() and position.isdigit()):
        raise BadPosition(f"{position!r} is no position of this log: a whole number from {first} to {next_}")
    return min(max(int(position), first), next_)


class MemoryStore:
    """Implements EventStore."""

    durability = "memory"

    def __init__(self, *, clock: Clock = SYSTEM, registry: Registry | None = None) -> None:
        self._clock = clock
        self._meters = StoreMeters(registry or Registry())
        self._logs: dict[str, MemoryLog] = {}

    async def start(self) -> None:
        """Nothing to do."""

    async def open(self, broker: str, settings: LogSettings) -> MemoryLog:
        log = self._logs.get(broker)
        if log is None:
            log = self._logs[broker] = MemoryLog(broker, settings, self._clock, self._meters)
        log.settings = settings
        return log

    async def delete(self, broker: str, settings: LogSettings | None = None) -> None:
        log = self._logs.pop(broker, None)
        if log is not None:
            await log.close()

    def not_ready(self) -> str:
        return ""

    async def close(self) -> None:
        for log in self._logs.values():
            await log.close()
