"""Resources and endpoints → the snapshot that every hop reads, changed in place of nothing: a new value, shared parts.

Path: store, kubelet → [publish] → hops in this process (gateway, activator, autoscaler, broker); hops.py → elsewhere.

One change costs the values it touches and one copy of a dictionary. Changes of one turn of the event loop become one
generation, unless they are so many that compiling them would hold up requests: then the rest follows in the next turns,
revisions before the Routes that name them and gone ones after. A hop sees whole generations only, so weights always add
up to 100 (GW-34).

A Route is Ready when whoever counts has applied the generation that holds it: subscribers in this process at once,
followers when they say so. A follower that does not say so in LAG_S is not waited for until it has caught up.

Source: spec/serving.md §6.12, §6.13; reliability.md GW-33, GW-34, CP-05; architecture.md "The four contracts" 1.
"""

import asyncio
import functools
import logging
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TypeVar

from controlplane import compile as compiled
from controlplane.compile_eventing import Doors
from controlplane.knative_config import KnativeConfig
from controlplane.publish_eventing import EventingParts
from controlplane.reconcile.outcome import key_for
from controlplane.reconcile.view import Programmed
from controlplane.store.contract import Change as StoreChange
from controlplane.store.contract import Store
from dataplane.errors import ConfigFault
from dataplane.resources import serving
from dataplane.resources.snapshot import Change, Endpoint, Revision, Route, Snapshot, full
from dataplane.resources.triggers import Broker, Trigger
from dataplane.telemetry.metrics import Registry

log = logging.getLogger(__name__)

TURN_S = 0.001  # compiling per turn of the event loop
LAG_S = 2.0  # how long Ready waits for a follower
HISTORY_MAX = 256  # generations that a follower may have missed and still be sent a difference

V = TypeVar("V")
Apply = Callable[[Snapshot, Change], None]


class Follower:
    """Somebody in another process. What it has not been sent yet is one merged Change, never a queue."""

    __slots__ = ("_wake", "applied", "counted", "pending", "timer")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.applied = -1
        self.counted = False  # Ready waits for it: from its first answer that is up to date
        self.pending: Change | None = None
        self.timer: asyncio.TimerHandle | None = None

    def take(self) -> Change | None:
        """What to send next; None: nothing, `wake` will be called."""
        change, self.pending = self.pending, None
        return change

    def add(self, change: Change) -> None:
        self.pending = change if self.pending is None else merged(self.pending, change)
        self._wake()


