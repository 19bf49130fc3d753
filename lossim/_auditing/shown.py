"""What an audit shows: schemes side by side, and of each through which responses mean length goes which way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._auditing.by_path import ByPath
from lossim._auditing.log import SOLVE_RATES
from lossim._auditing.words import OTHERWISE, OUTCOMES, about_log, tokens
from lossim._changes import changes_rows, turned
from lossim._display import (
    CHANGE,
    FAST,
    MEANT,
    SURE,
    WHOM,
    Bar,
    Cell,
    Number,
    Part,
    Picture,
    Section,
    Table,
    Text,
    assumed,
    bars,
    changing,
    doubted,
    figure,
    told,
)
from lossim._engine import NO_PACE
from lossim.estimates import Estimate

if TYPE_CHECKING:
    from lossim._auditing.findings import Audit, Finding

AXES = ("term", "outcome", "solve rate", "length")
"""What contributions are told apart by."""
TERMS = ("policy", "KL")


def said(x: Estimate) -> Number:
    """An estimate as audits print it, with its standard error."""
    return Number(value=float(x), text=tokens(x))


# --- one scheme -------------------------------------------------------------------------------------------------


def scale_of(finding: Finding) -> tuple[float, str]:
    """What turns numbers per unit step into those of a step of 0.01 nats, and the unit; 1 where none is known."""
    return (finding.rate, MEANT) if np.isfinite(finding.rate) else (1.0, "tokens per unit step")


def finding_shown(finding: Finding) -> tuple[Section, ...]:
    """The sections of a scheme on a log."""
    pace = finding.drift.paced
    speed = f"No pace was {NO_PACE.removeprefix('none ')}." if pace is None else f"At {pace.pace}: {pace.words}."
    given = {"scheme": " · ".join(finding.drift.scheme.slots),
             "paths": f"{finding.paths}: how the log was made a policy", "blocks": f"{finding.blocks:,} of prompts"}
    change: list[Part] = [changes_rows(finding.what_if)] if finding.what_if else []
    if finding.stops:
        change += turned(finding.stops).parts
    return (Section(title=WHOM, parts=(_picture(finding), *_parts(finding))),
            Section(title="By length", parts=_by_length(finding), folded=True),
            Section(title=SURE, parts=_sure(finding), folded=True),
            Section(title=FAST, parts=(Text(text=speed),), folded=True),
            Section(title=CHANGE, parts=tuple(change), folded=True),
            changing(finding.doubts), assumed(finding.notes, given))


def _rows(finding: Finding) -> list[tuple[str, Estimate]]:
    """The drift and what it is made of, per unit step, as far as it is known."""
    drift = finding.drift
    rows = [("mean length", drift.length), ("paths change frequency", drift.composition),
            ("lengths on paths change", drift.within), ("needed: it changes accuracy", drift.needed),
            ("free: it only pays the loss", drift.free)]
    if finding.sources is not None and finding.graded:
        for axis, names in (("outcome", OUTCOMES), ("solve rate", SOLVE_RATES)):
            parts = finding.source(axis)
            rows += [(f"{axis} {name}", parts[i]) for i, name in enumerate(names) if parts.value[i]]
    return [(label, x) for label, x in rows if not np.isnan(float(x))]


def _picture(finding: Finding) -> Picture:
    """The drift and its parts."""
    _, unit = scale_of(finding)
    lines = [Bar(label=label, value=float(x), low=_end(x, -2.0), high=_end(x, 2.0)) for label, x in _scaled(finding)]
    return bars("The drift of mean length and its parts, with two standard errors", lines, unit)


def _end(x: Estimate, errors: float) -> float:
    """An end of an interval."""
    return float(x) + errors * float(x.stderr)


def _scaled(finding: Finding) -> list[tuple[str, Estimate]]:
    """The drift and what it is made of, in the unit of the finding; the drift itself with the error of the ratio."""
    per, _ = scale_of(finding)
    drift = finding.drift
    as_ratio = np.isfinite(finding.rate)
    return [(label, drift.length_per_kl if x is drift.length and as_ratio else x * per) for label, x in _rows(finding)]


def _parts(finding: Finding) -> tuple[Part, ...]:
    """The same as a table, what else changes, and what the log shows without any model."""
    per, unit = scale_of(finding)
    drift = finding.drift
    rates = [(label, said(x * per)) for label, x in (("P(correct)", drift.accuracy),
                                                     ("P(truncated)", drift.truncation_rate))
             if not np.isnan(float(x))]
    shown = (("Cov(A, T), the rule of thumb (reward × tokens)", said(finding.covariance)),
             ("dead groups", figure(finding.dead_groups, ".1%")))
    lengths = tuple((label, said(x)) for label, x in _scaled(finding))
    return (Table(title="", columns=("mean length", unit), rows=lengths,
                  note="± are standard errors from prompts drawn again; parts are scaled by one size of step, the "
                       "first row by that of each redrawn log, with which it varies"),
            Table(title="", columns=("what else changes", unit.removeprefix("tokens ")), rows=tuple(rates)),
            Table(title="", columns=("of the log itself", ""), rows=shown))


def _by_length(finding: Finding) -> tuple[Part, ...]:
    """What responses of each length contribute, and what explains it."""
    if finding.sources is None:
        return ()
    per, unit = scale_of(finding)
    parts = finding.source("length")
    rows = tuple((label, figure(finding.share[i], ".1%"), said(parts[i] * per), figure(finding.token_weight[i], ".3g"),
                  figure(finding.mean_advantage[i], "+.3g"), figure(finding.effective_reward[i], "+.3g"))
                 for i, label in enumerate(bins(finding)) if finding.share[i])
    return (Table(title="", columns=("length", "responses", unit, "weight of a token", "mean advantage",
                                     "effective reward"), rows=rows),)


def bins(finding: Finding) -> list[str]:
    """Bins of length in words."""
    following = [*finding.length_bins[1:], None]
    return [f"{first:,} on" if after is None else f"{first:,} to {after - 1:,}"
            for first, after in zip(finding.length_bins, following, strict=True)]


def _sure(finding: Finding) -> tuple[Part, ...]:
    """What the sign hangs on, and the drift under what the log does not tell."""
    rows: list[tuple[Cell, ...]] = [(f"if {at.share:.3g} of a right response was needed", said(at.length_per_kl),
                                     said(at.if_cut_done)) for at in finding.over_needed]
    rows.append((f"if {OTHERWISE[finding.paths]}", said(finding.if_other_paths), ""))
    other = Table(title="", columns=("what the log does not tell", "tokens in 0.01 nats", "if cut ones were done"),
                  rows=tuple(rows))
    return (doubted(float(finding.length_per_kl), finding.doubts), told(other))


def contributions(finding: Finding) -> dict[str, Any]:
    """A row for what each kind of response contributes, along each axis; the total first."""
    per = finding.rate
    rows: list[tuple[str, str, Estimate]] = [("total", "", finding.length)]
    names = {"term": TERMS, "outcome": OUTCOMES, "solve rate": SOLVE_RATES, "length": bins(finding)}
    for axis in AXES if finding.sources is not None else ():
        parts = finding.source(axis)
        rows += [(axis, name, parts[i]) for i, name in enumerate(names[axis])]
    return {"scheme": [finding.name] * len(rows), "axis": [row[0] for row in rows], "name": [row[1] for row in rows],
            "length": [float(row[2]) for row in rows], "stderr": [float(row[2].stderr) for row in rows],
            "length_per_kl": [float(row[2]) * per for row in rows]}


# --- several ----------------------------------------------------------------------------------------------------


def audit_shown(audit: Audit) -> tuple[Section, ...]:
    """The sections of an audit: those of its scheme, or of several side by side and then one by one."""
    picture = Picture(title="Where the drift comes from, and what else it could be", alt=audit.verdict, draw=audit.plot)
    paths = () if audit.by_path is None else (Section(title="Paths over the steps", parts=(_paths(audit.by_path),)),)
    log = {"log": " · ".join(about_log(audit.log))}
    if len(audit.findings) == 1:
        *sections, last = finding_shown(audit.findings[0])
        own = assumed((*audit.findings[0].notes, *audit.notes), log)
        given = Section(title=own.title, parts=(*own.parts, *last.parts[:1]), folded=True)
        return (*sections, *paths, Section(title=picture.title, parts=(picture,), folded=True), given)
    each = tuple(Section(title=f"{found.name}: {found.verdict}", folded=True,
                         parts=(*_parts(found), *_by_length(found), *_sure(found)))
                 for found in audit.findings)
    notes = dict.fromkeys(str(note) for found in audit.findings for note in found.notes)
    schemes = {found.name: " · ".join(found.drift.scheme.slots) for found in audit.findings}
    return (Section(title="Schemes side by side", parts=(_schemes_bars(audit.findings), _side(audit.findings))), *each,
            *paths, Section(title=picture.title, parts=(picture,), folded=True),
            assumed((*notes, *audit.notes), log | schemes))


def _schemes_bars(findings: Sequence[Finding]) -> Picture:
    """The drift of each scheme, with its range over what is not known."""
    lines = [Bar(label=each.name, value=float(each.length_per_kl), low=each.drift.range[0], high=each.drift.range[1])
             for each in findings]
    return bars("The drift of mean length under each scheme", lines, MEANT)


def _side(findings: Sequence[Finding]) -> Table:
    """Schemes as rows."""
    rows = tuple((each.name, said(each.length_per_kl), figure(float(each.covariance), "+.3g"),
                  figure(each.dead_groups, ".1%"), each.verdict) for each in findings)
    return Table(title="", columns=("scheme", "tokens in 0.01 nats", "Cov(A, T)", "dead groups", "which way"),
                 rows=rows)


def _paths(found: ByPath) -> Table:
    """How often each path was taken and right, over the steps."""
    rows: list[tuple[Cell, ...]] = []
    for run, (first, last) in enumerate(found.steps):
        for path, name in enumerate(found.names):
            rows.append((f"{first}" if first == last else f"{first} to {last}", name,
                         figure(float(found.share.value[run, path]), ".1%"),
                         figure(float(found.accuracy.value[run, path]), ".3f")))
    return Table(title="", columns=("steps", "path", "share", "P(correct)"), rows=tuple(rows))


def schemes_table(findings: Sequence[Finding]) -> dict[str, Any]:
    """A row for each scheme."""
    def of(name: str) -> list[float]:
        return [float(getattr(each.drift, name)) * each.rate for each in findings]

    ranges = [each.drift.range for each in findings]
    return {"scheme": [each.name for each in findings],
            "length_per_kl": [float(each.length_per_kl) for each in findings],
            "stderr": [float(each.length_per_kl.stderr) for each in findings], "low": [low for low, _ in ranges],
            "high": [high for _, high in ranges], "decided": [not each.undecided for each in findings],
            "significant": [each.significant for each in findings], "needed_per_kl": of("needed"),
            "free_per_kl": of("free"), "accuracy_per_kl": of("accuracy"),
            "truncation_rate_per_kl": of("truncation_rate"), "length": [float(each.length) for each in findings],
            "covariance": [float(each.covariance) for each in findings],
            "dead_groups": [each.dead_groups for each in findings], "verdict": [each.verdict for each in findings]}
