"""Sampled runs: real groups and mini-batches, every replicate a set of classes of one larger policy.

Replicate r has the cells r·C .. r·C + C - 1 and the classes r·J .. r·J + J - 1 of that policy, and the draws of all
replicates are one array [replicate, prompt, response], so that each stage of a step is one call for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from lossim._engine import Credited, Step, credited, measures, unequal, update_gradient
from lossim._support.types import FloatArray, IntArray, NoClosedForm
from lossim._training.records import Records, clip_fraction
from lossim.advantages import GAE, Advantage, PositiveOnly, Raw, ResponseAdvantage, Whitened
from lossim.critics import Learned, Table
from lossim.optimizers import Optimizer
from lossim.policies import Draws, Policy

__all__ = ["Row", "sampled_rows", "with_values"]

Row = dict[str, FloatArray]
MOST_RESPONSES = 1 << 18
"""Responses held in memory at once."""
MOST_LOGITS = 1 << 20
"""Hazard logits of all replicates that are worked on at once."""
GRAIN = 1 << 40
"""Probabilities are drawn in whole multiples of 1/GRAIN, so that what has probability 0 is never drawn."""
MOST_GROUPS, FEW_GROUPS = 1000, 100_000
"""Groups drawn for each that a rollout needs before resampling counts as impossible, and at least."""


def sampled_rows(step: Step, optimizer: Optimizer, records: Records, replicates: int, rng: np.random.Generator
                 ) -> Iterator[tuple[Row, Row]]:
    """The state of the replicates before the first step (with an empty move), then each step's state and move.

    Raises:
        NoClosedForm: GAE with a reward that compares a group, whitened or under a clip on later optimiser steps.
        ValueError: ``dynamic_sampling="resample"`` and a replicate hardly has groups with unequal rewards.
    """
    _refuse(step)
    scheme = step.scheme
    responses = scheme.responses_per_step * scheme.minibatches
    at_once = max(min(MOST_RESPONSES // responses, MOST_LOGITS // step.policy.logits.size, replicates), 1)
    counts = [min(at_once, replicates - first) for first in range(0, replicates, at_once)]
    stacks = {count: _Stack(step, count) for count in set(counts)}
    parts = [_Replicates(stacks[count], optimizer, records) for count in counts]
    turn = _Replicates.begin
    while True:
        rows = []
        for part in parts:
            rows.append(turn(part, rng))
            if len(parts) > 1:
                part.forget()
        yield _joined(rows)
        turn = _Replicates.advance


def _refuse(step: Step) -> None:
    """Say what sampled runs cannot do, before any work."""
    scheme = step.scheme
    if not isinstance(step.advantage, GAE):
        return
    whitened, compares = isinstance(scheme.advantage, Whitened), scheme.reward.group_relative
    if whitened and compares:
        raise NoClosedForm("reward", "whitened GAE with a reward that compares the lengths of a group",
                           hint="use a response-level advantage or leave whitening out")
    later = scheme.ppo_epochs * scheme.minibatches > 1
    if later and scheme.surrogate.signed and compares:
        raise NoClosedForm("surrogate", f"{scheme.surrogate!r} reads the sign of GAE's token advantages, with a reward "
                           "that compares a group, on each optimiser step of a rollout but the first",
                           hint="use ppo_epochs=1 and minibatches=1, or surrogates.PolicyGradient(), "
                           "ImportanceWeight() or CISPO()")


def _joined(rows: list[tuple[Row, Row]]) -> tuple[Row, Row]:
    states, moves = ({name: np.concatenate([row[i][name] for row in rows]) for name in rows[0][i]} for i in (0, 1))
    if "critic" in states:
        states["critic"] = states["critic"].mean(axis=0)  # a value per position and replicate would be most of a run
    return states, moves


class _Stack:
    """So many replicates of a policy as one: what they share."""

    def __init__(self, step: Step, count: int) -> None:
        self.start, self.first, self.count = step.policy, step, count
        start, self.cells, self.classes = step.policy, len(step.policy.class_of_cell), len(step.policy.class_weight)
        first = np.repeat(np.arange(count) * self.classes, self.cells)
        self.frame: dict[str, Any] = {
            "max_tokens": start.max_tokens, "length": start.length, "cell_names": start.cell_names,
            "class_of_cell": first + np.tile(start.class_of_cell, count),
            "class_weight": np.tile(start.class_weight, count), "correctness": np.tile(start.correctness, (count, 1))}
        self.scheme = replace(step.scheme, advantage=_repeated(step.scheme.advantage, count))
        self.reference = self._of(np.tile(step.reference.logits, (count, 1)),
                                  np.tile(step.reference.probability, count))

    def _of(self, logits: FloatArray, probability: FloatArray) -> Policy:
        """One policy of the cells of all replicates: arrays alone, nothing that needs prompt classes and paths."""
        stack: Policy = object.__new__(Policy)
        stack.__dict__.update(self.frame, logits=logits, probability=probability)
        return stack

    def at(self, position: FloatArray) -> Policy:
        """The policies at a position [replicate, coordinate], as Policy.moved makes each of them."""
        stops, paths = self.start.motion.push(position)
        return self._of((self.start.logits + stops).reshape(-1, stops.shape[-1]), self.start.tilted(paths).ravel())


class _Replicates:
    """Replicates of a run at the same step, [replicate, ...], each on samples of its own."""

    def __init__(self, stack: _Stack, optimizer: Optimizer, records: Records) -> None:
        self.stack, self.optimizer, self.records = stack, optimizer, records
        self.start, self.scheme, self.count, first = stack.start, stack.scheme, stack.count, stack.first
        self.position = np.zeros((self.count, self.start.motion.size))
        self.memory = optimizer.start(self.position.shape)
        self.current: Policy | None = None
        self.state: Row = {}
        self.critic = first.advantage.critic if isinstance(first.advantage, GAE) else None
        if isinstance(self.critic, Learned):
            self.values = np.tile(self.critic.start_values(first.critic_view), (self.count, 1))

    @property
    def policy(self) -> Policy:
        """The stacked policy at the position."""
        if self.current is None:
            self.current = self.stack.at(self.position)
        return self.current

    def forget(self) -> None:
        """Let go of the law of the policy, which the position gives again."""
        self.current = None

    def begin(self, rng: np.random.Generator) -> tuple[Row, Row]:
        """Train the critic alone where that is asked for; the state before the first step, and no move."""
        if isinstance(self.critic, Learned):
            for _ in range(self.critic.pretrain):
                step = self._step(self.policy)
                self._learn(step, self._rollout(step, rng)[0])
        return self._record(), {}

    def advance(self, rng: np.random.Generator) -> tuple[Row, Row]:
        """One rollout and all optimiser steps on it; the state after it and what it did."""
        old, before, rate = self.policy, self.state, self.optimizer.rate(self.memory.count)
        now = first = self._step(old)
        draws, dead = self._rollout(first, rng)
        batch = credited(first, draws)
        for groups in self._minibatches(rng):
            if self.policy is not old:
                now = replace(first, policy=self.policy)
            self._optimise(now, batch if groups is None else batch.taken(groups))
        clipped = np.zeros(self.count)
        if now is not first:
            clipped = clip_fraction(now, _counts(first, draws).sum(axis=1), (self.count,))
        if isinstance(self.critic, Learned):
            self._learn(first, draws)
        after = self._record()
        return after, self.records.change(before, after) | {
            "dead_groups": dead, "clip_fraction": clipped, "learning_rate": np.full(self.count, rate)}

    def _record(self) -> Row:
        self.state = self.records.state(self.policy, self.position)
        if isinstance(self.critic, Learned):
            self.state["critic"] = self.values.reshape(self.count, self.stack.cells, -1)
        return self.state

    def _step(self, old: Policy) -> Step:
        scheme = self.scheme
        if isinstance(self.critic, Learned):
            scheme = replace(scheme, advantage=with_values(scheme.advantage, self.values))
        return Step(scheme=scheme, policy=old, reference=self.stack.reference, old=old)

    def _minibatches(self, rng: np.random.Generator) -> Iterator[IntArray | None]:
        """Which groups [replicate, prompt] each optimiser step on a rollout is taken on; None for all."""
        parts, prompts = self.scheme.minibatches, self.scheme.prompts_per_step
        for _ in range(self.scheme.ppo_epochs):
            if parts == 1:
                yield None
                continue
            order = rng.permuted(np.tile(np.arange(parts * prompts), (self.count, 1)), axis=1)
            yield from np.split(order, parts, axis=1)

    def _optimise(self, step: Step, batch: Credited) -> None:
        stops, paths = update_gradient(step, measures(step, batch, step.scheme.responses_per_step))
        shape = (self.count, self.stack.cells)
        gradient = self.start.motion.pull(stops.reshape(*shape, -1), paths.reshape(shape))
        move, self.memory = self.optimizer.step(self.memory, gradient, self.position)
        self.position = self.position + move
        self.current = None

    def _learn(self, step: Step, draws: Draws) -> None:
        """One update of the critic on the responses of a rollout."""
        assert isinstance(self.critic, Learned)
        assert isinstance(step.advantage, GAE)
        counts, errors = _counts(step, draws), step.errors
        last = (counts * errors.last).sum(axis=1)
        if step.scheme.reward.group_relative:
            last += _counts(step, draws, credited(step, draws).task).sum(axis=1)
        advantage, reached = self.critic.batch_targets(counts.sum(axis=1), errors.going, last, step.old.class_of_cell,
                                                       step.advantage.gamma)
        self.values = self.critic.learned(self.values, advantage, reached)

    # --- samples ----------------------------------------------------------------------------------------------

    def _rollout(self, step: Step, rng: np.random.Generator) -> tuple[Draws, FloatArray]:
        """The groups of one rollout [replicate, prompt, response], and the share of equal ones among those drawn."""
        scheme, everyone = step.scheme, np.arange(self.count)
        need = scheme.prompts_per_step * scheme.minibatches
        tables = self._tables(step.old)
        if scheme.dynamic_sampling != "resample":
            draws = self._draw(tables, rng, everyone, need)
            return draws, 1.0 - unequal(step, draws).mean(axis=1)
        filled = np.zeros((3, self.count, need, scheme.group_size), dtype=np.int64)
        have, drawn, kept = (np.zeros(self.count, dtype=np.int64) for _ in range(3))
        while (rows := np.flatnonzero(have < need)).size:
            if (drawn[rows] > max(MOST_GROUPS * need, FEW_GROUPS)).any():
                raise ValueError(f"dynamic_sampling='resample' cannot fill a step: {have.min()} of {need} groups of a "
                              f"replicate had unequal rewards in {drawn.max():,} draws; use dynamic_sampling='none' or "
                              "'drop', or other prompts")
            missing = (need - have[rows]) * (drawn[rows] + 1) / (kept[rows] + 1)
            ask = int(min(1.1 * missing.max() + 4, MOST_RESPONSES // (rows.size * scheme.group_size) + 1))
            draws = self._draw(tables, rng, rows, ask)
            keep = unequal(step, draws)
            place = have[rows, None] + np.cumsum(keep, axis=1) - 1
            row, group = np.nonzero(keep & (place < need))
            for target, source in zip(filled, (draws.cell, draws.grade, draws.end), strict=True):
                target[rows[row], place[row, group]] = source[row, group]
            have[rows] += keep.sum(axis=1)
            drawn[rows] += ask
            kept[rows] += keep.sum(axis=1)
        return Draws(cell=filled[0], grade=filled[1], end=filled[2]), 1.0 - kept / drawn

    def _tables(self, policy: Policy) -> tuple[IntArray, IntArray, IntArray]:
        """Cumulative chances in grains: of the classes [class], the paths [cell] and the ends but the last [cell · t].

        Each row of the last two has the row's number times ``GRAIN`` on top, so that one search serves all rows.
        """
        weight, chance = np.cumsum(self.start.class_weight), policy.probability.reshape(self.count, -1)
        paths = np.concatenate([np.cumsum(chance[:, mine], axis=1) / chance[:, mine].sum(axis=1, keepdims=True)
                                for mine in self.start.class_cells], axis=1).ravel()
        ends = -np.expm1(policy.log_at_risk[:, 1:])
        return (_grains(weight / weight[-1]), _grains(paths) + GRAIN * policy.class_of_cell,
                (_grains(ends) + GRAIN * np.arange(len(ends))[:, None]).ravel())

    def _draw(self, tables: tuple[IntArray, IntArray, IntArray], rng: np.random.Generator, rows: IntArray, prompts: int
              ) -> Draws:
        """Groups of some replicates, [row, prompt, response], by inverse cdf."""
        classes, paths, ends = tables
        shape, n = (len(rows), prompts, self.scheme.group_size), self.start.max_tokens
        own = np.searchsorted(classes, rng.integers(GRAIN, size=shape[:2]), side="right")
        own += rows[:, None] * self.stack.classes
        cell = np.searchsorted(paths, GRAIN * own[..., None] + rng.integers(GRAIN, size=shape), side="right")
        end = np.searchsorted(ends, GRAIN * cell + rng.integers(GRAIN, size=shape), side="right") - n * cell
        grade = (rng.random(shape) >= self.stack.frame["correctness"][cell, end]).astype(np.int64)
        return Draws(cell=cell, grade=grade, end=end)


def _grains(cumulative: FloatArray) -> IntArray:
    whole: IntArray = np.rint(cumulative * GRAIN).astype(np.int64)
    return whole


def _counts(step: Step, draws: Draws, weight: FloatArray | None = None) -> FloatArray:
    """Responses, or the sums of a number of theirs, by [cell, grade, end]."""
    shape = (len(step.old.probability), 2, step.old.max_tokens + 1)
    index = np.ravel_multi_index((draws.cell, draws.grade, draws.end), shape).ravel()
    counts = np.bincount(index, weights=None if weight is None else weight.ravel(), minlength=int(np.prod(shape)))
    return counts.reshape(shape).astype(np.float64)


def _repeated(advantage: Advantage, count: int) -> Advantage:
    """The estimator with what it holds per class or cell written once for each replicate."""
    if isinstance(advantage, Whitened):
        return replace(advantage, inner=_repeated(advantage.inner, count))
    if isinstance(advantage, PositiveOnly):
        inner = _repeated(advantage.inner, count)
        assert isinstance(inner, ResponseAdvantage)
        return replace(advantage, inner=inner)
    if isinstance(advantage, Raw) and isinstance(advantage.baseline, tuple):
        return replace(advantage, baseline=advantage.baseline * count)
    if isinstance(advantage, GAE) and isinstance(advantage.critic, Table):
        return replace(advantage, critic=Table(table=np.tile(advantage.critic.table, (count, 1))))
    return advantage


def with_values(advantage: Advantage, values: FloatArray) -> Advantage:
    """GAE, whitened or not, with these values [cell, N+1] as its critic."""
    if isinstance(advantage, Whitened):
        return replace(advantage, inner=with_values(advantage.inner, values))
    known = values if np.isfinite(values[:, -1]).all() else values[:, :-1]
    assert isinstance(advantage, GAE)
    return replace(advantage, critic=Table(table=known))
