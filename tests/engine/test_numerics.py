"""Sums and recurrences against plain loops, ratios against a dense check, and estimates of no error at all."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossim as ls
from lossim._engine.denominators import ONE, reciprocal
from lossim._engine.mates import composition_count, compositions
from lossim._support import positions
from lossim._support.plain import plain

Array = np.ndarray[Any, np.dtype[np.float64]]
SEEDS = st.integers(0, 2**32 - 1)


# ---- logs of hazards ----


def test_log_hazard_of_certain_and_extreme_logits() -> None:
    length = ls.lengths.from_logits(np.array([-np.inf, -800.0, -40.0, 0.0, 40.0, 800.0, np.inf]))
    path = ls.Path("only", length=length, p_correct=0.5)
    arrays = ls.Policy([ls.PromptClass("only", paths=[path])], max_tokens=7).arrays
    stop, stay = arrays.log_stop[0], arrays.log_stay[0]
    np.testing.assert_allclose(stop, [-np.inf, -800, -40, math.log(0.5), -math.exp(-40.0), 0.0, 0.0], rtol=1e-15)
    np.testing.assert_array_equal(stay, stop[::-1])
    assert np.signbit(stop).tolist() == [True] * 5 + [False] * 2  # log 1 is 0, not -0


def test_log_survival_adds_up() -> None:
    stay = np.log(np.array([[0.5, 0.25, 1.0], [1.0, 1.0, 1.0]]))
    np.testing.assert_allclose(np.exp(positions.log_survival(stay)), [[1, 0.5, 0.125, 0.125], [1, 1, 1, 1]])
    assert positions.log_survival(np.array([-np.inf, -1.0])).tolist() == [0.0, -np.inf, -np.inf]


# ---- sums by end ----


@settings(max_examples=40)
@given(seed=SEEDS, n=st.integers(1, 12))
def test_after_and_before_by_loops(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    by_end, by_position = rng.normal(size=(2, 3, n + 1)), rng.normal(size=(2, 3, n))
    later = np.array([[[sum(row[e] for e in range(n + 1) if e > t) for t in range(n)] for row in rows]
                      for rows in by_end])
    gone = np.array([[[sum(row[t] for t in range(n) if t < e) for e in range(n + 1)] for row in rows]
                     for rows in by_position])
    np.testing.assert_allclose(positions.after(by_end), later, atol=1e-13)
    np.testing.assert_allclose(positions.before(by_position), gone, atol=1e-13)
    # one is the transpose of the other
    transposed = (positions.after(by_end) * by_position).sum()
    assert (by_end * positions.before(by_position)).sum() == pytest.approx(transposed, abs=1e-12)


# ---- recurrences ----


@settings(max_examples=60)
@given(seed=SEEDS, n=st.integers(1, 40), discount=st.floats(0, 1))
def test_recurrences_by_plain_loops(seed: int, n: int, discount: float) -> None:
    rng = np.random.default_rng(seed)
    x, factor = rng.normal(size=(2, 3, n)), rng.uniform(-1, 1, size=n)
    back, ahead, backward = np.zeros(x.shape), np.zeros(x.shape), np.zeros(x.shape)
    for at in np.ndindex(2, 3):
        for t in range(n):
            ahead[at][t] = x[at][t] + (discount * ahead[at][t - 1] if t else 0.0)
        for t in reversed(range(n)):
            back[at][t] = x[at][t] + (discount * back[at][t + 1] if t + 1 < n else 0.0)
            backward[at][t] = x[at][t] + (factor[t] * backward[at][t + 1] if t + 1 < n else 0.0)
    np.testing.assert_allclose(positions.running_sum(x, discount), ahead, atol=1e-12)
    np.testing.assert_allclose(positions.discounted_sum(x, discount), back, atol=1e-12)
    np.testing.assert_allclose(positions.backward_recurrence(factor, x), backward, atol=1e-12)


def test_recurrences_leave_what_they_are_given_alone() -> None:
    x, factor = np.arange(1.0, 5.0), np.full(4, 0.5)
    for made in (positions.running_sum(x, 0.5), positions.discounted_sum(x, 0.5),
                 positions.backward_recurrence(factor, x)):
        made[:] = 99.0
    np.testing.assert_array_equal(x, [1, 2, 3, 4])
    np.testing.assert_array_equal(factor, [0.5] * 4)


def test_a_long_recurrence_underflows_and_does_not_lose_what_is_near() -> None:
    x = np.zeros(40_000)
    x[-1] = 1.0
    y = positions.discounted_sum(x, 0.9)
    np.testing.assert_allclose(y[-100:], 0.9 ** np.arange(99.0, -1.0, -1.0), rtol=1e-13)
    assert y[0] < 1e-300


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.95, 0.9999, 1.0])
@pytest.mark.parametrize("n", [7, 8, 9, 64, 65, 511, 513, 4096, 32_768])
def test_long_recurrences_to_the_last_digits(n: int, discount: float) -> None:
    """Against long doubles; numbers of both signs relative to the sums of their sizes."""
    x = np.random.default_rng(n).normal(size=(3, n))
    exact, size = (by_long_doubles(a, discount) for a in (x, np.abs(x)))
    for recurrence, way in ((positions.discounted_sum, 1), (positions.running_sum, -1)):
        one, other = recurrence(x[:, ::way], discount)[:, ::way], recurrence(np.abs(x)[:, ::way], discount)[:, ::way]
        assert np.abs((one - exact) / size).max() < 2e-15
        assert np.abs(other / size - 1.0).max() < 2e-15


def by_long_doubles(x: Array, discount: float) -> np.ndarray[Any, np.dtype[np.longdouble]]:
    y = x.astype(np.longdouble)
    for t in range(x.shape[1] - 2, -1, -1):
        y[:, t] += np.longdouble(discount) * y[:, t + 1]
    return y


@pytest.mark.parametrize("discount", [1e-160, 0.5, 0.9, 0.978])
def test_what_fades_is_dropped_before_it_becomes_denormal(discount: float) -> None:
    """A reward at the end, and beside it a faint one in the middle."""
    x = np.zeros((2, 32_768))
    x[:, -1], x[1, 20_000] = 1.0, 1e-50
    y = positions.discounted_sum(x, discount)
    assert ((y == 0.0) | (y >= np.finfo(float).tiny)).all()
    exact = by_long_doubles(x, discount)
    near = exact >= 1e-280
    assert near[1, 20_000]
    np.testing.assert_allclose(y[near], exact[near].astype(float), rtol=1e-13)


@pytest.mark.parametrize("n", [5, 64, 100, 4096])
def test_a_discounted_sum_written_where_it_is_wanted(n: int) -> None:
    """Into rows of a larger array, into columns of one, over the terms themselves."""
    x = np.random.default_rng(n).normal(size=(40, n))
    expected, wide, tall = positions.discounted_sum(x, 0.9), np.full((40, n + 8), 7.0), np.full((42, n), 7.0)
    for room in (wide[:, :n], tall[1:-1], x):
        given = positions.discounted_sum(x, 0.9, out=room)
        assert np.shares_memory(given, room)
        np.testing.assert_array_equal(room, expected)
    assert (wide[:, n:] == 7.0).all()
    assert (tall[[0, -1]] == 7.0).all()


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 1), (2, 3, 70), (20, 4100)])
def test_rows_do_not_see_each_other(shape: tuple[int, ...]) -> None:
    """More rows than fit one block, and arrays that are views of others."""
    x = np.random.default_rng(0).normal(size=(*shape[:-1], 2 * shape[-1]))[..., ::2]
    rows = [positions.discounted_sum(row, 0.97) for row in x.reshape(-1, shape[-1])]
    together = positions.discounted_sum(x, 0.97)
    assert together.shape == shape
    np.testing.assert_allclose(together.reshape(-1, shape[-1]), np.reshape(rows, (-1, shape[-1])), atol=1e-14)


# ---- compositions ----


@pytest.mark.parametrize("parts", range(1, 6))
@pytest.mark.parametrize("total", range(6))
def test_compositions_are_all_of_them_once(total: int, parts: int) -> None:
    found = [tuple(row) for table in compositions(total, parts) for row in table.tolist()]
    expected = [counts for counts in itertools.product(range(total + 1), repeat=parts) if sum(counts) == total]
    assert found == expected  # in lexicographic order, as product has it
    assert len(found) == composition_count(total, parts)


@pytest.mark.parametrize("chunk", [1, 7, 100, 10**6])
def test_compositions_in_chunks(chunk: int) -> None:
    tables = list(compositions(9, 4, chunk))
    assert sum(len(table) for table in tables) == composition_count(9, 4) == 220
    assert all(len(table) <= max(chunk, 10) for table in tables)  # a table of two parts is never split
    assert len({tuple(row) for table in tables for row in table.tolist()}) == 220


def test_multinomial_weights_of_compositions_add_up_to_one() -> None:
    table = next(compositions(7, 3))
    chance = [math.factorial(7) / math.prod(map(math.factorial, row)) * 0.2 ** row[0] * 0.3 ** row[1] * 0.5 ** row[2]
              for row in table.tolist()]
    assert sum(chance) == pytest.approx(1.0, abs=1e-14)


# ---- ratios ----


@settings(max_examples=60)
@given(low=st.floats(1e-6, 1e6), spread=st.floats(1.0, 1e9), seed=SEEDS)
def test_reciprocal_keeps_its_bound_everywhere_in_its_range(low: float, spread: float, seed: int) -> None:
    """At points that the grid behind the bound does not hold; between them the error is as large, up to a half."""
    high = low * spread
    rule = reciprocal(low, high)
    x = np.exp(np.random.default_rng(seed).uniform(np.log(low), np.log(high), size=500)).clip(low, high)
    assert np.abs(rule(x) * x - 1.0).max() <= 1.5 * rule.error + 1e-15
    assert rule.error < 1e-13
    assert (rule.nodes >= 0).all()
    assert (rule.weights > 0).all()


def test_reciprocal_has_few_nodes_for_the_largest_steps() -> None:
    assert len(reciprocal(1.0, 32_768 * 512 * 16.0).nodes) < 150


def test_reciprocal_of_sums_by_enumeration() -> None:
    """E[X/(X+Y)] of two dice is 1/2, and E[1/(X+Y)] a sum of 36 terms."""
    die = np.arange(1.0, 7.0)
    rule = reciprocal(2.0, 12.0)
    psi = np.exp(-np.multiply.outer(rule.nodes, die))
    both = rule.weights @ psi.mean(axis=1) ** 2
    own = rule.weights @ ((psi * die).mean(axis=1) * psi.mean(axis=1))
    assert both == pytest.approx((1.0 / np.add.outer(die, die)).mean(), rel=1e-13)
    assert own == pytest.approx(0.5, rel=1e-13)


def test_the_constant_one() -> None:
    assert ONE.error == 0.0
    np.testing.assert_array_equal(ONE(np.array([0.0, 3.0, 1e9])), [1.0, 1.0, 1.0])


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (1.0, np.inf), (np.nan, 1.0)])
def test_reciprocal_refuses_an_empty_or_infinite_range(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="0 < low <= high < inf"):
        reciprocal(low, high)


# ---- plain values ----


@pytest.mark.parametrize(("value", "expected"), [
    (np.array([[1.0, np.nan], [-np.inf, 0.25]]), [[1.0, None], [None, 0.25]]),
    (np.array([1, None, math.nan], dtype=object), [1, None, None]),
    (np.array([True, False]), [True, False]), (np.array(["a", "b"]), ["a", "b"]), (np.zeros((2, 0)), [[], []]),
    (np.array(np.nan), None), (np.float32(0.25), 0.25), (np.int8(3), 3), (np.bool_(True), True), (math.inf, None),
    ({"a": (1, np.float64(2.5)), "b": {"c": [math.nan, "d", None]}}, {"a": [1, 2.5], "b": {"c": [None, "d", None]}})])
def test_plain_values_are_strict_json(value: Any, expected: Any) -> None:
    made = plain(value)
    assert (made, repr(made)) == (expected, repr(expected))  # with the types: 1 is no 1.0 and no True
    assert json.loads(json.dumps(made, allow_nan=False)) == expected


@pytest.mark.parametrize("value", [1j, {1, 2}, object(), np.array([1j]), np.datetime64("2026-01-01"), [b"x"]])
def test_values_that_json_has_no_form_for_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"value must be made of numbers, text, lists and dicts .*, got"):
        plain(value)
