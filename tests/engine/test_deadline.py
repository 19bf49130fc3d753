"""Late groups and late responses, by enumeration of every batch, on batches token by token, and by Monte Carlo."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

import lossim as ls
import reference as ref
import translate
from batches import as_batch, drawn, engine_gradient, step_of
from enumerated import check
from lossim.advantages import GAE, OPO, GroupStandardized, LeaveOneOutStandardized
from lossim.aggregation import LengthPower, SequenceMeanTokenMean, TokenMean
from lossim.selection import Deadline
from tables import PENALTIES, RULES, SAMPLINGS, TRUNCATIONS, make_world, setup

KINDS = ("raw", "leave one out", "group mean", "opo", "gae", "standardized", "maxrl", "leave one out std")
DROPS = ("group", "response")


@pytest.mark.parametrize("drops", DROPS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_batch_by_enumeration(kind: str, drops: str) -> None:
    """Two groups of two, of at most three tokens, late beyond two, or beyond one where equal groups stay."""
    world = make_world(sum(map(ord, kind)), paths=[1, 2], curves=0.2, graded_truncation=True, zero_one=0.0)
    number = KINDS.index(kind)
    cases = []
    for r, rule in enumerate(RULES):
        sampling = SAMPLINGS[(r // 3 + r + number) % 3]
        cases.append(dict(kind=kind, rule=rule, truncation=TRUNCATIONS[(r + number) % 3], sampling=sampling,
                          penalty=PENALTIES[(3 * r + number) % len(PENALTIES)], group_size=2, prompts=2,
                          paid="three levels", deadline=(2.0 if sampling == "resample" else 1.0 + r % 2, drops)))
    check(world, cases)


@pytest.mark.parametrize("drops", DROPS)
def test_batches_token_by_token(drops: str) -> None:
    """Every rule, truncation and sampling meets on sampled batches; a late group is in none of them."""
    rng = np.random.default_rng(1)
    for case, (rule, kind) in enumerate(itertools.product(RULES, ("standardized", "gae", "batch standardized",
                                                                  "whitened group mean"))):
        world = make_world(case, max_tokens=4, zero_one=0.1, curves=0.5, graded_truncation=True)
        scheme, setting = translate.both(world, rng, kind=kind, rule=rule, truncation=TRUNCATIONS[case % 3],
                                         sampling=SAMPLINGS[case // 3 % 2], paid="three levels", deadline=(3.0, drops),
                                         penalty=PENALTIES[case % len(PENALTIES)], group_size=3, prompts=3)
        policy, reference = translate.policies(world)
        step = step_of(scheme, policy, reference=reference)
        draws = drawn(step, rng)
        assert drops == "response" or (step.old.length[draws.end] <= 3).all()
        truth = translate.flat(world, ref.batch_update(world, setting, as_batch(policy, draws)))
        np.testing.assert_allclose(engine_gradient(step, draws), truth, rtol=1e-9,
                                   atol=1e-9 * max(1.0, np.abs(truth).max()), err_msg=f"{kind} {rule} {case}")


@pytest.mark.parametrize("drops", DROPS)
@pytest.mark.parametrize("name", ["clip", "gspo"])
def test_older_policies_and_answers_that_take_work(name: str, drops: str) -> None:
    """The old policy's responses are late or in time; also where a response changes state on its way."""
    for seed, kind in enumerate(("standardized", "gae", "opo")):
        world, scheme, setting, policies = setup(seed, name, kind=kind, rule="token mean", paid="three levels",
                                                 deadline=(2.0, drops), group_size=2, prompts=1,
                                                 world=dict(curves=0.2, work=0.7, paths=[1, 2], zero_one=0.0))
        result = ls.drift(scheme, policies["policy"], old_policy=policies["old"], reference=policies["reference"])
        truth = translate.flat(world, ref.expected_update(world, setting))
        np.testing.assert_allclose(translate.engine_flat(result), truth, rtol=1e-9,
                                   atol=1e-10 * max(1e-2, np.abs(truth).max()))


POLICY = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.lognormal(median=20, sigma=0.6),
                               wrong=ls.lengths.lognormal(median=30, sigma=0.7), max_tokens=96)
PRICED = ls.Reward(shaping=ls.rewards.LinearPenalty(slope=0.003))


