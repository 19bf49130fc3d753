"""Expected measures of a scheme, without sampling: conditional on a response's own end, average over everyone else.

The own group is that of a :class:`~lossim._engine.groups.ClassLaw`; the P-1 other groups of the step enter only through
a random denominator of the aggregation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lossim._engine.denominators import Denominators
from lossim._engine.gradients import Measures, advantage_sums
from lossim._engine.groups import ClassLaw
from lossim._engine.ratios import ONE
from lossim._engine.step import Step
from lossim._support.types import FloatArray, NoClosedForm
from lossim.advantages import GAE, GPG, GroupStandardized, ResponseAdvantage, Whitened
from lossim.aggregation import Aggregation, TokenSum
from lossim.estimates import Method

__all__ = ["Expected", "expected_measures", "share_of_dead_groups", "update_scale"]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Expected measures with the method and the relative error of the ratios behind them."""

    measures: Measures
    method: Method
    error: float


def expected_measures(step: Step) -> Expected:
    """The measures of one expected step.

    Raises:
        NoClosedForm: the expectation of a slot has no closed form; the message names it.
        ValueError: ``dynamic_sampling="resample"`` where every group has equal rewards.
    """
    scheme, advantage = step.scheme, step.scheme.advantage
    if scheme.reward.group_relative:
        raise NoClosedForm("reward", "its shaping compares the lengths of a group")
    if isinstance(step.advantage, ResponseAdvantage) and isinstance(step.advantage.innermost, GPG):
        raise NoClosedForm("advantage", "GPG's scale is one over the number of paid responses in a step")
    average = _Average(step=step, rule=scheme.aggregation)
    method: Method = "sum" if average.denominators.aggregation is ONE else "quadrature"
    penalised = scheme.kl_in_loss is not None or scheme.entropy is not None
    response = negative = gae = plain = None
    if penalised or isinstance(step.advantage, GAE) or isinstance(advantage, Whitened):
        plain = average.weighted(ClassLaw.presence)
    if isinstance(step.advantage, GAE):
        gae = plain
    else:
        response = average.weighted(ClassLaw.credit)
        whitened = isinstance(advantage, Whitened)
        negative = average.weighted(ClassLaw.negative_credit) if step.signed and not whitened else None
    taken_off = None
    if isinstance(advantage, Whitened) and plain is not None:
        mean, scale = _whitening(step, advantage)
        response = scale * ((0.0 if response is None else response) - mean * plain)
        if gae is None and step.signed:
            negative = scale * average.weighted(lambda law, factor: law.negative_credit(factor, mean))
        gae, method = None if gae is None else scale * gae, "large-batch limit"
        taken_off = np.full(len(step.old.probability), mean)
    elif isinstance(step.advantage, GroupStandardized) and step.advantage.scope == "batch" and response is not None:
        std = _batch_std(step) + step.advantage.eps
        scale, method = 1.0 / std if std > 0 else 0.0, "large-batch limit"
        response, negative = response * scale, None if negative is None else negative * scale
    measures = Measures(response=response, negative=negative, gae=gae, plain=plain if penalised else None,
                        mean=taken_off)
    return Expected(measures=measures, method=method,
                    error=average.denominators.aggregation.error + average.denominators.baseline.error)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Average:
    """Averages over the other responses of a step under one aggregation rule."""

    step: Step
    rule: Aggregation

    @cached_property
    def denominators(self) -> Denominators:
        return Denominators(step=self.step, rule=self.rule)

    @cached_property
    def classes(self) -> list[ClassLaw]:
        """The law of a response by class."""
        return [ClassLaw(step=self.step, denominators=self.denominators, index=j)
                for j in range(len(self.step.old.class_weight))]

    @cached_property
    def kept_share(self) -> float:
        """P(a group has unequal rewards) where equal ones are resampled, else 1."""
        if self.step.scheme.dynamic_sampling != "resample":
            return 1.0
        weights = self.step.old.class_weight
        share = float(sum(w * law.unequal_groups for w, law in zip(weights, self.classes, strict=True)))
        if share <= 1e-300:
            raise ValueError("dynamic_sampling='resample' never fills a batch: the chance that a group has unequal "
                             f"rewards is {share:.2g}; use dynamic_sampling='none' or 'drop', or other prompts")
        return share

    @cached_property
    def factor(self) -> FloatArray:
        """Weight of each node times E[e^{-node · sizes}] of the other groups of the step, [a]."""
        scheme, weights, one_over = self.step.scheme, self.step.old.class_weight, self.denominators.aggregation
        if self.rule.within_group or one_over is ONE or scheme.prompts_per_step == 1:
            return one_over.weights
        transforms = np.array([law.group_transform for law in self.classes])
        group: FloatArray = weights @ transforms / self.kept_share
        return one_over.weights * group ** (scheme.prompts_per_step - 1)

    def weighted(self, expectation: Callable[[ClassLaw, FloatArray], FloatArray]) -> FloatArray:
        """P(end) × n·weight × what is expected given the own end, [cell, grade, end]."""
        policy, own = self.step.old, self.step.own_weight(self.rule) / self.kept_share
        measure = np.empty_like(policy.law)
        for j, law in enumerate(self.classes):
            cells = policy.class_cells[j]
            expected = own * expectation(law, self.factor) if policy.class_weight[j] > 0 else np.zeros((2, len(own)))
            np.multiply(policy.law[cells], expected.reshape(-1, 2, len(own)), out=measure[cells])
            measure[cells] *= policy.cell_weight[cells, None, None]
        return measure


