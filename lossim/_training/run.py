"""Where a run stands, and how it takes a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np

from lossim._engine import EndRules, Family, Step, laid_out, lengths_over, sums_by_token, with_entries
from lossim._model import CellArrays, Directions, Logits, Motion
from lossim._support.memory import keep_pages
from lossim._support.records import Record
from lossim._support.types import FloatArray
from lossim._training.records import Entry, Recorder, State
from lossim.advantages import GAE
from lossim.critics import Learned, Lesson, Table
from lossim.optimizers import Optimizer
from lossim.schemes import Scheme


class Learning(Record):
    """A critic that learns, in which estimator, its values V [..., cell, N+1], and what it remembers beside them."""

    critic: Learned
    gae: GAE
    values: FloatArray
    memory: Any


class Run(ABC):
    """A run, or ``replicates`` (count,) of it as one: with a ``stack`` of scheme, policy and reference for all.

    Which way each update sends mean length is looked at under ``kernels``.
    """

    def __init__(self, motion: Motion, optimizer: Optimizer, recorder: Recorder, kernels: Family,
                 replicates: tuple[int, ...] = (), stack: tuple[Scheme, CellArrays, CellArrays] | None = None) -> None:
        keep_pages()  # each step makes a law anew, and lets go of the one before
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
        self.rules: EndRules = first.rules  # those of the last step, which those of the next one are
        # Whether some response is ever at work on an answer: see CellArrays.needed_length_gradient.
        self.works = bool(len(self.start.arrival) or motion.skill_scale > 0 or first.policy.rising.any())
        self.state: State
        self.kernels = laid_out(kernels, first.policy.layout, motion)
        self.range = (np.full(replicates, np.nan), np.full(replicates, np.nan))
        self.learning: Learning | None = None
        gae = first.token_level
        if gae is not None and isinstance(gae.critic, Learned):
            values = np.tile(gae.critic.start_values(first.critic_view(gae)), (*replicates, 1, 1))
            self.learning = Learning(critic=gae.critic, gae=gae, values=values,
                                     memory=gae.critic.memory(values, first.policy.class_of_cell))

    # --- what a method does -----------------------------------------------------------------------------------------

    @abstractmethod
    def optimise(self, first: Step) -> Step:
        """Move along the updates of one rollout, given the first optimiser step on it; the last one."""

    @abstractmethod
    def lesson(self, learning: Learning, step: Step) -> Lesson:
        """What a rollout tells the critic."""

    @abstractmethod
    def dead_groups(self, step: Step) -> FloatArray:
        """Share of groups with equal rewards."""

    @abstractmethod
    def mass(self, step: Step) -> FloatArray:
        """Responses of the rollout by [cell, end], or their chances."""

    # --- one step ---------------------------------------------------------------------------------------------------

    def pretrain(self) -> None:
        """Train the critic alone, where that is asked for."""
        for _ in range(self.learning.critic.pretrain if self.learning else 0):
            self.learn(self.step())

    def begin(self) -> Entry:
        """The state before the first step."""
        self.state = self._state()
        return Entry(state=self.state)

    def advance(self) -> Entry:
        """Take a step; its numbers, and the state after it."""
        rate = self.optimizer.rate(self.memory.count)
        first = self.step()
        last = self.optimise(first)
        clipped = np.zeros(self.replicates)
        if last is not first:
            clipped = _clip_fraction(last, self.mass(first), self.replicates)
        self.learn(first)
        before = self.state
        self.state = self._state()
        transition = self.recorder.transition(
            before, self.state, self._while_working(before, first.old), dead_groups=self.dead_groups(first),
            clip_fraction=clipped, learning_rate=np.full(self.replicates, rate), range_low=self.range[0],
            range_high=self.range[1])
        return Entry(state=self.state, transition=transition)

    def _while_working(self, before: State, old: CellArrays) -> FloatArray:
        """What stops that moved while responses worked on an answer did, by the slopes before and after."""
        if not self.works:
            return np.zeros(self.replicates)
        moved = self.motion.push(self.coordinates - before.coordinates).stops
        slopes = (_needed(old) + _needed(self.policy)) / 2.0
        found: FloatArray = np.einsum("...ct,...ct->...", slopes.reshape(moved.shape), moved)
        return found

    def _state(self) -> State:
        return self.recorder.state(self.policy, self.coordinates, self.learning.values if self.learning else None)

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
        correctness = self.start.correctness
        if self.motion.skill_scale > 0:
            correctness = one.skilled(move.skills).reshape(correctness.shape)
        return replace(self.start, logits=logits, probability=one.tilted(move.paths).ravel(), correctness=correctness)

    def step(self, policy: CellArrays | None = None) -> Step:
        """The first optimiser step on a rollout of a policy, the present one unless given."""
        old = self.policy if policy is None else policy
        scheme = self.scheme
        if self.learning:
            values = self.learning.values.reshape(-1, self.learning.values.shape[-1])
            known = values if np.isfinite(values[:, -1]).all() else values[:, :-1]
            scheme = replace(scheme, advantage=scheme.advantage.with_critic(Table(table=known)))
        step = Step(scheme=scheme, policy=old, reference=self.reference, old=old, known=self.rules)
        self.rules = step.rules
        return step

    def learn(self, step: Step) -> None:
        """One update of the critic on a rollout, if it learns."""
        if self.learning:
            now = self.learning
            values, memory = now.critic.update(now.values, now.memory, self.lesson(now, step))
            self.learning = replace(now, values=values, memory=memory)

    def pulled(self, gradient: Logits) -> FloatArray:
        """A gradient of the logits in coordinates."""
        return self.motion.pull(gradient.stops.reshape(*self.shape, -1), gradient.paths.reshape(*self.replicates, -1),
                                gradient.skills.reshape(self.shape))

    def look(self, first: Step, gradient: Logits) -> None:
        """Take down how far the first update on a rollout sends mean length, under each of the kernels."""
        directions = Directions(policy=first.policy, motion=self.motion, shape=self.replicates)
        over = lengths_over(self.kernels, directions, gradient)
        if over is not None:
            per_kl = over.per_kl
            self.range = np.fmin.reduce(per_kl, axis=-1), np.fmax.reduce(per_kl, axis=-1)

    def move(self, gradient: Logits) -> None:
        """Take one optimiser step."""
        move, self.memory = self.optimizer.step(self.memory, self.pulled(gradient), self.coordinates)
        self.coordinates = self.coordinates + move
        self.current = None


def _needed(policy: CellArrays) -> FloatArray:
    """What a move of each stop logit does to mean length, as far as that changes accuracy, [cell, t]."""
    return policy.cell_weight[:, None] * policy.needed_length_gradient


def _clip_fraction(step: Step, mass: FloatArray, lead: tuple[int, ...]) -> FloatArray:
    """Share of tokens whose gain is 0 for one sign of the advantage at least, for responses ``mass`` [cell, end]."""
    signs = (+1, -1)
    gains = [given for given in map(step.gains, signs) if given is not None]
    whole = np.any([step.response_gain(sign) == 0 for sign in signs], axis=0)
    stop = np.any([each.stop == 0 for each in gains], axis=0)
    go = np.any([each.go == 0 for each in gains], axis=0)
    tokens = mass * step.old.length
    # All tokens of a response that is held as a whole; of the others those that are held by themselves.
    others = np.where(whole, 0.0, mass)
    visits = sums_by_token(step.old, with_entries(step.old, np.stack([others, np.zeros_like(others)], axis=1)))
    held = np.where(whole, tokens, 0.0).sum(axis=1)
    held += (visits.stop.sum(axis=1) * stop + visits.go.sum(axis=1) * go).sum(axis=1)
    return held.reshape(*lead, -1).sum(axis=-1) / tokens.reshape(*lead, -1).sum(axis=-1)
