"""A broker's file and everything that writes to it: groups in one transaction, trims, checkpoints, a reserve.

Path: writer thread → [files] → disk.

Blocking on purpose: nothing here runs on a loop. WAL; with `durability: fsync` a commit returns when the disk has it,
with `os` when the operating system has it. The WAL is checkpointed here and not by SQLite itself, because SQLite
swallows errors of its own checkpoints, and a failed fsync must be heard of (reliability.md BR-06).

The reserve is a file that holds RESERVE_BYTES of the disk. When the disk is full it goes, so that what was delivered
can be written down as settled; it is taken again when there is space.

Source: design/ecosystem.md §1.10; reliability.md BR-02, BR-03, BR-06, BR-07.
"""

import os
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from broker.store.contract import Kept
from broker.store.schedule import Entry
from broker.store.sqlite import faults
from broker.store.sqlite.letters import Letters, transaction
from broker.store.sqlite.rows import Row, placed
from broker.store.sqlite.schema import prepare
from dataplane.errors import StoreFault

Durability = Literal["fsync", "os"]

WAL_BYTES = 4 * 1024 * 1024  # about; then a checkpoint
PAGE_BYTES = 8192  # of a new file; 4096 wastes a third with events of 1 KB, and takes twice the writes
GROUP_WAL_BYTES = 6 * PAGE_BYTES  # what a group adds beside its rows: the pages at the ends of the trees
WAL_BYTES_KEPT = 64 * 1024 * 1024  # a WAL that grew beyond it is cut
RESERVE_BYTES = 8 * 1024 * 1024  # more than a WAL has: moving it into the file takes as much before it gives it back
TRIM_MAX = 1000  # records per trim: one short transaction
VACUUM_PAGES = 256
BUSY_MS = 500  # another process has the file locked: wait that long, then tell
PROBE_BYTES = 256 * 1024  # what must fit before a full disk counts as no longer full

_INSERT = "INSERT INTO records VALUES "
_MARKS = "(?,?,?,?,?,?,?,?,?,?,?)"
_CHUNKS = tuple((count, _INSERT + ",".join([_MARKS] * count)) for count in (64, 16, 4, 1))


class TriggerRow(NamedTuple):
    trigger: str
    name: str
    progress: bytes
    low: int
    parked: int
    dead_lettered: int


class LetterRow(NamedTuple):
    trigger: str
    kept: Kept
    position: str
    failure: str
    row: Row


class Appending(NamedTuple):
    """rows, and for each its key in `seen`, or none when there is no window."""

    rows: Sequence[Row]
    seen: Sequence[bytes]


class Group(NamedTuple):
    """What one transaction writes. rows: schedule rows by (trigger, key); None: it goes, and its letter with it."""

    appends: Sequence[Appending]
    triggers: Sequence[TriggerRow]
    rows: Mapping[tuple[str, int], Entry | None]
    letters: Sequence[LetterRow]
    damaged: Sequence[tuple[int, str]]
    now: float  # wall seconds
    window_s: float  # dedup


class Written(NamedTuple):
    """first: position of the first new record. kept: per append which of its rows are new; None: all of them."""

    first: int
    kept: Sequence[Sequence[int] | None]
    total: int  # the log's `total` after it


class Held(NamedTuple):
    """first, next: positions; total: `total` of the newest record, held_bytes: of those that are here."""

    first: int
    next: int
    total: int
    held_bytes: int


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)


