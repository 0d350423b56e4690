"""One exchange with the app: through the gate, to localhost, and back.

Path: accept.py → admit.py → [forward] → net/relay.py → the app on 127.0.0.1:USER_PORT.

The pod is single, so a failed attempt is not tried elsewhere; only a connection that the app had closed while it stood
idle is replaced once, by a new one, if the request may be repeated (reliability.md §3.1.1 rule 3).

Source: spec/serving.md §9.4–9.7, §9.12, §15.1, §15.2, §15.18; reliability.md GW-20…GW-25.
"""

from dataplane.errors import ConnectFailed, DataplaneError, QueueFull, UpstreamProtocol, UpstreamTimeout
from dataplane.net.client import ClientConnection
from dataplane.net.engine import Engine
from dataplane.net.relay import Relay
from dataplane.net.server import ServerConnection
from dataplane.telemetry.http import ExchangeCells, HttpFamilies
from dataplane.telemetry.metrics import HistogramCell, HistogramFamily, Registry
from dataplane.wire.forwarding import synthesised
from dataplane.wire.headers import Field
from queueproxy.admit import Gate, GateTimeout
from queueproxy.drain import Drain
from queueproxy.report import Traffic
from queueproxy.settings import QueueProxySettings

CELLS_MAX = 512  # a client chooses the method, an app the status; beyond it they are looked up each time
LABELS = ("k8s_namespace_name", "kn_service_name", "kn_configuration_name", "kn_revision_name")

_FOR = int(Field.FORWARDED_FOR)
_PROTO = int(Field.FORWARDED_PROTO)
_HOST = int(Field.FORWARDED_HOST)
_FORWARDED = int(Field.FORWARDED)
_ORIGINAL_HOST = int(Field.ORIGINAL_HOST)
_PROXY_REQUEST = int(Field.PROXY_REQUEST)
_KUBELET_PROBE = int(Field.KUBELET_PROBE)


class AppMeters:
    """Of the whole exchange by method and status, and of the app's part of it by status."""

    __slots__ = ("_cells", "_http", "_invocation", "_labels", "address")

    def __init__(self, registry: Registry, settings: QueueProxySettings) -> None:
        self._labels = (settings.namespace, settings.service, settings.configuration, settings.revision)
        self.address = (settings.host, settings.port)  # where we listen; the port is known when it is bound
        self._http = HttpFamilies(registry, LABELS)
        self._invocation: HistogramFamily = registry.histogram(
            "kn_serving_invocation_duration_seconds",
            "From the gate to the end of the app's response.",
            (*LABELS, "http_response_status_code"),
        )
        self._cells: dict[tuple[bytes, int, int], tuple[ExchangeCells, HistogramCell]] = {}

    def observe(self, exchange: "Forward", status: int, whole_s: float, app_s: float | None) -> None:
        """`app_s` None: the request never got past the gate."""
        request = exchange.request
        key = request.method, request.minor, status
        cells = self._cells.get(key)
        if cells is None:
            cells = (
                self._http.cells(self._labels, *key, self.address),
                self._invocation.cell(*self._labels, str(status)),
            )
            if len(self._cells) < CELLS_MAX:
                self._cells[key] = cells
        cells[0].other(whole_s, app_s, exchange.body_bytes, exchange.response_bytes)
        if app_s is not None:
            cells[1].observe(app_s)


