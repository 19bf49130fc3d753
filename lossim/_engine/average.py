"""Averages of what a response is credited with over the other responses of its step, given how it ended itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np

from lossim._engine.by_sign import balanced_credit
from lossim._engine.denominators import ONE, Denominators
from lossim._engine.groups import ClassLaw
from lossim._engine.mates import by_quadrature
from lossim._engine.measures import EndSums
from lossim._engine.pairs import PairLaw, add_up
from lossim._engine.standardized import credit_error
from lossim._engine.step import Step
from lossim._support.records import Record
from lossim._support.types import FloatArray
from lossim.advantages import Raw
from lossim.aggregation import Aggregation
from lossim.schemes import Scheme

__all__ = ["Average", "Expectation", "check_in_time", "check_unequal", "largest_pay", "largest_pays"]

RAREST = 1e-300
"""Chance of a group from which on a batch of them is filled."""

Expectation = Callable[[ClassLaw, FloatArray], FloatArray]
"""What is expected given the own end, by row and end, from a class and the weights of its nodes."""


class Average(Record):
    """Averages over the other responses of a step under one aggregation rule."""

    step: Step
    rule: Aggregation

    @cached_property
    def denominators(self) -> Denominators:
        """The random denominators of the step."""
        return Denominators(step=self.step, rule=self.rule)

    @cached_property
    def by_run(self) -> bool:
        """Whether ends that are paid alike are alike to all averages, and few are not paid alike."""
        step = self.step
        denominators = self.denominators
        if step.paid is not None or not (denominators.aggregation is denominators.baseline is ONE):
            return False
        reads_length = step.response_level is not None and step.response_level.traits.reads_length
        return not reads_length and step.few_runs

    @cached_property
    def classes(self) -> list[ClassLaw]:
        """The law of a response by class, of runs of ends where those are alike."""
        return self._classes(self.by_run)

    @cached_property
    def by_end(self) -> list[ClassLaw]:
        """The same, each end by itself."""
        return self._classes(False)

    def _classes(self, by_run: bool) -> list[ClassLaw]:
        return [ClassLaw(step=self.step, denominators=self.denominators, index=j, by_run=by_run)
                for j in range(len(self.step.old.class_weight))]

    @cached_property
    def by_move(self) -> bool:
        """Whether advantages depend on when a response moved, by what it was paid, in other ways than linearly."""
        step = self.step
        estimator = step.response_level
        if estimator is None or step.paid is None or not len(step.old.arrival):
            return False
        linear = isinstance(estimator, Raw) or estimator.traits.mates in ("linear", "length-weighted")
        reads_signs = step.signed or self.rule.by_sign
        return not linear or reads_signs or step.whitening is not None or step.response_parts(+1) is not None

    def moved_classes(self) -> Iterator[tuple[PairLaw, FloatArray]]:
        """The law of a response by class and by when it moved, with P(row, end) × n·weight, [row, end]; one at a time.

        Classes that never occur are left out.
        """
        own = self.step.own_weight(self.rule) / self.kept_share
        for j, share in enumerate(self.step.old.class_weight):
            if share > 0:
                law = PairLaw(step=self.step, denominators=self.denominators, index=j)
                yield law, law.law * (share * own)

    def no_sums(self) -> EndSums:
        """Sums that are 0 so far."""
        policy = self.step.old
        moves = len(policy.arrival)
        return EndSums(ended=np.zeros_like(policy.law), entered=np.zeros((moves, 3, policy.max_tokens)))

    @cached_property
    def admitted_groups(self) -> float:
        """P(a group is in time, or need not be)."""
        weights = self.step.old.class_weight
        return float(sum(w * law.admitted_groups for w, law in zip(weights, self.classes, strict=True)))

    @property
    def unequal_groups(self) -> float:
        """P(a group has at least two different task rewards, and is in time)."""
        weights = self.step.old.class_weight
        return float(sum(w * law.unequal_groups for w, law in zip(weights, self.classes, strict=True)))

    @cached_property
    def kept_share(self) -> float:
        """P(a group is one that the step takes): in time, and of unequal rewards where equal ones are resampled."""
        if not self.step.scheme.replaces:
            return 1.0
        check_in_time(self.step.scheme, self.admitted_groups)
        if self.step.scheme.dynamic_sampling != "resample":
            return self.admitted_groups
        share = self.unequal_groups
        check_unequal(share)
        return share

    @cached_property
    def factor(self) -> FloatArray:
        """Weight of each node times E[e^{-node · sizes}] of the other groups of the step, [a]."""
        one_over = self.denominators.aggregation
        others = self.step.scheme.prompts_per_step - 1
        if self.rule.within_group or one_over is ONE or others == 0:
            return one_over.weights
        transforms = np.array([law.group_transform for law in self.classes])
        group = self.step.old.class_weight @ transforms / self.kept_share
        return one_over.weights * group**others

    @cached_property
    def standardized_error(self) -> float | None:
        """The error of standardised advantages over the largest |R|, if one is averaged by quadrature; else None."""
        estimator = self.step.response_level
        nodes = len(self.denominators.aggregation.nodes)
        if estimator is None or self.rule.by_sign:
            return None
        laws = (law for law, _ in self.moved_classes()) if self.by_move else self.classes
        errors = [credit_error(law, estimator.traits) for law in laws if by_quadrature(law, estimator, nodes)]
        if not errors:
            return None
        return max(errors) / largest_pay(self.step)

    @cached_property
    def presence(self) -> FloatArray:
        """P(end) × n·weight × P(own group contributes), [cell, grade, end]."""
        estimator = self.step.response_level
        if self.rule.by_sign and estimator is not None:
            return self.over_moves(lambda law, factor: balanced_credit(law, estimator, factor, np.ones_like))
        return self.weighted(ClassLaw.presence)

    def over_moves(self, expectation: Expectation) -> FloatArray:
        """:meth:`weighted`, where the advantage depends on the move as well: summed over that, [cell, grade, end]."""
        if not self.by_move:
            return self.weighted(expectation)
        total = self.no_sums()
        for law, weight in self.moved_classes():
            add_up(law, weight * expectation(law, self.factor), None, total)
        return total.ended

    def weighted(self, expectation: Expectation) -> FloatArray:
        """P(end) × n·weight × what is expected given the own end, [cell, grade, end]."""
        policy = self.step.old
        own = self.step.own_weight(self.rule) / self.kept_share
        measure = np.empty_like(policy.law)
        grades = measure.shape[1]
        for j, law in enumerate(self.classes):
            cells = policy.class_cells[j]
            if policy.class_weight[j] > 0:
                found = expectation(law, self.factor)
                expected = own * (found[:, self.step.run_of_end] if self.by_run else found)
            else:
                expected = np.zeros((grades, len(own)))
            np.multiply(policy.law[cells], expected.reshape(-1, grades, len(own)), out=measure[cells])
            measure[cells] *= policy.cell_weight[cells, None, None]
        return measure


def check_in_time(scheme: Scheme, share: float) -> None:
    """Say that no group comes in time, if that is the chance that one does."""
    if share <= RAREST:
        raise ValueError(f"selection={scheme.selection} never fills a batch: the chance that a group is in time is "
                         f"{share:.2g}; set a later deadline, or drops='response'")


def check_unequal(share: float) -> None:
    """Say that no group has unequal rewards, if that is the chance that one has."""
    if share <= RAREST:
        raise ValueError("dynamic_sampling='resample' never fills a batch: the chance that a group has unequal "
                         f"rewards is {share:.2g}; use dynamic_sampling='none' or 'drop', or other prompts")


def largest_pay(step: Step) -> float:
    """The largest |R|, or |R - V| under GAE, of a response that can occur."""
    return float(largest_pays(step, step.old.chance_of_end[None])[0])


def largest_pays(step: Step, mass: FloatArray) -> FloatArray:
    """The same of several policies, whose cells stand one after another; ``mass`` is P(end), [policy, end]."""
    pay = np.abs(step.returns if step.token_level is None else step.errors.last)
    each = pay.reshape(len(mass) if len(pay) > 1 else 1, -1, pay.shape[-1]).max(axis=1)
    return np.where(mass > 0, each, 0.0).max(axis=-1)
