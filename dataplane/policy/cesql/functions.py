"""The functions of CESQL, by name and number of arguments.

Path: compile.py → [functions] → values.py.

An overload is chosen by how many arguments there are. Each argument is cast to its parameter's type first. What fails
raises EvaluationFault with the value that the function has all the same (spec §26.14: LEFT('abc', -2) is 'abc').

Bound: TEXT_CHARS_MAX of what CONCAT and CONCAT_WS make, an error beyond it (functionEvaluation, ""); nothing else makes
a text longer than a small multiple of what it was given.

Source: spec/eventing.md §26.13, §26.14.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from dataplane.policy.cesql.values import INT_MAX, INT_MIN, EvaluationFault, Value

TEXT_CHARS_MAX = 128 * 1024  # twice what all attributes of an event may have

# Unicode's White_Space. str.strip() would take control characters U+001C…U+001F too.
_WHITE_SPACE = "".join(map(chr, (*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F,
                                 0x205F, 0x3000)))  # fmt: skip


class Function(NamedTuple):
    """`rest`: the type of further arguments, None = there are none."""

    parameters: tuple[type, ...]
    returns: type
    call: Callable[..., Value]
    rest: type | None = None

    def types(self, count: int) -> tuple[type, ...]:
        """The types that `count` arguments are cast to."""
        assert self.rest is not None or count == len(self.parameters)
        return self.parameters + (self.rest or str,) * (count - len(self.parameters))


def find(name: str, count: int) -> Function | None:
    """The overload for `count` arguments; `name` in upper case."""
    for function in _FUNCTIONS.get(name, ()):
        if count == len(function.parameters) or (function.rest is not None and count > len(function.parameters)):
            return function
    return None


def overloads(name: str) -> tuple[Function, ...]:
    return _FUNCTIONS.get(name, ())


def _identity(value: Any) -> Value:
    result: Value = value  # the cast to the parameter's type was all
    return result


def _joined(between: str, parts: tuple[str, ...]) -> str:
    size = sum(map(len, parts)) + len(between) * max(0, len(parts) - 1)
    if size > TEXT_CHARS_MAX:
        raise EvaluationFault("functionEvaluation", f"{size} characters are more than {TEXT_CHARS_MAX}", "")
    return between.join(parts)


def _left(text: str, count: int) -> str:
    if count < 0:
        raise EvaluationFault("functionEvaluation", f"LEFT of {count} characters", text)
    return text[:count]


def _right(text: str, count: int) -> str:
    if count < 0:
        raise EvaluationFault("functionEvaluation", f"RIGHT of {count} characters", text)
    return text[max(0, len(text) - count) :]


def _substring(text: str, position: int, length: int = INT_MAX) -> str:
    if abs(position) > len(text):
        raise EvaluationFault("functionEvaluation", f"SUBSTRING from {position} of {len(text)} characters", "")
    if length < 0:
        raise EvaluationFault("functionEvaluation", f"SUBSTRING of {length} characters", "")
    if position == 0:
        return ""
    start = position - 1 if position > 0 else len(text) + position
    return text[start : start + length]


def _abs(number: int) -> int:
    if number == INT_MIN:
        raise EvaluationFault("math", f"ABS({INT_MIN}) is no 32-bit Integer", INT_MAX)
    return abs(number)


_FUNCTIONS: dict[str, tuple[Function, ...]] = {
    "INT": (Function((int,), int, _identity),),
    "BOOL": (Function((bool,), bool, _identity),),
    "STRING": (Function((str,), str, _identity),),
    "ABS": (Function((int,), int, _abs),),
    "LENGTH": (Function((str,), int, len),),
    "CONCAT": (Function((), str, lambda *parts: _joined("", parts), rest=str),),
    "CONCAT_WS": (Function((str,), str, lambda between, *parts: _joined(between, parts), rest=str),),
    "LOWER": (Function((str,), str, str.lower),),
    "UPPER": (Function((str,), str, str.upper),),
    "TRIM": (Function((str,), str, lambda text: text.strip(_WHITE_SPACE)),),
    "LEFT": (Function((str, int), str, _left),),
    "RIGHT": (Function((str, int), str, _right),),
    "SUBSTRING": (Function((str, int), str, _substring), Function((str, int, int), str, _substring)),
}
