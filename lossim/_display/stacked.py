"""Pictures in pages: without a title of their own, which the page has; and for narrow screens panel by panel."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Literal

from lossim._display.page import Picture
from lossim._display.svg import svg, top

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["wide_and_narrow"]

NARROW = 4.4
"""Width in inches of what is drawn for a phone: there its letters are nearly as large as they were meant."""
_LINE = 44
"""Letters of the label of an axis on a line."""
_LABEL = 24
"""Letters of a name beside a bar."""


def wide_and_narrow(picture: Picture) -> tuple[str, list[str]]:
    """A picture as SVG as it is, and panel by panel for narrow screens; none of these where it is narrow itself.

    A figure is made once, and taken apart. One that comes from a file, or that has no grid of one row, stays whole.
    """
    if picture.draw is None:
        return svg(picture), []
    figure = top(picture.draw())
    if figure.get_suptitle():
        figure.suptitle("").set_in_layout(False)
    wide = svg(_of(figure, picture.title, picture.alt))
    width, height = figure.get_size_inches()
    if width <= 1.25 * NARROW:
        return wide, []
    panels = [axes for axes in figure.axes if axes.get_subplotspec() is not None]
    grid = panels[0].get_subplotspec().get_gridspec()
    if grid.nrows > 1 or len(panels) != grid.ncols:
        return wide, []
    figure.set_size_inches(NARROW, height)
    whole = figure.add_gridspec(1, 1)[0, 0]
    narrow = []
    for axes in panels:
        title = _titled(axes, figure)
        axes.set_subplotspec(whole)
        for other in panels:
            other.set_visible(other is axes)
            other.set_in_layout(other is axes)
        for legend in figure.legends:  # of the last panel, below which it stands
            legend.set_visible(axes is panels[-1])
            legend.set_in_layout(axes is panels[-1])
        narrow.append(svg(_of(figure, title or picture.title, picture.alt), bare=False))
    return wide, narrow


def _titled(axes: Axes, figure: Any) -> str:
    """The title of a panel, which the figure takes over; long labels are broken into lines."""
    places: tuple[Literal["left", "center", "right"], ...] = ("left", "center", "right")
    title = " ".join(filter(None, (axes.get_title(place) for place in places)))
    for place in places:
        axes.set_title("", loc=place)
    figure.suptitle(textwrap.fill(title, 60), x=0.01, ha="left", fontsize=9.5).set_in_layout(bool(title))
    axes.set(xlabel=textwrap.fill(axes.get_xlabel(), _LINE), ylabel=textwrap.fill(axes.get_ylabel(), _LINE))
    names = [label.get_text() for label in axes.get_yticklabels()]
    if max(map(len, names), default=0) > _LABEL:
        axes.set_yticks(axes.get_yticks(), [textwrap.fill(name, _LABEL) for name in names])
    return title


def _of(figure: Any, title: str, alt: str) -> Picture:
    """The picture of a figure that is there."""
    return Picture(title=title, alt=alt, draw=lambda: figure)
