"""Where floating point could lie: rare outcomes, equal rewards, tails of another policy's batch."""

from __future__ import annotations

import numpy as np
import pytest

import lossim as ls
from lossim import advantages, aggregation


def one_token(solve_rate: float) -> ls.Policy:
    """All responses are one token long; only the path is random."""
    stop = ls.lengths.table([1.0])
    return ls.policies.two_paths(solve_rate=solve_rate, right=stop, wrong=stop, max_tokens=1)


@pytest.mark.parametrize("chance", [1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("rule", [aggregation.SequenceMeanTokenSum(), aggregation.TokenMean()])
def test_resampled_groups_of_two_are_alike_however_rare(chance: float, rule: aggregation.Aggregation) -> None:
    """One right, one wrong: A = ±1/2 and the right path's logit moves by (1-p)/4 + p/4, whatever p."""
    scheme = ls.Scheme(advantage=advantages.GroupMean(), aggregation=rule, dynamic_sampling="resample", group_size=2,
                       prompts_per_step=3)
    gradient = ls.drift(scheme, one_token(chance)).path_gradient
    assert gradient.value[0, 0] == pytest.approx(0.25, rel=1e-12)


@pytest.mark.parametrize("chance", [1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("estimator", [advantages.GroupMean(), advantages.LeaveOneOut(), advantages.OPO()])
@pytest.mark.parametrize("rule", [aggregation.SequenceMeanTokenSum(), aggregation.TokenMean()])
def test_rare_successes_keep_their_digits(chance: float, estimator: advantages.Advantage,
                                          rule: aggregation.Aggregation) -> None:
    """Groups of two with rewards ±1: unequal with chance 2p(1-p), then 1/2 as above (1 with the own left out)."""
    scheme = ls.Scheme(reward=ls.Reward(correct=1.0, incorrect=-1.0), advantage=estimator, aggregation=rule,
                       group_size=2, prompts_per_step=2)
    gradient = ls.drift(scheme, one_token(chance)).path_gradient
    factor = 2.0 if isinstance(estimator, advantages.LeaveOneOut) else 1.0
    assert gradient.value[0, 0] == pytest.approx(factor * chance * (1.0 - chance), rel=1e-10)


@pytest.mark.parametrize("eps", [0.0, 1e-9])
@pytest.mark.parametrize("shift", [0.1, -0.7, 1e6 + 0.1])
@pytest.mark.parametrize("scope", ["group", "batch"])
def test_equal_rewards_have_no_std(eps: float, shift: float, scope: str) -> None:
    """0.1 + 0.1 + 0.1 over 3 is not 0.1; that must not become a direction."""
    policy = ls.policies.unsolvable(length=ls.lengths.geometric(mean=40), max_tokens=200)
    scheme = ls.Scheme(reward=ls.Reward(incorrect=shift), group_size=6, aggregation=aggregation.SequenceMeanTokenMean(),
                       advantage=advantages.GroupStandardized(eps=eps, scope=scope))  # type: ignore[arg-type]
    exact = ls.drift(scheme, policy)
    sampled = ls.drift(scheme, policy, "monte_carlo", rng=np.random.default_rng(0), batches=16)
    assert exact.length.value == 0.0 == sampled.length.value
    assert exact.verdict == "nothing moves" == sampled.verdict


def test_a_shift_of_all_rewards_changes_nothing_without_an_eps() -> None:
    policy = ls.policies.two_paths(solve_rate=0.1, right=ls.lengths.geometric(mean=40),
                                   wrong=ls.lengths.geometric(mean=50), max_tokens=200)
    one, two = (ls.drift(ls.Scheme(reward=ls.Reward(correct=1.0 + c, incorrect=c), group_size=6,
                                   advantage=advantages.GroupStandardized(eps=0.0),
                                   aggregation=aggregation.SequenceMeanTokenMean()), policy).length.value
                for c in (0.0, 0.1))
    assert two == pytest.approx(one, rel=1e-12)


def test_effective_reward_of_an_update_on_an_old_batch() -> None:
    """Far from the old policy the tail overflows; where responses are, the identity holds."""
    def build(mean: float) -> ls.Policy:
        return ls.policies.unsolvable(length=ls.lengths.geometric(mean=mean), max_tokens=8192)

    policy = build(5.0)
    result = ls.drift(ls.schemes.ppo(), policy, old_policy=build(500.0))
    reward, gradient = result.effective_reward.value[0, :40], result.hazard_gradient.value[0, :40]
    pmf, hazard = policy.pmf[0, :40], policy.hazard[0, :40]
    assert np.isfinite(reward).all()
    # E[v] = 0 over all ends, so the sum from t on is minus the sum before t.
    from_t_on = -(np.cumsum(pmf * reward) - pmf * reward)
    np.testing.assert_allclose(pmf * reward - hazard * from_t_on, gradient, rtol=1e-8, atol=1e-13)


def test_the_state_of_the_generator_decides() -> None:
    policy = one_token(0.5)
    rng = np.random.default_rng(4)
    rng.random(10)
    first = ls.drift(ls.schemes.grpo(), policy, "monte_carlo", rng=rng, batches=16)
    rng.bit_generator.state = first.provenance["rng"]
    again = ls.drift(ls.schemes.grpo(), policy, "monte_carlo", rng=rng, batches=16)
    fresh = ls.drift(ls.schemes.grpo(), policy, "monte_carlo", rng=np.random.default_rng(4), batches=16)
    assert again.accuracy.value == first.accuracy.value != fresh.accuracy.value


def test_without_a_drift_a_ratio_is_unknown_or_its_error_bar_spans_both_signs() -> None:
    """One shared shift: length per nats is ± a constant, and its sign is noise."""
    known = []
    path = ls.Path("only", length=ls.lengths.geometric(mean=20), p_correct=0.5, p_correct_truncated=0.5)
    policy = ls.Policy([ls.PromptClass("coin", paths=[path])], max_tokens=64)
    for seed in range(8):
        result = ls.drift(ls.schemes.rloo(), policy, "monte_carlo", rng=np.random.default_rng(seed), batches=64)
        assert result.verdict == "no drift of mean length beyond the noise"
        known.append(not np.isnan(result.length_per_kl.value))
        assert known[-1] != any(note.startswith("the update is not told from") for note in result.notes)
        if known[-1]:
            assert abs(result.length_per_kl.value) < 4.0 * result.length_per_kl.stderr
    assert True in known
    assert False in known
