"""The result of ``train``: what a run did to length, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lossim._display import Page, Result
from lossim._engine import first_step_doubts
from lossim._model import Layout
from lossim._support import checks
from lossim._support.doubts import Doubt, undecided_by
from lossim._support.plain import plain
from lossim._support.text import Note, Sections, noted
from lossim._support.types import FloatArray, IntArray
from lossim._support.verdicts import unless
from lossim._training.shown import columns, numbers, shown
from lossim.policies import Policy
from lossim.schemes import Scheme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CATCHING_UP = 0.8
"""A path has caught up if it is behind in accuracy by less than this part of what it was at the start."""
SHORTEST, MOST_TRUNCATED, MOST_ACCURATE, MOST_NATS = 2.0, 0.5, 0.95, 1.0
"""Bounds of mean length (tokens), truncation rate, accuracy and KL to the start (nats per response) beyond which a
first-order model means little."""
FEW_NATS = 1e-4
"""KL to the start, nats per response, below which a run has hardly moved."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Training(Result):
    """A run: numbers of the policy before the first step and after each, [step + 1], and of each step, [step].

    A sampled run (``method="stochastic"``) has an axis of replicates after that of steps, [step, replicate, ...]. What
    is said of a policy is then exact for each replicate's policy; ``dead_groups`` and ``clip_fraction`` are those of
    its samples.

    Attributes:
        length: mean length E[T], tokens, [step + 1].
        length_by_class, length_by_path, length_by_outcome: E[T | class], E[T | path] and E[T | correct, incorrect,
            truncated], tokens, with one more axis; NaN where an outcome does not occur.
        accuracy, reward, truncation_rate: P(correct), E[task reward] and P(truncated), [step + 1].
        accuracy_by_path: P(correct | path), [step + 1, path].
        path_probability: chance of each path in its class, [step + 1, path].
        kl_to_start: KL from the first policy of this run, nats per response, [step + 1].
        composition, within: change of mean length in each step by paths changing frequency and by lengths changing on
            paths, tokens, [step]; they add up to the change.
        needed, free: the same change by what it buys, as in :class:`lossim.Drift`: what changed accuracy, and what only
            paid the loss, tokens, [step].
        dead_groups: share of groups drawn whose task rewards are all equal, [step]; NaN where a reward compares a
            group, unless sampled.
        clip_fraction: share of tokens whose ratio has left the range in which the surrogate moves them, for the sign
            of advantage that it holds back, at the last optimiser step on each rollout, [step].
        learning_rate: of the first optimiser step on each rollout, [step].
        range_low, range_high: change of mean length along the first update on each rollout in a step of 0.01 nats, the
            lowest and the highest over plausible kernels, tokens, [step]; NaN where nothing moves, and beside a kernel
            that was measured. Of a sampled run it is each replicate's own update on the batch that it drew, noise and
            all: no closed form is needed, and the mean field's range is the limit of large batches. In small ones much
            of the 0.01 nats is noise, which brings the range nearer to 0 and may turn its sign from step to step: look
            at the median over replicates.
        coordinates: displacement of the coordinates from the first policy, [step + 1, coordinate].
        critic: V before each step, [step + 1, cell, t], for a critic that learns, the mean over replicates; else None.
        notes: what was assumed, and where the run left the regime in which a first-order model means anything.
        interrupted: whether a keyboard interrupt ended the run early; what was done is kept.
        start: the first policy. reference: what a KL compared with. scheme: what was trained with.
        provenance: what it takes to run it again.
    """

    length: FloatArray
    length_by_class: FloatArray
    length_by_path: FloatArray
    length_by_outcome: FloatArray
    accuracy: FloatArray
    reward: FloatArray
    truncation_rate: FloatArray
    accuracy_by_path: FloatArray
    path_probability: FloatArray
    kl_to_start: FloatArray
    composition: FloatArray
    within: FloatArray
    needed: FloatArray
    free: FloatArray
    dead_groups: FloatArray
    clip_fraction: FloatArray
    learning_rate: FloatArray
    range_low: FloatArray
    range_high: FloatArray
    coordinates: FloatArray
    critic: FloatArray | None
    notes: tuple[str, ...]
    interrupted: bool
    start: Policy
    reference: Policy
    scheme: Scheme
    provenance: dict[str, Any]

    @property
    def steps(self) -> int:
        """How many steps were done."""
        return len(self.length) - 1

    @property
    def replicates(self) -> int | None:
        """How many runs were sampled side by side; None if nothing was sampled."""
        return None if self.length.ndim == 1 else self.length.shape[1]

    @property
    def policy(self) -> Policy:
        """The policy at the end, of the first replicate if there are several."""
        return self.policy_at(self.steps)

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest of ``range_low`` and ``range_high`` over all steps, of the median replicate.

        NaN where no step has any.
        """
        low, high = _over_replicates(self.range_low), _over_replicates(self.range_high)
        known = np.concatenate([low[~np.isnan(low)], high[~np.isnan(high)]])
        return (float(known.min()), float(known.max())) if len(known) else (np.nan, np.nan)

    @cached_property
    def doubts(self) -> tuple[Doubt, ...]:
        """What is not known of the scheme, and where the first step goes under each thing that it may be.

        In tokens in a step of 0.01 nats: the critic where nobody said which, and ``scheme.doubts``. Worked out when
        first asked for, in closed form; empty where the scheme has none.
        """
        return first_step_doubts(self.scheme, self.start, self.reference)

    @property
    def verdict(self) -> str:
        """How far mean length and accuracy went, of the median replicate; undecided where that hangs on an unknown.

        That is where in most steps plausible kernels send mean length either way, or where the first step goes
        another way under another critic, if none was given, or under another meaning of the scheme.

        >>> import lossim as ls
        >>> policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=100),
        ...                                wrong=ls.lengths.geometric(mean=60), max_tokens=1024)
        >>> ls.train(ls.schemes.grpo(), policy, steps=5).verdict
        'undecided: +3.66 tokens and +2.9 points of accuracy in 5 steps here, but which way hangs on the kernel in
        5 of 5 steps'
        """
        change = float(np.median(self.length[-1] - self.length[0]))
        gained = float(np.median(self.accuracy[-1] - self.accuracy[0]))
        steps = f"{self.steps:,} step{'s' * (self.steps > 1)}"
        said = f"{change:+.3g} tokens and {100.0 * gained:+.2g} points of accuracy in {steps}"
        sign = f"undecided: {said} here, but {'; '.join(self.undecided)}" if self.undecided else said
        return sign + unless(self.doubts)

    @property
    def undecided(self) -> tuple[str, ...]:
        """On what it hangs which way mean length goes, one text each; empty where that is decided."""
        unsure = len(_unsure(self.range_low, self.range_high))
        hangs = [f"in the first step {doubt.text}" for doubt in undecided_by(self.doubts)]
        if 2 * unsure > len(self.range_low):
            hangs.insert(0, f"which way hangs on the kernel in {unsure:,} of {len(self.range_low):,} steps")
        return tuple(hangs)

    def policy_at(self, step: int, replicate: int = 0) -> Policy:
        """The policy after that many steps, of one replicate (counted from 0)."""
        for name, given, last in (("step", step, self.steps), ("replicate", replicate, (self.replicates or 1) - 1)):
            if checks.whole(name, given, low=0) > last:
                checks.fail(name, given, f"must be at most {last} in this run")
        return self.start.moved(self.coordinates[step if self.replicates is None else (step, replicate)])

    def quantiles(self, name: str, q: Sequence[float] = (0.05, 0.5, 0.95)) -> FloatArray:
        """Quantiles over replicates of one of the arrays, [q, step, ...]; NaN where a replicate has none.

        Raises:
            ValueError: nothing was sampled, there is no such array, or a quantile is not in [0, 1].
        """
        columns = [name for name in self._arrays if name != "critic"]
        if self.replicates is None:
            checks.fail("method", self.provenance["method"], "has no replicates to take quantiles of",
                        "pass method='stochastic' to train")
        series = getattr(self, checks.choice("name", name, columns))
        levels = checks.number_array("q", q, ndim=1, low=0.0, high=1.0)
        return np.quantile(series, levels, axis=1)

    @property
    def _arrays(self) -> dict[str, FloatArray]:
        """The numbers by name."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in given.items() if isinstance(value, np.ndarray)}

    def time_to(self, *, length: float | None = None, truncation_rate: float | None = None,
                direction: Literal["below", "above"] | None = None) -> int | FloatArray | None:
        """The first step after which mean length, or the truncation rate, lies beyond a bound; None if it never does.

        ``direction`` is that of the bound from where the run starts, unless given. For a sampled run, the step of each
        replicate, [replicate], NaN where it never does.

        Raises:
            ValueError: not exactly one of the bounds is given.
        """
        bounds = {"length": length, "truncation_rate": truncation_rate}
        given = {name: checks.finite(name, bound) for name, bound in bounds.items() if bound is not None}
        if len(given) != 1:
            checks.fail("length", length, "or truncation_rate must be given, and not both")
        (name, bound), = given.items()
        series: FloatArray = getattr(self, name)
        above = bool(bound > series.flat[0])
        if direction is not None:
            above = checks.choice("direction", direction, ("below", "above")) == "above"
        beyond = series >= bound if above else series <= bound
        first = np.where(beyond.any(axis=0), np.argmax(beyond, axis=0), np.nan)
        if self.replicates is not None:
            return first
        return None if np.isnan(first) else int(first)

    def plot(self, ax: Axes | Sequence[Axes] | None = None) -> Figure:
        """Mean length, what moved it, and accuracy and truncation over the run: three panels.

        Args:
            ax: where to draw, one matplotlib Axes or several: the first panel goes to the first, and so on. A figure of
                its own, the panels one above the other, unless given.

        Returns:
            The figure that it is drawn in, also where axes were given. ``.savefig(path)`` writes it, and a notebook
            shows it.
        """
        from lossim._pictures import plot_training

        return plot_training(self, ax)

    def _page(self) -> Page:
        return self._paged(self.scheme.name, *shown(self))

    def _columns(self) -> dict[str, Any]:
        return columns(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON (None for NaN), with provenance."""
        return {"verdict": self.verdict, "doubts": [doubt.to_dict() for doubt in self.doubts],
                "notes": list(self.notes), "interrupted": self.interrupted,
                "provenance": self.provenance, **plain(self._arrays)}

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: verdict, numbers, notes."""
        how = self.provenance["method"].replace("_", " ")
        if self.replicates is not None:
            how += f", {self.replicates:,} replicates: median and 5-95 % of them"
        interrupted = ", interrupted" if self.interrupted else ""
        title = f"{self.steps:,} step{'s' * (self.steps > 1)}{interrupted} ({how})"
        return {"verdict": [f"{self.scheme.name}: {self.verdict}"], "title": [title], "numbers": numbers(self),
                "notes": noted(self.notes, indent=0)}


def scale_notes(kl_to_start: FloatArray) -> list[Note]:
    """A word where a run has hardly moved: the learning rate is then most likely a network's."""
    farthest = float(kl_to_start.max())
    if farthest >= FEW_NATS:
        return []
    return [Note("learning rate", f"the run has hardly moved, {farthest:.1g} nats in {len(kl_to_start) - 1:,} steps: a "
                 "learning rate moves logits directly here, and a network's logits through its kernel, whose scale is "
                 "not known, so a trainer's own rate does not carry over; pace= makes steps those of a trainer")]


def regime_notes(length: FloatArray, truncation_rate: FloatArray, accuracy: FloatArray, kl_to_start: FloatArray
                 ) -> list[Note]:
    """Where a run, or one of its replicates, leaves the regime in which the model means something."""
    notes = []
    for beyond, what in ((length < SHORTEST, f"mean length is below {SHORTEST:g} tokens"),
                         (truncation_rate > MOST_TRUNCATED, f"more than {MOST_TRUNCATED:.0%} of responses are cut"),
                         (accuracy > MOST_ACCURATE, f"P(correct) is above {MOST_ACCURATE:g}"),
                         (kl_to_start > MOST_NATS, f"KL to the start is above {MOST_NATS:g} nat")):
        if not beyond.any():
            continue
        first = int(np.argmax(beyond.reshape(len(beyond), -1).any(axis=1)))
        where = f"from step {first}"
        if beyond.ndim > 1:
            where += f", in {int(beyond.any(axis=0).sum()):,} of {beyond.shape[1]:,} replicates in the end,"
        notes.append(Note("regime", f"{where} {what}: a model of first order in the logits means little"))
    return notes


def _over_replicates(bound: FloatArray) -> FloatArray:
    """A bound by step: of sampled runs the median over replicates."""
    return bound if bound.ndim == 1 else np.median(bound, axis=1)


def _unsure(low: FloatArray, high: FloatArray) -> IntArray:
    """The steps in which plausible kernels send mean length either way."""
    return np.flatnonzero((_over_replicates(low) < 0) & (_over_replicates(high) > 0))


def sign_notes(low: FloatArray, high: FloatArray) -> list[Note]:
    """In how many steps it hangs on the kernel which way the update sends mean length: of sampled ones, in the median.
    """
    sampled = low.ndim > 1
    unsure = _unsure(low, high)
    if not len(unsure):
        return []
    return [Note("kernel", f"which way mean length goes hangs on the kernel, which nobody has measured, in "
                 f"{len(unsure):,} of {len(low):,} steps{' (median over replicates)' * sampled}, first in step "
                 f"{unsure[0] + 1}")]


def turn_notes(layout: Layout, accuracy: FloatArray, probability: FloatArray) -> list[Note]:
    """Where a path that loses its share is catching up in accuracy, [step + 1, ..., path]: its share may turn round."""
    notes = []
    for paths in layout.class_paths:
        names = layout.path_names[paths]
        rate = accuracy[..., paths].reshape(len(accuracy), -1, len(names)).mean(axis=1)
        share = probability[..., paths].reshape(len(accuracy), -1, len(names)).mean(axis=1)
        leader = int(np.argmax(share[-1] - share[0]))
        gap = rate[:, [leader]] - rate
        closing = (share[-1] < share[0]) & (gap[0] > 0) & (gap[-1] < CATCHING_UP * gap[0])
        for path in np.flatnonzero(closing):
            prompts, name = names[path]
            notes.append(Note("turn", f"in {prompts} the path {name} lost share to {names[leader][1]} while its "
                              f"accuracy caught up, from {gap[0, path]:.2g} behind to {gap[-1, path]:.2g}: its share "
                              "may turn round"))
    return notes
