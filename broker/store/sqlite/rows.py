"""A record as columns, and back; with a checksum over what is read back.

Path: log.py (encode) → files.py → disk → reading.py → [rows] (decode).

The checksum covers the position too, so a row can be neither damaged nor another one. `id`, `source`, `type` and `time`
are copies for people: nothing here reads them but `find`.

Source: reliability.md BR-04, BR-05.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple
from zlib import crc32

import msgspec

from broker.store.contract import HOPS_MAX, Failure, Record
from dataplane.wire.cloudevents import Event

ROW_BYTES = 100  # what a row takes beside its texts and payload

_encode = msgspec.json.Encoder().encode
_attributes = msgspec.json.Decoder(dict[str, str]).decode
_double = struct.Struct("<d").pack
_place = struct.Struct("<q").pack


class _More(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What most records do not have."""

    hops: int = HOPS_MAX
    headers: tuple[tuple[str, str], ...] = ()
    typed: dict[str, int | bool] = {}
    implied: bool = False
    not_before: float = 0.0
    expires_at: float = 0.0


_more = msgspec.json.Decoder(_More).decode
_failure = msgspec.json.Decoder(Failure).decode

COLUMNS = "CAST(attributes AS BLOB), data, CAST(more AS BLOB), arrived_at, crc"
"""What `decode` takes, in its order. Texts as bytes: a damaged one need not be UTF-8."""


class Damaged(Exception):
    """A row whose checksum does not hold."""


Columns = tuple[str, str, str, str | None, str, bytes | None, str | None, float]
"""id, source, type, time, attributes, data, more, arrived_at."""


class Row(NamedTuple):
    """A record that has no position yet. checksum: without the position."""

    columns: Columns
    size_bytes: int
    checksum: int


def encode(record: Record) -> Row:
    """Raises UnicodeEncodeError for text that is no Unicode."""
    event = record.event
    named = event.attributes
    attributes = _encode(named)
    data = event.data
    more: bytes | None = None
    if (
        record.headers
        or record.hops != HOPS_MAX
        or event.typed
        or event.json_implied
        or record.not_before
        or record.expires_at
    ):
        more = _encode(
            _More(record.hops, record.headers, event.typed, event.json_implied, record.not_before, record.expires_at)
        )
    size_bytes = ROW_BYTES + len(attributes)
    if data is not None:
        size_bytes += len(data)
    if more is not None:
        size_bytes += len(more)
    arrived_at = record.arrived_at
    columns = (
        named["id"],
        named["source"],
        named["type"],
        named.get("time"),
        attributes.decode(),
        data,
        None if more is None else more.decode(),
        arrived_at,
    )
    return Row(columns, size_bytes, checksum(attributes, data, more, arrived_at))


def checksum(attributes: bytes, data: bytes | None, more: bytes | None, arrived_at: float) -> int:
    value = crc32(_double(arrived_at), crc32(attributes))
    value = crc32(b"\0none", value) if data is None else crc32(data, value)
    return value if more is None else crc32(more, value)


def placed(value: int, position: int) -> int:
    """The checksum of a row that stands at `position`."""
    return crc32(_place(position), value)


def decode(position: int, attributes: object, data: object, more: object, arrived_at: object, crc: object) -> Record:
    """position: 0 for a letter. Raises Damaged."""
    if (
        not isinstance(attributes, bytes)
        or not isinstance(data, bytes | None)
        or not isinstance(more, bytes | None)
        or not isinstance(arrived_at, float)
        or placed(checksum(attributes, data, more, arrived_at), position) != crc
    ):
        raise Damaged(f"the checksum of position {position} does not hold")
    try:
        named = _attributes(attributes)
        if more is None:
            return Record(event=Event(named, data), arrived_at=arrived_at)
        rest = _more(more)
    except msgspec.DecodeError as error:
        raise Damaged(f"position {position}: {error}") from error
    return Record(
        event=Event(named, data, rest.typed, rest.implied),
        arrived_at=arrived_at,
        hops=rest.hops,
        headers=rest.headers,
        not_before=rest.not_before,
        expires_at=rest.expires_at,
    )


def encode_failure(failure: Failure) -> str:
    return _encode(failure).decode()


def decode_failure(text: str) -> Failure:
    return _failure(text)


def seen_key(named: Mapping[str, str]) -> bytes:
    """(source, id) as it stands in table `seen`."""
    return f"{len(named['source'])}:{named['source']}{named['id']}".encode()
