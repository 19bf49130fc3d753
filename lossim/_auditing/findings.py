"""What an audit found on a log, and how it prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

from lossim._auditing.log import SOLVE_RATES, widening
from lossim._engine import Drift, decimals, number, wrapped
from lossim._support import checks
from lossim._support.types import FloatArray, Outcome
from lossim.estimates import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Audit", "Finding", "Stop", "WhatIf"]

AXES = ("term", "outcome", "solve rate", "length")
OUTCOMES = tuple(each.name.lower() for each in Outcome)


@dataclass(frozen=True, kw_only=True, eq=False)
class WhatIf:
    """The same log under a changed setting.

    Attributes:
        change: what was changed, in words.
        length_per_kl: tokens in a step of 0.01 nats.
        length: tokens per unit step; not comparable with another setting's.
        covariance: Cov(A, T) over the responses in the loss.
    """

    change: str
    length_per_kl: Estimate
    length: Estimate
    covariance: Estimate


@dataclass(frozen=True, kw_only=True)
class Stop:
    """The smallest change of one setting that brings the drift of mean length to zero.

    Attributes:
        knob: the setting.
        now: its value.
        needed: the value at which nothing drifts; None if none does.
        note: the range that was searched, or why it cannot be said.
    """

    knob: str
    now: float | None
    needed: float | None
    note: str = ""

    def __str__(self) -> str:
        now = "" if self.now is None else f" (now {self.now:.4g})"
        if self.needed is None:
            return f"{self.knob}: {self.note}"
        return f"{self.knob}: {self.needed:.4g}{now}" + (f"; {self.note}" if self.note else "")


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """What one scheme does on the log.

    Attributes:
        drift: every number of a :class:`~lossim.Drift`, with standard errors from redrawn prompts (method
            ``"bootstrap"``); ``drift.policy`` is the log's own law.
        sources: [term, outcome, solve rate, length bin], contributions to ``drift.length`` of single responses, tokens
            per unit step: terms policy and KL, outcomes as in :class:`~lossim.Outcome`, solve rates of the prompt as
            ``solve_rates`` names them, lengths from ``length_bins``. The law of the log is held fixed. None where λ
            depends on the length.
        length_bins: the first length of each bin.
        share: [length bin], share of the responses.
        token_weight: [length bin], weight of a token of such a response over that of the average token.
        mean_advantage: [length bin], mean advantage (mean reward under GAE).
        effective_reward: [length bin], the reward of the length that REINFORCE would have to be paid for the same
            update, mean 0 over what stopped; NaN where nothing did.
        covariance: Cov(A, T), the rule of thumb: positive should lengthen. Reward units × tokens.
        dead_groups: share of groups whose rewards are all equal.
        blocks: prompts, or blocks of prompts, that are drawn again.
        graded: whether it is known which responses are correct; if not, all count as incorrect.
        by_step: [run of steps], contribution per response of each run, tokens per unit step, with the law of the
            whole log; None for a log of one step. ``steps`` names the first and last step of each.
        if_other_paths: tokens in a step of 0.01 nats if responses had one path per class, or two if the audit had one.
        what_if: the same log under other settings.
        stops: what would bring the drift to zero.
        notes: what was assumed or approximated for this scheme.
        source_draws: [replicate, term, outcome, length bin], contributions in redrawn logs under their own law; None
            without any. ``rate_draws`` [replicate, solve rate], with the law of the log held fixed.
    """

    drift: Drift
    sources: Estimate | None
    length_bins: tuple[int, ...]
    share: FloatArray
    token_weight: FloatArray
    mean_advantage: FloatArray
    effective_reward: FloatArray
    covariance: Estimate
    dead_groups: float
    graded: bool
    blocks: int
    by_step: Estimate | None
    steps: tuple[tuple[int, int], ...]
    if_other_paths: Estimate
    what_if: tuple[WhatIf, ...]
    stops: tuple[Stop, ...]
    notes: tuple[str, ...]
    source_draws: FloatArray | None = field(repr=False)
    rate_draws: FloatArray | None = field(repr=False)

    solve_rates = SOLVE_RATES

    @property
    def name(self) -> str:
        """The scheme's name."""
        return self.drift.scheme.name

    @property
    def length(self) -> Estimate:
        """dE[T]/dη, tokens per unit step."""
        return self.drift.length

    @property
    def length_per_kl(self) -> Estimate:
        """Change of mean length in a step of 0.01 nats of KL per response, tokens."""
        return self.drift.length_per_kl

    def source(self, axis: str) -> Estimate:
        """Contributions to ``length`` along one axis, tokens per unit step, with standard errors of the sums.

        ``axis`` is "term" (policy, KL), "outcome", "solve rate" or "length". Standard errors by solve rate hold the law
        of the log fixed, the others do not.
        """
        checks.choice("axis", axis, AXES)
        if self.sources is None:
            raise ValueError("sources are not known where λ depends on the length; use a constant gae_lambda")
        keep = AXES.index(axis)
        value = self.sources.value.sum(axis=tuple(i for i in range(4) if i != keep))
        stderr = np.full(value.shape, np.nan)
        if self.source_draws is not None and self.rate_draws is not None:
            place = {0: 1, 1: 2, 3: 3}.get(keep)
            drawn = self.rate_draws if place is None else self.source_draws.sum(
                axis=tuple(i for i in (1, 2, 3) if i != place))
            stderr = widening(self.blocks) * drawn.std(axis=0, ddof=1)
        return Estimate(value=value, stderr=stderr, n=self.sources.n, method="bootstrap")

    @property
    def rate(self) -> float:
        """Step size of 0.01 nats: what turns numbers per unit step into numbers in such a step; NaN if none."""
        return float(self.length_per_kl) / float(self.length) if float(self.length) else np.nan

    @property
    def significant(self) -> bool:
        """Whether the drift is beyond two standard errors (more with few prompts: 95.4 % of Student's t), if known."""
        bar = float(stdtrit(max(self.blocks - 1, 1), 0.977)) * float(self.length.stderr)
        return bool(abs(float(self.length)) > np.nan_to_num(bar))

    @property
    def verdict(self) -> str:
        """Which way mean length goes, and through which responses, in one sentence."""
        if not np.any(self.drift.update.value):
            dead = self.dead_groups == 1.0 and self.drift.scheme.advantage.group_relative
            return "nothing moves" + (": all groups are dead" if dead else "")
        if not self.significant:
            return "no drift of mean length" + (" beyond the noise of this log" if float(self.length) else "")
        way = "longer" if float(self.length) > 0 else "shorter"
        step = self.length_per_kl
        much = "" if np.isnan(float(step)) else f", {tokens(step)} tokens in a step of 0.01 nats"
        unsure = " (no error bar)" if np.isnan(float(self.length.stderr)) else ""
        return f"responses get {way}{much}{unsure}{self._through}"

    @property
    def _through(self) -> str:
        if self.sources is None or not self.graded:
            return ""
        by_outcome = self.source("outcome").value * np.sign(float(self.length))
        second, first = np.argsort(by_outcome)[-2:]
        clear = by_outcome[first] > 1.5 * max(by_outcome[second], 0.0)
        return f", mostly through {OUTCOMES[first]} responses" if clear else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        axes = {} if self.sources is None else {axis: self.source(axis).to_dict() for axis in AXES}

        def numbers(x: FloatArray) -> list[float | None]:
            return [float(each) if np.isfinite(each) else None for each in x]

        return {
            "scheme": self.name, "verdict": self.verdict, "drift": self.drift.to_dict(arrays=False), "sources": axes,
            "solve_rates": list(SOLVE_RATES), "length_bins": list(self.length_bins), "share": numbers(self.share),
            "token_weight": numbers(self.token_weight), "mean_advantage": numbers(self.mean_advantage),
            "effective_reward": numbers(self.effective_reward), "covariance": self.covariance.to_dict(),
            "dead_groups": self.dead_groups, "graded": self.graded, "steps": [list(run) for run in self.steps],
            "by_step": None if self.by_step is None else self.by_step.to_dict(),
            "if_other_paths": self.if_other_paths.to_dict(),
            "what_if": [{"change": each.change, "length_per_kl": each.length_per_kl.to_dict(),
                         "length": each.length.to_dict(), "covariance": each.covariance.to_dict()}
                        for each in self.what_if],
            "stops": [vars(each) for each in self.stops], "notes": list(self.notes)}

    def __str__(self) -> str:
        return "\n".join(_table(self))

    __repr__ = __str__


