"""What an audit found on a log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

from lossim._auditing.log import SOLVE_RATES, widening
from lossim._engine import Drift
from lossim._support import checks
from lossim._support.plain import plain
from lossim._support.text import Columns, Sections, decimals, noted, number, page, wrapped
from lossim._support.types import FloatArray, Outcome
from lossim.estimates import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
        if self.needed is None:
            return f"{self.knob}: {self.note}"
        now = "" if self.now is None else f" (now {self.now:.4g})"
        note = f"; {self.note}" if self.note else ""
        return f"{self.knob}: {self.needed:.4g}{now}{note}"


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
        value = self.sources.value.sum(axis=tuple(i for i, name in enumerate(AXES) if name != axis))
        stderr = np.full(value.shape, np.nan)
        if self.source_draws is not None and self.rate_draws is not None:
            drawn = self.rate_draws
            if axis != "solve rate":
                kept = ("replicate", "term", "outcome", "length")
                drawn = self.source_draws.sum(axis=tuple(i for i, name in enumerate(kept) if i and name != axis))
            stderr = widening(self.blocks) * drawn.std(axis=0, ddof=1)
        return Estimate(value=value, stderr=stderr, n=self.sources.n, method="bootstrap")

    @property
    def rate(self) -> float:
        """Step size of 0.01 nats: what turns numbers per unit step into numbers in such a step; NaN if none."""
        if not float(self.length):
            return np.nan
        return float(self.length_per_kl) / float(self.length)

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
            return "nothing moves: all groups are dead" if dead else "nothing moves"
        if not self.significant:
            return "no drift of mean length" + (" beyond the noise of this log" if float(self.length) else "")
        said = "responses get longer" if float(self.length) > 0 else "responses get shorter"
        if not np.isnan(float(self.length_per_kl)):
            said += f", {_tokens(self.length_per_kl)} tokens in a step of 0.01 nats"
        if np.isnan(float(self.length.stderr)):
            said += " (no error bar)"
        if self.sources is not None and self.graded:
            by_outcome = self.source("outcome").value * np.sign(float(self.length))
            second, first = np.argsort(by_outcome)[-2:]
            if by_outcome[first] > 1.5 * max(by_outcome[second], 0.0):
                said += f", mostly through {OUTCOMES[first]} responses"
        return said

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        numbers = ("solve_rates", "length_bins", "share", "token_weight", "mean_advantage", "effective_reward",
                   "covariance", "dead_groups", "graded", "steps", "by_step", "if_other_paths", "what_if", "stops")
        return {"scheme": self.name, "verdict": self.verdict, "drift": self.drift.to_dict(arrays=False),
                "sources": {axis: self.source(axis).to_dict() for axis in AXES if self.sources is not None},
                **{name: _plain(getattr(self, name)) for name in numbers}, "notes": list(self.notes)}

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: verdict, setting, numbers, notes."""
        return {"verdict": [f"{self.name}: {self.verdict}"], "setting": wrapped("scheme", self.drift.scheme.slots),
                "numbers": list(_numbers(self)), "notes": noted(self.notes)}

    def __str__(self) -> str:
        return page(self.sections())

    __repr__ = __str__


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

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: verdict, log, setting, numbers, notes.

        Of several schemes the numbers stand side by side, and no setting is printed.
        """
        said = {"verdict": [self.verdict], "log": wrapped("log", _about_log(self.log))}
        if len(self.findings) == 1:
            finding = self.findings[0].sections()
            said |= {name: finding[name] for name in ("setting", "numbers")}
            notes = finding["notes"]
        else:
            said["numbers"] = _side_by_side(self.findings)
            # Each note once, with the names of those it is about unless it is about all.
            notes = []
            for note in dict.fromkeys(note for each in self.findings for note in each.notes):
                named = [each.name for each in self.findings if note in each.notes]
                everyone = len(named) == len(self.findings)
                notes += noted([note if everyone else f"{', '.join(named)}: {note}"])
        return said | {"notes": notes + noted(self.notes)}

    def __str__(self) -> str:
        return page(self.sections())

    __repr__ = __str__


def _plain(x: Any) -> Any:
    """What strict JSON can hold of a number, an estimate, or a record of them."""
    if isinstance(x, Estimate):
        return x.to_dict()
    if isinstance(x, WhatIf | Stop):
        return {name: _plain(each) for name, each in vars(x).items()}
    return [_plain(each) for each in x] if isinstance(x, tuple) else plain(x)


# --- tables -----------------------------------------------------------------------------------------------------

_ROWS = Columns("<34", ">22")
_CHANGES = Columns("<46", ">22", ">12")
_LENGTHS = Columns("<16", ">10", ">22", ">19", ">16", ">18")


def _tokens(x: Estimate) -> str:
    """A number of tokens, or whatever is told in its unit, to three digits with its standard error."""
    if np.isnan(float(x)):
        return "not told from noise" if x.n else "unknown"
    if np.isnan(float(x.stderr)):
        return f"{float(x):+.3g}"
    return number(x, decimals(max(abs(float(x)), float(x.stderr)), 3))


def _about_log(log: dict[str, Any]) -> list[str]:
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


def _side_by_side(findings: Sequence[Finding]) -> list[str]:
    """Schemes in the order of their drift, those without one last; with Cov(A, T), and contributions by outcome."""
    table = Columns(f"<{max(len(each.name) for each in findings)}", ">22", ">12", ">13", "<")
    lines = [table.row("", "tokens in 0.01 nats", "Cov(A, T)", "dead groups", "   through")]
    for each in sorted(findings, key=lambda each: (np.isnan(float(each.length_per_kl)), float(each.length_per_kl))):
        through = ""
        if each.sources is not None and not np.isnan(each.rate):
            parts = zip(OUTCOMES, each.source("outcome").value, strict=True)
            through = ", ".join(f"{name} {x * each.rate:+.3g}" for name, x in parts if x)
        lines.append(table.row(each.name, _tokens(each.length_per_kl), f"{float(each.covariance):+.3g}",
                               f"{each.dead_groups:.1%}", f"   {through}"))
    return lines


def _numbers(finding: Finding) -> Iterator[str]:
    """Everything about one scheme, in a step of 0.01 nats if there is one, per unit step otherwise."""
    drift = finding.drift
    if np.isfinite(finding.rate):
        per = finding.rate
        yield _ROWS.row("", "tokens in 0.01 nats")
        yield _ROWS.row("mean length", _tokens(drift.length_per_kl))
    else:
        per = 1.0
        yield _ROWS.row("", "tokens per unit step")
        yield _ROWS.row("mean length", _tokens(drift.length))
    for label, x in (("  paths change frequency", drift.composition), ("  lengths on paths change", drift.within),
                     ("P(correct)", drift.accuracy), ("P(truncated)", drift.truncation_rate)):
        yield _ROWS.row(label, _tokens(x * per))
    one_path = len(drift.cells) == len(drift.policy.class_weight)
    other = "it knew right from wrong" if one_path else "it cannot tell right from wrong"
    yield _ROWS.row(f"if {other}", _tokens(finding.if_other_paths))
    yield from _by_source(finding, per)
    if finding.by_step is not None:
        yield _ROWS.row("by step", "tokens")
        # At most eight of the runs.
        count = len(finding.steps)
        for i in np.unique(np.linspace(0, count - 1, min(count, 8)).astype(int)):
            first, last = finding.steps[i]
            label = f"{first}" if first == last else f"{first} to {last}"
            yield _ROWS.row(f"  {label}", _tokens(finding.by_step[int(i)] * per))
        if count > 8:
            yield f"    ({count - 8} runs of steps between these are in by_step)"
    yield _ROWS.row("Cov(A, T), the rule of thumb", _tokens(finding.covariance))
    yield _ROWS.row("dead groups", f"{finding.dead_groups:.1%}")
    if finding.what_if:
        yield _CHANGES.row("what if", "tokens in 0.01 nats", "Cov(A, T)")
        for each in finding.what_if:
            yield _CHANGES.row(f"  {each.change}", _tokens(each.length_per_kl), f"{float(each.covariance):+.3g}")
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
                    yield _ROWS.row(f"  {name}", _tokens(parts[i] * per))
    kl = finding.source("term")[1]
    if float(kl):
        yield _ROWS.row("of that, KL", _tokens(kl * per))
    # By length, with what explains it: how many responses, how heavy a token, how good.
    by_length = finding.source("length")
    yield _LENGTHS.row("by length", "responses", "tokens", "weight of a token", "mean advantage", "effective reward")
    following = [*finding.length_bins[1:], None]
    for i, (first, after) in enumerate(zip(finding.length_bins, following, strict=True)):
        if not finding.share[i]:
            continue
        label = f"{first:,} on" if after is None else f"{first:,} to {after - 1:,}"
        reward = "" if np.isnan(finding.effective_reward[i]) else f"{finding.effective_reward[i]:+.3g}"
        yield _LENGTHS.row(f"  {label}", f"{finding.share[i]:.1%}", _tokens(by_length[i] * per),
                           f"{finding.token_weight[i]:.3g}", f"{finding.mean_advantage[i]:+.3g}", reward)
