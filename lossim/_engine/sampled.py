"""Measures of sampled batches: counts of how responses ended, times their own coefficients.

The engine's functional then gives the gradient of a batch in O(responses + cells · N) time and memory, however long the
responses are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from lossim._engine.credit import Groups, credit, unequal, whitening_of_steps
from lossim._engine.gae import MOST_TOKENS, entry_advantage, gae_sums, token_advantages
from lossim._engine.gae_moments import advantage_sums_of
from lossim._engine.measures import EndSums, Measures, ResponseTerm, TokenSums, TokenTerm, of_sign
from lossim._engine.states import along_draws, sums_by_token
from lossim._engine.step import Step
from lossim._model import Draws, Layout
from lossim._support.positions import blocks
from lossim._support.records import Record, mapped
from lossim._support.types import BoolArray, FloatArray, IntArray
from lossim.schemes import Scheme

__all__ = ["MOST_RESPONSES", "Batches", "batch_measures", "block_measures", "cannot_fill", "credited", "critic_sums",
           "draw_batches", "end_sums", "groups_admitted", "measures_of", "sums_by_end", "unequal_groups"]

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

        def of_groups(x: Any) -> Any:
            return np.take_along_axis(x, rows, axis=1)

        by_group = mapped(of_groups, replace(self, mean=None, scale=None))
        return replace(by_group, mean=self.mean, scale=self.scale)


# --- draws ------------------------------------------------------------------------------------------------------


def draw_batches(step: Step, rng: np.random.Generator, batches: int, at_once: int = MOST_RESPONSES) -> Draws:
    """``batches`` steps of prompts_per_step groups, as indices [batch, prompt, response].

    Raises:
        ValueError: groups are replaced, and hardly any is one that the step takes.
    """
    scheme = step.scheme
    shape = (batches, scheme.prompts_per_step, scheme.group_size)
    prompts = batches * scheme.prompts_per_step
    if not scheme.replaces:
        return _joined([step.old.draw(rng, prompts=prompts, group_size=scheme.group_size)], shape)
    kept: list[Draws] = []
    have = 0
    accepted = 1.0
    for _ in range(MOST_DRAWS):
        # Ask for what is missing at the last round's rate, and a little more.
        ask = int(min(1.1 * (prompts - have) / accepted + 16, at_once // scheme.group_size + 1))
        drawn = step.old.draw(rng, prompts=ask, group_size=scheme.group_size)
        keep = groups_taken(step, drawn)
        kept.append(mapped(lambda x, keep=keep: x[keep], drawn))
        have += int(keep.sum())
        accepted = max(float(keep.mean()), 1.0 / ask)
        if have >= prompts:
            return _joined(kept, shape)
        if have == 0 and len(kept) * ask > MOST_FRUITLESS:
            break
    raise cannot_fill(scheme, have, prompts)


def cannot_fill(scheme: Scheme, have: int, need: int) -> ValueError:
    """What to say where hardly any group is one that the step takes."""
    wanted = ["of unequal rewards (dynamic_sampling='resample')"] if scheme.dynamic_sampling == "resample" else []
    wanted += [] if scheme.selection is None else [f"in time (selection={scheme.selection})"]
    return ValueError(f"a step cannot be filled: of the {need} groups that it needs, after many draws {have} were "
                      f"{' and '.join(wanted)}; use dynamic_sampling='none' or 'drop', a later deadline, or other "
                      "prompts")


def _joined(parts: list[Draws], shape: tuple[int, int, int]) -> Draws:
    """The first groups of several draws as batches of that shape."""
    count = shape[0] * shape[1]
    return mapped(lambda *arrays: np.concatenate(arrays)[:count].reshape(shape), *parts)


def _task(step: Step, draws: Draws, counted: BoolArray) -> FloatArray:
    """Task reward of each response, group-relative shaping included."""
    if not step.scheme.reward.group_relative:
        return step.task[draws.cell if len(step.task) > 1 else 0, draws.grade, draws.end]
    cut = draws.end == step.old.max_tokens
    target = None if step.target is None else step.target[step.old.class_of_cell[draws.cell]]
    return step.scheme.reward.group_values(step.old.length[draws.end], draws.grade == 0, cut, counted,
                                           not_correct=step.pay[draws.grade], target=target)


def groups_taken(step: Step, draws: Draws) -> BoolArray:
    """Groups that a step takes: in time, and of unequal rewards where equal ones are resampled, [..., prompt]."""
    taken = groups_admitted(step, draws)
    return taken & unequal_groups(step, draws) if step.scheme.dynamic_sampling == "resample" else taken


def groups_admitted(step: Step, draws: Draws) -> BoolArray:
    """Groups that are in time, or need not be, [..., prompt]."""
    return np.all(step.admitted[draws.end], axis=-1, keepdims=True)[..., 0]


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
        returns = task + along_draws(step.old, step.paid.stop, step.paid.go, draws)
    found = credit(scheme, step.response_level, Groups(
        task=task, returns=returns, length=length, member=np.broadcast_to(True, task.shape), counted=counted,
        in_loss=step.in_loss[draws.end], baseline=step.baseline[step.old.class_of_cell[draws.cell[..., :1]]]))
    moving = found.unequal if scheme.dynamic_sampling == "drop" else np.ones_like(found.unequal)
    batches = Batches(draws=draws, task=task, in_loss=found.in_loss, moving=moving, advantage=found.advantage)
    if step.whitening is None:
        return batches
    # Over the tokens of each batch: response-level advantages at once, those of GAE when they are summed.
    advantage = found.advantage
    if advantage is not None:
        mean, scale = whitening_of_steps(step.whitening, advantage * length, advantage**2 * length, length,
                                         found.in_loss)
        return replace(batches, advantage=(advantage - mean) * scale)
    step.refuse_whitened_groups()
    first, second = advantage_sums_of(step, draws)
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
    weight = scheme.aggregation.weights(step.old.length[draws.end], batches.in_loss, step.old.max_tokens,
                                         batches.advantage)
    weight *= batches.moving

    def summed(x: FloatArray) -> EndSums:
        return mapped(lambda sums: sums / over, end_sums(step.old.layout, draws, x))

    plain = None
    if scheme.kl_in_loss is not None or scheme.entropy is not None:
        plain = summed(weight)
    advantage = batches.advantage
    if advantage is not None:
        ungained = None if step.response_parts(+1) is None else summed(weight * advantage).ended
        if not step.signed:
            total = summed(weight * advantage * _gain(step, draws, +1))
            return Measures(credit=ResponseTerm(total=total, ungained=ungained), weight=plain)
        below = weight * of_sign(advantage, -1) * _gain(step, draws, -1)
        above = weight * of_sign(advantage, +1) * _gain(step, draws, +1)
        return Measures(weight=plain, credit=ResponseTerm(total=summed(above + below), negative=summed(below),
                                                         ungained=ungained))
    gae = step.token_level
    scaled = weight if batches.scale is None else weight * batches.scale
    by_token = None
    if len(step.old.arrival) and (step.signed or (gae is not None and gae.adaptive)):
        by_token = mapped(lambda sums: sums / over, _sums_one_by_one(step, batches, scaled))
    elif not step.signed:
        scaled = scaled * _gain(step, draws, +1)
    paid = scaled * batches.task if scheme.reward.group_relative else None
    mean = batches.mean
    return Measures(weight=plain, credit=TokenTerm(
        weight=summed(scaled), credit=_entry_credit(step, draws, scaled, paid) / over,
        reward=None if paid is None else summed(paid).ended, shift=None if mean is None else summed(-scaled * mean),
        mean=None if mean is None else _mean_by_cell(step, draws, mean), by_token=by_token))


def _sums_one_by_one(step: Step, batches: Batches, weight: FloatArray) -> TokenSums:
    """Sums by token of weight × advantage × gain, where they hang on each token of responses that change state.

    Where the gain reads the sign of each token's advantage, or λ depends on the length. Token by token, some responses
    at a time: O(responses · N).
    """
    shape = batches.draws.cell.shape
    flat = mapped(np.ravel, batches.draws)
    mean = np.zeros(shape) if batches.mean is None else np.broadcast_to(batches.mean, shape)
    paid = batches.task if step.scheme.reward.group_relative else np.zeros(shape)
    parts = [(sign, weight * _gain(step, batches.draws, sign), step.gains(sign))
             for sign in ((+1, -1) if step.signed else (0,))]
    cells = step.old.layout.cells
    positions = step.old.max_tokens
    total = TokenSums(stop=np.zeros((cells, 2, positions)), go=np.zeros((cells, 3, positions)))
    for some in blocks(flat.cell.size, positions, MOST_TOKENS):
        draws = mapped(lambda x, some=some: x[some], flat)
        advantage = token_advantages(step, draws, paid.ravel()[some]) - mean.ravel()[some, None]
        # Where each token is counted: its cell then, the response's outcome, its position.
        column = np.arange(positions)
        there = np.where(column < draws.entered[:, None], step.old.layout.came_from[draws.cell][:, None],
                         draws.cell[:, None])
        outcome = _outcome(draws, positions)
        place = (there * 3 + outcome[:, None]) * positions + column
        going = column < draws.end[:, None]
        last = np.flatnonzero(draws.end < positions)
        for sign, share, gains in parts:
            signed = (advantage if sign == 0 else of_sign(advantage, sign)) * share.ravel()[some, None]
            stops = (draws.cell[last] * 2 + outcome[last]) * positions + draws.end[last]
            sums = TokenSums(stop=_added_up(stops, signed[last, draws.end[last]], total.stop.shape),
                             go=_added_up(place[going], signed[going], total.go.shape))
            total = total + sums.times(gains)
    return total


def _gain(step: Step, draws: Draws, sign: int) -> FloatArray | float:
    """The gain of each whole response at that sign of its advantage; of one that reads no sign, at any."""
    parts = step.response_parts(sign)
    if parts is None:
        return 1.0
    total = along_draws(step.old, parts.stop, parts.go, draws)
    return step.scheme.surrogate.response_gain(total, step.old.length[draws.end], sign)


def _entry_credit(step: Step, draws: Draws, weight: FloatArray, paid: FloatArray | None) -> FloatArray:
    """Sums of weight times the advantage of the token at which responses changed state, [move, outcome, t].

    ``paid``: weight times rewards that the step's table does not hold, which the last token gets.
    """
    gae = step.token_level
    if not len(step.old.arrival) or gae is None or gae.adaptive:
        return np.zeros((len(step.old.arrival), 3, step.old.max_tokens))
    first, last = entry_advantage(step, draws)
    credit = weight * first
    if paid is not None:
        credit = credit + paid * last
    return end_sums(step.old.layout, draws, credit).entered


def critic_sums(step: Step, draws: Draws, gae_lambda: float) -> tuple[FloatArray, FloatArray]:
    """Σ Â_t over the sampled responses in a cell at t, with that λ, and how many they are, [cell, t] each."""
    gae = step.token_level
    if gae is None:
        raise TypeError(f"a critic learns from token advantages, and the step has {step.scheme.advantage!r}")
    own = replace(gae, gae_lambda=gae_lambda)
    step = replace(step, scheme=replace(step.scheme, advantage=own))
    ones = np.ones(draws.cell.shape)
    paid = _task(step, draws, step.in_baseline[draws.end]) if step.scheme.reward.group_relative else None
    count = end_sums(step.old.layout, draws, ones)
    reward = None if paid is None else end_sums(step.old.layout, draws, paid).ended
    found = gae_sums(step, TokenTerm(weight=count, credit=_entry_credit(step, draws, ones, paid), reward=reward))
    visits = sums_by_token(step.old, count)
    return found.stop.sum(axis=1) + found.go.sum(axis=1), visits.stop.sum(axis=1) + visits.go.sum(axis=1)


def _mean_by_cell(step: Step, draws: Draws, mean: FloatArray) -> FloatArray | None:
    """What whitening takes off the advantages of each cell, [cell]; None if a cell is in batches of different means."""
    by_cell = np.zeros(step.old.layout.cells)
    by_cell[draws.cell] = mean
    alike = (by_cell[draws.cell] == mean).all()
    return by_cell if alike else None


def end_sums(layout: Layout, draws: Draws, x: FloatArray) -> EndSums:
    """Sums of a number of responses by [cell, grade, end], and by [move, outcome, t] of those that changed state."""
    moves = len(layout.moves.target)
    positions = layout.max_tokens
    entered = np.zeros((0, 3, positions))
    if moves:
        place = (layout.move_into[draws.cell] * 3 + _outcome(draws, positions)) * positions + draws.entered
        entered = _added_up(place, x, (moves + 1, 3, positions))[:moves]
    return EndSums(ended=sums_by_end(layout, draws, x), entered=entered)


def _outcome(draws: Draws, max_tokens: int) -> IntArray:
    """0 for correct, 1 for not, 2 for cut responses."""
    return np.where(draws.end == max_tokens, 2, np.minimum(draws.grade, 1))


def sums_by_end(layout: Layout, draws: Draws, x: FloatArray | None = None) -> FloatArray:
    """Numbers of responses, or sums of a number of theirs, by [cell, grade, end]."""
    shape = (layout.cells, len(layout.grades), layout.max_tokens + 1)
    return _added_up((draws.cell * shape[1] + draws.grade) * shape[2] + draws.end, x, shape)


def _added_up(place: IntArray, x: FloatArray | None, shape: tuple[int, ...]) -> FloatArray:
    """Sums of numbers, or of ones, by their place in a flat array of that shape."""
    sums = np.bincount(place.ravel(), weights=None if x is None else x.ravel(), minlength=math.prod(shape))
    return sums.reshape(shape).astype(np.float64, copy=False)
