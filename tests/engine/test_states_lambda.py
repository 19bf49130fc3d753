"""Paths with work where the end, the move and the sign of an advantage hang together: a λ that depends on the length,
whitened or under signs, and under GAE gains that read both the ratio of a whole response and signs."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import lossim as ls
import reference as ref
import translate
from batches import step_of
from lossim import advantages, aggregation, critics, surrogates
from lossim._engine.gae_moments import advantage_sums
from tables import TRUNCATIONS, make_world, setup

WHOLE = ("gspo", "vespo", "off-policy mask")
"""Surrogates whose gain hangs on the ratio of a whole response, and on signs."""
BY_TOKEN = ("clip", "dual", "delta", "sapo", "topr")
WORKING, DONE = ls.lengths.geometric(mean=25), ls.lengths.lognormal(median=20, sigma=0.7)
ANSWER = ls.lengths.lognormal(median=15, sigma=0.6)
ADAPTIVE = advantages.LengthAdaptive(alpha=0.1)
BOUND = float(stats.t(63).isf(stats.norm.sf(4.0)))
"""What a z-score from 64 blocks exceeds as rarely as a normal one does 4."""


def world_of_five(**options: object) -> dict[str, object]:
    return {"curves": 0.2, "work": 0.9, "paths": 1, "zero_one": 0.2} | options


# --- every batch ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), [
    *itertools.product(["gae adaptive"], [*BY_TOKEN, *WHOLE]), *itertools.product(["gae"], WHOLE)])
def test_signs_over_five_tokens(kind: str, name: str) -> None:
    """GAE's advantages of the same token have both signs, by how the response goes on and when the answer is there."""
    for seed, (rule, truncation, penalty) in enumerate([("1/T", "keep", "none"), ("token mean", "mask", "reward"),
                                                        ("ΔL", "remove", "k3"), ("sum kept", "keep", "all")]):
        world, scheme, setting, policies = setup(20 + seed, name, kind=kind, rule=rule, truncation=truncation,
                                                 penalty=penalty, paid="any shape", max_tokens=5, prompts=1,
                                                 world=world_of_five())
        result = ls.drift(scheme, policies["policy"], old_policy=policies["old"], reference=policies["reference"])
        truth = translate.flat(world, ref.expected_update(world, setting))
        np.testing.assert_allclose(translate.engine_flat(result), truth, rtol=1e-9,
                                   atol=1e-10 * max(1e-2, np.abs(truth).max()))


# --- whitening: the limit of large batches ---------------------------------------------------------------------------


def limit_update(world: ref.World, setting: ref.Setting) -> ref.Update:
    """What one response is expected to do when μ and σ are those of all tokens of all responses."""
    step = ref.Step(world, setting)
    trained = [(prompts.weight * probability, facts) for j, prompts in enumerate(world.classes)
               for probability, response in ref.atoms(world.old(), j)
               for facts in step.in_loss([step.facts(j, response)])]
    rows = [step.gae(facts) for _, facts in trained]
    tokens = math.fsum(p * len(row) for (p, _), row in zip(trained, rows, strict=True))
    center = math.fsum(p * sum(row) for (p, _), row in zip(trained, rows, strict=True)) / tokens
    spread = math.fsum(p * sum((a - center) ** 2 for a in row) for (p, _), row in zip(trained, rows, strict=True))
    scale = (spread / tokens + setting.whiten_eps) ** -0.5 if "whiten" in setting.wrappers else 1.0
    total = ref.zero(world)
    for (probability, facts), row in zip(trained, rows, strict=True):
        credit = [(a - center) * scale for a in row]
        weight = probability * step.weight(facts, [facts], [facts])
        for gain, a, score in zip(ref.gains(setting, credit, facts.log_moved), credit, facts.score, strict=True):
            for table, place, column, value in score:
                total[table][place][column] += weight * gain * a * value
    return total


@pytest.mark.parametrize("kind", ["whitened gae adaptive", "centred gae adaptive", "whitened gae"])
@pytest.mark.parametrize("name", ["policy gradient", *BY_TOKEN, *WHOLE])
def test_whitening_is_its_definition_over_all_responses(kind: str, name: str) -> None:
    """μ and σ summed over every response there is; then the signs of what is left, under each surrogate."""
    for seed, (rule, truncation) in enumerate(itertools.product(["1/T", "constant"], ["keep", "mask"])):
        world, scheme, setting, policies = setup(40 + seed, name, kind=kind, rule=rule, truncation=truncation,
                                                 group_size=1, prompts=1, paid="any shape", max_tokens=5,
                                                 world=world_of_five(graded_truncation=True))
        result = ls.drift(scheme, policies["policy"], old_policy=policies["old"])
        assert result.length.method == "large-batch limit"
        truth = translate.flat(world, limit_update(world, setting))
        np.testing.assert_allclose(translate.engine_flat(result), truth, rtol=1e-9,
                                   atol=1e-10 * max(1e-2, np.abs(truth).max()))


