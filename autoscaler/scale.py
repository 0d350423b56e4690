"""Averages → wanted pods: stable and panic mode, rates, activation, delay, burst capacity, bounds.

Path: window → [scale] → steady → zero → actuate.

This is Knative's decision, exactly: its vectors are the tests. What we do otherwise is kept out of here, in steady.py
and zero.py. All times are monotonic seconds that the caller passes in.

Source: spec/serving.md §10.6 (decision), §10.7 (bounds), §10.9 (mode, activators), §11 (vectors).
"""

from math import ceil, floor
from typing import NamedTuple

from autoscaler.window import SlidingMax
from dataplane.resources.scaling import Autoscaling

TICK_S = 2.0  # between two decisions, and the slot of the scale-down delay


class Verdict(NamedTuple):
    """What the load asks for, before bounds. Needs are pods; `ceiling` and `floor` are the rate limits of this step."""

    desired: int
    stable_need: int
    panic_need: int
    ceiling: int
    floor: int
    panicking: bool
    excess_burst_capacity: float
    limits: tuple[str, ...]


class Decider:
    """Remembers what a decision needs from earlier ones: since when it panics, the most it wanted, recent wishes.

    Invariant: while panicking, `desired` never falls.
    """

    __slots__ = ("panic_since", "panic_most", "_delay")

    def __init__(self, *, now: float, ready: int) -> None:
        # More than one pod at birth means that we were restarted under load: panic mode keeps them for one window.
        self.panic_since: float | None = now if ready > 1 else None
        self.panic_most = ready if ready > 1 else 0
        self._delay: SlidingMax | None = None

    def decide(self, spec: Autoscaling, *, now: float, ready: int, stable: float, panic: float) -> Verdict:
        """`stable` and `panic` are averages of the revision's metric over all its pods."""
        limits: list[str] = []
        pods = max(1, ready)
        top = ceil(spec.max_scale_up_rate * pods)
        bottom = floor(pods / spec.max_scale_down_rate) if spec.reachable else 0
        stable_need, panic_need = ceil(stable / spec.target), ceil(panic / spec.target)
        stable_pods = min(max(stable_need, bottom), top)
        panic_pods = min(max(panic_need, bottom), top)
        if stable_need > 0 and spec.activation_scale > max(1, stable_pods):
            stable_pods = spec.activation_scale
            limits.append("activation-scale")
        if panic_need > 0 and spec.activation_scale > max(1, panic_pods):
            panic_pods = spec.activation_scale

        self._watch_panic(spec, now, over=panic_need / pods >= spec.panic_threshold)
        desired = stable_pods
        if self.panic_since is not None:
            wanted = max(stable_pods, panic_pods)
            if wanted < self.panic_most:
                limits.append("panic")
            self.panic_most = desired = max(wanted, self.panic_most)
        need = max(stable_need, panic_need) if self.panic_since is not None else stable_need
        if need > top:
            limits.append("max-scale-up-rate")
        elif need < bottom and desired == bottom:
            limits.append("max-scale-down-rate")
        delayed = self._delayed(spec, now, desired)
        if delayed > desired:
            limits.append("scale-down-delay")
        return Verdict(
            desired=delayed,
            stable_need=stable_need,
            panic_need=panic_need,
            ceiling=top,
            floor=bottom,
            panicking=self.panic_since is not None,
            excess_burst_capacity=excess_burst_capacity(spec, ready=ready, panic=panic),
            limits=tuple(limits),
        )

    def changes_at(self, spec: Autoscaling) -> float | None:
        """When time alone may change the decision: the end of panic mode or of the delay. None: never."""
        moments = []
        if self.panic_since is not None:
            moments.append(self.panic_since + spec.stable_window_s)
        if self._delay is not None and (falls_at := self._delay.falls_at()) is not None:
            moments.append(falls_at)
        return min(moments, default=None)

    def _watch_panic(self, spec: Autoscaling, now: float, *, over: bool) -> None:
        if over:
            self.panic_since = now
        elif self.panic_since is not None and self.panic_since + spec.stable_window_s < now:
            self.panic_since = None
            self.panic_most = 0

    def _delayed(self, spec: Autoscaling, now: float, desired: int) -> int:
        if not spec.reachable or spec.scale_down_delay_s <= 0:
            self._delay = None
            return desired
        slots = ceil(spec.scale_down_delay_s / TICK_S)
        if self._delay is None or self._delay.slots != slots:
            self._delay = SlidingMax(slots, TICK_S)
        return self._delay.record(now, desired)


def excess_burst_capacity(spec: Autoscaling, *, ready: int, panic: float) -> float:
    """What the ready pods could take beyond the present load and the wanted burst; negative = not enough."""
    if spec.target_burst_capacity == 0:
        return 0
    if spec.target_burst_capacity < 0:
        return -1
    return floor(ready * spec.total - spec.target_burst_capacity - panic)


def initial_burst_capacity(spec: Autoscaling) -> float:
    """Before the first decision."""
    if spec.target_burst_capacity <= 0:
        return spec.target_burst_capacity
    return int(spec.initial_scale * spec.total - spec.target_burst_capacity)


def scale_min(spec: Autoscaling) -> int:
    """min-scale; an unreachable revision has none. Until initial-scale was reached once, it counts as well."""
    lower = spec.min_scale if spec.reachable else 0
    if spec.initial_scale > 1 and not spec.initialized and spec.reachable:
        lower = max(lower, spec.initial_scale)
    return lower


def bounded(spec: Autoscaling, desired: int) -> tuple[int, tuple[str, ...]]:
    """`desired` within min and max scale (max wins), and the name of the bound that changed it."""
    lower = scale_min(spec)
    if spec.max_scale and max(desired, lower) > spec.max_scale:
        return spec.max_scale, ("max-scale",)
    if desired < lower:
        return lower, ("min-scale" if lower == spec.min_scale else "initial-scale",)
    return desired, ()


def proxied(*, want: int, ready: int, excess: float) -> bool:
    """Whether requests go through the activator (Proxy) or straight to pods (Serve)."""
    return want <= 0 or excess < 0 or ready == 0


def activators(spec: Autoscaling, *, ready: int) -> int:
    """How many activators should stand before the revision."""
    if spec.target_burst_capacity == 0:
        return 2
    load = ready * spec.total + max(spec.target_burst_capacity, 0)
    return max(2, ceil(load / spec.activator_capacity))