@pytest.mark.parametrize("drops", DROPS)
@pytest.mark.parametrize("slots", [
    dict(advantage=GroupStandardized(), aggregation=TokenMean(), reward=PRICED),
    dict(advantage=OPO(), aggregation=LengthPower(), dynamic_sampling="drop"),
    dict(advantage=LeaveOneOutStandardized(), aggregation=SequenceMeanTokenMean(), dynamic_sampling="resample"),
    dict(advantage=GAE(gae_lambda=0.9), aggregation=TokenMean()),
], ids=lambda slots: type(slots["advantage"]).__name__)
def test_exact_is_the_mean_of_samples(slots: dict[str, object], drops: str) -> None:
    """Of larger groups; four sigmas, and the scatter of a step within a tenth."""
    scheme = ls.Scheme(**slots, group_size=4, prompts_per_step=24,  # type: ignore[arg-type]
                       selection=Deadline(tokens=50, drops=drops))  # type: ignore[arg-type]
    exact = ls.drift(scheme, POLICY)
    sampled = ls.drift(scheme, POLICY, "monte_carlo", rng=np.random.default_rng(0), batches=1500)
    for name in ("length", "accuracy", "reward"):
        one, other = getattr(exact, name), getattr(sampled, name)
        assert abs(one.value - other.value) <= 4.0 * other.stderr, name
    assert exact.step_std.value == pytest.approx(sampled.step_std.value, rel=0.1)
    without = ls.drift(replace(scheme, selection=None), POLICY)
    assert float(exact.length) != pytest.approx(float(without.length), rel=0.02)


def test_by_hand() -> None:
    """h = 1/2, stopping at once pays 1: of groups of two in time by one token, nobody is unlike another."""
    policy = ls.Policy([ls.PromptClass("one", paths=[ls.Path("one", length=ls.lengths.constant(hazard=0.5),
                                                             p_correct=[1.0, 0.0])])], max_tokens=2)
    scheme = ls.Scheme(advantage=ls.advantages.Raw(), aggregation=ls.aggregation.TokenSum(), group_size=2,
                       prompts_per_step=1)
    whole = ls.drift(scheme, policy).hazard_gradient.value
    groups = ls.drift(replace(scheme, selection=Deadline(tokens=1)), policy).hazard_gradient.value
    single = ls.drift(replace(scheme, selection=Deadline(tokens=1, drops="response")), policy).hazard_gradient.value
    np.testing.assert_allclose(whole, [[0.5, 0.0]], atol=1e-15)  # 2 responses × P(right) × (1 - h)
    np.testing.assert_allclose(groups, [[1.0, 0.0]], atol=1e-15)  # both are right
    np.testing.assert_allclose(single, [[0.5, 0.0]], atol=1e-15)


def test_what_it_says() -> None:
    scheme = replace(ls.schemes.grpo(), selection=Deadline(tokens=50))
    assert "Deadline(tokens=50)" in str(scheme)
    late = 1.0 - POLICY.arrays.ends[:, :50].sum(axis=1) @ [0.4, 0.6]
    (note,) = [each for each in ls.drift(scheme, POLICY).notes if "late" in each]
    assert note.startswith(f"{1.0 - (1.0 - late) ** 8:.2g} of the groups have a late response, {late:.2g} of the")
    (note,) = [each for each in ls.drift(replace(scheme, selection=Deadline(tokens=50, drops="response")), POLICY).notes
               if "late" in each]
    assert note == f"{late:.2g} of the responses are late, and dropped"
    nothing = ls.drift(replace(scheme, selection=Deadline(tokens=96)), POLICY)
    assert float(nothing.length) == float(ls.drift(ls.schemes.grpo(), POLICY).length)
    assert not any("late" in each for each in nothing.notes)


def test_a_step_that_no_group_is_in_time_for() -> None:
    policy = ls.policies.two_paths(solve_rate=0.5, right=ls.lengths.table([0.0, 0.0, 0.5, 0.5]),
                                   wrong=ls.lengths.table([0.0, 0.0, 0.2, 0.5]), max_tokens=4)
    scheme = replace(ls.schemes.grpo(), selection=Deadline(tokens=2))
    with pytest.raises(ValueError, match="never fills a batch: the chance that a group is in time is 0"):
        ls.drift(scheme, policy)
    with pytest.raises(ValueError, match="of the 64 groups that it needs, after many draws 0 were in time"):
        ls.drift(scheme, policy, "monte_carlo", rng=np.random.default_rng(0), batches=16)
