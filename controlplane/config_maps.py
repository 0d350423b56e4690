"""ConfigMap data → KnativeConfig, or the reason why not. Pure.

Path: store, admission/validate_core.py → [config_maps] → knative_settings.KnativeConfig.

A bad value raises ConfigFault: the API rejects the write, and whoever runs keeps the configuration it has.
Unknown keys and `_example` are ignored, as in Knative.

Source: spec/serving.md §13.2–13.8, §4 (config-gc), §2.5 (config-domain).
"""

import re
from collections.abc import Callable, Mapping

from controlplane import broker_defaults
from controlplane import config_data as read
from controlplane import knative_settings as settings
from controlplane.broker_config import parse_defaults
from controlplane.config_data import Data, V
from controlplane.go_text import (
    duration_ns,
    format_go_duration,
    parse_go_int,
    parse_template,
    quoted,
)
from dataplane.errors import ConfigFault

DOMAIN_FIELDS = frozenset({"Name", "Namespace", "Domain"})
DOMAIN_MAPS = frozenset({"Annotations", "Labels"})
TAG_FIELDS = frozenset({"Name", "Tag"})
CONTAINER_FIELDS = frozenset({"Name", "Namespace"})
LABEL_MAPS = frozenset({"Annotations", "Labels"})
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*\.?")


def parse(configmaps: Mapping[str, Data], *, domain: str = "localhost") -> settings.KnativeConfig:
    """Read ConfigMaps (name → data) of namespace knative-serving; a missing one means its defaults.

    `config-br-defaults` is of namespace knative-eventing: the caller looks there for it.

    Args:
        domain: the default domain when config-domain has none without a selector.

    Raises:
        ConfigFault: `config-x: reason`.
    """
    return settings.KnativeConfig(
        autoscaler=_read(configmaps, "config-autoscaler", _autoscaler),
        defaults=_read(configmaps, "config-defaults", _defaults),
        deployment=_read(configmaps, "config-deployment", _deployment),
        network=_read(configmaps, "config-network", _network),
        features=_read(configmaps, "config-features", _features),
        gc=_read(configmaps, "config-gc", _gc),
        domain=_read(configmaps, "config-domain", lambda data: _domain(data, domain)),
        observability=_read(configmaps, "config-observability", _observability),
        brokers=parse_defaults(configmaps.get(broker_defaults.NAME, {})),
    )


NAMES = (
    "config-autoscaler", "config-defaults", "config-deployment", "config-network",
    "config-features", "config-gc", "config-domain", "config-observability",
)  # fmt: skip


def _read(configmaps: Mapping[str, Data], name: str, reader: Callable[[Data], V]) -> V:
    data = {key: value for key, value in configmaps.get(name, {}).items() if key != "_example"}
    try:
        return reader(data)
    except ConfigFault as fault:
        raise ConfigFault(f"{name}: {fault}") from None


