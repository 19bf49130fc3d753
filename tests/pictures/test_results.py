"""Pictures: what is drawn is what was computed, for every kind of result, and nothing else of matplotlib changes."""

from __future__ import annotations

import io
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lossim as ls
from legible import complaints
from lossim import lengths, schemes

MONTE_CARLO = "monte_carlo"


def verdict(result: ls.Drift) -> str:
    return f"{result.scheme.name}: {result.verdict}"


def start(solve_rate: float = 0.4, right=None, wrong=None, max_tokens: int = 256) -> ls.Policy:
    return ls.policies.two_paths(solve_rate=solve_rate, right=right or lengths.geometric(mean=30),
                                 wrong=wrong or lengths.geometric(mean=50), max_tokens=max_tokens)


def unsolvable() -> ls.Policy:
    return ls.policies.unsolvable(length=lengths.geometric(mean=50), max_tokens=1024)


def mixture() -> ls.Policy:
    return ls.Policy([
        ls.PromptClass("sometimes", weight=0.3, paths=[
            ls.Path("right", probability=0.4, length=lengths.lognormal(median=60, sigma=0.6), p_correct=1.0),
            ls.Path("wrong", probability=0.6, length=lengths.lognormal(median=110, sigma=0.7), p_correct=0.0)]),
        ls.PromptClass("never", weight=0.7, paths=[
            ls.Path("wrong", length=lengths.lognormal(median=150, sigma=0.7), p_correct=0.0)])], max_tokens=800)


def many() -> ls.Policy:
    return ls.policies.beta_solve_rates(0.5, 1.0, classes=6, right=lengths.geometric(mean=30),
                                        wrong=lengths.geometric(mean=50), max_tokens=256)


def unsure() -> ls.Policy:
    path = ls.Path("only", length=lengths.lognormal(median=60, sigma=0.8), p_correct=lambda t: 0.8 * np.exp(-t / 200))
    return ls.Policy([ls.PromptClass("prompts", paths=[path])], max_tokens=100)


def regularised() -> ls.Scheme:
    return ls.Scheme(advantage=ls.advantages.GroupMean(), aggregation=ls.aggregation.TokenMean(), penalties=(
        ls.penalties.KL(coefficient=0.05), ls.penalties.Entropy(coefficient=0.01)))


def never_stops() -> ls.Policy:
    law = lengths.table(np.zeros(256))
    return start(right=law, wrong=law)


CASES = {
    "PPO, never solved": lambda: ls.drift(schemes.ppo(), unsolvable()),
    "PPO, λ = 1, token sum": lambda: ls.drift(
        schemes.ppo(gae_lambda=1.0, aggregation=ls.aggregation.SequenceMeanTokenSum()), mixture()),
    "GRPO, mixture": lambda: ls.drift(schemes.grpo(), mixture()),
    "sampled": lambda: ls.drift(schemes.grpo(), mixture(), MONTE_CARLO, rng=np.random.default_rng(0), batches=64),
    "one cell": lambda: ls.drift(regularised(), unsure()),
    "many cells": lambda: ls.drift(schemes.grpo(), many()),
    "one token": lambda: ls.drift(schemes.ppo(), start(max_tokens=1)),
    "one token, sampled": lambda: ls.drift(schemes.ppo(), start(max_tokens=1), MONTE_CARLO,
                                           rng=np.random.default_rng(0), batches=16),
    "equal rewards": lambda: ls.drift(schemes.grpo(), start(solve_rate=0.0)),
    "certain stop": lambda: ls.drift(schemes.ppo(), start(right=lengths.geometric(mean=1),
                                                          wrong=lengths.geometric(mean=1))),
    "no stop": lambda: ls.drift(schemes.ppo(), never_stops()),
    "observed lengths": lambda: ls.drift(schemes.grpo(), start(right=lengths.observed([5, 9, 9, 12, 40]),
                                                               wrong=lengths.observed([7, 30, 30, 80]))),
    "group-relative reward": lambda: ls.drift(
        schemes.grpo(reward=ls.Reward(shaping=ls.rewards.KimiLength())), start(), MONTE_CARLO,
        rng=np.random.default_rng(0), batches=16),
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, tuple[ls.Drift, Figure]]:
    results = {name: make() for name, make in CASES.items()}
    return {name: (result, result.plot()) for name, result in results.items()}


