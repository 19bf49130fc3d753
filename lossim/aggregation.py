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

from lossim._support.checks import Checked, choice, in_interval, positive
from lossim._support.types import BoolArray, FloatArray

__all__ = ["Aggregation", "ConstantNormalizer", "LengthPower", "SequenceMeanTokenMean", "SequenceMeanTokenSum",
           "TokenMean", "TokenSum"]

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
    def needs_max_tokens(self) -> bool:
        """Whether ``max_tokens`` stands in the prefactor."""
        return False

    def scale(self, group_size: float, prompts_per_step: int) -> float:
        """n where the denominator sums over the step, n / prompts where it sums over the group."""
        return float(group_size if self.within_group else group_size * prompts_per_step)

    def weights(self, length: FloatArray, in_loss: BoolArray, max_tokens: int) -> FloatArray:
        """n · weight per response of real batches; ``length`` and ``in_loss`` are [..., prompt, response].

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
