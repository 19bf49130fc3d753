"""What critics, λ and centring over tokens do to length, fact by fact, on whole policies (facts 1, 2 and 11)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossim as ls
import reference as ref
import translate
from examples import SEEDS, SIGNED
from facts import LAWS, RULES, assert_same, gae, gradients, gross, scheme, still, two_paths
from lossim import advantages, critics


def one_path(length: ls.lengths.Length, p_correct: float, max_tokens: int = 64, cut: float = 0.0) -> ls.Policy:
    path = ls.Path("only", length=length, p_correct=p_correct, p_correct_truncated=cut)
    return ls.Policy([ls.PromptClass("prompts", paths=[path])], max_tokens=max_tokens)


# ---- 1: unsolvable prompts, reward -1, critic 0 ----


def unsolvable(law: str, gae_lambda: float, rule: str, prompts: int = 16) -> ls.Drift:
    never = ls.policies.unsolvable(length=LAWS[law], max_tokens=64)
    assert never.truncation_rate > 0.001  # and cut ones are paid -1 as well
    return ls.drift(scheme(gae(gae_lambda), rule, reward=SIGNED, group_size=1, prompts_per_step=prompts), never)


@pytest.mark.parametrize("law", LAWS)
def test_1_unsolvable_prompts_lengthen_under_one_over_length(law: str) -> None:
    assert unsolvable(law, 1.0, "1/T").length.value > 0


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 0.95, 0.999])
def test_1_unsolvable_prompts_lengthen_below_lambda_one_under_any_aggregation(
        law: str, rule: str, gae_lambda: float) -> None:
    assert unsolvable(law, gae_lambda, rule).length.value > 0


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("rule", ["sum", "constant", "token sum"])
def test_1_unsolvable_prompts_stay_under_a_token_sum_or_a_constant_at_lambda_one(law: str, rule: str) -> None:
    result = unsolvable(law, 1.0, rule)
    assert gross(result) > 0.1
    assert still(result)


@pytest.mark.parametrize("law", LAWS)
def test_1_what_token_mean_leaves_vanishes_as_one_over_the_batch(law: str) -> None:
    left = np.array([unsolvable(law, 1.0, "token mean", prompts).length.value for prompts in (16, 64, 256, 1024)])
    assert (left > 0).all()
    np.testing.assert_allclose(left[1:] / left[:-1], 0.25, atol=0.03)
    assert left[-1] < 1e-3 * unsolvable(law, 1.0, "1/T").length.value * 40


# ---- 2: an exact critic and the λ artefact ----


def expected_reward_gradient(world: ref.World, paid: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    function = translate.REWARDS[paid][1]
    return translate.flat(world, ref.gradient_of_mean(world, lambda j, k, length, cut, ok: function(length, ok, cut)))


@settings(max_examples=40)
@given(seed=SEEDS, gae_lambda=st.sampled_from([0.0, 0.3, 0.95, 1.0]), paid=st.sampled_from(sorted(translate.REWARDS)))
def test_2_an_exact_critic_makes_the_update_the_gradient_of_the_expected_reward_for_every_lambda(
        seed: int, gae_lambda: float, paid: str) -> None:
    world = ref.random_world(np.random.default_rng(seed), paths=(2, 3), max_tokens=4, graded_truncation=True)
    policy, _ = translate.policies(world)
    result = ls.drift(scheme(gae(gae_lambda, critics.Exact()), "sum", reward=translate.REWARDS[paid][0]), policy)
    np.testing.assert_allclose(gradients(result), expected_reward_gradient(world, paid), rtol=0, atol=1e-13)


@pytest.mark.parametrize("critic", [critics.Constant(value=-0.2), critics.Exact(per="class")], ids=repr)
def test_2_a_critic_that_cannot_tell_paths_apart_leaves_an_artefact_below_lambda_one(critic: critics.Critic) -> None:
    policy = two_paths(sharing=0.0)
    truth = gradients(ls.drift(scheme(gae(0.95, critics.Exact()), reward=SIGNED), policy))
    for gae_lambda, least, most in ((1.0, 0.0, 1e-12), (0.95, 0.05, np.inf)):
        off = gradients(ls.drift(scheme(gae(gae_lambda, critic), reward=SIGNED), policy)) - truth
        assert least <= np.linalg.norm(off) / np.linalg.norm(truth) <= most


def test_2_where_there_is_one_path_a_critic_per_class_is_as_good() -> None:
    policy = one_path(LAWS["lognormal"], 0.3)
    each, whole = (ls.drift(scheme(gae(0.9, critics.Exact(per=per))), policy) for per in ("cell", "class"))
    assert_same(each, whole)


def test_2_a_lagging_critic_removes_the_artefact_as_it_learns() -> None:
    policy = two_paths()

    def artefact(bias: float) -> float:
        lagging = ls.drift(scheme(gae(0.95, critics.Exact(bias=bias)), reward=SIGNED), policy)
        return float(lagging.length.value - exact.length.value)

    exact = ls.drift(scheme(gae(0.95, critics.Exact()), reward=SIGNED), policy)
    assert artefact(0.5) > 1.0  # it hopes for too much, so responses disappoint, and that lengthens
    assert artefact(0.05) == pytest.approx(0.1 * artefact(0.5), rel=1e-9)
    assert artefact(-0.5) == pytest.approx(-artefact(0.5), rel=1e-9)


@pytest.mark.parametrize("rule", ["sum", "1/T", "token mean"])
def test_2_the_sign_follows_the_error_of_the_critic(rule: str) -> None:
    """Right one time in five, V = 0: E[R - V] is 0.2 with rewards 0 and 1, -0.6 with ±1."""
    policy = one_path(LAWS["geometric"], p_correct=0.2, cut=0.2)
    assert ls.drift(scheme(gae(0.95), rule, reward=ls.Reward()), policy).length.value < 0
    assert ls.drift(scheme(gae(0.95), rule, reward=SIGNED), policy).length.value > 0


@pytest.mark.parametrize("rule", ["sum", "1/T"])
def test_2_with_the_critic_right_on_average_the_sign_flips(rule: str) -> None:
    rate = ls.formulas.sign_flip_solve_rate(0.1, reward_correct=1.0, reward_incorrect=-1.0)
    for solve_rate, sign in ((rate - 0.01, 1), (rate, 0), (rate + 0.01, -1)):
        policy = one_path(LAWS["geometric"], p_correct=solve_rate, cut=solve_rate)
        result = ls.drift(scheme(gae(0.95, critics.Constant(value=0.1)), rule, reward=SIGNED), policy)
        assert np.sign(result.length.value if not still(result) else 0.0) == sign


# ---- 11: centring and scaling over tokens ----


def over_tokens(mean: int, gae_lambda: float, *, centre: bool = True, scale: bool = True) -> float:
    never = ls.policies.unsolvable(length=ls.lengths.geometric(mean=mean), max_tokens=40 * mean,
                                   coordinates=ls.coordinates(sharing=0.0))
    advantage: advantages.Advantage = gae(gae_lambda)
    if centre:
        advantage = advantages.Whitened(inner=advantage, scale=scale)
    result = ls.drift(scheme(advantage, "1/T", reward=SIGNED, group_size=1, prompts_per_step=512), never)
    return float(result.length.value)


def plain_sums(mean: int, gae_lambda: float) -> tuple[float, float, float]:
    """The drift raw, centred and scaled, from sums over the length of one geometric response and nothing else."""
    t = np.arange(1.0, 40 * mean)
    h = 1.0 / mean
    p = h * (1.0 - h) ** (t - 1.0)
    credit = -(1.0 - gae_lambda**t) / (1.0 - gae_lambda)  # Σ_k≤T of -λ^k, k = 0 at the stop token
    square = (1.0 - gae_lambda ** (2.0 * t)) / (1.0 - gae_lambda**2)
    centre = (p @ credit) / (p @ t)
    sigma = np.sqrt((p @ square) / (p @ t) - centre**2)
    raw = p @ ((-1.0 - h * credit) / t)  # Σ_t A_t · score: the stop token's score is 1 - h, the others' is -h
    shift = p @ (centre * (1.0 - h * t) / t)
    logits = np.array([raw, raw - shift, (raw - shift) / sigma])
    return tuple(-(mean - 1.0) * logits)


@pytest.mark.parametrize(("mean", "left", "enlarged"), [(50, 0.75, 2.5), (500, 0.97, 7.1)])
def test_11_at_lambda_095_centring_over_tokens_leaves_most_of_the_drift_and_scaling_enlarges_it(
        mean: int, left: float, enlarged: float) -> None:
    raw = over_tokens(mean, 0.95, centre=False)
    centred = over_tokens(mean, 0.95, scale=False)
    scaled = over_tokens(mean, 0.95)
    assert round(centred / raw, 2) == left
    assert round(scaled / raw, 1) == enlarged
    np.testing.assert_allclose([raw, centred, scaled], plain_sums(mean, 0.95), rtol=1e-6)


@pytest.mark.parametrize("mean", [50, 500])
def test_11_at_lambda_one_centring_over_tokens_removes_the_drift(mean: int) -> None:
    assert over_tokens(mean, 1.0, centre=False) > 1.0
    assert abs(over_tokens(mean, 1.0, scale=False)) < 1e-12


def test_11_whitening_is_a_limit_that_two_responses_are_far_from() -> None:
    """Rewards ±1 without a critic: half as much again with two responses a step, next to nothing with 64."""

    def pair(prompts: int) -> tuple[ls.Drift, ls.Drift]:
        slots = scheme(advantages.Whitened(inner=advantages.Raw()), "1/T", reward=SIGNED, group_size=1,
                       prompts_per_step=prompts)
        return ls.drift(slots, policy), ls.drift(slots, policy, method="monte_carlo", rng=np.random.default_rng(5),
                                                 batches=100_000 // prompts)

    policy = two_paths(max_tokens=400)
    limit, few = pair(2)
    assert limit.length.method == "large-batch limit"
    assert any("large batch" in note for note in limit.notes)
    assert few.length.stderr < 0.03 * abs(limit.length.value)  # so 0.15 below is 5 sigmas
    assert few.length.value / limit.length.value == pytest.approx(1.5, abs=0.15)
    limit, many = pair(64)
    assert many.length.value / limit.length.value == pytest.approx(1.0, abs=0.07)  # 4 sigmas and what is left
