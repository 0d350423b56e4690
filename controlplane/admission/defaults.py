"""What a write gets that its author did not say. Pure.

Path: admit.py → [defaults] → validate_*.py.

Defaulting a template twice changes nothing, so applying the same manifest again makes no new revision. Two rules
serve that beyond upstream: on an update an unset `enableServiceLinks` keeps what it was, and a named template that
equals the stored one after defaulting is taken as the stored one (upstream refuses it when the client did not merge).

Source: spec/serving.md §2.1 (traffic, named templates), §2.3 (defaulting order), §13.6 (secure-pod-defaults).
"""

import base64
from collections.abc import Iterable, Mapping

import msgspec

from controlplane.config_maps import CONTAINER_FIELDS, LABEL_MAPS
from controlplane.go_text import parse_template, render
from controlplane.knative_settings import Defaults, KnativeConfig
from dataplane.resources.core import (
    Capabilities,
    Container,
    PodSpec,
    Probe,
    ResourceRequirements,
    SeccompProfile,
    Secret,
    SecurityContext,
    TCPSocketAction,
)
from dataplane.resources.meta import ObjectMeta
from dataplane.resources.serving import RevisionSpec, RevisionTemplate, TrafficTarget
from dataplane.resources.volumes import IntOrString

replace = msgspec.structs.replace


def traffic(targets: tuple[TrafficTarget, ...], *, of_service: bool) -> tuple[TrafficTarget, ...]:
    """Latest unless a revision is named, 0 percent unless said; a Service without any: all to the latest."""
    if not targets and of_service:
        return (TrafficTarget(latest_revision=True, percent=100),)
    return tuple(
        replace(
            target,
            latest_revision=not target.revision_name if target.latest_revision is None else target.latest_revision,
            percent=target.percent or 0,
        )
        for target in targets
    )


def template(
    new: RevisionTemplate, old: RevisionTemplate | None, parent: ObjectMeta, config: KnativeConfig
) -> RevisionTemplate:
    """A template that keeps its explicit name is left as it is, so that a changed default never looks like an edit."""
    links = old.spec.enable_service_links if old else config.defaults.enable_service_links
    full = replace(new, spec=revision_spec(new.spec, parent, config, service_links=links))
    if old is not None and new.metadata.name and new.metadata.name == old.metadata.name:
        return old if full == old else new
    return full


def revision_spec(
    spec: RevisionSpec, parent: ObjectMeta, config: KnativeConfig, *, service_links: bool | None
) -> RevisionSpec:
    """`service_links`: what an unset enableServiceLinks becomes."""
    conf = config.defaults
    timeout = spec.timeout_seconds or conf.timeout_seconds
    containers = _named(spec.containers, spec, _name(conf.container_name_template, parent))
    init = _named(spec.init_containers, spec, _name(conf.init_container_name_template, parent))
    writable = {
        volume.name
        for volume in spec.volumes
        if not (volume.empty_dir is None and volume.persistent_volume_claim is None and volume.ephemeral is None)
    }
    serving_known = len(containers) == 1
    return replace(
        spec,
        timeout_seconds=timeout,
        idle_timeout_seconds=_shorter(spec.idle_timeout_seconds, conf.idle_timeout_seconds, timeout),
        response_start_timeout_seconds=_shorter(
            spec.response_start_timeout_seconds, conf.response_start_timeout_seconds, timeout
        ),
        container_concurrency=conf.container_concurrency
        if spec.container_concurrency is None
        else spec.container_concurrency,
        enable_service_links=service_links if spec.enable_service_links is None else spec.enable_service_links,
        containers=tuple(
            _secured(_container(one, writable, conf, serving=serving_known or bool(one.ports)), spec, config)
            for one in containers
        ),
        init_containers=tuple(_secured(_mounts(one, writable), spec, config) for one in init),
    )


def _shorter(value: int | None, default: int, timeout: int) -> int | None:
    """The default counts only where it is shorter than the whole request may take."""
    return default if value is None and 0 < default < timeout else value


def _name(template_text: str, parent: ObjectMeta) -> str:
    values: dict[str, str | Mapping[str, str]] = {
        "Name": parent.name,
        "Namespace": parent.namespace,
        "Labels": parent.labels,
        "Annotations": parent.annotations,
    }
    return render(parse_template(template_text, CONTAINER_FIELDS, LABEL_MAPS), values)