@pytest.mark.parametrize("kind", ["whitened gae adaptive", "centred gae adaptive"])
def test_whitening_on_policy(kind: str) -> None:
    """The same where the policy draws its own batch, with KL in the reward and cut responses in the loss or not."""
    for seed, truncation in enumerate(TRUNCATIONS):
        world = make_world(60 + seed, max_tokens=5, paths=1, work=0.9, zero_one=0.2, curves=0.3, graded_truncation=True)
        scheme, setting = translate.both(world, np.random.default_rng(seed), kind=kind, rule="1/T", group_size=1,
                                         truncation=truncation, penalty="reward", paid="three levels")
        policy, reference = translate.policies(world)
        truth = translate.flat(world, limit_update(world, setting))
        found = translate.engine_flat(ls.drift(scheme, policy, reference=reference))
        np.testing.assert_allclose(found, truth, rtol=1e-9, atol=1e-10 * max(1e-2, np.abs(truth).max()))


def test_sums_of_advantages_given_the_end() -> None:
    """Σ Â and Σ Â² of a response, on average over when it moved."""
    for seed in range(4):
        world = make_world(80 + seed, max_tokens=5, paths=1, work=1.0, zero_one=0.2, curves=0.5, graded_truncation=True)
        scheme, setting = translate.both(world, np.random.default_rng(seed), kind="gae adaptive", rule="1/T",
                                         penalty="reward", paid="three levels")
        policy, reference = translate.policies(world)
        found = advantage_sums(step_of(scheme, policy, reference=reference))
        step = ref.Step(world, setting)
        mass = np.zeros_like(policy.law)
        sums = np.zeros((2, *policy.law.shape))
        for j in range(len(world.classes)):
            for probability, response in ref.atoms(world, j):
                row = np.array(step.gae(step.facts(j, response)))
                end = world.max_tokens if response.truncated else response.length - 1
                place = world.cell(j, response.path, response.moved > 0), int(not response.correct), end
                mass[place] += probability
                sums[:, *place] += probability * np.array([row.sum(), (row**2).sum()])
        there = mass > 0
        for mine, total in zip(found, sums, strict=True):
            np.testing.assert_allclose(mine[there], (total[there] / mass[there]), rtol=1e-11, atol=1e-12)


# --- special cases --------------------------------------------------------------------------------------------------


def prompts(path: ls.Path) -> ls.Policy:
    """The path beside one with a curve."""
    other = ls.Path("other", probability=0.6, length=ls.lengths.geometric(mean=15), p_correct_truncated=0.1,
                    p_correct=lambda t: 0.1 + 0.5 * t / (t + 20.0))
    return ls.Policy([ls.PromptClass("one", paths=[replace(path, probability=0.4), other])], max_tokens=60,
                     coordinates=ls.coordinates(bins=3, sharing=1.0))


def schemes_of(critic: critics.Critic) -> list[ls.Scheme]:
    """λ of the length whitened, under signs, and both; and gains by ratios of whole responses."""
    base = ls.schemes.ppo(aggregation=aggregation.SequenceMeanTokenSum())
    gae = advantages.GAE(gae_lambda=ADAPTIVE, gamma=0.99, critic=critic)
    constant = replace(gae, gae_lambda=0.9)
    dual = surrogates.PPOClip(dual=1.5)
    return [replace(base, advantage=advantage, surrogate=surrogate) for advantage, surrogate in (
        (advantages.Whitened(inner=gae), surrogates.PolicyGradient()), (gae, dual),
        (advantages.Whitened(inner=gae), dual), (constant, surrogates.GSPO()), (constant, surrogates.VESPO()),
        (advantages.Whitened(inner=gae), surrogates.GSPO()), (constant, dual))]


def assert_same(scheme: ls.Scheme, one: tuple[ls.Policy, ls.Policy], other: tuple[ls.Policy, ls.Policy]) -> None:
    """Two pairs of a policy and the one that drew its batch have the same drift."""
    mine, plain = (ls.drift(scheme, policy, old_policy=old) for policy, old in (one, other))
    tokens = float(np.abs(plain.sources.value).sum())
    for name in ("length", "composition", "within", "length_by_path", "length_by_outcome", "accuracy", "reward",
                 "truncation_rate", "length_per_kl", "path_gradient"):
        np.testing.assert_allclose(getattr(mine, name).value, getattr(plain, name).value, rtol=1e-8,
                                   atol=1e-11 * tokens, err_msg=f"{name} {scheme}")


@pytest.mark.parametrize("number", range(7))
def test_an_answer_that_is_there_at_once_is_a_right_path(number: int) -> None:
    def both(done: ls.lengths.Length) -> tuple[ls.Policy, ls.Policy]:
        work = ls.Work(answer=ls.lengths.constant(hazard=1.0), done=done, p_correct_truncated=0.3)
        return (prompts(ls.Path("thinks", length=WORKING, p_correct=0.0, work=work)),
                prompts(ls.Path("thinks", length=done, p_correct=1.0, p_correct_truncated=0.3)))

    now, before = both(DONE), both(ls.lengths.lognormal(median=15, sigma=0.8))
    assert_same(schemes_of(critics.Exact(bias=0.1))[number], (now[0], before[0]), (now[1], before[1]))


