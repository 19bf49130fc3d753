"""From weighted responses to a gradient: one functional for the law of a policy and for a batch.

Every update in scope is a sum over tokens of coefficient × score. The score of the stop logit z(t) is 1 - h(t) for a
response that stops at t and -h(t) for one that goes on, so all that matters at position t is the sum of coefficients
over the responses that stop there and over those that go on (:class:`TokenSums`). Both are reversed cumulative sums
over a measure [cell, grade, end]: P(end) times the expected coefficient gives the expectation, counts of a batch
times their own coefficients give that batch's gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lossim._engine.step import Step
from lossim._support.positions import after, discounted_sum, running_sum
from lossim._support.types import FloatArray, NoClosedForm
from lossim.advantages import GAE, LengthAdaptive
from lossim.policies import Policy

__all__ = ["Measures", "TokenSums", "advantage_sums", "by_outcome", "logit_gradient", "path_gradient",
           "token_sums", "update_gradient"]

NO_SIGN = "use a surrogate that does not read the sign, as surrogates.CISPO, or a response-level advantage"
MOST_ENTRIES = 1 << 23
"""Entries [cell, end, t] held at once where every pair of position and length is summed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measures:
    """Responses weighted by what an update makes of them, each [cell, grade, end] or None where not needed.

    ``response``: probability × n·weight × advantage, for one advantage per response. ``gae``: probability ×
    n·weight, to be multiplied by the token advantages of GAE, with ``extra`` the same times a reward that the table
    of task rewards does not hold. ``plain``: probability × n·weight, for penalties. ``negative`` is the part of
    ``response`` with advantages below 0, where a surrogate treats the signs differently. ``mean`` [cell], under GAE:
    what ``response`` takes off each token advantage, if that is the same for all responses of a cell.
    """

    response: FloatArray | None = None
    negative: FloatArray | None = None
    gae: FloatArray | None = None
    extra: FloatArray | None = None
    plain: FloatArray | None = None
    mean: FloatArray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenSums:
    """Sums of coefficients over responses that stop at t and that go on at t, each [cell, outcome, t]."""

    stop: FloatArray
    go: FloatArray

    @property
    def first(self) -> FloatArray:
        """The coefficient sum of the first token, [cell, outcome]: what the choice of the path is credited with."""
        total = self.go[:, :, 0].copy()
        total[:, : self.stop.shape[1]] += self.stop[:, :, 0]
        return total


def by_outcome(x: FloatArray) -> FloatArray:
    """[cell, grade, end] → [cell, outcome, end]: the truncated column becomes an outcome of its own."""
    split = np.zeros((x.shape[0], 3, x.shape[2]))
    split[:, :2, :-1] = x[:, :, :-1]
    split[:, 2, -1] = x[:, :, -1].sum(axis=1)
    return split


def token_sums(step: Step, measures: Measures, cells: slice = slice(None)) -> dict[str, TokenSums]:
    """Coefficient sums by term: ``"policy"``, ``"kl"``, ``"entropy"``, as far as the scheme has them; of some cells."""
    terms: list[TokenSums] = []
    if measures.gae is not None and step.signed:
        terms += [_gae_of_sign(step, measures, sign, cells) for sign in (+1, -1)]
    elif measures.response is not None and measures.negative is not None:
        response, negative = measures.response[cells], measures.negative[cells]
        terms += [_weighted(step, response - negative, +1, cells), _weighted(step, negative, -1, cells)]
    elif measures.response is not None:
        terms.append(_weighted(step, measures.response[cells], +1, cells))
    if measures.gae is not None and not step.signed:
        terms.append(_gae(step, measures.gae[cells], None if measures.extra is None else measures.extra[cells], cells))
    sums = {"policy": TokenSums(stop=np.sum([part.stop for part in terms], axis=0),
                                go=np.sum([part.go for part in terms], axis=0)) if len(terms) > 1 else terms[0]}
    if measures.plain is not None and step.kl_slope is not None:
        stop, go = step.kl_slope
        weighted = by_outcome(measures.plain[cells])
        sums["kl"] = TokenSums(stop=weighted[:, :2, :-1] * stop[cells, None], go=after(weighted) * go[cells, None])
    if measures.plain is not None and step.scheme.entropy is not None:
        sums["entropy"] = _entropy(step.policy, step.scheme.entropy.coefficient, measures.plain, cells)
    return sums


def _weighted(step: Step, measure: FloatArray, sign: int, cells: slice) -> TokenSums:
    """One coefficient per response, times the surrogate's gain for that sign of the advantage."""
    gains = step.gains(sign, cells)
    if gains is None:
        weighted = by_outcome(measure)
        return TokenSums(stop=weighted[:, :2, :-1], go=after(weighted))
    weighted = by_outcome(measure * gains.response[:, None])
    return TokenSums(stop=weighted[:, :2, :-1] * gains.stop[:, None], go=after(weighted) * gains.go[:, None])


