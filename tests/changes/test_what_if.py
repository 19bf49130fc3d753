"""What-ifs of a policy: each is the drift of the scheme, or of the policy, that was changed by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import lossim as ls
from lossim.advantages import GAE, GroupMean, LeaveOneOut, LeaveOneOutStandardized, Whitened
from lossim.aggregation import ConstantNormalizer, TokenMean
from lossim.critics import Exact
from lossim.penalties import KL, Entropy
from lossim.selection import Deadline
from lossim.surrogates import ImportanceWeight

POLICY = ls.Policy(
    [ls.PromptClass("hard", weight=0.6, paths=[
        ls.Path("right", probability=0.3, length=ls.lengths.geometric(mean=7), p_correct=1.0),
        ls.Path("wrong", probability=0.7, length=ls.lengths.geometric(mean=12), p_correct=0.0)]),
     ls.PromptClass("easy", weight=0.4, paths=[
         ls.Path("right", probability=0.8, length=ls.lengths.geometric(mean=5), p_correct=1.0),
         ls.Path("wrong", probability=0.2, length=ls.lengths.geometric(mean=9), p_correct=0.0)])], max_tokens=24)
GRPO = ls.schemes.grpo(group_size=4)
PPO = ls.schemes.ppo(gae_lambda=0.9, reward=ls.Reward(incorrect=-1.0))


def lengths(scheme: ls.Scheme, policy: ls.Policy = POLICY, **how: object) -> dict[str, float]:
    found = ls.what_if(scheme, policy, **how)
    return {each.change: float(each.length) for each in (found.now, *found.changes)}


def drift(scheme: ls.Scheme, policy: ls.Policy = POLICY, **how: object) -> float:
    return float(ls.drift(scheme, policy, **how).length)


def test_each_is_the_drift_of_the_scheme_that_is_changed_by_hand() -> None:
    rewarded = {f"reward 1 if correct, else {said}": replace(GRPO, reward=reward) for said, reward in (
        ("-1", ls.Reward(incorrect=-1.0)), ("-1, 0 if truncated", ls.Reward(incorrect=-1.0, truncated=0.0)),
        ("0, -1 if truncated", ls.Reward(truncated=-1.0)))}
    by_hand = rewarded | {
        "as it is": GRPO,
        "truncated responses masked": replace(GRPO, truncation="mask"),
        "truncated responses removed": replace(GRPO, truncation="remove"),
        "no std": replace(GRPO, advantage=GroupMean()),
        "mean and std of the others alone": replace(GRPO, advantage=LeaveOneOutStandardized()),
        "aggregation token-mean": replace(GRPO, aggregation=TokenMean()),
        "aggregation seq-mean-token-sum-norm": replace(GRPO, aggregation=ConstantNormalizer()),
        "groups beyond 12 tokens dropped": replace(GRPO, selection=Deadline(tokens=12))}
    expected = {name: drift(scheme) for name, scheme in by_hand.items()}
    expected["cut at 12 tokens"] = drift(GRPO, POLICY.recapped(12))
    assert lengths(GRPO) == expected


def test_a_std_of_the_others_has_its_own_changes() -> None:
    found = lengths(replace(GRPO, advantage=LeaveOneOutStandardized()))
    assert found["no std"] == drift(replace(GRPO, advantage=LeaveOneOut()))
    assert found["mean and std of the whole group"] == drift(GRPO)
    assert "mean and std of the others alone" not in lengths(replace(GRPO, group_size=1))


def test_a_deadline_is_taken_away() -> None:
    assert lengths(replace(GRPO, selection=Deadline(tokens=9)))["nothing is late"] == drift(GRPO)


def test_changes_of_gae() -> None:
    found = lengths(PPO)
    for name, advantage in (("λ = 1", GAE(gae_lambda=1.0)), ("whitened over the tokens of the step",
                            Whitened(inner=GAE(gae_lambda=0.9))),
                            ("a critic that knows the path", GAE(gae_lambda=0.9, critic=Exact()))):
        assert found[name] == drift(replace(PPO, advantage=advantage)), name
    whitened = replace(PPO, advantage=Whitened(inner=GAE(gae_lambda=0.9)))
    assert lengths(whitened)["not whitened over the tokens of the step"] == drift(PPO)
    assert lengths(whitened)["λ = 1"] == drift(replace(whitened, advantage=Whitened(inner=GAE(gae_lambda=1.0))))


def test_what_a_scheme_has_is_taken_away() -> None:
    reference = POLICY.moved(np.full(POLICY.motion.size, 0.05))
    k3, bonus = KL(coefficient=0.1, estimator="k3"), Entropy(coefficient=0.01)
    priced = replace(GRPO, reward=ls.Reward(shaping=ls.rewards.LinearPenalty(slope=0.01)), advantage=GroupMean(),
                     group_size=2)
    assert lengths(priced)["no penalty per token"] == drift(replace(priced, reward=ls.Reward()))
    scheme = replace(GRPO, advantage=GroupMean(), penalties=(k3, bonus), dynamic_sampling="drop")
    found = lengths(scheme, reference=reference)
    for name, other in (("no KL", replace(scheme, penalties=(bonus,))),
                        ("no entropy bonus", replace(scheme, penalties=(k3,))),
                        ("equal groups stay", replace(scheme, dynamic_sampling="none"))):
        assert found[name] == drift(other, reference=reference), name
    assert ls.what_if(scheme, POLICY).verdict.startswith("undecided: entropy also acts on content; ")


def test_off_policy_the_clip_is_taken_away() -> None:
    old = POLICY.moved(np.full(POLICY.motion.size, 0.3))
    found = lengths(GRPO, old_policy=old)
    assert found["no clip"] == drift(replace(GRPO, surrogate=ImportanceWeight()), old_policy=old)
    assert "no clip" not in lengths(GRPO)


def test_what_has_no_closed_form_is_listed_with_its_reason_and_can_be_sampled() -> None:
    policy = POLICY.recapped(200)
    priced = replace(GRPO, group_size=8, reward=ls.Reward(shaping=ls.rewards.LinearPenalty(slope=0.001)),
                     advantage=ls.advantages.MaxRL())
    found = ls.what_if(priced, policy)
    assert "no closed form for the slot 'advantage'" in found.now.note
    assert found.verdict.startswith("as it is not computed: no closed form")
    assert np.isnan(float(found.now.length))
    assert float(found["no penalty per token"].length) == drift(replace(priced, reward=ls.Reward()), policy)
    sampled = ls.what_if(priced, policy, method="monte_carlo", rng=np.random.default_rng(0), batches=32)
    assert sampled.now.note == ""
    free = sampled["no penalty per token"].length
    assert abs(float(free) - float(found["no penalty per token"].length)) < 4.0 * float(free.stderr)


def test_the_verdict_names_what_turns_it() -> None:
    never = ls.policies.unsolvable(length=ls.lengths.geometric(mean=20), max_tokens=64)
    found = ls.what_if(ls.schemes.ppo(critic=ls.critics.Zero()), never)
    assert found.now.way == 1
    assert found.verdict.endswith("turned by: reward 1 if correct, else 0, -1 if truncated (-2.35)")
    assert ls.what_if(GRPO, POLICY, kernels=[]).verdict.endswith("no change by itself turns that")
    alike = ls.what_if(GRPO, never)
    assert alike.verdict.startswith("no drift of mean length as it is")


def test_what_is_asked_of_nothing_is_told() -> None:
    with pytest.raises(KeyError, match="no change 'lambda = 1'; there are 'truncated responses masked'"):
        ls.what_if(GRPO, POLICY)["lambda = 1"]
    with pytest.raises(TypeError, match="subject must be a Policy, Curves, Rollouts, or what"):
        ls.what_if(GRPO, GRPO)
    with pytest.raises(TypeError, match="scheme must be a Scheme"):
        ls.what_if(POLICY, GRPO)
    with pytest.raises(ValueError, match="rng is only for sampling"):
        ls.what_if(GRPO, POLICY, rng=np.random.default_rng(0))


def test_results_print_and_become_json() -> None:
    for found in (ls.what_if(PPO, POLICY), ls.stops(PPO, POLICY)):
        told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert told["verdict"] == found.verdict
        assert found.verdict in str(found)
        assert any("one setting is changed at a time" in note for note in found.notes)


def test_a_sign_that_hangs_on_the_kernel_is_said_so_as_it_is_and_under_each_change() -> None:
    """The doubts are those of a drift of each changed scheme; on a log those of its audit."""
    policy = ls.policies.two_paths(solve_rate=0.45, right=ls.lengths.lognormal(median=56, sigma=0.7),
                                   wrong=ls.lengths.lognormal(median=84, sigma=0.7), max_tokens=409)
    zero = ls.schemes.ppo(critic=ls.critics.Zero())
    found = ls.what_if(zero, policy)
    assert found.verdict.startswith("undecided: ")
    assert "(?)" in str(found)
    exact = found["a critic that knows the path"]
    other = ls.drift(ls.schemes.ppo(critic=ls.critics.Exact()), policy)
    np.testing.assert_allclose(exact.doubts[0].lengths, other.doubts[0].lengths, rtol=1e-9)
    assert not any(each.doubts for each in ls.what_if(zero, policy, kernels=[]).changes)
    assert ls.stops(zero, policy, "lambda").verdict.startswith("undecided: ")
    log = policy.sample(np.random.default_rng(0), prompts=100, group_size=4, reward=zero.reward)
    of_log = ls.what_if(zero, log, replicates=20)
    audit = ls.audit(zero, log, replicates=20, what_if=False)
    np.testing.assert_allclose(of_log.now.doubts[0].lengths, audit[0].drift.doubts[0].lengths, rtol=1e-9)
