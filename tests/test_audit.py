"""Audits: intervals that cover, contributions that add up, settings and stops that are what they say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import lossim as ls
from logged import CLASSES, UNKNOWING, ragged, sample
from lossim._scheme import Scheme
from lossim.advantages import GAE, GroupMean, GroupStandardized, LeaveOneOut, Raw, Whitened
from lossim.aggregation import ConstantNormalizer, LengthPower, SequenceMeanTokenMean, TokenMean
from lossim.critics import Constant, Exact
from lossim.penalties import KL, Entropy
from lossim.rewards import LinearPenalty, Reward

PLUS_MINUS = Reward(incorrect=-1.0)
GRPO = Scheme(name="grpo", advantage=GroupStandardized(), aggregation=SequenceMeanTokenMean(), group_size=4)
PPO = Scheme(name="ppo", advantage=GAE(gae_lambda=0.9), aggregation=SequenceMeanTokenMean(), reward=PLUS_MINUS,
             group_size=4)


def altered(log: ls.Rollouts, **changes: object) -> ls.Rollouts:
    columns = {name: getattr(log, name) for name in ("lengths", "rewards", "prompt_ids", "truncated", "correct",
                                                     "classes", "steps", "kl")}
    return ls.Rollouts(**(columns | changes))


# --- calibration ----------------------------------------------------------------------------------------------

# What the engine cannot take to be one law: right responses that are cut and graded wrong change path in a log.
KNOWING = ls.Policy(
    [ls.PromptClass("hard", weight=0.6, paths=[
        ls.Path("right", probability=0.3, length=ls.lengths.geometric(mean=7), p_correct=1.0, p_correct_truncated=1.0),
        ls.Path("wrong", probability=0.7, length=ls.lengths.geometric(mean=12), p_correct=0.0)]),
     ls.PromptClass("easy", weight=0.4, paths=[
         ls.Path("right", probability=0.7, length=ls.lengths.geometric(mean=4), p_correct=1.0, p_correct_truncated=1.0),
         ls.Path("wrong", probability=0.3, length=ls.lengths.geometric(mean=9), p_correct=0.0)])], max_tokens=24)
PROMPTS, LOGS = 120, 60


def noisily_graded() -> ls.Policy:
    """Two paths, neither of which is an outcome."""
    return ls.Policy([ls.PromptClass("all", paths=[
        ls.Path("short", probability=0.5, length=ls.lengths.geometric(mean=5), p_correct=0.7),
        ls.Path("long", probability=0.5, length=ls.lengths.geometric(mean=12), p_correct=0.2)])], max_tokens=24)


def by_outcome(policy: ls.Policy) -> ls.Policy:
    """The same law of lengths and grades with a path for each grade: what a log without the paths can show."""
    (prompts,) = policy.classes
    law = np.einsum("c,cge->ge", policy.cell_weight, policy.law)
    at_risk = np.cumsum(law[:, ::-1], axis=1)[:, ::-1][:, :-1]
    hazard = law[:, :-1] / at_risk
    return ls.Policy([ls.PromptClass(prompts.name, paths=[
        ls.Path(name, probability=float(law[grade].sum()), length=ls.lengths.table(hazard[grade]),
                p_correct=1.0 - grade, p_correct_truncated=1.0 - grade)
        for grade, name in enumerate(("right", "wrong"))])], max_tokens=policy.max_tokens)


STEP = {"group_size": 4, "prompts_per_step": PROMPTS}
CALIBRATED = [
    replace(GRPO, **STEP), replace(PPO, **STEP), replace(PPO, advantage=Whitened(inner=GAE(gae_lambda=0.9)), **STEP),
    Scheme(advantage=GroupStandardized(), aggregation=TokenMean(), dynamic_sampling="resample", **STEP),
    Scheme(advantage=LeaveOneOut(), aggregation=ConstantNormalizer(), truncation="mask", **STEP),
    Scheme(advantage=GroupMean(), aggregation=LengthPower(), truncation="remove", **STEP),
]


@pytest.mark.parametrize(("world", "paths"), [("knowing", "outcome"), ("unknowing", "one"), ("noisy", "outcome")])
def test_intervals_cover_the_exact_drift_at_their_nominal_rate(world: str, paths: str) -> None:
    """60 logs of 480 responses, six schemes: two standard errors should cover 95.4 % of the time.

    Over 60 independent logs the share of one scheme has standard deviation 2.7 %; four of them are allowed, and as
    much for the mean of z² around 1 (sd 18 %) and for that of z around 0 (sd 13 %), which also holds the bias.
    """
    policy = {"knowing": KNOWING, "unknowing": UNKNOWING, "noisy": noisily_graded()}[world]
    seen = by_outcome(policy) if world == "noisy" else policy
    exact = [ls.drift(scheme, seen) for scheme in CALIBRATED]
    z = np.empty((LOGS, len(CALIBRATED), 2))
    for i in range(LOGS):
        log = policy.sample(np.random.default_rng(1000 + i), prompts=PROMPTS, group_size=4)
        audit = {pays: ls.audit(log, [scheme for scheme in CALIBRATED if scheme.reward == pays], reward=pays,
                                paths=paths, replicates=50, what_if=False) for pays in (Reward(), PLUS_MINUS)}
        found = {pays: iter(each.findings) for pays, each in audit.items()}
        for j, (scheme, truth) in enumerate(zip(CALIBRATED, exact, strict=True)):
            mine = next(found[scheme.reward]).drift
            for k, name in enumerate(("length", "truncation_rate")):
                estimate = getattr(mine, name)
                z[i, j, k] = (float(estimate) - float(getattr(truth, name))) / float(estimate.stderr)
    covered = (np.abs(z) < 2.0).mean(axis=0)
    assert (covered > 0.954 - 4 * 0.027).all(), covered
    assert (np.abs((z**2).mean(axis=0) - 1.0) < 4 * 0.18).all(), (z**2).mean(axis=0)
    assert (np.abs(z.mean(axis=0)) < 4 * 0.13).all(), z.mean(axis=0)


def test_an_error_bar_shrinks_as_the_log_grows() -> None:
    small, large = (ls.audit(sample(KNOWING, prompts=prompts, seed=3), GRPO, what_if=False)[0].length
                    for prompts in (200, 3200))
    assert float(small.stderr) / float(large.stderr) == pytest.approx(4.0, rel=0.25)
    assert abs(float(large) - float(ls.drift(GRPO, KNOWING).length)) < 4 * float(large.stderr)


# --- contributions --------------------------------------------------------------------------------------------


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
        total = finding.source_draws.sum(axis=(1, 2, 3)).std(ddof=0)
        assert total * np.sqrt(24 / 23) == pytest.approx(float(finding.length.stderr), rel=0.1)
        assert finding.source("outcome").stderr.shape == (3,)


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


# --- other settings -------------------------------------------------------------------------------------------


def what_if(log: ls.Rollouts, scheme: Scheme, **keywords: object) -> dict[str, ls.Estimate]:
    finding = ls.audit(log, scheme, replicates=20, **keywords)[0]
    return {each.change: each.length for each in finding.what_if}


def audited(log: ls.Rollouts, scheme: Scheme, **keywords: object) -> float:
    return float(ls.audit(log, scheme, what_if=False, replicates=0, **keywords)[0].length)


def test_what_if_is_the_audit_of_that_setting() -> None:
    log = sample(prompts=100)
    ideas = what_if(log, GRPO)
    expected = {
        "truncated responses masked": audited(log, replace(GRPO, truncation="mask")),
        "truncated responses removed": audited(log, replace(GRPO, truncation="remove")),
        "reward 1 if correct, else -1": audited(log, GRPO, reward=PLUS_MINUS),
        "reward 1 if correct, else -1, 0 if truncated": audited(log, GRPO, reward=replace(PLUS_MINUS, truncated=0.0)),
        "reward 1 if correct, else 0, -1 if truncated": audited(log, GRPO, reward=Reward(truncated=-1.0)),
        "no std": audited(log, replace(GRPO, advantage=GroupMean())),
        "aggregation token-mean": audited(log, replace(GRPO, aggregation=TokenMean())),
        "aggregation seq-mean-token-sum-norm": audited(log, replace(GRPO, aggregation=ConstantNormalizer())),
        "cut at 8 tokens": audited(cut(log, 8), GRPO),
    }
    assert {name: pytest.approx(float(x)) for name, x in ideas.items()} == expected


def cut(log: ls.Rollouts, cap: int) -> ls.Rollouts:
    """The log under a smaller cap, by hand: what is cut is wrong, and paid as truncated responses were."""
    over = log.lengths > cap
    paid = log.rewards[log.truncated].mean()
    return altered(log, lengths=np.minimum(log.lengths, cap), truncated=log.truncated | over,
                   rewards=np.where(over & ~log.truncated, paid, log.rewards),
                   correct=log.correct & ~(over & ~log.truncated),
                   kl=None if log.kl is None else log.kl * np.minimum(1.0, cap / log.lengths))


def test_a_smaller_cap_keeps_the_share_of_the_kl() -> None:
    log = altered(sample(prompts=100), kl=0.05 * sample(prompts=100).lengths)
    scheme = replace(GRPO, penalties=(KL(coefficient=2.0, estimator="k2"),))
    assert float(what_if(log, scheme)["cut at 8 tokens"]) == pytest.approx(audited(cut(log, 8), scheme))


def test_what_if_of_gae_and_kl() -> None:
    log = altered(sample(prompts=100), kl=0.01 * sample(prompts=100).lengths)
    scheme = replace(PPO, penalties=(KL(coefficient=0.3, estimator="k3"),))
    ideas = what_if(log, scheme)
    assert float(ideas["λ = 1"]) == pytest.approx(audited(log, replace(scheme, advantage=GAE(gae_lambda=1.0))))
    assert float(ideas["a critic that knows the path"]) == pytest.approx(
        audited(log, replace(scheme, advantage=GAE(gae_lambda=0.9, critic=Exact()))))
    assert float(ideas["no KL"]) == pytest.approx(audited(log, PPO))


def stops(log: ls.Rollouts, scheme: Scheme, **keywords: object) -> dict[str, ls.Stop]:
    return {each.knob.split(" (")[0]: each for each in ls.audit(log, scheme, replicates=20, **keywords)[0].stops}


def nothing(log: ls.Rollouts, scheme: Scheme, before: float, **keywords: object) -> bool:
    return abs(audited(log, scheme, **keywords)) < 2e-3 * abs(before)


def test_stops_stop() -> None:
    """Each setting that is said to stop the drift is put into the log or the scheme by hand."""
    log = sample(prompts=150)
    scheme = replace(GRPO, advantage=GroupMean())
    before, found = audited(log, scheme), stops(log, scheme)
    slope = found["penalty per token"].needed
    assert nothing(altered(log, rewards=log.rewards - slope * log.lengths), scheme, before)
    paid = found["reward of truncated responses"]
    assert paid.now == pytest.approx(log.rewards[log.truncated].mean())
    assert nothing(altered(log, rewards=np.where(log.truncated, paid.needed, log.rewards)), scheme, before)


def test_stops_of_a_critic() -> None:
    log = sample(prompts=150)
    before, found = audited(log, PPO, reward=PLUS_MINUS), stops(log, PPO, reward=PLUS_MINUS)
    value = found["value of a constant critic"]
    assert value.now == 0.0
    assert nothing(log, replace(PPO, advantage=GAE(gae_lambda=0.9, critic=Constant(value=value.needed))), before,
                   reward=PLUS_MINUS)
    raw = replace(PPO, advantage=Raw())
    baseline = stops(log, raw, reward=PLUS_MINUS)["baseline"]
    assert nothing(log, replace(raw, advantage=Raw(baseline=baseline.needed)), audited(log, raw, reward=PLUS_MINUS),
                   reward=PLUS_MINUS)


def test_stops_of_kl_and_the_exponent_of_length() -> None:
    log = sample(prompts=150)
    log = altered(log, kl=0.02 * np.maximum(log.lengths - 6, 0) * log.lengths)
    scheme = replace(GRPO, advantage=GroupMean(), penalties=(KL(coefficient=0.01, estimator="k2"),))
    before, found = audited(log, scheme), stops(log, scheme)
    needed = found["KL coefficient"].needed
    if needed is not None:
        assert nothing(log, replace(scheme, penalties=(KL(coefficient=needed, estimator="k2"),)), before)
    mixed = replace(GRPO, advantage=Raw(baseline=0.3))
    alpha = stops(log, mixed)["aggregation by T^-α"]
    assert alpha.now is None
    for a in (0.0, 1.0) if alpha.needed is None else (alpha.needed,):
        drift = audited(log, replace(mixed, aggregation=LengthPower(alpha=a)))
        assert (abs(drift) < 2e-3) == (alpha.needed is not None)


def test_turning_one_kl_leaves_the_other() -> None:
    log = sample(prompts=150)
    log = altered(log, kl=0.02 * np.maximum(log.lengths - 6, 0) * log.lengths)
    loss = KL(coefficient=0.02, estimator="k2")
    scheme = replace(GRPO, advantage=GroupMean(), penalties=(loss, KL(coefficient=0.01, place="reward")))
    found = stops(log, scheme)["KL coefficient"]
    assert found.knob == "KL coefficient (k1 in the reward)"
    if found.needed is not None:
        turned = replace(scheme, penalties=(loss, KL(coefficient=found.needed, place="reward")))
        assert nothing(log, turned, audited(log, scheme))


def test_a_jump_across_zero_is_called_one() -> None:
    """Divided by the group's std, the smallest penalty orders the responses of a dead group by length."""
    never = ls.policies.unsolvable(length=ls.lengths.geometric(mean=20), max_tokens=400)
    log = never.sample(np.random.default_rng(0), prompts=100, group_size=4)
    mixed = altered(log, rewards=np.where(np.arange(400) < 40, np.tile([1.0, 0.0, 0.0, 0.0], 100), 0.0),
                    correct=np.where(np.arange(400) < 40, np.tile([True, False, False, False], 100), False))
    penalty = stops(mixed, GRPO)["penalty per token"]
    assert abs(penalty.needed) < 1e-4
    assert "the drift jumps across zero there" in penalty.note
    assert "the std makes any penalty count in full where rewards are equal" in penalty.note


