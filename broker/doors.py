"""What ingress keeps per broker: its numbers and its rate.

Path: ingress.py ↔ [doors] → /metrics.

Bounds: a door exists only while its broker does; TYPES_MAX event types per broker, none longer than TYPE_CHARS_MAX,
have series of their own; the rest share one without a type.

Source: spec/eventing.md §30; design/ecosystem.md §3.1.
"""

import math

from broker.meters import TYPE_CHARS_MAX, TYPES_MAX, dispatch_duration
from broker.pace import Bucket
from dataplane.errors import RateLimited
from dataplane.telemetry.metrics import HistogramCell, Registry


class TooFast(RateLimited):
    """With how long to wait."""

    def __init__(self, wait_s: float) -> None:
        super().__init__()
        self.wait_s = max(1, math.ceil(wait_s))


class IngressMeters:
    """The families. One per process."""

    def __init__(self, registry: Registry) -> None:
        labels = ("kn_broker_namespace", "kn_broker_name")
        self.events = registry.counter("dataplane_broker_accepted_total", "Events that became durable.", labels)
        self.bytes = registry.counter(
            "dataplane_broker_accepted_bytes_total", "Request bodies of accepted events.", labels
        )
        self.rejected = registry.counter(
            "dataplane_broker_rejected_total", "Requests to the ingress that were refused, by why.", ("reason",)
        )
        self.dispatch = dispatch_duration(registry)


class Door:
    """One broker's. rate_per_s: 0 = no limit."""

    __slots__ = ("_bucket", "_meters", "_name", "_namespace", "_took", "bytes", "events", "key")

    def __init__(self, key: str, meters: IngressMeters, rate_per_s: float, now: float) -> None:
        namespace, _, name = key.partition("/")
        self.key = key
        self.events = meters.events.cell(namespace, name)
        self.bytes = meters.bytes.cell(namespace, name)
        self._bucket = Bucket(rate_per_s, now) if rate_per_s else None
        self._meters = meters
        self._namespace, self._name = namespace, name
        self._took: dict[str, HistogramCell] = {}

    def pass_through(self, events: int, now: float) -> None:
        """A batch is let through by its first event, and owes the rest. Raises TooFast."""
        bucket = self._bucket
        if bucket is None:
            return
        wait_s = bucket.wait_s(now)
        if wait_s > 0:
            raise TooFast(wait_s)
        for _ in range(events):
            bucket.take()

    def took(self, type_: str) -> HistogramCell:
        """Where the time from a whole request to durable events of this type is counted."""
        cell = self._took.get(type_)
        if cell is None:
            if len(self._took) >= TYPES_MAX or len(type_) > TYPE_CHARS_MAX:
                type_ = ""
            cell = self._took[type_] = self._meters.dispatch.cell(self._name, self._namespace, "", "", type_, "202")
        return cell
