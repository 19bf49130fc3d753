"""The oracle against numbers worked out by hand: one path, one group, two groups, GAE, KL."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import reference as ref
from reference import RefClass, RefPath, Setting, Update, World
from reference_cases import MEAN_OF_MEANS, MEAN_OF_SUMS, by_grade, one, one_path

# ---- expected updates ----


def test_one_token_raw_reward():
    """Stopping pays 1, being cut 0: h (1-h) = 1/4 * 3/4."""
    assert ref.expected_update(one_path([0.25]), Setting(reward=by_grade)) == Update([[0.1875]], [[0.0]])


def test_two_tokens_mean_over_tokens():
    """Reward -1 for all, h = 1/2: z_1 gets -1/2 * 1/2 + (1/4 + 1/4) * 1/4, z_2 is paid alike either way."""
    update = ref.expected_update(one_path([0.5, 0.5]), Setting(reward=lambda *_: -1.0))
    assert update == Update([[-0.125, 0.0]], [[0.0]])


def test_geometric_with_mean_over_tokens():
    """Reward -1, weight 1/T, uncut geometric of hazard p: the moves of z(t) add up to p ln p / q + p."""
    p, n = 0.9, 16
    update = ref.expected_update(one_path([p] * n), Setting(reward=lambda *_: -1.0))
    assert sum(update.hazard_gradient[0]) == pytest.approx(p * math.log(p) / (1 - p) + p, abs=1e-14)


def test_unequal_paths_by_hand():
    """Right path pays 1, wrong path 0, both stop at once: the class weight times pi (1 - pi)."""
    right = RefPath(probability=0.3, hazard=[1.0], p_correct=[1.0])
    wrong = RefPath(probability=0.7, hazard=[1.0], p_correct=[0.0])
    never = RefPath(probability=1.0, hazard=[1.0], p_correct=[0.0])
    classes = [RefClass(weight=0.25, paths=[never]), RefClass(weight=0.75, paths=[right, wrong])]
    update = ref.expected_update(World(classes=classes, max_tokens=1), Setting(reward=by_grade))
    assert update.hazard_gradient == [[0.0], [0.0], [0.0]]
    np.testing.assert_allclose(update.path_gradient[1], [0.75 * 0.21, -0.75 * 0.21], rtol=1e-14)


# ---- single batches ----

# One path, h = (0.5, 0.25, 0.75). A: stopped at 1, correct. B: stopped at 2, incorrect. C: truncated.
HAZARD = (0.5, 0.25, 0.75)
A, B, C = (0, 1, False, True), (0, 2, False, False), (0, 3, True, False)


def moves(groups, **setting):
    setting.setdefault("reward", by_grade)
    setting.setdefault("group_size", len(groups[0]))
    setting.setdefault("prompts_per_step", len(groups))
    setting.setdefault("aggregation", "token_sum")
    world = one_path(list(HAZARD))
    return ref.batch_update(world, Setting(**setting), [(0, group) for group in groups]).hazard_gradient[0]


def from_coefficients(a=(0,), b=(0, 0), c=(0, 0, 0)):
    """The moves when the tokens of A, B and C have these coefficients."""
    z1, z2, z3 = HAZARD
    return [a[0] * (1 - z1) - b[0] * z1 - c[0] * z1, b[1] * (1 - z2) - c[1] * z2, -c[2] * z3]


def constant(a=0.0, b=0.0, c=0.0):
    return from_coefficients([a], [b] * 2, [c] * 3)


BY_HAND = {
    # rewards 1, 0, 0
    "raw": (dict(advantage="raw", baseline=0.25), constant(0.75, -0.25, -0.25)),
    "raw per class": (dict(advantage="raw", baseline=[0.5]), constant(0.5, -0.5, -0.5)),
    "group mean": (dict(advantage="group_mean"), constant(2 / 3, -1 / 3, -1 / 3)),
    "leave one out": (dict(advantage="leave_one_out"), constant(1.0, -0.5, -0.5)),
    # squared deviations 4/9 + 1/9 + 1/9 = 2/3
    "ddof 1": (
        dict(advantage="standardized", eps=0.5),
        constant(*(x / (math.sqrt(1 / 3) + 0.5) for x in (2 / 3, -1 / 3, -1 / 3))),
    ),
    "ddof 0": (
        dict(advantage="standardized", eps=0.0, ddof=0),
        constant(*(x / math.sqrt(2 / 9) for x in (2 / 3, -1 / 3, -1 / 3))),
    ),
    # baseline 1*1/(1+2+3)
    "opo": (dict(advantage="opo"), constant(5 / 6, -1 / 6, -1 / 6)),
    "positive only": (dict(advantage="group_mean", wrappers=["positive_only"]), constant(2 / 3)),
    # tokens 1 0 0 0 0 0: mean 1/6, variance (25/36 + 5/36)/5 = 1/6
    "center": (dict(wrappers=["center"]), constant(5 / 6, -1 / 6, -1 / 6)),
    "whiten": (
        dict(wrappers=["whiten"], whiten_eps=0.25),
        constant(*(x / math.sqrt(5 / 12) for x in (5 / 6, -1 / 6, -1 / 6))),
    ),
    "center, then positive": (dict(wrappers=["center", "positive_only"]), constant(5 / 6)),
    "positive, then center": (
        dict(baseline=0.25, wrappers=["positive_only", "center"]),
        constant(0.75 * 5 / 6, -0.75 / 6, -0.75 / 6),
    ),
    # weights, on rewards 1 for all
    "token mean": (dict(reward=one, aggregation="token_mean_step"), constant(1 / 6, 1 / 6, 1 / 6)),
    "group token mean": (dict(reward=one, aggregation="token_mean_group"), constant(1 / 6, 1 / 6, 1 / 6)),
    "sequence mean": (dict(reward=one, aggregation=MEAN_OF_MEANS), constant(1 / 3, 1 / 6, 1 / 9)),
    "sequence sum": (dict(reward=one, aggregation=MEAN_OF_SUMS), constant(1 / 3, 1 / 3, 1 / 3)),
    "max_tokens": (dict(reward=one, aggregation="constant"), constant(1 / 9, 1 / 9, 1 / 9)),
    "constant": (dict(reward=one, aggregation="constant", constant=10), constant(1 / 30, 1 / 30, 1 / 30)),
    "length power": (  # 1 + 1/2 + 1/3 = 11/6
        dict(reward=one, aggregation="length_power", alpha=1.0, constant=2.0),
        constant(3 / 11, 3 / 22, 1 / 11),
    ),
    # a cut response leaves the loss, and then the statistics
    "mask": (dict(truncation="mask", advantage="group_mean"), constant(2 / 3, -1 / 3)),
    "remove": (dict(truncation="remove", advantage="group_mean"), constant(1 / 2, -1 / 2)),
    "remove from opo": (dict(truncation="remove", advantage="opo"), constant(2 / 3, -1 / 3)),
    "mask, all": (dict(truncation="mask", aggregation=MEAN_OF_SUMS), constant(1 / 3)),
    "mask, kept": (
        dict(truncation="mask", aggregation=MEAN_OF_SUMS, counting="kept"),
        constant(1 / 2),
    ),
    "mask, tokens": (dict(truncation="mask", aggregation="token_mean_step"), constant(1 / 3)),
    "mask, length power": (
        dict(truncation="mask", aggregation="length_power", alpha=1.0, constant=1.0),
        constant(2 / 3),
    ),
    "mask, whiten": (  # tokens 1 0 0: mean 1/3, variance 1/3
        dict(truncation="mask", wrappers=["whiten"], whiten_eps=0.0),
        constant(*(x * math.sqrt(3) for x in (2 / 3, -1 / 3))),
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_one_group_by_hand(name):
    setting, expected = BY_HAND[name]
    np.testing.assert_allclose(moves([[A, B, C]], **setting), expected, rtol=1e-14, atol=1e-15)


TWO_GROUPS_BY_HAND = {
    # groups (A, B) with rewards 1, 0 and (C, C) with rewards 0, 0; 9 tokens
    "token mean": (dict(aggregation="token_mean_step"), constant(1 / 9)),
    "group token mean": (dict(aggregation="token_mean_group"), constant(1 / 6)),
    "drop": (dict(baseline=1 / 2, dynamic_sampling="drop"), constant(1 / 2, -1 / 2)),
    "drop, tokens still count": (
        dict(baseline=1 / 2, dynamic_sampling="drop", aggregation="token_mean_step"),
        constant(1 / 18, -1 / 18),
    ),
    "drop, no penalty either": (
        dict(reward=lambda length, *_: length * 1e-9, kl_loss=(1.0, "k1"), dynamic_sampling="drop"),
        constant(1e-9 - 1, 2e-9 - 1),
    ),
    # all four rewards: mean 1/4, squares 9/16 + 3/16 = 3/4, over 3
    "std of the step": (
        dict(advantage="standardized", scope="batch", eps=0.5),
        constant(1 / 2, -1 / 2),
    ),
    "remove: nobody left": (dict(truncation="remove", counting="kept"), constant(1.0)),
    "k1": (dict(reward=lambda *_: 0.0, kl_loss=(0.1, "k1")), constant(-0.1, -0.1, -0.2)),
}


@pytest.mark.parametrize("name", TWO_GROUPS_BY_HAND)
def test_two_groups_by_hand(name):
    setting, expected = TWO_GROUPS_BY_HAND[name]
    np.testing.assert_allclose(moves([[A, B], [C, C]], **setting), expected, rtol=1e-14, atol=1e-15)


def test_a_survivor_alone_contributes_nothing_where_responses_are_compared():
    sums = dict(truncation="remove", aggregation=MEAN_OF_SUMS, counting="kept", entropy=1.0)
    alone = moves([[A, C], [C, C]], advantage="leave_one_out", **sums)
    assert alone == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(  # the survivor is not counted: 1/2 for A and B, entropy of h = 1/4
        moves([[A, C], [A, B]], advantage="leave_one_out", **sums),
        np.add(constant(1 / 2, -1 / 2), [0, 0.5 * 3 / 16 * math.log(3), 0]),
        rtol=1e-14,
    )
    np.testing.assert_allclose(moves([[A, C]], truncation="remove"), constant(1.0))
    one_by_one = dict(truncation="remove", advantage="group_mean", group_of_one="raw")
    np.testing.assert_allclose(moves([[A], [C]], **one_by_one), constant(1.0))


def test_what_makes_a_group_unequal():
    """Task rewards of the responses in the baseline: neither KL nor a removed response."""
    drop = dict(dynamic_sampling="drop")
    assert moves([[A, C]], **drop, truncation="mask") == constant(1.0)
    assert moves([[A, C]], **drop, truncation="remove") == constant()
    assert moves([[A, B]], **drop, reward=one, kl_reward=(0.1, 1.0)) == constant()


def test_groups_of_one():
    assert moves([[A]], advantage="group_mean") == constant(0.0)
    assert moves([[A]], advantage="group_mean", group_of_one="raw") == constant(1.0)
    assert moves([[A]], advantage="standardized", eps=1.0) == constant(0.5)
    assert moves([[A]], advantage="standardized", group_of_one="zero") == constant(0.0)
    with pytest.raises(ValueError, match="at least 2"):
        moves([[A]], advantage="leave_one_out")


def test_gae_by_hand():
    """B with reward 0, V = (0.2, 0.4): delta_2 = -0.4, delta_1 = 0.9 * 0.4 - 0.2; A_1 = 0.16 - 0.45 * 0.4."""
    gae = dict(advantage="gae", gamma=0.9, first_values=[0.2], values=[[9.0, 0.4, 0.6]])
    update = moves([[B]], gae_lambda=0.5, **gae)
    np.testing.assert_allclose(update, from_coefficients(b=[-0.02, -0.4]), atol=1e-15)
    # adaptive: 1 - 1/(T/1.5) = 1/4 at T = 2, and 0 where alpha T <= 1
    adaptive = moves([[B]], gae_lambda=("adaptive", 2 / 3), **gae)
    np.testing.assert_allclose(adaptive, from_coefficients(b=[0.16 - 0.225 * 0.4, -0.4]), atol=1e-15)
    adaptive = moves([[B]], gae_lambda=("adaptive", 0.05), **gae)
    np.testing.assert_allclose(adaptive, from_coefficients(b=[0.16, -0.4]), atol=1e-15)
    # C, truncated: deltas 0.16, 0.9 * 0.6 - 0.4 = 0.14, then 0 - 0.6
    truncated = [0.16 + 0.45 * (0.14 - 0.45 * 0.6), 0.14 - 0.45 * 0.6, -0.6]
    update = moves([[C]], gae_lambda=0.5, **gae)
    np.testing.assert_allclose(update, from_coefficients(c=truncated), atol=1e-15)
    # a critic that is given in part is 0 elsewhere
    update = moves([[B]], gae_lambda=0.5, advantage="gae", values=gae["values"])
    np.testing.assert_allclose(update, from_coefficients(b=[0.4 - 0.5 * 0.4, -0.4]), atol=1e-15)
    update = moves([[B]], gae_lambda=0.5, advantage="gae", first_values=[0.2])
    np.testing.assert_allclose(update, from_coefficients(b=[-0.2, 0.0]), atol=1e-15)


def test_fewer_than_two_tokens_cannot_be_whitened():
    assert moves([[A]], wrappers=["whiten"], entropy=1.0) == [0.0, 0.0, 0.0]


def test_kl_by_hand():
    """h = 1/2 against 1/4 at both positions, pi 1/2 against 1/4; the response goes on once and stops."""
    path = RefPath(
        probability=0.5,
        hazard=[0.5, 0.5],
        p_correct=[1.0, 1.0],
        reference_hazard=[0.25, 0.25],
        reference_probability=0.25,
    )
    other = replace(path, reference_probability=0.75)
    world = World(classes=[RefClass(weight=1.0, paths=[path, other])], max_tokens=2)
    d1, d2 = math.log(2 / 3) + math.log(2), math.log(2)  # 4/3 and 2
    batch = [(0, [(0, 2, False, True)])]

    def check(coefficients, **setting):
        update = ref.batch_update(world, Setting(reward=by_grade, aggregation="token_sum", **setting), batch)
        a1, a2 = coefficients
        np.testing.assert_allclose(update.hazard_gradient, [[-a1 / 2, a2 / 2], [0, 0]], rtol=1e-13)
        np.testing.assert_allclose(update.path_gradient, [[a1 / 2, -a1 / 2]], rtol=1e-13)

    check([1 - 0.1, 1 - 0.1], kl_loss=(0.1, "k1"))
    check([1 - 0.1 * d1, 1 - 0.1 * d2], kl_loss=(0.1, "k2"))
    check([1 - 0.1 / 4, 1 - 0.1 / 2], kl_loss=(0.1, "k3"))
    check([1 - 0.1 * (d1 + d2 + 3)] * 2, kl_reward=(0.1, 3.0))
    later = 1 - 0.1 * d2
    check([later * 0.5 - 0.1 * (d1 + 3), later], kl_reward=(0.1, 3.0), advantage="gae", gae_lambda=0.5)
