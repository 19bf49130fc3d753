"""Where an audit says the drift comes from: contributions add up, and to what other roads give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lossim as ls
from logged import GRPO, KNOWING, PLUS_MINUS, PPO, altered, ragged, sample
from lossim.advantages import GAE, GroupMean, Whitened
from lossim.aggregation import ConstantNormalizer, SequenceMeanTokenMean, TokenMean
from lossim.critics import Exact
from lossim.penalties import KL
from lossim.schemes import Scheme


@pytest.mark.parametrize("scheme", [GRPO, PPO, replace(PPO, advantage=Whitened(inner=GAE())),
                                    replace(GRPO, aggregation=TokenMean(), truncation="mask"),
                                    replace(GRPO, dynamic_sampling="resample"),
                                    replace(PPO, advantage=GAE(critic=Exact(), gae_lambda=0.5))])
def test_sources_add_up_to_the_drift(scheme: Scheme) -> None:
    finding = ls.audit(ragged(), scheme, what_if=False)[0]
    whole = float(finding.length)
    scale = float(np.abs(finding.sources.value).sum())
    for axis in ("term", "outcome", "solve rate", "length"):
        part = finding.source(axis)
        assert float(part.value.sum()) == pytest.approx(whole, abs=1e-12 * scale), axis
        assert part.value.shape == part.stderr.shape
    assert float(finding.drift.sources.value.sum()) == pytest.approx(whole, abs=1e-12 * scale)
    assert float(finding.share.sum()) == pytest.approx(1.0)


def test_sources_of_a_redrawn_log_add_up_to_its_drift() -> None:
    """With each block drawn once they are the sources themselves: from the counts, not response by response."""
    for scheme in (GRPO, replace(PPO, advantage=Whitened(inner=GAE(critic=Exact())))):
        finding = ls.audit(ragged(), scheme, replicates=40, what_if=False)[0]
        one = ls.audit(ragged(), scheme, replicates=0, what_if=False)[0]
        assert one.source("outcome").stderr.tolist() == pytest.approx([np.nan] * 3, nan_ok=True)
        total = finding.source_draws.sum(axis=(1, 2, 3)) - float(finding.length)
        assert np.sqrt(24 / 23 * np.mean(total**2)) == pytest.approx(float(finding.length.stderr), rel=1e-9)
        for axis, drawn in (("outcome", finding.source_draws.sum(axis=(1, 3))), ("solve rate", finding.rate_draws)):
            np.testing.assert_allclose(finding.source(axis).stderr, np.sqrt(24 / 23) * drawn.std(axis=0, ddof=1))


def test_a_critic_that_knows_the_law_makes_sources_scatter_with_it() -> None:
    """The law is redrawn with the responses: held fixed, error bars were half of what they are."""
    scheme = replace(PPO, advantage=GAE(gae_lambda=0.9, critic=Exact()))
    found = [ls.audit(sample(KNOWING, prompts=60, seed=seed), scheme, replicates=40, what_if=False)[0].source("outcome")
             for seed in range(40)]
    scatter = np.std([each.value for each in found], axis=0, ddof=1)[:2]
    told = np.mean([each.stderr for each in found], axis=0)[:2]
    assert (np.abs(told / scatter - 1.0) < 4 * np.sqrt(1 / 80)).all()  # a standard deviation of 40 is known to 11 %


def test_sources_by_outcome_are_those_of_the_drift() -> None:
    """The token sums of the engine are the other road."""
    finding = ls.audit(sample(prompts=200), PPO, reward=PLUS_MINUS, what_if=False)[0]
    for i, outcome in enumerate(("correct", "incorrect", "truncated")):
        assert float(finding.source("outcome").value[i]) == pytest.approx(float(finding.drift.source(outcome=outcome)))


@pytest.mark.parametrize(("right", "place"), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 5), (7, 4)])
def test_a_solve_rate_at_an_edge_is_in_the_bin_below(right: int, place: int) -> None:
    """0, 1/4, 1/2, 3/4 and 1 of four responses, and 7 of 8."""
    size = 8 if right > 4 else 4
    correct = np.tile(np.arange(size) < right, 3)
    log = ls.Rollouts(np.arange(1, 3 * size + 1), correct, np.repeat(np.arange(3), size), correct=correct)
    drift = ls.audit(log, PPO, reward=PLUS_MINUS, replicates=0, what_if=False)[0].source("solve rate").value
    assert np.flatnonzero(drift).tolist() == [place]


def test_steps_weigh_by_their_responses() -> None:
    finding = ls.audit(ragged(), GRPO, what_if=False)[0]
    counts = np.bincount(ragged().steps)
    assert finding.steps == ((0, 0), (1, 1), (2, 2))
    assert float(counts @ finding.by_step.value) / counts.sum() == pytest.approx(float(finding.length), rel=1e-9)


def test_long_logs_show_runs_of_steps() -> None:
    log = sample(prompts=200)
    finding = ls.audit(altered(log, steps=log.prompt_ids), GRPO, what_if=False)[0]
    assert len(finding.steps) == 64
    assert finding.steps[0][0] == 0
    assert finding.steps[-1][1] == 199
    assert "(56 runs of steps between these are in by_step)" in str(finding)


def test_cov_is_the_covariance() -> None:
    log = sample(prompts=100)
    credit = log.rewards - np.repeat(log.rewards.reshape(-1, 4).mean(axis=1), 4)
    expected = np.cov(credit, log.lengths, ddof=0)[0, 1]
    finding = ls.audit(log, replace(GRPO, advantage=GroupMean()), what_if=False)[0]
    assert float(finding.covariance) == pytest.approx(expected)
    assert 0.2 < float(finding.covariance.stderr) / (np.std(credit * (log.lengths - log.lengths.mean())) / 20) < 2.0


def test_dead_groups_are_counted() -> None:
    log = sample(prompts=100)
    dead = np.mean([len(set(group)) == 1 for group in log.rewards.reshape(-1, 4)])
    assert 0 < dead < 1
    assert ls.audit(log, GRPO, what_if=False)[0].dead_groups == pytest.approx(dead)


def test_the_weight_of_a_token_falls_with_length_under_a_mean_over_tokens() -> None:
    log = sample(prompts=200)
    for rule, flat in ((SequenceMeanTokenMean(), False), (TokenMean(), True), (ConstantNormalizer(), True)):
        weight = ls.audit(log, replace(GRPO, aggregation=rule), what_if=False)[0].token_weight
        if flat:
            np.testing.assert_allclose(weight, 1.0)
        else:
            assert (np.diff(weight) < 0).all()


def test_kl_has_its_share() -> None:
    log = sample(prompts=200)
    log = altered(log, kl=0.05 * log.lengths)
    scheme = replace(GRPO, penalties=(KL(coefficient=2.0, estimator="k2"),))
    with_kl, without = (ls.audit(log, each, what_if=False)[0] for each in (scheme, GRPO))
    share = with_kl.source("term")
    assert float(share.value[0]) == pytest.approx(float(without.length))
    assert float(share.value[0] + share.value[1]) == pytest.approx(float(with_kl.length))
    assert "a response's KL is spread evenly over its tokens" in with_kl.notes
    unknown = ls.audit(altered(log, kl=None), scheme, what_if=False)[0]
    assert float(unknown.length) == pytest.approx(float(without.length))
    assert "the scheme's KL is left out: the log has none" in unknown.notes


def test_effective_reward_rises_with_length_where_the_update_lengthens() -> None:
    """All wrong, paid -1, critic 0, λ < 1: the fact that the design names first."""
    never = ls.policies.unsolvable(length=ls.lengths.geometric(mean=20), max_tokens=200)
    log = never.sample(np.random.default_rng(0), prompts=400, group_size=4, reward=PLUS_MINUS)
    finding = ls.audit(log, PPO, what_if=False)[0]
    assert finding.verdict.startswith("responses get longer")
    assert finding.effective_reward[-1] > finding.effective_reward[0]
    assert ls.audit(log, PPO, paths="one", what_if=False)[0].length_per_kl.value == pytest.approx(
        float(finding.length_per_kl), rel=1e-6)
