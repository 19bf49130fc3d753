"""Random worlds, a policy of two paths and schemes that tests of drifts and of policies share."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import lossim as ls
import reference as ref
from lossim import advantages, aggregation

SEEDS = st.integers(0, 2**32 - 1)
GEOMETRIC = ls.lengths.geometric(mean=4)
SIGNED = ls.Reward(correct=1.0, incorrect=-1.0)


def random_world(seed: int, **options: Any) -> ref.World:
    options = {"paths": (2, 3), "max_tokens": 4, "graded_truncation": True} | options
    return ref.random_world(np.random.default_rng(seed), **options)


def scheme(advantage: advantages.Advantage, rule: aggregation.Aggregation, **slots: Any) -> ls.Scheme:
    return ls.Scheme(advantage=advantage, aggregation=rule, **{"group_size": 2, "prompts_per_step": 2} | slots)


def two_paths(**options: Any) -> ls.Policy:
    return ls.policies.two_paths(**{
        "solve_rate": 0.4, "right": ls.lengths.geometric(mean=300), "wrong": ls.lengths.geometric(mean=500),
        "max_tokens": 4096} | options)
