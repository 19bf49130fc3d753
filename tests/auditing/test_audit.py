"""Audits as a user meets them: print, small logs, bad input, pictures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import lossim as ls
from logged import CLASSES, GRPO, KNOWING, PPO, altered, audited, ragged, sample
from lossim.advantages import GAE, LeaveOneOut, Whitened
from lossim.aggregation import TokenMean
from lossim.penalties import Entropy
from lossim.rewards import LinearPenalty, Reward
from lossim.schemes import Scheme


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
                       replicates=100, what_if=False)[0].significant for seed in range(60)]
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
    assert audit.verdict.split(": ", 1)[1].startswith((
        "nothing moves", "no drift", "responses get", "undecided: entropy", "unknown: all groups are dead"))
    json.dumps(audit.to_dict(), allow_nan=False)
    assert str(audit)


def test_all_equal_rewards_move_nothing_under_a_group_baseline() -> None:
    for name in ("all right", "all wrong"):
        assert ls.audit(SMALL[name], GRPO).verdict.startswith("grpo: unknown: all groups are dead")


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
        titles = [ax.get_title(loc="left") for ax in figure.axes]
        assert titles[0] == "Where the drift comes from"
        assert all(ax.get_xlabel() for ax in figure.axes)
        figure.savefig(f"{tmp_path}/audit.png")


def test_penalties_per_token_are_a_reward_of_the_length() -> None:
    log = sample()
    by_rule = audited(log, PPO, reward=Reward(incorrect=-1.0, shaping=LinearPenalty(slope=0.02)))
    by_hand = audited(altered(log, rewards=np.where(log.correct, 1.0, -1.0) - 0.02 * log.lengths), PPO)
    assert by_rule == pytest.approx(by_hand)
