"""One trigger at work: what its store hands over goes to the subscriber, again when that may help, else to the sink.

Path: store → [dispatcher] → deliver.py → net/call.py → subscriber → outcome.py → [dispatcher] → store.

    deliver ─▶ pump ─▶ subscriber ─┬ delivered ──────────────▶ settle
                ▲                  ├ replied ────────────────▶ settle_with
                │                  ├ again ──▶ later ─▶ (the store hands it over when it is due)
                └── ordered: kept ─┘ failed for good
                                     └▶ dead-letter sink ─┬ got it ──▶ park(kept="dead-lettered")
                                        (retried alike)   └ did not, or there is none ──▶ park

Unordered, a delivery that waits for its next attempt gives its place back; ordered, it keeps its lane. An attempt
number beyond 1 + retry is one of the dead-letter sink's; why it goes there is remembered in memory. A process that
restarted has forgotten and asks the subscriber once more: at least once, and the sink gets a true reason.

Ownership: a delivery is ours from `deliver` until exactly one of settle, settle_with (done), later, park or let_go;
`_release` follows each of them. Per delivery there is no task, future or timer.

Ordered, a lane may become another process's while we hold events of it: before each attempt the store is asked, and
what may not be ours is let go, all of it at once, so that no later event of a lane stays behind. What was on its way
then still counts if it was delivered; anything else that comes of it is the other process's to find out.

Bounds: `maxInFlight` attempts; in_flight_bytes_max; an ordered trigger holds ordered_waiting_max.
Source: spec/eventing.md §9, §10.4, §11.5-11.7; reliability.md BR-09…BR-17.
"""

import asyncio
import logging
from collections.abc import Sequence

