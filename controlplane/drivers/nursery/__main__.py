"""`python -I -m controlplane.drivers.nursery FD`: run the nursery on an inherited socket.

Path: drivers/process.py → [nursery process] → containers.
"""

import socket
import sys

from controlplane.drivers.nursery.supervise import Nursery


def main(fd: int) -> None:
    """Serve the control socket `fd` until the other end is closed; then nothing that was started is left."""
    control = socket.socket(fileno=fd)
    control.set_inheritable(False)  # a container that held it would keep the driver from seeing our end
    Nursery(control).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
