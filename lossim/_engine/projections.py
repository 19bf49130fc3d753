"""GAE along a direction: what the token advantages of a response add to a derivative, response by response."""

from __future__ import annotations

import numpy as np

from lossim._engine.gae import entry_advantage, needed_gae
from lossim._engine.step import Step
from lossim._model import Draws
from lossim._support.positions import before, discounted_sum, running_sum
from lossim._support.types import FloatArray

__all__ = ["gae_projection", "gae_projection_of"]


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


def gae_projection_of(step: Step, draws: Draws, stop: FloatArray, go: FloatArray) -> FloatArray:
    """The same of each sampled response, which may have changed state on its way.

    Before it entered its last state at e, with the TD error of the move at e - 1,

        Â_t = Σ_{u=t}^{e-2} x^{u-t} δ_u + x^{e-1-t} δ_move + x^{e-t} Â_e .
    """
    total = gae_projection(step, slice(None), stop, go)[draws.cell, draws.grade, draws.end]
    if not len(step.policy.arrival):
        return total
    x = needed_gae(step).discount
    errors = step.errors
    layout = step.policy.layout
    cell = draws.cell
    entered = draws.entered
    trace = np.column_stack([np.zeros(len(go)), running_sum(go, x)])  # Σ_{s<t} x^{t-1-s} go_s
    # The tokens before it entered, in the last state as the total has them: Â_t = a_t + x^{e-t} (Â_e - a_e).
    tail = discounted_sum(errors.going, x)
    entry = entry_advantage(step, draws)[0]
    total -= before(tail * go)[cell, entered] + x * (entry - tail[cell, entered]) * trace[cell, entered]
    # And as they are; responses that never changed state entered at 0 and have none.
    source = layout.came_from[cell]
    last_before = np.maximum(entered - 1, 0)
    moving = np.vstack([errors.moving, np.zeros(step.policy.max_tokens)])
    at_move = moving[layout.move_into[cell], last_before] + x * entry
    total += before(errors.going * trace[:, 1:])[source, last_before] + at_move * trace[source, entered]
    return total