class App:
    """What the exchanges with one app share."""

    __slots__ = ("drain", "engine", "gate", "host", "meters", "origin", "settings", "traffic")

    def __init__(
        self, *, engine: Engine, settings: QueueProxySettings, gate: Gate, traffic: Traffic, drain: Drain
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.gate = gate
        self.traffic = traffic
        self.drain = drain
        self.meters = AppMeters(engine.registry, settings)
        self.origin = ("127.0.0.1", settings.user_port)


class Forward(Relay):
    """A request for the app. `start()` once.

    Ownership: `slot` = ours, `held` = we stand in line; `_ended` gives back the one or the other.
    """

    __slots__ = ("admitted_at", "app", "counted", "held", "proxied", "slot", "tunnelled")

    def __init__(self, app: App, down: ServerConnection) -> None:
        super().__init__(app.engine, down)
        self.app = app
        seen = self.request.seen
        # A liveness probe that names itself by header: it must not wait at the gate, nor look like load.
        self.counted = _KUBELET_PROBE not in seen
        self.proxied = seen.get(_PROXY_REQUEST) == b"activator"
        self.held = self.slot = self.tunnelled = False
        self.admitted_at = -1.0  # when the app's part began
        settings = app.settings
        self.limit(
            timeout_s=settings.timeout_s,
            response_start_s=settings.response_start_timeout_s,
            idle_s=settings.idle_timeout_s,
        )

    def start(self) -> None:
        """Past the gate now, or when it is our turn."""
        app = self.app
        app.drain.arrived(self.arrived)
        if app.drain.draining:
            self.request.keep_alive = False  # the client's next request goes to another pod
        if not self.counted:
            self.begin(app.origin, self._head())
            return
        app.traffic.arrived(self.arrived, proxied=self.proxied)
        try:
            now = app.gate.enter(self)
        except QueueFull as full:
            self.give_up(full)
            return
        if now:
            self.slot = True
            self.admitted_at = self.arrived
            self.begin(app.origin, self._head())
        else:
            self.held = True
            if not self.body_done:
                self.down.pause_body()

    # ---- gate → us (admit.Entrant) ------------------------------------------------------------------

    def admitted(self) -> None:
        self.slot = True
        now = self.engine.clock()
        self.on_deadline(now)  # the slot may be free because time is up, for us too: the app must not be bothered
        if self.over:
            return
        self.held = False
        self.admitted_at = now
        self.begin(self.app.origin, self._head())

    # ---- relay → us ---------------------------------------------------------------------------------

    def give_up(self, error: DataplaneError) -> None:
        super().give_up(GateTimeout() if self.held and isinstance(error, UpstreamTimeout) else error)

    def _again(self) -> None:
        # The pool hands out the warmest connection first: when that one was stale, so are the others.
        self.engine.pool.forget(self.origin)
        self.begin(self.origin, self.head)

    def _released(self, *, failed: bool) -> None:
        """The slot stays ours over attempts: they all go to the same app."""

    def _failed(self, error: DataplaneError, *, reused: bool, not_processed: bool = False) -> None:
        if reused:
            super()._failed(error, reused=reused, not_processed=not_processed)
        else:
            self._finish_failed(error)

    def _finish_failed(self, error: DataplaneError) -> None:
        self.over = True
        self.status = error.status
        self._end(error)
        headers = [(b"x-dp-error", error.code.encode()), (b"content-type", b"text/plain; charset=utf-8")]
        self.down.respond(error.status, headers, _text(error, self.origin))

    def _open_tunnel(self, connection: ClientConnection) -> None:
        super()._open_tunnel(connection)
        if connection.tunnel and not self.over:
            self.tunnelled = True
            self.app.drain.tunnels += 1

    def _ended(self, error: DataplaneError | None, now: float) -> None:
        app = self.app
        app_s = None if self.admitted_at < 0 else now - self.admitted_at
        app.meters.observe(self, self.status or (error.status if error else 0), now - self.arrived, app_s)
        if self.tunnelled:
            app.drain.tunnels -= 1
        app.drain.departed()
        if not self.counted:
            return
        app.traffic.departed(now, proxied=self.proxied)
        if self.slot:
            app.gate.leave()
        elif self.held:
            app.gate.abandon(self)

    # ---- helpers ------------------------------------------------------------------------------------

    def _head(self) -> bytes:
        """As the app sees it: Knative's own fields are gone, it was addressed by the name its client used (§9.4)."""
        request = self.request
        seen = request.seen
        host = seen.get(_ORIGINAL_HOST) or request.host
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
                request.lines, forwarding(self.down.peer.encode(), seen), framing,
            )
        )  # fmt: skip


def forwarding(peer: bytes, seen: dict[int, bytes]) -> bytes:
    """X-Forwarded-* as they came with the peer added; `Forwarded` as it came, or made of what came. Pure."""
    before = seen.get(_FOR)
    lines = [b"x-forwarded-for: ", before + b", " + peer if before else peer, b"\r\n"]
    if _PROTO in seen:
        lines += (b"x-forwarded-proto: ", seen[_PROTO], b"\r\n")
    if _HOST in seen:
        lines += (b"x-forwarded-host: ", seen[_HOST], b"\r\n")
    if _FORWARDED in seen:
        lines += (b"forwarded: ", seen[_FORWARDED], b"\r\n")
    else:
        made = synthesised(before or b"", seen.get(_PROTO, b""), seen.get(_HOST, b""))
        if made:
            lines += (b"forwarded: ", made, b"\r\n")
    return b"".join(lines)


def _text(error: DataplaneError, origin: tuple[str, int]) -> bytes:
    """What went wrong between us and the app, in the words of Knative's proxy where it has some."""
    address = f"{origin[0]}:{origin[1]}"
    if isinstance(error, ConnectFailed):
        return f"dial tcp {address}: {error or 'connect failed'}\n".encode()
    if isinstance(error, UpstreamProtocol):
        return f"read tcp {address}: malformed HTTP response\n".encode()
    return f"read tcp {address}: connection reset by peer\n".encode()
