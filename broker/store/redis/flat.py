"""A record as the flat fields of a stream entry, and back. Pure.

`ce_<attribute>`, `ct` (datacontenttype) and `data` are what a Kafka binary message carries, so any Redis client can
write or read them. What travels beside the event: `at` arrival, `hops`, `nb` not before, `exp` expires (wall seconds),
`hdr` header pairs and `typed` JSON-typed extensions (both JSON), `ji` implied JSON. What is missing has its default.

Source: spec/eventing.md §27.2.
"""

from collections.abc import Sequence

import msgspec

from broker.store.contract import HOPS_MAX, Record
from dataplane.wire.cloudevents import Event

Field = str | bytes

_NAMES_MAX = 1000  # extension names come from producers: beyond this many they are not remembered

_field: dict[str, bytes] = {"datacontenttype": b"ct"}
_attribute: dict[bytes, str] = {b"ct": "datacontenttype"}
_json = msgspec.json.Encoder()
_pairs = msgspec.json.Decoder(tuple[tuple[str, str], ...])
_typed = msgspec.json.Decoder(dict[str, int | bool])


def flatten(record: Record) -> list[Field]:
    """Names and values in turn, as XADD takes them."""
    event = record.event
    out: list[Field] = []
    for name, value in event.attributes.items():
        out += (_field.get(name) or _learn(name), value)
    if event.data is not None:
        out += (b"data", event.data)
    out += (b"at", repr(record.arrived_at))
    if record.hops != HOPS_MAX:
        out += (b"hops", str(record.hops))
    if record.headers:
        out += (b"hdr", _json.encode(record.headers))
    if record.not_before:
        out += (b"nb", repr(record.not_before))
    if record.expires_at:
        out += (b"exp", repr(record.expires_at))
    if event.typed:
        out += (b"typed", _json.encode(event.typed))
    if event.json_implied:
        out += (b"ji", b"1")
    return out


def unflatten(fields: Sequence[bytes], entry: bytes = b"") -> Record:
    """The record. Fields of no meaning here are passed over. `entry`: its id, which says when it arrived if `at` does
    not: it was added by hand.

    Raises ValueError for what is no event of ours: it lacks id, source, type or specversion, or is no UTF-8.
    """
    attributes: dict[str, str] = {}
    own: dict[bytes, bytes] = {}
    parts = iter(fields)
    for name, value in zip(parts, parts, strict=True):
        known = _attribute.get(name)
        if known is not None:
            attributes[known] = value.decode()
        elif name[:3] == b"ce_":
            attributes[name[3:].decode()] = value.decode()
        else:
            own[name] = value
    if not ("id" in attributes and "source" in attributes and "type" in attributes and "specversion" in attributes):
        raise ValueError("no CloudEvent: ce_id, ce_source, ce_type and ce_specversion are needed")
    at = own.get(b"at")
    if len(own) <= 2 and at is not None and (len(own) == 1 or b"data" in own):  # nearly every record
        return Record(event=Event(attributes, own.get(b"data")), arrived_at=float(at))
    try:
        typed = _typed.decode(own[b"typed"]) if b"typed" in own else {}
        headers = _pairs.decode(own[b"hdr"]) if b"hdr" in own else ()
    except msgspec.DecodeError as error:
        raise ValueError(f"fields typed or hdr: {error}") from None
    return Record(
        event=Event(attributes, own.get(b"data"), typed, own.get(b"ji") == b"1"),
        arrived_at=float(at) if at else int(entry.partition(b"-")[0] or 0) / 1000,
        hops=int(own.get(b"hops", HOPS_MAX)),
        headers=headers,
        not_before=float(own.get(b"nb", 0.0)),
        expires_at=float(own.get(b"exp", 0.0)),
    )


def _learn(attribute: str) -> bytes:
    field = b"ce_" + attribute.encode()
    if len(_field) < _NAMES_MAX:
        _field[attribute] = field
        _attribute[field] = attribute
    return field
