"""Liveness and failure faults: rows of reliability.md §3.1 from GW-11 on, through a real gateway on real sockets."""

import asyncio
import base64
import os

import pytest

from activator.hold import HoldSettings
from dataplane.net.pool import PoolSettings
from dataplane.resources.snapshot import Path, Revision, Route, Rule, Snapshot, Split
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


def hops(house) -> bytes:
    """An activator of its own is one more hop in X-Forwarded-For."""
    return b"127.0.0.1, 127.0.0.1" if house.separate else b"127.0.0.1"


async def answer_slowly(reader, writer, _head) -> None:
    await asyncio.sleep(30)


# ---- headers ---------------------------------------------------------------------------------------


async def test_GW_11_hop_by_hop_fields_and_what_connection_nominates_are_stripped(house):
    await house.raw(
        head(
            extra=b"connection: close, x-secret\r\nx-secret: 1\r\nX-Kept: 2\r\nkeep-alive: 5\r\nproxy-connection: x\r\n"
            b"te: trailers\r\ntrailer: x\r\nupgrade: h2c\r\n"
        )
    )
    assert house.origin.log == (
        b"GET / HTTP/1.1\r\nhost: " + HOST + b"\r\nX-Kept: 2\r\n"
        b"x-forwarded-for: " + hops(house) + b"\r\nx-forwarded-proto: http\r\n"
        b"forwarded: for=127.0.0.1;host=" + HOST + b";proto=http\r\n\r\n"
    )


@pytest.mark.parametrize(
    "name",
    [
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"authorization",
        b"x-forwarded-for",
        b"traceparent",
        b"k-x",
        b"ce-id",
    ],
)
async def test_GW_11_nominating_a_field_that_others_rely_on_is_refused(house, name):
    answer = await house.raw(head(extra=b"connection: " + name + b"\r\n"))
    assert answer.startswith(b"HTTP/1.1 400")
    assert house.origin.log == b""


async def test_GW_12_forwarding_and_internal_headers_from_outside_are_replaced(house):
    lies = (
        b"x-forwarded-for: 6.6.6.6\r\nx-forwarded-proto: https\r\nx-forwarded-host: evil\r\nforwarded: for=6.6.6.6\r\n"
        b"x-real-ip: 6.6.6.6\r\nx-request-id: 1\r\nk-network-hash: x\r\nK-Proxy-Request: activator\r\n"
        b"Knative-Serving-Revision: other\r\nknative-serving-namespace: other\r\nk-original-host: other\r\n"
    )
    await house.raw(head(extra=lies))
    for lie in (b"6.6.6.6", b"evil", b"https", b"other", b"activator", b"k-network", b"x-request-id"):
        assert lie not in house.origin.log.lower()
    assert b"x-forwarded-for: " + hops(house) + b"\r\n" in house.origin.log


async def test_GW_12_a_trusted_proxy_is_believed_and_extended(make_house):
    house = await make_house(GatewaySettings(trusted_proxies=("127.0.0.0/8",)))
    await house.raw(head(extra=b"x-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: https\r\nk-proxy-request: x\r\n"))
    assert b"x-forwarded-for: 1.2.3.4, " + hops(house) + b"\r\nx-forwarded-proto: https\r\n" in house.origin.log
    assert b"k-proxy-request" not in house.origin.log


async def test_headers_of_the_route_overwrite_the_clients(house):
    split = Split(revision=KEY, append_headers={"Foo-Bar": "ours"})
    rule = Rule(hosts=(HOST.decode(),), paths=(Path(splits=(split,)),))
    route = Route(namespace="default", name="hello", rules=(rule,))
    house.apply(Snapshot(generation=9, routes={"default/hello": route}, revisions=house.gateway.snapshot.revisions))
    await house.raw(head(extra=b"foo-bar: bogus\r\n"))
    assert b"bogus" not in house.origin.log
    assert b"Foo-Bar: ours\r\n" in house.origin.log


