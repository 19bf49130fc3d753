"""Pictures of results. matplotlib is imported when one is asked for, and pyplot not at all."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._engine import ROLES, TERMS
from lossim._support.types import FloatArray, IntArray
from lossim.curves import Curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lossim._engine import Drift
    from lossim._training import Training

# Okabe and Ito's colours, which colour-blind readers can tell apart; paths take them in turn.
_BLUE = "#0072B2"
_VERMILION = "#D55E00"
_GREEN = "#009E73"
_ORANGE = "#E69F00"
_PURPLE = "#CC79A7"
_SKY = "#56B4E9"
_PATHS = (_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY)
OUTCOMES = (("correct", _SKY, ""), ("incorrect", _ORANGE, "////"), ("truncated", "#999999", "||||"))
_DASHES = ("-", "--", ":", "-.")
_STYLE: Any = {
    "font.size": 9.0, "axes.titlesize": 9.5, "axes.labelsize": 9.0, "legend.fontsize": 8.0,
    "legend.title_fontsize": 8.0, "xtick.labelsize": 8.0, "ytick.labelsize": 8.0, "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlelocation": "left", "axes.axisbelow": True, "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6, "legend.frameon": False, "hatch.linewidth": 0.5, "figure.dpi": 150.0, "savefig.dpi": 150.0}
_TAIL = 0.005
"""Share of a path's responses on either side whose lengths are not drawn."""
_BINS = 12
"""Bins of equal probability into which sampled effective rewards are averaged."""
_MOST_CELLS = 6
"""Cells with a name of their own; with more, a path has one name in all classes."""
_SMALL = 0.005
"""Bars below this share of the largest are added up in one."""


@contextmanager
def sheet(title: str, panels: int, width: float, height: float) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure and its panels, side by side, in matplotlib's defaults and the style of these pictures.

    Whatever is set outside is put back afterwards.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, panels))
        figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
        yield figure, list(axes)


def plot_drift(result: Drift) -> Figure:
    """What the loss pays for, and where the drift comes from, as one figure.

    Left: effective reward against length, one curve per path, over the lengths of its middle 99 % of responses, with a
    dot at the mean length. Where a curve rises, responses are drawn on. Sampled results are averaged over 12 bins of
    equal numbers of responses, with bars of about one standard error. Right: the contributions that add up to the
    drift, by path and token, split by the outcome of the response; sampled ones with bars of one standard error or
    a little more; below them the sum, and how much of it is needed for accuracy and how much free.
    """
    from matplotlib.patches import Patch

    rows = _rows(result)
    title = textwrap.fill(signs(f"{result.scheme.name}: {result.verdict}"), 90)
    with sheet(title, 2, 8.6, max(3.6, 2.5 + 0.29 * len(rows))) as (figure, (left, right)):
        _draw_reward(left, result)
        _draw_sources(right, result, rows)
        handles = [Patch(facecolor=colour, hatch=hatch, edgecolor="black", linewidth=0.5, label=name)
                   for e, (name, colour, hatch) in enumerate(OUTCOMES) if any(parts[e] != 0 for _, parts, _ in rows)]
        if handles:
            figure.legend(handles=handles, title="outcome", ncols=3, loc="outside lower right", columnspacing=1.2)
    return figure


def signs(text: str) -> str:
    """The text with minus signs in front of its numbers, as in the labels of axes."""
    return re.sub(r"(?<![^\s(e])-(?=[\d.])", "−", text)


def _looks(axes: Axes, names: Sequence[tuple[str, ...]]) -> list[tuple[str, str, str | None]]:
    """How the lines of cells or paths look: a colour for each path, a dash for each class and state, and a name.

    With many of them there is one dash, and one name for each path, which goes to the legend.
    """
    many = len(names) > _MOST_CELLS
    classes = list(dict.fromkeys(prompts for prompts, *_ in names))
    states = list(dict.fromkeys(tuple(state) for _, _, *state in names))
    colours: dict[str, str] = {}
    looks: list[tuple[str, str, str | None]] = []
    for prompts, path, *state in names:
        if path not in colours:
            colours[path] = _PATHS[len(colours) % len(_PATHS)]
            if many:
                axes.plot([], [], color=colours[path], label=f"{path}: one line per class")
        name = ", ".join([f"{prompts} / {path}" if len(classes) > 1 else path, *state])
        dash = classes.index(prompts) + states.index(tuple(state))
        looks.append((colours[path], "-", None) if many else (colours[path], _DASHES[dash % len(_DASHES)], name))
    return looks


