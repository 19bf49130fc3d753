"""Time of ``drift()`` where a shaping by length makes thousands of different rewards, and a std is taken over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

import lossim as ls
from benchmarks.worlds import many_cells
from lossim import rewards

MAX_TOKENS = 8192
SCHEMES: dict[str, Callable[[], ls.Scheme]] = {
    "GRPO, soft overlong": lambda: ls.schemes.grpo(reward=ls.Reward(shaping=rewards.SoftOverlong(
        max_tokens=MAX_TOKENS, buffer=MAX_TOKENS // 4))),
    "GRPO, a price per token": lambda: ls.schemes.grpo(reward=ls.Reward(shaping=rewards.LinearPenalty(
        slope=1.0 / MAX_TOKENS))),
    "DAPO, soft overlong": lambda: ls.schemes.dapo(max_tokens=MAX_TOKENS, buffer=MAX_TOKENS // 4),
}


@pytest.mark.parametrize("cells", [2, 64])
@pytest.mark.parametrize("method", ["exact", "monte_carlo"])
@pytest.mark.parametrize("name", SCHEMES)
def test_drift(benchmark: Any, name: str, method: Literal["exact", "monte_carlo"], cells: int) -> None:
    """A quadrature in each class, against the samples that would take its place: 262,144 responses."""
    if name.startswith("DAPO") and cells > 2:
        pytest.skip("a column for each node of the token-mean in each class: half a minute")
    policy = many_cells(MAX_TOKENS, cells=cells)
    scheme = SCHEMES[name]()
    rng = None if method == "exact" else np.random.default_rng(0)
    benchmark.group = f"drift of {name}, {cells} cells"
    result = benchmark.pedantic(ls.drift, args=(scheme, policy, method), kwargs={"rng": rng}, rounds=1, warmup_rounds=1)
    drift = result.length
    off = (drift.stderr + drift.error) / abs(drift.value)
    benchmark.extra_info.update(name=name, method=method, cells=cells, off=off)
    assert drift.value < 0.0
