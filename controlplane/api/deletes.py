"""What a delete writes: the object, or a mark on it, and what its propagation policy says about dependents. Pure.

Path: objects → [deletes] → one commit.

Pods are marked (the kubelet drains them and removes them), so is whatever has finalizers. Dependents are deleted by the
reconcilers when their owner is gone (Background). Orphan takes the reference to the owner off them in the same commit.
Foreground marks the owner with a finalizer; the reconciler deletes the dependents and takes it off when they are gone.
A namespace takes its contents with it.

Source: Kubernetes "Garbage collection", "Finalizers"; reliability.md CP-08.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from controlplane.api import status
from controlplane.store.contract import Delete, Key, Put, Store, Write
from dataplane.resources import core
from dataplane.resources.kinds import BY_STRUCT, KINDS, Kind
from dataplane.resources.meta import Resource

GRACE_S = 30  # of a pod that says nothing
FOREGROUND = "foregroundDeletion"  # Kubernetes' name of the finalizer
KEPT_NAMESPACES = frozenset({"default", "knative-serving", "knative-eventing"})

Policy = Literal["Background", "Foreground", "Orphan"]
_POLICIES: dict[str, Policy] = {"Background": "Background", "Foreground": "Foreground", "Orphan": "Orphan"}
Mark = Callable[[Resource, int | None], Resource]  # sets deletionTimestamp and grace


class Options(NamedTuple):
    grace_s: int | None = None
    policy: Policy = "Background"
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


def options(body: Any, query: dict[str, str]) -> Options:
    """From a DeleteOptions body (or nothing) over the query. Raises ApiError 400, 422."""
    given = body if isinstance(body, dict) else {}
    preconditions = given.get("preconditions") or {}
    policy = given.get("propagationPolicy") or query.get("propagationPolicy")
    if not policy:
        policy = "Orphan" if given.get("orphanDependents") or query.get("orphanDependents") == "true" else "Background"
    grace = given.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    if policy not in _POLICIES:
        raise status.bad_request(f'propagationPolicy: unsupported value "{policy}": Background, Foreground or Orphan')
    if grace is not None and not (str(grace).isdecimal() and len(str(grace)) < 10):
        raise status.bad_request("gracePeriodSeconds is a number of seconds")
    if not isinstance(preconditions, dict):
        raise status.bad_request("preconditions is an object")
    dry = given.get("dryRun") or ([query["dryRun"]] if "dryRun" in query else [])
    if dry not in ([], ["All"]):
        raise status.bad_request("dryRun: only All is supported")
    return Options(
        grace_s=None if grace is None else int(grace),
        policy=_POLICIES[policy],
        uid=str(preconditions.get("uid") or ""),
        resource_version=str(preconditions.get("resourceVersion") or ""),
        dry_run=bool(dry),
    )


def check(kind: Kind, one: Resource, wanted: Options) -> None:
    """Raises ApiError 409 when a precondition does not hold, 403 for what must stay."""
    meta = one.metadata
    if wanted.uid and wanted.uid != meta.uid:
        why = f"Precondition failed: UID in precondition: {wanted.uid}, UID in object meta: {meta.uid}"
        raise status.conflict(kind, meta.name, why)
    if wanted.resource_version and wanted.resource_version != meta.resource_version:
        why = (
            f"Precondition failed: ResourceVersion in precondition: {wanted.resource_version}, "
            f"ResourceVersion in object meta: {meta.resource_version}"
        )
        raise status.conflict(kind, meta.name, why)
    if isinstance(one, core.Namespace) and meta.name in KEPT_NAMESPACES:
        raise status.forbidden(f'namespaces "{meta.name}" is forbidden: this namespace may not be deleted')


def plan(store: Store, one: Resource, wanted: Options, mark: Mark) -> list[Write]:
    """The writes of one delete; the first is about the object itself."""
    writes = [_end(one, wanted, mark)]
    if isinstance(one, core.Namespace):
        contents = _everything(store, one.metadata.name)
        writes += [_end(inner, Options(), mark) for inner in contents]
    elif wanted.policy == "Orphan":
        for dependent in _dependents(store, one):
            refs = tuple(ref for ref in dependent.metadata.owner_references if ref.uid != one.metadata.uid)
            meta = msgspec.structs.replace(dependent.metadata, owner_references=refs)
            writes.append(_put(dependent, msgspec.structs.replace(dependent, metadata=meta)))
    return writes


def _end(one: Resource, wanted: Options, mark: Mark) -> Write:
    if isinstance(one, core.Pod):
        own = one.spec.termination_grace_period_seconds
        return _put(one, mark(one, wanted.grace_s if wanted.grace_s is not None else GRACE_S if own is None else own))
    if wanted.policy == "Foreground" and FOREGROUND not in one.metadata.finalizers:
        finalizers = (*one.metadata.finalizers, FOREGROUND)
        marked = msgspec.structs.replace(one, metadata=msgspec.structs.replace(one.metadata, finalizers=finalizers))
        return _put(one, mark(marked, None))
    if one.metadata.finalizers:
        return _put(one, mark(one, None))
    return Delete(_key(one), one.metadata.resource_version)


def _put(old: Resource, new: Resource) -> Put:
    return Put(_key(old), new, old.metadata.resource_version)


def _key(one: Resource) -> Key:
    kind = BY_STRUCT[type(one)]
    return Key(kind.group, kind.kind, one.metadata.namespace, one.metadata.name)


def _dependents(store: Store, owner: Resource) -> Iterator[Resource]:
    uid = owner.metadata.uid
    for one in _everything(store, owner.metadata.namespace or None):
        if any(ref.uid == uid for ref in one.metadata.owner_references):
            yield one


def _everything(store: Store, namespace: str | None) -> Iterable[Resource]:
    for kind in KINDS:
        if kind.namespaced:
            yield from store.objects(kind.group, kind.kind, namespace)
