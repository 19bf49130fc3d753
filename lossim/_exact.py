"""Expected measures of a scheme, without sampling: conditional on a response's own end, sum over everyone else.

The own response is in a group of class j with G-1 mates, i.i.d. given the class, and P-1 other groups. Where the
scheme divides by a random sum D, 1/D = Σ_a weight_a e^{-node_a D} (see :mod:`lossim._ratios`) makes everyone a
factor, so that what is needed of one response is ψ(a) = E[e^{-node_a · size}], split by reward as the advantage asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import gammaln, xlogy

from lossim._gradients import Measures, Step, advantage_sums
from lossim._numerics import composition_count, compositions
from lossim._ratios import ONE, Reciprocal, reciprocal
from lossim._types import FloatArray, IntArray, NoClosedForm
from lossim.advantages import GAE, OPO, GroupMean, GroupStandardized, LeaveOneOut, PositiveOnly, Whitened
from lossim.aggregation import Aggregation, TokenSum
from lossim.estimates import Method

__all__ = ["Expected", "expected_measures"]

MOST_TERMS = 500_000_000
"""Largest number of compositions × nodes × levels that ``exact`` sums over before it says NoClosedForm."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Expected measures with the method and the relative error of the ratios behind them."""

    measures: Measures
    method: Method
    error: float


