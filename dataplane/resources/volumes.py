"""Volumes of a pod, and where what is in them comes from: the part of core/v1 that a Knative revision may use.

Source: Kubernetes core/v1; spec/serving.md §5.3, §12.8.
"""

import msgspec

from dataplane.resources.meta import Model

IntOrString = int | str


class ObjectFieldSelector(Model, frozen=True, kw_only=True):
    api_version: str = ""
    field_path: str = ""


class ResourceFieldSelector(Model, frozen=True, kw_only=True):
    container_name: str = ""
    resource: str = ""
    divisor: IntOrString = ""


class KeyToPath(Model, frozen=True, kw_only=True):
    key: str
    path: str
    mode: int | None = None


class ConfigMapVolumeSource(Model, frozen=True, kw_only=True):
    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool = False


class SecretVolumeSource(Model, frozen=True, kw_only=True):
    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool = False


class EmptyDirVolumeSource(Model, frozen=True, kw_only=True):
    medium: str = ""
    size_limit: IntOrString | None = None


class DownwardAPIVolumeFile(Model, frozen=True, kw_only=True):
    path: str
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    mode: int | None = None


class DownwardAPIProjection(Model, frozen=True, kw_only=True):
    items: tuple[DownwardAPIVolumeFile, ...] = ()


class ServiceAccountTokenProjection(Model, frozen=True, kw_only=True):
    audience: str = ""
    expiration_seconds: int | None = None
    path: str = ""


class ProjectedItem(Model, frozen=True, kw_only=True):
    """Of a projected volume: like LocalObjectReference with items."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False


class VolumeProjection(Model, frozen=True, kw_only=True):
    secret: ProjectedItem | None = None
    config_map: ProjectedItem | None = None
    downward_api: DownwardAPIProjection | None = msgspec.field(default=None, name="downwardAPI")
    service_account_token: ServiceAccountTokenProjection | None = None


class ProjectedVolumeSource(Model, frozen=True, kw_only=True):
    sources: tuple[VolumeProjection, ...] = ()
    default_mode: int | None = None


class Volume(Model, frozen=True, kw_only=True):
    name: str = ""
    config_map: ConfigMapVolumeSource | None = None
    secret: SecretVolumeSource | None = None
    empty_dir: EmptyDirVolumeSource | None = None
    projected: ProjectedVolumeSource | None = None
    persistent_volume_claim: dict[str, object] | None = None
    host_path: dict[str, object] | None = None
    csi: dict[str, object] | None = None
    ephemeral: dict[str, object] | None = None
    image: dict[str, object] | None = None
