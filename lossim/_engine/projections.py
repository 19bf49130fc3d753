"""GAE along a direction: what the token advantages of a response add to a derivative, response by response."""

from __future__ import annotations

import numpy as np

from lossim._engine.gae import entry_advantage, needed_gae
from lossim._engine.gae_pairs import projection_by_pairs
from lossim._engine.step import Step
from lossim._model import Draws
from lossim._support.positions import before, discounted_sum, running_sum
from lossim._support.records import Record, mapped
from lossim._support.types import FloatArray

__all__ = ["Entry", "adaptive_projection", "gae_entry", "gae_projection", "gae_projection_of"]


def gae_projection(step: Step, cells: slice, stop: FloatArray, go: FloatArray) -> FloatArray:
    """Σ_t Â_t · score_t by [cell, grade, end] of some cells, for scores of the tokens that stop and that go on.

    From Â_t = a_t + x^{T-t} (δ_last - a_T), with a_t = Σ_{u>=t} x^{u-t} δ_u over all positions.
    """
    x = needed_gae(step).discount
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


def adaptive_projection(step: Step, stop: FloatArray, go: FloatArray) -> FloatArray:
    """The same of all cells, of responses of one state, where λ depends on the length; O(N²)."""
    return projection_by_pairs(needed_gae(step), step.policy.length, step.errors.going, step.errors.last, stop, go)


class Entry(Record):
    """What a change of state at e adds to Σ_t Â_t · score_t of a response, beside its last state's numbers throughout.

    ``settled`` (e) + x^{T-e} · (δ_last - a_T) · ``fading`` (e), both [move, t].
    """

    settled: FloatArray
    fading: FloatArray


def gae_entry(step: Step, cells: slice, stop: FloatArray, go: FloatArray) -> Entry:
    """The moves within some cells, for scores of their tokens [cell, t].

    Before it entered its last state at e, with the TD error of the move at e - 1,

        Â_t = Σ_{u=t}^{e-2} x^{u-t} δ_u + x^{e-1-t} δ_move + x^{e-t} Â_e ,    Â_e = a_e + x^{T-e} (δ_last - a_T) .
    """
    x = needed_gae(step).discount
    source, target, rows = step.policy.layout.moves_within(cells)
    going = step.errors.going[cells]
    tail = discounted_sum(going, x)
    trace = np.column_stack([np.zeros(len(go)), running_sum(go, x)])  # Σ_{s<t} x^{t-1-s} go_s
    # The tokens before it entered, in the last state as the total has them: Â_t = a_t + x^{e-t} (Â_e - a_e).
    as_last = before(tail * go)[target, :-1]
    # And as they are.
    until = np.column_stack([np.zeros(len(source)), before(going * trace[:, 1:])[source, :-2]])
    moving = np.column_stack([np.zeros(len(source)), step.errors.moving[rows, :-1]])
    met = trace[source, :-1]
    return Entry(settled=until + (moving + x * tail[target]) * met - as_last, fading=x * (met - trace[target, :-1]))


def gae_projection_of(step: Step, draws: Draws, stop: FloatArray, go: FloatArray) -> FloatArray:
    """The same of each sampled response, which may have changed state on its way."""
    total = gae_projection(step, slice(None), stop, go)[draws.cell, draws.grade, draws.end]
    if not len(step.policy.arrival):
        return total
    # Responses that never changed state have none: the row behind the last.
    nothing = np.zeros(step.policy.max_tokens)
    found = mapped(lambda y: np.vstack([y, nothing]), gae_entry(step, slice(None), stop, go))
    move = step.policy.layout.move_into[draws.cell]
    entered = draws.entered
    advantage, _ = entry_advantage(step, draws)
    tail = discounted_sum(step.errors.going, needed_gae(step).discount)
    faded = advantage - tail[draws.cell, entered]
    return total + found.settled[move, entered] + faded * found.fading[move, entered]
