"""The drift of schemes on a log, and its spread when the log's prompts are drawn again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lossim._auditing.breakdown import Breakdown
from lossim._auditing.cells import Cells
from lossim._auditing.log import widening
from lossim._auditing.plugin import Plugin
from lossim._engine import NATS, Drift, Readout, effective_reward, finished, inner_product
from lossim._support.progress import Progress
from lossim._support.types import FloatArray
from lossim.estimates import Estimate
from lossim.rewards import AsLogged

__all__ = ["drifts", "length_now", "redraws"]

MOST_NUMBERS = 1 << 23
"""Numbers of redrawn measures held at once."""
NOT_KEPT = ("length_per_kl", "length_per_reward", "alignment")
"""Numbers that are not linear in the gradient."""


def redraws(rng: np.random.Generator, blocks: int, replicates: int) -> FloatArray:
    """How often each block is drawn, [replicate, block]."""
    return rng.multinomial(blocks, np.full(blocks, 1.0 / blocks), size=replicates).astype(np.float64)


def readout_of(plugin: Plugin, readout: Readout) -> Readout:
    """The directions of a policy with the rewards of this scheme's log."""
    made = Readout(policy=readout.policy, task=plugin.task, scale=plugin.scale)
    made.__dict__["length_direction"] = readout.length_direction
    return made


def _read(plugin: Plugin, readout: Readout, sums: dict[str, FloatArray]) -> dict[str, Any]:
    return readout.linear(plugin.step_of(readout.policy), plugin.of_cells(sums))


def length_now(plugin: Plugin) -> float:
    """dE[T]/dη on the log as it is, tokens per unit step."""
    readout = plugin.cells.readout
    stops, paths, _ = readout.gradient(plugin.step, plugin.of_cells(plugin.sums))
    ahead, along_paths = readout.length_direction
    return inner_product((stops, paths), (ahead, along_paths))


