"""One event as one JSON object.

Path: http.py and kafka.py → [structured] → Event.

Members are taken as slices of the body, so that a payload keeps its numbers, key order, duplicates and white space. A
JSON value's outer white space is not part of it. What is not sound JSON, although its datacontenttype says so, travels
as base64. A version 0.3 event has `datacontentencoding` where 1.0 has `data_base64`.

Bounds: attributes by ATTRIBUTES_BYTES_MAX; nesting by msgspec's own guard (the interpreter's recursion limit, near
1000); the body by whoever received it.

Source: spec/eventing.md §3; CloudEvents JSON format 1.0.3; design/ecosystem.md §1.2.
"""

import binascii
from collections.abc import Iterable
from typing import Any

import msgspec

from dataplane.errors import BadEvent
from dataplane.wire.cloudevents.attributes import (
    ATTRIBUTES_BYTES_MAX,
    INTEGER_MAX,
    INTEGER_MIN,
    check_name,
    check_string,
    judge,
    media,
    shown,
)
from dataplane.wire.cloudevents.event import Event, canonical

NAMES_MAX = 4096  # remembered member names
NAME_CHARS_MAX = 64  # of a remembered one

CORE = frozenset(
    ("specversion", "id", "source", "type", "datacontenttype", "dataschema", "schemaurl", "subject", "time")
)
# The character sets a payload may be written in. Python knows many more, some of them slow or no text at all.
_CHARSETS = {
    "": "utf-8", "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii", "ascii": "ascii", "iso-8859-1": "latin-1",
    "latin1": "latin-1", "windows-1252": "cp1252", "utf-16": "utf-16", "utf-16le": "utf-16le", "utf-16be": "utf-16be",
}  # fmt: skip


class _Key(str):
    """A member name that refuses to be put into a dict twice; msgspec would silently keep the last."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        if str.__eq__(self, other) is True:
            raise BadEvent("duplicate", f"member {shown(str(self))} appears twice")
        return False


def _key(kind: type[Any], name: str) -> _Key:
    return _Key(name)


_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_unique = msgspec.json.Decoder(dict[_Key, msgspec.Raw], dec_hook=_key).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_scalar = msgspec.json.Decoder(str | int | float | bool | None).decode
_raw = msgspec.json.Decoder(msgspec.Raw).decode
_encode = msgspec.json.Encoder().encode
_names: dict[str, str] = {}


def decode_event(body: bytes | msgspec.Raw) -> Event:
    """`body`: one JSON object, UTF-8. Raises BadEvent."""
    if isinstance(body, bytes):
        _check_utf8(body)
    attributes: dict[str, str] = {}
    typed: dict[str, int | bool] = {}
    data = data_base64 = None
    for member, raw in _read(body).items():
        if (name := _names.get(member)) is None:
            name = _learn(member)
        if name == "data":
            data = raw
        elif name == "data_base64":
            data_base64 = raw if bytes(raw) != b"null" else None
        else:
            try:
                value = _scalar(raw)
            except msgspec.DecodeError as error:
                raise BadEvent("value", f'attribute "{name}" is no string, integer or boolean: {error}') from None
            if value is None:
                continue
            if name in attributes:
                raise BadEvent("duplicate", f'attribute "{name}" appears twice, in different spelling')
            if not isinstance(value, str):
                typed[name] = value = _checked(name, value)
                attributes[name] = canonical(value)
            else:
                if not value.isprintable():
                    check_string(name, value)
                attributes[name] = value
    if sum(map(_bytes_of, attributes.values())) + sum(map(len, attributes)) > ATTRIBUTES_BYTES_MAX:
        raise BadEvent("too_large", f"attributes are larger than {ATTRIBUTES_BYTES_MAX} bytes in all")
    judge(attributes)
    if data_base64 is not None and attributes["specversion"] != "1.0":
        raise BadEvent("name", 'CloudEvents 0.3 has no "data_base64"; say datacontentencoding: base64')
    payload, implied = _payload(attributes, data, data_base64)
    return Event(attributes, payload, typed, implied)


def decode_batch(body: bytes, events_max: int = 0) -> list[Event]:
    """`body`: a JSON array of events, all of one specversion (spec §1.8). Raises BadEvent with the index of the bad
    one. events_max: 0 = no limit."""
    _check_utf8(body)
    try:
        elements = _elements(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadEvent("batch", f"the body is no JSON array of CloudEvents: {_why(error)}") from None
    if events_max and len(elements) > events_max:
        raise BadEvent("batch", f"{len(elements)} events in one batch, at most {events_max} are taken")
    events: list[Event] = []
    for index, element in enumerate(elements):
        try:
            event = decode_event(element)
        except BadEvent as error:
            raise BadEvent(error.reason, error.message, index) from None
        if events and event.attributes["specversion"] != events[0].attributes["specversion"]:
            raise BadEvent("specversion", "the events of a batch have one specversion", index)
        events.append(event)
    return events


def encode_event(event: Event) -> bytes:
    """One JSON object. Never fails."""
    attributes = event.attributes
    head = _encode({**attributes, **event.typed} if event.typed else attributes)
    data = event.data
    if data is None:
        return head
    content_type = attributes.get("datacontenttype")
    json = event.json_implied if content_type is None else _says_json(content_type)
    if attributes["specversion"] == "0.3":
        return _encode_03(attributes, head, data, json)
    if json and _is_json(data):
        return b'%b,"data":%b}' % (head[:-1], data)
    return b'%b,"data_base64":"%b"}' % (head[:-1], binascii.b2a_base64(data, newline=False))


def encode_array(events: Iterable[Event]) -> bytes:
    """A JSON array of them."""
    return b"[%b]" % b",".join(map(encode_event, events))


def _read(body: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The members of an object. Raises BadEvent, also when one is there twice."""
    try:
        members = _members(body)
        # Quotes, colons, commas and braces: when nothing but them is between what was kept, nothing was dropped.
        if sum(map(len, members)) + sum(map(len, members.values())) + 4 * len(members) + 1 != len(body):
            members = {str(key): raw for key, raw in _unique(body).items()}
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadEvent("json", f"the body is no CloudEvent in JSON: {_why(error)}") from None
    return members


