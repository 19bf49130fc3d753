"""The front door: what a scheme does to response length, as one result type for both methods."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lossim import _check
from lossim._exact import expected_measures
from lossim._gradients import Measures, by_outcome, token_sums
from lossim._montecarlo import block_measures
from lossim._provenance import describe_policy, describe_rng, describe_scheme, versions
from lossim._readout import ROLES, TERMS, Readout, effective_reward, step_std
from lossim._step import Step
from lossim._types import FloatArray
from lossim.advantages import GAE
from lossim.estimates import Estimate
from lossim.policies import Policy
from lossim.schemes import Scheme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Drift", "drift"]

BLOCKS = 64
"""Blocks of batches behind a Monte Carlo standard error."""
_TOKENS = ("length", "composition", "within", "length_by_class", "length_by_path", "length_by_outcome")
ROUNDING = 1e-13
"""Rounding error allowed for, relative to the sum of the absolute contributions."""


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
            response. Comparable across schemes, which raw drift is not. NaN if nothing moves.
        length_per_reward: tokens per +0.01 expected reward. NaN if the reward does not change.
        alignment: cosine between the update and the gradient of E[task reward], inner products by the kernel.
        step_std: standard deviation of one step's length change over batches, per unit step. NaN from ``exact``
            where responses are coupled; Monte Carlo gives it always.
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
    undecided: np.ndarray[Any, np.dtype[np.bool_]]
    notes: tuple[str, ...]
    scheme: Scheme = field(repr=False)
    policy: Policy = field(repr=False)
    provenance: dict[str, Any]

    @property
    def cells(self) -> tuple[tuple[str, str], ...]:
        """(class, path) per cell."""
        return self.policy.cell_names

    def source(self, *, path: str | None = None, outcome: int | None = None, role: str | None = None,
               term: str | None = None) -> Estimate:
        """The contribution to ``length`` of everything that matches, tokens per unit step.

        ``role`` is "stop", "go on" or "path", ``term`` "policy", "kl" or "entropy", ``outcome`` an
        :class:`~lossim.Outcome`. The standard error of a sum over several entries is an upper bound.
        """
        pick = np.ones(self.sources.value.shape, dtype=bool)
        if path is not None:
            _check.choice("path", path, {name for _, name in self.cells})
            pick &= np.array([name == path for _, name in self.cells])[:, None, None, None]
        if outcome is not None:
            pick &= (np.arange(3) == outcome)[:, None, None]
        if role is not None:
            pick &= np.array([name == _check.choice("role", role, ROLES) for name in ROLES])[:, None]
        if term is not None:
            pick &= np.array([name == _check.choice("term", term, TERMS) for name in TERMS])
        stderr = np.broadcast_to(self.sources.stderr, pick.shape)[pick].sum()
        return Estimate(value=float(self.sources.value[pick].sum()), stderr=float(stderr),
                        error=self.length.error, n=self.sources.n, method=self.sources.method)

    def __str__(self) -> str:
        return _table(self)

    __repr__ = __str__

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def plot(self) -> Figure:
        """Effective reward against length and the sources of the drift, as a matplotlib figure."""
        from lossim._plots import plot_drift

        return plot_drift(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for JSON, with provenance."""
        numbers = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: value.to_dict() for name, value in numbers.items() if isinstance(value, Estimate)}
        return {**plain, "cells": [list(cell) for cell in self.cells], "undecided": self.undecided.tolist(),
                "notes": list(self.notes), "provenance": self.provenance}


