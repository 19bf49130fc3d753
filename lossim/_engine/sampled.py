"""Measures of sampled batches: counts of how responses ended, times their own coefficients.

The engine's functional then gives the gradient of a batch in O(responses + cells · N) time and memory, however long the
responses are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lossim._engine.credit import Credit, Groups, credit, unequal, whitening_of_steps
from lossim._engine.gae import advantage_sums
from lossim._engine.measures import Measures, ResponseTerm, TokenTerm
from lossim._engine.step import Step
from lossim._model import Draws
from lossim._support.records import Record, mapped
from lossim._support.types import BoolArray, FloatArray, IntArray, NoClosedForm

__all__ = ["MOST_RESPONSES", "Batches", "batch_measures", "block_measures", "credited", "draw_batches", "measures_of",
           "sums_by_end", "unequal_groups"]

MOST_RESPONSES = 1 << 20
"""Responses held in memory at once."""
MOST_DRAWS = 10_000
"""Rounds of resampling before a step counts as impossible to fill."""
MOST_FRUITLESS = 1_000_000
"""Groups drawn without a single one of unequal rewards before it is given up."""


class Batches(Record):
    """Batches with what their responses are credited with, all statistics taken; [batch, prompt, response] or less.

    Attributes:
        draws: how the responses went.
        task: task rewards.
        in_loss: responses in the loss.
        moving: groups that contribute, [batch, prompt, 1].
        advantage: one per response; None where the estimator has one for each token.
        mean, scale: what whitening takes off token advantages, and multiplies them by, [batch, 1, 1]; None without.
    """

    draws: Draws
    task: FloatArray
    in_loss: BoolArray
    moving: BoolArray
    advantage: FloatArray | None
    mean: FloatArray | None = None
    scale: FloatArray | None = None

    def taken(self, groups: IntArray) -> Batches:
        """Some groups [batch, prompt] of each batch as batches of their own, credited as they were."""
        rows = groups[:, :, None]
        draws = Draws(cell=np.take_along_axis(self.draws.cell, rows, axis=1),
                      grade=np.take_along_axis(self.draws.grade, rows, axis=1),
                      end=np.take_along_axis(self.draws.end, rows, axis=1))
        advantage = None if self.advantage is None else np.take_along_axis(self.advantage, rows, axis=1)
        return replace(self, draws=draws, task=np.take_along_axis(self.task, rows, axis=1),
                       in_loss=np.take_along_axis(self.in_loss, rows, axis=1),
                       moving=np.take_along_axis(self.moving, rows, axis=1), advantage=advantage)


# --- draws ------------------------------------------------------------------------------------------------------


def draw_batches(step: Step, rng: np.random.Generator, batches: int, at_once: int = MOST_RESPONSES) -> Draws:
    """``batches`` steps of prompts_per_step groups, as indices [batch, prompt, response].

    Raises:
        ValueError: ``dynamic_sampling="resample"`` and hardly any group has unequal rewards.
    """
    scheme = step.scheme
    shape = (batches, scheme.prompts_per_step, scheme.group_size)
    prompts = batches * scheme.prompts_per_step
    if scheme.dynamic_sampling != "resample":
        return _joined([step.old.draw(rng, prompts=prompts, group_size=scheme.group_size)], shape)
    kept: list[Draws] = []
    have = 0
    accepted = 1.0
    for _ in range(MOST_DRAWS):
        # Ask for what is missing at the last round's rate, and a little more.
        ask = int(min(1.1 * (prompts - have) / accepted + 16, at_once // scheme.group_size + 1))
        drawn = step.old.draw(rng, prompts=ask, group_size=scheme.group_size)
        keep = unequal_groups(step, drawn)
        kept.append(Draws(cell=drawn.cell[keep], grade=drawn.grade[keep], end=drawn.end[keep]))
        have += int(keep.sum())
        accepted = max(float(keep.mean()), 1.0 / ask)
        if have >= prompts:
            return _joined(kept, shape)
        if have == 0 and len(kept) * ask > MOST_FRUITLESS:
            break
    raise ValueError(f"dynamic_sampling='resample' cannot fill a step: {have} of {prompts} groups had unequal rewards "
                     "after many draws; use dynamic_sampling='none' or 'drop', or other prompts")


def _joined(parts: list[Draws], shape: tuple[int, int, int]) -> Draws:
    """The first groups of several draws as batches of that shape."""
    def join(arrays: list[IntArray]) -> IntArray:
        return np.concatenate(arrays)[:shape[0] * shape[1]].reshape(shape)

    return Draws(cell=join([part.cell for part in parts]), grade=join([part.grade for part in parts]),
                 end=join([part.end for part in parts]))


def _task(step: Step, draws: Draws, counted: BoolArray) -> FloatArray:
    """Task reward of each response, group-relative shaping included."""
    if not step.scheme.reward.group_relative:
        return step.task[0][draws.grade, draws.end]
    cut = draws.end == step.old.max_tokens
    return step.scheme.reward.group_values(step.old.length[draws.end], draws.grade == 0, cut, counted)


def unequal_groups(step: Step, draws: Draws) -> BoolArray:
    """Groups with at least two different task rewards in the baseline, [..., prompt]."""
    counted = step.in_baseline[draws.end]
    return unequal(_task(step, draws, counted), counted)[..., 0]


# --- credit -----------------------------------------------------------------------------------------------------


def credited(step: Step, draws: Draws) -> Batches:
    """What the old policy's batches [batch, prompt, response] credit their responses with."""
    scheme = step.scheme
    length = step.old.length[draws.end]
    counted = step.in_baseline[draws.end]
    task = _task(step, draws, counted)
    returns = task
    if step.paid is not None:  # what KL in the reward pays
        returns = task + (step.returns - step.task)[draws.cell, draws.grade, draws.end]
    found = credit(scheme, step.response_level, Groups(
        task=task, returns=returns, length=length, member=np.broadcast_to(True, task.shape), counted=counted,
        in_loss=step.in_loss[draws.end], baseline=step.baseline[step.old.class_of_cell[draws.cell[..., :1]]]))
    moving = found.unequal if scheme.dynamic_sampling == "drop" else np.ones_like(found.unequal)
    batches = Batches(draws=draws, task=task, in_loss=found.in_loss, moving=moving, advantage=found.advantage)
    return batches if step.whitening is None else _whitened(step, batches, found, length)


