"""Figure: PPO's drift over λ and the solve rate, with a critic at 0."""

from __future__ import annotations

from matplotlib.figure import Figure

import lossim as ls
from _maps import draw_map, stored, turns
from _starts import RATIO, SIGMA, ZERO, zero_start
from _style import Numbers, prose, styled

CLAIM = "With a critic at 0 and rewards ±1 the solve rate sets PPO's direction; λ moves where it turns, from 40% to 31%"
EXACT = True

LAMBDAS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 1.0)
RATES = (0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95)
SCHEME = ls.schemes.ppo(critic=ls.critics.Zero())
POINTS = {"λ = 0.95": (0.25, 0.95), "λ = 1": (0.25, 1.0)}


def compute() -> Numbers:
    """length_per_kl in every cell, with its sign over the default kernels."""
    swept = ls.sweep(ls.drift, {"gae_lambda": LAMBDAS, "solve_rate": RATES}, scheme=SCHEME, start=zero_start)
    return {"lossim_version": ls.__version__,
            "settings": {"max_tokens": ZERO["settings"]["max_tokens"], "wrong_over_right": RATIO, "sigma": SIGMA,
                         "mean_length_by_path": zero_start().mean_length_by_path, "scheme": repr(SCHEME),
                         "source": ZERO["source"]},
            "sweep": stored(swept)}


@styled
def draw(numbers: Numbers) -> Figure:
    """The map, λ up."""
    figure, axes = draw_map(CLAIM, numbers, POINTS)
    axes.set_xlabel("solve rate: share of correct responses")
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    settings, turn = numbers["settings"], turns(numbers)
    right, wrong = settings["mean_length_by_path"]
    decided = numbers["sweep"]["decided"]
    return prose(f"""
        Expected change of mean length under PPO (mean over a response's tokens, critic at 0, rewards ±1) in a step
        of 0.01 nats per response; rows are equally high though λ is not evenly spaced. At 0 the critic is too high
        where most responses are wrong, whose tokens are then blamed, the stop among them; where most are right it is
        too low. So the direction turns at a solve rate of {turn[0]:.0%} at λ = 0.9, and of {turn[-1]:.0%} at λ = 1,
        where the choice of the path is credited too. Hatched: of 64 plausible kernels some send length the other
        way, {decided[0].count(False)} of the {len(RATES)} solve rates at λ = 0.9 and {decided[-1].count(False)} at
        λ = 1. Circles: the usual values of λ, 0.95 and 1, at a solve rate of a quarter. Start: two
        paths, means {right:.0f} (right) and {wrong:.0f} tokens (wrong; ratio from [arXiv
        2503.20783](https://arxiv.org/abs/2503.20783)), lognormal with σ = {settings['sigma']:g} (assumed), cap
        {settings['max_tokens']:,}.""")
