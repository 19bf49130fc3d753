"""Levels of reward in a group: each of its own where few occur, a few for all of them where many do."""

from __future__ import annotations

import numpy as np

from lossim._engine.groups import ClassLaw
from lossim._engine.mates import composition_count, kinds
from lossim._support.quotients import quotient
from lossim._support.records import Record
from lossim._support.types import FloatArray, IntArray
from lossim.advantages import ResponseAdvantage

__all__ = ["Levels", "levels_of"]

MOST_NUMBERS = 20_000_000
"""Compositions × levels that are summed over before levels are put together."""
MOST_COMPOSITIONS = 300_000
MOST_TOGETHER = 8
"""As many levels as there are at most once they are put together."""
ROUNDS = 60


class Levels(Record):
    """What a response can get.

    Attributes:
        values: (task reward, return, length if it matters), [level, 3].
        own: the level of each end, [cell or 1, grade, end].
        found: how many there were before any were put together.
    """

    values: FloatArray
    own: IntArray
    found: int

    def __len__(self) -> int:
        return len(self.values)

    def sums(self, x: FloatArray) -> FloatArray:
        """Sums of a number by level: [..., cell, grade, end] → [..., level]."""
        place = np.broadcast_to(self.own, x.shape[-3:]).ravel()
        rows = x.reshape(-1, place.size)
        found = [_added_up(place, row, len(self)) for row in rows if len(self)]
        return np.array(found, dtype=np.float64).reshape(*x.shape[:-3], len(self))


def levels_of(law: ClassLaw, estimator: ResponseAdvantage) -> Levels:
    """The levels of a class, put together by return if there are too many compositions of them."""
    values, own = kinds(law, estimator)
    shape = (-1, law.step.task.shape[1], own.shape[-1])
    size = law.mates + 1
    removed = int(law.removed > 0)
    found = len(values)
    if composition_count(size, found + removed) * found > MOST_NUMBERS:
        mass = _added_up(own, law.counted, found)
        count = MOST_TOGETHER
        while count > 2 and composition_count(size, count + removed) > MOST_COMPOSITIONS:
            count -= 1
        together = _together(values[:, 1], mass, count)
        groups = int(together.max()) + 1
        sums = np.array([_added_up(together, mass * column, groups) for column in values.T]).T
        values = quotient(sums, _added_up(together, mass, groups)[:, None])
        own = together[own]
    return Levels(values=values, own=own.reshape(shape), found=found)


def _together(value: FloatArray, mass: FloatArray, count: int) -> IntArray:
    """Which of ``count`` groups each value belongs to, so that groups spread little: k-means, from even steps."""
    centres = np.linspace(value.min(), value.max(), count)
    for _ in range(ROUNDS):
        nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2.0, value)
        weight = _added_up(nearest, mass, len(centres))
        mean = _added_up(nearest, mass * value, len(centres))
        centres = np.sort(quotient(mean[weight > 0], weight[weight > 0]))
    nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2.0, value)
    return np.unique(nearest, return_inverse=True)[1]


def _added_up(place: IntArray, x: FloatArray, count: int) -> FloatArray:
    """Sums of numbers by their place."""
    return np.bincount(place.ravel(), weights=x.ravel(), minlength=count).astype(np.float64)
