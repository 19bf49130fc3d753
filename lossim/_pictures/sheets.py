"""What pictures share: a figure as wide as a column of text, its style, and the axes that a picture is drawn in.

matplotlib is imported when a picture is asked for, and pyplot not at all.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lossim._pictures.paper import paper
from lossim._support import checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Given: TypeAlias = "Axes | Sequence[Axes] | None"
"""Where to draw: in a figure of its own, in one axes, or in several."""

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLACK, GREY, LIGHT = "#000000", "#666666", "#999999"
BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
OUTCOMES = (("correct", SKY, ""), ("incorrect", ORANGE, "////"), ("truncated", LIGHT, "||||"))

WIDTH = 3.4
"""Inches, of a column: half a page. Type is 8 points there."""
_STYLE: Any = {
    "font.size": 8.0, "axes.titlesize": 8.5, "axes.labelsize": 8.0, "legend.fontsize": 8.0,
    "legend.title_fontsize": 8.0, "xtick.labelsize": 8.0, "ytick.labelsize": 8.0, "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlelocation": "left", "axes.axisbelow": True, "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6, "legend.frameon": False, "hatch.linewidth": 0.5, "axes.linewidth": 0.6, "figure.dpi": 150.0,
    "text.parse_math": False, "axes.formatter.useoffset": False}
_TITLE, _LINE = 40, 0.17
"""Characters in a line of the title, and inches that a line takes."""
_UNDER, _MORE, _LEFT = 31.0, 10.0, 0.02
"""Points from an axes down to below its ticks and their label, and to each further line; left edge of what is there."""


@contextmanager
def sheet(title: str, alt: str, heights: Sequence[float], ax: Given) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure and its panels, one above the other, ``heights`` in inches with all that stands around them.

    In a figure of its own the style is that of these pictures, and whatever is set outside is put back afterwards. In
    axes that are given it is what is set there: the first panel goes to the first of them under the picture's title,
    and so on; panels without axes are drawn on a sheet that is thrown away.

    Raises:
        TypeError: what is given is not axes.
        ValueError: more axes than panels, or none.
    """
    given = _axes(ax, len(heights))
    if given:
        spare = _sheet(title, alt, heights)
        yield drawn(given[0]), [*given, *spare.axes[len(given):]]
        _over(given[0], title)
        return
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = _sheet(title, alt, heights)
        yield figure, list(figure.axes)


def _axes(ax: Given, panels: int) -> list[Axes]:
    """The axes that are given, checked."""
    if ax is None:
        return []
    from matplotlib.axes import Axes

    given = list(np.ravel(np.array(ax, dtype=object)))
    for each in given:
        checks.of_kind("ax", each, Axes, "a matplotlib Axes, or several")
    if not 1 <= len(given) <= panels:
        checks.fail("number of axes", len(given), f"must be 1 to {panels}, as many as this picture has panels")
    return given


def _sheet(title: str, alt: str, heights: Sequence[float]) -> Figure:
    """A figure of its own."""
    said = _balanced(signs(title))
    figure: Any = paper()(figsize=(WIDTH, _LINE * (said.count("\n") + 1) + sum(heights)), layout="constrained")
    figure.alt = alt
    figure.suptitle(said, x=0.01, ha="left", fontsize=9.0, fontweight="bold")
    for part in figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights).flat:
        part.subplots()  # as wide as its own labels leave room for
    return figure


