"""What annotations and delivery specs say, as numbers, or what is wrong with them. Pure.

Path: admission/validate_eventing.py (mistakes) and compile_eventing.py (values) → [delivery] → iso8601.py.

The annotations are ours; `kafka.eventing.knative.dev/delivery.order` is Knative's name for the first. Of two spellings
the first that is there wins.

Source: spec/eventing.md §9.5–9.7, §10, §11.1, §11.5, §11.7, §29.4; docs/triggers.md.
"""

import re
from collections.abc import Mapping
from typing import Literal, cast

from controlplane.iso8601 import duration_s
from dataplane.clock import parse_rfc3339
from dataplane.resources.eventing import DeliverySpec
from dataplane.resources.triggers import DeliveryPolicy

PREFIX = "delivery.dataplane.dev/"  # ours: what is not among READERS is a mistake
ORDER = ("delivery.dataplane.dev/order", "kafka.eventing.knative.dev/delivery.order")
MAX_IN_FLIGHT = "delivery.dataplane.dev/max-in-flight"
RATE_LIMIT = "delivery.dataplane.dev/rate-limit"
START = "delivery.dataplane.dev/start"
PAUSED = "delivery.dataplane.dev/paused"
MAX_BACKOFF = "delivery.dataplane.dev/max-backoff"

IN_FLIGHT_MAX = 10_000
RATE_MAX = 1_000_000.0
_POSITION_CHARS_MAX = 256
# As any of the stores writes one: 42 (memory, SQLite), 1764225224123-0@2 (Redis), 0:17,1:4 (Kafka).
_POSITION = re.compile(r"\d+(-\d+)?(@\d+)?|\d+:\d+( *, *\d+:\d+)*", re.ASCII)


def ordered(annotations: Mapping[str, str]) -> bool:
    """Raises ValueError, as all of these do: what would be right."""
    for key in ORDER:
        if key in annotations:
            if annotations[key] not in ("ordered", "unordered"):
                raise ValueError("ordered or unordered")
            return annotations[key] == "ordered"
    return False


def max_in_flight(annotations: Mapping[str, str]) -> int:
    """0 = the default of the process."""
    text = annotations.get(MAX_IN_FLIGHT)
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or not 1 <= int(text) <= IN_FLIGHT_MAX:
        raise ValueError(f"a whole number of requests from 1 to {IN_FLIGHT_MAX}")
    return int(text)


def rate_per_s(annotations: Mapping[str, str]) -> float:
    """0 = no limit."""
    text = annotations.get(RATE_LIMIT)
    if text is None:
        return 0.0
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 < rate <= RATE_MAX:
        raise ValueError(f"events per second, more than 0 and at most {RATE_MAX:.0f}")
    return rate


def start(annotations: Mapping[str, str]) -> str:
    """`latest`, `earliest`, an RFC 3339 time or a position of the log."""
    text = annotations.get(START, "latest")
    if text[:4].isdigit() and text[4:5] == "-" and "T" in text:
        try:
            parse_rfc3339(text)
        except ValueError:
            raise ValueError("a time looks like 2026-01-31T12:00:00Z") from None
    elif text not in ("latest", "earliest") and (len(text) > _POSITION_CHARS_MAX or _POSITION.fullmatch(text) is None):
        raise ValueError("latest, earliest, a time like 2026-01-31T12:00:00Z, or a position of the log")
    return text


def paused(annotations: Mapping[str, str]) -> bool:
    text = annotations.get(PAUSED, "false")
    if text not in ("true", "false"):
        raise ValueError('"true" or "false"')
    return text == "true"


def max_backoff_s(annotations: Mapping[str, str]) -> float:
    """0 = the default of the process."""
    text = annotations.get(MAX_BACKOFF)
    if text is None:
        return 0.0
    seconds = duration_s(text)
    if seconds == 0:
        raise ValueError("it must be longer than nothing; for attempts without a wait there is backoffDelay: PT0S")
    return seconds


# annotation → what reads it: admission asks each one
READERS = {
    **dict.fromkeys(ORDER, ordered),
    MAX_IN_FLIGHT: max_in_flight,
    RATE_LIMIT: rate_per_s,
    START: start,
    PAUSED: paused,
    MAX_BACKOFF: max_backoff_s,
}


def policy(spec: DeliverySpec | None, annotations: Mapping[str, str]) -> DeliveryPolicy:
    """One delivery spec as a whole: nothing is merged field by field (spec §10.4). Raises ValueError."""
    default = DeliveryPolicy()
    cap_s = max_backoff_s(annotations)
    if spec is None:
        return DeliveryPolicy(max_backoff_s=cap_s, timeout_s=0.0)
    return DeliveryPolicy(
        retry=spec.retry or 0,
        backoff=cast(Literal["linear", "exponential"], spec.backoff_policy or default.backoff),
        delay_s=duration_s(spec.backoff_delay) if spec.backoff_delay else default.delay_s,
        max_backoff_s=cap_s,
        timeout_s=duration_s(spec.timeout) if spec.timeout else 0.0,
        retry_after_max_s=duration_s(spec.retry_after_max) if spec.retry_after_max else None,
        format=cast(Literal["", "binary", "json"], spec.format),
    )
