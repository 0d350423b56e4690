"""Volumes, and their mounts in containers. Pure.

Path: validate_podspec.py, validate_container.py → [validate_volumes].

Beside Knative's rules: paths inside a volume stay inside it (Kubernetes' own rule, and here a process writes them).

Source: spec/serving.md §5.3 (volumes, volumeMounts).
"""

import posixpath
from collections.abc import Iterator, Mapping, Set

from controlplane.admission.fielderror import (
    FieldError,
    disallowed,
    invalid,
    missing,
    none_of,
    other,
    several_of,
    under,
)
from controlplane.admission.names import dns1123_label
from controlplane.go_text import QUANTITY_HELP, parse_quantity
from controlplane.knative_settings import Features
from dataplane.resources.core import VolumeMount
from dataplane.resources.volumes import DownwardAPIVolumeFile, EmptyDirVolumeSource, KeyToPath, Volume, VolumeProjection

_FLAG = "kubernetes.podspec-volumes-"
_PVC, _PVC_WRITE = "kubernetes.podspec-persistent-volume-claim", "kubernetes.podspec-persistent-volume-write"
# attribute → (wire name, feature, what the message calls it); without a feature: always allowed.
_SOURCES = {
    "secret": ("secret", "", ""),
    "config_map": ("configMap", "", ""),
    "projected": ("projected", "", ""),
    "empty_dir": ("emptyDir", _FLAG + "emptydir", "EmptyDir"),
    "persistent_volume_claim": ("persistentVolumeClaim", _PVC, ""),
    "host_path": ("hostPath", _FLAG + "hostpath", "HostPath"),
    "csi": ("csi", _FLAG + "csi", "CSI"),
    "ephemeral": ("ephemeral", _FLAG + "ephemeral", "Ephemeral"),
    "image": ("image", _FLAG + "image", "Image"),
}
_RESERVED_PATHS = frozenset({"/", "/dev", "/dev/log"})
_PROPAGATION = "kubernetes.podspec-volumes-mount-propagation"


def volumes(all_volumes: tuple[Volume, ...], mounted: Set[str], features: Features) -> Iterator[FieldError]:
    """Paths are relative to `volumes`. `mounted`: names of volumes that some container mounts."""
    seen: set[str] = set()
    for index, volume in enumerate(all_volumes):
        at = f"[{index}]"
        if volume.name in seen:
            yield other(f'duplicate volume name "{volume.name:.100}"', f"{at}.name")
        if volume.name not in mounted:
            yield other(f'volume with name "{volume.name:.100}" not mounted', f"{at}.name")
        seen.add(volume.name)
        yield from under(at, _volume(volume, features))


def _volume(volume: Volume, features: Features) -> Iterator[FieldError]:
    if not volume.name:
        yield missing("name")
    elif dns1123_label(volume.name):
        yield invalid(volume.name, "name")
    yield from _claim(volume.persistent_volume_claim, features)
    present: list[str] = []
    for attribute, (wire, feature, called) in _SOURCES.items():
        if getattr(volume, attribute) is None:
            continue
        present.append(wire)
        if called and not features.enabled(feature):
            yield other(f"{called} volume support is disabled, but found {called} volume {volume.name:.100}", wire)
        if feature and not features.allowed(feature):
            yield disallowed(wire)
    if not present:
        yield none_of(*(wire for wire, flag, _ in _SOURCES.values() if not flag or features.enabled(flag)))
    elif len(present) > 1:
        yield several_of(*present)
    if volume.secret is not None:
        yield from under("secret.items", _items(volume.secret.items))
    if volume.config_map is not None:
        yield from under("configMap.items", _items(volume.config_map.items))
    if volume.projected is not None:
        for index, source in enumerate(volume.projected.sources):
            yield from under(f"projected.sources[{index}]", _projection(source))
    if volume.empty_dir is not None:
        yield from under("emptyDir", _empty_dir(volume.empty_dir))
    if volume.image is not None:
        yield from under("image", _image(volume.image))


def _claim(claim: Mapping[str, object] | None, features: Features) -> Iterator[FieldError]:
    if claim is None:
        return
    name, path = claim.get("claimName", ""), "persistentVolumeClaim"
    if not features.enabled(_PVC):
        yield other(
            f"Persistent volume claim support is disabled, but found persistent volume claim {name!s:.100}", path
        )
    if not claim.get("readOnly") and not features.enabled(_PVC_WRITE):
        yield other(
            "Persistent volume write support is disabled, "
            f"but found persistent volume claim {name!s:.100} that is not read-only",
            path,
        )


