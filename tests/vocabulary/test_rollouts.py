"""Rollouts: what the constructor takes, how they print, and responses put together by group."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lossim as ls

GIVEN: dict[str, Any] = {"lengths": [3, 5], "rewards": [1.0, 0.0], "prompt_ids": [0, 0]}
COLUMNS = ("lengths", "rewards", "prompt_ids", "truncated", "correct", "classes", "steps", "kl")


def test_new_fields_default_to_none_and_are_kept() -> None:
    plain = ls.Rollouts(**GIVEN)
    assert (plain.kl, plain.class_names, plain.reading) == (None, None, None)
    full = replace(plain, kl=[0.1, -2], classes=[1, 0], class_names=["easy", "hard"])
    assert full.kl is not None
    assert full.kl.tolist() == [0.1, -2.0]
    assert full.class_names == ("easy", "hard")
    assert repr(full) == str(full) == "Rollouts(2 responses to 1 prompts, mean length 4)"


@pytest.mark.parametrize(("more", "message"), [
    ({"kl": [0.1, float("nan")]}, r"kl\[1\] must be finite, got nan"),
    ({"kl": [0.1]}, r"kl must have one entry per response, \(2,\), got \(1,\)"),
    ({"class_names": ["a"]}, "class_names cannot be given without classes"),
    ({"classes": [0, 1], "class_names": ["a"]}, r"classes must index the 1 class names, .* got \[0, 1\]"),
    ({"classes": [0, -1], "class_names": ["a"]}, r"classes must index the 1 class names, .* got \[-1, 0\]"),
    ({"classes": [0, 1], "class_names": ["a", "a"]}, r"class_names must be different, got \('a', 'a'\)"),
    ({"classes": [0, 1], "class_names": "ab"}, "class_names must be a sequence of strings, got 'ab'"),
    ({"classes": [0, 1], "class_names": ["a", 2]}, r"class_names\[1\] must be one of strings, got 2"),
    ({"reading": "log.jsonl"}, "reading must be a Reading or None, got 'log.jsonl'"),
])
def test_bad_values_of_new_fields(more: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        ls.Rollouts(**GIVEN, **more)


def slowly_grouped(rollouts: ls.Rollouts) -> list[int]:
    """Rows as `by_group` must order them, by Python's own sort."""
    steps = [0] * len(rollouts) if rollouts.steps is None else rollouts.steps.tolist()
    keys = list(zip(steps, rollouts.prompt_ids.tolist(), strict=True))
    runs = [key for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
    if len(set(runs)) == len(runs) and sorted(steps) == steps:
        return list(range(len(rollouts)))
    return sorted(range(len(rollouts)), key=lambda i: keys[i])


IDS = st.sampled_from([[0, 1, 2], [7, -3, 2**40], ["b", "a", "c"], [0.5, -1.0, 2.0], [True, False, True]])
STEPS = st.sampled_from([[0, 1, 2], [-5, 2**31 - 1, -2**31], [2**40, -2**40, 0]])


@given(data=st.data(), stepped=st.booleans())
def test_by_group_is_a_stable_sort_unless_every_group_is_one_run(data: st.DataObject, stepped: bool) -> None:
    rows = data.draw(st.integers(0, 12))
    place = st.lists(st.integers(0, 2), min_size=rows, max_size=rows)
    ids, steps = data.draw(IDS), data.draw(STEPS)
    rollouts = ls.Rollouts(
        np.arange(1, rows + 1), np.arange(rows) / 2, np.array([ids[i] for i in data.draw(place)] or ids[:0]),
        np.arange(rows) % 2, np.arange(rows) % 3 == 0, np.arange(rows) % 2,
        [steps[i] for i in data.draw(place)] if stepped else None, -np.arange(rows), ("a", "b"))
    grouped = rollouts.by_group()
    order = slowly_grouped(rollouts)
    assert (grouped is rollouts) == (order == list(range(rows)))
    for name in COLUMNS:
        before, after = getattr(rollouts, name), getattr(grouped, name)
        assert (before is None) == (after is None)
        if before is not None:
            assert after.dtype == before.dtype
            assert after.tolist() == before[order].tolist()
    assert grouped.class_names == ("a", "b")
    assert grouped.by_group() is grouped
    assert len(pickle.loads(pickle.dumps(grouped))) == rows


def test_columns_that_were_not_read_are_named(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    log.write_text('{"prompt": "p", "length": 3, "reward": 1, "kl_divergence": 0.1, "source": "maths", "note": "x"}\n')
    rollouts = ls.Rollouts.read(log)
    assert rollouts.class_names == ("maths",)
    assert rollouts.reading.choices[-1] == "not read: 'kl_divergence', 'note'"


def test_positions_of_answers_and_names_of_paths() -> None:
    log = ls.Rollouts([3, 5, 4], [1, 0, 1], ["a", "b", "a"], answered=[2, None, np.nan],
                      path_names=["long", "no tool", "x"])
    np.testing.assert_array_equal(log.answered, [2.0, np.nan, np.nan])
    assert log.by_group().path_names.tolist() == ["long", "x", "no tool"]
    assert ls.Rollouts([3], [1], [0], path_names=[7]).path_names.tolist() == ["7"]
    assert len(ls.Rollouts([], [], [], answered=[], path_names=[])) == 0


@pytest.mark.parametrize(("given", "said"), [
    ({"answered": [4, 1]}, r"answered\[0\] must be at most the length of its response, 3, got 4"),
    ({"answered": [0, 1]}, "answered must be positions, whole numbers from 1, got 0"),
    ({"answered": [1.5, 1]}, "answered must be positions, whole numbers from 1, got 1.5"),
    ({"answered": [1]}, r"answered must have one entry per response, \(2,\), got \(1,\)"),
    ({"answered": [np.inf, 1]}, r"answered\[0\] must be at most the length of its response, 3, got inf"),
    ({"answered": [True, None]}, "answered must be positions, not whether there is an answer"),
    ({"answered": np.array([True, True])}, "answered must be positions, not whether there is an answer"),
    ({"answered": ["x", 1]}, "answered must be numbers, NaN or None"),
    ({"path_names": [1.5, 2.5]}, "path_names must be one name per response, text or whole numbers"),
    ({"path_names": ["a"]}, "path_names must have one entry per response")])
def test_bad_positions_and_names(given: dict[str, list[object]], said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        ls.Rollouts([3, 5], [1, 0], [0, 1], **given)