def expected_measures(step: Step) -> Expected:
    """The measures of one expected step.

    Raises:
        NoClosedForm: the advantage's expectation has no closed form; the message names it.
        ValueError: ``dynamic_sampling="resample"`` where every group has equal rewards.
    """
    scheme, advantage = step.scheme, step.scheme.advantage
    if scheme.reward.group_relative:
        raise NoClosedForm("reward", "its shaping compares the lengths of a group")
    mates = _Mates(step=step, rule=scheme.aggregation)
    uses_plain = (isinstance(step.advantage, GAE) or isinstance(advantage, Whitened)
                  or scheme.kl_in_loss is not None or scheme.entropy is not None)
    plain = mates.weighted(mates.presence) if uses_plain else None
    response = gae = None
    method: Method = "sum" if mates.denominator is ONE else "quadrature"
    if isinstance(step.advantage, GAE):
        gae = plain
    else:
        response = mates.weighted(mates.credit)
    if isinstance(advantage, Whitened):
        mean, scale = _whitening(step, advantage)
        assert plain is not None
        response, gae, method = (response if response is not None else 0.0) - mean * plain, gae, "large-batch limit"
        response, gae = response * scale, None if gae is None else gae * scale
    elif isinstance(step.advantage, GroupStandardized) and step.advantage.scope == "batch":
        assert response is not None
        response, method = response / (_batch_std(step) + step.advantage.eps), "large-batch limit"
    wanted = plain if scheme.kl_in_loss is not None or scheme.entropy is not None else None
    return Expected(measures=Measures(response=response, gae=gae, plain=wanted), method=method,
                    error=mates.denominator.error + mates.baseline_denominator.error)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Mates:
    """The others of a step, averaged out: factors by node a (aggregation) and b (OPO's baseline)."""

    step: Step
    rule: Aggregation

    # --- denominators -----------------------------------------------------------------------------------------

    @cached_property
    def reachable(self) -> FloatArray:
        """P(end), over all cells."""
        mass: FloatArray = self.step.policy.cell_weight @ self.step.policy.ends
        return mass

    def _reciprocal(self, size: FloatArray, members: int, inside: FloatArray, all_count: bool) -> Reciprocal:
        counted = size[(self.reachable > 0) & (inside > 0)]
        if not len(counted):
            return ONE
        low = counted.min() * (members if all_count else 1)
        return reciprocal(float(low), float(counted.max() * members))

    @cached_property
    def size(self) -> FloatArray:
        """What each end adds to the aggregation's denominator, [end]; 0 out of the loss, and 0 if there is none."""
        size = self.rule.size(self.step.policy.length)
        return self.step.in_loss * (0.0 if size is None else size)

    @cached_property
    def denominator(self) -> Reciprocal:
        """1/D of the aggregation."""
        if self.rule.size(self.step.policy.length) is None:
            return ONE
        scheme = self.step.scheme
        members = scheme.group_size if self.rule.within_group else scheme.responses_per_step
        return self._reciprocal(self.size, members, self.step.in_loss, bool(self.step.in_loss.all()))

    @property
    def divides_by_length(self) -> bool:
        """Whether the baseline divides by tokens of the group: OPO."""
        return isinstance(self.step.advantage, OPO)

    @cached_property
    def baseline_denominator(self) -> Reciprocal:
        """1/ΣT of OPO's baseline."""
        if not self.divides_by_length:
            return ONE
        inside = self.step.in_baseline
        return self._reciprocal(self.step.policy.length, self.step.scheme.group_size, inside, bool(inside.all()))

    @cached_property
    def decay(self) -> FloatArray:
        """e^{-node · size}, [a, end]."""
        return np.exp(-np.multiply.outer(self.denominator.nodes, self.size))

    @cached_property
    def baseline_decay(self) -> FloatArray:
        """e^{-node · T} of those in the baseline, [b, end]."""
        size = self.step.policy.length * self.step.in_baseline
        return np.exp(-np.multiply.outer(self.baseline_denominator.nodes, size))

    # --- one class --------------------------------------------------------------------------------------------

    @cached_property
    def classes(self) -> list[_ClassLaw]:
        """The law of a response by class."""
        return [_ClassLaw(mates=self, index=j) for j in range(len(self.step.policy.classes))]

    @cached_property
    def kept_share(self) -> float:
        """P(a group has unequal rewards) where others are resampled, else 1."""
        if self.step.scheme.dynamic_sampling != "resample":
            return 1.0
        weights = self.step.policy.class_weight
        share = float(sum(w * (1.0 - law.equal_groups) for w, law in zip(weights, self.classes, strict=True)))
        if share <= 1e-12:
            raise ValueError("dynamic_sampling='resample' never fills a batch: the chance that a group has unequal "
                             f"rewards is {share:.2g}; use dynamic_sampling='none' or 'drop', or other prompts")
        return share

    @cached_property
    def others(self) -> FloatArray:
        """E[e^{-node · their sizes}] of the other groups of the step, [a]."""
        scheme, weights = self.step.scheme, self.step.policy.class_weight
        if self.rule.within_group or self.denominator is ONE or scheme.prompts_per_step == 1:
            return np.ones_like(self.denominator.nodes)
        one = sum(w * law.group_transform for w, law in zip(weights, self.classes, strict=True)) / self.kept_share
        power: FloatArray = np.asarray(one) ** (scheme.prompts_per_step - 1)
        return power

    def weighted(self, factor: Callable[[_ClassLaw], FloatArray]) -> FloatArray:
        """Probability × n·weight × Σ_a (1/D's weight) e^{-node·own size} · others · factor, [cell, grade, end].

        ``factor`` gives, for a class, what is expected of the mates: [a, row, end] broadcastable, where rows are the
        grades, or (cell, grade) where returns differ between the cells of a class.
        """
        policy, scheme = self.step.policy, self.step.scheme
        own = (self.step.in_loss * self.rule.prefactor(policy.length, policy.max_tokens)
               * self.rule.scale(scheme.group_size, scheme.prompts_per_step) / self.kept_share)
        measure = policy.law * policy.cell_weight[:, None, None] * own
        for j, law in enumerate(self.classes):
            mine = policy.class_of_cell == j
            if policy.class_weight[j] > 0:
                expected = factor(law)
                measure[mine] *= expected.reshape(-1, 2, expected.shape[-1])
        return measure

    def presence(self, law: _ClassLaw) -> FloatArray:
        """E[own group contributes], by row and end: the weight of a token without advantage."""
        total = law.kept_by_all
        values = self.combine(total)[None]
        if self.step.scheme.dynamic_sampling != "none":
            values = values - law.at_own_level(law.equal_mates)
        return np.broadcast_to(values, law.returns.shape)

    def credit(self, law: _ClassLaw) -> FloatArray:
        """E[advantage · own group contributes], by row and end."""
        advantage = self.step.advantage
        if not advantage.group_relative:
            fixed = np.array(self.step.baseline[law.index])
            own = advantage.of_group(law.returns, np.ones_like(law.returns), law.returns, fixed)  # type: ignore[union-attr]
            return own * self.presence(law)
        if law.is_linear:
            return law.linear_credit()
        return law.composition_credit(power=1)

    def combine(self, x: FloatArray) -> FloatArray:
        """Σ_a weight_a · others_a · e^{-node_a·size} x_a, [end]; or with x [a, end, ...] given by end."""
        return (self.denominator.weights * self.others * x) @ self.decay


