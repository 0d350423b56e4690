"""What each header field means to a hop: passed on, dropped, or looked at.

Path: wire/http1_request.py and http1_response.py ask for every field that they have not seen before, so the answer is
one dictionary look-up by the name as it came off the wire; names not seen before are learned (bounded).

Source: RFC 9110 §5.1 (tokens), §7.6.1 (Connection); RFC 9112 §6; reliability.md GW-03, GW-09, GW-11, GW-12.
"""

import enum
from typing import Any

from dataplane.errors import BadRequest

Headers = list[tuple[bytes, bytes]]

HEAD_BYTES_MAX = 32 * 1024  # Envoy 60 KiB, nginx 4 × 8 KiB
FIELD_BYTES_MAX = 16 * 1024
FIELDS_MAX = 100
EVENT_HEAD_BYTES_MAX = 72 * 1024  # an event of 64 KiB that is all attributes must be taken (spec/eventing.md §1.6)
EVENT_FIELDS_MAX = 512
NAMES_MAX = 4096  # learned names per table; beyond it a name is judged anew each time
NAME_BYTES_MAX = 128  # of a learned name: NAMES_MAX of 30 KiB each would be memory that a client holds for good
HOST_BYTES_MAX = 262  # a DNS name of 253, its final dot, a port; and some

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Field(enum.IntEnum):
    """What to do with a field. PASS is 0 so that the common case is one falsy test."""

    PASS = 0
    DROP = 1
    HOST = 2
    CONTENT_LENGTH = 3
    TRANSFER_ENCODING = 4
    CONNECTION = 5
    UPGRADE = 6
    EXPECT = 7
    FORWARDED_FOR = 8
    FORWARDED_PROTO = 9
    FORWARDED_HOST = 10
    FORWARDED = 11
    TAG = 12
    NETWORK_PROBE = 13
    NETWORK_HASH = 14
    REVISION = 15
    NAMESPACE = 16
    ORIGINAL_HOST = 17
    PROXY_REQUEST = 18
    KUBELET_PROBE = 19
    USER_AGENT = 20  # looked at and passed on
    REQUEST_ID = 21


