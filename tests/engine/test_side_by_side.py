"""Many policies side by side drift as each of them does alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossim as ls
from lossim._engine import Headline, headline, headlines
from lossim.schemes import dapo, delta_l, dr_grpo, grpo, opo, ppo, remax, rloo
from lossim.selection import Deadline


def knows(u: list[float]) -> ls.Policy:
    return ls.policies.two_paths(solve_rate=u[0], right=ls.lengths.lognormal(median=5 + 20 * u[1], sigma=0.2 + u[2]),
                                 wrong=ls.lengths.geometric(mean=5 + 30 * u[3]), max_tokens=40)


def several(u: list[float]) -> ls.Policy:
    return ls.policies.beta_solve_rates(0.5 + u[0], 0.5 + u[1], classes=3, max_tokens=24,
                                        right=ls.lengths.geometric(mean=2 + 10 * u[2]),
                                        wrong=ls.lengths.geometric(mean=2 + 20 * u[3]),
                                        coordinates=ls.coordinates(bins=3, skill_scale=1.0))


def thinks(u: list[float]) -> ls.Policy:
    path = ls.Path("thinks", length=ls.lengths.geometric(mean=5 + 30 * u[0]), p_correct=0.3 * u[1], work=ls.Work(
        answer=ls.lengths.geometric(mean=5 + 20 * u[2]), done=ls.lengths.geometric(mean=2 + 8 * u[3]), never=0.1))
    return ls.Policy([ls.PromptClass("prompts", paths=[path])], max_tokens=32)


def graded(u: list[float]) -> ls.Policy:
    path = ls.Path("all", length=ls.lengths.geometric(mean=5 + 30 * u[0]), p_correct=u[1],
                   grades={"partly": 0.5 * u[2], "format": 0.5 * u[3]})
    return ls.Policy([ls.PromptClass("prompts", paths=[path])], max_tokens=16)


STARTS = [knows, several, thinks, graded]
EXACT = ls.critics.Exact(bias=0.1)
GRADES = {"partly": 0.5, "format": 0.1}
PAID = ls.Reward(grades=GRADES, truncated=-0.5)
BENT = ls.Reward(shaping=ls.rewards.SoftOverlong(max_tokens=40, buffer=16))
SCHEMES = [
    grpo(), grpo(kl=0.1, reward=PAID), dr_grpo(), rloo(kl=0.01), ppo(critic=EXACT), ppo(gae_lambda=0.9, critic=EXACT),
    dapo(prompts_per_step=3), delta_l(prompts_per_step=3), opo(prompts_per_step=3), ppo(whiten=True),
    remax(greedy_reward=0.4), replace(rloo(), reward=PAID, truncation="remove"), dr_grpo(reward=BENT),
    replace(grpo(reward=PAID), truncation="remove", dynamic_sampling="drop"),
    replace(grpo(), truncation="mask", aggregation=ls.aggregation.TokenMean(), prompts_per_step=2),
    replace(grpo(), penalties=(ls.penalties.Entropy(coefficient=0.01),), dynamic_sampling="resample"),
    replace(ppo(critic=EXACT), group_size=4, dynamic_sampling="drop", truncation="remove", reward=PAID),
    replace(grpo(), name="late groups", selection=Deadline(tokens=12), group_size=3),
    replace(dapo(), name="late, resampled", selection=Deadline(tokens=12), group_size=3, prompts_per_step=2),
    replace(rloo(), name="late responses", selection=Deadline(tokens=12, drops="response"), truncation="remove"),
    replace(dr_grpo(), advantage=ls.advantages.PositiveOnly(inner=ls.advantages.GroupMean()))]
NUMBERS = st.lists(st.lists(st.floats(0.01, 0.99), min_size=4, max_size=4), min_size=2, max_size=4)


def check(found: Headline, alone: Headline) -> None:
    """The same numbers to rounding, and the same words."""
    rounding = alone.error + 1e-12 * abs(alone.length)
    assert abs(found.length - alone.length) <= rounding
    assert found.nats == pytest.approx(alone.nats, rel=1e-9)
    assert found.error == pytest.approx(alone.error, rel=1e-9)
    np.testing.assert_allclose(found.over, alone.over, rtol=1e-12, atol=alone.error)
    if alone.nats > 0:
        np.testing.assert_allclose(found.over_nats, alone.over_nats, rtol=1e-9)
    assert found.notes == alone.notes


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
@settings(max_examples=5, deadline=None)
@given(numbers=NUMBERS, start=st.sampled_from(STARTS), kernels=st.booleans())
def test_side_by_side_as_alone(scheme: ls.Scheme, numbers: list[list[float]], start: object, kernels: bool) -> None:
    policies = [start(u) for u in numbers]
    scheme = replace(scheme, reward=replace(scheme.reward, grades=GRADES))
    family = ls.kernels(len(policies) + 1)
    members = [family.lay_out(policy.layout).one(i) if kernels else None for i, policy in enumerate(policies)]
    for policy, member, found in zip(policies, members, headlines(scheme, policies, members), strict=True):
        check(found, headline(scheme, policy, member))


def test_of_all_shapes_at_once_in_the_order_given() -> None:
    policies = [start([0.2 + 0.1 * i, 0.5, 0.3, 0.6]) for i in range(3) for start in STARTS]
    scheme = grpo(reward=PAID)
    found = headlines(scheme, policies)
    assert len({each.length for each in found}) == len(policies)
    for policy, each in zip(policies, found, strict=True):
        check(each, headline(scheme, policy))


def test_one_that_has_no_answer_is_named() -> None:
    never = ls.policies.unsolvable(length=ls.lengths.geometric(mean=20), max_tokens=40)
    with pytest.raises(ValueError, match="never fills a batch"):
        headlines(dapo(), [never, never])


@given(NUMBERS)
@settings(max_examples=5, deadline=None)
def test_each_by_a_kernel_of_numbers_of_its_own(us: list[list[float]]) -> None:
    """The same knots for all, and path log-odds that move."""
    policies = []
    for number, u in enumerate(us):
        start = knows(u)
        kernels = ls.kernels(count=len(us), seed=1).lay_out(start.layout).each(start.mean_length)
        policies.append(start.in_coordinates(kernels[number]))
    for scheme in (grpo(), dapo(prompts_per_step=3)):
        for found, policy in zip(headlines(scheme, policies), policies, strict=True):
            check(found, headline(scheme, policy))
