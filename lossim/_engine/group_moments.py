"""Mean and mean square of what a group of responses adds to the change of mean length.

A response brings numbers z_d, each multiplied by a function of its advantage in the group; the group brings

    X = Σ_i Σ_d F_d(A_i) z_{d,i} ,    F = (1), (1, A) or (1, A⁺, A⁻) .

Given the class responses are i.i.d. Where A is linear in the returns of the group, or has the length-weighted baseline,
X² is a sum over up to four members; else it is summed over the compositions of reward levels. See docs/derivations.md,
section 19.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, lru_cache

import numpy as np
from scipy.special import gammaln, xlogy

from lossim._engine.contributions import Moments
from lossim._engine.groups import ClassLaw
from lossim._engine.levels import Levels, levels_of
from lossim._engine.mates import compositions
from lossim._support.quotients import quotient
from lossim._support.records import Record, mapped
from lossim._support.types import BoolArray, FloatArray
from lossim.advantages import Group, ResponseAdvantage

__all__ = ["GroupMoments", "Parts", "Tilt", "group_moments"]

Functions = Callable[[FloatArray], FloatArray]
"""F_d of advantages: [...] → [d, ...]."""


class GroupMoments(Record):
    """E[X] and E[X²] of the groups of a class."""

    mean: float
    square: float


class Parts(Record):
    """What a response of a class brings, z_d: in a group that contributes, and in one that is left out.

    ``still`` is None where groups that are left out bring nothing.
    """

    moving: Moments
    still: Moments | None = None


class Tilt(Record):
    """A node of 1/D for the sum D of a group's sizes: its weights in 1/D and in 1/D², and e^{-node·size}, [end].

    One of weights and decays 1 where no group is divided by a sum of its own.
    """

    first: float
    second: float
    decay: FloatArray


def group_moments(law: ClassLaw, estimator: ResponseAdvantage | None, parts: Parts, tilts: list[Tilt],
                  functions: Functions | None) -> GroupMoments:
    """E[X] and E[X²] of a group of a class.

    ``estimator`` is None where the advantages are in the numbers already; ``functions`` [d] of the advantages are None
    where these are 1 and A itself, and A is linear or length-weighted.
    """
    if functions is not None and estimator is not None:
        return _by_composition(law, estimator, parts, tilts, functions)
    everyone = _few(law, estimator, parts.moving, tilts, by_level=False)
    if law.step.scheme.dynamic_sampling == "none":
        return everyone
    total = mapped(np.subtract, everyone, _few(law, estimator, parts.moving, tilts, by_level=True))
    if parts.still is None:
        return total
    return mapped(np.add, total, _few(law, estimator, parts.still, tilts, by_level=True))


# --- sums over few members ----------------------------------------------------------------------------------------
# With U = Σ_i (slope · R_i s_i + q_i), V = Σ_i R_i, W = Σ_i s_i over the K members that count,
# X = U - v·VW, v = 1/K for a mean of the group; V = Σ_i T_i R_i and v = 1/ΣT for a length-weighted one.


def _few(law: ClassLaw, estimator: ResponseAdvantage | None, numbers: Moments, tilts: list[Tilt], by_level: bool
         ) -> GroupMoments:
    """The moments over all groups, or over those of one level of the task reward each."""
    members = _Members(law=law, estimator=estimator, given=numbers)
    mean = square = 0.0
    size = law.mates + 1
    counts = np.arange(law.step.least_kept, size + 1)
    logs = gammaln(size + 1.0) - gammaln(counts + 1.0) - gammaln(size - counts + 1.0)
    chances = np.exp(logs + xlogy(size - counts, law.removed))
    for count, ways in zip(counts.tolist(), chances.tolist(), strict=True):
        if ways == 0.0:
            continue
        for tilt in tilts:
            first, second = members.moments(count, tilt.decay, by_level)
            mean += ways * tilt.first * first
            square += ways * tilt.second * second
    return GroupMoments(mean=mean, square=square)


class _Members(Record):
    """Members of a group of a class, with their numbers q and, if advantages are to be taken, s."""

    law: ClassLaw
    estimator: ResponseAdvantage | None
    given: Moments

    @cached_property
    def measure(self) -> FloatArray:
        """P(cell, grade, end; in the baseline)."""
        old = self.law.step.old
        cells = self.law.cells
        return old.cell_probability[cells, None, None] * old.law[cells] * self.law.step.in_baseline

    @cached_property
    def weighted(self) -> bool:
        """Whether the baseline is weighed by length."""
        return self.estimator is not None and self.estimator.traits.mates == "length-weighted"

    @cached_property
    def returns(self) -> FloatArray:
        """R, less its mean: advantages are those of returns that are shifted alike."""
        step = self.law.step
        returns = step.returns if len(step.returns) == 1 else step.returns[self.law.cells]
        weight = self.measure * step.old.length if self.weighted else self.measure
        total = weight.sum()
        return returns - (weight * returns).sum() / total if total > 0 else returns

    @cached_property
    def numbers(self) -> Moments:
        """The numbers; s less its mean where the baseline is the mean of the group, which leaves X as it is."""
        if self.estimator is None or self.weighted:
            return self.given
        total = self.measure.sum()
        shift = np.zeros((2, 1, 1, 1))
        if total > 0:
            shift[1] = -(self.measure * self.given.mean[1]).sum() / total
        return self.given.shifted(shift)

    @cached_property
    def squares(self) -> FloatArray:
        """E[product of two of the numbers | end]."""
        return self.numbers.squares()

    def value(self, word: str, slope: float) -> FloatArray | float:
        """E[product of what a member adds to the sums named in a word | end]."""
        q = self.numbers.mean[0]
        if self.estimator is None:
            return (1.0, q, self.squares[0, 0])[len(word)]
        s = self.numbers.mean[1]
        paid = slope * self.returns
        of_two = {"": 1.0, "u": paid * s + q, "w": s, "ww": self.squares[1, 1],
                  "uw": paid * self.squares[1, 1] + self.squares[0, 1],
                  "uu": paid**2 * self.squares[1, 1] + 2.0 * paid * self.squares[0, 1] + self.squares[0, 0]}
        other = self.returns * self.law.step.old.length if self.weighted else self.returns
        return of_two[word.replace("v", "")] * other ** word.count("v")

    def moments(self, count: int, decay: FloatArray, by_level: bool) -> tuple[float, float]:
        """Sums over groups with so many members that count of X and of X², each times its decays."""
        measure = self.measure * decay
        # Groups of one level have no advantages, unless a KL is paid on top.
        compared = self.estimator is not None and not (by_level and self.law.step.paid is None)
        slope = shared = 0.0
        if compared and self.estimator is not None and not self.weighted:
            own, others = self.estimator.linear_factors(np.array([count - 1.0]))
            slope = float(own[0] + others[0])
            shared = float(others[0])
        elif compared:
            slope = 1.0
        found: dict[str, FloatArray] = {}

        def plain(word: str) -> FloatArray:
            if word not in found:
                each = measure * self.value(word, slope)
                if by_level:
                    level = self.law.reward_levels[1].ravel()
                    found[word] = np.bincount(level, weights=each.sum(axis=0).ravel()).astype(np.float64)
                else:
                    found[word] = np.array([each.sum()])
            return found[word]

        mean = float(_expected("u", count, plain).sum())
        square = float(_expected("uu", count, plain).sum())
        if shared:
            mean -= shared * float(_expected("vw", count, plain).sum())
            square -= 2.0 * shared * float(_expected("uvw", count, plain).sum())
            square += shared**2 * float(_expected("vvww", count, plain).sum())
        elif slope:
            first, second = self._length_weighted(count, measure, by_level)
            mean += first
            square += second
        return mean, square

    def _length_weighted(self, count: int, measure: FloatArray, by_level: bool) -> tuple[float, float]:
        """E[-VW/ΣT] and E[-2 UVW/ΣT + V²W²/(ΣT)²], over nodes of 1/ΣT and of 1/(ΣT)²."""
        baseline = self.law.denominators.baseline
        decay = self.law.denominators.baseline_decay
        masks = [np.ones((1, 1, 1))]
        if by_level:
            level = self.law.reward_levels[1]
            masks = [level == each for each in np.unique(level)]
        first = second = 0.0
        for mask in masks:
            found: dict[str, FloatArray] = {}

            def tilted(word: str, mask: FloatArray = mask, found: dict[str, FloatArray] = found) -> FloatArray:
                if word not in found:
                    found[word] = decay @ (measure * mask * self.value(word, 1.0)).sum(axis=(0, 1))
                return found[word]

            first -= float(baseline.weights @ _expected("vw", count, tilted))
            second -= 2.0 * float(baseline.weights @ _expected("uvw", count, tilted))
            second += float((baseline.weights * baseline.nodes) @ _expected("vvww", count, tilted))
        return first, second


def _expected(word: str, count: int, moment: Callable[[str], FloatArray]) -> FloatArray:
    """Σ over all members of each sum named in a word of E[product], for ``count`` members i.i.d. by a measure.

    Some of the members are the same: over the partitions of the letters into blocks of one member each,

        Σ count!/(count - blocks)! · moment()^{count - blocks} · Π moment(block) .
    """
    total = np.zeros_like(moment(""))
    for parts in _partitions(word):
        if len(parts) > count:
            continue
        term = math.perm(count, len(parts)) * moment("") ** (count - len(parts))
        for part in parts:
            term = term * moment(part)
        total += term
    return total


@lru_cache(maxsize=8)
def _partitions(word: str) -> tuple[tuple[str, ...], ...]:
    """All partitions of the letters of a word into blocks, the letters of each sorted.

    >>> _partitions("uvw")
    (('uvw',), ('u', 'vw'), ('uv', 'w'), ('v', 'uw'), ('u', 'v', 'w'))
    """
    if len(word) == 1:
        return ((word,),)
    found: list[tuple[str, ...]] = []
    letter, rest = word[0], word[1:]
    for parts in _partitions(rest):
        for place, part in enumerate(parts):
            joined = (*parts[:place], "".join(sorted(letter + part)), *parts[place + 1:])
            found.append(joined)
        found.append((letter, *parts))
    return tuple(found)


# --- compositions of reward levels --------------------------------------------------------------------------------


def _by_composition(law: ClassLaw, estimator: ResponseAdvantage, parts: Parts, tilts: list[Tilt],
                    functions: Functions) -> GroupMoments:
    """Σ over the compositions (n_1, ..., n_K) of a whole group of P(n) times the moments given n.

    Of a level's numbers only mean z̄ and covariance matter:  E[X | n] = Σ_k n_k F_d(A_k) z̄_dk and
    Var(X | n) = Σ_k n_k F_d(A_k) F_e(A_k) Cov_k(z_d, z_e).
    """
    levels = levels_of(law, estimator)
    size = law.mates + 1
    removed = int(law.removed > 0)
    members = _Members(law=law, estimator=None, given=parts.moving)
    tilted = [_AtLevels.of(levels, members.measure * tilt.decay, law.removed, parts) for tilt in tilts]
    mean = square = 0.0
    if not len(levels):
        return GroupMoments(mean=mean, square=square)
    for table in compositions(size, len(levels) + removed, chunk=max(4_000_000 // len(levels), 1000)):
        count = table[:, :len(levels)].astype(np.float64)
        log_ways = gammaln(size + 1.0) - gammaln(table + 1.0).sum(axis=1)
        credit = functions(_advantages(estimator, levels, count))
        enough = count.sum(axis=1) >= law.step.least_kept
        moves = enough & _unequal(levels, count) if law.step.scheme.dynamic_sampling != "none" else enough
        for tilt, at in zip(tilts, tilted, strict=True):
            chance = np.exp(log_ways + at.log_mass @ table.T)
            for numbers, which in ((at.moving, moves), (at.still, enough & ~moves)):
                if numbers is None or not which.any():
                    continue
                first, second = numbers.given(count[which], credit[:, which])
                mean += tilt.first * float(chance[which] @ first)
                square += tilt.second * float(chance[which] @ second)
    return GroupMoments(mean=mean, square=square)


def _advantages(estimator: ResponseAdvantage, levels: Levels, count: FloatArray) -> FloatArray:
    """A of the members of each level in groups of these compositions; 0 where a level does not occur. [n, level]"""
    _, returns, length = levels.values.T
    group = Group(returns=returns, count=count, length=length, baseline=np.zeros(1))
    return np.where(count > 0, estimator.of_group(group), 0.0)


def _unequal(levels: Levels, count: FloatArray) -> BoolArray:
    """Whether at least two task rewards occur."""
    task = levels.values[:, 0]
    highest = np.max(np.where(count > 0, task, -np.inf), axis=1)
    lowest = np.min(np.where(count > 0, task, np.inf), axis=1)
    return highest > lowest


class _OfLevel(Record):
    """Mean z̄ [d, level] and covariance [d, e, level] of the numbers of a response of each level."""

    mean: FloatArray
    covariance: FloatArray

    def given(self, count: FloatArray, credit: FloatArray) -> tuple[FloatArray, FloatArray]:
        """E[X | n] and E[X² | n] of compositions [n, level], for F_d(A) [d, n, level]."""
        first = np.einsum("nk,dnk,dk->n", count, credit, self.mean)
        spread = np.zeros_like(first)
        for d, e in np.ndindex(*self.covariance.shape[:2]):
            spread += np.einsum("nk,nk,nk,k->n", count, credit[d], credit[e], self.covariance[d, e])
        return first, first**2 + spread


class _AtLevels(Record):
    """Logarithms of the chances of the levels (and of being out of the baseline), and what responses there bring."""

    log_mass: FloatArray
    moving: _OfLevel
    still: _OfLevel | None

    @classmethod
    def of(cls, levels: Levels, measure: FloatArray, removed: float, parts: Parts) -> _AtLevels:
        mass = levels.sums(measure)

        def numbers(given: Moments) -> _OfLevel:
            mean = quotient(levels.sums(measure * given.mean), mass)
            squares = quotient(levels.sums(measure * given.squares()), mass)
            return _OfLevel(mean=mean, covariance=squares - mean[:, None] * mean)

        with np.errstate(divide="ignore"):
            log_mass = np.maximum(np.log(np.append(mass, removed) if removed > 0 else mass), -700.0)
        return cls(log_mass=log_mass, moving=numbers(parts.moving),
                   still=None if parts.still is None else numbers(parts.still))
