"""Questions about a start: which way a step moves it, which of two steps does more; and what simple rules would say."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import NamedTuple

import numpy as np

import lossim as ls
from findings.parts import Asked, SchemeOf, Start
from findings.starts import right_law
from lossim import advantages
from lossim.optimizers import SGD

NAN = float("nan")
NATS = 0.01
"""KL per response of the steps that a drift is told for."""
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Step(NamedTuple):
    """A scheme's step from a policy; what a KL compares with is the policy itself unless given."""

    scheme: ls.Scheme
    policy: ls.Policy
    reference: ls.Policy | None = None

    @property
    def drift(self) -> ls.Drift:
        """Everything that is known of it, under the kernel of the policy alone."""
        return ls.drift(self.scheme, self.policy, reference=self.reference, kernels=[self.policy.coordinates])


Numbers = tuple[float, float]
"""A number of a step, in 0.01 nats and per unit step."""
Measure = Callable[[Sequence[Step]], list[Numbers]]
"""The number of each of some steps."""
Steps = Callable[[Start], tuple[Step, ...]]
"""One step, or two to be compared."""


@dataclass(frozen=True)
class Ask:
    """The number of a step, or of the first of two less that of the second; mean length unless told otherwise."""

    steps: Steps
    measure: Measure | None = None

    def __call__(self, start: Start) -> Asked:
        return self.of_each([start])[0]

    def of_each(self, starts: Sequence[Start]) -> list[Asked]:
        """The answers of several starts, whose steps are measured together."""
        steps = [(start, step) for start in starts for step in self.steps(start)]
        numbers = measured(self.measure or length, [step for _, step in steps], [start for start, _ in steps])
        count = len(steps) // len(starts)
        return [told([step for _, step in steps[first:first + count]], numbers[first:first + count])
                for first in range(0, len(steps), count)]


def told(steps: Sequence[Step], numbers: Sequence[Numbers]) -> Asked:
    """The answer of a start, from the numbers of its steps."""
    rule = [correlation(step) for step in steps]
    goal = [towards(step.policy) for step in steps]
    if len(steps) == 1:
        return Asked(*numbers[0], rule[0], goal[0])
    (one_kl, one_step), (other_kl, other_step) = numbers
    alike = steps[0].policy is steps[1].policy
    return Asked(less(one_kl, other_kl), less(one_step, other_step), less(*rule), NAN if alike else less(*goal))


def measured(measure: Measure, steps: Sequence[Step], starts: Sequence[Start]) -> list[Numbers]:
    """The measure of steps of starts; that of a start's own step once, however many findings ask for it.

    Findings with the same unknowns have the same draws, and so the same kernel beside the same values.
    """
    keys = [(measure, step.scheme, frozenset(start.values.items()))
            if step.policy is start and step.reference is None else None
            for step, start in zip(steps, starts, strict=True)]
    found = {number: MEASURED[key] for number, key in enumerate(keys) if key in MEASURED}
    wanted = [number for number in range(len(steps)) if number not in found]
    new = dict(zip(wanted, measure([steps[number] for number in wanted]), strict=True))
    if len(MEASURED) + len(new) > KEPT:
        MEASURED.clear()
    MEASURED.update((keys[number], numbers) for number, numbers in new.items() if keys[number] is not None)
    found |= new
    return [found[number] for number in range(len(steps))]


KEPT = 4096
MEASURED: dict[Hashable, Numbers] = {}
"""Measures of starts' own steps."""


def less(a: float, b: float) -> float:
    """a - b; rounding is no difference."""
    return 0.0 if abs(a - b) <= 1e-9 * (abs(a) + abs(b)) else a - b


# --- steps -----------------------------------------------------------------------------------------------------------


def one(scheme: SchemeOf) -> Steps:
    """A scheme at the start."""
    return lambda start: (Step(scheme(start.values), start),)


def two(first: SchemeOf, second: SchemeOf) -> Steps:
    """Two schemes at the same start."""
    return lambda start: (Step(first(start.values), start), Step(second(start.values), start))


