"""Which responses of a log the drift comes from: by outcome, by the prompt's solve rate, by length, by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lossim._auditing.log import SOLVE_RATES, Log, widening
from lossim._auditing.plugin import Credited, Plugin
from lossim._engine import Readout, centred, gae_projection
from lossim._support.positions import along
from lossim._support.types import FloatArray, IntArray
from lossim.advantages import GAE
from lossim.estimates import Estimate

__all__ = ["Breakdown", "length_edges", "step_bins"]

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
MOST_STEPS = 64
"""Rows of a table by step; longer logs are shown in as many runs of steps."""


def length_edges(log: Log) -> IntArray:
    """The first length of each bin but the first: quantiles of the log's lengths."""
    by_end = log.law.sum(axis=(0, 1))
    by_length = by_end[:-1].copy()
    by_length[-1] += by_end[-1]
    reached = np.searchsorted(np.cumsum(by_length), np.array(QUANTILES) * by_length.sum()) + 2
    edges: IntArray = np.unique(np.minimum(reached, log.max_tokens))
    return edges


def step_bins(log: Log) -> IntArray:
    """The run of steps that each step belongs to."""
    steps = len(log.steps[1])
    return np.arange(steps) * min(steps, MOST_STEPS) // steps


def projections(plugin: Plugin, readout: Readout) -> dict[str, FloatArray]:
    """What one unit of each coefficient of a response adds to dE[T], by [cell, end].

    Σ_t coefficient(t) · score(t) along K·∇E[T]; ``extra`` stands for the part of GAE that is linear in the reward.
    """
    policy = readout.policy
    ahead, paths = readout.length_direction
    stop, go = policy.stay * ahead, -policy.hazard * ahead
    path = centred(policy, paths)
    stop[:, 0] += path
    go[:, 0] += path
    whole = along(stop, go)
    tables = {"response": whole, "kl": whole}
    if isinstance(plugin.advantage, GAE) and not plugin.adaptive:
        unpaid = plugin.step_of(policy)
        paid = plugin.step_of(policy)
        paid.__dict__["task"] = np.ones_like(unpaid.task)
        tables["gae"] = gae_projection(unpaid, slice(None), stop, go)[:, 0]
        tables["extra"] = gae_projection(paid, slice(None), stop, go)[:, 0] - tables["gae"]
    return tables


