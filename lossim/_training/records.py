"""What a run writes down: numbers of a policy before and after each step, and of the step."""

from __future__ import annotations

import numpy as np

from lossim._engine import Step
from lossim._model import CellArrays
from lossim._support.positions import after
from lossim._support.records import Record
from lossim._support.types import FloatArray

__all__ = ["Entry", "Recorder", "State", "Transition", "clip_fraction"]


class State(Record):
    """Numbers of a policy, or of replicates, [replicate, ...]; each as :class:`lossim.Training` describes it.

    ``critic``: V, [..., cell, t], for one that learns; else None.
    """

    length: FloatArray
    length_by_class: FloatArray
    length_by_path: FloatArray
    length_by_outcome: FloatArray
    accuracy: FloatArray
    reward: FloatArray
    truncation_rate: FloatArray
    path_probability: FloatArray
    kl_to_start: FloatArray
    coordinates: FloatArray
    critic: FloatArray | None = None


class Transition(Record):
    """Numbers of a step; each as :class:`lossim.Training` describes it."""

    composition: FloatArray
    within: FloatArray
    dead_groups: FloatArray
    clip_fraction: FloatArray
    learning_rate: FloatArray


class Entry(Record):
    """The state after a step, and the transition to it; None before the first."""

    state: State
    transition: Transition | None = None


class Recorder:
    """Takes down numbers of policies that started from one and moved in its coordinates.

    Of one policy, or of replicates stacked as one; then each number has an axis of replicates in front.
    """

    def __init__(self, step: Step) -> None:
        start = step.policy
        correct = start.correctness
        truncated = np.arange(start.max_tokens + 1) == start.max_tokens
        outcomes = [correct * ~truncated, (1.0 - correct) * ~truncated, np.ones_like(correct) * truncated]
        tokens = [outcome * start.length for outcome in outcomes]
        right, wrong = step.task[0]
        reward = wrong + correct * (right - wrong)
        if step.scheme.reward.group_relative:
            reward = reward + np.nan
        self.start = start
        self.tables = np.stack([*tokens, *outcomes, correct, reward], axis=-1)  # [cell, end, function]
        self.first_cells = [cells.start for cells in start.class_cells]
        self.log_ends = _log_ends(start)

    def state(self, policy: CellArrays, coordinates: FloatArray, critic: FloatArray | None = None) -> State:
        """Numbers of the policy at coordinates [..., coordinate], whose leading axes they get."""
        start = self.start
        lead = coordinates.shape[:-1]
        ends = policy.ends.reshape(*lead, *self.log_ends.shape)
        probability = policy.probability.reshape(*lead, -1)
        weight = start.class_weight[start.class_of_cell] * probability
        by_cell = (ends[..., None, :] @ self.tables)[..., 0, :]
        everyone = np.sum(weight[..., None] * by_cell, axis=-2)
        tokens = everyone[..., :3]
        mass = everyone[..., 3:6]
        length = by_cell[..., :3].sum(axis=-1)
        return State(
            length=tokens.sum(axis=-1), length_by_path=length,
            length_by_class=np.add.reduceat(probability * length, self.first_cells, axis=-1),
            length_by_outcome=np.divide(tokens, mass, out=np.full(tokens.shape, np.nan), where=mass > 0),
            accuracy=everyone[..., 6], reward=everyone[..., 7], truncation_rate=mass[..., 2],
            path_probability=probability, kl_to_start=self._kl(_log_ends(policy), ends, probability, weight),
            coordinates=coordinates.copy(), critic=critic)

    def _kl(self, log_ends: FloatArray, ends: FloatArray, probability: FloatArray, weight: FloatArray) -> FloatArray:
        """KL(policy || start) of a whole response, nats; finite, since moves keep the support."""
        with np.errstate(divide="ignore", invalid="ignore"):
            lengths = np.where(ends > 0, ends * (log_ends.reshape(ends.shape) - self.log_ends), 0.0).sum(axis=-1)
            paths = np.where(probability > 0, np.log(probability) - np.log(self.start.probability), 0.0)
        return np.sum(weight * (lengths + paths), axis=-1)

    def transition(self, old: State, new: State, *, dead_groups: FloatArray, clip_fraction: FloatArray,
                   learning_rate: FloatArray) -> Transition:
        """Numbers of the step between two states.

        The change of mean length is that by paths changing frequency, at lengths halfway, and that by lengths changing
        on them, at frequencies halfway.
        """
        weight = self.start.class_weight[self.start.class_of_cell]
        shift = new.path_probability - old.path_probability
        halfway = (new.length_by_path + old.length_by_path) / 2.0
        frequency = (new.path_probability + old.path_probability) / 2.0
        return Transition(composition=shift * halfway @ weight,
                          within=frequency * (new.length_by_path - old.length_by_path) @ weight,
                          dead_groups=dead_groups, clip_fraction=clip_fraction, learning_rate=learning_rate)


def _log_ends(policy: CellArrays) -> FloatArray:
    """log P(end), [cell, end]."""
    return np.column_stack([policy.log_at_risk[:, :-1] + policy.log_stop, policy.log_at_risk[:, -1]])


def clip_fraction(step: Step, mass: FloatArray, lead: tuple[int, ...] = ()) -> FloatArray:
    """Share of tokens whose gain is 0 for one sign of the advantage at least, for responses ``mass`` [cell, end]."""
    gains = [given for given in (step.gains(+1), step.gains(-1)) if given is not None]
    if not gains:
        return np.zeros(lead)
    whole = np.any([each.response == 0 for each in gains], axis=0)
    stop = np.any([each.stop == 0 for each in gains], axis=0)
    go = np.any([each.go == 0 for each in gains], axis=0)
    tokens = mass * step.old.length
    # All tokens of a response that is held as a whole; of the others those that are held by themselves.
    others = np.where(whole, 0.0, mass)
    held = np.where(whole, tokens, 0.0)
    held[:, :-1] += others[:, :-1] * stop + after(others) * go
    return held.reshape(*lead, -1).sum(axis=-1) / tokens.reshape(*lead, -1).sum(axis=-1)
