"""The gate of spec §9.6 on real sockets, with the vectors of §16.12 (a tenth of their times)."""

import asyncio

TENTH = 0.1


async def serve_a_tenth(reader, writer, head):
    await asyncio.sleep(TENTH)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


async def test_one_slot_and_fourteen_at_once(make_stand):
    """3 refused at once, 3 served one after the other, 8 time out: CC=1, T=3 s of 1 s requests, scaled.

    T is 3.5 tenths: our timers fire late by up to 50 ms, and the fourth request must not be the test's coin.
    """
    stand = await make_stand(concurrency=1, timeout_s=3.5 * TENTH)
    stand.app.answer = serve_a_tenth
    answers = await asyncio.gather(*(stand.get() for _ in range(14)))
    by_status = {status: [a for a in answers if a.status == status] for status in (200, 503, 504)}
    refused, served, late = by_status[503], by_status[200], by_status[504]
    assert len(refused) == 3
    assert {a.body for a in refused} == {b"pending request queue full\n"}
    assert {a.field(b"x-dp-error") for a in refused} == {b"queue_full"}
    assert {a.field(b"retry-after") for a in refused} == {b"1"}
    assert len(served) >= 2
    assert len(served) + len(late) == 11
    assert {a.body for a in late} == {b"request timeout"}
    assert stand.app.most == 1
    assert max(a.at_s for a in refused) < min(a.at_s for a in served)
    assert b"queue_timeout" in {a.field(b"x-dp-error") for a in late}


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
    stand.app.answer = serve_a_tenth
    tasks = []
    for i in range(6):
        tasks.append(asyncio.create_task(stand.get(f"/{i}")))
        await stand.until(lambda i=i: stand.proxy.traffic.running == i + 1)
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
    release.set()
    assert (await first).status == 200
    assert (await reader.read()).endswith(b"ok")
    assert len(stand.app.bodies[0]) == size


async def test_no_limit_means_no_gate(make_stand):
    stand = await make_stand(concurrency=0)
    stand.app.answer = serve_a_tenth
    answers = await asyncio.gather(*(stand.get() for _ in range(40)))
    assert {a.status for a in answers} == {200}
    assert stand.app.most > 20
