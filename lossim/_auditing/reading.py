"""What a scheme makes of a log: its measures, by block of prompts, added up while the responses go by.

The log with its prompts drawn again is a weighted sum of what blocks of prompts contribute.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cached_property
from operator import attrgetter

import numpy as np

from lossim._auditing.log import Slab
from lossim._auditing.plugin import Coefficients, Credited, Plugin, Totals
from lossim._support.records import Record
from lossim._support.types import FloatArray, IntArray

Watch = Callable[[Credited, Coefficients], None]
"""Sees the responses go by, with their coefficients."""


class LogSums(Record):
    """What a scheme makes of a log.

    Attributes:
        totals: sums over the responses of each block of prompts.
        by_pair: sums of the coefficients, not divided by n; see :meth:`lossim._auditing.log.Log.pair`.
    """

    plugin: Plugin
    totals: Totals
    by_pair: Coefficients

    def redrawn(self, weights: FloatArray) -> Coefficients:
        """The measures [replicate, class, grade, end], per response, of the log with its blocks weighted.

        A step's denominator and its whitening are redrawn as one for the whole log, to first order: the weights of
        responses change as the scale of weights does, and coefficients c = plain·(A - m)·f of an advantage, with the
        mean m and the factor f of whitening, become (c - (m' - m)·f·plain)·f'/f.
        """
        def by_log(x: FloatArray) -> FloatArray:
            return x[:, None, None, None]

        plugin = self.plugin
        totals = {name: weights @ x for name, x in self.totals.items()}
        whole = {name: x.sum(keepdims=True) for name, x in self.totals.items()}
        weight, mean, factor = plugin.scales(totals)
        weight_now, mean_now, factor_now = plugin.scales(whole)
        sums = {name: plugin.log.redrawn(x, weights) for name, x in self.by_pair.items()}
        if plugin.scheme.advantage.whitening is not None and factor_now[0] > 0:
            sums["response"] -= by_log((mean - mean_now) * factor_now) * sums["plain"]
            for name in ("response", "gae", "extra"):
                if name in sums:
                    sums[name] *= by_log(factor / factor_now)
        ratio = weight / np.where(weight_now > 0, weight_now, 1.0) / np.maximum(totals["n"], 1.0)
        return {name: x * by_log(ratio) for name, x in sums.items()}

    @cached_property
    def now(self) -> Coefficients:
        """The measures [class, grade, end], per response, of the log as it is."""
        return {name: x[0] for name, x in self.redrawn(np.ones((1, self.plugin.log.blocks))).items()}

    @cached_property
    def scale(self) -> float:
        """About how large an update's coefficients are before anything cancels, per response."""
        return coefficient_scale(self.plugin, self.now)


def coefficient_scale(plugin: Plugin, sums: Coefficients) -> float:
    """The largest Σ |coefficient| of a measure [class, grade, end], under GAE times its largest advantage."""
    sizes = {name: float(np.abs(x).sum()) for name, x in sums.items() if name != "plain"}
    if "gae" in sizes:
        sizes["gae"] *= float(np.abs(plugin.step.errors.last).max())
    return max(sizes.values(), default=0.0)


def read(plugin: Plugin, watch: Watch | None = None) -> LogSums:
    """What a scheme makes of a log, by block of prompts; ``watch`` sees the responses go by."""
    totals, by_pair = _passes(plugin, plugin.log.pair, len(plugin.log.counts), watch)
    return LogSums(plugin=plugin, totals=totals, by_pair=by_pair)


def sums_of(plugin: Plugin) -> Coefficients:
    """The measures [class, grade, end], per response, of the log as it is, where nothing is redrawn."""
    log = plugin.log
    totals, sums = _passes(plugin, attrgetter("place"), log.law.size)
    return {name: x.reshape(log.shape) / max(float(totals["n"].sum()), 1.0) for name, x in sums.items()}


def _passes(plugin: Plugin, place: Callable[[Slab], IntArray], places: int, watch: Watch | None = None
            ) -> tuple[Totals, Coefficients]:
    """The sums of each block of prompts, and those of the coefficients at a place of each response."""
    log = plugin.log
    # What was credited is kept where the log keeps its slabs, else made for each pass.
    kept = list(plugin.credited_log()) if log.keeps_slabs else None
    by_step: Totals = defaultdict(lambda: np.zeros(len(log.steps)))
    by_block: Totals = defaultdict(lambda: np.zeros(log.blocks))
    for part in kept or plugin.credited_log():
        for name, x in plugin.totals(part).items():
            np.add.at(by_step[name], part.slab.step, x)
            np.add.at(by_block[name], part.slab.block, x)
    # Weights alone are summed for an entropy bonus, or to take a mean off other advantages.
    needs_plain = plugin.scheme.entropy is not None or plugin.scheme.advantage.whitening is not None
    scales = plugin.scales(by_step)
    sums: Coefficients = defaultdict(lambda: np.zeros(places))
    for part in kept or plugin.credited_log():
        made = plugin.coefficients(part, *scales)
        at = place(part.slab)
        for name, x in made.items():
            if name != "plain" or needs_plain:
                np.add.at(sums[name], at, x)
        if watch is not None:
            watch(part, made)
    return by_block, sums
