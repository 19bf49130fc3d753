"""Figure: PPO's drift over the critic's level and λ, with the line where it vanishes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

import lossim as ls
from _starts import CONCISE, RATIO, SIGMA, reasoning_start
from _style import BLACK, BLUE, VERMILION, Numbers, new_figure, prose, signs, styled
from lossim import critics

CLAIM = ("Under PPO the level of a flat critic sets the direction: above a line it lengthens, below it shortens; "
         "the line is above the mean reward, and above V = 0")
EXACT = True

BENCHMARK = "AIME24"
REWARD = ls.Reward(correct=CONCISE["settings"]["reward_correct"], incorrect=CONCISE["settings"]["reward_wrong_boxed"],
                   truncated=CONCISE["settings"]["reward_no_box"])


def scheme(gae_lambda: float, level: float) -> ls.Scheme:
    """Concise Reasoning's PPO with a critic that says ``level`` everywhere."""
    return ls.schemes.ppo(gae_lambda=gae_lambda, critic=critics.Constant(value=level), reward=REWARD)


def mean_reward(policy: ls.Policy, weight: Any) -> float:
    """Mean of the reward, responses weighted by a function of their end."""
    paid = np.empty((2, policy.max_tokens + 1))
    paid[0], paid[1], paid[:, -1] = REWARD.correct, REWARD.incorrect, CONCISE["settings"]["reward_no_box"]
    share = np.einsum("c,cge->ge", policy.cell_weight, policy.law) * weight
    return float((share * paid).sum() / share.sum())


def compute() -> Numbers:
    """The map from three drifts per λ: the update is affine in the level, and nats are quadratic in the update."""
    policy = reasoning_start(BENCHMARK)
    levels, horizons = np.linspace(-1.0, 1.0, 41), np.geomspace(10, 10_000, 25)
    rows, zeros = [], []
    for horizon in horizons:
        three = [ls.drift(scheme(1.0 - 1.0 / horizon, level), policy) for level in (-1.0, 0.0, 1.0)]
        length = np.array([float(d.length) for d in three])
        nats = np.array([(float(d.length) / float(d.length_per_kl)) ** 2 for d in three])
        drift = length[1] + (length[2] - length[0]) / 2 * levels
        rows.append(drift / np.sqrt(np.polyval(np.polyfit([-1, 0, 1], nats, 2), levels)))
        zeros.append(2 * length[1] / (length[0] - length[2]))
    return {"lossim_version": ls.__version__,
            "settings": {"benchmark": f"R1-Distill-Qwen-1.5B on {BENCHMARK}", "mean_length": policy.mean_length,
                         "accuracy": policy.accuracy, "truncation_rate": policy.truncation_rate,
                         "max_tokens": policy.max_tokens, "wrong_over_right": RATIO, "sigma": SIGMA,
                         "coordinates": repr(policy.coordinates), "scheme": repr(scheme(0.95, 0.0)),
                         "source": f"{CONCISE['source']}, arXiv {CONCISE['arxiv']}"},
            "horizon": horizons, "level": levels, "length_per_kl": rows, "zero_level": zeros,
            "mean_reward": mean_reward(policy, 1.0),
            "mean_reward_by_inverse_length": mean_reward(policy, 1.0 / policy.length)}


@styled
def draw(numbers: Numbers) -> Figure:
    """A map with its zero line and the mean reward."""
    figure, (axes,) = new_figure(CLAIM, 3.6)
    drift = np.array(numbers["length_per_kl"]).T
    size = float(np.abs(drift).max())
    colours = LinearSegmentedColormap.from_list("about 0", (BLUE, "white", VERMILION))
    mesh = axes.pcolormesh(numbers["horizon"], numbers["level"], drift, cmap=colours, shading="gouraud",
                           norm=Normalize(-size, size), rasterized=True)
    axes.plot(numbers["horizon"], numbers["zero_level"], color=BLACK, linewidth=2, label="no drift")
    axes.axhline(numbers["mean_reward_by_inverse_length"], color=BLACK, linestyle="--", linewidth=1.2,
                 label="mean reward, responses weighted by 1/T")
    axes.axhline(numbers["mean_reward"], color=BLACK, linestyle=":", linewidth=1.4, label="mean reward")
    axes.plot(20, 0, marker="o", color=BLACK, markersize=5, markerfacecolor="white", linestyle="none",
              label="λ = 0.95, V = 0: shorter")
    ticks = [10, 100, 1000, 10_000]
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{1 - 1 / t:g}\n{t:,}" for t in ticks])
    axes.minorticks_off()
    axes.set(ylim=(-1, 1), xlabel="λ, and below it 1/(1 − λ) (tokens)", ylabel="level of the critic (reward)")
    axes.grid(visible=False)
    figure.legend(loc="outside lower left", handlelength=1.8)
    bar = figure.colorbar(mesh, ax=axes, label="change of mean length\n(tokens per step of 0.01 nats)")
    bar.ax.yaxis.set_major_formatter(lambda y, _: signs(f"{y:g}"))
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    s = numbers["settings"]
    return prose(f"""
        PPO as in Concise Reasoning ([arXiv 2504.05185](https://arxiv.org/abs/2504.05185): +1, -0.5, and
        -1 without an answer; mean over a response's tokens; KL, clip and whitening left out) on
        {s['benchmark']}: published mean length {s['mean_length']:,.0f} tokens and accuracy
        {s['accuracy']:.1%}, cap {s['max_tokens']:,}. Assumed: wrong responses {s['wrong_over_right']:g}
        times as long as right ones, lognormal lengths (σ = {s['sigma']:g}), which cut
        {s['truncation_rate']:.0%} of the responses, and a critic that says one number everywhere. The
        level without drift is above the mean reward, because the mean over tokens gives short, mostly
        right responses more weight and because a cut response, paid least, pushes towards stopping. The
        circle is their λ with a critic at 0: shorter, as was observed on problems that are sometimes
        solved. Close to λ = 1 the path token is credited too, and right paths are shorter.""")
