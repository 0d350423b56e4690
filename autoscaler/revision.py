"""One revision: what was reported, what that means, what is wanted. Everything but the timer.

Path: decide → [revision: reporters → window → scale → steady → zero] → Decision → actuate.

Missing data never takes pods away:
* fewer than half of the expected reporters are heard → only up (AS-01); a missing pod counts as the average of the
  others, a missing gateway or activator as what it said last, for a moment;
* none is heard → the last decision stands, and the windows keep their average (AS-02);
* one with load was lost and may still carry it → not to zero, for ten minutes;
* we did not see the revision start → only up for one stable window (AS-05).

Source: spec/serving.md §10; reliability.md AS-01, AS-02, AS-04, AS-05.
"""

import math
from math import floor
from typing import Literal

from autoscaler.reporters import REMEMBER_S, Reporters
from autoscaler.scale import TICK_S, Decider, Verdict, activators, initial_burst_capacity, proxied, scale_min
from autoscaler.steady import Steady
from autoscaler.window import Window
from autoscaler.zero import Activity, Outcome
from dataplane.resources.scaling import Autoscaling, Decision
from dataplane.resources.snapshot import Endpoint
from dataplane.resources.snapshot import Revision as Compiled
from dataplane.wire.stats import Stat

REPORT_LAG_S = 2  # a second without a record counts as zero only when its report is that late
DUPLICATE_S = 0.5  # two reports of one reporter within it are one report
HOLD_S = 5.0  # how long a lost gateway or activator is taken to carry what it carried: a reconnect takes less
SOURCES_MAX = 1000  # reporters of one revision
VALUE_MAX = 1e7  # as in dataplane.wire.stats; a direct call passes no decoder

Refusal = Literal["", "number", "reporters"]


class Source:
    """What one reporter said about this revision. `counted` of it is in the bucket of `second`, since `at`."""

    __slots__ = ("value", "heard_at", "at", "second", "counted", "pod")

    def __init__(self, now: float, *, pod: bool) -> None:
        self.value = 0.0
        self.heard_at = now
        self.at = -math.inf
        self.second = 0
        self.counted = 0.0
        self.pod = pod


