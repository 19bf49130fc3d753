"""The picture of a sweep over two axes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._pictures.sheets import BLUE, VERMILION, Given, drawn, legend, own, sentence, sheet, signs
from lossim._support.records import Record
from lossim._support.types import BoolArray, FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

_COLOURS = (BLUE, "#FFFFFF", VERMILION)
"""Below, at and above 0, as in pictures of surveys."""
_FAILED = "#BBBBBB"
_RATIO = 5.0
"""An axis is drawn by its logarithm where its largest value is so many times its smallest."""
_UNEVEN = 10.0
"""Cells of an axis are drawn equally wide where its widest step is so many times its narrowest (λ towards 1)."""
_FINER = 8
"""Places in which the line through 0 is sought between two cells."""
_LETTER, _HEIGHT = 0.033, 0.07
"""Of a label, as shares of the width and of the height of a map."""
_LABELS = {"gae_lambda": "λ of GAE", "solve_rate": "solve rate", "max_tokens": "max_tokens (tokens)",
           "group_size": "group size (responses per prompt)", "mean_length": "mean length (tokens)",
           "right": "mean length of right responses (tokens)", "wrong": "mean length of wrong responses (tokens)",
           "mean_right": "mean length of right responses (tokens)", "verbosity": "verbosity (tokens)",
           "mean_wrong": "mean length of wrong responses (tokens)", "ratio": "mean length, wrong over right",
           "accuracy": "P(correct)", "truncated": "P(truncated)", "pace": "pace (nats of KL a step)",
           "sharing": "sharing of stop logits between paths", "KL.coefficient": "coefficient of the KL",
           "premature": "premature share of wrong responses"}
"""Of axes, by name, with units."""


class Map(Record):
    """What is drawn: two axes, each a name with its values, and arrays [y, x].

    ``value`` is NaN where ``failed``; ``undecided`` cells are hatched; ``zero`` is what the line through 0 means;
    ``points`` are labels with x and y.
    """

    title: str
    x: tuple[str, Sequence[Any]]
    y: tuple[str, Sequence[Any]]
    value: FloatArray
    undecided: BoolArray
    failed: BoolArray
    unit: str
    zero: str
    points: Mapping[str, tuple[Any, Any]]


def draw_map(given: Map, ax: Given = None) -> Figure:
    """Colours about 0, a line through 0, hatches and a legend."""
    with sheet(given.title, describe_map(given), (3.1,), ax) as (figure, (axes,)):
        _draw(axes, given)
    return figure


def describe_map(given: Map) -> str:
    """What the picture shows, in a sentence."""
    (across, columns), (up, rows) = given.x, given.y
    return sentence(given.title, f"over {len(columns)} values of {across} and {len(rows)} of {up}")


def _draw(axes: Axes, given: Map) -> None:
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    across, up = (_Side(values) for _, values in (given.x, given.y))
    known = given.value[np.isfinite(given.value)]
    largest = float(np.abs(known).max(initial=0.0)) or 1.0
    colours = LinearSegmentedColormap.from_list("about 0", _COLOURS)
    mesh = axes.pcolormesh(across.edges, up.edges, np.ma.masked_invalid(given.value), cmap=colours, rasterized=True,
                           norm=Normalize(-largest, largest))
    axes.set_facecolor(_FAILED)
    handles: list[Patch | Line2D] = []
    if given.undecided.any():
        _hatch(axes, across.edges, up.edges, given.undecided)
        handles.append(Patch(facecolor="white", edgecolor="#333333", hatch="////", label="sign undecided"))
    if _zero_line(axes, across, up, given.value):
        handles.append(Line2D([], [], color="black", linewidth=1.6, label=given.zero))
    if given.failed.any():
        handles.append(Patch(facecolor=_FAILED, label="failed"))
    axes.set(xscale="log" if across.log else "linear", yscale="log" if up.log else "linear")
    across.ticks(axes.xaxis, given.x[0])
    up.ticks(axes.yaxis, given.y[0])
    axes.grid(False)
    for label, (x, y) in given.points.items():
        _point(axes, across.at(x), up.at(y), label, _crossed(given.value, across, up, y))
    _legend(axes, handles)
    bar = axes.figure.colorbar(mesh, ax=axes, label=textwrap.fill(given.unit, 32))
    bar.ax.yaxis.set_major_formatter(lambda y, _: signs(f"{y:g}"))


def _legend(axes: Axes, handles: list[Patch | Line2D]) -> None:
    """What hatches and lines mean, below; in somebody else's figure below the label of the axis across."""
    if handles and own(axes):
        drawn(axes).legend(handles=handles, loc="outside lower left", ncols=len(handles), handlelength=1.6)
    elif handles:
        legend(axes, handles=handles, ncols=len(handles))


