"""The tree of a CESQL expression.

Path: parse.py → [ast] → compile.py, lint.py, cost.py.

`at` is the character it begins at; `depth` counts the levels below and is bounded, so walking it recursively is safe.
A chain `a AND b OR c …` is one node, however long: that is how people write long lists of alternatives.

Source: spec/eventing.md §26.5.
"""

from typing import Literal

import msgspec

from dataplane.policy.cesql.values import Value


class _Node(msgspec.Struct, frozen=True, kw_only=True):
    at: int
    depth: int = 1


class Constant(_Node, frozen=True, kw_only=True):
    value: Value


class Attribute(_Node, frozen=True, kw_only=True):
    """`name` in lower case."""

    name: str


class Exists(_Node, frozen=True, kw_only=True):
    name: str


class Not(_Node, frozen=True, kw_only=True):
    operand: "Node"


class Minus(_Node, frozen=True, kw_only=True):
    operand: "Node"


class Like(_Node, frozen=True, kw_only=True):
    operand: "Node"
    pattern: str
    negated: bool


class In(_Node, frozen=True, kw_only=True):
    operand: "Node"
    elements: tuple["Node", ...]
    negated: bool


class Arithmetic(_Node, frozen=True, kw_only=True):
    operator: Literal["*", "/", "%", "+", "-"]
    left: "Node"
    right: "Node"


class Comparison(_Node, frozen=True, kw_only=True):
    """`!=` stands for `<>` too."""

    operator: Literal["=", "!=", "<", "<=", ">", ">="]
    left: "Node"
    right: "Node"


class Logic(_Node, frozen=True, kw_only=True):
    """operands[0] operators[0] (operands[1] operators[1] (…)): what stands beside each other without parentheses."""

    operands: tuple["Node", ...]
    operators: tuple[Literal["AND", "OR", "XOR"], ...]


class Call(_Node, frozen=True, kw_only=True):
    """`function` in upper case."""

    function: str
    arguments: tuple["Node", ...]


Node = Constant | Attribute | Exists | Not | Minus | Like | In | Arithmetic | Comparison | Logic | Call


def children(node: Node) -> tuple[Node, ...]:
    """What stands directly below."""
    match node:
        case Not(operand=operand) | Minus(operand=operand) | Like(operand=operand):
            return (operand,)
        case In(operand=operand, elements=elements):
            return (operand, *elements)
        case Arithmetic(left=left, right=right) | Comparison(left=left, right=right):
            return (left, right)
        case Logic(operands=operands):
            return operands
        case Call(arguments=arguments):
            return arguments
        case _:
            return ()
