"""What the nursery keeps from a container, seen from inside it; forked for it or through the spare, as root or not."""

import asyncio
import os
from pathlib import Path

import pytest

from controlplane.drivers.contract import Mount
from controlplane.drivers.nursery import linux
from controlplane.kubelet.confinement import CAPABILITIES

pytestmark = pytest.mark.parametrize(
    "bench", [{"cgroups": False}, {"cgroups": True}], indirect=True, ids=["forked", "spare"]
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


async def seen(bench, script: str, **more: object) -> list[str]:
    """Lines that a shell script prints."""
    container = bench.container("sh", "-c", script, restart=False, **more)
    uid = bench.start(container)
    report = await bench.container_until(uid, lambda c: c.state == "terminated")
    text = [line[28:] for line in Path(container.log_path).read_text().splitlines()]
    assert report.reason == "Completed", (report, text)
    return text


@pytest.mark.parametrize("user", [None, pytest.param(4242, marks=as_root)])
async def test_a_read_only_root_leaves_the_writable_volumes_and_nothing_else(bench, user):
    if "readOnlyRootFilesystem" in bench.driver.not_enforced:
        pytest.skip(bench.driver.not_enforced["readOnlyRootFilesystem"])
    bench.folder.chmod(0o777)
    volume = bench.folder / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    mounts = (Mount(source=str(volume), target="/scratch-of-test", read_only=False),)
    tried = f"""
        for place in /tmp /var/tmp {bench.folder} /scratch-of-test; do
            (echo x > $place/tried-by-test) 2>/dev/null && echo "$place writable" || echo "$place read-only"
        done
        echo x > /dev/null && echo null works
        mount -o remount,rw / 2>/dev/null && echo "made writable again" || echo "stays read-only"
    """
    sys_admin = ((1 << len(CAPABILITIES)) - 1) & ~(1 << CAPABILITIES.index("SYS_ADMIN"))
    found = await seen(bench, tried, read_only_root=True, mounts=mounts, run_as_user=user, capabilities=sys_admin)
    assert found == [
        "/tmp read-only",
        "/var/tmp read-only",
        f"{bench.folder} read-only",
        "/scratch-of-test writable",
        "null works",
        "stays read-only",
    ]
    assert (volume / "tried-by-test").exists()
    assert not (bench.folder / "tried-by-test").exists()


async def test_a_read_only_root_needs_no_volume_and_ends_with_the_container(bench):
    if "readOnlyRootFilesystem" in bench.driver.not_enforced:
        pytest.skip(bench.driver.not_enforced["readOnlyRootFilesystem"])
    script = f"(echo x > {bench.folder}/tried) 2>/dev/null || echo read-only"
    assert await seen(bench, script, read_only_root=True) == ["read-only"]
    (bench.folder / "ours").write_text("still writable for us")
    assert await seen(bench, f"echo x > {bench.folder}/tried && echo writable") == ["writable"]


STATUS = "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Groups)' /proc/self/status | tr '\\t' ' '"


def fields(lines: list[str]) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@as_root
async def test_what_is_dropped_is_gone_for_good_also_for_root(bench):
    keep = 1 << CAPABILITIES.index("NET_BIND_SERVICE")
    found = fields(await seen(bench, STATUS, capabilities=keep))
    assert {int(found[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {keep}
    assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
    assert fields(await seen(bench, STATUS, capabilities=0))["CapBnd"] == "0" * 16


@as_root
async def test_another_user_has_none_and_can_get_only_what_was_kept(bench):
    keep = 1 << CAPABILITIES.index("NET_BIND_SERVICE")
    found = fields(await seen(bench, STATUS, capabilities=keep, run_as_user=4242))
    assert int(found["CapEff"], 16) == 0
    assert int(found["CapBnd"], 16) == keep


async def test_no_new_privileges_is_said_to_the_kernel(bench):
    assert fields(await seen(bench, STATUS, no_new_privileges=True))["NoNewPrivs"] == "1"
    assert fields(await seen(bench, STATUS))["NoNewPrivs"] == "0"


@as_root
async def test_supplementary_groups_are_those_of_the_pod(bench):
    found = fields(await seen(bench, STATUS, run_as_user=4242, run_as_group=4243, groups=(77, 78)))
    assert found["Groups"].split() == ["77", "78", "4243"]


@as_root
async def test_a_confined_container_still_dies_with_the_nursery(bench, settled):
    container = bench.container("sleep", "1000", capabilities=0, no_new_privileges=True, run_as_user=4242)
    bench.folder.chmod(0o755)
    await bench.running(bench.start(container))
    os.kill(bench.driver.nursery_pid, 9)
    await settled(lambda: not bench.processes())


@as_root
async def test_a_command_beside_the_container_has_no_more_than_it(bench):
    uid = bench.start(bench.container("sleep", "1000", capabilities=0, no_new_privileges=True, read_only_root=True))
    await bench.running(uid)
    deadline = asyncio.get_running_loop().time() + 10

    async def code(script: str) -> int:
        return await bench.driver.exec(uid, "main", ("sh", "-c", script), deadline)

    assert await code(f"echo x > {bench.folder}/tried") != 0
    assert await code("grep -q '^CapEff:.0000000000000000' /proc/self/status") == 0
    assert await code("grep -q '^NoNewPrivs:.1' /proc/self/status") == 0


@as_root
def test_the_three_sets_of_a_process_shrink_together(bench):
    keep = (1 << CAPABILITIES.index("CHOWN")) | (1 << CAPABILITIES.index("BPF"))
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            linux.keep_capabilities(keep)
            os.write(write_fd, Path("/proc/self/status").read_bytes())
        finally:
            os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd) as pipe:
        found = fields(pipe.read().splitlines())
    os.waitpid(pid, 0)
    assert int(found["CapPrm"], 16) == int(found["CapEff"], 16) == keep
    assert int(found["CapInh"], 16) & ~keep == 0
