"""Clients and pods that read slowly, stop, lie or leave at the worst moment: what they may cost, and whom.

Source: reliability.md GW-13, GW-15, GW-18, GW-21, GW-23…GW-26, AC-01.
"""

import asyncio
import contextlib
import functools
import socket
import struct

import pytest

from activator.hold import HoldSettings
from dataplane.net.accepting import Limits
from dataplane.net.listener import Listener, ListenerSettings
from gateway.settings import GatewaySettings

HOST = b"hello.default.localhost"
KEY = "default/hello-00001"


def head(line: bytes = b"GET / HTTP/1.1", extra: bytes = b"") -> bytes:
    return line + b"\r\nhost: " + HOST + b"\r\n" + extra + b"\r\n"


LEFT_S = 5.0  # by far sooner than any timeout would end it


async def until(condition, limit_s: float = 30.0) -> None:
    deadline = asyncio.get_running_loop().time() + limit_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "did not happen in time"
        await asyncio.sleep(0.005)


class SlowClient:
    """A socket with a small receive buffer that is read only when asked."""

    def __init__(self, house) -> None:
        self.loop = asyncio.get_running_loop()
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.setblocking(False)
        self.address = ("127.0.0.1", house.port)

    async def __aenter__(self):
        await self.loop.sock_connect(self.sock, self.address)
        return self

    async def __aexit__(self, *_) -> None:
        self.sock.close()

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.sock, data)

    async def read(self) -> bytes:
        return await self.loop.sock_recv(self.sock, 1 << 20)

    async def read_all(self, limit_s: float = 30.0) -> bytes:
        out = b""
        async with asyncio.timeout(limit_s):
            while piece := await self.read():
                out += piece
        return out


def connections(house) -> list:
    return [c for listener in house.gateway._listeners for c in listener._connections]


def buffered(house) -> int:
    return sum(c._transport.get_write_buffer_size() for c in connections(house))


class Filling:
    """An origin whose response to /fill grows until the gateway holds `level` bytes that the client did not take; then
    `last` bytes and the end of the response come as one piece. Anything else gets `ok`."""

    def __init__(self, house, *, level: int, last: int) -> None:
        self.house, self.level, self.last = house, level, last
        self.size = 0
        self.filled = asyncio.Event()

    async def __call__(self, reader, writer, request: bytes) -> None:
        if b"/fill" not in request:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            return
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while buffered(self.house) < self.level:
            step = 65536 if buffered(self.house) == 0 else 8192
            writer.write(b"%x\r\n%b\r\n" % (step, b"x" * step))
            self.size += step
            await asyncio.sleep(0.002)
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (self.last, b"x" * self.last))
        self.size += self.last
        await asyncio.sleep(0.05)
        self.filled.set()


async def test_GW_25_an_upstream_paused_for_a_slow_client_serves_the_next_one(house):
    """Its last bytes had filled the client's buffer; back in the pool nobody would ever have read from it again."""
    house.origin.answer = filling = Filling(house, level=225_000, last=50_000)
    async with SlowClient(house) as slow:
        await slow.send(head(b"GET /fill HTTP/1.1"))
        async with asyncio.timeout(30):
            await filling.filled.wait()
            assert any(c.blocked for c in connections(house))
            for _ in range(3):
                assert (await house.get("/small"))[2] == b"ok"


async def test_GW_25_a_client_that_asks_and_never_reads_is_not_answered_without_end(house):
    house.origin.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000
    async with SlowClient(house) as slow:
        await slow.send(head() * 200)
        served = -1
        while served != house.origin.requests:
            served = house.origin.requests
            await asyncio.sleep(0.2)
        assert served < 100, "20 MB were made for somebody who reads nothing"
        assert buffered(house) < 512 * 1024
        got = 0
        async with asyncio.timeout(60):
            while got < 200 * 100_000:  # and goes on where it stopped
                got += len(await slow.read())
    assert house.origin.requests == 200


async def test_GW_25_requests_one_by_one_do_not_pile_up_answers_either(house):
    house.origin.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000
    async with SlowClient(house) as slow:
        for _ in range(150):
            await slow.send(head())
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.2)
        assert buffered(house) < 512 * 1024
        assert house.origin.requests < 100


