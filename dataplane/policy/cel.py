"""`cel` filters: the Common Expression Language over `event` (the attributes) and `data` (JSON, or null).

Path: filters.py → [cel] → body.py, celcost.py. The one door to cel-expr-python, the binding of Google's C++ engine.

Optional: `pip install 'dataplane[cel]'`. Loaded when the first such filter is compiled. Whatever fails (no such member,
wrong types, a number beyond 64 bits) does not match, nor does an event with data that is not JSON.

Bounds: the engine's, on iterations and nesting; VALUES_MAX values in the data, and no more of them and of text than can
be looked at in time (celcost.py); a pattern of `matches` stands in the expression; and no `map` and `filter`, which the
engine does in the square of the list's length. `exists`, `exists_one` and `all` are what a condition needs.

    data.total >= 100 && event.type.startsWith("com.shop.")

Source: https://cel.dev; https://github.com/cel-expr/cel-python.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from dataplane.policy.body import NOT_JSON, json_of
from dataplane.policy.budget import STEPS_MAX, TooCostly
from dataplane.policy.celcost import PatternFault, cost
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


def compile_cel(text: str, steps_max: int = STEPS_MAX) -> Callable[[Event], bool]:
    """steps_max: what one evaluation may take (budget.py). Raises CelFault; what it returns raises TooCostly."""
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
    try:
        costs = cost(text)
    except PatternFault as fault:
        raise CelFault(str(fault)) from None
    evaluate = expression.eval

    def matches(event: Event) -> bool:
        data = json_of(event)
        if data is NOT_JSON:
            if event.data:
                return False
            data = None
        values, longest = _size(data)
        attribute = max(map(len, event.attributes.values()))
        if values > VALUES_MAX:
            raise TooCostly(f"its data has more than {VALUES_MAX} values")
        if (steps := costs.steps(values, longest, attribute)) > steps_max:
            raise TooCostly(
                f"its data ({values} values, the longest text has {longest} characters) could take {steps / 1e9:.2f} s"
            )
        attributes = {**event.attributes, **event.typed} if event.typed else event.attributes
        try:
            return evaluate(data={"event": attributes, "data": data}).value() is True
        except RuntimeError:
            return False

    return matches


def _size(value: Any) -> tuple[int, int]:
    """(members and elements in it, stopping beyond VALUES_MAX; the longest text in characters)."""
    waiting, seen, longest = [value], 0, 0
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            longest = max(longest, len(one))
        elif isinstance(one, dict | list):
            seen += len(one)
            if seen > VALUES_MAX:
                break
            if isinstance(one, dict):
                longest = max(longest, *map(len, one), 0)
                waiting.extend(one.values())
            else:
                waiting.extend(one)
    return seen, longest


def _first_line(text: str) -> str:
    return text.partition("\n")[0].removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: ")
