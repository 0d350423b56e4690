"""Knative's configuration as values: one struct per ConfigMap, fields with upstream's defaults. Pure.

Path: ConfigMaps → config_maps.parse → [knative_settings] → admission/, reconcile/, publish.py.

Deviations, both because there is one machine and no cluster around it:
- `kubernetes.podspec-init-containers` is Enabled (upstream: Disabled), so that init containers run without a ConfigMap.
- Without a default in config-domain the domain is the one `dataplane up --domain` was given, `localhost` unless told
  (upstream: `svc.cluster.local`, which makes every Route private).

Source: spec/serving.md §13.2–13.8, §2.5, §4.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from controlplane.annotations import CLUSTER_LOCAL, KPA, VISIBILITY_LABEL
from controlplane.broker_defaults import BrokerDefaults

NAMESPACE = "knative-serving"
CLUSTER_DOMAIN = "cluster.local"
Flag = Literal["Enabled", "Allowed", "Disabled", "AllowRootBounded"]


class _Settings(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Autoscaler(_Settings, frozen=True, kw_only=True):
    """config-autoscaler. Durations in seconds; target_fraction is container-concurrency-target-percentage / 100."""

    target_fraction: float = 0.7
    concurrency_target: float = 100.0
    rps_target: float = 200.0
    target_burst_capacity: float = 211.0
    stable_window_s: float = 60.0
    panic_window_percentage: float = 10.0
    panic_threshold_percentage: float = 200.0
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0
    enable_scale_to_zero: bool = True
    scale_to_zero_grace_s: float = 30.0
    retention_s: float = 0.0
    pod_autoscaler_class: str = KPA
    activator_capacity: float = 100.0
    initial_scale: int = 1
    allow_zero_initial_scale: bool = False
    min_scale: int = 0
    max_scale: int = 0
    max_scale_limit: int = 0
    scale_down_delay_s: float = 0.0


class Defaults(_Settings, frozen=True, kw_only=True):
    """config-defaults. Quantities as written, "" = unset. enable_service_links None = leave it to Kubernetes."""

    timeout_seconds: int = 300
    max_timeout_seconds: int = 600
    response_start_timeout_seconds: int = 300
    idle_timeout_seconds: int = 0
    cpu_request: str = ""
    cpu_limit: str = ""
    memory_request: str = ""
    memory_limit: str = ""
    ephemeral_storage_request: str = ""
    ephemeral_storage_limit: str = ""
    container_name_template: str = "user-container"
    init_container_name_template: str = "init-container"
    container_concurrency: int = 0
    container_concurrency_max: int = 1000
    allow_container_concurrency_zero: bool = True
    enable_service_links: bool | None = False


class Selector(_Settings, frozen=True, kw_only=True):
    """Labels that must all be there. Empty matches everything."""

    labels: dict[str, str] = {}

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.labels.items())


def _best(choices: Mapping[str, Selector], labels: Mapping[str, str]) -> str:
    """The most specific match, ties to the smallest name; "" when nothing matches."""
    fitting = [(-len(selector.labels), name) for name, selector in choices.items() if selector.matches(labels)]
    return min(fitting)[1] if fitting else ""


class Deployment(_Settings, frozen=True, kw_only=True):
    """config-deployment. Quantities as written, "" = unset."""

    queue_sidecar_image: str = ""
    registries_skipping_tag_resolving: frozenset[str] = frozenset({"kind.local", "ko.local", "dev.local"})
    digest_resolution_timeout_s: float = 10.0
    progress_deadline_s: float = 600.0
    queue_sidecar_cpu_request: str = "25m"
    queue_sidecar_cpu_limit: str = ""
    queue_sidecar_memory_request: str = ""
    queue_sidecar_memory_limit: str = ""
    queue_sidecar_ephemeral_storage_request: str = ""
    queue_sidecar_ephemeral_storage_limit: str = ""
    queue_sidecar_token_audiences: frozenset[str] = frozenset({""})
    queue_sidecar_rootca: str = ""
    queue_sidecar_tls_min_version: str = "1.3"
    queue_sidecar_tls_max_version: str = ""
    queue_sidecar_tls_cipher_suites: str = ""
    queue_sidecar_tls_curve_preferences: str = ""
    default_affinity_type: str = "prefer-spread-revision-over-nodes"
    runtime_class_names: dict[str, Selector] = {}
    pod_is_always_schedulable: bool = False

    def runtime_class_name(self, labels: Mapping[str, str]) -> str:
        """The class for a pod with these labels; "" = none."""
        return _best(self.runtime_class_names, labels)


class Network(_Settings, frozen=True, kw_only=True):
    """config-network. Templates were checked when they were parsed."""

    ingress_class: str = "istio.ingress.networking.knative.dev"
    certificate_class: str = "cert-manager.certificate.networking.knative.dev"
    domain_template: str = "{{.Name}}.{{.Namespace}}.{{.Domain}}"
    tag_template: str = "{{.Tag}}-{{.Name}}"
    namespace_wildcard_cert_selector: str = ""
    external_domain_tls: bool = False
    cluster_local_domain_tls: bool = False
    system_internal_tls: bool = False
    http_protocol: Literal["enabled", "redirected", "disabled"] = "enabled"
    rollout_duration_s: int = 0
    autocreate_cluster_domain_claims: bool = False
    enable_mesh_pod_addressability: bool = False
    mesh_compatibility_mode: Literal["auto", "enabled", "disabled"] = "auto"
    default_external_scheme: str = "http"


FLAGS: dict[str, Flag] = {
    "multi-container": "Enabled",
    "multi-container-probing": "Disabled",
    "kubernetes.podspec-affinity": "Disabled",
    "kubernetes.podspec-topologyspreadconstraints": "Disabled",
    "kubernetes.podspec-hostaliases": "Disabled",
    "kubernetes.podspec-nodeselector": "Disabled",
    "kubernetes.podspec-tolerations": "Disabled",
    "kubernetes.podspec-fieldref": "Disabled",
    "kubernetes.podspec-runtimeclassname": "Disabled",
    "kubernetes.podspec-dnspolicy": "Disabled",
    "kubernetes.podspec-dnsconfig": "Disabled",
    "kubernetes.podspec-securitycontext": "Disabled",
    "kubernetes.podspec-shareprocessnamespace": "Disabled",
    "kubernetes.podspec-hostipc": "Disabled",
    "kubernetes.podspec-hostpid": "Disabled",
    "kubernetes.podspec-hostnetwork": "Disabled",
    "kubernetes.podspec-priorityclassname": "Disabled",
    "kubernetes.podspec-schedulername": "Disabled",
    "kubernetes.podspec-init-containers": "Enabled",  # see the deviations above
    "kubernetes.podspec-persistent-volume-claim": "Disabled",
    "kubernetes.podspec-persistent-volume-write": "Disabled",
    "kubernetes.podspec-volumes-emptydir": "Enabled",
    "kubernetes.podspec-volumes-image": "Disabled",
    "kubernetes.podspec-volumes-hostpath": "Disabled",
    "kubernetes.podspec-volumes-ephemeral": "Disabled",
    "kubernetes.podspec-volumes-csi": "Disabled",
    "kubernetes.podspec-volumes-mount-propagation": "Disabled",
    "kubernetes.containerspec-addcapabilities": "Disabled",
    "tag-header-based-routing": "Disabled",
    "autodetect-http2": "Disabled",
    "queueproxy.mount-podinfo": "Disabled",
    "queueproxy.resource-defaults": "Disabled",
    "secure-pod-defaults": "Disabled",
}


class Features(_Settings, frozen=True, kw_only=True):
    """config-features. `flags` holds what differs from FLAGS."""

    flags: dict[str, Flag] = {}

    def flag(self, key: str) -> Flag:
        """KeyError: no such feature (a programming error)."""
        return self.flags.get(key, FLAGS[key])

    def enabled(self, key: str) -> bool:
        return self.flag(key) == "Enabled"

    def allowed(self, key: str) -> bool:
        """Enabled or Allowed."""
        return self.flag(key) != "Disabled"


class GC(_Settings, frozen=True, kw_only=True):
    """config-gc. None = disabled."""

    retain_since_create_s: float | None = 48 * 3600.0
    retain_since_last_active_s: float | None = 15 * 3600.0
    min_non_active_revisions: int = 20
    max_non_active_revisions: int | None = 1000


class Domain(_Settings, frozen=True, kw_only=True):
    """config-domain: which domain a Route gets by its labels."""

    domains: dict[str, Selector] = msgspec.field(default_factory=lambda: {"localhost": Selector()})

    def lookup(self, labels: Mapping[str, str]) -> str:
        """`svc.cluster.local` for a cluster-local label, else the best match."""
        if labels.get(VISIBILITY_LABEL) == CLUSTER_LOCAL:
            return f"svc.{CLUSTER_DOMAIN}"
        return _best(self.domains, labels)


class Observability(_Settings, frozen=True, kw_only=True):
    """config-observability."""

    enable_var_log_collection: bool = False
    revision_url_template: str = ""
    request_log_template: str = ""
    enable_request_log: bool = False
    enable_probe_request_log: bool = False
    metrics_protocol: Literal["none", "prometheus", "http/protobuf", "grpc"] = "none"
    metrics_endpoint: str = ""
    metrics_export_interval_s: float = 60.0
    request_metrics_protocol: Literal["none", "prometheus", "http/protobuf", "grpc"] = "none"
    request_metrics_endpoint: str = ""
    request_metrics_export_interval_s: float = 60.0
    tracing_protocol: Literal["none", "http/protobuf", "grpc", "stdout"] = "none"
    tracing_endpoint: str = ""
    tracing_sampling_rate: float = 0.0
    runtime_profiling: Literal["disabled", "enabled"] = "disabled"


class KnativeConfig(_Settings, frozen=True, kw_only=True):
    """All of it. `KnativeConfig()` is what Knative does without any ConfigMap, with the deviations above."""

    autoscaler: Autoscaler = Autoscaler()
    defaults: Defaults = Defaults()
    deployment: Deployment = Deployment()
    network: Network = Network()
    features: Features = Features()
    gc: GC = GC()
    domain: Domain = msgspec.field(default_factory=Domain)
    observability: Observability = Observability()
    brokers: BrokerDefaults = BrokerDefaults()

    @classmethod
    def with_domain(cls, domain: str) -> "KnativeConfig":
        """All defaults, with this domain instead of `localhost`."""
        return cls(domain=Domain(domains={domain: Selector()}))
