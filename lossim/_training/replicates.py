"""Sampled runs: real groups and mini-batches, every replicate a set of classes of one larger policy.

Replicate r has the cells r·C .. r·C + C - 1 and the classes r·J .. r·J + J - 1 of that policy, and the draws of all
replicates are one array [replicate, prompt, response], so that each stage of a step is one call for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from lossim._engine import (
    Family,
    Step,
    cannot_fill,
    credited,
    critic_sums,
    groups_admitted,
    measures_of,
    sums_by_end,
    unequal_groups,
    update_gradient,
)
from lossim._model import CellArrays, Draws, Motion
from lossim._support.positions import log_survival
from lossim._support.records import mapped
from lossim._support.types import FloatArray, IntArray, NoClosedForm
from lossim._training.records import Entry, Recorder
from lossim._training.run import Learning, Run
from lossim.critics import Lesson
from lossim.optimizers import Optimizer
from lossim.schemes import Scheme

MOST_LOGITS = 1 << 20
"""Hazard logits of all replicates that are worked on at once."""
MOST_RESPONSES = 1 << 18
"""Responses held in memory at once."""
NOTHING = Draws(**dict.fromkeys(("cell", "grade", "end", "entered"), np.zeros(0, dtype=np.int64)))
GRAIN = 1 << 40
"""Probabilities are drawn in whole multiples of 1/GRAIN, so that what has probability 0 is never drawn."""
SURE = 60.0
"""What a certain stop in the second state of a path adds to -log(1 - h): nobody waits so long."""
MOST_GROUPS = 1000
"""Groups drawn for each that a rollout needs before resampling counts as impossible ..."""
FEW_GROUPS = 100_000
"""... and at least so many."""


def sampled_entries(motion: Motion, optimizer: Optimizer, recorder: Recorder, kernels: Family, replicates: int,
                    rng: np.random.Generator) -> Iterator[Entry]:
    """The state of the replicates before the first step, then each step and the state after it."""
    step = recorder.first
    _refuse(step)
    responses = step.scheme.responses_per_step * step.scheme.minibatches
    at_once = max(min(MOST_RESPONSES // responses, MOST_LOGITS // step.policy.logits.size, replicates), 1)
    counts = [min(at_once, replicates - first) for first in range(0, replicates, at_once)]
    stacks = {count: _stacked(step, count) for count in set(counts)}
    parts = [_Replicates(motion, optimizer, recorder, kernels, (count,), stacks[count], rng) for count in counts]
    yield _of_all(parts, _Replicates.begin)
    while True:
        yield _of_all(parts, _Replicates.advance)


def _refuse(step: Step) -> None:
    """Say what sampled runs cannot do, before any work."""
    scheme = step.scheme
    if step.token_level is None or not scheme.reward.group_relative:
        return
    step.refuse_whitened_groups()
    if scheme.ppo_epochs * scheme.minibatches > 1 and scheme.surrogate.signed:
        raise NoClosedForm("surrogate", f"{scheme.surrogate!r} reads the sign of GAE's token advantages, with a reward "
                           "that compares a group, on each optimiser step of a rollout but the first",
                           hint="use ppo_epochs=1 and minibatches=1, or surrogates.PolicyGradient(), "
                           "ImportanceWeight() or CISPO()")


def _stacked(step: Step, count: int) -> tuple[Scheme, CellArrays, CellArrays]:
    """Scheme, policy and reference of so many replicates as one policy."""
    scheme = replace(step.scheme, advantage=step.scheme.advantage.repeated(count))
    policy, reference = (CellArrays.side_by_side([each] * count) for each in (step.policy, step.reference))
    return scheme, policy, reference


def _of_all(parts: list[_Replicates], stage: Callable[[_Replicates], Entry]) -> Entry:
    """The numbers of all replicates after a stage of each part."""
    entries = []
    for part in parts:
        entries.append(stage(part))
        if len(parts) > 1:
            part.release()
    joined = mapped(lambda *each: np.concatenate(each), *entries)
    if joined.state.critic is None:
        return joined
    # a value per position and replicate would be most of a run
    return replace(joined, state=replace(joined.state, critic=joined.state.critic.mean(axis=0)))


class _Replicates(Run):
    """Replicates of a run at the same step, [replicate, ...], each on samples of its own."""

    def __init__(self, motion: Motion, optimizer: Optimizer, recorder: Recorder, kernels: Family,
                 replicates: tuple[int], stack: tuple[Scheme, CellArrays, CellArrays], rng: np.random.Generator
                 ) -> None:
        super().__init__(motion, optimizer, recorder, kernels, replicates, stack)
        self.count = replicates[0]
        self.rng = rng

    def begin(self) -> Entry:
        self.pretrain()
        return super().begin()

    def release(self) -> None:
        """Let go of what the next step makes again."""
        self.current = None
        self.draws = NOTHING

    def step(self, policy: CellArrays | None = None) -> Step:
        step = super().step(policy)
        self.draws, self.dead = _sample(step, self.count, self.rng)
        return step

    def optimise(self, first: Step) -> Step:
        batches = credited(first, self.draws)
        now = first
        for number, groups in enumerate(_minibatches(self.scheme, self.count, self.rng)):
            if self.policy is not first.policy:
                now = replace(first, policy=self.policy)
            mine = batches if groups is None else batches.taken(groups)
            measures = measures_of(now, mine, self.scheme.responses_per_step)
            gradient = update_gradient(now, measures, self.motion.skill_scale > 0)
            if not number:
                self.look(first, gradient)
            self.move(gradient)
        return now

    def lesson(self, learning: Learning, step: Step) -> Lesson:
        total, tokens = (sums.reshape(*self.shape, -1)
                         for sums in critic_sums(step, self.draws, learning.critic.gae_lambda))
        one = self.recorder.first.policy
        mean, reached = learning.critic.batch_targets(total, tokens, one.class_of_cell)
        return Lesson(advantage_mean=mean, reached=reached, tokens=tokens)

    def dead_groups(self, step: Step) -> FloatArray:
        return self.dead

    def mass(self, step: Step) -> FloatArray:
        return sums_by_end(step.old.layout, self.draws).sum(axis=1)


# --- what they sample ------------------------------------------------------------------------------------------------


def _minibatches(scheme: Scheme, count: int, rng: np.random.Generator) -> Iterator[IntArray | None]:
    """Which groups [replicate, prompt] each optimiser step on a rollout is taken on; None for all."""
    parts = scheme.minibatches
    groups = np.arange(parts * scheme.prompts_per_step)
    for _ in range(scheme.ppo_epochs):
        if parts == 1:
            yield None
        else:
            yield from np.split(rng.permuted(np.tile(groups, (count, 1)), axis=1), parts, axis=1)


def _sample(step: Step, count: int, rng: np.random.Generator) -> tuple[Draws, FloatArray]:
    """The groups of a rollout of ``count`` replicates whose policies are stacked as one, [replicate, prompt, response].

    And the share of equal ones among those drawn in time, [replicate].
    """
    scheme = step.scheme
    need = scheme.prompts_per_step * scheme.minibatches
    draw = _sampler(step.old, count, scheme.group_size, rng)
    if not scheme.replaces:
        draws = draw(np.arange(count), need)
        return draws, 1.0 - unequal_groups(step, draws).mean(axis=1)
    filled = mapped(lambda _: np.zeros((count, need, scheme.group_size), dtype=np.int64), NOTHING)
    have, drawn, admitted, alive = np.zeros((4, count), dtype=np.int64)
    resamples = scheme.dynamic_sampling == "resample"
    while (rows := np.flatnonzero(have < need)).size:
        if (drawn[rows] > max(MOST_GROUPS * need, FEW_GROUPS)).any():
            raise cannot_fill(scheme, int(have.min()), need)
        # Ask for what is missing at the rate so far, and a little more.
        kept = (alive if resamples else admitted)[rows]
        missing = (need - have[rows]) * (drawn[rows] + 1) / (kept + 1)
        ask = int(min(1.1 * missing.max() + 4, MOST_RESPONSES // (rows.size * scheme.group_size) + 1))
        draws = draw(rows, ask)
        in_time = groups_admitted(step, draws)
        unequal = in_time & unequal_groups(step, draws)
        keep = unequal if resamples else in_time
        # Those that are kept go to the next free places of their replicate.
        place = have[rows, None] + np.cumsum(keep, axis=1) - 1
        row, group = np.nonzero(keep & (place < need))
        for name, found in vars(draws).items():
            vars(filled)[name][rows[row], place[row, group]] = found[row, group]
        have[rows] += keep.sum(axis=1)
        drawn[rows] += ask
        admitted[rows] += in_time.sum(axis=1)
        alive[rows] += unequal.sum(axis=1)
    return filled, 1.0 - alive / admitted


def _sampler(policy: CellArrays, count: int, group_size: int, rng: np.random.Generator
             ) -> Callable[[IntArray, int], Draws]:
    """A function that draws groups of some replicates, [row, prompt, response], by inverse cdf.

    Cumulative chances are in grains: of the classes [class], the paths [path] and the ends but the last [cell · t].
    Each row of the last two has the row's number times ``GRAIN`` on top, so that one search serves all rows.
    """
    n = policy.max_tokens
    classes = len(policy.class_weight) // count
    weight = np.cumsum(policy.class_weight[:classes])
    class_grains = _grains(weight / weight[-1])
    chance = policy.probability.reshape(count, -1)
    layout = policy.layout
    paths = np.concatenate([np.cumsum(chance[:, mine], axis=1) / chance[:, mine].sum(axis=1, keepdims=True)
                            for mine in layout.class_paths[:classes]], axis=1).ravel()
    path_grains = _grains(paths) + GRAIN * layout.class_of_path
    ends = -np.expm1(log_survival(policy.log_stay)[:, 1:])
    end_grains = (_grains(ends) + GRAIN * np.arange(len(ends))[:, None]).ravel()
    # Of moves: the chance to have moved by t, in grains; and how long stops in the next state have been waited for.
    moved = 1.0 - np.cumprod(1.0 - policy.arrival, axis=1, dtype=np.float64)
    move_grains = (_grains(moved) + GRAIN * np.arange(len(moved))[:, None]).ravel()
    waits = np.minimum(-policy.log_stay[layout.moves.target], SURE)
    waited = np.concatenate([np.zeros((len(waits), 1)), np.cumsum(waits, axis=1)], axis=1)
    above = (n * SURE) * np.arange(len(waits))
    wait_table = (waited[:, 1:] + above[:, None]).ravel()

    def draw(rows: IntArray, prompts: int) -> Draws:
        shape = (len(rows), prompts, group_size)
        own = np.searchsorted(class_grains, rng.integers(GRAIN, size=shape[:2]), side="right")
        own += rows[:, None] * classes
        path = np.searchsorted(path_grains, GRAIN * own[..., None] + rng.integers(GRAIN, size=shape), side="right")
        cell = layout.first_cells[path]
        end = np.searchsorted(end_grains, GRAIN * cell + rng.integers(GRAIN, size=shape), side="right") - n * cell
        entered = np.zeros_like(end)
        move = layout.move_from[cell]
        mine = np.nonzero(move < len(moved))
        if mine[0].size:
            move = move[mine]
            then = np.searchsorted(move_grains, GRAIN * move + rng.integers(GRAIN, size=move.shape), side="right")
            then -= n * move
            first = then <= np.minimum(end[mine], n - 1)
            mine = tuple(axis[first] for axis in mine)
            move = move[first]
            then = then[first]
            until = waited[move, then] + rng.standard_exponential(move.shape) + above[move]
            cell[mine] += 1
            entered[mine] = then
            end[mine] = np.minimum(np.searchsorted(wait_table, until, side="right") - n * move, n)
        return Draws(cell=cell, grade=policy.graded(cell, end, rng.random(shape)), end=end, entered=entered)

    return draw


def _grains(cumulative: FloatArray) -> IntArray:
    return np.rint(cumulative * GRAIN).astype(np.int64)
