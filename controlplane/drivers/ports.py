"""TCP ports for pods, each to one at a time on this machine.

Path: [ports] ← process.py.

Ports come from below the range that the kernel gives to outgoing connections, so only another server can be in the way.
Two dataplanes on one machine do not meet either: a port in use is held as a name in the abstract socket namespace,
which the kernel frees when its process ends, however it ends.

Source: reliability.md LP-03.
"""

import errno
import socket


class Ports:
    """Candidates `first` … `last`, taken in a ring from `start`."""

    __slots__ = ("_first", "_count", "_next", "_held")

    def __init__(self, *, first: int, last: int, start: int = 0) -> None:
        self._first = first
        self._count = last - first + 1
        self._next = start % self._count
        self._held: dict[int, socket.socket] = {}

    def __len__(self) -> int:
        return len(self._held)

    def take(self) -> int:
        """Raises OSError when every port is taken."""
        for _ in range(self._count):
            port = self._first + self._next
            self._next = (self._next + 1) % self._count
            if port in self._held or not is_free(port):
                continue
            lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                lock.bind(f"\0dataplane-port-{port}")
            except OSError:
                lock.close()
                continue
            self._held[port] = lock
            return port
        raise OSError(errno.EADDRNOTAVAIL, f"no free port in {self._first}-{self._first + self._count - 1}")

    def give_back(self, port: int) -> None:
        """Unknown ports are ignored."""
        lock = self._held.pop(port, None)
        if lock is not None:
            lock.close()

    def close(self) -> None:
        for port in list(self._held):
            self.give_back(port)


def is_free(port: int) -> bool:
    """Nobody listens on it on any address, and no old connection keeps a server from binding it."""
    for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
        try:
            one = socket.socket(family, socket.SOCK_STREAM)
        except OSError:  # no IPv6 here
            continue
        with one:
            try:
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return False
    return True
