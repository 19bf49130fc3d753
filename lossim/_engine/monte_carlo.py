"""The drift from sampled steps, with standard errors from independent blocks of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np

from lossim._engine.changes import Changes, Ratios
from lossim._engine.exact import update_scale
from lossim._engine.over_critics import critic_doubt
from lossim._engine.over_schemes import length_under, scheme_doubts
from lossim._engine.readout import Readout
from lossim._engine.report import Question, Report, describe_rng, linear_numbers, reported
from lossim._engine.result import Drift
from lossim._engine.sampled import MOST_RESPONSES, block_measures
from lossim._engine.step import Step
from lossim._model import Directions
from lossim._support.progress import Progress
from lossim._support.records import Record, mapped
from lossim._support.text import Note
from lossim._support.types import NoClosedForm
from lossim.estimates import Estimate
from lossim.schemes import Scheme

BLOCKS = 64
"""Blocks of batches behind a Monte Carlo standard error."""
LEAST_BLOCKS = 16
MOST_NUMBERS = 40_000_000
"""Numbers [block, cell, t] that are kept of all blocks."""
UNKNOWN_STEP = Note("noise", "the update is not told from sampling noise: length_per_kl and alignment need more "
                    "batches")
UNKNOWN_DIRECTION = Note("noise", "the direction of the update is not told from sampling noise: alignment needs more "
                         "batches")
NO_REWARD = Note("group reward", "the reward compares the responses of a group: reward, length_per_reward and "
                 "alignment are not defined")


class Sampling(Record):
    """How steps are sampled: so many blocks of so many batches, with so many responses in memory at once."""

    rng: np.random.Generator
    blocks: int
    per_block: int
    at_once: int
    progress: bool

    @property
    def batches(self) -> int:
        """All of them."""
        return self.blocks * self.per_block

    def estimate(self, value: Any, stderr: Any) -> Estimate:
        """A number over all batches, with its standard error."""
        return Estimate(value=value, stderr=stderr, n=self.batches, method="monte carlo")


class Sampled(Record):
    """What the blocks have in common: means and standard errors, the ratios, and how one block scatters."""

    readout: Readout
    mean: Changes
    stderr: Changes
    ratios: Ratios
    ratios_stderr: Ratios
    spread: float


def sampled_drift(question: Question, step: Step, rng: np.random.Generator, batches: int, progress: bool,
                  at_once: int = MOST_RESPONSES) -> Drift:
    """The drift from ``batches`` sampled steps, with so many responses in memory at once."""
    blocks = int(min(batches, BLOCKS, max(LEAST_BLOCKS, MOST_NUMBERS // step.policy.logits.size)))
    how = Sampling(rng=rng, blocks=blocks, per_block=-(-batches // blocks), at_once=at_once, progress=progress)
    seed = describe_rng(rng)
    again = replace(how, rng=deepcopy(rng), progress=False)
    directions = question.policy.directions
    found = _sampled(step, directions, how)
    mean = found.mean
    ratios = found.ratios
    own = _told(found, how)
    critic, notes = critic_doubt(step.scheme, float(own), length_under(step, directions))
    unsettled, about_scheme = scheme_doubts(question.scheme, own, _length_under(step, directions, again))
    # What noise leaves unknown.
    if np.isnan(ratios.length_per_kl) and np.any(mean.update):
        notes.append(UNKNOWN_STEP)
    elif found.ratios_stderr.alignment > 1.0:
        ratios = replace(ratios, alignment=np.nan)
        notes.append(UNKNOWN_DIRECTION)
    if step.scheme.reward.group_relative:
        notes.append(NO_REWARD)
        mean = replace(mean, reward=np.nan)
        ratios = replace(ratios, length_per_reward=np.nan, alignment=np.nan)
    notes += about_scheme
    one_step = found.spread * np.sqrt(how.per_block)
    numbers = vars(mapped(how.estimate, mean, found.stderr)) | vars(mapped(how.estimate, ratios, found.ratios_stderr))
    report = Report(question=question, step=step, directions=directions, gradient=mean.gradient,
                    number=numbers.__getitem__, said=lambda: notes, open=lambda: [*critic, *unsettled],
                    how={"method": "monte_carlo", "batches": how.batches, "blocks": blocks, "rng": seed})
    return reported(report, how.estimate(one_step, one_step / np.sqrt(2.0 * (blocks - 1))))


def _sampled(step: Step, directions: Directions, how: Sampling) -> Sampled:
    """The numbers of a step over all blocks."""
    readout = Readout(directions=directions, task=step.task, scale=update_scale(step))
    kept: list[Changes] = []

    def numbers() -> Iterator[Changes]:
        """The numbers of each block; what ratios are made of is kept of all of them."""
        with Progress(how.progress) as report:
            measured = block_measures(step, how.rng, how.blocks, how.per_block, how.at_once)
            for done, measures in enumerate(measured, start=1):
                changes = linear_numbers(step, readout, measures)
                kept.append(changes.for_ratios)
                report.say(f"monte carlo: {done * how.per_block:,} of {how.batches:,} batches")
                yield changes

    mean, spread = _moments(numbers())
    stderr = mapped(np.divide, spread, np.sqrt(how.blocks))
    ratios, ratios_stderr = _ratios(readout, mean.for_ratios, stderr, kept)
    return Sampled(readout=readout, mean=mean, stderr=stderr, ratios=ratios, ratios_stderr=ratios_stderr,
                   spread=float(spread.length))


def _told(found: Sampled, how: Sampling) -> Estimate:
    """``length_per_kl``: 0 where nothing moves, NaN where it is not told from noise."""
    if not np.any(found.mean.update):
        return Estimate(value=0.0)
    return how.estimate(found.ratios.length_per_kl, found.ratios_stderr.length_per_kl)


def _length_under(step: Step, directions: Directions, how: Sampling) -> Callable[[Scheme], Estimate]:
    """``length_per_kl`` by the scheme that is told: exact, or from the same batches where that has no closed form."""
    exact = length_under(step, directions)

    def length(scheme: Scheme) -> Estimate:
        try:
            return exact(scheme)
        except NoClosedForm:
            same = replace(how, rng=deepcopy(how.rng))
            return _told(_sampled(replace(step, scheme=scheme), directions, same), same)

    return length


def _moments(records: Iterator[Changes]) -> tuple[Changes, Changes]:
    """Mean and standard deviation of records that come one after the other, by Welford's recurrence.

    mean_n = mean_{n-1} + (x_n - mean_{n-1})/n and squares_n = squares_{n-1} + (x_n - mean_{n-1})(x_n - mean_n).
    """
    mean = next(records)
    squares = mapped(np.zeros_like, mean)
    count = 1
    for record in records:
        count += 1
        before = mean
        mean = mapped(lambda mean, x, n: mean + (x - mean) / n, before, record, count)
        squares = mapped(lambda squares, x, mean, new: squares + (x - mean) * (x - new), squares, record, before, mean)
    return mean, mapped(lambda x: np.sqrt(x / (count - 1)), squares)


def _ratios(readout: Readout, mean: Changes, stderr: Changes, kept: list[Changes]) -> tuple[Ratios, Ratios]:
    """The ratios with most of their bias removed, and their standard errors, by a jackknife over blocks.

    Noise adds to a norm q of the mean, with many coordinates more than there is signal; q(ḡ) - Σ q(g_b - ḡ)/(B(B - 1))
    is unbiased, and the jackknife removes most of the bias that the ratios have beyond that.
    """
    blocks = len(kept)
    apart = [mapped(np.subtract, one, mean).squares(readout.directions) for one in kept]
    noise = mapped(lambda *each: np.sum(each), *apart)
    ratios = readout.ratios(mean, mapped(np.divide, noise, blocks * (blocks - 1)))
    all_blocks = mapped(lambda x: blocks * x, mean)

    def noise_of_others(total: float, own: float) -> float:
        return (total - own * (blocks / (blocks - 1))) / ((blocks - 1) * (blocks - 2))

    without = []
    for one, own in zip(kept, apart, strict=True):
        others = mapped(lambda total, x: (total - x) / (blocks - 1), all_blocks, one)
        without.append(readout.ratios(others, mapped(noise_of_others, noise, own)))

    def unbiased(value: float, *replicas: float) -> float:
        return blocks * value - (blocks - 1) * np.array(replicas).mean()

    def spread(*replicas: float) -> float:
        each = np.array(replicas)
        return np.sqrt((blocks - 1) / blocks * np.sum((each - each.mean()) ** 2))

    length = (float(mean.length), float(stderr.length))
    reward = (float(mean.reward), float(stderr.reward))
    numerators = Ratios(length_per_kl=length, length_per_reward=length, accuracy_per_token=length, alignment=reward)
    return mapped(unbiased, ratios, *without), mapped(_at_least, mapped(spread, *without), ratios, numerators)


def _at_least(error: float, value: float, numerator: tuple[float, float]) -> float:
    """The standard error of a ratio; that of its numerator where the sign itself is noise, which no jackknife sees."""
    mean, stderr = numerator
    if abs(mean) >= 3.0 * stderr:
        return error
    return max(error, abs(value) * stderr / abs(mean)) if mean else np.inf
