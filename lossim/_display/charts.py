"""Pictures of a few numbers: with the ranges around them, or where a setting stands and where it would have to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from lossim._display.page import Picture
from lossim._support.records import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Bar", "Turn", "bars", "counted", "turns"]

NAN = float("nan")
WIDTH = 5.4
"""Inches; narrow enough for a phone."""
MOST_BARS = 40
"""Bars that a picture has room for."""
MOST_TURNS = 12
"""Settings that a picture has room for."""
_BLUE, _GREY = "#0072B2", "#666666"


class Bar(Record):
    """A number in a picture, with the range around it where there is one; NaN where it is not known."""

    label: str
    value: float
    low: float = NAN
    high: float = NAN


def bars(title: str, rows: Sequence[Bar], unit: str) -> Picture:
    """A picture of numbers, each a dot on its own line, with a line from the lowest to the highest that it may be."""
    said = "; ".join(f"{row.label} {row.value:+.3g}" + (f" ({row.low:+.3g} to {row.high:+.3g})"
                                                         if row.low < row.high else "")
                     for row in rows[:MOST_BARS] if not np.isnan(row.value))
    more = f"; and {len(rows) - MOST_BARS:,} more" if len(rows) > MOST_BARS else ""
    return Picture(title=title, alt=f"{unit}: {said or 'nothing is known'}{more}",
                   draw=lambda: _drawn(rows[:MOST_BARS], unit))


@contextmanager
def _sheet(width: float, height: float) -> Iterator[Figure]:
    """A figure in the style of these pictures, whatever is set outside; names are shown as they are."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.size": 9.0, "axes.titlesize": 9.5, "axes.spines.top": False,
                                    "axes.spines.right": False, "axes.titlelocation": "left", "axes.axisbelow": True,
                                    "text.parse_math": False, "axes.formatter.useoffset": False})
        yield Figure(figsize=(width, height), layout="constrained")


def _drawn(rows: Sequence[Bar], unit: str) -> Axes:
    """The axes of a picture of bars."""
    with _sheet(WIDTH, 0.7 + 0.28 * max(len(rows), 1)) as figure:
        axes = figure.subplots()
        place = np.arange(len(rows))
        axes.axvline(0.0, color=_GREY, linewidth=0.8)
        axes.hlines(place, [row.low for row in rows], [row.high for row in rows], color=_BLUE, alpha=0.45, linewidth=4)
        axes.plot([row.value for row in rows], place, "o", color=_BLUE, markersize=5.0)
        axes.set(xlabel=unit, yticks=place, yticklabels=[_short(row.label) for row in rows],
                 ylim=(max(len(rows), 1) - 0.4, -0.6))
        axes.grid(True, axis="x", color="#DDDDDD", linewidth=0.6)
    return axes


class Turn(Record):
    """Where a setting stands, and where it would have to stand, with the range of that; NaN where it is not known."""

    label: str
    now: float
    needed: float
    low: float = NAN
    high: float = NAN


def turns(title: str, rows: Sequence[Turn]) -> Picture:
    """A picture of settings, each on an axis of its own: a ring where it stands, a dot where it would have to."""
    said = "; ".join(f"{row.label}: {'none found' if np.isnan(row.needed) else f'{row.needed:.4g}'}"
                     + ("" if np.isnan(row.now) else f", now {row.now:.4g}") for row in rows[:MOST_TURNS])
    more = f"; and {len(rows) - MOST_TURNS:,} more" if len(rows) > MOST_TURNS else ""
    return Picture(title=title, alt=f"{said or 'nothing was turned'}{more}",
                   draw=lambda: _turned(rows[:MOST_TURNS]))


def _turned(rows: Sequence[Turn]) -> Figure:
    """The figure of a picture of settings."""
    with _sheet(WIDTH, 0.1 + 0.72 * max(len(rows), 1)) as figure:
        for axes, row in zip(np.atleast_1d(figure.subplots(max(len(rows), 1))), rows, strict=False):
            axes.hlines([0.0], [row.low], [row.high], color=_BLUE, alpha=0.45, linewidth=4)
            axes.plot([row.now], [0.0], "o", markerfacecolor="white", color=_GREY, markersize=7.0)
            axes.plot([row.needed], [0.0], "o", color=_BLUE, markersize=5.0)
            axes.set(title=_short(row.label, 80), yticks=[], ylim=(-1.0, 1.0))
            axes.spines["left"].set_visible(False)
            if np.isnan([row.needed, row.low]).all():
                axes.text(0.99, 0.6, "none found", transform=axes.transAxes, ha="right", color=_GREY)
    return figure


def counted(title: str, groups: dict[str, np.ndarray], unit: str) -> Picture:
    """A picture of how numbers are spread, by group: a histogram of each over the same bins."""
    told = {name: values[np.isfinite(values)] for name, values in groups.items()}
    said = "; ".join(f"{name}: {len(values):,}, middle {np.median(values):.4g}, from {values.min():.4g} to "
                     f"{values.max():.4g}" for name, values in told.items() if len(values))
    return Picture(title=title, alt=f"{unit}: {said or 'nothing is known'}", draw=lambda: _spread(told, unit))


def _spread(groups: dict[str, np.ndarray], unit: str) -> Axes:
    """The axes of a picture of histograms."""
    with _sheet(WIDTH, 2.6) as figure:
        axes = figure.subplots()
        every = np.concatenate([np.zeros(0), *groups.values()])
        low, high = (every.min(), every.max()) if len(every) else (0.0, 1.0)
        bins = np.linspace(low, high if high > low else low + 1.0, 41).tolist()
        for (name, values), colour in zip(groups.items(), (_BLUE, "#D55E00", "#999999", "#009E73"), strict=False):
            axes.hist(values, bins=bins, histtype="step", color=colour, label=_short(name), linewidth=1.4)
        axes.set(xlabel=unit, ylabel="how many")
        if len(groups) > 1:
            axes.legend(frameon=False)
    return axes


def _short(label: str, most: int = 48) -> str:
    """A label as long as there is room for, on one line."""
    line = " ".join(label.split())
    return line if len(line) <= most else f"{line[:most - 3]}..."
