"""Figure: the loss of one response against its length, for a terminal reward and a zero critic."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import lossim as ls
from _starts import CONCISE
from _style import BLACK, GREEN, GREY, ORANGE, SKY, Numbers, heading, legend, new_figure, prose, styled, zero_line

CLAIM = "With λ < 1 the loss of a wrong response fades with its length: a long one is hardly penalised"
EXACT = True

LAMBDAS = [1.0, 0.999, 0.99, 0.95]
BENCHMARKS = [["R1-Distill-Qwen-1.5B", "MATH500"], ["R1-Distill-Qwen-1.5B", "AIME24"]]


def compute() -> Numbers:
    """The formula on a grid of lengths, and at published mean lengths before and after training."""
    cap = CONCISE["settings"]["max_tokens"]
    lengths = np.unique(np.round(np.geomspace(1, cap, 81)))
    rows = [row for row in CONCISE["rows"] if row[:2] in BENCHMARKS]
    curves = [{"reward": reward, "gae_lambda": lam,
               "loss": ls.formulas.loss_of_length(lengths, lam, reward=reward)}
              for reward in (-1.0, 1.0) for lam in LAMBDAS]
    lam = CONCISE["settings"]["gae_lambda"]
    marks = [{"benchmark": row[1], "before": row[2], "after": row[3],
              "loss_before": ls.formulas.loss_of_length(row[2], lam, reward=-1.0),
              "loss_after": ls.formulas.loss_of_length(row[3], lam, reward=-1.0)} for row in rows]
    return {"lossim_version": ls.__version__, "source": f"lengths and λ: {CONCISE['source']}, arXiv {CONCISE['arxiv']}",
            "settings": {"gamma": 1.0, "critic": 0.0, "aggregation": "mean over the response's tokens",
                         "max_tokens": cap, "gae_lambda": lam},
            "length": lengths, "curves": curves, "marks": marks}


@styled
def draw(numbers: Numbers) -> Figure:
    """Loss against length, one colour per λ, penalty above zero and reward below; then how far lengths were moved."""
    figure, (losses, moves) = new_figure(CLAIM, 2.6, 1.5, aligned=True)
    colours = dict(zip(LAMBDAS, (GREY, SKY, GREEN, ORANGE), strict=True))
    for curve in numbers["curves"]:
        losses.plot(numbers["length"], curve["loss"], color=colours[curve["gae_lambda"]],
                    linestyle="-" if curve["reward"] < 0 else "--")
    zero_line(losses)
    losses.set(xscale="log", xlim=(1, 30_000), ylim=(-1.08, 1.08))
    losses.set_ylabel("loss of the response\n(mean over its tokens)")
    for mark, height in zip(numbers["marks"], (1.0, 0.0), strict=True):
        moves.annotate("", xy=(mark["after"], height), xytext=(mark["before"], height),
                       arrowprops={"arrowstyle": "->", "color": BLACK, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0})
        moves.text(mark["after"] / 1.3, height, f"{mark['before']:,} → {mark['after']:,}", va="center", ha="right")
    moves.set_yticks([1.0, 0.0], [mark["benchmark"] for mark in numbers["marks"]])
    moves.set(ylim=(-0.6, 1.6), xlabel="response length (tokens, log scale)")
    moves.set_xticks([1, 10, 100, 1000, 10_000], ["1", "10", "100", "1,000", "10,000"])
    moves.minorticks_off()
    moves.grid(axis="y", visible=False)
    heading(moves, "Arrows: mean lengths before and after a\ntraining run with λ = 0.95, as published")
    handles = [Line2D([], [], color=colour, label=f"λ = {lam:g}") for lam, colour in colours.items()]
    handles += [Line2D([], [], color=BLACK, label="reward −1"),
                Line2D([], [], color=BLACK, linestyle="--", label="reward +1")]
    legend(moves, handles=handles, ncols=3)
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    mark = numbers["marks"][0]
    return prose(f"""
        The loss averaged over a response's tokens, -(R/T)(1 - λ^T)/(1 - λ), for a terminal reward R =
        ±1, γ = 1 and a critic at zero (closed form, nothing simulated). At λ = 1 the loss is the same
        at every length (its gradient is not, see below); for λ < 1 it falls like 1/T once T passes 1/(1
        - λ). At λ = {numbers['settings']['gae_lambda']:g} a wrong response of {mark['before']:,} tokens
        costs {mark['loss_before']:.4f} and one of {mark['after']:,} tokens {mark['loss_after']:.4f}.
        Arrows: mean lengths of R1-Distill-Qwen-1.5B on two benchmarks, before and after the second phase of
        training, as published ([arXiv 2504.05185](https://arxiv.org/abs/2504.05185)).""")
