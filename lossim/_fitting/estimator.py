"""The estimator of a fit: a log is taken apart once, and fitted as it is or with its prompts drawn again."""

from __future__ import annotations

from typing import Literal

import numpy as np

from lossim._fitting.mixture import Cells, class_laws, hazard_logits, make_cells, slopes
from lossim._fitting.prior import Counts, merged, npmle, of_size, pairs, posterior
from lossim._model import Coordinates
from lossim._support.records import Record
from lossim._support.types import BoolArray, FloatArray, IntArray
from lossim.lengths import from_logits
from lossim.policies import Path, Policy, PromptClass

__all__ = ["Fitter", "Parameters", "Refits", "Responses"]

RIGHT, WRONG = 0, 1
MANY_ROWS = 512
"""Different posteriors of prompts beyond which they are rounded to two decimals before responses are counted."""


class Responses(Record):
    """A log with nothing left open.

    ``length``, ``correct``, ``truncated`` and ``prompt`` (a number from 0, int32) are of each response. ``labels``
    [prompt] is the class of each prompt by ``names``, or None where classes are to be found by solve rate.
    """

    length: IntArray
    correct: BoolArray
    truncated: BoolArray
    prompt: IntArray
    prompts: int
    labels: IntArray | None
    names: tuple[str, ...]
    max_tokens: int


class Parameters(Record):
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


class _Classes(Record):
    """Classes of prompts and who belongs to them.

    Prompts that belong to the classes with the same probabilities share a row of ``shares`` [row, class]; ``row``
    [prompt] says which. ``found`` and ``lost`` as in `Parameters`.
    """

    names: tuple[str, ...]
    weights: FloatArray
    rates: FloatArray
    shares: FloatArray
    row: IntArray
    found: int
    lost: float


class _Side(Record):
    """The responses of one grade: the prompt of each, its cell (the number of cells if it was cut) and its length."""

    prompt: IntArray
    cell: IntArray
    length: IntArray
    cells: Cells


class _Counted(Record):
    """Responses of one grade: how many by [row, cell + 1], and by cell those that stopped and the sum of lengths."""

    by_row: FloatArray
    stopped: FloatArray
    lengths: FloatArray


