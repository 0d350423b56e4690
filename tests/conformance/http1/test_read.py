"""Two ways to read a message, one meaning: what `read` takes, `feed` takes as well, and says the same of it.

`feed` is judged against h11 in test_differential.py. Here `read`, with all that it remembers of the heads before, is
judged against a `feed` that remembers nothing.

Source: docs/decisions/0009; reliability.md §2.
"""

import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataplane.errors import DataplaneError, UpstreamProtocol
from dataplane.wire import http1_request, http1_response
from dataplane.wire.headers import from_hop, from_outside, from_proxy, from_upstream
from dataplane.wire.http1_out import status_line
from dataplane.wire.http1_repeat import Field, repeat
from dataplane.wire.http1_request import RequestReader
from dataplane.wire.http1_response import ResponseReader

MUTATE_S = 6.0
FAST = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
TABLES = [from_outside, from_proxy, from_hop]
FRAMING = ("host", "content-length")  # kept in attributes; `feed` notes them in `seen` as well


def meaning(reader: RequestReader) -> tuple:
    seen = {int(field): value for field, value in reader.seen.items() if field not in (2, 3, 5)}
    return (
        reader.method, reader.target, reader.host, reader.host_key, reader.fields(), seen, reader.content_length,
        reader.chunked, reader.keep_alive, reader.upgrade, reader.expect_continue, reader.minor, reader.size_bytes,
    )  # fmt: skip


def fed(table, head: bytes) -> tuple | None:
    """What a reader that remembers nothing says; None: refused, or not whole."""
    reader = RequestReader(table())
    try:
        return meaning(reader) if reader.feed(head) else None
    except DataplaneError:
        return None


def judge(table, heads: list[bytes]) -> int:
    """One connection: each head by `read` where it takes it, else by `feed`. How many `read` took."""
    reader = RequestReader(table())
    taken = 0
    for head in heads:
        if reader.read(head):
            taken += 1
            assert meaning(reader) == fed(table, head), (heads, head)
        else:
            try:
                if not reader.feed(head):
                    return taken
            except DataplaneError:
                return taken  # the connection would be closed
            if not reader.keep_alive or reader.upgrade:
                return taken
        reader.reset()
    return taken


NAMES = [
    b"Accept", b"accept", b"Cookie", b"X-Request-Id", b"x-request-id", b"traceparent", b"User-Agent", b"Connection",
    b"Keep-Alive", b"Content-Length", b"X-Forwarded-For", b"Forwarded", b"K-Network-Hash", b"Knative-Serving-Tag",
    b"Host", b"TE", b"Expect", b"Upgrade", b"Transfer-Encoding", b"X_Y",
]  # fmt: skip
VALUES = [
    b"a",
    b"bb",
    b"",
    b"1",
    b"0",
    b"keep-alive",
    b"close",
    b"a.test",
    b"a, b",
    b"a: b",
    b"x\tY ",
    b"\xe9",
    b"a\nb",
    b"a\rb",
]


@st.composite
def connection(draw) -> list[bytes]:
    """Heads as a client sends them on one connection: much the same each time."""
    names = draw(st.lists(st.sampled_from(NAMES[:8] * 3 + NAMES), max_size=6))
    values = [draw(st.sampled_from(VALUES)) for _ in names]
    separator = draw(st.sampled_from([b": "] * 6 + [b":", b":  "]))
    host_at = draw(st.integers(0, len(names)))
    heads = []
    for number in range(draw(st.integers(2, 6))):
        for at in range(len(values)):
            if draw(st.integers(0, 3)) == 0:
                values[at] = draw(st.sampled_from(VALUES))
        lines = [n + separator + v + b"\r\n" for n, v in zip(names, values, strict=True)]
        lines.insert(host_at, b"Host" + separator + draw(st.sampled_from([b"a.test"] * 9 + [b"b.test"])) + b"\r\n")
        if draw(st.integers(0, 15)) == 0:
            lines.insert(
                draw(st.integers(0, len(lines))), draw(st.sampled_from([b"\r\n", b" folded\r\n", b"Accept: 2\r\n"]))
            )
        method = draw(st.sampled_from([b"GET"] * 6 + [b"POST", b"HEAD", b"FOO"]))
        target = draw(st.sampled_from([b"/", b"/%d" % number, b"/a?b=c", b"/a#b", b"*"]))
        heads.append(b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, b"".join(lines)))
    return heads