async def test_network_probe_is_answered_with_the_hash_of_the_route(house):
    answer = await house.raw(head(extra=b"k-network-probe: probe\r\nk-network-hash: override\r\n"))
    assert b"k-network-hash: cafe\r\n" in answer
    answer = await house.raw(head(extra=b"k-network-probe: probe\r\nk-network-hash: abcd\r\n"))
    assert b"k-network-hash: abcd\r\n" in answer
    answer = await house.raw(head(extra=b"k-network-probe: probe\r\n"))
    assert answer.startswith(b"HTTP/1.1 400")
    assert house.origin.log == b""


# ---- turns -----------------------------------------------------------------------------------------


async def test_GW_13_sixteen_pipelined_requests_are_answered_in_order_one_at_a_time(house):
    busy = 0

    async def echo(reader, writer, request) -> None:
        nonlocal busy
        busy += 1
        assert busy == 1, "two requests of one connection at once"
        await asyncio.sleep(0.002)
        target = request.split(b" ")[1]
        busy -= 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(target), target))

    house.origin.answer = echo
    answer = await house.raw(b"".join(head(b"GET /%02d HTTP/1.1" % i) for i in range(16)))
    assert [part.split(b"\r\n\r\n")[1] for part in answer.split(b"HTTP/1.1 200")[1:]] == [
        b"/%02d" % i for i in range(16)
    ]


