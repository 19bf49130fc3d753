"""Where a run stands, and what it writes down: numbers of a policy before and after each step, and of the step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np

from lossim._engine import Step
from lossim._model import CellArrays, Logits, Motion
from lossim._support.positions import after
from lossim._support.types import BoolArray, FloatArray
from lossim.advantages import GAE
from lossim.critics import Learned, Table
from lossim.optimizers import Optimizer
from lossim.schemes import Scheme

Numbers = dict[str, FloatArray]
"""Of a policy, or replicates of it [replicate, ...], and of the step to it; by their names in `lossim.Training`."""


class Recorder:
    """Takes down numbers of policies, or of replicates stacked as one, that started from one and moved from there."""

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

    def numbers(self, policy: CellArrays, coordinates: FloatArray, critic: FloatArray | None, before: Numbers
                ) -> Numbers:
        """Numbers of the policy at coordinates [..., coordinate], whose leading axes they get.

        And what moved mean length since those ``before``, if there are any: paths changing frequency, at lengths
        halfway, and lengths changing on them, at frequencies halfway.
        """
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
        if critic is not None:
            numbers["critic"] = critic
        if before:
            old = before["path_probability"]
            halfway = (length + before["length_by_path"]) / 2.0
            numbers["composition"] = (probability - old) * halfway @ self.class_weight
            numbers["within"] = (probability + old) / 2.0 * (length - before["length_by_path"]) @ self.class_weight
        return numbers


def _log_ends(policy: CellArrays) -> FloatArray:
    """log P(end), [cell, end]."""
    return np.column_stack([policy.log_at_risk[:, :-1] + policy.log_stop, policy.log_at_risk[:, -1]])


class Run(ABC):
    """A run, or ``replicates`` (count,) of it as one: with a ``stack`` of scheme, policy and reference for all."""

    def __init__(self, motion: Motion, optimizer: Optimizer, recorder: Recorder, replicates: tuple[int, ...] = (),
                 stack: tuple[Scheme, CellArrays, CellArrays] | None = None) -> None:
        first = recorder.first
        self.scheme, self.start, self.reference = stack or (first.scheme, first.policy, first.reference)
        self.motion = motion
        self.optimizer = optimizer
        self.recorder = recorder
        self.replicates = replicates
        self.shape = (*replicates, first.policy.layout.cells)
        self.coordinates = np.zeros((*replicates, motion.size))
        self.memory = optimizer.start(self.coordinates.shape)
        self.current = None if stack else first.policy
        self.numbers: Numbers = {}
        self.learned: tuple[Learned, GAE, FloatArray] | None = None  # with its values V, [..., cell, t]
        gae = first.token_level
        if gae is not None and isinstance(gae.critic, Learned):
            values = gae.critic.start_values(first.critic_view(gae))
            self.learned = gae.critic, gae, np.tile(values, (math.prod(replicates), 1))

    # --- what a method does -----------------------------------------------------------------------------------------

    @abstractmethod
    def optimise(self, first: Step) -> Step:
        """Move along the updates of one rollout, given the first optimiser step on it; the last one."""

    @abstractmethod
    def targets(self, critic: Learned, gae: GAE, values: FloatArray, step: Step) -> tuple[FloatArray, BoolArray]:
        """What the critic learns from a rollout, and where."""

    @abstractmethod
    def dead_groups(self, step: Step) -> FloatArray:
        """Share of groups with equal rewards."""

    @abstractmethod
    def mass(self, step: Step) -> FloatArray:
        """Responses of the rollout by [cell, end], or their chances."""

    # --- one step ---------------------------------------------------------------------------------------------------

    def pretrain(self) -> None:
        """Train the critic alone, where that is asked for."""
        for _ in range(self.learned[0].pretrain if self.learned else 0):
            self.learn(self.step())

    def state(self) -> Numbers:
        """The numbers before the next step, and of the way to there."""
        critic = self.learned[2].reshape(*self.shape, -1) if self.learned else None
        self.numbers = self.recorder.numbers(self.policy, self.coordinates, critic, self.numbers)
        return self.numbers

    def advance(self) -> Numbers:
        """Take a step; its numbers, and those of the policy after it."""
        rate = self.optimizer.rate(self.memory.count)
        first = self.step()
        last = self.optimise(first)
        clipped = np.zeros(self.replicates)
        if last is not first:
            clipped = _clip_fraction(last, self.mass(first), self.replicates)
        self.learn(first)
        return self.state() | {"dead_groups": self.dead_groups(first), "clip_fraction": clipped,
                               "learning_rate": np.full(self.replicates, rate)}

    # --- its parts --------------------------------------------------------------------------------------------------

    @property
    def policy(self) -> CellArrays:
        """The policy at the coordinates."""
        if self.current is None:
            self.current = self.at(self.coordinates)
        return self.current

    def at(self, coordinates: FloatArray) -> CellArrays:
        """The policy at coordinates [..., coordinate]."""
        one = self.recorder.first.policy
        move = self.motion.push(coordinates)
        logits = (one.logits + move.stops).reshape(self.start.logits.shape)
        return replace(self.start, logits=logits, probability=one.tilted(move.paths).ravel())

    def step(self, policy: CellArrays | None = None) -> Step:
        """The first optimiser step on a rollout of a policy, the present one unless given."""
        old = self.policy if policy is None else policy
        scheme = self.scheme
        if self.learned:
            values = self.learned[2]
            known = values if np.isfinite(values[:, -1]).all() else values[:, :-1]
            scheme = replace(scheme, advantage=scheme.advantage.with_critic(Table(table=known)))
        return Step(scheme=scheme, policy=old, reference=self.reference, old=old)

    def learn(self, step: Step) -> None:
        """One update of the critic on a rollout, if it learns."""
        if self.learned:
            critic, gae, values = self.learned
            self.learned = critic, gae, critic.learned(values, *self.targets(critic, gae, values, step))

    def pulled(self, gradient: Logits) -> FloatArray:
        """A gradient of the logits in coordinates."""
        return self.motion.pull(gradient.stops.reshape(*self.shape, -1), gradient.paths.reshape(self.shape))

    def move(self, gradient: Logits) -> None:
        """Take one optimiser step."""
        move, self.memory = self.optimizer.step(self.memory, self.pulled(gradient), self.coordinates)
        self.coordinates = self.coordinates + move
        self.current = None


def _clip_fraction(step: Step, mass: FloatArray, lead: tuple[int, ...]) -> FloatArray:
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
