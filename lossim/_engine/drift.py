"""The front door: what a scheme does to response length, by either method, as one result type."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from lossim._engine.exact import expected_measures, share_of_dead_groups, update_scale
from lossim._engine.monte_carlo import BLOCKS, sampled_drift
from lossim._engine.pace import Pace, clock
from lossim._engine.projections import gae_projection
from lossim._engine.readout import Changes, Directions, Readout, Value
from lossim._engine.report import Question, linear_numbers, reported
from lossim._engine.result import Drift
from lossim._engine.step import Step
from lossim._support import checks
from lossim._support.positions import along
from lossim._support.records import mapped
from lossim._support.text import Note
from lossim._support.types import FloatArray
from lossim.advantages import group_of
from lossim.estimates import Estimate
from lossim.policies import Policy
from lossim.schemes import Scheme

ROUNDING = 1e-13
"""Rounding error allowed for, relative to the sum of the absolute contributions."""
ROUNDING_OF_TRANSFORMS = 2e-15
"""The same of a denominator's transform, for each response that it is taken to the power of."""
LARGE_BATCH = Note("large batch", "advantages are scaled by statistics of a step: exact in the limit of a large batch; "
                   "small steps need method='monte_carlo'")
DEAD = 0.99
"""Share of groups with equal rewards from which on there is a note on it."""
NO_STEP_STD = Note("step_std", "step_std is known to method='monte_carlo' only")


