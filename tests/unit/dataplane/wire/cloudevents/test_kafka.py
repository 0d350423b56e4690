"""CloudEvents in Kafka records."""

import pytest

from dataplane.wire.cloudevents import BadEvent, Event, decode_kafka, encode_kafka, encode_structured
from dataplane.wire.cloudevents import kafka as codec

BASE = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/s"), ("ce_type", b"t")]


def test_a_record_holds_attributes_as_headers_and_data_as_its_value():
    event = Event(
        {
            "specversion": "1.0",
            "id": "1",
            "source": "/s",
            "type": "t",
            "datacontenttype": "a/b",
            "partitionkey": "€ %20",
        },
        b"\0\xff",
    )
    headers, value = encode_kafka(event)
    assert headers == [*BASE, ("content-type", b"a/b"), ("ce_partitionkey", "€ %20".encode())]
    assert value == b"\0\xff"
    assert decode_kafka(headers, value) == event


@pytest.mark.parametrize("data", [None, b"", b"x"])
def test_no_data_is_a_null_value_and_empty_data_is_not(data: bytes | None):
    event = Event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, data)
    headers, value = encode_kafka(event)
    assert value == data
    assert decode_kafka(headers, value) == event


def test_implied_json_is_said():
    event = Event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b"5", {}, True)
    assert ("content-type", b"application/json") in encode_kafka(event)[0]


def test_structured_records_are_read():
    event = Event({"specversion": "0.3", "id": "1", "source": "/s", "type": "t", "datacontenttype": "a/json"}, b"5")
    _, value = encode_structured(event)
    assert decode_kafka([("content-type", b"application/cloudevents+json; charset=UTF-8")], value) == event


def test_headers_of_others_and_ce_datacontenttype_are_left_alone():
    foreign = [("traceparent", b"\xff"), ("ce_datacontenttype", b"a/b"), ("x", None)]
    assert decode_kafka([*foreign, *BASE], None) == Event(
        {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    )


def test_other_clients_may_write_names_and_types_in_capitals():
    assert decode_kafka([("CE_Ext", b"v"), *BASE], None).attributes["ext"] == "v"
    event = Event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"})
    assert decode_kafka([("Content-Type", b"Application/CloudEvents+JSON")], encode_structured(event)[1]) == event


def test_names_of_headers_are_remembered_within_a_bound():
    for number in range(codec.NAMES_MAX + 10):
        decode_kafka([*BASE, (f"x{number}", b"")], None)
    decode_kafka([*BASE, ("ce_" + "y" * 200, b"")], None)
    assert len(codec._names) == codec.NAMES_MAX


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([], "specversion"),
        (BASE[:3], "type"),
        ([*BASE, ("ce_id", b"2")], "duplicate"),
        ([*BASE, ("ce_x", b"\xff")], "encoding"),
        ([*BASE, ("ce_x", b"\0")], "character"),
        ([*BASE, ("ce_x-y", b"1")], "name"),
        ([("content-type", b"application/cloudevents-batch+json")], "format"),
        ([("content-type", b"application/cloudevents+json")], "json"),
    ],
)
def test_records_that_are_no_events_are_refused(headers: list[tuple[str, bytes]], reason: str):
    with pytest.raises(BadEvent) as caught:
        decode_kafka(headers, None)
    assert caught.value.reason == reason
