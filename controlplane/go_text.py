"""Text forms that Knative inherits from Go: durations, booleans, numbers, quantities and a subset of templates. Pure.

Path: ConfigMap data, annotations → [go_text] → knative_config.py, admission/.

Every parser raises ValueError with Go's own wording, so that an error here reads as it reads in Knative.

Source: Go package documentation of time.ParseDuration, strconv and text/template; Kubernetes resource.Quantity.
"""

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple

from dataplane.errors import ConfigFault

_UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_STEP = re.compile(r"(\d*)(?:\.(\d*))?([^\d.]*)", re.ASCII)
_DURATION_MAX_NS = 2**63 - 1
_DURATION_CHARS_MAX = 128  # Go has no bound; nobody writes a longer one and integer arithmetic stays cheap


def parse_go_duration(text: str) -> float:
    """Seconds: `1m30s`, `250ms`, `-1.5h`, `0`. Raises ValueError as Go words it."""
    return duration_ns(text) / 1e9


def duration_ns(text: str) -> int:
    """The same in whole nanoseconds, for precision checks. Raises ValueError."""
    invalid = ValueError(f"time: invalid duration {quoted(text)}")
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return 0
    if not body or len(text) > _DURATION_CHARS_MAX:
        raise invalid
    total, at = 0, 0
    while at < len(body):
        step = _STEP.match(body, at)
        assert step is not None  # every part of the pattern is optional
        whole, fraction, unit = step.group(1), step.group(2) or "", step.group(3)
        if not whole and not fraction:
            raise invalid
        if not unit:
            raise ValueError(f"time: missing unit in duration {quoted(text)}")
        scale = _UNITS_NS.get(unit)
        if scale is None:
            raise ValueError(f"time: unknown unit {quoted(unit)} in duration {quoted(text)}")
        total += int(whole or "0") * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)
        if total > _DURATION_MAX_NS:
            raise invalid
        at = step.end()
    return -total if text[0] == "-" else total


def format_go_duration(seconds: float) -> str:
    """What Go prints: `1h0m0s`, `1m30s`, `1.5s`, `250ms`, `0s`."""
    ns = round(seconds * 1e9)
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    if ns == 0:
        return "0s"
    for unit, scale in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if ns < scale * 1000:
            return f"{sign}{_decimal(ns, scale)}{unit}"
    minutes, rest = divmod(ns, 60 * 10**9)
    hours, minutes_left = divmod(minutes, 60)
    tail = f"{_decimal(rest, 10**9)}s"
    if hours:
        return f"{sign}{hours}h{minutes_left}m{tail}"
    return f"{sign}{minutes}m{tail}" if minutes else sign + tail


def _decimal(value: int, scale: int) -> str:
    whole, rest = divmod(value, scale)
    digits = f"{rest:0{len(str(scale)) - 1}d}".rstrip("0") if scale > 1 else ""
    return f"{whole}.{digits}" if digits else str(whole)


_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_INTEGER = re.compile(r"[-+]?\d{1,40}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?|[-+]?(inf|infinity)|nan", re.ASCII | re.IGNORECASE)


def parse_go_bool(text: str) -> bool:
    """Raises ValueError."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"strconv.ParseBool: parsing {quoted(text)}: invalid syntax")


def parse_go_int(text: str, bits: int = 64) -> int:
    """Decimal, signed. Raises OverflowError when it does not fit in `bits`, ValueError when it is no integer."""
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"strconv.ParseInt: parsing {quoted(text)}: invalid syntax")
    value = int(text)
    if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        raise OverflowError(f"strconv.ParseInt: parsing {quoted(text)}: value out of range")
    return value


def parse_go_float(text: str) -> float:
    """Raises ValueError. `NaN` and `Inf` parse, as in Go: who calls checks the range."""
    if len(text) > 400 or not _FLOAT.fullmatch(text):
        raise ValueError(f"strconv.ParseFloat: parsing {quoted(text)}: invalid syntax")
    return float(text)


def format_go_float(value: float) -> str:
    """What Go's %v prints: `0.7`, `100`, `1e+21`."""
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    return repr(value)


