"""What volumes contain and where they are seen."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.kubelet.references import References
from controlplane.kubelet.refusal import NotRunnable
from controlplane.kubelet.volumes import File, Placed, content, place, rewrite, variable
from dataplane.resources.core import ConfigMap, Pod, Secret, VolumeMount
from dataplane.resources.meta import ObjectMeta
from dataplane.resources.volumes import (
    ConfigMapVolumeSource,
    DownwardAPIProjection,
    DownwardAPIVolumeFile,
    EmptyDirVolumeSource,
    KeyToPath,
    ObjectFieldSelector,
    ProjectedItem,
    ProjectedVolumeSource,
    SecretVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeProjection,
)

STORE = {
    ("ConfigMap", "cm"): ConfigMap(data={"a": "1", "b": "2"}, binary_data={"c": base64.b64encode(b"\0").decode()}),
    ("Secret", "s"): Secret(data={"p": base64.b64encode(b"pw").decode()}),
}


def refs() -> References:
    return References(Pod(metadata=ObjectMeta(name="pod")), lambda key: STORE.get((key.kind, key.name)))


def files(volume: Volume) -> dict[str, File] | None:
    return content(volume, refs()).files


def config(**more) -> Volume:
    return Volume(name="v", config_map=ConfigMapVolumeSource(**{"name": "cm", **more}))


def test_every_key_is_a_file():
    assert files(config()) == {"a": File(b"1", 0o644), "b": File(b"2", 0o644), "c": File(b"\0", 0o644)}


def test_items_choose_rename_and_set_the_mode():
    items = (KeyToPath(key="a", path="x/y", mode=0o400), KeyToPath(key="b", path="z"))
    assert files(config(items=items, default_mode=0o640)) == {"x/y": File(b"1", 0o400), "z": File(b"2", 0o640)}


def test_a_mode_never_carries_set_id_bits_and_the_owner_can_read():
    assert files(config(items=(KeyToPath(key="a", path="a", mode=0o6022),))) == {"a": File(b"1", 0o422)}


def test_a_secret_is_decoded():
    assert files(Volume(name="v", secret=SecretVolumeSource(secret_name="s"))) == {"p": File(b"pw", 0o644)}


def test_a_projected_volume_merges_its_sources():
    downward = DownwardAPIVolumeFile(path="name", field_ref=ObjectFieldSelector(field_path="metadata.name"))
    volume = Volume(
        name="v",
        projected=ProjectedVolumeSource(
            default_mode=0o600,
            sources=(
                VolumeProjection(config_map=ProjectedItem(name="cm", items=(KeyToPath(key="a", path="conf/a"),))),
                VolumeProjection(secret=ProjectedItem(name="s")),
                VolumeProjection(config_map=ProjectedItem(name="none", optional=True)),
                VolumeProjection(downward_api=DownwardAPIProjection(items=(downward,))),
            ),
        ),
    )
    assert files(volume) == {
        "conf/a": File(b"1", 0o600),
        "p": File(b"pw", 0o600),
        "name": File(b"pod", 0o600),
    }


def test_an_empty_dir_has_no_files_and_perhaps_a_size():
    assert content(Volume(name="v", empty_dir=EmptyDirVolumeSource(size_limit="1Mi")), refs()) == (None, 1 << 20)


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (config(name="none"), 'configmap "none" not found'),
        (config(items=(KeyToPath(key="x", path="x"),)), "configmap cm has no key x"),
        (config(items=(KeyToPath(key="a", path="../x"),)), "path '../x' does not stay inside its volume"),
        (config(items=(KeyToPath(key="a", path="/x"),)), "path '/x' does not stay inside its volume"),
        (config(items=(KeyToPath(key="a", path="..data/x"),)), "path '..data/x' does not stay inside its volume"),
        (Volume(name="v", host_path={"path": "/"}), 'volume "v": host_path does not exist with processes as pods'),
        (Volume(name="v"), 'volume "v": without a source does not exist with processes as pods'),
        (
            Volume(
                name="v",
                projected=ProjectedVolumeSource(
                    sources=(VolumeProjection(service_account_token=ServiceAccountTokenProjection(path="t")),)
                ),
            ),
            "projected serviceAccountToken: there are no service accounts with processes as pods",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(volume, message):
    with pytest.raises(NotRunnable) as why:
        files(volume)
    assert why.value.message == message


def test_optional_sources_may_be_missing():
    assert files(config(name="none", optional=True)) == {}
    assert files(config(items=(KeyToPath(key="x", path="x"),), optional=True)) == {}


def test_a_mount_is_placed_with_its_sub_path():
    mount = VolumeMount(name="v", mount_path="/etc//conf/", sub_path="a/b", read_only=True)
    assert place(mount, "/data/v") == Placed("v", "/data/v/a/b", "/etc/conf", True)
    with pytest.raises(NotRunnable):
        place(VolumeMount(name="v", mount_path="/x", sub_path="../../etc"), "/data/v")


PLACES = [Placed("v", "/data/v", "/etc/conf", True), Placed("w", "/data/w", "/etc/conf/inner", True)]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("/etc/conf", "/data/v"),
        ("/etc/conf/file", "/data/v/file"),
        ("--file=/etc/conf/a:/etc/conf/b", "--file=/data/v/a:/data/v/b"),
        ("/etc/conf/inner/x", "/data/w/x"),
        ("/etc/config", "/etc/config"),
        ("/etc/conf.d", "/etc/conf.d"),
        ("/my/etc/conf", "/my/etc/conf"),
        ("file:///etc/conf", "file:///etc/conf"),
        ("cat '/etc/conf/a'", "cat '/data/v/a'"),
    ],
)
def test_rewriting_replaces_whole_paths_only(text, result):
    assert rewrite(text, PLACES) == result


@given(st.text())
def test_without_mounts_nothing_is_rewritten(text):
    assert rewrite(text, []) == text


def test_a_variable_name_is_made_of_the_volumes_name():
    assert variable("my-conf.d") == "DATAPLANE_MOUNT_MY_CONF_D"
