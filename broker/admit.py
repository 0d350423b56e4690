"""What a producer's event becomes on the log: hops left, arrival, expiry, delay, and the headers that go with it.

Path: ingress.py → [admit] → store.

| attribute            | what it does                                                                                |
|----------------------|---------------------------------------------------------------------------------------------|
| `knativebrokerttl`   | how many more brokers the event may enter, this one included; taken off (spec §7.7)         |
| `knativearrivaltime` | set to now, whatever it was (spec §7.8)                                                     |
| `expirytime`         | not delivered at or after this instant; stays on the event (spec §6)                        |
| `notbefore`          | not delivered before this instant; stays on the event. Ours: CloudEvents has no such name   |

Pure. `now` is wall seconds.

Source: spec/eventing.md §6, §7.7-7.9.
"""

import re

from broker.store.contract import Record
from dataplane.clock import parse_rfc3339, rfc3339_micro
from dataplane.errors import BadEvent, HopsExhausted, UnsupportedCoding
from dataplane.wire.cloudevents import Event, with_attributes
from dataplane.wire.cloudevents.attributes import INTEGER_MAX, INTEGER_MIN, is_timestamp, shown
from dataplane.wire.cloudevents.http import Fields

TTL, ARRIVAL, EXPIRY, NOT_BEFORE = "knativebrokerttl", "knativearrivaltime", "expirytime", "notbefore"
PASSED = frozenset((b"x-request-id", b"retry-after", b"traceparent", b"tracestate"))
PASSED_PREFIXES = (b"knative-", b"x-b3-")
CODING = "content-encoding"
NAMES_MAX = 4096  # remembered field names
NAME_BYTES_MAX = 128  # of a remembered one

_INTEGER = re.compile(r"-?\d{1,10}", re.ASCII)
_passed: dict[bytes, str] = {}  # field name as received → as passed on; "" = it is not
_arrival = (0, "")  # the last whole second, and its text up to the fraction


def admit(event: Event, headers: tuple[tuple[str, str], ...], now: float, hops_max: int) -> Record:
    """`event` is the caller's own: its arrival is written into it. Raises BadEvent and HopsExhausted."""
    attributes = event.attributes
    hops = hops_max
    if TTL in attributes:
        hops = hops_left(attributes[TTL], hops_max)
        event = with_attributes(event, {}, remove=(TTL,))
        attributes = event.attributes
    expires_at = _instant(EXPIRY, attributes[EXPIRY]) if EXPIRY in attributes else 0.0
    not_before = _instant(NOT_BEFORE, attributes[NOT_BEFORE]) if NOT_BEFORE in attributes else 0.0
    attributes[ARRIVAL] = arrival(now)
    if event.typed:
        event.typed.pop(ARRIVAL, None)
    return Record(event=event, arrived_at=now, hops=hops, headers=headers, not_before=not_before, expires_at=expires_at)


def admit_all(events: list[Event], headers: tuple[tuple[str, str], ...], now: float, hops_max: int) -> list[Record]:
    """All of a request, or none: raises with the index of the first bad one of a batch."""
    records: list[Record] = []
    try:
        records.extend(admit(event, headers, now, hops_max) for event in events)
    except (BadEvent, HopsExhausted) as error:
        if len(events) == 1:
            raise
        reason = error.reason if isinstance(error, BadEvent) else error.code
        raise BadEvent(reason, str(error), len(records)) from None
    return records


def hops_left(ttl: str, hops_max: int) -> int:
    """After this broker. What is no integer of 32 bits counts as absent. Raises HopsExhausted."""
    if _INTEGER.fullmatch(ttl) is None or not INTEGER_MIN <= int(ttl) <= INTEGER_MAX:
        return hops_max
    left = min(int(ttl) - 1, hops_max)
    if left <= 0:
        raise HopsExhausted(f"{TTL} is {ttl}: the event went through too many brokers")
    return left


def passed_on(fields: Fields) -> tuple[tuple[str, str], ...]:
    """The header fields that travel beside the event (spec §7.9), and those of tracing.

    Raises UnsupportedCoding: no field tells the subscriber about a coding, so it must not get coded bytes.
    """
    found: list[tuple[str, str]] = []
    for name, value in fields:
        known = _passed.get(name)
        if known is None:
            known = _learn(name)
        if not known:
            continue
        if known == CODING:
            if value.strip().lower() not in (b"", b"identity"):
                raise UnsupportedCoding
        elif value.isascii():
            found.append((known, value.strip().decode("ascii")))
    return tuple(found)


def arrival(now: float) -> str:
    """As RFC 3339 with microseconds."""
    global _arrival
    second = int(now)
    known, text = _arrival
    if known != second:
        text = rfc3339_micro(second)[:-7]
        _arrival = (second, text)
    return f"{text}{int((now - second) * 1e6):06d}Z"


def _instant(name: str, text: str) -> float:
    if not is_timestamp(text):
        raise BadEvent(name, f"{name} {shown(text)} is no RFC 3339 timestamp like 2006-01-02T15:04:05Z")
    text = text.upper()
    try:
        return parse_rfc3339(text.replace(":60", ":59"))  # only a leap second has 60 of anything
    except (ValueError, OverflowError):
        raise BadEvent(name, f"{name} {shown(text)} is out of range") from None


def _learn(name: bytes) -> str:
    lower = name.lower()
    looked_at = lower in PASSED or lower == CODING.encode() or lower.startswith(PASSED_PREFIXES)
    known = lower.decode("latin-1") if looked_at else ""
    if len(_passed) < NAMES_MAX and len(name) <= NAME_BYTES_MAX:
        _passed[name] = known
    return known
