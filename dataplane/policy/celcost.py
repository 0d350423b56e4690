"""How long a `cel` expression may take, by the data and attributes that it looks at.

Path: cel.py → [celcost].

The engine bounds the iterations of one evaluation, not what one of them does: to search a long text in each, or to
compare two lists, takes minutes. So the operations are counted beforehand, each as often as the loops around it may
go round. A bound from above: every operation is taken to have the longest text, every loop the most values; only what
is plainly asked of an attribute (`event.type.contains("x")`) need not fear a long text in the data.

Its tokens are read here a second time, since the engine does not show its tree; what it has compiled is well formed.

Source: dataplane/policy/budget.py; https://github.com/google/cel-spec/blob/master/doc/langdef.md (syntax).
"""

import re
from typing import NamedTuple

ITERATIONS_MAX = 10_000  # the engine's own, in one evaluation

# Nanoseconds, rounded up.
_OPERATION = 100  # a token
_PER_VALUE = 60  # of a list that is searched or compared
_CONTAINS, _SIZE, _ADD, _INDEX, _OTHER = 16, 2, 4, 4, 1  # per character
_CHARS_AT_ONCE = 32  # compared in a nanosecond
_PATTERN = 20  # per character, and character of the pattern: some need as many states at once

_LOOPS = frozenset(("all", "exists", "exists_one"))
_CALLS = {"contains": _CONTAINS, "size": _SIZE}
_TOKEN = re.compile(
    r"""
      (?P<space>\s+|//[^\n]*)
    | (?P<string>[bB]?[rR](?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')
        | [bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    | (?P<name>[A-Za-z_]\w*)
    | (?P<number>\d[\w.]*)
    | (?P<sign>==|!=|<=|>=|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_REPEATED = re.compile(r"(.)\{(\d*),?(\d*)\}", re.DOTALL)
_LITERALS = frozenset(("true", "false", "null"))


class PatternFault(ValueError):
    """A regular expression that the event would choose."""


class Level:
    """What stands at one depth of loops. texts, attributes: nanoseconds per character of any text, and of attributes;
    compared: how many whole values are, or are copied; sought: how many texts of the event are, in another."""

    __slots__ = ("attributes", "compared", "operations", "sought", "texts")

    def __init__(self) -> None:
        self.operations = self.texts = self.attributes = self.compared = self.sought = 0


class Cost(NamedTuple):
    """added: how many texts may be put together; longest: of those in the expression, in characters."""

    levels: tuple[Level, ...]
    added: int
    longest: int

    def steps(self, values: int, text: int, attribute: int) -> int:
        """Nanoseconds, at most. values: members and elements of the data; text, attribute: the longest of the data and
        of the attributes, in characters."""
        chars = max(text, attribute, self.longest) * (1 + self.added)
        values *= 1 + self.added
        total = 0
        for depth, level in enumerate(self.levels):
            once = level.operations * _OPERATION + level.texts * chars + level.attributes * max(attribute, self.longest)
            once += level.compared * (_PER_VALUE * values + chars) + level.sought * chars * chars // _CHARS_AT_ONCE
            total += min(max(values, 1) ** depth, ITERATIONS_MAX) * once
        return total


def cost(text: str) -> Cost:
    """Of an expression that compiles. Raises PatternFault."""
    tokens = [("", "")] * 4 + [(m.lastgroup or "", m[0]) for m in _TOKEN.finditer(text) if m.lastgroup != "space"]
    tokens += [("", "")] * 4
    values = [value for _, value in tokens]
    shadowed = any(values[at : at + 3] == ["(", "event", ","] for at in range(len(values)))
    levels = [Level()]
    around: list[bool] = []  # parentheses: is it a loop's?
    depth = added = longest = 0
    for at in range(4, len(tokens) - 4):
        kind, token = tokens[at]
        here = levels[depth]
        here.operations += 1
        if kind == "string":
            longest = max(longest, len(token))
        elif token == "(":
            around.append(values[at - 1] in _LOOPS)
            depth += around[-1]
            if depth == len(levels):
                levels.append(Level())
        elif token == ")":
            depth -= around.pop()
        elif kind == "name" and values[at + 1] == "(" and token not in _LOOPS:
            per_char = _CALLS.get(token, _OTHER)
            if token == "matches":
                per_char = _PATTERN * _states(tokens[at + 2], values[at + 3])
            elif token == "contains" and tokens[at + 2][0] == "string" and values[at + 3] == ")":
                per_char += len(values[at + 2]) // _CHARS_AT_ONCE
            else:
                here.sought += token == "contains"
            if (
                values[at - 4] == "event"
                and values[at - 5 : at - 4] != ["."]
                and values[at - 1] == "."
                and not shadowed
            ):
                here.attributes += per_char
            else:
                here.texts += per_char
        elif token in ("==", "!=", "<", ">", "<=", ">=", "+", "in", "["):
            plain = token != "in" and (_literal(tokens, at + 1) or (token != "[" and _literal(tokens, at - 1)))
            here.compared += token in ("==", "!=", "in", "+") and not plain
            here.texts += _ADD if token == "+" else 0 if plain else _INDEX if token == "[" else _OTHER
            added += token == "+"
    return Cost(tuple(levels), added, longest)


def _literal(tokens: list[tuple[str, str]], at: int) -> bool:
    kind, token = tokens[at + (tokens[at][1] == "-")]
    return kind in ("string", "number") or token in _LITERALS


def _states(argument: tuple[str, str], closing: str) -> int:
    """Of a regular expression, at most: its length with counted repetitions written out."""
    kind, pattern = argument
    if kind != "string" or closing != ")":
        raise PatternFault("matches needs its pattern in quotes, alone between the parentheses: text.matches('a.*')")
    length = len(pattern)
    factor = 1
    for before, least, most in _REPEATED.findall(pattern):
        times = int((most or least)[:5] or 1)
        if before == ")":
            factor *= max(1, times)
        else:
            length += times
    return length * factor
