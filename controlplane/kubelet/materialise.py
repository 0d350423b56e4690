"""Volumes on disk, changed all at once.

Path: volumes.py → [materialise] → the folder that is mounted.

Like Kubernetes: files live in a folder named by time, `..data` points to it, and each visible name points through
`..data`; an update makes a new folder and swaps that one link, so a reader sees all old files or all new ones.

Source: Kubernetes' pkg/volume/util/atomic_writer.go.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from controlplane.kubelet.compose import Composed
from controlplane.kubelet.volumes import Content, File

DATA = "..data"


def make_all(composed: Composed) -> None:
    """Every volume of a pod, before it starts. Raises OSError. Blocks: call it in a thread."""
    for folder, content in composed.contents.items():
        make(folder, content, group=composed.fs_group)
    for container in composed.process.containers:
        for mount in container.mounts:
            if not mount.read_only and not os.path.exists(mount.source):  # a subPath of an emptyDir
                Path(mount.source).mkdir(parents=True, mode=0o777)


def make(folder: Path, content: Content, *, group: int | None = None) -> bool:
    """Create or update; False when it was so already. Raises OSError. Blocks: call it in a thread.

    group: whom everything in it belongs to, and who may read it; an emptyDir passes it on to what is made in it.
    """
    if content.files is None:
        folder.mkdir(parents=True, exist_ok=True)
        if group is not None:
            os.chown(folder, -1, group)
        folder.chmod(0o777 if group is None else 0o2777)
        return False
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    wanted = content.files
    if group is not None:
        wanted = {path: file._replace(mode=file.mode | 0o040) for path, file in wanted.items()}
    if _present(folder) == wanted:
        return False
    number = max((int(name[2:]) for name in os.listdir(folder) if name[:2] == ".." and name[2:].isdigit()), default=0)
    fresh = folder / f"..{number + 1}"
    for path, file in wanted.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as out:
            out.write(file.data)
            if group is not None:
                os.fchown(out.fileno(), -1, group)
            os.fchmod(out.fileno(), file.mode)
    fresh.mkdir(exist_ok=True)
    link = folder / "..data_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(fresh.name)
    link.replace(folder / DATA)
    _links(folder, wanted)
    for name in os.listdir(folder):
        if name[:2] == ".." and name[2:].isdigit() and name != fresh.name:
            shutil.rmtree(folder / name, ignore_errors=True)
    return True


def _present(folder: Path) -> dict[str, File] | None:
    data = folder / DATA
    if not data.is_symlink():
        return None
    root = data.resolve()
    return {
        str(one.relative_to(root)): File(one.read_bytes(), one.stat().st_mode & 0o777)
        for one in root.rglob("*")
        if one.is_file()
    }


def _links(folder: Path, files: Mapping[str, File]) -> None:
    wanted = {path.split("/")[0] for path in files}
    for name in wanted:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"{DATA}/{name}")
    for name in os.listdir(folder):
        if not name.startswith("..") and name not in wanted:
            (folder / name).unlink()
