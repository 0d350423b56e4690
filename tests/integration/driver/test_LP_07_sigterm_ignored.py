"""LP-07: SIGTERM, then the grace period, then SIGKILL to the whole family."""

import pytest

IGNORES = """
    import os, signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.fork()
    print("ready", flush=True)
    while True:
        time.sleep(1)
"""


async def _ready(settled, container, count: int = 1) -> None:
    def shown() -> bool:
        try:
            return open(container.log_path).read().count("ready") >= count
        except OSError:
            return False

    await settled(shown)


@pytest.mark.parametrize("bench", [{"cgroups": False}, {"cgroups": True}], indirect=True)
async def test_LP_07_who_ignores_SIGTERM_is_killed_with_its_children_after_the_grace_period(bench, settled):
    container = bench.container(*bench.program(IGNORES))
    uid = bench.start(container, grace_s=0.3)
    await _ready(settled, container, 2)

    bench.driver.stop(uid)
    report = (await bench.gone(uid)).containers[0]

    assert (report.exit_code, report.signal, report.state) == (137, 9, "terminated")
    assert report.finished_at - report.started_at >= 0.3
    assert bench.processes() == []


async def test_LP_07_a_polite_container_is_not_kept_waiting(bench, settled):
    uid = bench.start(bench.container("sleep", "1000"), grace_s=1000.0)
    await bench.running(uid)

    bench.driver.stop(uid)
    report = (await bench.gone(uid)).containers[0]

    assert (report.exit_code, report.signal) == (143, 15)


async def test_LP_07_a_second_stop_may_shorten_the_grace_period(bench, settled):
    container = bench.container(*bench.program(IGNORES))
    uid = bench.start(container, grace_s=1000.0)
    await _ready(settled, container, 2)

    bench.driver.stop(uid)
    bench.driver.stop(uid, grace_s=0.0)

    assert (await bench.gone(uid)).containers[0].exit_code == 137


async def test_LP_07_a_sidecar_is_stopped_after_the_others(bench, settled):
    slow = bench.program("""
        import signal, sys, time
        def bye(*_):
            time.sleep(0.3)
            sys.exit(0)
        signal.signal(signal.SIGTERM, bye)
        print("ready", flush=True)
        while True:
            time.sleep(1)
    """)
    main, sidecar = bench.container(*slow), bench.container("sleep", "1000", name="side", sidecar=True)
    uid = bench.start(main, sidecar)
    await _ready(settled, main)
    await bench.running(uid, "side")

    bench.driver.stop(uid)
    first, second = (await bench.gone(uid)).containers

    assert (first.exit_code, second.exit_code) == (0, 143)
    assert second.finished_at >= first.finished_at


async def test_LP_07_a_liveness_restart_stops_one_container_and_starts_it_again(bench):
    uid = bench.start(bench.container("sleep", "1000"), bench.container("sleep", "1000", name="other"))
    await bench.running(uid, "other")
    pid = (await bench.running(uid)).pid

    bench.driver.restart(uid, "main", "liveness")
    again = await bench.container_until(uid, lambda c: c.state == "running" and c.pid != pid)

    assert (again.restarts, again.last_exit_code) == (1, 143)
    assert not any(c.restarts for r in bench.history for c in r.containers if c.name == "other")
