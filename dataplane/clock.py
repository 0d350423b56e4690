"""Time as a value: the one place that reads a clock.

Deadlines and windows use `monotonic` (immune to wall-clock jumps: reliability.md AS-03); timestamps that people read
use `wall`. On an event loop, `loop.time()` is the monotonic clock and is what the hops pass around.
"""

import datetime
import time
from collections.abc import Callable
from typing import NamedTuple


class Clock(NamedTuple):
    """Two functions, both returning seconds."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]


SYSTEM = Clock(monotonic=time.monotonic, wall=time.time)


def rfc3339(wall_s: float) -> str:
    """Kubernetes' timestamp: UTC, whole seconds, `2026-11-22T10:00:00Z`."""
    return datetime.datetime.fromtimestamp(int(wall_s), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(wall_s: float) -> str:
    """Kubernetes' MicroTime: UTC with six decimals."""
    return datetime.datetime.fromtimestamp(wall_s, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> float:
    """Seconds since the epoch. Raises ValueError on anything that is not RFC 3339 with a zone."""
    parsed = datetime.datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return parsed.timestamp()
