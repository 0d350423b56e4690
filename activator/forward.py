"""One exchange to one pod under its own limit; the activator's part of it.

Path: accept.py → admission.py → [forward] → net/relay.py → queue-proxy or pod.

Source: spec/serving.md §8.4, §8.6.
"""

from collections.abc import Callable

from dataplane.errors import DataplaneError
from dataplane.net.admitted import Admitted
from dataplane.net.engine import Engine
from dataplane.net.server import ServerConnection
from dataplane.policy.admission import Admission, Slot
from dataplane.resources.snapshot import Revision
from dataplane.telemetry.http import HttpFamilies
from dataplane.telemetry.metrics import HistogramFamily, Registry
from dataplane.wire.forwarding import next_hop
from dataplane.wire.headers import Field

COLD_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
LABELS = ("k8s_namespace_name", "kn_service_name", "kn_configuration_name", "kn_revision_name")
_ORIGINAL_HOST = int(Field.ORIGINAL_HOST)


class Meters:
    """What a separate activator measures of its requests: by OpenTelemetry's names, as the gateway does."""

    __slots__ = ("address", "cold", "http")

    def __init__(self, registry: Registry) -> None:
        self.http = HttpFamilies(registry, LABELS)
        self.cold: HistogramFamily = registry.histogram(
            "dataplane_cold_start_duration_seconds", "Wait of requests that found no pod.", LABELS, COLD_BUCKETS_S
        )
        self.address = ("", 0)  # where it listens


class Forward(Admitted):
    """A request of the activator. `start()` once."""

    __slots__ = ("labels", "meters", "wanted")

    def __init__(
        self,
        engine: Engine,
        down: ServerConnection,
        admission: Admission,
        revision: Revision,
        meters: Meters,
        wanted: Callable[[str], bool],
    ) -> None:
        """wanted: whether a revision is still there; one that is gone must not get its series back."""
        super().__init__(engine, down)
        self.admission = admission
        self.revision = f"{revision.namespace}/{revision.name}"
        self.meters = meters
        self.wanted = wanted
        self.labels = (revision.namespace, revision.service, revision.configuration, revision.name)
        self.limit(
            timeout_s=revision.timeout_s,
            response_start_s=revision.response_start_timeout_s,
            idle_s=revision.idle_timeout_s,
        )

    def head_for(self, slot: Slot) -> bytes:
        request = self.request
        parts = [request.method, b" ", request.target, b" HTTP/1.1\r\nhost: ", request.host, b"\r\n", request.lines]
        original = request.seen.get(_ORIGINAL_HOST)
        if original is not None:
            parts += (b"k-original-host: ", original, b"\r\n")
        parts += (next_hop(self.down.peer.encode(), request.host, request.seen), slot.lines)
        if request.content_length >= 0:
            parts.append(b"content-length: %d\r\n\r\n" % request.content_length)
        elif request.chunked:
            parts.append(b"transfer-encoding: chunked\r\n\r\n")
        elif request.upgrade:
            parts.append(b"connection: Upgrade\r\nupgrade: " + request.upgrade + b"\r\n\r\n")
        else:
            parts.append(b"\r\n")
        return b"".join(parts)

    def _ended(self, error: DataplaneError | None, now: float) -> None:
        if not self.wanted(self.revision):
            return
        request, meters = self.request, self.meters
        status = self.status or (error.status if error else 0)
        cells = meters.http.cells(self.labels, request.method, request.minor, status, meters.address)
        cells.other(
            now - self.arrived, now - self.sent_at if self.attempt else None, self.body_bytes, self.response_bytes
        )
        if self.cold and self.started:
            meters.cold.cell(*self.labels).observe(self.waited_s)