@dataclass(frozen=True, kw_only=True, eq=False)
class Breakdown:
    """Sums by block of prompts, filled while the responses go by (see :meth:`Plugin.measured`).

    ``sources`` and ``by_step`` are contributions to dE[T] with the law of the log held fixed, times n; ``draws`` [term,
    outcome, length bin] are those of redrawn logs under their own law.
    """

    plugin: Plugin
    edges: IntArray
    bins: IntArray
    draws: list[FloatArray] = field(default_factory=list)

    def __post_init__(self) -> None:
        _ = self.tables, self.sources, self.by_step, self.pairs, self.profile

    @cached_property
    def tables(self) -> dict[str, FloatArray]:
        """See :func:`projections`."""
        return projections(self.plugin, self.plugin.cells.readout)

    @cached_property
    def sources(self) -> FloatArray:
        """[block, term, outcome, solve rate, length bin], terms policy and KL."""
        return np.zeros((self.plugin.log.blocks, 2, 3, len(SOLVE_RATES), len(self.edges) + 1))

    @cached_property
    def by_step(self) -> FloatArray:
        """[block, run of steps, (contribution, responses)]."""
        return np.zeros((self.plugin.log.blocks, int(self.bins[-1]) + 1, 2))

    @cached_property
    def pairs(self) -> FloatArray:
        """Σ 1, A, T, AT over the responses in the loss, [block, 4]; A is R under GAE."""
        return np.zeros((self.plugin.log.blocks, 4))

    @cached_property
    def profile(self) -> FloatArray:
        """Σ 1, T, weight·T, A over responses, [row, length bin]."""
        return np.zeros((4, len(self.edges) + 1))

    @cached_property
    def groups(self) -> IntArray:
        """All groups, and those whose rewards are all equal."""
        return np.zeros(2, dtype=np.int64)

    def __call__(self, part: Credited, made: dict[str, FloatArray]) -> None:
        """Take in some responses."""
        slab, log, cell = part.slab, self.plugin.log, self.plugin.cells.cell(part.slab)
        added: list[FloatArray] = [np.zeros_like(part.paid), np.zeros_like(part.paid)]
        for name, table in self.tables.items():
            if name in made:
                added[int(name == "kl")] += made[name] * table[cell, slab.end]
        block, prompt = log.block(slab), slab.prompt[slab.group]
        bin_ = np.searchsorted(self.edges, slab.length, side="right")
        for term, x in enumerate(added):
            index = np.ravel_multi_index((block, np.full_like(block, term), slab.outcome, log.solve_rate[prompt], bin_),
                                         self.sources.shape)
            self.sources.ravel()[:] += np.bincount(index, weights=x, minlength=self.sources.size)
        run = self.bins[slab.of_step]
        credit = part.paid if part.credit is None else part.credit
        inside = part.in_loss.astype(np.float64)
        index = np.ravel_multi_index((block, run), self.by_step.shape[:2])
        for i, x in enumerate((added[0] + added[1], part.counted.astype(np.float64))):
            self.by_step[..., i] += np.bincount(index, weights=x, minlength=self.by_step[..., i].size).reshape(
                self.by_step.shape[:2])
        for i, x in enumerate((inside, inside * credit, inside * slab.length, inside * credit * slab.length)):
            self.pairs[:, i] += np.bincount(block, weights=x, minlength=log.blocks)
        for i, x in enumerate((np.ones_like(credit), slab.length, made["plain"] * slab.length, credit)):
            self.profile[i] += np.bincount(bin_, weights=x, minlength=len(self.edges) + 1)
        self.groups[:] += len(slab.first), int((~part.alive[slab.first]).sum())

    def redrawn(self, readout: Readout, sums: dict[str, FloatArray]) -> FloatArray:
        """Contributions by [term, outcome, length bin] of other measures [class, grade, end], under their own law."""
        classes, _, ends = self.plugin.log.shape
        of_bin = np.searchsorted(self.edges, readout.policy.length, side="right")
        bins = len(self.edges) + 1
        parts = np.zeros((2, 3, bins))
        for name, table in projections(self.plugin, readout).items():
            if name in sums:
                added = (sums[name] * table.reshape(classes, -1, ends)).sum(axis=0)
                for outcome, x in enumerate((added[0, :-1], added[1, :-1], added[:, -1:].sum(axis=0))):
                    where = of_bin[:-1] if outcome < 2 else of_bin[-1:]
                    parts[int(name == "kl"), outcome] += np.bincount(where, weights=x, minlength=bins)
        return parts

    # --- read ---------------------------------------------------------------------------------------------------

    def estimate(self, sums: FloatArray, weights: FloatArray) -> Estimate:
        """Contributions per response, [block, ...], with what redrawn blocks make of them."""
        value = sums.sum(axis=0) / max(float(self.plugin.totals[1].n.sum()), 1.0)
        return self._spread(value, self.drawn(sums, weights))

    def drawn(self, sums: FloatArray, weights: FloatArray) -> FloatArray:
        """The same of the log redrawn, [replicate, ...]."""
        n = np.maximum(weights @ self.plugin.totals[1].n, 1.0)
        drawn: FloatArray = np.tensordot(weights, sums, axes=1) / n.reshape(-1, *[1] * (sums.ndim - 1))
        return drawn

    def covariance(self, weights: FloatArray) -> Estimate:
        """Cov(A, T) over the responses in the loss, reward units × tokens."""
        def of(sums: FloatArray) -> FloatArray:
            _, a, t, at = np.moveaxis(sums, -1, 0) / np.maximum(sums[..., 0], 1.0)
            covariance: FloatArray = at - a * t
            return covariance

        return self._spread(float(of(self.pairs.sum(axis=0))), of(np.tensordot(weights, self.pairs, axes=1)))

    def steps(self, weights: FloatArray) -> Estimate:
        """The contribution of each run of steps per response of it, [run]."""
        def of(sums: FloatArray) -> FloatArray:
            mean: FloatArray = sums[..., 0] / np.maximum(sums[..., 1], 1.0)
            return mean

        return self._spread(of(self.by_step.sum(axis=0)), of(np.tensordot(weights, self.by_step, axes=1)))

    def _spread(self, value: Any, drawn: FloatArray) -> Estimate:
        """A value with the spread of its replicates; without any, the spread is not known."""
        stderr = np.full(np.shape(value), np.nan)
        if len(drawn):
            stderr = widening(self.plugin.log.blocks) * drawn.std(axis=0, ddof=1)
        return Estimate(value=value, stderr=stderr, n=len(drawn), method="bootstrap")


