"""One fork and exec: what a container's process is before its first instruction.

Path: container.py → [spawn] → the container.

The nursery is small and has one thread, so a plain fork costs well under a millisecond and the child may run Python.
Whatever fails before exec comes back through a pipe that exec closes; it is read by the loop, never waited for.

Source: spec/serving.md §12.3–12.7; reliability.md LP-01, LP-08.
"""

import errno
import json
import os
import resource
import signal
from typing import NamedTuple, NoReturn

from controlplane.drivers.nursery import linux, mounts
from controlplane.drivers.nursery.messages import Container

OOM_SCORE = "500"  # when the machine runs out of memory, pods go before the gateway
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# what Python and the nursery handle or ignore; asking all 64 would double the time until exec
HANDLED = (
    *(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT),
    *(signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD),
)
NOT_FOUND, NOT_EXECUTABLE, NOT_STARTED = 127, 126, 128


class Spawned(NamedTuple):
    """`error_fd`: empty at the end of the stream when exec worked, else a Refusal as JSON."""

    pid: int
    error_fd: int


class Refusal(NamedTuple):
    exit_code: int
    message: str


class Order(NamedTuple):
    """What a fresh process is to become. data_bytes: RLIMIT_DATA. inside: a process whose file system view to share.

    counted: its processes are counted by a control group.
    """

    spec: Container
    data_bytes: int = 0
    staging: str = ""
    inside: int = 0
    counted: bool = False


def spawn(order: Order, *, output_fd: int, entrances: tuple[str, ...]) -> Spawned:
    """Raises OSError when there can be no more processes. entrances: cgroup.procs files to join."""
    nursery = os.getpid()
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            try:
                begin(entrances)
            except BaseException as error:
                _refuse(write_fd, _refusal("start", order.spec, error))
            become(order, output_fd=output_fd, error_fd=write_fd, nursery=nursery)
    except OSError:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.set_blocking(read_fd, False)
    return Spawned(pid, read_fd)


def begin(entrances: tuple[str, ...]) -> None:
    """In the child, whatever it will be: a session of its own, in its control groups, deaf to our signal handlers."""
    signal.set_wakeup_fd(-1)
    os.setsid()
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL)
    for entrance in entrances:
        _join(entrance)


def become(order: Order, *, output_fd: int, error_fd: int, nursery: int) -> NoReturn:
    """In the child: the container, or a Refusal on `error_fd` and the end."""
    spec, stage = order.spec, "start"
    try:
        _limit(spec, order.data_bytes, counted=order.counted)
        null_fd = os.open(os.devnull, os.O_RDWR)
        for source, target in ((null_fd, 0), (output_fd, 1), (output_fd, 2)):
            os.dup2(source, target, inheritable=True)
        os.close(null_fd)
        os.umask(0o022)
        if order.inside:
            mounts.enter(order.inside)
        elif spec.mounts or spec.read_only_root:
            stage = "mount"
            mounts.own_namespace()
            mounts.bind_all(list(spec.mounts), order.staging)
            if spec.read_only_root:
                stage = "read-only root"
                mounts.make_read_only([target for _, target, read_only in spec.mounts if not read_only])
        stage = "capabilities"
        if spec.capabilities is not None:
            _bound(spec.capabilities, sealed=spec.no_new_privileges)
        stage = "user"
        _become(spec)
        stage = "capabilities"
        if spec.capabilities is not None:
            linux.keep_capabilities(spec.capabilities)
        if spec.no_new_privileges:
            linux.no_new_privileges()
        linux.die_with_parent()  # after the change of user, which would clear it
        if os.getppid() != nursery:
            os._exit(NOT_STARTED)
        stage = "cwd"
        if spec.cwd:
            os.chdir(spec.cwd)
        stage = "exec"
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _exec(spec.argv, {"PATH": DEFAULT_PATH, **spec.env})
    except BaseException as error:
        _refuse(error_fd, _refusal(stage, spec, error))


