"""Issue "Eventing core", point 9, at the ingress of a real process: bad input gets its answer and harms nothing else.

And what is good comes out as it went in: data, attributes, trace, from one process's ingress to the next one's subscriber.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.e2e.eventing.conftest import BrokerProcess

Make = Callable[..., Awaitable[BrokerProcess]]
CE = b"ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\n"
MIB = 1024 * 1024


class Sink:
    """Answers 204 and keeps each request as (lower-case fields, body)."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:-2])
                fields = {name.lower(): value for name, value in fields.items()}
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await self.got.put((fields, body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def next(self) -> tuple[dict[str, str], bytes]:
        async with asyncio.timeout(30):
            return await self.got.get()


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    sink = Sink()
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0)
    sink.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    yield sink
    server.close()


def snapshot(sink: Sink, *, paused: bool = False) -> str:
    return f"""
brokers:
  default/orders: {{store: sqlite}}
triggers:
  default/all: {{broker: orders, subscriber: {{url: "{sink.address}"}}, start: earliest, paused: {str(paused).lower()}}}
"""


async def ask(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await answer(reader)
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    async with asyncio.timeout(30):
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:-2])
        return int(head[9:12]), fields, await reader.readexactly(int(fields.get("content-length", 0)))


def post(headers: bytes, body: bytes = b"", *, path: bytes = b"/default/orders") -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: b\r\n%bcontent-length: %d\r\n\r\n%b" % (path, headers, len(body), body)


BAD = {
    "no id": (CE.replace(b"ce-id: 1\r\n", b""), b"", 400, "id"),
    "bad specversion": (CE.replace(b"1.0", b"19.0"), b"", 400, "specversion"),
    "two ids": (CE + b"ce-id: 2\r\n", b"", 400, "duplicate"),
    "bad percent-encoding": (CE + b"ce-x: %C0%A0\r\n", b"", 400, "encoding"),
    "a line break in an attribute": (CE + b"ce-x: a%0D%0Ax: y\r\n", b"", 400, "character"),
    "no JSON": (b"content-type: application/cloudevents+json\r\n", b"{", 400, "json"),
    "JSON that is too deep": (b"content-type: application/cloudevents+json\r\n", b'{"data":' + b"[" * 500_000, 400, "json"),
    "half a batch": (b"content-type: application/cloudevents-batch+json\r\n", b'[{"specversion":"1.0"}]', 400, "id"),
    "another format": (b"content-type: application/cloudevents+avro\r\n", b"\0", 415, None),
    "too large": (CE, b"x" * (MIB + 1), 413, None),
    "round in a circle": (CE + b"ce-knativebrokerttl: 1\r\n", b"", 400, None),
}  # fmt: skip


async def test_each_bad_event_is_told_what_is_wrong_and_the_next_good_one_arrives(broker_process: Make, sink: Sink):
    broker = await broker_process(snapshot(sink))
    for number, (name, (headers, body, status, reason)) in enumerate(BAD.items()):
        got, fields, problem = await ask(broker.port, post(headers, body))
        assert (got, json.loads(problem).get("reason")) == (status, reason), name
        assert fields["allow"] == "POST, OPTIONS"
        good = CE.replace(b"ce-id: 1", b"ce-id: good-%d" % number)
        assert (await ask(broker.port, post(good)))[0] == 202, name
        delivered, _ = await sink.next()
        assert delivered["ce-id"] == f"good-{number}"
    assert sink.got.empty()


@pytest.mark.parametrize("how", ["declared", "chunked", "asked first"])
async def test_two_gigabytes_cost_nothing(broker_process: Make, sink: Sink, how: str):
    broker = await broker_process(snapshot(sink))
    assert (await ask(broker.port, post(CE)))[0] == 202
    before = broker.rss_bytes()

    loop = asyncio.get_running_loop()

    async def pour() -> tuple[int, int]:
        """(status, bytes that were taken from us)"""
        # A plain socket: what it was sent can be read after a reset, which RFC 9112 §9.6 allows to who writes on.
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", broker.port))
        framing = b"transfer-encoding: chunked\r\n" if how == "chunked" else b"content-length: 2147483648\r\n"
        expect = b"expect: 100-continue\r\n" if how == "asked first" else b""
        await loop.sock_sendall(sock, b"POST /default/orders HTTP/1.1\r\nhost: b\r\n" + CE + framing + expect + b"\r\n")
        sent, piece = 0, b"10000\r\n" + b"x" * 65536 + b"\r\n" if how == "chunked" else b"x" * 65536
        with contextlib.suppress(TimeoutError, ConnectionError):
            while sent < 2 * 1024 * MIB and how != "asked first":
                await asyncio.wait_for(loop.sock_sendall(sock, piece), 0.5)
                sent += len(piece)
        got = b""
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                while b"\r\n\r\n" not in got and (data := await loop.sock_recv(sock, 65536)):
                    got += data
        sock.close()
        return int(got[9:12] or 0), sent

    poured = await asyncio.gather(*(pour() for _ in range(20)))
    assert {status for status, _ in poured} <= {413, 0}
    assert 413 in {status for status, _ in poured}
    assert max(sent for _, sent in poured) < 64 * MIB
    assert broker.rss_bytes() - before < 64 * MIB
    assert (await ask(broker.port, post(CE)))[0] == 202


async def test_an_event_crosses_the_queue_and_a_restart_as_it_came(broker_process: Make, sink: Sink):
    broker = await broker_process(snapshot(sink, paused=True))
    body = b'{"a": 1.0, "a":\t12345678901234567890123,\r\n "b" :"\\u00e9"}\n'
    headers = (
        CE + b"ce-ext: Euro%20%E2%82%AC\r\nce-time: 2026-01-01T00:00:00.123456789+01:00\r\ncontent-type: application/json; x=y\r\n"
        b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: a=b\r\nx-request-id: 7\r\ncookie: c\r\n"
    )  # fmt: skip
    assert (await ask(broker.port, post(headers, body)))[0] == 202
    broker.kill()
    broker.snapshot.write_text(snapshot(sink))
    await broker.start()
    fields, data = await sink.next()
    assert data == body
    assert fields.pop("ce-knativearrivaltime") > "2026-"
    assert {name: value for name, value in fields.items() if name.startswith("ce-")} == {
        "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t", "ce-ext": "Euro%20%E2%82%AC",
        "ce-time": "2026-01-01T00:00:00.123456789+01:00",
    }  # fmt: skip
    assert fields["content-type"] == "application/json; x=y"
    assert fields["traceparent"].startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    assert (fields["tracestate"], fields["x-request-id"]) == ("a=b", "7")
    assert "cookie" not in fields
