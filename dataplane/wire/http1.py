"""HTTP/1.1 messages ← bytes. Sans-I/O; the only door to httptools (llhttp).

Path: net/server.py feeds a RequestReader up to the end of a head; net/client.py feeds a ResponseReader everything.

The readers judge while llhttp reads: a field that is passed on unchanged goes straight into `out`, the pieces of the
head to be sent onward, so there is no list of headers to walk again. Fields that need a look are kept in `seen` by
meaning.

Why httptools and not h11 here: docs/decisions/0001. h11 is the reference in tests/conformance/http1.

Source: RFC 9112; reliability.md GW-01…GW-09, GW-11, GW-18.
"""

import re

import httptools

from dataplane.errors import (
    BadRequest,
    DataplaneError,
    ExpectationFailed,
    HeadersTooLarge,
    MethodNotAllowed,
    NotImplementedCoding,
    TargetTooLong,
    UpstreamProtocol,
    VersionNotSupported,
)
from dataplane.wire.headers import (
    FIELDS_MAX,
    HEAD_BYTES_MAX,
    NEVER_NOMINATED,
    NEVER_NOMINATED_PREFIXES,
    Field,
    FieldTable,
    is_token,
    normal_host,
)

TARGET_BYTES_MAX = 8 * 1024
FIELD_BYTES_MAX = 16 * 1024
LINES_MAX = 1024  # remembered request lines: clients ask for the same few things again and again
LINE_BYTES_MAX = 128
INTERIM_MAX = 16  # 1xx responses before the final one

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
_KEEP_ALIVE = frozenset((b"keep-alive", b"Keep-Alive", b"close", b"Close"))
_NONE: frozenset[bytes] = frozenset()
_VERSION = re.compile(rb" HTTP/[0-9]\.[0-9]")
_CLOSE_TOKENS = frozenset((b"close", b"keep-alive", b"upgrade", b""))

_SOUND: set[bytes] = set()


