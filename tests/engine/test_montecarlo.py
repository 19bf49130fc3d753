"""The engine on samples: each batch's gradient is the reference's, token by token, and the mean is the exact one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import lossim as ls
import reference as ref
import translate
from batches import as_batch, drawn, engine_gradient, step_of
from lossim import advantages
from shapings import GROUP_SHAPINGS
from tables import KINDS, PENALTIES, RULES, SAMPLINGS, TRUNCATIONS, make_world


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_a_batch(kind: str) -> None:
    """Random settings, random batches: the measure-based gradient is the token-by-token one."""
    rng = np.random.default_rng(sum(map(ord, kind)))
    for case in range(25):
        rule, truncation, sampling, penalty, paid = (str(rng.choice(options)) for options in (
            RULES, TRUNCATIONS, SAMPLINGS, PENALTIES, tuple(translate.REWARDS)))
        world = make_world(1000 + case, max_tokens=4, zero_one=0.1, curves=0.5, graded_truncation=True)
        scheme, setting = translate.both(world, rng, kind=kind, rule=rule, truncation=truncation, sampling=sampling,
                                         penalty=penalty, paid=paid, group_size=int(rng.integers(2, 5)), prompts=3)
        policy, reference = translate.policies(world)
        step = step_of(scheme, policy, reference=reference)
        draws = drawn(step, rng)
        truth = translate.flat(world, ref.batch_update(world, setting, as_batch(policy, draws)))
        np.testing.assert_allclose(engine_gradient(step, draws), truth, rtol=1e-9,
                                   atol=1e-9 * max(1.0, np.abs(truth).max()),
                                   err_msg=f"{kind} {rule} {truncation} {sampling} {penalty} {paid}")


SMALL = [dict(kind="whitened gae", rule="token mean", group_size=1, prompts=3),
         dict(kind="whitened group mean", rule="token mean", group_size=2, prompts=2, truncation="mask"),
         dict(kind="batch standardized", rule="1/T", group_size=2, prompts=2),
         dict(kind="standardized", rule="1/T", group_size=3, prompts=1, sampling="resample"),
         dict(kind="gae adaptive", rule="token mean", group_size=2, prompts=1, penalty="entropy")]


def test_the_scale_of_gpg_needs_sampling_under_a_wrapper_too() -> None:
    policy, _ = translate.policies(make_world(3, max_tokens=3))
    for estimator in (advantages.GPG(), advantages.PositiveOnly(inner=advantages.GPG())):
        scheme = ls.Scheme(advantage=estimator, aggregation=ls.aggregation.TokenMean(), group_size=4)
        with pytest.raises(ls.NoClosedForm, match="paid responses"):
            ls.drift(scheme, policy)


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case["kind"])
def test_mean_over_batches_is_the_enumerated_one(case: dict[str, object]) -> None:
    """Also for what exact cannot do in a small batch: within 4 standard errors of the enumeration, entry by entry."""
    world = make_world(77, max_tokens=3, curves=0.3, zero_one=0.0)
    scheme, setting = translate.both(world, np.random.default_rng(1), **case)
    policy, reference = translate.policies(world)
    truth = translate.flat(world, ref.expected_update(world, setting))
    result = ls.drift(scheme, policy, "monte_carlo", rng=np.random.default_rng(5), batches=64 * 1500,
                      reference=reference)
    stderr = np.concatenate([result.hazard_gradient.stderr.ravel(), result.path_gradient.stderr.ravel()])
    wrong = np.abs(translate.engine_flat(result) - truth) > 4.0 * stderr + 1e-12
    assert not wrong.any()
    assert np.median(stderr / np.abs(truth).max()) < 0.05  # tight enough to tell a wrong formula


@pytest.mark.parametrize("name", GROUP_SHAPINGS)
def test_group_relative_shaping_equals_enumeration(name: str) -> None:
    """Group-relative rewards by Monte Carlo, against a sum over all groups written out here."""
    shaping, plain = GROUP_SHAPINGS[name]
    policy = ls.Policy([ls.PromptClass("a", paths=[
        ls.Path("right", probability=0.6, length=ls.lengths.table([0.3, 0.5]), p_correct=1.0),
        ls.Path("wrong", probability=0.4, length=ls.lengths.table([0.2, 0.4]), p_correct=0.0)])], max_tokens=2)
    scheme = ls.Scheme(reward=ls.Reward(shaping=shaping), advantage=advantages.GroupMean(), group_size=3,
                       prompts_per_step=1, aggregation=ls.aggregation.SequenceMeanTokenSum())
    atoms = [(c, e, policy.cell_weight[c] * policy.ends[c, e]) for c in range(2) for e in range(3)]
    gradient = np.zeros((2, 2))
    for group in itertools.product(atoms, repeat=3):
        chance = np.prod([p for _, _, p in group])
        right = [c == 0 and e < 2 for c, e, _ in group]
        paid = np.array(plain([int(policy.length[e]) for _, e, _ in group], right, [float(one) for one in right]))
        for (c, e, _), advantage in zip(group, paid - paid.mean(), strict=True):
            for t in range(min(e, 1) + 1):
                gradient[c, t] += chance * advantage / 3.0 * (float(e == t) - policy.hazard[c, t])
    result = ls.drift(scheme, policy, "monte_carlo", rng=np.random.default_rng(3), batches=64 * 2000)
    assert (np.abs(result.hazard_gradient.value - gradient) < 4.0 * result.hazard_gradient.stderr + 1e-12).all()
    assert np.isnan(result.reward.value)
    with pytest.raises(ls.NoClosedForm, match=f"'reward': {type(shaping).__name__} compares the responses of a group"):
        ls.drift(scheme, policy)


def test_same_seed_same_numbers() -> None:
    policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=9),
                                   wrong=ls.lengths.geometric(mean=15), max_tokens=64)
    one, two = (ls.drift(ls.schemes.grpo(), policy, "monte_carlo", rng=np.random.default_rng(11), batches=64)
                for _ in range(2))
    assert one.length.value == two.length.value
    assert (one.hazard_gradient.stderr == two.hazard_gradient.stderr).all()
