"""kill -9 of a pod under load: what may be repeated is, what may not be gets 502 with a code, and a new pod comes."""

import asyncio
import os
import signal

import pytest

from tests.e2e.services import Api, service
from tests.openloop import Load, Shot, get, post

HOST = "frail.default.localhost"


def mixed(number: int) -> bytes:
    return post(HOST, "/sleep/300") if number % 3 == 0 else get(HOST, "/sleep/300")


def pid(shot: Shot) -> int:
    return int(shot.body.split()[2])


@pytest.mark.slow
@pytest.mark.parametrize("pods", [1, 2])
async def test_a_pod_killed_in_mid_load_costs_only_what_may_not_be_repeated_and_is_replaced(start, pods):
    up = await asyncio.to_thread(start)
    api = Api(up.api, up.token)
    await asyncio.to_thread(api.create, service("frail", min_scale=str(pods), max_scale=str(pods)))
    await asyncio.to_thread(api.ready, "frail")

    async with Load(up.port, mixed) as load:
        load.start(rate_per_s=200)
        await serving(load, pods, set())
        victim = pid(next(shot for shot in reversed(load.shots) if shot.status == 200))
        before = {pid(shot) for shot in load.shots if shot.status == 200}
        os.kill(victim, signal.SIGKILL)
        killed_at = asyncio.get_running_loop().time()
        open_then = set(load.open)
        await serving(load, pods, {victim})
        replaced_at = asyncio.get_running_loop().time()
        await asyncio.sleep(1)
        await load.stop(20)

        print("\n", load.summary())
        assert open_then
        for shot in load.failed:
            assert shot.method == "POST", shot
            assert shot.status == 502, shot
            assert not shot.error, shot
            assert b"x-dp-error: upstream_reset" in shot.head or b"x-dp-error: connect_failed" in shot.head, shot
            assert shot.sent_at < replaced_at, shot
        # Of the POSTs that were on the victim nobody knows what became of them: they are not sent again.
        assert [shot for shot in load.failed if shot in open_then]
        assert [shot for shot in open_then if shot.method == "GET" and shot.status == 200]
        # Replaced: as many as before, and none of them is the one that was killed.
        late = {pid(shot) for shot in load.shots if shot.status == 200 and shot.sent_at > killed_at + 0.5}
        assert victim not in late
        assert late - before
    api.close()


async def serving(load: Load, pods: int, without: set[int]) -> None:
    """Until that many pods answer, other than those."""
    seen = len(load.shots)
    async with asyncio.timeout(60):
        while len({pid(shot) for shot in load.shots[seen:] if shot.status == 200} - without) < pods:
            await asyncio.sleep(0.05)
