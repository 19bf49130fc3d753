"""What ``lossim.live`` takes beside a run: a step of a full window, by part; and its share of the time under a budget.

``extra_info`` has the seconds of each part, and how long a step of the run has to be for all of them to be 1 % of it.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import lossim as ls

WINDOW = 16


def steps(responses: int, max_tokens: int, count: int) -> list[dict[str, Any]]:
    """Groups of eight, right answers half as long as wrong ones, a little better each step."""
    made = []
    for step in range(count):
        policy = ls.policies.two_paths(
            solve_rate=0.4 + 0.003 * step, right=ls.lengths.lognormal(median=max_tokens / 8, sigma=0.6),
            wrong=ls.lengths.lognormal(median=max_tokens / 4, sigma=0.7), max_tokens=max_tokens)
        log = policy.sample(np.random.default_rng(step), prompts=responses // 8, group_size=8)
        made.append({"lengths": log.lengths, "rewards": log.rewards, "truncated": log.truncated,
                     "prompt_ids": log.prompt_ids + step * responses})
    return made


@pytest.mark.parametrize(("responses", "max_tokens"), [(256, 1024), (512, 4096), (1024, 8192), (1024, 32_768)])
def test_step(benchmark: Any, responses: int, max_tokens: int) -> None:
    """All that can be asked at a step."""
    every = steps(responses, max_tokens, WINDOW + 3)
    watch = ls.live.Watch(ls.schemes.grpo(), max_tokens=max_tokens, window=WINDOW, budget=None, until=500)
    for number, columns in enumerate(every[:WINDOW], start=1):
        watch.keep(number, **columns)
    numbers = iter(range(WINDOW + 1, WINDOW + 4))

    def step() -> dict[str, float]:
        number = next(numbers)
        return watch.step(number, **every[number - 1])

    found = benchmark.pedantic(step, rounds=3)
    seconds = sum(watch.costs.values())
    benchmark.group = f"{responses:,} responses a step, {max_tokens:,} positions"
    benchmark.extra_info.update(watch.costs, seconds=seconds, one_percent_of=100.0 * seconds)
    assert found["lossim/errors"] == 0
    assert "lossim/forecast" in found


@pytest.mark.parametrize("seconds", [0.2])
def test_budget(benchmark: Any, seconds: float) -> None:
    """A hundred steps of a run that waits, far too short for an audit each: what they take of the time."""
    every = steps(256, 1024, 4)
    watch = ls.live.Watch(ls.schemes.grpo(), max_tokens=1024)

    def run() -> int:
        audits = 0
        for number in range(1, 101):
            time.sleep(seconds)
            audits += "lossim/drift" in watch.step(number, **every[number % 4])
        return audits

    audits = benchmark.pedantic(run, rounds=1)
    share = watch.seconds / (watch.seconds + 100 * seconds)
    benchmark.group = f"steps of {seconds} s, a budget of 1 %"
    benchmark.extra_info.update(audits=audits, share_of_time=share)
    assert 1 <= audits < 100
