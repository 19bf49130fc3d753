"""Some whole groups of a log, laid out so that what is done for each group is done on contiguous arrays."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lossim._support.records import Record
from lossim._support.types import BoolArray, FloatArray, IntArray, Outcome
from lossim.rewards import Reward, Shaping, applied

__all__ = ["Pay", "SameSize", "Slab", "by_size"]

Scalar = TypeVar("Scalar", bound=np.generic)


class Pay(Record):
    """What responses are paid: as logged, or by a rule; then through further shapings."""

    rule: Reward | None = None
    shapings: tuple[Shaping, ...] = ()


class SameSize(Record):
    """The groups of one size in a slab: which of its groups, and which of its responses."""

    size: int
    groups: slice
    responses: slice

    def of(self, x: NDArray[Scalar]) -> NDArray[Scalar]:
        """An array over responses as [group, member]: a view, to be read or written."""
        return x[self.responses].reshape(self.size, -1).T


def by_size(sizes: IntArray) -> tuple[SameSize, ...]:
    """The groups of each size, of groups that are ordered by size."""
    made = []
    group = 0
    response = 0
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        groups = slice(group, group + int(count))
        responses = slice(response, response + int(size * count))
        made.append(SameSize(size=int(size), groups=groups, responses=responses))
        group = groups.stop
        response = responses.stop
    return tuple(made)


class Slab(Record):
    """Some whole groups, those of one size side by side.

    Arrays run over responses, but from ``prompt`` on over groups. Groups are ordered by size; responses by the size
    of their group, then by member, then by group, so that a sum over the members of groups adds up contiguous rows.

    Attributes:
        end: N + 1 columns: stopped at 1..N, cut.
        place: where a response stands in a flat array [class, grade, end].
        block: the block of prompts that a group is redrawn with.
    """

    length: FloatArray
    reward: FloatArray
    cut: BoolArray
    correct: BoolArray
    end: IntArray
    place: IntArray
    kl: FloatArray | None
    prompt: IntArray
    block: IntArray
    step: IntArray
    prompt_class: IntArray
    by_size: tuple[SameSize, ...]

    @cached_property
    def sizes(self) -> IntArray:
        """How many responses each group has."""
        return np.concatenate([np.full(len(self.prompt[same.groups]), same.size) for same in self.by_size])

    @property
    def outcome(self) -> IntArray:
        """Codes of `Outcome`."""
        return np.where(self.cut, Outcome.TRUNCATED, np.where(self.correct, Outcome.CORRECT, Outcome.INCORRECT))

    def each(self, x: NDArray[Scalar]) -> NDArray[Scalar]:
        """What a group has, at each of its responses."""
        return np.concatenate([np.tile(x[same.groups], same.size) for same in self.by_size])

    def by_group(self, x: NDArray[Scalar]) -> FloatArray:
        """Sums over the responses of each group."""
        return np.concatenate([same.of(x).sum(axis=1, dtype=np.float64) for same in self.by_size])

    def by_step(self) -> Iterator[IntArray]:
        """The responses of each step."""
        step = self.each(self.step)
        order = np.argsort(step, kind="stable")
        yield from np.split(order, np.flatnonzero(np.diff(step[order])) + 1)

    def paid(self, pay: Pay, counted: BoolArray) -> FloatArray:
        """Rewards of the responses; ``counted`` ones are in the statistics of a group."""
        reward = self.reward
        if pay.rule is not None:
            reward = np.empty_like(self.length)
            everyone = (SameSize(size=1, groups=slice(None), responses=slice(None)),)
            for same in self.by_size if pay.rule.group_relative else everyone:
                same.of(reward)[:] = pay.rule.group_values(same.of(self.length), same.of(self.correct),
                                                           same.of(self.cut), same.of(counted))
        return applied(pay.shapings, reward, self.length, self.outcome)
