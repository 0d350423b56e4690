"""Events as the CloudEvents SDK's, for who embeds a broker or writes functions; the one door to that library.

Path: an embedder's program → [sdk] → ingress, and back; never on the way of an event through the broker.

`to_sdk` keeps the payload's bytes: the SDK's `get_data()` gives what was sent, and its bindings send that on. What the
SDK cannot hold: fractions of a second beyond the sixth digit, the second of a leap second, the year 0.

Source: design/ecosystem.md §1.2; spec/eventing.md §1.4.
"""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from dataplane.errors import BadEvent
from dataplane.wire.cloudevents.attributes import INTEGER_MAX, INTEGER_MIN, check_name, check_string, judge
from dataplane.wire.cloudevents.event import Event, canonical

if TYPE_CHECKING:
    from cloudevents.core.base import BaseCloudEvent

_LEAP_SECOND = re.compile(r":60(?:\.\d+)?(?=[Zz+\-])")
_FRACTION = re.compile(r"(\.\d{6})\d+")


def to_sdk(event: Event) -> "BaseCloudEvent":
    """`cloudevents.core.v1.event.CloudEvent`, or v03's; its data are bytes or None."""
    from cloudevents.core.v03.event import CloudEvent as CloudEvent03
    from cloudevents.core.v1.event import CloudEvent

    attributes: dict[str, Any] = {**event.attributes, **event.typed}
    if "time" in attributes:
        attributes["time"] = _datetime(attributes["time"])
    version: type[BaseCloudEvent] = CloudEvent03 if attributes["specversion"] == "0.3" else CloudEvent
    made = version(attributes, event.data)
    if "time" not in event.attributes:
        made.get_attributes().pop("time", None)  # the SDK says "now" for an event that said nothing
    return made


def from_sdk(event: "BaseCloudEvent") -> Event:
    """Raises BadEvent for what is no sound event. Data: bytes and text as they are, anything else as JSON."""
    attributes: dict[str, str] = {}
    typed: dict[str, int | bool] = {}
    for name, value in event.get_attributes().items():
        if value is None:
            continue
        check_name(name)
        if isinstance(value, int):
            typed[name] = value
        attributes[name] = _text(name, value)
    judge(attributes)
    data: object = event.get_data()
    if data is None or isinstance(data, bytes):
        return Event(attributes, data, typed)
    if isinstance(data, str):
        return Event(attributes, data.encode(), typed)
    if isinstance(data, (bytearray, memoryview)):
        return Event(attributes, bytes(data), typed)
    return Event(attributes, msgspec.json.encode(data), typed, "datacontenttype" not in attributes)


def _datetime(text: str) -> datetime:
    """RFC 3339, as far as datetime goes."""
    text = _LEAP_SECOND.sub(":59.999999", _FRACTION.sub(r"\1", text.upper()))
    return datetime.fromisoformat(text) if text[:4] != "0000" else datetime.min.replace(tzinfo=UTC)


def _text(name: str, value: object) -> str:
    """The canonical form of an attribute that a program set (spec §1.4)."""
    if isinstance(value, str):
        if not value.isprintable():
            check_string(name, value)
        return value
    if isinstance(value, int):
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise BadEvent("value", f'attribute "{name}" is no integer of 32 bits')
        return canonical(value)
    if isinstance(value, datetime):
        return value.isoformat().removesuffix("+00:00") + ("Z" if not value.utcoffset() else "")
    raise BadEvent("value", f'attribute "{name}" is a {type(value).__name__}, not a string, integer, boolean or time')
