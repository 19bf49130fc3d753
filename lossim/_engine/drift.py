"""The front door: what a scheme does to response length, by either method, as one result type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal

import numpy as np

from lossim._engine.exact import expected_measures, update_scale
from lossim._engine.gradients import Measures
from lossim._engine.provenance import describe_policy, describe_rng, describe_scheme, versions
from lossim._engine.readout import Readout, effective_reward, step_std
from lossim._engine.result import Drift
from lossim._engine.sampled import block_measures
from lossim._engine.step import Step
from lossim._support import checks
from lossim._support.positions import blocks
from lossim._support.progress import Progress
from lossim._support.text import Note
from lossim._support.types import FloatArray
from lossim.advantages import GAE, GPG, MaxRL, ResponseAdvantage, Whitened
from lossim.estimates import Estimate
from lossim.policies import Policy
from lossim.schemes import Scheme

__all__ = ["drift", "finished"]

BLOCKS = 64
"""Blocks of batches behind a Monte Carlo standard error."""
_GRADIENTS = ("hazard_gradient", "path_gradient", "update")
_TOKENS = ("length", "composition", "within", "length_by_class", "length_by_path", "length_by_outcome",
           "sources")
ROUNDING = 1e-13
"""Rounding error allowed for, relative to the sum of the absolute contributions."""


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
        batches: sampled steps, at least 16, rounded up to whole blocks of up to 64 (default: 64, or as many as
            make 262,144 responses).
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
    step = Step(scheme=scheme, policy=policy, reference=reference or policy, old=old_policy or policy)
    if method == "exact":
        for name, given in (("rng", rng), ("batches", batches)):
            if given is not None:
                checks.fail(name, given, "is only for sampling", "leave it out, or pass method='monte_carlo'")
        return _exact(step)
    if not isinstance(rng, np.random.Generator):
        checks.fail("rng", rng, "must be a numpy Generator for Monte Carlo", "pass rng=np.random.default_rng(0)",
                    TypeError)
    if batches is None:
        batches = max(BLOCKS, (1 << 18) // scheme.responses_per_step)
    checks.whole("batches", batches, low=16, fix="fewer give no standard error worth the name")
    return _monte_carlo(step, rng, batches, progress)


def _read(step: Step, readout: Readout, measures: Measures) -> dict[str, Any]:
    """Every linear number of some measures."""
    policy = step.policy
    values = readout.linear(step, measures)
    values["effective_reward"] = effective_reward(policy, values["hazard_gradient"])
    if not isinstance(step.advantage, GAE) and measures.response is not None:
        values["response_weight"] = _response_weight(step, measures.response)
    return values


def _response_weight(step: Step, response: FloatArray) -> FloatArray:
    """The measure over the probability: n·weight·E[advantage] by [cell, outcome, t], NaN where nothing ends."""
    ratio = np.full((len(response), 3, response.shape[-1] - 1), np.nan)
    for cells in blocks(*ratio.shape[::2]):
        mass, measure = step.old.law[cells] * step.old.cell_weight[cells, None, None], response[cells]
        cut = mass[:, :, -1].sum(axis=1)
        np.divide(measure[:, :, :-1], mass[:, :, :-1], out=ratio[cells, :2], where=mass[:, :, :-1] > 0)
        np.divide(measure[:, :, -1].sum(axis=1), cut, out=ratio[cells, 2, -1], where=cut > 0)
    return ratio


def _exact(step: Step) -> Drift:
    expected = expected_measures(step)
    readout = Readout(policy=step.policy, task=step.task, scale=update_scale(step))
    values = _read(step, readout, expected.measures)
    values |= readout.ratios(values)
    spread = step_std(step, readout)
    values["step_std"] = np.nan if spread is None else spread
    # Rounding of a denominator's transform grows with the number of responses it is taken to the power of.
    relative = ROUNDING + (expected.error + 2e-15 * step.scheme.responses_per_step if expected.error else 0.0)
    mixing = step.policy.class_weight[step.policy.class_of_cell] * values["path_probability"]
    gross = max(float(np.abs(values["sources"]).sum() + np.abs(mixing * step.policy.mean_length_by_cell).sum()),
                readout.length_scale)

    def error(name: str) -> float:
        floor = gross if name in _TOKENS else readout.scale if name in _GRADIENTS else 0.0
        numbers = np.asarray(values[name])
        return relative * max(floor, float(np.fmax.reduce(numbers, axis=None, initial=0.0)),
                              -float(np.fmin.reduce(numbers, axis=None, initial=0.0)))

    def make(name: str) -> Estimate:
        return Estimate(value=values[name], error=error(name), method=expected.method)

    notes: list[str] = []
    if expected.method == "large-batch limit":
        notes.append(Note("large batch", "advantages are scaled by statistics of a step: exact in the limit of a large "
                          "batch; small steps need method='monte_carlo'"))
    if spread is None:
        notes.append(Note("step_std", "step_std is known to method='monte_carlo' only"))
    return finished(step, readout, values, make, notes, {"method": "exact"})


def _monte_carlo(step: Step, rng: np.random.Generator, batches: int, progress: bool) -> Drift:
    cells, positions = step.policy.logits.shape
    blocks = int(min(batches, BLOCKS, max(16, 40_000_000 // (cells * positions))))
    per_block = -(-batches // blocks)
    seed = describe_rng(rng)
    readout = Readout(policy=step.policy, task=step.task, scale=update_scale(step))
    mean: dict[str, Any] = {}
    squares: dict[str, FloatArray] = {}
    kept: list[dict[str, FloatArray]] = []
    jackknifed = ("length", "reward", "update", "hazard_gradient", "path_gradient")
    with Progress(progress) as report:
        for done, measures in enumerate(block_measures(step, rng, blocks, per_block), start=1):
            values = {name: np.asarray(x) for name, x in _read(step, readout, measures).items()}
            kept.append({name: values[name] for name in jackknifed})
            for name, x in values.items():  # Welford
                before = mean.get(name, np.zeros_like(x))
                mean[name] = before + (x - before) / done
                squares[name] = squares.get(name, np.zeros_like(x)) + (x - before) * (x - mean[name])
            report.say(f"monte carlo: {done * per_block:,} of {blocks * per_block:,} batches")
    spread = {name: np.sqrt(x / (blocks - 1)) for name, x in squares.items()}
    stderr = {name: x / np.sqrt(blocks) for name, x in spread.items()}
    # Noise adds to a norm q of the mean, with many coordinates more than there is signal; q(ḡ) - Σ q(g_b - ḡ) /
    # (B (B - 1)) is unbiased, and the jackknife removes most of the bias that the ratios have beyond that.
    noise = np.array([readout.norms({name: one[name] - mean[name] for name in jackknifed}) for one in kept])
    ratios = readout.ratios(mean, noise.sum(axis=0) / (blocks * (blocks - 1)))
    without = [readout.ratios({name: (blocks * mean[name] - one[name]) / (blocks - 1) for name in jackknifed},
                              (noise.sum(axis=0) - blocks / (blocks - 1) * own) / ((blocks - 1) * (blocks - 2)))
               for one, own in zip(kept, noise, strict=True)]
    for name, value in ratios.items():
        replicas = np.array([one[name] for one in without])
        mean[name] = blocks * value - (blocks - 1) * replicas.mean()
        stderr[name] = np.sqrt((blocks - 1) / blocks * np.sum((replicas - replicas.mean()) ** 2))
        of = "reward" if name == "alignment" else "length"
        if abs(mean[of]) < 3.0 * stderr[of]:  # the sign itself is noise, which a jackknife of a ratio cannot see
            stderr[name] = max(stderr[name], abs(value) * stderr[of] / abs(mean[of])) if mean[of] else np.inf
    mean["step_std"] = spread["length"] * np.sqrt(per_block)
    stderr["step_std"] = mean["step_std"] / np.sqrt(2.0 * (blocks - 1))

    def make(name: str) -> Estimate:
        return Estimate(value=mean[name], stderr=stderr[name], n=blocks * per_block, method="monte carlo")

    notes: list[str] = []
    if np.isnan(mean["length_per_kl"]) and np.any(mean["update"]):
        notes.append(Note("noise", "the update is not told from sampling noise: length_per_kl and alignment need more "
                          "batches"))
    elif stderr["alignment"] > 1.0:
        mean["alignment"] = np.nan
        notes.append(Note("noise", "the direction of the update is not told from sampling noise: alignment needs more "
                          "batches"))
    if step.scheme.reward.group_relative:
        notes.append(Note("group reward", "the reward compares the lengths of a group: reward, length_per_reward and "
                          "alignment are not defined"))
        for name in ("reward", "length_per_reward", "alignment"):
            mean[name] = np.nan
    return finished(step, readout, mean, make, notes, {"method": "monte_carlo", "batches": blocks * per_block,
                                                       "blocks": blocks, "rng": seed})


def finished(step: Step, readout: Readout, values: dict[str, Any], make: Callable[[str], Estimate],
             notes: list[str], provenance: dict[str, Any]) -> Drift:
    """The result of some numbers by name, each made an estimate by ``make``."""
    scheme, policy = step.scheme, step.policy
    undecided = np.abs(values["length_by_path"]) < readout.leak(values)
    given = scheme.advantage.inner if isinstance(scheme.advantage, Whitened) else scheme.advantage
    if scheme.group_size == 1 and isinstance(given, ResponseAdvantage) and given.group_relative:
        notes.append(Note("group of one", f"groups of one: {_alone(given)}"))
    if isinstance(given, MaxRL) and not scheme.reward.group_relative and step.task.min() < 0:
        notes.append(Note("negative rewards", "MaxRL is meant for rewards of at least 0: groups whose mean is not "
                          "positive move nothing"))
    if step.old is not policy:
        notes.append(Note("old policy", f"responses are drawn by the old policy, {step.old!r}"))
    if step.reference is not policy and (scheme.kl_in_loss or scheme.kl_in_reward):
        notes.append(Note("reference", f"KL is to the reference, {step.reference!r}"))
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


def _alone(estimator: ResponseAdvantage) -> str:
    """What an estimator that compares makes of a single response."""
    returns, ones = np.array([[1.0], [-1.0]]), np.ones((2, 1))
    good, bad = np.round(estimator.of_group(returns, ones, ones, np.zeros(1))[:, 0], 3)
    made = {(1.0, -1.0): "the return itself", (1.0, 0.0): "the return's positive part"}.get((good, bad), "0")
    scaled = " times the responses over those that are paid" if isinstance(estimator, GPG) and made != "0" else ""
    return f"the advantage is {made}{scaled} (group_of_one={'zero' if made == '0' else 'raw'!r})"
