"""Sampled runs: each update is the plain reference's on the same draws, and many large batches are the mean field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import lossim as ls
import reference as ref
import translate
from lossim import critics, optimizers, surrogates
from lossim._engine.gradients import logit_gradient, token_sums
from lossim._engine.sampled import batch_measures
from lossim._engine.step import Step
from lossim._training import replicates as _stochastic
from lossim._training.records import Records
from lossim._training.replicates import _Replicates, _Stack
from lossim.policies import Draws
from tables import KINDS, OLD_PENALTIES, RULES, SAMPLINGS, SURROGATES, TRUNCATIONS

RATE = 0.3
ONCE = optimizers.SGD(learning_rate=RATE)


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Draws of each rollout and the groups of each mini-batch of runs, as they come."""
    kept = SimpleNamespace(rollouts=[], orders=[])
    rollout, minibatches = _Replicates._rollout, _Replicates._minibatches

    def recorded(self: _Replicates, *args: Any) -> Any:
        made = rollout(self, *args)
        kept.rollouts.append(made[0])
        return made

    def listed(self: _Replicates, rng: np.random.Generator) -> Iterator[Any]:
        orders = list(minibatches(self, rng))
        everything = np.tile(np.arange(self.scheme.prompts_per_step), (self.count, 1))
        kept.orders.append([everything if groups is None else groups for groups in orders])
        yield from orders

    monkeypatch.setattr(_Replicates, "_rollout", recorded)
    monkeypatch.setattr(_Replicates, "_minibatches", listed)
    return kept


class Rollout(ref.Step):
    """The reference with what it takes of a whole step from the rollout, which a mini-batch is a part of."""

    whole: list[float] | None = None
    totals: list[float] | None = None

    def wrapped(self, given: list[list[list[float]]]) -> list[list[list[float]]]:
        if not self.setting.wrappers or self.setting.wrappers == ["positive_only"]:
            return super().wrapped(given)
        if self.whole is None:
            self.whole = [x for group in given for row in group for x in row]
        (wrapper,), scale = self.setting.wrappers, 1.0
        if wrapper == "whiten":
            spread = ref.deviation(self.whole, self.setting.whiten_ddof)
            scale = (spread**2 + self.setting.whiten_eps) ** -0.5
        return [[[(x - ref.mean(self.whole)) * scale for x in row] for row in group] for group in given]

    def response_advantage(self, f: Any, group: Any, step_totals: Any) -> float:
        if self.totals is None:
            self.totals = list(step_totals)
        return super().response_advantage(f, group, self.totals)


def groups_of(policy: ls.Policy, draws: Draws, replicate: int) -> list[tuple[int, list[ref.Response]]]:
    """The groups of a replicate as the reference writes them."""
    made = []
    cells = draws.cell[replicate] - replicate * len(policy.class_of_cell)
    for own, grades, ends in zip(cells, draws.grade[replicate], draws.end[replicate], strict=True):
        j = int(policy.class_of_cell[own[0]])
        made.append((j, [ref.Response(path=int(c) - policy.class_cells[j].start, length=int(policy.length[e]),
                                      truncated=bool(e == policy.max_tokens), correct=bool(g == 0))
                         for c, g, e in zip(own, grades, ends, strict=True)]))
    return made


def world_of(world: ref.World, policy: ls.Policy, old: ls.Policy) -> ref.World:
    """The world with these as the policy and the old policy."""
    cells = iter(range(len(policy.class_of_cell)))
    return replace(world, classes=[replace(prompts, paths=[
        replace(path, hazard=policy.hazard[c].tolist(), probability=float(policy.probability[c]),
                old_hazard=old.hazard[c].tolist(), old_probability=float(old.probability[c]),
                reference_hazard=path.other("reference")[0], reference_probability=path.other("reference")[1])
        for path, c in zip(prompts.paths, cells, strict=False)]) for prompts in world.classes])


