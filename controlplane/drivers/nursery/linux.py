"""The system calls that Python's os module lacks.

Path: [linux] ← supervise.py, spawn.py, mounts.py.

Source: prctl(2), unshare(2), setns(2), mount(2), mount_setattr(2), capabilities(7).
"""

import ctypes
import os
import signal

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_SYS_MOUNT_SETATTR = 442  # the same on every architecture
_AT_FDCWD = -100
_MOUNT_ATTR_RDONLY = 1
_CAPABILITY_VERSION_3 = 0x20080522
CAPABILITIES_MAX = 64

_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Orphaned descendants become children of this process, so none can hide from it."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def die_with_parent() -> None:
    """SIGKILL for this process when the thread that forked it ends. A change of uid clears it."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    _checked(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str = "none", flags: int = 0, data: str = "") -> None:
    """Raises OSError with the target's name."""
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode() or None
    )
    _checked(result, f"mount {target}")


def make_read_only(mount_point: str) -> None:
    """One mount, its other flags as they are. Raises OSError: EINVAL when it is none, ENOSYS before Linux 5.12."""
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    result = _libc.syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(mount_point), 0, ctypes.byref(attributes), size)
    _checked(result, f"mount_setattr {mount_point}")


def no_new_privileges() -> None:
    """No program that it runs, set-uid or not, gets more than it has."""
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def bound_capabilities(keep: int) -> None:
    """Drop from the bounding set what is not in the mask `keep`: no program can get it again. Raises OSError."""
    for number in range(CAPABILITIES_MAX):
        present = _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0)
        if present < 0:  # the kernel knows no more
            return
        if present and not keep >> number & 1:
            _checked(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), "prctl(PR_CAPBSET_DROP)")


def keep_capabilities(keep: int) -> None:
    """Effective, permitted and inheritable, at most the mask `keep`. Raises OSError."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    _checked(_libc.capget(ctypes.byref(header), ctypes.byref(sets)), "capget")
    for index in range(6):
        sets[index] &= keep >> 32 if index >= 3 else keep & 0xFFFFFFFF
    _checked(_libc.capset(ctypes.byref(header), ctypes.byref(sets)), "capset")


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
