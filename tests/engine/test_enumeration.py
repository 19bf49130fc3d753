"""Every batch of a tiny world, by plain enumeration, equals ``exact`` on the whole list that must be exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from enumerated import check
from tables import PENALTIES, RULES, SAMPLINGS, TRUNCATIONS, make_world

LINEAR = ("raw", "leave one out", "group mean", "opo", "gae")


KINDS = (*LINEAR, "standardized", "standardized ddof 0", "maxrl", "pass at k", "leave one out std")


def covering(kind: int, rules: tuple[str, ...] = RULES) -> list[tuple[str, str, str, str]]:
    """Rule, truncation, sampling and penalty: every three of kind (by number), rule, truncation and sampling meet.

    Penalties go round: each meets every rule, and over the rules every truncation and every sampling.
    """
    return [(rule, TRUNCATIONS[t], SAMPLINGS[(t + r + kind) % 3], PENALTIES[(3 * r + t + kind) % len(PENALTIES)])
            for r, rule in enumerate(rules) for t in range(3)]


def test_the_covering_leaves_nothing_out() -> None:
    met = [(kind, *row) for kind in range(6) for row in covering(kind)]
    sizes = (6, len(RULES), 3, 3, len(PENALTIES))
    for places in [*itertools.combinations(range(4), 3), (1, 4), (2, 4), (3, 4), (0, 4)]:
        seen = {tuple(row[place] for place in places) for row in met}
        assert len(seen) == np.prod([sizes[place] for place in places]), places


@pytest.mark.parametrize("kind", KINDS[:6])
def test_combinations_of_slots(kind: str) -> None:
    """Advantage × aggregation × truncation × dynamic sampling by threes, two groups of two."""
    world = make_world(sum(map(ord, kind)), paths=[1, 2], curves=0.0)
    check(world, [dict(kind=kind, rule=rule, truncation=truncation, sampling=sampling, penalty=penalty, group_size=2,
                       prompts=2, paid="three levels")
                  for rule, truncation, sampling, penalty in covering(KINDS.index(kind))])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("group_size", [2, 3])
def test_one_group_with_four_levels_and_longer_responses(kind: str, group_size: int) -> None:
    """Four reward levels, max_tokens 4, unequal path numbers; kind, aggregation, truncation and sampling by threes."""
    world = make_world(11 + group_size, max_tokens=4, paths=[1, 2], curves=0.3, graded_truncation=True, zero_one=0.2)
    check(world, [dict(kind=kind, rule=rule, truncation=truncation, sampling=sampling, penalty=penalty,
                       group_size=group_size, prompts=1, paid="four levels")
                  for rule, truncation, sampling, penalty in covering(KINDS.index(kind) + group_size)])


@pytest.mark.parametrize("kind", [*LINEAR, "standardized"])
def test_two_groups_of_three(kind: str) -> None:
    world = make_world(5, max_tokens=2, curves=0.0)
    check(world, [dict(kind=kind, rule=rule, truncation=truncation, group_size=3, prompts=2, paid="three levels",
                       sampling="drop" if kind == "raw" else "none")
                  for rule, truncation in itertools.product(("1/T kept", "token mean", "ΔL"), TRUNCATIONS)])


@pytest.mark.parametrize("kind", [*LINEAR, "positive raw", "positive group mean", "positive opo"])
def test_rewards_of_any_shape(kind: str) -> None:
    """A linear length penalty: as many reward levels as lengths, where no std is involved."""
    world = make_world(21, max_tokens=3, curves=0.3, graded_truncation=True)
    check(world, [dict(kind=kind, rule=rule, truncation=truncation, sampling=sampling, group_size=2, prompts=1,
                       paid="any shape")
                  for rule, truncation, sampling in itertools.product(("1/T", "token mean", "ΔL"), TRUNCATIONS,
                                                                      SAMPLINGS)])


@pytest.mark.parametrize("kind", ["raw", "leave one out", "group mean", "standardized", "maxrl", "leave one out std",
                                  "opo"])
@pytest.mark.parametrize("group_size", [2, 3])
def test_token_means_by_sign(kind: str, group_size: int) -> None:
    """Balanced aggregation: four reward levels, so that a group has two of one sign, or an advantage of 0."""
    world = make_world(30 + group_size, max_tokens=3, paths=[1, 2], curves=0.3, graded_truncation=True, zero_one=0.0)
    check(world, [dict(kind=kind, rule="balanced", truncation=truncation, sampling=sampling, penalty=penalty,
                       group_size=group_size, prompts=1, paid="four levels", deadline=deadline)
                  for truncation, sampling, penalty, deadline in (
                      ("keep", "none", "none", None), ("keep", "drop", "k2", None),
                      ("remove", "resample", "none", None),
                      ("remove", "none", "all", None), ("keep", "none", "none", (2.0, "group")),
                      ("remove", "drop", "entropy", (2.0, "response")))])


def test_std_over_six_levels() -> None:
    """A std with as many levels as the small world has rewards."""
    world = make_world(8, max_tokens=3, curves=0.0)
    check(world, [dict(kind="standardized", rule=rule, group_size=3, prompts=1, paid="any shape")
                  for rule in ("1/T", "token mean group", "constant")])


@pytest.mark.parametrize("kind", ["raw", "gae", "gae adaptive", "group mean", "maxrl", "maxrl, alone raw",
                                  "standardized", "group mean, alone raw", "leave one out, alone raw",
                                  "opo, alone raw"])
def test_groups_of_one(kind: str) -> None:
    """Estimators of single responses, and those of groups that give a group of one its return (or nothing).

    Every rule meets every truncation, and each of both meets penalties and none.
    """
    world = make_world(3, max_tokens=3, paths=[1, 2])
    check(world, [dict(kind=kind, rule=rule, truncation=truncation, penalty=("none", "all")[(r + t) % 2],
                       group_size=1, prompts=3)
                  for (r, rule), (t, truncation) in itertools.product(enumerate(RULES), enumerate(TRUNCATIONS))])


def test_single_token_worlds() -> None:
    """max_tokens = 1: stop at once or be cut; every pair of kind, aggregation and truncation."""
    world = make_world(17, max_tokens=1, zero_one=0.0)
    check(world, [dict(kind=kind, rule=rule, truncation=TRUNCATIONS[(k + r) % 3], group_size=2, prompts=2,
                       paid="three levels")
                  for (k, kind), (r, rule) in itertools.product(enumerate(KINDS[:6]), enumerate(RULES))])


@pytest.mark.parametrize("seed", range(6))
def test_random_worlds(seed: int) -> None:
    """Random hazards, many of them 0 or 1, unequal classes, graded truncation."""
    rng = np.random.default_rng(100 + seed)
    world = make_world(100 + seed, max_tokens=3, zero_one=0.4, curves=0.1, graded_truncation=True)
    options = [(*LINEAR, "standardized", "gae adaptive"), RULES, TRUNCATIONS, ("none", "drop"), PENALTIES]
    cases = []
    for _ in range(25):
        kind, rule, truncation, sampling, penalty = (str(rng.choice(option)) for option in options)
        cases.append(dict(kind=kind, rule=rule, truncation=truncation, sampling=sampling, penalty=penalty,
                          group_size=2, prompts=2, paid="three levels"))
    check(world, cases)
