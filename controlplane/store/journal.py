"""The SQLite file behind the durable store: present objects, one transaction per group of commits.

Path: store.sqlite (its writer thread) → [journal] → disk.

One row per object, as JSON: any SQLite tool shows what is in there. WAL with synchronous=FULL: when `write` returns,
the transaction survives kill -9 and power loss; when it does not, all of it or nothing is found at the next start.
`reserved` keeps revisions growing across restarts although kinds that are not durable use them up without a row: no
revision above it was ever given out.

Blocking on purpose; nothing here runs on a loop after start. Secrets are in the file: mode 0600.

Source: design/ecosystem.md §1.10; reliability.md CP-02.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from controlplane.store.contract import Change, Key, StoreFailed
from dataplane.resources.kinds import BY_KIND
from dataplane.resources.meta import Resource

FORMAT = 1
RESERVE = 1000  # revisions taken at once; at most as many are skipped by a crash

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
  api_group TEXT NOT NULL, kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  revision INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (api_group, kind, namespace, name)
) WITHOUT ROWID;
"""


class Journal:
    """Owns the file while open: a second process is refused."""

    def __init__(self, path: Path) -> None:
        """Open or create, and load.

        Raises:
            StoreFailed: not writable, in use, not a store, of another format, or a row cannot be read. The message says
                which row and what to do.
        """
        self._path = path
        self._lock: int | None = None
        self._db: sqlite3.Connection | None = None
        try:
            self._lock = _take(path)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self.objects, self.reserved = self._load(self._db)
            self.revision = self.reserved
            self.write((), reserved=self.reserved + RESERVE)
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise StoreFailed(f"{path}: {error}; restore a copy of the file, or move it away to start empty") from error
        except StoreFailed:
            self.close()
            raise

    def write(self, changes: Iterable[Change], *, reserved: int) -> None:
        """All changes and the reservation in one durable transaction. Raises sqlite3.Error: nothing of it happened."""
        db = self._db
        assert db is not None, "open"
        db.execute("BEGIN IMMEDIATE")
        try:
            for change in changes:
                if change.type == "DELETED":
                    db.execute(
                        "DELETE FROM objects WHERE (api_group, kind, namespace, name) = (?, ?, ?, ?)", change.key
                    )
                else:
                    body = msgspec.json.encode(change.object)
                    db.execute(
                        "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)", (*change.key, change.revision, body)
                    )
            if reserved != self.reserved:
                db.execute("INSERT OR REPLACE INTO meta VALUES ('reserved', ?)", (reserved,))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite has already rolled back by itself when the disk was full
                db.execute("ROLLBACK")
            raise
        self.reserved = reserved

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _load(self, db: sqlite3.Connection) -> tuple[list[tuple[Key, Resource]], int]:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        (health,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if health != "ok":
            raise StoreFailed(f"{self._path} is damaged: {health}; restore a copy, or move it away to start empty")
        db.executescript(_SCHEMA)
        meta = dict(db.execute("SELECT key, value FROM meta"))
        if meta.setdefault("format", FORMAT) != FORMAT:
            raise StoreFailed(f"{self._path} has format {meta['format']}, this version reads {FORMAT}")
        db.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?)", (FORMAT,))
        rows = db.execute("SELECT api_group, kind, namespace, name, body FROM objects")
        return [self._row(Key(*key), body) for *key, body in rows], meta.get("reserved", 0)

    def _row(self, key: Key, body: bytes) -> tuple[Key, Resource]:
        row = f"{self._path}: row {key.group or 'core'}/{key.kind} {key.namespace}/{key.name}"
        kind = BY_KIND.get((key.group, key.kind))
        if kind is None:
            raise StoreFailed(
                f"{row}: this version does not know the kind; start the version that wrote it, or delete the row"
            )
        try:
            return key, msgspec.json.decode(body, type=kind.struct)
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:
            raise StoreFailed(
                f"{row} cannot be read: {error}; restore a copy of the file, or delete the row"
            ) from error


def _take(path: Path) -> int:
    """Lock file descriptor. The database is created here, so that nobody else can ever read it."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StoreFailed(
            f"{path} is in use by another process; stop it first, or take another --data directory"
        ) from None
    return lock
