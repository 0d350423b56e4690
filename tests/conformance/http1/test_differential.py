"""Two parsers, one stream: whatever we accept, h11 accepts, and reads the same in it; however the stream is cut.

We may refuse more than h11 does, never less, but for what RFC 9112 allows and h11 does not know: empty lines before a
request (§2.2; taken away before h11 sees them), white space before a chunk extension (§7.1.1).

Source: reliability.md F1, F2, §2; RFC 9112.
"""

import random
import re
import time

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataplane.errors import UpstreamProtocol
from dataplane.wire.headers import from_upstream
from dataplane.wire.http1_response import ResponseReader
from dataplane.wire.target import normal_target

MUTATE_S = 8.0  # how long the seeded mutator may run, per direction
EVENT_MAX = 1 << 17

# ---- what h11 says -------------------------------------------------------------------------------------


def h11_requests(stream: bytes) -> list[tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes, bool]]:
    """(method, target, fields, body, whole) of each request until the stream ends or h11 refuses."""
    found = []
    while True:
        while stream[:2] == b"\r\n":
            stream = stream[2:]
        if not stream:
            return found
        peer = h11.Connection(h11.SERVER, max_incomplete_event_size=EVENT_MAX)
        peer.receive_data(stream)
        try:
            head = peer.next_event()
            if not isinstance(head, h11.Request):
                return found
            fields = [(bytes(name), bytes(value)) for name, value in head.headers]
            body = b""
            while isinstance(event := peer.next_event(), h11.Data):
                body += bytes(event.data)
        except h11.RemoteProtocolError:
            return found
        whole = isinstance(event, h11.EndOfMessage)
        found.append((head.method, head.target, fields, body, whole))
        if not whole:
            return found
        stream = peer.trailing_data[0]


def agree(serve, stream: bytes, *pieces: bytes) -> None:
    if re.search(rb"[0-9a-fA-F][ \t]+;", stream):
        return
    ours = [r for r in serve(*(pieces or (stream,))).requests if r.whole]
    theirs = h11_requests(stream)
    assert len(ours) <= sum(whole for *_, whole in theirs), (stream, [(r.method, r.target) for r in ours], theirs)
    for mine, (method, target, fields, body, _) in zip(ours, theirs, strict=False):
        assert mine.method == method, stream
        assert mine.body == body, stream
        if target.startswith((b"/", b"*")):
            assert mine.target == (normal_target(target) if target != b"*" else target), stream
        else:  # absolute-form has become origin-form
            assert target.lower().startswith((b"http://", b"https://")), stream
            path = re.search(rb"://[^/?]*(.*)", target, re.DOTALL)[1]
            assert mine.target == normal_target(path if path[:1] == b"/" else b"/" + path), stream
        named: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            named.setdefault(name, []).append(value)
        for name, value in mine.fields:
            assert value.strip(b" \t") in named[name], stream
        if mine.chunked:
            assert named[b"transfer-encoding"][0].lower() == b"chunked", stream
        if b"host" in named and target.startswith(b"/"):
            assert named[b"host"] == [mine.host], stream


# ---- generated requests ------------------------------------------------------------------------------------

TOKEN = st.text("!#$%&'*+-.^`|~abcXYZ019", min_size=1, max_size=8).map(str.encode)
VALUE = st.lists(
    st.sampled_from(
        [b"a", b" ", b"\t", b",", b";", b'"', b"\xe9", b"=", b":", b"chunked", b"close", b"\x0b", b"\r", b"\n", b"\x00"]
    ),
    max_size=6,
).map(b"".join)
NAME = st.one_of(
    TOKEN,
    st.sampled_from(
        [b"Connection", b"Expect", b"Upgrade", b"TE", b"Transfer-Encoding", b"Content-Length", b"Host", b"Trailer", b"Keep-Alive",
         b"Proxy-Connection", b"x_y", b"", b"a b", b" x", b"x "]
    ),
)  # fmt: skip
METHOD = st.sampled_from(
    [b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"get", b"FOO", b"PRI", b"SOURCE", b""]
)
TARGET = st.one_of(
    st.text("/a?=&%.;@:#\\ \t", max_size=8).map(lambda t: b"/" + t.encode()),
    st.sampled_from(
        [
            b"*",
            b"http://a.test/",
            b"http://a.test",
            b"http://b.test/x",
            b"https://a.test?x",
            b"a.test:80",
            b"",
            b"/\xe9",
        ]
    ),
)
VERSION = st.sampled_from(
    [b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"RTSP/1.0", b"http/1.1", b"HTTP/1.1 ", b""]
)
HOST = st.sampled_from(
    [[(b"Host", b"a.test")]] * 6 + [[], [(b"host", b"a.test:80")], [(b"host", b"b.test"), (b"host", b"a.test")]]
)
END = st.sampled_from([b"\r\n"] * 20 + [b"\n", b"\r", b"\r\r\n"])


