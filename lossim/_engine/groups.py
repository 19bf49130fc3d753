"""One class of prompts: the law of a response by reward level, and what a group of them is expected to be.

The own response has G-1 mates, i.i.d. given the class. What is needed of one of them is ψ(a) = E[e^{-node_a · size}],
split by reward as the advantage asks; k mates in the baseline then give powers of it. How the mates enter the
advantage is averaged in :mod:`lossim._engine.mates`. See docs/derivations.md, sections 6 and 7.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import gammaln, xlogy

from lossim._engine.denominators import Denominators
from lossim._engine.step import Step
from lossim._support.records import Record
from lossim._support.types import FloatArray, IntArray

__all__ = ["FEW_LEVELS", "ClassLaw", "at_least_two_levels", "kept_counts", "kept_mates", "power_difference",
           "whole_groups"]

FEW_LEVELS = 16
"""Up to so many reward levels a matrix product for each is faster than a scatter for each node."""


class ClassLaw(Record):
    """Law and transforms of one response of a class; rows are grades, or (cell, grade) where returns differ.

    With ``by_run`` its ends are runs of those that are alike, where nothing else is to be told of them.
    """

    step: Step
    denominators: Denominators
    index: int
    by_run: bool = False

    @property
    def mates(self) -> int:
        """G - 1, the other responses of the group."""
        return self.step.scheme.group_size - 1

    @property
    def cells(self) -> slice:
        """The cells of the class."""
        return self.step.old.class_cells[self.index]

    def at_ends(self, x: Any) -> Any:
        """What is alike within runs [..., end], at the ends that are told apart here."""
        return x[..., self.step.runs] if self.by_run else x

    @cached_property
    def decay(self) -> FloatArray:
        """e^{-node · size} of the aggregation's denominator, [a, end]."""
        return self.at_ends(self.denominators.decay)

    # --- one response -------------------------------------------------------------------------------------------

    @cached_property
    def law(self) -> FloatArray:
        """P(row, end) given the class."""
        law = (self.step.law_by_run if self.by_run else self.step.old.law)[self.cells]
        share = self.step.old.cell_probability[self.cells]
        if len(self.step.returns) == 1:
            return np.einsum("c,cge->ge", share, law)
        return (share[:, None, None] * law).reshape(-1, law.shape[-1])

    @cached_property
    def returns(self) -> FloatArray:
        """R, [row, end]."""
        returns = self.at_ends(self.step.returns)
        mine = returns if len(returns) == 1 else returns[self.cells]
        return mine.reshape(-1, returns.shape[-1])

    @cached_property
    def task(self) -> FloatArray:
        """Task reward, [row, end]."""
        task = self.at_ends(self.step.task[self.cells.start if len(self.step.task) > 1 else 0])
        return np.tile(task, (len(self.returns) // len(task), 1))

    @cached_property
    def counted(self) -> FloatArray:
        """P(row, end) of responses in the baseline."""
        inside = self.at_ends(self.step.in_baseline)
        return self.law if inside.all() else self.law * inside

    @cached_property
    def removed(self) -> float:
        """P(a response is out of the baseline, and its group is not replaced for it)."""
        return float(self.law[:, self.at_ends(self.step.admitted & ~self.step.in_baseline)].sum())

    @cached_property
    def admitted_groups(self) -> float:
        """P(no response of a group has it replaced)."""
        inside = self.at_ends(self.step.admitted)
        return 1.0 if inside.all() else float(self.law[:, inside].sum()) ** (self.mates + 1)

    @cached_property
    def transform(self) -> FloatArray:
        """ψ(a) = E[e^{-node·size}; in the baseline]."""
        return self.decay @ self.counted.sum(axis=0)

    # --- levels of the task reward, which tell groups whose rewards are all equal ---------------------------------

    @property
    def level_values(self) -> FloatArray:
        """The different task rewards, increasing."""
        return self.reward_levels[0]

    @property
    def reward_levels(self) -> tuple[FloatArray, IntArray]:
        """The same, and which of them each [grade, end] gets."""
        by_class = self.step.levels_by_class
        return by_class[self.index if len(by_class) > 1 else 0]

    @cached_property
    def level(self) -> IntArray:
        """Which of them each [row, end] gets."""
        level = self.at_ends(self.reward_levels[1])
        return np.tile(level, (len(self.returns) // len(level), 1))

    @cached_property
    def level_mass(self) -> FloatArray:
        """P(level of the task reward; in the baseline)."""
        mass = np.bincount(self.level.ravel(), weights=self.counted.ravel(), minlength=len(self.level_values))
        return mass.astype(np.float64)

    def by_level(self, values: FloatArray) -> FloatArray:
        """Σ over the ends of a task level of ``values`` · e^{-node·size}, [a, level]."""
        return self.sums_by(values, self.level, len(self.level_values))

    def sums_by(self, values: FloatArray, level: IntArray, count: int) -> FloatArray:
        """Σ over the ends of a level of ``values`` · e^{-node·size}, [a, level]; ``level`` [row, end] is any."""
        decay = self.decay
        if count <= FEW_LEVELS:
            columns = [decay @ np.where(level == i, values, 0.0).sum(axis=0) for i in range(count)]
            return np.stack(columns, axis=1)
        flat = level.ravel()
        return np.array([np.bincount(flat, weights=(values * row).ravel(), minlength=count) for row in decay])

    def at_level(self, x: FloatArray, level: IntArray) -> FloatArray:
        """Σ_a e^{-node·own size} x[a, level of the own end], [row, end]."""
        decay = self.decay
        total = np.zeros(level.shape)
        if x.shape[1] <= FEW_LEVELS:
            for i, column in enumerate(x.T):
                total += np.where(level == i, column @ decay, 0.0)
        else:
            for row, own in zip(x, decay, strict=True):
                total += row[level] * own
        return total

    # --- the mates ----------------------------------------------------------------------------------------------

    @property
    def filters_unlike_returns(self) -> bool:
        """Whether groups are left out for equal task rewards although their returns, with the KL, may differ."""
        return self.step.scheme.dynamic_sampling != "none" and self.step.paid is not None

    @cached_property
    def kept_counts(self) -> tuple[FloatArray, FloatArray]:
        """k, the mates in the baseline, and the log of the number of ways times P(the others are removed), each [k]."""
        return kept_counts(self.mates, np.array(self.removed), self.step.least_kept)

    # --- groups -------------------------------------------------------------------------------------------------
    # ``factor`` [a] is the weight of each node times what the other groups of the step are expected to be.

    def presence(self, factor: FloatArray) -> FloatArray:
        """E[own group contributes], by row and end: the weight of a token without advantage."""
        if self.step.scheme.dynamic_sampling == "none":
            return np.broadcast_to((factor * self._kept) @ self.decay, self.returns.shape)
        return self.at_level(factor[:, None] * self._unequal, self.level)

    @cached_property
    def _kept(self) -> FloatArray:
        """E[e^{-node·sizes of the mates}; enough of them in the baseline], [a]."""
        return kept_mates(self.transform, np.array(self.removed), self.mates, self.step.least_kept)

    @cached_property
    def _unequal(self) -> FloatArray:
        """The same where a mate in the baseline has another task reward than the own, [a, own level]."""
        mine = self.by_level(self.counted)
        levels = mine.shape[1]
        others = mine @ (1.0 - np.eye(levels)) if levels <= FEW_LEVELS else self.transform[:, None] - mine
        return power_difference(mine + self.removed, others, self.mates)

    @cached_property
    def unequal_groups(self) -> float:
        """P(a group is not late, and has at least two different task rewards among those that count)."""
        return float(at_least_two_levels(self.level_mass, np.array(self.removed), self.mates + 1))

    @cached_property
    def group_transform(self) -> FloatArray:
        """E[e^{-node·sizes of a whole group}], [a]; where equal groups are resampled, of the others alone."""
        gone = np.array(self.removed)
        if self.step.scheme.dynamic_sampling == "resample":
            return at_least_two_levels(self.by_level(self.counted), gone, self.mates + 1)
        return whole_groups(self.transform, gone, self.counted.sum(), self.mates + 1, self.step.least_kept)


def kept_counts(mates: int, removed: FloatArray, least_kept: int) -> tuple[FloatArray, FloatArray]:
    """k, the mates in the baseline, [k], and the log of ways times P(the others are removed), [..., k]."""
    k = np.arange(mates + 1.0)
    ways = gammaln(mates + 1.0) - gammaln(k + 1.0) - gammaln(mates - k + 1.0)
    weight = ways + xlogy(mates - k, removed[..., None])
    keep = np.isfinite(weight).reshape(-1, len(k)).any(axis=0) & (k >= least_kept - 1)
    return k[keep], weight[..., keep]


def kept_mates(psi: FloatArray, gone: FloatArray, mates: int, least_kept: int) -> FloatArray:
    """E[e^{-node·sizes of the mates}; enough of them in the baseline], from ψ of one response and P(it is removed)."""
    alone = gone**mates if least_kept == 2 else 0.0
    return (psi + gone) ** mates - alone


def whole_groups(psi: FloatArray, gone: FloatArray, counted: FloatArray, size: int, least_kept: int) -> FloatArray:
    """E[e^{-node·sizes of a whole group}]; ``counted`` is P(in the baseline)."""
    whole = (psi + gone) ** size
    if least_kept < 2:
        return whole
    lone = size * gone ** (size - 1)  # a lone survivor leaves the loss, and its size with it
    return whole - lone * psi + lone * counted


def at_least_two_levels(parts: FloatArray, gone: FloatArray, size: int) -> FloatArray:
    """E[product over a whole group; two levels or more occur] from E[· ; level] of one response, [..., level] → [...].

    ``gone`` [...] is P(out of the baseline). Summed over the highest level that occurs, so that nothing cancels where
    it is rare; with many levels as all groups less those of one level.
    """
    if parts.shape[-1] > FEW_LEVELS:
        equal = ((parts + gone[..., None]) ** size - gone[..., None] ** size).sum(axis=-1) + gone**size
        return np.maximum((parts.sum(axis=-1) + gone) ** size - equal, 0.0)
    rest = np.zeros(parts.shape[:-1]) + gone
    total = np.zeros_like(rest)
    lower = parts[..., 0]
    for level in range(1, parts.shape[-1]):
        own = parts[..., level]
        total += _both_occur(rest, own, lower, size)
        lower = lower + own
    return total


def power_difference(base: FloatArray, more: FloatArray, power: int) -> FloatArray:
    """(base + more)^power - base^power = more · Σ_i (base + more)^i base^{power-1-i}, without cancellation."""
    total = np.zeros_like(base + more)
    for i in range(power):
        total = base**i + (base + more) * total
    return more * total


def _both_occur(rest: FloatArray, one: FloatArray, other: FloatArray, size: int) -> FloatArray:
    """The part of (rest + one + other)^size with both ``one`` and ``other`` in every product.

    That is E_n = (g+a+b)^n - (g+b)^n - (g+a)^n + g^n, by a recurrence in which nothing cancels: with W_n = (g+a+b)^n,
    A_n = W_n - (g+b)^n (with a) and B_n = W_n - (g+a)^n (with b),

        E_{n+1} = g E_n + a B_n + b A_n ,    A_{n+1} = (g+b) A_n + a W_n ,    B_{n+1} = (g+a) B_n + b W_n .
    """
    whole = np.ones_like(rest)
    with_one = np.zeros_like(rest)
    with_other = np.zeros_like(rest)
    both = np.zeros_like(rest)
    for _ in range(size):
        both = rest * both + one * with_other + other * with_one
        with_one = (rest + other) * with_one + one * whole
        with_other = (rest + one) * with_other + other * whole
        whole = (rest + one + other) * whole
    return both
