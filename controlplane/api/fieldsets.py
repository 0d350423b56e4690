"""Who owns which field: server-side apply's three-way merge, and what other writes do to ownership. Pure.

Path: a write → [fieldsets] → metadata.managedFields.

A manager's set holds paths to leaves: scalars, lists (a list is one leaf: the kinds here declare no list keys, as
Knative's CRDs do not) and empty maps. Applying means: my fields get my values; fields that I applied before, do not
apply now and share with nobody go away; a value that another manager set differently is a conflict, unless forced.

Source: Kubernetes "Server-Side Apply"; KEP-555.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from dataplane.resources.meta import ManagedFields

Path = tuple[str, ...]
Body = dict[str, Any]

# Identity and bookkeeping: nobody owns these.
_UNOWNED = frozenset(
    [("apiVersion",), ("kind",)]
    + [
        ("metadata", field)
        for field in (
            *("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp"),
            *("deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"),
        )
    ]
)
_MISSING = object()


class Manager(NamedTuple):
    """Who writes, how, and where. `operation`: Apply or Update."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""


class Applied(NamedTuple):
    """One apply: what was there, what was asked for, and what came out after defaulting."""

    live: Mapping[str, Any]
    applied: Mapping[str, Any]
    final: Mapping[str, Any]


class ApplyConflict(Exception):
    """`fields`: (manager, path as `.spec.x`) of everything that somebody else owns and wants differently."""

    def __init__(self, fields: list[tuple[ManagedFields, str]]) -> None:
        super().__init__(f"{len(fields)} conflicts")
        self.fields = fields


def leaves(body: Mapping[str, Any]) -> dict[Path, Any]:
    """Every field that can be owned, with its value."""
    found: dict[Path, Any] = {}
    work: list[tuple[Path, Any]] = [((), body)]
    while work:
        path, value = work.pop()
        if path in _UNOWNED:
            continue
        if isinstance(value, dict) and (value or not path):
            work += [((*path, key), inner) for key, inner in value.items()]
        elif path:
            found[path] = value
    return found


