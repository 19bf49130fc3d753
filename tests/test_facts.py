"""What every loss of this family does to length, fact by fact, on whole policies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossim as ls
import reference as ref
import translate
from lossim import advantages, aggregation, critics

SIGNED = ls.Reward(correct=1.0, incorrect=-1.0)
SEPARABLE = {
    "1/T": aggregation.SequenceMeanTokenMean(),
    "sum": aggregation.SequenceMeanTokenSum(),
    "constant": aggregation.ConstantNormalizer(constant=30.0),
    "token sum": aggregation.TokenSum(),
}
COUPLED = {
    "token mean": aggregation.TokenMean(),
    "group token mean": aggregation.TokenMean(scope="group"),
    "ΔL": aggregation.LengthPower(),
}
RULES = SEPARABLE | COUPLED
CENTRED = {
    "mean": advantages.GroupMean(),
    "leave one out": advantages.LeaveOneOut(),
    "std": advantages.GroupStandardized(),
    "std, ddof 0": advantages.GroupStandardized(ddof=0, eps=1e-4),
    "length-weighted": advantages.OPO(),
}
LAWS = {
    "geometric": ls.lengths.geometric(mean=40),
    "lognormal": ls.lengths.lognormal(median=25, sigma=0.8),
    "any": ls.lengths.table(np.random.default_rng(3).uniform(0.0, 0.1, size=64)),
}
SEEDS = st.integers(0, 2**32 - 1)


def scheme(advantage: ls.advantages.Advantage, rule: str = "sum", **slots: Any) -> ls.Scheme:
    return ls.Scheme(advantage=advantage, aggregation=RULES[rule], **{"group_size": 4, "prompts_per_step": 2} | slots)


def gae(gae_lambda: float, critic: critics.Critic | None = None) -> advantages.GAE:
    return advantages.GAE(gae_lambda=gae_lambda, critic=critic or critics.Zero())


def two_paths(solve_rate: float = 0.4, max_tokens: int = 96, **coordinates: Any) -> ls.Policy:
    """Right responses 20 tokens long, wrong ones 30; some are cut."""
    return ls.policies.two_paths(
        solve_rate=solve_rate, right=ls.lengths.geometric(mean=20), wrong=ls.lengths.lognormal(median=25, sigma=0.7),
        max_tokens=max_tokens, coordinates=ls.coordinates(**coordinates))


def one_path(length: ls.lengths.Length, p_correct: float, max_tokens: int = 64, cut: float = 0.0) -> ls.Policy:
    path = ls.Path("only", length=length, p_correct=p_correct, p_correct_truncated=cut)
    return ls.Policy([ls.PromptClass("prompts", paths=[path])], max_tokens=max_tokens)


def gross(result: ls.Drift) -> float:
    """The contributions to the drift, without regard to sign: what rounding is measured against."""
    return float(np.abs(result.sources.value).sum())


def still(result: ls.Drift) -> bool:
    return bool(abs(result.length.value) <= 1e-12 * gross(result))


def gradients(result: ls.Drift) -> np.ndarray[Any, np.dtype[np.float64]]:
    return translate.engine_flat(result)


def assert_same(one: ls.Drift, other: ls.Drift, factor: float = 1.0) -> None:
    expected = factor * gradients(other)
    np.testing.assert_allclose(gradients(one), expected, rtol=0, atol=1e-12 * np.abs(expected).max())


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


# ---- 3: nothing to learn about length ----


def two_classes(cut: float) -> ls.Policy:
    """Easy prompts and hard ones; a response does not know whether it is right; ``cut`` × as right when cut."""
    classes = [ls.PromptClass(name, weight=0.5, paths=[
        ls.Path("only", length=length, p_correct=rate, p_correct_truncated=rate * cut)])
        for name, rate, length in (("easy", 0.8, LAWS["geometric"]), ("hard", 0.1, LAWS["lognormal"]))]
    return ls.Policy(classes, max_tokens=64)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("centred", CENTRED)
@pytest.mark.parametrize("slots", [{}, {"dynamic_sampling": "drop"}, {"dynamic_sampling": "resample"},
                                   {"truncation": "mask"}, {"truncation": "remove"}], ids=repr)
def test_3_no_drift_where_correctness_does_not_depend_on_length(rule: str, centred: str, slots: dict[str, Any]) -> None:
    result = ls.drift(scheme(CENTRED[centred], rule, **slots), two_classes(cut=1.0))
    assert np.abs(gradients(result)).max() <= 1e-12 * gross(result)
    assert gross(result) > 1e-4


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("centred", CENTRED)
def test_3_a_cut_response_paid_as_incorrect_shortens(rule: str, centred: str) -> None:
    assert ls.drift(scheme(CENTRED[centred], rule), two_classes(cut=0.0)).length.value < 0


# ---- 4: a policy that knows its path ----


@pytest.mark.parametrize("centred", [name for name in CENTRED if name != "length-weighted"])
@pytest.mark.parametrize("solve_rate", [0.05, 0.5, 0.9])
def test_4_one_over_length_makes_wrong_responses_longer_and_right_ones_shorter(
        centred: str, solve_rate: float) -> None:
    right, wrong = ls.drift(scheme(CENTRED[centred], "1/T"), two_paths(solve_rate, sharing=0.0)).length_by_path.value
    assert right < 0 < wrong


@pytest.mark.parametrize("centred", [name for name in CENTRED if name != "length-weighted"])
@pytest.mark.parametrize("rule", ["sum", "constant", "token sum"])
def test_4_a_constant_normaliser_leaves_wrong_responses_alone(centred: str, rule: str) -> None:
    result = ls.drift(scheme(CENTRED[centred], rule), two_paths(sharing=0.0))
    right, wrong = result.length_by_path.value
    assert abs(wrong) <= 1e-12 * gross(result)
    assert right < 0  # the right ones that are cut are paid as wrong
    uncut = ls.drift(scheme(CENTRED[centred], rule), two_paths(max_tokens=2000, sharing=0.0))
    assert np.abs(uncut.length_by_path.value).max() <= 1e-9 * gross(uncut)


# ---- 5: groups with equal rewards ----


@pytest.mark.parametrize("centred", CENTRED)
def test_5_equal_groups_move_nothing_in_any_batch(centred: str) -> None:
    never = ls.policies.unsolvable(length=LAWS["geometric"], max_tokens=64)
    for rule in ("1/T", "token mean"):
        slots = scheme(CENTRED[centred], rule, reward=SIGNED)
        sampled = ls.drift(slots, never, method="monte_carlo", rng=np.random.default_rng(0), batches=16)
        assert np.abs(sampled.length.value) < 1e-12
        assert sampled.step_std.value < 1e-12
        assert np.abs(gradients(ls.drift(slots, never))).max() < 1e-12


@pytest.mark.parametrize("centred", CENTRED)
@pytest.mark.parametrize("rule", RULES)
def test_5_dropping_equal_groups_changes_nothing_under_group_relative_advantages(centred: str, rule: str) -> None:
    policy = two_paths()
    assert_same(ls.drift(scheme(CENTRED[centred], rule, dynamic_sampling="drop"), policy),
                ls.drift(scheme(CENTRED[centred], rule), policy))


def test_5_under_ppo_equal_groups_move_length_batch_by_batch_but_not_on_average_under_a_token_sum() -> None:
    never = ls.policies.unsolvable(length=LAWS["geometric"], max_tokens=64)
    slots = scheme(gae(1.0, critics.Constant(value=-0.5)), "sum", reward=SIGNED)
    result = ls.drift(slots, never)
    assert still(result)
    assert result.step_std.value > 1.0
    sampled = ls.drift(slots, never, method="monte_carlo", rng=np.random.default_rng(1), batches=6400)
    assert abs(sampled.length.value) < 4 * sampled.length.stderr
    assert sampled.step_std.value == pytest.approx(result.step_std.value, abs=4 * sampled.step_std.stderr)


# ---- 6: dividing by the std of the group ----


@pytest.mark.parametrize("rule", SEPARABLE)
@pytest.mark.parametrize("truncation", ["keep", "mask", "remove"])
@pytest.mark.parametrize("group_size", [2, 5, 16])
@pytest.mark.parametrize("ddof", [0, 1])
def test_6_with_one_class_and_binary_rewards_the_std_changes_the_size_alone(
        rule: str, truncation: str, group_size: int, ddof: int) -> None:
    policy, slots = two_paths(), {"truncation": truncation, "group_size": group_size}
    divided = ls.drift(scheme(advantages.GroupStandardized(ddof=ddof), rule, **slots), policy)
    centred = ls.drift(scheme(advantages.GroupMean(), rule, **slots), policy)
    factor = np.linalg.norm(gradients(divided)) / np.linalg.norm(gradients(centred))
    assert factor > 1.2
    assert_same(divided, centred, factor)
    assert divided.length_per_kl.value == pytest.approx(centred.length_per_kl.value, rel=1e-11)


@pytest.mark.parametrize("rule", ["token mean", "group token mean"])
def test_6_under_token_mean_it_can_change_the_direction_a_little(rule: str) -> None:
    policy = two_paths()
    divided, centred = (gradients(ls.drift(scheme(CENTRED[name], rule), policy)) for name in ("std", "mean"))
    turn = np.linalg.norm(divided / np.linalg.norm(divided) - centred / np.linalg.norm(centred))
    assert 1e-6 < turn < 0.02


def test_6_with_two_classes_the_std_weighs_them_anew() -> None:
    classes = [replace(two_paths(rate).classes[0], name=f"{rate}", weight=0.5) for rate in (0.02, 0.5)]
    policy = ls.Policy(classes, max_tokens=96)
    divided, centred = (gradients(ls.drift(scheme(CENTRED[name], "1/T", group_size=16), policy))
                        for name in ("std", "mean"))
    turn = np.linalg.norm(divided / np.linalg.norm(divided) - centred / np.linalg.norm(centred))
    assert turn > 0.02


# ---- 8: token-mean and sequence-mean ----


def test_8_with_equal_lengths_token_mean_is_sequence_mean() -> None:
    """Nobody stops before the last position, where some do: all responses have five tokens."""
    length = ls.lengths.table([0.0, 0.0, 0.0, 0.0, 0.3])
    policy = ls.policies.two_paths(solve_rate=0.3, right=length, wrong=length, max_tokens=5)
    for advantage in (CENTRED["std"], gae(0.9), advantages.Raw(baseline=0.2)):
        whole, *others = (ls.drift(scheme(advantage, rule), policy) for rule in ("1/T", "token mean",
                                                                                 "group token mean"))
        assert np.abs(whole.path_gradient.value).max() > 1e-3
        assert np.abs(whole.hazard_gradient.value).max() > 1e-3
        for other in others:
            assert_same(other, whole)


@settings(max_examples=25)
@given(seed=SEEDS, prompts=st.integers(1, 4), kind=st.sampled_from(["raw", "gae"]))
def test_8_token_mean_over_groups_of_one_and_steps_of_one_is_sequence_mean(seed: int, prompts: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    world = ref.random_world(rng, max_tokens=4)
    policy, _ = translate.policies(world)
    advantage, _ = translate.advantage(kind, world, rng)
    whole = ls.drift(scheme(advantage, "1/T", group_size=1, prompts_per_step=prompts), policy)
    of_group = ls.drift(scheme(advantage, "group token mean", group_size=1, prompts_per_step=prompts), policy)
    of_step = ls.drift(scheme(advantage, "token mean", group_size=1, prompts_per_step=1), policy)
    for other in (of_group, of_step):
        np.testing.assert_allclose(gradients(other), gradients(whole), rtol=0, atol=1e-12)


# ---- 9: shifting all rewards ----


def shifted(reward: ls.Reward, shift: float) -> ls.Reward:
    return replace(reward, correct=reward.correct + shift, incorrect=reward.incorrect + shift,
                   truncated=None if reward.truncated is None else reward.truncated + shift)


@settings(max_examples=40)
@given(seed=SEEDS, shift=st.floats(-100, 100), rule=st.sampled_from(sorted(RULES)),
       centred=st.sampled_from(sorted(CENTRED)), paid=st.sampled_from(["binary", "three levels", "any shape"]),
       truncation=st.sampled_from(["keep", "mask", "remove"]))
def test_9_shifting_all_rewards_changes_nothing_under_group_baselines(
        seed: int, shift: float, rule: str, centred: str, paid: str, truncation: str) -> None:
    policy, _ = translate.policies(ref.random_world(np.random.default_rng(seed)))
    reward = translate.REWARDS[paid][0]
    before, after = (ls.drift(scheme(CENTRED[centred], rule, reward=r, truncation=truncation, group_size=3), policy)
                     for r in (reward, shifted(reward, shift)))
    # group std of groups that are equal up to rounding is eps, which blows that rounding up by its inverse
    blown = 1e6 if centred.startswith("std") else 1.0
    scale = (1.0 + abs(shift)) * max(gross(before), 1.0) * policy.max_tokens
    np.testing.assert_allclose(gradients(after), gradients(before), rtol=0, atol=1e-13 * scale * blown)


@pytest.mark.parametrize("advantage", [advantages.Raw(), gae(1.0), gae(0.95, critics.Constant(value=0.3))], ids=repr)
def test_9_it_changes_the_drift_under_a_fixed_baseline_or_critic(advantage: advantages.Advantage) -> None:
    policy = two_paths()
    before, after = (ls.drift(scheme(advantage, "1/T", reward=shifted(ls.Reward(), shift)), policy).length.value
                     for shift in (0.0, -1.0))
    assert after > before + 1.0


@settings(max_examples=25)
@given(seed=SEEDS, factor=st.floats(1e-3, 50) | st.floats(-50, -1e-3),
       kind=st.sampled_from(["raw", "mean", "leave one out", "gae"]), rule=st.sampled_from(sorted(RULES)))
def test_scaling_all_rewards_scales_the_drift_where_nothing_is_divided_by_a_std(
        seed: int, factor: float, kind: str, rule: str) -> None:
    policy, _ = translate.policies(ref.random_world(np.random.default_rng(seed)))
    advantage = {"raw": advantages.Raw(), "gae": gae(0.9, critics.Exact())}.get(kind) or CENTRED[kind]
    one, many = (ls.drift(scheme(advantage, rule, reward=ls.Reward(correct=c, incorrect=-0.5 * c)), policy)
                 for c in (1.0, factor))
    scale = abs(factor) * gross(one)
    assert many.length.value == pytest.approx(factor * one.length.value, abs=1e-12 * scale)
    np.testing.assert_allclose(gradients(many), factor * gradients(one), rtol=0, atol=1e-12 * abs(factor))


# ---- 10: two parts ----


def test_10_a_scheme_can_shorten_on_average_while_both_paths_get_longer() -> None:
    """A critic that expects success: only wrong responses are news, which draws all on; and they get rarer."""
    policy = ls.policies.two_paths(solve_rate=0.7, right=ls.lengths.geometric(mean=20),
                                   wrong=ls.lengths.geometric(mean=200), max_tokens=4000)
    result = ls.drift(scheme(gae(1.0, critics.Constant(value=1.0)), "1/T", reward=SIGNED), policy)
    assert result.length.value < 0
    assert (result.length_by_path.value > 0).all()
    assert result.within.value > 0 > result.composition.value
    np.testing.assert_array_equal(np.sign(result.path_probability.value), [1, -1])


@settings(max_examples=40)
@given(seed=SEEDS, rule=st.sampled_from(sorted(RULES)), kind=st.sampled_from(["raw", "std", "gae"]),
       sharing=st.floats(0, 1), path_scale=st.floats(0, 10))
def test_10_the_parts_add_up_and_follow_from_the_numbers_by_path(
        seed: int, rule: str, kind: str, sharing: float, path_scale: float) -> None:
    world = ref.random_world(np.random.default_rng(seed), paths=(2, 3), max_tokens=4)
    policy = replace(translate.policies(world)[0], coordinates=ls.coordinates(sharing=sharing, path_scale=path_scale))
    advantage = {"raw": advantages.Raw(baseline=0.3), "gae": gae(0.9), "std": CENTRED["std"]}[kind]
    result = ls.drift(scheme(advantage, rule), policy)
    close = {"rel": 1e-12, "abs": 1e-13 * max(gross(result), 1e-3)}
    assert result.composition.value + result.within.value == pytest.approx(result.length.value, **close)
    assert result.sources.value.sum() == pytest.approx(result.length.value, abs=1e-12 * gross(result))
    assert policy.class_weight @ result.length_by_class.value == pytest.approx(result.length.value, **close)
    assert policy.cell_weight @ result.length_by_path.value == pytest.approx(result.within.value, **close)
    across = policy.class_weight[policy.class_of_cell] * result.path_probability.value @ policy.mean_length_by_cell
    assert across == pytest.approx(result.composition.value, **close)
    np.testing.assert_allclose(np.bincount(policy.class_of_cell, weights=result.path_probability.value), 0, atol=1e-12)
    if path_scale == 0:
        assert result.composition.value == 0


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
