"""The result of ``survey``: how often the answer is which, how large it is, and which unknown decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import betaincinv

from lossim._display import Page, Result
from lossim._support import checks
from lossim._support.notes import together
from lossim._support.plain import plain
from lossim._support.text import Columns, Sections, noted, percent
from lossim._support.types import FloatArray, IntArray
from lossim._surveying.deciding import bins, explained, named
from lossim._surveying.questions import Answer, Question
from lossim._surveying.shown import LEVELS, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONFIDENCE = 0.95


class Share(NamedTuple):
    """A share of the draws, with the ends of its interval.

    The interval is Clopper and Pearson's of 95 %, for draws made one by one. A Latin hypercube scatters no more than
    those (but for a factor n/(n-1) of the variance; Owen, 1997), and mostly less: it covers at least as often.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, count: int, draws: int) -> Share:
        """So many of the draws: the ends are those shares under which as many, or as few, have a chance of 2.5 %."""
        outside = (1.0 - CONFIDENCE) / 2.0
        low = float(betaincinv(count, draws - count + 1, outside)) if count else 0.0
        high = float(betaincinv(count + 1, draws - count, 1.0 - outside)) if count < draws else 1.0
        return cls(count / draws, low, high)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Survey(Result):
    """What a question comes to over what is not known.

    Shares are of the draws that were answered; each has an interval, see :class:`Share`.

    Attributes:
        longer, shorter, still: share of draws in which mean length rises, falls, and does not move; of a question of
            other words, in which the number is above, below and at 0 (``words``).
        size: the number of each draw, [draw], in ``unit``; NaN where it failed.
        direction: its sign, [draw]: 1, -1, or 0 where it is a rounding error or failed.
        table: what was drawn, with ``size``, ``direction`` and ``failed`` ("" or by what), as columns [draw].
        decides_direction, decides_size: by unknown, the share of the variance of the direction, and of the size, over
            the draws that it explains by itself: first-order Sobol indices, by slices of equal probability (one for
            each choice), at least 0. What is left over are unknowns together, and what slices blur. NaN where nothing
            varies.
        failures: draws that failed, by what stood in the way: how many, and the message of the first.
        unknowns, known: what was not known, by its law, and what was, as text.
        words: what a number above 0, below 0 and 0 says. title: what was asked about.
        notes: what was assumed of the starts, and by the schemes.
        provenance: what it takes to run it again.
    """

    longer: Share
    shorter: Share
    still: Share
    size: FloatArray
    direction: IntArray
    table: dict[str, Any]
    decides_direction: dict[str, float]
    decides_size: dict[str, float]
    failures: dict[str, tuple[int, str]]
    unknowns: dict[str, str]
    known: dict[str, str]
    title: str
    words: tuple[str, str, str]
    unit: str
    undecided: bool
    notes: tuple[str, ...]
    provenance: dict[str, Any]

    @classmethod
    def of(cls, question: Question, answers: Sequence[Answer], *, columns: Mapping[str, Any], u: FloatArray,
           unknowns: dict[str, str], known: dict[str, str], provenance: dict[str, Any]) -> Survey:
        """The result of answers, in the order of the draws ``u`` [draw, unknown] that were made for them."""
        size = np.array([answer.size for answer in answers])
        direction = np.array([answer.direction for answer in answers])
        failed = np.array([answer.failed for answer in answers])
        done = failed == ""
        count = int(done.sum())
        longer, shorter, still = (Share.of(int((direction[done] == sign).sum()), count) for sign in (1, -1, 0))
        sliced = {name: _slices(columns[name], column, count)[done]
                  for name, column in zip(unknowns, u.T, strict=True)}
        parts = (direction[done].astype(np.float64), size[done])
        by_direction, by_size = ({name: explained(part, slices) for name, slices in sliced.items()} for part in parts)
        return cls(longer=longer, shorter=shorter, still=still, size=size, direction=direction,
                   table={**columns, "size": size, "direction": direction, "failed": failed},
                   decides_direction=by_direction, decides_size=by_size, failures=_failures(answers),
                   unknowns=unknowns, known=known, title=question.title, words=question.words, unit=question.unit,
                   undecided=any(scheme.entropy is not None for scheme in question.schemes),
                   provenance=provenance,
                   notes=together([answer.notes for answer in answers if not answer.failed], "draws"))

    @property
    def answered(self) -> int:
        """How many draws did not fail."""
        return int((self.table["failed"] == "").sum())

    @property
    def decides(self) -> str | None:
        """The unknown that explains most of the direction, or where that is always the same, of the size."""
        known = {name: share for name, share in self._deciding.items() if np.isfinite(share)}
        return max(known, key=lambda name: known[name]) if known else None

    @property
    def _deciding(self) -> dict[str, float]:
        """Shares of the variance of the direction if it varies, else of the size."""
        return self.decides_direction if self._varies else self.decides_size

    @property
    def ordered(self) -> list[str]:
        """The unknowns, those that explain most first."""
        return sorted(self.unknowns, key=lambda name: -np.nan_to_num(self._deciding[name]))

    @property
    def _varies(self) -> bool:
        return max(self.longer.value, self.shorter.value, self.still.value) < 1.0

    @property
    def verdict(self) -> str:
        """The commonest answer, how common it is, and which unknown decides, in a few words."""
        shares = (self.longer, self.shorter, self.still)
        top = max(range(3), key=lambda each: shares[each].value)
        share = shares[top]
        digits = int(share.low > 0.985)
        inside = f"[{100.0 * share.low:.{digits}f}, {percent(share.high)}]"
        if not self._varies:
            text = f"{self.words[top]} in all {self.answered:,} draws {inside}"
            decides = named(self.decides_size) if top < 2 else ""
            return self._unsure(text + (f"; the size {decides}" if decides.startswith("depends") else ""))
        text = (f"{self.words[top]} in {percent(share.value)} of {self.answered:,} draws {inside}: "
                f"{named(self._deciding)}")
        return self._unsure(f"undecided: {text}" if share.low <= 0.5 else text)

    def _unsure(self, text: str) -> str:
        return f"undecided: entropy also acts on content; as modelled, {text}" if self.undecided else text

    def quantiles(self, q: Sequence[float] = LEVELS) -> FloatArray:
        """Quantiles of the size over the draws that were answered, [q], in ``unit``.

        Raises:
            ValueError: a quantile that is not in [0, 1].
        """
        levels = checks.number_array("q", q, ndim=1, low=0.0, high=1.0)
        return np.quantile(self.size[self.table["failed"] == ""], levels)

    def plot(self, ax: Axes | Sequence[Axes] | None = None) -> Figure:
        """The size against the unknown that decides, and what each unknown explains: two panels.

        Args:
            ax: where to draw, one matplotlib Axes or several: the first panel goes to the first, and so on. A figure of
                its own, the panels one above the other, unless given.

        Returns:
            The figure that it is drawn in, also where axes were given. ``.savefig(path)`` writes it, and a notebook
            shows it.
        """
        from lossim._pictures import plot_survey

        return plot_survey(self, ax)

    def _page(self) -> Page:
        return self._paged(self.title, *shown(self))

    def _columns(self) -> dict[str, Any]:
        """A row for each draw: what was drawn, the size, its sign, and by what it failed."""
        return self.table

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON (None for NaN), with provenance."""
        return {"title": self.title, "verdict": self.verdict, "words": list(self.words), "unit": self.unit,
                "answered": self.answered,
                **{name: getattr(self, name)._asdict() for name in ("longer", "shorter", "still")},
                **plain({"quantiles": dict(zip(map(str, LEVELS), self.quantiles().tolist(), strict=True)),
                         "decides_direction": self.decides_direction, "decides_size": self.decides_size}),
                "failures": {name: {"draws": count, "message": message}
                             for name, (count, message) in self.failures.items()},
                "unknowns": self.unknowns, "known": self.known, "table": plain(self.table),
                "notes": [str(note) for note in self.notes], "provenance": self.provenance}

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: verdict, setting, numbers, failures, notes."""
        given = self.provenance
        setting = [f"  start   {given['start']}, {given['draws']:,} draws (Latin hypercube, seed {given['seed']})"]
        if self.known:
            setting.append("  known   " + ", ".join(f"{name} {value}" for name, value in self.known.items()))
        failures = [f"  {count:,} of {given['draws']:,} draws failed by {name}: {message}"
                    for name, (count, message) in self.failures.items()]
        return {"verdict": [f"{self.title}: {self.verdict}"], "setting": setting, "numbers": _numbers(self),
                "failures": failures, "notes": noted(self.notes)}


