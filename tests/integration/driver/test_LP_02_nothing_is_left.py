"""LP-02: zombies, orphans and daemons that run away end with their container."""

import asyncio
import os
from pathlib import Path

import pytest

CGROUPS = pytest.mark.parametrize(
    "bench", [{"cgroups": False}, {"cgroups": True}], indirect=True, ids=["tree", "cgroup"]
)

DAEMON = """
    import os, signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            {scrub}
            time.sleep(1000)
        os._exit(0)
    os.wait()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    print("ready", flush=True)
    time.sleep(1000)
"""
SCRUB = "os.execve('/bin/sleep', ['sleep', '4711'], {})"


@CGROUPS
@pytest.mark.parametrize("scrub", ["", SCRUB], ids=["marked", "scrubbed"])
async def test_LP_02_a_double_forked_daemon_ends_with_its_pod(bench, settled, scrub):
    container = bench.container(*bench.program(DAEMON.format(scrub=scrub)))
    uid = bench.start(container)
    await settled(lambda: os.path.exists(container.log_path) and "ready" in Path(container.log_path).read_text())
    await settled(lambda: len(bench.below()) == 2)

    bench.driver.stop(uid)
    await bench.gone(uid)

    assert bench.below() == []


async def test_LP_02_a_daemon_of_one_pod_does_not_take_another_pod_along(bench, settled):
    other = bench.start(bench.container("sleep", "1000"))
    await bench.running(other)
    uid = bench.start(bench.container(*bench.program(DAEMON.format(scrub=""))))
    await bench.running(uid)
    await settled(lambda: len(bench.below()) == 3)

    bench.driver.stop(uid)
    await bench.gone(uid)

    assert len(bench.below()) == 1
    assert (await bench.running(other)).pid == bench.below()[0]


async def test_LP_02_children_that_nobody_waits_for_do_not_stay_zombies(bench, settled):
    orphans = """
        import os, time
        for _ in range(50):
            if os.fork() == 0:
                if os.fork() == 0:
                    time.sleep(0.05)
                os._exit(0)
            os.wait()
        time.sleep(1000)
    """
    uid = bench.start(bench.container(*bench.program(orphans)))
    await bench.running(uid)
    await asyncio.sleep(0.3)

    await settled(lambda: len(bench.below()) == 1)


@CGROUPS
async def test_LP_02_survivors_of_a_crash_are_ended_before_the_restart(bench):
    leaves_a_child = """
        import os, time
        if os.fork() == 0:
            time.sleep(1000)
        raise SystemExit(3)
    """
    uid = bench.start(bench.container(*bench.program(leaves_a_child)))
    crashed = await bench.container_until(uid, lambda c: c.restarts == 1)
    assert (crashed.last_exit_code, crashed.last_reason) == (3, "Error")

    await bench.container_until(uid, lambda c: c.restarts == 3)

    assert len(bench.processes()) <= 2