@dataclass(frozen=True, kw_only=True, eq=False)
class _ClassLaw:
    """Law and transforms of one response of a class; rows are grades, or (cell, grade) where returns differ."""

    mates: _Mates
    index: int

    @property
    def step(self) -> Step:
        return self.mates.step

    @property
    def number(self) -> int:
        """G - 1."""
        return self.step.scheme.group_size - 1

    @cached_property
    def law(self) -> FloatArray:
        """P(row, end) given the class."""
        policy = self.step.policy
        mine = policy.class_of_cell == self.index
        law = policy.law[mine] * policy.probability[mine, None, None]
        return law.sum(axis=0) if len(self.step.returns) == 1 else law.reshape(-1, law.shape[-1])

    @cached_property
    def returns(self) -> FloatArray:
        """R, [row, end]."""
        returns = self.step.returns
        mine = returns if len(returns) == 1 else returns[self.step.policy.class_of_cell == self.index]
        return mine.reshape(-1, returns.shape[-1])

    @cached_property
    def task(self) -> FloatArray:
        """Task reward, [row, end]."""
        return np.tile(self.step.task[0], (len(self.returns) // 2, 1))

    @cached_property
    def counted(self) -> FloatArray:
        """P(row, end) of responses in the baseline."""
        return self.law * self.step.in_baseline

    @cached_property
    def removed(self) -> float:
        """P(a response is out of the baseline)."""
        return float((self.law * ~self.step.in_baseline).sum())

    # --- levels of the task reward, for equal groups ------------------------------------------------------------

    @cached_property
    def _levels(self) -> tuple[FloatArray, IntArray]:
        values, level = self.step.reward_levels
        return values, np.tile(level, (len(self.returns) // 2, 1))

    def by_level(self, values: FloatArray) -> FloatArray:
        """Σ over the ends of a task level of ``values`` · e^{-node·size}, [a, level]."""
        count = len(self._levels[0])
        return np.array([np.bincount(self._levels[1].ravel(), weights=(values * decay).ravel(), minlength=count)
                         for decay in self.mates.decay])

    def at_own_level(self, x: FloatArray) -> FloatArray:
        """Σ_a weight · others · e^{-node·own size} x[a, level of the own end], [row, end]."""
        mates, level = self.mates, self._levels[1]
        factor = (mates.denominator.weights * mates.others)[:, None] * x
        total = np.zeros(level.shape)
        for row, decay in zip(factor, mates.decay, strict=True):
            total += row[level] * decay
        return total

    @cached_property
    def transform(self) -> FloatArray:
        """ψ(a) = E[e^{-node·size}; in the baseline]."""
        psi: FloatArray = self.mates.decay @ self.counted.sum(axis=0)
        return psi

    @cached_property
    def kept_by_all(self) -> FloatArray:
        """E[e^{-node·sizes of the mates}; enough of them in the baseline], [a]."""
        alone = self.removed**self.number if self.step.least_kept == 2 else 0.0
        return (self.transform + self.removed) ** self.number - alone

    @cached_property
    def equal_mates(self) -> FloatArray:
        """The same where no mate in the baseline has another task reward, [a, level]."""
        alone = self.removed**self.number if self.step.least_kept == 2 else 0.0
        return (self.by_level(self.counted) + self.removed) ** self.number - alone

    @cached_property
    def equal_groups(self) -> float:
        """P(a group's task rewards are all equal, or fewer than two count)."""
        size, gone = self.number + 1, self.removed
        mass = np.bincount(self._levels[1].ravel(), weights=self.counted.ravel())
        return float(np.sum((mass + gone) ** size - gone**size) + gone**size)

    @cached_property
    def group_transform(self) -> FloatArray:
        """E[e^{-node·sizes of a whole group}], [a]; where equal groups are resampled, of the others alone."""
        size, gone, psi = self.number + 1, self.removed, self.transform
        whole = (psi + gone) ** size
        if self.step.scheme.dynamic_sampling == "resample":
            equal = (self.by_level(self.counted) + gone) ** size - gone**size
            return whole - equal.sum(axis=1) - gone**size
        if self.step.least_kept == 2:  # a lone survivor leaves the loss, and its size with it
            lone = size * gone ** (size - 1)
            return whole - lone * psi + lone * self.counted.sum()
        return whole

    # --- baselines that are linear in the mates' returns --------------------------------------------------------

    @property
    def is_linear(self) -> bool:
        """Whether A is linear in the mates' returns."""
        given = self.step.advantage
        return isinstance(given, (GroupMean, LeaveOneOut, OPO)) or (
            isinstance(given, GroupStandardized) and given.scope == "batch")

    def kept_counts(self) -> tuple[FloatArray, FloatArray]:
        """k, the mates in the baseline, and the number of ways times P(the others are removed), each [k]."""
        k = np.arange(self.number + 1.0)
        ways = gammaln(self.number + 1.0) - gammaln(k + 1.0) - gammaln(self.number - k + 1.0)
        weight = np.exp(ways + xlogy(self.number - k, self.removed))
        keep = (weight > 0) & (k >= self.step.least_kept - 1)
        return k[keep], weight[keep]

    def own_and_mate(self, k: FloatArray) -> tuple[FloatArray, FloatArray]:
        """u, v of A = u·R - v·Σ_mates R with k mates; a group of one as the estimator says."""
        advantage = self.step.advantage
        if isinstance(advantage, LeaveOneOut):
            return np.ones_like(k), 1.0 / np.maximum(k, 1.0)
        single = isinstance(advantage, GroupMean) and advantage.group_of_one == "raw"
        return np.where(k > 0, k / (k + 1.0), float(single)), 1.0 / (k + 1.0)

    def linear_credit(self) -> FloatArray:
        """Σ_k E[A · e^{-node·sizes}; k mates count], by row and end."""
        mates, counted, returns = self.mates, self.counted, self.returns
        sums = (counted.sum(axis=0), (counted * returns).sum(axis=0))
        if mates.divides_by_length:
            credit = self._opo_credit(sums)
        else:
            psi, paid = (mates.decay @ x for x in sums)
            own, others = self._linear(psi, paid)
            credit = returns * mates.combine(own) - mates.combine(others)
        if self.step.scheme.dynamic_sampling != "none" and self.step.paid is not None:
            # Equal task rewards, unequal KL: those groups have advantages, and are left out all the same.
            if mates.divides_by_length:
                raise NoClosedForm("dynamic_sampling", "OPO with a KL in the reward and equal groups left out")
            own, others = self._linear(self.by_level(counted), self.by_level(counted * returns))
            credit = credit - returns * self.at_own_level(own) + self.at_own_level(others)
        return credit

    def _linear(self, psi: FloatArray, paid: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Factors of R and of 1 in E[A · ...], from ψ and E[R e^{-node·size}] of one mate (any shape)."""
        own, others = np.zeros_like(psi), np.zeros_like(psi)
        k, weight = self.kept_counts()
        for kept, ways, u, v in zip(k, weight, *self.own_and_mate(k), strict=True):
            own += ways * u * psi**kept
            if kept > 0:
                others += ways * v * kept * psi ** (kept - 1.0) * paid
        return own, others

    def _opo_credit(self, sums: tuple[FloatArray, FloatArray]) -> FloatArray:
        """R·E[...] - T·R·E[.../ΣT] - E[ΣTR .../ΣT], the last two over nodes (a, b)."""
        mates, length = self.mates, self.step.policy.length
        far = mates.baseline_decay
        psi = mates.decay @ (sums[0] * far).T
        paid = mates.decay @ (length * sums[1] * far).T
        k, weight = self.kept_counts()
        own = np.zeros_like(self.transform)
        both, others = np.zeros_like(psi), np.zeros_like(psi)
        for kept, ways in zip(k, weight, strict=True):
            own += ways * self.transform**kept
            both += ways * psi**kept
            if kept > 0:
                others += ways * kept * psi ** (kept - 1.0) * paid

        def combine(x: FloatArray) -> FloatArray:
            factor = np.multiply.outer(mates.denominator.weights * mates.others, mates.baseline_denominator.weights)
            combined: FloatArray = np.sum(mates.decay * ((factor * x) @ far), axis=0)
            return combined

        return self.returns * (mates.combine(own) - length * combine(both)) - combine(others)

    def second_moment(self) -> FloatArray:
        """E[A² · enough mates] under a linear baseline, by row and end."""
        mass, paid, squared = (float((self.counted * self.returns**i).sum()) for i in range(3))
        k, weight = self.kept_counts()
        total = np.zeros_like(self.returns)
        for kept, ways, u, v in zip(k, weight, *self.own_and_mate(k), strict=True):
            mean, square = (paid / mass, squared / mass) if mass > 0 else (0.0, 0.0)
            total += ways * mass**kept * ((u * self.returns) ** 2 - 2 * u * v * kept * mean * self.returns
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
            length = np.broadcast_to(step.policy.length if _reads_length(step) else 0.0, shape)
            rows = np.stack([self.task.ravel(), self.returns.ravel(), length.ravel()], axis=1)
            table, own = np.unique(rows, axis=0, return_inverse=True)
            own = own.reshape(shape)
        occurs = np.bincount(own.ravel(), weights=self.counted.ravel(), minlength=len(table)) > 0
        number = np.cumsum(occurs) - 1
        return table[occurs], np.maximum(number, 0)[own] * occurs[own]

    def composition_credit(self, power: int) -> FloatArray:
        """Σ over compositions of the mates of P(composition) · A^power, by row and end."""
        mates, (values, own) = self.mates, self._kinds
        levels, removed = len(values), self.removed
        parts = levels + (removed > 0)
        nodes = len(mates.denominator.nodes)
        work = composition_count(self.number, parts) * nodes * levels if levels else 0
        if work > MOST_TERMS:
            raise NoClosedForm("advantage", f"{type(self.step.advantage).__name__} over {levels} reward levels in groups "
                               f"of {self.number + 1}: too many compositions to sum")
        phi = np.array([np.bincount(own.ravel(), weights=(self.counted * decay).ravel(), minlength=levels)
                        for decay in mates.decay])
        if removed > 0:
            phi = np.column_stack([phi, np.full(nodes, removed)])
        with np.errstate(divide="ignore"):
            log_phi = np.maximum(np.log(phi), -700.0)
        expected = np.zeros((nodes, levels))
        for table in compositions(self.number, parts, chunk=max(1_000_000 // nodes, 1000)):
            log_ways = gammaln(self.number + 1.0) - gammaln(table + 1.0).sum(axis=1)
            chance = np.exp(log_ways + log_phi @ table.T)
            expected += chance @ self._advantages(table[:, :levels].astype(np.float64), values) ** power
        factor = (mates.denominator.weights * mates.others)[:, None] * expected
        credit = np.zeros(own.shape)
        for row, decay in zip(factor, mates.decay, strict=True):
            credit += row[own] * decay
        return credit

    def _advantages(self, table: FloatArray, values: FloatArray) -> FloatArray:
        """A of an own response of each level beside each composition of mates, [composition, level]."""
        task, returns, length = values.T
        advantage = self.step.advantage
        result = np.zeros(table.shape)
        for level in range(len(values)):
            group = table.copy()
            group[:, level] += 1.0
            mine = advantage.of_group(returns, group, length, np.zeros(1))[:, level]  # type: ignore[union-attr]
            if self.step.least_kept == 2:
                mine = np.where(group.sum(axis=1) >= 2, mine, 0.0)
            if self.step.scheme.dynamic_sampling != "none":
                others = (task != task[level]) & (group > 0)
                mine = np.where(others.any(axis=1), mine, 0.0)
            result[:, level] = mine
        return result


def _reads_length(step: Step) -> bool:
    return isinstance(step.advantage, PositiveOnly) and isinstance(step.advantage.inner, OPO)


def _whitening(step: Step, whitened: Whitened) -> tuple[float, float]:
    """μ and 1/σ over the tokens in the loss, in the limit of a large batch; dropped groups still count here."""
    if step.scheme.dynamic_sampling == "drop":
        step = replace(step, scheme=replace(step.scheme, dynamic_sampling="none"))
    mates = _Mates(step=step, rule=TokenSum())
    tokens = mates.weighted(mates.presence)
    count = float((tokens * step.policy.length).sum())
    if count == 0:
        return 0.0, 0.0
    if isinstance(step.advantage, GAE):
        first, second = advantage_sums(step)
        total, square = float((tokens * first).sum()), float((tokens * second).sum())
    else:
        length = step.policy.length
        total = float((mates.weighted(mates.credit) * length).sum())
        square = float((mates.weighted(lambda law: _squared(mates, law)) * length).sum())
    mean = total / count
    spread = square / count - mean**2
    # Below rounding the advantages are all equal: (A - μ) is 0 and only eps is left in the denominator.
    variance = spread if spread > 1e-13 * (square / count) else 0.0
    return mean, (variance + whitened.eps) ** -0.5 if whitened.scale else 1.0


def _squared(mates: _Mates, law: _ClassLaw) -> FloatArray:
    """E[A² · own group contributes], by row and end, without a random denominator."""
    step, advantage = mates.step, mates.step.advantage
    if isinstance(advantage, OPO):
        raise NoClosedForm("advantage", "the variance of OPO's advantages, which whitening needs")
    if step.scheme.dynamic_sampling != "none" and step.paid is not None and advantage.group_relative:
        raise NoClosedForm("dynamic_sampling", "whitened advantages with a KL in the reward and equal groups left out")
    if not advantage.group_relative:
        fixed = np.array(step.baseline[law.index])
        own = advantage.of_group(law.returns, np.ones_like(law.returns), law.returns, fixed)  # type: ignore[union-attr]
        return own**2 * mates.presence(law)
    return law.second_moment() if law.is_linear else law.composition_credit(power=2)


def _batch_std(step: Step) -> float:
    """Standard deviation of the returns in the baseline over all classes, in the limit of a large batch."""
    policy, scheme = step.policy, step.scheme
    mass = policy.law * policy.cell_weight[:, None, None] * step.in_baseline
    if scheme.dynamic_sampling == "resample":
        mates = _Mates(step=step, rule=TokenSum())
        for j, law in enumerate(mates.classes):
            mine = policy.class_of_cell == j
            mass[mine] *= mates.presence(law).reshape(-1, 2, mass.shape[-1])
    total = mass.sum()
    if total == 0:
        return 0.0
    mean = float((mass * step.returns).sum() / total)
    return float(np.sqrt((mass * (step.returns - mean) ** 2).sum() / total))
