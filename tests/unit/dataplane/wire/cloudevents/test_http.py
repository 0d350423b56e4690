"""CloudEvents in HTTP messages: binary mode, its encoding of values, and which mode a message is in."""

import pytest

from dataplane.wire.cloudevents import (
    BadEvent,
    Event,
    UnsupportedFormat,
    decode_http,
    decode_reply,
    encode_batch,
    encode_binary,
    encode_structured,
)
from dataplane.wire.cloudevents import http as codec

BASE = [(b"ce-specversion", b"1.0"), (b"ce-id", b"1"), (b"ce-source", b"/s"), (b"ce-type", b"t")]


def decoded(*extra: tuple[bytes, bytes], body: bytes = b"") -> Event:
    [event] = decode_http([*BASE, *extra], body)
    return event


def refused(*fields: tuple[bytes, bytes], body: bytes = b"") -> BadEvent:
    with pytest.raises(BadEvent) as caught:
        decode_http(fields, body)
    return caught.value


def without(name: bytes) -> list[tuple[bytes, bytes]]:
    return [field for field in BASE if field[0] != name]


def test_attributes_are_in_headers_of_any_case_and_keep_their_order():
    event = decode_http(
        [(b"CE-ID", b"1"), (b"Host", b"h"), (b"Content-type", b"text/plain"), *BASE[:1], *BASE[2:], (b"cE-eXt", b"v")],
        b"x",
    )[0]
    assert event.attributes == {
        "id": "1", "datacontenttype": "text/plain", "specversion": "1.0", "source": "/s", "type": "t", "ext": "v",
    }  # fmt: skip
    assert list(event.attributes) == ["id", "datacontenttype", "specversion", "source", "type", "ext"]
    assert event.data == b"x"


def test_a_request_without_body_is_an_event_without_data_with_or_without_a_type():
    assert decoded().data is None
    assert decoded((b"content-type", b"text/plain")).data is None


@pytest.mark.parametrize("part", [b" ; ", b"; ", b" ;", b";", b" ;a=b ", b'; a="\\b"', b"  "])
def test_a_content_type_made_to_hurt_is_refused_at_once(part: bytes):
    for end in (b"@", b'"', b";a"):
        assert refused(*BASE, (b"content-type", b"a/b" + part * 60 + end)).reason == "datacontenttype"
    if part.strip():
        assert decoded((b"content-type", b"a/b" + part * 60 + b" ")).attributes["datacontenttype"]


def test_ce_datacontenttype_is_ignored_and_never_sent():
    event = decoded((b"ce-datacontenttype", b"text/html"))
    assert "datacontenttype" not in event.attributes
    assert b"ce-datacontenttype" not in encode_binary(event)[0]


