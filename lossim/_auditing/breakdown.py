"""Which responses of a log the drift comes from: by outcome, by the prompt's solve rate, by length, by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lossim._auditing.log import SOLVE_RATES, Log, widening
from lossim._auditing.plugin import Coefficients, Credited, Plugin
from lossim._engine import Logged, Step, along_draws, gae_projection_of
from lossim._model import Directions
from lossim._support.records import mapped
from lossim._support.types import FloatArray, IntArray
from lossim.advantages import GAE
from lossim.estimates import Estimate

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
MOST_STEPS = 64
"""Rows of a table by step; longer logs are shown in as many runs of steps."""


def projections(plugin: Plugin, directions: Directions, step: Step) -> Coefficients:
    """What one unit of each coefficient of a response adds to dE[T], [log · place] of all logs.

    Σ_t coefficient(t) · score(t) along K·∇E[T]; ``extra`` stands for the part of GAE that is linear in the reward.
    """
    stop, go = directions.scores()
    draws = plugin.cells.draws_on(directions.policy)
    whole = along_draws(directions.policy, stop, go, draws)
    tables = Coefficients(response=whole, kl=whole)
    gae = plugin.scheme.advantage.token_level
    if gae is None or gae.adaptive:
        return tables
    # A step that pays each response 1 and expects nothing: what a unit of reward adds to token advantages.
    scheme = replace(step.scheme, advantage=GAE(gamma=gae.gamma, gae_lambda=gae.gae_lambda))
    logged = Logged(task=np.ones_like(plugin.task), expected_pay=np.zeros_like(directions.policy.ends))
    return replace(tables, gae=gae_projection_of(step, draws, stop, go),
                   extra=gae_projection_of(replace(step, scheme=scheme, logged=logged), draws, stop, go))


def contributions(made: Coefficients, added_by: Coefficients) -> FloatArray:
    """Coefficients times what a unit of each adds, [term, ...]: terms policy and KL."""
    terms = mapped(np.multiply, made, added_by)
    shape = next(x.shape for x in (made.response, made.gae) if x is not None)
    added = np.zeros((2, *shape))
    for term, x in ((0, terms.response), (0, terms.gae), (0, terms.extra), (1, terms.kl)):
        if x is not None:
            added[term] += x
    return added


class Covariance:
    """Cov(A, T) over the responses in the loss, reward units × tokens, while they go by; A is R under GAE."""

    def __init__(self, log: Log) -> None:
        self.sums = np.zeros((4, log.blocks))
        """Σ 1, A, T, AT by block of prompts."""

    def __call__(self, part: Credited, made: Coefficients) -> None:
        """Take in some responses."""
        slab = part.slab
        inside = part.in_loss.astype(np.float64)
        tokens = inside * slab.length
        rows = inside, inside * part.worth, tokens, tokens * part.worth
        _add(self.sums, slab.block, *(slab.by_group(row) for row in rows))

    def estimate(self, weights: FloatArray) -> Estimate:
        """With what becomes of it where blocks are redrawn so often, [replicate, block]."""
        def of(sums: FloatArray) -> FloatArray:
            _, a, t, at = sums / np.maximum(sums[0], 1.0)
            return at - a * t

        return _estimate(float(of(self.sums.sum(axis=1))), of(self.sums @ weights.T), self.sums.shape[1])


class Breakdown:
    """Where a drift comes from, added up by block of prompts while the responses go by.

    ``sources`` and ``by_step`` are contributions to dE[T] with the law of the log held fixed, times n.
    """

    def __init__(self, plugin: Plugin) -> None:
        log = plugin.log
        self.plugin = plugin
        self.covariance = Covariance(log)
        self.tables = projections(plugin, plugin.cells.directions, plugin.step)
        # The first length of each bin but the first: quantiles of the log's lengths, the cut ones of the last.
        by_end = log.law.sum(axis=(0, 1))
        by_length = np.append(by_end[:-2], by_end[-2] + by_end[-1])
        reached = np.searchsorted(np.cumsum(by_length), np.array(QUANTILES) * by_length.sum()) + 2
        self.edges = np.unique(np.minimum(reached, log.max_tokens))
        self.bins = len(self.edges) + 1
        self.bin_of_end = np.searchsorted(self.edges, plugin.cells.policy.length, side="right")
        steps = len(log.steps)
        self.runs = np.arange(steps) * min(steps, MOST_STEPS) // steps
        """The run of steps that each step belongs to."""
        self.sources = np.zeros((2, log.blocks, 3, len(SOLVE_RATES), self.bins))
        """[term, block, outcome, solve rate, length bin], terms policy and KL."""
        self.by_step = np.zeros((2, log.blocks, int(self.runs[-1]) + 1))
        """[contribution or responses, block, run of steps]."""
        self.profile = np.zeros((4, self.bins))
        _add(self.profile[:2], self.bin_of_end, by_end, by_end * plugin.cells.policy.length)
        """Σ 1, T, weight·T, A over responses, [row, length bin]."""
        self.groups = 0
        self.dead_groups = 0

    def __call__(self, part: Credited, made: Coefficients) -> None:
        """Take in some responses."""
        slab = part.slab
        cells = self.plugin.cells
        self.covariance(part, made)
        self.groups += len(part.alive)
        self.dead_groups += int(np.count_nonzero(~part.alive))
        # By outcome, solve rate of the prompt and length.
        place = cells.log.place(slab)
        needed = mapped(lambda _, table: table, made, self.tables)  # of what is None nothing is asked
        added = contributions(made, mapped(lambda table: table[place], needed))
        length_bin = self.bin_of_end[slab.end]
        outcomes, rates, bins = self.sources.shape[2:]
        of_group = (slab.block * outcomes * rates + cells.log.solve_rate[slab.prompt]) * bins
        terms = 1 if made.kl is None else 2
        _add(self.sources[:terms], slab.each(of_group) + slab.outcome * (rates * bins) + length_bin, *added[:terms])
        # By run of steps.
        runs = self.by_step.shape[2]
        _add(self.by_step, slab.block * runs + self.runs[slab.step],
             slab.by_group(added[:terms].sum(axis=0)), (part.in_step * slab.sizes).astype(np.float64))
        # By length alone.
        weighted = slab.length * (0.0 if made.plain is None else made.plain)
        _add(self.profile[2:], length_bin, weighted, part.worth)

    def redrawn(self, directions: Directions, step: Step, sums: Coefficients) -> FloatArray:
        """Contributions [log, term, outcome, length bin] of measures [log, place], under their own laws."""
        log = self.plugin.log
        tables = projections(self.plugin, directions, step)
        added = contributions(sums, mapped(lambda table: table.reshape(-1, len(log.count)), tables))
        by_log = log.by_end(added).sum(axis=2).swapaxes(0, 1)
        in_bin = (self.bin_of_end[:, None] == np.arange(self.bins)).astype(np.float64)
        stopped = by_log[..., :-1] @ in_bin[:-1]
        cut = by_log[..., -1].sum(axis=2)[..., None, None] * in_bin[-1]
        return np.concatenate([stopped, cut], axis=2)

    # --- read ---------------------------------------------------------------------------------------------------

    def source_estimate(self, n: FloatArray, weights: FloatArray) -> Estimate:
        """Contributions per response [term, outcome, solve rate, length bin], of ``n`` [block] responses."""
        sums = self.sources.swapaxes(0, 1)
        return _estimate(sums.sum(axis=0) / max(float(n.sum()), 1.0), _drawn(sums, n, weights), len(n))

    def rate_draws(self, n: FloatArray, weights: FloatArray) -> FloatArray:
        """Contributions [replicate, solve rate] of the log redrawn."""
        return _drawn(self.sources.sum(axis=(0, 2, 4)), n, weights)

    def step_estimate(self, weights: FloatArray) -> Estimate:
        """The contribution of each run of steps per response of it, [run]."""
        def of(sums: FloatArray) -> FloatArray:
            return sums[0] / np.maximum(sums[1], 1.0)

        return _estimate(of(self.by_step.sum(axis=1)), of(weights @ self.by_step), self.by_step.shape[1])


def _add(sums: FloatArray, place: IntArray, *rows: Any) -> None:
    """Add to each row of sums a row of numbers at their places in it."""
    for total, x in zip(sums, rows, strict=True):
        np.add.at(total.ravel(), place, x)


def _drawn(sums: FloatArray, n: FloatArray, weights: FloatArray) -> FloatArray:
    """Sums [block, ...] per response of the log with its blocks weighted, [replicate, ...]."""
    responses = np.maximum(weights @ n, 1.0)
    return np.tensordot(weights, sums, axes=1) / responses.reshape(-1, *[1] * (sums.ndim - 1))


def _estimate(value: Any, drawn: FloatArray, blocks: int) -> Estimate:
    """A value with the spread of its replicates; without any, the spread is not known."""
    stderr = np.full(np.shape(value), np.nan)
    if len(drawn):
        stderr = widening(blocks) * drawn.std(axis=0, ddof=1)
    return Estimate(value=value, stderr=stderr, n=len(drawn), method="bootstrap")
