"""Figure: which slots make the difference between GRPO, Dr. GRPO and DAPO, as a waterfall of Shapley values."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

import lossim as ls
from _style import BLACK, BLUE, GREY, VERMILION, Numbers, legend, new_figure, prose, signs, styled, zero_line

CLAIM = ("The aggregation makes the difference from GRPO to Dr. GRPO, and the punishment of overlong responses that "
         "from there to DAPO")
EXACT = True

START: dict[str, Any] = {"accuracy": 0.4, "right": 700, "wrong": 1200, "truncated": 0.05, "max_tokens": 2048}
BUFFER = 409
GROUPS: dict[str, Any] = {"group_size": 8, "prompts_per_step": 64}
PATH = (ls.schemes.grpo(**GROUPS), ls.schemes.dr_grpo(**GROUPS),
        ls.schemes.dapo(max_tokens=START["max_tokens"], buffer=BUFFER, **GROUPS))
NAMES = {"grpo": "GRPO", "dr_grpo": "Dr. GRPO", "dapo": "DAPO"}
CHANGES = {
    ("dr_grpo", "advantage"): "std of the group left out", ("dr_grpo", "aggregation"): "1/T → a constant",
    ("dapo", "reward"): "±1, overlong punished", ("dapo", "advantage"): "std of the group back",
    ("dapo", "surrogate"): "clip higher", ("dapo", "aggregation"): "constant → token-mean",
    ("dapo", "dynamic_sampling"): "equal groups resampled"}


def compute() -> Numbers:
    """The drift under each scheme and the shares between them, with their range over kernels, top to bottom."""
    policy = ls.policies.from_summary(**START)
    found = ls.attribute(PATH[1:], policy, relative_to=PATH[0])

    def row(label: str, tokens: float, base: float, bounds: tuple[float, float], undecided: bool) -> Numbers:
        drawn = {"tokens": tokens, "base": base, "low": bounds[0], "high": bounds[1]}
        # What is left of far larger numbers has fewer digits than they.
        return {"label": label, **{name: round(x, 6) for name, x in drawn.items()}, "undecided": undecided}

    def whole(drift: ls.WhatIf) -> Numbers:
        bounds = next(each.range for each in drift.doubts if each.unknown == "kernel")
        return row(NAMES[drift.change], float(drift.length_per_kl), 0.0, bounds, drift.undecided)

    rows = [whole(found.drifts[0])]
    for first, last, shares in found.legs:
        level = float(first.length_per_kl)
        for share in shares:
            value = float(share.length_per_kl)
            nothing = abs(value) <= float(share.length_per_kl.error)
            rows.append(row(CHANGES[share.after, share.name], 0.0 if nothing else value, level,
                            (0.0, 0.0) if nothing else share.range, share.undecided and not nothing))
            level += value
        rows.append(whole(last))
    return {"lossim_version": ls.__version__,
            "settings": {**START, "buffer": BUFFER, **GROUPS, "schemes": [repr(each) for each in PATH],
                         "coordinates": repr(policy.coordinates), "mean_length": policy.mean_length,
                         "kernels": len(found.drifts[0].doubts[0].options)}, "rows": rows}


@styled
def draw(numbers: Numbers) -> Figure:
    """A bar for each scheme from 0, and between them one for each slot from where the last ended."""
    rows = numbers["rows"]
    figure, (axes,) = new_figure(CLAIM, 0.9 + 0.235 * len(rows))
    for place, row in enumerate(rows):
        whole = row["label"] in NAMES.values()
        colour = GREY if whole else VERMILION if row["tokens"] > 0 else BLUE
        axes.barh(place, row["tokens"], left=row["base"], height=0.64, color=colour, edgecolor=BLACK, linewidth=0.6,
                  hatch="////" if row["undecided"] else "")
        if row["low"] < row["high"]:
            axes.plot([row["base"] + row["low"], row["base"] + row["high"]], [place, place], color=BLACK,
                      linewidth=1.0, marker="|", markersize=5)
        if not whole:
            axes.plot([row["base"]] * 2, [place - 0.68, place - 0.32], color=BLACK, linewidth=0.7)
        said = signs(f"{row['tokens']:+.1f}")
        axes.text(1.03, place, "0" if abs(row["tokens"]) < 0.05 else said, transform=axes.get_yaxis_transform(),
                  va="center", fontweight="bold" if whole else "normal")
    zero_line(axes, vertical=True)
    axes.set_yticks(range(len(rows)), [row["label"] for row in rows])
    for tick in axes.get_yticklabels():
        tick.set_fontweight("bold" if tick.get_text() in NAMES.values() else "normal")
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="drift of mean length\n(tokens in a step of 0.01 nats)")
    axes.grid(visible=False, axis="y")
    looks = ((GREY, "", "drift under a scheme"), (VERMILION, "", "a slot adds"), (BLUE, "", "a slot takes away"),
             ("white", "////", "sign undecided"))
    legend(axes, lines=2, ncols=2, handles=[Patch(facecolor=colour, hatch=hatch, edgecolor=BLACK, label=label)
                                            for colour, hatch, label in looks])
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    s = numbers["settings"]
    return prose(f"""
        Shapley values: the share of a slot is the mean, over all orders in which the slots that differ may change one
        after the other, of what its own change does to the drift of mean length; the shares between two schemes add up
        to their difference. Whiskers are the range over {s['kernels']} plausible kernels. Start: mean length
        {s['mean_length']:.0f} tokens, {100 * s['accuracy']:g} % right, right responses {s['right']:,} tokens on average
        and wrong ones {s['wrong']:,}, {100 * s['truncated']:g} % cut at {s['max_tokens']:,}; all schemes with
        {s['prompts_per_step']} prompts × {s['group_size']}; DAPO punishes the last {s['buffer']} positions.""")
