"""Protobuf bodies of the few core kinds that kubectl sends so: `kubectl create namespace|configmap|secret|…`. Pure.

Path: bodies → [protobuf] → the same JSON-shaped data as from JSON.

kubectl's typed clients encode core kinds as protobuf and have no other way when a server refuses. Only what they send
is here: messages as tables of field numbers, walked by one bounded decoder. Unknown fields are skipped. Answers are
always JSON, which these clients accept.

Source: Kubernetes "Alternate representations of resources"; generated.proto of core/v1, meta/v1 and runtime;
protobuf.dev/programming-guides/encoding.
"""

import base64
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from dataplane.clock import rfc3339

T = TypeVar("T", int, bytes)

MAGIC = b"k8s\x00"
_DEPTH_MAX = 10
_TIME_S_MAX = 253402300799  # the end of the year 9999


class ProtobufFault(ValueError):
    """Cut short, malformed, or of a kind that is not here."""


class _Field(NamedTuple):
    name: str
    kind: str  # string, bytes, int, bool, time, message, strings (map to string), blobs (map to bytes)
    message: "dict[int, _Field] | None" = None
    repeated: bool = False


def _text(*names: str) -> dict[int, _Field]:
    return {number: _Field(name, "string") for number, name in enumerate(names, 1) if name}


_OWNER = {
    **_text("kind", "", "name", "uid", "apiVersion"),
    6: _Field("controller", "bool"),
    7: _Field("blockOwnerDeletion", "bool"),
}
_META = {
    **_text("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion"),
    7: _Field("generation", "int"),
    8: _Field("creationTimestamp", "time"),
    9: _Field("deletionTimestamp", "time"),
    10: _Field("deletionGracePeriodSeconds", "int"),
    11: _Field("labels", "strings"),
    12: _Field("annotations", "strings"),
    13: _Field("ownerReferences", "message", _OWNER, repeated=True),
    14: _Field("finalizers", "string", repeated=True),
}
_REFERENCE = _text("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_LOCAL = _text("name")
_METADATA = _Field("metadata", "message", _META)

_KINDS: dict[tuple[str, str], dict[int, _Field]] = {
    ("v1", "Namespace"): {1: _METADATA},
    ("v1", "ConfigMap"): {
        1: _METADATA,
        2: _Field("data", "strings"),
        3: _Field("binaryData", "blobs"),
        4: _Field("immutable", "bool"),
    },
    ("v1", "Secret"): {
        1: _METADATA,
        2: _Field("data", "blobs"),
        3: _Field("type", "string"),
        4: _Field("stringData", "strings"),
        5: _Field("immutable", "bool"),
    },
    ("v1", "ServiceAccount"): {
        1: _METADATA,
        2: _Field("secrets", "message", {3: _REFERENCE[3]}, repeated=True),
        3: _Field("imagePullSecrets", "message", _LOCAL, repeated=True),
        4: _Field("automountServiceAccountToken", "bool"),
    },
}
_DELETE_OPTIONS = {
    1: _Field("gracePeriodSeconds", "int"),
    2: _Field("preconditions", "message", _text("uid", "resourceVersion")),
    3: _Field("orphanDependents", "bool"),
    4: _Field("propagationPolicy", "string"),
    5: _Field("dryRun", "string", repeated=True),
}


def decode(body: bytes) -> dict[str, Any]:
    """JSON-shaped data with apiVersion and kind. Raises ProtobufFault."""
    if not body.startswith(MAGIC):
        raise ProtobufFault("no Kubernetes protobuf")
    envelope: dict[str, Any] = {}
    for number, value in _pairs(body[len(MAGIC) :]):
        if number == 1:
            envelope.update(_message(_expect(value, bytes), _text("apiVersion", "kind"), 1))
        elif number == 2:
            envelope["raw"] = _expect(value, bytes)
    api_version, kind = envelope.get("apiVersion", ""), envelope.get("kind", "")
    fields = _DELETE_OPTIONS if kind == "DeleteOptions" else _KINDS.get((api_version, kind))
    if fields is None:
        raise ProtobufFault(f"{api_version} {kind} is not read as protobuf; send JSON")
    return {"apiVersion": api_version, "kind": kind, **_message(envelope.get("raw", b""), fields, 1)}


def _message(data: bytes, fields: dict[int, _Field], depth: int) -> dict[str, Any]:
    if depth > _DEPTH_MAX:
        raise ProtobufFault("nested too deep")
    found: dict[str, Any] = {}
    for number, raw in _pairs(data):
        field = fields.get(number)
        if field is None:
            continue
        if field.kind in ("strings", "blobs"):
            key, value = _entry(_expect(raw, bytes), binary=field.kind == "blobs")
            found.setdefault(field.name, {})[key] = value
        elif field.repeated:
            found.setdefault(field.name, []).append(_value(field, raw, depth))
        elif (value := _value(field, raw, depth)) not in (None, ""):  # Go writes empty strings, too: not set
            found[field.name] = value
    return found


def _value(field: _Field, raw: int | bytes, depth: int) -> Any:
    if field.kind == "int":
        number = _expect(raw, int)
        return number - (1 << 64) if number >> 63 else number
    if field.kind == "bool":
        return bool(_expect(raw, int))
    data = _expect(raw, bytes)
    if field.kind == "time":
        seconds = dict(_pairs(data)).get(1, 0)
        return rfc3339(seconds) if isinstance(seconds, int) and 0 < seconds <= _TIME_S_MAX else None
    if field.kind == "message":
        assert field.message is not None
        return _message(data, field.message, depth + 1)
    return _string(data)


def _entry(data: bytes, *, binary: bool) -> tuple[str, str]:
    pair = dict(_pairs(data))
    key, value = _expect(pair.get(1, b""), bytes), _expect(pair.get(2, b""), bytes)
    return _string(key), base64.b64encode(value).decode() if binary else _string(value)


def _string(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ProtobufFault("a string is not UTF-8") from error


def _expect(value: int | bytes, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise ProtobufFault("a field has another wire type")
    return value


def _pairs(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, varint or bytes) of one message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ProtobufFault(f"wire type {wire}")
        if at + size > len(data):
            raise ProtobufFault("cut short")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ProtobufFault("cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ProtobufFault("a number is too long")
