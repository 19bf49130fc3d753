"""Shapings that know a target of the prompt: so many tokens that its response is asked to have."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lossim._support.types import FloatArray, IntArray
from lossim.rewards._shapings import Numbers


class TargetShaping(ABC):
    """A change of the reward of one response that also knows the target of its prompt.

    Targets are a class's (``PromptClass(target=1000)``, or ``Policy.with_targets``), or a log's
    (``Rollouts(targets=...)``, or its column ``target``).
    """

    @abstractmethod
    def for_target(self, reward: FloatArray, length: FloatArray, outcome: IntArray, target: FloatArray) -> FloatArray:
        """The new rewards; all arrays have one shape, lengths and targets are in tokens."""


@dataclass(frozen=True, kw_only=True)
class LCPOExact(Numbers, TargetShaping):
    """L1's reward for a length that is asked for: r − alpha·|target − T|.

    Args:
        alpha: reward per token.

    Source: LCPO-Exact of L1, arXiv:2503.04697, whose alpha is the default; the released code has 1/3000. There targets
    are drawn from 100 to 4000, one for each prompt.

    >>> from lossim.rewards import Reward
    >>> Reward(shaping=LCPOExact(alpha=0.001)).values([900, 1100, 1100], [True, True, False], False, target=1000)
    array([ 0.9,  0.9, -0.1])
    """

    alpha: float = 0.0003

    def for_target(self, reward: FloatArray, length: FloatArray, outcome: IntArray, target: FloatArray) -> FloatArray:
        return reward - self.alpha * np.abs(target - length)


@dataclass(frozen=True, kw_only=True)
class LCPOMax(Numbers, TargetShaping):
    """L1's reward for at most a length: r·clip(alpha·(target − T) + delta, 0, 1).

    Mind that a negative reward shrinks towards 0 as well: with rewards ±1 a wrong answer is then better long.

    Args:
        alpha: share of the reward per token, at least 0.
        delta: the share that is left at the target, in [0, 1].

    Source: LCPO-Max of L1, arXiv:2503.04697, whose numbers are the defaults; the released code has alpha = 1/1000.

    >>> from lossim.rewards import Reward
    >>> Reward(shaping=LCPOMax(alpha=0.001)).values([400, 1000, 1200, 1600], True, False, target=1000)
    array([1. , 0.5, 0.3, 0. ])
    """

    alpha: float = 0.0003
    delta: float = 0.5
    _ranges: ClassVar = {"alpha": (0.0, math.inf), "delta": (0.0, 1.0)}

    def for_target(self, reward: FloatArray, length: FloatArray, outcome: IntArray, target: FloatArray) -> FloatArray:
        return reward * np.clip(self.alpha * (target - length) + self.delta, 0.0, 1.0)
