"""The gate of spec §9.6 on real sockets, with the vectors of §16.12."""

import asyncio


async def test_one_slot_and_fourteen_at_once(make_stand):
    """CC=1: 3 refused at once, 3 served one after the other, 8 still inside at the timeout get 504."""
    stand = await make_stand(concurrency=1, timeout_s=1.0)
    turn = asyncio.Semaphore(0)

    async def in_turn(reader, writer, head):
        await turn.acquire()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    stand.app.answer = in_turn
    requests = [asyncio.create_task(stand.get()) for _ in range(14)]
    await stand.until(lambda: sum(r.done() for r in requests) == 3)
    refused = [r.result() for r in requests if r.done()]
    for served in range(1, 4):
        turn.release()
        await stand.until(lambda served=served: sum(r.done() for r in requests) == 3 + served)
    answers = await asyncio.gather(*requests)
    assert sorted(a.status for a in answers) == [200] * 3 + [503] * 3 + [504] * 8
    assert {(a.status, a.body) for a in refused} == {(503, b"pending request queue full\n")}
    assert {a.field(b"x-dp-error") for a in refused} == {b"queue_full"}
    assert {a.field(b"retry-after") for a in refused} == {b"1"}
    late = [a for a in answers if a.status == 504]
    assert {a.body for a in late} == {b"request timeout"}
    assert sorted(a.field(b"x-dp-error") for a in late) == [b"queue_timeout"] * 7 + [b"upstream_timeout"]
    assert stand.app.most == 1
    assert len(stand.app.heads) == 4  # those whose time was up while they waited did not bother the app


async def test_ten_slots_hold_a_hundred_and_ten(make_stand):
    stand = await make_stand(concurrency=10)
    release = asyncio.Event()

    async def held(reader, writer, head):
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    stand.app.answer = held
    inside = [asyncio.create_task(stand.get()) for _ in range(110)]
    await stand.until(lambda: len(stand.proxy.gate) == 100 and stand.app.running == 10)
    assert stand.metric("kn_serving_queue_depth") == 100
    assert (await stand.get()).body == b"pending request queue full\n"
    release.set()
    assert {a.status for a in await asyncio.gather(*inside)} == {200}
    assert stand.app.most == 10
    assert stand.metric("kn_serving_queue_depth") == 0
    assert stand.proxy.traffic.running == stand.proxy.drain.in_flight == 0


async def test_waiters_are_served_in_the_order_they_came(make_stand):
    stand = await make_stand(concurrency=1)
    release = asyncio.Event()

    async def held(reader, writer, head):
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    stand.app.answer = held
    tasks = []
    for i in range(6):
        tasks.append(asyncio.create_task(stand.get(f"/{i}")))
        await stand.until(lambda i=i: stand.proxy.traffic.running == i + 1)
    release.set()
    await asyncio.gather(*tasks)
    assert [head.split(b" ")[1] for head in stand.app.heads] == [b"/%d" % i for i in range(6)]


async def test_AC_02_a_client_that_leaves_the_line_gives_its_place_back(make_stand):
    stand = await make_stand(concurrency=1)
    release = asyncio.Event()

    async def held(reader, writer, head):
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    stand.app.answer = held
    first = asyncio.create_task(stand.get("/first"))
    await stand.until(lambda: stand.app.running == 1)
    _, writer = await stand.connect()
    writer.write(b"GET /left HTTP/1.1\r\nhost: x\r\n\r\n")
    await stand.until(lambda: len(stand.proxy.gate) == 1)
    last = asyncio.create_task(stand.get("/last"))
    await stand.until(lambda: len(stand.proxy.gate) == 2)
    writer.close()
    await stand.until(lambda: len(stand.proxy.gate) == 1)
    assert stand.proxy.traffic.running == 2
    release.set()
    assert {(await first).status, (await last).status} == {200}
    assert not any(b"/left" in head for head in stand.app.heads)


async def test_a_body_is_not_read_while_its_request_waits(make_stand):
    stand = await make_stand(concurrency=1)
    release = asyncio.Event()

    async def held(reader, writer, head):
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    stand.app.answer = held
    first = asyncio.create_task(stand.get("/first"))
    await stand.until(lambda: stand.app.running == 1)
    size = 20_000_000
    reader, writer = await stand.connect()
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % size)
    await stand.until(lambda: len(stand.proxy.gate) == 1)
    writer.write(b"x" * size)
    await asyncio.sleep(0.2)
    assert writer.transport.get_write_buffer_size() > size // 2  # still with the client
    (waiting,) = stand.proxy.gate._waiting
    assert waiting.kept_bytes == 0
    release.set()
    assert (await first).status == 200
    assert (await reader.read()).endswith(b"ok")
    assert len(stand.app.bodies[0]) == size


async def test_no_limit_means_no_gate(make_stand):
    stand = await make_stand(concurrency=0)
    release = asyncio.Event()

    async def held(reader, writer, head):
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    stand.app.answer = held
    requests = [asyncio.create_task(stand.get()) for _ in range(40)]
    await stand.until(lambda: stand.app.running == 40)
    release.set()
    assert {a.status for a in await asyncio.gather(*requests)} == {200}
