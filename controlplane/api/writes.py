"""What a write does to an object before it is stored: metadata rules, admission, generation, ownership of fields.

Path: objects, bulk → [writes] → store.

Nothing here touches the store except to see that a namespace exists: functions take the old object and the wanted one
and return what to put, or raise. So a write can be tried again after a conflict, and a dry run is the same code.

Source: Kubernetes API conventions, "Metadata"; spec/serving.md §1.3, §1.9, §5.1.
"""

import operator
import secrets
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from controlplane.admission import fielderror
from controlplane.admission.admit import admit
from controlplane.admission.fielderror import FieldError
from controlplane.api import fieldsets, status
from controlplane.api.bodies import plain
from controlplane.api.fieldsets import Manager
from controlplane.api.target import Target
from controlplane.knative_config import NAMESPACE, KnativeConfig
from controlplane.store.contract import Key, Store
from dataplane.clock import Clock, rfc3339
from dataplane.resources.kinds import BY_KIND, BY_STRUCT, Kind
from dataplane.resources.meta import ObjectMeta, Resource

USER = "dataplane"  # whoever has the token; in serving.knative.dev/creator
SUFFIX_CHARS = "bcdfghjklmnpqrstvwxz2456789"  # of generated names: no vowels, no words

_NAMESPACE = BY_KIND["", "Namespace"]
_replace = msgspec.structs.replace
_status = operator.attrgetter("status")  # of kinds that have one


class Prepared(NamedTuple):
    """`object` may be put as it is. `remove`: its last finalizer went, it must be deleted instead."""

    object: Resource
    warnings: list[str]
    remove: bool = False


