"""Time of ``drift()`` over the number of positions: O(cells · N), for token-mean times the nodes of its quadrature."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

import lossim as ls
from benchmarks.worlds import many_cells

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


@pytest.mark.parametrize("max_tokens", [4096, 32_768])
def test_policy(benchmark: Any, max_tokens: int) -> None:
    """Hazards, survival and law of 64 cells: what comes before the first drift."""
    benchmark.group = "policy of 64 cells"
    benchmark.extra_info.update(name="policy", max_tokens=max_tokens)
    benchmark.pedantic(lambda: many_cells(max_tokens).law, rounds=3, warmup_rounds=1)
