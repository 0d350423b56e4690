"""CloudEvents as JSON: which attributes are sound, and that a payload's bytes stay what they were."""

import json

import pytest

from dataplane.wire.cloudevents import (
    BadEvent,
    Event,
    attributes,
    decode_http,
    encode_binary,
    encode_structured,
    structured,
    with_attributes,
)

HEAD = '"specversion":"1.0","id":"1","source":"/s","type":"t"'
HEAD_03 = HEAD.replace("1.0", "0.3")


def decode(members: str | bytes, head: str = HEAD) -> Event:
    members = members if isinstance(members, bytes) else members.encode()
    body = b"{%b%b%b}" % (head.encode(), b"," if members else b"", members)
    return decode_http([(b"content-type", b"application/cloudevents+json")], body)[0]


def refused(members: str | bytes, head: str = HEAD) -> str:
    with pytest.raises(BadEvent) as caught:
        decode(members, head)
    return caught.value.reason


def again(event: Event) -> Event:
    _, body = encode_structured(event)
    json.loads(body)
    return decode_http([(b"content-type", b"application/cloudevents+json")], body)[0]


@pytest.mark.parametrize(
    "data",
    [
        b"12345678901234567890123.10e+05", b'{"a":1,"a":2}', b'{"b" : 1 ,\n "a":[ 1.0, 1.00 ] }', b"null", b"true",
        b'"\\u00e9\xc3\xa9"', b'""', b"{}", b"[]", b"-0", b"1e999",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["", '"datacontenttype":"application/json",', '"datacontenttype":"a/b+JSON; x=y",'])
def test_a_json_payload_keeps_its_bytes(data: bytes, kind: str):
    event = decode(kind.encode() + b'"data":' + data)
    assert event.data == data
    assert event.json_implied == (not kind)
    assert encode_binary(event)[1] == data
    assert again(event) == event


def test_white_space_around_a_json_payload_is_not_part_of_it():
    event = Event(
        {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "datacontenttype": "application/json"}, b" {} \n"
    )
    assert again(event).data == b"{}"


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b'"\xff"', b"{}{}", b"NaN", b"'x'", b'"a\nb"', b"[1,]", b"[" * 100_000, b'{"k":1}x']
)
def test_a_payload_that_is_no_json_although_its_type_says_so_travels_as_base64(data: bytes):
    event = Event(
        {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "datacontenttype": "application/json"}, data
    )
    assert again(event) == event


@pytest.mark.parametrize("kind", [{}, {"datacontenttype": "text/plain"}, {"datacontenttype": "image/png"}])
def test_a_payload_of_another_type_travels_as_base64(kind: dict[str, str]):
    event = Event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **kind}, b"\0\xffabc")
    assert b'"data_base64":"AP9hYmM="' in encode_structured(event)[1]
    assert again(event) == event
    assert not again(event).json_implied


def test_no_data_null_data_and_empty_data_are_three_things():
    assert decode("").data is None
    assert decode('"data":null').data == b"null"
    assert decode('"data_base64":""').data == b""
    assert again(decode('"data_base64":""')).data == b""
    assert decode('"data_base64":null').data is None


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("text/plain", "é€".encode()),
        ("text/plain; charset=utf-8", "é€".encode()),
        ('text/plain; charset="ISO-8859-1"', "é".encode("latin-1")),
        ("text/plain; charset=utf-16le", "é€".encode("utf-16le")),
    ],
)
def test_text_is_written_in_the_charset_of_its_type(content_type: str, data: bytes):
    text = data.decode("utf-8" if "=" not in content_type else content_type.partition("=")[2].strip('"'))
    event = decode(f'"datacontenttype":{json.dumps(content_type)},"data":"{text}"')
    assert event.data == data
    assert again(event) == event


@pytest.mark.parametrize(
    "members",
    [
        '"datacontenttype":"text/plain","data":{}',
        '"datacontenttype":"text/plain","data":null',
        '"datacontenttype":"text/plain; charset=us-ascii","data":"é"',
        '"datacontenttype":"text/plain; charset=punycode","data":"é"',
        '"data":1,"data_base64":"AA=="',
        '"data_base64":"AA"',
        '"data_base64":"A A=="',
        '"data_base64":"é"',
        '"data_base64":7',
    ],
)
def test_data_that_cannot_be_what_it_says_is_refused(members: str):
    assert refused(members) == "data"


