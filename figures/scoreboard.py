"""Figure: published findings on response length, each asked with ranges for what its source leaves out."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import lossim as ls
from _style import BLACK, BLUE, GREY, ORANGE, SKY, VERMILION, Numbers, legend, new_figure, prose, styled
from findings import FINDINGS, OUT_OF_SCOPE
from findings.asking import numbers as asked
from findings.rules import BASELINES, CONTRADICTED, DRAWS, GROUPS, PREDICTED

CLAIM = "Of 60 published findings 21 are predicted, 36 hang on what nobody told, and 3 are contradicted"
EXACT = False  # sums, but over starts that a root finder makes

FINER = {"F01a": 4.0, "F11": 4.0}
"""Findings that are asked again with lengths counted in a fraction of the units."""
FINER_DRAWS = 64
FEW_DRAWS = 16
"""Starts that a check asks of."""

ROW = 0.127  # inches
SHORT = {
    "F01a": "λ = 0.95, fresh critic", "F04": "λ = 0.95, sometimes solved", "F05a": "λ = 0.95, never solved",
    "F06b": "GRPO > Dr. GRPO if wrong", "F08c": "token mean, from the dip", "F09": "GMPO 1/T > token mean",
    "F10a": "positives only, easy", "F10b": "negatives > without", "F13a": "kept: share cut",
    "F13b": "removed: share cut", "F13c": "kept < removed: cut", "F13d": "kept < masked: cut",
    "F13e": "removed > masked: cut", "F15": "accuracy, short cap", "F17a": "Mistral-7B, hard",
    "F17b": "hard > easy, Mistral-7B", "F19": "no std > std, priced", "F20a": "GRPO on Phi-4",
    "F20b": "Dr. GRPO on Phi-4", "F20c": "GRPO > Dr. GRPO, Phi-4", "F21a": "reward-model critic",
    "F21b": "pretrained > that critic", "F23a": "biased critic", "F23b": "pretrained > biased critic",
    "F25": "reward likes length", "F27": "negatives > positives", "G01b": "mean and std > raw",
    "G03": "GRPO, school problems", "G09": "REINFORCE++, late"}
"""Labels that are too long for a column, in short."""
COLOURS = {"predicted": BLUE, "depends": GREY, "contradicted": VERMILION}
HEADINGS = {"grew": "runs that grew", "shrank": "runs that shrank", "pair: first longer": "pairs, the first longer",
            "pair: second longer": "pairs, the second longer", "flat or alike": "flat, or alike"}


def compute() -> Numbers:
    """The answers of all findings, counts, and two findings in finer units; on as many processes as there are cores."""
    sources = sorted({source_of(finding.id) for finding in FINDINGS})
    with ProcessPoolExecutor() as pool:
        finer = pool.map(in_finer_units, FINER)
        few = pool.map(answers, sources, repeat(FEW_DRAWS))
        found = [row for rows in pool.map(answers, sources) for row in rows]
        return {"lossim_version": ls.__version__, "settings": {"draws": DRAWS, "kernels": repr(ls.kernels())},
                "findings": found, "finer": list(finer), "counts": counts(found),
                "few": [row for rows in few for row in rows]}


def again(numbers: Numbers) -> Numbers:
    """Every finding asked again of a few starts, the counts of the stored answers, and the kernels they were asked of.

    What changes the answers of 200 starts changes those of a few.
    """
    few = [asked(finding, draws=FEW_DRAWS) for finding in sorted(FINDINGS, key=lambda each: source_of(each.id))]
    return numbers | {"few": few, "counts": counts(numbers["findings"]),
                      "settings": {"draws": DRAWS, "kernels": repr(ls.kernels())}}


def source_of(name: str) -> str:
    """What an id has in common with the others of its source: their findings share starts."""
    return name[:3]


def answers(source: str, draws: int = DRAWS) -> list[dict[str, Any]]:
    """The answers of all findings of a source."""
    return [asked(finding, draws=draws) for finding in FINDINGS if source_of(finding.id) == source]


def in_finer_units(name: str) -> dict[str, Any]:
    """A finding asked of fewer starts, in its own units and in finer ones."""
    finding, = (finding for finding in FINDINGS if finding.id == name)
    scale = finding.given["scale"].law
    units = [scale, scale / FINER[name]]
    return {"id": name, "units": units,
            "shares": [asked(finding, draws=FINER_DRAWS, scale=unit)["share"] for unit in units]}


def counts(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By group: how many there are, the model's verdicts, and how many each baseline has right."""
    table = {}
    for name in GROUPS:
        rows = [row for row in found if row["group"] == name]
        verdicts = Counter(row["verdict"] for row in rows)
        table[name] = {"findings": len(rows), **{each: verdicts[each] for each in COLOURS},
                       "baselines": {rule: sum(row["baselines"][rule] >= PREDICTED for row in rows)
                                     for rule in BASELINES}}
    return table


def total(numbers: Numbers, verdict: str) -> int:
    """How many findings have a verdict."""
    return sum(row["verdict"] == verdict for row in numbers["findings"])


