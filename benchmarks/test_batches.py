"""The gradient of one batch: lossim's measures against ragged and padded numpy, same batch, same result."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import lossim as ls
from benchmarks import peers
from benchmarks.worlds import batch_policy
from lossim._engine import Question, Step, update_gradient
from lossim._engine.sampled import batch_measures, draw_batches
from lossim.aggregation import TokenMean
from lossim.critics import Exact
from lossim.policies import Draws

SIZES = [(responses, max_tokens) for max_tokens in (8192, 32_768) for responses in (256, 1024, 4096, 8192)]
MOST_PADDED = 1 << 27
"""Largest padded array, numbers: a gibibyte each, and the padded forms hold two or three."""
GROUP = 8


def scheme(kind: str, responses: int) -> ls.Scheme:
    if kind == "grpo":
        return ls.schemes.grpo(group_size=GROUP, prompts_per_step=responses // GROUP)
    return ls.schemes.ppo(critic=Exact(), reward=ls.Reward(), aggregation=TokenMean(), group_size=GROUP,
                          prompts_per_step=responses // GROUP)


@cache
def one_batch(kind: str, responses: int, max_tokens: int) -> tuple[Step, Draws, peers.Tables, peers.Batch]:
    """One sampled batch, as the engine and as the peers take it."""
    policy = batch_policy(max_tokens)
    step = Question(scheme=scheme(kind, responses), policy=policy, reference=policy, old=policy).step
    draws = draw_batches(step, np.random.default_rng(responses), 1)
    cell, grade, end = (x.ravel() for x in (draws.cell, draws.grade, draws.end))
    batch = peers.Batch(cell=cell, length=np.minimum(end + 1, max_tokens), cut=end == max_tokens,
                        reward=np.where(grade == 0, 1.0, 0.0), group_size=GROUP)
    tables = peers.Tables(hazard=policy.hazard, values=critic_values(policy), probability=policy.probability,
                          class_of_cell=policy.class_of_cell)
    return step, draws, tables, batch


def critic_values(policy: ls.Policy) -> np.ndarray[Any, np.dtype[np.float64]]:
    """V_t = P(correct | still going at t) per cell, by class at t = 1: the exact critic for rewards 0 and 1."""
    right = np.cumsum(policy.law[:, 0, ::-1], axis=1)[:, ::-1]
    values = np.divide(right[:, :-1], policy.at_risk)
    share = np.bincount(policy.class_of_cell, weights=policy.probability * values[:, 0])
    values[:, 0] = share[policy.class_of_cell]
    return values


def by_lossim(step: Step, draws: Draws) -> peers.Gradient:
    gradient = update_gradient(step, batch_measures(step, draws))
    return gradient.stops, gradient.paths


@pytest.mark.parametrize("how", ["lossim", "ragged", "padded"])
@pytest.mark.parametrize(("responses", "max_tokens"), SIZES)
@pytest.mark.parametrize("kind", ["grpo", "gae"])
def test_gradient_of_one_batch(benchmark: Any, kind: str, responses: int, max_tokens: int, how: str) -> None:
    if how == "padded" and responses * max_tokens > MOST_PADDED:
        pytest.skip("padded arrays of more than a gibibyte each")
    step, draws, tables, batch = one_batch(kind, responses, max_tokens)
    truth = getattr(peers, f"ragged_{kind}")(tables, batch)  # first, so that memory is warm whichever is timed
    benchmark.group = f"{kind}, {responses} responses, max_tokens {max_tokens}"
    benchmark.extra_info.update(kind=kind, responses=responses, max_tokens=max_tokens, how=how,
                                tokens=int(batch.length.sum()))
    if how == "lossim":
        result = benchmark.pedantic(by_lossim, args=(step, draws), rounds=40, warmup_rounds=4)
    else:
        peer = getattr(peers, f"{how}_{kind}")
        rounds = 2 if responses * max_tokens >= 1 << 26 else 4
        result = benchmark.pedantic(peer, args=(tables, batch), rounds=rounds, warmup_rounds=1)
    for one, other in zip(result, truth, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10 * np.abs(truth[0]).max())
