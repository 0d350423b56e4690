"""Whether the addresses that a process is told to listen on can be had, before it does anything else.

Path: flags and settings → [addresses] → composition roots, which bind them later.

A port that is taken must not be found out after manifests were applied and pods started. And gateway workers share
their port by SO_REUSEPORT, so a second instance would get half of the first one's connections, and no error.
"""

import errno
import socket
from collections.abc import Mapping

from dataplane.errors import ConfigFault
from dataplane.runtime.admin import split_address

_WHY = {
    errno.EADDRINUSE: "the address is in use by another process; stop that one, or take another port (0: any free one)",
    errno.EADDRNOTAVAIL: "no interface of this machine has this address; "
    "127.0.0.1 is this machine, 0.0.0.0 all of them",
    errno.EACCES: "this user may not listen on ports below 1024; take a higher one",
}


def must_be_free(wanted: Mapping[str, str]) -> None:
    """`wanted`: flag → HOST:PORT, empty = not listened on. Raises ConfigFault, a line for each that cannot be had."""
    mistakes = []
    seen: dict[tuple[str, int], str] = {}
    for flag, text in wanted.items():
        if not text:
            continue
        try:
            address = split_address(text)
        except ConfigFault as error:
            mistakes.append(f"{flag}: {error}")
            continue
        first = seen.setdefault(address, flag) if address[1] else flag
        why = f"{first} has this address already; take another port" if first != flag else _why_not(*address)
        if why:
            mistakes.append(f"{flag} {text}: {why}")
    if mistakes:
        raise ConfigFault("\n".join(mistakes))


def _why_not(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return "this name does not resolve; an IP address always does"
    missing, had = "", False  # a name may have an address of a family that this machine has not
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            # As listeners do: connections of a process before us may still be in TIME_WAIT.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(address)
            except OSError as error:
                why = _WHY.get(error.errno or 0, error.strerror or str(error))
                if error.errno != errno.EADDRNOTAVAIL:
                    return why
                missing = why
            else:
                had = True
    return "" if had else missing
