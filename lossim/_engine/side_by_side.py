"""Many policies of one shape in one step: what their responses are credited with, class by class and all at once.

Their cells stand one after another, so that what the engine does for each cell it does for all of them. What it does
for a class or for a whole step is done here along a first axis of classes, or of policies. It covers what hangs on few
numbers of a class, the masses of its reward levels: advantages that no mate enters, that are linear in the mates, or
that are summed over their compositions, and GAE, whose weights need no more. See docs/derivations.md, sections 6 and 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import xlogy

from lossim._engine.average import check_in_time, check_unequal
from lossim._engine.denominators import ONE, Denominators, inverse_range
from lossim._engine.exact import Expected, expected_measures, token_measures, update_scales
from lossim._engine.groups import (
    FEW_LEVELS,
    at_least_two_levels,
    kept_counts,
    kept_mates,
    power_difference,
    whole_groups,
)
from lossim._engine.mates import (
    FEW_TERMS,
    LEAST_LOG,
    MOST_TERMS,
    composition_count,
    compositions,
    compositions_beside,
)
from lossim._engine.measures import Measures, ResponseTerm, TokenTerm
from lossim._engine.states import with_entries
from lossim._engine.step import Step
from lossim._model import CellArrays
from lossim._support.records import Record
from lossim._support.types import FloatArray, IntArray
from lossim.advantages import ResponseAdvantage, group_of
from lossim.schemes import Scheme

__all__ = ["SideBySide", "class_by_class", "side_by_side", "takes"]


def takes(scheme: Scheme) -> bool:
    """Whether a scheme is one of those that are covered, as far as it tells by itself."""
    reward = scheme.reward
    if reward.group_relative or reward.needs_target:
        return False
    if scheme.advantage.whitening is not None or scheme.kl_in_reward is not None:
        return False
    given = scheme.advantage.response_level
    if given is None:
        return True
    estimator = given.for_group_size(scheme.group_size)
    traits = estimator.traits
    plain = traits.no_closed_form is None and not estimator.needs_whole_step and traits.step_eps is None
    return plain and not traits.reads_length and traits.mates != "length-weighted"


def side_by_side(scheme: Scheme, policies: Sequence[CellArrays]) -> SideBySide:
    """The step of a scheme on policies of the same cells."""
    count = len(policies)
    together = CellArrays.side_by_side(policies)
    advantage = scheme.advantage.repeated(count)
    if advantage is not scheme.advantage:
        scheme = replace(scheme, advantage=advantage)
    return SideBySide(step=Step(scheme=scheme, policy=together, reference=together, old=together), count=count)


def class_by_class(step: Step) -> SideBySide | None:
    """A step on one policy with all its classes at once; None where that does not cover it, or off-policy."""
    if step.drawn_ratio is not None or not takes(step.scheme):
        return None
    classes = SideBySide(step=step, count=1)
    return classes if classes.few else None


def measures_at_once(step: Step) -> Expected:
    """The measures of one expected step: of all classes at once where that is covered, else of one after another.

    Raises:
        NoClosedForm, ValueError: as :func:`expected_measures`.
    """
    classes = class_by_class(step)
    return expected_measures(step) if classes is None else classes.expected()


class SideBySide(Record):
    """A step of ``count`` policies, whose cells and classes in ``step`` are those of the first, then of the next, ...

    ``factor`` [class, a] is the weight of each node times what the other groups of the step are expected to be, credit
    [class, grade or 1, end or 1] what is expected given the own end.
    """

    step: Step
    count: int

    # --- whether they can be taken together ---------------------------------------------------------------------

    @cached_property
    def alike(self) -> bool:
        """Whether the random denominator of the aggregation has the same range in all of them."""
        if self.step.scheme.aggregation.size(self.step.old.length) is None:
            return True
        occurs = self.mass > 0
        ranges = {inverse_range(self.denominators.size, mine & self.step.in_loss) for mine in occurs}
        return len(ranges) == 1

    @cached_property
    def few(self) -> bool:
        """Whether what is asked of the mates hangs on few levels of reward, and is summed over their compositions."""
        scheme = self.step.scheme
        levels = len(self.step.reward_levels[0])
        if scheme.aggregation.by_sign or (scheme.dynamic_sampling != "none" and levels > FEW_LEVELS):
            return False
        estimator = self.step.response_level
        if estimator is None or estimator.traits.mates in ("none", "linear"):
            return True
        ways = composition_count(self.mates, levels + self.some_removed) * levels
        if levels > FEW_LEVELS or ways * max(len(self.denominators.aggregation.nodes), levels) > MOST_TERMS:
            return False
        return estimator.traits.mates != "standardized" or ways * levels <= FEW_TERMS

    # --- one response -------------------------------------------------------------------------------------------

    @cached_property
    def by_run(self) -> bool:
        """Whether [end] is by runs of ends that are paid alike: no denominator tells them apart, and they are few."""
        return self.denominators.aggregation is ONE and self.step.few_runs

    def at_runs(self, x: Any) -> Any:
        """What is alike within runs [..., end], at the ends that are told apart here."""
        return x[..., self.step.runs] if self.by_run else x

    @property
    def mates(self) -> int:
        """G - 1, the other responses of a group."""
        return self.step.scheme.group_size - 1

    def of_policies(self, x: FloatArray) -> FloatArray:
        """[class, ...] or [cell, ...] of all policies as [policy, class, ...] or [policy, cell, ...]."""
        return x.reshape(self.count, -1, *x.shape[1:])

    def by_class(self, x: FloatArray) -> FloatArray:
        """A number of each policy, [policy, ...], for each of its classes, [class, ...]."""
        return np.repeat(x, len(self.step.old.class_weight) // self.count, axis=0)

    @cached_property
    def mass(self) -> FloatArray:
        """P(end), [policy, end]."""
        policy = self.step.old
        weight = self.of_policies(policy.cell_weight)
        return np.einsum("pc,pce->pe", weight, self.of_policies(policy.ends))

    @cached_property
    def law(self) -> FloatArray:
        """P(grade, end) given the class, [class, grade, end]."""
        policy = self.step.old
        law = self.step.law_by_run if self.by_run else policy.law
        classes, cells = len(policy.class_weight), policy.layout.cells
        if all(mine.stop - mine.start == cells // classes for mine in policy.class_cells):
            share = policy.cell_probability.reshape(classes, -1)
            return np.einsum("jc,jcge->jge", share, law.reshape(classes, -1, *law.shape[1:]))
        first = [mine.start for mine in policy.class_cells]
        return np.add.reduceat(law * policy.cell_probability[:, None, None], first, axis=0)

    @cached_property
    def counted(self) -> FloatArray:
        """P(grade, end) of responses in the baseline, [class, grade, end]."""
        inside = self.at_runs(self.step.in_baseline)
        return self.law if inside.all() else self.law * inside

    @cached_property
    def removed(self) -> FloatArray:
        """P(a response is out of the baseline, and its group is not replaced for it), [class]."""
        outside = self.at_runs(self.step.admitted & ~self.step.in_baseline)
        return self.law[:, :, outside].sum(axis=(1, 2)) if outside.any() else np.zeros(len(self.law))

    @property
    def some_removed(self) -> bool:
        """Whether some response is out of the baseline."""
        return bool((self.removed > 0).any())

    @cached_property
    def level(self) -> IntArray:
        """Which level of the task reward each [grade, end] gets."""
        return self.at_runs(self.step.reward_levels[1])

    @cached_property
    def level_mass(self) -> FloatArray:
        """P(level of the task reward; in the baseline), [class, level]."""
        levels = self.step.reward_levels[0]
        level = self.level
        if len(levels) <= FEW_LEVELS:
            flat = self.counted.reshape(len(self.counted), -1)
            return np.stack([flat @ (level.ravel() == i).astype(np.float64) for i in range(len(levels))], axis=1)
        return np.array([np.bincount(level.ravel(), weights=mine.ravel(), minlength=len(levels))
                         for mine in self.counted])

    # --- nodes of the random denominator ----------------------------------------------------------------------

    @cached_property
    def denominators(self) -> Denominators:
        """The random denominator of the aggregation, the same for all policies."""
        return Denominators(step=self.step, rule=self.step.scheme.aggregation)

    @cached_property
    def by_level(self) -> FloatArray:
        """E[e^{-node·size}; level, in the baseline], [class, level, a]."""
        if self.denominators.aggregation is ONE:
            return self.level_mass[:, :, None]
        level = self.step.reward_levels[1]
        parts = [np.where(level == i, self.counted, 0.0).sum(axis=1) for i in range(len(self.step.reward_levels[0]))]
        return self.denominators.over_ends(np.stack(parts, axis=1))

    def at_level(self, x: FloatArray) -> FloatArray:
        """Σ over the nodes of e^{-node·own size} x[level of the own end], [class, level, a] → [class, grade, end]."""
        level = self.level
        own = self.denominators.at_ends(x)
        if own.shape[-1] == 1:
            return np.take(own[:, :, 0], level, axis=1)
        return own[:, level, np.arange(own.shape[-1])]

    @cached_property
    def transform(self) -> FloatArray:
        """ψ = E[e^{-node·size}; in the baseline], [class, a]."""
        return self.denominators.over_ends(self.counted.sum(axis=1))

    # --- groups -------------------------------------------------------------------------------------------------

    @cached_property
    def unequal(self) -> FloatArray:
        """P(a group has at least two different task rewards among those that count), [class]."""
        return at_least_two_levels(self.level_mass, self.removed, self.mates + 1)

    @cached_property
    def admitted_groups(self) -> FloatArray:
        """P(a group is in time, or need not be), [class]."""
        inside = self.at_runs(self.step.admitted)
        if inside.all():
            return np.ones(len(self.law))
        admitted: FloatArray = self.law[:, :, inside].sum(axis=(1, 2)) ** (self.mates + 1)
        return admitted

    def over_classes(self, x: FloatArray) -> FloatArray:
        """The mean over the prompts of a number of each class, [class] → [policy]."""
        found: FloatArray = (self.of_policies(self.step.old.class_weight) * self.of_policies(x)).sum(axis=-1)
        return found

    @property
    def dead_groups(self) -> FloatArray:
        """P(the task rewards of a group in time are all equal), [policy]."""
        return np.maximum(1.0 - self.over_classes(self.unequal) / self.over_classes(self.admitted_groups), 0.0)

    @cached_property
    def kept_share(self) -> FloatArray:
        """P(a group is one that a step takes): in time, and of unequal rewards where equal go, [policy].

        Raises:
            ValueError: in one of the policies no group is.
        """
        scheme = self.step.scheme
        if not scheme.replaces:
            return np.ones(self.count)
        in_time = self.over_classes(self.admitted_groups)
        check_in_time(scheme, float(in_time.min()))
        if scheme.dynamic_sampling != "resample":
            return in_time
        share = self.over_classes(self.unequal)
        check_unequal(float(share.min()))
        return share

    @cached_property
    def factor(self) -> FloatArray:
        """Weight of each node times E[e^{-node · sizes}] of the other groups of the step, [class, a]."""
        scheme = self.step.scheme
        one_over = self.denominators.aggregation
        others = scheme.prompts_per_step - 1
        if scheme.aggregation.within_group or one_over is ONE or others == 0:
            return np.broadcast_to(one_over.weights, (len(self.law), len(one_over.weights)))
        weight = self.of_policies(self.step.old.class_weight)
        group = np.einsum("pj,pja->pa", weight, self.of_policies(self._group_transform)) / self.kept_share[:, None]
        return self.by_class(one_over.weights * group**others)

    @cached_property
    def _group_transform(self) -> FloatArray:
        """E[e^{-node·sizes of a whole group}], [class, a]; where equal groups are resampled, of the others alone."""
        gone = self.removed[:, None]
        if self.step.scheme.dynamic_sampling == "resample":
            return at_least_two_levels(np.swapaxes(self.by_level, 1, 2), gone, self.mates + 1)
        counted = self.counted.sum(axis=(1, 2))[:, None]
        return whole_groups(self.transform, gone, counted, self.mates + 1, self.step.least_kept)

    # --- what is expected given the own end ------------------------------------------------------------------------

    @cached_property
    def presence(self) -> FloatArray:
        """E[own group contributes]."""
        if self.step.scheme.dynamic_sampling == "none":
            kept = kept_mates(self.transform, self.removed[:, None], self.mates, self.step.least_kept)
            return self.denominators.at_ends(self.factor * kept)[:, None]
        mine = self.by_level
        others = (1.0 - np.eye(mine.shape[1])) @ mine
        unequal = power_difference(mine + self.removed[:, None, None], others, self.mates)
        return self.at_level(self.factor[:, None] * unequal)

    def credit(self, estimator: ResponseAdvantage) -> FloatArray:
        """E[advantage · own group contributes]."""
        if estimator.traits.mates == "none":
            return self._fixed(estimator) * self.presence
        if estimator.traits.mates == "linear":
            return self._linear_credit(estimator)
        return self._composition_credit(estimator)

    def _fixed(self, estimator: ResponseAdvantage) -> FloatArray:
        baseline = self.step.baseline[:, None, None]
        task = self.at_runs(self.step.task[0])
        return estimator.of_group(group_of(np.broadcast_to(task, self.law.shape), baseline=baseline))

    def _linear_credit(self, estimator: ResponseAdvantage) -> FloatArray:
        """For A = u·R - v·Σ_mates R, with returns less the likeliest."""
        levels = self.step.reward_levels[0]
        pivot = levels[np.argmax(self.level_mass, axis=1)] if self.mates else np.zeros(len(self.law))
        returns = self.at_runs(self.step.task) - pivot[:, None, None]
        paid = self.denominators.over_ends((self.counted * returns).sum(axis=1))
        own = np.zeros_like(self.transform)
        others = np.zeros_like(self.transform)
        k, log_ways = self._kept_counts
        for kept, ways, u, v in zip(k, log_ways.T[:, :, None], *estimator.linear_factors(k), strict=True):
            own += u * np.exp(ways + xlogy(kept, self.transform))
            if kept > 0:
                others += v * kept * np.exp(ways + xlogy(kept - 1.0, self.transform)) * paid
        slope, rest = (self.denominators.at_ends(self.factor * part)[:, None] for part in (own, others))
        return returns * slope - rest

    @cached_property
    def _kept_counts(self) -> tuple[FloatArray, FloatArray]:
        """k, the mates in the baseline, [k], and the log of ways times P(the others are removed), [class, k]."""
        return kept_counts(self.mates, self.removed, self.step.least_kept)

    def _composition_credit(self, estimator: ResponseAdvantage) -> FloatArray:
        """Σ over compositions of the mates of P(composition) · A."""
        levels = self.step.reward_levels[0]
        phi = np.swapaxes(self.by_level, 1, 2)
        parts = len(levels) + self.some_removed
        if self.some_removed:
            gone = np.broadcast_to(self.removed[:, None, None], (*phi.shape[:2], 1))
            phi = np.concatenate([phi, gone], axis=2)
        occurs = phi > 0
        with np.errstate(divide="ignore"):
            log_phi = np.maximum(np.log(phi), LEAST_LOG)
        expected = np.zeros(self.by_level.shape).swapaxes(1, 2)
        for table in compositions(self.mates, parts, chunk=max(1_000_000 // (phi.shape[0] * phi.shape[1]), 1000)):
            log_ways, beside = self.step.rules.once(compositions_beside, estimator, table, levels,
                                                    self.step.least_kept, self.step.scheme.dynamic_sampling)
            chance = np.exp(log_ways + log_phi @ table.T)
            if not occurs.all():
                chance[~occurs @ (table > 0).T] = 0.0
            expected += chance @ beside
        return self.at_level(self.factor[:, None] * np.swapaxes(expected, 1, 2))

    # --- the step ---------------------------------------------------------------------------------------------

    def weighted(self, credit: FloatArray) -> FloatArray:
        """P(end) × n·weight × what is expected given the own end, [cell, grade, end]."""
        policy = self.step.old
        own = self.step.own_weight(self.step.scheme.aggregation)
        weight = policy.cell_weight / np.repeat(self.kept_share, policy.layout.cells // self.count)
        measure = np.multiply(policy.law, own)
        each = weight[:, None, None] * credit[policy.class_of_cell]
        if self.by_run and each.shape[-1] > 1:
            each = np.repeat(each, np.diff(self.step.runs, append=measure.shape[-1]), axis=-1)
        measure *= each
        return measure

    def expected(self) -> Expected:
        """The measures of the expected step of each policy."""
        step = self.step
        estimator = step.response_level
        credit: ResponseTerm | TokenTerm
        if estimator is None:
            credit = token_measures(step, self.weighted(self.presence))
        else:
            credit = ResponseTerm(total=with_entries(step.old, self.weighted(self.credit(estimator))))
        penalised = step.scheme.kl_in_loss is not None or step.scheme.entropy is not None
        weight = with_entries(step.old, self.weighted(self.presence)) if penalised else None
        aggregation = self.denominators.aggregation
        return Expected(measures=Measures(credit=credit, weight=weight), error=aggregation.error, finite_batch=0.0,
                        method="sum" if aggregation is ONE else "quadrature")

    @cached_property
    def scale(self) -> FloatArray:
        """About how large an update's coefficients are before anything cancels, [policy]: as ``update_scale``."""
        return update_scales(self.step, self.mass)
