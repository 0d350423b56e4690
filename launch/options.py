"""Options that several commands share, and completion of names from the running instance."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])

DATA_DEFAULT = ".dataplane"
_SECONDS_MAX = 1e8  # what every clock and socket takes


def data_option(command: F) -> F:
    """--data DIR → `data: Path`."""
    return click.option(
        "--data",
        metavar="DIR",
        default=data_default,
        type=click.Path(path_type=Path),
        help="Directory of the instance (default: DATAPLANE_DATA, else ./.dataplane).",
    )(command)


def data_default() -> str:
    """`dataplane --data DIR …`, then DATAPLANE_DATA, then ./.dataplane."""
    context = click.get_current_context(silent=True)
    given = context.find_root().params.get("data") if context is not None else None
    return str(given) if given else os.environ.get("DATAPLANE_DATA") or DATA_DEFAULT


def namespace_option(command: F) -> F:
    """-n NS → `namespace: str`."""
    return click.option("-n", "--namespace", default="default", metavar="NS", help="Namespace (default: default).")(
        command
    )


def seconds(text: str) -> float:
    """`30`, `30s`, `5m`, `1h30m`, `250ms` → seconds. Raises click.BadParameter."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
    total, number, rest = 0.0, "", text.strip().lower()
    if not rest:
        raise click.BadParameter("expected a duration such as 30s or 5m")
    while rest:
        number = ""
        while rest and (rest[0].isdigit() or rest[0] == "."):
            number, rest = number + rest[0], rest[1:]
        unit = ""
        while rest and rest[0].isalpha():
            unit, rest = unit + rest[0], rest[1:]
        try:
            total += float(number) * units[unit]
        except (ValueError, KeyError):
            raise click.BadParameter(f"{text!r} is not a duration such as 30s or 5m") from None
    if total > _SECONDS_MAX:
        raise click.BadParameter(f"{text!r} is more than three years")
    return total


class Seconds(click.ParamType[float]):
    """A duration; the value is seconds as a float. zero: whether it may be nothing."""

    name = "duration"

    def __init__(self, *, zero: bool = True) -> None:
        self._zero = zero

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = float(value) if isinstance(value, int | float) else seconds(str(value))
        if not found and not self._zero:
            raise click.BadParameter("it must be longer than nothing")
        return found


def complete_services(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of Services in the namespace."""
    return [CompletionItem(name) for name in _names(ctx, "ksvc") if name.startswith(incomplete)]


def complete_targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`ksvc` → kinds; `ksvc/he` → names; after a kind, its names."""
    from dataplane.resources.kinds import KINDS

    words = ctx.params.get(param.name or "") or ()
    if "/" in incomplete:
        kind, _, start = incomplete.partition("/")
        return [CompletionItem(f"{kind}/{name}") for name in _names(ctx, kind) if name.startswith(start)]
    if words and "/" not in words[0]:
        return [CompletionItem(name) for name in _names(ctx, words[0]) if name.startswith(incomplete)]
    known = {word for kind in KINDS for word in (kind.plural, *kind.short_names[:2])} | {"all", "knative"}
    return [CompletionItem(word) for word in sorted(known) if word.startswith(incomplete)]


def _names(ctx: click.Context, word: str) -> list[str]:
    """Empty when there is no instance or no such kind: completion never complains."""
    from launch.client import Client, path_of
    from launch.instance import Failure, find
    from launch.names import kind_named

    data = Path(ctx.params.get("data") or data_default())
    try:
        client = Client(find(data), answer_s=1.0)
        body = client.get(path_of(kind_named(word), ctx.params.get("namespace") or "default"))
        return [item["metadata"]["name"] for item in body.get("items", [])]
    except (Failure, KeyError):
        return []
