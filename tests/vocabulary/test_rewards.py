"""Rewards and shapings of single responses: against hand numbers and their own limits."""

from __future__ import annotations

import dataclasses
import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lossim.rewards
from arrays import FloatArray, IntArray
from lossim import Outcome
from lossim.rewards import (
    Cosine,
    Discount,
    Laser,
    LCPOExact,
    LCPOMax,
    LinearPenalty,
    MissingEOS,
    Reward,
    Shaping,
    SoftOverlong,
    StopProperly,
)
from shapings import GROUP_SHAPINGS

RIGHT, WRONG, CUT = Outcome.CORRECT, Outcome.INCORRECT, Outcome.TRUNCATED
token_counts = st.integers(1, 40_000)
rewards = st.floats(-10, 10)


def shaped(shaping: Shaping, reward: float, length: float, outcome: Outcome) -> float:
    result = shaping(np.array([reward]), np.array([float(length)]), np.array([outcome]))
    assert result.shape == (1,)
    return float(result[0])


# --- the plain reward --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reward", "expected"), [
    (Reward(), [1, 0, 1, 0]),
    (Reward(correct=2, incorrect=-1), [2, -1, 2, -1]),
    (Reward(correct=2, incorrect=-1, truncated=-3), [2, -1, -3, -3]),
    (Reward(truncated=0.0), [1, 0, 0, 0]),
])
def test_grades_and_truncation(reward: Reward, expected: list[float]) -> None:
    values = reward.values([5, 6, 9, 9], [True, False, True, False], [False, False, True, True])
    np.testing.assert_array_equal(values, expected)


def test_arrays_broadcast_to_cells_grades_and_ends() -> None:
    """[grade, 1] against [end]: the layout of all the ways to end, N = 3."""
    length = np.array([1, 2, 3, 3])
    truncated = np.array([False, False, False, True])
    grade = np.array([[True], [False]])
    reward = Reward(incorrect=-1, shaping=(LinearPenalty(slope=0.1), MissingEOS(penalty=2)))
    expected = [[0.9, 0.8, 0.7, -1.3], [-1.1, -1.2, -1.3, -3.3]]
    np.testing.assert_allclose(reward.values(length, grade, truncated), expected)
    np.testing.assert_allclose(reward.group_values(length, grade, truncated), expected)
    assert reward.values(7, True, False).shape == ()


def test_shapings_apply_in_the_order_given() -> None:
    half, less = StopProperly(coefficient=0.5), MissingEOS(penalty=1)
    assert Reward(shaping=(half, less)).values(9, True, True) == -0.5
    assert Reward(shaping=(less, half)).values(9, True, True) == 0.0
    assert Reward(shaping=[half, less]) == Reward(shaping=(half, less))


def test_one_shaping_or_none_need_no_tuple() -> None:
    assert Reward(shaping=(MissingEOS(penalty=1),)) == Reward(shaping=MissingEOS(penalty=1))
    assert Reward(shaping=()) == Reward() == Reward(shaping=[])
    assert Reward().shaping is None


