"""Runs of policies with work: loops over drifts, sampled runs against plain ones, the law of samples, critics."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import lossim as ls
import reference as ref
import translate
from batches import gae_errors, step_of
from examples import SEEDS, random_world
from lossim import advantages, critics, optimizers, schemes, surrogates
from plain_runs import RATE, check, pulled
from tables import KINDS, OLD_PENALTIES, RULES, SAMPLINGS, SURROGATES, TRUNCATIONS
from tape import Reader, Tape, plain

THINKS = ls.Path("thinks", probability=0.6, length=ls.lengths.geometric(mean=30), p_correct=0.05, work=ls.Work(
    answer=ls.lengths.lognormal(median=15, sigma=0.5), never=0.1, done=ls.lengths.geometric(mean=8), p_correct=0.9,
    p_correct_truncated=0.4))
LONGER = replace(THINKS, work=replace(THINKS.work, answer=ls.lengths.geometric(mean=30)))
WRONG = ls.Path("wrong", probability=0.4, length=ls.lengths.geometric(mean=12), p_correct=0.1)
POLICY = ls.Policy([
    ls.PromptClass("easy", weight=0.7, paths=[THINKS, WRONG]),
    ls.PromptClass("hard", weight=0.3, paths=[LONGER, WRONG])], max_tokens=64, coordinates=ls.coordinates(bins=3))


# --- the expected update --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [
    schemes.grpo(kl=0.05), replace(schemes.dapo(), dynamic_sampling="none"), schemes.dr_grpo(),
    schemes.ppo(gae_lambda=0.9, critic=critics.Exact(bias=0.1))], ids=lambda scheme: scheme.name)
def test_a_step_is_the_drift_times_the_learning_rate(scheme: ls.Scheme) -> None:
    rate = 0.5 if scheme.name != "dr_grpo" else 20.0
    run = ls.train(scheme, POLICY, steps=3, optimizer=optimizers.SGD(learning_rate=rate))
    position = np.zeros(POLICY.motion.size)
    for step in (1, 2, 3):
        position = position + rate * ls.drift(scheme, POLICY.moved(position), reference=POLICY).update.value
        now = POLICY.moved(position)
        np.testing.assert_allclose(run.coordinates[step], position, rtol=1e-10)
        by_path = now.layout.by_path(now.law[:, 0].sum(axis=-1))
        for mine, theirs in ((run.length, now.mean_length), (run.accuracy, now.accuracy),
                             (run.truncation_rate, now.truncation_rate), (run.length_by_path, now.mean_length_by_path),
                             (run.accuracy_by_path, by_path)):
            np.testing.assert_allclose(mine[step], theirs, rtol=1e-11)
    assert np.abs(np.diff(run.length)).max() > 0.02


@pytest.mark.parametrize("name", ["clip", "dual", "cispo", "gspo", "vespo"])
def test_epochs_and_minibatches_step_on_the_batch_of_one_policy(name: str) -> None:
    scheme = replace(schemes.grpo(kl=0.05), ppo_epochs=3, minibatches=2, surrogate=SURROGATES[name][0])
    optimizer = optimizers.AdamW(learning_rate=0.05)
    run = ls.train(scheme, POLICY, steps=2, optimizer=optimizer)
    position = np.zeros(POLICY.motion.size)
    state = optimizer.start(position.shape)
    for step in (1, 2):
        old = POLICY.moved(position)
        for _ in range(6):
            update = ls.drift(scheme, POLICY.moved(position), old_policy=old, reference=POLICY).update.value
            move, state = optimizer.step(state, update, position)
            position = position + move
        np.testing.assert_allclose(run.coordinates[step], position, rtol=1e-9, atol=1e-12)


def test_a_clip_by_the_sign_of_token_advantages_in_later_epochs() -> None:
    scheme = replace(schemes.ppo(gae_lambda=0.9, prompts_per_step=8), ppo_epochs=2, surrogate=surrogates.PPOClip())
    run = ls.train(scheme, POLICY, steps=1, optimizer=optimizers.SGD(learning_rate=0.5))
    first = 0.5 * ls.drift(scheme, POLICY).update.value
    second = 0.5 * ls.drift(scheme, POLICY.moved(first), old_policy=POLICY).update.value
    np.testing.assert_allclose(run.coordinates[1], first + second, rtol=1e-9, atol=1e-12)
    sampled = ls.train(scheme, POLICY, steps=2, method="stochastic", replicates=2, rng=np.random.default_rng(0))
    assert np.isfinite(sampled.length).all()


def test_what_is_written_down_of_a_policy() -> None:
    """Both splits of each step add up; needed is the drift's as steps get small; clipped tokens by counting them."""
    rate = 0.5
    run = ls.train(schemes.grpo(), POLICY, steps=5, optimizer=optimizers.SGD(learning_rate=rate))
    for one, other in ((run.composition, run.within), (run.needed, run.free)):
        np.testing.assert_allclose(one + other, np.diff(run.length), rtol=1e-9, atol=1e-11)
    gaps = []
    drift = ls.drift(schemes.grpo(), POLICY)
    expected = np.array([float(drift.needed), float(drift.free)])
    for small in (1e-2, 1e-3):
        first = ls.train(schemes.grpo(), POLICY, steps=1, optimizer=optimizers.SGD(learning_rate=small))
        gaps.append(np.abs(np.array([first.needed[0], first.free[0]]) / small - expected))
    assert (np.array(gaps[1]) < 0.15 * np.array(gaps[0]) + 1e-9).all()
    assert (np.array(gaps[1]) < 1e-2 * abs(float(drift.length))).all()
    clipped = replace(schemes.grpo(), ppo_epochs=2, surrogate=surrogates.PPOClip(low=0.02, high=0.02))
    run = ls.train(clipped, POLICY, steps=1, optimizer=optimizers.SGD(learning_rate=2.0))
    between = POLICY.moved(2.0 * ls.drift(clipped, POLICY).update.value)
    assert run.clip_fraction[0] == pytest.approx(share_clipped(plain(between), plain(POLICY), 0.02), rel=1e-9)
    assert 0.0 < run.clip_fraction[0] < 1.0