def _gae(step: Step, measure: FloatArray, extra: FloatArray | None, cells: slice) -> TokenSums:
    """F_t = m_t + δ_t Σ_{end>t} μ(end) + γλ F_{t+1}, m_t = μ(t)·δ_last(t); F - m belongs to those who go on."""
    assert isinstance(step.advantage, GAE)
    gae, gains = step.advantage, step.gains(+1, cells)
    going, last = step.errors.going[cells], step.errors.last[cells]
    if gains is not None:
        measure = measure * gains.response[:, None]
        extra = None if extra is None else extra * gains.response[:, None]
    credited = by_outcome(measure * last if extra is None else measure * last + extra)
    stop = credited[:, :2, :-1]
    if isinstance(gae.gae_lambda, LengthAdaptive):
        go = _adaptive(gae, step.policy.length, going, by_outcome(measure), credited)
    else:
        go = going[:, None] * after(by_outcome(measure))
        go[:, :2] += stop
        go[:, 2, -1] += credited[:, 2, -1]
        go = discounted_sum(go, gae.gamma * gae.gae_lambda)
        go[:, :2] -= stop
    return TokenSums(stop=stop, go=go) if gains is None else TokenSums(stop=stop * gains.stop[:, None],
                                                                      go=go * gains.go[:, None])


def _gae_of_sign(step: Step, measures: Measures, sign: int, cells: slice) -> TokenSums:
    """The same for the tokens whose advantage has that sign: all pairs (t, T) in blocks, O(N²)."""
    assert isinstance(step.advantage, GAE)
    assert measures.gae is not None
    if measures.extra is not None:
        raise NoClosedForm("surrogate", "a clip by the sign of GAE's token advantages with a reward that compares a "
                           "group", hint=f"neither method does it; {NO_SIGN}")
    if measures.response is not None and measures.mean is None:
        raise NoClosedForm("surrogate", "a clip by the sign of whitened token advantages, over many batches",
                           hint=f"use method='exact', the limit of a large batch; or {NO_SIGN}")
    last, gains = step.errors.last[cells], step.gains(sign, cells)
    assert gains is not None
    mean = np.zeros(len(last)) if measures.mean is None else measures.mean[cells]
    weight = measures.gae[cells] * gains.response[:, None]
    count, _, ends = weight.shape
    go = np.zeros((count, 3, ends - 1))

    def part(x: FloatArray) -> FloatArray:
        return np.maximum(x, 0.0) if sign > 0 else np.minimum(x, 0.0)

    for block, power, base in _adaptive_blocks(step.advantage, step.policy.length, step.errors.going[cells]):
        advantage = last[:, :, block, None] * power - mean[:, None, None, None]
        advantage = part(advantage if base is None else advantage + base[:, None])
        advantage *= step.policy.length[block, None] >= np.arange(1, ends)
        paid = weight[:, :, block, None] * advantage
        inside = np.arange(ends)[block] < ends - 1
        go[:, :2] += paid[:, :, inside].sum(axis=2)
        go[:, 2] += paid[:, :, ~inside].sum(axis=(1, 2))
    stop = (weight * part(last - mean[:, None, None]))[:, :, :-1]
    go[:, :2] -= stop
    return TokenSums(stop=stop * gains.stop[:, None], go=go * gains.go[:, None])


def _adaptive(gae: GAE, length: FloatArray, going: FloatArray, measure: FloatArray, credited: FloatArray) -> FloatArray:
    """The same sums where λ depends on T: Σ_{end>t} of μ·Â_t(T), all pairs (t, T) in blocks, O(N²)."""
    total = np.zeros((*measure.shape[:2], going.shape[1]))
    for ends, power, base in _adaptive_blocks(gae, length, going):
        total += credited[:, :, ends] @ power
        if base is not None:
            total += measure[:, :, ends] @ base
    return total - np.pad(credited[:, :2, :-1], ((0, 0), (0, 1), (0, 0)))


Block = tuple[slice, FloatArray, FloatArray | None]


