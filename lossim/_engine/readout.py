"""What an update does: the derivative of every reported expectation along the move that a gradient makes.

Moving the logits by dz, dy changes the log-probability of a response by

    Λ(end) = (1 - h(T)) dz(T) [stopped] - Σ_{u that it went on at} h(u) dz(u) ,      plus dy_k - Σ_l π_l dy_l ,

so dE[f] = E[f · Λ] for any f of cell, grade and end. See docs/derivations.md, sections 8 and 9.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from lossim._engine.changes import Changes, Ratios, Value
from lossim._engine.gradients import update_gradient
from lossim._engine.measures import Measures
from lossim._engine.sources import sources
from lossim._engine.states import entered_of, going, mean_along
from lossim._engine.step import Step
from lossim._model import CellArrays, Directions, Logits, Squares, centred, inner_product
from lossim._support.quotients import quotient
from lossim._support.records import Record, mapped
from lossim._support.types import FloatArray

NATS = 0.01
"""Size of the step behind ``length_per_kl``, nats of KL per response."""


def log_likelihood_move(policy: CellArrays, move: Logits, cells: slice) -> FloatArray:
    """Λ per [cell, grade, end] of a move of the stop logits and the skills, for some cells.

    On average over when a response changed state; [cell, 1, end] where no skill moves.
    """
    stops = move.stops[cells]
    lengths = mean_along(policy, policy.stay[cells] * stops, -policy.hazard[cells] * stops, cells)
    if not move.skills.any():
        return lengths[:, None]
    learned = move.skills[cells, None]
    correct = policy.correctness[cells]
    unlearned = lengths - learned * correct
    return np.stack([lengths + learned * (1.0 - correct), *[unlearned] * (policy.law.shape[1] - 1)], axis=1)


def length_changes(directions: Directions, step: Step, measures: Measures) -> Changes:
    """What the ratio of length to nats is made of, and no other number; accuracy and reward stand still."""
    return changes_of_length(directions, update_gradient(step, measures, directions.motion.skill_scale > 0))


def changes_of_length(directions: Directions, gradient: Logits) -> Changes:
    """The same of a gradient in the logits."""
    apart = directions.logits_apart(gradient)
    nothing = np.zeros(directions.shape)
    return Changes(length=inner_product(apart, directions.logits_apart(directions.length)), accuracy=nothing,
                   reward=nothing, hazard_gradient=apart.stops, path_gradient=apart.paths,
                   skill_gradient=apart.skills, update=directions.motion.pull(*apart))


class Readout(Record):
    """Reads gradients on one policy: ``changes`` what is linear in them, ``ratios`` what is not.

    ``task`` [1 or cell, grade, end] are the rewards whose mean is reported, ``scale`` is about how large coefficients
    of the update are before anything cancels.
    """

    directions: Directions
    task: FloatArray
    scale: float

    @property
    def policy(self) -> CellArrays:
        """The policy."""
        return self.directions.policy

    @cached_property
    def _varying_task(self) -> FloatArray:
        """Task rewards, [1 or cell, grade, end]; 0 where all are paid alike, so that their mean does not move."""
        if len(self.task) == 1:
            paid = self.task[0][np.tensordot(self.policy.cell_weight, self.policy.law, axes=1) > 0]
        else:
            paid = self.task[(self.policy.law > 0) & (self.policy.cell_weight > 0)[:, None, None]]
        return np.zeros_like(self.task) if np.ptp(paid) == 0 else self.task

    @cached_property
    def reward_gradient(self) -> Logits:
        """∇E[R] in the logits."""
        policy = self.policy
        paid = np.empty_like(policy.ends)
        for cells in policy.layout.blocks:
            paid[cells] = (policy.law[cells] * self._task_of(cells)).sum(axis=1)
        entered = entered_of(policy, paid[policy.layout.moves.target, None])[:, 0]
        stops = np.empty_like(policy.logits)
        for cells in policy.layout.blocks:
            later = going(policy, paid[cells], entered, cells)
            stops[cells] = policy.stay[cells] * paid[cells, :-1] - policy.hazard[cells] * later
        skills = np.zeros(policy.layout.cells)
        if self.directions.motion.skill_scale > 0:
            wrong = (policy.not_correct * self._varying_task[:, 1:]).sum(axis=1)
            uncertain = policy.law[:, 0] * (1.0 - policy.correctness)
            skills = np.einsum("ce,ce->c", uncertain, self._varying_task[:, 0] - wrong)
        means = policy.layout.by_path(paid.sum(axis=1))
        return Logits(policy.cell_weight[:, None] * stops, policy.path_weight * centred(policy, means),
                      policy.cell_weight * skills)

    @cached_property
    def best_move(self) -> Logits:
        """K · ∇E[R]."""
        return self.directions.push(self.directions.pull(self.reward_gradient))

    # --- what is linear in the gradient -------------------------------------------------------------------------

    def sources(self, step: Step, measures: Measures) -> FloatArray:
        """What an update adds to dE[T] by [cell, outcome, role, term]."""
        ahead = self.directions.length
        return sources(step, measures, ahead, centred(self.policy, ahead.paths)[self.policy.layout.path_of_cell])

    def _functions(self, x: FloatArray, cells: slice = slice(None)) -> FloatArray:
        """Sums over the ends of what is reported the expectation of, times x [cell, grade, end]: [cell, function].

        Length, correct, task reward, truncated; then of each outcome its indicator, and length times it; last 1.
        """
        length = self.policy.length
        stopped = x[:, :, :-1]
        mass = stopped.sum(axis=-1)
        tokens = stopped @ length[:-1]
        at_cap = x[:, :, -1]
        cut = at_cap.sum(axis=1)
        outcomes = [mass[:, 0], mass[:, 1:].sum(axis=1), cut]
        lengths = [tokens[:, 0], tokens[:, 1:].sum(axis=1), cut * length[-1]]
        paid = np.einsum("cge,cge->c", x, np.broadcast_to(self._task_of(cells), x.shape))
        right = mass[:, 0] + at_cap[:, 0]
        return np.stack([sum(lengths), right, paid, cut, *outcomes, *lengths, sum(outcomes)], axis=-1)

    def _task_of(self, cells: slice) -> FloatArray:
        """The task rewards of some cells."""
        return self._varying_task if len(self.task) == 1 else self._varying_task[cells]

    @cached_property
    def expectations(self) -> FloatArray:
        """E[function; in the cell | path], [cell, function]."""
        return self._functions(self.policy.law)

    @cached_property
    def by_path(self) -> FloatArray:
        """E[function | path], [path, function]."""
        return self.policy.layout.by_path(self.expectations, axis=0)

    def changes(self, step: Step, measures: Measures) -> Changes:
        """Every number that is linear in the gradient, but for rewards in effect and weights of responses, [...]."""
        gradient = update_gradient(step, measures, self.directions.motion.skill_scale > 0)
        return replace(self.read(gradient), sources=self.directions.apart(self.sources(step, measures)))

    def read(self, gradient: Logits) -> Changes:
        """The same of a gradient in the logits; where it comes from is not told, so that there are no sources."""
        policy = self.policy
        apart = self.directions.apart
        update = self.directions.pull(gradient)
        move = self.directions.push(update)
        # dE[f | path] as lengths change on the path. Λ has mean 0 and so has the change of the paths below: centring
        # both leaves less to cancel.
        by_cell = np.concatenate([self._functions(policy.law[cells] * log_likelihood_move(policy, move, cells), cells)
                                  for cells in policy.layout.blocks])
        within = policy.layout.by_path(by_cell, axis=0)
        within -= within[:, -1:] * self.by_path
        # The same as paths change frequency.
        change = centred(policy, move.paths)
        across = change[:, None] * centred(policy, self.by_path)

        def mean(x: FloatArray) -> FloatArray:
            """Over the paths, by function: [path, function] of all policies as [function, ...]."""
            return apart(policy.path_weight[:, None] * x).sum(axis=-2).T

        both = within + across
        by_class: Value = np.bincount(policy.layout.class_of_path, weights=policy.probability * both[:, 0])
        total = mean(both)
        expected = mean(self.by_path)
        # dE[T | outcome] = (dE[T; outcome] - E[T | outcome] dP(outcome)) / P(outcome); NaN if it never occurs.
        mass = expected[4:7]
        split = self.directions.logits_apart
        needed = inner_product(split(self.directions.needed), split(move))
        tokens = quotient(expected[7:10], mass, nothing=np.nan)
        by_outcome = quotient(total[7:10] - tokens * total[4:7], mass, nothing=np.nan)
        return Changes(
            length=total[0], within=mean(within)[0], composition=mean(across)[0], needed=needed, free=total[0] - needed,
            length_by_class=apart(by_class), length_by_path=apart(within[:, 0]), length_by_outcome=by_outcome.T,
            path_probability=apart(policy.probability * change), accuracy=total[1], reward=total[2],
            truncation_rate=total[3], hazard_gradient=apart(gradient.stops),
            path_gradient=apart(gradient.paths), skill_gradient=apart(gradient.skills), update=update)

    # --- what is not --------------------------------------------------------------------------------------------

    def ratios(self, changes: Changes, noise: Squares | None = None) -> Ratios:
        """Numbers that are not linear in the gradient, from the linear ones; NaN where nothing moves.

        ``noise`` is what sampling noise adds to the squares on average, where the changes were sampled.
        """
        noisy = changes.squares(self.directions)
        squares = noisy if noise is None else mapped(np.subtract, noisy, noise)
        return Ratios(length_per_kl=self.length_per_kl(changes, squares),
                      length_per_reward=self.length_per_reward(changes, noisy),
                      accuracy_per_token=self.accuracy_per_token(changes, noisy),
                      alignment=self.alignment(changes, squares))

    def length_per_kl(self, changes: Changes, squares: Squares) -> float:
        """Tokens in a step of 0.01 nats."""
        if not self._moves(squares) or not squares.nats > 0:
            return np.nan
        return float(changes.length) * np.sqrt(NATS / squares.nats)

    def length_per_reward(self, changes: Changes, squares: Squares) -> float:
        """Tokens per +0.01 reward."""
        reward = float(changes.reward)
        return 0.01 * float(changes.length) / reward if self._moves(squares) and reward != 0 else np.nan

    def accuracy_per_token(self, changes: Changes, squares: Squares) -> float:
        """P(correct) per token."""
        length = float(changes.length)
        return float(changes.accuracy) / length if self._moves(squares) and length != 0 else np.nan

    def alignment(self, changes: Changes, squares: Squares) -> float:
        """Cosine with the gradient of the reward, by the kernel."""
        best_size = inner_product(self.reward_gradient, self.best_move)
        if not self._moves(squares) or not best_size > 0:
            return np.nan
        return inner_product(self.best_move, changes.gradient) / (np.sqrt(squares.size) * np.sqrt(best_size))

    def _moves(self, squares: Squares) -> bool:
        return self.directions.moves(squares, self.scale)
