"""Filters of a trigger: dialect objects → one predicate, what every match has in common, or what is wrong with them.

Path: admission (mistakes), broker/service.py (compile_filters) → [filters] → attributes, cesql/, bodypath, cel.

    exact, prefix, suffix   {attribute: text, …}: all of them; an event without the attribute does not match
    all, any                a list of filters, at least one
    not                     one filter
    cesql (also sql)        an expression: Boolean true without an error matches
    jsonpath                looks into JSON data: bodypath.py. Ours, not Knative's
    cel                     looks into JSON data: cel.py. Ours, not Knative's
    attributes              spec.filter.attributes: like exact, "" = must be there. Only in snapshots

Closed: what cannot be read is refused, at admission and here, and never matches everything. Knative's own brokers skip
a broken member or let it pass (spec §8.6). Our two dialects stand beside Knative's under names it does not use: a
Knative cluster refuses them; its clients that drop unknown fields send `{}` back, which is refused here.

Source: spec/eventing.md §8; CloudEvents Subscriptions API, "Filter dialects".
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dataplane.policy.attributes import compare
from dataplane.policy.bodypath import PathFault, compile_path
from dataplane.policy.budget import STEPS_MAX
from dataplane.policy.cel import CelFault, compile_cel
from dataplane.policy.cesql.compile import compile_expression
from dataplane.policy.cesql.lex import ParseFault
from dataplane.wire.cloudevents import Event

DEPTH_MAX = 32
FILTERS_MAX = 1000  # in one trigger, nested ones too

_EXPRESSIONS = ("cesql", "sql", "jsonpath", "cel")
DIALECTS = ("exact", "prefix", "suffix", "all", "any", "not", "cesql", "sql", "jsonpath", "cel")

Predicate = Callable[[Event], bool]
Interest = tuple[str, str] | None

_NAME = re.compile(r"[a-z][a-z0-9]*")
_NAME_RULE = "Attribute name must start with a letter and can only contain lowercase alphanumeric"
_INDEXED = ("type", "source")


class FilterFault(ValueError):
    """Filters that cannot be compiled. The message says which field, and what would be right."""


class Mistake(NamedTuple):
    """`path` as in field paths of admission: `spec.filters[0].all[1].exact`. `details`: what would be right."""

    path: str
    message: str
    details: str = ""


class Filter:
    """Compiled.

    matches(event): pure. Raises TooCostly (budget.py): then it does not match, whatever stands around what costs that.
    interest: (attribute, value) that every match has, of `type` and `source` only; None when it cannot be told.
    warnings: what may not be meant (CESQL, cesql/lint.py), as (path, sentence).
    """

    __slots__ = ("interest", "matches", "warnings")

    def __init__(self, matches: Predicate, interest: Interest, warnings: tuple[tuple[str, str], ...] = ()) -> None:
        self.matches = matches
        self.interest = interest
        self.warnings = warnings


def compile_filters(filters: Sequence[Mapping[str, object]], path: str = "filters") -> Filter:
    """All of `filters` must match; none = every event. Raises FilterFault."""
    reader = _Reader()
    parts = reader.read(filters, path)
    if reader.mistakes:
        raise FilterFault(
            "\n".join(f"{m.message}: {m.path}{m.details and ' (' + m.details + ')'}" for m in reader.mistakes)
        )
    matches, interest = _all(parts)
    return Filter(matches, interest, tuple(reader.warnings))


def mistakes(filters: Sequence[object], path: str) -> list[Mistake]:
    """What is wrong with what a user wrote in spec.filters; empty = it can be compiled."""
    reader = _Reader(written=True)
    reader.read(filters, path)
    return reader.mistakes


def attribute_mistakes(attributes: Mapping[str, str], path: str) -> list[Mistake]:
    """What is wrong with spec.filter.attributes."""
    return [Mistake(path, f'invalid key name "{name}"', _NAME_RULE) for name in attributes if not _NAME.fullmatch(name)]


def warnings(filters: Sequence[Mapping[str, object]], path: str) -> tuple[tuple[str, str], ...]:
    """(path, sentence) about filters without mistakes."""
    return compile_filters(filters, path).warnings


class _Part(NamedTuple):
    matches: Predicate
    interest: Interest


_NEVER = _Part(lambda event: False, None)  # stands for what could not be read; the mistake is on the list


class _Reader:
    """Reads nested filters, collecting what is wrong. `written`: by a user, so without what only snapshots have."""

    def __init__(self, *, written: bool = False) -> None:
        self.mistakes: list[Mistake] = []
        self.warnings: list[tuple[str, str]] = []
        self._written = written
        self._count = 0
        self._steps_max = STEPS_MAX

    def _wrong(self, path: str, message: str, details: str = "") -> _Part:
        self.mistakes.append(Mistake(path, message, details))
        return _NEVER

    def read(self, filters: object, path: str) -> list[_Part]:
        self._steps_max = STEPS_MAX // max(1, _expressions(filters))
        return self.several(filters, path, 0)

    def several(self, filters: object, path: str, depth: int) -> list[_Part]:
        if isinstance(filters, str) or not isinstance(filters, Sequence):
            return [self._wrong(path, f"invalid value: {_shown(filters)}", "a list of filters is needed")]
        return [self.one(each, f"{path}[{index}]", depth) for index, each in enumerate(filters)]

    def one(self, filter_: object, path: str, depth: int) -> _Part:
        self._count += 1
        if self._count == FILTERS_MAX + 1:
            self._wrong(path, f"more than {FILTERS_MAX} filters")
        if self._count > FILTERS_MAX or depth > DEPTH_MAX:
            return _NEVER if depth <= DEPTH_MAX else self._wrong(path, f"filters nested more than {DEPTH_MAX} deep")
        if not isinstance(filter_, Mapping):
            return self._wrong(path, f"invalid value: {_shown(filter_)}", f"a filter is an object with {_ONE_OF}")
        if not filter_:
            return self._wrong(path, "invalid value: {}", f"an empty filter would match nothing; set {_ONE_OF}")
        known = DIALECTS if self._written else (*DIALECTS, "attributes")
        unknown = [name for name in filter_ if name not in known]
        if unknown:
            return self._wrong(f"{path}.{unknown[0]}", f'unknown filter dialect "{unknown[0]}"', f"there is {_ONE_OF}")
        if len(filter_) > 1:
            return self._wrong(path, "multiple dialects found, filters can have only one dialect set")
        ((dialect, value),) = filter_.items()
        return self._dialect(dialect, value, f"{path}.{dialect}", depth)

    def _dialect(self, dialect: str, value: object, path: str, depth: int) -> _Part:
        match dialect:
            case "exact" | "prefix" | "suffix" | "attributes":
                return self._attributes(dialect, value, path)
            case "all" | "any":
                parts = self.several(value, path, depth + 1)
                if not parts:
                    return self._wrong(path, "invalid value: []", f"{dialect} needs at least one filter")
                return _all(parts) if dialect == "all" else _any(parts)
            case "not":
                negated = self.one(value, path, depth + 1).matches
                return _Part(lambda event: not negated(event), None)
            case _:
                return self._text(dialect, value, path)

    def _attributes(self, dialect: str, value: object, path: str) -> _Part:
        if not isinstance(value, Mapping):
            return self._wrong(path, f"invalid value: {_shown(value)}", f"{dialect} needs attribute names and texts")
        if not value and dialect != "attributes":
            return self._wrong(path, "invalid value: {}", f"{dialect} needs at least one attribute")
        parts: list[_Part] = []
        for name, wanted in value.items():
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                parts.append(self._wrong(path, f'invalid key name "{_shown(name)}"', _NAME_RULE))
            elif not isinstance(wanted, str):
                parts.append(
                    self._wrong(f"{path}.{name}", f"invalid value: {_shown(wanted)}", "a text is needed: quote it")
                )
            elif not wanted and dialect != "attributes":
                parts.append(
                    self._wrong(f"{path}.{name}", 'invalid value: ""', "a text of at least one character is needed")
                )
            else:
                indexed = name in _INDEXED and bool(wanted) and dialect in ("exact", "attributes")
                parts.append(_Part(compare(dialect, name, wanted), (name, wanted) if indexed else None))
        return _all(parts)

    def _text(self, dialect: str, value: object, path: str) -> _Part:
        if not isinstance(value, str):
            return self._wrong(path, f"invalid value: {_shown(value)}", f"{dialect} needs a text")
        if not value.strip():
            return self._wrong(path, 'invalid value: ""', f"{dialect} needs an expression")
        try:
            if dialect == "jsonpath":
                return _Part(compile_path(value, self._steps_max), None)
            if dialect == "cel":
                return _Part(compile_cel(value, self._steps_max), None)
            expression = compile_expression(value, self._steps_max)
        except (ParseFault, PathFault, CelFault) as fault:
            return self._wrong(path, f"invalid value: {_shown(value)}", str(fault))
        self.warnings += [(path, sentence) for sentence in expression.warnings]
        return _Part(expression.matches, expression.interest)


def _expressions(filters: object) -> int:
    """How many there are that have to share the budget."""
    waiting, found = [filters], 0
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            found += sum(name in _EXPRESSIONS for name in one)
            waiting.extend(one.values())
        elif isinstance(one, Sequence) and not isinstance(one, str):
            waiting.extend(one)
    return found


_ONE_OF = "one of " + ", ".join(DIALECTS)


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "…"


def _all(parts: Sequence[_Part]) -> _Part:
    interest = next((part.interest for part in parts if part.interest is not None), None)
    match [part.matches for part in parts]:
        case []:
            return _Part(lambda event: True, None)
        case [only]:
            return _Part(only, interest)
        case [one, other]:
            return _Part(lambda event: one(event) and other(event), interest)
        case members:
            return _Part(lambda event: all(member(event) for member in members), interest)


def _any(parts: Sequence[_Part]) -> _Part:
    members = [part.matches for part in parts]
    common = {part.interest for part in parts}
    interest = common.pop() if len(common) == 1 else None
    return _Part(lambda event: any(member(event) for member in members), interest)
