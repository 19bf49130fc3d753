"""What a scheme makes of a log: against sampled batches, a plain reference, and logs written out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import lossim as ls
from batches import engine_gradient, step_of
from logged import CLASSES, UNKNOWING, gradient, ragged, rows, sample
from lossim.advantages import (
    GAE,
    GPG,
    OPO,
    GroupMean,
    GroupStandardized,
    LeaveOneOut,
    LeaveOneOutStandardized,
    LengthAdaptive,
    MaxRL,
    PassK,
    PositiveOnly,
    Raw,
    Whitened,
)
from lossim.aggregation import (
    BalancedTokenMean,
    ConstantNormalizer,
    LengthPower,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    TokenMean,
    TokenSum,
    TurnMean,
)
from lossim.penalties import KL, Entropy
from lossim.policies import Draws
from lossim.schemes import Scheme
from lossim.selection import Deadline
from shapings import GROUP_SHAPINGS
from sizes import chunks_of, slabs_kept_up_to

PROMPTS, GROUP = 30, 4
COLUMNS = ("lengths", "rewards", "prompt_ids", "truncated", "correct", "classes")
MEAN = SequenceMeanTokenMean()
SCHEMES = {
    "std": Scheme(advantage=GroupStandardized(), aggregation=MEAN),
    "mean, mask": Scheme(advantage=GroupMean(), aggregation=ConstantNormalizer(), truncation="mask"),
    "loo, remove": Scheme(advantage=LeaveOneOut(), aggregation=SequenceMeanTokenSum(), truncation="remove"),
    "opo": Scheme(advantage=OPO(), aggregation=TokenMean()),
    "raw": Scheme(advantage=Raw(baseline=(0.2, 0.6)), aggregation=TokenSum()),
    "gpg": Scheme(advantage=GPG(), aggregation=MEAN),
    "late responses": Scheme(advantage=GroupStandardized(), aggregation=TokenMean(),
                             selection=Deadline(tokens=4, drops="response")),
    "balanced": Scheme(advantage=GroupStandardized(), aggregation=BalancedTokenMean(), truncation="mask"),
    "turns": Scheme(advantage=GroupMean(), aggregation=TurnMean(tokens_per_turn=3, scope="step")),
    "std of the others": Scheme(advantage=LeaveOneOutStandardized(), aggregation=TokenMean()),
    "maxrl": Scheme(advantage=MaxRL(), aggregation=TokenMean(scope="group"), truncation="remove"),
    "pass@k": Scheme(advantage=PassK(), aggregation=MEAN),
    "positive": Scheme(advantage=PositiveOnly(inner=GPG()), aggregation=LengthPower(alpha=0.4)),
    "batch std": Scheme(advantage=GroupStandardized(scope="batch"), aggregation=TokenMean(), truncation="remove"),
    "kept": Scheme(advantage=GroupMean(), aggregation=SequenceMeanTokenSum(counting="kept"), truncation="mask"),
    "whitened": Scheme(advantage=Whitened(inner=GroupMean()), aggregation=TokenMean(), truncation="mask"),
    "dropped": Scheme(advantage=GroupStandardized(), aggregation=TokenMean(), dynamic_sampling="drop"),
    "dropped, whitened": Scheme(advantage=Whitened(inner=GAE(gae_lambda=0.8)), aggregation=TokenMean(),
                                truncation="mask", dynamic_sampling="drop"),
    "gae": Scheme(advantage=GAE(critic=ls.critics.Constant(value=0.4)), aggregation=MEAN),
    "gae, exact critic": Scheme(advantage=GAE(critic=ls.critics.Exact()), aggregation=TokenMean()),
    "gae, whitened": Scheme(advantage=Whitened(inner=GAE(critic=ls.critics.Linear(level=0.1, slope=0.02)), ddof=0),
                            aggregation=MEAN),
    "gae, adaptive": Scheme(advantage=GAE(gae_lambda=LengthAdaptive(alpha=0.3)), aggregation=TokenMean()),
    "entropy": Scheme(advantage=GroupMean(), aggregation=TokenMean(), penalties=(Entropy(coefficient=0.1),)),
}


def drift(log: ls.Rollouts, scheme: Scheme, **options: Any) -> ls.Drift:
    return ls.audit(log, scheme, what_if=False, **{"replicates": 0} | options)[0].drift


def of(found: ls.Drift) -> tuple[np.ndarray, np.ndarray]:
    """The gradient by stops [cell, t] and by paths [cell]."""
    paths = found.path_gradient.value
    return found.hazard_gradient.value, paths[~np.isnan(paths)]


def laid_out(plain: tuple[dict[tuple[int, int, int], float], dict[tuple[int, int], float]], like: np.ndarray,
             width: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """The plain reference's gradient as arrays, for classes of so many paths."""
    stops, first = np.zeros_like(like), np.zeros(len(like))
    for (kind, path, t), x in plain[0].items():
        stops[kind * width + path, t - 1] = x
    for (kind, path), x in plain[1].items():
        first[kind * width + path] = x
    return stops, first


