"""One broker in SQLite: what was asked for on the loop is gathered into groups; a thread makes each group durable.

Path: ingress.py, place.py → [log] → writer thread (files.py) → back on the loop: done, tail, fanout.py.

While the writer is busy, appends and settles of everybody wait; when it is free, all that wait are one transaction and
one fsync. Appends start a group in the same turn of the loop; settles alone wait LINGER_S for company. A group that
fails has not happened: its appends are told, what it had of settles is kept and goes with the next one.

States: full (the disk, until a probe fits), broken (an I/O error of the disk: read-only for good; the process should
end, because after a failed fsync nobody knows what the disk has).

Bounds: WAITING_BYTES_MAX of appends; OPS_MAX of what could not be written down, then triggers that are behind pause;
the tail in memory.

Cost: per event one encode, one row, one checksum; per group two thread switches (loadtests/results: event_store).
Source: design/ecosystem.md §1.10; reliability.md BR-01…BR-08; docs/decisions/0012.
"""

import asyncio
import functools
import logging
import math
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from broker.store.contract import Consumer, Done, Failure, Kept, Letter, LogSettings, Record, Start, Stored
from broker.store.fanout import Fanout, resume
from broker.store.memory import within
from broker.store.meters import StoreMeters
from broker.store.place import Found, Handed, Place
from broker.store.progress import Progress
from broker.store.schedule import Entry
from broker.store.sqlite import files
from broker.store.sqlite.files import Appending, BrokerFile, Durability, Group, Held, LetterRow, TriggerRow, Written
from broker.store.sqlite.reading import Reader, Slice
from broker.store.sqlite.rows import Row, encode, encode_failure, seen_key
from broker.store.tail import Tail
from dataplane.clock import Clock
from dataplane.errors import StoreFault, StoreFull, StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

GROUP_RECORDS = 512
GROUP_BYTES = 2 * 1024 * 1024
WAITING_BYTES_MAX = 64 * 1024 * 1024
OPS_MAX = 20_000
LINGER_S = 0.005
RETRY_S = 0.5  # after a group of settles that failed
PROBE_S = 1.0  # between looks at a full disk
KEEP_S = 1.0  # between looks at what retention may take
SWEEP_S = 5.0  # between writing down how far triggers are that match nothing
QUOTA_EARLY = 0.9  # of the quota: settled records go, however young
IN_MEMORY = 250  # a record's objects beside its texts: tail bytes


class _Append(NamedTuple):
    records: Sequence[Record]
    rows: Sequence[Row]
    seen: Sequence[bytes]
    size_bytes: int
    done: Done
    place: Place | None = None
    handed: Handed | None = None


class _Pending:
    """What must be written down beside records; the newest of each."""

    __slots__ = ("damaged", "letters", "places", "rows")

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self.rows: dict[tuple[str, int], Entry | None] = {}
        self.letters: list[LetterRow] = []
        self.damaged: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self.places) + len(self.rows) + len(self.letters) + len(self.damaged)


