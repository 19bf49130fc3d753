"""Many steps: the expected update followed through a run, step by step or as a flow, or sampled runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from lossim._engine import (
    Step,
    describe_policy,
    describe_rng,
    describe_scheme,
    expected_measures,
    share_of_dead_groups,
    update_gradient,
    versions,
)
from lossim._model import Kernel
from lossim._support import checks
from lossim._support.progress import Progress
from lossim._support.text import Note
from lossim._support.types import FloatArray
from lossim._training.records import Records, clip_fraction
from lossim._training.replicates import Row, sampled_rows, with_values
from lossim._training.result import Training, regime_notes
from lossim.advantages import GAE
from lossim.critics import Learned
from lossim.optimizers import SGD, AdamW, Optimizer
from lossim.policies import Policy
from lossim.schemes import Scheme

__all__ = ["train"]

KNOTS = Note("knots", "with a kernel given as numbers the optimiser sees moves of logits at knots, not parameters: "
             "Adam and a clip of the norm act on these; plain SGD does not depend on it")
NONLINEAR = Note("mean field", "the mean field is the limit of large batches: Adam, a clip of the norm and several "
                 "optimiser steps on a rollout are not linear in the update, so runs on small batches differ; "
                 "method='stochastic' tells by how much")
LIMIT = Note("large batch", "advantages are scaled by statistics of a step, taken in the limit of a large batch; small "
             "batches need method='stochastic'")


def train(scheme: Scheme, policy: Policy, *, steps: int, optimizer: Optimizer | None = None,
          method: Literal["mean_field", "flow", "stochastic"] = "mean_field", reference: Policy | None = None,
          replicates: int = 1, rng: np.random.Generator | None = None, progress: bool = False) -> Training:
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
        optimizer: see :mod:`lossim.optimizers`; SGD with a learning rate of 1 unless given.
        reference: what a KL compares with; ``policy`` unless given.
        replicates: independent runs for ``"stochastic"``, done side by side.
        rng: source of randomness for ``"stochastic"``; the same state gives the same numbers.
        progress: print the step to stderr.

    Returns:
        A :class:`~lossim.Training`; ``.policy`` goes on from there, also with another scheme, another cap
        (``policy.recapped``) or mix of prompts (``policy.reweighted``).

    Raises:
        NoClosedForm: the expected update of the scheme has no closed form; or, for ``"stochastic"``, GAE with a reward
            that compares a group, whitened or clipped by its sign after the first optimiser step on a rollout.
        ValueError: ``"flow"`` with momentum, a schedule, a clip, or more than one optimiser step per rollout;
            ``replicates`` or ``rng`` where nothing is sampled; a first step that cannot be taken. A later one that
            cannot, for lack of groups with unequal rewards or because ratios overflow, ends the run with a note.

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
    _expect("scheme", scheme, Scheme, "a Scheme, for example schemes.grpo()")
    _expect("policy", policy, Policy, "a Policy")
    checks.whole("steps", steps)
    rule = SGD(learning_rate=1.0) if optimizer is None else optimizer
    _expect("optimizer", rule, Optimizer, "an optimizer, for example optimizers.AdamW(learning_rate=0.01)")
    checks.choice("method", method, ("mean_field", "flow", "stochastic"))
    checks.whole("replicates", replicates)
    checks.flag("progress", progress)
    held = policy if reference is None else reference
    _expect("reference", held, Policy, "a Policy")
    how: dict[str, Any] = {"method": method, "optimizer": repr(rule)}
    run = _Run(scheme, policy, held, rule)
    if method == "stochastic":
        if not isinstance(rng, np.random.Generator):
            checks.fail("rng", rng, "must be a numpy Generator for method='stochastic'",
                        "pass rng=np.random.default_rng(0)", TypeError)
        how |= {"replicates": replicates, "rng": describe_rng(rng)}
        _stochastic(run, steps, progress, replicates, rng)
        return run.result(how)
    if rng is not None:
        checks.fail("rng", rng, "is only for sampling", "leave it out, or pass method='stochastic'")
    if replicates > 1:
        checks.fail("replicates", replicates, f"must be 1 for method={method!r}, which samples nothing",
                    "pass method='stochastic' and an rng")
    (_flow if method == "flow" else _mean_field)(run, steps, progress)
    return run.result(how)


def _expect(name: str, value: object, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        checks.fail(name, value, f"must be {what}", error=TypeError)


class _Run:
    """What a run keeps on its way."""

    def __init__(self, scheme: Scheme, start: Policy, reference: Policy, optimizer: Optimizer) -> None:
        self.scheme, self.start, self.reference, self.optimizer = scheme, start, reference, optimizer
        self.position, self.there = np.zeros(start.motion.size), start
        self.first = first = Step(scheme=scheme, policy=start, reference=reference, old=start)
        self.records = Records(first)
        critic = first.advantage.critic if isinstance(first.advantage, GAE) else None
        self.critic = critic if isinstance(critic, Learned) else None
        self.values = None if self.critic is None else self.critic.start_values(first.critic_view)
        self.rows: list[tuple[Row, Row]] = []
        self.rescales = isinstance(optimizer, AdamW) or optimizer.max_norm is not None
        self.notes = [KNOTS] if self.rescales and isinstance(start.coordinates, Kernel) else []
        self.limit = self.interrupted = False

    def step(self, policy: Policy, old: Policy) -> Step:
        """One optimiser step on a rollout of the old policy."""
        scheme = self.scheme
        if self.values is not None:
            scheme = replace(scheme, advantage=with_values(scheme.advantage, self.values))
        return Step(scheme=scheme, policy=policy, reference=self.reference, old=old)

    def learn(self, step: Step) -> None:
        """One update of the critic on the law of the policy that draws."""
        if self.critic is None or self.values is None:
            return
        assert isinstance(step.advantage, GAE)
        mean, reached = self.critic.targets(self.values, step.critic_view,
                                            bootstrap_truncated=step.advantage.bootstrap_truncated)
        self.values = self.critic.learned(self.values, mean, reached)

    def state(self, policy: Policy) -> Row:
        """Numbers of a policy, and of the critic beside it."""
        state = self.records.state(policy, self.position)
        return state if self.values is None else state | {"critic": self.values}

    def update(self, step: Step) -> FloatArray:
        """The expected update in coordinates."""
        expected = expected_measures(step)
        self.limit |= expected.method == "large-batch limit"
        return self.start.motion.pull(*update_gradient(step, expected.measures))

    def begin(self) -> None:
        """Train the critic alone where that is asked for; numbers of the policy before the first step."""
        try:
            for _ in range(0 if self.critic is None else self.critic.pretrain):
                self.learn(self.step(self.start, self.start))
        except KeyboardInterrupt:
            self.interrupted = True
        self.rows.append((self.state(self.start), {}))

    def moved(self, new: Policy, position: FloatArray, *, first: Step, last: Step, rate: float) -> None:
        """Numbers of a step that was taken, with its first and last optimiser step; the critic learns from it."""
        dead = share_of_dead_groups(first)
        self.learn(first)
        self.there, self.position = new, position
        state = self.state(new)
        self.rows.append((state, self.records.change(self.rows[-1][0], state) | {
            "dead_groups": np.array(dead), "learning_rate": np.array(rate),
            "clip_fraction": clip_fraction(last, first.old.cell_weight[:, None] * first.old.ends)}))

    def result(self, provenance: dict[str, Any]) -> Training:
        columns: dict[str, Any] = {name: np.array([state[name] for state, _ in self.rows]) for name in self.rows[0][0]}
        names = ("composition", "within", "dead_groups", "clip_fraction", "learning_rate")
        shape = (len(self.rows) - 1, *columns["length"].shape[1:])
        columns |= {name: np.array([move[name] for _, move in self.rows[1:]], dtype=np.float64).reshape(shape)
                    for name in names}
        notes = self.notes + regime_notes(columns["length"], columns["truncation_rate"], columns["accuracy"])
        made = {"steps": shape[0], "scheme": describe_scheme(self.scheme), "versions": versions(),
                "policy": describe_policy(self.start)}
        critic = columns.pop("critic", None)
        return Training(**columns, critic=critic, notes=tuple(notes), interrupted=self.interrupted, start=self.start,
                        scheme=self.scheme, provenance=provenance | made)


def _follow(run: _Run, steps: int, progress: bool, advance: Callable[[], None]) -> None:
    """Take steps until they are done, an interrupt comes, or one cannot be taken; what was done is kept."""
    try:
        with Progress(progress) as report:
            for number in range(len(run.rows), steps + 1):
                advance()
                report.say(f"train: step {number:,} of {steps:,}")
    except KeyboardInterrupt:
        run.interrupted = True
    except (ValueError, ArithmeticError) as reason:
        if len(run.rows) == 1:
            raise
        run.notes.append(Note("ended early", f"ended after step {len(run.rows) - 1} of {steps}: {reason}"))


def _mean_field(run: _Run, steps: int, progress: bool) -> None:
    run.begin()
    state = run.optimizer.start(run.position.shape)
    inner = run.scheme.ppo_epochs * run.scheme.minibatches

    def advance() -> None:
        nonlocal state
        old, position, rate = run.there, run.position, run.optimizer.rate(state.count)
        policy, first = old, run.step(old, old)
        step = first
        for number in range(inner):
            if number:
                step = run.step(policy, old)
            move, state = run.optimizer.step(state, run.update(step), position)
            position = position + move
            policy = run.start.moved(position)
        run.moved(policy, position, first=first, last=step, rate=rate)

    if not run.interrupted:
        _follow(run, steps, progress, advance)
    if inner > 1 or run.rescales:
        run.notes.append(NONLINEAR)
    if run.limit:
        run.notes.append(LIMIT)


def _flow(run: _Run, steps: int, progress: bool) -> None:
    from scipy.integrate import solve_ivp  # takes longer to import than lossim does

    rule, scheme = run.optimizer, run.scheme
    if rule != SGD(learning_rate=rule.learning_rate):
        checks.fail("optimizer", rule, "must be plain SGD for method='flow'", "use method='mean_field'")
    if run.critic is not None:
        checks.fail("critic", run.critic, "must not learn for method='flow', which has no critic updates",
                    "use method='mean_field'")
    if scheme.ppo_epochs * scheme.minibatches > 1:
        checks.fail("ppo_epochs", scheme.ppo_epochs, "and minibatches must be 1 for method='flow'",
                    "use method='mean_field'")

    def velocity(_: float, position: FloatArray) -> FloatArray:
        there = run.start.moved(position)
        velocity: FloatArray = rule.learning_rate * run.update(run.step(there, there))
        return velocity

    def advance() -> None:
        done = solve_ivp(velocity, (0.0, 1.0), run.position, method="LSODA", rtol=1e-8, atol=1e-10)
        if not done.success:
            raise ArithmeticError(f"the flow cannot be followed further: {done.message}; use a smaller learning_rate")
        drawn = run.step(run.there, run.there)
        run.moved(run.start.moved(done.y[:, -1]), done.y[:, -1], first=drawn, last=drawn, rate=rule.learning_rate)

    run.begin()
    _follow(run, steps, progress, advance)
    if run.limit:
        run.notes.append(LIMIT)


def _stochastic(run: _Run, steps: int, progress: bool, replicates: int, rng: np.random.Generator) -> None:
    rows = sampled_rows(run.first, run.optimizer, run.records, replicates, rng)
    run.rows.append(next(rows))
    _follow(run, steps, progress, lambda: run.rows.append(next(rows)))
