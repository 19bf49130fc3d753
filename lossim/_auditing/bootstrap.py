"""What schemes do on a log, by block of prompts, and how that scatters when the prompts are drawn again.

Responses go by once, and what they add up to is kept by block: a redrawn log is a weighted sum of blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from lossim._auditing.breakdown import Breakdown
from lossim._auditing.log import Log, widening
from lossim._auditing.plugin import Coefficients, Credited, Plugin, Totals
from lossim._auditing.slabs import Slab
from lossim._engine import (
    NATS,
    Changes,
    Drift,
    Measures,
    Question,
    Ratios,
    Readout,
    Report,
    ResponseTerm,
    Step,
    TokenTerm,
    effective_reward,
    entry_advantage,
    family_of,
    kernel_doubt,
    length_changes,
    lengths_over,
    reported,
)
from lossim._model import Directions, Logits, Squares, inner_product
from lossim._support.doubts import Doubt
from lossim._support.quotients import quotient
from lossim._support.records import Kind, mapped
from lossim._support.types import FloatArray, IntArray
from lossim.estimates import Estimate
from lossim.rewards import AsLogged

UNKNOWN_STEP = "how far the update moves the policy is not told from the noise of the log: no step of 0.01 nats"
NOT_REDRAWN = "λ depends on the length here, and each redrawn log would take O(max_tokens²): no standard errors"
UNTOLD = Estimate(value=np.nan, stderr=np.nan, method="bootstrap")
FEW = 50
"""Redrawn logs behind the error bars of other settings and schemes."""
STACKED = 1 << 16
"""Hazards of the redrawn logs that are worked on at once: a processor's cache holds them."""
REDRAWN = 1 << 20
"""Numbers [replicate, place] of a measure that are redrawn at once."""

Watch = Callable[[Credited, Coefficients], None]
"""Sees the responses go by, with their coefficients."""


def coefficient_scale(plugin: Plugin, sums: Coefficients) -> float:
    """The largest Σ |coefficient| of a measure [place], under GAE times its largest advantage."""
    gae = None if sums.gae is None else sums.gae * np.abs(plugin.step.errors.last).max()
    return max(float(np.abs(x).sum()) for x in (sums.response, gae, sums.extra, sums.kl) if x is not None)


def read(plugin: Plugin, watch: Watch | None = None, *, pairs: bool = True) -> tuple[Totals, Coefficients]:
    """The sums of each block of prompts, and those of the coefficients; ``watch`` sees the responses go by.

    Coefficients are not divided by n. As ``pairs`` they can be redrawn, see :meth:`lossim._auditing.log.Log.pair`; by
    place they are summed in less time.
    """
    return read_together([plugin], [watch], pairs=pairs)[0]


def read_together(plugins: Sequence[Plugin], watches: Sequence[Watch | None], *, pairs: bool = True
                  ) -> list[tuple[Totals, Coefficients]]:
    """The same of several schemes on one log, whose responses go by once for all of them."""
    log = plugins[0].log
    passes = [_Pass(plugin, watch, pairs) for plugin, watch in zip(plugins, watches, strict=True)]
    for whole_steps in (False, True):
        alike = [each for each in passes if each.plugin.whole_steps == whole_steps]
        for takes in ([each.total for each in alike if not each.plugin.counts_alone], [each.add for each in alike]):
            for slab in log.slabs(whole_steps=whole_steps) if takes else ():
                for take in takes:
                    take(slab)
                slab.shared.clear()
    return [each.found for each in passes]


