"""Critics: what each says, and the exact one against values averaged over what can still happen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossim as ls
import reference as ref
import translate
from lossim import advantages, aggregation, critics

Array = np.ndarray[Any, np.dtype[np.float64]]
SEEDS = st.integers(0, 2**32 - 1)


def make_view(rng: np.random.Generator, positions: int = 5, gamma: float = 1.0, certain: float = 0.2
              ) -> critics.CriticView:
    """Two classes with two paths and one; some hazards are 0 or 1."""
    hazard = rng.uniform(0.05, 0.95, size=(3, positions))
    hazard = np.where(rng.random(hazard.shape) < certain, rng.integers(0, 2, size=hazard.shape), hazard)
    share = rng.uniform(0.2, 0.8)
    with np.errstate(divide="ignore"):
        log_stay = np.log1p(-hazard)
    at_risk = np.concatenate([np.zeros((3, 1)), np.cumsum(log_stay, axis=1)[:, :-1]], axis=1)
    return critics.CriticView(
        class_of_cell=np.array([0, 0, 1]), probability=np.array([share, 1.0 - share, 1.0]), hazard=hazard,
        stay=1.0 - hazard, log_at_risk=at_risk, left=np.zeros(0, dtype=np.int64),
        arrival=np.zeros((0, hazard.shape[1])), paid_stop=rng.normal(size=hazard.shape),
        paid_go=rng.normal(size=hazard.shape), paid_truncated=rng.normal(size=3), gamma=gamma)


def returns_to_go(view: critics.CriticView) -> Array:
    """E[γ-discounted pay from t on | still going], token by token from the end."""
    values = np.zeros(view.hazard.shape)
    for cell, t in np.ndindex(*view.hazard.shape):
        reached, total = 1.0, 0.0
        for u in range(t, view.hazard.shape[1]):
            stop, go = view.hazard[cell, u], view.stay[cell, u]
            last = view.paid_truncated[cell] if u == view.hazard.shape[1] - 1 else 0.0
            pay = stop * view.paid_stop[cell, u] + go * (view.paid_go[cell, u] + last)
            total += reached * view.gamma ** (u - t) * pay
            reached *= go
        values[cell, t] = total
    return values


def of_class(view: critics.CriticView, values: Array) -> Array:
    """The same, averaged over the paths of a class by who is still going; any value where nobody is."""
    mixed = np.full(values.shape, np.nan)
    for t in range(values.shape[1]):
        weight = view.probability * np.exp(view.log_at_risk[:, t])
        for mine in (np.array([0, 1]), np.array([2])):
            if weight[mine].sum() > 0:
                mixed[mine, t] = weight[mine] @ values[mine, t] / weight[mine].sum()
    return mixed


@pytest.mark.parametrize(("critic", "row"), [
    (critics.Zero(), [0, 0, 0, 0, 0, 0]), (critics.NotGiven(), [0, 0, 0, 0, 0, 0]),
    (critics.Constant(value=-0.5), [-0.5] * 6),
    (critics.Linear(level=1.0, slope=-0.25), [1.0, 0.75, 0.5, 0.25, 0.0, -0.25])], ids=repr)
def test_plain_critics_say_the_same_everywhere_and_also_beyond_the_cut(critic: critics.Critic, row: Any) -> None:
    np.testing.assert_allclose(critic.values(make_view(np.random.default_rng(0))), np.tile(row, (3, 1)))


@settings(max_examples=60)
@given(seed=SEEDS, gamma=st.floats(0, 1), bias=st.floats(-2, 2))
def test_exact_critic_is_the_mean_of_what_is_still_paid(seed: int, gamma: float, bias: float) -> None:
    view = make_view(np.random.default_rng(seed), gamma=gamma)
    values = critics.Exact(bias=bias).values(view)
    expected = returns_to_go(view)
    np.testing.assert_allclose(values[:, 1:-1], expected[:, 1:] + bias, atol=1e-12)
    first = view.probability[:2] @ expected[:2, 0]  # before the first token the path is not chosen yet
    np.testing.assert_allclose(values[:, 0], [first + bias, first + bias, expected[2, 0] + bias], atol=1e-12)
    assert np.isnan(values[:, -1]).all()  # it does not know what would come beyond the cut


@settings(max_examples=60)
@given(seed=SEEDS, gamma=st.floats(0, 1))
def test_exact_critic_per_class_averages_over_those_still_going(seed: int, gamma: float) -> None:
    view = make_view(np.random.default_rng(seed), gamma=gamma)
    values = critics.Exact(per="class").values(view)[:, :-1]
    expected = of_class(view, returns_to_go(view))
    reached = ~np.isnan(expected)
    np.testing.assert_allclose(values[reached], expected[reached], atol=1e-12)
    assert np.isfinite(values).all()


@settings(max_examples=60)
@given(seed=SEEDS, gamma=st.floats(0, 1))
def test_the_class_mean_is_the_mean_return_of_the_class_everywhere(seed: int, gamma: float) -> None:
    view = make_view(np.random.default_rng(seed), gamma=gamma)
    first = returns_to_go(view)[:, 0]
    mean = view.probability[:2] @ first[:2]
    expected = np.array([[mean], [mean], [first[2]]])
    np.testing.assert_allclose(critics.ClassMean().values(view), np.tile(expected, (1, 6)), atol=1e-12)


@pytest.mark.parametrize("inner", [
    critics.Constant(value=-0.5), critics.Linear(level=1.0, slope=-0.25), critics.Exact(per="class", bias=0.1),
    critics.ClassMean(), critics.Table(table=np.arange(10.0).reshape(2, 5)), critics.NotGiven()], ids=repr)
@pytest.mark.parametrize("factor", [-0.5, 0.0, 0.5, 2.0])
def test_a_scaled_critic_says_so_many_times_as_much(inner: critics.Critic, factor: float) -> None:
    view, scaled = make_view(np.random.default_rng(1)), critics.Scaled(critic=inner, factor=factor)
    values = inner.values(view)
    for cell, t in np.ndindex(*values.shape):
        assert scaled.values(view)[cell, t] == pytest.approx(factor * values[cell, t], nan_ok=True)
    assert scaled.constant == (None if inner.constant is None else factor * inner.constant)
    assert scaled.knows_pay == inner.knows_pay
    assert repr(scaled.repeated(3)) == repr(critics.Scaled(critic=inner.repeated(3), factor=factor))


def test_a_critic_that_learns_is_not_scaled() -> None:
    with pytest.raises(TypeError, match="critic must be a critic that does not learn, got RunningMean"):
        critics.Scaled(critic=critics.RunningMean(rate=0.1), factor=0.5)


def test_exact_critic_per_class_deep_in_the_tail() -> None:
    """Both paths are at risk with a chance below 1e-400; the one that stops less often is all that is left."""
    n = 3000
    hazard = np.stack([np.full(n, 0.5), np.full(n, 0.4)])
    log_at_risk = np.cumsum(np.log1p(-hazard), axis=1) - np.log1p(-hazard)
    paid = np.stack([np.full(n, 1.0), np.full(n, -1.0)])
    view = critics.CriticView(class_of_cell=np.array([0, 0]), probability=np.array([0.5, 0.5]), hazard=hazard,
                              stay=1.0 - hazard, log_at_risk=log_at_risk, left=np.zeros(0, dtype=np.int64),
                              arrival=np.zeros((0, n)), paid_stop=paid,
                              paid_go=np.zeros((2, n)), paid_truncated=np.array([1.0, -1.0]), gamma=1.0)
    values = critics.Exact(per="class").values(view)
    t = 2400
    odds = (0.5 / 0.6) ** (t - 1)
    assert values[0, t - 1] == pytest.approx(-(1.0 - odds) / (1.0 + odds))
    assert (values[0] == values[1])[:-1].all()
    assert np.exp(log_at_risk[:, t]).max() == 0.0


@pytest.mark.parametrize("columns", [5, 6])
def test_table_per_class_or_per_cell(columns: int) -> None:
    view, rng = make_view(np.random.default_rng(3)), np.random.default_rng(4)
    by_class, by_cell = rng.normal(size=(2, columns)), rng.normal(size=(3, columns))
    values = critics.Table(table=by_class).values(view)
    np.testing.assert_allclose(values[:, :columns], by_class[[0, 0, 1]], atol=1e-15)
    values = critics.Table(table=by_cell).values(view)
    np.testing.assert_allclose(values[:, 1:columns], by_cell[:, 1:])
    np.testing.assert_allclose(values[:2, 0], view.probability[:2] @ by_cell[:2, 0])
    assert values[2, 0] == pytest.approx(by_cell[2, 0])
    assert values.shape == (3, 6)
    assert np.isnan(values[:, -1]).all() == (columns == 5)


def test_table_is_a_copy_and_checks_its_shape() -> None:
    numbers = np.zeros((2, 5))
    table = critics.Table(table=numbers)
    numbers[:] = 9.0
    view = make_view(np.random.default_rng(3))
    assert (table.values(view)[:, :5] == 0).all()
    for shape in ((1, 5), (4, 5), (2, 4), (3, 7)):
        with pytest.raises(ValueError, match=r"2 classes or 3 cells, 5 or 6 positions\], got \(\d, \d\)"):
            critics.Table(table=np.zeros(shape)).values(view)


# ---- in a drift ----


def drift(critic: critics.Critic, policy: ls.Policy, **options: Any) -> ls.Drift:
    bootstrap = options.pop("bootstrap", False)
    gae = advantages.GAE(**{"gamma": 0.9, "gae_lambda": 0.7} | options, critic=critic, bootstrap_truncated=bootstrap)
    scheme = ls.Scheme(advantage=gae, aggregation=aggregation.SequenceMeanTokenMean(), group_size=2,
                       prompts_per_step=1, reward=ls.Reward(correct=1.0, incorrect=-1.0))
    return ls.drift(scheme, policy)


@settings(max_examples=20)
@given(seed=SEEDS)
def test_a_table_of_the_exact_values_is_the_exact_critic(seed: int) -> None:
    """The values worked out by enumeration: of responses on the path, those of length t and more from t on."""
    world = ref.random_world(np.random.default_rng(seed), paths=(2, 1), max_tokens=3, zero_one=0.0,
                             graded_truncation=True)
    policy, _ = translate.policies(world)
    table = np.zeros((3, 3))
    for j in range(2):
        for cell, t in ((world.cell(j, k), t) for k in range(len(world.classes[j].paths)) for t in (1, 2, 3)):
            going = [(p, r) for p, r in ref.atoms(world, j) if world.cell(j, r.path) == cell and r.length >= t]
            paid = sum(p * (1.0 if r.correct else -1.0) * 0.9 ** (r.length - t) for p, r in going)
            table[cell, t - 1] = paid / sum(p for p, _ in going)
    np.testing.assert_allclose(translate.engine_flat(drift(critics.Table(table=table), policy)),
                               translate.engine_flat(drift(critics.Exact(), policy)), atol=1e-12)


def test_bootstrapping_puts_the_value_beyond_the_cut_after_a_cut_response() -> None:
    """One cut response of two tokens, V = 1, 2, 3: the last error is -1 - V_2 + γ·3, or -1 - V_2 without."""
    policy = ls.policies.unsolvable(length=ls.lengths.table([0.5, 0.0]), max_tokens=2)
    for bootstrap, beyond in ((False, 0.0), (True, 0.9 * 3.0)):
        last = -1.0 - 2.0 + beyond
        first = 0.9 * 2.0 - 1.0 + 0.9 * 0.7 * last
        result = drift(critics.Linear(level=1.0, slope=1.0), policy, bootstrap=bootstrap)
        expected = 0.5 * 0.5 * (-1.0 - 1.0) - 0.5 * 0.5 * first / 2.0  # stop at 1, or go on with weight 1/2
        np.testing.assert_allclose(result.hazard_gradient.value, [[expected, 0.0]], atol=1e-15)


def test_bootstrapping_needs_a_value_beyond_the_cut() -> None:
    policy = ls.policies.unsolvable(length=ls.lengths.geometric(mean=3), max_tokens=2)
    for critic in (critics.Exact(), critics.Table(table=[[0.1, 0.2]])):
        with pytest.raises(ValueError, match="needs a critic with a value beyond max_tokens"):
            drift(critic, policy, bootstrap=True)
    drift(critics.Table(table=[[0.1, 0.2, 0.3]]), policy, bootstrap=True)


def test_exact_critic_counts_kl_in_the_reward() -> None:
    """Then the advantage is what is left of it: the update follows reward and price, for every λ."""
    policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=4), max_tokens=12,
                                   wrong=ls.lengths.geometric(mean=6))
    kl = ls.penalties.KL(coefficient=0.5, place="reward", content_per_token=0.1)
    priced = [ls.drift(ls.Scheme(advantage=advantages.GAE(gae_lambda=lam, critic=critics.Exact()), penalties=(kl,),
                                 aggregation=aggregation.SequenceMeanTokenSum()), policy) for lam in (0.0, 0.6, 1.0)]
    for one in priced[:2]:
        np.testing.assert_allclose(translate.engine_flat(one), translate.engine_flat(priced[2]), atol=1e-14)


def test_critics_of_other_numbers_are_others() -> None:
    tables = [critics.Table(table=[[value, 0.2]]) for value in (0.1, 0.3)]
    learned = [critics.LearnedTable(rate=rate) for rate in (0.1, 0.3)]
    for one, other in (tables, learned, [critics.Constant(value=0.1), critics.Constant(value=0.3)]):
        assert one == one
        assert one != other
        assert replace(ls.schemes.ppo(), advantage=ls.advantages.GAE(critic=one)) != replace(
            ls.schemes.ppo(), advantage=ls.advantages.GAE(critic=other))
    assert critics.Constant(value=0.1) == critics.Constant(value=0.1)