def _autoscaler(data: Data) -> settings.Autoscaler:
    default, dur = settings.Autoscaler(), format_go_duration
    fraction = read.number(data, "container-concurrency-target-percentage", default.target_fraction)
    out = settings.Autoscaler(
        target_fraction=fraction / 100 if fraction > 1 else fraction,
        concurrency_target=read.number(data, "container-concurrency-target-default", default.concurrency_target),
        rps_target=read.number(data, "requests-per-second-target-default", default.rps_target),
        target_burst_capacity=read.number(data, "target-burst-capacity", default.target_burst_capacity),
        stable_window_s=read.seconds(data, "stable-window", default.stable_window_s),
        panic_window_percentage=read.number(data, "panic-window-percentage", default.panic_window_percentage),
        panic_threshold_percentage=read.number(data, "panic-threshold-percentage", default.panic_threshold_percentage),
        max_scale_up_rate=read.number(data, "max-scale-up-rate", default.max_scale_up_rate),
        max_scale_down_rate=read.number(data, "max-scale-down-rate", default.max_scale_down_rate),
        enable_scale_to_zero=read.boolean(data, "enable-scale-to-zero", default.enable_scale_to_zero),
        scale_to_zero_grace_s=read.seconds(data, "scale-to-zero-grace-period", default.scale_to_zero_grace_s),
        retention_s=read.seconds(data, "scale-to-zero-pod-retention-period", default.retention_s),
        pod_autoscaler_class=read.text(data, "pod-autoscaler-class", default.pod_autoscaler_class),
        activator_capacity=read.number(data, "activator-capacity", default.activator_capacity),
        initial_scale=read.integer(data, "initial-scale", default.initial_scale, 32),
        allow_zero_initial_scale=read.boolean(data, "allow-zero-initial-scale", default.allow_zero_initial_scale),
        min_scale=read.integer(data, "min-scale", default.min_scale, 32),
        max_scale=read.integer(data, "max-scale", default.max_scale, 32),
        max_scale_limit=read.integer(data, "max-scale-limit", default.max_scale_limit, 32),
        scale_down_delay_s=read.seconds(data, "scale-down-delay", default.scale_down_delay_s),
    )
    # Written so that NaN fails every one of them.
    grace, delay, tbc = out.scale_to_zero_grace_s, out.scale_down_delay_s, out.target_burst_capacity
    read.require(grace > 0, f"scale-to-zero-grace-period must be positive, was: {dur(grace)}")
    read.require(delay >= 0, f"scale-down-delay cannot be negative, was: {dur(delay)}")
    read.require(read.whole(delay), f"scale-down-delay = {dur(delay)}, must be specified with at most second precision")
    read.require(
        out.retention_s >= 0, f"scale-to-zero-pod-retention-period cannot be negative, was: {dur(out.retention_s)}"
    )
    read.require(
        tbc >= 0 or tbc == -1, f"target-burst-capacity must be either non-negative or -1 (for unlimited), was: {tbc:f}"
    )
    read.require(
        0 < out.target_fraction <= 1,
        f"container-concurrency-target-percentage = {out.target_fraction:f} is outside of valid range of (0, 100]",
    )
    target = out.target_fraction * out.concurrency_target
    read.require(
        target >= 0.01,
        "container-concurrency-target-percentage and container-concurrency-target-default yield target concurrency "
        f"of {read.shown(target)}, can't be less than 0.01",
    )
    read.require(
        out.rps_target >= 0.01,
        f"requests-per-second-target-default must be at least 0.01, was: {read.shown(out.rps_target)}",
    )
    read.require(
        out.activator_capacity >= 1, f"activator-capacity = {read.shown(out.activator_capacity)}, must be at least 1"
    )
    for key, rate in (("max-scale-up-rate", out.max_scale_up_rate), ("max-scale-down-rate", out.max_scale_down_rate)):
        read.require(rate > 1, f"{key} = {read.shown(rate)}, must be greater than 1.0")
    window = out.stable_window_s
    read.require(6 <= window <= 3600, f"stable-window = {dur(window)}, must be in [6s; 1h0m0s] range")
    read.require(read.whole(window), f"stable-window = {dur(window)}, must be specified with at most second precision")
    read.require(
        1 <= out.panic_window_percentage <= 100,
        f"panic-window-percentage = {read.shown(out.panic_window_percentage)}, must be in [1, 100] interval",
    )
    read.require(
        out.panic_threshold_percentage == out.panic_threshold_percentage,
        "panic-threshold-percentage must be a number",
    )
    read.require(
        out.initial_scale > 0 or (out.initial_scale == 0 and out.allow_zero_initial_scale),
        f"initial-scale = {out.initial_scale}, must be at least 0 "
        "(or at least 1 when allow-zero-initial-scale is false)",
    )
    read.require(out.min_scale >= 0, f"min-scale = {out.min_scale}, must be at least 0")
    read.require(out.max_scale_limit >= 0, f"max-scale-limit = {out.max_scale_limit}, must be at least 0")
    low = 1 if out.max_scale_limit else 0
    read.require(
        out.max_scale >= low and (not out.max_scale_limit or out.max_scale <= out.max_scale_limit),
        f"max-scale = {out.max_scale}, must be in [{low}, max-scale-limit({out.max_scale_limit})] range",
    )
    read.require(
        not out.max_scale or out.min_scale <= out.max_scale,
        f"min-scale ({out.min_scale}) must be less than max-scale ({out.max_scale})",
    )
    return out