class Publisher:
    """`open` compiles everything; then it follows the store. All methods are called on the loop."""

    def __init__(
        self,
        *,
        store: Store,
        config: Callable[[], KnativeConfig],
        loop: asyncio.AbstractEventLoop,
        generation: int,
        settled: Callable[[str], None],
        registry: Registry,
        doors: Doors = Doors(),
    ) -> None:
        """`generation`: greater than any that an earlier process gave out (milliseconds since 1970 are).

        `settled`: called with namespace/name of a Route when every hop has its present value.
        """
        self.snapshot = Snapshot(generation=generation)
        self._activators: tuple[str, ...] = ()
        self._store = store
        self._config = config
        self._loop = loop
        self._settled = settled
        self._endpoints: dict[str, tuple[Endpoint, ...]] = {}
        self._dirty_routes: OrderedDict[str, None] = OrderedDict()
        self._dirty_revisions: OrderedDict[str, None] = OrderedDict()
        self._gone_revisions: dict[str, None] = {}  # leave when no Route waits that may have named them
        self._eventing = EventingParts(store, doors)
        self._flushing: asyncio.Handle | None = None
        self._subscribers: list[Apply] = []
        self._followers: list[Follower] = []
        self._history: deque[Change] = deque(maxlen=HISTORY_MAX)
        self._sources: dict[str, tuple[object, ...]] = {}  # Route → what its value was compiled from
        self._published: dict[str, int] = {}  # Route → generation of its present value
        self._unsettled: dict[str, int] = {}
        self._unwatch: Callable[[], None] = lambda: None
        self._generation_metric = registry.gauge("dataplane_snapshot_generation", "Newest published generation.").cell()
        self._followers_metric = registry.gauge("dataplane_snapshot_followers", "Connected followers.").cell()
        self._lagging_metric = registry.counter(
            "dataplane_snapshot_followers_lagging_total", "Followers that Ready stopped waiting for."
        ).cell()

    def open(self) -> None:
        self._unwatch = self._store.watch(self._changed)
        self.reconfigured()
        self.flush()

    def close(self) -> None:
        self._unwatch()
        if self._flushing is not None:
            self._flushing.cancel()
        for follower in list(self._followers):
            self.leave(follower)

    # what changes

    def reconfigured(self) -> None:
        """Compile everything again: the configuration is another one."""
        for one in self._store.objects(serving.GROUP, "Revision"):
            self._dirty_revisions[_name(one.metadata.namespace, one.metadata.name)] = None
        for one in self._store.objects(serving.GROUP, "Route"):
            self._dirty_routes[_name(one.metadata.namespace, one.metadata.name)] = None
        self._eventing.all()
        self._schedule()

    def endpoints(self, revision: str, endpoints: tuple[Endpoint, ...]) -> None:
        """The pods of `namespace/name`, all of them, as they are now. Empty: none."""
        if endpoints:
            self._endpoints[revision] = endpoints
        else:
            self._endpoints.pop(revision, None)
        self._dirty_revisions[revision] = None
        self._schedule()

    def activators(self, names: tuple[str, ...]) -> None:
        """All that there are, sorted."""
        self._activators = names
        self._schedule()

    def _changed(self, change: StoreChange) -> None:
        name = _name(change.key.namespace, change.key.name)
        if isinstance(change.object, serving.Route):
            self._dirty_routes[name] = None
        elif isinstance(change.object, serving.Revision | serving.PodAutoscaler):
            self._dirty_revisions[name] = None
        elif not self._eventing.changed(change):
            return
        self._schedule()

    def _schedule(self) -> None:
        if self._flushing is None:
            self._flushing = self._loop.call_soon(self._turn)

    # publishing

    def flush(self) -> None:
        """Publish all that is dirty, now. Usually it happens by itself, a slice per turn."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        while self._dirty:
            self._publish(math.inf)

    @property
    def _dirty(self) -> bool:
        return bool(self._dirty_revisions or self._dirty_routes or self._eventing.dirty)

    @property
    def is_current(self) -> bool:
        """Everything that was said so far is in the snapshot."""
        return not self._dirty and self._flushing is None

    def _turn(self) -> None:
        self._flushing = None
        self._publish(self._loop.time() + TURN_S)
        if self._dirty:
            self._schedule()

    def _publish(self, until: float) -> None:
        revisions: dict[str, Revision | None] = {}
        routes: dict[str, Route | None] = {}
        while self._dirty_revisions and self._loop.time() < until:
            self._rebuild_revision(self._dirty_revisions.popitem(last=False)[0], revisions)
        while self._dirty_routes and self._loop.time() < until:
            self._rebuild_route(self._dirty_routes.popitem(last=False)[0], routes)
        if not self._dirty_revisions and not self._dirty_routes:
            revisions.update(dict.fromkeys(self._gone_revisions))
            self._gone_revisions = {}
        brokers: dict[str, Broker | None] = {}
        triggers: dict[str, Trigger | None] = {}
        while self._loop.time() < until and self._eventing.next(self.snapshot, brokers, triggers):
            pass
        base = self.snapshot
        activators = self._activators if self._activators != base.activators else None
        if not (routes or revisions or brokers or triggers) and activators is None:
            self._eventing.published()
            return
        change = Change(
            generation=base.generation + 1,
            base=base.generation,
            routes=routes,
            revisions=revisions,
            brokers=brokers,
            triggers=triggers,
            activators=activators,
        )
        self.snapshot = Snapshot(
            generation=change.generation,
            routes=_with(base.routes, routes),
            revisions=_with(base.revisions, revisions),
            brokers=_with(base.brokers, brokers),
            triggers=_with(base.triggers, triggers),
            activators=self._activators,
        )
        self._eventing.published()
        self._history.append(change)
        self._generation_metric.v = change.generation
        for key, value in routes.items():
            if value is None:
                self._published.pop(key, None)
                self._unsettled.pop(key, None)
            else:
                self._published[key] = self._unsettled[key] = change.generation
        for apply in tuple(self._subscribers):
            apply(self.snapshot, change)
        for follower in self._followers:
            follower.add(change)
            self._expect(follower)
        self._settle()

    def _rebuild_route(self, key: str, out: dict[str, Route | None]) -> None:
        before = self.snapshot.routes.get(key)
        namespace, _, name = key.partition("/")
        one = self._store.get(key_for(serving.Route, namespace, name))
        value: Route | None = None
        if not isinstance(one, serving.Route) or not one.status.traffic:
            self._sources.pop(key, None)
        else:
            source = (one.status.traffic, one.metadata.labels, one.metadata.annotations, self._config())
            if self._sources.get(key) == source:  # most changes of a Route are changes of its conditions
                return
            self._sources[key] = source
            try:
                value = compiled.route(one, one.status.traffic, self._config())
            except ConfigFault as fault:  # the Route's condition says so too; what was programmed stays
                log.warning("route_not_compiled route=%s reason=%s", key, fault)
                return
        if value != before:
            out[key] = value

    def _rebuild_revision(self, key: str, out: dict[str, Revision | None]) -> None:
        before = self.snapshot.revisions.get(key)
        namespace, _, name = key.partition("/")
        one = self._store.get(key_for(serving.Revision, namespace, name))
        value: Revision | None = None
        if isinstance(one, serving.Revision):
            autoscaler = self._store.get(key_for(serving.PodAutoscaler, namespace, name))
            assert autoscaler is None or isinstance(autoscaler, serving.PodAutoscaler)
            value = compiled.revision(one, autoscaler, self._endpoints.get(key, ()), self._config())
        self._gone_revisions.pop(key, None)
        if value is None and before is not None:
            self._gone_revisions[key] = None
        elif value != before:
            out[key] = value

    # who reads

    def subscribe(self, apply: Apply) -> Callable[[], None]:
        """Call `apply` now with everything and then with each change, synchronously. Returns what stops it.

        `apply` must not block and must not raise.
        """
        self._subscribers.append(apply)
        apply(self.snapshot, full(self.snapshot))
        return functools.partial(self._subscribers.remove, apply)

    def join(self, wake: Callable[[], None], *, generation: int = -1) -> Follower:
        """A follower that has `generation` (-1: nothing). Its `take` gives everything, or the difference if known."""
        follower = Follower(wake)
        follower.pending = self._since(generation)
        self._followers.append(follower)
        self._followers_metric.v = len(self._followers)
        return follower

    def leave(self, follower: Follower) -> None:
        if follower in self._followers:
            self._followers.remove(follower)
            self._followers_metric.v = len(self._followers)
            self._stop_waiting(follower)

    def applied(self, follower: Follower, generation: int) -> None:
        """The follower says that it serves `generation` now."""
        follower.applied = max(follower.applied, min(generation, self.snapshot.generation))
        if follower.timer is not None:
            follower.timer.cancel()
            follower.timer = None
        if follower.applied == self.snapshot.generation:
            follower.counted = True
        self._expect(follower)
        self._settle()

    def programmed(self, route: str) -> Programmed | None:
        """What hops have of this Route (view.Facts.programmed)."""
        value = self.snapshot.routes.get(route)
        if value is None:
            return None
        return Programmed(value.hash, settled=self._published[route] <= self._everywhere())

    def _since(self, generation: int) -> Change:
        if generation == self.snapshot.generation:
            return Change(generation=generation, base=generation)
        missed = [change for change in self._history if change.base >= generation]
        if generation < 0 or not missed or missed[0].base != generation:
            return full(self.snapshot)
        return functools.reduce(merged, missed)

    def _everywhere(self) -> int:
        """The newest generation that everybody who counts has."""
        return min((f.applied for f in self._followers if f.counted), default=self.snapshot.generation)

    def _settle(self) -> None:
        everywhere = self._everywhere()
        for route in [route for route, generation in self._unsettled.items() if generation <= everywhere]:
            del self._unsettled[route]
            self._settled(route)

    def _expect(self, follower: Follower) -> None:
        if follower.counted and follower.timer is None and follower.applied < self.snapshot.generation:
            follower.timer = self._loop.call_later(LAG_S, self._lagging, follower)

    def _lagging(self, follower: Follower) -> None:
        log.warning("follower_lagging applied=%s newest=%s", follower.applied, self.snapshot.generation)
        self._lagging_metric.v += 1
        self._stop_waiting(follower)

    def _stop_waiting(self, follower: Follower) -> None:
        if follower.timer is not None:
            follower.timer.cancel()
            follower.timer = None
        follower.counted = False
        self._settle()


def merged(first: Change, then: Change) -> Change:
    """Both, as one. `then` must follow `first`."""
    assert then.base == first.generation
    return Change(
        generation=then.generation,
        base=first.base,
        routes=_overlaid(first.routes, then.routes, first.base == -1),
        revisions=_overlaid(first.revisions, then.revisions, first.base == -1),
        brokers=_overlaid(first.brokers, then.brokers, first.base == -1),
        triggers=_overlaid(first.triggers, then.triggers, first.base == -1),
        activators=first.activators if then.activators is None else then.activators,
    )


def _overlaid(first: dict[str, V | None], then: dict[str, V | None], is_full: bool) -> dict[str, V | None]:
    out = {**first, **then}
    return {key: value for key, value in out.items() if value is not None} if is_full else out


def _with(base: dict[str, V], changes: dict[str, V | None]) -> dict[str, V]:
    if not changes:
        return base
    out = dict(base)
    for key, value in changes.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = value
    return out


def _name(namespace: str, name: str) -> str:
    return f"{namespace}/{name}"
