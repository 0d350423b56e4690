"""Which triggers does an event match? Asked once per event, whatever many triggers there are. Pure.

Path: store/fanout.py → [matching] → dataplane/policy/filters.py.

A filter with an interest (an exact `type` or `source` on every path through it) stands under that value and is looked
at only for events that have it. The rest is asked every time.

A filter does not raise. If one does all the same, it does not match, and nobody else misses the event.

Cost: two look-ups and the filters of the triggers that share the event's type or source, and of those that cannot be
indexed. P10 asks for ≤ 20 µs with 1 000 triggers: loadtests/results, E1 and P10.

Source: performance.md P10; spec/eventing.md §8.8.
"""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from dataplane.wire.cloudevents import Event

T = TypeVar("T")

_Bucket = dict[str, tuple[Callable[[Event], bool], T]]


class Wanting(Protocol):
    """A Filter of dataplane/policy/filters.py, or a consumer that has one."""

    @property
    def interest(self) -> tuple[str, str] | None: ...

    @property
    def matches(self) -> Callable[[Event], bool]: ...


class Index(Generic[T]):
    """Values by filter. Keys are unique: adding one again replaces it."""

    __slots__ = ("_by_source", "_by_type", "_others", "_where")

    def __init__(self) -> None:
        self._by_type: dict[str, _Bucket[T]] = {}
        self._by_source: dict[str, _Bucket[T]] = {}
        self._others: _Bucket[T] = {}
        self._where: dict[str, tuple[str, str] | None] = {}

    def __len__(self) -> int:
        return len(self._where)

    def add(self, key: str, filter: Wanting, value: T) -> None:
        self.remove(key)
        interest = filter.interest
        self._where[key] = interest
        bucket = self._others if interest is None else self._table(interest[0]).setdefault(interest[1], {})
        bucket[key] = (filter.matches, value)

    def remove(self, key: str) -> None:
        """Missing is no error."""
        if key not in self._where:
            return
        interest = self._where.pop(key)
        if interest is None:
            del self._others[key]
            return
        table = self._table(interest[0])
        del table[interest[1]][key]
        if not table[interest[1]]:
            del table[interest[1]]

    def match(self, event: Event) -> list[T]:
        """The values of every filter that matches, in no particular order."""
        attributes = event.attributes
        found: list[T] = []
        for bucket in (
            self._by_type.get(attributes.get("type", "")),
            self._by_source.get(attributes.get("source", "")),
            self._others,
        ):
            if bucket:
                try:
                    found += [value for matches, value in bucket.values() if matches(event)]
                except Exception:  # one tenant's filter must not cost another's event
                    found += [value for matches, value in bucket.values() if _dares(matches, event)]
        return found

    def _table(self, attribute: str) -> dict[str, _Bucket[T]]:
        assert attribute in ("type", "source"), attribute
        return self._by_type if attribute == "type" else self._by_source


def _dares(matches: Callable[[Event], bool], event: Event) -> bool:
    try:
        return matches(event)
    except Exception:
        return False
