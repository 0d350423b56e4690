"""Requests by clause of RFC 9110 and RFC 9112: what must be understood, and what must be refused with one answer.

Source: RFC 9112 §2–§9, RFC 9110 §5, §7, §10; reliability.md §3.1 GW-01…GW-09, GW-14, GW-16.
"""

import h11
import pytest

from dataplane.wire.target import normal_target

H = b"host: a.test\r\n"
ZEROS = b"0\r\n\r\n"


def get(extra: bytes = b"", line: bytes = b"GET / HTTP/1.1", host: bytes = H) -> bytes:
    return line + b"\r\n" + host + extra + b"\r\n"


def post(extra: bytes, body: bytes = b"", line: bytes = b"POST / HTTP/1.1") -> bytes:
    return get(extra, line) + body


def chunked(body: bytes) -> bytes:
    return post(b"transfer-encoding: chunked\r\n", body)


# clause, bytes, (method, target, body) of the one request in it
VALID = [
    ("9112-3 origin-form", get(line=b"GET /a/b?c=d HTTP/1.1"), (b"GET", b"/a/b?c=d", b"")),
    ("9112-3 empty query", get(line=b"GET /? HTTP/1.1"), (b"GET", b"/?", b"")),
    ("9112-3 double slash", get(line=b"GET //a//b HTTP/1.1"), (b"GET", b"//a//b", b"")),
    ("9112-3 escapes", get(line=b"GET /%41%2f%7e HTTP/1.1"), (b"GET", b"/A%2F~", b"")),
    ("9112-3 sub-delims", get(line=b"GET /a;b=1,2!$&'()*+@: HTTP/1.1"), (b"GET", b"/a;b=1,2!$&'()*+@:", b"")),
    ("9112-3 dots", get(line=b"GET /a/../b/. HTTP/1.1"), (b"GET", b"/b/", b"")),
    ("9112-3 long target", get(line=b"GET /%b HTTP/1.1" % (b"a" * 8000)), (b"GET", b"/" + b"a" * 8000, b"")),
    ("9112-3.2.2 absolute", get(line=b"GET http://a.test/x HTTP/1.1"), (b"GET", b"/x", b"")),
    ("9112-3.2.2 absolute, no path", get(line=b"GET http://a.test HTTP/1.1"), (b"GET", b"/", b"")),
    ("9112-3.2.2 absolute, query", get(line=b"GET http://a.test?q HTTP/1.1"), (b"GET", b"/?q", b"")),
    ("9112-3.2.2 absolute, upper case", get(line=b"GET HTTP://A.TEST/ HTTP/1.1"), (b"GET", b"/", b"")),
    ("9112-3.2.2 absolute, https", get(line=b"GET https://a.test/ HTTP/1.1"), (b"GET", b"/", b"")),
    ("9112-3.2.2 absolute, 1.0, no Host", get(line=b"GET http://a.test/ HTTP/1.0", host=b""), (b"GET", b"/", b"")),
    (
        "9112-3.2.2 absolute, 1.0, no Host, body",
        get(b"content-length: 5\r\n", line=b"POST http://a.test/ HTTP/1.0", host=b"") + b"hello",
        (b"POST", b"/", b"hello"),
    ),
    ("9112-3.2.4 asterisk", get(line=b"OPTIONS * HTTP/1.1"), (b"OPTIONS", b"*", b"")),
    ("9112-2.2 one empty line before", b"\r\n" + get(), (b"GET", b"/", b"")),
    ("9112-2.2 two empty lines before", b"\r\n\r\n" + get(), (b"GET", b"/", b"")),
    ("9112-2.2 five empty lines before", b"\r\n" * 5 + get(), (b"GET", b"/", b"")),
    ("9112-2.3 HTTP/1.0", get(line=b"GET / HTTP/1.0"), (b"GET", b"/", b"")),
    ("9112-2.3 HTTP/1.0 without Host", get(line=b"GET / HTTP/1.0", host=b""), (b"GET", b"/", b"")),
    ("9112-2.3 HTTP/1.0 with a body", post(b"content-length: 2\r\n", b"hi", b"POST / HTTP/1.0"), (b"POST", b"/", b"hi")),
    *(
        (f"9110-9.3 {m.decode()}", get(line=m + b" / HTTP/1.1"), (m, b"/", b""))
        for m in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH", b"PROPFIND", b"PURGE")
    ),
    ("9110-7.2 Host with port", get(host=b"host: a.test:8080\r\n"), (b"GET", b"/", b"")),
    ("9110-7.2 Host with empty port", get(host=b"host: a.test:\r\n"), (b"GET", b"/", b"")),
    ("9110-7.2 Host in upper case", get(host=b"HOST: A.TEST\r\n"), (b"GET", b"/", b"")),
    ("9110-7.2 Host, trailing dot", get(host=b"host: a.test.\r\n"), (b"GET", b"/", b"")),
    ("9110-7.2 Host, IPv4", get(host=b"host: 127.0.0.1:1\r\n"), (b"GET", b"/", b"")),
    ("9110-7.2 Host, IPv6", get(host=b"host: [::1]:8080\r\n"), (b"GET", b"/", b"")),
    ("9112-5 no space after colon", get(b"x:y\r\n"), (b"GET", b"/", b"")),
    ("9112-5 spaces around a value", get(b"x: \t  y \t \r\n"), (b"GET", b"/", b"")),
    ("9112-5 spaces after Host", get(host=b"host:  a.test \t\r\n"), (b"GET", b"/", b"")),
    ("9112-5 spaces after a length", post(b"content-length: \t2 \r\n", b"hi"), (b"POST", b"/", b"hi")),
    ("9112-5 empty value", get(b"x:\r\n"), (b"GET", b"/", b"")),
    ("9112-5 value of spaces", get(b"x: \t \r\n"), (b"GET", b"/", b"")),
    ("9110-5.6.2 every token character", get(b"!#$%&'*+-.^`|~09azAZ: y\r\n"), (b"GET", b"/", b"")),
    ("9110-5.5 obs-text inside a value", get(b"x: a\xe9b\r\n"), (b"GET", b"/", b"")),
    ("9110-5.5 tab inside a value", get(b"x: a\tb\r\n"), (b"GET", b"/", b"")),
    ("9110-5.5 colons in a value", get(b"x: a:b::c\r\n"), (b"GET", b"/", b"")),
    ("9110-5.5 quoted string", get(b'x: "a\\"b", c;d="e"\r\n'), (b"GET", b"/", b"")),
    ("9110-5.3 repeated field", get(b"x: 1\r\nx: 2\r\n"), (b"GET", b"/", b"")),
    ("9110-7.6.1 Connection list", get(b"connection: keep-alive, x-a, ,x-b\r\nx-a: 1\r\n"), (b"GET", b"/", b"")),
    ("9110-7.6.1 two Connections", get(b"connection: keep-alive\r\nconnection: x-a\r\n"), (b"GET", b"/", b"")),
    ("9110-7.8 h2c is not taken up", get(b"connection: upgrade\r\nupgrade: h2c\r\n"), (b"GET", b"/", b"")),
    ("9110-10.1.1 Expect without a body", get(b"expect: 100-continue\r\n"), (b"GET", b"/", b"")),
    (
        "9110-10.1.1 Expect",
        post(b"content-length: 2\r\nexpect: 100-Continue\r\n", b"hi"),
        (b"POST", b"/", b"hi"),
    ),
    ("9112-6.2 length", post(b"content-length: 5\r\n", b"hello"), (b"POST", b"/", b"hello")),
    ("9112-6.2 length 0", post(b"content-length: 0\r\n"), (b"POST", b"/", b"")),
    ("9112-6.2 leading zeros", post(b"content-length: 0005\r\n", b"hello"), (b"POST", b"/", b"hello")),
    ("9112-6.2 GET with a body", get(b"content-length: 2\r\n") + b"hi", (b"GET", b"/", b"hi")),
    ("9112-6.1 chunked", chunked(b"2\r\nhi\r\n" + ZEROS), (b"POST", b"/", b"hi")),
    ("9112-6.1 upper case", post(b"Transfer-Encoding: ChunKed \r\n", b"2\r\nhi\r\n" + ZEROS), (b"POST", b"/", b"hi")),
    ("9112-7.1 several", chunked(b"1\r\nh\r\n00A\r\n0123456789\r\n" + ZEROS), (b"POST", b"/", b"h0123456789")),
    ("9112-7.1 only the last", chunked(ZEROS), (b"POST", b"/", b"")),
    ("9112-7.1 many zeros", chunked(b"2\r\nhi\r\n000000\r\n\r\n"), (b"POST", b"/", b"hi")),
    ("9112-7.1 CRLF in data", chunked(b"4\r\n\r\n\r\n\r\n" + ZEROS), (b"POST", b"/", b"\r\n\r\n")),
    ("9112-7.1.1 extension", chunked(b'2;a=b;c="d"\r\nhi\r\n0;x\r\n\r\n'), (b"POST", b"/", b"hi")),
    ("9112-7.1.1 BWS", chunked(b"2 ; a = b\r\nhi\r\n" + ZEROS), (b"POST", b"/", b"hi")),
    ("9112-7.1.2 trailer", chunked(b"2\r\nhi\r\n0\r\nx: y\r\nz:\r\n\r\n"), (b"POST", b"/", b"hi")),
    ("9112-7.1.2 a length as trailer", chunked(b"2\r\nhi\r\n0\r\ncontent-length: 99\r\n\r\n"), (b"POST", b"/", b"hi")),
]  # fmt: skip