def drifts(cells: Cells, plugins: Sequence[Plugin], weights: FloatArray, progress: bool = False,
           breakdowns: Sequence[Breakdown] = ()) -> list[Drift]:
    """The drift of each scheme, all redrawn alike, so that their differences are paired.

    ``breakdowns``, one for each scheme or none, collect what contributions become in each redrawn log.
    """
    readouts = [readout_of(plugin, cells.readout) for plugin in plugins]
    values = [_read(plugin, readout, plugin.sums) for plugin, readout in zip(plugins, readouts, strict=True)]
    spreads = [_Spread(value, readout, cells.log.blocks) for value, readout in zip(values, readouts, strict=True)]
    at_once = max(MOST_NUMBERS // (math.prod(cells.log.shape) * 3 * len(plugins)), 1)
    report = Progress(progress)
    for start in range(0, len(weights), at_once):
        drawn = weights[start:start + at_once]
        law = cells.log.redrawn(cells.log.counts, drawn)
        measures = [{} if plugin.adaptive else plugin.redrawn(drawn) for plugin in plugins]
        for i in range(len(drawn)):
            redrawn = cells.readout_of(cells.redrawn(law[i]))
            for number, (plugin, sums, spread) in enumerate(zip(plugins, measures, spreads, strict=True)):
                if sums:
                    readout, mine = readout_of(plugin, redrawn), {name: x[i] for name, x in sums.items()}
                    spread.add(_read(plugin, readout, mine), readout)
                    if breakdowns:
                        breakdowns[number].draws.append(breakdowns[number].redrawn(readout, mine))
        report.say(f"prompts redrawn {start + len(drawn):,} of {len(weights):,} times")
    report.end()
    return [_drift(plugin, readout, value, spread)
            for plugin, readout, value, spread in zip(plugins, readouts, values, spreads, strict=True)]


class _Spread:
    """Spread of what replicates give, one after the other."""

    def __init__(self, value: dict[str, Any], readout: Readout, blocks: int) -> None:
        self.value, self.readout, self.count = value, readout, 0
        self.widen = widening(blocks)
        self.squares = {name: np.zeros(np.shape(x)) for name, x in value.items()}
        self.noise, self.each = np.zeros(2), list[tuple[float, ...]]()

    def add(self, values: dict[str, Any], readout: Readout) -> None:
        """Take in a replicate."""
        self.count += 1
        for name, x in values.items():
            self.squares[name] += (np.asarray(x) - self.value[name]) ** 2
        apart = {name: values[name] - self.value[name] for name in ("update", "hazard_gradient", "path_gradient")}
        self.noise += self.readout.norms(apart)
        nats, squared = readout.norms(values)
        best = readout.reward_gradient, readout.best_move
        inner = inner_product(best[1], (values["hazard_gradient"], values["path_gradient"]))
        size = inner_product(*best)
        self.each.append((float(values["length"]), float(values["reward"]), float(nats), float(squared), float(inner),
                          float(size)))

    def stderr(self, name: str) -> Any:
        """Standard error of a number that is linear in the gradient."""
        return self.widen * np.sqrt(self.squares[name] / self.count) if self.count else np.full(
            self.squares[name].shape, np.nan)

    def ratios(self, values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
        """The numbers that are not linear, noise taken off, and their standard errors."""
        if not self.count:
            return self.readout.ratios(values), dict.fromkeys(NOT_KEPT, np.nan)
        noise = self.noise / self.count
        ratios = self.readout.ratios(values, noise)
        length, reward, nats, squared, inner, size = np.array(self.each).T
        # A redrawn log carries the noise of the log and that of being redrawn.
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = {"length_per_kl": length * np.sqrt(NATS / (nats - 2.0 * noise[0])),
                     "length_per_reward": 0.01 * length / reward,
                     "alignment": inner / np.sqrt((squared - 2.0 * noise[1]) * size)}
        stderr = {name: self.widen * float(np.sqrt(np.mean((x - ratios[name]) ** 2))) for name, x in drawn.items()}
        if np.isnan(stderr["length_per_kl"]) and values["length"]:  # the size of a step is lost in some redrawn logs
            stderr["length_per_kl"] = abs(ratios["length_per_kl"] / float(values["length"])) * float(
                self.stderr("length"))
        return ratios, stderr


def _drift(plugin: Plugin, readout: Readout, values: dict[str, Any], spread: _Spread) -> Drift:
    ratios, unsure = spread.ratios(values)
    numbers = values | ratios
    numbers["effective_reward"] = effective_reward(readout.policy, values["hazard_gradient"])
    stderr = {name: spread.stderr(name) for name in values} | unsure
    stderr["effective_reward"] = np.nan
    notes = []
    if spread.count:
        numbers |= {name: np.nan for name in unsure if np.isnan(stderr[name])}
        if np.isnan(numbers["length_per_kl"]) and np.any(values["update"]):
            notes.append("how far the update moves the policy is not told from the noise of the log: no step of 0.01 "
                         "nats")
    elif plugin.adaptive:
        notes.append("λ depends on the length here, and each redrawn log would take O(max_tokens²): no standard errors")
    groups, scheme = len(plugin.log.starts) - 1, plugin.scheme
    numbers["step_std"] = float(stderr["length"]) * np.sqrt(groups / scheme.prompts_per_step)
    stderr["step_std"] = numbers["step_std"] / np.sqrt(2.0 * max(plugin.log.blocks - 1, 1))

    def make(name: str) -> Estimate:
        return Estimate(value=numbers[name], stderr=stderr[name], n=spread.count, method="bootstrap")

    made = finished(plugin.step, readout, numbers, make, notes, {"method": "audit", "replicates": spread.count})
    reward = AsLogged() if plugin.pay.rule is None else plugin.pay.rule
    paid = replace(reward, shaping=plugin.pay.shapings) if plugin.pay.shapings and not isinstance(reward, AsLogged) \
        else reward
    return replace(made, scheme=replace(scheme, reward=paid),
                   provenance=made.provenance | {"policy": "the law of the log", "scheme": repr(scheme)})
