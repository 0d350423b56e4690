"""One broker, kept as the snapshot wants it: its log opened, its triggers subscribed, what was reached reported.

Path: service.py → [keep] → store.open, log.subscribe → dispatcher.py.

One task per broker works towards what is wanted and starts again when a store fails, so a broker whose server is away
holds up no other, and a trigger with a mistake holds up no other trigger of its broker (spec §12.5).

Source: spec/eventing.md §12.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol

from broker.settings import BrokerSettings
from broker.store.contract import Consumer, EventLog, EventStore, Subscription
from broker.wanted import log_settings, must_resubscribe, resolved, start_of, uid
from dataplane.clock import Clock, rfc3339_micro
from dataplane.errors import ConfigFault, StoreFault, StoreUnavailable
from dataplane.policy.filters import Filter, FilterFault, compile_filters
from dataplane.resources.triggers import Broker, Reported, Trigger

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


class House(NamedTuple):
    """What the brokers of a process share. store: by kind, started. clock: monotonic is the loop's. dispatch: False =
    this process only accepts events."""

    settings: BrokerSettings
    store: Callable[[str], Awaitable[EventStore]]
    make_runner: MakeRunner
    report: Callable[[Reported], None]
    clock: Clock
    dispatch: bool


class Running:
    """A trigger whose subscription stands."""

    __slots__ = ("runner", "subscription", "trigger")

    def __init__(self, trigger: Trigger, runner: Runner, subscription: Subscription) -> None:
        self.trigger = trigger
        self.runner = runner
        self.subscription = subscription


class BrokerKeeper:
    """One broker: what is wanted, what stands, and the task that brings the one to the other.

    `after`: the broker that had the name before; its events must be gone first.
    """

    def __init__(
        self, house: House, key: str, *, after: "BrokerKeeper | None", ended: Callable[["BrokerKeeper"], None]
    ) -> None:
        """ended: called when it was left and everything of it has come to its end."""
        self._house = house
        self._after = after
        self._on_ended = ended
        self._ended = asyncio.Event()
        self._key = key
        self._wanted: Broker | None = None
        self._was: Broker | None = None  # what was wanted before it was left
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
            if (after is None and key in gone) or (after is not None and uid(after) != uid(before)):
                self._gone[uid(before)] = None
        self._wanted, self._triggers = broker, triggers
        self._wake.set()

    @property
    def wanted_triggers(self) -> Mapping[str, Trigger]:
        """By `namespace/name`, whether they run here or not."""
        return self._triggers

    @property
    def uid(self) -> str:
        return self._wanted.uid if self._wanted is not None else ""

    def leave(self, *, delete: bool) -> None:
        self._was = self._wanted or self._was
        self._wanted, self._triggers, self._delete = None, {}, delete
        self._wake.set()

    async def work(self) -> None:
        if self._after is not None:
            await self._after._ended.wait()
            self._after = None
        pause_s = RETRY_FIRST_S
        while True:
            await self._wait(pause_s if pause_s > RETRY_FIRST_S else None)
            ending = self._wanted is None  # it may be left while we work towards what was wanted
            try:
                whole = await self._converge()
            except StoreFault as fault:
                whole = False
                self._tell_broker(fault)
            self.tried.set()
            if whole and ending:
                self._ended.set()
                self._on_ended(self)
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
        deadline = self._house.clock.monotonic() + UPDATE_DRAIN_S
        for key in list(self.running):
            wants = triggers.get(key)
            if wants is None or must_resubscribe(self.running[key].trigger, wants):
                await self._stop(key, deadline)
        while self._gone:
            gone = next(iter(self._gone))
            await log_.forget(gone)
            self._gone.pop(gone, None)
        self._tell(
            Reported(
                kind="broker", key=self._key, uid=wanted.uid, ready=True,
                durability=self._durability(), shown=log_.shown(),
            )
        )  # fmt: skip
        whole = True
        if self._house.dispatch:
            for key, trigger in triggers.items():
                there = self.running.get(key)
                if there is None or there.trigger is not trigger:  # a thousand others did not change
                    whole = await self._run(key, trigger, log_) and whole
        return whole

    async def _open(self, wanted: Broker) -> EventLog:
        if self.log is not None and (self._opened == wanted or wanted.waits_for):
            return self.log
        if wanted.waits_for:
            raise StoreUnavailable(wanted.waits_for)
        kind = wanted.store or self._house.settings.store
        store = await self._house.store(kind)
        settings = log_settings(self._house.settings, wanted)
        self.log = await store.open(self._key, settings)
        self._store, self._opened = store, wanted
        return self.log

    async def _run(self, key: str, trigger: Trigger, log_: EventLog) -> bool:
        there = self.running.get(key)
        try:
            filter_ = compile_filters(trigger.filters)
            if there is not None:
                if there.trigger != trigger:
                    there.runner.update(resolved(trigger, self._house.settings), filter_)
                    there.trigger = trigger
                return True
            start = start_of(trigger.start)
            began = self._house.clock.wall()
            runner = self._house.make_runner(resolved(trigger, self._house.settings), filter_, self._key)
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
        # `latest` is another place tomorrow: as a time it says where, and can be given to a replay.
        begin = rfc3339_micro(began) if start.at == "latest" else trigger.start
        self._tell(Reported(kind="trigger", key=key, uid=trigger.uid, ready=True, start=begin))
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
            await self._stop(key, self._house.clock.monotonic() + (0.0 if self._delete else UPDATE_DRAIN_S))
        was = self._opened or self._was  # also what was never opened: an earlier process may have
        if self._delete and was is not None and not was.waits_for:
            kind = was.store or self._house.settings.store
            await (await self._house.store(kind)).delete(self._key, log_settings(self._house.settings, was))
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
        self._house.report(reported)


def _not(key: str, trigger: Trigger, reason: str, message: str) -> Reported:
    return Reported(kind="trigger", key=key, uid=trigger.uid, reason=reason, message=message)


async def _quietly(work: Awaitable[None], what: str) -> None:
    try:
        await work
    except StoreFault as fault:
        log.warning("store_fault while=%s reason=%s", what, fault)
