"""What is measured of HTTP exchanges, by OpenTelemetry's names: server and client side, durations and sizes.

Path: gateway/forward.py keeps the cells of a revision by method and status → [http] → metrics.py when somebody asks.

Nearly every exchange is straight: nothing in its body, sent on at once, answered. Its time as a server is its time as a
client, and its request is empty; so it costs two observations, and what follows from them is worked out when rendered.

Source: design/ecosystem.md §3.1; OpenTelemetry semantic conventions for HTTP metrics 1.26 (`_OTHER`).
"""

from dataplane.telemetry.metrics import HistogramCell, HistogramFamily, Registry

SIZE_BUCKETS_BYTES = (0.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0)
LABELS = (
    "http_request_method", "http_response_status_code", "network_protocol_name", "network_protocol_version",
    "server_address", "server_port", "url_scheme",
)  # fmt: skip
_METHODS = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"QUERY")
)


class ExchangeCells:
    """Of one method and status: `straight` and `response` on the common way, `other` for the rest."""

    __slots__ = ("_client", "_families", "_request", "_sent", "_server", "response", "straight")

    def __init__(self, families: "HttpFamilies", labels: tuple[str, ...]) -> None:
        duration, size = families.server_duration.buckets, SIZE_BUCKETS_BYTES
        self.straight = HistogramCell(duration)
        self._server, self._client = HistogramCell(duration), HistogramCell(duration)
        self._request, self._sent = HistogramCell(size), HistogramCell(size)
        self.response = families.response_size.cell(*labels)
        self._families = (
            families.server_duration.cell(*labels), families.client_duration.cell(*labels),
            families.request_size.cell(*labels), families.sent_size.cell(*labels),
        )  # fmt: skip

    def other(self, duration_s: float, client_s: float | None, request_bytes: int, response_bytes: int) -> None:
        """An exchange that waited, failed or had a body. client_s None: nothing was sent on."""
        self._server.observe(duration_s)
        self._request.observe(request_bytes)
        self.response.observe(response_bytes)
        if client_s is not None:
            self._client.observe(client_s)
            self._sent.observe(request_bytes)

    def refresh(self) -> None:
        """What is rendered follows from what was observed."""
        server, client, request, sent = self._families
        empty = self.straight.count
        for shown, part in ((server, self._server), (client, self._client)):
            shown.counts = [a + b for a, b in zip(self.straight.counts, part.counts, strict=True)]
            shown.sum = self.straight.sum + part.sum
        for shown, part in ((request, self._request), (sent, self._sent)):
            shown.counts = [part.counts[0] + empty, *part.counts[1:]]
            shown.sum = part.sum


class HttpFamilies:
    """The families of one registry. `identity`: names of the labels that say whose exchanges they are."""

    def __init__(self, registry: Registry, identity: tuple[str, ...]) -> None:
        self.identity = identity
        labels = (*identity, *LABELS)

        def family(name: str, help_: str, *buckets: tuple[float, ...]) -> HistogramFamily:
            return registry.histogram(name, help_, labels, *buckets)

        self.server_duration = family(
            "http_server_request_duration_seconds", "From the head of a request to the end of its response."
        )
        self.client_duration = family(
            "http_client_request_duration_seconds", "From sending a request on to the end of its response."
        )
        self.request_size = family(
            "http_server_request_body_size_bytes", "Bodies of requests received.", SIZE_BUCKETS_BYTES
        )
        self.response_size = family("http_server_response_body_size_bytes", "Bodies of responses.", SIZE_BUCKETS_BYTES)
        self.sent_size = family(
            "http_client_request_body_size_bytes", "Bodies of requests sent on.", SIZE_BUCKETS_BYTES
        )
        self._cells: dict[tuple[str, ...], ExchangeCells] = {}
        registry.before_render(self._refresh)

    def cells(
        self, identity: tuple[str, ...], method: bytes, minor: int, status: int, address: tuple[str, int]
    ) -> ExchangeCells:
        """Keep them: the same for the same arguments, until `forget`."""
        name = method.decode("ascii") if method in _METHODS else "_OTHER"
        labels = (*identity, name, str(status), "http", f"1.{minor}", address[0], str(address[1]), "http")
        found = self._cells.get(labels)
        if found is None:
            found = self._cells[labels] = ExchangeCells(self, labels)
        return found

    def forget(self, identity: tuple[str, ...]) -> None:
        """Nobody serves them any more; the registry drops the series."""
        width = len(identity)
        self._cells = {labels: cells for labels, cells in self._cells.items() if labels[:width] != identity}

    def _refresh(self) -> None:
        for cells in self._cells.values():
            cells.refresh()
