"""Server-side apply of one object: merge, ownership, then the same rules as every write.

Path: objects (PATCH), bulk → [applying] → fieldsets → writes.

Source: Kubernetes "Server-Side Apply".
"""

from typing import Any

import msgspec

from controlplane.api import fieldsets, status
from controlplane.api.fieldsets import Manager
from controlplane.api.target import Target
from controlplane.api.writes import Prepared, Writes, owned, with_meta
from dataplane.resources.meta import Resource


def applied(
    writes: Writes,
    target: Target,
    wanted: Resource,
    old: Resource | None,
    manager: Manager,
    *,
    force: bool,
    namespaces: frozenset[str] = frozenset(),
) -> Prepared:
    """`namespaces`: those that the same commit creates. Raises ApiError: 409 names every contested field."""
    if wanted.metadata.managed_fields:
        raise status.bad_request("metadata.managedFields must be nil")
    live = {} if old is None else owned(old, target.subresource)
    mine = owned(wanted, target.subresource)
    managed = () if old is None else old.metadata.managed_fields
    new = msgspec.convert(fieldsets.merge(live, mine, managed, manager), target.kind.struct)
    if target.subresource == "status":
        if old is None:
            raise status.not_found(target.kind, target.name)
        prepared = writes.update_status(target, new, old, manager)
    elif old is None:
        prepared = writes.create(target, new, manager, namespaces=namespaces)
    else:
        prepared = writes.update(target, new, old, manager)
    change = fieldsets.Applied(live, mine, owned(prepared.object, target.subresource))
    try:
        managed = fieldsets.own(change, managed, manager, force=force, time=writes.now())
    except fieldsets.ApplyConflict as error:
        raise _conflict(target, error) from error
    return prepared._replace(object=with_meta(prepared.object, managed_fields=managed))


def _conflict(target: Target, conflict: fieldsets.ApplyConflict) -> status.ApiError:
    causes: list[dict[str, str]] = []
    for entry, path in conflict.fields:
        how = "" if entry.operation == "Apply" else f" using {entry.api_version} at {entry.time}"
        causes.append(
            {"reason": "FieldManagerConflict", "message": f'conflict with "{entry.manager}"{how}', "field": path}
        )
    several = "conflict" if len(causes) == 1 else "conflicts"
    texts = "\n".join(f"- {cause['message']}: {cause['field']}" for cause in causes)
    message = f"Apply failed with {len(causes)} {several}: {texts}"
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    details: dict[str, Any] = {
        "name": target.name, "group": target.kind.group, "kind": target.kind.plural, "causes": causes,
    }  # fmt: skip
    return status.ApiError(409, "Conflict", message, details)
