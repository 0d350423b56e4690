"""Reasons not to take pods away although the averages would: flapping, missing data, a restart.

Path: scale → [steady] → zero → actuate.

None of this raises the count beyond what an earlier decision wanted, none touches scaling up, and none delays a service
without load, so that the times of scaling to zero stay as specified.

* Re-panic: upstream takes a pod away when panic mode ends although the remaining ones would panic at once, so one pod
  under a load for 1.1 flaps between 1 and 2 once per window. We keep as many as the panic average would call for.
* Regret: pods were taken away and asked for again within one window. Then the load is a wave, and for two windows after
  the last crest nothing is taken away.

Source: reliability.md AS-01, AS-02, AS-05, AS-08; spec/serving.md §15 item 6.
"""

from math import floor

from dataplane.resources.scaling import Autoscaling

REGRET_WINDOWS = 2


class Steady:
    """Remembers the last wish and when it fell."""

    __slots__ = ("_wish", "_fell_at", "_falling", "_until", "_trough")

    def __init__(self) -> None:
        self._wish = -1
        self._fell_at: float | None = None
        self._falling = False
        self._until: float | None = None  # nothing is taken away before it
        self._trough = False  # the load was below what we hold since the last crest

    def step(
        self, spec: Autoscaling, *, now: float, desired: int, ready: int, panic_need: int, idle: bool
    ) -> tuple[int, tuple[str, ...]]:
        """`desired`, or more; and the name of the rule that held it. `idle`: there is no load at all."""
        if idle or not spec.reachable:
            self._until = None
            self._remember(spec, now, desired)
            return desired, ()
        wish, limits = self._held(spec, now, desired, ready, panic_need)
        self._remember(spec, now, wish)
        return wish, limits

    def changes_at(self) -> float | None:
        """When time alone may let pods go."""
        return self._until

    def _held(
        self, spec: Autoscaling, now: float, desired: int, ready: int, panic_need: int
    ) -> tuple[int, tuple[str, ...]]:
        if self._until is not None:
            # The crest shows in the panic average; a wave as long as the stable window is flat in the stable one.
            if max(desired, panic_need) >= self._wish:
                if self._trough:
                    self._until, self._trough = now + REGRET_WINDOWS * spec.stable_window_s, False
            else:
                self._trough = True
            if now >= self._until:
                self._until = None
            elif desired < self._wish:
                return self._wish, ("flapping",)
        calm = floor(panic_need / spec.panic_threshold) + 1 if panic_need else 0
        if desired < min(calm, ready):
            return min(calm, ready), ("panic-threshold",)
        return desired, ()

    def _remember(self, spec: Autoscaling, now: float, wish: int) -> None:
        if self._wish > 0 and wish < self._wish:
            self._fell_at, self._falling = now, True
        elif wish > self._wish:
            recent = self._fell_at is not None and now - self._fell_at < spec.stable_window_s
            if self._falling and self._wish > 0 and recent:
                self._until, self._trough = now + REGRET_WINDOWS * spec.stable_window_s, False
            self._falling = False
        self._wish = wish
