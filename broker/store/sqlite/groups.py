"""What must be durable is gathered into groups: one transaction and one fsync for whoever waits.

Path: log.py → [groups] → health.py, writing.py → back on the loop: done, tail, fanout.py.

While the writer is busy, appends and settles of everybody wait; when it is free, all that wait are one transaction.
Appends start a group in the same turn of the loop; settles alone wait LINGER_S for company. A group that fails has not
happened: its appends are told, what it had of settles is kept and goes with the next one.

Bounds: WAITING_BYTES_MAX of appends; OPS_MAX of what could not be written down, then triggers that are behind pause.

Cost: per event one encode, one row, one checksum; per group two thread switches (loadtests/results: event_store).
Source: design/ecosystem.md §1.10; reliability.md BR-01…BR-08; docs/decisions/0008.
"""

import asyncio
import functools
import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from broker.store.contract import Done, LogSettings, Record
from broker.store.fanout import Fanout
from broker.store.meters import StoreMeters
from broker.store.place import Handed, Place
from broker.store.schedule import Entry
from broker.store.sqlite import faults
from broker.store.sqlite.files import Appending, BrokerFile, Group, Held, TriggerRow, Written
from broker.store.sqlite.health import Health
from broker.store.sqlite.pending import Append, Pending
from broker.store.sqlite.rows import Row, encode, seen_key
from broker.store.tail import Tail
from dataplane.clock import Clock
from dataplane.errors import StoreFault, StoreFull, StoreUnavailable

T = TypeVar("T")

GROUP_RECORDS = 512
GROUP_BYTES = 2 * 1024 * 1024
WAITING_BYTES_MAX = 64 * 1024 * 1024
OPS_MAX = 20_000
LINGER_S = 0.005
RETRY_S = 0.5  # after a group of settles that failed
IN_MEMORY = 250  # a record's objects beside its texts: tail bytes


