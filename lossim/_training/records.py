"""What a run writes down of its policies: of one policy, or of replicates [replicate, cell, ...] stacked as one."""

from __future__ import annotations

import numpy as np

from lossim._engine import Step
from lossim._support.positions import after
from lossim._support.types import FloatArray
from lossim.policies import Policy

__all__ = ["Records", "clip_fraction"]


class Records:
    """Numbers of policies that started from one and moved in its coordinates; leading axes are the position's."""

    def __init__(self, step: Step) -> None:
        start = step.policy
        correct, truncated = start.correctness, np.arange(start.max_tokens + 1) == start.max_tokens
        outcomes = [correct * ~truncated, (1.0 - correct) * ~truncated, np.ones_like(correct) * truncated]
        right, wrong = step.task[0]
        reward = wrong + correct * (right - wrong) + (np.nan if step.scheme.reward.group_relative else 0.0)
        tokens = [outcome * start.length for outcome in outcomes]
        self.start, self.tables = start, np.stack([*tokens, *outcomes, correct, reward], axis=-1)
        self.first_cells = np.flatnonzero(np.diff(start.class_of_cell, prepend=-1))
        self.log_ends = _log_ends(start)

    def state(self, policy: Policy, position: FloatArray) -> dict[str, FloatArray]:
        """Numbers of the policy at a position [..., coordinate]."""
        start, lead = self.start, position.shape[:-1]
        ends = policy.ends.reshape(*lead, *self.log_ends.shape)
        probability = policy.probability.reshape(*lead, -1)
        weight = start.class_weight[start.class_of_cell] * probability
        by_cell = (ends[..., None, :] @ self.tables)[..., 0, :]
        everyone = np.sum(weight[..., None] * by_cell, axis=-2)
        tokens, mass = everyone[..., :3], everyone[..., 3:6]
        length = by_cell[..., :3].sum(axis=-1)
        return {
            "length": tokens.sum(axis=-1), "length_by_path": length,
            "length_by_class": np.add.reduceat(probability * length, self.first_cells, axis=-1),
            "length_by_outcome": np.divide(tokens, mass, out=np.full(tokens.shape, np.nan), where=mass > 0),
            "accuracy": everyone[..., 6], "reward": everyone[..., 7], "truncation_rate": mass[..., 2],
            "path_probability": probability, "kl_to_start": self._kl(_log_ends(policy), ends, probability, weight),
            "coordinates": position.copy()}

    def _kl(self, log_ends: FloatArray, ends: FloatArray, probability: FloatArray, weight: FloatArray) -> FloatArray:
        """KL(policy || start) of a whole response, nats; finite, since moves keep the support."""
        with np.errstate(divide="ignore", invalid="ignore"):
            lengths = np.where(ends > 0, ends * (log_ends.reshape(ends.shape) - self.log_ends), 0.0).sum(axis=-1)
            paths = np.where(probability > 0, np.log(probability) - np.log(self.start.probability), 0.0)
        kl: FloatArray = np.sum(weight * (lengths + paths), axis=-1)
        return kl

    def change(self, old: dict[str, FloatArray], new: dict[str, FloatArray]) -> dict[str, FloatArray]:
        """The change of mean length between two states, by paths changing frequency and by lengths changing on them."""
        weight = self.start.class_weight[self.start.class_of_cell]
        before, now = (state["path_probability"] for state in (old, new))
        shorter, longer = (state["length_by_path"] for state in (old, new))
        return {"composition": (now - before) * (longer + shorter) / 2.0 @ weight,
                "within": (now + before) / 2.0 * (longer - shorter) @ weight}


def _log_ends(policy: Policy) -> FloatArray:
    return np.column_stack([policy.log_at_risk[:, :-1] + policy.log_stop, policy.log_at_risk[:, -1]])


def clip_fraction(step: Step, mass: FloatArray, lead: tuple[int, ...] = ()) -> FloatArray:
    """Share of tokens whose gain is 0 for one sign of the advantage at least, for responses ``mass`` [cell, end]."""
    if step.drawn_ratio is None:
        return np.zeros(lead)
    gains = [given for given in map(step.gains, (+1, -1)) if given is not None]
    stop, go, response = (np.any([getattr(each, name) == 0 for each in gains], axis=0)
                          for name in ("stop", "go", "response"))
    tokens = mass * step.old.length
    # A clip of whole responses, or one of tokens.
    held = tokens * response if response.any() else mass[:, :-1] * stop + after(mass) * go
    share: FloatArray = held.reshape(*lead, -1).sum(axis=-1) / tokens.reshape(*lead, -1).sum(axis=-1)
    return share
