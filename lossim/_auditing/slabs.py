"""Some whole groups of a log, laid out so that what is done for each group is done on contiguous arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lossim._support.records import Record
from lossim._support.types import BoolArray, FloatArray, IntArray, Outcome

Scalar = TypeVar("Scalar", bound=np.generic)
Made = TypeVar("Made")


class SameSize(Record):
    """The groups of one size in a slab: which of its groups, and which of its responses."""

    size: int
    groups: slice
    responses: slice

    def of(self, x: NDArray[Scalar]) -> NDArray[Scalar]:
        """An array over responses as [group, member]: a view, to be read or written."""
        return x[self.responses].reshape(self.size, -1).T


class Slab(Record):
    """Some whole groups, those of one size side by side.

    Arrays run over responses, but from ``prompt`` on over groups. Groups are ordered by size; responses by the size
    of their group, then by member, then by group, so that a sum over the members of groups adds up contiguous rows.

    Attributes:
        end: N + 1 columns: stopped at 1..N, cut.
        place: where a response stands in a flat array [kind, grade, end].
        answered: the position at which its answer was there, 0 without one; None where the log has no such column.
        target: tokens that its prompt asks for; None likewise.
        block: the block of prompts that a group is redrawn with.
        sizes: how many responses each group has.
        shared: what several schemes make of it alike, see :meth:`once`.
    """

    length: FloatArray
    reward: FloatArray
    cut: BoolArray
    correct: BoolArray
    end: IntArray
    place: IntArray
    answered: IntArray | None
    kl: FloatArray | None
    target: FloatArray | None
    prompt: IntArray
    block: IntArray
    step: IntArray
    prompt_class: IntArray
    sizes: IntArray
    by_size: tuple[SameSize, ...]
    shared: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: Any, make: Callable[[], Made]) -> Made:
        """What ``make`` makes of it, made once until ``shared`` is cleared; not to be written to."""
        if key not in self.shared:
            self.shared[key] = make()
        found: Made = self.shared[key]
        return found

    @cached_property
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
