"""What the driver asks of the nursery, typed.

Path: frames.py → [messages] → supervise.py.
"""

from typing import Any, NamedTuple

from controlplane.drivers.nursery.mounts import Mount


class Settings(NamedTuple):
    """Bounds and times of a nursery; the driver sends them first. Seconds and bytes."""

    instance: str = "nursery"  # marks the processes and cgroups of this nursery and of its predecessors
    staging: str = ""  # an empty directory, for mounts.py
    backoff_first_s: float = 10.0
    backoff_max_s: float = 300.0
    healthy_s: float = 600.0
    log_file_bytes: int = 10 << 20
    log_rate_bytes_per_s: int = 4 << 20
    cgroups: bool = True
    spare: bool = True  # keep a process ready for the next container


class Container(NamedTuple):
    """controlplane.drivers.contract.ContainerSpec, as it crosses the socket."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str = ""
    log_path: str = ""
    memory_bytes: int = 0
    cpu_millis: int = 0
    files: int = 0
    processes: int = 0
    file_bytes: int = 0
    run_as_user: int | None = None
    run_as_group: int | None = None
    groups: tuple[int, ...] = ()
    capabilities: int | None = None
    no_new_privileges: bool = False
    read_only_root: bool = False
    init: bool = False
    restart: bool = True
    sidecar: bool = False
    mounts: tuple[Mount, ...] = ()


class Pod(NamedTuple):
    uid: str
    containers: tuple[Container, ...]
    grace_s: float = 30.0


def container(body: dict[str, Any]) -> Container:
    known = {name: body[name] for name in Container._fields if name in body}
    known["argv"] = tuple(known["argv"])
    known["groups"] = tuple(known.get("groups", ()))
    known["mounts"] = tuple(_mount(one) for one in body.get("mounts", ()))
    return Container(**known)


def pod(body: dict[str, Any]) -> Pod:
    """From JSON. The driver is trusted: a wrong shape raises TypeError or KeyError."""
    return Pod(body["uid"], tuple(container(one) for one in body["containers"]), body["grace_s"])


def _mount(one: Any) -> Mount:
    """By name from the driver, by place from ourselves."""
    if isinstance(one, dict):
        return one["source"], one["target"], one["read_only"]
    source, target, read_only = one
    return source, target, read_only