def _defaults(data: Data) -> settings.Defaults:
    default = settings.Defaults()
    timeout = read.integer(data, "revision-timeout-seconds", default.timeout_seconds)
    out = settings.Defaults(
        timeout_seconds=timeout,
        max_timeout_seconds=read.integer(data, "max-revision-timeout-seconds", default.max_timeout_seconds),
        response_start_timeout_seconds=read.integer(data, "revision-response-start-timeout-seconds", timeout),
        idle_timeout_seconds=read.integer(data, "revision-idle-timeout-seconds", default.idle_timeout_seconds),
        cpu_request=read.quantity(data, "revision-cpu-request"),
        cpu_limit=read.quantity(data, "revision-cpu-limit"),
        memory_request=read.quantity(data, "revision-memory-request"),
        memory_limit=read.quantity(data, "revision-memory-limit"),
        ephemeral_storage_request=read.quantity(data, "revision-ephemeral-storage-request"),
        ephemeral_storage_limit=read.quantity(data, "revision-ephemeral-storage-limit"),
        container_name_template=read.text(data, "container-name-template", default.container_name_template),
        init_container_name_template=read.text(
            data, "init-container-name-template", default.init_container_name_template
        ),
        container_concurrency=read.integer(data, "container-concurrency", default.container_concurrency),
        container_concurrency_max=read.integer(
            data, "container-concurrency-max-limit", default.container_concurrency_max
        ),
        allow_container_concurrency_zero=read.boolean(data, "allow-container-concurrency-zero", True),
        enable_service_links={"true": True, "false": False}.get(data.get("enable-service-links", "false").lower()),
    )
    read.require(
        timeout <= out.max_timeout_seconds,
        f"revision-timeout-seconds ({timeout}) cannot be greater than "
        f"max-revision-timeout-seconds ({out.max_timeout_seconds})",
    )
    for key, value in (
        ("revision-response-start-timeout-seconds", out.response_start_timeout_seconds),
        ("revision-idle-timeout-seconds", out.idle_timeout_seconds),
    ):
        read.require(
            value <= 0 or value <= timeout,
            f"{key} ({value}) cannot be greater than revision-timeout-seconds ({timeout})",
        )
    limit, concurrency = out.container_concurrency_max, out.container_concurrency
    read.require(limit >= 1, f"expected 1 <= {limit} <= 2147483647: container-concurrency-max-limit")
    read.require(0 <= concurrency <= limit, f"expected 0 <= {concurrency} <= {limit}: container-concurrency")
    for template in (out.container_name_template, out.init_container_name_template):
        parse_template(template, CONTAINER_FIELDS, LABEL_MAPS)
    return out