@st.composite
def chunked_body(draw) -> bytes:
    out = b""
    for data in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4)):
        size = draw(
            st.sampled_from([b"%x", b"%X", b"0%x", b"%x;a=b", b"%x;", b'%x;a="b;c"', b"0x%x", b"+%x", b"%x "])
        ) % len(data)
        out += size + draw(END) + data + draw(END)
    trailer = draw(st.sampled_from([b"", b"", b"x: y\r\n", b"content-length: 3\r\n", b"bad\r\n", b" x: y\r\n"]))
    return out + draw(st.sampled_from([b"0", b"000", b"0;x=y", b""])) + draw(END) + trailer + draw(END)


@st.composite
def one_request(draw) -> bytes:
    fields = draw(HOST) + draw(st.lists(st.tuples(NAME, VALUE), max_size=4))
    framing = draw(st.sampled_from(["none", "length", "chunked", "both", "wrong"]))
    body = b""
    if framing in ("length", "both", "wrong"):
        body = draw(st.binary(max_size=30))
        length = (
            b"%d" % len(body)
            if framing != "wrong"
            else draw(st.sampled_from([b"+1", b"1, 1", b"01", b"1_0", b"", b" 1", b"0x1", b"-1"]))
        )
        fields.append((b"Content-Length", length))
    if framing in ("chunked", "both"):
        body = draw(chunked_body())
        fields.append(
            (
                b"Transfer-Encoding",
                draw(st.sampled_from([b"chunked"] * 5 + [b"Chunked", b"gzip, chunked", b"identity"])),
            )
        )
    fields = draw(st.permutations(fields))
    line = b" ".join((draw(METHOD), draw(TARGET), draw(VERSION)))
    colon = draw(st.sampled_from([b": "] * 8 + [b":", b" :", b":\t "]))
    return line + draw(END) + b"".join(n + colon + v + draw(END) for n, v in fields) + draw(END) + body


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(i % (len(stream) + 1) for i in at), len(stream)]
    return [stream[a:b] for a, b in zip(edges, edges[1:], strict=False)]


CUTS = st.lists(st.integers(0, 1 << 16), max_size=6)
FAST = settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))


@FAST
@given(st.lists(one_request(), min_size=1, max_size=3), CUTS)
def test_whatever_we_accept_h11_reads_the_same_way(serve, requests, cuts):
    stream = b"".join(requests)
    agree(serve, stream, *cut(stream, cuts))


def said(served) -> tuple:
    return [(r.method, r.target, r.host, r.body, r.fields, r.whole) for r in served.requests], served.written


@FAST
@given(st.lists(one_request(), min_size=1, max_size=3), CUTS)
def test_the_cut_of_a_stream_changes_nothing(serve, requests, cuts):
    """Refusals may come earlier or by another name; what is accepted, and what is answered to it, is the same."""
    stream = b"".join(requests)
    whole, pieces = serve(stream), serve(*cut(stream, cuts))
    accepted = [r[:5] for r in said(whole)[0] if r[5]]
    assert accepted == [r[:5] for r in said(pieces)[0] if r[5]], stream
    assert bool(whole.refused) == bool(pieces.refused), (stream, whole.written, pieces.written)


SEEDS = [
    b"GET /a?b HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\nhello worldGET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nt: u\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET http://a.test:80/x HTTP/1.1\r\nHost: a.test\r\nUpgrade: h2c\r\nConnection: Upgrade, x-a\r\nX-A: b\r\n\r\n",
    b"POST /x HTTP/1.0\r\nContent-Length: 3\r\nConnection: keep-alive\r\nProxy-Connection: keep-alive\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: a.test\r\n\r\n",
]
ALPHABET = b'\r\n \t\x00\x0b\x0c\x7f\x80\xa0\xff:;,="#/?*@0159afxAF+-_.%'
WORDS = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"chunked",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n",
    b"\r\n ",
    b"Host: a.test\r\n",
    b"HTTP/1.0",
    b"GET ",
]


def mutated(rng: random.Random, seed: bytes) -> bytes:
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            data[at:at] = bytes([rng.choice(ALPHABET)])
        elif kind == 1 and at < len(data):
            data[at] = rng.choice(ALPHABET) if rng.random() < 0.7 else rng.randrange(256)
        elif kind == 2:
            del data[at : at + rng.choice((1, 1, 2, 5))]
        elif kind == 3:
            data[at:at] = rng.choice(WORDS)
        else:
            end = min(len(data), at + rng.randrange(1, 30))
            data[at:at] = data[at:end]
    return bytes(data)


def test_seeded_mutations_of_requests(serve):
    rng = random.Random(9112)
    until = time.monotonic() + MUTATE_S  # noqa: TID251 a bound on the test, not a measurement
    runs = accepted = 0
    while runs < 20_000 and time.monotonic() < until:  # noqa: TID251
        stream = mutated(rng, rng.choice(SEEDS))
        agree(serve, stream, *(cut(stream, [rng.randrange(1 << 16) for _ in range(3)]) if runs % 3 == 0 else ()))
        accepted += bool(serve(stream).requests) if runs % 50 == 0 else 0
        runs += 1
    assert accepted > runs / 50 / 10, "nearly nothing is accepted: the mutator tests refusals only"


# ---- responses ---------------------------------------------------------------------------------------------------


