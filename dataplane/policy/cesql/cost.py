"""How long an expression may take, by the longest attribute that it reads.

Path: compile.py → [cost] → like.py, functions.py.

A bound from above, linear in the text of the attributes: nothing that CESQL does with one, LIKE aside, is worse than
linear in it, and LIKE is in len(text) × len(its longest piece with `_`).

Source: dataplane/policy/budget.py; spec/eventing.md §26.15.
"""

from collections.abc import Iterator

from dataplane.policy.budget import STEPS_MAX
from dataplane.policy.cesql import ast
from dataplane.policy.cesql.functions import TEXT_CHARS_MAX
from dataplane.policy.cesql.like import steps_per_char

ATTRIBUTE_CHARS_MAX = 64 * 1024  # what an event has at most, in all of its attributes
UNUSUAL_CHARS = 8 * 1024  # nobody need be told about longer ones

# Nanoseconds per character, rounded up: measured with texts that are not ASCII. The few characters that become two
# or three in another case count as one.
_COMPARE, _COPY, _CAST, _LOOK_UP = 1, 2, 4, 20
_FUNCTIONS = {"LOWER": _LOOK_UP, "UPPER": _LOOK_UP, "TRIM": _LOOK_UP}


def attribute_chars_max(root: ast.Node, steps_max: int = STEPS_MAX) -> int | None:
    """The longest attribute that `root` may read within `steps_max`, a power of two; 0 = none, None = any will do."""
    chars = ATTRIBUTE_CHARS_MAX
    while chars and (steps := _cost(root, chars)[1]) > steps_max:
        chars = (1 << (chars * steps_max // steps).bit_length()) // 2
    return chars if chars < ATTRIBUTE_CHARS_MAX else None


def names(root: ast.Node) -> frozenset[str]:
    """The attributes whose text it reads."""
    return frozenset(node.name for node in _all(root) if isinstance(node, ast.Attribute))


def _all(node: ast.Node) -> Iterator[ast.Node]:
    yield node
    for child in ast.children(node):
        yield from _all(child)


def _cost(node: ast.Node, chars: int) -> tuple[int, int]:
    """(characters of its text, 0 when it is none; steps)."""
    if isinstance(node, ast.Constant):
        return max(1, len(node.value)) if isinstance(node.value, str) else 0, 0
    if isinstance(node, ast.Attribute):
        return chars, 0
    below = [_cost(child, chars) for child in ast.children(node)]
    texts = [length for length, _ in below]
    steps = sum(cost for _, cost in below)
    match node:
        case ast.Like(pattern=pattern):
            return 0, steps + len(pattern) + texts[0] * steps_per_char(pattern)
        case ast.Comparison(operator="=" | "!="):
            return 0, steps + (_CAST if texts[1] == 0 else _COMPARE) * min(texts[0], texts[1] or texts[0])
        case ast.In():
            return 0, steps + sum(_COMPARE * min(texts[0], text) for text in texts[1:]) + _CAST * texts[0]
        case ast.Call(function=name):
            made = sum(texts)
            if name == "CONCAT_WS" and texts:
                made += texts[0] * len(texts)
            made = min(made, TEXT_CHARS_MAX)
            return made, steps + _FUNCTIONS.get(name, _COPY) * made
        case _:
            return 0, steps + _CAST * sum(texts)
