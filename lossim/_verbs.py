"""What would change it: verbs on a scheme and its subject, a policy or a log of responses."""

from __future__ import annotations

from typing import Any

from lossim._auditing import stops_of_log, what_if_of_log
from lossim._changes import KNOBS, Stops, WhatIfs, stops_of_policy, what_if_of_policy
from lossim._support import checks
from lossim.policies import Policy
from lossim.rollouts import Rollouts
from lossim.schemes import Scheme


def what_if(scheme: Scheme, subject: Policy | Rollouts, **how: Any) -> WhatIfs:
    """What becomes of the drift of mean length if one setting at a time is another.

    Treatments of truncated responses, rewards, penalty per token, std, whitening, aggregation, λ, critic, KL, entropy
    bonus, clip and cap, as far as the scheme has them.

    Args:
        scheme: what the trainer does with a batch.
        subject: a policy, or a log of responses, which are paid as logged.
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
    'responses get longer, +4.32 tokens in a step of 0.01 nats; no change by itself turns that'
    >>> print(found["aggregation token-mean"].length_per_kl)
    2.761
    """
    _checked(scheme, subject)
    return what_if_of_policy(scheme, subject, **how) if isinstance(subject, Policy) else what_if_of_log(
        scheme, subject, **how)


def stops(scheme: Scheme, subject: Policy | Rollouts, knob: str | None = None, **how: Any) -> Stops:
    """The values of a number at which mean length does not drift, all else as it is.

    Each number is looked at on a grid, and where the drift changes sign between two of its values Brent's method finds
    the root; two roots between neighbours of the grid are not seen. Where the drift jumps across zero that is said. The
    drift is computed some twenty times for each number: where once takes long (a std over many reward levels), ask for
    one ``knob``.

    Args:
        scheme: what the trainer does with a batch.
        subject: a policy, or a log of responses, which are paid as logged.
        knob: ``"truncated"`` (reward of truncated responses), ``"penalty"`` (per token), ``"kl"``, ``"alpha"``
            (aggregation by T^-α), ``"lambda"``, ``"critic"`` (a constant one), ``"baseline"``; of a policy also
            ``"group_size"``, ``"clip"`` (off policy), ``"solve_rate"`` (of classes with two paths) and
            ``"max_tokens"``. By default all that the scheme has.
        how: as in :func:`what_if`; a log is not redrawn.

    Returns:
        :class:`Stops`.

    How strong a penalty per token holds length:

    >>> import lossim as ls
    >>> policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=100),
    ...                                wrong=ls.lengths.geometric(mean=60), max_tokens=1024)
    >>> scheme = ls.schemes.dr_grpo(reward=ls.Reward(shaping=ls.rewards.LinearPenalty(slope=1e-4)))
    >>> held = ls.stops(scheme, policy, "penalty")
    >>> print(held.stops[0])
    penalty per token: 0.001365 (now 0.0001)
    >>> shaping = ls.rewards.LinearPenalty(slope=held.stops[0].needed)
    >>> print(f"{ls.drift(ls.schemes.dr_grpo(reward=ls.Reward(shaping=shaping)), policy).length_per_kl:.3f} tokens")
    0.000 tokens
    """
    _checked(scheme, subject)
    if knob is not None:
        checks.choice("knob", knob, KNOBS)
    return stops_of_policy(scheme, subject, knob, **how) if isinstance(subject, Policy) else stops_of_log(
        scheme, subject, knob, **how)


def _checked(scheme: Any, subject: Any) -> None:
    checks.of_kind("scheme", scheme, Scheme, "a Scheme", "for example schemes.grpo()")
    checks.of_kind("subject", subject, (Policy, Rollouts), "a Policy or Rollouts",
                   "for example policies.two_paths(...) or Rollouts.read(...)")
