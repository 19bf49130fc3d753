"""Sampled runs: real groups and mini-batches, every replicate a set of classes of one larger policy.

Replicate r has the cells r·C .. r·C + C - 1 and the classes r·J .. r·J + J - 1 of that policy, and the draws of all
replicates are one array [replicate, prompt, response], so that each stage of a step is one call for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np

from lossim._engine import Batches, Step, credited, measures_of, sums_by_end, update_gradient
from lossim._model import CellArrays, Draws, Motion
from lossim._support.records import Record
from lossim._support.types import FloatArray, NoClosedForm
from lossim._training.critic import Learner, learner
from lossim._training.records import Entry, Recorder, State, Transition, clip_fraction
from lossim._training.samples import MOST_RESPONSES, Sampler
from lossim.optimizers import Optimizer
from lossim.schemes import Scheme

__all__ = ["sampled_entries"]

MOST_LOGITS = 1 << 20
"""Hazard logits of all replicates that are worked on at once."""


def sampled_entries(step: Step, motion: Motion, optimizer: Optimizer, recorder: Recorder, replicates: int,
                    rng: np.random.Generator) -> Iterator[Entry]:
    """The state of the replicates before the first step, then each step and the state after it.

    Raises:
        NoClosedForm: GAE with a reward that compares a group, whitened or under a clip on later optimiser steps.
        ValueError: ``dynamic_sampling="resample"`` and a replicate hardly has groups with unequal rewards.
    """
    _refuse(step)
    scheme = step.scheme
    responses = scheme.responses_per_step * scheme.minibatches
    at_once = max(min(MOST_RESPONSES // responses, MOST_LOGITS // step.policy.logits.size, replicates), 1)
    counts = [min(at_once, replicates - first) for first in range(0, replicates, at_once)]
    stacks = {count: _stack(step, count) for count in set(counts)}
    parts = [_Replicates(stacks[count], motion, optimizer, recorder) for count in counts]
    started = False
    while True:
        entries = []
        for part in parts:
            entries.append(part.advance(rng) if started else part.begin(rng))
            if len(parts) > 1:
                part.forget()
        started = True
        yield _joined(entries)


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


def _joined(entries: list[Entry]) -> Entry:
    """Entries of some replicates each, as one of all."""
    states = [entry.state for entry in entries]
    transitions = [entry.transition for entry in entries if entry.transition is not None]

    def state_column(name: str) -> FloatArray:
        return np.concatenate([getattr(state, name) for state in states])

    state = {each.name: state_column(each.name) for each in fields(State) if each.name != "critic"}
    critic = None
    if states[0].critic is not None:  # a value per position and replicate would be most of a run
        critic = state_column("critic").mean(axis=0)
    joined = State(**state, critic=critic)
    if not transitions:
        return Entry(state=joined)
    taken = {each.name: np.concatenate([getattr(one, each.name) for one in transitions])
             for each in fields(Transition)}
    return Entry(state=joined, transition=Transition(**taken))


# --- many policies as one -------------------------------------------------------------------------------------------


class _Stack(Record):
    """So many replicates of a policy as one: what they share.

    ``first`` is the step of one of them, ``policy`` and ``reference`` are stacked, ``scheme`` fits the stack.
    """

    first: Step
    count: int
    scheme: Scheme
    policy: CellArrays
    reference: CellArrays

    @property
    def cells(self) -> int:
        """Cells of one replicate."""
        return self.first.policy.layout.cells

    def at(self, motion: Motion, coordinates: FloatArray) -> CellArrays:
        """The policies at coordinates [replicate, coordinate]."""
        start = self.first.policy
        move = motion.push(coordinates)
        logits = (start.logits + move.stops).reshape(-1, move.stops.shape[-1])
        return replace(self.policy, logits=logits, probability=start.tilted(move.paths).ravel())


def _stack(step: Step, count: int) -> _Stack:
    """Replicates of a step's policy."""
    start = step.policy
    layout = start.layout.repeated(count)

    def stacked(policy: CellArrays) -> CellArrays:
        return CellArrays(layout=layout, class_weight=np.tile(policy.class_weight, count),
                          probability=np.tile(policy.probability, count), logits=np.tile(policy.logits, (count, 1)),
                          correctness=np.tile(policy.correctness, (count, 1)))

    scheme = replace(step.scheme, advantage=step.scheme.advantage.repeated(count))
    return _Stack(first=step, count=count, scheme=scheme, policy=stacked(start), reference=stacked(step.reference))


