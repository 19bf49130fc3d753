"""The expected group-standardised advantage for any law of rewards, by quadrature.

A = (R - mean) / (std + ε) beside n - 1 = k mates, with Q = Σ(r_i - mean)² and std = √(Q/(n - ddof)). The reciprocal
becomes a sum of exponentials of Q, as a denominator does (:mod:`lossim._engine.denominators`), and each exponential of
Q an integral in which the members of the group are independent:

    1/(√q + ε) = ∫₀^∞ κ(u) e^{-uq} du ,    κ(u) = 1/√(πu) - ε·erfcx(ε√u) ,
    e^{-vQ} = √(vn/π) ∫ dm Π_i e^{-v(r_i - m)²} .

See docs/derivations.md, section 6.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from scipy.special import erfcx, ive

from lossim._engine.gaussian_sums import RATIO, REACH, Windows, all_scales, grid_step, half_width, parts_of
from lossim._engine.groups import ClassLaw
from lossim._support.records import Record
from lossim._support.types import BoolArray, FloatArray, IntArray, NoClosedForm
from lossim.advantages import Traits

__all__ = ["Standardized", "credit_error", "reciprocal_weights", "standardized_credit"]

LEAST_SCALE = 1e-5
"""Scales end where v times the largest Q is below this; what is left of them is linear in Q."""
FAINT = 1e-13
"""What a scale can add to an advantage is left out below this."""
NEIGHBOURS = 8.0
"""Rewards farther apart than so many 1/√v have e^{-vQ} < e^{-32}."""
ALIKE = 4e-16
"""Rewards are taken for equal that follow one another within this share of the largest: their rounding."""
NEGLIGIBLE = 1e-14
"""Nodes of the denominator, and terms of an interpolation between them, of so small a share are left out."""
MOST_TASK_LEVELS = 16
"""Task rewards by which groups are told to be equal, where their returns differ."""
TINY = 1e-300
"""Masses are held above this before a logarithm."""
TRAPEZOID = 1.5e-11
"""Relative error of the integral over m: see `FINENESS`."""
MOST_POINTS = 1 << 16
"""Centres on the finest full grid, at most, unless there are many rewards."""
DENSE = 16
"""Then it has up to so many for each of them."""
MOST_AT_ONCE = 1 << 21
"""And no more centres × columns than this."""

MOST_REWARDS = 1 << 24
"""Rewards × nodes of the denominator beyond which a quadrature takes minutes, and is refused."""


def standardized_credit(law: ClassLaw, traits: Traits, factor: FloatArray) -> FloatArray:
    """E[A · own group contributes], by row and end.

    Groups of equal returns have A = 0, so it makes no difference whether they are left out. With a KL in the reward the
    returns of a group may differ where its task rewards are equal: these are then taken off, task level by task level.

    Raises:
        NoClosedForm: that takes too many task levels, or there are too many rewards.
    """
    expected = _credit(law, traits, factor, law.counted)
    if law.filters_unlike_returns:
        levels = len(law.level_values)
        if levels > MOST_TASK_LEVELS:
            raise NoClosedForm("dynamic_sampling", f"a std with a KL in the reward, where groups of equal rewards are "
                               f"left out and there are {levels} rewards that can be equal")
        for level in range(levels):
            inside = law.level == level
            expected -= inside * _credit(law, traits, factor, law.counted * inside)
    return expected


def credit_error(law: ClassLaw, traits: Traits) -> float:
    """A bound on the error of an advantage in :func:`standardized_credit`, for groups of any kind."""
    return _standardized(law, traits, law.counted, np.zeros(1))[0].error


def _credit(law: ClassLaw, traits: Traits, factor: FloatArray, counted: FloatArray) -> FloatArray:
    """E[A · e^{-node·sizes}] with mates of that law, by row and end."""
    nodes = law.denominators.aggregation.nodes
    used = factor > NEGLIGIBLE * factor.sum()
    if not counted.any() or not used.any():
        return np.zeros(law.returns.shape)
    few, between = _few_nodes(nodes[used], law.mates * float(law.denominators.size.max(initial=0.0)))
    rewards, own = _standardized(law, traits, counted, few)
    if len(rewards.levels) * len(few) > MOST_REWARDS:
        raise NoClosedForm("advantage", f"a std over {len(rewards.levels):,} different rewards, at {len(few)} nodes of "
                           f"the aggregation's denominator; {MOST_REWARDS:,} of them are summed at most")
    weights = (factor[used, None] * between).T @ law.decay[used]
    total = np.zeros(law.returns.shape)
    for credit, weight in zip(rewards.credit, weights, strict=True):
        total += credit[own] * weight
    return total


def _few_nodes(nodes: FloatArray, largest: float) -> tuple[FloatArray, FloatArray]:
    """Nodes that are fewer, and the matrix by which functions of them follow at the given ones.

    E[A e^{-yS}] as a function of y in [0, y_max], for S of at most ``largest``, is interpolated at Chebyshev's points:
    with c = y_max·S/2 the coefficients of e^{-yS} are 2 e^{-c} I_d(c), which fall off like (c/2)^d/d!.
    """
    highest = float(nodes.max())
    degree = 2
    while ive(degree, highest * largest / 2.0) > NEGLIGIBLE and degree < len(nodes):
        degree += 1
    if degree + 1 >= len(nodes):
        return nodes, np.eye(len(nodes))
    angles = np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1)
    basis = np.cos(np.multiply.outer(np.arange(degree + 1), angles))
    coefficients = 2.0 / (degree + 1) * basis
    coefficients[0] /= 2.0
    places = np.arccos(np.clip(2.0 * nodes / highest - 1.0, -1.0, 1.0))
    at_nodes = np.cos(np.multiply.outer(places, np.arange(degree + 1)))
    return highest * (1.0 + np.cos(angles)) / 2.0, at_nodes @ coefficients


def _standardized(law: ClassLaw, traits: Traits, counted: FloatArray, nodes: FloatArray
                  ) -> tuple[Standardized, IntArray]:
    """The rewards of a mate of that law, with a column for each node, and which of them each [row, end] has."""
    occurs = counted > 0
    values = np.unique(law.returns[occurs])
    tolerance = ALIKE * float(np.abs(values).max())
    number = np.append(0, np.cumsum(np.diff(values) > tolerance))
    first = np.searchsorted(number, np.arange(number[-1] + 1))
    own = number[np.minimum(np.searchsorted(values, law.returns), len(values) - 1)]
    own = np.where(occurs, own, 0)
    flat = own.ravel()

    def by_level(mass: FloatArray) -> FloatArray:
        return np.bincount(flat, weights=mass.ravel(), minlength=len(first)).astype(np.float64)

    decay = np.exp(-np.multiply.outer(nodes, law.at_ends(law.denominators.size)))
    kept, ways = law.kept_counts
    several = kept > 0
    rewards = Standardized(
        levels=values[first] - values[0], merged=float((values - values[first][number]).max()),
        chance=by_level(counted), mass=np.array([by_level(counted * row) for row in decay]), kept=kept[several],
        ways=ways[several], ddof=traits.ddof, eps=traits.eps)
    return rewards, own


def reciprocal_weights(u: FloatArray, eps: float) -> FloatArray:
    """u·κ(u) ln √2, the weights of 1/(√q + ε) ≈ Σ w e^{-uq} where u grows by factors of √2."""
    z = eps * np.sqrt(u)
    rest = 1.0 - np.sqrt(np.pi) * z * erfcx(z)  # of 1/√(πu); far out by its series, since the terms cancel
    far = z > 30.0
    w = 1.0 / (2.0 * np.where(far, z, 30.0) ** 2)
    series = w * (1.0 - w * (3.0 - w * (15.0 - w * (105.0 - w * 945.0))))
    return -np.log(RATIO) * np.sqrt(u / np.pi) * np.where(far, series, rest)


class Standardized(Record):
    """Rewards of a mate, and how groups of them are standardised.

    ``levels`` are the different rewards, increasing from 0, of which each stands for others up to ``merged`` above it,
    and ``chance`` is P(mate has it and counts). ``mass`` [column, level] is the same times e^{-node·size}.
    ``kept`` are numbers of mates that count, each at least 1, and ``ways`` the logs of how many ways there are to
    choose them, times P(the others are removed).
    """

    levels: FloatArray
    merged: float
    chance: FloatArray
    mass: FloatArray
    kept: FloatArray
    ways: FloatArray
    ddof: int
    eps: float

    # --- the reciprocal as a sum of exponentials ------------------------------------------------------------------

    @cached_property
    def members(self) -> int:
        """The largest number of members of a group that count."""
        return int(self.kept.max()) + 1

    @cached_property
    def largest_square(self) -> float:
        """A bound on Q."""
        return self.members * float(self.levels[-1]) ** 2 / 4.0

    def weights(self, scale: FloatArray | float) -> FloatArray:
        """Weights of e^{-vQ} in 1/(std + ε), [k, ...]."""
        u = np.multiply.outer(self.kept + 1.0 - self.ddof, scale)
        return reciprocal_weights(u, self.eps)

    def ends(self, least: float) -> tuple[FloatArray, FloatArray]:
        """All weights below the least scale as two, at v = 0 and at the least, with their sum and first moment."""
        below = least * RATIO ** np.arange(1.0, 401.0)
        weights = self.weights(below)
        moved = weights @ below / least
        return weights.sum(axis=-1) - moved, moved

    # --- the expectation ------------------------------------------------------------------------------------------

    @cached_property
    def credit(self) -> FloatArray:
        """E[A · e^{-node·sizes of the mates} | R], [column, level]."""
        if len(self.levels) == 1 or not len(self.kept):
            return np.zeros(self.mass.shape)
        top = self._top
        count = max(int(np.ceil(np.log(top * self.largest_square / LEAST_SCALE) / -np.log(RATIO))), 0) + 1
        least = top * RATIO ** (count - 1)
        at_zero, at_least = self.ends(least)

        def weigh(scale: float, step: float, zeroth: FloatArray, first: FloatArray) -> tuple[FloatArray, FloatArray]:
            weights = self.weights(scale)
            return self._weighed(weights + at_least if scale < least * 1.1 else weights, scale, step, zeroth, first)

        total = all_scales(self.levels, self.mass, top, count, self.members, weigh)
        scale = top / RATIO
        while (near := self._near(scale)).any():
            total[:, near] += self._one_scale(scale, near)
            scale /= RATIO
        return total + self._linear(at_zero)

    def _linear(self, weights: FloatArray) -> FloatArray:
        """Σ_k ways · weight · E[R - mean], what e^{-vQ} leaves at v = 0."""
        mass = self.mass.sum(axis=1)[:, None]
        paid = (self.mass @ self.levels)[:, None]
        powers = self._powers(self.ways + np.log(weights * self.kept / (self.kept + 1.0)), mass)
        return powers * (self.levels * mass - paid)

    def _weighed(self, weights: FloatArray, scale: float, step: float, zeroth: FloatArray, first: FloatArray
                 ) -> tuple[FloatArray, FloatArray]:
        """F and H, by which Σ_m e^{-v(R-m)²} ((R-m) F + H) is what a scale adds to the expected advantage.

        With n = k+1 members, Σ_k ways · weight · √(vn/π) · step · k/n · E₀^{k-1} times E₀ for F and -E₁ for H.
        """
        members = self.kept + 1.0
        factor = weights * np.sqrt(scale * members / np.pi) * step * self.kept / members
        powers = self._powers(self.ways + np.log(factor), zeroth)
        return powers * zeroth, -powers * first

    def _powers(self, log_factor: FloatArray, x: FloatArray) -> FloatArray:
        """Σ_k factor · x^{k-1}."""
        log_x = np.log(np.maximum(x, TINY))
        total = np.zeros_like(x)
        for factor, power in zip(log_factor, self.kept - 1.0, strict=True):
            total += np.exp(factor + power * log_x)
        return total

    # --- scales at which only some rewards have others near them ----------------------------------------------------

    def _one_scale(self, scale: float, near: BoolArray) -> FloatArray:
        """What one scale adds to the rewards that have others near them, [column, level]."""
        step = grid_step(scale, self.members)
        half = half_width(scale, step)
        levels = self.levels[near]
        mass = self.mass[:, near]
        weights = self.weights(scale)
        total = np.empty_like(mass)
        for part in parts_of(len(levels), half):
            reach = 2.0 * (half + 1.0) * step  # of rewards that share a centre with one of these
            low = int(np.searchsorted(levels, levels[part.start] - reach))
            high = int(np.searchsorted(levels, levels[part.stop - 1] + reach, side="right"))
            windows = Windows.around(levels[low:high], scale, step)
            zeroth, first = windows.spread(mass[:, low:high])
            added = windows.gathered(*self._weighed(weights, scale, step, zeroth, first))
            total[:, part] = added[:, part.start - low:part.stop - low]
        return total

    def _near(self, scale: float) -> BoolArray:
        """Rewards for which the scale matters, and all others near them; the rest form groups of equal rewards."""
        reach = NEIGHBOURS / np.sqrt(scale)
        low = np.searchsorted(self.levels, self.levels - reach)
        high = np.searchsorted(self.levels, self.levels + reach, side="right")
        so_far = np.append(0.0, np.cumsum(self.chance))
        around = so_far[high] - so_far[low]
        # |R - mean| e^{-vQ} <= √Q e^{-vQ} <= 1/√(2ev), in a group of which all are near.
        bound = self._powers(self.ways + np.log(self.weights(scale)), around) * around / np.sqrt(2.0 * math.e * scale)
        matters = (high - low > 1) & (bound > FAINT)
        count = np.append(0, np.cumsum(matters))
        return count[high] > count[low]

    @cached_property
    def _top(self) -> float:
        """The scale above which it is cheaper to look at the rewards that matter one by one."""
        span = float(self.levels[-1])
        columns = len(self.mass)
        most = max(MOST_POINTS, min(DENSE * len(self.levels), MOST_AT_ONCE // len(self.mass)))
        scale = ((most * grid_step(1.0, self.members) - 2.0 * REACH) / span) ** 2
        while scale * self.largest_square > LEAST_SCALE:
            points = span / grid_step(scale, self.members) + 100.0
            near = int(self._near(scale).sum())
            width = 2.0 * REACH / np.sqrt(scale) / grid_step(scale, self.members)
            if near * width * (5.0 + columns) > points * (10.0 * columns):
                return scale
            scale *= RATIO
        return scale

    # --- its error --------------------------------------------------------------------------------------------------

    @cached_property
    def error(self) -> float:
        """A bound on the error of an advantage, which holds for every group and so for every law."""
        gaps = np.diff(self.levels)
        if not len(gaps) or not len(self.kept):
            return 0.0
        least_square = max(float(gaps.min()) ** 2 / 2.0, (self.eps * 1e-13) ** 2)
        squares = np.geomspace(least_square, max(self.largest_square, least_square), 500)
        least = LEAST_SCALE / self.largest_square
        count = int(np.log(40.0 / least_square / least) / -np.log(RATIO)) + 2
        scales = least * RATIO ** -np.arange(0.0, count)
        at_zero, at_least = self.ends(least)
        members = self.kept[-1:] + 1.0
        weights = self.weights(scales)[-1]
        weights[0] += at_least[-1]
        found = np.exp(-np.multiply.outer(squares, scales)) @ weights + at_zero[-1]
        std = np.sqrt(squares / (members - self.ddof))
        off = np.sqrt(squares) * np.abs(found - 1.0 / (std + self.eps))
        merged = self.merged / self.eps if self.eps > 0 else 0.0
        return float(off.max()) + TRAPEZOID * float(np.sqrt(members[0])) + FAINT * count + merged
