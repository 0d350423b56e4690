"""Why does a Service have N pods? What was asked, measured, decided and found, per revision. Pure.

Path: store view, scale desk, autoscaler → [explain] → hops.py → `dataplane explain ksvc/NAME`.

Source: issue "Better than upstream"; spec/serving.md §10.6–10.10.
"""

from collections.abc import Callable

import msgspec

from controlplane.reconcile.autoscaler import parameters, wanted
from controlplane.reconcile.conditions import READY
from controlplane.reconcile.pods import is_leaving, is_over, is_ready
from controlplane.reconcile.view import View
from dataplane.resources import serving
from dataplane.resources.core import Pod
from dataplane.resources.meta import Condition, condition
from dataplane.resources.scaling import Autoscaling, Decision


class _Told(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class PodWhy(_Told, frozen=True, kw_only=True):
    """state: ready, starting, failing, draining, over. in_flight None: unknown."""

    name: str
    state: str
    reason: str = ""
    message: str = ""
    restarts: int = 0
    in_flight: int | None = None


class RevisionWhy(_Told, frozen=True, kw_only=True):
    """`autoscaler`: the autoscaler's own account (autoscaler/explain.py) when it runs in this process.

    because: sentences, the first thing that matters first.
    """

    name: str
    percent: int
    tags: tuple[str, ...]
    ready: str
    reason: str
    message: str
    reachability: str
    wanted: int
    found: dict[str, int]
    pods: tuple[PodWhy, ...]
    parameters: Autoscaling
    decision: Decision | None
    autoscaler: dict[str, object] | None
    because: tuple[str, ...]


class ServiceWhy(_Told, frozen=True, kw_only=True):
    namespace: str
    name: str
    url: str
    ready: str
    reason: str
    message: str
    revisions: tuple[RevisionWhy, ...]


Account = Callable[[str], msgspec.Struct | None]


def explained(namespace: str, name: str, view: View, account: Account) -> ServiceWhy | None:
    """None: no such Service. `account`: what the autoscaler says of a revision (namespace/name), if it can be asked."""
    service = view.find(serving.Service, namespace, name)
    if service is None:
        return None
    ready = condition(service.status.conditions, READY) or Condition(type=READY)
    configuration = view.find(serving.Configuration, namespace, name)
    revisions = view.children(serving.Revision, configuration) if configuration is not None else []
    return ServiceWhy(
        namespace=namespace,
        name=name,
        url=service.status.url,
        ready=ready.status,
        reason=ready.reason,
        message=ready.message,
        revisions=tuple(_revision(one, service, view, account) for one in reversed(revisions)),
    )


def text(why: ServiceWhy) -> str:
    """For people, on a terminal."""
    lines = [f"{why.namespace}/{why.name}  {why.url}", f"Ready {why.ready}{_because(why.reason, why.message)}"]
    for revision in why.revisions:
        share = f"{revision.percent}%" + "".join(f" #{tag}" for tag in revision.tags)
        found = ", ".join(f"{count} {state}" for state, count in revision.found.items()) or "none"
        lines += [
            "",
            f"{revision.name}  {share}  wanted {revision.wanted}, found {found}",
            *(f"  - {sentence}" for sentence in revision.because),
        ]
        for pod in revision.pods:
            flight = "" if pod.in_flight is None else f"  {pod.in_flight} in flight"
            restarts = f"  {pod.restarts} restarts" if pod.restarts else ""
            lines.append(f"  {pod.name}  {pod.state}{flight}{restarts}{_because(pod.reason, pod.message)}")
    return "\n".join(lines) + "\n"


def _because(reason: str, message: str) -> str:
    said = ": ".join(part for part in (reason, message) if part)
    return f" ({said})" if said else ""


def _revision(one: serving.Revision, service: serving.Service, view: View, account: Account) -> RevisionWhy:
    meta = one.metadata
    key = f"{meta.namespace}/{meta.name}"
    autoscaler = view.find(serving.PodAutoscaler, meta.namespace, meta.name)
    decision = view.facts.decision(key)
    pods = tuple(_pod(pod, view) for pod in view.children(Pod, one))
    found: dict[str, int] = {}
    for pod in pods:
        found[pod.state] = found.get(pod.state, 0) + 1
    targets = [target for target in service.status.traffic if target.revision_name == meta.name]
    ready = condition(one.status.conditions, READY) or Condition(type=READY)
    told = parameters(one, autoscaler, view.config)
    said = account(key)
    own: dict[str, object] | None = msgspec.to_builtins(said) if said is not None else None
    want = wanted(autoscaler, decision) if autoscaler is not None else 0
    return RevisionWhy(
        name=meta.name,
        percent=sum(target.percent or 0 for target in targets),
        tags=tuple(target.tag for target in targets if target.tag),
        ready=ready.status,
        reason=ready.reason,
        message=ready.message,
        reachability=autoscaler.spec.reachability if autoscaler is not None else "",
        wanted=want,
        found=found,
        pods=pods,
        parameters=told,
        decision=decision,
        autoscaler=own,
        because=_sentences(told, decision, autoscaler, ready, own),
    )


def _pod(pod: Pod, view: View) -> PodWhy:
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    waiting = next((s.state.waiting for s in statuses if s.state.waiting is not None), None)
    restarts = sum(s.restart_count for s in statuses)
    if is_leaving(pod):
        state = "draining"
    elif is_over(pod):
        state = "over"
    elif is_ready(pod):
        state = "ready"
    else:
        state = "failing" if restarts or (waiting is not None and waiting.reason == "ContainerMissing") else "starting"
    return PodWhy(
        name=pod.metadata.name,
        state=state,
        reason=waiting.reason if waiting is not None else pod.status.reason,
        message=waiting.message if waiting is not None else pod.status.message,
        restarts=restarts,
        in_flight=view.facts.in_flight(pod.metadata.uid),
    )


def _sentences(
    told: Autoscaling,
    decision: Decision | None,
    autoscaler: serving.PodAutoscaler | None,
    ready: Condition,
    own: dict[str, object] | None,
) -> tuple[str, ...]:
    out: list[str] = []
    if ready.status == "False":
        out.append(f"the revision failed{_because(ready.reason, ready.message)}")
    account = own.get("because") if own is not None else None
    if isinstance(account, list | tuple) and account:
        out += [str(sentence) for sentence in account]
    elif decision is not None:
        measured = (
            f"{decision.stable_average:g} over {told.stable_window_s:g} s, "
            f"{decision.panic_average:g} over {told.panic_window_s:g} s, target {told.target:g} {told.metric} per pod"
        )
        out.append(f"{measured}: {decision.desired if decision.desired >= 0 else 'no number'} asked for")
        out += [f"limited by {limit}" for limit in decision.limits]
        if decision.panicking:
            out.append("panic mode: nothing is taken away until a stable window has passed")
    else:
        scale = max(told.initial_scale, told.min_scale)
        if autoscaler is not None and told.initialized:
            out.append("no decision since this process started: the last number stands")
        else:
            out.append(f"no decision yet: a new revision starts with {scale}")
    if not told.reachable:
        out.append("no traffic is routed to it: min-scale and initial-scale do not hold it up")
    elif told.min_scale:
        out.append(f"min-scale {told.min_scale}")
    return tuple(out)
