"""Service → a Configuration and a Route of the same name; their states added up.

Path: api → store → [service] → configuration.py, route.py.

Source: spec/serving.md §2.1, §16.1 step 2.
"""

from msgspec.structs import replace

from controlplane.reconcile.conditions import Conditions
from controlplane.reconcile.naming import (
    CONFIGURATION_GENERATION,
    LAST_APPLIED,
    ROLLOUT_DURATION,
    ROUTES,
    SERVICE,
    SERVICE_UID,
    listed,
    names_in,
)
from controlplane.reconcile.outcome import Note, Outcome, controlled_by, create, owner, update
from controlplane.reconcile.traffic import merged
from controlplane.reconcile.view import View
from controlplane.store.contract import Write
from dataplane.resources.meta import ObjectMeta, condition
from dataplane.resources.serving import (
    Configuration,
    ConfigurationSpec,
    Revision,
    Route,
    RouteSpec,
    Service,
    TrafficTarget,
)

CONFIGURATIONS_READY = "ConfigurationsReady"
ROUTES_READY = "RoutesReady"
_OUT_OF_DATE = "The {} is still working to reflect the latest desired specification."
_NOT_OWNED = 'There is an existing {} "{}" that we do not own.'
_NAME_TAKEN = (
    'The revision name "{}" is taken by a conflicting Revision, so traffic will not be migrated'  # upstream: no stop
)


def reconcile(service: Service, view: View, now: float) -> Outcome:
    """Children first, then status. Both in one commit."""
    meta = service.metadata
    marks = Conditions(
        service.status.conditions,
        (CONFIGURATIONS_READY, ROUTES_READY),
        now,
        new_generation=service.status.observed_generation != meta.generation,
    )
    writes: list[Write] = []
    events: list[Note] = []

    configuration = view.find(Configuration, meta.namespace, meta.name)
    status = service.status
    route_may_follow = False
    if configuration is None:
        wanted = _configuration(service, None)
        writes.append(create(wanted))
        events.append(Note(service, "Normal", "Created", f'Created Configuration "{meta.name}"'))
        marks.unknown(CONFIGURATIONS_READY, "OutOfDate", _OUT_OF_DATE.format("Configuration"))
        route_may_follow = not wanted.spec.template.metadata.name
    elif not controlled_by(configuration, service):
        marks.false(CONFIGURATIONS_READY, "NotOwned", _NOT_OWNED.format("Configuration", meta.name))
    else:
        changed = update(configuration, _configuration(service, configuration))
        writes += changed
        named = bool(service.spec.template.metadata.name)
        outdated = any(write.object.metadata.generation != configuration.metadata.generation for write in changed) or (
            configuration.status.observed_generation != configuration.metadata.generation
        )
        if outdated:
            marks.unknown(CONFIGURATIONS_READY, "OutOfDate", _OUT_OF_DATE.format("Configuration"))
        else:
            found = configuration.status
            status = replace(
                status,
                latest_created_revision_name=found.latest_created_revision_name,
                latest_ready_revision_name=found.latest_ready_revision_name,
            )
            marks.follow(CONFIGURATIONS_READY, condition(found.conditions, "Ready"))
        # With a revision name of the user's own, the Route waits until the Configuration has looked at it.
        route_may_follow = not (named and outdated)
        if route_may_follow and _name_taken(configuration, view):
            marks.false(ROUTES_READY, "RevisionNameTaken", _NAME_TAKEN.format(service.spec.template.metadata.name))
            route_may_follow = False

    if route_may_follow:
        route = view.find(Route, meta.namespace, meta.name)
        if route is None:
            writes.append(create(_route(service, None)))
            events.append(Note(service, "Normal", "Created", f'Created Route "{meta.name}"'))
            marks.unknown(ROUTES_READY, "OutOfDate", _OUT_OF_DATE.format("Route"))
        elif not controlled_by(route, service):
            marks.false(ROUTES_READY, "NotOwned", _NOT_OWNED.format("Route", meta.name))
        else:
            changed = update(route, _route(service, route))
            writes += changed
            status = replace(status, url=route.status.url, address=route.status.address, traffic=route.status.traffic)
            respecified = any(write.object.metadata.generation != route.metadata.generation for write in changed)
            if respecified or route.status.observed_generation != route.metadata.generation:
                marks.unknown(ROUTES_READY, "OutOfDate", _OUT_OF_DATE.format("Route"))
            else:
                marks.follow(ROUTES_READY, condition(route.status.conditions, "Ready"))
                if marks[ROUTES_READY].status == "True" and not _migrated(route, status.latest_ready_revision_name):
                    marks.unknown(
                        ROUTES_READY,
                        "TrafficNotMigrated",
                        "Traffic is not yet migrated to the latest revision.",
                    )

    status = replace(status, conditions=marks.close(), observed_generation=meta.generation)
    writes += update(service, replace(service, status=status))
    return Outcome(tuple(writes), tuple(events))


