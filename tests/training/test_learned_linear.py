"""The linear head: against regression written out token by token, limits in closed form, and sampled runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossim as ls
import reference as ref
import translate
from lossim import aggregation, critics, optimizers, schemes

Array = np.ndarray[Any, np.dtype[np.float64]]
Per = Literal["class", "cell"]
Knots = int | Literal["table"]
SUM = aggregation.SequenceMeanTokenSum()
HELD = optimizers.SGD(learning_rate=0.0)
PER = st.sampled_from(["class", "cell"])
KNOTS = st.sampled_from([1, 2, 3, 9, "table"])

PATHS = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=6), wrong=ls.lengths.geometric(mean=11),
                              max_tokens=24)
THINKS = ls.Path("thinks", length=ls.lengths.geometric(mean=12), p_correct=0.0,
                 work=ls.Work(answer=ls.lengths.geometric(mean=5), never=0.2, done=ls.lengths.geometric(mean=4)))
MIXED = ls.Policy([ls.PromptClass("easy", weight=0.6, paths=[replace(THINKS, probability=0.7), ls.Path(
    "guesses", probability=0.3, length=ls.lengths.geometric(mean=3), p_correct=0.3)]),
    ls.PromptClass("hard", weight=0.4, paths=[ls.Path("fails", length=ls.lengths.geometric(mean=9), p_correct=0.0)])],
    max_tokens=20)


def sgd(rate: float) -> optimizers.SGD:
    return optimizers.SGD(learning_rate=rate)


def head(rate: float, **options: Any) -> critics.LearnedLinear:
    return critics.LearnedLinear(optimizer=sgd(rate), **options)


def scheme(critic: critics.Critic, **options: Any) -> ls.Scheme:
    return schemes.ppo(critic=critic, aggregation=SUM, **options)


def held(critic: critics.Critic, policy: ls.Policy, updates: int, gamma: float = 1.0) -> Array:
    """V after each update on a policy that does not move, [update, cell, t]."""
    run = ls.train(scheme(critic, gamma=gamma), policy, steps=updates, optimizer=HELD)
    assert run.critic is not None
    np.testing.assert_allclose(run.length, run.length[0], rtol=1e-14)
    return run.critic


# --- features by their definition -----------------------------------------------------------------------------------


class World(NamedTuple):
    """Cells with a class each, so many of them, and the cap."""

    of_class: list[int]
    max_tokens: int


def features(world: World, cell: int, t: int, *, knots: Knots, sharing: float, per: Per) -> Array:
    """φ(cell, t): hats linear in log t for all, then those of each class or cell; and of each class at t = 1."""
    places = list(range(1, world.max_tokens + 2))
    at = t
    if knots != "table":
        even = np.geomspace(1, world.max_tokens, knots) if knots > 1 else [1.0]
        places = sorted({round(place) for place in even})
        at = min(t, world.max_tokens)
    hats = np.array([np.interp(np.log(at), np.log(places), one) for one in np.eye(len(places))])
    own = np.zeros((len(world.of_class), len(places)))
    first = np.zeros(len(world.of_class))
    if per == "cell" and t == 1:
        first[world.of_class[cell]] = 1.0
    else:
        own[cell if per == "cell" else world.of_class[cell]] = hats
    return np.concatenate([np.sqrt(sharing) * hats, np.sqrt(1.0 - sharing) * own.ravel(),
                           np.sqrt(1.0 - sharing) * first])


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), max_tokens=st.integers(1, 12), knots=KNOTS, per=PER, sharing=st.floats(0, 1))
def test_one_update_is_the_gradient_of_the_regression_loss(
        seed: int, max_tokens: int, knots: Knots, per: Per, sharing: float) -> None:
    """Both steps, of V and of what the next passes see, against φ written out for each cell and position."""
    rng = np.random.default_rng(seed)
    world = World([0, 0, 1, 2, 2, 2], max_tokens)
    phi = np.array([[features(world, cell, t, knots=knots, sharing=sharing, per=per)
                     for t in range(1, max_tokens + 2)] for cell in range(6)])
    values = rng.normal(size=(6, max_tokens + 1))
    tokens = rng.random((6, max_tokens)) * (rng.random((6, max_tokens)) < 0.8)
    tokens[0, 0] = 0.5
    lesson = critics.Lesson(advantage_mean=rng.normal(size=tokens.shape), reached=tokens > 0, tokens=tokens)
    inside = phi[:, :-1]
    for normalize in (False, True):
        weights = np.zeros(phi.shape[-1])
        share = np.full(len(weights), tokens.sum())
        if normalize:
            share = np.einsum("ct,ctk,ct->k", tokens, inside, inside.sum(axis=-1))
        for _ in range(3):
            missing = lesson.advantage_mean - inside @ weights
            gradient = np.einsum("ct,ct,ctk->k", tokens, missing, inside)
            weights = weights + 0.7 * np.divide(gradient, share, out=np.zeros_like(share), where=share > 0)
        critic = head(0.7, knots=knots, sharing=sharing, per=per, epochs=3, normalize=normalize)
        memory = critic.memory(values, np.array(world.of_class))
        found, _ = critic.update(values, memory, lesson)
        np.testing.assert_allclose(found, values + phi @ weights, atol=1e-10)


def test_updates_take_many_runs_at_once_and_mix_none() -> None:
    rng = np.random.default_rng(3)
    values, mean = rng.normal(size=(5, 3, 8)), rng.normal(size=(5, 3, 7))
    tokens = rng.integers(0, 4, size=(5, 3, 7)) + 0.0
    of_class = np.array([0, 0, 1])
    for critic in (head(0.3, sharing=0.6, knots=3, per="cell"), critics.LearnedLinear(
            optimizer=optimizers.AdamW(learning_rate=0.1), sharing=1.0), critics.RunningMean(rate=0.3, per="all")):
        lesson = critics.Lesson(advantage_mean=mean, reached=tokens > 0, tokens=tokens)
        now, memory = critic.update(values, critic.memory(values, of_class), lesson)
        now, _ = critic.update(now, memory, lesson)
        for run in range(5):
            one = critics.Lesson(advantage_mean=mean[run], reached=tokens[run] > 0, tokens=tokens[run])
            alone, remembered = critic.update(values[run], critic.memory(values[run], of_class), one)
            alone, _ = critic.update(alone, remembered, one)
            np.testing.assert_allclose(now[run], alone, atol=1e-13)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), max_tokens=st.integers(1, 4), gamma=st.floats(0.3, 1), lam=st.floats(0, 1),
       per=PER, knots=st.sampled_from([1, 2, "table"]), sharing=st.sampled_from([0.0, 0.4, 1.0]))
def test_a_run_against_responses_enumerated_token_by_token(
        seed: int, max_tokens: int, gamma: float, lam: float, per: Per, knots: Knots, sharing: float) -> None:
    """Worlds with work, two updates of two passes; targets V + Σ_u (γλ_V)^{u-t} δ_u of each response."""
    made = ref.random_world(np.random.default_rng(seed), paths=(2, 1), max_tokens=max_tokens, work=0.6,
                            graded_truncation=True)
    policy, _ = translate.policies(made)
    world = World(policy.class_of_cell.tolist(), max_tokens)
    said = {"knots": knots, "sharing": sharing, "per": per}
    tokens = []  # of each response: its chance, φ of each token, and what the last one is paid
    for j, prompts in enumerate(made.classes):
        for chance, response in ref.atoms(made, j):
            cells = [made.cell(j, response.path, response.done(t)) for t in range(1, response.length + 1)]
            phi = np.array([features(world, cell, t, **said) for t, cell in enumerate(cells, start=1)])
            tokens.append((prompts.weight * chance, phi, 1.0 if response.correct else -1.0))
    weights = np.zeros(tokens[0][1].shape[1])
    for _ in range(2):
        told = []
        for chance, phi, paid in tokens:
            ahead = np.append((phi @ weights)[1:] * gamma, paid)
            errors = ahead - phi @ weights
            credit = [sum((gamma * lam) ** (u - t) * errors[u] for u in range(t, len(phi))) for t in range(len(phi))]
            told.append((chance, phi, phi @ weights + credit))
        count = sum(chance * len(phi) for chance, phi, _ in told)
        for _ in range(2):
            slope = sum(chance * (target - phi @ weights) @ phi for chance, phi, target in told)
            weights = weights + 0.9 * slope / count
    expected = [[features(world, cell, t, **said) @ weights for t in range(1, max_tokens + 2)]
                for cell in range(made.cells)]
    found = held(head(0.9, gae_lambda=lam, epochs=2, **said), policy, 2, gamma)
    np.testing.assert_allclose(found[2], expected, atol=1e-11)


# --- special cases and limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("per", ["class", "cell"])
@pytest.mark.parametrize("policy", [PATHS, MIXED], ids=["paths", "work"])
def test_a_table_that_shares_nothing_is_the_learned_table(policy: ls.Policy, per: Per) -> None:
    """In the mean field and sampled, with a λ of its own, pretraining, and values beyond the cap."""
    told: dict[str, Any] = {"per": per, "gae_lambda": 0.7, "start": 0.25, "pretrain": 2}
    table = critics.LearnedTable(rate=0.3, **told)
    linear = head(0.3, knots="table", normalize=True, **told)
    for options in ({"steps": 4}, {"steps": 3, "method": "stochastic", "replicates": 3}):
        runs = []
        for critic in (table, linear):
            rng = {"rng": np.random.default_rng(1)} if "method" in options else {}
            of = scheme(critic, prompts_per_step=16)
            of = replace(of, advantage=replace(of.advantage, bootstrap_truncated=True))
            runs.append(ls.train(of, policy, optimizer=sgd(0.5), **options, **rng))
        np.testing.assert_allclose(runs[0].critic, runs[1].critic, atol=1e-12)
        np.testing.assert_allclose(runs[0].coordinates, runs[1].coordinates, atol=1e-12)
        assert np.ptp(runs[0].critic[-1]) > 0.1


@pytest.mark.parametrize("normalize", [False, True])
def test_one_shared_constant_is_an_average_over_the_tokens_visited(normalize: bool) -> None:
    """V_n = (1 - (1 - rate)^n) E[R T]/E[T]: each of its T tokens says the response's return."""
    mass = np.array([0.6 * 0.7, 0.6 * 0.7, 0.6 * 0.3, 0.4])[:, None, None] * MIXED.law
    paid = np.array([1.0, -1.0])[:, None]
    length = np.append(np.arange(1.0, 21.0), 20.0)
    level = (mass * paid * length).sum() / (mass * length).sum()
    found = held(head(0.2, knots=1, sharing=1.0, normalize=normalize), MIXED, 6)
    for update in range(7):
        np.testing.assert_allclose(found[update], level * (1.0 - 0.8**update), atol=1e-13)


