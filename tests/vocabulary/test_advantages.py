"""Advantage estimators: by hand, by counting, and where one reduces to another."""

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

Array = np.ndarray[Any, np.dtype[np.float64]]
SEEDS = st.integers(0, 2**32 - 1)
RETURNS = st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=2, max_size=7)


def of(advantage: advantages.ResponseAdvantage, returns: Any, count: Any = None, length: Any = None,
       baseline: Any = 0.0) -> Array:
    rewards = np.asarray(returns, dtype=float)
    counts = np.ones_like(rewards) if count is None else np.asarray(count, dtype=float)
    lengths = np.ones_like(rewards) if length is None else np.asarray(length, dtype=float)
    group = advantages.group_of(rewards, count=counts, length=lengths, baseline=np.asarray(baseline, dtype=float))
    return advantage.of_group(group)


# ---- by hand: rewards 1, 0, 0, 3 have mean 1 and squared deviations 0, 1, 1, 4 ----

HAND = [1.0, 0.0, 0.0, 3.0]


@pytest.mark.parametrize(("advantage", "expected"), [
    (advantages.Raw(), HAND),
    (advantages.GroupMean(), [0, -1, -1, 2]),
    (advantages.GroupMean(group_of_one="raw"), [0, -1, -1, 2]),
    (advantages.LeaveOneOut(), [0, -4 / 3, -4 / 3, 8 / 3]),
    (advantages.LeaveOneOutStandardized(eps=0.0), [0, -4 / 7**0.5 / 3**0.5, -4 / 7**0.5 / 3**0.5, 8 / 3**0.5]),
    (advantages.GroupStandardized(eps=0.0), np.array([0, -1, -1, 2]) / np.sqrt(2.0)),
    (advantages.GroupStandardized(eps=1.0), np.array([0, -1, -1, 2]) / (1.0 + np.sqrt(2.0))),
    (advantages.GroupStandardized(eps=0.0, ddof=0), np.array([0, -1, -1, 2]) / np.sqrt(1.5)),
    (advantages.GroupStandardized(scope="batch"), [0, -1, -1, 2]),  # the std of the step is divided by elsewhere
    (advantages.PositiveOnly(inner=advantages.GroupMean()), [0, 0, 0, 2]),
], ids=repr)
def test_by_hand(advantage: advantages.ResponseAdvantage, expected: Any) -> None:
    np.testing.assert_allclose(of(advantage, HAND), expected, atol=1e-15)


def test_raw_subtracts_the_baseline_of_the_class() -> None:
    np.testing.assert_allclose(of(advantages.Raw(baseline=0.5), [[1.0, 0.0], [1.0, 0.0]], baseline=[[0.5], [0.25]]),
                               [[0.5, -0.5], [0.75, -0.25]])


def test_opo_weighs_the_baseline_by_length() -> None:
    """Rewards 1 and 0 with three tokens and one: the baseline is 3/4."""
    np.testing.assert_allclose(of(advantages.OPO(), [1.0, 0.0], length=[3.0, 1.0]), [0.25, -0.75])


