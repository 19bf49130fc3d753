"""The results of ``fit``: a policy fitted to a log, its classes, and drifts and runs with intervals over refits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

import numpy as np
from scipy.special import ndtri

from lossim._display import Page, Result
from lossim._engine import Drift, drift
from lossim._fitting.estimator import Fitter
from lossim._fitting.shown import (
    LABELS,
    LEVEL,
    NUMBERS,
    OF_A_LOG,
    band_of,
    classes_table,
    drift_shown,
    fit_shown,
    fitted_numbers,
    training_shown,
)
from lossim._model import Kernel
from lossim._support import checks
from lossim._support.plain import plain
from lossim._support.progress import Progress
from lossim._support.text import Columns, Sections, noted
from lossim._support.types import FloatArray
from lossim._support.verdicts import AtOneShare, over_readings, over_shares, unless
from lossim._training import Training, train
from lossim.estimates import Estimate
from lossim.policies import Policy
from lossim.rewards import Reward
from lossim.schemes import Scheme


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FittedDrift(Result):
    """The drift on a fitted policy, and how far it is known from a log of this size.

    Standard errors are standard deviations over refits to the log with its prompts drawn again, with replacement, all
    responses of a prompt together. They say nothing of what the model leaves out.

    Attributes:
        drift: the :class:`~lossim.Drift` of the fitted policy.
        length, length_per_kl, accuracy, truncation_rate: its numbers of these names, with that standard error.
        replicates: the same numbers of each refit, name → [refit].
        failed: refits that have none, because the fit or the drift cannot be computed.
        over_needed: shares of a right response that may have been needed, each with the drift if it was, where the fit
            had to take one; else none.
        if_cut_done: the same if truncated responses, too, had their answer from that share of their length on.
        if_other_paths: of a fit by outcome the drift if it cannot tell right from wrong responses, the joint law of
            length and grade being the same; else None.
        all_alike: whether the scheme pays all responses to a prompt alike, in a log that compares them: then the log
            itself moves nothing.
        notes: what was assumed in the fit and in the drift.
    """

    drift: Drift
    length: Estimate
    length_per_kl: Estimate
    accuracy: Estimate
    truncation_rate: Estimate
    replicates: dict[str, FloatArray]
    failed: int
    over_needed: tuple[tuple[float, Drift], ...]
    if_cut_done: tuple[tuple[float, Drift], ...]
    if_other_paths: Drift | None
    all_alike: bool
    notes: tuple[str, ...]

    def interval(self, name: str = "length_per_kl", level: float = LEVEL) -> tuple[float, float]:
        """Bounds that hold the number of the true policy in about ``level`` of logs: its value and z standard errors.

        In fewer of small logs: 79 % instead of 90 % for PPO's length_per_kl with 150 prompts of 8
        (``docs/derivations.md``, section 17). ``name`` is one of length, length_per_kl, accuracy and truncation_rate.
        """
        number: Estimate = getattr(self, checks.choice("name", name, NUMBERS))
        z = float(ndtri(0.5 + checks.in_interval("level", level, 0.0, 0.9999) / 2.0))
        return float(number) - z * float(number.stderr), float(number) + z * float(number.stderr)

    @property
    def verdict(self) -> str:
        """Which way mean length goes, if the log is large enough to tell."""
        return self.drift.verdict if self._hangs is None else self._hangs + unless(self.drift.doubts)

    @property
    def _hangs(self) -> str | None:
        """What the log does not tell, where that decides; None where nothing does."""
        if self.all_alike:
            return ("nothing moves: the responses to each prompt of the log are paid alike; what drift the fit has is "
                    "made by smoothing alone")
        if _signs(self.over_needed + self.if_cut_done) > 1:
            return over_shares(self._told)
        low, high = self.interval()
        if np.isfinite(low) and low <= 0.0 <= high:
            return f"the log is too small to tell which way length goes ({low:+.3g} to {high:+.3g} tokens in 0.01 nats)"
        other = self.if_other_paths
        if other is not None and _sign(other) * _sign(self.drift) < 0:
            return over_readings({paths: (_sign(each), _tokens(each))
                                  for paths, each in (("outcome", self.drift), ("one", other))})
        return None

    @property
    def _told(self) -> list[AtOneShare]:
        """The drifts over needed shares in words; cut responses worked to the end where nobody asks."""
        done = dict(self.if_cut_done)
        return [AtOneShare(share=share, way=_sign(each), said=_tokens(each),
                           way_if_cut_done=_sign(cut), said_if_cut_done=_tokens(cut))
                for share, each in self.over_needed for cut in [done.get(share, each)]]

    def _page(self) -> Page:
        return self._paged(self.drift.scheme.name, *drift_shown(self))

    def _columns(self) -> dict[str, Any]:
        return fitted_numbers(self)

    def save(self, path: str | PathLike[str], *, arrays: bool = True) -> None:
        """Write it to a file that :func:`lossim.load` reads; ``arrays`` as in :meth:`to_dict`."""
        self._keep(path, self.to_dict(arrays=arrays))

    def to_dict(self, *, arrays: bool = True) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON; ``arrays`` as in :meth:`lossim.Drift.to_dict`."""
        return {name: getattr(self, name).to_dict() for name in NUMBERS} | {
            "drift": self.drift.to_dict(arrays=arrays), "failed": self.failed, "notes": list(self.notes),
            "over_needed": [{"share": share, "length_per_kl": plain(float(each.length_per_kl)),
                             "needed": float(each.needed), "free": float(each.free)}
                            for share, each in self.over_needed],
            "if_cut_done": [{"share": share, "length_per_kl": plain(float(each.length_per_kl))}
                            for share, each in self.if_cut_done],
            "if_other_paths": None if self.if_other_paths is None else plain(float(self.if_other_paths.length_per_kl)),
            "all_alike": self.all_alike, "verdict": self.verdict, "replicates": plain(self.replicates)}

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: verdict, numbers, notes."""
        table = Columns("<26", ">12", ">12", ">28")
        lines = [table.row("", "", "± stderr", f"{LEVEL:.0%} interval")]
        for key, label in LABELS.items():
            number = getattr(self, key)
            low, high = self.interval(key)
            lines.append(table.row(label, f"{float(number):+.4g}", f"{float(number.stderr):.2g}",
                                   f"{low:+.4g} to {high:+.4g}"))
        for share, each in self.over_needed:
            part = f"{float(each.needed) / float(each.length):.0%} of it needed" if float(each.length) else ""
            lines.append(table.row(f"if {share:.3g} was needed", f"{float(each.length_per_kl):+.4g}", "", part))
        for share, each in self.if_cut_done:
            lines.append(table.row(f"  cut ones done at {share:.3g}", f"{float(each.length_per_kl):+.4g}", "", ""))
        if self.if_other_paths is not None:
            lines.append(table.row("if it cannot tell which", f"{float(self.if_other_paths.length_per_kl):+.4g}"))
        failed = f", {self.failed:,} more failed" if self.failed else ""
        lines.append(f"  from {len(self.replicates['length']):,} refits{failed}")
        return {"verdict": [f"{self.drift.scheme.name}: {self.verdict}"], "numbers": lines, "notes": noted(self.notes)}


def _signs(drifts: Sequence[tuple[float, Drift]]) -> int:
    """How many ways length goes."""
    return len({_sign(each) for _, each in drifts})


def _sign(drift: Drift) -> int:
    """Which way length goes: 1, -1, or 0 where that is a rounding error."""
    length = float(drift.length)
    return int(np.sign(length)) if abs(length) > float(drift.length.error) else 0


def _tokens(drift: Drift) -> str:
    return f"{float(drift.length_per_kl):+.3g}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FittedTraining(Result):
    """A run from a fitted policy, and a band of runs from refits to the log with its prompts drawn again.

    Attributes:
        training: the :class:`~lossim.Training` from the fitted policy.
        low, high: mean length, tokens, [step + 1]: 5 % of the refits are below ``low`` and 5 % above ``high``.
        lengths: mean length of each refit's run, [refit, step + 1].
        failed: refits whose run cannot be computed or ends earlier.
        notes: what was assumed in the fit and in the run.
    """

    training: Training
    low: FloatArray
    high: FloatArray
    lengths: FloatArray
    failed: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        return {"training": self.training.to_dict(), "low": plain(self.low), "high": plain(self.high),
                "lengths": plain(self.lengths), "failed": self.failed, "notes": list(self.notes)}

    def _page(self) -> Page:
        return self._paged(self.training.scheme.name, *training_shown(self))

    def _columns(self) -> dict[str, Any]:
        """Steps of the run from the fitted policy, with the band over refits in ``low`` and ``high``."""
        steps = self.training._columns()
        place = steps["step"]
        return {**steps, "low": self.low[place], "high": self.high[place]}

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: those of the run, then the band and the notes."""
        return {**self.training.sections(), "band": [band_of(self)], "fit": noted(self.notes, indent=0)}


