"""Many policies of one shape in one go, beside each by itself; cells of a sweep and draws of a survey, starts and all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lossim as ls
from lossim._engine import headline, headlines

COUNT = 64
CELLS = 160
"""Of a sweep."""


@pytest.mark.parametrize("how", ["together", "one by one"])
@pytest.mark.parametrize("preset", ["grpo", "dr_grpo", "ppo", "dapo"])
@pytest.mark.parametrize("max_tokens", [512, 4096])
def test_policies(benchmark: Any, preset: str, max_tokens: int, how: str) -> None:
    """Two paths each, with a kernel of their own; the law of each policy is worked out in the time."""
    scheme = getattr(ls.schemes, preset)()
    family = ls.kernels(COUNT)

    def policies() -> tuple[tuple[Any, ...], dict[str, Any]]:
        made = [ls.policies.two_paths(solve_rate=0.2 + 0.6 * i / COUNT, max_tokens=max_tokens,
                                      right=ls.lengths.lognormal(median=max_tokens / 5 + i, sigma=0.5),
                                      wrong=ls.lengths.lognormal(median=max_tokens / 4 + i, sigma=0.6))
                for i in range(COUNT)]
        return (made, [family.lay_out(policy.layout).one(i) for i, policy in enumerate(made)]), {}

    def alone(made: list[ls.Policy], members: list[Any]) -> list[Any]:
        return [headline(scheme, policy, member) for policy, member in zip(made, members, strict=True)]

    benchmark.group = f"{COUNT} policies of 2 x {max_tokens:,}, {scheme.name}"
    benchmark.extra_info.update(policies=COUNT, preset=scheme.name, max_tokens=max_tokens, how=how)
    ask = alone if how == "one by one" else lambda made, members: headlines(scheme, made, members)
    found = benchmark.pedantic(ask, setup=policies, rounds=3, warmup_rounds=1)
    assert len(found) == COUNT


@pytest.mark.parametrize("max_tokens", [4096, 32_768])
def test_survey(benchmark: Any, max_tokens: int) -> None:
    """Starts from what trainers log, each drawn and built in the time."""
    unknowns = dict(mean_length=(800.0, 1500.0), accuracy=(0.2, 0.5), max_tokens=max_tokens,
                    ratio=ls.log_range(0.7, 2.0))
    benchmark.group = "survey of grpo"
    benchmark.extra_info.update(draws=128, max_tokens=max_tokens)
    asked = benchmark.pedantic(ls.survey, args=(ls.schemes.grpo(), unknowns), kwargs={"draws": 128}, rounds=2,
                               warmup_rounds=1)
    assert not asked.failures


@pytest.mark.parametrize("how", ["length", "length, one kernel", "drift", "pass"])
@pytest.mark.parametrize("preset", ["grpo", "dr_grpo", "ppo"])
def test_sweep(benchmark: Any, preset: str, how: str) -> None:
    """Cells of 2 x 4,096, each policy built in the time; PPO with a critic that says 0. Beside it one pass over memory.
    """
    scheme = ls.schemes.ppo(critic=ls.critics.Zero()) if preset == "ppo" else getattr(ls.schemes, preset)()
    grid = {"solve_rate": np.linspace(0.05, 0.95, CELLS // 10), "sigma": np.linspace(0.4, 0.8, 10)}
    benchmark.group = f"{CELLS} cells of 2 x 4,096, {scheme.name}"
    benchmark.extra_info.update(cells=CELLS, preset=scheme.name, how=how)
    if how == "pass":
        arrays = [np.ones((2, 4096)) for _ in range(3)]
        benchmark.pedantic(np.add, args=arrays[:2], kwargs={"out": arrays[2]}, rounds=20, iterations=1000)
        return
    function = ls.drift if how == "drift" else ls.length_drift
    known: dict[str, Any] = {"kernels": []} if how == "length, one kernel" else {}
    swept = benchmark.pedantic(ls.sweep, args=(function, grid), kwargs=known | dict(scheme=scheme, start=start),
                               rounds=2, warmup_rounds=1)
    assert not swept.failures


def start(*, solve_rate: float, sigma: float) -> ls.Policy:
    """Two paths."""
    return ls.policies.two_paths(solve_rate=solve_rate, right=ls.lengths.lognormal(median=600, sigma=sigma),
                                 wrong=ls.lengths.lognormal(median=900, sigma=sigma), max_tokens=4096)
