"""Request smuggling: more than 3 000 payloads through the gateway to an origin that trusts nothing.

The oracle decides, not the corpus (reliability.md §2). Whatever reaches the origin is read by a strict RFC 9112 parser
written for this test, with h11 as a second opinion; what the client got is counted; after each case another client on
the pooled upstream connections must get its own answer.

    rejected  4xx, 501 or 505, nothing of it was forwarded as a whole request
    clean     as many requests at the origin as answers to the client, each request flawless
    wait      the gateway waited for more and the client left
    DIRTY     the origin read something that RFC 9112 does not allow, or that others may read differently
    COUNT     requests at the origin and answers to the client differ
"""

import asyncio
import collections
import itertools
import re

import h11
import pytest

from tests.quiet import read_until_quiet

HOST = b"hello.default.localhost"
JUNK = (*range(0x21), *range(0x7F, 0x100))  # 162 byte values that are no plain visible character
PAIRS = b'\x00\t\n\x0b\x0c\r \x85\xa0\xff;,"'
REFUSALS = (400, 404, 405, 408, 413, 414, 417, 431, 501, 505)
WORKERS = 24

# ---- the oracle --------------------------------------------------------------------------------------

_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) (/[\x21\x22\x24-\x7e]*|\*) HTTP/1\.1")
_FIELD = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
_CASE = re.compile(rb"(case|victim)-[0-9]+")
_SIZE = re.compile(rb"[0-9a-fA-F]{1,16}")


class DirtyError(Exception):
    pass


class Incomplete(Exception):  # noqa: N818 it is not an error
    pass


