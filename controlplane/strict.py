"""JSON-shaped data → a typed object, with every unknown field, wrong type and missing field at once. Pure.

Path: manifest.py, api/ (fieldValidation=Strict|Warn|Ignore) → [strict] → structs of dataplane.resources.

msgspec stops at the first mistake; people want all of them. So the struct's type information is turned once into
checkers that walk the data, drop what cannot be used, and note why; msgspec then converts what is left.

`null` means absent, as in Kubernetes. A number without a fraction is an integer (YAML's `80.0`). Messages never
repeat a value: it may be a secret.

Source: design/ecosystem.md §1.6; reliability CP-01.
"""

import difflib
import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Literal, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from dataplane.resources.meta import Resource

R = TypeVar("R", bound=Resource)
FAULTS_MAX = 100  # of one object: nobody reads more, and suggestions cost time
_NAME_CHARS_MAX = 64  # a longer one is no typing mistake


class Fault(NamedTuple):
    """One mistake. `unknown` fields may be dropped (fieldValidation=Warn, Ignore), the other kinds may not."""

    path: str
    kind: Literal["unknown", "type", "missing"]
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        hint = f'; did you mean "{self.suggestion}"?' if self.suggestion else ""
        return f"{self.path}: {self.message}{hint}" if self.path else self.message + hint


def decode(struct: type[R], data: object) -> tuple[R | None, tuple[Fault, ...]]:
    """The object (unknown fields dropped) and every fault; None when a type is wrong or a field missing."""
    draft, faults = draft_of(struct, data)
    return (draft if all(fault.kind == "unknown" for fault in faults) else None), faults


def prepare(structs: Iterable[type[Resource]]) -> None:
    """Turn type information into checkers now, 10 ms for all kinds together, and not in the first write of each."""
    for struct in structs:
        decode(struct, {})


def draft_of(struct: type[R], data: object) -> tuple[R | None, tuple[Fault, ...]]:
    """Like decode, but what is wrong is left out of the object, so that the rest can be checked, too."""
    faults: list[Fault] = []
    clean = _checker(struct)(data, "", faults)
    try:
        return (msgspec.convert(clean, struct) if clean is not _DROP else None), tuple(faults)
    except (msgspec.ValidationError, RecursionError) as error:
        if not faults:
            faults.append(Fault("", "type", str(error)))
        return None, tuple(faults)


def unknown_fields(struct: type[Resource], data: object) -> list[tuple[str, str]]:
    """(path, suggestion or "") of every field that the kind does not have."""
    faults: list[Fault] = []
    _checker(struct)(data, "", faults)
    return [(fault.path, fault.suggestion) for fault in faults if fault.kind == "unknown"]


