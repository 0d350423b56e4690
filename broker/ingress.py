"""Stage 1 of an event: POST /NAMESPACE/BROKER, judged, appended, answered when it is durable.

Path: producer → net/server.py → [ingress] ↔ intake.py → admit.py → store; done → 202.

| checked in this order                         | answer                                                              |
|-----------------------------------------------|---------------------------------------------------------------------|
| a probe: kubelet's, Knative's, GET /healthz   | 200; 503 while draining                                             |
| method                                        | OPTIONS 200 with consent for every origin; others than POST 405     |
| path                                          | 404 `no_route`                                                      |
| size, declared and as it comes                | 413 `body_too_large`, 503 `appending_full`                          |
| a sound event, or a batch of them             | 400 `bad_event`, 415 `unsupported_event_format`, `…_content_coding` |
| the broker                                    | 404 `no_broker`, 503 `broker_not_ready`                             |
| its rate                                      | 429 `rate_limited`                                                  |
| hops left, and the event's own times          | 400 `hops_exhausted`, `bad_event`                                   |
| the log                                       | 202; 503 with the store's code, or `append_timeout`                 |

Every answer says `Allow: POST, OPTIONS`; an error has its code in `x-dp-error` and a problem body (RFC 9457). A batch
is taken whole or not at all. `Prefer: reply` and `Kn-Namespace` are taken and mean nothing here: what subscribers reply
goes on the broker.

Per event there is no task, future or timer: the log calls back, and one entry of the connection's timer watches for
late ones. A client that leaves does not take its event back.

Bounds: `event_bytes_max` per request, `appending_bytes_max` in all, `append_timeout_s`, `connections_max`.

Source: spec/eventing.md §5.6, §7; reliability.md BR-08.
"""

import logging
from collections.abc import Callable, Sequence

import msgspec

from broker.admit import admit_all, passed_on
from broker.doors import Door, IngressMeters, TooFast
from broker.intake import ALLOW, Intake
from broker.journal import Fact, Journal
from broker.settings import BrokerSettings
from broker.store.contract import EventLog, Record
from dataplane.clock import Clock
from dataplane.errors import (
    AppendingFull,
    AppendTimeout,
    BadEvent,
    BodyTooLarge,
    BrokerNotReady,
    DataplaneError,
    Draining,
    MethodNotAllowed,
    NoBroker,
    NoRoute,
    UnsupportedCoding,
    UnsupportedFormat,
)
from dataplane.net.engine import Engine
from dataplane.net.listener import Listener, ListenerSettings
from dataplane.net.server import ServerConnection, Turn
from dataplane.wire.cloudevents import Event, decode_http
from dataplane.wire.headers import Field, from_producer

log = logging.getLogger(__name__)

CONSENT = [ALLOW, (b"webhook-allowed-origin", b"*"), (b"webhook-allowed-rate", b"*")]
PROBLEM = (b"content-type", b"application/problem+json")
HEALTH = frozenset((b"/healthz", b"/readyz"))
PATHS_MAX = 4096  # remembered request targets
PATH_BYTES_MAX = 256  # of a remembered one

_AGENT = int(Field.USER_AGENT)
_PROBE = int(Field.NETWORK_PROBE)
_HASH = int(Field.NETWORK_HASH)
_KUBELET = int(Field.KUBELET_PROBE)
_BUSY = Turn.BUSY
_SAID: dict[type[DataplaneError], str] = {
    MethodNotAllowed: "events are POSTed",
    NoRoute: "the path of a broker is /NAMESPACE/BROKER",
    BodyTooLarge: "larger than an event or batch may be (setting broker.event_bytes_max)",
    AppendingFull: "too many bytes are received and not durable yet (setting broker.appending_bytes_max)",
    AppendTimeout: "the store did not say in time that the event is durable; it may still become so",
    NoBroker: "there is no such broker",
    BrokerNotReady: "the broker is not open yet",
    TooFast: "the broker takes fewer events per second (setting broker.rate_per_s)",
    UnsupportedFormat: "structured events and batches are taken as application/cloudevents+json in UTF-8",
    UnsupportedCoding: "a Content-Encoding is not taken: subscribers would get the coded bytes",
    Draining: "shutting down",
}


