"""Cells that differ in their policies alone are answered together: as one by one, whoever asks and in what order."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import lossim as ls
from tests.shared.sweeps import Shuffled, bits

START = dict(start=ls.policies.two_paths, right=ls.lengths.lognormal(median=12, sigma=0.5), max_tokens=48,
             wrong=ls.lengths.geometric(mean=20))
SCHEMES = [ls.schemes.grpo(), ls.schemes.ppo(gae_lambda=0.9), ls.schemes.dapo(prompts_per_step=4),
           ls.schemes.ppo(critic=ls.critics.Zero(), whiten=True), ls.schemes.opo(prompts_per_step=4),
           replace(ls.schemes.grpo(), name="entropy", penalties=(ls.penalties.Entropy(coefficient=0.01),)),
           replace(ls.schemes.grpo(), name="unsettled", doubts=(ls.schemes.Unsettled(unknown="version", options=(
               ("1", {"aggregation": ls.aggregation.TokenMean()}), ("2", {}), ("3", None))),))]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
@given(rates=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=3, unique=True), sharing=st.floats(0.1, 0.99))
@settings(max_examples=3, deadline=None)
def test_length_drift_is_that_of_drift(scheme: ls.Scheme, rates: list[float], sharing: float) -> None:
    grid = {"solve_rate": [*rates, 0.3], "path_scale": [0.0, 1.0]}
    if 0.3 in rates:
        grid["solve_rate"] = rates
    how = START | dict(scheme=scheme, kernels=ls.kernels(8), sharing=sharing)
    swept, whole = (ls.sweep(function, grid, **how) for function in (ls.length_drift, ls.drift))
    told = np.abs(whole.values["length_per_kl"]) > 1e-9
    for mine, theirs in ((swept.values["length_per_kl"], whole.values["length_per_kl"]), (swept.low, whole.low),
                         (swept.high, whole.high)):
        np.testing.assert_allclose(mine[told], theirs[told], rtol=1e-12)
    assert np.array_equal(np.isnan(swept.values["length_per_kl"]), np.isnan(whole.values["length_per_kl"]))
    assert np.array_equal(swept.sign, whole.sign)
    assert np.array_equal(swept.decided, whole.decided)
    assert [each.inputs for each in swept.failures] == [each.inputs for each in whole.failures]


GRID = {"solve_rate": np.linspace(0.05, 0.95, 11), "gae_lambda": [0.9, 1.0], "sharing": [0.5, 0.9]}
HOW = START | dict(scheme=ls.schemes.ppo(critic=ls.critics.Zero()), kernels=ls.kernels(4))


def test_whoever_computes_them_and_where_it_was_killed_the_same_bits(tmp_path: Path) -> None:
    alone = bits(ls.sweep(ls.length_drift, GRID, **HOW))
    with ThreadPoolExecutor(3) as threads:
        assert bits(ls.sweep(ls.length_drift, GRID, **HOW, executor=threads)) == alone
    assert bits(ls.sweep(ls.length_drift, GRID, **HOW, executor=Shuffled(1, 3))) == alone
    store = tmp_path / "store"
    ls.sweep(ls.length_drift, GRID, **HOW, store=store)
    lines = store.read_bytes().splitlines(keepends=True)
    store.write_bytes(b"".join(lines[:1] + lines[7:8] + lines[20:33]))
    assert bits(ls.sweep(ls.length_drift, GRID, **HOW, store=store)) == alone
    assert sorted(store.read_bytes().splitlines()) == sorted(line.strip() for line in lines)


ASKED: list[int] = []


def doubled(scheme: ls.Scheme, policy: ls.Policy, *, most: float) -> float:
    ASKED.append(1)
    if policy.mean_length > most:
        raise ValueError("too long")
    return 2.0 * policy.mean_length


def all_doubled(scheme: ls.Scheme, policies: Sequence[ls.Policy], *, most: float) -> list[float]:
    if max(policy.mean_length for policy in policies) > most:
        raise ValueError("one of them")
    ASKED.append(len(policies))
    return [2.0 * policy.mean_length for policy in policies]


doubled.many = all_doubled  # type: ignore[attr-defined]


def test_a_function_with_many_is_asked_for_mates_together_and_alone_where_one_fails() -> None:
    how = START | dict(scheme=[ls.schemes.grpo(), ls.schemes.dr_grpo()])
    grid = {"solve_rate": [0.1, 0.5, 0.9, 1.2], "group_size": [4, 8], "max_tokens": [32, 48]}
    del how["max_tokens"]
    ASKED.clear()
    swept = ls.sweep(doubled, grid, **how, most=1e3)
    assert ASKED == [6, 6, 6, 6]  # of each scheme and group size: three solve rates that there are, two caps
    assert len(swept.failures) == 8
    assert {failure.kind for failure in swept.failures} == {"solve_rate"}
    policies = [ls.policies.two_paths(**{k: v for k, v in START.items() if k not in ("start", "max_tokens")},
                                      solve_rate=0.5, max_tokens=cap) for cap in (32, 48)]
    assert swept.at(scheme="grpo", group_size=4, solve_rate=0.5).values["doubled"].tolist() == [
        2.0 * policy.mean_length for policy in policies]
    ASKED.clear()
    short = ls.sweep(doubled, grid, **how, most=float(policies[0].mean_length))
    assert sum(ASKED) == 24
    assert {failure.message for failure in short.failures} == {"solve_rate must lie in [0, 1], got 1.2", "too long"}


def test_many_needs_policies_and_policies_need_to_be_some() -> None:
    assert ls.length_drift.many(ls.schemes.grpo(), []) == []  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="policies"):
        ls.length_drift.many(ls.schemes.grpo(), ["a"])  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="scheme must be a Scheme"):
        ls.length_drift("grpo", ls.policies.two_paths(**{k: v for k, v in START.items() if k != "start"},
                                                      solve_rate=0.5))  # type: ignore[arg-type]


def test_a_frozen_law_prints_its_name_and_its_parameters() -> None:
    law = ls.lengths.from_scipy(stats.gamma(2.5, scale=8))
    swept = ls.sweep(ls.length_drift, {"solve_rate": [0.3, 0.6]}, **HOW | dict(right=law))
    assert "start.right from_scipy(dist=gamma(2.5, scale=8))" in str(swept)


def test_what_it_prints() -> None:
    policy = ls.policies.two_paths(**{k: v for k, v in START.items() if k != "start"}, solve_rate=0.5)
    for scheme in SCHEMES[:3]:
        found, whole = ls.length_drift(scheme, policy), ls.drift(scheme, policy)
        assert found.verdict.split(",")[0] == whole.verdict.split(",")[0]
        assert found.range == pytest.approx(whole.range, rel=1e-12)
        assert found.decided == (not any(doubt.turns for doubt in whole.doubts))
    still = ls.length_drift(SCHEMES[0], ls.policies.two_paths(**{k: v for k, v in START.items() if k != "start"},
                                                              solve_rate=0.0))
    assert still.verdict == "nothing moves"
    assert "entropy" in ls.length_drift(SCHEMES[5], policy).verdict
