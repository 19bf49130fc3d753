"""Terms beside the reward: KL to a reference policy and an entropy bonus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lossim import _check
from lossim._types import FloatArray

__all__ = ["KL", "Entropy"]


@dataclass(frozen=True, kw_only=True)
class KL:
    """KL to the reference policy, from sampled tokens; d = log π(a) / π_ref(a).

    In the loss (differentiated at visited states, no score-function term) the update is
    -coefficient · weight · f(d) · ∇log π(a), with f = 1 (k1), d (k2), 1 - e^{-d} (k3). Note that k1 in the loss
    does not depend on d: its gradient is noise under a constant normaliser, and under 1/T it moves length even
    where policy and reference agree. In the reward (k1 only) every token is paid -coefficient · d.

    Attributes:
        coefficient: β ≥ 0.
        estimator: ``"k1"``, ``"k2"`` or ``"k3"``.
        place: ``"loss"`` or ``"reward"``.
        content_per_token: KL that the content of each go-on token carries, in nats ≥ 0; only in the reward, where
            it acts as a price per token. lossim does not model content, so this is an input.

    Source: J. Schulman, "Approximating KL divergence", 2020.

    >>> KL(coefficient=0.1, estimator="k3").slope(np.array([0.0, 1.0]))
    array([0.        , 0.63212056])
    """

    coefficient: float
    estimator: Literal["k1", "k2", "k3"] = "k1"
    place: Literal["loss", "reward"] = "loss"
    content_per_token: float = 0.0

    def __post_init__(self) -> None:
        _check.at_least("coefficient", self.coefficient, 0.0)
        _check.choice("estimator", self.estimator, ("k1", "k2", "k3"))
        _check.choice("place", self.place, ("loss", "reward"))
        _check.at_least("content_per_token", self.content_per_token, 0.0)
        if self.place == "reward" and self.estimator != "k1":
            _check.fail("estimator", self.estimator, "must be 'k1' for a KL in the reward", "use place='loss'")
        if self.place == "loss" and self.content_per_token:
            _check.fail("content_per_token", self.content_per_token, "must be 0 for a KL in the loss",
                        "content tokens have no stop logit, so their KL moves no length there; use place='reward'")

    def slope(self, log_ratio: FloatArray) -> FloatArray:
        """f(d): the derivative of the estimator with respect to log π."""
        if self.estimator == "k1":
            return np.ones_like(log_ratio)
        return log_ratio if self.estimator == "k2" else -np.expm1(-log_ratio)


@dataclass(frozen=True, kw_only=True)
class Entropy:
    """Entropy bonus: + coefficient · weight · H at every visited state, of the decision to stop.

    At the first token the state is the prompt, and H is the joint entropy of path and stop decision. The entropy of
    content is not modelled. Negative coefficients penalise entropy.
    """

    coefficient: float

    def __post_init__(self) -> None:
        _check.finite("coefficient", self.coefficient)