def on_prompts(scheme: SchemeOf, first: str, second: str) -> Steps:
    """A scheme on two classes of prompts, all the weight on one of them; both move by the same kernel."""
    return lambda start: tuple(Step(scheme(start.values), start.reweighted({name: 1.0})) for name in (first, second))


def held(free: SchemeOf, bound: SchemeOf) -> Steps:
    """A scheme without a KL and the same with one, where the first has gone ``gone`` nats; the KL is to the start."""
    def steps(start: Start) -> tuple[Step, ...]:
        scheme = free(start.values)
        first = Step(scheme, start).drift
        length = float(first.length)
        unit = float(first.length_per_kl) / length if length else 0.0
        size = np.sqrt(start.values["gone"] / NATS) * unit
        moved = start.moved(size * np.asarray(first.update.value))
        return Step(scheme, moved), Step(bound(start.values), moved, start)

    return steps


def released(scheme: SchemeOf, *, steps: int, times: int) -> Steps:
    """A scheme once the cap is raised, after some steps of training under the lower one at the pace drawn."""
    def found(start: Start) -> tuple[Step, ...]:
        rule = scheme(start.values)
        per_kl, length = read_off(ls.length_drift(rule, start, kernels=()))
        rate = float(np.sqrt(start.values["pace"] / NATS) * per_kl / length) if per_kl else 1.0
        run = ls.train(rule, start, steps=steps, optimizer=SGD(learning_rate=rate), kernels=[start.coordinates])
        return (Step(rule, run.policy.recapped(times * start.max_tokens)),)

    return found


# --- measures --------------------------------------------------------------------------------------------------------


def one_by_one(number: Callable[[Step], Numbers]) -> Measure:
    """A measure by the number of one step."""
    @wraps(number)
    def each(steps: Sequence[Step]) -> list[Numbers]:
        return [number(step) for step in steps]

    return each


def length(steps: Sequence[Step]) -> list[Numbers]:
    """Mean length, tokens; steps of one scheme are worked out side by side."""
    alike: dict[tuple[ls.Scheme, ls.Policy | None], list[int]] = {}
    for number, step in enumerate(steps):
        alike.setdefault((step.scheme, step.reference), []).append(number)
    found: dict[int, Numbers] = {}
    for (scheme, reference), numbers in alike.items():
        if reference is not None:
            found |= {number: _length_beside(steps[number]) for number in numbers}
            continue
        policies = [steps[number].policy for number in numbers]
        drifts = ls.length_drift.many(scheme, policies, kernels=())  # type: ignore[attr-defined]
        found |= zip(numbers, map(read_off, drifts), strict=True)
    return [found[number] for number in range(len(steps))]


def read_off(drift: ls.LengthDrift) -> Numbers:
    """Mean length of a step, 0 where it is a rounding error or nothing moves."""
    per_kl, length = float(drift.length_per_kl), float(drift.length)
    limit = drift.length.method == "large-batch limit"  # whose error is how far a step of this size is from it
    nothing = np.isnan(per_kl) or (abs(length) <= drift.length.error and not limit)
    return (0.0, 0.0) if nothing else (per_kl, length)


def _length_beside(step: Step) -> Numbers:
    """Mean length, of a step with a policy that a KL compares with."""
    drift = step.drift
    return float(drift.length_per_kl), float(drift.length)


def relative_length(steps: Sequence[Step]) -> list[Numbers]:
    """Mean length, hundredths of what it is."""
    shares = [100.0 / step.policy.mean_length for step in steps]
    return [(share * per_kl, share * per_step)
            for share, (per_kl, per_step) in zip(shares, length(steps), strict=True)]


@one_by_one
def cut_share(step: Step) -> Numbers:
    """P(cut), hundredths."""
    drift = step.drift
    return 100.0 * float(drift.truncation_rate) * unit_of(drift), 100.0 * float(drift.truncation_rate)


def unit_of(drift: ls.Drift) -> float:
    """How many unit steps 0.01 nats are."""
    return float(drift.length_per_kl) / float(drift.length) if float(drift.length) else 0.0


