"""Sums of Gaussians over the rewards of a law, scale by scale, and back from functions of them to each reward.

With a law of rewards r and v = top · 2^{-i/2}, i = 0, 1, ..., what is needed at each scale is, for centres m on a grid,

    E₀(m) = E[e^{-v(r-m)²}] ,    E₁(m) = E[(r-m) e^{-v(r-m)²}] ,

and, once two functions F and H have been made of them,  Σ_m e^{-v(R-m)²} ((R-m) F(m) + H(m))  at every reward R. A wide
Gaussian is a mixture of narrower ones, so each scale follows from the one before it by a short convolution, and the way
back is the adjoint. See docs/derivations.md, section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from lossim._support.positions import blocks
from lossim._support.records import Record
from lossim._support.types import FloatArray, IntArray

__all__ = ["RATIO", "REACH", "Weigh", "Windows", "all_scales", "grid_step", "half_width",
           "parts_of"]

RATIO = 2.0**-0.5
"""Each scale over the one before it."""
REACH = 5.5
"""Gaussians end at so many of their lengths 1/√v: e^{-30} is nothing."""
FINENESS = 0.62
"""Grid step in lengths of the product of a group's Gaussians: the trapezoid rule errs by 2 e^{-(π/0.62)²} = 1.4e-11."""
MOST_WINDOWS = 1 << 20
"""Pairs (reward, centre near it) that are held at once."""

