"""The process that waits to become the next container: taken, replaced, not missed, and never in the way."""

import os
import signal
from pathlib import Path

import pytest

from controlplane.drivers.nursery import cgroup

found = cgroup.detect("probe")
found.close()
pytestmark = [
    pytest.mark.parametrize("bench", [{"cgroups": True}], indirect=True),
    pytest.mark.skipif("pids" not in found.bases, reason="no writable control groups here"),
]


async def test_a_start_becomes_the_spare_and_the_next_is_made_when_it_is_quiet(bench, settled, ready_spare):
    waiting = await ready_spare(bench)
    uid = bench.start(bench.container("sleep", "1000"))
    assert (await bench.running(uid)).pid == waiting
    await settled(bench.spare)
    assert bench.spare() != waiting


async def test_starts_at_the_same_time_do_not_wait_for_a_spare(bench, settled, ready_spare):
    waiting = await ready_spare(bench)
    uids = [bench.start(bench.container("sleep", "1000")) for _ in range(5)]
    pids = {(await bench.running(uid)).pid for uid in uids}
    assert len(pids) == 5
    assert waiting in pids


async def test_a_spare_that_somebody_killed_is_not_missed(bench, settled):
    await settled(bench.spare)
    first = bench.spare()
    os.kill(first, signal.SIGKILL)
    await settled(lambda: not os.path.exists(f"/proc/{first}"))
    uid = bench.start(bench.container("sleep", "1000"))
    await bench.running(uid)
    await settled(bench.spare)


async def test_the_limits_stand_before_its_first_instruction(bench, settled, ready_spare):
    waiting = await ready_spare(bench)
    text = """
        import os
        for line in open("/proc/self/cgroup"):
            number, controllers, path = line.strip().split(":", 2)
            for name in (f"/sys/fs/cgroup/pids{path}/pids.max", f"/sys/fs/cgroup{path}/pids.max"):
                if "/spare-" in path and os.path.exists(name):
                    print("most", open(name).read().strip(), flush=True)
    """
    container = bench.container(*bench.program(text), processes=37, restart=False)
    uid = bench.start(container)
    report = await bench.container_until(uid, lambda c: c.state in ("running", "terminated"))
    assert report.pid in (waiting, 0)
    await bench.container_until(uid, lambda c: c.state == "terminated")
    assert "most 37" in Path(container.log_path).read_text()


async def test_it_keeps_nothing_of_other_containers_open(bench, ready_spare):
    spare = await ready_spare(bench)  # beside a container that runs
    opened = {os.readlink(f"/proc/{spare}/fd/{fd}") for fd in os.listdir(f"/proc/{spare}/fd")}
    assert len([one for one in opened if one != "/dev/null"]) <= 2, opened  # its socket, and the nursery's stderr


async def test_a_program_that_cannot_start_says_so_through_the_spare(bench, ready_spare):
    await ready_spare(bench)
    uid = bench.start(bench.container("no-such-program", restart=False))
    report = await bench.container_until(uid, lambda c: c.state == "terminated")
    assert (report.exit_code, report.reason) == (127, "ContainerCannotRun")
    assert "executable file not found" in report.message


async def test_an_environment_larger_than_a_socket_buffer_arrives_whole(bench, ready_spare):
    await ready_spare(bench)
    big = {f"V{number}": "x" * 100_000 for number in range(8)}
    container = bench.container("sh", "-c", "echo ${#V7}", env={"PATH": os.environ["PATH"], **big}, restart=False)
    uid = bench.start(container)
    await bench.container_until(uid, lambda c: c.state == "terminated")
    assert Path(container.log_path).read_text().split()[-1] == "100000"


async def test_it_ends_with_the_nursery_however_that_ends(bench, settled):
    await settled(bench.spare)
    spare, nursery = bench.spare(), bench.driver.nursery_pid
    os.kill(nursery, signal.SIGKILL)
    await settled(lambda: not os.path.exists(f"/proc/{spare}"))
    await settled(lambda: bench.driver.nursery_pid not in (0, nursery) and bench.spare())
    last = bench.spare()
    await bench.driver.close()
    assert not os.path.exists(f"/proc/{last}")