class Groups:
    """Of one broker. Lives on the loop.

    held: what the file has, as of the last group. letters: per trigger how many are parked and dead-lettered.
    `more_room` is called when the quota refused somebody, `grew` when records were appended, `broke` once.
    """

    def __init__(
        self,
        broker: str,
        file: BrokerFile,
        held: Held,
        settings: LogSettings,
        fanout: Fanout,
        tail: Tail,
        clock: Clock,
        meters: StoreMeters,
        broke: Callable[[str], None],
    ) -> None:
        self.held = held
        self.settings = settings
        self.pending = Pending()
        self.letters: dict[str, list[int]] = {}
        self.more_room: Callable[[], None] = lambda: None
        self.grew: Callable[[], None] = lambda: None
        self.health = Health(broker, file, self._broken, self._next)
        self.writer = self.health.writer
        self._broker = broker
        self._file = file
        self._fanout = fanout
        self._tail = tail
        self._clock = clock
        self._meters = meters
        self._broke = broke
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Append] = []
        self.waiting_bytes = 0
        self._flushers: list[asyncio.Future[bool]] = []
        self._busy = self._starting = False
        self._linger: asyncio.TimerHandle | None = None
        self._retry_at = 0.0

    # ---- who asks ----

    def append(
        self, batch: Sequence[Record], done: Done, place: Place | None = None, handed: Handed | None = None
    ) -> None:
        fault = self.refusal()
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
        self._waiting.append(Append(batch, rows, seen, size, done, place, handed))
        self.waiting_bytes += size
        if not self._busy and not self._starting:
            self._starting = True
            self._loop.call_soon(self._start)

    def refusal(self) -> StoreFault | None:
        """Why nothing can be appended now."""
        fault = self.health.refusal()
        if fault is None and self.waiting_bytes > WAITING_BYTES_MAX:
            fault = StoreUnavailable(f"broker {self._broker}: {self.waiting_bytes} bytes wait for the disk")
        return fault

    async def flush(self) -> bool:
        """Returns when everything recorded so far is durable (True), or cannot become so now."""
        if self.health.closed or self.health.broken:
            return False
        if not self._busy and not self._waiting and not len(self.pending):
            return True
        told: asyncio.Future[bool] = self._loop.create_future()
        self._flushers.append(told)
        if not self._busy:
            self._start()
        return await told

    def after_group(self, order: Callable[[], None]) -> None:
        """When what is pending now has been written."""
        told: asyncio.Future[bool] = self._loop.create_future()
        told.add_done_callback(lambda _: order())
        self._flushers.append(told)
        self.linger()

    def alone(self, work: Callable[[], T], done: Callable[[T | Exception], None]) -> bool:
        """Run `work` on the writer while no group does; groups wait for it. False: a group runs, nothing was done."""
        if self._busy or self.health.broken or self.health.closed:
            return False
        self._busy = True

        def free(outcome: T | Exception) -> None:
            self._busy = False
            done(outcome)
            self._next()

        self.writer.put(work, free)
        return True

    async def close(self) -> None:
        """Write what waits, then let go of the file."""
        if not self.health.broken:
            await self.flush()
        await self.end()

    async def end(self) -> None:
        self.health.closed = True
        for append in self._waiting:
            append.done(StoreUnavailable(f"broker {self._broker} is closed"))
        self._waiting.clear()
        if self._linger is not None:
            self._linger.cancel()
        await self.writer.close()

    # ---- groups ----

    def _start(self) -> None:
        """Give the writer everything that waits, as one group."""
        self._starting = False
        if self._linger is not None:  # also one that has just fired: when the writer is busy, `_next` sets another
            self._linger.cancel()
            self._linger = None
        if self._busy or self.health.closed or self.health.broken:
            return
        appends = self._take()
        pending, self.pending = self.pending, Pending()
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
        tied = any(append.handed is not None for append in appends)
        self.writer.put(
            functools.partial(self._write, group, tied), functools.partial(self._written, appends, pending, flushers)
        )

    def _take(self) -> list[Append]:
        """Appends of the next group: what fits the quota. A settle that comes with a reply is made here."""
        waiting, self._waiting = self._waiting, []
        taken: list[Append] = []
        records = size = 0
        quota = self.settings.quota_bytes
        for i, append in enumerate(waiting):
            if taken and (records + len(append.rows) > GROUP_RECORDS or size + append.size_bytes > GROUP_BYTES):
                self._waiting = waiting[i:]
                break
            self.waiting_bytes -= append.size_bytes
            if quota and self.held.held_bytes + size + append.size_bytes > quota:
                fault = f"broker {self._broker} holds {self.held.held_bytes} bytes; its quota is {quota}"
                append.done(StoreFull(fault))
                self.more_room()
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
        return TriggerRow(place.key, place.name, progress.encode(), progress.low, *self.letters.get(place.key, (0, 0)))

    def _write(self, group: Group, tied: bool) -> tuple[Written | Exception, Exception | None]:
        """On the writer thread: how the group went, and what went wrong beside it. tied: it has a settle that must not
        go without its reply."""
        try:
            written = self._file.write(group)
        except sqlite3.Error as error:
            if not faults.full(error):
                raise
            return error, error if tied else self._write_without_appends(group)
        try:
            self._file.checkpoint()
        except sqlite3.Error as error:
            self.writer.look_at(error)
            return written, error
        return written, None

    def _write_without_appends(self, group: Group) -> Exception | None:
        """The disk is full: with the reserve given up, what was delivered can still be written down."""
        try:
            self._file.spend_reserve()
            self._file.write(group._replace(appends=()))
        except sqlite3.Error as error:
            self.writer.look_at(error)
            return error
        return None

    def _written(
        self,
        appends: list[Append],
        pending: Pending,
        flushers: list[asyncio.Future[bool]],
        told: tuple[Written | Exception, Exception | None] | Exception,
    ) -> None:
        """Back on the loop."""
        self._busy = False
        outcome, fault = (told, told) if isinstance(told, Exception) else told
        if isinstance(outcome, Written):
            self._durable(appends, outcome)
            _tell(flushers, True)
            if fault is not None:
                self.health.trouble(fault)
        else:
            noted = faults.full(outcome) and fault is None  # without the appends
            if not noted:
                self.pending.after(pending)
                self._retry_at = self._loop.time() + RETRY_S
            self._refuse(appends, outcome)
            self.health.trouble(outcome)
            if fault is not None:
                self.health.trouble(fault)
            _tell(flushers, noted)
        self._next()

    def _durable(self, appends: list[Append], written: Written) -> None:
        records: list[Record] = []
        sizes: list[int] = []
        for append, kept in zip(appends, written.kept, strict=True):
            if kept is None:
                records += append.records
                sizes += [row.size_bytes + IN_MEMORY for row in append.rows]
            else:
                self._meters.duplicates.cell(self._broker).v += len(append.rows) - len(kept)
                for i in kept:
                    records.append(append.records[i])
                    sizes.append(append.rows[i].size_bytes + IN_MEMORY)
        held = self.held
        self.held = Held(
            held.first, written.first + len(records), written.total, held.held_bytes + written.total - held.total
        )
        self._tail.extend(records, sizes)
        for append in appends:
            append.done(None)
        if records:
            self._fanout.feed(written.first, records)
            self.grew()

    def _refuse(self, appends: list[Append], error: Exception) -> None:
        fault: StoreFault
        if faults.full(error):
            fault = StoreFull(f"broker {self._broker}: the disk is full")
        else:
            fault = StoreUnavailable(f"broker {self._broker}: {error}")
        fault.__cause__ = error
        for append in appends:
            if append.place is not None and append.handed is not None and not append.place.closed:
                append.place.unend(append.handed)
                append.place.mark()
            append.done(fault)

    def _next(self) -> None:
        self._fanout.pause(len(self.pending) > OPS_MAX or self.health.broken)
        if self.health.broken:
            _tell(self._flushers, False)
            self._flushers = []
            return
        if self._waiting or self._flushers:
            self._start()
        elif len(self.pending):
            self.linger()

    def linger(self) -> None:
        """There is something to write down, with company or after LINGER_S."""
        if len(self.pending) > OPS_MAX:
            self._fanout.pause(True)
        if not self._busy and not self._starting and self._linger is None and not self.health.closed:
            wait = max(LINGER_S, self._retry_at - self._loop.time())
            self._linger = self._loop.call_later(wait, self._start)

    def _broken(self, fault: str) -> None:
        for append in self._waiting:
            append.done(StoreUnavailable(fault))
        self._waiting.clear()
        self.waiting_bytes = 0
        self._broke(fault)


def _tell(flushers: Sequence[asyncio.Future[bool]], durable: bool) -> None:
    for told in flushers:
        if not told.done():
            told.set_result(durable)
