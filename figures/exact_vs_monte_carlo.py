"""Figure: exact drift against Monte Carlo over a grid of schemes, as z-scores."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from itertools import product
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import kstest, norm
from scipy.stats import t as student

import lossim as ls
from _style import BLACK, BLUE, SKY, Numbers, legend, new_figure, prose, styled, zero_line
from lossim import advantages, aggregation, critics, penalties

CLAIM = "Sampled and exact drifts differ by sampling noise and nothing else, over the whole grid of schemes"
EXACT = False

SEED, BATCHES = 20260101, 2048
PART = 4
"""One scheme of so many is computed again by a check."""
ADVANTAGES = {
    "raw": advantages.Raw(), "group\nmean": advantages.GroupMean(), "leave\none out": advantages.LeaveOneOut(),
    "mean\nand std": advantages.GroupStandardized(), "OPO": advantages.OPO(),
    "GAE\nV = 0": advantages.GAE(gae_lambda=0.9, critic=critics.Zero()),
    "GAE\nexact": advantages.GAE(gae_lambda=0.9, critic=critics.Exact()),
    "GAE\nlinear": advantages.GAE(gamma=0.98, gae_lambda=0.8, critic=critics.Linear(level=0.2, slope=0.01))}
AGGREGATIONS = {
    "1/T": aggregation.SequenceMeanTokenMean(), "token sum, mean of responses": aggregation.SequenceMeanTokenSum(),
    "constant": aggregation.ConstantNormalizer(), "token sum": aggregation.TokenSum(),
    "token-mean of step": aggregation.TokenMean(), "token-mean of group": aggregation.TokenMean(scope="group"),
    "ΔL": aggregation.LengthPower()}
LABELS = {"GAE\nV = 0": "GAE, V = 0", "GAE\nexact": "GAE, exact critic", "GAE\nlinear": "GAE, linear critic"}
SLOTS: list[dict[str, Any]] = [
    {"truncation": "keep"}, {"truncation": "mask", "dynamic_sampling": "drop"}, {"truncation": "remove"},
    {"penalties": (penalties.KL(coefficient=0.2, estimator="k3"), penalties.Entropy(coefficient=0.05))},
    {"truncation": "remove", "dynamic_sampling": "resample",
     "penalties": (penalties.KL(coefficient=0.1, estimator="k1", place="reward"),)}]
GRID = list(product(ADVANTAGES, AGGREGATIONS, range(len(SLOTS))))


def policy(shift: float = 0.0) -> ls.Policy:
    """Two prompt classes, three paths, a cap of 24 tokens that some responses reach."""
    def path(name: str, mean: float, right: float, probability: float = 1.0) -> ls.Path:
        return ls.Path(name, length=ls.lengths.geometric(mean=mean + shift), p_correct=right, probability=probability)

    return ls.Policy([ls.PromptClass("sometimes", weight=0.6, paths=[path("right", 6, 0.9, probability=0.4),
                                                                     path("wrong", 11, 0.1, probability=0.6)]),
                      ls.PromptClass("rarely", weight=0.4, paths=[path("wrong", 14, 0.05)])], max_tokens=24,
                     coordinates=ls.coordinates(sharing=0.95, class_sharing=0.65, path_scale=3.0))


def score(sampled: ls.Estimate, exact: ls.Estimate) -> float:
    """How many standard errors the sampled number lies above the exact one."""
    return (float(sampled) - float(exact)) / float(sampled.stderr)


def row(i: int) -> dict[str, Any]:
    """z of length and accuracy for the scheme ``GRID[i]``, or why it has no closed form; its stream is keyed by i."""
    advantage, summed, k = GRID[i]
    scheme = ls.Scheme(advantage=ADVANTAGES[advantage], aggregation=AGGREGATIONS[summed], group_size=3,
                       prompts_per_step=4, **SLOTS[k])
    start, reference = policy(), policy(shift=2.0)
    result: dict[str, Any] = {"advantage": advantage, "aggregation": summed, "slots": k}
    try:
        exact = ls.drift(scheme, start, reference=reference)
    except ls.NoClosedForm as reason:
        return result | {"no_closed_form": str(reason)}
    sampled = ls.drift(scheme, start, "monte_carlo", rng=np.random.default_rng([SEED, i]), batches=BATCHES,
                       reference=reference)
    return result | {"z_length": score(sampled.length, exact.length),
                     "z_accuracy": score(sampled.accuracy, exact.accuracy)}


def compute() -> Numbers:
    """z = (sampled - exact) / standard error of length and of accuracy per scheme, on as many processes as cores."""
    with ProcessPoolExecutor() as pool:
        return summed_up(list(pool.map(row, range(len(GRID)), chunksize=10)))


def again(numbers: Numbers) -> Numbers:
    """Every fourth scheme computed again, and what is said of all: each pair that slots can make is among these."""
    rows = list(numbers["rows"])
    rows[::PART] = [row(i) for i in range(0, len(GRID), PART)]
    return summed_up(rows)


def summed_up(rows: list[dict[str, Any]]) -> Numbers:
    """The rows, and what is said of them."""
    known = [r for r in rows if "no_closed_form" not in r]
    z = np.array([[r["z_length"], r["z_accuracy"]] for r in known]).ravel()
    slots = [", ".join(f"{key}={value}" for key, value in slot.items()) for slot in SLOTS]
    return {"lossim_version": ls.__version__,
            "settings": {"seed": SEED, "batches": BATCHES, "group_size": 3, "prompts_per_step": 4, "max_tokens": 24,
                         "slots": slots},
            "rows": rows, "schemes": len(known), "refused": len(rows) - len(known), "mean": float(z.mean()),
            "std": float(z.std()), "largest": float(abs(z).max()),
            "chance_of_largest": float(1 - (1 - 2 * student.sf(abs(z).max(), 63)) ** len(z)),
            "beyond_2": int((abs(z) > 2).sum()),
            "ks_p_value": float(kstest(z, "norm").pvalue)}


@styled
def draw(numbers: Numbers) -> Figure:
    """Every z-score by advantage estimator; below them their histogram and the standard normal."""
    figure, (each, all_) = new_figure(CLAIM, 3.1, 1.8, aligned=True)
    names, known = list(ADVANTAGES), [row for row in numbers["rows"] if "no_closed_form" not in row]
    rules = list(AGGREGATIONS)
    places = [names.index(row["advantage"]) + (rules.index(row["aggregation"]) - 3) * 0.11 for row in known]
    for quantity in ("z_length", "z_accuracy"):
        each.plot([row[quantity] for row in known], places, linestyle="none", marker="o", markersize=2.0, color=BLUE,
                  alpha=0.7)
    zero_line(each, vertical=True)
    each.set_yticks(range(len(names)), [LABELS.get(name, name.replace("\n", " ")) for name in names])
    each.grid(axis="y", visible=False)
    each.set(ylim=(len(names) - 0.5, -0.5), ylabel="advantage estimator")
    z = np.array([[row["z_length"], row["z_accuracy"]] for row in known]).ravel()
    all_.hist(z, bins=list(np.linspace(-4.5, 4.5, 28)), density=True, color=SKY, label=f"all {len(z)} z")
    grid = np.linspace(-4.5, 4.5, 181)
    all_.plot(grid, norm.pdf(grid), color=BLACK, label="standard normal")
    all_.set(xlim=(-4.6, 4.6), xlabel="z = (sampled − exact) / standard error", ylabel="density")
    legend(all_, ncols=2)
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    s, pairs = numbers["settings"], 2 * numbers["schemes"]
    refused = numbers["refused"]
    but = f" but {refused} schemes without a closed form, which lossim refuses by name" if refused else ""
    return prose(f"""
        {numbers['schemes']} schemes: eight advantage estimators × seven aggregations × five ways to treat truncated
        responses, equal groups, KL and entropy; {s['batches']:,} batches of {s['prompts_per_step']} ×
        {s['group_size']} responses each, cap {s['max_tokens']}, two prompt classes with three paths in all. One z for
        the drift of mean length and one for accuracy, the aggregations of an estimator one below the other: mean
        {numbers['mean']:.2f}, standard deviation {numbers['std']:.2f}, {numbers['beyond_2']} of {pairs} beyond 2 (a
        normal law: {0.0455 * pairs:.0f}), largest {numbers['largest']:.1f} (chance of one as large, given 64 blocks
        behind each standard error:
        {numbers['chance_of_largest']:.2f}), Kolmogorov–Smirnov p = {numbers['ks_p_value']:.2f}. Fixed seed; nothing is
        left out{but}.""")
