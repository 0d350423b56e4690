"""Letters in a broker's file: what was given up, bounded, redriven, discarded.

Path: writer thread → [letters] → disk. They are written with the group that settles them (files.py).

Blocking; raises sqlite3.Error.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from broker.store.contract import Kept
from broker.store.schedule import Entry

SOME = 1000  # letters per call: one short transaction


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All of it, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite has already rolled back by itself when the disk was full
            db.execute("ROLLBACK")
        raise


class Letters:
    """Over the one connection that writes."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def bound(self, trigger: str, kept: Kept, count: int) -> int:
        """The oldest `count` go. How many there were."""
        return self._db.execute(
            "DELETE FROM letters WHERE letter IN"
            " (SELECT letter FROM letters WHERE trigger = ? AND kept = ? ORDER BY letter LIMIT ?)",
            (trigger, kept, count),
        ).rowcount

    def redrive(self, trigger: str, kept: Kept, letters: Sequence[int] | None, now: float) -> list[Entry]:
        """Put at most SOME of these letters (None: of that kind) on the schedule, at once. Those that were."""
        with transaction(self._db) as db:
            found = self._chosen(trigger, kept, letters, "letter, arrived_at")
            db.executemany(
                "INSERT OR REPLACE INTO schedule VALUES (?,?,1,0,?,?)",
                [(trigger, -letter, arrived_at, now) for letter, arrived_at in found],
            )
            db.executemany("UPDATE letters SET kept = 'redriven' WHERE letter = ?", [(one,) for one, _ in found])
            self._count(trigger, kept, -len(found))
        return [Entry(-letter, 1, 0.0, arrived_at) for letter, arrived_at in found]

    def discard(self, trigger: str, kept: Kept, letters: Sequence[int] | None) -> int:
        """At most SOME of these letters go. How many did."""
        with transaction(self._db) as db:
            found = self._chosen(trigger, kept, letters, "letter")
            db.executemany("DELETE FROM letters WHERE letter = ?", found)
            self._count(trigger, kept, -len(found))
        return len(found)

    def _chosen(self, trigger: str, kept: Kept, letters: Sequence[int] | None, columns: str) -> list[tuple[int, float]]:
        sql = f"SELECT {columns} FROM letters WHERE trigger = ? AND kept = ?"
        if letters is None:
            return self._db.execute(f"{sql} ORDER BY letter LIMIT ?", (trigger, kept, SOME)).fetchall()
        some = tuple(letters[:SOME])
        marks = ",".join("?" * len(some))
        return self._db.execute(f"{sql} AND letter IN ({marks})", (trigger, kept, *some)).fetchall()

    def _count(self, trigger: str, kept: Kept, change: int) -> None:
        column = "parked" if kept == "parked" else "dead_lettered"
        self._db.execute(f"UPDATE triggers SET {column} = {column} + ? WHERE trigger = ?", (change, trigger))
