"""Sums by sign over all that lies ahead of each position, where the sign hangs on both: O(N log² N) in each row.

A number b_t + x^{v-t} y_v of two positions t <= v is summed over v where it is positive, and where it is negative.
Positions are cut in short blocks, within which all pairs are gone through, and these in spans twice as long, and again.
At each length the left one of two neighbouring spans looks into the right one, so that every pair is met once. From
its first position v₀ on the right span holds x^{v-v₀} y_v, which t sees shrunk by x^{v₀-t}: powers stay at most 1. The
sign changes at -b_t / x^{v₀-t}. These turns are sorted with the values, and cumulative sums then say the rest.
"""

from __future__ import annotations

import numpy as np

from lossim._support.positions import blocks
from lossim._support.types import FloatArray, IntArray

SHORT = 8
"""Positions of the blocks in which all pairs are gone through."""
TINY = 1e-280
"""A power of the discount below which a position sees nothing of what lies so far ahead."""


def sums_ahead(base: FloatArray, value: FloatArray, weight: FloatArray, x: FloatArray) -> FloatArray:
    """Σ_{v>=t} w_v max(b_t + x^{v-t} y_v, 0), and the same with min, [sign, row, t].

    ``base`` b and ``value`` y [row, t]; ``weight`` w, one for both signs or one for each, [1 or 2, row, t]; ``x`` [row]
    from 0 to 1.

    >>> base, value = np.array([[1.0, -1.0, 0.5]]), np.array([[0.0, 3.0, -4.0]])
    >>> sums_ahead(base, value, np.ones((1, 1, 3)), np.array([0.5]))
    array([[[ 3.5,  2. ,  0. ]],
    <BLANKLINE>
           [[ 0. , -3. , -3.5]]])
    """
    positions = base.shape[1]
    size = SHORT << int(np.ceil(np.log2(max(positions / SHORT, 1.0))))
    found = np.empty((2, *base.shape))
    for rows in blocks(len(base), size):
        b, y, w = (_padded(a, size) for a in (base[rows], value[rows], weight[:, rows]))
        power = x[rows, None] ** np.arange(max(size // 2, SHORT) + 1.0)
        sums = _within_blocks(b, y, w, power)
        span = SHORT
        while span < size:
            sums += _of_neighbours(b, y, w, power, span)
            span = 2 * span
        found[:, rows] = sums[:, :, :positions]
    return found


def _padded(a: FloatArray, size: int) -> FloatArray:
    """[..., t] with zeros behind it."""
    wide = np.zeros((*a.shape[:-1], size))
    wide[..., : a.shape[-1]] = a
    return wide


def _within_blocks(base: FloatArray, value: FloatArray, weight: FloatArray, power: FloatArray) -> FloatArray:
    """The sums over v in the block of t, [sign, row, t]; ``power`` [row, gap]."""
    gap = np.subtract.outer(np.arange(SHORT), np.arange(SHORT))  # v - t, [v, t]
    later = gap >= 0
    seen = np.where(later, power[:, np.maximum(gap, 0)], 0.0)[:, None]
    b, y, w = (a.reshape(*a.shape[:-1], -1, SHORT) for a in (base, value, weight))
    number = later * (b[:, :, None] + seen * y[..., None])
    above = w[0][:, :, None] @ np.maximum(number, 0.0)
    below = w[-1][:, :, None] @ np.minimum(number, 0.0)
    return np.stack([above, below]).reshape(2, *base.shape)


def _of_neighbours(base: FloatArray, value: FloatArray, weight: FloatArray, power: FloatArray, span: int) -> FloatArray:
    """The sums over v in the right one of two neighbouring spans, of t in the left one, [sign, row, t]; else 0."""
    b, y, w = (a.reshape(*a.shape[:-1], -1, 2, span) for a in (base, value, weight))
    b = b[:, :, 0]
    y = y[:, :, 1] * power[:, None, :span]
    w = w[:, :, :, 1]
    reach = power[:, None, span:0:-1]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        turn = np.where(reach > TINY, -b / reach, np.where(b > 0, -np.inf, np.inf))
    keys = np.concatenate([turn, y], axis=-1).reshape(-1, 2 * span)
    order = np.argsort(keys, axis=-1) + 2 * span * np.arange(len(keys))[:, None]
    # Of each turn: the weights, and weights times values, that lie below it, [1 or 2, row, pair, t].
    count, count_in_all = _up_to(order, w)
    total, total_in_all = _up_to(order, w * y)
    sums = np.zeros((2, *b.shape[:2], 2, span))
    sums[0, :, :, 0] = b * (count_in_all[0] - count[0]) + reach * (total_in_all[0] - total[0])
    sums[1, :, :, 0] = b * count[-1] + reach * total[-1]
    return sums.reshape(2, *base.shape)


def _up_to(order: IntArray, terms: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sums of terms that are sorted before each turn [..., t], and of all terms [..., 1].

    ``order`` [row, place] are flat places in rows of turns first and then terms; ``terms`` [..., v].
    """
    span = terms.shape[-1]
    wide = np.zeros((*terms.shape[:-1], 2 * span))
    wide[..., span:] = terms
    flat = wide.reshape(-1, *order.shape)
    sums = np.empty_like(flat)
    for each, into in zip(flat, sums, strict=True):
        into.ravel()[order] = np.cumsum(each.ravel()[order], axis=-1)
    return sums.reshape(wide.shape)[..., :span], terms.sum(axis=-1, keepdims=True)
