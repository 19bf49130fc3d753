"""Presets against recipes written down a second time, and what a scheme refuses, prints and compares."""

from __future__ import annotations

import inspect
import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

import lossim as ls
import reference as ref
import translate
from lossim import advantages, aggregation, critics, penalties, schemes


def zero_or_one(length: int, correct: bool, truncated: bool) -> float:
    return 1.0 if correct else 0.0


def plus_or_minus(length: int, correct: bool, truncated: bool) -> float:
    return 1.0 if correct else -1.0


def soft_overlong(length: int, correct: bool, truncated: bool) -> float:
    """±1, and down by 1 over the last token and a half of two."""
    return plus_or_minus(length, correct, truncated) - max(length - 0.5, 0.0) / 1.5


SMALL = {"group_size": 3, "prompts_per_step": 2}
STD = {"advantage": "standardized", "ddof": 1}
# A preset at a small size, and the same from its paper for the plain reference. On-policy: all ratios are 1.
RECIPES: dict[str, tuple[ls.Scheme, dict[str, Any]]] = {
    "ppo": (schemes.ppo(group_size=2, prompts_per_step=2), dict(
        reward=plus_or_minus, advantage="gae", gae_lambda=0.95, group_size=2, prompts_per_step=2)),
    "ppo, given": (schemes.ppo(gae_lambda=0.5, gamma=0.9, critic=critics.Constant(value=0.3), prompts_per_step=2,
                               aggregation=aggregation.TokenMean(), reward=ls.Reward()), dict(
        reward=zero_or_one, advantage="gae", gae_lambda=0.5, gamma=0.9, first_values=[0.3] * 2,
        values=[[0.3] * 2] * 3, aggregation="token_mean_step", prompts_per_step=2)),
    "vapo": (schemes.vapo(alpha=0.8, group_size=2, prompts_per_step=2), dict(
        reward=plus_or_minus, advantage="gae", gae_lambda=("adaptive", 0.8), aggregation="token_mean_step",
        group_size=2, prompts_per_step=2)),
    "grpo": (schemes.grpo(**SMALL), dict(reward=zero_or_one, **STD, eps=1e-6, **SMALL)),
    "grpo, kl": (schemes.grpo(kl=0.04, eps=1e-4, **SMALL), dict(
        reward=zero_or_one, **STD, eps=1e-4, kl_loss=(0.04, "k3"), **SMALL)),
    "dr_grpo": (schemes.dr_grpo(**SMALL), dict(
        reward=zero_or_one, advantage="group_mean", aggregation="constant", **SMALL)),
    "dr_grpo, constant": (schemes.dr_grpo(constant=11.0, **SMALL), dict(
        reward=zero_or_one, advantage="group_mean", aggregation="constant", constant=11.0, **SMALL)),
    "dapo": (schemes.dapo(**SMALL), dict(
        reward=plus_or_minus, **STD, aggregation="token_mean_step", dynamic_sampling="resample", **SMALL)),
    "dapo, overlong": (schemes.dapo(max_tokens=2, buffer=1.5, **SMALL), dict(
        reward=soft_overlong, **STD, aggregation="token_mean_step", dynamic_sampling="resample", **SMALL)),
    "rloo": (schemes.rloo(**SMALL), dict(
        reward=zero_or_one, advantage="leave_one_out", aggregation="sequence_mean_token_sum", **SMALL)),
    "rloo, kl": (schemes.rloo(kl=0.1, **SMALL), dict(
        reward=zero_or_one, advantage="leave_one_out", aggregation="sequence_mean_token_sum", kl_reward=(0.1, 0.0),
        **SMALL)),
    "remax": (schemes.remax(greedy_reward=(1.0, 0.0), prompts_per_step=3), dict(
        reward=zero_or_one, advantage="raw", baseline=[1.0, 0.0], aggregation="sequence_mean_token_sum",
        prompts_per_step=3)),
    "opo": (schemes.opo(**SMALL), dict(
        reward=zero_or_one, advantage="opo", aggregation="token_mean_step", **SMALL)),
    "gspo": (schemes.gspo(**SMALL), dict(reward=zero_or_one, **STD, eps=1e-6, **SMALL)),
    "gmpo": (schemes.gmpo(**SMALL), dict(reward=zero_or_one, **STD, eps=1e-6, **SMALL)),
    "cispo": (schemes.cispo(**SMALL), dict(
        reward=zero_or_one, **STD, eps=1e-6, aggregation="token_mean_step", **SMALL)),
    "sapo": (schemes.sapo(**SMALL), dict(reward=zero_or_one, **STD, eps=1e-6, **SMALL)),
    "luspo": (schemes.luspo(**SMALL), dict(
        reward=zero_or_one, **STD, eps=1e-4, aggregation="sequence_mean_token_sum", **SMALL)),
    "delta_l": (schemes.delta_l(**SMALL), dict(
        reward=zero_or_one, **STD, aggregation="length_power", alpha=0.75, **SMALL)),
}
LIMITS = {
    "reinforce_plus_plus": (schemes.reinforce_plus_plus(prompts_per_step=4), dict(
        reward=zero_or_one, advantage="raw", wrappers=["whiten"], aggregation="token_mean_step", prompts_per_step=4)),
    "reinforce_plus_plus, kl": (schemes.reinforce_plus_plus(kl=0.8, prompts_per_step=3), dict(
        reward=zero_or_one, advantage="gae", gae_lambda=1.0, wrappers=["whiten"], aggregation="token_mean_step",
        kl_reward=(0.8, 0.0), prompts_per_step=3)),  # the KL from each token on
    "reinforce_plus_plus_baseline": (schemes.reinforce_plus_plus_baseline(group_size=2, prompts_per_step=2), dict(
        reward=zero_or_one, advantage="group_mean", wrappers=["whiten"], aggregation="token_mean_step", group_size=2,
        prompts_per_step=2)),
    "ppo, whitened": (schemes.ppo(whiten=True, prompts_per_step=3), dict(
        reward=plus_or_minus, advantage="gae", gae_lambda=0.95, wrappers=["whiten"], prompts_per_step=3)),
}
PRESETS = schemes.presets()
REQUIRED = {"remax": {"greedy_reward": 0.5}}


