"""What a scheme makes of a log: against sampled batches, a plain reference, and logs written out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lossim as ls
from logged import CLASSES, UNKNOWING, gradient, ragged, sample
from lossim._auditing import log as _log
from lossim._auditing.cells import Cells
from lossim._auditing.log import Pay, read_log
from lossim._auditing.plugin import Plugin
from lossim._engine.gradients import update_gradient
from lossim._engine.sampled import batch_measures
from lossim._engine.step import Step
from lossim.advantages import (
    GAE,
    GPG,
    OPO,
    GroupMean,
    GroupStandardized,
    LeaveOneOut,
    LengthAdaptive,
    MaxRL,
    PassK,
    PositiveOnly,
    Raw,
    Whitened,
)
from lossim.aggregation import (
    ConstantNormalizer,
    LengthPower,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    TokenMean,
    TokenSum,
)
from lossim.penalties import KL, Entropy
from lossim.policies import Draws
from lossim.schemes import Scheme

PROMPTS, GROUP = 30, 4
MEAN = SequenceMeanTokenMean()
SCHEMES = {
    "std": Scheme(advantage=GroupStandardized(), aggregation=MEAN),
    "mean, mask": Scheme(advantage=GroupMean(), aggregation=ConstantNormalizer(), truncation="mask"),
    "loo, remove": Scheme(advantage=LeaveOneOut(), aggregation=SequenceMeanTokenSum(), truncation="remove"),
    "opo": Scheme(advantage=OPO(), aggregation=TokenMean()),
    "raw": Scheme(advantage=Raw(baseline=(0.2, 0.6)), aggregation=TokenSum()),
    "gpg": Scheme(advantage=GPG(), aggregation=MEAN),
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


def plugin(log: ls.Rollouts, scheme: Scheme, *, paths: str = "outcome", pay: Pay | None = None) -> Plugin:
    cells = Cells(log=read_log(log, needs_grades=paths == "outcome"), paths=paths, coordinates=ls.coordinates())
    return Plugin(cells=cells, scheme=scheme, pay=Pay() if pay is None else pay)


def of(made: Plugin) -> tuple[np.ndarray, np.ndarray]:
    return update_gradient(made.step, made.of_cells(made.sums))


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
    made = plugin(log, scheme, paths=paths)
    policy = made.cells.policy
    cell = log.classes if paths == "one" else 2 * log.classes + ~log.correct
    end = np.where(log.truncated, log.lengths.max(), log.lengths - 1)
    shape = (steps, scheme.prompts_per_step, GROUP)
    draws = Draws(cell=cell.reshape(shape), grade=(~log.correct).astype(int).reshape(shape), end=end.reshape(shape))
    step = Step(scheme=scheme, policy=policy, reference=policy, old=policy)
    close(of(made), update_gradient(step, batch_measures(step, draws)))


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
    made = plugin(log, Scheme(advantage=advantage, aggregation=rule, truncation=truncation), paths=paths)
    stops, first = of(made)
    plain_stops, plain_first = gradient(log, estimator=estimator, aggregation=word, truncation=truncation, paths=paths)
    width = 1 if paths == "one" else 2
    expected = np.zeros_like(stops), np.zeros_like(first)
    for (kind, path, t), x in plain_stops.items():
        expected[0][kind * width + path, t - 1] = x
    for (kind, path), x in plain_first.items():
        expected[1][kind * width + path] = x
    close((stops, first), expected)


@pytest.mark.parametrize("name", SCHEMES)
def test_how_much_of_a_log_is_in_memory_at_once_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ragged()
    before = of(plugin(log, SCHEMES[name]))
    monkeypatch.setattr(_log, "CHUNK", 7)
    close(of(plugin(log, SCHEMES[name])), before)


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if name not in (
    "gpg", "positive", "batch std", "gae, exact critic", "gae, whitened", "dropped, whitened")])
def test_a_redrawn_log_is_the_log_with_its_prompts_repeated(name: str) -> None:
    """Whitened GAE is left out: its mean and spread are redrawn with the critic's values held."""
    log, scheme = sample(prompts=PROMPTS, group_size=GROUP), SCHEMES[name]
    made = plugin(log, scheme)
    times = np.random.default_rng(1).multinomial(PROMPTS, np.full(PROMPTS, 1.0 / PROMPTS))
    number = made.log.block_of_prompt[log.prompt_ids[::GROUP]]
    assert len(set(number)) == PROMPTS
    rows = np.concatenate([np.flatnonzero(log.prompt_ids == prompt) for prompt in range(PROMPTS)
                           for _ in range(times[number[prompt]])])
    repeated = ls.Rollouts(log.lengths[rows], log.rewards[rows], np.repeat(np.arange(PROMPTS), GROUP),
                           log.truncated[rows], log.correct[rows], log.classes[rows])
    other = plugin(repeated, scheme)
    weights = times[None].astype(float)
    policy = made.cells.redrawn(made.log.redrawn(made.log.counts, weights)[0])
    here = update_gradient(made.step_of(policy), made.of_cells({
        name: x[0] for name, x in made.redrawn(weights).items()}))
    close(here, of(other), 1e-11)


def test_prompts_drawn_again_are_blocks_of_prompts_where_there_are_many() -> None:
    made = plugin(sample(prompts=1500, group_size=2), SCHEMES["std"])
    sizes = np.bincount(made.log.block_of_prompt)
    assert len(sizes) == made.log.blocks == _log.MOST_BLOCKS
    assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(made.log.redrawn(made.log.counts, np.ones((1, made.log.blocks)))[0], made.log.law)


