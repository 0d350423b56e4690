"""What the autoscaler is told about a revision, and what it says back.

Source: spec/serving.md §10.2 (resolution of parameters), §10.6–10.9 (the decision).
"""

from typing import Literal

import msgspec


class Autoscaling(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, rename="camel", gc=False
):
    """Resolved parameters of one revision: annotations over config-autoscaler over defaults. Seconds, pods, or ratios.

    total: what one pod can take (TOTAL); target = max(0.01, total × utilization) (TARGET).
    min_scale/max_scale 0 = none; activation_scale 0 = none. target_burst_capacity -1 = always through the activator.
    """

    metric: Literal["concurrency", "rps"] = "concurrency"
    total: float = 100.0
    target: float = 70.0
    algorithm: Literal["linear", "weighted-exponential"] = "linear"
    stable_window_s: float = 60.0
    panic_window_s: float = 6.0
    panic_threshold: float = 2.0
    target_burst_capacity: float = 211.0
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0
    scale_down_delay_s: float = 0.0
    activation_scale: int = 0
    initial_scale: int = 1
    min_scale: int = 0
    max_scale: int = 0
    enable_scale_to_zero: bool = True
    scale_to_zero_grace_s: float = 30.0
    retention_s: float = 0.0
    progress_deadline_s: float = 600.0
    activator_capacity: float = 100.0
    reachable: bool = True
    initialized: bool = False  # initial_scale was reached once; never goes back


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", gc=False):
    """What the autoscaler wants for one revision, with the inputs, so that `explain` can say why.

    want: replicas to apply; -1 = leave as it is. desired: before bounds and the scale-to-zero machine.
    limits: which bounds shaped it, in order, e.g. ("max-scale-down-rate", "min-scale").
    """

    revision: str
    want: int
    desired: int = -1
    active: Literal["True", "False", "Unknown"] = "Unknown"
    reason: str = ""
    message: str = ""
    excess_burst_capacity: float = 0.0
    proxy: bool = True
    panicking: bool = False
    stable_average: float = 0.0
    panic_average: float = 0.0
    ready: int = 0
    activators: int = 0
    limits: tuple[str, ...] = ()


class ScaleWrite(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Decisions of one autoscaler under its fencing token; a smaller token than the newest is refused (AS-06)."""

    token: int
    decisions: tuple[Decision, ...]
