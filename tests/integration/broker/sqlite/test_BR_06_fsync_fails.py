"""BR-06: after a failed fsync nothing is acknowledged, the descriptor is never synced again, and the process is to end."""

import asyncio
import gc
from pathlib import Path

import pytest

from broker.store.contract import LogSettings
from broker.store.sqlite import files
from broker.store.sqlite.store import SqliteStore
from dataplane.errors import StoreUnavailable
from tests.eventstore import EARLIEST, append, record, until

pytest.importorskip("apsw", reason="the recording file layer needs apsw")
from tests.recordedfiles import Connection, Recorder  # noqa: E402


async def broken(
    tmp_path: Path, monkeypatch, which: str, wal_bytes: int
) -> tuple[SqliteStore, Recorder, list[str], int]:
    """A store on a disk whose next sync of the file named `which` fails, after 5 acknowledged records."""
    recorder = Recorder(f"eio-{which}")
    monkeypatch.setattr(files, "connect", lambda path, **more: Connection(path, recorder.name))
    monkeypatch.setattr(files, "WAL_BYTES", wal_bytes)
    told: list[str] = []
    store = SqliteStore(tmp_path, on_broken=told.append)
    await store.start()
    log = await store.open("default/default", LogSettings())
    for i in range(5):
        await append(log, record(f"e{i}"))
    recorder.fail_sync = lambda file, _: file == which
    return store, recorder, told, len(recorder.steps)


async def test_BR_06_a_failed_sync_of_the_wal_ends_acknowledging_for_good(tmp_path: Path, monkeypatch) -> None:
    store, recorder, told, before = await broken(tmp_path, monkeypatch, "default.db-wal", 10**9)
    log = await store.open("default/default", LogSettings())
    with pytest.raises(StoreUnavailable):
        await append(log, record("lost"))
    assert len(told) == 1
    assert "default.db" in told[0]
    assert store.not_ready() == told[0]
    for i in range(3):
        with pytest.raises(StoreUnavailable):
            await append(log, record(f"after{i}"))
    recorder.fail_sync = lambda *_: False  # the disk says that it is well again: it is not believed
    with pytest.raises(StoreUnavailable):
        await append(log, record("never"))
    await store.close()
    del log
    gc.collect()
    kinds = [step.kind for step in recorder.steps[before:] if step.kind.endswith("sync")]
    assert kinds == ["failed sync"], "not once more on the same descriptor, not even to close it"
    assert len(told) == 1

    monkeypatch.undo()
    store = SqliteStore(tmp_path)  # a new process looks at what the disk has
    await store.start()
    log = await store.open("default/default", LogSettings())
    found = [one.record.event.id for one in await log.read(EARLIEST)]
    assert found[:5] == [f"e{i}" for i in range(5)]
    assert not [id for id in found if id.startswith("after") or id == "never"]
    await store.close()


async def test_BR_06_a_failed_sync_of_a_checkpoint_is_heard_of(tmp_path: Path, monkeypatch) -> None:
    store, recorder, told, _ = await broken(tmp_path, monkeypatch, "default.db", 0)
    log = await store.open("default/default", LogSettings())
    try:
        await append(log, record("e5"))  # in the WAL durably; the checkpoint after it fails
    except StoreUnavailable:
        pass
    await until(lambda: told)
    with pytest.raises(StoreUnavailable):
        await append(log, record("after"))
    await store.close()
    monkeypatch.undo()
    store = SqliteStore(tmp_path)
    await store.start()
    log = await store.open("default/default", LogSettings())
    assert [one.record.event.id for one in await log.read(EARLIEST)][:5] == [f"e{i}" for i in range(5)]
    await store.close()


async def test_BR_06_whoever_waits_is_told_at_once(tmp_path: Path, monkeypatch) -> None:
    store, _, told, _ = await broken(tmp_path, monkeypatch, "default.db-wal", 10**9)
    log = await store.open("default/default", LogSettings())
    faults: list[Exception | None] = []
    for i in range(2000):  # more than one group
        log.append([record(f"x{i}")], faults.append)
    await until(lambda: len(faults) == 2000)
    assert all(isinstance(fault, StoreUnavailable) for fault in faults)
    await asyncio.sleep(0.05)
    assert len(told) == 1
    await store.close()
