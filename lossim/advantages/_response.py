"""Estimators with one advantage per response, from the returns of its group.

One formula, ``of_group``, serves real groups (each member once) and compositions of reward levels (each level with a
multiplicity); ``of_step`` adds what a whole step scales them by.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lossim._support import checks
from lossim._support.types import BoolArray, FloatArray

__all__ = ["GPG", "OPO", "Advantage", "GroupMean", "GroupStandardized", "LeaveOneOut", "MaxRL", "PassK", "PositiveOnly",
           "Raw", "ResponseAdvantage", "ddof"]

Single = Literal["zero", "raw"]


@dataclass(frozen=True, kw_only=True)
class Advantage:
    """Base of all estimators."""

    @property
    def group_relative(self) -> bool:
        """Whether the estimator compares a response with the others of its group."""
        return False

    @property
    def least_group_size(self) -> int:
        """The smallest group for which the estimator is defined."""
        return 1


@dataclass(frozen=True, kw_only=True)
class ResponseAdvantage(Advantage, ABC):
    """Base of the estimators with one advantage per response."""

    @property
    def innermost(self) -> ResponseAdvantage:
        """The estimator itself, or what its wrappers hold."""
        return self

    @abstractmethod
    def of_group(self, returns: FloatArray, count: FloatArray, length: FloatArray, baseline: FloatArray
                 ) -> FloatArray:
        """Advantages [..., member] of group members.

        Args:
            returns: R of each member (or level), [..., member].
            count: how often the member occurs in the baseline; 0 leaves it out (its entry is then meaningless).
            length: T of each member; read by OPO alone.
            baseline: fixed baseline of the group's class, [..., 1]; read by Raw alone.
        """

    def of_step(self, credit: FloatArray, returns: FloatArray, counted: BoolArray) -> FloatArray:
        """Advantages of whole steps from those by group: as they are, unless a statistic of the step scales them.

        Args:
            credit: what ``of_group`` gave, [step, prompt, response].
            returns: R of each response.
            counted: whether it is in the baseline.
        """
        return credit


@dataclass(frozen=True, kw_only=True)
class Raw(ResponseAdvantage):
    """A = R - b with a fixed baseline b: one number, or one per prompt class.

    >>> Raw(baseline=0.25)
    Raw(baseline=0.25)
    """

    baseline: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.baseline, (list, tuple, np.ndarray)):
            values = checks.number_array("baseline", self.baseline, ndim=1)
            if not len(values):
                checks.fail("baseline", self.baseline, "must be a number or hold one per prompt class")
            object.__setattr__(self, "baseline", tuple(float(b) for b in values))
        else:
            checks.finite("baseline", self.baseline)

    def of_group(self, returns: FloatArray, count: FloatArray, length: FloatArray, baseline: FloatArray
                 ) -> FloatArray:
        return returns - baseline


def _shifted(returns: FloatArray, count: FloatArray) -> FloatArray:
    """Returns less the largest that counts, so that equal ones are exactly 0 and centring leaves no rounding."""
    top = np.max(np.where(count > 0, returns, -np.inf), axis=-1, keepdims=True)
    return returns - np.where(np.isfinite(top), top, 0.0)


def _centred(returns: FloatArray, count: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns less their mean over those that count, and how many these are."""
    shifted, members = _shifted(returns, count), np.sum(count, axis=-1, keepdims=True)
    return shifted - np.sum(count * shifted, axis=-1, keepdims=True) / np.maximum(members, 1.0), members


def ddof(value: int) -> None:
    """Check a number of degrees of freedom."""
    if checks.whole("ddof", value, low=0) > 1:
        checks.fail("ddof", value, "must be 0 or 1")


def _variance(centred: FloatArray, count: FloatArray, members: FloatArray, ddof: int) -> FloatArray:
    """Of the group, [..., 1]."""
    variance: FloatArray = np.sum(count * centred**2, axis=-1, keepdims=True) / np.maximum(members - ddof, 1.0)
    return variance


