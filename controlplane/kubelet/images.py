"""An image is the name of a program on this machine.

Path: Pod.spec.containers → [images] → compose.py.

In this order: the images file (`images: {IMAGE: {command, args, workingDir, env}}`), `demo://` and `python://`, the
container's own `command`. Otherwise the container waits with ContainerMissing and says which two ways exist.

Source: architecture.md "Containers without containers"; spec/serving.md §2.3, §12.7.
"""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import yaml

from controlplane.kubelet.refusal import NotRunnable
from dataplane.errors import ConfigFault
from dataplane.resources.core import Container

_PROGRAMS = Path(__file__).resolve().parent / "programs"
DEMOS: Mapping[str, tuple[str, ...]] = {
    "demo://hello": (sys.executable, "-I", "-S", str(_PROGRAMS / "hello.py")),
}


class Image(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What an image stands for: entry point, default arguments, folder (absolute) and environment."""

    command: tuple[str, ...]
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: dict[str, str] = {}


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    images: dict[str, Image] = {}


class Program(NamedTuple):
    argv: tuple[str, ...]
    working_dir: str
    env: dict[str, str]


def load_images(files: Iterable[Path]) -> dict[str, Image]:
    """Later files win; a relative workingDir starts at its file. Raises ConfigFault that names file and field."""
    images: dict[str, Image] = {}
    for file in files:
        try:
            content = msgspec.convert(yaml.safe_load(file.read_text()) or {}, _File)
        except (OSError, yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
            raise ConfigFault(f"{file}: {error}") from error
        for name, image in content.images.items():
            if not image.command:
                raise ConfigFault(f"{file}: images.{name}.command is empty; expected a list such as [python3, app.py]")
            place = file.resolve().parent
            folder = str(place / image.working_dir) if image.working_dir else ""
            images[name] = msgspec.structs.replace(image, working_dir=folder)
    return images


def resolve(container: Container, images: Mapping[str, Image]) -> Program:
    """The program of a container, before $(VAR) expansion. Raises NotRunnable (ContainerMissing)."""
    found = next((images[name] for name in spellings(container.image) if name in images), None)
    if found is None:
        found = _built_in(container.image)
    if container.command:
        argv = (*container.command, *container.args)
    elif found is not None:
        argv = (*found.command, *(container.args or found.args))
    else:
        raise NotRunnable("ContainerMissing", missing(container.image), container.name)
    default = found.working_dir if found is not None else ""
    return Program(argv, container.working_dir or default, dict(found.env) if found is not None else {})


def missing(image: str) -> str:
    return (
        f'Unable to fetch image "{image}": no program stands for it on this machine. Either give the container a '
        f'"command", or name the image in an images file (--images FILE, or images.yaml beside the manifest): '
        f'images: {{"{image}": {{command: [python3, app.py], workingDir: .}}}}'
    )


def spellings(image: str) -> list[str]:
    """The ways in which people write the same image, the given one first."""
    if "://" in image:
        return [image]
    bare = image.partition("@")[0]
    names = [image, bare]
    if ":" not in bare.rpartition("/")[2]:
        names.append(bare + ":latest")
    elif bare.endswith(":latest"):
        names.append(bare.removesuffix(":latest"))
    for name in list(names):
        for prefix in ("docker.io/library/", "index.docker.io/", "docker.io/"):
            names += [name.removeprefix(prefix) if name.startswith(prefix) else prefix + name]
    return list(dict.fromkeys(names))


def _built_in(image: str) -> Image | None:
    if image in DEMOS:
        return Image(command=DEMOS[image])
    if image.startswith("python://") and len(image) > len("python://"):
        program = str(_PROGRAMS / "serve_app.py")
        return Image(command=(sys.executable, program, image.removeprefix("python://")))
    return None