def preset(name: str, **options: Any) -> ls.Scheme:
    return PRESETS[name](**REQUIRED.get(name, {}) | options)


def make_world() -> ref.World:
    return ref.random_world(np.random.default_rng(0), paths=(2, 1), max_tokens=2, zero_one=0.0, curves=0.0,
                            reference=True)


# ---- recipes ----


@pytest.mark.parametrize("name", RECIPES)
def test_preset_makes_the_update_of_its_paper(name: str) -> None:
    scheme, fields = RECIPES[name]
    world = make_world()
    policy, reference = translate.policies(world)
    expected = translate.flat(world, ref.expected_update(world, ref.Setting(**fields)))
    result = ls.drift(scheme, policy, reference=reference)
    np.testing.assert_allclose(translate.engine_flat(result), expected, rtol=1e-9, atol=1e-11)
    assert np.abs(expected).max() > 1e-4


@pytest.mark.parametrize("name", LIMITS)
def test_preset_with_whitening_makes_the_update_of_its_paper_on_samples(name: str) -> None:
    """Sampled, since its closed form is a limit; five sigmas for each of the logits."""
    scheme, fields = LIMITS[name]
    world = make_world()
    policy, reference = translate.policies(world)
    expected = translate.flat(world, ref.expected_update(world, ref.Setting(**fields)))
    result = ls.drift(scheme, policy, method="monte_carlo", rng=np.random.default_rng(0), batches=40_000,
                      reference=reference)
    error = translate.engine_flat(replace(
        result, hazard_gradient=ls.Estimate(value=result.hazard_gradient.stderr),
        path_gradient=ls.Estimate(value=result.path_gradient.stderr)))
    off = np.abs(translate.engine_flat(result) - expected)
    assert (off <= 5 * error + 1e-12).all()
    assert np.abs(expected).max() > 20 * error.max()


