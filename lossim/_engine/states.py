"""Responses that change state on their way: sums over those in a cell at t, from how they ended and when they moved.

A response that ended in a cell was there from the position at which it entered, and before that in the state before.
Over a law the position is known only in distribution, by the Markov property; of a sampled response it is known. Paths
of one state are the case without moves. See docs/derivations.md, section 18.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lossim._engine.measures import EndSums, TokenSums, by_outcome, entries, outcomes, stops_of
from lossim._model import CellArrays, Draws
from lossim._support.positions import after, along, backward_recurrence, before, blocks, forward_recurrence
from lossim._support.quotients import quotient
from lossim._support.types import FloatArray

__all__ = ["along_draws", "along_pairs", "entered_of", "entry_credit", "going", "mean_along", "moved_given_end",
           "moves_and_ends", "reweighed", "since_entry", "sums_by_token", "variance_along", "with_entries",
           "with_paid"]

MOST_PAIRS = 1 << 22
"""Pairs (move, end) that are held at once."""


def sums_by_token(policy: CellArrays, sums: EndSums, cells: slice = slice(None), *, apart: bool = True) -> TokenSums:
    """Sums over the responses that stop at t and that go on at t in each cell, of some cells.

    By outcome, or over all outcomes unless they are kept ``apart``; their axis is then 1 long.
    """
    ended = outcomes(sums.ended[cells], apart)
    return TokenSums(stop=stops_of(ended), go=going(policy, ended, entries(sums.entered, apart), cells))


def going(policy: CellArrays, ended: FloatArray, entered: FloatArray, cells: slice = slice(None)) -> FloatArray:
    """Sums over the responses that go on at t, [cell, ..., t], of some cells.

    From sums over those that ended in them, [cell, ..., end], and over all that moved, [move, ..., t]. Those that go on
    at t in a cell end there later, or move on later; those that enter it later are not there yet:

        go(t) = Σ_{end > t} ended + Σ_{u > t} left(u) - Σ_{u > t} entered(u) .

    Early, when few have entered, they are those that have entered so far less those that have stopped so far.
    """
    go = after(ended)
    if not len(policy.arrival):
        return go
    source, target, rows = policy.layout.moves_within(cells)
    entered = entered[rows]
    later = np.zeros_like(entered)
    later[..., :-1] = np.cumsum(entered[..., :0:-1], axis=-1)[..., ::-1]
    go[source] += later
    go[target] -= later
    for cell, moved, early in zip(target, entered, policy.early[rows], strict=True):
        so_far = moved[..., :early] - ended[cell, ..., :early]
        go[cell, ..., :early] = np.cumsum(so_far, axis=-1)
    return go


def with_entries(policy: CellArrays, ended: FloatArray) -> EndSums:
    """A measure over the law of a policy, [cell, grade, end], with its sums over those that moved."""
    if not len(policy.arrival):
        return EndSums.of_one_state(ended)
    return EndSums(ended=ended, entered=entered_of(policy, by_outcome(ended[policy.layout.moves.target])))


def entered_of(policy: CellArrays, ended: FloatArray) -> FloatArray:
    """Sums over those that moved, [move, outcome, t], of a measure over the law of those that ended after it.

    In the state that is moved to at t, x̄_t is what a response there is expected to add, and m_t move there:

        x̄_t = ended(t)/D_t + (1 - h(t)) x̄_{t+1} ,    entered(t) = m_t x̄_t .
    """
    entered = _given_there(policy, ended)
    for move, stay in enumerate(policy.stay[policy.layout.moves.target]):
        entered[move] = policy.entering[move] * backward_recurrence(stay, entered[move])
    return entered


def entry_credit(policy: CellArrays, weight: EndSums, stop: FloatArray, go: FloatArray, discount: float) -> FloatArray:
    """J_t = Σ over those who moved at t of weight · (discounted numbers of their tokens from t on), [move, outcome, t].

    The number of a token that goes on is ``go`` [cell, t], that of a last one ``stop`` [cell, grade, end]. Over a law:
    with x̄_t the weight that a response in the state is expected to have (as in :func:`with_entries`),

        y_t = Σ weight(t)·stop(t)/D_t + (1 - h(t)) ( go(t) x̄_{t+1} + discount · y_{t+1} ) ,    J_t = m_t y_t .
    """
    target = policy.layout.moves.target
    expected = _given_there(policy, by_outcome(weight.ended[target]))
    terms = _given_there(policy, by_outcome(weight.ended[target] * stop[target]))
    credit = np.empty_like(terms)
    for move, (cell, stay) in enumerate(zip(target, policy.stay[target], strict=True)):
        later = np.zeros_like(terms[move])
        later[:, :-1] = backward_recurrence(stay, expected[move])[:, 1:]
        y = backward_recurrence(discount * stay, terms[move] + stay * go[cell] * later)
        credit[move] = policy.entering[move] * y
    return credit


def _given_there(policy: CellArrays, sums: FloatArray) -> FloatArray:
    """Sums over ends [move, outcome, end] per response in the state at the end's position, [move, outcome, t]."""
    at_risk = policy.at_risk[policy.layout.moves.target][:, None]
    here = sums[:, :, :-1].copy()
    here[:, :, -1] += sums[:, :, -1]
    return quotient(here, at_risk)