def share_clipped(now: ref.World, old: ref.World, width: float) -> float:
    """Share of the tokens of the old policy's responses whose ratio is outside of 1 ± width, going through all."""
    tokens = held = 0.0
    for j, prompts in enumerate(old.classes):
        for path, mine in zip(prompts.paths, now.classes[j].paths, strict=True):
            share = prompts.weight * path.probability
            first = mine.probability / path.probability
            # P(in the state at t) by the two recurrences, working and done.
            states = [(path, mine)] if path.done is None else [(path, mine), (path.done, mine.done)]
            there = [1.0, 0.0][:len(states)]
            for t in range(now.max_tokens):
                if path.arrival is not None:
                    there = [there[0] * (1.0 - path.arrival[t]), there[1] + there[0] * path.arrival[t]]
                for i, (drawn, moved) in enumerate(states):
                    for h, h_old in ((moved.hazard[t], drawn.hazard[t]), (1 - moved.hazard[t], 1 - drawn.hazard[t])):
                        ratio = h / h_old * (first if t == 0 else 1.0)
                        tokens += share * there[i] * h_old
                        held += share * there[i] * h_old * (not 1.0 - width <= ratio <= 1.0 + width)
                    there[i] *= 1.0 - drawn.hazard[t]
    return held / tokens


