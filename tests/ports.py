"""TCP ports for servers that must be told theirs: each for one process of tests, as long as that process lives.

A port that the kernel gave out and that was closed again may be anybody's before it is bound, and a server that is
killed and started again gives its port up in between. These come from below what the kernel gives out.
"""

import os

from controlplane.drivers.ports import Ports

_PORTS = Ports(first=10_000, last=19_999, start=os.getpid() * 101)


def free_port() -> int:
    """Nobody listens on it, and no other test gets it."""
    return _PORTS.take()
