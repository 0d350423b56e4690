"""What the kubelet is told once.

Path: composition root → [settings] → kubelet.py.
"""

import os
import sys
from pathlib import Path

import msgspec

from controlplane.kubelet.images import Image


class KubeletSettings(msgspec.Struct, frozen=True, kw_only=True):
    """data: folder for volumes and logs, emptied at start. working_dir: where a container without workingDir runs.

    host_env: what every container gets below its own variables. drain_s: how long a pod that leaves goes on when
    nobody can say how many requests it has. close_s: grace of all pods when the kubelet closes.
    """

    data: Path
    images: dict[str, Image] = {}
    working_dir: str = ""
    sidecars: bool = False
    processes_max: int = 1024
    files_max: int = 65_536
    drain_s: float = 2.0
    close_s: float = 10.0
    host_env: dict[str, str] = {}


def host_env() -> dict[str, str]:
    """PATH with this interpreter first, so that `python3` in a manifest has what is installed beside us."""
    here = str(Path(sys.executable).parent)
    path = os.environ.get("PATH") or os.defpath
    return {
        "PATH": path if path.split(os.pathsep)[0] == here else here + os.pathsep + path,
        "HOME": os.environ.get("HOME", "/"),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
    }
