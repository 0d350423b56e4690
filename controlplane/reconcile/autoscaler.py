"""PodAutoscaler: what the autoscaler decided about a revision, and what the pods say, as status.

Path: autoscaler → hops.py (ScaleDesk) → [autoscaler] → replicas.py, revision.py.

The number of pods comes from decisions only. A new PodAutoscaler starts at its initial scale, so that a new revision is
tried out even while nobody decides.

Source: spec/serving.md §10.7, §10.10, §16.8, §16.9.
"""

import msgspec
from msgspec.structs import replace

from controlplane.annotations import AUTOSCALING, PROGRESS_DEADLINE
from controlplane.knative_config import KnativeConfig, resolve_autoscaling
from controlplane.reconcile.conditions import Conditions, is_true
from controlplane.reconcile.naming import REVISION, REVISION_UID, ROUTING_STATE, deployment_name
from controlplane.reconcile.outcome import NOTHING, Outcome, controlled_by, owner, update
from controlplane.reconcile.pods import ready_count
from controlplane.reconcile.view import View
from dataplane.resources.core import Container, Pod
from dataplane.resources.meta import ObjectMeta, condition
from dataplane.resources.scaling import Autoscaling, Decision
from dataplane.resources.serving import (
    PodAutoscaler,
    PodAutoscalerSpec,
    PodAutoscalerStatus,
    Revision,
    RevisionSpec,
    ScaleTargetRef,
)

ACTIVE = "Active"
SCALE_TARGET_INITIALIZED = "ScaleTargetInitialized"
SKS_READY = "SKSReady"
_DEPENDENTS = (ACTIVE, SCALE_TARGET_INITIALIZED, SKS_READY)
_QUEUED = ("Queued", "Requests to the target are being buffered as resources are provisioned.")
_NO_TRAFFIC = ("NoTraffic", "The target is not receiving traffic.")
_TIMED_OUT = ("TimedOut", "The target could not be activated.")


def reconcile(autoscaler: PodAutoscaler, view: View, now: float) -> Outcome:
    meta, status = autoscaler.metadata, autoscaler.status
    revision = view.find(Revision, meta.namespace, meta.name)
    if revision is None or not controlled_by(autoscaler, revision):
        return NOTHING
    decision = view.facts.decision(f"{meta.namespace}/{meta.name}")
    ready = ready_count(view.children(Pod, revision))
    want = wanted(autoscaler, decision)
    marks = Conditions(
        status.conditions, _DEPENDENTS, now, new_generation=status.observed_generation != meta.generation
    )
    minimum = _minimum_ready(revision, autoscaler, view.config)
    if ready > 0:
        marks.true(SKS_READY)
    else:
        marks.unknown(SKS_READY, "NotReady", "No healthy backends.")
    if ready >= minimum:
        marks.true(SCALE_TARGET_INITIALIZED)
    _mark_active(marks, want=0 if decision and decision.active == "False" else want, ready=ready, minimum=minimum)

    found = replace(
        status,
        observed_generation=meta.generation,
        conditions=marks.close(),
        service_name=meta.name,
        metrics_service_name=f"{meta.name}-private",
        desired_scale=want,
        actual_scale=ready,
    )
    if found != status and decision is not None:
        found = replace(found, decision=_as_json(decision))
    return Outcome(update(autoscaler, replace(autoscaler, status=found)))


def wanted(autoscaler: PodAutoscaler, decision: Decision | None) -> int:
    """Pods to run now: the last decision, else what is remembered."""
    if decision is not None and decision.want >= 0:
        return decision.want
    return max(0, autoscaler.status.desired_scale or 0)


def parameters(revision: Revision, autoscaler: PodAutoscaler | None, config: KnativeConfig) -> Autoscaling:
    """What the autoscaler is told. Annotations are read from the revision: they may change while it lives."""
    return resolve_autoscaling(
        revision.metadata.annotations,
        revision.spec.container_concurrency or 0,
        config,
        reachable=autoscaler is None or autoscaler.spec.reachability != "Unreachable",
        initialized=autoscaler is not None and is_initialized(autoscaler),
    )


