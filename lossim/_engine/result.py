"""The result of ``drift``: every number it reports, and how it prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._engine.readout import ROLES, TERMS
from lossim._support import checks
from lossim._support.types import BoolArray, Outcome
from lossim.estimates import SAMPLED, Estimate
from lossim.policies import Policy
from lossim.schemes import Scheme, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Drift"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Drift:
    """What one expected step of a scheme does, per unit step along the update.

    Every number is an :class:`~lossim.Estimate`. Derivatives are with respect to the step size η of plain gradient
    ascent on minus the trainer's loss: lengths in tokens per unit step, probabilities per unit step.

    Attributes:
        length: dE[T]/dη, tokens per unit step; ``composition`` + ``within`` exactly.
        composition: the part from paths changing frequency, the mix of prompts fixed.
        within: the part from lengths changing on each path.
        length_by_class: [class], tokens per unit step.
        length_by_path: [cell], the same of E[T | cell]; ``cells`` names them.
        length_by_outcome: [3], of E[T | correct], E[T | incorrect], E[T | truncated] (0; NaN if there are none).
        path_probability: [cell], change of each path's probability in its class, per unit step.
        accuracy, reward, truncation_rate: of P(correct), E[task reward], P(truncated). ``reward`` leaves KL out.
        length_per_kl: change of mean length, in tokens, for a step that moves the policy by 0.01 nats of KL per
            response. Comparable across schemes, which raw drift is not. NaN if nothing moves, or if sampling
            noise hides how far the policy moves.
        length_per_reward: tokens per +0.01 expected reward. NaN if the reward does not change.
        alignment: cosine between the update and the gradient of E[task reward], inner products by the kernel. NaN if
            sampling noise hides the direction.
        step_std: standard deviation of one step's length change over batches, per unit step. ``exact`` knows it on
            policy where responses are not coupled (raw returns and GAE, no random denominator, no entropy term), and
            gives NaN elsewhere; Monte Carlo gives it always.
        hazard_gradient: [cell, t], expected update of the hazard logits before coordinates, each cell weighted by how
            often it occurs (ascent direction).
        path_gradient: [class, path], the same for the path logits (NaN where a class has fewer paths).
        update: the update in coordinates; ``policy.moved(eta * drift.update)`` takes the step.
        effective_reward: [cell, t], the reward of the length on which plain REINFORCE has the same expected update,
            mean 0 in each cell, NaN where no response can stop or none goes on. Where it rises with t, responses are
            drawn on.
        response_weight: [cell, outcome, t], n·weight·E[advantage] of a response that ended at t; None under GAE.
        sources: [cell, outcome, role, term] with roles stop, go on, path and terms policy, kl, entropy: contributions
            that add up to ``length``.
        undecided: [cell], True where ``length_by_path`` is smaller than cross terms between paths and stopping, of the
            size seen in a real network, would make it: its sign is then not predictable without a measured kernel.
        notes: what was assumed or approximated.
        provenance: what it takes to run it again.
    """

    length: Estimate
    composition: Estimate
    within: Estimate
    length_by_class: Estimate
    length_by_path: Estimate
    length_by_outcome: Estimate
    path_probability: Estimate
    accuracy: Estimate
    reward: Estimate
    truncation_rate: Estimate
    length_per_kl: Estimate
    length_per_reward: Estimate
    alignment: Estimate
    step_std: Estimate
    hazard_gradient: Estimate
    path_gradient: Estimate
    update: Estimate
    effective_reward: Estimate
    response_weight: Estimate | None
    sources: Estimate
    undecided: BoolArray
    notes: tuple[str, ...]
    scheme: Scheme = field(repr=False)
    policy: Policy = field(repr=False)
    provenance: dict[str, Any]

    @property
    def cells(self) -> tuple[tuple[str, str], ...]:
        """(class, path) per cell."""
        return self.policy.cell_names

    def source(self, *, path: str | None = None, outcome: str | None = None, role: str | None = None,
               term: str | None = None) -> Estimate:
        """The contribution to ``length`` of everything that matches, tokens per unit step.

        ``outcome`` is "correct", "incorrect" or "truncated", ``role`` "stop", "go on" or "path", ``term`` "policy",
        "kl" or "entropy". The standard error of a sum over several entries is an upper bound.
        """
        pick = np.ones(self.sources.value.shape, dtype=bool)
        if path is not None:
            checks.choice("path", path, {name for _, name in self.cells})
            pick &= np.array([name == path for _, name in self.cells])[:, None, None, None]
        if outcome is not None:
            names = [each.name.lower() for each in Outcome]
            pick &= np.array([name == checks.choice("outcome", outcome, names) for name in names])[:, None, None]
        if role is not None:
            pick &= np.array([name == checks.choice("role", role, ROLES) for name in ROLES])[:, None]
        if term is not None:
            pick &= np.array([name == checks.choice("term", term, TERMS) for name in TERMS])
        stderr = np.broadcast_to(self.sources.stderr, pick.shape)[pick].sum()
        return Estimate(value=float(self.sources.value[pick].sum()), stderr=float(stderr),
                        error=self.length.error, n=self.sources.n, method=self.sources.method)

    @property
    def verdict(self) -> str:
        """Which way mean length goes, and how many tokens in a step of 0.01 nats, in a few words."""
        change, step = self.length, self.length_per_kl
        if np.isnan(float(step)) and (change.method not in SAMPLED or not np.any(self.update.value)):
            return "nothing moves"
        if np.isnan(float(step)) or abs(float(change)) <= 3.0 * float(change.stderr) + float(change.error):
            return "no drift of mean length" + (" beyond the noise" if change.method in SAMPLED else "")
        way = "longer" if float(change) > 0 else "shorter"
        return f"responses get {way}, {number(step, decimals(abs(float(step)), 3))} tokens in a step of 0.01 nats"

    def __str__(self) -> str:
        return _table(self)

    __repr__ = __str__

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def plot(self) -> Figure:
        """Effective reward against length and the sources of the drift, as a matplotlib figure."""
        from lossim._pictures import plot_drift

        return plot_drift(self)

    def to_dict(self, *, arrays: bool = True) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON (None for NaN), with provenance.

        ``arrays=False`` leaves out what runs over positions and coordinates, which is large at many tokens.
        """
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if arrays or f.name not in _LONG}
        plain = {name: value.to_dict() for name, value in numbers.items() if isinstance(value, Estimate)}
        return {**plain, "cells": [list(cell) for cell in self.cells], "undecided": self.undecided.tolist(),
                "notes": list(self.notes), "provenance": self.provenance}


