"""BR-02, BR-03: whatever a power cut leaves of the last writes, everything acknowledged is there, and nothing in halves."""

import random
import shutil
from pathlib import Path

import pytest

from broker.store.progress import Progress
from broker.store.schedule import Entry
from broker.store.sqlite import files
from broker.store.sqlite.files import Appending, BrokerFile, Group, TriggerRow
from broker.store.sqlite.reading import Reading
from broker.store.sqlite.rows import encode
from broker.store.sqlite.scrub import scrub
from tests.eventstore import record

pytest.importorskip("apsw", reason="the recording file layer needs apsw")
from tests.recordedfiles import Connection, Recorder, images  # noqa: E402

GROUPS = 40


def group(number: int, settled: int) -> Group:
    """Some records, and the trigger's progress: everything below `settled` is done, `settled` waits on the schedule."""
    rows = [encode(record(f"{number}-{i}", data=bytes([number]) * (700 * (i + 1)))) for i in range(1 + number % 5)]
    progress = Progress(settled + 1).encode()
    return Group(
        [Appending(rows, ())],
        [TriggerRow("t", "t", progress, settled, 0, 0)],
        {("t", settled): Entry(settled, number, 1.0, 1.0), ("t", settled - 1): None},
        [],
        [],
        1.0,
        0.0,
    )


def test_BR_03_whatever_a_power_cut_leaves_what_was_acknowledged_is_there(tmp_path: Path, monkeypatch) -> None:
    recorder = Recorder("power-cut")
    monkeypatch.setattr(files, "connect", lambda path, **more: Connection(path, recorder.name))
    monkeypatch.setattr(files, "sync_folder", recorder.sync_folder)
    monkeypatch.setattr(files, "WAL_BYTES", 200_000)  # several checkpoints in a short test
    file = BrokerFile(tmp_path / "x" / "b.db", "fsync")
    for number in range(GROUPS):
        settled = number + 1
        written = file.write(group(number, settled))
        recorder.mark((number, written.first, settled))
        file.checkpoint()
        if number % 10 == 9:
            recorder.mark(("trimming", settled, settled))  # what is settled may go from here on
            file.trim(old=10.0**12, bytes_max=0)
    file.close()
    recorder.syncs = 0
    monkeypatch.undo()

    assert sum(step.kind == "sync" for step in recorder.steps) > GROUPS
    looked_at = 0
    for marks, folder in images(recorder.steps, tmp_path / "cuts", random.Random(3), every=3):
        look(marks, folder / "b.db")
        shutil.rmtree(folder)
        looked_at += 1
    assert looked_at > 200


def look(marks: list, path: Path) -> None:
    """Open the image as a new process would."""
    file = BrokerFile(path, "os")
    held = file.held()
    reading = Reading(path)
    groups = [mark for mark in marks if mark[0] != "trimming"]
    first = max([mark[1] for mark in marks if mark[0] == "trimming"], default=1)
    slice_ = reading.slice(1, 10_000, held.next)
    assert slice_.damaged == []
    found = {one.event.id: (position, one) for position, one in slice_.rows}
    for number, begin, _ in groups:
        for i in range(1 + number % 5):
            if begin + i >= first:
                assert f"{number}-{i}" in found, f"acknowledged in group {number}, gone"
    for id, (_, one) in found.items():
        number, i = map(int, id.split("-"))
        assert one.event.data == bytes([number]) * (700 * (i + 1)), "whole, and its own"
        if f"{number}-0" in found:
            for other in range(1 + number % 5):
                assert f"{number}-{other}" in found, "a group is there as a whole"
    kept = reading.trigger("t", 100)
    if groups:
        assert kept is not None
        settled = Progress.decode(kept.progress).next - 1
        assert settled >= groups[-1][2], "what was settled durably stays settled"
        assert [(entry.key, entry.attempt) for entry, _ in kept.rows] == [(settled, settled - 1)]
    reading.close()
    file.close()
    assert scrub(path).structure == []
