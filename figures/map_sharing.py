"""Figure: GRPO's drift over how much paths share their stop logits and how much longer wrong responses are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import lossim as ls
from _maps import draw_map, read, stored, turns
from _starts import RATIO, SIGMA
from _style import Numbers, prose, styled

CLAIM = ("The less right and wrong responses share how they stop, the longer wrong ones must be before GRPO shortens; "
         "below 1.9 times no sign is sure")
EXACT = True

SHARINGS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
RATIOS = (0.6, 0.7, 0.83, 0.98, 1.15, 1.36, 1.6, 1.9, 2.2, 2.6, 3.1, 3.6)
SCHEME = ls.schemes.grpo()
START: dict[str, Any] = {"solve_rate": 0.25, "median_right": 400.0, "max_tokens": 3000}
POINTS = {"as measured": (RATIO, ls.coordinates().sharing)}


def start(ratio: float) -> ls.Policy:
    """Two paths, the median of the wrong one so many times that of the right one."""
    right, law = START["median_right"], ls.lengths.lognormal
    return ls.policies.two_paths(solve_rate=START["solve_rate"], max_tokens=START["max_tokens"],
                                 right=law(median=right, sigma=SIGMA), wrong=law(median=ratio * right, sigma=SIGMA))


def drift(scheme: ls.Scheme, policy: ls.Policy, *, sharing: float) -> ls.Drift:
    """The drift at this sharing, over kernels that all have it."""
    moved = replace(policy, coordinates=ls.coordinates(sharing=sharing))
    return ls.drift(scheme, moved, kernels=ls.kernels(sharing=(sharing, sharing)))


def compute() -> Numbers:
    """length_per_kl in every cell, with its sign over kernels of that sharing."""
    swept = ls.sweep(drift, {"function.sharing": SHARINGS, "ratio": RATIOS}, scheme=SCHEME, start=start)
    return {"lossim_version": ls.__version__, "settings": START | {"sigma": SIGMA, "scheme": repr(SCHEME)},
            "sweep": stored(swept)}


@styled
def draw(numbers: Numbers) -> Figure:
    """The map, sharing up."""
    figure, axes = draw_map(CLAIM, numbers, POINTS)
    axes.set(xlabel="length of wrong responses over right ones", ylabel="sharing of stop logits (0 to 1)")
    axes.set_xticks([0.6, 1, 1.5, 2, 3], ["0.6", "1", "1.5", "2", "3"])
    axes.minorticks_off()
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    settings, turn, swept = numbers["settings"], turns(numbers), read(numbers)
    known = np.array(RATIOS)[swept.decided.any(axis=0)].min()
    return prose(f"""
        Expected change of mean length under GRPO in a step of 0.01 nats per response, over the ratio of the
        medians of wrong and right responses and over the kernel between the stop logits of the two paths, over that
        within one. {settings['solve_rate']:.0%} are right. Where paths stop alike (1) the longer path sets the
        direction, and it turns at a ratio of {turn[-1]:.2f}; where each stops for itself (0) the mean over a
        response's tokens makes wrong responses longer and right ones shorter, and as three of four are wrong the mean
        falls only from a ratio of {turn[0]:.2f} on. Hatched: of 64 plausible kernels with that sharing some send length
        the other way; below a ratio of {known:g} that is so everywhere, growth among it. Circle: the sharing measured
        on a language model, {POINTS['as measured'][1]:g}, and a published ratio, {RATIO:g} ([arXiv
        2503.20783](https://arxiv.org/abs/2503.20783)). Assumed: median of right responses
        {settings['median_right']:.0f} tokens, lognormal with σ = {settings['sigma']:g}, cap
        {settings['max_tokens']:,}.""")