def _configuration(service: Service, existing: Configuration | None) -> Configuration:
    """As the Service wants it. Routes that others have noted on it (labeler) stay."""
    meta = service.metadata
    annotations = {
        key: value for key, value in meta.annotations.items() if key != LAST_APPLIED and key not in ROLLOUT_DURATION
    }
    routes = names_in(existing.metadata.annotations.get(ROUTES, "")) if existing else frozenset[str]()
    annotations[ROUTES] = listed(routes | {meta.name})
    labels = {**meta.labels, SERVICE: meta.name, SERVICE_UID: meta.uid}
    spec = ConfigurationSpec(template=service.spec.template)
    if existing is None:
        return Configuration(metadata=_child(service, labels, annotations), spec=spec)
    kept = replace(existing.metadata, labels=labels, annotations=annotations)
    return replace(existing, metadata=kept, spec=spec)


def _route(service: Service, existing: Route | None) -> Route:
    meta = service.metadata
    annotations = {key: value for key, value in meta.annotations.items() if key != LAST_APPLIED}
    labels = {**meta.labels, SERVICE: meta.name}
    traffic = tuple(
        target if target.revision_name else replace(target, configuration_name=meta.name)
        for target in service.spec.traffic or (TrafficTarget(latest_revision=True, percent=100),)
    )
    spec = RouteSpec(traffic=traffic)
    if existing is None:
        return Route(metadata=_child(service, labels, annotations), spec=spec)
    return replace(existing, metadata=replace(existing.metadata, labels=labels, annotations=annotations), spec=spec)


def _child(service: Service, labels: dict[str, str], annotations: dict[str, str]) -> ObjectMeta:
    return ObjectMeta(
        name=service.metadata.name,
        namespace=service.metadata.namespace,
        labels=labels,
        annotations=annotations,
        owner_references=(owner(service),),
    )


def _name_taken(configuration: Configuration, view: View) -> bool:
    """The name that the template asks for belongs to another revision than the one it describes."""
    template = configuration.spec.template
    if not template.metadata.name:
        return False
    revision = view.find(Revision, configuration.metadata.namespace, template.metadata.name)
    return revision is not None and not described_by(revision, configuration)


def described_by(revision: Revision, configuration: Configuration) -> bool:
    """It is this Configuration's, and of this generation or with this spec (§2.2)."""
    if not controlled_by(revision, configuration):
        return False
    generation = revision.metadata.labels.get(CONFIGURATION_GENERATION)
    return generation == str(configuration.metadata.generation) or (revision.spec == configuration.spec.template.spec)


def _migrated(route: Route, latest_ready: str) -> bool:
    wanted = merged(
        tuple(
            replace(target, configuration_name="", revision_name=latest_ready)
            if target.configuration_name == route.metadata.name
            else target
            for target in route.spec.traffic
        )
    )
    shape = [(t.tag, t.revision_name, t.percent or 0, bool(t.latest_revision)) for t in wanted]
    return shape == [(t.tag, t.revision_name, t.percent or 0, bool(t.latest_revision)) for t in route.status.traffic]
