"""A small result of every kind, with names that no page takes as they are, and results at the edges."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

import lossim as ls

EVIL = '<b>&"x \'y $a_{ </script>'
"""A name of a user's: markup, quotes, and half a formula."""
SCHEME = ls.schemes.grpo(group_size=4, prompts_per_step=8)
OTHER = ls.schemes.rloo(group_size=4, prompts_per_step=8)
SAMPLED = {"method": "stochastic", "replicates": 2}


@cache
def policy(cap: int = 48) -> ls.Policy:
    law = ls.lengths.geometric(mean=10)
    return ls.Policy([ls.PromptClass(EVIL, weight=0.5, paths=[
        ls.Path(EVIL, probability=0.4, length=law, p_correct=1.0),
        ls.Path("wrong", probability=0.6, length=ls.lengths.geometric(mean=20), p_correct=0.0)]),
        ls.PromptClass("other", weight=0.5, paths=[ls.Path("any", length=law, p_correct=0.3)])], max_tokens=cap)


@cache
def log() -> ls.Rollouts:
    drawn = policy().sample(np.random.default_rng(3), prompts=24, group_size=4)
    return ls.Rollouts(lengths=drawn.lengths, rewards=drawn.rewards, prompt_ids=drawn.prompt_ids, correct=drawn.correct,
                       truncated=drawn.truncated, steps=drawn.prompt_ids % 4, classes=drawn.classes,
                       class_names=(EVIL, "other"))


@cache
def curves() -> ls.Curves:
    return ls.Curves(steps=range(8), length=[12, 12.5, 13, 13, 13.5, 14, 14.5, 15], notes=[f"run {EVIL}"],
                     accuracy=[0.3, 0.31, float("nan"), 0.33, 0.33, 0.34, 0.36, 0.36], truncated=[0.0] * 8)


@cache
def stops() -> ls.Stops:
    return ls.stops(SCHEME, policy(), "penalty")


@cache
def fit() -> ls.Fit:
    return ls.fit(log(), replicates=2)


def failing(x: float, name: str) -> float:
    if x > 1.0:
        raise ValueError(f"no {name} at {x}")
    return x


class Toy(ls.Result):
    """A result that says what it is told."""

    def __init__(self, sections: Any, columns: dict[str, Any], text: str) -> None:
        self.given = sections
        self.columns = columns
        self.text = text

    def sections(self) -> dict[str, list[str]]:
        return {"text": self.text.split("\n")}

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text}

    def _page(self) -> Any:
        return self._paged(self.text, *self.given)

    def _columns(self) -> dict[str, Any]:
        return self.columns


RESULTS: dict[str, Callable[[], Any]] = {
    "Drift": lambda: ls.drift(SCHEME, policy()),
    "Drift sampled, at a pace": lambda: ls.drift(SCHEME, policy(), method="monte_carlo", batches=400, pace=ls.pace(
        kl_per_step=1e-4), rng=np.random.default_rng(1)),
    "LengthDrift": lambda: ls.length_drift(SCHEME, policy()),
    "Audit": lambda: ls.audit(log(), SCHEME),
    "Audit of two": lambda: ls.audit(log(), [SCHEME, OTHER]),
    "Finding": lambda: ls.audit(log(), SCHEME).findings[0],
    "Training": lambda: ls.train(SCHEME, policy(), steps=3),
    "Training sampled": lambda: ls.train(SCHEME, policy(), steps=2, rng=np.random.default_rng(1), **SAMPLED),
    "Fit": fit,
    "FittedDrift": lambda: fit().drift(SCHEME),
    "FittedTraining": lambda: fit().train(SCHEME, steps=2, refits=2),
    "Forecast": lambda: ls.forecast(SCHEME, curves(), start=policy(), steps=4),
    "Survey": lambda: ls.survey(SCHEME, {"accuracy": 0.3, "mean_length": 20, "max_tokens": 48, "ratio": (0.6, 1.6)},
                                draws=16),
    "Sweep": lambda: ls.sweep(failing, {"x": [0.5, 1.5], "name": [EVIL, "b"]}),
    "Sweep over a line": lambda: ls.sweep(lambda x: x, {"x": [0.5, 1.5]}),
    "Stops": stops,
    "Stops at a goal": lambda: ls.stops(SCHEME, policy(), "penalty", length=14.0, steps=2),
    "Stop": lambda: stops().stops[0],
    "Goal": lambda: ls.stops(SCHEME, policy(), "penalty", length=14.0, steps=2).goal,
    "WhatIfs": lambda: ls.what_if(SCHEME, policy()),
    "WhatIf": lambda: ls.what_if(SCHEME, policy()).changes[0],
    "Attribution": lambda: ls.attribute(SCHEME, policy(), relative_to=OTHER),
    "SlotShare": lambda: ls.attribute(SCHEME, policy(), relative_to=OTHER).shares[0],
    "Curves": curves,
    "Description": lambda: curves().describe(),
    "ParsedConfig": lambda: ls.read_config({"loss_type": "dr_grpo", EVIL: EVIL, "run_name": EVIL}, trainer="trl"),
    "Pace": lambda: ls.pace(curves()),
    "Rollouts": log,
}
"""By what they are; the first word is the class."""



def never_and_at_once() -> ls.Policy:
    """Hazards of 0, then of 1."""
    law = ls.lengths.table([0.0, 0.0, 1.0, 0.5])
    return ls.Policy([ls.PromptClass("one", paths=[ls.Path("one", length=law, p_correct=0.5)])], max_tokens=4)


def short(cap: int) -> ls.Policy:
    return ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=2), wrong=ls.lengths.geometric(mean=3),
                                 max_tokens=cap)


def rows(count: int, *, paid: float = 1.0) -> ls.Rollouts:
    return ls.Rollouts(lengths=np.arange(1, count + 1), rewards=np.full(count, paid), prompt_ids=np.zeros(count),
                       correct=np.ones(count, dtype=bool), truncated=np.zeros(count, dtype=bool))


EDGES: dict[str, Callable[[], Any]] = {
    "Drift at one token": lambda: ls.drift(SCHEME, short(1)),
    "Drift where hazards are 0 and 1": lambda: ls.drift(SCHEME, never_and_at_once()),
    "LengthDrift at one token": lambda: ls.length_drift(SCHEME, short(1)),
    "Training at one token": lambda: ls.train(SCHEME, short(1), steps=1),
    "Training where hazards are 0 and 1": lambda: ls.train(SCHEME, never_and_at_once(), steps=1),
    "Stops at one token": lambda: ls.stops(SCHEME, short(1)),
    "WhatIfs at one token": lambda: ls.what_if(SCHEME, short(1)),
    "Audit of equal rewards": lambda: ls.audit(rows(4), SCHEME),
    "Audit of one response": lambda: ls.audit(rows(1), SCHEME),
    "Rollouts of one response": lambda: rows(1),
    "Fit of equal rewards": lambda: ls.fit(rows(8), replicates=0),
    "Sweep where most fails": lambda: ls.sweep(failing, {"x": [0.5, 2.0, 3.0, 4.0, 5.0], "name": ["a"]}),
    "Curves of two steps": lambda: ls.Curves(steps=[0, 1], length=[5.0, 5.0]),
    "Pace of two steps": lambda: ls.pace(accuracy=(0.4, 0.4), steps=3),
    "ParsedConfig of nothing": lambda: ls.read_config({}, trainer="trl==1.16", processes=1),
}
