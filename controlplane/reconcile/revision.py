"""Revision → its PodAutoscaler; from pods and PodAutoscaler, whether it can serve.

Path: configuration.py → [revision] → autoscaler.py, replicas.py; configuration.py, route.py ← status.

There is no Deployment and no image cache on one machine: pods are made by replicas.py. The conditions say what they
would say with them.

Source: spec/serving.md §2.3 (table and rule), §10.10, §16.1 steps 5–6, §16.4, §17.
"""

from msgspec.structs import replace

from controlplane.reconcile.autoscaler import (
    ACTIVE,
    SCALE_TARGET_INITIALIZED,
    fresh,
    mirrored,
    parameters,
    serving_container,
    wanted,
)
from controlplane.reconcile.conditions import READY, Conditions, is_false, is_true
from controlplane.reconcile.naming import ROUTING_STATE
from controlplane.reconcile.outcome import Note, Outcome, controlled_by, create, update
from controlplane.reconcile.pods import failure, ready_count
from controlplane.reconcile.view import View
from controlplane.store.contract import Write
from dataplane.clock import parse_rfc3339
from dataplane.resources.core import Pod
from dataplane.resources.meta import condition
from dataplane.resources.serving import ContainerDigest, PodAutoscaler, Revision, RevisionStatus

RESOURCES_AVAILABLE = "ResourcesAvailable"
CONTAINER_HEALTHY = "ContainerHealthy"
_DEADLINE = "ProgressDeadlineExceeded"
_NEVER = "Initial scale was never achieved"


def reconcile(revision: Revision, view: View, now: float) -> Outcome:
    meta, status = revision.metadata, revision.status
    marks = Conditions(
        status.conditions,
        (RESOURCES_AVAILABLE, CONTAINER_HEALTHY),
        now,
        new_generation=status.observed_generation != meta.generation,
    )
    writes: list[Write] = []
    again: float | None = None
    autoscaler = view.find(PodAutoscaler, meta.namespace, meta.name)
    if autoscaler is None:
        for type_ in (RESOURCES_AVAILABLE, CONTAINER_HEALTHY, ACTIVE):
            marks.unknown(type_, "Deploying")
        writes.append(create(fresh(revision, _routing(revision), view.config, now)))
    elif not controlled_by(autoscaler, revision):
        text = f'There is an existing PodAutoscaler "{meta.name}" that we do not own.'
        marks.false(RESOURCES_AVAILABLE, "NotOwned", text)
    else:
        again = _judge(revision, autoscaler, view, marks, now)
        status = _counted(status, autoscaler)
        reachability = _reachability(revision, autoscaler, marks, view)
        writes += update(autoscaler, mirrored(autoscaler, revision, reachability))

    events = _became(revision, marks)
    template = view.config.observability.revision_url_template
    status = replace(
        status,
        conditions=marks.close(),
        observed_generation=meta.generation,
        log_url=template.replace("${REVISION_UID}", meta.uid),
        container_statuses=tuple(ContainerDigest(name=c.name) for c in revision.spec.containers),
        init_container_statuses=tuple(ContainerDigest(name=c.name) for c in revision.spec.init_containers),
    )
    writes += update(revision, replace(revision, status=status))
    return Outcome(tuple(writes), events, again)


def _judge(revision: Revision, autoscaler: PodAutoscaler, view: View, marks: Conditions, now: float) -> float | None:
    """Set ResourcesAvailable, ContainerHealthy and Active. Returns when the progress deadline has to be looked at."""
    pods = view.children(Pod, revision)
    ready = ready_count(pods)
    want = wanted(autoscaler, view.facts.decision(f"{revision.metadata.namespace}/{revision.metadata.name}"))
    initialized = is_true(condition(autoscaler.status.conditions, SCALE_TARGET_INITIALIZED))
    left_s = _deadline_left_s(revision, autoscaler, view, now)
    stuck = left_s is not None and left_s <= 0 and (ready == 0 or not initialized)

    if ready > 0:
        marks.true(CONTAINER_HEALTHY)
        if initialized:
            marks.true(RESOURCES_AVAILABLE)
    elif want > 0:
        container = serving_container(revision.spec)
        found = failure(pods, container.name if container else "", timed_out=stuck)
        if found is not None:
            marks.false(CONTAINER_HEALTHY if found.container else RESOURCES_AVAILABLE, found.reason, found.message)
    failed = [type_ for type_ in (RESOURCES_AVAILABLE, CONTAINER_HEALTHY) if marks[type_].status == "False"]
    if initialized and not failed:
        marks.true(RESOURCES_AVAILABLE)
        marks.true(CONTAINER_HEALTHY)

    active = condition(autoscaler.status.conditions, READY)
    gave_up = is_false(condition(autoscaler.status.conditions, ACTIVE)) and not initialized
    if (stuck or gave_up) and marks[RESOURCES_AVAILABLE].status != "False":
        marks.false(RESOURCES_AVAILABLE, _DEADLINE, _NEVER if not initialized else "No pod became ready in time.")
    if active is None:
        marks.unknown(ACTIVE, "Deploying")
    else:
        marks.follow(ACTIVE, active)
    return left_s if left_s is not None and left_s > 0 else None


def _deadline_left_s(revision: Revision, autoscaler: PodAutoscaler, view: View, now: float) -> float | None:
    """Until the progress deadline passes; None when nothing is being waited for."""
    active = condition(autoscaler.status.conditions, ACTIVE)
    if active is None or active.status != "Unknown" or not active.last_transition_time:
        return None
    deadline_s = parameters(revision, autoscaler, view.config).progress_deadline_s
    return parse_rfc3339(active.last_transition_time) + deadline_s - now


def _routing(revision: Revision) -> str:
    state = revision.metadata.labels.get(ROUTING_STATE)
    return {"active": "Reachable", "reserve": "Unreachable"}.get(state or "", "")


def _reachability(revision: Revision, autoscaler: PodAutoscaler, marks: Conditions, view: View) -> str:
    """A revision that cannot start is not worth its min-scale."""
    broken = "False" in (marks[RESOURCES_AVAILABLE].status, marks[CONTAINER_HEALTHY].status)
    if broken and (autoscaler.status.desired_scale or 0) > 0 and not ready_count(view.children(Pod, revision)):
        return "Unreachable"
    return _routing(revision)


def _counted(status: RevisionStatus, autoscaler: PodAutoscaler) -> RevisionStatus:
    actual, desired = autoscaler.status.actual_scale, autoscaler.status.desired_scale
    return replace(
        status,
        actual_replicas=actual if actual is not None and actual >= 0 else None,
        desired_replicas=desired if desired is not None and desired >= 0 else None,
    )


def _became(revision: Revision, marks: Conditions) -> tuple[Note, ...]:
    was = condition(revision.status.conditions, READY)
    if marks[READY].status == "True" and not is_true(was):
        return (Note(revision, "Normal", "RevisionReady", "Revision becomes ready upon all resources being ready"),)
    if marks[READY].status == "False" and not is_false(was):
        return (Note(revision, "Warning", "RevisionFailed", marks[READY].message or marks[READY].reason),)
    return ()
