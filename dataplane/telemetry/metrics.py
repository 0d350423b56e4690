"""Numbers kept on the hot path as plain cells, rendered as Prometheus text when somebody asks.

A cell is one attribute, `cell.v += 1`, and its line of text is kept ready (figures: docs/decisions/0005).
prometheus_client's parser checks the text in tests.

A registry is passed in, never global; `drop(**labels)` removes the series of what no longer exists.

Source: design/ecosystem.md §1.12, §3.1 (names); Prometheus text format 0.0.4.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import Literal

SERIES_MAX = 20_000  # per family; beyond it new label sets share one overflow cell, so hostile labels cost nothing
DURATION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class Cell:
    """A counter or gauge value: add to `v` or set it."""

    __slots__ = ("v",)

    def __init__(self) -> None:
        self.v: float = 0


class HistogramCell:
    """Counts per bucket; `observe` is two list operations."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self.counts)


class _Family:
    type: Literal["counter", "gauge", "histogram"]

    def __init__(self, name: str, help_: str, labels: tuple[str, ...]) -> None:
        self.name, self.help, self.labels = name, help_, labels

    def _prefix(self, values: tuple[str, ...]) -> str:
        return ",".join(f'{k}="{_escaped(v)}"' for k, v in zip(self.labels, values, strict=True))


class Family(_Family):
    """A counter or gauge with labels. `cell(...)` returns the same Cell for the same values: keep it."""

    def __init__(self, type_: Literal["counter", "gauge"], name: str, help_: str, labels: tuple[str, ...]) -> None:
        super().__init__(name, help_, labels)
        self.type = type_
        self._cells: dict[tuple[str, ...], tuple[Cell, str]] = {}
        self._overflow = Cell()

    def cell(self, *values: str) -> Cell:
        found = self._cells.get(values)
        if found is not None:
            return found[0]
        if len(self._cells) >= SERIES_MAX:
            return self._overflow
        prefix = self._prefix(values)
        cell = Cell()
        self._cells[values] = (cell, f"{self.name}{{{prefix}}} " if prefix else f"{self.name} ")
        return cell

    def forget(self, *values: str) -> None:
        """Remove one series."""
        self._cells.pop(values, None)

    def drop(self, wanted: dict[str, str]) -> None:
        self._cells = {v: c for v, c in self._cells.items() if not _matches(self.labels, v, wanted)}

    def render(self, out: list[str]) -> None:
        for cell, prefix in self._cells.values():
            out.append(f"{prefix}{_number(cell.v)}\n")


class HistogramFamily(_Family):
    type = "histogram"

    def __init__(self, name: str, help_: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> None:
        super().__init__(name, help_, labels)
        self.buckets = buckets
        self._cells: dict[tuple[str, ...], tuple[HistogramCell, list[str]]] = {}
        self._overflow = HistogramCell(buckets)

    def cell(self, *values: str) -> HistogramCell:
        found = self._cells.get(values)
        if found is not None:
            return found[0]
        if len(self._cells) >= SERIES_MAX:
            return self._overflow
        prefix = self._prefix(values)
        comma = "," if prefix else ""
        bounds = [*(_number(b) for b in self.buckets), "+Inf"]
        lines = [f'{self.name}_bucket{{{prefix}{comma}le="{bound}"}} ' for bound in bounds]
        tail = f"{{{prefix}}} " if prefix else " "
        cell = HistogramCell(self.buckets)
        self._cells[values] = (cell, [*lines, f"{self.name}_sum{tail}", f"{self.name}_count{tail}"])
        return cell

    def forget(self, *values: str) -> None:
        """Remove one series."""
        self._cells.pop(values, None)

    def drop(self, wanted: dict[str, str]) -> None:
        self._cells = {v: c for v, c in self._cells.items() if not _matches(self.labels, v, wanted)}

    def render(self, out: list[str]) -> None:
        for cell, lines in self._cells.values():
            total = 0
            for line, count in zip(lines, cell.counts, strict=False):
                total += count
                out.append(f"{line}{total}\n")
            out.append(f"{lines[-2]}{_number(cell.sum)}\n")
            out.append(f"{lines[-1]}{total}\n")


class Registry:
    """All families of one process. Asking twice for a name gives the same family."""

    def __init__(self) -> None:
        self._families: dict[str, Family | HistogramFamily] = {}
        self._before: list[Callable[[], None]] = []

    def counter(self, name: str, help_: str, labels: tuple[str, ...] = ()) -> Family:
        return self._simple("counter", name, help_, labels)

    def gauge(self, name: str, help_: str, labels: tuple[str, ...] = ()) -> Family:
        return self._simple("gauge", name, help_, labels)

    def histogram(
        self, name: str, help_: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = DURATION_BUCKETS_S
    ) -> HistogramFamily:
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = HistogramFamily(name, help_, labels, buckets)
        assert isinstance(family, HistogramFamily)
        assert family.labels == labels
        return family

    def before_render(self, refresh: Callable[[], None]) -> None:
        """Call `refresh` before each rendering: for gauges that are cheaper to read than to keep."""
        self._before.append(refresh)

    def drop(self, **labels: str) -> None:
        """Remove every series that carries all these labels (a revision was deleted)."""
        for family in self._families.values():
            family.drop(labels)

    def render(self) -> str:
        """Prometheus text format 0.0.4."""
        for refresh in self._before:
            refresh()
        out: list[str] = []
        for family in self._families.values():
            out.append(f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.type}\n")
            family.render(out)
        return "".join(out)

    def _simple(self, type_: Literal["counter", "gauge"], name: str, help_: str, labels: tuple[str, ...]) -> Family:
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = Family(type_, name, help_, labels)
        assert isinstance(family, Family)
        assert (family.type, family.labels) == (type_, labels)
        return family


def _matches(labels: tuple[str, ...], values: tuple[str, ...], wanted: dict[str, str]) -> bool:
    have = dict(zip(labels, values, strict=True))
    return all(have.get(k) == v for k, v in wanted.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
