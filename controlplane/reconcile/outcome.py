"""What a reconcile function answers: writes, events, and when to ask again.

Path: reconcile/{service,…}.py → [outcome] → loop.py → store.

Source: spec/serving.md §1.3 (generation), §1.6 (ownership).
"""

from typing import Literal, NamedTuple, TypeVar

from msgspec.structs import replace

from controlplane.store.contract import Key, Put, Write
from dataplane.clock import rfc3339
from dataplane.resources.kinds import BY_STRUCT
from dataplane.resources.meta import ObjectMeta, OwnerReference, Resource

R = TypeVar("R", bound=Resource)


class Note(NamedTuple):
    """An Event to record about an object."""

    about: Resource
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


class Outcome(NamedTuple):
    """All writes are committed together or not at all. `requeue_after_s` None: only when something changes."""

    writes: tuple[Write, ...] = ()
    events: tuple[Note, ...] = ()
    requeue_after_s: float | None = None


NOTHING = Outcome()


def key_of(one: Resource) -> Key:
    kind = BY_STRUCT[type(one)]
    return Key(kind.group, kind.kind, one.metadata.namespace, one.metadata.name)


def key_for(struct: type[Resource], namespace: str, name: str) -> Key:
    kind = BY_STRUCT[struct]
    return Key(kind.group, kind.kind, namespace, name)


def create(one: Resource) -> Put:
    """It must not exist yet. The loop gives it uid, creation time and generation 1 (see `born`)."""
    return Put(key_of(one), one, "")


def update(old: R, new: R) -> tuple[Put, ...]:
    """Nothing when nothing changed; generation + 1 when the spec did."""
    if new == old:
        return ()
    if getattr(new, "spec", None) != getattr(old, "spec", None):
        new = replace(new, metadata=replace(new.metadata, generation=old.metadata.generation + 1))
    return (Put(key_of(old), new, old.metadata.resource_version),)


def born(one: Resource, uid: str, now: float) -> Resource:
    """The object with what only its birth can give it."""
    generation = 1 if BY_STRUCT[type(one)].status else 0
    meta = replace(one.metadata, uid=uid, creation_timestamp=rfc3339(now), generation=generation)
    return replace(one, metadata=meta)


def owner(one: Resource) -> OwnerReference:
    """The reference that a child carries."""
    kind = BY_STRUCT[type(one)]
    return OwnerReference(
        api_version=kind.api_version,
        kind=kind.kind,
        name=one.metadata.name,
        uid=one.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )


def controller_of(meta: ObjectMeta) -> OwnerReference | None:
    return next((ref for ref in meta.owner_references if ref.controller), None)


def controlled_by(child: Resource, parent: Resource) -> bool:
    ref = controller_of(child.metadata)
    return ref is not None and ref.uid == parent.metadata.uid
