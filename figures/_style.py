"""The look every figure shares: sizes, fonts, colours that colour-blind readers can tell apart."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

Numbers = dict[str, Any]

# Okabe and Ito's palette (Color Universal Design, 2008).
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#767676"
RIGHT, WRONG = BLUE, VERMILION

WIDTH, TITLE = 3.4, 40  # inches, of half a page, and characters in a line of the title; type is 8 points there
LINE, UNDER, MORE, LEFT = 0.17, 31.0, 10.5, 0.02
"""Inches of a line of the title; points from axes to below the label across, and to each further line of it; the left
edge of what stands below and above a panel."""

_RC: Any = {
    "font.size": 8.0, "axes.titlesize": 8.5, "axes.labelsize": 8.0, "legend.fontsize": 8.0, "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0, "legend.title_fontsize": 8.0, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlelocation": "left", "axes.grid": True, "grid.color": "#DDDDDD", "grid.linewidth": 0.6,
    "axes.axisbelow": True, "axes.linewidth": 0.6, "hatch.linewidth": 0.6, "legend.frameon": False,
    "lines.linewidth": 1.5, "figure.dpi": 190, "savefig.dpi": "figure", "svg.hashsalt": "lossim",
    "svg.fonttype": "path", "axes.formatter.use_mathtext": True,
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


def new_figure(claim: str, *heights: float, aligned: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure for half a page with its claim as the title, and a panel for each height in inches, one below the other.

    A height holds all that stands around the axes. Panels are as wide as their own labels leave room for, or, if
    ``aligned``, stand exactly one below the other on one axis across.
    """
    title = balanced(claim)
    figure = Figure(figsize=(WIDTH, LINE * (title.count("\n") + 1) + sum(heights)), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.0, fontweight="bold")
    if aligned:
        return figure, list(figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights).flat)
    if len(heights) == 1:
        return figure, [figure.subplots()]
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights).flat
    return figure, [part.subplots() for part in parts]


def balanced(text: str) -> str:
    """The text in as few lines as it takes, all about as long."""
    lines = textwrap.wrap(text, TITLE)
    return next("\n".join(shorter) for width in range(len(text) // len(lines), TITLE + 1)
                if len(shorter := textwrap.wrap(text, width)) == len(lines))


def heading(axes: Axes, text: str) -> None:
    """The title of a panel, from the left edge of the figure on."""
    title = axes.set_title(text)
    title.set_transform(blended_transform_factory(_whole(axes).transFigure, title.get_transform()))
    title.set_x(LEFT)


def legend(axes: Axes, *, lines: int = 1, **options: Any) -> Legend:
    """A legend below the label of the axis across, which has ``lines``."""
    figure = _whole(axes)
    down = ScaledTranslation(0.0, -(UNDER + MORE * (lines - 1)) / 72.0, figure.dpi_scale_trans)
    place = blended_transform_factory(figure.transFigure, axes.transAxes + down)
    return axes.legend(**{"loc": "upper left", "bbox_to_anchor": (LEFT, 0.0), "bbox_transform": place,
                          "borderaxespad": 0.0, "handlelength": 1.6, "columnspacing": 1.0, "alignment": "left",
                          } | options)


def _whole(axes: Axes) -> Figure:
    """The figure that axes are in, also where they are in a part of one."""
    figure: Any = axes.figure
    while figure.figure is not figure:
        figure = figure.figure
    return figure


def signs(text: str) -> str:
    """The text with minus signs in front of its numbers."""
    return text.replace("-", "−")


def prose(text: str) -> str:
    """A caption written over several lines as one paragraph."""
    return " ".join(text.split())


def zero_line(axes: Axes, *, vertical: bool = False) -> None:
    """The line that separates shorter from longer."""
    (axes.axvline if vertical else axes.axhline)(0.0, color=BLACK, linewidth=0.8, zorder=1.5)
