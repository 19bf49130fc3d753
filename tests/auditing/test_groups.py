"""Groups that tell nothing, and logs whose responses are long or cut: what a verdict says of them."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

import lossim as ls
from lossim import schemes, selection
from tests.shared.sizes import slabs_kept_up_to


def test_a_group_of_one_is_not_dead_and_gets_what_its_estimator_gives() -> None:
    log = ls.Rollouts(lengths=[3, 9, 5, 8, 4, 4], rewards=[1, 0, 1, 0, 0, 0], prompt_ids=[0, 1, 2, 3, 4, 4])
    found = ls.audit(schemes.grpo(), log, replicates=0)[0]
    assert found.dead_groups == 0.2  # the pair alone
    assert float(found.length) < 0.0  # a short response was right
    assert "4 of 5 groups have one response, which is compared with nothing and gets the reward itself" in found.notes
    nothing = ls.audit(schemes.rloo(), log, replicates=0)[0]
    assert "which is compared with nothing and gets no credit" in " ".join(nothing.notes)


@pytest.mark.parametrize("kept", [0, 1 << 22])
def test_schemes_side_by_side_say_what_each_says_alone(monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    """They share what they see of a group, which none of them may change."""
    slabs_kept_up_to(monkeypatch, kept)
    policy = ls.policies.two_paths(solve_rate=0.7, right=ls.lengths.lognormal(median=8, sigma=0.6),
                                   wrong=ls.lengths.lognormal(median=16, sigma=0.7), max_tokens=32)
    log = policy.sample(np.random.default_rng(0), prompts=60, group_size=4)
    some = [schemes.dapo(), schemes.reinforce_plus_plus(), schemes.grpo(), schemes.dr_grpo(), schemes.ppo(),
            replace(schemes.grpo(), truncation="remove"), schemes.reinforce_plus_plus_baseline(),
            replace(schemes.dapo(), selection=selection.Deadline(tokens=20)), schemes.rloo()]
    together = ls.audit(some, log, replicates=20)
    for scheme, found in zip(some, together, strict=True):
        alone = ls.audit(scheme, log, replicates=20, what_if=False)[0]
        assert float(found.length) == float(alone.length)
        assert float(found.length_per_kl.stderr) == float(alone.length_per_kl.stderr)
        assert float(found.covariance) == float(alone.covariance)
        assert np.array_equal(found.sources.value, alone.sources.value)
        assert np.array_equal(found.token_weight, alone.token_weight)
        assert np.array_equal(found.mean_advantage, alone.mean_advantage)


def test_dynamic_sampling_keeps_groups_of_one() -> None:
    """As verl's filter does, and as GRPO credits them."""
    log = ls.Rollouts(lengths=[3, 9, 5, 8], rewards=[1, 0, 1, 0], prompt_ids=[0, 1, 2, 3])
    assert float(ls.audit(schemes.dapo(), log, replicates=0)[0].length) < 0.0


def test_a_log_of_dead_groups_is_unknown_to_what_compares_responses() -> None:
    log = ls.Rollouts(lengths=[3, 9, 5, 8], rewards=[1, 1, 0, 0], prompt_ids=[0, 0, 1, 1])
    found = ls.audit([schemes.grpo(), schemes.ppo()], log, replicates=0)
    assert found[0].all_dead
    assert found[0].verdict == ("unknown: all groups are dead, so no preset that compares responses can be told from "
                                "this log")
    assert not found[1].all_dead
    assert "unknown" not in found[1].verdict


@pytest.mark.parametrize(("cut", "said"), [(3, "; most responses, 75 %, are cut at 9 tokens"), (2, "")])
def test_the_cap_is_named_where_it_cuts_most(cut: int, said: str) -> None:
    truncated = np.arange(4) < cut
    log = ls.Rollouts(lengths=np.where(truncated, 9, 5), rewards=[0, 0, 1, 0], prompt_ids=[0, 0, 0, 0],
                      truncated=truncated)
    verdict = ls.audit(schemes.grpo(), log, replicates=0).verdict
    assert verdict.endswith(said) if said else "cut at" not in verdict


def test_few_long_responses_are_summed_by_their_lengths() -> None:
    """An adaptive λ takes as many sums as there are lengths, not the cap squared; and redrawn logs are fewer."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3000, 32000, 25)
    log = ls.Rollouts(lengths=lengths, rewards=rng.random(25) < 0.6, prompt_ids=np.arange(25) // 5)
    start = time.process_time()
    found = ls.audit([schemes.vapo(), schemes.grpo()], log)
    assert time.process_time() - start < 20.0
    assert found.provenance["replicates"] == 67
    assert any("standard errors rest on 67 redrawn logs" in note for note in found.notes)
