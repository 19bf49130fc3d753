"""How a loss over tokens becomes one number: the weight of each response's tokens.

Every rule is prefactor(T) · scale / Σ size, with the sum over the responses of a step or a group that are in the
loss; without a sum the rule is separable and its expectation costs one pass (with one: derivations, section 7). Weights
are stated times n, the number of responses in a step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from lossim._support.checks import Checked, choice, fail, in_interval, positive
from lossim._support.types import BoolArray, FloatArray

__all__ = ["Aggregation", "BalancedTokenMean", "ConstantNormalizer", "LengthPower", "SequenceMeanTokenMean",
           "SequenceMeanTokenSum", "TokenMean", "TokenSum", "TurnMean", "balanced", "signs"]

FAINT = 1e-12
"""Advantages below this share of the largest of their group are rounding errors, and count as 0."""


@dataclass(frozen=True, kw_only=True)
class Aggregation(Checked, ABC):
    """Base of the rules: n · weight of a token = prefactor(T) · scale / Σ size."""

    verl: ClassVar[str] = "—"
    trl: ClassVar[str] = "—"

    def prefactor(self, length: FloatArray, max_tokens: int) -> FloatArray:
        """The factor that depends on the response's own length: 1 unless a rule has one."""
        return np.ones_like(length)

    @abstractmethod
    def size(self, length: FloatArray) -> FloatArray | None:
        """What each response in the loss adds to the denominator; None if there is no random denominator."""

    @property
    def within_group(self) -> bool:
        """Whether the denominator sums over the own group instead of the step."""
        return False

    @property
    def by_sign(self) -> bool:
        """Whether it reads the signs of advantages."""
        return False

    @property
    def needs_max_tokens(self) -> bool:
        """Whether ``max_tokens`` stands in the prefactor."""
        return False

    def scale(self, group_size: float, prompts_per_step: int) -> float:
        """n where the denominator sums over the step, n / prompts where it sums over the group."""
        return float(group_size if self.within_group else group_size * prompts_per_step)

    def weights(self, length: FloatArray, in_loss: BoolArray, max_tokens: int, advantage: FloatArray | None = None
                ) -> FloatArray:
        """n · weight per response of real batches; ``length`` and ``in_loss`` are [..., prompt, response].

        ``advantage``, in the same shape, is read where the rule reads signs.

        Responses out of the loss weigh 0; a step (or group) with none in the loss weighs 0 throughout.
        """
        prompts, group = length.shape[-2:]
        factor = self.scale(group, prompts) * self.prefactor(length, max_tokens) * in_loss
        size = self.size(length)
        if size is None:
            return factor
        summed = -1 if self.within_group else (-2, -1)
        total = np.sum(size * in_loss, axis=summed, keepdims=True)
        return factor / np.where(total > 0, total, 1.0)


@dataclass(frozen=True, kw_only=True)
class _SequenceMean(Aggregation):
    """A mean over responses; ``counting`` says whether masked ones count in its denominator.

    ``"all"`` divides by prompts_per_step · group_size, as trainers that pass a fixed count do; ``"kept"`` by the
    number of the step's responses that are in the loss.
    """

    counting: Literal["all", "kept"] = "all"
    _rules: ClassVar = {"counting": (choice, ("all", "kept"))}

    def size(self, length: FloatArray) -> FloatArray | None:
        return np.ones_like(length) if self.counting == "kept" else None

    def scale(self, group_size: float, prompts_per_step: int) -> float:
        return super().scale(group_size, prompts_per_step) if self.counting == "kept" else 1.0


@dataclass(frozen=True, kw_only=True)
class SequenceMeanTokenMean(_SequenceMean):
    """Mean over responses of the mean over tokens: 1/(n·T). GRPO's rule; it dilutes long responses.

    >>> SequenceMeanTokenMean().weights(np.array([[2.0, 4.0]]), np.array([[True, True]]), 8).tolist()
    [[0.5, 0.25]]
    """

    verl: ClassVar[str] = "seq-mean-token-mean"
    trl: ClassVar[str] = "grpo"

    def prefactor(self, length: FloatArray, max_tokens: int) -> FloatArray:
        return 1.0 / length


@dataclass(frozen=True, kw_only=True)
class SequenceMeanTokenSum(_SequenceMean):
    """Mean over responses of the sum over tokens: 1/n. LUSPO's rule, and the policy gradient's own."""

    verl: ClassVar[str] = "seq-mean-token-sum"
    trl: ClassVar[str] = "luspo"


@dataclass(frozen=True, kw_only=True)
class ConstantNormalizer(_SequenceMean):
    """Mean over responses of the token sum over a constant: 1/(n·constant). Dr. GRPO's rule.

    ``constant=None`` stands for the ``max_tokens`` of the policy, or of a token batch, which must then say it. In
    verl 0.9.1 an unset scale is the padded width, which is not a constant; set it.
    """

    verl: ClassVar[str] = "seq-mean-token-sum-norm"
    trl: ClassVar[str] = "dr_grpo"
    constant: float | None = None
    _rules: ClassVar = _SequenceMean._rules | {"constant": (positive,)}

    @property
    def needs_max_tokens(self) -> bool:
        return self.constant is None

    def prefactor(self, length: FloatArray, max_tokens: int) -> FloatArray:
        return np.full_like(length, 1.0 / (self.constant or max_tokens))


@dataclass(frozen=True, kw_only=True)
class TokenSum(Aggregation):
    """The plain sum over all tokens of the step: weight 1, so n · weight = n."""

    verl: ClassVar[str] = "token-sum"

    def size(self, length: FloatArray) -> FloatArray | None:
        return None


