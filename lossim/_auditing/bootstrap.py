"""The drift of schemes on a log, and its spread when the log's prompts are drawn again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import numpy as np

from lossim._auditing.breakdown import Breakdown
from lossim._auditing.cells import Cells
from lossim._auditing.log import widening
from lossim._auditing.plugin import Coefficients, Plugin
from lossim._auditing.reading import Reading
from lossim._auditing.stack import Stack
from lossim._engine import (
    NATS,
    Changes,
    Directions,
    Drift,
    Measures,
    Numbers,
    Question,
    Ratios,
    Readout,
    ResponseTerm,
    Squares,
    TokenTerm,
    effective_reward,
    inner_product,
    reported,
    update_gradient,
)
from lossim._model import Logits
from lossim._support.records import mapped
from lossim._support.types import FloatArray
from lossim.estimates import Estimate
from lossim.rewards import AsLogged

__all__ = ["DriftSpread", "LengthSpread", "length_now", "redraw", "redraws"]

UNKNOWN_STEP = "how far the update moves the policy is not told from the noise of the log: no step of 0.01 nats"
NOT_REDRAWN = "λ depends on the length here, and each redrawn log would take O(max_tokens²): no standard errors"
STACKED = 1 << 16
"""Hazards of the redrawn logs that are worked on at once: a processor's cache holds them."""
REDRAWN = 1 << 20
"""Numbers [replicate, class, grade, end] of a measure that are redrawn at once."""
Say = Callable[[str], None]


def redraws(rng: np.random.Generator, blocks: int, replicates: int) -> FloatArray:
    """How often each block is drawn, [replicate, block]."""
    return rng.multinomial(blocks, np.full(blocks, 1.0 / blocks), size=replicates).astype(np.float64)


def measures_of(plugin: Plugin, sums: Coefficients) -> Measures:
    """Sums [..., class, grade, end] as the engine takes them, the KL of the log among the advantages."""
    split = mapped(lambda x: plugin.cells.of_cells(x.reshape(-1, *x.shape[-2:])), sums)
    response: Any = split.response
    if split.kl is not None:
        response = split.kl if response is None else split.kl + response
    credit: ResponseTerm | TokenTerm
    if split.gae is not None:
        credit = TokenTerm(weight=split.gae, reward=split.extra, shift=response)
    else:
        credit = ResponseTerm(total=response)
    return Measures(credit=credit, weight=split.plain if plugin.scheme.entropy is not None else None)


def length_now(plugin: Plugin, sums: Coefficients) -> float:
    """dE[T]/dη on the log as it is, tokens per unit step."""
    gradient = update_gradient(plugin.step, measures_of(plugin, sums))
    return inner_product(gradient, plugin.cells.directions.length)


# --- what redrawn logs make of changes ------------------------------------------------------------------------


