"""KL and entropy at the reference: where they do nothing, where they lengthen, and by how much."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lossim as ls
from examples import scheme, two_paths
from lossim import advantages, aggregation, penalties


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
    assert free.length.value == pytest.approx(none.length.value, rel=1e-14)  # by another order of sums
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


@pytest.mark.parametrize("d", [-800.0, -40.0, -1.0, 0.0, 1e-9, 3.0])
def test_bias_corrected_k3_has_slope_r_times_d(d: float) -> None:
    """The two terms of the derivative cancel, and far out each of them overflows."""
    kl = penalties.KL(coefficient=1.0, estimator="k3", gradient="bias_corrected")
    assert float(kl.slope(np.array([d]), np.array([0.5]))[0]) == pytest.approx(np.exp(0.5) * d, rel=1e-14)
