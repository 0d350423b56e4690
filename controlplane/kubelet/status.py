"""What a Pod's status says about what the driver and the probes say. Pure.

Path: driver reports, probes → [status] → writer.py → Pod.status.

Source: Kubernetes' pod phases and conditions; spec/serving.md §2.3 (what the revision reads from it).
"""

from collections.abc import Mapping
from typing import NamedTuple

from controlplane.drivers.contract import ContainerReport
from controlplane.kubelet.refusal import NotRunnable
from dataplane.clock import rfc3339
from dataplane.resources.core import (
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    Pod,
    PodIP,
    PodStatus,
)
from dataplane.resources.meta import Condition, condition

ADDRESS = "127.0.0.1"


class Seen(NamedTuple):
    """Everything known about a pod. `refused`: it was not started. `over`: it ended without being asked to.

    `evicted`: why it had to go.
    """

    reports: Mapping[str, ContainerReport] = {}
    ready: Mapping[str, bool] = {}
    started: Mapping[str, bool] = {}
    pod_ready: bool = False
    refused: NotRunnable | None = None
    over: bool = False
    evicted: str = ""


def status(pod: Pod, seen: Seen, now: float) -> PodStatus:
    """The whole status; transition times of unchanged conditions stay."""
    spec = pod.spec
    inits = tuple(_container(one, seen) for one in spec.init_containers)
    mains = tuple(_container(one, seen) for one in spec.containers)
    initialized = all(one.state.terminated and one.state.terminated.exit_code == 0 for one in inits)
    containers_ready = bool(mains) and seen.pod_ready
    before = pod.status.conditions
    unready = [one.name for one in mains if not one.ready]
    why = f"containers with unready status: [{' '.join(unready)}]" if unready else "the pod is leaving or starting"
    conditions = (
        _condition("PodScheduled", True, "", "", before, now),
        _condition("Initialized", initialized, "ContainersNotInitialized", "", before, now),
        _condition("ContainersReady", containers_ready, "ContainersNotReady", why, before, now),
        _condition("Ready", containers_ready, "ContainersNotReady", why, before, now),
    )
    phase = "Pending"
    if seen.over:
        phase = "Failed"
    elif mains and all(one.state.terminated for one in mains):
        failed = any(one.state.terminated and one.state.terminated.exit_code for one in mains)
        phase = "Failed" if failed else "Succeeded"
    elif initialized and any(one.state.running or one.last_state.terminated for one in mains):
        phase = "Running"
    return PodStatus(
        phase=phase,
        conditions=conditions,
        reason="Evicted" if seen.evicted else "NodeLost" if seen.over else "",
        message=seen.evicted or ("its supervisor process ended" if seen.over else ""),
        pod_ip=ADDRESS,
        pod_ips=(PodIP(ip=ADDRESS),),
        host_ip=ADDRESS,
        start_time=pod.status.start_time or rfc3339(now),
        container_statuses=mains,
        init_container_statuses=inits,
    )


def _container(container: Container, seen: Seen) -> ContainerStatus:
    report = seen.reports.get(container.name)
    if report is None:
        reason, message = "ContainerCreating", ""
        if seen.refused is not None and seen.refused.container in ("", container.name):
            reason, message = seen.refused.reason, seen.refused.message
        state = ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message))
        return ContainerStatus(name=container.name, image=container.image, state=state)
    return ContainerStatus(
        name=container.name,
        ready=seen.ready.get(container.name, False) or report.exit_code == 0,
        started=seen.started.get(container.name, False),
        restart_count=report.restarts,
        image=container.image,
        image_id=container.image,
        container_id=f"process://{report.pid}" if report.pid else "",
        state=_state(report),
        last_state=_last(report),
    )


def _state(report: ContainerReport) -> ContainerState:
    if report.state == "running":
        return ContainerState(running=ContainerStateRunning(started_at=_time(report.started_at)))
    if report.state == "terminated" and report.exit_code is not None:
        return ContainerState(
            terminated=ContainerStateTerminated(
                exit_code=report.exit_code,
                signal=report.signal,
                reason=report.reason,
                message=report.message,
                started_at=_time(report.started_at),
                finished_at=_time(report.finished_at),
            )
        )
    return ContainerState(waiting=ContainerStateWaiting(reason=report.reason, message=report.message))


def _last(report: ContainerReport) -> ContainerState:
    if report.last_exit_code is None:
        return ContainerState()
    return ContainerState(
        terminated=ContainerStateTerminated(
            exit_code=report.last_exit_code,
            reason=report.last_reason,
            message=report.last_message,
            started_at=_time(report.last_started_at),
            finished_at=_time(report.last_finished_at),
        )
    )


def _condition(
    kind: str, true: bool, reason: str, message: str, before: tuple[Condition, ...], now: float
) -> Condition:
    word = "True" if true else "False"
    old = condition(before, kind)
    since = old.last_transition_time if old is not None and old.status == word else rfc3339(now)
    return Condition(
        type=kind,
        status="True" if true else "False",
        reason="" if true else reason,
        message="" if true else message,
        last_transition_time=since,
    )


def _time(wall_s: float) -> str:
    return rfc3339(wall_s) if wall_s else ""