def _named(containers: tuple[Container, ...], spec: PodSpec, default: str) -> tuple[Container, ...]:
    taken = {one.name for one in (*spec.containers, *spec.init_containers)}
    suffix = 0
    out: list[Container] = []
    for one in containers:
        name = one.name or default
        if not one.name and (len(containers) > 1 or default in taken):
            while True:
                name = f"{default}-{suffix}"
                suffix += 1
                if name not in taken:
                    break
        out.append(one if one.name else replace(one, name=name))
    return tuple(out)


def _container(one: Container, writable: Iterable[str], conf: Defaults, *, serving: bool) -> Container:
    readiness = one.readiness_probe
    if serving:
        readiness = readiness or Probe()
        if not (readiness.tcp_socket or readiness.http_get or readiness.exec or readiness.grpc):
            readiness = replace(readiness, tcp_socket=TCPSocketAction())
    if readiness is not None:
        readiness = _readiness(readiness)
    return replace(
        _mounts(one, writable),
        resources=_resources(one.resources, conf),
        readiness_probe=_grpc(readiness),
        liveness_probe=_grpc(one.liveness_probe),
        startup_probe=_grpc(one.startup_probe),
    )


def _readiness(probe: Probe) -> Probe:
    """Period 0 is Knative's aggressive probe, which has no thresholds and timeouts of its own."""
    periodic = probe.period_seconds != 0
    return replace(
        probe,
        success_threshold=probe.success_threshold or 1,
        failure_threshold=probe.failure_threshold or (3 if periodic else 0),
        timeout_seconds=probe.timeout_seconds or (1 if periodic else 0),
    )


def _grpc(probe: Probe | None) -> Probe | None:
    if probe is None or probe.grpc is None or probe.grpc.service is not None:
        return probe
    return replace(probe, grpc=replace(probe.grpc, service=""))


def _resources(resources: ResourceRequirements, conf: Defaults) -> ResourceRequirements:
    requests: dict[str, IntOrString | float] = {
        "cpu": conf.cpu_request,
        "memory": conf.memory_request,
        "ephemeral-storage": conf.ephemeral_storage_request,
    }
    limits: dict[str, IntOrString | float] = {
        "cpu": conf.cpu_limit,
        "memory": conf.memory_limit,
        "ephemeral-storage": conf.ephemeral_storage_limit,
    }
    return ResourceRequirements(
        requests={**{key: value for key, value in requests.items() if value}, **resources.requests},
        limits={**{key: value for key, value in limits.items() if value}, **resources.limits},
    )


def _mounts(one: Container, writable: Iterable[str]) -> Container:
    """Only scratch space can be written to."""
    mounts = tuple(mount if mount.name in writable else replace(mount, read_only=True) for mount in one.volume_mounts)
    return replace(one, volume_mounts=mounts)


def _secured(one: Container, spec: PodSpec, config: KnativeConfig) -> Container:
    """secure-pod-defaults: the `restricted` profile, for what nobody has set."""
    if not config.features.allowed("secure-pod-defaults"):
        return one
    pod = spec.security_context or {}
    context = one.security_context or SecurityContext()
    profile = pod.get("seccompProfile")
    if not (isinstance(profile, dict) and profile.get("type")) and not (
        context.seccomp_profile and context.seccomp_profile.type
    ):
        seccomp = replace(context.seccomp_profile or SeccompProfile(), type="RuntimeDefault")
        context = replace(context, seccomp_profile=seccomp)
    if context.allow_privilege_escalation is None:
        context = replace(context, allow_privilege_escalation=False)
    if context.capabilities is None:
        low_port = any(port.container_port < 1024 for port in one.ports)
        own = Capabilities(drop=("ALL",), add=("NET_BIND_SERVICE",) if low_port else ())
        context = replace(context, capabilities=own)
    if config.features.enabled("secure-pod-defaults") and pod.get("runAsNonRoot") is None:
        context = replace(context, run_as_non_root=True if context.run_as_non_root is None else context.run_as_non_root)
    return replace(one, security_context=context)


def secret(one: Secret) -> Secret:
    """`stringData` goes into `data`, and wins."""
    if not one.string_data:
        return one
    encoded = {
        key: base64.b64encode(text.encode("utf-8", "surrogatepass")).decode() for key, text in one.string_data.items()
    }
    return replace(one, data={**one.data, **encoded}, string_data={})
