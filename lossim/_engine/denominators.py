"""E[X / D] for a random denominator D, a sum over responses: of the aggregation, and of OPO's baseline.

1/D becomes a sum of exponentials, with a bound that holds for every D:

    1/x = ∫₀^∞ e^{-xy} dy = ∫ e^{s - x e^s} ds ,   y = e^s

and the trapezoid rule in s turn the ratio into Σ_a weight_a e^{-node_a x}. Each exponential of a sum factorises over
responses, so the expectation needs only Laplace transforms of one response: every response of the sum becomes a factor
e^{-node_a · size}, the decays below. The approximation is checked on the whole interval of values that D can take, so
its relative error does not depend on the law. See docs/derivations.md, section 7.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np

from lossim._engine.step import Step
from lossim._support.records import Record
from lossim._support.types import BoolArray, FloatArray
from lossim.aggregation import Aggregation

__all__ = ["ONE", "Denominators", "Reciprocal", "inverse_range", "reciprocal"]

FAINT = 1e-140
"""Decays below it are taken for 0, which changes no digit: products of two would be denormal numbers, and slow."""


class Reciprocal(Record):
    """1/x ≈ Σ_a weights[a] · exp(-nodes[a] · x) on [low, high], relative error at most ``error``."""

    nodes: FloatArray
    weights: FloatArray
    error: float

    def __call__(self, x: FloatArray) -> FloatArray:
        """The approximation of 1/x, for tests."""
        return np.exp(-np.multiply.outer(x, self.nodes)) @ self.weights


ONE = Reciprocal(nodes=np.zeros(1), weights=np.ones(1), error=0.0)
"""The constant 1: what stands for 1/D where a scheme has no random denominator."""


@lru_cache(maxsize=128)
def reciprocal(low: float, high: float, spacing: float = 0.28) -> Reciprocal:
    """1/x on [low, high] as a sum of exponentials, relative error about 1e-14.

    The integrand e^{s - x e^s} is analytic in the strip |Im s| < π/2, so the trapezoid rule errs by
    about (4π/√spacing) e^{-π²/spacing} whatever x is.
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
    y = np.exp(np.arange(start, np.log(40.0 / low), spacing))
    # Σ_{k≥1} e^{s₀-kh} and Σ_{k≥1} e^{2(s₀-kh)}: the mass and the first moment of the nodes left of the start.
    mass, moment = y[0] / np.expm1(spacing), y[0] ** 2 / np.expm1(2 * spacing)
    nodes = np.concatenate([[moment / mass], y])
    weights = spacing * np.concatenate([[mass], y])
    made = Reciprocal(nodes=nodes, weights=weights, error=0.0)
    grid = np.geomspace(low, high, 1000)
    error = float(np.max(np.abs(made(grid) * grid - 1.0)))
    return Reciprocal(nodes=nodes, weights=weights, error=error)


class Denominators(Record):
    """Nodes a of the aggregation's denominator and b of the baseline's, with the decay of each end."""

    step: Step
    rule: Aggregation

    @cached_property
    def size(self) -> FloatArray:
        """What each end adds to the aggregation's denominator, [end]; 0 out of the loss, and 0 if there is none."""
        return _sizes(self.step.in_loss, self.step.old.length, self.rule)

    @cached_property
    def aggregation(self) -> Reciprocal:
        """1/D of the aggregation."""
        if self.rule.size(self.step.old.length) is None:
            return ONE
        scheme = self.step.scheme
        members = scheme.group_size if self.rule.within_group else scheme.responses_per_step
        return self._reciprocal(self.size, members, self.step.in_loss)

    @cached_property
    def baseline(self) -> Reciprocal:
        """1/ΣT of a length-weighted baseline."""
        estimator = self.step.response_level
        if estimator is None or estimator.traits.mates != "length-weighted":
            return ONE
        return self._reciprocal(self.step.old.length, self.step.scheme.group_size, self.step.in_baseline)

    def _reciprocal(self, size: FloatArray, members: int, inside: BoolArray) -> Reciprocal:
        """1/D on all values that a sum over so many members can take, those outside left out."""
        policy = self.step.old
        found = inverse_range(size, (policy.chance_of_end > 0) & inside)
        if found is None:
            return ONE
        least = members if inside.all() and not self.rule.by_sign else 1  # at least the own response
        return reciprocal(found[0] * least, found[1] * members)

    @cached_property
    def decay(self) -> FloatArray:
        """e^{-node · size}, [a, end]."""
        return self.step.rules.once(_decays, self.step.in_loss, self.step.old.length, self.rule, self.aggregation)

    def over_ends(self, x: FloatArray) -> FloatArray:
        """Σ over the ends of x · e^{-node·size}, [..., end] → [..., a]."""
        if self.aggregation is ONE:
            return x.sum(axis=-1, keepdims=True)
        return _all_rows(x, self.decay.T)

    def at_ends(self, x: FloatArray) -> FloatArray:
        """Σ over the nodes of x · e^{-node·size}, [..., a] → [..., end or 1]."""
        return x if self.aggregation is ONE else _all_rows(x, self.decay)

    @cached_property
    def baseline_decay(self) -> FloatArray:
        """e^{-node · T} of those in the baseline, [b, end]."""
        return _decay(self.baseline.nodes, self.step.old.length * self.step.in_baseline)


def inverse_range(size: FloatArray, counted: BoolArray) -> tuple[float, float] | None:
    """The smallest and the largest size that one response adds, of those ends that count; None where none does."""
    sizes = size[counted]
    return (float(sizes.min()), float(sizes.max())) if len(sizes) else None


def _all_rows(x: FloatArray, matrix: FloatArray) -> FloatArray:
    """x @ matrix as one product of all rows of [..., i], which reads the matrix once."""
    return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], -1)


def _sizes(in_loss: BoolArray, length: FloatArray, rule: Aggregation) -> FloatArray:
    size = rule.size(length)
    return np.where(in_loss, 0.0 if size is None else size, 0.0)


def _decays(in_loss: BoolArray, length: FloatArray, rule: Aggregation, one_over: Reciprocal) -> FloatArray:
    return _decay(one_over.nodes, _sizes(in_loss, length, rule))


def _decay(nodes: FloatArray, size: FloatArray) -> FloatArray:
    decay = np.exp(-np.multiply.outer(nodes, size))
    decay[decay < FAINT] = 0.0
    return decay
