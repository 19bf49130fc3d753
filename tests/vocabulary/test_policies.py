"""The law of a policy, its samples and its moves."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import lossim as ls
import reference as ref
import translate
from examples import GEOMETRIC, SEEDS, random_world


def table_policy(hazards: list[list[float]], probabilities: list[float] | None = None, p_correct: Any = 0.5,
                 **options: Any) -> ls.Policy:
    shares = probabilities or [1.0 / len(hazards)] * len(hazards)
    paths = [ls.Path(f"path {k}", probability=share, length=ls.lengths.table(hazard), p_correct=p_correct)
             for k, (hazard, share) in enumerate(zip(hazards, shares, strict=True))]
    return ls.Policy([ls.PromptClass("only", paths=paths)], max_tokens=len(hazards[0]), **options)


# ---- the law ----


@settings(max_examples=60)
@given(seed=SEEDS)
def test_law_is_that_of_stopping_token_by_token(seed: int) -> None:
    world = random_world(seed)
    policy, _ = translate.policies(world)
    law = np.zeros((5, 2, 5))
    for j, prompts in enumerate(world.classes):
        for probability, response in ref.atoms(world, j):
            cell = world.cell(j, response.path)
            end = world.max_tokens if response.truncated else response.length - 1
            law[cell, int(not response.correct), end] += probability / prompts.paths[response.path].probability
    np.testing.assert_allclose(policy.law, law, atol=1e-15)
    np.testing.assert_allclose(policy.ends, law.sum(axis=1), atol=1e-15)
    np.testing.assert_allclose(policy.pmf, law.sum(axis=1)[:, :-1], atol=1e-15)
    at_risk = law.sum(axis=1)[:, ::-1].cumsum(axis=1)[:, ::-1][:, :-1]
    np.testing.assert_allclose(policy.at_risk, at_risk, atol=1e-15)
    np.testing.assert_allclose(np.exp(policy.log_at_risk[:, :-1]), at_risk, atol=1e-15)
    np.testing.assert_allclose(policy.hazard + policy.stay, 1.0, rtol=1e-15)


@settings(max_examples=40)
@given(seed=SEEDS)
def test_moments_are_averages_over_responses(seed: int) -> None:
    world = random_world(seed)
    policy, _ = translate.policies(world)

    def average(f: ref.Quantity) -> Any:
        return pytest.approx(ref.expected_value(world, f), abs=1e-14)

    assert policy.mean_length == average(ref.LENGTH)
    assert policy.accuracy == average(lambda j, k, length, cut, ok: float(ok))
    assert policy.truncation_rate == average(lambda j, k, length, cut, ok: float(cut))
    variance = ref.expected_value(world, lambda j, k, length, cut, ok: (length - policy.mean_length) ** 2)
    assert policy.length_std == pytest.approx(np.sqrt(variance), abs=1e-12)


@settings(max_examples=30)
@given(seed=SEEDS, u=st.floats(0, 1))
def test_pgf_is_the_sum_over_lengths(seed: int, u: float) -> None:
    policy, _ = translate.policies(random_world(seed))
    by_hand = [sum(p * u**t for p, t in zip(row, [1, 2, 3, 4, 4], strict=True)) for row in policy.ends]
    np.testing.assert_allclose(policy.pgf(u), by_hand, atol=1e-15)
    assert policy.pgf([[0.0, u], [1.0, u]]).shape == (2, 2, 5)
    np.testing.assert_allclose(policy.pgf(1.0), 1.0, rtol=1e-14)
    assert (policy.pgf(0.0) == 0).all()


@settings(max_examples=30)
@given(seed=SEEDS)
def test_mean_length_gradient_is_the_score_function_gradient(seed: int) -> None:
    world = random_world(seed)
    policy, _ = translate.policies(world)
    expected = np.array(ref.gradient_of_mean(world).hazard_gradient)
    np.testing.assert_allclose(policy.cell_weight[:, None] * policy.mean_length_gradient, expected, atol=1e-14)


def test_geometric_by_hand() -> None:
    """Hazard 1/4, cut after two: lengths 1, 2 and 2 cut with 1/4, 3/16 and 9/16."""
    policy = ls.policies.unsolvable(length=GEOMETRIC, max_tokens=2)
    np.testing.assert_allclose(policy.ends, [[1 / 4, 3 / 16, 9 / 16]])
    assert policy.mean_length == pytest.approx(7 / 4)
    assert policy.accuracy == 0
    assert policy.cell_names == (("never", "wrong"),)
    np.testing.assert_allclose(policy.length, [1, 2, 2])
    np.testing.assert_allclose(policy.mean_length_gradient, [[-1 / 4 * 3 / 4, 0.0]])  # only going on at 1 adds a token


def test_survival_far_below_the_smallest_float_keeps_its_hazards() -> None:
    policy = ls.policies.unsolvable(length=ls.lengths.geometric(mean=2), max_tokens=4096)
    assert policy.log_at_risk[0, -1] == pytest.approx(-4096 * np.log(2.0), rel=1e-12)
    assert policy.truncation_rate == 0.0
    assert policy.mean_length == pytest.approx(2.0, rel=1e-14)


@pytest.mark.parametrize("given_as", [0.3, [0.3, 0.3, 0.3], np.full(3, 0.3), lambda t: 0.3 + 0.0 * t, lambda t: 0.3])
def test_p_correct_as_a_number_an_array_or_a_function(given_as: Any) -> None:
    policy = table_policy([[0.2, 0.5, 0.9]], p_correct=given_as)
    np.testing.assert_allclose(policy.law[0, 0, :-1], 0.3 * policy.pmf[0])
    assert policy.law[0, 0, -1] == 0.0


def test_p_correct_array_is_a_copy() -> None:
    curve = np.array([0.1, 0.2, 0.3])
    path = ls.Path("a", length=GEOMETRIC, p_correct=curve)
    curve[:] = 9.0
    np.testing.assert_array_equal(path.correctness(3), [[0.1, 0.2, 0.3, 0.0]])


def test_p_correct_as_a_function_sees_positions_from_one() -> None:
    path = ls.Path("a", length=GEOMETRIC, p_correct=lambda t: t / 10.0)
    np.testing.assert_allclose(path.correctness(4), [[0.1, 0.2, 0.3, 0.4, 0.0]])


# ---- samples ----


def frequencies(policy: ls.Policy, seed: int, number: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    draws = policy.draw(np.random.default_rng(seed), prompts=number // 2, group_size=2)
    counts = np.zeros(policy.law.shape)
    np.add.at(counts, (draws.cell, draws.grade, draws.end), 1)
    return counts


@pytest.mark.parametrize("seed", range(8))
def test_frequencies_of_draws_agree_with_the_law(seed: int) -> None:
    """Chi-square at fixed seeds; one in a thousand would fall below 1e-3, and these eight do not."""
    policy, _ = translate.policies(random_world(seed, zero_one=0.3))
    number = 40_000
    counts = frequencies(policy, seed, number)
    expected = number * policy.cell_weight[:, None, None] * policy.law
    assert (counts[expected == 0] == 0).all()
    likely = expected > 0
    assert stats.chisquare(counts[likely], expected[likely] * number / expected[likely].sum()).pvalue > 1e-3


def test_draws_keep_to_hazards_of_zero_and_one() -> None:
    policy = table_policy([[0.0, 0.0, 1.0, 0.5], [1.0, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]])
    draws = policy.draw(np.random.default_rng(0), prompts=50, group_size=20)
    for cell, end in enumerate((2, 0, 4)):
        assert Counter(draws.end[draws.cell == cell].tolist()).keys() == {end}


def test_draws_of_certain_grades() -> None:
    for p_correct, grade in ((1.0, 0), (0.0, 1)):
        policy = table_policy([[0.5, 0.5]], p_correct=p_correct)
        draws = policy.draw(np.random.default_rng(0), prompts=100, group_size=1)
        assert (draws.grade[draws.end < 2] == grade).all()
        assert (draws.grade[draws.end == 2] == 1).all()  # cut ones are wrong unless said otherwise


def test_draws_never_take_an_impossible_path_or_class() -> None:
    some = table_policy([[0.5, 0.5]] * 3, [0.0, 1.0, 0.0]).classes[0]
    classes = [replace(some, name=name, weight=w) for name, w in (("a", 0.0), ("b", 1.0), ("c", 0.0))]
    draws = ls.Policy(classes, max_tokens=2).draw(np.random.default_rng(0), prompts=500, group_size=3)
    assert (draws.cell == 4).all()


def test_a_group_is_of_one_class() -> None:
    classes = [ls.PromptClass(n, weight=0.5, paths=[ls.Path("p", length=GEOMETRIC, p_correct=0.5)]) for n in "ab"]
    draws = ls.Policy(classes, max_tokens=4).draw(np.random.default_rng(0), prompts=200, group_size=5)
    assert (draws.cell == draws.cell[:, :1]).all()
    assert set(draws.cell[:, 0]) == {0, 1}


def test_samples_as_they_would_be_logged() -> None:
    policy, _ = translate.policies(random_world(4))
    reward = ls.Reward(correct=2.0, incorrect=-1.0, truncated=-3.0)
    rows, again = (policy.sample(np.random.default_rng(7), prompts=300, group_size=4, reward=reward) for _ in range(2))
    assert len(rows) == 1200
    np.testing.assert_array_equal(rows.prompt_ids, np.repeat(np.arange(300), 4))
    np.testing.assert_array_equal(rows.lengths, again.lengths)
    assert rows.truncated.any()
    assert (rows.lengths[rows.truncated] == policy.max_tokens).all()
    np.testing.assert_array_equal(rows.rewards, np.where(rows.truncated, -3.0, np.where(rows.correct, 2.0, -1.0)))
    for ids in rows.classes.reshape(300, 4):
        assert len(set(ids)) == 1
    assert policy.sample(np.random.default_rng(7), prompts=2).rewards.tolist() in ([0, 0], [0, 1], [1, 0], [1, 1])
    error = np.abs(rows.lengths.mean() - policy.mean_length) / (policy.length_std / np.sqrt(300))
    assert error < 4  # sigmas, if the groups were all that counts


def test_samples_with_a_reward_that_compares_the_group() -> None:
    policy = ls.policies.two_paths(solve_rate=0.5, right=GEOMETRIC, wrong=GEOMETRIC, max_tokens=16)
    reward = ls.Reward(shaping=ls.rewards.KimiLength())
    rows = policy.sample(np.random.default_rng(1), prompts=6, group_size=5, reward=reward)
    for group in range(6):
        mine = rows.prompt_ids == group
        lengths, right = rows.lengths[mine], rows.correct[mine]
        lead = 0.5 - (lengths - lengths.min()) / max(lengths.max() - lengths.min(), 1)
        expected = right + np.where(right, lead, np.minimum(lead, 0.0)) * (np.ptp(lengths) > 0)
        np.testing.assert_allclose(rows.rewards[mine], expected)


# ---- other prompts ----


def three_classes() -> ls.Policy:
    return ls.Policy([ls.PromptClass(name, weight=w, paths=[ls.Path("p", length=GEOMETRIC, p_correct=rate)])
                      for name, w, rate in (("a", 0.2, 0.9), ("b", 0.3, 0.5), ("c", 0.5, 0.0))], max_tokens=64)


@pytest.mark.parametrize(("given_weights", "expected"), [
    ({}, [0.2, 0.3, 0.5]), ({"a": 0.6}, [0.6, 0.15, 0.25]), ({"a": 1.0}, [1.0, 0.0, 0.0]),
    ({"a": 0.0}, [0.0, 0.375, 0.625]), ({"a": 0.1, "b": 0.2, "c": 0.7}, [0.1, 0.2, 0.7])])
def test_reweighted(given_weights: dict[str, float], expected: list[float]) -> None:
    policy = three_classes()
    other = policy.reweighted(given_weights)
    np.testing.assert_allclose(other.class_weight, expected, rtol=1e-15)
    assert other.accuracy == pytest.approx(np.dot(expected, policy.law[:, 0].sum(axis=1)))
    np.testing.assert_allclose(policy.class_weight, [0.2, 0.3, 0.5])


# ---- moves ----


@settings(max_examples=30)
@given(seed=SEEDS, sharing=st.floats(0, 1))
def test_moving_adds_to_the_logits_and_leaves_certain_ones(seed: int, sharing: float) -> None:
    policy, _ = translate.policies(random_world(seed, zero_one=0.4))
    policy = replace(policy, coordinates=ls.coordinates(bins=2, sharing=sharing))
    rng = np.random.default_rng(seed)
    update = rng.normal(size=policy.motion.size)
    stops, paths, _ = policy.motion.push(update)
    after = policy.moved(update)
    free = np.isfinite(policy.logits)
    np.testing.assert_allclose((after.logits - np.where(free, policy.logits, 0.0))[free], stops[free], atol=1e-12)
    np.testing.assert_array_equal(after.logits[~free], policy.logits[~free])
    for j in range(2):
        mine = policy.class_of_cell == j
        odds = policy.probability[mine] * np.exp(paths[mine])
        np.testing.assert_allclose(after.probability[mine], odds / odds.sum(), rtol=1e-13)
    np.testing.assert_array_equal(policy.moved(0.0 * update).logits, policy.logits)
    back = after.moved(-update)
    np.testing.assert_allclose(back.logits[free], policy.logits[free], atol=1e-12)
    np.testing.assert_allclose(back.probability, policy.probability, rtol=1e-12)


def test_a_path_of_probability_zero_stays_at_zero() -> None:
    policy = table_policy([[0.5, 0.5]] * 2, [0.0, 1.0], coordinates=ls.coordinates(sharing=0.0))
    after = policy.shifted(np.zeros((2, 2)), np.array([5.0, -5.0]))
    np.testing.assert_array_equal(after.probability, [0.0, 1.0])


def test_huge_moves_of_path_logits_do_not_overflow() -> None:
    policy = table_policy([[0.5, 0.5]] * 2)
    np.testing.assert_array_equal(policy.shifted(np.zeros((2, 2)), np.array([0.0, 4000.0])).probability, [0.0, 1.0])


# ---- the common starts ----


def test_two_paths_and_unsolvable() -> None:
    policy = ls.policies.two_paths(solve_rate=0.25, right=GEOMETRIC, wrong=ls.lengths.geometric(mean=9), max_tokens=500)
    assert policy.cell_names == (("prompts", "right"), ("prompts", "wrong"))
    assert policy.accuracy == pytest.approx(0.25)
    assert policy.mean_length == pytest.approx(0.25 * 4 + 0.75 * 9)
    assert ls.policies.unsolvable(length=GEOMETRIC, max_tokens=500).accuracy == 0.0


@pytest.mark.parametrize(("a", "b", "classes"), [
    (0.5, 0.5, 8), (1.0, 1.0, 3), (0.3, 2.5, 8), (6.0, 1.0, 5), (1.0, 1.0, 1), (1e-3, 1e-3, 4), (1e4, 3e4, 8),
    (0.4, 0.6, 200)])
def test_beta_solve_rates_has_the_moments_of_the_beta_law(a: float, b: float, classes: int) -> None:
    policy = ls.policies.beta_solve_rates(a, b, classes=classes, right=GEOMETRIC, wrong=GEOMETRIC, max_tokens=8)
    rates, shares = policy.probability[::2], policy.class_weight
    assert len(rates) == classes
    assert shares.sum() == pytest.approx(1.0, abs=1e-13)
    for power in range(2 * classes if classes < 10 else 20):
        moment = np.prod((a + np.arange(power)) / (a + b + np.arange(power)))
        assert shares @ rates**power == pytest.approx(moment, rel=1e-12)


def test_beta_classes_make_the_expectation_of_a_group_exact() -> None:
    """The chance that four responses agree is a polynomial of degree four: three classes are as good as thirty."""
    def agree(classes: int) -> float:
        policy = ls.policies.beta_solve_rates(0.4, 0.7, classes=classes, right=GEOMETRIC, wrong=GEOMETRIC,
                                              max_tokens=2000)
        rate = policy.probability[::2]
        return float(policy.class_weight @ (rate**4 + (1 - rate) ** 4))

    assert agree(3) == pytest.approx(agree(30), rel=1e-12)


# ---- values ----


def test_policies_pickle_small_and_come_back_the_same() -> None:
    policy = ls.policies.two_paths(solve_rate=0.4, right=GEOMETRIC, wrong=GEOMETRIC, max_tokens=30_000)
    before = ls.drift(ls.schemes.grpo(), policy)
    packed = pickle.dumps(policy)
    assert len(packed) < 2000  # not the arrays of 30,000 positions that the drift has made it compute
    again = pickle.loads(packed)
    assert repr(again) == repr(policy)
    assert ls.drift(ls.schemes.grpo(), again).length.value == before.length.value


def test_policies_print_what_they_are() -> None:
    policy = ls.policies.unsolvable(length=GEOMETRIC, max_tokens=2)
    assert repr(policy) == "Policy(1 class, 1 cell, max_tokens=2: mean length 1.75, accuracy 0, truncated 0.562)"


def test_a_new_cap_keeps_what_was_learned() -> None:
    """Below both caps the law is the same; beyond the old one the hazards go on as moved."""
    start = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=9),
                                  wrong=ls.lengths.geometric(mean=14), max_tokens=32)
    moved = start.moved(np.linspace(-0.3, 0.4, start.motion.size))
    for cap in (16, 32, 100):
        other = moved.recapped(cap)
        assert other.max_tokens == cap
        known = min(cap, 32)
        np.testing.assert_allclose(other.logits[:, :known], moved.logits[:, :known], rtol=1e-12)
        np.testing.assert_allclose(other.probability, moved.probability, rtol=1e-12)
        beyond = np.repeat(moved.logits[:, -1:], cap - known, axis=1)
        np.testing.assert_allclose(other.logits[:, known:], beyond, rtol=1e-9)
        back = other.recapped(32)
        np.testing.assert_allclose(back.logits, moved.logits, rtol=1e-12)
    assert start.recapped(100).mean_length > start.mean_length
    with pytest.raises(ValueError, match="max_tokens"):
        ls.policies.unsolvable(length=ls.lengths.table([0.5, 0.5]), max_tokens=2).recapped(3)


def test_reweighted_policies_can_still_be_recapped() -> None:
    policy = ls.policies.beta_solve_rates(1, 2, classes=2, right=ls.lengths.geometric(mean=9),
                                          wrong=ls.lengths.geometric(mean=14), max_tokens=32)
    moved = policy.moved(np.full(policy.motion.size, 0.2))
    name = policy.classes[0].name
    one = moved.reweighted({name: 0.25}).recapped(64)
    assert one.class_weight[0] == 0.25
    np.testing.assert_allclose(one.logits[:, :32], moved.logits, rtol=1e-12)
    assert [path.name for path in one.classes[0].paths] == ["right", "wrong"]


def test_a_moved_policy_is_copied_with_where_it_came_from() -> None:
    start = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=9),
                                  wrong=ls.lengths.geometric(mean=14), max_tokens=32)
    moved = start.moved(np.full(start.motion.size, 0.2))
    for copied in (pickle.loads(pickle.dumps(moved)), copy.deepcopy(moved), copy.copy(moved)):
        np.testing.assert_array_equal(copied.logits, moved.logits)
        assert copied.recapped(64).mean_length == moved.recapped(64).mean_length
        assert copied.classes[0].paths[0].name == "right"
        assert copied.mean_length == moved.mean_length


@pytest.mark.parametrize("caps", [(16,), (64,), (16, 48), (64, 8, 100)])
def test_caps_on_the_way_leave_no_trace(caps: tuple[int, ...]) -> None:
    """Cut elsewhere and again: logits between the caps are those that training left, whichever cap comes last."""
    start = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.lognormal(median=12, sigma=0.5), max_tokens=32,
                                  wrong=ls.lengths.lognormal(median=19, sigma=0.6), coordinates=ls.coordinates(6))
    moved = start.moved(np.linspace(-0.4, 0.5, start.motion.size))
    other = moved
    for cap in caps:
        other = other.recapped(cap)
    for last in (24, 32, 80):
        np.testing.assert_array_equal(other.recapped(last).logits, moved.recapped(last).logits)
    assert other.recapped(32).mean_length == moved.mean_length != start.mean_length


def test_moves_under_different_caps_add_up() -> None:
    """Beyond the cap of a move its logits go on as at that cap; what an earlier move knew of stays known."""
    start = ls.policies.unsolvable(length=ls.lengths.lognormal(median=12, sigma=0.5), max_tokens=32,
                                   coordinates=ls.coordinates("table", sharing=0.0))
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(1, 32)), rng.normal(size=(1, 8))
    moved = start.shifted(first, np.zeros(1)).recapped(8).shifted(second, np.zeros(1)).recapped(48)
    shift = np.append(first[0], np.full(16, first[0, -1])) + np.append(second[0], np.full(40, second[0, -1]))
    np.testing.assert_allclose(moved.logits[0], start.recapped(48).logits[0] + shift, rtol=1e-13)


def test_moved_policies_print_and_can_be_replaced() -> None:
    table = ls.lengths.table([0.25, 0.5, 1.0])
    start = ls.policies.two_paths(solve_rate=0.4, right=GEOMETRIC, wrong=table, max_tokens=3)
    moved = start.moved(np.full(start.motion.size, 0.2)).moved(np.full(start.motion.size, -0.1))
    assert repr(moved).startswith("Policy(1 class, 2 cells, max_tokens=3: mean length ")
    # The law that training started from and how many of its logits moved; moves add up.
    assert [repr(path.length) for path in moved.paths] == [
        f"moved({GEOMETRIC!r}, 3 positions)", f"moved({table!r}, 3 positions)"]
    assert moved.logits[1, 2] == np.inf
    paths = [replace(path, p_correct=1.0) for path in moved.classes[0].paths]
    graded = replace(moved, classes=[replace(moved.classes[0], paths=paths)])
    assert graded.accuracy == pytest.approx(1.0 - graded.truncation_rate)
    np.testing.assert_array_equal(graded.logits, moved.logits)
    finer = replace(moved, coordinates=ls.coordinates("table"))
    assert finer.motion.size > moved.motion.size
    np.testing.assert_array_equal(finer.logits, moved.logits)
    assert ls.drift(ls.schemes.grpo(), finer).length.value != ls.drift(ls.schemes.grpo(), moved).length.value


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64])
def test_a_cap_of_numpy_is_a_whole_number(kind: type) -> None:
    """One that a sum of its own kind would overflow."""
    policy, plain = (ls.policies.unsolvable(length=ls.lengths.geometric(mean=50), max_tokens=cap)
                     for cap in (kind(120), 120))
    policy = policy.recapped(kind(127))
    assert type(policy.max_tokens) is int
    assert policy.mean_length == plain.recapped(127).mean_length
    assert ls.drift(ls.schemes.dr_grpo(), policy).length.value == ls.drift(ls.schemes.dr_grpo(),
                                                                           plain.recapped(127)).length.value
