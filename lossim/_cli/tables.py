"""Schemes side by side: in a sentence, and those on one policy as a table."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from lossim._auditing import Finding
from lossim._engine import Drift, Question, share_of_dead_groups
from lossim._support.doubts import undecided_by
from lossim._support.text import Columns, Sections, decimals, noted, number, wrapped
from lossim._support.verdicts import unless
from lossim.schemes import short

__all__ = ["Side", "in_a_sentence", "side_by_side", "side_of_drift", "side_of_finding", "ways"]

UNDECIDED, STILL, DEAD = 2.0, 3.0, 4.0
WAYS = {1.0: ("responses get longer", "longer"), -1.0: ("responses get shorter", "shorter"),
        0.0: ("no drift of mean length{}",) * 2, UNDECIDED: ("undecided{}",) * 2, STILL: ("nothing moves",) * 2,
        DEAD: ("unknown",) * 2}
"""Which way length goes, as the first words of a sentence and further on, by the sign of the drift; with a place for
what is to be added of a log."""
OF_LOGS = {0.0: " beyond the noise of this log", UNDECIDED: " by what the log does not tell"}


class Side(NamedTuple):
    """A scheme among others: which way length goes, by the keys of ``WAYS``; tokens in 0.01 nats, with an error bar or
    not."""

    name: str
    way: float
    tokens: float
    barred: bool = True

    @property
    def moves(self) -> bool:
        """Whether anything moves."""
        return self.way not in (STILL, DEAD)


def side_of_finding(finding: Finding) -> Side:
    """A scheme on a log."""
    way = UNDECIDED if finding.undecided else float(np.sign(float(finding.length))) * finding.significant
    if not np.any(finding.drift.update.value) and not finding.undecided:
        way = DEAD if finding.all_dead else STILL
    return Side(finding.name, way, float(finding.length_per_kl), not np.isnan(float(finding.length.stderr)))


def side_of_drift(drift: Drift) -> Side:
    """A scheme on a policy."""
    size, change = float(drift.length_per_kl), drift.length
    way = 0.0
    if abs(float(change)) > 3.0 * float(change.stderr) + float(change.error) and not np.isnan(size):
        way = float(np.sign(float(change)))
    if np.isnan(size):
        way = STILL
    elif drift.scheme.entropy is not None or undecided_by(drift.doubts):
        way = UNDECIDED
    return Side(drift.scheme.name, way, size)


def ways(sides: Sequence[Side]) -> dict[str, str]:
    """Which way length goes under each, in a word; undecided, too, where a log tells nothing."""
    return {side.name: "undecided" if side.way == DEAD else WAYS[side.way][1].format("") for side in sides}


def in_a_sentence(sides: Sequence[Side], *, of_log: bool = False) -> str:
    """Which way length goes under how many, and from which to which number of tokens."""
    count = len(sides)
    if all(side.way == DEAD for side in sides):
        return f"all groups of the log are dead: none of the {count} presets can be told from it"
    if not any(side.moves for side in sides):
        return f"nothing moves under any of the {count} presets"

    # how many go which way
    signs = [side.way for side in sides]
    found = [([each.format(OF_LOGS.get(way, "") if of_log else "") for each in words], signs.count(way))
             for way, words in WAYS.items() if way in signs]
    (first, many), *others = found
    said = f"{first[0]} under {many} of {count} presets" if others else f"{first[0]} under all {count} presets"
    said += "".join(f", {words[1]} under {more}" for words, more in others)
    if DEAD in signs:  # the last of the ways
        said += " (all groups of the log are dead)"

    # from the least to the largest drift
    known = [(side.tokens, side.name) for side in sides if np.isfinite(side.tokens)]
    ends = [f"{value:+.3g} ({name})" for value, name in sorted(known, key=itemgetter(0))]
    if not ends:
        return said
    span = ends[0] if len(ends) == 1 else f"from {ends[0]} to {ends[-1]}"
    bars = "" if any(side.barred for side in sides if side.moves) else ", without error bars"
    return f"{said}: {span} tokens in a step of 0.01 nats{bars}"


def side_by_side(drifts: Sequence[Drift]) -> Sections:
    """Schemes on one policy: a row each, what decides where the sign is not known, and what was assumed."""
    sides = [side_of_drift(drift) for drift in drifts]
    policy = drifts[0].policy
    return {"verdict": [in_a_sentence(sides)],
            "setting": [*wrapped("policy", [repr(policy)]), *wrapped("moves", [short(policy.coordinates)])],
            "numbers": [*_rows(drifts, sides), *_deciding(drifts, sides)], "notes": noted(_notes(drifts))}


def _rows(drifts: Sequence[Drift], sides: Sequence[Side]) -> list[str]:
    """The table."""
    widest = max(len(side.name) for side in sides)
    sampled = any(float(each.length_per_kl.stderr) for each in drifts)
    table = Columns(f"<{max(widest, 8) + 2}", ">20" if sampled else ">10", ">18", "<14", ">24", ">14", ">13")
    lines = [table.row("scheme", "tokens", "over unknowns", "   which way", "P(correct) / 100 tokens", "steps to see",
                       "dead groups"),
             table.row("", "0.01 nats")]
    for drift, side in zip(drifts, sides, strict=True):
        low, high = drift.range
        span = "" if np.isnan(low) or low == high else f"{low:+.3g} to {high:+.3g}"
        lines.append(table.row(side.name, _digits(drift.length_per_kl) or "-", span, f"   {_way(side)}",
                               _digits(drift.accuracy_per_token * 100.0), _steps(drift), _dead(drift)))
    return lines


def _way(side: Side) -> str:
    return WAYS[side.way][1].format("") if side.way else "no drift"


def _digits(x: Any) -> str:
    """An estimate to three digits; nothing for NaN."""
    return "" if np.isnan(float(x)) else number(x, decimals(abs(float(x)), 3))


def _steps(drift: Drift) -> str:
    """Steps until the drift stands out of the noise of sampling."""
    steps = float(drift.steps_to_see)
    return "" if np.isnan(steps) else f"{steps:.2g}" if steps < 9.5 else f"{steps:,.0f}"


def _dead(drift: Drift) -> str:
    """Share of groups whose rewards are all equal, where groups are compared."""
    scheme, policy = drift.scheme, drift.policy
    if not scheme.advantage.group_relative:
        return ""
    share = share_of_dead_groups(Question(scheme=scheme, policy=policy, old=policy, reference=policy).step)
    return "" if np.isnan(share) else f"{share:.1%}"


def _deciding(drifts: Sequence[Drift], sides: Sequence[Side]) -> list[str]:
    """What each undecided sign hangs on, and what is not told of a scheme."""
    lines = []
    for drift, side in zip(drifts, sides, strict=True):
        beside = unless(drift.doubts)
        if beside:
            lines.append(f"  {side.name}: {beside.lstrip(',; ')}")
        if side.way == UNDECIDED:
            reasons = [doubt.text for doubt in undecided_by(drift.doubts)]
            reasons += ["entropy also acts on content"] * (drift.scheme.entropy is not None)
            lines.append(f"  undecided: {side.name}: {'; '.join(reasons)}")
    return lines


def _notes(drifts: Sequence[Drift]) -> list[str]:
    """Notes of all; those of a few with the names of these."""
    names: dict[str, list[str]] = {}
    for drift in drifts:
        for note in drift.notes:
            names.setdefault(note, []).append(drift.scheme.name)
    return [note if len(who) == len(drifts) else f"{', '.join(who)}: {note}" for note, who in names.items()]
