"""Optimisers: against loops over plain numbers, row by row, and in cases that can be said in words."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lossim as ls
from lossim.optimizers import SGD, AdamW, Optimizer, Ramp, cosine, linear, warmup

Array = np.ndarray[Any, np.dtype[np.float64]]
SEEDS = st.integers(0, 2**32 - 1)
SCHEDULES = st.one_of(
    st.none(), st.integers(1, 6).map(warmup), st.builds(cosine, st.integers(1, 12), st.floats(0, 1)),
    st.builds(linear, st.integers(1, 12), st.floats(0, 2)), st.just(lambda count: 1.0 / (1 + count)))
COMMON = {"learning_rate": st.floats(0, 2), "max_norm": st.none() | st.floats(1e-3, 10), "schedule": SCHEDULES}
ASCENTS = st.builds(SGD, **COMMON, momentum=st.just(0.0) | st.floats(0, 0.99))
ADAMS = st.builds(AdamW, **COMMON, betas=st.tuples(st.floats(0, 0.99), st.floats(0, 0.9999)),
                  eps=st.floats(1e-8, 1e-2), weight_decay=st.floats(0, 0.5))
OPTIMIZERS = ASCENTS | ADAMS


def draw(seed: int, shape: tuple[int, ...], updates: int = 8) -> Array:
    """Gradients [update, ...] of scales from 1e-4 to 10; some coordinates, and some whole rows, are 0."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-4, 1, size=(updates, *shape[:-1], 1))
    some = rng.random((updates, *shape)) < 0.8
    return rng.normal(size=(updates, *shape)) * scale * some * (rng.random((updates, *shape[:-1], 1)) < 0.9)


def run(optimizer: Optimizer, gradients: Array) -> Array:
    """Positions [update, ...] after each update, from 0."""
    position = np.zeros(gradients.shape[1:])
    state, passed = optimizer.start(position.shape), []
    for gradient in gradients:
        move, state = optimizer.step(state, gradient, position)
        position = position + move
        passed.append(position)
    assert state.count == len(gradients)
    return np.array(passed)


def clipped(row: list[float], max_norm: float | None) -> list[float]:
    norm = math.sqrt(math.fsum(x * x for x in row))
    factor = 1.0 if max_norm is None else min(1.0, max_norm / (norm + 1e-6))
    return [factor * x for x in row]


def by_hand(optimizer: Optimizer, rows: list[list[float]]) -> list[list[float]]:
    """Positions after each update of one row of coordinates, every number on its own, moments as explicit sums."""
    size, passed = len(rows[0]), []
    position, seen = [0.0] * size, [[] for _ in range(size)]
    for n, row in enumerate(rows, start=1):
        rate = optimizer.learning_rate * (1.0 if optimizer.schedule is None else optimizer.schedule(n - 1))
        for i, slope in enumerate(clipped(row, optimizer.max_norm)):
            seen[i].append(slope)
            if isinstance(optimizer, SGD):
                ascent = math.fsum(optimizer.momentum**age * g for age, g in enumerate(reversed(seen[i])))
                position[i] += rate * ascent
            elif isinstance(optimizer, AdamW):
                mean, square = (
                    (1 - beta) * math.fsum(beta**age * g**power for age, g in enumerate(reversed(seen[i])))
                    / (1 - beta**n) for power, beta in enumerate(optimizer.betas, start=1))
                position[i] *= 1 - rate * optimizer.weight_decay
                position[i] += rate * mean / (math.sqrt(square) + optimizer.eps)
        passed.append(list(position))
    return passed


@given(optimizer=OPTIMIZERS, seed=SEEDS, size=st.integers(1, 5))
def test_positions_are_those_of_a_loop_over_plain_numbers(optimizer: Optimizer, seed: int, size: int) -> None:
    gradients = draw(seed, (size,))
    expected = np.array(by_hand(optimizer, gradients.tolist()))
    scale = 1e-12 * (1.0 + np.abs(expected).max())
    np.testing.assert_allclose(run(optimizer, gradients), expected, rtol=1e-10, atol=scale)


@given(optimizer=OPTIMIZERS, seed=SEEDS, leading=st.sampled_from([(1,), (3,), (2, 3)]), size=st.integers(1, 12))
def test_every_row_moves_as_it_would_alone(
        optimizer: Optimizer, seed: int, leading: tuple[int, ...], size: int) -> None:
    gradients = draw(seed, (*leading, size), updates=4)
    together = run(optimizer, gradients)
    for row in np.ndindex(*leading):
        alone = run(optimizer, gradients[:, *row])
        np.testing.assert_allclose(together[:, *row], alone, rtol=0, atol=1e-13 * (1.0 + np.abs(alone).max()))


