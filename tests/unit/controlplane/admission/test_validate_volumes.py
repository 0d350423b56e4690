"""Volumes and their mounts (§5.3)."""

import pytest

from controlplane.admission.validate_volumes import volume_mounts
from controlplane.knative_config import KnativeConfig
from dataplane.resources.core import VolumeMount
from dataplane.resources.volumes import SecretVolumeSource, Volume

FLAG = "kubernetes.podspec-volumes-"


def errors(judge, volume, mount=None, features=None):
    name = volume.get("name", "v")
    mounts = [{"name": name, "mountPath": "/data", **(mount or {})}]
    config = {"config-features": features} if features else None
    said = judge.pod_errors(config, container={"volumeMounts": mounts}, volumes=[{"name": name, **volume}])
    return [text.replace("S.volumes[0]", "V").replace("S.containers[0].volumeMounts[0]", "M") for text in said]


@pytest.mark.parametrize(
    "source",
    [
        {"secret": {"secretName": "s"}},
        {"configMap": {"name": "c", "items": [{"key": "a", "path": "sub/b"}]}},
        {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"emptyDir": {}},
        {"projected": {"sources": [{"secret": {"name": "s"}}, {"serviceAccountToken": {"path": "token"}}]}},
        {"projected": {"sources": [{"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "x"}}]}}]}},
    ],
)
def test_volumes_that_are_allowed(judge, source):
    assert errors(judge, source) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            {"hostPath": {"path": "/"}},
            [
                "HostPath volume support is disabled, but found HostPath volume v: V.hostPath",
                "must not set the field(s): V.hostPath",
            ],
        ),
        (
            {"csi": {"driver": "d"}},
            ["CSI volume support is disabled, but found CSI volume v: V.csi", "must not set the field(s): V.csi"],
        ),
        (
            {"ephemeral": {}},
            [
                "Ephemeral volume support is disabled, but found Ephemeral volume v: V.ephemeral",
                "must not set the field(s): V.ephemeral",
            ],
        ),
        (
            {"image": {"reference": "a/b"}},
            [
                "Image volume support is disabled, but found Image volume v: V.image",
                "must not set the field(s): V.image",
            ],
        ),
        (
            {"persistentVolumeClaim": {"claimName": "c"}},
            [
                "Persistent volume claim support is disabled, but found persistent volume claim c: "
                "V.persistentVolumeClaim",
                "Persistent volume write support is disabled, but found persistent volume claim c that is not "
                "read-only: V.persistentVolumeClaim",
                "must not set the field(s): V.persistentVolumeClaim",
            ],
        ),
        ({}, ["expected exactly one, got neither: V.configMap, V.emptyDir, V.projected, V.secret"]),
        (
            {"secret": {"secretName": "s"}, "configMap": {"name": "c"}},
            ["expected exactly one, got both: V.configMap, V.secret"],
        ),
        ({"emptyDir": {"medium": "Disk"}}, ["invalid value: Disk: V.emptyDir.medium"]),
        ({"emptyDir": {"sizeLimit": "-1Mi"}}, ["invalid value: -1Mi: V.emptyDir.sizeLimit"]),
        (
            {"projected": {"sources": [{}]}},
            [
                "expected exactly one, got neither: V.projected.sources[0].configMap, "
                "V.projected.sources[0].downwardAPI, V.projected.sources[0].secret, "
                "V.projected.sources[0].serviceAccountToken"
            ],
        ),
        (
            {"projected": {"sources": [{"secret": {}, "configMap": {"name": "c"}}]}},
            [
                "expected exactly one, got both: V.projected.sources[0].configMap, V.projected.sources[0].secret",
                "missing field(s): V.projected.sources[0].secret.name",
            ],
        ),
        (
            {"projected": {"sources": [{"downwardAPI": {"items": [{"path": "p"}]}}]}},
            [
                "expected exactly one, got neither: V.projected.sources[0].downwardAPI.items[0].fieldRef, "
                "V.projected.sources[0].downwardAPI.items[0].resourceFieldRef"
            ],
        ),
        (
            {"secret": {"items": [{"key": "", "path": ""}]}},
            ["missing field(s): V.secret.items[0].key, V.secret.items[0].path"],
        ),
        (
            {"secret": {"items": [{"key": "k", "path": "../../etc/passwd"}]}},
            ["invalid value: ../../etc/passwd: V.secret.items[0].path\nmust not contain '..'"],
        ),
        (
            {"configMap": {"items": [{"key": "k", "path": "/etc/passwd"}]}},
            ["invalid value: /etc/passwd: V.configMap.items[0].path\nmust be a relative path"],
        ),
        ({"name": "Bad", "emptyDir": {}}, ["invalid value: Bad: V.name"]),
    ],
)
def test_volumes_that_are_not(judge, source, said):
    assert errors(judge, source) == said


@pytest.mark.parametrize("kind", ["hostPath", "csi", "ephemeral"])
def test_a_feature_allows_its_volume(judge, kind):
    assert errors(judge, {kind: {"x": 1}}, features={FLAG + kind.lower(): "enabled"}) == []


def test_names_are_unique_and_volumes_are_mounted(judge):
    mounts = [{"name": "a", "mountPath": "/a"}]
    said = judge.pod_errors(
        container={"volumeMounts": mounts},
        volumes=[{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}],
    )
    assert said == [
        'duplicate volume name "a": S.volumes[1].name',
        'volume with name "b" not mounted: S.volumes[2].name',
    ]


@pytest.mark.parametrize(
    ("mount", "error"),
    [
        ({"mountPath": ""}, "missing field(s): M.mountPath"),
        ({"mountPath": "/"}, 'mountPath "/" is a reserved path: M.mountPath'),
        ({"mountPath": "/dev/"}, 'mountPath "/dev" is a reserved path: M.mountPath'),
        ({"mountPath": "/dev/log"}, 'mountPath "/dev/log" is a reserved path: M.mountPath'),
        ({"mountPath": "data"}, "invalid value: data: M.mountPath"),
        ({"subPath": "../x"}, "invalid value: ../x: M.subPath\nmust be a relative path without '..'"),
    ],
)
def test_mounts(judge, mount, error):
    assert errors(judge, {"emptyDir": {}}, mount) == [error]


def test_a_mount_needs_its_volume_and_a_path_of_its_own(judge):
    mounts = [{"name": "a", "mountPath": "/a"}, {"name": "a", "mountPath": "/a/"}, {"name": "b", "mountPath": "/b"}]
    said = judge.pod_errors(container={"volumeMounts": mounts}, volumes=[{"name": "a", "emptyDir": {}}])
    assert said == [
        'invalid value: "/a/" must be unique: S.containers[0].volumeMounts[1].mountPath',
        "volumeMount has no matching volume: S.containers[0].volumeMounts[2].name",
    ]


def test_what_is_not_scratch_space_is_read_only_by_default_and_must_be(judge):
    volume = Volume(name="v", secret=SecretVolumeSource(secret_name="s"))
    mount = VolumeMount(name="v", mount_path="/v")
    said = [str(error) for error in volume_mounts((mount,), {"v": volume}, KnativeConfig().features)]
    assert said == ["volume mount should be readOnly for this type of volume: [0].readOnly"]


def test_mount_propagation_needs_its_feature(judge):
    assert errors(judge, {"emptyDir": {}}, {"mountPropagation": "Bidirectional"}) == [
        "Volume Mount Propagation support is disabled, but found volume mount v with mount propagation: "
        "M.mountPropagation",
        "mount propagation should be set to None or HostToContainer: M.mountPropagation",
        "must not set the field(s): M.mountPropagation",
    ]
    on = {FLAG + "mount-propagation": "enabled"}
    assert errors(judge, {"emptyDir": {}}, {"mountPropagation": "HostToContainer"}, on) == []


def test_a_read_only_claim_is_mounted_read_only(judge):
    on = {"kubernetes.podspec-persistent-volume-claim": "enabled"}
    claim = {"persistentVolumeClaim": {"claimName": "c", "readOnly": True}}
    assert errors(judge, claim, features=on) == ["volume is readOnly but volume mount is not: M.readOnly"]
    assert errors(judge, claim, {"readOnly": True}, on) == []
