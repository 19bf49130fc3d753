"""GAE over a law or a batch: Σ over responses of Â_t(T), without looking at single responses.

With δ_t = r_t + γV_{t+1} - V_t and x = γλ, the advantage of token t of a response of length T is

    Â_t(T) = Σ_{u=t}^{T-1} x^{u-t} δ_u + x^{T-t} δ_last(T) .

Sums over the responses that get to t follow by recurrences, in O(N); where λ depends on T, or the sign of each Â_t(T)
matters, all pairs (t, T) are summed in blocks, in O(N²). See docs/derivations.md, sections 3
and 4.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lossim._engine.measures import TokenSums, TokenTerm, by_outcome
from lossim._engine.step import Step
from lossim._support.positions import after, before, discounted_sum, running_sum
from lossim._support.records import Record
from lossim._support.types import FloatArray, NoClosedForm
from lossim.advantages import GAE

__all__ = ["advantage_sums", "gae_projection", "gae_sums", "gae_sums_of_sign"]

NO_SIGN = "use a surrogate that does not read the sign, as surrogates.CISPO, or a response-level advantage"
MOST_ENTRIES = 1 << 23
"""Entries [cell, end, t] held at once where every pair of position and length is summed."""


def gae_sums(step: Step, term: TokenTerm, cells: slice) -> TokenSums:
    """Sums over a measure μ of Â_t, of some cells.

    Those that stop at t have m_t = μ(t)·δ_last(t). Those that get there have

        F_t = m_t + δ_t Σ_{end>t} μ(end) + γλ F_{t+1} ,

    and F - m belongs to those that go on.
    """
    gae = _needed(step)
    gains = step.gains(+1, cells)
    going = step.errors.going[cells]
    measure = term.weight[cells]
    reward = None if term.reward is None else term.reward[cells]
    if gains is not None:
        measure = measure * gains.response[:, None]
        reward = None if reward is None else reward * gains.response[:, None]
    last = measure * step.errors.last[cells]
    credited = by_outcome(last if reward is None else last + reward)
    stop = credited[:, :2, :-1]
    if gae.adaptive:
        go = _pairs(gae, step.policy.length, going, by_outcome(measure), credited)
    else:
        go = going[:, None] * after(by_outcome(measure))
        go[:, :2] += stop
        go[:, 2, -1] += credited[:, 2, -1]
        go = discounted_sum(go, gae.discount)
        go[:, :2] -= stop
    if gains is None:
        return TokenSums(stop=stop, go=go)
    return TokenSums(stop=stop * gains.stop[:, None], go=go * gains.go[:, None])


def gae_sums_of_sign(step: Step, term: TokenTerm, sign: int, cells: slice) -> TokenSums:
    """The same sums over the tokens whose advantage has that sign: all pairs (t, T) in blocks, O(N²)."""
    gae = _needed(step)
    if term.reward is not None:
        raise NoClosedForm("surrogate", "a clip by the sign of GAE's token advantages with a reward that compares a "
                           "group", hint=f"neither method does it; {NO_SIGN}")
    if term.shift is not None and term.mean is None:
        raise NoClosedForm("surrogate", "a clip by the sign of whitened token advantages, over many batches",
                           hint=f"use method='exact', the limit of a large batch; or {NO_SIGN}")
    gains = step.gains(sign, cells)
    if gains is None:
        raise ValueError("a sign is read off policy alone: step.old must be another policy")
    last = step.errors.last[cells]
    mean = np.zeros(len(last)) if term.mean is None else term.mean[cells]
    weight = term.weight[cells] * gains.response[:, None]
    count, _, ends = weight.shape
    go = np.zeros((count, 3, ends - 1))

    def part(x: FloatArray) -> FloatArray:
        return np.maximum(x, 0.0) if sign > 0 else np.minimum(x, 0.0)

    for block in _blocks(gae, step.policy.length, step.errors.going[cells]):
        advantage = last[:, :, block.ends, None] * block.power - mean[:, None, None, None]
        if block.base is not None:
            advantage = advantage + block.base[:, None]
        advantage = part(advantage)
        advantage *= step.policy.length[block.ends, None] >= np.arange(1, ends)
        paid = weight[:, :, block.ends, None] * advantage
        inside = np.arange(ends)[block.ends] < ends - 1
        go[:, :2] += paid[:, :, inside].sum(axis=2)
        go[:, 2] += paid[:, :, ~inside].sum(axis=(1, 2))
    stop = (weight * part(last - mean[:, None, None]))[:, :, :-1]
    go[:, :2] -= stop
    return TokenSums(stop=stop * gains.stop[:, None], go=go * gains.go[:, None])


def advantage_sums(step: Step) -> tuple[FloatArray, FloatArray]:
    """Σ_t Â_t and Σ_t Â_t² of a response, by how it ended: [cell, grade, end]; for whitening.

    Â_t = a_t + x^{T-t} (δ_last - a_T) with a_t = Σ_{u>=t} x^{u-t} δ_u over all positions, so both are running sums.
    """
    gae = _needed(step)
    errors = step.errors
    if gae.adaptive:
        return _sums_by_pairs(gae, step.policy.length, errors.going, errors.last)
    x = gae.discount
    tail = discounted_sum(errors.going, x)
    ones = np.ones_like(tail)
    excess = errors.last - _at_ends(tail)
    first = _at_ends(np.cumsum(tail, axis=1)) + excess * _at_ends(running_sum(ones, x))
    second = (_at_ends(np.cumsum(tail**2, axis=1)) + 2.0 * excess * _at_ends(running_sum(tail, x))
              + excess**2 * _at_ends(running_sum(ones, x * x)))
    return first, second


def _at_ends(y: FloatArray) -> FloatArray:
    """A number by position [cell, t] as one by end, [cell, 1, end]: a cut response ends at position N."""
    return np.concatenate([y, y[:, -1:]], axis=1)[:, None, :]


def gae_projection(step: Step, cells: slice, stop: FloatArray, go: FloatArray) -> FloatArray:
    """Σ_t Â_t · score_t by [cell, grade, end] of some cells, for scores of the tokens that stop and that go on.

    From Â_t = a_t + x^{T-t} (δ_last - a_T), as in :func:`advantage_sums`.
    """
    x = _needed(step).discount
    tail = discounted_sum(step.errors.going[cells], x)
    steady = before(tail * go)
    trace = running_sum(go, x)
    traces = np.column_stack([np.zeros(len(go)), x * trace])
    traces[:, -1] = trace[:, -1]
    final = np.column_stack([tail, np.zeros(len(tail))])
    last = step.errors.last[cells]
    total = steady[:, None] + (last - final[:, None]) * traces[:, None]
    total[:, :, :-1] += last[:, :, :-1] * stop[:, None]
    return total


def _needed(step: Step) -> GAE:
    """The estimator, which has to have token advantages."""
    if step.token_level is None:
        raise TypeError(f"token advantages need GAE, and the step has {step.scheme.advantage!r}")
    return step.token_level


# --- all pairs of position and length ---------------------------------------------------------------------------


class _Block(Record):
    """Some ends, with x^{T-t}·1[t <= T] as ``power`` [end, t] and Σ_{u=t}^{T-1} x^{u-t} δ_u as ``base`` [cell, end, t].

    ``base`` is None where all δ are 0.
    """

    ends: slice
    power: FloatArray
    base: FloatArray | None


def _blocks(gae: GAE, length: FloatArray, going: FloatArray) -> Iterator[_Block]:
    """All ends, block by block; x = γλ(T), of which a constant λ is the special case."""
    size = int(np.clip(MOST_ENTRIES // going.size, 1, 256))
    positions = np.arange(1.0, going.shape[1] + 1.0)
    for start in range(0, len(length), size):
        ends = slice(start, start + size)
        x = gae.discount_by_length(length[ends])[:, None]
        gap = length[ends][:, None] - positions
        power = np.where(gap >= 0, np.power(x, np.maximum(gap, 0.0)), 0.0)
        yield _Block(ends=ends, power=power, base=_base(going, gap, x) if going.any() else None)


def _base(going: FloatArray, gap: FloatArray, x: FloatArray) -> FloatArray:
    """Σ_{u=t}^{T-1} x^{u-t} δ_u by doubling: after k rounds each entry sums 2^k terms of the recurrence."""
    base = np.where(gap > 0, going[:, None, :], 0.0)
    shift = 1
    factor = x
    while shift < going.shape[1]:
        base[:, :, :-shift] += factor * base[:, :, shift:]
        shift = 2 * shift
        factor = factor * factor
    return base


def _pairs(gae: GAE, length: FloatArray, going: FloatArray, measure: FloatArray, credited: FloatArray) -> FloatArray:
    """Σ_{end>t} of μ·Â_t(T), [cell, outcome, t]."""
    total = np.zeros((*measure.shape[:2], going.shape[1]))
    for block in _blocks(gae, length, going):
        total += credited[:, :, block.ends] @ block.power
        if block.base is not None:
            total += measure[:, :, block.ends] @ block.base
    return total - np.pad(credited[:, :2, :-1], ((0, 0), (0, 1), (0, 0)))


def _sums_by_pairs(gae: GAE, length: FloatArray, going: FloatArray, last: FloatArray
                   ) -> tuple[FloatArray, FloatArray]:
    """Σ_t Â_t and Σ_t Â_t², [cell, grade, end]."""
    first = np.zeros_like(last)
    second = np.zeros_like(last)
    for block in _blocks(gae, length, going):
        advantage = last[:, :, block.ends, None] * block.power
        if block.base is not None:
            advantage = advantage + block.base[:, None]
        first[:, :, block.ends] = advantage.sum(axis=-1)
        second[:, :, block.ends] = (advantage**2).sum(axis=-1)
    return first, second
