"""Surrogates: what a ratio between the policy and the one that drew the batch does to a token's gradient.

With r = π/π_old of a token and A its advantage, every surrogate here updates along A · gain · ∇log π. The gain is a
function of the token's own log ratio times a function of the whole response; on-policy, where all ratios are 1, it
is 1 for each of them. It may depend on the sign of the advantage, and on nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit

from lossim import _check
from lossim._types import FloatArray

__all__ = ["CISPO", "GMPO", "GSPO", "SAPO", "ImportanceWeight", "PPOClip", "PolicyGradient", "Surrogate"]


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """Base: gain = ``token_gain`` · ``response_gain``; ``signed`` tells whether either reads the advantage's sign.

    ``response_level`` marks surrogates whose gain reads the ratios of the whole response.
    """

    signed: ClassVar[bool] = True
    response_level: ClassVar[bool] = False

    def token_gain(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        """The factor that depends on the token's own log ratio."""
        return np.ones_like(log_ratio)

    def response_part(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        """What a token adds to the sum that ``response_gain`` gets the mean of."""
        return log_ratio

    def response_gain(self, mean: FloatArray, sign: int) -> FloatArray:
        """The factor that depends on the response, from the mean of ``response_part`` over its tokens."""
        return np.ones_like(mean)


@dataclass(frozen=True, kw_only=True)
class PolicyGradient(Surrogate):
    """-A log π: no ratio; gain 1. The policy gradient if old and new policy agree."""

    signed: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class ImportanceWeight(Surrogate):
    """-A r without a clip; gain r.

    >>> ImportanceWeight().token_gain(np.log([0.5, 2.0]), +1)
    array([0.5, 2. ])
    """

    signed: ClassVar[bool] = False

    def token_gain(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        return np.exp(log_ratio)


def _clipped(ratio: FloatArray, sign: int, low: float, high: float, most: float) -> FloatArray:
    """r where min(rA, clip(r, 1-low, 1+high)A) still moves with r, else 0; for A < 0 also 0 beyond ``most``."""
    active = ratio <= 1.0 + high if sign > 0 else (ratio >= 1.0 - low) & (ratio <= most)
    return np.where(active, ratio, 0.0)


@dataclass(frozen=True, kw_only=True)
class PPOClip(Surrogate):
    """min(rA, clip(r, 1-low, 1+high)A): gain r, and 0 where the clip holds.

    Attributes:
        low, high: clip range, ≥ 0; clip-higher is ``high`` > ``low``.
        dual: dual clip c > 1: for A < 0 the objective is at least cA, so beyond r = c the gain is 0. verl's default
            is 3, others have none.
        delta: two-sided clip: r is capped at delta for both signs. None in trainers unless set.

    Source: arXiv 1707.06347; dual clip arXiv 1912.09729.

    >>> PPOClip().token_gain(np.log([0.7, 1.0, 1.3]), +1)
    array([0.7, 1. , 0. ])
    >>> PPOClip().token_gain(np.log([0.7, 1.0, 1.3]), -1)
    array([0. , 1. , 1.3])
    """

    low: float = 0.2
    high: float = 0.2
    dual: float | None = None
    delta: float | None = None

    def __post_init__(self) -> None:
        _check.at_least("low", self.low, 0.0)
        _check.at_least("high", self.high, 0.0)
        for name in ("dual", "delta"):
            bound = getattr(self, name)
            if bound is not None and _check.finite(name, bound) <= 1:
                _check.fail(name, bound, "must be above 1", "leave it at None for no such clip")

    def token_gain(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        ratio = np.exp(log_ratio)
        gain = _clipped(ratio, sign, self.low, self.high, np.inf if self.dual is None else self.dual)
        return gain if self.delta is None else np.where(ratio <= self.delta, gain, 0.0)


@dataclass(frozen=True, kw_only=True)
class CISPO(Surrogate):
    """-sg(clip(r, 1-low, 1+high)) A log π: the ratio is a weight, no token falls silent. Source: arXiv 2506.13585."""

    signed: ClassVar[bool] = False
    low: float = 1.0
    high: float = 4.0

    def __post_init__(self) -> None:
        _check.in_interval("low", self.low, 0.0, 1.0)
        _check.at_least("high", self.high, 0.0)

    def token_gain(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        return np.clip(np.exp(log_ratio), 1.0 - self.low, 1.0 + self.high)


@dataclass(frozen=True, kw_only=True)
class SAPO(Surrogate):
    """A · σ(τ(r - 1)) · 4/τ: a soft gate; gain 4σ(1-σ)r, τ by the sign of A. Source: arXiv 2511.20347."""

    positive: float = 1.0
    negative: float = 1.05

    def __post_init__(self) -> None:
        _check.positive("positive", self.positive)
        _check.positive("negative", self.negative)

    def token_gain(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        ratio = np.exp(log_ratio)
        gate = expit((self.positive if sign > 0 else self.negative) * (ratio - 1.0))
        gain: FloatArray = 4.0 * gate * (1.0 - gate) * ratio
        return gain


@dataclass(frozen=True, kw_only=True)
class GSPO(Surrogate):
    """PPO's clip on s = exp(mean log r) of the response, the same for all its tokens. Source: arXiv 2507.18071."""

    response_level: ClassVar[bool] = True
    low: float = 3e-4
    high: float = 4e-4

    def __post_init__(self) -> None:
        _check.at_least("low", self.low, 0.0)
        _check.at_least("high", self.high, 0.0)

    def response_gain(self, mean: FloatArray, sign: int) -> FloatArray:
        return _clipped(np.exp(mean), sign, self.low, self.high, np.inf)


@dataclass(frozen=True, kw_only=True)
class GMPO(Surrogate):
    """exp of the mean of clipped log ratios; gain that mean ratio, 0 for clipped tokens.

    The clip is one-sided, as PPO's: log r is capped at ``high`` for A > 0 and held above -``low`` for A < 0. Aggregate
    with a mean over the response's tokens. Source: arXiv 2507.20673.
    """

    response_level: ClassVar[bool] = True
    low: float = 0.4
    high: float = 0.4

    def __post_init__(self) -> None:
        _check.at_least("low", self.low, 0.0)
        _check.at_least("high", self.high, 0.0)

    def response_part(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        return np.minimum(log_ratio, self.high) if sign > 0 else np.maximum(log_ratio, -self.low)

    def token_gain(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        return np.where(self.response_part(log_ratio, sign) == log_ratio, 1.0, 0.0)

    def response_gain(self, mean: FloatArray, sign: int) -> FloatArray:
        return np.exp(mean)
