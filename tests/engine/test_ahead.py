"""Sums by sign over what lies ahead, against going through all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import SEEDS
from lossim._engine.ahead import sums_ahead


def by_pairs(base: np.ndarray, value: np.ndarray, weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The same, pair by pair."""
    total = np.zeros((2, *base.shape))
    for row, t in np.ndindex(*base.shape):
        for v in range(t, base.shape[1]):
            number = base[row, t] + x[row] ** (v - t) * value[row, v]
            total[0, row, t] += weight[0, row, v] * max(number, 0.0)
            total[1, row, t] += weight[-1, row, v] * min(number, 0.0)
    return total


@settings(max_examples=25)
@given(seed=SEEDS, positions=st.integers(1, 70), signs=st.integers(1, 2))
def test_sums_over_all_pairs(seed: int, positions: int, signs: int) -> None:
    """Powers that fade at once, never, and in between; numbers of 0, equal ones, and positions nobody looks at."""
    rng = np.random.default_rng(seed)
    x = np.append(rng.uniform(0.0, 1.0, 2), [0.0, 1.0, 0.5, 1e-200])
    shape = (len(x), positions)
    base, value = (np.where(rng.random(shape) < 0.3, np.round(draw), draw) for draw in rng.normal(size=(2, *shape)))
    base[rng.random(len(x)) < 0.2] = 0.0
    weight = rng.random((signs, *shape)) * (rng.random((signs, *shape)) < 0.7)
    found = sums_ahead(base, value, weight, x)
    scale = positions * (np.abs(base).max() + np.abs(value).max())
    np.testing.assert_allclose(found, by_pairs(base, value, weight, x), rtol=1e-12, atol=1e-14 * scale)


@pytest.mark.parametrize("x", [0.3, 0.999, 1.0])
def test_long_rows(x: float) -> None:
    """3,000 positions, with powers below the smallest number and without: both signs together are a plain sum."""
    rng = np.random.default_rng(3)
    base, value = rng.normal(size=(2, 1, 3000))
    weight = rng.random((1, 1, 3000))
    found = sums_ahead(base, value, weight, np.array([x])).sum(axis=0)[0]
    expected, ahead, seen = np.empty(3000), 0.0, 0.0
    for t in reversed(range(3000)):
        ahead += weight[0, 0, t]
        seen = weight[0, 0, t] * value[0, t] + x * seen
        expected[t] = base[0, t] * ahead + seen
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-10)
