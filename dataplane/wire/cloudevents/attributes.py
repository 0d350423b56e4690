"""What makes context attributes a sound event: names, required ones, the form of each.

Path: http.py, structured.py and kafka.py collect attributes → [judge] → Event.

Where the documents leave room we take what other brokers take: a URI-reference may hold spaces and characters that
one round of percent-decoding left in it; an extension may be empty.

Source: spec/eventing.md §1.1-1.7; RFC 2046, RFC 3339, RFC 3986.
"""

import re
from typing import NamedTuple

from dataplane.errors import BadEvent

VERSIONS = ("1.0", "0.3")
ATTRIBUTES_BYTES_MAX = 64 * 1024  # of one event's names and values: what every intermediary must forward (spec §1.6)
INTEGER_MIN, INTEGER_MAX = -(1 << 31), (1 << 31) - 1
MEDIA_MAX = 1024  # remembered media types
MEDIA_CHARS_MAX = 128  # of a remembered one
SHOWN_CHARS_MAX = 64  # of a refused value in an error message

_NAME = re.compile(r"[a-z0-9]+")
_FORBIDDEN = re.compile(
    "[\0-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(map(chr, (p << 16 | e for p in range(17) for e in (0xFFFE, 0xFFFF))))
    + "]"
)
_REFERENCE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:|[^:]*\Z|[^:/?#]*[/?#]")  # RFC 3986 §4.2: a colon ends a scheme
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:.")
_TIME = re.compile(
    r"\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
    r"[Tt](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?(?:[Zz]|[+\-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_LEAP_DAY = re.compile(r"(\d\d)(\d\d)-02-29", re.ASCII)
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[\t !#-\[\]-~]|\\[\t -~])*"'
# Possessive: a blank belongs to the part before it for good, or a header of 100 bytes would be tried for hours.
_MEDIA = re.compile(rf"({_TOKEN}/{_TOKEN})((?:[ \t]*+;[ \t]*+(?:{_TOKEN}=(?:{_TOKEN}|{_QUOTED}))?+)*+)[ \t]*+")
_CHARSET = re.compile(rf';[ \t]*charset="?({_TOKEN})', re.IGNORECASE)


class Media(NamedTuple):
    """A parsed media type. kind: `type/subtype` in lower case; charset: in lower case, "" = not said."""

    kind: str
    json: bool
    charset: str


_known: dict[str, Media] = {}


def media(text: str) -> Media:
    """Raises BadEvent for what is no media type (RFC 2046)."""
    found = _known.get(text)
    if found is None:
        match = _MEDIA.fullmatch(text)
        if match is None:
            raise BadEvent("datacontenttype", f"datacontenttype {shown(text)} is no media type like application/json")
        kind = match[1].lower()
        charset = _CHARSET.search(match[2])
        json = kind.endswith(("/json", "+json"))
        found = Media(kind, json, charset[1].lower() if charset else "")
        if len(_known) < MEDIA_MAX and len(text) <= MEDIA_CHARS_MAX:
            _known[text] = found
    return found


def check_name(name: str) -> None:
    """Raises BadEvent for what cannot be the name of an attribute (spec §1.1)."""
    if _NAME.fullmatch(name) is None:
        raise BadEvent("name", f"attribute name {shown(name)} holds other characters than a-z and 0-9")
    if name == "data":
        raise BadEvent("name", 'no attribute may be named "data"')


def check_string(name: str, value: str) -> None:
    """Raises BadEvent for characters that no String may hold. Call it for what is not printable: that is a superset."""
    found = _FORBIDDEN.search(value)
    if found is not None:
        raise BadEvent(
            "character", f'attribute "{name}" holds U+{ord(found[0]):04X}, a control character or noncharacter'
        )


def judge(attributes: dict[str, str]) -> None:
    """Is this the context of an event? The values are Strings by now. Raises BadEvent."""
    get = attributes.get
    version = get("specversion")
    if version != "1.0" and version != "0.3":
        if version is None:
            raise BadEvent("specversion", 'there is no "specversion"; CloudEvents 1.0 and 0.3 are taken')
        raise BadEvent("specversion", f"specversion {shown(version)} is not known; CloudEvents 1.0 and 0.3 are taken")
    for name in ("id", "source", "type"):
        value = get(name)
        if not value or value.isspace():
            raise BadEvent(name, f'required attribute "{name}" is {"missing" if value is None else "empty"}')
    if _REFERENCE.match(attributes["source"]) is None:
        raise BadEvent("source", f"source {shown(attributes['source'])} is no URI-reference (RFC 3986 §4.1)")
    if (value := get("time")) is not None and _TIME.fullmatch(value) is None and not _leap(value):
        raise BadEvent("time", f"time {shown(value)} is no RFC 3339 timestamp like 2006-01-02T15:04:05Z")
    if (value := get("datacontenttype")) is not None and value not in _known:
        media(value)
    if (value := get("subject")) is not None and (not value or value.isspace()):
        raise BadEvent("subject", 'attribute "subject" is empty; leave it out instead')
    if version == "1.0":
        if (value := get("dataschema")) is not None and _ABSOLUTE.match(value) is None:
            raise BadEvent("dataschema", f"dataschema {shown(value)} is no absolute URI (RFC 3986 §4.3)")
    elif (value := get("schemaurl")) is not None and (not value or _REFERENCE.match(value) is None):
        raise BadEvent("dataschema", f"schemaurl {shown(value)} is no URI-reference (RFC 3986 §4.1)")


def is_timestamp(value: str) -> bool:
    """RFC 3339, as the type Timestamp requires (spec §1.4)."""
    return _TIME.fullmatch(value) is not None or _leap(value)


def shown(value: str) -> str:
    """A value as an error message quotes it."""
    return repr(value if len(value) <= SHOWN_CHARS_MAX else value[:SHOWN_CHARS_MAX] + "…")


def _leap(value: str) -> bool:
    """A 29 February of a leap year."""
    match = _LEAP_DAY.match(value)
    if match is None:
        return False
    century, year = int(match[1]), int(match[2])
    leap = year % 4 == 0 if year else century % 4 == 0
    return leap and _TIME.fullmatch(value[:8] + "28" + value[10:]) is not None
