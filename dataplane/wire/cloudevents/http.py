"""CloudEvents ↔ header fields and body of an HTTP message.

Path: broker/ingress.py → [decode_http] → store → [encode_binary] → deliver.py → [decode_reply].

Mode by Content-Type: `application/cloudevents-batch…` is a batch, `application/cloudevents…` one structured event,
anything else binary, where each `ce-…` field is an attribute and the body is the payload.

What an attribute's field holds is percent-encoded UTF-8; raw UTF-8, spaces and quotes are taken as well, since many
producers send them. Names of fields are remembered, bounded: a binary event of eight attributes costs a few
microseconds (loadtests/scenarios/codec.py).

Source: spec/eventing.md §2; CloudEvents HTTP binding 1.0.3 §3.1.3.2.
"""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote, unquote_to_bytes

from dataplane.errors import BadEvent, UnsupportedFormat
from dataplane.wire.cloudevents.attributes import MEDIA_CHARS_MAX, check_name, check_string, judge, media
from dataplane.wire.cloudevents.event import Event
from dataplane.wire.cloudevents.structured import decode_batch, decode_event, encode_array, encode_event
from dataplane.wire.headers import is_token

Fields = Sequence[tuple[bytes, bytes]]

NAMES_MAX = 4096  # remembered field names; beyond it a name is judged anew each time
NAME_BYTES_MAX = 128  # of a remembered one
MODES_MAX = 1024  # remembered content types

_BINARY, _STRUCTURED, _BATCH, _UNSUPPORTED = range(4)
_CONTENT_TYPE = "datacontenttype"
# Spec §2.4 writes UTF-8; the SDK of JavaScript (10.0.0) takes small letters alone, and this very spacing.
_STRUCTURED_LINE = b"content-type: application/cloudevents+json; charset=utf-8\r\n"
_BATCH_LINE = b"content-type: application/cloudevents-batch+json; charset=utf-8\r\n"
_PERCENT, _QUOTE = b'%"'  # as numbers: looking for one is five times as fast
_UTF8 = frozenset(("", "utf-8", "utf8", "us-ascii"))
# Everything that needs no encoding: RFC 3986 unreserved and reserved, and what else stands between ! and ~ but " and %.
_SAFE = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"%')
_PLAIN = re.compile(r"[!#$&-~]*").fullmatch
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)

# By name as received; "" = none. The usual ones are there from the start, whoever fills the rest with rubbish.
_attributes: dict[bytes, str] = {
    spelling: name
    for name in ("id", "source", "type", "specversion", "time", "subject", "partitionkey", "traceparent")
    for spelling in (f"ce-{name}".encode(), f"Ce-{name.title()}".encode(), f"CE-{name.title()}".encode())
} | {b"content-type": _CONTENT_TYPE, b"Content-Type": _CONTENT_TYPE}
_starts: dict[str, str] = {}  # attribute → how its line begins
_modes: dict[str, int] = {"": _BINARY, "application/json": _BINARY}


def decode_http(fields: Fields, body: bytes, *, batch_events_max: int = 0) -> list[Event]:
    """The events of a request: one, or those of a batch. fields: (name, value) as received.

    Raises:
        BadEvent: 400.
        UnsupportedFormat: 415, a structured mode other than JSON.
    """
    try:
        attributes = _collect(fields)
        mode = _modes.get(attributes.get(_CONTENT_TYPE, ""))
    except BadEvent:
        attributes, mode = {}, None
        if _mode(fields) == _BINARY:
            raise  # beside a structured event it would not matter what ce- fields say (spec §2.4)
    if mode is None:
        mode = _mode(fields)
    if mode == _BINARY:
        judge(attributes)
        return [Event(attributes, body or None)]
    if mode == _STRUCTURED:
        return [decode_event(body)]
    if mode == _BATCH:
        return decode_batch(body, batch_events_max)
    raise UnsupportedFormat


def decode_reply(fields: Fields, body: bytes) -> Event | None:
    """The event of a response; None: there is none, and no body. Raises BadEvent for anything else (spec §2.3)."""
    mode = _mode(fields)
    if mode == _STRUCTURED:
        return decode_event(body)
    if mode != _BINARY:
        raise BadEvent("mode", "a reply is one event, binary or structured as JSON")
    if any(len(name) == 14 and name.lower() == b"ce-specversion" for name, _ in fields):
        attributes = _collect(fields)
        judge(attributes)
        return Event(attributes, body or None)
    if body:
        raise BadEvent("no_event", "a reply with a body that is no CloudEvent: neither ce-specversion nor structured")
    return None


