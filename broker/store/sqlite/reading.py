"""Reads of a broker's file, on a thread and a connection of their own.

Path: log.py → [reading] → disk → back on the loop.

Every read is one short query, so a checkpoint never waits long for it. A page or row that is damaged costs itself: the
slice is read again one by one, what cannot be read is reported, the rest is delivered.

Source: reliability.md BR-05, BR-23.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from broker.store.contract import Kept, Letter, Record, Stored
from broker.store.place import Found
from broker.store.schedule import Entry
from broker.store.sqlite.files import connect
from broker.store.sqlite.rows import COLUMNS, Damaged, decode, decode_failure
from dataplane.errors import StoreFault, StoreUnavailable

T = TypeVar("T")

SLICE_BYTES = 1024 * 1024
FIND_STEP = 20_000
FIND_MAX = 500_000  # records looked back for one id

_BY_POSITION = f"SELECT position, {COLUMNS} FROM records WHERE position"
_LETTER = f"SELECT letter, kept, position, failure, {COLUMNS} FROM letters WHERE"


class Remembered(NamedTuple):
    """What the file has of a trigger. rows: with how long each was to wait at most; complete: all of them."""

    progress: bytes
    parked: int
    dead_lettered: int
    rows: list[tuple[Entry, float]]
    complete: bool


class Slice(NamedTuple):
    """upto: everything from the position asked for to it is in `rows`, damaged, or was never there."""

    rows: list[tuple[int, Record]]
    damaged: list[tuple[int, str]]
    upto: int


def is_damage(error: Exception) -> bool:
    """Whether this part of the file is lost, and not the moment wrong."""
    return (
        isinstance(error, Damaged)
        or (isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError))
        or getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ)
    )


class Reading:
    """The queries. Blocking; on the reader's thread only. Raise sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._db = connect(path)
        self._db.execute("PRAGMA query_only = ON")
        self._db.execute("PRAGMA cache_size = -4096")

    def close(self) -> None:
        self._db.close()

    def slice(self, position: int, limit: int, next_: int) -> Slice:
        """At most `limit` records and about SLICE_BYTES from `position` on."""
        rows: list[tuple[int, Record]] = []
        size = 0
        end = next_
        try:
            found = self._db.execute(f"{_BY_POSITION} >= ? ORDER BY position LIMIT ?", (position, limit))
            count = 0
            for row in found:
                count += 1
                rows.append((row[0], decode(*row)))
                size += len(row[2] or b"") + len(row[1])
                if size > SLICE_BYTES:
                    break
            if count == limit or size > SLICE_BYTES:
                end = rows[-1][0] + 1
            found.close()
        except (Damaged, sqlite3.Error) as error:
            if not is_damage(error):
                raise
            return self._one_by_one(position, min(position + limit, next_))
        return Slice(rows, [], end)

    def _one_by_one(self, position: int, end: int) -> Slice:
        rows: list[tuple[int, Record]] = []
        damaged: list[tuple[int, str]] = []
        for one in range(position, end):
            try:
                row = self._db.execute(f"{_BY_POSITION} = ?", (one,)).fetchone()
                if row is not None:
                    rows.append((one, decode(*row)))
            except (Damaged, sqlite3.Error) as error:
                if not is_damage(error):
                    raise
                damaged.append((one, str(error)))
        return Slice(rows, damaged, end)

    def by_key(self, keys: Sequence[int]) -> tuple[dict[int, Found | None], list[tuple[int, str]]]:
        """About SLICE_BYTES of them. None: gone, or damaged."""
        found: dict[int, Found | None] = {}
        damaged: list[tuple[int, str]] = []
        size = 0
        for key in keys:
            if size > SLICE_BYTES:
                break
            found[key] = None
            try:
                if key > 0:
                    row = self._db.execute(f"{_BY_POSITION} = ?", (key,)).fetchone()
                    if row is not None:
                        found[key] = (str(key), decode(*row))
                        size += len(row[2] or b"")
                else:
                    row = self._db.execute(f"{_LETTER} letter = ?", (-key,)).fetchone()
                    if row is not None:
                        found[key] = (row[2], decode(0, *row[4:]))
                        size += len(row[5] or b"")
            except (Damaged, sqlite3.Error) as error:
                if not is_damage(error):
                    raise
                damaged.append((key, str(error)))
        return found, damaged

    def trigger(self, trigger: str, window_max: int) -> Remembered | None:
        row = self._db.execute(
            "SELECT progress, parked, dead_lettered FROM triggers WHERE trigger = ?", (trigger,)
        ).fetchone()
        if row is None:
            return None
        rows, complete = self.schedule(trigger, -1.0, window_max)
        return Remembered(row[0], row[1], row[2], rows, complete)

    def schedule(self, trigger: str, horizon: float, limit: int) -> tuple[list[tuple[Entry, float]], bool]:
        """Schedule rows due at `horizon` (wall seconds) or later, nearest first. Whether these are all."""
        rows = self._db.execute(
            "SELECT key, attempt, due_at, arrived_at, set_at FROM schedule"
            " WHERE trigger = ? AND due_at >= ? ORDER BY due_at, key LIMIT ?",
            (trigger, horizon, limit),
        ).fetchall()
        entries = [(Entry(*row[:4]), max(0.0, row[2] - row[4])) for row in rows]
        return entries, len(rows) < limit

    def letters(self, trigger: str, kept: Kept | None, after: int, limit: int) -> list[Letter]:
        kinds = ("parked", "dead-lettered") if kept is None else (kept, kept)
        rows = self._db.execute(
            f"{_LETTER} trigger = ? AND kept IN (?, ?) AND letter > ? ORDER BY letter LIMIT ?",
            (trigger, *kinds, after, limit),
        ).fetchall()
        letters: list[Letter] = []
        for letter, kind, position, failure, *columns in rows:
            try:
                record = decode(0, *columns)
            except Damaged:
                continue
            letters.append(
                Letter(id=str(letter), kept=kind, record=record, position=position, failure=decode_failure(failure))
            )
        return letters

    def locate(self, time_s: float, first: int, next_: int) -> int:
        """The first position that arrived at `time_s` or later. Arrivals grow along the log, about."""
        while first < next_:
            middle = (first + next_) // 2
            row = self._db.execute(
                "SELECT position, arrived_at FROM records WHERE position >= ? ORDER BY position LIMIT 1", (middle,)
            ).fetchone()
            if row is None or row[1] >= time_s:
                next_ = middle
            else:
                first = row[0] + 1
        return first

    def find(self, id: str, source: str, limit: int, first: int, next_: int) -> list[Stored]:
        """Newest first, at most FIND_MAX records back: ids have no index (docs/decisions/0008)."""
        found: list[Stored] = []
        first = max(first, next_ - FIND_MAX)
        while next_ > first and len(found) < limit:
            begin = max(first, next_ - FIND_STEP)
            rows = self._db.execute(
                f"{_BY_POSITION} >= ? AND position < ? AND id = ? AND (? = '' OR source = ?) ORDER BY position DESC",
                (begin, next_, id, source, source),
            ).fetchall()
            for row in rows:
                try:
                    found.append(Stored(str(row[0]), decode(*row)))
                except Damaged:
                    continue
            next_ = begin
        return found[:limit]