class Scaling:
    """The state of one revision. All methods are given `now` (monotonic seconds) and return at once."""

    __slots__ = (
        "key", "spec", "endpoints", "ready",  # what the control plane says
        "sources", "stable", "panic", "_filled", "_held", "expected", "missing", "blind",  # what reporters say
        "decider", "steady", "activity", "_only_up_until", "_rules",  # what we decide by
        "verdict", "outcome", "wish", "want", "limits",  # what we say
    )  # fmt: skip

    def __init__(self, compiled: Compiled, *, now: float, restarted: bool) -> None:
        """`restarted`: the revision may have a history that we did not see."""
        assert compiled.autoscaling is not None
        spec = compiled.autoscaling
        self.key = f"{compiled.namespace}/{compiled.name}"
        self.spec = spec
        self.endpoints: tuple[Endpoint, ...] = compiled.endpoints
        self.ready = _ready(compiled.endpoints)
        self.sources: dict[str, Source] = {}
        self.stable, self.panic = _windows(spec)
        self._filled = floor(now) - 1
        self._held = 0.0
        self.expected = self.missing = 0
        self.blind = False
        self.decider = Decider(now=now, ready=self.ready)
        self.steady = Steady()
        self.activity = Activity(spec, now=now, ready=self.ready)
        self._only_up_until = now + spec.stable_window_s if restarted or self.ready > 0 else -math.inf
        self.verdict: Verdict | None = None
        self.outcome: Outcome | None = None
        self.wish = -1  # pods before bounds, after every reason to keep more
        self.want = -1  # the last applied count that we know
        self._rules: tuple[str, ...] = ()  # that shaped the wish
        self.limits: tuple[str, ...] = ()  # that shaped the answer

    # --- what the control plane says ---------------------------------------------------------------------------------

    def update(self, compiled: Compiled) -> None:
        """The revision changed: pods, bounds, windows."""
        assert compiled.autoscaling is not None
        old, self.spec = self.spec, compiled.autoscaling
        self.endpoints = compiled.endpoints
        self.ready = _ready(compiled.endpoints)
        if old.metric != self.spec.metric:
            self.stable, self.panic = _windows(self.spec)  # requests per second say nothing about concurrency
            self.sources.clear()
        elif _shape(old) != _shape(self.spec):
            stable_s, panic_s, weighted = _shape(self.spec)
            self.stable = self.stable.resized(stable_s, weighted=weighted)
            self.panic = self.panic.resized(panic_s, weighted=weighted)

    # --- what reporters say ------------------------------------------------------------------------------------------

    def record(self, stat: Stat, now: float) -> Refusal:
        """Count a report. Returns why it was ignored, or ""."""
        value = self._value(stat)
        if value is None:
            return "number"
        source = self.sources.get(stat.reporter)
        if source is None:
            if len(self.sources) >= SOURCES_MAX:
                return "reporters"
            pod = any(endpoint.id == stat.reporter for endpoint in self.endpoints)
            source = self.sources[stat.reporter] = Source(now, pod=pod)
        source.value, source.heard_at = value, now
        if now - source.at < DUPLICATE_S:  # repeated, replayed, or a poke just before the regular report
            more = max(0.0, value - source.counted)
            source.counted += more
        else:
            source.at, source.second, source.counted, more = now, floor(now), value, value
        self.stable.record(source.second, more)
        self.panic.record(source.second, more)
        return ""

    def urgent(self, stat: Stat) -> bool:
        """First load on a revision that wants no pods: do not wait for the tick."""
        return self.wish <= 0 and (stat.poke or stat.concurrency > 0 or stat.requests > 0)

    def _value(self, stat: Stat) -> float | None:
        if self.spec.metric == "rps":
            total, proxied_part = stat.requests, stat.proxied_requests
        else:
            total, proxied_part = stat.concurrency, stat.proxied_concurrency
        if not 0 <= total <= VALUE_MAX or not 0 <= proxied_part <= VALUE_MAX:  # also refuses NaN
            return None
        return max(0.0, total - proxied_part)

    def _listen(self, reporters: Reporters, now: float) -> float:
        """Who of those that had load in the last window is heard? Returns what a second of the missing ones counts."""
        pods = {endpoint.id for endpoint in self.endpoints if not endpoint.draining}
        heard: list[Source] = []
        lost: list[tuple[Source, float]] = []
        for name, source in list(self.sources.items()):
            since = reporters.missing_since(name, now)
            pod_gone = source.pod and name not in pods
            if since is None:
                idle = now - source.heard_at > self.spec.stable_window_s
                if idle or pod_gone or reporters.status(name, now) == "gone":
                    del self.sources[name]
                else:
                    heard.append(source)
            elif pod_gone or now - since > (REMEMBER_S if source.value > 0 else self.spec.stable_window_s):
                del self.sources[name]
            else:
                lost.append((source, since))
        recent = [(source, since) for source, since in lost if now - since <= self.spec.stable_window_s]
        self.expected, self.missing = len(heard) + len(recent), len(recent)
        self.blind = not reporters.anyone(now) or (self.missing > 0 and not heard)
        if self.blind:
            return self._held
        others = [source.value for source in heard if source.pod]
        extra = sum(source.value for source, since in recent if not source.pod and now - since <= HOLD_S)
        if others:
            extra += sum(1 for source, _ in recent if source.pod) * sum(others) / len(others)
        return extra

    def _fill(self, second_value: float, now: float) -> None:
        """Give every second whose reports are due a value, if only 0."""
        until = floor(now) - REPORT_LAG_S
        if self.blind and self.stable.empty(now) and not second_value:
            self._filled = until
            return
        for second in range(max(self._filled, until - self.stable.size_s) + 1, until + 1):
            self.stable.record(second, second_value)
            self.panic.record(second, second_value)
        self._filled = max(self._filled, until)

    # --- what we say -------------------------------------------------------------------------------------------------

    def decide(self, reporters: Reporters, now: float) -> Decision | None:
        """Look at the windows and decide. None: there is nothing to say yet."""
        self._fill(self._listen(reporters, now), now)
        if not self.blind and not self.stable.empty(now):
            self._held = self.stable.average(now)
            self.verdict = self.decider.decide(
                self.spec, now=now, ready=self.ready, stable=self._held, panic=self.panic.average(now)
            )
        return self._conclude(now, stepped=not self.blind)

    def settle(self, reporters: Reporters, now: float) -> Decision | None:
        """Pods or bounds changed: the same load, judged again by bounds and the zero machine."""
        self._listen(reporters, now)
        return self._conclude(now, stepped=False)

    def due_at(self, now: float) -> float | None:
        """When to decide again although nobody says anything; None: not before something happens."""
        moments = [self.decider.changes_at(self.spec), self.steady.changes_at()]
        moments.append(self.outcome.recheck_at if self.outcome is not None else None)
        if self._only_up_until > now:
            moments.append(self._only_up_until)
        unsettled = not self.stable.zero(now) or not self.panic.zero(now) or bool(self.sources)
        if self.blind:
            unsettled = bool(self.sources)
        elif self.verdict is None:
            unsettled = True
        if unsettled:
            return now + TICK_S
        known = [moment for moment in moments if moment is not None]
        return max(min(known), now + TICK_S) if known else None

    def _conclude(self, now: float, *, stepped: bool) -> Decision | None:
        if self.verdict is not None and stepped:
            self.wish, held = self.steady.step(
                self.spec,
                now=now,
                desired=self.verdict.desired,
                ready=self.ready,
                panic_need=self.verdict.panic_need,
                idle=self._held == 0,
            )
            self._rules = (*self.verdict.limits, *held)
        wish, guards = self._guarded(now)
        outcome = self.outcome = self.activity.step(self.spec, now=now, desired=wish, ready=self.ready)
        self.limits = (*self._rules, *guards, *outcome.limits)
        if outcome.want >= 0:
            self.want = outcome.want
        if self.blind and outcome.want < 0:
            return None
        return self.decision(now)

    def _guarded(self, now: float) -> tuple[int, tuple[str, ...]]:
        if self.blind:
            return self._kept(self.wish), ("no-data",)
        if now < self._only_up_until and self.verdict is not None:
            kept = self._kept(self.wish)
            return kept, ("restart",) if kept != self.wish else ()
        if self.missing * 2 > self.expected:
            kept = self._kept(self.wish)
            return kept, ("reporters-missing",) if kept != self.wish else ()
        if self.wish == 0 and self.want > 0 and any(source.value > 0 for source in self.sources.values()):
            return 1, ("reporter-lost",)
        return self.wish, ()

    def _kept(self, wish: int) -> int:
        """No fewer than now. What "now" is, we know only after we said it once; before, -1 leaves it alone."""
        if self.want >= 0:
            return max(wish, self.want) or -1
        wish = max(wish, scale_min(self.spec))
        present = sum(1 for endpoint in self.endpoints if not endpoint.draining)
        if self.spec.max_scale and present > self.spec.max_scale:
            return present  # the bound is next
        return wish if wish > present else -1

    def decision(self, now: float) -> Decision:
        """The present one, with its inputs."""
        verdict, outcome, spec = self.verdict, self.outcome, self.spec
        excess = verdict.excess_burst_capacity if verdict is not None else initial_burst_capacity(spec)
        want = outcome.want if outcome is not None else -1
        through = want if want >= 0 else self.want
        return Decision(
            revision=self.key,
            want=want,
            desired=verdict.desired if verdict is not None else -1,
            active=outcome.active if outcome is not None else "Unknown",
            reason=outcome.reason if outcome is not None else "",
            message=outcome.message if outcome is not None else "",
            excess_burst_capacity=excess,
            proxy=proxied(want=through, ready=self.ready, excess=excess),
            panicking=verdict is not None and verdict.panicking,
            stable_average=self.stable.average(now),
            panic_average=self.panic.average(now),
            ready=self.ready,
            activators=activators(spec, ready=self.ready),
            limits=self.limits,
        )


def _ready(endpoints: tuple[Endpoint, ...]) -> int:
    return sum(1 for endpoint in endpoints if endpoint.ready and not endpoint.draining)


def _shape(spec: Autoscaling) -> tuple[int, int, bool]:
    """Seconds of the stable and the panic window, and their kind."""
    stable_s, panic_s = max(1, round(spec.stable_window_s)), max(1, round(spec.panic_window_s))
    return stable_s, panic_s, spec.algorithm == "weighted-exponential"


def _windows(spec: Autoscaling) -> tuple[Window, Window]:
    stable_s, panic_s, weighted = _shape(spec)
    return Window(stable_s, weighted=weighted), Window(panic_s, weighted=weighted)
