"""The same measures from sampled batches: counts of how responses ended, times their own coefficients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from lossim._engine.gradients import Measures, advantage_sums
from lossim._engine.step import Step
from lossim._support.types import BoolArray, FloatArray, IntArray, NoClosedForm
from lossim.advantages import GAE, ResponseAdvantage, Whitened
from lossim.policies import Draws

__all__ = ["Credited", "batch_measures", "block_measures", "credited", "draw_batches", "measures",
           "unequal"]

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

    sums = [f.name for f in fields(Measures) if f.name != "mean"]
    return Measures(**{name: plus(getattr(total, name), getattr(part, name)) for name in sums})


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
        keep = unequal(step, drawn)
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


def unequal(step: Step, draws: Draws) -> BoolArray:
    """Groups with at least two different task rewards in the baseline."""
    counted = step.in_baseline[draws.end]
    return _differ(_task(step, draws, counted), counted)


def _differ(task: FloatArray, counted: BoolArray) -> BoolArray:
    highest = np.max(np.where(counted, task, -np.inf), axis=-1)
    differ: BoolArray = highest > np.min(np.where(counted, task, np.inf), axis=-1)
    return differ


@dataclass(frozen=True, kw_only=True, eq=False)
class Credited:
    """Batches with what their responses are credited with, all statistics taken; [batch, prompt, response] or less.

    ``task`` rewards, ``in_loss``, ``moving`` groups (those that contribute), ``credit`` (one advantage per response, if
    there is one), and for whitened GAE what to take off its token advantages and to multiply them by.
    """

    draws: Draws
    task: FloatArray
    in_loss: BoolArray
    moving: BoolArray
    credit: FloatArray | None
    mean: FloatArray | None = None
    scale: FloatArray | None = None

    def taken(self, groups: IntArray) -> Credited:
        """Some groups [batch, prompt] of each batch as batches of their own, credited as they were."""
        def take(x: Any) -> Any:
            return None if x is None else np.take_along_axis(x, groups[:, :, None], axis=1)

        draws = Draws(cell=take(self.draws.cell), grade=take(self.draws.grade), end=take(self.draws.end))
        return replace(self, draws=draws, task=take(self.task), in_loss=take(self.in_loss), moving=take(self.moving),
                       credit=take(self.credit))


def credited(step: Step, draws: Draws) -> Credited:
    """What the old policy's batches [batch, prompt, response] credit their responses with."""
    scheme = step.scheme
    length, counted = step.old.length[draws.end], step.in_baseline[draws.end]
    task = _task(step, draws, counted)
    enough = counted.sum(axis=-1, keepdims=True) >= step.least_kept
    in_loss = step.in_loss[draws.end] & enough
    whitened = scheme.advantage if isinstance(scheme.advantage, Whitened) else None
    moving = np.ones(enough.shape, dtype=bool)
    if scheme.dynamic_sampling == "drop":
        moving &= _differ(task, counted)[..., None]
    credit = None if isinstance(step.advantage, GAE) else _credit(step, draws, task, counted)
    mean = scale = None
    if whitened is not None and credit is None:
        if scheme.reward.group_relative:
            raise NoClosedForm("reward", "whitened GAE with a reward that compares the lengths of a group",
                               hint="use a response-level advantage or leave whitening out")
        first, second = (table[draws.cell, draws.grade, draws.end] for table in advantage_sums(step))
        mean, scale = _whitening(whitened, first, second, length, in_loss)
    elif whitened is not None and credit is not None:
        shift, factor = _whitening(whitened, credit * length, credit**2 * length, length, in_loss)
        credit = (credit - shift) * factor
    return Credited(draws=draws, task=task, in_loss=in_loss, moving=moving, credit=credit, mean=mean, scale=scale)


def measures(step: Step, batch: Credited, over: int) -> Measures:
    """Sums over the responses of batches, each weighed within its own batch, over a number of responses."""
    scheme = step.scheme
    weight = scheme.aggregation.weights(step.old.length[batch.draws.end], batch.in_loss, step.old.max_tokens)
    weight *= batch.moving
    tally = _Tally(step, batch.draws, over)
    plain = tally(weight) if scheme.kl_in_loss is not None or scheme.entropy is not None else None
    if batch.mean is not None and batch.scale is not None:
        scaled, mean = weight * batch.scale, np.zeros(len(step.old.probability))
        mean[batch.draws.cell] = batch.mean
        alike = bool((mean[batch.draws.cell] == batch.mean).all())  # no cell is in two batches of different means
        return Measures(response=tally(-scaled * batch.mean), gae=tally(scaled), plain=plain,
                        mean=mean if alike else None)
    if batch.credit is None:
        extra = tally(weight * batch.task) if scheme.reward.group_relative else None
        return Measures(gae=tally(weight), extra=extra, plain=plain)
    negative = tally(weight * np.minimum(batch.credit, 0.0)) if step.signed else None
    return Measures(response=tally(weight * batch.credit), negative=negative, plain=plain)


def batch_measures(step: Step, draws: Draws) -> Measures:
    """Mean measures of batches [batch, prompt, response]: the engine's own functional then gives their gradient.

    O(responses + cells · N) in time and memory, however long the responses are.
    """
    return measures(step, credited(step, draws), draws.cell.size)


def _credit(step: Step, draws: Draws, task: FloatArray, counted: BoolArray) -> FloatArray:
    """Response-level advantages."""
    advantage = step.advantage
    assert isinstance(advantage, ResponseAdvantage)
    returns = task
    if step.paid is not None:  # what KL in the reward pays
        returns = task + (step.returns - step.task)[draws.cell, draws.grade, draws.end]
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
    """Sums per-response numbers over (cell, grade, end), divided by a number of responses."""

    def __init__(self, step: Step, draws: Draws, over: int) -> None:
        self.shape, self.over = (len(step.old.probability), 2, step.old.max_tokens + 1), over
        self.index = ((draws.cell * 2 + draws.grade) * self.shape[2] + draws.end).ravel()

    def __call__(self, x: FloatArray) -> FloatArray:
        counts = np.bincount(self.index, weights=x.ravel(), minlength=int(np.prod(self.shape)))
        return counts.reshape(self.shape) / self.over
