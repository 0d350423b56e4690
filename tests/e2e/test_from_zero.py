"""From zero: one request, five thousand at once; and back to zero, with processes that are really gone."""

import asyncio
import contextlib
import resource
import statistics
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import alive, started
from tests.e2e.services import Api, service, until
from tests.openloop import Load, Shot, get

HOST = "zero.default.localhost"
AT_ONCE = 5000
LIMIT = 100
# Connections are written to in one order and become readable to the gateway in another: it learns of at most this many
# per turn of its loop (libuv asks epoll for 1 024 at a time). Up to LIMIT of them then race to the pod side by side.
SLACK = 1024 + LIMIT


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def added_ms(shots: list[Shot]) -> str:
    took = sorted((shot.done_at - shot.sent_at) * 1000 for shot in shots)
    return f"min {took[0]:.0f}, median {statistics.median(took):.0f}, p99 {took[int(len(took) * 0.99)]:.0f}, max {took[-1]:.0f} ms"


@pytest.mark.slow
async def test_one_request_and_five_thousand_at_once_are_served_from_zero_in_order_and_it_goes_back_to_zero(start):
    up = await asyncio.to_thread(start)
    api = Api(up.api, up.token)
    manifest = service("zero", limit=LIMIT, max_scale="1", window="6s", scale_to_zero_pod_retention_period="0s")
    await asyncio.to_thread(api.create, manifest)
    await asyncio.to_thread(api.ready, "zero")

    async with Load(up.port, lambda number: get(HOST)) as load:
        await gone(api, load)

        [one] = await storm(load, 1)
        assert one.status == 200, one
        assert b"\r\nx-dp-cold-start-ms: " in one.head.lower()
        print("\none from zero:", added_ms([one]))
        await gone(api, load)

        for shot in await storm(load, AT_ONCE, at_once=True):
            assert shot.status == 200, shot
            assert not shot.error, shot
        shots = load.shots[-AT_ONCE:]
        print(f"{AT_ONCE} at once from zero:", added_ms(shots))
        pods = {shot.body.split()[2] for shot in shots}
        assert len(pods) == 1
        arrived = [int(shot.body.split()[3]) for shot in shots]
        assert sorted(arrived) == list(range(AT_ONCE))
        out_of_place = max(abs(place - number) for number, place in enumerate(arrived))
        print(f"furthest from its place in the order of sending: {out_of_place}")
        assert out_of_place <= SLACK
        await gone(api, load)
    api.close()


async def storm(load: Load, count: int, *, at_once: bool = False) -> list[Shot]:
    """`count` requests in one go, on connections that stand already."""
    if at_once:
        await load.connect(count)
    shots = [load.shoot() for _ in range(count)]
    await load.settle(60)
    return shots


async def gone(api: Api, load: Load) -> None:
    """No Pod object is left, and no process of those that ever answered."""
    pids = {int(shot.body.split()[2]) for shot in load.shots if shot.status == 200}
    ages = {pid: started(pid) for pid in pids}
    await asyncio.to_thread(until, lambda: not api.pods("zero"), "no pod is left", 40)
    left = [pid for pid in pids if ages[pid] and alive(pid, ages[pid])]
    with contextlib.suppress(IndexError):
        pytest.fail(f"no Pod object, but a process is left: {left[0]}")
