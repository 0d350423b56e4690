"""Columns, ages and colours of the terminal, the way kubectl and kn print them. Pure, but for the question of colour.

Source: design/ecosystem.md §1.7 (a tab writer is 300 times faster than a table library).
"""

import os
import sys
from collections.abc import Iterable, Sequence

GREEN, RED, YELLOW, DIM, BOLD = "32", "31", "33", "2", "1"
PALETTE = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")


def aligned(rows: Iterable[Sequence[str]], *, gap: int = 3, indent: str = "") -> list[str]:
    """Rows of cells as lines; every column as wide as its widest cell, no blanks at a line's end."""
    table = [list(row) for row in rows]
    widths = widened([], table)
    return [line_of(row, widths, gap=gap, indent=indent) for row in table]


def widened(widths: Sequence[int], rows: Iterable[Sequence[str]]) -> list[int]:
    """`widths`, grown where a cell needs it."""
    out = list(widths)
    for row in rows:
        out += [0] * (len(row) - len(out))
        for n, cell in enumerate(row):
            out[n] = max(out[n], len(cell))
    return out


def line_of(row: Sequence[str], widths: Sequence[int], *, gap: int = 3, indent: str = "") -> str:
    cells = [cell.ljust(width + gap) for cell, width in zip(row, widths, strict=False)]
    return (indent + "".join(cells)).rstrip()


def age(seconds: float) -> str:
    """kubectl's HumanDuration: 45s, 3m20s, 12m, 3h5m, 30h, 5d2h, 40d, 3y."""
    s = max(0, int(seconds))
    m, h, d = s // 60, s // 3600, s // 86400
    if s < 120:
        return f"{s}s"
    if m < 10:
        return f"{m}m{s % 60}s" if s % 60 else f"{m}m"
    if m < 180:
        return f"{m}m"
    if h < 8:
        return f"{h}h{m % 60}m" if m % 60 else f"{h}h"
    if h < 48:
        return f"{h}h"
    if d < 8:
        return f"{d}d{h % 24}h" if h % 24 else f"{d}d"
    if d < 730:
        return f"{d}d"
    return f"{d // 365}y"


def colourful(stream: object = None) -> bool:
    """NO_COLOR wins, then FORCE_COLOR, then whether the stream is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    out = stream if stream is not None else sys.stdout
    isatty = getattr(out, "isatty", None)
    return bool(isatty and isatty())


def painted(text: str, code: str, *, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour and text else text


def bar(percent: int, width: int = 10) -> str:
    """`████░░░░░░`; a share that is not nothing shows at least one block."""
    full = round(percent * width / 100)
    full = min(width, max(1 if percent > 0 else 0, full))
    return "█" * full + "░" * (width - full)
