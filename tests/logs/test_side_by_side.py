"""Files that workers read side by side are the log that is read at once, to the bit, and so is its audit."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import lossim as ls

COLUMNS = ("lengths", "rewards", "prompt_ids", "truncated", "correct", "classes", "steps", "kl", "answered",
           "path_names")


def rows(seed: int, count: int, **more) -> list[dict]:
    """Responses in no order of prompts: most groups lie in several files."""
    rng = np.random.default_rng(seed)
    prompt = rng.integers(0, 150, count).tolist()
    length = rng.geometric(0.02, count).clip(1, 256).tolist()
    right = (rng.random(count) < 0.4).tolist()
    return [{"prompt": f"question {prompt[i]}", "length": length[i], "reward": float(right[i]), "correct": right[i],
             "step": i * 4 // count, "class": f"kind {prompt[i] % 3}"} | {name: of(i) for name, of in more.items()}
            for i in range(count)]


def written(folder: Path, log: list[dict], files: int, name: Callable[[int], object] = int) -> Path:
    folder.mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(log)), files)):
        lines = (json.dumps(log[i]) for i in part)
        (folder / f"{name(number)}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def same(one: ls.Rollouts, other: ls.Rollouts) -> None:
    for name in COLUMNS:
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs, name)
    assert one.class_names == other.class_names
    assert str(one) == str(other)


def test_the_audit_of_a_hundred_files_by_processes(tmp_path: Path) -> None:
    folder = written(tmp_path / "log", rows(0, 6000), 100)
    how = dict(max_tokens=256, replicates=20, what_if=False)
    at_once = ls.audit(ls.schemes.grpo(), folder, **how)
    with ProcessPoolExecutor(2) as processes:
        by_files = ls.audit(ls.schemes.grpo(), folder, **how, executor=processes)
    assert str(by_files) == str(at_once)
    one, other = (each.findings[0].drift for each in (at_once, by_files))
    assert float(one.length) == float(other.length) != 0.0
    assert float(one.length.stderr) == float(other.length.stderr)
    np.testing.assert_array_equal(one.update.value, other.update.value)
    assert at_once.log["responses"] == 6000


MIXED = dict(prompt=lambda i: [f"text {i % 7}", i % 5, {"deep": i % 3}][i % 3], kl=lambda i: i / 100)


@pytest.mark.parametrize("more", [{}, MIXED, {"path": lambda i: "short" if i % 2 else "quite long"}])
@pytest.mark.parametrize("files", [2, 7])
def test_columns_and_what_is_said_of_them(tmp_path: Path, more: dict, files: int) -> None:
    folder = written(tmp_path / "log", rows(1, 400, **more), files)
    with ThreadPoolExecutor(3) as threads:
        same(ls.Rollouts.read(folder, executor=threads), ls.Rollouts.read(folder))


@pytest.mark.parametrize(("name", "steps"), [(int, 4), (lambda number: "abcd"[number], None)])
def test_prompts_that_count_anew_and_steps_in_names(tmp_path: Path, name: Callable, steps: int | None) -> None:
    log = [{"prompt": i % 50 // 5, "length": 3 + i % 9, "reward": i % 2} for i in range(200)]
    folder = written(tmp_path / "log", log, 4, name)
    with ThreadPoolExecutor(2) as threads:
        found = ls.Rollouts.read(folder, executor=threads)
    assert len(np.unique(found.prompt_ids)) == (40 if steps is None else 10)
    assert (None if found.steps is None else len(np.unique(found.steps))) == steps
    same(found, ls.Rollouts.read(folder))


def test_bad_rows_are_those_of_the_first_file_that_has_some(tmp_path: Path) -> None:
    log = rows(2, 300)
    for i in (70, 71, 130, 290):
        log[i]["length"] = 0
    folder = written(tmp_path / "log", log, 6)
    with ThreadPoolExecutor(4) as threads:
        same(ls.Rollouts.read(folder, on_error="report", executor=threads), ls.Rollouts.read(folder, on_error="report"))
        with pytest.raises(ValueError, match="must be at least 1, got 0") as side_by_side:
            ls.Rollouts.read(folder, executor=threads)
    with pytest.raises(ValueError, match="must be at least 1, got 0") as at_once:
        ls.Rollouts.read(folder)
    assert str(side_by_side.value) == str(at_once.value)
    assert "1.jsonl:21" in str(at_once.value)


def test_verl_dumps_whose_groups_are_told_apart_by_their_order(tmp_path: Path) -> None:
    keys = [f"row{i // 2:032x}_{i // 2 % 2}_{i % 2}" for i in range(80)]
    log = [{"uid": keys[i], "input": f"q {i % 4 // 2}", "output": "one two", "score": float(i % 2), "step": i // 20,
            "length": 5 + i % 3} for i in range(80)]
    folder = written(tmp_path / "log", log, 5)
    with ThreadPoolExecutor(2) as threads:
        same(ls.Rollouts.read(folder, executor=threads), ls.Rollouts.read(folder))


def test_an_executor_is_for_files() -> None:
    log = [{"prompt": i // 4, "length": 40 + 9 * (i % 4), "reward": float(i % 4 < 2)} for i in range(80)]
    rollouts = ls.Rollouts.read(log)
    with ThreadPoolExecutor(1) as threads, pytest.raises(TypeError, match="executor is for a log in files"):
        ls.audit(ls.schemes.grpo(), rollouts, executor=threads)
    with pytest.raises(TypeError, match="must have a method submit"):
        ls.Rollouts.read(log, executor="threads")
