"""One trigger at work: what its store hands over is held until it may begin, as pace, room and order allow.

Path: store → [dispatcher] → attempts.py → subscriber; the dispatcher is told when a place is free.

    deliver ─▶ window.py ─▶ pump ─▶ attempts.py ─▶ an end; or, ordered, back into its lane until it is due
                 ▲                       │
                 └──────── go_on ────────┘

Per delivery there is no task, future or timer; per trigger there is one timer.

Bounds: `maxInFlight` attempts; in_flight_bytes_max; an ordered trigger holds ordered_waiting_max.
Source: spec/eventing.md §9, §11.5-11.7; reliability.md BR-09, BR-12, BR-15, BR-16, BR-20, BR-24.
"""

import asyncio
import logging
from collections.abc import Sequence

from broker.attempt import Attempt
from broker.attempts import Attempts
from broker.backoff import JITTER
from broker.journal import Journal
from broker.meters import DeliveryMeters
from broker.pace import Ramp
from broker.plan import Plans
from broker.settings import BrokerSettings
from broker.store.contract import Delivery, Lag, Subscription
from broker.window import Window
from dataplane.clock import Clock
from dataplane.net.engine import Engine
from dataplane.net.timers import NEVER
from dataplane.policy.budget import TooCostly
from dataplane.policy.filters import Filter
from dataplane.resources.triggers import Trigger
from dataplane.wire.cloudevents import Event

log = logging.getLogger(__name__)

ATTRIBUTE_BYTES = 64  # what one weighs in memory beside its text, about


