"""Revision → as many Pods as its PodAutoscaler wants.

Path: autoscaler.py → [replicas] → Pod objects → kubelet.

Nothing but pods is written here, and pods are not durable: a scale-from-zero waits for no disk.

Scale-in takes what costs least: pods that are not ready, then idle ones, the youngest first. It only marks them; the
kubelet drains and removes.

Source: spec/serving.md §10.7, §12.2–12.5, §12.12; §15.8 (upstream kills at random).
"""

from msgspec.structs import replace

from controlplane.reconcile.autoscaler import labels, serving_container, wanted
from controlplane.reconcile.naming import DEFAULT_CONTAINER, ROUTES, ROUTING_STATE_MODIFIED, pod_name
from controlplane.reconcile.outcome import NOTHING, Outcome, controlled_by, create, owner, update
from controlplane.reconcile.pods import is_leaving, is_over, is_ready
from controlplane.reconcile.view import View
from controlplane.store.contract import Write
from dataplane.clock import parse_rfc3339, rfc3339
from dataplane.resources.core import Pod, PodSpec
from dataplane.resources.meta import ObjectMeta
from dataplane.resources.serving import PodAutoscaler, Revision

PODS_MAX = 1_000  # of one revision on one machine, whatever is asked for
BURST_MAX = 100  # pods per pass; the rest follows at once in the next
REPLACE_S = 2.0  # a pod that was over before this age is replaced when it has reached it


def reconcile(revision: Revision, view: View, now: float) -> Outcome:
    meta = revision.metadata
    autoscaler = view.find(PodAutoscaler, meta.namespace, meta.name)
    if autoscaler is None or not controlled_by(autoscaler, revision):
        return NOTHING
    want = min(PODS_MAX, wanted(autoscaler, view.facts.decision(f"{meta.namespace}/{meta.name}")))
    pods = [pod for pod in view.children(Pod, revision) if not is_leaving(pod)]
    writes: list[Write] = []
    again: float | None = None

    for pod in [pod for pod in pods if is_over(pod)]:
        wait_s = _age_left_s(pod, now)
        if wait_s > 0:  # it holds its place until then, so that a pod that cannot live does not spin
            again = wait_s if again is None else min(again, wait_s)
        else:
            writes += update(pod, leaving(pod, now))
            pods.remove(pod)

    missing = want - len(pods)
    if missing > 0:
        writes += [create(_pod(revision, view.facts.suffix())) for _ in range(min(missing, BURST_MAX))]
        if missing > BURST_MAX:
            again = 0.0
    elif missing < 0:
        for pod in victims(pods, view)[:-missing]:
            writes += update(pod, leaving(pod, now))
    return Outcome(tuple(writes), requeue_after_s=again)


def victims(pods: list[Pod], view: View) -> list[Pod]:
    """In the order in which they go."""

    def cost(pod: Pod) -> tuple[bool, int]:
        if not is_ready(pod):
            return (False, 0)
        running = view.facts.in_flight(pod.metadata.uid)
        return (True, 1 if running is None else running)

    youngest = sorted(pods, key=lambda p: (p.metadata.creation_timestamp, int(p.metadata.resource_version or 0)))
    return sorted(reversed(youngest), key=cost)


def leaving(pod: Pod, now: float) -> Pod:
    """Marked for the kubelet: drain it, stop it, remove it."""
    grace = pod.spec.termination_grace_period_seconds
    meta = replace(
        pod.metadata,
        deletion_timestamp=rfc3339(now),
        deletion_grace_period_seconds=30 if grace is None else grace,
    )
    return replace(pod, metadata=meta)


def _pod(revision: Revision, suffix: str) -> Pod:
    meta, spec = revision.metadata, revision.spec
    annotations = {key: value for key, value in meta.annotations.items() if key not in (ROUTES, ROUTING_STATE_MODIFIED)}
    container = serving_container(spec)
    if container is not None and container.name:
        annotations.setdefault(DEFAULT_CONTAINER, container.name)
    fields = {name: getattr(spec, name) for name in PodSpec.__struct_fields__}
    fields["restart_policy"] = "Always"
    fields["termination_grace_period_seconds"] = spec.timeout_seconds or 300
    return Pod(
        metadata=ObjectMeta(
            name=pod_name(meta.name, meta.uid, suffix),
            namespace=meta.namespace,
            labels=labels(revision),
            annotations=annotations,
            owner_references=(owner(revision),),
        ),
        spec=PodSpec(**fields),
    )


def _age_left_s(pod: Pod, now: float) -> float:
    born = pod.metadata.creation_timestamp
    return parse_rfc3339(born) + REPLACE_S - now if born else 0.0
