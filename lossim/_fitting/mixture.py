"""Laws of length by class, from responses of which the log has mixtures of classes.

A law of length is a density f over positions and a share q that is cut at max_tokens; hazards follow, h(t) = f(t)/S(t)
with S(t) = f(t) + f(t+1) + ... + q. Cells of positions hold about equally many of the logged responses. A cell keeps
its share of them; inside it, f(t) is exponential in t with the mean that the log has there, the law of most entropy
that has both (docs/derivations.md, section 17).
"""

from __future__ import annotations

import numpy as np

from lossim._support.records import Record
from lossim._support.types import FloatArray, IntArray

LEAST = 3
"""Responses that a cell holds at least, where positions of their own do not make it smaller."""
ROUNDS = 200
"""Rounds of EM at most."""


class Cells(Record):
    """Runs of positions 1..N: ``last`` position of each, ``raw`` if each position is one and nothing is smoothed."""

    last: IntArray
    raw: bool

    @property
    def first(self) -> IntArray:
        """First position of each cell."""
        return np.concatenate([[1], self.last[:-1] + 1])

    @property
    def width(self) -> IntArray:
        """Positions in each cell."""
        return self.last - self.first + 1

    def of(self, lengths: IntArray) -> IntArray:
        """Cell of each length."""
        return np.searchsorted(self.last, lengths)


