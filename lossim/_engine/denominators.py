"""The random denominators of a step: of the aggregation, and of OPO's baseline.

1/D = Σ_a weight_a e^{-node_a D} (see :mod:`lossim._engine.ratios`) makes every response of the sum a factor
e^{-node_a · size}: the decays below.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lossim._engine.ratios import ONE, Reciprocal, reciprocal
from lossim._engine.step import Step
from lossim._support.types import BoolArray, FloatArray
from lossim.advantages import OPO
from lossim.aggregation import Aggregation

__all__ = ["Denominators"]

FAINT = 1e-140
"""Decays below it are taken for 0, which changes no digit: products of two would be denormal numbers, and slow."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Denominators:
    """Nodes a of the aggregation's denominator and b of the baseline's, with the decay of each end."""

    step: Step
    rule: Aggregation

    @cached_property
    def size(self) -> FloatArray:
        """What each end adds to the aggregation's denominator, [end]; 0 out of the loss, and 0 if there is none."""
        size = self.rule.size(self.step.old.length)
        return np.where(self.step.in_loss, 0.0 if size is None else size, 0.0)

    @cached_property
    def aggregation(self) -> Reciprocal:
        """1/D of the aggregation."""
        if self.rule.size(self.step.old.length) is None:
            return ONE
        scheme = self.step.scheme
        members = scheme.group_size if self.rule.within_group else scheme.responses_per_step
        return self._reciprocal(self.size, members, self.step.in_loss)

    @cached_property
    def baseline(self) -> Reciprocal:
        """1/ΣT of OPO's baseline."""
        if not isinstance(self.step.advantage, OPO):
            return ONE
        return self._reciprocal(self.step.old.length, self.step.scheme.group_size, self.step.in_baseline)

    def _reciprocal(self, size: FloatArray, members: int, inside: BoolArray) -> Reciprocal:
        policy = self.step.old
        counted = size[(policy.cell_weight @ policy.ends > 0) & inside]
        if not len(counted):
            return ONE
        low = counted.min() * (members if inside.all() else 1)  # at least the own response
        return reciprocal(float(low), float(counted.max() * members))

    @cached_property
    def decay(self) -> FloatArray:
        """e^{-node · size}, [a, end]."""
        return _decay(self.aggregation.nodes, self.size)

    @cached_property
    def baseline_decay(self) -> FloatArray:
        """e^{-node · T} of those in the baseline, [b, end]."""
        return _decay(self.baseline.nodes, self.step.old.length * self.step.in_baseline)


def _decay(nodes: FloatArray, size: FloatArray) -> FloatArray:
    decay: FloatArray = np.exp(-np.multiply.outer(nodes, size))
    decay[decay < FAINT] = 0.0
    return decay
