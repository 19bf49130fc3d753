"""The log as a policy, and the log redrawn: cells are class × path, and the law is the log's own."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np

from lossim._auditing.log import Log, Slab
from lossim._engine import Directions
from lossim._model import CellArrays, Coordinates
from lossim._support.records import Record
from lossim._support.types import FloatArray
from lossim.lengths import from_logits
from lossim.policies import Path, Policy, PromptClass

Paths = Literal["outcome", "one"]


class LoggedCells(Record):
    """How responses of a log make a policy.

    With ``paths="outcome"`` the right and the wrong responses of a class are paths of their own, truncated ones by
    their grade; with ``"one"`` a class has one path, on which some responses are right.
    """

    log: Log
    paths: Paths
    coordinates: Coordinates

    def of_cells(self, x: FloatArray) -> FloatArray:
        """[class, grade, end], of one log or of several in a row, as [cell, grade, end]."""
        if self.paths == "one":
            return x
        split = np.zeros((len(x), 2, *x.shape[1:]))
        for grade in (0, 1):
            split[:, grade, grade] = x[:, grade]
        return split.reshape(-1, *x.shape[1:])

    def at(self, table: FloatArray, slab: Slab) -> FloatArray:
        """The entry of a table [..., cell, end] at each response."""
        place = slab.place
        if self.paths == "one":
            place = slab.each(slab.prompt_class) * table.shape[-1] + slab.end
        return table.reshape(*table.shape[:-2], -1)[..., place]

    # --- the log as it is ---------------------------------------------------------------------------------------

    @cached_property
    def policy(self) -> Policy:
        """Hazards are stops over responses at risk; paths and classes are as frequent as in the log."""
        law = self.of_cells(self.log.law)
        ends = law.sum(axis=1)
        correct = np.divide(law[:, 0], ends, out=np.zeros_like(ends), where=ends > 0)
        weight, probability = self._shares(ends, 1)
        logits = _logits(ends)
        names = ("right", "wrong") if self.paths == "outcome" else ("all",)
        classes = []
        for number, name in enumerate(self.log.class_names):
            paths = [Path(path, probability=float(probability[cell]), length=from_logits(logits[cell]),
                          p_correct=correct[cell, :-1], p_correct_truncated=float(correct[cell, -1]))
                     for cell, path in enumerate(names, start=number * len(names))]
            classes.append(PromptClass(name, weight=float(weight[number]), paths=paths))
        return Policy(classes, max_tokens=self.log.max_tokens, coordinates=self.coordinates)

    @cached_property
    def directions(self) -> Directions:
        """Its directions."""
        return Directions(policy=self.policy.arrays, motion=self.policy.motion)

    # --- the log redrawn ----------------------------------------------------------------------------------------

    def redrawn(self, law: FloatArray) -> Directions:
        """Logs of other counts [log, class, grade, end] side by side; graded by position as the log itself."""
        count = len(law)
        by_class = law.reshape(-1, *law.shape[2:])
        ends = by_class.sum(axis=1) if self.paths == "one" else by_class.reshape(-1, law.shape[-1])
        weight, probability = self._shares(ends, count)
        start = self.policy.arrays
        policy = CountedArrays(layout=start.layout.repeated(count), class_weight=weight, probability=probability,
                               logits=_logits(ends), correctness=np.tile(start.correctness, (count, 1)),
                               others=np.tile(start.others, (count, 1, 1)), arrival=start.arrival, counts=ends)
        return Directions(policy=policy, motion=self.policy.motion, shape=(count,))

    def _shares(self, ends: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
        """Class weights [class] and path probabilities [cell] of so many logs in a row, from counts [cell, end]."""
        by_cell = ends.sum(axis=1).reshape(count * self.log.shape[0], -1)
        by_class = by_cell.sum(axis=1)
        even = np.full_like(by_cell, 1.0 / by_cell.shape[1])
        probability = np.divide(by_cell, by_class[:, None], out=even, where=by_class[:, None] > 0)
        of_log = by_class.reshape(count, -1)
        weight = of_log / of_log.sum(axis=1, keepdims=True)
        return weight.ravel(), probability.ravel()


def _reached(counts: FloatArray) -> FloatArray:
    """Σ_{end ≥ t} of counts [cell, end], for t = 1..N and last for those that are cut."""
    return np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]


def _logits(counts: FloatArray) -> FloatArray:
    """Hazard logits log(stops/goes) [cell, t] of counts [cell, end]; 0 where nobody is at risk, since any will do."""
    at_risk = _reached(counts)[:, :-1]
    stops = counts[:, :-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(at_risk > 0, np.log(stops) - np.log(at_risk - stops), 0.0)


class CountedArrays(CellArrays):
    """Arrays of laws that were counted, [cell, end]: read off the counts, in half the time that logits take.

    A cell without a response has hazards of 1/2, as its logits say.
    """

    counts: FloatArray

    @cached_property
    def _counts(self) -> FloatArray:
        """The counts, or in a cell without any those of a law with hazards of 1/2."""
        halves = 0.5 ** np.append(np.arange(1.0, self.max_tokens + 1.0), self.max_tokens)
        return np.where(self.counts.any(axis=1, keepdims=True), self.counts, halves)

    @cached_property
    def _at_risk(self) -> FloatArray:
        return _reached(self._counts)

    def _of_those_at_risk(self, some: FloatArray) -> FloatArray:
        at_risk = self._at_risk[:, :-1]
        return np.divide(some, at_risk, out=np.full_like(at_risk, 0.5), where=at_risk > 0)

    @cached_property
    def ends(self) -> FloatArray:
        return self._counts / self._at_risk[:, :1]

    @cached_property
    def at_risk(self) -> FloatArray:
        return self._at_risk[:, :-1] / self._at_risk[:, :1]

    @cached_property
    def log_at_risk(self) -> FloatArray:
        with np.errstate(divide="ignore"):
            return np.log(self._at_risk / self._at_risk[:, :1])

    @cached_property
    def hazard(self) -> FloatArray:
        return self._of_those_at_risk(self._counts[:, :-1])

    @cached_property
    def stay(self) -> FloatArray:
        return self._of_those_at_risk(self._at_risk[:, 1:])