@given(optimizer=OPTIMIZERS, seed=SEEDS)
def test_nothing_that_is_given_changes(optimizer: Optimizer, seed: int) -> None:
    """A state can be used twice: the same move comes again."""
    gradients = draw(seed, (2, 3), updates=3)
    position, state = np.ones((2, 3)), optimizer.start((2, 3))
    _, state = optimizer.step(state, gradients[0], position)
    first, after = optimizer.step(state, gradients[1], position)
    again, _ = optimizer.step(state, gradients[1], position)
    optimizer.step(after, gradients[2], position)
    np.testing.assert_array_equal(first, again)
    assert (state.count, after.count) == (1, 2)
    np.testing.assert_array_equal(gradients, draw(seed, (2, 3), updates=3))
    np.testing.assert_array_equal(position, 1.0)


@given(optimizer=OPTIMIZERS, seed=SEEDS)
def test_the_mirror_image_of_the_gradients_moves_to_the_mirror_image(optimizer: Optimizer, seed: int) -> None:
    gradients = draw(seed, (4,))
    np.testing.assert_array_equal(run(optimizer, -gradients), -run(optimizer, gradients))


# ---- in words ----


def test_plain_ascent_adds_the_gradient_times_the_rate() -> None:
    gradients = draw(0, (2, 3))
    np.testing.assert_allclose(run(SGD(learning_rate=0.25), gradients), 0.25 * np.cumsum(gradients, axis=0))
    assert SGD(learning_rate=0.25).start((2, 3)).moments == ()


def test_momentum_moves_a_constant_gradient_by_the_geometric_sum() -> None:
    passed = run(SGD(learning_rate=0.5, momentum=0.75), np.ones((80, 1)))
    np.testing.assert_allclose(np.diff(passed[:, 0])[[0, -1]], [0.5 * 1.75, 0.5 / (1 - 0.75)], rtol=1e-9)


def test_adam_first_moves_by_the_rate_whatever_the_gradient() -> None:
    passed = run(AdamW(learning_rate=0.1, betas=(0.5, 0.7)), np.array([[1e4, 1.0, -1e-4, 0.0]]))
    np.testing.assert_allclose(passed, [[0.1, 0.1, -0.1, 0.0]], rtol=2e-4)


def test_adam_forgets_the_scale_of_the_gradient_and_sgd_does_not() -> None:
    gradients = draw(1, (3,))
    adam = AdamW(learning_rate=0.1, eps=0.0)
    np.testing.assert_allclose(run(adam, 1e3 * gradients), run(adam, gradients))
    plain = SGD(learning_rate=0.1)
    np.testing.assert_allclose(run(plain, 1e3 * gradients), 1e3 * run(plain, gradients))


def test_without_memory_and_eps_adam_moves_by_the_sign() -> None:
    gradients = draw(2, (2, 5))
    passed = run(AdamW(learning_rate=0.5, betas=(0.0, 0.0), eps=0.0), gradients)
    np.testing.assert_allclose(passed, 0.5 * np.cumsum(np.sign(gradients), axis=0))


def test_weight_decay_alone_shrinks_the_displacement() -> None:
    optimizer = AdamW(learning_rate=0.5, weight_decay=0.2)
    position, state = np.array([4.0, -1.0]), optimizer.start((2,))
    for _ in range(3):
        move, state = optimizer.step(state, np.zeros(2), position)
        position = position + move
    np.testing.assert_allclose(position, [4.0 * 0.9**3, -(0.9**3)])


def test_clip_is_by_the_norm_of_each_row_and_leaves_short_ones() -> None:
    gradient = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    optimizer = SGD(learning_rate=1.0, max_norm=1.0)
    move, _ = optimizer.step(optimizer.start((3, 2)), gradient, np.zeros((3, 2)))
    np.testing.assert_allclose(move, [[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]], rtol=1e-6)
    assert np.linalg.norm(move[0]) == pytest.approx(5.0 / (5.0 + 1e-6), rel=1e-12)


# ---- schedules ----


