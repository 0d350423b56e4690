"""`jsonpath` filters: a path into JSON data, and what must stand there.

Path: filters.py → [bodypath] → body.py.

    $.customer.vip                     there is such a member, whatever its value
    $.total >= 100                     == != < <= > >= with a number, string, true, false or null
    $.items[*].sku == 'A-1'            one of them
    $['odd name'][0][-1]               members by quoted name, elements by index, from the end with a minus

That is all: no `..`, slices, filters within the path, functions or regular expressions, so what it costs is bounded by
the data (RFC 9535 could say more, but not compare the root's own members with a value). `!=` needs something there to
be different; numbers are compared with numbers and strings with strings, everything else is unequal.

Source: RFC 9535 §2.1-2.3 for paths; §2.3.5.2.2 for comparisons.
"""

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from dataplane.policy.body import NOT_JSON, json_of
from dataplane.policy.budget import STEPS_MAX, TooCostly
from dataplane.wire.cloudevents import Event

PATH_CHARS_MAX = 4096
STEPS_PER_VALUE = 200  # looked up and compared

_SEGMENT = re.compile(
    r"""
      \.(?P<name>[A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff-]*)
    | \[\s*'(?P<single>(?:[^'\\]|\\['\\])*)'\s*\]
    | \[\s*"(?P<double>(?:[^"\\]|\\["\\])*)"\s*\]
    | \[\s*(?P<index>-?[0-9]{1,9})\s*\]
    | (?P<any>\.\*|\[\s*\*\s*\])
    """,
    re.VERBOSE,
)
_COMPARISON = re.compile(r"\s*(?P<sign>==|!=|<=|>=|<|>)\s*(?P<literal>\S.*?)\s*", re.DOTALL)
_SINGLE = re.compile(r"'(?:[^'\\]|\\['\\])*'", re.DOTALL)
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Step = Callable[[Iterable[Any]], list[Any]]


class PathFault(ValueError):
    """The text is no such path. The message says where and what would be right."""


def compile_path(text: str, steps_max: int = STEPS_MAX) -> Callable[[Event], bool]:
    """steps_max: what one evaluation may take (budget.py). Raises PathFault; what it returns raises TooCostly."""
    if len(text) > PATH_CHARS_MAX:
        raise PathFault(f"a path has at most {PATH_CHARS_MAX} characters")
    stripped = text.strip()
    if not stripped.startswith("$"):
        raise PathFault("at character 1: a path begins with $, as in $.total >= 100")
    steps: list[Step] = []
    at = 1
    while (segment := _SEGMENT.match(stripped, at)) is not None:
        steps.append(_step(segment))
        at = segment.end()
    test = _test(stripped, at)
    values_max = steps_max // STEPS_PER_VALUE

    def matches(event: Event) -> bool:
        root = json_of(event)
        if root is NOT_JSON:
            return False
        found: list[Any] = [root]
        looked_at = 0
        for step in steps:
            found = step(found)
            looked_at += len(found)
            if looked_at > values_max:
                raise TooCostly(f"its data has more than {values_max} values on the path")
        return test(found)

    return matches


def _step(segment: re.Match[str]) -> Step:
    if segment["any"] is not None:
        return _children
    if segment["index"] is not None:
        return _element(int(segment["index"]))
    quoted = segment["single"] if segment["single"] is not None else segment["double"]
    return _member(segment["name"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted))


def _children(found: Iterable[Any]) -> list[Any]:
    out: list[Any] = []
    for one in found:
        if isinstance(one, dict):
            out.extend(one.values())
        elif isinstance(one, list):
            out.extend(one)
    return out


def _element(index: int) -> Step:
    def element(found: Iterable[Any]) -> list[Any]:
        return [one[index] for one in found if isinstance(one, list) and -len(one) <= index < len(one)]

    return element


def _member(name: str) -> Step:
    def member(found: Iterable[Any]) -> list[Any]:
        return [one[name] for one in found if isinstance(one, dict) and name in one]

    return member


def _test(text: str, at: int) -> Callable[[list[Any]], bool]:
    if at == len(text):
        return bool
    comparison = _COMPARISON.fullmatch(text, at)
    if comparison is None:
        raise PathFault(
            f"at character {at + 1}: cannot read {text[at : at + 20]!r}; a path goes on with .name, ['name'], [0] or "
            "[*], and may end with == != < <= > >= and a value"
        )
    wanted = _literal(comparison["literal"], comparison.start("literal"))
    sign = comparison["sign"]
    if sign in ("==", "!="):
        same = sign == "=="
        return lambda found: any(_equal(one, wanted) is same for one in found)
    if isinstance(wanted, bool) or not isinstance(wanted, int | float | str):
        raise PathFault(f"at character {comparison.start('literal') + 1}: {sign} needs a number or a string")
    kinds, compare = (str,) if isinstance(wanted, str) else (int, float), _ORDER[sign]
    return lambda found: any(type(one) in kinds and compare(one, wanted) for one in found)


def _literal(text: str, at: int) -> Any:
    if _SINGLE.fullmatch(text) is not None:
        return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        value = NOT_JSON
    if value is NOT_JSON or isinstance(value, dict | list):
        raise PathFault(f"at character {at + 1}: {text[:20]!r} is no number, quoted string, true, false or null")
    return value


def _equal(one: Any, wanted: Any) -> bool:
    if isinstance(one, bool) or isinstance(wanted, bool):
        return one is wanted
    return bool(one == wanted)
