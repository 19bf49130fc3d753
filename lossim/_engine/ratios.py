"""E[X / D] for a sum D over responses: 1/D as a sum of exponentials, with a bound that holds for every D.

    1/x = ∫₀^∞ e^{-xy} dy = ∫ e^{s - x e^s} ds ,   y = e^s

and the trapezoid rule in s turn the ratio into Σ_a weight_a e^{-node_a x}. Each exponential of a sum factorises over
responses, so the expectation needs only Laplace transforms of one response. The approximation is checked on the whole
interval of values that D can take, so its relative error does not depend on the law.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lossim._support.types import FloatArray

__all__ = ["ONE", "Reciprocal", "reciprocal"]


@dataclass(frozen=True, kw_only=True)
class Reciprocal:
    """1/x ≈ Σ_a weights[a] · exp(-nodes[a] · x) on [low, high], relative error at most ``error``."""

    nodes: FloatArray
    weights: FloatArray
    error: float

    def __call__(self, x: FloatArray) -> FloatArray:
        """The approximation of 1/x, for tests."""
        y: FloatArray = np.exp(-np.multiply.outer(x, self.nodes)) @ self.weights
        return y


ONE = Reciprocal(nodes=np.zeros(1), weights=np.ones(1), error=0.0)
"""The constant 1: what stands for 1/D where a scheme has no random denominator."""


@lru_cache(maxsize=128)
def reciprocal(low: float, high: float, step: float = 0.28) -> Reciprocal:
    """1/x on [low, high] as a sum of exponentials, relative error about 1e-14.

    The integrand e^{s - x e^s} is analytic in the strip |Im s| < π/2, so the trapezoid rule errs by
    about (4π/√step) e^{-π²/step} whatever x is.
    On the right it stops where x_low·e^s > 40. All nodes to the left of x_high·e^s = 1e-6 are merged into one at
    their centre of mass, which errs by the cube of 1e-6. The error returned is the largest found on a dense grid.

    Raises:
        ValueError: unless 0 < low <= high < inf.

    >>> r = reciprocal(1.0, 1e6)
    >>> bool(r.error < 1e-13), len(r.nodes) < 120
    (True, True)
    """
    if not 0 < low <= high < np.inf:
        raise ValueError(f"the denominator's range must satisfy 0 < low <= high < inf, got [{low}, {high}]")
    start = -np.log(high) + np.log(1e-6)
    y = np.exp(np.arange(start, np.log(40.0 / low), step))
    # Σ_{k≥1} e^{s₀-kh} and Σ_{k≥1} e^{2(s₀-kh)}: the mass and the first moment of the nodes left of the start.
    mass, moment = y[0] / np.expm1(step), y[0] ** 2 / np.expm1(2 * step)
    nodes = np.concatenate([[moment / mass], y])
    weights = step * np.concatenate([[mass], y])
    made = Reciprocal(nodes=nodes, weights=weights, error=0.0)
    grid = np.geomspace(low, high, 1000)
    error = float(np.max(np.abs(made(grid) * grid - 1.0)))
    return Reciprocal(nodes=nodes, weights=weights, error=error)
