"""A record of ours comes back as it was; a record of anybody is judged."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.store.contract import Record
from broker.store.kafka.records import decode, encode, taken
from dataplane.errors import BadEvent
from dataplane.wire.cloudevents import Event

TEXT = st.text(max_size=20)
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True).filter(
    lambda name: name not in ("data", "datacontenttype", "specversion", "id", "source", "type")
)
EVENTS = st.builds(
    lambda id, more, data, typed, implied, kind: Event(
        {
            "specversion": "1.0",
            "id": id,
            "source": "/s",
            "type": "t",
            **more,
            **({"datacontenttype": kind} if kind else {}),
        },
        data,
        typed,
        implied,
    ),
    TEXT.filter(bool),
    st.dictionaries(NAMES, TEXT, max_size=4),
    st.none() | st.binary(max_size=50),
    st.dictionaries(NAMES, st.booleans() | st.integers(-(2**31), 2**31 - 1), max_size=3),
    st.booleans(),
    st.sampled_from(["", "application/json", "text/plain"]),
)
RECORDS = st.builds(
    Record,
    event=EVENTS,
    arrived_at=st.floats(0, 4e9),
    hops=st.integers(0, 255),
    headers=st.lists(st.tuples(st.sampled_from(["traceparent", "x-request-id"]), TEXT), max_size=3).map(tuple),
    not_before=st.floats(0, 4e9),
    expires_at=st.floats(0, 4e9),
)


@given(RECORDS)
def test_what_was_accepted_comes_back_as_it_was(record: Record) -> None:
    key, value, headers, timestamp_ms, size = encode(record)
    assert decode(headers, value, timestamp_ms) == record
    assert size >= len(value or b"") + len(key or b"")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("ce_id", b"1")],
        [("dataplane_arrived", b"x")],
        [("dataplane_arrived", b"1")],
        [("dataplane_arrived", b"1"), ("dataplane_typed", b"[")],
        [("dataplane_arrived", b"1"), ("dataplane_hops", b"many")],
        [
            ("dataplane_arrived", b"1"),
            ("dataplane_implied", b"1"),
            ("ce_id", b"1"),
            ("ce_source", b"s"),
            ("ce_type", b"t"),
        ],
        [("dataplane_arrived", None)],
        [("content-type", b"application/cloudevents+avro")],
    ],
)
def test_what_is_no_event_is_told(headers: list[tuple[str, bytes]]) -> None:
    with pytest.raises(BadEvent):
        decode(headers, b"{}", 0)


def test_the_key_is_the_partitionkey_and_the_time_the_arrival() -> None:
    event = Event({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "partitionkey": "k"}, b"")
    encoded = encode(Record(event=event, arrived_at=12.3456))
    assert (encoded.key, encoded.timestamp_ms) == (b"k", 12345)


@pytest.mark.parametrize(("offset", "typed"), [(7, 7), (2**31 - 1, 2**31 - 1), (2**31, None)])
def test_what_is_delivered_says_where_in_the_topic_it_stands(offset, typed):
    event = Event(
        {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "knativekafkaoffset": "1", "n": "5"},
        b"x",
        {"knativekafkaoffset": 1, "n": 5},
    )
    wire = encode(Record(event=event, arrived_at=1.5))
    raw = SimpleNamespace(
        headers=wire.headers, value=wire.value, timestamp=wire.timestamp_ms, partition=3, offset=offset
    )
    found = taken(raw).event
    assert found.attributes == {**event.attributes, "knativekafkapartition": "3", "knativekafkaoffset": str(offset)}
    assert found.typed == {"n": 5, "knativekafkapartition": 3} | ({"knativekafkaoffset": typed} if typed else {})
    assert found.data == b"x"
