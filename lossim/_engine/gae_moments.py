"""Σ_t Â_t and Σ_t Â_t² of a response, by how it ended or one by one: what whitening needs.

Both follow forwards, token by token, by what is known of earlier advantages. See docs/derivations.md, section 18.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from lossim._engine.gae import MOST_TOKENS, entry_advantage, given_ends, needed_gae, token_advantages
from lossim._engine.gae_pairs import sums_by_pairs
from lossim._engine.step import Step
from lossim._model import Draws
from lossim._support.positions import (
    after,
    before,
    blocks,
    discounted_sum,
    forward_recurrence,
    running_rows,
    running_sum,
)
from lossim._support.quotients import quotient
from lossim._support.records import Record, mapped
from lossim._support.types import FloatArray

__all__ = ["advantage_sums", "advantage_sums_of", "reach_sums"]


def advantage_sums(step: Step) -> tuple[FloatArray, FloatArray]:
    """Σ_t Â_t and Σ_t Â_t² of a response, on average given how it ended: [cell, grade, end]; for whitening."""
    gae = needed_gae(step)
    if gae.adaptive:
        first, second = sums_by_pairs(gae, step.policy.length, step.errors.going, step.errors.last)
        for move, target in enumerate(step.old.layout.moves.target):
            first[target], second[target] = _sums_after_move(step, move)
        return first, second
    ended = _ended(step, _known_at(step))
    return ended.first, ended.second


def _sums_after_move(step: Step, move: int) -> tuple[FloatArray, FloatArray]:
    """Both sums where λ depends on the length, of responses that changed state, on average given the end [grade, end].

    For each end x is one number. What is known at a move at W, closed by the advantage there as a TD error,
    is Σ_{t<=W} of both: all pairs of move and end, O(N² log N).
    """
    errors = step.errors
    source, target = step.old.layout.moves.pairs[move]
    first = np.empty_like(errors.last[target])
    second = np.empty_like(first)
    for given in given_ends(step, move):
        x = given.x[:, None]
        ones = np.ones_like(given.tail)
        one = running_rows(ones, given.x)
        two = running_rows(ones, given.x**2)
        known = _known(errors.going[source], x, one, two, partial(running_rows, discount=given.x))
        until = mapped(_a_token_later, _with_error(known, errors.moving[move], x, one, two))
        own = given.tail + errors.last[target][:, given.ends, None] * given.reach
        closed = _with_error(until, own, x, one, two)
        first[:, given.ends] = (given.moved * (closed.first + _later(own))).sum(axis=-1)
        second[:, given.ends] = (given.moved * (closed.second + _later(own**2))).sum(axis=-1)
    return first, second


def _later(y: FloatArray) -> FloatArray:
    """Σ_{u>t} y_u, [..., t]."""
    return after(np.concatenate([y, np.zeros((*y.shape[:-1], 1))], axis=-1))


def reach_sums(step: Step) -> FloatArray:
    """Σ_t x^{T-t} of a response by its end, [end]: how much of its last reward its tokens see."""
    gae = needed_gae(step)
    length = step.policy.length
    x = gae.discount_by_length(length) if gae.adaptive else np.full_like(length, gae.discount)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x < 1.0, (1.0 - x**length) / (1.0 - x), length)


class _Known(Record):
    """Sums over the tokens s < t of a response that gets to t, with P_s(t) = Σ_{s<=u<t} x^{u-s} δ_u known of Â_s there:

    ``first`` Σ_s P_s, ``second`` Σ_s P_s² and ``trace`` Σ_s x^{t-1-s} P_s, which multiplies what comes later; [..., t].
    """

    first: FloatArray
    second: FloatArray
    trace: FloatArray


def _powers(step: Step) -> tuple[FloatArray, FloatArray]:
    """Σ_{s<=t} x^{t-s} and Σ_{s<=t} x^{2(t-s)}, [t] each."""
    x = needed_gae(step).discount
    ones = np.ones(step.policy.max_tokens)
    return running_sum(ones, x), running_sum(ones, x * x)


def _with_error(known: _Known, error: FloatArray, x: float | FloatArray, one: FloatArray, two: FloatArray) -> _Known:
    """The sums with token t and its TD error: P_s(t+1) = P_s(t) + x^{t-s} δ_t for s up to t."""
    return _Known(first=known.first + error * one, trace=x * known.trace + error * two,
                  second=known.second + 2.0 * x * error * known.trace + error**2 * two)


def _from_start(step: Step) -> _Known:
    """The sums of responses that were in the cell from their start, [cell, t]."""
    x = needed_gae(step).discount
    return _known(step.errors.going, x, *_powers(step), partial(running_sum, discount=x))


def _known(going: FloatArray, x: float | FloatArray, one: FloatArray, two: FloatArray,
           running: Callable[[FloatArray], FloatArray]) -> _Known:
    """The sums of responses that have the TD errors ``going`` from their start, [row, t].

    ``running`` makes y_t = x_t + x y_{t-1} of [row, t], with the x of the row.
    """
    trace = _a_token_later(running(going * two))
    return _Known(first=before(going * one)[:, :-1], trace=trace,
                  second=before(2.0 * x * going * trace + going**2 * two)[:, :-1])


def _until_move(step: Step) -> _Known:
    """The sums of responses that change state at t, [move, t]: the last token before has the TD error of a move."""
    source = step.old.layout.moves.source
    known = mapped(lambda x: x[source], _from_start(step))
    return mapped(_a_token_later, _with_error(known, step.errors.moving, needed_gae(step).discount, *_powers(step)))


def _known_at(step: Step) -> _Known:
    """The sums on average over those who are in a cell at t, [cell, t].

    In a state that is moved to they are followed with those who are there: of those who come, and of those who stayed,
    with what token t-1 added.
    """
    x = needed_gae(step).discount
    policy = step.old
    target = policy.layout.moves.target
    known = _from_start(step)
    at_risk = policy.at_risk[target]
    stay = policy.stay[target]
    going = step.errors.going[target]
    one, two = _powers(step)

    def followed(start: FloatArray, added: FloatArray, factor: float = 1.0) -> FloatArray:
        terms = policy.entering * start + _a_token_later(stay * added)
        return np.array([forward_recurrence(*each) for each in zip(factor * stay, terms, strict=True)])

    if len(target):
        until = _until_move(step)
        trace = followed(until.trace, at_risk * going * two, x)
        known.first[target] = quotient(followed(until.first, at_risk * going * one), at_risk)
        known.trace[target] = quotient(trace, at_risk)
        known.second[target] = quotient(
            followed(until.second, 2.0 * x * going * trace + at_risk * going**2 * two), at_risk)
    return known


def _a_token_later(y: FloatArray) -> FloatArray:
    """[row, t] one position on, 0 at the first."""
    return np.column_stack([np.zeros(len(y)), y[:, :-1]])


def _ended(step: Step, known: _Known) -> _Known:
    """The sums over all tokens of responses for which these are known at t, [cell, grade, end]."""
    one, two = map(_at_ends, _powers(step))
    return _with_error(mapped(_at_ends, known), step.errors.last, needed_gae(step).discount, one, two)


def advantage_sums_of(step: Step, draws: Draws) -> tuple[FloatArray, FloatArray]:
    """Σ_t Â_t and Σ_t Â_t² of each sampled response."""
    cell = draws.cell
    if not len(step.old.arrival):
        first, second = advantage_sums(step)
        return first[cell, draws.grade, draws.end], second[cell, draws.grade, draws.end]
    if needed_gae(step).adaptive:
        return _sums_one_by_one(step, draws)
    x = needed_gae(step).discount
    entered = draws.entered
    one, two = (np.append(0.0, powers)[entered] for powers in _powers(step))
    ended = mapped(lambda y: y[cell, draws.grade, draws.end], _ended(step, _from_start(step)))
    # The tokens before it entered, in the last state as these sums have them: Â_t = a_t + x^{e-t} (Â_e - a_e).
    tail = discounted_sum(step.errors.going, x)
    entry = entry_advantage(step, draws)[0]
    gap = x * (entry - tail[cell, entered])
    trace = np.column_stack([np.zeros(len(tail)), running_sum(tail, x)])[cell, entered]
    first = ended.first - before(tail)[cell, entered] - gap * one
    second = ended.second - before(tail**2)[cell, entered] - 2.0 * gap * trace - gap**2 * two
    # And as they are: what is known of their advantages at entry, and x^{e-t} of the advantage there.
    nothing = np.zeros(step.old.max_tokens)
    until = mapped(lambda y: np.vstack([y, nothing])[step.old.layout.move_into[cell], entered], _until_move(step))
    first += until.first + x * entry * one
    second += until.second + 2.0 * x * entry * until.trace + (x * entry) ** 2 * two
    return first, second


def _sums_one_by_one(step: Step, draws: Draws) -> tuple[FloatArray, FloatArray]:
    """Σ_t Â_t and Σ_t Â_t² of each sampled response, token by token, some responses at a time."""
    flat = mapped(np.ravel, draws)
    first = np.empty(flat.cell.size)
    second = np.empty(flat.cell.size)
    for some in blocks(len(first), step.old.max_tokens, MOST_TOKENS):
        advantage = token_advantages(step, mapped(lambda x, some=some: x[some], flat), np.zeros(1))
        first[some] = advantage.sum(axis=1)
        second[some] = (advantage**2).sum(axis=1)
    return first.reshape(draws.cell.shape), second.reshape(draws.cell.shape)


def _at_ends(y: FloatArray) -> FloatArray:
    """A number by position [..., t] as one by end, [..., 1, end]: a cut response ends at position N."""
    return np.concatenate([y, y[..., -1:]], axis=-1)[..., None, :]