def test_a_running_mean_over_all_prompts() -> None:
    """V_n = (1 - (1 - rate)^n) E[R], while that of each class goes to its own."""
    everyone = held(critics.RunningMean(rate=0.25, per="all"), MIXED, 3)
    np.testing.assert_allclose(everyone[3], (2.0 * MIXED.accuracy - 1.0) * (1.0 - 0.75**3), atol=1e-13)
    own = held(critics.RunningMean(rate=0.25), MIXED, 3)
    np.testing.assert_allclose(own[3, 3], -(1.0 - 0.75**3), atol=1e-13)
    np.testing.assert_allclose(0.6 * own[3, 0] + 0.4 * own[3, 3], everyone[3, 0], atol=1e-13)


@pytest.mark.parametrize("normalize", [False, True])
def test_at_rate_0_it_is_the_start(normalize: bool) -> None:
    profile = np.linspace(-0.5, 0.2, 25)
    runs = [ls.train(scheme(critic), PATHS, steps=3, optimizer=sgd(0.4)) for critic in (
        head(0.0, start=profile, normalize=normalize, pretrain=3), critics.Table(table=profile[None]))]
    np.testing.assert_array_equal(runs[0].critic, np.broadcast_to(profile, (4, 2, 25)))
    np.testing.assert_array_equal(runs[0].coordinates, runs[1].coordinates)


