"""CESQL tokens → tree: a Pratt parser.

Path: compile.py → [parse] → lex.py.

Tightest first: call · NOT · unary minus · LIKE · EXISTS · IN · * / % · + - · comparison · AND OR XOR. Two surprises
are the language's: NOT binds tighter than a comparison, and AND, OR and XOR bind alike and to the right. The published
grammar and Knative's engine do so; lint.py points it out.

Bounds: DEPTH_MAX levels, for the text and for the tree; TEXT_CHARS_MAX of lex.py. Every token is looked at once.

Source: spec/eventing.md §26.5; the ANTLR grammar of CESQL 1.0.0.
"""

from typing import Literal, NoReturn, cast

from dataplane.policy.cesql.ast import (
    Arithmetic,
    Attribute,
    Call,
    Comparison,
    Constant,
    Exists,
    In,
    Like,
    Logic,
    Minus,
    Node,
    Not,
)
from dataplane.policy.cesql.lex import ParseFault, Token, tokens

DEPTH_MAX = 64  # four Python frames a level, of 1000

_LOOSEST = 0
_COMPARISON, _SUM, _PRODUCT, _IN, _LIKE = 1, 2, 3, 4, 5
_BINDING = {
    **dict.fromkeys(("=", "!=", "<>", "<", "<=", ">", ">="), _COMPARISON),
    **dict.fromkeys("+-", _SUM),
    **dict.fromkeys("*/%", _PRODUCT),
}


def parse(text: str) -> Node:
    """Raises ParseFault."""
    parser = _Parser(tokens(text))
    if not text.strip(" \t\r\n"):
        raise ParseFault(0, "an expression is missing")
    node = parser.logic()
    if not parser.ended():
        parser.unexpected("AND, OR, a comparison or the end of the expression")
    return node