class RequestReader:
    """One request at a time. Feed exactly up to the end of the head; the connection owns the body.

    After `feed` returned True: method, target (origin-form as it will be sent), host (as received), host_key (for
    routing), out (pieces of passed-on field lines), seen (looked-at fields), content_length (-1: none), chunked,
    keep_alive, upgrade (lower-case token or b""), expect_continue, minor (HTTP/1.x).
    """

    __slots__ = (
        "_actions", "_ascii", "_head_bytes", "_head_bytes_max", "_head_done", "_learn", "_fields", "_fields_max",
        "_line", "_parser",
        "chunked", "content_length", "expect_continue", "host", "host_key", "keep_alive", "method", "minor", "out",
        "seen", "target", "trusted", "upgrade",
    )  # fmt: skip

    def __init__(self, table: FieldTable) -> None:
        self._actions = table.actions
        self._learn = table.learn
        self._fields_max = table.fields_max
        self._head_bytes_max = table.head_bytes_max
        self.trusted = table.trusted
        self._parser: httptools.HttpRequestParser | None = None
        self.reset()

    def reset(self) -> None:
        """Ready for the next head."""
        self._ascii = True
        self._line: bytes | None = b""  # the request line as far as it came; None: seen and sound
        self._head_bytes = 0
        self._head_done = False
        self._fields = 0
        self.out: list[bytes] = []
        self.seen: dict[int, bytes] = {}
        self.method = self.target = self.host = self.host_key = self.upgrade = b""
        self.content_length = -1
        self.chunked = self.expect_continue = False
        self.keep_alive = True
        self.minor = 1

    # ---- connection → us ------------------------------------------------------------------

    def feed(self, data: bytes) -> bool:
        """Head bytes in; True when the head is whole and sound. Never give it bytes beyond the blank line.

        Raises:
            ClientFault: refuse with its status and close; nothing after it can be trusted.
        """
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpRequestParser(self)
        if self._line is not None:
            self._check_line(data)
        self._head_bytes += len(data)
        if not data.isascii():
            self._ascii = False
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._parser = None
        except httptools.HttpParserError as error:
            raise self._fault(error) from None
        if self._head_bytes > self._head_bytes_max or len(self.target) > TARGET_BYTES_MAX:
            raise TargetTooLong if len(self.target) > TARGET_BYTES_MAX else HeadersTooLarge
        if not self._head_done:
            return False
        self._judge(parser)
        return True

    @property
    def size_bytes(self) -> int:
        """Of the head, as received."""
        return self._head_bytes

    @property
    def started(self) -> bool:
        """Some of a head has arrived."""
        return self._head_bytes > 0

    # ---- llhttp → us ----------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        action = self._actions.get(name)
        if action is None:
            action = self._learn(name)
        if not action:
            self.out += (name, b": ", value, b"\r\n")
            return
        self._fields += 1
        if action == _DROP:
            return
        if action == _USER_AGENT:
            self.out += (name, b": ", value, b"\r\n")
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

    def _judge(self, parser: httptools.HttpRequestParser) -> None:
        self.method = parser.get_method()
        seen = self.seen
        if self._fields + (len(self.out) >> 2) > self._fields_max:
            raise HeadersTooLarge
        if self._head_bytes > FIELD_BYTES_MAX:
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
            self.drop(nominated)

    def header(self, name: bytes) -> bytes | None:
        """The value of a field by lower-case name, among those passed on and the tag."""
        if name == b"knative-serving-tag":
            return self.seen.get(int(Field.TAG))
        out = self.out
        for i in range(0, len(out), 4):
            if out[i].lower() == name:
                return out[i + 2]
        return None

    def fields(self) -> list[tuple[bytes, bytes]]:
        """The fields that are passed on, as received and in that order: (name, value)."""
        out = self.out
        return [(out[i], out[i + 2]) for i in range(0, len(out), 4)]

    def drop(self, names: set[bytes] | frozenset[bytes]) -> None:
        """Take lines out of `out` by lower-case name."""
        out = self.out
        kept: list[bytes] = []
        for i in range(0, len(out), 4):
            if out[i].lower() not in names:
                kept += out[i : i + 4]
        self.out = kept

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
            if line in _SOUND:
                self._line = None
                return
        else:
            whole = (self._line or b"") + data
            while whole[:2] == b"\r\n":
                whole = whole[2:]
            line, separator, _ = whole.partition(b"\r\n")
            if not separator:
                self._line = whole[: TARGET_BYTES_MAX * 2]
                return
        self._line = None
        if line.count(b" ") != 2 or line[0] < 0x21 or b"#" in line:
            raise BadRequest("request_line")
        version = line[-9:]
        if version == b" HTTP/1.1":
            if len(_SOUND) < LINES_MAX and len(line) <= LINE_BYTES_MAX:
                _SOUND.add(line)
            return
        if version != b" HTTP/1.0":
            raise VersionNotSupported if _VERSION.fullmatch(version) else BadRequest("request_line")
        self.minor = 0

    def _check_sizes(self) -> None:
        for i in range(0, len(self.out), 4):
            if len(self.out[i]) + len(self.out[i + 2]) > FIELD_BYTES_MAX:
                raise HeadersTooLarge
        if any(len(value) > FIELD_BYTES_MAX for value in self.seen.values()):
            raise HeadersTooLarge

    def _check_bytes(self) -> None:
        """Rare: not pure ASCII. obs-text inside a value is legal; around it, or in the target, it is a trick."""
        if not self.target.isascii():
            raise BadRequest("target")
        for value in (*self.out[2::4], *self.seen.values()):
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
        if self._head_bytes > self._head_bytes_max:
            return HeadersTooLarge()
        if "version" in text.lower() and "Invalid" in text:
            return VersionNotSupported()
        coding = self.seen.get(_TRANSFER_ENCODING)
        if coding is not None and _CONTENT_LENGTH not in self.seen and "Content-Length" not in text:
            lower = coding.lower()
            if is_token(coding) and lower != b"chunked":
                return NotImplementedCoding()
            return BadRequest("transfer_encoding")
        return BadRequest("syntax")