def h11_response(stream: bytes, method: bytes, eof: bool) -> tuple[int, bytes, bool] | None:
    """(status, body, whole) of the final response, None when h11 refuses it."""
    peer = h11.Connection(h11.CLIENT, max_incomplete_event_size=EVENT_MAX)
    peer.send(h11.Request(method=method, target="/", headers=[("host", "a.test")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(stream)
    if eof:
        peer.receive_data(b"")
    try:
        head = peer.next_event()
        while isinstance(head, h11.InformationalResponse):
            head = peer.next_event()
        if not isinstance(head, h11.Response):
            return None
        body = b""
        while isinstance(event := peer.next_event(), h11.Data):
            body += bytes(event.data)
    except h11.RemoteProtocolError:
        return None
    return head.status_code, body, isinstance(event, h11.EndOfMessage)


def our_response(pieces: list[bytes], method: bytes, eof: bool) -> tuple[int, bytes, bool] | None:
    reader = ResponseReader(from_upstream())
    reader.reset(bodyless=method == b"HEAD")
    body = b""
    try:
        for piece in pieces:
            if piece and not reader.complete:
                reader.feed(piece)
                body += b"".join(reader.body)
                reader.body = []
    except UpstreamProtocol:
        return None
    if eof and not reader.complete:
        reader.feed_eof()
    return (reader.status, body, reader.complete) if reader.head_done else None


_REASON = re.compile(rb"(HTTP/1\.[01] [0-9]{3})([^\r\n]*)")  # never passed on, so what stands in it is nobody's harm


_BEFORE = re.compile(rb"(\A|\r\n\r\n)[\r\n]+(?=HTTP/1)")  # empty lines before a status line are swallowed


def agree_on_response(stream: bytes, pieces: list[bytes], method: bytes) -> None:
    if re.search(rb"[0-9a-fA-F][ \t]+;", stream):
        return
    stream = _REASON.sub(lambda m: m[1] + re.sub(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", b"x", m[2]), stream)
    readings = [stream, *(_BEFORE.sub(rb"\1", stream, count=count) for count in (1, 2, 3))]
    for eof in (False, True):
        ours = our_response(pieces, method, eof)
        if ours is not None and ours[2] and ours[0] != 101:  # nobody asked for one: the relay refuses it (GW-17)
            assert any(ours == h11_response(reading, method, eof) for reading in readings), (stream, method, eof, ours)


STATUS = st.sampled_from(
    [b"200 OK"] * 5
    + [b"204 No", b"304 Not", b"404", b"103 Hints", b"100 Go", b"999 Odd", b"099 Low", b"20 X", b"500 \xe9"]
)


@st.composite
def one_response(draw) -> bytes:
    fields = draw(st.lists(st.tuples(NAME, VALUE), max_size=3))
    framing = draw(st.sampled_from(["none", "length", "chunked", "both", "wrong"]))
    body = draw(st.binary(max_size=20))
    if framing in ("length", "both", "wrong"):
        fields.append(
            (
                b"Content-Length",
                b"%d" % len(body) if framing != "wrong" else draw(st.sampled_from([b"+1", b"1, 1", b"", b"1 1"])),
            )
        )
    if framing in ("chunked", "both"):
        body = draw(chunked_body())
        fields.append((b"Transfer-Encoding", draw(st.sampled_from([b"chunked"] * 5 + [b"gzip, chunked", b"identity"]))))
    interim = draw(
        st.sampled_from([b""] * 5 + [b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
    )
    line = draw(st.sampled_from([b"HTTP/1.1 "] * 8 + [b"HTTP/1.0 "])) + draw(STATUS)
    return (
        interim
        + line
        + draw(END)
        + b"".join(n + b": " + v + draw(END) for n, v in draw(st.permutations(fields)))
        + draw(END)
        + body
    )


@FAST
@given(one_response(), st.sampled_from([b"GET", b"HEAD", b"POST"]), CUTS)
def test_whatever_response_we_take_for_whole_h11_reads_the_same_way(stream, method, cuts):
    agree_on_response(stream, cut(stream, cuts), method)


RESPONSE_SEEDS = [
    b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 11\r\nConnection: keep-alive\r\n\r\nhello world",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nt: u\r\n\r\n",
    b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nX: y\r\n\r\nuntil the end",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nETag: \"x\"\r\n\r\n",
]  # fmt: skip


def test_seeded_mutations_of_responses():
    rng = random.Random(9110)
    until = time.monotonic() + MUTATE_S  # noqa: TID251
    runs = 0
    while runs < 30_000 and time.monotonic() < until:  # noqa: TID251
        stream = mutated(rng, rng.choice(RESPONSE_SEEDS))
        pieces = cut(stream, [rng.randrange(1 << 16) for _ in range(3)]) if runs % 3 == 0 else [stream]
        agree_on_response(stream, pieces, rng.choice((b"GET", b"HEAD", b"POST")))
        runs += 1
    assert runs > 1_000


@pytest.mark.parametrize("seed", RESPONSE_SEEDS)
def test_sound_responses_are_taken(seed):
    ours = our_response([seed], b"GET", True)
    assert ours is not None
    assert ours == h11_response(seed, b"GET", True)
