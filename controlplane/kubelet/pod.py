"""The life of one pod, from its object to its last process.

Path: kubelet.py → [pod] → compose.py → driver; driver reports, probes → endpoints (at once), status (soon).

    begin ──refused──→ blocked ──a ConfigMap or Secret changed──→ begin
      └──→ launched ──all containers ready──→ serves ──deletion──→ draining ──idle, or out of time──→ stopping ──→ gone
              │ its port was taken by a stranger: again, with another port                                        ↑
              └── lost (the supervisor died), or evicted (over its disk limit): Failed, until somebody deletes it ┘

Source: spec/serving.md §12.3, §12.9, §17; reliability.md LP-03.
"""

import asyncio
import functools
import logging
import shutil
from collections.abc import Callable
from typing import Literal, NamedTuple

from msgspec.structs import replace

from controlplane.drivers.contract import Driver, PodReport
from controlplane.kubelet import usage, volumes
from controlplane.kubelet.compose import SIDECAR, Composed, Folders, Ground, compose, serving_container
from controlplane.kubelet.containers import Containers, Ward
from controlplane.kubelet.environment import LABELS
from controlplane.kubelet.events import Events
from controlplane.kubelet.materialise import make, make_all
from controlplane.kubelet.references import References
from controlplane.kubelet.refusal import NotRunnable
from controlplane.kubelet.status import ADDRESS, Seen, status
from controlplane.kubelet.writer import Writer, with_annotation
from controlplane.store.contract import Key, Store
from dataplane.clock import Clock
from dataplane.net.tasks import Tasks
from dataplane.resources.core import Pod
from dataplane.resources.serving import GROUP, Revision
from dataplane.resources.snapshot import Endpoint

log = logging.getLogger(__name__)

PORT = "dataplane.dev/port"
DRAIN_POLL_S = (0.02, 0.25)  # first look when the hops have the new snapshot; then less and less often
LAST_GRACE_S = 2.0  # for SIGTERM when draining took the whole grace period, as Kubernetes gives
CLASHES_MAX = 5


class Office(NamedTuple):
    """What all pods share. moved: the endpoints of this pod's revision changed. left: the pod is no more."""

    store: Store
    driver: Driver
    clock: Clock
    tasks: Tasks
    events: Events
    writer: Writer
    ground: Ground
    in_flight: Callable[[str], int | None]
    starting: Callable[[], int]
    moved: Callable[["PodLife"], None]
    left: Callable[["PodLife"], None]


State = Literal["new", "blocked", "launching", "launched", "draining", "stopping", "over", "gone"]