class Fitter:
    """A log taken apart once, to be fitted as it is and with its prompts drawn again.

    ``right`` and ``answers`` [prompt] are the correct responses and all of them. Of a response 12 bytes are kept.
    """

    def __init__(self, log: Responses, *, paths: Literal["outcome", "one"], classes: int | None, smoothing: float
                 ) -> None:
        self.paths = paths
        self.classes = classes
        self.prompts = log.prompts
        self.max_tokens = log.max_tokens
        self.labels = log.labels
        self.names = log.names
        self.right: IntArray = np.bincount(log.prompt[log.correct], minlength=log.prompts)
        self.answers: IntArray = np.bincount(log.prompt, minlength=log.prompts)
        self.k, self.n, self.pair = pairs(self.right, self.answers)
        together = make_cells(log.length[~log.truncated], log.max_tokens, smoothing) if paths == "one" else None
        self.sides = (_side(log, log.correct, together, smoothing), _side(log, ~log.correct, together, smoothing))

    def fit(self, times: IntArray | None = None) -> Parameters:
        """The fit with each prompt in the log ``times`` [prompt] over; once each unless given."""
        weight = np.ones(self.prompts) if times is None else times.astype(np.float64)
        classes = self._by_solve_rate(weight) if self.labels is None else self._labelled(self.labels, weight)

        # responses by cell, and where in a cell they are: for each grade, or for both together on one path
        counted = [_counted(side, classes, weight) for side in self.sides]
        stopped = [each.stopped for each in counted]
        lengths = [each.lengths for each in counted]
        if self.paths == "one":
            stopped = [stopped[RIGHT] + stopped[WRONG]] * 2
            lengths = [lengths[RIGHT] + lengths[WRONG]] * 2

        # the laws of length
        laws = []
        slope = []
        middle = []
        for side, each, count, total in zip(self.sides, counted, stopped, lengths, strict=True):
            middle.append(_middle(side.cells, count, total))
            slope.append(slopes(side.cells, count, total))
            laws.append(class_laws(each.by_row, classes.shares, middle[-1], side.cells.raw))
        return Parameters(
            names=classes.names, weights=classes.weights, rates=classes.rates, found=classes.found, lost=classes.lost,
            laws=(laws[RIGHT], laws[WRONG]), slopes=(slope[RIGHT], slope[WRONG]),
            middle=(middle[RIGHT], middle[WRONG]),
            responses=(float(stopped[RIGHT].sum()), float(stopped[WRONG].sum())))

    def _labelled(self, labels: IntArray, weight: FloatArray) -> _Classes:
        """The classes that the log names, those of them that are drawn."""
        count = _sums(labels, weight, len(self.names))
        there = np.flatnonzero(count)
        right = _sums(labels, weight * self.right, len(count))[there]
        answers = _sums(labels, weight * self.answers, len(count))[there]
        return _Classes(names=tuple(self.names[i] for i in there), weights=count[there] / count.sum(),
                        rates=right / answers, shares=np.eye(len(count))[:, there], row=labels, found=0, lost=0.0)

    def _by_solve_rate(self, weight: FloatArray) -> _Classes:
        """The points of the law of solve rates, merged to few: prompts with k of n correct belong to them by Bayes."""
        # the law, from the prompts that are drawn
        prompts = _sums(self.pair, weight, len(self.k))
        drawn = prompts > 0
        counts = Counts(correct=self.k[drawn].astype(np.float64), answers=self.n[drawn].astype(np.float64),
                        prompts=prompts[drawn])
        full = npmle(counts)
        prior = merged(counts, full) if self.classes is None else of_size(counts, full, self.classes)

        # the posterior of every prompt
        every = Counts(correct=self.k.astype(np.float64), answers=self.n.astype(np.float64),
                       prompts=np.ones(len(self.k)))
        shares, row = _rows(posterior(every, prior), self.pair)
        return _Classes(names=_rate_names(prior.points), weights=prior.weights, rates=prior.points, shares=shares,
                        row=row, found=len(full.points), lost=max(full.log_likelihood - prior.log_likelihood, 0.0))

    def policy(self, fitted: Parameters, coordinates: Coordinates | None) -> Policy:
        """The policy of some numbers."""
        cells = (self.sides[RIGHT].cells, self.sides[WRONG].cells)
        paths = _one_paths(fitted, cells[RIGHT], self.max_tokens) if self.paths == "one" else _two_paths(fitted, cells)
        prompts = [PromptClass(name, weight=float(weight), paths=mine)
                   for name, weight, mine in zip(fitted.names, fitted.weights, paths, strict=True)]
        if coordinates is None:
            return Policy(prompts, max_tokens=self.max_tokens)
        return Policy(prompts, max_tokens=self.max_tokens, coordinates=coordinates)


class Refits:
    """Fits to the log with its prompts drawn again, each computed when it is first asked for and kept.

    Prompts are drawn with replacement, all responses of a prompt together; the draws of refit ``number`` are those of
    the stream [seed, number], whatever was asked for before.
    """

    def __init__(self, fitter: Fitter, coordinates: Coordinates | None, seed: int) -> None:
        self.fitter = fitter
        self.coordinates = coordinates
        self.seed = seed
        self._known: dict[int, Parameters | None] = {}

    def policy(self, number: int) -> Policy | None:
        """The policy of a refit; None if it cannot be fitted or does not go with the coordinates."""
        if number not in self._known:
            self._known[number] = self._fitted(number)
        fitted = self._known[number]
        if fitted is None:
            return None
        try:
            return self.fitter.policy(fitted, self.coordinates)
        except ValueError:
            return None

    def _fitted(self, number: int) -> Parameters | None:
        prompts = self.fitter.prompts
        rng = np.random.default_rng([self.seed, number])
        times = np.bincount(rng.integers(prompts, size=prompts), minlength=prompts)
        try:
            return self.fitter.fit(times)
        except (ValueError, ArithmeticError, RuntimeError):
            return None