class _Pass:
    """A scheme while the responses go by: first for the sums of each step, then for the coefficients."""

    def __init__(self, plugin: Plugin, watch: Watch | None, pairs: bool) -> None:
        log = plugin.log
        self.plugin = plugin
        self.watch = watch
        self.pairs = pairs
        self.totals: list[Totals] = []
        self.sums: list[Coefficients] = []
        if plugin.counts_alone:
            self.totals = [_counted(log, log.step, len(log.steps)),
                           _counted(log, log.block_of_prompt[log.prompt], log.blocks)]
        # Weights alone are summed for an entropy bonus, or to take a mean off other advantages.
        self.needs_plain = plugin.scheme.entropy is not None or plugin.scheme.advantage.whitening is not None
        self.kept: deque[Credited] = deque()

    def total(self, slab: Slab) -> None:
        """Take in the sums of some groups."""
        part = self.plugin.credited(slab)
        if self.plugin.log.kept is not None:  # credited once, as it is laid out once
            self.kept.append(part)
        each = self.plugin.totals(part)
        log = self.plugin.log
        if not self.totals:
            self.totals = [mapped(lambda _, size=size: np.zeros(size), each) for size in (len(log.steps), log.blocks)]
        for total, at in zip(self.totals, (slab.step, slab.block), strict=True):
            _add_at(total, at, each)

    def add(self, slab: Slab) -> None:
        """Take in the coefficients of some responses, with the sums of all."""
        log = self.plugin.log
        part = self.kept.popleft() if self.kept else self.plugin.credited(slab)
        made = self.plugin.coefficients(part, *self._scales)
        if self.watch is not None:
            self.watch(part, made)
        if not self.needs_plain:
            made = replace(made, plain=None)
        if not self.sums:
            size = len(log.counts) if self.pairs else len(log.count)
            self.sums = [mapped(lambda _: np.zeros(size), made)]
        _add_at(self.sums[0], log.pair(slab) if self.pairs else log.place(slab), made)

    @cached_property
    def _scales(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        return self.plugin.scales(self.totals[0])

    @property
    def found(self) -> tuple[Totals, Coefficients]:
        """Totals by block, and sums of coefficients."""
        return self.totals[1], self.sums[0]


def _counted(log: Log, number: IntArray, count: int) -> Totals:
    """How many responses and groups there are by a number of each group, [number]."""
    return Totals(n=np.bincount(number, weights=log.sizes, minlength=count).astype(np.float64),
                  groups=np.bincount(number, minlength=count).astype(np.float64))


def _add_at(total: Kind, at: IntArray, part: Kind) -> None:
    """Add each field of a record to the same of another, at its places."""
    mapped(lambda sums, x: np.add.at(sums, at, x), total, part)


def measures_of(plugin: Plugin, step: Step, sums: Coefficients) -> Measures:
    """Sums [log, place] as the engine takes them, the KL of the log among the advantages."""
    cells = plugin.cells
    given = [cells.sums(each) for each in (sums.kl, sums.response) if each is not None]
    response = [mapped(lambda *each: sum(each[1:], each[0]), *given)] if given else []
    credit: ResponseTerm | TokenTerm
    if sums.gae is not None and sums.extra is not None:
        weight = cells.sums(sums.gae)
        at_entry = weight.entered
        if len(at_entry) and not plugin.adaptive:
            advantage, reach = entry_advantage(step, cells.draws_on(step.policy))
            at_entry = cells.sums(sums.gae * advantage.reshape(sums.gae.shape)
                                  + sums.extra * reach.reshape(sums.gae.shape)).entered
        credit = TokenTerm(weight=weight, credit=at_entry, reward=cells.sums(sums.extra).ended,
                           shift=next(iter(response), None))
    else:
        credit = ResponseTerm(total=response[0])
    plain = None if plugin.scheme.entropy is None or sums.plain is None else cells.sums(sums.plain)
    return Measures(credit=credit, weight=plain)


class Spread:
    """What a scheme does on a log, and how that scatters where the log is redrawn.

    Every number of a drift with a ``breakdown``, and the contributions to it; or ``whole`` without these. Else the
    change of mean length alone.

    Redrawing adds noise to an update, and on average that noise's squares to its squares. The log is a sample itself,
    and the squares of its own update are too large by as much: a redrawn log has the noise of the log and that of
    being redrawn.
    """

    def __init__(self, plugin: Plugin, sums: tuple[Totals, Coefficients], breakdown: Breakdown | None = None, *,
                 whole: bool = False) -> None:
        self.plugin = plugin
        self.totals, self.by_pair = sums
        self.breakdown = breakdown
        self.whole = whole or breakdown is not None
        self.directions = plugin.cells.directions
        self.widening = widening(plugin.log.blocks)
        now = self.redrawn(np.ones((1, plugin.log.blocks)))
        self.scale = coefficient_scale(plugin, now)
        self.readout = self._readout(self.directions)
        self.changes = self._changes(self.readout, plugin.step, now)
        self.count = 0
        self.apart = mapped(lambda x: np.zeros(np.shape(x)), self.changes)
        """Squared differences from the log as it is, summed over redrawn logs."""
        self.noises: list[Squares] = []
        """The squares of those differences' updates."""
        self.squares: list[Squares] = []
        self.drawn: list[FloatArray] = []
        """Change of length, of accuracy and of reward; inner products of the update with the direction of reward, and
        of that with itself: [number, log]."""
        self.contributions: list[FloatArray] = []

    def redrawn(self, weights: FloatArray) -> Coefficients:
        """The measures [replicate, place], per response, of the log with its blocks weighted.

        A step's denominator and its whitening are redrawn as one for the whole log, to first order: the weights of
        responses change as the scale of weights does, and coefficients c = plain·(A - m)·f of an advantage, with the
        mean m and the factor f of whitening, become (c - (m' - m)·f·plain)·f'/f.
        """
        def by_log(x: FloatArray) -> FloatArray:
            return x[:, None]

        plugin = self.plugin
        totals = mapped(lambda x: weights @ x, self.totals)
        whole = mapped(lambda x: x.sum(keepdims=True), self.totals)
        weight, mean, factor = plugin.scales(totals)
        weight_now, mean_now, factor_now = plugin.scales(whole)
        sums = mapped(lambda x: plugin.log.redrawn(x, weights), self.by_pair)
        if sums.plain is not None and sums.response is not None and factor_now[0] > 0:
            off = by_log((mean - mean_now) * factor_now) * sums.plain
            credit = mapped(lambda x: x * by_log(factor / factor_now),
                            Coefficients(response=sums.response - off, gae=sums.gae, extra=sums.extra))
            sums = replace(credit, plain=sums.plain, kl=sums.kl)
        ratio = weight / np.where(weight_now > 0, weight_now, 1.0) / np.maximum(totals.n, 1.0)
        return mapped(lambda x: x * by_log(ratio), sums)

    def _readout(self, directions: Directions) -> Readout:
        plugin = self.plugin
        task = plugin.task if self.whole else np.zeros((1, 2, plugin.log.shape[2]))
        return Readout(directions=directions, task=task, scale=self.scale)

    def _changes(self, readout: Readout, step: Step, sums: Coefficients) -> Changes:
        measures = measures_of(self.plugin, step, sums)
        return readout.changes(step, measures) if self.whole else length_changes(readout.directions, step, measures)

    def add(self, directions: Directions, sums: Coefficients) -> None:
        """Take in some redrawn logs with their measures [log, place]."""
        readout = self._readout(directions)
        step = self.plugin.step_on(directions)
        changes = self._changes(readout, step, sums)
        self.count += len(changes.length)
        apart = mapped(np.subtract, changes, self.changes)
        self.apart = mapped(lambda total, x: total + (x**2).sum(axis=0), self.apart, apart)
        self.noises.append(apart.squares(self.directions))
        self.squares.append(changes.squares(directions))
        aligned = [np.full_like(changes.length, np.nan)] * 2
        if self.breakdown is not None:
            best = Logits(*map(directions.apart, readout.best_move))
            rewarding = Logits(*map(directions.apart, readout.reward_gradient))
            aligned = [inner_product(best, changes.gradient), inner_product(best, rewarding)]
            self.contributions.append(self.breakdown.redrawn(directions, step, sums))
        self.drawn.append(np.stack([changes.length, changes.accuracy, changes.reward, *aligned]))

    # --- read ---------------------------------------------------------------------------------------------------

    def estimate(self, value: Any, stderr: Any) -> Estimate:
        """A number with its standard error."""
        return Estimate(value=value, stderr=stderr, n=self.count, method="bootstrap")

    @property
    def stderr(self) -> Changes:
        """Standard errors of the changes; NaN without redrawn logs."""
        if not self.count:
            return mapped(lambda x: np.full(x.shape, np.nan), self.apart)
        return mapped(lambda x: self.widening * np.sqrt(x / self.count), self.apart)

    @property
    def ratios(self) -> Ratios:
        """Estimates of what is not linear in the gradient, noise taken off; NaN where their error cannot be said."""
        if not self.count:
            return mapped(lambda value: self.estimate(value, np.nan), self.readout.ratios(self.changes))
        noise = mapped(lambda *x: np.concatenate(x).mean(), *self.noises)
        squares = mapped(lambda *x: np.concatenate(x), *self.squares)
        length, accuracy, reward, inner, best = np.concatenate(self.drawn, axis=1)
        values = self.readout.ratios(self.changes, noise)
        with np.errstate(invalid="ignore", divide="ignore"):
            # The squares of the redrawn logs, less the noise of the log and that of being redrawn.
            drawn = Ratios(length_per_kl=length * np.sqrt(NATS / (squares.nats - 2.0 * noise.nats)),
                           length_per_reward=0.01 * length / reward, accuracy_per_token=accuracy / length,
                           alignment=inner / np.sqrt((squares.size - 2.0 * noise.size) * best))
            errors = mapped(lambda value, x: self.widening * float(np.sqrt(np.mean((x - value) ** 2))), values, drawn)
        if np.isnan(errors.length_per_kl) and self.changes.length:  # the size of a step is lost in some redrawn logs
            per_unit = abs(values.length_per_kl / float(self.changes.length))
            errors = replace(errors, length_per_kl=per_unit * float(self.stderr.length))
        return mapped(lambda value, error: self.estimate(np.nan if np.isnan(error) else value, error), values, errors)

    @property
    def lengths_drawn(self) -> FloatArray:
        """Tokens per unit step and in a step of 0.01 nats in each redrawn log, noise taken off: [2, log]."""
        noise = mapped(lambda *x: np.concatenate(x).mean(), *self.noises)
        nats = np.concatenate([each.nats for each in self.squares]) - 2.0 * noise.nats
        length = np.concatenate(self.drawn, axis=1)[0]
        if (nats > 0).all():
            per_unit = np.sqrt(NATS / nats)
        else:  # the size of a step is lost in some redrawn logs
            per_unit = quotient(np.full_like(nats, float(self.ratios.length_per_kl)), np.asarray(self.changes.length))
        return np.stack([length, length * per_unit])

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """Tokens in a step of 0.01 nats under plausible kernels."""
        plugin = self.plugin
        family = family_of(plugin.kernels, plugin.cells.coordinates)
        over = lengths_over(family, self.directions, self.changes.gradient)
        if over is None:
            return ()
        return (kernel_doubt(over, self.estimate(self.changes.length, self.stderr.length), self.ratios.length_per_kl),)

    def drift(self) -> Drift:
        """All of it as estimates."""
        plugin = self.plugin
        stderr = self.stderr
        ratios = self.ratios
        notes = []
        if self.count and np.isnan(ratios.length_per_kl.value) and np.any(self.changes.update):
            notes.append(UNKNOWN_STEP)
        elif not self.count and plugin.adaptive:
            notes.append(NOT_REDRAWN)
        paid = effective_reward(self.readout.policy, self.changes.hazard_gradient)
        changes = replace(mapped(self.estimate, self.changes, stderr), effective_reward=self.estimate(paid, np.nan))
        if plugin.cells.paths in ("one", "column"):
            # How P(correct) rises with the length is not told from single responses.
            changes = replace(changes, needed=UNTOLD, free=UNTOLD)
        groups = len(plugin.log.prompt)
        step_std = float(stderr.length) * np.sqrt(groups / plugin.scheme.prompts_per_step)
        step_std_error = step_std / np.sqrt(2.0 * max(plugin.log.blocks - 1, 1))
        policy = plugin.cells.policy
        question = Question(scheme=plugin.bare, policy=policy, old=policy, reference=policy, kernels=plugin.kernels)
        numbers = vars(changes) | vars(ratios)
        drift = reported(Report(
            question=question, step=plugin.step, directions=self.directions, gradient=self.changes.gradient,
            number=numbers.__getitem__, said=lambda: notes, open=lambda: (),
            how={"method": "audit", "replicates": self.count}), self.estimate(step_std, step_std_error))
        asked = replace(plugin.scheme, reward=AsLogged() if plugin.rule is None else plugin.rule)
        origin = {"policy": "the law of the log", "scheme": repr(plugin.scheme)}
        return drift.but(scheme=asked, provenance=drift.provenance | origin)


def redraw(spreads: Sequence[Spread], weights: FloatArray, say: Callable[[str], None] | None = None) -> None:
    """Redraw a log by how often each block is drawn, [replicate, block]; not for a λ of the length.

    It is redrawn alike for all schemes, so that their differences are paired.
    """
    spreads = [each for each in spreads if not each.plugin.adaptive]
    if not spreads:
        return
    cells = spreads[0].plugin.cells
    stacked = max(STACKED // cells.policy.logits.size, 1)
    at_once = stacked * max(REDRAWN // (stacked * len(cells.log.count)), 1)
    for start in range(0, len(weights), at_once):
        drawn = weights[start:start + at_once]
        law = cells.log.redrawn(cells.log.counts, drawn)
        measures = [each.redrawn(drawn) for each in spreads]
        for first in range(0, len(drawn), stacked):
            some = slice(first, first + stacked)
            directions = cells.redrawn(law[some])
            for each, sums in zip(spreads, measures, strict=True):
                each.add(directions, mapped(lambda x, some=some: x[some], sums))
            if say is not None:
                say(f"prompts redrawn {min(start + some.stop, len(weights)):,} of {len(weights):,} times")