def close(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...], tolerance: float = 1e-12) -> None:
    largest = max(np.abs(x).max() for x in other)
    for x, y in zip(one, other, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * max(largest, 1e-3))


@pytest.mark.parametrize("paths", ["outcome", "one"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", SCHEMES)
def test_a_log_of_whole_batches_is_those_batches(name: str, steps: int, paths: str) -> None:
    """The engine of sampled batches, with the log's own law for a policy, is the other road."""
    scheme = replace(SCHEMES[name], prompts_per_step=PROMPTS // steps, group_size=GROUP)
    log = sample(prompts=PROMPTS, group_size=GROUP)
    log = ls.Rollouts(log.lengths, log.rewards, log.prompt_ids, log.truncated, log.correct, log.classes,
                      steps=log.prompt_ids // scheme.prompts_per_step)
    found = drift(log, scheme, paths=paths)
    cell = log.classes if paths == "one" else 2 * log.classes + ~log.correct
    end = np.where(log.truncated, log.lengths.max(), log.lengths - 1)
    shape = (steps, scheme.prompts_per_step, GROUP)
    draws = Draws(cell=cell.reshape(shape), grade=(~log.correct).astype(int).reshape(shape), end=end.reshape(shape),
                  entered=np.zeros(shape, dtype=int))
    together = engine_gradient(step_of(scheme, found.policy), draws)
    close((np.concatenate([x.ravel() for x in of(found)]),), (together,))


@pytest.mark.parametrize("paths", ["outcome", "one"])
@pytest.mark.parametrize("truncation", ["keep", "mask", "remove"])
@pytest.mark.parametrize(("estimator", "advantage"), [("mean", GroupMean()), ("std", GroupStandardized()),
                                                      ("loo", LeaveOneOut())])
@pytest.mark.parametrize(("word", "rule"), [("sequence", MEAN), ("sum", SequenceMeanTokenSum()),
                                            ("tokens", TokenMean())])
def test_a_scattered_log_with_ragged_groups_is_the_plain_reference(estimator: str, advantage: ls.advantages.Advantage,
                                                                   word: str, rule: ls.aggregation.Aggregation,
                                                                   truncation: str, paths: str) -> None:
    log = ragged()
    stops, first = of(drift(log, Scheme(advantage=advantage, aggregation=rule, truncation=truncation), paths=paths))
    plain = gradient(log, estimator=estimator, aggregation=word, truncation=truncation, paths=paths)
    close((stops, first), laid_out(plain, stops, width=1 if paths == "one" else 2))


@pytest.mark.parametrize(("word", "rule"), [("sequence", MEAN), ("tokens", TokenMean()),
                                            ("group tokens", TokenMean(scope="group"))])
def test_late_groups_count_for_the_law_and_for_nothing_else(word: str, rule: ls.aggregation.Aggregation) -> None:
    log = ragged()
    scheme = Scheme(advantage=GroupMean(), aggregation=rule, selection=Deadline(tokens=9.0))
    given = rows(log)
    late = {row.group for row in given if row.length > 9}
    in_time = [i for i, row in enumerate(given) if row.group not in late]
    kept = ls.Rollouts(*(getattr(log, name)[in_time] for name in COLUMNS), steps=log.steps[in_time])
    assert 0.2 < len(in_time) / len(log) < 0.8
    stops, first = of(drift(log, scheme))
    plain = gradient(kept, estimator="mean", aggregation=word, law=log)
    close((stops, first), laid_out(plain, stops, width=2))


@pytest.mark.parametrize("name", SCHEMES)
def test_how_much_of_a_log_is_in_memory_at_once_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ragged()
    before = of(drift(log, SCHEMES[name]))
    chunks_of(monkeypatch, 7)
    for most in (0, len(log)):
        slabs_kept_up_to(monkeypatch, most)
        close(of(drift(log, SCHEMES[name])), before)


class OneMoreOrLess(np.random.Generator):
    """Draws every prompt once but one, which is left out or drawn twice: each prompt in its turn."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def multinomial(self, n: int, pvals: object, size: int) -> np.ndarray:
        assert size == 2 * n
        return np.concatenate([1 - np.eye(n, dtype=int), 1 + np.eye(n, dtype=int)])


def repeated(log: ls.Rollouts, times: np.ndarray) -> ls.Rollouts:
    """The log with each prompt so many times."""
    prompts = np.repeat(np.arange(len(times)), times)
    rows = np.concatenate([np.flatnonzero(log.prompt_ids == prompt) for prompt in prompts])
    return ls.Rollouts(log.lengths[rows], log.rewards[rows], np.repeat(np.arange(len(prompts)), GROUP),
                       log.truncated[rows], log.correct[rows], log.classes[rows])


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if name not in (
    "gpg", "positive", "batch std", "gae, exact critic", "gae, whitened", "dropped, whitened", "gae, adaptive")])
def test_a_redrawn_log_is_the_log_with_its_prompts_repeated(name: str) -> None:
    """Whitened GAE is left out: its mean and spread are redrawn with the critic's values held; λ by length has no
    standard errors. Those of others are the spread over logs with one prompt less or more, widened by √(B/(B-1))."""
    prompts = 12
    log, scheme = sample(prompts=prompts, group_size=GROUP), SCHEMES[name]
    found = drift(log, scheme, replicates=2 * prompts, rng=OneMoreOrLess())
    each = [of(drift(repeated(log, np.ones(prompts, dtype=int) + change), scheme))
            for sign in (-1, 1) for change in sign * np.eye(prompts, dtype=int)]
    paths = found.path_gradient.stderr
    for number, stderr in enumerate((found.hazard_gradient.stderr, paths[~np.isnan(found.path_gradient.value)])):
        apart = np.array([made[number] for made in each]) - of(found)[number]
        spread = np.sqrt(prompts / (prompts - 1.0) * np.mean(apart**2, axis=0))
        close((stderr,), (spread,), 1e-11)


def redrawn(log: ls.Rollouts, **options: Any) -> tuple[ls.Drift, ls.Drift, list[ls.Drift]]:
    """A drift with standard errors and without, and those of the logs that are drawn for it."""
    scheme = SCHEMES["std"]
    found = drift(log, scheme, replicates=2 * PROMPTS, rng=OneMoreOrLess(), **options)
    each = [drift(repeated(log, np.ones(PROMPTS, dtype=int) + change), scheme, **options)
            for sign in (-1, 1) for change in sign * np.eye(PROMPTS, dtype=int)]
    return found, drift(log, scheme, **options), each


def widened(estimate: ls.Estimate, drawn: list[float]) -> float:
    return np.sqrt(PROMPTS / (PROMPTS - 1) * np.mean((np.array(drawn) - float(estimate)) ** 2))


def test_noise_is_taken_off_the_size_of_an_update() -> None:
    """Off the log's once, off a redrawn log's twice: it has that of the log and that of being redrawn."""
    found, once, each = redrawn(sample(prompts=PROMPTS, group_size=GROUP))
    noise = np.mean([np.sum((one.update.value - once.update.value) ** 2) for one in each])

    def without(one: ls.Drift, times: int) -> float:
        size = np.sum(one.update.value**2)
        return float(one.alignment) * np.sqrt(size / (size - times * noise))

    assert float(found.alignment) == pytest.approx(without(once, 1), rel=1e-9)
    spread = widened(found.alignment, [without(one, 2) for one in each])
    assert float(found.alignment.stderr) == pytest.approx(spread, rel=1e-9)


def test_noise_is_taken_off_the_nats_of_an_update() -> None:
    """On one path a move of the logits by dz takes ½ E[dz² P(T ≥ t) h(1-h)]; noise is measured by the log's law."""
    found, once, each = redrawn(sample(UNKNOWING, prompts=PROMPTS, group_size=GROUP), paths="one",
                                coordinates=ls.coordinates(bins=4))

    def nats(update: np.ndarray, policy: ls.Policy) -> float:
        moves = np.isfinite(policy.logits)
        dz = policy.moved(update).logits[moves] - policy.logits[moves]
        return float(0.5 * np.sum((policy.pmf * policy.stay)[moves] * dz**2))

    noise = np.mean([nats(one.update.value - once.update.value, once.policy) for one in each])

    def without(one: ls.Drift, times: int) -> float:
        return float(one.length) * np.sqrt(0.01 / (nats(one.update.value, one.policy) - times * noise))

    assert float(found.length_per_kl) == pytest.approx(without(once, 1), rel=1e-9)
    spread = widened(found.length_per_kl, [without(one, 2) for one in each])
    assert float(found.length_per_kl.stderr) == pytest.approx(spread, rel=1e-9)


def test_the_spread_of_a_covariance_is_that_over_redrawn_logs() -> None:
    log, scheme = sample(prompts=PROMPTS, group_size=GROUP), SCHEMES["std"]

    def covariance(log: ls.Rollouts, **options: Any) -> ls.Estimate:
        return ls.audit(log, scheme, what_if=False, **{"replicates": 0} | options)[0].covariance

    each = [float(covariance(repeated(log, np.ones(PROMPTS, dtype=int) + change)))
            for sign in (-1, 1) for change in sign * np.eye(PROMPTS, dtype=int)]
    found = covariance(log, replicates=2 * PROMPTS, rng=OneMoreOrLess())
    assert float(found.stderr) == pytest.approx(np.sqrt(PROMPTS / (PROMPTS - 1)) * np.std(each, ddof=1), rel=1e-9)


def test_equal_groups_are_resampled_by_leaving_them_out() -> None:
    log = sample(prompts=PROMPTS, group_size=GROUP)
    dead = [len(set(log.rewards[log.prompt_ids == prompt])) == 1 for prompt in range(PROMPTS)]
    keep = ~np.array(dead)[log.prompt_ids]
    assert 0 < keep.sum() < len(log)
    scheme = Scheme(advantage=GroupStandardized(), aggregation=TokenMean(), dynamic_sampling="resample")
    rest = ls.Rollouts(log.lengths[keep], log.rewards[keep], log.prompt_ids[keep], log.truncated[keep],
                       log.correct[keep], log.classes[keep])
    whole = of(drift(log, scheme))
    close(whole, laid_out(gradient(rest, estimator="std", aggregation="tokens", law=log), whole[0]))


def test_a_mean_over_groups_is_over_those_that_were_resampled() -> None:
    given = ragged()
    scheme = Scheme(advantage=GroupMean(), aggregation=TokenMean(scope="group"), dynamic_sampling="resample")
    groups = list(zip(given.steps, given.prompt_ids, strict=True))
    dead = next(group for group in groups if groups.count(group) > 2)
    rewards = np.where([group == dead for group in groups], 1.0, given.rewards)
    log = ls.Rollouts(given.lengths, rewards, given.prompt_ids, given.truncated, given.correct, given.classes,
                      steps=given.steps)
    paid = {group: {float(r) for r, other in zip(log.rewards, groups, strict=True) if other == group}
            for group in set(groups)}
    keep = np.array([len(paid[group]) > 1 or groups.count(group) == 1 for group in groups])  # one alone is not dead
    assert 0 < keep.sum() < len(log)
    rest = ls.Rollouts(log.lengths[keep], log.rewards[keep], log.prompt_ids[keep], log.truncated[keep],
                       log.correct[keep], log.classes[keep], steps=log.steps[keep])
    whole = of(drift(log, scheme))
    close(whole, laid_out(gradient(rest, estimator="mean", aggregation="group tokens", law=log), whole[0]))


def with_kl(log: ls.Rollouts, seed: int = 3) -> ls.Rollouts:
    kl = np.random.default_rng(seed).gamma(2.0, 0.02, len(log)) * log.lengths
    return ls.Rollouts(log.lengths, log.rewards, log.prompt_ids, log.truncated, log.correct, log.classes, kl=kl)


def test_kl_in_the_reward_is_taken_off_the_reward() -> None:
    log = with_kl(sample())
    scheme = Scheme(advantage=LeaveOneOut(), aggregation=MEAN,
                    penalties=(KL(coefficient=0.7, place="reward"),))
    paid = ls.Rollouts(log.lengths, log.rewards - 0.7 * log.kl, log.prompt_ids, log.truncated, log.correct, log.classes)
    close(of(drift(log, scheme)), of(drift(paid, replace(scheme, penalties=()))))


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_in_the_loss_is_spread_evenly_over_a_response(estimator: str) -> None:
    """Then a response's tokens share the slope at its mean log ratio: a reward of its own, under no baseline."""
    log = with_kl(sample())
    kl = KL(coefficient=0.7, estimator=estimator)
    scheme = Scheme(advantage=Raw(), aggregation=MEAN, penalties=(kl,))
    slope = ls.Rollouts(log.lengths, log.rewards - 0.7 * kl.slope(log.kl / log.lengths), log.prompt_ids, log.truncated,
                        log.correct, log.classes)
    close(of(drift(log, scheme)), of(drift(slope, replace(scheme, penalties=()))))


def test_a_rule_pays_in_place_of_the_log() -> None:
    log = ragged()
    rule = ls.Reward(correct=2.0, incorrect=-1.0, truncated=-0.5, shaping=ls.rewards.LinearPenalty(slope=0.01))
    paid = ls.Rollouts(log.lengths, rule.values(log.lengths, log.correct, log.truncated), log.prompt_ids, log.truncated,
                       log.correct, log.classes, steps=log.steps)
    for name in ("std", "gae", "loo, remove"):
        close(of(drift(log, SCHEMES[name], reward=rule)), of(drift(paid, SCHEMES[name])))


@pytest.mark.parametrize("name", GROUP_SHAPINGS)
def test_a_rule_that_compares_a_group_pays_by_the_groups_of_the_log(name: str) -> None:
    log = sample()
    rule = ls.Reward(shaping=GROUP_SHAPINGS[name][0])
    shape = -1, GROUP
    rewards = rule.group_values(*(x.reshape(shape) for x in (log.lengths, log.correct, log.truncated)))
    paid = ls.Rollouts(log.lengths, rewards.ravel(), log.prompt_ids, log.truncated, log.correct, log.classes)
    close(of(drift(log, SCHEMES["std"], reward=rule)), of(drift(paid, SCHEMES["std"])))


@pytest.mark.parametrize("policy", [CLASSES, UNKNOWING])
def test_the_law_of_a_large_log_is_the_policy(policy: ls.Policy) -> None:
    log = sample(policy, prompts=20_000, group_size=4, seed=5)
    paths = "one" if policy is UNKNOWING else "outcome"
    mine = drift(log, SCHEMES["std"], paths=paths).policy
    for name in ("mean_length", "accuracy", "truncation_rate"):
        assert getattr(mine, name) == pytest.approx(getattr(policy, name), rel=0.02), name
    np.testing.assert_allclose(mine.class_weight, policy.class_weight, atol=0.01)
    frequent = policy.at_risk > 0.3
    frequent[2:] = False  # right responses of the easy class count as wrong where they are cut
    np.testing.assert_allclose(mine.hazard[frequent], policy.hazard[frequent], rtol=0.15)