async def test_GW_13_nothing_after_a_broken_request_is_parsed(house):
    answer = await house.raw(head() + b"GET / HTTP/1.1\r\nbad header\r\n\r\n" + head(b"GET /never HTTP/1.1"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 2
    assert b"HTTP/1.1 400" in answer
    assert b"/never" not in house.origin.log


async def test_GW_13_a_body_is_followed_by_the_next_request_to_the_byte(house):
    answer = await house.raw(
        head(b"POST /a HTTP/1.1", b"content-length: 5\r\n") + b"hello" + head(b"GET /b HTTP/1.1")
        + head(b"POST /c HTTP/1.1", b"transfer-encoding: chunked\r\n") + b"3\r\nabc\r\n0\r\n\r\n" + head(b"GET /d HTTP/1.1")
    )  # fmt: skip
    assert answer.count(b"HTTP/1.1 200") == 4
    assert [r.split(b" ")[1] for r in house.origin.received if b" HTTP/1.1" in r] == [b"/a", b"/b", b"/c", b"/d"]


async def test_GW_14_expect_100_continue_is_answered_once_when_the_pod_is_at_hand(house):
    reader, writer = await house.connect()
    writer.write(head(b"POST / HTTP/1.1", b"content-length: 2\r\nexpect: 100-continue\r\n"))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"hi")
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    assert b"expect" not in house.origin.log
    answer = await house.raw(head(b"POST / HTTP/1.1", b"content-length: 2\r\nexpect: other\r\n"))
    assert answer.startswith(b"HTTP/1.1 417")


async def test_GW_15_an_early_answer_is_relayed_and_both_sides_close(house):
    async def early(reader, writer, request) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await reader.read()

    house.origin.answer = early
    reader, writer = await house.connect()
    writer.write(head(b"POST / HTTP/1.1", b"content-length: 1000000\r\n") + b"x" * 1000)
    whole = await reader.read()
    assert whole.startswith(b"HTTP/1.1 413")
    assert whole.endswith(b"big")
    await until(lambda: house.origin.closed == 1)


async def test_GW_15_a_short_rest_of_the_body_keeps_the_connection(house):
    async def early(reader, writer, request) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        if b"content-length" in request:
            await reader.read()

    house.origin.answer = early
    reader, writer = await house.connect()
    writer.write(head(b"POST / HTTP/1.1", b"content-length: 10\r\n") + b"x" * 5)
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    writer.write(b"x" * 5 + head())
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")


# ---- upstream ----------------------------------------------------------------------------------------


async def test_GW_18_a_response_that_is_not_http_is_502_and_the_connection_is_dropped(house):
    for bad in (
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 102 P\r\n\r\n" * 20,
    ):
        house.origin.answer = bad
        status, answer, _ = await house.get(method="POST", headers="content-length: 0\r\n")
        assert status == 502, bad
        assert b"x-dp-error: upstream_protocol" in answer


async def test_GW_18_bytes_after_a_response_end_the_upstream_connection(house):
    house.origin.answer = (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
    )
    assert (await house.get())[2] == b"ok"
    house.origin.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    assert (await house.get())[2] == b"ok"
    assert house.origin.connections == 2


async def test_GW_20_refused_upstream_is_502_within_the_connect_timeout(house):
    await house.origin.stop()
    status, answer, _ = await house.get(method="POST", headers="content-length: 0\r\n")
    assert status == 502
    assert b"x-dp-error: connect_failed" in answer


async def test_GW_20_another_pod_serves_when_one_refuses(make_house):
    house = await make_house()
    house.publish(["127.0.0.1:9", house.origin])
    results = [await house.get() for _ in range(20)]
    assert {status for status, _, _ in results} == {200}


async def test_GW_20_reset_before_a_response_byte_is_repeated_only_when_safe(make_house):
    house = await make_house()

    async def die(reader, writer, request) -> None:
        writer.transport.abort()
        raise ConnectionError

    house.origin.answer = die
    status, answer, _ = await house.get(method="POST", headers="content-length: 0\r\n")
    assert status == 502
    assert b"x-dp-error: upstream_reset" in answer
    assert house.origin.requests == 1, "a POST was repeated"
    status, _, _ = await house.get()
    assert status == 502
    assert house.origin.requests == 3, "a GET is tried twice and no more"


async def test_GW_21_an_upstream_that_dies_mid_body_never_looks_complete(house):
    async def truncated(reader, writer, request) -> None:
        if b"/chunked" in request:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nhello")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.transport.abort()
        raise ConnectionError

    house.origin.answer = truncated
    for target in (b"/chunked", b"/sized"):
        reader, writer = await house.connect()
        writer.write(head(b"GET " + target + b" HTTP/1.1"))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readuntil(b"0\r\n\r\n")
    await until(lambda: house.activator.in_flight(f"pod-{house.origin.address}") == 0)


async def test_GW_22_response_start_timeout_is_504_and_a_total_timeout_cuts_a_started_response(house):
    house.origin.answer = answer_slowly
    house.publish([house.origin], timeout_s=0.3)
    status, answer, body = await house.get()
    assert (status, body) == (504, b"request timeout")
    assert b"x-dp-error: upstream_timeout" in answer

    async def drip(reader, writer, request) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1\r\nx\r\n")
            await asyncio.sleep(0.05)

    house.origin.answer = drip
    reader, writer = await house.connect()
    writer.write(head())
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readuntil(b"0\r\n\r\n")


async def test_GW_22_idle_timeout_between_bytes_cuts(house):
    async def stall(reader, writer, request) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
        await asyncio.sleep(30)

    house.origin.answer = stall
    house.publish([house.origin], idle_timeout_s=0.3)
    reader, writer = await house.connect()
    writer.write(head())
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1000)


@pytest.mark.parametrize("when", ["waiting", "mid_body", "mid_response", "held"])
async def test_GW_23_a_client_that_leaves_frees_its_slot_and_cancels_upstream(house, when):
    async def answer(reader, writer, request) -> None:
        if when == "mid_response":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello")
        await reader.read()

    house.origin.answer = answer
    if when == "held":
        house.publish([])
    hold = house.activator.hold(KEY)
    reader, writer = await house.connect()
    if when == "mid_body":
        writer.write(head(b"POST / HTTP/1.1", b"content-length: 100\r\n") + b"some")
    else:
        writer.write(head())
    if when == "held":
        await until(lambda: hold.depth == 1)
    else:
        await until(lambda: house.origin.requests == 1)
    if when == "mid_response":
        await reader.readuntil(b"hello")
    writer.close()
    await until(lambda: hold.meter.running == 0 and hold.depth == 0, LEFT_S)
    if when != "held":
        await until(lambda: house.origin.closed == 1, LEFT_S)


async def test_GW_24_a_client_that_half_closes_still_gets_its_response(house):
    async def late(reader, writer, request) -> None:
        await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    house.origin.answer = late
    reader, writer = await house.connect()
    writer.write(head())
    writer.write_eof()
    assert (await reader.read()).endswith(b"ok")


