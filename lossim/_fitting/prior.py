"""The law of solve rates that a log tells: the prior of each prompt's own rate, by maximum likelihood.

A prompt has a solve rate p drawn from an unknown law and k correct answers of n. All that the likelihood knows of the
log is how many prompts have each pair (k, n), so cost does not grow with prompts (docs/derivations.md, section 17).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import xlog1py, xlogy

from lossim._support.records import Record
from lossim._support.types import FloatArray, IntArray

CONVERGED = 1e-9
"""Largest directional derivative left: times the prompts it bounds what the log likelihood is short of its maximum."""
LIGHT = 1e-12
"""Weights below this are dropped."""
LOST = 2.0
"""Nats of log likelihood that fewer classes may cost."""
EDGE, SMALL = 0.002, 1.0
"""A solve rate this close to 0 or 1 is put there, if that costs less than so many nats."""


class Counts(Record):
    """How many prompts have how many correct answers of how many: ``prompts`` [pair], ``correct``, ``answers``."""

    correct: FloatArray
    answers: FloatArray
    prompts: FloatArray

    @property
    def total(self) -> float:
        """Number of prompts."""
        return float(self.prompts.sum())

    def likelihood(self, points: FloatArray) -> FloatArray:
        """P(answers | p) over its largest value, [pair, point]: p^k (1-p)^(n-k), binomial coefficients left out."""
        k = self.correct[:, None]
        left = (self.answers - self.correct)[:, None]
        best = k / self.answers[:, None]
        top = xlogy(k, best) + xlog1py(left, -best)
        return np.asarray(np.exp(xlogy(k, points) + xlog1py(left, -points) - top))

    def log_of(self, mixed: FloatArray) -> float:
        """The log likelihood of prompts whose answers have these likelihoods, [pair]."""
        with np.errstate(divide="ignore"):
            return float(self.prompts @ np.log(mixed))


class Prior(Record):
    """A law of solve rates: ``points`` (increasing) with ``weights``, and the log likelihood of a log, nats.

    Of its correct answers, over what each prompt's own rate k/n would give: at most 0.
    """

    points: FloatArray
    weights: FloatArray
    log_likelihood: float


def _weighed(counts: Counts, points: FloatArray, weights: FloatArray) -> Prior:
    """The law with these points and weights, in order and normalised, and its log likelihood."""
    order = np.argsort(points)
    weights = weights[order] / weights.sum()
    mixed = counts.likelihood(points[order]) @ weights
    return Prior(points=points[order], weights=weights, log_likelihood=counts.log_of(mixed))


def posterior(counts: Counts, prior: Prior) -> FloatArray:
    """P(point | k of n), [pair, point]; the weights where k of n cannot happen."""
    joint = counts.likelihood(prior.points) * prior.weights
    total = joint.sum(axis=1, keepdims=True)
    return np.where(total > 0, joint / np.where(total > 0, total, 1.0), prior.weights)


def directional_derivative(counts: Counts, prior: Prior) -> Callable[[FloatArray], FloatArray]:
    """D(p) = mean over prompts of P(answers | p)/P(answers) - 1; at the maximum ≤ 0, and 0 at the points."""
    mixed = counts.likelihood(prior.points) @ prior.weights
    per_prompt = counts.prompts / mixed / counts.total

    def derivative(points: FloatArray) -> FloatArray:
        return np.asarray(per_prompt @ counts.likelihood(points) - 1.0)

    return derivative


def npmle(counts: Counts) -> Prior:
    """The law of solve rates under which the log is most likely, any law allowed.

    It has finitely many points (Lindsay 1983, Ann. Statist. 11, 86). Each round adds every local maximum of the
    directional derivative and solves for all weights by a Newton step under w ≥ 0, with a line search (Wang 2007,
    J. R. Statist. Soc. B 69, 185).
    """
    # a grid that is finer near 0 and 1, and the more so the more answers a prompt has
    steps = 60 + 10 * int(np.sqrt(counts.answers.max().clip(max=2500.0)))
    grid = np.sin(np.linspace(0.0, np.pi / 2.0, steps)) ** 2

    # rounds, from a coarse law until no point is missing
    start = np.unique(np.append(grid[::12], grid[-1]))
    best = _reweighted(counts, start, np.full(len(start), 1.0 / len(start)))
    for _ in range(200):
        found = _maxima(counts, best, grid)
        if not found.size:  # the maximum
            break
        points, first = np.unique(np.concatenate([best.points, found]), return_index=True)
        new = _reweighted(counts, points, np.concatenate([best.weights, np.zeros(len(found))])[first])
        if new.log_likelihood <= best.log_likelihood + 1e-12 * counts.total:
            break
        best = new
    return _clustered(counts, best)


def _maxima(counts: Counts, prior: Prior, grid: FloatArray) -> FloatArray:
    """Where the directional derivative is positive and largest nearby, refined between the grid's points."""
    derivative = directional_derivative(counts, prior)

    # the grid's local maxima
    values = np.concatenate([[-np.inf], derivative(grid), [-np.inf]])
    tops = np.flatnonzero((values[1:-1] >= values[:-2]) & (values[1:-1] > values[2:]))

    # golden section between their neighbours, all at once: one of the two points within is one of the next two
    low = grid[np.maximum(tops - 1, 0)]
    high = grid[np.minimum(tops + 1, len(grid) - 1)]
    golden = (np.sqrt(5.0) - 1.0) / 2.0
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = derivative(left), derivative(right)
    for _ in range(40):
        rising = at_left < at_right
        low, high = np.where(rising, left, low), np.where(rising, high, right)
        new = np.where(rising, low + golden * (high - low), high - golden * (high - low))
        at_new = derivative(new)
        left, right = np.where(rising, right, new), np.where(rising, new, left)
        at_left, at_right = np.where(rising, at_right, at_new), np.where(rising, at_new, at_left)
    candidates = np.unique(np.concatenate([(low + high) / 2.0, [0.0, 1.0]]))
    return candidates[derivative(candidates) > CONVERGED]