# clause, bytes, statuses that may answer
INVALID = [
    ("9112-3 two spaces", get(line=b"GET  / HTTP/1.1"), (400,)),
    ("9112-3 space in target", get(line=b"GET /a b HTTP/1.1"), (400,)),
    ("9112-3 space at the end", get(line=b"GET / HTTP/1.1 "), (400,)),
    ("9112-3 space before", get(line=b" GET / HTTP/1.1"), (400,)),
    ("9112-3 tab between", get(line=b"GET\t/\tHTTP/1.1"), (400,)),
    ("9112-3 no target", get(line=b"GET HTTP/1.1"), (400,)),
    ("9112-3 empty target", get(line=b"GET  HTTP/1.1"), (400,)),
    ("9112-3 no version", get(line=b"GET /"), (400,)),
    ("9112-3 bare CR before", b"\r" + get(), (400,)),
    ("9112-3 bare LF before", b"\n" + get(), (400,)),
    ("9112-3 CR CR LF", get(line=b"GET / HTTP/1.1\r"), (400,)),
    ("9112-3 tab in target", get(line=b"GET /a\tb HTTP/1.1"), (400,)),
    ("9112-3 NUL in target", get(line=b"GET /\x00 HTTP/1.1"), (400,)),
    ("9112-3 DEL in target", get(line=b"GET /\x7f HTTP/1.1"), (400,)),
    ("9112-3 high byte in target", get(line=b"GET /\xe9 HTTP/1.1"), (400,)),
    ("9112-3 fragment", get(line=b"GET /a#b HTTP/1.1"), (400,)),
    ("9112-3 fragment, absolute", get(line=b"GET http://a.test/#b HTTP/1.1"), (400,)),
    ("9112-3 relative target", get(line=b"GET a/b HTTP/1.1"), (400,)),
    ("9112-3 query alone", get(line=b"GET ?a HTTP/1.1"), (400,)),
    ("9112-3.1 lower-case method", get(line=b"get / HTTP/1.1"), (501,)),
    ("9110-9.1 unknown method", get(line=b"FOO / HTTP/1.1"), (501,)),
    ("9110-9.1 method of another protocol", get(line=b"DESCRIBE / HTTP/1.1"), (501,)),
    ("9110-5.6.2 method that is no token", get(line=b"G{T / HTTP/1.1"), (400,)),
    ("3986-2.1 broken escape", get(line=b"GET /%zz HTTP/1.1"), (400,)),
    ("3986-2.1 escaped NUL", get(line=b"GET /a%00b HTTP/1.1"), (400,)),
    ("9112-3.1 method with a control", get(line=b"GE\x01T / HTTP/1.1"), (400,)),
    ("9112-3.1 method with a colon", get(line=b"GET: / HTTP/1.1"), (400,)),
    ("9112-3.1 HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    ("9112-2.3 lower-case name", get(line=b"GET / http/1.1"), (400,)),
    ("9112-2.3 another protocol", get(line=b"OPTIONS / RTSP/1.1"), (400,)),
    ("9112-2.3 another protocol, 1.0", get(line=b"OPTIONS / RTSP/1.0"), (400,)),
    ("9112-2.3 ICE", get(line=b"SOURCE / ICE/1.0"), (400,)),
    *(
        (f"9112-2.3 {v.decode()}", get(line=b"GET / " + v), (400, 505))
        for v in (b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/1", b"HTTP/1.", b"HTTP/11.1", b"HTTP/1.1x", b"HTTP/+1.1")
    ),
    (
        "9112-2.3 an unknown version that asks to stay",
        get(b"proxy-connection: keep-alive\r\n", line=b"GET / HTTP/2.0"),
        (505,),
    ),
    (
        "9112-6.1 chunked in 1.0 behind Proxy-Connection",
        get(b"proxy-connection: keep-alive\r\ntransfer-encoding: chunked\r\n", line=b"POST / HTTP/1.0") + ZEROS,
        (400,),
    ),
    (
        "9112-6.1 chunked in 1.0 without Host",
        get(b"transfer-encoding: chunked\r\n", line=b"POST http://a.test/ HTTP/1.0", host=b"") + ZEROS,
        (400,),
    ),
    (
        "9112-6.2 bad length in 1.0 without Host",
        get(b"content-length: 1_0\r\n", line=b"POST http://a.test/ HTTP/1.0", host=b""),
        (400,),
    ),
    ("9110-9.3.6 CONNECT", get(line=b"CONNECT a.test:80 HTTP/1.1"), (405,)),
    ("9110-9.3.6 CONNECT, origin-form", get(line=b"CONNECT / HTTP/1.1"), (400, 405)),
    ("9110-9.3.6 CONNECT, path and port", get(line=b"CONNECT /x:1 HTTP/1.1"), (400, 405)),
    ("9112-3.2 no Host", get(host=b""), (400,)),
    ("9112-3.2 empty Host", get(host=b"host:\r\n"), (400,)),
    ("9112-3.2 two Hosts", get(host=H + H), (400,)),
    ("9112-3.2 Host list", get(host=b"host: a.test, b\r\n"), (400,)),
    ("9112-3.2 Host with a path", get(host=b"host: a.test/x\r\n"), (400,)),
    ("9112-3.2 Host with userinfo", get(host=b"host: u@a.test\r\n"), (400,)),
    ("9112-3.2 Host with a space", get(host=b"host: a test\r\n"), (400,)),
    ("9112-3.2 Host with a bad port", get(host=b"host: a.test:8x\r\n"), (400,)),
    ("9112-3.2 Host longer than DNS has names", get(host=b"host: %b\r\n" % (b"a" * 300)), (400,)),
    ("9112-3.2.2 other authority", get(line=b"GET http://b.test/ HTTP/1.1"), (400,)),
    ("9112-3.2.2 other scheme", get(line=b"GET ftp://a.test/ HTTP/1.1"), (400,)),
    ("9112-3.2.2 userinfo", get(line=b"GET http://u@a.test/ HTTP/1.1"), (400,)),
    ("9112-3.2.2 no authority", get(line=b"GET http:///x HTTP/1.1"), (400,)),
    ("9112-3.2.4 asterisk for GET", get(line=b"GET * HTTP/1.1"), (400,)),
    ("9112-2.2 bare LF", b"GET / HTTP/1.1\nhost: a.test\n\n\r\n\r\n", (400,)),
    ("9112-2.2 bare LF in fields", get(b"x: y\nz: w\r\n"), (400,)),
    ("9112-2.2 bare CR in a value", get(b"x: y\rz\r\n"), (400,)),
    ("9112-5.2 obs-fold", get(b"x: y\r\n z\r\n"), (400,)),
    ("9112-5.2 obs-fold with a tab", get(b"x: y\r\n\tz\r\n"), (400,)),
    ("9112-5.2 obs-fold in the coding", chunked(b"").replace(b": chunked", b":\r\n chunked") + ZEROS, (400,)),
    ("9112-2.2 space before the first field", get(host=b" host: a.test\r\n"), (400,)),
    ("9112-5.1 space before a colon", get(b"x : y\r\n"), (400,)),
    ("9112-5.1 tab before a colon", get(b"x\t: y\r\n"), (400,)),
    ("9112-5 no colon", get(b"xyz\r\n"), (400,)),
    ("9112-5 empty name", get(b": y\r\n"), (400,)),
    *((f"9110-5.6.2 {c:#04x} in a name", get(b"a%cb: y\r\n" % c), (400,)) for c in b'\x00\x01\x1f "(),/;<=>?@[]{}\x7f\x80\xff'),
    *((f"9110-5.5 {c:#04x} in a value", get(b"x: a%cb\r\n" % c), (400,)) for c in b"\x00\x01\x08\x0b\x0c\x1f\x7f"),
    ("9110-8.6 length list", post(b"content-length: 5, 5\r\n", b"hello"), (400,)),
    ("9110-8.6 equal lengths", post(b"content-length: 5\r\ncontent-length: 5\r\n", b"hello"), (400,)),
    ("9110-8.6 other lengths", post(b"content-length: 5\r\ncontent-length: 4\r\n", b"hello"), (400,)),
    *(
        (f"9110-8.6 length {v!r}", post(b"content-length: " + v + b"\r\n", b"hello"), (400,))
        for v in (b"", b"+5", b"-5", b"5x", b"0x5", b"5.0", b"5_0", b"5 5", b'"5"', b"\xb2", b"9" * 20, b"9223372036854775808")
    ),
    ("9112-6.3 both", post(b"content-length: 5\r\ntransfer-encoding: chunked\r\n", ZEROS), (400,)),
    ("9112-6.3 both, other order", post(b"transfer-encoding: chunked\r\ncontent-length: 5\r\n", ZEROS), (400,)),
    *(
        (f"9112-6.1 coding {v!r}", post(b"transfer-encoding: " + v + b"\r\n", ZEROS), (400, 501))
        for v in (b"", b"gzip", b"identity", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"chunked;q=1", b"xchunked",
                  b"chunkedx", b'"chunked"', b"chunked\x00", b"\x0bchunked", b"chunked\xa0", b"chunked,", b",chunked")
    ),
    ("9112-6.1 two codings", post(b"transfer-encoding: chunked\r\n" * 2, ZEROS), (400, 501)),
    *(
        (f"9112-7.1 chunk {v!r}", chunked(v), (400, 431))
        for v in (b"g\r\n", b"0x1\r\n", b"+1\r\n", b"-1\r\n", b" 1\r\n", b"1 \r\n", b"\r\n", b"1\n", b"1\r1", b"1\r\nab", b"1\r\na\n0\r\n",
                  b"f" * 16 + b"\r\n", b"0" * 17 + b"\r\n", b"1;a\x00\r\n", b"1;a\rb\r\n", b"1,a\r\n", b"0\r\nbad\r\n\r\n",
                  b"0\r\n: y\r\n\r\n", b"0\r\nx : y\r\n\r\n", b"0\r\nx: a\x00\r\n\r\n", b"0\r\nx: y\n\r\n", b"0\r\n fold: y\r\n\r\n")
    ),
    ("9110-10.1.1 unknown expectation", post(b"content-length: 2\r\nexpect: 200-ok\r\n", b"hi"), (417,)),
    ("9110-7.6.1 Connection: Host", get(b"connection: close, Host\r\n"), (400,)),
    ("9110-7.6.1 Connection: Content-Length", post(b"connection: content-length\r\ncontent-length: 2\r\n", b"hi"), (400,)),
    ("6455-4.1 WebSocket with a body", post(b"connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n", b"hi"), (400,)),
    ("9112-3 target over 8 KiB", get(line=b"GET /%b HTTP/1.1" % (b"a" * 9000)), (414,)),
    ("6585-5 field over 16 KiB", get(b"x: %b\r\n" % (b"a" * 17000)), (431,)),
    ("6585-5 over 100 fields", get(b"x: y\r\n" * 101), (431,)),
]  # fmt: skip


def test_the_table_is_as_large_as_it_claims():
    assert len(VALID) >= 60
    assert len(INVALID) >= 80


@pytest.mark.parametrize(("clause", "payload", "expected"), VALID, ids=[c for c, _, _ in VALID])
def test_a_valid_request_is_understood(serve, clause, payload, expected):
    served = serve(payload)
    assert [(r.method, r.target, r.body) for r in served.requests] == [expected], served.written
    assert served.requests[0].whole
    assert not served.refused


@pytest.mark.parametrize(("clause", "payload", "expected"), VALID, ids=[c for c, _, _ in VALID])
def test_h11_reads_a_valid_request_the_same_way(serve, clause, payload, expected):
    if "BWS" in clause or "empty line" in clause:
        pytest.skip("legal, and beyond h11")
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 16)
    peer.receive_data(payload)
    head = peer.next_event()
    body = b""
    while isinstance(event := peer.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    method, target, expected_body = expected
    assert (head.method, body) == (method, expected_body)
    if head.target.startswith(b"/"):
        assert normal_target(head.target) == target
    else:
        assert head.target.endswith(target) or target in (b"/", b"/?q")  # absolute-form has become origin-form


@pytest.mark.parametrize(("clause", "payload", "statuses"), INVALID, ids=[c for c, _, _ in INVALID])
def test_an_invalid_request_is_refused_and_nothing_after_it_is_read(serve, clause, payload, statuses):
    served = serve(payload, get(line=b"GET /after HTTP/1.1"))
    assert served.refused in statuses, served.written
    assert served.written.count(b"HTTP/1.1 ") == 1, served.written
    assert not any(r.whole for r in served.requests), "a broken request was taken for a whole one"


@pytest.mark.parametrize(("clause", "payload", "statuses"), INVALID, ids=[c for c, _, _ in INVALID])
def test_an_invalid_request_is_refused_byte_by_byte_as_well(serve, clause, payload, statuses):
    served = serve(*(payload[i : i + 1] for i in range(len(payload))))
    assert served.refused in (*statuses, 431 if len(payload) > 8000 else 0), served.written
    assert not any(r.whole for r in served.requests)
