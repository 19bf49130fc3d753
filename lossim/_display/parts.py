"""Parts that many pages have: numbers with their errors, what was assumed, a picture of numbers with their ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._display.page import Number, Picture, Points, Section, Table
from lossim._support.records import Record
from lossim._support.text import decimals, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Bar", "assumed", "bars", "estimated", "figure", "settings"]

LEFT_OUT = "What was read, assumed and left out"
MOST_BARS = 40
"""Bars that a picture has room for."""
_BLUE, _GREY = "#0072B2", "#666666"


def figure(x: float, form: str = ".4g") -> Number:
    """A number by a format; nothing is shown of NaN.

    >>> figure(1234.5, ",.5g").text, figure(float("nan")).text
    ('1,234.5', '')
    """
    return Number(value=float(x), text="" if np.isnan(x) else format(float(x), form))


def estimated(x: Any, digits: int | None = None) -> Number:
    """An estimate with its standard error, to so many decimals, or to three digits."""
    size = abs(float(x.value))
    return Number(value=float(x.value), text=number(x, decimals(size, 3) if digits is None else digits))


def settings(given: Mapping[str, str]) -> Table:
    """What was given, in words, by what it is."""
    return Table(title="", columns=("what", "given"), rows=tuple(given.items()))


def assumed(notes: Sequence[str], given: Mapping[str, str]) -> Section:
    """What was given and what was assumed, folded."""
    points = (Points(items=tuple(map(str, notes))),) if notes else ()
    return Section(title=LEFT_OUT, parts=(settings(given), *points), folded=True)


class Bar(Record):
    """A number in a picture, with the range around it where there is one; NaN where it is not known."""

    label: str
    value: float
    low: float = float("nan")
    high: float = float("nan")


def bars(title: str, rows: Sequence[Bar], unit: str) -> Picture:
    """A picture of numbers, each a dot on its own line, with a line from the lowest to the highest that it may be."""
    said = "; ".join(f"{row.label} {row.value:+.3g}" + (f" ({row.low:+.3g} to {row.high:+.3g})"
                                                         if row.low < row.high else "")
                     for row in rows[:MOST_BARS] if not np.isnan(row.value))
    more = f"; and {len(rows) - MOST_BARS:,} more" if len(rows) > MOST_BARS else ""
    return Picture(title=title, alt=f"{unit}: {said or 'nothing is known'}{more}",
                   draw=lambda: _drawn(title, rows[:MOST_BARS], unit))


def _drawn(title: str, rows: Sequence[Bar], unit: str) -> Axes:
    """The axes of that picture."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False,
                                    "axes.titlelocation": "left", "axes.axisbelow": True, "text.parse_math": False})
        axes = Figure(figsize=(6.4, 0.9 + 0.28 * max(len(rows), 1)), layout="constrained").subplots()
        place = np.arange(len(rows))
        axes.axvline(0.0, color=_GREY, linewidth=0.8)
        axes.hlines(place, [row.low for row in rows], [row.high for row in rows], color=_BLUE, alpha=0.45, linewidth=4)
        axes.plot([row.value for row in rows], place, "o", color=_BLUE, markersize=5.0)
        axes.set(title=title, xlabel=unit, yticks=place, yticklabels=[_short(row.label) for row in rows],
                 ylim=(len(rows) - 0.4, -0.6))
        axes.grid(True, axis="x", color="#DDDDDD", linewidth=0.6)
    return axes


def _short(label: str) -> str:
    """A label as long as there is room for."""
    return label if len(label) <= 48 else label[:45] + "..."
