"""What a subscriber says is judged whatever it is: an event, nothing, or no reply; never an exception."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.deliver import reply_of
from broker.store.contract import Record
from dataplane.net.call import Call
from dataplane.wire.cloudevents import Event

CAUSE = Record(event=Event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}), arrived_at=1.0, hops=9)
CE = [(b"ce-specversion", b"1.0"), (b"ce-id", b"r"), (b"ce-source", b"/r"), (b"ce-type", b"t")]
JSON = [(b"content-type", b"application/cloudevents+json")]
NAMES = st.sampled_from(
    [b"ce-specversion", b"Ce-Id", b"ce-source", b"ce-type", b"ce-time", b"ce-expirytime", b"ce-notbefore", b"CE-", b"ce-\xff",
     b"content-type", b"content-encoding", b"traceparent", b"ce-knativebrokerttl", b"ce-knativearrivaltime", b"x"]
)  # fmt: skip
VALUES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"1.0", b"0.3", b"r", b"%C0%A0", b"%", b'"', b'"a\\', b"2026-02-30T00:00:00Z", b"9999-12-31T23:59:60Z",
                     b"0000-01-01T00:00:00Z", b"-1", b"application/cloudevents+json", b"application/cloudevents-batch+json",
                     b"application/cloudevents+avro", b"application/json", b";;;", b"gzip"]),
)  # fmt: skip


def said(fields, body):
    answer = Call()
    answer.status, answer.fields, answer.body = 200, fields, body
    return answer


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12), st.binary(max_size=200), st.booleans())
def test_any_fields_and_any_body_have_a_verdict(fields, body, sound):
    reply = reply_of(said((CE if sound else []) + fields, body), CAUSE, 1.8e9)
    assert reply.content in ("none", "event", "malformed")
    assert (reply.record is not None) == (reply.content == "event")
    if reply.record is not None:
        assert reply.record.hops == 8
        assert "knativebrokerttl" not in reply.record.event.attributes


JSON_TEXT = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["specversion", "id", "source", "type", "data", "data_base64", "expirytime", "x", "\u00e9"]),
        JSON_TEXT,
    )
)
def test_any_structured_reply_has_a_verdict(document):
    import json

    assert reply_of(said(JSON, json.dumps(document).encode()), CAUSE, 1.8e9).content in ("event", "malformed")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"1", b"{", b"[" * 200_000, b'{"data":' * 100_000, b"\xff\xfe", b'{"specversion":"1.0","id":"\\ud800","source":"/","type":"t"}'],
    ids=range(9),
)  # fmt: skip
def test_documents_made_to_hurt(body):
    assert reply_of(said(JSON, body), CAUSE, 1.8e9).content == "malformed"


def test_why_a_reply_cannot_be_used_is_said():
    coded = reply_of(said([*CE, (b"content-encoding", b"gzip")], b"x"), CAUSE, 1.8e9)
    assert coded.content == "malformed"
    assert "Content-Encoding" in coded.message
    large = said(CE, b"")
    large.too_large = True
    assert "broker.reply_bytes_max" in reply_of(large, CAUSE, 1.8e9).message
