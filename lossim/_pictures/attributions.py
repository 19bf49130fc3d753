"""The picture of an attribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossim._pictures.sheets import BLACK, BLUE, LIGHT, VERMILION, Given, label, sentence, sheet, signs
from lossim._support.doubts import range_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lossim._changes import Attribution
    from lossim._support.doubts import Doubt
    from lossim.estimates import Estimate


def plot_attribution(result: Attribution, ax: Given = None) -> Figure:
    """A waterfall: the drift under each scheme, and between two of them what each slot adds, from where the last ended.

    Whiskers are the range over plausible kernels, and over critics where none was given; a bar whose sign hangs on
    them is hatched. Of what is sampled the standard error stands beside it.
    """
    count = len(result.drifts) + len(result.shares)
    with sheet(result.verdict, describe_attribution(result), (0.7 + 0.24 * count,), ax) as (figure, (axes,)):
        places = iter(range(count))
        first = result.drifts[0]
        labels = [first.change]
        _draw(axes, next(places), first.length_per_kl, first.doubts)
        for start, end, shares in result.legs:
            level = float(start.length_per_kl)
            for share in shares:
                _draw(axes, next(places), share.length_per_kl, share.doubts, level)
                level += float(share.length_per_kl)
                labels.append(share.name)
            _draw(axes, next(places), end.length_per_kl, end.doubts)
            labels.append(end.change)
        axes.axvline(0.0, color=BLACK, linewidth=0.8)
        axes.set_yticks(range(count), [label(name) for name in labels])
        axes.set(ylim=(count - 0.4, -0.6),
                 xlabel="drift of mean length (tokens in 0.01 nats;\nhatched: sign undecided)")
        axes.xaxis.set_major_formatter(lambda x, _: signs(f"{x:g}"))
        axes.locator_params(axis="x", nbins=5)
        axes.grid(True, axis="x")
    return figure


def describe_attribution(result: Attribution) -> str:
    """What the picture shows, in a sentence."""
    open_signs = [share.name for share in result.shares if share.undecided]
    hang = f"the sign hangs on what is not known for {', '.join(dict.fromkeys(open_signs))}"
    return sentence(result.verdict, *([hang] if open_signs else []))


def _draw(axes: Axes, place: int, tokens: Estimate, doubts: Sequence[Doubt], level: float | None = None) -> None:
    """A bar with its whiskers: a whole drift from 0, or a share from the level where the bar above it ends."""
    value = float(tokens)
    base = level or 0.0
    colour = LIGHT if level is None else VERMILION if value > 0 else BLUE
    undecided = any(doubt.turns for doubt in doubts)
    axes.barh(place, value, left=base, height=0.62, color=colour, edgecolor=BLACK, linewidth=0.5,
              hatch="////" if undecided else "")
    low, high = range_over(value, doubts)
    if low < high:
        axes.plot([base + low, base + high], [place, place], color=BLACK, linewidth=1.0, marker="|", markersize=5.0)
    if level is not None:  # joined to the bar above it
        axes.plot([base, base], [place - 0.69, place - 0.31], color=BLACK, linewidth=0.6)
    said = "~0" if abs(value) <= float(tokens.error) else f"{value:+.3g}"
    said += f" ± {float(tokens.stderr):.2g}" if tokens.stderr else ""
    axes.text(1.01, place, signs(said), transform=axes.get_yaxis_transform(), va="center", fontsize=8.0,
              fontweight="bold" if level is None else "normal")