HOP_BY_HOP = (b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer")

_FRAMING: dict[bytes, Field] = {
    b"host": Field.HOST,
    b"content-length": Field.CONTENT_LENGTH,
    b"transfer-encoding": Field.TRANSFER_ENCODING,
    b"connection": Field.CONNECTION,
    b"upgrade": Field.UPGRADE,
    b"expect": Field.EXPECT,
    **dict.fromkeys(HOP_BY_HOP, Field.DROP),
}

_FORWARDING: dict[bytes, Field] = {
    b"x-forwarded-for": Field.FORWARDED_FOR,
    b"x-forwarded-proto": Field.FORWARDED_PROTO,
    b"x-forwarded-host": Field.FORWARDED_HOST,
    b"forwarded": Field.FORWARDED,
}

_KNATIVE: dict[bytes, Field] = {
    b"k-network-probe": Field.NETWORK_PROBE,
    b"k-network-hash": Field.NETWORK_HASH,
    b"knative-serving-revision": Field.REVISION,
    b"knative-serving-namespace": Field.NAMESPACE,
}

# Naming one of these in Connection would make us strip what the next hop's framing or trust depends on (GW-11).
NEVER_NOMINATED = frozenset(
    (
        b"host", b"content-length", b"transfer-encoding", b"authorization", b"traceparent", b"tracestate", b"forwarded",
        b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host",
    )
)  # fmt: skip
NEVER_NOMINATED_PREFIXES = (b"k-", b"ce-", b"knative-serving-", b"x-forwarded-")


OURS = (b"k-", b"knative-serving-")  # what begins so is never passed on from a client


class FieldTable:
    """Field by name for one kind of peer. `strict` refuses `_` in names (they alias `-` names in CGI-like servers)."""

    __slots__ = (
        "_known",
        "_prefixes",
        "_strict",
        "actions",
        "field_bytes_max",
        "fields_max",
        "head_bytes_max",
        "heads",
        "trusted",
    )

    def __init__(
        self, known: dict[bytes, Field], *, drop_prefixes: tuple[bytes, ...] = (), strict: bool = True
    ) -> None:
        self._known = known
        self._prefixes = drop_prefixes
        self._strict = strict
        self.actions: dict[bytes, int] = {}
        # Our own hops add a few fields each; what the first hop accepted must not be refused by the second.
        self.fields_max = FIELDS_MAX if strict else FIELDS_MAX + 28
        self.head_bytes_max = HEAD_BYTES_MAX if strict else HEAD_BYTES_MAX + 8 * 1024
        self.field_bytes_max = FIELD_BYTES_MAX
        self.heads: dict[bytes, Any] = {}  # kept by the readers of this table (http1_response.py)
        self.trusted = Field.FORWARDED_FOR in known.values()  # forwarding headers of this peer are believed

    def learn(self, name: bytes) -> int:
        """The action for a name that `actions` does not hold. Raises BadRequest for one that must not be sent on."""
        if not _TOKEN.issuperset(name) or not name:
            raise BadRequest("header_name")
        lower = name.lower()
        if self._strict and b"_" in lower:
            raise BadRequest("underscore")
        action = self._known.get(lower)
        if action is None:
            action = Field.DROP if self._prefixes and lower.startswith(self._prefixes) else Field.PASS
        if len(self.actions) < NAMES_MAX and len(name) <= NAME_BYTES_MAX:
            self.actions[name] = int(action)
        return int(action)


def from_outside() -> FieldTable:
    """An untrusted client: forwarding and K-* headers are replaced or removed (GW-12, spec §15.9)."""
    known = {
        **_FRAMING,
        **dict.fromkeys(_FORWARDING, Field.DROP),
        b"x-real-ip": Field.DROP,
        b"x-request-id": Field.DROP,
        b"knative-serving-tag": Field.TAG,
        b"k-network-probe": Field.NETWORK_PROBE,
        b"k-network-hash": Field.NETWORK_HASH,
    }
    return FieldTable(known, drop_prefixes=OURS)


def from_proxy() -> FieldTable:
    """A trusted proxy before us: its forwarding headers are extended, K-* still removed."""
    known = {
        **_FRAMING,
        **_FORWARDING,
        b"knative-serving-tag": Field.TAG,
        b"k-network-probe": Field.NETWORK_PROBE,
        b"k-network-hash": Field.NETWORK_HASH,
    }
    return FieldTable(known, drop_prefixes=OURS)


def from_hop() -> FieldTable:
    """One of our hops before us (activator and queue-proxy)."""
    known = {
        **_FRAMING,
        **_FORWARDING,
        **_KNATIVE,
        b"k-original-host": Field.ORIGINAL_HOST,
        b"k-proxy-request": Field.PROXY_REQUEST,
        b"k-kubelet-probe": Field.KUBELET_PROBE,
        b"user-agent": Field.USER_AGENT,
    }
    return FieldTable(known, strict=False)


def from_producer() -> FieldTable:
    """Who sends events to a broker, and probes of it: each attribute of an event may be a field."""
    known = {
        **_FRAMING,
        b"k-network-probe": Field.NETWORK_PROBE,
        b"k-network-hash": Field.NETWORK_HASH,
        b"k-kubelet-probe": Field.KUBELET_PROBE,
        b"user-agent": Field.USER_AGENT,
    }
    table = FieldTable(known, strict=False)
    table.head_bytes_max = table.field_bytes_max = EVENT_HEAD_BYTES_MAX
    table.fields_max = EVENT_FIELDS_MAX
    return table


def from_upstream() -> FieldTable:
    """A pod's or a hop's response."""
    known = {
        b"content-length": Field.CONTENT_LENGTH,
        b"transfer-encoding": Field.TRANSFER_ENCODING,
        b"connection": Field.CONNECTION,
        b"upgrade": Field.UPGRADE,
        **dict.fromkeys((b"keep-alive", b"proxy-connection", b"te", b"trailer"), Field.DROP),
    }
    return FieldTable(known, strict=False)


def is_token(name: bytes) -> bool:
    """RFC 9110 §5.6.2."""
    return bool(name) and _TOKEN.issuperset(name)


_HOST = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~!$&'()*+,;=%:[]")
_HOST_REFUSED = frozenset(b",;=!$&'()*+")  # legal in a reg-name, never in a host we route; a list is GW-06


_hosts: dict[bytes, bytes] = {}  # as received → normal; the same few hosts come again and again


def normal_host(value: bytes) -> bytes:
    """Host without port, lower case, no trailing dot; for routing. Raises BadRequest("host") when malformed (GW-06)."""
    known = _hosts.get(value)
    if known is None:
        known = _normal_host(value)
        if len(_hosts) < NAMES_MAX:
            _hosts[value] = known
    return known


def _normal_host(value: bytes) -> bytes:
    if not value or len(value) > HOST_BYTES_MAX or not _HOST.issuperset(value) or not _HOST_REFUSED.isdisjoint(value):
        raise BadRequest("host")
    if value[0] == 0x5B:  # [ipv6]
        close = value.find(b"]")
        rest = value[close + 1 :]
        if close < 0 or (rest and (rest[:1] != b":" or not (rest[1:].isdigit() or rest == b":"))):
            raise BadRequest("host")
        return value[: close + 1].lower()
    name, colon, port = value.partition(b":")
    if colon and port and (not port.isdigit() or len(port) > 5 or int(port) > 65535):
        raise BadRequest("host")
    if not name or b"[" in name or b"]" in name:
        raise BadRequest("host")
    return name.lower().removesuffix(b".")