def test_numbers_and_booleans_keep_their_type_and_have_a_canonical_string():
    event = decode('"i":-2147483648,"n":null,"t":true,"f":false,"s":"5","m":2147483647')
    assert event.typed == {"i": -2147483648, "t": True, "f": False, "m": 2147483647}
    assert {k: event.attributes.get(k) for k in "itfsn"} == {
        "i": "-2147483648", "t": "true", "f": "false", "s": "5", "n": None,
    }  # fmt: skip
    assert again(event) == event
    assert b"ce-t: true\r\n" in encode_binary(event)[0]


@pytest.mark.parametrize(
    "member",
    ['"x":1.5', '"x":2147483648', '"x":-2147483649', '"x":1e2', '"x":{}', '"x":[]', '"x":12345678901234567890123', '"time":5', '"subject":true'],
)  # fmt: skip
def test_other_values_are_no_attributes(member: str):
    assert refused(member) == "value"


@pytest.mark.parametrize("member", ['"x-y":"1"', '"x_y":"1"', '"":"1"', '"é":"1"', '"Data":"1"', '"x y":"1"'])
def test_other_names_are_no_attributes(member: str):
    assert refused(member) == "name"


def test_names_in_capitals_are_taken_as_small_ones():
    assert decode('"myExt":"1"').attributes["myext"] == "1"
    assert refused('"myExt":"1","myext":"2"') == "duplicate"


@pytest.mark.parametrize("members", ['"x":"1","x":"2"', '"x":"1","\\u0078":"1"', '"data":1,"data":2', '"id":"1"'])
def test_a_member_is_there_at_most_once(members: str):
    assert refused(members) == "duplicate"
    assert refused(members.replace(":", " : ")) == "duplicate"


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ('"time":"2018-04-05T17:31:00"', "time"),
        ('"time":"2018-02-30T17:31:00Z"', "time"),
        ('"time":"2019-02-29T17:31:00Z"', "time"),
        ('"time":"1900-02-29T17:31:00Z"', "time"),
        ('"time":"yesterday"', "time"),
        ('"time":""', "time"),
        ('"time":"2018-04-05T17:31:00Z\\u0000"', "character"),
        ('"time":"٢٠١٨-04-05T17:31:00Z"', "time"),
        ('"subject":""', "subject"),
        ('"subject":"  "', "subject"),
        ('"dataschema":""', "dataschema"),
        ('"dataschema":"/relative"', "dataschema"),
        ('"datacontenttype":""', "datacontenttype"),
        ('"datacontenttype":"json"', "datacontenttype"),
        ('"datacontenttype":"text/plain\\r\\nx: y"', "character"),
        ('"datacontenttype":"text/plain; charset"', "datacontenttype"),
        ('"datacontenttype":"text/plain; x=\\"é\\""', "datacontenttype"),
        ('"x":"a\\u0007"', "character"),
        ('"x":"\\ufffe"', "character"),
        ('"x":"\\ud83f\\udfff"', "character"),
    ],
)
def test_optional_attributes_have_their_form(member: str, reason: str):
    assert refused(member) == reason


@pytest.mark.parametrize(
    "time",
    ["2018-04-05T17:31:00Z", "2018-04-05t17:31:00.123456789z", "2016-12-31T23:59:60Z", "2020-02-29T00:00:00+14:00", "2000-02-29T00:00:00-00:00"],
)  # fmt: skip
def test_timestamps_are_kept_as_they_came(time: str):
    assert decode(f'"time":"{time}"').attributes["time"] == time


@pytest.mark.parametrize(
    "source", ["/s", "//h/p", "https://h/p?q#f", "urn:x:y", "s", "", "1:b", ":x", "a b", "../x", "/a:b", "a%zz"]
)
def test_a_source_is_a_uri_reference(source: str):
    head = HEAD.replace("/s", source)
    if source in ("", "1:b", ":x"):
        assert refused("", head) == "source"
    else:
        assert decode("", head).source == source


def test_a_required_attribute_has_to_be_a_string():
    assert refused("", HEAD.replace('"1"', "1")) == "value"
    assert refused("", HEAD.replace('"1"', "null")) == "id"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b"{}x", b'{"id"}', b"\xff", b'{"x":"\xff"}', b"\xef\xbb\xbf{}", b'{"x":' * 100_000]
)
def test_garbage_is_refused(body: bytes):
    with pytest.raises(BadEvent):
        decode_http([(b"content-type", b"application/cloudevents+json")], body)