async def test_GW_26_a_closed_connection_whose_client_does_not_read_is_cut(make_house):
    house = await make_house(GatewaySettings(write_stall_timeout_s=1.5))
    house.origin.answer = filling = Filling(house, level=100_000, last=10)
    async with SlowClient(house) as slow:
        await slow.send(head(b"GET /fill HTTP/1.1"))
        async with asyncio.timeout(30):
            await filling.filled.wait()
        (connection,) = connections(house)
        assert not connection.blocked
        connection.close()  # as at the end of the idle timeout, or of a drain
        await until(lambda: not connections(house))


async def test_GW_26_the_end_of_a_response_is_not_cut_by_a_timer_of_the_past(make_house):
    house = await make_house(GatewaySettings(idle_timeout_s=1.0))
    house.origin.answer = filling = Filling(house, level=100_000, last=10)
    async with SlowClient(house) as slow:
        await slow.send(head(b"GET /fill HTTP/1.0"))
        async with asyncio.timeout(30):
            await filling.filled.wait()
        await asyncio.sleep(1.3)  # the idle timeout of the connection, armed when it was accepted, has passed
        answer, _, body = (await slow.read_all()).partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert len(body) == filling.size


@pytest.mark.parametrize("started", [False, True])
async def test_GW_26_a_body_that_stops_ends_its_request(house, started):
    async def answer(reader, writer, request) -> None:
        if started:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello")
        await reader.read()

    house.origin.answer = answer
    strict = Listener(
        name="strict",
        engine=house.engine,
        handler=functools.partial(house.gateway._on_request, house.gateway._doors[0]),
        trusted=house.gateway._fields_of,
        settings=ListenerSettings(limits=Limits(body_stall_s=1.0)),
    )
    house.gateway._listeners.append(strict)
    _, house.port = await strict.start("127.0.0.1", 0)
    reader, writer = await house.connect()
    writer.write(head(b"POST / HTTP/1.1", b"content-length: 100\r\n") + b"some")
    for _ in range(24):  # slower than the limit in total, and by far not in one go
        await asyncio.sleep(0.05)
        writer.write(b"x")
    assert len(strict) == 1
    whole = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(30):
            whole = await reader.read()
    assert whole.startswith(b"HTTP/1.1 200" if started else b"HTTP/1.1 408") or (started and not whole)
    hold = house.activator.hold(KEY)
    await until(lambda: hold.meter.running == 0)
    await until(lambda: house.origin.closed == 1)


async def reset_origin(reader, writer, request) -> None:
    framing = b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n" if b"/chunked" in request else b"\r\nhello"
    writer.write(b"HTTP/1.1 200 OK\r\n" + framing)
    await writer.drain()
    await asyncio.sleep(0.05)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    raise ConnectionError


async def test_GW_21_a_reset_is_not_the_end_of_a_body_without_a_length(house):
    house.origin.answer = reset_origin
    reader, writer = await house.connect()
    writer.write(head(b"GET /until-close HTTP/1.1"))
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readuntil(b"0\r\n\r\n")


@pytest.mark.parametrize("target", [b"/until-close", b"/chunked"])
async def test_GW_21_a_truncated_response_is_reset_where_closing_means_the_end(house, target):
    """HTTP/1.0 has no other sign: a plain close would look like a whole message."""
    house.origin.answer = reset_origin
    reader, writer = await house.connect()
    writer.write(head(b"GET " + target + b" HTTP/1.0"))
    with pytest.raises(ConnectionResetError):
        await reader.read()


