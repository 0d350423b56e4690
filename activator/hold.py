"""Requests of one revision that run or wait: slots on pods, and a queue first in first out.

Path: accept → forward → [hold] → probe → pod; in the gateway's process the gateway's forward.py calls it directly.

Taking a slot when there is capacity is a synchronous call that allocates nothing. Waiters are called back in the
order they came; a new arrival never overtakes them. Capacity that shrinks takes nothing back: what runs drains (AC-10).

When every listed pod has failed, waiters are kept for SUSPECT_PATIENCE_S (the control plane replaces a dead pod
within it), then refused; after that a suspect pod is tried rather than hope for better.

Source: spec/serving.md §8.7, §8.8, §15.4, §15.5; reliability.md AC-01…AC-05, AC-09, AC-10.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from activator.pods import Pod
from dataplane.errors import ConnectFailed, DataplaneError, NoCapacity, QueueFull, QueueTimeout
from dataplane.net.timers import NEVER, Timers
from dataplane.policy.admission import Waiter
from dataplane.policy.meter import Meter
from dataplane.policy.pick import Picker, picker
from dataplane.resources.snapshot import Revision

SUSPECT_PATIENCE_S = 1.0


class HoldSettings(msgspec.Struct, frozen=True, kw_only=True):
    """depth_max: waiting requests of one revision; bytes_max: heads and first body bytes waiting in this process."""

    depth_max: int = 10_000
    bytes_max: int = 256 * 1024 * 1024


class Bytes:
    """What waits in this process, over all revisions."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting = 0


class _Place(NamedTuple):
    deadline: float
    size_bytes: int


