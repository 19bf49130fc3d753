"""The look every figure shares: sizes, fonts, colours that colour-blind readers can tell apart."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Numbers = dict[str, Any]

# Okabe and Ito's palette (Color Universal Design, 2008).
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#767676"
RIGHT, WRONG = BLUE, VERMILION

TITLE = 74  # characters in a line of the title
WIDTH = 6.6  # inches; 150 dots per inch make 990 pixels
HALF_TITLE, HALF_WIDTH = 42, 3.4  # of a figure for half a page, with twice as many dots per inch

_RC: Any = {
    "font.size": 9.5, "axes.titlesize": 9.5, "axes.labelsize": 9.5, "legend.fontsize": 8.5,
    "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#DDDDDD", "grid.linewidth": 0.6, "axes.axisbelow": True,
    "legend.frameon": False, "lines.linewidth": 1.7, "figure.dpi": 150, "savefig.dpi": "figure",
    "svg.hashsalt": "lossim", "svg.fonttype": "path", "axes.formatter.use_mathtext": True,
}


_HALF: Any = {
    "font.size": 8.0, "axes.titlesize": 8.0, "axes.labelsize": 8.0, "legend.fontsize": 8.0, "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0, "hatch.linewidth": 0.6, "axes.linewidth": 0.6,
}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings for the figures, and nothing else of the user's."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def styled(draw: Callable[[Numbers], Figure]) -> Callable[[Numbers], Figure]:
    """A ``draw`` that runs under the shared style, whatever is set outside."""
    def wrapped(numbers: Numbers) -> Figure:
        with style():
            return draw(numbers)
    return wrapped


def new_figure(claim: str, *, height: float = 3.5, rows: int = 1, columns: int = 1, sharey: bool = False,
               ratios: list[float] | None = None) -> tuple[Figure, list[Axes]]:
    """A figure with its claim as the title and ``rows * columns`` axes, row by row."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(textwrap.fill(claim, TITLE), x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey, width_ratios=ratios)
    return figure, list(axes.flat)


def half_figure(claim: str, *, height: float = 3.1) -> tuple[Figure, Axes]:
    """A figure as wide as half a page, with its claim as the title and one axes; type is 8 points there."""
    matplotlib.rcParams.update(_HALF)
    figure = Figure(figsize=(HALF_WIDTH, height), dpi=300, layout="constrained")
    figure.suptitle(textwrap.fill(claim, HALF_TITLE), x=0.01, ha="left", fontsize=9, fontweight="bold")
    return figure, figure.subplots()


def prose(text: str) -> str:
    """A caption written over several lines as one paragraph."""
    return " ".join(text.split())


def zero_line(axes: Axes, *, vertical: bool = False) -> None:
    """The line that separates shorter from longer."""
    (axes.axvline if vertical else axes.axhline)(0.0, color=BLACK, linewidth=0.8, zorder=1.5)
