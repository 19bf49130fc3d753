"""Verbs on a scheme and its subject, a policy, a log of responses or curves: which way, and what would change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np

from lossim import _engine
from lossim._auditing import Audit, attribution_of_log, audit, stops_of_log, what_if_of_log
from lossim._changes import (
    KNOBS,
    Attribution,
    Stops,
    WhatIfs,
    attribution_of_policy,
    stops_of_policy,
    targets_of_policy,
    what_if_of_policy,
)
from lossim._engine import Drift, Pace
from lossim._model import Coordinates, Kernels
from lossim._support import checks
from lossim._support.text import Note, Phrase, Way
from lossim.curves import Curves
from lossim.policies import Policy, from_summary
from lossim.rollouts import AnyLog, as_rollouts
from lossim.schemes import Scheme

OTHERS = "a Policy, Curves, "
"""What else a subject may be, beside a log."""
FROM_CURVES = Note("curves", "a policy with the first numbers of the curves stands for the run")


@overload
def drift(scheme: Scheme, subject: Policy, method: Literal["exact", "monte_carlo"] = "exact", *,
          rng: np.random.Generator | None = None, batches: int | None = None, old_policy: Policy | None = None,
          reference: Policy | None = None, kernels: Kernels | Sequence[Coordinates] | None = None,
          pace: Pace | None = None, progress: bool = False) -> Drift: ...
@overload
def drift(scheme: Scheme, subject: Curves, *, max_tokens: int, **how: Any) -> Drift: ...
@overload
def drift(scheme: Scheme | Sequence[Scheme], subject: AnyLog, **how: Any) -> Audit: ...
def drift(scheme: Scheme | Sequence[Scheme], subject: Policy | AnyLog | Curves, method: Any = "exact", **how: Any
          ) -> Drift | Audit:
    """Which way a step of ``scheme`` pushes mean length, tokens per unit step and in a step of 0.01 nats.

    Of a policy that is the expected effect of one step; of a log it is its :func:`audit`, of one scheme or several; of
    curves the effect on a policy with their first numbers, see :func:`lossim.policies.from_summary`.

    Args:
        scheme: what the trainer does with a batch; of a log several, too.
        subject: a policy: where it starts, and what training moves (its coordinates). A log: `Rollouts`, or what these
            read, files or a table in memory; responses are paid as logged. Or curves, with ``max_tokens``.
        method: ``"exact"`` sums over the law of a step (needs no rng, samples nothing); ``"monte_carlo"`` averages
            sampled steps and gives standard errors. A log takes the keywords of :func:`audit` instead of this and the
            following.
        rng: source of randomness for Monte Carlo; the same state gives the same numbers.
        batches: sampled steps, at least 16, rounded up to whole blocks of up to 64 (default: 64, or as many as
            make 262,144 responses).
        old_policy: policy that drew the batch, for later epochs and mini-batches; by default the policy itself
            (on-policy). The scheme's surrogate then clips by the ratio of both.
        reference: policy that KL penalties refer to; by default the policy itself.
        kernels: what training may move, over which the sign is told: a family, or coordinates one by one. By default
            :func:`lossim.kernels`, and none beside a kernel that was measured.
        pace: how far a step of the run goes, see :func:`lossim.pace`: the result then says how fast, too.
        max_tokens: the cap, of curves; of a log as :func:`audit` has it.
        progress: report sampled blocks on stderr.

    Returns:
        :class:`Drift`, the same type for both methods; :class:`Audit` of a log.

    Raises:
        NoClosedForm: ``"exact"`` cannot do one of the slots; the message names it.
        ValueError: a bad argument; the message names the value, the rule and the fix.

    >>> import lossim as ls
    >>> never = ls.policies.unsolvable(length=ls.lengths.geometric(mean=50), max_tokens=4096)
    >>> pushed = ls.drift(ls.schemes.ppo(gae_lambda=0.95), never)
    >>> print(f"{pushed.length:.3f}, {pushed.length_per_kl:.2f} tokens per 0.01 nats")
    3.417, 7.00 tokens per 0.01 nats
    >>> log = [{"prompt": i // 4, "length": 40 + 9 * (i % 4), "reward": float(i % 4 < 2)} for i in range(400)]
    >>> ls.drift(ls.schemes.grpo(), log).verdict
    'grpo: ...'
    """
    if isinstance(subject, Policy | Curves):
        policy, how, notes = _settled(subject, how)
        found = _engine.drift(scheme, policy, method, **how)  # type: ignore[arg-type]
        return found.but(notes=(*found.notes, *notes)) if notes else found
    rollouts = as_rollouts(subject, "subject", beside=OTHERS)
    if method != "exact":
        checks.fail("method", method, "is for a policy: a log is summed as it is", "leave it out")
    return audit(scheme, rollouts, **how)


def what_if(scheme: Scheme, subject: Policy | AnyLog | Curves, **how: Any) -> WhatIfs:
    """What becomes of the drift of mean length if one setting at a time is another.

    Treatments of truncated responses, rewards, penalty per token, std, whitening, aggregation, λ, critic, KL, entropy
    bonus, clip and cap, as far as the scheme has them.

    Args:
        scheme: what the trainer does with a batch.
        subject: a policy; a log, `Rollouts` or what these read, whose responses are paid as logged; or curves, with
            ``max_tokens``, whose first numbers make a policy.
        how: of a policy the keywords of :func:`lossim.drift` (``method``, ``rng``, ``batches``, ``old_policy``,
            ``reference``, ``kernels``, ``progress``); of a log those by which :func:`lossim.audit` reads it
            (``reward``, ``paths``, ``needed``, ``coordinates``, ``kernels``, ``max_tokens``, ``correct_above``,
            ``replicates``, ``rng``, ``progress``).

    Returns:
        :class:`WhatIfs`. What has no closed form is listed with its reason; ``method="monte_carlo"`` samples it.

    >>> import lossim as ls
    >>> policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=100),
    ...                                wrong=ls.lengths.geometric(mean=60), max_tokens=1024)
    >>> found = ls.what_if(ls.schemes.grpo(), policy)
    >>> found.verdict
    'undecided: longer in 58 of 64 kernels, shorter in 6; -4.06 to +9.84 tokens in a step of 0.01 nats'
    >>> print(found["aggregation token-mean"].length_per_kl)
    2.737
    """
    checks.of_kind("scheme", scheme, Scheme, "a Scheme", "for example schemes.grpo()")
    if not isinstance(subject, Policy | Curves):
        return what_if_of_log(scheme, as_rollouts(subject, "subject", beside=OTHERS), **how)
    policy, how, notes = _settled(subject, how)
    found = what_if_of_policy(scheme, policy, **how)
    return replace(found, notes=(*found.notes, *notes))


def stops(scheme: Scheme, subject: Policy | AnyLog | Curves, knob: str | None = None, *, length: float | None = None,
          steps: int | None = None, **how: Any) -> Stops:
    """The values of a number at which mean length does not drift, all else as it is.

    Each number is looked at on a grid, and where the drift changes sign between two of its values Brent's method finds
    the root; two roots between neighbours of the grid are not seen. Where the drift jumps across zero that is said. The
    drift is computed some twenty to fifty times for each number: where once takes long (a std over many reward
    levels), ask for one ``knob``.

    Beside each value stands its range over plausible kernels, ``Stop.range``: one gradient tells the drift under all of
    them, and of each kernel the value nearest to where the number stands is taken.

    With ``length`` and ``steps`` it is the value at which a run from a policy ends so long: the grid is walked from
    where the number stands to both sides until runs end on either side of the length, then Brent's method, as near as
    a ten-thousandth of it. Its range is that of runs under two kernels, the ones which by a single step need least and
    most: others may need less or more. Some thirty runs for each number, so ask for one ``knob``, and pass
    ``kernels=()`` for ten and no range; where no value gets there ``Stop.reach`` says how far they do.

    Args:
        scheme: what the trainer does with a batch.
        subject: a policy; a log, `Rollouts` or what these read, whose responses are paid as logged; or curves, with
            ``max_tokens``, whose first numbers make a policy.
        knob: ``"truncated"`` (reward of truncated responses), ``"penalty"`` (per token), ``"kl"``, ``"alpha"``
            (aggregation by T^-α), ``"lambda"``, ``"critic"`` (a constant one), ``"baseline"``; of a policy also
            ``"group_size"``, ``"clip"`` (off policy), ``"solve_rate"`` (of classes with two paths) and
            ``"max_tokens"``. By default all that the scheme has.
        length: the mean length that a run is to end at, tokens; of a policy or curves.
        steps: how many steps it has, in the mean field of :func:`lossim.train`.
        how: as in :func:`what_if`; a log is not redrawn. With ``length``: ``pace`` or ``optimizer``, ``reference``,
            ``kernels`` and ``progress``, as :func:`lossim.train` has them; the learning rate that makes the pace of
            the scheme as it is, under a kernel, stays that of every run under it.

    Returns:
        :class:`Stops`, with a ``goal`` where a length was asked for.

    How strong a penalty per token holds length:

    >>> import lossim as ls
    >>> policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=100),
    ...                                wrong=ls.lengths.geometric(mean=60), max_tokens=1024)
    >>> scheme = ls.schemes.dr_grpo(reward=ls.Reward(shaping=ls.rewards.LinearPenalty(slope=1e-4)))
    >>> held = ls.stops(scheme, policy, "penalty")
    >>> print(held.stops[0])
    penalty per token: 0.0004114 (now 0.0001; -0.00198 to 0.00294 over 64 kernels)
    >>> shaping = ls.rewards.LinearPenalty(slope=held.stops[0].needed)
    >>> drift = ls.drift(ls.schemes.dr_grpo(reward=ls.Reward(shaping=shaping)), policy)
    >>> print(f"{abs(float(drift.length_per_kl)):.3f} tokens")
    0.000 tokens

    And how strong one has a run of fifty steps end at 60 tokens:

    >>> asked = dict(length=60, steps=50, pace=ls.pace(kl_per_step=1e-4))
    >>> ls.stops(ls.schemes.dr_grpo(), policy, "penalty", **asked).verdict
    'mean length goes from 76 to 89.18 tokens in 50 steps as it is; 60 by penalty per token 0.001014 (-0.000302 to
    0.00483 over 2 kernels)'
    """
    checks.of_kind("scheme", scheme, Scheme, "a Scheme", "for example schemes.grpo()")
    if knob is not None:
        checks.choice("knob", knob, KNOBS)
    if length is not None or steps is not None:
        return _target(scheme, subject, knob, length, steps, how)
    if not isinstance(subject, Policy | Curves):
        return stops_of_log(scheme, as_rollouts(subject, "subject", beside=OTHERS), knob, **how)
    policy, how, notes = _settled(subject, how)
    found = stops_of_policy(scheme, policy, knob, **how)
    return replace(found, notes=(*found.notes, *notes))


def _target(scheme: Scheme, subject: Any, knob: str | None, length: float | None, steps: int | None,
            how: dict[str, Any]) -> Stops:
    """The values at which a run of so many steps ends at a length."""
    for name, given, other in (("length", length, "steps"), ("steps", steps, "length")):
        if given is None:
            checks.fail(name, given, f"must be given with {other}", "for example length=600, steps=100")
    if not isinstance(subject, Policy | Curves):
        checks.fail("subject", subject, "must be a policy or curves where a run is to reach a length, for a log stands "
                    "still", "fit one: lossim.fit(log).policy", TypeError)
    for name in ("method", "rng", "batches", "old_policy"):
        if name in how:
            checks.fail(name, how[name], "is for one step, not for a run that is to reach a length", "leave it out")
    policy, how, notes = _settled(subject, how)
    found = targets_of_policy(scheme, policy, knob, length=length, steps=steps, **how)  # type: ignore[arg-type]
    return replace(found, notes=(*found.notes, *notes))


def attribute(scheme: Scheme | Sequence[Scheme], subject: Policy | AnyLog | Curves, *, relative_to: Scheme,
              **how: Any) -> Attribution:
    """Which slots make the difference between the drifts of mean length under two schemes: Shapley values.

    Slots act together, so what one does hangs on which others have changed. Its share is the mean over all orders in
    which the k slots that differ may change one after the other, from the drifts v(S) of all 2^k mixtures of both
    schemes, where S is what they have of ``scheme``:

        φ_i = Σ_{S ∌ i} |S|! (k - |S| - 1)! / k! · (v(S ∪ i) - v(S))

    Shares add up to the difference, in tokens per unit step and in tokens in a step of 0.01 nats alike: each is the
    value of its own game. A slot that changes nothing in any mixture has none. Slots that make no scheme apart, as a
    group of one and sampling again where all rewards are equal, are taken together, and a note says so. A slot that the
    number does not hang on (passes over a rollout; on a log the reward, since responses are paid as logged) is not
    mixed. All slots of a scheme may differ: that is a few thousand mixtures.

    Args:
        scheme: the scheme that is explained; or several, each then relative to the one before it.
        subject: a policy; a log, `Rollouts` or what these read; or curves, with ``max_tokens``.
        relative_to: the scheme that all starts from.
        how: as in :func:`what_if`. With ``method="monte_carlo"`` every mixture is sampled from the same streams of
            random numbers, in eight sets of batches whose scatter makes the standard errors; a log is read once and
            redrawn alike for all mixtures.

    Returns:
        :class:`Attribution`: ``.shares``, a range over plausible kernels beside each, ``.plot()``, ``.to_dataframe()``.

    Raises:
        NoClosedForm: a mixture has none; ``method="monte_carlo"`` samples it.
        ValueError: schemes that do not differ, or a bad argument.

    References:
        Shapley, L. S. (1953). A value for n-person games. Contributions to the Theory of Games II, 307-317.

    >>> import lossim as ls
    >>> policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=100),
    ...                                wrong=ls.lengths.geometric(mean=60), max_tokens=1024)
    >>> found = ls.attribute(ls.schemes.dr_grpo(), policy, relative_to=ls.schemes.grpo())
    >>> found.verdict
    'mean length drifts by +7.62 under grpo, by +2.76 under dr_grpo, tokens in a step of 0.01 nats; by aggregation
    -4.86 (?)'
    >>> first, last = (float(each.length_per_kl) for each in found.drifts)
    >>> print(f"{sum(float(each.length_per_kl) for each in found.shares):+.3f} of {last - first:+.3f} tokens")
    -4.856 of -4.856 tokens
    """
    if not isinstance(subject, Policy | Curves):
        return attribution_of_log(scheme, as_rollouts(subject, "subject", beside=OTHERS), relative_to=relative_to,
                                  **how)
    policy, how, notes = _settled(subject, how)
    found = attribution_of_policy(scheme, policy, relative_to=relative_to, **how)
    return replace(found, notes=(*found.notes, *notes))


def _settled(subject: Policy | Curves, how: dict[str, Any]) -> tuple[Policy, dict[str, Any], tuple[str, ...]]:
    """The policy, of curves one with their first numbers; the keywords that are left, and what was assumed."""
    if isinstance(subject, Policy):
        return subject, how, ()
    rest = dict(how)
    cap = rest.pop("max_tokens", None)
    if cap is None:
        checks.fail("max_tokens", cap, "must be given with curves, which do not tell it")
    numbers: dict[str, Any] = subject.summary()
    if "accuracy" not in numbers:
        checks.fail("accuracy", None, "must be known at some step to make a policy of curves",
                    Phrase("give ", Way("accuracy", "Curves(accuracy=...)")))
    policy = from_summary(**numbers, max_tokens=cap)
    return policy, rest, (FROM_CURVES,)  # results repeat what the policy assumes