def share_of_dead_groups(step: Step) -> float:
    """P(the task rewards of a group are all equal); NaN where a reward compares the lengths of a group."""
    if step.scheme.reward.group_relative:
        return float("nan")
    classes = _Average(step=step, rule=TokenSum()).classes
    return 1.0 - float(sum(w * law.unequal_groups for w, law in zip(step.old.class_weight, classes, strict=True)))


def update_scale(step: Step) -> float:
    """About how large an update's coefficients are before anything cancels: largest |R| (and |V|) × mean n·weight.

    A gradient that is a rounding error of this size moves nothing.
    """
    policy, denominators = step.old, Denominators(step=step, rule=step.scheme.aggregation)
    mass = policy.cell_weight @ policy.ends
    factor = step.own_weight(step.scheme.aggregation)
    if denominators.aggregation is not ONE:
        members = step.scheme.group_size * (1 if step.scheme.aggregation.within_group else step.scheme.prompts_per_step)
        factor = factor / max(members * float((mass * denominators.size).sum()), float(denominators.size.max()))
    credit = step.errors.last if isinstance(step.advantage, GAE) else step.returns
    return float(mass @ factor) * float(np.abs(credit[:, :, mass > 0]).max(initial=0.0))


def _whitening(step: Step, whitened: Whitened) -> tuple[float, float]:
    """μ and (σ² + eps)^-½ over the tokens in the loss, in the limit of a large batch; dropped groups still count."""
    if step.scheme.dynamic_sampling == "drop":
        step = replace(step, scheme=replace(step.scheme, dynamic_sampling="none"))
    average, length = _Average(step=step, rule=TokenSum()), step.old.length
    tokens = average.weighted(ClassLaw.presence)
    count = float((tokens * length).sum())
    if count == 0:
        return 0.0, 0.0
    if isinstance(step.advantage, GAE):
        first, second = advantage_sums(step)
        total, square = float((tokens * first).sum()), float((tokens * second).sum())
    else:
        total = float((average.weighted(ClassLaw.credit) * length).sum())
        square = float((average.weighted(ClassLaw.squared_credit) * length).sum()) if whitened.scale else 0.0
    mean, square = total / count, square / count
    return mean, float(whitened.factor(np.array(square - mean**2), np.array(square), np.array(np.inf)))


def _batch_std(step: Step) -> float:
    """Standard deviation of the returns in the baseline over all classes, in the limit of a large batch."""
    policy = step.old
    mass = policy.law * policy.cell_weight[:, None, None] * step.in_baseline
    if step.scheme.dynamic_sampling == "resample":
        average = _Average(step=step, rule=TokenSum())
        for j, law in enumerate(average.classes):
            kept = law.presence(average.factor)
            mass[policy.class_cells[j]] *= kept.reshape(-1, 2, kept.shape[-1])
    total = mass.sum()
    if total == 0:
        return 0.0
    returns = step.returns - np.max(np.where(mass > 0, step.returns, -np.inf))  # equal returns are then exactly 0
    mean = float((mass * np.where(mass > 0, returns, 0.0)).sum() / total)
    return float(np.sqrt((mass * (returns - mean) ** 2).sum() / total))
