"""The attempts of one trigger: each is sent, and what is answered leads to one of few ends.

Path: dispatcher.py → [attempts] → deliver.py → net/call.py → subscriber → outcome.py → [attempts] → store.

    start ─▶ subscriber ─┬ delivered ──────────────▶ settle
      ▲                  ├ replied ────────────────▶ settle_with
      │                  ├ again ──▶ later ─▶ (the store hands it over when it is due)
      └── ordered: kept ─┘ failed for good
                           └▶ dead-letter sink ─┬ got it ──▶ park(kept="dead-lettered")
                              (retried alike)   └ did not, or there is none ──▶ park

Unordered, a delivery that waits for its next attempt gives its place back; ordered, it keeps its lane. An attempt
number beyond 1 + retry is one of the dead-letter sink's; why it goes there is remembered in memory. A process that
restarted has forgotten and asks the subscriber once more: at least once, and the sink gets a true reason.

Ordered, a lane may become another process's while we hold events of it: before each attempt the store is asked, and
what may not be ours is let go, all of it at once, so that no later event of a lane stays behind. What was on its way
then still counts if it was delivered; anything else that comes of it is the other process's to find out.

Ownership: a delivery is ours from when it was handed over until exactly one of settle, settle_with (done), later, park
or let_go; its place is free then. Per delivery there is no task, future or timer.

Source: spec/eventing.md §9, §10.4, §11.7; reliability.md BR-10…BR-14, BR-17, BR-20.
"""

import logging
from typing import Protocol

from broker.attempt import Attempt
from broker.backoff import wait_s
from broker.deliver import NO_REPLY, reply_of
from broker.journal import Fact, Journal
from broker.meters import TriggerMeters
from broker.outcome import (
    BAD_REPLY_CODE,
    LOOP_CODE,
    Verdict,
    away,
    error_attributes,
    judge,
    reads_reply,
)
from broker.plan import Plans
from broker.settings import BrokerSettings
from broker.store.contract import Failure, Record, Subscription
from broker.window import Window
from dataplane.clock import Clock
from dataplane.errors import StoreFault
from dataplane.net.engine import Engine

log = logging.getLogger(__name__)


class Pacing(Protocol):
    """Who says which attempt begins (dispatcher.py)."""

    def go_on(self) -> None:
        """An attempt has ended: its place may be free, or it waits in its lane for its time."""
        ...

    def is_back(self) -> None:
        """The subscriber was away."""
        ...


