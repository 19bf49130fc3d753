"""What a drift shows: its numbers in groups, as lines, as a page and as a tidy table."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._display import (
    FAST,
    MEANT,
    SURE,
    WHOM,
    Bar,
    Cell,
    Part,
    Picture,
    Points,
    Section,
    Table,
    Text,
    assumed,
    bars,
    changing,
    doubted,
    estimated,
    figure,
)
from lossim._engine.gradients import TERMS
from lossim._engine.pace import NO_PACE
from lossim._engine.sources import ROLES
from lossim._support.doubts import SchemeDoubt
from lossim._support.records import Record
from lossim._support.text import SAMPLED, Columns, decimals, number
from lossim.estimates import Estimate
from lossim.schemes import short

if TYPE_CHECKING:
    from lossim._engine.result import Drift

LENGTH, BOUGHT, TOKEN, PATH = ("mean length (tokens)", "of that, by what it buys", "of that, by kind of token",
                               "mean length on each path")
UNSURE = "(?) too small for its sign to be known without a measured kernel"


class Piece(Record):
    """A part of the drift of mean length, tokens per unit step."""

    label: str
    of: Estimate
    unsure: bool = False


def parts_of(result: Drift) -> dict[str, list[Piece]]:
    """The drift of mean length in groups: what it is made of, what it buys, by token, on each path."""
    by_token = []
    for (r, role), (t, term) in product(enumerate(ROLES), enumerate(TERMS)):
        if np.any(np.asarray(result.sources.value)[:, :, r, t]):
            label = {"policy": role, "kl": f"{role}, KL"}.get(term, f"{role}, {term}")
            by_token.append(Piece(label=label, of=result.source(role=role, term=term), unsure=term == "entropy"))
    found = {
        LENGTH: [Piece(label="total", of=result.length),
                 Piece(label="paths change frequency", of=result.composition),
                 Piece(label="lengths on paths change", of=result.within)],
        BOUGHT: [Piece(label="needed: it changes accuracy", of=result.needed),
                 Piece(label="free: it only pays the loss", of=result.free)],
        TOKEN: by_token,
        PATH: [Piece(label=" / ".join(names), of=result.length_by_path[path], unsure=bool(result.undecided[path]))
               for path, names in enumerate(result.paths)]}
    return {title: rows for title, rows in found.items() if rows}


def rates_of(result: Drift) -> dict[str, Estimate]:
    """What else changes, per unit step."""
    return {"P(correct)": result.accuracy, "mean reward": result.reward, "P(truncated)": result.truncation_rate}


def step_of(result: Drift) -> float:
    """η of a step of 0.01 nats: derivatives scale alike along the update, so it is the ratio of these two."""
    return float(result.length_per_kl) / float(result.length) if float(result.length) else np.nan


def three_digits(x: Estimate) -> str:
    """An estimate to three digits."""
    return number(x, decimals(abs(float(x)), 3))


class Scale(Record):
    """Decimals for tokens, those that suit the largest number among them, per unit step and in a step of 0.01 nats."""

    step: float
    here: int
    there: int

    @classmethod
    def of(cls, result: Drift, parts: dict[str, list[Piece]]) -> Scale:
        """Those of a result."""
        step = step_of(result)
        every = [part.of for rows in parts.values() for part in rows]
        largest = max((abs(float(x)) for x in every if abs(float(x)) > float(x.error)), default=0.0)
        return cls(step=step, here=decimals(largest, 4), there=decimals(largest * abs(step), 4))

    def in_a_step(self, result: Drift, x: Estimate) -> Estimate:
        """Tokens in a step of 0.01 nats."""
        return result.length_per_kl if x is result.length else x * self.step


# --- as lines ---------------------------------------------------------------------------------------------------


def numbers(result: Drift) -> list[str]:
    """The numbers per unit step and in a step of 0.01 nats; none if such a step is not known."""
    if np.isnan(float(result.length_per_kl)):
        return []
    parts = parts_of(result)
    scale = Scale.of(result, parts)
    width = ">21" if result.length.method in SAMPLED else ">15"
    table = Columns("<30", width, width, "<")
    lines = [table.row("", "per unit step", "in 0.01 nats")]
    for title, rows in parts.items():
        lines.append(table.row(title))
        for part in rows:
            scaled = number(scale.in_a_step(result, part.of), scale.there)
            lines.append(table.row(f"  {part.label}", number(part.of, scale.here), scaled,
                                   "  (?)" if part.unsure else ""))
    for label, x in rates_of(result).items():
        shown = "undefined" if np.isnan(float(x)) else three_digits(x)
        lines.append(table.row(label, shown, three_digits(x * scale.step)))
    if not np.isnan(float(result.accuracy_per_token)):
        lines.append(table.row("P(correct) per 100 tokens", three_digits(result.accuracy_per_token * 100.0)))
    for doubt in result.doubts:
        if isinstance(doubt, SchemeDoubt):
            lines += [table.row(label, "", tokens) for label, tokens in doubt.rows]
    lines += [f"  {line}" for line in seen_after(result)]
    if result.undecided.any():
        lines.append(f"  {UNSURE}")
    return lines


def seen_after(result: Drift) -> list[str]:
    """After how many steps the drift stands out of the noise, in words; nothing where that is not known."""
    if np.isnan(float(result.step_std)):
        return []
    scheme = result.scheme
    size = f"{scheme.prompts_per_step} prompts × {scheme.group_size}"
    steps = float(result.steps_to_see)
    prompts = float(result.prompts_to_see)
    when = f"after about {steps:,.0f} steps of {size}"
    if np.isnan(steps):
        when = "after none of these steps" if result.step_std.method in SAMPLED else "never"
    elif prompts <= 1.0:
        when = f"with the first prompt × {scheme.group_size}"
    elif steps <= 1.0:
        when = f"within a step of {size}, after about {prompts:,.0f} prompts"
    elif steps < 9.5:
        when = f"after about {steps:.1f} steps of {size}"
    return [f"stands out of the noise of sampling (2σ) {when}"]


# --- as a page --------------------------------------------------------------------------------------------------


def shown(result: Drift) -> tuple[Section, ...]:
    """The sections of its page."""
    pace = NO_PACE if result.paced is None else str(result.paced.pace)
    given = {"scheme": " · ".join(result.scheme.slots), "policy": repr(result.policy),
             "moves": short(result.policy.coordinates), "pace": pace,
             "computed by": f"lossim {result.provenance['lossim']}, {result.length.method}"}
    sure: list[Part] = [doubted(float(result.length_per_kl), result.doubts)]
    if not np.isnan(float(result.length_per_kl)):
        sure.append(Points(items=tuple(f"It {line}." for line in seen_after(result))))
    whence = Picture(title="What the loss pays for, and where the drift comes from", alt=result.verdict,
                     draw=result.plot)
    ask = ("ls.what_if(scheme, policy) changes one setting at a time, and says which of them turn the drift.",
           "ls.stops(scheme, policy) finds the values at which mean length no longer drifts.")
    return (Section(title=WHOM, parts=_whom(result)), Section(title=SURE, parts=tuple(sure), folded=True),
            Section(title=FAST, parts=_fast(result), folded=True), changing(result.doubts, *ask),
            Section(title=whence.title, parts=(whence,), folded=True), assumed(result.notes, given))


def _whom(result: Drift) -> tuple[Part, ...]:
    """Through which paths and tokens, and what it buys; nothing where no step is known."""
    if np.isnan(float(result.length_per_kl)):
        return (bars(result.verdict, [], MEANT),)
    parts = parts_of(result)
    scale = Scale.of(result, parts)
    rows: list[tuple[Cell, ...]] = []
    for title, group in parts.items():
        rows.append((title, "", ""))
        rows += [(f"{part.label}{' (?)' if part.unsure else ''}", estimated(part.of, scale.here),
                  estimated(scale.in_a_step(result, part.of), scale.there)) for part in group]
    rows.append(("what else changes", "", ""))
    rows += [(label, estimated(x), estimated(x * scale.step)) for label, x in rates_of(result).items()]
    if not np.isnan(float(result.accuracy_per_token)):
        rows.append(("P(correct) per 100 tokens", estimated(result.accuracy_per_token * 100.0), ""))
    table = Table(title="", columns=("", "per unit step", "in 0.01 nats"), rows=tuple(rows),
                  note=UNSURE if result.undecided.any() else "")
    low, high = result.range
    lines = [Bar(label="total", value=float(result.length_per_kl), low=low, high=high)]
    lines += [Bar(label=part.label, value=float(part.of) * scale.step)
              for title in (BOUGHT, TOKEN, PATH) for part in parts.get(title, ())]
    return (bars("The drift of mean length, and its parts", lines, MEANT), table)


def _fast(result: Drift) -> tuple[Part, ...]:
    """How far a step of a run goes."""
    paced = result.paced
    if paced is None:
        return (Text(text=f"No pace was {NO_PACE.removeprefix('none ')}; ls.pace() reads one off a log or curves."),)
    rows = (("tokens a step", estimated(paced.length_per_step)), ("tokens per point of accuracy",
                                                                  estimated(paced.length_per_point)),
            ("KL of a step (nats)", figure(paced.nats, ".3g")))
    return (Text(text=f"At {paced.pace}: {paced.words}."), Table(title="", columns=("", "value"), rows=rows))


# --- as a tidy table --------------------------------------------------------------------------------------------


def columns(result: Drift) -> dict[str, Any]:
    """A row for each number: what it is of, per unit step and in a step of 0.01 nats."""
    step = step_of(result)
    low, high = result.range
    names = {LENGTH: "length", BOUGHT: "bought", TOKEN: "token", PATH: "path"}
    rows = [(names[title], part.label, part.of, result.length_per_kl if part.of is result.length else part.of * step,
             low if part.of is result.length else np.nan, high if part.of is result.length else np.nan,
             not part.unsure, "tokens") for title, group in parts_of(result).items() for part in group]
    rows += [("rate", label, x, x * step, np.nan, np.nan, True, "reward" if label == "mean reward" else "probability")
             for label, x in rates_of(result).items()]
    return {"group": [row[0] for row in rows], "name": [row[1] for row in rows],
            "value": [float(row[2]) for row in rows], "stderr": [float(row[2].stderr) for row in rows],
            "per_kl": [float(row[3]) for row in rows], "low": [row[4] for row in rows],
            "high": [row[5] for row in rows], "decided": [row[6] for row in rows], "unit": [row[7] for row in rows]}
