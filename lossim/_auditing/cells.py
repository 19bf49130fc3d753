"""The log as a policy: cells are class × path, and the law is the log's own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from lossim._auditing.log import Log, Slab
from lossim._engine import Readout
from lossim._model import Coordinates
from lossim._support.types import FloatArray, IntArray
from lossim.lengths import from_logits
from lossim.policies import Path, Policy, PromptClass

__all__ = ["Cells", "Paths"]

Paths = Literal["outcome", "one"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """How responses of a log make a policy.

    With ``paths="outcome"`` the right and the wrong responses of a class are paths of their own, truncated ones by
    their grade; with ``"one"`` a class has one path, on which some responses are right.
    """

    log: Log
    paths: Paths
    coordinates: Coordinates

    def of_cells(self, x: FloatArray) -> FloatArray:
        """[class, grade, end] as [cell, grade, end]."""
        if self.paths == "one":
            return x
        split = np.zeros((len(x), 2, *x.shape[1:]))
        for grade in (0, 1):
            split[:, grade, grade] = x[:, grade]
        return split.reshape(-1, *x.shape[1:])

    def cell(self, slab: Slab) -> IntArray:
        """The cell of each response."""
        return slab.of_class if self.paths == "one" else 2 * slab.of_class + ~slab.correct

    @cached_property
    def policy(self) -> Policy:
        """Hazards are stops over responses at risk; paths and classes are as frequent as in the log."""
        law = self.of_cells(self.log.law)
        ends, right = law.sum(axis=1), law[:, 0]
        correct = np.divide(right, ends, out=np.zeros_like(ends), where=ends > 0)
        weight, probability, logits = self._rates(ends)
        names = ("right", "wrong") if self.paths == "outcome" else ("all",)
        classes = [PromptClass(name, weight=float(share), paths=[
            Path(path, probability=float(probability[cell]), length=from_logits(logits[cell]),
                 p_correct=correct[cell, :-1], p_correct_truncated=float(correct[cell, -1]))
            for cell, path in enumerate(names, start=number * len(names))])
            for number, (name, share) in enumerate(zip(self.log.class_names, weight, strict=True))]
        return Policy(classes, max_tokens=self.log.max_tokens, coordinates=self.coordinates)

    @cached_property
    def readout(self) -> Readout:
        """The directions of that policy; no scheme's rewards are in it."""
        return self.readout_of(self.policy)

    def readout_of(self, policy: Policy) -> Readout:
        """The same of another policy."""
        return Readout(policy=policy, task=np.zeros((1, 2, self.log.shape[2])), scale=1.0)

    def redrawn(self, law: FloatArray) -> Policy:
        """The policy of other counts [class, grade, end]; graded by position as the log itself."""
        ends = law.sum(axis=1) if self.paths == "one" else law.reshape(-1, law.shape[-1])
        weight, probability, logits = self._rates(ends)
        return self.policy.with_rates(class_weight=weight, probability=probability, logits=logits)

    def _rates(self, law: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Class weights, path probabilities, and hazard logits of counts [cell, end]."""
        at_risk = np.cumsum(law[:, ::-1], axis=1)[:, :0:-1]
        stops, goes = law[:, :-1], at_risk - law[:, :-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            logits = np.where(at_risk > 0, np.log(stops) - np.log(goes), 0.0)  # where nobody is at risk, any will do
        by_cell = law.sum(axis=1).reshape(self.log.shape[0], -1)
        by_class = by_cell.sum(axis=1)
        even = np.full_like(by_cell, 1.0 / by_cell.shape[1])
        probability = np.divide(by_cell, by_class[:, None], out=even, where=by_class[:, None] > 0)
        return by_class / by_class.sum(), probability.ravel(), logits
