"""Rewards, worlds, settings and numeric derivatives that the tests of the oracle share."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

import reference as ref
from reference import RefClass, RefPath, Setting, World


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


MEAN_OF_MEANS, MEAN_OF_SUMS = "sequence_mean_token_mean", "sequence_mean_token_sum"
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
