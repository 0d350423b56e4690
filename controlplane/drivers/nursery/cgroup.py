"""Limits by control group, version 1 or 2, below the group this process is in; otherwise the reason why not.

Path: supervise.py → [cgroup] → /sys/fs/cgroup.

Two levels, `dataplane-INSTANCE/UID-CONTAINER`, so that what a killed nursery left is found by name. Version 2 allows
controllers only where no process is: when this group holds nothing but us and our parent, both move into a leaf.

Source: cgroups(7); reliability.md LP-05.
"""

import os
import signal
import time
from typing import NamedTuple

CPU_PERIOD_US = 100_000
CONTROLLERS = ("pids", "memory", "cpu")
_PAUSE_S = 0.001


class Group:
    """Of one run of a container. Paths by controller; version 2 has one path for all."""

    __slots__ = ("paths", "version")

    def __init__(self, version: int, paths: dict[str, str]) -> None:
        self.version = version
        self.paths = paths

    @property
    def entrances(self) -> tuple[str, ...]:
        """Files to which the child writes itself."""
        return tuple(f"{path}/cgroup.procs" for path in dict.fromkeys(self.paths.values()))

    def limit(self, *, memory_bytes: int, cpu_millis: int, processes: int) -> None:
        """0 = none. Raises OSError."""
        two = self.version == 2
        if memory_bytes:
            _write(f"{self.paths['memory']}/{'memory.max' if two else 'memory.limit_in_bytes'}", str(memory_bytes))
            swap = "memory.swap.max" if two else "memory.memsw.limit_in_bytes"
            if os.path.exists(f"{self.paths['memory']}/{swap}"):
                _write(f"{self.paths['memory']}/{swap}", "0" if two else str(memory_bytes))
        if cpu_millis:
            quota_us = max(1000, cpu_millis * CPU_PERIOD_US // 1000)
            if two:
                _write(f"{self.paths['cpu']}/cpu.max", f"{quota_us} {CPU_PERIOD_US}")
            else:
                _write(f"{self.paths['cpu']}/cpu.cfs_period_us", str(CPU_PERIOD_US))
                _write(f"{self.paths['cpu']}/cpu.cfs_quota_us", str(quota_us))
        if "pids" in self.paths:  # always: a group that was killed forbids forks
            _write(f"{self.paths['pids']}/pids.max", str(processes or "max"))

    def pids(self) -> list[int]:
        found: set[int] = set()
        for entrance in self.entrances:
            found.update(map(int, _read(entrance).split()))
        return sorted(found)

    def kill(self) -> list[int]:
        """SIGKILL to every member, and no more forks; who there was."""
        if "pids" in self.paths:
            _try_write(f"{self.paths['pids']}/pids.max", "0")
        members = self.pids()
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        return members

    def ran_out_of_memory(self) -> bool:
        if "memory" not in self.paths:
            return False
        events = "memory.events" if self.version == 2 else "memory.oom_control"
        for line in _read(f"{self.paths['memory']}/{events}").splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value) > 0
        return False

    def remove(self) -> bool:
        """True when nothing of it is left; a member that is just ending keeps it for a moment."""
        left = False
        for path in dict.fromkeys(self.paths.values()):
            try:
                os.rmdir(path)
            except FileNotFoundError:
                pass
            except OSError:
                left = True
        return not left


class Cgroups(NamedTuple):
    """`bases`: controller → directory in which groups are made. `missing`: controller → why it is not enforced."""

    version: int
    bases: dict[str, str]
    missing: dict[str, str]

    def make(self, name: str, *, wanted: tuple[str, ...]) -> Group | None:
        """A group with those of the wanted controllers that exist; None without any. Raises OSError."""
        paths = {c: f"{self.bases[c]}/{name}" for c in wanted if c in self.bases}
        if not paths:
            return None
        for path in dict.fromkeys(paths.values()):
            os.makedirs(path, exist_ok=True)
        return Group(self.version, paths)

    def close(self) -> None:
        """Remove what is empty, children first."""
        for base in dict.fromkeys(self.bases.values()):
            for path in (*_children(base), base):
                try:
                    os.rmdir(path)
                except OSError:
                    pass

    def sweep(self) -> int:
        """Kill and remove groups of an earlier nursery of this instance; how many processes there were."""
        count = 0
        for base in dict.fromkeys(self.bases.values()):
            for path in _children(base):
                group = Group(self.version, {"pids" if "/pids/" in path else "any": path})
                for _ in range(200):
                    members = group.kill()
                    if not members:
                        break
                    count += len(members)
                    time.sleep(_PAUSE_S)
                group.remove()
        return count


def none(why: str) -> Cgroups:
    return Cgroups(0, {}, dict.fromkeys(CONTROLLERS, why))


def detect(instance: str, *, proc: str = "/proc", fs: str = "/sys/fs/cgroup") -> Cgroups:
    """What can be enforced here. Never raises."""
    own = {}
    for line in _read(f"{proc}/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    name = f"dataplane-{instance}"
    available = _read(f"{fs}/cgroup.controllers").split()
    if available:
        return _version_2(f"{fs}{own.get('', '/')}".rstrip("/"), name, is_root=own.get("", "/") == "/")
    bases: dict[str, str] = {}
    missing: dict[str, str] = {}
    for controller in CONTROLLERS:
        if controller not in own or not os.path.isdir(f"{fs}/{controller}"):
            missing[controller] = f"no cgroup controller {controller!r} on this machine"
            continue
        parent = f"{fs}/{controller}{own[controller]}".rstrip("/")
        if not os.path.isdir(parent):  # a container runtime mounts our group as the root
            parent = f"{fs}/{controller}"
        if os.access(parent, os.W_OK):
            bases[controller] = f"{parent}/{name}"  # made when the first container needs it
        else:
            missing[controller] = f"cgroup {parent} is not writable"
    return Cgroups(1, bases, missing)


def _version_2(own: str, name: str, *, is_root: bool) -> Cgroups:
    try:
        if not is_root:
            _leave_for_a_leaf(own)
        bases: dict[str, str] = {}
        missing: dict[str, str] = {}
        os.makedirs(f"{own}/{name}", exist_ok=True)
        for controller in CONTROLLERS:
            try:
                _write(f"{own}/cgroup.subtree_control", f"+{controller}")
                _write(f"{own}/{name}/cgroup.subtree_control", f"+{controller}")
                bases[controller] = f"{own}/{name}"
            except OSError as error:
                missing[controller] = f"cgroup {own} does not delegate {controller}: {error.strerror}"
        return Cgroups(2, bases, missing)
    except OSError as error:
        return none(f"cgroup {own} is not ours to divide: {error.strerror or error}")


def _leave_for_a_leaf(own: str) -> None:
    members = set(map(int, _read(f"{own}/cgroup.procs").split()))
    ours = {os.getpid(), os.getppid()}
    if not members <= ours:
        raise OSError(0, "other processes are in it (start in a group of its own: systemd-run --user --scope)")
    if members:
        os.makedirs(f"{own}/dataplane-host", exist_ok=True)
        for pid in sorted(members):
            _write(f"{own}/dataplane-host/cgroup.procs", str(pid))


def _children(base: str) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(base) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _try_write(path: str, text: str) -> None:
    try:
        _write(path, text)
    except OSError:
        pass