def test_where_no_setting_stops_it_that_is_said() -> None:
    never = ls.policies.unsolvable(length=ls.lengths.geometric(mean=20), max_tokens=400)
    log = never.sample(np.random.default_rng(0), prompts=100, group_size=4, reward=PLUS_MINUS)
    found = stops(log, PPO)
    assert found["aggregation by T^-α"].needed is None
    assert str(found["aggregation by T^-α"]).endswith("none between 0 and 1 does, the drift keeps its sign")
    assert found["value of a constant critic"].needed == pytest.approx(-1.0, abs=1e-3)


def test_the_three_treatments_of_truncated_responses() -> None:
    """A run at a cap that cuts 40 %: kept as wrong they vanish, removed they multiply, masked lies between.

    The published finding (Skywork-OR1) that an audit by hand of ΣA·T would have predicted.
    """
    policy = ls.policies.two_paths(solve_rate=0.6, right=ls.lengths.lognormal(median=90, sigma=0.7),
                                   wrong=ls.lengths.lognormal(median=160, sigma=0.7), max_tokens=128)
    log = policy.sample(np.random.default_rng(2), prompts=400, group_size=16)
    assert 0.35 < log.truncated.mean() < 0.55
    found = [ls.audit(log, Scheme(advantage=GroupStandardized(), aggregation=TokenMean(), truncation=rule,
                                  group_size=16), what_if=False)[0].drift for rule in ("keep", "mask", "remove")]
    cut_per_kl = [float(each.truncation_rate) * float(each.length_per_kl) / float(each.length) for each in found]
    assert cut_per_kl[0] < 0
    assert cut_per_kl[0] < cut_per_kl[1] < cut_per_kl[2]