@one_by_one
def length_if_not_right(step: Step) -> Numbers:
    """Mean length of responses that are not right, cut ones with them; tokens."""
    drift = step.drift
    change = changes_by_grade(drift, step.policy)[1]
    return change * unit_of(drift), change


@one_by_one
def wrong_less_right(step: Step) -> Numbers:
    """Mean length of responses that are not right less that of right ones, tokens."""
    drift = step.drift
    right, other = changes_by_grade(drift, step.policy)
    return (other - right) * unit_of(drift), other - right


def changes_by_grade(drift: ls.Drift, policy: ls.Policy) -> tuple[float, float]:
    """Changes of E[T | right] and E[T | not right] per unit step; cut responses are not right.

    E[T | not right] = (E[T; wrong] + N P(cut)) / (1 - P(right)): lengths and shares of its two parts change.
    """
    law = np.einsum("c,cge->ge", policy.cell_weight, policy.law)
    wrong, cut = law[1:, :-1].sum(), law[:, -1].sum()
    mean_wrong = (law[1:, :-1] @ policy.length[:-1]).sum() / max(wrong, 1e-300)
    mean = (wrong * mean_wrong + cut * policy.max_tokens) / (wrong + cut)
    by_outcome = np.nan_to_num(np.asarray(drift.length_by_outcome.value, dtype=np.float64))
    more_right, more_cut = float(drift.accuracy), float(drift.truncation_rate)
    change = (wrong * by_outcome[1] - (mean_wrong - mean) * (more_right + more_cut)
              + (policy.max_tokens - mean) * more_cut) / (wrong + cut)
    return float(by_outcome[0]), float(change)


# --- what simple rules say -------------------------------------------------------------------------------------------


def correlation(step: Step) -> float:
    """Corr(A, T) over responses: A is the reward less its mean over the prompt's class where the advantage compares a
    group, over its std there where that is divided by; the reward itself under GAE and raw returns.
    """
    scheme, policy = step.scheme, step.policy
    cut = np.arange(policy.max_tokens + 1) == policy.max_tokens
    paid = scheme.reward.values(policy.length, np.array([[True], [False]]), cut)
    mass = by_class(policy)
    advantage = scheme.advantage
    if isinstance(advantage, advantages.PositiveOnly):
        credit = np.maximum(compared(paid, mass, advantage.inner), 0.0)
    else:
        credit = compared(paid, mass, advantage)
    apart = policy.length - (mass * policy.length).sum()
    excess = credit - (mass * credit).sum()
    squares = float((mass * excess**2).sum() * (mass * apart**2).sum())
    return float((mass * excess * apart).sum() / np.sqrt(squares)) if squares > 0 else 0.0


def by_class(policy: ls.Policy) -> Floats:
    """P(class, grade, end) of the classes that there are."""
    mass = policy.cell_weight[:, None, None] * policy.law[:, :2]
    return np.array([mass[policy.class_of_cell == each].sum(axis=0) for each in np.flatnonzero(policy.class_weight)])


def compared(paid: Floats, mass: Floats, advantage: ls.advantages.Advantage) -> Floats:
    """Rewards [class, grade, end] as the advantage compares them within a class."""
    credit = np.repeat(paid[None], len(mass), axis=0)
    groups = (advantages.GroupMean, advantages.LeaveOneOut, advantages.GroupStandardized)
    if not isinstance(advantage, groups):
        return credit
    share = mass.sum(axis=(1, 2), keepdims=True)
    credit = credit - (mass * credit).sum(axis=(1, 2), keepdims=True) / share
    if not isinstance(advantage, advantages.GroupStandardized):
        return credit
    std = np.sqrt((mass * credit**2).sum(axis=(1, 2), keepdims=True) / share)
    return np.where(std > 1e-12, credit, 0.0) / np.where(std > 1e-12, std, 1.0)


def towards(policy: ls.Policy) -> float:
    """How much longer right responses are than all, relative to all; NaN where there are none."""
    if policy.accuracy == 0.0:
        return NAN
    return right_law(policy)[0] / policy.mean_length - 1.0
