"""The picture of a drift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lossim._engine import ROLES, TERMS
from lossim._pictures.sheets import (
    BLACK,
    MOST_CELLS,
    OUTCOMES,
    Given,
    entry,
    heading,
    label,
    legend,
    looks,
    sentence,
    sheet,
    signs,
    stacked,
    whole,
)
from lossim._support.types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lossim._engine import Drift

_TAIL = 0.005
"""Share of a path's responses on either side whose lengths are not drawn."""
_BINS = 12
"""Bins of equal probability into which sampled effective rewards are averaged."""
_SMALL = 0.005
"""Bars below this share of the largest are added up in one."""


def plot_drift(result: Drift, ax: Given = None) -> Figure:
    """What the loss pays for, and where the drift comes from: two panels.

    First, effective reward against length, one curve per path, over the lengths of its middle 99 % of responses, with
    a dot at the mean length. Where a curve rises, responses are drawn on. Sampled results are averaged over 12 bins of
    equal numbers of responses, with bars of about one standard error. Second, the contributions that add up to the
    drift, by path and token, split by the outcome of the response; sampled ones with bars of one standard error or
    a little more; below them the sum, and how much of it is needed for accuracy and how much free.
    """
    rows = _rows(result)
    title = f"{result.scheme.name}: {result.verdict}"
    entries = len(result.cells) if len(result.cells) <= MOST_CELLS else len({path for _, path, *_ in result.cells})
    heights = (2.2 + 0.155 * entries, 1.3 + stacked([name for name, *_ in (*rows, *_sums(result))]))
    with sheet(title, describe_drift(result), heights, ax) as (figure, (first, second)):
        _draw_reward(first, result)
        _draw_sources(second, result, rows)
    return figure


def describe_drift(result: Drift) -> str:
    """What the picture shows, in a sentence."""
    said = [f"{result.scheme.name}: {result.verdict}"]
    nets = [(name, float(parts.sum())) for name, parts, _ in _rows(result)]
    if nets:
        name, net = max(nets, key=lambda row: abs(row[1]))
        said += [f"of the {float(result.length):+.3g} tokens per unit step the largest part is {name}, {net:+.3g}",
                 f"needed for accuracy are {float(result.needed):+.3g}, free {float(result.free):+.3g}"]
    return sentence(*said)


def _draw_reward(axes: Axes, result: Drift) -> None:
    policy = result.policy
    many = len(result.cells) > MOST_CELLS
    dots = False
    for cell, (colour, dash, name) in enumerate(looks(axes, policy.cell_names)):
        t, value, bar = _curve(result, cell)
        if policy.cell_weight[cell] == 0 or not len(t):
            continue
        few = bar is not None or len(t) <= _BINS
        share = 100 * policy.cell_weight[cell] * policy.ends[cell].sum()
        axes.plot(t, value, dash, color=colour, linewidth=1.0 if many else 1.6, marker="o" if few else "",
                  markersize=3.0, label=name and entry(f"{name} ({share:.3g} %)"))
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
    whole(axes.xaxis, *axes.get_xlim())
    axes.axhline(0.0, color=BLACK, linewidth=0.8, zorder=1.5)
    axes.yaxis.set_major_formatter(lambda y, _: signs(f"{y:g}"))
    axes.grid(True)
    heading(axes, "Where a curve rises, responses are drawn on")
    axes.set(ylabel="effective reward\n(mean 0 on each path)",
             xlabel="length (tokens; dots: means)" if dots else "length (tokens)")
    if axes.get_legend_handles_labels()[1]:
        legend(axes, title="path" if many else "path (share of responses)")
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


Row = tuple[str, FloatArray, float]
"""A bar: its label, the contribution by outcome, and the standard error of their sum."""


