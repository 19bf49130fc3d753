"""Whoever computes the cells, and in whatever order: the same bits."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lossim as ls
from tests.shared.sweeps import Shuffled, bits


def drawn(*, mean: float, scale: float, rng: np.random.Generator) -> dict[str, float]:
    sample = rng.lognormal(mean, scale, size=50)
    return {"mean": float(sample.mean()), "most": float(sample.max())}


@given(means=st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=12, unique=True), seed=st.integers(0, 99),
       scales=st.lists(st.floats(0.0, 2.0), min_size=1, max_size=9, unique=True), workers=st.integers(1, 4))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_threads_and_shuffled_orders_give_the_same_bits(means: list, scales: list, seed: int, workers: int) -> None:
    grid = {"mean": means, "scale": scales}
    alone = bits(ls.sweep(drawn, grid, seed=seed))
    with ThreadPoolExecutor(workers) as threads:
        assert bits(ls.sweep(drawn, grid, seed=seed, executor=threads)) == alone
    assert bits(ls.sweep(drawn, grid, seed=seed, executor=Shuffled(seed, workers))) == alone


DRIFTS = dict(grid={"gae_lambda": [0.9, 1.0], "solve_rate": [0.0, 0.3, 0.7, 1.5]}, scheme=ls.schemes.ppo(),
              start=ls.policies.two_paths, right=ls.lengths.geometric(mean=9), wrong=ls.lengths.geometric(mean=15),
              max_tokens=64, kernels=ls.kernels(8))


def test_processes_give_the_same_bits() -> None:
    alone = ls.sweep(ls.drift, **DRIFTS)
    assert len(alone.failures) == 2  # a chance of 1.5
    with ProcessPoolExecutor(2) as processes:
        assert bits(ls.sweep(ls.drift, **DRIFTS, executor=processes)) == bits(alone)


# --- workers that die ---------------------------------------------------------------------------------------------


def slowly_drawn(*, mean: float, folder: str, rng: np.random.Generator) -> float:
    (Path(folder) / f"{os.getpid()} {time.monotonic_ns()}").touch()
    time.sleep(0.02)
    return float(rng.lognormal(mean, 1.0, size=50).mean())


@pytest.fixture
def client() -> Iterator[Client]:
    with (LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
          Client(cluster) as client):
        yield client


def kill_one(folder: Path, killed: list[int]) -> None:
    """Kill a worker as soon as two are at work, unless that takes too long."""
    end = time.monotonic() + 120.0
    while time.monotonic() < end and len(pids := {path.name.split()[0] for path in folder.iterdir()}) < 2:
        time.sleep(0.01)
    if len(pids) == 2:
        killed.append(int(min(pids)))
        os.kill(killed[0], signal.SIGKILL)


def test_a_worker_of_dask_is_killed_and_the_numbers_are_the_same(client: Client, tmp_path: Path) -> None:
    folders = [tmp_path / "alone", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    grid = {"mean": np.linspace(-1.0, 1.0, 80)}
    alone = ls.sweep(slowly_drawn, grid, seed=3, folder=str(folders[0]))
    killed: list[int] = []
    killer = threading.Thread(target=kill_one, args=(folders[1], killed))
    killer.start()
    swept = ls.sweep(slowly_drawn, grid, seed=3, folder=str(folders[1]), executor=client.get_executor())
    killer.join()
    assert len(killed) == 1
    assert {int(path.name.split()[0]) for path in folders[1].iterdir()} > set(killed)
    assert bits(swept) == bits(alone)


def dies_once(*, x: int, folder: str) -> int:
    if x == 5 and not (Path(folder) / "died").exists():
        (Path(folder) / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def test_a_pool_that_breaks_says_so_and_the_store_goes_on(tmp_path: Path) -> None:
    how = dict(grid={"x": list(range(12))}, folder=str(tmp_path), store=tmp_path / "store")
    with ProcessPoolExecutor(1) as processes, pytest.raises(BrokenProcessPool):
        ls.sweep(dies_once, **how, executor=processes)
    kept = (tmp_path / "store").read_text().count("\n") - 1
    assert kept == 5
    assert list(ls.sweep(dies_once, **how).values["dies_once"]) == list(range(12))
