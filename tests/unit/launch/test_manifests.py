from pathlib import Path

import pytest

from launch.instance import Failure
from launch.manifests import checked, files_of, images_beside, placed, read

SERVICE = """apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: %s}
spec: {template: {spec: {containers: [{image: dev.local/app}]}}}
"""


def test_a_folder_gives_its_manifests_in_order_and_not_its_images_file(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.json", "images.yaml", "README.md"):
        (tmp_path / name).write_text("")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "c.yml").write_text("")
    assert files_of((str(tmp_path),)) == [tmp_path / "a.json", tmp_path / "b.yaml"]
    assert files_of((str(tmp_path),), recursive=True)[-1] == tmp_path / "inner" / "c.yml"
    assert images_beside((str(tmp_path), "-")) == [tmp_path / "images.yaml"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no such file or folder"):
        files_of((str(tmp_path / "none"),))
    with pytest.raises(Failure, match="in this folder"):
        files_of((str(tmp_path),))
    (tmp_path / "x.yaml").write_bytes(b"\xff")
    with pytest.raises(Failure, match="not UTF-8"):
        read((str(tmp_path / "x.yaml"),))


def test_the_mistakes_of_all_files_come_together_with_their_places(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SERVICE % "a" + "colour: blue\n")
    (tmp_path / "b.yaml").write_text(SERVICE % "B_")
    with pytest.raises(Failure) as caught:
        checked((str(tmp_path),), {})
    lines = caught.value.message.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{tmp_path}/a.yaml:5:1", f"{tmp_path}/b.yaml:3:12"]


def test_what_the_server_says_about_an_object_gets_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SERVICE % "a" + "---\n" + SERVICE % "b")
    parsed = read((str(tmp_path / "a.yaml"),))
    assert placed(parsed, (("[1]", "is immutable"), ("", "other"))) == f"{tmp_path}/a.yaml:6:1: is immutable\nother"
