"""The estimator of a fit: a log is taken apart once, and fitted as it is or with its prompts drawn again."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from lossim._fitting.mixture import Cells, class_laws, hazard_logits, make_cells, slopes
from lossim._fitting.prior import Counts, merged, npmle, pairs, posterior
from lossim._fitting.states import Answers, states
from lossim._model import Coordinates
from lossim._support.quotients import quotient
from lossim._support.records import Record
from lossim._support.types import BoolArray, FloatArray, IntArray
from lossim.lengths import from_logits
from lossim.policies import Path, Policy, PromptClass
from lossim.schemes import Scheme

MANY_ROWS = 512
"""Different posteriors of prompts beyond which they are rounded to two decimals before responses are counted."""


class Responses(Record):
    """A log with nothing left open.

    ``length``, ``correct``, ``truncated`` and ``prompt`` (a number from 0, int32) are of each response. ``labels``
    [prompt] is the class of each prompt by ``names``, or None where classes are to be found by solve rate. ``path``
    [response] is its path by ``path_names``; ``answers`` say when these were there, None where nobody asks.
    """

    length: IntArray
    correct: BoolArray
    truncated: BoolArray
    prompt: IntArray
    prompts: int
    labels: IntArray | None
    names: tuple[str, ...]
    max_tokens: int
    path: IntArray
    path_names: tuple[str, ...]
    answers: Answers | None


class Classes(Record):
    """Classes of prompts: names, shares of the prompts and solve rates, [class].

    ``found`` points of the likeliest law of solve rates, 0 if the log names classes; fewer ``lost`` log likelihood.
    """

    names: list[str]
    weights: FloatArray
    rates: FloatArray
    found: int = 0
    lost: float = 0.0


class Law(Record):
    """Lengths of the responses of one grade: ``masses`` [class, cell + 1], slopes and mean lengths (middle) [cell]."""

    cells: Cells
    masses: FloatArray
    slopes: FloatArray
    middle: FloatArray
    stopped: float


class Fitted(Record):
    """The numbers of a policy, compact enough to keep hundreds.

    ``laws`` of right and wrong responses for each named path, and how many responses [path, grade, class] they are of.
    """

    classes: Classes
    laws: tuple[tuple[Law, Law], ...]
    responses: FloatArray


Paths = Literal["outcome", "one", "states", "column"]


class Fitter:
    """A log taken apart once, to be fitted as it is and with its prompts drawn again.

    ``right`` and ``answers`` [prompt] are the correct responses and all of them. Of a response 12 bytes are kept.
    """

    def __init__(self, log: Responses, *, paths: Paths, classes: int | None, smoothing: float,
                 coordinates: Coordinates | None, seed: int) -> None:
        self.paths = paths
        self.classes = classes
        self.coordinates: dict[str, Any] = {} if coordinates is None else {"coordinates": coordinates}
        self.seed = seed
        self.prompts = log.prompts
        self.max_tokens = log.max_tokens
        self.labels = log.labels
        self.names = log.names
        self.path_names = log.path_names
        self.answered = log.answers
        self.right: IntArray = np.bincount(log.prompt[log.correct], minlength=log.prompts)
        self.answers: IntArray = np.bincount(log.prompt, minlength=log.prompts)
        self.k, self.n, self.pair = pairs(self.right, self.answers)
        self._refits: dict[int, Fitted] = {}

        # right and wrong responses: the prompt of each, its cell (the number of cells if it was cut) and its length
        stopped = ~log.truncated
        self.together = paths in ("one", "column")
        self.sides: list[tuple[IntArray, IntArray, IntArray, Cells]] = []
        for path in range(len(log.path_names)):
            taken = log.path == path
            for grade in (log.correct, ~log.correct):
                mine = taken & grade
                cells = make_cells(log.length[stopped & (taken if self.together else mine)], log.max_tokens, smoothing)
                length = log.length[mine].astype(np.int32)
                cell = np.where(stopped[mine], cells.of(length), len(cells.last)).astype(np.int32)
                self.sides.append((log.prompt[mine], cell, length, cells))

    def all_alike(self, scheme: Scheme) -> bool:
        """Whether all responses to each prompt are paid alike, and advantages compare these: all groups are dead.

        Single responses to several prompts say nothing of a group, unless all of the log are paid alike.
        """
        estimator = scheme.advantage.response_level
        compares = estimator is not None and estimator.group_relative and scheme.group_size > 1
        if not compares or scheme.reward.group_relative or scheme.reward.needs_target or _pulls_by_itself(scheme):
            return False
        lowest = np.full(self.prompts, np.inf)
        highest = np.full(self.prompts, -np.inf)
        for side, (prompt, cell, length, cells) in enumerate(self.sides):
            if not length.size:
                continue
            cut = cell == len(cells.last)
            paid = scheme.reward.values(length, np.full(len(cell), side % 2 == 0), cut)
            counted = ~cut if scheme.truncation == "remove" else np.ones_like(cut)
            if scheme.selection is not None:
                counted &= scheme.selection.in_time(length.astype(np.float64))
            np.minimum.at(lowest, prompt[counted], paid[counted])
            np.maximum.at(highest, prompt[counted], paid[counted])
        alike = (highest <= lowest).all()
        one_level = highest.max(initial=-np.inf) <= lowest.min(initial=np.inf)
        return bool(one_level or (alike and self.answers.min() > 1))

    def fit(self, times: IntArray | None = None) -> Fitted:
        """The fit with each prompt in the log ``times`` [prompt] over; once each unless given."""
        weight = np.ones(self.prompts) if times is None else times.astype(np.float64)
        classes, shares, row = self._by_solve_rate(weight) if self.labels is None else self._labelled(weight)

        # responses by row and cell, and where in a cell they are: for each grade, or for both together on one path
        counts = []
        lengths = []
        for prompt, cell, length, cells in self.sides:
            columns = len(cells.last) + 1
            often = weight[prompt]
            by_row = _sums(row[prompt] * columns + cell, often, len(shares) * columns)
            counts.append(by_row.reshape(len(shares), columns))
            lengths.append(_sums(cell, often * length, columns)[:-1])
        stopped = [by_row.sum(axis=0)[:-1] for by_row in counts]
        if self.together:
            stopped, lengths = ([both for right, wrong in zip(x[::2], x[1::2], strict=True)
                                 for both in [right + wrong] * 2] for x in (stopped, lengths))

        # the laws of length; the middle of a cell without responses is that of its positions
        laws = []
        for (*_, cells), by_row, count, total in zip(self.sides, counts, stopped, lengths, strict=True):
            with np.errstate(invalid="ignore", divide="ignore"):
                middle = np.where(count > 0, total / count, (cells.first + cells.last) / 2.0)
            laws.append(Law(cells=cells, masses=class_laws(by_row, shares, middle, cells.raw),
                            slopes=slopes(cells, count, total), middle=middle, stopped=float(count.sum())))
        responses = np.array([shares.T @ by_row.sum(axis=1) for by_row in counts])
        return Fitted(classes=classes, laws=tuple(zip(laws[::2], laws[1::2], strict=True)),
                      responses=responses.reshape(len(self.path_names), 2, -1))

    def _labelled(self, weight: FloatArray) -> tuple[Classes, FloatArray, IntArray]:
        """The classes that the log names, those of them that are drawn; as `_by_solve_rate` gives them."""
        count, right, answers = (_sums(self.labels, each, len(self.names))
                                 for each in (weight, weight * self.right, weight * self.answers))
        there = np.flatnonzero(count)
        classes = Classes(names=[self.names[i] for i in there], weights=count[there] / count.sum(),
                          rates=right[there] / answers[there])
        return classes, np.eye(len(count))[:, there], np.asarray(self.labels)

    def _by_solve_rate(self, weight: FloatArray) -> tuple[Classes, FloatArray, IntArray]:
        """The points of the law of solve rates, merged to few: prompts with k of n correct belong to them by Bayes.

        Those probabilities, [row, class], and the row of each prompt; prompts with the same ones share a row.
        """
        # the law, from the prompts that are drawn
        prompts = _sums(self.pair, weight, len(self.k))
        drawn = prompts > 0
        k = self.k.astype(np.float64)
        n = self.n.astype(np.float64)
        counts = Counts(correct=k[drawn], answers=n[drawn], prompts=prompts[drawn])
        full = npmle(counts)
        prior = merged(counts, full, self.classes)
        names = [{0.0: "never", 1.0: "always"}.get(float(rate), f"p={rate:.3g}") for rate in prior.points]
        if len(set(names)) < len(names):
            names = [f"{number}: {name}" for number, name in enumerate(names, start=1)]
        classes = Classes(names=names, weights=prior.weights, rates=prior.points, found=len(full.points),
                          lost=max(full.log_likelihood - prior.log_likelihood, 0.0))

        # the posterior of every prompt
        shares = posterior(Counts(correct=k, answers=n, prompts=np.ones(len(k))), prior)
        if len(shares) <= MANY_ROWS:
            return classes, shares, self.pair
        rounded, row = np.unique(np.round(shares, 2), axis=0, return_inverse=True)
        return classes, rounded / rounded.sum(axis=1, keepdims=True), row.ravel()[self.pair]

    def policy(self, fitted: Fitted, answers: Answers | None = None) -> Policy:
        """The policy of some numbers, with ``answers`` in place of those of the log."""
        classes = fitted.classes
        if self.paths == "outcome":
            paths = _two_paths(classes, *fitted.laws[0])
        elif self.answered is not None:
            right, wrong = fitted.laws[0]
            paths = states(classes.rates, _logits(right), _logits(wrong), right.masses[:, -1],
                           answers or self.answered)
        elif self.paths == "one":
            paths = [[path] for path in _curves("only", classes.rates, np.ones(len(classes.rates)), *fitted.laws[0],
                                                self.max_tokens)]
        else:
            paths = _named_paths(self.path_names, fitted, self.max_tokens)
        return Policy([PromptClass(name, weight=float(weight), paths=mine)
                       for name, weight, mine in zip(classes.names, classes.weights, paths, strict=True)],
                      max_tokens=self.max_tokens, **self.coordinates)

    def refit(self, number: int) -> Policy | None:
        """The policy of the log with its prompts drawn again; None if there is none, or none for the coordinates.

        All responses of a prompt together, with replacement, from the stream [seed, number]. The numbers are kept.
        """
        try:
            if number not in self._refits:
                rng = np.random.default_rng([self.seed, number])
                times = np.bincount(rng.integers(self.prompts, size=self.prompts), minlength=self.prompts)
                self._refits[number] = self.fit(times)
            return self.policy(self._refits[number])
        except (ValueError, ArithmeticError, RuntimeError):
            return None


def _pulls_by_itself(scheme: Scheme) -> bool:
    """Whether penalties move a policy that is its own reference."""
    in_loss = scheme.kl_in_loss
    noise = in_loss is not None and bool(in_loss.coefficient and np.any(in_loss.slope(np.zeros(1))))
    in_reward = scheme.kl_in_reward
    priced = in_reward is not None and bool(in_reward.coefficient and in_reward.content_per_token)
    return noise or priced or scheme.entropy is not None


def _sums(place: Any, weights: FloatArray, size: int) -> FloatArray:
    """Sums of weights by place, [size]."""
    return np.bincount(place, weights, size).astype(np.float64, copy=False)


def _two_paths(classes: Classes, right: Law, wrong: Law) -> list[list[Path]]:
    """A right and a wrong path for each class, those that have a chance."""
    made: list[list[Path]] = [[] for _ in classes.names]
    for name, p_correct, law, chances in (("right", 1.0, right, classes.rates),
                                          ("wrong", 0.0, wrong, 1.0 - classes.rates)):
        logits = _logits(law)
        for paths, chance, own, cut in zip(made, chances, logits, law.masses[:, -1], strict=True):
            if chance > 0.0:
                paths.append(Path(name, probability=float(chance), length=from_logits(own), p_correct=p_correct,
                                  p_correct_truncated=p_correct * float(cut > 0)))
    return made


def _logits(law: Law) -> FloatArray:
    """Hazard logits [class, t]."""
    return hazard_logits(law.masses, law.cells, law.slopes, law.stopped)


def _named_paths(names: tuple[str, ...], fitted: Fitted, max_tokens: int) -> list[list[Path]]:
    """The paths that the log names, for each class those that have a chance there."""
    right, wrong = fitted.responses.swapaxes(0, 1)
    taken = right + wrong  # [path, class]
    rates = quotient(right, taken)
    chances = taken / taken.sum(axis=0)
    made = [_curves(name, rates[k], chances[k], *fitted.laws[k], max_tokens) for k, name in enumerate(names)]
    return [[path for path in paths if path.probability > 0] for paths in zip(*made, strict=True)]


def _curves(name: str, rates: FloatArray, chances: FloatArray, right: Law, wrong: Law, max_tokens: int) -> list[Path]:
    """A path for each class, taken with these chances and right at these rates, with the share correct of those that
    stop near t.

    f = p f_right + (1-p) f_wrong and p_correct = p f_right/f in each cell, linear in log length between the cells'
    means (docs/derivations.md, section 17).
    """
    solved = rates[:, None] * right.masses
    every = solved + (1.0 - rates[:, None]) * wrong.masses
    share = quotient(solved, every)
    curves = share[:, :-1]
    if not right.cells.raw:
        t = np.log(np.arange(1.0, max_tokens + 1.0))
        middle = np.log(right.middle)
        curves = np.array([np.interp(t, middle, curve) for curve in curves])
    logits = hazard_logits(every, right.cells, right.slopes, right.stopped)
    return [Path(name, probability=min(float(chance), 1.0), length=from_logits(own),
                 p_correct=np.clip(curve, 0.0, 1.0), p_correct_truncated=float(min(cut, 1.0)))
            for own, curve, cut, chance in zip(logits, curves, share[:, -1], chances, strict=True)]