def panels(figure: Figure) -> tuple[Axes, Axes]:
    left, right = figure.axes
    return left, right


def widths(right: Axes) -> dict[str, float]:
    """Net length of the bars by label."""
    labels = {place: " ".join(text.get_text().split())
              for place, text in zip(right.get_yticks(), right.get_yticklabels(), strict=True)}
    net = dict.fromkeys(labels.values(), 0.0)
    for bars in right.containers:
        for bar in getattr(bars, "patches", []):
            net[labels[round(bar.get_y() + bar.get_height() / 2)]] += bar.get_width()
    return net


@pytest.mark.parametrize("name", CASES)
def test_every_result_can_be_drawn_and_saved(name: str, drawn: dict[str, tuple[ls.Drift, Figure]]) -> None:
    result, figure = drawn[name]
    for kind in ("png", "svg"):
        file = io.BytesIO()
        figure.savefig(file, format=kind)
        assert file.tell() > 5000
    assert figure.get_suptitle().replace("−", "-").replace("\n", " ") == verdict(result)
    assert complaints(figure) == []


@pytest.mark.parametrize("name", CASES)
def test_bars_add_up_to_the_drift(name: str, drawn: dict[str, tuple[ls.Drift, Figure]]) -> None:
    result, figure = drawn[name]
    right = panels(figure)[1]
    if not right.containers:
        assert np.abs(result.sources.value).sum() == 0
        assert [text.get_text() for text in right.texts] == ["none"]
        return
    net = widths(right)
    total = net.pop("sum")
    bought = {"needed for accuracy": float(result.needed), "free": float(result.free)}
    assert {name: net.pop(name) for name in bought} == bought
    gross = np.abs(result.sources.value).sum()
    assert total == pytest.approx(float(result.length), rel=1e-12)
    assert sum(net.values()) == pytest.approx(total, abs=1e-8 * gross)


def test_bars_by_path_and_token_are_the_sources() -> None:
    result = ls.drift(schemes.ppo(), start())
    net = widths(panels(result.plot())[1])
    for path in ("right", "wrong"):
        for role in ("stop", "go on", "path"):
            expected = float(result.source(path=path, role=role))
            assert net.get(f"{path}: {role}", 0.0) == pytest.approx(expected, rel=1e-12)


def test_small_bars_are_added_up() -> None:
    net = widths(panels(ls.drift(schemes.ppo(), mixture()).plot())[1])
    rest = [label for label in net if "smaller" in label]
    assert len(rest) == 1
    assert abs(net[rest[0]]) < 0.02 * max(map(abs, net.values()))


def test_outcomes_have_colours_and_hatches_of_their_own() -> None:
    right = panels(ls.drift(schemes.grpo(), unsure()).plot())[1]
    looks = {(bar.get_facecolor(), bar.get_hatch()) for bars in right.containers for bar in bars.patches}
    colours, hatches = zip(*looks, strict=True)
    assert len(looks) == len(set(colours)) == 4  # three outcomes, and white for the sum
    assert len(set(hatches)) == 3


def test_curve_is_the_effective_reward_in_the_middle() -> None:
    result = ls.drift(schemes.grpo(), start())
    left = panels(result.plot())[0]
    curve = next(line for line in left.get_lines() if str(line.get_label()).startswith("wrong"))
    t, value = np.asarray(curve.get_xdata(), dtype=float), np.asarray(curve.get_ydata(), dtype=float)
    np.testing.assert_array_equal(value, result.effective_reward.value[1, t.astype(int) - 1])
    ends = result.policy.ends[1]
    outside = ends.sum() - ends[t.astype(int) - 1].sum()
    assert t[0] == 1
    assert outside < 0.011
    dots = [line for line in left.get_lines() if len(line.get_xdata()) == 1]
    means = sorted(float(line.get_xdata()[0]) for line in dots)
    np.testing.assert_allclose(means, sorted(result.policy.mean_length_by_path))


def test_curve_keeps_truncated_responses_at_the_cap() -> None:
    result = ls.drift(schemes.grpo(), unsure())
    curve = panels(result.plot())[0].get_lines()[0]
    assert np.asarray(curve.get_xdata())[-1] == 100


