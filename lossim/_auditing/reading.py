"""What a scheme makes of a log: its measures, by block of prompts, added up while the responses go by.

The log with its prompts drawn again is a weighted sum of what blocks of prompts contribute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from lossim._auditing.plugin import Coefficients, Credited, Plugin, Totals, given
from lossim._auditing.slab import Slab
from lossim._support.records import mapped
from lossim._support.types import FloatArray, IntArray

__all__ = ["Reading", "Watch", "coefficient_scale", "read", "sums_of"]

Watch = Callable[[Credited, Coefficients], None]
"""Sees the responses go by, with their coefficients."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
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
        plugin = self.plugin
        totals = mapped(lambda x: weights @ x, self.totals)
        now = plugin.scales(totals)
        before = plugin.scales(mapped(lambda x: x.sum(keepdims=True), self.totals))
        sums = mapped(lambda x: plugin.log.redrawn(x, weights), self.by_pair)
        if sums.plain is not None and sums.response is not None and before.factor[0] > 0:
            shift = _by_log((now.mean - before.mean) * before.factor)
            factor = _by_log(now.factor / before.factor)
            sums = replace(sums, response=(sums.response - shift * sums.plain) * factor)
            if sums.gae is not None and sums.extra is not None:
                sums = replace(sums, gae=sums.gae * factor, extra=sums.extra * factor)
        ratio = now.weight / np.where(before.weight > 0, before.weight, 1.0) / np.maximum(totals.n, 1.0)
        return mapped(lambda x: x * _by_log(ratio), sums)

    @cached_property
    def sums(self) -> Coefficients:
        """The measures [class, grade, end], per response, of the log as it is."""
        return mapped(lambda x: x[0], self.redrawn(np.ones((1, self.plugin.log.blocks))))

    @cached_property
    def scale(self) -> float:
        """About how large an update's coefficients are before anything cancels, per response."""
        return coefficient_scale(self.plugin, self.sums)


def _by_log(x: FloatArray) -> FloatArray:
    return x[:, None, None, None]


def coefficient_scale(plugin: Plugin, sums: Coefficients) -> float:
    """The largest Σ |coefficient| of a measure [class, grade, end], under GAE times its largest advantage."""
    sizes = {name: float(np.abs(x).sum()) for name, x in given(replace(sums, plain=None)).items()}
    if "gae" in sizes:
        sizes["gae"] *= float(np.abs(plugin.step.errors.last).max())
    return max(sizes.values(), default=0.0)


# --- passes over the log ----------------------------------------------------------------------------------------


class CreditedLog:
    """The slabs of a log as a scheme credits them: kept where the log keeps its own, else made for each pass."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self.kept = list(self._made()) if plugin.log.keeps_slabs else None

    def __iter__(self) -> Iterator[Credited]:
        return self._made() if self.kept is None else iter(self.kept)

    def _made(self) -> Iterator[Credited]:
        estimator = self.plugin.scheme.advantage.response_level
        whole_steps = estimator is not None and estimator.needs_whole_step
        return map(self.plugin.credited, self.plugin.log.slabs(whole_steps=whole_steps))


class Sums:
    """Records added up at places: for each of their arrays one of sums."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.total: Any = None

    def add(self, places: IntArray, record: Any) -> None:
        """Add each number of a record's arrays at its place."""
        if self.total is None:
            self.total = mapped(lambda _: np.zeros(self.places), record)
        for name, x in given(record).items():
            np.add.at(getattr(self.total, name), places, x)


def read(plugin: Plugin, watch: Watch | None = None) -> Reading:
    """What a scheme makes of a log, by block of prompts; ``watch`` sees the responses go by."""
    log = plugin.log
    credited = CreditedLog(plugin)
    by_step, by_block = _totals(plugin, credited)
    sums = _sums(plugin, credited, by_step, log.pair, len(log.counts), watch)
    return Reading(plugin=plugin, totals=by_block, by_pair=sums)


def sums_of(plugin: Plugin) -> Coefficients:
    """The measures [class, grade, end], per response, of the log as it is, where nothing is redrawn."""
    log = plugin.log
    credited = CreditedLog(plugin)
    by_step, _ = _totals(plugin, credited)
    sums = _sums(plugin, credited, by_step, lambda slab: slab.place, log.law.size)
    n = max(float(by_step.n.sum()), 1.0)
    return mapped(lambda x: x.reshape(log.shape) / n, sums)


def _totals(plugin: Plugin, credited: CreditedLog) -> tuple[Totals, Totals]:
    """The sums of each step and of each block of prompts."""
    by_step = Sums(len(plugin.log.index.steps))
    by_block = Sums(plugin.log.blocks)
    for part in credited:
        totals = plugin.totals(part)
        by_step.add(part.slab.step, totals)
        by_block.add(part.slab.block, totals)
    return by_step.total, by_block.total


def _sums(plugin: Plugin, credited: CreditedLog, by_step: Totals, place: Callable[[Slab], IntArray], places: int,
          watch: Watch | None = None) -> Coefficients:
    """The sums of the coefficients at a place of each response."""
    sums = Sums(places)
    scales = plugin.scales(by_step)
    for part in credited:
        made = plugin.coefficients(part, scales)
        sums.add(place(part.slab), made if plugin.needs_plain else replace(made, plain=None))
        if watch is not None:
            watch(part, made)
    total: Coefficients = sums.total
    return total
