"""Bodies made by hand from the encoding's definition; what kubectl really sends is in conformance/kubectl."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api import protobuf
from controlplane.api.protobuf import MAGIC, ProtobufFault, decode


def varint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    return MAGIC + field(1, field(1, api_version) + field(2, kind)) + field(2, raw) + field(3, "") + field(4, "")


def test_a_secret_with_metadata() -> None:
    owner = field(1, "Service") + field(3, "o") + field(4, "u") + field(5, "x/v1") + field(6, 1)
    label = field(1, "k") + field(2, "v")
    time = field(1, 1_700_000_000) + field(2, 5)
    meta = field(1, "n") + field(3, "ns") + field(5, "") + field(8, time) + field(11, label) + field(13, owner)
    meta += field(14, "f1") + field(14, "f2") + field(7, 3)
    raw = field(1, meta) + field(2, field(1, "p") + field(2, b"\xff\x00")) + field(3, "Opaque") + field(5, 1)
    assert decode(envelope("v1", "Secret", raw)) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "n",
            "namespace": "ns",
            "creationTimestamp": "2023-11-14T22:13:20Z",
            "labels": {"k": "v"},
            "ownerReferences": [{"kind": "Service", "name": "o", "uid": "u", "apiVersion": "x/v1", "controller": True}],
            "finalizers": ["f1", "f2"],
            "generation": 3,
        },
        "data": {"p": "/wA="},
        "type": "Opaque",
        "immutable": True,
    }


def test_a_map_entry_may_lack_its_value() -> None:
    found = decode(envelope("v1", "ConfigMap", field(2, field(1, "k"))))
    assert found["data"] == {"k": ""}


def test_unknown_fields_of_every_wire_type_are_skipped() -> None:
    unknown = field(100, 7) + field(101, b"x") + varint(102 << 3 | 1) + bytes(8) + varint(103 << 3 | 5) + bytes(4)
    assert decode(envelope("v1", "Namespace", unknown + field(1, field(1, "n"))))["metadata"] == {"name": "n"}


def test_delete_options_of_any_group() -> None:
    raw = field(1, 30) + field(2, field(1, "uid")) + field(4, "Foreground") + field(5, "All")
    assert decode(envelope("meta.k8s.io/v1", "DeleteOptions", raw)) == {
        "apiVersion": "meta.k8s.io/v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 30,
        "preconditions": {"uid": "uid"},
        "propagationPolicy": "Foreground",
        "dryRun": ["All"],
    }


def test_negative_numbers_are_two_s_complement() -> None:
    raw = field(1, (1 << 64) - 1)
    assert decode(envelope("v1", "DeleteOptions", raw))["gracePeriodSeconds"] == -1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        MAGIC,
        envelope("v1", "Pod", b""),
        envelope("v1", "Secret", field(1, 7)),
        envelope("v1", "Secret", field(1, field(1, b"\xff"))),
        envelope("v1", "Secret", b"\x0b"),
        envelope("v1", "Secret", b"\x0a\x7f"),
        envelope("v1", "Secret", b"\x80" * 12),
        envelope("v1", "Secret", field(1, b""))[:-9],
    ],
)
def test_what_is_malformed_or_not_known_is_a_fault(body: bytes) -> None:
    with pytest.raises(ProtobufFault):
        decode(body)


@given(st.binary(max_size=60), st.sampled_from(["Secret", "ConfigMap", "Namespace", "ServiceAccount", "DeleteOptions"]))
def test_any_bytes_are_data_or_a_fault(raw: bytes, kind: str) -> None:
    try:
        assert decode(envelope("v1", kind, raw))["kind"] == kind
    except ProtobufFault:
        pass
    try:
        protobuf.decode(MAGIC + raw)
    except ProtobufFault:
        pass
