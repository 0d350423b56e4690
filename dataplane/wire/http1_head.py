"""HTTP/1.1 request heads ← bytes, of every shape: what each means, or what is wrong with it. Sans-I/O.

Path: wire/http1_request.py is this and the short way for the usual shape; both are doors to httptools (llhttp).

llhttp calls back for each field; a field that is passed on goes straight to the lines to be sent onward, the few that
mean something to a hop are noted in `seen` (wire/headers.py says which), and then the head is judged as a whole.

Why httptools and not h11 here: docs/decisions/0001. h11 is the reference in tests/conformance/http1.

Source: RFC 9112; reliability.md GW-01…GW-09, GW-11, GW-19.
"""

import re

import httptools

from dataplane.errors import (
    BadRequest,
    DataplaneError,
    ExpectationFailed,
    HeadersTooLarge,
    MethodNotAllowed,
    MethodNotImplemented,
    NotImplementedCoding,
    TargetTooLong,
    VersionNotSupported,
)
from dataplane.wire.headers import (
    NEVER_NOMINATED,
    NEVER_NOMINATED_PREFIXES,
    Field,
    FieldTable,
    is_token,
    normal_host,
)
from dataplane.wire.target import normal_target

TARGET_BYTES_MAX = 8 * 1024

_HOST = int(Field.HOST)
_CONTENT_LENGTH = int(Field.CONTENT_LENGTH)
_TRANSFER_ENCODING = int(Field.TRANSFER_ENCODING)
_CONNECTION = int(Field.CONNECTION)
_UPGRADE = int(Field.UPGRADE)
_EXPECT = int(Field.EXPECT)
_DROP = int(Field.DROP)
_USER_AGENT = int(Field.USER_AGENT)
# Fields whose repetition is a list by definition; any other looked-at field may appear once.
_LISTS = frozenset(
    (_CONNECTION, int(Field.FORWARDED_FOR), int(Field.FORWARDED), int(Field.FORWARDED_HOST), int(Field.FORWARDED_PROTO))
)
_SINGLE = frozenset((_HOST, _CONTENT_LENGTH, _TRANSFER_ENCODING))
_AROUND_REFUSED = b"\x0b\x0c\x85\xa0\xff"
NOTHING: dict[int, bytes] = {}  # nobody writes into it
_VERSION = re.compile(rb" HTTP/[0-9]\.[0-9]")
_CLOSE_TOKENS = frozenset((b"close", b"keep-alive", b"upgrade", b""))


