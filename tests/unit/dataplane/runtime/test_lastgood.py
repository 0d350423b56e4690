from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.clock import Clock
from dataplane.errors import ConfigFault
from dataplane.resources.snapshot import Endpoint, Revision, Snapshot
from dataplane.runtime.lastgood import LastGood

SNAPSHOT = Snapshot(
    generation=7,
    revisions={"d/a": Revision(namespace="d", name="a", endpoints=(Endpoint(id="1", address="127.0.0.1:9"),))},
)


def _clock(wall_s: float) -> Clock:
    return Clock(monotonic=lambda: 0.0, wall=lambda: wall_s)


def test_what_was_saved_is_loaded_with_its_age(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "snapshot"
    LastGood(path, clock=_clock(1000.0)).save(SNAPSHOT)
    kept = LastGood(path, clock=_clock(1000.0 + 86400)).load()
    assert kept is not None
    assert kept.snapshot == SNAPSHOT
    assert kept.age_s == pytest.approx(86400)
    assert [p.name for p in path.parent.iterdir()] == ["snapshot"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_file_is_no_snapshot_and_no_error(tmp_path: Path) -> None:
    assert LastGood(tmp_path / "x", clock=_clock(0)).load() is None


@given(st.data())
def test_a_file_with_any_byte_changed_or_cut_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("kept") / "snapshot"
    LastGood(path, clock=_clock(5.0)).save(SNAPSHOT)
    text = path.read_bytes()
    start = text.index(b"\n") + 1
    at = data.draw(st.integers(start, len(text) - 1))
    flipped = text[:at] + bytes([text[at] ^ data.draw(st.integers(1, 255))]) + text[at + 1 :]
    for damaged in (flipped, text[:at]):
        path.write_bytes(damaged)
        with pytest.raises(ConfigFault, match="damaged"):
            LastGood(path, clock=_clock(6.0)).load()


def test_another_format_or_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    path.write_bytes(b"dataplane-snapshot 99 x 0\n{}")
    with pytest.raises(ConfigFault, match="format 99, expected 1"):
        LastGood(path, clock=_clock(0)).load()
    path.write_bytes(b"hello")
    with pytest.raises(ConfigFault, match="not a snapshot file"):
        LastGood(path, clock=_clock(0)).load()


def test_an_older_snapshot_that_comes_later_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    kept = LastGood(tmp_path / "snapshot", clock=_clock(0))
    kept.save(Snapshot(generation=9))
    kept.save(Snapshot(generation=8))
    found = kept.load()
    assert found is not None
    assert found.snapshot.generation == 9