# --- as a user meets it ---------------------------------------------------------------------------------------


def test_a_measured_kernel_fits_the_cells_it_was_measured_on() -> None:
    kernel = ls.kernel(np.array([[141.0, 100.0], [100.0, 132.0]]).reshape(2, 1, 2, 1), positions=[1], paths=[[433.0]])
    policy = ls.policies.two_paths(solve_rate=0.5, right=ls.lengths.geometric(mean=8),
                                   wrong=ls.lengths.geometric(mean=12), max_tokens=64, coordinates=kernel)
    log = policy.sample(np.random.default_rng(0), prompts=800, group_size=4)
    finding = ls.audit(log, GRPO, coordinates=kernel)[0]
    assert abs(float(finding.length) - float(ls.drift(GRPO, policy).length)) < 4 * float(finding.length.stderr)
    assert np.isnan(float(finding.if_other_paths))


def test_few_prompts_need_more_than_two_standard_errors() -> None:
    """Nothing drifts where length says nothing about the grade: a drift may be claimed in about 1 of 20 logs."""
    policy = ls.Policy([ls.PromptClass("all", paths=[ls.Path("all", length=ls.lengths.geometric(mean=9),
                                                             p_correct=0.5, p_correct_truncated=0.5)])], max_tokens=16)
    claims = [ls.audit(policy.sample(np.random.default_rng(seed), prompts=4, group_size=8), GRPO, paths="one",
                       replicates=100, what_if=False)[0].significant for seed in range(100)]
    assert np.mean(claims) < 0.2


