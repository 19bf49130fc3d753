"""What the replicates of a run sample: the groups of a rollout, and the order in which mini-batches take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from lossim._engine import Step, unequal_groups
from lossim._model import CellArrays, Draws
from lossim._support.types import FloatArray, IntArray
from lossim.schemes import Scheme

MOST_RESPONSES = 1 << 18
"""Responses held in memory at once."""
GRAIN = 1 << 40
"""Probabilities are drawn in whole multiples of 1/GRAIN, so that what has probability 0 is never drawn."""
MOST_GROUPS = 1000
"""Groups drawn for each that a rollout needs before resampling counts as impossible ..."""
FEW_GROUPS = 100_000
"""... and at least so many."""


def minibatches(scheme: Scheme, count: int, rng: np.random.Generator) -> Iterator[IntArray | None]:
    """Which groups [replicate, prompt] each optimiser step on a rollout is taken on; None for all."""
    parts = scheme.minibatches
    groups = np.arange(parts * scheme.prompts_per_step)
    for _ in range(scheme.ppo_epochs):
        if parts == 1:
            yield None
        else:
            yield from np.split(rng.permuted(np.tile(groups, (count, 1)), axis=1), parts, axis=1)


def sample(step: Step, count: int, rng: np.random.Generator) -> tuple[Draws, FloatArray]:
    """The groups of a rollout of ``count`` replicates whose policies are stacked as one, [replicate, prompt, response].

    And the share of equal ones among those drawn, [replicate].
    """
    scheme = step.scheme
    need = scheme.prompts_per_step * scheme.minibatches
    draw = _sampler(step.old, count, scheme.group_size, rng)
    if scheme.dynamic_sampling != "resample":
        draws = draw(np.arange(count), need)
        return draws, 1.0 - unequal_groups(step, draws).mean(axis=1)
    filled = np.zeros((3, count, need, scheme.group_size), dtype=np.int64)
    have, drawn, kept = np.zeros((3, count), dtype=np.int64)
    while (rows := np.flatnonzero(have < need)).size:
        if (drawn[rows] > max(MOST_GROUPS * need, FEW_GROUPS)).any():
            raise ValueError(f"dynamic_sampling='resample' cannot fill a step: {have.min()} of {need} groups of a "
                             f"replicate had unequal rewards in {drawn.max():,} draws; use "
                             "dynamic_sampling='none' or 'drop', or other prompts")
        # Ask for what is missing at the rate so far, and a little more.
        missing = (need - have[rows]) * (drawn[rows] + 1) / (kept[rows] + 1)
        ask = int(min(1.1 * missing.max() + 4, MOST_RESPONSES // (rows.size * scheme.group_size) + 1))
        draws = draw(rows, ask)
        keep = unequal_groups(step, draws)
        # Those that are kept go to the next free places of their replicate.
        place = have[rows, None] + np.cumsum(keep, axis=1) - 1
        row, group = np.nonzero(keep & (place < need))
        for target, source in zip(filled, (draws.cell, draws.grade, draws.end), strict=True):
            target[rows[row], place[row, group]] = source[row, group]
        have[rows] += keep.sum(axis=1)
        drawn[rows] += ask
        kept[rows] += keep.sum(axis=1)
    return Draws(cell=filled[0], grade=filled[1], end=filled[2]), 1.0 - kept / drawn


def _sampler(policy: CellArrays, count: int, group_size: int, rng: np.random.Generator
             ) -> Callable[[IntArray, int], Draws]:
    """A function that draws groups of some replicates, [row, prompt, response], by inverse cdf.

    Cumulative chances are in grains: of the classes [class], the paths [cell] and the ends but the last [cell · t].
    Each row of the last two has the row's number times ``GRAIN`` on top, so that one search serves all rows.
    """
    n = policy.max_tokens
    classes = len(policy.class_weight) // count
    weight = np.cumsum(policy.class_weight[:classes])
    class_grains = _grains(weight / weight[-1])
    chance = policy.probability.reshape(count, -1)
    paths = np.concatenate([np.cumsum(chance[:, mine], axis=1) / chance[:, mine].sum(axis=1, keepdims=True)
                            for mine in policy.class_cells[:classes]], axis=1).ravel()
    path_grains = _grains(paths) + GRAIN * policy.class_of_cell
    ends = -np.expm1(policy.log_at_risk[:, 1:])
    end_grains = (_grains(ends) + GRAIN * np.arange(len(ends))[:, None]).ravel()

    def draw(rows: IntArray, prompts: int) -> Draws:
        shape = (len(rows), prompts, group_size)
        own = np.searchsorted(class_grains, rng.integers(GRAIN, size=shape[:2]), side="right")
        own += rows[:, None] * classes
        cell = np.searchsorted(path_grains, GRAIN * own[..., None] + rng.integers(GRAIN, size=shape), side="right")
        end = np.searchsorted(end_grains, GRAIN * cell + rng.integers(GRAIN, size=shape), side="right") - n * cell
        grade = (rng.random(shape) >= policy.correctness[cell, end]).astype(np.int64)
        return Draws(cell=cell, grade=grade, end=end)

    return draw


def _grains(cumulative: FloatArray) -> IntArray:
    return np.rint(cumulative * GRAIN).astype(np.int64)
