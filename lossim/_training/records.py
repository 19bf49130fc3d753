"""What a run writes down: numbers of a policy before and after each step, and of the step."""

from __future__ import annotations

import numpy as np
from scipy.special import rel_entr

from lossim._engine import Step
from lossim._model import CellArrays
from lossim._support.quotients import quotient
from lossim._support.records import Record
from lossim._support.types import FloatArray


class State(Record):
    """Numbers of a policy, or of replicates [replicate, ...]; each as :class:`lossim.Training` describes it."""

    length: FloatArray
    length_by_class: FloatArray
    length_by_path: FloatArray
    length_by_outcome: FloatArray
    accuracy: FloatArray
    reward: FloatArray
    truncation_rate: FloatArray
    accuracy_by_path: FloatArray
    path_probability: FloatArray
    kl_to_start: FloatArray
    coordinates: FloatArray
    critic: FloatArray | None = None


class Transition(Record):
    """Numbers of a step; each as :class:`lossim.Training` describes it."""

    composition: FloatArray
    within: FloatArray
    needed: FloatArray
    free: FloatArray
    dead_groups: FloatArray
    clip_fraction: FloatArray
    learning_rate: FloatArray
    range_low: FloatArray
    range_high: FloatArray


class Entry(Record):
    """The state after a step, and the transition to it; None before the first."""

    state: State
    transition: Transition | None = None


class Recorder:
    """Takes down numbers of policies, or of replicates stacked as one, that started from one and moved from there."""

    def __init__(self, first: Step) -> None:
        start = first.policy
        self.first = first
        self.weight = start.class_weight[start.layout.class_of_path]  # of each path's class
        self.first_paths = [paths.start for paths in start.layout.class_paths]
        self.task = first.task + (np.nan if first.scheme.reward.group_relative else 0.0)
        # What is summed over the ends of a grade: tokens, and responses, that stop.
        stops = np.ones_like(start.length)
        stops[-1] = 0.0
        self.of_stops = np.stack([stops * start.length, stops], axis=1)
        moving = np.isfinite(start.logits)
        self.moving = None if moving.all() else moving

    def _rewards(self, policy: CellArrays) -> FloatArray:
        """Mean reward in each cell, [cell]; the cells of several policies are those of the first again and again."""
        if len(self.task) == 1:
            return policy.law.reshape(len(policy.law), -1) @ self.task.ravel()
        law = policy.law.reshape(-1, len(self.task), *policy.law.shape[1:])
        return np.einsum("rcge,cge->rc", law, self.task).ravel()

    def _kl_of_decisions(self, policy: CellArrays) -> FloatArray:
        """Σ_t P(in the cell at t)·KL of the decision to stop, and P(end)·KL of the grade, [cell], nats.

        With Δ what changed since the start, the KL of the decision is h Δz + Δlog(1 - h).
        """
        start = self.first.policy

        def since_start(now: FloatArray, then: FloatArray) -> FloatArray:
            change: FloatArray = now.reshape(-1, *then.shape) - then
            if self.moving is not None:
                change = np.where(self.moving, change, 0.0)
            return change.reshape(now.shape)

        with np.errstate(invalid="ignore"):
            logits = since_start(policy.logits, start.logits)
            stay = since_start(policy.log_stay, start.log_stay)
        total = np.einsum("ct,ct->c", policy.pmf, logits) + np.einsum("ct,ct->c", policy.at_risk, stay)
        if policy.correctness is start.correctness:
            return total
        correct = policy.correctness.reshape(-1, *start.correctness.shape)
        graded = rel_entr(correct, start.correctness) + rel_entr(1.0 - correct, 1.0 - start.correctness)
        return total + np.einsum("ce,ce->c", policy.ends, graded.reshape(policy.ends.shape))

    def state(self, policy: CellArrays, coordinates: FloatArray, critic: FloatArray | None) -> State:
        """Numbers of the policy at coordinates [..., coordinate], whose leading axes they get."""
        start = self.first.policy
        lead = coordinates.shape[:-1]
        # Of each cell, then of each path: tokens and chances of the three outcomes, P(correct), the reward, and nats.
        stopped = (policy.law.reshape(-1, len(policy.length)) @ self.of_stops).reshape(*policy.law.shape[:2], 2)
        right = stopped[:, 0].T
        wrong = stopped[:, 1:].sum(axis=1).T
        cut = policy.ends[:, -1]
        rows = [right[0], wrong[0], cut * policy.length[-1], right[1], wrong[1], cut, right[1] + policy.law[:, 0, -1],
                self._rewards(policy), self._kl_of_decisions(policy)]
        by_path = start.layout.by_path(np.stack(rows, axis=-1).reshape(*lead, start.layout.cells, -1), axis=-2)
        probability = policy.probability.reshape(*lead, -1)
        weight = self.weight * probability
        everyone = np.sum(weight[..., None] * by_path, axis=-2)
        tokens = everyone[..., :3]
        mass = everyone[..., 3:6]
        length_by_path = by_path[..., :3].sum(axis=-1)
        # KL(policy || start) of a whole response, finite since moves keep the support
        with np.errstate(divide="ignore", invalid="ignore"):
            paths = np.where(probability > 0, np.log(probability) - np.log(start.probability), 0.0)
        return State(
            length=tokens.sum(axis=-1), length_by_path=length_by_path,
            length_by_class=np.add.reduceat(probability * length_by_path, self.first_paths, axis=-1),
            length_by_outcome=quotient(tokens, mass, nothing=np.nan),
            accuracy=everyone[..., 6], reward=everyone[..., 7], truncation_rate=mass[..., 2],
            accuracy_by_path=by_path[..., 6], path_probability=probability,
            kl_to_start=everyone[..., 8] + np.sum(weight * paths, axis=-1), coordinates=coordinates, critic=critic)

    def transition(self, old: State, new: State, while_working: FloatArray, *, dead_groups: FloatArray,
                   clip_fraction: FloatArray, learning_rate: FloatArray, range_low: FloatArray, range_high: FloatArray
                   ) -> Transition:
        """Numbers of the step between two states.

        The change of mean length is that by paths changing frequency, at lengths halfway, and that by lengths changing
        on them, at frequencies halfway. ``while_working`` is what stops that moved while responses worked did to it.
        """
        mixing = (new.path_probability - old.path_probability) * (new.length_by_path + old.length_by_path) / 2.0
        frequency = (new.path_probability + old.path_probability) / 2.0
        unlike = self.first.policy.layout.unlike
        bought = unlike(old.accuracy_by_path) | unlike(new.accuracy_by_path)
        needed = while_working + np.where(bought, mixing, 0.0) @ self.weight
        return Transition(composition=mixing @ self.weight,
                          within=frequency * (new.length_by_path - old.length_by_path) @ self.weight,
                          needed=needed, free=new.length - old.length - needed, dead_groups=dead_groups,
                          clip_fraction=clip_fraction, learning_rate=learning_rate, range_low=range_low,
                          range_high=range_high)
