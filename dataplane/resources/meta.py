"""What every resource has: type, metadata, conditions.

Attribute names are snake_case here and camelCase on the wire; unset fields are omitted. Values are frozen: a change is
`msgspec.structs.replace(...)`.

Source: spec/serving.md §1.
"""

from typing import Literal, TypeVar

import msgspec

V = TypeVar("V")


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", gc=False):
    """Base of everything that users write or read as YAML or JSON. Frozen data has no cycles: nothing to collect."""


def shown(value: V) -> V:
    """A field with this default that is written although it is the default: readers look for it."""
    made: V = msgspec.field(default_factory=lambda: value)
    return made


class OwnerReference(Model, frozen=True, kw_only=True):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


class ManagedFields(Model, frozen=True, kw_only=True):
    """Server-side apply bookkeeping: which manager owns which leaves."""

    manager: str = ""
    operation: str = ""
    api_version: str = ""
    time: str = ""
    fields_type: str = "FieldsV1"
    fields_v1: dict[str, object] = msgspec.field(default_factory=dict, name="fieldsV1")
    subresource: str = ""


class ObjectMeta(Model, frozen=True, kw_only=True):
    """Timestamps are RFC 3339 strings (dataplane.clock.rfc3339). resource_version is opaque to clients."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()
    managed_fields: tuple[ManagedFields, ...] = ()
    self_link: str = ""


class Condition(Model, frozen=True, kw_only=True):
    """severity "" = Error for the happy condition and its dependents; "Info" otherwise."""

    type: str
    status: Literal["True", "False", "Unknown"] = shown("Unknown")
    reason: str = ""
    message: str = ""
    severity: str = ""
    last_transition_time: str = ""


class Resource(Model, frozen=True, kw_only=True):
    """Base of a kind: a struct with `api_version` and `kind` preset, `metadata`, and what it needs more.

    Encoders keep apiVersion and kind although they are defaults (dataplane.resources.kinds.to_builtins).
    """

    metadata: ObjectMeta = ObjectMeta()


def condition(conditions: tuple[Condition, ...], type_: str) -> Condition | None:
    """The condition of that type, or None."""
    for one in conditions:
        if one.type == type_:
            return one
    return None
