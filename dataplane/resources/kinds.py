"""The kinds that the API serves: names, struct, columns. Data, one line each.

Source: design/ecosystem.md §2.2 (columns, short names, categories); spec/serving.md §1.11.
"""

from collections.abc import Callable

import msgspec

from dataplane.resources import core, eventing, serving
from dataplane.resources.meta import Condition, Resource, condition

Cells = Callable[[Resource], tuple[object, ...]]


class Column(msgspec.Struct, frozen=True):
    """A printer column, after NAME unless one of the kind's is called so.

    type "age": a timestamp, of creation if the cell is None; printed as a duration.
    """

    name: str
    type: str = "string"
    priority: int = 0  # 1 = only with -o wide


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """`durable` False: lives and dies with the process (pods are processes of this machine; events are a ring)."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    struct: type[Resource]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    status: bool = False  # has a /status subresource, and spec changes bump metadata.generation
    durable: bool = True
    columns: tuple[Column, ...] = ()
    cells: Cells = lambda _: ()
    verbs: tuple[str, ...] = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


def _ready(conditions: tuple[Condition, ...]) -> tuple[str, str]:
    ready = condition(conditions, "Ready")
    return (ready.status, ready.reason) if ready else ("", "")


def _service(one: Resource) -> tuple[object, ...]:
    assert isinstance(one, serving.Service)
    s = one.status
    return (s.url, s.latest_created_revision_name, s.latest_ready_revision_name, *_ready(s.conditions))


def _revision(one: Resource) -> tuple[object, ...]:
    assert isinstance(one, serving.Revision)
    labels, s = one.metadata.labels, one.status
    config = labels.get("serving.knative.dev/configuration", "")
    generation = labels.get("serving.knative.dev/configurationGeneration", "")
    return (config, generation, *_ready(s.conditions), s.actual_replicas, s.desired_replicas)


def _configuration(one: Resource) -> tuple[object, ...]:
    assert isinstance(one, serving.Configuration)
    s = one.status
    return (s.latest_created_revision_name, s.latest_ready_revision_name, *_ready(s.conditions))


def _route(one: Resource) -> tuple[object, ...]:
    assert isinstance(one, serving.Route)
    return (one.status.url, *_ready(one.status.conditions))


def _broker(one: Resource) -> tuple[object, ...]:
    assert isinstance(one, eventing.Broker)
    s = one.status
    class_ = one.metadata.annotations.get(eventing.BROKER_CLASS, "")
    return (s.address.url if s.address else "", None, *_ready(s.conditions), class_)


def _trigger(one: Resource) -> tuple[object, ...]:
    assert isinstance(one, eventing.Trigger)
    broker = one.spec.broker or (one.spec.broker_ref.name if one.spec.broker_ref else "")
    return (broker, one.status.subscriber_uri, None, *_ready(one.status.conditions))


def _autoscaler(one: Resource) -> tuple[object, ...]:
    assert isinstance(one, serving.PodAutoscaler)
    return (one.status.desired_scale, one.status.actual_scale, *_ready(one.status.conditions))


def _pod(one: Resource) -> tuple[object, ...]:
    assert isinstance(one, core.Pod)
    statuses = one.status.container_statuses
    waiting = next((s.state.waiting.reason for s in statuses if s.state.waiting and s.state.waiting.reason), "")
    shown = "Terminating" if one.metadata.deletion_timestamp else one.status.reason or waiting or one.status.phase
    ready = f"{sum(s.ready for s in statuses)}/{len(one.spec.containers)}"
    return (ready, shown, sum(s.restart_count for s in statuses), None)


def _config_map(one: Resource) -> tuple[object, ...]:
    assert isinstance(one, core.ConfigMap)
    return (len(one.data) + len(one.binary_data), None)


def _secret(one: Resource) -> tuple[object, ...]:
    assert isinstance(one, core.Secret)
    return (one.type, len(one.data), None)


def _namespace(one: Resource) -> tuple[object, ...]:
    assert isinstance(one, core.Namespace)
    return (one.status.phase, None)


def _event(one: Resource) -> tuple[object, ...]:
    assert isinstance(one, core.Event)
    about = one.involved_object
    return (
        one.last_timestamp or one.first_timestamp,
        one.type,
        one.reason,
        f"{about.kind.lower()}/{about.name}",
        one.message,
        one.metadata.name,
    )


_READY = (Column("Ready"), Column("Reason"))
_AGE = Column("Age", "age")
_SERVING = ("all", "knative", "serving")
_EVENTING = ("all", "knative", "eventing")

KINDS: tuple[Kind, ...] = (
    Kind(
        group=serving.GROUP,
        version="v1",
        kind="Service",
        plural="services",
        singular="service",
        struct=serving.Service,
        short_names=("kservice", "ksvc"),
        categories=_SERVING,
        status=True,
        cells=_service,
        columns=(Column("URL"), Column("LatestCreated"), Column("LatestReady"), *_READY),
    ),
    Kind(
        group=serving.GROUP,
        version="v1",
        kind="Configuration",
        plural="configurations",
        singular="configuration",
        struct=serving.Configuration,
        short_names=("config", "cfg"),
        categories=_SERVING,
        status=True,
        cells=_configuration,
        columns=(Column("LatestCreated"), Column("LatestReady"), *_READY),
    ),
    Kind(
        group=serving.GROUP,
        version="v1",
        kind="Revision",
        plural="revisions",
        singular="revision",
        struct=serving.Revision,
        short_names=("rev",),
        categories=_SERVING,
        status=True,
        cells=_revision,
        columns=(
            Column("Config Name"),
            Column("Generation"),
            *_READY,
            Column("Actual Replicas", "integer"),
            Column("Desired Replicas", "integer"),
        ),
    ),
    Kind(
        group=serving.GROUP,
        version="v1",
        kind="Route",
        plural="routes",
        singular="route",
        struct=serving.Route,
        short_names=("rt",),
        categories=_SERVING,
        status=True,
        cells=_route,
        columns=(Column("URL"), *_READY),
    ),
    Kind(
        group=eventing.GROUP,
        version="v1",
        kind="Broker",
        plural="brokers",
        singular="broker",
        struct=eventing.Broker,
        categories=_EVENTING,
        status=True,
        cells=_broker,
        columns=(Column("URL"), _AGE, *_READY, Column("Class", priority=1)),
    ),
    Kind(
        group=eventing.GROUP,
        version="v1",
        kind="Trigger",
        plural="triggers",
        singular="trigger",
        struct=eventing.Trigger,
        categories=_EVENTING,
        status=True,
        cells=_trigger,
        columns=(Column("Broker"), Column("Subscriber_URI"), _AGE, *_READY),
    ),
    Kind(
        group="autoscaling.internal.knative.dev",
        version="v1alpha1",
        kind="PodAutoscaler",
        plural="podautoscalers",
        singular="podautoscaler",
        struct=serving.PodAutoscaler,
        short_names=("kpa", "pa"),
        categories=("knative-internal",),
        status=True,
        cells=_autoscaler,
        columns=(Column("DesiredScale", "integer"), Column("ActualScale", "integer"), *_READY),
    ),
    Kind(
        group="",
        version="v1",
        kind="Pod",
        plural="pods",
        singular="pod",
        struct=core.Pod,
        short_names=("po",),
        categories=("all",),
        status=True,
        durable=False,
        cells=_pod,
        columns=(Column("Ready"), Column("Status"), Column("Restarts", "integer"), _AGE),
    ),
    Kind(
        group="",
        version="v1",
        kind="ConfigMap",
        plural="configmaps",
        singular="configmap",
        struct=core.ConfigMap,
        short_names=("cm",),
        cells=_config_map,
        columns=(Column("Data", "integer"), _AGE),
    ),
    Kind(
        group="",
        version="v1",
        kind="Secret",
        plural="secrets",
        singular="secret",
        struct=core.Secret,
        cells=_secret,
        columns=(Column("Type"), Column("Data", "integer"), _AGE),
    ),
    Kind(
        group="",
        version="v1",
        kind="Namespace",
        plural="namespaces",
        singular="namespace",
        struct=core.Namespace,
        short_names=("ns",),
        namespaced=False,
        cells=_namespace,
        columns=(Column("Status"), _AGE),
    ),
    Kind(
        group="",
        version="v1",
        kind="ServiceAccount",
        plural="serviceaccounts",
        singular="serviceaccount",
        struct=core.ServiceAccount,
        short_names=("sa",),
        cells=lambda _: (0, None),
        columns=(Column("Secrets", "integer"), _AGE),
    ),
    Kind(
        group="",
        version="v1",
        kind="Event",
        plural="events",
        singular="event",
        struct=core.Event,
        short_names=("ev",),
        durable=False,
        cells=_event,
        columns=(
            Column("Last Seen", "age"),
            Column("Type"),
            Column("Reason"),
            Column("Object"),
            Column("Message"),
            Column("Name", priority=1),
        ),
    ),
)

BY_KIND: dict[tuple[str, str], Kind] = {(k.group, k.kind): k for k in KINDS}
BY_STRUCT: dict[type[Resource], Kind] = {k.struct: k for k in KINDS}


def to_builtins(one: Resource) -> dict[str, object]:
    """JSON-shaped dict, apiVersion and kind first (they are defaults, so msgspec alone would leave them out)."""
    kind = BY_STRUCT[type(one)]
    body: dict[str, object] = msgspec.to_builtins(one)
    body.pop("apiVersion", None)
    body.pop("kind", None)
    return {"apiVersion": kind.api_version, "kind": kind.kind, **body}
