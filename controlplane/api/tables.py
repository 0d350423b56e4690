"""What kubectl prints: objects as a Table with the columns of their kind, and durations as people read them. Pure.

Path: objects, watch → [tables] → the client that asked for `as=Table`.

The server fills the cells, so that every client shows the same columns.

Source: Kubernetes API concepts, "Receiving resources as Tables"; apimachinery duration.HumanDuration;
design/ecosystem.md §2.2.
"""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from dataplane.clock import parse_rfc3339
from dataplane.resources.kinds import Column, Kind, to_builtins
from dataplane.resources.meta import Resource

Form = Literal["object", "table", "metadata"]
Body = dict[str, Any]

_VERSION = "meta.k8s.io/v1"
_TYPES = {"age": "date"}


def form(accept: str) -> Form:
    """What the Accept header asks for first of what we have. Protobuf is passed over: JSON is always understood."""
    for part in accept.split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        if media not in ("application/json", "application/*", "*/*"):
            continue
        wanted = dict(p.partition("=")[::2] for p in parameters)
        kind = wanted.get("as", "")
        if not kind:
            return "object"
        if wanted.get("g") == "meta.k8s.io" and wanted.get("v") == "v1":
            if kind == "Table":
                return "table"
            if kind.startswith("PartialObjectMetadata"):
                return "metadata"
    return "object"


def table(
    kind: Kind, objects: Iterable[Resource], *, now: float, include: str = "", columns: bool = True,
    meta: Body | None = None,
) -> Body:  # fmt: skip
    """`now`: wall seconds, for ages. `include`: None, Metadata (also "") or Object: what goes with each row."""
    definitions = kind.columns if _names_itself(kind) else (Column("Name"), *kind.columns)
    return {
        "kind": "Table",
        "apiVersion": _VERSION,
        "metadata": meta or {},
        "columnDefinitions": [_definition(column) for column in definitions] if columns else [],
        "rows": [row(kind, one, now=now, include=include) for one in objects],
    }


def row(kind: Kind, one: Resource, *, now: float, include: str = "") -> Body:
    return {"cells": _cells(kind, one, now), **_beside(one, include)}


def partial(one: Resource) -> Body:
    """The metadata alone."""
    return {"kind": "PartialObjectMetadata", "apiVersion": _VERSION, "metadata": msgspec.to_builtins(one.metadata)}


def _beside(one: Resource, include: str) -> Body:
    if include == "None":
        return {}
    return {"object": to_builtins(one) if include == "Object" else partial(one)}


def _definition(column: Column) -> Body:
    return {
        "name": column.name,
        "type": _TYPES.get(column.type, column.type),
        "format": "name" if column.name == "Name" else "",
        "description": "",
        "priority": column.priority,
    }


def _cells(kind: Kind, one: Resource, now: float) -> list[object]:
    cells: list[object] = [] if _names_itself(kind) else [one.metadata.name]
    for column, cell in zip(kind.columns, kind.cells(one), strict=True):
        cells.append(_age(str(cell or one.metadata.creation_timestamp), now) if column.type == "age" else cell)
    return cells


def _names_itself(kind: Kind) -> bool:
    return any(column.name == "Name" for column in kind.columns)


def _age(timestamp: str, now: float) -> str:
    try:
        return duration(now - parse_rfc3339(timestamp))
    except ValueError:
        return "<unknown>"


def duration(seconds: float) -> str:
    """Two figures at most: `59s`, `2m5s`, `3h`, `2d1h`, `1y40d`."""
    if seconds <= -2:
        return "<invalid>"
    s = max(0, int(seconds))
    m, h, d = s // 60, s // 3600, s // 86400
    if s < 120:
        return f"{s}s"
    if m < 10:
        return _two(m, "m", s % 60, "s")
    if m < 180:
        return f"{m}m"
    if h < 8:
        return _two(h, "h", m % 60, "m")
    if h < 48:
        return f"{h}h"
    if h < 24 * 8:
        return _two(d, "d", h % 24, "h")
    if d < 365 * 2:
        return f"{d}d"
    if d < 365 * 8:
        return _two(d // 365, "y", d % 365, "d")
    return f"{d // 365}y"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"