def exact_and_tokens(policy: ls.Policy, p_correct: Array) -> tuple[Array, Array]:
    """E[R | path, still going at t] and P(going at t, path), [cell, t], of paths without work and rewards ±1."""
    hazard, cells = policy.hazard, range(len(policy.hazard))
    exact, tokens = np.zeros(hazard.shape), np.zeros(hazard.shape)
    for cell in cells:
        value, going = -1.0, policy.probability[cell]  # cut responses are wrong
        for t in reversed(range(policy.max_tokens)):
            value = hazard[cell, t] * (2.0 * p_correct[cell] - 1.0) + (1.0 - hazard[cell, t]) * value
            exact[cell, t] = value
        for t in range(policy.max_tokens):
            tokens[cell, t] = going
            going *= 1.0 - hazard[cell, t]
    return exact, tokens


@pytest.mark.parametrize("per", ["class", "cell"])
def test_many_updates_lead_to_the_least_squares_fit_of_the_exact_value(per: Per) -> None:
    """Solved by numpy over all cells and positions, each weighed by its tokens; the values are not in the span."""
    exact, tokens = exact_and_tokens(PATHS, np.array([1.0, 0.0]))
    exact[:, 0] = tokens[:, 0] @ exact[:, 0]
    world = World([0, 0], 24)
    said: dict[str, Any] = {"knots": 3, "sharing": 0.5, "per": per}
    phi = np.array([[features(world, cell, t, **said) for t in range(1, 26)] for cell in range(2)])
    root = np.sqrt(tokens).ravel()
    weights, *_ = np.linalg.lstsq(root[:, None] * phi[:, :-1].reshape(48, -1), root * exact.ravel(), rcond=None)
    found = held(head(1.0, epochs=400, normalize=True, **said), PATHS, 3)[3]
    np.testing.assert_allclose(found, phi @ weights, atol=1e-6)
    assert np.abs(found[:, :-1] - exact).max() > 0.02