# --- sampled runs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_is_the_plain_one(kind: str) -> None:
    """Random settings: learning rate × the reference's update of the batch that was drawn."""
    rng = np.random.default_rng(sum(map(ord, kind)))
    for seed in range(4):
        rule, truncation, sampling, penalty, paid = (str(rng.choice(options)) for options in (
            RULES, TRUNCATIONS, SAMPLINGS, OLD_PENALTIES, tuple(translate.REWARDS)))
        check(seed, kind, inner=(1, 1), replicates=seed % 3 + 1, rule=rule, truncation=truncation, sampling=sampling,
              penalty=penalty, paid=paid, group_size=int(rng.integers(2, 5)), prompts=3,
              worlds={"work": 0.7, "graded_truncation": True, "zero_one": 0.2})


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("kind", ["standardized", "whitened group mean", "gae", "whitened gae"])
def test_minibatches_and_epochs_are_a_plain_loop(kind: str, name: str) -> None:
    """Two passes over two mini-batches, ratios to the policy that drew them; GAE's signs token by token."""
    if ("gae" in kind) and name == "gmpo":
        return
    rng = np.random.default_rng(sum(map(ord, kind + name)))
    rule, truncation, sampling, penalty = (str(rng.choice(options)) for options in (
        RULES, TRUNCATIONS, SAMPLINGS, OLD_PENALTIES))
    check(4, kind, name=name, inner=(2, 2), rule=rule, truncation=truncation, sampling=sampling, penalty=penalty,
          group_size=2, prompts=2, worlds={"work": 0.8})


@pytest.mark.parametrize("kind", ["raw", "standardized", "opo", "whitened group mean"])
def test_skill_moves_in_a_plain_loop_too(kind: str) -> None:
    for seed in range(3):
        check(seed, kind, inner=(2, 2), steps=2, rule="token mean", group_size=2, prompts=2, skill_scale=2.0,
              worlds={"work": 0.7, "curves": 0.8, "graded_truncation": True})


def test_large_batches_are_the_mean_field() -> None:
    """Mean over replicates within 4 standard errors, needed and free too."""
    scheme = replace(schemes.grpo(prompts_per_step=256), minibatches=2, surrogate=surrogates.CISPO())
    policy = replace(POLICY, coordinates=ls.coordinates(skill_scale=1.0))
    rule = optimizers.SGD(learning_rate=0.5)
    large = ls.train(scheme, policy, steps=3, optimizer=rule, method="stochastic", replicates=60,
                     rng=np.random.default_rng(3))
    mean = ls.train(scheme, policy, steps=3, optimizer=rule)
    for name in ("length", "accuracy", "kl_to_start", "composition", "within", "needed", "free", "accuracy_by_path"):
        series, truth = getattr(large, name), getattr(mean, name)
        error = series.std(axis=1, ddof=1) / np.sqrt(series.shape[1])
        assert (np.abs(series.mean(axis=1) - truth) <= 4.0 * error + 1e-12 * np.abs(truth)).all(), name


# --- the law of samples ---------------------------------------------------------------------------------------------

EDGES = {
    "certain stops once done": ([0.0, 0.3, 0.0, 0.2], [0.0, 1.0, 1.0, 1.0], [0.3, 0.0, 0.5, 0.2]),
    "never stops once done": ([0.4, 0.0, 0.3, 0.5], [0.0, 0.0, 0.0, 0.0], [0.2, 0.5, 0.0, 0.5]),
    "certain stops while working": ([0.0, 0.5, 1.0, 1.0], [0.5, 0.0, 0.4, 0.0], [0.5, 0.0, 0.3, 0.0]),
    "never stops while working": ([0.0, 0.0, 0.0, 0.0], [0.5, 0.0, 0.0, 1.0], [0.0, 0.4, 0.0, 1.0]),
    "there at once": ([0.5, 0.5, 0.5, 0.5], [0.0, 0.6, 0.0, 0.5], [1.0, 1.0, 1.0, 1.0]),
    "one token": ([0.6], [0.3], [0.5]),
    "one token, certain": ([0.0], [1.0], [0.5]),
}


def edge_policy(working: list[float], done: list[float], arrival: list[float]) -> ls.Policy:
    """Right once done and wrong before, so that the grade of a response tells the state it ended in."""
    work = ls.Work(answer=ls.lengths.table(arrival), done=ls.lengths.table(done), p_correct_truncated=1.0)
    path = ls.Path("thinks", probability=0.7, length=ls.lengths.table(working), p_correct=0.0, work=work)
    other = ls.Path("other", probability=0.3, length=ls.lengths.table([0.4] * len(done)), p_correct=0.3)
    return ls.Policy([ls.PromptClass("one", weight=0.6, paths=[path, other]),
                      ls.PromptClass("two", weight=0.4, paths=[replace(path, probability=1.0)])], max_tokens=len(done))


