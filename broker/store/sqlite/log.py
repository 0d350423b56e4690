"""One broker in SQLite: its log for ingress, its ledger for the triggers.

Path: ingress.py, place.py → [log] → groups.py (what must be durable), reading.py (what is not in memory), fanout.py.

Source: store/contract.py; spec/eventing.md §29; reliability.md §3.4; docs/decisions/0008.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from broker.store.contract import Consumer, Done, Failure, Kept, Letter, LogSettings, Record, Start, Stored
from broker.store.fanout import Fanout, resume
from broker.store.memory import within
from broker.store.meters import StoreMeters
from broker.store.place import Found, Handed, Place
from broker.store.progress import Progress
from broker.store.schedule import WINDOW_MAX, Entry
from broker.store.sqlite import files
from broker.store.sqlite.files import BrokerFile, Durability, Held, LetterRow
from broker.store.sqlite.groups import RETRY_S, Groups
from broker.store.sqlite.reading import Reader, Slice
from broker.store.sqlite.retention import Retention
from broker.store.sqlite.rows import encode, encode_failure
from broker.store.tail import Tail
from dataplane.clock import Clock
from dataplane.errors import StoreFault, StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

TAIL_BYTES = 16 * 1024 * 1024
ORDERED_MAX = 1_000_000  # scheduled deliveries of an ordered trigger, which gets them all at once after a restart


class SqliteLog:
    """Implements EventLog and, for its triggers, Ledger. Lives on the loop."""

    def __init__(
        self,
        broker: str,
        file: BrokerFile,
        held: Held,
        settings: LogSettings,
        clock: Clock,
        meters: StoreMeters,
        broke: Callable[[str], None],
    ) -> None:
        self.broker = broker
        self.tail = Tail(held.next, TAIL_BYTES)
        self._file = file
        self._clock = clock
        self._meters = meters
        self._loop = asyncio.get_running_loop()
        self._fanout = Fanout(self.tail, self, clock, self._lost)
        self._reader = Reader(file.path)
        self._groups = Groups(broker, file, held, settings, self._fanout, self.tail, clock, meters, broke)
        self._letters = self._groups.letters
        self._retention = Retention(broker, file, self._groups, self._fanout, self.tail, clock)
        self._retention.soon()

    @property
    def settings(self) -> LogSettings:
        return self._groups.settings

    @settings.setter
    def settings(self, settings: LogSettings) -> None:
        self._groups.settings = settings
        self._retention.soon()

    @property
    def fault(self) -> str:
        """Why appends would fail now; "" when they would not."""
        return self._groups.health.fault

    # ---- EventLog ----

    def append(self, batch: Sequence[Record], done: Done) -> None:
        self._groups.append(batch, done)

    async def subscribe(self, consumer: Consumer, start: Start) -> Place:
        self._check()
        key = consumer.key
        earlier = self._fanout.places.get(key)
        if earlier is not None:
            await earlier.close()
        known = await self._reader.answer(
            lambda reading: reading.trigger(key, ORDERED_MAX if consumer.ordered else WINDOW_MAX)
        )
        for ours in [
            one for one in self._groups.pending.rows if one[0] == key
        ]:  # of a subscription before, never written
            del self._groups.pending.rows[ours]
        self._groups.pending.places.pop(key, None)
        if known is None:
            position = await self.locate(start)
            self._letters[key] = [0, 0]
            place = Place(consumer, self, self._fanout, Progress(position))
            self._fanout.join(place)
            place.mark()
            if not await self.flush():
                place.closed = True
                self._fanout.leave(place)
                self._groups.pending.places.pop(key, None)
                raise StoreUnavailable(f"broker {self.broker}: {self.fault or 'the new trigger could not be written'}")
            return place
        self._check()
        try:
            progress = Progress.decode(known.progress)
        except ValueError as error:
            raise StoreFault(f"{self._file.path}: trigger {consumer.name}: {error}") from error
        self._letters[key] = [known.parked, known.dead_lettered]
        place = Place(consumer, self, self._fanout, progress)
        for entry, longest_s in resume(place, known.rows):
            self._fanout.wait(place, entry, longest_s)
        if not known.complete:
            place.schedule.horizon, place.schedule.beyond = known.rows[-1][0].due_at, 1
        self._fanout.join(place)
        return place

    async def forget(self, trigger: str) -> None:
        place = self._fanout.places.get(trigger)
        if place is not None:
            await place.close()
        while await self._order(functools.partial(self._file.forget, trigger)):
            pass
        self._letters.pop(trigger, None)

    async def read(self, start: Start, *, limit: int = 100) -> list[Stored]:
        next_ = self.tail.next
        first = max(self._groups.held.first, next_ - limit) if start.at == "latest" else await self.locate(start)
        found: list[Stored] = []
        while first < next_ and len(found) < limit:
            position, wanted = first, limit - len(found)
            some = await self._reader.answer(lambda reading, p=position, w=wanted: reading.slice(p, w, next_))  # type: ignore[misc]
            self._note_damage(some.damaged)
            found += [Stored(str(p), record) for p, record in some.rows]
            first = max(some.upto, first + 1)
        return found

    async def find(self, id: str, *, source: str = "", limit: int = 10) -> list[Stored]:
        first, next_ = self._groups.held.first, self.tail.next
        return await self._reader.answer(lambda reading: reading.find(id, source, limit, first, next_))

    def size(self) -> tuple[int, int]:
        return self.tail.next - self._groups.held.first, self._groups.held.held_bytes

    def shown(self) -> dict[str, str]:
        return {}

    async def close(self) -> None:
        """Write what waits, then let go of the file."""
        if self._groups.health.closed:
            return
        for place in list(self._fanout.places.values()):
            await place.close()
        await self._release()
        await self._groups.close()

    async def kill(self) -> None:
        """What the end of the process does: whatever waits is not written. For tests."""
        self._groups.health.closed = True
        await self._release()
        await self._groups.end()

    async def _release(self) -> None:
        self._fanout.close()
        self._retention.close()
        await self._reader.close()

    # ---- Ledger ----

    def moved(self, place: Place) -> None:
        self._groups.pending.places[place.key] = place
        self._groups.linger()

    def wrote(self, place: Place, entry: Entry) -> None:
        self._groups.pending.rows[place.key, entry.key] = entry
        self._groups.linger()

    def ended(self, place: Place, key: int) -> None:
        self._groups.pending.rows[place.key, key] = None
        self._groups.linger()

    def parked(self, place: Place, handed: Handed, failure: Failure, kept: Kept) -> None:
        counts = self._letters[place.key]
        which = 0 if kept == "parked" else 1
        bound = self.settings.parked_max if kept == "parked" else self.settings.dead_lettered_max
        if not bound:
            self._meters.letters_dropped(self.broker, place.name, 1)
            return
        self._groups.pending.letters.append(
            LetterRow(place.key, kept, handed.position, encode_failure(failure), encode(handed.record))
        )
        counts[which] += 1
        place.mark()
        self._groups.linger()
        if counts[which] > bound + max(1, bound // 100):
            self._bound(place, kept, which, bound)
        elif counts[which] > bound:
            self._loop.call_soon(self._bound, place, kept, which, bound)

    def _bound(self, place: Place, kept: Kept, which: int, bound: int) -> None:
        """The oldest letters beyond the bound go."""
        counts = self._letters.get(place.key)
        if counts is None or counts[which] <= bound or self._groups.health.closed:
            return
        beyond = counts[which] - bound
        counts[which] = bound

        def done(gone: int | Exception) -> None:
            if isinstance(gone, Exception):
                counts[which] += beyond
                return
            counts[which] += beyond - gone
            self._meters.letters_dropped(self.broker, place.name, gone)

        def order() -> None:
            self._groups.writer.put(functools.partial(self._file.letters.bound, place.key, kept, beyond), done)

        self._groups.after_group(order)

    def append_with(self, place: Place, handed: Handed, reply: Record, done: Done) -> None:
        if place.closed:
            self._loop.call_soon(done, StoreUnavailable("the subscription is closed"))
        else:
            self._groups.append([reply], done, place, handed)

    def counts(self, place: Place) -> tuple[int, int]:
        parked, dead_lettered = self._letters.get(place.key, (0, 0))
        return parked, dead_lettered

    def fetch(self, place: Place, keys: Sequence[int], done: Callable[[dict[int, Found | None] | None], None]) -> None:
        def told(outcome: tuple[dict[int, Found | None], list[tuple[int, str]]] | Exception) -> None:
            if isinstance(outcome, Exception):
                done(None)
                return
            self._note_damage(outcome[1])
            done(outcome[0])

        self._reader.ask(lambda reading: reading.by_key(keys), told)

    def fetch_from(
        self, place: Place, position: int, limit: int, done: Callable[[list[tuple[int, Record]] | None, int], None]
    ) -> None:
        next_ = self.tail.next

        def told(outcome: Slice | Exception) -> None:
            if isinstance(outcome, Exception):
                done(None, position)
                return
            self._note_damage(outcome.damaged)
            done(outcome.rows, outcome.upto)

        self._reader.ask(lambda reading: reading.slice(position, limit, next_), told)

    def read_on(self, place: Place, done: Callable[[], None]) -> None:
        schedule = place.schedule

        def told(outcome: tuple[list[tuple[Entry, float]], bool] | Exception) -> None:
            if not isinstance(outcome, Exception):
                rows, complete = outcome
                now, wall_s = self._loop.time(), self._clock.wall()
                known = place.out.keys() | {entry.key for entry in place.again}
                entries = [
                    (entry, now + min(longest_s, max(0.0, entry.due_at - wall_s)))
                    for entry, longest_s in rows
                    if entry.key not in known and self._groups.pending.rows.get((place.key, entry.key), entry) == entry
                ]
                schedule.read_on(entries, complete=complete or not entries)
            self._loop.call_later(0.0 if not isinstance(outcome, Exception) else RETRY_S, done)

        self._groups.after_group(
            lambda: self._reader.ask(
                lambda reading: reading.schedule(
                    place.key, schedule.horizon, schedule.window_max + len(place.out) + len(place.again)
                ),
                told,
            )
        )

    async def letters(self, place: Place, kept: Kept | None, after: int, limit: int) -> list[Letter]:
        await self.flush()
        return await self._reader.answer(lambda reading: reading.letters(place.key, kept, after, limit))

    async def redrive(self, place: Place, ids: Sequence[int] | None, kept: Kept) -> int:
        await self.flush()
        total = 0
        for some in _slices(ids):
            while True:
                entries = await self._order(
                    functools.partial(self._file.letters.redrive, place.key, kept, some, self._clock.wall())
                )
                self._letters[place.key][0 if kept == "parked" else 1] -= len(entries)
                total += len(entries)
                for entry in entries:
                    if not place.closed:
                        self._fanout.wait(place, entry)
                if some is not None or len(entries) < files.TRIM_MAX:
                    break
        return total

    async def discard(self, place: Place, ids: Sequence[int] | None, kept: Kept) -> int:
        await self.flush()
        total = 0
        for some in _slices(ids):
            while True:
                gone = await self._order(functools.partial(self._file.letters.discard, place.key, kept, some))
                self._letters[place.key][0 if kept == "parked" else 1] -= gone
                total += gone
                if some is not None or gone < files.TRIM_MAX:
                    break
        return total

    async def locate(self, start: Start) -> int:
        first, next_ = self._groups.held.first, self.tail.next
        if start.at == "latest":
            return next_
        if start.at == "earliest":
            return first
        if start.at == "position":
            return within(start.position, first, next_)
        return await self._reader.answer(lambda reading: reading.locate(start.time_s, first, next_))

    async def flush(self) -> bool:
        return await self._groups.flush()

    async def left(self, place: Place) -> None:
        place.dirty = True
        self._groups.pending.places[place.key] = place
        await self.flush()

    # ---- own ----

    def _check(self) -> None:
        if self._groups.health.closed or self._groups.health.broken:
            raise StoreUnavailable(self.fault or f"broker {self.broker} is closed")

    async def _order(self, work: Callable[[], T]) -> T:
        self._check()
        return await self._groups.writer.order(work)

    def _lost(self, place: Place, count: int) -> None:
        self._meters.lost.cell(self.broker, place.name).v += count

    def _note_damage(self, damaged: Sequence[tuple[int, str]]) -> None:
        for position, why in damaged:
            self._meters.damaged.cell(self.broker).v += 1
            log.error("record_damaged broker=%s position=%d why=%s", self.broker, position, why)
            self._groups.pending.damaged.append((position, why))
        if damaged:
            self._groups.linger()


def _slices(ids: Sequence[int] | None) -> list[Sequence[int] | None]:
    if ids is None:
        return [None]
    return [ids[i : i + files.TRIM_MAX] for i in range(0, len(ids), files.TRIM_MAX)]


def open_file(path: Path, durability: Durability) -> tuple[BrokerFile, Held]:
    """Blocking. Raises StoreFault."""
    file = BrokerFile(path, durability)
    return file, file.held()
