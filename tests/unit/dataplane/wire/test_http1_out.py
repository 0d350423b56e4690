import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.errors import Draining, NoRoute, QueueFull
from dataplane.wire.headers import is_token
from dataplane.wire.http1_out import chunk, failure, response, status_line


def test_an_error_carries_its_code_and_when_to_come_back():
    assert failure(QueueFull()) == (
        b"HTTP/1.1 503 Service Unavailable\r\nx-dp-error: queue_full\r\nretry-after: 1\r\n"
        b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: 27\r\n\r\npending request queue full\n"
    )


def test_only_what_was_not_looked_at_may_be_sent_elsewhere():
    assert b"x-dp-not-processed" in failure(Draining())
    assert b"x-dp-not-processed" not in failure(NoRoute())


def test_an_answer_to_head_has_no_body():
    assert failure(QueueFull(), head_only=True).endswith(b"content-length: 27\r\n\r\n")


def test_unregistered_status_codes_have_a_line():
    assert status_line(299) == b"HTTP/1.1 299 \r\n"


def test_chunk():
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_a_header_is_sent_only_if_it_cannot_break_the_head(name, value):
    if is_token(name) and not set(value) & set(b"\r\n\0"):
        assert response(200, [(name, value)], b"").count(b"\r\n") == 4
    else:
        with pytest.raises(ValueError, match="unsendable"):
            response(200, [(name, value)], b"")
