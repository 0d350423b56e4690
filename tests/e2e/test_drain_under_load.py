"""A pod that is told to leave while it works finishes what it has; nobody who may not be repeated is lost."""

import asyncio

import pytest

from tests.e2e.services import Api, service
from tests.openloop import Load, Shot, post

HOST = "busy.default.localhost"
PODS = "/api/v1/namespaces/default/pods"
LONG_MS = 3000  # longer than every pause that a drain could get away with


def long(number: int) -> bytes:
    """May not be sent twice: what its pod does not finish is lost, and shows."""
    return post(HOST, f"/sleep/{LONG_MS}")


def short(number: int) -> bytes:
    return post(HOST)


def pid(shot: Shot) -> int:
    return int(shot.body.split()[2])


@pytest.mark.slow
async def test_a_pod_deleted_under_load_finishes_its_requests_gets_no_new_ones_and_loses_none(start):
    up = await asyncio.to_thread(start)
    api = Api(up.api, up.token)
    await asyncio.to_thread(api.create, service("busy", limit=100, min_scale="1", max_scale="1"))
    await asyncio.to_thread(api.ready, "busy")

    async with Load(up.port, long) as slow, Load(up.port, short) as load:
        load.start(rate_per_s=100)
        await answered(load, 1)
        victim = pid(load.shots[0])
        for _ in range(20):
            slow.shoot()
        await answered(load, len(load.shots) + 20)  # the gateway has read what was sent before these
        [pod] = await asyncio.to_thread(api.pods, "busy")
        await asyncio.to_thread(api.call, "DELETE", f"{PODS}/{pod['metadata']['name']}")
        deleted_at = asyncio.get_running_loop().time()
        async with asyncio.timeout(30):
            while not any(shot.status == 200 and pid(shot) != victim for shot in load.shots):
                await asyncio.sleep(0.01)
        assert slow.open  # the new pod serves while the old one is still at work
        await slow.settle(30)
        await load.stop(30)

        print("\nlong:", slow.summary(), "\nshort:", load.summary())
        assert slow.statuses() == {"200": 20}
        assert {pid(shot) for shot in slow.shots} == {victim}
        assert load.statuses() == {"200": len(load.shots)}
        late = [shot for shot in load.shots if shot.sent_at > deleted_at + 1 and pid(shot) == victim]
        assert not late, f"{len(late)} new requests went to a pod that leaves"
    api.close()


async def answered(load: Load, count: int) -> None:
    """Until that many requests of it have ended."""
    async with asyncio.timeout(30):
        while len(load.shots) - len(load.open) < count:
            await asyncio.sleep(0.01)
