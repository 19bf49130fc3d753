"""Shapings that compare the responses of a group: by its lengths, and by how many of it are right."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit

from lossim._support.types import BoolArray, FloatArray
from lossim.rewards._shapings import Numbers


class GroupShaping(ABC):
    """A change of the rewards of a group that compares its responses with one another."""

    @abstractmethod
    def in_group(self, reward: FloatArray, length: FloatArray, correct: BoolArray, counted: BoolArray) -> FloatArray:
        """The new rewards [..., G], by the counted ones; ``correct`` is the grade, also of truncated responses."""


@dataclass(frozen=True, kw_only=True)
class KimiLength(Numbers, GroupShaping):
    """Kimi k1.5's length reward: λ = ½ − (T − T_min)/(T_max − T_min) over the group.

    λ runs from ½ for the shortest response to −½ for the longest. r + weight·λ for a correct response, r +
    weight·min(0, λ) for an incorrect one, which never gains by being short; nothing where all lengths are equal.

    Kimi k1.5 warms it up, by no such reward in the first part of a run: weight 0, then on from where that run ended.
    open-r1's ``len_reward`` is this with ``Reward(correct=0)``, over all responses it is handed and by characters.

    Source: Kimi k1.5, arXiv:2501.12599.

    >>> from lossim.rewards import Reward
    >>> Reward(shaping=KimiLength(weight=0.5)).group_values([10, 20, 50], [True, False, True], False)
    array([1.25, 0.  , 0.75])
    """

    weight: float = 1.0

    def in_group(self, reward: FloatArray, length: FloatArray, correct: BoolArray, counted: BoolArray) -> FloatArray:
        shortest = np.where(counted, length, np.inf).min(axis=-1, keepdims=True)
        longest = np.where(counted, length, -np.inf).max(axis=-1, keepdims=True)
        apart = counted & (longest > shortest)
        share = np.where(apart, length - shortest, 0.0) / np.where(apart, longest - shortest, 1.0)
        gain = np.where(apart, 0.5 - share, 0.0)
        return reward + self.weight * np.where(correct, gain, np.minimum(gain, 0.0))


@dataclass(frozen=True, kw_only=True)
class LengthZScore(Numbers, GroupShaping):
    """A reward for being right, less the longer it took beside the other right responses of the group.

    r·(1 − alpha·σ(z)) for a correct response, ``alpha`` in [0, 1], σ the logistic function, z = (T − mean)/std over
    the group's correct responses (population standard deviation; z = 0 where it is 0). Incorrect responses keep theirs.

    Source: Arora and Zanette, arXiv:2502.04463. Their released code uses the population standard deviation plus
    1e-7, left out here, and counts a truncated response as wrong: leave p_correct_truncated at 0 for that.

    >>> from lossim.rewards import Reward
    >>> Reward(shaping=LengthZScore(alpha=0.4)).group_values([10, 10, 70], [True, True, False], False)
    array([0.8, 0.8, 0. ])
    """

    alpha: float
    _ranges: ClassVar = {"alpha": (0.0, 1.0)}

    def in_group(self, reward: FloatArray, length: FloatArray, correct: BoolArray, counted: BoolArray) -> FloatArray:
        right = correct & counted
        distance = length - _mean(length, right)
        std = np.sqrt(_mean(distance**2, right))
        z = np.where(std > 0, distance, 0.0) / np.where(std > 0, std, 1.0)
        return np.where(right, reward * (1.0 - self.alpha * expit(z)), reward)


@dataclass(frozen=True, kw_only=True)
class ALP(Numbers, GroupShaping):
    """The adaptive length penalty: r − beta·T·max(p, 1/G), with p the share of the group's G responses that are right.

    Args:
        beta: reward per token on a prompt that is always solved; the paper's β over its N.

    Source: ALP, arXiv:2506.05256.

    >>> from lossim.rewards import Reward
    >>> Reward(shaping=ALP(beta=0.01)).group_values([10, 20, 40, 80], [True, True, False, False], False)
    array([ 0.95,  0.9 , -0.2 , -0.4 ])
    """

    beta: float

    def in_group(self, reward: FloatArray, length: FloatArray, correct: BoolArray, counted: BoolArray) -> FloatArray:
        share = np.maximum(_right(correct, counted), 1.0) / _number(counted)
        return np.where(counted, reward - self.beta * length * share, reward)


@dataclass(frozen=True, kw_only=True)
class PassRateLength(Numbers, GroupShaping):
    """A price for the length beside the group's longest, as high as its mean reward: r − weight·mean(r)·T/T_max.

    With rewards 1 and 0 the mean is the pass rate. The source also has terms for prompt tokens and for turns, which one
    turn does not tell apart.

    Source: ``length_penalty`` of prime-rl's GRPO, whose weight of output tokens is the default.

    >>> from lossim.rewards import Reward
    >>> Reward(shaping=PassRateLength(weight=0.4)).group_values([10, 40], [True, False], False)
    array([ 0.95, -0.2 ])
    """

    weight: float = 0.25

    def in_group(self, reward: FloatArray, length: FloatArray, correct: BoolArray, counted: BoolArray) -> FloatArray:
        longest = np.where(counted, length, 1.0).max(axis=-1, keepdims=True)
        return np.where(counted, reward - self.weight * _mean(reward, counted) * length / longest, reward)


@dataclass(frozen=True, kw_only=True)
class LaserD(Numbers, GroupShaping):
    """LASER-D's step reward: r + alpha for a correct response within the target of its prompt's difficulty.

    A prompt is easy if at least 2/3 of its group are right, medium if at least 1/3 are, else hard.

    Args:
        easy, medium, hard: targets, tokens, positive.
        alpha: reward.

    Source: LASER-D, arXiv:2505.15612; ``larse-d`` of the authors' code, whose alpha is the default. There the targets
    follow a set of prompts that is looked at during the run; here they are given.

    >>> from lossim.rewards import Reward
    >>> reward = Reward(shaping=LaserD(easy=20, medium=50, hard=90))
    >>> reward.group_values([[10, 40, 80], [10, 40, 80]], [[True, True, False], [True, False, False]], False)
    array([[1.5, 1. , 0. ],
           [1.5, 0. , 0. ]])
    """

    easy: float
    medium: float
    hard: float
    alpha: float = 0.5
    _ranges: ClassVar = dict.fromkeys(("easy", "medium", "hard"), (1.0, math.inf))

    def in_group(self, reward: FloatArray, length: FloatArray, correct: BoolArray, counted: BoolArray) -> FloatArray:
        number = _number(counted)
        right = _right(correct, counted)
        target = np.where(3 * right >= 2 * number, self.easy, np.where(3 * right >= number, self.medium, self.hard))
        return np.where(correct & counted & (length <= target), reward + self.alpha, reward)


@dataclass(frozen=True, kw_only=True)
class ShorterBetter(Numbers, GroupShaping):
    """ShorterBetter's distance from an optimal length: r − beta·|T − L|.

    L is the length of the group's shortest correct response, or the mean length of the group if none is.

    Args:
        beta: reward per token.

    Source: ShorterBetter, arXiv:2504.21370, whose beta in the authors' code is the default; their α = 2 is
    ``Reward(correct=2)``.

    >>> from lossim.rewards import Reward
    >>> reward = Reward(correct=2, shaping=ShorterBetter(beta=0.01))
    >>> reward.group_values([[10, 20, 40], [10, 20, 60]], [[False, True, True], [False, False, False]], False)
    array([[-0.1,  2. ,  1.8],
           [-0.2, -0.1, -0.3]])
    """

    beta: float = 0.001

    def in_group(self, reward: FloatArray, length: FloatArray, correct: BoolArray, counted: BoolArray) -> FloatArray:
        shortest = np.where(correct & counted, length, np.inf).min(axis=-1, keepdims=True)
        optimal = np.where(np.isfinite(shortest), shortest, _mean(length, counted))
        return np.where(counted, reward - self.beta * np.abs(length - optimal), reward)


@dataclass(frozen=True, kw_only=True)
class GR3(Numbers, GroupShaping):
    """Group relative reward rescaling: r/(1 + alpha·T/mean length of the group), with ``alpha`` at least 0.

    Mind that a negative reward shrinks towards 0 as well: with rewards ±1 a wrong answer is then better long.

    Source: GR³, arXiv:2603.10535, which also says how to choose alpha.

    >>> from lossim.rewards import Reward
    >>> Reward(shaping=GR3(alpha=1)).group_values([10, 30, 20], [True, True, False], False)
    array([0.66666667, 0.4       , 0.        ])
    """

    alpha: float
    _ranges: ClassVar = {"alpha": (0.0, math.inf)}

    def in_group(self, reward: FloatArray, length: FloatArray, correct: BoolArray, counted: BoolArray) -> FloatArray:
        mean = np.where(counted.any(axis=-1, keepdims=True), _mean(length, counted), 1.0)
        return np.where(counted, reward / (1.0 + self.alpha * length / mean), reward)


def _number(counted: BoolArray) -> FloatArray:
    """How many responses of a group count, at least 1."""
    return np.maximum(counted.sum(axis=-1, keepdims=True), 1.0)


def _right(correct: BoolArray, counted: BoolArray) -> FloatArray:
    """How many of these are right."""
    return np.asarray((correct & counted).sum(axis=-1, keepdims=True), dtype=np.float64)


def _mean(x: FloatArray, counted: BoolArray) -> FloatArray:
    """The mean over the responses of a group that count, 0 where none does."""
    return np.where(counted, x, 0.0).sum(axis=-1, keepdims=True) / _number(counted)