def test_every_preset_has_a_recipe() -> None:
    assert {name.partition(",")[0] for name in RECIPES | LIMITS} == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_keyword_only_named_and_documented(name: str) -> None:
    made = preset(name)
    assert made.name == name
    parameters = inspect.signature(PRESETS[name]).parameters.values()
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters)
    assert "Source:" in (PRESETS[name].__doc__ or "")


@pytest.mark.parametrize("name", PRESETS)
def test_preset_takes_its_sizes_and_reward(name: str) -> None:
    parameters = inspect.signature(PRESETS[name]).parameters
    sizes = {size: 6 for size in ("group_size", "prompts_per_step") if size in parameters}
    reward = ls.Reward(correct=2.0, incorrect=-3.0, truncated=-4.0)
    made = preset(name, reward=reward, **sizes)
    assert made.reward == reward
    assert {size: getattr(made, size) for size in sizes} == sizes
    assert made.responses_per_step == made.group_size * made.prompts_per_step


@pytest.mark.parametrize("name", PRESETS)
def test_preset_survives_pickling_comparing_and_hashing(name: str) -> None:
    made = preset(name)
    assert pickle.loads(pickle.dumps(made)) == made
    assert hash(made) == hash(preset(name))
    assert ls.compare(made, preset(name)) == {}
    with pytest.raises(FrozenInstanceError):
        made.group_size = 3  # type: ignore[misc]


# ---- corners ----

CORNERS = {
    "one token": ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=3), max_tokens=1,
                                       wrong=ls.lengths.geometric(mean=5)),
    "certain lengths": ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.table([0.0, 1.0]), max_tokens=6,
                                             wrong=ls.lengths.table([0.0, 0.0, 0.0, 1.0])),
    "nobody stops": ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.table(np.zeros(5)), max_tokens=5,
                                          wrong=ls.lengths.table(np.zeros(5))),
    "some hazards 0 or 1": ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.table([0.5, 0.0, 0.5, 1.0]),
                                                 wrong=ls.lengths.table([0.0, 0.1, 0.0, 0.3, 0.0, 0.0]), max_tokens=6),
    "always right": ls.policies.two_paths(solve_rate=1.0, right=ls.lengths.geometric(mean=3), max_tokens=6,
                                          wrong=ls.lengths.geometric(mean=5)),
    "never right": ls.policies.two_paths(solve_rate=0.0, right=ls.lengths.geometric(mean=3), max_tokens=6,
                                         wrong=ls.lengths.geometric(mean=5)),
}
FINITE = ("length", "composition", "within", "length_by_class", "length_by_path", "path_probability", "accuracy",
          "reward", "truncation_rate", "hazard_gradient", "path_gradient", "update", "sources")



def always_equal(scheme: ls.Scheme, corner: str) -> bool:
    """Whether no group has unequal rewards: nobody is right, or those who are not (cut ones) do not count."""
    return corner in ("nobody stops", "never right") or (corner == "always right" and scheme.truncation == "remove")


