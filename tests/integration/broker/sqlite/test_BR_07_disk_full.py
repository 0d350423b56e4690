"""BR-07: a full disk refuses new events in words, loses none, lets deliveries and settles go on, and heals by itself."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from broker.store.contract import LogSettings, Start
from broker.store.sqlite.log import SqliteLog
from dataplane.errors import StoreFull
from tests.eventstore import EARLIEST, WAIT_S, Subscriber, append, record, settling, subscribe, until


@pytest.fixture
def small_disk(tmp_path: Path):
    """16 MiB of its own. Yields its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


async def fill(log: SqliteLog, kept: list[str], size: int = 20_000) -> None:
    """Until the store says full."""
    async with asyncio.timeout(60):
        for i in range(100_000):
            try:
                await append(log, record(f"e{len(kept)}-{i}", data=bytes(size)))
            except StoreFull:
                return
            kept.append(f"e{len(kept)}-{i}")


async def until_accepted(log: SqliteLog, id: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await append(log, record(id))
            except StoreFull:
                await asyncio.sleep(0.1)


async def test_BR_07_a_full_disk_refuses_events_and_goes_on_delivering_and_settling(
    make_store, small_disk: Path
) -> None:
    store = await make_store(small_disk / "events")
    log = await store.open("default/default", LogSettings())
    subscriber = await subscribe(log, Subscriber(room=10))
    kept: list[str] = []
    await fill(log, kept)
    assert len(kept) > 100
    assert "full" in store.not_ready()
    with pytest.raises(StoreFull):
        await append(log, record("refused"))

    # Deliveries go on, and what they end with is written down: settles, retries, letters.
    settled: list[str] = []

    def answer(delivery) -> None:
        settled.append(delivery.record.event.id)
        if len(settled) % 40 == 0 and len(settled) < 200:
            subscriber.park(delivery)
        else:
            subscriber.settle(delivery)

    subscriber.answer = answer
    for delivery in list(subscriber.got):
        answer(delivery)
    await until(lambda: len(settled) == len(kept) and subscriber.subscription.lag()[:2] == (0, 0))
    assert settled == kept
    assert await log.flush(), "settles are durable although the disk is full"

    # A new process finds all of it.
    await subscriber.subscription.close()
    await store.close()
    store = await make_store(small_disk / "events")
    log = await store.open("default/default", LogSettings())
    again = await subscribe(log, settling("t1"))
    await again.stays_at(0, 0.1)
    assert len(await again.subscription.letters()) == subscriber.subscription.lag().parked


async def test_BR_07_it_resumes_by_itself_when_there_is_space_and_nothing_acknowledged_is_lost(
    make_store, small_disk: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(8 * 1024 * 1024))
    store = await make_store(small_disk / "events")
    log = await store.open("default/default", LogSettings())
    kept: list[str] = []
    await fill(log, kept)
    ballast.unlink()
    await until_accepted(log, "after")
    assert store.not_ready() == ""
    assert [one.record.event.id for one in await log.read(EARLIEST, limit=10**6)] == [*kept, "after"]
    await fill(log, kept)  # and full again
    assert "full" in store.not_ready()


async def test_BR_07_retention_makes_room_on_a_full_disk(make_store, small_disk: Path) -> None:
    store = await make_store(small_disk / "events")
    log = await store.open("default/default", LogSettings())
    await subscribe(log, settling())
    kept: list[str] = []
    await fill(log, kept)
    await store.open("default/default", LogSettings(retention_bytes=1_000_000))  # the owner says what may go
    await until(lambda: log.size()[0] < len(kept) / 2)
    await until_accepted(log, "after")
    assert await log.read(Start("latest"), limit=1) != []
    for i in range(20):
        await append(log, record(f"more{i}", data=bytes(20_000)))


async def test_BR_07_a_store_is_refused_in_words_where_there_is_no_space_at_all(make_store, small_disk: Path) -> None:
    with (small_disk / "ballast").open("wb") as ballast:
        try:
            while True:
                ballast.write(bytes(65536))
        except OSError:
            pass
    from dataplane.errors import StoreFault

    with pytest.raises(StoreFault):
        store = await make_store(small_disk / "events")
        await store.open("default/default", LogSettings())


async def test_BR_07_a_file_that_may_not_grow_is_full_too(make_store) -> None:
    """What a quota of the file system looks like to SQLite; needs no rights."""
    store = await make_store()
    log = await store.open("default/default", LogSettings())
    subscriber = await subscribe(log, settling())
    await append(log, record("a"))
    file = log._file
    (pages,) = await log._order(lambda: file._db.execute("PRAGMA page_count").fetchone())
    await log._order(lambda: file._db.execute(f"PRAGMA max_page_count = {pages + 10}").fetchone())
    with pytest.raises(StoreFull):
        await append(log, record("big", data=bytes(500_000)))
    await subscriber.until(1)
    await until(lambda: subscriber.subscription.lag().in_flight == 0)
    assert await log.flush()
    await log._order(lambda: file._db.execute("PRAGMA max_page_count = 1000000").fetchone())
    await until_accepted(log, "after")
    await subscriber.until(2)


async def test_BR_07_a_reply_that_finds_the_disk_full_leaves_its_cause_unsettled(make_store) -> None:
    store = await make_store()
    log = await store.open("default/default", LogSettings())
    subscriber = await subscribe(log, Subscriber())
    await append(log, record("cause"))
    await subscriber.until(1)
    subscriber.later(subscriber.got[0], attempt=2)
    await subscriber.until(2)
    assert await log.flush()
    file = log._file
    (pages,) = await log._order(lambda: file._db.execute("PRAGMA page_count").fetchone())
    await log._order(lambda: file._db.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    told: list[object] = []
    subscriber.subscription.settle_with(subscriber.got[1], record("reply", data=bytes(500_000)), told.append)
    await until(lambda: told)
    assert isinstance(told[0], StoreFull)
    assert subscriber.subscription.lag().in_flight == 1
    await log.flush()
    rows = await log._order(lambda: file._db.execute("SELECT key, attempt FROM schedule").fetchall())
    assert rows == [(1, 2)], "a crash now would deliver the cause again, as attempt 2"
