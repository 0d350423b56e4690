"""What an owner leaves behind goes too: cascade delete, finalizers respected, pods drained first.

Path: api (delete) → store → [ownership] → store, kubelet.

A dependent goes when the last of its owners is gone. Everything below it goes in the same commit, so that a deleted
Service disappears at once and for good.

Source: spec/serving.md §1.6; reliability.md CP-08; Kubernetes garbage collection.
"""

from typing import Any

from msgspec.structs import replace

from controlplane.reconcile.outcome import NOTHING, Outcome, key_of, update
from controlplane.reconcile.replicas import leaving
from controlplane.reconcile.view import View
from controlplane.store.contract import Delete, Key, Write
from dataplane.clock import rfc3339
from dataplane.resources.core import Pod
from dataplane.resources.meta import Resource

FOREGROUND = "foregroundDeletion"
WRITES_MAX = 2_000  # per commit; more go in the next


def reconcile(key: Key, view: View, now: float) -> Outcome:
    """`key` of any object. Gone owners are noticed through their dependents: see `orphans`."""
    found = view.get(key)
    if found is None:
        return NOTHING
    if is_orphan(found, view, frozenset()):
        writes = _collected(found, view, now)
        return Outcome(tuple(writes[:WRITES_MAX]), requeue_after_s=0.0 if len(writes) > WRITES_MAX else None)
    if found.metadata.deletion_timestamp and FOREGROUND in found.metadata.finalizers:
        return Outcome(_foreground(found, view, now))
    return NOTHING


def orphans(view: View) -> tuple[Key, ...]:
    """Objects with owners of which none exists: what to look at when starting (CP-08)."""
    return tuple(
        key for key in view.all_keys() if (one := view.get(key)) is not None and is_orphan(one, view, frozenset())
    )


def is_orphan(one: Resource, view: View, going: frozenset[str]) -> bool:
    refs = one.metadata.owner_references
    return bool(refs) and not any(not ref.uid or (view.exists(ref.uid) and ref.uid not in going) for ref in refs)


def _collected(one: Resource, view: View, now: float) -> list[Write]:
    """The object and, when it really goes, everything that only it owned."""
    writes: list[Write] = []
    going: set[str] = set()
    waiting = [one]
    while waiting and len(writes) <= WRITES_MAX:
        next_ = waiting.pop()
        uid = next_.metadata.uid
        if uid in going:
            continue
        removal = _removal(next_, now)
        writes += removal
        if any(isinstance(write, Delete) for write in removal) or isinstance(next_, Pod):
            going.add(uid)
            dependents = (child for _, child in view.dependents(uid))
            waiting += [child for child in dependents if is_orphan(child, view, frozenset(going))]
    return writes


def _removal(one: Resource, now: float) -> tuple[Write, ...]:
    meta = one.metadata
    if meta.deletion_timestamp:
        return ()
    if isinstance(one, Pod):
        return update(one, leaving(one, now))
    if meta.finalizers:
        return update(one, replace(one, metadata=replace(meta, deletion_timestamp=rfc3339(now))))
    return (Delete(key_of(one), meta.resource_version),)


def _foreground(one: Resource, view: View, now: float) -> tuple[Write, ...]:
    """Dependents first; the owner when none is left."""
    blocking = [child for _, child in view.dependents(one.metadata.uid) if _blocks(child, one.metadata.uid)]
    if blocking:
        writes: list[Write] = []
        for child in blocking:
            writes += _going_first(child, now)
        return tuple(writes)
    rest = tuple(name for name in one.metadata.finalizers if name != FOREGROUND)
    if rest:
        return update(one, replace(one, metadata=replace(one.metadata, finalizers=rest)))
    return (Delete(key_of(one), one.metadata.resource_version),)


def _going_first(child: Resource, now: float) -> tuple[Write, ...]:
    if child.metadata.deletion_timestamp or isinstance(child, Pod):
        return _removal(child, now)
    finalizers = (*child.metadata.finalizers, FOREGROUND)
    meta = replace(child.metadata, deletion_timestamp=rfc3339(now), finalizers=finalizers)
    return update(child, replace(child, metadata=meta))


def _blocks(child: Resource, uid: str) -> bool:
    refs: tuple[Any, ...] = child.metadata.owner_references
    return any(ref.uid == uid and ref.block_owner_deletion for ref in refs)
