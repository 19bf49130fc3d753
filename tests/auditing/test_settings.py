"""Other settings on the same log, and what would stop the drift: each put into the log by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lossim as ls
from logged import GRPO, KNOWING, PLUS_MINUS, PPO, altered, audited, sample
from lossim.advantages import GAE, GroupMean, GroupStandardized, LeaveOneOutStandardized, Raw
from lossim.aggregation import ConstantNormalizer, LengthPower, TokenMean
from lossim.critics import Constant, Exact
from lossim.penalties import KL
from lossim.rewards import Reward
from lossim.schemes import Scheme
from lossim.selection import Deadline
from sizes import chunks_of


def what_if(log: ls.Rollouts, scheme: Scheme, **keywords: object) -> dict[str, ls.Estimate]:
    finding = ls.audit(log, scheme, replicates=20, **keywords)[0]
    return {each.change: each.length for each in finding.what_if}


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
        "mean and std of the others alone": audited(log, replace(GRPO, advantage=LeaveOneOutStandardized())),
        "aggregation token-mean": audited(log, replace(GRPO, aggregation=TokenMean())),
        "aggregation seq-mean-token-sum-norm": audited(log, replace(GRPO, aggregation=ConstantNormalizer())),
        "groups beyond 8 tokens dropped": audited(log, replace(GRPO, selection=Deadline(tokens=8))),
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


def test_a_smaller_cap_pays_what_truncated_responses_were_paid_however_much_is_read_at_once(
        monkeypatch: pytest.MonkeyPatch) -> None:
    chunks_of(monkeypatch, 7)
    log = altered(sample(prompts=20), rewards=np.linspace(0.0, 1.0, 80))
    assert float(what_if(log, GRPO)["cut at 8 tokens"]) == pytest.approx(audited(cut(log, 8), GRPO))


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


def test_stops_of_kl_in_the_loss() -> None:
    log = sample(prompts=150)
    log = altered(log, kl=0.02 * np.maximum(log.lengths - 6, 0) * log.lengths)
    scheme = replace(GRPO, advantage=GroupMean(), penalties=(KL(coefficient=0.01, estimator="k1"),))
    needed = stops(log, scheme)["KL coefficient"].needed
    assert nothing(log, replace(scheme, penalties=(KL(coefficient=needed, estimator="k1"),)), audited(log, scheme))


def test_stops_of_the_exponent_of_length() -> None:
    log, scheme = sample(prompts=200), replace(GRPO, advantage=Raw(baseline=0.5))
    alpha = stops(log, scheme, reward=PLUS_MINUS)["aggregation by T^-α"]
    assert alpha.now is None
    assert 0.0 < alpha.needed < 1.0
    at = [audited(log, replace(scheme, aggregation=LengthPower(alpha=a)), reward=PLUS_MINUS)
          for a in (0.0, alpha.needed, 1.0)]
    assert at[0] * at[2] < 0
    assert abs(at[1]) < 2e-3 * max(map(abs, at))


def test_turning_one_kl_leaves_the_other() -> None:
    log = sample(prompts=150)
    log = altered(log, kl=0.2 * np.maximum(14 - log.lengths, 0))
    loss = KL(coefficient=0.02, estimator="k2")
    scheme = replace(GRPO, advantage=GroupMean(), penalties=(loss, KL(coefficient=0.01, place="reward")))
    found = stops(log, scheme)["KL coefficient"]
    assert found.knob == "KL coefficient (k1 in the reward)"
    turned = replace(scheme, penalties=(loss, KL(coefficient=found.needed, place="reward")))
    assert nothing(log, turned, audited(log, scheme))


def test_of_several_stops_the_nearest_is_told() -> None:
    log = sample(KNOWING, prompts=6, seed=1)
    paid = np.round(np.random.default_rng(1).random(len(log)), 1)

    def paying(x: float) -> ls.Rollouts:
        return altered(log, rewards=np.where(log.truncated, x, paid))

    moves = ls.coordinates(sharing=0.685, class_sharing=1.0, path_scale=3.0)
    there = [audited(paying(x), GRPO, coordinates=moves) for x in (1.0, 1.2, 1.6)]
    assert there[0] < 0 < there[1]
    assert there[2] < 0
    found = stops(paying(1.7), GRPO, coordinates=moves)["reward of truncated responses"]
    assert found.now == pytest.approx(1.7)
    assert 1.2 < found.needed < 1.6


def test_where_all_are_paid_alike_rounding_is_no_drift() -> None:
    """Means of tenths are not quite tenths: what that leaves has a sign, and no setting changes it."""
    log = ls.Rollouts([1, 3, 3, 1, 2, 3, 3, 2], [0.1] * 8, np.repeat([0, 1], 4),
                      correct=np.array([0, 1, 1, 1, 0, 1, 0, 0]))
    found = stops(log, replace(PPO, advantage=GAE(critic=Exact()), aggregation=TokenMean()))
    assert found["λ"].needed is None
    assert found["λ"].note.startswith("nothing moves between")
    assert (found["penalty per token"].needed, found["penalty per token"].note) == (0.0, "")
    # Where it leaves nothing at all there is nothing to stop.
    assert not stops(log, replace(PPO, advantage=Raw(baseline=0.2), aggregation=TokenMean()))


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
    assert str(found["aggregation by T^-α"]).endswith("no value between 0 and 1 stops it, the drift keeps its sign")
    assert found["value of a constant critic"].needed == pytest.approx(-1.0, abs=1e-3)


def test_the_three_treatments_of_truncated_responses() -> None:
    """A run at a cap that cuts 44 %: kept as wrong they fall fastest, removed slowest, masked between.

    That order is the published one (Skywork-OR1). That the share rises where they are removed does not come out here:
    with wrong responses longer, right ones become more frequent under all three, and that alone lowers it.
    """
    policy = ls.policies.two_paths(solve_rate=0.6, right=ls.lengths.lognormal(median=90, sigma=0.7),
                                   wrong=ls.lengths.lognormal(median=160, sigma=0.7), max_tokens=128)
    log = policy.sample(np.random.default_rng(2), prompts=400, group_size=16)
    assert 0.35 < log.truncated.mean() < 0.55
    found = [ls.audit(log, Scheme(advantage=GroupStandardized(), aggregation=TokenMean(), truncation=rule,
                                  group_size=16), what_if=False)[0].drift for rule in ("keep", "mask", "remove")]
    cut_per_kl = [float(each.truncation_rate) * float(each.length_per_kl) / float(each.length) for each in found]
    assert cut_per_kl[0] < cut_per_kl[1] < cut_per_kl[2] < 0