async def test_GW_25_a_slow_reader_pauses_the_upstream(house):
    sent = 0

    async def flood(reader, writer, request) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    house.origin.answer = flood
    reader, writer = await house.connect()
    reader._limit = 1024
    writer.write(head())
    await until(lambda: sent)
    before = -1
    while sent != before and sent < 32 * 1024 * 1024:  # until it stands still, or is read without end
        before = sent
        await asyncio.sleep(0.3)
    assert sent < 32 * 1024 * 1024  # the kernel's socket buffers on both legs, and 256 KiB of ours
    writer.transport.abort()


async def test_GW_25_a_slow_upstream_pauses_the_client(house):
    async def never_reads(reader, writer, request) -> None:
        await asyncio.sleep(30)

    house.origin.answer = never_reads
    reader, writer = await house.connect()
    writer.write(head(b"POST / HTTP/1.1", b"content-length: 1000000000\r\n"))
    sent = 0
    with pytest.raises(TimeoutError):
        while True:
            writer.write(b"x" * 65536)
            async with asyncio.timeout(0.4):
                await writer.drain()
            sent += 65536
    assert sent < 64 * 1024 * 1024
    writer.transport.abort()


# ---- limits and life --------------------------------------------------------------------------------


async def test_GW_26_a_head_that_does_not_end_is_408_counted_from_its_first_byte(make_house):
    house = await make_house(GatewaySettings(head_timeout_s=0.3))
    reader, writer = await house.connect()
    for byte in head(extra=b"x-slow: " + b"a" * 100):
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)
        if reader.at_eof() or reader._buffer:
            break
    else:
        pytest.fail("it waited for the last byte")
    assert (await reader.read()).startswith(b"HTTP/1.1 408")


async def test_GW_27_over_the_connection_limit_new_ones_get_503_and_old_ones_live(make_house):
    house = await make_house(GatewaySettings(connections_max=3))
    held = [await house.connect() for _ in range(3)]
    await asyncio.sleep(0.05)
    reader, _ = await house.connect()
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in answer
    for reader, writer in held:
        writer.write(head())
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    held[0][1].close()
    await asyncio.sleep(0.05)
    assert (await house.get())[0] == 200


async def test_GW_27_one_address_cannot_take_every_connection(make_house):
    house = await make_house(GatewaySettings(connections_per_source_max=2))
    held = [await house.connect() for _ in range(2)]
    await asyncio.sleep(0.05)
    reader, _ = await house.connect()
    assert (await reader.read()).startswith(b"HTTP/1.1 503")
    assert len(held) == 2


async def test_GW_28_an_idle_plain_connection_costs_at_most_8_KiB(house):
    def rss_bytes() -> int:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    count = 1000
    sockets = []
    import socket

    await house.get()
    before = rss_bytes()
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", house.port))
        sock.setblocking(False)
        sock.send(head())
        sockets.append(sock)
        if len(sockets) % 50 == 0:
            await asyncio.sleep(0.01)
    await until(lambda: house.origin.requests >= count, 20)
    await asyncio.sleep(0.2)
    assert (rss_bytes() - before) / count < 8 * 1024 * 2  # the origin's half lives in this process as well
    for sock in sockets:
        sock.close()


async def test_GW_32_draining_loses_nothing_and_says_goodbye(house):
    reader, writer = await house.connect()
    writer.write(head())
    assert b"connection: close" not in await reader.readuntil(b"ok")
    drained = asyncio.create_task(house.gateway.drain())
    await asyncio.sleep(0.1)
    assert not drained.done(), "an idle keep-alive connection was closed at once"
    writer.write(head())
    whole = await reader.read()
    assert whole.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in whole
    async with asyncio.timeout(30):
        await drained


