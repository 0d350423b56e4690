"""LP-04: a crash loop backs off, alone, and starts afresh after it was healthy."""

import pytest

from controlplane.drivers.nursery.family import children


async def test_LP_04_crash_loop_backs_off_exponentially(bench):
    uid = bench.start(bench.container("sh", "-c", "echo no luck; exit 7"))
    messages = []
    for n in (2, 3, 4):
        report = await bench.container_until(uid, lambda c, n=n: c.restarts == n and c.reason == "CrashLoopBackOff")
        messages.append(report.message)

    assert messages == [f"back-off {s}s restarting failed container=main" for s in ("0.05", "0.1", "0.2")]
    assert (report.state, report.last_exit_code, report.last_reason, report.last_message) == (
        *("waiting", 7, "Error"),
        "no luck",
    )


async def test_LP_04_other_pods_are_not_affected(bench):
    healthy = bench.start(bench.container("sleep", "1000"))
    pid = (await bench.running(healthy)).pid
    uid = bench.start(bench.container("false"))

    await bench.container_until(uid, lambda c: c.restarts == 4)

    assert pid in children(bench.driver.nursery_pid)
    assert not any(r.uid == healthy and r.containers[0].restarts for r in bench.history)


@pytest.mark.parametrize("bench", [{"healthy_s": 0.0}], indirect=True)
async def test_LP_04_a_run_that_was_healthy_resets_the_back_off(bench):
    uid = bench.start(bench.container("false"))

    await bench.container_until(uid, lambda c: c.restarts == 5)

    assert not any(c.reason == "CrashLoopBackOff" for r in bench.history for c in r.containers)


@pytest.mark.parametrize("bench", [{"backoff_first_s": 1000.0, "backoff_max_s": 1000.0}], indirect=True)
async def test_LP_04_a_pod_is_stopped_at_once_while_it_backs_off(bench):
    uid = bench.start(bench.container("false"))
    await bench.container_until(uid, lambda c: c.reason == "CrashLoopBackOff")

    bench.driver.stop(uid)

    assert (await bench.gone(uid)).containers[0].exit_code == 1


async def test_LP_04_init_containers_run_to_completion_in_order_before_the_others(bench, settled):
    trace = bench.folder / "trace"
    first = bench.container("sh", "-c", f"sleep 0.1; echo first >> {trace}", name="first", init=True)
    flaky = f"echo flaky >> {trace}; [ $(grep -c flaky {trace}) = 3 ]"
    second = bench.container("sh", "-c", flaky, name="second", init=True)
    main = bench.container("sh", "-c", f"echo main >> {trace}; sleep 1000")
    uid = bench.start(first, second, main)

    report = await bench.until(uid, lambda r: r.containers[2].state == "running")
    await settled(lambda: "main" in trace.read_text())

    assert trace.read_text().split() == ["first", "flaky", "flaky", "flaky", "main"]
    assert [c.reason for c in report.containers] == ["Completed", "Completed", ""]
    waiting = next(r for r in bench.history if r.containers[0].state == "running")
    assert [c.reason for c in waiting.containers] == ["", "PodInitializing", "PodInitializing"]
