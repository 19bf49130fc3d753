"""Figure: GRPO's drift over the group size and the solve rate of the harder half of the prompts."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from matplotlib.figure import Figure

import lossim as ls
from _maps import draw_map, stored, turns
from _starts import SIGMA
from _style import Numbers, prose, styled

CLAIM = ("The larger the groups, the rarer the successes by which GRPO lengthens: 1 in 56 in groups of 2, "
         "1 in 200 in groups of 64")
EXACT = True

SIZES = (2, 4, 8, 16, 32, 64, 128)
RATES = tuple(round(2.0 ** (-9.0 + 6.0 * number / 9), 6) for number in range(10))
SCHEME = ls.schemes.grpo()
EASY: dict[str, Any] = {"solve_rate": 0.8, "median_right": 400.0, "median_wrong": 1600.0}
HARD: dict[str, Any] = {"mean_right": 1200.0, "mean_wrong": 600.0, "verbosity": 200.0, "premature": 0.7}
CAP = 4096
POINTS = {"G = 8": (1 / 40, 8), "G = 16": (1 / 40, 16)}


@lru_cache
def start(solve_rate: float) -> ls.Policy:
    """Half of the prompts mostly solved, by the shorter responses; half rarely, and early stops are what fails."""
    law = ls.lengths.lognormal
    easy = ls.policies.two_paths(solve_rate=EASY["solve_rate"], right=law(median=EASY["median_right"], sigma=SIGMA),
                                 wrong=law(median=EASY["median_wrong"], sigma=SIGMA), max_tokens=CAP)
    hard = ls.policies.reasoning(accuracy=solve_rate, max_tokens=CAP, **HARD)
    return ls.Policy([ls.PromptClass("easy", weight=0.5, paths=easy.classes[0].paths),
                      ls.PromptClass("hard", weight=0.5, paths=hard.classes[0].paths)], max_tokens=CAP)


def compute() -> Numbers:
    """length_per_kl in every cell, with its sign over the default kernels."""
    swept = ls.sweep(ls.drift, {"group_size": SIZES, "solve_rate": RATES}, scheme=SCHEME, start=start)
    return {"lossim_version": ls.__version__,
            "settings": {"easy": EASY, "hard": HARD, "sigma": SIGMA, "max_tokens": CAP, "scheme": repr(SCHEME)},
            "sweep": stored(swept)}


@styled
def draw(numbers: Numbers) -> Figure:
    """The map, the group size up."""
    figure, axes = draw_map(CLAIM, numbers, POINTS)
    axes.set_xlabel("solve rate of the hard half of the prompts")
    axes.set_xticks(range(0, len(RATES), 3), [f"1/{1 / rate:.0f}" for rate in RATES[::3]])
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    settings, turn = numbers["settings"], turns(numbers)
    easy, hard = settings["easy"], settings["hard"]
    at = {size: f"1 in {1 / rate:.0f}" for size, rate in zip(SIZES, turn, strict=True)}
    return prose(f"""
        Expected change of mean length under GRPO in a step of 0.01 nats per response. On one half of the prompts
        {easy['solve_rate']:.0%} are right and wrong responses are four times as long, which shortens; on the other,
        rarely solved, {hard['premature']:.0%} of the wrong ones stop too early, which lengthens. On prompts that are
        all alike the size of a group hardly changes the direction; here it weighs the halves. A group without a right
        response says nothing. Of groups with one there are more in proportion to their size, and the group's std takes
        back the square root of that only, while the easy half gains little past groups of 8: the line is
        at {at[2]} in groups of 2, {at[8]} of 8, {at[16]} of 16 and
        {at[64]} of 64. Circles: groups of 8 and of 16 at 1 in 40. Hatched: some of 64 plausible kernels send length the
        other way. Assumed: medians {easy['median_right']:.0f} and {easy['median_wrong']:,.0f} tokens on the easy half
        (lognormal, σ = {settings['sigma']:g}), means {hard['mean_right']:,.0f} (right) and {hard['mean_wrong']:,.0f}
        (wrong) on the hard one, cap {settings['max_tokens']:,}.""")
