"""The oracle itself, against numbers worked out by hand and against identities that need no oracle."""

from __future__ import annotations

import math
from dataclasses import replace

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
