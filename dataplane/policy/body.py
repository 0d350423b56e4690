"""An event's data as the JSON value it is, for filters that look inside; decoded once however many of them ask.

Path: bodypath.py, cel.py → [body].

JSON is what says so: `application/json`, `…+json`, or no datacontenttype at all. Data of more than BODY_BYTES_MAX is
not looked into: a filter on it does not match (a broker must not spend its time on one large event).

Source: spec/eventing.md §3.4; https://github.com/knative/eventing/issues/1310.
"""

from typing import Any, Final

import msgspec

from dataplane.wire.cloudevents import Event

BODY_BYTES_MAX = 256 * 1024


class NotJSON:
    """There is no JSON value: no data, another media type, too large, or broken."""


NOT_JSON: Final = NotJSON()

_decode = msgspec.json.Decoder().decode
_last: tuple[Event | None, Any] = (None, NOT_JSON)


def json_of(event: Event) -> Any:
    """The value, or NOT_JSON. Not to be changed by whoever gets it."""
    global _last
    seen, value = _last
    if seen is not event:
        value = _value(event)
        _last = (event, value)
    return value


def _value(event: Event) -> Any:
    data = event.data
    if data is None or len(data) > BODY_BYTES_MAX or not _says_json(event.attributes.get("datacontenttype", "")):
        return NOT_JSON
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return NOT_JSON


def _says_json(content_type: str) -> bool:
    media = content_type.partition(";")[0].strip().lower()
    return not media or media in ("application/json", "text/json") or media.endswith("+json")
