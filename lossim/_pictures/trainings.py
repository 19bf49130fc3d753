"""Pictures of a run and of a forecast, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lossim._pictures.sheets import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    MOST_CELLS,
    VERMILION,
    Given,
    entry,
    heading,
    legend,
    looks,
    sentence,
    sheet,
    step_ticks,
    whole,
)
from lossim._support.types import FloatArray, IntArray
from lossim.curves import Curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lossim._training import Training

_APART = 4.0
"""Mean lengths are drawn by their logarithm where the largest is so many times the smallest."""
_SHORT = 10
"""Letters of names of which two stand side by side."""
_TINTS = ("#CCE3F0", "#9FCAE3")
"""Of the wide band of a forecast, and of those inside it."""


def plot_training(run: Training, ax: Given = None) -> Figure:
    """A run in three panels: mean length on each path, what moved it and what that bought, accuracy and cut responses.

    Of a sampled run the median over replicates, with a band that 5 % of them are below and 5 % above.
    """
    names = run.start.layout.path_names
    columns = 2 if max(len(part) for name in names for part in name) <= _SHORT else 1
    entries = 1 + (len(names) if len(names) <= MOST_CELLS else len({path for _, path, *_ in names}))
    heights = (2.2 + 0.155 * np.ceil(entries / columns), 2.6, 2.1)
    with sheet(_title(run), describe_training(run), heights, ax) as (figure, (lengths, causes, shares)):
        _draw_lengths(lengths, run)
        for label, change, colour, dash in _causes(run):
            _draw_series(causes, change, label, colour, dash)
        causes.axhline(0.0, color=BLACK, linewidth=0.8, zorder=1.5)
        heading(causes, "What moved the mean: causes (–), uses (--)")
        causes.set(ylabel="change of mean length\n(tokens)")
        _draw_series(shares, run.accuracy, "P(correct)", GREEN)
        _draw_series(shares, run.truncation_rate, "P(truncated)", GREY, "--")
        heading(shares, "Accuracy and cut responses")
        shares.set(ylabel="probability", ylim=(-0.02, 1.02))
        for axes in (lengths, causes, shares):
            axes.set(xlabel="step (rollouts)", xlim=(0, max(run.steps, 1)))
            axes.grid(True)
            step_ticks(axes.xaxis)
            legend(axes, ncols=columns if axes is lengths else 2)
    return figure


def describe_training(run: Training) -> str:
    """What the picture shows, in a sentence."""
    moved = ", ".join(f"{label} {_middle(change)[-1]:+.3g}" for label, change, *_ in _causes(run))
    ends = [f"{name} from {_middle(series)[0]:.3g} to {_middle(series)[-1]:.3g}"
            for name, series in (("P(correct)", run.accuracy), ("P(truncated)", run.truncation_rate))]
    return sentence(_title(run), f"of the change, in tokens: {moved}", *ends)


def _title(run: Training) -> str:
    first, last = _middle(run.length)[[0, -1]]
    verb = {1: "lengthens", -1: "shortens"}.get(np.sign(last - first), "keeps")
    title = (f"{run.scheme.name} {verb} responses from {first:.4g} to {last:.4g} tokens in {run.steps:,} "
             f"step{'s' if run.steps > 1 else ''}")
    return title if run.replicates is None else f"{title} ({run.replicates:,} replicates, 5–95 %)"


def _middle(series: FloatArray) -> FloatArray:
    """A series over steps; over replicates, [step, replicate], the median."""
    return series if series.ndim == 1 else np.median(series, axis=1)


def _causes(run: Training) -> list[tuple[str, FloatArray, str, str]]:
    """Parts of the change of mean length since the start, with what they are called and how they look."""
    start = np.zeros_like(run.length[:1])
    parts = (("lengths on paths", run.within, BLUE, "-"), ("paths' frequency", run.composition, VERMILION, "-"),
             ("needed for accuracy", run.needed, GREEN, "--"), ("free", run.free, GREY, "--"))
    return [(label, np.concatenate([start, np.cumsum(change, axis=0)]), colour, dash)
            for label, change, colour, dash in parts]


def _draw_lengths(axes: Axes, run: Training) -> None:
    """Mean length on each path and of all, by its logarithm where paths are far apart."""
    drawn = [run.length]
    for (colour, dash, name), weight, series in zip(looks(axes, run.start.layout.path_names), run.start.path_weight,
                                                    np.moveaxis(run.length_by_path, -1, 0), strict=True):
        if weight != 0:
            _draw_series(axes, series, name and entry(name), colour, dash, 1.0)
            drawn.append(series)
    _draw_series(axes, run.length, "all responses", BLACK, "-", 2.2)
    heading(axes, "Mean length")
    axes.set(ylabel="tokens", ylim=(0.0, None))
    low, high = (float(find([find(series) for series in drawn])) for find in (np.min, np.max))
    if high > _APART * low:
        low, high = low / 1.3, 1.3 * high
        axes.set(yscale="log", ylim=(low, high), ylabel="tokens (log scale)")
        whole(axes.yaxis, low, high)


def _draw_series(axes: Axes, series: FloatArray, label: str | None, colour: str, dash: str = "-", width: float = 1.6
                 ) -> None:
    """A line over steps; over replicates, [step, replicate], the median and a band."""
    steps = np.arange(len(series))
    if series.ndim > 1:
        low, high = np.quantile(series, (0.05, 0.95), axis=1)
        axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(steps, _middle(series), dash, color=colour, linewidth=width, label=label)


Bands = Mapping[str, tuple[FloatArray, FloatArray]]
"""Lower and upper ends over steps, by name."""


def plot_forecast(title: str, seen: Curves, steps: IntArray, length: FloatArray, level: float, bands: Bands,
                  ax: Given = None) -> Figure:
    """A forecast: mean lengths that were seen and their ``level``, where they go, and bands by name."""
    with sheet(title, describe_forecast(title, seen, steps, length, level, bands), (3.0,), ax) as (figure, (axes,)):
        axes.plot(seen.steps, seen.length, "o", color=BLACK, markersize=3.5, label="seen", clip_on=False)
        for i, (name, (low, high)) in enumerate(bands.items()):
            axes.fill_between(steps, low, high, color=_TINTS[min(i, 1)], linewidth=0, label=name)
        axes.plot(steps, length, color=BLUE, linewidth=2.0, label="forecast")
        axes.axhline(level, color=GREY, linestyle="--", linewidth=1.0, label="mean of the steps seen")
        axes.set(xlabel="step (rollouts)", ylabel="mean length (tokens)", xlim=(seen.steps[0], steps[-1]))
        step_ticks(axes.xaxis)
        legend(axes, ncols=2)
        axes.grid(True)
    return figure


def describe_forecast(title: str, seen: Curves, steps: IntArray, length: FloatArray, level: float, bands: Bands) -> str:
    """What the picture shows, in a sentence."""
    ends = [f"{name} {low[-1]:,.4g} to {high[-1]:,.4g}" for name, (low, high) in bands.items()]
    return sentence(title, f"seen are {len(seen)} steps around {level:,.4g} tokens", ", ".join(
        [f"forecast of step {steps[-1]:,}: {length[-1]:,.4g}", *ends]))
