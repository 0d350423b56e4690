"""The admission contract over all revisions of a snapshot: the fused activator, and the core of the separate one.

Path: gateway/forward.py | activator/forward.py → [admission] → hold.py.

Source: architecture.md "The four contracts" 2; spec/serving.md §8.
"""

from collections.abc import Callable

from activator.hold import Bytes, Hold, HoldSettings, Watcher
from activator.pods import Pod
from activator.probe import Prober
from dataplane.errors import Draining, NoCapacity
from dataplane.net.engine import Engine
from dataplane.policy.admission import Slot, Waiter
from dataplane.resources.snapshot import Change, Revision, Snapshot

LABELS = ("k8s_namespace_name", "kn_service_name", "kn_configuration_name", "kn_revision_name")


class Activator:
    """Slots for every revision. `demand(hold, urgent)` hears of the first request after idleness."""

    def __init__(
        self,
        *,
        engine: Engine,
        settings: HoldSettings,
        demand: Callable[[Hold, bool], None] = lambda hold, urgent: None,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._bytes = Bytes()
        self._holds: dict[str, Hold] = {}
        self._revisions: dict[str, Revision] = {}
        self._prober = Prober(engine, self._proved)
        self._watcher = Watcher(demand=demand, probe=self._prober.probe)
        registry = engine.registry
        self._concurrency = registry.gauge(
            "kn_revision_request_concurrency", "Requests running or waiting per revision.", LABELS
        )
        self._queued = registry.gauge("kn_revision_request_queued", "Requests waiting for a pod.", LABELS)
        self._active = registry.gauge("kn_revision_request_active", "Requests that a pod works on.", LABELS)
        self._queue_bytes = registry.gauge("dataplane_activator_queue_bytes", "Bytes of waiting requests.").cell()
        registry.before_render(self._refresh)

    # ---- snapshot → us ------------------------------------------------------------------------

    def apply(self, snapshot: Snapshot, change: Change | None = None) -> None:
        """A new snapshot; `change` says what differs (None: compare)."""
        keys = (
            change.revisions if change is not None and change.base != -1 else {**self._revisions, **snapshot.revisions}
        )
        for key in list(keys):
            revision = snapshot.revisions.get(key)
            before = self._revisions.get(key)
            if revision is before:
                continue
            if revision is None:
                self._remove(key)
                continue
            self._revisions[key] = revision
            hold = self._holds.get(key)
            if hold is None:
                self._add(key, revision)
            else:
                hold.update(revision)

    # ---- forward → us (policy.admission.Admission) ----------------------------------------------

    def take(self, revision: str, avoid: str = "") -> Slot | None:
        hold = self._holds.get(revision)
        return hold.take(avoid) if hold is not None else None

    def wait(self, revision: str, waiter: Waiter, *, deadline: float, size_bytes: int) -> bool:
        hold = self._holds.get(revision)
        if hold is None:
            raise NoCapacity
        return hold.wait(waiter, deadline=deadline, size_bytes=size_bytes)

    def grow(self, revision: str, waiter: Waiter, size_bytes: int) -> None:
        hold = self._holds.get(revision)
        if hold is not None:
            hold.grow(waiter, size_bytes)

    def abandon(self, revision: str, waiter: Waiter) -> None:
        hold = self._holds.get(revision)
        if hold is not None:
            hold.abandon(waiter)

    def leave(self, slot: Slot, *, failed: bool = False) -> None:
        slot.owner.leave(slot, failed)  # type: ignore[attr-defined]  # a Pod: we gave it out

    # ---- others → us ----------------------------------------------------------------------------

    def hold(self, revision: str) -> Hold | None:
        return self._holds.get(revision)

    def waiting(self) -> int:
        """Requests waiting now, over all revisions."""
        return sum(hold.depth for hold in self._holds.values())

    def hand_back(self) -> None:
        """This process is going away: whoever still waits may be sent elsewhere (AC-06)."""
        for hold in self._holds.values():
            hold.refuse_all(Draining)

    def in_flight(self, pod: str) -> int | None:
        """Requests on a pod now, None when it is not known here: scale-in asks before it picks a victim."""
        for hold in self._holds.values():
            found = hold.pods.get(pod)
            if found is not None:
                return found.in_flight
        return None

    def running(self) -> dict[str, int]:
        """Requests on every pod that has any, by its identity: what a control plane elsewhere is told."""
        return {pod.pod: pod.in_flight for hold in self._holds.values() for pod in hold.pods.values() if pod.in_flight}

    # ---- helpers ----------------------------------------------------------------------------------

    def _add(self, key: str, revision: Revision) -> None:
        engine = self._engine
        self._holds[key] = Hold(
            revision,
            settings=self._settings,
            timers=engine.timers,
            clock=engine.clock,
            random=engine.random,
            watcher=self._watcher,
            waiting=self._bytes,
        )

    def _remove(self, key: str) -> None:
        revision = self._revisions.pop(key, None)
        hold = self._holds.pop(key, None)
        if hold is None or revision is None:
            return
        for pod in hold.pods.values():
            self._engine.pool.forget(pod.address)
        hold.close()
        labels = dict(zip(LABELS, labels_of(revision), strict=True))
        self._engine.registry.drop(
            k8s_namespace_name=labels["k8s_namespace_name"], kn_revision_name=labels["kn_revision_name"]
        )

    def _proved(self, pod: Pod) -> None:
        hold = pod.owner
        assert isinstance(hold, Hold)
        hold.proved(pod)

    def _refresh(self) -> None:
        for key, hold in self._holds.items():
            labels = labels_of(self._revisions[key])
            self._concurrency.cell(*labels).v = hold.meter.running
            self._queued.cell(*labels).v = hold.depth
            self._active.cell(*labels).v = hold.running
        self._queue_bytes.v = self._bytes.waiting


def labels_of(revision: Revision) -> tuple[str, str, str, str]:
    """Values of LABELS."""
    return revision.namespace, revision.service, revision.configuration, revision.name
