"""GAE under a surrogate that reads the sign of each token's advantage: all pairs (t, T), or (move, end), O(N²)."""

from __future__ import annotations

import numpy as np

from lossim._engine.gae import needed_gae, one_state_each
from lossim._engine.gae_pairs import MOST_ENTRIES, earlier_errors, pair_blocks
from lossim._engine.measures import TokenSums, TokenTerm, by_outcome, of_sign
from lossim._engine.states import moved_given_end, moves_and_ends
from lossim._engine.step import Step
from lossim._support.positions import blocks, discounted_sum
from lossim._support.quotients import quotient
from lossim._support.types import FloatArray, IntArray, NoClosedForm

NO_SIGN = "use a surrogate that does not read the sign, as surrogates.CISPO, or a response-level advantage"
TINY = 1e-280
"""A power of the discount below which a token sees nothing of what lies so far ahead."""


def gae_sums_of_sign(step: Step, term: TokenTerm, sign: int, cells: slice) -> TokenSums:
    """The sums of :func:`~lossim._engine.gae.gae_sums` over the tokens whose advantage has that sign."""
    gae = needed_gae(step)
    one_state_each(step, "a clip by the sign of advantages whose λ depends on the length", gae.adaptive)
    one_state_each(step, f"{type(step.scheme.surrogate).__name__}, which reads the ratio of the whole response and the "
                   "sign of GAE's token advantages", step.response_parts(sign) is not None)
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
    weight = term.weight.ended[cells] * step.response_gain(sign)[cells, None]
    ends = weight.shape[-1]
    source, target, rows = step.policy.layout.moves_within(cells)
    go = np.zeros((len(weight), 3, ends - 1))
    for block in pair_blocks(gae, step.policy.length, step.errors.going[cells]):
        advantage = last[:, :, block.ends, None] * block.power - mean[:, None, None, None]
        if block.base is not None:
            advantage = advantage + block.base[:, None]
        advantage = of_sign(advantage, sign)
        advantage *= step.policy.length[block.ends, None] >= np.arange(1, ends)
        for move, cell in enumerate(target, start=rows.start):  # as many as were there by then
            advantage[cell] *= np.cumsum(moved_given_end(step.old, move, block.ends), axis=1)
        paid = weight[:, :, block.ends, None] * advantage
        inside = np.arange(ends)[block.ends] < ends - 1
        go[:, 0] += paid[:, 0, inside].sum(axis=1)
        go[:, 1] += paid[:, 1:, inside].sum(axis=(1, 2))
        go[:, 2] += paid[:, :, ~inside].sum(axis=(1, 2))
    stop = by_outcome(weight * of_sign(last - mean[:, None, None], sign))[:, :2, :-1]
    go[:, :2] -= stop
    for move, (before, after) in enumerate(zip(source, target, strict=True), start=rows.start):
        go[before] += _before_the_move(step, move, weight[after], mean[before], sign)
    return TokenSums(stop=stop, go=go).times(gains)


def _before_the_move(step: Step, move: int, weight: FloatArray, mean: float, sign: int) -> FloatArray:
    """Sums over tokens before a change of state, [outcome, t]; ``weight`` [grade, end] is of those that ended after it.

    The advantage of token t of a response that moves at W with advantage A there is c_t(W) + x^{W-t} A, with c the TD
    errors until then. For each W the ends are sorted by A; which of them have the sign at t is then one search.
    """
    policy = step.old
    errors = step.errors
    x = needed_gae(step).discount
    source, target = policy.layout.moves.pairs[move]
    column = np.arange(float(policy.max_tokens))
    # A by grade and end, as far as it does not depend on the move: A = a_W + x^{T-W} (δ_last - a_T).
    tail = discounted_sum(errors.going[target], x)
    place = np.minimum(np.arange(policy.max_tokens + 1), policy.max_tokens - 1)
    excess = errors.last[target] - tail[place]
    mass = policy.ends[target]
    each = quotient(weight, mass)
    grade = np.minimum(np.arange(len(weight)), 1)[:, None]
    outcome = np.broadcast_to(np.where(np.arange(len(mass)) < policy.max_tokens, grade, 2), weight.shape).ravel()
    total = np.zeros((3, policy.max_tokens))
    for moved in blocks(policy.max_tokens, 16 * policy.max_tokens, MOST_ENTRIES):
        entered = np.arange(policy.max_tokens)[moved]
        gap = entered[:, None] - column
        before = gap > 0
        power = np.where(before, x ** np.maximum(gap, 0.0), 0.0)
        until = earlier_errors(errors.going[None, source], gap, np.full(len(entered), x))[0]
        last = np.where(before, x ** np.maximum(gap - 1.0, 0.0), 0.0)
        jump = np.append(0.0, errors.moving[move] - errors.going[source])[entered]
        until += last * jump[:, None]
        reach = x ** np.maximum(place - entered[:, None], 0.0)
        advantage = tail[entered, None, None] + reach[:, None] * excess
        weighed = moves_and_ends(policy, move, moved, slice(None))[:, None] * each
        rows = len(entered)
        found = _sums(advantage.reshape(rows, -1), weighed.reshape(rows, -1), outcome, until - mean, power, sign)
        total += (found * before[:, None]).sum(axis=0)
    return total


