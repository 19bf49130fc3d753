"""The numbers that are turned until nothing drifts; ``KNOBS`` has them in the order of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lossim._changes.case import Case
from lossim._changes.settings import estimated_by, with_gae
from lossim._support import checks
from lossim._support.records import Record
from lossim._support.types import FloatArray, IntArray, Outcome
from lossim.advantages import GAE, GroupStandardized, Raw
from lossim.aggregation import LengthPower
from lossim.critics import Constant
from lossim.penalties import KL
from lossim.policies import Policy, PromptClass
from lossim.rewards import Shaping
from lossim.surrogates import PPOClip

REACH = np.array([-4.0, -2.0, -1.0, -0.5, -0.25, -0.125, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0])
"""How far a knob is turned, in units of its own."""
SIZES = np.array([2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0])
CAPS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
MOST_CLASSES = 3
"""Classes whose solve rates are turned; a policy of more stands for a law of solve rates, which has no one number."""
ROUNDING = 1e-12
"""Rewards that differ by less than this share are all equal."""


class Knob(Record):
    """One number to turn.

    Attributes:
        now: where it stands; None if nowhere.
        make: what a value makes of the case.
        grid: the values to look at first, besides ``now``.
        whole: whether it takes whole numbers only.
        note: said with every answer; ``jump`` where the drift jumps across zero, ``below_zero`` of a value below 0.
    """

    name: str
    now: float | None
    make: Callable[[float], Case]
    grid: FloatArray
    whole: bool = False
    note: str = ""
    jump: str = ""
    below_zero: str = ""


# --- of the scheme ----------------------------------------------------------------------------------------------


def truncated_reward(case: Case) -> Iterator[Knob]:
    """What truncated responses are paid, in place of what they are."""
    if case.cut_share == 0 or case.scheme.truncation == "remove":
        return
    now = case.paid_if_cut
    yield Knob(name="reward of truncated responses", now=now, grid=now + _spread_of_pay(case) * REACH,
               make=lambda x: case.shaped(ForTruncated(reward=x)))


def penalty_per_token(case: Case) -> Iterator[Knob]:
    """What a response is charged for each of its tokens."""
    estimator = case.scheme.advantage.response_level
    divides = isinstance(estimator, GroupStandardized) and estimator.scope == "group"
    jump = "the std makes any penalty count in full where rewards are equal" if divides else ""
    yield Knob(name="penalty per token", now=case.price, grid=_spread_of_pay(case) / case.mean_length * REACH,
               jump=jump, below_zero="paid for, not charged", make=case.priced)


def kl_coefficient(case: Case) -> Iterator[Knob]:
    """The coefficient of the scheme's KL, or of one in the loss where it has none."""
    kl = case.kl
    if kl is None:
        return
    rest = tuple(each for each in case.scheme.penalties if not (isinstance(each, KL) and each.place == kl.place))
    yield Knob(name=f"KL coefficient ({kl.estimator} in the {kl.place})", now=kl.coefficient,
               grid=np.append(0.0, np.geomspace(1e-4, 10.0, 6)),
               make=lambda x: case.using(penalties=(*rest, replace(kl, coefficient=x))))


def exponent_of_length(case: Case) -> Iterator[Knob]:
    """The exponent of T in the weight of a token."""
    rule = case.scheme.aggregation
    yield Knob(name="aggregation by T^-α (0 constant, 1 nearly a mean over tokens)", grid=np.array([0.0, 0.5, 1.0]),
               now=rule.alpha if isinstance(rule, LengthPower) else None,
               make=lambda x: case.using(aggregation=LengthPower(alpha=x)))


def decay(case: Case) -> Iterator[Knob]:
    """λ of GAE."""
    gae = _plain_gae(case)
    if gae is None:
        return
    now: Any = gae.gae_lambda
    yield Knob(name="λ", now=float(now), grid=np.array([0.0, 0.5, 0.9, 0.95, 0.99, 1.0]),
               note=f"with the critic {gae.critic}", make=lambda x: with_gae(case, gae_lambda=x))


def value_of_critic(case: Case) -> Iterator[Knob]:
    """The value of a critic that has one for all positions."""
    gae = _plain_gae(case)
    if gae is None or gae.critic.constant is None:
        return
    yield Knob(name="value of a constant critic", now=gae.critic.constant, grid=np.linspace(*_range_of_pay(case), 9),
               make=lambda x: with_gae(case, critic=Constant(value=x)))


def fixed_baseline(case: Case) -> Iterator[Knob]:
    """The baseline of Raw, where it is one number."""
    raw = case.scheme.advantage.response_level
    if not isinstance(raw, Raw) or isinstance(raw.baseline, tuple):
        return
    yield Knob(name="baseline", now=raw.baseline, grid=np.linspace(*_range_of_pay(case), 9),
               make=lambda x: estimated_by(case, Raw(baseline=x)))


def group_size(case: Case) -> Iterator[Knob]:
    """Responses to a prompt, where groups are drawn and compared."""
    estimator = case.scheme.advantage
    if case.policy is None or not estimator.group_relative:
        return
    least = estimator.least_group_size
    yield Knob(name="group size", now=float(case.scheme.group_size), whole=True, grid=SIZES[least <= SIZES],
               make=lambda x: case.using(group_size=int(x)))


