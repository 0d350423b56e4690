"""Volumes on disk change all at once."""

import os

from controlplane.kubelet.materialise import make
from controlplane.kubelet.volumes import Content, File


def content(**files: str) -> Content:
    return Content({name.replace("__", "/"): File(data.encode(), 0o640) for name, data in files.items()})


def seen(folder) -> dict[str, str]:
    return {
        os.path.relpath(os.path.join(root, name), folder): open(os.path.join(root, name)).read()
        for root, _, names in os.walk(folder, followlinks=True)
        for name in names
        if not os.path.relpath(root, folder).startswith("..")
    }


def test_files_are_seen_under_their_names_with_their_mode(tmp_path):
    assert make(tmp_path / "v", content(a="1", deep__b="2"))
    assert seen(tmp_path / "v") == {"a": "1", "deep/b": "2"}
    assert (tmp_path / "v/a").stat().st_mode & 0o777 == 0o640


def test_the_same_again_changes_nothing(tmp_path):
    make(tmp_path / "v", content(a="1"))
    before = os.readlink(tmp_path / "v/..data")
    assert not make(tmp_path / "v", content(a="1"))
    assert os.readlink(tmp_path / "v/..data") == before


def test_an_update_swaps_one_link_and_removes_what_went(tmp_path):
    make(tmp_path / "v", content(a="1", gone="x"))
    old = (tmp_path / "v/a").open()
    assert make(tmp_path / "v", content(a="2", new="y"))
    assert seen(tmp_path / "v") == {"a": "2", "new": "y"}
    assert old.read() == "1"  # who has it open keeps the old one
    assert sorted(os.listdir(tmp_path / "v")) == ["..2", "..data", "a", "new"]


def test_a_change_of_mode_is_a_change(tmp_path):
    make(tmp_path / "v", Content({"a": File(b"1", 0o600)}))
    assert make(tmp_path / "v", Content({"a": File(b"1", 0o644)}))


def test_no_files_is_an_empty_volume(tmp_path):
    make(tmp_path / "v", content(a="1"))
    assert make(tmp_path / "v", Content({}))
    assert seen(tmp_path / "v") == {}


def test_an_empty_dir_is_writable_by_everybody(tmp_path):
    make(tmp_path / "v", Content(None))
    assert (tmp_path / "v").stat().st_mode & 0o777 == 0o777
