"""What a drift is made of: effective reward, response weight and sources, each put back into the gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import lossim as ls
import translate
from examples import SEEDS, SIGNED, random_world, scheme, two_paths
from lossim import advantages, aggregation, critics, penalties

# ---- effective reward ----

CASES: dict[str, tuple[advantages.Advantage, aggregation.Aggregation, dict[str, Any]]] = {
    "gae": (advantages.GAE(gae_lambda=0.8, critic=critics.Linear(level=0.2, slope=-0.1)),
            aggregation.SequenceMeanTokenMean(), {"reward": SIGNED}),
    "std": (advantages.GroupStandardized(), aggregation.TokenMean(), {"dynamic_sampling": "drop"}),
    "mask": (advantages.GroupMean(), aggregation.SequenceMeanTokenSum(counting="kept"), {"truncation": "mask"}),
    "penalties": (advantages.Raw(baseline=0.3), aggregation.LengthPower(),
                  {"penalties": (penalties.KL(coefficient=0.3), penalties.Entropy(coefficient=0.2))}),
    "adaptive": (advantages.GAE(gae_lambda=advantages.LengthAdaptive(alpha=0.7)), aggregation.TokenMean(), {}),
}


@settings(max_examples=15)
@pytest.mark.parametrize("case", CASES)
@given(seed=SEEDS)
def test_plugging_the_effective_reward_back_in_gives_the_gradient(case: str, seed: int) -> None:
    """g(t) = p v - h Σ p v over all ends from t on; the cut end's own value makes each cell's mean 0."""
    advantage, rule, slots = CASES[case]
    policy, _ = translate.policies(random_world(seed))
    result = ls.drift(scheme(advantage, rule, **slots), policy)
    value, p, cut = result.effective_reward.value, policy.pmf, policy.ends[:, -1]
    np.testing.assert_array_equal(np.isnan(value), p == 0)  # nobody stops there: no such reward is ever paid
    paid = p * np.nan_to_num(value)
    of_cut = -paid.sum(axis=1)  # what the cut responses get, times their probability
    assert (np.abs(of_cut[cut == 0]) < 1e-11).all()
    beyond = np.cumsum(paid[:, ::-1], axis=1)[:, ::-1] + of_cut[:, None]
    gradient = policy.cell_weight[:, None] * (paid - policy.hazard * beyond)
    free = np.isfinite(policy.logits)
    np.testing.assert_allclose(gradient[free], result.hazard_gradient.value[free], rtol=1e-9, atol=1e-12)


@settings(max_examples=20)
@pytest.mark.parametrize("case", CASES)
@given(seed=SEEDS)
def test_reinforce_on_the_effective_reward_makes_the_same_update(case: str, seed: int) -> None:
    """One path: pay responses the effective reward and nothing else, and run the engine on that."""
    world = random_world(seed, classes=1, paths=1)
    policy, _ = translate.policies(world)
    advantage, rule, slots = CASES[case]
    result = ls.drift(scheme(advantage, rule, **slots), policy)
    by_length = np.nan_to_num(result.effective_reward.value[0])
    cut = policy.truncation_rate
    of_cut = -float(policy.pmf[0] @ by_length) / cut if cut else 0.0

    def pay(reward: Any, length: Any, outcome: Any) -> Any:
        return np.where(outcome == ls.Outcome.TRUNCATED, of_cut, by_length[length.astype(int) - 1])

    plain = ls.drift(scheme(advantages.Raw(), aggregation.SequenceMeanTokenSum(), reward=ls.Reward(shaping=pay)),
                     policy)
    np.testing.assert_allclose(plain.hazard_gradient.value, result.hazard_gradient.value, rtol=1e-9, atol=1e-12)


def test_where_the_effective_reward_rises_responses_are_drawn_on() -> None:
    """The stop logit at t moves with the sign of v(t) - E[v | T > t]."""
    policy = two_paths(max_tokens=60, right=ls.lengths.geometric(mean=20), wrong=ls.lengths.geometric(mean=30))
    result = ls.drift(ls.schemes.ppo(), policy)
    v, p = result.effective_reward.value, policy.pmf
    assert (v[1, 1:] > v[1, :-1]).all()  # a negative reward, diluted by length
    assert (v[0, 1:40] < v[0, :39]).all()  # a positive one; near the cut, -1 for being cut looms
    for cell in range(2):
        of_cut = -(p[cell] @ v[cell])
        for t in range(59):
            later = (p[cell, t + 1:] @ v[cell, t + 1:] + of_cut) / policy.at_risk[cell, t + 1]
            assert np.sign(result.hazard_gradient.value[cell, t]) == np.sign(v[cell, t] - later)


# ---- response weight ----


@settings(max_examples=15)
@pytest.mark.parametrize("case", [case for case, (a, _, _) in CASES.items() if not isinstance(a, advantages.GAE)])
@given(seed=SEEDS)
def test_response_weight_times_the_law_gives_the_gradient(case: str, seed: int) -> None:
    advantage, rule, slots = CASES[case]
    policy, _ = translate.policies(random_world(seed))
    result = ls.drift(scheme(advantage, rule, **slots | {"penalties": ()}), policy)
    weight = result.response_weight.value
    stopped = policy.law[:, :, :-1] * np.nan_to_num(weight[:, :2])
    cut = policy.ends[:, -1:] * np.nan_to_num(weight[:, 2, -1:])
    assert np.isnan(weight[:, 2, :-1]).all()  # cut responses are as long as can be
    np.testing.assert_array_equal(np.isnan(weight[:, :2]), policy.law[:, :, :-1] == 0)
    here = stopped.sum(axis=1)
    on = np.cumsum(here[:, ::-1], axis=1)[:, ::-1] + cut
    gradient = policy.cell_weight[:, None] * (here - policy.hazard * on)
    np.testing.assert_allclose(gradient, result.hazard_gradient.value, rtol=1e-10, atol=1e-13)
    first = policy.cell_weight * on[:, 0]
    share = np.bincount(policy.class_of_cell, weights=first)[policy.class_of_cell]
    paths = result.path_gradient.value
    np.testing.assert_allclose(first - policy.probability * share, paths[~np.isnan(paths)], atol=1e-13)


def test_response_weight_by_hand() -> None:
    """Group mean of four, 1/T: a right response weighs (3/4)(1 - p)/T, a wrong one -(3/4)p/T."""
    policy = two_paths(max_tokens=6, right=ls.lengths.geometric(mean=3), wrong=ls.lengths.geometric(mean=2))
    weight = ls.drift(scheme(advantages.GroupMean(), aggregation.SequenceMeanTokenMean(), group_size=4), policy
                      ).response_weight.value
    t, p = np.arange(1.0, 7.0), policy.accuracy
    assert p < 0.4  # the right ones that are cut do not count
    np.testing.assert_allclose(weight[0, 0], 0.75 * (1 - p) / t)
    np.testing.assert_allclose(weight[1, 1], -0.75 * p / t)
    np.testing.assert_allclose(weight[:, 2, -1], -0.75 * p / 6)
    assert np.isnan(weight[0, 1]).all()  # a right path is never incorrect
    assert np.isnan(weight[1, 0]).all()


def test_gae_has_no_response_weight() -> None:
    assert ls.drift(ls.schemes.ppo(), two_paths(max_tokens=8)).response_weight is None


# ---- sources ----


def test_sources_by_hand() -> None:
    """One path, h = 1/2 then 1/4, N = 2, A = -1 and 1/T.

    Token sums, of weight × A: at 1, half stop (weight 1) and half go on (weight 1/2); at 2, 1/8 stop, 3/8 are cut.
    A unit of z_1 adds -h_1 (1 - h_1) = -1/4 tokens and z_2 adds none, so with one bin the direction is -1/4 at both.
    """
    never = ls.policies.unsolvable(length=ls.lengths.table([0.5, 0.25]), max_tokens=2,
                                   coordinates=ls.coordinates(sharing=0.0))
    result = ls.drift(scheme(advantages.Raw(), aggregation.SequenceMeanTokenMean(), reward=ls.Reward(incorrect=-1.0)),
                      never)
    stop = -0.25 * (-0.5 * 0.5 - 1 / 16 * 0.75)  # (1 - h) × sum of weight × A, over both positions
    go_stopped = -0.25 * (0.5 * 1 / 16)  # -h × the sum over those who stop later
    go_cut = -0.25 * (0.5 * 3 / 16 + 0.25 * 3 / 16)
    expected = np.zeros((1, 3, 3, 3))
    expected[0, ls.Outcome.INCORRECT, 0, 0] = stop
    expected[0, ls.Outcome.INCORRECT, 1, 0] = go_stopped
    expected[0, ls.Outcome.TRUNCATED, 1, 0] = go_cut
    np.testing.assert_allclose(result.sources.value, expected, atol=1e-16)
    assert result.length.value == pytest.approx(stop + go_stopped + go_cut)
    assert float(result.source(role="go on")) == pytest.approx(go_stopped + go_cut)
    assert float(result.source(outcome="truncated")) == pytest.approx(go_cut)
    assert float(result.source(role="stop", term="kl")) == 0.0
    assert float(result.source()) == pytest.approx(result.length.value)


@settings(max_examples=15)
@given(seed=SEEDS)
def test_sources_by_term_are_the_drifts_of_the_terms(seed: int) -> None:
    world = random_world(seed, reference=True)
    policy, reference = translate.policies(world)
    parts = {"kl": (penalties.KL(coefficient=0.3, estimator="k3"),), "entropy": (penalties.Entropy(coefficient=0.2),)}

    def drift(advantage: advantages.Advantage, terms: tuple[Any, ...]) -> ls.Drift:
        return ls.drift(scheme(advantage, aggregation.TokenMean(), penalties=terms, reward=SIGNED), policy,
                        reference=reference)

    whole = drift(advantages.LeaveOneOut(), (*parts["kl"], *parts["entropy"]))
    alone = {"policy": drift(advantages.LeaveOneOut(), ())}
    for term, value in parts.items():
        alone[term] = drift(advantages.LeaveOneOut(), value)
        np.testing.assert_allclose(alone[term].source(term="policy").value, alone["policy"].length.value, rtol=1e-11)
    for index, term in enumerate(("policy", "kl", "entropy")):
        np.testing.assert_allclose(whole.sources.value[..., index], alone[term].sources.value[..., index], rtol=1e-10,
                                   atol=1e-14)
    for cell, (_, path) in enumerate(policy.cell_names):
        names = [name for _, name in policy.cell_names]
        mine = sum(whole.sources.value[c].sum() for c in range(5) if names[c] == path)
        assert float(whole.source(path=path)) == pytest.approx(mine), cell


def test_sources_of_words_that_are_none() -> None:
    result = ls.drift(ls.schemes.grpo(), two_paths(max_tokens=8))
    with pytest.raises(ValueError, match="did you mean 'go on'"):
        result.source(role="go_on")
    with pytest.raises(ValueError, match=r"path must be one of .*did you mean 'right'"):
        result.source(path="rigth")
    with pytest.raises(ValueError, match="term must be one of"):
        result.source(term="KL")
    with pytest.raises(ValueError, match="outcome must be one of"):
        result.source(outcome="cut")
