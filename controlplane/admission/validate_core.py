"""ConfigMaps, Secrets, Namespaces, Pods and what else there is beside Knative's kinds. Pure.

Path: admit.py → [validate_core].

A ConfigMap of Knative's own (`config-autoscaler` … in namespace knative-serving, `config-br-defaults` in
knative-eventing) must parse: a bad one is refused when it is written, and whoever runs keeps the values before it.
Values of Secrets never appear in a message.

Source: spec/serving.md §13 (last line), §12.1; Kubernetes core/v1.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping

from controlplane import broker_defaults, config_maps, knative_settings
from controlplane.admission.fielderror import FieldError, invalid, missing, other, under
from controlplane.admission.fields import difference
from controlplane.admission.names import config_key, dns1123_label, dns1123_subdomain
from controlplane.admission.validate_metadata import complaints
from dataplane.errors import ConfigFault
from dataplane.resources.core import ConfigMap, Namespace, Pod, Secret
from dataplane.resources.meta import ObjectMeta, Resource

DATA_BYTES_MAX = 1024 * 1024  # Kubernetes' bound for one ConfigMap or Secret
_IMMUTABLE = "field is immutable when `immutable` is set"


def name(meta: ObjectMeta, *, label: bool = False) -> Iterator[FieldError]:
    """Relative to `metadata`. A DNS subdomain, or a label where only one dot-free word will do."""
    check = dns1123_label if label else dns1123_subdomain
    if meta.name:
        if wrong := check(meta.name):
            yield invalid(meta.name, "name", ", ".join(wrong))
    elif not meta.generate_name:
        yield other("name or generateName is required", "name")


def config_map(new: ConfigMap, old: ConfigMap | None) -> Iterator[FieldError]:
    yield from under("metadata", name(new.metadata))
    yield from under("data", _keys(new.data))
    yield from under("binaryData", _keys(new.binary_data))
    yield from under("binaryData", _base64(new.binary_data, "put plain text under data"))
    for key in sorted(new.data.keys() & new.binary_data.keys()):
        yield other(f'the key "{key}" is in data and in binaryData', f"data[{key}]", f"binaryData[{key}]")
    yield from _size({**new.data, **new.binary_data})
    if old is not None and old.immutable:
        yield from _frozen(old.data != new.data or old.binary_data != new.binary_data, new.immutable, "data")
    meta = new.metadata
    of_serving = meta.namespace == knative_settings.NAMESPACE and meta.name in config_maps.NAMES
    if of_serving or (meta.namespace, meta.name) == (broker_defaults.NAMESPACE, broker_defaults.NAME):
        try:
            config_maps.parse({meta.name: new.data})
        except ConfigFault as fault:
            yield other(f"invalid configuration: {fault}", "data")


def secret(new: Secret, old: Secret | None) -> Iterator[FieldError]:
    """`stringData` is already folded into `data` (defaults.py)."""
    yield from under("metadata", name(new.metadata))
    yield from under("data", _keys(new.data))
    yield from under("data", _base64(new.data, "put plain text under stringData"))
    yield from _size(new.data)
    if old is not None:
        if old.type != new.type:
            yield other("field is immutable", "type")
        if old.immutable:
            yield from _frozen(old.data != new.data, new.immutable, "data")


def namespace(new: Namespace) -> Iterator[FieldError]:
    yield from under("metadata", name(new.metadata, label=True))


def pod(new: Pod, old: Pod | None, *, internal: bool) -> Iterator[FieldError]:
    yield from under("metadata", name(new.metadata))
    if old is not None and not internal and new.spec != old.spec:
        yield other("Immutable fields changed (-old +new)", "spec", details=difference(old.spec, new.spec))
    if not new.spec.containers:
        yield missing("spec.containers")
    seen: set[str] = set()
    groups = (("containers", new.spec.containers), ("initContainers", new.spec.init_containers))
    for path, index, one in ((group, at, each) for group, members in groups for at, each in enumerate(members)):
        where = f"spec.{path}[{index}]"
        if not one.name:
            yield missing(f"{where}.name")
        elif wrong := dns1123_label(one.name):
            yield invalid(one.name, f"{where}.name", ", ".join(wrong))
        elif one.name in seen:
            yield other(f'duplicate container name "{one.name}"', f"{where}.name")
        seen.add(one.name)
        if not one.image and not one.command:
            yield missing(f"{where}.image")


def anything(new: Resource) -> Iterator[FieldError]:
    """Kinds without rules of their own."""
    yield from under("metadata", name(new.metadata))


def _keys(data: Mapping[str, str]) -> Iterator[FieldError]:
    for key in data:
        if wrong := config_key(key):
            yield invalid(f"{key:.100}", f"[{key:.100}]", complaints(wrong))


def _base64(data: Mapping[str, str], hint: str) -> Iterator[FieldError]:
    for key, text in data.items():
        try:
            base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            yield other(f"not base64 ({hint})", f"[{key:.100}]")


def _size(data: Mapping[str, str]) -> Iterator[FieldError]:
    size = sum(len(key) + len(text.encode("utf-8", "surrogatepass")) for key, text in data.items())
    if size > DATA_BYTES_MAX:
        yield other(f"Too long: may not be more than {DATA_BYTES_MAX} bytes, is {size}", "data")


def _frozen(changed: bool, immutable: bool | None, path: str) -> Iterator[FieldError]:
    if changed:
        yield other(_IMMUTABLE, path)
    if not immutable:
        yield other(_IMMUTABLE, "immutable")
