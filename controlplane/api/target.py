"""What a path names: a kind, all of it or a namespace's, one object, or a part of one. Pure.

Path: app (aiohttp's router gives group, version, tail) → [target] → objects, watch, logs.

Source: Kubernetes API concepts, "Resource URIs".
"""

from typing import NamedTuple

from controlplane.store.contract import Key
from dataplane.resources.kinds import KINDS, Kind
from dataplane.resources.meta import Resource

BY_PLURAL: dict[tuple[str, str, str], Kind] = {(k.group, k.version, k.plural): k for k in KINDS}


class Target(NamedTuple):
    """namespace "": every namespace, or a cluster-scoped kind. name "": the collection. subresource "": the object."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def key(self, name: str = "") -> Key:
        return Key(self.kind.group, self.kind.kind, self.namespace, name or self.name)


def parse(group: str, version: str, tail: str) -> Target | None:
    """`tail`: what follows the group and version, decoded. None: no such resource."""
    parts = tail.strip("/").split("/")
    namespace = ""
    if parts[0] == "namespaces" and len(parts) >= 3 and (group, version, parts[2]) in BY_PLURAL:
        namespace, parts = parts[1], parts[2:]
        if not namespace:
            return None
    kind = BY_PLURAL.get((group, version, parts[0]))
    if kind is None or len(parts) > 3 or (namespace and not kind.namespaced) or "" in parts:
        return None
    name, subresource = (*parts[1:], "", "")[:2]
    if name and kind.namespaced and not namespace:
        return None
    if subresource and not ((subresource == "status" and kind.status) or (subresource == "log" and kind.kind == "Pod")):
        return None
    return Target(kind, namespace, name, subresource)


def key_of(kind: Kind, one: Resource) -> Key:
    return Key(kind.group, kind.kind, one.metadata.namespace, one.metadata.name)
