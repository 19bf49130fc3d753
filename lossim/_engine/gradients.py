"""From weighted responses to a gradient: one functional for the law of a policy and for a batch.

Every update in scope is a sum over tokens of coefficient × score. The score of the stop logit z(t) is 1 - h(t) for a
response that stops at t and -h(t) for one that goes on, so all that matters at position t is the sum of coefficients
over the responses that stop there and over those that go on (:class:`TokenSums`). Both are reversed cumulative sums
over a measure [cell, grade, end]: P(end) times the expected coefficient gives the expectation, counts of a batch
times their own coefficients give that batch's gradient. See docs/derivations.md, sections 1 to 3.
"""

from __future__ import annotations

import numpy as np

from lossim._engine.gae import gae_sums, gae_sums_of_sign
from lossim._engine.measures import Measures, ResponseTerm, TokenSums, TokenTerm, by_outcome
from lossim._engine.step import Step
from lossim._model import CellArrays, Logits
from lossim._support.positions import after
from lossim._support.records import Record
from lossim._support.types import FloatArray

__all__ = ["TERMS", "TermSums", "logit_gradient", "path_gradient", "token_sums", "update_gradient"]

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


def token_sums(step: Step, measures: Measures, cells: slice = slice(None)) -> TermSums:
    """Coefficient sums of some cells by term, as far as the scheme has them."""
    kl = entropy = None
    weight = measures.weight
    if weight is not None and step.kl_slope is not None:
        weighted = by_outcome(weight[cells])
        kl = TokenSums(stop=weighted[:, :2, :-1] * step.kl_slope.stop[cells, None],
                       go=after(weighted) * step.kl_slope.go[cells, None])
    if weight is not None and step.scheme.entropy is not None:
        entropy = _entropy_sums(step.policy, step.scheme.entropy.coefficient, weight, cells)
    return TermSums(policy=_policy_sums(step, measures.credit, cells), kl=kl, entropy=entropy)


def _policy_sums(step: Step, credit: ResponseTerm | TokenTerm, cells: slice) -> TokenSums:
    """The policy term: weight × advantage × gain."""
    if isinstance(credit, ResponseTerm):
        if credit.negative is None:
            return _response_sums(step, credit.total[cells], +1, cells)
        negative = credit.negative[cells]
        positive = credit.total[cells] - negative
        return _response_sums(step, positive, +1, cells) + _response_sums(step, negative, -1, cells)
    if step.signed:
        return gae_sums_of_sign(step, credit, +1, cells) + gae_sums_of_sign(step, credit, -1, cells)
    by_token = gae_sums(step, credit, cells)
    if credit.shift is None:
        return by_token
    return _response_sums(step, credit.shift[cells], +1, cells) + by_token


def _response_sums(step: Step, measure: FloatArray, sign: int, cells: slice) -> TokenSums:
    """One coefficient per response, times the surrogate's gain for that sign of the advantage."""
    gains = step.gains(sign, cells)
    if gains is None:
        weighted = by_outcome(measure)
        return TokenSums(stop=weighted[:, :2, :-1], go=after(weighted))
    weighted = by_outcome(measure * gains.response[:, None])
    return TokenSums(stop=weighted[:, :2, :-1] * gains.stop[:, None], go=after(weighted) * gains.go[:, None])


def _entropy_sums(policy: CellArrays, coefficient: float, weight: FloatArray, cells: slice) -> TokenSums:
    """∇H = E_a[-log π(a) · score] at visited states; at the first token H is joint over paths and stopping."""
    # How often each state is visited; the first one, the prompt, is shared by the paths of a class.
    weighted = coefficient * by_outcome(weight[cells])
    visits = after(weighted) + weighted[:, :, :-1]
    everyone = coefficient * np.column_stack([weight[:, :, :-1].sum(axis=2), weight[:, :, -1].sum(axis=1)])
    shared = np.zeros((len(policy.class_weight), 3))
    np.add.at(shared, policy.class_of_cell, everyone)
    probability = policy.probability[cells]
    visits[:, :, 0] = probability[:, None] * shared[policy.class_of_cell[cells]]
    # -log π(a) of both decisions.
    hazard = policy.hazard[cells]
    stay = policy.stay[cells]
    surprise_stop = -np.where(hazard > 0, policy.log_stop[cells], 0.0)
    surprise_go = -np.where(stay > 0, policy.log_stay[cells], 0.0)
    path = -np.log(np.where(probability > 0, probability, 1.0))
    surprise_stop[:, 0] += path
    surprise_go[:, 0] += path
    return TokenSums(stop=visits * (hazard * surprise_stop)[:, None], go=visits * (stay * surprise_go)[:, None])


def update_gradient(step: Step, measures: Measures) -> Logits:
    """The gradient of all terms, in the stop logits [cell, t] and the path logits [cell]."""
    parts = [logit_gradient(step.policy, sums) for _, sums in token_sums(step, measures).present]
    return Logits(np.sum([part.stops for part in parts], axis=0), np.sum([part.paths for part in parts], axis=0))


def logit_gradient(policy: CellArrays, sums: TokenSums) -> Logits:
    """g(t) = (1 - h) Σ_stop - h Σ_go, [cell, t]; for the paths C_k - π_k Σ_l C_l with C the first token, [cell]."""
    stops = policy.stay * sums.stop.sum(axis=1) - policy.hazard * sums.go.sum(axis=1)
    return Logits(stops, path_gradient(policy, sums.first.sum(axis=1)))


def path_gradient(policy: CellArrays, first: FloatArray) -> FloatArray:
    """C_k - π_k Σ_l C_l, [cell], of coefficient sums C of the first token."""
    totals = np.bincount(policy.class_of_cell, weights=first)
    return first - policy.probability * totals[policy.class_of_cell]
