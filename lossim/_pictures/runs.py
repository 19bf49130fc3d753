"""The picture of curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lossim._pictures.sheets import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    VERMILION,
    Given,
    heading,
    legend,
    sentence,
    sheet,
    step_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lossim.curves import Curves, Description

LENGTHS = (("length", "all", BLACK, "-"), ("terminated", "terminated", BLUE, "--"),
           ("length_right", "right", GREEN, "-."), ("length_wrong", "wrong", VERMILION, ":"))
SHARES = (("truncated", "cut", BLACK, "-"), ("accuracy", "right", GREEN, "-."),
          ("dead_groups", "groups of equal rewards", PURPLE, ":"))
Looks = Sequence[tuple[str, str, str, str]]
"""Series with what they are called, their colours and dashes."""


def plot_curves(shown: Description, ax: Given = None) -> Figure:
    """Up to three panels: mean lengths with the trend of all, shares, and the mean reward, as far as they are known."""
    curves = shown.curves
    shares = any(getattr(curves, name) is not None for name, *_ in SHARES)
    panels = [2.8, *([2.3] if shares else []), *([1.8] if curves.reward is not None else [])]
    with sheet(shown.verdict, describe_curves(shown), panels, ax) as (figure, axes):
        rest = iter(axes)
        _lengths(next(rest), shown)
        if shares:
            _drawn(next(rest), curves, SHARES, "Shares", "share")
        if curves.reward is not None:
            _drawn(next(rest), curves, (("reward", "", BLACK, "-"),), "Mean reward", "reward")
    return figure


def describe_curves(shown: Description) -> str:
    """What the picture shows, in a sentence."""
    series = [(label or name, getattr(shown.curves, name)) for name, label, *_ in (*SHARES, ("reward", "mean reward"))]
    known = [(label, values[np.isfinite(values)]) for label, values in series if values is not None]
    return sentence(shown.verdict, *(f"{label} from {values[0]:.3g} to {values[-1]:.3g}"
                                     for label, values in known if len(values)))


def _lengths(ax: Axes, shown: Description) -> None:
    """Mean lengths, and the line through that of all, with its error."""
    curves, trend = shown.curves, shown.trends["length"]
    _drawn(ax, curves, LENGTHS, "Mean length", "tokens")
    x = curves.steps - curves.steps.mean()
    line = curves.length.mean() + trend.slope * x
    ax.plot(curves.steps, line, color=GREY, linewidth=1.0, label="line")
    if not np.isnan(trend.stderr):
        wide = 2.0 * trend.stderr * np.abs(x)
        ax.fill_between(curves.steps, line - wide, line + wide, color=GREY, alpha=0.2, linewidth=0)
    legend(ax, ncols=2)


def _drawn(ax: Axes, curves: Curves, looks: Looks, title: str, unit: str) -> None:
    """The series that there are."""
    few = len(curves) <= 40
    for name, label, colour, dash in looks:
        values = getattr(curves, name)
        if values is not None:
            known = np.isfinite(values)
            ax.plot(curves.steps[known], values[known], dash, marker="o" if few else "", markersize=3.0, color=colour,
                    linewidth=1.3, label=label)
    if unit == "share":
        ax.set_ylim(-0.03, 1.03)
    heading(ax, title)
    ax.set(xlabel="step", ylabel=unit)
    ax.grid(True)
    step_ticks(ax.xaxis)
    if any(label for _, label, *_ in looks):
        legend(ax, ncols=2)