class HeadReader:
    """One request at a time.

    After `read` or `feed` returned True: method, target (origin-form as it will be sent), host (as received), host_key
    (for routing), lines (the fields to pass on, each with its CRLF), seen (looked-at fields), content_length (-1:
    none), chunked, keep_alive, upgrade (lower-case token or b""), expect_continue, minor (HTTP/1.x), size_bytes.
    """

    __slots__ = (
        "_actions", "_ascii", "_field_bytes_max", "_fields", "_fields_max", "_head_bytes_max", "_head_done",
        "_learn", "_line", "_out", "_parser", "_token",
        "chunked", "content_length", "expect_continue", "fed", "host", "host_key", "keep_alive", "lines", "method",
        "minor", "seen", "size_bytes", "started", "target", "trusted", "upgrade",
    )  # fmt: skip

    def __init__(self, table: FieldTable) -> None:
        self._actions = table.actions
        self._learn = table.learn
        self._field_bytes_max = table.field_bytes_max
        self._fields_max = table.fields_max
        self._head_bytes_max = table.head_bytes_max
        self.trusted = table.trusted
        self._parser: httptools.HttpRequestParser | None = None
        self.fed = True
        self.reset()

    def reset(self) -> None:
        """Ready for the next head."""
        self.keep_alive = True
        if not self.fed:
            return  # what the last head said stands until the next one says something else
        self.fed = False
        self.started = False  # some of a head has arrived, but not all
        self._ascii = True
        self._token = b""  # the method as far as it came
        self._line: bytes | None = b""  # the request line as far as it came; None: seen and sound
        self.size_bytes = 0
        self._head_done = False
        self._fields = 0
        self._out: list[bytes] = []
        self.lines = b""
        self.seen = NOTHING
        self.method = self.target = self.host = self.host_key = self.upgrade = b""
        self.content_length = -1
        self.chunked = self.expect_continue = False
        self.minor = 1

    # ---- connection → us ------------------------------------------------------------------

    def feed(self, data: bytes) -> bool:
        """Head bytes in; True when the head is whole and sound. Never give it bytes beyond the blank line.

        Raises:
            ClientFault: refuse with its status and close; nothing after it can be trusted.
        """
        if not self.fed:
            self.fed = True
            self.reset()
            self.fed = True
        self.started = True
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpRequestParser(self)
        if self._line is not None:
            self._check_line(data)
        self.size_bytes += len(data)
        if not data.isascii():
            self._ascii = False
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._parser = None
        except httptools.HttpParserError as error:
            raise self._fault(error) from None
        if self.size_bytes > self._head_bytes_max or len(self.target) > TARGET_BYTES_MAX:
            raise TargetTooLong if len(self.target) > TARGET_BYTES_MAX else HeadersTooLarge
        if not self._head_done:
            return False
        self._judge_head(parser)
        self.started = False
        self.lines = b"".join(self._out)
        self._out = []
        return True

    # ---- llhttp → us ----------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        action = self._actions.get(name)
        if action is None:
            action = self._learn(name)
        if not action:
            self._out += (name, b": ", value, b"\r\n")
            return
        self._fields += 1
        if action == _DROP:
            return
        if action == _USER_AGENT:
            self._out += (name, b": ", value, b"\r\n")
        if self.seen is NOTHING:
            self.seen = {}
        before = self.seen.get(action)
        value = value.rstrip(b" \t")  # llhttp leaves the white space after a value (RFC 9112 §5.1)
        if before is None:
            self.seen[action] = value
        elif action in _LISTS:
            self.seen[action] = before + b", " + value
        elif action in _SINGLE:
            raise BadRequest("duplicate")

    def on_headers_complete(self) -> None:
        self._head_done = True
        assert self._parser is not None
        self.keep_alive = self._parser.should_keep_alive()  # llhttp forgets it once the message is complete

    # ---- the judgement ----------------------------------------------------------------------

    def _judge_head(self, parser: httptools.HttpRequestParser) -> None:
        self.method = parser.get_method()
        seen = self.seen
        if self._fields + (len(self._out) >> 2) > self._fields_max:
            raise HeadersTooLarge
        if self.size_bytes > self._field_bytes_max:
            self._check_sizes()
        if not self._ascii:
            self._check_bytes()
        host = seen.get(_HOST)
        if not host:
            if self.minor or host is not None:
                raise BadRequest("host")
            host = b""
        if self.target[:1] != b"/" or self.method == b"CONNECT":
            host = self._other_form(host)
        if self.target != b"*":
            self.target = normal_target(self.target)
        self.host = host
        if host:
            self.host_key = normal_host(host)
        if len(seen) > 1 or (seen and _HOST not in seen):
            self._judge_framing(seen)

    def _judge_framing(self, seen: dict[int, bytes]) -> None:
        length = seen.get(_CONTENT_LENGTH)
        if length is not None:
            if not length.isdigit() or len(length) > 19 or int(length) >= 1 << 63:
                raise BadRequest("content_length")
            self.content_length = int(length)
        coding = seen.get(_TRANSFER_ENCODING)
        if coding is not None:
            if not self.minor or length is not None:
                raise BadRequest("transfer_encoding")
            if coding.lower() != b"chunked":
                raise NotImplementedCoding if is_token(coding) else BadRequest("transfer_encoding")
            self.chunked = True
        if self.content_length > 0 or self.chunked:
            self._parser = None  # it would wait for a body that it will never be fed
        expect = seen.get(_EXPECT)
        if expect is not None and self.minor:
            if expect.lower() != b"100-continue":
                raise ExpectationFailed
            self.expect_continue = self.content_length > 0 or self.chunked
        connection = seen.get(_CONNECTION)
        if connection is not None:
            self._judge_connection(connection, seen)

    def _judge_connection(self, connection: bytes, seen: dict[int, bytes]) -> None:
        tokens = {token.strip(b" \t").lower() for token in connection.split(b",")}
        if b"upgrade" in tokens and _UPGRADE in seen and self.minor:
            wanted = seen[_UPGRADE].lower()
            if wanted == b"websocket":
                if self.content_length > 0 or self.chunked:
                    raise BadRequest("upgrade_with_body")
                self.content_length = -1  # a length of 0 says nothing
                self.upgrade = wanted  # any other protocol (h2c) is not offered: served as plain HTTP/1.1 (GW-17)
        nominated = tokens - _CLOSE_TOKENS
        if nominated:
            if not nominated.isdisjoint(NEVER_NOMINATED) or any(
                name.startswith(NEVER_NOMINATED_PREFIXES) for name in nominated
            ):
                raise BadRequest("nominated")
            self._drop(nominated)

    def header(self, name: bytes) -> bytes | None:
        """The value of a field by lower-case name, among those passed on and the tag."""
        if name == b"knative-serving-tag":
            return self.seen.get(int(Field.TAG))
        return next((value for field, value in self.fields() if field.lower() == name), None)

    def fields(self) -> list[tuple[bytes, bytes]]:
        """The fields that are passed on, in the order they came: (name as received, value)."""
        found = []
        for line in self.lines.split(b"\r\n")[:-1]:
            name, _, value = line.partition(b":")
            found.append((name, value.strip(b" \t")))
        return found

    def without(self, names: frozenset[bytes]) -> bytes:
        """`lines` less the fields of these lower-case names."""
        lines = self.lines.split(b"\r\n")[:-1]
        return b"".join(line + b"\r\n" for line in lines if line.partition(b":")[0].lower() not in names)

    def _drop(self, names: set[bytes]) -> None:
        out = self._out
        self._out = []
        for i in range(0, len(out), 4):
            if out[i].lower() not in names:
                self._out += out[i : i + 4]

    def _other_form(self, host: bytes) -> bytes:
        """Absolute-form becomes origin-form, its authority the Host; `*` stays; no CONNECT (GW-06, GW-07)."""
        target = self.target
        if self.method == b"CONNECT":
            raise MethodNotAllowed
        if target == b"*":
            if self.method != b"OPTIONS":
                raise BadRequest("target")
            return host
        scheme, separator, rest = target.partition(b"://")
        if not separator or scheme.lower() not in (b"http", b"https"):
            raise BadRequest("target")
        cut = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
        authority, path = rest[:cut], rest[cut:]
        if b"@" in authority or not authority or (host and normal_host(host) != normal_host(authority)):
            raise BadRequest("host")
        self.target = path if path[:1] == b"/" else b"/" + path
        return authority

    def _check_line(self, data: bytes) -> None:
        """What llhttp forgives in a request line and others read differently (RFC 9112 §2.2, §3): more than two spaces,
        bare CR or LF before it, a fragment, the versions of RTSP, ICE and HTTP/2."""
        end = data.find(b"\r\n")
        if end > 0 and not self._line:
            line = data[:end]
        else:
            whole = (self._line or b"") + data
            while whole[:2] == b"\r\n":
                whole = whole[2:]
            line, separator, _ = whole.partition(b"\r\n")
            if not separator:
                self._line = whole[: TARGET_BYTES_MAX * 2]
                self._token = whole.partition(b" ")[0]
                return
        self._line = None
        self._token = line.partition(b" ")[0]
        if line.count(b" ") != 2 or line[0] < 0x21 or b"#" in line:
            raise BadRequest("request_line")
        version = line[-9:]
        if version == b" HTTP/1.1":
            return
        if version != b" HTTP/1.0":
            raise VersionNotSupported if _VERSION.fullmatch(version) else BadRequest("request_line")
        self.minor = 0

    def _check_sizes(self) -> None:
        for i in range(0, len(self._out), 4):
            if len(self._out[i]) + len(self._out[i + 2]) > self._field_bytes_max:
                raise HeadersTooLarge
        if any(len(value) > self._field_bytes_max for value in self.seen.values()):
            raise HeadersTooLarge

    def _check_bytes(self) -> None:
        """Rare: not pure ASCII. obs-text inside a value is legal; around it, or in the target, it is a trick."""
        if not self.target.isascii():
            raise BadRequest("target")
        for value in (*self._out[2::4], *self.seen.values()):
            if value and (value[0] in _AROUND_REFUSED or value[-1] in _AROUND_REFUSED):
                raise BadRequest("header_value")
        # A User-Agent is free text that is passed on; the other fields looked at are made of tokens and addresses.
        if any(not value.isascii() for field, value in self.seen.items() if field != _USER_AGENT):
            raise BadRequest("header_value")

    def _fault(self, error: httptools.HttpParserError) -> DataplaneError:
        cause = error.__context__
        if isinstance(cause, DataplaneError):
            return cause
        text = str(error)
        if len(self.target) > TARGET_BYTES_MAX:
            return TargetTooLong()
        if self.size_bytes > self._head_bytes_max:
            return HeadersTooLarge()
        if text.startswith("Invalid method") and is_token(self._token):
            return MethodNotImplemented()
        if "version" in text.lower() and "Invalid" in text:
            return VersionNotSupported()
        coding = self.seen.get(_TRANSFER_ENCODING)
        if coding is not None and _CONTENT_LENGTH not in self.seen and "Content-Length" not in text:
            lower = coding.lower()
            if is_token(coding) and lower != b"chunked":
                return NotImplementedCoding()
            return BadRequest("transfer_encoding")
        return BadRequest("syntax")