def assert_drawn_from(chances: dict[Any, float], seen: list[Any]) -> None:
    """A chi-square as rare as 4 sigmas at most, and nothing of chance 0."""
    counts = dict.fromkeys(chances, 0)
    for one in seen:
        assert one in chances, one
        counts[one] += 1
    expected = len(seen) * np.array(list(chances.values()))
    assert expected.min() > 4.0
    assert expected.sum() == pytest.approx(len(seen))
    statistic = float(((np.array(list(counts.values())) - expected) ** 2 / expected).sum())
    assert stats.chi2(max(len(expected) - 1, 1)).sf(statistic) > stats.norm.sf(4.0)


@pytest.mark.parametrize("edge", EDGES)
def test_draws_follow_the_law(edge: str) -> None:
    """Class, path, length, grade, cut or not, and when the answer was there."""
    policy = edge_policy(*EDGES[edge])
    world = plain(policy)
    chances = {(j, response): prompts.weight * chance for j, prompts in enumerate(world.classes)
               for chance, response in ref.atoms(world, j)}
    draws = policy.draw(np.random.default_rng(1), prompts=30_000, group_size=1)
    layout = policy.layout
    first_path = np.searchsorted(layout.class_of_path, [0, 1])
    seen = []
    for cell, grade, end, entered in zip(*(getattr(draws, name).ravel().tolist() for name in (
            "cell", "grade", "end", "entered")), strict=True):
        j = int(layout.class_of_cell[cell])
        moved = entered + 1 if cell in layout.moves.target else 0
        seen.append((j, ref.Response(int(layout.path_of_cell[cell] - first_path[j]), int(policy.length[end]),
                                     end == policy.max_tokens, grade == 0, moved)))
    assert_drawn_from(chances, seen)


class Seen(ls.rewards.GroupShaping):
    """A reward that changes nothing and keeps what it saw: lengths and grades [replicate, prompt, response]."""

    def __init__(self) -> None:
        self.rollouts: list[tuple[np.ndarray, np.ndarray]] = []

    def in_group(self, reward: Any, length: Any, correct: Any, counted: Any) -> Any:
        self.rollouts.append((np.array(length), np.array(correct)))
        return reward


@pytest.mark.parametrize("edge", EDGES)
def test_draws_of_replicates_follow_each_one_s_law(edge: str) -> None:
    """Lengths and grades of the second rollout, when the replicates have parted."""
    policy, seen = edge_policy(*EDGES[edge]), Seen()
    scheme = ls.Scheme(advantage=advantages.LeaveOneOut(), aggregation=ls.aggregation.SequenceMeanTokenSum(),
                       reward=ls.Reward(shaping=seen), group_size=2, prompts_per_step=20_000)
    run = ls.train(scheme, policy, steps=2, replicates=2, optimizer=optimizers.SGD(learning_rate=0.5),
                   method="stochastic", rng=np.random.default_rng(8))
    assert np.abs(np.diff(run.coordinates[1], axis=0)).max() > 0
    lengths, right = seen.rollouts[-1]
    for r in range(2):
        world, chances = plain(run.policy_at(1, replicate=r)), {}
        for j, prompts in enumerate(world.classes):
            for chance, response in ref.atoms(world, j):
                key = (response.length, response.correct)
                chances[key] = chances.get(key, 0.0) + prompts.weight * chance
        # One response of each group: those of one prompt share its class.
        assert_drawn_from(chances, [(int(t), bool(g)) for t, g in zip(lengths[r][:, 0], right[r][:, 0], strict=True)])


