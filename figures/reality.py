"""Figure: predicted against measured slopes of a small network trained by TRL's and verl's own code."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lossim as ls
from _starts import data
from _style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    Numbers,
    heading,
    legend,
    new_figure,
    prose,
    signs,
    styled,
    zero_line,
)
from lossim import advantages, aggregation, critics

CLAIM = "Given a network's kernel, 39 of 40 slopes measured under TRL and verl are predicted within 3 standard errors"
EXACT = True

NETWORK = data("tiny_network")
CAP: int = NETWORK["max_tokens"]
TICKS = (-100, -10, -1, 0, 1, 10, 100)
GROUND = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
MODELS = {"measured kernel": "kernel as measured", "no cross terms": "no cross terms path–stop",
          "one shared shift": "one shared stop shift", "stopping frozen": "stopping frozen"}
LOSS_TYPES = {"grpo": aggregation.SequenceMeanTokenMean(), "dr_grpo": aggregation.ConstantNormalizer(constant=CAP),
              "dapo": aggregation.TokenMean(), "luspo": aggregation.SequenceMeanTokenSum()}
AGGREGATIONS = {"token-mean": aggregation.TokenMean(), "seq-mean-token-mean": aggregation.SequenceMeanTokenMean(),
                "seq-mean-token-sum": aggregation.SequenceMeanTokenSum()}


def scheme(case: dict[str, Any]) -> ls.Scheme:
    """The loss of one training run, composed from its trainer's settings."""
    if case["prompt_class"] == "never":
        return ls.Scheme(reward=ls.Reward(correct=-1.0, incorrect=-1.0),
                         aggregation=AGGREGATIONS[case["aggregation"]],
                         advantage=advantages.GAE(gae_lambda=case["gae_lambda"], critic=critics.Zero()),
                         group_size=1, prompts_per_step=case["responses_per_step"])
    scaled = case["scale_rewards"] == "group"
    return ls.Scheme(reward=ls.Reward(correct=1.0, incorrect=0.0), aggregation=LOSS_TYPES[case["loss_type"]],
                     advantage=advantages.GroupStandardized(eps=1e-4) if scaled else advantages.GroupMean(),
                     group_size=case["group_size"],
                     prompts_per_step=case["responses_per_step"] // case["group_size"])


def start(prompt_class: str, model: str) -> ls.Policy:
    """The network before training; ``model`` says how much of its kernel is used."""
    prompts, kernel = NETWORK["classes"][prompt_class], NETWORK["kernel_sometimes"]
    both = prompt_class == "sometimes"
    names = ["right", "wrong"] if both else ["wrong"]
    if both:
        positions = kernel["positions"]
        across = np.array(kernel["right_wrong"])
        stops = np.array([[kernel["right_right"], across], [across.T, kernel["wrong_wrong"]]]).transpose(0, 2, 1, 3)
        cross = np.array([[kernel["right_first"], kernel["wrong_first"]]])
    else:
        positions, stops, cross = [1], np.full((1, 1, 1, 1), NETWORK["kernel_never"]), np.zeros((0, 1, 1))
    if model == "one shared shift":
        stops = np.full_like(stops, stops.mean())
    if model == "stopping frozen":
        stops = np.zeros_like(stops)
    if model != "measured kernel":
        cross = np.zeros_like(cross)
    right = prompts["probability_right"] if both else 0.0
    chance, paths = {"right": right, "wrong": 1.0 - right}, []
    for name in names:
        pmf = np.array(prompts[name]["pmf"])
        at_risk = pmf[::-1].cumsum()[::-1] + prompts[name]["truncated"]
        paths.append(ls.Path(name, probability=chance[name], length=ls.lengths.table(pmf / at_risk),
                             p_correct=float(name == "right")))
    return ls.Policy([ls.PromptClass(prompt_class, paths=paths)], max_tokens=CAP, coordinates=ls.kernel(
        stops, positions=positions, paths=[[kernel["first_first"]]] if both else np.zeros((0, 0)), cross=cross))


def predicted(case: dict[str, Any], model: str) -> dict[str, float]:
    """The four slopes of one case, per unit of (learning rate × steps)."""
    policy = start(case["prompt_class"], model)
    drift = ls.drift(scheme(case), policy)
    slopes = {"length": drift.length, "probability_right": drift.path_probability[0]}
    slopes |= {f"length_{path}": drift.length_by_path[i] for i, (_, path) in enumerate(policy.cell_names)}
    return {name: round(float(slope), 9) for name, slope in slopes.items()}  # a rounding error becomes 0


def compute() -> Numbers:
    """Every slope under every model of the kernel, and the sum of squared standardised residuals."""
    rows = [{"case": case["name"], "slope": slope, "measured": value, "stderr": stderr}
            for case in NETWORK["cases"] for slope, (value, stderr) in case["slopes"].items()]
    chi_squared = {}
    for model in MODELS:
        values = {case["name"]: predicted(case, model) for case in NETWORK["cases"]}
        for row in rows:
            row[model] = values[row["case"]][row["slope"]]
        chi_squared[model] = sum(((row[model] - row["measured"]) / row["stderr"]) ** 2 for row in rows)
    z = np.array([(row["measured"] - row["measured kernel"]) / row["stderr"] for row in rows])
    significant = [row for row in rows if row["slope"] != "probability_right"
                   and abs(row["measured"]) > 3 * row["stderr"]]
    return {"lossim_version": ls.__version__,
            "settings": {"data": "data/tiny_network.json", "max_tokens": CAP, "fitted_parameters": 0,
                         "never": "one wrong path; its right path has probability 2.7e-5 and is left out",
                         "reward": "sometimes: 1 if right path and stopped, else 0; never: -1"},
            "rows": rows, "chi_squared": chi_squared, "within_3": int((abs(z) <= 3).sum()),
            "worst": float(abs(z).max()), "length_slopes_beyond_3": len(significant),
            "right_sign": {model: sum(row[model] * row["measured"] > 0 for row in significant) for model in MODELS}}


@styled
def draw(numbers: Numbers) -> Figure:
    """Measured against predicted slopes; below, the misfit of every model."""
    figure, (slopes, misfit) = new_figure(CLAIM, 3.2, 1.75)
    _slopes(slopes, numbers["rows"])
    models = list(numbers["chi_squared"])
    values = [numbers["chi_squared"][model] for model in models]
    count = len(numbers["rows"])
    heading(misfit, f"χ²: over the {count} slopes the sum of\n((predicted − measured) / standard error)²")
    misfit.barh(range(len(models)), values, color=[BLUE, GREY, GREY, GREY], height=0.6)
    for i, value in enumerate(values):
        misfit.text(value * 1.2, i, f"{value:,.0f}", va="center", bbox=GROUND)
    misfit.axvline(count, color=ORANGE, linestyle="--", linewidth=1.2, label=f"{count}: one for each slope")
    misfit.set_yticks(range(len(models)), [MODELS[model] for model in models])
    misfit.set(xscale="log", xlim=(10, 8e4), ylim=(3.5, -0.5), xlabel="χ² (log scale)")
    misfit.set_xticks([10, 100, 1000, 10_000], ["10", "100", "1,000", "10,000"])
    misfit.grid(axis="y", visible=False)
    legend(misfit)
    return figure


def _slopes(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Measured against predicted slopes, with the line where both are the same."""
    looks = {"length": (BLUE, "o", "mean length"), "length_right": (GREEN, "^", "length, right path"),
             "length_wrong": (VERMILION, "s", "length, wrong path"),
             "probability_right": (ORANGE, "D", "P(right path)")}
    axes.plot([-600, 600], [-600, 600], color=GREY, linewidth=1)
    for slope, (colour, marker, label) in looks.items():
        shown = [row for row in rows if row["slope"] == slope
                 and not (slope == "length_wrong" and row["case"].startswith("E/"))]
        axes.errorbar([row["measured kernel"] for row in shown], [row["measured"] for row in shown],
                      yerr=[row["stderr"] for row in shown], color=colour, marker=marker, linestyle="none",
                      markersize=4, markerfacecolor="none", capsize=2, linewidth=1, label=label)
    zero_line(axes)
    zero_line(axes, vertical=True)
    for side, limits in (("x", axes.set_xlim), ("y", axes.set_ylim)):
        getattr(axes, f"set_{side}scale")("symlog", linthresh=0.1, linscale=0.3)
        getattr(axes, f"set_{side}ticks")(TICKS, [signs(f"{t:g}") for t in TICKS])
        limits(-800, 800)
    axes.minorticks_off()
    far = [row for row in rows if row["case"].startswith(("E/minus/lam1.0/token-mean",
                                                          "E/minus/lam1.0/seq-mean-token-sum"))]
    worst = max(abs(row["measured"] - row["measured kernel"]) / row["stderr"] for row in far)
    axes.text(700, -60, f"never right, λ = 1:\nboth within\n{worst:.1f} standard errors", ha="right", va="center")
    axes.set(xlabel="predicted slope (tokens, or probability,\nper unit of learning rate × steps)",
             ylabel="measured slope ± 1 standard error")
    legend(axes, lines=2, ncols=2, handletextpad=0.4)


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    sign, chi = numbers["right_sign"], numbers["chi_squared"]
    cut_chi, whole_chi = chi["no cross terms"], chi["measured kernel"]
    whole, shared, frozen = sign["measured kernel"], sign["one shared shift"], sign["stopping frozen"]
    return prose(f"""
        Thirteen training runs of a two-layer transformer (21,664 parameters, plain SGD, on-policy) under TRL's GRPO
        losses and verl's GAE and aggregations: {len(numbers["rows"])} measured slopes with their standard errors
        (`data/tiny_network.json`). The prediction takes the length laws at the start and the measured kernel as given;
        nothing is fitted. {numbers['within_3']} slopes lie within 3 standard errors, the worst at
        {numbers['worst']:.1f}. Of the {numbers['length_slopes_beyond_3']} length slopes more than 3 standard errors
        from zero, the sign is right in {whole}; in {shared} if one shift is shared by all stop logits (its size the
        average of the kernel, the path still learning), and in {frozen} if only the path learns. Without the small
        cross terms between the path token and stopping χ² is {cut_chi:.0f} instead of {whole_chi:.0f}; it stays above
        the number of slopes, as may be expected of a theory of first order in the step and of standard errors from one
        to three seeds. On the class that is never right, length and length on the wrong path are the same number,
        counted twice and drawn once; its right path, with probability 2.7e-5, is left out.""")