class PodLife:
    """One Pod object. All methods are called on the loop and return at once."""

    __slots__ = (
        *("pod", "key", "uid", "revision", "state", "ready", "depends", "_office", "_folders", "_composed", "_refused"),
        *("_report", "_containers", "_was_ready", "_clashes", "_relaunch", "_grace_s", "_refreshing", "_evicted"),
    )

    def __init__(self, pod: Pod, key: Key, folders: Folders, office: Office) -> None:
        self.pod = pod
        self.key = key
        self.uid = pod.metadata.uid
        name = pod.metadata.labels.get(LABELS["K_REVISION"], "")
        self.revision = f"{pod.metadata.namespace}/{name}" if name else ""
        self.state: State = "new"
        self.ready = False
        self.depends: set[Key] = set()
        self._office = office
        self._folders = folders
        self._composed: Composed | None = None
        self._refused: NotRunnable | None = None
        self._report: PodReport | None = None
        ward = Ward(office.driver, office.tasks, office.events, office.starting, self._probed)
        self._containers = Containers(pod, ward)
        self._was_ready = False
        self._clashes = 0
        self._relaunch = False
        self._grace_s: float | None = None
        self._refreshing = False
        self._evicted = ""  # why

    @property
    def leaving(self) -> bool:
        return self.state in ("draining", "stopping", "over", "gone")

    @property
    def is_starting(self) -> bool:
        return self.state in ("launching", "launched") and not self.ready

    def endpoint(self) -> Endpoint | None:
        """None for a pod that serves nothing, or was never ready, or is gone."""
        if self._composed is None or not self._composed.port or not self._was_ready or self.state in ("over", "gone"):
            return None
        return Endpoint(
            id=self.uid,
            address=f"{ADDRESS}:{self._composed.port}",
            ready=self.ready and not self.leaving,
            sidecar=SIDECAR in self._composed.watched,
            draining=self.leaving,
        )

    # --- start ---

    def begin(self) -> None:
        if self.state not in ("new", "blocked"):
            return
        office = self._office
        refs = References(self.pod, office.store.get)
        try:
            self._composed = compose(self.pod, refs, office.ground, self._folders, self._revision_object())
        except NotRunnable as why:
            self._refuse(why)
            return
        finally:
            self.depends = refs.seen
        self._refused = None
        self.state = "launching"
        for one in self._composed.warnings:
            log.warning("not_as_asked pod=%s reason=%s message=%s", self.pod.metadata.name, one.reason, one.message)
            office.events.note(self.pod, "Warning", one.reason, one.message, one.container)
        if self._composed.contents:
            office.tasks.spawn(self._launch_with_volumes(self._composed), f"volumes.{self.pod.metadata.name}")
        else:
            self._launch(self._composed)

    def _refuse(self, why: NotRunnable) -> None:
        if self._refused is None or self._refused.message != why.message:
            self._office.events.note(self.pod, "Warning", "Failed", f"Error: {why.message}", why.container)
            log.warning("pod_refused pod=%s reason=%s message=%s", self.pod.metadata.name, why.reason, why.message)
        self.state, self._refused, self._composed = "blocked", why, None
        self._write_status()

    async def _launch_with_volumes(self, composed: Composed) -> None:
        try:
            await asyncio.to_thread(make_all, composed)
        except OSError as error:
            self._office.driver.give_back(composed.process.ports)
            if self.state == "launching":
                self._refuse(NotRunnable("FailedMount", f"volumes: {error}"))
            return
        if self.state == "launching":
            self._launch(composed)
        else:
            self._office.driver.give_back(composed.process.ports)

    def _launch(self, composed: Composed) -> None:
        self.state = "launched"
        self._folders.logs.mkdir(parents=True, exist_ok=True)
        self._office.driver.start(composed.process)
        self._write_status()
        if usage.limits(composed):
            self._office.tasks.spawn(self._watch_usage(composed), f"usage.{self.pod.metadata.name}")

    def _revision_object(self) -> Revision | None:
        name = self.pod.metadata.labels.get(LABELS["K_REVISION"], "")
        found = self._office.store.get(Key(GROUP, "Revision", self.pod.metadata.namespace, name))
        return found if isinstance(found, Revision) else None

    # --- what the driver says ---

    def reported(self, report: PodReport) -> None:
        self._report = report
        watched = self._composed.watched if self._composed is not None and not self.leaving else {}
        for one in report.containers:
            self._containers.follow(one, watched.get(one.name))
        self._judge()
        if report.gone:
            self._gone()
        else:
            self._write_status()
            self._look_for_a_clash(report)

    def _probed(self) -> None:
        self._judge()
        self._write_status()

    def _judge(self) -> None:
        """Ready = every container runs and passes. Whoever routes hears of a change at once."""
        composed = self._composed
        ready = (
            composed is not None
            and self.state == "launched"
            and not self._evicted
            and bool(composed.watched)
            and self._containers.are_ready(composed.watched)
        )
        if ready != self.ready:
            self.ready = ready
            self._was_ready = self._was_ready or ready
            self._office.moved(self)

    # --- it takes too much disk ---

    async def _watch_usage(self, composed: Composed) -> None:
        most = usage.limits(composed)
        while True:
            await asyncio.sleep(usage.EVERY_S)
            if self.state != "launched" or self._composed is not composed:
                return
            why = await asyncio.to_thread(usage.excess, composed, self._folders, most)
            if why and self.state == "launched" and self._composed is composed:
                return self._evict(why)

    def _evict(self, why: str) -> None:
        """Its processes end at once, without a drain: the disk is everybody's."""
        log.warning("pod_evicted pod=%s why=%s", self.pod.metadata.name, why)
        self._office.events.note(self.pod, "Warning", "Evicted", why)
        self._evicted = why
        self._judge()
        self._office.driver.stop(self.uid, grace_s=LAST_GRACE_S)

    # --- its port was taken ---

    def _look_for_a_clash(self, report: PodReport) -> None:
        """It crashes, and while nothing of it runs somebody has its port."""
        composed, served = self._composed, serving_container(self.pod)
        if self.state != "launched" or composed is None or served is None or self._relaunch:
            return
        one = next((c for c in report.containers if c.name == served.name), None)
        if one is None or one.reason != "CrashLoopBackOff" or self._clashes >= CLASHES_MAX:
            return
        taken = [port for port in composed.process.ports if not self._office.driver.is_free(port)]
        if taken:
            self._clashes += 1
            self._relaunch = True
            text = f"port {taken[0]} was taken by another program: starting again with another one"
            self._office.events.note(self.pod, "Warning", "PortClash", text, served.name)
            log.warning("port_clash pod=%s port=%s", self.pod.metadata.name, taken[0])
            self._office.driver.stop(self.uid, grace_s=0.0)

    # --- the end ---

    def terminate(self, grace_s: float | None = None) -> None:
        """Drain, stop, and remove the object. Again with a shorter grace period: the shorter one counts."""
        if grace_s is not None:
            self._grace_s = grace_s if self._grace_s is None else min(self._grace_s, grace_s)
        if self.state in ("new", "blocked", "launching", "over"):
            self._finish()
        elif self.state == "launched":
            self.state = "draining"
            for one in self.pod.spec.containers:
                text = f"Stopping container {one.name}"
                self._office.events.note(self.pod, "Normal", "Killing", text, one.name)
            self._judge()
            self._office.moved(self)
            self._write_status()
            self._office.tasks.spawn(self._drain(), f"drain.{self.pod.metadata.name}")
        elif self.state == "stopping" and grace_s is not None:
            self._office.driver.stop(self.uid, grace_s=grace_s)

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        began, pause_s = loop.time(), DRAIN_POLL_S[0]
        known_at = began  # when somebody could last say what runs there
        while self._was_ready and self._time_left_s(began) > 0:
            await asyncio.sleep(min(pause_s, self._time_left_s(began)))
            running = self._office.in_flight(self.uid)
            if running is not None:
                known_at = loop.time()
            if running == 0 or loop.time() - known_at >= self._office.ground.settings.drain_s:
                break
            pause_s = min(2 * pause_s, DRAIN_POLL_S[1])
        if self.state == "draining":
            self.state = "stopping"
            left_s = self._time_left_s(began)
            grace_s = left_s if self._grace_s == 0 else max(left_s, LAST_GRACE_S)
            self._office.driver.stop(self.uid, grace_s=grace_s)

    def _time_left_s(self, began: float) -> float:
        assert self._composed is not None
        grace_s = self._composed.process.grace_s if self._grace_s is None else self._grace_s
        return max(0.0, began + grace_s - asyncio.get_running_loop().time())

    def _gone(self) -> None:
        self._containers.close()
        if self._relaunch and self.state == "launched":
            self._relaunch = False
            self.state, self._report = "new", None
            self.begin()
        elif self.state in ("draining", "stopping"):
            self._finish()
        else:
            self.state = "over"
            self._judge()
            self._office.moved(self)
            self._write_status()

    def _finish(self) -> None:
        self.state = "gone"
        self._office.moved(self)
        self._office.left(self)
        self._office.writer.write(self.key, lambda pod: None if pod.metadata.uid == self.uid else pod)
        self._office.tasks.spawn(asyncio.to_thread(self._clean), f"clean.{self.pod.metadata.name}")

    def _clean(self) -> None:
        shutil.rmtree(self._folders.volumes, ignore_errors=True)
        shutil.rmtree(self._folders.logs, ignore_errors=True)

    # --- what it refers to changed ---

    def refresh(self) -> None:
        """A ConfigMap or Secret in `depends` changed: start what waited for it, or update what is mounted."""
        if self.state == "blocked":
            self.begin()
        elif self.state == "launched" and self._composed is not None and not self._refreshing:
            self._refreshing = True
            self._office.tasks.spawn(self._update_volumes(self._composed), f"refresh.{self.pod.metadata.name}")

    async def _update_volumes(self, composed: Composed) -> None:
        await asyncio.sleep(0)
        self._refreshing = False
        refs = References(self.pod, self._office.store.get)
        for volume in self.pod.spec.volumes:
            folder = self._folders.volumes / volume.name
            if folder not in composed.contents:
                continue
            try:
                content = volumes.content(volume, refs)
                await asyncio.to_thread(functools.partial(make, folder, content, group=composed.fs_group))
            except (NotRunnable, OSError) as error:  # what is mounted stays as it was, as in Kubernetes
                self._office.events.note(self.pod, "Warning", "FailedMount", f"{volume.name}: {error}")

    # --- status ---

    def _write_status(self) -> None:
        if self.state != "gone":
            self._office.writer.write(self.key, self._present)

    def _present(self, pod: Pod) -> Pod:
        if pod.metadata.uid != self.uid:
            return pod
        reports = {one.name: one for one in self._report.containers} if self._report is not None else {}
        seen = Seen(
            reports=reports,
            ready=self._containers.ready(),
            started=self._containers.started(),
            pod_ready=self.ready,
            refused=self._refused,
            over=self.state == "over",
            evicted=self._evicted,
        )
        pod = replace(pod, status=status(pod, seen, self._office.clock.wall()))
        if self._composed is not None and self._composed.process.ports:
            pod = with_annotation(pod, PORT, str(self._composed.process.ports[0]))
        return pod
