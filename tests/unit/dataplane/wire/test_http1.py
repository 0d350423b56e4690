"""What the readers hand to a hop: fields as received, in order, without what only this hop needed."""

from dataplane.wire.headers import from_outside, from_upstream
from dataplane.wire.http1_request import RequestReader
from dataplane.wire.http1_response import ResponseReader


def test_the_fields_of_a_request_keep_their_order_and_case_and_leave_out_framing():
    reader = RequestReader(from_outside())
    assert reader.feed(
        b"POST /a HTTP/1.1\r\nHost: a.b\r\nCe-Id: 1\r\nContent-Length: 2\r\nX-Two: b\r\nCe-Id: 2\r\n\r\n"
    )
    assert reader.fields() == [(b"Ce-Id", b"1"), (b"X-Two", b"b"), (b"Ce-Id", b"2")]


def test_the_fields_of_a_response_keep_their_order_and_leave_out_framing():
    reader = ResponseReader(from_upstream())
    reader.reset(bodyless=False)
    reader.feed(b"HTTP/1.1 200 OK\r\nCe-Id: 1\r\nContent-Length: 2\r\nContent-Type: a/b\r\n\r\nok")
    assert reader.fields() == [(b"Ce-Id", b"1"), (b"Content-Type", b"a/b")]
