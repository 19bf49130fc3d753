"""Sums and linear recurrences along positions, and along chains of states that follow one another."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from scipy.linalg.lapack import dtbtrs

from lossim._support.types import FloatArray, IntArray

BLOCK = 1 << 16
"""Numbers per block of rows: the temporaries of a block stay in a processor's cache and come from the heap, not page
by page from the operating system, so that time stays proportional to size."""
STEP = 8
"""Positions that a discounted sum takes together, by one product with a triangle of powers of the discount."""
FAINT = 1e-290
"""What has faded below this is dropped by a discounted sum: on its way down to denormal numbers, which cost a hundred
times as much each."""


def log_survival(log_stay: FloatArray) -> FloatArray:
    """log P(T >= t), t = 1..N+1, from log (1 - h); the last entry is the log of the truncated mass."""
    return before(log_stay)


def blocks(rows: int, columns: int, most: int = BLOCK) -> Iterator[slice]:
    """Slices of rows, at most so many numbers each, or one row.

    >>> list(blocks(3, 40_000))
    [slice(0, 1, None), slice(1, 2, None), slice(2, 3, None)]
    """
    size = max(most // columns, 1)
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def after(x: FloatArray) -> FloatArray:
    """Sums over the ends that lie beyond each position: [..., N+1] → [..., N], Σ_{end > t} x(end).

    The last column of ``x`` (truncated) lies beyond every position.

    >>> after(np.array([1.0, 2.0, 4.0]))
    array([6., 4.])
    """
    sums = np.empty((*x.shape[:-1], x.shape[-1] - 1))
    np.cumsum(x[..., :0:-1], axis=-1, out=sums[..., ::-1])
    return sums


def before(x: FloatArray) -> FloatArray:
    """Sums over the tokens that a response went on at, by its end: [..., N] → [..., N+1].

    A response that stopped at t went on at 1..t-1; a truncated one at all N positions.

    >>> before(np.array([1.0, 2.0]))
    array([0., 1., 3.])
    """
    sums = np.empty((*x.shape[:-1], x.shape[-1] + 1))
    sums[..., 0] = 0.0
    np.cumsum(x, axis=-1, out=sums[..., 1:])
    return sums


def along(stop: FloatArray, go: FloatArray) -> FloatArray:
    """Sums over all tokens of a response of a number that depends on the token's role: [..., N] → [..., N+1].

    >>> along(np.array([10.0, 20.0]), np.array([1.0, 2.0]))
    array([10., 21.,  3.])
    """
    sums = before(go)
    sums[..., :-1] += stop
    return sums


def discounted_sum(x: FloatArray, discount: float, out: FloatArray | None = None) -> FloatArray:
    """y_t = x_t + discount · y_{t+1} along the last axis, y_{N+1} = 0; ``x`` finite, ``discount`` from 0 to 1.

    ``out`` [row, t], if given, takes the sums; it may be ``x`` itself.

    >>> discounted_sum(np.array([1.0, 1.0, 4.0]), 0.5)
    array([2.5, 3. , 4. ])
    """
    y: FloatArray = np.empty(x.shape) if out is None else out
    terms, sums = (a.reshape(-1, x.shape[-1]) for a in (x, y))
    triangles = _triangles(float(discount), x.shape[-1])
    for rows in blocks(*terms.shape):
        _discount(terms[rows], triangles, sums[rows])
    return y


def discounted_rows(x: FloatArray, discount: FloatArray) -> FloatArray:
    """y_t = x_t + discount_row · y_{t+1} for ``x`` [..., row, t] and a discount from 0 to 1 of each row, by doubling.

    After k rounds an entry sums 2^k terms.

    >>> discounted_rows(np.array([[1.0, 1.0, 4.0], [1.0, 1.0, 4.0]]), np.array([0.5, 0.0]))
    array([[2.5, 3. , 4. ],
           [1. , 1. , 4. ]])
    """
    y = x.copy()
    factor = discount[:, None]
    shift = 1
    while shift < x.shape[-1]:
        y[..., :-shift] += factor * y[..., shift:]
        factor = factor * factor
        shift = 2 * shift
    return y


def running_sum(x: FloatArray, discount: float) -> FloatArray:
    """y_t = x_t + discount · y_{t-1} along the last axis, y_0 = 0: the discounted sum from the other end.

    >>> running_sum(np.array([4.0, 1.0, 1.0]), 0.5)
    array([4. , 3. , 2.5])
    """
    return discounted_sum(x[..., ::-1], discount)[..., ::-1]


def running_rows(x: FloatArray, discount: FloatArray) -> FloatArray:
    """y_t = x_t + discount_row · y_{t-1} for ``x`` [..., row, t]: :func:`discounted_rows` from the other end.

    >>> running_rows(np.array([[4.0, 1.0, 1.0], [4.0, 1.0, 1.0]]), np.array([0.5, 0.0]))
    array([[4. , 3. , 2.5],
           [4. , 1. , 1. ]])
    """
    return discounted_rows(x[..., ::-1], discount)[..., ::-1]


@lru_cache(maxsize=16)
def _triangles(discount: float, positions: int) -> tuple[FloatArray, ...]:
    """Lower triangles of discount^(span · (i - j)), one per level: span 1, ``STEP``, ``STEP``², ...

    A level has one entry for each ``STEP`` of the level below it; the last one takes all of its entries together.
    """
    made = []
    span = 1
    while True:
        size = STEP if positions > STEP**2 else positions
        steps = np.arange(size)
        powers = discount ** (1.0 * span * steps)
        powers[powers < FAINT] = 0.0
        made.append(np.tril(powers[np.subtract.outer(steps, steps)]))
        if size == positions:
            return tuple(made)
        positions = -(-positions // size)
        span = span * size


def _discount(x: FloatArray, triangles: tuple[FloatArray, ...], y: FloatArray) -> None:
    """Write the discounted sums of the rows of ``x`` into ``y``.

    The sums over each ``STEP`` positions are the terms of the next level; what that level finds to come after a step
    is added to the step's last term, and a product with the triangle then sums within the steps.
    """
    triangle, *above = triangles
    if not above:
        np.matmul(x, triangle, out=y)
        return
    rows, positions = x.shape
    terms = np.zeros((rows, -(-positions // STEP), STEP))
    terms.reshape(rows, -1)[:, :positions] = x
    from_here = np.empty(terms.shape[:2])
    _discount(terms @ triangle[:, 0], tuple(above), from_here)
    from_here[np.abs(from_here) < FAINT] = 0.0
    terms[:, :-1, -1] += triangle[1, 0] * from_here[:, 1:]
    flat = terms.reshape(-1, STEP)
    if positions % STEP == 0 and y.flags.c_contiguous:
        np.matmul(flat, triangle, out=y.reshape(-1, STEP))
    else:
        y[:] = (flat @ triangle).reshape(rows, -1)[:, :positions]


def backward_recurrence(factor: FloatArray, x: FloatArray) -> FloatArray:
    """y_t = x_t + factor_t · y_{t+1} with y_{N+1} = 0, for ``x`` [..., t] and ``factor`` [t]; by LAPACK.

    >>> backward_recurrence(np.array([0.5, 0.25, 9.0]), np.array([1.0, 1.0, 4.0]))
    array([2., 2., 4.])
    """
    band = np.ones((2, len(factor)), order="F")
    band[0] = -np.roll(factor, 1)
    solution, _ = dtbtrs(band, x.reshape(-1, x.shape[-1]).T, uplo="U", diag="U")  # never singular
    return solution.T.reshape(x.shape)


def forward_recurrence(factor: FloatArray, x: FloatArray) -> FloatArray:
    """y_t = x_t + factor_{t-1} · y_{t-1} with y_0 = 0, for ``x`` [..., t] and ``factor`` [t], whose last is not used.

    >>> forward_recurrence(np.array([0.5, 0.25, 9.0]), np.array([1.0, 1.0, 4.0]))
    array([1.   , 1.5  , 4.375])
    """
    return backward_recurrence(np.roll(factor, 1)[::-1], x[..., ::-1])[..., ::-1]


# --- chains of states: a response in the cell ``source`` is in the next cell, source + 1, from some position on ------


def one_ahead(x: FloatArray, source: IntArray, arrival: FloatArray) -> FloatArray:
    """E[x at t+1 | in the cell at t and going on], [..., cell, t]: of the next cell after a move; 0 behind the cap.

    ``source`` [move] are the cells that are left, ``arrival`` [move, t] the chance to leave at the start of t.

    >>> one_ahead(np.array([[1.0, 2.0], [5.0, 6.0]]), np.array([0]), np.array([[0.0, 0.25]]))
    array([[3., 0.],
           [6., 0.]])
    """
    later = np.zeros_like(x)
    later[..., :-1] = x[..., 1:]
    moved = later[..., source + 1, :-1] - later[..., source, :-1]
    later[..., source, :-1] += arrival[:, 1:] * moved
    return later


def backward_chain(factor: FloatArray, x: FloatArray, source: IntArray, arrival: FloatArray) -> FloatArray:
    """y_t = x_t + factor_t · E[y_{t+1}], all [cell, t], with the expectation of :func:`one_ahead`.

    >>> backward_chain(np.full((2, 2), 0.5), np.ones((2, 2)), np.array([0]), np.array([[0.0, 1.0]]))
    array([[1.5, 1. ],
           [1.5, 1. ]])
    """
    y = np.empty_like(x)
    move_from = dict(zip(source.tolist(), arrival, strict=True))
    for cell in reversed(range(len(x))):  # the cell that is moved to comes first
        own = factor[cell]
        terms = x[cell]
        if cell in move_from:
            moves = np.append(move_from[cell][1:], 0.0)
            terms = terms + own * moves * np.append(y[cell + 1, 1:], 0.0)
            own = own * (1.0 - moves)
        y[cell] = backward_recurrence(own, terms)
    return y
