"""The starts the figures share: published mean lengths and accuracies turned into two-path policies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import lognorm

import lossim as ls

SIGMA = 0.6  # spread of the logarithm of the length, assumed on both paths: the papers print means only


def data(name: str) -> dict[str, Any]:
    """A file of cited numbers."""
    loaded: dict[str, Any] = json.loads((Path(__file__).parent / "data" / f"{name}.json").read_text())
    return loaded


PUBLISHED = data("published_lengths")
CONCISE, ZERO = PUBLISHED["concise_reasoning"], PUBLISHED["dr_grpo"]
RATIO: float = ZERO["wrong_over_right_length"]


def median_for(mean: float, max_tokens: int) -> float:
    """The median of a lognormal length, rounded up and cut at ``max_tokens``, with this mean Σ P(T > t)."""
    before = np.arange(max_tokens)
    return float(brentq(lambda median: lognorm.sf(before, SIGMA, scale=median).sum() - mean, mean / 4, mean * 20,
                        xtol=1e-10))


def two_paths(solve_rate: float, right: float, wrong: float, max_tokens: int, **coordinates: Any) -> ls.Policy:
    """One prompt class with a right and a wrong path; ``right`` and ``wrong`` are medians, tokens.

    ``solve_rate`` is P(correct): a right path that is cut counts as incorrect, so the path is a little more likely.
    """
    finished = float(lognorm.cdf(max_tokens, SIGMA, scale=right))
    paths = [ls.Path("right", probability=solve_rate / finished, p_correct=1.0,
                     length=ls.lengths.lognormal(median=right, sigma=SIGMA)),
             ls.Path("wrong", probability=1.0 - solve_rate / finished, p_correct=0.0,
                     length=ls.lengths.lognormal(median=wrong, sigma=SIGMA))]
    return ls.Policy([ls.PromptClass("prompt", weight=1.0, paths=paths)], max_tokens=max_tokens,
                     coordinates=ls.coordinates(**coordinates))


def medians(mean: float, solve_rate: float, max_tokens: int) -> tuple[float, float]:
    """Medians (right, wrong) with this overall mean length and wrong responses ``RATIO`` times as long on average."""
    def excess(right_mean: float) -> float:
        finished = lognorm.cdf(max_tokens, SIGMA, scale=median_for(right_mean, max_tokens))
        right = solve_rate / finished
        return float(right * right_mean + (1 - right) * RATIO * right_mean - mean)

    right_mean = brentq(excess, mean / RATIO, min(mean, 0.99 * max_tokens / RATIO), xtol=1e-8)
    return median_for(right_mean, max_tokens), median_for(RATIO * right_mean, max_tokens)


def zero_start(solve_rate: float = 0.5, **coordinates: Any) -> ls.Policy:
    """Like a base model under R1-Zero training: cap 3,000, 520 tokens on average when half the responses are right."""
    cap = ZERO["settings"]["max_tokens"]
    right, wrong = medians(ZERO["mean_length_after_dr_grpo"], 0.5, cap)
    return two_paths(solve_rate, right, wrong, cap, **coordinates)


def reasoning_start(benchmark: str, model: str = "R1-Distill-Qwen-1.5B", **coordinates: Any) -> ls.Policy:
    """A distilled reasoning model on one benchmark: the published mean length and accuracy, cap 20,000."""
    row = next(r for r in CONCISE["rows"] if r[:2] == [model, benchmark])
    cap, solve_rate = CONCISE["settings"]["max_tokens"], row[4] / 100
    right, wrong = medians(row[2], solve_rate, cap)
    return two_paths(solve_rate, right, wrong, cap, **coordinates)
