"""One container: the serving one, a sidecar, or an init container. Pure.

Path: validate_podspec.py → [validate_container] → validate_probes.py, validate_volumes.py.

Deviations:
- a container may have a `command` and no `image`: the process driver runs it as it is ("Containers without
  containers", design/architecture.md); with neither, `missing field(s)` names the image as Knative does;
- names must be DNS labels and environment variable names must not contain `=` (Kubernetes' own rules, which Knative
  leaves to it): here they become file names and process environments.

Source: spec/serving.md §5.3.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from controlplane.admission.fielderror import (
    FieldError,
    disallowed,
    invalid,
    missing,
    none_of,
    other,
    out_of_bounds,
    several_of,
    shown,
    under,
)
from controlplane.admission.fields import set_fields
from controlplane.admission.names import dns1123_label
from controlplane.admission.validate_probes import no_probe, probe, readiness_probe
from controlplane.admission.validate_volumes import volume_mounts
from controlplane.go_text import QUANTITY_HELP, parse_quantity
from controlplane.knative_settings import Features
from dataplane.resources.core import (
    Container,
    ContainerPort,
    EnvFromSource,
    EnvVar,
    ResourceRequirements,
    SecurityContext,
)
from dataplane.resources.volumes import Volume

Role = Literal["serving", "sidecar", "init"]
RESERVED_PORTS = frozenset({8012, 8013, 8022, 9090, 9091, 8008})
_RESERVED_ENV = frozenset({"PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"})
_DISALLOWED = ("lifecycle", "stdin", "stdin_once", "tty", "volume_devices")
_ID_MAX = 2**31 - 1
_INIT = "field not allowed in an init container"


def container(
    one: Container, role: Role, volumes: Mapping[str, Volume], port_name: str, features: Features
) -> Iterator[FieldError]:
    """Paths are relative to the container. `port_name`: of the pod's serving port."""
    yield from _probes(one, role, port_name, features)
    if one == Container():
        yield missing("")
        return
    if found := list(set_fields(one, _DISALLOWED)):
        yield disallowed(*found)
    if one.name == "queue-proxy":
        yield other(f'"{one.name}" is a reserved container name', "name")
    elif one.name and (wrong := dns1123_label(one.name)):
        yield invalid(one.name, "name", ", ".join(wrong))
    yield from under("env", _env(one.env, role, features))
    yield from under("envFrom", _env_from(one.env_from))
    if one.image:
        if not is_image_reference(one.image) and not _PROGRAM.fullmatch(one.image):
            yield other(
                "Failed to parse image reference",
                "image",
                details=f'image: "{shown(one.image)}", error: could not parse reference: {shown(one.image)}',
            )
    elif not one.command:
        yield missing("image")
    yield from under("ports", _ports(one.ports, role))
    yield from under("resources", _resources(one.resources))
    if one.security_context is not None:
        yield from under("securityContext", _security_context(one.security_context, features))
    if one.termination_message_policy not in ("", "File", "FallbackToLogsOnError"):
        yield invalid(one.termination_message_policy, "terminationMessagePolicy")
    yield from under("volumeMounts", volume_mounts(one.volume_mounts, volumes, features))


def _probes(one: Container, role: Role, port_name: str, features: Features) -> Iterator[FieldError]:
    probes = {"livenessProbe": one.liveness_probe, "startupProbe": one.startup_probe}
    readiness = one.readiness_probe
    if role == "init":
        for path, present in (*probes.items(), ("readinessProbe", readiness), ("lifecycle", one.lifecycle)):
            if present is not None:
                yield other(_INIT, path)
        return
    if role == "sidecar" and not features.enabled("multi-container-probing"):
        for path, wrong in (*probes.items(), ("readinessProbe", readiness)):
            if wrong is not None:
                yield from under(path, no_probe(wrong))
        return
    port = port_name if role == "serving" else None
    for path, present_probe in probes.items():
        if present_probe is not None:
            yield from under(path, probe(present_probe, port))
    if readiness is not None:
        yield from under("readinessProbe", readiness_probe(readiness, port))


