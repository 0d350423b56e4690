"""Every process that a container has become: its tree, and what ran away from it.

Path: [family] ← container.py, supervise.py; reads /proc.

A nursery is a subreaper, so a process whose parent ended is its child: nothing is found by searching the machine, only
by walking down from here. A runaway belongs to the container whose mark it carries in its environment or whose session
it is in. Processes that are not our children are killed through a pidfd, never by a bare pid.

Source: reliability.md LP-01, LP-02.
"""

import os
import signal
import time
from collections.abc import Iterable

MARK = "DATAPLANE_CONTAINER"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def mark(instance: str, uid: str, container: str) -> str:
    return f"{instance}/{uid}/{container}"


def children(pid: int) -> list[int]:
    """Direct children of all threads; empty when it has ended."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += map(int, file.read().split())
    except OSError:
        pass
    return found


def tree(pid: int) -> list[int]:
    """`pid` and everything below it."""
    found = [pid]
    for one in found:
        found += children(one)
    return found


def mark_of(pid: int) -> str:
    """What its environment says about its container; "" when it says nothing or may not be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            for pair in file.read().split(b"\0"):
                if pair.startswith(MARK.encode() + b"="):
                    return pair[len(MARK) + 1 :].decode(errors="replace")
    except OSError:
        pass
    return ""


def born(pid: int) -> int:
    """When it started, in ticks since boot; 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return 0


def now() -> int:
    """In the ticks of `born`."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS_PER_S)


def session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def resident_bytes(pids: Iterable[int]) -> int:
    """Memory of these processes, shared pages counted by share (Pss); 0 for what has ended."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
                for line in file:
                    if line.startswith(b"Pss:"):
                        total += int(line.split()[1]) * 1024
                        break
        except OSError:
            pass
    return total


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass


def sweep(instance: str) -> int:
    """Kill what an earlier nursery of this instance left behind; how many that were."""
    spared = {os.getpid(), os.getppid()}
    count = 0
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in spared or not mark_of(int(name)).startswith(f"{instance}/"):
            continue
        try:
            fd = os.pidfd_open(int(name))
        except OSError:
            continue
        try:
            if mark_of(int(name)).startswith(f"{instance}/"):  # still the same process, now that it is pinned
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                count += 1
        except OSError:
            pass
        finally:
            os.close(fd)
    return count
