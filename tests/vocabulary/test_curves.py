"""Curves: what they take and refuse, and the means and standard errors of a log by step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import lossim as ls
from lossim.curves import slope

POLICY = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=9), wrong=ls.lengths.geometric(mean=14),
                               max_tokens=64)


def logged(rng: np.random.Generator, steps: int, prompts: int) -> ls.Rollouts:
    drawn = [POLICY.sample(rng, prompts=prompts, group_size=4) for _ in range(steps)]
    columns: dict[str, Any] = {name: np.concatenate([getattr(each, name) for each in drawn])
                               for name in ("lengths", "rewards", "prompt_ids", "correct", "truncated")}
    return ls.Rollouts(**columns, steps=np.repeat(np.arange(steps), prompts * 4), kl=np.arange(steps * prompts * 4.0))


def test_means_of_a_log_are_those_of_its_steps() -> None:
    log = logged(np.random.default_rng(0), 3, 5)
    curves = ls.Curves.of(log)
    for number, step in enumerate(curves.steps):
        mine = log.steps == step
        lengths, right = log.lengths[mine], log.correct[mine]
        assert curves.length[number] == pytest.approx(lengths.mean())
        assert curves.accuracy[number] == pytest.approx(right.mean())
        assert curves.reward[number] == pytest.approx(log.rewards[mine].mean())
        assert curves.kl[number] == pytest.approx(log.kl[mine].mean())
        assert curves.truncated[number] == pytest.approx(log.truncated[mine].mean())
        assert curves.length_right[number] == pytest.approx(lengths[right].mean())
        assert curves.length_wrong[number] == pytest.approx(lengths[~right].mean())
        # of groups of one size the standard error is that of the mean of their means
        means = lengths.reshape(5, 4).mean(axis=1)
        assert curves.length_stderr[number] == pytest.approx(means.std(ddof=1) / math.sqrt(5))
    assert curves.responses_per_step == 20


def test_standard_errors_are_the_spread_of_means_over_logs() -> None:
    """200 logs of 3 steps, responses to a prompt alike: within 4 sigma, a relative error of 1/√(2·599) each."""
    rng = np.random.default_rng(1)
    mixed = ls.policies.beta_solve_rates(0.5, 0.7, classes=3, right=ls.lengths.geometric(mean=5),
                                         wrong=ls.lengths.geometric(mean=40), max_tokens=256)
    means, errors = [], []
    for _ in range(200):
        drawn = mixed.sample(rng, prompts=60, group_size=8)
        log = ls.Rollouts(drawn.lengths, drawn.rewards, drawn.prompt_ids, steps=drawn.prompt_ids // 20)
        curves = ls.Curves.of(log)
        means.append(curves.length)
        errors.append(curves.length_stderr)
    true = float(np.std(means))
    independent = float(np.std(drawn.lengths)) / math.sqrt(160)
    found = math.sqrt(float(np.mean(np.square(errors))))
    assert abs(found / true - 1.0) < 4.0 / math.sqrt(2 * 599)
    assert independent < 0.8 * true


def test_a_gap_is_nan_but_for_the_length() -> None:
    curves = ls.Curves(steps=[0, 5, 9], length=[10, 11, 12], accuracy=[0.1, math.nan, 0.3], kl=[math.nan] * 3)
    assert curves.kl is None
    assert np.isnan(curves.accuracy[1])
    assert len(curves.first(2)) == 2
    assert "accuracy 0.1 to 0.3" in repr(curves)


@pytest.mark.parametrize(("changed", "said"), [
    ({"steps": [3, 2, 4]}, r"steps\[1\] must be above the step before it, 3"),
    ({"steps": [1, 1, 2]}, r"steps\[1\] must be above"),
    ({"steps": [1], "length": [10.0]}, "at least two steps"),
    ({"steps": [0.5, 1, 2]}, "whole numbers"),
    ({"length": [10.0, 11.0]}, "one number for each of the 3 steps"),
    ({"length": [10.0, math.nan, 12.0]}, r"length\[1\] must be known at every step"),
    ({"length": [10.0, 0.5, 12.0]}, r"length\[1\] must be at least 1"),
    ({"accuracy": [31.0, 33.0, 36.0]}, "percentages are shares times 100"),
    ({"accuracy": [[0.1], [0.1, 0.2], [0.3]]}, "rows of one length"),
    ({"kl": [0.0, math.inf, 0.1]}, r"kl\[1\] must be finite"),
    ({"responses_per_step": 0}, "at least 1"),
])
def test_bad_curves_are_refused_by_name(changed: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"steps": [1, 2, 3], "length": [10.0, 11.0, 12.0]}
    with pytest.raises(ValueError, match=said):
        ls.Curves(**given | changed)


def test_a_log_without_steps_or_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="must name the step"):
        ls.Curves.of(ls.Rollouts([3, 4], [0, 1], [0, 0]))
    with pytest.raises(ValueError, match="at least two steps"):
        ls.Curves.of(ls.Rollouts([3, 4], [0, 1], [0, 0], steps=[7, 7]))


def test_slope_is_that_of_polyfit() -> None:
    x, y = np.array([0.0, 2.0, 3.0, 7.0, 8.0]), np.array([1.0, 2.5, math.nan, 3.0, 5.0])
    known = np.isfinite(y)
    line, covariance = np.polyfit(x[known], y[known], 1, cov="unscaled")
    rest = y[known] - np.polyval(line, x[known])
    found, stderr = slope(x, y)
    assert found == pytest.approx(line[0])
    assert stderr == pytest.approx(math.sqrt(covariance[0, 0] * (rest @ rest) / 2))
