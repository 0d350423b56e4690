"""To the CloudEvents SDK and back, and what the SDK says about the same bytes."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from broker.sdk import from_sdk, to_sdk
from dataplane.wire.cloudevents import BadEvent, Event, decode_http, encode_binary, encode_structured

HEAD = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


@pytest.mark.parametrize(
    "event",
    [
        Event(HEAD, b'{"a":1,"a":  2}'),
        Event({**HEAD, "datacontenttype": "application/json"}, b"12345678901234567890.10"),
        Event({**HEAD, "time": "2018-04-05T17:31:00.123456Z", "n": "5", "b": "true"}, None, {"n": 5, "b": True}),
        Event({**HEAD, "time": "2018-04-05T17:31:00+02:00", "subject": "x"}, b""),
        Event({**HEAD, "specversion": "0.3", "schemaurl": "/x"}, b"\xff"),
    ],
)
def test_there_and_back_nothing_changes(event: Event):
    assert from_sdk(to_sdk(event)) == event


def test_an_event_without_time_stays_without():
    assert to_sdk(Event(HEAD)).get_time() is None


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("2018-04-05T17:31:00.123456789Z", "2018-04-05T17:31:00.123456Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999Z"),
        ("2016-12-31t23:59:60.5z", "2016-12-31T23:59:59.999999Z"),
        ("0000-02-29T12:00:00Z", "0001-01-01T00:00:00Z"),
        ("2016-12-31T23:59:59.1-08:00", "2016-12-31T23:59:59.100000-08:00"),
    ],
)
def test_what_a_datetime_cannot_hold_is_rounded_down(text: str, back: str):
    assert from_sdk(to_sdk(Event({**HEAD, "time": text}))).attributes["time"] == back


def test_what_a_program_makes_is_written_canonically():
    made = CloudEvent(
        {
            "id": "1",
            "source": "/s",
            "type": "t",
            "time": datetime(2018, 4, 5, tzinfo=UTC),
            "flag": False,
            "n": -3,
            "gone": None,
        },
        {"a": [1, 2.5, None]},
    )
    event = from_sdk(made)
    assert event.attributes == {
        "specversion": "1.0", "id": "1", "source": "/s", "type": "t", "time": "2018-04-05T00:00:00Z", "flag": "false", "n": "-3",
    }  # fmt: skip
    assert event.typed == {"flag": False, "n": -3}
    assert event.data == b'{"a":[1,2.5,null]}'
    assert event.json_implied


def test_zones_are_kept():
    made = CloudEvent(
        {"id": "1", "source": "/s", "type": "t", "time": datetime(2018, 4, 5, tzinfo=timezone(timedelta(hours=2)))}
    )
    assert from_sdk(made).attributes["time"] == "2018-04-05T00:00:00+02:00"


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [({"n": 1 << 31}, "value"), ({"n": 1.5}, "value"), ({"n": b"x"}, "value"), ({"x": "\0"}, "character"), ({"source": " "}, "source"), ({"dataschema": "x"}, "dataschema")],
)  # fmt: skip
def test_what_is_no_sound_event_is_refused(attributes: dict[str, object], reason: str):
    with pytest.raises(BadEvent) as caught:
        from_sdk(CloudEvent({"id": "1", "source": "/s", "type": "t", **attributes}))
    assert caught.value.reason == reason


def test_the_library_is_loaded_by_who_uses_it():
    subprocess.run(
        [sys.executable, "-c", "import broker.sdk, sys; assert 'cloudevents' not in sys.modules"], check=True
    )


printable = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=20).filter(str.strip)
objects = st.dictionaries(printable, st.integers(0, 1000) | printable | st.booleans(), max_size=4)
attributes = st.fixed_dictionaries(
    {
        "id": printable,
        "type": printable,
        "source": st.just("/s"),
        "ext": printable,
        "time": st.just("2018-04-05T17:31:00.000001Z"),
    }
)


@given(attributes, objects)
def test_the_sdk_reads_what_we_write(own: dict[str, str], payload: dict[str, object]):
    import json

    event = Event({"specversion": "1.0", **own, "datacontenttype": "application/json"}, json.dumps(payload).encode())
    lines, body = encode_binary(event)
    headers = dict(line.split(": ", 1) for line in lines.decode().splitlines())
    for read in (
        from_http_event(HTTPMessage(headers, body)),
        from_http_event(HTTPMessage({}, encode_structured(event)[1])),
    ):
        assert read.get_data() == payload
        for name, value in event.attributes.items():
            if name != "time":
                assert read.get_attributes()[name] == value
        assert read.get_time() == datetime(2018, 4, 5, 17, 31, 0, 1, UTC)


@given(attributes, objects)
def test_we_read_what_the_sdk_writes(own: dict[str, str], payload: dict[str, object]):
    import json

    made = CloudEvent(
        {
            "specversion": "1.0",
            **own,
            "time": datetime(2018, 4, 5, 17, 31, 0, 1, UTC),
            "datacontenttype": "application/json",
        },
        payload,
    )
    binary, structured = to_binary_event(made), to_structured_event(made)
    for message in (binary, structured):
        [event] = decode_http([(k.encode(), v.encode()) for k, v in message.headers.items()], message.body)
        assert json.loads(event.data or b"") == payload
        assert event.attributes == {"specversion": "1.0", **own, "datacontenttype": "application/json"}
