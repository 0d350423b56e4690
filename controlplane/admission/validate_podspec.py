"""A revision's spec: the pod, its containers and volumes, and Knative's own limits beside them. Pure.

Path: validate_serving.py → [validate_podspec] → validate_container.py, validate_volumes.py.

Source: spec/serving.md §5.3.
"""

from collections.abc import Iterator, Mapping

from controlplane.admission.fielderror import (
    FieldError,
    as_warnings,
    disallowed,
    invalid,
    missing,
    other,
    out_of_bounds,
    under,
)
from controlplane.admission.fields import set_fields
from controlplane.admission.names import dns1123_subdomain
from controlplane.admission.validate_container import Role, container
from controlplane.admission.validate_volumes import volumes
from controlplane.knative_settings import Features, KnativeConfig
from dataplane.resources.core import Container, PodSpec, SecurityContext
from dataplane.resources.serving import RevisionSpec

_NEVER = (
    "restart_policy", "termination_grace_period_seconds", "active_deadline_seconds", "node_name", "hostname",
    "subdomain", "priority", "readiness_gates",
)  # fmt: skip
_FLAGGED = {
    "affinity": "kubernetes.podspec-affinity",
    "topology_spread_constraints": "kubernetes.podspec-topologyspreadconstraints",
    "host_aliases": "kubernetes.podspec-hostaliases",
    "node_selector": "kubernetes.podspec-nodeselector",
    "runtime_class_name": "kubernetes.podspec-runtimeclassname",
    "tolerations": "kubernetes.podspec-tolerations",
    "security_context": "kubernetes.podspec-securitycontext",
    "share_process_namespace": "kubernetes.podspec-shareprocessnamespace",
    "priority_class_name": "kubernetes.podspec-priorityclassname",
    "scheduler_name": "kubernetes.podspec-schedulername",
    "init_containers": "kubernetes.podspec-init-containers",
    "dns_policy": "kubernetes.podspec-dnspolicy",
    "dns_config": "kubernetes.podspec-dnsconfig",
    "host_ipc": "kubernetes.podspec-hostipc",
    "host_pid": "kubernetes.podspec-hostpid",
    "host_network": "kubernetes.podspec-hostnetwork",
}
_POD_CONTEXT = frozenset({"runAsUser", "runAsGroup", "runAsNonRoot", "fsGroup", "supplementalGroups", "seccompProfile"})
_ID_MAX = 2**31 - 1


def revision_spec(spec: RevisionSpec, config: KnativeConfig) -> Iterator[FieldError]:
    """Paths are relative to the spec. Defaulted before; None = nothing to check."""
    yield from pod_spec(spec, config.features)
    timeout, timeout_max = spec.timeout_seconds, config.defaults.max_timeout_seconds
    if timeout is not None and not 0 <= timeout <= timeout_max:
        yield out_of_bounds(timeout, 0, timeout_max, "timeoutSeconds")
    concurrency, limit = spec.container_concurrency, config.defaults.container_concurrency_max
    low = 0 if config.defaults.allow_container_concurrency_zero else 1
    if concurrency is not None and not low <= concurrency <= limit:
        yield out_of_bounds(concurrency, low, limit, "containerConcurrency")


def pod_spec(spec: PodSpec, features: Features) -> Iterator[FieldError]:
    off = [attribute for attribute, flag in _FLAGGED.items() if not features.allowed(flag)]
    if "security_context" in off and features.allowed("secure-pod-defaults"):
        off.remove("security_context")
    if found := list(set_fields(spec, (*_NEVER, *off))):
        yield disallowed(*found)
    if spec.automount_service_account_token:
        yield disallowed("automountServiceAccountToken")
    if spec.security_context is not None:
        yield from under("securityContext", _pod_security_context(spec.security_context))
    groups = (("containers", spec.containers), ("initContainers", spec.init_containers))
    if not features.allowed("secure-pod-defaults"):
        for group, members in groups:
            for index, one in enumerate(members):
                found_warnings = _insecure_defaults(spec.security_context or {}, one.security_context)
                yield from under(f"{group}[{index}].securityContext", as_warnings(found_warnings))
    mounted = {mount.name for _, members in groups for one in members for mount in one.volume_mounts}
    yield from under("volumes", volumes(spec.volumes, mounted, features))
    yield from _containers(spec, features)
    if spec.service_account_name and (wrong := dns1123_subdomain(spec.service_account_name)):
        yield invalid(spec.service_account_name, "serviceAccountName", ", ".join(wrong))


