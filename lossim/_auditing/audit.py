"""The question about a run that was logged: which way does my loss push length, through which responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import numpy as np

from lossim._auditing.asked import asked_of
from lossim._auditing.bootstrap import FEW, Spread, read, read_together, redraw
from lossim._auditing.breakdown import Breakdown
from lossim._auditing.by_path import by_path
from lossim._auditing.cells import LoggedCells, Paths
from lossim._auditing.doubts import asides_of, critic_doubt, doubts_of_scheme, tokenizer_doubt
from lossim._auditing.findings import AtShare, Audit, Finding, beyond_noise
from lossim._auditing.log import Log
from lossim._auditing.plugin import Plugin
from lossim._auditing.settings import stops
from lossim._auditing.settings import what_if as what_if_on
from lossim._engine import Drift, Pace, at_pace
from lossim._model import Coordinates, Kernel, Kernels
from lossim._support import checks
from lossim._support.progress import Progress
from lossim._support.quotients import quotient
from lossim._support.text import Note, code
from lossim._support.types import FloatArray
from lossim.advantages import Group
from lossim.estimates import Estimate
from lossim.rewards import Reward
from lossim.rollouts import AnyLog, Rollouts
from lossim.schemes import Scheme

Say = Callable[[str], None]


Asked = Scheme | Sequence[Scheme]


def audit(schemes: Asked | AnyLog, rollouts: AnyLog | Asked, *, reward: Reward | None = None,
          paths: Paths = "outcome", needed: float | Sequence[float] | None = None,
          coordinates: Coordinates | None = None, max_tokens: int | None = None, correct_above: float | None = None,
          kernels: Kernels | Sequence[Coordinates] | None = None, what_if: bool | None = None,
          pace: Pace | None = None, replicates: int | None = None,
          rng: np.random.Generator | None = None, executor: Executor | None = None, progress: bool = False) -> Audit:
    """What schemes do to mean length on a logged run, with standard errors from its prompts drawn again.

    The log is made a policy: cells are class × outcome, hazards are stops over responses at risk. Each response is
    credited in the group and the step it was logged in, and the drift of mean length follows as for any other policy:
    dE[T]/dη = ⟨g, K·∇E[T]⟩ with g the gradient of this very log.

    Args:
        schemes: one scheme, or several side by side. Their rewards are not read: responses are paid as logged.
        rollouts: what was logged, :class:`~lossim.Rollouts` or what these read: files, or a table in memory. The log
            may come first, too.
        reward: pays by this rule instead.
        paths: ``"outcome"``: right and wrong responses are paths of their own, the policy knows where it stands;
            ``"one"``: it does not. A log cannot tell, and both numbers are reported; this chooses the one explained.
            ``"states"``: it knows whether its answer is there; a right response is done from some position on, a wrong
            one works to its end. ``"column"``: the paths are those that the log names, ``Rollouts(path_names=...)``.
        needed: with ``"states"``, the share of a right response's length, in [0, 1], at which its answer was there: one
            or several, over which the verdict is given. By default the log's own positions,
            ``Rollouts(answered=...)``, or without these 0.25, 0.5 and 0.9. Numbers are those at the middle one.
        coordinates: what training moves, see :func:`lossim.coordinates`.
        kernels: what the sign is told under, as for :func:`lossim.drift`.
        max_tokens: the cap, where the log does not say which responses were truncated.
        correct_above: responses paid more than this are correct, where the log has no grades and rewards take more
            than two values.
        what_if: other settings on the same log, and what would stop the drift; by default for a single scheme.
        pace: how far a step of the run goes, for example ``pace(log)``, see :func:`lossim.pace`: the verdict is then in
            tokens per step and per point of accuracy.
        replicates: how often the prompts are drawn again; 0 for no standard errors. Unless given 200, or as few as 50
            where cells have tens of thousands of positions.
        rng: source of randomness; by default a fixed seed, so that a log has one answer.
        executor: any :class:`concurrent.futures.Executor`, whose workers read the files of the log side by side; the
            audit is the same to the bit.
        progress: report on stderr.

    Returns:
        :class:`~lossim.Audit`.

    Raises:
        ValueError: a log that does not hold what it takes; the message names the value, the rule and the fix.

    >>> import lossim as ls
    >>> policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=100),
    ...                                wrong=ls.lengths.geometric(mean=200), max_tokens=1024)
    >>> log = policy.sample(np.random.default_rng(0), prompts=500, group_size=8)
    >>> ls.audit(ls.schemes.grpo(), log).verdict
    'grpo: ...'
    """
    if what_if is not None:
        checks.flag("what_if", what_if)
    log_first = isinstance(schemes, Rollouts) or (_schemes(rollouts) and not _schemes(schemes))
    given: tuple[Any, Any] = (schemes, rollouts) if log_first else (rollouts, schemes)
    asked = asked_of(*given, reward=reward, paths=paths, needed=needed, coordinates=coordinates,
                     kernels=kernels, max_tokens=max_tokens, correct_above=correct_above, replicates=replicates,
                     rng=rng, executor=executor)
    log = asked.log
    with_settings = what_if if what_if is not None else len(asked.plugins) == 1
    with Progress(wanted=progress) as reporter:
        found = [replace(each, drift=at_pace(each.drift, pace))
                 for each in _findings(asked.plugins, asked.weights, with_settings, asked.shares, reporter.say)]
    named = by_path(log, asked.weights) if paths == "column" and log.correct is not None else None
    notes = [*asked.notes, *_general(log, reward, paths, asked.shares)]
    notes += () if named is None else named.notes
    return Audit(findings=tuple(found), log=_describe(log), paths=paths, by_path=named, notes=tuple(notes),
                 provenance=asked.provenance)


def _schemes(given: Any) -> bool:
    """A scheme, or several."""
    several = isinstance(given, Sequence) and len(given) > 0 and isinstance(given[0], Scheme)
    return several or isinstance(given, Scheme)


def _findings(plugins: Sequence[Plugin], weights: FloatArray, asked: bool, shares: Sequence[float], say: Say
              ) -> list[Finding]:
    """What the schemes do on one log; and under other settings, if that is ``asked``."""
    # The log as it is, and redrawn.
    say(f"{', '.join(plugin.scheme.name for plugin in plugins)}: reading the log")
    breakdowns = [Breakdown(plugin) for plugin in plugins]
    spreads = [Spread(plugin, sums, breakdown) for plugin, sums, breakdown in zip(
        plugins, read_together(plugins, breakdowns), breakdowns, strict=True)]
    redraw(spreads, weights, say)
    other_paths = _other_paths(spreads, weights, say)
    over_needed = _over_needed(spreads, weights, shares, say)
    # Other settings.
    findings = []
    for plugin, spread, breakdown, other, over in zip(plugins, spreads, breakdowns, other_paths, over_needed,
                                                      strict=True):
        finding = replace(_finding(spread, breakdown, other, weights), over_needed=over)
        if asked:
            say(f"{plugin.scheme.name}: other settings")
            moves = np.any(finding.drift.update.value) and not plugin.adaptive
            finding = replace(finding, what_if=what_if_on(plugin, weights), stops=stops(plugin, say) if moves else ())
        findings.append(finding)
    return findings


def _other_paths(spreads: Sequence[Spread], weights: FloatArray, say: Say) -> list[Estimate]:
    """``length_per_kl`` with the other reading of the paths; NaN where it cannot be had."""
    first = spreads[0].plugin.cells
    if first.log.correct is None or isinstance(first.coordinates, Kernel):
        # A kernel has numbers for the cells that were measured, and for no others.
        return [Estimate(value=np.nan, stderr=np.nan, method="bootstrap")] * len(spreads)
    cells = replace(first, paths="one" if first.paths == "outcome" else "outcome")
    others = [_elsewhere(spread, cells) for spread in spreads]
    redraw(others, weights[:FEW], say)
    return [each.ratios.length_per_kl for each in others]


def _elsewhere(spread: Spread, cells: LoggedCells, *, whole: bool = False) -> Spread:
    """The same scheme on other cells of the same log."""
    plugin = replace(spread.plugin, cells=cells)
    # Nothing but a critic asks for the cell of a response.
    knows_cells = plugin.scheme.advantage.token_level is not None
    return Spread(plugin, read(plugin) if knows_cells else (spread.totals, spread.by_pair), whole=whole)


def _over_needed(spreads: Sequence[Spread], weights: FloatArray, shares: Sequence[float], say: Say
                 ) -> list[tuple[AtShare, ...]]:
    """Each scheme under every needed share; nothing where there are not several."""
    first = spreads[0].plugin.cells
    found: list[list[AtShare]] = [[] for _ in spreads]
    for share in shares if len(shares) > 1 else ():
        under = list(spreads)
        if share != first.needed:
            cells = replace(first, needed=share)
            under = [_elsewhere(spread, cells, whole=True) for spread in spreads]
            redraw(under, weights[:FEW], say)
        cut_done = under
        if first.log.cut_share > 0:
            cells = replace(first, needed=share, cut_done=True)
            cut_done = [_elsewhere(spread, cells, whole=True) for spread in spreads]
            redraw(cut_done, weights[:FEW], say)
        for own, each, other in zip(found, under, cut_done, strict=True):
            own.append(_at_share(share, each, other))
    return [tuple(each) for each in found]


def _at_share(share: float, spread: Spread, cut_done: Spread) -> AtShare:
    """What a scheme does where that share was needed, of right responses alone and of cut ones too."""
    length, needed, free = (spread.estimate(getattr(spread.changes, name), getattr(spread.stderr, name))
                            for name in ("length", "needed", "free"))
    ratios = spread.ratios
    return AtShare(share=share, length=length, needed=needed, free=free, length_per_kl=ratios.length_per_kl,
                   accuracy_per_token=ratios.accuracy_per_token, way=_way(spread),
                   if_cut_done=cut_done.ratios.length_per_kl, way_if_cut_done=_way(cut_done))


def _way(spread: Spread) -> int:
    """Which way length goes: 1 for longer, -1 for shorter, 0 within the noise."""
    length = spread.estimate(spread.changes.length, spread.stderr.length)
    return int(np.sign(float(length))) if beyond_noise(length, spread.plugin.log.blocks) else 0


def _finding(spread: Spread, breakdown: Breakdown, other: Estimate, weights: FloatArray) -> Finding:
    """All of it as a result, but for other settings."""
    plugin = spread.plugin
    log = plugin.log
    drift = spread.drift()
    unsettled, about_scheme = doubts_of_scheme(spread, weights)
    drift = drift.but(doubts=(*drift.doubts, *critic_doubt(spread), *tokenizer_doubt(spread), *unsettled),
                    notes=(*drift.notes, *about_scheme))
    n = spread.totals.n
    known = not plugin.adaptive
    count, length, weighted, advantage = breakdown.profile
    steps = tuple((int(names[0]), int(names[-1])) for names in np.split(
        log.steps, np.flatnonzero(np.diff(breakdown.runs)) + 1))
    expected = length * (weighted.sum() / length.sum())
    return Finding(
        drift=drift, sources=breakdown.source_estimate(n, weights) if known else None,
        length_bins=(1, *(int(edge) for edge in breakdown.edges)), share=count / count.sum(),
        mean_advantage=advantage / np.maximum(count, 1.0),
        token_weight=quotient(weighted, expected),
        effective_reward=_paid_for(drift, breakdown), covariance=breakdown.covariance.estimate(weights),
        dead_groups=breakdown.dead_groups / breakdown.groups, graded=log.correct is not None, blocks=log.blocks,
        steps=steps, by_step=breakdown.step_estimate(weights) if known and len(steps) > 1 else None,
        paths=plugin.cells.paths, needed_share=plugin.cells.needed, over_needed=(), if_other_paths=other, what_if=(),
        stops=(),
        notes=tuple(dict.fromkeys([*drift.notes, *_particular(plugin)])), asides=asides_of(log),
        source_draws=np.concatenate(spread.contributions) if known and spread.contributions else None,
        rate_draws=breakdown.rate_draws(n, weights) if known else None)


def _paid_for(drift: Drift, breakdown: Breakdown) -> FloatArray:
    """The effective reward by length bin, as often as responses of each cell stop there."""
    def by_bin(x: FloatArray) -> FloatArray:
        summed = np.bincount(breakdown.bin_of_end[:-1], weights=x.sum(axis=0), minlength=breakdown.bins)
        return summed.astype(np.float64)

    policy = drift.policy
    reward = np.asarray(drift.effective_reward.value)
    mass = np.where(np.isfinite(reward), policy.cell_weight[:, None] * policy.pmf, 0.0)
    paid = by_bin(np.where(mass > 0, reward, 0.0) * mass)
    weight = by_bin(mass)
    mean = paid.sum() / weight.sum() if weight.sum() else 0.0
    return np.where(weight > 0, paid / np.where(weight > 0, weight, 1.0) - mean, np.nan)


def _describe(log: Log) -> dict[str, Any]:
    """What the log holds."""
    count = float(log.law.sum())
    return {"responses": int(count), "prompts": log.prompts, "groups": len(log.prompt), "steps": len(log.steps),
            "max_tokens": log.max_tokens, "mean_length": log.mean_length,
            "accuracy": float(log.law[:, 0].sum()) / count if log.correct is not None else None,
            "truncation_rate": None if log.cut is None else log.cut_share,
            "mean_reward": float(log.rollouts.rewards.mean(dtype=np.float64))}


def _general(log: Log, reward: Reward | None, paths: Paths, shares: Sequence[float]) -> list[str]:
    """What every scheme on this log has in common."""
    notes = ["responses are paid as logged, whatever reward a scheme names"] if reward is None else []
    reading = log.rollouts.reading
    if reading is not None:
        notes += [choice if code(choice) == "not read" else f"read: {choice}" for choice in reading.choices]
        if reading.skipped:
            notes.append(f"{reading.rows - reading.kept:,} of {reading.rows:,} rows are left out: "
                         + "; ".join(f"{count:,} {reason}" for reason, count in reading.skipped.items()))
    if log.rollouts.classes is None:
        shared = {"states": "one path", "column": "the named paths"}.get(paths, "one pair of paths")
        notes.append(f"the log names no prompt classes: all prompts share {shared}")
    if log.rollouts.steps is None:
        notes.append("the log names no steps: it counts as one step")
    elif len(log.steps) > 1:
        notes.append("the policy of the log is the average over its steps")
    if paths == "states":
        notes += _of_states(log, shares)
    elif log.cut_share > 0 and log.correct is not None and paths != "column":
        notes.append("truncated responses count with the path of their grade, wrong unless they were graded correct")
    notes.append(f"a cap above {log.max_tokens:,} is not identified by this log")
    return notes


def _of_states(log: Log, shares: Sequence[float]) -> list[Note]:
    """What was taken for granted about when answers were there."""
    if log.answered is not None:
        right = log.by_end(log.count)[:, 0].sum()
        _, grade, _, answered = log.places
        working = float(log.count[(answered == 0) & (grade == 0)].sum() / max(right, 1.0))
        note = "answers are there where the log says; a response without one works to its end"
        return [Note("answers", note + (f" ({working:.1%} of the right ones)" if working else ""))]
    said = f"{shares[0]:.3g}"
    if len(shares) > 1:
        said = f"{', '.join(f'{share:.3g}' for share in shares[:-1])} and {shares[-1]:.3g}"
        said += f", and {shares[len(shares) // 2]:.3g} where nothing else is said,"
    return [Note("needed", f"the answer of a right response is taken to be there at {said} of its length, and wrong "
                 "responses to work to their end: the log does not say; a column with the position of the answer "
                 "would")]


def _particular(plugin: Plugin) -> list[str]:
    """What this scheme meets on this log."""
    scheme = plugin.scheme
    log = plugin.log
    notes = []
    kl = [penalty for penalty in (scheme.kl_in_reward, scheme.kl_in_loss) if penalty is not None]
    if kl and log.rollouts.kl is None:
        notes.append("the scheme's KL is left out: the log has none")
    elif kl and not all(penalty in plugin.kl for penalty in kl):
        notes.append("a KL to the old policy is 0 on a log of that policy")
    elif kl and plugin.kl[1] is not None:
        notes.append("a response's KL is spread evenly over its tokens")
    elif kl and scheme.advantage.token_level is not None:
        notes.append("a response's KL is paid with its last token")
    sizes = log.sizes
    if scheme.advantage.group_relative:
        if (sizes != scheme.group_size).any():
            shown = f"of {sizes.min()}" + (f" to {sizes.max()}" if sizes.max() > sizes.min() else "")
            notes.append(f"groups are as logged, {shown}; the scheme names {scheme.group_size}")
        ones = int(np.count_nonzero(sizes == 1))
        if ones:
            credit = "gets the reward itself" if _paid_alone(scheme) else "gets no credit"
            notes.append(Note("groups of one", f"{ones:,} of {len(sizes):,} groups have one response, which is "
                              f"compared with nothing and {credit}"))
    if scheme.minibatches * scheme.ppo_epochs > 1:
        notes.append("the first optimiser step alone, on the policy that drew the log: no ratio, no clip")
    return notes


def _paid_alone(scheme: Scheme) -> bool:
    """Whether a response that is alone in its group is credited with its reward."""
    estimator = scheme.advantage.response_level
    one = np.ones((1, 1))
    alone = Group(returns=one, count=one, length=one, baseline=0.0 * one)
    return estimator is not None and bool(estimator.of_group(alone).any())
