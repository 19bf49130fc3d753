"""The picture of a survey."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._pictures.results import sheet, signs
from lossim._support.text import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lossim._surveying import Survey

_LOOKS = ((1, "#D55E00", "^"), (-1, "#0072B2", "v"), (0, "#666666", "o"))
"""Colour and mark of a number above 0, below 0, and 0."""
_RATIO = 5.0
"""An unknown is drawn by its logarithm where its largest value is so many times its smallest."""


def plot_survey(survey: Survey) -> Figure:
    """What was answered, and what decides, as one figure.

    Left: the size of every draw against the unknown that explains most of the answer. Right: what each unknown explains
    by itself of the variance of the direction and of the size.
    """
    title = textwrap.fill(signs(f"{survey.title}: {survey.verdict}"), 96)
    with sheet(title, 2, 8.6, max(3.6, 2.0 + 0.4 * len(survey.unknowns))) as (figure, (left, right)):
        _draw_sizes(left, survey)
        _draw_shares(right, survey)
    return figure


def _draw_sizes(ax: Axes, survey: Survey) -> None:
    name = survey.decides or next(iter(survey.unknowns))
    done = survey.table["failed"] == ""
    column = survey.table[name][done]
    size = survey.size[done]
    direction = survey.direction[done]
    x: Any = column
    if column.dtype.kind == "U":  # choices side by side, a little apart
        labels, x = np.unique(column, return_inverse=True)
        ax.set_xticks(range(len(labels)), [textwrap.shorten(str(label), 24) for label in labels])
        x = x + np.linspace(-0.25, 0.25, len(x))
    elif column.min() > 0 and column.max() > _RATIO * column.min():
        ax.set_xscale("log")
    ax.axhline(0.0, color="black", linewidth=0.8)
    for (sign, colour, mark), word in zip(_LOOKS, survey.words, strict=True):
        mine = direction == sign
        if mine.any():
            ax.plot(x[mine], size[mine], mark, color=colour, markersize=3.5, label=f"{word} ({percent(mine.mean())})")
    ax.set(title="The answer of each draw", xlabel=name, ylabel=textwrap.fill(survey.unit or "size", 40))
    ax.yaxis.set_major_formatter(lambda y, _: signs(f"{y:g}"))
    ax.grid(True)
    ax.legend()


def _draw_shares(ax: Axes, survey: Survey) -> None:
    names = sorted(survey.unknowns, key=lambda name: np.nan_to_num(survey.decides_size[name]))
    names.sort(key=lambda name: np.nan_to_num(survey.decides_direction[name]))
    places = np.arange(len(names))
    for shift, label, shares, colour in ((0.19, "direction", survey.decides_direction, "#D55E00"),
                                         (-0.19, "size", survey.decides_size, "#999999")):
        ax.barh(places + shift, [np.nan_to_num(shares[name]) for name in names], height=0.36, color=colour,
                edgecolor="black", linewidth=0.5, label=label)
    ax.set_yticks(places, names)
    ax.set(title="What each unknown explains by itself", xlabel="share of the variance over the draws", xlim=(0.0, 1.0))
    ax.grid(True, axis="x")
    ax.legend(title="of the", loc="lower right")
