"""Traffic changes and roll-outs under an open-loop client that does not retry lose no request, and Ready means Ready."""

import asyncio

import pytest

from tests.e2e.services import Api, service
from tests.openloop import Load, get, post

HOST = "web.default.localhost"
WANTED_PER_S = 2000


def mixed(number: int) -> bytes:
    """Every fourth is one that nobody may send twice, so no retry of the gateway's can hide its loss."""
    return get(HOST) if number % 4 else post(HOST)


@pytest.mark.slow
async def test_two_hundred_traffic_changes_and_twenty_roll_outs_under_load_lose_no_request(start):
    up = await asyncio.to_thread(start)
    api = Api(up.api, up.token)
    async with Load(up.port, mixed) as load:
        await asyncio.to_thread(api.create, service("web", "0", min_scale="1"))
        await asyncio.to_thread(api.ready, "web")
        rate_per_s = await sustainable(up.port)
        load.start(rate_per_s)
        await traffic_changes(api, load)
        print("traffic changes:", load.summary())
        await roll_outs(api, load)
        await load.stop()
        print("everything:", load.summary(), f"(planned {rate_per_s:.0f}/s)")
        assert not load.failed
    api.close()


async def sustainable(port: int) -> float:
    """2 000 requests/s, or as many as leave half of this machine for the changes."""
    loop = asyncio.get_running_loop()
    async with Load(port, lambda number: get(HOST)) as probe:
        started = loop.time()
        for _ in range(60):
            for _ in range(16):
                probe.shoot()
            await probe.settle(10)
        assert not probe.failed
        return min(WANTED_PER_S, 0.5 * len(probe.shots) / (loop.time() - started))


async def traffic_changes(api: Api, load: Load) -> None:
    """Between two revisions, back and forth and in halves."""
    second = {"spec": {"template": {"spec": service("web", "1")["spec"]["template"]["spec"]}}}
    await asyncio.to_thread(api.ready, "web", await asyncio.to_thread(api.patch, "web", second))
    for change in range(200):
        percent = (100, 0, 100, 0, 50)[change % 5]
        traffic = [
            {"revisionName": "web-00001", "percent": percent},
            {"revisionName": "web-00002", "percent": 100 - percent},
        ]
        generation = await asyncio.to_thread(api.patch, "web", {"spec": {"traffic": traffic}})
        await asyncio.to_thread(api.ready, "web", generation)
        seen = await first_answer(load)
        if percent != 50:
            assert seen.split()[0] == ("web-00001" if percent else "web-00002"), f"change {change}: {seen}"


async def roll_outs(api: Api, load: Load) -> None:
    for number in range(2, 22):
        template = service("web", str(number), min_scale="1")["spec"]["template"]
        patch = {"spec": {"template": template, "traffic": [{"latestRevision": True, "percent": 100}]}}
        generation = await asyncio.to_thread(api.patch, "web", patch)
        found = await asyncio.to_thread(api.ready, "web", generation)
        seen = await first_answer(load)
        assert seen.split()[:2] == [found["status"]["latestReadyRevisionName"], str(number)]


async def first_answer(load: Load) -> str:
    """Of a request that is sent now."""
    shot = load.shoot()
    while shot in load.open:
        await asyncio.sleep(0.001)
    assert not shot.error, shot
    return shot.body.decode()