def plain_run(world: ref.World, setting: ref.Setting, start: ls.Policy, tape: SimpleNamespace, replicate: int
              ) -> np.ndarray:
    """Coordinates after each rollout on the tape: SGD, one optimiser step after the other."""
    position, places = np.zeros(start.motion.size), [np.zeros(start.motion.size)]
    for draws, orders in zip(tape.rollouts, tape.orders, strict=True):
        old = start.moved(position)
        groups = groups_of(start, draws, replicate)
        rollout = Rollout(world_of(world, old, old), replace(setting, prompts_per_step=len(groups)))
        rollout.add(ref.zero(world), 1.0, groups)
        for order in orders:
            now = world_of(world, start.moved(position), old)
            step, total = Rollout(now, setting), ref.zero(world)
            step.whole, step.totals = rollout.whole, rollout.totals
            step.add(total, 1.0, [groups[g] for g in order[replicate]])
            flat = translate.flat(world, total)
            stops, paths = np.split(flat, [start.logits.size])
            position = position + RATE * start.motion.pull(stops.reshape(start.logits.shape), paths)
        places.append(position)
    return np.array(places)


def check(tape: SimpleNamespace, seed: int, kind: str, *, name: str = "clip", steps: int = 1, inner: tuple[int, int],
          replicates: int = 2, **options: Any) -> None:
    world = ref.random_world(np.random.default_rng(seed), classes=2, max_tokens=3, reference=True, zero_one=0.1)
    scheme, setting = translate.both(world, np.random.default_rng(seed), kind=kind, surrogate=SURROGATES[name],
                                     **options)
    scheme = replace(scheme, minibatches=inner[0], ppo_epochs=inner[1])
    policy, reference = translate.policies(world)
    tape.rollouts.clear()
    tape.orders.clear()
    run = ls.train(scheme, policy, steps=steps, optimizer=ONCE, method="stochastic", reference=reference,
                   replicates=replicates, rng=np.random.default_rng(seed))
    assert [len(orders) for orders in tape.orders] == [inner[0] * inner[1]] * steps
    for r in range(replicates):
        truth = plain_run(world, setting, policy, tape, r)
        np.testing.assert_allclose(run.coordinates[:, r], truth, rtol=1e-9, atol=1e-9 * max(1e-2, np.abs(truth).max()),
                                   err_msg=f"{seed} {kind} {name} {options}")


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_is_the_plain_one(tape: SimpleNamespace, kind: str) -> None:
    """Random settings: learning rate × the reference's update of the batch that was drawn."""
    rng = np.random.default_rng(sum(map(ord, kind)))
    for seed in range(6):
        rule, truncation, sampling, penalty, paid = (str(rng.choice(options)) for options in (
            RULES, TRUNCATIONS, SAMPLINGS, OLD_PENALTIES, tuple(translate.REWARDS)))
        check(tape, seed, kind, inner=(1, 1), replicates=seed % 3 + 1, rule=rule, truncation=truncation,
              sampling=sampling, penalty=penalty, paid=paid, group_size=int(rng.integers(2, 5)), prompts=3)


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("kind", ["standardized", "whitened group mean", "gae"])
def test_minibatches_and_epochs_are_a_plain_loop(tape: SimpleNamespace, kind: str, name: str) -> None:
    """Two passes over two mini-batches, ratios to the policy that drew them, under every surrogate."""
    if (kind, name) != ("gae", "gmpo"):
        rng = np.random.default_rng(sum(map(ord, kind + name)))
        rule, truncation, sampling, penalty = (str(rng.choice(options)) for options in (
            RULES, TRUNCATIONS, SAMPLINGS, OLD_PENALTIES))
        check(tape, 3, kind, name=name, inner=(2, 2), rule=rule, truncation=truncation, sampling=sampling,
              penalty=penalty, group_size=2, prompts=2)


@pytest.mark.parametrize(("kind", "name"), [("batch standardized", "clip"), ("gpg", "sapo"), ("whitened gae", "cispo"),
                                            ("whitened gae", "clip"), ("whitened gae adaptive", "dual"),
                                            ("centred leave one out", "gspo"), ("raw", "dual"), ("opo", "topr")])
def test_statistics_are_those_of_the_rollout(tape: SimpleNamespace, kind: str, name: str) -> None:
    """What a whole step is scaled by comes from all mini-batches together, at every step of a run."""
    for seed, rule in enumerate(("token mean", "1/T kept", "ΔL")):
        check(tape, seed, kind, name=name, inner=(3, 2), steps=1 if "gae" in kind else 2, rule=rule, prompts=2,
              group_size=2, truncation="mask", paid="any shape")


