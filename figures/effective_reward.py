"""Figure: the reward of the length that each loss really pays for."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import lossim as ls
from _starts import RATIO, SIGMA, ZERO, zero_start
from _style import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, Numbers, new_figure, prose, styled, zero_line

CLAIM = "A mean over a response's tokens pays for short right and for long wrong responses; a constant pays for neither"
EXACT = True

SCHEMES = {
    "GRPO: 1/T": ls.schemes.grpo(), "ΔL: $T^{-0.75}$": ls.schemes.delta_l(), "DAPO: token-mean": ls.schemes.dapo(),
    "Dr. GRPO: constant": ls.schemes.dr_grpo(),
    "PPO: 1/T, λ = 0.95, V = 0": ls.schemes.ppo(gae_lambda=0.95, critic=ls.critics.Zero())}
COLOURS = (VERMILION, ORANGE, GREEN, BLUE, PURPLE)


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
    """Right path left, wrong path right, one line per scheme."""
    figure, panels = new_figure(CLAIM, height=3.8, columns=2, sharey=True)
    for axes, path in zip(panels, ("right", "wrong"), strict=True):
        for (name, curve), colour in zip(numbers["curves"].items(), COLOURS, strict=True):
            axes.plot(numbers["length"], curve[path], color=colour, label=name,
                      linestyle="--" if name.startswith("DAPO") else "-", zorder=3 if name.startswith("DAPO") else 2)
        zero_line(axes)
        mean = numbers["settings"]["mean_length_by_path"][path == "wrong"]
        axes.axvline(mean, color=GREY, linewidth=1, linestyle=":")
        ticks = [100, 200, 500, 1000, 2000]
        axes.set(xscale="log", title=f"on the {path} path", xlabel="response length (tokens, log scale)")
        axes.set_xticks(ticks, [f"{t:,}" for t in ticks])
        axes.minorticks_off()
    panels[0].set_ylabel("effective reward of a length\n(scaled to a step of 0.01 nats)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
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
        cap {s['max_tokens']:,}; dotted: mean length of the path.""")
