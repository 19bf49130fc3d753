"""The question about a run that was logged: which way does my loss push length, through which responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lossim._auditing.bootstrap import drifts, redraws
from lossim._auditing.breakdown import Breakdown, length_edges, step_bins
from lossim._auditing.cells import Cells, Paths
from lossim._auditing.findings import Audit, Finding, WhatIf
from lossim._auditing.knobs import other_settings, shorter, stops
from lossim._auditing.log import Log, Pay, read_log
from lossim._auditing.plugin import Plugin
from lossim._engine import Drift, describe_rng, versions
from lossim._model import Coordinates, Features, Kernel
from lossim._support import checks
from lossim._support.progress import Progress
from lossim._support.text import code
from lossim._support.types import FloatArray
from lossim.advantages import GAE
from lossim.estimates import Estimate
from lossim.rewards import Reward
from lossim.rollouts import Rollouts
from lossim.schemes import Scheme

__all__ = ["audit"]


def audit(rollouts: Rollouts, schemes: Scheme | Sequence[Scheme], *, reward: Reward | None = None,
          paths: Paths = "outcome", coordinates: Coordinates | None = None, max_tokens: int | None = None,
          correct_above: float | None = None, what_if: bool | None = None, replicates: int = 200,
          rng: np.random.Generator | None = None, progress: bool = False) -> Audit:
    """What schemes do to mean length on a logged run, with standard errors from its prompts drawn again.

    The log is made a policy: cells are class × outcome, hazards are stops over responses at risk. Each response is
    credited in the group and the step it was logged in, and the drift of mean length follows as for any other policy:
    dE[T]/dη = ⟨g, K·∇E[T]⟩ with g the gradient of this very log.

    Args:
        rollouts: what was logged; see :class:`~lossim.Rollouts`.
        schemes: one scheme, or several side by side. Their rewards are not read: responses are paid as logged.
        reward: pays by this rule instead.
        paths: ``"outcome"``: right and wrong responses are paths of their own, the policy knows where it stands;
            ``"one"``: it does not. A log cannot tell, and both numbers are reported; this chooses the one explained.
        coordinates: what training moves, see :func:`lossim.coordinates`.
        max_tokens: the cap, where the log does not say which responses were truncated.
        correct_above: responses paid more than this are correct, where the log has no grades and rewards take more
            than two values.
        what_if: other settings on the same log, and what would stop the drift; by default for a single scheme.
        replicates: how often the prompts are drawn again; 0 for no standard errors.
        rng: source of randomness; by default a fixed seed, so that a log has one answer.
        progress: report on stderr.

    Returns:
        :class:`~lossim.Audit`.

    Raises:
        ValueError: a log that does not hold what it takes; the message names the value, the rule and the fix.

    >>> import lossim as ls
    >>> policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=100),
    ...                                wrong=ls.lengths.geometric(mean=200), max_tokens=1024)
    >>> log = policy.sample(np.random.default_rng(0), prompts=500, group_size=8)
    >>> ls.audit(log, ls.schemes.grpo()).verdict
    'grpo: ...'
    """
    chosen = _schemes(schemes)
    for name, kind, given in (("reward", Reward, reward), ("rng", np.random.Generator, rng)):
        if given is not None and not isinstance(given, kind):
            checks.fail(name, given, f"must be a {kind.__name__}", "leave it out for the default", TypeError)
    if what_if is not None:
        checks.flag("what_if", what_if)
    checks.whole("replicates", replicates, low=0)
    if 0 < replicates < 20:
        checks.fail("replicates", replicates, "must be 0 or at least 20", "fewer give no standard error")
    source = np.random.default_rng(0) if rng is None else rng
    seed = describe_rng(source)
    checks.choice("paths", paths, ("outcome", "one"))
    if correct_above is not None:
        checks.finite("correct_above", correct_above)
    log = read_log(rollouts, max_tokens=max_tokens, correct_above=correct_above,
                   needs_grades=paths == "outcome" or reward is not None, seed=int(source.integers(2**32)))
    cells = Cells(log=log, paths=paths, coordinates=Features() if coordinates is None else coordinates)
    notes = list(log.notes)
    if log.prompts[1] < 2 and replicates:
        replicates = 0
        notes.append("a single prompt has no spread over prompts: no standard errors")
    weights = redraws(source, log.blocks, replicates)
    plugins = [Plugin(cells=cells, scheme=scheme, pay=Pay(rule=reward)) for scheme in chosen]
    report = Progress(progress)
    breakdowns = [_walk(plugin, report) for plugin in plugins]
    made = drifts(cells, plugins, weights, progress, breakdowns)
    other = _other_paths(plugins, weights, progress)
    asked = what_if if what_if is not None else len(chosen) == 1
    findings = []
    for plugin, breakdown, drift, length in zip(plugins, breakdowns, made, other, strict=True):
        ideas = _what_if(plugin, weights, report) if asked else ()
        ends = stops(plugin, report.say) if asked and not plugin.adaptive and np.any(drift.update.value) else ()
        findings.append(_finding(plugin, breakdown, drift, length, weights, ideas, ends))
    report.end()
    return Audit(findings=tuple(findings), log=_describe(log), paths=paths, notes=tuple(notes + _general(log, reward)),
                 provenance={"method": "audit", "replicates": replicates, "rng": seed, **versions(),
                             "coordinates": repr(cells.coordinates)})


def _schemes(given: Scheme | Sequence[Scheme]) -> list[Scheme]:
    if isinstance(given, Scheme):
        return [given]
    chosen = list(checks.members("schemes", given, Scheme, "Scheme", "for example [schemes.grpo(), schemes.dapo()]"))
    if not chosen:
        checks.fail("schemes", given, "must hold at least one scheme", "for example schemes.grpo()")
    return chosen


def _walk(plugin: Plugin, report: Progress) -> Breakdown:
    """One pass over the log: measures, and where they come from."""
    report.say(f"{plugin.scheme.name}: reading the log")
    breakdown = Breakdown(plugin=plugin, edges=length_edges(plugin.log), bins=step_bins(plugin.log))
    plugin.__dict__["measures"] = plugin.measured(breakdown)
    return breakdown


def _other_paths(plugins: Sequence[Plugin], weights: FloatArray, progress: bool) -> list[Estimate]:
    """``length_per_kl`` with the other reading of the paths; NaN where it cannot be had."""
    first = plugins[0].cells
    if first.log.correct is None:
        return [Estimate(value=np.nan, stderr=np.nan, method="bootstrap")] * len(plugins)
    cells = replace(first, paths="one" if first.paths == "outcome" else "outcome")
    if isinstance(first.coordinates, Kernel):  # numbers for the cells that were measured, and no others
        return [Estimate(value=np.nan, stderr=np.nan, method="bootstrap")] * len(plugins)
    alike = []
    for plugin in plugins:
        other = replace(plugin, cells=cells)
        if not isinstance(plugin.advantage, GAE):  # nothing but GAE asks for the cell of a response
            other.__dict__.update(measures=plugin.measures, totals=plugin.totals)
        other.__dict__["mean_reward"] = plugin.mean_reward
        alike.append(other)
    return [drift.length_per_kl for drift in drifts(cells, alike, weights[:50], progress)]


def _what_if(plugin: Plugin, weights: FloatArray, report: Progress) -> tuple[WhatIf, ...]:
    settings = list(other_settings(plugin))
    cut = shorter(plugin)
    found: list[WhatIf] = []
    for cells, group in ((plugin.cells, settings), *([] if cut is None else [
            (cut.cells, [(f"cut at {cut.log.max_tokens:,} tokens", cut)])])):
        report.say(f"{plugin.scheme.name}: other settings")
        breakdowns = [_walk(each, report) for _, each in group]
        for (change, _), drift, breakdown in zip(group, drifts(cells, [each for _, each in group], weights[:50]),
                                                 breakdowns, strict=True):
            found.append(WhatIf(change=change, length_per_kl=drift.length_per_kl, length=drift.length,
                                covariance=breakdown.covariance(weights[:50])))
    return tuple(found)


def _finding(plugin: Plugin, breakdown: Breakdown, drift: Drift, other: Estimate, weights: FloatArray,
             ideas: tuple[WhatIf, ...], ends: tuple[Any, ...]) -> Finding:
    log, sums = plugin.log, breakdown.profile
    responses = np.maximum(sums[0], 1.0)
    heavy = sums[2].sum() / sums[1].sum()
    known = not plugin.adaptive
    sources = breakdown.estimate(breakdown.sources, weights) if known else None
    names, runs = log.steps[1], breakdown.bins
    steps = tuple((int(names[runs == run][0]), int(names[runs == run][-1])) for run in range(int(runs[-1]) + 1))
    return Finding(
        drift=drift, sources=sources, length_bins=(1, *(int(edge) for edge in breakdown.edges)),
        share=sums[0] / sums[0].sum(), mean_advantage=sums[3] / responses,
        token_weight=np.divide(sums[2], sums[1] * heavy, out=np.zeros_like(responses), where=sums[1] * heavy > 0),
        effective_reward=_paid_for(drift, breakdown), covariance=breakdown.covariance(weights),
        dead_groups=float(breakdown.groups[1] / breakdown.groups[0]), graded=log.correct is not None, blocks=log.blocks,
        steps=steps,
        by_step=breakdown.steps(weights) if known and len(steps) > 1 else None, if_other_paths=other, what_if=ideas,
        stops=ends, notes=tuple(dict.fromkeys([*drift.notes, *_particular(plugin)])),
        source_draws=np.array(breakdown.draws) if known and breakdown.draws else None,
        rate_draws=breakdown.drawn(breakdown.sources.sum(axis=(1, 2, 4)), weights) if known else None)


def _paid_for(drift: Drift, breakdown: Breakdown) -> FloatArray:
    """The effective reward by length bin, as often as responses of each cell stop there."""
    policy, reward = drift.policy, np.asarray(drift.effective_reward.value)
    mass = np.where(np.isfinite(reward), policy.cell_weight[:, None] * policy.pmf, 0.0)
    of_bin = np.searchsorted(breakdown.edges, np.arange(1, mass.shape[1] + 1), side="right")
    paid, weight = (np.bincount(of_bin, weights=x.sum(axis=0), minlength=len(breakdown.edges) + 1)
                    for x in (np.where(mass > 0, reward, 0.0) * mass, mass))
    mean = paid.sum() / weight.sum() if weight.sum() else 0.0
    return np.where(weight > 0, paid / np.where(weight > 0, weight, 1.0) - mean, np.nan)


def _describe(log: Log) -> dict[str, Any]:
    count = float(log.law.sum())
    return {"responses": int(count), "prompts": log.prompts[1], "groups": len(log.starts) - 1,
            "steps": len(log.steps[1]), "max_tokens": log.max_tokens,
            "mean_length": log.mean_length,
            "accuracy": float(log.law[:, 0].sum()) / count if log.correct is not None else None,
            "truncation_rate": None if log.cut is None else log.cut_share,
            "mean_reward": float(log.rollouts.rewards.mean(dtype=np.float64))}


def _general(log: Log, reward: Reward | None) -> list[str]:
    """What every scheme on this log has in common."""
    notes = ["responses are paid as logged, whatever reward a scheme names"] if reward is None else []
    reading = log.rollouts.reading
    if reading is not None:
        notes += [choice if code(choice) == "not read" else f"read: {choice}" for choice in reading.choices]
        if reading.skipped:
            notes.append(f"{reading.rows - reading.kept:,} of {reading.rows:,} rows are left out: "
                         + "; ".join(f"{count:,} {reason}" for reason, count in reading.skipped.items()))
    if log.rollouts.classes is None:
        notes.append("the log names no prompt classes: all prompts share one pair of paths")
    if log.rollouts.steps is None:
        notes.append("the log names no steps: it counts as one step")
    elif len(log.steps[1]) > 1:
        notes.append("the policy of the log is the average over its steps")
    if log.cut_share > 0 and log.correct is not None:
        notes.append("truncated responses count with the path of their grade, wrong unless they were graded correct")
    notes.append(f"a cap above {log.max_tokens:,} is not identified by this log")
    return notes


def _particular(plugin: Plugin) -> list[str]:
    """What this scheme meets on this log."""
    scheme, log, notes = plugin.scheme, plugin.log, []
    kl = [penalty for penalty in (scheme.kl_in_reward, scheme.kl_in_loss) if penalty is not None]
    if kl and log.rollouts.kl is None:
        notes.append("the scheme's KL is left out: the log has none")
    elif kl and not all(penalty in plugin.kl for penalty in kl):
        notes.append("a KL to the old policy is 0 on a log of that policy")
    elif kl and plugin.kl[1] is not None:
        notes.append("a response's KL is spread evenly over its tokens")
    elif kl and isinstance(plugin.advantage, GAE):
        notes.append("a response's KL is paid with its last token")
    sizes = np.diff(log.starts)
    if scheme.advantage.group_relative:
        if (sizes != scheme.group_size).any():
            shown = f"of {sizes.min()}" + (f" to {sizes.max()}" if sizes.max() > sizes.min() else "")
            notes.append(f"groups are as logged, {shown}; the scheme names {scheme.group_size}")
        if (sizes == 1).any():
            notes.append(f"{(sizes == 1).sum():,} groups have one response")
    if scheme.minibatches * scheme.ppo_epochs > 1:
        notes.append("the first optimiser step alone, on the policy that drew the log: no ratio, no clip")
    return notes
