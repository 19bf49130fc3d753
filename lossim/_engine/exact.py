"""Expected measures of a scheme, without sampling: conditional on a response's own end, average over everyone else.

The own group is that of a :class:`~lossim._engine.groups.ClassLaw`; the P-1 other groups of the step enter only through
a random denominator of the aggregation.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lossim._engine.average import Average, Expectation, largest_pays
from lossim._engine.by_sign import balanced_credit
from lossim._engine.denominators import ONE, Denominators
from lossim._engine.gae_moments import advantage_sums
from lossim._engine.groups import ClassLaw
from lossim._engine.mates import expected_credit, negative_credit, return_slope, squared_credit
from lossim._engine.measures import Measures, ResponseTerm, TokenTerm
from lossim._engine.pairs import add_up
from lossim._engine.states import entry_credit, with_entries, with_paid
from lossim._engine.step import Step
from lossim._support.quotients import quotient
from lossim._support.records import Record, mapped
from lossim._support.text import Note
from lossim._support.types import FloatArray, NoClosedForm
from lossim.advantages import ResponseAdvantage, Whitened
from lossim.aggregation import TokenSum
from lossim.estimates import Method
from lossim.schemes import Scheme

__all__ = ["Expected", "batch_moments", "expected_measures", "share_of_dead_groups", "token_measures",
           "token_whitening", "update_scale", "update_scales"]

MOST_SCATTER = 0.9
"""Relative variance of a step's statistic from which on no series in it says anything."""
ROUNDING = 1e-13
"""Rounding error allowed for, relative to the sum of the absolute contributions."""
ROUNDING_OF_TRANSFORMS = 2e-15
"""The same of a denominator's transform, for each response that it is taken to the power of."""
LARGE_BATCH = Note("large batch", "advantages are scaled by statistics of a step: exact in the limit of a large batch; "
                   "the error says about how far this step is from it, and small steps need method='monte_carlo'")


class Expected(Record):
    """Expected measures with the method and the relative error of the ratios behind them.

    ``finite_batch`` is about how far a step of this size is from the limit of a large one, relative to what each kind
    of response contributes; 0 where nothing is scaled by statistics of a step.
    """

    measures: Measures
    method: Method
    error: float
    finite_batch: float

    @property
    def notes(self) -> list[Note]:
        """What was taken to a limit."""
        return [LARGE_BATCH] if self.method == "large-batch limit" else []

    def relative_error(self, scheme: Scheme) -> float:
        """That of a number that is read off them, of the sum of its absolute contributions.

        Rounding of a denominator's transform grows with the number of responses it is taken to the power of.
        """
        if not self.error:
            return ROUNDING
        return ROUNDING + self.error + ROUNDING_OF_TRANSFORMS * scheme.responses_per_step


def expected_measures(step: Step) -> Expected:
    """The measures of one expected step.

    Raises:
        NoClosedForm: the expectation of a slot has no closed form; the message names it.
        ValueError: ``dynamic_sampling="resample"`` where every group has equal rewards.
    """
    scheme = step.scheme
    if scheme.reward.group_relative:
        raise NoClosedForm("reward", scheme.reward.group_words)
    estimator = step.response_level
    if estimator is not None:
        reason = estimator.traits.no_closed_form
        if reason is None and estimator.needs_whole_step and estimator.traits.step_eps is None:
            reason = "it scales by a statistic of the whole step"
        if reason is not None:
            raise NoClosedForm("advantage", reason)
    average = Average(step=step, rule=scheme.aggregation)
    term: ResponseTerm | TokenTerm
    if estimator is None:
        term, limit = _token_term(average)
    elif step.whitening is not None:
        term, limit = _whitened_response_term(average, estimator, step.whitening)
    else:
        term, limit = _response_term(average, estimator)
    penalised = scheme.kl_in_loss is not None or scheme.entropy is not None
    weight = with_entries(step.old, average.presence) if penalised else None
    denominators = average.denominators
    standardized = average.standardized_error
    method: Method = "sum" if denominators.aggregation is ONE and standardized is None else "quadrature"
    return Expected(measures=Measures(credit=term, weight=weight),
                    method="large-batch limit" if limit is not None else method, finite_batch=limit or 0.0,
                    error=denominators.aggregation.error + denominators.baseline.error + (standardized or 0.0))


def _token_term(average: Average) -> tuple[TokenTerm, float | None]:
    """GAE's measures; if they are whitened by μ and σ of a large batch's tokens, how far a step is from that."""
    step = average.step
    weight = average.presence
    if step.whitening is None:
        return token_measures(step, weight), None
    mean, scale, finite = token_whitening(step, step.whitening)
    means = np.full(len(weight), mean)
    shift = step.gained(scale * (0.0 - mean * weight), +1)
    return replace(token_measures(step, scale * weight), shift=shift, mean=means), finite


