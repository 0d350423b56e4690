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
from dataplane.telemetry.http import ExchangeCells, HttpFamilies
from dataplane.telemetry.metrics import HistogramFamily, Registry
from dataplane.wire.forwarding import first_hop, next_hop
from gateway.match import Arm, Entry

LABELS = ("k8s_namespace_name", "kn_service_name", "kn_configuration_name", "kn_revision_name")
CELLS_BY_METHOD = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"))
COLD_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class GatewayMeters:
    """Families that every Target takes its cells from."""

    __slots__ = ("cold", "http")

    def __init__(self, registry: Registry) -> None:
        self.http = HttpFamilies(registry, LABELS)
        self.cold: HistogramFamily = registry.histogram(
            "dataplane_cold_start_duration_seconds", "Wait of requests that found no pod.", LABELS, COLD_BUCKETS_S
        )


class Target:
    """A revision as one listener of the gateway serves it: limits and cells, looked up once per request."""

    __slots__ = ("_address", "_meters", "cells", "gone", "hop_lines", "key", "labels", "revision")

    def __init__(self, key: str, revision: Revision, meters: GatewayMeters, address: tuple[str, int]) -> None:
        self.key = key
        self.revision = revision
        self.gone = False  # deleted: what still runs is counted nowhere, or its series would come back
        self.labels = (revision.namespace, revision.service, revision.configuration, revision.name)
        self._meters = meters
        self._address = address
        self.cells: dict[tuple[bytes, int], ExchangeCells] = {}  # of HTTP/1.1, by method and status
        # What an activator is told (spec §6.6); a pod never sees it.
        self.hop_lines = b"knative-serving-namespace: %b\r\nknative-serving-revision: %b\r\n" % (
            revision.namespace.encode(),
            revision.name.encode(),
        )

    def cell(self, method: bytes, minor: int, status: int) -> ExchangeCells | None:
        """Made when they are first needed; None when the revision is gone."""
        if self.gone:
            return None
        cells = self._meters.http.cells(self.labels, method, minor, status, self._address)
        if minor == 1 and method in CELLS_BY_METHOD:
            self.cells[method, status] = cells
        return cells

    def cold_start(self, waited_s: float) -> None:
        if not self.gone:
            self._meters.cold.cell(*self.labels).observe(waited_s)


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
        slot, request = self.slot, self.request
        assert slot is not None
        self.slot = None
        self.admission.leave(slot)
        now = self._clock()
        cells = self.target.cells.get((request.method, self.status))
        if cells is None or self.body_bytes or self.extra or not request.minor:
            self._ended(None, now)
            return
        # ExchangeCells.straight and .response, observed here: once per request.
        duration_s, size_bytes = now - self.arrived, self.response_bytes
        cell = cells.straight
        cell.counts[bisect_left(cell.bounds, duration_s)] += 1
        cell.sum += duration_s
        cell = cells.response
        cell.counts[bisect_left(cell.bounds, size_bytes)] += 1
        cell.sum += size_bytes

    def _ended(self, error: DataplaneError | None, now: float) -> None:
        request, target = self.request, self.target
        status = self.status or (error.status if error else 0)
        cells = target.cell(request.method, request.minor, status)
        if cells is not None:
            client_s = now - self.sent_at if self.attempt else None
            cells.other(now - self.arrived, client_s, self.body_bytes, self.response_bytes)
        if self.cold and self.started:
            target.cold_start(self.waited_s)