def encode_binary(event: Event) -> tuple[bytes, bytes]:
    """Header lines, each with its CRLF, and the body. Control characters of values are encoded.

    An event whose data is a CloudEvent itself, by its datacontenttype, is written in structured mode: in binary mode
    whoever gets it would take its data for the event (spec §2.1).

    Raises ValueError: no header can be made of a name or of datacontenttype. No decoder lets such an event in, but
    stores are written to by others.
    """
    content_type = event.attributes.get(_CONTENT_TYPE)
    if content_type is not None and content_type[:23].lower() == "application/cloudevents":
        return encode_structured(event)
    lines: list[str] = []
    known = _starts.get
    for name, value in event.attributes.items():
        start = known(name) or _start_of(name)
        if _PLAIN(value):
            lines.append(f"{start}{value}\r\n")
        elif name != _CONTENT_TYPE:
            lines.append(f"{start}{quote(value, safe=_SAFE)}\r\n")
        elif value.isprintable():
            lines.append(f"{start}{value}\r\n")
        else:
            raise ValueError("datacontenttype holds a control character")
    if event.json_implied and _CONTENT_TYPE not in event.attributes:
        lines.append("content-type: application/json\r\n")
    return "".join(lines).encode("ascii"), event.data or b""


def _start_of(name: str) -> str:
    """How the line of an attribute begins."""
    if not is_token(name.encode()):
        raise ValueError(f"no header can be named after attribute {name[:NAME_BYTES_MAX]!r}")
    start = "content-type: " if name == _CONTENT_TYPE else f"ce-{name}: "
    if len(_starts) < NAMES_MAX and len(name) <= NAME_BYTES_MAX:
        _starts[name] = start
    return start


def encode_structured(event: Event) -> tuple[bytes, bytes]:
    """Header lines and body."""
    return _STRUCTURED_LINE, encode_event(event)


def encode_batch(events: Iterable[Event]) -> tuple[bytes, bytes]:
    """Header lines and body. Only for who asked for batches (spec §2.5)."""
    return _BATCH_LINE, encode_array(events)


def _mode(fields: Fields) -> int:
    found = [value for name, value in fields if len(name) == 12 and name.lower() == b"content-type"]
    if not found:
        return _BINARY
    if len(found) > 1:
        raise BadEvent("duplicate", "there are two Content-Type headers")
    text = found[0].strip().decode("latin-1")
    mode = _modes.get(text)
    if mode is None:
        mode = _mode_of(text)
        if len(_modes) < MODES_MAX and len(text) <= MEDIA_CHARS_MAX:
            _modes[text] = mode
    return mode


def _mode_of(content_type: str) -> int:
    if not content_type.lower().startswith("application/cloudevents"):
        return _BINARY
    parsed = media(content_type)
    if parsed.charset in _UTF8:
        if parsed.kind == "application/cloudevents+json":
            return _STRUCTURED
        if parsed.kind == "application/cloudevents-batch+json":
            return _BATCH
    return _UNSUPPORTED


def _collect(fields: Fields) -> dict[str, str]:
    """The attributes that header fields carry, not judged yet."""
    attributes: dict[str, str] = {}
    attribute: str | None = ""
    known = _attributes.get
    try:
        for name, value in fields:
            attribute = known(name)
            if attribute is None:
                attribute = _learn(name)
            if not attribute:
                continue
            if attribute in attributes:
                raise BadEvent("duplicate", f'there are two headers for attribute "{attribute}"')
            value = value.strip()
            if _PERCENT in value or _QUOTE in value:
                value = _decoded(attribute, value)
            attributes[attribute] = text = value.decode()
            if not text.isprintable():
                check_string(attribute, text)
    except UnicodeDecodeError:
        raise BadEvent("encoding", f'header of attribute "{attribute}" is no UTF-8 after percent-decoding') from None
    return attributes


def _learn(name: bytes) -> str:
    """The attribute that a field is; "" for none. Raises BadEvent for a `ce-` field that is no attribute's name."""
    lower = name.lower()
    attribute = ""
    if lower == b"content-type":
        attribute = _CONTENT_TYPE
    elif lower.startswith(b"ce-") and lower != b"ce-datacontenttype":
        attribute = lower[3:].decode("latin-1")
        check_name(attribute)
    if len(_attributes) < NAMES_MAX and len(name) <= NAME_BYTES_MAX:
        _attributes[name] = attribute
    return attribute


def _decoded(attribute: str, value: bytes) -> bytes:
    """Quotes and backslashes off, then exactly one round of percent-decoding; a lone % stands for itself (§2.7)."""
    if attribute == _CONTENT_TYPE:
        return value
    quoted = _QUOTED.fullmatch(value)
    if quoted is not None:
        value = _ESCAPE.sub(rb"\1", quoted[1])
    return unquote_to_bytes(value)
