"""Where the body of a request ends."""

import pytest

from dataplane.errors import BadRequest
from dataplane.wire.body import RequestBody


def test_a_sized_body_ends_to_the_byte():
    body = RequestBody(5)
    assert body.feed(b"he") == (b"he", b"", False)
    assert body.left_bytes == 3
    assert body.feed(b"lloGET /") == (b"llo", b"GET /", True)
    assert body.left_bytes == 0


def test_a_chunked_body_ends_to_the_byte_and_nobody_knows_its_size():
    body = RequestBody(-1)
    assert body.left_bytes == -1
    assert body.feed(b"2\r\nhe\r\n3\r\nll") == (b"hell", b"", False)
    assert body.feed(b"o\r\n0\r\n\r\nGET") == (b"o", b"GET", True)


def test_a_broken_chunk_is_refused():
    with pytest.raises(BadRequest):
        RequestBody(-1).feed(b"zz\r\n")
