"""The noise of one step: over every batch of small worlds, and of large batches against sampled steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossim as ls
import reference as ref
import translate
from batches import step_of
from examples import random_world, two_paths
from lossim import advantages, aggregation, critics
from lossim._engine.gradients import update_gradient
from lossim._engine.sampled import block_measures
from lossim._engine.spread import spread_notes, step_std
from lossim._model import Directions, inner_product
from tables import SURROGATES, make_world

SIGMAS = 4.0


def spread_by_enumeration(world: ref.World, setting: ref.Setting, policy: ls.Policy) -> float:
    """The standard deviation over all batches of what a step does to mean length."""
    ahead = ref.gradient_of_mean(world)
    gradient = np.array(ahead.hazard_gradient)
    stops, paths, _ = policy.motion.push(policy.motion.pull(gradient, np.concatenate(ahead.path_gradient),
                                                            np.zeros(len(gradient))))
    direction = np.concatenate([stops.ravel(), paths])
    step, moments = ref.Step(world, setting), np.zeros(3)
    for probability, batch in ref.batches(world, setting):
        update = ref.zero(world)
        step.add(update, 1.0, batch)
        change = float(direction @ translate.flat(world, update))
        moments += probability * np.array([1.0, change, change**2])
    assert moments[0] == pytest.approx(1.0)
    return math.sqrt(max(moments[2] - moments[1] ** 2, 0.0))


def checked(world: ref.World, seed: int, surrogate: str | None = None, **case: object) -> None:
    """A case against the enumeration of all its batches."""
    gain = None if surrogate is None else SURROGATES[surrogate]
    made, setting = translate.both(world, np.random.default_rng(seed), surrogate=gain, **case)  # type: ignore[arg-type]
    policies = translate.all_policies(world)
    old = None if surrogate is None else policies["old"]
    result = ls.drift(made, policies["policy"], old_policy=old, reference=policies["reference"])
    truth = spread_by_enumeration(world, setting, policies["policy"])
    assert result.step_std.value == pytest.approx(truth, rel=1e-7, abs=1e-8), case
    assert not any("step_std" in note for note in result.notes)


# ---- every batch of small worlds ----


@pytest.mark.parametrize(("kind", "rule", "truncation", "penalty"), [
    ("raw", "1/T", "keep", "none"), ("raw", "sum", "mask", "none"), ("raw", "constant", "remove", "k2"),
    ("raw", "token sum", "keep", "reward"), ("gae", "1/T", "keep", "none"), ("gae", "token sum", "mask", "k3"),
    ("gae", "constant", "keep", "reward"), ("positive raw", "sum", "keep", "k1"),
    ("standardized", "1/T", "keep", "none"), ("leave one out", "sum", "remove", "reward"),
    ("opo", "constant", "mask", "entropy"), ("group mean", "token mean group", "keep", "all")])
@pytest.mark.parametrize("seed", [0, 1])
def test_two_groups_of_two(kind: str, rule: str, truncation: str, penalty: str, seed: int) -> None:
    world = random_world(seed, paths=(2, 1), max_tokens=2, reference=True, curves=0.5)
    checked(world, seed, kind=kind, rule=rule, truncation=truncation, penalty=penalty, group_size=2, prompts=2)


def slots(rng: np.random.Generator, count: int) -> Iterator[dict[str, object]]:
    """Random slots whose expectation couples the responses of a group, and none others."""
    choices = {"rule": ("1/T", "sum", "constant", "token sum", "token mean group"),
               "truncation": ("keep", "mask", "remove"), "sampling": ("none", "drop", "resample"),
               "penalty": ("none", "k2", "entropy"), "paid": ("binary", "three levels", "any shape")}
    for _ in range(count):
        yield {name: str(rng.choice(values)) for name, values in choices.items()}


@pytest.mark.parametrize("kind", ["raw", "leave one out", "group mean", "opo", "standardized", "standardized ddof 0",
                                  "positive group mean", "maxrl", "pass at k", "gae", "gae adaptive"])
def test_one_group(kind: str) -> None:
    """Groups of two and of three; truncated and equal groups by every rule."""
    rng = np.random.default_rng(sum(map(ord, kind)))
    for seed, case in enumerate(slots(rng, 4)):
        world = make_world(seed, max_tokens=3, paths=[1, 2], curves=0.3, graded_truncation=True)
        checked(world, seed, kind=kind, group_size=2, prompts=1, **case)
        checked(make_world(seed, max_tokens=3, zero_one=0.0), seed, kind=kind, group_size=2, prompts=1,
                **case | {"sampling": "none"}, deadline=(2.0, ("group", "response")[seed % 2]))
    for seed, case in enumerate(slots(rng, 2)):
        world = make_world(seed, max_tokens=2, paths=1, curves=0.3, graded_truncation=True)
        checked(world, seed, kind=kind, group_size=3, prompts=1, **case)


@pytest.mark.parametrize("kind", ["raw", "leave one out", "opo", "standardized", "maxrl", "gae"])
def test_one_group_on_paths_with_work(kind: str) -> None:
    """What a response adds hangs on when its answer was there."""
    rng = np.random.default_rng(sum(map(ord, kind)))
    for seed, case in enumerate(slots(rng, 4)):
        world = make_world(300 + seed, max_tokens=3, paths=[1, 1], curves=0.3, graded_truncation=True, work=1.0)
        checked(world, seed, kind=kind, group_size=2, prompts=1, **case)


def test_gae_on_work_with_a_kl_paid_on_the_way() -> None:
    world = make_world(7, max_tokens=4, paths=[1, 1], curves=0.3, work=1.0)
    for rule in ("1/T", "sum"):
        checked(world, 7, kind="gae", rule=rule, penalty="all", group_size=1, prompts=1)


@pytest.mark.parametrize(("kind", "surrogate"), [
    ("raw", "importance"), ("raw", "gspo"), ("leave one out", "cispo"), ("group mean", "clip higher"),
    ("standardized", "clip"), ("standardized", "gmpo"), ("opo", "policy gradient"), ("gae", "clip"), ("gae", "cispo"),
    ("gae adaptive", "dual")])
def test_batches_of_an_old_policy(kind: str, surrogate: str) -> None:
    for seed, rule in enumerate(("1/T", "token mean group")):
        world = ref.random_world(np.random.default_rng(seed), classes=2, paths=[1, 2], max_tokens=3, reference=True,
                                 old=True, curves=0.3)
        checked(world, seed, surrogate, kind=kind, rule=rule, penalty="k3", group_size=2, prompts=1)


# ---- large batches against sampled steps ----


def sampled_spread(scheme: ls.Scheme, policy: ls.Policy, batches: int, seed: int = 0) -> tuple[float, float]:
    """Standard deviation of the length changes of single sampled steps, with its own standard error."""
    step = step_of(scheme, policy)
    ahead = Directions(policy=step.policy, motion=policy.motion).length
    rng = np.random.default_rng(seed)
    changes = np.array([float(inner_product(update_gradient(step, measures), ahead))
                        for measures in block_measures(step, rng, batches, 1, 1 << 20)])
    std = float(changes.std(ddof=1))
    kurtosis = float(np.mean((changes - changes.mean()) ** 4)) / std**4
    return std, std * math.sqrt((kurtosis - 1.0) / 4.0 / batches)


def known(scheme: ls.Scheme, policy: ls.Policy) -> ls.Estimate:
    """The same by ``step_std``, also where the drift itself has no closed form."""
    step = step_of(scheme, policy)
    return step_std(step, Directions(policy=step.policy, motion=policy.motion))


def small(max_tokens: int = 48) -> ls.Policy:
    return two_paths(max_tokens=max_tokens)


LARGE = {
    "dapo": ls.schemes.dapo(),
    "opo": ls.schemes.opo(),
    "delta l, dropped": replace(ls.schemes.delta_l(), dynamic_sampling="drop"),
    "ppo, whitened": ls.schemes.ppo(whiten=True, critic=critics.Constant(value=0.3)),
    "vapo": ls.schemes.vapo(),
    "reinforce++": ls.schemes.reinforce_plus_plus(),
    "reinforce++, baseline": ls.schemes.reinforce_plus_plus_baseline(),
    "batch std": ls.Scheme(advantage=advantages.GroupStandardized(scope="batch"), group_size=4, prompts_per_step=128,
                           aggregation=aggregation.SequenceMeanTokenMean()),
    "kept, masked": ls.Scheme(advantage=advantages.Raw(baseline=-0.4), aggregation=aggregation.TokenMean(),
                              truncation="mask", group_size=4, prompts_per_step=128),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_batches_agree_with_sampled_steps(name: str) -> None:
    """512 responses in a step; 500 steps tell 3.2 % from nothing."""
    scheme, policy = LARGE[name], small()
    found = known(scheme, policy)
    assert found.method == "large-batch limit"
    assert any("large batch" in note for note in spread_notes(step_of(scheme, policy)))
    std, stderr = sampled_spread(scheme, policy, 500)
    assert stderr < 0.04 * std
    assert abs(float(found) - std) < SIGMAS * stderr, (float(found), std, stderr)


def test_many_levels_of_reward_are_put_together() -> None:
    """A soft punishment pays a level for each length: within 5 % of sampled steps, and a note says how many."""
    scheme = ls.schemes.dapo(max_tokens=96, buffer=64, prompts_per_step=16)
    policy = two_paths(max_tokens=96, right=ls.lengths.geometric(mean=30), wrong=ls.lengths.geometric(mean=50))
    note = next(note for note in spread_notes(step_of(scheme, policy)) if "together" in note)
    assert "levels of reward together into" in note
    std, stderr = sampled_spread(scheme, policy, 800)
    assert abs(float(known(scheme, policy)) / std - 1.0) < 0.05 + SIGMAS * stderr / std


def test_sampled_results_keep_their_own() -> None:
    policy, scheme = small(), ls.schemes.grpo(prompts_per_step=8, group_size=4)
    exact = ls.drift(scheme, policy)
    sampled = ls.drift(scheme, policy, method="monte_carlo", rng=np.random.default_rng(2), batches=6400)
    assert sampled.step_std.method == "monte carlo"
    assert sampled.step_std.stderr < 0.12 * exact.step_std.value
    assert abs(sampled.step_std.value - exact.step_std.value) < SIGMAS * sampled.step_std.stderr
    assert sampled.length.stderr == pytest.approx(sampled.step_std.value / 80.0, rel=1e-9)


# ---- laws ----

PRESETS = [make for name, make in ls.schemes.presets().items() if name not in ("remax", "vapo")]


@settings(max_examples=15)
@given(make=st.sampled_from(PRESETS), few=st.integers(1, 50), times=st.integers(2, 20))
def test_it_shrinks_with_the_root_of_the_prompts(make: object, few: int, times: int) -> None:
    policy = small(32)
    one, many = (ls.drift(make(prompts_per_step=n), policy).step_std.value  # type: ignore[operator]
                 for n in (few, few * times))
    assert one == pytest.approx(math.sqrt(times) * many, rel=1e-6)


@settings(max_examples=15)
@given(shift=st.floats(-3.0, 3.0), size=st.floats(0.1, 5.0), group_size=st.integers(2, 8))
def test_a_mean_of_the_group_takes_what_all_are_paid(shift: float, size: float, group_size: int) -> None:
    """Shifted alike nothing changes; scaled, the noise is."""
    policy = small(32)
    plain = ls.drift(ls.schemes.rloo(group_size=group_size), policy).step_std.value
    other = ls.Reward(correct=shift + size, incorrect=shift)
    paid = ls.drift(ls.schemes.rloo(group_size=group_size, reward=other), policy).step_std.value
    assert paid == pytest.approx(size * plain, rel=1e-6)


# ---- what is not known ----


@pytest.mark.parametrize(("scheme", "old", "words"), [
    (ls.schemes.vapo(), False, "λ that depends on the length"),
    (ls.schemes.ppo(), True, "reads the sign of each advantage")])
def test_what_is_not_known_on_paths_with_work_is_said(scheme: ls.Scheme, old: bool, words: str) -> None:
    work = ls.Work(answer=ls.lengths.geometric(mean=8), done=ls.lengths.geometric(mean=4))
    path = ls.Path("thinks", length=ls.lengths.geometric(mean=10), p_correct=0.0, work=work)
    policy = ls.Policy([ls.PromptClass("prompts", paths=[path])], max_tokens=24)
    drew = policy.moved(np.full(policy.motion.size, 0.1)) if old else None
    result = ls.drift(scheme, policy, old_policy=drew)
    assert math.isnan(result.step_std.value)
    assert any("step_std is known to method='monte_carlo' only" in note and words in note for note in result.notes)
    assert "stands out" not in str(result)
    assert result.to_dict()["steps_to_see"]["value"] is None


# ---- until it stands out ----


def test_steps_and_prompts_until_the_drift_stands_out() -> None:
    policy = small()
    results = [ls.drift(ls.schemes.dr_grpo(prompts_per_step=prompts), policy) for prompts in (8, 32)]
    for result in results:
        steps = (2.0 * result.step_std.value / result.length.value) ** 2
        assert float(result.steps_to_see) == pytest.approx(steps, rel=1e-12)
        assert float(result.prompts_to_see) == pytest.approx(steps * result.scheme.prompts_per_step, rel=1e-12)
        # So many steps on average are two standard deviations from 0.
        assert abs(result.length.value) == pytest.approx(2.0 * result.step_std.value / math.sqrt(steps), rel=1e-12)
        assert {"steps_to_see", "prompts_to_see"} <= set(result.to_dict())
    assert float(results[0].prompts_to_see) == pytest.approx(float(results[1].prompts_to_see), rel=1e-6)


@pytest.mark.parametrize("prompts", [1, 2, 4, 64, 10_000, 10_000_000])
def test_it_is_printed_in_words(prompts: int) -> None:
    result = ls.drift(ls.schemes.grpo(prompts_per_step=prompts), small())
    line = next(line for line in str(result).splitlines() if "stands out of the noise of sampling (2σ)" in line)
    steps = float(result.steps_to_see)
    assert ("steps of" in line) == (steps > 1.0 and float(result.prompts_to_see) > 1.0), line
    assert ("within a step" in line) == (steps <= 1.0 < float(result.prompts_to_see)), line


def test_a_drift_of_zero_never_stands_out() -> None:
    """A token sum with λ = 1 and a constant critic moves length batch by batch, and not on average."""
    scheme = ls.schemes.ppo(gae_lambda=1.0, aggregation=aggregation.SequenceMeanTokenSum(), group_size=1)
    policy = ls.policies.two_paths(solve_rate=0.5, right=ls.lengths.geometric(mean=20),
                                   wrong=ls.lengths.geometric(mean=20), max_tokens=48,
                                   coordinates=ls.coordinates(path_scale=0.0))
    level = replace(scheme, reward=ls.Reward(correct=1.0, incorrect=1.0))
    result = ls.drift(level, policy)
    assert result.step_std.value > 0
    assert math.isnan(float(result.steps_to_see))
    sampled = ls.drift(level, policy, "monte_carlo", rng=np.random.default_rng(0), batches=64)
    assert math.isnan(float(sampled.steps_to_see))


def test_groups_of_equal_rewards_leave_no_noise() -> None:
    never = ls.policies.unsolvable(length=ls.lengths.geometric(mean=10), max_tokens=32)
    for make in (ls.schemes.grpo, ls.schemes.rloo, ls.schemes.opo):
        assert ls.drift(make(), never).step_std.value < 1e-7
