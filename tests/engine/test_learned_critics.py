"""Critics that learn: their targets against λ-returns of enumerated and of simulated responses, token by token."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossim as ls
import reference as ref
import translate
from batches import gae_errors, step_of
from lossim import advantages, critics, penalties, schemes

Array = np.ndarray[Any, Any]
Per = Literal["class", "cell"]
SEEDS = st.integers(0, 2**32 - 1)
PER = st.sampled_from(["class", "cell"])
NO_MOVES = np.zeros(0, dtype=np.int64)


class Answer(NamedTuple):
    """A response as its critic sees it: which cell, what each token is paid, and whether it was cut."""

    cell: int
    pay: list[float]
    truncated: bool

    def advantages(self, values: Array, gamma: float, lam: float, bootstrap: bool) -> list[float]:
        """Â_t = Σ_u (γλ)^{u-t} δ_u, each sum from its definition."""
        length = len(self.pay)
        after_last = values[self.cell, length] if bootstrap and self.truncated else 0.0
        ahead = [*values[self.cell, 1:length], after_last]
        errors = [self.pay[u] + gamma * ahead[u] - values[self.cell, u] for u in range(length)]
        return [sum((gamma * lam) ** (u - t) * errors[u] for u in range(t, length)) for t in range(length)]


@dataclass(frozen=True)
class Paid:
    """A small world whose tokens are paid: ±1 at the end, and something for every token."""

    world: ref.World
    stop: Array
    go: Array

    def answer(self, j: int, response: ref.Response) -> Answer:
        cell = self.world.cell(j, response.path)
        pay = [float(self.go[cell, t]) for t in range(response.length)]
        if not response.truncated:
            pay[-1] = float(self.stop[cell, response.length - 1])
        pay[-1] += 1.0 if response.correct else -1.0
        return Answer(cell, pay, response.truncated)

    @property
    def class_of_cell(self) -> Array:
        return np.repeat(np.arange(len(self.world.classes)), [len(c.paths) for c in self.world.classes])

    def view(self, gamma: float) -> critics.CriticView:
        paths = [path for c in self.world.classes for path in c.paths]
        hazard = np.array([path.hazard for path in paths], dtype=float)
        with np.errstate(divide="ignore"):
            gone = np.cumsum(np.log1p(-hazard), axis=1)
        return critics.CriticView(
            class_of_cell=self.class_of_cell, probability=np.array([path.probability for path in paths]), hazard=hazard,
            stay=1.0 - hazard, log_at_risk=np.column_stack([np.zeros(len(paths)), gone[:, :-1]]), left=NO_MOVES,
            arrival=np.zeros((0, hazard.shape[1])),
            paid_stop=self.stop + 2.0 * np.array([path.p_correct for path in paths]) - 1.0, paid_go=self.go,
            paid_truncated=np.array([2.0 * path.p_correct_truncated - 1.0 for path in paths]), gamma=gamma)


def paid_world(rng: np.random.Generator, max_tokens: int, zero_one: float = 0.2, never: bool = False) -> Paid:
    """Two classes with three paths and one; with ``never``, one of the three is never taken."""
    world = ref.random_world(rng, paths=(3, 1), max_tokens=max_tokens, zero_one=zero_one, graded_truncation=True)
    if never:
        first, second, third = world.classes[0].paths
        paths = [replace(first, probability=first.probability + second.probability), replace(second, probability=0.0),
                 third]
        world = replace(world, classes=[replace(world.classes[0], paths=paths), world.classes[1]])
    return Paid(world, rng.normal(size=(4, max_tokens)), rng.normal(size=(4, max_tokens)))


def random_values(rng: np.random.Generator, paid: Paid, per: Per) -> Array:
    """Values as such a critic may have them: V_1, or all of them, the same for the paths of a class."""
    values = rng.normal(size=(4, paid.world.max_tokens + 1))
    shared = slice(None) if per == "class" else slice(1)
    values[1:3, shared] = values[0, shared]
    return values


def averaged(answers: list[tuple[float, Answer]], values: Array, of_class: Array, per: Per, **gae: Any
             ) -> tuple[Array, Array, Array]:
    """Mean of Â_t over weighted answers that got to t, who got there, and how unsure the mean is."""
    shape = (len(values), values.shape[1] - 1)
    mean, reached, spread = np.zeros(shape), np.zeros(shape, dtype=bool), np.zeros(shape)
    credited = [(weight, answer.cell, answer.advantages(values, **gae)) for weight, answer in answers]
    for cell, t in np.ndindex(*shape):
        alike = [c for c in range(len(values)) if c == cell or (of_class[c] == of_class[cell]
                                                               and (per == "class" or t == 0))]
        here = [(weight, credit[t]) for weight, c, credit in credited if c in alike and len(credit) > t and weight > 0]
        if here:
            total = sum(weight for weight, _ in here)
            mean[cell, t] = sum(weight * credit for weight, credit in here) / total
            squares = sum(weight * (credit - mean[cell, t]) ** 2 for weight, credit in here) / total
            spread[cell, t] = (squares / len(here)) ** 0.5
            reached[cell, t] = True
    return mean, reached, spread


# ---- targets ----


@settings(max_examples=60)
@given(seed=SEEDS, per=PER, max_tokens=st.integers(1, 3), gamma=st.floats(0, 1), lam=st.floats(0, 1),
       bootstrap=st.booleans(), never=st.booleans())
def test_targets_are_the_mean_lambda_return_of_all_responses(
        seed: int, per: Per, max_tokens: int, gamma: float, lam: float, bootstrap: bool, never: bool) -> None:
    rng = np.random.default_rng(seed)
    paid = paid_world(rng, max_tokens, never=never)
    values, view = random_values(rng, paid, per), paid.view(gamma)
    answers = [(p, paid.answer(j, response)) for j in (0, 1) for p, response in ref.atoms(paid.world, j)]
    mean, reached, _ = averaged(answers, values, paid.class_of_cell, per, gamma=gamma, lam=lam, bootstrap=bootstrap)
    critic = critics.LearnedTable(rate=0.5, per=per, gae_lambda=lam)
    found, found_reached = critic.targets(values, view, bootstrap_truncated=bootstrap)
    np.testing.assert_allclose(found, mean, atol=1e-12)
    np.testing.assert_array_equal(found_reached, reached)


def simulated(paid: Paid, rng: np.random.Generator, count: int) -> list[tuple[float, Answer]]:
    """Responses by one coin per token; each class gets half of them."""
    answers = []
    for number in range(count):
        j = number % 2
        paths = paid.world.classes[j].paths
        k = int(rng.choice(len(paths), p=[path.probability for path in paths]))
        path, t = paths[k], 0
        while t < paid.world.max_tokens and rng.random() >= path.hazard[t]:
            t += 1
        cut = t == paid.world.max_tokens
        correct = bool(rng.random() < (path.p_correct_truncated if cut else path.p_correct[t]))
        answers.append((1.0, paid.answer(j, ref.Response(k, t if cut else t + 1, cut, correct))))
    return answers


@pytest.mark.parametrize("per", ["class", "cell"])
def test_targets_against_simulated_responses(per: Per) -> None:
    """Within 4.5 standard errors at every cell and position that 50 responses or more got to."""
    rng = np.random.default_rng(7)
    paid = paid_world(rng, 6, zero_one=0.0)
    values = random_values(rng, paid, per)
    answers, gae = simulated(paid, rng, 4000), {"gamma": 0.95, "lam": 0.8, "bootstrap": False}
    mean, _, stderr = averaged(answers, values, paid.class_of_cell, per, **gae)
    critic = critics.LearnedTable(rate=0.5, per=per, gae_lambda=0.8)
    found, _ = critic.targets(values, paid.view(0.95))
    got = np.array([[sum(len(a.pay) > t for _, a in answers if a.cell == cell) for t in range(6)] for cell in range(4)])
    assert (got >= 50).sum() > 10
    assert (np.abs(found - mean) < 4.5 * stderr)[got >= 50].all()
    assert (np.abs(found - mean) > 0.1 * stderr)[got >= 50].any()


def batch(answers: list[tuple[float, Answer]], values: Array, gamma: float, lam: float) -> tuple[Array, Array]:
    """Sums of the advantages of those that got to t, and how many they are, [cell, t]."""
    total, count = np.zeros((2, *values[:, :-1].shape))
    for _, answer in answers:
        own = answer.advantages(values, gamma, lam, bootstrap=False)
        total[answer.cell, :len(own)] += own
        count[answer.cell, :len(own)] += 1
    return total, count


@settings(max_examples=30)
@given(seed=SEEDS, per=PER, max_tokens=st.integers(1, 4), gamma=st.floats(0, 1), lam=st.floats(0, 1))
def test_batch_targets_are_means_over_the_responses_of_each_batch(
        seed: int, per: Per, max_tokens: int, gamma: float, lam: float) -> None:
    """Two batches at once, each with values of its own; the second has one class alone."""
    rng = np.random.default_rng(seed)
    paid = paid_world(rng, max_tokens)
    drawn = [simulated(paid, rng, 12), simulated(paid, rng, 12)[::2]]
    values = [random_values(rng, paid, per) for _ in drawn]
    critic = critics.LearnedTable(rate=0.5, per=per, gae_lambda=lam)
    parts = [batch(answers, v, gamma, lam) for answers, v in zip(drawn, values, strict=True)]
    total, count = (np.array(part) for part in zip(*parts, strict=True))
    found, found_reached = critic.batch_targets(total, count, paid.class_of_cell)
    assert not found_reached[1, 3].any()
    for i, answers in enumerate(drawn):
        mean, reached, _ = averaged(answers, values[i], paid.class_of_cell, per, gamma=gamma, lam=lam, bootstrap=False)
        np.testing.assert_allclose(found[i], mean, atol=1e-12)
        np.testing.assert_array_equal(found_reached[i], reached)


@dataclass(frozen=True, kw_only=True)
class Noting(critics.Zero):
    """Says 0 and keeps the views it was shown."""

    views: list[critics.CriticView] = field(default_factory=list)

    def values(self, view: critics.CriticView) -> Array:
        self.views.append(view)
        return super().values(view)


@pytest.mark.parametrize("bootstrap", [False, True])
@pytest.mark.parametrize("per", ["class", "cell"])
def test_both_kinds_of_targets_agree_on_the_errors_of_the_engine(per: Per, bootstrap: bool) -> None:
    """A batch in which every response occurs as often as its chance says; with KL in the reward."""
    rng = np.random.default_rng(5)
    policy, _ = translate.policies(ref.random_world(rng, paths=(2, 1), max_tokens=4, graded_truncation=True))
    values = rng.normal(size=(3, 5))
    values[:2, slice(None) if per == "class" else 0] = values[0, slice(None) if per == "class" else 0]
    kl = penalties.KL(coefficient=0.4, place="reward", content_per_token=0.3)
    scheme, noting = schemes.ppo(penalties=(kl,)), Noting()

    def errors(critic: critics.Critic) -> Any:
        gae = advantages.GAE(gamma=0.9, critic=critic, bootstrap_truncated=bootstrap)
        return gae_errors(step_of(replace(scheme, advantage=gae), policy))

    errors(noting)
    engine = errors(critics.Table(table=values))
    weight = policy.probability[:, None, None] * policy.law
    count = np.cumsum(weight.sum(axis=1)[:, ::-1], axis=1)[:, ::-1]
    last = (weight * engine.last).sum(axis=1)
    total = np.zeros((3, 5))
    for t in reversed(range(4)):
        total[:, t] = last[:, t] + engine.going[:, t] * count[:, t + 1] + 0.9 * 0.7 * total[:, t + 1]
        if t == 3:
            total[:, t] += last[:, 4]
    critic = critics.LearnedTable(rate=0.5, per=per, gae_lambda=0.7)
    found, reached = critic.batch_targets(total[:, :4], count[:, :4], policy.class_of_cell)
    expected, expected_reached = critic.targets(values, noting.views[0], bootstrap_truncated=bootstrap)
    np.testing.assert_allclose(found, expected, atol=1e-13)
    np.testing.assert_array_equal(reached, expected_reached)


def test_targets_deep_in_the_tail() -> None:
    """Both paths get to t = 2400 with a chance below 1e-400, and in the end the first is 1e-400 times as rare as the
    second; both still learn."""
    n, t = 6000, 2400
    hazard = np.stack([np.full(n, 0.5), np.full(n, 0.4)])
    at_risk = np.cumsum(np.log1p(-hazard), axis=1) - np.log1p(-hazard)
    pay = np.stack([np.full(n, 1.0), np.full(n, -1.0)])
    view = critics.CriticView(class_of_cell=np.array([0, 0]), probability=np.array([0.5, 0.5]), hazard=hazard,
                              stay=1.0 - hazard, log_at_risk=at_risk, left=NO_MOVES, arrival=np.zeros((0, n)),
                              paid_stop=pay, paid_go=np.zeros((2, n)),
                              paid_truncated=np.array([1.0, -1.0]), gamma=1.0)
    odds = (0.5 / 0.6) ** (t - 1)
    for per, expected in (("class", [-(1.0 - odds) / (1.0 + odds)] * 2), ("cell", [1.0, -1.0])):
        critic = critics.LearnedTable(rate=1.0, per=per)  # type: ignore[arg-type]
        mean, reached = critic.targets(critic.start_values(view), view)
        np.testing.assert_allclose(mean[:, t - 1], expected, rtol=1e-12)
        assert reached.all()


# ---- updates ----


@settings(max_examples=60)
@given(seed=SEEDS, per=PER, max_tokens=st.integers(1, 5), gamma=st.floats(0, 1), lam=st.floats(0, 1),
       never=st.booleans())
def test_rate_one_gets_to_the_exact_critic_and_stays_there(
        seed: int, per: Per, max_tokens: int, gamma: float, lam: float, never: bool) -> None:
    """In one update if λ = 1, in as many as there are positions with any λ; where nobody gets, nothing moves."""
    rng = np.random.default_rng(seed)
    paid = paid_world(rng, max_tokens, never=never)
    view, start = paid.view(gamma), random_values(rng, paid, per)
    exact = critics.Exact(per=per).values(view)[:, :-1]
    for updates, critic in ((1, critics.LearnedTable(rate=1.0, per=per)),
                            (max_tokens, critics.LearnedTable(rate=1.0, per=per, gae_lambda=lam))):
        values = start
        for _ in range(updates):
            values = critic.learned(values, *critic.targets(values, view))
        mean, reached = critic.targets(values, view)
        np.testing.assert_allclose(values[:, :-1], np.where(reached, exact, start[:, :-1]), atol=1e-11)
        np.testing.assert_allclose(mean, 0.0, atol=1e-11)
        assert (values[:, -1] == start[:, -1]).all()


def test_the_rate_is_the_share_of_the_way() -> None:
    rng = np.random.default_rng(2)
    paid = paid_world(rng, 4, zero_one=0.0)
    view, start = paid.view(0.9), random_values(rng, paid, "cell")
    kept, exact = start.copy(), critics.Exact().values(view)
    for rate in (0.0, 0.25, 1.0):
        critic = critics.LearnedTable(rate=rate, per="cell")
        mean, reached = critic.targets(start, view)
        values = critic.learned(start, mean, reached)
        np.testing.assert_allclose(values[:, :-1], ((1.0 - rate) * start + rate * exact)[:, :-1], atol=1e-14)
        np.testing.assert_array_equal(critic.learned(start, mean, np.zeros_like(reached)), start)
    np.testing.assert_array_equal(start, kept)


def test_updates_take_many_runs_at_once() -> None:
    rng = np.random.default_rng(3)
    values, mean, reached = rng.normal(size=(5, 2, 4)), rng.normal(size=(5, 2, 3)), rng.random((5, 2, 3)) < 0.5
    for critic in (critics.LearnedTable(rate=0.3), critics.RunningMean(rate=0.3)):
        each = [critic.learned(*one) for one in zip(values, mean, reached, strict=True)]
        np.testing.assert_array_equal(critic.learned(values, mean, reached), each)


@settings(max_examples=30)
@given(seed=SEEDS, gamma=st.floats(0, 1), max_tokens=st.integers(1, 4))
def test_a_running_mean_follows_the_mean_return_of_each_class(seed: int, gamma: float, max_tokens: int) -> None:
    rng = np.random.default_rng(seed)
    paid, critic = paid_world(rng, max_tokens), critics.RunningMean(rate=0.25, start=0.5)
    view = paid.view(gamma)
    values = critic.start_values(view)
    values = critic.learned(values, *critic.targets(values, view))
    for cell, j in enumerate(paid.class_of_cell):
        answers = [(p, paid.answer(j, response).pay) for p, response in ref.atoms(paid.world, j)]
        paid_here = sum(p * sum(gamma**t * pay for t, pay in enumerate(pays)) for p, pays in answers)
        np.testing.assert_allclose(values[cell], 0.75 * 0.5 + 0.25 * paid_here, atol=1e-12)
    unseen = np.array([[True], [True], [True], [False]])
    stays = critic.learned(values, np.ones((4, max_tokens)), np.broadcast_to(unseen, (4, max_tokens)))
    np.testing.assert_allclose(stays, values + 0.25 * unseen)


# ---- starts, and in a drift ----

POLICY = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=3), wrong=ls.lengths.geometric(mean=5),
                               max_tokens=4)


def update(critic: critics.Critic, bootstrap: bool = False) -> Array:
    gae = advantages.GAE(gae_lambda=0.8, critic=critic, bootstrap_truncated=bootstrap)
    return ls.drift(replace(schemes.ppo(), advantage=gae), POLICY).update.value


PROFILE = [0.5, 0.25, -0.25, -1.0, 2.0]


@pytest.mark.parametrize(("critic", "given"), [
    (critics.RunningMean(rate=0.1, start=0.3), critics.Constant(value=0.3)),
    (critics.LearnedTable(rate=0.1, start=0.3, per="cell"), critics.Constant(value=0.3)),
    (critics.LearnedTable(rate=0.1, start=PROFILE), critics.Table(table=[PROFILE])),
    (critics.LearnedTable(rate=0.1, start=[PROFILE], per="cell"), critics.Table(table=[PROFILE]))], ids=repr)
def test_in_a_drift_a_learned_critic_counts_with_its_start(critic: critics.Critic, given: critics.Critic) -> None:
    for bootstrap in (False, True):
        np.testing.assert_array_equal(update(critic, bootstrap), update(given, bootstrap))


def test_a_profile_without_a_value_beyond_the_cut_cannot_bootstrap() -> None:
    critic = critics.LearnedTable(rate=0.1, start=PROFILE[:4])
    np.testing.assert_array_equal(update(critic), update(critics.Table(table=[PROFILE[:4]])))
    with pytest.raises(ValueError, match="needs a critic with a value beyond max_tokens"):
        update(critic, bootstrap=True)
    view = paid_world(np.random.default_rng(0), 4).view(1.0)
    values = critic.start_values(view)
    assert np.isnan(values[:, -1]).all()
    mean, _ = critic.targets(values, view)
    assert np.isfinite(mean).all()
    with pytest.raises(ValueError, match=r"needs a critic with a value beyond max_tokens, got True; start it from"):
        critic.targets(values, view, bootstrap_truncated=True)


def test_a_start_is_per_position_or_per_class_and_position() -> None:
    view, rows = paid_world(np.random.default_rng(0), 4).view(1.0), np.arange(10.0).reshape(2, 5)
    critic, expected = critics.LearnedTable(rate=0.1, start=rows), rows[[0, 0, 0, 1]]
    rows[:] = -1.0  # the critic has a copy
    np.testing.assert_array_equal(critic.start_values(view), expected)
    by_cell = np.arange(20.0).reshape(4, 5)
    np.testing.assert_array_equal(critics.LearnedTable(rate=0.1, start=by_cell).start_values(view), by_cell)
    for shape in ((3,), (6,), (1, 5), (3, 5), (2, 3)):
        with pytest.raises(ValueError, match=r"shape \[4 or 5 positions\], or one such row for each of 2 classes"):
            critics.LearnedTable(rate=0.1, start=np.zeros(shape)).start_values(view)
