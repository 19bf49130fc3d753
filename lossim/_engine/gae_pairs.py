"""GAE where every pair of position and length is summed, in blocks: a λ that depends on the length, O(N²)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lossim._support.positions import discounted_rows
from lossim._support.records import Record
from lossim._support.types import FloatArray
from lossim.advantages import GAE

MOST_ENTRIES = 1 << 23
"""Entries [cell, end, t] held at once where every pair of position and length is summed."""


class Block(Record):
    """Some ends and their ``x`` [end], with x^{T-t}·1[t <= T] as ``power`` [end, t].

    ``base`` [cell, end, t] is Σ_{u=t}^{T-1} x^{u-t} δ_u, or None where all δ are 0.
    """

    ends: slice
    x: FloatArray
    power: FloatArray
    base: FloatArray | None


def pair_blocks(gae: GAE, length: FloatArray, going: FloatArray) -> Iterator[Block]:
    """All ends, block by block; x = γλ(T), of which a constant λ is the special case."""
    size = int(np.clip(MOST_ENTRIES // going.size, 1, 256))
    positions = np.arange(1.0, going.shape[1] + 1.0)
    for start in range(0, len(length), size):
        ends = slice(start, start + size)
        x = gae.discount_by_length(length[ends])
        gap = length[ends][:, None] - positions
        power = np.where(gap >= 0, np.power(x[:, None], np.maximum(gap, 0.0)), 0.0)
        base = None
        if going.any():
            base = discounted_rows(np.where(gap > 0, going[:, None, :], 0.0), x)
        yield Block(ends=ends, x=x, power=power, base=base)


def credit_by_pairs(gae: GAE, length: FloatArray, going: FloatArray, measure: FloatArray, credited: FloatArray
                    ) -> FloatArray:
    """Σ_{end>t} of μ·Â_t(T), [cell, outcome or 1, t]; over the ends that responses have, few in a log."""
    total = np.zeros((*measure.shape[:2], going.shape[1]))
    taken = np.flatnonzero((measure != 0).any(axis=(0, 1)) | (credited != 0).any(axis=(0, 1)))
    given, paid = measure[:, :, taken], credited[:, :, taken]
    for block in pair_blocks(gae, length[taken], going):
        total += paid[:, :, block.ends] @ block.power
        if block.base is not None:
            total += given[:, :, block.ends] @ block.base
    total[:, :2] -= credited[:, :2, :-1]
    return total


def sums_by_pairs(gae: GAE, length: FloatArray, going: FloatArray, last: FloatArray
                  ) -> tuple[FloatArray, FloatArray]:
    """Σ_t Â_t and Σ_t Â_t², [cell, grade, end]."""
    first = np.zeros_like(last)
    second = np.zeros_like(last)
    for block in pair_blocks(gae, length, going):
        advantage = last[:, :, block.ends, None] * block.power
        if block.base is not None:
            advantage = advantage + block.base[:, None]
        first[:, :, block.ends] = advantage.sum(axis=-1)
        second[:, :, block.ends] = (advantage**2).sum(axis=-1)
    return first, second


def projection_by_pairs(gae: GAE, length: FloatArray, going: FloatArray, last: FloatArray, stop: FloatArray,
                        go: FloatArray) -> FloatArray:
    """Σ_t Â_t · score_t, [cell, grade, end], for scores of the tokens that stop and that go on, [cell, t]."""
    total = np.zeros_like(last)
    positions = np.arange(going.shape[1])
    for block in pair_blocks(gae, length, going):
        goes_on = positions < np.arange(len(length))[block.ends, None]
        seen = go @ (block.power * goes_on).T
        total[:, :, block.ends] = last[:, :, block.ends] * seen[:, None]
        if block.base is not None:
            total[:, :, block.ends] += np.einsum("cet,ct->ce", block.base, go)[:, None]
    total[:, :, :-1] += last[:, :, :-1] * stop[:, None]
    return total
