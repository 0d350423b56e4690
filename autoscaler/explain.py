"""Why are there N pods? The inputs of the last decision, the rules that shaped it, and when it may change.

Path: decide → [explain] → controlplane API, `dataplane explain ksvc/NAME`.
"""

from typing import Literal

import msgspec

from autoscaler.reporters import Reporters
from autoscaler.revision import Scaling
from dataplane.resources.scaling import Decision


class ReporterView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One reporter that had load within the stable window. `value` is its last one, in units of the metric."""

    reporter: str
    value: float
    age_s: float
    status: Literal["heard", "missing", "gone"]


class Explanation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Seconds are durations except `at` (wall clock). Needs and counts are pods; averages are units of the metric.

    stable_need/panic_need: pods that the averages ask for; rate_floor/rate_ceiling: how far one decision may go.
    next_change_s: when the answer may change by time alone; None: only with new load, pods or settings.
    because: sentences for people, in the order in which the rules were applied.
    """

    revision: str
    at: float
    decision: Decision
    metric: str
    total: float
    target: float
    stable_window_s: float
    panic_window_s: float
    stable_need: int
    panic_need: int
    rate_floor: int
    rate_ceiling: int
    min_scale: int
    max_scale: int
    state: str
    state_for_s: float
    panic_ends_s: float | None
    next_change_s: float | None
    reporters: tuple[ReporterView, ...]
    expected_reporters: int
    missing_reporters: int
    because: tuple[str, ...]


_RULES: dict[str, str] = {
    "activation-scale": "activation-scale: the first pods come as {activation} at once",
    "panic": "panic mode: nothing is taken away until one stable window after the last excess",
    "max-scale-up-rate": "max-scale-up-rate: at most {ceiling} in this step",
    "max-scale-down-rate": "max-scale-down-rate: at least {floor} after this step",
    "scale-down-delay": "scale-down-delay: the largest wish of the last {delay:g} s counts",
    "flapping": "the load is a wave: pods taken away lately were asked for again, so they stay for two windows",
    "panic-threshold": "fewer pods would panic at once at the present load",
    "no-data": "nobody reports: the last decision stands",
    "reporters-missing": "{missing} of {expected} reporters are missing: only up",
    "reporter-lost": "a reporter with load was lost and may still carry it: one pod stays",
    "restart": "the autoscaler has not watched for one stable window yet: only up",
    "min-scale": "min-scale {min}",
    "max-scale": "max-scale {max}",
    "initial-scale": "initial-scale {initial}, until it was reached once",
    "enable-scale-to-zero": "scale to zero is switched off",
    "activating": "it is being activated: the first pods get their progress deadline",
    "stable-window": "it became active less than one stable window ago: one pod stays",
    "scale-to-zero-pod-retention-period": "idle pods are retained for {retention:g} s",
}


def explanation(scaling: Scaling, *, reporters: Reporters, now: float, wall: float) -> Explanation:
    """`now` monotonic, `wall` for people."""
    spec, verdict, activity = scaling.spec, scaling.verdict, scaling.activity
    due_at = scaling.due_at(now)
    panic_since = scaling.decider.panic_since
    return Explanation(
        revision=scaling.key,
        at=wall,
        decision=scaling.decision(now),
        metric=spec.metric,
        total=spec.total,
        target=spec.target,
        stable_window_s=spec.stable_window_s,
        panic_window_s=spec.panic_window_s,
        stable_need=verdict.stable_need if verdict is not None else 0,
        panic_need=verdict.panic_need if verdict is not None else 0,
        rate_floor=verdict.floor if verdict is not None else 0,
        rate_ceiling=verdict.ceiling if verdict is not None else 0,
        min_scale=spec.min_scale,
        max_scale=spec.max_scale,
        state={"True": "active", "False": "inactive", "Unknown": "activating"}[activity.active],
        state_for_s=round(now - activity.since, 3),
        panic_ends_s=None if panic_since is None else max(0.0, round(panic_since + spec.stable_window_s - now, 3)),
        next_change_s=None if due_at is None else round(due_at - now, 3),
        reporters=tuple(
            ReporterView(
                reporter=name,
                value=source.value,
                age_s=round(now - source.heard_at, 3),
                status=reporters.status(name, now),
            )
            for name, source in sorted(scaling.sources.items())
        ),
        expected_reporters=scaling.expected,
        missing_reporters=scaling.missing,
        because=_because(scaling, now),
    )


def _because(scaling: Scaling, now: float) -> tuple[str, ...]:
    spec, verdict = scaling.spec, scaling.verdict
    unit = "requests/s" if spec.metric == "rps" else "requests at once"
    if verdict is None:
        first = "no reports yet"
    else:
        stable, panic = scaling.stable.average(now), scaling.panic.average(now)
        first = (
            f"{stable:g} {unit} over {spec.stable_window_s:g} s → {verdict.stable_need}, "
            f"{panic:g} over {spec.panic_window_s:g} s → {verdict.panic_need} (target {spec.target:g} per pod)"
        )
    words = {
        "activation": spec.activation_scale,
        "ceiling": verdict.ceiling if verdict is not None else 0,
        "floor": verdict.floor if verdict is not None else 0,
        "delay": spec.scale_down_delay_s,
        "missing": scaling.missing,
        "expected": scaling.expected,
        "min": spec.min_scale,
        "max": spec.max_scale,
        "initial": spec.initial_scale,
        "retention": spec.retention_s,
    }
    return (first, *(_RULES[rule].format(**words) for rule in scaling.limits))