def _slices(column: Any, u: FloatArray, draws: int) -> IntArray:
    """The slice of its law that each draw of an unknown fell into, or which choice it was, [draw]."""
    if column.dtype.kind == "U" or len(np.unique(column)) <= bins(draws):
        return np.unique(column, return_inverse=True)[1]
    return (u * bins(draws)).astype(np.int64)


def _failures(answers: Sequence[Answer]) -> dict[str, tuple[int, str]]:
    """How many failed by what, the commonest first, with the message of the first."""
    count = Counter(answer.failed for answer in answers if answer.failed)
    first = {answer.failed: answer.message for answer in reversed(answers)}
    return {name: (number, first[name]) for name, number in count.most_common()}


def _numbers(result: Survey) -> list[str]:
    """Shares of the answers, quantiles of the size, and what each unknown explains."""
    wide = max(24, *(len(word) + 4 for word in result.words), *(len(name) + 4 for name in result.unknowns))
    shares = Columns(f"<{wide}", ">12", ">18")
    lines = [shares.row("answer", "of draws", "95 % interval")]
    lines += [shares.row(f"  {word}", percent(share.value, 1), f"{100.0 * share.low:.1f} to {percent(share.high, 1)}")
              for word, share in zip(result.words, (result.longer, result.shorter, result.still), strict=True)
              if share.value > 0]
    lines.append(shares.row(f"size{f' ({result.unit})' if result.unit else ''}"))
    quantiles = Columns(f"<{wide}", *[">10"] * len(LEVELS))
    lines.append(quantiles.row("  quantile", *(percent(level) for level in LEVELS)))
    lines.append(quantiles.row("", *(f"{x:+.4g}" for x in result.quantiles())))
    deciding = Columns(f"<{wide}", ">14", ">12", "<")
    lines.append(deciding.row("explains by itself", "of direction", "of size", "   unknown"))
    for name in result.ordered:
        parts = (result.decides_direction[name], result.decides_size[name])
        shown = ("" if np.isnan(part) else percent(part) for part in parts)
        lines.append(deciding.row(f"  {name}", *shown, f"   {result.unknowns[name]}"))
    return lines
