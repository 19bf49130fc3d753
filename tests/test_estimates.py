"""Every reported number, against its definition."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossim as ls
import reference as ref
import translate
from lossim import advantages, aggregation, critics, penalties

Array = np.ndarray[Any, np.dtype[np.float64]]
SEEDS = st.integers(0, 2**32 - 1)
SIGNED = ls.Reward(correct=1.0, incorrect=-1.0)


def random_world(seed: int, **options: Any) -> ref.World:
    options = {"paths": (2, 3), "max_tokens": 4, "graded_truncation": True} | options
    return ref.random_world(np.random.default_rng(seed), **options)


def scheme(advantage: advantages.Advantage, rule: aggregation.Aggregation, **slots: Any) -> ls.Scheme:
    return ls.Scheme(advantage=advantage, aggregation=rule, **{"group_size": 2, "prompts_per_step": 2} | slots)


def two_paths(**options: Any) -> ls.Policy:
    return ls.policies.two_paths(**{
        "solve_rate": 0.4, "right": ls.lengths.geometric(mean=300), "wrong": ls.lengths.geometric(mean=500),
        "max_tokens": 4096} | options)


# ---- one estimate ----


def test_an_estimate_prints_its_error_bar_if_it_was_sampled() -> None:
    sampled = ls.Estimate(value=12.3456, stderr=0.21, n=64, method="monte carlo")
    exact = ls.Estimate(value=12.3456, error=1e-12, method="quadrature")
    assert (repr(sampled), repr(exact)) == ("12.35 ± 0.21", "12.35")
    assert (f"{sampled:+.1f}", f"{exact:+.1f}") == ("+12.3 ± 0.21", "+12.3")
    table = ls.Estimate(value=np.zeros((2, 3)), method="sum")
    assert repr(table) == "Estimate(array of shape (2, 3), method='sum')"


def test_an_estimate_behaves_as_its_number() -> None:
    one = ls.Estimate(value=-2.0, stderr=0.5, error=0.25, n=9, method="monte carlo")
    assert float(one) == -2.0
    for product in (-3.0 * one, one * -3.0):
        assert product == ls.Estimate(value=6.0, stderr=1.5, error=0.75, n=9, method="monte carlo")
    table = ls.Estimate(value=np.arange(6.0).reshape(2, 3), stderr=0.1, error=np.full((2, 3), 0.2), n=4)
    assert table[1, 2] == ls.Estimate(value=5.0, stderr=0.1, error=0.2, n=4)
    np.testing.assert_array_equal(table[1].value, [3.0, 4.0, 5.0])
    np.testing.assert_array_equal(table[1].stderr, [0.1] * 3)
    np.testing.assert_array_equal(np.asarray(table), table.value)
    assert np.asarray(table, dtype=np.float32).dtype == np.float32


def test_an_estimate_goes_through_json_and_pickle_and_cannot_be_changed() -> None:
    table = ls.Estimate(value=np.array([1.0, 2.0]), stderr=np.array([0.1, 0.2]), n=4, method="monte carlo")
    assert json.loads(json.dumps(table.to_dict())) == {
        "value": [1.0, 2.0], "stderr": [0.1, 0.2], "error": 0.0, "n": 4, "method": "monte carlo"}
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(table)).value, table.value)
    with pytest.raises(FrozenInstanceError):
        table.value = 3.0  # type: ignore[misc]


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


# ---- the noise of one step ----


def spread_by_enumeration(world: ref.World, setting: ref.Setting, policy: ls.Policy) -> float:
    """The standard deviation over all batches of what a step does to mean length."""
    ahead = ref.gradient_of_mean(world)
    stops, paths = policy.motion.push(policy.motion.pull(np.array(ahead.hazard_gradient),
                                                         np.concatenate(ahead.path_gradient)))
    direction = np.concatenate([stops.ravel(), paths])
    step, moments = ref.Step(world, setting), np.zeros(3)
    for probability, batch in ref.batches(world, setting):
        update = ref.zero(world)
        step.add(update, 1.0, batch)
        change = float(direction @ translate.flat(world, update))
        moments += probability * np.array([1.0, change, change**2])
    assert moments[0] == pytest.approx(1.0)
    return math.sqrt(moments[2] - moments[1] ** 2)


@pytest.mark.parametrize(("kind", "rule", "truncation", "penalty"), [
    ("raw", "1/T", "keep", "none"), ("raw", "sum", "mask", "none"), ("raw", "constant", "remove", "k2"),
    ("raw", "token sum", "keep", "reward"), ("gae", "1/T", "keep", "none"), ("gae", "token sum", "mask", "k3"),
    ("gae", "constant", "keep", "reward"), ("positive raw", "sum", "keep", "k1")])
@pytest.mark.parametrize("seed", [0, 1])
def test_step_std_is_the_spread_over_all_batches(kind: str, rule: str, truncation: str, penalty: str, seed: int
                                                 ) -> None:
    world = random_world(seed, paths=(2, 1), max_tokens=2, reference=True, curves=0.5)
    made, setting = translate.both(world, np.random.default_rng(seed), kind=kind, rule=rule, truncation=truncation,
                                   penalty=penalty, group_size=2, prompts=2)
    policy, reference = translate.policies(world)
    result = ls.drift(made, policy, reference=reference)
    assert result.step_std.value == pytest.approx(spread_by_enumeration(world, setting, policy), rel=1e-9)


def test_step_std_shrinks_with_the_root_of_the_batch() -> None:
    policy = two_paths(max_tokens=512)
    one, four = (ls.drift(ls.schemes.ppo(prompts_per_step=n), policy).step_std.value for n in (100, 400))
    assert one == pytest.approx(2.0 * four, rel=1e-12)


def test_step_std_agrees_with_sampled_steps() -> None:
    policy, made = two_paths(max_tokens=512), ls.schemes.ppo(prompts_per_step=8, group_size=4)
    exact = ls.drift(made, policy)
    sampled = ls.drift(made, policy, method="monte_carlo", rng=np.random.default_rng(2), batches=6400)
    assert sampled.step_std.stderr < 0.12 * exact.step_std.value
    assert abs(sampled.step_std.value - exact.step_std.value) < 4 * sampled.step_std.stderr
    assert sampled.length.stderr == pytest.approx(sampled.step_std.value / 80.0, rel=1e-9)
    assert abs(sampled.length.value - exact.length.value) < 4 * sampled.length.stderr


@pytest.mark.parametrize("coupled", [
    scheme(advantages.GroupMean(), aggregation.TokenSum()),
    scheme(advantages.Raw(), aggregation.TokenMean()),
    scheme(advantages.Raw(), aggregation.SequenceMeanTokenSum(counting="kept"), truncation="mask"),
    scheme(advantages.Whitened(inner=advantages.Raw()), aggregation.TokenSum()),
    scheme(advantages.Raw(), aggregation.TokenSum(), dynamic_sampling="drop"),
], ids=repr)
def test_step_std_of_coupled_responses_is_left_to_sampling_and_says_so(coupled: ls.Scheme) -> None:
    policy = two_paths(max_tokens=64)
    exact = ls.drift(coupled, policy)
    assert math.isnan(exact.step_std.value)
    assert any("step_std is known to method='monte_carlo' only" in note for note in exact.notes)
    sampled = ls.drift(coupled, policy, method="monte_carlo", rng=np.random.default_rng(0), batches=64)
    assert sampled.step_std.value > 0


# ---- penalties at the reference ----


@pytest.mark.parametrize("rule", [aggregation.SequenceMeanTokenMean(), aggregation.SequenceMeanTokenSum(),
                                  aggregation.ConstantNormalizer(), aggregation.TokenMean()], ids=repr)
@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_in_the_loss_at_the_reference(rule: aggregation.Aggregation, estimator: Any) -> None:
    """k2 and k3 do nothing there. k1 has slope 1 whatever the ratio: with 1/T it lengthens, with a sum it does not."""
    kl = penalties.KL(coefficient=0.5, estimator=estimator)
    result = ls.drift(scheme(advantages.GroupMean(), rule, reward=ls.Reward(correct=0.0), penalties=(kl,)),
                      two_paths(max_tokens=2048))
    if estimator == "k1" and isinstance(rule, aggregation.SequenceMeanTokenMean):
        assert result.length.value > 1.0
        assert (result.length_by_path.value > 0).all()
    elif estimator == "k1" and isinstance(rule, aggregation.TokenMean):
        assert result.length.value > 0  # what is left where a step has four responses
    else:
        assert np.abs(result.length.value) <= 1e-12 * np.abs(result.sources.value).sum()


def test_k1_under_one_over_length_is_a_negative_advantage_of_the_coefficient() -> None:
    """And so it has the closed form of an unsolvable prompt's."""
    never = ls.policies.unsolvable(length=ls.lengths.geometric(mean=50), max_tokens=4000,
                                   coordinates=ls.coordinates(sharing=0.0))
    kl = ls.Scheme(advantage=advantages.Raw(), aggregation=aggregation.SequenceMeanTokenMean(),
                   penalties=(penalties.KL(coefficient=0.3),))
    logit = ls.formulas.logit_drift_mean_over_tokens(0.02, advantage=-0.3)
    expected = ls.formulas.length_drift(logit, 0.02)
    assert ls.drift(kl, never).length.value == pytest.approx(float(expected), rel=1e-9)


