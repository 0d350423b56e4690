"""What a pod's environment and volumes refer to: ConfigMaps, Secrets, and fields of the pod itself. Pure.

Path: store → [references] → environment.py, volumes.py.

Source: Kubernetes core/v1 (EnvVarSource, downward API); spec/serving.md §12.1, §12.8.
"""

import base64
import binascii
import math
import re
from collections.abc import Callable

from controlplane.go_text import parse_quantity
from controlplane.kubelet.refusal import CONFIG_ERROR, NotRunnable
from controlplane.store.contract import Key
from dataplane.resources.core import ConfigMap, Container, Pod, Secret
from dataplane.resources.meta import Resource
from dataplane.resources.volumes import ObjectFieldSelector, ResourceFieldSelector

Get = Callable[[Key], Resource | None]
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")
_RESOURCE = re.compile(r"(requests|limits)\.(cpu|memory|ephemeral-storage)")


class References:
    """Of one pod. `seen` collects the keys that were asked for: a change of one of them concerns the pod."""

    def __init__(self, pod: Pod, get: Get) -> None:
        self._pod = pod
        self._get = get
        self.seen: set[Key] = set()

    @property
    def namespace(self) -> str:
        return self._pod.metadata.namespace

    def config_map(self, name: str, *, optional: bool) -> dict[str, bytes] | None:
        """Its data; None when it is missing and optional. Raises NotRunnable."""
        found = self._find("ConfigMap", name)
        if not isinstance(found, ConfigMap):
            self._missing("configmap", name, optional)
            return None
        data = {key: value.encode("utf-8", "surrogateescape") for key, value in found.data.items()}
        return data | {key: _decoded(value) for key, value in found.binary_data.items()}

    def secret(self, name: str, *, optional: bool) -> dict[str, bytes] | None:
        """Its data, decoded; None when it is missing and optional. Raises NotRunnable."""
        found = self._find("Secret", name)
        if not isinstance(found, Secret):
            self._missing("secret", name, optional)
            return None
        data = {key: _decoded(value) for key, value in found.data.items()}
        return data | {key: value.encode() for key, value in found.string_data.items()}

    def field(self, selector: ObjectFieldSelector) -> str:
        """Raises NotRunnable for a path that the downward API does not know."""
        pod, path = self._pod, selector.field_path
        meta = pod.metadata
        plain = {
            "metadata.name": meta.name,
            "metadata.namespace": meta.namespace,
            "metadata.uid": meta.uid,
            "spec.nodeName": "localhost",
            "spec.serviceAccountName": pod.spec.service_account_name or "default",
            "status.podIP": "127.0.0.1",
            "status.podIPs": "127.0.0.1",
            "status.hostIP": "127.0.0.1",
            "status.hostIPs": "127.0.0.1",
        }
        if path in plain:
            return plain[path]
        if path in ("metadata.labels", "metadata.annotations"):
            entries = meta.labels if path.endswith("labels") else meta.annotations
            return "\n".join(f'{key}="{entries[key]}"' for key in sorted(entries))
        if found := _SUBSCRIPT.fullmatch(path):
            entries = meta.labels if found[1] == "labels" else meta.annotations
            return entries.get(found[2], "")
        raise NotRunnable(CONFIG_ERROR, f"unsupported fieldPath: {path}")

    def resource(self, selector: ResourceFieldSelector, default: Container | None) -> str:
        """In units of the divisor, rounded up. Raises NotRunnable."""
        containers = (*self._pod.spec.containers, *self._pod.spec.init_containers)
        named = next((c for c in containers if c.name == selector.container_name), default)
        found = _RESOURCE.fullmatch(selector.resource)
        if named is None or found is None:
            raise NotRunnable(CONFIG_ERROR, f"unsupported resourceFieldRef: {selector.resource}")
        amounts = named.resources.limits if found[1] == "limits" else named.resources.requests
        value = parse_quantity(amounts.get(found[2], 0))
        divisor = parse_quantity(selector.divisor or 1) or 1.0
        return str(math.ceil(value / divisor))

    def _find(self, kind: str, name: str) -> Resource | None:
        key = Key("", kind, self._pod.metadata.namespace, name)
        self.seen.add(key)
        return self._get(key)

    def _missing(self, kind: str, name: str, optional: bool) -> None:
        if not optional:
            raise NotRunnable(CONFIG_ERROR, f'{kind} "{name}" not found')


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return b""  # admission refuses these; a value never shows in a message
