"""The autoscaler: decides for every revision on a tick, or now on a poke.

Path: record ← gateway, activator (direct call) | collect (links) → [decide] → actuate → controlplane.

One timer for all revisions, on a grid of 2 s, and only while some revision has something to decide: load in its
windows, a window or delay that runs out, a reporter that is missing. An idle service has no timer.

Decisions are levels, not edges: each one says everything that is wanted, the receiver may see it twice, and one that
could not be handed over is handed over again, the newest of each revision only.

Source: spec/serving.md §10, §8.11 (poke); reliability.md AS-01…AS-08.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from autoscaler.explain import Explanation, explanation
from autoscaler.meters import Meters
from autoscaler.reporters import Reporters
from autoscaler.revision import Scaling
from autoscaler.scale import TICK_S
from dataplane.clock import Clock
from dataplane.resources.scaling import Decision
from dataplane.resources.snapshot import Change, Snapshot
from dataplane.resources.snapshot import Revision as Compiled
from dataplane.telemetry.metrics import Registry
from dataplane.wire.stats import Stat

log = logging.getLogger(__name__)

Actuate = Callable[[tuple[Decision, ...]], None]

LEARN_S = 0.002  # of new revisions per turn of the loop; 180 µs of CPU each
AT_ONCE = 16  # revisions decided per turn of the loop: 16 × 35–67 µs of CPU, so that no request waits for all of them
_RETRY_FIRST_S, _RETRY_FACTOR, _RETRY_MAX_S = 0.1, 2.0, 5.0


class Autoscaler:
    """Call everything on the loop. `actuate` must not block; when it raises it is called again later.

    local: reporters live in this process, so silence means "no load". False for a process of its own, where it means
    "nobody is connected" until somebody is.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        registry: Registry,
        actuate: Actuate,
        local: bool = True,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._actuate = actuate
        self._meters = Meters(registry)
        self._reporters = Reporters(local=local)
        self._revisions: dict[str, Scaling] = {}
        self._compiled: dict[str, Compiled] = {}
        self._unlearned: dict[str, tuple[Compiled, bool]] = {}  # of a snapshot; True: we were not there when it started
        self._learning: asyncio.Handle | None = None
        self._due: dict[str, float] = {}  # revision → when; those that wait for an event only are not in it
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._batch: asyncio.Handle | None = None
        self._unsent: dict[str, Decision] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._retry_s = _RETRY_FIRST_S
        self._random = random.Random()
        self._blind: set[str] = set()
        self._applied = False
        self._closed = False

    # --- what the control plane says ---------------------------------------------------------------------------------

    def apply(self, snapshot: Snapshot, change: Change | None) -> None:
        """A new snapshot; `change` is what differs, None or base -1: look at everything."""
        revisions = snapshot.revisions
        keys: Iterable[str]
        everything = True
        if change is None or change.base == -1:
            keys = tuple({**revisions, **self._compiled, **self._unlearned})
        else:
            keys, everything = change.revisions.keys(), False
        for key in keys:
            compiled = revisions.get(key)
            if compiled is None or compiled.autoscaling is None:
                self._forget(key)
            elif everything or self._compiled.get(key) is not compiled:
                _, restarted = self._unlearned.get(key, (None, not self._applied))
                self._unlearned[key] = (compiled, restarted)
        self._applied = True
        if self._learning is None:
            self._learn_some()

    def _learn_some(self) -> None:
        """A slice now, the rest in the next turns: the first snapshot may hold a thousand revisions."""
        self._learning = None
        now = self._loop.time()
        until = now + LEARN_S
        decisions: list[Decision] = []
        for key in list(self._unlearned):
            self._learn(key, now, decisions)
            if self._loop.time() >= until:
                break
        self._hand_over(decisions)
        if self._unlearned and not self._closed:
            self._learning = self._loop.call_soon(self._learn_some)
        self._set_timer(now)

    def _learn(self, key: str, now: float, decisions: list[Decision]) -> None:
        compiled, restarted = self._unlearned.pop(key)
        scaling = self._revisions.get(key)
        if scaling is None:
            scaling = self._revisions[key] = Scaling(compiled, now=now, restarted=restarted)
        elif self._compiled[key] is not compiled:
            scaling.update(compiled)
        self._compiled[key] = compiled
        self._meters.add(key, compiled)
        decision = scaling.settle(self._reporters, now)
        if decision is not None:
            decisions.append(self._show(scaling, decision))
        self._due[key] = self._slot(now)

    def _found(self, key: str, now: float, decisions: list[Decision]) -> Scaling | None:
        """The revision; it need not wait for its slice when it has load."""
        if key in self._unlearned:
            self._learn(key, now, decisions)
        return self._revisions.get(key)

    def _forget(self, key: str) -> None:
        self._compiled.pop(key, None)
        self._unlearned.pop(key, None)
        if self._revisions.pop(key, None) is not None:
            self._due.pop(key, None)
            self._unsent.pop(key, None)
            self._blind.discard(key)
            self._meters.drop(key)
            self._meters.blind.v = len(self._blind)

    # --- what reporters say ------------------------------------------------------------------------------------------

    def record(self, stats: list[Stat]) -> None:
        """From this process. An empty list is allowed and says nothing."""
        for name in {stat.reporter for stat in stats}:
            self._reporters.here(name)
        self._record(stats)

    def opened(self, link: int, names: tuple[str, ...] = ()) -> None:
        """A remote reporter connected; `link` is any number that is not in use."""
        self._reporters.opened(link, self._loop.time(), names)
        if len(self._blind) > 0:
            self._wake_all()

    def frame(self, link: int, stats: list[Stat]) -> bool:
        """A decoded frame of a link; an empty one is a keep-alive. False: ignored, it speaks for too many reporters."""
        names = {stat.reporter for stat in stats}
        if not self._reporters.frame(link, self._loop.time(), names):
            self._meters.rejected.cell(f"link-{link}", "reporters").v += 1
            return False
        self._record(stats)
        return True

    def knows(self, revision: str) -> bool:
        """The revision is scaled here; what is reported about others is lost."""
        return revision in self._revisions or revision in self._unlearned

    def rejected(self, name: str, reason: str) -> None:
        """Somebody sent what is no stat."""
        self._meters.rejected.cell(name, reason).v += 1

    def closed(self, link: int, *, goodbye: bool) -> None:
        """A link ended; `goodbye`: the reporter left on purpose."""
        self._reporters.closed(link, self._loop.time(), goodbye=goodbye)

    def _record(self, stats: list[Stat]) -> None:
        now = self._loop.time()
        decisions: list[Decision] = []
        for stat in stats:
            scaling = self._found(stat.revision, now, decisions)
            if scaling is None:
                continue  # deleted a moment ago, or not published yet: the reporter will say it again
            refusal = scaling.record(stat, now)
            if refusal:
                self._meters.rejected.cell(stat.reporter, refusal).v += 1
            elif scaling.urgent(stat):
                self._decide(scaling, now, decisions)
            elif stat.revision not in self._due and not scaling.stable.zero(now):
                self._due[stat.revision] = self._slot(now)
        self._hand_over(decisions)
        self._set_timer(now)

    # --- deciding ----------------------------------------------------------------------------------------------------

    def explain(self, revision: str) -> Explanation | None:
        """Why there are as many pods as there are; None: not a revision that is scaled here."""
        scaling = self._revisions.get(revision)
        if scaling is None:
            return None
        return explanation(scaling, reporters=self._reporters, now=self._loop.time(), wall=self._clock.wall())

    @property
    def resting(self) -> bool:
        """No timer is set: every revision waits for an event."""
        return self._timer is None and self._learning is None and self._batch is None and self._retry is None

    def close(self) -> None:
        """Stop deciding. What was decided stands."""
        self._closed = True
        for handle in (self._timer, self._learning, self._batch, self._retry):
            if handle is not None:
                handle.cancel()
        self._timer = self._learning = self._batch = self._retry = None

    def _decide(self, scaling: Scaling, now: float, decisions: list[Decision]) -> None:
        decision = scaling.decide(self._reporters, now)
        if decision is not None:
            decisions.append(self._show(scaling, decision))
        self._watch_blind(scaling)
        due_at = scaling.due_at(now)
        if due_at is None:
            self._due.pop(scaling.key, None)
        else:
            self._due[scaling.key] = self._slot(due_at - TICK_S)

    def _show(self, scaling: Scaling, decision: Decision) -> Decision:
        self._meters.show(scaling, decision)
        return decision

    def _watch_blind(self, scaling: Scaling) -> None:
        """One line when the first revision loses its data, one when all are back; the gauge is what to alert on."""
        if scaling.blind == (scaling.key in self._blind):
            return
        if scaling.blind:
            if not self._blind:
                log.warning("stats_missing revision=%s held=%d", scaling.key, scaling.want)
            self._blind.add(scaling.key)
        else:
            self._blind.discard(scaling.key)
            if not self._blind:
                log.info("stats_complete revision=%s", scaling.key)
        self._meters.blind.v = len(self._blind)

    def _slot(self, after: float) -> float:
        """The next moment of the grid, strictly after."""
        return (int(after / TICK_S) + 1) * TICK_S

    def _wake_all(self) -> None:
        now = self._loop.time()
        slot = self._slot(now)
        for key in self._revisions:
            self._due[key] = min(slot, self._due.get(key, slot))
        self._set_timer(now)

    def _set_timer(self, now: float) -> None:
        if self._closed or self._batch is not None:
            return
        earliest = min(self._due.values(), default=None)
        if earliest is None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None or earliest < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = max(earliest, now)
            self._timer = self._loop.call_at(self._timer_at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        # uvloop rounds timers to milliseconds: this may be a little early, and the grid must not see it twice.
        now = max(self._loop.time(), self._timer_at)
        self._decide_batch([key for key, due_at in self._due.items() if due_at <= now], now)

    def _decide_batch(self, keys: list[str], now: float) -> None:
        """A slice now, the rest in the next turns: a thousand busy revisions must not hold up a request."""
        self._batch = None
        decisions: list[Decision] = []
        for key in keys[:AT_ONCE]:
            scaling = self._revisions.get(key)
            if scaling is not None:
                self._decide(scaling, now, decisions)
        self._hand_over(decisions)
        if len(keys) > AT_ONCE and not self._closed:
            self._batch = self._loop.call_soon(self._decide_batch, keys[AT_ONCE:], now)
        else:
            self._set_timer(now)

    # --- handing over ------------------------------------------------------------------------------------------------

    def _hand_over(self, decisions: list[Decision]) -> None:
        if not decisions or self._closed:
            return
        if self._unsent:
            self._unsent.update((decision.revision, decision) for decision in decisions)
            return  # the retry takes them along, in order
        try:
            self._actuate(tuple(decisions))
        except Exception as error:  # a plug-in's failure must not stop the windows; it is retried and counted
            self._failed(decisions, error)

    def _failed(self, decisions: Iterable[Decision], error: Exception) -> None:
        self._meters.failures.v += 1
        log.warning("actuation_failed error=%r retry_s=%.1f", error, self._retry_s)
        for decision in decisions:
            self._unsent.setdefault(decision.revision, decision)
        if self._retry is not None or self._closed:
            return
        delay_s = self._retry_s * self._random.uniform(0.5, 1.0)
        self._retry_s = min(self._retry_s * _RETRY_FACTOR, _RETRY_MAX_S)
        self._retry = self._loop.call_later(delay_s, self._again)

    def _again(self) -> None:
        self._retry = None
        decisions, self._unsent = self._unsent, {}
        if not decisions:
            return
        try:
            self._actuate(tuple(decisions.values()))
        except Exception as error:  # as above
            self._failed(decisions.values(), error)
        else:
            self._retry_s = _RETRY_FIRST_S
