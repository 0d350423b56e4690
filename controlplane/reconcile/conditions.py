"""The happy-state algebra: how the conditions of an object add up to Ready.

Path: reconcile/{service,configuration,revision,route,autoscaler}.py → [conditions] → status.conditions.

A `Conditions` is opened over the conditions of the last time, marked, and closed into a sorted tuple. Conditions that
did not change keep their time; all that did share `now`.

Source: spec/serving.md §1.3–1.5.
"""

from typing import Final

import msgspec

from dataplane.clock import rfc3339
from dataplane.resources.meta import Condition

READY: Final = "Ready"


class Conditions:
    """Ready and its dependents of one object, during one reconcile. Types that are not dependents are Info."""

    __slots__ = ("_before", "_dependents", "_marked", "_now", "_turn", "_types")

    def __init__(
        self,
        before: tuple[Condition, ...],
        dependents: tuple[str, ...],
        now: float,
        *,
        new_generation: bool = False,
    ) -> None:
        """`new_generation`: observedGeneration is behind: Ready starts Unknown and must be overwritten (§1.3)."""
        self._before = {one.type: one for one in before}
        self._dependents = dependents
        self._now = rfc3339(now)
        self._types: dict[str, Condition] = dict(self._before)
        self._marked: dict[str, int] = {}  # order of marking: those of this reconcile are newer than all before
        self._turn = 0
        self._initialise()
        if new_generation:
            self._set(READY, "Unknown", "NewObservedGenFailure", "unsuccessfully observed a new generation")

    def __getitem__(self, type_: str) -> Condition:
        """The condition now. A type that was never set is Unknown."""
        return self._types.get(type_) or Condition(type=type_)

    def true(self, type_: str, reason: str = "", message: str = "") -> None:
        """MarkTrue: then Ready is the newest False dependent, else the newest Unknown one, else True."""
        self._set(type_, "True", reason, message)
        if self._is_happy(type_):
            self._recompute()

    def unknown(self, type_: str, reason: str = "", message: str = "") -> None:
        """MarkUnknown: Ready follows unless a dependent is False."""
        self._set(type_, "Unknown", reason, message)
        if type_ == READY or type_ not in self._dependents:
            return
        failed = self._newest("False")
        if failed is None:
            self._set(READY, "Unknown", reason, message)
        elif self[READY].status != "False":
            self._set(READY, "False", failed.reason, failed.message)

    def false(self, type_: str, reason: str = "", message: str = "") -> None:
        """MarkFalse: Ready is False for the same reason."""
        self._set(type_, "False", reason, message)
        if type_ in self._dependents:
            self._set(READY, "False", reason, message)

    def follow(self, type_: str, other: Condition | None) -> None:
        """Mark as `other` is (§2.1 "copies"). None is Unknown without a reason."""
        if other is None or other.status == "Unknown":
            self.unknown(type_, other.reason if other else "", other.message if other else "")
        elif other.status == "True":
            self.true(type_)
        else:
            self.false(type_, other.reason, other.message)

    def close(self) -> tuple[Condition, ...]:
        """Sorted by type, with times."""
        return tuple(self._timed(self._types[type_]) for type_ in sorted(self._types))

    def _initialise(self) -> None:
        ready = self._types.setdefault(READY, Condition(type=READY))
        for type_ in self._dependents:
            self._types.setdefault(type_, Condition(type=type_, status="True" if ready.status == "True" else "Unknown"))

    def _is_happy(self, type_: str) -> bool:
        return type_ == READY or type_ in self._dependents

    def _recompute(self) -> None:
        worst = self._newest("False") or self._newest("Unknown")
        if worst is not None:
            self._set(READY, worst.status, worst.reason, worst.message)
        else:
            self._set(READY, "True")

    def _newest(self, status: str) -> Condition | None:
        found = [self._types[t] for t in self._dependents if self._types[t].status == status]
        return max(found, key=lambda c: (self._marked.get(c.type, 0), c.last_transition_time), default=None)

    def _set(self, type_: str, status: str, reason: str = "", message: str = "") -> None:
        severity = "" if self._is_happy(type_) else "Info"
        assert status in ("True", "False", "Unknown")
        changed = Condition(type=type_, status=status, reason=reason, message=message, severity=severity)  # type: ignore[arg-type]
        before = self._types.get(type_)
        if before is not None and _same(before, changed):
            return
        self._types[type_] = changed
        self._turn += 1
        self._marked[type_] = self._turn

    def _timed(self, one: Condition) -> Condition:
        before = self._before.get(one.type)
        if before is not None and before.last_transition_time and _same(before, one):
            return before
        return msgspec.structs.replace(one, last_transition_time=self._now)


def _same(one: Condition, other: Condition) -> bool:
    """Equal but for the time."""
    return (one.status, one.reason, one.message, one.severity) == (
        other.status,
        other.reason,
        other.message,
        other.severity,
    )


def is_true(one: Condition | None) -> bool:
    return one is not None and one.status == "True"


def is_false(one: Condition | None) -> bool:
    return one is not None and one.status == "False"