def _reweighted(counts: Counts, points: FloatArray, weights: FloatArray) -> Prior:
    """Newton steps for the weights at fixed points, under w ≥ 0 and Σ w = 1.

    With S = L/(L w) - 2 [pair, point], each row times √(prompts), a step goes to the w that makes |S w|² + (Σ w - 1)²
    least, normalised: nonnegative least squares (Wang 2007).
    """
    from scipy.optimize import nnls  # which would double the time of `import lossim`

    likelihood = counts.likelihood(points)
    root = np.sqrt(counts.prompts / counts.total)
    value = counts.log_of(likelihood @ weights)
    for _ in range(30):
        # where the quadratic model has its maximum
        scaled = root[:, None] * (likelihood / (likelihood @ weights)[:, None] - 2.0)
        target, _ = nnls(np.vstack([scaled, np.ones(len(points))]), np.append(np.zeros(len(root)), 1.0))
        target /= target.sum()

        # as far in that direction as the likelihood rises
        for halvings in range(34):
            moved = weights + 0.5**halvings * (target - weights)
            new = counts.log_of(likelihood @ moved)
            if new >= value:
                break
        if not new > value + 1e-13 * counts.total:
            break
        weights = moved
        value = new
    kept = weights > LIGHT
    return _weighed(counts, points[kept], weights[kept])


def _clustered(counts: Counts, prior: Prior) -> Prior:
    """Neighbouring points that the search left on both sides of one maximum become one."""
    label = np.append(0, np.cumsum(np.diff(prior.points) > 1e-3))
    weights: FloatArray = np.bincount(label, prior.weights).astype(np.float64)
    points = np.bincount(label, prior.weights * prior.points) / weights
    for edge in (0.0, 1.0):  # an average with a point that is exactly there
        points[np.abs(points - edge) < 1e-4] = edge
    joined = _weighed(counts, points, weights)
    return joined if joined.log_likelihood > prior.log_likelihood - 1e-4 else prior


