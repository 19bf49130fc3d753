"""The picture of a survey."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._pictures.sheets import (
    BLACK,
    BLUE,
    GREY,
    LIGHT,
    VERMILION,
    Given,
    heading,
    label,
    legend,
    plain,
    sentence,
    sheet,
    signs,
    stacked,
)
from lossim._support.text import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lossim._surveying import Survey

_LOOKS = ((1, VERMILION, "^"), (-1, BLUE, "v"), (0, GREY, "o"))
"""Colour and mark of a number above 0, below 0, and 0."""
_RATIO = 5.0
"""An unknown is drawn by its logarithm where its largest value is so many times its smallest."""


def plot_survey(survey: Survey, ax: Given = None) -> Figure:
    """What was answered, and what decides: two panels.

    First, the size of every draw against the unknown that explains most of the answer. Second, what each unknown
    explains by itself of the variance of the direction and of the size.
    """
    heights = (2.7, 1.1 + 1.2 * stacked(list(survey.unknowns)))
    with sheet(_title(survey), describe_survey(survey), heights, ax) as (figure, (sizes, shares)):
        _draw_sizes(sizes, survey)
        _draw_shares(shares, survey)
    return figure


def describe_survey(survey: Survey) -> str:
    """What the picture shows, in a sentence."""
    low, middle, high = survey.quantiles((0.05, 0.5, 0.95))
    return sentence(_title(survey), f"the middle of the draws is {middle:+.3g} {survey.unit}, nine in ten of them are "
                                    f"{low:+.3g} to {high:+.3g}".replace("  ", " "))


def _title(survey: Survey) -> str:
    return f"{survey.title}: {survey.verdict}"


def _draw_sizes(ax: Axes, survey: Survey) -> None:
    name = survey.decides or next(iter(survey.unknowns))
    done = survey.table["failed"] == ""
    column = survey.table[name][done]
    size = survey.size[done]
    direction = survey.direction[done]
    x: Any = column
    if column.dtype.kind == "U":  # choices side by side, a little apart
        labels, x = np.unique(column, return_inverse=True)
        ax.set_xticks(range(len(labels)), [label(str(name), max(8, 42 // len(labels))) for name in labels])
        x = x + np.linspace(-0.25, 0.25, len(x))
    elif column.min() > 0 and column.max() > _RATIO * column.min():
        ax.set_xscale("log")
        plain(ax.xaxis)
    ax.axhline(0.0, color=BLACK, linewidth=0.8)
    for (sign, colour, mark), word in zip(_LOOKS, survey.words, strict=True):
        mine = direction == sign
        if mine.any():
            ax.plot(x[mine], size[mine], mark, color=colour, markersize=3.5, label=f"{word} ({percent(mine.mean())})")
    heading(ax, "The answer of each draw")
    ax.set(xlabel=name, ylabel=textwrap.fill(survey.unit or "size", 32))
    ax.yaxis.set_major_formatter(lambda y, _: signs(f"{y:g}"))
    ax.grid(True)
    legend(ax, ncols=3, handletextpad=0.2)


def _draw_shares(ax: Axes, survey: Survey) -> None:
    names = sorted(survey.unknowns, key=lambda name: np.nan_to_num(survey.decides_size[name]))
    names.sort(key=lambda name: np.nan_to_num(survey.decides_direction[name]))
    places = np.arange(len(names))
    for shift, name, shares, colour in ((0.19, "of direction", survey.decides_direction, VERMILION),
                                         (-0.19, "of size", survey.decides_size, LIGHT)):
        ax.barh(places + shift, [np.nan_to_num(shares[each]) for each in names], height=0.36, color=colour,
                edgecolor=BLACK, linewidth=0.5, label=name)
    ax.set_yticks(places, [label(each) for each in names])
    heading(ax, "What each unknown explains by itself")
    ax.set(xlabel="share of the variance over draws", xlim=(0.0, 1.0))
    ax.grid(True, axis="x")
    legend(ax, ncols=2)