def token_measures(step: Step, weight: FloatArray) -> TokenTerm:
    """GAE's measures of a weight by [cell, grade, end], with the gain of whole responses where it has one sign."""
    sums = with_entries(step.old, weight) if step.signed else step.gained(weight, +1)
    gae = step.token_level
    credit = np.zeros_like(sums.entered)
    if len(credit) and gae is not None and not gae.adaptive:
        credit = entry_credit(step.old, sums, step.errors.last, step.errors.going, gae.discount)
    return TokenTerm(weight=sums, credit=credit)


def _response_term(average: Average, estimator: ResponseAdvantage) -> tuple[ResponseTerm, float | None]:
    """One advantage per response; if a large batch's std divides it, how far a step is from that."""
    scale = 1.0
    limit = None
    eps = estimator.traits.step_eps
    if eps is not None:
        _, spread, limit = batch_moments(average.step)
        scale = 1.0 / (spread + eps) if spread + eps > 0 else 0.0

    def credit(law: ClassLaw, factor: FloatArray) -> FloatArray:
        if average.rule.by_sign:
            return scale * balanced_credit(law, estimator, factor, np.positive)
        return scale * expected_credit(law, estimator, factor)

    def negative(law: ClassLaw, factor: FloatArray) -> FloatArray:
        if average.rule.by_sign:
            return scale * balanced_credit(law, estimator, factor, lambda advantage: np.minimum(advantage, 0.0))
        return scale * negative_credit(law, estimator, factor)

    paid = average.step.paid
    if paid is not None and len(average.step.old.arrival) and not average.by_move:
        slope = average.weighted(lambda law, factor: scale * return_slope(law, estimator, factor))
        total = with_paid(average.step.old, average.weighted(credit), slope, paid.stop, paid.go)
        return ResponseTerm(total=total), limit
    return _gained(average, credit, negative), limit


def _whitened_response_term(average: Average, estimator: ResponseAdvantage, whitening: Whitened
                            ) -> tuple[ResponseTerm, float]:
    """(A - μ)/σ with the mean and the std over all tokens of a large batch, and how far a step is from that."""
    mean, scale, finite = token_whitening(average.step, whitening)

    def credit(law: ClassLaw, factor: FloatArray) -> FloatArray:
        return scale * (expected_credit(law, estimator, factor) - mean * law.presence(factor))

    def negative(law: ClassLaw, factor: FloatArray) -> FloatArray:
        return scale * negative_credit(law, estimator, factor, mean)

    return _gained(average, credit, negative), finite


def _gained(average: Average, credit: Expectation, negative: Expectation) -> ResponseTerm:
    """What is expected given the own end, and the part of it below 0, times the gains of whole responses by sign."""
    if average.by_move:
        return _gained_by_move(average, credit, negative)
    step = average.step
    total = average.weighted(credit)
    ungained = None if step.response_parts(+1) is None else total
    if not step.signed:
        return ResponseTerm(total=step.gained(total, +1), ungained=ungained)
    part = average.weighted(negative)
    below = step.gained(part, -1)
    above = step.gained(total - part, +1)
    return ResponseTerm(total=mapped(np.add, above, below), negative=below, ungained=ungained)


def _gained_by_move(average: Average, credit: Expectation, negative: Expectation) -> ResponseTerm:
    """The same, summed over all pairs of a response's move and end."""
    step = average.step
    above, below, ungained = (average.no_sums() for _ in range(3))
    for law, weight in average.moved_classes():
        total = weight * credit(law, average.factor)
        if step.response_parts(+1) is not None:
            add_up(law, total, None, ungained)
        if step.signed:
            part = weight * negative(law, average.factor)
            add_up(law, part, -1, below)
            total -= part
        add_up(law, total, +1, above)
    return ResponseTerm(total=mapped(np.add, above, below), negative=below if step.signed else None,
                        ungained=None if step.response_parts(+1) is None else ungained.ended)


def share_of_dead_groups(step: Step) -> float:
    """P(the task rewards of a group in time are all equal); NaN where a reward compares the responses of a group."""
    if step.scheme.reward.group_relative:
        return float("nan")
    average = Average(step=step, rule=TokenSum())
    return max(1.0 - average.unequal_groups / average.admitted_groups, 0.0)


def update_scale(step: Step) -> float:
    """About how large an update's coefficients are before anything cancels: largest |R| (and |V|) × mean n·weight.

    A gradient that is a rounding error of this size moves nothing.
    """
    return float(update_scales(step, step.old.chance_of_end[None])[0])