@pytest.mark.parametrize("truncation", ["keep", "mask", "remove"])
@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("name", PRESETS)
def test_preset_in_a_corner(name: str, corner: str, truncation: Any) -> None:
    policy, scheme = CORNERS[corner], replace(preset(name), truncation=truncation)
    if scheme.dynamic_sampling == "resample" and always_equal(scheme, corner):
        with pytest.raises(ValueError, match="never fills a batch") as failed:
            ls.drift(scheme, policy)
        assert "use dynamic_sampling='none' or 'drop'" in str(failed.value)
        return
    result = ls.drift(scheme, policy)
    for number in FINITE:
        assert np.isfinite(getattr(result, number).value).all(), number
    frozen = ~np.isfinite(policy.logits)
    assert (result.hazard_gradient.value[frozen] == 0).all()
    if corner in ("one token", "certain lengths", "nobody stops"):
        assert np.abs(result.within.value) < 1e-12
    if corner in ("one token", "nobody stops"):
        assert np.abs(result.length.value) < 1e-12  # there is one length only
    if corner in ("always right", "never right"):
        assert result.composition.value == 0


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("name", PRESETS)
def test_preset_in_a_corner_on_samples(name: str, corner: str) -> None:
    policy, scheme = CORNERS[corner], preset(name)
    if scheme.dynamic_sampling == "resample" and always_equal(scheme, corner):
        pytest.skip("see test_sampling_gives_up_where_no_group_is_unequal")
    small = replace(scheme, prompts_per_step=4)
    result = ls.drift(small, policy, method="monte_carlo", rng=np.random.default_rng(0), batches=32)
    for number in FINITE:
        assert np.isfinite(getattr(result, number).value).all(), number
        assert np.isfinite(getattr(result, number).stderr).all(), number
    exact = ls.drift(small, policy)
    if exact.length.method != "large-batch limit":
        assert abs(exact.length.value - result.length.value) <= 5 * result.length.stderr + 1e-9


def test_sampling_gives_up_where_no_group_is_unequal() -> None:
    with pytest.raises(ValueError, match=r"many draws 0 were of unequal rewards .* use dynamic_sampling='none' or 'd"):
        ls.drift(schemes.dapo(group_size=2, prompts_per_step=1), CORNERS["never right"], "monte_carlo",
                 rng=np.random.default_rng(0), batches=16)


def test_single_responses() -> None:
    """Alone in its group a response has advantage R/(1 + eps), R or 0, as the estimator is told; and says so."""
    policy = CORNERS["some hazards 0 or 1"]

    def drift(advantage: advantages.Advantage) -> ls.Drift:
        return ls.drift(ls.Scheme(advantage=advantage, aggregation=aggregation.SequenceMeanTokenMean(), group_size=1),
                        policy)

    raw = drift(advantages.Raw()).length.value
    assert abs(raw) > 1e-3
    assert drift(advantages.GroupStandardized(eps=0.25)).length.value == pytest.approx(raw / 1.25)
    assert drift(advantages.GroupMean(group_of_one="raw")).length.value == pytest.approx(raw)
    for alone in (advantages.GroupMean(), advantages.GroupStandardized(group_of_one="zero"), advantages.OPO()):
        result = drift(alone)
        assert abs(result.length.value) < 1e-12
        assert any("groups of one" in note for note in result.notes)
    assert not drift(advantages.Raw()).notes


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "dapo"])
def test_all_rewards_equal(name: str) -> None:
    """Group-relative and whitened advantages vanish; a fixed baseline or critic does not care."""
    policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=3), max_tokens=40,
                                   wrong=ls.lengths.geometric(mean=5))
    result = ls.drift(preset(name, reward=ls.Reward(correct=-1.0, incorrect=-1.0)), policy)
    moves = np.abs(result.hazard_gradient.value).max()
    if name in ("ppo", "vapo"):  # and remax in each batch, but not on average under its token sum
        assert moves > 1e-4
    else:
        assert moves < 1e-12


# ---- what a scheme refuses ----


def scheme(**slots: Any) -> ls.Scheme:
    return ls.Scheme(**{"advantage": advantages.Raw(), "aggregation": aggregation.TokenSum()} | slots)


