"""One try of a probe, against real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from controlplane.kubelet import try_probe
from controlplane.kubelet.try_probe import Grpc, Http, Tcp
from dataplane.resources.core import HTTPHeader

h2 = pytest.importorskip("h2.connection")


@contextlib.asynccontextmanager
async def serving(handle: Callable) -> AsyncIterator[int]:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def answers(*replies: bytes) -> tuple[Callable, list[bytes]]:
    """Each connection gets the next reply."""
    asked: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(replies[min(len(asked), len(replies)) - 1])
        writer.close()

    return handle, asked


async def test_tcp_is_open_or_refused_at_once():
    async def handle(reader, writer):
        writer.close()

    async with serving(handle) as port:
        assert await try_probe.connect(Tcp("127.0.0.1", port)) == ""
        assert await try_probe.connect(Tcp("localhost", port)) == ""
    with pytest.raises(OSError, match="connection refused"):
        await try_probe.connect(Tcp("127.0.0.1", port))


@pytest.mark.parametrize(
    ("status", "ok"), [(200, True), (204, True), (301, True), (399, True), (400, False), (404, False), (503, False)]
)
async def test_http_passes_from_200_to_399(status, ok):
    handle, _ = answers(b"HTTP/1.1 %d X\r\n\r\n" % status)
    async with serving(handle) as port:
        why_not = await try_probe.get(Http("127.0.0.1", port, "/"))
    assert why_not == ("" if ok else f"HTTP probe failed with statuscode: {status}")


async def test_the_request_carries_path_agent_and_headers():
    handle, asked = answers(b"HTTP/1.1 200 OK\r\n\r\n")
    headers = (
        HTTPHeader(name="X-A", value="1"),
        HTTPHeader(name="Host", value="me"),
        HTTPHeader(name="B", value="x\r\ny"),
    )
    async with serving(handle) as port:
        await try_probe.get(Http("127.0.0.1", port, "ready?x=1", headers=headers))
    lines = asked[0].decode().split("\r\n")
    assert lines[0] == "GET /ready?x=1 HTTP/1.1"
    assert {"x-a: 1", "host: me", "user-agent: kube-probe/1.0", "connection: close"} <= set(lines)
    assert not any("y" == line or line.startswith("b:") for line in lines)


async def test_redirects_on_the_host_are_followed_and_others_are_an_answer():
    moved = b"HTTP/1.1 302 Found\r\nLocation: %b\r\n\r\n"
    handle, asked = answers(moved % b"/there", b"HTTP/1.1 500 X\r\n\r\n")
    async with serving(handle) as port:
        assert await try_probe.get(Http("127.0.0.1", port, "/")) == "HTTP probe failed with statuscode: 500"
    assert asked[1].startswith(b"GET /there ")
    handle, asked = answers(moved % b"http://elsewhere.example/")
    async with serving(handle) as port:
        assert await try_probe.get(Http("127.0.0.1", port, "/")) == ""
    handle, asked = answers(moved % b"/")
    async with serving(handle) as port:
        assert await try_probe.get(Http("127.0.0.1", port, "/")) == "stopped after 10 redirects"


@pytest.mark.parametrize("reply", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
async def test_what_is_no_http_fails(reply):
    handle, _ = answers(reply)
    async with serving(handle) as port:
        with pytest.raises(OSError, match="does not answer in HTTP"):
            await try_probe.get(Http("127.0.0.1", port, "/"))


def grpc(body: bytes, seen: list) -> Callable:
    """A gRPC server by the library of others."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h2.H2Connection(config=h2.H2Configuration(client_side=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(4096):
            for event in connection.receive_data(data):
                name = type(event).__name__
                if name == "RequestReceived":
                    seen.append({k.decode(): v.decode() for k, v in map(_pair, event.headers)})
                elif name == "DataReceived":
                    seen.append(event.data)
                elif name == "StreamEnded":
                    connection.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
                    connection.send_data(1, b"\0" + len(body).to_bytes(4, "big") + body)
                    connection.send_headers(1, [("grpc-status", "0")], end_stream=True)
            writer.write(connection.data_to_send())
        writer.close()

    return handle


def _pair(pair) -> tuple[bytes, bytes]:
    return tuple(x if isinstance(x, bytes) else x.encode() for x in pair)


async def test_grpc_health_is_asked_and_must_say_serving():
    seen: list = []
    async with serving(grpc(b"\x08\x01", seen)) as port:
        assert await try_probe.health(Grpc(port, "shop")) == ""
    assert seen[0][":path"] == "/grpc.health.v1.Health/Check"
    assert seen[0]["content-type"] == "application/grpc"
    assert seen[1] == b"\0\0\0\0\x06\x0a\x04shop"
    async with serving(grpc(b"\x08\x02", [])) as port:
        assert await try_probe.health(Grpc(port, "")) == 'gRPC service "" is not serving'


async def test_what_is_no_grpc_fails():
    async def handle(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with serving(handle) as port:
        with pytest.raises(OSError):
            await try_probe.health(Grpc(port, ""))
