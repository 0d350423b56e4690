"""Traffic: what a Route's targets resolve to, merged as status and grouped as the ingress needs it.

Path: route.py, service.py → [traffic] ← compile.py.

Errors are data: a target that cannot be resolved says which condition the Route gets. All targets are looked at; a
failure outweighs a "not yet".

Source: spec/serving.md §2.4.
"""

from typing import Literal, NamedTuple

from msgspec.structs import replace

from controlplane.reconcile.conditions import READY, is_true
from controlplane.reconcile.naming import SERVICE
from controlplane.reconcile.view import View
from dataplane.resources import serving
from dataplane.resources.meta import Resource, condition
from dataplane.resources.serving import TrafficTarget


class BadTarget(NamedTuple):
    """What AllTrafficAssigned says about it."""

    status: Literal["False", "Unknown"]
    reason: str
    message: str


class Resolved(NamedTuple):
    """Targets by revision, in order; or the bad one that counts."""

    targets: tuple[TrafficTarget, ...]
    bad: BadTarget | None


def resolve(route: serving.Route, view: View) -> Resolved:
    """Every target by revisionName. `bad` set: nothing may be programmed."""
    targets: list[TrafficTarget] = []
    worst: BadTarget | None = None
    for target in route.spec.traffic:
        found = _configured(route, target, view) if target.configuration_name else _named(route, target, view)
        if isinstance(found, TrafficTarget):
            targets.append(found)
        elif worst is None or (worst.status == "Unknown" and found.status == "False"):
            worst = found
    return Resolved(tuple(targets), worst)


def merged(targets: tuple[TrafficTarget, ...]) -> tuple[TrafficTarget, ...]:
    """Status form: same tag, revision and latestRevision become one, percents added. The first keeps its place."""
    out: dict[tuple[str, str, str, bool], TrafficTarget] = {}
    for target in targets:
        key = (target.tag, target.revision_name, target.configuration_name, bool(target.latest_revision))
        before = out.get(key)
        percent = (target.percent or 0) + ((before.percent or 0) if before else 0)
        out[key] = replace(before or target, percent=percent)
    return tuple(out.values())


def groups(targets: tuple[TrafficTarget, ...]) -> dict[str, dict[str, int]]:
    """Percents by revision for the default host ("") and for each tag, tags sorted.

    A group whose targets are one revision gets 100; entries of 0 % are left out of it only when others carry the load.
    """
    default: dict[str, int] = {}
    tagged: dict[str, dict[str, int]] = {}
    for target in targets:
        percent = target.percent or 0
        default[target.revision_name] = default.get(target.revision_name, 0) + percent
        if target.tag:
            group = tagged.setdefault(target.tag, {})
            group[target.revision_name] = group.get(target.revision_name, 0) + percent
    return {"": _whole(default), **{tag: _whole(tagged[tag]) for tag in sorted(tagged)}}


def _whole(group: dict[str, int]) -> dict[str, int]:
    """Only what carries load, summing to 100."""
    if len(group) == 1:
        return dict.fromkeys(group, 100)
    loaded = {name: percent for name, percent in group.items() if percent > 0}
    total = sum(loaded.values())
    if total in (0, 100):
        return loaded
    # A tag over several revisions (a rollout inside a tag): shares of the tag, the remainder to the last.
    shares = {name: percent * 100 // total for name, percent in loaded.items()}
    shares[next(reversed(shares))] += 100 - sum(shares.values())
    return shares


def _configured(route: serving.Route, target: TrafficTarget, view: View) -> TrafficTarget | BadTarget:
    namespace, name = route.metadata.namespace, target.configuration_name
    configuration = view.find(serving.Configuration, namespace, name)
    if configuration is None:
        return _missing("Configuration", name)
    latest = configuration.status.latest_ready_revision_name
    if not latest:
        ready = condition(configuration.status.conditions, READY)
        if ready is not None and ready.status == "False":
            return BadTarget("False", "RevisionMissing", f'Configuration "{name}" does not have any ready Revision.')
        waiting = f'Configuration "{name}" is waiting for a Revision to become ready.'
        return BadTarget("Unknown", "RevisionMissing", waiting)
    if view.find(serving.Revision, namespace, latest) is None:
        return _missing("Revision", latest)
    # A latestReady that is unwell for a moment stays routable: holding requests is the activator's business.
    return replace(target, configuration_name="", revision_name=latest)


def _named(route: serving.Route, target: TrafficTarget, view: View) -> TrafficTarget | BadTarget:
    name = target.revision_name
    revision = view.find(serving.Revision, route.metadata.namespace, name)
    if revision is None:
        return _missing("Revision", name)
    service = _service(route)
    if service and revision.metadata.labels.get(SERVICE, "") != service:
        return BadTarget("False", "RevisionNotOwned", f'Revision "{name}" is not owned by Service "{service}".')
    ready = condition(revision.status.conditions, READY)
    if not is_true(ready):
        if ready is not None and ready.status == "False":
            return BadTarget("False", "RevisionMissing", f'Revision "{name}" failed to become ready.')
        return BadTarget("Unknown", "RevisionMissing", f'Revision "{name}" is not yet ready.')
    return target


def _missing(kind: str, name: str) -> BadTarget:
    return BadTarget("False", f"{kind}Missing", f'{kind} "{name}" referenced in traffic not found.')


def _service(route: Resource) -> str:
    """The Service that controls this Route, or ""."""
    for ref in route.metadata.owner_references:
        if ref.controller and ref.kind == "Service":
            return ref.name
    return ""