_LONG = ("hazard_gradient", "update", "effective_reward", "response_weight")
_MADE = {"closed form": "exact", "sum": "exact", "quadrature": "exact", "large-batch limit": "exact for a large batch",
         "monte carlo": "Monte Carlo, {n:,} batches", "bootstrap": "from a log, {n:,} times redrawn"}


def _table(result: Drift) -> str:
    """The drift as text: the verdict, what was computed, and its numbers per unit step and in a step of 0.01 nats."""
    scheme, change = result.scheme, result.length
    sampled = change.method in SAMPLED
    made = _MADE[change.method].format(n=change.n)
    lines = [f"{scheme.name}: {result.verdict} ({made})", *wrapped("scheme", scheme.slots),
             *wrapped("policy", [repr(result.policy)]), *wrapped("moves", [short(result.policy.coordinates)])]
    if np.isnan(float(result.length_per_kl)):
        return "\n".join(lines + [f"  note: {note}" for note in result.notes])
    # Derivatives scale alike along the update, so the step of 0.01 nats is the ratio of these two.
    step = float(result.length_per_kl) / float(change) if float(change) else np.nan
    spread = [(role if term == "policy" else f"{role}, {'KL' if term == 'kl' else term}",
               result.source(role=role, term=term)) for r, role in enumerate(ROLES) for t, term in enumerate(TERMS)
              if np.any(np.asarray(result.sources.value)[:, :, r, t])]
    tokens = [("mean length (tokens)", [("total", change), ("paths change frequency", result.composition),
                                        ("lengths on paths change", result.within)]),
              ("of that, by kind of token", spread),
              ("mean length on each path", [(" / ".join(names), result.length_by_path[cell])
                                            for cell, names in enumerate(result.cells)])]
    shown = [x for _, block in tokens for _, x in block]
    largest = max((abs(float(x)) for x in shown if abs(float(x)) > float(x.error)), default=0.0)
    here, there = decimals(largest, 4), decimals(largest * abs(step), 4)
    width = 21 if sampled else 15

    def line(label: str, left: str, right: str, mark: str = "") -> None:
        lines.append(f"  {label:<30}{left:>{width}}{right:>{width}}{mark}".rstrip())

    line("", "per unit step", "in 0.01 nats")
    for title, block in tokens:
        lines += [f"  {title}"] if block else []
        for i, (label, x) in enumerate(block):
            scaled = result.length_per_kl if x is change else x * step
            unsure = title.endswith("path") and bool(result.undecided[i])
            line(f"  {label}", number(x, here), number(scaled, there), "  (?)" if unsure else "")
    for label, x in (("P(correct)", result.accuracy), ("mean reward", result.reward),
                     ("P(truncated)", result.truncation_rate)):
        left, right = (number(y, decimals(abs(float(y)), 3)) for y in (x, x * step))
        line(label, "undefined" if np.isnan(float(x)) else left, right)
    if result.undecided.any():
        lines.append("  (?) too small for its sign to be known without a measured kernel")
    return "\n".join(lines + [f"  note: {note}" for note in result.notes])


def wrapped(label: str, parts: Sequence[str]) -> list[str]:
    """The parts on lines of some hundred characters, broken between them."""
    lines = [f"  {label:<8}{parts[0]}"]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) < 106:
            lines[-1] += f" · {part}"
        else:
            lines.append(f"          {part}")
    return lines


def decimals(largest: float, digits: int) -> int:
    """Decimals that show a number to so many digits: at least 1, and -1 where only an exponent will do."""
    if not largest > 0.0:
        return 1
    wanted = digits - 1 - int(np.floor(np.log10(largest)))
    return max(wanted, 1) if wanted <= 6 else -1


def number(x: Estimate, decimals: int) -> str:
    """A number to so many decimals, with its standard error if sampled: ~0 if nothing is left of it, "" for NaN."""
    value, noise, form = float(x), float(x.stderr), f".{decimals}f" if decimals > 0 else ".2e"
    if np.isnan(value):
        return ""
    if value == 0.0:
        text = "0"
    else:
        text = "~0" if abs(value) <= float(x.error) or not float(f"{value:{form}}") else f"{value:+{form}}"
    bar = f"{noise:{form if decimals > 0 else '.0e'}}"
    return f"{text} ± {bar}" if float(bar) or (x.method in SAMPLED and text.lstrip("~") != "0") else text
