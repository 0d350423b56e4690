"""Executes what the reconcile functions decide: one queue, each object at most once in it, commits beside it.

Path: store → [loop] → controllers.py → Outcome → store.

A turn of the loop computes for at most TURN_S and then lets the data path run; so does the look at everything, which
takes its items one by one when no change waits. Commits overlap; the same object is never reconciled twice at the same
time. A lost race (Conflict) or a failed disk means: look again later, per object
with its own back-off. When nothing changes there is no timer and no task.

Source: architecture.md "Taste"; reliability.md CP-03, CP-07; spec/serving.md §1.10.
"""

import asyncio
import logging
import random
import uuid
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from controlplane.reconcile.controllers import (
    AUTOSCALER,
    BROKER,
    CONTROLLERS,
    LABELER,
    REPLICAS,
    REVISION,
    ROUTE,
    TRIGGER,
    Controller,
)
from controlplane.reconcile.events import recorded
from controlplane.reconcile.meters import WorkMeters
from controlplane.reconcile.outcome import Outcome, born, key_for
from controlplane.reconcile.view import View
from controlplane.store.contract import Change, Conflict, Key, Put, Store, StoreFailed, Write
from dataplane.clock import Clock
from dataplane.net.tasks import Tasks
from dataplane.resources import eventing, serving
from dataplane.telemetry.metrics import Registry

log = logging.getLogger(__name__)

TURN_S = 0.001  # computing per turn of the event loop
COMMITS_MAX = 64  # under way at once
COMMITS_PER_TURN = 16  # what one turn starts may all end, watchers included, in the next
QUEUE_MAX = 500_000  # items; beyond it nothing is queued and everything is looked at when the queue is empty
BACKOFF_S = 0.005
BACKOFF_MAX_S = 60.0
COMPONENT = "dataplane-controlplane"


class _Item(NamedTuple):
    controller: str
    key: Key

    @property
    def name(self) -> str:
        return f"{self.key.namespace}/{self.key.name}" if self.key.namespace else self.key.name


