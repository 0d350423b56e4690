"""LP-05: bombs go off inside their own limits."""

import asyncio
import os

import pytest

from controlplane.drivers.nursery import cgroup

EATER = """
    import time
    kept = []
    while True:
        kept.append(bytearray(4 << 20))
        for n in range(0, 4 << 20, 4096):
            kept[-1][n] = 1
        time.sleep(0.002)
"""


def _controllers() -> tuple[str, ...]:
    found = cgroup.detect("probe")
    found.close()
    return tuple(found.bases)


HAS = _controllers()


def _needs(controller: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(controller not in HAS, reason=f"no writable cgroup controller {controller!r} here")


@pytest.mark.parametrize(
    "bench", [{"cgroups": False}, pytest.param({"cgroups": True}, marks=_needs("memory"))], indirect=True
)
async def test_LP_05_a_memory_bomb_is_killed_as_OOMKilled(bench):
    uid = bench.start(bench.container(*bench.program(EATER), memory_bytes=48 << 20))
    report = await bench.container_until(uid, lambda c: c.restarts == 1)
    assert (report.last_exit_code, report.last_reason) == (137, "OOMKilled")


async def test_LP_05_memory_taken_in_one_gulp_fails_without_a_cgroup_too(bench):
    uid = bench.start(bench.container(*bench.program("x = bytearray(1 << 30)"), memory_bytes=32 << 20))
    report = await bench.container_until(uid, lambda c: c.restarts == 1)
    assert report.last_reason in ("Error", "OOMKilled")
    assert report.last_exit_code != 0


@_needs("pids")
@pytest.mark.parametrize("bench", [{"cgroups": True}], indirect=True)
async def test_LP_05_a_fork_bomb_stays_inside_its_limit_and_ends_with_its_pod(bench):
    bomb = bench.program("""
        import os
        while True:
            try:
                os.fork()
            except OSError:
                pass
    """)
    uid = bench.start(bench.container(*bomb, processes=24))
    group = _group((await bench.running(uid)).pid, "pids")
    while _number(f"{group}/pids.current") < 24:
        await asyncio.sleep(0.01)
    again = bench.start(bench.container("sleep", "1000"))
    await bench.running(again)  # beside it, life goes on
    assert _number(f"{group}/pids.current") <= 24

    bench.driver.stop(uid, grace_s=0.1)
    await bench.gone(uid)

    assert len(bench.processes()) == 1


def _group(pid: int, controller: str) -> str:
    """Where a process is counted: its container's group."""
    with open(f"/proc/{pid}/cgroup") as file:
        paths = {
            one: path for line in file for _, names, path in [line.strip().split(":", 2)] for one in names.split(",")
        }
    path = paths.get(controller, paths.get("", ""))
    return next(one for one in (f"/sys/fs/cgroup/{controller}{path}", f"/sys/fs/cgroup{path}") if os.path.isdir(one))


def _number(path: str) -> int:
    with open(path) as file:
        return int(file.read())


async def test_LP_05_a_descriptor_bomb_meets_its_own_limit(bench):
    bomb = bench.program("""
        import os, sys
        count = 0
        try:
            while True:
                os.open("/dev/null", os.O_RDONLY)
                count += 1
        except OSError as error:
            print(count, error.strerror, file=sys.stderr)
            raise SystemExit(1)
    """)
    uid = bench.start(bench.container(*bomb, files=64))
    report = await bench.container_until(uid, lambda c: c.restarts == 1)
    assert report.last_message == "61 Too many open files"  # 0, 1, 2 and nothing else is inherited


async def test_LP_05_a_disk_bomb_meets_the_largest_file(bench):
    target = bench.folder / "big"
    # ">>": the start that follows would empty the file, perhaps before it is looked at
    uid = bench.start(bench.container("sh", "-c", f"exec cat /dev/zero >> {target}", file_bytes=1 << 20))
    report = await bench.container_until(uid, lambda c: c.restarts == 1)
    assert (report.last_exit_code, os.path.getsize(target)) == (153, 1 << 20)  # 128 + SIGXFSZ


@_needs("cpu")
@pytest.mark.parametrize("bench", [{"cgroups": True}], indirect=True)
async def test_LP_05_a_cpu_limit_is_a_quota_of_its_group(bench):
    uid = bench.start(bench.container("sleep", "1000", cpu_millis=250))
    group = _group((await bench.running(uid)).pid, "cpu")
    quota = "cpu.max" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "cpu.cfs_quota_us"
    with open(f"{group}/{quota}") as file:
        assert file.read().split()[0] == "25000"


async def test_LP_05_what_is_not_enforced_says_why(bench):
    for limit in ("pids", "memory", "cpu"):
        assert bench.driver.not_enforced[limit] == "switched off"