class TriggerConsumer:
    """A Consumer (store/contract.py). broker: `namespace/name`. Raises ConfigFault: a target that cannot be called."""

    def __init__(
        self,
        engine: Engine,
        trigger: Trigger,
        filter: Filter,
        settings: BrokerSettings,
        broker: str,
        journal: Journal,
        clock: Clock,
        meters: DeliveryMeters,
    ) -> None:
        self.name = f"{trigger.namespace}/{trigger.name}"
        self.key = trigger.uid or self.name
        self.ordered = trigger.ordered
        self.interest = filter.interest
        self.wake = NEVER
        self._filter = filter
        self._engine = engine
        self._settings = settings
        self._clock = engine.clock
        self._wall = clock.wall
        self._family = meters
        self._subscription: Subscription | None = None
        self._back_at = 0.0  # wall seconds: when its subscriber was back; what came before waited
        self._filter_failed = False  # said once
        self._draining = self._closed = self._stopped = self._pumping = False
        self._drained: asyncio.Event | None = None
        self._window: Window[Attempt] = Window(
            ordered=trigger.ordered, lanes=settings.lanes, bytes_max=settings.in_flight_bytes_max,
            event_bytes_max=settings.event_bytes_max, scheduled_max=settings.retry_waiting_max, now=engine.clock(),
        )  # fmt: skip
        self._plans = Plans(trigger, engine, settings)
        self._apply(trigger)
        cells = meters.watch(self, trigger.namespace, trigger.name, broker)
        self._too_costly = cells.too_costly
        self._attempts = Attempts(
            engine, settings, self._plans, self._window, cells,
            journal, clock, self, broker=broker, name=self.name, ordered=trigger.ordered,
        )  # fmt: skip

    # ---- service → us -------------------------------------------------------------------------

    def attach(self, subscription: Subscription) -> None:
        """Where it stands in the log. Until then `room` is 0."""
        self._subscription = self._attempts.subscription = subscription
        subscription.more()

    def update(self, trigger: Trigger, filter: Filter) -> None:
        """The same trigger says something else; what is on its way goes on. Raises ConfigFault and changes nothing.

        `ordered` is another subscription: it cannot change in place.
        """
        assert trigger.ordered == self.ordered
        before = self._plans.change(trigger)
        self._filter = filter
        self._filter_failed = False
        self.interest = filter.interest
        if before.subscriber.url != self._plans.now.subscriber.url:
            self._window.ramp = Ramp(self._clock())  # what is known is known of the other one
        self._apply(trigger)
        self._pump()
        if self._subscription is not None:
            self._subscription.more()

    async def drain(self, deadline: float) -> None:
        """Begin nothing more; return when what is on its way has ended, at the latest at `deadline` (loop seconds).

        What has not ended by then is cut and comes again; so does what waits. The caller closes the subscription.
        """
        self._draining = self._stopped = True
        if self._window.in_flight or self._attempts.storing:
            self._drained = asyncio.Event()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._drained.wait()
            except TimeoutError:
                pass
        self._cut()

    def close(self) -> None:
        """At once. Its series disappear."""
        self._closed = self._attempts.closed = True
        self._cut()
        self._family.forget(self)

    def lag(self) -> Lag:
        return self._subscription.lag() if self._subscription is not None else Lag()

    def down(self) -> bool:
        return self._window.ramp.down

    # ---- store → us (Consumer) ------------------------------------------------------------------

    def matches(self, event: Event) -> bool:
        try:
            return self._filter.matches(event)
        except TooCostly as why:
            self._too_costly.v += 1
            if not self._filter_failed:
                self._filter_failed = True
                log.warning("filter_too_costly trigger=%s why=%s", self.name, why)
            return False
        except Exception as error:  # a filter does not raise; if it does, its trigger alone misses the event
            if not self._filter_failed:
                self._filter_failed = True
                log.error("filter_failed trigger=%s error=%s", self.name, type(error).__name__, exc_info=error)
            return False

    def room(self) -> int:
        if self._stopped or self._subscription is None:
            return 0
        room = self._window.room(self._clock())
        self._set_timer()
        return room

    def fresh(self) -> int:
        if self._stopped or self._subscription is None:
            return 0
        fresh = self._window.fresh(self._clock())
        self._set_timer()
        return fresh

    def deliver(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            self._accept(delivery)
        self._pump()

    def revoked(self) -> None:
        subscription = self._subscription
        if subscription is None or self._closed:
            return
        self._attempts.sweep()
        self._pump()
        subscription.more()

    # ---- begin ----------------------------------------------------------------------------------

    def _accept(self, delivery: Delivery) -> None:
        assert self._subscription is not None
        record = delivery.record
        number = delivery.attempt
        event = record.event
        data, attributes = event.data, event.attributes
        size = ATTRIBUTE_BYTES * len(attributes) + sum(map(len, attributes.values()))
        if data is not None:
            size += len(data)
        attempt = Attempt(self._attempts, delivery, number, size)
        due_at = max(delivery.due_at, record.not_before if number == 1 else 0.0)
        if due_at:
            wait = due_at - self._wall()
            if wait > 0 and (number == 1 or not self.ordered):
                # A delayed event is not in line yet, also of an ordered trigger: its place is where its time comes.
                if self.ordered and not self._subscription.holds(delivery):
                    self._attempts.let_go(attempt)
                    return
                self._subscription.later(delivery, due_at=due_at, attempt=number)
                return
            attempt.due = self._clock() + min(wait, self._wait_max)
        if number == 1:
            attempt.late = record.arrived_at < self._back_at
            self._attempts.note("matched", attempt)
        else:
            self._window.came_back()
            self._attempts.recall(attempt)
        self._window.add(attempt, event.attributes.get("partitionkey", ""))

    def _pump(self) -> None:
        """Begin what may begin."""
        if self._pumping:
            return  # what ends at once, within the loop below, is followed by that loop
        self._pumping = True
        try:
            while not self._stopped and (attempt := self._window.begin(self._clock())) is not None:
                expires_at = attempt.delivery.record.expires_at
                if expires_at and expires_at <= self._wall():
                    self._attempts.expired(attempt)
                else:
                    self._attempts.start(attempt)
        finally:
            self._pumping = False
        self._set_timer()

    # ---- attempts → us (Pacing) -------------------------------------------------------------------

    def go_on(self) -> None:
        assert self._subscription is not None
        if self._window.waiting():
            self._pump()
        else:
            self._set_timer()
        if self._drained is not None and not (self._window.in_flight or self._attempts.storing):
            self._drained.set()
        self._subscription.more()

    def is_back(self) -> None:
        """What is appended from now on need not wait for what it missed."""
        assert self._subscription is not None
        self._back_at = self._wall()
        self._subscription.newest_first()

    # ---- time -------------------------------------------------------------------------------------

    def on_timer(self, now: float) -> None:
        if self._closed:
            return
        self._window.wake(now)
        self._pump()
        if self._subscription is not None:
            self._subscription.more()

    def _set_timer(self) -> None:
        if self._window.wake_at < self.wake and not self._closed:
            self._engine.timers.at(self, self._window.wake_at)

    # ---- helpers ----------------------------------------------------------------------------------

    def _apply(self, trigger: Trigger) -> None:
        in_flight_max = trigger.max_in_flight or self._settings.max_in_flight
        self._window.limit(
            in_flight_max=in_flight_max,
            held_max=self._settings.ordered_waiting_max if self.ordered else in_flight_max,
            rate_per_s=trigger.rate_per_s,
            now=self._clock(),
        )
        policy = trigger.delivery  # after a restart no wait is longer than the longest that was asked for (BR-24)
        self._wait_max = max(policy.max_backoff_s, policy.retry_after_max_s or 0.0) * (1.0 + JITTER)
        self._stopped = trigger.paused or self._draining or self._closed

    def _cut(self) -> None:
        self._stopped = True
        self._engine.timers.forget(self)
        self._plans.close()