def _draw_reward(axes: Axes, result: Drift) -> None:
    policy = result.policy
    many = len(result.cells) > _MOST_CELLS
    dots = False
    for cell, (colour, dash, name) in enumerate(_looks(axes, policy.cell_names)):
        t, value, bar = _curve(result, cell)
        if policy.cell_weight[cell] == 0 or not len(t):
            continue
        few = bar is not None or len(t) <= _BINS
        share = 100 * policy.cell_weight[cell] * policy.ends[cell].sum()
        axes.plot(t, value, dash, color=colour, linewidth=1.0 if many else 1.6, marker="o" if few else "",
                  markersize=3.0, label=name and f"{name} ({share:.3g} %)")
        if bar is not None:
            axes.errorbar(t, value, yerr=bar, fmt="none", ecolor=colour, elinewidth=1.0, capsize=2.0)
        if not few:
            dots = True
            mean = float(policy.ends[cell] @ policy.length / policy.ends[cell].sum())
            axes.plot(mean, np.interp(mean, t, value), "o", color=colour, markersize=3.0 if many else 5.0)

    # lengths by their logarithm, effective reward by its zero
    low, high = axes.get_xlim()
    axes.set_xscale("log")
    if high - low < 2:  # one length alone
        axes.set_xlim(0.3 * (low + high), 0.8 * (low + high))
    _whole_ticks(axes)
    axes.axhline(0.0, color="black", linewidth=0.8, zorder=1.5)
    axes.yaxis.set_major_formatter(lambda y, _: signs(f"{y:g}"))
    axes.grid(True)
    axes.set(title="Where a curve rises, responses are drawn on", ylabel="effective reward (mean 0 on each path)",
             xlabel="length (tokens; dots: means)" if dots else "length (tokens)")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(title="path" if many else "path (share of responses)", loc="best")
    else:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "every stop is certain or impossible", transform=axes.transAxes, ha="center")


def _curve(result: Drift, cell: int) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """Lengths, effective reward and its standard error, where it is known in the middle of the law of ends."""
    ends = result.policy.ends[cell]  # truncated ones at the last position
    ends = ends / (ends.sum() or 1.0)
    first, last = np.searchsorted(np.cumsum(ends), [_TAIL, 1.0 - _TAIL])
    inside = slice(first, min(last + 1, len(ends) - 1))
    value = np.asarray(result.effective_reward.value)[cell, inside]
    known = np.isfinite(value)
    t = 1.0 + np.arange(len(ends))[inside][known]
    value = value[known]
    if result.effective_reward.method != "monte carlo" or not len(t):
        return t, value, None

    # averages over bins of equal numbers of responses
    stderr = np.asarray(result.effective_reward.stderr)[cell, inside][known]
    mass = result.policy.pmf[cell, inside][known]
    bins = np.minimum((np.cumsum(mass) - mass / 2) / mass.sum() * _BINS, _BINS - 1).astype(np.int64)
    weight = np.bincount(bins, weights=mass, minlength=_BINS)
    filled = weight > 0

    def averaged(x: FloatArray) -> FloatArray:
        return np.bincount(bins, weights=mass * x, minlength=_BINS)[filled] / weight[filled]

    own = np.sqrt(averaged(mass * stderr**2) / weight[filled])  # positions are nearly independent, ...
    shift = np.sqrt(((mass * stderr) ** 2).sum()) / mass.sum()  # ... but each cell is shifted to mean 0
    return averaged(t), averaged(value), np.hypot(own, shift)


