"""Work that is nothing special: paths of one state as special cases of two, and real lengths against samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import lossim as ls
import translate
from examples import SEEDS, random_world
from lossim.advantages import GAE, OPO, GroupMean, GroupStandardized, LeaveOneOut, PassK, Raw, Whitened
from lossim.aggregation import LengthPower, SequenceMeanTokenMean, SequenceMeanTokenSum, TokenMean
from lossim.critics import Constant, Exact, Linear
from lossim.penalties import KL, Entropy

N = 60
NUMBERS = ("length", "composition", "within", "needed", "free", "length_by_class", "length_by_path",
           "length_by_outcome", "path_probability", "accuracy", "reward", "truncation_rate", "length_per_kl",
           "length_per_reward", "accuracy_per_token", "alignment", "path_gradient")
SEEN = {
    "raw": Raw(baseline=0.3), "mean": GroupMean(), "std": GroupStandardized(), "opo": OPO(), "best of k": PassK(),
    "whitened": Whitened(inner=LeaveOneOut()), "gae": GAE(gae_lambda=0.9, critic=Constant(value=0.2)),
    "gae, exact critic": GAE(gae_lambda=0.8, critic=Exact(bias=0.1)),
}
UNSEEN = {name: SEEN[name] for name in ("raw", "mean", "std", "opo", "best of k", "whitened", "gae")} | {
    "gae, a profile": GAE(gae_lambda=0.9, gamma=0.97, critic=Linear(level=0.3, slope=-0.01)),
    "gae, exact for the class": GAE(gae_lambda=0.8, critic=Exact(per="class", bias=0.1)),
    "whitened gae": Whitened(inner=GAE(gae_lambda=0.9, critic=Constant(value=0.2)))}
RULES = {"1/T": SequenceMeanTokenMean(), "token mean": TokenMean(), "ΔL": LengthPower(), "sum": SequenceMeanTokenSum()}
WORKING, DONE = ls.lengths.geometric(mean=25), ls.lengths.lognormal(median=20, sigma=0.7)
ANSWER = ls.lengths.lognormal(median=15, sigma=0.6)


def prompts(path: ls.Path, sharing: float = 0.6) -> ls.Policy:
    """The path beside one with a curve, in one of two classes."""
    other = ls.Path("other", probability=0.6, length=ls.lengths.geometric(mean=15),
                    p_correct=lambda t: 0.1 + 0.5 * t / (t + 20.0), p_correct_truncated=0.1)
    return ls.Policy([ls.PromptClass("one", weight=0.7, paths=[replace(path, probability=0.4), other]),
                      ls.PromptClass("two", weight=0.3, paths=[replace(path, probability=1.0)])], max_tokens=N,
                     coordinates=ls.coordinates(bins=3, sharing=sharing))


def assert_same_drift(one: ls.Policy, other: ls.Policy, advantage: ls.advantages.Advantage, rule: str) -> None:
    scheme = ls.Scheme(advantage=advantage, aggregation=RULES[rule], group_size=3, prompts_per_step=4,
                       reward=ls.Reward(correct=1.0, incorrect=-0.2))
    mine, plain = ls.drift(scheme, one), ls.drift(scheme, other)
    tokens = float(np.abs(plain.sources.value).sum())
    for name in NUMBERS:
        value, expected = getattr(mine, name).value, getattr(plain, name).value
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12 * tokens, err_msg=f"{name} {rule}")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", SEEN)
def test_an_answer_that_is_there_at_once_is_a_right_path(kind: str, rule: str) -> None:
    at_once = ls.Work(answer=ls.lengths.constant(hazard=1.0), done=DONE, p_correct_truncated=0.3)
    right = ls.Path("thinks", length=DONE, p_correct=1.0, p_correct_truncated=0.3)
    thinks = ls.Path("thinks", length=WORKING, p_correct=0.0, work=at_once)
    assert_same_drift(prompts(thinks), prompts(right), SEEN[kind], rule)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", SEEN)
def test_an_answer_that_never_comes_is_a_wrong_path(kind: str, rule: str) -> None:
    never = ls.Work(answer=ANSWER, never=1.0, done=DONE)
    wrong = ls.Path("thinks", length=WORKING, p_correct=0.0)
    assert_same_drift(prompts(replace(wrong, work=never)), prompts(wrong), SEEN[kind], rule)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", UNSEEN)
def test_equal_hazards_that_move_alike_are_one_path_with_a_curve(kind: str, rule: str) -> None:
    """p_correct(t) = P(W <= t), for estimators and critics that do not see the state either."""
    work = ls.Work(answer=ANSWER, never=0.2, done=WORKING, p_correct_truncated=0.0)
    there = 1.0 - np.cumprod(1.0 - work.arrival(N))
    one = ls.Path("thinks", length=WORKING, p_correct=there)
    assert_same_drift(prompts(replace(one, p_correct=0.0, work=work), sharing=1.0), prompts(one, sharing=1.0),
                      UNSEEN[kind], rule)


@settings(max_examples=40)
@given(seed=SEEDS, max_tokens=st.integers(1, 6))
def test_with_paths_keeps_the_joint_law_of_class_length_and_grade(seed: int, max_tokens: int) -> None:
    policy, _ = translate.policies(random_world(seed, max_tokens=max_tokens, work=0.7, zero_one=0.3))

    def by_class(made: ls.Policy) -> np.ndarray:
        mass = made.law * made.cell_weight[:, None, None]
        return np.array([mass[cells].sum(axis=0) for cells in made.class_cells])

    for paths in ("one", "outcome"):
        made = policy.with_paths(paths)
        np.testing.assert_allclose(by_class(made), by_class(policy), rtol=1e-12, atol=1e-15)
        assert not len(made.arrays.arrival)
        assert max(len(prompts.paths) for prompts in made.classes) <= (1 if paths == "one" else 2)
    again = policy.with_paths("outcome").with_paths("one")
    np.testing.assert_allclose(by_class(again), by_class(policy), rtol=1e-12, atol=1e-15)


def test_what_a_policy_sees_changes_where_it_goes() -> None:
    """The same law of lengths and grades, three policies: one that sees its state grows, one that knows its end not."""
    start = ls.policies.reasoning(accuracy=0.3, mean_right=120, mean_wrong=90, premature=0.7, truncated=0.02,
                                  verbosity=20, max_tokens=512)
    states, one, outcome = (float(ls.drift(ls.schemes.dr_grpo(), each).length_per_kl) for each in (
        start, start.with_paths("one"), start.with_paths("outcome")))
    assert states > 1.0
    assert one > 0.0
    assert states != pytest.approx(outcome, rel=0.05)
    with pytest.raises(ValueError, match="paths must be one of"):
        start.with_paths("two")  # type: ignore[arg-type]


# --- real lengths ---------------------------------------------------------------------------------------------------

LARGE = 2000
BOUND = float(stats.t(63).isf(stats.norm.sf(4.0)))
"""What a z-score from 64 blocks exceeds as rarely as a normal one does 4 sigmas."""
SAMPLED = ("length", "composition", "within", "needed", "free", "length_by_class", "length_by_path",
           "length_by_outcome", "path_probability", "accuracy", "reward", "truncation_rate", "sources", "path_gradient",
           "skill_gradient", "update", "length_per_kl", "length_per_reward", "accuracy_per_token")
SCHEMES = {
    "grpo": ls.schemes.grpo(),
    "dr_grpo": ls.schemes.dr_grpo(),
    "dapo": ls.schemes.dapo(),
    "ppo": ls.schemes.ppo(gae_lambda=0.95, aggregation=TokenMean(), critic=Exact(bias=-0.1)),
    "ppo, penalties": ls.schemes.ppo(gae_lambda=0.95, penalties=(KL(coefficient=0.05, estimator="k3"),
                                                                 Entropy(coefficient=0.01))),
    "rloo, kl in the reward": ls.schemes.rloo(kl=0.05, group_size=4),
}


def large() -> ls.Policy:
    """Two classes that think, one longer, with wrong and looping paths beside; some are cut on each."""
    def thinks(probability: float, median: float, hazard: float) -> ls.Path:
        return ls.Path("thinks", probability=probability, length=ls.lengths.constant(hazard=hazard), p_correct=0.02,
                       work=ls.Work(answer=ls.lengths.lognormal(median=median, sigma=0.6), never=0.1, p_correct=0.95,
                                    done=ls.lengths.geometric(mean=500), p_correct_truncated=0.6))

    wrong = ls.Path("wrong", probability=0.3, length=ls.lengths.lognormal(median=500, sigma=0.7), p_correct=0.05)
    easy = ls.PromptClass("easy", weight=0.6, paths=[thinks(0.7, 200.0, 1e-3), wrong])
    hard = ls.PromptClass("hard", weight=0.4, paths=[thinks(0.7, 600.0, 2e-3), wrong])
    policy = ls.Policy([easy, hard], max_tokens=LARGE, coordinates=ls.coordinates(
        edges=[1, 100, 400, 1000, 2000], skill_scale=1.0))
    return ls.policies.with_loops(policy, share=0.05, hazard=1e-3)


@pytest.mark.parametrize("name", SCHEMES)
def test_exact_equals_monte_carlo_at_2000_tokens(name: str) -> None:
    """Every reported number, by path, outcome, source and position bin, within 4 sigmas."""
    policy, scheme = large(), SCHEMES[name]
    reference = policy.moved(0.2 * np.random.default_rng(5).standard_normal(policy.motion.size))
    exact = ls.drift(scheme, policy, reference=reference)
    rng = np.random.default_rng([7, *map(ord, name)])
    sampled = ls.drift(scheme, policy, "monte_carlo", rng=rng, reference=reference,
                       batches=(1 << 17) // scheme.responses_per_step)
    assert float(exact.length) != 0.0
    for quantity in SAMPLED:
        one, other = getattr(sampled, quantity), getattr(exact, quantity)
        gap, noise = np.ravel(one.value) - np.ravel(other.value), np.ravel(one.stderr)
        assert (np.isnan(gap) == np.isnan(np.ravel(other.value))).all(), quantity
        size = np.nanmax(np.abs(other.value))
        moving = noise > 1e-9 * size
        np.testing.assert_allclose(gap[~moving & ~np.isnan(gap)], 0.0, atol=1e-8 * size, err_msg=quantity)
        scores = gap[moving] / noise[moving]
        assert (np.abs(scores) < BOUND).all(), (quantity, np.round(scores, 1))
    assert float(exact.length.error) < 1e-9 * abs(float(exact.length))


def test_the_same_check_fails_for_a_neighbouring_policy() -> None:
    """The samples refute the expectation of a policy whose answers never come in 0.15 of the responses, not 0.1."""
    policy, scheme = large(), SCHEMES["grpo"]

    def seldom(path: ls.Path) -> ls.Path:
        if path.work is None:
            return path
        return replace(path, work=replace(path.work, never=0.15))

    near = replace(policy, classes=[replace(prompts, paths=[seldom(path) for path in prompts.paths])
                                    for prompts in policy.classes])
    sampled = ls.drift(scheme, policy, "monte_carlo", rng=np.random.default_rng(3), batches=256).update
    noisy = sampled.stderr > 0
    scores = (sampled.value - ls.drift(scheme, near).update.value)[noisy] / sampled.stderr[noisy]
    assert np.abs(scores).max() > 2.0 * BOUND