@pytest.mark.parametrize("optimizer", [sgd(1.5), optimizers.SGD(learning_rate=0.2, momentum=0.8)], ids=repr)
def test_every_optimizer_gets_to_the_same_fit(optimizer: optimizers.Optimizer) -> None:
    fits = [held(critics.LearnedLinear(optimizer=rule, epochs=600, knots=2), PATHS, 1)[1]
            for rule in (sgd(1.0), optimizer)]
    np.testing.assert_allclose(*fits, atol=1e-6)


def test_adam_moves_every_weight_by_its_rate_at_first() -> None:
    """Each class has a constant of its own: one update of AdamW goes by the rate, whatever the size of the error."""
    critic = critics.LearnedLinear(optimizer=optimizers.AdamW(learning_rate=0.03), knots=1)
    np.testing.assert_allclose(held(critic, MIXED, 1)[1, 3], -0.03, atol=1e-8)


@pytest.mark.parametrize("lam", [0.0, 0.9, 1.0])
def test_a_critic_that_has_learned_leaves_no_artefact_of_lambda(lam: float) -> None:
    """Unsolvable prompts, token sum, λ = 0.95: the exact value, -1, is in the span of one constant."""
    never = ls.policies.unsolvable(length=ls.lengths.geometric(mean=10), max_tokens=128)
    critic = head(1.0, knots=1, gae_lambda=lam, pretrain=200)
    run = ls.train(scheme(critic), never, steps=5, optimizer=sgd(0.5))
    blind = ls.train(scheme(critics.Zero()), never, steps=5, optimizer=sgd(0.5))
    assert blind.length[-1] - blind.length[0] > 0.5
    assert abs(run.length[-1] - run.length[0]) < 1e-7
    np.testing.assert_allclose(run.critic[0], -1.0, atol=1e-7)


def test_with_the_values_of_each_state_in_the_span_lambda_is_irrelevant() -> None:
    """With work, a table per cell learns the exact critic, at λ_V = 0.8; then the actor's λ changes nothing."""
    critic = head(1.0, knots="table", per="cell", normalize=True, gae_lambda=0.8, pretrain=60)
    runs = [ls.train(scheme(critic, gae_lambda=lam), MIXED, steps=1, optimizer=sgd(0.3)) for lam in (0.5, 1.0)]
    np.testing.assert_allclose(runs[0].coordinates, runs[1].coordinates, atol=1e-12)
    raw = ls.train(scheme(critics.Zero(), gae_lambda=1.0), MIXED, steps=1, optimizer=sgd(0.3))
    np.testing.assert_allclose(runs[0].coordinates, raw.coordinates, atol=1e-12)


