"""The expected advantage of a response given its own end, averaged over the other responses of its group.

One function for each way in which an advantage depends on the mates (:class:`lossim.advantages.Traits`): not at all,
linearly, through a length-weighted mean, standardised by the group, or as any function of the reward levels. ``factor``
[a] is the weight of each node of the aggregation's denominator times what the other groups of the step are expected to
be; without a random denominator there is one node of decay 1. See docs/derivations.md, section 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from scipy.special import gammaln, xlogy

from lossim._engine.groups import ClassLaw
from lossim._engine.standardized import standardized_credit
from lossim._support.positions import blocks
from lossim._support.types import FloatArray, IntArray, NoClosedForm
from lossim.advantages import Group, ResponseAdvantage, group_of
from lossim.schemes import DynamicSampling

__all__ = ["FEW_TERMS", "LEAST_LOG", "MOST_TERMS", "advantages_beside", "by_quadrature", "composition_count",
           "compositions", "compositions_beside", "expected_credit", "kinds", "negative_credit", "return_slope",
           "squared_credit"]

MOST_TERMS = 500_000_000
"""Largest number of compositions × levels × (nodes or levels) that is summed over before NoClosedForm is raised."""
FEW_TERMS = 5_000_000
"""Compositions × levels² beyond which a quadrature, of a few tenths of a second, is quicker; for standardised ones."""
SMALL_TABLE = 1 << 12
"""Compositions up to which a table of them is kept."""
LEAST_LOG = -700.0
"""Logarithms of probabilities are held above this, so that 0 · log 0 is 0."""


def expected_credit(law: ClassLaw, estimator: ResponseAdvantage, factor: FloatArray) -> FloatArray:
    """E[advantage · own group contributes], by row and end."""
    mates = estimator.traits.mates
    if mates == "none":
        return _fixed(law, estimator) * law.presence(factor)
    if mates == "linear":
        return _linear_credit(law, estimator, factor)
    if mates == "length-weighted":
        return _length_weighted_credit(law, factor)
    if by_quadrature(law, estimator, len(factor)):
        return standardized_credit(law, estimator.traits, factor)
    return _composition_credit(law, estimator, factor, np.positive, "")


def by_quadrature(law: ClassLaw, estimator: ResponseAdvantage, nodes: int) -> bool:
    """Whether E[advantage] of a class is a quadrature: standardised, with more compositions than are quickly summed."""
    if estimator.traits.mates != "standardized" or law.mates == 0:
        return False
    if _few(law, estimator, nodes):
        return False
    if _terms(law, _returns(law), 1) > FEW_TERMS:
        return True
    levels = len(kinds(law, estimator)[0])
    return _terms(law, levels, 1) > FEW_TERMS or _terms(law, levels, nodes) > MOST_TERMS


def negative_credit(law: ClassLaw, estimator: ResponseAdvantage, factor: FloatArray, mean: float = 0.0) -> FloatArray:
    """E[min(advantage - mean, 0) · own group contributes], by row and end."""
    if estimator.traits.mates == "none":
        return np.minimum(_fixed(law, estimator) - mean, 0.0) * law.presence(factor)
    return _composition_credit(law, estimator, factor, lambda advantage: np.minimum(advantage - mean, 0.0),
                               "a surrogate that reads the sign of ")


def squared_credit(law: ClassLaw, estimator: ResponseAdvantage, factor: FloatArray) -> FloatArray:
    """E[advantage² · own group contributes], by row and end; only without a random denominator."""
    mates = estimator.traits.mates
    if mates == "length-weighted":
        raise NoClosedForm("advantage", "the variance of OPO's advantages, which whitening needs")
    if mates == "none":
        return _fixed(law, estimator) ** 2 * law.presence(factor)
    if law.filters_unlike_returns:
        raise NoClosedForm("dynamic_sampling", "whitened advantages with a KL in the reward and equal groups left out")
    if mates == "linear":
        return factor[0] * _second_moment(law, estimator)
    return _composition_credit(law, estimator, factor, np.square, "the square of ")


def _fixed(law: ClassLaw, estimator: ResponseAdvantage) -> FloatArray:
    """Advantages that depend on the own response alone."""
    baseline = np.array(law.step.baseline[law.index])
    return estimator.of_group(group_of(law.returns, baseline=baseline))


# --- baselines that are sums over the mates ----------------------------------------------------------------------


def _pivoted(law: ClassLaw) -> FloatArray:
    """Returns less the likeliest: the same advantages, and no cancellation where another is rare. [row, end]."""
    if law.mates == 0:
        return law.returns
    likeliest = law.level_values[np.argmax(law.level_mass)]
    return law.returns - likeliest


def _linear_credit(law: ClassLaw, estimator: ResponseAdvantage, factor: FloatArray) -> FloatArray:
    """Σ_k E[A · e^{-node·sizes}; k mates count] for A = u·R - v·Σ_mates R, by row and end."""
    slope, others = _linear_terms(law, estimator, factor)
    return _pivoted(law) * slope - others


def _linear_terms(law: ClassLaw, estimator: ResponseAdvantage, factor: FloatArray) -> tuple[FloatArray, FloatArray]:
    """E[u · ...] and E[v·Σ_mates R · ...], by row and end."""
    counted = law.counted
    returns = _pivoted(law)
    decay = law.decay
    psi = decay @ counted.sum(axis=0)
    paid = decay @ (counted * returns).sum(axis=0)
    own, others = _linear_parts(law, estimator, psi, paid)
    slope = np.broadcast_to((factor * own) @ decay, returns.shape)
    rest = np.broadcast_to((factor * others) @ decay, returns.shape)
    if law.filters_unlike_returns:  # the same of groups with one task level, which are left out
        own, others = _linear_parts(law, estimator, law.by_level(counted), law.by_level(counted * returns))
        column = factor[:, None]
        slope = slope - law.at_level(column * own, law.level)
        rest = rest - law.at_level(column * others, law.level)
    return slope, rest


def return_slope(law: ClassLaw, estimator: ResponseAdvantage, factor: FloatArray) -> FloatArray:
    """dE[advantage · own group contributes]/dR of the own return, by row and end; of estimators linear in it."""
    mates = estimator.traits.mates
    if mates == "none":
        return law.presence(factor)
    if mates == "length-weighted":
        return _length_weighted_terms(law, factor)[0]
    return _linear_terms(law, estimator, factor)[0]


def _linear_parts(law: ClassLaw, estimator: ResponseAdvantage, psi: FloatArray, paid: FloatArray
                  ) -> tuple[FloatArray, FloatArray]:
    """Factors of R and of 1 in E[A · ...], from ψ and E[R e^{-node·size}] of one mate (any shape)."""
    own = np.zeros_like(psi)
    others = np.zeros_like(psi)
    k, weight = law.kept_counts
    for kept, ways, u, v in zip(k, weight, *estimator.linear_factors(k), strict=True):
        own += u * np.exp(ways + xlogy(kept, psi))
        if kept > 0:
            others += v * kept * np.exp(ways + xlogy(kept - 1.0, psi)) * paid
    return own, others


def _second_moment(law: ClassLaw, estimator: ResponseAdvantage) -> FloatArray:
    """E[A² · enough mates] for A = u·R - v·Σ_mates R, by row and end."""
    returns = _pivoted(law)
    mass, paid, squared = (float((law.counted * returns**i).sum()) for i in range(3))
    mean, square = (paid / mass, squared / mass) if mass > 0 else (0.0, 0.0)
    total = np.zeros_like(returns)
    k, weight = law.kept_counts
    for kept, ways, u, v in zip(k, weight, *estimator.linear_factors(k), strict=True):
        of_mates = v * v * (kept * square + kept * (kept - 1) * mean**2)
        expected = (u * returns) ** 2 - 2 * u * v * kept * mean * returns + of_mates
        total += np.exp(ways + xlogy(kept, mass)) * expected
    return total


def _length_weighted_credit(law: ClassLaw, factor: FloatArray) -> FloatArray:
    """E[A · e^{-node·sizes}] for A = R - ΣTR/ΣT, by row and end."""
    slope, others = _length_weighted_terms(law, factor)
    return _pivoted(law) * slope - others


def _length_weighted_terms(law: ClassLaw, factor: FloatArray) -> tuple[FloatArray, FloatArray]:
    """E[(1 - T/ΣT) · ...], the slope in the own return, and E[Σ_mates TR/ΣT · ...], by row and end."""
    slope, others = _length_weighted_parts(law, factor, law.counted)
    shape = law.returns.shape
    slope = np.broadcast_to(slope, shape)
    others = np.broadcast_to(others, shape)
    if law.filters_unlike_returns:  # the same of groups with one task level, which are left out
        for level in range(len(law.level_values)):
            inside = law.level == level
            own, mates = _length_weighted_parts(law, factor, law.counted * inside)
            slope = slope - inside * own
            others = others - inside * mates
    return slope, others


def _length_weighted_parts(law: ClassLaw, factor: FloatArray, counted: FloatArray) -> tuple[FloatArray, FloatArray]:
    """E[...] - T·E[.../ΣT] and E[Σ_mates TR .../ΣT] over mates of that law, by end; ratios over nodes (a, b)."""
    near = law.denominators.decay
    far = law.denominators.baseline_decay
    length = law.step.old.length
    returns = _pivoted(law)
    # Transforms of one mate: in the aggregation alone [a], in both denominators [a, b], and the latter times TR.
    one = counted.sum(axis=0)
    paid_one = (counted * returns).sum(axis=0)
    alone = near @ one
    psi = near @ (one * far).T
    paid = near @ (length * paid_one * far).T
    # Powers of them, by how many mates count.
    own = np.zeros_like(alone)
    both = np.zeros_like(psi)
    others = np.zeros_like(psi)
    for kept, ways in zip(*law.kept_counts, strict=True):
        own += np.exp(ways + xlogy(kept, alone))
        both += np.exp(ways + xlogy(kept, psi))
        if kept > 0:
            others += kept * np.exp(ways + xlogy(kept - 1.0, psi)) * paid
    weights = np.multiply.outer(factor, law.denominators.baseline.weights)

    def combined(x: FloatArray) -> FloatArray:
        result = np.empty(len(length))
        for ends in blocks(*far.T.shape):
            result[ends] = np.einsum("ae,ae->e", near[:, ends], (weights * x) @ far[:, ends])
        return result

    return (factor * own) @ near - length * combined(both), combined(others)


# --- any function of the group's reward levels ------------------------------------------------------------------
# With K levels and G-1 mates there are C(G+K-2, K-1) compositions (n_1, ..., n_K), Σ n = G-1, each with probability
# (G-1)!/Π n_i! · Π φ_i^{n_i}.


def _composition_credit(law: ClassLaw, estimator: ResponseAdvantage, factor: FloatArray,
                        function: Callable[[FloatArray], FloatArray], words: str) -> FloatArray:
    """Σ over compositions of the mates of P(composition) · function(A), by row and end; ``words`` say what that is.

    Raises:
        NoClosedForm: there are too many compositions to sum.
    """
    nodes = len(factor)

    def refuse_many(levels: int) -> None:
        if _terms(law, levels, nodes) > MOST_TERMS:
            raise NoClosedForm("advantage", f"{words}{type(estimator).__name__} over {levels:,} reward levels in "
                               f"groups of {law.mates + 1}: too many compositions to sum")

    if not _few(law, estimator, nodes):
        refuse_many(_returns(law))
    values, own = kinds(law, estimator)
    levels = len(values)
    parts = levels + (law.removed > 0)  # being out of the baseline is one more thing a mate can do
    if levels == 0:
        return np.zeros(own.shape)
    refuse_many(levels)
    phi = law.sums_by(law.counted, own, levels)
    if law.removed > 0:
        phi = np.column_stack([phi, np.full(nodes, law.removed)])
    with np.errstate(divide="ignore"):
        log_phi = np.maximum(np.log(phi), LEAST_LOG)
    expected = np.zeros((nodes, levels))
    for table in compositions(law.mates, parts, chunk=max(1_000_000 // nodes, 1000)):
        chance = np.exp(_log_ways(table) + log_phi @ table.T)
        advantages = advantages_beside(estimator, table[:, :levels].astype(np.float64), values, law.step.least_kept,
                                       law.step.scheme.dynamic_sampling)
        credit = function(advantages)
        expected += chance @ np.where(np.isnan(credit), 0.0, credit)
    return law.at_level(factor[:, None] * expected, own)


def _terms(law: ClassLaw, levels: int, nodes: int) -> int:
    """How many terms the compositions of the mates have."""
    return composition_count(law.mates, levels + (law.removed > 0)) * levels * max(nodes, levels)


def _few(law: ClassLaw, estimator: ResponseAdvantage, nodes: int) -> bool:
    """Whether the compositions are few even if every level occurs, which need then not be counted."""
    if law.step.paid is not None or estimator.traits.reads_length:
        return False
    return _terms(law, len(law.level_values), nodes) <= FEW_TERMS


def _returns(law: ClassLaw) -> int:
    """How many different returns can occur: at least so many kinds there are."""
    return len(np.unique(law.returns[law.counted > 0]))


def kinds(law: ClassLaw, estimator: ResponseAdvantage) -> tuple[FloatArray, IntArray]:
    """Different (task reward, return, length if it matters) among those that can occur, and each end's own."""
    step = law.step
    shape = law.returns.shape
    reads_length = estimator.traits.reads_length
    if step.paid is None and not reads_length:
        values = law.level_values
        table = np.stack([values, values, np.zeros_like(values)], axis=1)
        own = law.level
    else:
        length = np.broadcast_to(step.old.length if reads_length else 0.0, shape)
        rows = np.stack([law.task.ravel(), law.returns.ravel(), length.ravel()], axis=1)
        table, inverse = np.unique(rows, axis=0, return_inverse=True)
        own = inverse.reshape(shape)
    occurs = np.bincount(own.ravel(), weights=law.counted.ravel(), minlength=len(table)) > 0
    if occurs.all():
        return table, own
    number = np.cumsum(occurs) - 1
    return table[occurs], np.maximum(number, 0)[own] * occurs[own]


