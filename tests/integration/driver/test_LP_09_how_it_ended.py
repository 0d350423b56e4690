"""LP-09: exit code, signal and reason are those of Kubernetes' terminated state."""

import pytest


@pytest.mark.parametrize(
    ("script", "code", "signal", "reason", "message"),
    [
        ("exit 0", 0, 0, "Completed", ""),
        ("echo fine; exit 0", 0, 0, "Completed", ""),
        ("echo why >&2; exit 42", 42, 0, "Error", "why"),
        ("kill -TERM $$", 143, 15, "Error", ""),
        ("echo last words; kill -9 $$", 137, 9, "Error", "last words"),
        ("kill -SEGV $$", 139, 11, "Error", ""),
    ],
)
async def test_LP_09_the_end_is_told_as_kubernetes_tells_it(bench, script, code, signal, reason, message):
    uid = bench.start(bench.container("sh", "-c", script, restart=False))
    report = await bench.container_until(uid, lambda c: c.state == "terminated")
    assert (report.exit_code, report.signal, report.reason, report.message) == (code, signal, reason, message)
    assert 0 < report.started_at <= report.finished_at


async def test_LP_09_the_message_is_the_last_80_lines_and_2048_bytes(bench):
    uid = bench.start(bench.container("sh", "-c", "seq 1 200; exit 1", restart=False))
    report = await bench.container_until(uid, lambda c: c.state == "terminated")
    assert report.message.split() == [str(n) for n in range(121, 201)]

    uid = bench.start(bench.container("sh", "-c", "yes 0123456789abcdef | head -c 100000; exit 1", restart=False))
    report = await bench.container_until(uid, lambda c: c.state == "terminated")
    assert len(report.message) <= 2048


async def test_LP_09_the_run_before_is_reported_beside_the_present_one(bench):
    flag = bench.folder / "flag"
    uid = bench.start(bench.container("sh", "-c", f"[ -e {flag} ] && sleep 1000; touch {flag}; exit 5"))
    report = await bench.container_until(uid, lambda c: c.state == "running" and c.restarts == 1)
    assert (report.last_exit_code, report.last_reason) == (5, "Error")
    assert report.last_finished_at <= report.started_at
