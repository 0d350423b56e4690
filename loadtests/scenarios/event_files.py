"""A file per broker or one for all, an index on ids, the size of a page: what each costs. (docs/decisions/0008)"""

import os
import sqlite3
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from harness import Bench, spread  # noqa: E402

BROKERS = 4
EVENTS = 6400  # per broker
SOME = 8  # events that wait in one broker at a time
COLUMNS = 11


def what_do_a_stores_files_cost(bench: Bench) -> None:
    """Durable inserts of 1 KB events: four busy brokers in one file or four, and one broker's file in variations."""
    subjects: dict[str, Callable[[Path], None]] = {
        "4 brokers, a file and a thread each, groups of 8": _apart,
        "4 brokers, a file each, one thread, groups of 8": _in_turn,
        "4 brokers, one file, groups of 32": lambda folder: _one(folder, SOME * BROKERS),
        "one file, groups of 64, pages of 4096": lambda folder: _one(folder, 64, page=4096),
        "one file, groups of 64, pages of 8192": lambda folder: _one(folder, 64, page=8192),
        "one file, groups of 64, pages of 16384": lambda folder: _one(folder, 64, page=16384),
        "one file, groups of 64, an index on (id, source)": lambda folder: _one(folder, 64, index=True),
        "one file, groups of 64, not synced": lambda folder: _one(folder, 64, sync="NORMAL"),
    }
    for subject, run in subjects.items():
        cpu, wall = [], []
        for number in range(bench.rounds):
            folder = bench.folder / f"{len(bench.rows)}-{number}"
            folder.mkdir()
            began, cpu_began = time.perf_counter(), time.process_time()
            run(folder)
            events = EVENTS * BROKERS
            wall.append((time.perf_counter() - began) / events * 1e6)
            cpu.append((time.process_time() - cpu_began) / events * 1e6)
        bench.record("event_files", subject, cpu_us=spread(cpu), wall_us=spread(wall))
        print(
            f"  {subject:52} {statistics.median(cpu):7.2f} µs CPU {statistics.median(wall):8.2f} µs wall per event",
            flush=True,
        )


def _open(path: Path, *, page: int = 8192, index: bool = False, sync: str = "FULL") -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in (f"page_size = {page}", "auto_vacuum = INCREMENTAL", "journal_mode = WAL", f"synchronous = {sync}"):
        db.execute(f"PRAGMA {pragma}")
    db.execute(
        "CREATE TABLE records (position INTEGER PRIMARY KEY, id TEXT, source TEXT, type TEXT, time TEXT,"
        " attributes TEXT, data BLOB, more TEXT, arrived_at REAL, total INTEGER, crc INTEGER)"
    )
    if index:
        db.execute("CREATE INDEX ids ON records (id, source)")
    return db


def _insert(db: sqlite3.Connection, position: int, count: int) -> None:
    values: list[object] = []
    for number in range(position, position + count):
        id = os.urandom(16).hex()
        attributes = (
            f'{{"specversion":"1.0","id":"{id}","source":"https://shop.example/orders","type":"dev.example.order"}}'
        )
        values += (number, id, "https://shop.example/orders", "dev.example.order", None, attributes, bytes(1024), None)
        values += (1.8e9, number * 1300, 123456789)
    marks = ",".join("?" * COLUMNS)
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO records VALUES " + ",".join([f"({marks})"] * count), values)
    db.execute("COMMIT")


def _one(folder: Path, group: int, **more: object) -> None:
    db = _open(folder / "one.db", **more)  # type: ignore[arg-type]
    for position in range(0, EVENTS * BROKERS, group):
        _insert(db, position, group)
    db.close()


def _in_turn(folder: Path) -> None:
    files = [_open(folder / f"{number}.db") for number in range(BROKERS)]
    for position in range(0, EVENTS, SOME):
        for db in files:
            _insert(db, position, SOME)
    for db in files:
        db.close()


def _apart(folder: Path) -> None:
    def work(number: int) -> None:
        db = _open(folder / f"{number}.db")
        for position in range(0, EVENTS, SOME):
            _insert(db, position, SOME)
        db.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(BROKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
