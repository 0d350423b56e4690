import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.store.contract import Record
from broker.store.redis.flat import flatten, unflatten
from dataplane.wire.cloudevents import Event

text = st.text(st.characters(blacklist_categories=["Cs"]))
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20)
times = st.floats(0, 1e10)
records = st.builds(
    Record,
    event=st.builds(
        Event,
        st.dictionaries(names, text, max_size=5).map(
            lambda more: {"specversion": "1.0", "id": "i", "source": "s", "type": "t", **more}
        ),
        st.none() | st.binary(),
        st.dictionaries(names, st.integers(-(2**31), 2**31 - 1) | st.booleans(), max_size=2),
        st.booleans(),
    ),
    arrived_at=times,
    hops=st.integers(0, 255),
    headers=st.lists(st.tuples(names, text), max_size=3).map(tuple),
    not_before=times,
    expires_at=times,
)


def as_redis_sends(fields: list[str | bytes]) -> list[bytes]:
    return [field.encode() if isinstance(field, str) else field for field in fields]


@given(records)
def test_a_record_survives_being_fields(record: Record) -> None:
    back = unflatten(as_redis_sends(flatten(record)))
    assert back == record
    assert list(back.event.attributes) == list(record.event.attributes)


def test_the_fields_are_those_of_a_kafka_message_and_readable() -> None:
    attributes = {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": "t",
        "datacontenttype": "text/plain",
        "x": "y",
    }
    fields = as_redis_sends(flatten(Record(event=Event(attributes, b"data"), arrived_at=1.5)))
    assert dict(zip(fields[::2], fields[1::2], strict=True)) == {
        b"ce_specversion": b"1.0",
        b"ce_id": b"1",
        b"ce_source": b"/s",
        b"ce_type": b"t",
        b"ct": b"text/plain",
        b"ce_x": b"y",
        b"data": b"data",
        b"at": b"1.5",
    }


def test_an_entry_added_by_hand_arrived_when_its_id_says() -> None:
    words = b"ce_specversion 1.0 ce_id 1 ce_source s ce_type t unknown field".split()
    record = unflatten(words, b"1700000000123-4")
    assert record.arrived_at == 1_700_000_000.123
    assert record.event.data is None


@pytest.mark.parametrize(
    "fields",
    [
        b"hello world",
        b"ce_specversion 1.0 ce_id 1 ce_source s",
        b"ce_specversion 1.0 ce_id \xff ce_source s ce_type t",
        b"ce_specversion 1.0 ce_id 1 ce_source s ce_type t at soon",
        b"ce_specversion 1.0 ce_id 1 ce_source s ce_type t typed [] hops 1",
        b"ce_specversion 1.0 ce_id 1 ce_source s ce_type t hdr {",
        b"ce_specversion 1.0 ce_id 1 ce_source s ce_type",
    ],
)
def test_what_is_no_event_is_a_value_error(fields: bytes) -> None:
    with pytest.raises(ValueError):
        unflatten(fields.split(b" "))


def test_names_of_hostile_producers_are_not_remembered_for_ever() -> None:
    from broker.store.redis import flat

    for i in range(3000):
        attributes = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", f"hostile{i}": "x"}
        record = Record(event=Event(attributes), arrived_at=1.0)
        assert unflatten(as_redis_sends(flatten(record))) == record
    assert len(flat._field) <= flat._NAMES_MAX
