"""Route → which revisions are routed: the label that makes them reachable, the annotation that says by whom.

Path: route.py → [labeler] → Revision and Configuration metadata → revision.py (reachability).

Source: spec/serving.md §4.
"""

from typing import TypeVar

from msgspec.structs import replace

from controlplane.reconcile import route as routing
from controlplane.reconcile.conditions import READY
from controlplane.reconcile.naming import ROUTES, ROUTING_STATE, ROUTING_STATE_MODIFIED, listed, names_in
from controlplane.reconcile.outcome import NOTHING, Outcome, key_for, update
from controlplane.reconcile.view import View
from controlplane.store.contract import Key, Write
from dataplane.clock import rfc3339
from dataplane.resources.meta import condition
from dataplane.resources.serving import Configuration, Revision, Route, Service

R = TypeVar("R", Revision, Configuration)


def reconcile(key: Key, view: View, now: float) -> Outcome:
    """`key` of a Route, which may be gone: then nothing is routed by it any more."""
    route = view.get(key)
    assert route is None or isinstance(route, Route)
    if route is None and view.find(Service, key.namespace, key.name) is not None:
        return NOTHING  # its Service has announced it and will make it
    gone = route is None or bool(route.metadata.deletion_timestamp)
    routed = _routed(route, view) if route is not None and not gone else frozenset[Key]()
    writes: list[Write] = []
    for target in sorted(routed):
        writes += _marked(target, key.name, view, now, add=True)
    stale = [target for target in view.routed(key) if target not in routed]
    if stale and (gone or (route is not None and _is_settled(route, view, now))):
        for target in stale:
            writes += _marked(target, key.name, view, now, add=False)
    return Outcome(tuple(writes))


def _routed(route: Route, view: View) -> frozenset[Key]:
    namespace = route.metadata.namespace
    keys: set[Key] = set()
    for target in (*route.spec.traffic, *route.status.traffic):
        if target.revision_name:
            keys.add(key_for(Revision, namespace, target.revision_name))
        if target.configuration_name:
            keys.add(key_for(Configuration, namespace, target.configuration_name))
            found = view.find(Configuration, namespace, target.configuration_name)
            if found is not None and found.status.latest_created_revision_name:
                keys.add(key_for(Revision, namespace, found.status.latest_created_revision_name))
    for key in list(keys):
        revision = view.get(key)
        if isinstance(revision, Revision):
            for ref in revision.metadata.owner_references:
                if ref.controller and ref.kind == "Configuration":
                    keys.add(key_for(Configuration, namespace, ref.name))
    return frozenset(keys)


def _is_settled(route: Route, view: View, now: float) -> bool:
    """Ready or Failed, for its generation and for its targets as they are: what it no longer names may go.

    A new template changes no generation of the Route. The verdict about the revision before must not count for the new
    one, or it would depend on who looks first whether that revision stays reachable while the Route waits.
    """
    ready = condition(route.status.conditions, READY)
    return (
        route.status.observed_generation == route.metadata.generation
        and ready is not None
        and ready.status != "Unknown"
        and not routing.reconcile(route, view, now).writes
    )


def _marked(key: Key, route: str, view: View, now: float, *, add: bool) -> tuple[Write, ...]:
    found = view.get(key)
    if not isinstance(found, Revision | Configuration) or found.metadata.deletion_timestamp:
        return ()
    meta = found.metadata
    before = names_in(meta.annotations.get(ROUTES, ""))
    names = before | {route} if add else before - {route}
    annotations = {k: v for k, v in meta.annotations.items() if k != ROUTES}
    if names:
        annotations[ROUTES] = listed(names)
    labels = meta.labels
    if isinstance(found, Revision):
        state = "active" if names else "reserve"
        if meta.labels.get(ROUTING_STATE) != state:
            labels = {**labels, ROUTING_STATE: state}
            annotations[ROUTING_STATE_MODIFIED] = rfc3339(now)
    changed = replace(meta, annotations=annotations, labels=labels)
    if isinstance(found, Revision):
        return update(found, replace(found, metadata=changed))
    return update(found, replace(found, metadata=changed))