@pytest.mark.parametrize(("slots", "message"), [
    ({"advantage": advantages.LeaveOneOut(), "group_size": 1},
     "group_size must be at least 2 for LeaveOneOut, got 1; use advantages.Raw() for single samples"),
    ({"advantage": advantages.PositiveOnly(inner=advantages.LeaveOneOut()), "group_size": 1},
     "(inner=LeaveOneOut), got 1"),
    ({"advantage": advantages.Whitened(inner=advantages.LeaveOneOut()), "group_size": 1},
     "(inner=LeaveOneOut), got 1"),
    ({"dynamic_sampling": "drop", "group_size": 1}, "group_size must be at least 2 for dynamic sampling"),
    ({"dynamic_sampling": "resmaple"}, "did you mean 'resample'?"),
    ({"truncation": "masked"}, "did you mean 'mask'?"),
    ({"penalties": (penalties.Entropy(coefficient=0.1),) * 2}, "at most one KL per place and one entropy"),
    ({"penalties": (penalties.KL(coefficient=0.1), penalties.KL(coefficient=0.2, estimator="k3"))},
     "add up their coefficients"),
    ({"group_size": 0}, "group_size must be at least 1, got 0"),
    ({"prompts_per_step": -2}, "prompts_per_step must be at least 1, got -2"),
])
def test_scheme_refuses_by_name_rule_and_fix(slots: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="must") as failed:
        scheme(**slots)
    assert message in str(failed.value)