@styled
def draw(numbers: Numbers) -> Figure:
    """A row for each finding, in groups; the share of draws that say what was observed."""
    labels = {finding.id: finding.label for finding in FINDINGS} | SHORT
    rows: list[dict[str, Any] | str] = []
    for name in GROUPS:
        rows += [name, *sorted((row for row in numbers["findings"] if row["group"] == name),
                               key=lambda row: -row["share"])]
    figure, (axes,) = new_figure(CLAIM, 1.3 + ROW * len(rows))
    axes.axvspan(-2, 100 * CONTRADICTED, color=VERMILION, alpha=0.12, linewidth=0)
    axes.axvspan(100 * PREDICTED, 102, color=SKY, alpha=0.25, linewidth=0)
    axes.grid(visible=False, axis="y")
    names = []
    for place, row in enumerate(rows):
        if isinstance(row, str):
            _heading(axes, place, row, numbers["counts"][row])
            names.append(HEADINGS[row])
        else:
            _row(axes, place, row)
            names.append(f"{labels[row['id']]}  {row['id']}")
    axes.set_yticks(range(len(rows)), names)
    for row, tick in zip(rows, axes.get_yticklabels(), strict=True):
        tick.set_fontweight("bold" if isinstance(row, str) else "normal")
    axes.tick_params(axis="y", length=0, pad=1)
    axes.set(xlim=(-2, 102), ylim=(len(rows) - 0.5, -0.5), xticks=[0, 50, 100],
             xlabel="draws that say what\nwas observed (%)")
    axes.spines["left"].set_visible(False)
    shown = [axes.plot([], [], marker, color=colour, markersize=size, fillstyle=fill, linestyle="none", label=label)[0]
             for marker, colour, size, fill, label in (
                 ("o", BLACK, 4, "full", "the model, 95 %"), ("D", ORANGE, 3.5, "none", "sign of Cov(A, T)"),
                 ("|", GREY, 6, "full", "towards the right ones"))]
    zones = [Patch(color=VERMILION, alpha=0.12, label="contradicted"), Patch(color=SKY, alpha=0.25, label="predicted")]
    legend(axes, lines=2, ncols=2, handles=[*shown, *zones], handletextpad=0.4)
    return figure


def _heading(axes: Axes, place: int, name: str, count: Numbers) -> None:
    """A band for a group, with how many of it the model has right."""
    axes.axhspan(place - 0.5, place + 0.5, color="#F2F2F2", linewidth=0, zorder=0.7)
    axes.text(50, place, f"{count['predicted']} of {count['findings']}", ha="center", va="center", fontweight="bold")


def _row(axes: Axes, place: int, row: Numbers) -> None:
    """The dot of a finding with its interval, and two baselines."""
    colour = COLOURS[row["verdict"]]
    axes.axhline(place, color="#EEEEEE", linewidth=0.6, zorder=0.5)
    low, high = (100 * end for end in row["interval"])
    axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot(100 * row["share"], place, "o", color=colour, markersize=4)
    cov, right = (100 * row["baselines"][rule] for rule in (BASELINES[0], BASELINES[2]))
    if cov > 0 or not row["group"].startswith("pair"):  # of most pairs these two say nothing
        axes.plot(cov, place, "D", color=ORANGE, markersize=3.5, fillstyle="none", zorder=3)
    if right > 0 or not row["group"].startswith("pair"):
        axes.plot(right, place, "|", color=GREY, markersize=6, zorder=3)


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    in_pairs = ("pair: first longer", "pair: second longer")
    right = {name: sum(numbers["counts"][each]["baselines"][name] for each in GROUPS) for name in BASELINES}
    predicted = total(numbers, "predicted")
    pairs = {"model": sum(numbers["counts"][each]["predicted"] for each in in_pairs)}
    failed = sum(sum(row["failed"].values()) for row in numbers["findings"])
    share = 100.0 * failed / (numbers["settings"]["draws"] * len(numbers["findings"]))
    finer = ", ".join(f"{row['id']} {100 * row['shares'][0]:.0f} and {100 * row['shares'][1]:.0f} %"
                      for row in numbers["finer"])
    return prose(f"""
        What {len(numbers['findings'])} observations of published runs say of length, and how often the model says so
        over {numbers['settings']['draws']} starts each, drawn from everything that the source leaves open and from the
        family of kernels. Ranges, their reasons and the rules were written down before any answer was computed: a
        finding is predicted where 90 % of the draws agree, contradicted where less than 10 % do, and depends in
        between. Right by this rule are {predicted} (the model), {right[BASELINES[0]]} (sign of Cov(A, T)),
        {right[BASELINES[1]]} (always grows) and {right[BASELINES[2]]} (towards the mean of right responses). Of single
        runs the model has fewer than the sign of Cov(A, T), which says shorter of nearly all; of pairs with one longer
        it has {pairs['model']}, and the rules next to none: where there is no mark they say nothing, or never what was
        observed. {share:.1f}% of the draws had no
        policy. Lengths are counted in units of some tokens; in units a quarter as large the shares are, before and
        after, {finer}. {len(OUT_OF_SCOPE)} observations are out of scope. All entries, with sources, ranges and what
        the model lacks where it is wrong: [docs/findings.md](../docs/findings.md).""")
