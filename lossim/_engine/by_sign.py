"""Credit under an aggregation that reads the signs of a group's advantages: a mean over tokens for each sign.

Given the composition (n_1, ..., n_K) of a group its signs are known, and with them who shares the own denominator: with
1/x = Σ_a weight_a e^{-node_a x} the mates of the own sign bring E[e^{-node·T}; level], all others P(level).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import gammaln

from lossim._engine.groups import ClassLaw
from lossim._engine.mates import LEAST_LOG, MOST_TERMS, composition_count, compositions, kinds
from lossim._support.types import BoolArray, FloatArray, NoClosedForm
from lossim.advantages import Group, ResponseAdvantage
from lossim.aggregation import signs

__all__ = ["balanced_credit"]


def balanced_credit(law: ClassLaw, estimator: ResponseAdvantage, factor: FloatArray,
                    function: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """E[n_s/G · e^{-node·Σ_s T} · function(advantage) · own group contributes], by row and end.

    Raises:
        NoClosedForm: there are too many reward levels, or responses with a sign that are out of the loss.
    """
    step = law.step
    if (law.law[:, step.in_baseline & ~step.in_loss] > 0).any():
        raise NoClosedForm("aggregation", "a mean by sign where cut responses are masked: they have an advantage and "
                           "no tokens in the loss")
    values, own = kinds(law, estimator)
    levels = len(values)
    gone = law.removed > 0
    if levels == 0:
        return np.zeros(own.shape)
    if composition_count(law.mates, levels + gone) * levels * max(len(factor), levels) > MOST_TERMS:
        raise NoClosedForm("aggregation", f"a mean by sign over {levels:,} reward levels in groups of {law.mates + 1}: "
                           "too many compositions to sum")
    # Logarithms of what a mate of each level brings: with its tokens in the own denominator [a, level], and without.
    mass = np.bincount(own.ravel(), weights=law.counted.ravel(), minlength=levels).astype(np.float64)
    log_near = _log(law.sums_by(law.counted, own, levels))
    log_far = _log(np.append(mass, law.removed) if gone else mass)
    expected = np.zeros((len(factor), levels))
    for table in compositions(law.mates, levels + gone, chunk=max(1_000_000 // len(factor), 1000)):
        log_ways = gammaln(law.mates + 1.0) - gammaln(table + 1.0).sum(axis=1)
        mates = table.astype(np.float64)
        for level in range(levels):
            count = mates[:, :levels].copy()
            count[:, level] += 1.0
            credit = _advantages(law, estimator, count, values)
            sign = signs(np.where(count > 0, credit, 0.0))
            same = sign == sign[:, [level]]
            near = mates[:, :levels] * same
            far = mates.copy()
            far[:, :levels] -= near
            chance = np.exp(log_ways + log_near @ near.T + log_far @ far.T)
            number = (count * same).sum(axis=1) * _contributes(law, count, values, level)
            expected[:, level] += chance @ (number * function(credit[:, level]))
    return law.at_level(factor[:, None] * expected / (law.mates + 1.0), own)


def _log(x: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(x), LEAST_LOG)


def _advantages(law: ClassLaw, estimator: ResponseAdvantage, count: FloatArray, values: FloatArray) -> FloatArray:
    """A of the members of each level in groups of these compositions, [composition, level]."""
    _, returns, length = values.T
    baseline = np.full(1, law.step.baseline[law.index])
    found = estimator.of_group(Group(returns=returns, count=count, length=length, baseline=baseline))
    return np.broadcast_to(found, count.shape)


def _contributes(law: ClassLaw, count: FloatArray, values: FloatArray, level: int) -> BoolArray:
    """Which of the groups contribute, with an own response of that level."""
    enough = count.sum(axis=1) >= law.step.least_kept
    if law.step.scheme.dynamic_sampling == "none":
        return enough
    unlike = (values[:, 0] != values[level, 0]) & (count > 0)
    return enough & unlike.any(axis=1)
