"""A log as the engine sees it: whole groups, and counts of how their responses ended.

A log of any size is read in slabs of whole groups; what is kept of it runs over groups, over blocks of prompts
(for the bootstrap) and over [class, grade, end], never over responses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from lossim._support import checks
from lossim._support.text import Phrase, Way, argument
from lossim._support.types import BoolArray, FloatArray, IntArray, Outcome
from lossim.rewards import Reward, Shaping, applied
from lossim.rollouts import Rollouts, check_rollouts, settled_cuts, settled_grades

__all__ = ["SOLVE_RATES", "Log", "Pay", "Slab", "read_log", "widening"]

CHUNK = 1 << 20
"""Responses looked at at once."""
MOST_BLOCKS = 256
"""Blocks of prompts that the bootstrap draws from; up to that many prompts are a block each."""
LEAST_BLOCKS = 32
MOST_NUMBERS = 1 << 23
"""Numbers [block, class, grade, end] per measure."""
SOLVE_RATES = ("never", "up to 1/4", "1/4 to 1/2", "1/2 to 3/4", "above 3/4", "always")


def widening(blocks: int) -> float:
    """What the spread of redrawn means has to be multiplied by: it is (B - 1)/B of the variance of a mean."""
    return math.sqrt(blocks / max(blocks - 1.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class Pay:
    """What responses are paid: as logged, or by a rule; then through further shapings."""

    rule: Reward | None = None
    shapings: tuple[Shaping, ...] = ()

    @property
    def group_relative(self) -> bool:
        """Whether a response is paid by comparison with its group."""
        return self.rule is not None and self.rule.group_relative


@dataclass(frozen=True, kw_only=True, eq=False)
class Slab:
    """Some whole groups. Arrays over responses, but from ``sizes`` on over groups."""

    length: FloatArray
    reward: FloatArray
    cut: BoolArray
    correct: BoolArray
    end: IntArray
    kl: FloatArray | None
    sizes: IntArray
    prompt: IntArray
    step: IntArray
    prompt_class: IntArray

    @cached_property
    def group(self) -> IntArray:
        """Which of these groups a response belongs to."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @cached_property
    def of_class(self) -> IntArray:
        """The prompt class of a response."""
        return self.prompt_class[self.group]

    @cached_property
    def of_step(self) -> IntArray:
        """The number of a response's step."""
        return self.step[self.group]

    @cached_property
    def first(self) -> IntArray:
        """The first response of each group."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def by_size(self) -> tuple[IntArray, ...]:
        """For each size a group has: the responses of those groups, [group, member]."""
        return tuple(self.first[self.sizes == size][:, None] + np.arange(size) for size in np.unique(self.sizes))

    def paid(self, pay: Pay, counted: BoolArray) -> FloatArray:
        """Rewards of the responses; ``counted`` ones are in the statistics of a group."""
        reward = self.reward
        if pay.rule is not None:
            reward = np.empty_like(self.length)
            for members in self.by_size if pay.group_relative else [np.arange(len(reward))[None]]:
                reward[members] = pay.rule.group_values(self.length[members], self.correct[members],
                                                        self.cut[members], counted[members])
        return applied(pay.shapings, reward, self.length, self.outcome)

    @cached_property
    def outcome(self) -> IntArray:
        """Codes of `Outcome`."""
        return np.where(self.cut, Outcome.TRUNCATED, np.where(self.correct, Outcome.CORRECT, Outcome.INCORRECT))


@dataclass(frozen=True, kw_only=True, eq=False)
class Log:
    """Rollouts with their groups in one run each, cut at ``max_tokens``.

    ``correct`` and ``cut`` [response] are None where not known (none is then). ``shortened`` logs are cut below the
    length that responses had: what lies beyond is truncated and wrong, is paid ``paid_if_cut``, and keeps its share of
    the KL.
    """

    rollouts: Rollouts
    correct: BoolArray | None
    cut: BoolArray | None
    max_tokens: int
    seed: int
    shortened: bool = False
    notes: tuple[str, ...] = field(default=(), repr=False)

    # --- groups -----------------------------------------------------------------------------------------------

    @cached_property
    def starts(self) -> IntArray:
        """Where each group starts, and the number of responses."""
        given = self.rollouts
        changes = [np.array([0])]
        for at in range(0, len(given), CHUNK):
            part = slice(max(at - 1, 0), at + CHUNK)
            differs = np.asarray(given.prompt_ids[part][1:] != given.prompt_ids[part][:-1])
            if given.steps is not None:
                differs |= given.steps[part][1:] != given.steps[part][:-1]
            changes.append(np.flatnonzero(differs) + part.start + 1)
        return np.concatenate([*changes, [len(given)]])

    @cached_property
    def prompts(self) -> tuple[IntArray, int]:
        """The number of each group's prompt, and how many prompts there are."""
        ids, number = np.unique(self.rollouts.prompt_ids[self.starts[:-1]], return_inverse=True)
        return number, len(ids)

    @cached_property
    def steps(self) -> tuple[IntArray, IntArray]:
        """The number of each group's step, and the steps."""
        if self.rollouts.steps is None:
            return np.zeros(len(self.starts) - 1, dtype=np.int64), np.array([0])
        names, number = np.unique(self.rollouts.steps[self.starts[:-1]], return_inverse=True)
        return number, names

    @cached_property
    def classes(self) -> tuple[IntArray, IntArray]:
        """The number of each group's prompt class, and the classes that occur."""
        given = self.rollouts.classes
        if given is None:
            return np.zeros(len(self.starts) - 1, dtype=np.int64), np.array([0])
        names, number = np.unique(given[self.starts[:-1]], return_inverse=True)
        return number, names

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called."""
        if self.rollouts.classes is None:
            return ("prompts",)
        names = self.rollouts.class_names
        return tuple(names[c] if names else f"class {c}" for c in self.classes[1])

    @property
    def shape(self) -> tuple[int, int, int]:
        """[class, grade, end]."""
        return len(self.classes[1]), 2, self.max_tokens + 1

    # --- responses --------------------------------------------------------------------------------------------

    def slabs(self, *, whole_steps: bool = False) -> Iterator[Slab]:
        """All groups, about a million responses at a time, or as many as make whole steps."""
        marks = self.starts
        if whole_steps:
            marks = marks[np.append(np.flatnonzero(np.diff(self.steps[0], prepend=-1)), len(marks) - 1)]
        at = 0
        while at < len(marks) - 1:
            until = max(int(np.searchsorted(marks, marks[at] + CHUNK, side="right")) - 1, at + 1)
            yield self._slab(int(marks[at]), int(marks[until]))
            at = until

    def _slab(self, first: int, last: int) -> Slab:
        given, rows = self.rollouts, slice(first, last)
        groups = slice(*(int(i) for i in np.searchsorted(self.starts, [first, last])))
        length = np.asarray(given.lengths[rows], dtype=np.int64)
        reward = np.asarray(given.rewards[rows], dtype=np.float64)
        kl = None if given.kl is None else np.asarray(given.kl[rows], dtype=np.float64)
        nobody = np.zeros(len(length), dtype=bool)
        correct, cut = (nobody if known is None else np.asarray(known[rows]) for known in (self.correct, self.cut))
        if self.shortened:
            over = length > self.max_tokens
            reward = np.where(over & ~cut, self.paid_if_cut, reward)
            correct, cut = correct & ~(over & ~cut), cut | over
            kl = None if kl is None else kl * np.minimum(1.0, self.max_tokens / length)
            length = np.minimum(length, self.max_tokens)
        return Slab(
            length=length.astype(np.float64), reward=reward, cut=cut, correct=correct,
            end=np.where(cut, self.max_tokens, length - 1),
            kl=kl, sizes=np.diff(self.starts[groups.start:groups.stop + 1]), prompt=self.prompts[0][groups],
            step=self.steps[0][groups], prompt_class=self.classes[0][groups])

    @cached_property
    def paid_if_cut(self) -> float:
        """Mean logged reward of truncated responses; of incorrect ones where none was cut; of all at last."""
        total, count = np.zeros((2, 2, 2))
        for at in range(0, len(self.rollouts), CHUNK):
            rows = slice(at, at + CHUNK)
            reward = np.asarray(self.rollouts.rewards[rows], dtype=np.float64)
            wrong, cut = (np.zeros(len(reward), dtype=np.int64) if known is None else np.asarray(known[rows], np.int64)
                          for known in (None if self.correct is None else ~self.correct[rows], self.cut))
            np.add.at(total, (cut, wrong), reward)
            np.add.at(count, (cut, wrong), 1.0)
        for some in ((1, slice(None)), (0, 1), (slice(None), slice(None))):
            if np.sum(count[some]):
                return float(np.sum(total[some]) / np.sum(count[some]))
        return 0.0

    # --- sums -------------------------------------------------------------------------------------------------

    @cached_property
    def block_of_prompt(self) -> IntArray:
        """The block of each prompt: up to ``MOST_BLOCKS`` of equal size, filled at random."""
        count = self.prompts[1]
        blocks = int(min(count, np.clip(MOST_NUMBERS // math.prod(self.shape), LEAST_BLOCKS, MOST_BLOCKS)))
        return np.random.default_rng(self.seed).permutation(count) % blocks

    @cached_property
    def blocks(self) -> int:
        """How many blocks there are."""
        return int(self.block_of_prompt.max()) + 1

    def block(self, slab: Slab) -> IntArray:
        """The block of prompts that a response belongs to."""
        return self.block_of_prompt[slab.prompt][slab.group]

    def place(self, slab: Slab) -> IntArray:
        """Where a response stands in an array [class, grade, end]."""
        return (2 * slab.of_class + ~slab.correct) * self.shape[2] + slab.end

    def total(self, slab: Slab, weights: FloatArray | None) -> FloatArray:
        """Sums over responses by [class, grade, end]."""
        sums = np.bincount(self.place(slab), weights=weights, minlength=math.prod(self.shape))
        return sums.reshape(self.shape).astype(np.float64, copy=False)

    def tally(self, slab: Slab, weights: FloatArray | None) -> FloatArray:
        """Sums over responses by [block, class, grade, end]."""
        shape = (self.blocks, *self.shape)
        index = self.block(slab) * math.prod(self.shape) + self.place(slab)
        sums = np.bincount(index, weights=weights, minlength=math.prod(shape))
        return sums.reshape(shape).astype(np.float64, copy=False)

    def redrawn(self, x: FloatArray, weights: FloatArray) -> FloatArray:
        """Sums by block [block, ...] of the log with its blocks weighted, [replicate, ...]."""
        redrawn: FloatArray = weights @ x.reshape(len(x), -1)
        return redrawn.reshape(len(weights), *x.shape[1:])

    @cached_property
    def whole(self) -> Log:
        """The log as one block, where nothing is redrawn."""
        whole = replace(self)
        whole.__dict__.update({name: x for name, x in self.__dict__.items() if name not in ("counts", "whole")})
        whole.__dict__["block_of_prompt"] = np.zeros(self.prompts[1], dtype=np.int64)
        whole.__dict__["blocks"], whole.__dict__["counts"] = 1, self.law[None]
        return whole

    @cached_property
    def counts(self) -> FloatArray:
        """Responses by [block, class, grade, end]."""
        counts = np.zeros((self.blocks, *self.shape))
        for slab in self.slabs():
            counts += self.tally(slab, None)
        return counts

    @cached_property
    def law(self) -> FloatArray:
        """Responses by [class, grade, end]."""
        law: FloatArray = self.counts.sum(axis=0)
        return law

    @property
    def cut_share(self) -> float:
        """Share of truncated responses."""
        return float(self.law[..., -1].sum() / self.law.sum())

    @property
    def mean_length(self) -> float:
        """Mean length, tokens."""
        by_end = self.law.sum(axis=(0, 1))
        return float(by_end @ np.append(np.arange(1.0, self.max_tokens + 1.0), self.max_tokens) / by_end.sum())

    @cached_property
    def solve_rate(self) -> IntArray:
        """Index into `SOLVE_RATES` of each prompt, from all its responses."""
        right, count = np.zeros((2, self.prompts[1]))
        for slab in self.slabs():
            prompt = slab.prompt[slab.group]
            right += np.bincount(prompt, weights=slab.correct, minlength=len(right))
            count += np.bincount(prompt, minlength=len(count))
        rate = right / count
        between = 1 + np.searchsorted([0.25, 0.5, 0.75], rate)
        return np.where(rate == 0, 0, np.where(rate == 1, len(SOLVE_RATES) - 1, between))


def read_log(rollouts: Rollouts, *, max_tokens: int | None = None, correct_above: float | None = None,
             needs_grades: bool = True, seed: int = 0) -> Log:
    """Check a log and say what has to be assumed about it.

    Raises:
        ValueError: an empty log, an unclear cap, grades that are needed and not known, a prompt of two classes.
    """
    check_rollouts(rollouts)
    grouped = rollouts.by_group()
    correct, notes = settled_grades(grouped, correct_above)
    if correct is None and needs_grades:
        low, high = float(grouped.rewards.min()), float(grouped.rewards.max())
        checks.fail("correct", [low, high], "must be known, or rewards take exactly two values (their range is shown)",
                    Phrase("give ", argument("correct_above"), ", the reward above which a response is correct, or ",
                           Way("correct", "Rollouts with correct="), ", or use ", argument("paths", "one"), " and no ",
                           argument("reward")))
    cut, cap, more = settled_cuts(grouped, max_tokens)
    log = Log(rollouts=grouped, correct=correct, cut=cut, max_tokens=cap, seed=seed, notes=(*notes, *more))
    _check_classes(log)
    return log


def _check_classes(log: Log) -> None:
    """A prompt belongs to one class, in all its responses."""
    given = log.rollouts.classes
    if given is None:
        return
    number, count = log.prompts
    of_prompt = np.zeros(count, dtype=np.int64)
    of_prompt[number] = given[log.starts[:-1]]
    for at in range(0, len(given), CHUNK):
        rows: IntArray = np.arange(at, min(at + CHUNK, len(given)))
        group: IntArray = np.searchsorted(log.starts, rows, side="right") - 1
        other = np.flatnonzero(of_prompt[number[group]] != given[rows])
        if other.size:
            row = int(rows[other[0]])
            checks.fail(f"classes of prompt {log.rollouts.prompt_ids[row]!r}",
                        sorted({int(given[row]), int(of_prompt[number[group[other[0]]]])}),
                        "must be one class for all responses to a prompt")
