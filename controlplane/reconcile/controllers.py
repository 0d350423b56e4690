"""Who has to look when something changes: for each kind its pure function, and the changes that concern it.

Path: store → loop.py → [controllers] → reconcile/{service,…}.py.

Level-triggered: a change only says *which* object to look at again. Missing one costs time until the next look, never
correctness (CP-07).

Source: reliability.md CP-07; spec/serving.md §1.6, §4.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from controlplane.reconcile import (
    autoscaler,
    broker,
    configuration,
    labeler,
    ownership,
    replicas,
    revision,
    route,
    service,
    trigger,
)
from controlplane.reconcile.naming import ROUTES, names_in
from controlplane.reconcile.outcome import NOTHING, Outcome, controller_of, key_for
from controlplane.reconcile.view import View
from controlplane.store.contract import Change, Key
from dataplane.resources import eventing, serving
from dataplane.resources.core import Pod
from dataplane.resources.meta import Resource

R = TypeVar("R", bound=Resource)


class Controller(NamedTuple):
    """`kind` None: looks at every kind. `concerned`: keys to look at after a change that the view already knows."""

    name: str
    kind: type[Resource] | None
    reconcile: Callable[[Key, View, float], Outcome]
    concerned: Callable[[Change, View], Iterable[Key]]


def _present(struct: type[R], function: Callable[[R, View, float], Outcome]) -> Callable[[Key, View, float], Outcome]:
    """Objects that are gone or going want nothing."""

    def reconcile(key: Key, view: View, now: float) -> Outcome:
        found = view.get(key)
        if found is None or found.metadata.deletion_timestamp:
            return NOTHING
        assert isinstance(found, struct)
        return function(found, view, now)

    return reconcile


def _same_name(struct: type[Resource], change: Change) -> Key:
    return key_for(struct, change.key.namespace, change.key.name)


def _owner(struct: type[Resource], change: Change) -> Iterator[Key]:
    """The controller of the changed object, when it is of this kind."""
    ref = controller_of(change.object.metadata)
    if ref is not None and ref.kind == struct.__name__:
        yield key_for(struct, change.key.namespace, ref.name)


def _of_service(change: Change, view: View) -> Iterator[Key]:
    # Children have the name of their Service; so has whatever stands in their way.
    if isinstance(change.object, serving.Service | serving.Configuration | serving.Route):
        yield _same_name(serving.Service, change)


def _of_configuration(change: Change, view: View) -> Iterator[Key]:
    if isinstance(change.object, serving.Configuration):
        yield change.key
    elif isinstance(change.object, serving.Revision):
        yield from _owner(serving.Configuration, change)
        yield from (key for key in view.referring(change.key) if key.kind == "Configuration")


def _of_revision(change: Change, view: View) -> Iterator[Key]:
    if isinstance(change.object, serving.Revision | serving.PodAutoscaler):
        yield _same_name(serving.Revision, change)
    elif isinstance(change.object, Pod):
        yield from _owner(serving.Revision, change)


def _of_autoscaler(change: Change, view: View) -> Iterator[Key]:
    for key in _of_revision(change, view):
        yield key_for(serving.PodAutoscaler, key.namespace, key.name)


def _of_route(change: Change, view: View) -> Iterator[Key]:
    if isinstance(change.object, serving.Route):
        yield change.key
    elif isinstance(change.object, serving.Configuration | serving.Revision):
        yield from (key for key in view.referring(change.key) if key.kind == "Route")


def _of_broker(change: Change, view: View) -> Iterator[Key]:
    if isinstance(change.object, eventing.Broker):
        yield change.key
    yield from (key for key in view.referring(change.key) if key.kind == "Broker" and key != change.key)


def _of_trigger(change: Change, view: View) -> Iterator[Key]:
    if isinstance(change.object, eventing.Trigger):
        yield change.key
    yield from (key for key in view.referring(change.key) if key.kind == "Trigger" and key != change.key)


def _of_labeler(change: Change, view: View) -> Iterator[Key]:
    yield from _of_route(change, view)
    if isinstance(change.object, serving.Configuration | serving.Revision):
        for name in names_in(change.object.metadata.annotations.get(ROUTES, "")):
            yield key_for(serving.Route, change.key.namespace, name)


def _of_ownership(change: Change, view: View) -> Iterator[Key]:
    meta = change.object.metadata
    if change.type == "DELETED":
        yield from (key for key, _ in view.dependents(meta.uid))
        for ref in meta.owner_references:  # an owner may be waiting for this one to be gone
            if (key := view.by_uid(ref.uid)) is not None:
                yield key
    elif ownership.is_orphan(change.object, view, frozenset()) or ownership.FOREGROUND in meta.finalizers:
        yield change.key


REPLICAS = Controller("replicas", serving.Revision, _present(serving.Revision, replicas.reconcile), _of_revision)
AUTOSCALER = Controller(
    "autoscaler", serving.PodAutoscaler, _present(serving.PodAutoscaler, autoscaler.reconcile), _of_autoscaler
)
REVISION = Controller("revision", serving.Revision, _present(serving.Revision, revision.reconcile), _of_revision)
ROUTE = Controller("route", serving.Route, _present(serving.Route, route.reconcile), _of_route)
BROKER = Controller("broker", eventing.Broker, _present(eventing.Broker, broker.reconcile), _of_broker)
TRIGGER = Controller("trigger", eventing.Trigger, _present(eventing.Trigger, trigger.reconcile), _of_trigger)
LABELER = Controller("labeler", serving.Route, labeler.reconcile, _of_labeler)

CONTROLLERS: tuple[Controller, ...] = (
    Controller("ownership", None, ownership.reconcile, _of_ownership),
    REPLICAS,
    AUTOSCALER,
    REVISION,
    Controller(
        "configuration",
        serving.Configuration,
        _present(serving.Configuration, configuration.reconcile),
        _of_configuration,
    ),
    ROUTE,
    LABELER,
    BROKER,
    TRIGGER,
    Controller("service", serving.Service, _present(serving.Service, service.reconcile), _of_service),
)