def test_a_custom_shaping_sees_arrays_of_one_shape() -> None:
    seen: list[tuple[FloatArray, FloatArray, IntArray]] = []

    def bonus(reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        seen.append((reward, length, outcome))
        reward += np.where(outcome == RIGHT, 1 / length, 0)  # in place: the array is the shaping's to keep
        return reward

    reward = Reward(shaping=(bonus, Discount(gamma=0.5)))
    values = reward.values([1, 2, 4], [[True], [False]], [False, False, True])
    np.testing.assert_allclose(values, [[1.0, 0.375, 0.0625], [0, 0, 0]])
    assert [array.shape for array in seen[0]] == [(2, 3)] * 3
    np.testing.assert_array_equal(seen[0][2], [[RIGHT, RIGHT, CUT], [WRONG, WRONG, CUT]])
    np.testing.assert_allclose(reward.values([1, 2, 4], [[True], [False]], [False, False, True]), values)


# --- shapings by hand --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shaping", "reward", "length", "outcome", "expected"), [
    (LinearPenalty(slope=0.01), 1, 30, RIGHT, 0.7),
    (LinearPenalty(slope=0.01, free=20), 1, 30, WRONG, 0.9),
    (LinearPenalty(slope=0.01, free=20), 1, 20, CUT, 1),
    (LinearPenalty(slope=0.01, free=20), -1, 3, WRONG, -1),
    (LinearPenalty(slope=-0.01), 0, 50, WRONG, 0.5),
    (SoftOverlong(max_tokens=16384, buffer=4096), 1, 12288, RIGHT, 1),
    (SoftOverlong(max_tokens=16384, buffer=4096), 1, 12289, RIGHT, 1 - 1 / 4096),
    (SoftOverlong(max_tokens=16384, buffer=4096), 1, 13312, RIGHT, 0.75),
    (SoftOverlong(max_tokens=16384, buffer=4096), -1, 16384, CUT, -2),
    (SoftOverlong(max_tokens=16384, buffer=4096), 1, 18432, RIGHT, 0),
    (SoftOverlong(max_tokens=16384, buffer=4096, capped=False), 1, 18432, RIGHT, -0.5),
    (SoftOverlong(max_tokens=16384, buffer=4096, capped=False), 1, 5, RIGHT, 1),
    (SoftOverlong(max_tokens=100, buffer=50, factor=0.4), 1, 75, WRONG, 0.8),
    (SoftOverlong(max_tokens=100, buffer=100), 0, 1, WRONG, -0.01),
    (Cosine(max_tokens=1000), 7, 500, RIGHT, 1.5),
    (Cosine(max_tokens=1000), 7, 1000, RIGHT, 1),
    (Cosine(max_tokens=1000), 7, 250, RIGHT, 1.5 + math.sqrt(2) / 4),
    (Cosine(max_tokens=1000), 7, 500, WRONG, -5),
    (Cosine(max_tokens=1000), 7, 1000, WRONG, 0),
    (Cosine(max_tokens=1000), 7, 2000, WRONG, 0),
    (Cosine(max_tokens=1000), 7, 1000, CUT, 0),
    (Cosine(max_tokens=1000, exceed=-10), 7, 1000, CUT, -10),
    (Cosine(max_tokens=1000, exceed=-10), 7, 1000, WRONG, 0),
    (Cosine(max_tokens=1000, correct=(1, 0.5), incorrect=(-1, -0.5)), 7, 500, WRONG, -0.75),
    (Discount(gamma=0.9), 1, 2, RIGHT, 0.81),
    (Discount(gamma=0.9), -1, 2, CUT, -0.81),
    (Discount(gamma=0.5), 1, 40_000, RIGHT, 0),
    (Discount(gamma=1), 0.3, 40_000, RIGHT, 0.3),
    (Discount(gamma=0), 0.3, 1, RIGHT, 0),
    (MissingEOS(penalty=1), 0.5, 9, CUT, -0.5),
    (MissingEOS(penalty=1), 0.5, 9, RIGHT, 0.5),
    (StopProperly(coefficient=0.25), 1, 9, CUT, 0.25),
    (StopProperly(coefficient=0.25), -1, 9, CUT, -0.25),
    (StopProperly(coefficient=0), -1, 9, CUT, 0),
    (StopProperly(coefficient=3), 2, 9, CUT, 6),
    (StopProperly(coefficient=-0.5), 1, 9, CUT, -0.5),
    (StopProperly(coefficient=-0.5), -1, 9, CUT, -0.5),
    (StopProperly(coefficient=-0.5), 1, 9, WRONG, 1),
    (Laser(target=500), 1, 500, RIGHT, 1.5),
    (Laser(target=500), 1, 501, RIGHT, 1),
    (Laser(target=500), -0.5, 5, WRONG, -0.5),
    (Laser(target=500, alpha=0.2), -0.5, 5, CUT, -0.5),
])
def test_shapings_by_hand(shaping: Shaping, reward: float, length: float, outcome: Outcome, expected: float) -> None:
    assert shaped(shaping, reward, length, outcome) == pytest.approx(expected, abs=1e-12)


