"""What delivery counts, per trigger; series of a trigger that is gone go with it.

Path: dispatcher.py, attempts.py → [meters] → /metrics.

Cells are looked up once per trigger (per type and status for the two histograms that Knative's dashboards read); lag
and age are asked of the store when somebody renders.

Bounds: TYPES_MAX event types per trigger, none longer than TYPE_CHARS_MAX, have series of their own; the rest share one
without a type.
Source: spec/eventing.md §30; design/ecosystem.md §3.1.
"""

from collections.abc import Callable
from typing import Protocol

from broker.store.contract import Lag
from dataplane.telemetry.metrics import Cell, HistogramCell, HistogramFamily, Registry

TYPES_MAX = 20
TYPE_CHARS_MAX = 256
STATUSES_MAX = 20
OUTCOMES = ("delivered", "retried", "dead-lettered", "parked", "expired", "dropped")
REASONS = ("rejected", "exhausted", "reply", "hops", "dead-letter")
STATES = ("waiting", "in_flight", "scheduled", "parked", "dead_lettered")

_KNATIVE = (
    "kn_broker_name", "kn_broker_namespace", "kn_trigger_name", "kn_trigger_namespace", "cloudevents_type",
)  # fmt: skip
_OURS = ("broker", "trigger")


class Watched(Protocol):
    def lag(self) -> Lag: ...

    def down(self) -> bool: ...


class DeliveryMeters:
    """One per process."""

    def __init__(self, registry: Registry, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._watched: dict[Watched, TriggerMeters] = {}
        self.dispatch = dispatch_duration(registry)
        self.process = registry.histogram(
            "kn_eventing_process_duration_seconds", "Time from acceptance to the start of the first attempt.", _KNATIVE
        )
        self.deliveries = registry.counter(
            "dataplane_broker_deliveries_total",
            "Deliveries by how they ended; retried: one more attempt. Nothing is ever dropped.",
            (*_OURS, "outcome"),
        )
        self.given_up = registry.counter(
            "dataplane_broker_given_up_total", "Deliveries that the subscriber did not get, by why.", (*_OURS, "reason")
        )
        self.replies = registry.counter("dataplane_broker_replies_total", "Replies put on the broker.", _OURS)
        self.let_go = registry.counter(
            "dataplane_broker_let_go_total", "Deliveries that were left to the process that has them by now.", _OURS
        )
        self.in_flight = registry.gauge("dataplane_broker_in_flight_requests", "Attempts on their way.", _OURS)
        self.events = registry.gauge(
            "dataplane_broker_unsettled_events", "Lag of a trigger: events by where they are.", (*_OURS, "state")
        )
        self.oldest = registry.gauge(
            "dataplane_broker_oldest_unsettled_seconds", "Age of the oldest event that is not settled.", _OURS
        )
        self.too_costly = registry.counter(
            "dataplane_broker_too_costly_total",
            "Events that a trigger did not match because its filter might have taken too long over them.",
            _OURS,
        )
        self.down = registry.gauge(
            "dataplane_broker_subscriber_down", "1: a few attempts a second find out when it is back.", _OURS
        )
        registry.before_render(self._refresh)

    def watch(self, trigger: Watched, namespace: str, name: str, broker: str) -> "TriggerMeters":
        """Until `forget`. broker: `namespace/name`."""
        meters = self._watched[trigger] = TriggerMeters(self, namespace, name, broker)
        return meters

    def forget(self, trigger: Watched) -> None:
        meters = self._watched.pop(trigger, None)
        if meters is not None:
            meters.forget()

    def _refresh(self) -> None:
        now = self._wall()
        for trigger, meters in self._watched.items():
            lag = trigger.lag()
            for state, cell in meters.states.items():
                cell.v = getattr(lag, state)
            meters.oldest.v = max(0.0, now - lag.oldest_at) if lag.oldest_at else 0
            meters.down.v = int(trigger.down())


def dispatch_duration(registry: Registry) -> HistogramFamily:
    """Knative has one name for both ends of a broker; at its ingress there is no trigger."""
    return registry.histogram(
        "kn_eventing_dispatch_duration_seconds",
        "Time a subscriber or dead-letter sink took to answer one attempt; without a trigger: to make events durable.",
        (*_KNATIVE, "http_response_status_code"),
    )


class TriggerMeters:
    """The cells of one trigger."""

    def __init__(self, family: DeliveryMeters, namespace: str, name: str, broker: str) -> None:
        broker_namespace, _, broker_name = broker.rpartition("/")
        self.knative = (broker_name, broker_namespace, name, namespace)
        ours = self.labels = (broker, f"{namespace}/{name}")
        self._family = family
        self._dispatch: dict[tuple[str, int], HistogramCell] = {}
        self._process: dict[str, HistogramCell] = {}
        outcomes = {outcome: family.deliveries.cell(*ours, outcome) for outcome in OUTCOMES}
        self.delivered, self.retried = outcomes["delivered"], outcomes["retried"]
        self.dead_lettered, self.parked, self.expired = (outcomes[o] for o in ("dead-lettered", "parked", "expired"))
        self.given_up: dict[str, Cell] = {reason: family.given_up.cell(*ours, reason) for reason in REASONS}
        self.let_go = family.let_go.cell(*ours)
        self.replies = family.replies.cell(*ours)
        self.in_flight = family.in_flight.cell(*ours)
        self.states = {state: family.events.cell(*ours, state) for state in STATES}
        self.oldest = family.oldest.cell(*ours)
        self.too_costly = family.too_costly.cell(*ours)
        self.down = family.down.cell(*ours)

    def dispatch(self, type_: str, status: int) -> HistogramCell:
        cell = self._dispatch.get((type_, status))
        return cell if cell is not None else self._new_dispatch(type_, status)

    def process(self, type_: str) -> HistogramCell:
        cell = self._process.get(type_)
        return cell if cell is not None else self._new_process(type_)

    def forget(self) -> None:
        family, ours = self._family, self.labels
        for outcome in OUTCOMES:
            family.deliveries.forget(*ours, outcome)
        for reason in REASONS:
            family.given_up.forget(*ours, reason)
        for state in STATES:
            family.events.forget(*ours, state)
        singles = (family.replies, family.let_go, family.in_flight, family.oldest, family.too_costly, family.down)
        for single in singles:
            single.forget(*ours)
        for type_ in (*self._process, ""):
            family.process.forget(*self.knative, type_)
        for type_, status in self._dispatch:
            family.dispatch.forget(*self.knative, type_, _code(status))
        family.dispatch.forget(*self.knative, "", "")

    def _new_dispatch(self, type_: str, status: int) -> HistogramCell:
        self.process(type_)
        if type_ not in self._process:
            type_ = ""
        if len(self._dispatch) >= TYPES_MAX * STATUSES_MAX:
            return self._family.dispatch.cell(*self.knative, "", "")
        cell = self._dispatch.get((type_, status))
        if cell is None:
            cell = self._dispatch[type_, status] = self._family.dispatch.cell(*self.knative, type_, _code(status))
        return cell

    def _new_process(self, type_: str) -> HistogramCell:
        if len(self._process) >= TYPES_MAX or len(type_) > TYPE_CHARS_MAX:
            return self._family.process.cell(*self.knative, "")
        cell = self._process[type_] = self._family.process.cell(*self.knative, type_)
        return cell


def _code(status: int) -> str:
    return str(status) if status else ""
