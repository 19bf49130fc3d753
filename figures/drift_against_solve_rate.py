"""Figure: drift of the mean length against the solve rate, by preset, at one length law."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import lossim as ls
from _starts import RATIO, SIGMA, ZERO, zero_start
from _style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    Numbers,
    new_figure,
    prose,
    styled,
    zero_line,
)
from lossim import critics

CLAIM = ("With wrong responses longer, group-relative losses shorten at any solve rate; "
         "PPO with V = 0 and ±1 lengthens on hard prompts")
EXACT = True

SIGNED = ls.Reward(correct=1.0, incorrect=-1.0)
SCHEMES = {
    "GRPO": ls.schemes.grpo(), "Dr. GRPO": ls.schemes.dr_grpo(), "DAPO": ls.schemes.dapo(), "RLOO": ls.schemes.rloo(),
    "PPO, ±1, λ = 0.95, V = 0": ls.schemes.ppo(gae_lambda=0.95, reward=SIGNED, critic=critics.Zero()),
    "PPO, 0/1, λ = 0.95, V = 0": ls.schemes.ppo(gae_lambda=0.95, reward=ls.Reward(), critic=critics.Zero()),
    "PPO, ±1, λ = 0.95, exact critic": ls.schemes.ppo(gae_lambda=0.95, reward=SIGNED, critic=critics.Exact())}
LOOKS = ((VERMILION, "-", 1.7), (SKY, "-", 6.0), (GREEN, "-", 3.6), (BLUE, "-", 1.5), (PURPLE, "--", 1.7),
         (ORANGE, "--", 1.7), (BLACK, (0, (1, 1.5)), 1.5))


def compute() -> Numbers:
    """length_per_kl of every scheme over a grid of solve rates."""
    rates = np.round(1 / (1 + np.exp(-np.linspace(-4, 4, 65))), 4)
    policies = [zero_start(rate) for rate in rates]
    curves = {name: [float(ls.drift(scheme, policy).length_per_kl) for policy in policies]
              for name, scheme in SCHEMES.items()}
    return {"lossim_version": ls.__version__,
            "settings": {"max_tokens": ZERO["settings"]["max_tokens"], "wrong_over_right": RATIO, "sigma": SIGMA,
                         "mean_length_when_half_right": ZERO["mean_length_after_dr_grpo"], "source": ZERO["source"],
                         "mean_length_by_path": policies[0].mean_length_by_path,
                         "coordinates": repr(policies[0].coordinates),
                         "schemes": {name: repr(scheme) for name, scheme in SCHEMES.items()}},
            "solve_rate": rates, "curves": curves}


@styled
def draw(numbers: Numbers) -> Figure:
    """One line per scheme; group-relative ones solid, those with a critic dashed."""
    figure, (axes,) = new_figure(CLAIM, height=3.7)
    for (name, curve), (colour, line, width) in zip(numbers["curves"].items(), LOOKS, strict=True):
        axes.plot(numbers["solve_rate"], curve, color=colour, linestyle=line, linewidth=width, label=name)
    zero_line(axes)
    axes.set(xlim=(0, 1), xlabel="solve rate: share of correct responses",
             ylabel="change of mean length\n(tokens per step of 0.01 nats)")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    s = numbers["settings"]
    right, wrong = s["mean_length_by_path"]
    return prose(f"""
        Expected change of the mean length for a step that moves the policy by 0.01 nats of KL per
        response, so that losses of different size compare. One prompt class, two paths, means
        {right:.0f} (right) and {wrong:.0f} tokens (wrong; ratio from [arXiv
        2503.20783](https://arxiv.org/abs/2503.20783)), lognormal with σ = {s['sigma']:g} (assumed), cap
        {s['max_tokens']:,}; the presets' own group sizes. Where the loss leaves lengths on a path
        alone, what is left is the right path becoming more frequent, and Dr. GRPO, DAPO, RLOO and PPO
        with an exact critic coincide. A critic at 0 under 0/1 rewards is too low everywhere, under ±1
        too high wherever most responses are wrong.""")
