"""Which revision, by weight: independent for every request. Pure.

Path: match.py → [split] → forward.py.

Source: spec/serving.md §6.5 (independent weighted random; 0 % gets nothing; no stickiness).
"""

from collections.abc import Callable

from gateway.match import Arm, Entry


def choose(entry: Entry, random: Callable[[], float]) -> Arm | None:
    """An arm with the probability of its share; None when the entry has none. `random` gives [0, 1)."""
    arms = entry.arms
    if len(arms) == 1:
        return arms[0]
    point = random() * 100.0
    for arm in arms:
        if point < arm.until:
            return arm
    return arms[-1] if arms else None
