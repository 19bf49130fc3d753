"""Sampled runs: real groups and mini-batches, every replicate a set of classes of one larger policy.

Replicate r has the cells r·C .. r·C + C - 1 and the classes r·J .. r·J + J - 1 of that policy, and the draws of all
replicates are one array [replicate, prompt, response], so that each stage of a step is one call for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from lossim._engine import Step, credited, measures_of, sums_by_end, update_gradient
from lossim._model import CellArrays, Motion
from lossim._support.types import BoolArray, FloatArray, NoClosedForm
from lossim._training.records import Numbers, Recorder
from lossim._training.run import Run
from lossim._training.samples import MOST_RESPONSES, minibatches, sample
from lossim.advantages import GAE
from lossim.critics import Learned
from lossim.optimizers import Optimizer
from lossim.schemes import Scheme

MOST_LOGITS = 1 << 20
"""Hazard logits of all replicates that are worked on at once."""


def sampled_entries(motion: Motion, optimizer: Optimizer, recorder: Recorder, replicates: int, rng: np.random.Generator
                    ) -> Iterator[Numbers]:
    """The state of the replicates before the first step, then each step and the state after it.

    Raises:
        NoClosedForm: GAE with a reward that compares a group, whitened or under a clip on later optimiser steps.
        ValueError: ``dynamic_sampling="resample"`` and a replicate hardly has groups with unequal rewards.
    """
    step = recorder.first
    _refuse(step)
    responses = step.scheme.responses_per_step * step.scheme.minibatches
    at_once = max(min(MOST_RESPONSES // responses, MOST_LOGITS // step.policy.logits.size, replicates), 1)
    counts = [min(at_once, replicates - first) for first in range(0, replicates, at_once)]
    stacks = {count: _stacked(step, count) for count in set(counts)}
    parts = [_Replicates(*stacks[count], motion, optimizer, recorder, count, rng) for count in counts]
    yield _of_all(parts, _Replicates.begin)
    while True:
        yield _of_all(parts, _Replicates.advance)


def _refuse(step: Step) -> None:
    """Say what sampled runs cannot do, before any work."""
    scheme = step.scheme
    if step.token_level is None or not scheme.reward.group_relative:
        return
    if step.whitening is not None:
        raise NoClosedForm("reward", "whitened GAE with a reward that compares the lengths of a group",
                           hint="use a response-level advantage or leave whitening out")
    if scheme.ppo_epochs * scheme.minibatches > 1 and scheme.surrogate.signed:
        raise NoClosedForm("surrogate", f"{scheme.surrogate!r} reads the sign of GAE's token advantages, with a reward "
                           "that compares a group, on each optimiser step of a rollout but the first",
                           hint="use ppo_epochs=1 and minibatches=1, or surrogates.PolicyGradient(), "
                           "ImportanceWeight() or CISPO()")


def _stacked(step: Step, count: int) -> tuple[Scheme, CellArrays, CellArrays]:
    """Scheme, policy and reference of so many replicates as one policy."""
    layout = step.policy.layout.repeated(count)

    def stacked(policy: CellArrays) -> CellArrays:
        return CellArrays(layout=layout, class_weight=np.tile(policy.class_weight, count),
                          probability=np.tile(policy.probability, count), logits=np.tile(policy.logits, (count, 1)),
                          correctness=np.tile(policy.correctness, (count, 1)))

    scheme = replace(step.scheme, advantage=step.scheme.advantage.repeated(count))
    return scheme, stacked(step.policy), stacked(step.reference)


def _of_all(parts: list[_Replicates], stage: Callable[[_Replicates], Numbers]) -> Numbers:
    """The numbers of all replicates after a stage of each part."""
    entries = []
    for part in parts:
        entries.append(stage(part))
        if len(parts) > 1:
            part.forget()
    joined = {name: np.concatenate([entry[name] for entry in entries]) for name in entries[0]}
    if "critic" in joined:  # a value per position and replicate would be most of a run
        joined["critic"] = joined["critic"].mean(axis=0)
    return joined


class _Replicates(Run):
    """Replicates of a run at the same step, [replicate, ...], each on samples of its own."""

    def __init__(self, scheme: Scheme, policy: CellArrays, reference: CellArrays, motion: Motion,
                 optimizer: Optimizer, recorder: Recorder, count: int, rng: np.random.Generator) -> None:
        super().__init__(scheme, policy, reference, motion, optimizer, recorder, (count,))
        self.count = count
        self.rng = rng
        self.forget()

    def begin(self) -> Numbers:
        """Train the critic alone where that is asked for; the state before the first step."""
        self.pretrain()
        return self.state()

    def step(self, policy: CellArrays | None = None) -> Step:
        step = super().step(policy)
        self.draws, self.dead = sample(step, self.count, self.rng)
        return step

    def optimise(self, first: Step) -> Step:
        batches = credited(first, self.draws)
        now = first
        for groups in minibatches(self.scheme, self.count, self.rng):
            if self.policy is not first.policy:
                now = replace(first, policy=self.policy)
            mine = batches if groups is None else batches.taken(groups)
            self.move(update_gradient(now, measures_of(now, mine, self.scheme.responses_per_step)))
        return now

    def targets(self, critic: Learned, gae: GAE, values: FloatArray, step: Step) -> tuple[FloatArray, BoolArray]:
        counts = sums_by_end(step, self.draws)
        last = (counts * step.errors.last).sum(axis=1)
        if step.scheme.reward.group_relative:  # rewards that the step's table does not hold
            last += sums_by_end(step, self.draws, credited(step, self.draws).task).sum(axis=1)
        return critic.batch_targets(counts.sum(axis=1), step.errors.going, last, step.old.class_of_cell, gae.gamma)

    def dead_groups(self, step: Step) -> FloatArray:
        return self.dead

    def mass(self, step: Step) -> FloatArray:
        return sums_by_end(step, self.draws).sum(axis=1)