async def test_GW_32_what_was_in_flight_when_the_drain_began_is_answered_with_a_goodbye_too(house):
    answered = asyncio.Event()

    async def late(reader, writer, request) -> None:
        await answered.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    house.origin.answer = late
    reader, writer = await house.connect()
    writer.write(head())
    await until(lambda: house.origin.requests == 1)
    drained = asyncio.create_task(house.gateway.drain())
    await asyncio.sleep(0.05)
    answered.set()
    whole = await reader.read()
    assert whole.endswith(b"ok")
    assert b"connection: close" in whole
    async with asyncio.timeout(30):
        await drained


async def test_GW_32_drain_ends_at_its_deadline(make_house):
    house = await make_house(GatewaySettings(drain_timeout_s=0.3))
    reader, _ = await house.connect()
    await asyncio.sleep(0.05)
    async with asyncio.timeout(30):
        await house.gateway.drain()
    assert await reader.read() == b""


async def test_GW_33_a_bad_snapshot_is_refused_and_the_last_good_one_kept(house):
    from dataplane.errors import ConfigFault

    with pytest.raises(ConfigFault):
        house.gateway.apply(Snapshot(generation=99, version=99))
    assert (await house.get())[0] == 200


async def test_GW_33_GW_34_two_hundred_changes_under_load_lose_nothing(house):
    stop = False
    statuses: list[int] = []

    async def client() -> None:
        reader, writer = await house.connect()
        while not stop:
            writer.write(head())
            answer = await reader.readuntil(b"ok")
            statuses.append(int(answer.split(b" ")[1]))

    clients = [asyncio.create_task(client()) for _ in range(8)]
    for i in range(200):
        house.publish([house.origin], timeout_s=100 + i)
        await asyncio.sleep(0.002)
    stop = True
    await asyncio.gather(*clients)
    assert set(statuses) == {200}


async def test_GW_34_a_route_that_vanishes_ends_nothing_in_flight(house):
    async def late(reader, writer, request) -> None:
        await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    house.origin.answer = late
    running = asyncio.create_task(house.get())
    await until(lambda: house.origin.requests == 1)
    house.apply(Snapshot(generation=50))
    assert (await house.get())[0] == 404
    assert (await running)[0] == 200


async def test_a_revision_that_failed_is_503_at_once(house):
    house.publish([], failed="container exited")
    status, answer, _ = await house.get()
    assert status == 503
    assert b"x-dp-error: no_capacity" in answer


async def test_AC_01_queue_overflow_is_503_with_retry_after_and_others_are_unaffected(make_house):
    house = await make_house(hold=HoldSettings(depth_max=2))
    house.publish([])
    waiting = [asyncio.create_task(house.get()) for _ in range(2)]
    await until(lambda: house.activator.hold(KEY).depth == 2)
    status, answer, body = await house.get()
    assert (status, body) == (503, b"pending request queue full\n")
    assert b"retry-after: 1" in answer
    house.publish([house.origin])
    assert {(await w)[0] for w in waiting} == {200}


async def test_a_cold_start_is_marked_and_counted(house):
    house.publish([])
    waiting = asyncio.create_task(house.get())
    await until(lambda: house.activator.hold(KEY).depth == 1)
    house.publish([house.origin])
    status, answer, _ = await waiting
    assert status == 200
    assert b"x-dp-cold-start-ms: " in answer
    assert house.metric("dataplane_cold_start_duration_seconds_count") == 1
    assert b"x-dp-cold-start" not in (await house.get())[1]


async def test_series_of_a_deleted_revision_disappear(house):
    await house.get()
    assert 'kn_revision_name="hello-00001"' in house.registry.render()
    house.apply(Snapshot(generation=50))
    assert "hello-00001" not in house.registry.render()


# ---- WebSocket ------------------------------------------------------------------------------------------


def upgrade() -> bytes:
    key = base64.b64encode(os.urandom(16))
    return head(extra=b"connection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: " + key + b"\r\n")


async def echo_tunnel(reader, writer, request) -> None:
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nhello ")
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
    raise ConnectionError


async def test_a_websocket_becomes_a_tunnel_both_ways_and_half_closes(house):
    house.origin.answer = echo_tunnel
    reader, writer = await house.connect()
    writer.write(upgrade() + b"early ")
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101")
    assert b"upgrade: websocket" in answer
    assert await reader.readexactly(12) == b"hello early "
    big = os.urandom(300_000)
    writer.write(big)
    assert await reader.readexactly(len(big)) == big
    writer.write_eof()
    assert await reader.read() == b""
    await until(lambda: house.activator.hold(KEY).meter.running == 0)


