"""The picture of a run: it shows the run's own numbers, and lays out without overlaps or warnings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

import lossim as ls
from legible import complaints
from lossim import schemes

POLICY = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=9), wrong=ls.lengths.geometric(mean=14),
                               max_tokens=64)
MANY = ls.policies.beta_solve_rates(1, 2, classes=5, right=ls.lengths.geometric(mean=9),
                                    wrong=ls.lengths.geometric(mean=14), max_tokens=64)


def sampled() -> ls.Training:
    return ls.train(replace(schemes.grpo(), prompts_per_step=4), POLICY, steps=5, method="stochastic", replicates=7,
                    rng=np.random.default_rng(0))


RUNS = {
    "mean field": lambda: ls.train(schemes.grpo(), POLICY, steps=5),
    "one step": lambda: ls.train(schemes.grpo(), POLICY, steps=1),
    "many cells": lambda: ls.train(schemes.grpo(), MANY, steps=3),
    "nothing moves": lambda: ls.train(schemes.grpo(), POLICY, steps=2, optimizer=ls.optimizers.SGD(learning_rate=0.0)),
    "replicates": sampled,
}


@pytest.fixture(scope="module", params=RUNS)
def drawn(request: pytest.FixtureRequest) -> tuple[ls.Training, Figure]:
    run = RUNS[request.param]()
    figure = run.plot()
    figure.draw_without_rendering()
    return run, figure


def middle(series: np.ndarray) -> np.ndarray:
    return series if series.ndim == 1 else np.median(series, axis=1)


def test_lines_are_the_runs_numbers(drawn: tuple[ls.Training, Figure]) -> None:
    run, figure = drawn
    lengths, causes, shares = figure.axes
    lines = {str(line.get_label()): line.get_ydata() for axes in figure.axes for line in axes.lines}
    np.testing.assert_allclose(lines["all responses"], middle(run.length))
    np.testing.assert_allclose(lines["P(correct)"], middle(run.accuracy))
    np.testing.assert_allclose(lines["P(truncated)"], middle(run.truncation_rate))
    moved = np.cumsum(run.within, axis=0)
    np.testing.assert_allclose(lines["lengths on paths"][1:], middle(moved), atol=1e-12)
    for axes in (lengths, causes, shares):
        assert axes.get_xlabel() == "step (rollouts)"
        assert axes.get_ylabel()
        assert axes.get_title(loc="left")
    cells = 2 if len(run.start.cell_names) > 6 else len(run.start.cell_names)
    assert len(lengths.get_legend().get_texts()) == cells + 1


def test_the_title_says_which_way_and_how_far(drawn: tuple[ls.Training, Figure]) -> None:
    run, figure = drawn
    first, last = (float(middle(run.length)[i]) for i in (0, -1))
    verb = "keeps" if first == last else "lengthens" if last > first else "shortens"
    title = " ".join(figure.get_suptitle().split())
    assert f"grpo {verb} responses from {first:.4g} to {last:.4g} tokens in {run.steps} step" in title
    assert ("replicates" in title) == (run.replicates is not None)


def test_legends_stand_on_nothing_and_do_not_leave_the_picture(drawn: tuple[ls.Training, Figure]) -> None:
    assert complaints(drawn[1]) == []
