"""Time of ``drift()`` over the number of positions: O(cells · N), for token-mean times the nodes of its quadrature."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np
import pytest

import lossim as ls
from benchmarks.worlds import many_cells
from lossim import rewards

SCHEMES: dict[str, Callable[[], ls.Scheme]] = {
    "GRPO": ls.schemes.grpo,
    "Dr. GRPO": ls.schemes.dr_grpo,
    "PPO": ls.schemes.ppo,
    "PPO, exact critic": lambda: ls.schemes.ppo(critic=ls.critics.Exact()),
    "RLOO, KL in the reward": lambda: ls.schemes.rloo(kl=0.01),
    "DAPO": ls.schemes.dapo,
    "OPO": ls.schemes.opo,
}
ROUNDS = {"DAPO": 3, "OPO": 1}
PUNISHED: dict[str, Callable[[int], Any]] = {
    "GRPO, soft overlong": lambda tokens: rewards.SoftOverlong(max_tokens=tokens, buffer=tokens // 4),
    "GRPO, price per token": lambda tokens: rewards.LinearPenalty(slope=1.0 / tokens),
}
"""Shapings of length, by which a std is over thousands of rewards."""


@cache
def setting(name: str, max_tokens: int) -> tuple[ls.Scheme, ls.Policy, ls.Policy | None]:
    """Scheme, policy and reference; a reference other than the policy where a KL asks for one."""
    policy = many_cells(max_tokens)
    move = [0.0] * policy.motion.size
    move[0] = 0.1
    return SCHEMES[name](), policy, policy.moved(move) if "KL" in name else None


@pytest.mark.parametrize("max_tokens", [4096, 8192, 16_384, 32_768])
@pytest.mark.parametrize("name", SCHEMES)
def test_drift(benchmark: Any, name: str, max_tokens: int) -> None:
    if name == "OPO" and max_tokens not in (4096, 32_768):
        pytest.skip("seconds each; the two ends say enough")
    scheme, policy, reference = setting(name, max_tokens)
    benchmark.group = f"drift of {name}, 64 cells"
    benchmark.extra_info.update(name=name, max_tokens=max_tokens)
    rounds = ROUNDS.get(name, 3) * (4 if max_tokens < 32_768 and name not in ROUNDS else 1)
    result = benchmark.pedantic(ls.drift, args=(scheme, policy), kwargs={"reference": reference}, rounds=rounds,
                                warmup_rounds=1)
    assert result.length.value != 0.0


@pytest.mark.parametrize("method", ["exact", "monte_carlo"])
@pytest.mark.parametrize("name", PUNISHED)
def test_drift_of_a_std_over_many_rewards(benchmark: Any, name: str, method: Literal["exact", "monte_carlo"]) -> None:
    """A quadrature in each of 32 classes, against the samples that would take its place."""
    policy = many_cells(8192)
    scheme = ls.schemes.grpo(reward=ls.Reward(shaping=PUNISHED[name](8192)))
    benchmark.group = f"drift of {name}, 64 cells × 8,192 positions"
    benchmark.extra_info.update(name=name, method=method)
    rng = None if method == "exact" else np.random.default_rng(0)
    result = benchmark.pedantic(ls.drift, args=(scheme, policy, method), kwargs={"rng": rng}, rounds=1, warmup_rounds=1)
    assert result.length.value < 0.0


@pytest.mark.parametrize("max_tokens", [4096, 32_768])
def test_policy(benchmark: Any, max_tokens: int) -> None:
    """Hazards, survival and law of 64 cells: what comes before the first drift."""
    benchmark.group = "policy of 64 cells"
    benchmark.extra_info.update(name="policy", max_tokens=max_tokens)
    benchmark.pedantic(lambda: many_cells(max_tokens).law, rounds=3, warmup_rounds=1)