class Spread:
    """Changes on a log, and how they scatter where it is redrawn.

    Redrawing adds noise to an update, and on average that noise's squares to its squares. The log is a sample itself,
    and the squares of its own update are too large by as much: a redrawn log has the noise of the log and that of
    being redrawn.
    """

    def __init__(self, log: Stack, changes: Changes, blocks: int) -> None:
        self.log = log
        self.changes = changes
        self.widening = widening(blocks)
        self.count = 0
        self.apart = mapped(lambda x: np.zeros(np.shape(x)), changes)
        """Squared differences from the log as it is, summed over redrawn logs."""
        self.noises: list[Squares] = []
        """The squares of those differences' updates."""
        self.squares: list[Squares] = []
        self.lengths: list[FloatArray] = []

    def add(self, stack: Stack, changes: Changes) -> None:
        """Take in the changes on some redrawn logs."""
        self.count += stack.count
        apart = mapped(np.subtract, changes, self.changes)
        self.apart = mapped(lambda total, x: total + (x**2).sum(axis=0), self.apart, apart)
        self.noises.append(self.log.squares(apart))
        self.squares.append(stack.squares(changes))
        self.lengths.append(changes.length)

    @property
    def noise(self) -> Squares:
        """What redrawing adds to the squares on average; 0 where it is not known."""
        if not self.count:
            return Squares(nats=0.0, size=0.0)
        return mapped(lambda *x: np.concatenate(x).mean(), *self.noises)

    @property
    def drawn_squares(self) -> Squares:
        """The squares of the redrawn logs, less the noise of the log and that of being redrawn."""
        squares = mapped(lambda *x: np.concatenate(x), *self.squares)
        return mapped(lambda x, noise: x - 2.0 * noise, squares, self.noise)

    @property
    def stderr(self) -> Changes:
        """Standard errors of the changes; NaN without redrawn logs."""
        if not self.count:
            return mapped(lambda x: np.full(x.shape, np.nan), self.apart)
        return mapped(lambda x: self.widening * np.sqrt(x / self.count), self.apart)

    def error(self, value: float, drawn: FloatArray) -> float:
        """Standard error of a number that is not linear, from what it is in each redrawn log."""
        return self.widening * float(np.sqrt(np.mean((drawn - value) ** 2)))

    def length_per_kl_error(self, value: float) -> float:
        """Standard error of the change of mean length in a step of 0.01 nats; NaN if it cannot be said."""
        if not self.count:
            return np.nan
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = np.concatenate(self.lengths) * np.sqrt(NATS / self.drawn_squares.nats)
        error = self.error(value, drawn)
        if np.isnan(error) and self.changes.length:  # the size of a step is lost in some redrawn logs
            return abs(value / float(self.changes.length)) * float(self.stderr.length)
        return error

    def estimate(self, value: Any, stderr: Any) -> Estimate:
        """A number with its standard error."""
        return Estimate(value=value, stderr=stderr, n=self.count, method="bootstrap")


class LengthSpread:
    """The change of mean length by a scheme, and no other number: on a log, and where it is redrawn."""

    def __init__(self, reading: Reading) -> None:
        cells = reading.plugin.cells
        self.reading = reading
        changes = self._changes(cells.stack, reading.sums)
        self.spread = Spread(cells.stack, mapped(lambda x: x[0], changes), cells.log.blocks)

    def _changes(self, stack: Stack, sums: Coefficients) -> Changes:
        plugin = self.reading.plugin
        return stack.length_changes(plugin.step_on(stack), measures_of(plugin, sums))

    def add(self, stack: Stack, sums: Coefficients) -> None:
        """Take in some redrawn logs with their measures [log, class, grade, end]."""
        self.spread.add(stack, self._changes(stack, sums))

    @property
    def length(self) -> Estimate:
        """Tokens per unit step."""
        return self.spread.estimate(self.spread.changes.length, self.spread.stderr.length)

    @property
    def length_per_kl(self) -> Estimate:
        """Tokens in a step of 0.01 nats."""
        spread = self.spread
        plugin = self.reading.plugin
        unpaid = np.zeros((1, 2, plugin.log.shape[2]))
        readout = Readout(directions=plugin.cells.directions, task=unpaid, scale=self.reading.scale)
        value = readout.ratios(spread.changes, spread.noise).length_per_kl
        error = spread.length_per_kl_error(value)
        if spread.count and np.isnan(error):
            value = np.nan
        return spread.estimate(value, error)