def drift(scheme: Scheme, policy: Policy, method: Literal["exact", "monte_carlo"] = "exact", *,
          rng: np.random.Generator | None = None, batches: int | None = None, old_policy: Policy | None = None,
          reference: Policy | None = None, pace: Pace | None = None, progress: bool = False) -> Drift:
    """The expected effect of one step of ``scheme`` on ``policy``, tokens per unit step.

    Args:
        scheme: what the trainer does with a batch.
        policy: where it starts, and what training moves (its coordinates).
        method: ``"exact"`` sums over the law of a step (needs no rng, samples nothing); ``"monte_carlo"`` averages
            sampled steps and gives standard errors.
        rng: source of randomness for Monte Carlo; the same state gives the same numbers.
        batches: sampled steps, at least 16, rounded up to whole blocks of up to 64 (default: 64, or as many as
            make 262,144 responses).
        old_policy: policy that drew the batch, for later epochs and mini-batches; by default the policy itself
            (on-policy). The scheme's surrogate then clips by the ratio of both.
        reference: policy that KL penalties refer to; by default the policy itself.
        pace: how far a step of the run goes, see :func:`lossim.pace`: the result then says how fast, too.
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
    3.417, 7.00 tokens per 0.01 nats
    """
    if not isinstance(scheme, Scheme):
        checks.fail("scheme", scheme, "must be a Scheme", "for example schemes.grpo()", TypeError)
    if not isinstance(policy, Policy):
        checks.fail("policy", policy, "must be a Policy", "for example policies.two_paths(...)", TypeError)
    checks.choice("method", method, ("exact", "monte_carlo"))
    for name, other in (("old_policy", old_policy), ("reference", reference)):
        if other is not None and not isinstance(other, Policy):
            checks.fail(name, other, "must be a Policy", "leave it out for the policy itself", TypeError)
    question = Question(scheme=scheme, policy=policy, reference=reference or policy, old=old_policy or policy)
    check_alike(policy, reference=question.reference, old_policy=question.old)
    step = question.step
    if method == "exact":
        for name, given in (("rng", rng), ("batches", batches)):
            if given is not None:
                checks.fail(name, given, "is only for sampling", "leave it out, or pass method='monte_carlo'")
        return at_pace(_exact_drift(question, step), pace)
    if not isinstance(rng, np.random.Generator):
        checks.fail("rng", rng, "must be a numpy Generator for Monte Carlo", "pass rng=np.random.default_rng(0)",
                    TypeError)
    if batches is None:
        batches = max(BLOCKS, (1 << 18) // scheme.responses_per_step)
    count = checks.whole("batches", batches, low=16, fix="fewer give no standard error worth the name")
    return at_pace(sampled_drift(question, step, rng, count, progress), pace)


def at_pace(result: Drift, pace: Pace | None) -> Drift:
    """The drift, with its speed where a pace is given."""
    return result if pace is None else replace(result, paced=clock(result, pace))


def check_alike(policy: Policy, *, reference: Policy, old_policy: Policy) -> None:
    """Policies that a step compares must have the same cells, and the one that draws the same prompts and grades."""
    mine = policy.arrays
    for name, other in (("reference", reference), ("old_policy", old_policy)):
        if mine.cell_names != other.arrays.cell_names or mine.max_tokens != other.max_tokens:
            checks.fail(name, other, "must have the classes, paths and max_tokens of the policy")
    drawn = old_policy.arrays
    if not np.array_equal(mine.class_weight, drawn.class_weight):
        checks.fail("old_policy", old_policy, "must have the class weights of the policy", "use reweighted(...)")
    alike = np.array_equal(_untrained(policy), _untrained(old_policy)) and np.array_equal(mine.others, drawn.others)
    if not alike:
        checks.fail("old_policy", old_policy, "must be graded as the policy is (p_correct, p_correct_truncated)")


def _untrained(policy: Policy) -> FloatArray:
    """P(correct | end) without the skill that training has added, [cell, end]."""
    plain = [path.moved(path.probability, path.laws, [-skill for skill in path.skills]) for path in policy.paths]
    return np.concatenate([path.correctness(policy.max_tokens) for path in plain])


def _exact_drift(question: Question, step: Step) -> Drift:
    """The drift by sums over the law of a step."""
    expected = expected_measures(step)
    directions = Directions(policy=step.policy, motion=question.policy.motion)
    readout = Readout(directions=directions, task=step.task, scale=update_scale(step))
    changes = linear_numbers(step, readout, expected.measures)
    spread = step_std(step, directions)
    # Rounding of a denominator's transform grows with the number of responses it is taken to the power of.
    relative = ROUNDING
    if expected.error:
        relative += expected.error + ROUNDING_OF_TRANSFORMS * step.scheme.responses_per_step

    def estimate(value: Value, floor: float = 0.0) -> Estimate:
        numbers = np.asarray(value)
        largest = float(np.fmax.reduce(numbers, axis=None, initial=0.0))
        lowest = float(np.fmin.reduce(numbers, axis=None, initial=0.0))
        return Estimate(value=value, error=relative * max(floor, largest, -lowest), method=expected.method)

    # How large what adds up to each number is before anything cancels: rounding errors are relative to that.
    policy = step.policy
    mixing = policy.class_weight[policy.layout.class_of_path] * changes.path_probability
    contributions = np.abs(changes.sources).sum() + np.abs(mixing * policy.mean_length_by_path).sum()
    uncancelled = readout.scale * max(float(np.abs(direction).max()) for direction in directions.length)
    tokens = max(float(contributions), uncancelled)
    floors = Changes(
        length=tokens, within=tokens, composition=tokens, needed=tokens, free=tokens, length_by_class=tokens,
        length_by_path=tokens, length_by_outcome=tokens, path_probability=0.0, accuracy=0.0, reward=0.0,
        truncation_rate=0.0, sources=tokens, hazard_gradient=readout.scale, path_gradient=readout.scale,
        skill_gradient=readout.scale, update=readout.scale, effective_reward=0.0, response_weight=0.0)
    notes = [LARGE_BATCH] if expected.method == "large-batch limit" else []
    notes += _of_dead_groups(step)
    if spread is None:
        notes.append(NO_STEP_STD)
    return reported(question, step, readout, mapped(estimate, changes, floors),
                    mapped(estimate, readout.ratios(changes)), estimate(np.nan if spread is None else spread), notes,
                    {"method": "exact"})


def _of_dead_groups(step: Step) -> list[Note]:
    """A word where hardly a group moves anything: a drift in nats does not show it."""
    if not step.scheme.advantage.group_relative or step.scheme.dynamic_sampling == "resample":
        return []
    dead = share_of_dead_groups(step)
    if not DEAD <= dead < 1.0:
        return []
    return [Note("dead groups", f"hardly moves: all rewards are equal in all but {1.0 - dead:.1g} of the groups, and "
                 "such groups push nothing; a step of 0.01 nats is then many steps of a run")]


# --- the spread of single steps ---------------------------------------------------------------------------------


def step_std(step: Step, directions: Directions) -> float | None:
    """Standard deviation of one step's length change per unit step, where responses are not coupled; else None.

    With X the contribution of one response times n, i.i.d. given the class of its group,
    Var = Var(X)/n + (G - 1)/n · Var_class(E[X | class]).
    """
    scheme = step.scheme
    # Where responses change state, the sum over tokens hangs on when they did.
    coupled = (len(step.policy.arrival) or step.drawn_ratio is not None or step.whitening is not None
               or scheme.advantage.group_relative or scheme.dynamic_sampling != "none" or scheme.entropy is not None
               or scheme.aggregation.size(np.ones(1)) is not None)
    if coupled or (step.token_level is not None and step.token_level.adaptive):
        return None
    policy = step.policy
    size = step.own_weight(scheme.aggregation)
    estimator = step.response_level
    mean = np.empty(policy.layout.cells)
    variance = np.empty(len(mean))
    for cells in policy.layout.blocks:
        law = policy.law[cells]
        stop, go = directions.scores(cells)
        # Σ_t A_t · score_t of a response by [cell, grade, end].
        if estimator is None:
            total = gae_projection(step, cells, stop, go)
        else:
            fixed = step.baseline[policy.class_of_cell[cells]][:, None, None]
            returns = step.returns if len(step.returns) == 1 else step.returns[cells]
            returns = np.broadcast_to(returns, law.shape)
            total = estimator.of_group(group_of(returns, baseline=fixed)) * along(stop, go)[:, None]
        if step.kl_slope is not None:
            held = along(stop * step.kl_slope.stop[cells], go * step.kl_slope.go[cells])
            total += held[:, None]
        total *= size
        mean[cells] = np.einsum("cge,cge->c", law, total)
        total -= mean[cells, None, None]
        variance[cells] = np.einsum("cge,cge->c", law, total**2)
    by_class = np.bincount(policy.class_of_cell, weights=policy.cell_probability * mean)
    overall = float(policy.class_weight @ by_class)
    squared = float(policy.cell_weight @ (variance + (mean - overall) ** 2))
    between = float(policy.class_weight @ (by_class - overall) ** 2)
    n = scheme.responses_per_step
    return float(np.sqrt(max(squared / n + (scheme.group_size - 1) / n * between, 0.0)))
