"""The examples and rules of the CloudEvents documents, by their clause.

HTTP = http-protocol-binding.md, JSON = json-format.md, KAFKA = kafka-protocol-binding.md, CE = spec.md; version 1.0.2,
which has the clauses that people cite.
"""

import json

import pytest

from dataplane.wire.cloudevents import (
    BadEvent,
    UnsupportedFormat,
    decode_http,
    decode_kafka,
    encode_binary,
    encode_kafka,
    encode_structured,
)

STRUCTURED = [(b"Content-Type", b"application/cloudevents+json; charset=utf-8")]
BATCH = [(b"Content-Type", b"application/cloudevents-batch+json; charset=utf-8")]
REQUIRED = {"specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext", "id": "1"}


def fields(text: str) -> list[tuple[bytes, bytes]]:
    return [
        (name.encode(), value.strip().encode())
        for name, _, value in (line.partition(":") for line in map(str.strip, text.strip().splitlines()))
    ]


def structured(document: object):
    return decode_http(STRUCTURED, json.dumps(document).encode())[0]


def test_CE_3_1_1_required_attributes_are_required():
    for name in REQUIRED:
        with pytest.raises(BadEvent):
            structured({k: v for k, v in REQUIRED.items() if k != name})


def test_CE_3_attribute_names_are_lower_case_letters_and_digits():
    assert structured({**REQUIRED, "0a9z": "x"}).attributes["0a9z"] == "x"
    for name in ("a-b", "a.b", "ä", "data_x"):
        with pytest.raises(BadEvent):
            structured({**REQUIRED, name: "x"})


def test_CE_5_size_an_event_of_64_KiB_is_taken_whatever_it_is_made_of():
    assert len(structured({**REQUIRED, "data": "x" * 65_000}).data or b"") == 65_002
    assert len(structured({**REQUIRED, "ext": "x" * 65_000}).attributes["ext"]) == 65_000


def test_HTTP_3_1_1_content_type_is_datacontenttype():
    [event] = decode_http(
        [*fields("ce-specversion: 1.0\nce-type: t\nce-id: 1\nce-source: s"), (b"Content-Type", b"Image/PNG")],
        b"\x89PNG",
    )
    assert event.attributes["datacontenttype"] == "Image/PNG"
    assert b"content-type: Image/PNG\r\n" in encode_binary(event)[0]


def test_HTTP_3_1_3_2_the_example_of_percent_encoding():
    head = "ce-specversion: 1.0\nce-type: t\nce-id: 1\nce-source: s\nce-myextension: Euro%20%E2%82%AC%20%F0%9F%98%80"
    [event] = decode_http(fields(head), b"")
    assert event.attributes["myextension"] == "Euro € \U0001f600"
    assert b"ce-myextension: Euro%20%E2%82%AC%20%F0%9F%98%80\r\n" in encode_binary(event)[0]


def test_HTTP_3_1_3_2_each_character_that_must_be_encoded_is_and_no_other():
    for code in [*range(0x20, 0x7F), 0xA0, 0xFF, 0x20AC, 0x1F600, 0x10FFFD]:
        event = structured({**REQUIRED, "x": f"a{chr(code)}a"})
        [line] = [line for line in encode_binary(event)[0].splitlines() if line.startswith(b"ce-x: ")]
        must = code in (0x20, 0x22, 0x25) or not 0x21 <= code <= 0x7E
        said = line[len(b"ce-x: a") : -1]
        assert said == ("".join(f"%{byte:02X}" for byte in chr(code).encode()) if must else chr(code)).encode()
        assert decode_http([*fields(encode_binary(event)[0].decode())], b"")[0].attributes == event.attributes


def test_HTTP_3_1_3_2_overlong_utf8_is_refused_and_nothing_is_decoded_twice():
    base = fields("ce-specversion: 1.0\nce-type: t\nce-id: 1\nce-source: s")
    with pytest.raises(BadEvent):
        decode_http([*base, (b"ce-x", b"%C0%A0")], b"")
    assert decode_http([*base, (b"ce-x", b"%2525")], b"")[0].attributes["x"] == "%25"


