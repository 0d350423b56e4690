"""What is in a broker's file, and how a file of another version becomes one of this.

Path: files.py → [schema] → disk.

`user_version` is the format of the file; `meta.readable_from` is the oldest version of this program that may open it,
so that a program one version older reads a file that was only added to. A migration is one transaction with its
`user_version` in it: after a crash the file is of the old format or of the new one.

Source: reliability.md BR-22; design/ecosystem.md §1.10.
"""

import sqlite3
from collections.abc import Mapping, Sequence

from dataplane.errors import StoreFault

FORMAT = 1
READABLE_FROM = 1
APPLICATION_ID = 0x6B6E6576  # "knev": `file` and SQLite tools can tell

# attributes: JSON of all context attributes. data: NULL is no data. more: JSON of what is not usual (rows.py).
# total: bytes of this and all earlier records ever appended: what lies between two rows is a subtraction, not a scan.
_RECORD = """
  id TEXT NOT NULL, source TEXT NOT NULL, type TEXT NOT NULL, time TEXT, attributes TEXT NOT NULL, data BLOB,
  more TEXT, arrived_at REAL NOT NULL, total INTEGER NOT NULL, crc INTEGER NOT NULL
"""

FIRST = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE records (position INTEGER PRIMARY KEY, {_RECORD});
CREATE TABLE triggers (
  trigger TEXT PRIMARY KEY, name TEXT NOT NULL, progress BLOB NOT NULL, low INTEGER NOT NULL,
  parked INTEGER NOT NULL, dead_lettered INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE schedule (
  trigger TEXT NOT NULL, key INTEGER NOT NULL, attempt INTEGER NOT NULL, due_at REAL NOT NULL,
  arrived_at REAL NOT NULL, set_at REAL NOT NULL, PRIMARY KEY (trigger, key)
) WITHOUT ROWID;
CREATE INDEX schedule_due ON schedule (trigger, due_at, key);
CREATE TABLE letters (
  letter INTEGER PRIMARY KEY AUTOINCREMENT, trigger TEXT NOT NULL, kept TEXT NOT NULL, position TEXT NOT NULL,
  failure TEXT NOT NULL, {_RECORD}
);
CREATE INDEX letters_kept ON letters (trigger, kept, letter);
CREATE TABLE seen (position INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, at REAL NOT NULL);
CREATE TABLE damaged (position INTEGER PRIMARY KEY, why TEXT NOT NULL, at REAL NOT NULL);
"""

MIGRATIONS: Mapping[int, Sequence[str]] = {0: [one for one in FIRST.split(";") if one.strip()]}
"""From which format → statements that make the next one."""


def prepare(
    db: sqlite3.Connection,
    name: str,
    migrations: Mapping[int, Sequence[str]] = MIGRATIONS,
    *,
    format: int = FORMAT,
    readable_from: int = READABLE_FROM,
) -> None:
    """Bring an open file to `format`. Raises StoreFault when it is not ours or too new, sqlite3.Error."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if tables and owner != APPLICATION_ID:
        raise StoreFault(f"{name} is a database of something else; move it away to start empty")
    if found > format:
        (oldest,) = db.execute("SELECT value FROM meta WHERE key = 'readable_from'").fetchone() or (found,)
        if oldest > format:
            raise StoreFault(
                f"{name} has format {found}, this version reads up to {format}; start the version that wrote it"
            )
        return
    while found < format:
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in migrations[found]:
                db.execute(statement)
            db.execute("INSERT OR REPLACE INTO meta VALUES ('readable_from', ?)", (readable_from,))
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {found + 1}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        found += 1