def test_kl_in_the_reward_at_the_reference_costs_nothing_but_its_content() -> None:
    policy = two_paths()
    none, free, priced = (
        ls.drift(scheme(advantages.LeaveOneOut(), aggregation.SequenceMeanTokenSum(), penalties=terms), policy)
        for terms in ((), (penalties.KL(coefficient=0.1, place="reward"),),
                      (penalties.KL(coefficient=0.1, place="reward", content_per_token=0.02),)))
    assert free.length.value == none.length.value
    price = ls.Reward(shaping=lambda r, t, outcome: r - 0.002 * (t - (outcome != ls.Outcome.TRUNCATED)))
    shaped = ls.drift(scheme(advantages.LeaveOneOut(), aggregation.SequenceMeanTokenSum(), reward=price), policy)
    assert priced.length.value == pytest.approx(shaped.length.value, rel=1e-10)
    assert priced.length.value < none.length.value
    assert priced.reward.value == pytest.approx(priced.accuracy.value)  # the task's reward: the price is not in it


def test_entropy_bonus_draws_hazards_to_one_half() -> None:
    for hazard, sign in ((0.1, -1), (0.9, 1)):  # stop sooner, or later
        policy = ls.policies.unsolvable(length=ls.lengths.table(np.full(8, hazard)), max_tokens=8)
        bonus = scheme(advantages.GroupMean(), aggregation.TokenSum(), penalties=(penalties.Entropy(coefficient=0.1),))
        result = ls.drift(bonus, policy)
        assert np.sign(result.length.value) == sign
        assert float(result.source(term="entropy")) == pytest.approx(result.length.value)
        n, reached = 4, 0.1 * policy.at_risk[0]
        expected = n * reached * hazard * (1 - hazard) * np.log((1 - hazard) / hazard)
        np.testing.assert_allclose(result.hazard_gradient.value[0], expected, rtol=1e-12)


