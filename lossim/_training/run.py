"""Where a run stands: coordinates, the optimiser's memory, and what a critic that learns has learned."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np

from lossim._engine import Step
from lossim._model import CellArrays, Logits, Motion
from lossim._support.types import BoolArray, FloatArray
from lossim._training.records import Numbers, Recorder, clip_fraction
from lossim.advantages import GAE
from lossim.critics import Learned, Table
from lossim.optimizers import Optimizer
from lossim.schemes import Scheme


class Run(ABC):
    """A run, or ``replicates`` (count,) of it stacked as one policy: scheme, policy and reference are of the stack."""

    def __init__(self, scheme: Scheme, policy: CellArrays, reference: CellArrays, motion: Motion,
                 optimizer: Optimizer, recorder: Recorder, replicates: tuple[int, ...] = ()) -> None:
        self.scheme = scheme
        self.start = policy
        self.reference = reference
        self.motion = motion
        self.optimizer = optimizer
        self.recorder = recorder
        self.replicates = replicates
        self.shape = (*replicates, recorder.first.policy.layout.cells)
        self.coordinates = np.zeros((*replicates, motion.size))
        self.memory = optimizer.start(self.coordinates.shape)
        self.current: CellArrays | None = policy
        self.numbers: Numbers = {}
        self.learned: tuple[Learned, GAE, FloatArray] | None = None  # with its values V, [..., cell, t]
        gae = recorder.first.token_level
        if gae is not None and isinstance(gae.critic, Learned):
            values = gae.critic.start_values(recorder.first.critic_view(gae))
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
        """The numbers before the next step."""
        critic = self.learned[2].reshape(*self.shape, -1) if self.learned else None
        self.numbers = self.recorder.state(self.policy, self.coordinates, critic)
        return self.numbers

    def advance(self) -> Numbers:
        """Take a step; its numbers, and those of the policy after it."""
        rate = self.optimizer.rate(self.memory.count)
        first = self.step()
        last = self.optimise(first)
        clipped = np.zeros(self.replicates)
        if last is not first:
            clipped = clip_fraction(last, self.mass(first), self.replicates)
        self.learn(first)
        before = self.numbers
        after = self.state()
        return after | self.recorder.change(before, after) | {
            "dead_groups": self.dead_groups(first), "clip_fraction": clipped,
            "learning_rate": np.full(self.replicates, rate)}

    # --- its parts --------------------------------------------------------------------------------------------------

    @property
    def policy(self) -> CellArrays:
        """The policy at the coordinates."""
        if self.current is None:
            self.current = self.at(self.coordinates)
        return self.current

    def forget(self) -> None:
        """Let go of the law of the policy, which the coordinates give again."""
        self.current = None

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
        self.forget()