def tokens(x: Estimate, digits: int = 3) -> str:
    """A number of tokens with its standard error."""
    if np.isnan(float(x)):
        return "not told from noise" if x.n else "unknown"
    if np.isnan(float(x.stderr)):
        return f"{float(x):+.{digits}g}"
    return number(x, decimals(max(abs(float(x)), float(x.stderr)), digits))


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """What schemes do to mean length on a log; see :func:`lossim.audit`.

    Attributes:
        findings: one for each scheme.
        log: what the log holds: numbers of responses, prompts, groups and steps, ``mean_length``, ``accuracy``,
            ``truncation_rate``, ``max_tokens``, ``mean_reward``; None where the log does not say.
        paths: how the log was made a policy, ``"outcome"`` or ``"one"``.
        notes: what was assumed or approximated.
        provenance: what it takes to run it again.
    """

    findings: tuple[Finding, ...]
    log: dict[str, Any]
    paths: str
    notes: tuple[str, ...]
    provenance: dict[str, Any]

    def __getitem__(self, scheme: int | str) -> Finding:
        """A finding by number or by the name of its scheme."""
        if isinstance(scheme, int):
            return self.findings[scheme]
        return next(each for each in self.findings if each.name == scheme)

    @property
    def verdict(self) -> str:
        """The verdict on the first scheme, by name."""
        return f"{self.findings[0].name}: {self.findings[0].verdict}"

    def plot(self) -> Figure:
        """The drift of the schemes, and where that of the first comes from, as a matplotlib figure."""
        from lossim._pictures import plot_audit

        return plot_audit(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        return {"verdict": self.verdict, "log": self.log, "paths": self.paths, "notes": list(self.notes),
                "findings": [each.to_dict() for each in self.findings], "provenance": self.provenance}

    def __str__(self) -> str:
        log = self.log
        parts = [f"{log['responses']:,} responses to {log['prompts']:,} prompts in {log['groups']:,} groups",
                 f"{log['steps']:,} step{'s' * (log['steps'] != 1)}", f"mean length {log['mean_length']:,.4g}",
                 "correctness unknown" if log["accuracy"] is None else f"{log['accuracy']:.1%} correct",
                 f"truncation unknown, longest {log['max_tokens']:,}" if log["truncation_rate"] is None
                 else f"{log['truncation_rate']:.1%} truncated at {log['max_tokens']:,}",
                 f"mean reward {log['mean_reward']:.3g}"]
        lines = [self.verdict, *wrapped("log", parts)]
        if len(self.findings) == 1:
            lines += _table(self.findings[0])[1:]
        else:
            lines += _side_by_side(self.findings)
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])

    __repr__ = __str__

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


