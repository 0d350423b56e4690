"""Timeouts of spec §9.5, with the improvements of §15.1 and §15.2."""

import asyncio

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
UPGRADE = b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"


async def never(reader, writer, head):
    await reader.read(1)


async def drip(reader, writer, head):
    """A piece every 50 ms, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\nx\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def echo_socket(reader, writer, head):
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
    while data := await reader.read(1024):
        writer.write(data)


async def read_to_end(reader) -> tuple[bytes, bool]:
    """(bytes, was the connection reset)."""
    got = b""
    try:
        while data := await reader.read(65536):
            got += data
    except ConnectionResetError:
        return got, True
    return got, False


async def test_GW_22_a_request_without_a_response_is_504_at_the_timeout(make_stand):
    stand = await make_stand(timeout_s=0.2)
    stand.app.answer = never
    answer = await stand.get()
    assert (answer.status, answer.body) == (504, b"request timeout")
    assert answer.field(b"content-type") == b"text/plain; charset=utf-8"
    assert answer.at_s >= 0.2
    await stand.until(lambda: stand.app.closed == 1)  # the app's request is cancelled


async def test_a_started_response_is_cut_at_the_timeout_and_nothing_is_appended(make_stand):
    stand = await make_stand(timeout_s=1.0)
    stand.app.answer = drip
    reader, writer = await stand.connect()
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    got, _ = await read_to_end(reader)
    assert got.startswith(b"HTTP/1.1 200 OK")
    assert b"timeout" not in got
    assert not got.endswith(b"0\r\n\r\n")


async def test_the_response_start_timeout_fires_only_before_the_first_byte(make_stand):
    stand = await make_stand(response_start_timeout_s=1.0)
    stand.app.answer = never
    assert (await stand.get()).body == b"request timeout"

    async def slow_body(reader, writer, head):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        await asyncio.sleep(1.2)
        writer.write(b"ok")

    stand.app.answer = slow_body
    answer = await stand.get()
    assert (answer.status, answer.body) == (200, b"ok")


async def test_the_idle_timeout_also_bounds_the_first_byte(make_stand):
    stand = await make_stand(idle_timeout_s=0.15)
    stand.app.answer = never
    assert (await stand.get()).status == 504


async def test_the_idle_timeout_spares_a_response_that_flows_and_cuts_one_that_stops(make_stand):
    stand = await make_stand(idle_timeout_s=1.0)

    async def flow_then_stop(reader, writer, head):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(24):  # longer than the timeout, with pauses so short that a busy machine may be late
            await asyncio.sleep(0.05)
            writer.write(b"1\r\nx\r\n")
        await reader.read(1)

    stand.app.answer = flow_then_stop
    reader, writer = await stand.connect()
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    got, _ = await read_to_end(reader)
    assert got.count(b"x") == 24
    assert not got.endswith(b"0\r\n\r\n")


async def test_a_websocket_outlives_timeout_and_response_start_timeout(make_stand):
    stand = await make_stand(timeout_s=1.0, response_start_timeout_s=1.0)
    stand.app.answer = echo_socket
    reader, writer = await stand.connect()
    writer.write(UPGRADE)
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(1.3)
    writer.write(b"still here")
    assert await reader.readexactly(10) == b"still here"


async def test_a_websocket_ages_by_idleness_only(make_stand):
    stand = await make_stand(idle_timeout_s=1.0)
    stand.app.answer = echo_socket
    reader, writer = await stand.connect()
    writer.write(UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    for _ in range(24):  # longer than the timeout, and by far never idle for as long
        await asyncio.sleep(0.05)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
    assert stand.proxy.drain.tunnels == 1
    got, _ = await read_to_end(reader)
    assert got == b""
    await stand.until(lambda: stand.proxy.drain.tunnels == stand.proxy.drain.in_flight == 0)


async def test_a_websocket_keeps_its_slot_as_long_as_it_lives(make_stand):
    stand = await make_stand(concurrency=1)
    stand.app.answer = echo_socket
    reader, writer = await stand.connect()
    writer.write(UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    stand.app.answer = OK
    waiting = asyncio.create_task(stand.get())
    await stand.until(lambda: len(stand.proxy.gate) == 1)
    writer.close()
    assert (await waiting).status == 200
