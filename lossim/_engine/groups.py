"""One class of prompts: what a response's mates in its group contribute, averaged out.

The own response has G-1 mates, i.i.d. given the class. What is needed of one of them is ψ(a) = E[e^{-node_a · size}],
split by reward as the advantage asks; k mates in the baseline then give powers of it, and compositions of reward
levels give products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gammaln, xlogy

from lossim._engine.denominators import Denominators
from lossim._engine.step import Step
from lossim._support.positions import blocks, composition_count, compositions
from lossim._support.types import FloatArray, IntArray, NoClosedForm
from lossim.advantages import OPO, GroupMean, GroupStandardized, LeaveOneOut, PositiveOnly, ResponseAdvantage

__all__ = ["ClassLaw"]

MOST_TERMS = 500_000_000
"""Largest number of compositions × levels × (nodes or levels) that is summed over before NoClosedForm is raised."""
FEW_LEVELS = 16
"""Up to so many reward levels a matrix product for each is faster than a scatter for each node."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassLaw:
    """Law and transforms of one response of a class; rows are grades, or (cell, grade) where returns differ."""

    step: Step
    denominators: Denominators
    index: int

    @property
    def number(self) -> int:
        """G - 1."""
        return self.step.scheme.group_size - 1

    @property
    def cells(self) -> slice:
        """The cells of the class."""
        return self.step.old.class_cells[self.index]

    @cached_property
    def law(self) -> FloatArray:
        """P(row, end) given the class."""
        law, share = self.step.old.law[self.cells], self.step.old.probability[self.cells]
        rows: FloatArray = (np.einsum("c,cge->ge", share, law) if len(self.step.returns) == 1
                            else (share[:, None, None] * law).reshape(-1, law.shape[-1]))
        return rows

    @cached_property
    def returns(self) -> FloatArray:
        """R, [row, end]."""
        returns = self.step.returns
        mine = returns if len(returns) == 1 else returns[self.cells]
        return mine.reshape(-1, returns.shape[-1])

    @cached_property
    def task(self) -> FloatArray:
        """Task reward, [row, end]."""
        return np.tile(self.step.task[0], (len(self.returns) // 2, 1))

    @cached_property
    def counted(self) -> FloatArray:
        """P(row, end) of responses in the baseline."""
        inside = self.step.in_baseline
        return self.law if inside.all() else self.law * inside

    @cached_property
    def removed(self) -> float:
        """P(a response is out of the baseline)."""
        return float(self.law[:, ~self.step.in_baseline].sum())

    # --- levels of the task reward, for equal groups ------------------------------------------------------------

    @cached_property
    def _levels(self) -> tuple[FloatArray, IntArray]:
        values, level = self.step.reward_levels
        return values, np.tile(level, (len(self.returns) // 2, 1))

    def by_level(self, values: FloatArray) -> FloatArray:
        """Σ over the ends of a task level of ``values`` · e^{-node·size}, [a, level]."""
        return self._sums(values, self._levels[1], len(self._levels[0]))

    def _sums(self, values: FloatArray, level: IntArray, count: int) -> FloatArray:
        """Σ over the ends of a level of ``values`` · e^{-node·size}, [a, level]."""
        decay = self.denominators.decay
        if count <= FEW_LEVELS:
            return np.stack([decay @ np.where(level == i, values, 0.0).sum(axis=0) for i in range(count)], axis=1)
        return np.array([np.bincount(level.ravel(), weights=(values * row).ravel(), minlength=count) for row in decay])

    def at_level(self, x: FloatArray, level: IntArray) -> FloatArray:
        """Σ_a e^{-node·own size} x[a, level of the own end], [row, end]."""
        total, decay = np.zeros(level.shape), self.denominators.decay
        if x.shape[1] <= FEW_LEVELS:
            for i, column in enumerate(x.T):
                total += np.where(level == i, column @ decay, 0.0)
        else:
            for row, own in zip(x, decay, strict=True):
                total += row[level] * own
        return total

    @cached_property
    def transform(self) -> FloatArray:
        """ψ(a) = E[e^{-node·size}; in the baseline]."""
        psi: FloatArray = self.denominators.decay @ self.counted.sum(axis=0)
        return psi

    @cached_property
    def _kept(self) -> FloatArray:
        """E[e^{-node·sizes of the mates}; enough of them in the baseline], [a]."""
        alone = self.removed**self.number if self.step.least_kept == 2 else 0.0
        kept: FloatArray = (self.transform + self.removed) ** self.number - alone
        return kept

    @cached_property
    def _unequal(self) -> FloatArray:
        """The same where a mate in the baseline has another task reward than the own, [a, own level]."""
        mine = self.by_level(self.counted)
        levels = mine.shape[1]
        others = mine @ (1.0 - np.eye(levels)) if levels <= FEW_LEVELS else self.transform[:, None] - mine
        return _power_difference(mine + self.removed, others, self.number)

    @cached_property
    def unequal_groups(self) -> float:
        """P(a group has at least two different task rewards among those that count)."""
        return float(self._at_least_two_levels(self._level_mass[None])[0])

    @cached_property
    def _level_mass(self) -> FloatArray:
        """P(level of the task reward; in the baseline)."""
        values, level = self._levels
        mass: FloatArray = np.bincount(level.ravel(), weights=self.counted.ravel(), minlength=len(values)).astype(float)
        return mass

    @cached_property
    def group_transform(self) -> FloatArray:
        """E[e^{-node·sizes of a whole group}], [a]; where equal groups are resampled, of the others alone."""
        size, gone, psi = self.number + 1, self.removed, self.transform
        if self.step.scheme.dynamic_sampling == "resample":
            return self._at_least_two_levels(self.by_level(self.counted))
        whole: FloatArray = (psi + gone) ** size
        if self.step.least_kept == 2:  # a lone survivor leaves the loss, and its size with it
            lone = size * gone ** (size - 1)
            whole = whole - lone * psi + lone * self.counted.sum()
        return whole

    def _at_least_two_levels(self, parts: FloatArray) -> FloatArray:
        """E[product over a whole group; two levels or more occur] from E[· ; level] of one response, [a, level].

        Summed over the highest level that occurs and how often, so that nothing cancels where it is rare; with many
        levels as all less those of one level.
        """
        size, gone, (nodes, levels) = self.number + 1, self.removed, parts.shape
        if levels > FEW_LEVELS:
            equal: FloatArray = ((parts + gone) ** size - gone**size).sum(axis=1) + gone**size
            several: FloatArray = np.maximum((parts.sum(axis=1) + gone) ** size - equal, 0.0)
            return several
        total, lower = np.zeros(nodes), np.zeros(nodes)
        times = np.arange(1.0, size)
        ways = np.exp(gammaln(size + 1.0) - gammaln(times + 1.0) - gammaln(size - times + 1.0))
        for own in parts.T:
            for k, number in zip(range(1, size), ways, strict=True):
                total += number * own**k * _power_difference(np.full(nodes, gone), lower, size - k)
            lower = lower + own
        return total

    # --- what is expected of the own response ---------------------------------------------------------------------
    # ``factor`` [a] is the weight of each node times what the other groups of the step are expected to be.

    def presence(self, factor: FloatArray) -> FloatArray:
        """E[own group contributes], by row and end: the weight of a token without advantage."""
        if self.step.scheme.dynamic_sampling == "none":
            return np.broadcast_to((factor * self._kept) @ self.denominators.decay, self.returns.shape)
        return self.at_level(factor[:, None] * self._unequal, self._levels[1])

    def credit(self, factor: FloatArray) -> FloatArray:
        """E[advantage · own group contributes], by row and end."""
        if not self.step.advantage.group_relative:
            return self._fixed() * self.presence(factor)
        return self._linear_credit(factor) if self._is_linear else self._composition_credit(factor, np.positive)

    def negative_credit(self, factor: FloatArray, mean: float = 0.0) -> FloatArray:
        """E[min(advantage - mean, 0) · own group contributes], by row and end."""
        if not self.step.advantage.group_relative:
            return np.minimum(self._fixed() - mean, 0.0) * self.presence(factor)
        return self._composition_credit(factor, lambda advantage: np.minimum(advantage - mean, 0.0))

    def squared_credit(self, factor: FloatArray) -> FloatArray:
        """E[advantage² · own group contributes], by row and end; only without a random denominator."""
        step = self.step
        if isinstance(step.advantage, OPO):
            raise NoClosedForm("advantage", "the variance of OPO's advantages, which whitening needs")
        if not step.advantage.group_relative:
            return self._fixed() ** 2 * self.presence(factor)
        if step.scheme.dynamic_sampling != "none" and step.paid is not None:
            raise NoClosedForm("dynamic_sampling", "whitened advantages with a KL in the reward and equal groups left "
                               "out")
        return factor[0] * self._second_moment() if self._is_linear else self._composition_credit(factor, np.square)

    def _fixed(self) -> FloatArray:
        """Advantages that depend on the own response alone."""
        advantage, baseline = self.step.advantage, np.array(self.step.baseline[self.index])
        assert isinstance(advantage, ResponseAdvantage)
        return advantage.of_group(self.returns, np.ones_like(self.returns), self.returns, baseline)

    # --- baselines that are linear in the mates' returns --------------------------------------------------------

    @cached_property
    def _pivoted(self) -> FloatArray:
        """Returns less the likeliest: the same advantages, and no cancellation where another is rare. [row, end]."""
        likeliest = self._levels[0][np.argmax(self._level_mass)]
        return self.returns - likeliest if self.number > 0 else self.returns

    @property
    def _is_linear(self) -> bool:
        """Whether A is linear in the mates' returns."""
        given = self.step.advantage
        return isinstance(given, (GroupMean, LeaveOneOut, OPO)) or (
            isinstance(given, GroupStandardized) and given.scope == "batch")

    def _kept_counts(self) -> tuple[FloatArray, FloatArray]:
        """k, the mates in the baseline, and the log of the number of ways times P(the others are removed), each [k]."""
        k = np.arange(self.number + 1.0)
        ways = gammaln(self.number + 1.0) - gammaln(k + 1.0) - gammaln(self.number - k + 1.0)
        weight = ways + xlogy(self.number - k, self.removed)
        keep = np.isfinite(weight) & (k >= self.step.least_kept - 1)
        return k[keep], weight[keep]

    def _own_and_mate(self, k: FloatArray) -> tuple[FloatArray, FloatArray]:
        """u, v of A = u·R - v·Σ_mates R with k mates."""
        if isinstance(self.step.advantage, LeaveOneOut):
            return np.where(k > 0, 1.0, 0.0), 1.0 / np.maximum(k, 1.0)
        return k / (k + 1.0), 1.0 / (k + 1.0)

    def _linear_credit(self, factor: FloatArray) -> FloatArray:
        """Σ_k E[A · e^{-node·sizes}; k mates count], by row and end."""
        counted, returns, decay = self.counted, self._pivoted, self.denominators.decay
        filtered = self.step.scheme.dynamic_sampling != "none" and self.step.paid is not None
        # Equal task rewards, unequal KL: such groups have advantages, and are left out all the same.
        if isinstance(self.step.advantage, OPO):
            credit = self._opo_credit(factor, counted)
            if filtered:
                for level in range(len(self._levels[0])):
                    inside = self._levels[1] == level
                    credit = credit - inside * self._opo_credit(factor, counted * inside)
            return credit
        own, others = self._linear(decay @ counted.sum(axis=0), decay @ (counted * returns).sum(axis=0))
        credit = returns * ((factor * own) @ decay) - (factor * others) @ decay
        if filtered:
            own, others = self._linear(self.by_level(counted), self.by_level(counted * returns))
            levels, column = self._levels[1], factor[:, None]
            credit = credit - returns * self.at_level(column * own, levels) + self.at_level(column * others, levels)
        return credit

    def _linear(self, psi: FloatArray, paid: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Factors of R and of 1 in E[A · ...], from ψ and E[R e^{-node·size}] of one mate (any shape)."""
        own, others = np.zeros_like(psi), np.zeros_like(psi)
        k, weight = self._kept_counts()
        for kept, ways, u, v in zip(k, weight, *self._own_and_mate(k), strict=True):
            own += u * np.exp(ways + xlogy(kept, psi))
            if kept > 0:
                others += v * kept * np.exp(ways + xlogy(kept - 1.0, psi)) * paid
        return own, others

    def _opo_credit(self, factor: FloatArray, counted: FloatArray) -> FloatArray:
        """R·E[...] - T·R·E[.../ΣT] - E[ΣTR .../ΣT] over mates of that law, the last two over nodes (a, b)."""
        near, far, length = self.denominators.decay, self.denominators.baseline_decay, self.step.old.length
        one, paid_one = counted.sum(axis=0), (counted * self._pivoted).sum(axis=0)
        alone, psi, paid = near @ one, near @ (one * far).T, near @ (length * paid_one * far).T
        k, weight = self._kept_counts()
        own, both, others = np.zeros_like(alone), np.zeros_like(psi), np.zeros_like(psi)
        for kept, ways in zip(k, weight, strict=True):
            own += np.exp(ways + xlogy(kept, alone))
            both += np.exp(ways + xlogy(kept, psi))
            if kept > 0:
                others += kept * np.exp(ways + xlogy(kept - 1.0, psi)) * paid
        weights = np.multiply.outer(factor, self.denominators.baseline.weights)

        def combine(x: FloatArray) -> FloatArray:
            combined = np.empty(len(length))
            for ends in blocks(*far.T.shape):
                combined[ends] = np.einsum("ae,ae->e", near[:, ends], (weights * x) @ far[:, ends])
            return combined

        credit: FloatArray = self._pivoted * ((factor * own) @ near - length * combine(both)) - combine(others)
        return credit

    def _second_moment(self) -> FloatArray:
        """E[A² · enough mates] under a linear baseline, by row and end."""
        returns = self._pivoted
        mass, paid, squared = (float((self.counted * returns**i).sum()) for i in range(3))
        k, weight = self._kept_counts()
        total = np.zeros_like(returns)
        for kept, ways, u, v in zip(k, weight, *self._own_and_mate(k), strict=True):
            mean, square = (paid / mass, squared / mass) if mass > 0 else (0.0, 0.0)
            total += np.exp(ways + xlogy(kept, mass)) * ((u * returns) ** 2 - 2 * u * v * kept * mean * returns
                                          + v * v * (kept * square + kept * (kept - 1) * mean**2))
        return total

    # --- any function of the group's reward levels ----------------------------------------------------------------

    @cached_property
    def _kinds(self) -> tuple[FloatArray, IntArray]:
        """Different (task reward, return, length if it matters) among those that can occur, and each end's own."""
        step, shape = self.step, self.returns.shape
        if step.paid is None and not _reads_length(step):
            values, own = step.reward_levels
            table, own = np.stack([values, values, np.zeros_like(values)], axis=1), own.reshape(shape)
        else:
            length = np.broadcast_to(step.old.length if _reads_length(step) else 0.0, shape)
            rows = np.stack([self.task.ravel(), self.returns.ravel(), length.ravel()], axis=1)
            table, own = np.unique(rows, axis=0, return_inverse=True)
            own = own.reshape(shape)
        occurs = np.bincount(own.ravel(), weights=self.counted.ravel(), minlength=len(table)) > 0
        if occurs.all():
            return table, own
        number = np.cumsum(occurs) - 1
        return table[occurs], np.maximum(number, 0)[own] * occurs[own]

    def _composition_credit(self, factor: FloatArray, function: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """Σ over compositions of the mates of P(composition) · function(A), by row and end."""
        (values, own), removed = self._kinds, self.removed
        levels, nodes = len(values), len(factor)
        parts = levels + (removed > 0)
        if levels == 0:
            return np.zeros(own.shape)
        if composition_count(self.number, parts) * levels * max(nodes, levels) > MOST_TERMS:
            raise NoClosedForm("advantage", f"{type(self.step.advantage).__name__} over {levels} reward levels in "
                               f"groups of {self.number + 1}: too many compositions to sum")
        phi = self._sums(self.counted, own, levels)
        if removed > 0:
            phi = np.column_stack([phi, np.full(nodes, removed)])
        with np.errstate(divide="ignore"):
            log_phi = np.maximum(np.log(phi), -700.0)
        expected = np.zeros((nodes, levels))
        for table in compositions(self.number, parts, chunk=max(1_000_000 // nodes, 1000)):
            log_ways = gammaln(self.number + 1.0) - gammaln(table + 1.0).sum(axis=1)
            chance = np.exp(log_ways + log_phi @ table.T)
            credit = function(self._advantages(table[:, :levels].astype(np.float64), values))
            expected += chance @ np.where(np.isnan(credit), 0.0, credit)
        return self.at_level(factor[:, None] * expected, own)

    def _advantages(self, table: FloatArray, values: FloatArray) -> FloatArray:
        """A of an own response of each level beside each composition of mates; NaN if left out. [composition, level]"""
        task, returns, length = values.T
        advantage = self.step.advantage
        assert isinstance(advantage, ResponseAdvantage)
        result = np.zeros(table.shape)
        for level in range(len(values)):
            group = table.copy()
            group[:, level] += 1.0
            mine = advantage.of_group(returns, group, length, np.zeros(1))[:, level]
            if self.step.least_kept == 2:
                mine = np.where(group.sum(axis=1) >= 2, mine, np.nan)
            if self.step.scheme.dynamic_sampling != "none":
                others = (task != task[level]) & (group > 0)
                mine = np.where(others.any(axis=1), mine, np.nan)
            result[:, level] = mine
        return result


def _reads_length(step: Step) -> bool:
    """Whether an advantage as a function of the group's levels reads their lengths."""
    given = step.advantage
    return isinstance(given.inner if isinstance(given, PositiveOnly) else given, OPO)


def _power_difference(base: FloatArray, more: FloatArray, power: int) -> FloatArray:
    """(base + more)^power - base^power = more · Σ_i (base + more)^i base^{power-1-i}, without cancellation."""
    total = np.zeros_like(base + more)
    for i in range(power):
        total = base**i + (base + more) * total
    return more * total