@settings(max_examples=60)
@given(returns=RETURNS, seed=SEEDS)
def test_by_plain_loops(returns: list[float], seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(1, 50, size=len(returns)).astype(float)
    size, mean = len(returns), sum(returns) / len(returns)
    for ddof in (0, 1):
        std = (sum((r - mean) ** 2 for r in returns) / (size - ddof)) ** 0.5
        expected = [(r - mean) / (std + 0.01) for r in returns]
        np.testing.assert_allclose(of(advantages.GroupStandardized(eps=0.01, ddof=ddof), returns), expected,
                                   atol=1e-11)
    others = [r - (sum(returns) - r) / (size - 1) for r in returns]
    np.testing.assert_allclose(of(advantages.LeaveOneOut(), returns), others, atol=1e-12)
    alone = []
    for i, own in enumerate(returns):
        mates = returns[:i] + returns[i + 1:]
        centre = sum(mates) / len(mates)
        spread = (sum((r - centre) ** 2 for r in mates) / max(len(mates) - 1, 1)) ** 0.5
        alone.append((own - centre) / (1.0 if len(set(mates)) == 1 else spread + 0.01))
    np.testing.assert_allclose(of(advantages.LeaveOneOutStandardized(eps=0.01), returns), alone, atol=1e-9)
    baseline = sum(t * r for t, r in zip(lengths, returns, strict=True)) / sum(lengths)
    opo = of(advantages.OPO(), returns, length=lengths)
    np.testing.assert_allclose(opo, [r - baseline for r in returns], atol=1e-12)
    assert lengths @ opo == pytest.approx(0.0, abs=1e-9)


# ---- counting ----

ALL = [advantages.GroupMean(), advantages.GroupMean(group_of_one="raw"), advantages.LeaveOneOut(),
       advantages.GroupStandardized(eps=0.01), advantages.GroupStandardized(eps=0.01, ddof=0), advantages.OPO(),
       advantages.LeaveOneOutStandardized(eps=0.01), advantages.GroupStandardized(scope="batch"),
       advantages.PositiveOnly(inner=advantages.LeaveOneOut())]


@settings(max_examples=30)
@pytest.mark.parametrize("advantage", ALL, ids=repr)
@given(seed=SEEDS)
def test_levels_with_multiplicities_are_the_group_written_out(advantage: advantages.ResponseAdvantage, seed: int
                                                              ) -> None:
    rng = np.random.default_rng(seed)
    levels, counts, lengths = rng.normal(size=3), rng.integers(0, 4, size=(5, 3)), rng.integers(1, 9, size=3)
    counts[:, 0] += 2
    table = of(advantage, np.broadcast_to(levels, (5, 3)), counts, np.broadcast_to(lengths, (5, 3)))
    for row, count in zip(table, counts, strict=True):
        group = np.repeat(np.arange(3), count)
        written_out = of(advantage, levels[group], length=lengths[group])
        np.testing.assert_allclose(row[group], written_out, atol=1e-12)


@settings(max_examples=30)
@pytest.mark.parametrize("advantage", ALL, ids=repr)
@given(seed=SEEDS)
def test_responses_out_of_the_baseline_do_not_matter_to_the_others(advantage: advantages.ResponseAdvantage, seed: int
                                                                   ) -> None:
    rng = np.random.default_rng(seed)
    returns, lengths = rng.normal(size=6), rng.integers(1, 9, size=6)
    inside = np.array([1, 0, 1, 1, 0, 1])
    some = of(advantage, returns, inside, lengths)[inside > 0]
    np.testing.assert_allclose(some, of(advantage, returns[inside > 0], length=lengths[inside > 0]), atol=1e-12)


@settings(max_examples=40)
@pytest.mark.parametrize("advantage", [a for a in ALL if isinstance(a, (advantages.GroupMean, advantages.LeaveOneOut,
                                                                        advantages.GroupStandardized))], ids=repr)
@given(returns=RETURNS, shift=st.floats(-5, 5))
def test_group_advantages_have_mean_zero_and_ignore_a_shift(
        advantage: advantages.ResponseAdvantage, returns: list[float], shift: float) -> None:
    given_returns = np.array(returns)
    first = of(advantage, given_returns)
    assert first.mean() == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(of(advantage, given_returns + shift), first, atol=1e-9)


def test_batches_of_groups_at_once() -> None:
    returns = np.random.default_rng(0).normal(size=(3, 4, 5))
    for advantage in ALL:
        whole = of(advantage, returns)
        assert whole.shape == (3, 4, 5)
        np.testing.assert_array_equal(whole[1, 2], of(advantage, returns[1, 2]))


# ---- the corners of a group ----


@pytest.mark.parametrize(("advantage", "expected"), [
    (advantages.Raw(), 2.0), (advantages.GroupMean(), 0.0), (advantages.GroupMean(group_of_one="raw"), 2.0),
    (advantages.GroupStandardized(eps=0.25), 1.6), (advantages.GroupStandardized(group_of_one="zero"), 0.0),
    (advantages.OPO(), 0.0), (advantages.PositiveOnly(inner=advantages.GroupStandardized(eps=0.25)), 1.6),
], ids=repr)
def test_a_group_of_one(advantage: advantages.ResponseAdvantage, expected: float) -> None:
    assert of(advantage, [2.0], length=[7.0])[0] == expected


@pytest.mark.parametrize("eps", [0.0, 1e-6])
@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("reward", [0.0, 0.5, 0.1, -0.7, 1e6 / 3.0])  # three times 0.1, over three, is not 0.1
def test_equal_returns_have_no_standardized_advantage(eps: float, ddof: int, reward: float) -> None:
    for size in (2, 3, 7):
        credit = of(advantages.GroupStandardized(eps=eps, ddof=ddof), [reward] * size)
        assert np.abs(credit).max() <= (1e-3 if eps else 0.0)  # what rounding leaves of it


def test_equal_rewards_without_eps_move_nothing() -> None:
    policy = ls.policies.unsolvable(length=ls.lengths.geometric(mean=5), max_tokens=20)
    made = ls.Scheme(reward=ls.Reward(incorrect=0.1), advantage=advantages.GroupStandardized(eps=0.0), group_size=3,
                     aggregation=aggregation.SequenceMeanTokenMean())
    assert ls.drift(made, policy).length.value == 0
    assert ls.drift(made, policy, "monte_carlo", rng=np.random.default_rng(0), batches=16).length.value == 0


def test_two_unequal_responses_are_one_std_apart_whatever_their_rewards() -> None:
    for gap in (1e-3, 1.0, 1e3):
        np.testing.assert_allclose(of(advantages.GroupStandardized(eps=0.0), [0.0, gap]), [-0.5**0.5, 0.5**0.5])


def test_which_estimators_compare_and_how_many_they_need() -> None:
    compare = {advantages.Raw(): False, advantages.GAE(): False, advantages.GroupMean(): True,
               advantages.LeaveOneOut(): True, advantages.GroupStandardized(): True, advantages.OPO(): True}
    for inner, compares in compare.items():
        least = 2 if isinstance(inner, advantages.LeaveOneOut) else 1
        wrapped = [advantages.Whitened(inner=inner)]
        if isinstance(inner, advantages.ResponseAdvantage):
            wrapped.append(advantages.PositiveOnly(inner=inner))  # type: ignore[arg-type]
        for estimator in (inner, *wrapped):
            assert (estimator.group_relative, estimator.least_group_size) == (compares, least)


def test_length_adaptive_lambda() -> None:
    """λ = 1 - 1/(αT), and 0 below T = 1/α: Σ of λ^k is then about αT, a share of the response."""
    values = advantages.LengthAdaptive(alpha=0.05)(np.array([1.0, 19.0, 20.0, 40.0, 2000.0]))
    np.testing.assert_allclose(values, [0.0, 0.0, 0.0, 0.5, 0.99])


# ---- where one reduces to another ----


def drift(advantage: advantages.Advantage, policy: ls.Policy, **slots: Any) -> Array:
    rule = aggregation.TokenMean() if slots.pop("coupled", False) else aggregation.SequenceMeanTokenMean()
    scheme = ls.Scheme(**{"advantage": advantage, "aggregation": rule, "group_size": 3, "prompts_per_step": 2} | slots)
    return translate.engine_flat(ls.drift(scheme, policy))


def random_policy(seed: int) -> ls.Policy:
    rng = np.random.default_rng(seed)
    return translate.policies(ref.random_world(rng, paths=(2, 1), max_tokens=4, graded_truncation=True))[0]


@settings(max_examples=15)
@given(seed=SEEDS, value=st.floats(-2, 2), coupled=st.booleans())
def test_gae_with_lambda_one_and_a_constant_critic_is_a_fixed_baseline(seed: int, value: float, coupled: bool) -> None:
    policy = random_policy(seed)
    gae = advantages.GAE(gae_lambda=1.0, critic=critics.Constant(value=value))
    np.testing.assert_allclose(drift(gae, policy, coupled=coupled),
                               drift(advantages.Raw(baseline=value), policy, coupled=coupled), atol=1e-13)


@settings(max_examples=15)
@given(seed=SEEDS, alpha=st.floats(0.05, 0.99))
def test_adaptive_lambda_below_one_over_alpha_is_lambda_zero(seed: int, alpha: float) -> None:
    policy, critic = random_policy(seed), critics.Linear(level=0.3, slope=-0.1)
    short = advantages.GAE(gae_lambda=advantages.LengthAdaptive(alpha=alpha / 4.0), critic=critic)
    np.testing.assert_allclose(drift(short, policy), drift(advantages.GAE(gae_lambda=0.0, critic=critic), policy),
                               atol=1e-13)


@settings(max_examples=15)
@given(seed=SEEDS, size=st.integers(2, 6), coupled=st.booleans())
def test_group_mean_is_a_share_of_leave_one_out(seed: int, size: int, coupled: bool) -> None:
    policy, slots = random_policy(seed), {"group_size": size, "coupled": coupled}
    np.testing.assert_allclose(drift(advantages.GroupMean(), policy, **slots),
                               (size - 1) / size * drift(advantages.LeaveOneOut(), policy, **slots), atol=1e-13)


@settings(max_examples=15)
@given(seed=SEEDS, size=st.integers(2, 5))
def test_a_huge_eps_leaves_the_group_mean(seed: int, size: int) -> None:
    policy = random_policy(seed)
    scaled = 1e9 * drift(advantages.GroupStandardized(eps=1e9), policy, group_size=size)
    np.testing.assert_allclose(scaled, drift(advantages.GroupMean(), policy, group_size=size), atol=1e-8)


@settings(max_examples=15)
@given(seed=SEEDS, inner=st.sampled_from(["raw", "std"]))
def test_positive_only_of_what_is_positive_changes_nothing(seed: int, inner: str) -> None:
    """All rewards above the baseline, or one response alone and right."""
    policy = random_policy(seed)
    given_inner = {"raw": advantages.Raw(baseline=-1.0), "std": advantages.GroupStandardized()}[inner]
    slots = {"group_size": 1 if inner == "std" else 3}
    np.testing.assert_allclose(drift(advantages.PositiveOnly(inner=given_inner), policy, **slots),
                               drift(given_inner, policy, **slots), atol=1e-13)


@settings(max_examples=15)
@given(seed=SEEDS)
def test_positive_and_negative_parts_add_up(seed: int) -> None:
    """max(A, 0) of rewards and of their negatives: A = max(A, 0) - max(-A, 0)."""
    policy, advantage = random_policy(seed), advantages.PositiveOnly(inner=advantages.GroupStandardized())
    up, down = (drift(advantage, policy, reward=ls.Reward(correct=sign)) for sign in (1.0, -1.0))
    np.testing.assert_allclose(up - down, drift(advantages.GroupStandardized(), policy), atol=1e-13)


@settings(max_examples=15)
@given(seed=SEEDS, factor=st.floats(0.1, 10), shift=st.floats(-3, 3), kind=st.sampled_from(["raw", "gae", "mean"]))
def test_whitening_forgets_the_scale_and_with_lambda_one_the_shift_of_rewards(
        seed: int, factor: float, shift: float, kind: str) -> None:
    inner = {"raw": advantages.Raw(), "gae": advantages.GAE(gae_lambda=0.9), "mean": advantages.GroupMean()}[kind]
    shift = 0.0 if kind == "gae" else shift
    policy, whitened = random_policy(seed), advantages.Whitened(inner=inner, eps=0.0)
    before = drift(whitened, policy)
    after = drift(whitened, policy, reward=ls.Reward(correct=factor + shift, incorrect=shift))
    np.testing.assert_allclose(after, before, atol=1e-9)


@settings(max_examples=15)
@given(seed=SEEDS)
def test_the_step_s_std_divides_what_the_group_s_mean_leaves(seed: int) -> None:
    """Scope "batch": the centred update over the std of all rewards, which is √(p(1-p)) for zeros and ones."""
    policy = random_policy(seed)
    std = np.sqrt(policy.accuracy * (1.0 - policy.accuracy))
    divided = drift(advantages.GroupStandardized(scope="batch", eps=0.5), policy)
    np.testing.assert_allclose(divided, drift(advantages.GroupMean(), policy) / (std + 0.5), atol=1e-13)


def test_centring_without_scaling_subtracts_the_token_mean_of_the_advantage() -> None:
    """The token-weighted mean of rewards 0 and 1 is E[TR]/E[T], and Raw with that baseline is the same."""
    policy = random_policy(1)
    tokens = policy.cell_weight @ (policy.law[:, 0] @ policy.length)
    expected = drift(advantages.Raw(baseline=float(tokens / policy.mean_length)), policy)
    centred = advantages.Whitened(inner=advantages.Raw(), scale=False)
    np.testing.assert_allclose(drift(centred, policy), expected, atol=1e-14)


def test_values_print_compare_and_hash() -> None:
    assert repr(advantages.Whitened(inner=advantages.GroupMean())) == (
        "Whitened(inner=GroupMean(group_of_one='zero'), scale=True, eps=1e-08, ddof=1)")
    assert advantages.Raw(baseline=[0.1, 0.2]) == advantages.Raw(baseline=np.array([0.1, 0.2]))
    assert hash(advantages.GAE()) == hash(advantages.GAE(gae_lambda=0.95))
    assert replace(advantages.GAE(), gae_lambda=1.0) != advantages.GAE()


def test_numbers_of_numpy_are_kept_as_numbers_of_python() -> None:
    """They print alike, and nothing is computed in eight bits."""
    for given_as, plain in (
            (advantages.GroupStandardized(ddof=np.int8(1), eps=np.float32(0.5)),
             advantages.GroupStandardized(ddof=1, eps=0.5)),
            (advantages.MaxRL(eps=np.float16(0.5)), advantages.MaxRL(eps=0.5)),
            (advantages.PassK(eps=np.int8(1)), advantages.PassK(eps=1)),
            (advantages.Raw(baseline=np.uint8(200)), advantages.Raw(baseline=200)),
            (advantages.Raw(baseline=np.array([1, 2], dtype=np.int8)), advantages.Raw(baseline=(1.0, 2.0))),
            (advantages.GAE(gamma=np.float32(0.5), gae_lambda=np.int8(1)), advantages.GAE(gamma=0.5, gae_lambda=1)),
            (advantages.GAE(gae_lambda=advantages.LengthAdaptive(alpha=np.int8(3))),
             advantages.GAE(gae_lambda=advantages.LengthAdaptive(alpha=3))),
            (advantages.Whitened(inner=advantages.GAE(), eps=np.float32(0.25), ddof=np.uint8(0)),
             advantages.Whitened(inner=advantages.GAE(), eps=0.25, ddof=0))):
        assert given_as == plain
        assert repr(given_as) == repr(plain)
    adaptive = advantages.LengthAdaptive(alpha=np.int8(3))
    np.testing.assert_allclose(adaptive(np.array([100.0])), 1.0 - 1.0 / 300.0)
