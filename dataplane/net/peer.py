"""Has a client that sent FIN closed for good, or only its sending half?

TCP cannot tell the two apart until something is written, but the kernel of a client on this machine can: after
close() its socket has no owner (inode 0). Asked by netlink for one connection (O(1) in the kernel's hash table),
only when a FIN arrives while a request is being served. A client on another machine is given the benefit of the
doubt (GW-24: a half-close still gets its response) and found out at the first byte written to it.

Source: reliability.md GW-23 against GW-24, AC-02; linux/inet_diag.h.
"""

import ipaddress
import socket
import struct

from dataplane.net.server import ServerConnection

_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_REQUEST = struct.Struct("=IHHIIBBBBI2s2s16s16sIII")  # nlmsghdr, inet_diag_req_v2 with one sockid
_ANY_COOKIE = 0xFFFFFFFF
_INODE_AT = 16 + 68  # nlmsghdr, then inet_diag_msg up to idiag_inode


def peer_is_gone(connection: ServerConnection) -> bool:
    """True only when the client's socket is known to be closed; False when it still reads, or nobody can know."""
    sock = connection.socket()
    if sock is None:
        return False
    try:
        return _orphaned(sock.getpeername(), sock.getsockname())
    except (OSError, ValueError):
        return False


def _orphaned(client: tuple[str, int], server: tuple[str, int]) -> bool:
    """Does the socket `client` → `server` exist on this machine without an owner?"""
    source, family = _address(client[0])
    target, _ = _address(server[0])
    if not source.is_loopback and source != target:
        return False
    request = _REQUEST.pack(
        _REQUEST.size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0,
        family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF,
        struct.pack("!H", client[1]), struct.pack("!H", server[1]),
        source.packed.ljust(16, b"\0"), target.packed.ljust(16, b"\0"),
        0, _ANY_COOKIE, _ANY_COOKIE,
    )  # fmt: skip
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, getattr(socket, "NETLINK_SOCK_DIAG", 4)) as netlink:
        netlink.setblocking(False)
        netlink.send(request)
        answer = netlink.recv(4096)  # the kernel answers within send()
    kind = int.from_bytes(answer[4:6], "little")
    if kind != _SOCK_DIAG_BY_FAMILY:
        error = -struct.unpack_from("=i", answer, 16)[0] if len(answer) >= 20 else 0
        return error == 2  # ENOENT: the socket is gone altogether
    return bool(struct.unpack_from("=I", answer, _INODE_AT)[0] == 0)


def _address(text: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    address = ipaddress.ip_address(text)
    return address, socket.AF_INET if address.version == 4 else socket.AF_INET6
