"""The arrays that engines see of a policy: how they move, and that nothing computed is carried over."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

import lossim as ls
import translate
from examples import SEEDS, random_world


@settings(max_examples=30)
@given(seed=SEEDS)
def test_moved_arrays_are_the_arrays_of_the_moved_policy(seed: int) -> None:
    policy, _ = translate.policies(random_world(seed, zero_one=0.4))
    rng = np.random.default_rng(seed)
    move = policy.motion.push(rng.normal(size=policy.motion.size))
    moved, arrays = policy.shifted(*move), policy.arrays.shifted(*move)
    for name in ("class_weight", "probability", "logits", "correctness", "hazard", "stay", "log_at_risk", "ends", "law",
                 "cell_weight", "mean_length_by_path", "mean_length_gradient", "mean_length", "truncation_rate",
                 "accuracy", "length_std"):
        np.testing.assert_array_equal(getattr(arrays, name), getattr(moved.arrays, name), err_msg=name)
        np.testing.assert_array_equal(getattr(arrays, name), getattr(moved, name), err_msg=name)
    assert arrays.layout is policy.layout
    np.testing.assert_allclose(arrays.tilted(0.0 * move.paths), arrays.probability, rtol=1e-15)


def test_replaced_arrays_keep_nothing_that_was_computed() -> None:
    """Other probabilities or logits: all that follows is computed anew, and the first ones are as they were."""
    paths = [ls.Path(f"path {k}", probability=share, length=ls.lengths.table(hazard), p_correct=0.5)
             for k, (share, hazard) in enumerate([(0.25, [0.5, 0.25]), (0.75, [0.25, 1.0])])]
    arrays = ls.Policy([ls.PromptClass("only", paths=paths)], max_tokens=2).arrays
    before = arrays.mean_length, arrays.law.copy(), arrays.cell_weight.copy()
    other = replace(arrays, probability=np.array([1.0, 0.0]))
    assert other.mean_length == arrays.mean_length_by_path[0] != arrays.mean_length
    longer = replace(arrays, logits=np.full((2, 2), -np.inf))
    assert (longer.mean_length, longer.truncation_rate) == (2.0, 1.0)
    with pytest.raises(AttributeError):
        arrays.probability = other.probability  # type: ignore[misc]
    assert arrays.mean_length == before[0]
    np.testing.assert_array_equal(arrays.law, before[1])
    np.testing.assert_array_equal(arrays.cell_weight, before[2])
    again = pickle.loads(pickle.dumps(arrays))
    np.testing.assert_array_equal(again.law, arrays.law)
    assert again.cell_names == arrays.cell_names == (("only", "path 0"), ("only", "path 1"))
