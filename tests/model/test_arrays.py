"""The arrays that engines see of a policy: how they move, and that nothing computed is carried over."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossim as ls
import translate
from examples import SEEDS, random_world


@settings(max_examples=40)
@given(seed=SEEDS, work=st.sampled_from([0.0, 0.7]), skill_scale=st.sampled_from([0.0, 1.5]))
def test_moved_arrays_are_the_arrays_of_the_moved_policy(seed: int, work: float, skill_scale: float) -> None:
    policy, _ = translate.policies(random_world(seed, zero_one=0.4, work=work))
    policy = replace(policy, coordinates=replace(policy.coordinates, skill_scale=skill_scale))
    rng = np.random.default_rng(seed)
    move = policy.motion.push(rng.normal(size=policy.motion.size))
    moved, arrays = policy.shifted(*move), policy.arrays.shifted(*move)
    for name in ("class_weight", "probability", "logits", "correctness", "hazard", "stay", "log_at_risk", "ends", "law",
                 "cell_weight", "mean_length_by_path", "mean_length_gradient", "mean_length", "truncation_rate",
                 "accuracy", "length_std"):
        np.testing.assert_array_equal(getattr(arrays, name), getattr(moved.arrays, name), err_msg=name)
        np.testing.assert_array_equal(getattr(arrays, name), getattr(moved, name), err_msg=name)
    np.testing.assert_array_equal(arrays.needed_length_gradient, moved.arrays.needed_length_gradient)
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


WORK = ls.Work(answer=ls.lengths.lognormal(median=3000, sigma=0.5), done=ls.lengths.geometric(mean=900))
THINKS = ls.Path("thinks", probability=0.3, length=ls.lengths.geometric(mean=9000), p_correct=0.05, work=WORK)
PLAIN = ls.Path("plain", probability=0.2, length=ls.lengths.lognormal(median=2000, sigma=0.8), p_correct=0.4)


def test_states_of_a_path_are_worked_on_together() -> None:
    """At lengths of which a block of work holds two cells, the order of one- and two-state paths changes nothing."""
    paths = [PLAIN, THINKS, replace(PLAIN, name="long", probability=0.1, length=ls.lengths.geometric(mean=8000)),
             replace(THINKS, name="slow", probability=0.4, work=replace(WORK, never=0.3))]
    found = []
    for order in ([0, 1, 2, 3], [1, 3, 0, 2], [3, 0, 2, 1]):
        policy = ls.Policy([ls.PromptClass("prompts", paths=[paths[k] for k in order])], max_tokens=32_768)
        blocks = list(policy.layout.blocks)
        assert len(blocks) > 1
        assert [cell for block in blocks for cell in range(block.start, block.stop)] == list(range(6))
        moves = [policy.layout.moves_within(block) for block in blocks]
        assert sum(len(each.target) for each in moves) == 2
        for each in moves:
            np.testing.assert_array_equal(each.target, each.source + 1)
        for scheme in (ls.schemes.dapo(), ls.schemes.ppo(gae_lambda=0.99)):
            drift = ls.drift(scheme, policy)
            found.append([float(getattr(drift, name)) for name in (
                "length", "needed", "within", "accuracy", "reward", "length_per_kl", "truncation_rate")])
            found[-1] += list(drift.length_by_path.value[np.argsort(order)])
    for scheme in (0, 1):
        np.testing.assert_allclose(found[scheme + 2], found[scheme], rtol=1e-8)
        np.testing.assert_allclose(found[scheme + 4], found[scheme], rtol=1e-8)


def test_policies_in_a_row_are_one_of_more_cells() -> None:
    policy = ls.Policy([ls.PromptClass("a", weight=0.4, paths=[replace(THINKS, probability=0.8), PLAIN]),
                        ls.PromptClass("b", weight=0.6, paths=[replace(PLAIN, probability=1.0)])], max_tokens=9)
    three = policy.layout.repeated(3)
    np.testing.assert_array_equal(three.moves.target, [1, 5, 9])
    np.testing.assert_array_equal(three.class_of_cell, [0, 0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5])
    np.testing.assert_array_equal(three.came_from, [0, 0, 2, 3, 4, 4, 6, 7, 8, 8, 10, 11])
    assert policy.cell_names == (("a", "thinks", "working"), ("a", "thinks", "done"), ("a", "plain"), ("b", "plain"))
    assert three.path_names == (("a", "thinks"), ("a", "plain"), ("b", "plain")) * 3


def test_a_kernel_as_numbers_has_a_row_for_each_state() -> None:
    """As features with one bin, written out: the kernel within a cell is 1, between cells the sharing."""
    paths = [replace(THINKS, probability=0.6), replace(PLAIN, probability=0.4)]
    plain = ls.Policy([ls.PromptClass("prompts", paths=paths)], max_tokens=4000,
                      coordinates=ls.coordinates(sharing=0.6, path_scale=2.0))
    stops = np.full((3, 3), 0.6) + 0.4 * np.eye(3)
    numbers = ls.kernel(stops[:, None, :, None], positions=[1], paths=[[2.0]])
    one, other = (ls.drift(ls.schemes.grpo(), each) for each in (plain, replace(plain, coordinates=numbers)))
    for name in ("length", "needed", "free", "composition", "accuracy", "length_per_kl"):
        assert float(getattr(other, name)) == pytest.approx(float(getattr(one, name)), rel=1e-9), name
    with pytest.raises(ValueError, match=r"3 cells.*both states of a path with work"):
        replace(plain, coordinates=ls.kernel(np.eye(2)[:, None, :, None], positions=[1], paths=[[2.0]]))
