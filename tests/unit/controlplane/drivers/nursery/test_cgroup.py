"""Both versions against a made-up tree: files are written where the kernel wants them."""

import os
from pathlib import Path

import pytest

from controlplane.drivers.nursery import cgroup


def v1(tmp_path: Path, lines: str = "3:cpu,cpuacct:/own\n2:memory:/own\n1:pids:/own\n") -> dict[str, str]:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(lines)
    for controller in ("cpu", "memory", "pids"):
        (tmp_path / "fs" / controller / "own").mkdir(parents=True)
    return {"proc": str(tmp_path / "proc"), "fs": str(tmp_path / "fs")}


def v2(tmp_path: Path, members: str = "") -> dict[str, str]:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/own\n")
    own = tmp_path / "fs/own"
    (own / "dataplane-x").mkdir(parents=True)
    (own / "dataplane-host").mkdir()
    (tmp_path / "fs/cgroup.controllers").write_text("cpu memory pids\n")
    (own / "cgroup.procs").write_text(members)
    (own / "dataplane-host/cgroup.procs").touch()
    for place in (own, own / "dataplane-x"):
        (place / "cgroup.subtree_control").touch()
    return {"proc": str(tmp_path / "proc"), "fs": str(tmp_path / "fs")}


def fill(path: str, *names: str) -> None:
    """The files that the kernel makes in a group."""
    for name in names:
        Path(path, name).touch()


def test_version_1_writes_each_limit_into_its_own_hierarchy(tmp_path):
    found = cgroup.detect("x", **v1(tmp_path))
    assert (found.version, found.missing) == (1, {})
    group = found.make("pod-main", wanted=("pids", "memory", "cpu"))
    assert group is not None
    fill(group.paths["memory"], "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    fill(group.paths["cpu"], "cpu.cfs_quota_us", "cpu.cfs_period_us")
    fill(group.paths["pids"], "pids.max")

    group.limit(memory_bytes=1 << 20, cpu_millis=250, processes=7)

    base = tmp_path / "fs"
    assert (base / "memory/own/dataplane-x/pod-main/memory.limit_in_bytes").read_text() == "1048576"
    assert (base / "memory/own/dataplane-x/pod-main/memory.memsw.limit_in_bytes").read_text() == "1048576"
    assert (base / "cpu/own/dataplane-x/pod-main/cpu.cfs_quota_us").read_text() == "25000"
    assert (base / "pids/own/dataplane-x/pod-main/pids.max").read_text() == "7"
    assert len(group.entrances) == 3


def test_version_2_delegates_controllers_and_uses_one_group(tmp_path):
    places = v2(tmp_path, f"{os.getpid()}\n")
    found = cgroup.detect("x", **places)
    assert (found.version, found.missing) == (2, {})
    own = tmp_path / "fs/own"
    assert (own / "dataplane-host/cgroup.procs").read_text() == str(os.getpid())
    assert (own / "cgroup.subtree_control").read_text().startswith("+cpu")  # the last of three writes
    group = found.make("pod-main", wanted=("pids", "memory", "cpu"))
    assert group is not None
    path = group.paths["memory"]
    fill(path, "memory.max", "memory.swap.max", "cpu.max", "pids.max", "memory.events")

    group.limit(memory_bytes=1 << 20, cpu_millis=2000, processes=0)

    assert Path(path, "memory.max").read_text() == "1048576"
    assert Path(path, "memory.swap.max").read_text() == "0"
    assert Path(path, "cpu.max").read_text() == "200000 100000"
    assert Path(path, "pids.max").read_text() == "max"
    assert group.entrances == (f"{path}/cgroup.procs",)
    assert not group.ran_out_of_memory()
    Path(path, "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert group.ran_out_of_memory()


def test_version_2_is_left_alone_when_others_are_in_our_group(tmp_path):
    found = cgroup.detect("x", **v2(tmp_path, "1\n"))
    assert found.bases == {}
    assert "other processes are in it" in found.missing["memory"]


def test_a_machine_without_cgroups_says_so(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").touch()
    found = cgroup.detect("x", proc=str(tmp_path / "proc"), fs=str(tmp_path / "fs"))
    assert found.missing["pids"] == "no cgroup controller 'pids' on this machine"
    assert found.make("a", wanted=("pids",)) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_group_that_is_not_writable_says_so(tmp_path):
    places = v1(tmp_path)
    (tmp_path / "fs/pids/own").chmod(0o500)
    assert "is not writable" in cgroup.detect("x", **places).missing["pids"]


def test_nothing_is_made_before_a_container_needs_it(tmp_path):
    found = cgroup.detect("x", **v1(tmp_path))
    assert not os.path.exists(found.bases["memory"])
