"""Targets: a run with the value that was found ends at the length that was asked for, and so does one by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lossim as ls
from lossim._changes.knobs import Knob
from lossim._changes.targets import CLOSE, reached
from lossim.advantages import GAE, Raw
from lossim.aggregation import SequenceMeanTokenSum
from lossim.critics import Zero
from lossim.optimizers import SGD
from lossim.penalties import KL
from lossim.rewards import LinearPenalty

POLICY = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=14), wrong=ls.lengths.geometric(mean=9),
                               max_tokens=64)
DR_GRPO = ls.schemes.dr_grpo(group_size=4)
GRPO = ls.schemes.grpo(group_size=4)
PPO = ls.schemes.ppo(gae_lambda=0.9, critic=Zero())
RATE = {"steps": 8, "optimizer": SGD(learning_rate=5.0)}
SLOW = SGD(learning_rate=0.02)


def ends(scheme: ls.Scheme, policy: ls.Policy = POLICY, **how: object) -> float:
    return float(ls.train(scheme, policy, kernels=(), **RATE | how).length[-1])


def target(scheme: ls.Scheme, knob: str, length: float, policy: ls.Policy = POLICY, **how: object) -> ls.Stop:
    found, = ls.stops(scheme, policy, knob, length=length, **RATE | how).stops
    return found


def priced(scheme: ls.Scheme, slope: float) -> ls.Scheme:
    return replace(scheme, reward=replace(scheme.reward, shaping=LinearPenalty(slope=slope)))


# --- a run by hand --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 7])
def test_a_price_by_hand_on_one_geometric_path(steps: int) -> None:
    """E[T] = 1/h with h = σ(θ), and a price c of a token moves θ by η·c·(1 - h)/h in a step, in closed form."""
    mean, eta, price = 20.0, 0.1, 0.013
    theta = -np.log(mean - 1.0)
    for _ in range(steps):
        hazard = 1.0 / (1.0 + np.exp(-theta))
        theta += eta * price * (1.0 - hazard) / hazard
    length = 1.0 + np.exp(-theta)
    path = ls.Path("only", length=ls.lengths.geometric(mean=mean), p_correct=0.0)
    policy = ls.Policy([ls.PromptClass("prompts", paths=[path])], max_tokens=1024,
                       coordinates=ls.coordinates(bins=1, sharing=1.0))
    scheme = ls.Scheme(advantage=Raw(), aggregation=SequenceMeanTokenSum(), group_size=1)
    found = target(scheme, "penalty", length, policy, steps=steps, optimizer=SGD(learning_rate=eta))
    assert found.needed == pytest.approx(price, rel=2.0 * CLOSE * length / (mean - length))
    assert found.ends == pytest.approx(length, rel=CLOSE)


# --- put back into a run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("knob", "scheme", "made", "now", "other"), [
    ("penalty", DR_GRPO, lambda x: priced(DR_GRPO, x), 0.0, 0.02),
    ("penalty", priced(DR_GRPO, 0.01), lambda x: priced(DR_GRPO, x), 0.01, -0.02),
    ("kl", GRPO, lambda x: replace(GRPO, penalties=(KL(coefficient=x, estimator="k3"),)), 0.0, 0.2),
    ("lambda", PPO, lambda x: replace(PPO, advantage=GAE(gae_lambda=x, critic=Zero())), 0.9, 0.97),
])
def test_a_run_with_the_value_ends_there(knob: str, scheme: ls.Scheme, made: Callable[[float], ls.Scheme], now: float,
                                         other: float) -> None:
    rule = {"optimizer": SLOW} if knob == "lambda" else {}
    length = ends(made(other), **rule)
    found = target(scheme, knob, length, **rule)
    assert found.now == now
    assert found.needed == pytest.approx(other, rel=0.2)
    assert ends(made(found.needed), **rule) == pytest.approx(length, rel=CLOSE)
    assert found.ends == pytest.approx(ends(made(found.needed), **rule), rel=1e-9)


def test_a_share_of_a_path() -> None:
    length = ends(DR_GRPO) + 0.1
    found = target(DR_GRPO, "solve_rate", length)
    right, wrong = (replace(path, probability=x) for path, x in
                    zip(POLICY.classes[0].paths, (found.needed, 1.0 - found.needed), strict=True))
    policy = replace(POLICY, classes=[replace(POLICY.classes[0], paths=[right, wrong])])
    assert ends(DR_GRPO, policy) == pytest.approx(length, rel=CLOSE)


@pytest.mark.parametrize("short", [0.3, 0.7])
def test_of_whole_numbers_it_is_the_one_that_ends_nearest(short: float) -> None:
    caps = range(16, 33)
    by_hand = {cap: ends(DR_GRPO, POLICY.recapped(cap), steps=3) for cap in caps}
    length = by_hand[20] + short * (by_hand[21] - by_hand[20])
    found = target(DR_GRPO, "max_tokens", length, steps=3)
    assert found.needed == min(by_hand, key=lambda cap: abs(by_hand[cap] - length))
    assert found.ends == pytest.approx(by_hand[int(found.needed)], rel=1e-9)
    assert found.note.startswith("the whole number that ends nearest")
    sizes = {size: ends(replace(GRPO, group_size=size)) for size in (4, 5, 6)}
    assert target(GRPO, "group_size", sizes[5]).needed == 5


def test_where_length_is_already() -> None:
    found = ls.stops(DR_GRPO, POLICY, "penalty", length=ends(DR_GRPO), **RATE)
    assert (found.stops[0].needed, found.stops[0].roots) == (0.0, (0.0,))
    assert found.goal is not None
    assert found.goal.start == pytest.approx(POLICY.mean_length)
    assert found.goal.end == found.goal.length


def test_out_of_reach_it_says_how_far_runs_get() -> None:
    found = ls.stops(GRPO, POLICY, "group_size", length=40.0, **RATE | {"steps": 2})
    stop, = found.stops
    by_hand = [ends(replace(GRPO, group_size=size), steps=2) for size in (2, 3, 4, 6, 8, 12, 16, 24, 32)]
    assert stop.needed is None
    assert stop.reach == pytest.approx((min(by_hand), max(by_hand)), rel=1e-9)
    assert f"they end at {min(by_hand):.4g} to {max(by_hand):.4g} tokens" in stop.note
    assert f"nothing that was turned takes it to 40: group size reaches {min(by_hand):.4g} to" in found.verdict


# --- over kernels -------------------------------------------------------------------------------------------------


def by_every_kernel(length: float, family: ls.Kernels, **how: Any) -> list[float]:
    """The price that is needed where the policy moves by each of the kernels, by runs and bisection alone."""
    needed = []
    for kernel in family.lay_out(POLICY.layout).each(POLICY.mean_length):
        policy = replace(POLICY, coordinates=kernel)
        first = ls.train(DR_GRPO, policy, kernels=(), **how)
        rule = {"steps": how["steps"], "optimizer": SGD(learning_rate=float(first.learning_rate[0]))}
        low, high = -0.1, 0.2
        assert ends(priced(DR_GRPO, low), policy, **rule) > length > ends(priced(DR_GRPO, high), policy, **rule)
        for _ in range(12):
            middle = (low + high) / 2.0
            longer = ends(priced(DR_GRPO, middle), policy, **rule) > length
            low, high = (middle, high) if longer else (low, middle)
        needed.append((low + high) / 2.0)
    return needed


@pytest.mark.parametrize(("other", "how"), [(0.02, {"optimizer": SGD(learning_rate=1.0)}),
                                            (-0.01, {"pace": ls.pace(kl_per_step=1e-3)})])
def test_a_range_is_that_of_runs_under_every_kernel(other: float, how: dict[str, Any]) -> None:
    """The two kernels that one step takes for extreme are so after several."""
    family, how = ls.kernels(6, seed=3), how | {"steps": 5}
    run = ls.train(DR_GRPO, POLICY, kernels=(), **how)
    length = ends(priced(DR_GRPO, other), steps=5, optimizer=SGD(learning_rate=float(run.learning_rate[0])))
    found = ls.stops(DR_GRPO, POLICY, "penalty", length=length, kernels=family, **how)
    stop, = found.stops
    every = by_every_kernel(length, family, **how)
    assert stop.range is not None
    assert stop.needed is not None
    assert stop.range == pytest.approx((min(every), max(every)), abs=0.02 * (max(every) - min(every)))
    assert stop.range[0] < stop.needed < stop.range[1]
    assert (stop.kernels, stop.without) == (2, 0)
    assert "over 2 kernels" in found.verdict
    note, = (note for note in found.notes if note.code == "kernel")
    assert "each range under 2 of 6 kernels" in note
    assert ("at the learning rate that makes the pace there" in note) == ("pace" in how)


def test_a_range_of_caps_is_that_of_runs_under_every_kernel() -> None:
    """Each cap has cells of its own, for which kernels are laid out again."""
    family, how = ls.kernels(3, seed=1), {"steps": 3, "optimizer": SGD(learning_rate=2.0)}
    policies = [POLICY.recapped(cap) for cap in range(16, 40)]
    length = ends(DR_GRPO, policies[8], **how)
    needed = []
    for number in range(3):
        kernels = [family.lay_out(policy.layout).each(policy.mean_length)[number] for policy in policies]
        found = [ends(DR_GRPO, replace(policy, coordinates=kernel), **how)
                 for policy, kernel in zip(policies, kernels, strict=True)]
        needed.append(policies[int(np.argmin(np.abs(np.array(found) - length)))].max_tokens)
    stop = target(DR_GRPO, "max_tokens", length, kernels=family, **how)
    assert stop.needed == 24
    assert stop.range == (min(needed), max(needed))


def test_no_range_beside_a_kernel_that_was_measured_and_where_skill_moves() -> None:
    measured = replace(POLICY, coordinates=ls.kernels(2).lay_out(POLICY.layout).each(10.0)[0])
    skilled = replace(POLICY, coordinates=ls.coordinates(skill_scale=0.1))
    for policy, kernels in ((POLICY, ()), (measured, None), (skilled, None)):
        found = ls.stops(DR_GRPO, policy, "penalty", length=ends(DR_GRPO, policy, steps=2), steps=2, kernels=kernels,
                         optimizer=RATE["optimizer"])
        assert found.stops[0].range is None
        assert found.stops[0].kernels == 0
        assert any("no range over kernels" in note for note in found.notes)


def test_kernels_one_by_one_and_none_that_gets_there() -> None:
    one = ls.coordinates(bins=1, sharing=0.5)
    length = ends(priced(DR_GRPO, 0.02))
    stop = target(DR_GRPO, "penalty", length, kernels=[one])
    alone = target(DR_GRPO, "penalty", length, replace(POLICY, coordinates=one), kernels=())
    assert stop.range == (alone.needed, alone.needed)
    apart = ls.coordinates(bins=1, sharing=0.0, path_scale=9.0)
    nowhere = target(GRPO, "group_size", ends(replace(GRPO, group_size=8)), kernels=[apart])
    assert nowhere.needed is not None
    assert (nowhere.kernels, nowhere.without) == (1, 1)
    assert nowhere.range is None


# --- what a step is -----------------------------------------------------------------------------------------------


def test_a_pace_sets_one_learning_rate_for_all_runs() -> None:
    pace = ls.pace(kl_per_step=1e-5)
    run = ls.train(DR_GRPO, POLICY, steps=10, pace=pace, kernels=())
    rate = float(run.learning_rate[0])
    length = float(run.length[-1]) - 0.1
    found = ls.stops(DR_GRPO, POLICY, "penalty", length=length, steps=10, pace=pace)
    assert found.goal is not None
    assert found.goal.end == pytest.approx(float(run.length[-1]), rel=1e-12)
    needed = found.stops[0].needed
    assert needed is not None
    again = ends(priced(DR_GRPO, needed), steps=10, optimizer=SGD(learning_rate=rate))
    assert again == pytest.approx(length, rel=CLOSE)
    codes = [note.code for note in found.notes]
    assert codes[:4] == ["one at a time", "pace", "rate", "kernel"]
    assert str(pace) in found.notes[1]
    by_default = ls.stops(DR_GRPO, POLICY, "penalty", length=float(POLICY.mean_length), steps=2)
    assert "SGD(learning_rate=1.0)" in by_default.notes[1]


# --- the search by itself -----------------------------------------------------------------------------------------


def searched(curve: Callable[[float], float], length: float, now: float | None = 0.0) -> ls.Stop:
    knob = Knob(name="x", now=now, grid=np.array([-4.0, -1.0, 0.5, 2.0, 8.0]), make=lambda x: x)
    return reached(knob, length, curve, lambda _: None)


@given(st.lists(st.floats(0.1, 50.0), min_size=6, max_size=6), st.floats(1.0, 300.0), st.booleans())
def test_a_curve_is_met_or_its_ends_are_told(rises: list[float], length: float, falls: bool) -> None:
    at = np.cumsum(rises)[::-1 if falls else 1]

    def curve(x: float) -> float:
        return float(np.interp(x, [-4.0, -1.0, 0.0, 0.5, 2.0, 8.0], at))

    found = searched(curve, length)
    if min(at) <= length <= max(at):
        assert found.needed is not None
        assert abs(curve(found.needed) - length) <= CLOSE * length * (1.0 + 1e-9)
    elif found.needed is None:
        assert found.reach == (min(at), max(at))
    else:
        assert min(abs(at - length)) <= CLOSE * length


def test_a_jump_is_said_and_runs_that_end_early_are_left_out() -> None:
    jump = searched(lambda x: 20.0 if x > 0.2 else 10.0, 15.0)
    assert jump.jumps
    assert jump.needed == pytest.approx(0.2, abs=1e-4)
    early = searched(lambda x: np.nan if x > 1.0 else 10.0 + x, 30.0)
    assert early.reach == (6.0, 10.5)
    assert "runs end early at 1 of 5 values" in early.note
    nothing = searched(lambda x: np.nan, 30.0)
    assert nothing.note == "not computed: every run ends early"
    nowhere = searched(lambda x: 10.0 + x, 9.5, now=None)
    assert nowhere.needed == pytest.approx(-0.5, abs=1e-3)


# --- asked ----------------------------------------------------------------------------------------------------------


def test_what_is_wrong_is_said() -> None:
    for how, error, said in (
            ({"length": 9.0}, ValueError, "steps must be given with length"),
            ({"steps": 9}, ValueError, "length must be given with steps"),
            ({"length": 0.5, "steps": 9}, ValueError, "length must be at least 1"),
            ({"length": 9.0, "steps": 0}, ValueError, "steps must be at least 1"),
            ({"length": 9.0, "steps": 9, "method": "monte_carlo"}, ValueError, "method is for one step"),
            ({"length": 9.0, "steps": 9, "pace": ls.pace(kl_per_step=1e-5), "optimizer": SGD(learning_rate=1.0)},
             ValueError, "optimizer must not be given with a pace")):
        with pytest.raises(error, match=said):
            ls.stops(GRPO, POLICY, "penalty", **how)
    with pytest.raises(ValueError, match="knob is not one that grpo has here"):
        ls.stops(GRPO, POLICY, "lambda", length=9.0, steps=1000)
    with pytest.raises(TypeError, match="for a log stands still, got "):
        ls.stops(GRPO, POLICY.sample(np.random.default_rng(0), prompts=4, group_size=4), length=9.0, steps=3)
