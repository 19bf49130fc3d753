"""What a response is paid: a reward for the grade, and shapings that make it depend on the length.

A shaping is any callable ``(reward, length, outcome) -> reward`` over arrays of one shape; ``outcome`` holds the
codes of `Outcome`, and a truncated response is ``TRUNCATED`` whatever its grade. A `GroupShaping` compares the
responses of one group. This is the task reward: a KL penalty in the reward belongs to `penalties`.

>>> reward = Reward(incorrect=-1.0, shaping=LinearPenalty(slope=0.001, free=500))
>>> reward.values([400, 900], [True, False], [False, True])
array([ 1. , -1.4])
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit

from lossim._check import fail, finite, in_interval, number_array, positive
from lossim._types import ArrayLike, BoolArray, FloatArray, IntArray, Outcome

__all__ = ["Cosine", "Discount", "GroupShaping", "KimiLength", "LengthZScore", "LinearPenalty", "MissingEOS",
           "Reward", "Shaping", "SoftOverlong", "StopProperly"]


class Shaping(ABC):
    """A change of the reward of one response, given its length and outcome."""

    @abstractmethod
    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        """The new rewards; all arrays have one shape, lengths are in tokens."""


class GroupShaping(ABC):
    """A change of the rewards of a group that compares its responses with one another."""

    @abstractmethod
    def in_group(self, reward: FloatArray, length: FloatArray, correct: BoolArray, counted: BoolArray) -> FloatArray:
        """The new rewards [..., G], by the counted ones; ``correct`` is the grade, also of truncated responses."""


@dataclass(frozen=True, kw_only=True)
class Reward:
    """The task reward of a response: by its grade, or for being truncated, then through the shapings in order.

    r = ``correct`` or ``incorrect``; a truncated response is paid ``truncated`` instead, unless that is None.

    Args:
        correct, incorrect: reward of a right and a wrong answer.
        truncated: reward of a response cut at max_tokens; None pays it by its grade.
        shaping: None, one shaping, or a tuple of them.

    Raises:
        TypeError: for a shaping that cannot be called.
        ValueError: for rewards that are not finite.

    >>> Reward(shaping=(SoftOverlong(max_tokens=100, buffer=20), MissingEOS(penalty=0.5))).values(
    ...     length=[70, 90, 100], grade_correct=[True, True, False], truncated=[False, False, True])
    array([ 1. ,  0.5, -1.5])
    """

    correct: float = 1.0
    incorrect: float = 0.0
    truncated: float | None = None
    shaping: Any = None

    def __post_init__(self) -> None:
        for name in ("correct", "incorrect", "truncated")[:2 if self.truncated is None else 3]:
            object.__setattr__(self, name, finite(name, getattr(self, name)))
        shapings = _as_tuple(self.shaping)
        for i, shaping in enumerate(shapings):
            if isinstance(shaping, type) or not (callable(shaping) or isinstance(shaping, GroupShaping)):
                fail(f"shaping[{i}]", shaping, "must be a callable (reward, length, outcome) -> reward",
                     "build it first, e.g. LinearPenalty(slope=0.001)", TypeError)
        object.__setattr__(self, "shaping", shapings if len(shapings) > 1 else next(iter(shapings), None))

    @property
    def group_relative(self) -> bool:
        """Whether the reward of a response depends on the others of its group."""
        return any(isinstance(shaping, GroupShaping) for shaping in _as_tuple(self.shaping))

    def values(self, length: ArrayLike, grade_correct: ArrayLike, truncated: ArrayLike) -> FloatArray:
        """Rewards of single responses, in the common shape of the three arrays.

        Args:
            length: tokens, at least 1.
            grade_correct: booleans, the grade (also of a truncated response).
            truncated: booleans, cut at max_tokens.

        Raises:
            TypeError: for grades that are not booleans.
            ValueError: if a shaping is group-relative, or returns another shape or a reward that is not finite.

        >>> Reward(correct=1.0, incorrect=-1.0).values([[5], [9]], [True, False], False)
        array([[ 1., -1.],
               [ 1., -1.]])
        """
        if self.group_relative:
            fail("shaping", self.shaping, "must not compare responses of a group to reward single ones",
                 "use group_values(length, correct, truncated)")
        return self.group_values(length, grade_correct, truncated)

    def group_values(
        self, length: ArrayLike, correct: ArrayLike, truncated: ArrayLike, counted: ArrayLike = True
    ) -> FloatArray:
        """Rewards [..., G] of whole groups, the responses of a group along the last axis.

        Args:
            length, correct, truncated: [..., G] as in `values`, which raises the same errors.
            counted: [..., G] booleans, the responses that belong to the baseline: group-relative shapings take
                their statistics over these and leave the rewards of the others alone.

        >>> Reward(shaping=KimiLength()).group_values([10, 20, 30], [True, True, False], False)
        array([ 1.5,  1. , -0.5])
        """
        tokens = number_array("length", length, low=1.0, fix="the stop token counts, so no length is below 1")
        masks = [_booleans("correct", correct), _booleans("truncated", truncated), _booleans("counted", counted)]
        try:
            tokens, right, cut, inside = np.broadcast_arrays(tokens, *masks)
        except ValueError:
            shapes = [tokens.shape, *(mask.shape for mask in masks)]
            fail("length", shapes, "must broadcast with correct, truncated and counted (the shapes are shown)")
        if self.group_relative and not tokens.size * tokens.ndim:
            fail("length", tokens.shape, "must have the responses of a group along its last axis (the shape is shown)")
        rewards: FloatArray = np.where(right, self.correct, self.incorrect)
        if self.truncated is not None:
            rewards = np.where(cut, self.truncated, rewards)
        outcome = np.where(cut, Outcome.TRUNCATED, np.where(right, Outcome.CORRECT, Outcome.INCORRECT))
        for shaping in _as_tuple(self.shaping):
            result: ArrayLike = (shaping.in_group(rewards, tokens, right, inside)
                                 if isinstance(shaping, GroupShaping) else shaping(rewards, tokens, outcome))
            rewards = _checked(shaping, result, tokens, outcome)
        return rewards


class _Numbers:
    """Checks the fields of a shaping, all of them numbers, some with a range."""

    _ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, in_interval(name, value, *self._ranges.get(name, (-math.inf, math.inf))))


@dataclass(frozen=True, kw_only=True)
class LinearPenalty(_Numbers, Shaping):
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
class SoftOverlong(Shaping):
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

    def __post_init__(self) -> None:
        positive("max_tokens", self.max_tokens)
        positive("buffer", self.buffer, "for a bare cut use MissingEOS")
        in_interval("buffer", self.buffer, 0.0, self.max_tokens, "it ends at max_tokens")
        in_interval("factor", self.factor, 0.0, math.inf)
        if not isinstance(self.capped, bool):
            fail("capped", self.capped, "must be True or False", error=TypeError)

    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        excess = (length - (self.max_tokens - self.buffer)) / self.buffer
        return reward - self.factor * np.clip(excess, 0.0, 1.0 if self.capped else None)


@dataclass(frozen=True, kw_only=True)
class Cosine(Shaping):
    """A reward that runs along half a cosine from length 0 to max_tokens; it replaces the reward it is given.

    r = b + (a − b)(1 + cos(π·min(T/max_tokens, 1)))/2, with (a, b) the pair of the outcome. A truncated response
    is paid ``exceed``, or along the incorrect curve if that is None, whatever its grade.

    Args:
        max_tokens: length at which the curve ends, tokens, positive.
        correct: rewards of a correct response of length 0 and of ``max_tokens``.
        incorrect: the same for an incorrect one.
        exceed: reward of a truncated response, or None.

    Source: arXiv:2502.03373, whose pairs are the defaults; it also sets ``exceed=-10``, for every response within a
    few tokens of the cap. The default None makes a cut no worse than a wrong answer of that length.

    >>> shaping = Cosine(max_tokens=100, exceed=-10)
    >>> shaping(np.zeros(4), np.array([50.0, 100.0, 50.0, 100.0]), np.array([0, 0, 1, 2]))
    array([  1.5,   1. ,  -5. , -10. ])
    """

    max_tokens: float
    correct: tuple[float, float] = (2.0, 1.0)
    incorrect: tuple[float, float] = (-10.0, 0.0)
    exceed: float | None = None

    def __post_init__(self) -> None:
        positive("max_tokens", self.max_tokens)
        for name in ("correct", "incorrect"):
            pair = number_array(name, getattr(self, name), ndim=1)
            if pair.size != 2:
                fail(name, getattr(self, name), "must be two rewards, at length 0 and at max_tokens")
            object.__setattr__(self, name, (float(pair[0]), float(pair[1])))
        if self.exceed is not None:
            finite("exceed", self.exceed)

    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        share = (1.0 + np.cos(np.pi * np.minimum(length / self.max_tokens, 1.0))) / 2.0
        right = self.correct[1] + (self.correct[0] - self.correct[1]) * share
        wrong = self.incorrect[1] + (self.incorrect[0] - self.incorrect[1]) * share
        paid = np.where(outcome == Outcome.CORRECT, right, wrong)
        return paid if self.exceed is None else np.where(outcome == Outcome.TRUNCATED, self.exceed, paid)


@dataclass(frozen=True, kw_only=True)
class Discount(_Numbers, Shaping):
    """The reward discounted over the length: r·gamma^T.

    Args:
        gamma: per token, in [0, 1].

    >>> Discount(gamma=0.5)(np.ones(2), np.array([1.0, 3.0]), np.zeros(2, dtype=int))
    array([0.5  , 0.125])
    """

    gamma: float
    _ranges: ClassVar = {"gamma": (0.0, 1.0)}

    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        return reward * np.float64(self.gamma) ** length


@dataclass(frozen=True, kw_only=True)
class MissingEOS(_Numbers, Shaping):
    """A penalty for being cut: r − penalty if truncated.

    Args:
        penalty: reward; a positive one punishes.

    Source: ``missing_eos_penalty`` of TRL's PPO trainer.

    >>> MissingEOS(penalty=1)(np.ones(2), np.array([5.0, 9.0]), np.array([0, 2]))
    array([1., 0.])
    """

    penalty: float

    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        return np.where(outcome == Outcome.TRUNCATED, reward - self.penalty, reward)


@dataclass(frozen=True, kw_only=True)
class StopProperly(_Numbers, Shaping):
    """ProRL's stop-properly coefficient, for truncated responses: c·r if c ≥ 0, c itself if c < 0.

    OpenRLHF takes both signs: from 0 up the reward is multiplied, below 0 replaced. NeMo RL takes c in [0, 1]
    only, the multiplication. Mind that multiplying shrinks a negative reward towards 0: with rewards ±1 and c < 1
    a wrong answer is then better cut than finished.

    Args:
        coefficient: c; 1 changes nothing.

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


