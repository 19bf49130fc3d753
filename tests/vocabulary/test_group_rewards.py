"""Rewards that compare a group: against plain Python loops over its responses, hand numbers, and their own limits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrays import BoolArray, FloatArray, IntArray
from lossim.rewards import (
    ALP,
    GR3,
    Discount,
    GroupShaping,
    KimiLength,
    LaserD,
    LengthZScore,
    LinearPenalty,
    PassRateLength,
    Reward,
    ShorterBetter,
    StopProperly,
)
from shapings import GROUP_SHAPINGS, UNITLESS, Plain

Rows = list[tuple[int, bool, bool, bool]]
groups = st.lists(st.tuples(st.integers(1, 60), st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=8)
each = pytest.mark.parametrize("shaping", [shaping for shaping, _ in GROUP_SHAPINGS.values()], ids=list(GROUP_SHAPINGS))


def columns(rows: Rows) -> tuple[IntArray, BoolArray, BoolArray, BoolArray]:
    table = np.array(rows, dtype=np.int64)
    return table[:, 0], table[:, 1] == 1, table[:, 2] == 1, table[:, 3] == 1


@pytest.mark.parametrize(("shaping", "plain"), list(GROUP_SHAPINGS.values()), ids=list(GROUP_SHAPINGS))
@given(groups, st.sampled_from([0.0, -1.0]))
def test_response_by_response(shaping: GroupShaping, plain: Plain, rows: Rows, incorrect: float) -> None:
    values = Reward(correct=2.0, incorrect=incorrect, shaping=shaping).group_values(*columns(rows))
    counted = [row for row in rows if row[3]]
    paid = [2.0 if right else incorrect for _, right, _, _ in counted]
    if counted:
        expected = iter(plain([row[0] for row in counted], [row[1] for row in counted], paid))
        for value, (_, right, _, inside) in zip(values, rows, strict=True):
            assert value == pytest.approx(next(expected) if inside else 2.0 if right else incorrect, abs=1e-12)


@each
@given(groups)
def test_what_is_not_counted_might_as_well_be_absent(shaping: GroupShaping, rows: Rows) -> None:
    reward = Reward(incorrect=-1, truncated=-2, shaping=shaping)
    length, correct, truncated, counted = columns(rows)
    values = reward.group_values(length, correct, truncated, counted)
    plain = dataclasses.replace(reward, shaping=None).values(length, correct, truncated)
    np.testing.assert_array_equal(values[~counted], plain[~counted])
    if counted.any():
        alone = reward.group_values(length[counted], correct[counted], truncated[counted])
        np.testing.assert_allclose(values[counted], alone)


@each
def test_groups_do_not_see_one_another(shaping: GroupShaping) -> None:
    reward = Reward(shaping=(shaping, LinearPenalty(slope=0.01)))
    length = np.array([[3, 8, 20], [5, 5, 5], [9, 1, 4]])
    correct = np.array([[True, True, False], [True, False, True], [True, True, True]])
    together = reward.group_values(length, correct, False)
    for row in range(3):
        np.testing.assert_allclose(together[row], reward.group_values(length[row], correct[row], False))


@pytest.mark.parametrize("name", UNITLESS)
@given(groups, st.integers(2, 9))
def test_some_have_no_unit_of_length(name: str, rows: Rows, scale: int) -> None:
    length, correct, truncated, counted = columns(rows)
    reward = Reward(shaping=GROUP_SHAPINGS[name][0])
    one, other = (reward.group_values(k * length, correct, truncated, counted) for k in (1, scale))
    np.testing.assert_allclose(one, other, atol=1e-12)


SIGMA = 1 / (1 + math.e)


@pytest.mark.parametrize(("shaping", "length", "right", "expected"), [
    (KimiLength(), [10, 10, 20, 30, 30], [1, 0, 1, 1, 0], [1.5, 0, 1, 0.5, -0.5]),
    # right ones at 10 and 30: mean 20, population standard deviation 10, z = -1 and 1
    (LengthZScore(alpha=0.5), [10, 30, 90], [1, 1, 0], [1 - 0.5 * SIGMA, 1 - 0.5 * (1 - SIGMA), 0]),
    (ALP(beta=0.001), [100, 200, 400, 800], [1, 1, 1, 0], [0.925, 0.85, 0.7, -0.6]),
    (ALP(beta=0.001), [100, 200, 400, 800], [0, 0, 0, 0], [-0.025, -0.05, -0.1, -0.2]),  # as if one were right
    (PassRateLength(), [100, 200, 400, 800], [1, 1, 0, 0], [1 - 1 / 64, 1 - 1 / 32, -1 / 16, -1 / 8]),
    (PassRateLength(), [100, 800], [0, 0], [0, 0]),
    (LaserD(easy=100, medium=200, hard=300), [100, 101, 300], [1, 1, 1], [1.5, 1, 1]),
    (LaserD(easy=100, medium=200, hard=300), [100, 101, 300], [1, 1, 0], [1.5, 1, 0]),  # two thirds are easy
    (LaserD(easy=100, medium=200, hard=300), [201, 101, 300], [0, 1, 0], [0, 1.5, 0]),  # one third is medium
    (LaserD(easy=100, medium=200, hard=300), [300, 1, 1, 1], [1, 0, 0, 0], [1.5, 0, 0, 0]),
    (ShorterBetter(), [500, 700, 900], [0, 1, 1], [-0.2, 1, 0.8]),
    (ShorterBetter(), [500, 700, 900], [0, 0, 0], [-0.2, 0, -0.2]),
    (GR3(alpha=0.5), [100, 300], [1, 1], [0.8, 4 / 7]),
    (GR3(alpha=0), [100, 300], [1, 1], [1, 1]),
])
def test_by_hand(shaping: GroupShaping, length: list[int], right: list[int], expected: list[float]) -> None:
    values = Reward(shaping=shaping).group_values(length, np.array(right) == 1, False)
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_a_group_of_one_has_nothing_to_compare() -> None:
    alone = [7], [True], [False]
    for shaping, expected in ((KimiLength(), 1.0), (LengthZScore(alpha=0.4), 0.8), (ShorterBetter(), 1.0),
                              (ALP(beta=0.01), 0.93), (PassRateLength(), 0.75), (GR3(alpha=1.0), 0.5)):
        assert Reward(shaping=shaping).group_values(*alone) == pytest.approx(expected), shaping


def test_shapings_of_both_kinds_mix_in_order() -> None:
    args = ([10, 30], [True, True], [False, True])
    first = Reward(shaping=(StopProperly(coefficient=0), KimiLength())).group_values(*args)
    last = Reward(shaping=(KimiLength(), StopProperly(coefficient=0))).group_values(*args)
    np.testing.assert_allclose(first, [1.5, -0.5])
    np.testing.assert_allclose(last, [1.5, 0])


def test_group_relative_says_which_call_to_make() -> None:
    assert not Reward().group_relative
    assert not Reward(shaping=Discount(gamma=0.9)).group_relative
    reward = Reward(shaping=(Discount(gamma=0.9), KimiLength()))
    assert reward.group_relative
    with pytest.raises(ValueError, match=r"shaping must not compare .*KimiLength\(weight=1.0\).*; use group_values"):
        reward.values([1], [True], [False])


@pytest.mark.parametrize(("make", "message"), [
    (lambda: LengthZScore(alpha=-0.1), r"alpha must lie in \[0, 1\], got -0.1"),
    (lambda: GR3(alpha=-0.1), r"alpha must lie in \[0, inf\], got -0.1"),
    (lambda: LaserD(easy=0, medium=1, hard=2), r"easy must lie in \[1, inf\], got 0"),
    (lambda: Reward(shaping=KimiLength()).group_values(4, True, False), r"length must have the responses of a group"),
])
def test_bad_input_is_met_with_value_rule_and_fix(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_group_shaping_of_ones_own() -> None:
    class Shortest(GroupShaping):
        def in_group(
            self, reward: FloatArray, length: FloatArray, correct: BoolArray, counted: BoolArray
        ) -> FloatArray:
            return reward + (length == length.min(axis=-1, keepdims=True))

    reward = Reward(shaping=Shortest())
    assert reward.group_relative
    np.testing.assert_array_equal(reward.group_values([4, 2], [True, False], False), [1, 1])
