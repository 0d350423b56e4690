"""What "the app is ready" means: Kubernetes' readiness probes as plain values. Pure.

Path: SERVING_READINESS_PROBE → [checks] → probe.py.

Source: spec/serving.md §9.8, §2.3 (the default: a TCP connect, aggressively).
"""

from typing import Literal

import msgspec

from dataplane.errors import ConfigFault
from dataplane.wire.headers import is_token

TRY_S = 0.1  # an aggressive try
CHECKS_MAX = 16
USER_AGENT = b"kube-probe/1/33"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One probe. aggressive: tried again and again until it passes `successes` times in a row; else one try decides.

    kind "unsupported" never passes; `why` says so.
    """

    kind: Literal["http", "tcp", "unsupported"] = "tcp"
    host: str = "127.0.0.1"
    port: int
    tls: bool = False
    target: bytes = b"/"
    headers: bytes = b""  # whole lines, Host included
    aggressive: bool = True
    timeout_s: float = TRY_S
    successes: int = 1
    why: str = ""


class _Wire(msgspec.Struct, frozen=True, rename="camel"):
    """Base: as Kubernetes writes it. Unknown fields are those of later versions and are passed over."""


class _Header(_Wire, frozen=True):
    name: str = ""
    value: str = ""


class _HttpGet(_Wire, frozen=True):
    path: str = ""
    port: int | str = 0
    host: str = ""
    scheme: str = ""
    http_headers: tuple[_Header, ...] = ()


class _TcpSocket(_Wire, frozen=True):
    port: int | str = 0
    host: str = ""


class _Probe(_Wire, frozen=True):
    http_get: _HttpGet | None = None
    tcp_socket: _TcpSocket | None = None
    grpc: dict[str, object] | None = None
    timeout_seconds: int = 0
    period_seconds: int = 0
    success_threshold: int = 0


_LIST = msgspec.json.Decoder(tuple[_Probe, ...])
_SINGLE = msgspec.json.Decoder(_Probe)


def parse_checks(text: str, user_port: int) -> tuple[Check, ...]:
    """One probe or a list of them, as JSON; nothing: the default one. Raises ConfigFault.

    A port that is not given, or has a name, is the app's. `exec` cannot be run from here and becomes a TCP connect,
    as with Knative.
    """
    if not text:
        return (Check(port=user_port),)
    try:
        probes = _LIST.decode(text) if text.lstrip()[:1] == "[" else (_SINGLE.decode(text),)
        if len(probes) > CHECKS_MAX:
            raise ValueError(f"{len(probes)} probes, at most {CHECKS_MAX}")
        return tuple(_check(probe, user_port) for probe in probes)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigFault(f"SERVING_READINESS_PROBE: {error}") from None


def _check(probe: _Probe, user_port: int) -> Check:
    aggressive = probe.period_seconds == 0
    timeout_s = TRY_S if aggressive else float(max(1, probe.timeout_seconds))
    successes = max(1, probe.success_threshold)
    if probe.grpc is not None:
        return Check(kind="unsupported", port=user_port, why="grpc readiness probes are not supported yet")
    http = probe.http_get
    if http is None:
        tcp = probe.tcp_socket or _TcpSocket()
        return Check(
            host=tcp.host or "127.0.0.1",
            port=_port(tcp.port, user_port),
            aggressive=aggressive,
            timeout_s=timeout_s,
            successes=successes,
        )
    if http.scheme.upper() not in ("", "HTTP", "HTTPS"):
        raise ValueError(f"scheme {http.scheme!r}: expected HTTP or HTTPS")
    host, port = http.host or "127.0.0.1", _port(http.port, user_port)
    return Check(
        kind="http",
        host=host,
        port=port,
        tls=http.scheme.upper() == "HTTPS",
        target=_target(http.path),
        headers=_lines(http.http_headers, host, port),
        aggressive=aggressive,
        timeout_s=timeout_s,
        successes=successes,
    )


def _port(port: int | str, user_port: int) -> int:
    number = int(port) if not isinstance(port, str) or (port.isascii() and port.isdigit()) else user_port
    if not 0 <= number <= 65535:
        raise ValueError(f"port {port!r}: expected 1 to 65535")
    return number or user_port


def _target(path: str) -> bytes:
    target = path if path.startswith("/") else "/" + path
    if not target.isascii() or not target.isprintable() or " " in target:
        raise ValueError(f"path {path!r}: expected printable ASCII without spaces")
    return target.encode()


def _lines(headers: tuple[_Header, ...], host: str, port: int) -> bytes:
    """The user's fields first; what every probe has, unless the user said otherwise."""
    out: list[bytes] = []
    names = set()
    for header in headers:
        name, value = header.name.encode(), header.value.encode()
        if not is_token(name) or b"\r" in value or b"\n" in value or b"\0" in value:
            raise ValueError(f"header {header.name!r} cannot be sent")
        names.add(name.lower())
        out.append(b"%b: %b\r\n" % (name, value))
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    for name, value in ((b"host", shown.encode()), (b"user-agent", USER_AGENT), (b"accept", b"*/*")):
        if name not in names:
            out.insert(0, b"%b: %b\r\n" % (name, value))
    return b"".join(out)