def _climbed(counts: Counts, prior: Prior, rounds: int) -> Prior:
    """Points and weights moved uphill together, by EM with extrapolation (SQUAREM, Varadhan and Roland 2008).

    A round of EM takes x to M(x), with x the points and weights. Two rounds give r = M(x) - x and
    v = M(M(x)) - 2 M(x) + x, and a leap to x + 2a r + a² v with a = |r|/|v| (at least 1) is taken where it is uphill.
    """
    size = len(prior.points)

    def turned(x: FloatArray) -> FloatArray:
        """One round of EM: M(x)."""
        joint = counts.likelihood(x[:size]) * x[size:]
        share = counts.prompts[:, None] * joint / joint.sum(axis=1, keepdims=True)
        points = (counts.correct @ share) / np.maximum(counts.answers @ share, 1e-300)
        return np.concatenate([points, share.sum(axis=0) / counts.total])

    here = np.concatenate([prior.points, prior.weights])
    best = prior
    for _ in range(rounds):
        # two rounds of EM
        one = turned(here)
        two = turned(one)
        first = one - here
        second = two - 2.0 * one + here
        if np.abs(first).max() < 1e-9:
            break

        # a leap from before them, if it lands inside and above the best so far
        bend = float(np.linalg.norm(second))
        after = two
        if bend > 0.0:
            length = max(float(np.linalg.norm(first)) / bend, 1.0)
            leap = here + 2.0 * length * first + length**2 * second
            if ((leap[:size] >= 0) & (leap[:size] <= 1) & (leap[size:] > 0)).all():
                jumped = _weighed(counts, leap[:size], leap[size:])
                if jumped.log_likelihood > best.log_likelihood:
                    after = turned(np.concatenate([jumped.points, jumped.weights]))
        here = after
        before = best.log_likelihood
        best = _weighed(counts, here[:size], here[size:])
        if best.log_likelihood - before < 1e-5 and bend < 1e-3:
            break
    return best


def _snapped(counts: Counts, prior: Prior) -> Prior:
    """The lowest point put at 0 and the highest at 1, where they are next to it and the likelihood hardly minds."""
    for end, edge in ((0, 0.0), (-1, 1.0)):
        if abs(prior.points[end] - edge) >= EDGE:
            continue
        points = prior.points.copy()
        points[end] = edge
        moved = _weighed(counts, points, prior.weights)
        if moved.log_likelihood > prior.log_likelihood - SMALL:
            prior = moved
    return prior


def _one_less(counts: Counts, prior: Prior) -> Prior:
    """The best prior with two neighbours made one, from where EM takes it."""
    tried = []
    for i in range(len(prior.points) - 1):
        pair = prior.weights[i:i + 2]
        point = float(pair @ prior.points[i:i + 2] / pair.sum())
        points = np.concatenate([prior.points[:i], [point], prior.points[i + 2:]])
        weights = np.concatenate([prior.weights[:i], [pair.sum()], prior.weights[i + 2:]])
        tried.append(_climbed(counts, _weighed(counts, points, weights), rounds=4))
    return _climbed(counts, max(tried, key=lambda each: each.log_likelihood), rounds=100)


def merged(counts: Counts, full: Prior, size: int | None = None) -> Prior:
    """The prior merged to ``size`` points; by default to as few as cost at most ``LOST`` nats in all.

    A penalty that grows with the log, as in the Bayesian information criterion, would take a law without classes for
    few of them, and be wrong by many standard errors about what a drift depends on; this is wrong by about one.
    """
    here = full
    while len(here.points) > (size or 1):
        less = _one_less(counts, here)
        if size is None and full.log_likelihood - less.log_likelihood > LOST:
            break
        here = less
    return _snapped(counts, here)


def pairs(correct: IntArray, answers: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Different pairs (k, n), and which of them each prompt has: k [pair], n [pair], pair of each prompt."""
    base = int(answers.max()) + 1
    code, which = np.unique(answers.astype(np.int64) * base + correct, return_inverse=True)
    return code % base, code // base, which.ravel()