def binned(result: ls.Drift) -> list[tuple[np.ndarray, np.ndarray]]:
    """Values and half lengths of the bars of every sampled curve."""
    left = panels(result.plot())[0]
    found = []
    for container in left.containers:
        segments = container.lines[2][0].get_segments()
        low, high = np.array([s[0][1] for s in segments]), np.array([s[1][1] for s in segments])
        found.append(((low + high) / 2, (high - low) / 2))
    return found


def test_sampled_curves_have_honest_bars() -> None:
    """24 independent runs: the spread between runs is that of the bars, and they scatter about the exact curve."""
    policy = start()
    runs = [binned(ls.drift(schemes.rloo(), policy, MONTE_CARLO, rng=np.random.default_rng(seed), batches=64))
            for seed in range(24)]
    exact = ls.drift(schemes.rloo(), policy)
    for cell in range(2):
        values = np.array([run[cell][0] for run in runs])
        bars = np.array([run[cell][1] for run in runs])
        spread = values.std(axis=0, ddof=1) / np.sqrt((bars**2).mean(axis=0))
        assert 0.7 < np.sqrt((spread**2).mean()) < 1.25
        mass = policy.pmf[cell]
        edges = np.minimum((np.cumsum(mass) - mass / 2) / mass.sum() * 12, 11).astype(int)
        curve = exact.effective_reward.value[cell]
        expected = np.bincount(edges, mass * curve) / np.bincount(edges, mass)
        inner = slice(1, -1)  # the outermost bins lose half a percent of tail
        z = (values.mean(axis=0) - expected)[inner] / (values.std(axis=0, ddof=1) / np.sqrt(24))[inner]
        assert np.abs(z).max() < 4.5


def test_many_cells_share_names_and_colours() -> None:
    left, right = panels(ls.drift(schemes.grpo(), many()).plot())
    legend = left.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["right: one line per class", "wrong: one line per class"]
    assert set(widths(right)) <= {f"{path}: {role}" for path in ("right", "wrong")
                                  for role in ("stop", "go on", "path")} | {"sum", "needed for accuracy", "free"}
    assert len({line.get_color() for line in left.get_lines() if len(line.get_xdata()) > 2}) == 2


@pytest.mark.parametrize(("name", "words"), [
    ("PPO, never solved", "ppo: undecided: longer if the critic is V = 0 (+"),
    ("GRPO, mixture", "grpo: undecided: shorter in "),
    ("equal rewards", "grpo: nothing moves"),
    ("one token", "ppo: no drift of mean length"),
    ("no stop", "ppo: nothing moves"),
    ("one token, sampled", "ppo: no drift of mean length beyond the noise"),
])
def test_verdict(name: str, words: str, drawn: dict[str, tuple[ls.Drift, Figure]]) -> None:
    assert verdict(drawn[name][0]).startswith(words)


def test_verdict_of_noise() -> None:
    """Leave-one-out with a token sum moves no length on an unsolvable class with reward ±1 half of the time."""
    path = ls.Path("only", length=lengths.geometric(mean=20), p_correct=0.5, p_correct_truncated=0.5)
    policy = ls.Policy([ls.PromptClass("coin", paths=[path])], max_tokens=64)
    result = ls.drift(schemes.rloo(), policy, MONTE_CARLO, rng=np.random.default_rng(0), batches=32)
    assert verdict(result) == "rloo: no drift of mean length beyond the noise"


def test_settings_of_the_user_neither_show_nor_change() -> None:
    result = ls.drift(schemes.grpo(), start())
    with matplotlib.rc_context({"font.size": 30.0, "axes.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        figure = result.plot()
        assert dict(matplotlib.rcParams) == before
    left, _ = panels(figure)
    assert left.xaxis.label.get_fontsize() == 8.0
    assert left.get_facecolor() == (1.0, 1.0, 1.0, 1.0)


def test_pyplot_is_not_loaded() -> None:
    code = """
import sys, lossim as ls
never = ls.policies.unsolvable(length=ls.lengths.geometric(mean=9), max_tokens=64)
ls.drift(ls.schemes.ppo(), never).plot()
assert "matplotlib.figure" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
