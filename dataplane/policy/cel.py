"""`cel` filters: the Common Expression Language over `event` (the attributes) and `data` (JSON, or null).

Path: filters.py → [cel] → body.py. The one door to cel-expr-python, the binding of Google's C++ engine.

Optional: `pip install 'dataplane[cel]'`. Loaded when the first such filter is compiled. Whatever fails (no such member,
wrong types, a number beyond 64 bits) does not match, nor does an event with data that is not JSON.

Bounds: the engine's, on iterations and nesting; VALUES_MAX values in the data, because what an iteration costs is not
bounded (comparing two lists, say); and no `map` and `filter`, which the engine does in the square of the list's length.
`exists`, `exists_one` and `all` are what a condition needs.

    data.total >= 100 && event.type.startsWith("com.shop.")

Source: https://cel.dev; https://github.com/cel-expr/cel-python.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from dataplane.policy.body import NOT_JSON, json_of
from dataplane.wire.cloudevents import Event

EXPRESSION_CHARS_MAX = 16 * 1024
VALUES_MAX = 1000
_SUBSET = "name: dataplane\nstdlib:\n  exclude_macros: [map, filter]\n"
_LISTS = re.compile(r"\.\s*(map|filter)\s*\(")


class CelFault(ValueError):
    """The expression cannot be compiled, or the engine is not installed. The message says which."""


@cache
def _environment() -> Any:
    try:
        from cel_expr_python import cel
    except ImportError:
        raise CelFault("cel filters need the optional engine: pip install 'dataplane[cel]'") from None
    kind = cel.Type
    subset = cel.NewEnvConfigFromYaml(_SUBSET)
    return cel.NewEnv(config=subset, variables={"event": kind.Map(kind.STRING, kind.DYN), "data": kind.DYN})


def compile_cel(text: str) -> Callable[[Event], bool]:
    """Raises CelFault."""
    if len(text) > EXPRESSION_CHARS_MAX:
        raise CelFault(f"an expression has at most {EXPRESSION_CHARS_MAX} characters")
    environment = _environment()
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise CelFault("an expression holds no lone surrogates")
    try:
        expression = environment.compile(text)
    except RuntimeError as error:
        hint = "; there is no map and no filter here, exists and all say whether" if _LISTS.search(text) else ""
        raise CelFault(_first_line(str(error)) + hint) from None
    returns = expression.return_type().name()
    if returns not in ("BOOL", "DYN"):
        raise CelFault(f"a filter must be true or false; this is {returns.lower()}")
    evaluate = expression.eval

    def matches(event: Event) -> bool:
        data = json_of(event)
        if data is NOT_JSON:
            if event.data:
                return False
            data = None
        elif not _few(data):
            return False
        attributes = {**event.attributes, **event.typed} if event.typed else event.attributes
        try:
            return evaluate(data={"event": attributes, "data": data}).value() is True
        except RuntimeError:
            return False

    return matches


def _few(value: Any) -> bool:
    """At most VALUES_MAX values, members and elements in it."""
    waiting, seen = [value], 0
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict | list):
            seen += len(one)
            if seen > VALUES_MAX:
                return False
            waiting.extend(one.values() if isinstance(one, dict) else one)
    return True


def _first_line(text: str) -> str:
    return text.partition("\n")[0].removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: ")