def test_attributes_have_a_bound():
    fixed = len("specversionidsourcetype1.01/st")
    assert refused('"x":"' + "v" * 70_000 + '"') == "too_large"
    assert refused(f'"{"n" * 70_000}":"v"') == "too_large"
    assert decode('"x":"' + "v" * (65_536 - fixed - 1) + '"')
    assert refused('"x":"' + "v" * (65_536 - fixed) + '"') == "too_large"
    assert refused('"x":"' + "é" * 40_000 + '"') == "too_large"  # bytes, as on the wire
    assert len(decode('"data":"' + "v" * 70_000 + '"').data or b"") == 70_002


def test_0_3_says_datacontentencoding_where_1_0_says_data_base64():
    event = decode('"datacontenttype":"image/png","datacontentencoding":"base64","data":"AP8="', HEAD_03)
    assert event.data == b"\0\xff"
    assert "datacontentencoding" not in event.attributes
    assert again(event) == event
    assert refused('"data_base64":"AP8="', HEAD_03) == "name"
    assert refused('"datacontentencoding":"quoted","data":"AP8="', HEAD_03) == "data"


def test_0_3_without_a_type_or_in_other_letters_is_base64_all_the_same():
    event = decode('"datacontentencoding":"BASE64","data":"NQ=="', HEAD_03)
    assert (event.data, event.json_implied) == (b"5", False)
    assert again(event) == event


@pytest.mark.parametrize(
    ("content_type", "data"), [("text/plain", b"5"), ("application/json", b"{"), ("application/json", b"5")]
)
def test_0_3_data_are_json_only_where_type_and_bytes_say_so(content_type: str, data: bytes):
    event = Event({"specversion": "0.3", "id": "1", "source": "/s", "type": "t", "datacontenttype": content_type}, data)
    _, body = encode_structured(event)
    assert (b'"data":5' in body) == (content_type == "application/json" and data == b"5")
    assert again(event) == event


@pytest.mark.parametrize(("url", "sound"), [("/rel", True), ("https://h/x", True), ("", False), ("1:x", False)])
def test_0_3_has_a_schemaurl(url: str, sound: bool):
    if sound:
        assert decode(f'"schemaurl":"{url}"', HEAD_03).attributes["schemaurl"] == url
    else:
        assert refused(f'"schemaurl":"{url}"', HEAD_03) == "dataschema"


def test_0_3_in_binary_mode_keeps_its_encoding_as_it_is():
    fields = [
        (b"ce-specversion", b"0.3"),
        (b"ce-id", b"1"),
        (b"ce-source", b"/s"),
        (b"ce-type", b"t"),
        (b"ce-datacontentencoding", b"base64"),
    ]
    [event] = decode_http(fields, b"AP8=")
    assert encode_binary(event)[1] == b"AP8="
    assert again(event).data == b"\0\xff"


def test_names_and_media_types_are_remembered_within_a_bound():
    for number in range(structured.NAMES_MAX + 10):
        decode(f'"x{number}":"1"')
        if number < attributes.MEDIA_MAX + 10:
            decode(f'"datacontenttype":"a/b{number}"')
    decode(f'"{"y" * 65}":"1","datacontenttype":"a/{"b" * 200}"')
    assert len(structured._names) == structured.NAMES_MAX
    assert len(attributes._known) == attributes.MEDIA_MAX
    assert decode('"notremembered":"1"').attributes["notremembered"] == "1"
    assert "y" * 65 not in structured._names


def test_what_is_missing_and_what_is_empty_is_said_and_quoted_briefly():
    with pytest.raises(BadEvent, match='"id" is missing'):
        decode("", HEAD.replace('"id":"1",', ""))
    with pytest.raises(BadEvent, match='"id" is empty'):
        decode("", HEAD.replace('"id":"1"', '"id":" "'))
    with pytest.raises(BadEvent) as caught:
        decode(f'"time":"{"9" * 5000}"')
    assert "9…" in caught.value.message
    assert len(caught.value.message) < 200


def test_attributes_are_set_on_a_copy():
    event = decode('"n":5,"m":"x","data":1')
    other = with_attributes(event, {"n": "6", "ttl": 254, "m": True}, remove=("absent",))
    assert event.attributes["n"] == "5"
    assert (other.attributes["n"], other.attributes["ttl"], other.attributes["m"]) == ("6", "254", "true")
    assert other.typed == {"ttl": 254, "m": True}
    assert other.json_implied and other.data == b"1"
    assert "n" not in with_attributes(event, {}, remove=["n"]).attributes
