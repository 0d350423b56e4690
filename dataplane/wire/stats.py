"""Concurrency reports to the autoscaler: one compact frame for many revisions.

Path: activator/report.py, gateway, queueproxy/report.py → [frame] → autoscaler/collect.py.

A frame is MessagePack (arrays, no field names); Knative's protobuf Stat carries the same fields.

Source: spec/serving.md §9.9; fault AS-04 (hostile numbers).
"""

import math

import msgspec

FRAME_BYTES_MAX = 64 * 1024
STATS_PER_FRAME_MAX = 500


class Stat(msgspec.Struct, frozen=True, array_like=True):
    """One reporter's view of one revision over its last interval.

    concurrency: time-weighted average; requests: per second. proxied_*: the part that an activator has already counted.
    reporter: who speaks (pod, gateway or activator identity). poke: first request at zero, act at once.
    """

    revision: str  # namespace/name
    reporter: str
    concurrency: float
    requests: float
    proxied_concurrency: float = 0.0
    proxied_requests: float = 0.0
    poke: bool = False


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[Stat])
_LIMIT = 1e7  # no pod runs ten million requests at once: a number beyond it is a fault, not a load


def encode(stats: list[Stat]) -> bytes:
    """One frame. The caller splits lists longer than STATS_PER_FRAME_MAX."""
    return _ENCODER.encode(stats)


def decode(frame: bytes) -> list[Stat]:
    """Raises ValueError: too large, malformed, or a number that no pod can report (NaN, negative, giant)."""
    if len(frame) > FRAME_BYTES_MAX:
        raise ValueError(f"stats frame of {len(frame)} bytes, at most {FRAME_BYTES_MAX}")
    try:
        stats = _DECODER.decode(frame)
    except msgspec.MsgspecError as error:
        raise ValueError(f"malformed stats frame: {error}") from None
    for stat in stats:
        for value in (stat.concurrency, stat.requests, stat.proxied_concurrency, stat.proxied_requests):
            if not math.isfinite(value) or not 0 <= value <= _LIMIT:
                raise ValueError(f"stat of {stat.reporter!r} for {stat.revision!r} holds {value!r}")
    return stats
