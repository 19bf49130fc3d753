"""The oracle's expected updates: gradients wherever theory says so, and the mean over all batches there are.

Identities that need no oracle: derivatives of moved logits, unbiased advantages, penalties on one token, probabilities
that sum to one, and batches merged against batches in order.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import reference as ref
from objectives import OBJECTIVES
from reference import Setting
from reference_cases import (
    UNBIASED,
    ZOO,
    assert_close,
    by_grade,
    differentiated,
    every_logit,
    of_everything,
    one_path,
    quantity,
)


@pytest.fixture(scope="module")
def world():
    """Two classes, three cells, N = 2; correct at 1, wrong at 2, and correct when cut on a first path."""
    rng = np.random.default_rng(5)
    made = ref.random_world(rng, paths=(2, 1), max_tokens=2, zero_one=0.0, reference=True)
    classes = []
    for c in made.classes:
        first, *others = [replace(p, p_correct=[1.0, 0.0]) for p in c.paths]
        classes.append(replace(c, paths=[replace(first, p_correct_truncated=1.0), *others]))
    return replace(made, classes=classes)


# ---- identities ----


@pytest.mark.parametrize("f", [ref.LENGTH, quantity(of_everything)])
def test_exact_derivative_is_that_of_moved_logits(world, f):
    gradient = differentiated(world, lambda w: ref.expected_value(w, f))
    assert_close(ref.gradient_of_mean(world, f), gradient, atol=1e-7)
    for (table, row, column), direction in every_logit(world):
        derivative = ref.numeric_derivative(world, direction, f)
        assert derivative == pytest.approx(gradient[table][row][column], abs=1e-7)


@pytest.mark.parametrize("setting", UNBIASED, ids=lambda s: s["advantage"])
def test_token_sum_is_the_gradient_of_the_expected_reward(world, setting):
    setting = Setting(reward=of_everything, aggregation="token_sum", group_size=2, prompts_per_step=2, **setting)
    expected = ref.gradient_of_mean(world, quantity(of_everything))
    assert_close(ref.expected_update(world, setting), expected, scale=4)
    group_mean = replace(setting, advantage="group_mean")
    assert_close(ref.expected_update(world, group_mean), expected, scale=4 * (1 - 1 / 2))


def test_exact_critic_makes_every_lambda_the_gradient(world):
    values, first = [], []
    for j, prompts in enumerate(world.classes):
        mean_reward = 0.0
        for k, path in enumerate(prompts.paths):
            # N = 2: the value before token 2, then the mean over the first stop decision
            h1, h2 = path.hazard
            stop = [
                p * of_everything(t, True, False) + (1 - p) * of_everything(t, False, False)
                for t, p in ((1, path.p_correct[0]), (2, path.p_correct[1]))
            ]
            cut = path.p_correct_truncated
            truncated = cut * of_everything(2, True, True) + (1 - cut) * of_everything(2, False, True)
            before_two = h2 * stop[1] + (1 - h2) * truncated
            values.append([math.nan, before_two])
            mean_reward += path.probability * (h1 * stop[0] + (1 - h1) * before_two)
            assert world.cell(j, k) == len(values) - 1
        first.append(mean_reward)
    for lam in (0.0, 0.4, 1.0):
        setting = Setting(
            reward=of_everything,
            advantage="gae",
            gae_lambda=lam,
            first_values=first,
            values=values,
            aggregation="token_sum",
        )
        update = ref.expected_update(world, setting)
        assert_close(update, ref.gradient_of_mean(world, quantity(of_everything)))


def test_kl_in_the_reward_response_level_and_token_level(world):
    """What was paid before a token does not move it: the return and the return to go agree on average."""
    raw = Setting(reward=by_grade, kl_reward=(0.3, 0.1), aggregation="token_sum")
    assert_close(
        ref.expected_update(world, raw),
        ref.expected_update(world, replace(raw, advantage="gae", gae_lambda=1.0)),
    )


def kl_of_first_token(world):
    total = 0.0
    for prompts in world.classes:
        for path in prompts.paths:
            h, h_ref = path.hazard[0], path.reference_hazard[0]
            stop = h * math.log(h / h_ref) + (1 - h) * math.log((1 - h) / (1 - h_ref))
            path_part = math.log(path.probability / path.reference_probability)
            total += prompts.weight * path.probability * (stop + path_part)
    return total


def entropy_of_first_token(world):
    total = 0.0
    for prompts in world.classes:
        for path in prompts.paths:
            joint = [path.probability * path.hazard[0], path.probability * (1 - path.hazard[0])]
            total -= prompts.weight * sum(p * math.log(p) for p in joint)
    return total


def test_penalties_on_one_token_are_gradients():
    """With one token every state is visited: k2 is the gradient of KL, entropy that of entropy, k1 zero."""
    world = ref.random_world(np.random.default_rng(8), paths=(3, 2), max_tokens=1, zero_one=0.0, reference=True)
    plain = Setting(reward=lambda *_: 0.0, prompts_per_step=2)
    kl = ref.expected_update(world, replace(plain, kl_loss=(0.5, "k2")))
    assert_close(kl, differentiated(world, kl_of_first_token), scale=-0.5, atol=1e-8)
    entropy = ref.expected_update(world, replace(plain, entropy=0.5))
    assert_close(entropy, differentiated(world, entropy_of_first_token), scale=0.5, atol=1e-8)
    assert_close(ref.expected_update(world, replace(plain, kl_loss=(0.5, "k1"))), ref.zero(world))


def test_no_penalty_at_the_reference(world):
    at_home = replace(
        world,
        classes=[
            replace(c, paths=[replace(p, reference_hazard=None, reference_probability=None) for p in c.paths])
            for c in world.classes
        ],
    )
    for estimator in ("k2", "k3"):
        update = ref.expected_update(at_home, Setting(reward=lambda *_: 0.0, kl_loss=(1.0, estimator)))
        assert update == ref.zero(world)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_at_the_old_policy_every_surrogate_is_the_policy_gradient(world, name):
    same = replace(
        world,
        classes=[
            replace(c, paths=[replace(p, old_hazard=p.hazard, old_probability=p.probability) for p in c.paths])
            for c in world.classes
        ],
    )
    chosen = {"surrogate": name.split()[0], **OBJECTIVES[name][0]}
    zoo = [s for s in ZOO if s.advantage != "gae" or name != "gmpo"]
    plain = ref.expected_updates(world, zoo)
    for at in (world, same):
        for a, b in zip(ref.expected_updates(at, [replace(s, **chosen) for s in zoo]), plain, strict=True):
            assert_close(a, b)


# ---- the enumeration ----


def test_merged_and_ordered_batches_agree(world):
    merged, ordered = (ref.expected_updates(world, ZOO, merge=merge) for merge in (True, False))
    for a, b, setting in zip(merged, ordered, ZOO, strict=True):
        assert_close(a, b)
        assert_close(a, ref.expected_update(world, setting))
        assert ref.inner(a, a) > 1e-8


def test_merged_and_ordered_groups_of_three_agree(world):
    for setting in ZOO:
        setting = replace(setting, group_size=3, prompts_per_step=1)
        assert_close(ref.expected_update(world, setting), ref.expected_update(world, setting, merge=False))


@pytest.mark.parametrize("truncation", ["keep", "mask", "remove"])
@pytest.mark.parametrize("dynamic_sampling", ["none", "drop", "resample"])
@pytest.mark.parametrize("merge", [True, False])
def test_probabilities_sum_to_one(world, truncation, dynamic_sampling, merge):
    setting = replace(ZOO[0], truncation=truncation, dynamic_sampling=dynamic_sampling)
    assert math.fsum(p for p, _ in ref.batches(world, setting, merge)) == pytest.approx(1.0, abs=1e-14)


def test_expectation_is_the_mean_of_batch_updates(world):
    total = ref.zero(world)
    for probability, batch in ref.batches(world, ZOO[5]):
        one = ref.batch_update(world, ZOO[5], batch)
        for (table, row, column), _ in every_logit(world):
            total[table][row][column] += probability * one[table][row][column]
    assert_close(total, ref.expected_update(world, ZOO[5]))


def test_resampling_by_hand():
    """h = 1/2, stopping pays 1: in unequal groups one stopped and one did not, (1/2 + 1/2) * 1/2."""
    setting = Setting(reward=by_grade, advantage="group_mean", group_size=2, aggregation="token_sum")
    hazard = one_path([0.5])
    resampled = replace(setting, dynamic_sampling="resample", prompts_per_step=3)
    np.testing.assert_allclose(ref.expected_update(hazard, resampled).hazard_gradient, [[1.5]], rtol=1e-14)
    dropped = replace(setting, dynamic_sampling="drop")
    np.testing.assert_allclose(ref.expected_update(hazard, dropped).hazard_gradient, [[0.25]], rtol=1e-14)
    with pytest.raises(ValueError, match="no group is taken"):
        ref.expected_update(hazard, replace(resampled, reward=lambda *_: 1.0))


def test_dropping_is_resampling_times_the_chance_to_be_unequal():
    """Where denominators do not depend on the batch; classes differ in how often their groups are unequal."""
    world = ref.random_world(np.random.default_rng(3), max_tokens=2)
    dropped = Setting(reward=by_grade, dynamic_sampling="drop", group_size=2, advantage="leave_one_out")
    resampled = replace(dropped, dynamic_sampling="resample")
    step = ref.Step(world, dropped)
    chance = math.fsum(p for p, batch in ref.batches(world, dropped) if step.unequal(batch[0]))
    assert 0.05 < chance < 0.95
    assert_close(ref.expected_update(world, dropped), ref.expected_update(world, resampled), scale=chance)


def test_frozen_hazards_do_not_move():
    for seed in range(5):
        made = ref.random_world(np.random.default_rng(seed), zero_one=0.5, reference=True, graded_truncation=True)
        setting = Setting(reward=of_everything, group_size=2, kl_loss=(0.1, "k3"), kl_reward=(0.1, 0.1), entropy=0.2)
        update = ref.expected_update(made, setting)
        for j, prompts in enumerate(made.classes):
            assert sum(update.path_gradient[j]) == pytest.approx(0.0, abs=1e-13)
            for k, path in enumerate(prompts.paths):
                for h, move in zip(path.hazard, update.hazard_gradient[made.cell(j, k)], strict=True):
                    assert 0.0 < h < 1.0 or move == 0.0
        assert sum(p for j in range(2) for p, _ in ref.atoms(made, j)) == pytest.approx(2.0)