class ControlLoop:
    """`open` reads and watches the store. Everything else happens by itself."""

    __slots__ = (
        "_again",
        "_by_name",
        "_clock",
        "_closed",
        "_failures",
        "_loop",
        "_meters",
        "_queue",
        "_queued",
        "_quiet",
        "_random",
        "_running",
        "_scheduled",
        "_store",
        "_sweep",
        "_sweep_again",
        "_tasks",
        "_timers",
        "_unwatch",
        "_view",
    )

    def __init__(
        self,
        *,
        store: Store,
        view: View,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        source: random.Random,
        registry: Registry | None = None,
    ) -> None:
        """`source`: of uids. Without a registry nobody can read what is counted."""
        self._store = store
        self._view = view
        self._loop = loop
        self._clock = clock
        self._random = source
        self._tasks = Tasks("reconcile")
        self._by_name: dict[str, Controller] = {one.name: one for one in CONTROLLERS}
        self._meters = WorkMeters(registry or Registry(), self._by_name, loop.time)
        self._queue: deque[_Item] = deque()
        self._queued: set[_Item] = set()  # what is in the queue
        self._running: set[_Item] = set()
        self._again: set[_Item] = set()  # changed while running
        self._timers: dict[_Item, asyncio.TimerHandle] = {}
        self._failures: dict[_Item, int] = {}
        self._quiet: list[asyncio.Future[None]] = []
        self._scheduled: asyncio.Handle | None = None
        self._sweep: Iterator[_Item] | None = None  # what is left of a look at everything
        self._sweep_again = False  # asked for once more while it was under way
        self._closed = False
        self._unwatch = _nothing

    def open(self) -> None:
        """Look at everything once, orphans included (CP-08); then at what changes."""
        self._view.open()
        self._unwatch = self._store.watch(self._changed)
        self.resync()

    async def close(self) -> None:
        self._closed = True
        self._unwatch()
        if self._scheduled is not None:
            self._scheduled.cancel()
        await self._tasks.close()
        self._queue.clear()
        self._queued.clear()
        self._meters.forget()
        self._sweep = None
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._rest()

    def resync(self) -> None:
        """Look at every object again, when nothing that changed waits."""
        if self._sweep is not None:
            self._sweep_again = True
        else:
            self._sweep = self._everything()
            self._schedule()

    def scaled(self, revision: str) -> None:
        """A decision about `namespace/name` is there. Pods first."""
        namespace, _, name = revision.partition("/")
        key = key_for(serving.Revision, namespace, name)
        self._enqueue(_Item(REPLICAS.name, key))
        self._enqueue(_Item(AUTOSCALER.name, key_for(serving.PodAutoscaler, namespace, name)))
        self._enqueue(_Item(REVISION.name, key))

    def settled(self, route: str) -> None:
        """Every hop has what `namespace/name` programs."""
        namespace, _, name = route.partition("/")
        key = key_for(serving.Route, namespace, name)
        self._enqueue(_Item(ROUTE.name, key))
        self._enqueue(_Item(LABELER.name, key))  # it waits for this, too, and the Route may have nothing to write

    def reported(self, kind: str, key: str) -> None:
        """A broker process said something about the broker or trigger `namespace/name`."""
        controller, struct = (BROKER, eventing.Broker) if kind == "broker" else (TRIGGER, eventing.Trigger)
        namespace, _, name = key.partition("/")
        self._enqueue(_Item(controller.name, key_for(struct, namespace, name)))

    async def quiet(self) -> None:
        """Until nothing is queued or being committed (timers may be waiting)."""
        while self._queue or self._running or self._sweep is not None:
            future: asyncio.Future[None] = self._loop.create_future()
            self._quiet.append(future)
            await future

    def notify(self, change: Change) -> None:
        """Queue whom it concerns. The view knows the change already."""
        for controller in CONTROLLERS:
            for key in controller.concerned(change, self._view):
                self._enqueue(_Item(controller.name, key))

    def _changed(self, change: Change) -> None:
        self._view.note(change)
        self.notify(change)

    def _enqueue(self, item: _Item) -> None:
        if item in self._running:
            self._again.add(item)
        elif len(self._queue) >= QUEUE_MAX:
            self.resync()
        elif item not in self._queued:
            self._queue.append(item)
            self._queued.add(item)
            self._meters.added(item, self._loop.time())
            self._schedule()

    def _schedule(self) -> None:
        if self._scheduled is None and not self._closed and len(self._running) < COMMITS_MAX:
            self._scheduled = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = None
        end = self._loop.time() + TURN_S
        running_max = min(COMMITS_MAX, len(self._running) + COMMITS_PER_TURN)
        while len(self._running) < running_max and (item := self._next()) is not None:
            self._look(item)
            if self._loop.time() >= end:
                break
        self._continue()
        self._rest()

    def _continue(self) -> None:
        if self._queue or self._sweep is not None:
            self._schedule()

    def _next(self) -> _Item | None:
        """What to look at now. Changes first."""
        if self._queue:
            item = self._queue.popleft()
            self._queued.discard(item)
            return item
        while self._sweep is not None:
            for item in self._sweep:
                if item not in self._running:
                    return item
                self._again.add(item)
            self._sweep = self._everything() if self._sweep_again else None
            self._sweep_again = False
        return None

    def _everything(self) -> Iterator[_Item]:
        """Every object with every controller of its kind, as they are when the first one is asked for."""
        looking: dict[tuple[str, str], list[str]] = {}
        for key in self._view.all_keys():
            kind = (key.group, key.kind)
            if kind not in looking:
                looking[kind] = [c.name for c in CONTROLLERS if c.kind is None or key_for(c.kind, "", "")[:2] == kind]
            for controller in looking[kind]:
                yield _Item(controller, key)
        for key in self._view.routing():
            if self._view.get(key) is None:  # a Route that is gone: a crash may have come between
                yield _Item(LABELER.name, key)

    def _look(self, item: _Item) -> None:
        if (timer := self._timers.pop(item, None)) is not None:
            timer.cancel()
        self._meters.started(item, self._loop.time())
        now = self._clock.wall()
        try:
            outcome = self._by_name[item.controller].reconcile(item.key, self._view, now)
            writes = self._prepared(outcome, now)
        except Exception:  # root of one reconcile: a bug about one object must not stop the others
            log.exception("reconcile_failed controller=%s name=%s", item.controller, item.name)
            self._retry(item)
            return
        if writes:
            self._running.add(item)
            self._tasks.spawn(self._commit(item, writes, outcome), f"{item.controller}.{item.key.name}")
        else:
            self._done(item, outcome)

    def _prepared(self, outcome: Outcome, now: float) -> list[Write]:
        writes = list(outcome.writes)
        for note in outcome.events:
            writes += recorded(note, self._view, now, COMPONENT)
        return [
            Put(write.key, born(write.object, self._uid(), now), write.expect)
            if isinstance(write, Put) and not write.object.metadata.uid
            else write
            for write in writes
        ]

    async def _commit(self, item: _Item, writes: list[Write], outcome: Outcome) -> None:
        done = False
        try:
            await self._store.commit(writes)
            done = True
        except Conflict as lost:
            log.debug("reconcile_conflict controller=%s name=%s on=%s", item.controller, item.name, lost.key)
        except StoreFailed as failed:
            log.warning("reconcile_store_failed controller=%s name=%s reason=%s", item.controller, item.name, failed)
        finally:
            self._running.discard(item)
            again = item in self._again
            self._again.discard(item)
            if not done:
                self._retry(item)
            else:
                self._done(item, outcome)
                if again:
                    self._enqueue(item)
            self._continue()
            self._rest()

    def _done(self, item: _Item, outcome: Outcome) -> None:
        self._meters.ended(item, self._loop.time(), retry=False)
        self._failures.pop(item, None)
        if outcome.requeue_after_s is not None:
            self._later(item, outcome.requeue_after_s)

    def _retry(self, item: _Item) -> None:
        self._meters.ended(item, self._loop.time(), retry=True)
        failures = self._failures[item] = self._failures.get(item, 0) + 1
        self._later(item, min(BACKOFF_MAX_S, BACKOFF_S * 2 ** min(failures - 1, 20)))

    def _later(self, item: _Item, delay_s: float) -> None:
        if self._closed:
            return
        if (timer := self._timers.pop(item, None)) is not None:
            timer.cancel()
        self._timers[item] = self._loop.call_later(delay_s, self._due, item)

    def _due(self, item: _Item) -> None:
        self._timers.pop(item, None)
        self._enqueue(item)

    def _rest(self) -> None:
        if not self._queue and not self._running and self._sweep is None and self._quiet:
            waiting, self._quiet = self._quiet, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def _uid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


def _nothing() -> None:
    pass