def drift(scheme: Scheme, policy: Policy, method: Literal["exact", "monte_carlo"] = "exact", *,
          rng: np.random.Generator | None = None, batches: int | None = None, old_policy: Policy | None = None,
          reference: Policy | None = None, progress: bool = False) -> Drift:
    """The expected effect of one step of ``scheme`` on ``policy``, tokens per unit step.

    Args:
        scheme: what the trainer does with a batch.
        policy: where it starts, and what training moves (its coordinates).
        method: ``"exact"`` sums over the law of a step (needs no rng, samples nothing); ``"monte_carlo"`` averages
            sampled steps and gives standard errors.
        rng: source of randomness for Monte Carlo; the same state gives the same numbers.
        batches: sampled steps (default: 64 or as many as make 262,144 responses; at least 16).
        old_policy: policy that drew the batch, for later epochs and mini-batches; by default the policy itself
            (on-policy). The scheme's surrogate then clips by the ratio of both.
        reference: policy that KL penalties refer to; by default the policy itself.
        progress: report sampled blocks on stderr.

    Returns:
        :class:`Drift`, the same type for both methods.

    Raises:
        NoClosedForm: ``"exact"`` cannot do one of the slots; the message names it.
        ValueError: a bad argument; the message names the value, the rule and the fix.

    >>> import lossim as ls
    >>> never = ls.policies.unsolvable(length=ls.lengths.geometric(mean=50), max_tokens=4096)
    >>> pushed = ls.drift(ls.schemes.ppo(gae_lambda=0.95), never)
    >>> print(f"{pushed.length:.3f}, {pushed.length_per_kl:.2f} tokens per 0.01 nats")
    22.526, 7.07 tokens per 0.01 nats
    """
    if not isinstance(scheme, Scheme):
        _check.fail("scheme", scheme, "must be a Scheme", "for example schemes.grpo()", TypeError)
    if not isinstance(policy, Policy):
        _check.fail("policy", policy, "must be a Policy", "for example policies.two_paths(...)", TypeError)
    _check.choice("method", method, ("exact", "monte_carlo"))
    for name, other in (("old_policy", old_policy), ("reference", reference)):
        if other is not None and not isinstance(other, Policy):
            _check.fail(name, other, "must be a Policy", "leave it out for the policy itself", TypeError)
    step = Step(scheme=scheme, policy=policy, reference=reference or policy, old=old_policy or policy)
    if method == "exact":
        return _exact(step)
    if not isinstance(rng, np.random.Generator):
        _check.fail("rng", rng, "must be a numpy Generator for Monte Carlo", "pass rng=np.random.default_rng(0)",
                    TypeError)
    if batches is None:
        batches = max(BLOCKS, (1 << 18) // scheme.responses_per_step)
    _check.whole("batches", batches, low=16, fix="fewer give no standard error worth the name")
    return _monte_carlo(step, rng, batches, progress)


def _read(step: Step, readout: Readout, measures: Measures) -> dict[str, Any]:
    """Every linear number of some measures."""
    policy = step.policy
    values = readout.linear(token_sums(step, measures))
    values["effective_reward"] = effective_reward(policy, values["hazard_gradient"])
    if not isinstance(step.advantage, GAE) and measures.response is not None:
        mass = by_outcome(step.old.law * step.old.cell_weight[:, None, None])
        weight = by_outcome(measures.response)
        ratio = np.divide(weight, mass, out=np.full_like(mass, np.nan), where=mass > 0)
        ratio[:, 2, -2] = ratio[:, 2, -1]
        values["response_weight"] = ratio[:, :, :-1]
    return values


def _exact(step: Step) -> Drift:
    expected = expected_measures(step)
    readout = Readout(policy=step.policy, task=step.task)
    values = _read(step, readout, expected.measures)
    values |= readout.ratios(values)
    spread = step_std(step, readout)
    values["step_std"] = np.nan if spread is None else spread
    relative = expected.error + ROUNDING
    gross = float(np.abs(values["sources"]).sum())

    def error(name: str) -> Any:
        size = np.abs(values[name])
        return relative * (np.maximum(size, gross) if name in _TOKENS else size)

    def make(name: str) -> Estimate:
        return Estimate(value=values[name], error=error(name), method=expected.method)

    notes = []
    if expected.method == "large-batch limit":
        notes.append("advantages are scaled by statistics of a step: exact in the limit of a large batch; small steps "
                     "need method='monte_carlo'")
    if spread is None:
        notes.append("step_std needs method='monte_carlo': responses of a step are coupled")
    return _finish(step, readout, values, make, notes, {"method": "exact"})


def _monte_carlo(step: Step, rng: np.random.Generator, batches: int, progress: bool) -> Drift:
    cells, positions = step.policy.logits.shape
    blocks = int(min(batches, BLOCKS, max(16, 40_000_000 // (cells * positions))))
    per_block = -(-batches // blocks)
    seed = describe_rng(rng)
    readout = Readout(policy=step.policy, task=step.task)
    mean: dict[str, Any] = {}
    squares: dict[str, FloatArray] = {}
    kept: list[dict[str, FloatArray]] = []
    jackknifed = ("length", "reward", "update", "hazard_gradient", "path_gradient")
    for done, measures in enumerate(block_measures(step, rng, blocks, per_block), start=1):
        values = {name: np.asarray(x) for name, x in _read(step, readout, measures).items()}
        kept.append({name: values[name] for name in jackknifed})
        for name, x in values.items():  # Welford
            before = mean.get(name, np.zeros_like(x))
            mean[name] = before + (x - before) / done
            squares[name] = squares.get(name, np.zeros_like(x)) + (x - before) * (x - mean[name])
        if progress:
            print(f"\rmonte carlo: {done * per_block:,} of {blocks * per_block:,} batches", end="", file=sys.stderr)
    if progress:
        print(file=sys.stderr)
    spread = {name: np.sqrt(x / (blocks - 1)) for name, x in squares.items()}
    stderr = {name: x / np.sqrt(blocks) for name, x in spread.items()}
    ratios = readout.ratios(mean)
    without = [readout.ratios({name: (blocks * mean[name] - one[name]) / (blocks - 1) for name in jackknifed})
               for one in kept]
    for name, value in ratios.items():
        replicas = np.array([one[name] for one in without])
        mean[name] = value
        stderr[name] = np.sqrt((blocks - 1) / blocks * np.sum((replicas - replicas.mean()) ** 2))
    mean["step_std"] = spread["length"] * np.sqrt(per_block)
    stderr["step_std"] = mean["step_std"] / np.sqrt(2.0 * (blocks - 1))

    def make(name: str) -> Estimate:
        return Estimate(value=mean[name], stderr=stderr[name], n=blocks * per_block, method="monte carlo")

    notes = []
    if step.scheme.reward.group_relative:
        notes.append("the reward compares the lengths of a group: reward, length_per_reward and alignment are not "
                     "defined")
        for name in ("reward", "length_per_reward", "alignment"):
            mean[name] = np.nan
    return _finish(step, readout, mean, make, notes, {"method": "monte_carlo", "batches": blocks * per_block,
                                                      "blocks": blocks, "rng": seed})


def _finish(step: Step, readout: Readout, values: dict[str, Any], make: Callable[[str], Estimate],
            notes: list[str], provenance: dict[str, Any]) -> Drift:
    scheme, policy = step.scheme, step.policy
    undecided = np.abs(values["length_by_path"]) < readout.leak(values)
    if scheme.group_size == 1 and step.advantage.group_relative:
        rule = getattr(step.advantage, "group_of_one", "zero")
        notes.append(f"groups of one: group_of_one={rule!r}, so the advantage is "
                     + ("the return itself" if rule == "raw" else "0"))
    made = {f.name: make(f.name) for f in fields(Drift) if f.name in values and f.name != "path_gradient"}
    flat = make("path_gradient")
    widest = max(len(prompts.paths) for prompts in policy.classes)
    place = np.concatenate([np.arange(len(prompts.paths)) for prompts in policy.classes])

    def table(x: Any) -> FloatArray:
        padded = np.full((len(policy.classes), widest), np.nan)
        padded[policy.class_of_cell, place] = np.broadcast_to(x, place.shape)
        return padded

    made["path_gradient"] = Estimate(value=table(flat.value), stderr=table(flat.stderr), error=table(flat.error),
                                     n=flat.n, method=flat.method)
    made.setdefault("response_weight", None)  # type: ignore[arg-type]
    return Drift(**made, undecided=undecided, notes=tuple(notes), scheme=scheme, policy=policy,
                 provenance=provenance | versions() | {
                     "scheme": describe_scheme(scheme), "policy": describe_policy(policy),
                     "reference": None if step.reference is policy else describe_policy(step.reference),
                     "old_policy": None if step.old is policy else describe_policy(step.old)})


def _table(result: Drift) -> str:
    """The drift as a short text table."""
    policy = result.policy

    def row(label: str, estimate: Estimate, unit: str, spec: str = "+.4g") -> str:
        value = "nothing moves" if np.isnan(float(estimate.value)) else format(estimate, spec)
        return f"  {label:<26}{value:>16}  {unit}".rstrip()

    up = float(result.length.value)
    noise = float(result.length.stderr) * 2.0 + float(result.length.error)
    verdict = "longer" if up > noise else "shorter" if up < -noise else "no drift of mean length"
    lines = [str(result.scheme), repr(policy),
             f"{verdict} ({result.length.method}" + (f", {result.length.n:,} batches)" if result.length.n else ")"),
             row("length", result.length, "tokens per unit step"),
             row("  paths change frequency", result.composition, ""),
             row("  lengths on paths change", result.within, ""),
             row("length per 0.01 nats", result.length_per_kl, "tokens"),
             row("accuracy", result.accuracy, "per unit step"),
             row("reward", result.reward, "per unit step"),
             row("truncated", result.truncation_rate, "per unit step")]
    lines.append("  by path")
    for (prompts, path), value, unsure in zip(result.cells, range(len(result.cells)), result.undecided, strict=True):
        unit = "sign not predictable without a measured kernel" if unsure else "tokens per unit step"
        lines.append(row(f"    {prompts} / {path}", result.length_by_path[value], unit))
    lines.append("  by source")
    table = result.sources.value
    for r, role in enumerate(ROLES):
        for t, term in enumerate(TERMS):
            if np.any(table[:, :, r, t] != 0):
                part = Estimate(value=table[:, :, r, t].sum(), method="sum")
                lines.append(row(f"    {role} ({term})", part, ""))
    lines += [f"  note: {note}" for note in result.notes]
    return "\n".join(lines)
