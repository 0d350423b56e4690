"""One try of a probe: HTTP, TCP, a command, or gRPC health.

Path: watch_container.py → [try_probe] → the container.

No thread, no client library. A refused connection costs microseconds: it is tried without a turn of the loop.

Source: spec/serving.md §9.8; Kubernetes' pkg/probe; gRPC health checking protocol v1.
"""

import asyncio
import os
import socket
import ssl
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from dataplane.resources.core import HTTPHeader

AGENT = "kube-probe/1.0"
HEAD_BYTES_MAX = 16 << 10
REDIRECTS_MAX = 10
SERVICE_BYTES_MAX = 127
_OK_SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}


class Http(NamedTuple):
    host: str
    port: int
    path: str
    tls: bool = False
    headers: tuple[HTTPHeader, ...] = ()


class Tcp(NamedTuple):
    host: str
    port: int


class Exec(NamedTuple):
    argv: tuple[str, ...]


class Grpc(NamedTuple):
    port: int
    service: str


Check = Http | Tcp | Exec | Grpc


async def connect(check: Tcp) -> str:
    """ "" when something listens. Raises OSError."""
    if ":" in check.host or not check.host.replace(".", "").isdigit():
        _, writer = await asyncio.open_connection(check.host, check.port)
        writer.close()
        return ""
    with socket.socket() as one:
        one.setblocking(False)
        one.connect_ex((check.host, check.port))
        error = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # loopback answers within the call
        if error:
            raise OSError(error, f"dial tcp {check.host}:{check.port}: connect: {os.strerror(error).lower()}")
        try:
            one.getpeername()
            return ""
        except OSError:
            pass
    with socket.socket() as one:
        one.setblocking(False)
        await asyncio.get_running_loop().sock_connect(one, (check.host, check.port))
    return ""


async def get(check: Http) -> str:
    """ "" for a status from 200 to 399; redirects are followed while they stay on the host. Raises OSError."""
    target, port, tls = check.path or "/", check.port, check.tls
    if not target.startswith("/"):
        target = "/" + target
    for _ in range(REDIRECTS_MAX):
        status, location = await _fetch(check, target, port, tls)
        if status not in (301, 302, 303, 307, 308) or not location:
            return "" if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"
        there = urlsplit(urljoin(f"{'https' if tls else 'http'}://{check.host}:{port}{target}", location))
        if there.hostname != check.host:
            return ""  # it leads away: an answer like any other
        tls = there.scheme == "https"
        port = there.port or (443 if tls else 80)
        target = (there.path or "/") + (f"?{there.query}" if there.query else "")
    return f"stopped after {REDIRECTS_MAX} redirects"


async def _fetch(check: Http, target: str, port: int, tls: bool) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection(check.host, port, ssl=_trusting() if tls else None)
    try:
        writer.write(request(check, target, port))
        head = b""
        while b"\r\n\r\n" not in head and len(head) < HEAD_BYTES_MAX:
            data = await reader.read(4096)
            if not data:
                break
            head += data
    finally:
        writer.close()
    lines = head.split(b"\r\n\r\n")[0].split(b"\r\n")
    words = lines[0].split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise OSError(f"{check.host}:{port} does not answer in HTTP")
    location = next((line[9:] for line in lines if line[:9].lower() == b"location:"), b"")
    return int(words[1]), location.strip().decode("latin-1")


def request(check: Http, target: str, port: int) -> bytes:
    """A header with CR or LF in it is left out: admission refuses those."""
    fields = {"host": f"{check.host}:{port}", "user-agent": AGENT, "accept": "*/*", "connection": "close"}
    for header in check.headers:
        if not set("\r\n") & set(header.name + header.value):
            fields[header.name.lower()] = header.value
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _trusting() -> ssl.SSLContext:
    """As the kubelet: a probe asks whether the app answers, not who it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def health(check: Grpc) -> str:
    """ "" when grpc.health.v1.Health/Check says SERVING. Raises OSError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", check.port)
    try:
        writer.write(health_request(check))
        message = b""
        while True:
            head = await reader.readexactly(9)
            size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = int.from_bytes(head[5:], "big")
            if size > HEAD_BYTES_MAX:
                raise OSError("the answer is not gRPC")
            payload = await reader.readexactly(size)
            if kind == 0x4 and not flags & 1:  # SETTINGS: acknowledge
                writer.write(_frame(0x4, 1, 0, b""))
            elif kind == 0x0 and stream == 1:
                message += payload
            if (stream == 1 and (flags & 1 or kind == 0x3)) or kind == 0x7:
                break
    except asyncio.IncompleteReadError as error:
        raise OSError("the connection ended before an answer") from error
    finally:
        writer.close()
    return "" if message[5:] == _OK_SERVING else f'gRPC service "{check.service}" is not serving'


def health_request(check: Grpc) -> bytes:
    """HTTP/2 with prior knowledge: preface, settings, one request; header fields as plain literals."""
    name = check.service.encode()[:SERVICE_BYTES_MAX]
    body = b"\x0a" + bytes([len(name)]) + name if name else b""
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/grpc.health.v1.Health/Check",
        b":authority": b"127.0.0.1:%d" % check.port,
        b"content-type": b"application/grpc",
        b"te": b"trailers",
        b"user-agent": AGENT.encode(),
    }
    block = b"".join(b"\x00" + bytes([len(k)]) + k + bytes([len(v)]) + v for k, v in fields.items())
    data = b"\x00" + len(body).to_bytes(4, "big") + body
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    return preface + _frame(0x4, 0, 0, b"") + _frame(0x1, 0x4, 1, block) + _frame(0x0, 0x1, 1, data)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