async def test_a_websocket_ages_by_idleness_only(house):
    house.origin.answer = echo_tunnel
    house.publish([house.origin], timeout_s=0.5, idle_timeout_s=1.0)
    reader, writer = await house.connect()
    writer.write(upgrade())
    await reader.readuntil(b"hello ")
    for _ in range(24):  # longer than both, with pauses so short that a busy machine may be late
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        await asyncio.sleep(0.05)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)


async def test_GW_17_an_upgrade_that_is_refused_is_a_plain_response_and_its_connection_is_not_reused(house):
    house.origin.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    reader, writer = await house.connect()
    writer.write(upgrade())
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    await house.get()
    assert house.origin.connections == 2
    house.origin.answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: other\r\n\r\n"
    reader, writer = await house.connect()
    writer.write(upgrade())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 502")


async def test_GW_17_101_without_a_request_for_it_is_502(house):
    house.origin.answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
    assert (await house.get())[0] == 502


# ---- bodies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["sized", "chunked", "until_close"])
async def test_large_bodies_pass_unchanged_both_ways(house, framing):
    body = os.urandom(3_000_000)

    async def echo(reader, writer, request) -> None:
        got = b""
        if b"content-length" in request:
            got = await reader.readexactly(len(body))
        else:
            while True:
                size = int(await reader.readuntil(b"\r\n"), 16)
                got += (await reader.readexactly(size + 2))[:-2]
                if not size:
                    break
        if framing == "sized":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(got) + got)
        elif framing == "chunked":
            writer.write(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % len(got) + got + b"\r\n0\r\n\r\n"
            )
        else:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + got)
            await writer.drain()
            writer.close()
            raise ConnectionError

    house.origin.answer = echo
    reader, writer = await house.connect()
    if framing == "chunked":
        writer.write(head(b"POST / HTTP/1.1", b"connection: close\r\ntransfer-encoding: chunked\r\n"))
        for at in range(0, len(body), 100_000):
            piece = body[at : at + 100_000]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")
    else:
        writer.write(head(b"POST / HTTP/1.1", b"connection: close\r\ncontent-length: %d\r\n" % len(body)) + body)
    whole = await reader.read()
    answer, _, got = whole.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in answer:
        plain = b""
        while True:
            size, _, rest = got.partition(b"\r\n")
            if not int(size, 16):
                break
            plain += rest[: int(size, 16)]
            got = rest[int(size, 16) + 2 :]
        got = plain
    assert got == body


async def test_head_responses_have_no_body_and_keep_the_connection(house):
    house.origin.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
    reader, writer = await house.connect()
    for _ in range(3):
        writer.write(head(b"HEAD / HTTP/1.1"))
        assert b"content-length: 1000" in await reader.readuntil(b"\r\n\r\n")
    assert house.origin.connections == 1


async def test_http_1_0_gets_no_chunks_and_a_closed_connection(house):
    house.origin.answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    answer = await house.raw(b"GET / HTTP/1.0\r\nhost: " + HOST + b"\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nok")
    assert b"chunked" not in answer


async def test_a_pool_that_dials_a_few_at_a_time_serves_a_burst(make_house):
    house = await make_house(pool=PoolSettings(dials_max=2))
    results = await asyncio.gather(*(house.get() for _ in range(100)))
    assert {status for status, _, _ in results} == {200}


