"""What holds for every event and for every garbage, found by hypothesis."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.wire.cloudevents import (
    BadEvent,
    Event,
    UnsupportedFormat,
    decode_http,
    decode_kafka,
    decode_reply,
    encode_batch,
    encode_binary,
    encode_kafka,
    encode_structured,
)

Fields = list[tuple[bytes, bytes]]


def noncharacter(c: str) -> bool:
    return 0xFDD0 <= ord(c) <= 0xFDEF or ord(c) & 0xFFFE == 0xFFFE


strings = st.text(st.characters(exclude_categories=("Cc", "Cs")).filter(lambda c: not noncharacter(c)), max_size=30)
solid = strings.filter(lambda s: s != "" and not s.isspace())
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20).filter(
    lambda n: n not in ("data", "specversion", "id", "source", "type", "time", "datacontenttype", "subject", "dataschema", "schemaurl", "datacontentencoding")
)  # fmt: skip
values = strings | st.integers(-(2**31), 2**31 - 1) | st.booleans()
json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=8,
).map(lambda value: json.dumps(value, ensure_ascii=False).encode())
types = st.sampled_from(
    ["application/json", "text/plain", "application/xml; charset=utf-8", 'a/b+json; x="y z"', "image/png"]
)


@st.composite
def events(draw: st.DrawFn, versions: tuple[str, ...] = ("1.0", "0.3")) -> Event:
    attributes = {"specversion": draw(st.sampled_from(versions)), "id": draw(solid), "type": draw(solid)}
    attributes["source"] = "/" + draw(strings)
    if draw(st.booleans()):
        attributes["datacontenttype"] = draw(types)
    if draw(st.booleans()):
        attributes["subject"] = draw(solid)
    typed = {}
    for name, value in draw(st.dictionaries(names, values, max_size=4)).items():
        if isinstance(value, str):
            attributes[name] = value
        else:
            typed[name] = value
            attributes[name] = json.dumps(value)
    data = draw(st.none() | st.binary(max_size=64) | json_data)
    if attributes["specversion"] == "0.3" and "datacontenttype" in attributes and data == b"":
        data = None
    return Event(attributes, data, typed)


def bare(event: Event) -> Event:
    """White space around a JSON value is not part of it."""
    if event.data is None or not event.attributes.get("datacontenttype", "").partition(";")[0].endswith("json"):
        return event
    return Event(event.attributes, event.data.strip(b" \t\r\n"), event.typed, event.json_implied)


def fields_of(lines: bytes) -> Fields:
    assert lines.endswith(b"\r\n")
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines[:-2].split(b"\r\n"))]


def through_binary(event: Event) -> Event:
    lines, body = encode_binary(event)
    assert lines.isascii()
    return decode_http(fields_of(lines), body)[0]


def through_structured(event: Event) -> Event:
    lines, body = encode_structured(event)
    json.loads(body)
    return decode_http(fields_of(lines), body)[0]


@given(events())
def test_binary_mode_keeps_every_attribute_and_byte(event: Event):
    back = through_binary(event)
    assert back.attributes == event.attributes
    assert list(back.attributes) == list(event.attributes)
    assert back.data == (event.data or None)


@given(events())
def test_structured_mode_keeps_types_as_well(event: Event):
    assert bare(through_structured(event)) == bare(event)


@given(st.lists(events(versions=("1.0",)), max_size=5))
def test_a_batch_keeps_all(many: list[Event]):
    lines, body = encode_batch(many)
    assert [bare(e) for e in decode_http(fields_of(lines), body)] == [bare(e) for e in many]


@given(events())
def test_a_kafka_record_keeps_every_attribute_and_byte(event: Event):
    back = decode_kafka(*encode_kafka(event))
    assert (back.attributes, back.data) == (event.attributes, event.data)


@given(events())
def test_from_mode_to_mode_nothing_changes(event: Event):
    there = bare(through_structured(through_binary(through_structured(event))))
    assert (there.attributes, there.data) == (event.attributes, bare(event).data or None)


@given(st.sampled_from(["1.0", "0.3"]), json_data)
def test_implied_json_stays_implied(version: str, data: bytes):
    event = Event({"specversion": version, "id": "1", "source": "/", "type": "t"}, data, {}, True)
    assert through_structured(event) == event
    assert through_binary(event).data == data


def sound(event: Event) -> None:
    """Whatever was taken can be written in every mode, and read again."""
    assert through_binary(event).data == (event.data or None)
    again = through_structured(event)
    assert again.attributes == event.attributes or event.attributes["specversion"] == "0.3"
    assert decode_kafka(*encode_kafka(event)).data == event.data


header_names = st.sampled_from(
    [b"ce-id", b"ce-specversion", b"ce-source", b"ce-type", b"ce-time", b"Content-Type", b"ce-x", b"CE-Subject", b"ce-datacontentencoding", b"x"]
) | st.binary(max_size=8)  # fmt: skip
header_values = (
    st.sampled_from([b"1.0", b"0.3", b"1", b"a/b", b"application/cloudevents+json", b"application/cloudevents-batch+json", b"base64", b'"x"', b"%41%"])
    | st.binary(max_size=12)
    | st.text('%"\\a01 ', max_size=8).map(str.encode)
)  # fmt: skip
sound_head = st.just([(b"ce-specversion", b"1.0"), (b"ce-id", b"1"), (b"ce-source", b"s"), (b"ce-type", b"t")])
fragments = st.lists(
    st.sampled_from(
        [b"{", b"}", b"[", b"]", b",", b":", b'"', b'"id":"1"', b'"source":"s"', b'"type":"t"', b'"specversion":"1.0"', b'"specversion":"0.3"',
         b'"data":', b'"data_base64":"AA=="', b"null", b"1", b"true", b'"datacontenttype":"text/plain"', b'"datacontentencoding":"base64"', b'"x":', b"\xff", b" "]
    ),
    max_size=14,
).map(b"".join)  # fmt: skip
objects = st.lists(
    st.sampled_from(
        [b'"data":1', b'"data":"AA=="', b'"data_base64":"AA=="', b'"data":null', b'"datacontenttype":"text/plain"', b'"datacontenttype":"a/json"',
         b'"datacontentencoding":"base64"', b'"x":1', b'"x":true', b'"X":null', b'"time":"2020-01-01T00:00:00Z"', b'"subject":"\\u20ac%"', b'"y":"\xc3\xa9"']
    ),
    max_size=5,
).flatmap(lambda m: st.sampled_from([b"1.0", b"0.3"]).map(lambda v: b'{"specversion":"%b","id":"1","source":"s","type":"t"%b}' % (v, b"".join(b"," + x for x in m))))  # fmt: skip
bodies = st.binary(max_size=64) | fragments | objects | objects.map(lambda o: b"[%b,%b]" % (o, o))


@settings(max_examples=500)
@given(st.lists(st.tuples(header_names, header_values), max_size=8), sound_head | st.just([]), bodies)
def test_garbage_is_refused_or_is_a_sound_event(fields: Fields, head: Fields, body: bytes):
    try:
        found = decode_http([*head, *fields], body)
    except (BadEvent, UnsupportedFormat):
        return
    for event in found:
        sound(event)


@settings(max_examples=300)
@given(objects | fragments, st.sampled_from([b"application/cloudevents+json", b"application/cloudevents-batch+json"]))
def test_structured_garbage_is_refused_or_is_a_sound_event(body: bytes, content_type: bytes):
    try:
        found = decode_http([(b"content-type", content_type)], body)
    except BadEvent:
        return
    for event in found:
        sound(event)


@given(st.lists(st.tuples(header_names, header_values), max_size=6), bodies)
def test_a_reply_is_nothing_or_sound_or_refused(fields: Fields, body: bytes):
    try:
        event = decode_reply(fields, body)
    except BadEvent:
        return
    if event is None:
        assert body == b""
    else:
        sound(event)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ce_id", "ce_type", "ce_source", "ce_specversion", "content-type", "ce_x", "y"]),
            st.binary(max_size=6) | st.sampled_from([b"1.0", b"application/cloudevents+json"]),
        ),
        max_size=7,
    ),
    st.none() | bodies,
)
def test_a_record_is_sound_or_refused(headers: list[tuple[str, bytes]], value: bytes | None):
    try:
        event = decode_kafka(headers, value)
    except BadEvent:
        return
    sound(event)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "\\u0061", "data"]), json_data), max_size=5),
    st.sampled_from(["", " ", "\n\t"]),
    st.sampled_from(["", " "]),
)
def test_a_member_that_is_there_twice_is_never_overlooked(members: list[tuple[str, bytes]], before: str, after: str):
    head = b'"specversion":"1.0","id":"1","source":"s","type":"t"'
    written = [b'"%b"%b:%b%b' % (name.encode(), before.encode(), after.encode(), value) for name, value in members]
    seen = [name.replace("\\u0061", "a") for name, _ in members]
    try:
        decode_http([(b"content-type", b"application/cloudevents+json")], b"{%b}" % b",".join([head, *written]))
    except BadEvent as error:
        assert error.reason in ("duplicate", "value", "character")
    else:
        assert len(set(seen)) == len(seen)
