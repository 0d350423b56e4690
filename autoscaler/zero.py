"""To zero and back: the Active condition of a revision as a state machine.

Path: scale → steady → [zero] → actuate.

    Unknown (activating) ──enough pods ready──→ True ──no load for a window──→ False ──retention over──→ 0 pods
        ↑    └──progress deadline passed: give up──────────────────────────────→ ↑  │
        └──────────────────────────────────load again──────────────────────────────┘

Where this differs from upstream, because on one machine the activator is always in the path (§17):
* upstream asks whether the activator is in the path (probe, or proxy mode for a grace period) before it removes the
  last pod. Here it always is: `scale-to-zero-grace-period` is 0 in effect, the key stays. Only the retention waits;
* upstream needs one more reconciliation to go from "no traffic" to 0 pods. Here both happen in one decision.

Source: spec/serving.md §10.8 (machine), §10.10 and §16.9 (conditions), §17 (one machine).
"""

from typing import Literal, NamedTuple

from autoscaler.scale import bounded
from dataplane.resources.scaling import Autoscaling

PROGRESS_SLACK_S = 30.0  # beyond the progress deadline: time to activate before we give up

Active = Literal["True", "False", "Unknown"]


class Outcome(NamedTuple):
    """`want`: replicas to apply, -1 = leave as it is. `recheck_at`: when time alone may change it; None: never."""

    want: int
    active: Active
    reason: str
    message: str
    recheck_at: float | None
    limits: tuple[str, ...]


_TEXTS: dict[str, str] = {
    "": "",
    "Queued": "Requests to the target are being buffered as resources are provisioned.",
    "NoTraffic": "The target is not receiving traffic.",
    "TimedOut": "The target could not be activated.",
}


class Activity:
    """The Active condition: `active` since `since` (monotonic seconds), and why."""

    __slots__ = ("active", "since", "reason")

    def __init__(self, spec: Autoscaling, *, now: float, ready: int) -> None:
        self.since = now
        self.reason = ""
        self.active: Active = "Unknown"
        if spec.initialized and ready >= ready_min(spec):
            self.active = "True"
        elif spec.initialized and ready == 0:
            # Nobody told us that it was activated: at rest, until there is load.
            self.active, self.reason = "False", "NoTraffic"
        else:
            self.reason = "Queued"

    def step(self, spec: Autoscaling, *, now: float, desired: int, ready: int) -> Outcome:
        """One decision. `desired` before bounds; -1 = unknown."""
        want, applies, recheck_at, limits = self._want(spec, now, desired)
        self._settle(spec, now, want, ready)
        return Outcome(
            want=want if applies else -1,
            active=self.active,
            reason=self.reason,
            message=_TEXTS[self.reason],
            recheck_at=recheck_at,
            limits=limits,
        )

    def _want(self, spec: Autoscaling, now: float, desired: int) -> tuple[int, bool, float | None, tuple[str, ...]]:
        if desired < 0 and self.active != "Unknown":
            return -1, True, None, ()
        want, limits = bounded(spec, max(0, desired))
        if want > 0:
            return want, True, None, limits
        if not spec.enable_scale_to_zero:
            return 1, True, None, (*limits, "enable-scale-to-zero")
        if self.active == "Unknown":
            given_up_at = self.since + spec.progress_deadline_s + PROGRESS_SLACK_S
            if now <= given_up_at:
                return -1, True, given_up_at, (*limits, "activating")
            return 0, True, None, limits
        inactive_since = self.since
        if self.active == "True":
            idle_from = self.since + spec.stable_window_s
            if now < idle_from:
                return 1, True, idle_from, (*limits, "stable-window")
            inactive_since = now
        retained_until = inactive_since + (spec.retention_s if spec.reachable else 0.0)
        if now < retained_until:
            return 0, False, retained_until, (*limits, "scale-to-zero-pod-retention-period")
        return 0, True, None, limits

    def _settle(self, spec: Autoscaling, now: float, want: int, ready: int) -> None:
        least = ready_min(spec)
        if want == 0 or least == 0:
            gave_up = self.active == "Unknown" and least > 0
            if self.active != "False":
                self._become(now, "False", "TimedOut" if gave_up else "NoTraffic")
        elif want > 0 or self.active != "False":
            if ready >= least:
                self._become(now, "True", "")
            else:
                self._become(now, "Unknown", "Queued")

    def _become(self, now: float, active: Active, reason: str) -> None:
        if active != self.active:
            self.since = now
        self.active, self.reason = active, reason


def ready_min(spec: Autoscaling) -> int:
    """How many ready pods make the revision Active."""
    lower = spec.min_scale if spec.reachable else 0
    least = max(lower, 1) if spec.initialized else max(lower, spec.initial_scale)
    return min(least, spec.max_scale) if spec.max_scale else least