# ---- undecided signs ----


def test_a_sign_that_small_cross_terms_would_decide_is_marked() -> None:
    """Token-mean, everything sampled unequal: the paths' own terms cancel but for what is cut."""
    policy = two_paths()
    result = ls.drift(ls.schemes.dapo(), policy)
    assert result.undecided.all()
    assert "without a measured kernel" in str(result)
    decided = ls.drift(ls.schemes.grpo(), policy)
    np.testing.assert_array_equal(decided.undecided, [False, True])


def test_a_measured_kernel_or_frozen_paths_leave_nothing_undecided() -> None:
    kernel = ls.kernel(np.full((2, 1, 2, 1), 100.0), positions=[1], paths=[[433.0]], cross=np.full((1, 2, 1), -6.0))
    for coordinates in (kernel, ls.coordinates(path_scale=0.0)):
        result = ls.drift(ls.schemes.dapo(), two_paths(coordinates=coordinates))
        assert not result.undecided.any()
        assert "without a measured kernel" not in str(result)


# ---- the whole result ----


@pytest.mark.parametrize("method", ["exact", "monte_carlo"])
def test_both_methods_report_the_same_things(method: Any) -> None:
    policy = two_paths(max_tokens=32)
    rng = np.random.default_rng(0) if method == "monte_carlo" else None
    made = replace(ls.schemes.grpo(kl=0.1, prompts_per_step=2), name="mine")
    result = ls.drift(made, policy, method, rng=rng, batches=None if rng is None else 32)
    shapes = {"length_by_class": (1,), "length_by_path": (2,), "length_by_outcome": (3,), "path_probability": (2,),
              "hazard_gradient": (2, 32), "path_gradient": (1, 2), "effective_reward": (2, 32),
              "response_weight": (2, 3, 32), "sources": (2, 3, 3, 3)}
    for name, value in vars(result).items():
        if isinstance(value, ls.Estimate):
            assert np.shape(value.value) == shapes.get(name, () if name != "update" else (7,)), name
            assert (value.method == "monte carlo") == (method == "monte_carlo"), name
            assert value.n == (0 if rng is None else 32), name
            assert rng is not None or np.all(value.stderr == 0), name
    assert result.cells == (("prompts", "right"), ("prompts", "wrong"))
    plain = json.loads(json.dumps(result.to_dict()))
    assert plain["length"]["value"] == result.length.value
    assert plain["cells"] == [["prompts", "right"], ["prompts", "wrong"]]
    assert plain["provenance"]["scheme"]["group_size"] == "8"
    assert set(shapes) | {"length", "notes", "undecided"} <= set(plain)
    text = str(result)
    assert text == repr(result)
    for part in ("mine", "GroupStandardized", "verl seq-mean-token-mean", "mean length", "per unit step",
                 "prompts / wrong", "stop", "2 prompts × 8"):
        assert part in text
    assert ("±" in text) == (method == "monte_carlo")


