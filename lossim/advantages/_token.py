"""Estimators with one advantage per token: GAE, the return to go, and whitening over the tokens of a step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from lossim._support import checks
from lossim._support.types import FloatArray
from lossim.advantages._base import Advantage
from lossim.advantages._response import ResponseAdvantage, degrees
from lossim.critics import Critic, Zero


@dataclass(frozen=True, kw_only=True)
class LengthAdaptive(checks.Checked):
    """λ(T) = max(0, 1 - 1/max(α·T, 1)) of a response of length T: VAPO's actor.

    >>> LengthAdaptive(alpha=0.05)(np.array([10.0, 100.0]))
    array([0. , 0.8])
    """

    alpha: float = 0.05
    _rules: ClassVar = {"alpha": (checks.positive,)}

    def __call__(self, length: FloatArray) -> FloatArray:
        """λ for each length."""
        return 1.0 - 1.0 / np.maximum(self.alpha * length, 1.0)


def _decay(name: str, value: Any) -> Any:
    """λ: a number in [0, 1], or one by length."""
    return value if isinstance(value, LengthAdaptive) else checks.probability(name, value)


def _critic(name: str, value: Any) -> Critic:
    """A critic."""
    if not isinstance(value, Critic):
        checks.fail(name, value, "must be a critic", "for a number use critics.Constant(value=...)", TypeError)
    return value


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
    _rules: ClassVar = {"gamma": (checks.probability,), "gae_lambda": (_decay,), "critic": (_critic,),
                        "bootstrap_truncated": (checks.flag,)}

    @property
    def token_level(self) -> GAE:
        return self

    @property
    def adaptive(self) -> bool:
        """Whether λ depends on the length of the response."""
        return isinstance(self.gae_lambda, LengthAdaptive)

    @property
    def discount(self) -> float:
        """γλ, by which Â_{t+1} counts in Â_t, where λ is one number; see :meth:`discount_by_length`."""
        if isinstance(self.gae_lambda, LengthAdaptive):
            checks.fail("gae_lambda", self.gae_lambda, "must be one number for one discount", error=TypeError)
        return self.gamma * self.gae_lambda

    def discount_by_length(self, length: FloatArray) -> FloatArray:
        """γλ(T) of responses of these lengths, in the shape of ``length``."""
        if isinstance(self.gae_lambda, LengthAdaptive):
            return self.gamma * self.gae_lambda(length)
        return np.full(length.shape, self.discount)

    @property
    def reads_values(self) -> bool:
        """Whether it takes the values that a batch of tokens brings."""
        return True

    def with_critic(self, critic: Critic) -> GAE:
        return replace(self, critic=critic)

    def repeated(self, count: int) -> Self:
        return replace(self, critic=self.critic.repeated(count))


@dataclass(frozen=True, kw_only=True)
class ReturnToGo(GAE):
    """A_t = Σ_{u ≥ t} γ^{u-t} r_u: GAE with λ = 1 and no critic, also where a batch brings values. REINFORCE++'s.

    >>> ReturnToGo(gamma=0.99)
    ReturnToGo(gamma=0.99)
    """

    gae_lambda: float = field(default=1.0, init=False, repr=False)
    critic: Critic = field(default=Zero(), init=False, repr=False)
    bootstrap_truncated: bool = field(default=False, init=False, repr=False)

    @property
    def reads_values(self) -> bool:
        return False

    def repeated(self, count: int) -> Self:
        return self


@dataclass(frozen=True, kw_only=True)
class Whitened(Advantage):
    """(A - μ) · (σ² + eps)^-½ with mean and variance over the tokens in the loss of the step.

    ``scale=False`` centres only. The variance has Bessel's correction (``ddof`` 1) and eps is added to it, as in
    verl's ``masked_whiten``; OpenRLHF and NeMo RL divide by the number of tokens (``ddof`` 0). Where all A are equal,
    and in a step with no more than ``ddof`` tokens in the loss, advantages are 0.
    """

    inner: Advantage
    scale: bool = True
    eps: float = 1e-8
    ddof: int = 1
    _rules: ClassVar = {"scale": (checks.flag,), "eps": (checks.at_least, 0.0), "ddof": (degrees,)}

    def __post_init__(self) -> None:
        if not isinstance(self.inner, (ResponseAdvantage, GAE)):
            checks.fail("inner", self.inner, "must be an advantage estimator that is not itself whitened", "",
                        TypeError)
        response_level = self.inner.response_level
        if response_level is not None and response_level.traits.step_eps is not None:
            checks.fail("inner", self.inner, "must not have batch scope", "whitening divides by a std of its own")
        super().__post_init__()

    @property
    def token_level(self) -> GAE | None:
        return self.inner.token_level

    @property
    def response_level(self) -> ResponseAdvantage | None:
        return self.inner.response_level

    @property
    def whitening(self) -> Whitened:
        return self

    def with_critic(self, critic: Critic) -> Whitened:
        return replace(self, inner=self.inner.with_critic(critic))

    def repeated(self, count: int) -> Self:
        return replace(self, inner=self.inner.repeated(count))

    def factor(self, spread: FloatArray, square: FloatArray, tokens: FloatArray, rounding: float = 1e-13) -> FloatArray:
        """(σ² + eps)^-½ from the means of (A - μ)² and of A² over so many tokens; 0 where nothing moves.

        A spread below ``rounding`` times the square is none, and then A - μ is a rounding error.
        """
        if not self.scale:
            return np.where(tokens > 0, 1.0, 0.0)
        enough = tokens > self.ddof
        moves = enough & (spread > rounding * square)
        bessel = np.where(enough, 1.0 - self.ddof / np.maximum(tokens, 1.0), 1.0)
        variance = np.where(moves, spread, 1.0) / bessel
        return np.where(moves, (variance + self.eps) ** -0.5, 0.0)

    @property
    def group_relative(self) -> bool:
        return self.inner.group_relative

    @property
    def least_group_size(self) -> int:
        return self.inner.least_group_size
