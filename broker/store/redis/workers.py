"""What this process calls itself in Redis, and whether another one of this machine is dead.

Path: store.py → [workers].

A name says where a process runs precisely enough to ask the kernel whether it still does: boot, PID namespace, PID and
start time. So a dispatcher that was killed is noticed by its neighbours within a second instead of after the lease.

Source: reliability.md BR-18.
"""

import os
import socket
from pathlib import Path
from uuid import uuid4


def our_name() -> str:
    """`host.boot.namespace.pid.start.random`."""
    return f"{socket.gethostname().replace('.', '-')}.{_here()}.{os.getpid()}.{_started(os.getpid())}.{uuid4().hex[:6]}"


def is_dead(name: str) -> bool:
    """Whether that process ran here and does not any more. False: it runs, or it runs where we cannot look."""
    parts = name.split(".")
    if len(parts) != 6 or f"{parts[1]}.{parts[2]}" != _here() or not parts[3].isdecimal():
        return False
    return _started(int(parts[3])) != parts[4]


def _here() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        return f"{boot}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return f"{uuid4().hex[:8]}.0"  # no Linux: nobody knows about anybody


def _started(pid: int) -> str:
    """Clock ticks after boot; "" when there is no such process or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
