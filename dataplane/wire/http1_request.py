"""HTTP/1.1 request heads ← bytes, the short way for the usual shape. Sans-I/O; a door to httptools (llhttp).

Path: net/server.py gives a RequestReader exactly one head, whole or in pieces; what follows it is net/server.py's.

Two ways in. `read` takes the shape that nearly every head has: whole, ASCII, origin-form, no field twice, nothing that
asks for more than a body of known length. llhttp judges it, its fields go into a dictionary without a frame of Python
each, and what is passed on stays as it came. `feed` (http1_head.py) takes every other shape and says what is wrong with
it. Whatever `read` accepts, `feed` accepts with the same meaning (tests/conformance/http1/test_read.py).

Clients repeat themselves: fields that are byte for byte those of the head before it on the same connection are not
looked at again, nor are those that differ only in a value that is nothing to us (http1_repeat.py).

Source: RFC 9112; reliability.md GW-01…GW-09, GW-11, GW-19.
"""

import re
from collections.abc import Callable

import httptools

from dataplane.errors import BadRequest
from dataplane.wire.headers import Field, FieldTable, normal_host
from dataplane.wire.http1_head import NOTHING, HeadReader
from dataplane.wire.http1_repeat import Field as Repeated
from dataplane.wire.http1_repeat import Repeat, repeat
from dataplane.wire.target import normal_target

READ_BYTES_MAX = 8 * 1024
BLOCK_BYTES_MAX = 2 * 1024  # of the fields of the last head, kept per connection
LESSONS_MAX = 4  # how often a connection may show that what it repeats is something else

_HOST = int(Field.HOST)
_CONTENT_LENGTH = int(Field.CONTENT_LENGTH)
_TRANSFER_ENCODING = int(Field.TRANSFER_ENCODING)
_CONNECTION = int(Field.CONNECTION)
_UPGRADE = int(Field.UPGRADE)
_EXPECT = int(Field.EXPECT)
_DROP = int(Field.DROP)
_USER_AGENT = int(Field.USER_AGENT)
_PASS = int(Field.PASS)
_ASK_MORE = frozenset((_TRANSFER_ENCODING, _UPGRADE, _EXPECT))
_NOT_NOTED = frozenset((_PASS, _DROP, _HOST, _CONTENT_LENGTH, _CONNECTION))
_STAYS = frozenset((b"keep-alive", b"Keep-Alive"))
# Method, target, and the target from its first dot or escape on: without one it is in normal form.
_LINE = re.compile(rb"(GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS) (/[!-\"$&-\-/-~]*+([%.][!-\"$-~]*+)?) HTTP/1\.1\r\n")


class _Into:
    """llhttp's listener: each field goes into a dictionary, and no frame of Python is made for it."""

    __slots__ = ("on_header",)

    def __init__(self, on_header: Callable[[bytes, bytes], object]) -> None:
        self.on_header = on_header


class RequestReader(HeadReader):
    """See [HeadReader]. What the last head that was read() said stands until the next one says something else."""

    __slots__ = ("_block", "_lessons", "_repeat", "_repeats")

    def __init__(self, table: FieldTable) -> None:
        self._block: bytes | None = None  # the fields of that head
        self._repeat: Repeat | None = None
        self._repeats: tuple[bytes, bytes, dict[int, bytes], int]  # what each head that fits says
        self._lessons = LESSONS_MAX
        super().__init__(table)

    def reset(self) -> None:
        if self.fed:
            self._block = None
        super().reset()

    def read(self, head: bytes) -> bool:
        """True: `head` is one whole head of the usual shape, and nothing else. False: nothing was read; `feed` it."""
        line = _LINE.match(head)
        if line is None:
            return False
        block = head[line.end() :]
        if block != self._block:
            known = self._repeat
            if known is not None and (lines := known.lines(block)) is not None and len(head) <= READ_BYTES_MAX:
                self.lines = lines
                self.host, self.host_key, self.seen, self.content_length = self._repeats
                self._block = block if len(block) <= BLOCK_BYTES_MAX else None
            elif not self._read_fields(head, block):
                return False
        self.size_bytes = len(head)
        self.method, target, odd = line.groups()
        if odd is not None:
            try:
                target = normal_target(target)
            except BadRequest:
                return False
        self.target = target
        return True

    def _read_fields(self, head: bytes, block: bytes) -> bool:
        fields = _fields_of(head)
        if len(head) > READ_BYTES_MAX or len(fields) > self._fields_max:
            return False
        lines = block.split(b"\r\n")
        if len(lines) != len(fields) + 2:
            return False  # a field twice, or none
        actions = self._actions
        host = key = b""
        length = -1
        seen = NOTHING
        cut: list[int] = []
        try:
            for at, (name, value) in enumerate(fields.items()):
                action = actions.get(name)
                if action is None:
                    action = self._learn(name)
                if not action:
                    continue
                if action in _ASK_MORE or (action == _CONNECTION and value not in _STAYS):
                    return False
                if action == _HOST:
                    if key:
                        return False
                    host, key = value, normal_host(value)
                elif action == _CONTENT_LENGTH:
                    if length >= 0 or not value.isdigit() or len(value) > 18:
                        return False
                    length = int(value)
                elif action not in _NOT_NOTED:
                    if seen is NOTHING:
                        seen = {}
                    elif action in seen:
                        return False
                    seen[action] = value.rstrip(b" \t")
                    if action == _USER_AGENT:
                        continue
                cut.append(at)
        except BadRequest:
            return False
        if not key:
            return False
        if self._block is not None and self._lessons:
            self._lessons -= 1
            self._repeat = repeat(self._block, block, [self._treated(name) for name in fields], self._repeat)
            self._repeats = host, key, seen, length
        for at in reversed(cut):
            del lines[at]
        lines.pop()
        self.lines = b"\r\n".join(lines)
        self.host, self.host_key, self.seen, self.content_length = host, key, seen, length
        self._block = block if len(block) <= BLOCK_BYTES_MAX else None
        return True

    def _treated(self, name: bytes) -> Repeated:
        action = self._actions.get(name, -1)
        passed = action in (_PASS, _USER_AGENT)
        return Repeated(name, passed, action in (_PASS, _DROP))


def _fields_of(head: bytes) -> dict[bytes, bytes]:
    """Of a sound ASCII head without an upgrade, by name; of a name that comes twice the first. Else empty."""
    fields: dict[bytes, bytes] = {}
    if head.isascii() and head.endswith(b"\r\n\r\n"):
        try:
            httptools.HttpRequestParser(_Into(fields.setdefault)).feed_data(head)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            fields.clear()
    return fields
