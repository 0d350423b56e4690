"""Typed values out of the string map of a ConfigMap. Pure.

Path: ConfigMap data → [config_data] → config_maps.py.

Each reader returns the default when the key is absent and raises ConfigFault naming the key when the text is bad.

Source: spec/serving.md §13.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar, get_args

import msgspec

from controlplane.go_text import (
    duration_ns,
    format_go_float,
    parse_go_bool,
    parse_go_float,
    parse_go_int,
    parse_quantity,
    quoted,
)
from controlplane.knative_settings import Selector
from controlplane.yaml_text import documents
from dataplane.errors import ConfigFault

V = TypeVar("V")
Data = Mapping[str, str]
_YAML_CHARS_MAX = 16 * 1024


def value(data: Data, key: str, default: V, parser: Callable[[str], V], *legacy: str) -> V:
    """The first spelling that is present wins: `key`, then the legacy ones."""
    for spelling in (key, *legacy):
        if spelling in data:
            try:
                return parser(data[spelling])
            except (ValueError, OverflowError) as error:
                raise ConfigFault(f"failed to parse {quoted(spelling)}: {error}") from None
    return default


def text(data: Data, key: str, default: str, *legacy: str) -> str:
    return value(data, key, default, str, *legacy)


def integer(data: Data, key: str, default: int, bits: int = 64) -> int:
    return value(data, key, default, lambda text: parse_go_int(text.strip(), bits))


def number(data: Data, key: str, default: float) -> float:
    return value(data, key, default, lambda text: parse_go_float(text.strip()))


def boolean(data: Data, key: str, default: bool, *legacy: str) -> bool:
    return value(data, key, default, lambda text: parse_go_bool(text.strip()), *legacy)


def seconds(data: Data, key: str, default_s: float, *legacy: str) -> float:
    return value(data, key, default_s, lambda text: duration_ns(text.strip()) / 1e9, *legacy)


def quantity(data: Data, key: str, default: str = "", *legacy: str) -> str:
    def checked(text: str) -> str:
        if text:
            parse_quantity(text)
        return text

    return value(data, key, default, lambda text: checked(text.strip()), *legacy)


def strings(data: Data, key: str, default: frozenset[str], *legacy: str) -> frozenset[str]:
    return value(data, key, default, lambda text: frozenset(item.strip() for item in text.split(",")), *legacy)


def choice(data: Data, key: str, default: V, kind: type[msgspec.Struct], field: str, *legacy: str) -> V:
    """One of the words of a Literal field, whatever its case."""
    words: tuple[V, ...] = get_args(kind.__annotations__[field])

    def one(text: str) -> V:
        for word in words:
            if str(word).lower() == text.strip().lower():
                return word
        raise ValueError(f"unsupported value {quoted(text)}, expected one of {', '.join(map(str, words))}")

    return value(data, key, default, one, *legacy)


def require(holds: bool, reason: str) -> None:
    if not holds:
        raise ConfigFault(reason)


def whole(seconds: float) -> bool:
    return seconds == int(seconds)


def shown(value: float) -> str:
    return format_go_float(value) if abs(value) < float("inf") else str(value)


def mapping(text: str, key: str) -> dict[str, object]:
    """A small YAML mapping inside a value. Raises ConfigFault."""
    require(len(text) <= _YAML_CHARS_MAX, f"{key} cannot be parsed: longer than {_YAML_CHARS_MAX} characters")
    found, faults = documents(text)
    if faults:
        raise ConfigFault(f"{key} cannot be parsed, please check the format: {faults[0].message}")
    value = found[0].value if found else None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigFault(f"{key} must be a YAML mapping")
    return value


def selector(value: object, name: str) -> Selector:
    require(value is None or isinstance(value, dict), f"{name} must be a YAML mapping with a selector")
    labels = value.get("selector") if isinstance(value, dict) else None
    require(
        labels is None or (isinstance(labels, dict) and all(isinstance(v, str) for v in labels.values())),
        f"{name} selector must map labels to strings",
    )
    return Selector(labels=dict(labels or {}))