@given(rewards, token_counts, st.sampled_from(Outcome), st.integers(1, 9000), st.floats(0, 3))
def test_soft_overlong_in_its_three_pieces(
    reward: float, length: int, outcome: Outcome, buffer: int, factor: float
) -> None:
    top = 9000
    if length <= top - buffer:
        expected = 0.0
    elif length <= top:
        expected = factor * ((top - buffer) - length) / buffer
    else:
        expected = -factor
    capped = shaped(SoftOverlong(max_tokens=top, buffer=buffer, factor=factor), reward, length, outcome)
    assert capped == pytest.approx(reward + expected, abs=1e-9)
    falling = shaped(SoftOverlong(max_tokens=top, buffer=buffer, factor=factor, capped=False), reward, length, outcome)
    line = min(-(length - (top - buffer)) / buffer * factor, 0.0)
    assert falling == pytest.approx(reward + line, abs=1e-9)


@given(st.integers(1, 3000), st.booleans())
def test_cosine_as_trl_and_ms_swift_have_it(length: int, right: bool) -> None:
    """By the formulas of both: TRL's get_cosine_scaled_reward(max_len=2000), ms-swift's cosine with its defaults."""
    progress = min(length / 2000, 1.0)
    least, most = (0.5, 1.0) if right else (-0.5, -1.0)
    trl = least + 0.5 * (most - least) * (1.0 + math.cos(progress * math.pi))
    outcome = RIGHT if right else WRONG
    assert shaped(Cosine(max_tokens=2000, correct=(1, 0.5), incorrect=(-1, -0.5)), 0, length, outcome) == (
        pytest.approx(trl, abs=1e-12))
    least, most = (0.5, 1.0) if right else (0.0, -0.5)
    swift = most - (most - least) * (1.0 - math.cos(progress * math.pi)) / 2.0
    assert shaped(Cosine(max_tokens=2000, correct=(1, 0.5), incorrect=(-0.5, 0)), 0, length, outcome) == (
        pytest.approx(swift, abs=1e-12))


@given(st.integers(1, 999), st.sampled_from([RIGHT, WRONG]))
def test_cosine_is_symmetric_about_its_middle(length: int, outcome: Outcome) -> None:
    curve = Cosine(max_tokens=1000)
    pair = curve.correct if outcome == RIGHT else curve.incorrect
    there, mirrored = (shaped(curve, 0, t, outcome) for t in (length, 1000 - length))
    assert there + mirrored == pytest.approx(sum(pair), abs=1e-9)
    assert min(pair) <= there <= max(pair)


@given(rewards, token_counts, st.floats(-0.01, 0.01), st.floats(0, 5000))
def test_linear_penalty_slope(reward: float, length: int, slope: float, free: float) -> None:
    shaping = LinearPenalty(slope=slope, free=free)
    step = shaped(shaping, reward, length + 1, RIGHT) - shaped(shaping, reward, length, RIGHT)
    if length >= free:
        assert step == pytest.approx(-slope, abs=1e-9)
    elif length + 1 <= free:
        assert step == 0


# --- values and errors -------------------------------------------------------------------------------------------

BUILT_IN = [
    LinearPenalty(slope=0.01, free=3), SoftOverlong(max_tokens=100, buffer=20), Cosine(max_tokens=100, exceed=-10),
    Discount(gamma=0.9), MissingEOS(penalty=1), StopProperly(coefficient=-1), Laser(target=50),
    LCPOExact(alpha=0.1), LCPOMax(alpha=0.1), *(shaping for shaping, _ in GROUP_SHAPINGS.values()),
]