def test_step_std_counts_groups_not_prompts() -> None:
    log = sample(KNOWING, prompts=400, seed=1)
    repeated = altered(log, prompt_ids=log.prompt_ids % 40 + 40 * log.classes, steps=log.prompt_ids // 40)
    once, often = (float(ls.audit(each, GRPO, what_if=False)[0].drift.step_std) for each in (log, repeated))
    assert often == pytest.approx(once, rel=0.35)


def test_a_log_has_one_answer_and_the_rng_another() -> None:
    log = sample()
    one, same = (ls.audit(log, GRPO) for _ in range(2))
    other = ls.audit(log, GRPO, rng=np.random.default_rng(7))
    assert str(one) == str(same)
    assert json.dumps(one.to_dict(), allow_nan=False) == json.dumps(same.to_dict(), allow_nan=False)
    assert float(one[0].length) == float(other[0].length)
    assert float(one[0].length.stderr) != float(other[0].length.stderr)


def test_several_schemes_stand_side_by_side() -> None:
    audit = ls.audit(sample(), [GRPO, PPO, replace(PPO, name="adaptive", advantage=GAE(
        gae_lambda=ls.advantages.LengthAdaptive()))])
    assert audit["ppo"].name == "ppo"
    assert audit["adaptive"].sources is None
    assert np.isnan(audit["adaptive"].length.stderr)
    assert not audit[0].what_if
    assert audit["adaptive"].verdict.startswith("responses get")
    assert ls.audit(sample(prompts=200), PPO, replicates=0).verdict.startswith("ppo: responses get")
    text = str(audit)
    assert "tokens in 0.01 nats" in text
    assert "note: adaptive: λ depends on the length" in text
    with pytest.raises(ValueError, match="use a constant gae_lambda"):
        audit["adaptive"].source("length")
    json.dumps(audit.to_dict(), allow_nan=False)


def test_what_had_to_be_assumed_is_said() -> None:
    log = sample()
    bare = ls.Rollouts(log.lengths, log.rewards, log.prompt_ids)
    audit = ls.audit(bare, GRPO, max_tokens=16, what_if=False)
    text = str(audit)
    for note in ("grades are read off the rewards: 1 is correct, 0 is not", "a response of max_tokens, 16 tokens",
                 "the log names no prompt classes", "the log names no steps", "a cap above 16 is not identified",
                 "responses are paid as logged"):
        assert note in text
    assert "groups are as logged, of 4; the scheme names 8" in str(
        ls.audit(bare, replace(GRPO, group_size=8), max_tokens=16, what_if=False))


def test_grades_may_come_from_a_threshold_or_not_at_all() -> None:
    log = ragged()
    bare = ls.Rollouts(log.lengths, log.rewards, log.prompt_ids, log.truncated)
    audit = ls.audit(bare, GRPO, correct_above=0.6, what_if=False)
    assert audit.log["accuracy"] == pytest.approx((log.rewards > 0.6).mean())
    ungraded = ls.audit(bare, GRPO, paths="one")
    assert ungraded.log["accuracy"] is None
    assert "by outcome" not in str(ungraded)
    assert "unknown" in str(ungraded)
    with pytest.raises(ValueError, match="give correct_above="):
        ls.audit(bare, GRPO)


SMALL = {
    "one response": ls.Rollouts([3], [1.0], [0], correct=[True]),
    "one group": ls.Rollouts([3, 5], [1.0, 0.0], [0, 0]),
    "all right": ls.Rollouts([3, 4, 5, 6], [1.0] * 4, [0, 0, 1, 1], correct=[True] * 4),
    "all wrong": ls.Rollouts([3, 4, 5, 6], [0.0] * 4, [0, 0, 1, 1], correct=[False] * 4),
    "one token": ls.Rollouts([1] * 4, [1, 0, 1, 0], [0, 0, 1, 1], truncated=[False] * 4),
    "one token, cut": ls.Rollouts([1] * 4, [1, 0, 1, 0], [0, 0, 1, 1], truncated=[True] * 4),
    "all cut": ls.Rollouts([9] * 4, [1, 0, 1, 0], [0, 0, 1, 1], truncated=[True] * 4),
    "all of one length": ls.Rollouts([9] * 4, [1, 0, 1, 0], [0, 0, 1, 1], truncated=[False] * 4),
    "groups of one": ls.Rollouts([3, 4, 5], [1, 0, 1], ["a", "b", "c"]),
}
ALL = [GRPO, PPO, replace(GRPO, advantage=LeaveOneOut(), aggregation=TokenMean(), truncation="remove"),
       replace(PPO, advantage=Whitened(inner=GAE()), dynamic_sampling="drop"),
       replace(GRPO, dynamic_sampling="resample", penalties=(Entropy(coefficient=0.1),))]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("scheme", ALL, ids=lambda scheme: repr(scheme)[:60])
def test_the_smallest_logs_have_an_answer(name: str, scheme: Scheme) -> None:
    audit = ls.audit(SMALL[name], scheme, replicates=20)
    assert audit.verdict.split(": ", 1)[1].startswith(("nothing moves", "no drift", "responses get"))
    json.dumps(audit.to_dict(), allow_nan=False)
    assert str(audit)


def test_all_equal_rewards_move_nothing_under_a_group_baseline() -> None:
    for name in ("all right", "all wrong"):
        assert ls.audit(SMALL[name], GRPO).verdict == "grpo: nothing moves: all groups are dead"


BAD = {
    "no log": (lambda: ls.audit([1, 2], GRPO), TypeError, "rollouts must be Rollouts"),
    "empty": (lambda: ls.audit(ls.Rollouts([], [], []), GRPO), ValueError, "must hold at least one response"),
    "a name": (lambda: ls.audit(sample(), "grpo"), TypeError, "schemes must be a sequence of Scheme"),
    "no scheme": (lambda: ls.audit(sample(), []), ValueError, "must hold at least one scheme"),
    "paths": (lambda: ls.audit(sample(), GRPO, paths="outcomes"), ValueError, "did you mean 'outcome'"),
    "two caps": (lambda: ls.audit(ls.Rollouts([3, 5], [1, 0], [0, 0], [True, True]), GRPO), ValueError,
                 r"must all be max_tokens .* got \[3, 5\]"),
    "beyond the cap": (lambda: ls.audit(ls.Rollouts([3, 5], [1, 0], [0, 0], [True, False]), GRPO), ValueError,
                       "must be at least the longest response"),
    "a smaller cap": (lambda: ls.audit(sample(), GRPO, max_tokens=8), ValueError, "max_tokens must be at least"),
    "replicates": (lambda: ls.audit(sample(), GRPO, replicates=3), ValueError, "must be 0 or at least 20"),
    "rng": (lambda: ls.audit(sample(), GRPO, rng=3), TypeError, "rng must be a Generator"),
    "grades twice": (lambda: ls.audit(sample(), GRPO, correct_above=0.5), ValueError, "is for logs without grades"),
    "reward": (lambda: ls.audit(sample(), GRPO, reward=1.0), TypeError, "reward must be a Reward"),
    "classes": (lambda: ls.audit(altered(sample(), classes=np.arange(120) % 2), GRPO), ValueError,
                "must be one class for all responses to a prompt"),
    "as logged": (lambda: ls.drift(ls.audit(sample(), GRPO)[0].drift.scheme, CLASSES), ValueError,
                  r"reward is known on a log only.* use audit\(rollouts, scheme\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    ls.audit(sample(), GRPO, progress=True, replicates=20)
    shown = capsys.readouterr()
    assert not shown.out
    assert "prompts redrawn 20 of 20 times" in shown.err


def test_a_picture_of_one_and_of_several(tmp_path: object) -> None:
    for schemes in (GRPO, [GRPO, PPO], replace(PPO, advantage=GAE(gae_lambda=ls.advantages.LengthAdaptive()))):
        figure = ls.audit(sample(), schemes).plot()
        titles = [ax.get_title() for ax in figure.axes]
        assert titles[0] == "Where the drift comes from"
        assert all(ax.get_xlabel() for ax in figure.axes)
        figure.savefig(f"{tmp_path}/audit.png")


def test_penalties_per_token_are_a_reward_of_the_length() -> None:
    log = sample()
    by_rule = audited(log, PPO, reward=Reward(incorrect=-1.0, shaping=LinearPenalty(slope=0.02)))
    by_hand = audited(altered(log, rewards=np.where(log.correct, 1.0, -1.0) - 0.02 * log.lengths), PPO)
    assert by_rule == pytest.approx(by_hand)
