"""What an audit found on a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

from lossim._auditing.by_path import ByPath
from lossim._auditing.log import SOLVE_RATES, widening
from lossim._auditing.shown import AXES, audit_shown, contributions, finding_shown, schemes_table
from lossim._auditing.words import (
    OUTCOMES,
    about_log,
    by_path_table,
    numbers,
    side_by_side,
    tokens,
)
from lossim._changes import Stop, WhatIf
from lossim._display import Page, Result
from lossim._engine import NO_PACE, Drift, how_far
from lossim._support import checks
from lossim._support.doubts import Doubt, undecided_by
from lossim._support.plain import plain
from lossim._support.text import Sections, noted, wrapped
from lossim._support.types import FloatArray
from lossim._support.verdicts import (
    READINGS,
    WAYS,
    AtOneShare,
    over_doubts,
    over_readings,
    over_shares,
    sizes,
    unless,
)
from lossim.estimates import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALL_DEAD = "unknown: all groups are dead, so no preset that compares responses can be told from this log"

@dataclass(frozen=True, kw_only=True, eq=False)
class AtShare:
    """The same log, if another share of a right response's length was needed.

    Attributes:
        share: that share, in [0, 1].
        length_per_kl: tokens in a step of 0.01 nats.
        length: tokens per unit step; ``needed`` and ``free`` as in :class:`~lossim.Drift`.
        accuracy_per_token: change of P(correct) per token of drift.
        way: 1 for longer, -1 for shorter, 0 where the drift is within the noise.
        if_cut_done, way_if_cut_done: ``length_per_kl`` and ``way`` if truncated responses, too, were done from that
            share of their length on, and went on to the cap.
    """

    share: float
    length_per_kl: Estimate
    length: Estimate
    needed: Estimate
    free: Estimate
    accuracy_per_token: Estimate
    way: int
    if_cut_done: Estimate
    way_if_cut_done: int

    @property
    def ways(self) -> set[int]:
        """Both, whatever truncated responses were."""
        return {self.way, self.way_if_cut_done}

    @property
    def told(self) -> AtOneShare:
        """The same in words."""
        return AtOneShare(share=self.share, way=self.way, said=tokens(self.length_per_kl),
                          way_if_cut_done=self.way_if_cut_done, said_if_cut_done=tokens(self.if_cut_done))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Finding(Result):
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
        dead_groups: share of groups whose rewards are all equal; a group of one is none.
        blocks: prompts, or blocks of prompts, that are drawn again.
        graded: whether it is known which responses are correct; if not, all count as incorrect.
        by_step: [run of steps], contribution per response of each run, tokens per unit step, with the law of the
            whole log; None for a log of one step. ``steps`` names the first and last step of each.
        paths: how the log was made a policy, as :func:`lossim.audit` was told.
        needed_share: of a right response's length, as ``drift`` takes it with ``paths="states"``; None where the log
            says it or it is not asked.
        over_needed: the same log under every needed share where several were asked for; else none.
        if_other_paths: tokens in a step of 0.01 nats if right and wrong responses had a path each, or if the audit had
            those one for both.
        what_if: the same log under other settings.
        stops: what would bring the drift to zero.
        notes: what was assumed or approximated for this scheme.
        asides: what the verdict says besides: whose tokens lengths are, whether they were counted, and the cap where
            it cuts most responses.
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
    paths: str
    needed_share: float | None
    over_needed: tuple[AtShare, ...]
    if_other_paths: Estimate
    what_if: tuple[WhatIf, ...]
    stops: tuple[Stop, ...]
    notes: tuple[str, ...]
    asides: tuple[str, ...]
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
        """Whether the drift is beyond two standard errors (more with few prompts: 95.4 % of Student's t), if known.

        Over several needed shares: whether it is, the same way, under each of them, whatever truncated responses were.
        """
        if self.over_needed:
            return len(self._ways) == 1 and self._ways != {0}
        return beyond_noise(self.length, self.blocks)

    @property
    def all_dead(self) -> bool:
        """Whether all groups are dead under a scheme that compares the responses of a group: the log tells nothing."""
        return self.dead_groups == 1.0 and self.drift.scheme.advantage.group_relative

    @property
    def undecided(self) -> bool:
        """Whether the way that length goes hangs on what the log does not tell.

        That is whether responses know their outcome (``paths`` "outcome" and "one"), the needed share, whether
        truncated responses had their answer, what an entropy bonus does to content, or on any of the ``doubts``.
        """
        entropy = self.significant and self.drift.scheme.entropy is not None
        return len(self._ways) > 1 or entropy or bool(undecided_by(self.doubts))

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """What is not known, and ``length_per_kl`` under each thing that it may be."""
        if self.paths not in ("outcome", "one") or np.isnan(float(self.if_other_paths)):
            return self.drift.doubts
        # What is within the noise of its own reading turns nothing.
        told = {paths: float(x) if beyond_noise(x, self.blocks) else np.nan for paths, x in self._readings.items()}
        return (*self.drift.doubts, Doubt(unknown="reading", options=tuple(READINGS[paths] for paths in told),
                                          lengths=np.array(list(told.values()))))

    @property
    def _readings(self) -> dict[str, Estimate]:
        """``length_per_kl`` by whether responses know their outcome."""
        other = "one" if self.paths == "outcome" else "outcome"
        return {self.paths: self.length_per_kl, other: self.if_other_paths}

    @property
    def _ways(self) -> set[int]:
        """Which ways length goes, over needed shares and what truncated responses were."""
        return set[int]().union(*(each.ways for each in self.over_needed))

    @property
    def verdict(self) -> str:
        """Which way mean length goes, and through which responses, in one sentence."""
        return "; ".join([self._said + unless(self.doubts), *self.asides])

    @property
    def _said(self) -> str:
        """The same but for what nobody knows of the scheme, and what to know of the log."""
        unsure = undecided_by(self.doubts)
        if not np.any(self.drift.update.value) and not unsure:
            return ALL_DEAD if self.all_dead else "nothing moves"
        if self.significant and self.drift.scheme.entropy is not None:
            rest = float(self.length) - float(self.drift.source(term="entropy"))
            return f"undecided: entropy also acts on content; all else makes responses {WAYS[int(np.sign(rest)) or -1]}"
        if [doubt.unknown for doubt in unsure] == ["reading"]:
            return over_readings({paths: (int(np.sign(float(x))), tokens(x)) for paths, x in self._readings.items()})
        if unsure and len(self._ways) <= 1:
            aside = "" if self.drift.paced is None else self.drift.paced.aside
            return over_doubts(unsure, self.drift.range) + aside
        if self.over_needed:
            return over_shares([each.told for each in self.over_needed]) + sizes(self.doubts)
        if not self.significant:
            beyond = " beyond the noise of this log" if float(self.length) else ""
            return f"no drift of mean length{beyond}{sizes(self.doubts)}"
        said = f"responses get {WAYS[int(np.sign(float(self.length)))]}"
        said += how_far(self.drift, tokens(self.length_per_kl))
        if np.isnan(float(self.length.stderr)):
            said += " (no error bar)"
        if self.sources is not None and self.graded:
            by_outcome = self.source("outcome").value * np.sign(float(self.length))
            second, first = np.argsort(by_outcome)[-2:]
            if by_outcome[first] > 1.5 * max(by_outcome[second], 0.0):
                said += f", mostly through {OUTCOMES[first]} responses"
        return said

    def _page(self) -> Page:
        return self._paged(self.name, *finding_shown(self))

    def _columns(self) -> dict[str, Any]:
        return contributions(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        fields = ("solve_rates", "length_bins", "share", "token_weight", "mean_advantage", "effective_reward",
                   "covariance", "dead_groups", "graded", "steps", "by_step", "paths", "needed_share", "over_needed",
                  "if_other_paths", "what_if", "stops")
        return {"scheme": self.name, "verdict": self.verdict, "drift": self.drift.to_dict(arrays=False),
                "sources": {axis: self.source(axis).to_dict() for axis in AXES if self.sources is not None},
                **{name: _plain(getattr(self, name)) for name in fields}, "notes": list(self.notes)}

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: verdict, setting, numbers, notes."""
        pace = NO_PACE if self.drift.paced is None else str(self.drift.paced.pace)
        setting = [*wrapped("scheme", self.drift.scheme.slots), *wrapped("pace", [pace])]
        return {"verdict": [f"{self.name}: {self.verdict}"], "setting": setting,
                "numbers": list(numbers(self)), "notes": noted(self.notes)}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Audit(Result):
    """What schemes do to mean length on a log; see :func:`lossim.audit`.

    Attributes:
        findings: one for each scheme.
        log: what the log holds: numbers of responses, prompts, groups and steps, ``mean_length``, ``accuracy``,
            ``truncation_rate``, ``max_tokens``, ``mean_reward``; None where the log does not say.
        paths: how the log was made a policy, ``"outcome"``, ``"one"``, ``"states"`` or ``"column"``.
        by_path: how often each named path was taken over the steps, and how often it was right; None without names.
        notes: what was assumed or approximated.
        provenance: what it takes to run it again.
    """

    findings: tuple[Finding, ...]
    log: dict[str, Any]
    paths: str
    by_path: ByPath | None
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

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest drift of the first scheme over all doubts, tokens in a step of 0.01 nats."""
        return self.findings[0].drift.range

    def plot(self, ax: Axes | Sequence[Axes] | None = None) -> Figure:
        """Where the drift of the first scheme comes from by length, and the drift otherwise: two panels.

        Args:
            ax: where to draw, one matplotlib Axes or several: the first panel goes to the first, and so on. A figure of
                its own, the panels one above the other, unless given.

        Returns:
            The figure that it is drawn in, also where axes were given. ``.savefig(path)`` writes it, and a notebook
            shows it.
        """
        from lossim._pictures import plot_audit

        return plot_audit(self, ax)

    def _page(self) -> Page:
        return self._paged(", ".join(each.name for each in self.findings), *audit_shown(self))

    def _columns(self) -> dict[str, Any]:
        return schemes_table(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        return {"verdict": self.verdict, "log": self.log, "paths": self.paths,
                "by_path": None if self.by_path is None else self.by_path.to_dict(), "notes": list(self.notes),
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
            # Each note once, with the names of those it is about unless it is about all.
            notes = []
            for note in dict.fromkeys(note for each in self.findings for note in each.notes):
                named = [each.name for each in self.findings if note in each.notes]
                everyone = len(named) == len(self.findings)
                notes += noted([note if everyone else f"{', '.join(named)}: {note}"])
        if self.by_path is not None:
            said["numbers"] = said["numbers"] + by_path_table(self.by_path)
        return said | {"notes": notes + noted(self.notes)}


def beyond_noise(length: Estimate, blocks: int) -> bool:
    """Whether a drift is beyond two standard errors, more with few blocks of prompts; yes without an error bar."""
    bar = float(stdtrit(max(blocks - 1, 1), 0.977)) * float(length.stderr)
    return bool(abs(float(length)) > np.nan_to_num(bar))


def _plain(x: Any) -> Any:
    """What strict JSON can hold of a number, an estimate, or a record of them."""
    if isinstance(x, Estimate):
        return x.to_dict()
    if isinstance(x, WhatIf | Stop):
        return x.to_dict()
    if isinstance(x, AtShare):
        return {name: _plain(each) for name, each in vars(x).items()}
    return [_plain(each) for each in x] if isinstance(x, tuple) else plain(x)
