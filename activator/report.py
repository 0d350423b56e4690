"""Concurrency → autoscaler: every second while there is something to say, at once when nothing can serve a request.

Path: hold.py → [report] → autoscaler (a direct call in the same process, an RPC frame otherwise).

No revision active, no timer. The first request of an idle revision is reported at once as {1, 1} and taken off the next
regular report, so it counts once. After activity one explicit zero is sent; silence after it means zero, not missing
data.

Source: spec/serving.md §8.11; reliability.md AC-02, AC-05, AC-08.
"""

from collections.abc import Callable

from activator.hold import Hold
from dataplane.net.timers import NEVER, Timers
from dataplane.wire.stats import Stat

PERIOD_S = 1.0


class Reporter:
    """`send` takes a list of stats and never blocks."""

    def __init__(
        self, *, reporter: str, send: Callable[[list[Stat]], None], timers: Timers, clock: Callable[[], float]
    ) -> None:
        self._reporter = reporter
        self._send = send
        self._timers = timers
        self._clock = clock
        self._active: dict[str, Hold] = {}
        self._announced: set[str] = set()  # counted by a poke in this interval
        self.wake = NEVER

    def demand(self, hold: Hold, urgent: bool) -> None:
        """The first request after idleness, or one that nothing can serve. A storm is one signal (AC-05)."""
        key = hold.key
        if key not in self._active:
            self._active[key] = hold
            hold.meter.report(self._clock())
            self._timers.at(self, self._clock() + PERIOD_S)
        elif not urgent or key in self._announced:
            return
        if urgent and key not in self._announced:
            self._announced.add(key)
            self._send([Stat(key, self._reporter, 1.0, 1.0, poke=True)])

    def on_timer(self, now: float) -> None:
        stats: list[Stat] = []
        for key, hold in list(self._active.items()):
            interval = hold.meter.report(now)
            concurrency, requests = interval.concurrency, interval.requests
            if key in self._announced:
                self._announced.discard(key)
                concurrency, requests = max(0.0, concurrency - 1.0), max(0.0, requests - 1.0)
            if hold.depth and not hold.usable:
                # Demand is announced again every second until somebody answers it.
                stats.append(Stat(key, self._reporter, max(concurrency, float(hold.depth)), requests, poke=True))
            else:
                stats.append(Stat(key, self._reporter, concurrency, requests))
            if interval.concurrency == 0 and interval.requests == 0 and hold.meter.running == 0:
                del self._active[key]
        if stats:
            self._send(stats)
        if self._active:
            self._timers.at(self, now + PERIOD_S)
