"""GAE over a law or a batch: Σ over responses of Â_t(T), without looking at single responses.

With δ_t = r_t + γV_{t+1} - V_t and x = γλ, the advantage of token t of a response of length T is

    Â_t(T) = Σ_{u=t}^{T-1} x^{u-t} δ_u + x^{T-t} δ_last(T) .

Sums over the responses that get to t follow by recurrences, in O(N); where λ depends on T, or the sign of each Â_t(T)
matters, all pairs (t, T) are summed in blocks, in O(N²). See docs/derivations.md, sections 3, 4 and 18.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lossim._engine.gae_pairs import credit_by_pairs
from lossim._engine.measures import TokenSums, TokenTerm, entries, outcomes, stops_of
from lossim._engine.states import going as going_on
from lossim._engine.states import moved_given_end
from lossim._engine.step import Step
from lossim._model import Draws
from lossim._support.positions import blocks, discounted_rows, discounted_sum
from lossim._support.records import Record
from lossim._support.types import BoolArray, FloatArray
from lossim.advantages import GAE

__all__ = ["MOST_TOKENS", "GivenEnds", "entry_advantage", "gae_sums", "given_ends", "needed_gae", "token_advantages"]


MOST_TOKENS = 1 << 22
"""Tokens of sampled responses, or pairs of a position and an end, that are gone through at a time."""


def gae_sums(step: Step, term: TokenTerm, cells: slice = slice(None), *, apart: bool = True) -> TokenSums:
    """Sums over a measure μ of Â_t, of some cells: by outcome, or over all outcomes unless they are kept ``apart``.

    Those that stop at t have m_t = μ(t)·δ_last(t). Those that get there have

        F_t = m_t + δ_t Σ_{end>t} μ(end) + γλ F_{t+1} ,

    and F - m belongs to those that go on. Where responses change state at t+1 the sum over the future leaves the F of
    the one state for that of the other, J_{t+1} = ``term.credit``, and their δ_t is that of a move.
    """
    gae = needed_gae(step)
    errors = step.errors
    going = errors.going[cells]
    measure = term.weight.ended[cells]
    last = measure * errors.last[cells]
    credited = outcomes(last if term.reward is None else last + term.reward[cells], apart)
    stop = stops_of(credited)
    source, target, rows = step.policy.layout.moves_within(cells)
    if gae.adaptive:
        weight = outcomes(measure, apart)
        go = credit_by_pairs(gae, step.policy.length, going, weight, credited)
        for move in range(rows.start, rows.stop):
            cell = target[move - rows.start]
            go[cell], go[cell - 1] = _credit_by_ends(step, move, go[cell - 1], weight[cell],
                                                     outcomes(last[cell], apart))
    else:
        x = gae.discount
        entered = entries(term.weight.entered, apart)
        go = np.zeros((*credited.shape[:2], going.shape[1]))
        if going.any():  # a critic that is 0 tells nothing on the way
            go += going[:, None] * going_on(step.policy, outcomes(measure, apart), entered, cells)
        jump = x * entries(term.credit, apart)[rows, :, 1:]
        go[source, :, :-1] += (errors.moving[rows] - going[source])[:, None, :-1] * entered[rows, :, 1:] + jump
        go[target, :, :-1] -= jump
        go[:, :2] += stop
        go[:, -1, -1] += credited[:, -1, -1]
        go = discounted_sum(go, x, out=go)
        go[:, :2] -= stop
    return TokenSums(stop=stop, go=go).times(step.gains(+1, cells))


def _credit_by_ends(step: Step, move: int, before_it: FloatArray, weight: FloatArray, paid: FloatArray
                    ) -> tuple[FloatArray, FloatArray]:
    """Sums over those that go on of Â_t, [outcome, t], once done and before the move, where λ depends on the end.

    For each end x is one number, and the recurrences of :func:`gae_sums` hold on the law of those that end so.
    ``before_it`` are the sums over those that end before they move; ``weight`` and ``paid`` [outcome, end] are the
    weight of those that end after it, and weight times their last TD error.
    """
    source = step.old.layout.moves.source[move]
    errors = step.errors
    done = np.zeros_like(before_it)
    working = before_it.copy()
    for given in given_ends(step, move):
        # Of those that end so: when they moved, and Â by outcome while they are there [outcome, end, t].
        own = weight[:, given.ends, None] * given.tail + paid[:, given.ends, None] * given.reach
        done += (own * np.cumsum(given.moved, axis=1) * given.inside).sum(axis=1)
        # Before the move: the same recurrence, with what comes in from the move.
        left = given.moved.sum(axis=1, keepdims=True) - np.cumsum(given.moved, axis=1)
        arriving = np.zeros_like(given.moved)
        arriving[:, :-1] = given.moved[:, 1:]
        entry = np.zeros_like(own)
        entry[:, :, :-1] = (own * given.moved)[:, :, 1:]
        spent = errors.going[source] * (left - arriving) + errors.moving[move] * arriving
        terms = weight[:, given.ends, None] * spent + given.x[:, None] * entry
        working += discounted_rows(terms, given.x).sum(axis=1)
    done[:2] -= stops_of(paid)
    return done, working


class GivenEnds(Record):
    """Responses that changed state and then ended in some ways, where λ depends on the length.

    Attributes:
        ends: how they ended.
        x: γλ of their lengths, [end].
        inside: whether they get to t, [end, t].
        moved: P(moved at t | ended so), [end, t].
        tail: Σ_{u=t}^{T-1} x^{u-t} δ_u of the state they ended in, [end, t].
        reach: x^{T-t}, by which their last TD error counts at t, [end, t]; 0 beyond.
    """

    ends: slice
    x: FloatArray
    inside: BoolArray
    moved: FloatArray
    tail: FloatArray
    reach: FloatArray


def given_ends(step: Step, move: int) -> Iterator[GivenEnds]:
    """All ends, block by block."""
    policy = step.old
    going = step.errors.going[policy.layout.moves.target[move]]
    positions = np.arange(policy.max_tokens)
    for ends in blocks(policy.max_tokens + 1, 8 * policy.max_tokens, MOST_TOKENS):
        gap = policy.length[ends, None] - 1 - positions
        x = needed_gae(step).discount_by_length(policy.length[ends])
        yield GivenEnds(ends=ends, x=x, inside=gap >= 0, moved=moved_given_end(policy, move, ends),
                        tail=discounted_rows(np.where(gap > 0, going, 0.0), x),
                        reach=np.where(gap >= 0, np.power(x[:, None], np.maximum(gap, 0.0)), 0.0))


def entry_advantage(step: Step, draws: Draws) -> tuple[FloatArray, FloatArray]:
    """Â of the token at which each sampled response entered its last state, and how far its last reward reaches there.

    With a_t = Σ_{u>=t} x^{u-t} δ_u over all positions of that state, Â_t = a_t + x^{T-t} (δ_last - a_T), and x^{T-t}.
    """
    x = needed_gae(step).discount
    tail = np.column_stack([discounted_sum(step.errors.going, x), np.zeros(step.policy.layout.cells)])
    position = np.minimum(draws.end, step.policy.max_tokens - 1)
    reach = np.power(x, position - draws.entered)
    last = step.errors.last[draws.cell, draws.grade, draws.end]
    return tail[draws.cell, draws.entered] + reach * (last - tail[draws.cell, position]), reach


def token_advantages(step: Step, draws: Draws, paid: FloatArray) -> FloatArray:
    """Â_t of every token of some sampled responses [response], [response, t]; beyond the last token 0.

    ``paid`` [response] are rewards of the last token that the step's table does not hold.
    """
    gae = needed_gae(step)
    errors = step.errors
    layout = step.old.layout
    column = np.arange(step.old.max_tokens)
    entered = draws.entered[:, None]
    position = np.minimum(draws.end, step.old.max_tokens - 1)
    # TD errors of tokens before the change of state, of the one at which it is ahead, after it, and of the last.
    before_it = errors.going[layout.came_from[draws.cell]]
    error = np.where(column < entered, before_it, errors.going[draws.cell])
    moved = np.flatnonzero(draws.entered > 0)
    if len(moved):
        error[moved, draws.entered[moved] - 1] = errors.moving[layout.move_into[draws.cell[moved]],
                                                               draws.entered[moved] - 1]
    error = np.where(column < position[:, None], error, 0.0)
    error[np.arange(len(position)), position] = errors.last[draws.cell, draws.grade, draws.end] + paid
    if not gae.adaptive:
        return discounted_sum(error, gae.discount)
    return discounted_rows(error, gae.discount_by_length(step.old.length[draws.end]))


def needed_gae(step: Step) -> GAE:
    """The estimator, which has to have token advantages."""
    if step.token_level is None:
        raise TypeError(f"token advantages need GAE, and the step has {step.scheme.advantage!r}")
    return step.token_level
