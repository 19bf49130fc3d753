"""The oracle's gains: each is the slope of its surrogate's objective, and some are worked out by hand."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

import reference as ref
from objectives import OBJECTIVES, surrogate
from reference import Setting
from reference_cases import one

RATIOS = (0.3, 0.69, 0.71, 0.8, 1.0, 1.19, 1.21, 1.3, 1.39, 1.41, 1.49, 1.5, 1.99, 2.01, 2.99, 3.01, 5.0)


def slope(function, step=1e-6):
    return (function(step) - function(-step)) / (2 * step)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gain_of_a_single_token_is_the_slope_of_its_objective(name):
    setting, objective = surrogate(name), OBJECTIVES[name][1]
    for ratio, a in product(RATIOS, (0.7, -0.7)):
        at = [math.log(ratio)]
        expected = slope(lambda step, at=at, a=a: objective([at[0] + step], at, [a])[0])
        (gain,) = ref.gains(setting, [a], at)
        assert a * gain == pytest.approx(expected, abs=1e-8), (ratio, a)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gains_of_a_response_are_the_slopes_of_its_objective(name):
    """Three tokens; the mean of their terms, differentiated by one log probability at a time."""
    setting, objective = surrogate(name), OBJECTIVES[name][1]
    rng = np.random.default_rng(1)
    clipped = 0
    for _ in range(50):
        at = list(rng.normal(scale=0.6, size=3))
        advantages = [float(rng.normal())] * 3 if name == "gmpo" else list(rng.normal(size=3))
        gains = ref.gains(setting, advantages, at)
        clipped += gains.count(0.0)
        for t in range(3):

            def mean_term(step, t=t, at=at, advantages=advantages):
                logs = [x + (step if i == t else 0.0) for i, x in enumerate(at)]
                return math.fsum(objective(logs, at, advantages)) / 3

            assert advantages[t] * gains[t] / 3 == pytest.approx(slope(mean_term), abs=1e-8)
    assert (10 < clipped < 140) == (setting.surrogate in ("ppo_clip", "gspo", "gmpo"))


GAINS_BY_HAND = {
    # ratios 2 and 1/2, at advantages 1 and then -1; low 0.2, high 0.3
    "policy_gradient": (dict(), [1, 1], [1, 1]),
    "importance_weighted": (dict(), [2, 1 / 2], [2, 1 / 2]),
    "ppo_clip": (dict(), [0, 1 / 2], [2, 0]),
    "ppo_clip dual": (dict(dual=1.9), [0, 1 / 2], [0, 0]),
    "ppo_clip dual above": (dict(dual=2.1), [0, 1 / 2], [2, 0]),
    "ppo_clip delta": (dict(delta=1.9), [0, 1 / 2], [0, 0]),
    "ppo_clip delta alone": (dict(clip_high=9.0, delta=1.9), [0, 1 / 2], [0, 0]),
    "ppo_clip dual alone": (dict(clip_high=9.0, dual=1.9), [2, 1 / 2], [0, 0]),
    "cispo": (dict(), [1.3, 0.8], [1.3, 0.8]),
    # gates 3/4 at ratio 2 and tau = ln 3, 1/4 at ratio 1/2 and tau = 2 ln 3
    "sapo": (dict(tau_positive=math.log(3), tau_negative=2 * math.log(3)), [3 / 2, None], [None, 3 / 8]),
    "gspo": (dict(), [1, 1], [1, 1]),
    # exp of the mean of 0.3 and -ln 2, of ln 2 and -0.2
    "gmpo": (dict(), [0, math.sqrt(math.exp(0.3) / 2)], [math.sqrt(2 * math.exp(-0.2)), 0]),
}


@pytest.mark.parametrize("name", GAINS_BY_HAND)
def test_gains_by_hand(name):
    slots, *expected = GAINS_BY_HAND[name]
    setting = Setting(reward=one, surrogate=name.split()[0], **dict(clip_low=0.2, clip_high=0.3) | slots)
    for a, gains in zip((1.0, -1.0), expected, strict=True):
        found = ref.gains(setting, [a, a], [math.log(2), -math.log(2)])
        known = [(x, y) for x, y in zip(found, gains, strict=True) if y is not None]
        assert known
        for x, y in known:
            assert x == pytest.approx(y, rel=1e-14)


def test_gspo_clips_the_response_and_each_advantage_decides_for_itself():
    gspo = Setting(reward=one, surrogate="gspo", advantage="gae")
    assert ref.gains(gspo, [1.0, -1.0], [math.log(9), -math.log(4)]) == pytest.approx([0.0, 1.5])
    assert ref.gains(gspo, [1.0, -1.0], [-math.log(9), math.log(4)]) == pytest.approx([2 / 3, 0.0])


def test_surrogates_that_are_not_defined():
    with pytest.raises(ValueError, match="one advantage per response"):
        Setting(reward=one, surrogate="gmpo", advantage="gae")
    with pytest.raises(ValueError, match="belong to ppo_clip"):
        Setting(reward=one, surrogate="gspo", dual=3.0)
    with pytest.raises(ValueError, match="unknown name"):
        Setting(reward=one, surrogate="reinforce")
