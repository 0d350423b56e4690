"""What a client repeats from head to head on one connection, so that only what differs has to be looked at.

Path: wire/http1_request.py makes a [Repeat] of two heads with the same names, and tries it on those that follow; pure.

A browser or a service sends the same fields in the same order, with another cookie, request id or trace each time. A
Repeat is the bytes between those values, as they were judged once, and what a value may be made of. A head that fits
says the same as the two that were learned from, but for those values.

Source: RFC 9110 §5.5 (what a value is made of: here ASCII only); docs/decisions/0009 (figures).
"""

import re
from typing import NamedTuple

VARYING_MAX = 8  # values that differ from head to head; with more of them nothing is repeated that is worth knowing

_VALUE = rb"[\t -~]*+"


class Field(NamedTuple):
    """How the caller treats a field: passed on or not; whether its value is nothing to him."""

    name: bytes
    passed: bool
    may_vary: bool


class Repeat:
    """The fields of a head as a pattern. `varying`: which of them, counted from 0."""

    __slots__ = ("_begins", "_length", "_rest", "_sent_on", "varying")

    def __init__(self, varying: frozenset[int], begins: bytes, rest: re.Pattern[bytes], sent_on: bytes) -> None:
        self.varying = varying
        self._begins = begins  # most of a head stands before its first value that varies: comparing it costs nothing
        self._length = len(begins)
        self._rest = rest
        self._sent_on = sent_on

    def lines(self, block: bytes) -> bytes | None:
        """The fields to pass on, each with its CRLF, if `block` (the fields and the blank line) fits; else None."""
        if not block.startswith(self._begins):
            return None
        found = self._rest.fullmatch(block, self._length)
        return None if found is None else self._sent_on % found.groups()


def repeat(before: bytes, now: bytes, fields: list[Field], known: Repeat | None = None) -> Repeat | None:
    """The pattern of two blocks (fields and blank line), both sound, `fields` being those of `now`. What varies in
    `known`, the pattern that `now` did not fit, varies still. None: they differ in more than values that may."""
    old, new = before.split(b"\r\n")[:-2], now.split(b"\r\n")[:-2]
    if len(old) != len(new):
        return None
    varying: set[int] = set(known.varying) if known is not None and max(known.varying) < len(new) else set()
    for at, (one, other, field) in enumerate(zip(old, new, fields, strict=True)):
        if one != other:
            varying.add(at)
            if one[: len(field.name) + 1] != other[: len(field.name) + 1]:
                return None
        if at in varying and not field.may_vary:
            return None
    if not varying or len(varying) > VARYING_MAX:
        return None
    begins = rest = sent_on = b""
    first = min(varying)
    for at, (line, field) in enumerate(zip(new, fields, strict=True)):
        name = line[: len(field.name) + 1]
        if at < first:
            begins += line + b"\r\n"
        elif at in varying:
            rest += re.escape(name) + (b"(%b)" % _VALUE if field.passed else _VALUE) + b"\r\n"
        else:
            rest += re.escape(line + b"\r\n")
        if field.passed:
            sent_on += name.replace(b"%", b"%%") + b"%b\r\n" if at in varying else line.replace(b"%", b"%%") + b"\r\n"
    return Repeat(frozenset(varying), begins, re.compile(rest + b"\r\n"), sent_on)
