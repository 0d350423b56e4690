"""What volumes contain and where containers see them. Pure.

Path: Pod.spec.volumes, volumeMounts → [volumes] → materialise.py, compose.py.

Source: spec/serving.md §12.8; Kubernetes core/v1 volumes.
"""

import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from controlplane.go_text import parse_quantity
from controlplane.kubelet.references import References
from controlplane.kubelet.refusal import CONFIG_ERROR, NotRunnable
from dataplane.resources.core import Container, VolumeMount
from dataplane.resources.volumes import DownwardAPIVolumeFile, KeyToPath, Volume, VolumeProjection

FILE_MODE = 0o644


class File(NamedTuple):
    data: bytes
    mode: int


class Content(NamedTuple):
    """`files` by relative path; None = an emptyDir, that the containers of the pod share and write."""

    files: dict[str, File] | None
    size_bytes: int = 0  # of an emptyDir; 0 = no limit


def content(volume: Volume, refs: References) -> Content:
    """Raises NotRunnable: something that is not optional is missing, or a kind that does not exist here."""
    if volume.empty_dir is not None:
        return Content(None, int(parse_quantity(volume.empty_dir.size_limit or 0)))
    if (cm := volume.config_map) is not None:
        data = refs.config_map(cm.name, optional=cm.optional)
        return Content(_chosen(data, cm.items, cm.default_mode, cm.optional, f"configmap {cm.name}"))
    if (secret := volume.secret) is not None:
        data = refs.secret(secret.secret_name, optional=secret.optional)
        where = f"secret {secret.secret_name}"
        return Content(_chosen(data, secret.items, secret.default_mode, secret.optional, where))
    if volume.projected is not None:
        files: dict[str, File] = {}
        for source in volume.projected.sources:
            files |= _projected(source, volume.projected.default_mode, refs)
        return Content(files)
    kind = next((n for n in _FOREIGN if getattr(volume, n) is not None), "without a source")
    raise NotRunnable(CONFIG_ERROR, f'volume "{volume.name}": {kind} does not exist with processes as pods')


_FOREIGN = ("persistent_volume_claim", "host_path", "csi", "ephemeral", "image")


def _projected(source: VolumeProjection, mode: int | None, refs: References) -> dict[str, File]:
    if (cm := source.config_map) is not None:
        data = refs.config_map(cm.name, optional=cm.optional)
        return _chosen(data, cm.items, mode, cm.optional, f"configmap {cm.name}")
    if (secret := source.secret) is not None:
        data = refs.secret(secret.name, optional=secret.optional)
        return _chosen(data, secret.items, mode, secret.optional, f"secret {secret.name}")
    if source.downward_api is not None:
        return {_inside(item.path): _downward(item, mode, refs) for item in source.downward_api.items}
    raise NotRunnable(
        CONFIG_ERROR, "projected serviceAccountToken: there are no service accounts with processes as pods"
    )


def _downward(item: DownwardAPIVolumeFile, mode: int | None, refs: References) -> File:
    if item.field_ref is not None:
        text = refs.field(item.field_ref)
    elif item.resource_field_ref is not None:
        text = refs.resource(item.resource_field_ref, None)
    else:
        text = ""
    return File(text.encode(), _mode(item.mode, mode))


def _chosen(
    data: Mapping[str, bytes] | None, items: Iterable[KeyToPath], mode: int | None, optional: bool, where: str
) -> dict[str, File]:
    data = data or {}
    items = tuple(items)
    if not items:
        return {_inside(key): File(value, _mode(None, mode)) for key, value in data.items()}
    files = {}
    for item in items:
        if item.key in data:
            files[_inside(item.path)] = File(data[item.key], _mode(item.mode, mode))
        elif not optional:
            raise NotRunnable(CONFIG_ERROR, f"{where} has no key {item.key}")
    return files


def _mode(own: int | None, default: int | None) -> int:
    """Never a set-id bit, and the owner may read: the process that writes it must."""
    return ((own if own is not None else default if default is not None else FILE_MODE) & 0o777) | 0o400


def _inside(path: str) -> str:
    """Raises NotRunnable for a path that would leave the volume."""
    clean = posixpath.normpath(path)
    if path.startswith("/") or clean.split("/")[0] in ("..", ".", "..data"):
        raise NotRunnable(CONFIG_ERROR, f"path {path!r} does not stay inside its volume")
    return clean


class Placed(NamedTuple):
    """A volume in a container. source: absolute path on this machine."""

    name: str
    source: str
    target: str
    read_only: bool


def place(mount: VolumeMount, folder: str) -> Placed:
    """`folder`: where the volume was made. Raises NotRunnable for a subPath that would leave it."""
    source = folder
    if mount.sub_path:
        source = posixpath.join(folder, _inside(mount.sub_path))
    target = posixpath.normpath(posixpath.join("/", mount.mount_path))
    return Placed(mount.name, source, target, mount.read_only)


def variable(name: str) -> str:
    """The environment variable that tells a program where a volume is, however it is mounted."""
    return "DATAPLANE_MOUNT_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def rewrite(text: str, places: Iterable[Placed]) -> str:
    """Mount paths in a text → where the volumes really are: for machines without private mounts."""
    by_target = {one.target: one.source for one in places}
    if not by_target:
        return text
    longest_first = sorted(by_target, key=len, reverse=True)
    pattern = r"(?<![\w./-])(" + "|".join(map(re.escape, longest_first)) + r")(?![\w.-])"
    return re.sub(pattern, lambda found: by_target[found[1]], text)


def used(containers: Iterable[Container]) -> set[str]:
    """Names of volumes that some container mounts."""
    return {mount.name for container in containers for mount in container.volume_mounts}