def make_cells(lengths: IntArray, max_tokens: int, smoothing: float) -> Cells:
    """Cells that cut the lengths into equal parts; a position that holds as many as two cells is one by itself.

    The first and the last part are halved again and again towards the ends, down to ``LEAST`` responses: the shortest
    responses weigh much where a loss divides by the length, and the longest take much of the mean.
    """
    if smoothing == 0.0:
        return Cells(last=np.arange(1, max_tokens + 1), raw=True)
    n = len(lengths)
    count = int(max(1, min(np.ceil(n ** (1.0 / 3.0) / smoothing), n // LEAST)))
    here = np.bincount(lengths, minlength=max_tokens + 1)
    crowded = np.flatnonzero(here >= max(2.0 * n / count, LEAST))

    # so many responses lie before each edge: equal parts, the outer ones halved again and again
    tail = n // count // 2 ** np.arange(1, 40)
    tail = tail[tail >= LEAST]
    before = np.concatenate([tail, n * np.arange(1, count) // count, n - tail])

    # an edge where nobody stops for a while is put in the middle of that gap, by ratio
    upto = np.cumsum(here)
    below = np.searchsorted(upto, before)
    above = np.searchsorted(upto, before, side="right")
    between = np.floor(np.sqrt(below * np.maximum(above - 1.0, below))).astype(np.int64)
    last = np.unique(np.concatenate([between, crowded, crowded - 1, [max_tokens]]))
    return Cells(last=last[(last >= 1) & (last <= max_tokens)], raw=False)


def slopes(cells: Cells, counts: FloatArray, sums: FloatArray) -> FloatArray:
    """θ per cell such that f ∝ exp(θ t) has the mean of the cell's lengths, from how many they are and their sum.

    A mean closer to the cell's edge than the range over 2 (n + 1) is taken to be there: n responses show no more. A
    cell without responses falls off away from its neighbour in the same way.
    """
    # where in its cell the mean is, away from the edges
    span = cells.width - 1.0
    nearest = span / (2.0 * (np.where(counts > 0, counts, counts.sum()) + 1.0))
    empty = np.where(cells.first == 1, span, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        place = np.where(counts > 0, sums / counts - cells.first, empty)
    place = np.clip(place, nearest, span - nearest)

    # the slope that puts it there, by bisection in all cells at once
    low = np.full(len(span), -40.0)
    high = np.full(len(span), 40.0)
    width = cells.width
    for _ in range(64):
        middle = (low + high) / 2.0
        # the mean of 0..w-1 under weights exp(θ · place): w/(1 - e^(-θw)) - 1/(1 - e^(-θ)), near θ = 0 by its expansion
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            exact = width / -np.expm1(-middle * width) - 1.0 / -np.expm1(-middle)
        flat = (width - 1.0) / 2.0 + (width**2 - 1.0) * middle / 12.0
        rising = np.where(np.abs(middle) * width < 1e-4, flat, exact) < place
        low = np.where(rising, middle, low)
        high = np.where(rising, high, middle)
    return np.where(span > 0, (low + high) / 2.0, 0.0)


def class_laws(counts: FloatArray, shares: FloatArray, middle: FloatArray, raw: bool) -> FloatArray:
    """Masses [class, cell + 1] of the law of each class; the last column is the share that was cut.

    ``counts`` [row, cell + 1] are of responses of one outcome whose prompts belong to the classes with
    probabilities ``shares`` [row, class]. By EM over which class a response comes from, the rows' shares given, so
    that a row of mixed prompts teaches each class no more than it can, and no class is blurred into another: of the
    responses c_kb of row k in cell b, class j has Σ_k c_kb W_kj f_j(b) / Σ_i W_ki f_i(b), and f_j follows from these.

    A class gets, beside its own responses, one pseudo-response per cell, spread as the law of all classes tilted
    to fit the class: times exp(a x + b x²), x the log position (``middle`` of the cell). Lognormal laws differ by
    such a factor exactly. Few responses so give the tilted common law, many their own. The share that was cut
    gets one pseudo-response with the common share. All cells together get half a response more than were logged,
    evenly, so that nothing is impossible. ``raw`` leaves all of this out.
    """
    # the law of all classes together, and the common share that was cut
    total = counts.sum(axis=0)
    cells = len(middle)
    stops = float(total[:-1].sum())
    cut = float(total[-1])
    one = float(not raw)
    common = (total[:-1] + 0.5 * one / cells) / max(stops + 0.5 * one, 0.5)
    everyone = stops + cut if stops or raw else cut + 0.5
    cut_share = cut / everyone if cut else 0.0
    laws = np.tile(np.append(common * (1.0 - cut_share), cut_share), (shares.shape[1], 1))
    if shares.shape[1] == 1:
        return laws

    # x and x², x the log position, standardised under the common law
    with np.errstate(divide="ignore"):
        x = np.log(middle)
        log_common = np.log(common)
    x = x - common @ x
    x = x / max(float(np.sqrt(common @ x**2)), 1e-12)
    basis = np.stack([x, x**2])

    # EM: each class's part of the responses, then its law from these and the pseudo-responses
    tilt = np.zeros((len(laws), 2))
    pseudo = one * cells
    for _ in range(ROUNDS):
        mixed = np.maximum(shares @ laws, 1e-300)
        mine = laws * (shares.T @ (counts / mixed))
        stopped = mine[:, :-1].sum(axis=1, keepdims=True)
        target = laws[:, :-1]
        if pseudo:
            tilt, target = _tilted(tilt, mine[:, :-1], basis, log_common)
        own = (mine[:, :-1] + pseudo * target) / np.maximum(stopped + pseudo, 1e-300)
        q = (mine[:, -1:] + one * cut_share) / np.maximum(stopped + mine[:, -1:] + one, 1e-300)
        before = laws
        laws = np.hstack([own * (1.0 - q), q])
        if np.abs(laws - before).max() < 1e-6:
            break
    return laws


def _tilted(tilt: FloatArray, counts: FloatArray, basis: FloatArray, log_common: FloatArray
            ) -> tuple[FloatArray, FloatArray]:
    """One Newton step for the tilts [class, 2] by penalised likelihood (a normal prior of variance 1), and the laws.

    Of Σ_b n_b log f(b) - (a² + b²)/2 with f ∝ common · exp(a x + b x²), the slope is Σ_b n_b (x, x²) - n E_f[(x, x²)] -
    (a, b), and minus the curvature n Cov_f(x, x²) + 1. Steps are at most 1 in each tilt.
    """
    def law(tilt: FloatArray) -> FloatArray:
        logs = log_common + tilt @ basis
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    here = law(tilt)
    n = counts.sum(axis=1)
    mean = here @ basis.T
    spread = np.einsum("jb,pb,qb->jpq", here, basis, basis) - mean[:, :, None] * mean[:, None, :]
    slope = counts @ basis.T - n[:, None] * mean - tilt
    step = np.linalg.solve(n[:, None, None] * spread + np.eye(2), slope[:, :, None])[:, :, 0]
    step /= np.maximum(np.abs(step).max(axis=1, keepdims=True), 1.0)
    return tilt + step, law(tilt + step)


def hazard_logits(masses: FloatArray, cells: Cells, slope: FloatArray, responses: float) -> FloatArray:
    """Hazard logits [law, t] of laws with masses [law, cell + 1] and slopes [cell].

    Where nothing was cut the hazard at max_tokens would be 1, an infinite logit that no training moves. Such a law
    is cut with its density at max_tokens instead, but at most a hundredth of one of its ``responses``.
    """
    # the density: a cell's mass, spread by its slope
    width = cells.width
    size = np.abs(slope)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.where(size > 1e-12, np.expm1(-size * width) / np.expm1(-size), width)
        inside = -np.log(total) - np.maximum(slope, 0.0) * (width - 1.0)
        log_mass = np.log(masses)
    place = np.arange(cells.last[-1]) + 1 - np.repeat(cells.first, width)
    log_f = np.repeat(log_mass[:, :-1] + inside, width, axis=1) + np.repeat(slope, width) * place

    # the share that was cut, which is not nothing unless the law is raw
    log_cut = log_mass[:, -1:]
    if not cells.raw:
        least = np.minimum(log_f[:, -1:], np.log(0.01 / max(responses, 1.0)))
        log_cut = np.where(np.isneginf(log_cut), least, log_cut)

    # logit h(t) = log f(t) - log(S(t) - f(t)), sums from the end
    after = np.logaddexp.accumulate(np.hstack([log_f[:, 1:], log_cut])[:, ::-1], axis=1)[:, ::-1]
    with np.errstate(invalid="ignore"):
        logits: FloatArray = log_f - after
    logits[np.isneginf(log_f)] = -np.inf  # also beyond the last response of a raw law, where nobody gets
    return logits
