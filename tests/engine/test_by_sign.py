"""A mean over tokens for each sign of the advantage: where the enumeration of batches does not look."""

from __future__ import annotations

import numpy as np
import pytest

import lossim as ls
import reference as ref
import translate
from batches import as_batch, drawn, engine_gradient, step_of
from lossim.advantages import GAE, GroupMean, GroupStandardized, Raw, Whitened
from lossim.aggregation import BalancedTokenMean, SequenceMeanTokenMean, TokenMean, signs
from tables import SAMPLINGS, TRUNCATIONS, make_world, setup

POLICY = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.lognormal(median=20, sigma=0.6),
                               wrong=ls.lengths.lognormal(median=30, sigma=0.7), max_tokens=96)


@pytest.mark.parametrize("kind", ["raw", "group mean", "standardized", "opo", "gpg", "batch standardized",
                                  "leave one out std"])
def test_batches_token_by_token(kind: str) -> None:
    """Every truncation, also what no closed form has."""
    rng = np.random.default_rng(1)
    for case in range(9):
        world = make_world(case, max_tokens=4, zero_one=0.1, curves=0.5, graded_truncation=True)
        scheme, setting = translate.both(world, rng, kind=kind, rule="balanced", truncation=TRUNCATIONS[case % 3],
                                         sampling=SAMPLINGS[case // 3 % 2], paid="four levels", group_size=4, prompts=3,
                                         penalty=("none", "k2")[case % 2])
        policy, reference = translate.policies(world)
        step = step_of(scheme, policy, reference=reference)
        draws = drawn(step, rng)
        truth = translate.flat(world, ref.batch_update(world, setting, as_batch(policy, draws)))
        np.testing.assert_allclose(engine_gradient(step, draws), truth, rtol=1e-9,
                                   atol=1e-9 * max(1.0, np.abs(truth).max()), err_msg=f"{kind} {case}")


@pytest.mark.parametrize("name", ["clip", "gspo", "sapo"])
def test_older_policies_and_answers_that_take_work(name: str) -> None:
    for seed, kind in enumerate(("standardized", "raw", "leave one out std")):
        world, scheme, setting, policies = setup(seed, name, kind=kind, rule="balanced", paid="three levels",
                                                 world=dict(curves=0.2, work=0.7, paths=[1, 2]), group_size=2,
                                                 prompts=1)
        result = ls.drift(scheme, policies["policy"], old_policy=policies["old"], reference=policies["reference"])
        truth = translate.flat(world, ref.expected_update(world, setting))
        np.testing.assert_allclose(translate.engine_flat(result), truth, rtol=1e-9,
                                   atol=1e-10 * max(1e-2, np.abs(truth).max()))


def test_exact_is_the_mean_of_samples() -> None:
    """Groups of eight, four sigmas; masked responses are sampled only."""
    scheme = ls.Scheme(advantage=GroupStandardized(), aggregation=BalancedTokenMean(), prompts_per_step=8)
    exact = ls.drift(scheme, POLICY)
    sampled = ls.drift(scheme, POLICY, "monte_carlo", rng=np.random.default_rng(0), batches=2000)
    assert exact.length.method == "quadrature"
    assert abs(float(exact.length) - float(sampled.length)) <= 4.0 * sampled.length.stderr
    assert np.isnan(exact.step_std.value)
    assert any("step_std is known to method='monte_carlo' only under an aggregation that" in x for x in exact.notes)
    masked = translate.replace(scheme, truncation="mask")
    with pytest.raises(ls.NoClosedForm, match="a mean by sign where cut responses are masked"):
        ls.drift(masked, POLICY)
    assert np.isfinite(ls.drift(masked, POLICY, "monte_carlo", rng=np.random.default_rng(0), batches=64).length.value)


def test_reduces_to_other_rules() -> None:
    """Groups of one: the mean over the response's tokens. One sign for all: the token-mean of the group."""
    def length(advantage: ls.advantages.Advantage, rule: ls.aggregation.Aggregation, group_size: int) -> float:
        return float(ls.drift(ls.Scheme(advantage=advantage, aggregation=rule, group_size=group_size), POLICY).length)

    assert length(Raw(baseline=0.4), BalancedTokenMean(), 1) == pytest.approx(
        length(Raw(baseline=0.4), SequenceMeanTokenMean(), 1), rel=1e-9)
    assert length(Raw(baseline=2.0), BalancedTokenMean(), 4) == pytest.approx(
        length(Raw(baseline=2.0), TokenMean(scope="group"), 4), rel=1e-9)


def test_weights_of_groups() -> None:
    """Every sign has the share of the group that its responses are, however long they are."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 50, size=(20, 3, 8)).astype(float)
    advantage = rng.integers(-1, 2, size=lengths.shape).astype(float)
    in_loss = rng.random(lengths.shape) < 0.8
    weights = BalancedTokenMean().weights(lengths, in_loss, 50, advantage)
    for sign in (-1.0, 0.0, 1.0):
        mine = in_loss & (signs(advantage) == sign)
        np.testing.assert_allclose((weights * lengths * mine).sum(axis=-1), mine.sum(axis=-1), rtol=1e-12)


@pytest.mark.parametrize("advantage", [GAE(), Whitened(inner=GroupMean())])
def test_needs_one_advantage_per_response(advantage: ls.advantages.Advantage) -> None:
    with pytest.raises(ValueError, match="needs one advantage per response, not whitened, to read its sign"):
        ls.Scheme(advantage=advantage, aggregation=BalancedTokenMean())
