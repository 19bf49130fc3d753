"""Time of ``audit()``: the whole of it beside one reading of the log, without redrawn logs and other settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lossim as ls

CASES = [("grpo", 800, 2048), ("ppo", 800, 2048), ("grpo", 8_000, 8192), ("ppo", 8_000, 8192), ("grpo", 200_000, 8192)]


@pytest.mark.parametrize("how", ["whole", "once"])
@pytest.mark.parametrize(("preset", "responses", "max_tokens"), CASES)
def test_audit(benchmark: Any, preset: str, responses: int, max_tokens: int, how: str) -> None:
    """Groups of eight, right answers half as long as wrong ones."""
    policy = ls.policies.two_paths(
        solve_rate=0.4, right=ls.lengths.lognormal(median=max_tokens / 8, sigma=0.6),
        wrong=ls.lengths.lognormal(median=max_tokens / 4, sigma=0.7), max_tokens=max_tokens)
    log = policy.sample(np.random.default_rng(0), prompts=responses // 8, group_size=8)
    scheme = getattr(ls.schemes, preset)()
    benchmark.group = f"{scheme.name}, {responses:,} responses, {max_tokens:,} positions"
    benchmark.extra_info.update(preset=scheme.name, responses=responses, max_tokens=max_tokens, how=how)
    options = {} if how == "whole" else {"what_if": False, "replicates": 0}
    audit = benchmark.pedantic(ls.audit, args=(log, scheme), kwargs=options, rounds=3, warmup_rounds=1)
    assert audit.log["responses"] == responses
    assert bool(audit.findings[0].what_if) == (how == "whole")
