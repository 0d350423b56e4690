import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.errors import DataplaneError
from dataplane.wire.chunked import ChunkScanner


def scan(*pieces):
    scanner, out, used = ChunkScanner(), [], []
    for piece in pieces:
        used.append(scanner.feed(piece, out))
    return scanner, b"".join(out), used


def encoded(chunks, extension=b"", trailers=b""):
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(c), extension, c) for c in chunks if c)
    return body + b"0\r\n" + trailers + b"\r\n"


def test_payload_comes_out_and_the_end_is_found_to_the_byte():
    scanner, payload, used = scan(b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n")
    assert scanner.done
    assert payload == b"hello"
    assert used == [15]


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.lists(st.integers(1, 400), max_size=10),
    st.sampled_from([b"", b";a=b", b' ;q="x y"']),
    st.sampled_from([b"", b"X-Trailer: 1\r\n"]),
)
def test_any_cut_gives_the_same_payload_and_end(chunks, cuts, extension, trailers):
    stream = encoded(chunks, extension, trailers)
    points = sorted({0, len(stream), *(c for c in cuts if c < len(stream))})
    scanner, payload, used = scan(*(stream[a:b] for a, b in zip(points, points[1:], strict=False)))
    assert scanner.done
    assert payload == b"".join(chunks)
    assert sum(used) == len(stream)


@given(st.binary(max_size=60))
def test_what_it_accepts_llhttp_accepts_with_the_same_payload(data):
    scanner, out = ChunkScanner(), []
    try:
        used = scanner.feed(data, out)
    except DataplaneError:
        return
    if not scanner.done:
        return
    body = []

    class Sink:
        def on_body(self, piece):
            body.append(piece)

    parser = httptools.HttpRequestParser(Sink())
    parser.feed_data(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + data[:used])
    assert b"".join(body) == b"".join(out)


@pytest.mark.parametrize(
    "bad", [b"\n", b"g\r\n", b"1\r\nab\r\n", b"1\r\na\n", b"f" * 17 + b"\r\n", b"1 1\r\n", b"8" * 16 + b"\r\n"]
)
def test_bad_framing_is_refused(bad):
    with pytest.raises(DataplaneError):
        scan(bad)


def test_an_endless_size_line_is_refused_while_it_arrives():
    scanner = ChunkScanner()
    with pytest.raises(DataplaneError):
        for _ in range(100):
            scanner.feed(b"1" * 100, [])


def test_extension_bytes_have_a_budget_over_the_whole_message():
    scanner = ChunkScanner()
    with pytest.raises(DataplaneError):
        for _ in range(100):
            scanner.feed(b"1;" + b"a" * 100 + b"\r\nx\r\n", [])
