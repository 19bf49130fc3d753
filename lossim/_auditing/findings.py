"""What an audit found on a log."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

from lossim._auditing.log import SOLVE_RATES, widening
from lossim._auditing.tables import OUTCOMES, about_log, numbers_of, shared_notes, side_by_side, tokens
from lossim._engine import Drift
from lossim._support import checks
from lossim._support.plain import plain
from lossim._support.text import Sections, noted, page, wrapped
from lossim._support.types import FloatArray
from lossim.estimates import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Audit", "Finding", "Stop", "WhatIf"]

AXES = ("term", "outcome", "solve rate", "length")


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
        others = tuple(i for i, name in enumerate(AXES) if name != axis)
        value = self.sources.value.sum(axis=others)
        drawn = self._drawn(axis)
        stderr = np.full(value.shape, np.nan)
        if drawn is not None:
            stderr = widening(self.blocks) * drawn.std(axis=0, ddof=1)
        return Estimate(value=value, stderr=stderr, n=self.sources.n, method="bootstrap")

    def _drawn(self, axis: str) -> FloatArray | None:
        """Contributions along one axis in each redrawn log, [replicate, part]; None if none was drawn."""
        if self.source_draws is None or self.rate_draws is None:
            return None
        if axis == "solve rate":
            return self.rate_draws
        kept = ("replicate", *(name for name in AXES if name != "solve rate"))
        others = tuple(i for i, name in enumerate(kept) if name not in ("replicate", axis))
        return self.source_draws.sum(axis=others)

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
            said += f", {tokens(self.length_per_kl)} tokens in a step of 0.01 nats"
        if np.isnan(float(self.length.stderr)):
            said += " (no error bar)"
        through = self._through
        if through is not None:
            said += f", mostly through {through} responses"
        return said

    @property
    def _through(self) -> str | None:
        """The outcome that most of the drift comes from, if one stands out."""
        if self.sources is None or not self.graded:
            return None
        by_outcome = self.source("outcome").value * np.sign(float(self.length))
        second, first = np.argsort(by_outcome)[-2:]
        if by_outcome[first] > 1.5 * max(by_outcome[second], 0.0):
            return OUTCOMES[first]
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        axes: dict[str, Any] = {}
        if self.sources is not None:
            axes = {axis: self.source(axis).to_dict() for axis in AXES}
        by_step = None if self.by_step is None else self.by_step.to_dict()
        what_if = [{"change": each.change, "length_per_kl": each.length_per_kl.to_dict(),
                    "length": each.length.to_dict(), "covariance": each.covariance.to_dict()} for each in self.what_if]
        return {
            "scheme": self.name, "verdict": self.verdict, "drift": self.drift.to_dict(arrays=False), "sources": axes,
            "solve_rates": list(SOLVE_RATES), "length_bins": list(self.length_bins), "share": plain(self.share),
            "token_weight": plain(self.token_weight), "mean_advantage": plain(self.mean_advantage),
            "effective_reward": plain(self.effective_reward), "covariance": self.covariance.to_dict(),
            "dead_groups": self.dead_groups, "graded": self.graded, "steps": [list(run) for run in self.steps],
            "by_step": by_step, "if_other_paths": self.if_other_paths.to_dict(), "what_if": what_if,
            "stops": [asdict(each) for each in self.stops], "notes": list(self.notes)}

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: verdict, setting, numbers, notes."""
        return {"verdict": [f"{self.name}: {self.verdict}"], "setting": wrapped("scheme", self.drift.scheme.slots),
                "numbers": list(numbers_of(self)), "notes": noted(self.notes)}

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
        said = {"verdict": [self.verdict], "log": wrapped("log", about_log(self.log))}
        if len(self.findings) == 1:
            finding = self.findings[0].sections()
            said |= {name: finding[name] for name in ("setting", "numbers")}
            notes = finding["notes"]
        else:
            said["numbers"] = side_by_side(self.findings)
            notes = noted(shared_notes(self.findings))
        return said | {"notes": notes + noted(self.notes)}

    def __str__(self) -> str:
        return page(self.sections())

    __repr__ = __str__