async def test_container_concurrency_is_never_exceeded_and_order_is_kept(house):
    running = peak = 0
    order: list[bytes] = []
    gate = asyncio.Event()

    async def count(reader, writer, request) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        order.append(request.split(b" ")[1])
        await gate.wait()
        await asyncio.sleep(0.001)
        running -= 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    house.origin.answer = count
    made = house.gateway.snapshot.revisions[KEY]
    house.apply(
        Snapshot(
            generation=20,
            routes=house.gateway.snapshot.routes,
            revisions={
                KEY: Revision(
                    namespace="default", name="hello-00001", endpoints=made.endpoints, container_concurrency=1
                )
            },
        )
    )
    hold = house.activator.hold(KEY)
    requests = []
    for i in range(12):
        requests.append(asyncio.create_task(house.get(f"/{i:02d}")))
        await until(lambda i=i: hold.meter.running == i + 1)
    gate.set()
    await asyncio.gather(*requests)
    assert peak == 1
    assert order == sorted(order)


# ---- metrics ------------------------------------------------------------------------------------------------


async def test_what_still_runs_when_its_revision_is_deleted_brings_no_series_back(house):
    gate = asyncio.Event()

    async def late(reader, writer, request) -> None:
        await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    await house.get()
    assert 'kn_revision_name="hello-00001"' in house.registry.render()
    house.origin.answer = late
    reader, writer = await house.connect()
    writer.write(head())
    await until(lambda: house.origin.requests == 2)
    house.apply(Snapshot(generation=99))
    gate.set()
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    await asyncio.sleep(0.02)
    text = house.registry.render()
    assert not [line for line in text.splitlines() if line.startswith("http_") and "hello-00001" in line]


async def test_sizes_and_durations_are_counted_on_both_sides(house):
    for _ in range(3):
        await house.get()
    reader, writer = await house.connect()
    for _ in range(2):
        writer.write(head(b"POST / HTTP/1.1", b"content-length: 5\r\n") + b"hello")
        await reader.readuntil(b"ok")
    writer.write(head())
    await reader.readuntil(b"ok")
    for name, count, total in (
        ("http_server_request_duration_seconds", 6, None),
        ("http_client_request_duration_seconds", 6, None),
        ("http_server_request_body_size_bytes", 6, 10),
        ("http_client_request_body_size_bytes", 6, 10),
        ("http_server_response_body_size_bytes", 6, 12),
    ):
        ours = f'server_port="{house.port}"'  # a separate activator measures the same requests, at its own
        assert house.metric(f"{name}_count", ours) == count, name
        assert total is None or house.metric(f"{name}_sum", ours) == total, name


# ---- the end of a drain for a WebSocket ---------------------------------------------------------------------


GOING_AWAY = b"\x88\x02\x03\xe9"
FRAME = b"\x82\x05hello"


async def drained(make_house, *pieces: bytes) -> tuple[bytes, bool]:
    """A pod that sends the first piece, and the others once the gateway drains; what the client read, and whether its
    connection ended in order."""
    house = await make_house(GatewaySettings(drain_timeout_s=0.2))
    draining = asyncio.Event()

    async def pod(reader, writer, request) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
        writer.write(pieces[0])
        await draining.wait()
        await asyncio.sleep(0.4)
        for piece in pieces[1:]:
            writer.write(piece)
        await reader.read()

    house.origin.answer = pod
    reader, writer = await house.connect()
    writer.write(upgrade())
    await reader.readuntil(b"\r\n\r\n")
    got = await reader.readexactly(len(pieces[0]))
    draining.set()
    drain = asyncio.create_task(house.gateway.drain())
    orderly = True
    try:
        async with asyncio.timeout(30):
            got += await reader.read()
    except ConnectionError:
        orderly = False
    writer.close()
    await drain
    await until(lambda: house.activator.hold(KEY).meter.running == 0)
    return got, orderly


async def test_GW_32_a_websocket_is_told_1001_when_the_drain_is_over(make_house):
    assert await drained(make_house, FRAME) == (FRAME + GOING_AWAY, True)
    assert await drained(make_house, b"") == (GOING_AWAY, True)


async def test_GW_32_the_frame_that_is_under_way_is_not_broken(make_house):
    assert await drained(make_house, FRAME[:3], FRAME[3:] + FRAME[:4]) == (FRAME + GOING_AWAY, True)


async def test_GW_32_a_frame_that_does_not_end_is_cut_and_nothing_is_put_into_it(make_house):
    got, _ = await drained(make_house, FRAME[:3])
    assert got == FRAME[:3]
