"""Reads every record and letter of a broker's file and says which are damaged.

Path: command line → [scrub] → disk.

For a file that a store has open or not; nothing is written. A store finds damage when it reads; this finds it before.

Source: reliability.md BR-05.
"""

import sqlite3
from pathlib import Path
from typing import NamedTuple

from broker.store.sqlite.files import connect
from broker.store.sqlite.reading import is_damage
from broker.store.sqlite.rows import COLUMNS, Damaged, decode
from dataplane.errors import StoreFault

STEP = 1000


class Scrubbed(NamedTuple):
    """damaged: (`record 12` or `letter 3`, why). structure: what SQLite's own check says, [] when all is well."""

    records: int
    letters: int
    damaged: list[tuple[str, str]]
    structure: list[str]


def scrub(path: Path) -> Scrubbed:
    """Blocking, as long as the disk takes. Raises StoreFault when the file cannot be opened at all."""
    if not path.exists():
        raise StoreFault(f"{path} is not there")
    try:
        db = connect(path, read_only=True)
        try:
            damaged: list[tuple[str, str]] = []
            records = _walk(db, "record", "records", "position", damaged)
            letters = _walk(db, "letter", "letters", "letter", damaged)
            try:
                said = [row[0] for row in db.execute("PRAGMA integrity_check(20)")]
            except sqlite3.DatabaseError as error:
                said = [str(error)]
            return Scrubbed(records, letters, damaged, [] if said == ["ok"] else said)
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreFault(f"{path}: {error}") from error


def _walk(db: sqlite3.Connection, word: str, table: str, key: str, damaged: list[tuple[str, str]]) -> int:
    """How many there are, as far as that can be told."""
    first, last = _ends(db, table, key)
    found = 0
    for begin in range(first, last + 1, STEP):
        end = min(begin + STEP, last + 1)
        try:
            rows = db.execute(
                f"SELECT {key}, {COLUMNS} FROM {table} WHERE {key} >= ? AND {key} < ?", (begin, end)
            ).fetchall()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            rows = []
            for one in range(begin, end):
                try:
                    rows += db.execute(f"SELECT {key}, {COLUMNS} FROM {table} WHERE {key} = ?", (one,)).fetchall()
                except sqlite3.Error as worse:
                    damaged.append((f"{word} {one}", str(worse)))
        found += len(rows)
        for row in rows:
            try:
                decode(row[0] if table == "records" else 0, *row[1:])
            except Damaged as error:
                damaged.append((f"{word} {row[0]}", str(error)))
    return found


def _ends(db: sqlite3.Connection, table: str, key: str) -> tuple[int, int]:
    """First and last key; (1, 0) without any. Two look-ups: together they would be a scan."""
    (first,) = db.execute(f"SELECT MIN({key}) FROM {table}").fetchone()
    (last,) = db.execute(f"SELECT MAX({key}) FROM {table}").fetchone()
    return first or 1, last or 0
