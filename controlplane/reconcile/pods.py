"""What a pod's status says, in the words that the reconcilers use. Pure.

Path: kubelet → Pod.status → [pods] → replicas.py, autoscaler.py, revision.py.

Source: spec/serving.md §2.3 (ContainerHealthy, ResourcesAvailable), §10.10 (who counts as ready).
"""

from typing import NamedTuple

from dataplane.resources.core import ContainerStatus, Pod
from dataplane.resources.meta import condition


def is_leaving(pod: Pod) -> bool:
    return bool(pod.metadata.deletion_timestamp)


def is_over(pod: Pod) -> bool:
    """Its processes ended for good; it will never serve again."""
    return pod.status.phase in ("Failed", "Succeeded")


def is_ready(pod: Pod) -> bool:
    ready = condition(pod.status.conditions, "Ready")
    return ready is not None and ready.status == "True" and not is_leaving(pod) and not is_over(pod)


def ready_count(pods: list[Pod]) -> int:
    return sum(map(is_ready, pods))


class Failure(NamedTuple):
    """Why no pod serves. `container`: ContainerHealthy, else ResourcesAvailable is what is False."""

    container: bool
    reason: str
    message: str


def failure(pods: list[Pod], serving: str, *, timed_out: bool) -> Failure | None:
    """The first reason found, the serving container's before its neighbours'.

    A container that cannot be had at all fails at once; one that merely waits gets its time (`timed_out`).
    """
    for pod in pods:
        scheduled = condition(pod.status.conditions, "PodScheduled")
        if scheduled is not None and scheduled.status == "False":
            return Failure(False, scheduled.reason, scheduled.message)
        for status in sorted(pod.status.container_statuses, key=lambda s: s.name != serving):
            if found := _container_failure(status, timed_out):
                return found
        for status in pod.status.init_container_statuses:
            ended = status.state.terminated
            done = ended is not None and ended.exit_code == 0
            if not done and (found := _container_failure(status, timed_out)):
                return found
    return None


def _container_failure(status: ContainerStatus, timed_out: bool) -> Failure | None:
    waiting = status.state.waiting
    if waiting is not None and waiting.reason == "ContainerMissing":
        return Failure(True, waiting.reason, waiting.message)
    ended = status.last_state.terminated or status.state.terminated
    if ended is not None:
        text = ended.message
        if ended.exit_code == 0 and not text:
            text = "container exited with no error"
        return Failure(True, f"ExitCode{ended.exit_code}", f"Container failed with: {text}")
    if waiting is not None and waiting.reason and timed_out:
        return Failure(False, waiting.reason, waiting.message)
    return None