def test_equal_groups_are_resampled_by_leaving_them_out() -> None:
    log = sample(prompts=PROMPTS, group_size=GROUP)
    dead = [len(set(log.rewards[log.prompt_ids == prompt])) == 1 for prompt in range(PROMPTS)]
    keep = ~np.array(dead)[log.prompt_ids]
    assert 0 < keep.sum() < len(log)
    scheme = Scheme(advantage=GroupStandardized(), aggregation=TokenMean(), dynamic_sampling="resample")
    whole = plugin(log, scheme)
    rest = ls.Rollouts(log.lengths[keep], log.rewards[keep], log.prompt_ids[keep], log.truncated[keep],
                       log.correct[keep], log.classes[keep])
    part = plugin(rest, replace(scheme, dynamic_sampling="none"))
    for name, x in part.sums.items():
        np.testing.assert_allclose(whole.sums[name], x, atol=1e-15)


def test_a_mean_over_groups_is_over_those_that_were_resampled() -> None:
    log = ragged()
    scheme = Scheme(advantage=GroupMean(), aggregation=TokenMean(scope="group"), dynamic_sampling="resample")
    groups = list(zip(log.steps, log.prompt_ids, strict=True))
    paid = {group: {float(r) for r, other in zip(log.rewards, groups, strict=True) if other == group}
            for group in set(groups)}
    keep = np.array([len(paid[group]) > 1 for group in groups])
    assert 0 < keep.sum() < len(log)
    rest = ls.Rollouts(log.lengths[keep], log.rewards[keep], log.prompt_ids[keep], log.truncated[keep],
                       log.correct[keep], log.classes[keep], steps=log.steps[keep])
    np.testing.assert_allclose(plugin(log, scheme).sums["response"],
                               plugin(rest, replace(scheme, dynamic_sampling="none")).sums["response"], atol=1e-15)

def with_kl(log: ls.Rollouts, seed: int = 3) -> ls.Rollouts:
    kl = np.random.default_rng(seed).gamma(2.0, 0.02, len(log)) * log.lengths
    return ls.Rollouts(log.lengths, log.rewards, log.prompt_ids, log.truncated, log.correct, log.classes, kl=kl)


def test_kl_in_the_reward_is_taken_off_the_reward() -> None:
    log = with_kl(sample())
    scheme = Scheme(advantage=LeaveOneOut(), aggregation=MEAN,
                    penalties=(KL(coefficient=0.7, place="reward"),))
    paid = ls.Rollouts(log.lengths, log.rewards - 0.7 * log.kl, log.prompt_ids, log.truncated, log.correct, log.classes)
    close(of(plugin(log, scheme)), of(plugin(paid, replace(scheme, penalties=()))))


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_in_the_loss_is_spread_evenly_over_a_response(estimator: str) -> None:
    """Then a response's tokens share the slope at its mean log ratio: a reward of its own, under no baseline."""
    log = with_kl(sample())
    kl = KL(coefficient=0.7, estimator=estimator)
    scheme = Scheme(advantage=Raw(), aggregation=MEAN, penalties=(kl,))
    slope = ls.Rollouts(log.lengths, log.rewards - 0.7 * kl.slope(log.kl / log.lengths), log.prompt_ids, log.truncated,
                        log.correct, log.classes)
    close(of(plugin(log, scheme)), of(plugin(slope, replace(scheme, penalties=()))))


def test_a_rule_pays_in_place_of_the_log() -> None:
    log = ragged()
    rule = ls.Reward(correct=2.0, incorrect=-1.0, truncated=-0.5, shaping=ls.rewards.LinearPenalty(slope=0.01))
    paid = ls.Rollouts(log.lengths, rule.values(log.lengths, log.correct, log.truncated), log.prompt_ids, log.truncated,
                       log.correct, log.classes, steps=log.steps)
    for name in ("std", "gae", "loo, remove"):
        close(of(plugin(log, SCHEMES[name], pay=Pay(rule=rule))), of(plugin(paid, SCHEMES[name])))


def test_a_rule_that_compares_a_group_pays_by_the_groups_of_the_log() -> None:
    log = sample()
    rule = ls.Reward(shaping=ls.rewards.KimiLength())
    shape = -1, GROUP
    rewards = rule.group_values(*(x.reshape(shape) for x in (log.lengths, log.correct, log.truncated)))
    paid = ls.Rollouts(log.lengths, rewards.ravel(), log.prompt_ids, log.truncated, log.correct, log.classes)
    close(of(plugin(log, SCHEMES["std"], pay=Pay(rule=rule))), of(plugin(paid, SCHEMES["std"])))


@pytest.mark.parametrize("policy", [CLASSES, UNKNOWING])
def test_the_law_of_a_large_log_is_the_policy(policy: ls.Policy) -> None:
    log = sample(policy, prompts=20_000, group_size=4, seed=5)
    paths = "one" if policy is UNKNOWING else "outcome"
    mine = plugin(log, SCHEMES["std"], paths=paths).cells.policy
    for name in ("mean_length", "accuracy", "truncation_rate"):
        assert getattr(mine, name) == pytest.approx(getattr(policy, name), rel=0.02), name
    np.testing.assert_allclose(mine.class_weight, policy.class_weight, atol=0.01)
    frequent = policy.at_risk > 0.3
    frequent[2:] = False  # right responses of the easy class count as wrong where they are cut
    np.testing.assert_allclose(mine.hazard[frequent], policy.hazard[frequent], rtol=0.15)