async def test_GW_15_a_pod_that_answers_closes_and_reads_nothing_is_not_waited_for(house):
    async def early(reader, writer, request) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nearly")
        writer.write_eof()
        await asyncio.sleep(30)

    house.origin.answer = early
    reader, writer = await house.connect()
    writer.write(head(b"POST / HTTP/1.1", b"content-length: 50000000\r\n") + b"x" * 20_000_000)
    async with asyncio.timeout(30):
        assert b"early" in await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.transport.abort()


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_GW_18_a_bodyless_answer_with_a_coding_does_not_shift_the_next_one(house, status):
    async def answer(reader, writer, request) -> None:
        if b"/first" in request:
            writer.write(b"HTTP/1.1 " + status + b"\r\ntransfer-encoding: chunked\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    house.origin.answer = answer
    reader, writer = await house.connect()
    writer.write(head(b"GET /first HTTP/1.1") + head(b"GET /second HTTP/1.1"))
    first = await reader.readuntil(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 " + status)
    assert b"transfer-encoding" not in first
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK")


async def test_GW_23_a_client_that_leaves_during_its_last_pipelined_request_is_noticed(house):
    async def answer(reader, writer, request) -> None:
        if b"/first" in request:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        else:
            await reader.read()

    house.origin.answer = answer
    reader, writer = await house.connect()
    writer.write(head(b"GET /first HTTP/1.1") + head(b"GET /second HTTP/1.1"))
    await until(lambda: house.origin.requests == 2)
    writer.close()
    await until(lambda: house.activator.hold(KEY).meter.running == 0, LEFT_S)


async def test_GW_24_a_half_close_before_101_reaches_the_pod_after_it(house):
    ended = asyncio.Event()

    async def answer(reader, writer, request) -> None:
        await asyncio.sleep(0.1)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
        await reader.read()
        ended.set()
        writer.close()
        raise ConnectionError

    house.origin.answer = answer
    reader, writer = await house.connect()
    writer.write(head(extra=b"connection: Upgrade\r\nupgrade: websocket\r\ncontent-length: 0\r\n"))
    writer.write_eof()
    async with asyncio.timeout(30):
        assert (await reader.read()).startswith(b"HTTP/1.1 101")
        await ended.wait()
    await until(lambda: house.activator.hold(KEY).meter.running == 0)


async def test_AC_01_body_bytes_that_came_with_the_head_count_for_the_queue(make_house):
    house = await make_house(hold=HoldSettings(bytes_max=50_000))
    house.publish([])
    request = head(b"POST / HTTP/1.1", b"content-length: 30000\r\n") + b"x" * 30_000
    _, first = await house.connect()
    first.write(request)
    await until(lambda: house.activator.hold(KEY).depth == 1)
    reader, second = await house.connect()
    second.write(request)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 503")
    first.transport.abort()
    await until(lambda: house.activator._bytes.waiting == 0)


async def test_GW_20_a_connection_that_ended_in_the_pool_is_not_taken(house):
    for end in (lambda c: c.data_received(b"junk"), lambda c: c.eof_received()):
        await house.get()
        host, _, port = house.origin.address.rpartition(":")
        origin = (host, int(port))
        connection = house.engine.pool.take(origin)
        assert connection is not None
        house.engine.pool.give(connection)
        end(connection)
        assert house.engine.pool.take(origin) is None


async def test_GW_20_an_address_that_cannot_be_dialled_fails_and_is_forgotten(house):
    class Waiting:
        failed = ""

        def on_connected(self, connection) -> None:
            raise AssertionError

        def on_connect_failed(self, error) -> None:
            self.failed = str(error)

    for origin in (("127.0.0.1", 99_999), ("a" * 300, 80), ("127.0.0.1", 9)):
        waiting = Waiting()
        house.engine.pool.dial(origin, waiting)
        await until(lambda waiting=waiting: waiting.failed)
        assert waiting.failed.startswith("connect: ")
        await until(lambda origin=origin: origin not in house.engine.pool._origins)


async def test_AC_02_a_client_that_leaves_with_its_whole_body_sent_gives_up_its_place(house):
    house.publish([])
    hold = house.activator.hold(KEY)
    for body in (b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n"):
        _, writer = await house.connect()
        writer.write(head(b"POST / HTTP/1.1", body) + (b"hello" if b"length" in body else b"5\r\nhello\r\n0\r\n\r\n"))
        await until(lambda: hold.depth == 1)
        await asyncio.sleep(0.02)
        writer.close()
        await until(lambda: hold.depth == 0, LEFT_S)
    assert hold.meter.running == 0


@pytest.mark.parametrize("state", ["held", "running"])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_GW_23_a_client_that_leaves_while_it_is_not_read_from_is_found_out(house, state, how):
    """A body too large to hold, and a pipelined request, stop the reading; FIN and RST stand behind what is unread."""

    async def silent(reader, writer, request) -> None:
        await asyncio.sleep(30)

    house.origin.answer = silent
    hold = house.activator.hold(KEY)
    if state == "held":
        house.publish([])
        data = head(b"POST / HTTP/1.1", b"content-length: 900000\r\n") + b"x" * 300_000
    else:
        data = head() + head()
    _, writer = await house.connect()
    writer.write(data)
    await writer.drain()
    await until(lambda: hold.meter.running == 1)
    await asyncio.sleep(0.1)
    if how == "reset":
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()
    await until(lambda: hold.meter.running == 0, LEFT_S)


async def test_an_answer_to_a_client_that_has_just_reset_leaves_no_connection(house):
    """shutdown(2) of our half fails then; the error must not escape into the pod's connection."""
    gate = asyncio.Event()

    async def early(reader, writer, request) -> None:
        await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await reader.read()

    house.origin.answer = early
    _, writer = await house.connect()
    writer.write(head(b"POST / HTTP/1.1", b"content-length: 9000000\r\n") + b"x" * 1000)
    await until(lambda: house.origin.requests == 1)
    (connection,) = connections(house)
    connection.pause_body()  # so that the reset is not read
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    await asyncio.sleep(0.02)
    gate.set()
    await until(lambda: not connections(house) and house.activator.hold(KEY).meter.running == 0)


async def test_GW_23_a_client_that_half_closes_waits_and_then_leaves_is_found_out(house):
    async def silent(reader, writer, request) -> None:
        await asyncio.sleep(30)

    house.origin.answer = silent
    hold = house.activator.hold(KEY)
    _, writer = await house.connect()
    writer.write(head())
    writer.write_eof()
    await until(lambda: house.origin.requests == 1)
    await asyncio.sleep(0.2)
    assert hold.meter.running == 1, "a half-close alone is no reason to give up"
    writer.transport.abort()
    await until(lambda: hold.meter.running == 0, LEFT_S)


async def test_a_body_that_came_with_its_head_is_sent_with_it_and_again_elsewhere_if_that_is_safe(house):
    seen: list[bytes] = []

    async def once(reader, writer, request) -> None:
        seen.append(request + await reader.readexactly(5))
        if len(seen) == 2:
            writer.close()  # the connection that stood idle dies under the second request
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    house.origin.answer = once
    reader, writer = await house.connect()
    for method in (b"POST", b"PUT", b"POST"):
        writer.write(head(method + b" / HTTP/1.1", b"content-length: 5\r\n") + b"hello")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    assert [(s[:4], s[-5:]) for s in seen] == [
        (b"POST", b"hello"), (b"PUT ", b"hello"), (b"PUT ", b"hello"), (b"POST", b"hello"),
    ]  # fmt: skip


async def test_AC_01_what_a_client_sends_behind_a_request_that_waits_counts_as_waiting(make_house):
    house = await make_house(hold=HoldSettings(bytes_max=100_000))
    if house.separate:
        pytest.skip("the gateway holds nothing then")
    house.publish([])
    hold = house.activator.hold(KEY)
    reader, writer = await house.connect()
    writer.write(head())
    await until(lambda: hold.depth == 1)
    before = house.metric("dataplane_activator_queue_bytes")
    writer.write(head() * 20)
    await until(lambda: house.metric("dataplane_activator_queue_bytes") == before + 20 * len(head()))
    other_reader, other = await house.connect()
    other.write(head())
    await until(lambda: hold.depth == 2)
    other.write(b"GET /" + b"x" * 99_000)
    assert (await other_reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 503")
    await until(lambda: hold.depth == 1)
    assert house.metric("dataplane_activator_queue_bytes") == before + 20 * len(head())
    writer.transport.abort()
    await until(lambda: house.metric("dataplane_activator_queue_bytes") == 0)


async def test_GW_26_a_body_that_trickles_is_408_and_one_that_comes_fast_enough_is_not(house):
    limits = Limits(body_bytes_s=1000.0, body_window_s=1.0)
    listener = Listener(
        name="slow",
        engine=house.engine,
        handler=functools.partial(house.gateway._on_request, house.gateway._doors[0]),
        trusted=house.gateway._fields_of,
        settings=ListenerSettings(limits=limits),
    )
    address = await listener.start("127.0.0.1", 0)
    for chunk, status in ((1, b"HTTP/1.1 408"), (1000, b"HTTP/1.1 200")):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(head(b"POST / HTTP/1.1", b"content-length: %d\r\n" % (chunk * 80)))
        for _ in range(80):
            writer.write(b"x" * chunk)
            await asyncio.sleep(0.02)
            if reader.at_eof() or reader._buffer:
                break
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(status)
        writer.close()
    listener.stop_accepting()


async def test_GW_19_what_is_routed_by_is_what_is_sent_on(house):
    await house.get("/a/../%62/%2e%2e/c%2fd?e=/../%zz")
    assert house.origin.received[0].startswith(b"GET /c%2Fd?e=/../%zz HTTP/1.1\r\n")
    assert (await house.get("/%00"))[0] == 400
    assert (await house.get("/", "BREW"))[0] == 501
    assert house.origin.requests == 1