# --- critics --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Noting(critics.Zero):
    """Says 0, but only to who asks, and keeps the views it was shown."""

    views: list[critics.CriticView] = field(default_factory=list)
    constant = None  # a number that is known beforehand is not asked for

    def values(self, view: critics.CriticView) -> np.ndarray:
        self.views.append(view)
        return super().values(view)


def view_of(policy: ls.Policy, gamma: float) -> critics.CriticView:
    noting = Noting()
    scheme = ls.Scheme(advantage=advantages.GAE(gamma=gamma, critic=noting), aggregation=RULE,
                       reward=ls.Reward(incorrect=-1.0))
    gae_errors(step_of(scheme, policy))
    return noting.views[-1]


RULE = ls.aggregation.SequenceMeanTokenMean()


@settings(max_examples=30)
@given(seed=SEEDS, max_tokens=st.integers(1, 4), gamma=st.floats(0, 1), per=st.sampled_from(["class", "cell"]))
def test_the_exact_critic_is_the_mean_return_of_who_is_there(
        seed: int, max_tokens: int, gamma: float, per: Any) -> None:
    """Response by response: γ^{T-t} times the reward, of those in the cell (or class) at t."""
    world = random_world(seed, max_tokens=max_tokens, work=0.7, zero_one=0.2)
    policy, _ = translate.policies(world)
    values = critics.Exact(per=per).values(view_of(policy, gamma))
    total, mass = np.zeros((2, world.cells, max_tokens))
    of_class = policy.class_of_cell
    for j in range(len(world.classes)):
        for chance, response in ref.atoms(world, j):
            for t in range(1, response.length + 1):
                cell = world.cell(j, response.path, response.done(t))
                pooled = t == 1 or per == "class"
                alike = [c for c in range(world.cells) if c == cell or (of_class[c] == j and pooled)]
                paid = gamma ** (response.length - t) * (1.0 if response.correct else -1.0)
                for c in alike:
                    total[c, t - 1] += chance * paid
                    mass[c, t - 1] += chance
    there = mass > 0
    np.testing.assert_allclose(values[:, :-1][there], total[there] / mass[there], rtol=1e-9, atol=1e-12)


@settings(max_examples=30)
@given(seed=SEEDS, max_tokens=st.integers(1, 5), gamma=st.floats(0, 1), lam=st.floats(0, 1),
       per=st.sampled_from(["class", "cell"]))
def test_rate_one_gets_to_the_exact_critic_and_stays_there(
        seed: int, max_tokens: int, gamma: float, lam: float, per: Any) -> None:
    """In one update if λ = 1, in as many as there are positions with any λ where a value serves each state."""
    rng = np.random.default_rng(seed)
    world = random_world(seed, max_tokens=max_tokens, work=0.7, zero_one=0.2)
    policy, _ = translate.policies(world)
    view = view_of(policy, gamma)
    exact = critics.Exact(per=per).values(view)[:, :-1]
    start = critics.LearnedTable(rate=1.0, per=per, start=rng.normal(size=(len(world.classes), max_tokens)))
    for updates, critic in ((1, replace(start, gae_lambda=1.0)), (max_tokens, replace(start, gae_lambda=lam))):
        values = critic.start_values(view)
        for _ in range(updates):
            values = critic.learned(values, *critic.targets(values, view))
        mean, reached = critic.targets(values, view)
        np.testing.assert_allclose(values[:, :-1][reached], exact[reached], atol=1e-10)
        np.testing.assert_allclose(mean, 0.0, atol=1e-10)