def _side_by_side(findings: Sequence[Finding]) -> list[str]:
    """Schemes in the order of their drift, with Cov(A, T) beside it."""
    width = max(len(each.name) for each in findings)
    lines = [f"  {'':<{width}}{'tokens in 0.01 nats':>22}{'Cov(A, T)':>12}{'dead groups':>13}   through"]
    order = sorted(findings, key=lambda each: (np.isnan(float(each.length_per_kl)), float(each.length_per_kl)))
    for each in order:
        through = "" if each.sources is None else _main_sources(each)
        lines.append(f"  {each.name:<{width}}{tokens(each.length_per_kl):>22}{float(each.covariance):>+12.3g}"
                     f"{each.dead_groups:>13.1%}   {through}".rstrip())
    named = [(each.name, note) for each in findings for note in each.notes]
    for note in dict.fromkeys(note for _, note in named):
        who = [name for name, other in named if other == note]
        lines.append(f"  note: {'' if len(who) == len(findings) else ', '.join(who) + ': '}{note}")
    return lines


def _main_sources(finding: Finding) -> str:
    rate = finding.rate
    if np.isnan(rate):
        return ""
    parts = zip(OUTCOMES, finding.source("outcome").value, strict=True)
    return ", ".join(f"{name} {x * rate:+.3g}" for name, x in parts if x)


