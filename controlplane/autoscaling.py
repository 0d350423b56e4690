"""Annotations over config-autoscaler over defaults: the parameters of one revision's autoscaler. Pure.

Path: revision annotations, KnativeConfig → [autoscaling] → dataplane.resources.scaling.Autoscaling → autoscaler.

Annotations were validated on write; one that does not parse any more is treated as if it were not there.
What unreachability changes (no min-scale, no delays) is the autoscaler's business; here it is only passed on.

Source: spec/serving.md §10.2, §13.1.
"""

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

from controlplane import annotations as keys
from controlplane.go_text import parse_go_duration, parse_go_float, parse_go_int
from controlplane.knative_settings import KnativeConfig
from dataplane.resources.scaling import Autoscaling

V = TypeVar("V")
TARGET_MIN = 0.01
_RPS_UTILIZATION = 0.7


def resolve_autoscaling(
    annotations: Mapping[str, str],
    container_concurrency: int,
    config: KnativeConfig,
    *,
    reachable: bool,
    initialized: bool,
    progress_deadline_s: float | None = None,
) -> Autoscaling:
    """The parameters of one revision.

    Args:
        container_concurrency: of the revision; 0 = unlimited.
        progress_deadline_s: overrides the annotation and config-deployment when given.
    """

    def number(key: str, default: float) -> float:
        value = _parsed(annotations, key, parse_go_float)
        return default if value is None or not math.isfinite(value) else value

    def seconds(key: str, default: float) -> float:
        value = _parsed(annotations, key, parse_go_duration)
        return default if value is None else value

    def count(key: str, default: int) -> int:
        value = _parsed(annotations, key, lambda text: parse_go_int(text, 32))
        return default if value is None else max(0, value)

    conf = config.autoscaler
    rps = keys.annotation(annotations, keys.METRIC) == "rps"
    if rps:
        total, utilization = number(keys.TARGET, conf.rps_target), _RPS_UTILIZATION
    else:
        limit = float(container_concurrency)
        total = number(keys.TARGET, limit or conf.concurrency_target)
        total, utilization = min(total, limit) if limit else total, conf.target_fraction
    percentage = number(keys.TARGET_UTILIZATION, 0)
    utilization = percentage / 100 if percentage else utilization
    window = seconds(keys.WINDOW, conf.stable_window_s)
    algorithm = keys.annotation(annotations, keys.ALGORITHM)
    return Autoscaling(
        metric="rps" if rps else "concurrency",
        total=total,
        target=max(TARGET_MIN, total * utilization),
        algorithm="weighted-exponential" if algorithm in ("weighted-exponential", "weightedExponential") else "linear",
        stable_window_s=window,
        panic_window_s=panic_window_s(window, number(keys.PANIC_WINDOW, conf.panic_window_percentage)),
        panic_threshold=number(keys.PANIC_THRESHOLD, conf.panic_threshold_percentage) / 100,
        target_burst_capacity=number(keys.TARGET_BURST_CAPACITY, conf.target_burst_capacity),
        max_scale_up_rate=conf.max_scale_up_rate,
        max_scale_down_rate=conf.max_scale_down_rate,
        scale_down_delay_s=seconds(keys.SCALE_DOWN_DELAY, conf.scale_down_delay_s),
        activation_scale=count(keys.ACTIVATION_SCALE, 0),
        initial_scale=count(keys.INITIAL_SCALE, conf.initial_scale),
        min_scale=count(keys.MIN_SCALE, conf.min_scale),
        max_scale=count(keys.MAX_SCALE, conf.max_scale),
        enable_scale_to_zero=conf.enable_scale_to_zero,
        scale_to_zero_grace_s=conf.scale_to_zero_grace_s,
        retention_s=seconds(keys.RETENTION, conf.retention_s),
        progress_deadline_s=seconds(keys.PROGRESS_DEADLINE, config.deployment.progress_deadline_s)
        if progress_deadline_s is None
        else progress_deadline_s,
        activator_capacity=conf.activator_capacity,
        reachable=reachable,
        initialized=initialized,
    )


def panic_window_s(stable_window_s: float, percentage: float) -> float:
    """Whole seconds, at least one; halves round up, as Go's Duration.Round does."""
    return max(1.0, math.floor(stable_window_s * percentage / 100 + 0.5))


def _parsed(annotations: Mapping[str, str], key: str, parser: Callable[[str], V]) -> V | None:
    text = keys.annotation(annotations, key)
    if text is None:
        return None
    try:
        return parser(text)
    except (ValueError, OverflowError):
        return None