def encode(paths: Iterable[Path]) -> dict[str, object]:
    """FieldsV1: `{"f:spec": {"f:x": {}}}`."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        at = root
        for step in path:
            at = at.setdefault(f"f:{step}", {})
    return root


def decode(fields: Mapping[str, Any]) -> set[Path]:
    """Leaves of a FieldsV1. What is not in the form that `encode` makes is ignored."""
    found: set[Path] = set()
    work: list[tuple[Path, Any]] = [((), fields)]
    while work:
        path, value = work.pop()
        inner = [(key, v) for key, v in value.items() if key.startswith("f:")] if isinstance(value, dict) else []
        if inner:
            work += [((*path, key[2:]), v) for key, v in inner]
        elif path:
            found.add(path)
    return found


def track(
    old: Mapping[str, Any], new: Mapping[str, Any], managed: Iterable[ManagedFields], manager: Manager, time: str
) -> tuple[ManagedFields, ...]:
    """Ownership after a write that is not an apply: what it changed is its manager's alone.

    `old`, `new`: what this door (manager.subresource) can write; entries of other doors stay as they are.
    """
    before, after = leaves(old), leaves(new)
    changed = {path for path, value in after.items() if before.get(path, _MISSING) != value}
    lost = changed | (before.keys() - after.keys())
    sets = [(entry, decode(entry.fields_v1)) for entry in managed]
    mine = next((own for entry, own in sets if _is(entry, manager)), set())
    left = [(entry, own - lost if _beside(entry, manager) else own) for entry, own in sets]
    return _written(left, manager, (mine | changed) & after.keys(), time)


def merge(
    live: Mapping[str, Any], applied: Mapping[str, Any], managed: Iterable[ManagedFields], manager: Manager
) -> Body:
    """What an apply wants: `live` (empty for a new object) with the applied fields, without those no longer applied."""
    sets = [(entry, decode(entry.fields_v1)) for entry in managed]
    mine = next((own for entry, own in sets if _is(entry, manager)), set())
    shared = set[Path]().union(*(own for entry, own in sets if _beside(entry, manager)))
    kept = shared | leaves(applied).keys()
    merged = _merge(live, applied)
    for path in mine - kept:
        if not any(_overlap(path, other) for other in kept):  # what was an empty map may hold others' fields now
            _remove(merged, path)
    return merged


def own(
    change: Applied, managed: Iterable[ManagedFields], manager: Manager, *, force: bool, time: str
) -> tuple[ManagedFields, ...]:
    """Ownership after an apply.

    Contested is only what changes in the end: a manifest that leaves out what defaulting added, as every manifest does,
    wants nothing that is not there.

    Raises:
        ApplyConflict: without `force`, when somebody else owns a field and its value changes.
    """
    wanted, present, final = leaves(change.applied), leaves(change.live), leaves(change.final)
    changed = {path for path, value in wanted.items() if present.get(path, _MISSING) != final.get(path, value)}
    sets = [(entry, decode(entry.fields_v1)) for entry in managed]
    contested = [
        (entry, path)
        for entry, theirs in sets
        if _beside(entry, manager)
        for path in sorted(changed)
        if any(_overlap(path, other) for other in theirs)
    ]
    if contested and not force:
        raise ApplyConflict([(entry, "." + ".".join(path)) for entry, path in contested])
    taken = {path for _, path in contested}
    left = [
        (
            entry,
            {o for o in theirs if not any(_overlap(o, path) for path in taken)} if _beside(entry, manager) else theirs,
        )
        for entry, theirs in sets
    ]
    return _written(left, manager, set(wanted), time)


def _written(
    sets: Iterable[tuple[ManagedFields, set[Path]]], manager: Manager, mine: set[Path], time: str
) -> tuple[ManagedFields, ...]:
    """Entries again; only those whose set changed get the new time, so that nothing changes when nothing changed."""
    result = []
    found = False
    for entry, own in sets:
        is_mine = _is(entry, manager)
        found = found or is_mine
        fields = encode(mine if is_mine else own)
        if not fields:
            continue
        if fields == entry.fields_v1 and (not is_mine or entry.api_version == manager.api_version):
            result.append(entry)
        else:
            version = manager.api_version if is_mine else entry.api_version
            when = time if is_mine else entry.time
            result.append(msgspec.structs.replace(entry, fields_v1=fields, api_version=version, time=when))
    if not found and mine:
        result.append(
            ManagedFields(
                manager=manager.name,
                operation=manager.operation,
                api_version=manager.api_version,
                time=time,
                fields_v1=encode(mine),
                subresource=manager.subresource,
            )
        )
    return tuple(result)


def _is(entry: ManagedFields, manager: Manager) -> bool:
    return (entry.manager, entry.operation, entry.subresource) == (manager.name, manager.operation, manager.subresource)


def _beside(entry: ManagedFields, manager: Manager) -> bool:
    """Another writer of the same fields."""
    return entry.subresource == manager.subresource and not _is(entry, manager)


def _overlap(one: Path, other: Path) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _merge(live: Mapping[str, Any], applied: Mapping[str, Any]) -> Body:
    merged = dict(live)
    for key, value in applied.items():
        present = merged.get(key)
        merged[key] = _merge(present if isinstance(present, dict) else {}, value) if isinstance(value, dict) else value
    return merged


def _remove(body: Body, path: Path) -> None:
    """Take the leaf out, and the maps that it leaves empty. Copies on the way: maps may be the live object's."""
    parents: list[tuple[Body, str]] = []
    at: Any = body
    for step in path[:-1]:
        inner = at.get(step) if isinstance(at, dict) else None
        if not isinstance(inner, dict):
            return
        at[step] = dict(inner)
        parents.append((at, step))
        at = at[step]
    at.pop(path[-1], None)
    for parent, step in reversed(parents):
        if parent[step]:
            break
        del parent[step]
