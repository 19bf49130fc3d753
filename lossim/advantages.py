"""Advantage estimators: what each response's tokens are credited with.

A response-level estimator gives one advantage per response, from the returns of its group. One formula,
``of_group``, serves real groups (each member once) and compositions of reward levels (each level with a
multiplicity). GAE gives one per token, from a critic that is data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lossim import _check
from lossim._types import FloatArray
from lossim.critics import Critic, Zero

__all__ = ["GAE", "OPO", "Advantage", "GroupMean", "GroupStandardized", "LeaveOneOut", "LengthAdaptive",
           "PositiveOnly", "Raw", "ResponseAdvantage", "Whitened"]

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


@dataclass(frozen=True, kw_only=True)
class Raw(ResponseAdvantage):
    """A = R - b with a fixed baseline b: one number, or one per prompt class.

    >>> Raw(baseline=0.25)
    Raw(baseline=0.25)
    """

    baseline: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.baseline, (list, tuple, np.ndarray)):
            values = _check.number_array("baseline", self.baseline, ndim=1)
            if not len(values):
                _check.fail("baseline", self.baseline, "must be a number or hold one per prompt class")
            object.__setattr__(self, "baseline", tuple(float(b) for b in values))
        else:
            _check.finite("baseline", self.baseline)

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


@dataclass(frozen=True, kw_only=True)
class GroupMean(ResponseAdvantage):
    """A = R - mean of the group, the response itself included: Dr. GRPO's.

    ``group_of_one``: the advantage where the group has one response; ``"zero"`` (R - R, as the formula says) or
    ``"raw"`` (R, as verl's ``grpo`` without std does).
    """

    group_of_one: Single = "zero"

    def __post_init__(self) -> None:
        _check.choice("group_of_one", self.group_of_one, ("zero", "raw"))

    @property
    def group_relative(self) -> bool:
        return True

    def of_group(self, returns: FloatArray, count: FloatArray, length: FloatArray, baseline: FloatArray
                 ) -> FloatArray:
        centred, members = _centred(returns, count)
        return np.where(members > 1, centred, returns) if self.group_of_one == "raw" else centred


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(ResponseAdvantage):
    """A = R - mean of the other responses of the group: RLOO's. Needs a group of two or more."""

    @property
    def group_relative(self) -> bool:
        return True

    @property
    def least_group_size(self) -> int:
        return 2

    def of_group(self, returns: FloatArray, count: FloatArray, length: FloatArray, baseline: FloatArray
                 ) -> FloatArray:
        centred, members = _centred(returns, count)
        return centred * members / np.maximum(members - 1.0, 1.0)


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

    def __post_init__(self) -> None:
        _check.whole("ddof", self.ddof, low=0)
        if self.ddof > 1:
            _check.fail("ddof", self.ddof, "must be 0 or 1")
        _check.at_least("eps", self.eps, 0.0)
        _check.choice("scope", self.scope, ("group", "batch"))
        _check.choice("group_of_one", self.group_of_one, ("zero", "raw"))

    @property
    def group_relative(self) -> bool:
        return True

    def of_group(self, returns: FloatArray, count: FloatArray, length: FloatArray, baseline: FloatArray
                 ) -> FloatArray:
        """With scope "batch", the centred return only: the caller divides by the step's std + eps."""
        centred, members = _centred(returns, count)
        if self.scope == "batch":
            return centred
        variance = np.sum(count * centred**2, axis=-1, keepdims=True) / np.maximum(members - self.ddof, 1.0)
        alone = 0.0 if self.group_of_one == "zero" else returns / (1.0 + self.eps)
        std = np.broadcast_to(np.sqrt(variance) + self.eps, centred.shape)
        # All returns equal and eps = 0 is 0/0: no signal, so no advantage.
        scaled = np.divide(centred, std, out=np.zeros(centred.shape), where=std > 0)
        return np.where(members > 1, scaled, alone)


@dataclass(frozen=True, kw_only=True)
class OPO(ResponseAdvantage):
    """A = R - ΣTR / ΣT over the group: the length-weighted baseline of OPO. A group of one has A = 0."""

    @property
    def group_relative(self) -> bool:
        return True

    def of_group(self, returns: FloatArray, count: FloatArray, length: FloatArray, baseline: FloatArray
                 ) -> FloatArray:
        shifted, tokens = _shifted(returns, count), np.sum(count * length, axis=-1, keepdims=True)
        mean: FloatArray = np.sum(count * length * shifted, axis=-1, keepdims=True) / np.maximum(tokens, 1.0)
        return shifted - mean


@dataclass(frozen=True, kw_only=True)
class PositiveOnly(ResponseAdvantage):
    """max(A, 0) of another response-level estimator: learn from what went better than the baseline."""

    inner: ResponseAdvantage

    def __post_init__(self) -> None:
        if not isinstance(self.inner, ResponseAdvantage):
            _check.fail("inner", self.inner, "must be an estimator with one advantage per response",
                        "GAE and Whitened have one per token", TypeError)
        if isinstance(self.inner, GroupStandardized) and self.inner.scope == "batch":
            _check.fail("inner", self.inner, "must not have batch scope",
                        "the sign is the same with GroupMean(); use PositiveOnly(inner=GroupMean())")

    @property
    def group_relative(self) -> bool:
        return self.inner.group_relative

    @property
    def least_group_size(self) -> int:
        return self.inner.least_group_size

    def of_group(self, returns: FloatArray, count: FloatArray, length: FloatArray, baseline: FloatArray
                 ) -> FloatArray:
        return np.maximum(self.inner.of_group(returns, count, length, baseline), 0.0)


@dataclass(frozen=True, kw_only=True)
class LengthAdaptive:
    """λ(T) = max(0, 1 - 1/max(α·T, 1)) of a response of length T: VAPO's actor.

    >>> LengthAdaptive(alpha=0.05)(np.array([10.0, 100.0]))
    array([0. , 0.8])
    """

    alpha: float = 0.05

    def __post_init__(self) -> None:
        _check.positive("alpha", self.alpha)

    def __call__(self, length: FloatArray) -> FloatArray:
        """λ for each length."""
        return 1.0 - 1.0 / np.maximum(self.alpha * length, 1.0)


@dataclass(frozen=True, kw_only=True)
class GAE(Advantage):
    """Generalised advantage estimation, A_t = δ_t + γλ A_{t+1}, δ_t = r_t + γV_{t+1} - V_t.

    V_t is the critic's value before token t; after the last token it is 0, whether the response stopped or was cut
    (verl's convention). ``bootstrap_truncated`` puts the critic's value beyond ``max_tokens`` there for cut ones.

    Attributes:
        gamma: discount γ in [0, 1].
        gae_lambda: λ in [0, 1], or :class:`LengthAdaptive`.
        critic: what V is; see :mod:`lossim.critics`.
    """

    gamma: float = 1.0
    gae_lambda: float | LengthAdaptive = 0.95
    critic: Critic = field(default_factory=Zero)
    bootstrap_truncated: bool = False

    def __post_init__(self) -> None:
        _check.probability("gamma", self.gamma)
        if not isinstance(self.gae_lambda, LengthAdaptive):
            _check.probability("gae_lambda", self.gae_lambda)
        if not isinstance(self.critic, Critic):
            _check.fail("critic", self.critic, "must be a critic", "for a number use critics.Constant(value=...)",
                        TypeError)
        _check.flag("bootstrap_truncated", self.bootstrap_truncated)


@dataclass(frozen=True, kw_only=True)
class Whitened(Advantage):
    """(A - μ) · (σ² + eps)^-½ with mean and variance over the tokens in the loss of the step.

    ``scale=False`` centres only. The variance has Bessel's correction and eps is added to it, as in verl's
    ``masked_whiten``; a step with fewer than two tokens in the loss moves nothing. If all A are equal, A - μ = 0
    decides.
    """

    inner: Advantage
    scale: bool = True
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if not isinstance(self.inner, (ResponseAdvantage, GAE)):
            _check.fail("inner", self.inner, "must be an advantage estimator that is not itself whitened", "",
                        TypeError)
        if isinstance(self.inner, GroupStandardized) and self.inner.scope == "batch":
            _check.fail("inner", self.inner, "must not have batch scope", "whitening divides by a std of its own")
        _check.flag("scale", self.scale)
        _check.at_least("eps", self.eps, 0.0)

    @property
    def group_relative(self) -> bool:
        return self.inner.group_relative

    @property
    def least_group_size(self) -> int:
        return self.inner.least_group_size
