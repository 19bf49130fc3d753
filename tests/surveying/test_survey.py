"""Shares, intervals, what decides, and who computes it: on questions whose answer was planted."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

import lossim as ls

LAW = ls.lengths.geometric(mean=3)


def tiny(**unknowns: float) -> ls.Policy:
    """A policy whose chance of its first path is a planted number, up to a scale: a + b + ... in [0, 1]."""
    total = float(np.clip(sum(unknowns.values()), 0.0, 1.0))
    return ls.policies.two_paths(solve_rate=total, right=LAW, wrong=LAW, max_tokens=2)


def planted(a: float, b: float = 0.5, kind: str = "plain", **_: Any) -> ls.Policy:
    return ls.policies.two_paths(solve_rate=0.9 * a + 0.1 * b, right=LAW, wrong=LAW, max_tokens=2)


def first(policy: ls.Policy) -> float:
    """Above 0 from a solve rate of 0.3 on."""
    return float(policy.probability[0]) - 0.3


def product(policy: ls.Policy) -> float:
    """Neither unknown moves the mean alone."""
    return float(policy.probability[0] - 0.5)


def xor(a: float, b: float) -> ls.Policy:
    rate = 0.5 + 0.4 * np.sign((a - 0.5) * (b - 0.5))
    return ls.policies.two_paths(solve_rate=rate, right=LAW, wrong=LAW, max_tokens=2)


# --- shares and intervals -------------------------------------------------------------------------------------------


def test_intervals_cover_a_planted_share() -> None:
    """The boundary is at 30 % of the law of `a`, blurred by `b`: the true share of draws above is by quadrature.

    Draws in strata scatter less than independent ones, and the interval, made for these, covers every time.
    """
    grid = (np.arange(2000) + 0.5) / 2000
    truth = float(((0.9 * grid[:, None] + 0.1 * grid) > 0.3).mean())
    asked = [ls.survey(first, dict(kernels=None, a=(0.0, 1.0), b=(0.0, 1.0)), start=planted, draws=32, seed=seed)
             for seed in range(60)]
    assert all(one.longer.low <= truth <= one.longer.high for one in asked)
    shares = np.array([one.longer.value for one in asked])
    assert shares.mean() == pytest.approx(truth, abs=4.0 * shares.std() / np.sqrt(60))
    assert shares.std() < 0.5 * np.sqrt(truth * (1.0 - truth) / 32)
    assert all(one.longer.value + one.shorter.value + one.still.value == pytest.approx(1.0) for one in asked)


def test_intervals_cover_where_unknowns_only_work_together() -> None:
    """Strata do not help then, and draws scatter as independent ones: more than 7 of 60 miss with a chance of 1 %."""
    unknowns = dict(a=(0.0, 1.0), b=(0.0, 1.0), kernels=None)
    asked = [ls.survey(product, unknowns, start=xor, draws=32, seed=seed) for seed in range(60)]
    assert sum(one.longer.low <= 0.5 <= one.longer.high for one in asked) >= 53
    shares = np.array([one.longer.value for one in asked])
    assert 0.5 < shares.std() / np.sqrt(0.25 / 32) < 1.5


@pytest.mark.parametrize(("count", "draws"), [(0, 16), (16, 16), (5, 20), (1, 200)])
def test_clopper_and_pearson_by_the_binomial_law(count: int, draws: int) -> None:
    share = ls.Share.of(count, draws)
    if count:
        assert stats.binom.sf(count - 1, draws, share.low) == pytest.approx(0.025)
    else:
        assert share.low == 0.0
    if count < draws:
        assert stats.binom.cdf(count, draws, share.high) == pytest.approx(0.025)
    else:
        assert share.high == 1.0


def test_draws_follow_their_laws() -> None:
    """One draw in each slice of every law, each by its inverse cdf."""
    laws = dict(a=(0.2, 0.4), b=ls.log_range(0.01, 1.0), c=stats.beta(2, 5), d=["one", "two"],
                e=stats.Uniform(a=0, b=3), kernels=None)
    asked = ls.survey(first, laws, start=planted, draws=64)
    table = asked.table
    cdfs = dict(a=(table["a"] - 0.2) / 0.2, b=1.0 + np.log10(table["b"]) / 2.0, c=stats.beta(2, 5).cdf(table["c"]),
                e=table["e"] / 3.0)
    for name, u in cdfs.items():
        assert sorted(np.floor(u * 64 + 1e-9)) == list(range(64)), name
    assert [int((table["d"] == word).sum()) for word in ("one", "two")] == [32, 32]
    assert asked.unknowns == dict(a="0.2 to 0.4", b="0.01 to 1 (log)", c="beta(2, 5)", d="one, two",
                                  e=str(stats.Uniform(a=0, b=3)))


def test_what_must_be_whole_is_rounded() -> None:
    unknowns = dict(accuracy=0.5, mean_length=9.0, max_tokens=ls.log_range(30, 60), bins=(1, 3))
    asked = ls.survey(ls.schemes.grpo(), unknowns, draws=16)
    assert asked.table["max_tokens"].dtype.kind == asked.table["bins"].dtype.kind == "i"
    assert set(asked.table["bins"]) == {1, 2, 3}


# --- what decides -----------------------------------------------------------------------------------------------------


def test_the_planted_unknown_decides() -> None:
    asked = ls.survey(first, dict(kernels=None, b=(0.0, 1.0), a=(0.0, 1.0), c=(0.0, 1.0)), start=planted, draws=128)
    assert asked.decides == "a"
    assert asked.verdict.endswith("depends mostly on `a`")
    # The variances of 0.9 a and 0.1 b, less 1/36 of each within the six slices of 128 draws.
    assert asked.decides_size["a"] == pytest.approx(0.81 / 0.82 * 35 / 36, abs=0.02)
    assert asked.decides_size["b"] == pytest.approx(0.01 / 0.82 * 35 / 36, abs=0.06)
    assert asked.decides_size["c"] < 0.1


def test_shares_add_up_where_unknowns_add_up_and_vanish_where_they_only_work_together() -> None:
    unknowns = dict(a=(0.0, 0.4), b=(0.0, 0.3), c=(0.0, 0.2), kernels=None)
    found = np.array([list(ls.survey(first, unknowns, start=tiny, draws=128, seed=seed).decides_size.values())
                      for seed in range(10)])
    exact = np.array([16.0, 9.0, 4.0]) / 29.0 * 35 / 36  # as above
    assert (np.abs(found.mean(axis=0) - exact) < 4.0 * found.std(axis=0) / np.sqrt(10)).all()
    assert (found.std(axis=0) < 0.1).all()
    together = ls.survey(product, dict(kernels=None, a=(0.0, 1.0), b=(0.0, 1.0)), start=xor, draws=256)
    assert max(together.decides_direction.values()) < 0.08
    assert together.verdict.startswith("undecided: ")
    assert together.verdict.endswith("no unknown decides by itself")


def test_an_unknown_that_does_nothing_explains_next_to_nothing_and_the_only_one_all() -> None:
    """Where plain η² would say (slices - 1)/(draws - 1) of it, 9 %."""
    unknowns = dict(a=(0.0, 1.0), c=["one", "two", "three", "four", "five", "six", "seven"], kernels=None)
    found = [ls.survey(first, unknowns, start=planted, draws=64, seed=seed).decides_size["c"] for seed in range(40)]
    assert np.mean(found) < 0.05
    only = ls.survey(first, dict(kernels=None, a=[0.1, 0.3, 0.8]), start=planted, draws=64)
    assert only.decides_size["a"] == only.decides_direction["a"] == 1.0


# --- the kernel -------------------------------------------------------------------------------------------------------

KERNEL_PARTS = {f"kernels.{part}" for part in (
    "sharing", "path_scale", "position_scale", "slope", "amplitude of wrong over right", "cross of right over wrong")}
START: dict[str, Any] = dict(accuracy=0.4, mean_length=(30.0, 60.0), ratio=1.4, max_tokens=256)


def member(start: ls.Policy, draws: int, number: int, **family: Any) -> ls.Policy:
    """The start in the coordinates of one member of a family, as numbers."""
    found = ls.kernels(draws, **family).lay_out(start.layout).each(start.mean_length)[number]
    return replace(start, coordinates=found)


def drift_of(policy: ls.Policy) -> float:
    return float(ls.drift(ls.schemes.dr_grpo(), policy).length_per_kl)


@pytest.mark.parametrize("question", [ls.schemes.grpo(), (ls.schemes.ppo(), ls.schemes.dapo()), drift_of],
                         ids=["one", "two", "function"])
def test_each_draw_moves_by_one_member_of_the_family(question: Any) -> None:
    """By the engine's other road: a drift in the coordinates of that member, as numbers at the knots."""
    asked = ls.survey(question, START, draws=24, seed=3)
    schemes = [ls.schemes.dr_grpo()] if question is drift_of else np.atleast_1d(np.array(question, dtype=object))
    for draw in range(0, 24, 5):
        start = ls.policies.from_summary(**START | dict(mean_length=asked.table["mean_length"][draw]))
        found = [float(ls.drift(scheme, member(start, 24, draw, seed=3)).length_per_kl) for scheme in schemes]
        assert asked.size[draw] == pytest.approx(found[0] - sum(found[1:]), rel=1e-9)