class Attempts:
    """storing: replies that are being appended. closed: what is still answered leads to nothing.

    subscription: to be set before anything is begun.
    """

    def __init__(
        self,
        engine: Engine,
        settings: BrokerSettings,
        plans: Plans,
        window: Window[Attempt],
        meters: TriggerMeters,
        journal: Journal,
        clock: Clock,
        pacing: Pacing,
        *,
        broker: str,
        name: str,
        ordered: bool,
    ) -> None:
        self.subscription: Subscription
        self.storing = 0
        self.closed = False
        self._broker, self._name = broker, name
        self._ordered = ordered
        self._settings = settings
        self._plans = plans
        self._window = window
        self._meters = meters
        self._journal = journal
        self._pacing = pacing
        self._engine = engine
        self._clock = engine.clock
        self._wall = clock.wall
        self._failures: dict[str, Failure] = {}  # by position: on the way to the dead-letter sink, between two attempts
        self._straying = False  # said once, until there is something of ours again

    # ---- begin ----------------------------------------------------------------------------------

    def recall(self, attempt: Attempt) -> None:
        """Is it the dead-letter sink's turn? (What was forgotten is the subscriber's.)"""
        beyond = attempt.number - 1 - self._plans.now.trigger.delivery.retry
        failure = self._failures.pop(attempt.delivery.position, None)
        if beyond > 0 and failure is not None:
            attempt.failure = failure
            attempt.number = beyond

    def start(self, attempt: Attempt) -> None:
        """It has its place, and its lane. What cannot be sent, or is not ours, ends at once."""
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
        return not self._ordered or self.subscription.holds(attempt.delivery)

    # ---- another process has it -------------------------------------------------------------------

    def _strayed(self, attempt: Attempt) -> bool:
        """Another process may have its lane: then it is let go, and whatever waits here and is of that kind."""
        if not self._ordered:
            return False
        if self.may_begin(attempt):
            self._straying = False
            return False
        self.let_go(attempt)
        self.sweep()
        self._release(attempt)
        return True

    def sweep(self) -> None:
        """Let go of what has not begun and is not ours for sure."""
        holds = self.subscription.holds
        for attempt in self._window.drop(lambda attempt: holds(attempt.delivery)):
            self.let_go(attempt)

    def let_go(self, attempt: Attempt) -> None:
        self.subscription.let_go(attempt.delivery)
        self._meters.let_go.v += 1
        if not self._straying:
            self._straying = True
            log.warning("deliveries_let_go trigger=%s: another process has them, or may have", self._name)
        self.note("let-go", attempt)

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
            self._pacing.is_back()
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

    def _delivered(self, attempt: Attempt, now: float) -> None:
        self.subscription.settle(attempt.delivery)
        self._meters.delivered.v += 1
        self.note("delivered", attempt, duration_s=now - attempt.started)
        self._release(attempt)

    def _replied(self, attempt: Attempt, reply: Record) -> None:
        if reply.hops <= 0:
            message = "the reply has used up its hops: a loop of triggers and replies"
            self._give_up(attempt, attempt.failed("hops", LOOP_CODE, message, self._wall()))
            return
        if self._strayed(attempt):
            return  # whoever has it gets a reply of its own
        self.storing += 1
        self.subscription.settle_with(attempt.delivery, reply, attempt.on_stored)

    def reply_stored(self, attempt: Attempt, fault: StoreFault | None) -> None:
        self.storing -= 1
        if self.closed:
            return
        if fault is None:
            self._meters.delivered.v += 1
            self._meters.replies.v += 1
            self.note("replied", attempt, duration_s=self._clock() - attempt.started)
            self._release(attempt)
        else:
            self._again(attempt, 0, "reply", f"the reply could not be stored: {fault}")

    def _again(self, attempt: Attempt, status: int, reason: str, message: str) -> None:
        """It failed in a way that time may mend. status: 0 = no answer, or one that could not be used."""
        if attempt.number > self._plans.now.trigger.delivery.retry:
            self._give_up(attempt, attempt.failed(reason, status, message, self._wall()))
            return
        self.note("failed", attempt, message=message)
        self._later(attempt, status, attempt.number + 1, None)

    def _give_up(self, attempt: Attempt, failure: Failure) -> None:
        """The subscriber will not get it: dead letter, or parked. It keeps its place (and lane) for that."""
        if self._strayed(attempt):
            return
        self.note("failed", attempt, message=failure.message)
        self._meters.given_up[failure.reason].v += 1
        if self._plans.now.dead_letter is None:
            self._park(attempt, failure)
            return
        onward = attempt.follow(1)
        onward.failure = failure
        self.start(onward)

    def _dead_letter_answered(self, attempt: Attempt, status: int, failure: Failure) -> None:
        verdict = judge(status)
        policy = self._plans.now.trigger.delivery
        if verdict is Verdict.DELIVERED:
            self.subscription.park(attempt.delivery, failure, "dead-lettered")
            self._meters.dead_lettered.v += 1
            self.note("dead-lettered", attempt, duration_s=self._clock() - attempt.started)
            self._release(attempt)
        elif verdict is Verdict.AGAIN and attempt.number <= policy.retry:
            self.note("failed", attempt, message=f"dead-letter sink: {attempt.said()}")
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
        """number: what the store is told; beyond 1 + retry it is the dead-letter sink's (see `recall`)."""
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
        if self._ordered:
            self.subscription.later(attempt.delivery, due_at=wall + wait, attempt=number, keep=True)
            if self._strayed(attempt):
                return  # what it wrote down is of use where the store still took it from us
            self._meters.retried.v += 1
            onward = attempt.follow(attempt.number + 1)
            onward.failure = failure
            onward.due = self._clock() + wait
            self._window.sleep(onward)
            self._pacing.go_on()
            return
        self._meters.retried.v += 1
        if failure is not None and len(self._failures) < self._settings.retry_waiting_max:
            self._failures[attempt.delivery.position] = failure
        self._window.give_back(self._clock() + wait)
        self.subscription.later(attempt.delivery, due_at=wall + wait, attempt=number)
        self._release(attempt)

    def _park(self, attempt: Attempt, failure: Failure) -> None:
        self.subscription.park(attempt.delivery, failure)
        self._meters.parked.v += 1
        self.note("parked", attempt, message=f"{failure.reason}: {failure.message}")
        self._release(attempt)

    def expired(self, attempt: Attempt) -> None:
        """Its time was over before it began."""
        self.subscription.settle(attempt.delivery)
        self._meters.expired.v += 1
        self.note("expired", attempt)
        self._release(attempt)

    def _release(self, attempt: Attempt) -> None:
        """The delivery is not ours any more."""
        self._window.release(attempt)
        self._pacing.go_on()

    def note(self, what: str, attempt: Attempt, *, duration_s: float = 0.0, message: str = "") -> None:
        delivery = attempt.delivery
        attributes = delivery.record.event.attributes
        self._journal.note(
            Fact(
                self._wall(), what, self._broker, attributes["id"], attributes["source"], attributes["type"],
                self._name, delivery.position, attempt.number, attempt.status, duration_s, message,
            )
        )  # fmt: skip