def _side(log: Responses, mine: BoolArray, together: Cells | None, smoothing: float) -> _Side:
    """The responses of one grade, in cells of their own unless both grades have them ``together``."""
    length = log.length[mine].astype(np.int32)
    cut = log.truncated[mine]
    cells = together or make_cells(length[~cut], log.max_tokens, smoothing)
    cell = np.where(cut, len(cells.last), cells.of(length))
    return _Side(prompt=log.prompt[mine], cell=cell.astype(np.int32), length=length, cells=cells)


def _counted(side: _Side, classes: _Classes, weight: FloatArray) -> _Counted:
    """Responses of one grade by row of `_Classes` and cell, each as often as its prompt is drawn."""
    rows = len(classes.shares)
    columns = len(side.cells.last) + 1
    times = weight[side.prompt]
    place = classes.row[side.prompt] * columns + side.cell
    by_row = _sums(place, times, rows * columns).reshape(rows, columns)
    lengths = _sums(side.cell, times * side.length, columns)
    return _Counted(by_row=by_row, stopped=by_row.sum(axis=0)[:-1], lengths=lengths[:-1])


def _sums(place: IntArray, weights: FloatArray, size: int) -> FloatArray:
    """Sums of weights by place, [size]."""
    return np.bincount(place, weights, size).astype(np.float64, copy=False)


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


def _two_paths(fitted: Parameters, cells: tuple[Cells, Cells]) -> list[list[Path]]:
    """A right and a wrong path for each class, those that have a chance."""
    right, wrong = (hazard_logits(fitted.laws[side], cells[side], fitted.slopes[side], fitted.responses[side])
                    for side in (RIGHT, WRONG))
    made = []
    for j, rate in enumerate(fitted.rates):
        paths = []
        if rate > 0.0:
            is_cut = float(fitted.laws[RIGHT][j, -1] > 0)
            paths.append(Path("right", probability=float(rate), length=from_logits(right[j]), p_correct=1.0,
                              p_correct_truncated=is_cut))
        if rate < 1.0:
            paths.append(Path("wrong", probability=1.0 - float(rate), length=from_logits(wrong[j]), p_correct=0.0,
                              p_correct_truncated=0.0))
        made.append(paths)
    return made


def _one_paths(fitted: Parameters, cells: Cells, max_tokens: int) -> list[list[Path]]:
    """One path for each class, with the share correct of those that stop near t.

    f = p f_right + (1-p) f_wrong and p_correct = p f_right/f in each cell, linear in log length between the cells'
    means (docs/derivations.md, section 17).
    """
    right = fitted.rates[:, None] * fitted.laws[RIGHT]
    every = right + (1.0 - fitted.rates[:, None]) * fitted.laws[WRONG]
    logits = hazard_logits(every, cells, fitted.slopes[RIGHT], fitted.responses[RIGHT])
    share = np.divide(right, every, out=np.zeros_like(every), where=every > 0)
    curves = share[:, :-1]
    if not cells.raw:
        t = np.log(np.arange(1.0, max_tokens + 1.0))
        middle = np.log(fitted.middle[RIGHT])
        curves = np.array([np.interp(t, middle, curve) for curve in curves])
    return [[Path("only", length=from_logits(z), p_correct=np.clip(curve, 0.0, 1.0),
                  p_correct_truncated=float(min(cut, 1.0)))]
            for z, curve, cut in zip(logits, curves, share[:, -1], strict=True)]


def _rate_names(rates: FloatArray) -> tuple[str, ...]:
    """Names by solve rate: ``never``, ``p=0.4``, ``always``."""
    names = [{0.0: "never", 1.0: "always"}.get(float(rate), f"p={rate:.3g}") for rate in rates]
    if len(set(names)) < len(names):
        names = [f"{number}: {name}" for number, name in enumerate(names, start=1)]
    return tuple(names)