def update_scales(step: Step, mass: FloatArray) -> FloatArray:
    """The same of several policies, whose cells stand one after another; ``mass`` is P(end), [policy, end]."""
    rule = step.scheme.aggregation
    denominators = Denominators(step=step, rule=rule)
    scale: FloatArray = mass @ step.own_weight(rule) * largest_pays(step, mass)
    if denominators.aggregation is ONE:
        return scale
    groups = 1 if rule.within_group else step.scheme.prompts_per_step
    expected = step.scheme.group_size * groups * (mass @ denominators.size)
    return scale / np.maximum(expected, float(denominators.size.max()))


# --- statistics of a step, in the limit of a large batch --------------------------------------------------------


def token_whitening(step: Step, whitened: Whitened) -> tuple[float, float, float]:
    """μ and (σ² + eps)^-½ over the tokens in the loss, and what a finite step is off by; dropped groups still count."""
    if step.scheme.dynamic_sampling == "drop":
        step = replace(step, scheme=replace(step.scheme, dynamic_sampling="none"))
    average = Average(step=step, rule=TokenSum())
    length = step.old.length
    tokens = average.presence
    count = float((tokens * length).sum())
    if count == 0:
        return 0.0, 0.0, 0.0
    estimator = step.response_level
    squares = np.zeros_like(tokens)
    if estimator is None:
        first, second = advantage_sums(step)
        total = float((tokens * first).sum())
        squares = tokens * second
    else:
        total = float((average.over_moves(lambda law, factor: expected_credit(law, estimator, factor)) * length).sum())
        if whitened.scale:
            squares = average.over_moves(lambda law, factor: squared_credit(law, estimator, factor)) * length
    mean = total / count
    mean_square = float(squares.sum()) / count
    factor = whitened.factor(np.array(mean_square - mean**2), np.array(mean_square), np.array(np.inf))
    return mean, float(factor), _finite_batch(step, squares if whitened.scale else tokens * length)


def _finite_batch(step: Step, added: FloatArray) -> float:
    """How far a step is from the limit of a large one, relative to what its responses contribute: of order 1/n.

    With Z what a response adds to the statistic, of mean z̄, the statistic scatters from step to step by the relative
    variance V = (Var(Z) + (G - 1) Var_class(E[Z | class])) / (n z̄²). The next order of E[X/σ̂] is made of V (by 3/8), of
    what a response itself has in σ̂ (by half of √(E[Z²]/z̄²) times its own spread, over n), and of 1/n, from the mean
    and from degrees of freedom. Z² instead of its variance covers all, x = (E[Z²] + (G - 1) Var_class) / (n z̄²). It is
    the size of that term, and no bound; the orders beyond it are taken to follow like powers, x/(1 - x).

    ``added`` [cell, grade, end] is P(end) times Z, up to a factor.
    """
    policy = step.old
    mass = policy.law * policy.cell_weight[:, None, None]
    mean = float(added.sum())
    if mean <= 0:
        return 0.0
    squared = float((quotient(added, mass) * added).sum())
    by_class = np.zeros(len(policy.class_weight))
    np.add.at(by_class, policy.class_of_cell, added.sum(axis=(1, 2)))
    between = float((quotient(by_class, policy.class_weight) * by_class).sum()) - mean**2
    scheme = step.scheme
    scatter = (squared + (scheme.group_size - 1) * max(between, 0.0)) / (mean**2 * scheme.responses_per_step)
    return scatter / (1.0 - min(scatter, MOST_SCATTER))


def batch_moments(step: Step) -> tuple[float, float, float]:
    """Mean and standard deviation of the returns in the baseline over all classes, and what a finite step is off by."""
    policy = step.old
    mass = policy.law * policy.cell_weight[:, None, None] * step.in_baseline
    if step.scheme.replaces:
        average = Average(step=step, rule=TokenSum())
        for j, law in enumerate(average.by_end):
            kept = law.presence(average.factor)
            mass[policy.class_cells[j]] *= kept.reshape(-1, policy.law.shape[1], kept.shape[-1])
    total = mass.sum()
    if total == 0:
        return 0.0, 0.0, 0.0
    top = float(np.max(np.where(mass > 0, step.returns, -np.inf)))
    returns = step.returns - top  # equal returns are then exactly 0
    mean = float((mass * np.where(mass > 0, returns, 0.0)).sum() / total)
    squares = mass * (np.where(mass > 0, returns - mean, 0.0) ** 2 + step.paid_variance[:, None])
    return top + mean, float(np.sqrt(squares.sum() / total)), _finite_batch(step, squares)
