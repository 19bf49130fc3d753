"""From weighted responses to a gradient: one functional for the law of a policy and for a batch.

Every update in scope is a sum over tokens of coefficient × score. The score of the stop logit z(t) is 1 - h(t) for a
response that stops at t and -h(t) for one that goes on, so all that matters at position t is the sum of coefficients
over the responses that stop there and over those that go on (:class:`TokenSums`). Both are reversed cumulative sums
over a measure [cell, grade, end]: P(end) times the expected coefficient gives the expectation, counts of a batch
times their own coefficients give that batch's gradient. See docs/derivations.md, sections 1 to 3, and 18 for responses
that change state.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from lossim._engine.gae import gae_sums
from lossim._engine.gae_moments import advantage_sums, reach_sums
from lossim._engine.gae_signs import gae_sums_by_sign
from lossim._engine.measures import EndSums, Measures, ResponseTerm, Roles, TokenSums, TokenTerm, by_outcome
from lossim._engine.states import sums_by_token
from lossim._engine.step import Step
from lossim._model import CellArrays, Logits
from lossim._support.records import Record, mapped
from lossim._support.types import FloatArray

__all__ = ["TERMS", "TermSums", "path_gradient", "skill_gradient", "surprises", "token_sums",
           "update_gradient"]

TERMS = ("policy", "kl", "entropy")
"""The terms of an update, in the order of :attr:`TermSums.present`."""


class TermSums(Record):
    """Coefficient sums by term of the update; None for a term that the scheme has not."""

    policy: TokenSums
    kl: TokenSums | None
    entropy: TokenSums | None

    @property
    def present(self) -> list[tuple[int, TokenSums]]:
        """The terms that there are, each with its number in ``TERMS``."""
        parts = (self.policy, self.kl, self.entropy)
        return [(number, part) for number, part in enumerate(parts) if part is not None]


def token_sums(step: Step, measures: Measures, cells: slice = slice(None), *, apart: bool = True) -> TermSums:
    """Coefficient sums of some cells by term, as far as the scheme has them.

    By outcome, unless these need not be kept ``apart``: terms that are cheaper so are then summed over all of them.
    """
    kl = entropy = None
    weight = measures.weight
    if weight is not None and step.kl_slope is not None:
        kl = sums_by_token(step.policy, weight, cells, apart=apart).times(mapped(lambda x: x[cells], step.kl_slope))
    if weight is not None and step.scheme.entropy is not None:
        entropy = _entropy_sums(step.policy, step.scheme.entropy.coefficient, weight, cells)
    return TermSums(policy=_policy_sums(step, measures.credit, cells, apart), kl=kl, entropy=entropy)


def _policy_sums(step: Step, credit: ResponseTerm | TokenTerm, cells: slice, apart: bool) -> TokenSums:
    """The policy term: weight × advantage × gain."""
    if isinstance(credit, ResponseTerm):
        total = _response_sums(step, credit.total, +1, cells, apart)
        if credit.negative is None:
            return total
        # The positive part is what is left of the total, with gains of its own.
        negative = mapped(np.negative, credit.negative)
        return (total + _response_sums(step, negative, +1, cells, apart)
                + _response_sums(step, credit.negative, -1, cells, apart))
    if credit.by_token is not None:
        return mapped(lambda x: x[cells], credit.by_token)
    if step.signed:
        return gae_sums_by_sign(step, credit, cells)
    by_token = gae_sums(step, credit, cells, apart=apart)
    if credit.shift is None:
        return by_token
    return _response_sums(step, credit.shift, +1, cells, apart) + by_token


def _response_sums(step: Step, sums: EndSums, sign: int, cells: slice, apart: bool) -> TokenSums:
    """Sums of what responses are credited with, times the gains of tokens at that sign of the advantage."""
    return sums_by_token(step.policy, sums, cells, apart=apart).times(step.gains(sign, cells))


def _entropy_sums(policy: CellArrays, coefficient: float, weight: EndSums, cells: slice) -> TokenSums:
    """∇H = E_a[-log π(a) · score] at visited states; at the first token H is joint over paths and stopping."""
    # How often each state is visited; the first one, the prompt, is shared by the paths of a class.
    found = sums_by_token(policy, weight, cells)
    visits = found.go
    visits[:, :2] += found.stop
    visits *= coefficient
    everyone = coefficient * by_outcome(weight.ended).sum(axis=2)
    shared = np.zeros((len(policy.class_weight), 3))
    np.add.at(shared, policy.class_of_cell, everyone)
    probability = policy.cell_probability[cells]
    at_first = probability * policy.at_risk[cells, 0]
    visits[:, :, 0] = at_first[:, None] * shared[policy.class_of_cell[cells]]
    surprise = surprises(policy, cells)
    return TokenSums(stop=visits * surprise.stop[:, None], go=visits * surprise.go[:, None])


def surprises(policy: CellArrays, cells: slice) -> Roles:
    """-π(a) log π(a) of both decisions, at the first with the path in -log π and not in the chance."""
    hazard = policy.hazard[cells]
    stay = policy.stay[cells]
    probability = policy.cell_probability[cells]
    stop = -np.where(hazard > 0, policy.log_stop[cells], 0.0)
    go = -np.where(stay > 0, policy.log_stay[cells], 0.0)
    path = -np.log(np.where(probability > 0, probability, 1.0))
    stop[:, 0] += path
    go[:, 0] += path
    return Roles(stop=hazard * stop, go=stay * go)


def update_gradient(step: Step, measures: Measures, skills: bool = False) -> Logits:
    """The gradient of all terms; that in the skills is 0 unless asked for."""
    policy = step.policy
    stops = np.empty_like(policy.logits)
    first = np.zeros(policy.layout.cells)
    for cells in policy.layout.blocks:
        terms = [sums for _, sums in token_sums(step, measures, cells, apart=False).present]
        stops[cells] = reduce(np.add, [sums.gradient(policy, cells) for sums in terms])
        for sums in terms:
            first[cells] += sums.first.sum(axis=1)
    return Logits(stops, path_gradient(policy, first), skill_gradient(step, measures, skills))


def skill_gradient(step: Step, measures: Measures, asked: bool) -> FloatArray:
    """Σ credit · (1[correct] - s), [cell]: the score of the log-odds s of being correct; 0 where not asked for.

    What decides the grade is spread evenly over a response's tokens: with one advantage for each token it is credited
    with their mean, on average given the end; off policy the gains of single tokens are left out of that.
    """
    if not asked:
        return np.zeros(step.policy.layout.cells)
    credit = measures.credit
    if isinstance(credit, ResponseTerm):
        total = credit.total.ended
    else:
        total = credit.weight.ended * advantage_sums(step)[0] / step.policy.length
        if credit.shift is not None:
            total = total + credit.shift.ended
        if credit.reward is not None:
            total = total + credit.reward * reach_sums(step) / step.policy.length
    right = total[:, 0] * (1.0 - step.policy.correctness)
    wrong = total[:, 1:].sum(axis=1) * step.policy.correctness
    return (right - wrong).sum(axis=-1)


def path_gradient(policy: CellArrays, first: FloatArray) -> FloatArray:
    """C_k - π_k Σ_l C_l, [path], of coefficient sums of the first token, [cell]."""
    layout = policy.layout
    by_path = layout.by_path(first)
    totals = np.bincount(layout.class_of_path, weights=by_path)
    return by_path - policy.probability * totals[layout.class_of_path]
