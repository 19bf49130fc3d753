"""A log as the engine sees it: whole groups, and counts of how their responses ended.

A log of any size is read in slabs of whole groups, laid out so that what is done for each group is done on contiguous
arrays; what is kept of it runs over groups, over blocks of prompts (for the bootstrap) and over [class, grade, end].
Only where that takes little memory are the slabs kept themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossim._auditing.slabs import SameSize, Slab
from lossim._support.records import Record
from lossim._support.types import BoolArray, FloatArray, IntArray
from lossim.rollouts import Rollouts

SLAB = 1 << 16
"""Responses of a slab: its arrays stay in a processor's cache."""
MOST_KEPT = 1 << 22
"""Responses of the largest log whose slabs are kept; those of a larger log are built for each pass."""
Rows = slice | IntArray
"""Which responses of a log."""
SOLVE_RATES = ("never", "up to 1/4", "1/4 to 1/2", "1/2 to 3/4", "above 3/4", "always")


def widening(blocks: int) -> float:
    """What the spread of redrawn means has to be multiplied by: it is (B - 1)/B of the variance of a mean."""
    return math.sqrt(blocks / max(blocks - 1.0, 1.0))


class Log(Record):
    """Rollouts with their groups in one run each, cut at ``max_tokens``.

    ``correct`` and ``cut`` [response] are None where not known (none is then). Prompts of one block, numbered by
    ``block_of_prompt``, are redrawn together. A ``shortened`` log is cut below the length that responses had: what
    lies beyond is truncated and wrong, is paid ``paid_if_cut``, and keeps its share of the KL.

    A *kind* of response is its prompt class and the name of its path, of which there is one unless they are read. A
    *place* is what responses have in common that an update sees: kind, grade, end, and where it is read the position
    of the answer. Sums are kept by place, for the places where a response stands.

    Attributes:
        starts: the first response of each group, and the number of responses; ``sizes`` [group] are their differences.
        prompt: [group], the number of the prompt, below ``prompts``.
        step: [group], index into ``steps``, which never falls.
        prompt_class: [group], index into ``classes``.
        answered: [response], position of the answer, 0 without one; None where it is not read.
        path: [response], index into ``path_names``; None where it is not read.
    """

    rollouts: Rollouts
    starts: IntArray
    sizes: IntArray
    prompt: IntArray
    prompts: int
    step: IntArray
    steps: IntArray
    prompt_class: IntArray
    classes: IntArray
    correct: BoolArray | None
    cut: BoolArray | None
    max_tokens: int
    block_of_prompt: IntArray
    answered: IntArray | None = None
    path: IntArray | None = None
    path_names: tuple[str, ...] = ("all",)
    shortened: bool = False
    notes: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called."""
        if self.rollouts.classes is None:
            return ("prompts",)
        names = self.rollouts.class_names
        return tuple(names[c] if names else f"class {c}" for c in self.classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """[kind, grade, end]."""
        return len(self.classes) * len(self.path_names), 2, self.max_tokens + 1

    @cached_property
    def blocks(self) -> int:
        """How many blocks of prompts there are."""
        return int(self.block_of_prompt.max()) + 1

    def of_lengths(self, lengths: IntArray, max_tokens: int) -> Log:
        """The same responses, as long as this [response] under that cap."""
        answered = None if self.answered is None else np.minimum(self.answered, lengths)
        return replace(self, rollouts=replace(self.rollouts, lengths=lengths), answered=answered, max_tokens=max_tokens)

    # --- slabs ------------------------------------------------------------------------------------------------

    @cached_property
    def kept(self) -> tuple[Slab, ...] | None:
        """The slabs where they are built once; what a scheme makes of them may be kept then, too."""
        return tuple(self._built(self.starts)) if len(self.rollouts) <= MOST_KEPT else None

    def slabs(self, *, whole_steps: bool = False) -> Iterable[Slab]:
        """All groups, about ``SLAB`` responses at a time, or as many as make whole steps."""
        if whole_steps:
            first_of_step = np.flatnonzero(np.diff(self.step, prepend=-1))
            return self._built(self.starts[np.append(first_of_step, -1)])
        return self.kept or self._built(self.starts)

    def _built(self, marks: IntArray) -> Iterator[Slab]:
        """Slabs from mark to mark, each to the last mark within reach, or to the next one."""
        at = 0
        while at < len(marks) - 1:
            until = max(int(np.searchsorted(marks, marks[at] + SLAB, side="right")) - 1, at + 1)
            first, last = np.searchsorted(self.starts, marks[[at, until]])
            yield self._slab(int(first), int(last))
            at = until

    def _slab(self, first: int, last: int) -> Slab:
        """The groups from the first to the one before the last."""
        given = self.rollouts
        starts = self.starts[first:last + 1]
        order = np.argsort(self.sizes[first:last], kind="stable")
        groups = first + order
        sizes = self.sizes[groups]
        # Where the groups of each size, and their responses, begin and end.
        each, count = np.unique(sizes, return_counts=True)
        groups_to = np.append(0, np.cumsum(count)).tolist()
        responses_to = np.append(0, np.cumsum(each * count)).tolist()
        parts = tuple(SameSize(size=int(size), groups=slice(*groups_to[i:i + 2]),
                               responses=slice(*responses_to[i:i + 2])) for i, size in enumerate(each))
        # Responses by size, member and group: see Slab.
        rows = np.concatenate([(starts[order[same.groups]] + np.arange(same.size)[:, None]).ravel() for same in parts])

        def column(x: NDArray[Any], kind: type) -> NDArray[Any]:
            return x[rows].astype(kind, copy=False)

        kl = None if given.kl is None else column(given.kl, np.float64)
        target = None if given.targets is None else column(given.targets, np.float64)
        length, cut, correct = self._ended(rows)
        reward = column(given.rewards, np.float64)
        if self.shortened:
            reward = np.where(cut & ~self._cut_as_logged(rows), self.paid_if_cut, reward)
            kl = None if kl is None else kl * np.minimum(1.0, self.max_tokens / given.lengths[rows])
        end = np.where(cut, self.max_tokens, length - 1)
        prompt_class = self.prompt_class[groups]
        kind = np.concatenate([np.tile(prompt_class[same.groups], same.size) for same in parts])
        if self.path is not None:
            kind = kind * len(self.path_names) + self.path[rows]
        answered = None
        if self.answered is not None:
            answered = np.where(self.answered[rows] <= length, self.answered[rows], 0)
        return Slab(
            length=length.astype(np.float64), reward=reward, cut=cut, correct=correct, end=end,
            place=(2 * kind + ~correct) * self.shape[2] + end, answered=answered, kl=kl, target=target,
            prompt=self.prompt[groups], block=self.block_of_prompt[self.prompt[groups]], step=self.step[groups],
            prompt_class=prompt_class, sizes=sizes, by_size=parts)

    def _cut_as_logged(self, rows: Rows) -> BoolArray:
        """Whether responses were cut, as logged; none where that is not known."""
        return np.zeros(len(self.rollouts.lengths[rows]), dtype=np.bool_) if self.cut is None else self.cut[rows]

    def _ended(self, rows: Rows) -> tuple[IntArray, BoolArray, BoolArray]:
        """How long some responses are under the cap, whether they are cut, and whether they are correct."""
        length = self.rollouts.lengths[rows].astype(np.int64, copy=False)
        cut = self._cut_as_logged(rows)
        correct = np.zeros(len(length), dtype=np.bool_) if self.correct is None else self.correct[rows]
        if self.shortened:
            beyond = (length > self.max_tokens) & ~cut
            return np.minimum(length, self.max_tokens), cut | beyond, correct & ~beyond
        return length, cut, correct

    def _in_order(self) -> Iterator[tuple[slice, slice]]:
        """Some whole groups after the others in the order of the log, and their responses."""
        first = 0
        while first < len(self.sizes):
            last = max(int(np.searchsorted(self.starts, self.starts[first] + SLAB, side="right")) - 1, first + 1)
            yield slice(first, last), slice(int(self.starts[first]), int(self.starts[last]))
            first = last

    def _cell(self, groups: slice, rows: slice) -> IntArray:
        """Where responses stand in a flat array [kind, grade, end]."""
        length, cut, correct = self._ended(rows)
        end = np.where(cut, self.max_tokens, length - 1)
        grade = (~correct).astype(np.int64)
        if len(self.classes) > 1:
            grade += 2 * len(self.path_names) * np.repeat(self.prompt_class[groups], self.sizes[groups])
        if self.path is not None:
            grade += 2 * self.path[rows]
        return grade * self.shape[2] + end

    @cached_property
    def rewards_above(self) -> tuple[FloatArray, float]:
        """Sums of logged rewards by [place], each above the first one, and that."""
        above = np.zeros(len(self.count))
        first = float(self.rollouts.rewards[0])
        for groups, rows in self._in_order():
            paid = self.rollouts.rewards[rows].astype(np.float64)
            np.add.at(above, self._rank[self._cell(groups, rows)], paid - first)
        return above, first

    @cached_property
    def paid_if_cut(self) -> float:
        """Mean logged reward of truncated responses; of incorrect ones where none was cut; of all at last."""
        rewards = self.rollouts.rewards
        if self.cut is not None and self.cut.any():
            rewards = rewards[self.cut]
        elif self.correct is not None and not self.correct.all():
            rewards = rewards[~self.correct]
        return float(rewards.mean(dtype=np.float64))

    # --- sums by place ----------------------------------------------------------------------------------------

    @cached_property
    def _counted(self) -> tuple[IntArray, FloatArray]:
        """The places where a response stands, increasing, as :meth:`_key` numbers them; responses [place, block]."""
        if self.answered is None:
            counts = np.zeros((math.prod(self.shape), self.blocks))
            for groups, rows in self._in_order():
                block = np.repeat(self.block_of_prompt[self.prompt[groups]], self.sizes[groups])
                np.add.at(counts.ravel(), self._cell(groups, rows) * self.blocks + block, 1.0)
            taken = np.flatnonzero(counts.sum(axis=1))
            return taken, counts[taken]
        taken = np.unique(np.concatenate([np.unique(self._key(slab)) for slab in self.slabs()]))
        counts = np.zeros((len(taken), self.blocks))
        for slab in self.slabs():
            place = np.searchsorted(taken, self._key(slab))
            np.add.at(counts.ravel(), place * self.blocks + slab.each(slab.block), 1.0)
        return taken, counts

    def _key(self, slab: Slab) -> IntArray:
        """A number for what each response is: [kind, grade, end], flat, and the position of the answer."""
        return slab.place if slab.answered is None else slab.place * (self.max_tokens + 1) + slab.answered

    @cached_property
    def _rank(self) -> IntArray:
        """Which of the places each [kind, grade, end] is, where they are told apart by nothing else."""
        rank = np.zeros(math.prod(self.shape), dtype=np.int64)
        rank[self._counted[0]] = np.arange(len(self._counted[0]))
        return rank

    @property
    def counts(self) -> FloatArray:
        """How many responses each pair of a place and a block of prompts is for, flat [place, block]."""
        return self._counted[1].ravel()

    @cached_property
    def count(self) -> FloatArray:
        """How many responses each place is for, [place]."""
        return self._counted[1].sum(axis=1)

    @cached_property
    def places(self) -> tuple[IntArray, IntArray, IntArray, IntArray]:
        """Kind, grade, end and position of the answer (0 without one) of each place, [place]."""
        cell = self._counted[0]
        answered = np.zeros_like(cell)
        if self.answered is not None:
            cell, answered = np.divmod(cell, self.max_tokens + 1)
        kind, grade, end = np.unravel_index(cell, self.shape)
        return kind, grade, end, answered

    def place(self, slab: Slab) -> IntArray:
        """Which place each response stands at."""
        def find() -> IntArray:
            if slab.answered is None:
                return self._rank[slab.place]
            return np.searchsorted(self._counted[0], self._key(slab))

        return slab.once("place", find)

    def pair(self, slab: Slab) -> IntArray:
        """Which pair of a place and a block of prompts a response belongs to: sums over pairs can be redrawn."""
        return slab.once("pair", lambda: self.place(slab) * self.blocks + slab.each(slab.block))

    def redrawn(self, by_pair: FloatArray, weights: FloatArray) -> FloatArray:
        """Sums over pairs as sums [replicate, place] of the log with its blocks weighted."""
        return weights @ by_pair.reshape(-1, self.blocks).T

    def by_end(self, x: FloatArray) -> FloatArray:
        """Sums [..., place] as sums [..., kind, grade, end]."""
        kind, grade, end, _ = self.places
        at = np.ravel_multi_index((kind, grade, end), self.shape)
        if self.answered is None:
            sums = np.zeros((*x.shape[:-1], math.prod(self.shape)))
            sums[..., at] = x
        else:
            sums = scattered(x, at, math.prod(self.shape))
        return sums.reshape(*x.shape[:-1], *self.shape)

    @cached_property
    def law(self) -> FloatArray:
        """Responses by [kind, grade, end]."""
        return self.by_end(self.count)

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
        right = np.zeros(self.prompts)
        for groups, rows in self._in_order():
            of_group = np.add.reduceat(self._ended(rows)[2], self.starts[groups] - rows.start, dtype=np.int64)
            np.add.at(right, self.prompt[groups], of_group)
        rate = right / np.bincount(self.prompt, weights=self.sizes)
        between = 1 + np.searchsorted([0.25, 0.5, 0.75], rate)
        return np.where(rate == 0, 0, np.where(rate == 1, len(SOLVE_RATES) - 1, between))


def scattered(x: FloatArray, at: IntArray, size: int) -> FloatArray:
    """Sums of numbers [..., place] by where ``at`` puts each place, [..., size].

    >>> scattered(np.array([1.0, 2.0, 4.0]), np.array([0, 2, 2]), 3)
    array([1., 0., 6.])
    """
    rows = x.reshape(-1, x.shape[-1])
    index = np.arange(len(rows))[:, None] * size + at
    sums = np.bincount(index.ravel(), weights=rows.ravel(), minlength=len(rows) * size)
    return sums.astype(np.float64, copy=False).reshape(*x.shape[:-1], size)
