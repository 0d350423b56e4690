"""A pod over its disk limit is evicted, with Kubernetes' words; what is not held is an event."""

import asyncio
import os

import pytest

from controlplane.kubelet import usage
from dataplane.resources.core import (
    Capabilities,
    Container,
    ResourceRequirements,
    SeccompProfile,
    SecurityContext,
    VolumeMount,
)
from dataplane.resources.volumes import ConfigMapVolumeSource, EmptyDirVolumeSource, Volume

SCRATCH = Volume(name="scratch", empty_dir=EmptyDirVolumeSource(size_limit="1Mi"))
MOUNT = (VolumeMount(name="scratch", mount_path="/scratch"),)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "EVERY_S", 0.05)


def writer(node, kib: int) -> tuple[str, ...]:
    """Writes as soon as there is a file `go`."""
    return node.program(f"""
        import os, time
        while not os.path.exists("go"):
            time.sleep(0.01)
        with open(os.path.join(os.environ["DATAPLANE_MOUNT_SCRATCH"], "file"), "wb") as out:
            out.write(b"x" * {kib << 10})
        print("written", flush=True)
        time.sleep(1000)
    """)


async def said(node, key, word: str) -> str:
    """What it wrote, as soon as that word is in it."""
    await node.until(
        lambda: node.status(key).container_statuses and node.status(key).container_statuses[0].state.running
    )
    while word not in (text := await node.log(key)):
        assert "Traceback" not in text, text
        await asyncio.sleep(0.01)
    return text


async def test_a_pod_that_fills_its_emptyDir_over_its_limit_is_evicted(node):
    container = node.served(command=writer(node, 2048), volume_mounts=MOUNT)
    key = await node.start(container, volumes=(SCRATCH,))
    (node.folder / "go").touch()
    await node.until(lambda: node.status(key).phase == "Failed")
    status = node.status(key)
    assert (status.reason, status.message) == (
        "Evicted",
        'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". ',
    )
    await node.until(lambda: "Evicted" in node.events(key))
    assert not node.driver.reports()
    assert node.endpoints() == ()


async def test_a_pod_is_out_of_the_endpoints_before_it_is_stopped_for_its_disk(node):
    key = await node.start(
        node.served(),
        Container(name="writer", image="x", command=writer(node, 2048), volume_mounts=MOUNT),
        volumes=(SCRATCH,),
    )
    seen = []
    stop = node.driver.stop
    node.driver.stop = lambda *given, **more: (
        seen.append([one.ready for one in node.endpoints()]) or stop(*given, **more)
    )
    await node.until(lambda: any(one.ready for one in node.endpoints()))
    (node.folder / "go").touch()
    await node.until(lambda: node.status(key).phase == "Failed")
    del node.driver.stop
    assert seen == [[False]]


async def test_a_pod_within_its_limit_stays(node):
    key = await node.start(node.served(command=writer(node, 512), volume_mounts=MOUNT), volumes=(SCRATCH,))
    (node.folder / "go").touch()
    await said(node, key, "written")
    looked = []
    excess = usage.excess
    usage.excess = lambda *given: looked.append(1) or excess(*given)
    try:
        await node.until(lambda: len(looked) >= 3)
    finally:
        usage.excess = excess
    assert node.status(key).phase in ("Pending", "Running")


async def test_everything_that_a_pod_writes_counts_against_ephemeral_storage(node):
    volume = Volume(name="scratch", empty_dir=EmptyDirVolumeSource())
    limits = ResourceRequirements(limits={"ephemeral-storage": "1Mi"})
    program = node.program("""
        import os, time
        for name in ("a", "b", "c"):  # each within what one file may be
            with open(os.path.join(os.environ["DATAPLANE_MOUNT_SCRATCH"], name), "wb") as out:
                out.write(b"x" * (600 << 10))
        time.sleep(1000)
    """)
    container = node.served(command=program, volume_mounts=MOUNT, resources=limits)
    key = await node.start(container, volumes=(volume,))
    await node.until(lambda: node.status(key).reason == "Evicted")
    assert node.status(key).message == ("Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ")


async def test_a_pod_without_a_limit_is_not_measured(node, monkeypatch):
    monkeypatch.setattr(usage, "excess", lambda *_: pytest.fail("measured"))
    key = await node.start(node.served())
    await node.ready(key)
    assert not [task for task in node.kubelet._tasks._tasks if "usage" in task.get_name()]


async def test_what_is_asked_for_and_not_held_is_an_event_of_the_pod(node):
    context = SecurityContext(seccomp_profile=SeccompProfile(type="RuntimeDefault"))
    memory = Volume(name="scratch", empty_dir=EmptyDirVolumeSource(medium="Memory"))
    limits = ResourceRequirements(limits={"cpu": "100m"})
    container = node.served(security_context=context, volume_mounts=MOUNT, resources=limits)
    key = await node.start(container, volumes=(memory,))
    await node.ready(key)

    def messages() -> set[str]:
        events = node.store.objects("", "Event")
        return {one.message.partition(":")[0] for one in events if one.reason == "NotEnforced"}

    await node.until(lambda: len(messages()) == 3)
    assert messages() == {
        "seccompProfile RuntimeDefault is not enforced",
        "limits.cpu is not enforced",  # this node runs without control groups
        'emptyDir "scratch"',
    }


async def test_what_is_held_is_no_event(node):
    context = SecurityContext(allow_privilege_escalation=False, capabilities=Capabilities(drop=("ALL",)))
    key = await node.start(node.served(security_context=context))
    await node.ready(key)
    await node.until(lambda: "Started" in node.events(key))
    assert "NotEnforced" not in node.events(key)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_volumes_belong_to_the_group_of_the_pod(node, config_map):
    await node.put(config_map("settings", key="value"))
    volumes = (
        Volume(name="scratch", empty_dir=EmptyDirVolumeSource()),
        Volume(name="settings", config_map=ConfigMapVolumeSource(name="settings", default_mode=0o400)),
    )
    program = node.program("""
        import os, time
        open(os.environ["DATAPLANE_MOUNT_SCRATCH"] + "/mine", "w").close()
        settings = os.environ["DATAPLANE_MOUNT_SETTINGS"] + "/key"
        print(os.stat(os.environ["DATAPLANE_MOUNT_SCRATCH"] + "/mine").st_gid, 5555 in os.getgroups())
        print(os.stat(settings).st_gid, oct(os.stat(settings).st_mode & 0o777), open(settings).read(), flush=True)
        time.sleep(1000)
    """)
    mounts = (*MOUNT, VolumeMount(name="settings", mount_path="/settings"))
    container = node.served(command=program, volume_mounts=mounts)
    key = await node.start(container, volumes=volumes, security_context={"fsGroup": 5555})
    assert (await said(node, key, "value")).split() == ["5555", "True", "5555", "0o440", "value"]
    folder = node.folder / "data/volumes" / node.pod(key).metadata.uid / "settings"
    before = os.readlink(folder / "..data")
    (life,) = node.kubelet.pods()
    await life._update_volumes(life._composed)  # the same content
    assert os.readlink(folder / "..data") == before
    await node.put(config_map("settings", key="another"))
    await node.until(lambda: (folder / "key").read_text() == "another")
    assert (folder / "key").stat().st_gid == 5555
