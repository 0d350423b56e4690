"""Two activators before the same pods: together they respect a pod's limit, and one goes on for both."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import Up
from tests.e2e.services import Api, service
from tests.integration.launch.conftest import Program, environ
from tests.openloop import Load, get
from tests.ports import free_port

__all__ = ["environ"]

HOST = "web.default.localhost"
House = tuple[Up, Program, list[Program]]


@pytest.fixture
def house(start, tmp_path, environ) -> Iterator[Callable[[], House]]:
    """`up`, a gateway, and two activators between them, each a process of its own."""
    programs: list[Program] = []

    def run() -> House:
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        up = start(*(word for one in addresses for word in ("--activator", f"http://{one}")))
        hop = ["--control", up.api, "--token-file", str(up.data / "token"), "--autoscaler", up.api, "--admin", ""]
        activators = []
        for number, one in enumerate(addresses):
            words = ["activator", "--http", one, *hop]
            activators.append(Program(words, tmp_path / f"activator-{number}.log", environ))
        words = ["gateway", "--http", "127.0.0.1:0", *hop]
        words += [word for one in addresses for word in ("--activator", f"http://{one}")]
        gateway = Program(words, tmp_path / "gateway.log", environ)
        programs.extend([*activators, gateway])
        return up, gateway, activators

    yield run
    for one in reversed(programs):
        one.stop()


def most(load: Load) -> dict[str, int]:
    """For each pod the largest number of requests that it ever had at once."""
    found: dict[str, int] = {}
    for shot in load.shots:
        _, _, pid, _, number = shot.body.decode().split()
        found[pid] = max(found.get(pid, 0), int(number))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("pods", "limit"), [(2, 3), (1, 4), (3, 2)])
async def test_two_activators_together_never_exceed_the_limit_of_a_pod(house, pods, limit):
    up, gateway, _ = await asyncio.to_thread(house)
    api = Api(up.api, up.token)
    scale = {"min_scale": str(pods), "max_scale": str(pods)}
    await asyncio.to_thread(api.create, service("web", limit=limit, **scale))
    await asyncio.to_thread(api.ready, "web")
    port = gateway.port("http")
    async with Load(port, lambda _: get(HOST, "/sleep/100")) as load:
        for _ in range(20 * pods * limit):
            load.shoot()
        await load.settle(40)
        assert load.statuses() == {"200": len(load.shots)}
    seen = most(load)
    print("\nmost at once:", seen)
    assert len(seen) == pods
    assert max(seen.values()) <= limit
    assert sum(seen.values()) >= pods * limit - 1  # and the pods are made use of
    api.close()


@pytest.mark.slow
async def test_when_an_activator_is_killed_the_other_takes_its_pods(house):
    up, gateway, activators = await asyncio.to_thread(house)
    api = Api(up.api, up.token)
    await asyncio.to_thread(api.create, service("web", limit=1, min_scale="2", max_scale="2"))
    await asyncio.to_thread(api.ready, "web")
    port = gateway.port("http")
    await used_both(port, "two activators do not use both pods")
    activators[0].process.send_signal(signal.SIGKILL)
    activators[0].process.wait()
    await used_both(port, "one activator alone does not use both pods")
    api.close()


async def used_both(port: int, otherwise: str) -> None:
    """Every hop has heard of both pods, after a moment."""
    deadline = time.monotonic() + 60
    while await pods_used(port) < 2:
        assert time.monotonic() < deadline, otherwise


async def pods_used(port: int) -> int:
    """By four requests at the same time, of which a pod takes one at a time."""
    async with Load(port, lambda _: get(HOST, "/sleep/100")) as load:
        for _ in range(4):
            load.shoot()
        await load.settle(20)
        return len({shot.body.split()[2] for shot in load.shots if shot.status == 200})