def compositions_beside(estimator: ResponseAdvantage, table: IntArray, levels: FloatArray, least_kept: int,
                        sampling: DynamicSampling) -> tuple[FloatArray, FloatArray]:
    """Of each composition of mates the log of the ways it can come about, [composition], and A beside it of a response
    of each level of reward, where nothing else is read: [composition, level]; 0 if left out.
    """
    values = np.stack([levels, levels, np.zeros_like(levels)], axis=1)
    beside = advantages_beside(estimator, table[:, :len(levels)].astype(np.float64), values, least_kept, sampling)
    return _log_ways(table), np.where(np.isnan(beside), 0.0, beside)


def _log_ways(table: IntArray) -> FloatArray:
    """log of the multinomial coefficient of each composition."""
    found: FloatArray = gammaln(table[0].sum() + 1.0) - gammaln(table + 1.0).sum(axis=1)
    return found


def advantages_beside(estimator: ResponseAdvantage, table: FloatArray, values: FloatArray, least_kept: int,
                      sampling: DynamicSampling) -> FloatArray:
    """A of an own response of each level beside each composition of mates; NaN if left out. [composition, level]"""
    task, returns, length = values.T
    result = np.zeros(table.shape)
    for level in range(len(values)):
        count = table.copy()
        count[:, level] += 1.0
        group = Group(returns=returns, count=count, length=length, baseline=np.zeros(1))
        mine = estimator.of_group(group)[:, level]
        if least_kept == 2:
            mine = np.where(count.sum(axis=1) >= 2, mine, np.nan)
        if sampling != "none":
            others = (task != task[level]) & (count > 0)
            mine = np.where(others.any(axis=1), mine, np.nan)
        result[:, level] = mine
    return result


