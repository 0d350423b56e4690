"""Files that users name with -f, read and checked here so that every mistake comes with file, line and column.

Path: -f PATH of apply, delete, up → [manifests] → controlplane/manifest.py → objects.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from launch.instance import Failure

if TYPE_CHECKING:
    from controlplane.manifest import Manifest, Mistake, Parsed

IMAGES = ("images.yaml", "images.yml")  # beside manifests: what to run for an image (architecture.md)
_SUFFIXES = (".yaml", ".yml", ".json")


def files_of(paths: tuple[str, ...], *, recursive: bool = False) -> list[Path | None]:
    """The files behind `-f` arguments, in order; None is standard input. A folder gives its YAML and JSON files."""
    out: list[Path | None] = []
    for given in paths:
        path = Path(given)
        if given == "-":
            out.append(None)
        elif path.is_dir():
            inside = sorted(path.rglob("*") if recursive else path.iterdir())
            found = [one for one in inside if one.is_file() and one.suffix in _SUFFIXES and one.name not in IMAGES]
            if not found:
                raise Failure(f"{given}: no .yaml, .yml or .json file in this folder")
            out += found
        elif path.exists():
            out.append(path)
        else:
            raise Failure(f"{given}: no such file or folder")
    return out


def images_beside(paths: tuple[str, ...]) -> list[Path]:
    """The images files in the folders that were named."""
    return [Path(one) / name for one in paths for name in IMAGES if (Path(one) / name).is_file()]


def load(paths: tuple[str, ...], *, recursive: bool = False) -> list["Manifest"]:
    """Every file as a Manifest, mistakes inside. Raises Failure when a file cannot be read at all."""
    from controlplane.manifest import load as load_text

    out = []
    for path in files_of(paths, recursive=recursive):
        try:
            text = sys.stdin.read() if path is None else path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise Failure(f"{path}: not UTF-8 text (byte {error.start})") from None
        except OSError as error:
            raise Failure(f"{path}: {error.strerror}") from None
        out.append(load_text(text, "<stdin>" if path is None else str(path)))
    return out


def read(paths: tuple[str, ...], *, recursive: bool = False) -> list["Parsed"]:
    """The objects of every file. Raises Failure with all mistakes of all files."""
    manifests = load(paths, recursive=recursive)
    _refuse([mistake for manifest in manifests for mistake in manifest.errors])
    return [parsed for manifest in manifests for parsed in manifest.objects]


def checked(
    paths: tuple[str, ...], config_maps: dict[str, dict[str, str]], *, recursive: bool = False
) -> list["Parsed"]:
    """As `read`, and each object passes admission too, under the Knative configuration in `config_maps` (name → data).

    What only the server can know (what is stored already) is left to the server.
    """
    from controlplane.knative_config import parse
    from controlplane.manifest import check
    from dataplane.errors import ConfigFault

    try:
        config = parse(config_maps, domain="localhost")
    except ConfigFault:
        config = parse({}, domain="localhost")  # the server keeps its last good one; so we cannot know better
    manifests = load(paths, recursive=recursive)
    _refuse([mistake for manifest in manifests for mistake in check(manifest, config, lambda key: None)])
    return [parsed for manifest in manifests for parsed in manifest.objects]


def placed(parsed: list["Parsed"], causes: tuple[tuple[str, str], ...]) -> str:
    """What the server said about `[index]`, each line with the place of that object."""
    lines = []
    for field, message in causes:
        number = field.strip("[]")
        where = f"{parsed[int(number)].where}: " if number.isdigit() and int(number) < len(parsed) else ""
        lines.append(f"{where}{message}")
    return "\n".join(lines)


def _refuse(mistakes: list["Mistake"]) -> None:
    if mistakes:
        raise Failure("\n".join(map(str, mistakes)))