class _Replicates:
    """Replicates of a run at the same step, [replicate, ...], each on samples of its own."""

    def __init__(self, stack: _Stack, motion: Motion, optimizer: Optimizer, recorder: Recorder) -> None:
        self.stack = stack
        self.motion = motion
        self.optimizer = optimizer
        self.recorder = recorder
        self.sampler = Sampler(scheme=stack.scheme, count=stack.count)
        self.coordinates = np.zeros((stack.count, motion.size))
        self.memory = optimizer.start(self.coordinates.shape)
        self.learner = self._learner()
        self.current: CellArrays | None = None
        self.state = self._state()

    def _learner(self) -> Learner | None:
        one = learner(self.stack.first)
        return None if one is None else replace(one, values=np.tile(one.values, (self.stack.count, 1)))

    @property
    def policy(self) -> CellArrays:
        """The stacked policy at the coordinates."""
        if self.current is None:
            self.current = self.stack.at(self.motion, self.coordinates)
        return self.current

    def forget(self) -> None:
        """Let go of the law of the policy, which the coordinates give again."""
        self.current = None

    def begin(self, rng: np.random.Generator) -> Entry:
        """Train the critic alone where that is asked for; the state before the first step."""
        if self.learner is not None:
            for _ in range(self.learner.critic.pretrain):
                step = self._step(self.policy)
                self._learn(step, self.sampler.rollout(step, rng)[0])
        self.state = self._state()
        return Entry(state=self.state)

    def advance(self, rng: np.random.Generator) -> Entry:
        """One rollout and all optimiser steps on it; what it did, and the state after it."""
        old = self.policy
        rate = self.optimizer.rate(self.memory.count)
        first = self._step(old)
        draws, dead = self.sampler.rollout(first, rng)
        batches = credited(first, draws)
        now = first
        for groups in self.sampler.minibatches(rng):
            if self.policy is not old:
                now = replace(first, policy=self.policy)
            self._optimise(now, batches if groups is None else batches.taken(groups))
        clipped = np.zeros(self.stack.count)
        if now is not first:
            clipped = clip_fraction(now, sums_by_end(first, draws).sum(axis=1), (self.stack.count,))
        self._learn(first, draws)
        before = self.state
        self.state = self._state()
        return Entry(state=self.state, transition=self.recorder.transition(
            before, self.state, dead_groups=dead, clip_fraction=clipped,
            learning_rate=np.full(self.stack.count, rate)))

    # --- stages of a step -----------------------------------------------------------------------------------------

    def _state(self) -> State:
        critic = None
        if self.learner is not None:
            critic = self.learner.values.reshape(self.stack.count, self.stack.cells, -1)
        return self.recorder.state(self.policy, self.coordinates, critic)

    def _step(self, old: CellArrays) -> Step:
        scheme = self.stack.scheme
        if self.learner is not None:
            scheme = self.learner.scheme(scheme)
        return Step(scheme=scheme, policy=old, reference=self.stack.reference, old=old)

    def _optimise(self, step: Step, batches: Batches) -> None:
        """One optimiser step on batches of the rollout."""
        gradient = update_gradient(step, measures_of(step, batches, step.scheme.responses_per_step))
        shape = (self.stack.count, self.stack.cells)
        pulled = self.motion.pull(gradient.stops.reshape(*shape, -1), gradient.paths.reshape(shape))
        move, self.memory = self.optimizer.step(self.memory, pulled, self.coordinates)
        self.coordinates = self.coordinates + move
        self.current = None

    def _learn(self, step: Step, draws: Draws) -> None:
        """One update of the critic on the responses of a rollout."""
        if self.learner is None:
            return
        paid = None
        if step.scheme.reward.group_relative:
            paid = sums_by_end(step, draws, credited(step, draws).task)
        self.learner = self.learner.of_batch(step, sums_by_end(step, draws), paid)