@pytest.mark.parametrize(
    ("on_the_wire", "value"),
    [
        (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        (b"%e2%82%ac", "€"),
        (b"%41%2d", "A-"),
        (b"%2541", "%41"),
        (b"100%", "100%"),
        (b"%zz%4", "%zz%4"),
        (b'"quoted"', "quoted"),
        (b'"a \\"b\\" \\\\ c"', 'a "b" \\ c'),
        (b'"%41"', "A"),
        (b'"a" and "b"', '"a" and "b"'),
        (b'"', '"'),
        ("raw €".encode(), "raw €"),
        (b"two words", "two words"),
        (b"trailing \t", "trailing"),
        (b"%20kept%20", " kept "),
        (b"", ""),
    ],
)
def test_values_are_unquoted_then_percent_decoded_once(on_the_wire: bytes, value: str):
    assert decoded((b"ce-ext", on_the_wire)).attributes["ext"] == value


@pytest.mark.parametrize("on_the_wire", [b"%C0%A0", b"%ff", b"\xff", b"%ED%A0%80", b"%F4%90%80%80"])
def test_what_is_no_utf8_is_refused(on_the_wire: bytes):
    assert refused(*BASE, (b"ce-ext", on_the_wire)).reason == "encoding"


@pytest.mark.parametrize("on_the_wire", [b"%00", b"%0D%0Aevil:%201", b"%7F", b"%C2%85", b"%EF%BF%BF", b"%EF%B7%90"])
def test_control_characters_and_noncharacters_are_refused(on_the_wire: bytes):
    assert refused(*BASE, (b"ce-ext", on_the_wire)).reason == "character"


def test_a_producers_value_is_encoded_as_the_binding_says():
    event = Event({"specversion": "1.0", "id": 'a "b" 100%', "source": "/s", "type": "Euro € 😀", "tilde": "!#$&~"})
    assert encode_binary(event)[0] == (
        b"ce-specversion: 1.0\r\nce-id: a%20%22b%22%20100%25\r\nce-source: /s\r\n"
        b"ce-type: Euro%20%E2%82%AC%20%F0%9F%98%80\r\nce-tilde: !#$&~\r\n"
    )


def test_no_attribute_can_break_out_of_its_line():
    event = Event({"specversion": "1.0", "id": "1\r\nx: y", "source": "/s", "type": "t"})
    assert b"\r\nx:" not in encode_binary(event)[0]


@pytest.mark.parametrize(
    "fields",
    [
        [*BASE, (b"ce-id", b"1")],
        [*BASE, (b"CE-Id", b"2")],
        [*BASE, (b"ce-x", b"1"), (b"ce-x", b"1")],
        [*BASE, (b"content-type", b"a/b"), (b"Content-Type", b"a/b")],
    ],
)
def test_an_attribute_is_there_at_most_once(fields: list[tuple[bytes, bytes]]):
    assert refused(*fields).reason == "duplicate"


@pytest.mark.parametrize("name", [b"ce-", b"ce-data", b"ce-foo-bar", b"ce-foo_bar", b"ce-f\xc3\xb6"])
def test_names_are_lower_case_letters_and_digits(name: bytes):
    assert refused(*BASE, (name, b"x")).reason == "name"


@pytest.mark.parametrize("name", [b"id", b"source", b"type", b"specversion"])
def test_required_attributes(name: bytes):
    assert refused(*without(b"ce-" + name)).reason == name.decode()
    assert refused(*without(b"ce-" + name), (b"ce-" + name, b" ")).reason == name.decode()
    assert refused(*without(b"ce-" + name), (b"ce-" + name, b"%20")).reason == name.decode()


@pytest.mark.parametrize("version", [b"19.0", b"1", b"1.1", b"0.2", b"1.0.3"])
def test_unknown_versions_are_refused(version: bytes):
    assert refused(*BASE[1:], (b"ce-specversion", version)).reason == "specversion"


def test_version_0_3_is_taken_and_stays_0_3():
    fields = [(b"ce-specversion", b"0.3"), *BASE[1:], (b"ce-schemaurl", b"/rel"), (b"content-type", b"a/b")]
    [event] = decode_http(fields, b"x")
    assert encode_binary(event) == (
        b"ce-specversion: 0.3\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\nce-schemaurl: /rel\r\ncontent-type: a/b\r\n",
        b"x",
    )


@pytest.mark.parametrize(
    ("content_type", "mode"),
    [
        (b"application/cloudevents+json", "structured"),
        (b"Application/CloudEvents+JSON; charset=UTF-8", "structured"),
        (b'application/cloudevents+json;charset="utf-8"', "structured"),
        (b" application/cloudevents+json\t", "structured"),
        (b"application/cloudevents-batch+json", "batch"),
        (b"application/cloudevents+avro", "unsupported"),
        (b"application/cloudevents", "unsupported"),
        (b"application/cloudevents-batch+xml", "unsupported"),
        (b"application/cloudevents+json; charset=utf-16", "unsupported"),
        (b"application/json", "binary"),
        (b"text/application/cloudevents+json", "refused"),
    ],
)
def test_the_content_type_tells_the_mode(content_type: bytes, mode: str):
    one = b'{"specversion":"1.0","id":"in-body","source":"/s","type":"t"}'
    body = b"[%b]" % one if mode == "batch" else one
    fields = [*BASE, (b"content-type", content_type)]
    if mode == "unsupported":
        with pytest.raises(UnsupportedFormat):
            decode_http(fields, body)
    elif mode == "refused":
        assert refused(*fields, body=body).reason == "datacontenttype"
    else:
        [event] = decode_http(fields, body)
        assert event.id == ("1" if mode == "binary" else "in-body")
        assert event.data == (one if mode == "binary" else None)


def test_headers_beside_a_structured_event_do_not_count_even_when_they_are_broken():
    body = b'{"specversion":"1.0","id":"in-body","source":"/s","type":"t"}'
    fields = [(b"ce-id", b"%ff"), (b"ce-id", b"2"), (b"content-type", b"application/cloudevents+json")]
    assert decode_http(fields, body)[0].id == "in-body"


def test_implied_json_gets_a_content_type_in_binary_mode():
    body = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data":"I\'m text"}'
    [event] = decode_http([(b"content-type", b"application/cloudevents+json")], body)
    lines, payload = encode_binary(event)
    assert lines.endswith(b"content-type: application/json\r\n")
    assert payload == b'"I\'m text"'
    assert b"datacontenttype" not in encode_structured(event)[1]


def test_base64_data_without_a_type_gets_no_content_type():
    body = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"AAE="}'
    [event] = decode_http([(b"content-type", b"application/cloudevents+json")], body)
    assert encode_binary(event) == (b"ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\n", b"\0\x01")