def _rows(result: Drift) -> list[Row]:
    """The bars: path × token × term, without those that are exactly 0, the smallest added up."""
    value = np.asarray(result.sources.value)
    stderr = np.broadcast_to(result.sources.stderr, value.shape)
    whole_name = len(result.policy.classes) > 1 and len(result.cells) <= MOST_CELLS
    labels = [", ".join([f"{prompts} / {path}" if whole_name else path, *state])
              for prompts, path, *state in result.cells]
    rows: list[Row] = []
    for name in dict.fromkeys(labels):
        mine = [cell for cell, other in enumerate(labels) if other == name]
        for r, role in enumerate(ROLES):
            for t, term in enumerate(TERMS):
                of = {"policy": "", "kl": " (KL)"}.get(term, f" ({term})")
                parts = value[mine][:, :, r, t].sum(axis=0)
                rows.append((f"{name}: {role}{of}", parts, float(stderr[mine][:, :, r, t].sum())))

    # what is below 1e-9 of the largest is rounding
    sizes = np.array([np.abs(parts).sum() for _, parts, _ in rows])
    shares = sizes / (sizes.max() or 1.0)
    small = [row for row, share in zip(rows, shares, strict=True) if 1e-9 < share < _SMALL]
    large = [row for row, share in zip(rows, shares, strict=True) if share >= _SMALL]
    if len(small) < 2:
        return large + small
    rest = np.sum([parts for _, parts, _ in small], axis=0)
    return [*large, (f"{len(small)} smaller ones", rest, sum(stderr for *_, stderr in small))]


def _sums(result: Drift) -> list[Row]:
    """The bars below the others."""
    sums = (("sum", result.length), ("needed for accuracy", result.needed), ("free", result.free))
    return [(name, np.array([float(x)]), float(x.stderr)) for name, x in sums]


def _draw_sources(axes: Axes, result: Drift, rows: list[Row]) -> None:
    heading(axes, "Sources of the drift: path, token and outcome")
    axes.set(xlabel="contribution to mean length\n(tokens per unit step)")
    axes.axvline(0.0, color=BLACK, linewidth=0.8)
    if not rows:
        axes.set(xlim=(-1.0, 1.0), xticks=[0.0], ylim=(0.0, 1.0), yticks=[])
        axes.text(0.0, 0.5, "none", ha="center", va="center", backgroundcolor="white")
        return
    sums = _sums(result)
    bars = [*rows, *sums]
    places = np.arange(len(bars))[::-1]
    for place, (name, parts, stderr) in zip(places, bars, strict=True):
        total = place < len(sums)
        _stack(axes, place, parts, [("white", "")] if total else [look for _, *look in OUTCOMES], bold=name == "sum")
        net = float(parts.sum())
        if result.length.method == "monte carlo":
            axes.errorbar(net, place, xerr=stderr, fmt="none", ecolor=BLACK, elinewidth=1.2, capsize=3.0)
        axes.text(1.02, place, signs(f"{net:+.3g}"), transform=axes.get_yaxis_transform(), va="center",
                  ha="left", fontsize=8.0, fontweight="bold" if name == "sum" else "normal")
    axes.use_sticky_edges = False
    axes.margins(x=0.06)
    axes.set_yticks(places, [label(name) for name, *_ in bars])
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.axhline(len(sums) - 0.5, color=BLACK, linewidth=0.5)
    axes.grid(True, axis="x")
    axes.xaxis.set_major_formatter(lambda x, _: signs(f"{x:g}"))
    axes.locator_params(axis="x", nbins=4)
    _outcomes(axes, rows)


def _stack(axes: Axes, place: int, parts: FloatArray, looks: Sequence[Sequence[str]], bold: bool) -> None:
    """Parts side by side from 0, those of one sign one after the other."""
    ends = {1: 0.0, -1: 0.0}
    for part, (colour, hatch) in zip(parts, looks, strict=True):
        side = 1 if part > 0 else -1
        axes.barh(place, part, left=ends[side], height=0.62, color=colour, hatch=hatch, edgecolor=BLACK,
                  linewidth=1.3 if bold else 0.5)
        ends[side] += part


def _outcomes(axes: Axes, rows: list[Row]) -> None:
    """The legend of those outcomes that some bar has."""
    from matplotlib.patches import Patch

    legend(axes, lines=2, ncols=3, title="outcome of the response", handles=[
        Patch(facecolor=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.5, label=name)
        for e, (name, colour, hatch) in enumerate(OUTCOMES) if any(parts[e] != 0 for _, parts, _ in rows)])