def _deployment(data: Data) -> settings.Deployment:
    default, dur = settings.Deployment(), format_go_duration
    sidecar = {
        f"queue_sidecar_{resource.replace('-', '_')}_{bound}": read.quantity(
            data,
            f"queue-sidecar-{resource}-{bound}",
            default.queue_sidecar_cpu_request if (resource, bound) == ("cpu", "request") else "",
            f"queueSidecar{camel}{bound.capitalize()}",
        )
        for resource, camel in (("cpu", "CPU"), ("memory", "Memory"), ("ephemeral-storage", "EphemeralStorage"))
        for bound in ("request", "limit")
    }
    tls = {
        f"queue_sidecar_tls_{name.replace('-', '_')}": read.text(data, f"queue-sidecar-tls-{name}", fallback)
        for name, fallback in (
            ("min-version", default.queue_sidecar_tls_min_version),
            ("max-version", ""),
            ("cipher-suites", ""),
            ("curve-preferences", ""),
        )
    }
    affinity = read.text(data, "default-affinity-type", default.default_affinity_type)
    deadline = read.seconds(data, "progress-deadline", default.progress_deadline_s, "progressDeadline")
    digest = read.seconds(
        data, "digest-resolution-timeout", default.digest_resolution_timeout_s, "digestResolutionTimeout"
    )
    read.require(
        affinity in ("none", "prefer-spread-revision-over-nodes"),
        f"unsupported default-affinity-type value: {quoted(affinity)}",
    )
    read.require(deadline > 0, f"progress-deadline cannot be a non-positive duration, was {dur(deadline)}")
    read.require(read.whole(deadline), f"progress-deadline must be rounded to a whole second, was: {dur(deadline)}")
    read.require(digest > 0, f"digest-resolution-timeout cannot be a non-positive duration, was {dur(digest)}")
    classes = read.mapping(data.get("runtime-class-name", ""), "runtime-class-name")
    return settings.Deployment(
        # Upstream refuses an empty image; here the queue-proxy is this program, so there is no image to name.
        queue_sidecar_image=read.text(data, "queue-sidecar-image", "", "queueSidecarImage"),
        registries_skipping_tag_resolving=read.strings(
            data,
            "registries-skipping-tag-resolving",
            default.registries_skipping_tag_resolving,
            "registriesSkippingTagResolving",
        ),
        digest_resolution_timeout_s=digest,
        progress_deadline_s=deadline,
        queue_sidecar_token_audiences=read.strings(
            data, "queue-sidecar-token-audiences", default.queue_sidecar_token_audiences
        ),
        queue_sidecar_rootca=read.text(data, "queue-sidecar-rootca", ""),
        default_affinity_type=affinity,
        runtime_class_names={str(name): read.selector(value, str(name)) for name, value in classes.items()},
        pod_is_always_schedulable=read.boolean(data, "pod-is-always-schedulable", False),
        **sidecar,
        **tls,
    )


def _network(data: Data) -> settings.Network:
    default, kind = settings.Network(), settings.Network
    domain_template = read.text(data, "domain-template", default.domain_template, "domainTemplate")
    tag_template = read.text(data, "tag-template", default.tag_template, "tagTemplate")
    parse_template(domain_template, DOMAIN_FIELDS, DOMAIN_MAPS)
    parse_template(tag_template, TAG_FIELDS)
    rollout = read.value(data, "rollout-duration", 0, lambda text: parse_go_int(text.strip()), "rolloutDuration")
    read.require(rollout >= 0, f"rollout-duration must be a positive integer, but was {rollout}")
    internal = read.boolean(data, "internal-encryption", False)
    return settings.Network(
        ingress_class=read.text(data, "ingress-class", default.ingress_class, "ingress.class"),
        certificate_class=read.text(data, "certificate-class", default.certificate_class, "certificate.class"),
        domain_template=domain_template,
        tag_template=tag_template,
        namespace_wildcard_cert_selector=read.text(data, "namespace-wildcard-cert-selector", ""),
        external_domain_tls=read.text(data, "external-domain-tls", "", "auto-tls", "autoTLS").lower() == "enabled",
        cluster_local_domain_tls=_switch(data, "cluster-local-domain-tls", False),
        system_internal_tls=_switch(data, "system-internal-tls", internal),
        http_protocol=read.choice(data, "http-protocol", default.http_protocol, kind, "http_protocol", "httpProtocol"),
        rollout_duration_s=rollout,
        autocreate_cluster_domain_claims=read.boolean(
            data, "autocreate-cluster-domain-claims", False, "autocreateClusterDomainClaims"
        ),
        enable_mesh_pod_addressability=read.boolean(data, "enable-mesh-pod-addressability", False),
        mesh_compatibility_mode=read.choice(data, "mesh-compatibility-mode", "auto", kind, "mesh_compatibility_mode"),
        default_external_scheme=read.text(data, "default-external-scheme", "http", "defaultExternalScheme"),
    )


def _switch(data: Data, key: str, default: bool) -> bool:
    word = data.get(key, "").strip().lower()
    read.require(word in ("", "enabled", "disabled"), f"{key} with value: {quoted(word)} is not supported")
    return word == "enabled" if word else default


