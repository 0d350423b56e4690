"""Route → traffic by revision, hosts, URLs; Ready when every hop has it.

Path: service.py → [route] → status.traffic → publish.py → hops → (applied) → [route] → Ready.

A bad target changes nothing but a condition: what was programmed stays programmed (status.traffic is what publish.py
compiles). Traffic switches in one step.

Source: spec/serving.md §2.4, §2.5, §6.12, §6.13, §16.1 steps 4 and 7.
"""

from msgspec.structs import replace

from controlplane import compile as compiled
from controlplane.reconcile.conditions import Conditions
from controlplane.reconcile.outcome import Outcome, update
from controlplane.reconcile.traffic import merged, resolve
from controlplane.reconcile.view import View
from dataplane.errors import ConfigFault
from dataplane.resources.serving import Address, Route, RouteStatus, TrafficTarget

ALL_TRAFFIC_ASSIGNED = "AllTrafficAssigned"
INGRESS_READY = "IngressReady"
CERTIFICATE_PROVISIONED = "CertificateProvisioned"
_NOT_CONFIGURED = ("IngressNotConfigured", "Ingress has not yet been reconciled.")


def reconcile(route: Route, view: View, now: float) -> Outcome:
    meta = route.metadata
    marks = Conditions(
        route.status.conditions,
        (ALL_TRAFFIC_ASSIGNED, INGRESS_READY, CERTIFICATE_PROVISIONED),
        now,
        new_generation=route.status.observed_generation != meta.generation,
    )
    try:
        status = _assigned(route, _addressed(route, view), view, marks)
    except ConfigFault as fault:
        marks.false(ALL_TRAFFIC_ASSIGNED, "DomainError", str(fault))
        status = route.status
    status = replace(status, conditions=marks.close(), observed_generation=meta.generation)
    return Outcome(update(route, replace(route, status=status)))


def _addressed(route: Route, view: View) -> RouteStatus:
    meta = route.metadata
    return replace(
        route.status,
        url=compiled.url(route, "", view.config, view.facts.url_port),
        address=Address(url=compiled.local_url(meta.name, meta.namespace)),
    )


def _assigned(route: Route, status: RouteStatus, view: View, marks: Conditions) -> RouteStatus:
    resolved = resolve(route, view)
    if resolved.bad is not None:
        if not status.traffic:
            marks.unknown(INGRESS_READY, *_NOT_CONFIGURED)
        mark = marks.false if resolved.bad.status == "False" else marks.unknown
        mark(ALL_TRAFFIC_ASSIGNED, resolved.bad.reason, resolved.bad.message)
        return status

    traffic = tuple(_shown(target, route, view) for target in merged(resolved.targets))
    wanted = compiled.route(route, traffic, view.config)
    marks.true(ALL_TRAFFIC_ASSIGNED)
    tls = (
        "TLS is not enabled for cluster-local"
        if compiled.is_local(route, view.config)
        else "external-domain-tls is not enabled"
    )
    marks.true(CERTIFICATE_PROVISIONED, "TLSNotEnabled", tls)
    programmed = view.facts.programmed(f"{route.metadata.namespace}/{route.metadata.name}")
    if programmed is not None and programmed.settled and programmed.hash == wanted.hash:
        marks.true(INGRESS_READY)
    else:
        marks.unknown(INGRESS_READY, *_NOT_CONFIGURED)
    return replace(status, traffic=traffic)


def _shown(target: TrafficTarget, route: Route, view: View) -> TrafficTarget:
    url = compiled.url(route, target.tag, view.config, view.facts.url_port) if target.tag else ""
    return replace(target, url=url, latest_revision=bool(target.latest_revision))