from broker.attempt import Attempt
from broker.backoff import JITTER, wait_s
from broker.deliver import NO_REPLY, reply_of
from broker.journal import Fact, Journal
from broker.meters import DeliveryMeters
from broker.outcome import (
    BAD_REPLY_CODE,
    LOOP_CODE,
    Verdict,
    away,
    error_attributes,
    judge,
    reads_reply,
)
from broker.pace import Ramp
from broker.plan import Plans
from broker.settings import BrokerSettings
from broker.store.contract import Delivery, Failure, Lag, Record, Subscription
from broker.window import Window
from dataplane.clock import Clock
from dataplane.errors import StoreFault
from dataplane.net.engine import Engine
from dataplane.net.timers import NEVER
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
        self._broker = broker
        self._journal = journal
        self._clock = engine.clock
        self._wall = clock.wall
        self._family = meters
        self._subscription: Subscription | None = None
        self._failures: dict[str, Failure] = {}  # by position: on the way to the dead-letter sink, between two attempts
        self._back_at = 0.0  # wall seconds: when its subscriber was back; what came before waited
        self._storing = 0  # replies
        self._filter_failed = False  # said once
        self._straying = False  # said once, until there is something of ours again
        self._draining = self._closed = self._stopped = self._pumping = False
        self._drained: asyncio.Event | None = None
        self._window: Window[Attempt] = Window(
            ordered=trigger.ordered, lanes=settings.lanes, bytes_max=settings.in_flight_bytes_max,
            event_bytes_max=settings.event_bytes_max, scheduled_max=settings.retry_waiting_max, now=engine.clock(),
        )  # fmt: skip
        self._plans = Plans(trigger, engine, settings)
        self._apply(trigger)
        self._meters = meters.watch(self, trigger.namespace, trigger.name, broker)

    # ---- service → us -------------------------------------------------------------------------

    def attach(self, subscription: Subscription) -> None:
        """Where it stands in the log. Until then `room` is 0."""
        self._subscription = subscription
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
        if self._window.in_flight or self._storing:
            self._drained = asyncio.Event()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._drained.wait()
            except TimeoutError:
                pass
        self._cut()

    def close(self) -> None:
        """At once. Its series disappear."""
        self._closed = True
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
        self._sweep()
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
        attempt = Attempt(self, delivery, number, size)
        due_at = max(delivery.due_at, record.not_before if number == 1 else 0.0)
        if due_at:
            wait = due_at - self._wall()
            if wait > 0 and (number == 1 or not self.ordered):
                # A delayed event is not in line yet, also of an ordered trigger: its place is where its time comes.
                if self.ordered and not self._subscription.holds(delivery):
                    self._let_go(attempt)
                    return
                self._subscription.later(delivery, due_at=due_at, attempt=number)
                return
            attempt.due = self._clock() + min(wait, self._wait_max)
        if number == 1:
            attempt.late = record.arrived_at < self._back_at
            self._note("matched", attempt)
        else:
            self._window.came_back()
            self._recall(attempt)
        self._window.add(attempt, event.attributes.get("partitionkey", ""))

    def _recall(self, attempt: Attempt) -> None:
        """Is it the dead-letter sink's turn? (What was forgotten is the subscriber's.)"""
        beyond = attempt.number - 1 - self._plans.now.trigger.delivery.retry
        failure = self._failures.pop(attempt.delivery.position, None)
        if beyond > 0 and failure is not None:
            attempt.failure = failure
            attempt.number = beyond

    def _pump(self) -> None:
        """Begin what may begin."""
        if self._pumping:
            return  # what ends at once, within the loop below, is followed by that loop
        self._pumping = True
        try:
            while not self._stopped and (attempt := self._window.begin(self._clock())) is not None:
                expires_at = attempt.delivery.record.expires_at
                if expires_at and expires_at <= self._wall():
                    self._expired(attempt)
                else:
                    self._start(attempt)
        finally:
            self._pumping = False
        self._set_timer()

    def _start(self, attempt: Attempt) -> None:
        record = attempt.delivery.record
        failure = attempt.failure
        if self._strayed(attempt):
            return
        attempt.started = self._clock()
        more = None
        attempt.post = post = self._plans.now.subscriber
        if failure is None:
            if attempt.number == 1:
                self._meters.process(record.event.type).observe(max(0.0, self._wall() - record.arrived_at))
        elif self._plans.now.dead_letter is None:
            self._park(attempt, failure)
            return
        else:
            attempt.post = post = self._plans.now.dead_letter
            more = error_attributes(failure)
        try:
            data = post.request(record, attempt.number, more)
        except Exception as error:  # a store that others write to, or a bug: it must not stop those behind it
            self._meters.given_up["rejected"].v += 1
            self._park(attempt, attempt.failed("rejected", 0, f"it cannot be sent: {error}", self._wall()))
            return
        self._window.in_flight += 1
        self._meters.in_flight.v = self._window.in_flight
        post.line.send(attempt, data)

    def may_begin(self, attempt: Attempt) -> bool:
        return not self.ordered or (self._subscription is not None and self._subscription.holds(attempt.delivery))

    # ---- end --------------------------------------------------------------------------------------

    def answered(self, attempt: Attempt) -> None:
        window = self._window
        window.in_flight -= 1
        window.ended(lost=attempt.repeated or attempt.error is not None)
        self._meters.in_flight.v = window.in_flight
        self._plans.sweep()
        status = attempt.status if attempt.error is None else 0
        now = self._clock()
        self._meters.dispatch(attempt.delivery.record.event.type, status).observe(now - attempt.started)
        if attempt.failure is not None:
            self._dead_letter_answered(attempt, status, attempt.failure)
            return
        if away(status):
            window.ramp.failed(now)
        elif window.ramp.succeeded(now, now - attempt.started):
            self._is_back()
        reply = NO_REPLY
        if 200 <= status < 300 and reads_reply(status, reply_on_202=self._settings.reply_on_202):
            reply = reply_of(attempt, attempt.delivery.record, self._wall())
        verdict = judge(status, reply.content, ignore_bad_reply=self._settings.bad_reply == "ignore")
        if verdict is Verdict.DELIVERED:
            self._delivered(attempt, now)
        elif verdict is Verdict.REPLIED:
            assert reply.record is not None
            self._replied(attempt, reply.record)
        elif verdict is Verdict.AGAIN:
            self._again(attempt, status, "exhausted", attempt.said())
        else:
            code, reason = (BAD_REPLY_CODE, "reply") if reply.content != "none" else (status, "rejected")
            self._give_up(attempt, attempt.failed(reason, code, reply.message, self._wall()))

    def _is_back(self) -> None:
        """The subscriber was away: what is appended from now on need not wait for what it missed."""
        assert self._subscription is not None
        self._back_at = self._wall()
        self._subscription.newest_first()

    def _delivered(self, attempt: Attempt, now: float) -> None:
        assert self._subscription is not None
        self._subscription.settle(attempt.delivery)
        self._meters.delivered.v += 1
        self._note("delivered", attempt, duration_s=now - attempt.started)
        self._release(attempt)

    def _replied(self, attempt: Attempt, reply: Record) -> None:
        assert self._subscription is not None
        if reply.hops <= 0:
            message = "the reply has used up its hops: a loop of triggers and replies"
            self._give_up(attempt, attempt.failed("hops", LOOP_CODE, message, self._wall()))
            return
        if self._strayed(attempt):
            return  # whoever has it gets a reply of its own
        self._storing += 1
        self._subscription.settle_with(attempt.delivery, reply, attempt.on_stored)

    def reply_stored(self, attempt: Attempt, fault: StoreFault | None) -> None:
        self._storing -= 1
        if self._closed:
            return
        if fault is None:
            self._meters.delivered.v += 1
            self._meters.replies.v += 1
            self._note("replied", attempt, duration_s=self._clock() - attempt.started)
            self._release(attempt)
        else:
            self._again(attempt, 0, "reply", f"the reply could not be stored: {fault}")

    def _again(self, attempt: Attempt, status: int, reason: str, message: str) -> None:
        """It failed in a way that time may mend. status: 0 = no answer, or one that could not be used."""
        if attempt.number > self._plans.now.trigger.delivery.retry:
            self._give_up(attempt, attempt.failed(reason, status, message, self._wall()))
            return
        self._note("failed", attempt, message=message)
        self._later(attempt, status, attempt.number + 1, None)

    def _give_up(self, attempt: Attempt, failure: Failure) -> None:
        """The subscriber will not get it: dead letter, or parked. It keeps its place (and lane) for that."""
        if self._strayed(attempt):
            return
        self._note("failed", attempt, message=failure.message)
        self._meters.given_up[failure.reason].v += 1
        if self._plans.now.dead_letter is None:
            self._park(attempt, failure)
            return
        onward = attempt.follow(1)
        onward.failure = failure
        self._start(onward)

    def _dead_letter_answered(self, attempt: Attempt, status: int, failure: Failure) -> None:
        assert self._subscription is not None
        verdict = judge(status)
        policy = self._plans.now.trigger.delivery
        if verdict is Verdict.DELIVERED:
            self._subscription.park(attempt.delivery, failure, "dead-lettered")
            self._meters.dead_lettered.v += 1
            self._note("dead-lettered", attempt, duration_s=self._clock() - attempt.started)
            self._release(attempt)
        elif verdict is Verdict.AGAIN and attempt.number <= policy.retry:
            self._note("failed", attempt, message=f"dead-letter sink: {attempt.said()}")
            self._later(attempt, status, 1 + policy.retry + attempt.number + 1, failure)
        elif not self._strayed(attempt):
            why = f"dead-letter sink {attempt.post.url}: {attempt.said()}, after {attempt.number} attempts"
            self._meters.given_up["dead-letter"].v += 1
            self._park(
                attempt,
                Failure(
                    reason="dead-letter", code=failure.code, dest=failure.dest, data=failure.data,
                    message=f"{failure.message}; {why}",
                    attempts=failure.attempts, at=self._wall(),
                ),
            )  # fmt: skip

    def _later(self, attempt: Attempt, status: int, number: int, failure: Failure | None) -> None:
        """number: what the store is told; beyond 1 + retry it is the dead-letter sink's (see `_recall`)."""
        assert self._subscription is not None
        policy = self._plans.now.trigger.delivery
        asked = None
        for name, value in attempt.fields:
            if len(name) == 11 and name.lower() == b"retry-after":
                asked = value
        wall = self._wall()
        wait = wait_s(
            policy, attempt.number, self._engine.random,
            status=status, retry_after=asked, now=wall, full_jitter=self._window.ramp.down,
        )  # fmt: skip
        if self.ordered:
            self._subscription.later(attempt.delivery, due_at=wall + wait, attempt=number, keep=True)
            if self._strayed(attempt):
                return  # what it wrote down is of use where the store still took it from us
            self._meters.retried.v += 1
            onward = attempt.follow(attempt.number + 1)
            onward.failure = failure
            onward.due = self._clock() + wait
            self._window.sleep(onward)
            self._pump()
            self._check_drained()
            return
        self._meters.retried.v += 1
        if failure is not None and len(self._failures) < self._settings.retry_waiting_max:
            self._failures[attempt.delivery.position] = failure
        self._window.give_back(self._clock() + wait)
        self._subscription.later(attempt.delivery, due_at=wall + wait, attempt=number)
        self._release(attempt)

    def _park(self, attempt: Attempt, failure: Failure) -> None:
        assert self._subscription is not None
        self._subscription.park(attempt.delivery, failure)
        self._meters.parked.v += 1
        self._note("parked", attempt, message=f"{failure.reason}: {failure.message}")
        self._release(attempt)

    def _expired(self, attempt: Attempt) -> None:
        assert self._subscription is not None
        self._subscription.settle(attempt.delivery)
        self._meters.expired.v += 1
        self._note("expired", attempt)
        self._release(attempt)

    def _strayed(self, attempt: Attempt) -> bool:
        """Another process may have its lane: then it is let go, and whatever waits here and is of that kind."""
        assert self._subscription is not None
        if not self.ordered:
            return False
        if self.may_begin(attempt):
            self._straying = False
            return False
        self._let_go(attempt)
        self._sweep()
        self._release(attempt)
        return True

    def _sweep(self) -> None:
        assert self._subscription is not None
        holds = self._subscription.holds
        for attempt in self._window.drop(lambda attempt: holds(attempt.delivery)):
            self._let_go(attempt)

    def _let_go(self, attempt: Attempt) -> None:
        assert self._subscription is not None
        self._subscription.let_go(attempt.delivery)
        self._meters.let_go.v += 1
        if not self._straying:
            self._straying = True
            log.warning("deliveries_let_go trigger=%s: another process has them, or may have", self.name)
        self._note("let-go", attempt)

    def _release(self, attempt: Attempt) -> None:
        """The delivery is not ours any more."""
        assert self._subscription is not None
        self._window.release(attempt)
        if self._window.waiting():
            self._pump()
        self._check_drained()
        self._subscription.more()

    def _check_drained(self) -> None:
        if self._drained is not None and not (self._window.in_flight or self._storing):
            self._drained.set()

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

    def _note(self, what: str, attempt: Attempt, *, duration_s: float = 0.0, message: str = "") -> None:
        delivery = attempt.delivery
        attributes = delivery.record.event.attributes
        self._journal.note(
            Fact(
                self._wall(), what, self._broker, attributes["id"], attributes["source"], attributes["type"],
                self.name, delivery.position, attempt.number, attempt.status, duration_s, message,
            )
        )  # fmt: skip
