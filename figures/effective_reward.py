"""Figure: the reward of the length that each loss really pays for."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import lossim as ls
from _starts import RATIO, SIGMA, ZERO, zero_start
from _style import BLUE, GREY, ORANGE, PURPLE, VERMILION, Numbers, heading, legend, new_figure, prose, styled, zero_line

CLAIM = "A mean over a response's tokens pays for short right and for long wrong responses; a constant pays for neither"
EXACT = True

SCHEMES = {
    "GRPO: 1/T": ls.schemes.grpo(), "ΔL: $T^{-0.75}$": ls.schemes.delta_l(), "DAPO: token-mean": ls.schemes.dapo(),
    "Dr. GRPO: constant": ls.schemes.dr_grpo(),
    "PPO: 1/T, λ = 0.95, V = 0": ls.schemes.ppo(gae_lambda=0.95, critic=ls.critics.Zero())}
GROUPED = {"GRPO: 1/T": ("GRPO: 1/T", VERMILION), "ΔL: $T^{-0.75}$": ("ΔL: T to the −0.75", ORANGE),
           "Dr. GRPO: constant": ("Dr. GRPO: constant (and DAPO: token-mean)", BLUE)}
"""Of group-relative schemes what they are called and how they look; two are the same to the eye, and one is drawn."""
CRITIC = "PPO: 1/T, λ = 0.95, V = 0"


def compute() -> Numbers:
    """Effective reward per cell and length at one start, scaled to a step of 0.01 nats."""
    policy = zero_start()
    keep = np.unique(np.round(np.geomspace(80, 2500, 60)).astype(int))
    curves = {}
    for name, scheme in SCHEMES.items():
        drift = ls.drift(scheme, policy)
        step = float(drift.length_per_kl) / float(drift.length)
        values = np.asarray(drift.effective_reward) * step
        curves[name] = {path: values[i, keep - 1] for i, (_, path) in enumerate(policy.cell_names)}
    return {"lossim_version": ls.__version__,
            "settings": {"max_tokens": policy.max_tokens, "solve_rate": 0.5, "mean_length": policy.mean_length,
                         "mean_length_by_path": policy.mean_length_by_path, "wrong_over_right": RATIO, "sigma": SIGMA,
                         "source": ZERO["source"], "coordinates": repr(policy.coordinates),
                         "schemes": {name: repr(scheme) for name, scheme in SCHEMES.items()}},
            "length": keep, "curves": curves}


@styled
def draw(numbers: Numbers) -> Figure:
    """Group-relative schemes on the right and on the wrong path; PPO, whose rewards are larger, on both by itself."""
    figure, (right, wrong, ppo) = new_figure(CLAIM, 1.55, 2.35, 2.15)
    for axes, path in ((right, "right"), (wrong, "wrong")):
        for name, (label, colour) in GROUPED.items():
            axes.plot(numbers["length"], numbers["curves"][name][path], color=colour, label=label)
        heading(axes, f"On the {path} path (scaled to 0.01 nats)")
        axes.set(ylim=(-2.0, 1.8))
    for path, line in (("right", "-"), ("wrong", "--")):
        ppo.plot(numbers["length"], numbers["curves"][CRITIC][path], line, color=PURPLE, label=f"{path} path")
    heading(ppo, "PPO: 1/T, λ = 0.95, V = 0, on another scale")
    ticks = [100, 200, 500, 1000, 2000]
    for axes, paths in ((right, (0,)), (wrong, (1,)), (ppo, (0, 1))):
        for place in paths:
            axes.axvline(numbers["settings"]["mean_length_by_path"][place], color=GREY, linewidth=1, linestyle=":")
        zero_line(axes)
        axes.set(xscale="log", ylabel="effective reward")
        axes.set_xticks(ticks, [f"{t:,}" for t in ticks])
        axes.minorticks_off()
    for axes in (wrong, ppo):
        axes.set_xlabel("response length (tokens, log scale)")
        axes.plot([], [], color=GREY, linewidth=1, linestyle=":", label="mean length of the path")
    legend(wrong, ncols=1)
    legend(ppo, ncols=2)
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    s = numbers["settings"]
    return prose(f"""
        The reward of the length on which plain REINFORCE would make the same expected update, per path,
        shifted to mean 0 on each and scaled to a step that moves the policy by 0.01 nats per response.
        Where it rises, responses are drawn on. Start: two paths, lognormal lengths (σ = {s['sigma']:g},
        assumed), wrong {s['wrong_over_right']:g} times as long as right ([arXiv
        2503.20783](https://arxiv.org/abs/2503.20783)), mean {s['mean_length']:.0f} tokens, half right,
        cap {s['max_tokens']:,}; dotted: mean length of the path. DAPO's is
        within 0.005 of 0 everywhere and is drawn as Dr. GRPO's.""")
