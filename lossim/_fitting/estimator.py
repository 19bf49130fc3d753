"""The estimator of a fit: a log is taken apart once, and fitted as it is or with its prompts drawn again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lossim._fitting.mixture import Cells, class_laws, hazard_logits, make_cells, slopes
from lossim._fitting.prior import Counts, Prior, merged, npmle, of_size, pairs, posterior
from lossim._model import Coordinates
from lossim._support.types import BoolArray, FloatArray, IntArray
from lossim.lengths import from_logits
from lossim.policies import Path, Policy, PromptClass
from lossim.rollouts import CHUNK

__all__ = ["Fitter", "Parameters", "Responses", "chunks"]

RIGHT, WRONG = 0, 1
MANY_ROWS = 512
"""Different posteriors of prompts beyond which they are rounded to two decimals before responses are counted."""


def chunks(count: int) -> Iterator[slice]:
    """Slices that cover so many responses: a log may be larger than memory."""
    return (slice(at, at + CHUNK) for at in range(0, count, CHUNK))


def _tally(place: IntArray, weights: BoolArray | FloatArray | None, size: int) -> FloatArray:
    """Sums of weights (of ones if there are none) by place, [size], some of them at a time."""
    sums: FloatArray = np.zeros(size)
    for part in chunks(len(place)):
        sums += np.bincount(place[part], None if weights is None else weights[part], size)
    return sums


@dataclass(frozen=True, kw_only=True, eq=False)
class Responses:
    """A log with nothing left open.

    ``length``, ``correct``, ``truncated`` and ``prompt`` (a number from 0, int32) are of each response, and may be kept
    in files. ``labels`` [prompt] is the class of each prompt by ``names``, or None where classes are to be found by
    solve rate.
    """

    length: IntArray
    correct: BoolArray
    truncated: BoolArray
    prompt: IntArray
    prompts: int
    labels: IntArray | None
    names: tuple[str, ...]
    max_tokens: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Parameters:
    """The numbers of a fitted policy, compact enough to keep hundreds.

    ``laws`` [class, cell + 1] of right and wrong responses, ``slopes`` and ``middle`` [cell] of each, and how
    many ``responses`` stopped. ``found`` points of the likeliest law of solve rates (0 if classes were given) and
    ``lost``, the log likelihood that fewer cost.
    """

    names: tuple[str, ...]
    weights: FloatArray
    rates: FloatArray
    laws: tuple[FloatArray, FloatArray]
    slopes: tuple[FloatArray, FloatArray]
    middle: tuple[FloatArray, FloatArray]
    responses: tuple[float, float]
    found: int
    lost: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Side:
    """The responses of one grade: the prompt of each, its cell (the number of cells if it was cut) and its length."""

    prompt: IntArray
    cell: IntArray
    length: IntArray
    cells: Cells


class Fitter:
    """A log taken apart once, to be fitted as it is and with its prompts drawn again.

    ``right`` and ``answers`` [prompt] are the correct responses and all of them. Of a response 12 bytes are kept.
    """

    def __init__(self, log: Responses, *, paths: Literal["outcome", "one"], classes: int | None, smoothing: float
                 ) -> None:
        self.paths, self.classes, self.prompts, self.max_tokens = paths, classes, log.prompts, log.max_tokens
        self.labels, self.names = log.labels, log.names
        self.right, self.answers = (_tally(log.prompt, weights, log.prompts).astype(np.int64)
                                    for weights in (log.correct, None))
        self.k, self.n, self.pair = pairs(self.right, self.answers)
        together = make_cells(log.length[~log.truncated], log.max_tokens, smoothing) if paths == "one" else None
        self.sides = tuple(_side(log, mine, together, smoothing) for mine in (log.correct, ~log.correct))

    def fit(self, times: IntArray | None = None) -> Parameters:
        """The fit with each prompt in the log ``times`` [prompt] over; once each unless given."""
        weight = np.ones(self.prompts) if times is None else times.astype(np.float64)
        found, lost = 0, 0.0
        if self.labels is not None:
            count = np.bincount(self.labels, weight, len(self.names))
            there = np.flatnonzero(count)
            weights = count[there] / count.sum()
            right, answers = (np.bincount(self.labels, weight * x, len(count))[there]
                              for x in (self.right, self.answers))
            rates, names = right / answers, tuple(self.names[i] for i in there)
            row, shares = self.labels, np.eye(len(count))[:, there]
        else:
            prior, found, lost = self._prior(np.bincount(self.pair, weight).astype(np.float64))
            every = Counts(correct=self.k.astype(np.float64), answers=self.n.astype(np.float64),
                           prompts=np.ones(len(self.k)))
            shares, row = _rows(posterior(every, prior), self.pair)
            weights, rates, names = prior.weights, prior.points, _rate_names(prior.points)
        counted = [_counted(side, row, len(shares), weight) for side in self.sides]
        if self.paths == "one":
            (of_right, stopped, total), (of_wrong, more, further) = counted
            counted = [(each, stopped + more, total + further) for each in (of_right, of_wrong)]
        laws, slope, middle = [], [], []
        for side, (counts, stopped, total) in zip(self.sides, counted, strict=True):
            middle.append(_middle(side.cells, stopped, total))
            slope.append(slopes(side.cells, stopped, total))
            laws.append(class_laws(counts, shares, middle[-1], side.cells.raw))
        return Parameters(names=names, weights=weights, rates=rates, laws=(laws[0], laws[1]),
                          slopes=(slope[0], slope[1]), middle=(middle[0], middle[1]), found=found, lost=lost,
                          responses=(float(counted[0][1].sum()), float(counted[1][1].sum())))

    def _prior(self, prompts: FloatArray) -> tuple[Prior, int, float]:
        there = prompts > 0
        counts = Counts(correct=self.k[there].astype(np.float64), answers=self.n[there].astype(np.float64),
                        prompts=prompts[there])
        full = npmle(counts)
        few = merged(counts, full) if self.classes is None else of_size(counts, full, self.classes)
        return few, len(full.points), max(full.log_likelihood - few.log_likelihood, 0.0)

    def policy(self, fitted: Parameters, coordinates: Coordinates | None) -> Policy:
        """The policy of some numbers."""
        make = _one_paths if self.paths == "one" else _two_paths
        paths = make(fitted, tuple(side.cells for side in self.sides), self.max_tokens)
        prompts = [PromptClass(name, weight=float(w), paths=mine)
                   for name, w, mine in zip(fitted.names, fitted.weights, paths, strict=True)]
        given = {} if coordinates is None else {"coordinates": coordinates}
        return Policy(prompts, max_tokens=self.max_tokens, **given)


def _side(log: Responses, mine: BoolArray, together: Cells | None, smoothing: float) -> _Side:
    length, cut = log.length[mine].astype(np.int32), log.truncated[mine]
    cells = together or make_cells(length[~cut], log.max_tokens, smoothing)
    cell = np.where(cut, len(cells.last), cells.of(length))
    return _Side(prompt=log.prompt[mine], cell=cell.astype(np.int32), length=length, cells=cells)


def _counted(side: _Side, row: IntArray, rows: int, weight: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Responses by [row, cell + 1]; by cell those that stopped, and the sum of their lengths."""
    columns = len(side.cells.last) + 1
    flat, sums = np.zeros(rows * columns), np.zeros(columns)
    for part in chunks(len(side.cell)):
        prompt, cell = side.prompt[part], side.cell[part]
        times = weight[prompt]
        flat += np.bincount(row[prompt] * columns + cell, times, rows * columns)
        sums += np.bincount(cell, times * side.length[part], columns)
    counts: FloatArray = flat.reshape(rows, columns)
    return counts, counts.sum(axis=0)[:-1], sums[:-1]


