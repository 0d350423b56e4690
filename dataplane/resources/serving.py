"""serving.knative.dev/v1 (Service, Configuration, Revision, Route) and the PodAutoscaler behind a Revision.

Source: spec/serving.md §2, §16.8.
"""

import msgspec

from dataplane.resources.core import PodSpec
from dataplane.resources.meta import Condition, Model, ObjectMeta, Resource

GROUP = "serving.knative.dev"
API_VERSION = "serving.knative.dev/v1"


class TrafficTarget(Model, frozen=True, kw_only=True):
    tag: str = ""
    revision_name: str = ""
    configuration_name: str = ""
    latest_revision: bool | None = None
    percent: int | None = None
    url: str = ""


class RevisionSpec(PodSpec, frozen=True, kw_only=True):
    """A PodSpec with Knative's own fields beside it. None = not set by the user and not yet defaulted."""

    container_concurrency: int | None = None
    timeout_seconds: int | None = None
    response_start_timeout_seconds: int | None = None
    idle_timeout_seconds: int | None = None


class RevisionTemplate(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: RevisionSpec = RevisionSpec()


class ConfigurationSpec(Model, frozen=True, kw_only=True):
    template: RevisionTemplate = RevisionTemplate()


class RouteSpec(Model, frozen=True, kw_only=True):
    traffic: tuple[TrafficTarget, ...] = ()


class ServiceSpec(Model, frozen=True, kw_only=True):
    template: RevisionTemplate = RevisionTemplate()
    traffic: tuple[TrafficTarget, ...] = ()


class Address(Model, frozen=True, kw_only=True):
    url: str = ""


class ServiceStatus(Model, frozen=True, kw_only=True):
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    url: str = ""
    address: Address | None = None
    latest_created_revision_name: str = ""
    latest_ready_revision_name: str = ""
    traffic: tuple[TrafficTarget, ...] = ()
    annotations: dict[str, str] = {}


class Service(Resource, frozen=True, kw_only=True):
    api_version: str = API_VERSION
    kind: str = "Service"
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class ConfigurationStatus(Model, frozen=True, kw_only=True):
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    latest_created_revision_name: str = ""
    latest_ready_revision_name: str = ""
    annotations: dict[str, str] = {}


class Configuration(Resource, frozen=True, kw_only=True):
    api_version: str = API_VERSION
    kind: str = "Configuration"
    spec: ConfigurationSpec = ConfigurationSpec()
    status: ConfigurationStatus = ConfigurationStatus()


class ContainerDigest(Model, frozen=True, kw_only=True):
    name: str = ""
    image_digest: str = ""


class RevisionStatus(Model, frozen=True, kw_only=True):
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    log_url: str = ""
    container_statuses: tuple[ContainerDigest, ...] = ()
    init_container_statuses: tuple[ContainerDigest, ...] = ()
    actual_replicas: int | None = None
    desired_replicas: int | None = None
    annotations: dict[str, str] = {}


class Revision(Resource, frozen=True, kw_only=True):
    api_version: str = API_VERSION
    kind: str = "Revision"
    spec: RevisionSpec = RevisionSpec()
    status: RevisionStatus = RevisionStatus()


class RouteStatus(Model, frozen=True, kw_only=True):
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    url: str = ""
    address: Address | None = None
    traffic: tuple[TrafficTarget, ...] = ()
    annotations: dict[str, str] = {}


class Route(Resource, frozen=True, kw_only=True):
    api_version: str = API_VERSION
    kind: str = "Route"
    spec: RouteSpec = RouteSpec()
    status: RouteStatus = RouteStatus()


class ScaleTargetRef(Model, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""


class PodAutoscalerSpec(Model, frozen=True, kw_only=True):
    container_concurrency: int = 0
    scale_target_ref: ScaleTargetRef = ScaleTargetRef()
    protocol_type: str = ""
    reachability: str = ""


class PodAutoscalerStatus(Model, frozen=True, kw_only=True):
    """`decision` is ours: the last Decision as JSON, for `explain`."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    service_name: str = ""
    metrics_service_name: str = ""
    desired_scale: int | None = None
    actual_scale: int | None = None
    decision: dict[str, object] = msgspec.field(default_factory=dict)


class PodAutoscaler(Resource, frozen=True, kw_only=True):
    api_version: str = "autoscaling.internal.knative.dev/v1alpha1"
    kind: str = "PodAutoscaler"
    spec: PodAutoscalerSpec = PodAutoscalerSpec()
    status: PodAutoscalerStatus = PodAutoscalerStatus()
