"""How much disk a pod uses, and when that is too much.

Path: pod.py → [usage] → eviction.

Processes write where they like, so there is no quota: the folders that are the pod's own are measured every few
seconds, and a pod over its limit is evicted, as a kubelet does. What is written elsewhere is not seen.

Source: spec/serving.md §12.8, §12.10; Kubernetes' pkg/kubelet/eviction (localStorageEviction).
"""

import os
from pathlib import Path
from typing import NamedTuple

from controlplane.kubelet.compose import Composed, Folders

EVERY_S = 2.0
ENTRIES_MAX = 200_000  # of one folder; beyond it the folder counts as full


class Limits(NamedTuple):
    """volumes: folder of an emptyDir → its sizeLimit. total_bytes: of all of them and the logs; 0 = no limit."""

    volumes: dict[Path, int]
    total_bytes: int

    def __bool__(self) -> bool:
        return bool(self.volumes or self.total_bytes)


def limits(composed: Composed) -> Limits:
    volumes = {folder: content.size_bytes for folder, content in composed.contents.items() if content.size_bytes}
    asked = [one.file_bytes for one in composed.process.containers if not one.init]
    return Limits(volumes, sum(asked) if all(asked) else 0)


def excess(composed: Composed, folders: Folders, over: Limits) -> str:
    """Why the pod has to go, in Kubernetes' words; "" when it may stay. Blocks: call it in a thread."""
    used = {folder: size_bytes(folder) for folder, content in composed.contents.items() if content.files is None}
    for folder, most in over.volumes.items():
        if used[folder] > most:
            return f'Usage of EmptyDir volume "{folder.name}" exceeds the limit "{written_as(most)}". '
    if over.total_bytes and sum(used.values()) + size_bytes(folders.logs) > over.total_bytes:
        return (
            f"Pod ephemeral local storage usage exceeds the total limit of containers {written_as(over.total_bytes)}. "
        )
    return ""


def written_as(size_bytes: int) -> str:
    """1048576 → 1Mi."""
    for power, suffix in ((3, "Gi"), (2, "Mi"), (1, "Ki")):
        if size_bytes and size_bytes % 1024**power == 0:
            return f"{size_bytes // 1024**power}{suffix}"
    return str(size_bytes)


def size_bytes(folder: Path) -> int:
    """What it takes on disk. A file that goes while we look counts nothing."""
    total = entries = 0
    todo = [str(folder)]
    while todo:
        try:
            found = list(os.scandir(todo.pop()))
        except OSError:
            continue
        for entry in found:
            entries += 1
            if entries > ENTRIES_MAX:
                return 1 << 62
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            total += status.st_blocks * 512
            if entry.is_dir(follow_symlinks=False):
                todo.append(entry.path)
    return total
