"""Pictures in pages: without a title of their own, which the page has, and panel by panel, as there is room."""

from __future__ import annotations

import textwrap
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lossim._display.page import Picture
from lossim._display.svg import as_written, svg_of, top

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["apart", "svg"]

WIDE = 4.4
"""Inches from which on letters are too small on a phone: wider pictures are drawn so wide."""
_LINE = 44
"""Letters of the label of an axis on a line."""
_NAME = 28
"""Letters of a name beside a bar."""


def svg(picture: Picture) -> str:
    """The panels of a picture, an ``<svg>`` element each, as wide as there is room, up to the width they are made for.

    Their title and text alternative are inside; ids are unlike those of other pictures. A figure is made once and laid
    out once, and what stands around a panel is hidden. What comes from a file is there already.
    """
    if picture.draw is None:
        return picture.drawn
    figure = top(picture.draw())
    as_written(figure)
    if figure.get_suptitle():
        figure.suptitle("").set_in_layout(False)
    parts = figure.subfigs
    if not parts:
        _narrowed(figure, picture.title)
    if len(parts) < 2:
        return svg_of(figure, picture)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of names in any letters
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    drawn = ""
    for part, place in zip(parts, _places(figure), strict=True):
        for other in parts:
            other.set_visible(other is part)
        drawn += svg_of(figure, picture, within=place)
    return drawn


def _places(figure: Any) -> list[Any]:
    """Where the parts of a figure are, one above the other, in inches; with what is above the first and below the last.
    """
    from matplotlib.transforms import Bbox

    places = [part.bbox.transformed(figure.dpi_scale_trans.inverted()) for part in figure.subfigs]
    width, height = figure.get_size_inches()
    ends = [height, *(place.y0 for place in places[:-1]), 0.0]
    return [Bbox.from_extents(0.0, below, width, above) for above, below in pairwise(ends)]


def apart(drawn: str) -> list[str]:
    """The panels of a picture, each by itself.

    >>> apart("<svg><g/></svg><svg></svg>")
    ['<svg><g/></svg>', '<svg></svg>']
    """
    return [f"{panel}</svg>" for panel in drawn.split("</svg>") if panel.strip()]


def _narrowed(figure: Any, said: str) -> None:
    """A figure of one column no wider than a phone has room for, its labels in lines; without a title ``said``."""
    places = [axes.get_subplotspec() for axes in figure.axes]
    if not places or any(place is None or place.get_gridspec().ncols > 1 for place in places):
        return
    for axes in figure.axes:
        if axes.get_title("left") == said:
            axes.set_title("", loc="left")
    width, height = figure.get_size_inches()
    if width > WIDE:
        lines = max(map(_broken, figure.axes))
        figure.set_size_inches(WIDE, height * (1.0 if lines < 2 else 1.25))


def _broken(axes: Axes) -> int:
    """The labels of axes in lines; how many of these the longest name takes."""
    from matplotlib.ticker import AutoLocator

    axes.set_title(textwrap.fill(axes.get_title("left"), _LINE), loc="left")
    axes.set(xlabel=textwrap.fill(axes.get_xlabel(), _LINE), ylabel=textwrap.fill(axes.get_ylabel(), _LINE))
    if isinstance(axes.xaxis.get_major_locator(), AutoLocator):
        axes.locator_params(axis="x", nbins=5)
    names = [textwrap.fill(label.get_text(), _NAME) for label in axes.get_yticklabels()]
    most = 1 + max((name.count("\n") for name in names), default=0)
    if most > 1:
        axes.set_yticks(axes.get_yticks(), names)
    return most
