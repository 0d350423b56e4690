"""Framing and syntax faults: each row of reliability.md §3.1 GW-01…GW-09, against an origin that logs every byte.

The oracle: a refused payload gets a 4xx/5xx of ours and a closed connection, and not one byte of it reaches the origin.
"""

import pytest

HOST = b"hello.default.localhost"
GOOD = b"GET /good HTTP/1.1\r\nhost: " + HOST + b"\r\n\r\n"


def request(extra: bytes = b"", *, line: bytes = b"POST / HTTP/1.1", host: bytes = b"host: " + HOST + b"\r\n") -> bytes:
    return line + b"\r\n" + host + extra


async def refused(house, payload: bytes, *statuses: int) -> None:
    before = house.origin.log
    answer = await house.raw(payload)
    assert answer, "no answer at all"
    status = int(answer.split(b" ")[1])
    assert status in (statuses or (400,)), answer
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert b"connection: close" in answer
    assert house.origin.log == before, "bytes of a refused request reached the origin"
    # The next client is not affected.
    status, _, _ = await house.get("/after")
    assert status == 200


async def test_a_valid_request_reaches_the_origin(house):
    answer = await house.raw(GOOD)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert house.origin.received[0].startswith(b"GET /good HTTP/1.1\r\nhost: " + HOST + b"\r\n")


