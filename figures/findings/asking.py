"""A finding asked: the shares of draws that agree, sizes, what decides, and by which mechanism."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

import lossim as ls
from findings.parts import Asked, Finding, Start
from findings.questions import Floats, Step, unit_of
from findings.rules import BASELINES, DRAWS, FLAT, FLAT_CORRELATION, agrees, group, verdict

QUANTILES = (0.05, 0.5, 0.95)
LOOKED_INTO = 8
"""Draws whose mechanism is looked into: the whole drift costs more than its sign."""


class Answers(NamedTuple):
    """A survey of a finding, and what it asked at each draw that was answered."""

    survey: ls.Survey
    starts: list[Start]
    asked: list[Asked]


def survey(finding: Finding, *, draws: int = DRAWS, seed: int = 0, scale: float | None = None) -> Answers:
    """Ask a finding of as many starts; ``scale`` counts its lengths in other units."""
    given = {name: each.law for name, each in finding.given.items()}
    if scale is not None:
        given["scale"] = scale
    question = Kept(finding)

    def start(**values: Any) -> Start:
        return made(finding.start, frozenset(values.items()))

    return Answers(ls.survey(question, given, start=start, draws=draws, seed=seed), question.starts, question.asked)


class Kept:
    """The question of a finding, which keeps the starts it was asked of, and the answers."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        self.starts: list[Start] = []
        self.asked: list[Asked] = []

    def __call__(self, start: Start) -> float:
        return self.of_each([start])[0]

    def of_each(self, starts: list[Start]) -> list[float]:
        """At equal KL, of each start."""
        found = self.finding.ask.of_each(starts)
        self.starts += starts
        self.asked += found
        return [each.per_kl for each in found]


@lru_cache(maxsize=256)
def made(start: Callable[..., ls.Policy], values: frozenset[tuple[str, Any]]) -> Start:
    """The start of these values; findings of one source share theirs."""
    given = dict(values)
    return Start.of(start(**given), given)


def numbers(finding: Finding, **options: Any) -> dict[str, Any]:
    """Everything that is told of a finding, as plain values."""
    answers = survey(finding, **options)
    length = np.array([start.mean_length for start in answers.starts])
    per_kl, per_step, rule, goal = np.array(answers.asked).T
    flat = FLAT * length
    share = _share(per_kl, finding, flat)
    grows = np.ones(len(per_kl)) if finding.kind == "single" else np.full(len(per_kl), np.nan)
    rules = dict(zip(BASELINES, (_share(rule, finding, np.full(len(rule), FLAT_CORRELATION)),
                                 _share(grows, finding, np.zeros(len(grows))),
                                 _share(goal, finding, np.full(len(goal), FLAT))), strict=True))
    decides = answers.survey.decides_direction
    if not any(np.isfinite(part) for part in decides.values()):
        decides = answers.survey.decides_size
    known = {name: part for name, part in decides.items() if np.isfinite(part)}
    most = max(known, key=lambda name: known[name]) if known else ""
    return {
        "id": finding.id, "group": group(pair=finding.kind == "pair", expected=finding.expected),
        "share": share, "interval": list(_interval(share, len(per_kl))),
        "verdict": "depends" if finding.declined else verdict(share),
        "share_per_step": _share(per_step, finding, flat if finding.expected else np.zeros(len(flat))),
        "decides": most, "decides_share": known.get(most, 0.0), "baselines": rules,
        "quantiles": np.quantile(per_kl, QUANTILES).tolist(),
        "percent": np.quantile(100.0 * per_kl / length, QUANTILES).tolist(),
        "answered": len(per_kl), "failed": {name: count for name, (count, _) in answers.survey.failures.items()},
        "mechanism": mechanism(finding, answers.starts)}


def _share(number: Floats, finding: Finding, flat: Floats) -> float:
    """The share of numbers that say what was observed; those that say nothing do not."""
    told = [bool(np.isfinite(each)) and agrees(float(each), finding.expected, float(limit))
            for each, limit in zip(number, flat, strict=True)]
    return float(np.mean(told))


def _interval(share: float, draws: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % of a share."""
    found = ls.Share.of(round(share * draws), draws)
    return found.low, found.high


def mechanism(finding: Finding, starts: list[Start]) -> dict[str, float]:
    """What the number of a step of 0.01 nats is made of, the mean over the first draws; of a pair, the difference.

    By the tokens that the loss acts on (right, wrong and cut responses; the choice of the path), and by what it buys
    (needed and free). Tokens, in the units of the finding's ``scale``.
    """
    steps = getattr(finding.ask, "steps", None)
    if steps is None:
        return {}
    found = []
    for start in starts[:LOOKED_INTO]:
        parts = [parted(step) for step in steps(start)]
        found.append({name: parts[0][name] - (parts[1][name] if len(parts) > 1 else 0.0) for name in parts[0]})
    return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


def parted(step: Step) -> dict[str, float]:
    """The parts of a step of 0.01 nats, tokens."""
    drift = step.drift
    unit = unit_of(drift)
    sources = np.asarray(drift.sources.value, dtype=np.float64)  # [cell, outcome, role, term]
    by_outcome = sources[:, :, :2].sum(axis=(0, 2, 3))
    return {name: float(each) * unit for name, each in (
        ("right", by_outcome[0]), ("wrong", by_outcome[1]), ("cut", by_outcome[2]),
        ("paths", sources[:, :, 2].sum()), ("needed", float(drift.needed)), ("free", float(drift.free)))}
