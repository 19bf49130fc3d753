"""The result of ``drift``: every number it reports, and how it prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._display import Page, Result
from lossim._engine.gradients import TERMS
from lossim._engine.pace import NO_PACE, Paced
from lossim._engine.shown import columns, numbers, shown, three_digits
from lossim._engine.sources import ROLES
from lossim._support import checks
from lossim._support.deferred import Deferred
from lossim._support.doubts import Doubt, range_over, undecided_by
from lossim._support.plain import plain
from lossim._support.text import SAMPLED, Sections, noted, wrapped
from lossim._support.types import BoolArray, Outcome
from lossim._support.verdicts import over_doubts, sizes, unless
from lossim.estimates import Estimate
from lossim.policies import Policy
from lossim.schemes import Scheme, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Drift(Deferred, Result):
    """What one expected step of a scheme does, per unit step along the update.

    What it holds is worked out when it is first looked at, and then kept; a copy or a pickle holds all of it.

    Every number is an :class:`~lossim.Estimate`. Derivatives are with respect to the step size η of plain gradient
    ascent on minus the trainer's loss: lengths in tokens per unit step, probabilities per unit step.

    Attributes:
        length: dE[T]/dη, tokens per unit step; ``composition`` + ``within`` exactly, and ``needed`` + ``free``.
        composition: the part from paths changing frequency, the mix of prompts fixed.
        within: the part from lengths changing on each path.
        needed: the part that changes accuracy: from stops that move while a response still works on an answer that
            would come before the cap, and from paths changing frequency where those of a class differ in accuracy. On
            a path of one state, from stops as far as P(correct) still rises with the length.
        free: the rest, which only pays the loss: stops once done and on hopeless paths, and lengths of paths that are
            right or wrong whatever their length.
        length_by_class: [class], tokens per unit step.
        length_by_path: [path], the same of E[T | path]; ``paths`` names them.
        length_by_outcome: [3], of E[T | correct], E[T | incorrect], E[T | truncated] (0; NaN if there are none).
        path_probability: [path], change of each path's probability in its class, per unit step.
        accuracy, reward, truncation_rate: of P(correct), E[task reward], P(truncated). ``reward`` leaves KL out.
        length_per_kl: change of mean length, in tokens, for a step that moves the policy by 0.01 nats of KL per
            response. Comparable across schemes, which raw drift is not. NaN if nothing moves, or if sampling
            noise hides how far the policy moves.
        length_per_reward: tokens per +0.01 expected reward. NaN if the reward does not change.
        accuracy_per_token: change of P(correct) per token of mean length. NaN if the length does not change.
        alignment: cosine between the update and the gradient of E[task reward], inner products by the kernel. NaN if
            sampling noise hides the direction.
        step_std: standard deviation of one step's length change over batches, per unit step, of a policy that stands
            still. Where all responses of a step share a denominator or are whitened together it is that of a large
            batch; NaN where a note says so. Worked out by ``spread`` when it is first asked for, unless it was sampled.
        hazard_gradient: [cell, t], expected update of the hazard logits before coordinates, each cell weighted by how
            often it occurs (ascent direction).
        path_gradient: [class, path], the same for the path logits (NaN where a class has fewer paths).
        skill_gradient: [cell], the same for the log-odds of being correct; 0 where the coordinates hold skill fixed.
        update: the update in coordinates; ``policy.moved(eta * drift.update)`` takes the step.
        effective_reward: [cell, t], the reward of the length on which plain REINFORCE has the same expected update,
            mean 0 on each path, NaN where no response can stop or none goes on. Where it rises with t, responses are
            drawn on.
        response_weight: [cell, outcome, t], n·weight·E[advantage] of a response that ended at t; None under GAE.
        sources: [cell, outcome, role, term] with roles stop, go on, path and terms policy, kl, entropy: contributions
            that add up to ``length``.
        undecided: [path], True where ``length_by_path`` goes one way under some plausible kernels and the other way
            under others: its sign is then not predictable without a measured kernel.
        doubts: what is not known, and ``length_per_kl`` under each thing that it may be: the kernel, see
            :func:`lossim.kernels`, the critic where nobody said which, and what the scheme says of itself
            (``scheme.doubts``).
        notes: what was assumed or approximated.
        provenance: what it takes to run it again.
        paced: tokens per step and per point of accuracy, where a :func:`lossim.pace` was given; else None.
    """

    length: Estimate
    composition: Estimate
    within: Estimate
    needed: Estimate
    free: Estimate
    length_by_class: Estimate
    length_by_path: Estimate
    length_by_outcome: Estimate
    path_probability: Estimate
    accuracy: Estimate
    reward: Estimate
    truncation_rate: Estimate
    length_per_kl: Estimate
    length_per_reward: Estimate
    accuracy_per_token: Estimate
    alignment: Estimate
    spread: Estimate | Callable[[], Estimate] = field(repr=False)
    hazard_gradient: Estimate
    path_gradient: Estimate
    skill_gradient: Estimate
    update: Estimate
    effective_reward: Estimate
    response_weight: Estimate | None
    sources: Estimate
    undecided: BoolArray
    doubts: tuple[Doubt, ...]
    notes: tuple[str, ...]
    scheme: Scheme = field(repr=False)
    policy: Policy = field(repr=False)
    provenance: dict[str, Any]
    paced: Paced | None = None

    @cached_property
    def step_std(self) -> Estimate:
        """Standard deviation of one step's length change, worked out when it is first asked for."""
        return self.spread if isinstance(self.spread, Estimate) else self.spread()

    @property
    def steps_to_see(self) -> Estimate:
        """How many steps until the mean length change is two standard deviations from 0: (2 · step_std / |length|)².

        Steps of one fixed policy, with no learning in between. NaN where no drift is told from 0.
        """
        size = abs(float(self.length))
        spread = float(self.step_std)
        if not size > 3.0 * np.nan_to_num(float(self.length.stderr)) + float(self.length.error):
            return Estimate(value=np.nan, n=self.length.n, method=self.step_std.method)
        steps = (2.0 * spread / size) ** 2
        noise = np.hypot(float(self.step_std.stderr) / spread if spread else 0.0, float(self.length.stderr) / size)
        error = float(self.step_std.error) / spread if spread else 0.0
        return Estimate(value=steps, stderr=2.0 * steps * noise, n=self.length.n, method=self.step_std.method,
                        error=2.0 * steps * (error + float(self.length.error) / size))

    @property
    def prompts_to_see(self) -> Estimate:
        """The same in prompts, each with ``group_size`` responses."""
        return self.steps_to_see * float(self.scheme.prompts_per_step)

    @property
    def cells(self) -> tuple[tuple[str, ...], ...]:
        """(class, path) per cell, and the state where the path has two."""
        return self.policy.cell_names

    @property
    def paths(self) -> tuple[tuple[str, str], ...]:
        """(class, path) per path."""
        return self.policy.layout.path_names

    def source(self, *, path: str | None = None, outcome: str | None = None, role: str | None = None,
               term: str | None = None) -> Estimate:
        """The contribution to ``length`` of everything that matches, tokens per unit step.

        ``outcome`` is "correct", "incorrect" or "truncated", ``role`` "stop", "go on" or "path", ``term`` "policy",
        "kl" or "entropy". The standard error of a sum over several entries is an upper bound.
        """
        paths = [names[1] for names in self.cells]
        outcomes = [each.name.lower() for each in Outcome]
        axes = (("path", path, paths), ("outcome", outcome, outcomes), ("role", role, ROLES), ("term", term, TERMS))
        picks = []
        for name, wanted, names in axes:
            if wanted is not None:
                checks.choice(name, wanted, dict.fromkeys(names))
            picks.append([wanted is None or each == wanted for each in names])
        chosen = np.ix_(*picks)
        stderr = np.broadcast_to(self.sources.stderr, self.sources.value.shape)[chosen].ravel().sum()
        return Estimate(value=float(self.sources.value[chosen].ravel().sum()), stderr=float(stderr),
                        error=self.length.error, n=self.sources.n, method=self.sources.method)

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest ``length_per_kl`` over all doubts, the number itself among them; tokens."""
        return range_over(float(self.length_per_kl), self.doubts)

    @property
    def sign(self) -> str:
        """Which way mean length goes under how much of what is not known."""
        if np.isnan(float(self.length_per_kl)):
            return self.verdict
        return "; ".join(doubt.text for doubt in self.doubts) or self.verdict

    @property
    def verdict(self) -> str:
        """Which way mean length goes, and how many tokens in a step of 0.01 nats, in a few words."""
        return self._said + unless(self.doubts)

    @property
    def _said(self) -> str:
        """The same but for what nobody knows of the scheme."""
        change = self.length
        sampled = change.method in SAMPLED
        unknown = np.isnan(float(self.length_per_kl))
        if not unknown and self.scheme.entropy is not None:
            rest = float(change) - float(self.source(term="entropy"))
            return f"undecided: entropy also acts on content; all else makes responses {_way(rest)}"
        unsure = undecided_by(self.doubts)
        if unsure:
            return over_doubts(unsure, self.range) + ("" if self.paced is None else self.paced.aside)
        if unknown and not (sampled and np.any(self.update.value)):
            return "nothing moves"
        if unknown or abs(float(change)) <= 3.0 * float(change.stderr) + float(change.error):
            return f"no drift of mean length{' beyond the noise' if sampled else ''}{sizes(self.doubts)}"
        return f"responses get {_way(change)}{how_far(self, three_digits(self.length_per_kl))}"

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: verdict, setting, numbers, notes."""
        made = _MADE[self.length.method].format(n=self.length.n)
        setting = [*wrapped("scheme", self.scheme.slots), *wrapped("policy", [repr(self.policy)]),
                   *wrapped("moves", [short(self.policy.coordinates)]),
                   *wrapped("pace", [NO_PACE if self.paced is None else str(self.paced.pace)])]
        return {"verdict": [f"{self.scheme.name}: {self.verdict} ({made})"], "setting": setting,
                "numbers": numbers(self), "notes": noted(self.notes)}

    def plot(self, ax: Axes | Sequence[Axes] | None = None) -> Figure:
        """Effective reward against length, and the sources of the drift: two panels.

        Args:
            ax: where to draw, one matplotlib Axes or several: the first panel goes to the first, and so on. A figure of
                its own, the panels one above the other, unless given.

        Returns:
            The figure that it is drawn in, also where axes were given. ``.savefig(path)`` writes it, and a notebook
            shows it.
        """
        from lossim._pictures import plot_drift

        return plot_drift(self, ax)

    def _page(self) -> Page:
        return self._paged(self.scheme.name, *shown(self))

    def _columns(self) -> dict[str, Any]:
        return columns(self)

    def save(self, path: str | PathLike[str], *, arrays: bool = True) -> None:
        """Write it to a file that :func:`lossim.load` reads; ``arrays`` as in :meth:`to_dict`."""
        self._keep(path, self.to_dict(arrays=arrays))

    def to_dict(self, *, arrays: bool = True) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON (None for NaN), with provenance.

        ``arrays=False`` leaves out what runs over positions and coordinates, which is large at many tokens.
        """
        given = {f.name: getattr(self, f.name) for f in fields(self) if arrays or f.name not in _LONG}
        estimates = {name: value.to_dict() for name, value in given.items() if isinstance(value, Estimate)}
        estimates.pop("spread", None)
        estimates |= {name: getattr(self, name).to_dict() for name in ("step_std", "steps_to_see", "prompts_to_see")}
        return {**estimates, "cells": [list(cell) for cell in self.cells], "undecided": self.undecided.tolist(),
                "doubts": [doubt.to_dict() for doubt in self.doubts], "range": plain(np.array(self.range)),
                "paced": None if self.paced is None else self.paced.to_dict(),
                "notes": list(self.notes), "provenance": self.provenance}


def how_far(result: Drift, tokens: str) -> str:
    """How far mean length goes, in a step of 0.01 nats or at its pace, and over what is unknown; "" where no one knows.

    ``tokens`` is ``length_per_kl`` in words.
    """
    if result.paced is not None:
        return f", {result.paced.said(result.range)}{sizes(result.doubts, result.paced.stretch)}"
    if np.isnan(float(result.length_per_kl)):
        return ""
    low, high = (f"{bound:+.3g}" for bound in result.range)
    spread = f" ({low} to {high})" if low != high else ""
    return f", {tokens} tokens{spread} in a step of 0.01 nats{sizes(result.doubts)}"


_LONG = ("hazard_gradient", "update", "effective_reward", "response_weight")
_MADE = {"closed form": "exact", "sum": "exact", "quadrature": "exact", "large-batch limit": "exact for a large batch",
         "monte carlo": "Monte Carlo, {n:,} batches", "bootstrap": "from a log, {n:,} times redrawn"}


def _way(change: Estimate | float) -> str:
    return "longer" if float(change) > 0 else "shorter"
