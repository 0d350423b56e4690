"""Two ways to end our half of a connection: FIN behind what was written, or RST at once.

Path: net/server.py and net/client.py, off the common path. asyncio lets errors of shutdown(2) escape; here they end
that connection only.

Source: RFC 9112 §9.6; reliability.md GW-24.
"""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios

_RESET = struct.pack("ii", 1, 0)


def half_close(transport: asyncio.WriteTransport) -> None:
    """Send FIN after what was written; when the peer has just reset there is nothing left to keep."""
    if transport.can_write_eof() and not transport.is_closing():
        try:
            transport.write_eof()
        except OSError:
            transport.abort()


def drop(transport: asyncio.WriteTransport) -> None:
    """Close now. RST when the peer has not taken everything: FIN would stand behind that and never tell it (GW-23)."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        with contextlib.suppress(OSError):
            unsent = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
            if any(unsent) or transport.get_write_buffer_size():
                will_reset(transport)
    transport.abort()


def will_reset(transport: asyncio.BaseTransport) -> None:
    """The close that follows sends RST, and drops what the peer has not taken."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