def _containers(spec: PodSpec, features: Features) -> Iterator[FieldError]:
    containers = spec.containers
    by_name = {volume.name: volume for volume in spec.volumes}
    ports = [port for one in containers for port in one.ports]
    port_name = (ports[-1].name if ports else "") or "http"
    if not ports and len(containers) > 1:
        yield missing("containers[*].ports")
    elif len(ports) > 1:
        details = "Only a single port is allowed across all containers"
        yield other("more than one container port is set", "containers[*].ports", details=details)
    if not containers:
        yield missing("containers")
    elif len(containers) > 1 and not features.enabled("multi-container"):
        yield other(f"multi-container is off, but found {len(containers)} containers", "containers")
    else:
        seen: set[str] = set()
        for index, one in enumerate(containers):
            role: Role = "serving" if len(containers) == 1 or one.ports else "sidecar"
            yield from _duplicate(one, seen, f"containers[{index}].name")
            yield from under(f"containers[{index}]", container(one, role, by_name, port_name, features))
    if spec.init_containers and not features.enabled("kubernetes.podspec-init-containers"):
        count = len(spec.init_containers)
        message = f"pod spec support for init-containers is off, but found {count} init containers"
        yield other(message, "initContainers")
        return
    names = {one.name for one in containers}
    for index, one in enumerate(spec.init_containers):
        yield from _duplicate(one, names, f"initContainers[{index}].name")
        yield from under(f"initContainers[{index}]", container(one, "init", by_name, port_name, features))


def _duplicate(one: Container, seen: set[str], path: str) -> Iterator[FieldError]:
    if one.name in seen:
        yield other(f'duplicate container name "{one.name:.100}"', path)
    seen.add(one.name)


def _pod_security_context(context: Mapping[str, object]) -> Iterator[FieldError]:
    if unknown := sorted(context.keys() - _POD_CONTEXT):
        yield disallowed(*unknown)
    groups = context.get("supplementalGroups")
    numbers = [(context.get(name), name) for name in ("runAsUser", "runAsGroup", "fsGroup")]
    if isinstance(groups, list | tuple):
        numbers += [(group, f"supplementalGroups[{index}]") for index, group in enumerate(groups)]
    for number, path in numbers:
        if number is not None and not (isinstance(number, int) and 0 <= number <= _ID_MAX):
            yield out_of_bounds(number, 0, _ID_MAX, path)


def _insecure_defaults(pod: Mapping[str, object], context: SecurityContext | None) -> Iterator[FieldError]:
    """What Kubernetes leaves open when nobody says otherwise. Not fatal."""
    context = context or SecurityContext()
    profile = pod.get("seccompProfile")
    paths: list[str] = []
    if pod.get("runAsNonRoot") is None and context.run_as_non_root is None:
        paths.append("runAsNonRoot")
    if context.allow_privilege_escalation is None:
        paths.append("allowPrivilegeEscalation")
    if context.seccomp_profile is None and profile is None:
        paths.append("seccompProfile")
    elif not (context.seccomp_profile and context.seccomp_profile.type) and not (
        isinstance(profile, Mapping) and profile.get("type")
    ):
        paths.append("seccompProfile.type")
    if context.capabilities is None:
        paths.append("capabilities")
    elif not context.capabilities.drop:
        paths.append("capabilities.drop")
    elif context.capabilities.drop[0] == "all":
        yield invalid("all", "capabilities.drop", "Must be spelled as 'ALL'")
    if paths:
        message = "Kubernetes default value is insecure, Knative may default this to secure in a future release"
        yield other(message, *paths)