def _rows(shares: FloatArray, pair: IntArray) -> tuple[FloatArray, IntArray]:
    """Prompts by their posterior: [row, class], and the row of each prompt."""
    if len(shares) <= MANY_ROWS:
        return shares, pair
    rounded, row = np.unique(np.round(shares, 2), axis=0, return_inverse=True)
    return rounded / rounded.sum(axis=1, keepdims=True), row.ravel()[pair]


def _middle(cells: Cells, counts: FloatArray, sums: FloatArray) -> FloatArray:
    """Mean length of the responses of each cell, the middle where there are none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, sums / counts, (cells.first + cells.last) / 2.0)


def _two_paths(fitted: Parameters, cells: tuple[Cells, ...], _: int) -> list[list[Path]]:
    """A right and a wrong path for each class, those that have a chance."""
    logits = [hazard_logits(laws, mine, slope, n) for laws, mine, slope, n
              in zip(fitted.laws, cells, fitted.slopes, fitted.responses, strict=True)]
    made = []
    for j, rate in enumerate(fitted.rates):
        both = ((RIGHT, "right", float(rate), 1.0, float(fitted.laws[RIGHT][j, -1] > 0)),
                (WRONG, "wrong", 1.0 - float(rate), 0.0, 0.0))
        made.append([Path(name, probability=chance, length=from_logits(logits[side][j]), p_correct=p_correct,
                          p_correct_truncated=p_cut) for side, name, chance, p_correct, p_cut in both if chance > 0.0])
    return made


def _one_paths(fitted: Parameters, cells: tuple[Cells, ...], max_tokens: int) -> list[list[Path]]:
    """One path for each class, with the share correct of those that stop near t."""
    right = fitted.rates[:, None] * fitted.laws[RIGHT]
    every = right + (1.0 - fitted.rates[:, None]) * fitted.laws[WRONG]
    logits = hazard_logits(every, cells[0], fitted.slopes[0], fitted.responses[0])
    share = np.divide(right, every, out=np.zeros_like(every), where=every > 0)
    t, middle = np.log(np.arange(1.0, max_tokens + 1.0)), np.log(fitted.middle[0])
    curves = share[:, :-1] if cells[0].raw else [np.interp(t, middle, curve) for curve in share[:, :-1]]
    return [[Path("only", length=from_logits(z), p_correct=np.clip(curve, 0.0, 1.0),
                  p_correct_truncated=float(min(cut, 1.0)))]
            for z, curve, cut in zip(logits, curves, share[:, -1], strict=True)]


def _rate_names(rates: FloatArray) -> tuple[str, ...]:
    """Names by solve rate: ``never``, ``p=0.4``, ``always``."""
    names = [{0.0: "never", 1.0: "always"}.get(float(rate), f"p={rate:.3g}") for rate in rates]
    if len(set(names)) < len(names):
        names = [f"{number}: {name}" for number, name in enumerate(names, start=1)]
    return tuple(names)