def _adaptive_blocks(gae: GAE, length: FloatArray, going: FloatArray) -> Iterator[Block]:
    """Blocks of ends with x^{T-t}·1[t <= T] as [end, t] and Σ_{u=t}^{T-1} x^{u-t} δ_u as [cell, end, t] (or None).

    x = γλ(T); a constant λ is the special case.
    """
    given = gae.gae_lambda
    block = int(np.clip(MOST_ENTRIES // going.size, 1, 256))
    positions = np.arange(1.0, going.shape[1] + 1.0)
    for start in range(0, len(length), block):
        ends = slice(start, start + block)
        decay = given(length[ends]) if isinstance(given, LengthAdaptive) else np.full(len(length[ends]), given)
        x = gae.gamma * decay[:, None]
        gap = length[ends][:, None] - positions
        power = np.where(gap >= 0, np.power(x, np.maximum(gap, 0.0)), 0.0)
        base = None
        if going.any():
            base = np.where(gap > 0, going[:, None, :], 0.0)
            shift, factor = 1, x
            while shift < going.shape[1]:  # doubling: after k rounds each entry sums 2^k terms of the recurrence
                base[:, :, :-shift] += factor * base[:, :, shift:]
                shift, factor = 2 * shift, factor * factor
        yield ends, power, base


def advantage_sums(step: Step) -> tuple[FloatArray, FloatArray]:
    """Σ_t Â_t and Σ_t Â_t² of a response under GAE, by how it ended: [cell, grade, end]; for whitening.

    Â_t = a_t + x^{T-t} (δ_last - a_T) with x = γλ and a_t = Σ_{u>=t} x^{u-t} δ_u, so both are running sums.
    """
    assert isinstance(step.advantage, GAE)
    gae, errors, length = step.advantage, step.errors, step.policy.length
    if isinstance(gae.gae_lambda, LengthAdaptive):
        first, second = np.zeros_like(errors.last), np.zeros_like(errors.last)
        for ends, power, base in _adaptive_blocks(gae, length, errors.going):
            tail = errors.last[:, :, ends, None] * power
            tail = tail if base is None else tail + base[:, None]
            first[:, :, ends], second[:, :, ends] = tail.sum(axis=-1), (tail**2).sum(axis=-1)
        return first, second
    x = gae.gamma * gae.gae_lambda
    tail = discounted_sum(errors.going, x)

    def at_ends(y: FloatArray) -> FloatArray:
        return np.concatenate([y, y[:, -1:]], axis=1)[:, None, :]

    ones = np.ones_like(tail)
    excess = errors.last - at_ends(tail)
    first = at_ends(np.cumsum(tail, axis=1)) + excess * at_ends(running_sum(ones, x))
    second = (at_ends(np.cumsum(tail**2, axis=1)) + 2.0 * excess * at_ends(running_sum(tail, x))
              + excess**2 * at_ends(running_sum(ones, x * x)))
    return first, second


def _entropy(policy: Policy, coefficient: float, plain: FloatArray, cells: slice) -> TokenSums:
    """∇H = E_a[-log π(a) · score] at visited states; at the first token H is joint over paths and stopping."""
    weighted = coefficient * by_outcome(plain[cells])
    visits = after(weighted) + weighted[:, :, :-1]
    everyone = coefficient * np.column_stack([plain[:, :, :-1].sum(axis=2), plain[:, :, -1].sum(axis=1)])
    shared = np.zeros((len(policy.class_weight), 3))
    np.add.at(shared, policy.class_of_cell, everyone)
    probability, hazard, stay = policy.probability[cells], policy.hazard[cells], policy.stay[cells]
    visits[:, :, 0] = probability[:, None] * shared[policy.class_of_cell[cells]]
    surprise_stop = -np.where(hazard > 0, policy.log_stop[cells], 0.0)
    surprise_go = -np.where(stay > 0, policy.log_stay[cells], 0.0)
    path = -np.log(np.where(probability > 0, probability, 1.0))
    surprise_stop[:, 0] += path
    surprise_go[:, 0] += path
    return TokenSums(stop=visits * (hazard * surprise_stop)[:, None], go=visits * (stay * surprise_go)[:, None])


def update_gradient(step: Step, measures: Measures) -> tuple[FloatArray, FloatArray]:
    """The gradient of all terms, in the stop logits [cell, t] and the path logits [cell]."""
    parts = [logit_gradient(step.policy, sums) for sums in token_sums(step, measures).values()]
    stops, paths = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
    return stops, paths


def logit_gradient(policy: Policy, sums: TokenSums) -> tuple[FloatArray, FloatArray]:
    """g(t) = (1 - h) Σ_stop - h Σ_go, [cell, t]; for the paths C_k - π_k Σ_l C_l with C the first token, [cell]."""
    stops = policy.stay * sums.stop.sum(axis=1) - policy.hazard * sums.go.sum(axis=1)
    return stops, path_gradient(policy, sums.first.sum(axis=1))


def path_gradient(policy: Policy, first: FloatArray) -> FloatArray:
    """C_k - π_k Σ_l C_l, [cell], of coefficient sums C of the first token."""
    totals = np.bincount(policy.class_of_cell, weights=first)
    gradient: FloatArray = first - policy.probability * totals[policy.class_of_cell]
    return gradient
