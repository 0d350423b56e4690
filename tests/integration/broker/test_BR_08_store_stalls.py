"""BR-08: a store that stalls or restarts. Producers hear 503 after the deadline, memory is bounded, the loop goes on."""

import asyncio

from dataplane.errors import StoreUnavailable

CE = "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\n"
BOUND = 1024 * 1024
EVENT = 16 * 1024


async def test_BR_08_producers_hear_503_and_no_more_than_the_bound_is_held(world):
    here = await world(append_timeout_s=0.3, appending_bytes_max=BOUND)
    here.log.held = []
    most = 0

    async def produce() -> list[int]:
        nonlocal most
        client = await here.client()
        statuses = []
        for _ in range(3):
            client.post(headers=CE, body="x" * EVENT)
            statuses.append((await client.answer()).status)
            most = max(most, here.ingress.held_bytes)
        return statuses

    answers = await asyncio.gather(*(produce() for _ in range(100)))
    assert {status for statuses in answers for status in statuses} == {503}
    assert most <= BOUND
    assert len(here.log.held) == BOUND // EVENT  # everything else was refused at once
    assert here.ingress.held_bytes == BOUND

    here.log.release()  # it goes on, and so does everybody
    assert here.ingress.held_bytes == 0
    assert (await (await here.client()).posted(headers=CE)).status == 202


async def test_BR_08_a_stalled_broker_does_not_hold_up_another(world, Log):
    here = await world(append_timeout_s=60.0)
    here.logs["ns/other"] = Log()
    here.log.held = []
    stalled = [await here.client() for _ in range(50)]
    for client in stalled:
        client.post(headers=CE, body="x" * EVENT)
    while len(here.log.held) < 50:
        await asyncio.sleep(0.001)
    client = await here.client()
    for _ in range(50):
        assert (await client.posted(path="/ns/other", headers=CE, body="y")).status == 202
    here.log.release()
    assert [(await client.answer()).status for client in stalled] == [202] * 50


async def test_BR_08_no_timer_per_event_waits_for_the_deadline(world):
    here = await world()
    client = await here.client()
    await client.posted(headers=CE)
    before = len(here.engine.timers)
    for _ in range(100):
        await client.posted(headers=CE)
    assert len(here.engine.timers) == before


async def test_BR_08_a_restart_of_the_store_is_503_until_it_is_back(world):
    here = await world()
    client = await here.client()
    assert (await client.posted(headers=CE)).status == 202
    here.log.fault = StoreUnavailable("connection refused")
    assert {(await client.posted(headers=CE)).status for _ in range(20)} == {503}
    here.log.fault = None
    assert (await client.posted(headers=CE)).status == 202
    assert len(here.log.records) == 2