def test_a_critic_learns_from_the_rollout() -> None:
    """V moves by the mean of GAE over those in the state at t, token by token here; then a table of it serves."""
    start = [0.3, -0.2, 0.1, 0.4]
    critic = critics.LearnedTable(rate=0.5, start=start, per="cell", gae_lambda=0.7)
    policy, gamma = edge_policy([0.2, 0.3, 0.1, 0.3], [0.3, 0.2, 0.5, 0.3], [0.3, 0.2, 0.4, 0.1]), 0.9
    policy = replace(policy, classes=[replace(policy.classes[0], weight=1.0)])
    scheme = ls.schemes.ppo(critic=critic, gae_lambda=0.8, gamma=gamma, prompts_per_step=12,
                            reward=ls.Reward(incorrect=-1.0))
    setting = ref.Setting(reward=lambda length, correct, cut: 1.0 if correct else -1.0, advantage="gae", gamma=gamma,
                          gae_lambda=0.8, prompts_per_step=12)
    run = ls.train(scheme, policy, steps=3, optimizer=optimizers.SGD(learning_rate=RATE), method="stochastic",
                   rng=(tape := Tape(5)))
    reader, values = Reader(tape, scheme), np.tile(start, (3, 1))
    for step in range(3):
        world = plain(run.policy_at(step, replicate=0))
        (groups,) = reader.rollout([world])
        np.testing.assert_allclose(run.critic[step][:, :4], values, rtol=1e-12)
        fixed = replace(setting, first_values=[values[0, 0]], values=values.tolist())
        np.testing.assert_allclose(run.coordinates[step + 1, 0] - run.coordinates[step, 0], rtol=1e-9, atol=1e-12,
                                   desired=RATE * pulled(policy, world, ref.batch_update(world, fixed, groups)))
        sums, count = np.zeros((3, 4)), np.zeros((3, 4))
        for response in (one for _, responses in groups for one in responses):
            cells = [world.cell(0, response.path, response.done(t)) for t in range(1, response.length + 1)]
            advantage = 0.0
            for t in reversed(range(response.length)):
                last = t == response.length - 1
                gained = (1.0 if response.correct else -1.0) if last else gamma * values[cells[t + 1], t + 1]
                advantage = gained - values[cells[t], t] + gamma * 0.7 * advantage
                sums[cells[t], t] += advantage
                count[cells[t], t] += 1
        sums[:, 0], count[:, 0] = sums[:, 0].sum(), count[:, 0].sum()
        values = values + 0.5 * np.divide(sums, count, out=np.zeros((3, 4)), where=count > 0)
    assert reader.finished()


# --- other prompts, another cap -------------------------------------------------------------------------------------


def test_another_cap_is_the_same_policy_cut_elsewhere() -> None:
    """Below the shorter cap nothing changes; moved, cut and drawn out again it is where it was."""
    for policy in (POLICY, POLICY.moved(0.3 * np.random.default_rng(2).normal(size=POLICY.motion.size))):
        longer, shorter = policy.recapped(200), policy.recapped(40)
        np.testing.assert_allclose(longer.ends[:, :64], policy.pmf, rtol=1e-12)
        np.testing.assert_allclose(policy.ends[:, :40], shorter.pmf, rtol=1e-12)
        np.testing.assert_allclose(longer.recapped(64).law, policy.law, rtol=1e-12)
        np.testing.assert_allclose(shorter.recapped(64).law, policy.law, rtol=1e-12)
        cut = shorter.layout.by_path(shorter.ends[:, -1])
        np.testing.assert_allclose(cut, policy.layout.by_path(policy.ends[:, 40:].sum(axis=1)), rtol=1e-10)
        assert np.isfinite(float(ls.drift(schemes.grpo(), longer).length))


def test_other_prompts_are_the_same_classes_weighed_anew() -> None:
    scheme = schemes.grpo()
    alone = [ls.drift(scheme, replace(POLICY, classes=[replace(prompts, weight=1.0)])) for prompts in POLICY.classes]
    for weight in (0.0, 0.25, 1.0):
        policy = POLICY.reweighted({"easy": weight})
        drift = ls.drift(scheme, policy)
        shares = np.repeat([weight, 1.0 - weight], 3)
        gradient = np.concatenate([each.hazard_gradient.value for each in alone])
        np.testing.assert_allclose(drift.hazard_gradient.value, shares[:, None] * gradient, rtol=1e-9, atol=1e-14)
        np.testing.assert_allclose(policy.law, POLICY.law, rtol=1e-15)