class Reader:
    """The thread. Starts with the first read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._orders: queue.SimpleQueue[Callable[[Reading], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def ask(self, read: Callable[[Reading], T], done: Callable[[T | Exception], None]) -> None:
        """Run `read` on the thread; `done` with what it returned or raised, later, on the loop."""
        if self._closed:
            self._loop.call_soon(done, StoreUnavailable("the store is closed"))
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="store-reader", daemon=True)
            self._thread.start()

        def order(reading: Reading) -> None:
            outcome: T | Exception
            try:
                outcome = read(reading)
            except Exception as error:  # root of the thread: whatever it is, the caller must hear of it
                outcome = error
            self._tell(done, outcome)

        self._orders.put(order)

    async def answer(self, read: Callable[[Reading], T]) -> T:
        """The same for people. Raises StoreFault."""
        told: asyncio.Future[T] = self._loop.create_future()

        def done(outcome: T | Exception) -> None:
            if told.done():
                return
            if isinstance(outcome, StoreFault):
                told.set_exception(outcome)
            elif isinstance(outcome, sqlite3.Error):
                told.set_exception(StoreUnavailable(f"{self._path}: {outcome}"))
            elif isinstance(outcome, Exception):
                told.set_exception(outcome)
            else:
                told.set_result(outcome)

        self.ask(read, done)
        return await told

    async def close(self) -> None:
        self._closed = True
        if self._thread is not None:
            self._orders.put(None)
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        reading: Reading | None = None
        while (order := self._orders.get()) is not None:
            try:
                reading = reading or Reading(self._path)
            except sqlite3.Error as error:
                order(_Unopened(error))
                continue
            order(reading)
        if reading is not None:
            reading.close()

    def _tell(self, done: Callable[[T | Exception], None], outcome: T | Exception) -> None:
        try:
            self._loop.call_soon_threadsafe(done, outcome)
        except RuntimeError:  # the loop was closed without closing the store: nobody is left to tell
            pass


class _Unopened(Reading):
    """A file that cannot be opened now: every read fails with the reason."""

    def __init__(self, error: sqlite3.Error) -> None:
        self._error = error

    def __getattribute__(self, name: str) -> object:
        raise object.__getattribute__(self, "_error")