# --- enumeration of compositions ------------------------------------------------------------------------------------


def composition_count(total: int, parts: int) -> int:
    """Number of ways to split ``total`` indistinguishable items over ``parts`` levels."""
    return math.comb(total + parts - 1, parts - 1)


def compositions(total: int, parts: int, chunk: int = 1 << 16) -> Iterator[IntArray]:
    """All (n_1, ..., n_parts) with Σ n = total, as arrays [composition, part] of at most about ``chunk`` rows.

    >>> next(compositions(2, 2)).tolist()
    [[0, 2], [1, 1], [2, 0]]
    """
    if parts == 1:
        yield np.array([[total]])
        return
    if composition_count(total, parts) <= chunk or parts == 2:
        yield (_kept_table if composition_count(total, parts) <= SMALL_TABLE else _table)(total, parts)
        return
    for head in range(total + 1):
        for rest in compositions(total - head, parts - 1, chunk):
            yield np.column_stack([np.full(len(rest), head), rest])


def _table(total: int, parts: int) -> IntArray:
    """All compositions at once: each part in turn takes every number of what is left."""
    rows = np.zeros((1, 0), dtype=np.int64)
    left = np.array([total])
    for _ in range(parts - 1):
        choices = left + 1
        first = np.repeat(np.cumsum(choices) - choices, choices)
        head = np.arange(choices.sum()) - first
        rows = np.column_stack([np.repeat(rows, choices, axis=0), head])
        left = np.repeat(left, choices) - head
    return np.column_stack([rows, left])


@lru_cache(maxsize=64)
def _kept_table(total: int, parts: int) -> IntArray:
    """The same, kept for the next class or step."""
    table = _table(total, parts)
    table.setflags(write=False)
    return table
