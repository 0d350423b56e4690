"""The autoscaler as its own process, killed: serving goes on, cold requests are kept, scaling resumes with it."""

import asyncio
import signal
import subprocess
import sys

import pytest

from tests.e2e.conftest import ROOT
from tests.e2e.services import Api, service, until
from tests.openloop import Load, get
from tests.ports import free_port

COLD = {"window": "6s", "scale_to_zero_pod_retention_period": "0s", "max_scale": "1"}


@pytest.fixture
def autoscaler(tmp_path):
    """Starts `dataplane autoscaler` on the port it is to have, as often as asked."""
    running = []

    def run(up, port: int) -> subprocess.Popen:
        with (tmp_path / f"autoscaler-{len(running)}.log").open("w") as log:
            words = ["autoscaler", "--listen", f"127.0.0.1:{port}", "--control", up.api, "--admin", ""]
            process = subprocess.Popen(
                [sys.executable, "-m", "launch", *words, "--token-file", str(up.data / "token")],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
            )
        running.append(process)
        assert process.stdout.readline().startswith("ready stats=")
        return process

    yield run
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.slow
async def test_serving_goes_on_held_requests_are_kept_until_their_deadline_and_scaling_resumes(start, autoscaler):
    port = free_port()
    up = await asyncio.to_thread(start, "--autoscaler", f"http://127.0.0.1:{port}")
    api = Api(up.api, up.token)
    first = await asyncio.to_thread(autoscaler, up, port)
    await asyncio.to_thread(api.create, service("warm", min_scale="1"))
    await asyncio.to_thread(api.create, service("cold", **COLD))
    await asyncio.to_thread(api.create, service("brief", timeout_s=2, **COLD))
    for name in ("warm", "cold", "brief"):
        await asyncio.to_thread(api.ready, name)
    for name in ("cold", "brief"):
        await asyncio.to_thread(until, lambda name=name: not api.pods(name), f"{name} is at zero", 40)

    first.send_signal(signal.SIGKILL)
    await asyncio.to_thread(first.wait)
    warm, cold, brief = (
        Load(up.port, lambda number, name=name: get(f"{name}.default.localhost")) for name in ("warm", "cold", "brief")
    )
    async with warm, cold, brief:
        warm.start(rate_per_s=100)
        for _ in range(20):
            cold.shoot()
        brief.shoot()
        await brief.settle(30)
        [late] = brief.shots
        assert late.status == 504, late
        assert b"x-dp-error: queue_timeout" in late.head or b"x-dp-error: upstream_timeout" in late.head, late
        assert late.done_at - late.sent_at > 1.9
        await asyncio.sleep(1)
        assert len(cold.open) == 20, cold.summary()
        assert not await asyncio.to_thread(api.pods, "cold")
        assert len(await asyncio.to_thread(api.pods, "warm")) == 1

        await asyncio.to_thread(autoscaler, up, port)
        await cold.settle(30)
        assert cold.statuses() == {"200": 20}
        assert {int(shot.body.split()[3]) for shot in cold.shots} == set(range(20))  # each once
        print("\nheld while it was away:", cold.summary())
        await warm.stop()
        assert warm.statuses() == {"200": len(warm.shots)}
        print("warm meanwhile:", warm.summary())
        # And down again, so that it is really the new one that decides.
        await asyncio.to_thread(until, lambda: not api.pods("cold"), "cold is at zero again", 60)
    api.close()
