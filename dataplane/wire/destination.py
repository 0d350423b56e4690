"""An absolute URL → where to connect, what Host to say, what to ask for.

Path: a Trigger's subscriber or dead-letter sink → [destination] → net/call.py.

`NAME.NS.svc.cluster.local` is known to no DNS on one machine: our own gateway serves it, and wakes what is at zero.
`*.localhost` is this machine whatever the resolver says (RFC 6761 §6.3).

Source: spec/eventing.md §9.1, §10.5; RFC 3986 §3; RFC 9112 §3.2.
"""

from typing import NamedTuple
from urllib.parse import quote, urlsplit

from dataplane.errors import ConfigFault

CLUSTER_LOCAL = ".svc.cluster.local"
_PORTS = {"http": 80, "https": 443}
_AS_IT_IS = "!#$%&'()*+,/:;=?@[]~"  # reserved characters and escapes of a URL that is a URL already


class Destination(NamedTuple):
    """url: as written. authority: the Host field. target: origin-form, query included."""

    url: str
    secure: bool
    host: str
    port: int
    authority: bytes
    target: bytes

    def origin(self, cluster_local: str = "") -> tuple[str, int]:
        """Where to connect. cluster_local: HOST:PORT of the gateway for cluster-local names; "" = by their name."""
        host = self.host
        if host == "localhost" or host.endswith(".localhost"):
            return "127.0.0.1", self.port
        if cluster_local and not self.secure and host.endswith(CLUSTER_LOCAL):
            gateway, _, port = cluster_local.rpartition(":")
            return gateway.strip("[]"), int(port)
        return host, self.port


def parse(url: str) -> Destination:
    """Raises ConfigFault: what is wrong with `url`."""
    if any(c <= " " or c == "\x7f" for c in url):
        raise ConfigFault(f"URL {url!r} holds a space or control character; escape it as %20")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("ascii" if url.isascii() else "idna").decode()
    except ValueError as error:
        raise ConfigFault(f"URL {url!r}: {error}") from None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not host:
        raise ConfigFault(f"URL {url!r} must be absolute: http://HOST[:PORT]/PATH or https://…")
    if parts.username is not None:
        raise ConfigFault(f"the URL of {host!r} holds a user name; credentials do not belong into a URL")
    shown = f"[{host}]" if ":" in host else host
    target = quote(parts.path or "/", safe=_AS_IT_IS)
    if parts.query:
        target += "?" + quote(parts.query, safe=_AS_IT_IS)
    return Destination(
        url=url,
        secure=scheme == "https",
        host=host.lower().removesuffix("."),
        port=port if port is not None else _PORTS[scheme],
        authority=(shown if port is None else f"{shown}:{port}").encode(),
        target=target.encode(),
    )