def clip_range(case: Case) -> Iterator[Knob]:
    """The range of PPO's clip, to both sides alike, off policy."""
    clip = case.scheme.surrogate
    if case.old is None or not isinstance(clip, PPOClip):
        return
    yield Knob(name="clip range, low and high alike", now=clip.high if clip.low == clip.high else None,
               grid=np.geomspace(0.01, 1.0, 7), make=lambda x: case.using(surrogate=replace(clip, low=x, high=x)))


# --- of the policy ----------------------------------------------------------------------------------------------


def solve_rates(case: Case) -> Iterator[Knob]:
    """How often a prompt of a class with two paths takes the one that is right more often."""
    policy = case.policy
    if policy is None or case.old is not None or len(policy.classes) > MOST_CLASSES:
        return
    accuracy = policy.layout.by_path(policy.law[:, 0].sum(axis=-1))
    for number, (prompts, mine) in enumerate(zip(policy.classes, policy.layout.class_paths, strict=True)):
        own = accuracy[mine]
        if len(own) == 2 and own[0] != own[1]:
            better = int(own[1] > own[0])
            named = "" if len(policy.classes) == 1 else f" of {prompts.name!r}"
            yield Knob(name=f"share of the path {prompts.paths[better].name!r}{named}",
                       now=float(prompts.paths[better].probability), grid=np.linspace(0.05, 0.95, 10),
                       make=_at_rate(case, policy, number, better))


def cap(case: Case) -> Iterator[Knob]:
    """The cut, as far as the laws of length are known."""
    policy = case.policy
    if policy is None:
        return
    caps = np.unique([max(round(policy.max_tokens * factor), 1) for factor in CAPS])
    known = _longest(policy, caps)
    note = "" if known == caps[-1] else f"laws of length are known up to {known:,}"
    yield Knob(name="max_tokens", now=float(policy.max_tokens), whole=True, note=note,
               grid=caps[caps <= known].astype(np.float64), make=lambda x: case.recapped(int(x)))


def _at_rate(case: Case, policy: Policy, number: int, better: int) -> Callable[[float], Case]:
    """What a solve rate of one class makes of the case."""
    return lambda rate: case.on(_solving(policy, number, better, rate))


def _solving(policy: Policy, number: int, better: int, rate: float) -> Policy:
    """The policy whose class of that number takes the better of its two paths so often."""
    def paths(prompts: PromptClass) -> PromptClass:
        rates = (rate, 1.0 - rate) if better == 0 else (1.0 - rate, rate)
        return replace(prompts, paths=[replace(path, probability=each)
                                       for path, each in zip(prompts.paths, rates, strict=True)])

    return replace(policy, classes=[paths(prompts) if i == number else prompts
                                    for i, prompts in enumerate(policy.classes)])


def _longest(policy: Policy, caps: IntArray) -> int:
    """The largest of the caps at which the policy is known."""
    for each in caps[::-1].tolist():
        if each > policy.max_tokens:
            try:
                policy.recapped(each)
            except ValueError:
                continue
        return int(each)
    return policy.max_tokens


# --- all of them ------------------------------------------------------------------------------------------------

KNOBS: dict[str, Callable[[Case], Iterator[Knob]]] = {
    "truncated": truncated_reward,
    "penalty": penalty_per_token,
    "kl": kl_coefficient,
    "alpha": exponent_of_length,
    "lambda": decay,
    "critic": value_of_critic,
    "baseline": fixed_baseline,
    "group_size": group_size,
    "clip": clip_range,
    "solve_rate": solve_rates,
    "max_tokens": cap,
}
"""By the name that asks for them alone; each makes knobs of a case, none where there is nothing to turn."""


def chosen_knobs(case: Case, name: str | None) -> Iterator[Knob]:
    """The knobs of that name, or all.

    Raises:
        ValueError: no such name, or nothing to turn by it.
    """
    if name is None:
        for make in KNOBS.values():
            yield from make(case)
        return
    made = list(KNOBS[checks.choice("knob", name, KNOBS)](case))
    if not made:
        checks.fail("knob", name, f"is not one that {case.scheme.name} has here", "leave it out for those that it has")
    yield from made


@dataclass(frozen=True, kw_only=True)
class ForTruncated(Shaping):
    """A reward for truncated responses in place of theirs."""

    reward: float

    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        return np.where(outcome == Outcome.TRUNCATED, self.reward, reward)


def _plain_gae(case: Case) -> GAE | None:
    """The scheme's GAE, if it has λ and critic to choose."""
    gae = case.scheme.advantage.token_level
    return gae if type(gae) is GAE and not gae.adaptive else None


def _range_of_pay(case: Case) -> tuple[float, float]:
    """The lowest and the highest mean reward of responses that end alike."""
    return float(case.pay.min()), float(case.pay.max())


def _spread_of_pay(case: Case) -> float:
    """From the lowest to the highest reward; 1 where all are equal."""
    low, high = _range_of_pay(case)
    return high - low if high - low > ROUNDING * max(abs(low), abs(high)) else 1.0
