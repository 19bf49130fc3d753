"""Figure: real training runs of small transformers, and what lossim says of them from their first steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lossim as ls
from _style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    SKY,
    VERMILION,
    Numbers,
    heading,
    legend,
    new_figure,
    prose,
    styled,
    zero_line,
)
from validation import confront, logs, report
from validation.settings import RUNS

CLAIM = "Of 32 real runs audits have the sign of length right 106 times of 109, and forecasts’ bands are too low"
EXACT = False

SAYERS = {"one": "audit, one path", "outcome": "audit, right and wrong", "states": "audit, states",
          "column": "audit, named paths", "column, kernel measured": "… with measured kernel", "forecast": "forecast",
          "Cov(A, T)": "Cov(A, T)", "straight line beyond 2σ": "line beyond 2σ", "always longer": "always longer"}


def compute() -> Numbers:
    """The signs that are said of each stored run, against what happened; forecasts as the confrontation stored them."""
    measured = confront.kernels()
    rows = []
    for row in report.stored():
        run, log = RUNS[row["run"]], logs.load(row["run"])
        means = confront.series(log)["length"]
        moved = {str(last): list(confront.change(*means, last)) for last in (confront.NEAR, confront.FAR)}
        rows.append(row | {"moved": {"length": moved}, "signs": list(confront.signs(run, log, measured[run.task]))})
    seen = {by: 0 if by == "always longer" else confront.SEEN for by in SAYERS}
    counts = {by: report.count(rows, by, seen[by])._asdict() for by in SAYERS}
    bands = {f"{share} {last}": list(report.in_band(rows, share, last))
             for share in (0.8, 0.9) for last in (confront.NEAR, confront.FAR)}
    return {"lossim_version": ls.__version__, "settings": {"data": "validation/data", "steps seen": confront.SEEN},
            "counts": counts, "bands": bands,
            "rows": [{name: row[name] for name in ("run", "task", "forecast")} for row in rows]}


@styled
def draw(numbers: Numbers) -> Figure:
    """Who said which way length goes; below, forecasts of the last step beside what came."""
    figure, (signs, bands) = new_figure(CLAIM, 2.9, 2.9)
    _signs(signs, numbers["counts"])
    _bands(bands, numbers["rows"])
    return figure


def _signs(axes: Axes, counts: dict[str, dict[str, int]]) -> None:
    """Stacked bars, one for each who says something, with the numbers that they show beside them."""
    parts = (("right", BLUE, "right"), ("wrong", VERMILION, "wrong"), ("untold", "#BBBBBB", "run does not tell"),
             ("silent", "#EEEEEE", "no sign said"))
    start = np.zeros(len(counts))
    for column, (part, colour, label) in enumerate(parts):
        width = np.array([each[part] for each in counts.values()], dtype=float)
        axes.barh(range(len(counts)), width, left=start, color=colour, height=0.7, label=label)
        start += width
        for i, size in enumerate(width):
            if part != "silent":
                axes.annotate(f"{size:.0f}" if size else "", (1.0, i), (16 + 12 * column, 0), ha="right", va="center",
                              xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                              color=GREY if part == "untold" else colour)
    axes.set_yticks(range(len(counts)), list(SAYERS.values()))
    axes.invert_yaxis()
    heading(axes, "Which way length goes until steps 11–15")
    axes.set(xlabel="runs", xlim=(0, start.max()))
    axes.grid(axis="y", visible=False)
    legend(axes, ncols=2, handlelength=1.0)


def _bands(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Bands and what came, as changes of the length seen at first, in the order of what came."""
    last = confront.FAR
    order = sorted(rows, key=lambda row: row["forecast"][f"seen {last}"] / row["forecast"]["level"])
    for i, row in enumerate(order):
        told = row["forecast"]

        def part(value: float, level: float = told["level"]) -> float:
            return 100.0 * (value / level - 1.0)

        for share, width, colour in ((0.9, 1.0, GREY), (0.8, 3.5, SKY)):
            low, high = (part(bound) for bound in told[f"{share} {last}"])
            axes.plot([i, i], [low, high], color=colour, linewidth=width, solid_capstyle="butt")
        axes.plot([i - 0.35, i + 0.35], [part(told[f"forecast {last}"])] * 2, color=BLUE, linewidth=1.4)
        marker = "o" if row["task"] == "parity" else "s"
        axes.plot(i, part(told[f"seen {last}"]), marker=marker, color=ORANGE, markeredgecolor=BLACK, markersize=3.5,
                  markeredgewidth=0.5)
    zero_line(axes)
    for marker, label in (("o", "what came, parity"), ("s", "what came, addition")):
        axes.plot([], [], marker=marker, color=ORANGE, markeredgecolor=BLACK, markersize=3.5, linestyle="none",
                  label=label)
    axes.plot([], [], color=BLUE, label="forecast")
    axes.plot([], [], color=SKY, linewidth=3.5, label="80 % band (grey: 90 %)")
    heading(axes, f"Forecasts of step {last} after steps 1–5")
    axes.set(xticks=[], xlabel="runs, in the order of what came",
             ylabel=f"length at step {last}\nagainst steps 1–5 (%)")
    legend(axes, ncols=2)


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    counts, bands, rows = numbers["counts"], numbers["bands"], numbers["rows"]
    audits = [counts[by] for by in ("one", "outcome", "states", "column", "column, kernel measured")]
    right, wrong = (sum(each[part] for each in audits) for part in ("right", "wrong"))
    always, covariance = counts["always longer"], counts["Cov(A, T)"]
    return prose(f"""
        {len(rows)} training runs of transformers of 347,040 parameters on parity and addition with a scratchpad, under
        TRL's GRPO losses and verl's PPO ([docs/validation.md](../docs/validation.md)). Above: the sign of the change of
        mean length from steps 1–5 to steps 11–15, as it is said after steps 1–5; the five audits said {right} right
        signs and {wrong} wrong ones. Most runs grew, so that "always longer" is right in {always["right"]} and wrong in
        {always["wrong"]}, and Cov(A, T), which always says something, in {covariance["right"]} and
        {covariance["wrong"]}: signs do not tell audits from these rules. Below: forecasts of step 30. The 80 % band
        holds what came in {bands["0.8 30"][0]} of {bands["0.8 30"][1]} runs, the 90 % band in {bands["0.9 30"][0]}, and
        most others ended above it: what grew is how often a response works at all, which the forecast's right and
        wrong path do not follow.""")
