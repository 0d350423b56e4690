"""ConfigMaps, Secrets and emptyDirs at their mount paths, with private mounts and without."""

import asyncio
import base64
import os

import pytest
from msgspec.structs import replace

from dataplane.resources.core import Container, Secret, VolumeMount
from dataplane.resources.meta import ObjectMeta
from dataplane.resources.volumes import (
    ConfigMapVolumeSource,
    EmptyDirVolumeSource,
    KeyToPath,
    SecretVolumeSource,
    Volume,
)

BOTH = pytest.mark.parametrize(
    "node", [{}, {"no_mounts": "switched off by the test"}], indirect=True, ids=["mounted", "rewritten"]
)
VOLUMES = (
    Volume(name="conf", config_map=ConfigMapVolumeSource(name="conf")),
    Volume(name="keys", secret=SecretVolumeSource(secret_name="keys", items=(KeyToPath(key="a", path="deep/a.pem"),))),
    Volume(name="share", empty_dir=EmptyDirVolumeSource()),
)
MOUNTS = (
    VolumeMount(name="conf", mount_path="/etc/dataplane-conf", read_only=True),
    VolumeMount(name="keys", mount_path="/dataplane-keys", read_only=True),
    VolumeMount(name="share", mount_path="/dataplane-share"),
)


def _shell(script: str, **more: object) -> Container:
    return Container(**{"name": "main", "image": "x", "command": ("sh", "-c", script), "volume_mounts": MOUNTS, **more})


async def _said(node, key, container: str = "main", lines: int = 1) -> list[str]:
    async with asyncio.timeout(20):
        while True:
            try:
                said = (await node.log(key, container)).splitlines()
            except LookupError:
                said = []
            if len(said) >= lines:
                return said
            await asyncio.sleep(0.01)


@pytest.fixture
async def filled(node, config_map):
    await node.put(config_map("conf", colour="blue"))
    secret = Secret(
        metadata=ObjectMeta(name="keys", namespace="default"), data={"a": base64.b64encode(b"private").decode()}
    )
    await node.put(secret)
    return node


@BOTH
async def test_containers_find_their_volumes_at_the_mount_paths_and_share_an_empty_dir(filled):
    first = _shell(
        "cat /etc/dataplane-conf/colour; echo; cat /dataplane-keys/deep/a.pem; echo;"
        "cat $DATAPLANE_MOUNT_CONF/colour; echo; echo shared > /dataplane-share/file; sleep 1000"
    )
    second = _shell("until cat /dataplane-share/file 2>/dev/null; do sleep 0.01; done; sleep 1000", name="second")
    key = await filled.start(first, second, volumes=VOLUMES, labels={})

    assert await _said(filled, key, lines=3) == ["blue", "private", "blue"]
    assert await _said(filled, key, "second") == ["shared"]
    assert not os.path.exists("/dataplane-share")


@BOTH
async def test_an_update_reaches_the_running_container_all_files_at_once(filled, config_map):
    await filled.put(config_map("conf", a="1", b="1", same="x"))
    script = """
        while :; do
            cd /etc/dataplane-conf/..data/ || continue
            echo $(cat a 2>/dev/null)$(cat b 2>/dev/null)
            [ "$(cat a 2>/dev/null)" = 2 ] && [ ! -e /etc/dataplane-conf/same ] && echo updated
            sleep 0.01
        done
    """
    key = await filled.start(_shell(script), volumes=VOLUMES, labels={})
    await _said(filled, key)

    await filled.put(config_map("conf", a="2", b="2"))

    async with asyncio.timeout(20):
        while "updated" not in (said := await _said(filled, key)):
            await asyncio.sleep(0.02)
    assert set(said) <= {"11", "22", "updated", "1", "2", ""}  # a folder may vanish under a reader, never mix
    assert "12" not in said
    assert "21" not in said


async def test_what_is_mounted_stays_when_its_source_is_deleted(filled):
    script = "while :; do cat /etc/dataplane-conf/colour; echo; sleep 0.02; done"
    key = await filled.start(_shell(script), volumes=VOLUMES, labels={})
    await _said(filled, key)
    await filled.delete("ConfigMap", "conf")
    before = len(await _said(filled, key))
    assert (await _said(filled, key, lines=before + 5))[-1] == "blue"
    assert (
        "FailedMount" in filled.events(key) or await filled.until(lambda: "FailedMount" in filled.events(key)) is None
    )


async def test_config_volumes_are_read_only_and_a_sub_path_is_one_file(filled):
    if filled.driver.no_mounts:
        pytest.skip(filled.driver.no_mounts)
    mounts = (
        VolumeMount(name="conf", mount_path="/etc/dataplane-one", sub_path="colour"),
        VolumeMount(name="conf", mount_path="/etc/dataplane-conf"),
    )
    script = "cat /etc/dataplane-one; echo; echo x > /etc/dataplane-conf/new || echo refused; sleep 1000"
    container = replace(_shell(script), volume_mounts=mounts)
    key = await filled.start(container, volumes=VOLUMES[:1], labels={})
    said = await _said(filled, key, lines=3)
    assert said[0] == "blue"
    assert said[-1] == "refused"


async def test_a_missing_volume_source_waits_and_is_cured(node, config_map):
    key = await node.start(
        _shell("cat /etc/dataplane-conf/colour; sleep 1000", volume_mounts=MOUNTS[:1]), volumes=VOLUMES[:1], labels={}
    )
    await node.until(lambda: node.status(key).container_statuses)
    waiting = node.status(key).container_statuses[0].state.waiting
    assert waiting is not None
    assert (waiting.reason, waiting.message) == ("CreateContainerConfigError", 'configmap "conf" not found')
    await node.put(config_map("conf", colour="green"))
    assert await _said(node, key) == ["green"]


async def test_nothing_of_a_pod_stays_on_disk(filled):
    key = await filled.start(_shell("sleep 1000"), volumes=VOLUMES, labels={})
    uid = filled.pod(key).metadata.uid
    await filled.until(lambda: filled.driver.reports())
    folder = filled.folder / "data" / "volumes" / uid
    assert folder.exists()
    await filled.remove(key)
    await filled.gone(key)
    await filled.until(lambda: not folder.exists())


@pytest.mark.parametrize("node", [{"no_mounts": "switched off by the test"}], indirect=True)
async def test_rewriting_is_said_out_loud(filled):
    key = await filled.start(_shell("sleep 1000"), volumes=VOLUMES, labels={})
    await filled.until(lambda: "MountsRewritten" in filled.events(key))
