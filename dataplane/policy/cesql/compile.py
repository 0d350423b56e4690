"""A CESQL expression made runnable: tree → closures, and what it says about an event.

Path: filters.py → [compile] → parse.py, functions.py, like.py, cost.py.

Evaluation stops at the first failure. AND and OR do not look at what cannot matter, so a failure there stays unseen
(spec §26.7). Of two operands of different types the right one decides in `=`, the left one in IN; everything else says
what it needs.

Cost: a closure per operation. What the texts of the event may add is bounded beforehand (cost.py).

Source: spec/eventing.md §26.
"""

import operator
from collections.abc import Callable
from typing import NamedTuple

from dataplane.policy.budget import STEPS_MAX, TooCostly
from dataplane.policy.cesql import ast, cost, functions
from dataplane.policy.cesql.lex import ParseFault
from dataplane.policy.cesql.like import compile_like
from dataplane.policy.cesql.lint import lint
from dataplane.policy.cesql.parse import parse
from dataplane.policy.cesql.values import (
    INT_MAX,
    INT_MIN,
    ZERO,
    EvaluationFault,
    Value,
    cast,
    to_boolean,
    to_integer,
    to_string,
)
from dataplane.wire.cloudevents import Event

Run = Callable[[Event], Value]

# What can only be a String: no typed view has to be asked.
_TEXTS = frozenset({"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"})


class Result(NamedTuple):
    value: Value
    error: EvaluationFault | None = None


class Expression:
    """A compiled expression.

    interest: (attribute, value) that every match has, of `type` and `source` only; None when it cannot be told.
    warnings: what its author may not have meant (lint.py).
    """

    __slots__ = ("_chars_max", "_names", "_root", "_run", "interest", "text", "warnings")

    def __init__(self, text: str, steps_max: int) -> None:
        self.text = text
        self._root = parse(text)
        self._run = _compile(self._root)
        self.interest = _interest(self._root)
        self.warnings = lint(self._root)
        self._names: frozenset[str] = frozenset()
        self._chars_max = cost.attribute_chars_max(self._root, steps_max)
        if self._chars_max == 0:
            raise ParseFault(0, "it could take too long for any event: fewer or shorter operations on texts are needed")
        if self._chars_max is not None:
            self._names = cost.names(self._root)
        if self._chars_max is not None and self._chars_max < cost.UNUSUAL_CHARS:
            self.warnings += (f"it does not match an event that {self._limit()}",)

    def evaluate(self, event: Event) -> Result:
        """Raises TooCostly."""
        if self._chars_max is not None:
            self._afford(event)
        try:
            return Result(self._run(event))
        except EvaluationFault as fault:
            if fault.by is self._root and fault.value is not None:
                return Result(fault.value, fault)
            return Result(ZERO[_type(self._root)], fault)

    def matches(self, event: Event) -> bool:
        """Boolean true, and nothing failed. Raises TooCostly."""
        if self._chars_max is not None:
            self._afford(event)
        try:
            return self._run(event) is True
        except EvaluationFault:
            return False

    def _limit(self) -> str:
        return f"has more than {self._chars_max} characters in an attribute it reads: that could take too long"

    def _afford(self, event: Event) -> None:
        assert self._chars_max is not None
        if any(len(event.attributes.get(name, "")) > self._chars_max for name in self._names):
            raise TooCostly(f"the event {self._limit()}")


def compile_expression(text: str, steps_max: int = STEPS_MAX) -> Expression:
    """steps_max: what one evaluation may take (budget.py). Raises lex.ParseFault."""
    return Expression(text, steps_max)


def _type(node: ast.Node) -> type:
    """What the operation returns; Boolean where only the event can tell."""
    match node:
        case ast.Minus() | ast.Arithmetic():
            return int
        case ast.Call(function=name, arguments=arguments):
            function = functions.find(name, len(arguments))
            return bool if function is None else function.returns
        case _:
            return bool


def _interest(node: ast.Node) -> tuple[str, str] | None:
    match node:
        case ast.Comparison(operator="=", left=ast.Attribute(name=name), right=ast.Constant(value=str(value))):
            return (name, value) if name in ("type", "source") else None
        case ast.Comparison(operator="=", left=ast.Constant(value=str(value)), right=ast.Attribute(name=name)):
            return (name, value) if name in ("type", "source") else None
        case ast.Logic(operands=operands, operators=operators):
            # right-associative: the operands before the first OR or XOR must all hold
            for index, operand in enumerate(operands):
                if index < len(operators) and operators[index] != "AND":
                    return None
                found = _interest(operand)
                if found is not None:
                    return found
    return None


def _compile(node: ast.Node) -> Run:
    match node:
        case ast.Constant(value=value):
            return lambda event: value
        case ast.Attribute(name=name):
            return _attribute(name)
        case ast.Exists(name=name):
            return lambda event: name in event.attributes
        case ast.Not(operand=operand):
            inner = _boolean(_compile(operand))
            return lambda event: not inner(event)
        case ast.Minus(operand=operand):
            return _minus(node, _compile(operand))
        case ast.Like(operand=operand, pattern=pattern, negated=negated):
            return _like(_compile(operand), pattern, negated)
        case ast.In(operand=operand, elements=elements, negated=negated):
            return _in(_compile(operand), elements, negated)
        case ast.Arithmetic(left=left, right=right):
            return _arithmetic(node, _compile(left), _compile(right))
        case ast.Comparison(operator="=" | "!=" as sign, left=left, right=right):
            return _equality(_compile(left), right, sign == "!=")
        case ast.Comparison(operator=sign, left=left, right=right):
            return _order(sign, _compile(left), _compile(right))
        case ast.Logic(operands=operands, operators=operators):
            return _logic([_boolean(_compile(operand)) for operand in operands], operators)
        case ast.Call():
            return _call(node)