@dataclass(frozen=True, kw_only=True)
class _GroupRelative(ResponseAdvantage):
    """Base of the estimators that compare a response with the others of its group."""

    @property
    def group_relative(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class _GroupBaseline(_GroupRelative):
    """Base of A = R - b with a baseline b of the group.

    ``group_of_one``: the advantage where the group has one response; ``"zero"`` or ``"raw"`` (R, as verl has it).
    """

    group_of_one: Single = "zero"

    def __post_init__(self) -> None:
        checks.choice("group_of_one", self.group_of_one, ("zero", "raw"))

    def _or_raw(self, credit: FloatArray, returns: FloatArray, members: FloatArray) -> FloatArray:
        return np.where(members > 1, credit, returns) if self.group_of_one == "raw" else credit


@dataclass(frozen=True, kw_only=True)
class GroupMean(_GroupBaseline):
    """A = R - mean of the group, the response itself included: Dr. GRPO's. A group of one has A = 0, or R."""

    def of_group(self, returns: FloatArray, count: FloatArray, length: FloatArray, baseline: FloatArray
                 ) -> FloatArray:
        centred, members = _centred(returns, count)
        return self._or_raw(centred, returns, members)


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(_GroupBaseline):
    """A = R - mean of the other responses of the group: RLOO's.

    A scheme needs groups of two or more, unless ``group_of_one`` is ``"raw"``. On batches with a group of one it has
    A = 0, as verl's ``rloo_vectorized``, or R, as verl's ``rloo``.
    """

    @property
    def least_group_size(self) -> int:
        return 1 if self.group_of_one == "raw" else 2

    def of_group(self, returns: FloatArray, count: FloatArray, length: FloatArray, baseline: FloatArray
                 ) -> FloatArray:
        centred, members = _centred(returns, count)
        return self._or_raw(centred * members / np.maximum(members - 1.0, 1.0), returns, members)


@dataclass(frozen=True, kw_only=True)
class GPG(GroupMean):
    """A = (R - mean of the group) · n / #(R ≠ 0): the step's responses over those that are paid. A group of one: R.

    How many are paid is a number of the whole step, so its expectation needs Monte Carlo. Source: arXiv 2504.02546.
    """

    group_of_one: Single = "raw"

    def of_step(self, credit: FloatArray, returns: FloatArray, counted: BoolArray) -> FloatArray:
        paid = np.sum(counted & (returns != 0.0), axis=(-2, -1), keepdims=True)
        scaled: FloatArray = credit * np.sum(counted, axis=(-2, -1), keepdims=True) / np.maximum(paid, 1)
        return scaled


@dataclass(frozen=True, kw_only=True)
class MaxRL(_GroupRelative):
    """A = (R - mean) / (mean + eps) of the group: the gradient of log E[R] as the group sees it, for R ≥ 0.

    0 where the mean is not positive. A group of one keeps its R (``"raw"``, as SkyRL) or has A = 0.
    Source: arXiv 2602.02710.

    >>> MaxRL(eps=0.0).of_group(np.array([1.0, 0.0, 0.0, 0.0]), np.ones(4), np.ones(4), np.zeros(1))
    array([ 3., -1., -1., -1.])
    """

    eps: float = 1e-6
    group_of_one: Single = "raw"

    def __post_init__(self) -> None:
        checks.at_least("eps", self.eps, 0.0)
        checks.choice("group_of_one", self.group_of_one, ("zero", "raw"))

    def of_group(self, returns: FloatArray, count: FloatArray, length: FloatArray, baseline: FloatArray
                 ) -> FloatArray:
        centred, members = _centred(returns, count)
        mean = np.sum(count * np.where(count > 0, returns, 0.0), axis=-1, keepdims=True) / np.maximum(members, 1.0)
        scaled = np.divide(centred, mean + self.eps, out=np.zeros(centred.shape),
                           where=np.broadcast_to(mean > 0, centred.shape))
        return np.where(members > 1, scaled, returns if self.group_of_one == "raw" else 0.0)


@dataclass(frozen=True, kw_only=True)
class PassK(_GroupRelative):
    """The best of the group is credited with what it is better than the second best by; all others have A = 0.

    A tie for the best leaves nothing. ``standardize`` divides by the group's std + eps, with Bessel's correction.
    Source: arXiv 2503.19595; verl's ``grpo_passk``.

    >>> PassK(standardize=False).of_group(np.array([3.0, 1.0, 0.0]), np.ones(3), np.ones(3), np.zeros(1))
    array([2., 0., 0.])
    """

    standardize: bool = True
    eps: float = 1e-6

    def __post_init__(self) -> None:
        checks.flag("standardize", self.standardize)
        checks.at_least("eps", self.eps, 0.0)

    @property
    def least_group_size(self) -> int:
        return 2

    def of_group(self, returns: FloatArray, count: FloatArray, length: FloatArray, baseline: FloatArray
                 ) -> FloatArray:
        counted = np.where(count > 0, returns, -np.inf)
        best = np.max(counted, axis=-1, keepdims=True)
        is_best = (counted == best) & (count > 0)
        second = np.max(np.where(is_best, -np.inf, counted), axis=-1, keepdims=True)
        lead = (np.sum(count * is_best, axis=-1, keepdims=True) == 1) & np.isfinite(second)
        credit = np.where(is_best & lead, best - np.where(lead, second, 0.0), 0.0)
        if not self.standardize:
            return credit
        centred, members = _centred(returns, count)
        scaled: FloatArray = credit / np.where(lead, np.sqrt(_variance(centred, count, members, 1)) + self.eps, 1.0)
        return scaled


@dataclass(frozen=True, kw_only=True)
class GroupStandardized(_GroupRelative):
    """A = (R - mean of the group) / (std + eps): GRPO's.

    ``scope="batch"`` divides by the std over the whole step instead (the mean stays the group's); its expectation is
    exact only in the limit of a large batch. ``ddof`` is 1 in every trainer but open-instruct; ``eps`` is 1e-6 in
    verl, 1e-4 in TRL, 1e-9 in OpenRLHF. A group of one: ``"raw"`` gives R / (1 + eps), as verl does, ``"zero"`` 0.
    """

    ddof: int = 1
    eps: float = 1e-6
    scope: Literal["group", "batch"] = "group"
    group_of_one: Single = "raw"

    def __post_init__(self) -> None:
        ddof(self.ddof)
        checks.at_least("eps", self.eps, 0.0)
        checks.choice("scope", self.scope, ("group", "batch"))
        checks.choice("group_of_one", self.group_of_one, ("zero", "raw"))

    def of_group(self, returns: FloatArray, count: FloatArray, length: FloatArray, baseline: FloatArray
                 ) -> FloatArray:
        """With scope "batch" the centred return only; ``of_step`` then divides by the step's std + eps."""
        centred, members = _centred(returns, count)
        if self.scope == "batch":
            return centred
        alone = 0.0 if self.group_of_one == "zero" else returns / (1.0 + self.eps)
        std = np.broadcast_to(np.sqrt(_variance(centred, count, members, self.ddof)) + self.eps, centred.shape)
        # All returns equal and eps = 0 is 0/0: no signal, so no advantage.
        scaled = np.divide(centred, std, out=np.zeros(centred.shape), where=std > 0)
        return np.where(members > 1, scaled, alone)

    def of_step(self, credit: FloatArray, returns: FloatArray, counted: BoolArray) -> FloatArray:
        if self.scope == "group":
            return credit
        number = np.sum(counted, axis=(-2, -1), keepdims=True)
        top = np.max(np.where(counted, returns, -np.inf), axis=(-2, -1), keepdims=True)
        shifted = np.where(counted, returns - np.where(np.isfinite(top), top, 0.0), 0.0)  # equal ones are exactly 0
        mean = np.sum(shifted * counted, axis=(-2, -1), keepdims=True) / np.maximum(number, 1)
        squares = np.sum((shifted - mean) ** 2 * counted, axis=(-2, -1), keepdims=True)
        std = np.sqrt(squares / np.maximum(number - self.ddof, 1)) + self.eps
        moves = np.broadcast_to((number > self.ddof) & (std > 0), credit.shape)
        scaled: FloatArray = np.divide(credit, np.broadcast_to(std, credit.shape), out=np.zeros(credit.shape),
                                       where=moves)
        return scaled


@dataclass(frozen=True, kw_only=True)
class OPO(_GroupBaseline):
    """A = R - ΣTR / ΣT over the group: the length-weighted baseline of OPO. A group of one has A = 0, or R."""

    def of_group(self, returns: FloatArray, count: FloatArray, length: FloatArray, baseline: FloatArray
                 ) -> FloatArray:
        shifted, tokens = _shifted(returns, count), np.sum(count * length, axis=-1, keepdims=True)
        mean = np.sum(count * length * shifted, axis=-1, keepdims=True) / np.maximum(tokens, 1.0)
        return self._or_raw(shifted - mean, returns, np.sum(count, axis=-1, keepdims=True))


@dataclass(frozen=True, kw_only=True)
class PositiveOnly(ResponseAdvantage):
    """max(A, 0) of another response-level estimator: learn from what went better than the baseline."""

    inner: ResponseAdvantage

    def __post_init__(self) -> None:
        if not isinstance(self.inner, ResponseAdvantage):
            checks.fail("inner", self.inner, "must be an estimator with one advantage per response",
                        "GAE and Whitened have one per token", TypeError)
        if isinstance(self.inner, GroupStandardized) and self.inner.scope == "batch":
            checks.fail("inner", self.inner, "must not have batch scope",
                        "the sign is the same with GroupMean(); use PositiveOnly(inner=GroupMean())")

    @property
    def innermost(self) -> ResponseAdvantage:
        return self.inner.innermost

    @property
    def group_relative(self) -> bool:
        return self.inner.group_relative

    @property
    def least_group_size(self) -> int:
        return self.inner.least_group_size

    def of_group(self, returns: FloatArray, count: FloatArray, length: FloatArray, baseline: FloatArray
                 ) -> FloatArray:
        return np.maximum(self.inner.of_group(returns, count, length, baseline), 0.0)

    def of_step(self, credit: FloatArray, returns: FloatArray, counted: BoolArray) -> FloatArray:
        return self.inner.of_step(credit, returns, counted)
