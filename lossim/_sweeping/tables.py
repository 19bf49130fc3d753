"""The answers of a sweep as they are printed: by cell where there are few, else in how many cells they are which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._support.text import Columns, decimals

if TYPE_CHECKING:
    from lossim._sweeping.result import Sweep

__all__ = ["listed", "numbers_of"]

MOST_ROWS, MOST_COLUMNS = 12, 8
"""Values of an axis that are printed; of more rows the first and the last."""


def listed(values: Sequence[Any]) -> str:
    """Values of an axis in words."""
    shown = [f"{value:g}" if isinstance(value, (int, float)) else str(value) for value in values]
    if len(shown) <= 6:
        return ", ".join(shown)
    return f"{', '.join(shown[:3])}, ... {shown[-1]} ({len(shown):,})"


def numbers_of(result: Sweep) -> list[str]:
    """One axis as rows, two small ones as rows and columns, all others one by one."""
    sizes = [len(values) for values in result.axes.values()]
    if len(sizes) == 1 and sizes[0] <= MOST_ROWS:
        return _rows(result)
    if len(sizes) == 2 and sizes[0] <= MOST_ROWS and sizes[1] <= MOST_COLUMNS:
        return _grid(result)
    return _along_axes(result)


def _rows(result: Sweep) -> list[str]:
    """The answer at each value, with its range over what is not known."""
    (name, values), = result.axes.items()
    table = Columns("<26", ">12", "<28", "<")
    unit = result.unit or result.answer
    lines = [table.row(name, "", "", "") + f": {unit}"]
    for at, value in enumerate(values):
        low, high = result.low[at], result.high[at]
        inside = "" if np.isnan(low) or low == high else f"  ({low:+.4g} to {high:+.4g})"
        lines.append(table.row(f"  {listed([value])}", _said(result, (at,), 1), inside, ""))
    return lines


def _grid(result: Sweep) -> list[str]:
    """The answer in every cell, a question mark where it is undecided."""
    (down, rows), (across, columns) = result.axes.items()
    known = np.abs(result.values[result.answer])
    digits = decimals(float(known[np.isfinite(known)].max(initial=0.0)), 3)
    table = Columns("<26", *[">11"] * len(columns))
    lines = [f"  {result.unit or result.answer}; {down} down, {across} across",
             table.row("", *(listed([value]) for value in columns))]
    for i, value in enumerate(rows):
        lines.append(table.row(f"  {listed([value])}", *(_said(result, (i, j), digits) for j in range(len(columns)))))
    return lines


def _said(result: Sweep, cell: tuple[int, ...], digits: int) -> str:
    """The answer of a cell."""
    if result.failed[cell]:
        return "failed "
    value = result.values[result.answer][cell]
    mark = " " if result.decided[cell] else "?"
    if np.isnan(value):
        return f"0{mark}"
    return f"{value:+.{digits}f}{mark}" if len(cell) > 1 and digits > 0 else f"{value:+.4g}{mark}"


def _along_axes(result: Sweep) -> list[str]:
    """Along each axis, in how many cells the answer is which, and from where to where it goes."""
    words = [*result.words, "undecided"]
    table = Columns("<26", *[f">{max(10, len(word) + 2)}" for word in words], ">12", ">12")
    lines = [table.row("cells", *words, "lowest", "highest")]
    answer = result.values[result.answer]
    for axis, (name, values) in enumerate(result.axes.items()):
        lines.append(table.row(name))
        shown = range(len(values)) if len(values) <= MOST_ROWS else [*range(MOST_ROWS - 1), len(values) - 1]
        for number in shown:
            if number > 0 and number - 1 not in shown:
                lines.append(table.row("  ..."))
            mine = np.zeros(answer.shape, dtype=np.bool_)
            mine[(slice(None),) * axis + (number,)] = True
            counts = result.counts(mine)
            known = answer[mine & np.isfinite(answer)]
            ends = (f"{known.min():+.4g}", f"{known.max():+.4g}") if len(known) else ("", "")
            said = (f"{counts[word]:,}" if counts[word] else "" for word in words)
            lines.append(table.row(f"  {listed([values[number]])}", *said, *ends))
    return lines
