"""Pods and what they need: the part of core/v1 that a Knative revision may use.

Source: Kubernetes core/v1; spec/serving.md §5.3 (which fields are allowed), §12 (runtime contract).
"""

import msgspec

from dataplane.resources.meta import Condition, Model, Resource, shown
from dataplane.resources.volumes import IntOrString, ObjectFieldSelector, ResourceFieldSelector, Volume


class EnvVarSourceRef(Model, frozen=True, kw_only=True):
    name: str = ""
    key: str = ""
    optional: bool = False


class EnvVarSource(Model, frozen=True, kw_only=True):
    config_map_key_ref: EnvVarSourceRef | None = None
    secret_key_ref: EnvVarSourceRef | None = None
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None


class EnvVar(Model, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""
    value_from: EnvVarSource | None = None


class LocalObjectReference(Model, frozen=True, kw_only=True):
    name: str = ""
    optional: bool = False


class EnvFromSource(Model, frozen=True, kw_only=True):
    prefix: str = ""
    config_map_ref: LocalObjectReference | None = None
    secret_ref: LocalObjectReference | None = None


class ContainerPort(Model, frozen=True, kw_only=True):
    name: str = ""
    container_port: int = 0
    protocol: str = ""
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")


class HTTPHeader(Model, frozen=True, kw_only=True):
    name: str
    value: str = ""


class HTTPGetAction(Model, frozen=True, kw_only=True):
    path: str = ""
    port: IntOrString = 0
    host: str = ""
    scheme: str = ""
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPSocketAction(Model, frozen=True, kw_only=True):
    port: IntOrString = 0
    host: str = ""


class ExecAction(Model, frozen=True, kw_only=True):
    command: tuple[str, ...] = ()


class GRPCAction(Model, frozen=True, kw_only=True):
    port: int = 0
    service: str | None = None


class Probe(Model, frozen=True, kw_only=True):
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    exec: ExecAction | None = None
    grpc: GRPCAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 0
    period_seconds: int = 0
    success_threshold: int = 0
    failure_threshold: int = 0
    termination_grace_period_seconds: int | None = None


class ResourceRequirements(Model, frozen=True, kw_only=True):
    """Quantities stay as written (`100m`, `64Mi`)."""

    requests: dict[str, IntOrString | float] = {}
    limits: dict[str, IntOrString | float] = {}


class Capabilities(Model, frozen=True, kw_only=True):
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SeccompProfile(Model, frozen=True, kw_only=True):
    type: str = ""
    localhost_profile: str = ""


class SecurityContext(Model, frozen=True, kw_only=True):
    capabilities: Capabilities | None = None
    privileged: bool | None = None
    read_only_root_filesystem: bool | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    allow_privilege_escalation: bool | None = None
    seccomp_profile: SeccompProfile | None = None


class VolumeMount(Model, frozen=True, kw_only=True):
    name: str = ""
    mount_path: str = ""
    sub_path: str = ""
    read_only: bool = False
    mount_propagation: str = ""


class Container(Model, frozen=True, kw_only=True):
    name: str = ""
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFromSource, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    resources: ResourceRequirements = ResourceRequirements()
    volume_mounts: tuple[VolumeMount, ...] = ()
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    image_pull_policy: str = ""
    security_context: SecurityContext | None = None
    termination_message_path: str = ""
    termination_message_policy: str = ""
    # Present so that validation can name them instead of calling them unknown (spec §5.3: disallowed).
    lifecycle: dict[str, object] | None = None
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    volume_devices: tuple[dict[str, object], ...] = ()


class PodSpec(Model, frozen=True, kw_only=True):
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    service_account_name: str = ""
    image_pull_secrets: tuple[LocalObjectReference, ...] = ()
    enable_service_links: bool | None = None
    automount_service_account_token: bool | None = None
    termination_grace_period_seconds: int | None = None
    restart_policy: str = ""
    active_deadline_seconds: int | None = None
    node_name: str = ""
    hostname: str = ""
    subdomain: str = ""
    priority: int | None = None
    readiness_gates: tuple[dict[str, object], ...] = ()
    # Behind feature flags (spec §5.3, §13.6); kept as written.
    affinity: dict[str, object] | None = None
    topology_spread_constraints: tuple[dict[str, object], ...] = ()
    host_aliases: tuple[dict[str, object], ...] = ()
    node_selector: dict[str, str] = {}
    runtime_class_name: str = ""
    tolerations: tuple[dict[str, object], ...] = ()
    security_context: dict[str, object] | None = None
    share_process_namespace: bool | None = None
    priority_class_name: str = ""
    scheduler_name: str = ""
    dns_policy: str = ""
    dns_config: dict[str, object] | None = None
    host_ipc: bool = msgspec.field(default=False, name="hostIPC")
    host_pid: bool = msgspec.field(default=False, name="hostPID")
    host_network: bool = False


class ContainerStateRunning(Model, frozen=True, kw_only=True):
    started_at: str = ""


class ContainerStateWaiting(Model, frozen=True, kw_only=True):
    reason: str = ""
    message: str = ""


class ContainerStateTerminated(Model, frozen=True, kw_only=True):
    exit_code: int
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: str = ""
    finished_at: str = ""


class ContainerState(Model, frozen=True, kw_only=True):
    running: ContainerStateRunning | None = None
    waiting: ContainerStateWaiting | None = None
    terminated: ContainerStateTerminated | None = None


class ContainerStatus(Model, frozen=True, kw_only=True):
    name: str
    ready: bool = shown(False)
    started: bool = False
    restart_count: int = shown(0)
    image: str = ""
    image_id: str = msgspec.field(default="", name="imageID")
    container_id: str = msgspec.field(default="", name="containerID")
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodIP(Model, frozen=True, kw_only=True):
    ip: str


class PodStatus(Model, frozen=True, kw_only=True):
    """phase: Pending, Running, Succeeded, Failed. `ports` is ours: the real port of each declared container port."""

    phase: str = shown("Pending")
    conditions: tuple[Condition, ...] = ()
    message: str = ""
    reason: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = msgspec.field(default=(), name="podIPs")
    host_ip: str = msgspec.field(default="", name="hostIP")
    start_time: str = ""
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(Resource, frozen=True, kw_only=True):
    api_version: str = "v1"
    kind: str = "Pod"
    spec: PodSpec = PodSpec()
    status: PodStatus = shown(PodStatus())


class ConfigMap(Resource, frozen=True, kw_only=True):
    api_version: str = "v1"
    kind: str = "ConfigMap"
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}
    immutable: bool | None = None