class BrokerFile:
    """The one connection that writes."""

    def __init__(self, path: Path, durability: Durability) -> None:
        """Open or create. Raises StoreFault, with what to do."""
        self.path = path
        self.reserve = path.with_suffix(".reserve")
        try:
            new = not path.exists()
            if new:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # nobody else may ever read it
            self._db = connect(path)
        except (OSError, sqlite3.Error) as error:
            raise StoreFault(f"{path}: {error}") from error
        try:
            db = self._db
            if new or path.stat().st_size == 0:
                db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
                db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'FULL' if durability == 'fsync' else 'NORMAL'}")
            db.execute("PRAGMA wal_autocheckpoint = 0")
            db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
            db.execute("PRAGMA secure_delete = OFF")
            db.execute("PRAGMA cache_size = -4096")
            prepare(db, str(path))
            # SQLite does not sync the removal of its journal: were that journal there again after a power cut, it would
            # undo whatever was written since. Nor does it sync that the file is there.
            sync_folder(path.parent)
            sync_folder(path.parent.parent)
            self.letters = Letters(db)
            held = self.held()
            self._next, self._total = held.next, held.total
            self._unmoved = WAL_BYTES  # bytes in the WAL, about; a checkpoint soon, whatever was left there
        except (OSError, sqlite3.Error) as error:
            self._db.close()
            if faults.full(error):
                raise StoreFault(f"{path}: the disk is full") from error
            raise StoreFault(f"{path}: {error}; restore a copy of it, or move it away to start empty") from error
        except StoreFault:
            self._db.close()
            raise
        self.take_reserve()

    def close(self) -> None:
        self._db.close()

    def give_up(self) -> None:
        """Instead of `close`, after a failed sync: the descriptor must never be synced again, and SQLite would sync it
        when it closes, even when the interpreter ends. So a thread that never ends holds it."""
        threading.Thread(target=_hold, args=(self._db,), name="store-given-up", daemon=True).start()

    def held(self) -> Held:
        """By the two ends of the log, whatever lies between them."""
        db = self._db
        first = db.execute("SELECT position, total, length(data) FROM records ORDER BY position LIMIT 1").fetchone()
        last = db.execute("SELECT position, total FROM records ORDER BY position DESC LIMIT 1").fetchone()
        if first is None or last is None:
            return Held(1, 1, 0, 0)
        return Held(first[0], last[0] + 1, last[1], last[1] - first[1] + (first[2] or 0))

    # ---- groups ----

    def write(self, group: Group) -> Written:
        """All of it, durably, or nothing of it. Raises sqlite3.Error: nothing of it."""
        with transaction(self._db) as db:
            written = self._append(group)
            self._schedule(group)
            if group.letters:
                db.executemany(
                    "INSERT INTO letters VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?,?,0,?)",
                    [
                        (
                            one.trigger,
                            one.kept,
                            one.position,
                            one.failure,
                            *one.row.columns,
                            placed(one.row.checksum, 0),
                        )
                        for one in group.letters
                    ],
                )
            if group.triggers:
                db.executemany("INSERT OR REPLACE INTO triggers VALUES (?,?,?,?,?,?)", group.triggers)
            if group.damaged:
                db.executemany(
                    "INSERT OR IGNORE INTO damaged VALUES (?,?,?)", [(*one, group.now) for one in group.damaged]
                )
        self._next += sum(
            len(append.rows) if kept is None else len(kept)
            for append, kept in zip(group.appends, written.kept, strict=True)
        )
        self._unmoved += GROUP_WAL_BYTES + written.total - self._total
        self._total = written.total
        return written

    def _append(self, group: Group) -> Written:
        db = self._db
        position, total = self._next, self._total
        values: list[object] = []
        kept: list[Sequence[int] | None] = []
        for rows, seen in group.appends:
            fresh = self._unseen(seen, position, group) if seen else None
            kept.append(fresh)
            for columns, size_bytes, checksum in rows if fresh is None else [rows[i] for i in fresh]:
                total += size_bytes
                values += (position, *columns, total, placed(checksum, position))
                position += 1
        at, width = 0, 11
        for count, statement in _CHUNKS:
            while len(values) - at >= count * width:
                db.execute(statement, values[at : at + count * width])
                at += count * width
        return Written(self._next, kept, total)

    def _unseen(self, seen: Sequence[bytes], position: int, group: Group) -> list[int]:
        """Which of an append's rows are new within the window; they are noted."""
        db = self._db
        oldest = group.now - group.window_s
        db.execute(
            "DELETE FROM seen WHERE position IN (SELECT position FROM seen WHERE at < ? ORDER BY position LIMIT ?)",
            (oldest, 4 * len(seen)),
        )
        fresh: list[int] = []
        for i, key in enumerate(seen):
            row = db.execute("SELECT at FROM seen WHERE key = ?", (key,)).fetchone()
            if row is not None and row[0] >= oldest:
                continue
            db.execute("INSERT OR REPLACE INTO seen VALUES (?,?,?)", (position + len(fresh), key, group.now))
            fresh.append(i)
        return fresh

    def _schedule(self, group: Group) -> None:
        db = self._db
        if not group.rows:
            return
        gone = [place for place, entry in group.rows.items() if entry is None]
        kept = [
            (trigger, key, entry.attempt, entry.due_at, entry.arrived_at, group.now)
            for (trigger, key), entry in group.rows.items()
            if entry is not None
        ]
        db.executemany("DELETE FROM schedule WHERE trigger = ? AND key = ?", gone)
        db.executemany("DELETE FROM letters WHERE letter = ?", [(-key,) for _, key in gone if key < 0])
        db.executemany("INSERT OR REPLACE INTO schedule VALUES (?,?,?,?,?,?)", kept)

    # ---- retention ----

    def forget(self, trigger: str) -> bool:
        """A slice of what is kept for this trigger goes. True: there is more."""
        db = self._db
        db.execute("DELETE FROM triggers WHERE trigger = ?", (trigger,))
        gone = db.execute(
            "DELETE FROM schedule WHERE trigger = ? AND key IN (SELECT key FROM schedule WHERE trigger = ? LIMIT ?)",
            (trigger, trigger, TRIM_MAX),
        ).rowcount
        gone += db.execute(
            "DELETE FROM letters WHERE letter IN (SELECT letter FROM letters WHERE trigger = ? LIMIT ?)",
            (trigger, TRIM_MAX),
        ).rowcount
        return gone > 0

    def trim(self, *, old: float, bytes_max: int) -> tuple[Held, bool]:
        """At most TRIM_MAX settled records go that arrived before `old` (wall seconds) or lie beyond `bytes_max` (0: no
        bound). The newest record stays: the next position is one more. (what is held, whether there is more to do)."""
        db = self._db
        low = self._next - 1
        (settled,) = db.execute("SELECT MIN(low) FROM triggers").fetchone()
        if settled is not None:
            low = min(low, settled)
        for (trigger,) in db.execute("SELECT trigger FROM triggers").fetchall():
            (waits,) = db.execute("SELECT MIN(key) FROM schedule WHERE trigger = ? AND key > 0", (trigger,)).fetchone()
            if waits is not None:
                low = min(low, waits)
        rows = db.execute(
            "SELECT position, arrived_at, total FROM records WHERE position < ? ORDER BY position LIMIT ?",
            (low, TRIM_MAX),
        ).fetchall()
        end = 0
        for position, arrived_at, total in rows:
            if arrived_at >= old and not (bytes_max and self._total - total >= bytes_max):
                break
            end = position
        if end:
            db.execute("DELETE FROM records WHERE position <= ?", (end,))
            self._unmoved += WAL_BYTES // 16  # about, of a thousand small ones
        return self.held(), bool(end) and end == rows[-1][0] and len(rows) == TRIM_MAX

    def vacuum(self) -> None:
        """Give back some free pages when a quarter of the file is free."""
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        if free > VACUUM_PAGES and free * 4 > pages:
            self._db.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()

    # ---- the disk ----

    def checkpoint(self, *, always: bool = False) -> None:
        """Move the WAL into the file when it has grown. Raises sqlite3.Error."""
        # Counted, not looked up: the file keeps its size when SQLite begins it anew.
        if always or self._unmoved > WAL_BYTES:
            self._unmoved = 0
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def take_reserve(self) -> bool:
        """Hold RESERVE_BYTES of the disk again. False: there is no space."""
        try:
            reserve = os.open(self.reserve, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(reserve, 0, RESERVE_BYTES)
            finally:
                os.close(reserve)
        except OSError:
            self.reserve.unlink(missing_ok=True)
            return False
        return True

    def spend_reserve(self) -> None:
        """The disk is full: give the reserve up, and what the WAL takes."""
        self.reserve.unlink(missing_ok=True)
        self._give_back()

    def _give_back(self) -> None:
        """What the WAL takes, and what retention left free within the file, is space too. Raises sqlite3.Error when
        the disk failed, not when it is full."""
        try:
            for _ in range(2):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                self._unmoved = 0
                self.vacuum()
        except sqlite3.Error as error:
            if faults.fatal(error):
                raise

    def has_space(self) -> bool:
        """Whether something may be appended again: tried, and taken back."""
        db = self._db
        try:
            self._give_back()
            if not self.take_reserve():
                return False
            db.execute("BEGIN IMMEDIATE")
            try:
                db.execute("INSERT OR REPLACE INTO meta VALUES ('probe', zeroblob(?))", (PROBE_BYTES,))
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
        except sqlite3.Error as error:
            if faults.fatal(error):
                raise
            return False
        return True


def remove(path: Path) -> None:
    """The file of a broker and everything beside it. Missing is no error. Raises OSError."""
    files: Iterable[Path] = (path, Path(f"{path}-wal"), Path(f"{path}-shm"), path.with_suffix(".reserve"))
    for one in files:
        one.unlink(missing_ok=True)
    if path.parent.exists():
        sync_folder(path.parent)
        try:
            path.parent.rmdir()
        except OSError:  # another broker of the namespace
            pass


def _hold(db: sqlite3.Connection) -> None:
    while db is not None:
        threading.Event().wait()


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
