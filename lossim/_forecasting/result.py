"""The result of ``forecast``: where mean length goes, how sure that is, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from lossim._display import FAST, Cell, Page, Picture, Result, Section, Table, Text, assumed, changing, figure
from lossim._forecasting.clock import Prediction
from lossim._forecasting.ways import Way
from lossim._support import checks
from lossim._support.plain import plain
from lossim._support.text import Columns, Sections, noted, wrapped
from lossim._support.types import FloatArray, IntArray
from lossim.curves import Curves
from lossim.policies import Policy
from lossim.schemes import Scheme, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SURE = 0.9
"""Chance from which on the direction is said."""
LEVEL = 0.8


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Forecast(Result):
    """Where mean length goes after the steps that were seen.

    Attributes:
        curves: the steps that the forecast rests on.
        steps: the steps ahead, by number, [step].
        length: mean length, tokens, [step], the median of what is likely. Where the steps hold no signal it changes
            little, the model's way: half of the rates that are likely beforehand move next to nothing.
        low, high: a band that 10 % are expected below and 10 % above, [step], the noise of a step included.
        longer: chance that a step's mean length lies above that of the observed steps, [step].
        nats_per_step: KL per response of a step at the start by which the model is walked, in the model's own
            decisions: the values that a tenth, a half and nine tenths of what is likely lie at or below.
        path_scale: the same, of how fast paths move compared with stopping; NaN where a kernel was given.
        signal: nats of log likelihood by which the best clock is ahead of one that stands still.
        start: the policy that the model starts from.
        scheme: what it is trained with.
        notes: what was assumed or approximated.
        provenance: what it takes to run it again.
    """

    curves: Curves
    steps: IntArray
    length: FloatArray
    low: FloatArray
    high: FloatArray
    longer: FloatArray
    nats_per_step: tuple[float, float, float]
    path_scale: tuple[float, float, float]
    signal: float
    start: Policy
    scheme: Scheme
    notes: tuple[str, ...]
    provenance: dict[str, Any]
    _prediction: Prediction | None = field(repr=False)

    def band(self, level: float = LEVEL) -> tuple[FloatArray, FloatArray]:
        """Bounds of mean length, [step], that hold a step's mean with this chance, as much left out on either side."""
        chance = checks.in_interval("level", level, 0.0, 0.999)
        if self._prediction is None:
            return np.full(len(self.steps), np.nan), np.full(len(self.steps), np.nan)
        cap = float(self.start.max_tokens)
        low, high = (self._prediction.quantile(0.5 + side * chance / 2.0) for side in (-1, 1))
        return np.clip(low, 1.0, cap), np.clip(high, 1.0, cap)

    @property
    def level(self) -> float:
        """Mean length of the observed steps, tokens."""
        return float(np.exp(np.log(self.curves.length).mean()))

    @property
    def decided(self) -> bool:
        """Whether the direction at the last step is known with a chance of nine tenths."""
        return bool(max(self.longer[-1], 1.0 - self.longer[-1]) >= SURE)

    @property
    def verdict(self) -> str:
        """Where mean length goes, in one line."""
        if self._prediction is None:
            return "no forecast: the loss moves nothing at this start"
        seen = f"{len(self.curves)} steps"
        band = f"{self.low[-1]:,.4g} to {self.high[-1]:,.4g} tokens at step {self.steps[-1]:,} ({LEVEL:.0%} band)"
        if not self.decided:
            return (f"no forecast of a direction: {seen} are too few or too noisy to set a clock; {band}, "
                    f"{self.level:,.4g} now")
        way = "longer" if self.longer[-1] > 0.5 else "shorter"
        return f"responses get {way}, from {self.level:,.4g} to {self.length[-1]:,.4g} tokens; {band}"

    def plot(self, ax: Axes | Sequence[Axes] | None = None) -> Figure:
        """The observed steps, the forecast and its bands.

        Args:
            ax: where to draw, one matplotlib Axes or several: the first panel goes to the first, and so on. A figure of
                its own, of one panel, unless given.

        Returns:
            The figure that it is drawn in, also where axes were given. ``.savefig(path)`` writes it, and a notebook
            shows it.
        """
        from lossim._pictures import plot_forecast

        bands = {f"{level:.0%} band": self.band(level) for level in (0.9, LEVEL)}
        return plot_forecast(f"{self.scheme.name}: {self.verdict}", self.curves, self.steps, self.length, self.level,
                             bands, ax)

    def _page(self) -> Page:
        wide = self.band(0.9)
        picture = Picture(title="Mean length, seen and ahead", alt=self.verdict, draw=self.plot)
        rows = tuple((f"step {self.steps[at]:,}", figure(self.length[at], ",.4g"), figure(self.low[at], ",.4g"),
                      figure(self.high[at], ",.4g"), figure(wide[0][at], ",.4g"), figure(wide[1][at], ",.4g"),
                      figure(self.longer[at], ".2f")) for at in _some(self))
        ahead = Table(title="", columns=("mean length (tokens)", "forecast", "80 % low", "80 % high", "90 % low",
                                         "90 % high", "P(longer)"), rows=rows)
        clock: tuple[tuple[Cell, ...], ...] = tuple((label, *(figure(x, ".2g") for x in values)) for label, values in (
            ("nats in a step at the start", self.nats_per_step), ("path_scale", self.path_scale)))
        fast = (Table(title="What set the clock", columns=("", "a tenth below", "median", "nine tenths below"),
                      rows=clock), Text(text=f"The best clock is {self.signal:.2g} nats of log likelihood ahead of one "
                                             "that stands still."))
        given = {"scheme": " · ".join(self.scheme.slots), "start": repr(self.start),
                 "moves": short(self.start.coordinates), "seen": repr(self.curves)}
        ask = ("More steps, or more responses a step, set the clock better: give curves of more of the run.",
               "ls.drift(scheme, start) says which way the loss pushes, and through which tokens.")
        return self._paged(self.scheme.name, Section(title="Where length goes", parts=(picture, ahead)),
                           Section(title=FAST, parts=fast, folded=True), changing((), *ask),
                           assumed(self.notes, given))

    def _columns(self) -> dict[str, Any]:
        low, high = self.band(0.9)
        return {"step": self.steps, "length": self.length, "low_80": self.low, "high_80": self.high, "low_90": low,
                "high_90": high, "longer": self.longer}

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON (None for NaN)."""
        names = ("steps", "length", "low", "high", "longer", "nats_per_step", "path_scale", "signal")
        seen = {"steps": self.curves.steps, "length": self.curves.length}
        return {"verdict": self.verdict, "decided": self.decided, "observed": plain(seen), "notes": list(self.notes),
                **{name: plain(getattr(self, name)) for name in names}, "provenance": self.provenance}

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: verdict, setting, numbers, notes."""
        setting = [*wrapped("scheme", self.scheme.slots), *wrapped("start", [repr(self.start)]),
                   *wrapped("moves", [short(self.start.coordinates)]), *wrapped("seen", [repr(self.curves)])]
        numbers = [] if self._prediction is None else _numbers(self)
        return {"verdict": [f"{self.scheme.name}: {self.verdict}"], "setting": setting, "numbers": numbers,
                "notes": noted(self.notes)}


