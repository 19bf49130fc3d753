"""Logs with little in them, ragged ones, and logs that are refused."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lossim as ls
from lossim import Rollouts, fit


def small(**changes: Any) -> Rollouts:
    columns: dict[str, Any] = {"lengths": [3, 5, 8, 8], "rewards": [1.0, 0.0, 0.0, 1.0], "prompt_ids": [0, 0, 1, 1],
                               "truncated": [0, 0, 1, 0], "correct": [1, 0, 0, 1]} | changes
    return Rollouts(**columns)


BAD = [
    (lambda: fit([1, 2]), TypeError, "rollouts must be Rollouts"),
    (lambda: fit(Rollouts([], [], [])), ValueError, "at least one response"),
    (lambda: fit(small(), paths="both"), ValueError, "paths"),
    (lambda: fit(small(), classes=0), ValueError, "classes must be at least 1"),
    (lambda: fit(small(), classes="length"), ValueError, "classes"),
    (lambda: fit(small(), classes=2.5), TypeError, "classes must be a whole number"),
    (lambda: fit(small(), smoothing=-1.0), ValueError, "smoothing must be at least 0"),
    (lambda: fit(small(), replicates=-1), ValueError, "replicates must be at least 0"),
    (lambda: fit(small(), rng=3), TypeError, "rng must be a numpy Generator"),
    (lambda: fit(small(), progress=1), TypeError, "progress must be True or False"),
    (lambda: fit(small(), max_tokens=7), ValueError, "at least the longest response, 8"),
    (lambda: fit(small(), max_tokens=9), ValueError, "must be the length of the truncated responses, 8.*max_tokens=8"),
    (lambda: fit(small(truncated=[0, 1, 1, 0])), ValueError, r"must all be max_tokens.*\[5, 8\].*each cap separately"),
    (lambda: fit(small(truncated=[0, 1, 0, 0])), ValueError, "at least the longest response, 8 tokens, got 5"),
    (lambda: fit(small(correct=None, rewards=[0.0, 1.0, 2.0, 0.0])), ValueError,
     r"exactly two values.*\[0.0, 1.0, 2.0\]; give correct_above=, or Rollouts with correct="),
    (lambda: fit(small(correct=None, rewards=[1.0] * 4)), ValueError, "exactly two values"),
    (lambda: fit(small(classes=[0, 1, 2, 2])), ValueError, r"of prompt 0 must be one class.*\[0, 1\].*'solve rate'"),
    (lambda: fit(small(), correct_above=np.inf), ValueError, "correct_above must be finite"),
    (lambda: fit(small(), correct_above="1"), TypeError, "correct_above must be a number"),
    (lambda: fit(small(lengths=[3, 5, 8, 2**21], truncated=None)), ValueError, "max_tokens must be at most 1,048,576"),
    (lambda: fit(small(), coordinates=3), TypeError, "coordinates"),
    (lambda: fit(small()).drift("grpo"), TypeError, "scheme must be a Scheme"),
    (lambda: fit(small(), replicates=3).drift(ls.schemes.grpo(), refits=4), ValueError, "refits must be at most 3"),
    (lambda: fit(small()).drift(ls.schemes.grpo(), refits=0).interval("reward"), ValueError, "name"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[message for _, _, message in BAD])
def test_what_is_refused_and_why(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def notes_of(**changes: Any) -> str:
    options = {name: changes.pop(name) for name in ("max_tokens", "correct_above") if name in changes}
    return " | ".join(fit(small(**changes), replicates=0, **options).notes)


def test_what_was_assumed_is_noted() -> None:
    assert "1 is correct, 0 is not" in notes_of(correct=None)
    assert "above 0.5 is correct" in notes_of(correct=None, rewards=[2.0, 0.5, -1.0, 0.7], correct_above=0.5)
    assert "max_tokens is the longest response, 8 tokens, and none" in notes_of(truncated=None)
    assert "(2 of 4 are)" in notes_of(truncated=None, max_tokens=8)
    assert "none was truncated" in notes_of(truncated=[0, 0, 0, 0])
    assert "25.00% of all" in notes_of()
    assert "steps 1 to 2" in notes_of(steps=[1, 1, 2, 2])
    assert "one response per prompt" in notes_of(prompt_ids=[0, 1, 2, 3])
    assert "prompt classes are those of the log" in notes_of(classes=[0, 0, 1, 1])


LITTLE = {
    "one response": Rollouts([7], [1.0], [0], [0], [1]),
    "one wrong response": Rollouts([7], [0.0], ["a"], [0], [0]),
    "one prompt": Rollouts([7, 9, 4], [1, 0, 0], [5, 5, 5], [0, 0, 0], [1, 0, 0]),
    "all correct": Rollouts([7, 9, 4, 9], [1] * 4, [0, 0, 1, 1], [0] * 4, [1] * 4),
    "all wrong": Rollouts([7, 9, 4, 9], [0] * 4, [0, 0, 1, 1], [0] * 4, [0] * 4),
    "all truncated": Rollouts([9] * 4, [0] * 4, [0, 0, 1, 1], [1] * 4, [0] * 4),
    "all truncated and correct": Rollouts([9] * 4, [1] * 4, [0, 0, 1, 1], [1] * 4, [1] * 4),
    "one token": Rollouts([1] * 4, [1, 0, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 1, 0]),
    "all of one length": Rollouts([50] * 60, [1, 0] * 30, np.repeat(np.arange(20), 3), [0] * 60, [1, 0] * 30),
    "groups of one": Rollouts(range(1, 41), [1, 0] * 20, np.arange(40), [0] * 40, [1, 0] * 20),
    "ragged groups": Rollouts(range(1, 41), [1, 0] * 20, np.repeat([0, 1, 2, 3], [1, 4, 15, 20]), [0] * 40,
                              [1, 0] * 20),
}


@pytest.mark.parametrize("paths", ["outcome", "one"])
@pytest.mark.parametrize("name", LITTLE)
def test_logs_with_little_in_them(name: str, paths: str) -> None:
    """A policy close to the log comes out, with hazards inside (0, 1), and its drift can be taken."""
    log = LITTLE[name]
    found = fit(log, paths=paths, replicates=3)
    policy = found.policy
    assert np.isfinite(policy.logits).all()
    assert sum(each.weight for each in found.classes) == pytest.approx(1.0)
    assert 1.0 <= policy.mean_length <= log.lengths.max()
    assert policy.accuracy == pytest.approx(found.logged["accuracy"], abs=0.26)
    assert str(found.drift(ls.schemes.grpo()))
    assert str(found)


def test_a_fixed_length_stays_nearly_fixed() -> None:
    policy = fit(LITTLE["all of one length"], max_tokens=400, classes=1).policy
    assert (policy.pmf[:, 49] > 0.95).all()
    assert policy.mean_length == pytest.approx(50.0, rel=0.01)


def test_prompts_count_alike_however_many_responses_they_have() -> None:
    """Half of the prompts have 4 responses and are never solved, half have 12 and always are."""
    sizes = np.tile([4, 12], 300)
    right = np.repeat(np.tile([0, 1], 300), sizes)
    lengths = np.where(right == 1, 20, 60) + np.random.default_rng(0).integers(0, 9, len(right))
    found = fit(Rollouts(lengths, right.astype(float), np.repeat(np.arange(600), sizes), correct=right), max_tokens=99)
    assert [each.name for each in found.classes] == ["never", "always"]
    assert found.fitted["accuracy"] == pytest.approx(0.5, abs=1e-6)
    assert found.logged["accuracy"] == pytest.approx(0.75)
    assert found.policy.mean_length == pytest.approx(44.0, abs=0.5)


def test_ids_may_be_strings_and_come_in_any_order() -> None:
    true = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=20),
                                 wrong=ls.lengths.geometric(mean=40), max_tokens=128)
    log = true.sample(np.random.default_rng(0), prompts=50, group_size=4)
    order = np.random.default_rng(1).permutation(len(log))
    names = np.array([f"prompt {i:03d}" for i in log.prompt_ids])
    shuffled = Rollouts(log.lengths[order], log.rewards[order], names[order], log.truncated[order], log.correct[order])
    plain = Rollouts(log.lengths, log.rewards, log.prompt_ids, log.truncated, log.correct)
    np.testing.assert_allclose(fit(shuffled).policy.logits, fit(plain).policy.logits, rtol=1e-9)


def graded(prompts: int, seed: int = 0) -> Rollouts:
    """Responses of two classes of prompts that the log names, in steps, paid by their length too."""
    true = ls.Policy([ls.PromptClass(name, weight=0.5, paths=[
        ls.Path("right", probability=rate, length=ls.lengths.geometric(mean=20), p_correct=1.0),
        ls.Path("wrong", probability=1.0 - rate, length=ls.lengths.geometric(mean=40), p_correct=0.0)])
        for name, rate in (("hard", 0.2), ("easy", 0.7))], max_tokens=64)
    log = true.sample(np.random.default_rng(seed), prompts=prompts, group_size=5)
    return Rollouts(log.lengths, log.rewards - 0.001 * log.lengths, log.prompt_ids, log.truncated, log.correct,
                    log.classes, log.prompt_ids % 3, class_names=("hard", "easy"))


def without(log: Rollouts, *names: str) -> Rollouts:
    columns = ("lengths", "rewards", "prompt_ids", "truncated", "correct", "classes", "steps", "class_names")
    return Rollouts(**{name: getattr(log, name) for name in columns if name not in names})


def test_rewards_above_a_bound_stand_for_grades() -> None:
    """As audit has it: where the log has no grades, and only there."""
    log = graded(40)
    wanted = fit(log)
    found = fit(without(log, "correct"), correct_above=0.5)
    np.testing.assert_array_equal(found.policy.logits, wanted.policy.logits)
    assert found.provenance["correct_above"] == 0.5
    assert "above 0.5 is correct" in found.notes[0]
    strict = fit(without(log, "correct"), correct_above=0.95)
    assert strict.logged["accuracy"] == (log.rewards > 0.95).mean() < wanted.logged["accuracy"]
    with pytest.raises(ValueError, match="correct_above is for logs without grades"):
        fit(log, correct_above=0.5)


@pytest.mark.parametrize("options", [{}, {"classes": "solve rate"}, {"paths": "one"}, {"smoothing": 0.0}], ids=str)
def test_a_log_from_a_file_is_fitted_as_one_that_is_given(tmp_path: Path, options: dict[str, Any]) -> None:
    log = graded(60)
    file = tmp_path / "log.csv"
    columns = {"prompt": log.prompt_ids, "length": log.lengths, "reward": log.rewards, "truncated": log.truncated,
               "correct": log.correct, "class": np.array(log.class_names)[log.classes], "step": log.steps}
    file.write_text("\n".join([",".join(columns), *map(",".join, np.array([*columns.values()], dtype=str).T)]))
    log = Rollouts.read(file)
    given = without(log)  # in 8 bytes each
    assert log.lengths.dtype != given.lengths.dtype
    found = fit(log, **options)
    plain = fit(given, **options)
    for one, other in zip([plain.policy, *plain.refits(3)], [found.policy, *found.refits(3)], strict=True):
        np.testing.assert_array_equal(one.logits, other.logits)
        np.testing.assert_array_equal(one.cell_weight, other.cell_weight)
    assert found.rewards == plain.rewards
    assert [each.name for each in found.classes] == [each.name for each in plain.classes]


def test_a_prompt_of_two_classes_is_named() -> None:
    log = graded(60)
    mixed = Rollouts(log.lengths, log.rewards, log.prompt_ids, correct=log.correct,
                     classes=np.append(log.classes[:-1], 7))
    with pytest.raises(ValueError, match=f"of prompt {log.prompt_ids[-1]} must be one class"):
        fit(mixed)


@pytest.mark.parametrize("ids", [lambda ids: ids - 7, lambda ids: 10**12 + 3 * ids, lambda ids: ids / 8,
                                 lambda ids: 2 * ids, lambda ids: ids.astype(np.uint8)],
                         ids=["low", "high", "float", "gaps", "bytes"])
def test_ids_of_any_kind_are_numbered_in_their_order(ids: Any) -> None:
    log = graded(50)
    other = Rollouts(log.lengths, log.rewards, ids(log.prompt_ids), log.truncated, log.correct)
    plain = without(log, "classes", "class_names")
    for one, two in zip(fit(other).refits(2), fit(plain).refits(2), strict=True):
        np.testing.assert_array_equal(one.logits, two.logits)


def test_refits_are_computed_once_and_do_not_depend_on_what_was_asked_before() -> None:
    log = graded(40)
    found = fit(log, replicates=4)
    first = list(found.refits(2))
    again = list(found.refits())
    for one, other, apart in zip(again, [*first, *again[2:]], fit(log, replicates=4).refits(), strict=True):
        np.testing.assert_array_equal(one.logits, other.logits)
        np.testing.assert_array_equal(one.logits, apart.logits)


def test_memory_for_a_large_log_is_what_the_docstring_says() -> None:
    """3 million responses: 12 bytes of each are kept and about 45 needed, beside a little per prompt."""
    rows = 3_000_000
    rng = np.random.default_rng(0)
    log = Rollouts(rng.integers(1, 500, rows), rng.integers(0, 2, rows), np.repeat(np.arange(rows // 100), 100))
    tracemalloc.start()
    found = fit(log, max_tokens=500)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    assert len(list(found.refits(1))) == 1
    again = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 12 * rows < kept < 14 * rows
    assert peak < 48 * rows
    assert again < peak
