"""What containers cannot be given on this machine, found by trying it in a child: it cannot be told otherwise.

Path: supervise.py, `dataplane doctor` → [trial] → mounts.py.
"""

import errno
import os
from collections.abc import Callable

from controlplane.drivers.nursery import linux, mounts


def why_no_mounts(staging: str) -> str:
    """ "" when a container can have mounts of its own. `staging`: an empty directory."""

    def mount() -> None:
        mounts.own_namespace()
        linux.mount("tmpfs", staging, "tmpfs", 0, "size=64k")

    return _tried(mount) if staging else "no staging directory"


def why_no_read_only_root(staging: str) -> str:
    """ "" when a container can be kept from writing to what it sees. `staging`: a directory that we may write to."""

    def write() -> None:
        mounts.own_namespace()
        mounts.make_read_only([])
        try:
            os.close(os.open(os.path.join(staging, ".dataplane-trial"), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except OSError as error:
            if error.errno == errno.EROFS:
                return
            raise
        raise OSError(0, "the root file system stays writable")

    return _tried(write) if staging else "no staging directory"


def _tried(what: Callable[[], None]) -> str:
    """What it raised in a child that is then gone, in words; "" when it worked."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            what()
        except BaseException as error:
            os.write(write_fd, str(error).encode()[:500] or b"failed")
        os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as pipe:
        why = pipe.read().decode()
    os.waitpid(pid, 0)
    return why
