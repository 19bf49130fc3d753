"""What other settings and stops show: their tables, as pages and as tidy columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._display import (
    CHANGE,
    MEANT,
    SURE,
    Bar,
    Cell,
    Number,
    Section,
    Table,
    Turn,
    assumed,
    bars,
    changing,
    doubted,
    estimated,
    figure,
    told,
    turns,
)

if TYPE_CHECKING:
    from lossim._changes.results import Goal, Stop, Stops, WhatIf, WhatIfs

UNSURE = "(?) the sign hangs on what nobody told: the kernel, the critic, or what the scheme leaves open"
ONE = "one setting is changed at a time, and all else stays"
NAN = float("nan")


# --- other settings ---------------------------------------------------------------------------------------------


def changes_table(changes: Sequence[WhatIf]) -> dict[str, Any]:
    """A row for each setting: tokens in a step of 0.01 nats, their range, which way, whether that is decided."""
    return {"change": [each.change for each in changes],
            "length_per_kl": [float(each.length_per_kl) for each in changes],
            "stderr": [float(each.length_per_kl.stderr) for each in changes],
            "low": [each.range[0] for each in changes], "high": [each.range[1] for each in changes],
            "way": [each.way for each in changes], "decided": [not each.undecided for each in changes],
            "alignment": [float(each.alignment) for each in changes],
            "covariance": [float(each.covariance) for each in changes], "note": [each.note for each in changes]}


def changes_bars(changes: Sequence[WhatIf]) -> list[Bar]:
    """The same as lines of a picture."""
    return [Bar(label=each.change, value=float(each.length_per_kl), low=each.range[0], high=each.range[1])
            for each in changes]


def changes_rows(changes: Sequence[WhatIf]) -> Table:
    """The same as a table to read."""
    of_log = any(not np.isnan(float(each.covariance)) for each in changes)
    rows: list[tuple[Cell, ...]] = []
    for each in changes:
        low, high = each.range if each.range[0] < each.range[1] else (NAN, NAN)
        tokens = estimated(each.length_per_kl)
        said = "nothing moves" if np.isnan(tokens.value) and not each.note else tokens.text
        rows.append((each.change, Number(value=tokens.value, text=f"{said}{' (?)' if each.undecided else ''}"),
                     figure(low, "+.3g"), figure(high, "+.3g"),
                     figure(float(each.covariance), "+.3g") if of_log else estimated(each.alignment, 2), each.note))
    last = "Cov(A, T)" if of_log else "cosine with ∇E[r]"
    columns = ("what if", "tokens in 0.01 nats", "lowest", "highest", last, "not computed")
    return told(Table(title="", columns=columns, rows=tuple(rows),
                      note=UNSURE if any(each.undecided for each in changes) else ONE))


def changed_alone(change: WhatIf) -> tuple[Section, ...]:
    """The sections of one setting."""
    picture = bars("The drift of mean length under this setting", changes_bars([change]), MEANT)
    return (Section(title=SURE, parts=(picture, doubted(float(change.length_per_kl), change.doubts))),
            changing(change.doubts))


def changes_shown(result: WhatIfs) -> tuple[Section, ...]:
    """The sections of all of them."""
    every = (result.now, *result.changes)
    picture = bars("The drift of mean length under other settings", changes_bars(every), MEANT)
    ask = "ls.stops(scheme, policy) finds the values at which mean length no longer drifts."
    given = {"scheme": " · ".join(result.scheme.slots), "on": result.subject}
    return (Section(title=CHANGE, parts=(picture, changes_rows(every))),
            Section(title=SURE, parts=(doubted(float(result.now.length_per_kl), result.now.doubts),), folded=True),
            changing(result.now.doubts, ask), assumed(result.notes, given))


# --- stops ------------------------------------------------------------------------------------------------------


def stops_table(stops: Sequence[Stop]) -> dict[str, Any]:
    """A row for each number that was turned: where it stands, what is needed, and over which kernels."""
    ranges = [(NAN, NAN) if each.range is None else each.range for each in stops]
    return {"knob": [each.knob for each in stops], "now": [_known(each.now) for each in stops],
            "needed": [_known(each.needed) for each in stops], "stderr": [each.stderr for each in stops],
            "low": [low for low, _ in ranges], "high": [high for _, high in ranges],
            "kernels": [each.kernels for each in stops], "without": [each.without for each in stops],
            "jumps": [each.jumps for each in stops], "ends": [_known(each.ends) for each in stops],
            "note": [each.note for each in stops]}


def turned(stops: Sequence[Stop]) -> Section:
    """Where every number stands and would have to stand."""
    lines, rows = [], []
    for each in stops:
        low, high = (NAN, NAN) if each.range is None else each.range
        now, needed = _known(each.now), _known(each.needed)
        lines.append(Turn(label=each.knob, now=now, needed=needed, low=low, high=high))
        others = ", ".join(f"{x:.4g}" for x in each.roots if x != each.needed)
        said = "; ".join(note for note in (f"also at {others}" if others else "", "a jump" if each.jumps else "",
                                           each.over, each.note) if note)
        rows.append((each.knob, figure(now), figure(needed), figure(low, ".3g"), figure(high, ".3g"), said))
    table = Table(title="", columns=("what is turned", "now", "needed", "lowest", "highest", "besides"),
                  rows=tuple(rows), note="lowest and highest are what is needed over plausible kernels")
    return Section(title=CHANGE, parts=(turns("Where each number stands (ring) and would have to stand (dot)", lines),
                                        table))


def stops_shown(result: Stops) -> tuple[Section, ...]:
    """The sections of all stops."""
    given = {"scheme": " · ".join(result.scheme.slots), "on": result.subject}
    goal = () if result.goal is None else (goal_section(result.goal),)
    sure = (doubted(NAN, result.doubts),) if result.doubts else ()
    return (turned(result.stops), *goal, Section(title=SURE, parts=sure, folded=True),
            changing(result.doubts, "ls.what_if(scheme, policy) changes one setting at a time."),
            assumed(result.notes, given))


def goal_section(goal: Goal) -> Section:
    """Where a run is to go."""
    rows = (("at the start", figure(goal.start)), (f"after {goal.steps:,} steps as it is", figure(goal.end)),
            ("asked for", figure(goal.length)))
    picture = turns("Mean length after the run as it is (ring) and as it is asked for (dot)",
                    [Turn(label="mean length (tokens)", now=goal.end, needed=goal.length)])
    return Section(title="Where length is to go", parts=(picture, Table(title="", columns=("mean length", "tokens"),
                                                                        rows=rows)))


def _known(x: float | None) -> float:
    return NAN if x is None else float(x)
