"""GAE under a surrogate that reads the sign of each token's advantage: all pairs (t, T), and all (t, move) for each T.

The advantage of token t of a response that ends at T hangs on t and T, and before a change of state on when that comes.
See docs/derivations.md, sections 13 and 18.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lossim._engine.ahead import sums_ahead
from lossim._engine.gae import needed_gae
from lossim._engine.gae_pairs import Block, pair_blocks
from lossim._engine.measures import TokenSums, TokenTerm, by_outcome, of_sign
from lossim._engine.states import moved_given_end
from lossim._engine.step import Step
from lossim._support.types import BoolArray, FloatArray, NoClosedForm

NO_SIGN = "use a surrogate that does not read the sign, as surrogates.CISPO, or a response-level advantage"
SIGNS = (+1, -1)


def gae_sums_by_sign(step: Step, term: TokenTerm, cells: slice) -> TokenSums:
    """The sums of :func:`~lossim._engine.gae.gae_sums` with the gains that the sign of each token's advantage has."""
    _refuse(step, term)
    last = step.errors.last[cells]
    mean = np.zeros(len(last)) if term.mean is None else term.mean[cells]
    weight = term.weight.ended[cells]
    _, target, rows = step.policy.layout.moves_within(cells)
    # The gains of whole responses, on average given the end, [sign, cell, end].
    gain = np.stack([step.response_gain(sign)[cells] for sign in SIGNS])
    go = np.zeros((len(SIGNS), len(last), 3, step.policy.max_tokens))
    for block in pair_blocks(needed_gae(step), step.policy.length, step.errors.going[cells]):
        moved = [_moved(step, move, block.ends) for move in range(rows.start, rows.stop)]
        for cell, when in zip(target, moved, strict=True):
            gain[:, cell, block.ends] = when.sum(axis=-1)
        gained = weight[..., block.ends] * gain[:, :, None, block.ends]
        gained[:, target] = weight[target][..., block.ends]  # there they hang on the move
        go += _of_block(step, block, last[..., block.ends], gained, mean, moved, cells)
    stop = np.stack([by_outcome(weight * gain[number][:, None] * of_sign(last - mean[:, None, None], sign))[:, :2, :-1]
                     for number, sign in enumerate(SIGNS)])
    go[:, :, :2] -= stop
    above, below = (TokenSums(stop=stop[number], go=go[number]).times(step.gains(sign, cells))
                    for number, sign in enumerate(SIGNS))
    return above + below


def _refuse(step: Step, term: TokenTerm) -> None:
    """Say what is not summed."""
    if term.reward is not None:
        raise NoClosedForm("surrogate", "a clip by the sign of GAE's token advantages with a reward that compares a "
                           "group", hint=f"neither method does it; {NO_SIGN}")
    if term.shift is not None and term.mean is None:
        raise NoClosedForm("surrogate", "a clip by the sign of whitened token advantages, over many batches",
                           hint=f"use method='exact', the limit of a large batch; or {NO_SIGN}")
    if step.drawn_ratio is None:
        raise ValueError("a sign is read off policy alone: step.old must be another policy")


def _of_block(step: Step, block: Block, last: FloatArray, weight: FloatArray, mean: FloatArray,
              moved: Sequence[FloatArray], cells: slice) -> FloatArray:
    """Sums over the tokens of responses with some ends, [sign, cell, outcome, t].

    ``last`` [cell, grade, end] and ``weight`` [sign, cell, grade, end] are of these ends, ``moved`` of each move says
    when those moved who ended after it, [1 or sign, end, t].
    """
    base = np.zeros((len(last), *block.power.shape)) if block.base is None else block.base
    advantage = last[..., None] * block.power + base[:, None]
    source, target, rows = step.policy.layout.moves_within(cells)
    cut = np.arange(step.policy.max_tokens + 1)[block.ends] == step.policy.max_tokens
    inside = step.policy.length[block.ends, None] > np.arange(step.policy.max_tokens)
    total = np.empty((len(SIGNS), len(last), 3, step.policy.max_tokens))
    for number, sign in enumerate(SIGNS):
        own = of_sign(advantage - mean[:, None, None, None], sign) * inside
        for cell, when in zip(target, moved, strict=True):  # as many as were there by then
            own[cell] *= np.cumsum(when[number % len(when)], axis=1)
        total[number] = _by_outcome(weight[number][..., None] * own, cut)
    for before, after, when, move in zip(source, target, moved, range(rows.start, rows.stop), strict=True):
        found = _before_the_move(step, move, block, advantage[after], base[before], mean[before], when)
        total[:, before] += _by_outcome(weight[:, after, :, :, None] * found, cut)
    return total


def _moved(step: Step, move: int, ends: slice) -> FloatArray:
    """P(moved at t | ended so after it), with the gain of a whole response where there is one, [1 or sign, end, t]."""
    moved = moved_given_end(step.old, move, ends)
    gains = [step.response_gain_by_move(move, ends, sign) for sign in SIGNS]
    return np.stack([moved * gain for gain in gains if gain is not None] or [moved])


def _before_the_move(step: Step, move: int, block: Block, advantage: FloatArray, base: FloatArray, mean: float,
                     moved: FloatArray) -> FloatArray:
    """Sums over tokens before a change of state, given the end, [sign, grade, end, t].

    With w_t the sum of the TD errors of the state before, to the end, A_W the advantage of the token that moves at W
    and δ' the error of the token before it, the advantage of token t of a response with that end is

        A_t = w_t + x^{W-1-t} ( δ'_{W-1} - δ_{W-1} + x (A_W - w_W) ) .

    ``advantage`` A [grade, end, t] is of the state after, ``base`` w [end, t] of the state before; ``moved`` [1 or
    sign, end, t] are the weights of W.
    """
    grades = len(advantage)
    errors = step.errors
    jump = errors.moving[move] - errors.going[step.policy.layout.moves.source[move]]
    until = int(step.policy.length[block.ends].max()) - 1
    value = jump[:until] + block.x[:, None] * (advantage - base)[..., 1:until + 1]
    start = np.broadcast_to(base[:, :until] - mean, value.shape)
    weight = np.repeat(moved[:, None, :, 1:until + 1], grades, axis=1)
    found = np.zeros((len(SIGNS), *advantage.shape))
    if until:
        sums = sums_ahead(start.reshape(-1, until), value.reshape(-1, until), weight.reshape(len(moved), -1, until),
                          np.tile(block.x, grades))
        found[..., :until] = sums.reshape(len(SIGNS), *value.shape)
    return found


def _by_outcome(x: FloatArray, cut: BoolArray) -> FloatArray:
    """Sums over some ends [..., grade, end, t] by outcome [..., outcome, t]; ``cut`` [end] says which are cut."""
    stopped = x[..., ~cut, :].sum(axis=-2)
    return np.stack([stopped[..., 0, :], stopped[..., 1:, :].sum(axis=-2), x[..., cut, :].sum(axis=(-3, -2))], axis=-2)


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
