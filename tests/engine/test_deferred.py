"""What a drift holds is worked out when somebody looks: whoever looks, and however, sees the same."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import numpy as np
import pytest

import lossim as ls

FIELDS = [each.name for each in fields(ls.Drift)]


@pytest.fixture
def drift() -> ls.Drift:
    right, wrong = (ls.lengths.lognormal(median=median, sigma=0.5) for median in (20, 40))
    policy = ls.policies.two_paths(solve_rate=0.3, right=right, wrong=wrong, max_tokens=128)
    return ls.drift(ls.schemes.grpo(kl=0.01), policy, reference=policy.moved(np.full(policy.motion.size, 0.1)))


def same(one: ls.Drift, other: ls.Drift) -> None:
    for name in FIELDS:
        mine, its = getattr(one, name), getattr(other, name)
        if isinstance(mine, ls.Estimate):
            np.testing.assert_array_equal(mine.value, its.value, err_msg=name)
            np.testing.assert_array_equal(mine.error, its.error, err_msg=name)
    assert one.notes == other.notes
    assert str(one) == str(other)


def test_nothing_is_worked_out_before_somebody_looks(drift: ls.Drift) -> None:
    assert not {"length", "doubts"} & set(vars(drift))
    assert drift.length is drift.length
    assert "doubts" not in vars(drift)
    assert drift.verdict
    assert "doubts" in vars(drift)


@pytest.mark.parametrize("how", [copy.copy, lambda x: pickle.loads(pickle.dumps(x)), lambda x: replace(x)])
def test_copies_hold_all_of_it(drift: ls.Drift, how: object) -> None:
    copied = how(drift)  # type: ignore[operator]
    assert set(FIELDS) <= set(vars(copied)) | {"paced"}
    same(copied, drift)


def test_the_order_of_looking_changes_nothing(drift: ls.Drift) -> None:
    other = drift.but()
    for name in reversed(FIELDS):
        getattr(other, name)
    same(other, drift)


def test_threads_see_the_same(drift: ls.Drift) -> None:
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda name: getattr(drift, name), FIELDS * 4))
    for first, again in zip(seen, seen[-len(FIELDS):], strict=False):
        if isinstance(first, ls.Estimate):
            np.testing.assert_array_equal(first.value, again.value)


def test_what_is_not_there_is_no_attribute(drift: ls.Drift) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'lenght'"):
        _ = drift.lenght  # type: ignore[attr-defined]