def _whole_ticks(axes: Axes) -> None:
    """Whole numbers of tokens on the logarithmic axis, as many as are easily read."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axes.get_xlim()
    by_span = {3000.0: (1.0,), 30.0: (1.0, 3.0), 0.0: (1.0, 2.0, 5.0)}
    factors = next(factors for span, factors in by_span.items() if high / low > span)
    axes.xaxis.set_major_locator(LogLocator(subs=factors))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x >= 1 else "")
    axes.xaxis.set_minor_formatter(NullFormatter())


Row = tuple[str, FloatArray, float]
"""A bar: its label, the contribution by outcome, and the standard error of their sum."""


def _rows(result: Drift) -> list[Row]:
    """The bars: path × token × term, without those that are exactly 0, the smallest added up."""
    value = np.asarray(result.sources.value)
    stderr = np.broadcast_to(result.sources.stderr, value.shape)
    whole_name = len(result.policy.classes) > 1 and len(result.cells) <= _MOST_CELLS
    labels = [", ".join([f"{prompts} / {path}" if whole_name else path, *state])
              for prompts, path, *state in result.cells]
    rows: list[Row] = []
    for label in dict.fromkeys(labels):
        mine = [cell for cell, other in enumerate(labels) if other == label]
        for r, role in enumerate(ROLES):
            for t, term in enumerate(TERMS):
                of = {"policy": "", "kl": " (KL)"}.get(term, f" ({term})")
                parts = value[mine][:, :, r, t].sum(axis=0)
                rows.append((f"{label}: {role}{of}", parts, float(stderr[mine][:, :, r, t].sum())))

    # what is below 1e-9 of the largest is rounding
    sizes = np.array([np.abs(parts).sum() for _, parts, _ in rows])
    shares = sizes / (sizes.max() or 1.0)
    small = [row for row, share in zip(rows, shares, strict=True) if 1e-9 < share < _SMALL]
    large = [row for row, share in zip(rows, shares, strict=True) if share >= _SMALL]
    if len(small) < 2:
        return large + small
    rest = np.sum([parts for _, parts, _ in small], axis=0)
    return [*large, (f"{len(small)} smaller ones", rest, sum(stderr for *_, stderr in small))]


def _draw_sources(axes: Axes, result: Drift, rows: list[Row]) -> None:
    axes.set(title="Sources of the drift: path, token and outcome",
             xlabel="contribution to mean length (tokens per unit step)")
    axes.axvline(0.0, color="black", linewidth=0.8)
    if not rows:
        axes.set(xlim=(-1.0, 1.0), xticks=[0.0], ylim=(0.0, 1.0), yticks=[])
        axes.text(0.0, 0.5, "none", ha="center", va="center", backgroundcolor="white")
        return
    sums = [("sum", result.length), ("needed for accuracy", result.needed), ("free", result.free)]
    bars = [*rows, *((label, np.array([float(x)]), float(x.stderr)) for label, x in sums)]
    places = np.arange(len(bars))[::-1]
    for place, (label, parts, stderr) in zip(places, bars, strict=True):
        total = place < len(sums)
        looks = [("white", "")] if total else [(colour, hatch) for _, colour, hatch in OUTCOMES]
        ends = {1: 0.0, -1: 0.0}  # parts of one sign are stacked
        for part, (colour, hatch) in zip(parts, looks, strict=True):
            side = 1 if part > 0 else -1
            axes.barh(place, part, left=ends[side], height=0.62, color=colour, hatch=hatch, edgecolor="black",
                      linewidth=1.3 if label == "sum" else 0.5)
            ends[side] += part
        net = float(parts.sum())
        if result.length.method == "monte carlo":
            axes.errorbar(net, place, xerr=stderr, fmt="none", ecolor="black", elinewidth=1.2, capsize=3.0)
        axes.text(1.01, place, signs(f"{net:+.3g}"), transform=axes.get_yaxis_transform(), va="center",
                  ha="left", fontsize=8.0, fontweight="bold" if label == "sum" else "normal")
    axes.use_sticky_edges = False
    axes.margins(x=0.06)
    axes.set_yticks(places, [label for label, *_ in bars])
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.axhline(len(sums) - 0.5, color="black", linewidth=0.5)
    axes.grid(True, axis="x")
    axes.xaxis.set_major_formatter(lambda x, _: signs(f"{x:g}"))
    axes.locator_params(axis="x", nbins=5)


def plot_training(run: Training) -> Figure:
    """A run as one figure: mean length on each path, what moved it and what that bought, accuracy and cut responses.

    Of a sampled run the median over replicates, with a band that 5 % of them are below and 5 % above.
    """
    first = float(np.median(run.length[0]))
    last = float(np.median(run.length[-1]))
    verb = {1: "lengthens", -1: "shortens"}.get(np.sign(last - first), "keeps")
    title = (f"{run.scheme.name} {verb} responses from {first:.4g} to {last:.4g} tokens in {run.steps:,} "
             f"step{'s' if run.steps > 1 else ''}")
    if run.replicates is not None:
        title += f" ({run.replicates:,} replicates, 5–95 %)"
    with sheet(title, 3, 10.2, 3.5) as (figure, (lengths, causes, shares)):
        looks = _looks(lengths, run.start.layout.path_names)
        for (colour, dash, name), weight, series in zip(looks, run.start.path_weight,
                                                        np.moveaxis(run.length_by_path, -1, 0), strict=True):
            if weight != 0:
                _draw_series(lengths, series, name, colour, dash, 1.0)
        _draw_series(lengths, run.length, "all responses", "black", "-", 2.2)
        lengths.set(title="Mean length", ylabel="tokens", ylim=(0.0, None))
        lengths.legend()

        start = np.zeros_like(run.length[:1])
        for label, change, colour, dash in (("lengths on paths", run.within, _BLUE, "-"),
                                            ("paths' frequency", run.composition, _VERMILION, "-"),
                                            ("needed for accuracy", run.needed, _GREEN, "--"),
                                            ("free", run.free, "#666666", "--")):
            _draw_series(causes, np.concatenate([start, np.cumsum(change, axis=0)]), label, colour, dash)
        causes.axhline(0.0, color="black", linewidth=0.8, zorder=1.5)
        causes.set(title="What moved the mean", ylabel="change of mean length (tokens)")
        causes.legend(title="by cause (-), by what it buys (--)")

        _draw_series(shares, run.accuracy, "P(correct)", _GREEN)
        _draw_series(shares, run.truncation_rate, "P(truncated)", "#666666", "--")
        shares.set(title="Accuracy and cut responses", ylabel="probability", ylim=(-0.02, 1.02))
        shares.legend()
        for axes in (lengths, causes, shares):
            axes.set(xlabel="step (rollouts)", xlim=(0, max(run.steps, 1)))
            axes.grid(True)
    return figure


def _draw_series(axes: Axes, series: FloatArray, label: str | None, colour: str, dash: str = "-", width: float = 1.6
                 ) -> None:
    """A line over steps; over replicates, [step, replicate], the median and a band."""
    steps = np.arange(len(series))
    if series.ndim == 1:
        axes.plot(steps, series, dash, color=colour, linewidth=width, label=label)
        return
    low, middle, high = np.quantile(series, (0.05, 0.5, 0.95), axis=1)
    axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(steps, middle, dash, color=colour, linewidth=width, label=label)


def plot_forecast(title: str, seen: Curves, steps: IntArray, length: FloatArray, level: float,
                  bands: Mapping[str, tuple[FloatArray, FloatArray]]) -> Figure:
    """A forecast as one figure: mean lengths that were seen and their ``level``, where they go, and bands by name."""
    with sheet(textwrap.fill(signs(title), 76), 1, 6.4, 3.9) as (figure, (axes,)):
        axes.plot(seen.steps, seen.length, "o", color="black", markersize=3.5, label="seen")
        for name, (low, high) in bands.items():
            axes.fill_between(steps, low, high, color=_BLUE, alpha=0.2, linewidth=0, label=name)
        axes.plot(steps, length, color=_BLUE, linewidth=2.0, label="forecast")
        axes.axhline(level, color="#666666", linestyle="--", linewidth=1.0, label="mean of the steps seen")
        axes.set(xlabel="step (rollouts)", ylabel="tokens", title="Mean length", xlim=(seen.steps[0], steps[-1]))
        axes.legend()
        axes.grid(True)
    return figure
