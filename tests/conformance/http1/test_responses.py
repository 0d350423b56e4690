"""Responses by clause: what a pod says is read to the byte, and what cannot be trusted costs it the connection.

Source: RFC 9112 §4, §6, §9; RFC 9110 §7.6.1, §8.6, §15; reliability.md GW-18.
"""

import pytest

from dataplane.errors import UpstreamProtocol
from dataplane.wire.headers import from_upstream
from dataplane.wire.http1_response import ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"


def read(*pieces: bytes, bodyless: bool = False) -> ResponseReader:
    reader = ResponseReader(from_upstream())
    reader.reset(bodyless=bodyless)
    for piece in pieces:
        reader.feed(piece)
    return reader


@pytest.mark.parametrize(
    "bad",
    [
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/1.1 000 None\r\n\r\n",
        b"HTTP/1.1 20 Short\r\n\r\n",
        b"HTTP/1.1 2000 Long\r\n\r\n",
        b"HTTP/1.1 +20 Signed\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nx: y\n\n",
        OK + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        OK + b"content-length: 5, 5\r\n\r\nhello",
        OK + b"content-length: +5\r\n\r\nhello",
        OK + b"content-length: 9223372036854775808\r\n\r\n",
        OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"x: a\r\n folded\r\n\r\n",
        OK + b"x y: a\r\n\r\n",
        OK + b"x : a\r\n\r\n",
        OK + b"x: a\x00\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 103 Hints\r\ncontent-length: 5\r\n\r\nevil!HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_GW_18_what_is_not_http_is_refused(bad):
    with pytest.raises(UpstreamProtocol):
        read(bad)


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_GW_18_a_bodyless_status_with_a_coding_loses_it_and_the_connection(status):
    reader = read(b"HTTP/1.1 " + status + b" x\r\ntransfer-encoding: chunked\r\n\r\n")
    assert reader.complete
    assert not reader.chunked
    assert not reader.keep_alive


def test_GW_18_a_length_on_204_is_dropped_and_on_304_and_HEAD_kept():
    reader = read(b"HTTP/1.1 204 x\r\ncontent-length: 5\r\n\r\n")
    assert (reader.complete, reader.content_length, reader.keep_alive) == (True, -1, False)
    reader = read(b"HTTP/1.1 304 x\r\ncontent-length: 5\r\n\r\n")
    assert (reader.complete, reader.content_length, reader.keep_alive) == (True, 5, True)
    reader = read(OK + b"content-length: 5\r\n\r\n", bodyless=True)
    assert (reader.complete, reader.content_length, reader.keep_alive) == (True, 5, True)
    reader = read(OK + b"transfer-encoding: chunked\r\n\r\n", bodyless=True)
    assert (reader.complete, reader.chunked, reader.keep_alive) == (True, True, True)


@pytest.mark.parametrize("order", [(b"connection: x-a\r\n", b"x-a: 1\r\n"), (b"x-a: 1\r\n", b"connection: x-a\r\n")])
def test_GW_11_what_a_response_nominates_is_stripped_wherever_it_stands(order):
    reader = read(OK + b"".join(order) + b"x-b: 2\r\ncontent-length: 0\r\n\r\n")
    assert reader.out == [b"x-b", b": ", b"2", b"\r\n"]


def test_what_an_interim_response_nominates_says_nothing_about_the_final_one():
    reader = read(b"HTTP/1.1 103 x\r\nconnection: x-a\r\n\r\n" + OK + b"x-a: 1\r\ncontent-length: 0\r\n\r\n")
    assert reader.out == [b"x-a", b": ", b"1", b"\r\n"]


def test_bytes_after_the_end_are_excess():
    assert read(OK + b"content-length: 2\r\n\r\nokX").excess
    assert read(b"HTTP/1.1 204 x\r\n\r\n" + OK + b"content-length: 0\r\n\r\n").excess
    assert read(OK + b"content-length: 5\r\n\r\nhello", bodyless=True).excess


def test_white_space_after_a_value_is_no_part_of_it():
    assert read(OK + b"content-length: 2 \t\r\n\r\nok").complete
    assert read(OK + b"transfer-encoding: chunked \r\n\r\n0\r\n\r\n").complete