@dataclass(frozen=True, kw_only=True)
class KimiLength(_Numbers, GroupShaping):
    """Kimi k1.5's length reward: λ = ½ − (T − T_min)/(T_max − T_min) over the group.

    r + weight·λ for a correct response, r + weight·min(0, λ) for an incorrect one; nothing where all lengths are
    equal. A wrong response never gains by being short.

    Args:
        weight: of λ, which runs from ½ for the shortest response to −½ for the longest.

    Source: Kimi k1.5, arXiv:2501.12599.

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
class LengthZScore(_Numbers, GroupShaping):
    """A reward for being right, less the longer it took beside the other right responses of the group.

    r·(1 − alpha·σ(z)) for a correct response, σ the logistic function, z = (T − mean)/std over the group's correct
    responses (population standard deviation; z = 0 where it is 0). Incorrect responses keep their reward.

    Args:
        alpha: in [0, 1].

    Source: Arora and Zanette, arXiv:2502.04463. Their released code uses the population standard deviation plus
    1e-7, left out here, and counts a truncated response as wrong: leave p_correct_truncated at 0 for that.

    >>> Reward(shaping=LengthZScore(alpha=0.4)).group_values([10, 10, 70], [True, True, False], False)
    array([0.8, 0.8, 0. ])
    """

    alpha: float
    _ranges: ClassVar = {"alpha": (0.0, 1.0)}

    def in_group(self, reward: FloatArray, length: FloatArray, correct: BoolArray, counted: BoolArray) -> FloatArray:
        right = correct & counted
        number = np.maximum(right.sum(axis=-1, keepdims=True), 1)
        distance = length - np.where(right, length, 0.0).sum(axis=-1, keepdims=True) / number
        std = np.sqrt(np.where(right, distance**2, 0.0).sum(axis=-1, keepdims=True) / number)
        z = np.where(std > 0, distance, 0.0) / np.where(std > 0, std, 1.0)
        share: FloatArray = 1.0 - self.alpha * expit(z)
        return np.where(right, reward * share, reward)


AnyShaping = Shaping | GroupShaping | Callable[[FloatArray, FloatArray, IntArray], ArrayLike]


def _as_tuple(shaping: Any) -> tuple[AnyShaping, ...]:
    return () if shaping is None else tuple(shaping) if isinstance(shaping, list | tuple) else (shaping,)


def _booleans(name: str, value: ArrayLike) -> BoolArray:
    array = np.asarray(value)
    if array.dtype != np.bool_:
        fail(name, array.dtype.name, "must be booleans (the type is shown)", "compare, as in grade == 0", TypeError)
    return array


def _checked(shaping: AnyShaping, result: ArrayLike, length: FloatArray, outcome: IntArray) -> FloatArray:
    name = f"the shaping {getattr(shaping, '__name__', None) or repr(shaping)}"
    try:
        rewards = np.array(result, dtype=np.float64)
    except (TypeError, ValueError):
        fail(name, result, "must return an array of numbers", error=TypeError)
    if rewards.shape != length.shape:
        fail(name, rewards.shape, f"must return one reward for each response, an array of shape {length.shape}",
             "compute with the reward array it is given, as in reward * 0 + 1")
    bad = np.argwhere(~np.isfinite(rewards))
    if bad.size:
        first = tuple(min(bad, key=lambda at: length[tuple(at)]))
        which = Outcome(int(outcome[first])).name.lower()
        fail(name, float(rewards[first]), f"must return finite rewards, also at length {length[first]:g} ({which})")
    return rewards
