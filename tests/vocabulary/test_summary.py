"""A policy from means as trainers log them: its own numbers are those asked for, and what was not asked for is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import lossim as ls
from lossim.policies import from_summary


class Read:
    """What a trainer would log of a policy."""

    def __init__(self, policy: ls.Policy) -> None:
        mass = policy.law * policy.cell_weight[:, None, None]
        right, wrong = mass[:, 0].sum(axis=0), mass[:, 1].sum(axis=0)
        stopped = (right + wrong)[:-1]
        self.accuracy = float(right.sum())
        self.truncated = float((right + wrong)[-1])
        self.mean_length = float((right + wrong) @ policy.length)
        self.terminated = float(stopped @ policy.length[:-1] / stopped.sum()) if stopped.sum() else np.nan
        self.right = float(right @ policy.length / right.sum()) if right.sum() else np.nan
        self.wrong = float(wrong @ policy.length / wrong.sum()) if wrong.sum() else np.nan


def made(right: float, wrong: float, sigma: float, rate: float, loops: float, cap: int) -> ls.Policy:
    """A policy with these laws, written down without solving anything."""
    start = ls.policies.two_paths(solve_rate=rate, right=ls.lengths.lognormal(median=right, sigma=sigma),
                                  wrong=ls.lengths.lognormal(median=wrong, sigma=sigma), max_tokens=cap)
    one, two = start.classes[0].paths
    looping = ls.Path("loops", probability=(1.0 - rate) * loops, length=ls.lengths.constant(hazard=1e-6), p_correct=0.0)
    paths = [one, two.moved(two.probability * (1.0 - loops), two.laws), looping]
    return ls.Policy([ls.PromptClass("prompts", paths=paths)], max_tokens=cap)


WORLDS = dict(right=st.floats(3.0, 300.0), wrong=st.floats(3.0, 300.0), sigma=st.floats(0.1, 1.0),
              rate=st.floats(0.05, 0.95), loops=st.sampled_from([0.0, 0.05, 0.4]), cap=st.sampled_from([256, 700]))


@settings(max_examples=60, deadline=None)
@given(**WORLDS)
def test_numbers_of_a_policy_give_it_back(right: float, wrong: float, sigma: float, rate: float, loops: float,
                                          cap: int) -> None:
    """Read off a policy of known laws and asked for again: the same laws, and so all numbers."""
    asked = made(right, wrong, sigma, rate, loops, cap)
    log = Read(asked)
    assume(log.truncated > 1e-5 and log.truncated < 0.7 * (1.0 - log.accuracy) and right < cap / 1.5)
    numbers = dict(right=log.right, accuracy=log.accuracy, truncated=log.truncated, max_tokens=cap, spread=sigma)
    for means in (dict(wrong=log.wrong), dict(mean_length=log.mean_length),
                  dict(mean_length=log.terminated, mean_of="terminated"), dict(ratio=log.wrong / log.right)):
        policy = from_summary(**numbers, **means)
        found = Read(policy)
        for name, value in vars(log).items():
            assert getattr(found, name) == pytest.approx(value, rel=2e-6), (means, name)
        by_name = {path.name: path for path in policy.paths}
        assert by_name["right"].length.median == pytest.approx(right, rel=1e-4)
        assert by_name["right"].probability == pytest.approx(rate, rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(accuracy=st.floats(0.02, 0.98), mean=st.floats(2.0, 200.0), ratio=st.floats(0.5, 2.0),
       cut=st.floats(0.0, 0.2), cap=st.sampled_from([1024, 4096]))
def test_what_is_asked_for_is_met_at_a_spread_of_its_own(accuracy: float, mean: float, ratio: float, cut: float,
                                                         cap: int) -> None:
    """The share cut is met whatever it is: by loops, or where lengths alone cut more by less of a spread."""
    total = (1.0 - cut * (1.0 - accuracy)) * mean + cut * (1.0 - accuracy) * cap
    right = total / (accuracy + (1.0 - accuracy) * ratio)
    assume(right >= 1.5 and right * ratio >= 1.5 and right < 0.7 * cap)
    assume(ratio * right > 1.2 * (cut * cap + (1.0 - cut)))
    asked = dict(mean_length=mean, accuracy=accuracy, truncated=cut * (1.0 - accuracy), ratio=ratio)
    found = Read(from_summary(**asked, mean_of="terminated", max_tokens=cap))
    assert found.accuracy == pytest.approx(accuracy, rel=2e-6)
    assert found.terminated == pytest.approx(mean, rel=1e-5, abs=1.1e-6 * cap)  # cut ones that count as none
    assert found.wrong / found.right == pytest.approx(ratio, rel=1e-5)
    assert found.truncated == pytest.approx(asked["truncated"], rel=2e-6, abs=1.1e-6)


@pytest.mark.parametrize(("accuracy", "mean"), [(0.0, 50.0), (1.0, 50.0), (0.0, 1.0), (1.0, 1.0), (1.0, 400.0)])
def test_all_wrong_and_all_right(accuracy: float, mean: float) -> None:
    policy = from_summary(accuracy=accuracy, mean_length=mean, max_tokens=512, truncated=0.0)
    found = Read(policy)
    assert found.accuracy == pytest.approx(accuracy, abs=1.1e-6)
    assert found.mean_length == pytest.approx(mean, rel=1e-5)
    assert found.truncated < 1.1e-6
    assert [path.name for path in policy.paths] == ["right" if accuracy else "wrong"]


def test_all_wrong_and_cut() -> None:
    found = Read(from_summary(accuracy=0.0, wrong=300.0, truncated=0.5, max_tokens=512))
    assert (found.wrong, found.truncated) == (pytest.approx(300.0, rel=1e-6), pytest.approx(0.5, rel=1e-6))


def test_one_position() -> None:
    policy = from_summary(accuracy=0.25, mean_length=1.0, max_tokens=1, truncated=0.5)
    found = Read(policy)
    assert found.accuracy == pytest.approx(0.25, rel=1e-6)
    assert found.truncated == pytest.approx(0.5, rel=1e-5)
    assert policy.mean_length == pytest.approx(1.0)


def test_the_spread_that_few_cut_responses_leave() -> None:
    """2 % longer than N: log N lies 2.05 standard deviations above the mean log, by the normal law alone."""
    policy = from_summary(mean_length=2500.0, accuracy=0.5, truncated=0.02, max_tokens=4096)
    law = next(path.length for path in policy.paths if path.name == "wrong")
    assert law.sigma < 0.5
    assert Read(policy).truncated == pytest.approx(0.02, rel=1e-6)
    assert "loops" not in [path.name for path in policy.paths]
    assert any(note.startswith(f"assumed: log lengths on a path have a standard deviation of {law.sigma:.3g}, as much")
               for note in policy.notes)
    with pytest.raises(ValueError, match=r"truncated must be at least 0\.\d+: so many are longer"):
        from_summary(mean_length=2500.0, accuracy=0.5, truncated=0.02, max_tokens=4096, spread=0.5)


def test_a_coefficient_of_variation() -> None:
    """std/mean of the right path, before a cut that is far away."""
    policy = from_summary(mean_length=2000.0, accuracy=0.5, spread=0.4, spread_as="cv", max_tokens=1 << 15)
    mass = policy.ends[0]
    mean = float(mass @ policy.length)
    assert np.sqrt(mass @ (policy.length - mean) ** 2) / mean == pytest.approx(0.4, abs=1e-3)


def test_classes_have_the_numbers_together() -> None:
    policy = from_summary(right=400.0, wrong=500.0, accuracy=0.3, truncated=0.02, max_tokens=4096, classes=5,
                          concentration=3.0)
    found = Read(policy)
    assert len(policy.classes) == 5
    for name, value in dict(right=400.0, wrong=500.0, accuracy=0.3, truncated=0.02).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-5), name
    rates = np.array([sum(path.probability for path in prompts.paths if path.name == "right")
                      for prompts in policy.classes])
    assert policy.class_weight @ rates**2 == pytest.approx(0.9 * 1.9 / (3.0 * 4.0), rel=1e-3)


def test_with_work_it_is_the_policy_that_reasons() -> None:
    numbers = dict(accuracy=0.3, max_tokens=1024, premature=0.7, verbosity=20.0, truncated=0.02)
    mine = from_summary(right=120.0, wrong=90.0, **numbers)
    theirs = ls.policies.reasoning(mean_right=120.0, mean_wrong=90.0, **numbers)
    np.testing.assert_array_equal(mine.logits, theirs.logits)
    np.testing.assert_array_equal(mine.probability, theirs.probability)
    assert not any("verbosity" in note or "premature" in note for note in mine.notes)
    half = from_summary(mean_length=99.0, ratio=0.75, accuracy=0.3, max_tokens=1024, premature=0.7, truncated=0.02)
    assert half.notes[0] == "assumed: 18 tokens of a right response come after its answer (verbosity)"
    np.testing.assert_allclose(half.hazard[1], 1.0 / 18.0)


def test_what_is_given_is_not_called_assumed() -> None:
    whole = from_summary(right=100.0, ratio=1.5, accuracy=0.4, truncated=0.01, max_tokens=1024, spread=0.4, classes=2)
    assert whole.notes == ("assumed: whether it will be right, a policy knows from the first token",)
    bare = from_summary(mean_length=100.0, accuracy=0.4, max_tokens=1024)
    assert [note.split()[1] for note in bare.notes] == ["wrong", "log", "whether", "all", "as"]


def test_results_repeat_the_notes() -> None:
    start = from_summary(mean_length=100.0, accuracy=0.4, max_tokens=512)
    assert set(start.notes) <= set(ls.drift(ls.schemes.grpo(), start).notes)
    run = ls.train(ls.schemes.grpo(), start, steps=1)
    assert set(start.notes) <= set(run.notes)
    assert run.policy.notes == start.notes
    with pytest.raises(TypeError, match=r"notes\[0\] must be one of texts, got 3"):
        ls.Policy(start.classes, max_tokens=512, notes=(3,))


ASKED: dict[str, Any] = dict(right=120.0, wrong=90.0, accuracy=0.3, max_tokens=1024)


@pytest.mark.parametrize(("change", "match"), [
    (dict(mean_length=110.0), "mean_length must be 99, accuracy"),
    (dict(ratio=2.0), r"ratio must be 0\.75, wrong over right, got 2\.0; leave it out"),
    (dict(right=None, wrong=None), "mean_length must be given|mean_length or right or wrong must be given"),
    (dict(wrong=None, mean_length=30.0), r"wrong follows from the other numbers, and must lie in \[1, 1024\]"),
    (dict(right=None, wrong=None, mean_length=2000.0, mean_of="terminated", truncated=0.1), "mean_length must lie in"),
    (dict(right=None, mean_length=99.0, mean_of="terminated"), "truncated must be given with mean_of"),
    (dict(mean_of="terminated", truncated=0.1), "mean_length must be given with mean_of"),
    (dict(truncated=0.8), r"truncated must lie in \[0, 0\.7\]"), (dict(truncated=0.3), "wrong must lie between"),
    (dict(right=1024.0), "right must be below .* as long as responses of this spread can be"),
    (dict(right=900.0, accuracy=0.9), "right is so long"),
    (dict(right=2000.0), "right must lie in"), (dict(wrong=0.5), "wrong must lie in"),
    (dict(ratio=0.0), "ratio must be"), (dict(spread=0.0), "spread must lie in"),
    (dict(spread_as="std"), "spread_as must be one of"), (dict(mean_of="most"), "mean_of must be one of"),
    (dict(accuracy=1.0), "wrong must be left out with an accuracy of 1"),
    (dict(accuracy=0.0), "right must be left out with an accuracy of 0"),
    (dict(accuracy=0.0, right=None, classes=3), "classes must be 1"),
    (dict(accuracy=0.0, right=None, mean_length=80.0), "mean_length must be 90"),
    (dict(accuracy=1.0, right=None, wrong=None), "mean_length or right must be given"),
    (dict(premature=1.0), "premature must lie in"), (dict(verbosity=200.0), "verbosity must lie in"),
    (dict(classes=0), "classes must be at least 1"), (dict(difficulty=-1.0), "difficulty must lie in"),
    (dict(classes=2, concentration=0.0), "concentration must lie in")])
def test_what_cannot_be_had_says_so(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        from_summary(**ASKED | change)
