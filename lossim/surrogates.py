"""Surrogates: what a ratio between the policy and the one that drew the batch does to a token's loss and gradient.

With r = π/π_old of a token and A its advantage, every surrogate here has the loss -A · J and updates along
A · gain · ∇log π, where gain = dJ/d log π (derivations, section 13). The gain is a function of the token's own log
ratio times a function of the whole response; on-policy, where all ratios are 1, it is 1 for each of them. It may depend
on the sign of the advantage, and on nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit

from lossim._support import checks
from lossim._support.types import FloatArray

__all__ = ["CISPO", "GMPO", "GSPO", "SAPO", "TOPR", "VESPO", "ImportanceWeight", "OffPolicyMask", "PPOClip",
           "PolicyGradient", "Surrogate"]

_RANGE = {"low": (checks.at_least, 0.0), "high": (checks.at_least, 0.0)}
"""The rules of a clip range."""


def _above(name: str, value: float, least: float) -> float:
    """A number above ``least``."""
    number = checks.finite(name, value)
    if number <= least:
        checks.fail(name, value, f"must be above {least:g}", "leave it at None for no such clip")
    return number


@dataclass(frozen=True, kw_only=True)
class Surrogate(checks.Checked):
    """Base: gain = dJ/d log π = ``token_gain`` · ``response_gain``, each of them 1 unless a subclass says otherwise.

    ``signed`` tells whether either reads the advantage's sign, which the methods get as +1 or -1. ``response_level``
    marks surrogates whose gain reads the ratios of the whole response, ``response_advantage`` those that need one
    advantage for all its tokens. Where the ratio is a ``weight`` (detached), J = gain · log π; elsewhere
    J = ``token_value`` · ``response_value``.
    """

    signed: ClassVar[bool] = True
    response_level: ClassVar[bool] = False
    response_advantage: ClassVar[bool] = False
    weight: ClassVar[bool] = False

    def token_gain(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        """The factor of the gain that depends on the token's own log ratio."""
        return np.ones_like(log_ratio)

    def token_value(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        """The factor of J that depends on the token's own log ratio."""
        return np.ones_like(log_ratio)

    def response_part(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        """What a token adds to the sum that ``response_gain`` gets."""
        return log_ratio

    def response_gain(self, total: FloatArray, length: FloatArray, sign: int) -> FloatArray:
        """The factor of the gain that depends on the response: from Σ ``response_part`` and the number of tokens."""
        return np.ones_like(total)

    def response_value(self, total: FloatArray, length: FloatArray, sign: int) -> FloatArray:
        """The factor of J that depends on the response."""
        return np.ones_like(total)


@dataclass(frozen=True, kw_only=True)
class PolicyGradient(Surrogate):
    """-A log π: no ratio; gain 1. The policy gradient if old and new policy agree."""

    signed: ClassVar[bool] = False
    weight: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class ImportanceWeight(Surrogate):
    """-A r without a clip; gain r.

    >>> ImportanceWeight().token_gain(np.log([0.5, 2.0]), +1)
    array([0.5, 2. ])
    """

    signed: ClassVar[bool] = False

    def token_gain(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        return _ratio(log_ratio)

    token_value = token_gain  # J = r is its own slope in log π


def _ratio(log_ratio: FloatArray) -> FloatArray:
    """r, with log ratios above 700 taken for 700: what is beyond overflows."""
    return np.exp(np.minimum(log_ratio, 700.0))


def _clipped(ratio: FloatArray, sign: int, low: float, high: float, most: float = np.inf) -> FloatArray:
    """PPO's J = min(rA, clip(r, 1-low, 1+high)A) / A: r with a cap for A > 0, with a floor and ``most`` for A < 0."""
    if sign > 0:
        return np.minimum(ratio, 1.0 + high)
    return np.clip(ratio, 1.0 - low, max(most, 1.0 - low))


def _clipped_gain(ratio: FloatArray, sign: int, low: float, high: float, most: float = np.inf) -> FloatArray:
    """Its slope dJ/d log π: r where J still moves with r, and 0 where the clip holds."""
    return np.where(_clipped(ratio, sign, low, high, most) == ratio, ratio, 0.0)


@dataclass(frozen=True, kw_only=True)
class PPOClip(Surrogate):
    """min(rA, clip(r, 1-low, 1+high)A): gain r, and 0 where the clip holds.

    Attributes:
        low, high: clip range, ≥ 0; clip-higher is ``high`` > ``low``.
        dual: dual clip c > 1: for A < 0 the objective is at least cA, so beyond r = c the gain is 0. verl's default
            is 3, others have none.
        delta: two-sided clip, above 1 + ``high``: for A < 0 the ratio is capped at delta, which for A > 0 the clip
            does already. None in trainers unless set. With both, the smaller of ``dual`` and ``delta`` holds.

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
    _rules: ClassVar = _RANGE | {"dual": (_above, 1.0)}

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.keep(self, "delta", _above, 1.0 + self.high)

    @property
    def _most(self) -> float:
        """The cap of the ratio for A < 0."""
        return min((bound for bound in (self.dual, self.delta) if bound is not None), default=np.inf)

    def token_gain(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        return _clipped_gain(_ratio(log_ratio), sign, self.low, self.high, self._most)

    def token_value(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        return _clipped(_ratio(log_ratio), sign, self.low, self.high, self._most)


@dataclass(frozen=True, kw_only=True)
class CISPO(Surrogate):
    """-sg(clip(r, 1-low, 1+high)) A log π: the ratio is a weight, no token falls silent. Source: arXiv 2506.13585."""

    signed: ClassVar[bool] = False
    weight: ClassVar[bool] = True
    low: float = 1.0
    high: float = 4.0
    _rules: ClassVar = _RANGE | {"low": (checks.in_interval, 0.0, 1.0)}

    def token_gain(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        return np.clip(_ratio(log_ratio), 1.0 - self.low, 1.0 + self.high)


@dataclass(frozen=True, kw_only=True)
class TOPR(Surrogate):
    """-A log π for A > 0, -sg(min(r, 1)) A log π for A < 0: full credit, tapered blame. Source: arXiv 2503.14286.

    The paper and ROLL tell the two apart by the sign of the response's score; here it is the advantage's.
    """

    weight: ClassVar[bool] = True

    def token_gain(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        if sign > 0:
            return np.ones_like(log_ratio)
        return np.exp(np.minimum(log_ratio, 0.0))


@dataclass(frozen=True, kw_only=True)
class SAPO(Surrogate):
    """A · σ(τ(r - 1)) · 4/τ: a soft gate; gain 4σ(1-σ)r, τ by the sign of A. Source: arXiv 2511.20347."""

    positive: float = 1.0
    negative: float = 1.05
    _rules: ClassVar = {"positive": (checks.positive,), "negative": (checks.positive,)}

    def token_gain(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        tau = self._tau(sign)
        ratio = _ratio(log_ratio)
        return 4.0 * expit(tau * (ratio - 1.0)) * expit(tau * (1.0 - ratio)) * ratio

    def token_value(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        tau = self._tau(sign)
        return expit(tau * (_ratio(log_ratio) - 1.0)) * (4.0 / tau)

    def _tau(self, sign: int) -> float:
        return self.positive if sign > 0 else self.negative


@dataclass(frozen=True, kw_only=True)
class GSPO(Surrogate):
    """PPO's clip on s = exp(mean log r) of the response, the same for all its tokens. Source: arXiv 2507.18071."""

    response_level: ClassVar[bool] = True
    low: float = 3e-4
    high: float = 4e-4
    _rules: ClassVar = _RANGE

    def response_gain(self, total: FloatArray, length: FloatArray, sign: int) -> FloatArray:
        return _clipped_gain(_ratio(total / length), sign, self.low, self.high)

    def response_value(self, total: FloatArray, length: FloatArray, sign: int) -> FloatArray:
        return _clipped(_ratio(total / length), sign, self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class GMPO(Surrogate):
    """exp of the mean of clipped log ratios; gain that mean ratio, 0 for clipped tokens.

    The clip is one-sided, as PPO's: log r is capped at ``high`` for A > 0 and held above -``low`` for A < 0. Aggregate
    with a mean over the response's tokens. Source: arXiv 2507.20673.
    """

    response_level: ClassVar[bool] = True
    response_advantage: ClassVar[bool] = True
    low: float = 0.4
    high: float = 0.4
    _rules: ClassVar = _RANGE

    def response_part(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        if sign > 0:
            return np.minimum(log_ratio, self.high)
        return np.maximum(log_ratio, -self.low)

    def token_gain(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        return np.where(self.response_part(log_ratio, sign) == log_ratio, 1.0, 0.0)

    def response_gain(self, total: FloatArray, length: FloatArray, sign: int) -> FloatArray:
        return _ratio(total / length)

    response_value = response_gain


@dataclass(frozen=True, kw_only=True)
class VESPO(Surrogate):
    """-sg(φ(w)) A log π with w = Π r of the response, φ(w) = w^k e^{λ(1 - w)}: a soft window around w = 1.

    ``positive`` and ``negative`` are (k, λ) by the sign of A; w is held in [1e-8, e^20], as TRL does.
    Source: arXiv 2602.10693.

    >>> VESPO().response_gain(np.log([0.5, 1.0, 3.0]), np.ones(3), +1).round(3)
    array([1.12 , 1.   , 0.022])
    """

    response_level: ClassVar[bool] = True
    weight: ClassVar[bool] = True
    positive: tuple[float, float] = (2.0, 3.0)
    negative: tuple[float, float] = (3.0, 2.0)
    _rules: ClassVar = dict.fromkeys(("positive", "negative"), (checks.pair, "must be two numbers, (k, λ)", 0.0))

    def response_gain(self, total: FloatArray, length: FloatArray, sign: int) -> FloatArray:
        power, decay = self.positive if sign > 0 else self.negative
        log_weight = np.clip(total, np.log(1e-8), 20.0)
        return np.exp(decay + power * log_weight - decay * np.exp(log_weight))


@dataclass(frozen=True, kw_only=True)
class OffPolicyMask(Surrogate):
    """Another surrogate without the responses that are bad and off-policy: A < 0 and mean(-log r) > ``threshold``.

    Source: DeepSeek-V3.2, arXiv 2512.02556; TRL's ``off_policy_mask_threshold``.

    >>> OffPolicyMask(inner=PPOClip(), threshold=0.1).response_gain(np.array([-0.5, -0.1]), np.array([2.0, 2.0]), -1)
    array([0., 1.])
    """

    response_level: ClassVar[bool] = True
    inner: Surrogate
    threshold: float
    _rules: ClassVar = {"threshold": (checks.at_least, 0.0)}

    def __post_init__(self) -> None:
        if not isinstance(self.inner, Surrogate) or self.inner.response_level:
            checks.fail("inner", self.inner, "must be a surrogate that reads each token's own ratio",
                 "for example surrogates.PPOClip()", TypeError)
        super().__post_init__()

    @property
    def weight(self) -> bool:  # type: ignore[override]
        """Whether the ratio of the inner surrogate is a weight."""
        return self.inner.weight

    def token_gain(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        return self.inner.token_gain(log_ratio, sign)

    def token_value(self, log_ratio: FloatArray, sign: int) -> FloatArray:
        return self.inner.token_value(log_ratio, sign)

    def response_gain(self, total: FloatArray, length: FloatArray, sign: int) -> FloatArray:
        return np.where((sign > 0) | (-total / length <= self.threshold), 1.0, 0.0)

    response_value = response_gain