def close_to(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant, or ""."""
    if len(name) > _NAME_CHARS_MAX:
        return ""
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


_Checker = Callable[[object, str, list[Fault]], object]
_DROP = object()  # the value cannot be used


def _note(faults: list[Fault], path: str, kind: Literal["unknown", "type", "missing"], message: str) -> object:
    if len(faults) < FAULTS_MAX:
        faults.append(Fault(path, kind, message))
    return _DROP


@cache
def _checker(struct: type[msgspec.Struct]) -> _Checker:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return _of_struct(info)


def _build(kind: inspect.Type) -> _Checker:
    if isinstance(kind, inspect.StructType):
        return _checker(kind.cls)
    if isinstance(kind, inspect.VarTupleType):
        return _of_list(_build(kind.item_type))
    if isinstance(kind, inspect.DictType):
        return _of_dict(_build(kind.value_type), isinstance(kind.value_type, inspect.StrType))
    if isinstance(kind, inspect.UnionType):
        kinds = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
        return _build(kinds[0]) if len(kinds) == 1 else _of_scalars(kinds)
    if isinstance(kind, inspect.LiteralType):
        return _of_words(kind.values)
    if isinstance(kind, inspect.AnyType) or (isinstance(kind, inspect.CustomType) and kind.cls is object):
        return _as_written
    return _of_scalars([kind])


def _as_written(value: object, path: str, faults: list[Fault]) -> object:
    """Whatever JSON can say: YAML has numbers that it cannot."""
    waits = [(value, path)]
    while waits:
        one, where = waits.pop()
        if isinstance(one, dict):
            waits += [(inner, _member(where, str(name))) for name, inner in one.items()]
        elif isinstance(one, list | tuple):
            waits += [(inner, f"{where}[{index}]") for index, inner in enumerate(one)]
        elif isinstance(one, float) and not math.isfinite(one):
            return _note(faults, where, "type", "expected a number, got one that is infinite or none")
    return value


def _of_struct(info: inspect.StructType) -> _Checker:
    fields = {field.encode_name: _build(field.type) for field in info.fields}
    required = [field.encode_name for field in info.fields if field.required]

    def check(value: object, path: str, faults: list[Fault]) -> object:
        if not isinstance(value, dict):
            return _note(faults, path, "type", f"expected an object, got {_kind_of(value)}")
        clean: dict[str, object] = {}
        complete = True
        for name, inner in value.items():
            checker = fields.get(name)
            if checker is None:
                if len(faults) < FAULTS_MAX:
                    where = _member(path, name)
                    faults.append(Fault(where, "unknown", "unknown field", close_to(name, fields)))
            elif inner is not None:
                kept = checker(inner, f"{path}.{name}" if path else name, faults)
                if kept is not _DROP:
                    clean[name] = kept
                elif name in required:
                    complete = False
        for name in required:
            if value.get(name) is None:
                complete = False
                _note(faults, f"{path}.{name}" if path else name, "missing", "missing field")
        return clean if complete else _DROP

    return check


def _of_list(item: _Checker) -> _Checker:
    def check(value: object, path: str, faults: list[Fault]) -> object:
        if not isinstance(value, list | tuple):
            return _note(faults, path, "type", f"expected a list, got {_kind_of(value)}")
        kept = [item(one, f"{path}[{index}]", faults) for index, one in enumerate(value)]
        return [one for one in kept if one is not _DROP]

    return check


def _of_dict(item: _Checker, texts: bool) -> _Checker:
    def check(value: object, path: str, faults: list[Fault]) -> object:
        if not isinstance(value, dict):
            return _note(faults, path, "type", f"expected an object, got {_kind_of(value)}")
        clean: dict[str, object] = {}
        for key, inner in value.items():
            if inner is None and texts:
                clean[key] = ""  # what Go makes of null in a map of strings
                continue
            kept = item(inner, _member(path, key), faults)
            if kept is not _DROP:
                clean[key] = kept
        return clean

    return check


def _member(path: str, name: str) -> str:
    name = name if len(name) <= 300 else name[:300] + "…"
    return f"{path}.{name}" if path else name


def _of_words(words: tuple[object, ...]) -> _Checker:
    expected = "expected one of " + ", ".join(str(word) for word in words)

    def check(value: object, path: str, faults: list[Fault]) -> object:
        return value if value in words else _note(faults, path, "type", expected)

    return check


_SCALARS: dict[type[inspect.Type], tuple[str, str]] = {
    inspect.StrType: ("str", "a string"),
    inspect.IntType: ("int", "an integer"),
    inspect.FloatType: ("float", "a number"),
    inspect.BoolType: ("bool", "true or false"),
}


def _of_scalars(kinds: list[inspect.Type]) -> _Checker:
    names = {_SCALARS[type(kind)][0] for kind in kinds}
    expected = "expected " + " or ".join(_SCALARS[type(kind)][1] for kind in kinds)

    def check(value: object, path: str, faults: list[Fault]) -> object:
        if isinstance(value, str):
            if "str" in names:
                return value
        elif isinstance(value, bool):
            if "bool" in names:
                return value
        elif isinstance(value, int):
            if "int" in names and -(2**63) <= value < 2**63:
                return value
            if "float" in names:
                return float(value)
            if "int" in names:
                return _note(faults, path, "type", f"{expected} of 64 bits, got a larger one")
        elif isinstance(value, float) and math.isfinite(value):
            if "int" in names and value.is_integer() and abs(value) < 2**63:
                return int(value)
            if "float" in names:
                return value
        hint = ""
        if "str" in names and isinstance(value, bool | int | float):
            hint = "; put it in quotes"
        elif isinstance(value, str) and names <= {"int", "float", "bool"}:
            hint = "; write it without quotes" if _unquoted(value) else ""
        return _note(faults, path, "type", f"{expected}, got {_kind_of(value)}{hint}")

    return check


def _unquoted(text: str) -> bool:
    return text in ("true", "false") or (text.isascii() and text.lstrip("-").isdecimal())


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list | tuple) else "an object"