def strict(data: bytes) -> tuple[bytes, bytes, bytes, int]:
    """(method, target, body, bytes used) of the first request in `data`. Raises DirtyError or Incomplete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if re.search(rb"[^\r]\n|\r[^\n]|\x00", data):
            raise DirtyError("line ending")
        raise Incomplete
    lines = data[:end].split(b"\r\n")
    line = _LINE.fullmatch(lines[0])
    if line is None:
        raise DirtyError(f"request line {lines[0]!r}")
    fields: dict[bytes, list[bytes]] = collections.defaultdict(list)
    for text in lines[1:]:
        field = _FIELD.fullmatch(text)
        if field is None:
            raise DirtyError(f"field {text!r}")
        fields[field[1].lower()].append(field[2])
    for name in fields:
        if b"_" in name and name.replace(b"_", b"-") in (b"content-length", b"transfer-encoding", b"host"):
            raise DirtyError(f"look-alike {name!r}")
    if len(fields[b"host"]) != 1 or not re.fullmatch(rb"[0-9A-Za-z.\-]+(:[0-9]*)?", fields[b"host"][0]):
        raise DirtyError(f"hosts {fields[b'host']!r}")
    lengths, codings = fields[b"content-length"], fields[b"transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        raise DirtyError(f"framing {lengths!r} {codings!r}")
    at = end + 4
    if codings:
        if codings[0].lower() != b"chunked":
            raise DirtyError(f"coding {codings[0]!r}")
        body, at = _chunks(data, at)
    else:
        if lengths and not re.fullmatch(rb"[0-9]{1,18}", lengths[0]):
            raise DirtyError(f"length {lengths[0]!r}")
        size = int(lengths[0]) if lengths else 0
        body = data[at : at + size]
        if len(body) < size:
            raise Incomplete
        at += size
    return line[1], line[2], body, at


def _chunks(data: bytes, at: int) -> tuple[bytes, int]:
    body = b""
    while True:
        end = data.find(b"\r\n", at)
        size = data[at:end] if end >= 0 else data[at:].removesuffix(b"\r")
        if (end >= 0 or size) and not _SIZE.fullmatch(size):
            raise DirtyError(f"chunk size {size[:40]!r}")
        if end < 0:
            raise Incomplete
        at = end + 2
        count = int(size, 16)
        if len(data) < at + count + 2:
            raise Incomplete
        if data[at + count : at + count + 2] != b"\r\n":
            raise DirtyError("chunk end")
        body += data[at : at + count]
        at += count + 2
        if not count:
            return body, at


def second_opinion(raw: bytes) -> tuple[bytes, bytes, bytes]:
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 17)
    peer.receive_data(raw)
    head = peer.next_event()
    assert isinstance(head, h11.Request), head
    body = b""
    while isinstance(event := peer.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage), event
    return head.method, head.target, body


class Oracle(asyncio.Protocol):
    """One upstream connection. Every whole request is answered with its own target."""

    def __init__(self, book: "Book") -> None:
        self._book = book
        self._data = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        try:
            while self._data:
                method, target, body, used = strict(self._data)
                raw, self._data = self._data[:used], self._data[used:]
                if second_opinion(raw) != (method, target, body):
                    raise DirtyError(f"h11 disagrees about {raw!r}")
                self._book.arrived(target)
                said = b"" if method == b"HEAD" else target
                self._transport.write(
                    b"HTTP/1.1 200 OK\r\nx-target: %b\r\ncontent-length: %d\r\n\r\n%b" % (target, len(target), said)
                )
        except Incomplete:
            pass
        except Exception as error:  # an assertion or h11's own error as well: all of them are dirt
            self._book.dirty.append((repr(error), self._data[:300]))
            self._transport.abort()


class Book:
    """What arrived at the origin, by case: every target of a case has case-<number> in it."""

    def __init__(self) -> None:
        self.dirty: list[tuple[str, bytes]] = []
        self._arrived: dict[bytes, list[bytes]] = collections.defaultdict(list)

    def arrived(self, target: bytes) -> None:
        case = _CASE.search(target)
        self._arrived[case[0] if case else b""].append(target)

    def of(self, case: bytes) -> list[bytes]:
        return self._arrived.pop(case, [])


def answers(data: bytes) -> list[tuple[int, bytes]]:
    """(status, x-target) of each final response in what a client read. Raises ValueError when it is not HTTP."""
    found = []
    while data:
        head, blank, data = data.partition(b"\r\n\r\n")
        if not blank or not head.startswith(b"HTTP/1.1 "):
            raise ValueError(head[:200])
        status = int(head[9:12])
        if status == 100:
            continue
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        fields = {name.lower(): value for name, value in fields.items()}
        target = fields.get(b"x-target", b"")
        size = int(fields.get(b"content-length", b"0"))
        if data[:size] == target[:size] or status != 200:
            data = data[size:]
        elif not data.startswith(b"HTTP/1.1 ") and data:  # else it answered a HEAD
            raise ValueError(data[:200])
        found.append((status, target))
    return found


# ---- the payloads: @T is /case-<number>, @H the host ---------------------------------------------------------

HIDDEN = b"GET @T/hidden HTTP/1.1\r\nhost: @H\r\n\r\n"


def post(fields: bytes, body: bytes = b"", line: bytes = b"POST @T HTTP/1.1") -> bytes:
    return line + b"\r\nhost: @H\r\n" + fields + b"\r\n" + body


def cl_te(coding: bytes) -> bytes:
    """Who sees the coding ends the body before HIDDEN; who does not takes it for content."""
    body = b"0\r\n\r\n" + HIDDEN
    return post(b"content-length: @L\r\n" + coding + b"\r\n", body)


def te_cl(coding: bytes) -> bytes:
    """Who sees the coding takes HIDDEN for a chunk; who does not reads four bytes and then HIDDEN."""
    return post(b"content-length: 4\r\n" + coding + b"\r\n", b"@X\r\n" + HIDDEN + b"\r\n0\r\n\r\n")


def te_only(coding: bytes) -> bytes:
    return post(coding + b"\r\n", b"0\r\n\r\n" + HIDDEN)


def around(name: bytes, value: bytes, junk: bytes) -> list[bytes]:
    return [
        junk + name + b": " + value,
        name + junk + b": " + value,
        name + b":" + junk + value,
        name + b": " + value + junk,
    ]


def exhaustive() -> list[bytes]:
    made = []
    for byte in JUNK:
        junk = bytes([byte])
        for field in around(b"Transfer-Encoding", b"chunked", junk):
            made += (cl_te(field), te_cl(field), te_only(field))
        for field in around(b"Content-Length", b"5", junk):
            made.append(post(field + b"\r\n", b"12345" + HIDDEN))
        for field in (b"Transfer" + junk + b"Encoding: chunked", b"Transfer-Encoding: chu" + junk + b"nked"):
            made += (cl_te(field), te_only(field))
        made.append(post(b"Content" + junk + b"Length: 5\r\n", b"12345" + HIDDEN))
    for pair in itertools.product(PAIRS, repeat=2):
        for field in around(b"Transfer-Encoding", b"chunked", bytes(pair)):
            made += (cl_te(field), te_cl(field))
    return made


def curated() -> list[bytes]:
    te = b"Transfer-Encoding: "
    codings = (
        b"chunked, chunked", b"identity", b"chunked, identity", b"identity, chunked", b"gzip, chunked", b"chunked;", b"chunked;a=b",
        b"chunked,", b",chunked", b", chunked", b"chunked ,", b"chunk", b"xchunked", b"chunkedx", b"x chunked", b"chunked x",
        b"'chunked'", b'"chunked"', b"[chunked]", b"(chunked)", b"chunked\\", b"cow", b"CHUNKED", b"Chunked", b"chunKed", b"",
        b"\tchunked", b"chunked\t", b"  chunked  ", b"chunked\r\n ", b"\r\n chunked", b"\r\n\tchunked", b"chunked\r\n\tx", b"chu\r\n nked",
        b"chunked\x00", b"\x00chunked", b"chunked\x0b", b"=chunked", b"chunked=1", b"trailers", b"deflate", b"compress", b"null",
        b"1", b"chunked\xe2\x80\x8b", b"\xef\xbb\xbfchunked", b"chunKed", "\u212ahunked".encode(), "chun\u212aed".encode(),
    )  # fmt: skip
    made = [shape(te + coding) for coding in codings for shape in (cl_te, te_cl, te_only)]
    lines = (
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding\r\n: chunked", b"Transfer-Encoding \r\n: chunked", b"X: y\r\n Transfer-Encoding: chunked",
        b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked", b"X: y\x00Transfer-Encoding: chunked",
        b"X:\r\n\r\n Transfer-Encoding: chunked", b"Transfer_Encoding: chunked", b"transfer-encoding:chunked", b"TE: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", b"Connection: Content-Length", b"X-Transfer-Encoding: chunked",
        b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b" Transfer-Encoding: chunked", b"\tTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\n Transfer-Encoding: identity", b"Transfer--Encoding: chunked", b"Transfer-Encoding:: chunked",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked", b"Proxy-Connection: keep-alive\r\nTransfer-Encoding: chunked",
        b"Content-Encoding: chunked", b"Trailer: Content-Length\r\nTransfer-Encoding: chunked", b"Upgrade: h2c\r\nTransfer-Encoding: chunked",
    )  # fmt: skip
    made += [shape(line) for line in lines for shape in (cl_te, te_cl, te_only)]
    lengths = (
        b"5, 5", b"5,5", b"5, 6", b"5;", b"+5", b"-5", b"0x5", b"5.0", b"5e0", b"0_5", b" 5 ", b"\t5", b"5 5", b"05", b"00000000000000000005",
        b"", b" ", b"five", b"NaN", b"5\r\n ", b"\r\n 5", b"5\r\n 6", b"18446744073709551621", b"4294967301", b"9223372036854775813",
        b'"5"', b"5\x00", b"\x005", b"5\x0b", "٥".encode(), "５".encode(), b"5\r\nContent-Length: 5", b"5\r\nContent-Length: 6",
        b"5\r\nContent-Length: 0", b"0\r\nContent-Length: 5", b"5\r\ncontent-length : 0", b"5\r\nContent_Length: 0", b"5\nContent-Length: 0",
    )  # fmt: skip
    made += [post(b"Content-Length: " + length + b"\r\n", b"12345" + HIDDEN) for length in lengths]
    chunks = (
        b"5\r\n12345\r\n0\r\n\r\n", b"5;x\r\n12345\r\n0\r\n\r\n", b"5;x=\"\r\n\"\r\n12345\r\n0\r\n\r\n", b"5;\n12345\r\n0\r\n\r\n",
        b"5\n12345\r\n0\r\n\r\n", b"5\r12345\r\n0\r\n\r\n", b"5 \r\n12345\r\n0\r\n\r\n", b" 5\r\n12345\r\n0\r\n\r\n", b"0x5\r\n12345\r\n0\r\n\r\n",
        b"+5\r\n12345\r\n0\r\n\r\n", b"5\r\n12345\n0\r\n\r\n", b"5\r\n123450\r\n\r\n", b"5\r\n12345\r\r\n0\r\n\r\n", b"5\r\n12345XX0\r\n\r\n",
        b"00000000000000005\r\n12345\r\n0\r\n\r\n", b"ffffffffffffffff\r\n12345\r\n0\r\n\r\n", b"10000000000000005\r\n12345\r\n0\r\n\r\n",
        b"5\r\n12345\r\n0\r\nContent-Length: 50\r\n\r\n", b"5\r\n12345\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"5\r\n12345\r\n0\r\nHost: evil\r\n\r\n", b"5\r\n12345\r\n0\r\nx: y\n\r\n", b"5\r\n12345\r\n0\r\n x: y\r\n\r\n", b"5\r\n12345\r\n0\n\n",
        b"5\r\n12345\r\n0\r\nGET @T/hidden HTTP/1.1\r\n\r\n", b"5\r\n12345\r\n0\r\n\n", b"5\r\n12345\r\n0\r\n\rX", b"5\r\n12345\r\n00\r\n\r\n",
        b"5\r\n12345\r\n0;x=y\r\n\r\n", b"5\r\n12345\r\n0\x00\r\n\r\n", b"5\r\n12345\r\n-0\r\n\r\n", b"5;" + b"a" * 5000 + b"\r\n12345\r\n0\r\n\r\n",
        b"\r\n5\r\n12345\r\n0\r\n\r\n", b"g\r\n\r\n0\r\n\r\n", b"5\x0b\r\n12345\r\n0\r\n\r\n", b"5\xa0\r\n12345\r\n0\r\n\r\n", b"5,5\r\n12345\r\n0\r\n\r\n",
    )  # fmt: skip
    made += [post(b"Transfer-Encoding: chunked\r\n", chunk + HIDDEN) for chunk in chunks]
    for version in (
        b"HTTP/1.0",
        b"HTTP/0.9",
        b"HTTP/2.0",
        b"HTTP/1.2",
        b"HTTP/1",
        b"RTSP/1.0",
        b"http/1.1",
        b"HTTP/1.1x",
        b"HTTP/01.1",
    ):
        line = b"POST @T " + version
        keep = b"Connection: keep-alive\r\n"
        proxy = b"Proxy-Connection: keep-alive\r\n"
        for extra in (b"", keep, proxy):
            made.append(post(extra + b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n" + HIDDEN, line))
            made.append(post(extra + b"Content-Length: 5\r\n", b"12345" + HIDDEN, line))
            absolute = b"POST http://@H@T " + version + b"\r\n" + extra
            made.append(absolute + b"Content-Length: 5\r\n\r\n12345" + HIDDEN)
            made.append(absolute + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN)
    for target in (
        b"http://@H@T", b"http://@H:80@T", b"http://evil@T", b"http://u@@H@T", b"//@H@T", b"http:@T", b"https://@H@T", b"ftp://@H@T",
        b"@T#x", b"@T/a b", b"@T\tHTTP/1.1", b"@T HTTP/1.1\r\nx:", b"@T\x00", b"@T\xe9", b"*", b"@H:80", b"", b"@T?a=\r\nx: y", b"@T%0d%0aX:y",
        b"@T/a/../x", b"@T/a/%2e%2e/x", b"http://@H:80#@T", b"http://@H\\@evil@T", b"http://[::1]@T",
    ):  # fmt: skip
        made += [
            post(b"", HIDDEN, b"GET " + target + b" HTTP/1.1"),
            post(b"Content-Length: 5\r\n", b"12345" + HIDDEN, b"PUT " + target + b" HTTP/1.1"),
        ]
    for host in (
        b"", b"host: evil\r\n", b"host: @H\r\n", b" host: evil\r\n", b"host : evil\r\n", b"Host: @H, evil\r\n", b"x-forwarded-host: evil\r\n",
        b"x:\r\n host: evil\r\n", b"h\xc3\xb6st: evil\r\n", b"ho_st: evil\r\n", b"host\x00: evil\r\n", b"\x00host: evil\r\n",
    ):  # fmt: skip
        made.append(post(host, HIDDEN, b"GET @T HTTP/1.1"))
    for fields in (
        b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"Expect: 100-continue, x\r\nContent-Length: 5\r\n", b"Expect: x\r\nContent-Length: 5\r\n",
        b"Expect: 100-continue\r\nContent-Length: 0\r\n", b"Expect:\r\n 100-continue\r\nContent-Length: 5\r\n", b"Expect: 100-Continue\r\n",
        b"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", b"Expect: y 100-continue\r\nContent-Length: 5\r\n",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 5\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", b"Upgrade: websocket\r\nContent-Length: 5\r\n", b"Connection: close, Host\r\nContent-Length: 5\r\n",
        b"Connection: close\r\nContent-Length: 5\r\n", b"Connection: keep-alive\r\nContent-Length: 5\r\n", b"Connection: x-a\r\nx-a: b\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nX: " + b"a" * 20_000 + b"\r\n", b"Content-Length: 5\r\n" + b"x: y\r\n" * 120, b"", b"Content-Length: 0\r\n",
        b"Max-Forwards: 0\r\nContent-Length: 5\r\n", b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n",
        b"X-HTTP-Method-Override: PUT\r\nContent-Length: 5\r\n", b"Content-Type: multipart/byteranges; boundary=x\r\n",
    ):  # fmt: skip
        for method in (b"POST", b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"DELETE"):
            body = (
                b"12345"
                if b"Content-Length: 5" in fields
                else (b"5\r\n12345\r\n0\r\n\r\n" if b"Encoding" in fields else b"")
            )
            made.append(post(fields, body + HIDDEN, method + b" @T HTTP/1.1"))
    made += [
        post(b"Content-Length: 500\r\n", HIDDEN),  # 0.CL: waits for the rest, HIDDEN is content
        post(b"Content-Length: 5\r\n", b"", b"GET @T HTTP/1.1"),
        b"\r\n" + post(b""), b"\n" + post(b""), b"\r" + post(b""), b"\r\n\r\n\r\n" + post(b""), b"\x00" + post(b""), b" " + post(b""),
        b"POST @T\r\nhost: @H\r\n\r\n", b"POST @T HTTP/1.1\nhost: @H\n\n" + HIDDEN, b"POST @T HTTP/1.1\r\nhost: @H\r\n\n" + HIDDEN,
        b"POST @T HTTP/1.1\r\nhost: @H\n\r\n" + HIDDEN, b"POST @T HTTP/1.1\r\nhost: @H\r\r\n\r\n" + HIDDEN, b"GET @T HTTP/1.1\r\n\r\nhost: @H\r\n\r\n",
        b"CONNECT @H:80 HTTP/1.1\r\nhost: @H\r\n\r\n" + HIDDEN, b"CONNECT / HTTP/1.1\r\nhost: @H\r\n\r\n" + HIDDEN, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
        HIDDEN * 16, (post(b"Content-Length: 5\r\n", b"12345") + HIDDEN) * 4, post(b"Content-Length: 5\r\n", b"12345\r\n" + HIDDEN),
        post(b"Content-Length: 5\r\n", b"12345\r\n\r\n\r\n" + HIDDEN), HIDDEN + b"GARBAGE\r\n\r\n" + HIDDEN, HIDDEN + b"\x00" + HIDDEN,
    ]  # fmt: skip
    return made


def valid() -> list[bytes]:
    made = []
    for method in (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND", b"REPORT", b"TRACE"):
        line = method + b" @T/a%20b;c?d=e&f=%2F HTTP/1.1"
        for fields in (
            b"", b"x: \t y \t\r\n", b"x:\r\n", b"Accept: */*;q=0.8, a/b\r\nCookie: a=b; c=\"d\"\r\n", b"Connection: keep-alive\r\n", b"x: \xe9\r\n",
            b"Connection: close\r\n", b"TE: trailers\r\nConnection: TE\r\n", b"Expect: 100-continue\r\n", b"x-a: 1\r\nx-a: 2\r\nX-A: 3\r\n",
        ):  # fmt: skip
            made.append(post(fields, b"", line))
            made.append(post(fields + b"Content-Length: 5 \r\n", b"12345", line))
            made.append(
                post(fields + b"transfer-encoding:\tChunked\r\n", b"5;a=b\r\n12345\r\n000\r\nx: y\r\n\r\n", line)
            )
    made += [
        b"\r\n" + post(b""),
        b"GET http://@H@T HTTP/1.1\r\nHost: @H\r\n\r\n",
        b"GET http://@H:80@T HTTP/1.1\r\nHost: @H\r\n\r\n",
    ]
    return made


def made_for(case: int, payload: bytes) -> bytes:
    """Names the case in the payload and makes its lengths true."""
    payload = payload.replace(b"@T", b"/case-%d" % case).replace(b"@H", HOST)
    if b"@L" in payload or b"@X" in payload:
        hidden = HIDDEN.replace(b"@T", b"/case-%d" % case).replace(b"@H", HOST)
        payload = payload.replace(b"@L", b"%d" % (len(hidden) + 5)).replace(b"@X", b"%x" % len(hidden))
    return payload


# ---- the run -----------------------------------------------------------------------------------------------


class Run:
    """Sends cases through one gateway and keeps the verdicts."""

    def __init__(self, house, book: Book) -> None:
        self.house, self.book = house, book
        self.verdicts: collections.Counter[str] = collections.Counter()
        self.wrong: list[tuple[str, bytes, bytes]] = []

    async def all(self, payloads: list[bytes], *, eof: bool) -> None:
        cases = iter(list(enumerate(payloads)))
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work(cases, eof))

    async def _work(self, cases, eof: bool) -> None:
        victim = await asyncio.open_connection("127.0.0.1", self.house.port)
        for case, payload in cases:
            data = made_for(case, payload)
            read = await self._send(data, eof)
            verdict = self._judge(b"case-%d" % case, read)
            self.verdicts[verdict] += 1
            if verdict not in ("clean", "rejected", "wait"):
                self.wrong.append((verdict, data[:400], read[:400]))
            await self._victim(victim, case, data)
        victim[1].transport.abort()

    async def _send(self, data: bytes, eof: bool) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.house.port)
        writer.write(data)
        if eof:
            writer.write_eof()
        quiet_s = 10.0 if eof else 0.25
        read = await read_until_quiet(reader, first_s=quiet_s, quiet_s=quiet_s)
        writer.transport.abort()
        return read

    def _judge(self, case: bytes, read: bytes) -> str:
        try:
            got = answers(read)
        except ValueError as error:
            return f"answer {error}"
        statuses = [status for status, _ in got]
        if any(status >= 500 and status not in REFUSALS for status in statuses):
            return f"5xx {statuses}"
        at_origin = sorted(self.book.of(case))
        answered = sorted(target for status, target in got if status == 200 and target)
        if at_origin != answered:
            return f"COUNT {at_origin} {answered}"
        if not statuses:
            return "wait"
        return "rejected" if statuses[-1] in REFUSALS else "clean"

    async def _victim(self, victim, case: int, data: bytes) -> None:
        reader, writer = victim
        target = b"/victim-%d" % case
        writer.write(b"GET %b HTTP/1.1\r\nhost: %b\r\n\r\n" % (target, HOST))
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(len(target)) if b" 200 " in head else b""
        self.book.of(target[1:])
        if body != target:
            self.wrong.append(("victim", data[:400], head + body))


@pytest.fixture
async def run(make_house):
    house = await make_house()
    book = Book()
    server = await asyncio.get_running_loop().create_server(lambda: Oracle(book), "127.0.0.1", 0)
    house.publish([f"127.0.0.1:{server.sockets[0].getsockname()[1]}"])
    status, _, body = await house.get("/case-0")
    assert (status, body) == (200, b"/case-0"), "a valid request does not reach the origin"
    book.of(b"case-0")
    yield Run(house, book)
    server.close()


def nothing_wrong(run: Run) -> None:
    assert not run.book.dirty, run.book.dirty[:5]
    assert not run.wrong, f"{len(run.wrong)} of them: {run.wrong[:5]}"


@pytest.mark.parametrize("make_house", ["fused"], indirect=True)
async def test_three_thousand_mutations_of_the_framing_fields_smuggle_nothing(run):
    payloads = exhaustive()
    assert len(payloads) > 3_000
    await run.all(payloads, eof=True)
    nothing_wrong(run)
    assert sum(run.verdicts.values()) == len(payloads)
    assert run.verdicts["rejected"] > 0.9 * len(payloads)


@pytest.mark.parametrize("eof", [True, False], ids=["half-close", "open"])
async def test_known_techniques_smuggle_nothing(run, eof):
    payloads = curated()
    assert len(payloads) > 200
    await run.all(payloads, eof=eof)
    nothing_wrong(run)
    assert run.verdicts["clean"] > 50, "a strict gateway still serves what is sound"


async def test_what_is_valid_is_accepted(run):
    payloads = valid()
    await run.all(payloads, eof=True)
    nothing_wrong(run)
    assert run.verdicts["clean"] >= 0.99 * len(payloads), run.verdicts


@pytest.mark.parametrize(
    "dirty",
    [
        b"GET / HTTP/1.1\nhost: a\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx\x00: y\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1;x\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer_encoding: chunked\r\n\r\n", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nxy\r\n",
    ],
)  # fmt: skip
def test_the_oracle_itself_sees_dirt(dirty):
    with pytest.raises(DirtyError):
        strict(dirty)