def with_paid(policy: CellArrays, ended: FloatArray, slope: FloatArray, stop: FloatArray, go: FloatArray) -> EndSums:
    """A measure over the law that holds what tokens are paid, on average given the end, with its sums over those that
    moved: of these it holds what they were paid until then and from then on.

    ``slope`` [cell, grade, end] is what the measure gains per unit paid, ``stop`` and ``go`` [cell, t] what is paid.
    """
    source = policy.layout.moves.source
    alike = with_entries(policy, slope)
    others = with_entries(policy, ended - slope * mean_along(policy, stop, go)[:, None])
    last = np.concatenate([stop, go[:, -1:]], axis=1)[:, None]
    not_last = np.concatenate([go[:, :-1], np.zeros((len(go), 1))], axis=1)
    until = before(go[source])[:, None, :-1] * alike.entered
    since = entry_credit(policy, alike, np.broadcast_to(last, slope.shape), not_last, 1.0)
    return EndSums(ended=ended, entered=others.entered + until + since)


def mean_along(policy: CellArrays, stop: FloatArray, go: FloatArray, cells: slice = slice(None)) -> FloatArray:
    """E[Σ over the tokens of a response | its cell and end], [cell, end], of numbers by role [cell, t] of some cells.

    Before t, in the state that is moved to, with Y_t the sum over those who are there, and G the sum over the state
    before:  Y_t = m_t G_{t-1} + (1 - h(t-1)) (Y_{t-1} + D_{t-1} go(t-1)) .
    """
    total = along(stop, go)
    source, target, rows = policy.layout.moves_within(cells)
    first = cells.indices(policy.layout.cells)[0]
    for state_before, state, entering in zip(source, target, policy.entering[rows], strict=True):
        stay = policy.stay[first + state]
        at_risk = policy.at_risk[first + state]
        terms = entering * before(go[state_before])[:-1]
        terms[1:] += (stay * at_risk * go[state])[:-1]
        so_far = forward_recurrence(stay, terms)
        mean = quotient(so_far, at_risk)
        total[state, :-1] = mean + stop[state]
        total[state, -1] = mean[-1] + go[state, -1]
    return total


def variance_along(policy: CellArrays, go: FloatArray) -> FloatArray:
    """Var(Σ over the tokens of a response | its cell and end), [cell, end], of numbers of tokens that go on, [cell, t].

    Given the end it depends on the move t alone, by x(t) = Σ_{u<t} go(u) of the state before less that of the next.
    """
    variance = np.zeros_like(policy.ends)
    for move, (source, target) in enumerate(policy.layout.moves.pairs):
        entering = policy.entering[move]
        x = (before(go[source]) - before(go[target]))[:-1]
        x = x - quotient((entering * x).sum(), np.array(entering.sum()))
        mean, square = since_entry(policy, move, np.stack([x, x**2]))
        variance[target] = np.maximum(square - mean**2, 0.0)
    return variance


