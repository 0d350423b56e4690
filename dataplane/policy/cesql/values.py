"""CESQL values: what is an Integer, String and Boolean, how each is cast, and what a failing operation raises.

Path: compile.py, functions.py → [values].

The language says that a failing operation has a value and an error (spec §26.3), and that whoever uses a failed operand
answers the zero of its own type. So only the outermost operation's value can ever be seen: a failure is an exception
that travels to `Expression.evaluate`, which knows the outermost operation. Nothing is paid where nothing fails.

Source: spec/eventing.md §26.1, §26.3, §26.13.
"""

import re
from typing import Literal

Value = str | int | bool
Kind = Literal["math", "cast", "missingAttribute", "missingFunction", "functionEvaluation", "generic"]

INT_MIN, INT_MAX = -(2**31), 2**31 - 1
ZERO: dict[type, Value] = {str: "", int: 0, bool: False}
NAMES: dict[type, str] = {str: "String", int: "Integer", bool: "Boolean"}

_INTEGER = re.compile(r"([+-]?)0*([0-9]{1,10})")  # more digits cannot be 32 bits, and int() refuses thousands


class EvaluationFault(Exception):
    """An operation failed. `value`: its own result all the same, None = the zero of its type; `by`: the AST node."""

    def __init__(self, kind: Kind, message: str, value: Value | None = None, by: object = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.value = value
        self.by = by


def to_string(value: Value) -> str:
    if type(value) is bool:
        return "true" if value else "false"
    return str(value)


def to_integer(value: Value) -> int:
    if type(value) is not str:
        return int(value)
    if (match := _INTEGER.fullmatch(value)) is not None:
        number = int(match[1] + match[2])
        if INT_MIN <= number <= INT_MAX:
            return number
    raise EvaluationFault("cast", f"{shown(value)} is no 32-bit Integer")


def to_boolean(value: Value) -> bool:
    if type(value) is not str:
        return bool(value)
    lower = value.lower()
    if lower == "true":
        return True
    if lower == "false":
        return False
    raise EvaluationFault("cast", f"{shown(value)} is no Boolean")


def cast(value: Value, wanted: type) -> Value:
    """`value` as `wanted` (str, int or bool). Raises EvaluationFault "cast"."""
    if type(value) is wanted:
        return value
    if wanted is str:
        return to_string(value)
    if wanted is int:
        return to_integer(value)
    return to_boolean(value)


def shown(value: Value) -> str:
    """A value in a message: quoted, cut."""
    text = to_string(value)
    return repr(text if len(text) <= 40 else text[:40] + "…")
