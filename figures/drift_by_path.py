"""Figure: what a group-relative loss does to right and to wrong responses, by aggregation."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import lossim as ls
from _starts import RATIO, SIGMA, ZERO, zero_start
from _style import BLACK, RIGHT, WRONG, Numbers, heading, legend, new_figure, prose, styled, zero_line
from lossim import advantages, aggregation

CLAIM = ("Where paths stop independently, dividing by a response's length makes wrong ones longer and right ones "
         "shorter; where they share how they stop, both go one way")
EXACT = True

SCHEMES = {"$T$": aggregation.SequenceMeanTokenMean(), "$T^{0.75}$\n(ΔL)": aggregation.LengthPower(alpha=0.75),
           "tokens of\nthe group": aggregation.TokenMean(scope="group"),
           "tokens of\nthe step": aggregation.TokenMean(scope="step"), "constant": aggregation.ConstantNormalizer()}
LABELS = ("length T", "T to the 0.75 (ΔL)", "tokens of the group", "tokens of the step", "a constant")
"""What token losses are divided by."""
SHARINGS = (0.0, ls.coordinates().sharing)


def scheme(rule: aggregation.Aggregation) -> ls.Scheme:
    """GRPO's advantage under one aggregation."""
    return ls.Scheme(reward=ls.Reward(), advantage=advantages.GroupStandardized(), aggregation=rule,
                     group_size=ZERO["settings"]["group_size"], prompts_per_step=64)


def compute() -> Numbers:
    """Drift of E[T | path] per step of 0.01 nats, at two degrees of sharing between the paths' stop logits."""
    panels = []
    for sharing in SHARINGS:
        policy = zero_start(sharing=sharing)
        bars: dict[str, list[float]] = {path: [] for _, path in policy.cell_names}
        unsure: dict[str, list[bool]] = {path: [] for path in bars}
        for rule in SCHEMES.values():
            drift = ls.drift(scheme(rule), policy, kernels=ls.kernels(sharing=(sharing, sharing)))
            step = float(drift.length_per_kl) / float(drift.length)
            for i, path in enumerate(bars):
                bars[path].append(float(drift.length_by_path[i]) * step)
                unsure[path].append(bool(drift.undecided[i]))
        panels.append({"sharing": sharing, "length_per_kl_by_path": bars, "undecided": unsure})
    return {"lossim_version": ls.__version__,
            "settings": {"max_tokens": policy.max_tokens, "solve_rate": 0.5, "mean_length": policy.mean_length,
                         "mean_length_by_path": policy.mean_length_by_path, "wrong_over_right": RATIO, "sigma": SIGMA,
                         "coordinates": repr(policy.coordinates), "scheme": repr(scheme(aggregation.TokenSum())),
                         "source": f"{ZERO['source']}, arXiv {ZERO['arxiv']}"},
            "aggregations": list(SCHEMES), "panels": panels}


@styled
def draw(numbers: Numbers) -> Figure:
    """Two bars per aggregation, one panel per degree of sharing."""
    figure, panels = new_figure(CLAIM, 2.1, 2.7)
    for panel, axes in zip(numbers["panels"], panels, strict=True):
        sharing = panel["sharing"]
        heading(axes, f"{'Stop logits shared' if sharing else 'Paths stop independently'} (sharing {sharing:g})")
        _bars(axes, panel)
        axes.set_yticks(range(len(LABELS)), LABELS)
        axes.set(ylabel="token losses divided by", xlim=(-36, 36), ylim=(len(LABELS) - 0.5, -0.5))
        zero_line(axes, vertical=True)
        axes.grid(axis="y", visible=False)
    panels[1].set_xlabel("change of mean length on the path\n(tokens per step of 0.01 nats)")
    mark = Line2D([], [], linestyle="none", marker="$?$", color=BLACK, label="sign hangs on the kernel")
    legend(panels[1], lines=2, ncols=2, handles=[*panels[1].containers, mark])
    return figure


def _bars(axes: Axes, panel: Numbers) -> None:
    """A bar for each path and aggregation, with a question mark where its sign is undecided."""
    for shift, path, colour, hatch in ((-0.2, "right", RIGHT, ""), (0.2, "wrong", WRONG, "//")):
        values = panel["length_per_kl_by_path"][path]
        axes.barh(np.arange(len(values)) + shift, values, height=0.38, color=colour, hatch=hatch, edgecolor="white",
                  linewidth=0, label=f"{path} path")
        for i, (value, unsure) in enumerate(zip(values, panel["undecided"][path], strict=True)):
            if unsure:
                side = 1 if value >= 0 else -1
                axes.text(value + side, i + shift, "?", ha="left" if side > 0 else "right", va="center")


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    s = numbers["settings"]
    right, wrong = s["mean_length_by_path"]
    return prose(f"""
        Change of the mean length given the path, for a step of 0.01 nats per response, with GRPO's advantage and five
        denominators of the token losses. Above: stop logits of the two paths move independently; below: they share
        {numbers['panels'][1]['sharing']:g} of their kernel, about what was measured on a language model, and both go
        the same way. Start: means {right:.0f} (right) and {wrong:.0f} tokens (wrong, {s['wrong_over_right']:g} times as
        long, [arXiv 2503.20783](https://arxiv.org/abs/2503.20783)), lognormal with σ = {s['sigma']:g} (assumed), half
        right, cap {s['max_tokens']:,}. A question mark: of 64 plausible kernels with that sharing some send the path
        one way and some the other.""")
