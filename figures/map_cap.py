"""Figure: GRPO's drift over the cap and the solve rate, cut responses kept as wrong ones."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import lossim as ls
from _maps import draw_map, stored, turns
from _style import Numbers, prose, styled

CLAIM = ("The tighter the cap, the fewer need be right for GRPO to shorten; from 8,192 up it lengthens, or hangs on "
         "the kernel")
EXACT = True

CAPS = (2048, 2896, 4096, 5793, 8192, 11585, 16384)
RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SCHEME = ls.schemes.grpo()
START: dict[str, Any] = {"mean_right": 5000.0, "mean_wrong": 9000.0, "verbosity": 1000.0, "premature": 0.25,
                         "max_tokens": 32768}
POINTS = {"4k": (0.5, 4096), "8k": (0.5, 8192), "16k": (0.5, 16384)}


@lru_cache
def uncut(solve_rate: float) -> ls.Policy:
    """The start under a cap that cuts next to nothing."""
    return ls.policies.reasoning(accuracy=solve_rate, **START)


def start(solve_rate: float, max_tokens: int) -> ls.Policy:
    """The same policy, cut earlier; the solve rate is the one without cuts."""
    return uncut(solve_rate).recapped(max_tokens)


def compute() -> Numbers:
    """length_per_kl in every cell, with its sign over the default kernels, and the share of responses cut."""
    swept = ls.sweep(ls.drift, {"max_tokens": CAPS, "solve_rate": RATES}, scheme=SCHEME, start=start)
    return {"lossim_version": ls.__version__, "settings": START | {"scheme": repr(SCHEME)},
            "truncation_rate": [[start(rate, cap).truncation_rate for rate in RATES] for cap in CAPS],
            "sweep": stored(swept)}


@styled
def draw(numbers: Numbers) -> Figure:
    """The map, the cap up."""
    figure, axes = draw_map(CLAIM, numbers, POINTS)
    axes.set_xlabel("solve rate if nothing were cut")
    axes.set_yticks(CAPS[::2], [f"{cap:,}" for cap in CAPS[::2]])
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    settings, cut, turn = numbers["settings"], np.array(numbers["truncation_rate"]), turns(numbers)
    half = RATES.index(0.5)
    shares = [f"{cut[CAPS.index(cap), half]:.0%} at {cap:,}" for cap in (2048, 4096, 8192, 16384)]
    return prose(f"""
        Expected change of mean length under GRPO, cut responses kept in the loss as wrong ones, in a step of 0.01
        nats per response. Responses work until their answer is there, and a quarter of the wrong ones stop too
        early: blaming these lengthens. A cut response is wrong because it went on, and blaming it shortens. Where
        half the responses would be right the caps cut {', '.join(shares[:-1])} and {shares[-1]}; circles: common
        caps there. The tighter the cap and the more would be right, the more of the blame falls on going on: length
        falls where {turn[0]:.0%} or more would be right at 2,048, {turn[2]:.0%} at 4,096. Hatched:
        some of 64 plausible kernels send length the other way. Assumed: uncut means of
        {settings['mean_right']:,.0f} (right) and {settings['mean_wrong']:,.0f} tokens (wrong), right ones stopping
        {settings['verbosity']:,.0f} tokens after their answer, lognormal work and stops (σ = 0.5).""")