def test_normalised_steps_never_go_beyond() -> None:
    """At rate 1 the error of the fit falls with each pass, however much features overlap."""
    fit = held(head(1.0, knots=3, sharing=0.5, per="cell", epochs=1500, normalize=True), PATHS, 1)[1]
    found = held(head(1.0, knots=3, sharing=0.5, per="cell", normalize=True), PATHS, 40)
    _, tokens = exact_and_tokens(PATHS, np.array([1.0, 0.0]))
    error = np.einsum("ct,uct->u", tokens, (found - fit)[:, :, :-1] ** 2)
    assert (np.diff(error) < 0).all()


# --- sampled runs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("critic", [
    head(0.5, knots=3, sharing=0.5, per="cell", gae_lambda=0.9, epochs=3),
    head(0.5, knots=2, gae_lambda=1.0, normalize=True), critics.RunningMean(rate=0.3, per="all")],
    ids=["per cell", "per class, normalised", "running mean"])
def test_sampled_runs_go_to_the_mean_field_as_the_batch_grows(critic: critics.Critic) -> None:
    """Critic and length within 4.5 standard errors of 24 replicates at 2,048 prompts, which are small."""
    of = scheme(critic, prompts_per_step=2048)
    mean = ls.train(of, MIXED, steps=3, optimizer=sgd(0.5))
    runs = ls.train(of, MIXED, steps=3, optimizer=sgd(0.5), method="stochastic", replicates=24,
                    rng=np.random.default_rng(11))
    error = runs.length.std(axis=1, ddof=1) / np.sqrt(24)
    assert (np.abs(runs.length.mean(axis=1) - mean.length)[1:] < 4.5 * error[1:]).all()
    assert (error[1:] < 0.1 * np.abs(np.diff(mean.length).sum())).all()
    assert runs.critic is not None
    assert mean.critic is not None
    singles = np.array([ls.train(of, MIXED, steps=3, optimizer=sgd(0.5), method="stochastic",
                                 rng=np.random.default_rng(seed)).critic for seed in range(24)])
    error = singles.std(axis=0, ddof=1)[-1] / np.sqrt(24)
    off = np.abs(singles.mean(axis=0) - mean.critic)[-1]
    seen = error > 1e-12
    assert (off[seen] < 4.5 * error[seen]).all()
    assert (off[seen] > 0.05 * error[seen]).any()
    assert error.max() < 0.05 * np.abs(mean.critic[-1]).max()


def test_a_run_of_the_mean_field_says_that_adam_is_not_linear() -> None:
    for critic, noted in ((critics.LearnedLinear(optimizer=optimizers.AdamW(learning_rate=0.1)), True),
                          (head(0.1), False)):
        codes = [note.code for note in ls.train(scheme(critic), PATHS, steps=1, optimizer=sgd(0.1)).notes]
        assert ("mean field" in codes) is noted


def test_a_run_of_the_mean_field_says_whom_the_critic_learns_from() -> None:
    of = replace(scheme(head(0.1)), group_size=4, dynamic_sampling="resample")
    noted = [note.code for note in ls.train(of, PATHS, steps=1).notes]
    assert "critic" in noted
    assert "critic" not in [note.code for note in ls.train(scheme(head(0.1)), PATHS, steps=1).notes]


def test_it_prints_and_goes_on_where_it_was() -> None:
    first = ls.train(scheme(head(0.4, knots=3)), PATHS, steps=3, optimizer=sgd(0.2))
    assert "LearnedLinear(optimizer=SGD(learning_rate=0.4), knots=3, sharing=0.0, gae_lambda=1.0)" in str(first.scheme)
    second = ls.train(scheme(head(0.4, knots=3, start=first.critic[-1])), first.policy, steps=2, optimizer=sgd(0.2))
    whole = ls.train(scheme(head(0.4, knots=3)), PATHS, steps=5, optimizer=sgd(0.2))
    np.testing.assert_allclose(second.critic[-1], whole.critic[-1], atol=1e-12)
    assert second.length[-1] == pytest.approx(whole.length[-1], rel=1e-12)
