"""The oracle itself, against numbers worked out by hand and against identities that need no oracle."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

import reference as ref
from reference import RefClass, RefPath, Setting, Update, World


def one_path(hazard, p_correct=None, **path):
    p_correct = [1.0] * len(hazard) if p_correct is None else p_correct
    path = RefPath(probability=1.0, hazard=hazard, p_correct=p_correct, **path)
    return World(classes=[RefClass(weight=1.0, paths=[path])], max_tokens=len(hazard))


def by_grade(length, correct, truncated):
    return 1.0 if correct else 0.0


def one(length, correct, truncated):
    return 1.0


def of_everything(length, correct, truncated):
    return (1.0 if correct else -0.5) - 0.2 * length * length - (0.3 if truncated else 0.0)


def quantity(reward):
    return lambda j, k, length, truncated, correct: reward(length, correct, truncated)


def assert_close(a, b, scale=1.0, atol=1e-13):
    for table_a, table_b in zip(a, b, strict=True):
        for row_a, row_b in zip(table_a, table_b, strict=True):
            np.testing.assert_allclose(row_a, [scale * x for x in row_b], rtol=1e-11, atol=atol)


MEAN_OF_MEANS, MEAN_OF_SUMS = "sequence_mean_token_mean", "sequence_mean_token_sum"


@pytest.fixture(scope="module")
def world():
    """Two classes, three cells, N = 2; correct at 1, wrong at 2, and correct when cut on a first path."""
    rng = np.random.default_rng(5)
    made = ref.random_world(rng, paths=(2, 1), max_tokens=2, zero_one=0.0, reference=True)
    classes = []
    for c in made.classes:
        first, *others = [replace(p, p_correct=[1.0, 0.0]) for p in c.paths]
        classes.append(replace(c, paths=[replace(first, p_correct_truncated=1.0), *others]))
    return replace(made, classes=classes)


def moved(world, update, step):
    """The world with every logit moved along the update; hazards of exactly 0 and 1 stay."""
    classes = []
    for j, prompts in enumerate(world.classes):
        odds = [p.probability * math.exp(step * u) for p, u in zip(prompts.paths, update[1][j], strict=True)]
        paths = []
        for k, path in enumerate(prompts.paths):
            factors = [math.exp(-step * u) for u in update[0][world.cell(j, k)]]
            hazard = [h / (h + (1 - h) * f) for h, f in zip(path.hazard, factors, strict=True)]
            paths.append(replace(path, hazard=hazard, probability=odds[k] / sum(odds)))
        classes.append(replace(prompts, paths=paths))
    return replace(world, classes=classes)


def every_logit(world):
    for table, rows in enumerate(ref.zero(world)):
        for row, columns in enumerate(rows):
            for column in range(len(columns)):
                direction = ref.zero(world)
                direction[table][row][column] = 1.0
                yield (table, row, column), direction


def differentiated(world, function, step=1e-4):
    """Gradient of a function of the world, by central differences in the logits (error of order step^2)."""
    gradient = ref.zero(world)
    for (table, row, column), direction in every_logit(world):
        up, down = (function(moved(world, direction, sign * step)) for sign in (1, -1))
        gradient[table][row][column] = (up - down) / (2 * step)
    return gradient


# ---- by hand ----


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


# ---- identities ----


@pytest.mark.parametrize("f", [ref.LENGTH, quantity(of_everything)])
def test_exact_derivative_is_that_of_moved_logits(world, f):
    gradient = differentiated(world, lambda w: ref.expected_value(w, f))
    assert_close(ref.gradient_of_mean(world, f), gradient, atol=1e-7)
    for (table, row, column), direction in every_logit(world):
        derivative = ref.numeric_derivative(world, direction, f)
        assert derivative == pytest.approx(gradient[table][row][column], abs=1e-7)


UNBIASED = [
    dict(advantage="raw", baseline=0.7),
    dict(advantage="leave_one_out"),
    dict(
        advantage="gae",
        gae_lambda=1.0,
        first_values=[0.3, -0.2],
        values=[[5.0, 1.0], [5.0, -1.0], [5.0, 0.5]],
    ),
]


@pytest.mark.parametrize("setting", UNBIASED, ids=lambda s: s["advantage"])
def test_token_sum_is_the_gradient_of_the_expected_reward(world, setting):
    setting = Setting(reward=of_everything, aggregation="token_sum", group_size=2, prompts_per_step=2, **setting)
    expected = ref.gradient_of_mean(world, quantity(of_everything))
    assert_close(ref.expected_update(world, setting), expected, scale=4)
    group_mean = replace(setting, advantage="group_mean")
    assert_close(ref.expected_update(world, group_mean), expected, scale=4 * (1 - 1 / 2))


def test_exact_critic_makes_every_lambda_the_gradient(world):
    values, first = [], []
    for j, prompts in enumerate(world.classes):
        mean_reward = 0.0
        for k, path in enumerate(prompts.paths):
            # N = 2: the value before token 2, then the mean over the first stop decision
            h1, h2 = path.hazard
            stop = [
                p * of_everything(t, True, False) + (1 - p) * of_everything(t, False, False)
                for t, p in ((1, path.p_correct[0]), (2, path.p_correct[1]))
            ]
            cut = path.p_correct_truncated
            truncated = cut * of_everything(2, True, True) + (1 - cut) * of_everything(2, False, True)
            before_two = h2 * stop[1] + (1 - h2) * truncated
            values.append([math.nan, before_two])
            mean_reward += path.probability * (h1 * stop[0] + (1 - h1) * before_two)
            assert world.cell(j, k) == len(values) - 1
        first.append(mean_reward)
    for lam in (0.0, 0.4, 1.0):
        setting = Setting(
            reward=of_everything,
            advantage="gae",
            gae_lambda=lam,
            first_values=first,
            values=values,
            aggregation="token_sum",
        )
        update = ref.expected_update(world, setting)
        assert_close(update, ref.gradient_of_mean(world, quantity(of_everything)))


def test_kl_in_the_reward_response_level_and_token_level(world):
    """What was paid before a token does not move it: the return and the return to go agree on average."""
    raw = Setting(reward=by_grade, kl_reward=(0.3, 0.1), aggregation="token_sum")
    assert_close(
        ref.expected_update(world, raw),
        ref.expected_update(world, replace(raw, advantage="gae", gae_lambda=1.0)),
    )


def kl_of_first_token(world):
    total = 0.0
    for prompts in world.classes:
        for path in prompts.paths:
            h, h_ref = path.hazard[0], path.reference_hazard[0]
            stop = h * math.log(h / h_ref) + (1 - h) * math.log((1 - h) / (1 - h_ref))
            path_part = math.log(path.probability / path.reference_probability)
            total += prompts.weight * path.probability * (stop + path_part)
    return total


def entropy_of_first_token(world):
    total = 0.0
    for prompts in world.classes:
        for path in prompts.paths:
            joint = [path.probability * path.hazard[0], path.probability * (1 - path.hazard[0])]
            total -= prompts.weight * sum(p * math.log(p) for p in joint)
    return total


def test_penalties_on_one_token_are_gradients():
    """With one token every state is visited: k2 is the gradient of KL, entropy that of entropy, k1 zero."""
    world = ref.random_world(np.random.default_rng(8), paths=(3, 2), max_tokens=1, zero_one=0.0, reference=True)
    plain = Setting(reward=lambda *_: 0.0, prompts_per_step=2)
    kl = ref.expected_update(world, replace(plain, kl_loss=(0.5, "k2")))
    assert_close(kl, differentiated(world, kl_of_first_token), scale=-0.5, atol=1e-8)
    entropy = ref.expected_update(world, replace(plain, entropy=0.5))
    assert_close(entropy, differentiated(world, entropy_of_first_token), scale=0.5, atol=1e-8)
    assert_close(ref.expected_update(world, replace(plain, kl_loss=(0.5, "k1"))), ref.zero(world))


def test_no_penalty_at_the_reference(world):
    at_home = replace(
        world,
        classes=[
            replace(c, paths=[replace(p, reference_hazard=None, reference_probability=None) for p in c.paths])
            for c in world.classes
        ],
    )
    for estimator in ("k2", "k3"):
        update = ref.expected_update(at_home, Setting(reward=lambda *_: 0.0, kl_loss=(1.0, estimator)))
        assert update == ref.zero(world)


# ---- the enumeration ----

ZOO = [
    Setting(reward=of_everything, group_size=2, prompts_per_step=2, **slots)
    for slots in [
        dict(advantage="raw", aggregation="token_mean_step", kl_reward=(0.1, 0.2)),
        dict(advantage="group_mean", aggregation="token_mean_group", truncation="mask", entropy=0.1),
        dict(advantage="leave_one_out", counting="kept", truncation="remove", kl_loss=(0.1, "k3")),
        dict(advantage="standardized", aggregation="length_power", dynamic_sampling="drop"),
        dict(advantage="standardized", scope="batch", truncation="remove", aggregation="constant"),
        dict(advantage="opo", dynamic_sampling="resample", truncation="remove"),
        dict(advantage="opo", dynamic_sampling="resample", wrappers=["positive_only"]),
        dict(advantage="gae", gae_lambda=("adaptive", 0.8), wrappers=["whiten"], entropy=0.1),
        dict(advantage="gae", wrappers=["center", "positive_only"], aggregation=MEAN_OF_SUMS),
    ]
]


def test_merged_and_ordered_batches_agree(world):
    merged, ordered = (ref.expected_updates(world, ZOO, merge=merge) for merge in (True, False))
    for a, b, setting in zip(merged, ordered, ZOO, strict=True):
        assert_close(a, b)
        assert_close(a, ref.expected_update(world, setting))
        assert ref.inner(a, a) > 1e-8


def test_merged_and_ordered_groups_of_three_agree(world):
    for setting in ZOO:
        setting = replace(setting, group_size=3, prompts_per_step=1)
        assert_close(ref.expected_update(world, setting), ref.expected_update(world, setting, merge=False))


@pytest.mark.parametrize("truncation", ["keep", "mask", "remove"])
@pytest.mark.parametrize("dynamic_sampling", ["none", "drop", "resample"])
@pytest.mark.parametrize("merge", [True, False])
def test_probabilities_sum_to_one(world, truncation, dynamic_sampling, merge):
    setting = replace(ZOO[0], truncation=truncation, dynamic_sampling=dynamic_sampling)
    assert math.fsum(p for p, _ in ref.batches(world, setting, merge)) == pytest.approx(1.0, abs=1e-14)


def test_expectation_is_the_mean_of_batch_updates(world):
    total = ref.zero(world)
    for probability, batch in ref.batches(world, ZOO[5]):
        one = ref.batch_update(world, ZOO[5], batch)
        for (table, row, column), _ in every_logit(world):
            total[table][row][column] += probability * one[table][row][column]
    assert_close(total, ref.expected_update(world, ZOO[5]))


def test_resampling_by_hand():
    """h = 1/2, stopping pays 1: in unequal groups one stopped and one did not, (1/2 + 1/2) * 1/2."""
    setting = Setting(reward=by_grade, advantage="group_mean", group_size=2, aggregation="token_sum")
    hazard = one_path([0.5])
    resampled = replace(setting, dynamic_sampling="resample", prompts_per_step=3)
    np.testing.assert_allclose(ref.expected_update(hazard, resampled).hazard_gradient, [[1.5]], rtol=1e-14)
    dropped = replace(setting, dynamic_sampling="drop")
    np.testing.assert_allclose(ref.expected_update(hazard, dropped).hazard_gradient, [[0.25]], rtol=1e-14)
    with pytest.raises(ValueError, match="no group has unequal rewards"):
        ref.expected_update(hazard, replace(resampled, reward=lambda *_: 1.0))


def test_dropping_is_resampling_times_the_chance_to_be_unequal():
    """Where denominators do not depend on the batch; classes differ in how often their groups are unequal."""
    world = ref.random_world(np.random.default_rng(3), max_tokens=2)
    dropped = Setting(reward=by_grade, dynamic_sampling="drop", group_size=2, advantage="leave_one_out")
    resampled = replace(dropped, dynamic_sampling="resample")
    step = ref.Step(world, dropped)
    chance = math.fsum(p for p, batch in ref.batches(world, dropped) if step.unequal(batch[0]))
    assert 0.05 < chance < 0.95
    assert_close(ref.expected_update(world, dropped), ref.expected_update(world, resampled), scale=chance)


def test_frozen_hazards_do_not_move():
    for seed in range(5):
        made = ref.random_world(np.random.default_rng(seed), zero_one=0.5, reference=True, graded_truncation=True)
        setting = Setting(reward=of_everything, group_size=2, kl_loss=(0.1, "k3"), kl_reward=(0.1, 0.1), entropy=0.2)
        update = ref.expected_update(made, setting)
        for j, prompts in enumerate(made.classes):
            assert sum(update.path_gradient[j]) == pytest.approx(0.0, abs=1e-13)
            for k, path in enumerate(prompts.paths):
                for h, move in zip(path.hazard, update.hazard_gradient[made.cell(j, k)], strict=True):
                    assert 0.0 < h < 1.0 or move == 0.0
        assert sum(p for j in range(2) for p, _ in ref.atoms(made, j)) == pytest.approx(2.0)


# ---- batches of an old policy ----


@pytest.fixture(scope="module")
def stale():
    """Two classes, three cells, N = 2, a reference and an old policy; no frozen hazards."""
    rng = np.random.default_rng(4)
    return ref.random_world(rng, paths=(2, 1), max_tokens=2, zero_one=0.0, reference=True, old=True)


# name: setting, and the objective of one response. It is given the logs of the ratios, their values at the point of
# differentiation (what a stop-gradient sees), and the advantages; each token's term is to be averaged.
def clip(x, low, high):
    return min(max(x, low), high)


def ppo(r, a):
    return min(r * a, clip(r, 0.7, 1.4) * a)


def tokenwise(objective):
    return lambda logs, _, advantages: [objective(math.exp(x), a) for x, a in zip(logs, advantages, strict=True)]


def cispo_objective(logs, at, advantages):
    return [clip(math.exp(y), 0.7, 1.4) * a * x for x, y, a in zip(logs, at, advantages, strict=True)]


def sapo_objective(r, a):
    tau = 2.0 if a > 0 else 3.0
    return 4 / tau / (1 + math.exp(-tau * (r - 1))) * a


def gspo_objective(logs, at, advantages):
    """The token form: s_t = sg(s) * probability / sg(probability)."""
    s = math.prod(math.exp(y) for y in at) ** (1 / len(at))
    tokens = [s * math.exp(x - y) for x, y in zip(logs, at, strict=True)]
    return [ppo(s_t, a) for s_t, a in zip(tokens, advantages, strict=True)]


def gmpo_objective(logs, _, advantages):
    """Bounds exp(0.4) and exp(-0.3); one advantage for all tokens, so each has the same share of the objective."""
    a = advantages[0]
    bounded = [min(math.exp(x), math.exp(0.4)) if a > 0 else max(math.exp(x), math.exp(-0.3)) for x in logs]
    return [math.prod(bounded) ** (1 / len(bounded)) * a] * len(logs)


BOUNDS = dict(clip_low=0.3, clip_high=0.4)
OBJECTIVES = {
    "policy_gradient": (dict(), lambda logs, _, advantages: [x * a for x, a in zip(logs, advantages, strict=True)]),
    "importance_weighted": (dict(), tokenwise(lambda r, a: r * a)),
    "ppo_clip": (BOUNDS, tokenwise(ppo)),
    "ppo_clip dual": (BOUNDS | dict(dual=3.0), tokenwise(lambda r, a: max(ppo(r, a), 3.0 * a) if a < 0 else ppo(r, a))),
    "ppo_clip delta": (
        BOUNDS | dict(delta=2.0),
        tokenwise(lambda r, a: min(min(r, 2.0) * a, clip(r, 0.7, 1.4) * a)),
    ),
    # an upper bound below 1 + high acts at positive advantages as well
    "ppo_clip low delta": (
        BOUNDS | dict(delta=1.2),
        tokenwise(lambda r, a: min(min(r, 1.2) * a, clip(r, 0.7, 1.2) * a)),
    ),
    "cispo": (BOUNDS, cispo_objective),
    "sapo": (dict(tau_positive=2.0, tau_negative=3.0), tokenwise(sapo_objective)),
    "gspo": (BOUNDS, gspo_objective),
    "gmpo": (BOUNDS, gmpo_objective),
}
RATIOS = (0.3, 0.69, 0.71, 0.8, 1.0, 1.19, 1.21, 1.3, 1.39, 1.41, 1.49, 1.5, 1.99, 2.01, 2.99, 3.01, 5.0)


def surrogate(name, **setting):
    return Setting(reward=of_everything, surrogate=name.split()[0], **OBJECTIVES[name][0], **setting)


def slope(function, step=1e-6):
    return (function(step) - function(-step)) / (2 * step)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gain_of_a_single_token_is_the_slope_of_its_objective(name):
    setting, objective = surrogate(name), OBJECTIVES[name][1]
    for ratio, a in product(RATIOS, (0.7, -0.7)):
        at = [math.log(ratio)]
        expected = slope(lambda step, at=at, a=a: objective([at[0] + step], at, [a])[0])
        (gain,) = ref.gains(setting, [a], at)
        assert a * gain == pytest.approx(expected, abs=1e-8), (ratio, a)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gains_of_a_response_are_the_slopes_of_its_objective(name):
    """Three tokens; the mean of their terms, differentiated by one log probability at a time."""
    setting, objective = surrogate(name), OBJECTIVES[name][1]
    rng = np.random.default_rng(1)
    clipped = 0
    for _ in range(50):
        at = list(rng.normal(scale=0.6, size=3))
        advantages = [float(rng.normal())] * 3 if name == "gmpo" else list(rng.normal(size=3))
        gains = ref.gains(setting, advantages, at)
        clipped += gains.count(0.0)
        for t in range(3):

            def mean_term(step, t=t, at=at, advantages=advantages):
                logs = [x + (step if i == t else 0.0) for i, x in enumerate(at)]
                return math.fsum(objective(logs, at, advantages)) / 3

            assert advantages[t] * gains[t] / 3 == pytest.approx(slope(mean_term), abs=1e-8)
    assert (10 < clipped < 140) == (setting.surrogate in ("ppo_clip", "gspo", "gmpo"))


GAINS_BY_HAND = {
    # ratios 2 and 1/2, at advantages 1 and then -1; low 0.2, high 0.3
    "policy_gradient": (dict(), [1, 1], [1, 1]),
    "importance_weighted": (dict(), [2, 1 / 2], [2, 1 / 2]),
    "ppo_clip": (dict(), [0, 1 / 2], [2, 0]),
    "ppo_clip dual": (dict(dual=1.9), [0, 1 / 2], [0, 0]),
    "ppo_clip dual above": (dict(dual=2.1), [0, 1 / 2], [2, 0]),
    "ppo_clip delta": (dict(delta=1.9), [0, 1 / 2], [0, 0]),
    "ppo_clip delta alone": (dict(clip_high=9.0, delta=1.9), [0, 1 / 2], [0, 0]),
    "ppo_clip dual alone": (dict(clip_high=9.0, dual=1.9), [2, 1 / 2], [0, 0]),
    "cispo": (dict(), [1.3, 0.8], [1.3, 0.8]),
    # gates 3/4 at ratio 2 and tau = ln 3, 1/4 at ratio 1/2 and tau = 2 ln 3
    "sapo": (dict(tau_positive=math.log(3), tau_negative=2 * math.log(3)), [3 / 2, None], [None, 3 / 8]),
    "gspo": (dict(), [1, 1], [1, 1]),
    # exp of the mean of 0.3 and -ln 2, of ln 2 and -0.2
    "gmpo": (dict(), [0, math.sqrt(math.exp(0.3) / 2)], [math.sqrt(2 * math.exp(-0.2)), 0]),
}


@pytest.mark.parametrize("name", GAINS_BY_HAND)
def test_gains_by_hand(name):
    slots, *expected = GAINS_BY_HAND[name]
    setting = Setting(reward=one, surrogate=name.split()[0], **dict(clip_low=0.2, clip_high=0.3) | slots)
    for a, gains in zip((1.0, -1.0), expected, strict=True):
        found = ref.gains(setting, [a, a], [math.log(2), -math.log(2)])
        known = [(x, y) for x, y in zip(found, gains, strict=True) if y is not None]
        assert known
        for x, y in known:
            assert x == pytest.approx(y, rel=1e-14)


def test_gspo_clips_the_response_and_each_advantage_decides_for_itself():
    gspo = Setting(reward=one, surrogate="gspo", advantage="gae")
    assert ref.gains(gspo, [1.0, -1.0], [math.log(9), -math.log(4)]) == pytest.approx([0.0, 1.5])
    assert ref.gains(gspo, [1.0, -1.0], [-math.log(9), math.log(4)]) == pytest.approx([2 / 3, 0.0])


def test_surrogates_that_are_not_defined():
    with pytest.raises(ValueError, match="one advantage per response"):
        Setting(reward=one, surrogate="gmpo", advantage="gae")
    with pytest.raises(ValueError, match="belong to ppo_clip"):
        Setting(reward=one, surrogate="gspo", dual=3.0)
    with pytest.raises(ValueError, match="unknown name"):
        Setting(reward=one, surrogate="reinforce")


def token_logs(world, j, response):
    """Log probabilities of the tokens, said once more: (path and first decision), then decision by decision."""
    k, length, truncated, _ = response
    path = world.classes[j].paths[k]
    logs = [math.log(1 - h) for h in path.hazard[:length]]
    if not truncated:
        logs[-1] = math.log(path.hazard[length - 1])
    logs[0] += math.log(path.probability)
    return logs


def old_policy(world):
    """The world with its old policy as the policy, put together here by hand."""
    classes = [
        replace(c, paths=[replace(p, hazard=p.old_hazard, probability=p.old_probability) for p in c.paths])
        for c in world.classes
    ]
    return replace(world, classes=classes)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_update_of_a_batch_is_the_gradient_of_the_surrogate_loss(stale, name):
    """The mean over responses of the mean over tokens, differentiated by every logit; all the batches of two."""
    setting, objective = surrogate(name, baseline=0.2, group_size=2), OBJECTIVES[name][1]
    old, gained = old_policy(stale), []
    for _, batch in ref.batches(stale, setting):
        ((j, responses),) = batch
        before = [token_logs(old, j, r) for r in responses]
        now = [np.subtract(token_logs(stale, j, r), b) for r, b in zip(responses, before, strict=True)]

        def loss(world, j=j, responses=responses, before=before, now=now):
            terms = []
            for r, b, at in zip(responses, before, now, strict=True):
                a = of_everything(r.length, r.correct, r.truncated) - 0.2
                logs = np.subtract(token_logs(world, j, r), b)
                terms.append(math.fsum(objective(logs, at, [a] * r.length)) / r.length)
            return math.fsum(terms) / 2

        update = ref.batch_update(stale, setting, batch)
        assert_close(update, differentiated(stale, loss, step=1e-5), atol=1e-8)
        gained.append(ref.inner(update, update))
    assert max(gained) > 1e-4


def test_one_token_of_an_old_policy_by_hand():
    """h = 1/4, drawn with 1/2; stopping pays 1: 1/2 * 3/4, and with the ratio 1/2 the gradient 1/4 * 3/4."""
    world = one_path([0.25], old_hazard=[0.5])
    setting = Setting(reward=by_grade)

    def moves_by(**slots):
        return ref.expected_update(world, replace(setting, **slots)).hazard_gradient[0][0]

    assert moves_by() == pytest.approx(3 / 8)
    assert moves_by(surrogate="importance_weighted") == pytest.approx(3 / 16)
    assert moves_by(surrogate="cispo") == pytest.approx(0.8 * 3 / 8)
    assert moves_by(surrogate="ppo_clip") == pytest.approx(3 / 16)  # far below 1, but it pays to go back
    assert moves_by(surrogate="ppo_clip", reward=lambda *_: -1.0) == pytest.approx(-1 / 2 * 3 / 2 * -1 / 4)
    # penalties have no ratio; the reference is 1/2 and so is the old policy: no KL is paid in the reward
    world = one_path([0.25], old_hazard=[0.5], reference_hazard=[0.5])
    nothing = dict(reward=lambda *_: 0.0, surrogate="importance_weighted")
    assert moves_by(**nothing, kl_reward=(1.0, 0.0)) == 0.0
    assert moves_by(**nothing, kl_loss=(1.0, "k1")) == pytest.approx(-(1 / 2 * 3 / 4 - 1 / 2 * 1 / 4))
    assert moves_by(**nothing, kl_loss=(1.0, "k2")) == pytest.approx(3 / 8 * math.log(2) + 1 / 8 * math.log(3 / 2))
    assert moves_by(**nothing, entropy=1.0) == pytest.approx(3 / 16 * math.log(3))
    # the reference is the new policy: what is paid is log(old/new), log 2 for stopping and log(2/3) for going on
    world = one_path([0.25], old_hazard=[0.5], reference_hazard=[0.25])
    paid = -math.log(2) * 1 / 2 * 1 / 2 * 3 / 4 + math.log(2 / 3) * 1 / 2 * 3 / 2 * 1 / 4
    assert moves_by(**nothing, kl_reward=(1.0, 0.0)) == pytest.approx(paid)
    assert moves_by(**nothing, kl_loss=(1.0, "k2")) == 0.0


def test_the_path_is_part_of_the_first_token():
    """Paths 1/4 and 3/4, drawn evenly; the first pays 1: 1/2 * 1/2 * (3/4, -3/4)."""
    right = RefPath(probability=0.25, hazard=[1.0], p_correct=[1.0], old_probability=0.5)
    wrong = RefPath(probability=0.75, hazard=[1.0], p_correct=[0.0], old_probability=0.5)
    world = World(classes=[RefClass(weight=1.0, paths=[right, wrong])], max_tokens=1)
    setting = Setting(reward=by_grade, surrogate="importance_weighted")
    np.testing.assert_allclose(ref.expected_update(world, setting).path_gradient, [[3 / 16, -3 / 16]], rtol=1e-14)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_at_the_old_policy_every_surrogate_is_the_policy_gradient(world, name):
    same = replace(
        world,
        classes=[
            replace(c, paths=[replace(p, old_hazard=p.hazard, old_probability=p.probability) for p in c.paths])
            for c in world.classes
        ],
    )
    chosen = {"surrogate": name.split()[0], **OBJECTIVES[name][0]}
    zoo = [s for s in ZOO if s.advantage != "gae" or name != "gmpo"]
    plain = ref.expected_updates(world, zoo)
    for at in (world, same):
        for a, b in zip(ref.expected_updates(at, [replace(s, **chosen) for s in zoo]), plain, strict=True):
            assert_close(a, b)


@pytest.mark.parametrize("setting", UNBIASED, ids=lambda s: s["advantage"])
def test_with_one_token_importance_weights_give_the_gradient_at_the_new_policy(setting):
    """One token is a whole response, so its ratio makes up for the batch; a baseline may not see the response."""
    world = ref.random_world(np.random.default_rng(8), paths=(3, 2), max_tokens=1, zero_one=0.0, old=True)
    setting = {key: value for key, value in setting.items() if key != "values"}
    setting = Setting(
        reward=of_everything,
        aggregation="token_sum",
        surrogate="importance_weighted",
        group_size=2,
        prompts_per_step=2,
        **setting,
    )
    expected = ref.gradient_of_mean(world, quantity(of_everything))
    assert_close(ref.expected_update(world, setting), expected, scale=4)
    assert_close(expected, differentiated(world, lambda w: ref.expected_value(w, quantity(of_everything))), atol=1e-7)
    unweighted = ref.expected_update(world, replace(setting, surrogate="policy_gradient"))
    assert max(abs(x / 4 - y) for x, y in zip(unweighted[0][0], expected[0][0], strict=True)) > 1e-3


def test_ratios_of_tokens_leave_out_how_often_a_position_is_reached(stale):
    """Two tokens: z_2 moves as under the new policy, times how much oftener the old one comes to position 2."""
    setting = Setting(reward=of_everything, aggregation="token_sum", surrogate="importance_weighted")
    found, exact = ref.expected_update(stale, setting), ref.gradient_of_mean(stale, quantity(of_everything))
    for c in range(3):
        j, k = ((0, 0), (0, 1), (1, 0))[c]
        path = stale.classes[j].paths[k]
        now, before = path.probability * (1 - path.hazard[0]), path.old_probability * (1 - path.old_hazard[0])
        assert found[0][c][1] == pytest.approx(exact[0][c][1] * before / now, rel=1e-11)


def test_bounds_that_do_not_bind_leave_the_importance_weights(stale):
    wide = dict(clip_low=1.0, clip_high=1e9)
    for setting in ZOO:
        plain = ref.expected_update(stale, replace(setting, surrogate="importance_weighted"))
        for name, slots in (("ppo_clip", {}), ("ppo_clip", dict(dual=1e9, delta=1e9)), ("cispo", {})):
            assert_close(ref.expected_update(stale, replace(setting, surrogate=name, **wide, **slots)), plain)
        if setting.advantage != "gae":
            wide_logs = dict(clip_low=1e9, clip_high=1e9)
            assert_close(
                ref.expected_update(stale, replace(setting, surrogate="gmpo", **wide_logs)),
                ref.expected_update(stale, replace(setting, surrogate="gspo", **wide_logs)),
            )


def test_old_batches_merged_and_ordered_agree(stale):
    chosen = [{"surrogate": name.split()[0], **OBJECTIVES[name][0]} for name in OBJECTIVES if name != "gmpo"]
    zoo = [replace(s, **chosen[i % len(chosen)]) for i, s in enumerate(ZOO)]
    zoo.append(replace(ZOO[3], surrogate="gmpo"))
    merged, ordered = (ref.expected_updates(stale, zoo, merge=merge) for merge in (True, False))
    for a, b in zip(merged, ordered, strict=True):
        assert_close(a, b)
        assert ref.inner(a, a) > 1e-8


@pytest.mark.parametrize("dynamic_sampling", ["none", "drop", "resample"])
def test_batches_are_those_of_the_old_policy(stale, dynamic_sampling):
    setting = replace(ZOO[0], dynamic_sampling=dynamic_sampling)
    assert list(ref.batches(stale, setting)) == list(ref.batches(old_policy(stale), setting))
    assert list(ref.batches(stale, setting)) != list(ref.batches(replace_old(stale), setting))


def replace_old(world):
    """The world without its old policy."""
    classes = [
        replace(c, paths=[replace(p, old_hazard=None, old_probability=None) for p in c.paths]) for c in world.classes
    ]
    return replace(world, classes=classes)


def test_random_old_policies_reach_the_clips():
    """The same world but for the old policy, frozen hazards shared; ratios on all sides of 0.8, 1.2 and 3."""
    reached = []
    for seed in range(20):
        made, plain = (ref.random_world(np.random.default_rng(seed), zero_one=0.3, old=old) for old in (True, False))
        assert replace_old(made) == plain
        ratios = []
        for j, prompts in enumerate(made.classes):
            assert sum(p.old_probability for p in prompts.paths) == pytest.approx(1.0)
            for path in prompts.paths:
                for h, before in zip(path.hazard, path.old_hazard, strict=True):
                    assert (h in (0.0, 1.0)) == (h == before)
            for _, response in ref.atoms(made.old(), j):
                assert response in [r for _, r in ref.atoms(made, j)]
                ratios += [math.exp(ref.log_ratio(made, j, response, t, "old")) for t in range(1, response.length + 1)]
        reached.append([min(ratios) < 0.8, any(0.8 < r < 1.2 and r != 1.0 for r in ratios), max(ratios) > 3.0])
    assert np.all(np.mean(reached, axis=0) > 0.7)