def _missing(name: str) -> EvaluationFault:
    return EvaluationFault("missingAttribute", f"the event has no attribute {name}")


def _attribute(name: str) -> Run:
    if name in _TEXTS:

        def text(event: Event) -> Value:
            value = event.attributes.get(name)
            if value is None:
                raise _missing(name)
            return value

        return text

    def typed(event: Event) -> Value:
        value = event.typed.get(name)
        if value is not None and INT_MIN <= value <= INT_MAX:
            return value
        canonical = event.attributes.get(name)
        if canonical is None:
            raise _missing(name)
        return canonical

    return typed


def _boolean(run: Run) -> Callable[[Event], bool]:
    def boolean(event: Event) -> bool:
        value = run(event)
        return value if type(value) is bool else to_boolean(value)

    return boolean


def _minus(node: ast.Node, run: Run) -> Run:
    def minus(event: Event) -> Value:
        return _in_range(-to_integer(run(event)), node)

    return minus


def _in_range(number: int, node: ast.Node) -> int:
    if INT_MIN <= number <= INT_MAX:
        return number
    wrapped = (number - INT_MIN) % 2**32 + INT_MIN
    raise EvaluationFault("math", f"{number} is no 32-bit Integer", wrapped, node)


def _quotient(left: int, right: int) -> int:
    """Truncated toward zero; Python floors."""
    return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)


def _remainder(left: int, right: int) -> int:
    """With the sign of the dividend."""
    return left - right * _quotient(left, right)


_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _quotient,
    "%": _remainder,
}


def _arithmetic(node: ast.Arithmetic, left: Run, right: Run) -> Run:
    compute, divides = _ARITHMETIC[node.operator], node.operator in "/%"

    def arithmetic(event: Event) -> Value:
        one, other = to_integer(left(event)), to_integer(right(event))
        if divides and other == 0:
            raise EvaluationFault("math", "division by zero", 0, node)
        return _in_range(compute(one, other), node)

    return arithmetic


def _like(run: Run, pattern: str, negated: bool) -> Run:
    match = compile_like(pattern)

    def like(event: Event) -> Value:
        return match(to_string(run(event))) is not negated

    return like


def _in(run: Run, elements: tuple[ast.Node, ...], negated: bool) -> Run:
    if all(isinstance(element, ast.Constant) for element in elements):
        return _in_constants(run, [element.value for element in elements if isinstance(element, ast.Constant)], negated)
    members = [_compile(element) for element in elements]

    def among(event: Event) -> Value:
        value = run(event)
        kind = type(value)
        return any(value == cast(member(event), kind) for member in members) is not negated

    return among


def _in_constants(run: Run, constants: list[Value], negated: bool) -> Run:
    """What each element is as String, Integer and Boolean is known beforehand: one look-up instead of a search.

    An element that cannot be cast fails unless one before it matched.
    """
    by_type: dict[type, tuple[frozenset[Value], EvaluationFault | None]] = {}
    for kind in (str, int, bool):
        castable: list[Value] = []
        fault: EvaluationFault | None = None
        for constant in constants:
            try:
                castable.append(cast(constant, kind))
            except EvaluationFault as found:
                fault = found
                break
        by_type[kind] = (frozenset(castable), fault)

    def among(event: Event) -> Value:
        value = run(event)
        members, fault = by_type[type(value)]
        if value in members:
            return not negated
        if fault is not None:
            raise EvaluationFault(fault.kind, str(fault))
        return negated

    return among


def _equality(left: Run, right: ast.Node, negated: bool) -> Run:
    if isinstance(right, ast.Constant):
        value, kind = right.value, type(right.value)

        def equals_constant(event: Event) -> Value:
            found = left(event)
            return ((found if type(found) is kind else cast(found, kind)) == value) is not negated

        return equals_constant
    other = _compile(right)

    def equals(event: Event) -> Value:
        found = left(event)
        value = other(event)
        return (cast(found, type(value)) == value) is not negated

    return equals


_ORDER: dict[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _order(sign: str, left: Run, right: Run) -> Run:
    compare = _ORDER[sign]
    return lambda event: compare(to_integer(left(event)), to_integer(right(event)))


def _logic(operands: list[Callable[[Event], bool]], operators: tuple[str, ...]) -> Run:
    last = operands[-1]
    steps = tuple(zip(operands, operators, strict=False))
    if set(operators) == {"AND"}:
        return lambda event: all(operand(event) for operand in operands)
    if set(operators) == {"OR"}:
        return lambda event: any(operand(event) for operand in operands)

    def mixed(event: Event) -> Value:
        # a OP rest: what AND and OR leave is `rest` or a constant, XOR may turn it round. So no recursion is needed.
        turned = False
        for operand, step in steps:
            value = operand(event)
            if step == "XOR":
                turned ^= value
            elif value == (step == "OR"):
                return value ^ turned
        return last(event) ^ turned

    return mixed


def _call(node: ast.Call) -> Run:
    count = len(node.arguments)
    function = functions.find(node.function, count)
    if function is None:
        name = node.function
        known = bool(functions.overloads(name))
        message = f"{name} takes another number of arguments than {count}" if known else f"there is no function {name}"

        def unknown(event: Event) -> Value:
            raise EvaluationFault("missingFunction", message)

        return unknown
    call = function.call
    arguments = [
        (_compile(argument), kind) for argument, kind in zip(node.arguments, function.types(count), strict=True)
    ]

    def called(event: Event) -> Value:
        values = [cast(argument(event), kind) for argument, kind in arguments]
        try:
            return call(*values)
        except EvaluationFault as fault:
            fault.by = node
            raise

    return called
