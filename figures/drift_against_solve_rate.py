"""Figure: drift of the mean length against the solve rate, by preset, at one length law."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import lossim as ls
from _starts import RATIO, SIGMA, ZERO, zero_start
from _style import BLACK, BLUE, ORANGE, PURPLE, VERMILION, Numbers, legend, new_figure, prose, styled, zero_line
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
LOOKS = {
    "GRPO": ("GRPO", VERMILION, "-", 1.5), "Dr. GRPO": ("Dr. GRPO, DAPO and RLOO", BLUE, "-", 1.5),
    "PPO, ±1, λ = 0.95, V = 0": ("PPO, ±1, λ = 0.95, V = 0", PURPLE, "--", 1.5),
    "PPO, 0/1, λ = 0.95, V = 0": ("PPO, 0/1, λ = 0.95, V = 0", ORANGE, "--", 1.5),
    "PPO, ±1, λ = 0.95, exact critic": ("PPO, ±1, λ = 0.95, exact critic", BLACK, (0, (1, 1.5)), 2.0)}
"""Of curves what they are called, and how they look."""


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
    """One line per scheme, one for three that are the same to the eye; those with a critic not solid."""
    figure, (axes,) = new_figure(CLAIM, 3.6)
    for name, (label, colour, line, width) in LOOKS.items():
        axes.plot(numbers["solve_rate"], numbers["curves"][name], color=colour, linestyle=line, linewidth=width,
                  label=label)
    zero_line(axes)
    axes.set(xlim=(0, 1), xlabel="solve rate: share of correct responses",
             ylabel="change of mean length\n(tokens per step of 0.01 nats)")
    legend(axes)
    return figure


def apart(numbers: Numbers) -> float:
    """The solve rate from which on PPO with an exact critic is a token or more from Dr. GRPO."""
    one, other = (np.array(numbers["curves"][name]) for name in ("Dr. GRPO", "PPO, ±1, λ = 0.95, exact critic"))
    return float(np.array(numbers["solve_rate"])[abs(one - other) >= 1.0].min())


def _coincide(numbers: Numbers) -> float:
    """How far the curves that are drawn once are from one another, tokens."""
    same = np.array([numbers["curves"][name] for name in ("Dr. GRPO", "DAPO", "RLOO")])
    return float(np.ptp(same, axis=0).max())


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    s = numbers["settings"]
    right, wrong = s["mean_length_by_path"]
    return prose(f"""
        Expected change of the mean length for a step that moves the policy by 0.01 nats of KL per response, so that
        losses of different size compare. One prompt class, two paths, means {right:.0f} (right) and {wrong:.0f} tokens
        (wrong; ratio from [arXiv 2503.20783](https://arxiv.org/abs/2503.20783)), lognormal with σ = {s['sigma']:g}
        (assumed), cap {s['max_tokens']:,}; the presets' own group sizes. Where the loss leaves lengths on a path alone,
        what is left is the right path becoming more frequent: Dr. GRPO, DAPO and RLOO coincide to
        {_coincide(numbers):.1f} tokens and are drawn once, and PPO with an exact critic leaves them by a token from a
        solve rate of {apart(numbers):.2f} on. A critic at 0 under 0/1 rewards is too low everywhere, under ±1 too high
        wherever most responses are wrong.""")