def quoted(text: str) -> str:
    """Go's %q, near enough for messages; long values are cut."""
    if len(text) > 200:
        text = text[:200] + "…"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped.replace(chr(9), chr(92) + "t")}"'


QUANTITY_HELP = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"  # Kubernetes' words
)
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,3}))?", re.ASCII)
_SUFFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)}


def parse_quantity(value: str | float) -> float:
    """`100m` → 0.1, `64Mi` → 67108864.0; numbers stand for themselves. Raises ValueError."""
    if not isinstance(value, str):
        return float(value)
    found = _QUANTITY.fullmatch(value) if len(value) <= 64 else None
    if not found:
        raise ValueError(QUANTITY_HELP)
    number, suffix, exponent = found.groups()
    if suffix:
        return float(number) * (_BINARY.get(suffix) or _SUFFIXES[suffix])
    return float(number) * 10.0 ** int(exponent or 0)


class Part(NamedTuple):
    """One piece of a template: literal text, or a field, or an entry of a map field."""

    literal: str = ""
    field: str = ""
    key: str = ""


TEMPLATE_CHARS_MAX = 1024
_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_FIELD = re.compile(r"\.([A-Z]\w*)(?:\.(\w+))?", re.ASCII)
_INDEX = re.compile(r'index\s+\.([A-Z]\w*)\s+(?:"([^"\\]*)"|`([^`]*)`)', re.ASCII)


@functools.lru_cache(maxsize=256)  # a Route asks once per host: 45 µs each otherwise
def parse_template(text: str, fields: frozenset[str], maps: frozenset[str] = frozenset()) -> tuple[Part, ...]:
    """Literals, `{{.Field}}`, `{{.Map.key}}` and `{{index .Map "key"}}`. Raises ConfigFault on anything else.

    Args:
        fields: names that are text.
        maps: names that are maps of text.
    """
    if len(text) > TEMPLATE_CHARS_MAX:
        raise ConfigFault(f"template is longer than {TEMPLATE_CHARS_MAX} characters")
    parts: list[Part] = []
    at = 0
    for action in _ACTION.finditer(text):
        parts.append(Part(literal=_literal(text[at : action.start()])))
        parts.append(_action(action.group(1), fields, maps))
        at = action.end()
    parts.append(Part(literal=_literal(text[at:])))
    return tuple(part for part in parts if part != Part())


def _literal(text: str) -> str:
    if "{{" in text:
        raise ConfigFault(f"unclosed action in template at {quoted(text)}")
    return text


def _action(action: str, fields: frozenset[str], maps: frozenset[str]) -> Part:
    names = ", ".join("{{." + name + "}}" for name in sorted(fields))
    found = _FIELD.fullmatch(action)
    if found and (found.group(1) in fields and not found.group(2)):
        return Part(field=found.group(1))
    if found and found.group(1) in maps and found.group(2):
        return Part(field=found.group(1), key=found.group(2))
    indexed = _INDEX.fullmatch(action)
    if indexed and indexed.group(1) in maps:
        return Part(field=indexed.group(1), key=indexed.group(2) or indexed.group(3) or "")
    also = "".join(f', {{{{.{name}.key}}}} and {{{{index .{name} "key"}}}}' for name in sorted(maps))
    raise ConfigFault(f"template action {quoted(action)} is not supported here; there are {names}{also}")


def render(parts: tuple[Part, ...], values: Mapping[str, str | Mapping[str, str]]) -> str:
    """A missing map entry is empty, as in Go."""
    out: list[str] = []
    for part in parts:
        value = values[part.field] if part.field else part.literal
        out.append(value if isinstance(value, str) else value.get(part.key, ""))
    return "".join(out)