@FAST
@given(connection(), st.sampled_from(TABLES))
def test_what_is_read_means_what_it_means_when_it_is_fed(heads, table):
    judge(table, heads)


def test_seeded_mutations_of_a_connection():
    rng = random.Random(2616)
    until = time.monotonic() + MUTATE_S  # noqa: TID251 a bound on the test, not a measurement
    runs = taken = 0
    while runs < 8_000 and time.monotonic() < until:  # noqa: TID251
        heads = [browser(number) for number in range(4)]
        at = rng.randrange(4)
        head = bytearray(heads[at])
        for _ in range(rng.choice((1, 1, 2))):
            head[rng.randrange(len(head))] = rng.choice(b"\r\n \t\x00\x0b\x7f\x80:;,#/Aa0")
        heads[at] = bytes(head)
        taken += judge(from_outside, heads)
        runs += 1
    assert taken > runs, "read takes nothing: nothing was tested"


def browser(number: int) -> bytes:
    return (
        b"GET /items/%d HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x\r\nAccept: */*\r\nCookie: session=%d; _ga=1\r\n"
        b"Connection: keep-alive\r\nX-Request-Id: id-%d\r\ntraceparent: 00-%032x-01\r\n\r\n"
    ) % (number, number, number, number)


def test_what_a_client_repeats_is_learned_from_two_heads(monkeypatch):
    reader = RequestReader(from_outside())
    assert reader.read(browser(1))
    assert reader.read(browser(2))
    monkeypatch.setattr(http1_request, "_fields_of", lambda head: pytest.fail("looked at every field again"))
    for number in range(3, 9):
        assert reader.read(browser(number))
        assert (b"Cookie", b"session=%d; _ga=1" % number) in reader.fields()
        assert b"id-" not in reader.lines  # nobody may choose our request id
    monkeypatch.undo()
    assert reader.read(browser(9).replace(b"Accept: */*", b"Accept: text/html"))
    assert (b"Accept", b"text/html") in reader.fields()


@pytest.mark.parametrize("bad", [b"a\nb", b"a\rb", b"a\x00b", b"a\x0bb", b"a\x7fb", b"a\r\n b"])
def test_a_value_that_varies_is_judged_each_time(bad):
    reader = RequestReader(from_outside())
    assert reader.read(browser(1)) and reader.read(browser(2)) and reader.read(browser(3))
    for field in (b"session=4", b"id-4"):
        assert not reader.read(browser(4).replace(field, bad))


def test_a_head_is_judged_as_a_head_after_one_that_announced_a_body():
    reader = RequestReader(from_outside())
    post = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 900\r\nX: %d\r\n\r\n"
    for number in range(4):
        assert reader.read(post % number) and reader.content_length == 900
    assert not reader.read(post.replace(b"%d", b"a\nb"))
    for number in range(4):
        assert reader.read(browser(number)) and reader.content_length == -1
    assert not reader.read(browser(4).replace(b"id-4", b"a\nb"))


def test_what_a_connection_remembers_is_bounded():
    reader = RequestReader(from_outside())
    long = b"x" * http1_request.BLOCK_BYTES_MAX
    for number in range(4):
        assert reader.read(browser(number).replace(b"session=", long))
        assert reader._block is None
        assert reader._repeat is None
    for number in range(100):
        assert reader.read(browser(number).replace(b"Accept: */*", b"Accept-%d: */*" % number))
    assert reader._lessons == 0
    assert http1_request.LESSONS_MAX <= 4  # each compiles a pattern


def test_what_is_repeated_says_what_it_said_whatever_came_between():
    reader = RequestReader(from_outside())
    assert reader.read(browser(1)) and reader.read(browser(2))
    for number in range(12):
        other = browser(number).replace(b"a.test", b"b%d.test" % number)
        assert reader.read(other) and reader.host_key == b"b%d.test" % number
        assert reader.read(browser(number)) and reader.host_key == b"a.test"
        assert reader.feed(b"GET / HTTP/1.1\r\nHost: c.test\r\nAccept: 1\r\nAccept: 2\r\n\r\n")
        reader.reset()
        assert reader.read(browser(number)) and reader.host_key == b"a.test"