def _payload(
    attributes: dict[str, str], data: msgspec.Raw | None, data_base64: msgspec.Raw | None
) -> tuple[bytes | None, bool]:
    """The payload's bytes, and whether JSON was implied (spec §3.4)."""
    if data_base64 is not None:
        if data is not None:
            raise BadEvent("data", '"data" and "data_base64" exclude each other')
        return _unbase64(_scalar_text(data_base64), "data_base64"), False
    if data is None:
        return None, False
    if attributes["specversion"] == "0.3" and "datacontentencoding" in attributes:
        encoding = attributes.pop("datacontentencoding")
        if encoding.lower() != "base64":
            raise BadEvent("data", f"datacontentencoding {shown(encoding)} is not known, only base64")
        return _unbase64(_scalar_text(data), "data"), False
    content_type = attributes.get("datacontenttype")
    if content_type is None:
        return bytes(data), True
    kind = media(content_type)
    if kind.json:
        return bytes(data), False
    text = _scalar_text(data)
    if text is None:
        raise BadEvent("data", f'"data" of datacontenttype {shown(content_type)} has to be a JSON string')
    charset = _CHARSETS.get(kind.charset)
    if charset is None:
        raise BadEvent("data", f'charset {shown(kind.charset)} is not known; send the bytes as "data_base64"')
    try:
        return text.encode(charset), False
    except UnicodeEncodeError:
        raise BadEvent("data", f'"data" holds characters that charset {kind.charset or "utf-8"} has not') from None


def _encode_03(attributes: dict[str, str], head: bytes, data: bytes, json: bool) -> bytes:
    if "datacontentencoding" in attributes and data.isascii():
        return b'%b,"data":%b}' % (head[:-1], _encode(data.decode()))  # came in binary mode, encoded already
    if json and _is_json(data):
        return b'%b,"data":%b}' % (head[:-1], data)
    member = b"" if "datacontentencoding" in attributes else b'"datacontentencoding":"base64",'
    return b'%b,%b"data":"%b"}' % (head[:-1], member, binascii.b2a_base64(data, newline=False))


def _learn(member: str) -> str:
    """The attribute that a member is; `data` and `data_base64` stand for themselves."""
    name = member
    if name not in ("data", "data_base64"):
        name = name.lower()  # other receivers take any spelling of an extension
        check_name(name)
    if len(_names) < NAMES_MAX and len(member) <= NAME_CHARS_MAX:
        _names[member] = name
    return name


def _checked(name: str, value: float) -> int | bool:
    """Of a number or a boolean: may it stand here?"""
    if name in CORE:
        raise BadEvent("value", f'attribute "{name}" has to be a string')
    if isinstance(value, float) or not INTEGER_MIN <= value <= INTEGER_MAX:
        raise BadEvent("value", f'attribute "{name}" is no integer of 32 bits')
    return value


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _scalar_text(raw: msgspec.Raw) -> str | None:
    """The string that a slice is; None for any other value."""
    try:
        value = _scalar(raw)
    except msgspec.DecodeError:
        return None
    return value if isinstance(value, str) else None


def _unbase64(text: str | None, member: str) -> bytes:
    try:
        if text is None:
            raise ValueError
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError:
        raise BadEvent("data", f'"{member}" is no base64 string (RFC 4648 §4, with padding)') from None


def _says_json(content_type: str) -> bool:
    try:
        return media(content_type).json
    except BadEvent:  # it came through a store that others write to
        return False


def _is_json(data: bytes) -> bool:
    """One JSON value in UTF-8, as far as it can stand inside another."""
    try:
        if not data.isascii():
            data.decode()
        _raw(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _check_utf8(body: bytes) -> None:
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise BadEvent("json", f"the body is no UTF-8 at byte {error.start}") from None


def _why(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