def is_initialized(autoscaler: PodAutoscaler) -> bool:
    """The initial scale was reached once. Never goes back."""
    return is_true(condition(autoscaler.status.conditions, SCALE_TARGET_INITIALIZED))


def fresh(revision: Revision, reachability: str, config: KnativeConfig, now: float) -> PodAutoscaler:
    """The PodAutoscaler of a new revision, already wanting its first pods."""
    told = parameters(revision, None, config)
    want = max(told.initial_scale, told.min_scale)
    marks = Conditions((), _DEPENDENTS, now)
    marks.unknown(SKS_READY, "NotReady", "No healthy backends.")
    if want:
        marks.unknown(ACTIVE, *_QUEUED)
    else:
        marks.false(ACTIVE, *_NO_TRAFFIC)
        marks.true(SCALE_TARGET_INITIALIZED)  # no pods are what was asked for
    wanted_spec = PodAutoscaler(
        metadata=ObjectMeta(
            name=revision.metadata.name,
            namespace=revision.metadata.namespace,
            labels=labels(revision),
            owner_references=(owner(revision),),
        ),
        status=PodAutoscalerStatus(conditions=marks.close(), desired_scale=want, actual_scale=0),
    )
    return mirrored(wanted_spec, revision, reachability)


def mirrored(autoscaler: PodAutoscaler, revision: Revision, reachability: str) -> PodAutoscaler:
    """The same with the annotations and spec that its revision asks for now (§16.8)."""
    annotations = {
        key: value
        for key, value in revision.metadata.annotations.items()
        if key.startswith(AUTOSCALING) or key == PROGRESS_DEADLINE
    }
    spec = PodAutoscalerSpec(
        container_concurrency=revision.spec.container_concurrency or 0,
        scale_target_ref=ScaleTargetRef(
            api_version="apps/v1", kind="Deployment", name=deployment_name(revision.metadata.name)
        ),
        protocol_type="h2c" if protocol(revision.spec) == "h2c" else "http1",
        reachability=reachability,
    )
    return replace(autoscaler, metadata=replace(autoscaler.metadata, annotations=annotations), spec=spec)


def labels(revision: Revision) -> dict[str, str]:
    """Of everything that runs for a revision (§12.12)."""
    meta = revision.metadata
    kept = {key: value for key, value in meta.labels.items() if key != ROUTING_STATE}
    return {
        "app": meta.name,
        **kept,
        REVISION: meta.name,
        REVISION_UID: meta.uid,
    }


def serving_container(spec: RevisionSpec) -> Container | None:
    """The one with a port; the only one of a single-container revision."""
    if len(spec.containers) == 1:
        return spec.containers[0]
    return next((c for c in spec.containers if c.ports), None)


def protocol(spec: RevisionSpec) -> str:
    """`h2c` when the serving port is named so, else `http1`."""
    container = serving_container(spec)
    named = container.ports[0].name if container and container.ports else ""
    return "h2c" if named == "h2c" else "http1"


def _minimum_ready(revision: Revision, autoscaler: PodAutoscaler, config: KnativeConfig) -> int:
    told = parameters(revision, autoscaler, config)
    minimum = told.min_scale if told.reachable else 0
    return max(minimum, 1 if told.initialized else told.initial_scale)


def _mark_active(marks: Conditions, *, want: int, ready: int, minimum: int) -> None:
    """§16.9. Unknown here means: activating."""
    before = marks[ACTIVE]
    if want == 0 or minimum == 0:
        activating = before.status == "Unknown" and before.reason == _QUEUED[0]
        gave_up = minimum > 0 and (activating or (before.status == "False" and before.reason == _TIMED_OUT[0]))
        marks.false(ACTIVE, *(_TIMED_OUT if gave_up else _NO_TRAFFIC))
    elif ready < minimum:
        marks.unknown(ACTIVE, *_QUEUED)
    else:
        marks.true(ACTIVE)


def _as_json(decision: Decision) -> dict[str, object]:
    told = msgspec.to_builtins(decision)
    assert isinstance(told, dict)
    return told