class _Side:
    """One axis: where its values stand, and where their cells end."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        self.numeric = all(isinstance(value, Real) for value in values) and list(values) == sorted(values)
        self.places = np.array(values, dtype=np.float64) if self.numeric else np.arange(len(values), dtype=np.float64)
        self.log = bool(self.numeric and self.places[0] > 0 and self.places[-1] > _RATIO * self.places[0]
                        and self.places[-1] > 1.0)
        steps = np.diff(self.places)
        self.even = bool(self.numeric and not self.log and len(steps) and steps.max() > _UNEVEN * steps.min())
        if self.even:
            self.places = np.arange(len(values), dtype=np.float64)
        flat = np.log(self.places) if self.log else self.places
        middles = (flat[1:] + flat[:-1]) / 2.0
        first, last = (flat[0] - 0.5, flat[0] + 0.5) if len(flat) == 1 else (2 * flat[0] - middles[0],
                                                                             2 * flat[-1] - middles[-1])
        edges = np.concatenate([[first], middles, [last]])
        self.edges = np.exp(edges) if self.log else edges

    def at(self, value: Any) -> float:
        """Where a value stands; between values of the axis in proportion."""
        if not self.numeric:
            return float(list(self.values).index(value))
        return float(np.interp(value, self.values, self.places)) if self.even else float(value)

    def finer(self) -> tuple[FloatArray, FloatArray]:
        """Places from edge to edge, several in a cell, and where each stands between edge, cells and edge."""
        whole = np.concatenate([self.edges[:1], self.places, self.edges[-1:]])
        number = np.linspace(0.0, len(whole) - 1.0, _FINER * (len(whole) - 1) + 1)
        flat = np.interp(number, np.arange(len(whole)), np.log(whole) if self.log else whole)
        return np.exp(flat) if self.log else flat, number

    def _apart(self, sizes: Sequence[float]) -> list[int]:
        """Values whose labels, so large beside the axis, do not touch the last one that is shown."""
        flat = np.log(self.places) if self.log else self.places
        share = (flat - flat[0]) / (np.ptp(flat) or 1.0)
        shown = [0]
        for i in range(1, len(share)):
            if share[i] - share[shown[-1]] >= (sizes[i] + sizes[shown[-1]]) / 2.0:
                shown.append(i)
        return shown

    def ticks(self, axis: Axis, name: str) -> None:
        """Its ticks and its name."""
        from matplotlib.axis import XAxis
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

        last = name.rpartition(".")[2]
        axis.set_label_text(_LABELS.get(name, _LABELS.get(last, last.replace("_", " "))))
        if not self.numeric:
            axis.set_ticks(self.places, [textwrap.shorten(str(value), 28) for value in self.values])
        elif len(self.values) <= 8 or self.even:
            labels = [f"{value:,g}" if value < 1e6 else f"{value:.3g}" for value in self.values]
            shown = self._apart([_LETTER * len(label) + 0.03 for label in labels] if isinstance(axis, XAxis)
                                else [_HEIGHT] * len(labels))
            axis.set_ticks(self.places[shown], [labels[i] for i in shown])
            axis.set_minor_locator(NullLocator())
        elif self.log:
            decades = np.log10(self.values[-1] / self.values[0])
            marks = (1.0, 2.0, 5.0) if decades < 1.3 else (1.0, 3.0) if decades < 3.0 else (1.0,)
            axis.set_major_locator(LogLocator(subs=marks))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axis.set_minor_formatter(NullFormatter())


def _hatch(axes: Axes, x: FloatArray, y: FloatArray, cells: BoolArray) -> None:
    """Hatches over some cells."""
    from matplotlib.collections import PolyCollection

    corners = [[(x[j], y[i]), (x[j + 1], y[i]), (x[j + 1], y[i + 1]), (x[j], y[i + 1])]
               for i, j in np.argwhere(cells).tolist()]
    axes.add_collection(PolyCollection(corners, facecolors="none", edgecolors="#333333", linewidths=0.0, hatch="////"))


_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1))
"""Where a label may stand beside its point: right, left, above, below."""


def _point(axes: Axes, x: float, y: float, label: str, crossed: FloatArray) -> None:
    """A point, with its label on the first side where it fits and where the line through 0 does not run."""
    from matplotlib.patheffects import withStroke

    axes.plot(x, y, "o", color="black", markerfacecolor="white", markersize=5.0, zorder=4)
    place, height = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))
    lines = axes.transAxes.inverted().transform(axes.transData.transform([(line, y) for line in crossed]))[:, 0] \
        if len(crossed) else crossed
    wide = _LETTER * len(label)

    def fits(side: tuple[int, int]) -> bool:
        low = place + {1: 0.04, 0: -wide / 2.0, -1: -0.04 - wide}[side[0]]
        inside = low >= 0.0 and low + wide <= 1.0 and 0.0 <= height + 0.1 * side[1] <= 1.0
        return bool(inside and not ((lines > low - 0.02) & (lines < low + wide + 0.02)).any())

    across, up = next(filter(fits, _SIDES), (-1, 0) if place > 0.6 else (1, 0))
    axes.annotate(label, (x, y), (6 * across, 5 * up), textcoords="offset points", zorder=5,
                  ha={1: "left", 0: "center", -1: "right"}[across], va={1: "bottom", 0: "center", -1: "top"}[up],
                  path_effects=[withStroke(linewidth=2.5, foreground="white")])


def _crossed(value: FloatArray, across: _Side, up: _Side, y: Any) -> FloatArray:
    """Where the number changes its sign in the row of cells nearest to y."""
    row = value[int(np.argmin(np.abs(up.places - up.at(y))))]
    turns = np.flatnonzero(row[:-1] * row[1:] < 0.0)
    share = row[turns] / (row[turns] - row[turns + 1])
    return np.asarray(across.places[turns] + share * (across.places[turns + 1] - across.places[turns]))


def _zero_line(axes: Axes, x: _Side, y: _Side, value: FloatArray) -> bool:
    """A line where the number is 0, between cells of numbers; whether there is any."""
    known = value[np.isfinite(value)]
    if not (x.numeric and y.numeric and min(value.shape) > 1 and len(known) and known.min() < 0.0 < known.max()):
        return False
    # On a finer grid, on which what is between two cells is in proportion to the axis as it is drawn.
    padded = np.pad(value, 1, mode="edge")  # out to the edges of the cells
    (across, columns), (up, rows) = x.finer(), y.finer()
    along = np.array([np.interp(columns, np.arange(padded.shape[1]), row) for row in padded])
    whole = np.array([np.interp(rows, np.arange(padded.shape[0]), column) for column in along.T]).T
    axes.contour(across, up, np.ma.masked_invalid(whole), levels=[0.0], colors="black", linewidths=1.6)
    return True
