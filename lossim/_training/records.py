"""What a run writes down: numbers of a policy before and after each step, and of the step."""

from __future__ import annotations

import numpy as np

from lossim._engine import Step
from lossim._model import CellArrays
from lossim._support.positions import after
from lossim._support.types import FloatArray

Numbers = dict[str, FloatArray]
"""Of a policy, or replicates of it [replicate, ...], and of the step to it; by their names in `lossim.Training`."""


class Recorder:
    """Takes down numbers of policies that started from one and moved in its coordinates.

    Of one policy, or of replicates stacked as one; then each number has an axis of replicates in front.
    """

    def __init__(self, first: Step) -> None:
        start = first.policy
        correct = start.correctness
        truncated = np.arange(start.max_tokens + 1) == start.max_tokens
        outcomes = [correct * ~truncated, (1.0 - correct) * ~truncated, np.ones_like(correct) * truncated]
        tokens = [outcome * start.length for outcome in outcomes]
        right, wrong = first.task[0]
        reward = wrong + correct * (right - wrong)
        if first.scheme.reward.group_relative:
            reward = reward + np.nan
        self.first = first
        self.tables = np.stack([*tokens, *outcomes, correct, reward], axis=-1)  # [cell, end, function]
        self.first_cells = [cells.start for cells in start.class_cells]
        self.class_weight = start.class_weight[start.class_of_cell]
        self.log_ends = _log_ends(start)

    def state(self, policy: CellArrays, coordinates: FloatArray, critic: FloatArray | None) -> Numbers:
        """Numbers of the policy at coordinates [..., coordinate], whose leading axes they get."""
        lead = coordinates.shape[:-1]
        ends = policy.ends.reshape(*lead, *self.log_ends.shape)
        probability = policy.probability.reshape(*lead, -1)
        weight = self.class_weight * probability
        by_cell = (ends[..., None, :] @ self.tables)[..., 0, :]
        everyone = np.sum(weight[..., None] * by_cell, axis=-2)
        tokens = everyone[..., :3]
        mass = everyone[..., 3:6]
        length = by_cell[..., :3].sum(axis=-1)

        # KL(policy || start) of a whole response, finite since moves keep the support
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = _log_ends(policy).reshape(ends.shape) - self.log_ends
            lengths = np.where(ends > 0, ends * moved, 0.0).sum(axis=-1)
            paths = np.where(probability > 0, np.log(probability) - np.log(self.first.policy.probability), 0.0)
        numbers = {
            "length": tokens.sum(axis=-1), "length_by_path": length,
            "length_by_class": np.add.reduceat(probability * length, self.first_cells, axis=-1),
            "length_by_outcome": np.divide(tokens, mass, out=np.full(tokens.shape, np.nan), where=mass > 0),
            "accuracy": everyone[..., 6], "reward": everyone[..., 7], "truncation_rate": mass[..., 2],
            "path_probability": probability, "kl_to_start": np.sum(weight * (lengths + paths), axis=-1),
            "coordinates": coordinates}
        return numbers if critic is None else numbers | {"critic": critic}

    def change(self, old: Numbers, new: Numbers) -> Numbers:
        """What moved mean length between two states.

        Paths changing frequency, at lengths halfway, and lengths changing on them, at frequencies halfway.
        """
        shift = new["path_probability"] - old["path_probability"]
        halfway = (new["length_by_path"] + old["length_by_path"]) / 2.0
        frequency = (new["path_probability"] + old["path_probability"]) / 2.0
        return {"composition": shift * halfway @ self.class_weight,
                "within": frequency * (new["length_by_path"] - old["length_by_path"]) @ self.class_weight}


def _log_ends(policy: CellArrays) -> FloatArray:
    """log P(end), [cell, end]."""
    return np.column_stack([policy.log_at_risk[:, :-1] + policy.log_stop, policy.log_at_risk[:, -1]])


def clip_fraction(step: Step, mass: FloatArray, lead: tuple[int, ...]) -> FloatArray:
    """Share of tokens whose gain is 0 for one sign of the advantage at least, for responses ``mass`` [cell, end]."""
    gains = [given for given in (step.gains(+1), step.gains(-1)) if given is not None]
    whole = np.any([each.response == 0 for each in gains], axis=0)
    stop = np.any([each.stop == 0 for each in gains], axis=0)
    go = np.any([each.go == 0 for each in gains], axis=0)
    tokens = mass * step.old.length
    # All tokens of a response that is held as a whole; of the others those that are held by themselves.
    others = np.where(whole, 0.0, mass)
    held = np.where(whole, tokens, 0.0)
    held[:, :-1] += others[:, :-1] * stop + after(others) * go
    return held.reshape(*lead, -1).sum(axis=-1) / tokens.reshape(*lead, -1).sum(axis=-1)
