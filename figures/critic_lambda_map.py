"""Figure: PPO's drift over the critic's level and λ, with the line where it vanishes."""

from __future__ import annotations

import numpy as np
from _starts import CONCISE, RATIO, SIGMA, reasoning_start
from _style import BLACK, GREY, Numbers, new_figure, styled
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

import lossim as ls
from lossim import critics

CLAIM = "Under PPO the error of the critic sets the direction: a critic above the mean reward lengthens, below it shortens"
EXACT = True

BENCHMARK = "AIME24"


def scheme(gae_lambda: float, level: float) -> ls.Scheme:
    """Concise Reasoning's PPO with a critic that says ``level`` everywhere."""
    s = CONCISE["settings"]
    reward = ls.Reward(correct=s["reward_correct"], incorrect=s["reward_wrong_boxed"], truncated=s["reward_no_box"])
    return ls.schemes.ppo(gae_lambda=gae_lambda, critic=critics.Constant(value=level), reward=reward)


def compute() -> Numbers:
    """The map from three drifts per λ: the update is affine in the level, and nats are quadratic in the update."""
    policy = reasoning_start(BENCHMARK)
    levels = np.linspace(-1.0, 1.0, 41)
    horizons = np.geomspace(10, 10_000, 25)
    rows, zeros = [], []
    for horizon in horizons:
        three = [ls.drift(scheme(1.0 - 1.0 / horizon, level), policy) for level in (-1.0, 0.0, 1.0)]
        length = np.array([float(d.length) for d in three])
        nats = np.array([(float(d.length) / float(d.length_per_kl)) ** 2 for d in three])
        drift = np.polyval(np.polyfit([-1, 1], length[[0, 2]], 1), levels)
        rows.append(drift / np.sqrt(np.polyval(np.polyfit([-1, 0, 1], nats, 2), levels)))
        zeros.append(-1 - 2 * length[0] / (length[2] - length[0]))
    paid = scheme(0.95, 0.0).reward
    direct = float(ls.drift(scheme(1.0 - 1.0 / horizons[4], levels[7]), policy).length_per_kl)
    return {"lossim_version": ls.__version__,
            "settings": {"benchmark": f"R1-Distill-Qwen-1.5B on {BENCHMARK}", "mean_length": policy.mean_length,
                         "accuracy": policy.accuracy, "truncation_rate": policy.truncation_rate,
                         "max_tokens": policy.max_tokens, "wrong_over_right": RATIO, "sigma": SIGMA,
                         "coordinates": repr(policy.coordinates), "scheme": repr(scheme(0.95, 0.0)),
                         "source": f"{CONCISE['source']}, arXiv {CONCISE['arxiv']}"},
            "horizon": horizons, "level": levels, "length_per_kl": rows, "zero_level": zeros,
            "mean_reward": policy.accuracy * paid.correct + policy.truncation_rate * paid.truncated
            + (1 - policy.accuracy - policy.truncation_rate) * paid.incorrect, "check": {"horizon_index": 4, "level_index": 7, "length_per_kl": direct}}


@styled
def draw(numbers: Numbers) -> Figure:
    """A map with its zero line and the mean reward."""
    figure, (axes,) = new_figure(CLAIM, height=3.8)
    drift = np.array(numbers["length_per_kl"]).T
    size = float(np.abs(drift).max())
    mesh = axes.pcolormesh(numbers["horizon"], numbers["level"], drift, cmap="PuOr", shading="gouraud",
                           norm=TwoSlopeNorm(0.0, -size, size), rasterized=True)
    axes.plot(numbers["horizon"], numbers["zero_level"], color=BLACK, linewidth=2, label="no drift")
    axes.axhline(numbers["mean_reward"], color=GREY, linestyle="--", linewidth=1.2, label="mean reward")
    ticks = [10, 20, 100, 1000, 10_000]
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{1 - 1 / t:g}\n{t:,}" for t in ticks])
    axes.minorticks_off()
    axes.set(ylim=(-1, 1), xlabel="λ, and below it 1/(1 − λ), tokens", ylabel="level of the critic (reward)")
    axes.legend(loc="upper right", frameon=True)
    figure.colorbar(mesh, ax=axes, label="change of mean length\n(tokens per step of 0.01 nats)")
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    s = numbers["settings"]
    return ("todo")