class ResponseReader:
    """One response at a time, body included. Feed everything; then look at what is new since `take()`.

    head_done: status, out, content_length (-1), chunked, keep_alive, upgrade are set. `body` holds new payload slices;
    `complete`: the message has ended; `excess`: bytes followed it (the connection must not be reused).
    """

    __slots__ = (
        "_actions", "_bodyless", "_head_bytes", "_learn", "_nominated", "_parser", "_interim", "_until_close",
        "body", "chunked", "complete", "content_length", "excess", "head_done", "interim", "keep_alive", "out",
        "status", "tail", "upgrade",
    )  # fmt: skip

    def __init__(self, table: FieldTable) -> None:
        self._actions = table.actions
        self._learn = table.learn
        self._parser: httptools.HttpResponseParser | None = None
        self.reset(bodyless=False)

    def reset(self, *, bodyless: bool) -> None:
        """Ready for the next response; `bodyless`: it answers a HEAD."""
        self._bodyless = bodyless
        self._head_bytes = 0
        self._interim = 0
        self._nominated: frozenset[bytes] = _NONE
        self._until_close = False
        self.body: list[bytes] = []
        self.out: list[bytes] = []
        self.interim: list[bytes] = []  # whole 1xx heads to pass on
        self.status = 0
        self.content_length = -1
        self.chunked = self.complete = self.excess = self.head_done = False
        self.keep_alive = True
        self.tail = self.upgrade = b""

    def feed(self, data: bytes) -> None:
        """Raises UpstreamProtocol: what comes back is not HTTP we can trust; drop the connection (GW-18)."""
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpResponseParser(self)
        if not self.head_done:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and data.find(b"\r\n\r\n") < 0:
                raise UpstreamProtocol
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parser = None
            self.tail = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            if self.complete:
                self.excess = True
                return
            cause = error.__context__
            raise (cause if isinstance(cause, UpstreamProtocol) else UpstreamProtocol()) from None

    def header(self, name: bytes) -> bytes | None:
        """The value of a passed-on field by lower-case name."""
        out = self.out
        for i in range(0, len(out), 4):
            if out[i].lower() == name:
                return out[i + 2]
        return None

    def fields(self) -> list[tuple[bytes, bytes]]:
        """The fields that are passed on, as received and in that order: (name, value)."""
        out = self.out
        return [(out[i], out[i + 2]) for i in range(0, len(out), 4)]

    def feed_eof(self) -> bool:
        """The peer closed. True: that was the regular end of a body without a length."""
        if self.head_done and self._until_close and not self.complete:
            self.complete = True
            self.keep_alive = False
            return True
        return False

    # ---- llhttp → us ----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.complete:
            self.excess = True
            raise UpstreamProtocol

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_done:
            return  # trailers: dropped (RFC 9110 §6.5.1)
        action = self._actions.get(name)
        if action is None:
            try:
                action = self._learn(name)
            except BadRequest:
                raise UpstreamProtocol from None
        if not action:
            self.out += (name, b": ", value, b"\r\n")
        elif action == _CONTENT_LENGTH:
            if not value.isdigit():
                value = value.rstrip(b" \t")
            if self.content_length >= 0 or not value.isdigit() or len(value) > 18:
                raise UpstreamProtocol
            self.content_length = int(value)
        elif action == _TRANSFER_ENCODING:
            if self.chunked or value.rstrip(b" \t").lower() != b"chunked":
                raise UpstreamProtocol
            self.chunked = True
        elif action == _UPGRADE:
            self.upgrade = value.lower()
        elif action == _CONNECTION:
            if value in _KEEP_ALIVE:
                return
            self._nominated |= {t.strip(b" \t").lower() for t in value.split(b",")} - _CLOSE_TOKENS

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if self._nominated:
            self.out = _without(self.out, self._nominated)
            self._nominated = _NONE
        if status < 200 and status != 101:
            if status < 100:
                raise UpstreamProtocol
            self._interim += 1
            if self._interim > INTERIM_MAX:
                raise UpstreamProtocol
            if status != 100:
                self.interim.append(b"".join((b"HTTP/1.1 %d \r\n" % status, *self.out, b"\r\n")))
            self.out = []
            self.content_length = -1
            self.chunked = False
            return
        if self.chunked and self.content_length >= 0:
            raise UpstreamProtocol
        self.status = status
        self.keep_alive = parser.should_keep_alive()
        self.head_done = True
        if len(self.out) >> 2 > FIELDS_MAX * 2:
            raise UpstreamProtocol
        if self._bodyless or status in (204, 304) or status == 101:
            self.complete = True
            if self.content_length > 0 or self.chunked:
                self._parser = None  # it would wait for a body that cannot come
                if status == 204 or (self.chunked and not self._bodyless):
                    # Not allowed (RFC 9110 §8.6, RFC 9112 §6.1): who says so may send that body as well.
                    self.content_length = -1
                    self.chunked = self.keep_alive = False
        elif not self.chunked and self.content_length < 0:
            self._until_close = True
            self.keep_alive = False

    def on_body(self, data: bytes) -> None:
        if self.complete:
            self.excess = True
        else:
            self.body.append(data)

    def on_message_complete(self) -> None:
        if self.head_done:
            self.complete = True


def _without(out: list[bytes], names: frozenset[bytes]) -> list[bytes]:
    kept: list[bytes] = []
    for i in range(0, len(out), 4):
        if out[i].lower() not in names:
            kept += out[i : i + 4]
    return kept
