"""Steps on batches that an older policy drew: every surrogate, against enumeration under the old policy."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

import lossim as ls
import reference as ref
import translate
from batches import as_batch, drawn, engine_gradient, step_of
from lossim import surrogates
from tables import OLD_PENALTIES, RULES, SAMPLINGS, SURROGATES, TRUNCATIONS, setup


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("kind", ["raw", "leave one out", "group mean", "opo", "standardized", "maxrl", "pass at k",
                                  "gae", "gae adaptive"])
def test_every_surrogate_is_exact(kind: str, name: str) -> None:
    """Advantage × surrogate × a sample of the other slots, two groups of two; some classes have one path."""
    if kind.startswith("gae") and name == "gmpo":
        with pytest.raises(ValueError, match="one advantage per response"):
            setup(0, name, kind=kind, rule="1/T")
        return
    cases = list(itertools.product(RULES, TRUNCATIONS, SAMPLINGS, OLD_PENALTIES))
    rng = np.random.default_rng(sum(map(ord, kind + name)))
    for index in rng.choice(len(cases), size=2, replace=False):
        rule, truncation, sampling, penalty = cases[index]
        world, scheme, setting, policies = setup(int(index), name, kind=kind, rule=rule, truncation=truncation,
                                                 sampling=sampling, penalty=penalty, paid="three levels", prompts=2,
                                                 world={"curves": 0.0, "paths": [1, 2]})
        if sampling == "resample" and truncation == "remove" and policies["old"].accuracy in (0.0, 1.0):
            with pytest.raises(ValueError, match="never fills a batch"):  # what is left is all paid alike
                ls.drift(scheme, policies["policy"], old_policy=policies["old"], reference=policies["reference"])
            continue
        result = ls.drift(scheme, policies["policy"], old_policy=policies["old"], reference=policies["reference"])
        truth = translate.flat(world, ref.expected_update(world, setting))
        np.testing.assert_allclose(translate.engine_flat(result), truth, rtol=1e-9,
                                   atol=1e-10 * max(1e-2, np.abs(truth).max()), err_msg=str(cases[index]))


@pytest.mark.parametrize(("kind", "name"), [
    pair for pair in itertools.product(["raw", "standardized", "opo", "gae", "whitened group mean",
                                        "whitened gae", "centred gae", "whitened gae adaptive",
                                        "batch standardized", "positive group mean"], SURROGATES)
    if not ("gae" in pair[0] and pair[1] == "gmpo")])
def test_gradient_of_an_old_batch(kind: str, name: str) -> None:
    """A sampled batch of the old policy, token by token."""
    for seed in range(3):
        rule = RULES[(3 * seed + len(kind + name)) % len(RULES)]
        world, scheme, setting, policies = setup(seed, name, kind=kind, rule=rule, group_size=3,
                                                 prompts=3, paid="any shape", penalty="k2", max_tokens=4)
        step = step_of(scheme, **policies)
        draws = drawn(step, np.random.default_rng(seed))
        truth = translate.flat(world, ref.batch_update(world, setting, as_batch(policies["old"], draws)))
        np.testing.assert_allclose(engine_gradient(step, draws), truth, rtol=1e-9, atol=1e-9 * max(1, abs(truth).max()))


@pytest.mark.parametrize("kind", ["whitened raw", "whitened group mean", "whitened standardized", "whitened gae",
                                  "whitened gae adaptive", "centred gae"])
@pytest.mark.parametrize("name", ["clip", "dual", "sapo"])
def test_whitening_under_a_clip_is_the_limit_of_large_batches(kind: str, name: str) -> None:
    """Sixteen batches of 40,000 responses: their mean within 5 standard errors, entry by entry."""
    _, scheme, _, policies = setup(5, name, kind=kind, rule="1/T", sampling="drop", truncation="mask", group_size=4,
                                   prompts=10_000, paid="three levels", world={"curves": 0.3})
    given = policies["policy"], policies["old"]
    exact = translate.engine_flat(ls.drift(scheme, given[0], old_policy=given[1]))
    step = step_of(scheme, given[0], old=given[1])
    rng = np.random.default_rng(sum(map(ord, kind + name)))
    sampled = np.array([engine_gradient(step, drawn(step, rng)) for _ in range(16)])
    stderr = sampled.std(axis=0, ddof=1) / 4.0
    moving = np.abs(exact) > 1e-12
    assert (np.abs(sampled.mean(axis=0) - exact) < 5.0 * stderr + 1e-12)[moving].all()
    assert np.median(stderr[moving] / np.abs(exact[moving])) < 0.05


@pytest.mark.parametrize("name", SURROGATES)
def test_nothing_changes_on_policy(name: str) -> None:
    """Old equal to new in value, but not the same object: the gains are 1 up to rounding."""
    policy = ls.policies.two_paths(solve_rate=0.3, right=ls.lengths.geometric(mean=12),
                                   wrong=ls.lengths.geometric(mean=20), max_tokens=64)
    scheme = ls.Scheme(advantage=ls.advantages.GroupStandardized(), surrogate=SURROGATES[name][0],
                       aggregation=ls.aggregation.SequenceMeanTokenMean(), group_size=4)
    same = policy.moved(np.zeros(policy.motion.size))
    one, two = ls.drift(scheme, policy), ls.drift(scheme, policy, old_policy=same)
    np.testing.assert_allclose(two.hazard_gradient.value, one.hazard_gradient.value, rtol=1e-12, atol=1e-17)


def test_a_clip_over_too_many_levels_says_so() -> None:
    policy = ls.policies.two_paths(solve_rate=0.3, right=ls.lengths.geometric(mean=200),
                                   wrong=ls.lengths.geometric(mean=300), max_tokens=2048)
    scheme = ls.Scheme(reward=ls.Reward(shaping=ls.rewards.LinearPenalty(slope=1e-3)), surrogate=surrogates.PPOClip(),
                       advantage=ls.advantages.GroupMean(), aggregation=ls.aggregation.TokenMean())
    old = policy.moved(np.full(policy.motion.size, 0.05))
    assert np.isfinite(ls.drift(scheme, policy).length.value)
    with pytest.raises(ls.NoClosedForm, match="levels"):
        ls.drift(scheme, policy, old_policy=old)
    sampled = ls.drift(scheme, policy, "monte_carlo", rng=np.random.default_rng(0), old_policy=old)
    assert np.isfinite(sampled.length.value)


def test_old_policy_must_have_the_same_support() -> None:
    def build(hazard: float) -> ls.Policy:
        return ls.policies.unsolvable(length=ls.lengths.table([hazard, 0.5]), max_tokens=2)

    with pytest.raises(ValueError, match="exactly where"):
        ls.drift(ls.schemes.ppo(), build(0.0), old_policy=build(0.3))


@pytest.mark.parametrize("bad", [dict(low=-0.1), dict(high=float("nan")), dict(dual=1.0), dict(delta=0.5)])
def test_bad_clips(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        surrogates.PPOClip(**bad)


def test_off_policy_mask_keeps_what_is_exactly_at_the_threshold() -> None:
    """As its source: out is what lies above. At threshold 0 that keeps the responses whose ratio never left 1."""
    quarter = surrogates.OffPolicyMask(inner=surrogates.PPOClip(), threshold=0.25)
    total, length = np.array([-0.5, np.nextafter(-0.5, -1.0)]), np.array([2.0, 2.0])
    np.testing.assert_array_equal(quarter.response_gain(total, length, -1), [1.0, 0.0])
    np.testing.assert_array_equal(quarter.response_gain(total, length, +1), [1.0, 1.0])
    nothing = surrogates.OffPolicyMask(inner=surrogates.PPOClip(), threshold=0.0)
    np.testing.assert_array_equal(nothing.response_gain(np.array([0.0, -0.0, -1e-300, 1.0]), np.ones(4), -1),
                                  [1.0, 1.0, 0.0, 1.0])


def test_off_policy_mask_at_threshold_0_spares_the_prompts_that_have_not_moved() -> None:
    def policy(mean: float) -> ls.Policy:
        return ls.Policy([ls.PromptClass(name, weight=0.5, paths=[
            ls.Path("right", probability=0.4, length=ls.lengths.geometric(mean=3), p_correct=1.0),
            ls.Path("wrong", probability=0.6, length=ls.lengths.geometric(mean=mean if name == "moved" else 4),
                    p_correct=0.0)]) for name in ("moved", "not moved")], max_tokens=6)

    inner = surrogates.PPOClip()
    mask = surrogates.OffPolicyMask(inner=inner, threshold=0.0)
    masked, whole = (ls.drift(replace(ls.schemes.grpo(), surrogate=each), policy(4.2), old_policy=policy(4.0))
                     .hazard_gradient.value for each in (mask, inner))
    np.testing.assert_array_equal(masked[2:], whole[2:])
    assert np.abs(masked[1] - whole[1]).max() > 0.01 * np.abs(whole[1]).max()