def test_a_result_pickles() -> None:
    result = ls.drift(ls.schemes.grpo(), two_paths(max_tokens=32))
    assert str(pickle.loads(pickle.dumps(result))) == str(result)


def test_the_verdict_in_words() -> None:
    never = ls.policies.unsolvable(length=ls.lengths.geometric(mean=50), max_tokens=4096)
    level = ls.schemes.ppo(gae_lambda=1.0, aggregation=aggregation.SequenceMeanTokenSum())
    verdicts = ("shorter", "longer", "no drift", "nothing moves")
    for made, policy, words in ((ls.schemes.grpo(), two_paths(), "shorter"), (ls.schemes.ppo(), never, "longer"),
                                (level, never, "nothing moves"), (ls.schemes.grpo(), never, "nothing moves")):
        first = str(ls.drift(made, policy)).splitlines()[0]
        assert [verdict for verdict in verdicts if verdict in first] == [words]


@pytest.mark.parametrize("made", [
    ls.schemes.opo(reward=SIGNED), ls.schemes.reinforce_plus_plus_baseline(reward=SIGNED),
    ls.schemes.ppo(gae_lambda=1.0, aggregation=aggregation.SequenceMeanTokenSum()),
], ids=lambda made: made.name)
def test_where_nothing_moves_but_rounding_the_ratios_are_not_numbers(made: ls.Scheme) -> None:
    never = ls.policies.unsolvable(length=ls.lengths.geometric(mean=50), max_tokens=4096)
    result = ls.drift(made, never)
    assert math.isnan(result.length_per_kl.value) or abs(result.length_per_kl.value) <= result.length_per_kl.error
    assert math.isnan(result.alignment.value) or abs(result.alignment.value) <= result.alignment.error


def test_error_bounds_of_exact_numbers_cover_what_quadrature_leaves() -> None:
    """Token-mean in groups of one is 1/T, which needs no quadrature: the same number by two roads."""
    policy = two_paths(max_tokens=512)
    ratio, plain = (ls.drift(scheme(advantages.Raw(), rule, group_size=1), policy).length
                    for rule in (aggregation.TokenMean(scope="group"), aggregation.SequenceMeanTokenMean()))
    assert (ratio.method, plain.method) == ("quadrature", "sum")
    assert 0 < abs(ratio.value - plain.value) <= ratio.error + plain.error
    assert ratio.error < 1e-10
