"""Time of ``train()``: sampled runs, many replicates at once, and the mean field over many positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lossim as ls
from benchmarks.worlds import many_cells

RATE = ls.optimizers.SGD(learning_rate=0.2)


@pytest.mark.parametrize("steps", [50, 500])
def test_sampled_runs(benchmark: Any, steps: int) -> None:
    """256 replicates of GRPO on 1,024 responses a step: 131 million responses in 500 steps."""
    policy = ls.policies.two_paths(solve_rate=0.3, right=ls.lengths.geometric(mean=90),
                                   wrong=ls.lengths.geometric(mean=150), max_tokens=512)
    scheme = ls.schemes.grpo(group_size=8, prompts_per_step=128)
    benchmark.group = "GRPO sampled: 256 runs of 1,024 responses a step, two paths, 512 positions"
    benchmark.extra_info.update(name="stochastic", replicates=256, steps=steps, responses=scheme.responses_per_step)
    run = benchmark.pedantic(ls.train, args=(scheme, policy), rounds=1, kwargs={
        "steps": steps, "optimizer": RATE, "method": "stochastic", "replicates": 256, "rng": np.random.default_rng(0)})
    assert (run.accuracy[-1] > run.accuracy[0]).all()


@pytest.mark.parametrize("steps", [100, 1000])
def test_mean_field_of_tokens(benchmark: Any, steps: int) -> None:
    """PPO, whose tokens each have an advantage, on the same."""
    policy = many_cells(8192, cells=8)
    scheme = ls.schemes.ppo(gae_lambda=0.95, critic=ls.critics.Zero())
    benchmark.group = "PPO (λ = 0.95) in the mean field: 8 cells × 8,192 positions"
    benchmark.extra_info.update(name="mean field", steps=steps)
    run = benchmark.pedantic(ls.train, args=(scheme, policy), rounds=1, kwargs={"steps": steps, "optimizer": RATE})
    assert run.length[-1] != run.length[0]


@pytest.mark.parametrize("steps", [100, 1000])
def test_mean_field(benchmark: Any, steps: int) -> None:
    """GRPO on 8 cells of 8,192 positions."""
    policy = many_cells(8192, cells=8)
    benchmark.group = "GRPO in the mean field: 8 cells × 8,192 positions"
    benchmark.extra_info.update(name="mean field", steps=steps)
    run = benchmark.pedantic(ls.train, args=(ls.schemes.grpo(), policy), rounds=1, kwargs={
        "steps": steps, "optimizer": RATE})
    assert run.accuracy[-1] > run.accuracy[0]