def since_entry(policy: CellArrays, move: int, x: FloatArray, discount: float = 1.0) -> FloatArray:
    """E[discount^{T-e} x(e) | ended at T in the state that is moved to], e where it entered: [..., t] → [..., end].

    With Y_t the sum over those who are there at t:  Y_t = m_t x(t) + discount · (1 - h(t-1)) Y_{t-1} .
    """
    target = policy.layout.moves.target[move]
    so_far = forward_recurrence(discount * policy.stay[target], policy.entering[move] * x)
    mean = quotient(so_far, policy.at_risk[target])
    return np.concatenate([mean, mean[..., -1:]], axis=-1)


def along_draws(policy: CellArrays, stop: FloatArray, go: FloatArray, draws: Draws) -> FloatArray:
    """Σ over the tokens of each sampled response, of numbers by role [cell, t]."""
    so_far = before(go)
    total = along(stop, go)[draws.cell, draws.end]
    if not len(policy.arrival):
        return total
    came_from = policy.layout.came_from[draws.cell]
    return total + so_far[came_from, draws.entered] - so_far[draws.cell, draws.entered]


def reweighed(policy: CellArrays, ended: FloatArray, stop: FloatArray, go: FloatArray,
              factor: Callable[[FloatArray, FloatArray], FloatArray]) -> EndSums:
    """A measure over the law, times a function of a sum over each response's tokens and of its length.

    Where responses change state the sum depends on the move and on the end: all pairs are summed, in blocks, O(N²).
    """
    length = policy.length
    result = with_entries(policy, ended * factor(along(stop, go), length)[:, None])
    for move, target in enumerate(policy.layout.moves.target):
        mass = policy.ends[target]
        each = quotient(ended[target], mass)
        by_end = np.zeros_like(mass)
        for moved in blocks(policy.max_tokens, len(length), MOST_PAIRS):
            total = along_pairs(policy, move, stop, go, moved)
            chance = moves_and_ends(policy, move, moved, slice(None))
            weighed = chance * factor(total, np.broadcast_to(length, total.shape))
            by_end += weighed.sum(axis=0)
            result.entered[move][:, moved] = by_outcome(each) @ weighed.T
        result.ended[target] = each * by_end
    return result


def along_pairs(policy: CellArrays, move: int, stop: FloatArray, go: FloatArray, moved: slice,
                ends: slice = slice(None)) -> FloatArray:
    """Σ over the tokens of a response, of numbers by role [cell, t], by when it moved and how it ended, [t, end]."""
    source, target = policy.layout.moves.pairs[move]
    skipped = before(go[source]) - before(go[target])
    total: FloatArray = skipped[moved, None] + along(stop[target], go[target])[ends]
    return total


def moves_and_ends(policy: CellArrays, move: int, moved: slice, ends: slice) -> FloatArray:
    """P(moves at t and ends there | path) of pairs [t, end]: m_t Π_{t <= u < end} (1 - h(u)) h(end)."""
    target = policy.layout.moves.target[move]
    columns = np.arange(policy.max_tokens + 1)
    start = columns[:-1][moved, None]
    end = columns[ends]
    stop = np.append(policy.hazard[target], 1.0)
    log_stay = policy.log_stay[target]
    certain = ~np.isfinite(log_stay)  # a stop that nobody passes, and whoever comes behind it does not meet
    waited = np.append(0.0, np.cumsum(np.where(certain, 0.0, log_stay)))
    stopped = np.append(0, np.cumsum(certain))
    goes_on = np.exp(np.minimum(waited[end] - waited[start], 0.0)) * (stopped[end] == stopped[start])
    return policy.entering[move, moved, None] * goes_on * (end >= start) * stop[end]


def moved_given_end(policy: CellArrays, move: int, ends: slice) -> FloatArray:
    """P(moved at t | ended so after it), [end, t]; 0 where nobody ends so."""
    mass = policy.ends[policy.layout.moves.target[move], ends]
    return quotient(moves_and_ends(policy, move, slice(None), ends), mass).T
