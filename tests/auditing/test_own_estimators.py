"""Estimators that users write themselves, and those that scale by the whole step, on a log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import lossim as ls
from lossim import advantages, penalties

RNG = np.random.default_rng(0)
GROUPS, SIZE = 20, 3
LENGTHS = RNG.integers(1, 9, GROUPS * SIZE)
CORRECT = RNG.random(GROUPS * SIZE) < 0.2
KL = RNG.random(GROUPS * SIZE) * LENGTHS * 0.1


def logged(rewards: Any) -> ls.Rollouts:
    return ls.Rollouts(lengths=LENGTHS, rewards=rewards, prompt_ids=np.repeat(np.arange(GROUPS), SIZE),
                       correct=CORRECT, kl=KL, truncated=np.zeros(len(LENGTHS), dtype=bool))


def audited(rewards: Any, replicates: int = 0, **slots: Any) -> Any:
    scheme = replace(ls.schemes.grpo(group_size=SIZE), **slots)
    return ls.audit(logged(rewards), scheme, max_tokens=8, replicates=replicates, what_if=False)[0]


@dataclass(frozen=True, kw_only=True)
class Doubled(advantages.GroupMean):
    """Twice the centred rewards, as a step sees them."""

    def of_step(self, credit: Any, returns: Any, counted: Any) -> Any:
        return 2.0 * credit


def test_a_scale_of_the_step_is_taken_wherever_it_is_written() -> None:
    doubled = audited(CORRECT * 1.0, advantage=Doubled()).drift
    plain = audited(CORRECT * 1.0, advantage=advantages.GroupMean()).drift
    assert plain.length.value
    assert doubled.length.value == pytest.approx(2.0 * plain.length.value, rel=1e-12)


def test_a_scale_of_the_step_has_no_expectation_unless_it_is_told() -> None:
    policy = ls.policies.two_paths(solve_rate=0.3, right=ls.lengths.geometric(mean=5),
                                   wrong=ls.lengths.geometric(mean=9), max_tokens=12)
    with pytest.raises(ls.NoClosedForm, match="a statistic of the whole step"):
        ls.drift(replace(ls.schemes.grpo(), advantage=Doubled()), policy)


@pytest.mark.parametrize("estimator", [advantages.GroupMean(), advantages.GroupStandardized(scope="batch"),
                                       advantages.GPG()], ids=lambda estimator: type(estimator).__name__)
def test_mean_advantage_shows_equal_groups_alike_for_all_estimators(estimator: advantages.ResponseAdvantage) -> None:
    """With KL in the reward, responses of groups that are drawn again have an advantage, though no weight."""
    found = audited(CORRECT * 1.0, advantage=estimator, dynamic_sampling="resample",
                    penalties=(penalties.KL(coefficient=1.0, place="reward"),))
    returns = (CORRECT - KL).reshape(GROUPS, SIZE)
    alive = np.ptp(CORRECT.reshape(GROUPS, SIZE).astype(float), axis=1) > 0
    assert 0 < alive.sum() < GROUPS
    counted = np.broadcast_to(alive[:, None], returns.shape)
    centred = returns - returns.mean(axis=1, keepdims=True)
    expected = estimator.of_step(centred[None], returns[None], counted[None])[0].ravel()
    for (first, after), shown in zip(zip(found.length_bins, [*found.length_bins[1:], 9], strict=True),
                                     found.mean_advantage, strict=True):
        inside = (first <= LENGTHS) & (after > LENGTHS)
        assert shown == pytest.approx(expected[inside].mean() if inside.any() else 0.0, abs=1e-12)


@pytest.mark.parametrize("reward", [0.1, 0.3, -0.7, 1e5])
@pytest.mark.parametrize("preset", ["ppo", "grpo"])
def test_equal_rewards_have_no_direction_whatever_they_are(reward: float, preset: str) -> None:
    rewards = np.full(len(LENGTHS), reward)
    drift = ls.audit(logged(rewards), getattr(ls.schemes, preset)(), max_tokens=8, replicates=20)[0].drift
    assert drift.reward.value == 0.0
    assert np.isnan(drift.alignment.value)
    assert np.isnan(drift.length_per_reward.value)
