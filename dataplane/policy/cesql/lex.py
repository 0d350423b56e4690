"""CESQL text → tokens, in one pass.

Path: admission, broker → parse.py → [lex].

A sign belongs to the digits behind it (`4-1` is 4 and -1: two values side by side, an error of the parser's), a word of
letters and digits is a name unless all digits, a name with underscores can only be a function.

Source: spec/eventing.md §26.4.
"""

import re
from typing import Literal, NamedTuple

from dataplane.policy.cesql.values import INT_MAX, INT_MIN, Value

TEXT_CHARS_MAX = 64 * 1024

KEYWORDS = frozenset({"AND", "OR", "XOR", "NOT", "LIKE", "IN", "EXISTS", "TRUE", "FALSE"})

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\n]+)
    | (?P<integer>[+-][0-9]+)
    | (?P<word>[A-Za-z0-9_]+)
    | (?P<single>'(?:[^'\\]|\\.|'')*')
    | (?P<double>"(?:[^"\\]|\\.|"")*")
    | (?P<sign><=|>=|<>|!=|[=<>(),*/%+-])
    """,
    re.VERBOSE | re.DOTALL,
)
_FUNCTION = re.compile(r"[A-Za-z][A-Za-z_]*")


class ParseFault(ValueError):
    """The text is no CESQL. The message says where, what, and where it can what would be right."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(f"at character {position + 1}: {message}")
        self.position = position


class Token(NamedTuple):
    """`value`: an upper-case keyword or sign, the name as written, or the literal's value."""

    kind: Literal["literal", "name", "keyword", "sign", "end"]
    value: Value
    at: int
    text: str


def tokens(text: str) -> list[Token]:
    """The tokens of `text` and an "end". Raises ParseFault."""
    if len(text) > TEXT_CHARS_MAX:
        raise ParseFault(TEXT_CHARS_MAX, f"an expression has at most {TEXT_CHARS_MAX} characters")
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ParseFault(at, _unreadable(text[at]))
        piece, group = match[0], match.lastgroup
        if group == "word":
            found.append(_word(piece, at))
        elif group == "integer":
            found.append(_integer(piece, at))
        elif group == "single" or group == "double":
            quote = piece[0]
            found.append(Token("literal", piece[1:-1].replace("\\" + quote, quote), at, piece))
        elif group == "sign":
            found.append(Token("sign", piece, at, piece))
        at = match.end()
    found.append(Token("end", "", len(text), "the end"))
    return found


def _word(piece: str, at: int) -> Token:
    if piece.upper() in KEYWORDS:
        return Token("keyword", piece.upper(), at, piece)
    if piece.isdigit():
        return _integer(piece, at)
    if "_" in piece and _FUNCTION.fullmatch(piece) is None:
        raise ParseFault(at, f"{piece!r} is no name: attributes have letters and digits, functions letters and _")
    return Token("name", piece, at, piece)


def _integer(piece: str, at: int) -> Token:
    if len(piece) > 40 or not INT_MIN <= int(piece) <= INT_MAX:
        raise ParseFault(at, f"{piece[:40]} is no Integer: they go from {INT_MIN} to {INT_MAX}")
    return Token("literal", int(piece), at, piece)


def _unreadable(char: str) -> str:
    if char in "'\"":
        return f"the string that begins here has no closing {char}"
    if char == "!":
        return "unexpected '!'; negation is NOT, inequality is != or <>"
    if char == "&" or char == "|":
        return f"unexpected {char!r}; write AND or OR"
    return f"unexpected {char!r}"