def _some(result: Forecast) -> list[int]:
    """At most five of the steps ahead, the first and the last among them."""
    count = len(result.steps)
    return np.unique(np.linspace(0, count - 1, min(count, 5)).astype(int)).tolist()


def _numbers(result: Forecast) -> list[str]:
    """The band at some steps, and what set the clock."""
    table = Columns("<20", ">14", ">24", ">24", ">16")
    lines = [table.row("mean length (tokens)", "forecast", "80 % band", "90 % band", "P(longer)")]
    wide = result.band(0.9)
    for at in _some(result):
        bands = [f"{low[at]:,.4g} to {high[at]:,.4g}" for low, high in ((result.low, result.high), wide)]
        lines.append(table.row(f"step {result.steps[at]:,}", f"{result.length[at]:,.4g}", *bands,
                               f"{result.longer[at]:.2f}"))
    clock = Columns("<38", ">12", ">28")
    lines.append(clock.row("what set the clock", "median", "80 % of what is likely"))
    for label, (low, middle, high) in (("nats in a step at the start", result.nats_per_step),
                                       ("path_scale", result.path_scale)):
        if not np.isnan(middle):
            lines.append(clock.row(f"  {label}", f"{middle:.2g}", f"{low:.2g} to {high:.2g}"))
    lines.append(clock.row("  signal (nats of log likelihood)", f"{result.signal:.2g}"))
    return lines


def chances_longer(prediction: Prediction, level: float) -> FloatArray:
    """P(log length > level), [time]."""
    return prediction.weight @ ndtr((prediction.mean - level) / prediction.std)


def spread_of(values: FloatArray, weight: FloatArray) -> tuple[float, float, float]:
    """The values that a tenth, a half and nine tenths of the weight lie at or below."""
    if np.isnan(values).any():
        return np.nan, np.nan, np.nan
    order = np.argsort(values)
    below = np.cumsum(weight[order])
    low, middle, high = (float(values[order][np.searchsorted(below, level * below[-1])]) for level in (0.1, 0.5, 0.9))
    return low, middle, high


def path_scales(ways: list[Way], prediction: Prediction) -> tuple[float, float, float]:
    """What is likely of path_scale after the steps."""
    scales = np.array([way.path_scale for way in ways])[prediction.nodes.way]
    return spread_of(scales, prediction.weight)