def _table(finding: Finding) -> list[str]:
    """Everything about one scheme, in a step of 0.01 nats where there is one."""
    drift, rate = finding.drift, finding.rate
    per, unit = (rate, "tokens in 0.01 nats") if np.isfinite(rate) else (1.0, "tokens per unit step")
    lines = [f"{finding.name}: {finding.verdict}", *wrapped("scheme", drift.scheme.slots)]

    def row(label: str, text: str) -> None:
        lines.append(f"  {label:<34}{text:>22}".rstrip())

    row("", unit)
    row("mean length", tokens(drift.length_per_kl if np.isfinite(rate) else drift.length))
    row("  paths change frequency", tokens(drift.composition * per))
    row("  lengths on paths change", tokens(drift.within * per))
    row("P(correct)", tokens(drift.accuracy * per))
    row("P(truncated)", tokens(drift.truncation_rate * per))
    row(f"if {_OTHER[len(drift.policy.class_weight) < len(drift.cells)]}", tokens(finding.if_other_paths))
    if finding.sources is not None:
        axes = [("by outcome", "outcome", OUTCOMES), ("by solve rate of the prompt", "solve rate", SOLVE_RATES)]
        for title, axis, names in axes if finding.graded else []:
            parts = finding.source(axis)
            lines.append(f"  {title}")
            for i, label in enumerate(names):
                if parts.value[i]:
                    row(f"  {label}", tokens(parts[i] * per))
        if finding.source("term").value[1]:
            row("of that, KL", tokens(finding.source("term")[1] * per))
        lines += _by_length(finding, per)
    if finding.by_step is not None:
        lines += _by_step(finding, per)
    row("Cov(A, T), the rule of thumb", tokens(finding.covariance))
    row("dead groups", f"{finding.dead_groups:.1%}")
    if finding.what_if:
        lines.append(f"  {'what if':<46}{'tokens in 0.01 nats':>22}{'Cov(A, T)':>12}")
        lines += [f"    {each.change:<44}{tokens(each.length_per_kl):>22}{float(each.covariance):>+12.3g}"
                  for each in finding.what_if]
    if finding.stops:
        lines.append("  what would stop it" + ("" if finding.significant else " (it is within the noise)"))
        lines += [f"    {each}" for each in finding.stops]
    return lines + [f"  note: {note}" for note in finding.notes]


_OTHER = {True: "it cannot tell right from wrong", False: "it knew right from wrong"}


def _by_length(finding: Finding, per: float) -> list[str]:
    drift = finding.source("length")
    lines = [f"  {'by length':<16}{'responses':>10}{'tokens':>22}{'weight of a token':>19}{'mean advantage':>16}"
             f"{'effective reward':>18}"]
    ends = [*finding.length_bins[1:], None]
    for i, (first, following) in enumerate(zip(finding.length_bins, ends, strict=True)):
        if not finding.share[i]:
            continue
        label = f"{first:,} on" if following is None else f"{first:,} to {following - 1:,}"
        reward = "" if np.isnan(finding.effective_reward[i]) else f"{finding.effective_reward[i]:+.3g}"
        lines.append(f"    {label:<14}{finding.share[i]:>10.1%}{tokens(drift[i] * per):>22}"
                     f"{finding.token_weight[i]:>19.3g}{finding.mean_advantage[i]:>+16.3g}{reward:>18}".rstrip())
    return lines


def _by_step(finding: Finding, per: float) -> list[str]:
    assert finding.by_step is not None
    lines, shown = [f"  {'by step':<34}{'tokens':>22}"], len(finding.steps)
    for i in np.unique(np.linspace(0, shown - 1, min(shown, 8)).astype(int)):
        first, last = finding.steps[i]
        label = f"{first}" if first == last else f"{first} to {last}"
        lines.append(f"    {label:<32}{tokens(finding.by_step[int(i)] * per):>22}")
    return lines + ([f"    ({shown - 8} runs of steps between these are in by_step)"] if shown > 8 else [])
