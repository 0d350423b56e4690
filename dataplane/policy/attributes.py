"""What a filter compares: an attribute of an event as its canonical text.

Path: filters.py → [attributes].

`time` is compared as written and, when both are RFC 3339, as the instant (spec §8.3). `dataschema` was called
`schemaurl` in 0.3; `datamediatype` is Knative's own: datacontenttype without parameters.

Source: spec/eventing.md §8.2, §8.3.
"""

import re
from collections.abc import Callable
from datetime import datetime

from dataplane.wire.cloudevents import Event

_RFC_3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def compare(dialect: str, name: str, wanted: str) -> Callable[[Event], bool]:
    """exact (also `attributes`), prefix or suffix. `wanted` "" = the attribute must be there. Missing never matches."""
    read = reader(name)
    if dialect == "prefix":
        return lambda event: (value := read(event)) is not None and value.startswith(wanted)
    if dialect == "suffix":
        return lambda event: (value := read(event)) is not None and value.endswith(wanted)
    if not wanted:
        return lambda event: read(event) is not None
    if name == "time" and (moment := instant(wanted)) is not None:
        return lambda event: (value := read(event)) is not None and (value == wanted or instant(value) == moment)
    return lambda event: read(event) == wanted


def reader(name: str) -> Callable[[Event], str | None]:
    """How to get the attribute's text; None = missing."""
    if name == "datamediatype":
        return lambda event: event.attributes.get("datacontenttype", "").partition(";")[0].strip().lower() or None
    if name in ("dataschema", "schemaurl"):
        other = "schemaurl" if name == "dataschema" else "dataschema"
        return lambda event: event.attributes.get(name) or event.attributes.get(other)
    return lambda event: event.attributes.get(name)


def instant(text: str) -> tuple[datetime, str] | None:
    """RFC 3339 → (second, digits of the fraction); None when it is none. Exact beyond microseconds."""
    parsed = _RFC_3339.fullmatch(text)
    if parsed is None:
        return None
    day, clock, fraction, zone = parsed.groups()
    try:
        return datetime.fromisoformat(f"{day}T{clock}{zone.upper().replace('Z', '+00:00')}"), (fraction or "").rstrip(
            "0"
        )
    except ValueError:
        return None
