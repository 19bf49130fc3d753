"""Figure: what a group-relative loss does to right and to wrong responses, by aggregation."""

from __future__ import annotations

import numpy as np
from _starts import RATIO, SIGMA, ZERO, zero_start
from _style import RIGHT, WRONG, Numbers, new_figure, styled, zero_line
from matplotlib.figure import Figure

import lossim as ls
from lossim import advantages, aggregation

CLAIM = "Dividing by the response's length makes wrong responses longer and right ones shorter; a constant does not"
EXACT = True

SCHEMES = {"1/T": aggregation.SequenceMeanTokenMean(), "ΔL\nT^−0.75": aggregation.LengthPower(alpha=0.75),
           "token-mean\nof group": aggregation.TokenMean(scope="group"),
           "token-mean\nof step": aggregation.TokenMean(scope="step"),
           "token sum /\nconstant": aggregation.ConstantNormalizer()}
SHARINGS = (0.0, 0.7)


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
        leak: dict[str, list[float]] = {path: [] for path in bars}
        for rule in SCHEMES.values():
            drift = ls.drift(scheme(rule), policy)
            step = float(drift.length_per_kl) / float(drift.length)
            for i, path in enumerate(bars):
                bars[path].append(float(drift.length_by_path[i]) * step)
        panels.append({"sharing": sharing, "length_per_kl_by_path": bars})
    return {"lossim_version": ls.__version__,
            "settings": {"max_tokens": policy.max_tokens, "solve_rate": 0.5, "mean_length": policy.mean_length,
                         "mean_length_by_path": policy.mean_length_by_cell, "wrong_over_right": RATIO, "sigma": SIGMA,
                         "coordinates": repr(policy.coordinates), "scheme": repr(scheme(aggregation.TokenSum())),
                         "source": f"{ZERO['source']}, arXiv {ZERO['arxiv']}"},
            "aggregations": list(SCHEMES), "panels": panels}


@styled
def draw(numbers: Numbers) -> Figure:
    """Two bars per aggregation, one panel per degree of sharing."""
    figure, axes = new_figure(CLAIM, height=3.6, columns=2, sharey=True)
    x = np.arange(len(numbers["aggregations"]))
    for panel, ax in zip(numbers["panels"], axes, strict=True):
        for shift, path, colour, hatch in ((-0.2, "right", RIGHT, ""), (0.2, "wrong", WRONG, "//")):
            ax.bar(x + shift, panel["length_per_kl_by_path"][path], width=0.38, color=colour, hatch=hatch,
                   edgecolor="white", linewidth=0, label=f"{path} path")
        zero_line(ax)
        ax.set_xticks(x, numbers["aggregations"], fontsize=7)
        ax.grid(axis="x", visible=False)
        sharing = panel["sharing"]
        ax.set_title("paths stop independently (sharing 0)" if sharing == 0 else f"stop logits shared (sharing {sharing:g})")
    axes[0].set_ylabel("change of mean length on the path\n(tokens per step of 0.01 nats)")
    axes[0].legend(loc="lower right")
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    return "todo"