def _sums(value: FloatArray, mass: FloatArray, outcome: IntArray, base: FloatArray, power: FloatArray, sign: int
          ) -> FloatArray:
    """Σ_i mass_i · max(base + power · value_i, 0) by outcome, or with min, [row, outcome, t].

    ``value`` and ``mass`` [row, i], ``outcome`` [i], ``base`` and ``power`` [row, t].
    """
    rows = np.arange(len(value))[:, None]
    order = np.argsort(value, axis=1)
    ordered = np.take_along_axis(value, order, axis=1)
    heavy = np.take_along_axis(mass, order, axis=1)[:, None] * (outcome[order][:, None] == np.arange(3)[:, None])
    counts = np.concatenate([np.zeros((len(value), 3, 1)), np.cumsum(heavy, axis=2)], axis=2)
    sums = np.concatenate([np.zeros((len(value), 3, 1)), np.cumsum(heavy * ordered[:, None], axis=2)], axis=2)
    # How many values lie at or below the one at which the sign changes: one search in all rows, one behind the other.
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        turn = np.where(power > TINY, -base / power, np.where(base > 0, -np.inf, np.inf))
    low = ordered[:, 0].min()
    span = float(ordered[:, -1].max() - low) + 1.0
    flat = (ordered - low + span * rows).ravel()
    asked = np.clip(turn - low, -0.5, span - 0.5) + span * rows
    below = np.searchsorted(flat, asked.ravel(), side="right").reshape(turn.shape) - value.shape[1] * rows
    count = np.take_along_axis(counts, below[:, None], axis=2)
    total = np.take_along_axis(sums, below[:, None], axis=2)
    if sign > 0:
        count = counts[:, :, -1:] - count
        total = sums[:, :, -1:] - total
    return base[:, None] * count + power[:, None] * total


def signed_projection(step: Step, mean: float, stop: FloatArray, go: FloatArray) -> FloatArray:
    """Σ_t (Â_t - mean) · gain · score_t of responses of one state, the gain at the sign of that: [cell, grade, end].

    For scores of the tokens that stop and that go on, [cell, t]; O(N²).
    """
    gae = needed_gae(step)
    last = step.errors.last
    total = np.zeros_like(last)
    positions = np.arange(step.policy.max_tokens)
    for sign in (+1, -1):
        gains = step.gains(sign)
        if gains is None:
            raise ValueError("a sign is read off policy alone: step.old must be another policy")
        whole = step.response_gain(sign)[:, None]
        weighed = go * gains.go
        for block in pair_blocks(gae, step.policy.length, step.errors.going):
            advantage = last[:, :, block.ends, None] * block.power - mean
            if block.base is not None:
                advantage = advantage + block.base[:, None]
            advantage = of_sign(advantage, sign)
            advantage *= positions < np.arange(last.shape[-1])[block.ends, None]
            paid = np.einsum("cget,ct->cge", advantage, weighed)
            total[:, :, block.ends] += whole[:, :, block.ends] * paid
        at_last = of_sign(last[:, :, :-1] - mean, sign) * (stop * gains.stop)[:, None]
        total[:, :, :-1] += whole[:, :, :-1] * at_last
    return total
