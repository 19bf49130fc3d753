"""The front door of many steps: runs in the mean field, as a flow, or sampled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, Literal

import numpy as np

from lossim._engine import (
    Pace,
    Question,
    check_alike,
    checked_family,
    clock,
    content_notes,
    describe_policy,
    describe_rng,
    describe_scheme,
    drift,
    family_of,
    other_work,
    start_notes,
    unsettled_notes,
    versions,
)
from lossim._model import Coordinates, Kernel, Kernels
from lossim._support import checks
from lossim._support.progress import Progress
from lossim._support.text import Note
from lossim._training.mean_field import Flow, MeanField
from lossim._training.records import Entry, Recorder, State, Transition
from lossim._training.replicates import sampled_entries
from lossim._training.result import Training, regime_notes, scale_notes, sign_notes, turn_notes
from lossim.optimizers import SGD, Optimizer
from lossim.policies import Policy
from lossim.schemes import Scheme

KNOTS = Note("knots", "with a kernel given as numbers the optimiser sees moves of logits at knots, not parameters: "
             "Adam and a clip of the norm act on these; plain SGD does not depend on it")


def train(scheme: Scheme, policy: Policy, *, steps: int, optimizer: Optimizer | None = None,
          method: Literal["mean_field", "flow", "stochastic"] = "mean_field", reference: Policy | None = None,
          pace: Pace | None = None, replicates: int = 1, rng: np.random.Generator | None = None,
          kernels: Kernels | Sequence[Coordinates] | None = None, progress: bool = False) -> Training:
    """Follow the update of a scheme through an RL run: the expected one, or that of sampled batches.

    ``"mean_field"`` takes, at each step, the exact expected update of every optimiser step on one rollout:
    ``scheme.ppo_epochs`` passes over ``scheme.minibatches`` mini-batches, with ratios to the policy that drew.
    ``"flow"`` follows dθ/ds = η·(expected update) from s = 0 to ``steps``, the limit of small learning rates at the
    same product of rate and steps; plain SGD alone, with an error of about 1e-6 in the coordinates, relative.
    ``"stochastic"`` samples: each of ``replicates`` runs draws prompts_per_step · minibatches groups from its own
    policy at each step and takes them apart into mini-batches in a new random order on each pass. Advantages, with
    all statistics of group and batch, are those of the whole rollout, as in verl and TRL, which compute them before
    they split it; the denominators of the aggregation are those of the mini-batch.

    Args:
        steps: rollouts, at least 1.
        optimizer: see :mod:`lossim.optimizers`; SGD with a learning rate of 1 unless given. Logits move here directly,
            a network's through a kernel of unknown scale: a trainer's own learning rate means nothing here.
        reference: what a KL compares with; ``policy`` unless given.
        pace: how far a step of the run goes, see :func:`lossim.pace`, instead of an ``optimizer``: plain SGD whose
            first step goes so far, so that steps are a trainer's steps.
        replicates: independent runs for ``"stochastic"``, done side by side.
        rng: source of randomness for ``"stochastic"``; the same state gives the same numbers.
        kernels: what the sign of each step is told under, as for :func:`lossim.drift`.
        progress: print the step to stderr.

    Returns:
        A :class:`~lossim.Training`; ``.policy`` goes on from there, also with another scheme, another cap
        (``policy.recapped``) or mix of prompts (``policy.reweighted``).

    Raises:
        NoClosedForm: the expected update of the scheme has no closed form; or, for ``"stochastic"``, GAE with a reward
            that compares a group, whitened or clipped by its sign after the first optimiser step on a rollout.
        ValueError: ``"flow"`` with momentum, a schedule, a clip, or more than one optimiser step per rollout;
            ``replicates`` or ``rng`` where nothing is sampled; a pace by what does not move here; a first step that
            cannot be taken. A later one that cannot, for lack of groups with unequal rewards or because ratios
            overflow, ends the run with a note.

    >>> import lossim as ls
    >>> policy = ls.policies.unsolvable(length=ls.lengths.geometric(mean=100), max_tokens=2048)
    >>> run = ls.train(ls.schemes.ppo(), policy, steps=50, optimizer=ls.optimizers.SGD(learning_rate=0.2))
    >>> run.length[[0, 25, 50]].round(1)
    array([100. , 121.9, 144.9])

    Twenty runs with 64 prompts per step, the median and what 5 % of them are below and 5 % above:

    >>> runs = ls.train(ls.schemes.ppo(prompts_per_step=64), policy, steps=50, method="stochastic", replicates=20,
    ...                 optimizer=ls.optimizers.SGD(learning_rate=0.2), rng=np.random.default_rng(0))
    >>> runs.quantiles("length")[:, 50].round(1)
    array([141.5, 144.1, 146.3])
    """
    checks.of_kind("scheme", scheme, Scheme, "a Scheme, for example schemes.grpo()")
    checks.of_kind("policy", policy, Policy, "a Policy")
    steps = checks.whole("steps", steps)
    rule = SGD(learning_rate=1.0) if optimizer is None else optimizer
    if pace is not None:
        if optimizer is not None:
            checks.fail("optimizer", optimizer, "must not be given with a pace, which is a learning rate",
                        "leave one of them out")
        rule = paced_rule(scheme, policy, reference, pace)
    checks.of_kind("optimizer", rule, Optimizer, "an optimizer, for example optimizers.AdamW(learning_rate=0.01)")
    checks.choice("method", method, ("mean_field", "flow", "stochastic"))
    replicates = checks.whole("replicates", replicates)
    checks.flag("progress", progress)
    held = policy if reference is None else reference
    checks.of_kind("reference", held, Policy, "a Policy")
    check_alike(policy, reference=held, old_policy=policy)
    first = Question(scheme=scheme, policy=policy, old=policy, reference=held).step
    recorder = Recorder(first)
    how: dict[str, Any] = {"method": method, "optimizer": repr(rule), "pace": None if pace is None else str(pace)}
    family = family_of(checked_family(kernels), policy.coordinates)
    run = None
    if method == "stochastic":
        source = checks.of_kind("rng", rng, np.random.Generator, "a numpy Generator for method='stochastic'",
                                "pass rng=np.random.default_rng(0)")
        how |= {"replicates": replicates, "rng": describe_rng(source)}
        entries = sampled_entries(policy.motion, rule, recorder, family, replicates, source)
    else:
        if rng is not None:
            checks.fail("rng", rng, "is only for sampling", "leave it out, or pass method='stochastic'")
        if replicates > 1:
            checks.fail("replicates", replicates, f"must be 1 for method={method!r}, which samples nothing",
                        "pass method='stochastic' and an rng")
        run = (Flow if method == "flow" else MeanField)(policy.motion, rule, recorder, family)
        entries = run.entries()
    done, end, interrupted = _followed(entries, steps, progress)

    # the run as the result that a user sees
    states: dict[str, Any] = {each.name: np.array([getattr(entry.state, each.name) for entry in done])
                              for each in fields(State)}
    if done[0].state.critic is None:
        states["critic"] = None
    length = states["length"]
    taken = [entry.transition for entry in done if entry.transition is not None]
    of_step = {each.name: np.array([getattr(one, each.name) for one in taken], dtype=np.float64)
               .reshape(-1, *length.shape[1:]) for each in fields(Transition)}
    notes = [KNOTS] if rule.rescales and isinstance(policy.coordinates, Kernel) else []
    notes += _critic_notes(scheme) + unsettled_notes(scheme)
    notes += content_notes(scheme, policy) + start_notes(first, policy)
    if any(kl.coefficient for kl in (scheme.kl_in_loss, scheme.kl_in_reward) if kl is not None):
        notes += other_work(policy, held, "reference")
    notes += end + ([] if run is None else run.notes)
    notes += sign_notes(of_step["range_low"], of_step["range_high"])
    notes += regime_notes(length, states["truncation_rate"], states["accuracy"], states["kl_to_start"])
    notes += scale_notes(states["kl_to_start"]) if pace is None else []
    notes += turn_notes(policy.layout, states["accuracy_by_path"], states["path_probability"])
    how |= {"steps": len(done) - 1, "scheme": describe_scheme(scheme), "versions": versions(),
            "policy": describe_policy(policy)}
    return Training(**states, **of_step, notes=tuple(notes), interrupted=interrupted,
                    start=policy, reference=held, scheme=scheme, provenance=how)


def _critic_notes(scheme: Scheme) -> list[Note]:
    """Which critic was taken where none was given."""
    return [Note("critic", f"no critic was given, so {name} is taken in every step; .doubts tells the first step under "
                 "others") for name, _ in scheme.advantage.assumed_critics[:1]]


def paced_rule(scheme: Scheme, policy: Policy, reference: Policy | None, pace: Pace) -> SGD:
    """Plain SGD whose steps on the first rollout together go as far as the pace says."""
    paced = clock(drift(scheme.settled, policy, reference=reference), pace)
    if paced.undefined:
        checks.fail("pace", str(pace), f"sets no step size: {paced.undefined}", "give a pace by KL, or an optimizer")
    return SGD(learning_rate=paced.step_size / (scheme.ppo_epochs * scheme.minibatches))


def _followed(entries: Iterator[Entry], steps: int, progress: bool) -> tuple[list[Entry], list[Note], bool]:
    """Steps until they are done, an interrupt comes, or one cannot be taken: what was done, why not more, interrupted.

    The state before the first step is the first entry.
    """
    done = [next(entries)]
    try:
        with Progress(progress) as report:
            for number in range(1, steps + 1):
                done.append(next(entries))
                report.say(f"train: step {number:,} of {steps:,}")
    except KeyboardInterrupt:
        return done, [], True
    except (ValueError, ArithmeticError) as reason:
        if len(done) == 1:
            raise
        return done, [Note("ended early", f"ended after step {len(done) - 1} of {steps}: {reason}")], False
    return done, [], False
