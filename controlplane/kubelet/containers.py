"""The containers of one pod as the kubelet follows them: probes while a process runs, and what happened as events.

Path: driver reports → pod.py → [containers] → probing.py, events.py; verdicts → pod.py.

Source: spec/serving.md §9.8, §12.9; Kubernetes' pkg/kubelet/events.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from controlplane.drivers.contract import ContainerReport, Driver
from controlplane.kubelet.compose import Watched
from controlplane.kubelet.events import Events
from controlplane.kubelet.probes import Kind
from controlplane.kubelet.probing import Listener, Probing
from dataplane.net.tasks import Tasks
from dataplane.resources.core import Pod


class Ward(NamedTuple):
    """Who looks after them. starting: pods that are not ready yet. judged: a probe has a new verdict."""

    driver: Driver
    tasks: Tasks
    events: Events
    starting: Callable[[], int]
    judged: Callable[[], None]


class Containers:
    """`follow` each report of each container; `close` when the pod is gone."""

    __slots__ = ("_pids", "_pod", "_probing", "_restarts", "_ward")

    def __init__(self, pod: Pod, ward: Ward) -> None:
        self._pod = pod
        self._ward = ward
        self._probing: dict[str, Probing] = {}
        self._pids: dict[str, int] = {}
        self._restarts: dict[str, int] = {}

    def follow(self, one: ContainerReport, watched: Watched | None) -> None:
        """`watched` None: nothing is asked of it any more."""
        before = self._pids.get(one.name, 0)
        pid = one.pid if one.state == "running" else 0
        if pid != before:
            self._pids[one.name] = pid
            old = self._probing.pop(one.name, None)
            if old is not None:
                old.close()
            if pid:
                self._started(one, watched)
        if one.restarts > self._restarts.get(one.name, 0):
            self._restarts[one.name] = one.restarts
            if one.last_reason == "ContainerCannotRun":
                self._note("Warning", "Failed", f"Error: {one.last_message}", one.name)
            if one.reason == "CrashLoopBackOff":
                text = f"Back-off restarting failed container {one.name} in pod {self._pod.metadata.name}"
                self._note("Warning", "BackOff", text, one.name)

    def are_ready(self, names: Mapping[str, Watched]) -> bool:
        """Every one of these runs and passes."""
        return all(name in self._probing and self._probing[name].ready for name in names)

    def ready(self) -> dict[str, bool]:
        return {name: probing.ready for name, probing in self._probing.items()}

    def started(self) -> dict[str, bool]:
        return {name: probing.started for name, probing in self._probing.items()}

    def close(self) -> None:
        for probing in self._probing.values():
            probing.close()
        self._probing.clear()
        self._pids.clear()
        self._restarts.clear()

    def _started(self, one: ContainerReport, watched: Watched | None) -> None:
        self._note("Normal", "Created", f"Created container: {one.name}", one.name)
        self._note("Normal", "Started", f"Started container {one.name}", one.name)
        if watched is None:
            return

        def failed(kind: Kind, why: str, fatal: bool) -> None:
            self._unhealthy(one.name, kind, why, fatal)

        ward = self._ward
        probing = Probing(
            uid=self._pod.metadata.uid,
            container=one.name,
            watched=watched,
            driver=ward.driver,
            tasks=ward.tasks,
            listener=Listener(ward.judged, failed, ward.starting),
        )
        self._probing[one.name] = probing
        probing.open()

    def _unhealthy(self, container: str, kind: Kind, why: str, fatal: bool) -> None:
        self._note("Warning", "Unhealthy", f"{kind.capitalize()} probe failed: {why}", container)
        if fatal:
            text = f"Container {container} failed {kind} probe, will be restarted"
            self._note("Normal", "Killing", text, container)
            self._ward.driver.restart(self._pod.metadata.uid, container, f"{kind} probe failed: {why}")

    def _note(self, kind: Literal["Normal", "Warning"], reason: str, text: str, container: str) -> None:
        self._ward.events.note(self._pod, kind, reason, text, container)
