"""Estimators that divide by a std: of the group, of the step, of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from lossim._support import checks
from lossim._support.quotients import quotient
from lossim._support.types import BoolArray, FloatArray
from lossim.advantages._base import Group
from lossim.advantages._response import SINGLE, ResponseAdvantage, Single, Traits, degrees


@dataclass(frozen=True, kw_only=True)
class GroupStandardized(ResponseAdvantage):
    """A = (R - mean of the group) / (std + eps): GRPO's.

    ``scope="batch"`` divides by the std over the whole step instead (the mean stays the group's); its expectation is
    exact only in the limit of a large batch. ``ddof`` is 1 in every trainer but open-instruct; ``eps`` is 1e-6 in
    verl, 1e-4 in TRL, 1e-9 in OpenRLHF. A group of one: ``"raw"`` gives R / (1 + eps), as verl does, ``"zero"`` 0.
    """

    ddof: int = 1
    eps: float = 1e-6
    scope: Literal["group", "batch"] = "group"
    group_of_one: Single = "raw"
    _rules: ClassVar = {"ddof": (degrees,), "eps": (checks.at_least, 0.0), "scope": (checks.choice, ("group", "batch")),
                        "group_of_one": SINGLE}

    @property
    def traits(self) -> Traits:
        if self.scope == "group":
            return Traits(mates="standardized", ddof=self.ddof, eps=self.eps)
        return Traits(mates="linear", step_eps=self.eps)

    @property
    def needs_whole_step(self) -> bool:
        return self.scope == "batch"

    def of_group(self, group: Group) -> FloatArray:
        """With scope "batch" the centred return only; ``of_step`` then divides by the step's std + eps."""
        centred = group.centred
        if self.scope == "batch":
            return centred
        alone = 0.0 if self.group_of_one == "zero" else group.returns / (1.0 + self.eps)
        std = np.broadcast_to(np.sqrt(group.variance(self.ddof)) + self.eps, centred.shape)
        # All returns equal and eps = 0 is 0/0: no signal, so no advantage.
        scaled = quotient(centred, std)
        return np.where(group.members > 1, scaled, alone)

    def of_step(self, credit: FloatArray, returns: FloatArray, counted: BoolArray) -> FloatArray:
        if not self.needs_whole_step:
            return credit
        number = np.sum(counted, axis=(-2, -1), keepdims=True)
        top = np.max(np.where(counted, returns, -np.inf), axis=(-2, -1), keepdims=True)
        shifted = np.where(counted, returns - np.where(np.isfinite(top), top, 0.0), 0.0)  # equal ones are exactly 0
        mean = np.sum(shifted * counted, axis=(-2, -1), keepdims=True) / np.maximum(number, 1)
        squares = np.sum((shifted - mean) ** 2 * counted, axis=(-2, -1), keepdims=True)
        std = np.broadcast_to(np.sqrt(squares / np.maximum(number - self.ddof, 1)) + self.eps, credit.shape)
        moves = np.broadcast_to(number > self.ddof, credit.shape) & (std > 0)
        return np.divide(credit, std, out=np.zeros(credit.shape), where=moves)


@dataclass(frozen=True, kw_only=True)
class LeaveOneOutStandardized(ResponseAdvantage):
    """A = (R - mean of the others) / (std of the others + eps): NeMo RL's default, a response against its mates alone.

    The std has Bessel's correction. Where the others are all equal, as one other always is, their std is 0 and
    A = R - mean, not divided: a lone right response has A = 1. Advantages of a group do not add up to 0.
    Source: ``GRPOAdvantageEstimator`` of NeMo RL.

    >>> from lossim.advantages import group_of
    >>> LeaveOneOutStandardized(eps=0.0).of_group(group_of(np.array([1.0, 0.0, 0.0, 0.0]))).round(3)
    array([ 1.   , -0.577, -0.577, -0.577])
    """

    eps: float = 1e-6
    _rules: ClassVar = {"eps": (checks.at_least, 0.0)}
    least_group_size = 2

    def of_group(self, group: Group) -> FloatArray:
        others = np.maximum(group.members - 1.0, 1.0)
        own = group.centred
        squares = group.variance(0) * group.members - own**2 * group.members / others  # Σ (R_j - mean)² of the others
        std = np.sqrt(np.maximum(squares, 0.0) / np.maximum(others - 1.0, 1.0))
        divisor = np.where(self._alike(group), 1.0, std + self.eps)
        credit = quotient(own * group.members / others, divisor)
        return np.where(group.members > 1, credit, 0.0)

    @staticmethod
    def _alike(group: Group) -> BoolArray:
        """Whether the others of each member have equal returns."""
        counts = group.count > 0
        top = np.max(np.where(counts, group.returns, -np.inf), axis=-1, keepdims=True)
        low = np.min(np.where(counts, group.returns, np.inf), axis=-1, keepdims=True)
        at_top = np.sum(group.count * (group.returns == top), axis=-1, keepdims=True)
        at_low = np.sum(group.count * (group.returns == low), axis=-1, keepdims=True)
        lone_top = (group.returns == top) & (at_top == 1) & (at_low == group.members - 1)
        lone_low = (group.returns == low) & (at_low == 1) & (at_top == group.members - 1)
        return (top == low) | lone_top | lone_low