def _tried(policies: Iterator[Policy | None], compute: Callable[[Policy], FloatArray | None]
           ) -> tuple[list[FloatArray], int]:
    """The rows of the refits for which they can be computed, and how many have none."""
    rows = []
    for policy in policies:
        try:
            rows.append(None if policy is None else compute(policy))
        except (ValueError, ArithmeticError, NotImplementedError):
            rows.append(None)
    known = [row for row in rows if row is not None]
    return known, len(rows) - len(known)


@dataclass(frozen=True, kw_only=True)
class FittedClass:
    """A class of prompts: its share of them, and what its responses are like.

    Attributes:
        name: by the log, or by solve rate.
        weight: share of prompts; ``prompts`` is that many of the log's.
        solve_rate: P(correct), truncated responses by their grade.
        length: mean length, tokens, of correct and incorrect responses that stopped, and of truncated ones; NaN where
            there are none.
        truncation_rate: P(truncated).
    """

    name: str
    weight: float
    prompts: float
    solve_rate: float
    length: tuple[float, float, float]
    truncation_rate: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Fit(Result):
    """A policy fitted to a log, and what the log and the fit say of it.

    Attributes:
        policy: the :class:`~lossim.Policy`, with the coordinates it was asked for.
        classes: a :class:`FittedClass` for each class of prompts.
        rewards: mean logged reward by outcome, "correct", "incorrect" and "truncated"; NaN where there are none.
        reward: a :class:`~lossim.Reward` that pays them. A scheme keeps its own reward unless it is given this one,
            ``dataclasses.replace(scheme, reward=fit.reward)``.
        logged, fitted: mean length (tokens), P(correct) and P(truncated) over the log's responses, and of the policy.
            They differ where prompts have different numbers of responses: prompts count alike in the policy.
        replicates: refits that standard errors are taken over.
        over_needed: the policy for each share of a right response that may have been needed, where ``policy`` had to
            take one; else none.
        if_cut_done: the same if truncated responses, too, had their answer from that share of their length on.
        notes: what was assumed.
        provenance: what it takes to fit again.
    """

    policy: Policy
    classes: tuple[FittedClass, ...]
    rewards: dict[str, float]
    reward: Reward
    logged: dict[str, float]
    fitted: dict[str, float]
    replicates: int
    over_needed: tuple[tuple[float, Policy], ...]
    if_cut_done: tuple[tuple[float, Policy], ...]
    notes: tuple[str, ...]
    provenance: dict[str, Any]
    _fitter: Fitter

    def refits(self, count: int | None = None, *, progress: bool = False) -> Iterator[Policy | None]:
        """Policies fitted to the log with its prompts drawn again, with replacement; None where that cannot be fitted.

        They are the same each time, and computed once; ``count`` at most ``replicates``, all unless given.
        """
        if count is not None and checks.whole("count", count, low=0) > self.replicates:
            checks.fail("refits", count, f"must be at most {self.replicates}, the replicates of the fit",
                        "fit with more replicates")
        checks.flag("progress", progress)
        return self._refitted(self.replicates if count is None else count, progress)

    def _refitted(self, total: int, progress: bool) -> Iterator[Policy | None]:
        with Progress(progress) as report:
            for number in range(total):
                yield self._fitter.refit(number)
                report.say(f"refit {number + 1:,} of {total:,}")

    def drift(self, scheme: Scheme, *, refits: int | None = None, progress: bool = False, **keywords: Any
              ) -> FittedDrift:
        """:func:`lossim.drift` on the fitted policy, with standard errors over refits (all unless ``refits`` says).

        The reward is the scheme's own, not that of the log; other keywords are those of :func:`lossim.drift`.
        """
        here = drift(scheme, self.policy, **keywords)

        def numbers(policy: Policy) -> FloatArray:
            found = drift(scheme.settled, policy, **keywords)
            return np.array([float(getattr(found, name)) for name in NUMBERS])

        rows, failed = _tried(self.refits(refits, progress=progress), numbers)
        columns = np.array(rows).reshape(len(rows), len(NUMBERS)).T
        estimates = {}
        for name, column in zip(NUMBERS, columns, strict=True):
            known = column[np.isfinite(column)]
            stderr = float(known.std(ddof=1)) if len(known) > 1 else np.nan
            estimates[name] = Estimate(value=float(getattr(here, name)), stderr=stderr, n=len(known),
                                       method="bootstrap")
        over, if_cut_done = (
            tuple((share, here if policy is self.policy else drift(scheme.settled, policy, **keywords))
                  for share, policy in policies) for policies in (self.over_needed, self.if_cut_done))
        return FittedDrift(drift=here, **estimates, failed=failed, over_needed=over, if_cut_done=if_cut_done,
                           if_other_paths=self._if_one_path(scheme, keywords),
                           all_alike=keywords.get("reference") is None and self._fitter.all_alike(scheme),
                           notes=self.notes + here.notes, replicates=dict(zip(NUMBERS, columns, strict=True)))

    def _if_one_path(self, scheme: Scheme, keywords: dict[str, Any]) -> Drift | None:
        """The drift if the policy cannot tell right from wrong responses, of a fit in which it can.

        A kernel has numbers for the cells that were measured, and policies to compare with have cells of their own.
        """
        compared = any(keywords.get(name) is not None for name in ("old_policy", "reference"))
        if self._fitter.paths != "outcome" or compared or isinstance(self.policy.coordinates, Kernel):
            return None
        return drift(scheme.settled, self.policy.with_paths("one"), **keywords)

    def train(self, scheme: Scheme, *, steps: int, refits: int = 20, progress: bool = False, **keywords: Any
              ) -> FittedTraining:
        """:func:`lossim.train` from the fitted policy, with a band of runs from ``refits``.

        The reward is the scheme's own; other keywords, as ``optimizer``, are those of :func:`lossim.train`.
        """
        checks.whole("refits", refits, low=0)
        here = train(scheme, self.policy, steps=steps, **keywords)
        count = len(here.length)

        def lengths(policy: Policy) -> FloatArray | None:
            run = train(scheme, policy, steps=steps, **keywords)
            series = run.length if run.replicates is None else run.length.mean(axis=1)
            return series[:count] if len(series) >= count else None

        rows, failed = _tried(self.refits(min(refits, self.replicates), progress=progress), lengths)
        low, high = np.quantile(rows, (0.05, 0.95), axis=0) if rows else np.full((2, count), np.nan)
        return FittedTraining(training=here, low=low, high=high, lengths=np.array(rows).reshape(len(rows), count),
                              failed=failed, notes=self.notes)

    def _page(self) -> Page:
        return self._paged("fit", *fit_shown(self))

    def _columns(self) -> dict[str, Any]:
        return classes_table(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON (None for NaN)."""
        return {"classes": plain([asdict(each) for each in self.classes]), "rewards": plain(self.rewards),
                "logged": self.logged, "fitted": self.fitted, "max_tokens": self.policy.max_tokens,
                "replicates": self.replicates, "notes": list(self.notes), "provenance": self.provenance}

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: fit, classes, notes."""
        paid = [f"{x:.3g} if {name}" for name, x in self.rewards.items() if np.isfinite(x)]
        table = Columns("<24", ">10", ">10")
        fitted = [f"fit of {self.provenance['responses']:,} responses to {self.provenance['prompts']:,} prompts, "
                  f"max_tokens {self.policy.max_tokens:,}", table.row("", "log", "fit")]
        for key, label in OF_A_LOG.items():
            fitted.append(table.row(label, f"{self.logged[key]:.4g}", f"{self.fitted[key]:.4g}"))
        fitted.append(f"  mean reward: {', '.join(paid)}")

        widest = max(len(each.name) for each in self.classes)
        table = Columns(f"<{max(10, widest + 2)}", ">8", ">9", ">12", ">9", ">20", ">14")
        classes = [table.row("class", "weight", "prompts", "P(correct)", "P(cut)", "tokens if correct", "if incorrect")]
        for each in self.classes:
            right, wrong = ("" if np.isnan(x) else f"{x:.4g}" for x in each.length[:2])
            classes.append(table.row(each.name, f"{each.weight:.3f}", f"{each.prompts:,.0f}", f"{each.solve_rate:.3f}",
                                     f"{each.truncation_rate:.3f}", right, wrong))
        return {"fit": fitted, "classes": classes, "notes": noted(self.notes)}
