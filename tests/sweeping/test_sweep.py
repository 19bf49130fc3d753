"""A sweep is the function in every cell, wherever its names stand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import lossim as ls
from lossim.schemes import dr_grpo, grpo, ppo

RIGHT = ls.lengths.geometric(mean=20)
WRONG = ls.lengths.geometric(mean=35)
KERNELS = ls.kernels(8)
ZERO = ppo(critic=ls.critics.Zero())


def two_paths(**given) -> ls.Policy:
    return ls.policies.two_paths(**dict(solve_rate=0.4, right=RIGHT, wrong=WRONG, max_tokens=128) | given)


def small(**given) -> dict:
    return dict(start=ls.policies.two_paths, right=RIGHT, wrong=WRONG, max_tokens=128, kernels=KERNELS) | given


def test_every_cell_is_the_drift_of_its_own_scheme_and_policy() -> None:
    rates, decays, shares = [0.2, 0.7], [0.9, 1.0], [0.5, 1.0]
    swept = ls.sweep(ls.drift, {"gae_lambda": decays, "sharing": shares, "solve_rate": np.array(rates)}, scheme=ZERO,
                     **small())
    assert swept.shape == (2, 2, 2)
    for i, j, k in np.ndindex(2, 2, 2):
        scheme = replace(ZERO, advantage=replace(ZERO.advantage, gae_lambda=decays[i]))
        policy = two_paths(solve_rate=rates[k], coordinates=ls.coordinates(sharing=shares[j]))
        one = ls.drift(scheme, policy, kernels=KERNELS)
        per_kl = float(one.length_per_kl)
        step = per_kl / float(one.length)
        assert swept.values["length_per_kl"][i, j, k] == per_kl
        for name in ("needed", "free", "accuracy", "truncation_rate"):
            assert swept.values[f"{name}_per_kl"][i, j, k] == pytest.approx(step * float(getattr(one, name)), rel=1e-12)
        assert (swept.low[i, j, k], swept.high[i, j, k]) == one.range
        assert swept.decided[i, j, k] == all(doubt.decided for doubt in one.doubts)
        assert swept.sign[i, j, k] == np.sign(per_kl)


def test_schemes_are_an_axis_and_slots_and_fields_of_their_slots_have_names() -> None:
    grid = {"group_size": [4, 16], "truncation": ["keep", "mask"]}
    swept = ls.sweep(ls.drift, grid, scheme=[grpo(), dr_grpo()], **small(solve_rate=0.3, max_tokens=40))
    assert swept.axes["scheme"] == ["grpo", "dr_grpo"]
    assert swept.places == {"scheme": "scheme", "group_size": "scheme.group_size", "truncation": "scheme.truncation"}
    alone = ls.drift(replace(dr_grpo(), group_size=16, truncation="mask"), two_paths(solve_rate=0.3, max_tokens=40))
    assert swept.at(scheme="dr_grpo", group_size=16).values["length_per_kl"][1] == float(alone.length_per_kl)
    two = replace(grpo(kl=0.1), penalties=(*grpo(kl=0.1).penalties, ls.penalties.Entropy(coefficient=0.01)))
    deep = ls.sweep(ls.drift, {"KL.coefficient": [0.0, 1.0]}, scheme=two, start=two_paths(), kernels=KERNELS,
                    reference=two_paths(solve_rate=0.5))
    assert deep.places == {"KL.coefficient": "scheme.penalties.KL.coefficient"}
    assert not deep.decided.any()  # an entropy bonus
    assert len(set(deep.values["length_per_kl"])) == 2


def test_an_argument_of_the_start_goes_first_and_what_is_left_is_said() -> None:
    overlong = ls.Reward(shaping=ls.rewards.SoftOverlong(max_tokens=128, buffer=20))
    swept = ls.sweep(ls.drift, {"max_tokens": [100, 128]}, scheme=grpo(reward=overlong), **{
        name: given for name, given in small(solve_rate=0.3).items() if name != "max_tokens"})
    assert "`max_tokens` is start.max_tokens; scheme.reward.shaping.max_tokens stays as it is" in swept.notes
    longer = ls.sweep(ls.drift, {"shaping.max_tokens": [100, 128]}, scheme=grpo(reward=overlong), **small(
        solve_rate=0.3))
    assert longer.values["length_per_kl"][1] == swept.values["length_per_kl"][1]


def test_critics_and_paces_by_word_and_number() -> None:
    grid = {"critic": ["zero", "exact"], "pace": [1e-3, 4e-3]}
    swept = ls.sweep(ls.drift, grid, scheme=ppo(), **small(solve_rate=0.3))
    assert swept.axes == {"critic": ["zero", "exact"], "pace": [1e-3, 4e-3]}
    steps = swept.values["length_per_step"]
    np.testing.assert_allclose(steps[:, 1], 2.0 * steps[:, 0], rtol=1e-9)  # η grows as √nats
    exact = ls.drift(ppo(critic=ls.critics.Exact()), two_paths(solve_rate=0.3), kernels=KERNELS)
    assert swept.at(critic="exact").values["length_per_kl"][0] == float(exact.length_per_kl)


def test_runs() -> None:
    swept = ls.sweep(ls.train, {"steps": [1, 3], "pace": [1e-4]}, scheme=dr_grpo(), start=two_paths())
    run = ls.train(dr_grpo(), two_paths(), steps=3, pace=ls.pace(kl_per_step=1e-4))
    assert swept.answer == "length_change"
    assert swept.values["length_change"][1, 0] == run.length[-1] - run.length[0]
    assert swept.values["free"][1, 0] + swept.values["needed"][1, 0] == pytest.approx(run.length[-1] - run.length[0])
    assert list(swept.values["steps"][:, 0]) == [1, 3]


def test_a_run_that_hangs_on_the_kernel_is_undecided() -> None:
    wrong = [ls.lengths.geometric(mean=12), ls.lengths.geometric(mean=60)]
    swept = ls.sweep(ls.train, {"wrong": wrong}, scheme=grpo(), start=ls.policies.two_paths, steps=3,
                     solve_rate=0.4, right=RIGHT, max_tokens=128)
    verdicts = [ls.train(grpo(), two_paths(wrong=law), steps=3).verdict for law in wrong]
    assert [verdict.startswith("undecided") for verdict in verdicts] == [True, False]
    assert list(swept.decided) == [False, True]


def drawn(*, mean: float, rng: np.random.Generator) -> ls.Estimate:
    sample = rng.normal(mean, size=100)
    return ls.Estimate(value=sample.mean(), stderr=sample.std() / 10, n=100, method="monte carlo")


def test_streams_are_those_of_the_cells_and_noise_decides_nothing() -> None:
    swept = ls.sweep(drawn, {"mean": [-1.0, 0.0, 1.0]}, seed=7)
    own = [drawn(mean=mean, rng=np.random.default_rng((7, cell))).value for cell, mean in enumerate((-1.0, 0.0, 1.0))]
    assert list(swept.values["drawn"]) == own
    assert list(swept.sign) == [-1, 0, 1]
    assert list(swept.decided) == [True, False, True]
    assert swept.verdict.startswith("above 0 in 1 of 3 cells, below 0 in 1, undecided in 1")
    with pytest.raises(ValueError, match="must be given for a function that draws"):
        ls.sweep(drawn, {"mean": [0.0]})


def fails_sometimes(*, x: float, y: str) -> dict[str, float]:
    if x > 1 and y == "b":
        raise RuntimeError(f"no {x}")
    return {"sum": x, "other": 2.0 * x}


def test_a_cell_that_fails_stops_nothing_and_has_its_inputs() -> None:
    swept = ls.sweep(fails_sometimes, {"x": [-1, 0, 2], "y": ["a", "b"]})
    assert [(each.inputs, each.kind, each.message) for each in swept.failures] == [
        ({"x": 2, "y": "b"}, "RuntimeError", "no 2")]
    np.testing.assert_array_equal(swept.values["other"], [[-2, -2], [0, 0], [4, np.nan]])
    assert swept.failed.sum() == 1
    assert swept.failed[2, 1]
    assert swept.verdict == "below 0 in 2 of 5 cells, 0 in 2, above 0 in 1; -1 to +2 sum; 1 more failed"
    assert "failed at x 2, y b: no 2" in str(swept)
    with pytest.raises(ValueError, match="all 1 failed, the first \\(shown\\) by: no 3"):
        ls.sweep(fails_sometimes, {"x": [3], "y": ["b"]})
    # A start that no policy has fails in its own cells alone.
    means = ls.sweep(ls.drift, {"ratio": [1.0, 1.5, 90.0]}, scheme=grpo(), start=ls.policies.from_summary,
                     mean_length=30, accuracy=0.3, max_tokens=64, kernels=KERNELS)
    assert [each.inputs for each in means.failures] == [{"ratio": 90.0}]


def test_the_table_has_a_row_for_each_cell_and_plain_values_make_the_same_result() -> None:
    swept = ls.sweep(fails_sometimes, {"x": [-1, 0, 2], "y": ["a", "b"]})
    table = swept.table
    assert list(table["x"]) == [-1, -1, 0, 0, 2, 2]
    assert list(table["y"]) == ["a", "b"] * 3
    assert list(table["failed"]) == ["", "", "", "", "", "no 2"]
    np.testing.assert_array_equal(table["sum"], swept.values["sum"].ravel())
    again = ls.Sweep.from_dict(json.loads(json.dumps(swept.to_dict(), allow_nan=False)))
    assert str(again) == str(swept)
    np.testing.assert_array_equal(again.values["sum"], swept.values["sum"])
    np.testing.assert_array_equal(again.failed, swept.failed)


@pytest.mark.parametrize(("grid", "how", "message"), [
    ({"gae_lamda": [0.9]}, {}, "did you mean 'gae_lambda'"),
    ({"solve_rate": 0.3}, {}, "must be a sequence of values"),
    ({"solve_rate": []}, {}, "must hold at least one value"),
    ({"solve_rate": [0.3, 0.3]}, {}, "must hold every value once"),
    ({}, {"solve_rate": 0.2}, "must have at least one axis"),
    ({"solve_rate": [0.3], "start.solve_rate": [0.2]}, {}, "must be given once"),
    ({"gae_lambda": [0.9]}, {"scheme": [ZERO, grpo()], "solve_rate": 0.3}, "grpo has none"),
    ({"sharing": [0.9]}, {"coordinates": ls.coordinates(), "solve_rate": 0.2}, "together with coordinates"),
    ({"critic": ["none"]}, {"solve_rate": 0.2}, "must be one of 'zero'"),
    ({"group_size": [2]}, {}, "must also have solve_rate, which the start needs"),
    ({"solve_rate": [0.3]}, {"seed": -1}, "seed must be at least 0"),
    ({"solve_rate": [0.3]}, {"executor": 3}, "must have a method submit"),
    ({"solve_rate": [0.3]}, {"scheme": 3}, "must be a sequence of schemes"),
    ({"solve_rate": [0.3]}, {"start": 3}, "must be a policy, or a function"),
])
def test_what_is_refused(grid: dict, how: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        ls.sweep(ls.drift, grid, **small() | {"scheme": ZERO} | how)


def test_two_fields_that_could_be_meant_are_refused() -> None:
    two = replace(grpo(kl=0.1), penalties=(*grpo(kl=0.1).penalties, ls.penalties.Entropy(coefficient=0.01)))
    with pytest.raises(ValueError, match=r"scheme.penalties.KL.coefficient and scheme.penalties.Entropy.coefficient, "
                                         r"got 'coefficient'; write 'scheme.penalties.KL.coefficient'"):
        ls.sweep(ls.drift, {"coefficient": [0.1]}, scheme=two, **small(solve_rate=0.3))


def test_frames_and_labelled_arrays() -> None:
    swept = ls.sweep(fails_sometimes, {"x": [-1, 0, 2], "y": ["a", "b"]})
    frame = swept.to_dataframe()
    assert list(frame.columns) == list(swept.table)
    assert frame.query("x == 2 and y == 'a'")["sum"].item() == 2.0
    labelled = swept.to_xarray()
    assert float(labelled["other"].sel(x=2, y="a")) == 4.0
    assert labelled["sum"].dims == ("x", "y")
    drift = ls.sweep(ls.drift, {"solve_rate": [0.3]}, scheme=grpo(), **small()).to_xarray()
    assert drift["length_per_kl"].attrs["units"] == "tokens in a step of 0.01 nats"