class Ingress:
    """Takes events for every broker that `logs` knows."""

    def __init__(
        self,
        *,
        engine: Engine,
        settings: BrokerSettings,
        logs: Callable[[str], EventLog | None],
        clock: Clock,
        journal: Journal,
        known: Callable[[str], bool] = lambda broker: False,
    ) -> None:
        """logs: `namespace/name` → the log of an open broker. known: one that is wanted and may not be open yet."""
        self._engine = engine
        self._clock = clock
        self._logs = logs
        self._known = known
        self._journal = journal
        self._fields = from_producer()
        self._listeners: list[Listener] = []
        self._draining = False
        self._paths: dict[bytes, str] = {}
        self._doors: dict[str, Door] = {}
        self._meters = IngressMeters(engine.registry)
        self.now = engine.clock
        self.settings = settings
        self.held_bytes = 0  # received and not durable yet
        self.held_bytes_max = max(settings.appending_bytes_max, settings.event_bytes_max)
        held = engine.registry.gauge("dataplane_broker_appending_bytes", "Bytes received and not durable yet.").cell()
        engine.registry.before_render(lambda: setattr(held, "v", self.held_bytes))

    # ---- life -----------------------------------------------------------------------------------

    async def listen(self, host: str, port: int, *, reuse_port: bool = False) -> tuple[str, int]:
        """Port 0 picks one. Returns where it listens. Raises OSError when it cannot bind."""
        listener = Listener(
            name="broker",
            engine=self._engine,
            handler=self.handle,
            trusted=lambda peer: self._fields,
            settings=ListenerSettings(connections_max=self.settings.connections_max, reuse_port=reuse_port),
        )
        address = await listener.start(host, port)
        self._listeners.append(listener)
        return address

    async def drain(self) -> None:
        """Answer what is here, say goodbye on each connection, close. Bounded by drain_timeout_s."""
        self._draining = True
        deadline = self._engine.clock() + self.settings.drain_timeout_s
        for listener in self._listeners:
            cut = await listener.drain(deadline=deadline)
            if cut:
                log.warning("drain_cut connections=%d", cut)
        self._listeners.clear()

    # ---- connections → us -------------------------------------------------------------------------

    def handle(self, connection: ServerConnection) -> None:
        """Called once per request head."""
        request = connection.request
        seen = request.seen
        agent = seen.get(_AGENT)
        if (
            (agent is not None and agent.startswith(b"kube-probe/"))
            or _KUBELET in seen
            or seen.get(_PROBE) == b"probe"
            or (request.method == b"GET" and request.target in HEALTH)
        ):
            self._probed(connection, seen)
            return
        if request.method != b"POST":
            if request.method == b"OPTIONS":
                connection.respond(200, CONSENT, b"")
            else:
                self.refuse(connection, None, MethodNotAllowed())
            return
        broker = self._paths.get(request.target) or self._broker_of(request.target)
        if not broker:
            self.refuse(connection, None, NoRoute())
            return
        intake = Intake(self, connection, broker)
        if request.content_length > self.settings.event_bytes_max:
            self.refuse(connection, intake, BodyTooLarge())
            return
        connection.exchange = intake
        if connection.turn is _BUSY:
            intake.on_body(connection.take_body(), True)
        elif request.expect_continue:
            connection.want_continue()

    def _probed(self, connection: ServerConnection, seen: dict[int, bytes]) -> None:
        asked = seen.get(_HASH)
        if self._draining:
            connection.respond(503, [ALLOW, (b"x-dp-error", Draining.code.encode())], Draining.body)
        elif seen.get(_PROBE) != b"probe":
            connection.respond(200, [ALLOW], b"")
        elif asked:
            connection.respond(200, [ALLOW, (b"k-network-hash", asked)], b"")
        else:
            connection.respond(400, [ALLOW], b'a probe must contain a non-empty "K-Network-Hash" header\n')

    def _broker_of(self, target: bytes) -> str:
        """`namespace/name`; "" for another path. The query says nothing, nor does one slash at the end (spec §7.1)."""
        path, _, _ = target.partition(b"?")
        parts = path.removesuffix(b"/").split(b"/")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            return ""
        broker = b"/".join(parts[1:]).decode("latin-1")
        if len(self._paths) < PATHS_MAX and len(target) <= PATH_BYTES_MAX:
            self._paths[target] = broker
        return broker

    # ---- intake → us --------------------------------------------------------------------------------

    def take(self, connection: ServerConnection, intake: Intake, body: bytes) -> None:
        """The whole request is here: append its events, or refuse all of them."""
        fields = connection.request.fields()
        events: list[Event] = []
        try:
            events = decode_http(fields, body, batch_events_max=self.settings.batch_events_max)
            headers = passed_on(fields)
            log_ = self._logs(intake.broker)
            if log_ is None:
                raise self._absent(intake.broker)
            door = self._doors.get(intake.broker) or self._open(intake.broker)
            door.pass_through(len(events), self.now())
            records = admit_all(events, headers, self._clock.wall(), self.settings.hops_max)
        except DataplaneError as error:
            intake.end()
            self.refuse(connection, intake, error, events[0] if events else None)
            return
        if records:
            intake.append(log_, records, door)
        else:
            intake.end()
            connection.respond(202, [ALLOW], b"")

    def accepted(self, door: Door, records: Sequence[Record], size_bytes: int, since: float) -> None:
        """They are durable. since: loop seconds when the request was whole."""
        took_s = self.now() - since
        door.events.v += len(records)
        door.bytes.v += size_bytes
        for record in records:
            event = record.event
            type_ = event.type
            door.took(type_).observe(took_s)
            self._journal.note(Fact(record.arrived_at, "accepted", door.key, event.id, event.source, type_))

    def refuse(
        self, connection: ServerConnection, intake: Intake | None, error: DataplaneError, event: Event | None = None
    ) -> None:
        """Answer with an error. event: the first one of the request, if it got that far."""
        detail = _SAID.get(type(error)) or str(error) or error.code
        problem: dict[str, object] = {"title": error.code, "status": error.status, "detail": detail}
        reason = error.code
        if isinstance(error, BadEvent):
            problem["reason"] = reason = error.reason
            if error.index is not None:
                problem["index"] = error.index
        headers = [ALLOW, PROBLEM, (b"x-dp-error", error.code.encode())]
        retry_after_s = error.wait_s if isinstance(error, TooFast) else error.retry_after_s
        if retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % retry_after_s))
        self._meters.rejected.cell(reason).v += 1
        if intake is not None:
            if intake.records:
                event = intake.records[0].event
            about = (event.id, event.source, event.type) if event is not None else ("", "", "")
            self._journal.note(
                Fact(self._clock.wall(), "rejected", intake.broker, *about, code=error.status, message=detail)
            )
        connection.respond(error.status, headers, msgspec.json.encode(problem))

    # ---- brokers ----------------------------------------------------------------------------------

    def _open(self, broker: str) -> Door:
        door = self._doors[broker] = Door(broker, self._meters, self.settings.rate_per_s, self.now())
        return door

    def _absent(self, broker: str) -> NoBroker | BrokerNotReady:
        """Why there is no log. What was kept for a broker that is gone goes."""
        if self._known(broker):
            return BrokerNotReady()
        if self._doors.pop(broker, None) is not None:
            namespace, _, name = broker.partition("/")
            self._engine.registry.drop(kn_broker_namespace=namespace, kn_broker_name=name)
        return NoBroker()