@given(steps=st.integers(1, 10**6), last=st.floats(0, 2))
def test_schedules_begin_and_end_where_they_say(steps: int, last: float) -> None:
    assert (warmup(steps)(0), warmup(steps)(steps), warmup(steps)(3 * steps)) == (0.0, 1.0, 1.0)
    for schedule in (cosine(steps, last=last), linear(steps, last=last)):
        assert (schedule(0), schedule(steps), schedule(3 * steps)) == (1.0, last, last)


@given(steps=st.integers(1, 50), last=st.floats(0, 1))
def test_schedules_between_are_lines_and_half_a_cosine(steps: int, last: float) -> None:
    for count in range(steps + 1):
        part = count / steps
        assert warmup(steps)(count) == pytest.approx(part)
        assert linear(steps, last=last)(count) == pytest.approx(1.0 - (1.0 - last) * part)
        assert cosine(steps, last=last)(count) == pytest.approx(
            last + (1.0 - last) * math.cos(0.5 * math.pi * part) ** 2, abs=1e-15)


def test_the_rate_is_that_of_updates_done_before() -> None:
    optimizer = SGD(learning_rate=2.0, schedule=lambda count: count + 1)
    np.testing.assert_allclose(np.diff(run(optimizer, np.ones((3, 1)))[:, 0]), [4.0, 6.0])
    assert [optimizer.rate(count) for count in range(3)] == [2.0, 4.0, 6.0]
    assert AdamW(learning_rate=0.5).rate(7) == 0.5


def test_a_schedule_of_0_stops_but_the_memory_goes_on() -> None:
    optimizer = AdamW(learning_rate=1.0, weight_decay=0.1, schedule=linear(2))
    passed = run(optimizer, draw(3, (3,)))
    np.testing.assert_array_equal(passed[2:], np.tile(passed[1], (6, 1)))
    assert (passed[0] != passed[1]).any()


# ---- as data ----


def test_optimizers_and_schedules_are_values() -> None:
    one = AdamW(learning_rate=0.1, betas=[0.8, 0.9], schedule=cosine(10))  # type: ignore[arg-type]
    assert one == AdamW(learning_rate=0.1, betas=(0.8, 0.9), schedule=cosine(10))
    assert one != AdamW(learning_rate=0.1, betas=(0.8, 0.9), schedule=cosine(11))
    assert pickle.loads(pickle.dumps(one)) == one
    assert len({one, SGD(learning_rate=0.1), SGD(learning_rate=0.1)}) == 2
    assert repr(cosine(10)) == "Ramp(steps=10, first=1.0, last=0.0, smooth=True)"
    assert isinstance(ls.optimizers.warmup(3), Ramp)


PLAIN, ADAM = SGD(learning_rate=1.0), AdamW(learning_rate=1.0)
ZERO = np.zeros(2)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: PLAIN.step(PLAIN.start((3,)), ZERO, ZERO),
     r"gradient must have the shape \(3,\) that the state was started with, got \(2,\); start again"),
    (lambda: PLAIN.step(PLAIN.start((2,)), ZERO, np.zeros((1, 2))),
     r"position must have the shape \(2,\) that .*, got \(1, 2\); start again"),
    (lambda: PLAIN.step(PLAIN.start((2,)), [0.0, math.nan], ZERO), r"gradient\[1\] must be finite, got nan"),
    (lambda: ADAM.step(PLAIN.start((2,)), ZERO, ZERO), r"state must be a state of this optimiser, got .*begin with"),
    (lambda: PLAIN.start(()), r"shape must have at least one axis, the coordinates, got \(\)"),
    (lambda: PLAIN.start((2, 0)), r"shape\[1\] must be at least 1, got 0"),
    (lambda: SGD(learning_rate=1.0, schedule=lambda count: 1.0 - count).rate(2),
     r"schedule\(2\) must be at least 0, got -1\.0"),
    (lambda: SGD(learning_rate=1.0, schedule=lambda count: math.nan).rate(0), r"schedule\(0\) must be finite, got nan"),
    (lambda: SGD(learning_rate=1.0, schedule=cosine).rate(3), r"schedule\(3\) must be a number, got Ramp"),
    (lambda: SGD(learning_rate=1.0, max_norm=0.0), r"max_norm must be positive, got 0\.0; leave it at None"),
    (lambda: AdamW(learning_rate=1.0, betas=(0.9, 1.0)), r"betas\[1\] must be below 1, got 1\.0"),
    (lambda: warmup(0), r"steps must be at least 1, got 0; leave the schedule at None"),
])
def test_message_names_the_value_the_rule_and_the_fix(call: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()
