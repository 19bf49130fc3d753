"""A sweep that was killed goes on from its file, with the same result, and computes what is missing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import lossim as ls

SLOW = """
import sys, time
import lossim as ls

def slow(*, x, y):
    time.sleep(0.01)
    with open(sys.argv[1], "a") as calls:
        calls.write(f"{x} {y}\\n")
    return {"sum": x / 3 + y, "product": float("inf") if x == y == 0 else x * y / 7}

if __name__ == "__main__":
    swept = ls.sweep(slow, {"x": list(range(20)), "y": list(range(15))}, store=sys.argv[2])
    print(swept.values["sum"].tobytes().hex(), swept.values["product"].tobytes().hex(), len(swept.notes))
"""


def test_a_killed_sweep_goes_on(tmp_path: Path) -> None:
    script, calls, store = tmp_path / "slow.py", tmp_path / "calls", tmp_path / "store"
    script.write_text(SLOW)
    command = [sys.executable, str(script), str(calls), str(store)]
    killed = subprocess.Popen(command)
    while not store.exists() or store.read_bytes().count(b"\n") < 40:
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = store.read_bytes().count(b"\n") - 1
    before = calls.read_text().splitlines()
    assert 40 <= done + 1 < 300
    assert len(before) - done <= 5  # one chunk was under way
    whole = store.read_bytes()
    store.write_bytes(whole + b'{"cell": 5, "numb')  # as if it had been killed while it wrote
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    after = calls.read_text().splitlines()[len(before):]
    assert len(after) == 300 - done
    assert store.read_bytes().startswith(whole)
    total = np.array([[x / 3 + y for y in range(15)] for x in range(20)])
    product = np.array([[float("inf") if x == y == 0 else x * y / 7 for y in range(15)] for x in range(20)])
    assert shown == [total.tobytes().hex(), product.tobytes().hex(), "1"]


def number(*, x: float, power: float = 1.0) -> float:
    if x == 2:
        raise ValueError("not two")
    return x**power


def cube(*, x: float) -> float:
    return x**3


GRID = {"x": [1.0, 2.0, 3.0]}


def test_failures_are_tried_again_and_what_is_there_is_taken(tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = ls.sweep(number, GRID, store=store)
    lines = store.read_text().splitlines()
    assert len(lines) == 3
    assert len(first.failures) == 1
    row = json.loads(lines[1])
    row["numbers"] = {"number": 99.0}
    store.write_text("\n".join([lines[0], json.dumps(row), lines[2], ""]))
    second = ls.sweep(number, GRID, store=store)
    np.testing.assert_array_equal(second.values["number"], [99.0, np.nan, 3.0])
    assert len(second.failures) == 1


@pytest.mark.parametrize(("function", "grid", "how", "says"), [
    (cube, GRID, {}, "another function: .*number .*there, .*cube"), (number, {"x": [1.0, 3.0]}, {}, "another axis x"),
    (number, GRID, {"power": 2.0}, "another function.power: none there, 2.0 here"),
    (partial(number, power=2.0), GRID, {}, "another function")])
def test_the_store_of_another_sweep_is_refused_and_stays(tmp_path: Path, function, grid: dict, how: dict, says: str
                                                        ) -> None:
    store = tmp_path / "store"
    ls.sweep(number, GRID, store=store)
    data = store.read_bytes()
    with pytest.raises(ValueError, match=says):
        ls.sweep(function, grid, store=store, **how)
    assert store.read_bytes() == data


def drift_of(scheme: ls.Scheme, store: Path) -> ls.Sweep:
    return ls.sweep(ls.drift, {"solve_rate": [0.3, 0.6]}, scheme=scheme, start=ls.policies.two_paths, max_tokens=64,
                    right=ls.lengths.geometric(mean=9), wrong=ls.lengths.geometric(mean=15), kernels=ls.kernels(4),
                    store=store)


def test_a_drift_comes_back_whole(tmp_path: Path) -> None:
    store = tmp_path / "store"
    first, second = drift_of(ls.schemes.ppo(), store), drift_of(ls.schemes.ppo(), store)
    assert str(first) == str(second)
    assert [(note.code, note.value) for note in first.notes] == [(note.code, note.value) for note in second.notes]
    np.testing.assert_array_equal(first.low, second.low)
    with pytest.raises(ValueError, match="another scheme 1"):
        drift_of(replace(ls.schemes.ppo(), prompts_per_step=65), store)


@pytest.mark.parametrize(("data", "says"), [(b"some text", "which it is not"), (b"some\nlines\n", "line 1 is no part"),
                                            (b'{"a": 1}\n', "first line does not say"), (b"[1]\n", "first line")])
def test_another_file_is_refused_and_stays(tmp_path: Path, data: bytes, says: str) -> None:
    store = tmp_path / "store"
    store.write_bytes(data)
    with pytest.raises(ValueError, match=says):
        ls.sweep(cube, GRID, store=store)
    assert store.read_bytes() == data


def test_a_torn_header_is_begun_anew_and_a_folder_must_be_there(tmp_path: Path) -> None:
    store = tmp_path / "store"
    ls.sweep(cube, GRID, store=store)
    whole = store.read_bytes()
    store.write_bytes(whole[:30])
    ls.sweep(cube, GRID, store=store)
    assert store.read_bytes() == whole
    with pytest.raises(FileNotFoundError, match="must lie in a folder that exists"):
        ls.sweep(cube, GRID, store=tmp_path / "none" / "store")


def scaled(factor: float):
    def by_factor(*, x: float) -> float:
        return factor * x
    return by_factor


def test_what_a_function_closes_over_is_pinned(tmp_path: Path) -> None:
    store = tmp_path / "store"
    ls.sweep(scaled(2.0), GRID, store=store)
    assert list(ls.sweep(scaled(2.0), GRID, store=store).values["by_factor"]) == [2.0, 4.0, 6.0]
    with pytest.raises(ValueError, match="another function"):
        ls.sweep(scaled(3.0), GRID, store=store)


def test_laws_of_scipy_are_pinned_by_their_parameters(tmp_path: Path) -> None:
    def swept(scale: float) -> ls.Sweep:
        return ls.sweep(ls.drift, {"solve_rate": [0.3]}, scheme=ls.schemes.grpo(), start=ls.policies.two_paths,
                        right=ls.lengths.from_scipy(stats.lognorm(0.5, scale=scale)), max_tokens=64,
                        wrong=ls.lengths.geometric(mean=15), kernels=ls.kernels(4), store=tmp_path / "store")

    assert swept(9.0).verdict == swept(9.0).verdict
    with pytest.raises(ValueError, match=r"another start\.right"):
        swept(10.0)
