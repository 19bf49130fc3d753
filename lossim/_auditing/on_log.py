"""A scheme on a log as changes and knobs see it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lossim._auditing.bootstrap import coefficient_scale, measures_of, read
from lossim._auditing.plugin import Plugin
from lossim._changes import Case
from lossim._engine import family_of, lengths_over, update_gradient
from lossim._model import inner_product
from lossim._support.records import Record, mapped
from lossim._support.types import FloatArray
from lossim.penalties import KL
from lossim.rewards import LinearPenalty, Reward, Shaping
from lossim.schemes import Scheme

ROUNDING_OF_DRIFT = 1e-13
"""A drift this much smaller than its coefficients and lengths is a rounding error."""


class OnLog(Record, Case):
    """A plugin, whose responses are paid as logged unless it has a rule: what shaped that is not known."""

    plugin: Plugin

    @property
    def scheme(self) -> Scheme:
        return self.plugin.scheme

    @property
    def max_tokens(self) -> int:
        return self.plugin.log.max_tokens

    @property
    def cut_share(self) -> float:
        return self.plugin.log.cut_share

    @property
    def mean_length(self) -> float:
        return self.plugin.log.mean_length

    @property
    def pay(self) -> FloatArray:
        return self.plugin.mean_reward[self.plugin.log.law > 0]

    @property
    def paid_if_cut(self) -> float:
        return float(np.average(self.plugin.mean_reward[..., -1], weights=self.plugin.log.law[..., -1]))

    @property
    def kl(self) -> KL | None:
        if self.plugin.log.rollouts.kl is None:
            return None
        return self.plugin.kl[0] or self.plugin.kl[1] or KL(coefficient=0.0, estimator="k3")

    @property
    def price(self) -> float:
        return 0.0

    def priced(self, slope: float) -> OnLog:
        return self.shaped(LinearPenalty(slope=slope))

    def using(self, **slots: Any) -> OnLog:
        return OnLog(plugin=replace(self.plugin, scheme=replace(self.scheme, **slots)))

    def paying(self, reward: Reward) -> OnLog | None:
        log = self.plugin.log
        if log.correct is None:
            return None
        ends = np.arange(1.0, log.max_tokens + 2.0)
        right = np.array([True, False])[:, None]
        paid = reward.values(np.minimum(ends, log.max_tokens), right, ends > log.max_tokens)
        if np.allclose(np.where(log.law > 0, self.plugin.mean_reward - paid, 0.0), 0.0, atol=1e-6):
            return None
        return OnLog(plugin=replace(self.plugin, rule=reward))

    def shaped(self, shaping: Shaping) -> OnLog:
        return OnLog(plugin=replace(self.plugin, shapings=(*self.plugin.shapings, shaping)))

    def recapped(self, max_tokens: int) -> OnLog:
        cells = self.plugin.cells
        log = replace(cells.log, max_tokens=max_tokens, shortened=True)
        return OnLog(plugin=replace(self.plugin, cells=replace(cells, log=log)))

    def lengths(self) -> FloatArray:
        plugin = self.plugin
        directions = plugin.cells.directions
        totals, by_place = read(plugin, pairs=False)
        n = max(float(totals.n.sum()), 1.0)
        sums = mapped(lambda x: x[None] / n, by_place)
        gradient = update_gradient(plugin.step, measures_of(plugin, plugin.step, sums))
        over = lengths_over(family_of(plugin.kernels, plugin.cells.coordinates), directions, gradient)
        lengths = np.append(inner_product(gradient, directions.length), [] if over is None else over.length)
        uncancelled = coefficient_scale(plugin, sums) * plugin.log.mean_length * plugin.cells.policy.motion.largest
        return np.where(np.abs(lengths) > ROUNDING_OF_DRIFT * uncancelled, lengths, 0.0)