@pytest.mark.parametrize("number", range(7))
def test_equal_hazards_in_both_states_are_one_path_with_a_curve(number: int) -> None:
    """p_correct(t) = P(W <= t), for a critic that does not see the state either."""
    def both(length: ls.lengths.Length) -> tuple[ls.Policy, ls.Policy]:
        work = ls.Work(answer=ANSWER, never=0.2, done=length, p_correct_truncated=0.0)
        one = ls.Path("thinks", length=length, p_correct=1.0 - np.cumprod(1.0 - work.arrival(60)))
        return prompts(replace(one, p_correct=0.0, work=work)), prompts(one)

    now, before = both(WORKING), both(ls.lengths.lognormal(median=15, sigma=0.8))
    assert_same(schemes_of(critics.Linear(level=0.3, slope=-0.01))[number], (now[0], before[0]), (now[1], before[1]))


@pytest.mark.parametrize(("alpha", "gae_lambda"), [(1e-3, 0.0), (1e13, 1.0)])
def test_a_lambda_that_is_the_same_at_all_lengths(alpha: float, gae_lambda: float) -> None:
    """Too small an α to count at all lengths is λ = 0; one without bound is λ = 1."""
    work = ls.Work(answer=ANSWER, never=0.2, done=DONE, p_correct=0.9, p_correct_truncated=0.3)
    policy = prompts(ls.Path("thinks", length=WORKING, p_correct=0.1, work=work))
    old = policy.moved(0.3 * np.random.default_rng(2).standard_normal(policy.motion.size))
    for scheme in schemes_of(critics.Exact(bias=0.1)):
        whitened = scheme.advantage.whitening
        gae = replace(scheme.advantage.token_level, gae_lambda=advantages.LengthAdaptive(alpha=alpha))
        constant = replace(gae, gae_lambda=gae_lambda)
        one, other = (ls.drift(replace(scheme, advantage=replace(whitened, inner=each) if whitened else each), policy,
                               old_policy=old) for each in (gae, constant))
        np.testing.assert_allclose(one.hazard_gradient.value, other.hazard_gradient.value, rtol=1e-8,
                                   atol=1e-10 * np.abs(other.hazard_gradient.value).max())


# --- real lengths ---------------------------------------------------------------------------------------------------


def of_300() -> tuple[ls.Policy, ls.Policy]:
    """A policy that thinks, with wrong and cut responses beside, and the one that drew its batch."""
    work = ls.Work(answer=ls.lengths.lognormal(median=50.0, sigma=0.6), never=0.1, p_correct=0.95,
                   done=ls.lengths.geometric(mean=80), p_correct_truncated=0.6)
    thinks = ls.Path("thinks", probability=0.7, length=ls.lengths.constant(hazard=6e-3), p_correct=0.02, work=work)
    wrong = ls.Path("wrong", probability=0.3, length=ls.lengths.lognormal(median=90, sigma=0.7), p_correct=0.05)
    policy = ls.Policy([ls.PromptClass("prompts", paths=[thinks, wrong])], max_tokens=300,
                       coordinates=ls.coordinates(edges=[1, 30, 100, 300]))
    return policy, policy.moved(0.2 * np.random.default_rng(5).standard_normal(policy.motion.size))


GAE = advantages.GAE(gae_lambda=advantages.LengthAdaptive(alpha=0.05), critic=critics.Exact(bias=-0.1))
LARGE = {
    "whitened": (advantages.Whitened(inner=GAE), surrogates.PolicyGradient(), 512),
    "clip": (GAE, surrogates.PPOClip(high=0.28), 64),
    "whitened clip": (advantages.Whitened(inner=GAE), surrogates.PPOClip(dual=1.5), 512),
    "gspo": (replace(GAE, gae_lambda=0.95), surrogates.GSPO(low=0.01, high=0.01), 64),
    "gspo, λ of the length": (GAE, surrogates.GSPO(low=0.01, high=0.01), 64),
}


@pytest.mark.parametrize("name", LARGE)
def test_exact_equals_monte_carlo_at_300_tokens(name: str) -> None:
    """The whole update and its drifts within 4 sigmas, of 32,768 responses; whitened in batches of 512."""
    advantage, surrogate, batch = LARGE[name]
    policy, old = of_300()
    scheme = ls.Scheme(advantage=advantage, surrogate=surrogate, aggregation=aggregation.SequenceMeanTokenMean(),
                       group_size=1, prompts_per_step=batch)
    exact = ls.drift(scheme, policy, old_policy=old)
    sampled = ls.drift(scheme, policy, "monte_carlo", rng=np.random.default_rng([11, *map(ord, name)]), old_policy=old,
                       batches=(1 << 15) // batch)
    for quantity in ("update", "length", "within", "composition", "needed", "accuracy", "truncation_rate"):
        one, other = getattr(sampled, quantity), getattr(exact, quantity)
        noise = np.ravel(one.stderr)
        assert (noise > 0).all()
        scores = (np.ravel(one.value) - np.ravel(other.value)) / noise
        assert (np.abs(scores) < BOUND).all(), (quantity, np.round(scores, 1))