class _Parser:
    def __init__(self, stream: list[Token]) -> None:
        self._stream = stream
        self._index = 0
        self._level = 0

    @property
    def next(self) -> Token:
        return self._stream[self._index]

    def ended(self) -> bool:
        return self.next.kind == "end"

    def _take(self) -> Token:
        token = self._stream[self._index]
        self._index += 1
        return token

    def _is(self, kind: str, value: str) -> bool:
        token = self.next
        return token.kind == kind and token.value == value

    def _expect(self, sign: str, instead: str) -> None:
        if not self._is("sign", sign):
            self.unexpected(instead)
        self._index += 1

    def unexpected(self, right: str) -> NoReturn:
        token = self.next
        before = self._stream[self._index - 1] if self._index else None
        hint = ""
        if token.kind == "literal" and token.text[0] in "+-" and before is not None and before.kind != "sign":
            hint = f"; a sign belongs to the digits behind it: write `{token.text[0]} {token.text[1:]}`"
        elif before is not None and before.kind == "keyword" and token.kind == "keyword":
            hint = f"; {token.text} cannot be an attribute's name, it is a keyword"
        raise ParseFault(token.at, f"{right} expected, found {token.text}{hint}")

    def _deeper(self, *below: Node) -> int:
        depth = 1 + max(node.depth for node in below)
        if depth > DEPTH_MAX:
            raise ParseFault(below[0].at, f"nested more than {DEPTH_MAX} levels deep")
        return depth

    def _enter(self) -> None:
        self._level += 1
        if self._level > DEPTH_MAX:
            raise ParseFault(self.next.at, f"nested more than {DEPTH_MAX} levels deep")

    def logic(self) -> Node:
        """A chain of AND, OR and XOR: what stands between parentheses, commas, or in the whole text."""
        self._enter()
        operands = [self._expression(_LOOSEST)]
        operators: list[Literal["AND", "OR", "XOR"]] = []
        while self.next.kind == "keyword" and self.next.value in ("AND", "OR", "XOR"):
            operators.append(cast(Literal["AND", "OR", "XOR"], self._take().value))
            operands.append(self._expression(_LOOSEST))
        self._level -= 1
        if not operators:
            return operands[0]
        return Logic(
            at=operands[0].at, depth=self._deeper(*operands), operands=tuple(operands), operators=tuple(operators)
        )

    def _expression(self, loosest: int) -> Node:
        """Everything that binds tighter than `loosest`."""
        left = self._prefix()
        while True:
            token = self.next
            if token.kind == "sign" and isinstance(token.value, str) and _BINDING.get(token.value, 0) > loosest:
                self._index += 1
                right = self._expression(_BINDING[token.value])
                left = self._binary(token.value, left, right)
            elif token.kind == "keyword" and token.value in ("LIKE", "IN", "NOT"):
                extended = self._suffix(left, loosest)
                if extended is None:
                    return left
                left = extended
            else:
                return left

    def _binary(self, sign: str, left: Node, right: Node) -> Node:
        depth = self._deeper(left, right)
        if _BINDING[sign] == _COMPARISON:
            comparison = cast(Literal["=", "!=", "<", "<=", ">", ">="], "!=" if sign == "<>" else sign)
            return Comparison(at=left.at, depth=depth, operator=comparison, left=left, right=right)
        arithmetic = cast(Literal["*", "/", "%", "+", "-"], sign)
        return Arithmetic(at=left.at, depth=depth, operator=arithmetic, left=left, right=right)

    def _suffix(self, left: Node, loosest: int) -> Node | None:
        """[NOT] LIKE 'pattern' or [NOT] IN (…) behind `left`; None when it binds to something further out."""
        negated = self._is("keyword", "NOT")
        operator = self._stream[self._index + 1] if negated else self.next
        if operator.kind != "keyword" or operator.value not in ("LIKE", "IN"):
            return None
        if (_LIKE if operator.value == "LIKE" else _IN) <= loosest:
            return None
        self._index += 2 if negated else 1
        if operator.value == "LIKE":
            pattern = self.next
            if pattern.kind != "literal" or not isinstance(pattern.value, str):
                self.unexpected("a pattern in quotes behind LIKE")
            self._index += 1
            return Like(at=left.at, depth=self._deeper(left), operand=left, pattern=pattern.value, negated=negated)
        self._expect("(", "a list in parentheses behind IN")
        elements = self._list("a value: a list behind IN has at least one")
        return In(at=left.at, depth=self._deeper(left, *elements), operand=left, elements=elements, negated=negated)

    def _list(self, first: str) -> tuple[Node, ...]:
        """Behind "(": one or more expressions and ")"."""
        if self._is("sign", ")"):
            self.unexpected(first)
        found = [self.logic()]
        while self._is("sign", ","):
            self._index += 1
            found.append(self.logic())
        self._expect(")", "`,` or `)`")
        return tuple(found)

    def _prefix(self) -> Node:
        token = self.next
        if token.kind == "keyword" and token.value == "NOT":
            return self._negated(Not)
        if token.kind == "sign" and token.value == "-":
            return self._negated(Minus)
        return self._atom()

    def _negated(self, kind: type[Not] | type[Minus]) -> Node:
        self._enter()
        at = self._take().at
        operand = self._prefix()
        self._level -= 1
        return kind(at=at, depth=self._deeper(operand), operand=operand)

    def _atom(self) -> Node:
        token = self.next
        if token.kind == "literal":
            self._index += 1
            return Constant(at=token.at, value=token.value)
        if token.kind == "name":
            return self._name()
        if token.kind == "sign" and token.value == "(":
            self._index += 1
            node = self.logic()
            self._expect(")", "AND, OR, a comparison or `)`")
            return node
        if token.kind == "keyword" and token.value in ("TRUE", "FALSE"):
            self._index += 1
            return Constant(at=token.at, value=token.value == "TRUE")
        if token.kind == "keyword" and token.value == "EXISTS":
            self._index += 1
            name = self.next
            if name.kind != "name" or "_" in name.text:
                self.unexpected("an attribute's name behind EXISTS")
            self._index += 1
            return Exists(at=token.at, name=name.text.lower())
        self.unexpected("a value, an attribute's name or a function")

    def _name(self) -> Node:
        name = self._take()
        if not self._is("sign", "("):
            if "_" in name.text:
                self.unexpected(f"`(` behind the function {name.text}")
            return Attribute(at=name.at, name=name.text.lower())
        if not name.text.replace("_", "").isalpha():
            raise ParseFault(name.at, f"{name.text} is no function: their names have letters and _ only")
        self._index += 1
        if self._is("sign", ")"):
            self._index += 1
            return Call(at=name.at, function=name.text.upper(), arguments=())
        arguments = self._list("an argument")
        return Call(at=name.at, depth=self._deeper(*arguments), function=name.text.upper(), arguments=arguments)
