"""The brokers and triggers of the newest snapshot, kept running: logs opened, triggers subscribed, changes followed.

Path: snapshot → [service] → store.open, log.subscribe → dispatcher.py; ingress.py asks for logs by name.

Each broker has one task that works towards what the snapshot wants and starts again when a store fails, so a broker
whose server is away holds up no other, and a trigger with a mistake holds up no other trigger of its broker (spec
§12.5). What was reached is reported: a trigger is Ready when its subscription stands.

Data goes only when the snapshot says that a broker or trigger is gone, never because a snapshot is empty or new: a
process that lost its control plane must not lose events.

Source: spec/eventing.md §12; architecture.md "The four contracts" 1, 3.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from broker.settings import BrokerSettings
from broker.store.contract import Consumer, EventLog, EventStore, LogSettings, Start, Subscription
from dataplane.clock import parse_rfc3339
from dataplane.errors import ConfigFault, StoreFault
from dataplane.net.tasks import Tasks
from dataplane.policy.filters import Filter, FilterFault, compile_filters
from dataplane.resources.snapshot import Change, Snapshot
from dataplane.resources.triggers import Broker, Reported, Trigger
from dataplane.telemetry.metrics import Registry

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.2
RETRY_MAX_S = 5.0
UPDATE_DRAIN_S = 5.0  # for deliveries in flight when a trigger must be subscribed anew


class Runner(Consumer, Protocol):
    """A trigger's dispatcher (broker/dispatcher.py)."""

    def attach(self, subscription: Subscription) -> None: ...

    def update(self, trigger: Trigger, filter: Filter) -> None: ...

    async def drain(self, deadline: float) -> None:
        """Take nothing more; return when nothing is in flight, or at `deadline` (loop seconds)."""
        ...

    def close(self) -> None: ...


MakeRunner = Callable[[Trigger, Filter, str], Runner]
MakeStore = Callable[[str], EventStore]


class Running:
    """A trigger whose subscription stands."""

    __slots__ = ("runner", "subscription", "trigger")

    def __init__(self, trigger: Trigger, runner: Runner, subscription: Subscription) -> None:
        self.trigger = trigger
        self.runner = runner
        self.subscription = subscription