class DriftSpread:
    """Every number of a drift, and the contributions to it: on a log, and where it is redrawn."""

    def __init__(self, reading: Reading, breakdown: Breakdown) -> None:
        plugin = reading.plugin
        self.reading = reading
        self.breakdown = breakdown
        self.readout = self._readout(plugin.cells.directions)
        changes = self.readout.changes(plugin.step, measures_of(plugin, reading.sums))
        self.spread = Spread(plugin.cells.stack, changes, plugin.log.blocks)
        self.contributions: list[FloatArray] = []
        self.rewards: list[FloatArray] = []
        self.aligned: list[FloatArray] = []
        """Inner products of the update with the direction of reward, and of that direction with itself."""

    def _readout(self, directions: Directions) -> Readout:
        return Readout(directions=directions, task=self.reading.plugin.task, scale=self.reading.scale)

    def add(self, stack: Stack, sums: Coefficients) -> None:
        """Take in some redrawn logs with their measures [log, class, grade, end]."""
        plugin = self.reading.plugin
        readout = self._readout(stack.directions)
        step = plugin.step_on(stack)
        changes = stack.changes(readout, step, measures_of(plugin, sums))
        self.spread.add(stack, changes)
        gradient = Logits(changes.hazard_gradient.reshape(stack.policy.logits.shape), changes.path_gradient.ravel())
        best = readout.best_move
        self.rewards.append(changes.reward)
        self.aligned.append(np.stack([stack.inner_product(best, gradient),
                                      stack.inner_product(best, readout.reward_gradient)]))
        self.contributions.append(self.breakdown.redrawn(stack, step, sums))

    @property
    def source_draws(self) -> FloatArray | None:
        """Contributions in the redrawn logs, [replicate, term, outcome, length bin]; None without any."""
        return np.concatenate(self.contributions) if self.contributions else None

    def _ratios(self) -> tuple[Ratios, Ratios]:
        """The numbers that are not linear in the gradient, noise taken off, and their standard errors."""
        spread = self.spread
        ratios = self.readout.ratios(spread.changes, spread.noise)
        if not spread.count:
            return ratios, Ratios(length_per_kl=np.nan, length_per_reward=np.nan, alignment=np.nan)
        inner, best = np.concatenate(self.aligned, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            per_reward = 0.01 * np.concatenate(spread.lengths) / np.concatenate(self.rewards)
            alignment = inner / np.sqrt(spread.drawn_squares.size * best)
        errors = Ratios(
            length_per_kl=spread.length_per_kl_error(ratios.length_per_kl),
            length_per_reward=spread.error(ratios.length_per_reward, per_reward),
            alignment=spread.error(ratios.alignment, alignment))
        return mapped(lambda value, error: np.nan if np.isnan(error) else value, ratios, errors), errors

    def drift(self) -> Drift:
        """All of it as estimates."""
        plugin = self.reading.plugin
        spread = self.spread
        estimate = spread.estimate
        ratios, ratio_errors = self._ratios()
        notes = []
        if spread.count and np.isnan(ratios.length_per_kl) and np.any(spread.changes.update):
            notes.append(UNKNOWN_STEP)
        elif not spread.count and plugin.adaptive:
            notes.append(NOT_REDRAWN)
        paid = effective_reward(self.readout.policy, spread.changes.hazard_gradient)
        numbers = Numbers(changes=mapped(estimate, spread.changes, spread.stderr), response_weight=None,
                          effective_reward=estimate(paid, np.nan))
        groups = len(plugin.log.index.prompt)
        step_std = float(spread.stderr.length) * np.sqrt(groups / plugin.scheme.prompts_per_step)
        step_std_error = step_std / np.sqrt(2.0 * max(plugin.log.blocks - 1, 1))
        policy = plugin.cells.policy
        question = Question(scheme=plugin.bare, policy=policy, old=policy, reference=policy)
        drift = reported(question, plugin.step, self.readout, numbers, mapped(estimate, ratios, ratio_errors),
                         estimate(step_std, step_std_error), notes, {"method": "audit", "replicates": spread.count})
        asked = replace(plugin.scheme, reward=AsLogged() if plugin.pay.rule is None else plugin.pay.rule)
        origin = {"policy": "the law of the log", "scheme": repr(plugin.scheme)}
        return replace(drift, scheme=asked, provenance=drift.provenance | origin)


def redraw(cells: Cells, spreads: Sequence[LengthSpread | DriftSpread], weights: FloatArray, say: Say | None = None
           ) -> None:
    """Redraw the log, alike for all schemes, so that their differences are paired; not for a λ of the length."""
    spreads = [each for each in spreads if not each.reading.plugin.adaptive]
    stacked = max(STACKED // cells.policy.logits.size, 1)
    at_once = stacked * max(REDRAWN // (stacked * cells.log.law.size), 1)
    for start in range(0, len(weights) if spreads else 0, at_once):
        drawn = weights[start:start + at_once]
        law = cells.log.redrawn(cells.log.counts, drawn)
        measures = [each.reading.redrawn(drawn) for each in spreads]
        for first in range(0, len(drawn), stacked):
            some = slice(first, first + stacked)
            stack = cells.redrawn(law[some])
            for each, sums in zip(spreads, measures, strict=True):
                each.add(stack, mapped(itemgetter(some), sums))
            if say is not None:
                say(f"prompts redrawn {start + first + stack.count:,} of {len(weights):,} times")