def test_replicates_are_runs_of_their_own(tape: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of three replicates again, alone, on the draws that it had; and in parts as under a bound of memory."""
    scheme = replace(ls.schemes.grpo(prompts_per_step=4, kl=0.1), minibatches=2)
    policy = paths(0.4)
    together = ls.train(scheme, policy, steps=3, method="stochastic", replicates=3, rng=np.random.default_rng(1),
                        optimizer=optimizers.AdamW(learning_rate=0.1, max_norm=0.5))
    rollouts, orders = list(tape.rollouts), list(tape.orders)
    for r in range(3):
        replay = iter(Draws(cell=x.cell[r:r + 1] - 2 * r, grade=x.grade[r:r + 1], end=x.end[r:r + 1]) for x in rollouts)
        again = iter([[groups[r:r + 1] for groups in each] for each in orders])
        monkeypatch.setattr(_Replicates, "_rollout", lambda *_, replay=replay: (next(replay), np.zeros(1)))
        monkeypatch.setattr(_Replicates, "_minibatches", lambda *_, again=again: iter(next(again)))
        alone = ls.train(scheme, policy, steps=3, method="stochastic", rng=np.random.default_rng(9),
                         optimizer=optimizers.AdamW(learning_rate=0.1, max_norm=0.5))
        np.testing.assert_allclose(alone.coordinates[:, 0], together.coordinates[:, r], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(alone.length_by_path[:, 0], together.length_by_path[:, r], rtol=1e-10)


# --- the law of samples ---------------------------------------------------------------------------------------


def _step(scheme: ls.Scheme, policy: ls.Policy) -> Step:
    return Step(scheme=scheme, policy=policy, reference=policy, old=policy)


def paths(solve_rate: float, max_tokens: int = 32) -> ls.Policy:
    return ls.policies.two_paths(solve_rate=solve_rate, right=ls.lengths.geometric(mean=6),
                                 wrong=ls.lengths.geometric(mean=12), max_tokens=max_tokens)


def test_draws_follow_each_replicate_s_law() -> None:
    """Counts of (cell, grade, end) within 5 standard deviations, and none of what has probability 0."""
    world = ref.random_world(np.random.default_rng(8), classes=3, max_tokens=4, zero_one=0.3, curves=0.5)
    policy = translate.policies(world)[0].reweighted({"class 0": 0.1, "class 1": 0.3})
    step = _step(ls.schemes.grpo(group_size=4, prompts_per_step=20_000), policy)
    part = _Replicates(_Stack(step, 2), ONCE, Records(step))
    part.position = np.random.default_rng(1).normal(size=part.position.shape)
    draws, _ = part._rollout(part._step(part.policy), np.random.default_rng(2))
    n = draws.cell[0].size
    for r in range(2):
        own = policy.moved(part.position[r])
        law = own.law * own.cell_weight[:, None, None]
        counts = np.zeros(law.shape)
        np.add.at(counts, (draws.cell[r] - r * len(law), draws.grade[r], draws.end[r]), 1.0)
        assert (counts[law == 0] == 0).all()
        sd = np.sqrt(n * law * (1 - law)) * 2.0 + 1e-9  # groups share a class
        assert (np.abs(counts - n * law) < 5.0 * sd + 1.0).all()


def test_passes_split_the_rollout_in_orders_of_their_own(tape: SimpleNamespace) -> None:
    scheme = replace(ls.schemes.grpo(prompts_per_step=3), minibatches=4, ppo_epochs=2)
    sampled(scheme, paths(0.4))
    orders = np.concatenate([np.concatenate(step[p:p + 4], axis=1) for step in tape.orders for p in (0, 4)])
    assert (np.sort(orders, axis=1) == np.arange(12)).all()
    assert len(np.unique(orders, axis=0)) == 3 * 2 * 4  # steps, passes, replicates


def test_resampled_groups_are_those_of_unequal_rewards(tape: SimpleNamespace) -> None:
    """Right answers per group have the binomial law without its ends, and the share of equal groups is its ends."""
    scheme = replace(ls.schemes.grpo(group_size=4, prompts_per_step=500), dynamic_sampling="resample")
    run = sampled(scheme, paths(0.2), steps=1, replicates=8)
    right = (tape.rollouts[0].grade == 0).sum(axis=-1)
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


def test_a_critic_learns_from_the_rollout(tape: SimpleNamespace) -> None:
    """V moves by the mean of GAE over the responses that got to t, token by token here; then a table of it serves."""
    critic = critics.LearnedTable(rate=0.5, start=[0.3, -0.2, 0.1, 0.4], per="cell", gae_lambda=0.7, pretrain=1)
    policy, gamma = paths(0.4, max_tokens=4), 0.9
    scheme = ls.schemes.ppo(critic=critic, gae_lambda=0.8, gamma=gamma, prompts_per_step=6,
                            reward=ls.Reward(incorrect=-1.0))
    run = sampled(scheme, policy, steps=2, optimizer=ONCE, replicates=1)
    values = np.tile(critic.start, (2, 1))
    for number, draws in enumerate(tape.rollouts):
        if number:  # the first trains the critic alone
            np.testing.assert_allclose(run.critic[number - 1][:, :4], values, rtol=1e-12)
            fixed = replace(scheme, advantage=replace(scheme.advantage, critic=critics.Table(table=values)))
            step = _step(fixed, run.policy_at(number - 1))
            sums = token_sums(step, batch_measures(step, draws))["policy"]
            np.testing.assert_allclose(np.diff(run.coordinates[:, 0], axis=0)[number - 1], rtol=1e-9, atol=1e-12,
                                       desired=RATE * policy.motion.pull(*logit_gradient(step.policy, sums)))
        sums, count = np.zeros((2, 4)), np.zeros((2, 4))
        for cell, grade, end in zip(draws.cell.ravel(), draws.grade.ravel(), draws.end.ravel(), strict=True):
            advantage, last = 0.0, min(end, 3)
            for t in reversed(range(last + 1)):
                gained = (1.0 if grade == 0 else -1.0) if t == last else gamma * values[cell, t + 1]
                advantage = gained - values[cell, t] + gamma * 0.7 * advantage
                sums[cell, t] += advantage
                count[cell, t] += 1
        sums[:, 0], count[:, 0] = sums[:, 0].sum(), count[:, 0].sum()
        values = values + 0.5 * np.divide(sums, count, out=np.zeros((2, 4)), where=count > 0)
    assert len(tape.rollouts) == 3
    np.testing.assert_allclose(run.critic[2][:, :4], values, rtol=1e-12)


# --- edges ----------------------------------------------------------------------------------------------------


def sampled(scheme: ls.Scheme, policy: ls.Policy, **options: Any) -> ls.Training:
    given: dict[str, Any] = {"steps": 3, "replicates": 4, "rng": np.random.default_rng(5)} | options
    return ls.train(scheme, policy, method="stochastic", **given)


def test_same_seed_same_numbers_and_parts_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = ls.schemes.grpo(prompts_per_step=4)
    one, two, other = (sampled(scheme, paths(0.4), rng=np.random.default_rng(s)) for s in (11, 11, 12))
    assert (one.coordinates == two.coordinates).all()
    assert (one.coordinates[1:] != other.coordinates[1:]).any(axis=-1).all()
    monkeypatch.setattr(_stochastic, "MOST_RESPONSES", 3 * 32)
    parts = sampled(scheme, paths(0.4))
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


def test_interrupt_keeps_complete_steps(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def schedule(count: int) -> float:
        if count == 5:
            raise KeyboardInterrupt
        return 1.0

    monkeypatch.setattr(_stochastic, "MOST_RESPONSES", 2 * 64)
    run = sampled(replace(ls.schemes.grpo(prompts_per_step=4), minibatches=2), paths(0.4), steps=9, progress=True,
                  optimizer=optimizers.SGD(learning_rate=0.1, schedule=schedule))
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


def test_resampling_that_starves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stochastic, "FEW_GROUPS", 100)
    scheme = replace(ls.schemes.grpo(prompts_per_step=2), dynamic_sampling="resample")
    with pytest.raises(ValueError, match="resample"):
        sampled(scheme, ls.policies.unsolvable(length=ls.lengths.geometric(mean=5), max_tokens=9))
    run = sampled(scheme, paths(0.5), steps=60, optimizer=optimizers.SGD(learning_rate=50.0))
    assert (run.steps < 60, run.interrupted) == (True, False)
    assert any("ended after step" in note for note in run.notes)