def test_a_reply_is_an_event_or_nothing():
    event = decoded((b"content-type", b"text/plain"), body=b"x")
    assert decode_reply([*BASE, (b"content-type", b"text/plain")], b"x") == event
    line, body = encode_structured(event)
    assert decode_reply([(b"content-type", b"application/cloudevents+json")], body) == event
    assert line == b"content-type: application/cloudevents+json; charset=utf-8\r\n"
    assert decode_reply([(b"CE-SpecVersion", b"1.0"), *BASE[1:], (b"content-type", b"text/plain")], b"x") == event
    assert decode_reply([(b"content-type", b"text/html"), (b"accept-charset", b"x")], b"") is None
    assert decode_reply([], b"") is None


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ([(b"content-type", b"text/html")], b"hello"),
        ([(b"ce-specversion", b"19.0"), *BASE[1:]], b""),
        (BASE[:2], b""),
        ([(b"content-type", b"application/cloudevents+json")], b""),
        ([(b"content-type", b"application/cloudevents-batch+json")], b"[]"),
        ([(b"content-type", b"application/cloudevents+avro")], b"x"),
    ],
)
def test_a_reply_that_is_no_sound_event_is_refused(fields: list[tuple[bytes, bytes]], body: bytes):
    with pytest.raises(BadEvent):
        decode_reply(fields, body)


def test_a_batch_has_many_events_or_none_and_says_which_is_bad():
    events = [decoded((b"ce-n", b"%d" % n), body=b"x") for n in range(3)]
    line, body = encode_batch(events)
    fields = [(b"Content-Type", line.partition(b": ")[2].strip())]
    assert decode_http(fields, body) == events
    assert decode_http(fields, b"[]") == []
    with pytest.raises(BadEvent) as caught:
        decode_http(fields, body.replace(b'"n":"1"', b'"time":"now"'))
    assert (caught.value.reason, caught.value.index) == ("time", 1)
    with pytest.raises(BadEvent) as caught:
        decode_http(
            fields,
            body.replace(
                b'"specversion":"1.0","id":"1","source":"/s","type":"t","n":"2"',
                b'"specversion":"0.3","id":"1","source":"/s","type":"t"',
            ).replace(b'"data_base64":"eA=="}]', b'"data":"x"}]'),
        )
    assert (caught.value.reason, caught.value.index) == ("specversion", 2)
    assert len(decode_http(fields, body, batch_events_max=3)) == 3
    with pytest.raises(BadEvent):
        decode_http(fields, body, batch_events_max=2)


def test_names_of_headers_are_remembered_within_a_bound():
    for n in range(codec.NAMES_MAX + 100):
        decoded((b"ce-a%d" % n, b"v"))
        if n < codec.MODES_MAX + 10:
            with pytest.raises(BadEvent):
                decoded((b"content-type", b"application/cloudevents+json; x=%d" % n), body=b"{")
    assert len(codec._attributes) == codec.NAMES_MAX
    assert len(codec._modes) == codec.MODES_MAX
    assert decoded((b"ce-notremembered", b"v")).attributes["notremembered"] == "v"


def test_what_others_wrote_into_a_store_forges_no_header_and_has_a_structured_form():
    base = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    for more in (
        {"datacontenttype": "a/b\r\nevil: 1"}, {"datacontenttype": "a/b\n"}, {"datacontenttype": "a/b\r"},
        {"a\r\nevil: 1\r\nb": "v"}, {"datacontenttype": "\u00e9/x"},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="control|named after|ascii"):
            encode_binary(Event({**base, **more}, b"x"))
    for content_type in ("junk", "", "a/b\r\nevil: 1"):
        assert b'"data_base64":"eA=="' in encode_structured(Event({**base, "datacontenttype": content_type}, b"x"))[1]


@pytest.mark.parametrize("kind", ["+json", "-batch+json", "+avro", "+JSON; charset=utf-8", ""])
def test_an_event_about_an_event_is_not_taken_for_it(kind: str):
    content_type = "Application/CloudEvents" + kind
    inner = b'{"specversion":"1.0","id":"inner","source":"/other","type":"admin"}'
    outer = Event(
        {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "datacontenttype": content_type}, inner
    )
    lines, body = encode_binary(outer)
    fields = [tuple(line.split(b": ", 1)) for line in lines[:-2].split(b"\r\n")]
    assert decode_http(fields, body) == [outer]
