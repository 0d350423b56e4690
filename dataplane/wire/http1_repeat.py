"""What a client repeats from head to head on one connection, so that only what differs has to be looked at.

Path: wire/http1_request.py asks after it has read two heads with the same names; pure.

A browser or a service sends the same fields in the same order, with another cookie, request id or trace each time. A
[Repeat] is the bytes between those values. A head that has the same bytes there has the same fields in the same order;
what remains to be judged are the values (the caller has llhttp do that).

Source: measured with `P1 varied` of loadtests; figures in docs/decisions/0006.
"""

from typing import NamedTuple

VARYING_MAX = 8  # values that differ from head to head; with more of them nothing is repeated that is worth knowing


class Field(NamedTuple):
    """How the caller treats a field: passed on or not; whether its value is nothing to him."""

    name: bytes
    passed: bool
    may_vary: bool


class _Step(NamedTuple):
    """After a value that varies: is it passed on, what must follow it, and what of that is passed on."""

    passed: bool
    follows: bytes
    length: int
    sent_on: bytes


class Repeat:
    """The fields of a head as a pattern."""

    __slots__ = ("_begins", "_length", "_sent_on", "_steps", "varying")

    def __init__(self, varying: frozenset[int], begins: bytes, sent_on: bytes, steps: tuple[_Step, ...]) -> None:
        self.varying = varying  # which fields, counted from 0
        self._begins = begins
        self._length = len(begins)
        self._sent_on = sent_on
        self._steps = steps

    def lines(self, block: bytes) -> bytes | None:
        """The fields to pass on, each with its CRLF, if `block` (the fields and the blank line) fits; else None."""
        if not block.startswith(self._begins):
            return None
        at = self._length
        kept = [self._sent_on]
        for passed, follows, length, sent_on in self._steps:
            end = block.find(b"\r", at)
            if not block.startswith(follows, end):
                return None
            if passed:
                kept.append(block[at:end])
            kept.append(sent_on)
            at = end + length
        return b"".join(kept) if at == len(block) else None


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
    begins = sent_on = fixed = kept = b""
    steps: list[_Step] = []
    passed: bool | None = None  # of the last value that varies
    for at, (line, field) in enumerate(zip(new, fields, strict=True)):
        text = line[: len(field.name) + 1] if at in varying else line + b"\r\n"
        fixed += text
        if field.passed:
            kept += text
        if at not in varying:
            continue
        if passed is None:
            begins, sent_on = fixed, kept
        else:
            steps.append(_Step(passed, fixed, len(fixed), kept))
        fixed = b"\r\n"
        kept = b"\r\n" if field.passed else b""
        passed = field.passed
    assert passed is not None
    fixed += b"\r\n"
    steps.append(_Step(passed, fixed, len(fixed), kept))
    return Repeat(frozenset(varying), begins, sent_on, tuple(steps))
