"""Sampled batches: drawn by the engine, written as the plain reference writes them, and what the engine makes of them.

The one place in which tests touch the engine's steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import lossim as ls
import reference as ref
from lossim._engine import Question, Step, update_gradient
from lossim._engine.monte_carlo import sampled_drift
from lossim._engine.sampled import batch_measures, draw_batches
from lossim.policies import Draws


def step_of(scheme: ls.Scheme, policy: ls.Policy, *, reference: ls.Policy | None = None, old: ls.Policy | None = None
            ) -> Step:
    """One optimiser step; the policy is its own reference and has drawn the batch unless others are given."""
    return Question(scheme=scheme, policy=policy, reference=reference or policy, old=old or policy).step


def drawn(step: Step, rng: np.random.Generator, batches: int = 1) -> Draws:
    """Indices [batch, prompt, response] of how responses of the old policy went."""
    return draw_batches(step, rng, batches)


def one_of(draws: Draws, batch: int) -> Draws:
    def taken(x: Any) -> Any:
        return x[batch:batch + 1]

    return Draws(cell=taken(draws.cell), grade=taken(draws.grade), end=taken(draws.end), entered=taken(draws.entered))


def as_batch(policy: ls.Policy, draws: Draws) -> list[tuple[int, list[ref.Response]]]:
    """The first batch as the reference writes it."""
    layout = policy.layout
    first_path = np.searchsorted(layout.class_of_path, np.arange(len(policy.classes)))
    moved = np.isin(draws.cell, layout.moves.target)
    batch = []
    for group in zip(draws.cell[0], draws.grade[0], draws.end[0], draws.entered[0], moved[0], strict=True):
        j = int(policy.class_of_cell[group[0][0]])
        batch.append((j, [ref.Response(path=int(layout.path_of_cell[c] - first_path[j]), length=int(policy.length[e]),
                                       truncated=bool(e == policy.max_tokens), correct=bool(g == 0),
                                       moved=int(w) + 1 if done else 0)
                          for c, g, e, w, done in zip(*group, strict=True)]))
    return batch


def engine_gradient(step: Step, draws: Draws) -> np.ndarray:
    """The gradient of all logits, hazards by cell and then paths, in the mean over the batches."""
    stops, paths, _ = update_gradient(step, batch_measures(step, draws))
    return np.concatenate([stops.ravel(), paths])


def engine_skill_gradient(step: Step, draws: Draws) -> np.ndarray:
    """The gradient of the log-odds of being correct, [cell], in the mean over the batches."""
    return update_gradient(step, batch_measures(step, draws), True).skills


def gae_errors(step: Step) -> Any:
    """Temporal differences of GAE: ``going`` [cell, t] and ``last`` [cell, grade, end]."""
    return step.errors


def drift_of_chunks(scheme: ls.Scheme, policy: ls.Policy, rng: np.random.Generator, batches: int, at_once: int
                    ) -> ls.Drift:
    """The drift by Monte Carlo, with so many responses drawn at a time, or one step if that has more."""
    question = Question(scheme=scheme, policy=policy, reference=policy, old=policy)
    return sampled_drift(question, question.step, rng, batches, progress=False, at_once=at_once)