@pytest.mark.parametrize(("slots", "message"), [
    ({"advantage": advantages.GroupMean}, "advantage must be an instance of Advantage"),
    ({"advantage": advantages.Advantage()}, "see the module lossim.advantages"),
    ({"advantage": critics.Zero()}, "advantage must be"),
    ({"aggregation": "token-mean"}, "see the module lossim.aggregation"),
    ({"reward": 1.0}, "reward must be an instance of Reward"),
    ({"penalties": penalties.KL(coefficient=0.1)}, "write one as (KL(...),)"),
    ({"penalties": (0.1,)}, "penalties[0] must be"),
    ({"group_size": 2.0}, "group_size must be a whole number, got 2.0"),
    ({"group_size": True}, "group_size must be a whole number, got True"),
    ({"name": 3}, "name must be a string, got 3"),
])
def test_scheme_refuses_other_types(slots: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as failed:
        scheme(**slots)
    assert message in str(failed.value)


def test_a_replaced_slot_is_checked_again() -> None:
    with pytest.raises(ValueError, match="LeaveOneOut"):
        replace(schemes.rloo(), group_size=1)


def test_dapo_takes_max_tokens_and_buffer_together_and_no_reward_beside_them() -> None:
    for half in ({"max_tokens": 100}, {"buffer": 10}):
        with pytest.raises(ValueError, match="must be given together with max_tokens"):
            schemes.dapo(**half)
    with pytest.raises(ValueError, match="SoftOverlong"):
        schemes.dapo(max_tokens=100, buffer=10, reward=ls.Reward())


def test_kl_and_entropy_are_found_by_place() -> None:
    loss, paid, bonus = (penalties.KL(coefficient=0.1, estimator="k3"), penalties.KL(coefficient=0.2, place="reward"),
                         penalties.Entropy(coefficient=0.3))
    made = scheme(penalties=[loss, bonus, paid])
    assert (made.kl_in_loss, made.kl_in_reward, made.entropy) == (loss, paid, bonus)
    assert made.penalties == (loss, bonus, paid)
    bare = scheme()
    assert (bare.kl_in_loss, bare.kl_in_reward, bare.entropy) == (None, None, None)


# ---- print and compare ----


@pytest.mark.parametrize("name", PRESETS)
def test_print_shows_the_name_and_both_trainers_words_for_the_aggregation(name: str) -> None:
    made = preset(name)
    text = str(made)
    assert text == repr(made)
    assert name in text
    assert type(made.aggregation).__name__ in text
    assert f"[verl {made.aggregation.verl}, TRL {made.aggregation.trl}]" in text
    assert f"{made.prompts_per_step} prompts × {made.group_size}" in text


def test_print_shows_every_slot_that_is_not_at_its_default() -> None:
    plain = str(scheme())
    for slot, value, part in (
            ("truncation", "mask", "truncated: mask"), ("dynamic_sampling", "drop", "equal groups: drop"),
            ("penalties", (penalties.Entropy(coefficient=0.125),), "0.125"),
            ("reward", ls.Reward(shaping=ls.rewards.LinearPenalty(slope=0.375)), "0.375"),
            ("surrogate", ls.surrogates.PPOClip(high=0.28125), "0.28125"), ("name", "mine", "mine")):
        assert part not in plain
        assert part in str(scheme(**{slot: value}))


@pytest.mark.parametrize(("one", "other", "slots"), [
    (schemes.grpo(), schemes.dr_grpo(), {"advantage", "aggregation"}),
    (schemes.grpo(), schemes.grpo(kl=0.1), {"penalties"}),
    (schemes.grpo(), schemes.gspo(), {"surrogate"}),
    (schemes.gspo(), schemes.luspo(), {"advantage", "surrogate", "aggregation"}),  # eps and clip range, too
    (schemes.grpo(), schemes.dapo(group_size=8, prompts_per_step=64),
     {"aggregation", "reward", "dynamic_sampling", "surrogate"}),
    (schemes.ppo(), schemes.ppo(gae_lambda=1.0), {"advantage"}),
    (schemes.rloo(), replace(schemes.rloo(), name="mine"), set()),
])
def test_compare_names_the_slots_that_differ(one: ls.Scheme, other: ls.Scheme, slots: set[str]) -> None:
    difference = ls.compare(one, other)
    assert set(difference) == slots
    for slot, pair in difference.items():
        assert pair == (getattr(one, slot), getattr(other, slot))
    assert ls.compare(other, one) == {slot: pair[::-1] for slot, pair in difference.items()}


# ---- what is not settled ----

UNSETTLED = schemes.Unsettled(unknown="version of a trainer", settle="--trainer it==2", options=(
    ("2", {}), ("1", {"aggregation": aggregation.TokenMean()}), ("3", None)))


def test_doubts_are_of_no_account_where_schemes_are_compared_and_stay_where_a_slot_is_replaced() -> None:
    sure = schemes.grpo()
    unsure = replace(sure, doubts=[UNSETTLED])
    assert unsure == sure
    assert hash(unsure) == hash(sure)
    assert schemes.compare(sure, unsure) == {}
    other = replace(unsure, group_size=4)
    assert other.doubts == (UNSETTLED,)
    assert schemes.compare(unsure, other) == {"group_size": (8, 4)}
    assert pickle.loads(pickle.dumps(unsure)).doubts == unsure.doubts
    assert hash(UNSETTLED) == hash(pickle.loads(pickle.dumps(UNSETTLED)))


def test_a_scheme_prints_each_of_its_doubts_in_a_line() -> None:
    first, second = str(replace(schemes.grpo(), doubts=(UNSETTLED,))).splitlines()
    assert first == str(schemes.grpo())
    assert second == "  not settled: version of a trainer (2, 1 or 3); to settle it: --trainer it==2"
    many = schemes.Unsettled(unknown="x", options=tuple((str(i), None) for i in range(7)))
    assert str(many) == "not settled: x (0, 1, 2 or 3, or one of 3 more)"


def test_options_are_their_own_and_about_slots_that_there_are() -> None:
    slots = {"group_size": 4}
    doubt = schemes.Unsettled(unknown="x", options=(("a", slots),))
    slots["group_size"] = 5
    assert doubt.known == (("a", {"group_size": 4}),)
    assert UNSETTLED.untold == ("version of a trainer = 3",)
    for name in ("groupsize", "name", "doubts"):
        with pytest.raises(ValueError, match="a slot in the doubt about x must be one of 'reward'"):
            replace(schemes.grpo(), doubts=(schemes.Unsettled(unknown="x", options=(("a", {name: 4}),)),))
    with pytest.raises(ValueError, match="names of their own"):
        schemes.Unsettled(unknown="x", options=(("a", {}), ("a", None)))
