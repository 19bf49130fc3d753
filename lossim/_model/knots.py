"""Knots in the logarithm of the position, between which kernels of a family are linear, and sums over positions there.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np

from lossim._support.records import Record
from lossim._support.types import FloatArray, IntArray

KNOTS_APART = 0.7
"""Distance of knots in log position, about."""


class Knots(Record):
    """Where the knots are, ``positions`` from 1 to ``max_tokens``, [knot]; their weights φ_k(t) are linear between."""

    max_tokens: int
    positions: IntArray

    @staticmethod
    @lru_cache(maxsize=8)
    def of(max_tokens: int) -> Knots:
        """The knots of all policies with that cap."""
        count = 1 + int(np.ceil(np.log(max_tokens) / KNOTS_APART))
        evenly = np.rint(np.geomspace(1, max_tokens, count)).astype(np.int64)
        return Knots(max_tokens=max_tokens, positions=np.unique(evenly))

    @cached_property
    def _starts(self) -> IntArray:
        """The column of each knot."""
        return self.positions - 1

    @cached_property
    def _beyond(self) -> FloatArray:
        """How far each position lies beyond the knot before it, as a share of the way to the next, [t]."""
        position = np.arange(1, self.max_tokens + 1)
        before = np.searchsorted(self.positions, position, side="right") - 1
        gaps = np.append(np.diff(self.positions), 1)
        return (position - self.positions[before]) / gaps[before]

    @cached_property
    def _squares(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The products of the weights of the knots before and behind each position, [t]: both of one, and of two."""
        before = 1.0 - self._beyond
        return before**2, self._beyond**2, before * self._beyond

    def sums(self, x: FloatArray) -> FloatArray:
        """Σ_t x(t)·φ_k(t), [..., t] → [..., knot]: the transpose of linear interpolation."""
        whole = np.add.reduceat(x, self._starts, axis=-1)
        beyond = np.add.reduceat(x * self._beyond, self._starts, axis=-1)
        whole -= beyond
        whole[..., 1:] += beyond[..., :-1]
        return whole

    def squares(self, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Σ_t w(t)·φ_k(t)² [..., knot] and Σ_t w(t)·φ_k(t)φ_{k+1}(t) [..., knot - 1]."""
        own, behind, both = (np.add.reduceat(weight * square, self._starts, axis=-1) for square in self._squares)
        own[..., 1:] += behind[..., :-1]
        return own, both[..., :-1]
