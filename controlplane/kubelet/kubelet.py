"""Pod objects → processes; their readiness → endpoints.

Path: reconcile/replicas.py → Pod objects in the store → [kubelet] → driver; → publish.py, at once, when a pod is ready.

Pods do not outlive the program (the nursery sees to that), so it starts with nothing: folders of an earlier run are
removed, and what is in the store is begun.

Source: spec/serving.md §12, §17; architecture.md "The parts".
"""

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from controlplane.drivers.contract import Driver, PodReport
from controlplane.kubelet.compose import Folders, Ground
from controlplane.kubelet.confinement import Powers, own_capabilities
from controlplane.kubelet.events import Events
from controlplane.kubelet.logs import LogFiles
from controlplane.kubelet.pod import Office, PodLife
from controlplane.kubelet.settings import KubeletSettings
from controlplane.kubelet.writer import Writer
from controlplane.store.contract import Change, Key, Store
from dataplane.clock import Clock
from dataplane.net.tasks import Tasks
from dataplane.resources.core import Pod
from dataplane.resources.snapshot import Endpoint

log = logging.getLogger(__name__)

OnEndpoints = Callable[[str, tuple[Endpoint, ...]], None]
InFlight = Callable[[str], int | None]


class Kubelet:
    """on_endpoints(revision key `namespace/name`, all its endpoints): called on the loop, must not block.

    in_flight(pod uid): requests that run there; None when nobody knows.
    """

    def __init__(
        self,
        *,
        store: Store,
        driver: Driver,
        clock: Clock,
        settings: KubeletSettings,
        on_endpoints: OnEndpoints,
        in_flight: InFlight,
    ) -> None:
        self._store = store
        self._driver = driver
        self._clock = clock
        self._settings = settings
        self._on_endpoints = on_endpoints
        self._in_flight = in_flight
        self._tasks = Tasks("kubelet")
        self._lives: dict[str, PodLife] = {}
        self._by_revision: dict[str, dict[str, PodLife]] = {}
        self._office: Office | None = None
        self._unwatch: Callable[[], None] = lambda: None
        self._closing = False
        self._all_left = asyncio.Event()
        self.logs = LogFiles(settings.data / "logs", clock=clock)

    async def start(self) -> None:
        """Opens the driver. Raises OSError or TimeoutError when it cannot."""
        await asyncio.to_thread(self._empty_folders)
        await self._driver.open(self._reported)
        powers = await asyncio.to_thread(_powers, self._driver.not_enforced)
        ground = Ground(self._settings, self._driver.no_mounts, self._driver.free_port, powers)
        if ground.no_mounts:
            log.warning("no_private_mounts why=%s instead=%s", ground.no_mounts, "mount paths are rewritten")
        self._office = Office(
            store=self._store,
            driver=self._driver,
            clock=self._clock,
            tasks=self._tasks,
            events=Events(store=self._store, clock=self._clock, tasks=self._tasks),
            writer=Writer(store=self._store, tasks=self._tasks),
            ground=ground,
            in_flight=self._in_flight,
            starting=self._starting,
            moved=self._moved,
            left=self._left,
        )
        self._unwatch = self._store.watch(self._changed)
        for pod in self._store.objects("", "Pod"):
            if isinstance(pod, Pod):
                self._begin(pod)

    async def close(self) -> None:
        """Drain and stop every pod within `close_s`, then close the driver; no process is left."""
        self._closing = True
        self._unwatch()
        self._all_left.clear()
        for life in list(self._lives.values()):
            life.terminate(self._settings.close_s)
        if self._lives:
            try:
                async with asyncio.timeout(self._settings.close_s + 2.0):
                    await self._all_left.wait()
            except TimeoutError:
                log.warning("pods_left_at_close count=%s", len(self._lives))
        for uid in self._lives:
            self._driver.stop(uid, grace_s=0.0)
        await self._driver.close()
        await self._tasks.close()

    def pods(self) -> list[PodLife]:
        return list(self._lives.values())

    # --- store → pods ---

    def _changed(self, change: Change) -> None:
        one = change.object
        if isinstance(one, Pod):
            if change.type == "DELETED":
                life = self._lives.get(one.metadata.uid)
                if life is not None:  # removed by force: its processes go the ordinary way
                    life.terminate()
            else:
                self._begin(one)
        elif change.key.kind in ("ConfigMap", "Secret") and change.key.group == "":
            for life in list(self._lives.values()):
                if change.key in life.depends:
                    asyncio.get_running_loop().call_soon(life.refresh)

    def _begin(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        life = self._lives.get(uid)
        if life is None:
            if self._closing or self._office is None or not uid:
                return
            meta = pod.metadata
            data = self._settings.data
            folders = Folders(logs=data / "logs" / meta.namespace / meta.name, volumes=data / "volumes" / uid)
            life = PodLife(pod, Key("", "Pod", meta.namespace, meta.name), folders, self._office)
            self._lives[uid] = life
            if life.revision:
                self._by_revision.setdefault(life.revision, {})[uid] = life
            if not meta.deletion_timestamp:
                asyncio.get_running_loop().call_soon(life.begin)
        life.pod = pod
        if pod.metadata.deletion_timestamp:
            grace = pod.metadata.deletion_grace_period_seconds
            life.terminate(None if grace is None else float(grace))

    # --- pods → everybody ---

    def _reported(self, report: PodReport) -> None:
        life = self._lives.get(report.uid)
        if life is not None:
            life.reported(report)

    def _starting(self) -> int:
        return sum(life.is_starting for life in self._lives.values())

    def _moved(self, life: PodLife) -> None:
        if life.revision:
            lives = self._by_revision.get(life.revision, {}).values()
            endpoints = tuple(endpoint for one in lives if (endpoint := one.endpoint()) is not None)
            self._on_endpoints(life.revision, endpoints)

    def _left(self, life: PodLife) -> None:
        self._lives.pop(life.uid, None)
        siblings = self._by_revision.get(life.revision, {})
        siblings.pop(life.uid, None)
        if not siblings:
            self._by_revision.pop(life.revision, None)
        if not self._lives:
            self._all_left.set()

    def _empty_folders(self) -> None:
        for name in ("logs", "volumes"):
            folder = self._settings.data / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, mode=0o700)


def _powers(not_enforced: Mapping[str, str]) -> Powers:
    """Ours; containers are started by a child of this process. Reads /proc."""
    capabilities = own_capabilities(Path("/proc/self/status").read_text())
    return Powers(os.geteuid(), os.getegid(), frozenset(os.getgroups()), capabilities, not_enforced)
