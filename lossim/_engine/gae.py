"""GAE over a law or a batch: Σ over responses of Â_t(T), without looking at single responses.

With δ_t = r_t + γV_{t+1} - V_t and x = γλ, the advantage of token t of a response of length T is

    Â_t(T) = Σ_{u=t}^{T-1} x^{u-t} δ_u + x^{T-t} δ_last(T) .

Sums over the responses that get to t follow by recurrences, in O(N); where λ depends on T, or the sign of each Â_t(T)
matters, all pairs (t, T) are summed in blocks, in O(N²). See docs/derivations.md, sections 3, 4 and 18.
"""

from __future__ import annotations

import numpy as np

from lossim._engine.gae_pairs import credit_by_pairs, sums_by_pairs
from lossim._engine.measures import TokenSums, TokenTerm, by_outcome
from lossim._engine.states import going as going_on
from lossim._engine.states import moved_given_end
from lossim._engine.step import Step
from lossim._model import Draws
from lossim._support.positions import before, blocks, discounted_rows, discounted_sum, forward_recurrence, running_sum
from lossim._support.quotients import quotient
from lossim._support.records import Record, mapped
from lossim._support.types import FloatArray, NoClosedForm
from lossim.advantages import GAE

__all__ = ["advantage_sums", "advantage_sums_of", "entry_advantage", "gae_sums", "needed_gae", "one_state_each",
           "reach_sums", "token_advantages"]


MOST_TOKENS = 1 << 22
"""Tokens of sampled responses, or pairs of a position and an end, that are gone through at a time."""


def gae_sums(step: Step, term: TokenTerm, cells: slice = slice(None)) -> TokenSums:
    """Sums over a measure μ of Â_t, of some cells.

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
    credited = by_outcome(last if term.reward is None else last + term.reward[cells])
    stop = credited[:, :2, :-1]
    source, target, rows = step.policy.layout.moves_within(cells)
    if gae.adaptive:
        go = credit_by_pairs(gae, step.policy.length, going, by_outcome(measure), credited)
        for move in range(rows.start, rows.stop):
            cell = target[move - rows.start]
            go[cell], go[cell - 1] = _credit_by_ends(step, move, go[cell - 1], measure[cell], last[cell])
    else:
        x = gae.discount
        go = going[:, None] * going_on(step.policy, by_outcome(measure), term.weight.entered, cells)
        moved = term.weight.entered[rows, :, 1:]
        jump = x * term.credit[rows, :, 1:]
        go[source, :, :-1] += (errors.moving[rows] - going[source])[:, None, :-1] * moved + jump
        go[target, :, :-1] -= jump
        go[:, :2] += stop
        go[:, 2, -1] += credited[:, 2, -1]
        go = discounted_sum(go, x)
        go[:, :2] -= stop
    return TokenSums(stop=stop, go=go).times(step.gains(+1, cells))


def _credit_by_ends(step: Step, move: int, before_it: FloatArray, measure: FloatArray, last: FloatArray
                    ) -> tuple[FloatArray, FloatArray]:
    """Sums over those that go on of Â_t, [outcome, t], once done and before the move, where λ depends on the end.

    For each end x is one number, and the recurrences of :func:`gae_sums` hold on the law of those that end so.
    ``before_it`` are the sums over those that end before they move; ``measure`` and ``last`` [grade, end] are the
    weight of those that end after it, and weight times their last TD error.
    """
    policy = step.old
    gae = needed_gae(step)
    errors = step.errors
    source, target = policy.layout.moves.pairs[move]
    positions = np.arange(policy.max_tokens)
    weight = by_outcome(measure)
    paid = by_outcome(last)
    done = np.zeros_like(before_it)
    working = before_it.copy()
    for ends in blocks(policy.max_tokens + 1, 8 * policy.max_tokens, MOST_TOKENS):
        x = gae.discount_by_length(policy.length[ends])
        length = policy.length[ends, None]
        # Of those that end so: when they moved [end, t], and Â by outcome while they are there [outcome, end, t].
        moved = moved_given_end(policy, move, ends)
        error = np.where(positions + 1 < length, errors.going[target], 0.0)
        tail = discounted_rows(error, x)
        reach = np.where(positions < length, np.power(x[:, None], np.maximum(length - 1 - positions, 0.0)), 0.0)
        own = weight[:, ends, None] * tail + paid[:, ends, None] * reach
        there = np.cumsum(moved, axis=1) * (positions < length)
        done += (own * there).sum(axis=1)
        # Before the move: the same recurrence, with what comes in from the move.
        left = moved.sum(axis=1, keepdims=True) - np.cumsum(moved, axis=1)
        arriving = np.zeros_like(moved)
        arriving[:, :-1] = moved[:, 1:]
        entry = np.zeros_like(own)
        entry[:, :, :-1] = (own * moved)[:, :, 1:]
        spent = errors.going[source] * (left - arriving) + errors.moving[move] * arriving
        terms = weight[:, ends, None] * spent + x[:, None] * entry
        working += discounted_rows(terms, x).sum(axis=1)
    stops = paid[:2, :-1]
    done[:2] -= stops
    return done, working


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


def one_state_each(step: Step, what: str, asked: bool = True) -> None:
    """Refuse what is not summed where responses change state on their way."""
    if asked and len(step.policy.arrival):
        raise NoClosedForm("advantage", f"{what}, on paths with work", hint="give the path one state: "
                           "policy.with_paths('one') has the same law of lengths and grades")


def advantage_sums(step: Step) -> tuple[FloatArray, FloatArray]:
    """Σ_t Â_t and Σ_t Â_t² of a response, on average given how it ended: [cell, grade, end]; for whitening."""
    gae = needed_gae(step)
    if gae.adaptive:
        one_state_each(step, "whitening where λ depends on the length")
        return sums_by_pairs(gae, step.policy.length, step.errors.going, step.errors.last)
    ended = _ended(step, _known_at(step))
    return ended.first, ended.second


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


def _with_error(known: _Known, error: FloatArray, x: float, one: FloatArray, two: FloatArray) -> _Known:
    """The sums with token t and its TD error: P_s(t+1) = P_s(t) + x^{t-s} δ_t for s up to t."""
    return _Known(first=known.first + error * one, trace=x * known.trace + error * two,
                  second=known.second + 2.0 * x * error * known.trace + error**2 * two)


def _from_start(step: Step) -> _Known:
    """The sums of responses that were in the cell from their start, [cell, t]."""
    x = needed_gae(step).discount
    one, two = _powers(step)
    going = step.errors.going
    trace = _a_token_later(running_sum(going * two, x))
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


def needed_gae(step: Step) -> GAE:
    """The estimator, which has to have token advantages."""
    if step.token_level is None:
        raise TypeError(f"token advantages need GAE, and the step has {step.scheme.advantage!r}")
    return step.token_level