async def test_GW_01_content_length_and_transfer_encoding_together(house):
    await refused(house, request(b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"))
    await refused(house, request(b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"))


@pytest.mark.parametrize(
    "value",
    [
        b"5, 5",
        b"",
        b"+5",
        b"-1",
        b"0x5",
        b"1_0",
        b"5 5",
        b"9223372036854775808",
        b"99999999999999999999",
        b"five",
        b"5;",
        b"\xb2",
    ],
)
async def test_GW_02_malformed_content_length(house, value):
    await refused(house, request(b"content-length: " + value + b"\r\n\r\nhello"))


@pytest.mark.parametrize("second", [b"5", b"6"])
async def test_GW_02_repeated_content_length(house, second):
    await refused(house, request(b"content-length: 5\r\ncontent-length: " + second + b"\r\n\r\nhello"))


@pytest.mark.parametrize(
    ("coding", "statuses"),
    [
        (b"gzip", (501, 400)),
        (b"identity", (501, 400)),
        (b"gzip, chunked", (400,)),
        (b"chunked, chunked", (400,)),
        (b"chunked, identity", (400,)),
        (b"xchunked", (501, 400)),
        (b"chunked;a=b", (400,)),
        (b"\x0bchunked", (400,)),
        (b"\x0cchunked", (400,)),
        (b"chunked\xa0", (400,)),
        (b"\xffchunked", (400,)),
        (b'"chunked"', (400,)),
        (b"", (400,)),
    ],
)
async def test_GW_03_transfer_encoding_that_is_not_chunked(house, coding, statuses):
    await refused(house, request(b"transfer-encoding: " + coding + b"\r\n\r\n0\r\n\r\n"), *statuses)


async def test_GW_03_chunked_is_case_insensitive(house):
    answer = await house.raw(request(b"Transfer-Encoding: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"2\r\nhi\r\n0\r\n\r\n" in house.origin.log


async def test_GW_03_transfer_encoding_in_http_1_0(house):
    await refused(house, request(b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n", line=b"POST / HTTP/1.0"))


async def test_GW_03_two_transfer_encodings(house):
    await refused(house, request(b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n"))


@pytest.mark.parametrize(
    "name", [b"transfer-encoding ", b"transfer-encoding\t", b" transfer-encoding", b"transfer\x00encoding"]
)
async def test_GW_03_space_around_a_field_name(house, name):
    await refused(house, request(name + b": chunked\r\n\r\n0\r\n\r\n"))


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nhi\r\n0\r\n\r\n",
        b"0x2\r\nhi\r\n0\r\n\r\n",
        b"+2\r\nhi\r\n0\r\n\r\n",
        b"-2\r\nhi\r\n0\r\n\r\n",
        b" 2\r\nhi\r\n0\r\n\r\n",
        b"2 \r\nhi\r\n0\r\n\r\n",
        b"00000000000000002\r\nhi\r\n0\r\n\r\n",
        b"\r\nhi\r\n0\r\n\r\n",
        b"2\nhi\r\n0\r\n\r\n",
        b"2\rhi\r\n0\r\n\r\n",
        b"2\r\nhi0\r\n\r\n",
        b"2\r\nhi\n0\r\n\r\n",
        b"2\r\nhiX\r\n0\r\n\r\n",
        b"2;a\nb\r\nhi\r\n0\r\n\r\n",
        b"2;a\x01b\r\nhi\r\n0\r\n\r\n",
        b"2;" + b"a" * 5000 + b"\r\nhi\r\n0\r\n\r\n",
        b"2\r\nhi\r\n0\r\nbad trailer\r\n\r\n",
        b"2\r\nhi\r\n0\r\nx: a\x00\r\n\r\n",
    ],
)
async def test_GW_04_bad_chunk_ends_both_connections(house, body):
    """Forwarding may have begun: then the upstream connection is aborted, never reused, and the client gets 400."""
    answer = await house.raw(request(b"transfer-encoding: chunked\r\n\r\n" + body))
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 ")), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not house.origin.log.endswith(b"0\r\n\r\n"), "a broken message was completed towards the origin"
    status, _, _ = await house.get("/after")
    assert status == 200


@pytest.mark.parametrize(
    "payload",
    [
        b"GET / HTTP/1.1\nhost: %b\n\n" % HOST,
        b"GET / HTTP/1.1\r\nhost: %b\nx: y\r\n\r\n" % HOST,
        b"GET / HTTP/1.1\rhost: %b\r\r" % HOST + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: %b\r\nx: a\r\n folded\r\n\r\n" % HOST,
        b"GET / HTTP/1.1\r\nhost: %b\r\nx: a\x00b\r\n\r\n" % HOST,
        b"GET / HTTP/1.1\r\nhost: %b\r\nx: a\x01b\r\n\r\n" % HOST,
        b"GET / HTTP/1.1\r\nhost: %b\r\nx: a\rb\r\n\r\n" % HOST,
        b"GET / HTTP/1.1\r\nhost: %b\r\nx\x7f: a\r\n\r\n" % HOST,
        b"GET / HTTP/1.1\r\nhost: %b\r\nx(y): a\r\n\r\n" % HOST,
        b"GET / HTTP/1.1\r\nhost: %b\r\n: empty\r\n\r\n" % HOST,
        b"GET / HTTP/1.1\r\nhost: %b\r\nno colon\r\n\r\n" % HOST,
        b"GET / HTTP/1.1\r\n host: %b\r\n\r\n" % HOST,
        b"GET /a b HTTP/1.1\r\nhost: %b\r\n\r\n" % HOST,
        b"GET  / HTTP/1.1\r\nhost: %b\r\n\r\n" % HOST,
        b"GET /\xff HTTP/1.1\r\nhost: %b\r\n\r\n" % HOST,
        b"GET /\x01 HTTP/1.1\r\nhost: %b\r\n\r\n" % HOST,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTX/1.1\r\nhost: %b\r\n\r\n" % HOST,
        b"GET /\r\n\r\n",
    ],
)
async def test_GW_05_syntax(house, payload):
    await refused(house, payload, 400, 505)


@pytest.mark.parametrize("version", [b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/9.9"])
async def test_GW_16_unknown_version(house, version):
    await refused(house, b"GET / %b\r\nhost: %b\r\n\r\n" % (version, HOST), 400, 505)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"host: a\r\nhost: a\r\n",
        b"host: %b\r\nhost: %b\r\n" % (HOST, HOST),
        b"host: %b, other\r\n" % HOST,
        b"host: \r\n",
        b"host: a b\r\n",
        b"host: user@%b\r\n" % HOST,
        b"host: %b:port\r\n" % HOST,
        b"host: %b:99999\r\n" % HOST,
        b"host: %b/path\r\n" % HOST,
        b"host: [::1\r\n",
        b"host: a]b\r\n",
        b"host: \xff\r\n",
    ],
)
async def test_GW_06_host(house, host):
    await refused(house, request(b"\r\n", line=b"GET / HTTP/1.1", host=host))


@pytest.mark.parametrize(
    "target",
    [
        b"http://user@%b/" % HOST,
        b"http://other.localhost/",
        b"ftp://%b/" % HOST,
        b"http:///",
        b"%b/" % HOST,
    ],
)
async def test_GW_06_absolute_form_that_disagrees(house, target):
    await refused(house, request(b"\r\n", line=b"GET %b HTTP/1.1" % target))


@pytest.mark.parametrize(("suffix", "sent"), [(b"/a?b", b"/a?b"), (b"", b"/"), (b"?q", b"/?q")])
async def test_GW_06_absolute_form_becomes_origin_form(house, suffix, sent):
    answer = await house.raw(request(b"\r\n", line=b"GET http://%b:80%b HTTP/1.1" % (HOST.upper(), suffix)))
    assert answer.startswith(b"HTTP/1.1 200")
    assert house.origin.received[0].startswith(b"GET %b HTTP/1.1\r\nhost: %b:80\r\n" % (sent, HOST.upper()))


async def test_GW_07_options_star_is_answered_once(house):
    answer = await house.raw(request(b"\r\n", line=b"OPTIONS * HTTP/1.1", host=b"host: nobody\r\n"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("line", [b"GET * HTTP/1.1", b"OPTIONS ** HTTP/1.1"])
async def test_GW_07_star_for_another_method(house, line):
    await refused(house, request(b"\r\n", line=line))


async def test_GW_07_connect_is_not_allowed(house):
    await refused(house, request(b"\r\n", line=b"CONNECT %b:80 HTTP/1.1" % HOST), 405)


async def test_GW_08_request_line_over_8_KiB(house):
    await refused(house, request(b"\r\n", line=b"GET /" + b"a" * 8300 + b" HTTP/1.1"), 414)


async def test_GW_08_endless_request_line_is_refused_while_it_arrives(house):
    await refused(house, b"GET /" + b"a" * 100_000, 414)


async def test_GW_08_header_block_over_32_KiB(house):
    fields = b"".join(b"x-%d: %b\r\n" % (i, b"a" * 1000) for i in range(40))
    await refused(house, request(fields + b"\r\n"), 431)


async def test_GW_08_more_than_100_fields(house):
    await refused(house, request(b"".join(b"x-%d: a\r\n" % i for i in range(101)) + b"\r\n"), 431)
    answer = await house.raw(request(b"".join(b"x-%d: a\r\n" % i for i in range(95)) + b"\r\n", line=b"GET / HTTP/1.1"))
    assert answer.startswith(b"HTTP/1.1 200")


async def test_GW_08_single_field_over_16_KiB(house):
    await refused(house, request(b"x: " + b"a" * 17_000 + b"\r\n\r\n"), 431)


async def test_GW_08_trailers_share_the_budget(house):
    trailers = b"".join(b"x-%d: %b\r\n" % (i, b"a" * 1000) for i in range(20))
    answer = await house.raw(request(b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n" + trailers + b"\r\n"))
    assert answer.startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("name", [b"transfer_encoding", b"content_length", b"x_forwarded_for", b"a_b"])
async def test_GW_09_underscore_in_a_name(house, name):
    await refused(house, request(name + b": 1\r\n\r\n"))


async def test_a_cut_at_any_byte_gives_the_same_request(house):
    payload = b"POST /cut HTTP/1.1\r\nHost: %b\r\nX-A: b\r\nContent-Length: 4\r\n\r\nbody" % HOST
    expected = None
    for cut in range(1, len(payload)):
        house.origin.received.clear()
        reader, writer = await house.connect()
        writer.write(payload[:cut])
        await writer.drain()
        await __import__("asyncio").sleep(0.002)
        writer.write(payload[cut:])
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.close()
        expected = expected or house.origin.log
        assert house.origin.log == expected
