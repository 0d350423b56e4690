"""What a snapshot says of a broker or trigger, with what the process's settings say where it does not. Pure.

Path: service.py, keep.py, inspect.py → [wanted] → store/contract.py.

Source: spec/eventing.md §9.7, §10.4, §29.4; broker/settings.py.
"""

import msgspec

from broker.settings import BrokerSettings
from broker.store.contract import LogSettings, Start
from dataplane.clock import parse_rfc3339
from dataplane.resources.triggers import Broker, Trigger


def log_settings(settings: BrokerSettings, broker: Broker) -> LogSettings:
    """What the process's settings say, with what the broker's owner set over it. Unknown names are left out."""
    known = {field.name for field in msgspec.structs.fields(LogSettings)} - {"config"}
    given: dict[str, object] = {
        "retention_s": settings.retention_s,
        "retention_bytes": settings.retention_bytes,
        "quota_bytes": settings.quota_bytes,
        "parked_max": settings.parked_max,
        "dead_lettered_max": settings.dead_lettered_max,
        "dedup_window_s": settings.dedup_window_s,
        **{name: value for name, value in broker.settings.items() if name in known},
        "config": {**broker.config, **broker.secret},
    }
    return msgspec.convert(given, LogSettings, strict=False)


def resolved(trigger: Trigger, settings: BrokerSettings) -> Trigger:
    """With what the process's settings say where its delivery does not."""
    given = trigger.delivery
    timeout_s, backoff_s = given.timeout_s or settings.timeout_s, given.max_backoff_s or settings.max_backoff_s
    if (timeout_s, backoff_s) == (given.timeout_s, given.max_backoff_s):
        return trigger
    delivery = msgspec.structs.replace(given, timeout_s=timeout_s, max_backoff_s=backoff_s)
    return msgspec.structs.replace(trigger, delivery=delivery)


def start_of(text: str) -> Start:
    """`latest`, `earliest`, an RFC 3339 time, or a position. Raises ValueError for a time without a zone."""
    if text in ("", "latest"):
        return Start("latest")
    if text == "earliest":
        return Start("earliest")
    if text[:4].isdigit() and text[4:5] == "-" and "T" in text:
        return Start("time", time_s=parse_rfc3339(text))
    return Start("position", position=text)


def uid(trigger: Trigger) -> str:
    """The identity of its progress."""
    return trigger.uid or f"{trigger.namespace}/{trigger.name}"


def must_resubscribe(before: Trigger, after: Trigger) -> bool:
    """Whether another subscription is needed: what is matched, in which order, or whose progress it is has changed."""
    return before is not after and (before.filters, before.ordered, uid(before)) != (
        after.filters,
        after.ordered,
        uid(after),
    )
