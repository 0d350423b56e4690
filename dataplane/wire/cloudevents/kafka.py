"""CloudEvents ↔ headers and value of a Kafka record.

Path: broker/store/kafka/ → [kafka] → broker/store/kafka/.

Binary: `content-type` carries datacontenttype, each other attribute is `ce_<name>` in UTF-8, not percent-encoded; an
event without data has a null value. Structured records are read, not written. There are no batches. The key is the
caller's.

Source: spec/eventing.md §4.1; CloudEvents Kafka binding 1.0.3.
"""

from collections.abc import Sequence

from dataplane.errors import BadEvent
from dataplane.wire.cloudevents.attributes import check_name, check_string, judge, media, shown
from dataplane.wire.cloudevents.event import Event
from dataplane.wire.cloudevents.structured import decode_event

NAMES_MAX = 4096  # remembered header names
NAME_CHARS_MAX = 128  # of a remembered one

_names: dict[str, str] = {}


def encode_kafka(event: Event) -> tuple[list[tuple[str, bytes]], bytes | None]:
    """(headers, value) in binary mode."""
    headers = [
        ("content-type" if name == "datacontenttype" else f"ce_{name}", value.encode())
        for name, value in event.attributes.items()
    ]
    if event.json_implied and "datacontenttype" not in event.attributes:
        headers.append(("content-type", b"application/json"))
    return headers, event.data


def decode_kafka(headers: Sequence[tuple[str, bytes | None]], value: bytes | None) -> Event:
    """Raises BadEvent; also for a record that was no event to begin with."""
    attributes: dict[str, str] = {}
    for key, content in headers:
        name = _names.get(key)
        if name is None:
            name = _learn(key)
        if not name:
            continue
        if name in attributes:
            raise BadEvent("duplicate", f'there are two headers for attribute "{name}"')
        try:
            attributes[name] = text = (content or b"").decode()
        except UnicodeDecodeError:
            raise BadEvent("encoding", f"header {shown(key)} is no UTF-8") from None
        if not text.isprintable():
            check_string(name, text)
    content_type = attributes.get("datacontenttype", "")
    if content_type[:23].lower() == "application/cloudevents":
        if media(content_type).kind != "application/cloudevents+json":
            raise BadEvent("format", f"a record of type {shown(content_type)} is not read, only JSON and binary mode")
        return decode_event(value or b"")
    judge(attributes)
    return Event(attributes, value)


def _learn(key: str) -> str:
    """The attribute that a header is; "" for none."""
    lower = key.lower()
    name = ""
    if lower == "content-type":
        name = "datacontenttype"
    elif lower.startswith("ce_") and lower != "ce_datacontenttype":
        name = lower[3:]
        check_name(name)
    if len(_names) < NAMES_MAX and len(key) <= NAME_CHARS_MAX:
        _names[key] = name
    return name