class SqliteLog:
    """Implements EventLog and, for its triggers, Ledger. Lives on the loop; `open` makes one."""

    def __init__(
        self,
        broker: str,
        file: BrokerFile,
        held: Held,
        settings: LogSettings,
        durability: Durability,
        clock: Clock,
        meters: StoreMeters,
        broke: Callable[[str], None],
    ) -> None:
        self.broker = broker
        self.settings = settings
        self.fault = ""  # why appends would fail now
        self.tail = Tail(held.next, 16 * 1024 * 1024)
        self._file = file
        self._held = held
        self._clock = clock
        self._meters = meters
        self._broke = broke
        self._loop = asyncio.get_running_loop()
        self._fanout = Fanout(self.tail, self, clock, self._lost)
        self._reader = Reader(file.path)
        self._letters: dict[str, list[int]] = {}  # trigger → parked, dead-lettered
        self._waiting: list[_Append] = []
        self._waiting_bytes = 0
        self._pending = _Pending()
        self._flushers: list[asyncio.Future[bool]] = []
        self._busy = self._starting = False
        self._dead: Exception | None = None  # the writer thread's: nothing touches the file any more
        self._full = self._broken = self._closed = False
        self._linger: asyncio.TimerHandle | None = None
        self._retry_at = 0.0
        self._keeper: asyncio.TimerHandle | None = None
        self._swept_at = self._loop.time()
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_forever, name="store-writer", daemon=True)
        self._writer.start()
        self._keep_soon()

    # ---- EventLog ----

    def append(self, batch: Sequence[Record], done: Done) -> None:
        self._push(batch, done)

    async def subscribe(self, consumer: Consumer, start: Start) -> Place:
        self._check()
        key = consumer.key
        earlier = self._fanout.places.get(key)
        if earlier is not None:
            await earlier.close()
        known = await self._reader.answer(
            lambda reading: reading.trigger(key, 10_000 if not consumer.ordered else 10**6)
        )
        for ours in [one for one in self._pending.rows if one[0] == key]:  # of a subscription before, never written
            del self._pending.rows[ours]
        self._pending.places.pop(key, None)
        if known is None:
            position = await self.locate(start)
            self._letters[key] = [0, 0]
            place = Place(consumer, self, self._fanout, Progress(position))
            self._fanout.join(place)
            place.mark()
            if not await self.flush():
                place.closed = True
                self._fanout.leave(place)
                self._pending.places.pop(key, None)
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
        first = max(self._held.first, next_ - limit) if start.at == "latest" else await self.locate(start)
        found: list[Stored] = []
        while first < next_ and len(found) < limit:
            position, wanted = first, limit - len(found)
            some = await self._reader.answer(lambda reading, p=position, w=wanted: reading.slice(p, w, next_))  # type: ignore[misc]
            self._note_damage(some.damaged)
            found += [Stored(str(p), record) for p, record in some.rows]
            first = max(some.upto, first + 1)
        return found

    async def find(self, id: str, *, source: str = "", limit: int = 10) -> list[Stored]:
        first, next_ = self._held.first, self.tail.next
        return await self._reader.answer(lambda reading: reading.find(id, source, limit, first, next_))

    def size(self) -> tuple[int, int]:
        return self.tail.next - self._held.first, self._held.held_bytes

    async def close(self) -> None:
        """Write what waits, then let go of the file."""
        if self._closed:
            return
        for place in list(self._fanout.places.values()):
            await place.close()
        if not self._broken:
            await self.flush()
        self._closed = True
        for append in self._waiting:
            append.done(self._refusal())
        self._waiting.clear()
        await self._end()

    async def _end(self) -> None:
        self._fanout.close()
        for timer in (self._linger, self._keeper):
            if timer is not None:
                timer.cancel()
        await self._reader.close()
        self._orders.put(None)
        await asyncio.to_thread(self._writer.join)

    # ---- appends ----

    def _push(
        self, batch: Sequence[Record], done: Done, place: Place | None = None, handed: Handed | None = None
    ) -> None:
        fault = self._refusal()
        rows: list[Row] = []
        size = 0
        if fault is None:
            try:
                for record in batch:
                    row = encode(record)
                    rows.append(row)
                    size += row.size_bytes
            except UnicodeEncodeError as error:
                fault = StoreFault(f"an attribute is not Unicode: {error}")
        if fault is not None:
            self._loop.call_soon(done, fault)
            return
        seen = [seen_key(record.event.attributes) for record in batch] if self.settings.dedup_window_s else ()
        self._waiting.append(_Append(batch, rows, seen, size, done, place, handed))
        self._waiting_bytes += size
        if not self._busy and not self._starting:
            self._starting = True
            self._loop.call_soon(self._start)

    def _refusal(self) -> StoreFault | None:
        """Why nothing can be appended now."""
        if self._closed:
            return StoreUnavailable(f"broker {self.broker} is closed")
        if self._broken:
            return StoreUnavailable(self.fault)
        if self._full:
            return StoreFull(self.fault)
        if self._waiting_bytes > WAITING_BYTES_MAX:
            return StoreUnavailable(f"broker {self.broker}: {self._waiting_bytes} bytes wait for the disk")
        return None

    def _check(self) -> None:
        if self._closed or self._broken:
            raise StoreUnavailable(self.fault or f"broker {self.broker} is closed")

    # ---- groups ----

    def _start(self) -> None:
        """Give the writer everything that waits, as one group."""
        self._starting = False
        if self._busy or self._closed or self._broken:
            return
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        appends = self._take()
        pending, self._pending = self._pending, _Pending()
        flushers, self._flushers = self._flushers, []
        if not appends and not len(pending):
            _tell(flushers, True)
            return
        ends: dict[tuple[str, int], Entry | None] = {
            (append.place.key, append.handed.key): None
            for append in appends
            if append.handed is not None and append.handed.written and append.place is not None
        }
        group = Group(
            [Appending(append.rows, append.seen) for append in appends],
            [self._row(place) for place in pending.places.values()],
            pending.rows | ends if ends else pending.rows,
            pending.letters,
            pending.damaged,
            self._clock.wall(),
            self.settings.dedup_window_s,
        )
        self._busy = True
        self._orders.put(functools.partial(self._write, group, appends, pending, flushers))

    def _take(self) -> list[_Append]:
        """Appends of the next group: what fits the quota. A settle that comes with a reply is made here."""
        waiting, self._waiting = self._waiting, []
        taken: list[_Append] = []
        records = size = 0
        quota = self.settings.quota_bytes
        for i, append in enumerate(waiting):
            if taken and (records + len(append.rows) > GROUP_RECORDS or size + append.size_bytes > GROUP_BYTES):
                self._waiting = waiting[i:]
                break
            self._waiting_bytes -= append.size_bytes
            if quota and self._held.held_bytes + size + append.size_bytes > quota:
                fault = f"broker {self.broker} holds {self._held.held_bytes} bytes; its quota is {quota}"
                append.done(StoreFull(fault))
                self._keep_soon(0.0)
                continue
            if append.place is not None and append.handed is not None and not append.place.end(append.handed):
                append.done(StoreUnavailable("the delivery is not this subscription's any more"))
                continue
            taken.append(append)
            records += len(append.rows)
            size += append.size_bytes
        return taken

    def _row(self, place: Place) -> TriggerRow:
        place.dirty = False
        self._fanout.catch_up_progress(place)
        progress = place.progress
        return TriggerRow(place.key, place.name, progress.encode(), progress.low, *self._letters.get(place.key, (0, 0)))

    def _write(
        self, group: Group, appends: list[_Append], pending: _Pending, flushers: list[asyncio.Future[bool]]
    ) -> None:
        """On the writer thread."""
        outcome: Written | Exception
        fault: Exception | None = None
        try:
            if self._dead is not None:
                raise self._dead
            outcome = self._file.write(group)
        except Exception as error:  # root of the thread: whatever it is, the callers must hear of it
            outcome = error
            if files.full(error):
                tied = any(append.handed is not None for append in appends)  # a settle that must not go without a reply
                fault = error if tied else self._write_without_appends(group)
            elif files.fatal(error):
                self._dead = error
        else:
            try:
                self._file.checkpoint()
            except Exception as error:
                fault = error
                if files.fatal(error):
                    self._dead = error
        self._tell(functools.partial(self._written, appends, pending, flushers, outcome, fault))

    def _write_without_appends(self, group: Group) -> Exception | None:
        """The disk is full: with the reserve given up, what was delivered can still be written down."""
        try:
            self._file.spend_reserve()
            self._file.write(group._replace(appends=()))
        except Exception as error:
            if files.fatal(error):
                self._dead = error
            return error
        return None

    def _written(
        self,
        appends: list[_Append],
        pending: _Pending,
        flushers: list[asyncio.Future[bool]],
        outcome: Written | Exception,
        fault: Exception | None,
    ) -> None:
        """Back on the loop."""
        self._busy = False
        if isinstance(outcome, Written):
            self._durable(appends, outcome)
            _tell(flushers, True)
            if fault is not None:
                self._trouble(fault)
        else:
            noted = files.full(outcome) and fault is None  # without the appends
            if not noted:
                self._keep(pending)
                self._retry_at = self._loop.time() + RETRY_S
            self._refuse(appends, outcome)
            self._trouble(outcome)
            if fault is not None:
                self._trouble(fault)
            _tell(flushers, noted)
        self._next()

    def _durable(self, appends: list[_Append], written: Written) -> None:
        records: list[Record] = []
        sizes: list[int] = []
        for append, kept in zip(appends, written.kept, strict=True):
            if kept is None:
                records += append.records
                sizes += [row.size_bytes + IN_MEMORY for row in append.rows]
            else:
                self._meters.duplicates.cell(self.broker).v += len(append.rows) - len(kept)
                for i in kept:
                    records.append(append.records[i])
                    sizes.append(append.rows[i].size_bytes + IN_MEMORY)
        held = self._held
        self._held = Held(
            held.first, written.first + len(records), written.total, held.held_bytes + written.total - held.total
        )
        self.tail.extend(records, sizes)
        for append in appends:
            append.done(None)
        if records:
            self._fanout.feed(written.first, records)
            self._keep_soon()

    def _refuse(self, appends: list[_Append], error: Exception) -> None:
        fault: StoreFault
        if files.full(error):
            fault = StoreFull(f"broker {self.broker}: the disk is full")
        else:
            fault = StoreUnavailable(f"broker {self.broker}: {error}")
        fault.__cause__ = error
        for append in appends:
            if append.place is not None and append.handed is not None and not append.place.closed:
                append.place.unend(append.handed)
                append.place.mark()
            append.done(fault)

    def _keep(self, failed: _Pending) -> None:
        """What a failed group had to write down goes with the next one, unless something newer does."""
        for key, place in failed.places.items():
            self._pending.places.setdefault(key, place)
            place.dirty = True
        self._pending.rows = failed.rows | self._pending.rows
        self._pending.letters = failed.letters + self._pending.letters
        self._pending.damaged = (failed.damaged + self._pending.damaged)[-1000:]

    def _next(self) -> None:
        self._fanout.pause(len(self._pending) > OPS_MAX or self._broken)
        if self._broken:
            _tell(self._flushers, False)
            self._flushers = []
            return
        if self._waiting or self._flushers:
            self._start()
        elif len(self._pending):
            self._linger_on()

    def _linger_on(self) -> None:
        """There is something to write down, with company or after LINGER_S."""
        if len(self._pending) > OPS_MAX:
            self._fanout.pause(True)
        if not self._busy and not self._starting and self._linger is None and not self._closed:
            wait = max(LINGER_S, self._retry_at - self._loop.time())
            self._linger = self._loop.call_later(wait, self._start)

    # ---- trouble ----

    def _trouble(self, error: Exception) -> None:
        if files.full(error):
            if not self._full:
                self._full = True
                self.fault = f"broker {self.broker}: the disk is full"
                log.error("store_full broker=%s path=%s", self.broker, self._file.path)
                self._loop.call_later(PROBE_S, self._probe)
        elif files.fatal(error):
            self._break(error)
        elif files.locked(error):
            log.warning("store_locked broker=%s path=%s", self.broker, self._file.path)
        else:
            log.error("store_write_failed broker=%s path=%s", self.broker, self._file.path, exc_info=error)

    def _break(self, error: Exception) -> None:
        if self._broken:
            return
        self._broken = True
        self.fault = f"broker {self.broker}: {self._file.path}: {error}"
        log.critical("store_broken broker=%s path=%s", self.broker, self._file.path, exc_info=error)
        for append in self._waiting:
            append.done(StoreUnavailable(self.fault))
        self._waiting.clear()
        self._waiting_bytes = 0
        self._broke(self.fault)

    def _probe(self) -> None:
        if self._closed or self._broken:
            return

        def done(fits: bool | Exception) -> None:
            if fits is True:
                self._full = False
                self.fault = ""
                log.info("store_has_space broker=%s", self.broker)
                self._next()
            elif not self._closed:
                self._loop.call_later(PROBE_S, self._probe)

        self._put(self._file.has_space, done)

    # ---- retention ----

    def _keep_soon(self, in_s: float = KEEP_S) -> None:
        if self._keeper is None and not self._closed:
            self._keeper = self._loop.call_later(in_s, self._retain)

    def _retain(self) -> None:
        """Settled records that are old or too many go, a slice at a time."""
        self._keeper = None
        if self._closed or self._broken:
            return
        self._sweep()
        settings = self.settings
        old = self._clock.wall() - settings.retention_s if settings.retention_s else -math.inf
        bytes_max = settings.retention_bytes
        early = int(settings.quota_bytes * QUOTA_EARLY)
        if early and self._held.held_bytes > early:
            bytes_max = min(bytes_max or early, early // 2)

        def trim() -> tuple[Held, bool]:
            try:
                held, more = self._file.trim(old=old, bytes_max=bytes_max)
            except sqlite3.Error as error:
                if not files.full(error):
                    raise
                self._file.spend_reserve()  # what it is for: what goes now makes more room than it took
                held, more = self._file.trim(old=old, bytes_max=bytes_max)
            if not more:
                self._file.vacuum()
            self._file.checkpoint()
            return held, more

        def done(outcome: tuple[Held, bool] | Exception) -> None:
            if isinstance(outcome, Exception):
                log.warning("store_trim_failed broker=%s error=%s", self.broker, outcome)
                self._keep_soon(SWEEP_S)
                return
            self._held, more = outcome
            while self.tail.first < min(self._held.first, self.tail.next):
                self.tail.drop_first()
            if more:
                self._keep_soon(0.0)
            elif self._held.next - self._held.first > 1:
                self._keep_soon()

        if self._busy:  # `held` would be of before that group
            self._keep_soon(0.02)
        else:
            self._busy = True

            def free(outcome: tuple[Held, bool] | Exception) -> None:
                self._busy = False
                done(outcome)
                self._next()

            self._put(trim, free)

    def _sweep(self) -> None:
        """Triggers that matched nothing for a while: retention and the next start must know how far they are."""
        now = self._loop.time()
        if now - self._swept_at < SWEEP_S:
            return
        self._swept_at = now
        for place in self._fanout.places.values():
            if not place.behind and place.progress.next < self._fanout.head:
                place.mark()

    # ---- Ledger ----

    def moved(self, place: Place) -> None:
        self._pending.places[place.key] = place
        self._linger_on()

    def wrote(self, place: Place, entry: Entry) -> None:
        self._pending.rows[place.key, entry.key] = entry
        self._linger_on()

    def ended(self, place: Place, key: int) -> None:
        self._pending.rows[place.key, key] = None
        self._linger_on()

    def parked(self, place: Place, handed: Handed, failure: Failure, kept: Kept) -> None:
        counts = self._letters[place.key]
        which = 0 if kept == "parked" else 1
        bound = self.settings.parked_max if kept == "parked" else self.settings.dead_lettered_max
        if not bound:
            self._meters.letters_dropped.cell(self.broker, place.name).v += 1
            return
        self._pending.letters.append(
            LetterRow(place.key, kept, handed.position, encode_failure(failure), encode(handed.record))
        )
        counts[which] += 1
        place.mark()
        self._linger_on()
        if counts[which] > bound + max(1, bound // 100):
            self._bound(place, kept, which, bound)
        elif counts[which] > bound:
            self._loop.call_soon(self._bound, place, kept, which, bound)

    def _bound(self, place: Place, kept: Kept, which: int, bound: int) -> None:
        """The oldest letters beyond the bound go."""
        counts = self._letters.get(place.key)
        if counts is None or counts[which] <= bound or self._closed:
            return
        beyond = counts[which] - bound
        counts[which] = bound

        def done(gone: int | Exception) -> None:
            if isinstance(gone, Exception):
                counts[which] += beyond
                return
            counts[which] += beyond - gone
            self._meters.letters_dropped.cell(self.broker, place.name).v += gone

        def order() -> None:
            self._put(functools.partial(self._file.bound_letters, place.key, kept, beyond), done)

        self._after_group(order)

    def _after_group(self, order: Callable[[], None]) -> None:
        """When what is pending now has been written."""
        told: asyncio.Future[bool] = self._loop.create_future()
        told.add_done_callback(lambda _: order())
        self._flushers.append(told)
        self._linger_on()

    def append_with(self, place: Place, handed: Handed, reply: Record, done: Done) -> None:
        if place.closed:
            self._loop.call_soon(done, StoreUnavailable("the subscription is closed"))
        else:
            self._push([reply], done, place, handed)

    def counts(self, place: Place) -> tuple[int, int]:
        parked, dead_lettered = self._letters.get(place.key, (0, 0))
        return parked, dead_lettered

    def fetch(self, place: Place, keys: Sequence[int], done: Callable[[dict[int, Found] | None], None]) -> None:
        def told(outcome: tuple[dict[int, Found], list[tuple[int, str]]] | Exception) -> None:
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
                    if entry.key not in known and self._pending.rows.get((place.key, entry.key), entry) == entry
                ]
                schedule.read_on(entries, complete=complete or not entries)
            self._loop.call_later(0.0 if not isinstance(outcome, Exception) else RETRY_S, done)

        self._after_group(
            lambda: self._reader.ask(
                lambda reading: reading.schedule(place.key, schedule.horizon, schedule.window_max), told
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
                    functools.partial(self._file.redrive, place.key, kept, some, self._clock.wall())
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
                gone = await self._order(functools.partial(self._file.discard, place.key, kept, some))
                self._letters[place.key][0 if kept == "parked" else 1] -= gone
                total += gone
                if some is not None or gone < files.TRIM_MAX:
                    break
        return total

    async def locate(self, start: Start) -> int:
        first, next_ = self._held.first, self.tail.next
        if start.at == "latest":
            return next_
        if start.at == "earliest":
            return first
        if start.at == "position":
            return within(start.position, first, next_)
        return await self._reader.answer(lambda reading: reading.locate(start.time_s, first, next_))

    async def flush(self) -> bool:
        """Returns when everything recorded so far is durable (True), or cannot become so now."""
        if self._closed or self._broken:
            return False
        if not self._busy and not self._waiting and not len(self._pending):
            return True
        told: asyncio.Future[bool] = self._loop.create_future()
        self._flushers.append(told)
        if not self._busy:
            self._start()
        return await told

    async def left(self, place: Place) -> None:
        place.dirty = True
        self._pending.places[place.key] = place
        await self.flush()

    # ---- threads ----

    def _put(self, work: Callable[[], T], done: Callable[[T | Exception], None]) -> None:
        """Run `work` on the writer thread; `done` later, on the loop."""

        def order() -> None:
            outcome: T | Exception
            try:
                if self._dead is not None:
                    raise self._dead
                outcome = work()
            except Exception as error:  # root of the thread
                outcome = error
                if files.fatal(error):
                    self._dead = error
            if self._dead is not None:
                self._tell(functools.partial(self._trouble, self._dead))
            self._tell(functools.partial(done, outcome))

        self._orders.put(order)

    async def _order(self, work: Callable[[], T]) -> T:
        """The same for people. Raises StoreFault."""
        self._check()
        told: asyncio.Future[T | Exception] = self._loop.create_future()
        self._put(work, lambda outcome: None if told.done() else told.set_result(outcome))
        outcome = await told
        if isinstance(outcome, sqlite3.Error):
            raise StoreUnavailable(f"broker {self.broker}: {outcome}") from outcome
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _write_forever(self) -> None:
        while (order := self._orders.get()) is not None:
            order()
        if self._dead is not None:
            self._file.give_up()
        else:
            self._file.close()

    def _tell(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop was closed without closing the store: nobody is left to tell
            pass

    def _lost(self, place: Place, count: int) -> None:
        self._meters.lost.cell(self.broker, place.name).v += count

    def _note_damage(self, damaged: Sequence[tuple[int, str]]) -> None:
        for position, why in damaged:
            self._meters.damaged.cell(self.broker).v += 1
            log.error("record_damaged broker=%s position=%d why=%s", self.broker, position, why)
            self._pending.damaged.append((position, why))
        if damaged:
            self._linger_on()


def _tell(flushers: Sequence[asyncio.Future[bool]], durable: bool) -> None:
    for told in flushers:
        if not told.done():
            told.set_result(durable)


def _slices(ids: Sequence[int] | None) -> list[Sequence[int] | None]:
    if ids is None:
        return [None]
    return [ids[i : i + files.TRIM_MAX] for i in range(0, len(ids), files.TRIM_MAX)]


def open_file(path: Path, durability: Durability) -> tuple[BrokerFile, Held]:
    """Blocking. Raises StoreFault."""
    file = BrokerFile(path, durability)
    return file, file.held()