def test_a_pattern_needs_the_same_names_and_values_that_may_vary():
    accept, tag = Field(b"a", True, True), Field(b"t", False, False)
    assert repeat(b"a: 1\r\n\r\n", b"a: 2\r\n\r\n", [accept]).lines(b"a: 3\r\n\r\n") == b"a: 3\r\n"
    percent = Field(b"a%b", True, True)
    assert repeat(b"a%b: 1\r\n\r\n", b"a%b: 2\r\n\r\n", [percent]).lines(b"a%b: %s\r\n\r\n") == b"a%b: %s\r\n"
    assert repeat(b"a: 1\r\n\r\n", b"b: 2\r\n\r\n", [accept]) is None
    assert repeat(b"a: 1\r\n\r\n", b"a: 1\r\n\r\n", [accept]) is None
    assert repeat(b"t: 1\r\n\r\n", b"t: 2\r\n\r\n", [tag]) is None
    many = [Field(b"a%d" % at, True, True) for at in range(9)]
    one, other = (b"".join(b"%b: %d\r\n" % (f.name, n) for f in many) + b"\r\n" for n in (1, 2))
    assert repeat(one, other, many) is None


# ---- responses ---------------------------------------------------------------------------------------------------


def sent_on(reader: ResponseReader) -> bytes:
    """A fed response as a relay sends it to a client that keeps its connection."""
    return b"".join(
        (status_line(reader.status), *reader.out, b"content-length: %d\r\n\r\n" % reader.content_length, *reader.body)
    )


def learn(reader: ResponseReader, data: bytes) -> None:
    reader.feed(data)
    reader.remember(data)


RESPONSES = [
    b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
    b"HTTP/1.1 404 Nope\r\ncontent-length:0\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x-a\r\nX-A: 1\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 503 Later\r\nContent-Length: 2\r\nx-dp-not-processed: true\r\n\r\nok",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
]
KNOWN = RESPONSES[:3]


@pytest.mark.parametrize("response", RESPONSES)
def test_a_response_that_was_fed_whole_is_read_the_next_time(response):
    table = from_upstream()
    first, second = ResponseReader(table), ResponseReader(table)
    assert first.read(response) is None
    learn(first, response)
    again = second.read(response)
    if response in KNOWN:
        assert again == sent_on(first)
        assert (second.status, second.body_bytes) == (first.status, first.content_length)
        assert second.read(response + b"x") is None  # excess
        assert second.read(response[:-1]) is None
    else:
        assert again is None


def test_seeded_mutations_of_responses_that_are_known():
    rng = random.Random(7231)
    table = from_upstream()
    taken = 0
    for _ in range(6_000):
        response = bytearray(rng.choice(RESPONSES))
        if rng.random() < 0.7:
            response[rng.randrange(len(response))] = rng.choice(b"\r\n \t\x00:;,#/Aa0123")
        data = bytes(response)
        fresh = ResponseReader(from_upstream())
        try:
            fresh.feed(data)
        except UpstreamProtocol:
            fresh.status = -1
        again = ResponseReader(table).read(data)
        if again is not None:
            taken += 1
            assert again == sent_on(fresh), data
            assert fresh.complete and fresh.keep_alive and not fresh.excess, data
        elif fresh.status > 0:
            learn(ResponseReader(table), data)
    assert taken > 500


def test_the_answer_to_a_HEAD_is_not_kept():
    table = from_upstream()
    reader = ResponseReader(table)
    reader.reset(bodyless=True)
    learn(reader, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert not table.heads


def test_heads_that_are_kept_are_bounded_by_number_and_size():
    table = from_upstream()
    for number in range(3 * http1_response.KEPT_HEADS_MAX):
        learn(ResponseReader(table), b"HTTP/1.1 200 OK\r\nETag: %d\r\nContent-Length: 0\r\n\r\n" % number)
        assert len(table.heads) <= http1_response.KEPT_HEADS_MAX
    table.heads.clear()
    long = b"x" * http1_response.KEPT_HEAD_BYTES_MAX
    learn(ResponseReader(table), b"HTTP/1.1 200 OK\r\nETag: %b\r\nContent-Length: 0\r\n\r\n" % long)
    assert not table.heads
