"""BR-04: a tail that was torn at any byte costs the groups that were in it, whole, and no record is ever half or foreign."""

import random
import shutil
from pathlib import Path

from broker.store.sqlite.files import PAGE_BYTES, Appending, BrokerFile, Group
from broker.store.sqlite.reading import Reading
from broker.store.sqlite.rows import encode
from tests.eventstore import record

GROUPS = 12


def data(id: str) -> bytes:
    return f"{id} ".encode() * 400


def filled(path: Path) -> Path:
    """A copy of a store's files as a killed process left them: everything is in the WAL."""
    file = BrokerFile(path / "x" / "b.db", "fsync")
    file.checkpoint(always=True)
    for number in range(GROUPS):
        ids = [f"{number}-{i}" for i in range(3)]
        rows = [encode(record(id, data=data(id))) for id in ids]
        file.write(Group([Appending(rows, ())], [], {}, [], [], 1.0, 0.0))
    copy = path / "left"
    shutil.copytree(path / "x", copy)
    file.close()
    return copy


def look(folder: Path) -> int:
    """How many groups are there; raises when what is there is not a prefix of what was written."""
    file = BrokerFile(folder / "b.db", "os")
    reading = Reading(folder / "b.db")
    found = reading.slice(1, 1000, file.held().next)
    reading.close()
    file.close()
    assert found.damaged == []
    ids = [one.event.id for _, one in found.rows]
    assert ids == [f"{number}-{i}" for number in range(GROUPS) for i in range(3)][: len(ids)]
    assert len(ids) % 3 == 0
    assert all(one.event.data == data(one.event.id) for _, one in found.rows)
    return len(ids) // 3


def test_BR_04_a_tail_cut_at_any_byte_is_a_whole_number_of_groups(tmp_path: Path) -> None:
    left = filled(tmp_path)
    assert look(shutil.copytree(left, tmp_path / "whole")) == GROUPS
    size = (left / "b.db-wal").stat().st_size
    chance = random.Random(4)
    cuts = {0, 1, 31, 32, 33, size - 1, *(chance.randrange(size) for _ in range(60))}
    frame = PAGE_BYTES + 24
    cuts |= {32 + frame * chance.randrange(size // frame) + chance.choice((-1, 0, 1, 23, 24, 25)) for _ in range(40)}
    seen = set()
    for cut in sorted(cuts):
        folder = shutil.copytree(left, tmp_path / f"cut{cut}")
        with open(folder / "b.db-wal", "r+b") as wal:
            wal.truncate(max(0, cut))
        seen.add(look(folder))
    assert {0, GROUPS - 1} <= seen, "the cuts met the first and the last group"


def test_BR_04_a_tail_with_any_byte_changed_is_a_whole_number_of_groups(tmp_path: Path) -> None:
    left = filled(tmp_path)
    size = (left / "b.db-wal").stat().st_size
    chance = random.Random(5)
    for one in range(60):
        folder = shutil.copytree(left, tmp_path / f"flip{one}")
        with open(folder / "b.db-wal", "r+b") as wal:
            wal.seek(chance.randrange(size))
            byte = wal.read(1)[0]
            wal.seek(-1, 1)
            wal.write(bytes([byte ^ 1 << chance.randrange(8)]))
        look(folder)
