"""What group baselines, equal groups and the std of the group do to length, fact by fact (facts 3 to 6)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import lossim as ls
from examples import SIGNED
from facts import CENTRED, LAWS, RULES, SEPARABLE, assert_same, gae, gradients, gross, scheme, still, two_paths
from lossim import advantages, critics

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


@pytest.mark.parametrize("rule", SEPARABLE)
@pytest.mark.parametrize("truncation", ["keep", "mask", "remove"])
@pytest.mark.parametrize("eps", [0.0, 0.3])
def test_6_the_std_of_a_step_is_that_of_all_rewards_in_the_baseline(rule: str, truncation: str, eps: float) -> None:
    """In a large batch one number, that of the law: without cut responses, paid unlike all others, if these go."""
    reward = ls.Reward(correct=1.0, incorrect=-1.0, truncated=-4.0)
    policy = ls.Policy([replace(two_paths(rate).classes[0], name=f"{rate}", weight=weight)
                        for rate, weight in ((0.1, 0.3), (0.6, 0.7))], max_tokens=24)
    assert policy.truncation_rate > 0.1
    right, wrong = policy.cell_weight @ policy.law[:, :, :-1].sum(axis=-1)
    chances = np.array([right, wrong, 0.0 if truncation == "remove" else policy.truncation_rate])
    paid, chances = np.array([1.0, -1.0, -4.0]), chances / chances.sum()
    std = np.sqrt(chances @ paid**2 - (chances @ paid) ** 2)
    slots = {"truncation": truncation, "reward": reward, "group_size": 4}
    divided = ls.drift(scheme(advantages.GroupStandardized(scope="batch", eps=eps), rule, **slots), policy)
    centred = ls.drift(scheme(advantages.GroupMean(), rule, **slots), policy)
    np.testing.assert_allclose(gradients(divided) * (std + eps), gradients(centred), rtol=1e-10,
                               atol=1e-13 * np.abs(gradients(centred)).max())


@dataclass(frozen=True, kw_only=True)
class OwnMean(advantages.ResponseAdvantage):
    """R less the mean of the group, which does not say how it depends on its mates."""

    def of_group(self, group: advantages.Group) -> np.ndarray[Any, np.dtype[np.float64]]:
        return group.centred


@pytest.mark.parametrize("rule", SEPARABLE)
@pytest.mark.parametrize("slots", [{}, {"dynamic_sampling": "resample"}, {"truncation": "remove"}], ids=repr)
def test_an_estimator_that_says_nothing_of_itself_is_averaged_over_its_mates(rule: str, slots: dict[str, Any]) -> None:
    policy = two_paths(0.3)
    own = ls.drift(scheme(OwnMean(), rule, **slots), policy)
    known = ls.drift(scheme(advantages.GroupMean(), rule, **slots), policy)
    assert not still(known)
    assert_same(own, known)
