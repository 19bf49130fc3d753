"""Shapings of one response: changes of a reward by its length and outcome."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lossim._support.checks import Checked, fail, finite, in_interval, pair, positive
from lossim._support.types import FloatArray, IntArray, Outcome


class Shaping(ABC):
    """A change of the reward of one response, given its length and outcome."""

    @abstractmethod
    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        """The new rewards; all arrays have one shape, lengths are in tokens."""


class Numbers:
    """Checks the fields of a shaping, all of them numbers, some with a range."""

    _ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, in_interval(name, value, *self._ranges.get(name, (-math.inf, math.inf))))


@dataclass(frozen=True, kw_only=True)
class LinearPenalty(Numbers, Shaping):
    """A price per token: r − slope·max(T − free, 0).

    Args:
        slope: reward per token; negative pays for length.
        free: tokens that cost nothing, at least 0.

    >>> LinearPenalty(slope=0.01, free=100)(np.ones(2), np.array([50.0, 300.0]), np.zeros(2, dtype=int))
    array([ 1., -1.])
    """

    slope: float
    free: float = 0.0
    _ranges: ClassVar = {"free": (0.0, math.inf)}

    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        return reward - self.slope * np.maximum(length - self.free, 0.0)


@dataclass(frozen=True, kw_only=True)
class SoftOverlong(Checked, Shaping):
    """DAPO's soft overlong punishment: nothing up to max_tokens − buffer, then linearly down to −factor.

    r − factor·clip((T − (max_tokens − buffer))/buffer, 0, 1). With ``capped=False`` the line goes on falling
    beyond ``max_tokens``, as verl's reward manager has it; where the policy is cut at ``max_tokens`` the two agree.

    Args:
        max_tokens: length at which the punishment is ``factor``, tokens, positive.
        buffer: tokens over which it grows, in (0, max_tokens].
        factor: reward, at least 0.
        capped: whether it stays at ``factor`` beyond ``max_tokens``.

    Source: DAPO, arXiv:2503.14476; uncapped: verl's DAPO reward manager.

    >>> shaping = SoftOverlong(max_tokens=100, buffer=20)
    >>> shaping(np.ones(4), np.array([80.0, 85.0, 100.0, 110.0]), np.zeros(4, dtype=int))
    array([1.  , 0.75, 0.  , 0.  ])
    """

    max_tokens: float
    buffer: float
    factor: float = 1.0
    capped: bool = True
    _rules: ClassVar = {"max_tokens": (positive,), "buffer": (positive, "for a bare cut use MissingEOS"),
                        "factor": (in_interval, 0.0, math.inf)}

    def __post_init__(self) -> None:
        super().__post_init__()
        in_interval("buffer", self.buffer, 0.0, self.max_tokens, "it ends at max_tokens")
        if not isinstance(self.capped, bool):
            fail("capped", self.capped, "must be True or False", error=TypeError)

    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        excess = (length - (self.max_tokens - self.buffer)) / self.buffer
        return reward - self.factor * np.clip(excess, 0.0, 1.0 if self.capped else None)


@dataclass(frozen=True, kw_only=True)
class Cosine(Checked, Shaping):
    """A reward that runs along half a cosine from length 0 to max_tokens; it replaces the reward it is given.

    r = b + (a − b)(1 + cos(π·min(T/max_tokens, 1)))/2, with (a, b) the pair of the outcome. A truncated response
    is paid ``exceed``, or along the incorrect curve if that is None, whatever its grade.

    Args:
        max_tokens: length at which the curve ends, tokens, positive.
        correct: rewards of a correct response of length 0 and of ``max_tokens``.
        incorrect: the same for an incorrect one.
        exceed: reward of a truncated response, or None.

    Source: arXiv:2502.03373, whose pairs are the defaults; it also sets ``exceed=-10``, for every response within a
    few tokens of the cap. The default None makes a cut no worse than a wrong answer of that length. TRL's
    ``get_cosine_scaled_reward(max_len=N)`` is ``Cosine(max_tokens=N, correct=(1, 0.5), incorrect=(-1, -0.5))`` where no
    cut response is right; open-r1's measures length in characters, and does not stop at the end of the curve.

    >>> shaping = Cosine(max_tokens=100, exceed=-10)
    >>> shaping(np.zeros(4), np.array([50.0, 100.0, 50.0, 100.0]), np.array([0, 0, 1, 2]))
    array([  1.5,   1. ,  -5. , -10. ])
    """

    max_tokens: float
    correct: tuple[float, float] = (2.0, 1.0)
    incorrect: tuple[float, float] = (-10.0, 0.0)
    exceed: float | None = None
    _rules: ClassVar = {"max_tokens": (positive,), "exceed": (finite,), **dict.fromkeys(
        ("correct", "incorrect"), (pair, "must be two rewards, at length 0 and at max_tokens"))}

    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        share = (1.0 + np.cos(np.pi * np.minimum(length / self.max_tokens, 1.0))) / 2.0
        right = self.correct[1] + (self.correct[0] - self.correct[1]) * share
        wrong = self.incorrect[1] + (self.incorrect[0] - self.incorrect[1]) * share
        paid = np.where(outcome == Outcome.CORRECT, right, wrong)
        if self.exceed is None:
            return paid
        return np.where(outcome == Outcome.TRUNCATED, self.exceed, paid)


@dataclass(frozen=True, kw_only=True)
class Discount(Numbers, Shaping):
    """The reward discounted over the length: r·gamma^T, with ``gamma`` per token in [0, 1].

    >>> Discount(gamma=0.5)(np.ones(2), np.array([1.0, 3.0]), np.zeros(2, dtype=int))
    array([0.5  , 0.125])
    """

    gamma: float
    _ranges: ClassVar = {"gamma": (0.0, 1.0)}

    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        return reward * np.float64(self.gamma) ** length


@dataclass(frozen=True, kw_only=True)
class Laser(Numbers, Shaping):
    """LASER's step reward: r + alpha for a correct response of at most ``target`` tokens. A truncated one has no part.

    Args:
        target: tokens, positive.
        alpha: reward.

    Source: LASER, arXiv:2505.15612; ``larse`` of the authors' code, whose alpha is the default. `LaserD` has a target
    for each difficulty.

    >>> shaping = Laser(target=100)
    >>> shaping(np.array([1.0, 1.0, 0.0]), np.array([80.0, 120.0, 80.0]), np.array([0, 0, 1]))
    array([1.5, 1. , 0. ])
    """

    target: float
    alpha: float = 0.5
    _ranges: ClassVar = {"target": (1.0, math.inf)}

    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        return np.where((outcome == Outcome.CORRECT) & (length <= self.target), reward + self.alpha, reward)


@dataclass(frozen=True, kw_only=True)
class MissingEOS(Numbers, Shaping):
    """A penalty for being cut: r − penalty if truncated. Source: ``missing_eos_penalty`` of TRL's PPO trainer.

    >>> MissingEOS(penalty=1)(np.ones(2), np.array([5.0, 9.0]), np.array([0, 2]))
    array([1., 0.])
    """

    penalty: float

    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        return np.where(outcome == Outcome.TRUNCATED, reward - self.penalty, reward)


@dataclass(frozen=True, kw_only=True)
class StopProperly(Numbers, Shaping):
    """ProRL's stop-properly coefficient, for truncated responses: c·r if c ≥ 0, c itself if c < 0.

    ``coefficient`` is c. OpenRLHF takes both signs, NeMo RL c in [0, 1] only. Mind that multiplying shrinks a
    negative reward towards 0: with rewards ±1 and c < 1 a wrong answer is then better cut than finished.

    Source: ProRL, arXiv:2505.24864; ``stop_properly_penalty_coef`` of OpenRLHF and NeMo RL.

    >>> StopProperly(coefficient=0.5)(np.array([1.0, 1.0]), np.array([5.0, 9.0]), np.array([0, 2]))
    array([1. , 0.5])
    >>> StopProperly(coefficient=-1)(np.array([1.0, 1.0]), np.array([5.0, 9.0]), np.array([0, 2]))
    array([ 1., -1.])
    """

    coefficient: float

    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        cut = reward * self.coefficient if self.coefficient >= 0 else self.coefficient
        return np.where(outcome == Outcome.TRUNCATED, cut, reward)
