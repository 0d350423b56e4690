"""What the queue-proxy is told: the environment variables of Knative's own sidecar image, checked at once.

Path: environment of the container → [settings] → service.py.

The names are Knative's, so that a pod spec made for its image starts this one. All mistakes are reported together.
What belongs to TLS, HTTP/2 and Knative's observability configuration is accepted and has no effect yet.

Source: spec/serving.md §9.1, §9.14.
"""

import ipaddress
import math
from collections.abc import Mapping

import msgspec

from dataplane.errors import ConfigFault
from dataplane.telemetry.logs import Redacted
from queueproxy.checks import Check, parse_checks

PORT_MAX = 65535
CONCURRENCY_MAX = 1_000_000


class QueueProxySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds; 0 = no limit. A port of None is a listener that is off, 0 takes any free port."""

    user_port: int
    host: str = "127.0.0.1"
    port: int = 8012
    admin_port: int | None = 8022
    metrics_port: int | None = 9090
    concurrency: int = 0
    timeout_s: float = 0.0
    response_start_timeout_s: float = 0.0
    idle_timeout_s: float = 0.0
    readiness: tuple[Check, ...] = ()
    namespace: str = ""
    service: str = ""
    configuration: str = ""
    revision: str = ""
    pod: str = ""
    quiet_s: float = 30.0  # without a request, before a draining pod closes its door
    tunnels_s: float = 60.0  # how long a drain waits for WebSockets
    autoscaler_url: str = ""
    autoscaler_token: Redacted = Redacted("")


def read_settings(environ: Mapping[str, str]) -> QueueProxySettings:
    """Raises ConfigFault that lists every mistake: the variable, its value, what would be right."""
    env = _Env(environ)
    pod_ip = env.text("SERVING_POD_IP")
    user_port = env.port("USER_PORT", None)
    settings = QueueProxySettings(
        user_port=user_port,
        host=env.text("QUEUE_HOST") or _bind(pod_ip),
        port=env.port("QUEUE_SERVING_PORT", 8012, zero=True),
        admin_port=env.port("QUEUE_ADMIN_PORT", 8022, zero=True) or None,
        metrics_port=env.port("QUEUE_METRICS_PORT", 9090, zero=True) or None,
        concurrency=env.whole("CONTAINER_CONCURRENCY", 0, CONCURRENCY_MAX),
        timeout_s=env.seconds("REVISION_TIMEOUT_SECONDS", 0.0),
        response_start_timeout_s=env.seconds("REVISION_RESPONSE_START_TIMEOUT_SECONDS", 0.0),
        idle_timeout_s=env.seconds("REVISION_IDLE_TIMEOUT_SECONDS", 0.0),
        readiness=env.checks("SERVING_READINESS_PROBE", user_port),
        namespace=env.text("SERVING_NAMESPACE"),
        service=env.text("SERVING_SERVICE"),
        configuration=env.text("SERVING_CONFIGURATION"),
        revision=env.text("SERVING_REVISION"),
        pod=env.text("SERVING_POD"),
        quiet_s=env.seconds("DRAIN_QUIET_S", 30.0),
        autoscaler_url=env.url("AUTOSCALER_URL"),
        autoscaler_token=Redacted(env.text("AUTOSCALER_TOKEN")),
    )
    if settings.autoscaler_url:
        for name in ("SERVING_NAMESPACE", "SERVING_REVISION", "SERVING_POD"):
            if not env.text(name):
                env.fault(f"{name} is not set: with AUTOSCALER_URL, reports must say whose they are")
    if env.faults:
        raise ConfigFault("\n".join(env.faults))
    return settings


class _Env:
    """Reads and collects what is wrong; a wrong value reads as its default so that reading goes on."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.faults: list[str] = []

    def fault(self, text: str) -> None:
        self.faults.append(text)

    def text(self, name: str) -> str:
        value = self._environ.get(name, "").strip()
        if not value.isprintable() or not value.isascii():
            self.fault(f"{name}={value!r}: expected printable ASCII")
            return ""
        return value

    def port(self, name: str, default: int | None, *, zero: bool = False) -> int:
        text = self.text(name)
        if not text:
            if default is None:
                self.fault(f"{name} is not set: expected the port that the app listens on, for example 8080")
            return default or 0
        number = _digits(text)
        if number is None or number > PORT_MAX or (number == 0 and not zero):
            self.fault(f"{name}={text!r}: expected a port, {0 if zero else 1} to {PORT_MAX}")
            return default or 0
        return number

    def whole(self, name: str, default: int, most: int) -> int:
        text = self.text(name)
        number = _digits(text) if text else default
        if number is None or number > most:
            self.fault(f"{name}={text!r}: expected a whole number, 0 to {most}")
            return default
        return number

    def seconds(self, name: str, default: float) -> float:
        text = self.text(name)
        if not text:
            return default
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not math.isfinite(number) or number < 0:
            self.fault(f"{name}={text!r}: expected seconds, 0 or more, for example 300")
            return default
        return number

    def checks(self, name: str, user_port: int) -> tuple[Check, ...]:
        try:
            return parse_checks(self._environ.get(name, "").strip(), user_port)
        except ConfigFault as fault:
            self.fault(str(fault))
            return ()

    def url(self, name: str) -> str:
        """As runtime/reporting.py wants it: http(s)://host:port."""
        text = self.text(name)
        scheme, separator, rest = text.partition("://")
        wanted = {"ws": "http", "http": "http", "wss": "https", "https": "https"}.get(scheme.lower())
        if not text:
            return ""
        authority = rest.rstrip("/").removesuffix("/stats")
        if not separator or wanted is None or not authority or "/" in authority:
            self.fault(f"{name}={text!r}: expected ws://HOST:PORT of the autoscaler")
            return ""
        return f"{wanted}://{authority}"


def _bind(pod_ip: str) -> str:
    """A pod with an address of its own is reached from outside; pods on one machine share the loopback."""
    try:
        own = bool(pod_ip) and not ipaddress.ip_address(pod_ip).is_loopback
    except ValueError:
        return "127.0.0.1"
    if not own:
        return "127.0.0.1"
    return "::" if ":" in pod_ip else "0.0.0.0"


def _digits(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None