class Writes:
    def __init__(self, *, store: Store, config: Callable[[], KnativeConfig], clock: Clock) -> None:
        self._store = store
        self._config = config
        self._clock = clock

    def now(self) -> str:
        return rfc3339(self._clock.wall())

    def create(
        self, target: Target, new: Resource, manager: Manager, *, namespaces: frozenset[str] = frozenset()
    ) -> Prepared:
        """`namespaces`: those that the same commit creates.

        Raises ApiError: 400, 404 (namespace), 422, or what admission says.
        """
        kind, meta = target.kind, new.metadata
        if meta.resource_version:
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        if target.name and meta.name and meta.name != target.name:
            raise self._name_differs(meta.name, target.name)
        name = target.name or meta.name
        if not name and meta.generate_name:
            name = meta.generate_name + "".join(secrets.choice(SUFFIX_CHARS) for _ in range(5))
        if not name:
            raise status.invalid(
                kind, "", [_cause("metadata.name", "Required value: name or generateName is required")]
            )
        self._check_namespace(target, meta, namespaces)
        new = _replace(
            new,
            metadata=ObjectMeta(
                name=name,
                generate_name=meta.generate_name,
                namespace=target.namespace,
                uid=str(uuid.uuid4()),
                generation=1 if kind.status else 0,
                creation_timestamp=self.now(),
                labels=meta.labels,
                annotations=meta.annotations,
                owner_references=meta.owner_references,
                finalizers=meta.finalizers,
            ),
        )
        if kind.status:
            new = _replace(new, status=_status(kind.struct()))
        admitted, warnings = self._admission(kind, new, None)
        managed = fieldsets.track({}, owned(admitted), (), manager, self.now())
        return Prepared(with_meta(admitted, managed_fields=managed), warnings)

    def update(self, target: Target, new: Resource, old: Resource, manager: Manager) -> Prepared:
        """Everything but the status. Raises ApiError: 400, 409 (version or uid), 422, or what admission says."""
        kind, meta, was = target.kind, new.metadata, old.metadata
        self._check_identity(target, meta, was)
        added = set(meta.finalizers) - set(was.finalizers)
        if was.deletion_timestamp and added:
            text = "Forbidden: no new finalizers can be added if the object is being deleted"
            raise status.invalid(kind, was.name, [_cause("metadata.finalizers", text)])
        kept = _replace(
            was,
            labels=meta.labels,
            annotations=meta.annotations,
            owner_references=meta.owner_references,
            finalizers=meta.finalizers,
        )
        new = _replace(new, metadata=kept)
        if kind.status:
            new = _replace(new, status=_status(old))
        admitted, warnings = self._admission(kind, new, old)
        if kind.status and _replace(admitted, metadata=was) != old:
            admitted = with_meta(admitted, generation=was.generation + 1)
        managed = meta.managed_fields or was.managed_fields  # clients may hand fields over; kubectl does
        if admitted != old:
            managed = fieldsets.track(owned(old), owned(admitted), managed, manager, self.now())
        remove = bool(was.deletion_timestamp and was.finalizers and not meta.finalizers) and kind.kind != "Pod"
        return Prepared(with_meta(admitted, managed_fields=managed), warnings, remove)

    def update_status(self, target: Target, new: Resource, old: Resource, manager: Manager) -> Prepared:
        """Only the status; admission is not asked. Raises ApiError 400, 409."""
        self._check_identity(target, new.metadata, old.metadata)
        changed = _replace(old, status=_status(new))
        managed = old.metadata.managed_fields
        if changed != old:
            managed = fieldsets.track(owned(old, "status"), owned(changed, "status"), managed, manager, self.now())
        return Prepared(with_meta(changed, managed_fields=managed), [])

    def deleting(self, one: Resource, grace_s: int | None) -> Resource:
        """Marked as being deleted; somebody (the kubelet, the owner of a finalizer) ends it."""
        meta = one.metadata
        if not meta.deletion_timestamp:
            one = with_meta(one, deletion_timestamp=self.now())
        present_s = meta.deletion_grace_period_seconds
        if grace_s is not None and (present_s is None or grace_s < present_s):  # it may only get shorter
            one = with_meta(one, deletion_grace_period_seconds=grace_s)
        return one

    def _admission(self, kind: Kind, new: Resource, old: Resource | None) -> tuple[Resource, list[str]]:
        admitted = admit(new, old, config=self._config(), user=USER)
        if admitted.errors:
            raise denied(kind, new.metadata, admitted.errors)
        return admitted.object, list(admitted.warnings)

    def _check_namespace(self, target: Target, meta: ObjectMeta, namespaces: frozenset[str]) -> None:
        if meta.namespace and meta.namespace != target.namespace:
            raise status.bad_request(
                f"the namespace of the provided object does not match the namespace sent on the request "
                f"({meta.namespace} and {target.namespace})"
            )
        if target.kind.namespaced and target.namespace not in namespaces:
            if not target.namespace:
                raise status.bad_request("an empty namespace may not be set during creation")
            if self._store.get(Key("", "Namespace", "", target.namespace)) is None:
                raise status.not_found(_NAMESPACE, target.namespace)

    def _check_identity(self, target: Target, meta: ObjectMeta, was: ObjectMeta) -> None:
        if meta.name and meta.name != was.name:
            raise self._name_differs(meta.name, was.name)
        if meta.namespace and meta.namespace != was.namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if meta.uid and meta.uid != was.uid:
            why = f"Precondition failed: UID in precondition: {meta.uid}, UID in object meta: {was.uid}"
            raise status.conflict(target.kind, was.name, why)
        if meta.resource_version and meta.resource_version != was.resource_version:
            raise status.conflict(target.kind, was.name)

    @staticmethod
    def _name_differs(given: str, url: str) -> status.ApiError:
        return status.bad_request(f"the name of the object ({given}) does not match the name on the URL ({url})")


def denied(kind: Kind, meta: ObjectMeta, errors: tuple[FieldError, ...]) -> status.ApiError:
    """What Knative's webhooks answer for their kinds, and what the API server itself answers for core kinds."""
    if kind.group.startswith("eventing."):
        hook = "validation.webhook.eventing.knative.dev"
    elif kind.group:
        hook = "validation.webhook.serving.knative.dev"
    elif kind.kind == "ConfigMap" and meta.namespace == NAMESPACE:
        hook = "config.webhook.serving.knative.dev"
    else:
        causes = [_cause(", ".join(one.paths), " ".join((one.message, one.details)).strip()) for one in errors]
        return status.invalid(kind, meta.name, causes)
    why = fielderror.text(errors)
    return status.bad_request(f'admission webhook "{hook}" denied the request: validation failed: {why}')


def owned(one: Resource, subresource: str = "") -> dict[str, Any]:
    """The part of the body that writers through this door own: the status has one of its own."""
    body = plain(one)
    if not BY_STRUCT[type(one)].status:
        return body
    inner = body.pop("status", {})
    return {"status": inner} if subresource == "status" else body


def _cause(field: str, message: str) -> status.Cause:
    return {"reason": "FieldValueInvalid", "message": message, "field": field}


def with_meta(one: Resource, **meta: Any) -> Resource:
    return _replace(one, metadata=_replace(one.metadata, **meta))
