"""What is wrong with which field, in Knative's words and its way of merging them. Pure.

Path: validate_*.py → [fielderror] → api/ (HTTP 400, Warning headers), manifest.py (file:line:col).

Validators are generators of FieldError with paths relative to what they look at; the caller puts its own name before
them with `under`. Only the outside merges, sorts and prints.

Source: spec/serving.md §5.1, §5.2.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

Level = Literal["error", "warning"]


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """`paths` are dotted wire names; list indexes and map keys are glued on: `spec.traffic[1].tag`."""

    message: str
    paths: tuple[str, ...] = ("",)
    details: str = ""
    level: Level = "error"

    def __str__(self) -> str:
        first = f"{self.message}: {', '.join(self.paths)}"
        return f"{first}\n{self.details}" if self.details else first


def under(prefix: str, errors: Iterable[FieldError]) -> Iterator[FieldError]:
    """The same errors, seen from one level further out."""
    for error in errors:
        yield msgspec.structs.replace(error, paths=tuple(_join(prefix, path) for path in error.paths))


def _join(prefix: str, path: str) -> str:
    return prefix + path if not path or not prefix or path[0] == "[" else f"{prefix}.{path}"


def as_warnings(errors: Iterable[FieldError]) -> Iterator[FieldError]:
    for error in errors:
        yield msgspec.structs.replace(error, level="warning")


def merged(errors: Iterable[FieldError]) -> tuple[FieldError, ...]:
    """Equal (level, message, details) become one with the union of paths; sorted by message, details, level."""
    paths: dict[tuple[str, str, Level], set[str]] = {}
    for error in errors:
        paths.setdefault((error.message, error.details, error.level), set()).update(error.paths)
    return tuple(
        FieldError(message=message, paths=tuple(sorted(paths[message, details, level])), details=details, level=level)
        for message, details, level in sorted(paths)
    )


def text(errors: Iterable[FieldError]) -> str:
    """All of them, one per line (and one more for its details)."""
    return "\n".join(str(error) for error in merged(errors))


# The fixed shapes (§5.2). `path` "" = the thing itself.


def missing(*paths: str) -> FieldError:
    return FieldError(message="missing field(s)", paths=paths)


def disallowed(*paths: str) -> FieldError:
    return FieldError(message="must not set the field(s)", paths=paths)


def invalid(value: object, path: str, details: str = "") -> FieldError:
    return FieldError(message=f"invalid value: {shown(value)}", paths=(path,), details=details)


def invalid_key(key: str, path: str, details: str = "") -> FieldError:
    return FieldError(message=f'invalid key name "{shown(key)}"', paths=(path,), details=details)


def none_of(*paths: str) -> FieldError:
    return FieldError(message="expected exactly one, got neither", paths=paths)


def several_of(*paths: str) -> FieldError:
    return FieldError(message="expected exactly one, got both", paths=paths)


def out_of_bounds(value: object, low: object, high: object, path: str) -> FieldError:
    return FieldError(message=f"expected {low} <= {shown(value)} <= {high}", paths=(path,))


def other(message: str, *paths: str, details: str = "") -> FieldError:
    return FieldError(message=message, paths=paths or ("",), details=details)


_SHOWN_CHARS_MAX = 500


def shown(value: object) -> str:
    """Text for a message, of bounded length."""
    result = str(value)
    return result if len(result) <= _SHOWN_CHARS_MAX else result[:_SHOWN_CHARS_MAX] + "…"
