"""Terms beside the reward: KL to a reference policy and an entropy bonus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from lossim._support import checks
from lossim._support.types import FloatArray

__all__ = ["KL", "Entropy"]


_ESTIMATORS: dict[str, tuple[Callable[[FloatArray], FloatArray], Callable[[FloatArray], FloatArray]]] = {
    "k1": (lambda d: d, np.ones_like),
    "k2": (lambda d: 0.5 * d**2, lambda d: d),
    "k3": (lambda d: np.expm1(-d) + d, lambda d: -np.expm1(-d)),
    "abs": (np.abs, np.sign),
}
"""k(d) by name, and its slope dk/d log π."""


@dataclass(frozen=True, kw_only=True)
class KL(checks.Checked):
    """KL to the reference policy, from sampled tokens; d = log π(a) / π_ref(a).

    In the loss (differentiated at visited states, no score-function term) the estimator k is d (k1), d²/2 (k2),
    e^{-d} - 1 + d (k3) or |d| (abs), and the update is -coefficient · weight · f · ∇log π(a) with f = dk/d log π:
    1, d, 1 - e^{-d}, sign(d). Note that k1 in the loss does not depend on d: its gradient is noise under a constant
    normaliser, and under 1/T it moves length even where policy and reference agree. In the reward (k1 only) every
    token is paid -coefficient · d.

    Attributes:
        coefficient: β ≥ 0.
        estimator: ``"k1"``, ``"k2"``, ``"k3"`` or ``"abs"``.
        place: ``"loss"`` or ``"reward"``.
        content_per_token: KL that the content of each go-on token carries, in nats ≥ 0; only in the reward, where
            it acts as a price per token. lossim does not model content, so this is an input.
        gradient: in the loss, ``"own"``; ``"straight_through"``, the value of the estimator with the gradient of k2
            (verl's ``k1+`` and ``k3+``); or ``"bias_corrected"``, r·k with the ratio r = π/π_old differentiated, so
            f = r(k + dk/d log π), which for k3 is r·d (TRL's ``use_bias_correction_kl``).
        to: the policy that π is held to, ``"reference"`` or the ``"old"`` one that drew the batch. With k2, a
            policy gradient and ``"old"`` the loss is DRO's, or Kimi k1.5's.

    Source: J. Schulman, "Approximating KL divergence", 2020; DRO arXiv 2405.19107; Kimi k1.5 arXiv 2501.12599.

    >>> KL(coefficient=0.1, estimator="k3").slope(np.array([0.0, 1.0]))
    array([0.        , 0.63212056])
    """

    coefficient: float
    estimator: Literal["k1", "k2", "k3", "abs"] = "k1"
    place: Literal["loss", "reward"] = "loss"
    content_per_token: float = 0.0
    gradient: Literal["own", "straight_through", "bias_corrected"] = "own"
    to: Literal["reference", "old"] = "reference"
    _rules: ClassVar = {
        "coefficient": (checks.at_least, 0.0),
        "estimator": (checks.choice, tuple(_ESTIMATORS)),
        "place": (checks.choice, ("loss", "reward")),
        "content_per_token": (checks.at_least, 0.0),
        "gradient": (checks.choice, ("own", "straight_through", "bias_corrected")),
        "to": (checks.choice, ("reference", "old")),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.place == "reward":
            for name, only in (("estimator", "k1"), ("gradient", "own"), ("to", "reference")):
                if getattr(self, name) != only:
                    checks.fail(name, getattr(self, name), f"must be {only!r} for a KL in the reward",
                                "use place='loss'")
        if self.place == "loss" and self.content_per_token:
            checks.fail("content_per_token", self.content_per_token, "must be 0 for a KL in the loss",
                        "content tokens have no stop logit, so their KL moves no length there; use place='reward'")

    def estimate(self, log_ratio: FloatArray) -> FloatArray:
        """k(d): the estimator itself, without the ratio of a corrected bias."""
        return _ESTIMATORS[self.estimator][0](log_ratio)

    def value(self, log_ratio: FloatArray, drawn_ratio: FloatArray | float = 0.0) -> FloatArray:
        """The loss of a token over β: k(d), times r = e^{``drawn_ratio``} where the bias is corrected."""
        value = self.estimate(log_ratio)
        if self.gradient == "bias_corrected":
            return value * np.exp(drawn_ratio)
        return value

    def slope(self, log_ratio: FloatArray, drawn_ratio: FloatArray | float = 0.0) -> FloatArray:
        """f: the derivative of the value with respect to log π; ``drawn_ratio`` is log π/π_old, 0 on-policy.

        It is dk/d log π (derivations, section 10), the slope of k2 if straight through, and with a corrected bias
        r(k + dk/d log π).
        """
        if self.estimator == "k3" and self.gradient == "bias_corrected":
            return np.exp(drawn_ratio) * log_ratio  # exponentials that would overflow cancel
        own = _ESTIMATORS["k2" if self.gradient == "straight_through" else self.estimator][1](log_ratio)
        if self.gradient == "bias_corrected":
            return np.exp(drawn_ratio) * (own + self.estimate(log_ratio))
        return own


@dataclass(frozen=True, kw_only=True)
class Entropy(checks.Checked):
    """Entropy bonus: + coefficient · weight · H at every visited state, of the decision to stop.

    At the first token the state is the prompt, and H is the joint entropy of path and stop decision. The entropy of
    content is not modelled. Negative coefficients penalise entropy.
    """

    coefficient: float
    _rules: ClassVar = {"coefficient": (checks.finite,)}
