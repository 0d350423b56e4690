"""One exchange: to a pod, or to an activator; the gateway's part of it.

Path: split.py → [forward] → policy/admission (fused activator or an HTTP hop) → net/relay.py → pod.

Source: spec/serving.md §6.6, §6.8, §6.10; reliability.md GW-11, GW-12.
"""

from bisect import bisect_left

from dataplane.errors import DataplaneError
from dataplane.net.admitted import Admitted
from dataplane.net.client import ClientConnection
from dataplane.policy.admission import Slot
from dataplane.resources.snapshot import Revision
from dataplane.telemetry.metrics import HistogramCell, HistogramFamily, Registry
from dataplane.wire.forwarding import first_hop, next_hop
from gateway.match import Arm, Entry

LABELS = ("k8s_namespace_name", "kn_service_name", "kn_configuration_name", "kn_revision_name")
COLD_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class GatewayMeters:
    """Families that every Target takes its cells from."""

    __slots__ = ("cold", "duration")

    def __init__(self, registry: Registry) -> None:
        self.duration: HistogramFamily = registry.histogram(
            "http_server_request_duration_seconds",
            "From the head of a request to the end of its response.",
            (*LABELS, "http_response_status_code"),
        )
        self.cold: HistogramFamily = registry.histogram(
            "dataplane_cold_start_duration_seconds", "Wait of requests that found no pod.", LABELS, COLD_BUCKETS_S
        )


class Target:
    """A revision as the gateway serves it: limits and cells, looked up once per request."""

    __slots__ = ("_labels", "_meters", "cells", "hop_lines", "key", "revision")

    def __init__(self, key: str, revision: Revision, meters: GatewayMeters) -> None:
        self.key = key
        self.revision = revision
        self._meters = meters
        self._labels = (revision.namespace, revision.service, revision.configuration, revision.name)
        self.cells: dict[int, HistogramCell] = {}
        # What an activator is told (spec §6.6); a pod never sees it.
        self.hop_lines = b"knative-serving-namespace: %b\r\nknative-serving-revision: %b\r\n" % (
            revision.namespace.encode(),
            revision.name.encode(),
        )

    def cell(self, status: int) -> HistogramCell:
        """Durations of one status; made when it is first seen."""
        cell = self.cells[status] = self._meters.duration.cell(*self._labels, str(status))
        return cell

    def cold_start(self, waited_s: float) -> None:
        self._meters.cold.cell(*self._labels).observe(waited_s)


class Forward(Admitted):
    """A request of the gateway. `admission`, then `go()`."""

    __slots__ = ("arm", "entry", "target")

    arm: Arm
    entry: Entry
    target: Target

    def go(self, target: Target, entry: Entry, arm: Arm) -> None:
        """Serve the request from `target`. Once."""
        self.revision = target.key
        self.target = target
        self.entry = entry
        self.arm = arm
        revision = target.revision
        if revision.response_start_timeout_s or revision.idle_timeout_s:
            self.limit(
                timeout_s=revision.timeout_s,
                response_start_s=revision.response_start_timeout_s,
                idle_s=revision.idle_timeout_s,
            )
        elif revision.timeout_s:
            self.total_at = when = self.arrived + revision.timeout_s
            if when < self.down.wake:
                self.down.deadline_at(when)
        slot = self.admission.take(target.key)
        if slot is None:
            self.start()
            return
        self.slot = slot
        self.begin(slot.address, self.head_for(slot))

    def head_for(self, slot: Slot) -> bytes:
        request, down, arm = self.request, self.down, self.arm
        host = self.entry.rewrite_host or request.host
        lines = request.without(arm.set_names) if arm.set_names else request.lines
        if request.trusted:
            # Forwarding headers were kept: the peer is a trusted proxy.
            forwarded = next_hop(down.peer.encode(), request.host, request.seen)
        else:
            if down.forwarded_for != request.host or not down.forwarded_line:
                down.forwarded_for = request.host
                down.forwarded_line = first_hop(down.peer.encode(), request.host)
            forwarded = down.forwarded_line
        if request.content_length >= 0:
            framing = b"content-length: %d\r\n\r\n" % request.content_length
        elif request.chunked:
            framing = b"transfer-encoding: chunked\r\n\r\n"
        elif request.upgrade:
            framing = b"connection: Upgrade\r\nupgrade: " + request.upgrade + b"\r\n\r\n"
        else:
            framing = b"\r\n"
        return b"".join(
            (
                request.method, b" ", request.target, b" HTTP/1.1\r\nhost: ", host, b"\r\n",
                lines,
                forwarded, self.target.hop_lines if slot.activator else slot.lines, arm.set_lines, framing,
            )
        )  # fmt: skip

    def _not_processed(self, connection: ClientConnection) -> bool:
        slot = self.slot
        return slot is not None and slot.activator and connection.reader.header(b"x-dp-not-processed") is not None

    def _served(self) -> None:
        slot = self.slot
        assert slot is not None
        self.slot = None
        self.admission.leave(slot)
        self._ended(None, self._clock())

    def _ended(self, error: DataplaneError | None, now: float) -> None:
        target, status = self.target, self.status or (error.status if error else 0)
        cell = target.cells.get(status) or target.cell(status)
        duration_s = now - self.arrived
        cell.counts[bisect_left(cell.bounds, duration_s)] += 1  # HistogramCell.observe, written out: once per request
        cell.sum += duration_s
        if self.cold and self.started:
            self.target.cold_start(self.waited_s)