@pytest.mark.parametrize("shaping", BUILT_IN, ids=lambda shaping: type(shaping).__name__)
def test_shapings_are_values(shaping: object) -> None:
    assert pickle.loads(pickle.dumps(shaping)) == shaping
    assert pickle.loads(pickle.dumps(Reward(shaping=shaping))) == Reward(shaping=shaping)
    assert hash(shaping) == hash(dataclasses.replace(shaping))  # type: ignore[type-var]
    assert eval(repr(shaping), vars(lossim.rewards)) == shaping
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(shaping, dataclasses.fields(shaping)[0].name, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("shaping", BUILT_IN, ids=lambda shaping: type(shaping).__name__)
@pytest.mark.parametrize("bad", [math.nan, math.inf, "1", None, True])
def test_every_number_of_a_shaping_is_checked(shaping: object, bad: object) -> None:
    for field in dataclasses.fields(shaping):  # type: ignore[arg-type]
        if (field.name, bad) in {("exceed", None), ("capped", True)}:
            continue
        with pytest.raises((TypeError, ValueError), match=rf"{field.name} must (be|have 1 axis)"):
            dataclasses.replace(shaping, **{field.name: bad})  # type: ignore[type-var]


def no_number(reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
    return np.where(length > 6, np.nan, reward)


def one_number(reward: FloatArray, length: FloatArray, outcome: IntArray) -> float:
    return 1.0


def no_array(reward: FloatArray, length: FloatArray, outcome: IntArray) -> str:
    return "much"


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Reward(correct=math.nan), r"correct must be finite, got nan"),
    (lambda: Reward(incorrect="0"), r"incorrect must be a number, got '0'"),  # type: ignore[arg-type]
    (lambda: Reward(truncated=math.inf), r"truncated must be finite, got inf"),
    (lambda: Reward(shaping=0.1), r"shaping\[0\] must be a callable .*, got 0.1; build it first"),
    (lambda: Reward(shaping=(no_array, LinearPenalty)), r"shaping\[1\] must be a callable .*; build it first"),
    (lambda: LinearPenalty(slope=0.1, free=-1), r"free must lie in \[0, inf\], got -1"),
    (lambda: SoftOverlong(max_tokens=0, buffer=1), r"max_tokens must be positive, got 0"),
    (lambda: SoftOverlong(max_tokens=10, buffer=0), r"buffer must be positive, got 0; for a bare cut use MissingEOS"),
    (lambda: SoftOverlong(max_tokens=10, buffer=11), r"buffer must lie in \[0, 10\], got 11"),
    (lambda: SoftOverlong(max_tokens=10, buffer=1, factor=-1), r"factor must lie in \[0, inf\], got -1"),
    (lambda: SoftOverlong(max_tokens=10, buffer=1, capped=1), r"capped must be True"),  # type: ignore[arg-type]
    (lambda: Cosine(max_tokens=-3), r"max_tokens must be positive, got -3"),
    (lambda: Cosine(max_tokens=9, correct=(1, 2, 3)), r"correct must be two rewards"),  # type: ignore[arg-type]
    (lambda: Cosine(max_tokens=9, incorrect=(1, math.nan)), r"incorrect\[1\] must be finite, got nan"),
    (lambda: Discount(gamma=1.1), r"gamma must lie in \[0, 1\], got 1.1"),
    (lambda: Laser(target=0.5), r"target must lie in \[1, inf\], got 0.5"),
    (lambda: Reward().values([1, 0], True, False), r"length\[1\] must be at least 1, got 0.0; the stop token"),
    (lambda: Reward().values(["a"], True, False), r"length must be an array of numbers"),
    (lambda: Reward().values([1], [1], False), r"correct must be booleans .*, got 'int64'; compare, as in grade == 0"),
    (lambda: Reward().values([1], True, [0.0]), r"truncated must be booleans .*, got 'float64'"),
    (lambda: Reward().group_values([1], True, False, [1]), r"counted must be booleans"),
    (lambda: Reward().values([1, 2], [True] * 3, False), r"length must broadcast with .*, got \[\(2,\), \(3,\), \(\)"),
    (lambda: Reward(shaping=no_number).values([5, 9, 7], True, [False, False, True]),
     r"the shaping no_number must return finite rewards, also at length 7 \(truncated\), got nan"),
    (lambda: Reward(shaping=one_number).values([5, 9], True, False),
     r"the shaping one_number must return one reward for each response, an array of shape \(2,\), got \(\); compute"),
    (lambda: Reward(shaping=no_array).values([5, 9], True, False),
     r"the shaping no_array must return an array of numbers, got 'much'"),
    (lambda: Reward(shaping=LinearPenalty(slope=1e308)).values([9], True, False), r"LinearPenalty\(slope=1e\+308"),
])
def test_bad_input_is_met_with_value_rule_and_fix(make: Callable[[], object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message), np.errstate(over="ignore"):
        make()
