"""Sampled batches: as the plain reference writes them, and the gradient that the engine makes of them."""

from __future__ import annotations

import numpy as np

import lossim as ls
import reference as ref
from lossim._engine.gradients import logit_gradient, token_sums
from lossim._engine.sampled import batch_measures
from lossim._engine.step import Step
from lossim.policies import Draws


def as_batch(policy: ls.Policy, draws: Draws) -> list[tuple[int, list[ref.Response]]]:
    """One sampled batch as the reference writes it."""
    first_cell = np.searchsorted(policy.class_of_cell, np.arange(len(policy.classes)))
    batch = []
    for cells, grades, ends in zip(draws.cell[0], draws.grade[0], draws.end[0], strict=True):
        j = int(policy.class_of_cell[cells[0]])
        batch.append((j, [ref.Response(path=int(c - first_cell[j]), length=int(policy.length[e]),
                                       truncated=bool(e == policy.max_tokens), correct=bool(g == 0))
                          for c, g, e in zip(cells, grades, ends, strict=True)]))
    return batch


def engine_gradient(step: Step, draws: Draws) -> np.ndarray:
    sums = token_sums(step, batch_measures(step, draws))
    parts = [logit_gradient(step.policy, part) for part in sums.values()]
    return np.concatenate([sum(stops for stops, _ in parts).ravel(), sum(paths for _, paths in parts)])