def _exec(argv: tuple[str, ...], env: dict[str, str]) -> NoReturn:
    """As execvpe, but a folder of PATH that may not be read hides no better answer."""
    if "/" in argv[0]:
        os.execve(argv[0], argv, env)
    forbidden: OSError | None = None
    for folder in env["PATH"].split(os.pathsep):
        path = os.path.join(folder or ".", argv[0])
        try:
            os.execve(path, argv, env)
        except (FileNotFoundError, NotADirectoryError):
            if os.path.exists(path):  # its interpreter is what is missing
                raise
        except PermissionError as error:
            forbidden = forbidden or (error if os.path.exists(path) else None)
    raise forbidden or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def refusal(data: bytes) -> Refusal | None:
    """What arrived on `error_fd`, when it is complete; None when exec worked."""
    return Refusal(*json.loads(data)) if data else None


def _refuse(fd: int, why: Refusal) -> NoReturn:
    try:
        os.write(fd, json.dumps(why).encode()[:4096])  # one atomic write
    finally:
        os._exit(why.exit_code)


def _refusal(stage: str, spec: Container, error: BaseException) -> Refusal:
    name = spec.argv[0] if spec.argv else ""
    if stage == "cwd":
        return Refusal(NOT_STARTED, f"working directory {spec.cwd!r}: {_text(error)}"[:1000])
    if stage == "mount":
        return Refusal(NOT_STARTED, f"volume mount: {_text(error)}"[:1000])
    if stage == "read-only root":
        return Refusal(NOT_STARTED, f"read-only root file system: {_text(error)}"[:1000])
    if stage == "capabilities":
        return Refusal(NOT_STARTED, f"capabilities: {_text(error)}"[:1000])
    if stage == "user":
        return Refusal(NOT_STARTED, f"run as user {spec.run_as_user}: {_text(error)}"[:1000])
    if stage == "exec" and isinstance(error, OSError):
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            if "/" not in name and error.filename is None:
                return Refusal(NOT_FOUND, f'exec: "{name}": executable file not found in $PATH'[:1000])
            if os.path.exists(str(error.filename)):
                return Refusal(NOT_FOUND, f'exec "{name}": its interpreter does not exist'[:1000])
            return Refusal(NOT_FOUND, f'exec: "{name}": no such file or directory'[:1000])
        if error.errno == errno.ENOEXEC:
            return Refusal(NOT_EXECUTABLE, f'exec "{name}": not a program and no "#!" line'[:1000])
        return Refusal(NOT_EXECUTABLE, f'exec "{name}": {_text(error)}'[:1000])
    return Refusal(NOT_STARTED, f'exec "{name}": {_text(error)}'[:1000])


def _text(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _join(entrance: str) -> None:
    fd = os.open(entrance, os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, b"0")
    os.close(fd)


def _limit(spec: Container, data_bytes: int, *, counted: bool) -> None:
    _lower(resource.RLIMIT_CORE, 0)
    if spec.files:
        _lower(resource.RLIMIT_NOFILE, spec.files)
    if spec.file_bytes:
        _lower(resource.RLIMIT_FSIZE, spec.file_bytes)
    if data_bytes:
        _lower(resource.RLIMIT_DATA, data_bytes)
    user = os.getuid() if spec.run_as_user is None else spec.run_as_user
    if spec.processes and user != 0 and not counted:
        _lower(resource.RLIMIT_NPROC, spec.processes + _processes_of(user))
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, OOM_SCORE.encode())
        os.close(fd)
    except OSError:
        pass


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _processes_of(user: int) -> int:
    """RLIMIT_NPROC counts every process of the user, not only ours."""
    count = 0
    for entry in os.scandir("/proc"):
        try:
            count += entry.name.isdigit() and entry.stat().st_uid == user
        except OSError:
            pass
    return count


def _bound(keep: int, *, sealed: bool) -> None:
    """Without the right to shrink the bounding set, no new privileges does the same."""
    try:
        linux.bound_capabilities(keep)
    except PermissionError:
        if not sealed:
            raise


def _become(spec: Container) -> None:
    group = spec.run_as_group if spec.run_as_group is not None else spec.run_as_user
    changes = group is not None and (group != os.getgid() or spec.run_as_user != os.getuid())
    if os.geteuid() == 0 and (changes or spec.groups):
        own = [os.getgid() if group is None else group] if changes else os.getgroups()
        os.setgroups([*own, *(one for one in spec.groups if one not in own)])
    if group is not None and changes:
        os.setresgid(group, group, group)
    if spec.run_as_user is not None and spec.run_as_user != os.getuid():
        os.setresuid(spec.run_as_user, spec.run_as_user, spec.run_as_user)