class Secret(Resource, frozen=True, kw_only=True):
    """`data` is base64 as on the wire; `stringData` is folded into it on write. Never in a log or a message."""

    api_version: str = "v1"
    kind: str = "Secret"
    type: str = shown("Opaque")
    data: dict[str, str] = {}
    string_data: dict[str, str] = {}
    immutable: bool | None = None

    def __repr__(self) -> str:
        return f"Secret({self.metadata.namespace}/{self.metadata.name}, keys={sorted(self.data)})"


class NamespaceStatus(Model, frozen=True, kw_only=True):
    phase: str = shown("Active")


class Namespace(Resource, frozen=True, kw_only=True):
    api_version: str = "v1"
    kind: str = "Namespace"
    spec: dict[str, object] = {}
    status: NamespaceStatus = shown(NamespaceStatus())


class ServiceAccount(Resource, frozen=True, kw_only=True):
    api_version: str = "v1"
    kind: str = "ServiceAccount"
    secrets: tuple[LocalObjectReference, ...] = ()
    image_pull_secrets: tuple[LocalObjectReference, ...] = ()
    automount_service_account_token: bool | None = None


class ObjectReference(Model, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""


class EventSource(Model, frozen=True, kw_only=True):
    component: str = ""
    host: str = ""


class Event(Resource, frozen=True, kw_only=True):
    """core/v1 Event. type: Normal or Warning."""

    api_version: str = "v1"
    kind: str = "Event"
    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    source: EventSource = EventSource()
    first_timestamp: str = ""
    last_timestamp: str = ""
    event_time: str | None = None
    count: int = shown(1)
    type: str = shown("Normal")
    reporting_component: str = ""
    reporting_instance: str = ""
