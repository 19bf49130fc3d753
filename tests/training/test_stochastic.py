"""Sampled runs: each update is the plain reference's on the same draws, and many large batches are the mean field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import lossim as ls
import reference as ref
import translate
from lossim import critics, optimizers, surrogates
from plain_runs import ONCE, RATE, check, pulled
from tables import KINDS, OLD_PENALTIES, RULES, SAMPLINGS, SURROGATES, TRUNCATIONS
from tape import Again, Reader, Tape, plain

MANY = 1 << 14
"""Prompts with eight responses each at which two replicates are worked on at once, and others in their turn."""


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_is_the_plain_one(kind: str) -> None:
    """Random settings: learning rate × the reference's update of the batch that was drawn."""
    rng = np.random.default_rng(sum(map(ord, kind)))
    for seed in range(6):
        rule, truncation, sampling, penalty, paid = (str(rng.choice(options)) for options in (
            RULES, TRUNCATIONS, SAMPLINGS, OLD_PENALTIES, tuple(translate.REWARDS)))
        check(seed, kind, inner=(1, 1), replicates=seed % 3 + 1, rule=rule, truncation=truncation,
              sampling=sampling, penalty=penalty, paid=paid, group_size=int(rng.integers(2, 5)), prompts=3,
              deadline=(None, (2.0, "response"), (2.0, "group"))[seed % 3])


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("kind", ["standardized", "whitened group mean", "gae"])
def test_minibatches_and_epochs_are_a_plain_loop(kind: str, name: str) -> None:
    """Two passes over two mini-batches, ratios to the policy that drew them, under every surrogate."""
    if (kind, name) != ("gae", "gmpo"):
        rng = np.random.default_rng(sum(map(ord, kind + name)))
        rule, truncation, sampling, penalty = (str(rng.choice(options)) for options in (
            RULES, TRUNCATIONS, SAMPLINGS, OLD_PENALTIES))
        check(3, kind, name=name, inner=(2, 2), rule=rule, truncation=truncation, sampling=sampling,
              penalty=penalty, group_size=2, prompts=2)


@pytest.mark.parametrize(("kind", "name"), [("batch standardized", "clip"), ("gpg", "sapo"), ("whitened gae", "cispo"),
                                            ("whitened gae", "clip"), ("whitened gae adaptive", "dual"),
                                            ("centred leave one out", "gspo"), ("raw", "dual"), ("opo", "topr")])
def test_statistics_are_those_of_the_rollout(kind: str, name: str) -> None:
    """What a whole step is scaled by comes from all mini-batches together, at every step of a run."""
    for seed, rule in enumerate(("token mean", "1/T kept", "ΔL")):
        check(seed, kind, name=name, inner=(3, 2), steps=1 if "gae" in kind else 2, rule=rule, prompts=2,
              group_size=2, truncation="mask", paid="any shape")


