"""The picture of an audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lossim._pictures.sheets import (
    BLACK,
    BLUE,
    LIGHT,
    OUTCOMES,
    Given,
    heading,
    label,
    legend,
    sentence,
    sheet,
    signs,
    stacked,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lossim._auditing import Audit, Finding
    from lossim.estimates import Estimate

AS_LOGGED = "as logged"
LENGTHS = "as logged, lengths on paths change"
PATHS = "as logged, paths change frequency"
NEEDED = "as logged, needed: it changes accuracy"
FREE = "as logged, free: it only pays the loss"
BARS = 12
"""Bars at most in the second panel: the largest ones."""


def plot_audit(audit: Audit, ax: Given = None) -> Figure:
    """Where the drift of the first scheme comes from, and what other settings would do: two panels.

    First, contributions of responses by length, stacked by outcome. Second, the drift, what it is made of and buys, and
    what it is under other needed shares and other settings of the scheme; or the drifts of the other schemes where the
    audit has several; as far as they are told from noise. Bars of one standard error. All in a step of 0.01 nats, the
    first panel per unit step where such a step is not known.
    """
    shown = _rows(audit)
    bins = int(np.count_nonzero(audit.findings[0].share))
    heights = (1.5 + 0.22 * bins, 0.8 + stacked([name for name, _ in shown]))
    with sheet(audit.verdict, describe_audit(audit), heights, ax) as (figure, (first, second)):
        _draw_lengths(first, audit.findings[0])
        _draw_rows(second, shown, len(audit.findings) > 1)
    return figure


def describe_audit(audit: Audit) -> str:
    """What the picture shows, in a sentence."""
    said = [audit.verdict]
    rows = _rows(audit)
    if rows:
        (least, low), (most, high) = (pick(rows, key=lambda row: float(row[1])) for pick in (min, max))
        said.append(f"of {len(rows)} readings of the log, in tokens in 0.01 nats, the lowest is {least}, "
                    f"{float(low):+.3g}, and the highest {most}, {float(high):+.3g}")
    return sentence(*said)


def _rows(audit: Audit) -> list[tuple[str, Estimate]]:
    """Labels and drifts of the right side, the scheme itself first."""
    first = audit.findings[0]
    if len(audit.findings) > 1:
        rows = [(each.name, each.length_per_kl) for each in audit.findings if np.isfinite(float(each.length_per_kl))]
        return sorted(rows, key=lambda row: float(row[1]))
    other = [(each.change, each.length_per_kl) for each in first.what_if if np.isfinite(float(each.length_per_kl))]
    if np.isnan(float(first.length_per_kl)):
        return other[:BARS]
    parts = ((LENGTHS, first.drift.within), (PATHS, first.drift.composition), (NEEDED, first.drift.needed),
             (FREE, first.drift.free))
    own = [(AS_LOGGED, first.length_per_kl)]
    own += [(label, x * first.rate) for label, x in parts if np.isfinite(float(x)) and float(x)]
    own += [(f"if {at.share:.3g} of a right response was needed", at.length_per_kl) for at in first.over_needed
            if np.isfinite(float(at.length_per_kl))]
    apart = sorted(other, key=lambda row: -abs(float(row[1]) - float(first.length_per_kl)))[:max(BARS - len(own), 3)]
    return [*own, *(row for row in other if row in apart)]


def _draw_lengths(ax: Axes, finding: Finding) -> None:
    known = np.isfinite(finding.rate)
    per = finding.rate if known else 1.0
    ax.axvline(0.0, color=BLACK, linewidth=0.8)
    heading(ax, "Where the drift comes from")
    ax.set(ylabel="length of the response (tokens)",
           xlabel=f"contribution\n(tokens {'in 0.01 nats' if known else 'per unit step'})")
    shown = np.flatnonzero(finding.share)
    ends = [*(f"–{last - 1:,}" for last in finding.length_bins[1:]), " on"]
    ax.set_yticks(range(len(shown)), [f"{finding.length_bins[i]:,}{ends[i]}" for i in shown])
    ax.set_ylim(-0.6, len(shown) - 0.4)
    if finding.sources is None:
        ax.text(0.5, 0.5, "not known:\nλ depends on the length", transform=ax.transAxes, ha="center", va="center")
        return
    by_outcome = finding.sources.value.sum(axis=(0, 2))[:, shown] * per
    places = np.arange(len(shown))
    above = np.zeros(len(shown))  # parts of one sign are stacked
    below = np.zeros(len(shown))
    for (name, colour, hatch), parts in zip(OUTCOMES, by_outcome, strict=True):
        if not parts.any():
            continue
        base = np.where(parts >= 0, above, below)
        ax.barh(places, parts, left=base, color=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.5, height=0.7,
                label=name)
        above += np.maximum(parts, 0.0)
        below += np.minimum(parts, 0.0)
    total = finding.source("length")
    noise = np.nan_to_num(np.asarray(total.stderr))[shown] * abs(per)
    ax.errorbar(by_outcome.sum(axis=0), places, xerr=noise, fmt="D", color=BLACK, markersize=3.5, linewidth=1.0,
                label="sum")
    ax.use_sticky_edges = False
    ax.margins(x=0.06)
    ax.xaxis.set_major_formatter(lambda x, _: signs(f"{x:g}"))
    legend(ax, lines=2, ncols=4, handletextpad=0.4)


def _draw_rows(ax: Axes, rows: list[tuple[str, Estimate]], schemes: bool) -> None:
    heading(ax, f"The same log under other {'schemes' if schemes else 'settings'}")
    ax.set_xlabel("change of mean length\n(tokens in 0.01 nats)")
    y = np.arange(len(rows))[::-1]
    value = np.array([float(x) for _, x in rows])
    noise = np.nan_to_num([float(x.stderr) for _, x in rows])
    colours = [BLUE if name.startswith(AS_LOGGED) else LIGHT for name, _ in rows]
    ax.barh(y, value, xerr=noise, color=colours, edgecolor=BLACK, linewidth=0.5, height=0.7,
            error_kw={"linewidth": 1.0})
    ax.axvline(0.0, color=BLACK, linewidth=0.8)
    if rows and rows[0][0] == AS_LOGGED:
        ax.axvline(value[0], color=BLUE, linewidth=0.8, linestyle="--")
    if not rows:
        ax.text(0.5, 0.5, "not told from noise", transform=ax.transAxes, ha="center")
    ax.set_yticks(y, [label(name) for name, _ in rows])
    ax.xaxis.set_major_formatter(lambda x, _: signs(f"{x:g}"))
    ax.use_sticky_edges = False
    ax.margins(x=0.06)
    ax.set_ylim(-0.7, len(rows) - 0.3)