def _whitened(step: Step, batches: Batches, found: Credit, length: FloatArray) -> Batches:
    """Whitened over the tokens of each batch: response-level advantages at once, those of GAE when they are summed."""
    if step.whitening is None:
        return batches
    advantage = found.advantage
    if advantage is not None:
        mean, scale = whitening_of_steps(step.whitening, advantage * length, advantage**2 * length, length,
                                         found.in_loss)
        return replace(batches, advantage=(advantage - mean) * scale)
    if step.scheme.reward.group_relative:
        raise NoClosedForm("reward", "whitened GAE with a reward that compares the lengths of a group",
                           hint="use a response-level advantage or leave whitening out")
    draws = batches.draws
    first, second = (table[draws.cell, draws.grade, draws.end] for table in advantage_sums(step))
    mean, scale = whitening_of_steps(step.whitening, first, second, length, found.in_loss)
    return replace(batches, mean=mean, scale=scale)


# --- measures ---------------------------------------------------------------------------------------------------


def block_measures(step: Step, rng: np.random.Generator, blocks: int, batches: int, at_once: int) -> Iterator[Measures]:
    """Mean measures of ``batches`` batches, ``blocks`` times, each block from a stream of its own.

    Batches are drawn together up to ``at_once`` responses, or one by one if each has more.
    """
    together = max(at_once // step.scheme.responses_per_step, 1)
    seed = np.random.SeedSequence(rng.integers(2**32, size=8, dtype=np.uint32).tolist())
    for stream in map(np.random.default_rng, seed.spawn(blocks)):
        total: Measures | None = None
        for start in range(0, batches, together):
            count = min(together, batches - start)
            part = _scaled(batch_measures(step, draw_batches(step, stream, count, at_once)), count / batches)
            total = part if total is None else mapped(np.add, total, part)
        if total is not None:
            yield total


def _scaled(part: Measures, share: float) -> Measures:
    """A share of the measures of some batches, whose means by cell are not kept: those of others differ."""
    return mapped(np.multiply, part.without_means(), share)


def batch_measures(step: Step, draws: Draws) -> Measures:
    """Mean measures of batches [batch, prompt, response]."""
    return measures_of(step, credited(step, draws), draws.cell.size)


def measures_of(step: Step, batches: Batches, over: int) -> Measures:
    """Sums over the responses of batches, each weighed within its own batch, over a number of responses."""
    scheme = step.scheme
    draws = batches.draws
    weight = scheme.aggregation.weights(step.old.length[draws.end], batches.in_loss, step.old.max_tokens)
    weight *= batches.moving

    def summed(x: FloatArray) -> FloatArray:
        return sums_by_end(step, draws, x) / over

    plain = None
    if scheme.kl_in_loss is not None or scheme.entropy is not None:
        plain = summed(weight)
    if batches.advantage is not None:
        negative = summed(weight * np.minimum(batches.advantage, 0.0)) if step.signed else None
        return Measures(credit=ResponseTerm(total=summed(weight * batches.advantage), negative=negative), weight=plain)
    if batches.mean is None or batches.scale is None:
        reward = summed(weight * batches.task) if scheme.reward.group_relative else None
        return Measures(credit=TokenTerm(weight=summed(weight), reward=reward), weight=plain)
    scaled = weight * batches.scale
    term = TokenTerm(weight=summed(scaled), shift=summed(-scaled * batches.mean),
                     mean=_mean_by_cell(step, draws, batches.mean))
    return Measures(credit=term, weight=plain)


def _mean_by_cell(step: Step, draws: Draws, mean: FloatArray) -> FloatArray | None:
    """What whitening takes off the advantages of each cell, [cell]; None if a cell is in batches of different means."""
    by_cell = np.zeros(len(step.old.probability))
    by_cell[draws.cell] = mean
    alike = (by_cell[draws.cell] == mean).all()
    return by_cell if alike else None


def sums_by_end(step: Step, draws: Draws, x: FloatArray | None = None) -> FloatArray:
    """Numbers of responses, or sums of a number of theirs, by [cell, grade, end]."""
    shape = (len(step.old.probability), 2, step.old.max_tokens + 1)
    index = ((draws.cell * 2 + draws.grade) * shape[2] + draws.end).ravel()
    weights = None if x is None else x.ravel()
    sums = np.bincount(index, weights=weights, minlength=int(np.prod(shape)))
    return sums.reshape(shape).astype(np.float64, copy=False)
