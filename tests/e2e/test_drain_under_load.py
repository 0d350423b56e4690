"""A pod that is told to leave while it works finishes what it has; nobody who may not be repeated is lost."""

import asyncio

import pytest

from tests.e2e.conftest import Up
from tests.e2e.services import Api, service, until
from tests.integration.launch.conftest import Program, environ
from tests.openloop import Load, Shot, post
from tests.ports import free_port

__all__ = ["environ"]

HOST = "busy.default.localhost"
PODS = "/api/v1/namespaces/default/pods"
LONG_S = 3.0  # longer than every pause that a drain could get away with


def short(number: int) -> bytes:
    return post(HOST)


def pid(shot: Shot) -> int:
    return int(shot.body.split()[2])


@pytest.fixture
def hops(start, tmp_path, environ):
    """(instance, port to send to) with the path of a request in one process, in workers, or in hops of their own."""
    programs = []

    def run(how: str) -> tuple[Up, int]:
        if how == "in one process":
            up = start()
            return up, up.port
        if how == "two workers":
            up = start("--workers", "2")
            return up, up.port
        if how == "a gateway apart":
            up = start()
            return up, program("gateway", up).port("http")
        activators = f"http://127.0.0.1:{free_port()}"
        up = start("--activator", activators)
        program("activator", up, "--http", activators.removeprefix("http://"))
        return up, program("gateway", up, "--activator", activators).port("http")

    def program(role: str, up: Up, *more: str) -> Program:
        words = [role, "--control", up.api, "--token-file", str(up.data / "token"), "--autoscaler", up.api]
        if "--http" not in more:
            more = (*more, "--http", "127.0.0.1:0")
        programs.append(Program([*words, "--admin", "", *more], tmp_path / f"{role}.log", environ))
        return programs[-1]

    yield run
    for one in reversed(programs):
        one.stop()


HOW = ("in one process", "two workers", "a gateway apart", "gateway and activator apart")


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
async def test_a_pod_deleted_under_load_finishes_its_requests_gets_no_new_ones_and_loses_none(hops, how, tmp_path):
    end = tmp_path / "end"

    def long(number: int) -> bytes:
        """May not be sent twice: what its pod does not finish is lost, and shows."""
        return post(HOST, f"/until{end}")

    up, port = await asyncio.to_thread(hops, how)
    api = Api(up.api, up.token)
    # Without a limit, workers send straight to pods, and only they know of it. With one, pods are taken in turn, so
    # that a pod that should get nothing any more would.
    limit = 0 if how == "two workers" else 100
    await asyncio.to_thread(api.create, service("busy", limit=limit, min_scale="1", max_scale="1"))
    await asyncio.to_thread(api.ready, "busy")

    async with Load(port, long) as slow, Load(port, short) as load:
        load.start(rate_per_s=100)
        await answered(load, 1)
        victim = pid(load.shots[0])
        for _ in range(20):
            slow.shoot()
        await answered(load, len(load.shots) + 20)  # the gateway has read what was sent before these
        [pod] = await asyncio.to_thread(api.pods, "busy")
        await asyncio.to_thread(api.call, "DELETE", f"{PODS}/{pod['metadata']['name']}")
        async with asyncio.timeout(60):
            while not any(shot.status == 200 and pid(shot) != victim for shot in load.shots):
                await asyncio.sleep(0.01)
        moved_at = asyncio.get_running_loop().time()
        await asyncio.sleep(LONG_S)
        assert len(slow.open) == 20  # the new pod serves while the old one is still at work
        end.touch()
        await slow.settle(30)
        await load.stop(30)

        print("\nlong:", slow.summary(), "\nshort:", load.summary())
        assert slow.statuses() == {"200": 20}
        assert {pid(shot) for shot in slow.shots} == {victim}
        assert load.statuses() == {"200": len(load.shots)}
        late = [shot for shot in load.shots if shot.sent_at > moved_at + 1 and pid(shot) == victim]
        assert not late, f"{len(late)} new requests went to a pod that leaves"
    api.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["in one process", "gateway and activator apart"])
async def test_scale_in_takes_the_idle_pods_and_lets_the_busy_one_work(hops, how, tmp_path):
    """Four pods, one of them with long requests on it: when three have to go, it is not among them."""
    up, port = await asyncio.to_thread(hops, how)
    api = Api(up.api, up.token)
    scale = {"limit": 1, "max_scale": "4", "window": "6s", "target_utilization_percentage": "100"}
    await asyncio.to_thread(api.create, service("busy", **scale))
    await asyncio.to_thread(api.ready, "busy")
    end = tmp_path / "end"
    many, one = (Load(port, lambda _, path=path: post(HOST, path)) for path in ("/sleep/3000", f"/until{end}"))
    async with many, one:
        for _ in range(4):
            many.shoot()
        await asyncio.to_thread(until, lambda: ready_pods(api) == 4, "four pods", 60)
        one.shoot()
        await many.settle(30)
        assert many.statuses() == {"200": 4}
        await asyncio.to_thread(until, lambda: len(api.pods("busy")) == 1, "one pod is left", 60)
        assert one.open, "the long request ended although nobody told it to"
        [left] = await asyncio.to_thread(api.pods, "busy")
        assert not left["metadata"].get("deletionTimestamp"), "the last pod is one that has to go"
        end.touch()
        await one.settle(60)
        assert one.statuses() == {"200": 1}
    api.close()


def ready_pods(api: Api) -> int:
    conditions = [one for pod in api.pods("busy") for one in pod.get("status", {}).get("conditions", [])]
    return sum(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def answered(load: Load, count: int) -> None:
    """Until that many requests of it have ended."""
    async with asyncio.timeout(60):
        while len(load.shots) - len(load.open) < count:
            await asyncio.sleep(0.01)