def test_HTTP_3_1_4_the_example_of_a_binary_request():
    head = """
        ce-specversion: 1.0
        ce-type: com.example.someevent
        ce-time: 2018-04-05T03:56:24Z
        ce-id: 1234-1234-1234
        ce-source: /mycontext/subcontext
        Content-Type: application/json; charset=utf-8
    """
    [event] = decode_http(fields(head), b'{ "message": "Hello" }')
    assert event.attributes == {
        "specversion": "1.0", "type": "com.example.someevent", "time": "2018-04-05T03:56:24Z", "id": "1234-1234-1234",
        "source": "/mycontext/subcontext", "datacontenttype": "application/json; charset=utf-8",
    }  # fmt: skip
    assert event.data == b'{ "message": "Hello" }'


def test_HTTP_3_2_4_in_structured_mode_the_body_wins_over_ce_headers():
    [event] = decode_http([*STRUCTURED, (b"ce-id", b"other"), (b"ce-id", b"third")], json.dumps(REQUIRED).encode())
    assert event.id == "1"


def test_HTTP_3_3_a_batch_may_be_empty_and_may_be_long():
    assert decode_http(BATCH, b"[]") == []
    assert len(decode_http(BATCH, json.dumps([REQUIRED] * 500).encode())) == 500
    with pytest.raises(BadEvent):
        decode_http(BATCH, json.dumps(REQUIRED).encode())


def test_HTTP_3_a_format_that_is_not_known_is_no_event_of_ours():
    for kind in (
        b"application/cloudevents+avro",
        b"application/cloudevents+protobuf",
        b"application/cloudevents-batch+avro",
    ):
        with pytest.raises(UnsupportedFormat):
            decode_http([(b"content-type", kind)], b"")


def test_JSON_2_2_types():
    event = structured({**REQUIRED, "b": True, "i": 17, "s": "x", "n": None})
    assert event.typed == {"b": True, "i": 17}
    assert [event.attributes.get(k) for k in "bisn"] == ["true", "17", "x", None]
    assert json.loads(encode_structured(event)[1]) == {**REQUIRED, "b": True, "i": 17, "s": "x"}


def test_JSON_3_1_1_binary_data_is_base64():
    event = structured(
        {**REQUIRED, "datacontenttype": "application/vnd.apache.thrift.binary", "data_base64": "AAEC/w=="}
    )
    assert event.data == b"\0\1\2\xff"
    assert json.loads(encode_structured(event)[1])["data_base64"] == "AAEC/w=="


@pytest.mark.parametrize(
    ("document", "data", "content_type"),
    [
        ({"datacontenttype": "application/json", "data": {"appinfoA": "abc"}}, b'{"appinfoA": "abc"}', b"application/json"),
        ({"data": "I'm just a string"}, b'"I\'m just a string"', b"application/json"),
        ({"data": "<much wow=\"xml\"/>", "datacontenttype": "application/xml"}, b'<much wow="xml"/>', b"application/xml"),
        ({"data": 1.25}, b"1.25", b"application/json"),
        ({"data": None}, b"null", b"application/json"),
        ({"data": "true", "datacontenttype": "text/json"}, b'"true"', b"text/json"),
    ],
)  # fmt: skip
def test_JSON_3_1_2_what_data_becomes_in_binary_mode(document: dict[str, object], data: bytes, content_type: bytes):
    lines, body = encode_binary(structured({**REQUIRED, **document}))
    assert body == data
    assert lines.endswith(b"content-type: " + content_type + b"\r\n")


def test_JSON_3_1_data_and_data_base64_exclude_each_other():
    with pytest.raises(BadEvent):
        structured({**REQUIRED, "data": 1, "data_base64": "AA=="})


def test_KAFKA_3_2_the_example_of_a_binary_record():
    headers = [
        ("ce_specversion", b"1.0"), ("ce_type", b"com.example.someevent"), ("ce_source", b"/mycontext/subcontext"),
        ("ce_id", b"1234-1234-1234"), ("ce_time", b"2018-04-05T03:56:24Z"), ("content-type", b"application/avro"),
    ]  # fmt: skip
    event = decode_kafka(headers, b"\0avro")
    assert event.attributes["datacontenttype"] == "application/avro"
    assert encode_kafka(event) == (headers, b"\0avro")


def test_KAFKA_3_2_3_no_data_is_a_null_value():
    event = decode_kafka([(f"ce_{k}", v.encode()) for k, v in REQUIRED.items()], None)
    assert event.data is None
    assert encode_kafka(event)[1] is None


def test_KAFKA_3_3_the_example_of_a_structured_record():
    event = decode_kafka(
        [("content-type", b"application/cloudevents+json; charset=UTF-8")],
        json.dumps({**REQUIRED, "data": {"a": 1}}).encode(),
    )
    assert event.data == b'{"a": 1}'
