"""Runs that follow the expected update: step by step, or as a flow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lossim._engine import Step, expected_measures, share_of_dead_groups, update_gradient
from lossim._model import CellArrays, Motion
from lossim._support import checks
from lossim._support.text import Note
from lossim._support.types import FloatArray
from lossim._training.critic import learner
from lossim._training.journal import Journal
from lossim._training.records import Entry, Recorder, clip_fraction
from lossim.optimizers import SGD, Optimizer

__all__ = ["follow_flow", "follow_mean_field"]

NONLINEAR = Note("mean field", "the mean field is the limit of large batches: Adam, a clip of the norm and several "
                 "optimiser steps on a rollout are not linear in the update, so runs on small batches differ; "
                 "method='stochastic' tells by how much")
LIMIT = Note("large batch", "advantages are scaled by statistics of a step, taken in the limit of a large batch; small "
             "batches need method='stochastic'")


def follow_mean_field(journal: Journal, first: Step, motion: Motion, optimizer: Optimizer, recorder: Recorder,
                      steps: int, progress: bool) -> None:
    """Take the expected update of every optimiser step on each rollout."""
    run = _Run(first, motion, optimizer, recorder)
    try:
        run.pretrain()
    except KeyboardInterrupt:
        journal.interrupted = True
    journal.begin(run.start_entry)
    if not journal.interrupted:
        journal.follow(run.rollout, steps, progress)
    if run.inner_steps > 1 or optimizer.rescales:
        journal.notes.append(NONLINEAR)
    if run.limit:
        journal.notes.append(LIMIT)


def follow_flow(journal: Journal, first: Step, motion: Motion, optimizer: Optimizer, recorder: Recorder, steps: int,
                progress: bool) -> None:
    """Follow dθ/ds = η · (expected update)."""
    run = _Run(first, motion, optimizer, recorder)
    if optimizer != SGD(learning_rate=optimizer.learning_rate):
        checks.fail("optimizer", optimizer, "must be plain SGD for method='flow'", "use method='mean_field'")
    if run.learner is not None:
        checks.fail("critic", run.learner.critic, "must not learn for method='flow', which has no critic updates",
                    "use method='mean_field'")
    if run.inner_steps > 1:
        checks.fail("ppo_epochs", first.scheme.ppo_epochs, "and minibatches must be 1 for method='flow'",
                    "use method='mean_field'")
    journal.begin(run.start_entry)
    journal.follow(run.flow, steps, progress)
    if run.limit:
        journal.notes.append(LIMIT)


class _Run:
    """Where a run in the mean field stands: coordinates, the optimiser's memory, and what the critic has learned."""

    def __init__(self, first: Step, motion: Motion, optimizer: Optimizer, recorder: Recorder) -> None:
        self.first = first
        self.motion = motion
        self.optimizer = optimizer
        self.recorder = recorder
        self.coordinates = np.zeros(motion.size)
        self.policy = first.policy
        self.memory = optimizer.start(self.coordinates.shape)
        self.learner = learner(first)
        self.state = recorder.state(self.policy, self.coordinates, self._values)
        self.limit = False  # whether advantages were scaled by statistics of a large batch

    @property
    def inner_steps(self) -> int:
        """Optimiser steps on a rollout."""
        return self.first.scheme.ppo_epochs * self.first.scheme.minibatches

    @property
    def _values(self) -> FloatArray | None:
        return None if self.learner is None else self.learner.values

    # --- one step -----------------------------------------------------------------------------------------------

    def pretrain(self) -> None:
        """Train the critic alone, where that is asked for."""
        if self.learner is None:
            return
        for _ in range(self.learner.critic.pretrain):
            self._learn(self._step(self.policy, self.policy))

    def start_entry(self) -> Entry:
        """The state before the first step."""
        self.state = replace(self.state, critic=self._values)
        return Entry(state=self.state)

    def rollout(self) -> Entry:
        """All optimiser steps on one rollout."""
        old = self.policy
        rate = self.optimizer.rate(self.memory.count)
        policy = old
        coordinates = self.coordinates
        memory = self.memory
        first = step = self._step(old, old)
        for number in range(self.inner_steps):
            if number:
                step = self._step(policy, old)
            move, memory = self.optimizer.step(memory, self._update(step), coordinates)
            coordinates = coordinates + move
            policy = self._at(coordinates)
        self.memory = memory
        return self._arrived(policy, coordinates, first=first, last=step, rate=rate)

    def flow(self) -> Entry:
        """The flow for as long as a step takes."""
        from scipy.integrate import solve_ivp  # takes longer to import than lossim does

        rate = self.optimizer.learning_rate

        def velocity(_: float, coordinates: FloatArray) -> FloatArray:
            there = self._at(coordinates)
            return rate * self._update(self._step(there, there))

        done = solve_ivp(velocity, (0.0, 1.0), self.coordinates, method="LSODA", rtol=1e-8, atol=1e-10)
        if not done.success:
            raise ArithmeticError(f"the flow cannot be followed further: {done.message}; use a smaller learning_rate")
        drawn = self._step(self.policy, self.policy)
        end = done.y[:, -1]
        return self._arrived(self._at(end), end, first=drawn, last=drawn, rate=rate)

    # --- its parts ----------------------------------------------------------------------------------------------

    def _at(self, coordinates: FloatArray) -> CellArrays:
        """The policy at coordinates [coordinate]."""
        return self.first.policy.shifted(*self.motion.push(coordinates))

    def _step(self, policy: CellArrays, old: CellArrays) -> Step:
        """One optimiser step on a rollout of the old policy."""
        scheme = self.first.scheme
        if self.learner is not None:
            scheme = self.learner.scheme(scheme)
        return replace(self.first, scheme=scheme, policy=policy, old=old)

    def _update(self, step: Step) -> FloatArray:
        """The expected update in coordinates."""
        expected = expected_measures(step)
        self.limit |= expected.method == "large-batch limit"
        return self.motion.pull(*update_gradient(step, expected.measures))

    def _learn(self, step: Step) -> None:
        """One update of the critic on the law of the policy that draws."""
        if self.learner is not None:
            self.learner = self.learner.of_law(step)

    def _arrived(self, policy: CellArrays, coordinates: FloatArray, *, first: Step, last: Step, rate: float) -> Entry:
        """Numbers of a step that was taken, with its first and last optimiser step; the critic learns from it."""
        dead = share_of_dead_groups(first)
        self._learn(first)
        self.policy = policy
        self.coordinates = coordinates
        before = self.state
        self.state = self.recorder.state(policy, coordinates, self._values)
        clipped = clip_fraction(last, first.old.cell_weight[:, None] * first.old.ends)
        return Entry(state=self.state, transition=self.recorder.transition(
            before, self.state, dead_groups=np.array(dead), clip_fraction=clipped, learning_rate=np.array(rate)))
