"""LP-06: a flood of output costs neither memory nor disk nor the others' logs, and what is lost is counted."""

import contextlib
import os
import re
from pathlib import Path

import pytest

FLOOD = """
    import os
    chunk = b"x" * 99 + b"\\n"
    chunk = chunk * 600
    while True:
        os.write(1, chunk)
"""
SMALL = {"log_file_bytes": 1 << 20, "log_rate_bytes_per_s": 1 << 20}


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("bench", [SMALL], indirect=True)
async def test_LP_06_a_flood_is_dropped_counted_and_never_held_in_memory(bench, settled):
    before = rss_bytes(bench.driver.nursery_pid)
    flood = bench.container(*bench.program(FLOOD))
    quiet = bench.container("sh", "-c", "while :; do echo still here; sleep 0.05; done")
    flooding, other = bench.start(flood), bench.start(quiet)
    await bench.running(other)

    report = await bench.container_until(flooding, lambda c: c.dropped_bytes > 50 << 20)
    lines = Path(quiet.log_path).read_text().count("still here")
    await settled(lambda: Path(quiet.log_path).read_text().count("still here") > lines)
    await settled(lambda: re.search(r"\[dataplane: \d+ bytes of output dropped, over 1048576 bytes/s\]", _all(flood)))

    assert rss_bytes(bench.driver.nursery_pid) - before < 16 << 20
    assert report.state == "running"
    assert max(len(log) for log in _logs(flood)) <= (1 << 20) + (192 << 10)  # one stamped chunk over
    assert "dataplane_driver_output_dropped_bytes_total 0\n" not in bench.registry.render()


@pytest.mark.parametrize("bench", [SMALL], indirect=True)
async def test_LP_06_a_flood_of_empty_lines_is_bounded_like_any_other(bench):
    flood = bench.container("sh", "-c", "yes ''")
    uid = bench.start(flood)
    await bench.container_until(uid, lambda c: c.dropped_bytes > 10 << 20)
    assert max(len(log) for log in _logs(flood)) <= (1 << 20) + (64 << 10) * 30


async def test_LP_06_lines_are_stamped_and_both_streams_are_kept(bench, settled):
    container = bench.container("sh", "-c", "echo out; echo err >&2; printf 'no newline'; sleep 1000")
    bench.start(container)
    await settled(lambda: "no newline" in _all(container))
    lines = Path(container.log_path).read_text().splitlines()
    assert [line[28:] for line in lines] == ["out", "err", "no newline"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z ", line[:28]) for line in lines)


async def test_LP_06_the_log_of_the_run_before_is_kept_apart(bench, settled):
    runs = bench.folder / "runs"
    script = (
        f"echo run >> {runs}; echo run $(grep -c run {runs}); [ $(grep -c run {runs}) = 3 ] && exec sleep 1000; exit 1"
    )
    container = bench.container("sh", "-c", script)
    bench.start(container)
    await settled(lambda: "run 3" in _all(container))  # which goes on: no start moves the files any more
    assert Path(container.log_path).read_text().endswith(" run 3\n")
    assert Path(container.log_path + ".previous").read_text().endswith(" run 2\n")


async def test_LP_06_a_full_disk_stops_the_log_and_not_the_container(bench):
    uid = bench.start(bench.container("sh", "-c", "while :; do echo x; done", log_path="/dev/full"))
    report = await bench.container_until(uid, lambda c: c.dropped_bytes > 1000)
    assert report.state == "running"


def _logs(container) -> list[bytes]:
    """The older file first. The nursery may be between a rotation and the file that follows."""
    found = []
    for path in (container.log_path + ".1", container.log_path):
        with contextlib.suppress(FileNotFoundError):
            found.append(Path(path).read_bytes())
    return found


def _all(container) -> str:
    return b"".join(_logs(container)).decode(errors="replace")
