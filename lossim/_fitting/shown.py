"""What a fit shows, and what drifts and runs of a fitted policy do, with their intervals over refits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._display import (
    MEANT,
    SURE,
    Bar,
    Cell,
    Section,
    Table,
    Text,
    assumed,
    bars,
    figure,
)

if TYPE_CHECKING:
    from lossim._fitting.fitted import Fit, FittedDrift, FittedTraining

LABELS = {"length_per_kl": "tokens in 0.01 nats", "length": "tokens per unit step",
          "accuracy": "P(correct) per unit step", "truncation_rate": "P(truncated), the same"}
"""Numbers of a drift that have an interval, in words."""
NUMBERS = ("length", "length_per_kl", "accuracy", "truncation_rate")
OF_A_LOG = {"mean_length": "mean length (tokens)", "accuracy": "P(correct)", "truncation_rate": "P(truncated)"}
LEVEL = 0.9


# --- the fit ----------------------------------------------------------------------------------------------------


def fit_shown(fit: Fit) -> tuple[Section, ...]:
    """The sections of a fit."""
    log = tuple((label, figure(fit.logged[key]), figure(fit.fitted[key])) for key, label in OF_A_LOG.items())
    rewards = tuple((name, figure(x, ".3g")) for name, x in fit.rewards.items() if np.isfinite(x))
    classes: tuple[tuple[Cell, ...], ...] = tuple((
        each.name, figure(each.weight, ".3f"), figure(each.prompts, ",.0f"),
        figure(each.solve_rate, ".3f"), figure(each.truncation_rate, ".3f"), *(figure(x) for x in each.length))
        for each in fit.classes)
    columns = ("class", "weight", "prompts", "P(correct)", "P(cut)", "tokens if correct", "if incorrect", "if cut")
    lines = [Bar(label=each.name, value=each.solve_rate) for each in fit.classes]
    given = {"policy": repr(fit.policy), "log": f"{fit.provenance['responses']:,} responses to "
             f"{fit.provenance['prompts']:,} prompts", "refits": f"{fit.replicates:,}"}
    return (Section(title="How well it fits", parts=(Table(title="", columns=("", "log", "fit"), rows=log),)),
            Section(title="Classes of prompts", parts=(bars("How often each class is right", lines, "P(correct)"),
                                                       Table(title="", columns=columns, rows=classes))),
            Section(title="What was paid", parts=(Table(title="", columns=("outcome", "mean reward"), rows=rewards),),
                    folded=True), assumed(fit.notes, given))


def classes_table(fit: Fit) -> dict[str, Any]:
    """A row for each class of prompts."""
    each = fit.classes
    names = ("length_correct", "length_incorrect", "length_truncated")
    return {"class": [one.name for one in each], "weight": [one.weight for one in each],
            "prompts": [one.prompts for one in each], "solve_rate": [one.solve_rate for one in each],
            "truncation_rate": [one.truncation_rate for one in each],
            **{name: [one.length[i] for one in each] for i, name in enumerate(names)}}


# --- a drift ----------------------------------------------------------------------------------------------------


def drift_shown(fitted: FittedDrift) -> tuple[Section, ...]:
    """The sections of a drift of a fitted policy: its intervals, then those of the drift itself."""
    rows: list[tuple[Cell, ...]] = []
    for key, label in LABELS.items():
        number = getattr(fitted, key)
        rows.append((label, figure(float(number), "+.4g"), figure(float(number.stderr), ".2g"),
                     *(figure(end, "+.4g") for end in fitted.interval(key))))
    lines = [Bar(label="fitted policy", value=float(fitted.length_per_kl), low=fitted.interval()[0],
                 high=fitted.interval()[1])]
    other = [(f"if {share:.3g} was needed", each) for share, each in fitted.over_needed]
    other += [(f"if cut ones were done at {share:.3g}", each) for share, each in fitted.if_cut_done]
    other += [] if fitted.if_other_paths is None else [("if it cannot tell which", fitted.if_other_paths)]
    for label, each in other:
        rows.append((f"tokens in 0.01 nats {label}", figure(float(each.length_per_kl), "+.4g"), "", "", ""))
        lines.append(Bar(label=label, value=float(each.length_per_kl)))
    low, high = fitted.drift.range
    lines.append(Bar(label="over what is not known", value=float(fitted.length_per_kl), low=low, high=high))
    table = Table(title="", columns=("", "value", "± stderr", f"{LEVEL:.0%} from", "to"), rows=tuple(rows),
                  note=f"from {len(fitted.replicates['length']):,} refits, {fitted.failed:,} more failed")
    own = fitted.drift._page().sections
    return (Section(title=SURE, parts=(bars("The drift of mean length, with its interval over refits", lines, MEANT),
                                       table)),
            *(Section(title=each.title, parts=each.parts, folded=True) for each in own[:-1]),
            assumed(fitted.notes, {"scheme": " · ".join(fitted.drift.scheme.slots),
                                   "policy": repr(fitted.drift.policy)}))


def fitted_numbers(fitted: FittedDrift) -> dict[str, Any]:
    """A row for each number that has an interval."""
    numbers = [getattr(fitted, key) for key in LABELS]
    ends = [fitted.interval(key) for key in LABELS]
    return {"number": list(LABELS), "value": [float(x) for x in numbers], "stderr": [float(x.stderr) for x in numbers],
            "low": [low for low, _ in ends], "high": [high for _, high in ends], "refits": [x.n for x in numbers]}


# --- a run ------------------------------------------------------------------------------------------------------


def band_of(fitted: FittedTraining) -> str:
    """Where runs from refits end, in words."""
    failed = f" ({fitted.failed:,} more failed)" if fitted.failed else ""
    return (f"mean length at the end: {float(np.mean(fitted.training.length[-1])):.4g} tokens, "
            f"{fitted.low[-1]:.4g} to {fitted.high[-1]:.4g} in 90 % of {len(fitted.lengths):,} refits{failed}")


def training_shown(fitted: FittedTraining) -> tuple[Section, ...]:
    """The sections of a run, with the band over refits."""
    last = fitted.training.length.mean(axis=-1) if fitted.training.length.ndim > 1 else fitted.training.length
    steps = np.unique(np.linspace(0, len(last) - 1, min(len(last), 9)).astype(int))
    lines = [Bar(label=f"after step {step}", value=float(last[step]), low=float(fitted.low[step]),
                 high=float(fitted.high[step])) for step in steps]
    first = Section(title=SURE, parts=(Text(text=band_of(fitted)), bars(
        "Mean length, with 90 % of the runs from refits", lines, "tokens")))
    *own, given = fitted.training._page().sections
    notes = assumed(fitted.notes, {"refits": f"{len(fitted.lengths):,}"})
    return (*own[:1], first, *own[1:], given, Section(title="What was assumed in the fit", parts=notes.parts,
                                                      folded=True))
