"""Files that users name with -f, read and checked here so that every mistake comes with file, line and column.

Path: -f PATH of apply, delete, up → [manifests] → controlplane/manifest.py → objects.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from launch.instance import Failure

if TYPE_CHECKING:
    from controlplane.manifest import Manifest, Parsed

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
    mistakes = [str(mistake) for manifest in manifests for mistake in manifest.errors]
    if mistakes:
        raise Failure("\n".join(mistakes))
    return [parsed for manifest in manifests for parsed in manifest.objects]
