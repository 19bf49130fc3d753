"""Work at 32,768 tokens against the recurrences of a chain, term by term, and critics that see the state."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import lossim as ls
from batches import drawn, engine_gradient, step_of
from lossim import advantages, aggregation, critics, schemes, surrogates
from lossim.lengths import constant, geometric, lognormal

N = 32_768
CHAINS = {  # laws of stopping while working and once done, of the answer, and the chance that it never comes
    "usual": (geometric(mean=N / 3), geometric(mean=N / 20), lognormal(median=N / 4, sigma=0.6), 0.1),
    "answers come early": (constant(hazard=1e-6), constant(hazard=0.5), geometric(mean=3), 0.0),
    "answers come late": (constant(hazard=1e-3), constant(hazard=0.05), lognormal(median=3 * N, sigma=0.5), 0.0),
    "bulges": (lognormal(median=N / 8, sigma=0.8), lognormal(median=N / 6, sigma=0.4), lognormal(median=N / 6,
                                                                                                sigma=0.3), 0.3),
    "stops early": (constant(hazard=0.3), constant(hazard=0.01), geometric(mean=50), 0.0),
}


THINKS = ls.Path("thinks", probability=0.6, length=geometric(mean=30), p_correct=0.05, work=ls.Work(
    answer=lognormal(median=15, sigma=0.5), never=0.1, done=geometric(mean=8), p_correct=0.9, p_correct_truncated=0.4))
POLICY = ls.Policy([ls.PromptClass("prompts", paths=[
    THINKS, ls.Path("wrong", probability=0.4, length=geometric(mean=12), p_correct=0.1)])], max_tokens=64)


def policy_of(name: str) -> ls.Policy:
    working, done, answer, never = CHAINS[name]
    path = ls.Path("thinks", length=working, p_correct=0.0, work=ls.Work(answer=answer, never=never, done=done))
    return ls.Policy([ls.PromptClass("prompts", paths=[path])], max_tokens=N)


def gradient_by_recurrence(policy: ls.Policy, right: Any, wrong: Any) -> tuple[np.ndarray, np.ndarray]:
    """A·a(1-a)·(c_work - M) and D·b(1-b)·(c_done - B), and the same without the difference, [cell, t]."""
    a, b = policy.hazard.astype(np.longdouble)
    on, late = policy.stay.astype(np.longdouble)
    q = policy.arrays.arrival[0].astype(np.longdouble)
    there = np.zeros((2, N), dtype=np.longdouble)
    working, done = np.longdouble(1.0), np.longdouble(0.0)
    for t in range(N):
        done, working = done + working * q[t], working * (1.0 - q[t])
        there[:, t] = working, done
        working, done = working * on[t], done * late[t]
    ahead = np.full((2, N + 1), wrong[-1], dtype=np.longdouble)  # of those who work, M, and who are done, B
    for t in range(N - 1, -1, -1):
        ahead[1, t] = b[t] * right[t] + late[t] * ahead[1, t + 1]
        ahead[0, t] = q[t] * ahead[1, t] + (1.0 - q[t]) * (a[t] * wrong[t] + on[t] * ahead[0, t + 1])
    size = there * np.stack([a * on, b * late])
    return size * (np.stack([wrong, right]) - ahead[:, 1:]), size


@pytest.mark.parametrize("rule", ["sum", "1/T"])
@pytest.mark.parametrize("name", CHAINS)
def test_every_entry_of_the_gradient_down_to_chances_of_1e_280(name: str, rule: str) -> None:
    """Within 1e-10 of what is there before it cancels, in extended precision, entry by entry."""
    policy, t = policy_of(name), np.arange(1.0, N + 1.0).astype(np.longdouble)
    weight = np.ones_like(t) if rule == "sum" else 1.0 / t
    expected, size = gradient_by_recurrence(policy, 0.7 * weight, -0.3 * weight)
    scheme = ls.Scheme(advantage=advantages.Raw(baseline=0.3), group_size=1, prompts_per_step=1, aggregation={
        "sum": aggregation.SequenceMeanTokenSum(), "1/T": aggregation.SequenceMeanTokenMean()}[rule])
    found = ls.drift(scheme, policy).hazard_gradient.value
    seen = size * weight > 1e-280
    assert seen.any(axis=1).all()
    assert (np.abs(found - expected)[seen] < 1e-10 * (size * weight)[seen]).all()


@pytest.mark.parametrize("name", CHAINS)
def test_numbers_of_the_policy_are_those_of_the_chain(name: str) -> None:
    """Mean length and its gradient, the law, and accuracy, from the same recurrences with c = T and c = 1[correct]."""
    policy, t = policy_of(name), np.arange(1.0, N + 1.0).astype(np.longdouble)
    gradient, size = gradient_by_recurrence(policy, t, t)
    assert (np.abs(policy.arrays.mean_length_gradient - gradient) <= 1e-10 * (size * float(N)) + 1e-290).all()
    assert policy.law.sum() == pytest.approx(1.0, abs=1e-11)
    assert policy.accuracy == pytest.approx(float(policy.pmf[1].sum()), rel=1e-12)
    needed = policy.arrays.needed_length_gradient
    assert not needed[1].any()
    assert (np.abs(needed[0]) <= np.abs(policy.arrays.mean_length_gradient[0]) * (1.0 + 1e-9) + 1e-290).all()


def test_a_result_says_what_the_work_was() -> None:
    """Enough to run it again: both laws of stopping, that of the answer, and what content has learned."""
    skilled = replace(THINKS, skill=0.5, work=replace(THINKS.work, skill=-0.25))
    policy = replace(POLICY, classes=[replace(POLICY.classes[0], paths=[skilled, POLICY.classes[0].paths[1]])])
    first, second = json.loads(json.dumps(ls.drift(ls.schemes.grpo(), policy).to_dict()))["provenance"]["policy"][
        "classes"][0]["paths"]
    assert first["work"] == {"answer": repr(THINKS.work.answer), "never": 0.1, "done": "geometric(mean=8)",
                             "p_correct": 0.9, "p_correct_truncated": 0.4, "skill": -0.25}
    assert (first["length"], first["skill"]) == ("geometric(mean=30)", 0.5)
    assert "work" not in second


# --- critics that see the state -------------------------------------------------------------------------------------

def token_sum(gae_lambda: float, critic: critics.Critic) -> ls.Drift:
    return ls.drift(schemes.ppo(gae_lambda=gae_lambda, critic=critic,
                                aggregation=aggregation.SequenceMeanTokenSum()), POLICY)


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 0.95])
def test_a_critic_that_sees_the_state_leaves_no_artefact_of_lambda(gae_lambda: float) -> None:
    """The update is then the gradient of the expected reward for every λ; one that sees the class alone leaves some."""
    plain, exact = token_sum(1.0, critics.Zero()), token_sum(gae_lambda, critics.Exact())
    np.testing.assert_allclose(exact.hazard_gradient.value, plain.hazard_gradient.value, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(exact.path_gradient.value, plain.path_gradient.value, rtol=1e-9, atol=1e-13)
    assert float(exact.alignment) == pytest.approx(1.0, abs=1e-10)
    blind = token_sum(gae_lambda, critics.Exact(per="class"))
    assert np.abs(blind.hazard_gradient.value - plain.hazard_gradient.value).max() > 1e-4


@pytest.mark.parametrize("gae_lambda", [0.0, 0.9, 1.0])
def test_bootstrapping_pays_cut_responses_the_value_beyond(gae_lambda: float) -> None:
    """With a constant critic V all cut responses, in either state, get γV more."""
    value, gamma = 0.4, 0.97
    wrong = replace(POLICY, classes=[replace(POLICY.classes[0], paths=[
        replace(THINKS, work=replace(THINKS.work, p_correct_truncated=0.0)), POLICY.classes[0].paths[1]])])
    base = schemes.ppo(aggregation=aggregation.TokenMean(), prompts_per_step=8)
    gae = advantages.GAE(gae_lambda=gae_lambda, gamma=gamma, critic=critics.Constant(value=value))
    boot = ls.drift(replace(base, advantage=replace(gae, bootstrap_truncated=True)), wrong)
    paid = ls.drift(replace(base, advantage=gae, reward=replace(base.reward, truncated=float(
        base.reward.values(np.array([64.0]), np.array([False]), np.array([True]))[0]) + gamma * value)), wrong)
    np.testing.assert_allclose(boot.hazard_gradient.value, paid.hazard_gradient.value, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(boot.path_gradient.value, paid.path_gradient.value, rtol=1e-10, atol=1e-14)


class Same(ls.rewards.GroupShaping):
    """A reward that compares a group and changes nothing."""

    def in_group(self, reward: Any, length: Any, correct: Any, counted: Any) -> Any:
        return reward


@pytest.mark.parametrize("surrogate", [surrogates.PolicyGradient(), surrogates.CISPO()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("advantage", [advantages.GAE(gae_lambda=0.9, critic=critics.Constant(value=0.2)),
                                       advantages.GroupStandardized()], ids=lambda a: type(a).__name__)
def test_rewards_that_compare_a_group_go_the_same_way(advantage: Any, surrogate: ls.surrogates.Surrogate) -> None:
    """What a response is paid is then looked up for each, and not by how it ended: on and off policy."""
    old = POLICY.moved(0.2 * np.random.default_rng(3).normal(size=POLICY.motion.size))
    base = ls.Scheme(advantage=advantage, aggregation=aggregation.TokenMean(), surrogate=surrogate, group_size=4,
                     prompts_per_step=16)
    shaped = replace(base, reward=replace(base.reward, shaping=Same()))
    for drawing in (None, old):
        one, other = (step_of(scheme, POLICY, old=drawing) for scheme in (base, shaped))
        draws = drawn(one, np.random.default_rng(1), 3)
        assert (draws.entered > 0).any()
        np.testing.assert_allclose(engine_gradient(other, draws), engine_gradient(one, draws), rtol=1e-10, atol=1e-14)
