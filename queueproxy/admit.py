"""The last gate: at most containerConcurrency requests run in the app, ten times as many wait, the next is refused.

Path: accept.py → forward.py → [admit] → forward.py → the app on localhost.

Waiters are called back in the order they came; a new arrival never overtakes them. No future and no task per request.

Ownership: `enter` True, or the call of `admitted`, gives a slot, to be given back with one `leave`; until then the
place in line is given back with `abandon`.

Source: spec/serving.md §9.6, §16.12.
"""

from collections import OrderedDict
from typing import Protocol

from dataplane.errors import QueueFull, QueueTimeout
from dataplane.policy.breaker import Breaker, Verdict
from dataplane.telemetry.metrics import Cell

WAITING_PER_SLOT = 10


class GateTimeout(QueueTimeout):
    """Waited for the app longer than the revision allows; the text is the queue-proxy's, not the activator's."""

    body = b"request timeout"


class Entrant(Protocol):
    """Who waits. Called at most once, never from within `enter`; may `leave` at once."""

    def admitted(self) -> None: ...


class Gate:
    """Counts and order of one pod. `concurrency` 0: no limit."""

    __slots__ = ("_breaker", "_depth", "_freed", "_passing", "_waiting")

    def __init__(self, *, concurrency: int, depth: Cell) -> None:
        self._breaker = Breaker(capacity=concurrency, depth_max=WAITING_PER_SLOT * concurrency) if concurrency else None
        self._waiting: OrderedDict[Entrant, None] = OrderedDict()
        self._depth = depth
        self._freed = 0
        self._passing = False

    def __len__(self) -> int:
        """Requests waiting now."""
        return len(self._waiting)

    def enter(self, entrant: Entrant) -> bool:
        """True: a slot now. False: `entrant` waits in line. Raises QueueFull; nothing to undo."""
        breaker = self._breaker
        if breaker is None:
            return True
        verdict = breaker.arrive()
        if verdict is Verdict.RUN:
            return True
        if verdict is Verdict.FULL:
            raise QueueFull
        self._waiting[entrant] = None
        self._depth.v = len(self._waiting)
        return False

    def leave(self) -> None:
        """A slot comes back; the oldest waiter gets it."""
        breaker = self._breaker
        if breaker is None:
            return
        self._freed += 1
        if self._passing:
            return  # from within `admitted`, by one that is too late to run: a thousand of them must not nest
        self._passing = True
        try:
            while self._freed:
                self._freed -= 1
                if breaker.finish():
                    entrant, _ = self._waiting.popitem(last=False)
                    self._depth.v = len(self._waiting)
                    entrant.admitted()
        finally:
            self._passing = False

    def abandon(self, entrant: Entrant) -> None:
        """A waiter left. Only while it waits: not after `admitted`."""
        assert self._breaker is not None
        del self._waiting[entrant]
        self._breaker.abandon()
        self._depth.v = len(self._waiting)
