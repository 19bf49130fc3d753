"""What curves show and what they cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._display import WHOM, Page, Picture, Result, Section, Table, assumed, figure
from lossim._support.plain import plain
from lossim._support.text import Columns, Note, Sections, noted, wrapped
from lossim._support.types import FloatArray
from lossim.curves._trends import Split, Trend, ends, trend_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lossim.curves._curves import Curves

SHOWN = {"length": "mean length (tokens)", "terminated": "  of terminated ones", "length_right": "  of right ones",
         "length_wrong": "  of wrong ones", "truncated": "share cut", "accuracy": "accuracy", "reward": "mean reward",
         "dead_groups": "share of dead groups", "kl": "KL (nats per response)", "entropy": "entropy (nats per token)"}
"""The series in the order of print, in words."""
BY_CUT = ("terminated ones are {longer}", "cut ones are {longer}", "{more} are cut")
BY_GRADE = ("wrong ones are {longer}", "right ones are {longer}", "{more} are right")
"""The parts of a change, where a mean is split by being cut and by being right."""
SAYS = 0.1
"""Part of the change of mean length from which on its part is named in the verdict."""
MANY_DEAD = 0.5
CANNOT = Note("cannot", "means do not tell which responses changed, through which tokens, nor which part of the loss "
              "did it: a log of responses does, by audit")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Description(Result):
    """What curves show; see :meth:`lossim.Curves.describe`.

    Attributes:
        curves: the curves.
        trends: of each series with two numbers at least, by its name in the curves.
        by_cut: the change of mean length from the first fifth of the steps to the last, as a mixture of terminated
            responses and, with the share p, of cut ones; ``by_cut.parts`` are the tokens that the length of either and
            the share add. None where these are not known.
        by_grade: the same as a mixture of wrong and, with the share p, of right responses.
        cap: length of cut responses, tokens, as given or as the means have it; NaN if unknown.
        notes: of the curves, and what they cannot show.
    """

    curves: Curves
    trends: dict[str, Trend]
    by_cut: Split | None
    by_grade: Split | None
    cap: float
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Where mean length goes, and whose, in one line."""
        length = self.trends["length"]
        span = f"from {length.first:,.4g} to {length.last:,.4g} tokens in {length.steps:,} steps"
        rate = f"{length.slope:+.3g}{_error(length)} a step"
        if np.isnan(length.stderr):
            return f"too few steps to tell a trend of mean length: {span}"
        if not length.sure:
            return f"mean length has no trend beyond its noise: {span} ({rate})"
        way = "longer" if length.slope > 0 else "shorter"
        parts = _named(self.by_cut, BY_CUT) or _named(self.by_grade, BY_GRADE)
        return f"responses get {way}, {span} ({rate})" + (f": {parts}" if parts else "")

    def plot(self, ax: Axes | Sequence[Axes] | None = None) -> Figure:
        """Mean lengths, shares and reward by step: a panel for each that is known.

        Args:
            ax: where to draw, one matplotlib Axes or several: the first panel goes to the first, and so on. A figure of
                its own, the panels one above the other, unless given.

        Returns:
            The figure that it is drawn in, also where axes were given. ``.savefig(path)`` writes it, and a notebook
            shows it.
        """
        from lossim._pictures import plot_curves

        return plot_curves(self, ax)

    def _page(self) -> Page:
        picture = Picture(title="Mean lengths, shares and reward by step", alt=self.verdict, draw=self.plot)
        rows = tuple((SHOWN[name].strip(), figure(each.first, ",.4g"), figure(each.last, ",.4g"),
                      figure(each.slope, "+.3g"), figure(each.stderr, ".1g"), figure(each.noise, ".2g"))
                     for name, each in _ordered(self.trends))
        table = Table(title="", columns=("series", "first", "last", "change a step", "± stderr", "noise of a step"),
                      rows=rows, note="first and last are means over a fifth of the steps")
        parts = tuple(Table(title=f"Change of mean length, {title}", columns=("part", "tokens"),
                            rows=tuple((text, figure(tokens, "+,.4g")) for text, tokens in _worded(split, words)))
                      for title, split, words in (("by who is cut", self.by_cut, BY_CUT),
                                                  ("by grade", self.by_grade, BY_GRADE)) if split is not None)
        seen = f"{len(self.curves):,} steps, {self.curves.steps[0]:,} to {self.curves.steps[-1]:,}"
        return self._paged("curves", Section(title="Where length goes", parts=(picture, table)),
                           Section(title=WHOM, parts=parts), assumed(self.notes, {"curves": seen}))

    def _columns(self) -> dict[str, Any]:
        """A row for each series: where it starts and ends, its slope and its noise."""
        each = [trend for _, trend in _ordered(self.trends)]
        return {"series": [trend.name for trend in each],
                **{name: [getattr(trend, name) for trend in each]
                   for name in ("first", "last", "slope", "stderr", "noise", "steps", "sure")}}

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON (None for NaN)."""
        series = {name: getattr(self.curves, name) for name in SHOWN}
        return {"verdict": self.verdict, "trends": {name: plain(asdict(each)) | {"sure": each.sure}
                                                    for name, each in self.trends.items()},
                "by_cut": _dict(self.by_cut, ("terminated", "cut", "share")),
                "by_grade": _dict(self.by_grade, ("wrong", "right", "share")), "cap": plain(self.cap),
                "curves": {"steps": plain(self.curves.steps), **{name: plain(values) for name, values in series.items()
                                                                 if values is not None}},
                "notes": list(self.notes)}

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: verdict, setting, numbers, notes."""
        numbers = [*_trends(self.trends), *_parts("by who is cut", self.by_cut, BY_CUT),
                   *_parts("by grade", self.by_grade, BY_GRADE)]
        seen = f"{len(self.curves):,} steps, {self.curves.steps[0]:,} to {self.curves.steps[-1]:,}"
        return {"verdict": [self.verdict], "setting": wrapped("curves", [seen]), "numbers": numbers,
                "notes": noted(self.notes)}


