"""LIKE: `%` is any run of characters, `_` exactly one, `\\%` and `\\_` themselves; the whole text, case-sensitive.

Path: compile.py → [like].

The pattern is cut at its `%`: the first piece must stand at the beginning, the last at the end, each one between is
looked for once, leftmost, after the one before. Leftmost is enough because what follows only needs room; so nothing is
ever tried twice.

Cost: at most len(text) × len(longest piece with `_`), never exponential; linear where there is none (`steps_per_char`).

Source: spec/eventing.md §26.12.
"""

import re
from collections.abc import Callable


def compile_like(pattern: str) -> Callable[[str], bool]:
    pieces = _pieces(pattern)
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return _whole(first)
    if all("_" not in piece.wild for piece in pieces) and len(pieces) == 2:
        head, tail, least = first.text, last.text, len(first.text) + len(last.text)
        return lambda text: len(text) >= least and text.startswith(head) and text.endswith(tail)
    middle = pieces[1:-1]

    def match(text: str) -> bool:
        end = len(text) - len(last.text)
        if end < len(first.text) or not first.at(text, 0) or not last.at(text, end):
            return False
        at = len(first.text)
        for piece in middle:
            at = piece.find(text, at, end)
            if at < 0:
                return False
            at += len(piece.text)
        return True

    return match


def steps_per_char(pattern: str) -> int:
    """What a character of the text may cost, in nanoseconds (cost.py)."""
    middle = _pieces(pattern)[1:-1]
    wild = max((len(piece.text) for piece in middle if "_" in piece.wild), default=0)
    return 8 + 4 * wild if middle else 0


class _Piece:
    """Characters without `%`. `wild` has `_` where any one character may stand and a blank elsewhere."""

    __slots__ = ("_expression", "text", "wild")

    def __init__(self, text: str, wild: str) -> None:
        self.text = text
        self.wild = wild
        # no quantifier in it: nothing to backtrack into
        self._expression = (
            re.compile("".join("." if w == "_" else re.escape(c) for c, w in zip(text, wild, strict=True)), re.DOTALL)
            if "_" in wild
            else None
        )

    def at(self, text: str, position: int) -> bool:
        if self._expression is None:
            return text.startswith(self.text, position)
        return self._expression.match(text, position) is not None

    def find(self, text: str, start: int, end: int) -> int:
        if self._expression is None:
            return text.find(self.text, start, end)
        found = self._expression.search(text, start, end)
        return -1 if found is None else found.start()


def _whole(piece: _Piece) -> Callable[[str], bool]:
    if "_" not in piece.wild:
        return piece.text.__eq__
    return lambda text: len(text) == len(piece.text) and piece.at(text, 0)


def _pieces(pattern: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    text: list[str] = []
    wild: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "%":
            pieces.append(_Piece("".join(text), "".join(wild)))
            text, wild = [], []
        else:
            escaped = char == "\\" and pattern[at + 1 : at + 2] in ("%", "_")
            at += escaped
            text.append(pattern[at])
            wild.append("_" if char == "_" else " ")
        at += 1
    pieces.append(_Piece("".join(text), "".join(wild)))
    return pieces