Weigh = Callable[[float, float, FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
"""From a scale, its grid step, and E₀ and E₁ [column, m] to F and H."""


def grid_step(scale: float, members: int) -> float:
    """Distance of the centres m for groups of so many members."""
    return FINENESS / float(np.sqrt(scale * max(members, 4)))


def half_width(scale: float, step: float) -> int:
    """How many centres on either side a Gaussian reaches."""
    return int(np.ceil(REACH / np.sqrt(scale) / step))


def parts_of(rewards: int, half: int) -> Iterator[slice]:
    """Rewards in their order, so many at a time that their windows are held at once."""
    return blocks(rewards, 2 * half + 1, MOST_WINDOWS)


class Windows(Record):
    """The centres near each reward, and the Gaussians there: ``place`` and arrays [reward, centre near it]."""

    place: IntArray
    distance: FloatArray
    height: FloatArray
    points: int

    @classmethod
    def around(cls, levels: FloatArray, scale: float, step: float, *, first: int | None = None, points: int = 0
               ) -> Windows:
        """Around rewards in increasing order, on a grid from ``first`` · step on; without it, gaps are closed up."""
        half = half_width(scale, step)
        offsets = np.arange(-half, half + 1)
        nearest = np.rint(levels / step)
        from_nearest = levels - nearest * step
        if first is None:
            jumps = np.minimum(np.diff(nearest), 2.0 * half + 1.0)
            centre = half + np.concatenate([[0.0], np.cumsum(jumps)]).astype(np.int64)
            points = int(centre[-1]) + half + 1
        else:
            centre = nearest.astype(np.int64) - first
        return cls(place=centre[:, None] + offsets, distance=from_nearest[:, None] - offsets * step,
                   height=_heights(from_nearest, scale, step, half), points=points)

    def spread(self, mass: FloatArray) -> tuple[FloatArray, FloatArray]:
        """E₀ and E₁ on the centres, of masses by [column, reward]."""
        return self._scattered(mass, self.height), self._scattered(mass, self.height * self.distance)

    def _scattered(self, mass: FloatArray, height: FloatArray) -> FloatArray:
        flat = self.place.ravel()
        return np.array([np.bincount(flat, weights=(column[:, None] * height).ravel(), minlength=self.points)
                         for column in mass])

    def gathered(self, of_distance: FloatArray, of_one: FloatArray) -> FloatArray:
        """Σ_m e^{-v(R-m)²} ((R-m) F(m) + H(m)), [column, reward]."""
        sums = [self.distance * f[self.place] + h[self.place] for f, h in zip(of_distance, of_one, strict=True)]
        return np.array([np.einsum("rc,rc->r", self.height, each) for each in sums])


def _heights(x: FloatArray, scale: float, step: float, half: int) -> FloatArray:
    """e^{-v(x - step·o)²} for o = -half..half, [reward, o], of distances x of at most half a step.

    As e^{-vx²} · e^{2v·step·x·o} · e^{-v(step·o)²}, the second with o = coarse + fine, of which there are few each.
    """
    count = 2 * half + 1
    fine = np.arange(int(np.ceil(np.sqrt(count))))
    coarse = np.arange(-half, half + 1, len(fine))
    slope = 2.0 * scale * step * x
    sloped = np.exp(np.multiply.outer(slope, coarse))[:, :, None] * np.exp(np.multiply.outer(slope, fine))[:, None]
    offsets = np.arange(-half, half + 1) * step
    own = np.exp(-scale * x**2)[:, None] * np.exp(-scale * offsets**2)
    return sloped.reshape(len(x), -1)[:, :count] * own


class _Grid(Record):
    """The centres of one scale: step · j for j = first..last."""

    scale: float
    step: float
    first: int
    last: int

    @property
    def points(self) -> int:
        return self.last - self.first + 1


def _grids(span: float, top: float, count: int, members: int) -> list[_Grid]:
    """Scales from the top down; the step doubles whenever the length of a Gaussian has."""
    made = []
    for i in range(count):
        scale = top * RATIO**i
        step = grid_step(top, members) * 2.0 ** (i // 4)
        margin = REACH / float(np.sqrt(scale))
        # Two centres more than that, so that windows around the outermost rewards do not end beyond the grid.
        made.append(_Grid(scale=scale, step=step, first=int(np.floor(-margin / step)) - 2,
                          last=int(np.ceil((span + margin) / step)) + 2))
    return made


def all_scales(levels: FloatArray, mass: FloatArray, top: float, count: int, members: int, weigh: Weigh) -> FloatArray:
    """The sums back at each reward, of so many scales from ``top`` down, [column, reward].

    ``levels`` increase from 0, ``mass`` is [column, reward].
    """
    grids = _grids(float(levels[-1]), top, count, members)
    finest = grids[0]
    zeroth, first = _spread(levels, mass, finest)
    weighed = [weigh(finest.scale, finest.step, zeroth, first)]
    for fine, coarse in pairwise(grids):
        zeroth, first = _coarser(fine, coarse, zeroth, first)
        weighed.append(weigh(coarse.scale, coarse.step, zeroth, first))
    of_distance, of_one = weighed.pop()
    for coarse, fine in pairwise(reversed(grids)):
        more_distance, more_one = _finer(fine, coarse, of_distance, of_one)
        of_distance, of_one = weighed.pop()
        of_distance = of_distance + more_distance
        of_one = of_one + more_one
    return _gathered(levels, of_distance, of_one, finest)


def _near(levels: FloatArray, grid: _Grid) -> Iterator[tuple[slice, slice, Windows]]:
    """Some rewards at a time: which they are, the centres of the grid near them, and their windows on these."""
    half = half_width(grid.scale, grid.step)
    for part in parts_of(len(levels), half):
        low, high = (int(np.rint(levels[i] / grid.step)) for i in (part.start, part.stop - 1))
        points = high - low + 2 * half + 1
        start = low - half - grid.first
        yield part, slice(start, start + points), Windows.around(levels[part], grid.scale, grid.step, first=low - half,
                                                                 points=points)


def _spread(levels: FloatArray, mass: FloatArray, grid: _Grid) -> tuple[FloatArray, FloatArray]:
    """E₀ and E₁ on the grid, [column, m]."""
    zeroth = np.zeros((len(mass), grid.points))
    first = np.zeros_like(zeroth)
    for part, centres, windows in _near(levels, grid):
        more_zeroth, more_first = windows.spread(mass[:, part])
        zeroth[:, centres] += more_zeroth
        first[:, centres] += more_first
    return zeroth, first


def _gathered(levels: FloatArray, of_distance: FloatArray, of_one: FloatArray, grid: _Grid) -> FloatArray:
    """Back from the grid to each reward, [column, reward]."""
    sums = np.empty((len(of_one), len(levels)))
    for part, centres, windows in _near(levels, grid):
        sums[:, part] = windows.gathered(of_distance[:, centres], of_one[:, centres])
    return sums


def _kernel(fine: _Grid) -> tuple[FloatArray, FloatArray]:
    """g(y) and y·g(y) that make a scale the next: e^{-v'(r-m)²} = Σ_x e^{-v(r-x)²} g(m-x), 1/v' = 1/v + 1/b."""
    b = fine.scale * RATIO / (1.0 - RATIO)
    half = int(np.ceil(REACH / np.sqrt(b) / fine.step))
    y = np.arange(-half, half + 1) * fine.step
    g = np.sqrt((fine.scale + b) / np.pi) * fine.step * np.exp(-b * y**2)
    return g, y * g


def _coarser(fine: _Grid, coarse: _Grid, zeroth: FloatArray, first: FloatArray) -> tuple[FloatArray, FloatArray]:
    """E₀ and E₁ of the next scale: (r-m) = (r-x) + (x-m)."""
    g, sloped = _kernel(fine)
    by = round(coarse.step / fine.step)

    def moved(x: FloatArray) -> FloatArray:
        return _fitted(x, fine.first - len(g) // 2, by * coarse.first, by * coarse.last)[:, ::by]

    return moved(_convolved(zeroth, g)), moved(_convolved(first, g) - _convolved(zeroth, sloped))


def _finer(fine: _Grid, coarse: _Grid, of_distance: FloatArray, of_one: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The adjoint: F and H of the scale before, with the same sums; (R-m) = (R-x) + (x-m)."""
    g, sloped = _kernel(fine)
    by = round(coarse.step / fine.step)

    def moved(x: FloatArray) -> FloatArray:
        return _fitted(x, by * coarse.first - len(g) // 2, fine.first, fine.last)

    def between(x: FloatArray) -> FloatArray:
        if by == 1:
            return x
        wide = np.zeros((len(x), by * (x.shape[1] - 1) + 1))
        wide[:, ::by] = x
        return wide

    f = between(of_distance)
    h = between(of_one)
    return moved(_convolved(f, g)), moved(_convolved(h, g) + _convolved(f, sloped))


def _convolved(x: FloatArray, kernel: FloatArray) -> FloatArray:
    """Each column with the kernel, in full."""
    return np.array([np.convolve(column, kernel) for column in x])


def _fitted(x: FloatArray, first: int, low: int, high: int) -> FloatArray:
    """Entries low..high of an array whose entries are numbered from ``first``; 0 where it has none."""
    made = np.zeros((len(x), high - low + 1))
    start = max(first, low)
    stop = min(first + x.shape[1] - 1, high)
    if stop >= start:
        made[:, start - low:stop - low + 1] = x[:, start - first:stop - first + 1]
    return made
