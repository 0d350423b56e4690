"""A private view of the file system for one container: volumes bound at their mount paths.

Path: spawn.py, in the forked child → [mounts] → exec.

A mount path that does not exist on this machine is made without touching it: its nearest existing ancestor is covered
with a small tmpfs that binds everything the ancestor holds; for `/` itself the container is chrooted into the cover.

Source: spec/serving.md §12.8; mount_namespaces(7).
"""

import errno
import os
import re
import stat

from controlplane.drivers.nursery import linux

ENTRIES_MAX = 2000  # of a directory that has to be covered
Mount = tuple[str, str, bool]  # source, target, read-only


def own_namespace() -> None:
    """A mount namespace of our own; without privilege, inside a user namespace with the same ids. Raises OSError."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        linux.unshare(linux.CLONE_NEWNS)
    except PermissionError:
        linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUSER)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)


def bind_all(mounts: list[Mount], staging: str) -> None:
    """Bind each source at its target. `staging`: an empty directory to build covers on. Raises OSError."""
    opened = [(os.open(source, os.O_PATH | os.O_CLOEXEC), target, read_only) for source, target, read_only in mounts]
    for fd, target, read_only in sorted(opened, key=lambda one: one[1].count("/")):
        is_dir = stat.S_ISDIR(os.fstat(fd).st_mode)
        _ensure(target, is_dir, staging)
        linux.mount(f"/proc/self/fd/{fd}", target, flags=linux.MS_BIND | linux.MS_REC)
        if read_only:
            linux.mount("none", target, flags=linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY)
        os.close(fd)


LEFT_AS_THEY_ARE = ("/dev", "/proc", "/sys")  # devices and the kernel's own; Kubernetes has them writable, too


def make_read_only(writable: list[str]) -> None:
    """Everything that can be seen, but for the mounts at and below `writable` and the kernel's own. Raises OSError."""
    spared = (*writable, *LEFT_AS_THEY_ARE)
    for point in _mount_points():
        if any(point == one or point.startswith(one.rstrip("/") + "/") for one in spared):
            continue
        try:
            linux.make_read_only(point)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):  # hidden under another mount: nobody sees it
                raise
    if not os.statvfs("/").f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, "the root is still writable")


def _mount_points() -> list[str]:
    with open("/proc/self/mountinfo") as file:
        return [_unescaped(line.split(" ")[4]) for line in file]


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _ensure(target: str, is_dir: bool, staging: str) -> None:
    if os.path.exists(target):
        return
    ancestor = os.path.dirname(target)
    while not os.path.isdir(ancestor):
        ancestor = os.path.dirname(ancestor)
    if not _is_cover(ancestor):
        _cover(ancestor, staging)
    if is_dir:
        os.makedirs(target, 0o755)
    else:
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


_COVER = ".dataplane-cover"


def _is_cover(directory: str) -> bool:
    return os.path.exists(os.path.join(directory, _COVER))


def _cover(directory: str, staging: str) -> None:
    entries = list(os.scandir(directory))
    if len(entries) > ENTRIES_MAX:
        raise OSError(0, f"{directory} has {len(entries)} entries, too many to make a mount path in it")
    mode = stat.S_IMODE(os.stat(directory).st_mode)
    linux.mount("tmpfs", staging, "tmpfs", linux.MS_NODEV | linux.MS_NOSUID, f"mode={mode:o},size=1m")
    os.close(os.open(os.path.join(staging, _COVER), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
    for entry in entries:
        place = os.path.join(staging, entry.name)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), place)
            continue
        if entry.is_dir():
            os.mkdir(place)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        linux.mount(entry.path, place, flags=linux.MS_BIND | linux.MS_REC)
    if directory == "/":
        os.chroot(staging)
        os.chdir("/")
    else:
        linux.mount(staging, directory, flags=linux.MS_MOVE)


def enter(pid: int) -> None:
    """Join the file system view of a container's process. Raises OSError when it has ended."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    same_user = os.readlink(f"/proc/{pid}/ns/user") == os.readlink("/proc/self/ns/user")
    if not same_user:
        _join(f"/proc/{pid}/ns/user", linux.CLONE_NEWUSER)
    _join(f"/proc/{pid}/ns/mnt", linux.CLONE_NEWNS)
    os.fchdir(root)
    os.chroot(".")
    os.close(root)


def _join(path: str, kind: int) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    linux.setns(fd, kind)
    os.close(fd)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