def described(curves: Curves, max_tokens: int | None) -> Description:
    """What curves show."""
    given = {name: getattr(curves, name) for name in SHOWN}
    trends = {name: trend_of(name, curves.steps, values) for name, values in given.items()
              if values is not None and np.isfinite(values).sum() > 1}
    by_cut, cap = _by_cut(curves, max_tokens)
    notes = [*curves.notes, *_dead(trends), CANNOT]
    return Description(curves=curves, trends=trends, by_cut=by_cut, by_grade=_by_grade(curves), cap=cap,
                       notes=tuple(notes))


# --- who got longer ---------------------------------------------------------------------------------------------


def _by_cut(curves: Curves, max_tokens: int | None) -> tuple[Split | None, float]:
    """The change of mean length by who is cut, E[T] = (1 - τ)·(mean of terminated) + τ·N, and N."""
    cap = np.nan if max_tokens is None else float(max_tokens)
    share, terminated = curves.truncated, curves.terminated
    if share is None:
        return None, cap
    if terminated is None and max_tokens is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            terminated = np.where(share < 1.0, (curves.length - share * max_tokens) / (1.0 - share), np.nan)
    found = None if terminated is None else _ends(share, terminated, curves.length)
    if found is None:
        return None, cap
    lengths = [(mean - (1.0 - p) * a) / p if p > 0.0 else np.nan for p, a, mean in found]
    known = [length for length in lengths if not np.isnan(length)]
    cap = cap if max_tokens is not None or not known else known[-1]
    # where none is cut, cut ones would be as long as they are at the other end
    sides = [(p, a, b if not np.isnan(b) else a if np.isnan(cap) else cap)
             for (p, a, _), b in zip(found, lengths, strict=True)]
    return Split(first=sides[0], last=sides[1]), cap