def _empty_dir(source: EmptyDirVolumeSource) -> Iterator[FieldError]:
    if source.medium not in ("", "Memory"):
        yield invalid(source.medium, "medium")
    if source.size_limit is not None:
        try:
            if parse_quantity(source.size_limit) < 0:
                yield invalid(source.size_limit, "sizeLimit")
        except ValueError:
            yield invalid(source.size_limit, "sizeLimit", QUANTITY_HELP)


def _image(source: Mapping[str, object]) -> Iterator[FieldError]:
    if not source.get("reference"):
        yield missing("reference")
    if source.get("pullPolicy", "") not in ("", "Always", "IfNotPresent", "Never"):
        yield invalid(source.get("pullPolicy"), "pullPolicy")


def _projection(source: VolumeProjection) -> Iterator[FieldError]:
    present: list[str] = []
    for wire, item in (("secret", source.secret), ("configMap", source.config_map)):
        if item is not None:
            present.append(wire)
            if not item.name:
                yield missing(f"{wire}.name")
            yield from under(f"{wire}.items", _items(item.items))
    if source.service_account_token is not None:
        present.append("serviceAccountToken")
        yield from under("serviceAccountToken", _relative(source.service_account_token.path))
    if source.downward_api is not None:
        present.append("downwardAPI")
        for index, file in enumerate(source.downward_api.items):
            yield from under(f"downwardAPI.items[{index}]", _downward_file(file))
    if not present:
        yield none_of("secret", "configMap", "serviceAccountToken", "downwardAPI")
    elif len(present) > 1:
        yield several_of(*present)


def _downward_file(file: DownwardAPIVolumeFile) -> Iterator[FieldError]:
    if file.field_ref is None and file.resource_field_ref is None:
        yield none_of("fieldRef", "resourceFieldRef")
    if file.field_ref is not None and file.resource_field_ref is not None:
        yield other("Within a single item, cannot set both", "resourceFieldRef", "fieldRef")
    yield from _relative(file.path)


def _items(items: tuple[KeyToPath, ...]) -> Iterator[FieldError]:
    for index, item in enumerate(items):
        if not item.key:
            yield missing(f"[{index}].key")
        yield from under(f"[{index}]", _relative(item.path))


def _relative(path: str) -> Iterator[FieldError]:
    """A file inside the volume."""
    if not path:
        yield missing("path")
    elif path.startswith("/") or "\0" in path:
        yield invalid(path, "path", "must be a relative path")
    elif ".." in path.split("/"):
        yield invalid(path, "path", "must not contain '..'")


def volume_mounts(
    mounts: tuple[VolumeMount, ...], by_name: Mapping[str, Volume], features: Features
) -> Iterator[FieldError]:
    """Paths are relative to `volumeMounts`."""
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        volume = by_name.get(mount.name)
        yield from under(f"[{index}]", _mount(mount, volume, seen, features))
        seen.add(posixpath.normpath(mount.mount_path))


def _mount(mount: VolumeMount, volume: Volume | None, seen: set[str], features: Features) -> Iterator[FieldError]:
    if volume is None:
        yield other("volumeMount has no matching volume", "name")
    clean = posixpath.normpath(mount.mount_path)
    if not mount.mount_path:
        yield missing("mountPath")
    elif clean in _RESERVED_PATHS:
        yield other(f'mountPath "{clean}" is a reserved path', "mountPath")
    elif not mount.mount_path.startswith("/") or "\0" in mount.mount_path:
        yield invalid(mount.mount_path, "mountPath")
    elif clean in seen:
        yield invalid(f'"{mount.mount_path}" must be unique', "mountPath")
    if mount.sub_path.startswith("/") or ".." in mount.sub_path.split("/"):
        yield invalid(mount.sub_path, "subPath", "must be a relative path without '..'")
    claim = volume.persistent_volume_claim if volume else None
    writable = volume is not None and (
        volume.empty_dir is not None or claim is not None or volume.ephemeral is not None
    )
    if not writable and not mount.read_only:
        yield other("volume mount should be readOnly for this type of volume", "readOnly")
    if mount.mount_propagation:
        if not features.enabled(_PROPAGATION):
            message = (
                "Volume Mount Propagation support is disabled, but found volume mount {:.100} with mount propagation"
            )
            yield other(message.format(mount.name), "mountPropagation")
        if not features.allowed(_PROPAGATION):
            yield disallowed("mountPropagation")
        if mount.mount_propagation not in ("None", "HostToContainer"):
            yield other("mount propagation should be set to None or HostToContainer", "mountPropagation")
    if claim is not None and claim.get("readOnly") and not mount.read_only:
        yield other("volume is readOnly but volume mount is not", "readOnly")
