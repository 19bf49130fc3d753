"""How findings print: tables of a scheme, of several side by side, and of the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._auditing.log import SOLVE_RATES
from lossim._support.text import Columns, decimals, number
from lossim._support.types import Outcome
from lossim.estimates import Estimate

if TYPE_CHECKING:
    from lossim._auditing.findings import Finding

__all__ = ["OUTCOMES", "about_log", "numbers_of", "shared_notes", "side_by_side", "tokens"]

OUTCOMES = tuple(each.name.lower() for each in Outcome)
_ROWS = Columns("<34", ">22")
_CHANGES = Columns("<46", ">22", ">12")
_LENGTHS = Columns("<16", ">10", ">22", ">19", ">16", ">18")


def tokens(x: Estimate) -> str:
    """A number of tokens, or whatever is told in its unit, to three digits with its standard error."""
    if np.isnan(float(x)):
        return "not told from noise" if x.n else "unknown"
    if np.isnan(float(x.stderr)):
        return f"{float(x):+.3g}"
    return number(x, decimals(max(abs(float(x)), float(x.stderr)), 3))


def about_log(log: dict[str, Any]) -> list[str]:
    """What a log holds, in a few words each."""
    plural = "" if log["steps"] == 1 else "s"
    correct = "correctness unknown"
    if log["accuracy"] is not None:
        correct = f"{log['accuracy']:.1%} correct"
    cut = f"truncation unknown, longest {log['max_tokens']:,}"
    if log["truncation_rate"] is not None:
        cut = f"{log['truncation_rate']:.1%} truncated at {log['max_tokens']:,}"
    return [f"{log['responses']:,} responses to {log['prompts']:,} prompts in {log['groups']:,} groups",
            f"{log['steps']:,} step{plural}", f"mean length {log['mean_length']:,.4g}", correct, cut,
            f"mean reward {log['mean_reward']:.3g}"]


def side_by_side(findings: Sequence[Finding]) -> list[str]:
    """Schemes in the order of their drift, with Cov(A, T) beside it; those without a drift last."""
    table = Columns(f"<{max(len(each.name) for each in findings)}", ">22", ">12", ">13", "<")
    lines = [table.row("", "tokens in 0.01 nats", "Cov(A, T)", "dead groups", "   through")]
    for each in sorted(findings, key=lambda each: (np.isnan(float(each.length_per_kl)), float(each.length_per_kl))):
        lines.append(table.row(each.name, tokens(each.length_per_kl), f"{float(each.covariance):+.3g}",
                               f"{each.dead_groups:.1%}", f"   {_main_sources(each)}"))
    return lines


def shared_notes(findings: Sequence[Finding]) -> Iterator[str]:
    """The notes of several schemes, each once, with the names of those it is about unless it is about all."""
    for note in dict.fromkeys(note for each in findings for note in each.notes):
        named = [each.name for each in findings if note in each.notes]
        yield note if len(named) == len(findings) else f"{', '.join(named)}: {note}"


def _main_sources(finding: Finding) -> str:
    """Contributions by outcome in a step of 0.01 nats, in words; nothing where they are not known."""
    if finding.sources is None or np.isnan(finding.rate):
        return ""
    parts = zip(OUTCOMES, finding.source("outcome").value, strict=True)
    return ", ".join(f"{name} {x * finding.rate:+.3g}" for name, x in parts if x)


def numbers_of(finding: Finding) -> Iterator[str]:
    """Everything about one scheme, in a step of 0.01 nats if there is one, per unit step otherwise."""
    drift = finding.drift
    if np.isfinite(finding.rate):
        per = finding.rate
        length = drift.length_per_kl
        yield _ROWS.row("", "tokens in 0.01 nats")
    else:
        per = 1.0
        length = drift.length
        yield _ROWS.row("", "tokens per unit step")
    yield _ROWS.row("mean length", tokens(length))
    yield _ROWS.row("  paths change frequency", tokens(drift.composition * per))
    yield _ROWS.row("  lengths on paths change", tokens(drift.within * per))
    yield _ROWS.row("P(correct)", tokens(drift.accuracy * per))
    yield _ROWS.row("P(truncated)", tokens(drift.truncation_rate * per))
    one_path = len(drift.cells) == len(drift.policy.class_weight)
    other = "it knew right from wrong" if one_path else "it cannot tell right from wrong"
    yield _ROWS.row(f"if {other}", tokens(finding.if_other_paths))
    yield from _by_source(finding, per)
    yield from _by_step(finding, per)
    yield _ROWS.row("Cov(A, T), the rule of thumb", tokens(finding.covariance))
    yield _ROWS.row("dead groups", f"{finding.dead_groups:.1%}")
    if finding.what_if:
        yield _CHANGES.row("what if", "tokens in 0.01 nats", "Cov(A, T)")
        for each in finding.what_if:
            yield _CHANGES.row(f"  {each.change}", tokens(each.length_per_kl), f"{float(each.covariance):+.3g}")
    if finding.stops:
        yield "  what would stop it" + ("" if finding.significant else " (it is within the noise)")
        yield from (f"    {each}" for each in finding.stops)


def _by_source(finding: Finding, per: float) -> Iterator[str]:
    """Contributions to the drift by outcome, by solve rate, by term and by length, as far as they are known."""
    if finding.sources is None:
        return
    if finding.graded:
        for title, axis, names in (("by outcome", "outcome", OUTCOMES),
                                   ("by solve rate of the prompt", "solve rate", SOLVE_RATES)):
            parts = finding.source(axis)
            yield f"  {title}"
            for i, name in enumerate(names):
                if parts.value[i]:
                    yield _ROWS.row(f"  {name}", tokens(parts[i] * per))
    kl = finding.source("term")[1]
    if float(kl):
        yield _ROWS.row("of that, KL", tokens(kl * per))
    yield from _by_length(finding, per)


def _by_length(finding: Finding, per: float) -> Iterator[str]:
    """Contributions by length, with what explains them: how many responses, how heavy a token, how good."""
    drift = finding.source("length")
    yield _LENGTHS.row("by length", "responses", "tokens", "weight of a token", "mean advantage", "effective reward")
    following = [*finding.length_bins[1:], None]
    for i, (first, after) in enumerate(zip(finding.length_bins, following, strict=True)):
        if not finding.share[i]:
            continue
        label = f"{first:,} on" if after is None else f"{first:,} to {after - 1:,}"
        reward = "" if np.isnan(finding.effective_reward[i]) else f"{finding.effective_reward[i]:+.3g}"
        yield _LENGTHS.row(f"  {label}", f"{finding.share[i]:.1%}", tokens(drift[i] * per),
                           f"{finding.token_weight[i]:.3g}", f"{finding.mean_advantage[i]:+.3g}", reward)


def _by_step(finding: Finding, per: float) -> Iterator[str]:
    """Contributions of the runs of steps, at most eight of them."""
    if finding.by_step is None:
        return
    count = len(finding.steps)
    yield _ROWS.row("by step", "tokens")
    for i in np.unique(np.linspace(0, count - 1, min(count, 8)).astype(int)):
        first, last = finding.steps[i]
        label = f"{first}" if first == last else f"{first} to {last}"
        yield _ROWS.row(f"  {label}", tokens(finding.by_step[int(i)] * per))
    if count > 8:
        yield f"    ({count - 8} runs of steps between these are in by_step)"
