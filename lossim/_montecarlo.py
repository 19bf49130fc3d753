"""The same measures from sampled batches: counts of how responses ended, times their own coefficients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np

from lossim._gradients import Measures, advantage_sums
from lossim._step import Step
from lossim._types import BoolArray, FloatArray, IntArray, NoClosedForm
from lossim.advantages import GAE, ResponseAdvantage, Whitened
from lossim.policies import Draws

__all__ = ["batch_measures", "block_measures", "draw_batches"]

MOST_RESPONSES = 1 << 20
"""Responses held in memory at once."""
MOST_DRAWS = 10_000
"""Rounds of resampling before a step counts as impossible to fill."""


def block_measures(step: Step, rng: np.random.Generator, blocks: int, batches: int) -> Iterator[Measures]:
    """Mean measures of ``batches`` batches, ``blocks`` times, each block from a stream of its own."""
    at_once = max(MOST_RESPONSES // step.scheme.responses_per_step, 1)
    seed = np.random.SeedSequence(rng.integers(2**32, size=8, dtype=np.uint32).tolist())
    for stream in map(np.random.default_rng, seed.spawn(blocks)):
        total = Measures()
        for start in range(0, batches, at_once):
            count = min(at_once, batches - start)
            part = batch_measures(step, draw_batches(step, stream, count))
            total = _add(total, part, count / batches)
        yield total


def _add(total: Measures, part: Measures, share: float) -> Measures:
    def plus(x: FloatArray | None, y: FloatArray | None) -> FloatArray | None:
        return x if y is None else share * y if x is None else x + share * y

    return Measures(**{f.name: plus(getattr(total, f.name), getattr(part, f.name)) for f in fields(Measures)})


def draw_batches(step: Step, rng: np.random.Generator, batches: int) -> Draws:
    """``batches`` steps of prompts_per_step groups, as indices [batch, prompt, response].

    Raises:
        ValueError: ``dynamic_sampling="resample"`` and hardly any group has unequal rewards.
    """
    scheme = step.scheme
    prompts, group = batches * scheme.prompts_per_step, scheme.group_size
    if scheme.dynamic_sampling != "resample":
        drawn = step.old.draw(rng, prompts=prompts, group_size=group)
        return _reshaped([drawn], prompts, (batches, scheme.prompts_per_step, group))
    kept: list[Draws] = []
    have, accepted = 0, 1.0
    for _ in range(MOST_DRAWS):
        ask = int(min(1.1 * (prompts - have) / accepted + 16, MOST_RESPONSES // group + 1))
        drawn = step.old.draw(rng, prompts=ask, group_size=group)
        keep = _unequal(step, drawn)
        kept.append(Draws(cell=drawn.cell[keep], grade=drawn.grade[keep], end=drawn.end[keep]))
        have += int(keep.sum())
        accepted = max(float(keep.mean()), 1.0 / ask)
        if have >= prompts:
            return _reshaped(kept, prompts, (batches, scheme.prompts_per_step, group))
        if have == 0 and len(kept) * ask > 1e6:
            break
    raise ValueError(f"dynamic_sampling='resample' cannot fill a step: {have} of {prompts} groups had unequal rewards "
                     "after many draws; use dynamic_sampling='none' or 'drop', or other prompts")


def _reshaped(parts: list[Draws], prompts: int, shape: tuple[int, int, int]) -> Draws:
    def join(name: str) -> IntArray:
        joined: IntArray = np.concatenate([getattr(part, name) for part in parts])[:prompts].reshape(shape)
        return joined

    return Draws(cell=join("cell"), grade=join("grade"), end=join("end"))


def _task(step: Step, draws: Draws, counted: BoolArray) -> FloatArray:
    """Task reward of each response, group-relative shaping included."""
    if not step.scheme.reward.group_relative:
        task: FloatArray = step.task[0][draws.grade, draws.end]
        return task
    cut = draws.end == step.old.max_tokens
    return step.scheme.reward.group_values(step.old.length[draws.end], draws.grade == 0, cut, counted)


def _unequal(step: Step, draws: Draws) -> BoolArray:
    """Groups with at least two different task rewards in the baseline."""
    counted = step.in_baseline[draws.end]
    return _differ(_task(step, draws, counted), counted)


def _differ(task: FloatArray, counted: BoolArray) -> BoolArray:
    highest = np.max(np.where(counted, task, -np.inf), axis=-1)
    differ: BoolArray = highest > np.min(np.where(counted, task, np.inf), axis=-1)
    return differ


def batch_measures(step: Step, draws: Draws) -> Measures:
    """Mean measures of batches [batch, prompt, response]: the engine's own functional then gives their gradient.

    O(responses + cells · N) in time and memory, however long the responses are.
    """
    scheme, policy = step.scheme, step.old
    length, counted = policy.length[draws.end], step.in_baseline[draws.end]
    task = _task(step, draws, counted)
    enough = counted.sum(axis=-1, keepdims=True) >= step.least_kept
    in_loss = step.in_loss[draws.end] & enough
    weight = scheme.aggregation.weights(length, in_loss, policy.max_tokens)
    whitened = scheme.advantage if isinstance(scheme.advantage, Whitened) else None
    if scheme.dynamic_sampling == "drop":
        weight = weight * _differ(task, counted)[..., None]
    tally = _Tally(step, draws)
    plain = tally(weight) if scheme.kl_in_loss is not None or scheme.entropy is not None else None
    if isinstance(step.advantage, GAE):
        extra = weight * task if scheme.reward.group_relative else None
        if whitened is None:
            return Measures(gae=tally(weight), extra=None if extra is None else tally(extra), plain=plain)
        if extra is not None:
            raise NoClosedForm("reward", "whitened GAE with a reward that compares the lengths of a group",
                               hint="use a response-level advantage or leave whitening out")
        first, second = (table[draws.cell, draws.grade, draws.end] for table in advantage_sums(step))
        mean, scale = _whitening(whitened, first, second, length, in_loss)
        return Measures(response=tally(-weight * mean * scale), gae=tally(weight * scale), plain=plain)
    credit = _credit(step, draws, task, counted)
    if whitened is not None:
        mean, scale = _whitening(whitened, credit * length, credit**2 * length, length, in_loss)
        credit = (credit - mean) * scale
    negative = tally(weight * np.minimum(credit, 0.0)) if step.signed else None
    return Measures(response=tally(weight * credit), negative=negative, plain=plain)


def _credit(step: Step, draws: Draws, task: FloatArray, counted: BoolArray) -> FloatArray:
    """Response-level advantages."""
    advantage = step.advantage
    assert isinstance(advantage, ResponseAdvantage)
    table = step.returns - step.task  # what KL in the reward pays
    returns = task + np.broadcast_to(table, (len(step.old.paths), *table.shape[1:]))[
        draws.cell, draws.grade, draws.end]
    fixed = step.baseline[step.old.class_of_cell[draws.cell[..., :1]]]
    credit = advantage.of_group(returns, counted.astype(np.float64), step.old.length[draws.end], fixed)
    return np.where(counted, advantage.of_step(credit, returns, counted), 0.0)


def _whitening(whitened: Whitened, first: FloatArray, second: FloatArray, length: FloatArray, in_loss: BoolArray
               ) -> tuple[FloatArray, FloatArray]:
    """μ and (σ² + eps)^-½ over the tokens in the loss of each batch, from Σ_t A and Σ_t A² per response."""
    tokens = np.maximum(np.sum(length * in_loss, axis=(1, 2), keepdims=True), 1.0)
    mean = np.sum(first * in_loss, axis=(1, 2), keepdims=True) / tokens
    square = np.sum(second * in_loss, axis=(1, 2), keepdims=True) / tokens
    return mean, whitened.factor(square - mean**2, square, tokens)


class _Tally:
    """Sums per-response numbers over (cell, grade, end), as a mean over batches of n times a batch's own."""

    def __init__(self, step: Step, draws: Draws) -> None:
        self.shape = (len(step.old.paths), 2, step.old.max_tokens + 1)
        self.index = ((draws.cell * 2 + draws.grade) * self.shape[2] + draws.end).ravel()

    def __call__(self, x: FloatArray) -> FloatArray:
        counts = np.bincount(self.index, weights=x.ravel(), minlength=int(np.prod(self.shape)))
        return counts.reshape(self.shape) / len(self.index)