def _by_grade(curves: Curves) -> Split | None:
    """The change of mean length by grade, E[T] = (1 - p)·(mean of wrong) + p·(mean of right)."""
    if curves.accuracy is None or curves.length_right is None or curves.length_wrong is None:
        return None
    found = _ends(curves.accuracy, curves.length_wrong, curves.length_right)
    return None if found is None else Split(first=found[0], last=found[1])


def _ends(one: FloatArray, two: FloatArray, three: FloatArray) -> tuple[tuple[float, float, float], ...] | None:
    """The first and the last numbers of three series, over the steps that have all of them; None if these are few."""
    known = np.isfinite(one) & np.isfinite(two) & np.isfinite(three)
    if known.sum() < 2:
        return None
    first, last = zip(*(ends(values[known]) for values in (one, two, three)), strict=True)
    return first, last


# --- words ------------------------------------------------------------------------------------------------------


def _worded(split: Split, words: tuple[str, str, str]) -> list[tuple[str, float]]:
    """The parts of a change in words: longer or shorter, more or fewer; with their tokens."""
    more = "more" if split.last[0] > split.first[0] else "fewer"
    return [(word.format(longer="longer" if tokens > 0 else "shorter", more=more), tokens)
            for word, tokens in zip(words, split.parts, strict=True)]


def _named(split: Split | None, words: tuple[str, str, str]) -> str:
    """The parts that make most of a change, largest first."""
    if split is None:
        return ""
    total = sum(map(abs, split.parts))
    kept = sorted(((text, tokens) for text, tokens in _worded(split, words) if abs(tokens) >= SAYS * total > 0.0),
                  key=lambda part: -abs(part[1]))
    if len(kept) == 1:
        return kept[0][0]
    return ", ".join(f"{text} ({tokens:+,.3g})" for text, tokens in kept)


def _dict(split: Split | None, names: tuple[str, str, str]) -> dict[str, Any] | None:
    return None if split is None else plain(dict(zip(names, split.parts, strict=True)))


def _ordered(trends: dict[str, Trend]) -> list[tuple[str, Trend]]:
    """Trends in the order of print."""
    return [(name, trends[name]) for name in SHOWN if name in trends]


def _trends(trends: dict[str, Trend]) -> list[str]:
    """A row for each series."""
    table = Columns("<26", ">12", ">12", ">26", ">16")
    lines = [table.row("", "first", "last", "change a step", "noise of a step")]
    for name, each in _ordered(trends):
        noise = "" if not each.noise > 1e-9 * abs(each.last) else f"{each.noise:.2g}"
        lines.append(table.row(SHOWN[name], f"{each.first:,.4g}", f"{each.last:,.4g}",
                               f"{each.slope:+.3g}{_error(each)}", noise))
    return lines


def _error(trend: Trend) -> str:
    """The error of a slope, "" where it is unknown or nothing but rounding."""
    return f" ± {trend.stderr:.1g}" if trend.stderr > 1e-9 * abs(trend.slope) else ""


def _parts(title: str, split: Split | None, words: tuple[str, str, str]) -> list[str]:
    """A row for each part of the change of mean length."""
    if split is None:
        return []
    table = Columns("<38", ">12")
    lines = [table.row(f"change of mean length, {title}", "tokens")]
    least = 1e-6 * max(map(abs, split.parts))  # less is rounding
    return lines + [table.row(f"  {text}", f"{tokens:+,.4g}" if abs(tokens) > least else "~0")
                    for text, tokens in _worded(split, words)]


def _dead(trends: dict[str, Trend]) -> list[Note]:
    """Where most groups teach nothing."""
    dead = trends.get("dead_groups")
    if dead is None or dead.last < MANY_DEAD:
        return []
    return [Note("dead groups", f"{dead.last:.0%} of the groups have equal rewards in the end: what compares a "
                 "response with its group learns from the others alone")]
