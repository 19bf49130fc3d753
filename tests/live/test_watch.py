"""The engine beside a run: its numbers are those of an audit made afterwards, and nothing that goes wrong gets out."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

import lossim as ls

CAP, GROUP, PROMPTS = 96, 4, 80


def rows(step: int, levels: int = 2) -> dict[str, Any]:
    """Responses that get longer and better by the step."""
    policy = ls.policies.two_paths(solve_rate=0.3 + 0.03 * step, right=ls.lengths.geometric(mean=15 + step),
                                   wrong=ls.lengths.geometric(mean=40), max_tokens=CAP)
    log = policy.sample(np.random.default_rng(step), prompts=PROMPTS, group_size=GROUP)
    rewards = log.rewards if levels == 2 else log.rewards + 0.1 * (log.lengths % levels)
    return {"lengths": log.lengths, "rewards": rewards, "prompt_ids": log.prompt_ids + 100 * step,
            "truncated": log.truncated}


def joined(steps: range, **how: Any) -> ls.Rollouts:
    """The log of these steps, put together by hand."""
    every = [rows(step, **how) for step in steps]
    columns = {name: np.concatenate([each[name] for each in every]) for name in every[0]}
    return ls.Rollouts(**columns, steps=np.repeat(np.array(steps), PROMPTS * GROUP))


def test_numbers_are_those_of_an_audit_made_afterwards() -> None:
    scheme = ls.schemes.grpo()
    watch = ls.live.Watch(scheme, max_tokens=CAP, window=3, budget=None, until=20)
    found = [watch.step(step, **rows(step)) for step in range(1, 6)]
    for step, said in enumerate(found, start=1):
        log = joined(range(max(1, step - 2), step + 1))
        audit = ls.audit(scheme, log, what_if=False, max_tokens=CAP, replicates=20,
                         pace=ls.pace(log) if step > 1 else None)
        drift = audit.findings[0].drift
        by_outcome = [float(drift.source(outcome=name)) for name in ("correct", "incorrect", "truncated")]
        groups = log.rewards.reshape(-1, GROUP)
        right = {"drift": float(drift.length_per_kl), "drift_stderr": float(drift.length_per_kl.stderr),
                 "drift_low": audit.range[0], "drift_high": audit.range[1],
                 "dead_groups": np.mean(groups.min(axis=1) == groups.max(axis=1)),
                 "cut_share": log.truncated.mean(), "mean_length": log.lengths.mean(),
                 "responses": len(log), "steps": min(step, 3), "graded": 1.0, "errors": 0.0, "share_seen": 1.0,
                 "left_out": 0.0}
        assert {name: said[f"lossim/{name}"] for name in right} == pytest.approx(right, rel=1e-12)
        parts = [said[f"lossim/from_{name}"] for name in ("correct", "incorrect", "truncated")]
        scale = float(drift.length_per_kl) / float(drift.length)
        assert sum(parts) == pytest.approx(sum(by_outcome) * scale, rel=1e-9)
        roles = sum(said[f"lossim/from_{name}"] for name in ("stop", "go_on", "path"))
        assert roles == pytest.approx(float(drift.length_per_kl), rel=1e-9)
        penalty = ls.stops(scheme, log, "penalty", max_tokens=CAP).stops[0].needed
        assert said.get("lossim/stop_penalty") == (None if penalty is None else pytest.approx(penalty, rel=1e-12))
        told = audit.findings[0].significant and not audit.findings[0].undecided
        assert said["lossim/way"] == (np.sign(float(drift.length)) if told else 0)
        if step > 1:
            paced = float(drift.paced.length_per_step)
            assert said.get("lossim/tokens_per_step", np.nan) == pytest.approx(paced, rel=1e-12, nan_ok=True)
    assert "lossim/tokens_per_step" in found[-1]
    # forecasts, from the third step of the window on
    said, ahead = found[-1], ls.forecast(scheme, joined(range(3, 6)), steps=15, max_tokens=CAP)
    assert "lossim/forecast" not in found[1]
    assert said["lossim/forecast_step"] == 20
    assert [said[f"lossim/forecast{end}"] for end in ("", "_low", "_high", "_longer")] == pytest.approx(
        [ahead.length[-1], ahead.low[-1], ahead.high[-1], ahead.longer[-1]], rel=1e-12)
    assert set().union(*found) <= {f"lossim/{name}" for name in ls.live.METRICS}
    assert watch.verdict.startswith("grpo: ")


def test_the_way_is_told_where_it_is() -> None:
    """Wrong responses that are right ones gone on to the cap: cut off, they are blamed, and length falls."""
    watch = ls.live.Watch(ls.schemes.grpo(), max_tokens=32, budget=None)
    rng = np.random.default_rng(1)
    lengths = np.where(rng.random(400) < 0.6, rng.integers(5, 20, size=400), 32)
    said = watch.step(1, lengths=lengths, rewards=(lengths < 32).astype(float), prompt_ids=np.arange(400) // 8,
                      truncated=lengths == 32)
    assert said["lossim/way"] == -1
    assert said["lossim/decided"] == 1
    assert said["lossim/drift_high"] < 0
    assert said["lossim/cut_share"] == pytest.approx(np.mean(lengths == 32))


def test_rewards_of_many_levels_are_one_path_unless_told() -> None:
    scheme, log = ls.schemes.dr_grpo(), joined(range(1, 2), levels=3)
    one = ls.live.Watch(scheme, max_tokens=CAP, budget=None).step(1, **rows(1, levels=3))
    two = ls.live.Watch(scheme, max_tokens=CAP, budget=None, correct_above=0.9).step(1, **rows(1, levels=3))
    for said, how in ((one, {"paths": "one"}), (two, {"correct_above": 0.9})):
        audit = ls.audit(scheme, log, what_if=False, max_tokens=CAP, replicates=20, **how)
        assert said["lossim/drift"] == float(audit.findings[0].length_per_kl)
    assert (one["lossim/graded"], two["lossim/graded"]) == (0, 1)


def test_responses_of_a_step_may_come_in_parts() -> None:
    whole, parts = (ls.live.Watch(ls.schemes.grpo(), max_tokens=CAP, budget=None) for _ in range(2))
    every = rows(1)
    said = whole.step(1, **every)
    for part in (slice(0, 8), slice(8, None)):
        last = parts.step(1, **{name: column[part] for name, column in every.items()})
    timed = {"lossim/seconds", "lossim/share_of_time"}
    assert {k: v for k, v in last.items() if k not in timed} == {k: v for k, v in said.items() if k not in timed}


def test_dead_groups_move_nothing() -> None:
    watch = ls.live.Watch(ls.schemes.grpo(), max_tokens=CAP, budget=None)
    said = watch.step(1, lengths=[3, 5, 4, 9], rewards=[1, 1, 1, 1], prompt_ids=[0, 0, 1, 1])
    assert said["lossim/dead_groups"] == 1
    assert said["lossim/way"] == said["lossim/decided"] == said["lossim/errors"] == 0
    assert "lossim/drift" not in said


BAD: list[dict[str, Any]] = [
    {"lengths": [0, 3], "rewards": [1.0, 0.0], "prompt_ids": [0, 0]},
    {"lengths": [2, 3], "rewards": [1.0, float("nan")], "prompt_ids": [0, 0]},
    {"lengths": [2, 3], "rewards": [1.0], "prompt_ids": [0, 0]},
    {"lengths": [2, CAP + 1], "rewards": [1.0, 0.0], "prompt_ids": [0, 0]},
    {"lengths": [2, 3], "rewards": [1.0, 0.0], "prompt_ids": [0, 0], "truncated": [True, True]},
    {"lengths": None, "rewards": "a", "prompt_ids": object()},
]


def test_errors_are_counted_said_once_and_stay_inside(caplog: pytest.LogCaptureFixture) -> None:
    watch = ls.live.Watch(ls.schemes.grpo(), max_tokens=CAP, budget=None, window=1)
    with caplog.at_level(logging.WARNING, logger="lossim.live"):
        for count, bad in enumerate(BAD, start=1):
            said = watch.step(count, **bad)
            assert said["lossim/errors"] == count
            assert "lossim/drift" not in said
    assert len(caplog.records) == 1
    assert "the run goes on" in caplog.records[0].getMessage()
    assert watch.step(9, **rows(1))["lossim/drift"] != 0  # and it goes on itself


def test_a_budget_skips_audits_and_keeps_the_responses() -> None:
    watch = ls.live.Watch(ls.schemes.grpo(), max_tokens=CAP, budget=1e-6)
    said = [watch.step(step, **rows(step)) for step in (1, 2, 3)]
    assert ["lossim/drift" in each for each in said] == [True, False, False]
    assert len(watch.rollouts) == 3 * PROMPTS * GROUP
    assert 0 < said[-1]["lossim/share_of_time"] <= 1


def test_a_watch_that_was_told_nothing_says_so() -> None:
    watch = ls.live.Watch(ls.schemes.grpo())
    assert watch.verdict == ""
    with pytest.raises(ValueError, match="no responses came yet"):
        _ = watch.rollouts


def test_a_window_of_failures_is_left_behind() -> None:
    """A step whose cut responses are of two lengths fails, and so does what is audited with it; then it is gone."""
    watch = ls.live.Watch(ls.schemes.grpo(), max_tokens=CAP, budget=None, window=2, until=3)
    bad = rows(1) | {"truncated": np.ones(PROMPTS * GROUP, dtype=bool)}
    said = [watch.step(step, **(bad if step == 1 else rows(step))) for step in (1, 2, 3)]
    assert ["lossim/drift" in each for each in said] == [False, False, True]
    assert said[-1]["lossim/errors"] == 2


@pytest.mark.parametrize(("how", "rule"), [({"window": 0}, "window must be at least 1"),
                                           ({"budget": 2.0}, r"budget must lie in \[0, 1\]"),
                                           ({"replicates": -1}, "replicates must be at least 0")])
def test_bad_arguments(how: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        ls.live.Watch(ls.schemes.grpo(), **how)