class BrokerService:
    """`apply` follows a snapshot; `log` and `trigger` answer for ingress and inspection."""

    def __init__(
        self,
        *,
        settings: BrokerSettings,
        make_store: MakeStore,
        make_runner: MakeRunner,
        clock: Callable[[], float],
        registry: Registry,
        report: Callable[[Reported], None] = lambda _: None,
        dispatch: bool = True,
    ) -> None:
        """make_store: by kind; called once per kind that a broker asks for. clock: loop seconds. dispatch: False = this
        process only accepts events."""
        self._settings = settings
        self._make_store = make_store
        self._make_runner = make_runner
        self._clock = clock
        self._report = report
        self._dispatch = dispatch
        self._tasks = Tasks("broker")
        self._stores: dict[str, EventStore] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._brokers: dict[str, _BrokerRun] = {}
        self._leaving: dict[str, _BrokerRun] = {}  # not wanted any more, not at its end yet
        self._closing = False
        gauge = registry.gauge("dataplane_broker_count", "Brokers by whether they accept events.", ("state",))
        self._counts = {state: gauge.cell(state) for state in ("ready", "not_ready")}
        registry.before_render(self._count)

    # ---- control plane → us ------------------------------------------------------------------

    def apply(self, snapshot: Snapshot, change: Change | None = None) -> None:
        """From now on these brokers and triggers are wanted. Returns at once."""
        if self._closing:
            return
        known = change is not None and change.base != -1
        if known and change is not None and not change.brokers and not change.triggers:
            return
        explicit = known and change is not None and not change.compared
        by_broker: dict[str, dict[str, Trigger]] = {}
        for key, trigger in snapshot.triggers.items():
            by_broker.setdefault(f"{trigger.namespace}/{trigger.broker}", {})[key] = trigger
        for key, broker in snapshot.brokers.items():
            run = self._brokers.get(key)
            if run is not None and run.uid not in ("", broker.uid):  # made anew under its name
                self._leave(key, delete=explicit)
                run = None
            if run is None:
                run = self._brokers[key] = _BrokerRun(self, key, after=self._leaving.get(key))
                self._tasks.spawn(run.work(), key)
            run.want(broker, by_broker.get(key, {}), gone=change.triggers if explicit and change is not None else {})
        for key in self._brokers.keys() - snapshot.brokers.keys():
            self._leave(key, delete=explicit)

    def _leave(self, key: str, *, delete: bool) -> None:
        run = self._leaving[key] = self._brokers.pop(key)
        run.leave(delete=delete)

    # ---- who asks ------------------------------------------------------------------------------

    def log(self, broker: str) -> EventLog | None:
        """The log of an open broker `namespace/name`; None: no such broker, or not open yet (see `known`)."""
        run = self._brokers.get(broker)
        return run.log if run is not None else None

    def known(self, broker: str) -> bool:
        return broker in self._brokers

    def keys(self) -> list[str]:
        """Of every wanted broker, `namespace/name`."""
        return list(self._brokers)

    def trigger(self, key: str) -> Running | None:
        """A running trigger by `namespace/name`."""
        for run in self._brokers.values():
            if key in run.running:
                return run.running[key]
        return None

    def triggers(self, broker: str) -> Mapping[str, Running]:
        run = self._brokers.get(broker)
        return run.running if run is not None else {}

    async def settled(self, within_s: float) -> None:
        """Returns when every broker and trigger was tried once, or after `within_s`."""
        deadline = self._clock() + within_s
        for run in list(self._brokers.values()):
            try:
                async with asyncio.timeout(max(0.0, deadline - self._clock())):
                    await run.tried.wait()
            except TimeoutError:
                return

    def not_ready(self) -> str:
        """For /readyz: stores that cannot take events now."""
        faults = [f"{kind}: {why}" for kind, store in self._stores.items() if (why := store.not_ready())]
        return "; ".join(faults)

    # ---- life ------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Finish what is in flight, make it durable, close the stores. Bounded by drain_timeout_s."""
        self._closing = True
        deadline = self._clock() + self._settings.drain_timeout_s
        runs = (*self._brokers.values(), *self._leaving.values())
        await asyncio.gather(*(run.close(deadline) for run in runs), return_exceptions=True)
        await self._tasks.close()
        for store in self._stores.values():
            await store.close()

    async def _store(self, kind: str) -> EventStore:
        store = self._stores.get(kind)
        if store is not None:
            return store
        async with self._starting.setdefault(kind, asyncio.Lock()):
            store = self._stores.get(kind)
            if store is None:
                store = self._make_store(kind)
                await store.start()
                self._stores[kind] = store
            return store

    def _count(self) -> None:
        ready = sum(run.log is not None for run in self._brokers.values())
        self._counts["ready"].v, self._counts["not_ready"].v = ready, len(self._brokers) - ready