def _env(env: tuple[EnvVar, ...], role: Role, features: Features) -> Iterator[FieldError]:
    reserved = _RESERVED_ENV if role == "serving" else _RESERVED_ENV - {"PORT"}
    for index, variable in enumerate(env):
        if not variable.name:
            yield missing(f"[{index}].name")
        elif variable.name in reserved:
            yield other(f'"{variable.name}" is a reserved environment variable', f"[{index}].name")
        elif "=" in variable.name or not variable.name.isprintable():
            details = "a valid environment variable name must consist only of printable characters other than '='"
            yield invalid(variable.name, f"[{index}].name", details)
        if "\0" in variable.value:
            yield other("an environment variable cannot contain a NUL byte", f"[{index}].value")
        source = variable.value_from
        if source is not None and not features.allowed("kubernetes.podspec-fieldref"):
            for wire in set_fields(source, ("field_ref", "resource_field_ref")):
                yield disallowed(f"[{index}].valueFrom.{wire}")


def _env_from(sources: tuple[EnvFromSource, ...]) -> Iterator[FieldError]:
    for index, source in enumerate(sources):
        both = f"[{index}].configMapRef", f"[{index}].secretRef"
        if source.config_map_ref is not None and source.secret_ref is not None:
            yield several_of(*both)
        elif source.config_map_ref is None and source.secret_ref is None:
            yield none_of(*both)


def _ports(ports: tuple[ContainerPort, ...], role: Role) -> Iterator[FieldError]:
    # More than one port is refused for the whole pod; here only what is wrong with the one that would serve.
    for index, port in enumerate(ports if role == "init" else ports[:1]):
        at, number = f"[{index}]", port.container_port
        if found := list(set_fields(port, ("host_ip", "host_port"))):
            yield disallowed(*(f"{at}.{name}" for name in found))
        if number in RESERVED_PORTS:
            details = f"{number} is a reserved port, please use a different value"
            yield invalid(f"{number} is a reserved port", f"{at}.containerPort", details)
        if not 0 <= number <= 65535:
            yield out_of_bounds(number, 0, 65535, f"{at}.containerPort")
        if role != "init" and port.protocol not in ("", "TCP"):
            yield invalid(port.protocol, f"{at}.protocol")
        if role != "init" and port.name not in ("", "http1", "h2c"):
            message = f"Port name {port.name:.100} is not allowed"
            yield other(message, at, details="Name must be empty, or one of: 'h2c', 'http1'")


def _resources(resources: ResourceRequirements) -> Iterator[FieldError]:
    for bound, quantities in (("requests", resources.requests), ("limits", resources.limits)):
        for name, quantity in quantities.items():
            try:
                if parse_quantity(quantity) < 0:
                    yield invalid(quantity, f"{bound}.{name}", "must be greater than or equal to 0")
            except ValueError:
                yield invalid(quantity, f"{bound}.{name}", QUANTITY_HELP)


def _security_context(context: SecurityContext, features: Features) -> Iterator[FieldError]:
    if context.privileged:
        yield disallowed("privileged")
    capabilities = context.capabilities
    if capabilities is not None and not features.enabled("kubernetes.containerspec-addcapabilities"):
        # With secure-pod-defaults, defaulting itself adds this one for ports below 1024.
        own = ("NET_BIND_SERVICE",) if features.allowed("secure-pod-defaults") else ()
        if any(capability not in own for capability in capabilities.add):
            yield disallowed("capabilities.add")
    for value, path in ((context.run_as_user, "runAsUser"), (context.run_as_group, "runAsGroup")):
        if value is not None and not 0 <= value <= _ID_MAX:
            yield out_of_bounds(value, 0, _ID_MAX, path)


_PROGRAM = re.compile(r"(demo|python)://[A-Za-z0-9_.:/-]{1,255}", re.ASCII)  # ours: the kubelet runs it, no image
_REPOSITORY = re.compile(r"[a-z0-9_./-]{2,255}", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)
_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def is_image_reference(text: str) -> bool:
    """`[registry/]repository[:tag][@sha256:…]`."""
    if len(text) > 1024:
        return False
    name, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        return False
    base, colon, tag = name.rpartition(":")
    if colon and "/" not in tag:
        if not _TAG.fullmatch(tag):
            return False
        name = base
    registry, slash, rest = name.partition("/")
    if slash and ("." in registry or ":" in registry or registry == "localhost"):
        if not _REGISTRY.fullmatch(registry):
            return False
        name = rest
    return _REPOSITORY.fullmatch(name) is not None
