"""Readiness, liveness and startup probes. Pure.

Path: validate_container.py → [validate_probes].

Source: spec/serving.md §5.3 (probe rows), §2.3 (a period of zero is Knative's own, aggressive probe).
"""

from collections.abc import Iterator

from controlplane.admission.fielderror import FieldError, disallowed, invalid, none_of, other, out_of_bounds, several_of
from controlplane.admission.fields import set_fields
from dataplane.resources.core import Probe
from dataplane.resources.volumes import IntOrString

_HANDLERS = {"exec": "exec", "grpc": "grpc", "http_get": "httpGet", "tcp_socket": "tcpSocket"}
_INT32_MAX = 2**31 - 1


def probe(one: Probe, port_name: str | None) -> Iterator[FieldError]:
    """Paths are relative to the probe.

    Args:
        port_name: of the serving container's port, which a named probe port must match; None = a sidecar, whose probe
            must say a port.
    """
    present = [wire for attribute, wire in _HANDLERS.items() if getattr(one, attribute) is not None]
    if one.http_get is not None:
        yield from _port(one.http_get.port, "httpGet.port", port_name)
    if one.tcp_socket is not None:
        yield from _port(one.tcp_socket.port, "tcpSocket.port", port_name)
    if not present:
        yield none_of("httpGet", "tcpSocket", "exec", "grpc")
    elif len(present) > 1:
        yield several_of(*present)


def _port(port: IntOrString, path: str, port_name: str | None) -> Iterator[FieldError]:
    if port_name is None:
        if port in ("", 0):
            yield invalid(port, path, "Probe port must be specified")
    elif isinstance(port, str) and port not in ("", port_name):
        yield invalid(port, path, "Probe port must match container port")
    if isinstance(port, int) and not 0 <= port <= 65535:
        yield out_of_bounds(port, 0, 65535, path)


def readiness_probe(one: Probe, port_name: str | None) -> Iterator[FieldError]:
    yield from probe(one, port_name)
    if one.period_seconds < 0:
        yield out_of_bounds(one.period_seconds, 0, _INT32_MAX, "periodSeconds")
    if one.initial_delay_seconds < 0:
        yield out_of_bounds(one.initial_delay_seconds, 0, _INT32_MAX, "initialDelaySeconds")
    if one.success_threshold < 1:
        yield out_of_bounds(one.success_threshold, 1, _INT32_MAX, "successThreshold")
    for value, path in ((one.timeout_seconds, "timeoutSeconds"), (one.failure_threshold, "failureThreshold")):
        if one.period_seconds == 0 and value != 0:
            yield other(f"{path} is disallowed when periodSeconds is zero", path)
        elif one.period_seconds != 0 and value < 1:
            yield out_of_bounds(value, 1, _INT32_MAX, path)


def no_probe(one: Probe) -> Iterator[FieldError]:
    """A sidecar's probe while multi-container-probing is off: every field that is set."""
    wires = set(_HANDLERS.values())
    paths = ["" if name in wires else name for name in set_fields(one)]
    if paths:
        yield disallowed(*paths)
