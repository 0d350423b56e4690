"""Who the client is and how it came: X-Forwarded-* and Forwarded lines for the next hop. Pure.

Source: RFC 7239 §4–6; spec/serving.md §6.8, §9.4, §12.11; reliability.md GW-12.
"""

from dataplane.wire.headers import Field

_FOR = int(Field.FORWARDED_FOR)
_PROTO = int(Field.FORWARDED_PROTO)
_HOST = int(Field.FORWARDED_HOST)
_FORWARDED = int(Field.FORWARDED)

_PLAIN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def first_hop(peer: bytes, host: bytes) -> bytes:
    """Lines for a request from an untrusted client: what it claimed is gone, the connection's facts stand."""
    return b"x-forwarded-for: %b\r\nx-forwarded-proto: http\r\nforwarded: for=%b;host=%b;proto=http\r\n" % (
        peer,
        _node(peer),
        _value(host),
    )


def next_hop(peer: bytes, host: bytes, seen: dict[int, bytes]) -> bytes:
    """Lines for a request that a trusted proxy, or one of our hops, forwarded: extended, not replaced."""
    before = seen.get(_FOR)
    proto = seen.get(_PROTO, b"http")
    lines = [
        b"x-forwarded-for: ",
        before + b", " + peer if before else peer,
        b"\r\nx-forwarded-proto: ",
        proto,
        b"\r\n",
    ]
    if _HOST in seen:
        lines += (b"x-forwarded-host: ", seen[_HOST], b"\r\n")
    forwarded = seen.get(_FORWARDED)
    if forwarded is not None:
        lines += (b"forwarded: ", forwarded, b"\r\n")
    elif before or _PROTO in seen or _HOST in seen:
        lines += (b"forwarded: ", synthesised(before or peer, proto, seen.get(_HOST, host)), b"\r\n")
    else:
        lines += (b"forwarded: for=", _node(peer), b";host=", _value(host), b";proto=", proto, b"\r\n")
    return b"".join(lines)


def synthesised(forwarded_for: bytes, proto: bytes, host: bytes) -> bytes:
    """`Forwarded` from X-Forwarded-*: `for=<first>;host=<h>;proto=<p>, for=<next>…`, less what is empty (spec §9.4)."""
    nodes = [node.strip() for node in forwarded_for.split(b",") if node.strip()]
    first = [b"for=" + _node(nodes[0])] if nodes else []
    if host:
        first.append(b"host=" + _value(host))
    if proto:
        first.append(b"proto=" + _value(proto))
    return b", ".join((b";".join(first), *(b"for=" + _node(n) for n in nodes[1:])))


def _node(address: bytes) -> bytes:
    """RFC 7239 §6: an IPv6 address is bracketed and quoted."""
    return b'"[%b]"' % address.strip(b"[]") if b":" in address else _value(address)


def _value(text: bytes) -> bytes:
    if text and _PLAIN.issuperset(text):
        return text
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