@dataclass(frozen=True, kw_only=True)
class TokenMean(Aggregation):
    """Sum over tokens divided by the tokens in the loss, of the step or of each group (then mean over prompts).

    >>> TokenMean().weights(np.array([[1.0, 3.0]]), np.array([[True, True]]), 8).tolist()
    [[0.5, 0.5]]
    """

    verl: ClassVar[str] = "token-mean"
    trl: ClassVar[str] = "dapo"
    scope: Literal["step", "group"] = "step"
    _rules: ClassVar = {"scope": (choice, ("step", "group"))}

    @property
    def within_group(self) -> bool:
        return self.scope == "group"

    def size(self, length: FloatArray) -> FloatArray | None:
        return length


@dataclass(frozen=True, kw_only=True)
class LengthPower(Aggregation):
    """ΔL normalisation: T^-α over the step's mean of T^-α, over a constant (None: ``max_tokens``) times n.

    α = 0 is a constant normaliser, α = 1 close to the mean over tokens.
    """

    alpha: float = 0.75
    constant: float | None = None
    _rules: ClassVar = {"alpha": (in_interval, 0.0, 1.0), "constant": (positive,)}

    @property
    def needs_max_tokens(self) -> bool:
        return self.constant is None

    def prefactor(self, length: FloatArray, max_tokens: int) -> FloatArray:
        return length**-self.alpha / (self.constant or max_tokens)

    def size(self, length: FloatArray) -> FloatArray | None:
        return length**-self.alpha


@dataclass(frozen=True, kw_only=True)
class TurnMean(Aggregation):
    """Sum over tokens divided by the number of turns, T / ``tokens_per_turn`` rounded up: all taken to be equally long.

    A response here has no turns of its own, so their length is an assumption. ``scope="response"`` divides the token
    sum of a response by its own turns, then takes the mean over responses: 1/(n·turns). ``scope="step"`` divides by the
    turns of all responses in the loss: what a mean over rows of a sum over tokens (``seq-mean-token-sum``) is to
    trainers that write each turn in a row of its own (verl-agent, rLLM).

    >>> TurnMean(tokens_per_turn=100).prefactor(np.array([80.0, 100.0, 250.0]), 512).round(3).tolist()
    [1.0, 1.0, 0.333]
    """

    tokens_per_turn: float
    scope: Literal["response", "step"] = "response"
    _rules: ClassVar = {"tokens_per_turn": (positive,), "scope": (choice, ("response", "step"))}

    def turns(self, length: FloatArray) -> FloatArray:
        """How many turns responses of these lengths have."""
        return np.ceil(length / self.tokens_per_turn)

    def prefactor(self, length: FloatArray, max_tokens: int) -> FloatArray:
        return 1.0 / self.turns(length) if self.scope == "response" else super().prefactor(length, max_tokens)

    def size(self, length: FloatArray) -> FloatArray | None:
        return self.turns(length) if self.scope == "step" else None

    def scale(self, group_size: float, prompts_per_step: int) -> float:
        return super().scale(group_size, prompts_per_step) if self.scope == "step" else 1.0


@dataclass(frozen=True, kw_only=True)
class BalancedTokenMean(Aggregation):
    """Balanced aggregation: the token-mean over the responses of each sign of the advantage, in each group.

    A token of a response with sign s weighs n_s/G · 1/Σ_s T in its group, then mean over prompts: n_s responses of the
    group have that sign and Σ_s T tokens in the loss, so that right and wrong responses weigh as many as they are,
    however long. Responses whose advantage is 0 are a third kind; they matter to penalties alone. The definition is
    that of the paper's abstract (means over tokens by sign, combined by counts of sequences), by group; it needs one
    advantage per response, not whitened. Source: arXiv 2605.04077.

    >>> BalancedTokenMean().weights(np.array([[1.0, 3.0, 6.0]]), np.ones((1, 3), dtype=bool), 8,
    ...                             np.array([[0.5, 0.5, -1.0]])).round(3).tolist()
    [[0.5, 0.5, 0.167]]
    """

    @property
    def within_group(self) -> bool:
        return True

    @property
    def by_sign(self) -> bool:
        return True

    def size(self, length: FloatArray) -> FloatArray | None:
        return length

    def weights(self, length: FloatArray, in_loss: BoolArray, max_tokens: int, advantage: FloatArray | None = None
                ) -> FloatArray:
        if advantage is None:
            fail("advantage", None, "must be given where an aggregation reads its signs")
        return length.shape[-1] * balanced(length, in_loss, advantage)


def balanced(length: FloatArray, in_loss: BoolArray, advantage: FloatArray) -> FloatArray:
    """n_s/G · 1/Σ_s T of the members of groups, [..., member], 0 out of the loss: see :class:`BalancedTokenMean`."""
    sign = signs(advantage)
    weight = np.zeros(length.shape)
    for each in (-1.0, 0.0, 1.0):
        mine = in_loss & (sign == each)
        number = np.sum(mine, axis=-1, keepdims=True)
        tokens = np.sum(length * mine, axis=-1, keepdims=True)
        weight += mine * number / np.maximum(tokens, 1.0)
    return weight / length.shape[-1]


def signs(advantage: FloatArray) -> FloatArray:
    """The signs of the advantages of groups, [..., member], 0 where they are rounding errors.

    >>> signs(np.array([1.0, -1e-17, -0.5]))
    array([ 1.,  0., -1.])
    """
    largest = np.max(np.abs(advantage), axis=-1, keepdims=True)
    return np.sign(np.where(np.abs(advantage) > FAINT * largest, advantage, 0.0))
