"""What happened to recent events, for people: `dataplane events tail` and `trace`.

Path: ingress.py, dispatcher.py, attempts.py, deliver.py → [journal] → broker/inspect.py.

A ring in memory: it explains, it promises nothing. What must survive is in the store (letters, the retry schedule).

Cost: one tuple and one append per fact. Bounds: `facts_max`, the oldest go; TEXT_CHARS_MAX of an id, a source and a
type, the rest of each is cut off (attributes of an event may be 64 KiB).
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

TEXT_CHARS_MAX = 256


class Fact(NamedTuple):
    """One thing that happened to one event.

    what: accepted, rejected, matched, delivered, failed (an attempt, another follows), replied, dead-lettered, parked,
    expired, let-go (another process has it, or may have).

    at: wall seconds. trigger: namespace/name, "" at ingress. attempt: which one. code: HTTP status, 0 = none.
    """

    at: float
    what: str
    broker: str
    id: str
    source: str
    type: str
    trigger: str = ""
    position: str = ""
    attempt: int = 0
    code: int = 0
    duration_s: float = 0.0
    message: str = ""


class Journal:
    def __init__(self, *, facts_max: int) -> None:
        self._facts: deque[Fact] = deque(maxlen=facts_max)
        self._followers: dict[Callable[[Fact], None], None] = {}

    def note(self, fact: Fact) -> None:
        if len(fact.id) + len(fact.source) + len(fact.type) > TEXT_CHARS_MAX:
            fact = fact._replace(id=_cut(fact.id), source=_cut(fact.source), type=_cut(fact.type))
        self._facts.append(fact)
        if self._followers:
            for follower in tuple(self._followers):
                follower(fact)

    def follow(self, follower: Callable[[Fact], None]) -> Callable[[], None]:
        """Call `follower` with each new fact, on the loop; it must not block or raise. Returns how to stop."""
        self._followers[follower] = None

        def stop() -> None:
            self._followers.pop(follower, None)

        return stop

    def about(self, broker: str, id: str, source: str = "") -> Iterator[Fact]:
        """Oldest first, of one event; `source` "" = whatever its source."""
        id, source = _cut(id), _cut(source)
        return (f for f in self._facts if f.id == id and f.broker == broker and (not source or f.source == source))

    def recent(self, broker: str, limit: int) -> list[Fact]:
        """Oldest first, the newest `limit` of one broker."""
        found: list[Fact] = []
        for fact in reversed(self._facts):
            if len(found) >= limit:
                break
            if fact.broker == broker:
                found.append(fact)
        return found[::-1]


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else text[:TEXT_CHARS_MAX] + "…"