def test_replicates_are_runs_of_their_own() -> None:
    """Each of three replicates again, alone, on the random numbers that it had."""
    scheme = replace(ls.schemes.grpo(prompts_per_step=4, kl=0.1), minibatches=2)
    options: dict[str, Any] = {"steps": 3, "optimizer": optimizers.AdamW(learning_rate=0.1, max_norm=0.5)}
    together = sampled(scheme, paths(0.4), replicates=3, rng=(tape := Tape(1)), **options)
    for r in range(3):
        alone = sampled(scheme, paths(0.4), replicates=1, rng=Again(tape, r), **options)
        np.testing.assert_allclose(alone.coordinates[:, 0], together.coordinates[:, r], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(alone.length_by_path[:, 0], together.length_by_path[:, r], rtol=1e-10)


# --- the law of samples ---------------------------------------------------------------------------------------


def paths(solve_rate: float, max_tokens: int = 32) -> ls.Policy:
    return ls.policies.two_paths(solve_rate=solve_rate, right=ls.lengths.geometric(mean=6),
                                 wrong=ls.lengths.geometric(mean=12), max_tokens=max_tokens,
                                 coordinates=ls.coordinates(sharing=0.7, path_scale=3.0))


class Seen(ls.rewards.GroupShaping):
    """A reward that changes nothing and keeps what it saw: lengths and grades [replicate, prompt, response]."""

    def __init__(self) -> None:
        self.rollouts: list[tuple[np.ndarray, np.ndarray]] = []

    def in_group(self, reward: Any, length: Any, correct: Any, counted: Any) -> Any:
        self.rollouts.append((length, correct))
        return reward


def test_draws_follow_each_replicate_s_law() -> None:
    """Counts of (path, grade, end) within 5 standard deviations, and none of what has probability 0.

    Each path has lengths of its own, and rewards do not depend on them: the first step is noise, and parts replicates.
    """
    cells, cap = 6, 13
    law = {cell: np.zeros(cap) for cell in range(cells)}
    for cell, hazard in law.items():
        hazard[[cell, cell + cells]] = (0.4, 1.0) if cell else (0.4, 0.5)  # the first path is cut now and then
    chances = [(0.3, 0.7), (1.0, 0.0), (0.5, 0.5)]
    policy = ls.Policy([ls.PromptClass(f"class {j}", weight=weight, paths=[
        ls.Path(f"path {k}", probability=chance, length=ls.lengths.table(law[2 * j + k]), p_correct=0.5,
                p_correct_truncated=0.5) for k, chance in enumerate(chances[j])])
        for j, weight in enumerate((0.6, 0.1, 0.3))], max_tokens=cap, coordinates=ls.coordinates(
            sharing=0.7, class_sharing=0.7, path_scale=3.0))
    seen = Seen()
    scheme = ls.Scheme(advantage=ls.advantages.LeaveOneOut(), aggregation=ls.aggregation.SequenceMeanTokenSum(),
                       reward=ls.Reward(shaping=seen), group_size=4, prompts_per_step=20_000)
    run = sampled(scheme, policy, steps=2, replicates=2, optimizer=optimizers.SGD(learning_rate=1000.0))
    assert np.abs(np.diff(run.coordinates[1], axis=0)).max() > 1.0
    lengths, right = seen.rollouts[-1]
    for r in range(2):
        own = run.policy_at(1, replicate=r)
        counts = np.zeros(own.law.shape)
        cut = lengths[r] == cap
        cell, end = np.where(cut, 0, (lengths[r] - 1) % cells), np.where(cut, cap, lengths[r] - 1)
        np.add.at(counts, (cell.astype(int), np.where(right[r], 0, 1), end.astype(int)), 1.0)
        expected = own.law * own.cell_weight[:, None, None]
        assert (counts[expected == 0] == 0).all()
        sd = np.sqrt(counts.sum() * expected * (1 - expected)) * 2.0 + 1e-9  # groups share a class
        assert (np.abs(counts - counts.sum() * expected) < 5.0 * sd + 1.0).all()


def test_passes_split_the_rollout_in_orders_of_their_own() -> None:
    scheme, policy = replace(ls.schemes.grpo(prompts_per_step=3), minibatches=4, ppo_epochs=2), paths(0.4)
    run = sampled(scheme, policy, rng=(tape := Tape(5)))
    reader, orders = Reader(tape, scheme), []
    for step in range(3):
        reader.rollout([plain(run.policy_at(step, replicate=r)) for r in range(4)])
        parts = reader.orders(4)
        orders += [np.concatenate(parts[p:p + 4], axis=1) for p in (0, 4)]
    assert reader.finished()
    assert (np.sort(orders, axis=-1) == np.arange(12)).all()
    assert len(np.unique(np.concatenate(orders), axis=0)) == 3 * 2 * 4  # steps, passes, replicates


def test_resampled_groups_are_those_of_unequal_rewards() -> None:
    """Right answers per group have the binomial law without its ends, and the share of equal groups is its ends."""
    seen = Seen()
    scheme = replace(ls.schemes.grpo(group_size=4, prompts_per_step=500), dynamic_sampling="resample",
                     reward=ls.Reward(shaping=seen))
    run = sampled(scheme, paths(0.2), steps=1, replicates=8)
    right = next(grades for _, grades in reversed(seen.rollouts) if grades.shape == (8, 500, 4)).sum(axis=-1)
    assert ((right > 0) & (right < 4)).all()
    p = run.accuracy[0, 0]
    chances = np.array([4 * p * (1 - p) ** 3, 6 * p**2 * (1 - p) ** 2, 4 * p**3 * (1 - p)])
    dead = 1.0 - chances.sum()
    shares = np.array([(right == k).mean() for k in (1, 2, 3)])
    assert np.abs(shares - chances / chances.sum()).max() < 4.0 * 0.5 / np.sqrt(right.size)
    assert abs(run.dead_groups.mean() - dead) < 4.0 * np.sqrt(dead * (1 - dead) / right.size)


def test_large_batches_are_the_mean_field() -> None:
    """Mean over replicates within 4 standard errors; the spread falls as one over the root of the batch."""
    def runs(prompts: int, replicates: int) -> tuple[ls.Training, ls.Training]:
        scheme = replace(ls.schemes.grpo(prompts_per_step=prompts), minibatches=2, surrogate=surrogates.SAPO())
        many = sampled(scheme, paths(0.4), optimizer=ONCE, replicates=replicates, rng=np.random.default_rng(prompts))
        return many, ls.train(scheme, paths(0.4), steps=3, optimizer=ONCE)

    (small, _), (large, mean) = runs(16, 300), runs(256, 150)
    for name in ("length", "accuracy", "kl_to_start", "composition", "within", "dead_groups"):
        series, truth = getattr(large, name), getattr(mean, name)
        error = series.std(axis=1, ddof=1) / np.sqrt(series.shape[1])
        assert (np.abs(series.mean(axis=1) - truth) <= 4.0 * error + 1e-12 * np.abs(truth)).all(), name
    ratio = small.length[-1].std(ddof=1) / large.length[-1].std(ddof=1)
    assert abs(ratio / 4.0 - 1.0) < 4.0 * np.sqrt(1 / 600 + 1 / 300)
    assert large.length[-1].std() < 0.03 * abs(mean.length[-1] - mean.length[0])


def test_a_critic_learns_from_the_rollout() -> None:
    """V moves by the mean of GAE over the responses that got to t, token by token here; then a table of it serves."""
    critic = critics.LearnedTable(rate=0.5, start=[0.3, -0.2, 0.1, 0.4], per="cell", gae_lambda=0.7, pretrain=1)
    policy, gamma = paths(0.4, max_tokens=4), 0.9
    scheme = ls.schemes.ppo(critic=critic, gae_lambda=0.8, gamma=gamma, prompts_per_step=6,
                            reward=ls.Reward(incorrect=-1.0))
    setting = ref.Setting(reward=lambda length, correct, cut: 1.0 if correct else -1.0, advantage="gae", gamma=gamma,
                          gae_lambda=0.8, prompts_per_step=6)
    assert scheme.aggregation == ls.aggregation.SequenceMeanTokenMean()
    run = sampled(scheme, policy, steps=2, optimizer=ONCE, replicates=1, rng=(tape := Tape(5)))
    reader, values = Reader(tape, scheme), np.tile(critic.start, (2, 1))
    for number, step in enumerate((0, 0, 1)):
        world = plain(run.policy_at(step, replicate=0))
        (groups,) = reader.rollout([world])
        if number:  # the first trains the critic alone
            np.testing.assert_allclose(run.critic[step][:, :4], values, rtol=1e-12)
            fixed = replace(setting, first_values=[values[0, 0]], values=values.tolist())
            np.testing.assert_allclose(run.coordinates[step + 1, 0] - run.coordinates[step, 0], rtol=1e-9, atol=1e-12,
                                       desired=RATE * pulled(policy, world, ref.batch_update(world, fixed, groups)))
        sums, count = np.zeros((2, 4)), np.zeros((2, 4))
        for cell, length, _, correct, _ in (one for _, responses in groups for one in responses):
            advantage = 0.0
            for t in reversed(range(length)):
                gained = (1.0 if correct else -1.0) if t == length - 1 else gamma * values[cell, t + 1]
                advantage = gained - values[cell, t] + gamma * 0.7 * advantage
                sums[cell, t] += advantage
                count[cell, t] += 1
        sums[:, 0], count[:, 0] = sums[:, 0].sum(), count[:, 0].sum()
        values = values + 0.5 * np.divide(sums, count, out=np.zeros((2, 4)), where=count > 0)
    assert reader.finished()
    np.testing.assert_allclose(run.critic[2][:, :4], values, rtol=1e-12)


# --- edges ----------------------------------------------------------------------------------------------------


def sampled(scheme: ls.Scheme, policy: ls.Policy, **options: Any) -> ls.Training:
    given: dict[str, Any] = {"steps": 3, "replicates": 4, "rng": np.random.default_rng(5)} | options
    return ls.train(scheme, policy, method="stochastic", **given)


def test_same_seed_same_numbers_and_parts_are_complete() -> None:
    scheme = ls.schemes.grpo(prompts_per_step=4)
    one, two, other = (sampled(scheme, paths(0.4), rng=np.random.default_rng(s)) for s in (11, 11, 12))
    assert (one.coordinates == two.coordinates).all()
    assert (one.coordinates[1:] != other.coordinates[1:]).any(axis=-1).all()
    parts = sampled(ls.schemes.grpo(prompts_per_step=MANY), paths(0.4), rng=(tape := Tape(5)))
    assert len(tape.given[0][0]) == 2
    assert len(np.unique(parts.coordinates[-1], axis=0)) == 4
    kept = parts.policy_at(2, replicate=3)
    assert (kept.mean_length, kept.truncation_rate) == pytest.approx((parts.length[2, 3], parts.truncation_rate[2, 3]))


@pytest.mark.parametrize("minibatches", [1, 2])
@pytest.mark.parametrize("hazards", [[0.4], [0.0, 1.0], [0.0, 0.5, 0.0], [1.0, 0.5]])
def test_edges_of_the_world(hazards: list[float], minibatches: int) -> None:
    lengths = [ls.lengths.table(given) for given in (hazards, hazards[::-1])]
    policy = ls.Policy([
        ls.PromptClass("a", weight=1.0, paths=[ls.Path("right", probability=1.0, length=lengths[0], p_correct=1.0),
                                               ls.Path("no", probability=0.0, length=lengths[1], p_correct=0.0)]),
        ls.PromptClass("b", weight=0.0, paths=[ls.Path("right", length=lengths[0], p_correct=0.5)])],
        max_tokens=len(hazards))
    for group_size, scheme in ((1, ls.schemes.ppo()), (1, ls.schemes.grpo()), (3, ls.schemes.dr_grpo())):
        run = sampled(replace(scheme, group_size=group_size, prompts_per_step=5, minibatches=minibatches,
                              surrogate=surrogates.PPOClip()), policy, replicates=1)
        assert all(np.isfinite(getattr(run, name)).all() for name in (
            "length", "accuracy", "kl_to_start", "coordinates", "clip_fraction", "dead_groups"))
        fixed = np.isin(policy.hazard[0], (0.0, 1.0))
        assert (run.policy.hazard[0][fixed] == policy.hazard[0][fixed]).all()
        assert run.length.shape == (4, 1)
        assert (run.dead_groups == 1.0).all() or group_size > 1


def test_interrupt_keeps_complete_steps(capsys: pytest.CaptureFixture[str]) -> None:
    def schedule(count: int) -> float:
        if count == 5:
            raise KeyboardInterrupt
        return 1.0

    run = sampled(replace(ls.schemes.grpo(prompts_per_step=MANY // 2), minibatches=2), paths(0.4), steps=9,
                  progress=True, optimizer=optimizers.SGD(learning_rate=0.1, schedule=schedule), rng=(tape := Tape(5)))
    assert len(tape.given[0][0]) == 2
    assert (run.interrupted, run.steps, run.length.shape, run.within.shape) == (True, 2, (3, 4), (2, 4))
    assert "interrupted" in str(run)
    assert "step 2 of 9" in capsys.readouterr().err


def test_results_of_replicates() -> None:
    scheme, policy = ls.schemes.grpo(prompts_per_step=32), paths(0.4)
    run = sampled(scheme, policy, steps=6, replicates=50)
    low, middle, high = run.quantiles("length")
    assert (np.diff([low, middle, high], axis=0)[:, 1:] > 0).all()
    np.testing.assert_array_equal(middle, np.median(run.length, axis=1))
    assert run.quantiles("length_by_path", [0.5]).shape == (1, 7, 2)
    first = run.time_to(length=(bound := float(middle[-1])))
    assert 15 <= np.isfinite(first).sum() <= 45
    assert all(run.length[int(s), r] <= bound for r, s in enumerate(first) if np.isfinite(s))
    np.testing.assert_allclose(run.within + run.composition, np.diff(run.length, axis=0), rtol=1e-9, atol=1e-10)
    assert "50 replicates" in str(run)
    assert f"{middle[-1]:.4g} [{low[-1]:.4g}, {high[-1]:.4g}]" in str(run)
    assert np.shape(run.to_dict()["length"]) == (7, 50)
    assert any("of 50 replicates" in note for note in sampled(scheme, paths(0.94), steps=6, replicates=50).notes)
    plain = ls.train(scheme, policy, steps=2)
    assert (plain.length.shape, plain.time_to(length=plain.length[1])) == ((3,), 1)
    for bad, match in ((lambda: plain.quantiles("length"), "no replicates"), (lambda: run.quantiles("nothing"), "name"),
                       (lambda: run.quantiles("length", [2.0]), "q"), (lambda: run.policy_at(1, 50), "replicate"),
                       (lambda: run.policy_at(7), "step"), (lambda: plain.policy_at(1, 1), "replicate")):
        with pytest.raises(ValueError, match=match):
            bad()


@pytest.mark.parametrize(("options", "kind", "match"), [
    (dict(rng=None), TypeError, "rng"), (dict(rng=3), TypeError, "rng"), (dict(replicates=0), ValueError, "replicates"),
    (dict(replicates=1.0), TypeError, "replicates"), (dict(method="mean_field", replicates=1), ValueError, "rng"),
    (dict(method="flow", rng=None), ValueError, "replicates"), (dict(steps=0), ValueError, "steps")])
def test_bad_input(options: dict[str, Any], kind: type[Exception], match: str) -> None:
    given = {"method": "stochastic", "steps": 2, "replicates": 2, "rng": np.random.default_rng(0)} | options
    with pytest.raises(kind, match=match):
        ls.train(ls.schemes.grpo(prompts_per_step=2), paths(0.4), **given)


def test_what_cannot_be_sampled_says_so_at_once() -> None:
    shaped = ls.Reward(shaping=ls.rewards.KimiLength())
    plain = replace(ls.schemes.ppo(), reward=shaped, group_size=2, prompts_per_step=4, minibatches=2)
    with pytest.raises(ls.NoClosedForm, match=r"slot 'surrogate'.*minibatches=1"):
        sampled(plain, paths(0.4))
    for fine in (dict(minibatches=1), dict(surrogate=surrogates.CISPO())):
        assert sampled(replace(plain, **fine), paths(0.4)).steps == 3
    whitened = replace(plain, advantage=ls.schemes.ppo(whiten=True).advantage)
    with pytest.raises(ls.NoClosedForm, match="reward"):
        sampled(whitened, paths(0.4))
    assert sampled(replace(whitened, reward=ls.Reward()), paths(0.4)).steps == 3
    run = sampled(replace(ls.schemes.dr_grpo(prompts_per_step=4), reward=shaped), paths(0.4))
    assert np.isnan(run.reward).all()
    assert np.isfinite(run.dead_groups).all()


def test_resampling_that_starves() -> None:
    scheme = replace(ls.schemes.grpo(prompts_per_step=2), dynamic_sampling="resample")
    with pytest.raises(ValueError, match="resample"):
        sampled(scheme, ls.policies.unsolvable(length=ls.lengths.geometric(mean=5), max_tokens=9))
    run = sampled(scheme, paths(0.5), steps=60, optimizer=optimizers.SGD(learning_rate=50.0))
    assert (run.steps < 60, run.interrupted) == (True, False)
    assert any("ended after step" in note for note in run.notes)
