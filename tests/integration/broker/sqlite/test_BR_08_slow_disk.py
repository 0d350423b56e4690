"""BR-08: a disk that stalls never stalls the loop; what waits for it is bounded, and it is made good afterwards."""

import asyncio
import threading

import pytest

from broker.store.contract import LogSettings
from broker.store.sqlite import groups
from broker.store.sqlite.files import BrokerFile
from dataplane.errors import StoreUnavailable
from tests.eventstore import EARLIEST, Subscriber, append, record, settling, subscribe, until


@pytest.fixture
def disk(monkeypatch):
    """An Event: cleared, every group hangs in the writer thread until it is set."""
    runs = threading.Event()
    runs.set()
    write = BrokerFile.write

    def slow(self, group):
        assert runs.wait(30)
        return write(self, group)

    monkeypatch.setattr(BrokerFile, "write", slow)
    yield runs
    runs.set()


async def test_BR_08_the_loop_runs_while_the_disk_stalls_and_everything_is_made_good(make_store, disk) -> None:
    store = await make_store()
    log = await store.open("default/default", LogSettings())
    subscriber = await subscribe(log, settling())
    await append(log, record("before"))
    disk.clear()
    told: list[object] = []
    for i in range(500):
        log.append([record(f"e{i}")], told.append)
    for _ in range(100):
        await asyncio.sleep(0)  # turns of the loop; none of them waits for the disk
    assert told == []
    assert [one.record.event.id for one in await log.read(EARLIEST)] == ["before"], "reads go on"
    disk.set()
    await until(lambda: len(told) == 500)
    assert set(told) == {None}
    await subscriber.until(501)


async def test_BR_08_what_waits_for_a_stalled_disk_is_bounded(make_store, disk, monkeypatch) -> None:
    monkeypatch.setattr(groups, "WAITING_BYTES_MAX", 1_000_000)
    store = await make_store()
    log = await store.open("default/default", LogSettings())
    disk.clear()
    told: list[object] = []
    for i in range(200):
        log.append([record(f"e{i}", data=bytes(50_000))], told.append)
    await until(lambda: told)
    refused = [fault for fault in told if fault is not None]
    assert len(refused) >= 170
    assert all(isinstance(fault, StoreUnavailable) and "wait for the disk" in str(fault) for fault in refused)
    assert log._groups.waiting_bytes <= 1_000_000 + 51_000
    disk.set()
    await until(lambda: len(told) == 200)
    kept = [one.record.event.id for one in await log.read(EARLIEST, limit=1000)]
    assert len(kept) == 200 - len(refused)
    await append(log, record("after"))


async def test_BR_08_triggers_pause_when_too_much_cannot_be_written_down(make_store, disk, monkeypatch) -> None:
    monkeypatch.setattr(groups, "OPS_MAX", 50)
    store = await make_store()
    log = await store.open("default/default", LogSettings())
    await append(log, *[record(f"e{i}") for i in range(2000)])
    subscriber = settling(room=10)
    subscriber.answer = lambda delivery: asyncio.get_running_loop().call_soon(subscriber.park, delivery)
    await subscribe(log, subscriber, EARLIEST)
    await subscriber.until(20)
    disk.clear()
    await until(lambda: log._fanout._paused or len(log._groups.pending) > 50)
    await asyncio.sleep(0.1)
    assert len(log._groups.pending) < 500
    assert len(subscriber.got) < 2000
    disk.set()
    await subscriber.until(2000)


async def test_BR_08_a_file_that_another_process_holds_refuses_and_resumes_by_itself(make_store, tmp_path) -> None:
    import sqlite3

    store = await make_store()
    log = await store.open("default/default", LogSettings())
    subscriber = await subscribe(log, settling())
    await append(log, record("before"))
    await subscriber.until(1)
    other = sqlite3.connect(log._file.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await append(log, record("meanwhile"))
    other.execute("ROLLBACK")
    other.close()
    await append(log, record("after"))
    await subscriber.until(2)
    assert [one.record.event.id for one in await log.read(EARLIEST)] == ["before", "after"]
    assert await log.flush()


async def test_a_folder_belongs_to_one_process(make_store) -> None:
    first = await make_store()
    with pytest.raises(StoreUnavailable, match="in use"):
        await make_store()
    await first.close()
    await make_store()


async def test_what_was_settled_while_retention_had_the_writer_is_written_afterwards(make_store, monkeypatch) -> None:
    """The timer of the settles fires while no group may start: they must not wait for the next append."""
    runs = threading.Event()
    trim = BrokerFile.trim

    def slow(self, **more):
        assert runs.wait(30)
        return trim(self, **more)

    store = await make_store()
    log = await store.open("default/default", LogSettings())
    subscriber = await subscribe(log, Subscriber())
    await append(log, record("a"))
    await subscriber.until(1)
    assert await log.flush()
    monkeypatch.setattr(BrokerFile, "trim", slow)
    subscriber.settle(subscriber.got[0])
    log._retention._retain()
    assert log._groups._busy
    await asyncio.sleep(0.05)  # longer than settles wait for company
    assert len(log._groups.pending)
    runs.set()
    await until(lambda: not len(log._groups.pending) and not log._groups._busy)
