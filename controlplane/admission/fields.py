"""Questions about the fields of a struct: which are set, what they are called on the wire, what differs. Pure.

Path: validate_*.py → [fields].
"""

import json
from collections.abc import Iterable, Iterator
from functools import cache

import msgspec

from dataplane.resources.meta import Model

_DIFFERENCES_MAX = 20  # of one message
_VALUE_CHARS_MAX = 200


@cache
def _fields(struct: type[Model]) -> dict[str, tuple[str, object]]:
    """attribute → (wire name, default)."""
    return {
        field.name: (field.encode_name, field.default_factory() if callable(field.default_factory) else field.default)
        for field in msgspec.structs.fields(struct)
    }


def set_fields(one: Model, attributes: Iterable[str] | None = None) -> Iterator[str]:
    """Wire names of those attributes (default: all) that hold something else than their default."""
    table = _fields(type(one))
    for attribute in table if attributes is None else attributes:
        name, default = table[attribute]
        if getattr(one, attribute) != default:
            yield name


def difference(old: Model, new: Model) -> str:
    """Zero-context text of what changed: a path, the old value (-) and the new one (+), for each changed leaf.

    Empty when nothing did.
    """
    lines: list[str] = []
    for path, before, after in _leaves("", msgspec.to_builtins(old), msgspec.to_builtins(new)):
        if len(lines) >= _DIFFERENCES_MAX:
            lines.append("…\n")
            break
        lines.append(f"{path}:\n\t-: {_shown(before)}\n\t+: {_shown(after)}\n")
    return "".join(lines)


_ABSENT = object()


def _leaves(path: str, old: object, new: object) -> Iterator[tuple[str, object, object]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _leaves(f"{path}.{key}" if path else key, old.get(key, _ABSENT), new.get(key, _ABSENT))
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple):
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else _ABSENT
            after = new[index] if index < len(new) else _ABSENT
            yield from _leaves(f"{path}[{index}]", before, after)
    elif old is _ABSENT or new is _ABSENT or old != new:
        yield path, old, new


def _shown(value: object) -> str:
    if value is _ABSENT:
        return "<absent>"
    result = json.dumps(value, ensure_ascii=False, default=str)
    return result if len(result) <= _VALUE_CHARS_MAX else result[:_VALUE_CHARS_MAX] + "…"
