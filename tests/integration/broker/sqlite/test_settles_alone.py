"""What is settled while nobody appends is written down too: it must not wait for the next event."""

import sqlite3
import time
from pathlib import Path

from broker.store.contract import LogSettings
from broker.store.sqlite.store import SqliteStore
from tests.eventstore import EARLIEST, Subscriber, append, record, subscribe, until


def low(folder: Path) -> int:
    with sqlite3.connect(f"file:{folder}/default/default.db?mode=ro", uri=True) as db:
        return int(db.execute("SELECT low FROM triggers").fetchone()[0])


async def test_settles_become_durable_though_the_writer_was_busy_when_their_time_came(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await store.start()
    log = await store.open("default/default", LogSettings())
    subscriber = await subscribe(log, Subscriber(), EARLIEST)
    await append(log, *(record(f"e{i}") for i in range(4)))
    for delivery in (await subscriber.until(4))[:3]:
        subscriber.settle(delivery)
        # Longer than settles wait for company: when they are due the writer does something else.
        assert log._groups.alone(lambda: time.sleep(0.05), lambda _: None)
        await until(lambda: not log._groups._busy)
        await until(lambda settled=int(delivery.position): low(tmp_path) == settled + 1)
    await store.close()