class Hold:
    """Admission of one revision. Invariant: somebody waits only while no usable pod has a free slot."""

    __slots__ = (
        "_bytes", "_clock", "_demand", "_limit", "_picker", "_probe", "_random", "_settings", "_suspect_since",
        "_timers", "_waiting", "failed", "key", "meter", "pods", "removed", "usable", "wake",
    )  # fmt: skip

    def __init__(
        self,
        revision: Revision,
        *,
        settings: HoldSettings,
        timers: Timers,
        clock: Callable[[], float],
        random: Callable[[], float],
        watcher: "Watcher",
        waiting: Bytes,
    ) -> None:
        self.key = f"{revision.namespace}/{revision.name}"
        self.meter = Meter(clock())
        self.pods: dict[str, Pod] = {}
        self.usable = 0
        self.failed = ""
        self.removed = False
        self.wake = NEVER
        self._settings = settings
        self._timers = timers
        self._clock = clock
        self._demand = watcher.demand
        self._probe = watcher.probe
        self._bytes = waiting
        self._limit = revision.container_concurrency
        self._random = random
        self._picker: Picker[Pod] = picker(self._limit, random)
        self._suspect_since = NEVER
        self._waiting: OrderedDict[Waiter, _Place] = OrderedDict()  # its front goes in O(1); a dict would be walked
        self.update(revision)

    @property
    def depth(self) -> int:
        """Requests waiting now."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        return self.meter.running - len(self._waiting)

    @property
    def capacity(self) -> int | None:
        """Slots over all usable pods; None = no limit."""
        return self._limit * self.usable if self._limit else (None if self.usable else 0)

    # ---- requests → us ----------------------------------------------------------------------

    def take(self, avoid: str) -> Pod | None:
        """A slot now, or None: wait."""
        if self._waiting:
            return None
        pod = self._picker.take() if not avoid and self.usable else self._pick(avoid)
        if pod is None:
            return None
        meter = self.meter
        running = meter.running
        if running == 0:
            self._demand(self, False)
        meter.arrived(self._clock())
        pod.in_flight += 1
        return pod

    def wait(self, waiter: Waiter, *, deadline: float, size_bytes: int) -> bool:
        """Stand in line. True: no pod at all, a cold start. Raises QueueFull or NoCapacity; nothing to undo."""
        if self.failed and not self.usable:
            raise NoCapacity(self.failed)
        settings = self._settings
        if len(self._waiting) >= settings.depth_max or self._bytes.waiting + size_bytes > settings.bytes_max:
            raise QueueFull
        now = self._clock()
        self._waiting[waiter] = _Place(deadline, size_bytes)
        self._bytes.waiting += size_bytes
        self.meter.arrived(now)
        self._arm(now)
        if not self.usable:
            self._demand(self, True)
        return not any(pod.listed and (pod.ready or pod.sidecar) for pod in self.pods.values())

    def grow(self, waiter: Waiter, size_bytes: int) -> None:
        """The waiter has sent more, which is held with it. Raises QueueFull; its place stays until it is abandoned."""
        place = self._waiting.get(waiter)
        if place is None:
            return
        if self._bytes.waiting + size_bytes > self._settings.bytes_max:
            raise QueueFull
        self._waiting[waiter] = place._replace(size_bytes=place.size_bytes + size_bytes)
        self._bytes.waiting += size_bytes

    def abandon(self, waiter: Waiter) -> None:
        """The waiter left."""
        if waiter in self._waiting:
            self._forget(waiter)
            self.meter.departed(self._clock())

    def leave(self, pod: Pod, failed: bool) -> None:
        """A slot comes back."""
        assert pod.in_flight > 0, "leave() without a slot"
        self.meter.departed(self._clock())
        limit, in_flight = self._limit, pod.in_flight
        pod.in_flight = in_flight - 1
        if failed:
            self._suspect(pod)
        elif limit and in_flight == limit and pod.usable:
            self._picker.freed(pod)
        if not pod.listed and in_flight == 1:
            self.pods.pop(pod.pod, None)
        if self._waiting:
            self._grant()

    # ---- snapshot and probes → us ------------------------------------------------------------

    def update(self, revision: Revision) -> None:
        """Discovery: pods are matched by identity; a changed limit counts for new dispatches only."""
        self.failed = revision.failed
        if revision.container_concurrency != self._limit:
            self._limit = revision.container_concurrency
            self._picker = picker(self._limit, self._random)
        present = set()
        for endpoint in revision.endpoints:
            present.add(endpoint.id)
            pod = self.pods.get(endpoint.id)
            if pod is None:
                pod = self.pods[endpoint.id] = Pod(endpoint, self)
            else:
                pod.update(endpoint)
            if not pod.proven and not pod.draining and (pod.ready or pod.sidecar):
                self._probe(pod)
        for identity in self.pods.keys() - present:
            pod = self.pods[identity]
            pod.listed = False
            if pod.in_flight == 0:
                del self.pods[identity]
        self._recount()

    def proved(self, pod: Pod) -> None:
        """A probe passed."""
        pod.proven = True
        self._recount()

    def on_timer(self, now: float) -> None:
        if now >= self._suspect_since + SUSPECT_PATIENCE_S:
            self.refuse_all(ConnectFailed)
            return
        while self._waiting:
            waiter, place = next(iter(self._waiting.items()))
            if place.deadline > now:
                break
            self._forget(waiter)
            self.meter.departed(now)
            waiter.refused(QueueTimeout())
        self._arm(now)

    def close(self) -> None:
        """The revision is gone: whoever waits is told, what runs may end."""
        self.removed = True
        self.refuse_all(NoCapacity)
        self._timers.forget(self)

    # ---- helpers ------------------------------------------------------------------------------

    def _pick(self, avoid: str) -> Pod | None:
        pod = self._picker.take()
        if pod is None:
            if self._suspect_since != NEVER and self._clock() >= self._suspect_since + SUSPECT_PATIENCE_S:
                return min((p for p in self.pods.values() if self._may_try(p)), key=lambda p: p.failed_at, default=None)
            return None
        if avoid and pod.pod == avoid and self.usable > 1:
            self._picker.freed(pod)
            free = (p for p in self.pods.values() if p.usable and p is not pod)
            return next((p for p in free if not self._limit or p.in_flight < self._limit), pod)
        return pod

    def _may_try(self, pod: Pod) -> bool:
        return (
            pod.listed
            and pod.ready
            and not pod.draining
            and not pod.sidecar
            and (not self._limit or pod.in_flight < self._limit)
        )

    def _grant(self) -> None:
        """Free slots go to the oldest waiters."""
        waiting = self._waiting
        while waiting:
            pod = self._picker.take()
            if pod is None:
                return
            waiter = next(iter(waiting))
            self._forget(waiter)
            pod.in_flight += 1
            waiter.granted(pod)

    def _suspect(self, pod: Pod) -> None:
        pod.failed_at = self._clock()
        if pod.proven and pod.listed:
            pod.proven = False
            self._recount()
        if pod.listed and not pod.draining:
            self._probe(pod)

    def _recount(self) -> None:
        usable = sorted((p for p in self.pods.values() if p.usable), key=lambda p: p.address)
        self.usable = len(usable)
        self._picker.replace(usable)
        now = self._clock()
        if usable or not any(self._may_try(p) for p in self.pods.values()):
            self._suspect_since = NEVER
        elif self._suspect_since == NEVER:
            self._suspect_since = now
        if self._waiting:
            self._grant()
            if self.failed and not usable:
                self.refuse_all(NoCapacity)
            self._arm(now)

    def refuse_all(self, error: type[DataplaneError]) -> None:
        """Everybody who waits is told the same."""
        now = self._clock()
        while self._waiting:
            waiter = next(iter(self._waiting))
            self._forget(waiter)
            self.meter.departed(now)
            waiter.refused(error())

    def _forget(self, waiter: Waiter) -> None:
        self._bytes.waiting -= self._waiting.pop(waiter).size_bytes

    def _arm(self, now: float) -> None:
        """One timer for the whole queue: deadlines of a revision are in the order of arrival."""
        if self._waiting:
            when = min(next(iter(self._waiting.values())).deadline, self._suspect_since + SUSPECT_PATIENCE_S)
            if when < self.wake:
                self._timers.at(self, max(when, now))


class Watcher(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told: `demand(hold, urgent)` on the first request after idleness (urgent: and nothing can serve it);
    `probe(pod)` when a pod has to prove itself (idempotent)."""

    demand: Callable[[Hold, bool], None]
    probe: Callable[[Pod], None]
