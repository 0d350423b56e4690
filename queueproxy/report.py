"""Concurrency and rate of this pod: counted at its door, told once a second while there is something to tell.

Path: forward.py → [report] → the scraper of :9090/metrics, and runtime/reporting.py → autoscaler.

An interval begins with the first request after a rest and lasts a second; after activity one report of zeros is made,
then the timer rests. What waits at the gate counts as concurrency: it is demand. What an activator sent is also counted
as proxied, because that activator reports it too.

Source: spec/serving.md §9.9, §9.12.
"""

from collections.abc import Callable

from dataplane.clock import Clock
from dataplane.net.server import ServerConnection
from dataplane.net.timers import NEVER, Timers
from dataplane.policy.meter import Meter
from dataplane.telemetry.metrics import Registry
from dataplane.wire.stats import Stat
from queueproxy.protobuf import encode_stat

PERIOD_S = 1.0
PROTOBUF = b"application/protobuf"
TEXT = b"text/plain; version=0.0.4; charset=utf-8"

Send = Callable[[list[Stat]], None]


class Traffic:
    """What this pod is asked to do. `send` gets each report of an active interval; it never blocks.

    revision: namespace/name; pod: who reports.
    """

    def __init__(
        self, *, revision: str, pod: str, clock: Clock, timers: Timers, send: Send = lambda stats: None
    ) -> None:
        self._pod = pod
        self._clock = clock
        self._timers = timers
        self._send = send
        self._started = now = clock.monotonic()
        self._all, self._proxied = Meter(now), Meter(now)
        self._last = Stat(revision, pod, 0.0, 0.0)
        self._whole = False  # an interval has ended
        self.wake = NEVER
        timers.at(self, now + PERIOD_S)

    @property
    def running(self) -> int:
        """Requests here now, waiting ones included."""
        return self._all.running

    @property
    def last(self) -> Stat:
        """Of the last whole interval."""
        return self._last

    def arrived(self, now: float, *, proxied: bool) -> None:
        """A request for the app; pairs with `departed`."""
        if self.wake == NEVER:
            self._all.report(now)
            self._proxied.report(now)
            self._timers.at(self, now + PERIOD_S)
        self._all.arrived(now)
        if proxied:
            self._proxied.arrived(now)

    def departed(self, now: float, *, proxied: bool) -> None:
        self._all.departed(now)
        if proxied:
            self._proxied.departed(now)

    def on_timer(self, now: float) -> None:
        whole, proxied = self._all.report(now), self._proxied.report(now)
        before = self._last
        self._last = stat = Stat(
            before.revision, self._pod, whole.concurrency, whole.requests, proxied.concurrency, proxied.requests
        )
        self._whole = True
        active = stat.concurrency > 0 or stat.requests > 0 or self._all.running > 0
        if active or before.concurrency or before.requests:
            self._send([stat])
        if active:
            self._timers.at(self, now + PERIOD_S)

    def protobuf(self) -> bytes:
        """Knative's Stat of the last whole interval; before the first one only the pod's name."""
        if not self._whole:
            return encode_stat(pod_name=self._pod)
        stat = self._last
        return encode_stat(
            pod_name=self._pod,
            concurrency=stat.concurrency,
            proxied_concurrency=stat.proxied_concurrency,
            requests=stat.requests,
            proxied_requests=stat.proxied_requests,
            uptime_s=self._clock.monotonic() - self._started,
            timestamp_ms=int(self._clock.wall() * 1000),
        )

    def close(self) -> None:
        self._timers.forget(self)


class Scraped:
    """The handler of the metrics port: `/metrics` as protobuf Stat for Knative's autoscaler, as text for Prometheus."""

    def __init__(self, traffic: Traffic, registry: Registry) -> None:
        self._traffic = traffic
        self._registry = registry

    def handle(self, connection: ServerConnection) -> None:
        request = connection.request
        if request.target.partition(b"?")[0] != b"/metrics":
            connection.respond(404, [], b"")
        elif PROTOBUF in (request.header(b"accept") or b""):
            connection.respond(200, [(b"content-type", PROTOBUF)], self._traffic.protobuf())
        else:
            connection.respond(200, [(b"content-type", TEXT)], self._registry.render().encode())