class Together:
    """A number of one policy; or of several at once, in calls that are counted."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, policy: ls.Policy) -> float:
        return drift_of(policy)

    def of_each(self, policies: list[ls.Policy]) -> list[float]:
        self.calls += 1
        if any(policy.mean_length > 59.0 for policy in policies):
            raise ValueError("too long")
        return [drift_of(policy) for policy in policies]


def test_a_question_to_several_policies_has_the_answers_of_each_one_by_one_where_it_raises() -> None:
    together = Together()
    found = ls.survey(together, START, draws=32)
    assert together.calls == 2
    assert not found.failures
    np.testing.assert_array_equal(found.size, ls.survey(drift_of, START, draws=32).size)


def test_training_moves_by_the_member_that_was_drawn() -> None:
    family = ls.kernels(sharing=(0.9, 1.0), cross=0.0, cross_by_cell=0.0)
    asked = ls.survey([(ls.schemes.grpo(), 3)], START | dict(kernels=family), draws=16)
    start = ls.policies.from_summary(**START | dict(mean_length=asked.table["mean_length"][7]))
    policy = member(start, 16, 7, sharing=(0.9, 1.0), cross=0.0, cross_by_cell=0.0)
    first = ls.drift(ls.schemes.grpo(), policy)
    rate = np.sqrt(1e-3 / 0.01) * float(first.length_per_kl) / float(first.length)
    run = ls.train(ls.schemes.grpo(), policy, steps=3, optimizer=ls.optimizers.SGD(learning_rate=rate))
    assert asked.size[7] == pytest.approx(run.length[-1] - run.length[0], rel=1e-9)
    assert set(asked.unknowns) == {"mean_length", *KERNEL_PARTS}
    assert asked.unknowns["kernels.sharing"] == "0.9 to 1"
    assert (asked.table["kernels.sharing"] >= 0.9).all()
    assert not asked.table["kernels.cross of right over wrong"].any()
    assert asked.provenance["kernels"].startswith("Kernels(count=16, sharing=(0.9, 1.0)")


def test_the_kernel_alone_can_be_what_is_unknown_and_its_parts_decide() -> None:
    """A constant normaliser leaves wrong responses alone, so that cross terms have the size of it."""
    known = START | dict(mean_length=40.0)
    asked = ls.survey(ls.schemes.dr_grpo(), known, draws=64)
    assert asked.decides_size["kernels.cross of right over wrong"] > 0.5
    assert set(asked.unknowns) == KERNEL_PARTS
    fixed = ls.survey(ls.schemes.dr_grpo(), known | dict(accuracy=(0.3, 0.4), kernels=None), draws=16)
    assert set(fixed.unknowns) == {"accuracy"}
    assert fixed.provenance["kernels"] is None


def test_parts_that_no_cell_feels_are_no_unknowns() -> None:
    never = dict(accuracy=0.0, mean_length=(20.0, 30.0), max_tokens=128)
    asked = ls.survey(ls.schemes.ppo(), never | dict(critic="zero"), draws=16)
    assert set(asked.unknowns) == {"mean_length", "kernels.position_scale", "kernels.slope"}
    classes = ls.survey(ls.schemes.grpo(), START | dict(classes=3), draws=16)
    assert set(classes.unknowns) == {"mean_length", "kernels.class_sharing", *KERNEL_PARTS}


def test_draws_of_the_kernel_follow_their_laws_apart_from_all_else() -> None:
    asked = ls.survey(ls.schemes.grpo(), START | dict(kernels=ls.kernels(slope=(-0.5, 0.1))), draws=64)
    assert sorted(np.floor((asked.table["kernels.slope"] + 0.5) / 0.6 * 64 + 1e-9)) == list(range(64))
    names = [name for name in asked.table if name.startswith("kernels.")]
    together = np.corrcoef([asked.table[name] for name in ("mean_length", *names)])
    assert np.abs(together - np.eye(len(together))).max() < 0.4


def in_bins(mean_length: float) -> ls.Policy:
    return ls.policies.from_summary(**START | dict(mean_length=mean_length), coordinates=ls.coordinates(bins=3))


def test_coordinates_of_a_start_stay() -> None:
    asked = ls.survey(ls.schemes.grpo(), dict(mean_length=(30.0, 60.0)), start=in_bins, draws=16)
    assert set(asked.unknowns) == {"mean_length"}
    assert asked.size[4] == pytest.approx(
        float(ls.drift(ls.schemes.grpo(), in_bins(asked.table["mean_length"][4])).length_per_kl), rel=1e-9)
    assert "the start has coordinates of its own, which stay: no kernel was drawn" in asked.notes


# --- failures, executors, faces ---------------------------------------------------------------------------------------

TRUNCATED: dict[str, Any] = dict(accuracy=0.5, mean_length=(20.0, 60.0), max_tokens=64, truncated=(0.0, 0.4))


def test_draws_that_no_policy_has_are_counted_and_named() -> None:
    asked = ls.survey(ls.schemes.grpo(), TRUNCATED, draws=32)
    failed = asked.table["failed"] != ""
    assert 0 < failed.sum() < 32
    assert asked.answered == 32 - failed.sum()
    assert {name: count for name, (count, _) in asked.failures.items()} == {
        name: int((asked.table["failed"] == name).sum()) for name in set(asked.table["failed"]) if name}
    assert np.isnan(asked.size[failed]).all()
    assert "wrong" in asked.failures
    assert f"{asked.failures['wrong'][0]} of 32 draws failed by wrong: wrong must lie between" in str(asked)
    for row in np.flatnonzero(failed)[:5]:
        with pytest.raises(ValueError, match=str(asked.table["failed"][row])):
            ls.policies.from_summary(accuracy=0.5, mean_length=asked.table["mean_length"][row], max_tokens=64,
                                     truncated=asked.table["truncated"][row])


def nothing(policy: ls.Policy) -> float:
    return float("nan")


def test_no_answer_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"all 16 draws failed, the first by: nothing gave nan, which is no number"):
        ls.survey(nothing, dict(kernels=None, a=(0.0, 1.0)), start=planted, draws=16)


@pytest.mark.parametrize("workers", [1, 2])
def test_executors_agree_to_the_last_bit(workers: int) -> None:
    alone = ls.survey(ls.schemes.grpo(), TRUNCATED, draws=40)
    with ProcessPoolExecutor(workers) as processes, ThreadPoolExecutor(workers) as threads:
        for executor in (processes, threads):
            other = ls.survey(ls.schemes.grpo(), TRUNCATED, draws=40, executor=executor)
            assert other.size.tobytes() == alone.size.tobytes()
            assert other.failures == alone.failures
            assert str(other) == str(alone)


def test_seeds_differ_and_repeat() -> None:
    unknowns = dict(a=(0.0, 1.0), kernels=None)
    sizes = [ls.survey(first, unknowns, start=planted, draws=16, seed=seed).size for seed in (0, 0, 1)]
    np.testing.assert_array_equal(sizes[0], sizes[1])
    assert (sizes[0] != sizes[2]).any()


def test_print_dict_pickle_and_picture() -> None:
    asked = ls.survey(ls.schemes.ppo(), dict(accuracy=(0.1, 0.6), mean_length=30.0, max_tokens=128,
                                             critic=["zero", "class mean", "exact"]), draws=32)
    text = str(asked)
    for expected in ("ppo: ", "from_summary, 32 draws (Latin hypercube, seed 0)", "mean_length 30, max_tokens 128",
                     "zero, class mean, exact", "note: assumed: wrong responses are as long as right ones"):
        assert expected in text, expected
    as_dict = json.loads(json.dumps(asked.to_dict(), allow_nan=False))
    assert as_dict["table"]["critic"] == asked.table["critic"].tolist()
    assert as_dict["longer"]["value"] == asked.longer.value
    np.testing.assert_allclose(list(as_dict["quantiles"].values()),
                               np.quantile(asked.size, [0.05, 0.25, 0.5, 0.75, 0.95]))
    assert pickle.loads(pickle.dumps(asked)).verdict == asked.verdict
    left, right = asked.plot().axes
    drawn = np.concatenate([line.get_ydata() for line in left.get_lines()[1:]])
    np.testing.assert_allclose(sorted(drawn), sorted(asked.size))
    names = {" ".join(tick.get_text().split()) for tick in right.get_yticklabels()}
    assert names == {"accuracy", "critic", *KERNEL_PARTS}
    assert sorted(bar.get_width() for bar in right.patches) == pytest.approx(sorted(
        [*np.nan_to_num(list(asked.decides_direction.values())), *asked.decides_size.values()]))


def test_progress_is_said_on_stderr_alone(capsys: pytest.CaptureFixture[str]) -> None:
    ls.survey(first, dict(kernels=None, a=(0.0, 1.0)), start=planted, draws=32, progress=True)
    out, err = capsys.readouterr()
    assert not out
    assert "survey: 32 of 32 draws" in err


GOOD: dict[str, Any] = dict(accuracy=(0.2, 0.5), mean_length=30.0, max_tokens=64)


@pytest.mark.parametrize(("question", "unknowns", "options", "error", "match"), [
    ("grpo", GOOD, {}, TypeError, "question must be a Scheme, two of them"),
    ([ls.schemes.grpo()], GOOD, {}, TypeError, "question must be a Scheme"),
    ([(ls.schemes.grpo(), 0)], GOOD, {}, ValueError, "steps of the question must be at least 1"),
    (None, GOOD | dict(acuracy=0.2), {}, ValueError, "name in unknowns must be one of .* did you mean 'accuracy'"),
    (None, dict(accuracy=(0.2, 0.5)), {}, ValueError, "unknowns must also have max_tokens, which the start needs"),
    (None, GOOD | dict(accuracy=0.3, kernels=None), {}, ValueError, "unknowns must leave something unknown"),
    (None, GOOD | dict(kernels=[ls.kernels()]), {}, TypeError, "kernels must be a family of kernels"),
    (None, GOOD | dict(kernels=ls.kernels(), sharing=0.5), {}, ValueError, "with kernels, got .sharing."),
    (None, GOOD | dict(kernels=ls.kernels(), coordinates=[ls.coordinates()]), {}, ValueError, "with kernels, got"),
    (None, GOOD | dict(accuracy=(0.5, 0.2)), {}, ValueError, "must have its lower end first"),
    (None, GOOD | dict(accuracy=(0.2, 0.3, 0.5)), {}, ValueError, "must be two numbers"),
    (None, GOOD | dict(ratio=[]), {}, ValueError, "must hold at least one choice"),
    (None, GOOD | dict(ratio=stats.beta), {}, TypeError, "must be frozen with its parameters"),
    (None, GOOD | dict(critic=["zero"]), {}, ValueError, "no scheme of the question has a critic"),
    (ls.schemes.ppo(), GOOD | dict(critic=["zeros"]), {}, ValueError, "critic must be one of .* did you mean 'zero'"),
    (ls.schemes.ppo(), GOOD | dict(critic=[3]), {}, TypeError, "critic must be a critic, or one of"),
    (None, GOOD | dict(pace=(0.1, 0.2)), {}, ValueError, "nothing is trained"),
    (None, GOOD | dict(bins=(1, 3), coordinates=[ls.coordinates()]), {}, ValueError, "together with coordinates"),
    (None, [("accuracy", 0.3)], {}, TypeError, "unknowns must be a mapping of names"),
    (None, GOOD, dict(draws=8), ValueError, "draws must be at least 16"),
    (None, GOOD, dict(seed=-1), ValueError, "seed must be at least 0"),
    (None, GOOD, dict(executor=2), TypeError, "executor must have a method submit"),
    (None, GOOD, dict(start="from_summary"), TypeError, "start must be a function that returns a policy"),
    (None, GOOD, dict(progress=1), TypeError, "progress must be True or False")])
def test_bad_arguments_say_so(question: Any, unknowns: Any, options: dict[str, Any], error: type[Exception],
                              match: str) -> None:
    with pytest.raises(error, match=match):
        ls.survey(question or ls.schemes.grpo(), unknowns, **{"draws": 16} | options)


def test_coordinates_as_choices_and_starts_without_them() -> None:
    both = [ls.coordinates(sharing=0.0), ls.coordinates(sharing=1.0)]
    asked = ls.survey(ls.schemes.grpo(), GOOD | dict(accuracy=0.3, ratio=1.3, coordinates=both), draws=16)
    assert len(set(np.round(asked.size, 9))) == 2
    mine = ls.survey(ls.schemes.grpo(), dict(a=0.4, sharing=[0.0, 1.0]), start=planted, draws=16)
    assert mine.answered == 16
    with pytest.raises(ValueError, match="low must be below high"):
        ls.log_range(2.0, 1.0)
