"""A process that is ready to become a container: forked, in its control group, waiting to be told what to run.

Path: supervise.py → [spare] → spawn.py; taken by container.py.

Joining a control group waits for a grace period of the kernel, 5 to 20 ms: more than everything else that a cold start
costs here. So it is done before anybody waits. There is one spare, and the next is made when starts have been quiet for
a while; a second start in that while forks as if there were none. Without control groups there is nothing to save.

Source: performance.md P6; cgroups(7); kernel/cgroup/cgroup.c (cgroup_threadgroup_rwsem).
"""

import json
import os
import signal
import socket
import struct

from controlplane.drivers.nursery import spawn
from controlplane.drivers.nursery.cgroup import CONTROLLERS, Cgroups, Group
from controlplane.drivers.nursery.loop import Loop, Timer
from controlplane.drivers.nursery.messages import container

QUIET_S = 0.25  # after a start: whatever else starts with it has the processor first
_LENGTH = struct.Struct("!I")
_READY = b"."


class Spare:
    """`pid` waits in `group`. Limit the group, then `become` or `discard`."""

    __slots__ = ("_socket", "group", "is_ready", "pid")

    def __init__(self, pid: int, group: Group, ours: socket.socket) -> None:
        self.pid = pid
        self.group = group
        self.is_ready = False
        self._socket = ours

    def fileno(self) -> int:
        return self._socket.fileno()

    def hear(self) -> None:
        """It says that it is in its group; it says nothing else, ever."""
        try:
            self.is_ready = self._socket.recv(1) == _READY
        except OSError:
            self.is_ready = False

    def become(self, order: spawn.Order, *, output_fd: int) -> spawn.Spawned:
        """Raises OSError: somebody killed it."""
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        body = json.dumps([order.spec._asdict(), *order[1:]]).encode()
        try:
            self._socket.setblocking(True)  # it is in recvmsg: what we send is taken at once
            socket.send_fds(self._socket, [_LENGTH.pack(len(body))], [output_fd, write_fd])
            self._socket.sendall(body)
        except OSError:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
            self._socket.close()
        os.set_blocking(read_fd, False)
        return spawn.Spawned(self.pid, read_fd)

    def discard(self) -> None:
        """It reads the end of its socket and goes."""
        self._socket.close()


class Spares:
    """At most one. `refill` first; then `take` whenever something starts."""

    __slots__ = ("_cgroups", "_count", "_loop", "_one", "_timer", "_wanted")

    def __init__(self, loop: Loop, cgroups: Cgroups, *, wanted: bool) -> None:
        self._loop = loop
        self._cgroups = cgroups
        self._wanted = wanted and bool(cgroups.bases)
        self._count = 0
        self._one: Spare | None = None
        self._timer: Timer | None = None

    def take(self) -> Spare | None:
        """None: there is none just now. Whoever takes it answers for its end."""
        if self._wanted:
            if self._timer is not None:
                self._timer.call = None
            self._timer = self._loop.after(QUIET_S, self.refill)
        one = self._one
        if one is None or not one.is_ready:
            return None
        self._one = None
        del self._loop.children[one.pid]
        return one

    def refill(self) -> None:
        """Make one, unless there is one. Nobody is told when that fails: a start then forks for itself."""
        self._timer = None
        if not self._wanted or self._one is not None:
            return
        self._count += 1
        ours, theirs = socket.socketpair()
        try:
            group = self._cgroups.make(f"spare-{os.getpid()}-{self._count}", wanted=CONTROLLERS)
            assert group is not None, "there is a controller, or none would be wanted"
            pid = _fork(theirs, group)
        except OSError:
            ours.close()
            return
        finally:
            theirs.close()
        ours.setblocking(False)
        one = self._one = Spare(pid, group, ours)
        self._loop.children[pid] = lambda status: self._ended(one)
        self._loop.watch(ours.fileno(), lambda: self._heard(one))

    def close(self) -> None:
        """No more; the one that waits is a child like any other."""
        self._wanted = False

    def _heard(self, one: Spare) -> None:
        self._loop.unwatch(one.fileno())
        one.hear()

    def _ended(self, one: Spare) -> None:
        """It could not join, or somebody killed it. The next start makes another."""
        if self._one is one:
            self._one = None
        if not one.is_ready:
            self._loop.unwatch(one.fileno())
        one.discard()
        one.group.remove()


def _fork(theirs: socket.socket, group: Group) -> int:
    """The pid. Raises OSError."""
    nursery = os.getpid()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            try:
                _wait(theirs, group, nursery)
            finally:
                os._exit(spawn.NOT_STARTED)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _wait(theirs: socket.socket, group: Group, nursery: int) -> None:
    """In the child. Returns when nobody wants it any more; the end of the nursery is the end of its socket."""
    spawn.begin(group.entrances)
    fd = os.dup2(theirs.fileno(), 3, inheritable=False)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))  # pipes of other containers, the control socket: not ours to keep open
    told = socket.socket(fileno=fd)
    told.sendall(_READY)
    head, fds, _, _ = socket.recv_fds(told, _LENGTH.size, 2)
    for one in fds:
        os.set_inheritable(one, False)  # recv_fds of Python 3.11 forgets its flags
    if len(head) < _LENGTH.size or len(fds) != 2:
        return
    (size,) = _LENGTH.unpack(head)
    body = bytearray()
    while len(body) < size:
        chunk = told.recv(size - len(body))
        if not chunk:
            return
        body += chunk
    spec, *rest = json.loads(bytes(body))
    spawn.become(spawn.Order(container(spec), *rest), output_fd=fds[0], error_fd=fds[1], nursery=nursery)
