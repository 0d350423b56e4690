"""Knative's Stat as protobuf, by hand: seven fields do not earn a library in every sidecar.

Path: report.py → [protobuf] → whoever scrapes :9090/metrics.

Proto3: a field that has its default value is not sent.

Source: spec/serving.md §9.9; protobuf.dev/programming-guides/encoding.
"""

import struct

_DOUBLE = struct.Struct("<d")
_VARINT_TYPE, _FIXED64_TYPE, _LENGTH_TYPE = 0, 1, 2


def encode_stat(
    *,
    pod_name: str,
    concurrency: float = 0.0,
    proxied_concurrency: float = 0.0,
    requests: float = 0.0,
    proxied_requests: float = 0.0,
    uptime_s: float = 0.0,
    timestamp_ms: int = 0,
) -> bytes:
    """One `Stat` message. Concurrencies are averages over the interval, requests are per second."""
    name = pod_name.encode()
    out = [_tag(1, _LENGTH_TYPE), _varint(len(name)), name] if name else []
    for number, value in enumerate((concurrency, proxied_concurrency, requests, proxied_requests, uptime_s), start=2):
        if value:
            out += (_tag(number, _FIXED64_TYPE), _DOUBLE.pack(value))
    if timestamp_ms:
        out += (_tag(7, _VARINT_TYPE), _varint(timestamp_ms))
    return b"".join(out)


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    assert value >= 0, "negative varints are not needed here"
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
