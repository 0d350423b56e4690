"""BR-22: this version reads its neighbours' files, refuses others in words, and no crash halves a migration."""

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from broker.store.sqlite.files import Appending, BrokerFile, Group
from broker.store.sqlite.reading import Reading
from broker.store.sqlite.rows import encode
from broker.store.sqlite.schema import FORMAT, MIGRATIONS, prepare
from dataplane.errors import StoreFault
from tests.eventstore import record

NEXT = {
    **MIGRATIONS,
    FORMAT: [
        "ALTER TABLE records ADD COLUMN colour TEXT",
        "CREATE TABLE extra AS SELECT position, type FROM records",
        "UPDATE records SET colour = 'red'",
    ],
}


def made(path: Path) -> Path:
    file = BrokerFile(path, "fsync")
    file.write(
        Group([Appending([encode(record(f"e{i}", data=bytes(3000))) for i in range(40)], ())], [], {}, [], [], 1.0, 0.0)
    )
    file.close()
    return path


def ids(path: Path) -> list[str]:
    file = BrokerFile(path, "os")
    reading = Reading(path)
    rows = reading.slice(1, 1000, file.held().next).rows
    reading.close()
    file.close()
    return [one.event.id for _, one in rows]


def migrate(path: Path, **more: int) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    prepare(db, str(path), NEXT, format=FORMAT + 1, **more)
    db.close()


def format_of(path: Path) -> int:
    db = sqlite3.connect(path)
    (found,) = db.execute("PRAGMA user_version").fetchone()
    db.close()
    return found


def test_BR_22_a_file_of_the_version_before_is_migrated_and_keeps_everything(tmp_path: Path) -> None:
    path = made(tmp_path / "x" / "b.db")
    migrate(path)
    assert format_of(path) == FORMAT + 1
    db = sqlite3.connect(path)
    assert db.execute("SELECT COUNT(*) FROM records WHERE colour = 'red'").fetchone() == (40,)
    db.close()


def test_BR_22_a_file_of_the_version_after_is_read_when_it_was_only_added_to(tmp_path: Path) -> None:
    """A downgrade: the next version said that this one may read its files."""
    path = made(tmp_path / "x" / "b.db")
    db = sqlite3.connect(path, isolation_level=None)
    prepare(db, str(path), {**MIGRATIONS, FORMAT: ["CREATE TABLE extra (x)"]}, format=FORMAT + 1, readable_from=FORMAT)
    db.close()
    assert ids(path) == [f"e{i}" for i in range(40)]
    assert format_of(path) == FORMAT + 1, "it stays what it is"


def test_BR_22_a_file_that_is_too_new_is_refused_with_advice(tmp_path: Path) -> None:
    path = made(tmp_path / "x" / "b.db")
    migrate(path, readable_from=FORMAT + 1)
    with pytest.raises(StoreFault, match="start the version that wrote it"):
        BrokerFile(path, "os")


def test_BR_22_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    path = tmp_path / "x" / "b.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE mine (x)")
    db.commit()
    db.close()
    with pytest.raises(StoreFault, match="something else"):
        BrokerFile(path, "os")
    path.write_bytes(b"not a database at all" * 1000)
    with pytest.raises(StoreFault, match="move it away"):
        BrokerFile(path, "os")


def test_BR_22_a_power_cut_at_any_step_of_a_migration_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    pytest.importorskip("apsw", reason="the recording file layer needs apsw")
    from tests.recordedfiles import Connection, Recorder, images

    path = made(tmp_path / "x" / "b.db")
    recorder = Recorder("migration")
    db = Connection(path, recorder.name)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    before = {"b.db": path.read_bytes()}
    begin = len(recorder.steps)
    prepare(db, str(path), NEXT, format=FORMAT + 1, readable_from=FORMAT)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    seen = set()
    for _, folder in images(recorder.steps[begin:], tmp_path / "cuts", random.Random(22), before=before):
        cut = folder / "b.db"
        assert ids(cut) == [f"e{i}" for i in range(40)]
        seen.add(format_of(cut))
        migrate(cut)  # the next start finishes it
        assert format_of(cut) == FORMAT + 1
        look = sqlite3.connect(cut)
        assert look.execute("SELECT COUNT(*) FROM records WHERE colour = 'red'").fetchone() == (40,)
        assert look.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        look.close()
        shutil.rmtree(folder)
    db.close()
    assert seen == {FORMAT, FORMAT + 1}
