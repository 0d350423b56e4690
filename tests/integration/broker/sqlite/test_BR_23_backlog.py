"""BR-23: however many events wait, a start looks at the ends of the log only, and reading them keeps little in memory.

Seconds and megabytes for 1 and 10 million are rows in loadtests/results (event_store); here the work is counted.
"""

import asyncio
import sqlite3
import tracemalloc
from pathlib import Path

import pytest

from broker.store.contract import LogSettings
from broker.store.sqlite import files, reading
from broker.store.sqlite.files import Appending, BrokerFile, Group
from broker.store.sqlite.rows import encode
from tests.eventstore import EARLIEST, Subscriber, record, settling, subscribe, until


def filled(path: Path, count: int) -> None:
    """count records in the file, all of them waiting."""
    file = BrokerFile(path, "os")
    rows = [encode(record(f"e{i}", data=bytes(100))) for i in range(1000)]
    for _ in range(count // 1000):
        file.write(Group([Appending(rows, ())], [], {}, [], [], 1.0, 0.0))
        file.checkpoint()
    file.close()


@pytest.fixture
def steps(monkeypatch) -> list[int]:
    """Counts what SQLite does: one for each hundred instructions of its virtual machine."""
    count = [0]
    connect = files.connect

    def counted(path: Path, **more: bool) -> sqlite3.Connection:
        db = connect(path, **more)

        def tick() -> int:
            count[0] += 1
            return 0

        db.set_progress_handler(tick, 100)
        return db

    monkeypatch.setattr(files, "connect", counted)
    monkeypatch.setattr(reading, "connect", counted)
    return count


async def test_BR_23_a_start_does_the_same_work_for_a_hundred_times_the_backlog(
    make_store, tmp_path: Path, steps
) -> None:
    took = []
    for count in (2_000, 200_000):
        folder = tmp_path / str(count)
        filled(folder / "default" / "default.db", count)
        steps[0] = 0
        store = await make_store(folder)
        log = await store.open("default/default", LogSettings())
        subscriber = await subscribe(log, Subscriber(room=1), EARLIEST)
        await subscriber.until(1)
        assert log.size()[0] == count
        assert subscriber.subscription.lag().waiting == count - 1
        took.append(steps[0])
        await store.close()
    assert took[1] <= took[0] + 10, f"work of a start: {took}"


async def test_BR_23_a_backlog_is_delivered_in_bounded_memory(make_store, tmp_path: Path) -> None:
    filled(tmp_path / "b" / "default" / "default.db", 50_000)
    store = await make_store(tmp_path / "b")
    log = await store.open("default/default", LogSettings())
    got = [0]
    subscriber = settling(room=100)

    def answer(delivery) -> None:
        got[0] += 1
        subscriber.settle(delivery)
        subscriber.got.clear()

    subscriber.answer = answer
    tracemalloc.start()
    try:
        await subscribe(log, subscriber, EARLIEST)
        await until(lambda: got[0] >= 50_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 1024 * 1024, f"{peak} bytes at the peak"


async def test_BR_23_a_large_schedule_is_not_held_in_memory(make_store, tmp_path: Path) -> None:
    path = tmp_path / "s" / "default" / "default.db"
    filled(path, 50_000)
    store = await make_store(tmp_path / "s")
    log = await store.open("default/default", LogSettings())
    subscriber = await subscribe(log, Subscriber(room=0), EARLIEST)
    await subscriber.subscription.close()
    await store.close()
    with sqlite3.connect(path) as db:  # everything was given back once, and is due
        from broker.store.progress import Progress

        db.execute("UPDATE triggers SET progress = ?", (Progress(50_001).encode(),))
        db.execute("INSERT INTO schedule SELECT 't1', position, 2, 1.0, arrived_at, 1.0 FROM records")
    db.close()
    store = await make_store(tmp_path / "s")
    log = await store.open("default/default", LogSettings())
    subscriber = settling(room=100)
    got: set[str] = set()

    def answer(delivery) -> None:
        got.add(delivery.position)
        assert delivery.attempt == 2
        assert len(subscriber.subscription is None or subscriber.subscription.schedule.waiting or ()) <= 20_000
        subscriber.settle(delivery)
        subscriber.got.clear()

    subscriber.answer = answer
    await subscribe(log, subscriber)
    async with asyncio.timeout(60):
        while len(got) < 50_000:
            await asyncio.sleep(0.05)
    await until(lambda: subscriber.subscription.lag()[:3] == (0, 0, 0))