def _balanced(text: str) -> str:
    """The text in as few lines as it takes, all about as long."""
    lines = textwrap.wrap(text, _TITLE)
    return next(("\n".join(shorter) for width in range(len(text) // max(len(lines), 1), _TITLE)
                 if len(shorter := textwrap.wrap(text, max(width, 1))) == len(lines)), "\n".join(lines))


def _over(axes: Axes, title: str) -> None:
    """The title of a picture over axes of somebody else, in lines as long as these are wide."""
    points = 72.0 * axes.get_window_extent().width / drawn(axes).dpi
    letter = 0.56 * float(axes.title.get_fontsize())
    axes.set_title(textwrap.fill(signs(title), max(16, int(points / letter))))


def drawn(axes: Axes) -> Figure:
    """The figure that axes are in, also where they are in a part of one."""
    figure: Any = axes.figure
    while figure.figure is not figure:
        figure = figure.figure
    return figure


def heading(axes: Axes, text: str) -> None:
    """The title of a panel, from the left edge of the picture on; in somebody else's figure an ordinary one."""
    from matplotlib.transforms import blended_transform_factory

    title = axes.set_title(text)
    if own(axes):
        title.set_transform(blended_transform_factory(drawn(axes).transFigure, title.get_transform()))
        title.set_x(_LEFT)


def legend(axes: Axes, lines: int = 1, **options: Any) -> None:
    """A legend below the label of the axis across, which has ``lines``, from the left edge of the picture on.

    In somebody else's figure from the left edge of the axes on.
    """
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    figure, mine = drawn(axes), own(axes)
    large = float(axes.xaxis.label.get_fontsize()) / _STYLE["axes.labelsize"]
    down = ScaledTranslation(0.0, -large * (_UNDER + _MORE * (lines - 1)) / 72.0, figure.dpi_scale_trans)
    place = blended_transform_factory(figure.transFigure if mine else axes.transAxes, axes.transAxes + down)
    axes.legend(**{"loc": "upper left", "bbox_to_anchor": (_LEFT if mine else 0.0, 0.0), "bbox_transform": place,
                   "borderaxespad": 0.0, "handlelength": 1.6, "columnspacing": 1.0, "alignment": "left",
                   "frameon": False} | options)


def own(axes: Axes) -> bool:
    """Whether axes are in a figure of these pictures."""
    return isinstance(drawn(axes), paper())


def stacked(labels: Sequence[str]) -> float:
    """Inches that bars take one above the other, with these labels beside them."""
    return len(labels) * (0.3 if any("\n" in label(each) for each in labels) else 0.21)


def signs(text: str) -> str:
    """The text with minus signs in front of its numbers, as in the labels of axes."""
    return re.sub(r"(?<![^\s(e])-(?=[\d.])", "−", text)


def label(text: str, width: int = 24) -> str:
    """The text in two lines at most that fit beside bars."""
    return textwrap.fill(signs(text), width, break_on_hyphens=False, max_lines=2, placeholder=" …")


def entry(text: str) -> str:
    """The text as an entry of a legend, no wider than the picture."""
    return textwrap.shorten(signs(text), 40, placeholder=" …")


def sentence(*parts: str) -> str:
    """Parts as one sentence on one line."""
    return " ".join("; ".join(parts).split()).rstrip(".") + "."


def whole(axis: Axis, low: float, high: float) -> None:
    """Whole numbers on a logarithmic axis, as many as are easily read."""
    from matplotlib.ticker import LogLocator, NullFormatter

    by_span = {200.0: (1.0,), 30.0: (1.0, 3.0), 0.0: (1.0, 2.0, 5.0)}
    factors = next(factors for span, factors in by_span.items() if high / low > span)
    axis.set_major_locator(LogLocator(subs=factors))
    axis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x >= 1 else "")
    axis.set_minor_formatter(NullFormatter())


def step_ticks(axis: Axis) -> None:
    """Whole numbers alone on an axis of steps."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def plain(axis: Axis) -> None:
    """Numbers written out on a logarithmic axis, a few of them: raised ones are too small."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6))
    axis.set_major_formatter(lambda x, _: f"{x:,g}")
    axis.set_minor_formatter(NullFormatter())


_PATHS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
_DASHES = ("-", "--", ":", "-.")
MOST_CELLS = 6
"""Cells with a name of their own; with more, a path has one name in all classes."""


def looks(axes: Axes, names: Sequence[tuple[str, ...]]) -> list[tuple[str, str, str | None]]:
    """How the lines of cells or paths look: a colour for each path, a dash for each class and state, and a name.

    With many of them there is one dash, and one name for each path, which goes to the legend.
    """
    many = len(names) > MOST_CELLS
    classes = list(dict.fromkeys(prompts for prompts, *_ in names))
    states = list(dict.fromkeys(tuple(state) for _, _, *state in names))
    colours: dict[str, str] = {}
    found: list[tuple[str, str, str | None]] = []
    for prompts, path, *state in names:
        if path not in colours:
            colours[path] = _PATHS[len(colours) % len(_PATHS)]
            if many:
                axes.plot([], [], color=colours[path], label=entry(f"{path}: one line per class"))
        name = ", ".join([f"{prompts} / {path}" if len(classes) > 1 else path, *state])
        dash = classes.index(prompts) + states.index(tuple(state))
        found.append((colours[path], "-", None) if many else (colours[path], _DASHES[dash % len(_DASHES)], name))
    return found
