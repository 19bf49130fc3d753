"""Runs that follow the expected update: step by step, or as a flow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lossim._engine import (
    Family,
    SideBySide,
    Step,
    class_by_class,
    expected_measures,
    share_of_dead_groups,
    update_gradient,
)
from lossim._model import Logits, Motion
from lossim._support import checks
from lossim._support.text import Note
from lossim._support.types import FloatArray
from lossim._training.records import Entry, Recorder
from lossim._training.run import Learning, Run
from lossim.critics import Lesson
from lossim.optimizers import SGD, Optimizer

NONLINEAR = Note("mean field", "the mean field is the limit of large batches: Adam, a clip of the norm and several "
                 "optimiser steps on a rollout are not linear in the update, so runs on small batches differ; "
                 "method='stochastic' tells by how much")
LIMIT = Note("large batch", "advantages are scaled by statistics of a step, taken in the limit of a large batch; small "
             "batches need method='stochastic'")
KEPT = Note("critic", "the critic learns here from all groups that are drawn, also from those that are replaced; "
            "method='stochastic' has it learn from those that are kept")


class MeanField(Run):
    """The expected update of every optimiser step on each rollout."""

    limit = False  # whether advantages were scaled by statistics of a large batch
    classes: SideBySide | None = None  # of the last update

    def entries(self) -> Iterator[Entry]:
        """The state before the first step, then each step and the state after it."""
        interrupt = None
        try:
            self.pretrain()
        except KeyboardInterrupt as reason:
            interrupt = reason
        yield self.begin()
        if interrupt is not None:
            raise interrupt
        while True:
            yield self.advance()

    @property
    def notes(self) -> list[Note]:
        """What stands between the run and one on small batches."""
        rescales = self.optimizer.rescales or (self.learning is not None and self.learning.critic.rescales)
        notes = [NONLINEAR] if self.inner_steps > 1 or rescales else []
        if self.learning and self.scheme.replaces:
            notes.append(KEPT)
        return [*notes, LIMIT] if self.limit else notes

    @property
    def inner_steps(self) -> int:
        """Optimiser steps on a rollout."""
        return self.scheme.ppo_epochs * self.scheme.minibatches

    def optimise(self, first: Step) -> Step:
        step = first
        for number in range(self.inner_steps):
            if number:
                step = replace(first, policy=self.policy)
            gradient = self.update(step)
            if not number:
                self.look(first, gradient)
            self.move(gradient)
        return step

    def update(self, step: Step) -> Logits:
        """The expected update."""
        self.classes = class_by_class(step)
        expected = self.classes.expected() if self.classes else expected_measures(step)
        self.limit |= expected.method == "large-batch limit"
        return update_gradient(step, expected.measures, self.motion.skill_scale > 0)

    def lesson(self, learning: Learning, step: Step) -> Lesson:
        gae = learning.gae
        mean, reached = learning.critic.targets(learning.values, step.critic_view(gae),
                                                bootstrap_truncated=gae.bootstrap_truncated)
        return Lesson(advantage_mean=mean, reached=reached, tokens=step.old.cell_weight[:, None] * step.old.at_risk)

    def dead_groups(self, step: Step) -> FloatArray:
        known = self.classes is not None and self.classes.step is step
        classes = self.classes if known else class_by_class(step)
        return np.array(share_of_dead_groups(step)) if classes is None else classes.dead_groups[0]

    def mass(self, step: Step) -> FloatArray:
        return step.old.cell_weight[:, None] * step.old.ends


class Flow(MeanField):
    """dθ/ds = η · (expected update), for as long as a step takes."""

    def __init__(self, motion: Motion, optimizer: Optimizer, recorder: Recorder, kernels: Family) -> None:
        super().__init__(motion, optimizer, recorder, kernels)
        if optimizer != SGD(learning_rate=optimizer.learning_rate):
            checks.fail("optimizer", optimizer, "must be plain SGD for method='flow'", "use method='mean_field'")
        if self.learning:
            checks.fail("critic", self.learning.critic, "must not learn for method='flow', which has no critic updates",
                        "use method='mean_field'")
        if self.inner_steps > 1:
            checks.fail("ppo_epochs", self.scheme.ppo_epochs, "and minibatches must be 1 for method='flow'",
                        "use method='mean_field'")

    def optimise(self, first: Step) -> Step:
        from scipy.integrate import solve_ivp  # takes longer to import than lossim does

        self.look(first, self.update(first))

        def velocity(_: float, coordinates: FloatArray) -> FloatArray:
            return self.optimizer.learning_rate * self.pulled(self.update(self.step(self.at(coordinates))))

        done = solve_ivp(velocity, (0.0, 1.0), self.coordinates, method="LSODA", rtol=1e-8, atol=1e-10)
        if not done.success:
            raise ArithmeticError(f"the flow cannot be followed further: {done.message}; use a smaller learning_rate")
        self.coordinates = done.y[:, -1]
        self.current = None
        return first
