"""What a process finds when it starts (spec §12), and commands beside it."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from controlplane.drivers.contract import Mount

# forked for it, or the process that waited in its control group
pytestmark = pytest.mark.parametrize(
    "bench", [{"cgroups": False}, {"cgroups": True}], indirect=True, ids=["forked", "spare"]
)

LOOK = """
    import os, signal, sys
    print("fds", sorted(int(n) for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")))
    print("stdin", os.read(0, 1))
    print("tty", os.isatty(0), os.isatty(1))
    umask = os.umask(0)
    print("umask", oct(umask))
    print("sigterm", signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    status = dict(line.split(":") for line in open("/proc/self/status") if line.startswith("Sig"))
    libc = 3 << 31  # signals 32 and 33 belong to the C library, which lets nobody change them
    print("sigpipe", hex(int(status["SigBlk"], 16) & ~libc), hex(int(status["SigIgn"], 16) & ~libc))
    print("leader", os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid())
    print("cwd", os.getcwd())
    print("env", sorted(set(os.environ) - {"LC_CTYPE"}))  # which Python itself sets in a C locale
"""


async def _look(bench, **more) -> dict[str, str]:
    container = bench.container(*bench.program(LOOK), restart=False, **more)
    uid = bench.start(container)
    report = await bench.container_until(uid, lambda c: c.state == "terminated")
    text = [line[28:] for line in Path(container.log_path).read_text().splitlines()]
    assert report.exit_code == 0, text
    return dict(line.split(" ", 1) for line in text)


async def test_a_process_inherits_nothing_but_what_it_was_given(bench):
    seen = await _look(bench, cwd=str(bench.folder), env={"PATH": os.environ["PATH"], "MINE": "1"})
    assert seen["fds"] == "[0, 1, 2]"
    assert seen["stdin"] == "b''"
    assert seen["tty"] == "False False"
    assert seen["umask"] == "0o22"
    assert seen["sigterm"] == "True"
    # Python itself ignores SIGPIPE (13) and SIGXFSZ (25) at its start
    assert seen["sigpipe"] == "0x0 0x1001000"
    assert seen["leader"] == "True True"
    assert seen["cwd"] == str(bench.folder)
    assert seen["env"] == "['DATAPLANE_CONTAINER', 'MINE', 'PATH']"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_runAsUser_is_honoured_and_the_process_still_dies_with_the_nursery(bench, settled):
    bench.folder.chmod(0o755)
    container = bench.container("sh", "-c", "id -u; id -g; id -G; sleep 1000", run_as_user=4242, run_as_group=4243)
    uid = bench.start(container)
    await bench.running(uid)
    await settled(lambda: Path(container.log_path).read_text().count("\n") == 3)
    assert [line[28:] for line in Path(container.log_path).read_text().splitlines()] == ["4242", "4243", "4243"]

    os.kill(bench.driver.nursery_pid, 9)

    await settled(lambda: not bench.processes())


async def test_exec_runs_in_the_containers_environment_and_tells_its_exit_code(bench):
    env = {"PATH": os.environ["PATH"], "WHO": "me"}
    uid = bench.start(bench.container("sleep", "1000", env=env))
    await bench.running(uid)
    loop = asyncio.get_running_loop()

    async def code(*argv: str, seconds: float = 10.0) -> int:
        return await bench.driver.exec(uid, "main", argv, loop.time() + seconds)

    assert await code("sh", "-c", '[ "$WHO" = me ]') == 0
    assert await code("sh", "-c", "exit 9") == 9
    assert await code("no-such-program") == 127
    assert await code("sleep", "1000", seconds=0.1) == 124
    assert await bench.driver.exec("nobody", "main", ("true",), loop.time() + 1) == 126
    assert len(bench.processes()) == 1


async def test_a_volume_is_seen_at_its_mount_path_by_its_container_only(bench):
    if bench.driver.no_mounts:
        pytest.skip(bench.driver.no_mounts)
    source = bench.folder / "volume"
    source.mkdir()
    (source / "key").write_text("value")
    (bench.folder / "file").write_text("alone")
    targets = ("/etc/dataplane-test/deep", "/dataplane-test-root", "/etc/dataplane-test-file")
    mounts = (
        Mount(source=str(source), target=targets[0]),
        Mount(source=str(source), target=targets[1], read_only=False),
        Mount(source=str(bench.folder / "file"), target=targets[2]),
    )
    script = f"""
        cat {targets[0]}/key; echo; cat {targets[1]}/key; echo; cat {targets[2]}; echo
        touch {targets[0]}/new 2>/dev/null || echo read-only
        touch {targets[1]}/new && echo writable
        cat /etc/hostname > /dev/null && ls /proc/self/fd > /dev/null && echo rest > {bench.folder}/rest && echo whole
        sleep 1000
    """
    container = bench.container("sh", "-c", script, mounts=mounts)
    uid = bench.start(container)
    await bench.running(uid)
    while "whole" not in Path(container.log_path).read_text():
        await asyncio.sleep(0.01)

    text = [line[28:] for line in Path(container.log_path).read_text().splitlines()]
    assert text == ["value", "value", "alone", "read-only", "writable", "whole"]
    assert (source / "new").exists()
    assert (bench.folder / "rest").read_text() == "rest\n"
    assert not any(os.path.exists(target) for target in targets)
    deadline = asyncio.get_running_loop().time() + 10
    assert await bench.driver.exec(uid, "main", ("cat", f"{targets[0]}/key"), deadline) == 0


async def test_starting_pods_blocks_the_loop_for_less_than_a_frame_of_work(bench):
    """Nothing on this side forks: `start` only writes to a socket."""
    pids = {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == os.getpid()}
    uids = [bench.start(bench.container("sleep", "1000")) for _ in range(20)]
    for uid in uids:
        report = await bench.running(uid)
        assert _parent(report.pid) == bench.driver.nursery_pid
    now = {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == os.getpid()}
    assert now <= pids


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.fixture
def in_the_background():
    """As a shell starts what ends with `&`, and nohup what it starts."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGQUIT, signal.SIGHUP)}
    yield
    for number, what in before.items():
        signal.signal(number, what)


async def test_no_signal_is_ignored_or_blocked_for_a_program(in_the_background, bench):
    container = bench.container("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", restart=False)
    uid = bench.start(container)
    await bench.container_until(uid, lambda c: c.state == "terminated")
    text = [line[28:].split() for line in Path(container.log_path).read_text().splitlines()]
    libc = 3 << 31  # signals 32 and 33 belong to the C library, which lets nobody change them
    assert [(name, int(mask, 16) & ~libc) for name, mask in text] == [("SigBlk:", 0), ("SigIgn:", 0)]
