"""What runs for an image."""

import sys

import pytest

from controlplane.kubelet.images import Image, load_images, resolve, spellings
from controlplane.kubelet.refusal import NotRunnable
from dataplane.errors import ConfigFault
from dataplane.resources.core import Container

IMAGES = {"dev.local/app:v1": Image(command=("run",), args=("a",), working_dir="/w", env={"E": "1"})}


@pytest.mark.parametrize(
    ("container", "argv"),
    [
        (Container(image="dev.local/app:v1"), ("run", "a")),
        (Container(image="dev.local/app:v1", args=("b",)), ("run", "b")),
        (Container(image="dev.local/app:v1", command=("own",)), ("own",)),
        (Container(image="dev.local/app:v1", command=("own",), args=("b",)), ("own", "b")),
        (Container(image="anything", command=("own",)), ("own",)),
        (Container(command=("own",)), ("own",)),
    ],
)
def test_command_replaces_the_entry_point_and_args_its_arguments(container, argv):
    assert resolve(container, IMAGES).argv == argv


def test_the_containers_own_folder_wins():
    assert resolve(Container(image="dev.local/app:v1", working_dir="/mine"), IMAGES).working_dir == "/mine"
    assert resolve(Container(image="dev.local/app:v1"), IMAGES) == (("run", "a"), "/w", {"E": "1"})


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        ("app:latest", "app"),
        ("app", "app:latest"),
        ("docker.io/dev/app", "dev/app"),
        ("dev/app", "docker.io/dev/app:latest"),
        ("nginx", "docker.io/library/nginx"),
        ("ghcr.io/x/y:latest", "ghcr.io/x/y"),
        ("ghcr.io/x/y", "ghcr.io/x/y@sha256:abc"),
        ("localhost:5000/app:latest", "localhost:5000/app"),
    ],
)
def test_an_image_is_found_under_every_usual_spelling(known, asked):
    assert resolve(Container(image=asked), {known: Image(command=("x",))}).argv == ("x",)


def test_another_tag_is_another_image():
    with pytest.raises(NotRunnable):
        resolve(Container(image="dev.local/app:v2"), IMAGES)
    assert spellings("demo://hello") == ["demo://hello"]


def test_built_in_images_need_nothing():
    assert resolve(Container(image="demo://hello"), {}).argv[:3] == (sys.executable, "-I", "-S")
    assert resolve(Container(image="python://shop.web:app"), {}).argv[-1] == "shop.web:app"


@pytest.mark.parametrize("image", ["", "ghcr.io/a/b", "demo://nothing", "python://"])
def test_a_missing_program_names_the_two_ways(image):
    with pytest.raises(NotRunnable) as why:
        resolve(Container(name="main", image=image, args=("only",)), {})
    assert (why.value.reason, why.value.container) == ("ContainerMissing", "main")
    assert f'Unable to fetch image "{image}": ' in why.value.message
    assert '"command"' in why.value.message
    assert "images file" in why.value.message


def test_later_files_win_and_folders_start_at_their_file(tmp_path):
    (tmp_path / "deep").mkdir()
    one, two = tmp_path / "one.yaml", tmp_path / "deep" / "two.yaml"
    one.write_text("images: {a: {command: [one]}, b: {command: [b], workingDir: .}}")
    two.write_text("images: {a: {command: [two], workingDir: src, env: {K: v}}}")
    images = load_images([one, two])
    assert images["a"] == Image(command=("two",), working_dir=str(tmp_path / "deep/src"), env={"K": "v"})
    assert images["b"].working_dir == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("images: {a: {command: []}}", "images.a.command is empty"),
        ("images: {a: {comand: [x]}}", "comand"),
        ("images: {a: {command: x}}", "Expected `array`"),
        ("images: {a: {}}", "missing required field `command`"),
        ("imagez: {}", "imagez"),
        ("[", "expected"),
    ],
)
def test_a_wrong_file_is_named_with_its_mistake(tmp_path, text, says):
    file = tmp_path / "images.yaml"
    file.write_text(text)
    with pytest.raises(ConfigFault) as fault:
        load_images([file])
    assert str(file) in str(fault.value)
    assert says in str(fault.value)


def test_a_missing_file_is_a_fault(tmp_path):
    with pytest.raises(ConfigFault, match=r"none\.yaml"):
        load_images([tmp_path / "none.yaml"])
