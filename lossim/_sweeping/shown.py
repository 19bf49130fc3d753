"""What a sweep shows: its cells as a picture and a table, and those that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lossim._display import Bar, Cell, Number, Part, Picture, Points, Section, Table, assumed, bars, figure
from lossim._sweeping.tables import listed

if TYPE_CHECKING:
    from lossim._sweeping.result import Sweep

MOST_ROWS, MOST_FAILED = 200, 50
"""Cells that a page lists, and those that failed; the tidy table has all."""


def shown(sweep: Sweep) -> tuple[Section, ...]:
    """The sections of its page."""
    failed = tuple(f"{', '.join(f'{name} {value}' for name, value in each.inputs.items())}: {each.message}"
                   for each in sweep.failures[:MOST_FAILED])
    if len(sweep.failures) > MOST_FAILED:
        failed += (f"and {len(sweep.failures) - MOST_FAILED:,} more: to_dataframe() has all",)
    given = {f"{sweep.places[name]} {name}" if sweep.places[name] not in (name, "") else name: listed(values)
             for name, values in sweep.axes.items()}
    given |= {f"known: {name}": str(value) for name, value in (sweep.provenance.get("known") or {}).items()}
    return (Section(title="Which way, and how far, over the grid", parts=(_picture(sweep), _cells(sweep))),
            Section(title="What failed", parts=(Points(items=failed),) if failed else (), folded=len(failed) > 3),
            assumed(sweep.notes, given))


def _picture(sweep: Sweep) -> Picture:
    """A map of the first two axes with more than one value, at the first value of all others; else a line of dots."""
    long = [name for name, values in sweep.axes.items() if len(values) > 1]
    known = np.isfinite(sweep.values[sweep.answer]).any()
    if len(long) < 2 or not known:
        return bars(f"{sweep.unit or sweep.answer} over the grid", _bars(sweep), sweep.unit or sweep.answer)
    x, y = long[:2]
    at = {name: values[0] for name, values in sweep.axes.items() if name not in (x, y)}
    beside = "".join(f", {name} {listed([value])}" for name, value in at.items())
    return Picture(title=f"{sweep.unit or sweep.answer} over {x} and {y}{beside}", alt=sweep.verdict,
                   draw=lambda: sweep.map(x, y, at=at))


def _bars(sweep: Sweep) -> list[Bar]:
    """A dot for each cell, with its range."""
    columns = [sweep.values[sweep.answer].ravel(), sweep.low.ravel(), sweep.high.ravel()]
    return [Bar(label=_named(sweep, cell), value=float(value), low=float(low), high=float(high))
            for cell, (value, low, high) in enumerate(zip(*columns, strict=True))]


def _named(sweep: Sweep, cell: int) -> str:
    """The values of a cell in words."""
    index = np.unravel_index(cell, sweep.shape)
    return ", ".join(f"{name} {listed([values[at]])}"
                     for (name, values), at in zip(sweep.axes.items(), index, strict=True))


def _cells(sweep: Sweep) -> Part:
    """The first cells as a table."""
    count = int(np.prod(sweep.shape))
    failed, decided, sign = (array.ravel() for array in (sweep.failed, sweep.decided, sweep.sign))
    words = dict(zip((1, -1, 0), sweep.words, strict=True))
    rows: list[tuple[Cell, ...]] = []
    for cell in range(min(count, MOST_ROWS)):
        inputs = [values[at] for values, at in zip(sweep.axes.values(), np.unravel_index(cell, sweep.shape),
                                                   strict=True)]
        said = "failed" if failed[cell] else words[int(sign[cell])] if decided[cell] else "undecided"
        numbers = (figure(float(array.ravel()[cell]), "+.4g")
                   for array in (sweep.values[sweep.answer], sweep.low, sweep.high))
        rows.append((*(_input(value) for value in inputs), said, *numbers))
    more = f"the first {MOST_ROWS:,} of {count:,} cells: to_dataframe() has all" if count > MOST_ROWS else ""
    return Table(title="", columns=(*sweep.axes, "answer", sweep.unit or sweep.answer, "lowest", "highest"),
                 rows=tuple(rows), note=more)


def _input(value: object) -> Cell:
    """A value of an axis."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Number(value=float(value), text=listed([value]))
    return str(value)
