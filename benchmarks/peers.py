"""The gradient of one batch the usual ways: over all its tokens, ragged or padded, in numpy.

Both compute what lossim's engine does, the update of every stop logit [cell, t] and path logit [cell] by one batch: the
sum over responses i and their tokens of weight × advantage × score, where the score of the stop logit z_c(t) is 1 - h
at the token that stops and -h at one that goes on. Two schemes:

* ``grpo``: advantage (R - group mean) / (group std + 1e-6) of a response, weight 1/(n T);
* ``gae``: A_t = δ_t + λ A_{t+1} with a critic V per cell and position, weight 1/Σ T over the batch.

What does not depend on the batch (hazards, values) is given as tables in both, and is not timed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dtbtrs

__all__ = ["Batch", "Tables", "padded_gae", "padded_grpo", "ragged_gae", "ragged_grpo"]

Floats = NDArray[np.float64]
Whole = NDArray[np.integer[Any]]
Gradient = tuple[Floats, Floats]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Responses [i] in groups of ``group_size``, in order: cell, tokens, whether cut at max_tokens, reward."""

    cell: Whole
    length: Whole
    cut: NDArray[np.bool_]
    reward: Floats
    group_size: int


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Of the policy and the critic: hazard and V [cell, t], path probability and class [cell]."""

    hazard: Floats
    values: Floats
    probability: Floats
    class_of_cell: Whole
    gae_lambda: float = 0.95


def group_advantages(batch: Batch) -> Floats:
    """(R - mean) / (std + 1e-6) of each group, times 1/(n T)."""
    reward = batch.reward.reshape(-1, batch.group_size)
    std = reward.std(axis=1, ddof=1, keepdims=True)
    advantage = ((reward - reward.mean(axis=1, keepdims=True)) / (std + 1e-6)).ravel()
    weighted: Floats = advantage / (batch.length * len(batch.length))
    return weighted


def path_part(tables: Tables, cell: Whole, first: Floats) -> Floats:
    """Σ first-token coefficient × (1[own path] - π), [cell]."""
    cells = len(tables.probability)
    own = np.bincount(cell, weights=first, minlength=cells)
    by_class = np.bincount(tables.class_of_cell, weights=own)
    part: Floats = own - tables.probability * by_class[tables.class_of_cell]
    return part


# --- ragged: one flat array over the tokens of all responses -----------------------------------------------------


def ragged_grpo(tables: Tables, batch: Batch) -> Gradient:
    """One flat array over all tokens, scattered into [cell, t] by ``np.bincount``."""
    coefficient = group_advantages(batch)
    place, last = flat_places(tables, batch)
    each = np.repeat(coefficient, batch.length)
    values = -each * tables.hazard.ravel()[place]
    stopped = last[~batch.cut]
    values[stopped] += each[stopped]
    stops: Any = np.bincount(place, weights=values, minlength=tables.hazard.size)
    return stops.reshape(tables.hazard.shape), path_part(tables, batch.cell, coefficient)


def ragged_gae(tables: Tables, batch: Batch) -> Gradient:
    """The recurrence over the flat array by banded substitution, its factor 0 where a response ends."""
    place, last = flat_places(tables, batch)
    value = tables.values.ravel()[place]
    delta = -value
    delta[:-1] += value[1:]
    delta[last] = batch.reward - value[last]
    band = np.ones((2, len(place)), order="F")
    band[0, 1:] = -tables.gae_lambda
    band[0, last[:-1] + 1] = 0.0
    solution, _ = dtbtrs(band, delta[:, None], uplo="U", diag="U", overwrite_b=1)
    advantage = solution[:, 0] / len(place)
    values = -advantage * tables.hazard.ravel()[place]
    stopped = last[~batch.cut]
    values[stopped] += advantage[stopped]
    stops: Any = np.bincount(place, weights=values, minlength=tables.hazard.size)
    first = advantage[np.append(0, last[:-1] + 1)]
    return stops.reshape(tables.hazard.shape), path_part(tables, batch.cell, first)


def flat_places(tables: Tables, batch: Batch) -> tuple[Whole, Whole]:
    """Of every token its index into a raveled [cell, t]; and where in the flat array each response ends."""
    ends = np.cumsum(batch.length)
    start = batch.cell * tables.hazard.shape[1] - (ends - batch.length)
    return np.arange(ends[-1]) + np.repeat(start, batch.length), ends - 1


# --- padded: [response, t], as trainers hold it --------------------------------------------------------------------


def padded_grpo(tables: Tables, batch: Batch) -> Gradient:
    """Arrays [response, t] up to the longest, with a mask; the sum over a cell's responses is a matrix product."""
    coefficient, width = group_advantages(batch), int(batch.length.max())
    score = tables.hazard[batch.cell, :width]
    np.negative(score, out=score)
    rows = np.flatnonzero(~batch.cut)
    score[rows, batch.length[rows] - 1] += 1.0
    score *= np.arange(width) < batch.length[:, None]
    stops = np.zeros_like(tables.hazard)
    stops[:, :width] = one_hot(tables, batch, coefficient) @ score
    return stops, path_part(tables, batch.cell, coefficient)


def padded_gae(tables: Tables, batch: Batch) -> Gradient:
    """The recurrence backwards over positions, all responses at once, as trainers do; time runs along axis 0."""
    width = int(batch.length.max())
    value, hazard = (np.ascontiguousarray(x[:, :width].T) for x in (tables.values, tables.hazard))
    position = np.arange(width)[:, None]
    inside, ends_here = position < batch.length, position == batch.length - 1
    advantage = np.zeros((width, len(batch.length)))
    ahead, beyond = np.zeros(len(batch.length)), np.zeros(len(batch.length))
    for t in range(width - 1, -1, -1):
        now = value[t, batch.cell]
        delta = np.where(ends_here[t], batch.reward, beyond) - now
        ahead = (delta + tables.gae_lambda * ahead) * inside[t]
        beyond = now * inside[t]
        advantage[t] = ahead
    advantage /= batch.length.sum()
    score = hazard[:, batch.cell]
    np.negative(score, out=score)
    rows = np.flatnonzero(~batch.cut)
    score[batch.length[rows] - 1, rows] += 1.0
    score *= advantage
    stops = np.zeros_like(tables.hazard)
    stops[:, :width] = (score @ one_hot(tables, batch).T).T
    return stops, path_part(tables, batch.cell, advantage[0])


def one_hot(tables: Tables, batch: Batch, values: Floats | float = 1.0) -> Floats:
    """[cell, response]: the value of the response in the row of its cell."""
    table = np.zeros((len(tables.probability), len(batch.cell)))
    table[batch.cell, np.arange(len(batch.cell))] = values
    return table