def _features(data: Data) -> settings.Features:
    flags: dict[str, settings.Flag] = {}
    for key, text in data.items():
        if key in settings.FLAGS:
            words: tuple[settings.Flag, ...] = ("Enabled", "Allowed", "Disabled")
            if key == "secure-pod-defaults":
                words = ("Enabled", "AllowRootBounded", "Disabled")
            for word in words:
                if word.lower() == text.strip().lower():
                    flags[key] = word
    return settings.Features(flags=flags)


def _gc(data: Data) -> settings.GC:
    default = settings.GC()

    def or_disabled(key: str, fallback: V, parser: Callable[[str], V]) -> V | None:
        text = data.get(key, "").strip()
        return None if text.lower() == "disabled" else read.value(data, key, fallback, parser) if text else fallback

    def age(text: str) -> float:
        ns = duration_ns(text.strip())
        if ns < 0:
            raise ValueError("must be non-negative")
        return ns / 1e9

    def count(text: str) -> int:
        value = parse_go_int(text.strip())
        if value < 0:
            raise ValueError("must be non-negative")
        return value

    assert default.max_non_active_revisions is not None
    low = read.integer(data, "min-non-active-revisions", default.min_non_active_revisions)
    high = or_disabled("max-non-active-revisions", default.max_non_active_revisions, count)
    read.require(low >= 0, f"min-non-active-revisions must be non-negative, was: {low}")
    read.require(
        high is None or low <= high, f"min-non-active-revisions({low}) must be <= max-non-active-revisions({high})"
    )
    return settings.GC(
        retain_since_create_s=or_disabled("retain-since-create-time", default.retain_since_create_s or 0.0, age),
        retain_since_last_active_s=or_disabled(
            "retain-since-last-active-time", default.retain_since_last_active_s or 0.0, age
        ),
        min_non_active_revisions=low,
        max_non_active_revisions=high,
    )


def _domain(data: Data, default: str) -> settings.Domain:
    domains: dict[str, settings.Selector] = {}
    for name, text in data.items():
        read.require(_DOMAIN.fullmatch(name) is not None, f"invalid domain name {quoted(name)}")
        domains[name] = read.selector(read.mapping(text, name), name)
    if all(selector.labels for selector in domains.values()):
        domains[default] = settings.Selector()
    return settings.Domain(domains=domains)


def _observability(data: Data) -> settings.Observability:
    default, kind = settings.Observability(), settings.Observability
    rate = read.number(data, "tracing-sampling-rate", 0.0)
    read.require(0 <= rate <= 1, f"tracing-sampling-rate = {read.shown(rate)}, must be in [0, 1]")
    return settings.Observability(
        enable_var_log_collection=read.boolean(data, "logging.enable-var-log-collection", False),
        revision_url_template=read.text(data, "logging.revision-url-template", ""),
        request_log_template=read.text(data, "logging.request-log-template", ""),
        enable_request_log=read.boolean(data, "logging.enable-request-log", False),
        enable_probe_request_log=read.boolean(data, "logging.enable-probe-request-log", False),
        metrics_protocol=read.choice(data, "metrics-protocol", default.metrics_protocol, kind, "metrics_protocol"),
        metrics_endpoint=read.text(data, "metrics-endpoint", ""),
        metrics_export_interval_s=read.seconds(data, "metrics-export-interval", 60.0),
        request_metrics_protocol=read.choice(
            data, "request-metrics-protocol", default.request_metrics_protocol, kind, "request_metrics_protocol"
        ),
        request_metrics_endpoint=read.text(data, "request-metrics-endpoint", ""),
        request_metrics_export_interval_s=read.seconds(data, "request-metrics-export-interval", 60.0),
        tracing_protocol=read.choice(data, "tracing-protocol", default.tracing_protocol, kind, "tracing_protocol"),
        tracing_endpoint=read.text(data, "tracing-endpoint", ""),
        tracing_sampling_rate=rate,
        runtime_profiling=read.choice(data, "runtime-profiling", default.runtime_profiling, kind, "runtime_profiling"),
    )
