"""What a producer's event becomes on the log, without a socket."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import admit as module
from broker.admit import admit, admit_all, arrival, hops_left, passed_on
from dataplane.clock import parse_rfc3339
from dataplane.errors import BadEvent, HopsExhausted, UnsupportedCoding
from dataplane.wire.cloudevents import Event

NOW = 1_800_000_000.25


def event(**attributes: str) -> Event:
    return Event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **attributes}, b"x")


def test_an_event_gets_its_arrival_and_all_hops():
    record = admit(event(), (), NOW, 255)
    assert record.event.attributes["knativearrivaltime"] == "2027-01-15T08:00:00.250000Z"
    assert (record.arrived_at, record.hops, record.not_before, record.expires_at) == (NOW, 255, 0.0, 0.0)


@given(st.floats(0, 4e9))
def test_arrival_is_the_time_to_the_microsecond(now: float):
    text = arrival(now)
    assert len(text) == 27
    assert abs(datetime.fromisoformat(text).timestamp() - now) < 2e-6
    assert datetime.fromisoformat(text).tzinfo == UTC


@pytest.mark.parametrize(
    ("ttl", "left"),
    [("255", 100), ("101", 100), ("100", 99), ("2", 1), ("", 100), ("2.0", 100), ("٢", 100), ("-x", 100)],
)
def test_hops_are_one_fewer_and_never_more_than_the_limit(ttl: str, left: int):
    assert hops_left(ttl, 100) == left


@pytest.mark.parametrize("ttl", ["1", "0", "-0", "-1", "000000001"])
def test_no_hop_is_left(ttl: str):
    with pytest.raises(HopsExhausted):
        hops_left(ttl, 255)


def test_the_ttl_is_taken_off_as_text_and_as_number():
    came = Event(
        {**event().attributes, "knativebrokerttl": "7", "knativearrivaltime": "5"},
        None,
        {"knativebrokerttl": 7, "knativearrivaltime": 5},
    )
    record = admit(came, (), NOW, 255)
    assert record.hops == 6
    assert "knativebrokerttl" not in record.event.attributes
    assert record.event.typed == {}


def test_times_of_the_event_itself():
    record = admit(event(expirytime="2027-01-15T09:00:00+01:00", notbefore="2027-01-15t08:00:01.5z"), (), NOW, 255)
    assert record.expires_at == parse_rfc3339("2027-01-15T08:00:00Z")
    assert record.not_before == 1_800_000_001.5
    assert admit(event(expirytime="2016-12-31T23:59:60.5Z"), (), NOW, 255).expires_at == 1483228799.5
    for name in ("expirytime", "notbefore"):
        with pytest.raises(BadEvent) as caught:
            admit(event(**{name: "2027-01-15 08:00:00Z"}), (), NOW, 255)
        assert caught.value.reason == name


def test_all_of_a_batch_or_none():
    assert len(admit_all([event(), event()], (), NOW, 255)) == 2
    assert admit_all([], (), NOW, 255) == []
    with pytest.raises(BadEvent) as caught:
        admit_all([event(), event(), event(knativebrokerttl="1")], (), NOW, 255)
    assert (caught.value.index, caught.value.reason) == (2, "hops_exhausted")
    with pytest.raises(HopsExhausted):
        admit_all([event(knativebrokerttl="1")], (), NOW, 255)


def test_headers_that_go_on_and_those_that_do_not():
    fields = [
        (b"TraceParent", b"00-x"),
        (b"X-B3-Flags", b"1 "),
        (b"Cookie", b"c"),
        (b"knative-x", b"\xff"),
        (b"ce-id", b"1"),
    ]
    assert passed_on(fields) == (("traceparent", "00-x"), ("x-b3-flags", "1"))
    assert passed_on([(b"Content-Encoding", b"Identity")]) == ()
    with pytest.raises(UnsupportedCoding):
        passed_on([(b"content-encoding", b"br")])


def test_names_of_headers_are_remembered_within_a_bound():
    for number in range(module.NAMES_MAX + 10):
        passed_on([(b"x-%d" % number, b"1")])
    assert len(module._passed) <= module.NAMES_MAX
    assert passed_on([(b"x-b3-new", b"1")]) == (("x-b3-new", "1"),)