class _BrokerRun:
    """One broker: what is wanted, what stands, and the task that brings the one to the other.

    `after`: the broker that had the name before; its events must be gone first.
    """

    def __init__(self, service: BrokerService, key: str, *, after: "_BrokerRun | None") -> None:
        self._after = after
        self._ended = asyncio.Event()
        self._service = service
        self._key = key
        self._wanted: Broker | None = None
        self._triggers: dict[str, Trigger] = {}
        self._gone: dict[str, None] = {}  # uids of triggers that were deleted
        self._delete = False
        self._wake = asyncio.Event()
        self.tried = asyncio.Event()
        self._told: dict[str, Reported] = {}
        self._opened: Broker | None = None
        self._store: EventStore | None = None
        self.log: EventLog | None = None
        self.running: dict[str, Running] = {}

    def want(self, broker: Broker, triggers: dict[str, Trigger], *, gone: Mapping[str, Trigger | None]) -> None:
        if broker == self._wanted and triggers == self._triggers:
            return
        for key, before in self._triggers.items():
            after = triggers.get(key)
            if after is before:
                continue
            if (after is None and key in gone) or (after is not None and _uid(after) != _uid(before)):
                self._gone[_uid(before)] = None
        self._wanted, self._triggers = broker, triggers
        self._wake.set()

    @property
    def uid(self) -> str:
        return self._wanted.uid if self._wanted is not None else ""

    def leave(self, *, delete: bool) -> None:
        self._wanted, self._triggers, self._delete = None, {}, delete
        self._wake.set()

    async def work(self) -> None:
        if self._after is not None:
            await self._after._ended.wait()
            self._after = None
        pause_s = RETRY_FIRST_S
        while True:
            await self._wait(pause_s if pause_s > RETRY_FIRST_S else None)
            try:
                whole = await self._converge()
            except StoreFault as fault:
                whole = False
                self._tell_broker(fault)
            self.tried.set()
            if whole and self._wanted is None:
                self._ended.set()
                if self._service._leaving.get(self._key) is self:
                    del self._service._leaving[self._key]
                return
            pause_s = RETRY_FIRST_S if whole else min(pause_s * 2, RETRY_MAX_S)

    async def close(self, deadline: float) -> None:
        """Graceful: what is in flight ends or is given back."""
        await asyncio.gather(*(self._stop(key, deadline) for key in list(self.running)))

    # ---- towards what is wanted ---------------------------------------------------------------

    async def _wait(self, at_most_s: float | None) -> None:
        if at_most_s is None:
            await self._wake.wait()
        else:
            try:
                async with asyncio.timeout(at_most_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
        self._wake.clear()

    async def _converge(self) -> bool:
        """True: everything stands as wanted. False: try again. Raises StoreFault when the broker itself cannot be."""
        wanted, triggers = self._wanted, dict(self._triggers)
        if wanted is None:
            return await self._end()
        log_ = await self._open(wanted)
        deadline = self._service._clock() + UPDATE_DRAIN_S
        for key in list(self.running):
            wants = triggers.get(key)
            if wants is None or _must_resubscribe(self.running[key].trigger, wants):
                await self._stop(key, deadline)
        while self._gone:
            uid = next(iter(self._gone))
            await log_.forget(uid)
            self._gone.pop(uid, None)
        self._tell(Reported(kind="broker", key=self._key, uid=wanted.uid, ready=True, durability=self._durability()))
        whole = True
        if self._service._dispatch:
            for key, trigger in triggers.items():
                there = self.running.get(key)
                if there is None or there.trigger is not trigger:  # a thousand others did not change
                    whole = await self._run(key, trigger, log_) and whole
        return whole

    async def _open(self, wanted: Broker) -> EventLog:
        if self.log is not None and self._opened == wanted:
            return self.log
        kind = wanted.store or self._service._settings.store
        store = await self._service._store(kind)
        settings = log_settings(self._service._settings, wanted)
        self.log = await store.open(self._key, settings)
        self._store, self._opened = store, wanted
        return self.log

    async def _run(self, key: str, trigger: Trigger, log_: EventLog) -> bool:
        there = self.running.get(key)
        try:
            filter_ = compile_filters(trigger.filters)
            if there is not None:
                if there.trigger != trigger:
                    there.runner.update(resolved(trigger, self._service._settings), filter_)
                    there.trigger = trigger
                return True
            start = start_of(trigger.start)
            runner = self._service._make_runner(resolved(trigger, self._service._settings), filter_, self._key)
        except (FilterFault, ConfigFault, ValueError) as fault:
            self._tell(_not(key, trigger, "InvalidTrigger", str(fault)))
            return True  # no retry mends it; another snapshot will
        try:
            subscription = await log_.subscribe(runner, start)
        except StoreFault as fault:
            runner.close()
            self._tell(_not(key, trigger, "NotSubscribed", str(fault)))
            return False
        runner.attach(subscription)
        self.running[key] = Running(trigger, runner, subscription)
        self._tell(Reported(kind="trigger", key=key, uid=trigger.uid, ready=True, start=trigger.start))
        return True

    async def _stop(self, key: str, deadline: float) -> None:
        there = self.running.pop(key, None)
        if there is None:
            return
        await there.runner.drain(deadline)
        await _quietly(there.subscription.close(), f"close {key}")
        there.runner.close()
        self._told.pop(f"trigger {key}", None)

    async def _end(self) -> bool:
        for key in list(self.running):
            await self._stop(key, self._service._clock() + (0.0 if self._delete else UPDATE_DRAIN_S))
        if self._delete and self._opened is not None:
            kind = self._opened.store or self._service._settings.store
            await (await self._service._store(kind)).delete(self._key)
        self.log = None
        return True

    # ---- what is told ---------------------------------------------------------------------------

    def _durability(self) -> str:
        return self._store.durability if self._store is not None else ""

    def _tell_broker(self, fault: StoreFault) -> None:
        wanted = self._wanted
        if wanted is not None:
            self._tell(
                Reported(kind="broker", key=self._key, uid=wanted.uid, reason="StoreUnavailable", message=str(fault))
            )

    def _tell(self, reported: Reported) -> None:
        place = f"{reported.kind} {reported.key}"
        if self._told.get(place) == reported:
            return
        self._told[place] = reported
        if not reported.ready:
            log.warning(
                "%s_not_ready name=%s reason=%s message=%s",
                reported.kind,
                reported.key,
                reported.reason,
                reported.message,
            )
        self._service._report(reported)


def log_settings(settings: BrokerSettings, broker: Broker) -> LogSettings:
    """What the process's settings say, with what the broker's owner set over it. Unknown names are left out."""
    known = {field.name for field in msgspec.structs.fields(LogSettings)} - {"config"}
    given: dict[str, object] = {
        "retention_s": settings.retention_s,
        "retention_bytes": settings.retention_bytes,
        "quota_bytes": settings.quota_bytes,
        "parked_max": settings.parked_max,
        "dead_lettered_max": settings.dead_lettered_max,
        "dedup_window_s": settings.dedup_window_s,
        **{name: value for name, value in broker.settings.items() if name in known},
        "config": {**broker.config, **broker.secret},
    }
    return msgspec.convert(given, LogSettings, strict=False)


def resolved(trigger: Trigger, settings: BrokerSettings) -> Trigger:
    """With what the process's settings say where its delivery does not."""
    given = trigger.delivery
    timeout_s, backoff_s = given.timeout_s or settings.timeout_s, given.max_backoff_s or settings.max_backoff_s
    if (timeout_s, backoff_s) == (given.timeout_s, given.max_backoff_s):
        return trigger
    delivery = msgspec.structs.replace(given, timeout_s=timeout_s, max_backoff_s=backoff_s)
    return msgspec.structs.replace(trigger, delivery=delivery)


def start_of(text: str) -> Start:
    """`latest`, `earliest`, an RFC 3339 time, or a position. Raises ValueError for a time without a zone."""
    if text in ("", "latest"):
        return Start("latest")
    if text == "earliest":
        return Start("earliest")
    if text[:4].isdigit() and text[4:5] == "-" and "T" in text:
        return Start("time", time_s=parse_rfc3339(text))
    return Start("position", position=text)


def _uid(trigger: Trigger) -> str:
    return trigger.uid or f"{trigger.namespace}/{trigger.name}"


def _must_resubscribe(before: Trigger, after: Trigger) -> bool:
    return before is not after and (before.filters, before.ordered, _uid(before)) != (
        after.filters,
        after.ordered,
        _uid(after),
    )


def _not(key: str, trigger: Trigger, reason: str, message: str) -> Reported:
    return Reported(kind="trigger", key=key, uid=trigger.uid, reason=reason, message=message)


async def _quietly(work: Awaitable[None], what: str) -> None:
    try:
        await work
    except StoreFault as fault:
        log.warning("store_fault while=%s reason=%s", what, fault)
