"""Some whole groups of a log, laid out so that what is done for each group is done on contiguous arrays."""

from __future__ import annotations

from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lossim._support.records import Record
from lossim._support.types import BoolArray, FloatArray, IntArray, Outcome
from lossim.rewards import Reward, Shaping, applied

Scalar = TypeVar("Scalar", bound=np.generic)


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
    each, count = np.unique(sizes, return_counts=True)
    groups = np.append(0, np.cumsum(count)).tolist()
    responses = np.append(0, np.cumsum(each * count)).tolist()
    return tuple(SameSize(size=int(size), groups=slice(*groups[i:i + 2]), responses=slice(*responses[i:i + 2]))
                 for i, size in enumerate(each))


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

    def by_step(self) -> list[IntArray]:
        """The responses of each step."""
        step = self.each(self.step)
        order = np.argsort(step, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(step[order])) + 1)

    def paid(self, rule: Reward | None, shapings: tuple[Shaping, ...], counted: BoolArray) -> FloatArray:
        """Rewards by a rule, or as logged, through further shapings; ``counted`` are in the statistics of a group."""
        reward = self.reward
        if rule is not None:
            reward = np.empty_like(self.length)
            everyone = (SameSize(size=1, groups=slice(None), responses=slice(None)),)
            for same in self.by_size if rule.group_relative else everyone:
                same.of(reward)[:] = rule.group_values(same.of(self.length), same.of(self.correct), same.of(self.cut),
                                                       same.of(counted))
        return applied(shapings, reward, self.length, self.outcome)
