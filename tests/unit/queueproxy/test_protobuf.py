"""The Stat message, byte by byte, against a reader written from the encoding's document."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from queueproxy.protobuf import encode_stat


def read(message: bytes) -> dict[int, object]:
    """{field number: value}. Proto3 wire format: tag varint, then varint, 8 bytes or length and bytes."""

    def varint(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value, at

    fields: dict[int, object] = {}
    at = 0
    while at < len(message):
        tag, at = varint(at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            fields[number], at = varint(at)
        elif kind == 1:
            fields[number] = struct.unpack_from("<d", message, at)[0]
            at += 8
        else:
            assert kind == 2
            size, at = varint(at)
            fields[number] = message[at : at + size]
            at += size
    assert at == len(message)
    return fields


def test_only_the_name_before_the_first_interval():
    assert encode_stat(pod_name="pod-1") == b"\x0a\x05pod-1"


def test_a_default_value_is_not_sent():
    assert encode_stat(pod_name="") == b""


def test_every_field_has_its_number_and_type():
    message = encode_stat(
        pod_name="p",
        concurrency=1.5,
        proxied_concurrency=0.5,
        requests=2,
        proxied_requests=1,
        uptime_s=7.25,
        timestamp_ms=300,
    )
    assert message == bytes.fromhex(
        "0a017011000000000000f83f19000000000000e03f21000000000000004029000000000000f03f310000000000001d4038ac02"
    )


@given(
    st.text(max_size=300).filter(lambda t: t.isprintable()),
    st.lists(st.floats(0, 1e7), min_size=5, max_size=5),
    st.integers(0, 1 << 62),
)
def test_a_reader_gets_back_what_was_written(name, numbers, timestamp):
    message = encode_stat(
        pod_name=name,
        concurrency=numbers[0],
        proxied_concurrency=numbers[1],
        requests=numbers[2],
        proxied_requests=numbers[3],
        uptime_s=numbers[4],
        timestamp_ms=timestamp,
    )
    fields = read(message)
    assert fields.get(1, b"") == name.encode()
    assert [fields.get(n, 0.0) for n in range(2, 7)] == numbers
    assert fields.get(7, 0) == timestamp


def test_a_usual_message_fits_what_knatives_autoscaler_reads():
    """Its scraper reads at most 336 bytes; a pod name is at most 253 characters, and the rest is fixed."""
    message = encode_stat(
        pod_name="p" * 253,
        concurrency=1.1,
        proxied_concurrency=1.1,
        requests=1.1,
        proxied_requests=1.1,
        uptime_s=1e6,
        timestamp_ms=1_800_000_000_000,
    )
    assert len(message) <= 336
